/* SPDX-License-Identifier: ISC */
/*
 * pace - so many events a second, evenly
 *
 * Time is nanoseconds of CLOCK_MONOTONIC.  After a pause at most PACE_CREDIT_NS worth of events may
 * follow at once: what was not used in a quiet second does not come as a burst in the next one.
 */
#ifndef TESTS_STANDIN_PACE_H
#define TESTS_STANDIN_PACE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PACE_CREDIT_NS INT64_C(20000000)
#define PACE_NEVER INT64_MAX

struct pace {
	int64_t interval_ns; /* 0: none at all */
	int64_t next_ns;
};

static inline int64_t
pace_now(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* can't fail on Linux */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Set the rate in thousandths of an event per second; in force at once. */
static inline void
pace_set(struct pace *p, uint64_t rate_milli, int64_t now_ns)
{
	p->interval_ns = rate_milli == 0 ? 0 : (int64_t)(UINT64_C(1000000000000) / rate_milli);
	if (p->next_ns > now_ns + p->interval_ns)
		p->next_ns = now_ns + p->interval_ns;
}

/* When the next event is due; PACE_NEVER at rate 0. */
static inline int64_t
pace_due(const struct pace *p)
{
	return p->interval_ns == 0 ? PACE_NEVER : p->next_ns;
}

static inline bool
pace_is_due(const struct pace *p, int64_t now_ns)
{
	return pace_due(p) <= now_ns;
}

/* Take the event that is due. */
static inline void
pace_take(struct pace *p, int64_t now_ns)
{
	if (p->next_ns < now_ns - PACE_CREDIT_NS)
		p->next_ns = now_ns - PACE_CREDIT_NS;
	p->next_ns += p->interval_ns;
}

#endif
