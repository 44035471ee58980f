/* SPDX-License-Identifier: ISC */
/* turn - one `now` for each turn of the engine's loop, so that cause and effect never change places */
#ifndef CONTROLLER_TURN_H
#define CONTROLLER_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"

struct turn {
	bool known;
	mono_t now;
	uint64_t number; /* for those who have a budget for each turn */
};

/* The time of this turn: read once, when first asked. */
static inline mono_t
turn_now(struct turn *t)
{
	if (!t->known) {
		t->now = mono_now();
		t->known = true;
	}
	return t->now;
}

/* Another turn begins. */
static inline void
turn_over(struct turn *t)
{
	t->known = false;
	t->number++;
}

#endif
