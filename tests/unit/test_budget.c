/* SPDX-License-Identifier: ISC */
/* How many may be blocked (R7, A10): the minute against an oracle, the share with all kinds of crowds. */
#include "controller/budget.h"

#include "tests/unit/kit.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)

static const uint8_t key[16] = "a key of a test";

static struct budget *
new_budget(void)
{
	struct budget *b;

	assert_int_equal(budget_new(key, &b), 0);
	return b;
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

static enum budget_answer
try(struct budget *b, unsigned i, int64_t per_minute, int64_t share, int64_t now)
{
	struct ip_prefix p = host(i);
	enum budget_answer a = budget_ask(b, &p, per_minute, share, (mono_t) { now });

	if (a == BUDGET_OK)
		budget_take(b, &p, (mono_t) { now });
	return a;
}

static void
seen(struct budget *b, unsigned first, unsigned n, int64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		struct ip_prefix p = host(first + i);

		budget_seen(b, &p, (mono_t) { now });
	}
}

static void
budget_never_more_in_any_minute(void **state)
{
	static int64_t made[100000];
	struct budget *b = new_budget();
	struct dice d = dice_new();
	unsigned n = 0, refused = 0;
	int64_t now = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		now += dice_below(&d, 50) == 0 ? dice_below(&d, 90000) : dice_below(&d, 1000);
		bool room = n < 60 || now - made[n - 60] >= MINUTE;
		enum budget_answer a = try(b, i % 20, 60, 100, now);
		assert_int_equal(a, room ? BUDGET_OK : BUDGET_OVER_MINUTE);
		if (a == BUDGET_OK)
			made[n++] = now;
		else
			refused++;
	}
	assert_true(n > 1000 && refused > 1000);
	/* The largest that can be configured. */
	now += HOUR;
	for (unsigned i = 0; i < BUDGET_PER_MINUTE_MAX; i++)
		assert_int_equal(try(b, i % 20, BUDGET_PER_MINUTE_MAX, 100, now), BUDGET_OK);
	assert_int_equal(try(b, 1, BUDGET_PER_MINUTE_MAX, 100, now + MINUTE - 1), BUDGET_OVER_MINUTE);
	assert_int_equal(try(b, 1, BUDGET_PER_MINUTE_MAX, 100, now + MINUTE), BUDGET_OK);
	budget_free(b);
	budget_free(NULL);
}

static unsigned
how_many(struct budget *b, int64_t share, int64_t now)
{
	unsigned n = 0;

	while (n < 10000 && try(b, n, BUDGET_PER_MINUTE_MAX, share, now) == BUDGET_OK)
		n++;
	return n;
}

static void
budget_share_of_those_who_came_by(void **state)
{
	static const struct {
		unsigned clients;
		int64_t share;
		unsigned blocked;
	} rows[] = {
		{ 0, 20, BUDGET_FLOOR }, { 50, 20, BUDGET_FLOOR }, { 99, 20, BUDGET_FLOOR }, { 1000, 20, 200 },
		{ 1000, 1, BUDGET_FLOOR }, { 1000, 100, 1000 }, { 10000, 50, 5000 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct budget *b = new_budget();

		seen(b, 0, rows[i].clients, 1000);
		unsigned n = how_many(b, rows[i].share, 2000), about = rows[i].blocked / 20;
		/* Bits are shared at times: fewer clients, and fewer blocked, than there are. */
		if (n + about < rows[i].blocked || n > rows[i].blocked + about)
			fail_msg("row %zu: %u", i, n);
		budget_free(b);
	}
}

static void
budget_the_same_again_is_not_one_more(void **state)
{
	struct budget *b = new_budget();

	(void)state;
	seen(b, 0, 100, 0);
	seen(b, 0, 100, 1);
	assert_true(budget_clients(b, (mono_t) { 2 }) == 100);
	for (int64_t t = 0; t < 100; t++)
		assert_int_equal(try(b, (unsigned)(t % 20), 60, 20, t * MINUTE / 10), BUDGET_OK);
	assert_true(budget_blocked(b, (mono_t) { 10 * MINUTE }) == 20);
	assert_int_equal(try(b, 21, 60, 20, 11 * MINUTE), BUDGET_OVER_SHARE);
	assert_int_equal(try(b, 3, 60, 20, 11 * MINUTE), BUDGET_OK);
	budget_free(b);
}

static void
budget_old_hours_are_forgotten(void **state)
{
	struct budget *b = new_budget();

	(void)state;
	seen(b, 0, 1000, 10 * MINUTE);
	assert_in_range(how_many(b, 20, 20 * MINUTE), 190, 210);
	seen(b, 1000, 500, 40 * MINUTE); /* the next half hour: both count */
	assert_true(budget_clients(b, (mono_t) { 50 * MINUTE }) > 1480);
	/* The one after: the first is out, and those that came back are no more than before. */
	seen(b, 1000, 10, 70 * MINUTE);
	uint64_t clients = budget_clients(b, (mono_t) { 71 * MINUTE });
	assert_true(clients > 490 && clients <= 500);
	assert_true(budget_blocked(b, (mono_t) { 71 * MINUTE }) == 0);
	assert_int_equal(try(b, 2000, 60, 20, 71 * MINUTE), BUDGET_OK);
	assert_true(budget_clients(b, (mono_t) { 9 * HOUR }) == 0); /* eight hours in one turn */
	assert_true(budget_blocked(b, (mono_t) { 9 * HOUR }) == 0);
	budget_free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budget_never_more_in_any_minute),
		cmocka_unit_test(budget_share_of_those_who_came_by),
		cmocka_unit_test(budget_the_same_again_is_not_one_more),
		cmocka_unit_test(budget_old_hours_are_forgotten),
	};

	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
