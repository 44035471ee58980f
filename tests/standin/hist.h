/* SPDX-License-Identifier: ISC */
/*
 * hist - how long things took, in fixed memory
 *
 * Microseconds up to about 70 minutes, in buckets 1/32 of their value wide: a percentile is at most 3 %
 * too high and never too low.
 */
#ifndef TESTS_STANDIN_HIST_H
#define TESTS_STANDIN_HIST_H

#include <stdint.h>

#define HIST_SUB 32
#define HIST_BUCKETS (28 * HIST_SUB)

struct hist {
	uint64_t count;
	uint64_t max_us;
	uint64_t bucket[HIST_BUCKETS];
};

/* Below 64 each value has its bucket; then 32 buckets for each doubling. */
static inline unsigned
hist_index(uint64_t us)
{
	unsigned shift = 0;

	while (us >> shift >= 2 * HIST_SUB)
		shift++;
	unsigned i = shift * HIST_SUB + (unsigned)(us >> shift);
	return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

/* The largest value that falls into bucket `i`. */
static inline uint64_t
hist_upper(unsigned i)
{
	if (i < 2 * HIST_SUB)
		return i;
	unsigned shift = i / HIST_SUB - 1;
	return ((uint64_t)(i - shift * HIST_SUB + 1) << shift) - 1;
}

static inline void
hist_add(struct hist *h, uint64_t us)
{
	h->count++;
	h->bucket[hist_index(us)]++;
	if (us > h->max_us)
		h->max_us = us;
}

/* The value that `percent` of all do not exceed; 0 when there are none. */
static inline uint64_t
hist_percentile(const struct hist *h, unsigned percent)
{
	uint64_t wanted = (h->count * percent + 99) / 100, sum = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && h->count > 0; i++) {
		sum += h->bucket[i];
		if (sum >= wanted)
			return hist_upper(i) < h->max_us ? hist_upper(i) : h->max_us;
	}
	return 0;
}

#endif
