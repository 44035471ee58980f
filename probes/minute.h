/* SPDX-License-Identifier: ISC */
/* minute - how often something happened in the last 60 seconds, by the second */
#ifndef PROBES_MINUTE_H
#define PROBES_MINUTE_H

#include <stdint.h>

#include "lib/clock.h"

#define MINUTE_SECONDS 60

struct minute {
	struct {
		int64_t second;
		uint64_t n;
	} bucket[MINUTE_SECONDS];
};

/* Once, at `at`.  What lies ahead counts as now; what is older than a minute does not count. */
static inline void
minute_add(struct minute *m, mono_t at, mono_t now)
{
	int64_t second = (at.ms > now.ms ? now.ms : at.ms) / 1000;

	if (now.ms / 1000 - second >= MINUTE_SECONDS || second < 0)
		return;
	if (m->bucket[second % MINUTE_SECONDS].second != second) {
		m->bucket[second % MINUTE_SECONDS].second = second;
		m->bucket[second % MINUTE_SECONDS].n = 0;
	}
	m->bucket[second % MINUTE_SECONDS].n++;
}

static inline double
minute_sum(const struct minute *m, mono_t now)
{
	uint64_t sum = 0;

	for (int i = 0; i < MINUTE_SECONDS; i++)
		if (m->bucket[i].n > 0 && now.ms / 1000 - m->bucket[i].second < MINUTE_SECONDS)
			sum += m->bucket[i].n;
	return (double)sum;
}

#endif
