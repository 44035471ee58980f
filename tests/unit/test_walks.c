/* SPDX-License-Identifier: ISC */
/*
 * test_walks - random walks of the decision: whatever the readings, some things always hold
 *
 * The seed is printed; TEST_SEED=N repeats a walk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "controller/config.h"
#include "controller/decide.h"

#define WALKS 300
#define STEPS 3000

static uint64_t seed;

/* xorshift64* (Vigna 2016): the same walk on every machine. */
static uint64_t
random_u64(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717);
}

static double
random_unit(void)
{
	return (double)(random_u64() >> 11) / 9007199254740992.0;
}

static int64_t
random_up_to(int64_t max)
{
	return (int64_t)(random_unit() * (double)(max + 1));
}

struct walk {
	struct decide_cfg cfg;
	struct decide_state state;
	struct decide_input in;
	mono_t now;
	double inclination; /* readings tend to stay low, middling, or high */
};

static void
begin_walk(struct walk *w)
{
	static struct config defaults;

	memset(w, 0, sizeof(*w));
	config_defaults(&defaults);
	w->cfg = defaults.levels;
	w->cfg.hold_ms = random_up_to(5000);
	w->cfg.release_ms = 1 + random_up_to(30000);
	w->cfg.dwell_ms = random_up_to(1) * random_up_to(60000);
	w->cfg.blind_ms = 1000 + random_up_to(60000);
	w->now.ms = random_up_to(1) * random_up_to(1000000000);
	w->inclination = random_unit();
}

static struct reading_value
random_reading(const struct walk *w, enum reading_id id)
{
	static const double marks[] = { 0, 20, 50, 99, 100, 101, 500, 2000, 2001, 1e6, 1e9, 1e12 };
	struct reading_value v = { .known = random_unit() < 0.9 };

	if (random_unit() < w->inclination)
		v.value = id == READING_DISK_FREE ? 1e12 : 0;
	else
		v.value = marks[random_up_to(11)];
	return v;
}

/* The world moves on by 1 ms to 1 s, sometimes by hours. */
static void
move_on(struct walk *w)
{
	int64_t step = 1 + random_up_to(999);

	if (random_unit() < 0.001)
		step = random_up_to(36000000);
	w->now.ms += step;
	for (int i = 0; i < READING_COUNT; i++)
		if (random_unit() < 0.3)
			w->in.value[i] = random_reading(w, (enum reading_id)i);
	w->in.arrived += (uint64_t)random_up_to(50);
	w->in.refused += (uint64_t)(random_up_to(1) * random_up_to(200));
	w->in.arrived_known = random_unit() < 0.95;
	if (random_unit() < 0.002) {
		w->in.forced = !w->in.forced;
		w->in.forced_level = (enum level)random_up_to(3);
	}
}

static void
in_range(const struct stance *s, mono_t now)
{
	assert_in_range(s->level, LEVEL_NORMAL, LEVEL_CRITICAL);
	assert_in_range(s->gate, GATE_OPEN, GATE_REOPENING);
	assert_in_range(s->admit, 0, DECIDE_ADMIT_ALL);
	assert_true(s->next.ms >= now.ms);
	assert_true(s->since.ms <= now.ms);
	/* gate, level and share tell one story */
	assert_int_equal(s->gate == GATE_OPEN, s->level < LEVEL_OVERLOADED);
	assert_int_equal(s->gate == GATE_OPEN, s->admit == DECIDE_ADMIT_ALL);
	if (s->gate == GATE_CLOSED)
		assert_int_equal(s->admit, 0);
	if (s->gate == GATE_REOPENING)
		assert_in_range(s->admit, 1, DECIDE_ADMIT_ALL - 1);
}

static void
walk_stays_in_range_and_changes_at_most_once_a_dwell(void **state)
{
	(void)state;
	for (int i = 0; i < WALKS; i++) {
		struct walk w;
		struct stance s, old = { 0 };
		int64_t last_change = INT64_MIN / 2;

		begin_walk(&w);
		for (int step = 0; step < STEPS; step++) {
			bool was_forced = w.in.forced;

			move_on(&w);
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
			in_range(&s, w.now);
			if (w.in.forced)
				assert_int_equal(s.level, w.in.forced_level);
			if (s.level != old.level && step > 0) {
				bool by_person = w.in.forced || was_forced;

				if (!by_person)
					assert_true(w.now.ms - last_change >= w.cfg.dwell_ms);
				last_change = w.now.ms;
			}
			old = s;
		}
	}
}

static void
walk_with_all_unknown_never_raises_and_goes_neutral(void **state)
{
	(void)state;
	for (int i = 0; i < WALKS; i++) {
		struct walk w;
		struct stance s;
		enum level level;

		begin_walk(&w);
		w.cfg.dwell_ms = 0;
		for (int step = 0; step < 200; step++) {
			move_on(&w);
			w.in.forced = false;
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
		}
		w.in.forced = false;
		decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
		level = s.level;
		mono_t dark = w.now;
		while (w.now.ms < dark.ms + w.cfg.blind_ms + 2000) {
			w.now.ms += 1 + random_up_to(999); /* a long pause would begin the wait anew */
			w.in.refused += (uint64_t)random_up_to(200);
			for (int r = 0; r < READING_COUNT; r++)
				w.in.value[r].known = false;
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
			assert_true(s.level <= level);
			level = s.level;
		}
		assert_int_equal(s.level, LEVEL_NORMAL);
		assert_int_equal(s.gate, GATE_OPEN);
	}
}

