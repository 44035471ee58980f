/* SPDX-License-Identifier: ISC */
/*
 * readings - the newest number of each probe, its age, unknown or not; and the rates made from counts
 *
 * Pure: no clock, no I/O, no allocation.  A reading that nobody refreshes becomes unknown by itself when its time
 * is over.  Rates look back over at most RATE_WINDOW_MS and divide by the time that really passed, so a late look does
 * not read as a burst; after a gap of RATE_GAP_MS (a stall, a suspend) they start anew.
 */
#ifndef CONTROLLER_READINGS_H
#define CONTROLLER_READINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/reading.h"

#define RATE_WINDOW_MS 3000
#define RATE_GRAIN_MS 100 /* counts closer together share a sample */
#define RATE_SPAN_MIN_MS 1000 /* a rate over less is unknown */
#define RATE_GAP_MS 10000
#define RATE_SAMPLES (RATE_WINDOW_MS / RATE_GRAIN_MS + 2)

/* Totals over time, in a ring; the rate is their slope. */
struct slope {
	struct {
		mono_t at;
		uint64_t total;
	} sample[RATE_SAMPLES];
	unsigned first, n;
};

struct reading {
	bool known;
	double value;
	mono_t at; /* of the last look that told it */
	mono_t until; /* unknown after that */
};

struct readings {
	struct reading r[READING_COUNT];
	struct slope arrived, departed, refused;
	uint64_t told; /* how often anything was: as long as it stays the same, only time has passed */
};

/* Tell a reading that is good until `until`.  A value that is not a finite number of a sane size (a probe
 * that lies) makes it unknown. */
void readings_set(struct readings *rs, enum reading_id id, struct reading_value v, mono_t now,
	mono_t until);

/* Tell the totals of messages that came into the queue and left it: gives arrivals, departures, growth.
 * A total that goes back starts the rate anew. */
void readings_count_queue(struct readings *rs, uint64_t arrived, uint64_t departed, mono_t now,
	mono_t until);

/* Tell the total of commands refused for load. */
void readings_count_refused(struct readings *rs, uint64_t refused, mono_t now, mono_t until);

/* Make all readings of the bit set unknown. */
void readings_forget(struct readings *rs, uint32_t ids);

/* What may be decided on at `now`. */
struct reading_value readings_get(const struct readings *rs, enum reading_id id, mono_t now);

#endif
