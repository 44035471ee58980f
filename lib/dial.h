/* SPDX-License-Identifier: ISC */
/*
 * dial - reach the engine at a socket of the run directory, and wait for it, never beyond a given time
 *
 * A server that is stopped accepts nothing, yet connections succeed until its backlog is full, and then connect(2)
 * waits; its answers never come.  So everything here is non-blocking, and the only wait is dial_wait().
 */
#ifndef LIB_DIAL_H
#define LIB_DIAL_H

#include "lib/clock.h"

/* Connect to DIR/NAME, `type` being SOCK_STREAM or SOCK_SEQPACKET.  Returns a descriptor (non-blocking,
 * close-on-exec, above 2), or -errno: -ENOENT, -ECONNREFUSED (nobody is there), -EAGAIN (its backlog is full),
 * -ENAMETOOLONG, ... */
int dial(const char *dir, const char *name, int type);

/* Wait for `events` of poll(2) on `fd`, or its end.  Returns 0, -ETIMEDOUT, or -errno. */
int dial_wait(int fd, short events, mono_t until);

#endif
