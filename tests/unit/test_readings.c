/* SPDX-License-Identifier: ISC */
#include "controller/readings.h"

#include <math.h>

#include "tests/unit/kit.h"

#define T0 1000000
#define VALID 4000

static mono_t
at(int64_t ms)
{
	return (mono_t) { ms };
}

static void
set(struct readings *rs, enum reading_id id, double v, int64_t now)
{
	readings_set(rs, id, (struct reading_value) { .known = true, .value = v }, at(now), at(now + VALID));
}

static void
count(struct readings *rs, uint64_t arrived, uint64_t departed, int64_t now)
{
	readings_count_queue(rs, arrived, departed, at(now), at(now + VALID));
}

static void
check_unknown(const struct readings *rs, enum reading_id id, int64_t now)
{
	if (readings_get(rs, id, at(now)).known)
		fail_msg("%s is known at %lld", reading_info[id].name, (long long)now);
}

static void
check_value(const struct readings *rs, enum reading_id id, int64_t now, double want)
{
	struct reading_value v = readings_get(rs, id, at(now));

	if (!v.known || fabs(v.value - want) > 1e-6)
		fail_msg("%s at %lld: known %d, %.9g, want %.9g", reading_info[id].name,
			(long long)now, v.known,
			v.value, want);
}

/* --- single readings ------------------------------------------------------------------------- */

static void
readings_never_told_are_unknown(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	for (int i = 0; i < READING_COUNT; i++) {
		check_unknown(&rs, (enum reading_id)i, 0);
		check_unknown(&rs, (enum reading_id)i, T0);
		check_unknown(&rs, (enum reading_id)i, INT64_MAX);
	}
}

static void
readings_told_are_known_until_their_time_is_over(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	set(&rs, READING_TODO, 523, T0);
	check_value(&rs, READING_TODO, T0, 523);
	check_value(&rs, READING_TODO, T0 + VALID, 523);
	check_unknown(&rs, READING_TODO, T0 + VALID + 1);
	check_unknown(&rs, READING_TODO, INT64_MAX);
	check_unknown(&rs, READING_LOAD, T0);
}

static void
readings_now_before_they_were_told_are_unknown(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	set(&rs, READING_TODO, 523, T0);
	check_unknown(&rs, READING_TODO, T0 - 1);
	check_unknown(&rs, READING_TODO, 0);
}

static void
readings_told_unknown_forget_the_number_before(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	set(&rs, READING_TODO, 523, T0);
	readings_set(&rs, READING_TODO, (struct reading_value) { .known = false, .value = 1 }, at(T0 + 1),
		at(T0 + VALID));
	check_unknown(&rs, READING_TODO, T0 + 1);
}

static void
readings_that_a_lying_probe_tells_are_unknown(void **state)
{
	static const double lies[] = {
		NAN, -NAN, INFINITY, -INFINITY, -1, -1e-300, 9223372036854775808.0,
			9007199254740992.0, 1e300, -1e300,
	};

	(void)state;
	for (int id = 0; id < READING_COUNT; id++) {
		for (size_t i = 0; i < countof(lies); i++) {
			struct readings rs = { 0 };

			set(&rs, (enum reading_id)id, 5, T0);
			set(&rs, (enum reading_id)id, lies[i], T0 + 1);
			if (id == READING_GROWTH && lies[i] < 0 && lies[i] > -1e10)
				check_value(&rs, READING_GROWTH, T0 + 1, lies[i]); /* a queue may shrink */
			else
				check_unknown(&rs, (enum reading_id)id, T0 + 1);
			set(&rs, (enum reading_id)id, 6, T0 + 2);
			check_value(&rs, (enum reading_id)id, T0 + 2, 6);
		}
	}
}

