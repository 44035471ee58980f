/* SPDX-License-Identifier: ISC */
/* Random operations, against a set that is a plain array: what it says is obvious. */
#include "probes/msgset.h"

#include "tests/unit/kit.h"

#define DIRS 4
#define NUMBERS 1000
#define SLOTS 4096 /* of a fresh set */

/* What is there, and since when it has been known. */
struct reference {
	bool there[DIRS][NUMBERS];
	int64_t seen[DIRS][NUMBERS];
	size_t count;
};

static struct msgset *
fresh(void)
{
	struct msgset *s;

	assert_int_equal(msgset_new(&s), 0);
	return s;
}

static mono_t
at(int64_t ms)
{
	return (mono_t) { ms };
}

static void
check_oldest(const struct msgset *s, const struct reference *r)
{
	int64_t oldest = INT64_MAX;
	mono_t got;

	for (int d = 0; d < DIRS; d++)
		for (int n = 0; n < NUMBERS; n++)
			if (r->there[d][n] && r->seen[d][n] < oldest)
				oldest = r->seen[d][n];
	assert_int_equal(msgset_oldest(s, &got), oldest != INT64_MAX);
	if (oldest != INT64_MAX)
		assert_int_equal(got.ms, oldest);
}

/* --- events ---------------------------------------------------------------------------------- */

static void
msgset_fresh_is_empty(void **state)
{
	struct msgset *s = fresh();
	mono_t t = at(5);

	(void)state;
	assert_int_equal(msgset_count(s), 0);
	assert_false(msgset_oldest(s, &t));
	assert_int_equal(t.ms, 5);
	assert_false(msgset_removed(s, 0, 1));
	assert_int_equal(msgset_count(s), 0);
	msgset_free(s);
	msgset_free(NULL);
}

static void
msgset_events_are_idempotent(void **state)
{
	struct msgset *s = fresh();

	(void)state;
	assert_true(msgset_created(s, 1, 7, at(10)));
	assert_false(msgset_created(s, 1, 7, at(20)));
	assert_true(msgset_created(s, 2, 7, at(30))); /* the same number in another directory */
	assert_int_equal(msgset_count(s), 2);
	assert_true(msgset_removed(s, 1, 7));
	assert_false(msgset_removed(s, 1, 7));
	assert_int_equal(msgset_count(s), 1);
	msgset_free(s);
}

static void
msgset_a_number_used_again_is_young_again(void **state)
{
	struct msgset *s = fresh();
	mono_t t;

	(void)state;
	(void)msgset_created(s, 0, 1, at(10));
	(void)msgset_created(s, 0, 2, at(20));
	(void)msgset_removed(s, 0, 1);
	(void)msgset_created(s, 0, 1, at(30));
	assert_true(msgset_oldest(s, &t));
	assert_int_equal(t.ms, 20);
	(void)msgset_removed(s, 0, 2);
	assert_true(msgset_oldest(s, &t));
	assert_int_equal(t.ms, 30);
	/* an event that repeats what is known makes nothing younger */
	(void)msgset_created(s, 0, 1, at(40));
	assert_true(msgset_oldest(s, &t));
	assert_int_equal(t.ms, 30);
	msgset_free(s);
}

static void
msgset_extreme_numbers_are_kept_apart(void **state)
{
	static const uint64_t numbers[] = {
		0, 1, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 48, UINT64_C(1) << 63, UINT64_MAX,
		UINT64_C(0x0002000000000000), UINT64_C(0xffff000000000001),
	};
	static const unsigned dirs[] = { 0, 1, 4095, 65535 };
	struct msgset *s = fresh();

	(void)state;
	for (size_t d = 0; d < countof(dirs); d++)
		for (size_t i = 0; i < countof(numbers); i++)
			assert_true(msgset_created(s, dirs[d], numbers[i], at(1)));
	assert_int_equal(msgset_count(s), countof(dirs) * countof(numbers));
	for (size_t d = 0; d < countof(dirs); d++)
		for (size_t i = 0; i < countof(numbers); i++)
			assert_true(msgset_removed(s, dirs[d], numbers[i]));
	assert_int_equal(msgset_count(s), 0);
	msgset_free(s);
}

