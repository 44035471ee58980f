/* SPDX-License-Identifier: ISC */
/*
 * The decision, fed with readings of any bits at any pace: what comes out is always a whole stance in range, and the
 * same each time.
 *
 * Input: four bytes of times, then steps of eleven bytes: options, time, which reading, eight bytes of its value.
 */
#include "controller/config.h"
#include "controller/decide.h"
#include "lib/array.h"
#include "lib/bytes.h"
#include "tests/fuzz/fuzz.h"

#define STEP 11
#define STEPS_MAX 2000

static void
check(const struct stance *s, const struct decide_input *in, mono_t now)
{
	char text[REASON_TEXT_MAX];

	CHECK((unsigned)s->level < LEVEL_COUNT && (unsigned)s->gate <= GATE_REOPENING && s->admit <= DECIDE_ADMIT_ALL);
	CHECK((unsigned)s->why.kind <= REASON_RESUMED && (unsigned)s->why.id < READING_COUNT);
	CHECK((unsigned)s->waiting.kind <= REASON_RESUMED && (unsigned)s->waiting.id < READING_COUNT);
	CHECK((s->level < LEVEL_OVERLOADED) == (s->gate == GATE_OPEN));
	CHECK(s->gate != GATE_OPEN || s->admit == DECIDE_ADMIT_ALL);
	CHECK(s->gate != GATE_CLOSED || s->admit == 0);
	CHECK(s->since.ms <= now.ms && s->next.ms >= now.ms);
	CHECK(!in->forced || (s->forced && s->level == in->forced_level));
	reason_format(&s->why, text);
	reason_format(&s->waiting, text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t paces[] = {
		0, 1, 10, 100, 250, 1000, 2000, 5000, 5001, 15000, 60000, 600000, -1, -100000, INT64_C(1) << 40, 100,
	};
	static struct config config;
	struct decide_cfg *cfg = &config.levels;
	struct decide_state st = { 0 }, twin = { 0 };
	struct decide_input in = { .arrived_known = false };
	mono_t now = { 1000000000 }, latest = { 0 };

	if (size < 4)
		return 0;
	config_defaults(&config);
	cfg->hold_ms = data[0] * 100;
	cfg->release_ms = 1000 + data[1] * 1000;
	cfg->dwell_ms = data[2] * 1000;
	cfg->blind_ms = 1000 + data[3] * 1000;
	data += 4;
	size -= 4;
	for (int i = 0; size >= STEP && i < STEPS_MAX; i++, data += STEP, size -= STEP) {
		struct stance s, t;
		uint64_t bits = get_u64(data + 3);
		struct reading_value *v = &in.value[data[2] % READING_COUNT];

		v->known = (data[0] & 1) != 0;
		if ((data[0] & 2) != 0)
			memcpy(&v->value, &bits, sizeof(bits)); /* infinite, not a number, -0, ... */
		else
			v->value = (double)(bits % 100000);
		in.forced = (data[0] & 4) != 0;
		in.forced_level = (enum level)(data[0] >> 3 & 3);
		in.arrived_known = (data[0] & 32) != 0;
		in.arrived += (data[0] & 64) != 0 ? bits : bits % 1000;
		in.refused += (data[0] & 128) != 0 ? bits : bits % 1000;
		now.ms += paces[data[1] % countof(paces)];
		if (data[1] >= 250)
			decide_reconfigure(&st), decide_reconfigure(&twin);
		latest = now.ms > latest.ms ? now : latest;
		decide_step(&st, cfg, &in, now, &s);
		check(&s, &in, latest);
		decide_step(&twin, cfg, &in, now, &t);
		CHECK(s.level == t.level && s.gate == t.gate && s.admit == t.admit && s.next.ms == t.next.ms);
	}
	return 0;
}
