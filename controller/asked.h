/* SPDX-License-Identifier: ISC */
/*
 * asked - the socket on which plugins ask, DIR/ask.sock
 *
 * One packet with a session record (record.h), one with the answer (ask.h), and the connection ends.  Only the
 * users of service.plugin_users are heard, as the kernel names them: whoever could ask could charge any address.
 * One who is told to sleep keeps his connection: it ends when he goes on, when he dies, when we do, and when all
 * are woken.
 *
 * Most have their question ready when they connect, and are answered without being waited for.  At most
 * ASKED_WAITING others are, ASKED_DEADLINE_MS each.  What is not understood is not answered, and the plugin does
 * without.  So it is when it has gone meanwhile: the question is not counted then, for its session went on without
 * us.
 */
#ifndef CONTROLLER_ASKED_H
#define CONTROLLER_ASKED_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "controller/config.h"
#include "lib/ask.h"
#include "lib/record.h"

#define ASKED_WAITING 512
#define ASKED_SLEEPERS_MAX 1024 /* of whatever plugins.tarpit_sleepers says */
#define ASKED_DEADLINE_MS 1000
#define ASKED_A_TURN 64 /* connections accepted in one turn of the loop */

struct asked;

/* Answer a record, which is valid during the call.  `asker` is the process that asks, 0 when the kernel does not
 * name it; `may_sleep` says whether there is room for one who is told a delay. */
typedef void asked_answer(const struct record *r, pid_t asker, bool may_sleep, struct ask_answer *ret, void *arg);

/* `config` is borrowed (plugin_uids, plugins.tarpit_sleepers) and may change between turns.  Returns 0 or -Exxx
 * with the reason. */
int asked_new(struct event_base *base, const char *dir, const struct config *config, asked_answer *answer, void *arg,
	struct asked **ret, struct err *why);
void asked_free(struct asked *a); /* NULL is allowed */

/* All who sleep go on. */
void asked_wake(struct asked *a);

/* {"answered", "foreign", "malformed", "gone", "dropped": since the start, "waiting", "sleeping": now}.  Caller owns
 * the reference. */
json_t *asked_describe(const struct asked *a);

#endif
