/* SPDX-License-Identifier: ISC */
/*
 * offences - how often somebody was blocked before, and how much of it is forgiven
 *
 * Private to blocks.c.  Pure, as that is.  Each block adds a step; clean time from its end on takes one away for each
 * period.  Whoever has no step left is as if he had never been there: forgetting is exact and does not depend on how
 * full the memory is.  A full memory forgets, of the sixteen that were blocked longest ago, the one with the fewest
 * steps left.
 */
#ifndef CONTROLLER_OFFENCES_H
#define CONTROLLER_OFFENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

struct offence {
	unsigned steps; /* not forgiven; 0..255 */
	uint32_t times; /* blocks, saturating */
	int64_t length_ms; /* of the last one */
	mono_t ended; /* it; ahead while it is in force */
};

struct offences;

/* `key`: random, 16 bytes.  Returns 0, -EINVAL or -ENOMEM. */
int offences_new(size_t max, const uint8_t *key, struct offences **ret);
void offences_free(struct offences *o); /* NULL is allowed */

/* What is left at `now`.  False when it is nothing; `ret` is all zero then. */
bool offences_get(const struct offences *o, const struct ip_prefix *p, int64_t forgive_ms, mono_t now,
	struct offence *ret);

/* So long until nothing is left. */
int64_t offences_clean_ms(const struct offence *left, int64_t forgive_ms, mono_t now);

/* In place of what was there. */
void offences_put(struct offences *o, const struct ip_prefix *p, const struct offence *offence, int64_t forgive_ms,
	mono_t now);

/* The last block has ended before its time. */
void offences_end(struct offences *o, const struct ip_prefix *p, mono_t now);

void offences_forget(struct offences *o, const struct ip_prefix *p);
size_t offences_count(const struct offences *o);

#endif
