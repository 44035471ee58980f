/* SPDX-License-Identifier: ISC */
/*
 * shell - the control port for telnet that rater had from libut
 *
 * For peers on this host alone, whatever address it listens on.  Nothing that can be asked here changes more than
 * how much is logged.  At most SHELL_CLIENTS at once: one more, and the one that was silent for longest goes;
 * silent for SHELL_IDLE_MS, and it goes too.  Who does not read what he asked for is not read from.
 */
#ifndef CONTROLLER_SHELL_H
#define CONTROLLER_SHELL_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHELL_CLIENTS 8
#define SHELL_IDLE_MS (10 * 60 * 1000)

struct shell;

/* Run a line (terminated, any bytes but NUL, CR, LF) and append what there is to say to `out`.  Returns false to
 * end the connection. */
typedef bool shell_run(const char *line, struct evbuffer *out, void *arg);

/* Listen on TCP.  `number` 0: nowhere.  Returns 0, also when the port can't be had now (it is tried again), or
 * -Exxx. */
int shell_new(struct event_base *base, const char *address, uint16_t number, shell_run *run, void *arg,
	struct shell **ret);
void shell_free(struct shell *s);

/* Serve one who is connected already: for tests.  Takes the descriptor. */
void shell_adopt(struct shell *s, int fd);

#endif
