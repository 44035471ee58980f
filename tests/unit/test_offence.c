/* SPDX-License-Identifier: ISC */
/*
 * One offence from the first refusal to the quiet after the last: what is told of it, how often, and what when there are too many.
 * Rows of the failure list: S1, S4, T6.
 */
#include "controller/offence.h"

#include "tests/unit/kit.h"

#define MINUTE INT64_C(60000)

static struct offences *offences;
static mono_t now;

/* What was told, by kind; `last` of all. */
static struct {
	unsigned n[3], ignored;
	enum offence_news kind;
	struct store_offence last;
	bool deaf; /* "not now" */
} told;

static bool
on_tell(const struct store_offence *row, enum offence_news news, void *arg)
{
	assert_ptr_equal(arg, &told);
	assert_true(row->id[0] != '\0');
	if (told.deaf) {
		told.ignored++;
		return false;
	}
	told.n[news]++;
	told.kind = news;
	told.last = *row;
	return true;
}

static int
make(void **state)
{
	(void)state;
	memset(&told, 0, sizeof(told));
	now = (mono_t) { 1000000 };
	return offence_new(on_tell, &told, &offences);
}

static int
unmake(void **state)
{
	(void)state;
	offence_free(offences);
	return 0;
}

static wall_t
wall(void)
{
	return (wall_t) { now.ms + INT64_C(1795000000000) };
}

static unsigned next_id;

/* A refusal, as the engine tells it.  Returns the number of the offence's id. */
static unsigned
refuse(uint64_t fingerprint, enum check check, int64_t window_ms)
{
	struct store_offence *row = offence_refused(offences, fingerprint, check, window_ms, now, wall());

	if (row->id[0] == '\0')
		(void)snprintf(row->id, sizeof(row->id), "r%08u", ++next_id % 100000000);
	unsigned id = (unsigned)strtoul(row->id + 1, NULL, 10);
	offence_flush(offences, now);
	return id;
}

static void
pass_ms(int64_t ms)
{
	now.ms += ms;
}

static void
step(void)
{
	offence_step(offences, now, wall());
}

static void
check_told(unsigned began, unsigned went_on, unsigned ended)
{
	assert_int_equal(told.n[OFFENCE_BEGAN], began);
	assert_int_equal(told.n[OFFENCE_GOES_ON], went_on);
	assert_int_equal(told.n[OFFENCE_ENDED], ended);
}

/* --- one ------------------------------------------------------------------------------------- */

static void
offence_is_one_while_it_goes_on(void **state)
{
	(void)state;
	unsigned id = refuse(1, CHECK_IPTHROTTLE, MINUTE);
	check_told(1, 0, 0);
	assert_int_equal(told.last.refused, 1);
	assert_int_equal(told.last.window_ms, MINUTE);
	int64_t first = told.last.first.ms;
	for (int i = 0; i < 100; i++) {
		pass_ms(MINUTE); /* not longer than its time */
		step();
		assert_int_equal(refuse(1, CHECK_IPTHROTTLE, MINUTE), id);
	}
	assert_int_equal(told.n[OFFENCE_ENDED], 0);
	assert_int_equal(told.last.refused, 101);
	assert_int_equal(told.last.first.ms, first);
	assert_int_equal(told.last.last.ms, wall().ms);
	assert_int_equal(offence_count(offences), 1);
}

static void
offence_quiet_for_longer_is_over(void **state)
{
	(void)state;
	unsigned id = refuse(1, CHECK_IPTHROTTLE, MINUTE);
	pass_ms(MINUTE);
	step();
	check_told(1, 0, 0);
	pass_ms(1);
	step();
	check_told(1, 0, 1);
	assert_int_equal(told.last.ended.ms, wall().ms);
	assert_int_equal(offence_count(offences), 0);
	step();
	check_told(1, 0, 1);
	assert_true(refuse(1, CHECK_IPTHROTTLE, MINUTE) != id);
	assert_int_equal(told.last.ended.ms, 0);
	check_told(2, 0, 1);
}