static void
readings_at_the_edge_of_sanity_are_taken(void **state)
{
	static const double edges[] = { 0, 0.1, 9007199254740991.0 };

	(void)state;
	for (size_t i = 0; i < countof(edges); i++) {
		struct readings rs = { 0 };

		set(&rs, READING_DISK_FREE, edges[i], T0);
		check_value(&rs, READING_DISK_FREE, T0, edges[i]);
	}
	struct readings rs = { 0 };
	set(&rs, READING_GROWTH, -9007199254740991.0, T0);
	check_value(&rs, READING_GROWTH, T0, -9007199254740991.0);
}

static void
readings_forget_takes_just_the_named_ones(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	set(&rs, READING_TODO, 1, T0);
	set(&rs, READING_LOAD, 2, T0);
	readings_forget(&rs, 1u << READING_TODO);
	check_unknown(&rs, READING_TODO, T0);
	check_value(&rs, READING_LOAD, T0, 2);
	readings_forget(&rs, 0);
	check_value(&rs, READING_LOAD, T0, 2);
	readings_forget(&rs, ~0u);
	check_unknown(&rs, READING_LOAD, T0);
}

/* --- rates ----------------------------------------------------------------------------------- */

static void
rate_of_one_count_is_unknown(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 1000000, 0, T0);
	check_unknown(&rs, READING_ARRIVALS, T0);
	check_unknown(&rs, READING_DEPARTURES, T0);
	check_unknown(&rs, READING_GROWTH, T0);
}

static void
rate_over_less_than_a_second_is_unknown(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 0, 0, T0);
	count(&rs, 1000, 0, T0 + RATE_SPAN_MIN_MS - 1);
	check_unknown(&rs, READING_ARRIVALS, T0 + RATE_SPAN_MIN_MS - 1);
	count(&rs, 1000, 0, T0 + RATE_SPAN_MIN_MS);
	check_value(&rs, READING_ARRIVALS, T0 + RATE_SPAN_MIN_MS, 1000);
}

static void
rate_is_the_slope_over_the_window(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	for (int i = 0; i <= 10; i++)
		count(&rs, 300u * (unsigned)i, 200u * (unsigned)i, T0 + 1000 * i);
	check_value(&rs, READING_ARRIVALS, T0 + 10000, 300);
	check_value(&rs, READING_DEPARTURES, T0 + 10000, 200);
	check_value(&rs, READING_GROWTH, T0 + 10000, 100);
}

static void
rate_of_a_shrinking_queue_is_negative_growth(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 0, 0, T0);
	count(&rs, 10, 510, T0 + 2000);
	check_value(&rs, READING_GROWTH, T0 + 2000, -250);
}

/* A step is seen after the window, not longer: arrivals stop, and 3 s later the rate is 0. */
static void
rate_looks_back_over_the_window_only(void **state)
{
	struct readings rs = { 0 };
	int64_t t = T0;
	uint64_t total = 0;

	(void)state;
	for (; t < T0 + 10000; t += 100)
		count(&rs, total += 50, 0, t);
	check_value(&rs, READING_ARRIVALS, t - 100, 500);
	for (int i = 0; i <= RATE_WINDOW_MS / 100; i++, t += 100)
		count(&rs, total, 0, t);
	check_value(&rs, READING_ARRIVALS, t - 100, 0);
}

/* A late look divides by the time that passed: no burst. */
static void
rate_over_odd_intervals_divides_by_what_passed(void **state)
{
	static const int64_t gaps[] = { 3, 997, 17, 2500, 999, 4999, 1, 1, 1, 9998, 10000, 140, 60, 333 };
	struct readings rs = { 0 };
	int64_t t = T0;

	(void)state;
	/* A steady 40 a second, one each 25 ms, looked at when it suits. */
	for (size_t i = 0; i < 4 * countof(gaps); i++) {
		t += gaps[i % countof(gaps)];
		count(&rs, (uint64_t)(t / 25), 0, t);
		struct reading_value v = readings_get(&rs, READING_ARRIVALS, at(t));
		if (v.known)
			assert_true(fabs(v.value - 40) <= 1.0001);
	}
	assert_true(readings_get(&rs, READING_ARRIVALS, at(t)).known);
}