static void
msgset_random_events_match_the_reference(void **state)
{
	struct dice dice = dice_new();
	struct msgset *s = fresh();
	struct reference *r = calloc(1, sizeof(*r));
	int64_t now = 0;

	(void)state;
	assert_non_null(r);
	for (int i = 0; i < kit_rounds(400000); i++) {
		unsigned d = dice_below(&dice, DIRS), n = dice_below(&dice, NUMBERS);
		bool was = r->there[d][n];

		now += dice_below(&dice, 3);
		/* in turn the set fills and drains */
		if (dice_below(&dice, 100) < (i / 20000 % 2 == 0 ? 70u : 30u)) {
			assert_int_equal(msgset_created(s, d, n, at(now)), !was);
			r->there[d][n] = true;
			r->seen[d][n] = was ? r->seen[d][n] : now;
			r->count += !was;
		} else {
			assert_int_equal(msgset_removed(s, d, n), was);
			r->there[d][n] = false;
			r->count -= was;
		}
		assert_int_equal(msgset_has(s, d, n), r->there[d][n]);
		assert_int_equal(msgset_count(s), r->count);
		if (i % 500 == 0)
			check_oldest(s, r);
	}
	free(r);
	msgset_free(s);
}

/* Numbers that all want the same few slots at the end of the table, so that runs go round its end. */
static void
msgset_colliding_numbers_round_the_end_are_found(void **state)
{
	struct dice dice = dice_new();
	struct msgset *s = fresh();
	uint64_t number[200];
	bool there[200] = { false };
	size_t found = 0, count = 0;

	(void)state;
	for (uint64_t n = 1; found < countof(number); n++)
		if (((n * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (SLOTS - 1)) >= SLOTS - 3)
			number[found++] = n;
	for (int i = 0; i < kit_rounds(200000); i++) {
		unsigned n = dice_below(&dice, countof(number));

		if (dice_below(&dice, 2) == 0) {
			assert_int_equal(msgset_created(s, 0, number[n], at(i)), !there[n]);
			count += !there[n];
			there[n] = true;
		} else {
			assert_int_equal(msgset_removed(s, 0, number[n]), there[n]);
			count -= there[n];
			there[n] = false;
		}
		assert_int_equal(msgset_count(s), count);
	}
	msgset_free(s);
}

/* --- growth ---------------------------------------------------------------------------------- */

static void
msgset_growth_keeps_all_and_their_order(void **state)
{
	const uint64_t n = (uint64_t)kit_rounds(300000);
	struct msgset *s = fresh();
	mono_t t;

	(void)state;
	for (uint64_t i = 0; i < n; i++)
		assert_true(msgset_created(s, (unsigned)(i % 23), i * 23, at((int64_t)i)));
	assert_int_equal(msgset_count(s), n);
	for (uint64_t i = 0; i < n; i++) {
		assert_true(msgset_oldest(s, &t));
		assert_int_equal(t.ms, i);
		assert_true(msgset_removed(s, (unsigned)(i % 23), i * 23));
	}
	assert_int_equal(msgset_count(s), 0);
	assert_false(msgset_oldest(s, &t));
	/* and the room is used again */
	for (uint64_t i = 0; i < n; i++)
		assert_true(msgset_created(s, 0, i, at(0)));
	assert_int_equal(msgset_count(s), n);
	msgset_free(s);
}

/* More than MSGSET_MAX are counted, not remembered. */
static void
msgset_beyond_its_limit_goes_on_counting(void **state)
{
	struct msgset *s;
	size_t n = 0;

	(void)state;
	if (kit_is_slow())
		skip();
	s = fresh();
	/* Full is when a new one makes no difference to the memory; the limit is rounded by the table's size. */
	for (; n < 4 * (size_t)MSGSET_MAX; n++)
		(void)msgset_created(s, 0, n, at((int64_t)n));
	assert_int_equal(msgset_count(s), n);
	/* one that is not remembered leaves */
	assert_true(msgset_removed(s, 0, n - 1));
	assert_int_equal(msgset_count(s), n - 1);
	/* one that is remembered leaves */
	assert_true(msgset_removed(s, 0, 0));
	assert_int_equal(msgset_count(s), n - 2);
	/* its place is taken again */
	assert_true(msgset_created(s, 0, 0, at(1)));
	assert_false(msgset_created(s, 0, 0, at(1)));
	/* a recount brings the truth: half of them are gone */
	msgset_recount_begin(s);
	for (size_t i = 0; i < n / 2; i++)
		msgset_met(s, 0, i, at(2));
	(void)msgset_recount_end(s);
	assert_int_equal(msgset_count(s), n / 2);
	msgset_recount_begin(s);
	(void)msgset_recount_end(s);
	assert_int_equal(msgset_count(s), 0);
	assert_false(msgset_removed(s, 0, 5));
	assert_int_equal(msgset_count(s), 0);
	msgset_free(s);
}

/* --- recounts -------------------------------------------------------------------------------- */

static void
msgset_recount_of_an_exact_set_finds_nothing(void **state)
{
	struct msgset *s = fresh();

	(void)state;
	for (unsigned i = 1; i <= 100; i++)
		(void)msgset_created(s, i % 3, i, at(i));
	msgset_recount_begin(s);
	for (unsigned i = 1; i <= 100; i++)
		msgset_met(s, i % 3, i, at(1000));
	struct msgset_drift drift = msgset_recount_end(s);
	assert_int_equal(drift.missed, 0);
	assert_int_equal(drift.phantom, 0);
	mono_t t;
	assert_true(msgset_oldest(s, &t));
	assert_int_equal(t.ms, 1); /* it keeps their age */
	msgset_free(s);
}

static void
msgset_recount_finds_what_was_missed_and_what_is_not_there(void **state)
{
	struct msgset *s = fresh();

	(void)state;
	(void)msgset_created(s, 0, 1, at(1));
	(void)msgset_created(s, 0, 2, at(2));
	msgset_recount_begin(s);
	msgset_met(s, 0, 2, at(10));
	msgset_met(s, 0, 3, at(10));
	msgset_met(s, 0, 4, at(10));
	struct msgset_drift drift = msgset_recount_end(s);
	assert_int_equal(drift.missed, 2);
	assert_int_equal(drift.phantom, 1);
	assert_int_equal(msgset_count(s), 3);
	msgset_free(s);
}

/* Events during a recount: whatever the order of scan and event, the end is the truth and no drift. */
static void
msgset_recount_with_events_meanwhile_is_no_drift(void **state)
{
	struct msgset *s = fresh();

	(void)state;
	(void)msgset_created(s, 0, 1, at(1));
	(void)msgset_created(s, 0, 2, at(1));
	msgset_recount_begin(s);
	(void)msgset_created(s, 0, 3, at(2)); /* made after the scan had passed */
	msgset_met(s, 0, 4, at(2)); /* met first */
	(void)msgset_created(s, 0, 4, at(2)); /* announced then */
	msgset_met(s, 0, 5, at(2)); /* met, */
	(void)msgset_removed(s, 0, 5); /* and removed before its creation is told: never there */
	msgset_met(s, 0, 1, at(2));
	(void)msgset_removed(s, 0, 1); /* met and then removed */
	(void)msgset_removed(s, 0, 2); /* removed and not met */
	struct msgset_drift drift = msgset_recount_end(s);
	assert_int_equal(drift.missed, 0);
	assert_int_equal(drift.phantom, 0);
	assert_int_equal(msgset_count(s), 2); /* 3 and 4 */
	msgset_free(s);
}

static void
msgset_recount_begun_again_forgets_the_one_before(void **state)
{
	struct msgset *s = fresh();

	(void)state;
	(void)msgset_created(s, 0, 1, at(1));
	(void)msgset_created(s, 0, 2, at(1));
	for (int i = 0; i < 1000; i++) { /* more rounds than fit into its counter of rounds */
		msgset_recount_begin(s);
		msgset_met(s, 0, 1, at(2));
		if (i % 3 == 0)
			msgset_met(s, 0, 2, at(2));
	}
	msgset_recount_begin(s);
	msgset_met(s, 0, 1, at(3));
	struct msgset_drift drift = msgset_recount_end(s);
	assert_int_equal(drift.phantom, 1);
	assert_int_equal(msgset_count(s), 1);
	msgset_free(s);
}

/* A world that changes while it is scanned, in order,
	with a share of the events lost for good: after each recount the
 * set is the world. */
static void
msgset_recount_random_storm_ends_exact(void **state)
{
	struct dice dice = dice_new();
	struct reference *w = calloc(1, sizeof(*w));
	struct msgset *s = fresh();

	(void)state;
	assert_non_null(w);
	for (int round = 0; round < kit_rounds(300); round++) {
		size_t scanned = 0;
		bool lossy = dice_below(&dice, 2) == 0;

		if (lossy) /* before the recount begins, events are lost */
			for (int i = 0; i < 300; i++) {
				unsigned d = dice_below(&dice, DIRS), n = dice_below(&dice, NUMBERS);

				w->there[d][n] = dice_below(&dice, 2) == 0;
			}
		msgset_recount_begin(s);
		while (scanned < DIRS * NUMBERS) {
			if (dice_below(&dice, 4) == 0) {
				unsigned d = dice_below(&dice, DIRS), n = dice_below(&dice, NUMBERS);

				if ((w->there[d][n] = dice_below(&dice, 2) == 0))
					(void)msgset_created(s, d, n, at(round));
				else
					(void)msgset_removed(s, d, n);
			} else {
				size_t d = scanned / NUMBERS, n = scanned % NUMBERS;

				if (w->there[d][n])
					msgset_met(s, (unsigned)d, n, at(round));
				scanned++;
			}
		}
		struct msgset_drift drift = msgset_recount_end(s);
		if (!lossy)
			assert_int_equal(drift.missed + drift.phantom, 0);
		size_t count = 0;
		for (int d = 0; d < DIRS; d++)
			for (int n = 0; n < NUMBERS; n++)
				count += w->there[d][n];
		assert_int_equal(msgset_count(s), count);
	}
	/* member by member */
	for (unsigned d = 0; d < DIRS; d++)
		for (unsigned n = 0; n < NUMBERS; n++)
			assert_int_equal(msgset_removed(s, d, n), w->there[d][n]);
	assert_int_equal(msgset_count(s), 0);
	free(w);
	msgset_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msgset_fresh_is_empty),
		cmocka_unit_test(msgset_events_are_idempotent),
		cmocka_unit_test(msgset_a_number_used_again_is_young_again),
		cmocka_unit_test(msgset_extreme_numbers_are_kept_apart),
		cmocka_unit_test(msgset_random_events_match_the_reference),
		cmocka_unit_test(msgset_colliding_numbers_round_the_end_are_found),
		cmocka_unit_test(msgset_growth_keeps_all_and_their_order),
		cmocka_unit_test(msgset_beyond_its_limit_goes_on_counting),
		cmocka_unit_test(msgset_recount_of_an_exact_set_finds_nothing),
		cmocka_unit_test(msgset_recount_finds_what_was_missed_and_what_is_not_there),
		cmocka_unit_test(msgset_recount_with_events_meanwhile_is_no_drift),
		cmocka_unit_test(msgset_recount_begun_again_forgets_the_one_before),
		cmocka_unit_test(msgset_recount_random_storm_ends_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
