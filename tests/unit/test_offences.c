/* SPDX-License-Identifier: ISC */
/* What is remembered of offences, and that it is forgotten: exactly, and in a full memory the least first (B2, S4,
 * S6, S7). */
#include "controller/offences.h"

#include "tests/unit/kit.h"

#define DAY INT64_C(86400000)

static const uint8_t key[16] = "a key of a test";

static struct offences *
memory_of(size_t max)
{
	struct offences *o;

	assert_int_equal(offences_new(max, key, &o), 0);
	return o;
}

static struct ip_prefix
host(unsigned i)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse("10.0.0.0", &p), 0);
	p.ip.b[13] = (uint8_t)(i >> 16);
	p.ip.b[14] = (uint8_t)(i >> 8);
	p.ip.b[15] = (uint8_t)i;
	return p;
}

static void
put(struct offences *o, unsigned i, unsigned steps, int64_t length_ms, int64_t ended_ms)
{
	struct ip_prefix p = host(i);
	struct offence f = { .steps = steps, .times = 7, .length_ms = length_ms, .ended = { ended_ms } };

	offences_put(o, &p, &f, DAY, (mono_t) { ended_ms - length_ms });
}

static unsigned
steps(const struct offences *o, unsigned i, int64_t forgive_ms, int64_t now_ms)
{
	struct ip_prefix p = host(i);
	struct offence f;
	bool known = offences_get(o, &p, forgive_ms, (mono_t) { now_ms }, &f);

	assert_int_equal(known, f.steps > 0);
	assert_int_equal(f.times, known ? 7 : 0);
	return f.steps;
}

static void
offences_one_step_for_each_clean_period(void **state)
{
	static const struct {
		unsigned steps;
		int64_t length_ms, forgive_ms, clean_ms;
		unsigned left;
	} rows[] = {
		{ 3, 120000, DAY, -60000, 3 }, /* still in force */
		{ 3, 120000, DAY, 0, 3 },
		{ 3, 120000, DAY, DAY - 1, 3 },
		{ 3, 120000, DAY, DAY, 2 },
		{ 3, 120000, DAY, 3 * DAY - 1, 1 },
		{ 3, 120000, DAY, 3 * DAY, 0 },
		{ 3, 120000, DAY, 1000 * DAY, 0 },
		{ 3, DAY, DAY, DAY, 3 }, /* twice the length is longer */
		{ 3, DAY, DAY, 2 * DAY, 2 },
		{ 5, 7 * DAY, DAY, 14 * DAY, 4 },
		{ 5, DAY, 10 * DAY, 9 * DAY, 5 },
		{ 5, DAY, 10 * DAY, 20 * DAY, 3 },
		{ 255, INT64_MAX, DAY, INT64_MAX / 2, 255 },
		{ 255, 1, 1, 100, 205 },
		{ 255, 0, 0, 100, 155 },
		{ 1, 1, INT64_MAX, INT64_MAX / 2, 1 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct offences *o = memory_of(1);
		struct offence f;
		struct ip_prefix p = host(1);
		int64_t ended = 1000000;

		put(o, 1, rows[i].steps, rows[i].length_ms, ended);
		if (steps(o, 1, rows[i].forgive_ms, ended + rows[i].clean_ms) != rows[i].left)
			fail_msg("row %zu", i);
		/* The forecast is right to the millisecond. */
		mono_t now = { ended + rows[i].clean_ms };
		(void)offences_get(o, &p, rows[i].forgive_ms, now, &f);
		int64_t clean = offences_clean_ms(&f, rows[i].forgive_ms, now);
		assert_true(clean >= 0 && (clean > 0) == (rows[i].left > 0));
		if (clean > 0 && clean < INT64_MAX / 4) {
			assert_int_equal(steps(o, 1, rows[i].forgive_ms, now.ms + clean - 1), 1);
			assert_int_equal(steps(o, 1, rows[i].forgive_ms, now.ms + clean), 0);
		}
		offences_free(o);
	}
}

static void
offences_ended_early_are_clean_from_then_on(void **state)
{
	struct offences *o = memory_of(2);
	struct ip_prefix p = host(1), q = host(2);

	(void)state;
	put(o, 1, 2, 1000, 5000);
	offences_end(o, &p, (mono_t) { 4500 });
	offences_end(o, &q, (mono_t) { 4500 }); /* nobody */
	assert_int_equal(steps(o, 1, DAY, 4500 + DAY), 1);
	offences_end(o, &p, (mono_t) { 9000 }); /* it had ended before: no less clean for that */
	assert_int_equal(steps(o, 1, DAY, 4500 + DAY), 1);
	offences_forget(o, &p);
	offences_forget(o, &p);
	assert_int_equal(steps(o, 1, DAY, 4500), 0);
	assert_int_equal(offences_count(o), 0);
	offences_free(o);
	offences_free(NULL);
}

/* A flood of addresses that offend once does not push out the one that offends again and again. */
static void
offences_full_forgets_the_least_of_the_oldest(void **state)
{
	struct offences *o = memory_of(100);

	(void)state;
	put(o, 1, 5, 1000, 1000);
	for (unsigned i = 0; i < 5000; i++)
		put(o, 100 + i, 1, 1000, 2000 + (int64_t)i);
	assert_int_equal(steps(o, 1, DAY, 8000), 5);
	assert_int_equal(offences_count(o), 100);
	/* But once forgiven, it is the first to go. */
	put(o, 6000, 1, 1000, 10 * DAY);
	for (unsigned i = 0; i < 99; i++)
		put(o, 6001 + i, 1, 1000, 10 * DAY);
	struct ip_prefix p = host(1);
	struct offence f;
	assert_false(offences_get(o, &p, INT64_MAX, (mono_t) { 10 * DAY }, &f));
	/* Where all have many steps, the one with the fewest goes, and the oldest of these. */
	offences_free(o);
	o = memory_of(3);
	put(o, 1, 5, 1000, 1000);
	put(o, 2, 3, 1000, 1001);
	put(o, 3, 3, 1000, 1002);
	put(o, 4, 9, 1000, 1003);
	assert_int_equal(steps(o, 1, DAY, 1100), 5);
	assert_int_equal(steps(o, 2, DAY, 1100), 0);
	assert_int_equal(steps(o, 3, DAY, 1100), 3);
	put(o, 3, 4, 1000, 1004); /* again: the newest by now */
	put(o, 5, 1, 1000, 1005);
	assert_int_equal(steps(o, 3, DAY, 1100), 0); /* 4 is fewer than 5 and 9, however new */
	assert_int_equal(steps(o, 1, DAY, 1100), 5);
	offences_free(o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offences_one_step_for_each_clean_period),
		cmocka_unit_test(offences_ended_early_are_clean_from_then_on),
		cmocka_unit_test(offences_full_forgets_the_least_of_the_oldest),
	};

	return cmocka_run_group_tests_name("offences", tests, NULL, NULL);
}