static void
rate_after_a_gap_starts_anew(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 0, 0, T0);
	count(&rs, 5000, 0, T0 + RATE_GAP_MS);
	check_value(&rs, READING_ARRIVALS, T0 + RATE_GAP_MS, 500);
	/* suspended for a millisecond too long: nothing is known, and nothing of before counts */
	count(&rs, 900000, 0, T0 + 2 * RATE_GAP_MS + 1);
	check_unknown(&rs, READING_ARRIVALS, T0 + 2 * RATE_GAP_MS + 1);
	check_unknown(&rs, READING_GROWTH, T0 + 2 * RATE_GAP_MS + 1);
	count(&rs, 900100, 0, T0 + 2 * RATE_GAP_MS + 1001);
	check_value(&rs, READING_ARRIVALS, T0 + 2 * RATE_GAP_MS + 1001, 100);
}

static void
rate_of_a_total_that_goes_back_starts_anew(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 1000, 1000, T0);
	count(&rs, 2000, 2000, T0 + 1000);
	check_value(&rs, READING_ARRIVALS, T0 + 1000, 1000);
	count(&rs, 1999, 3000, T0 + 2000);
	check_unknown(&rs, READING_ARRIVALS, T0 + 2000);
	check_value(&rs, READING_DEPARTURES, T0 + 2000, 1000);
	check_unknown(&rs, READING_GROWTH, T0 + 2000); /* half of it is not known */
	count(&rs, 2099, 4000, T0 + 3000);
	check_value(&rs, READING_ARRIVALS, T0 + 3000, 100);
	check_value(&rs, READING_GROWTH, T0 + 3000, -900);
}

static void
rate_with_now_going_back_starts_anew(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 1000, 0, T0);
	count(&rs, 2000, 0, T0 + 1000);
	count(&rs, 3000, 0, T0 + 500);
	check_unknown(&rs, READING_ARRIVALS, T0 + 500);
	count(&rs, 3010, 0, T0 + 1500);
	check_value(&rs, READING_ARRIVALS, T0 + 1500, 10);
}

static void
rate_with_now_repeated_does_not_divide_by_zero(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		count(&rs, i, 0, T0);
	check_unknown(&rs, READING_ARRIVALS, T0);
	count(&rs, 2000, 0, T0 + 2000);
	/* whatever sample of the crowd was kept, it is 1000..2000 in two seconds */
	struct reading_value v = readings_get(&rs, READING_ARRIVALS, at(T0 + 2000));
	assert_true(v.known && v.value >= 500 && v.value <= 1000);
}

static void
rate_of_huge_totals_is_exact(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, UINT64_MAX - 1000, 0, T0);
	count(&rs, UINT64_MAX, 0, T0 + 1000);
	check_value(&rs, READING_ARRIVALS, T0 + 1000, 1000);
	count(&rs, 0, 0, T0 + 2000); /* wrapped: goes back */
	check_unknown(&rs, READING_ARRIVALS, T0 + 2000);
	/* a jump that no machine can make is no rate */
	count(&rs, UINT64_MAX, 0, T0 + 3000);
	check_unknown(&rs, READING_ARRIVALS, T0 + 3000);
}

static void
rate_is_unknown_when_nobody_refreshes_it(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 0, 0, T0);
	count(&rs, 100, 0, T0 + 1000);
	check_value(&rs, READING_GROWTH, T0 + 1000 + VALID, 100);
	check_unknown(&rs, READING_GROWTH, T0 + 1001 + VALID);
}