/* The step is late: the next refusal finds that it is over. */
static void
offence_next_after_the_quiet_is_another(void **state)
{
	(void)state;
	unsigned id = refuse(1, CHECK_IPTHROTTLE, MINUTE);
	pass_ms(MINUTE + 1);
	assert_true(refuse(1, CHECK_IPTHROTTLE, MINUTE) != id);
	check_told(2, 0, 1);
	assert_int_equal(offence_count(offences), 1);
}

static void
offence_limit_without_a_time_is_over_after_a_minute(void **state)
{
	(void)state;
	(void)refuse(1, CHECK_CONCURRENCY, 0);
	pass_ms(OFFENCE_QUIET_MS);
	step();
	check_told(1, 0, 0);
	pass_ms(1);
	step();
	check_told(1, 0, 1);
}

static void
offence_keys_and_checks_are_apart(void **state)
{
	(void)state;
	unsigned a = refuse(1, CHECK_IPTHROTTLE, MINUTE), b = refuse(2, CHECK_IPTHROTTLE, MINUTE);
	unsigned c = refuse(1, CHECK_RCPTTHROTTLE, MINUTE);
	unsigned d = refuse(1 + 8192, CHECK_IPTHROTTLE, MINUTE); /* in the same bucket */

	assert_true(a != b && b != c && c != a && d != a && d != b);
	assert_int_equal(refuse(1, CHECK_IPTHROTTLE, MINUTE), a);
	assert_int_equal(refuse(2, CHECK_IPTHROTTLE, MINUTE), b);
	assert_int_equal(refuse(1, CHECK_RCPTTHROTTLE, MINUTE), c);
	assert_int_equal(refuse(1 + 8192, CHECK_IPTHROTTLE, MINUTE), d);
	assert_int_equal(offence_count(offences), 4);
}

static void
offence_clock_stands_still_or_goes_back(void **state)
{
	(void)state;
	unsigned id = refuse(1, CHECK_IPTHROTTLE, MINUTE);
	assert_int_equal(refuse(1, CHECK_IPTHROTTLE, MINUTE), id);
	pass_ms(-10 * MINUTE);
	step();
	assert_int_equal(refuse(1, CHECK_IPTHROTTLE, MINUTE), id);
	check_told(1, 0, 0);
}

/* --- telling --------------------------------------------------------------------------------- */

static void
offence_numbers_told_every_five_seconds(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		(void)refuse(1, CHECK_IPTHROTTLE, MINUTE);
		pass_ms(10);
	}
	check_told(1, 1, 0); /* ten seconds */
	pass_ms(OFFENCE_ROW_EVERY_MS);
	step();
	check_told(1, 2, 0);
	assert_int_equal(told.last.refused, 1000);
	pass_ms(OFFENCE_ROW_EVERY_MS);
	step();
	check_told(1, 2, 0); /* nothing new */
	pass_ms(MINUTE);
	step();
	check_told(1, 2, 1);
	assert_int_equal(told.last.refused, 1000);
}

static void
offence_not_now_is_told_later(void **state)
{
	(void)state;
	told.deaf = true;
	for (unsigned i = 0; i < 10; i++)
		(void)refuse(i, CHECK_IPTHROTTLE, MINUTE);
	assert_int_equal(told.ignored, 10);
	step();
	assert_int_equal(told.ignored, 11); /* the first "not now" of a step is enough */
	told.deaf = false;
	step();
	check_told(10, 0, 0);
	told.deaf = true;
	pass_ms(2 * MINUTE);
	step();
	check_told(10, 0, 0);
	assert_int_equal(offence_count(offences), 10);
	told.deaf = false;
	step();
	check_told(10, 0, 10);
	assert_int_equal(offence_count(offences), 0);
}

static void
offence_over_before_it_was_told_begins_and_ends(void **state)
{
	(void)state;
	told.deaf = true;
	(void)refuse(1, CHECK_IPTHROTTLE, MINUTE);
	pass_ms(MINUTE + 1);
	told.deaf = false;
	step();
	check_told(1, 0, 1);
}

