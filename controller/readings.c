/* SPDX-License-Identifier: ISC */
#include "controller/readings.h"

#include <math.h>

/* Larger than any count, size or rate that a machine can have; keeps arithmetic on readings exact. */
#define VALUE_MAX 9007199254740992.0 /* 2^53 */

void
readings_set(struct readings *rs, enum reading_id id, struct reading_value v, mono_t now,
	mono_t until)
{
	bool signed_one = id == READING_GROWTH;
	bool sane = isfinite(v.value) && fabs(v.value) < VALUE_MAX && (signed_one || v.value >= 0);

	rs->r[id] = (struct reading) {
		.known = v.known && sane, .value = v.value, .at = now, .until = until,
	};
	rs->told++;
}

static unsigned
ring(unsigned i)
{
	return i % RATE_SAMPLES;
}

static void
slope_put(struct slope *s, uint64_t total, mono_t now)
{
	if (s->n > 0) {
		unsigned last = ring(s->first + s->n - 1);
		int64_t since = mono_since(s->sample[last].at, now);

		if (since < 0 || since > RATE_GAP_MS || total < s->sample[last].total) {
			s->n = 0;
		} else if (s->n > 1
			&& mono_since(s->sample[ring(last + RATE_SAMPLES - 1)].at, now) < RATE_GRAIN_MS) {
			/* Too close to the one before last: move the last one on instead of adding. */
			s->sample[last].at = now;
			s->sample[last].total = total;
			return;
		}
	}
	/* Keep one sample at or beyond the window's edge. */
	while (s->n > 1
		&& (s->n == RATE_SAMPLES
			|| mono_since(s->sample[ring(s->first + 1)].at, now) >= RATE_WINDOW_MS)) {
		s->first = ring(s->first + 1);
		s->n--;
	}
	unsigned i = ring(s->first + s->n++);
	s->sample[i].at = now;
	s->sample[i].total = total;
}

/* Slope from the oldest sample of the window to the newest. */
static struct reading_value
slope_get(const struct slope *s)
{
	if (s->n < 2)
		return (struct reading_value) { 0 };
	unsigned last = ring(s->first + s->n - 1);
	int64_t span = mono_since(s->sample[s->first].at, s->sample[last].at);

	if (span < RATE_SPAN_MIN_MS)
		return (struct reading_value) { 0 };
	uint64_t n = s->sample[last].total - s->sample[s->first].total;
	return (struct reading_value) { .known = true, .value = (double)n * 1000 / (double)span };
}

void
readings_count_queue(struct readings *rs, uint64_t arrived, uint64_t departed, mono_t now,
	mono_t until)
{
	slope_put(&rs->arrived, arrived, now);
	slope_put(&rs->departed, departed, now);

	struct reading_value in = slope_get(&rs->arrived), out = slope_get(&rs->departed);
	struct reading_value growth = {
		.known = in.known && out.known, .value = in.value - out.value,
	};
	readings_set(rs, READING_ARRIVALS, in, now, until);
	readings_set(rs, READING_DEPARTURES, out, now, until);
	readings_set(rs, READING_GROWTH, growth, now, until);
}

void
readings_count_refused(struct readings *rs, uint64_t refused, mono_t now, mono_t until)
{
	slope_put(&rs->refused, refused, now);
	readings_set(rs, READING_REFUSED, slope_get(&rs->refused), now, until);
}

void
readings_forget(struct readings *rs, uint32_t ids)
{
	for (int i = 0; i < READING_COUNT; i++)
		if ((ids & 1u << i) != 0)
			rs->r[i].known = false;
	if ((ids & 1u << READING_ARRIVALS) != 0)
		rs->arrived.n = rs->departed.n = 0;
	if ((ids & 1u << READING_REFUSED) != 0)
		rs->refused.n = 0;
	rs->told++;
}

struct reading_value
readings_get(const struct readings *rs, enum reading_id id, mono_t now)
{
	const struct reading *r = &rs->r[id];

	return (struct reading_value) {
		.known = r->known && now.ms >= r->at.ms && now.ms <= r->until.ms, .value = r->value,
	};
}
