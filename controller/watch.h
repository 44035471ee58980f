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

/* Messages that ever came into the queue; false while that is not known. */
bool watch_arrived(const struct watch *w, uint64_t *ret);

/* What there is to say about the probes: an array for `spillway probes`.  Caller owns the reference. */
json_t *watch_describe(const struct watch *w);

#endif