static void
offence_end_of_all_is_told(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		(void)refuse(i, CHECK_IPTHROTTLE, MINUTE);
	pass_ms(5);
	offence_end_all(offences, wall());
	check_told(100, 0, 100);
	assert_int_equal(told.last.ended.ms, wall().ms);
	assert_int_equal(offence_count(offences), 0);
	offence_end_all(offences, wall());
	check_told(100, 0, 100);
}

/* --- many ------------------------------------------------------------------------------------ */

static void
offence_one_too_many_ends_the_quietest(void **state)
{
	(void)state;
	unsigned steady = refuse(0, CHECK_IPTHROTTLE, MINUTE), quietest = refuse(1, CHECK_IPTHROTTLE, MINUTE);
	for (unsigned i = 2; i < OFFENCES_MAX; i++)
		(void)refuse(i, CHECK_IPTHROTTLE, MINUTE);
	assert_int_equal(offence_count(offences), OFFENCES_MAX);
	check_told(OFFENCES_MAX, 0, 0);
	assert_int_equal(refuse(0, CHECK_IPTHROTTLE, MINUTE), steady);
	(void)refuse(OFFENCES_MAX, CHECK_IPTHROTTLE, MINUTE);
	check_told(OFFENCES_MAX + 1, 0, 1);
	assert_true(refuse(1, CHECK_IPTHROTTLE, MINUTE) != quietest);
	/* A million of one shot each: who goes on stays one offence. */
	for (unsigned i = 0; i < 1000000; i++) {
		(void)refuse(OFFENCES_MAX + i, CHECK_IPTHROTTLE, MINUTE);
		if (i % 1000 == 0)
			assert_int_equal(refuse(0, CHECK_IPTHROTTLE, MINUTE), steady);
	}
	assert_int_equal(offence_count(offences), OFFENCES_MAX);
}

static void
offence_room_is_made_though_nobody_listens(void **state)
{
	(void)state;
	told.deaf = true;
	for (unsigned i = 0; i < 3 * OFFENCES_MAX; i++)
		(void)refuse(i, CHECK_IPTHROTTLE, MINUTE);
	assert_int_equal(offence_count(offences), OFFENCES_MAX);
}

/* Whatever happens in whatever order: what began ends once, and there are never more than fit. */
static void
offence_any_order_each_begins_and_ends_once(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(400000); i++) {
		uint64_t fingerprint = dice_below(&d, i % 3 == 0 ? 20 : 20000) * (dice_below(&d, 2) == 0 ? 1 : 8192);

		told.deaf = dice_below(&d, 100) == 0;
		(void)refuse(fingerprint, (enum check)dice_below(&d, CHECK_COUNT), 1 + (int64_t)dice_below(&d, 3000));
		if (dice_below(&d, 4) == 0)
			pass_ms(dice_below(&d, 100));
		if (dice_below(&d, 50) == 0)
			step();
		assert_true(offence_count(offences) <= OFFENCES_MAX);
		assert_true(told.n[OFFENCE_ENDED] <= told.n[OFFENCE_BEGAN]);
	}
	told.deaf = false;
	pass_ms(10000);
	step();
	assert_int_equal(offence_count(offences), 0);
	print_message("# %u began, %u went on, %u ended, %u times not now\n", told.n[OFFENCE_BEGAN],
		told.n[OFFENCE_GOES_ON], told.n[OFFENCE_ENDED], told.ignored);
	assert_true(told.n[OFFENCE_BEGAN] - told.n[OFFENCE_ENDED] <= told.ignored);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(offence_is_one_while_it_goes_on),
		T(offence_quiet_for_longer_is_over),
		T(offence_next_after_the_quiet_is_another),
		T(offence_limit_without_a_time_is_over_after_a_minute),
		T(offence_keys_and_checks_are_apart),
		T(offence_clock_stands_still_or_goes_back),
		T(offence_numbers_told_every_five_seconds),
		T(offence_not_now_is_told_later),
		T(offence_over_before_it_was_told_begins_and_ends),
		T(offence_end_of_all_is_told),
		T(offence_one_too_many_ends_the_quietest),
		T(offence_room_is_made_though_nobody_listens),
		T(offence_any_order_each_begins_and_ends_once),
	};

	return cmocka_run_group_tests_name("offence", tests, NULL, NULL);
}
