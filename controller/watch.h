/* SPDX-License-Identifier: ISC */
/*
 * watch - runs the probes in the engine's loop and keeps the readings current
 */
#ifndef CONTROLLER_WATCH_H
#define CONTROLLER_WATCH_H

#include <event2/event.h>
#include <jansson.h>

#include "controller/config.h"
#include "controller/readings.h"
#include "controller/turn.h"

struct watch;

/* `config`, `turn` and `readings` are borrowed for the life of the watch; the numbers in `config` may change
 * between turns.  Returns 0 or -ENOMEM. */
int watch_new(struct event_base *base, struct turn *turn, const struct config *config,
	struct readings *readings, struct watch **ret);
void watch_free(struct watch *w);

/* Let `sent` know of each delivery in qmail-send's log (probes.logs), from the next turn on. */
void watch_sent(struct watch *w, void (*sent)(const struct sendlog_delivery *d, void *arg), void *arg);

/* Is the probe of this reading switched off by its configuration? */
bool watch_is_off(const struct watch *w, enum reading_id id);

/* Messages that ever came into the queue; false while that is not known. */
bool watch_arrived(const struct watch *w, uint64_t *ret);

/* What there is to say about the probes: an array for `spillway probes`.  Caller owns the reference. */
json_t *watch_describe(const struct watch *w);

#endif