static void
rate_forgotten_starts_anew(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	count(&rs, 0, 0, T0);
	count(&rs, 100, 0, T0 + 1000);
	readings_forget(&rs, 1u << READING_ARRIVALS | 1u << READING_DEPARTURES | 1u << READING_GROWTH);
	check_unknown(&rs, READING_ARRIVALS, T0 + 1000);
	/* the probe comes back with totals that have nothing to do with those before */
	count(&rs, 1000000, 0, T0 + 2000);
	check_unknown(&rs, READING_ARRIVALS, T0 + 2000);
	count(&rs, 1000100, 0, T0 + 3000);
	check_value(&rs, READING_ARRIVALS, T0 + 3000, 100);
}

static void
rate_of_refusals_is_a_rate_of_its_own(void **state)
{
	struct readings rs = { 0 };

	(void)state;
	readings_count_refused(&rs, 10, at(T0), at(T0 + VALID));
	readings_count_refused(&rs, 70, at(T0 + 2000), at(T0 + 2000 + VALID));
	check_value(&rs, READING_REFUSED, T0 + 2000, 30);
	check_unknown(&rs, READING_ARRIVALS, T0 + 2000);
	readings_forget(&rs, 1u << READING_REFUSED);
	check_unknown(&rs, READING_REFUSED, T0 + 2000);
	readings_count_refused(&rs, 1000, at(T0 + 3000), at(T0 + 3000 + VALID));
	check_unknown(&rs, READING_REFUSED, T0 + 3000);
}

/* However often and irregularly it is looked at, the rate is between the least and the greatest that was, and
 * after a second of looking it is known. */
static void
rate_random_looks_stay_between_the_extremes(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(2000); round++) {
		struct readings rs = { 0 };
		int64_t t = T0, since = T0;
		unsigned longest = 1 + dice_below(&d, 2000);
		uint64_t total = dice_any(&d) >> 8;

		count(&rs, total, 0, t);
		for (int i = 0; i < 200; i++) {
			int64_t dt = 1 + dice_below(&d, longest);

			t += dt;
			total += 2 * (uint64_t)dt + dice_below(&d,
				2) * (uint64_t)dt; /* 2000 or 3000 a second */
			count(&rs, total, 0, t);
			struct reading_value v = readings_get(&rs, READING_ARRIVALS, at(t));
			if (v.known)
				assert_true(v.value >= 1999.999 && v.value <= 3000.001);
			/* the least span of a full ring is half of the window */
			assert_true(v.known || t - since < RATE_SPAN_MIN_MS);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readings_never_told_are_unknown),
		cmocka_unit_test(readings_told_are_known_until_their_time_is_over),
		cmocka_unit_test(readings_now_before_they_were_told_are_unknown),
		cmocka_unit_test(readings_told_unknown_forget_the_number_before),
		cmocka_unit_test(readings_that_a_lying_probe_tells_are_unknown),
		cmocka_unit_test(readings_at_the_edge_of_sanity_are_taken),
		cmocka_unit_test(readings_forget_takes_just_the_named_ones),
		cmocka_unit_test(rate_of_one_count_is_unknown),
		cmocka_unit_test(rate_over_less_than_a_second_is_unknown),
		cmocka_unit_test(rate_is_the_slope_over_the_window),
		cmocka_unit_test(rate_of_a_shrinking_queue_is_negative_growth),
		cmocka_unit_test(rate_looks_back_over_the_window_only),
		cmocka_unit_test(rate_over_odd_intervals_divides_by_what_passed),
		cmocka_unit_test(rate_after_a_gap_starts_anew),
		cmocka_unit_test(rate_of_a_total_that_goes_back_starts_anew),
		cmocka_unit_test(rate_with_now_going_back_starts_anew),
		cmocka_unit_test(rate_with_now_repeated_does_not_divide_by_zero),
		cmocka_unit_test(rate_of_huge_totals_is_exact),
		cmocka_unit_test(rate_is_unknown_when_nobody_refreshes_it),
		cmocka_unit_test(rate_forgotten_starts_anew),
		cmocka_unit_test(rate_of_refusals_is_a_rate_of_its_own),
		cmocka_unit_test(rate_random_looks_stay_between_the_extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