static void
walk_twice_the_same_gives_the_same(void **state)
{
	(void)state;
	for (int i = 0; i < WALKS / 10; i++) {
		uint64_t from = seed;
		struct stance end[2];
		struct walk w[2];

		for (int twice = 0; twice < 2; twice++) {
			seed = from;
			begin_walk(&w[twice]);
			for (int step = 0; step < STEPS; step++) {
				move_on(&w[twice]);
				decide_step(&w[twice].state, &w[twice].cfg, &w[twice].in, w[twice].now, &end[twice]);
			}
		}
		assert_int_equal(end[0].level, end[1].level);
		assert_int_equal(end[0].admit, end[1].admit);
		assert_int_equal(end[0].since.ms, end[1].since.ms);
		assert_int_equal(end[0].next.ms, end[1].next.ms);
	}
}

static void
walk_that_calms_down_always_ends_open(void **state)
{
	(void)state;
	for (int i = 0; i < WALKS; i++) {
		struct walk w;
		struct stance s;

		begin_walk(&w);
		for (int step = 0; step < 500; step++) {
			move_on(&w);
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
		}
		/* Calm: everything known and well, nobody refused.  Wait for eight releases, a dwell and a bit. */
		w.in.forced = false;
		for (int r = 0; r < READING_COUNT; r++)
			w.in.value[r] = (struct reading_value) { .known = true, .value = r == READING_DISK_FREE ? 1e12 : 0 };
		mono_t calm = w.now;
		while (w.now.ms < calm.ms + 10 * w.cfg.release_ms + 2 * w.cfg.dwell_ms + 10000) {
			w.now.ms += 250;
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
		}
		assert_int_equal(s.level, LEVEL_NORMAL);
		assert_int_equal(s.admit, DECIDE_ADMIT_ALL);
	}
}

static void
walk_of_refusals_alone_never_raises_the_level(void **state)
{
	(void)state;
	for (int i = 0; i < WALKS; i++) {
		struct walk w;
		struct stance s;

		begin_walk(&w);
		w.inclination = 1;
		for (int step = 0; step < STEPS / 10; step++) {
			move_on(&w);
			w.in.forced = false;
			w.in.refused += 100000;
			decide_step(&w.state, &w.cfg, &w.in, w.now, &s);
			assert_int_equal(s.level, LEVEL_NORMAL);
		}
	}
}

static void
step_with_a_clock_that_goes_back_counts_as_the_last(void **state)
{
	struct walk w;
	struct stance a, b;

	(void)state;
	begin_walk(&w);
	w.cfg.dwell_ms = 0;
	w.now.ms = 1000000;
	w.in.value[READING_TODO] = (struct reading_value) { true, 5000 };
	decide_step(&w.state, &w.cfg, &w.in, w.now, &a);
	decide_step(&w.state, &w.cfg, &w.in, (mono_t) { 10 }, &b);
	assert_int_equal(a.level, b.level);
	assert_true(b.since.ms <= 1000000);
	decide_step(&w.state, &w.cfg, &w.in, (mono_t) { 1000000 + w.cfg.hold_ms }, &b);
	assert_int_equal(b.level, LEVEL_CRITICAL);
}

static void
resume_keeps_a_level_until_its_readings_release_it(void **state)
{
	struct walk w;
	struct stance s;

	(void)state;
	begin_walk(&w);
	w.cfg.dwell_ms = 0;
	w.cfg.release_ms = 15000;
	w.cfg.blind_ms = 30000;
	w.now.ms = 1000000;
	decide_resume(&w.state, LEVEL_OVERLOADED);
	for (int ms = 0; ms < 5000; ms += 100) {
		decide_step(&w.state, &w.cfg, &w.in, mono_after(w.now, ms), &s);
		assert_int_equal(s.gate, GATE_CLOSED); /* nothing is known yet */
	}
	for (int r = 0; r < READING_COUNT; r++)
		w.in.value[r] = (struct reading_value) { .known = true, .value = r == READING_DISK_FREE ? 1e12 : 0 };
	for (int ms = 5000; ms < 20000; ms += 100) {
		decide_step(&w.state, &w.cfg, &w.in, mono_after(w.now, ms), &s);
		assert_int_equal(s.level, LEVEL_OVERLOADED);
	}
	decide_step(&w.state, &w.cfg, &w.in, mono_after(w.now, 20000), &s);
	assert_int_equal(s.level, LEVEL_NORMAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_stays_in_range_and_changes_at_most_once_a_dwell),
		cmocka_unit_test(walk_with_all_unknown_never_raises_and_goes_neutral),
		cmocka_unit_test(walk_twice_the_same_gives_the_same),
		cmocka_unit_test(walk_that_calms_down_always_ends_open),
		cmocka_unit_test(walk_of_refusals_alone_never_raises_the_level),
		cmocka_unit_test(step_with_a_clock_that_goes_back_counts_as_the_last),
		cmocka_unit_test(resume_keeps_a_level_until_its_readings_release_it),
	};
	const char *given = getenv("TEST_SEED");

	seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
	(void)printf("# TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
