/* SPDX-License-Identifier: ISC */
/*
 * ask - what plugins tell the engine, on event.sock
 *
 * Datagrams without answer.  When one comes, the socket is then looked at every few milliseconds until it has been quiet for a
 * while, instead of waiting to be woken: to wake a process on another cpu costs a plugin more than all else that it does.
 * Only the users of service.plugin_users are believed, as the kernel names them
 * (SCM_CREDENTIALS); the rest is counted and passed over.
 */
#ifndef CONTROLLER_ASK_H
#define CONTROLLER_ASK_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "controller/config.h"
#include "lib/record.h"

struct ask;

/* Called for each believed record; it is valid during the call. */
typedef void ask_record(const struct record *r, void *arg);

/* Bind DIR/event.sock.  `uids` is borrowed and may change between turns.  Returns 0 or -Exxx with the reason. */
int ask_new(struct event_base *base, const char *dir, const struct config_ids *uids, ask_record *each,
	void *arg, struct ask **ret, struct err *why);
void ask_free(struct ask *a);

/* {"believed": ..., "foreign": ..., "malformed": ...}.  Caller owns the reference. */
json_t *ask_describe(const struct ask *a);

/* Is this one of the users whose plugins are believed, or our own? */
bool ask_is_believed(const struct config_ids *uids, uid_t uid);

/* Make a socket of ours at `path`: replaces a dead one, refuses to take over a living one (-EADDRINUSE).  `type` is
 * SOCK_DGRAM, SOCK_STREAM or SOCK_SEQPACKET.  Returns the descriptor, non-blocking, mode 0666, or -Exxx. */
int ask_bind(const char *path, int type, struct err *why);

#endif
