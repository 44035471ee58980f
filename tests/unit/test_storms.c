/* SPDX-License-Identifier: ISC */
/*
 * When does a storm begin and end, and what gets in meanwhile?  Against an oracle that remembers every bounce.
 */
#include "controller/storms.h"

#include "tests/unit/kit.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)

static struct storms *storms;
static struct storms_cfg cfg;
static mono_t now;
static unsigned next_id;
static const uint8_t key[STORMS_KEY_SIZE] = "0123456789abcde";

static void
configure(void)
{
	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct storms_cfg) {
		.bounces = 20, .domain_bounces = 50, .within_ms = 10 * MINUTE, .quiet_ms = HOUR, .retry_ms = 5 * MINUTE,
		.open_mail = STORMS_RETRY, .no_mail = STORMS_REFUSE,
		.exempt = { 2, { "postmaster", "info@one.test" } },
	};
}

static int
make(void **state)
{
	(void)state;
	configure();
	now = (mono_t) { 1000000 };
	return storms_new(&cfg, 1000, key, &storms);
}

static int
unmake(void **state)
{
	(void)state;
	storms_free(storms);
	return 0;
}

static struct address
address(const char *text)
{
	struct address a;

	assert_true(address_parse(text, strlen(text), &a));
	return a;
}

static struct ip
ip(unsigned n)
{
	struct ip i = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, (uint8_t)(n >> 8), (uint8_t)n } };

	return i;
}

static struct storms_result
ask(const char *to, unsigned from, enum storms_case is)
{
	const struct address a = address(to);
	const struct ip client = ip(from);
	const struct storms_bounce b = { .to = &a, .from = &client, .is = is, .may_guess = is == STORMS_OPEN };
	struct storms_result r;
	char id[EPISODE_ID_MAX];

	storms_ask(storms, &b, now, &r);
	for (int i = 0; i < 2; i++)
		if (r.begun[i] != STORMS_NONE) {
			kit_format(id, sizeof(id), "s%u", ++next_id);
			storms_set_id(storms, r.begun[i], id);
		}
	return r;
}

/* `n` of them, from clients of their own, at once. */
static void
pour(const char *to, unsigned n, enum storms_case is)
{
	for (unsigned i = 0; i < n; i++)
		(void)ask(to, 5000 + i, is);
}

static void
test_twentieth(void **state)
{
	(void)state;
	for (int i = 0; i < 19; i++) {
		assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
		now.ms += MINUTE / 2;
	}
	struct storms_result r = ask("A@One.Test.", 1, STORMS_UNSENT);
	assert_int_equal(r.verdict, STORMS_REFUSED);
	assert_int_not_equal(r.begun[0], STORMS_NONE);
	assert_int_equal(storms_count(storms), 1);
	const struct storms_record *s = storms_get(storms, r.storm);
	assert_string_equal(s->name, "a@one.test");
	assert_true(!s->is_domain && s->counted == 20 && s->refused == 1 && s->began.ms == now.ms);
	assert_int_equal(ask("b@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
	assert_int_equal(ask("a@two.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
}

static void
test_slowly_is_none(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
		now.ms += 10 * MINUTE / 19 + 1; /* the 20th comes when the first is just out */
	}
	assert_int_equal(storms_count(storms), 0);
}

static void
test_expected_and_odd_do_not_count(void **state)
{
	const struct address a = address("a@one.test");
	struct storms_bounce odd = { .to = &a, .is = STORMS_OPEN, .is_odd = true };
	struct storms_result r;

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ask("a@one.test", 1, STORMS_EXPECTED).verdict, STORMS_IN);
		storms_ask(storms, &odd, now, &r);
		assert_true(r.verdict == STORMS_IN && r.was_odd);
	}
	assert_int_equal(storms_count(storms), 0);
	pour("a@one.test", 20, STORMS_OPEN);
	assert_int_equal(storms_count(storms), 1);
	assert_int_equal(ask("a@one.test", 1, STORMS_EXPECTED).verdict, STORMS_IN);
	storms_ask(storms, &odd, now, &r); /* in a storm odd ones are no longer few */
	assert_true(r.verdict == STORMS_PUT_OFF && !r.was_odd);
}

static void
test_exempt(void **state)
{
	(void)state;
	pour("postmaster@one.test", 100, STORMS_UNSENT);
	pour("POSTMASTER@two.test", 100, STORMS_UNSENT);
	pour("info@one.test", 100, STORMS_UNSENT);
	assert_int_equal(storms_count(storms), 0);
	pour("info@two.test", 100, STORMS_UNSENT);
	assert_int_equal(storms_count(storms), 1);
	assert_int_equal(storms_stats(storms).counted, 100);
}

static void
test_quiet_ends_it(void **state)
{
	struct storms_record over;

	(void)state;
	pour("a@one.test", 200, STORMS_UNSENT);
	now.ms += HOUR - 1;
	assert_false(storms_step(storms, now, &over));
	assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED);
	now.ms += 1;
	assert_true(storms_step(storms, now, &over)); /* one in an hour is not a storm */
	assert_string_equal(over.name, "a@one.test");
	assert_int_equal(over.counted, 201);
	assert_false(storms_step(storms, now, &over));
	assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
}

static void
test_release(void **state)
{
	struct storms_record over;

	(void)state;
	pour("a@one.test", 25, STORMS_UNSENT);
	assert_false(storms_release(storms, "b@one.test", 10, &over));
	assert_false(storms_release(storms, "one.test", 8, &over));
	assert_false(storms_release(storms, "", 0, &over));
	assert_true(storms_release(storms, "A@ONE.test", 10, &over));
	assert_string_equal(over.name, "a@one.test");
	assert_int_equal(storms_count(storms), 0);
	pour("a@one.test", 19, STORMS_UNSENT); /* what was counted before is forgotten */
	assert_int_equal(storms_count(storms), 0);
	pour("a@one.test", 1, STORMS_UNSENT);
	assert_int_equal(storms_count(storms), 1);
}

/* --- put off --------------------------------------------------------------------------------- */

static void
test_comes_back(void **state)
{
	(void)state;
	pour("a@one.test", 20, STORMS_OPEN);
	assert_int_equal(ask("a@one.test", 1, STORMS_OPEN).verdict, STORMS_PUT_OFF);
	now.ms += 5 * MINUTE - 1;
	assert_int_equal(ask("a@one.test", 2, STORMS_OPEN).verdict, STORMS_PUT_OFF);
	now.ms += 1;
	assert_int_equal(ask("a@one.test", 3, STORMS_OPEN).verdict, STORMS_PUT_OFF); /* others have not been put off */
	struct storms_result r = ask("a@one.test", 1, STORMS_OPEN);
	assert_int_equal(r.verdict, STORMS_IN_AT_RETRY);
	assert_int_equal(storms_get(storms, r.storm)->retried, 1);
	assert_int_equal(ask("a@one.test", 1, STORMS_OPEN).verdict, STORMS_PUT_OFF); /* the next one waits anew */
}

static void
test_several_come_back(void **state)
{
	(void)state;
	pour("a@one.test", 20, STORMS_OPEN);
	for (int i = 0; i < STORMS_PENDING; i++)
		assert_int_equal(ask("a@one.test", 1, STORMS_OPEN).verdict, STORMS_PUT_OFF);
	for (int i = 0; i < STORMS_PENDING + 1; i++)
		assert_int_equal(ask("a@one.test", 2, STORMS_OPEN).verdict, STORMS_PUT_OFF);
	now.ms += 10 * MINUTE;
	for (int i = 0; i < STORMS_PENDING; i++)
		assert_int_equal(ask("a@one.test", 1, STORMS_OPEN).verdict, STORMS_IN_AT_RETRY);
	for (int i = 0; i < 20; i++, now.ms += 10 * MINUTE) /* a source of the flood */
		assert_int_equal(ask("a@one.test", 2, STORMS_OPEN).verdict, STORMS_PUT_OFF);
}

static void
test_no_guess_left(void **state)
{
	const struct address a = address("a@one.test");
	const struct ip client = ip(1);
	struct storms_bounce b = { .to = &a, .from = &client, .is = STORMS_OPEN, .may_guess = false };
	struct storms_result r;

	(void)state;
	pour("a@one.test", 20, STORMS_OPEN);
	for (int i = 0; i < 5; i++, now.ms += 6 * MINUTE) {
		storms_ask(storms, &b, now, &r);
		assert_int_equal(r.verdict, STORMS_PUT_OFF);
	}
	b.may_guess = true; /* it has sent something meanwhile */
	storms_ask(storms, &b, now, &r);
	assert_int_equal(r.verdict, STORMS_IN_AT_RETRY);
}

static void
test_ipv6_is_its_64(void **state)
{
	const struct address a = address("a@one.test");
	struct ip one = { { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1 } }, other = { { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 2 } };
	struct storms_bounce b = { .to = &a, .from = &one, .is = STORMS_OPEN, .may_guess = true };
	struct storms_result r;

	(void)state;
	pour("a@one.test", 20, STORMS_OPEN);
	storms_ask(storms, &b, now, &r);
	now.ms += 6 * MINUTE;
	b.from = &other;
	storms_ask(storms, &b, now, &r);
	assert_int_equal(r.verdict, STORMS_IN_AT_RETRY);
}

static void
test_policies(void **state)
{
	static const enum storms_verdict wanted[] = {
		[STORMS_PASS] = STORMS_IN, [STORMS_RETRY] = STORMS_PUT_OFF, [STORMS_DEFER] = STORMS_PUT_OFF,
		[STORMS_REFUSE] = STORMS_REFUSED,
	};

	(void)state;
	pour("a@one.test", 20, STORMS_OPEN);
	for (int p = STORMS_PASS; p <= STORMS_REFUSE; p++) {
		cfg.open_mail = p;
		cfg.no_mail = STORMS_REFUSE - p;
		storms_configure(storms, &cfg);
		assert_int_equal(ask("a@one.test", 1, STORMS_OPEN).verdict, wanted[p]);
		assert_int_equal(ask("a@one.test", 2, STORMS_UNSENT).verdict, wanted[STORMS_REFUSE - p]);
	}
}

static void
test_young_is_never_refused(void **state)
{
	const struct address a = address("a@one.test");
	const struct storms_bounce b = { .to = &a, .is = STORMS_UNSENT, .is_young = true };
	struct storms_result r;

	(void)state;
	for (int i = 0; i < 100; i++) {
		storms_ask(storms, &b, now, &r);
		assert_int_equal(r.verdict, i < 19 ? STORMS_IN : STORMS_PUT_OFF);
	}
}

/* --- domains --------------------------------------------------------------------------------- */

static void
test_dictionary(void **state)
{
	char to[40];
	struct storms_record over;

	(void)state;
	for (unsigned i = 0; i < 49; i++, now.ms += 1000) {
		kit_format(to, sizeof(to), "x%u@one.test", i);
		assert_int_equal(ask(to, 1, STORMS_UNSENT).verdict, STORMS_IN);
	}
	struct storms_result r = ask("x49@one.test", 1, STORMS_UNSENT);
	assert_int_equal(r.verdict, STORMS_REFUSED);
	assert_true(storms_get(storms, r.storm)->is_domain);
	assert_string_equal(storms_get(storms, r.storm)->name, "one.test");
	assert_int_equal(ask("never@one.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED);
	assert_int_equal(ask("sender@one.test", 1, STORMS_OPEN).verdict, STORMS_IN);
	assert_int_equal(ask("postmaster@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
	assert_int_equal(ask("never@two.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
	assert_true(storms_release(storms, "One.Test", 8, &over));
	assert_int_equal(ask("never@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
}

/* One address alone is not its domain, however much comes. */
static void
test_one_address_is_not_the_domain(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		char to[40];

		kit_format(to, sizeof(to), "a%d@one.test", i);
		pour(to, 1000, STORMS_UNSENT);
	}
	assert_int_equal(storms_count(storms), 10);
	assert_int_equal(ask("b@one.test", 1, STORMS_UNSENT).verdict, STORMS_IN);
}

/* --- restarts and limits --------------------------------------------------------------------- */

static void
test_restore(void **state)
{
	struct storms_record r = { .name = "a@one.test", .id = "sabc", .began = { now.ms - HOUR },
		.last = { now.ms - HOUR / 2 }, .counted = 40000 }, over;

	(void)state;
	assert_true(storms_restore(storms, &r, now));
	assert_false(storms_restore(storms, &r, now)); /* once */
	assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED);
	now.ms += HOUR / 2;
	assert_true(storms_step(storms, now, &over));
	assert_true(over.counted == 40001 && strcmp(over.id, "sabc") == 0);
	assert_false(storms_restore(storms, &r, now)); /* it would be over */
	r = (struct storms_record) { .name = "two.test", .is_domain = true, .last = now, .began = now };
	assert_true(storms_restore(storms, &r, now));
	assert_int_equal(ask("x@two.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED);
}

static void
test_full(void **state)
{
	char to[40];

	(void)state;
	pour("a@one.test", 25, STORMS_UNSENT);
	pour("b@one.test", 12, STORMS_OPEN);
	for (unsigned i = 0; i < 200000; i++) {
		kit_format(to, sizeof(to), "x%u@d%u.test", i, i);
		(void)ask(to, 1, STORMS_OPEN);
	}
	assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED); /* a storm is never forgotten */
	pour("b@one.test", 8, STORMS_OPEN); /* nor is one that is on the way, by those with one bounce */
	assert_int_equal(storms_count(storms), 2);
	struct storms_stats s = storms_stats(storms);
	assert_true(s.used <= s.entries && s.evicted > 0);
}

static void
test_as_many_storms_as_there_is_room_for(void **state)
{
	char to[40];

	(void)state;
	storms_free(storms);
	assert_int_equal(storms_new(&cfg, 20000, key, &storms), 0);
	for (unsigned i = 0; i < STORMS_MAX + 100; i++) {
		kit_format(to, sizeof(to), "x@d%u.test", i);
		pour(to, 21, STORMS_UNSENT);
	}
	assert_int_equal(storms_count(storms), STORMS_MAX);
	now.ms += HOUR;
	struct storms_record over;
	unsigned n = 0;
	while (storms_step(storms, now, &over))
		n++;
	assert_int_equal(n, STORMS_MAX);
	assert_int_equal(storms_count(storms), 0);
}

static void
test_clock_that_goes_back(void **state)
{
	(void)state;
	pour("a@one.test", 19, STORMS_UNSENT);
	now.ms -= HOUR;
	assert_int_equal(ask("a@one.test", 1, STORMS_UNSENT).verdict, STORMS_REFUSED);
}

static void
test_off(void **state)
{
	(void)state;
	storms_free(storms);
	cfg.bounces = 0;
	assert_int_equal(storms_new(&cfg, 1000, key, &storms), 0);
	pour("a@one.test", 1000, STORMS_UNSENT);
	assert_int_equal(storms_count(storms), 0);
	cfg.bounces = -1;
	struct storms *none;
	assert_int_equal(storms_new(&cfg, 1000, key, &none), -EINVAL);
}

/* --- the oracle ------------------------------------------------------------------------------ */

#define ORACLE_MAX 4000
#define ADDRESSES 6

struct history {
	int64_t at[ORACLE_MAX];
	unsigned n;
	bool storm;
};

static unsigned
within(const struct history *h, int64_t ms)
{
	unsigned n = 0;

	while (n < h->n && now.ms - h->at[h->n - 1 - n] < ms)
		n++;
	return n;
}

static void
forget(struct history *h, int64_t quiet)
{
	if (h->storm && within(h, quiet) < cfg.bounces) {
		h->storm = false;
		h->n = 0;
	}
}

/* Random traces to a few addresses: the same storms begin and end, at the same time. */
static void
test_oracle(void **state)
{
	static struct history h[ADDRESSES];
	struct dice d = dice_new();
	struct storms_record over;

	(void)state;
	for (int round = 0; round < kit_rounds(60); round++) {
		storms_free(storms);
		configure();
		memset(h, 0, sizeof(h));
		cfg.bounces = 2 + dice_below(&d, 30);
		cfg.domain_bounces = 0;
		cfg.within_ms = 1 + dice_below(&d, 10000);
		cfg.quiet_ms = cfg.within_ms + dice_below(&d, 20000);
		assert_int_equal(storms_new(&cfg, 1000, key, &storms), 0);
		for (int i = 0; i < ORACLE_MAX; i++) {
			unsigned who = dice_below(&d, ADDRESSES) & dice_below(&d, ADDRESSES);
			char to[40];

			now.ms += dice_below(&d, 3) == 0 ? dice_below(&d, 2000) : dice_below(&d, 3) * dice_below(&d, 300);
			now.ms += dice_below(&d, 300) == 0 ? dice_below(&d, 60000) : 0;
			while (storms_step(storms, now, &over))
				;
			for (int k = 0; k < ADDRESSES; k++)
				forget(&h[k], cfg.quiet_ms);
			kit_format(to, sizeof(to), "a%u@one.test", who);
			h[who].at[h[who].n++] = now.ms;
			h[who].storm = h[who].storm || within(&h[who], cfg.within_ms) >= cfg.bounces;
			assert_int_equal(ask(to, 1, STORMS_UNSENT).verdict, h[who].storm ? STORMS_REFUSED : STORMS_IN);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_twentieth, make, unmake),
		cmocka_unit_test_setup_teardown(test_slowly_is_none, make, unmake),
		cmocka_unit_test_setup_teardown(test_expected_and_odd_do_not_count, make, unmake),
		cmocka_unit_test_setup_teardown(test_exempt, make, unmake),
		cmocka_unit_test_setup_teardown(test_quiet_ends_it, make, unmake),
		cmocka_unit_test_setup_teardown(test_release, make, unmake),
		cmocka_unit_test_setup_teardown(test_comes_back, make, unmake),
		cmocka_unit_test_setup_teardown(test_several_come_back, make, unmake),
		cmocka_unit_test_setup_teardown(test_no_guess_left, make, unmake),
		cmocka_unit_test_setup_teardown(test_ipv6_is_its_64, make, unmake),
		cmocka_unit_test_setup_teardown(test_policies, make, unmake),
		cmocka_unit_test_setup_teardown(test_young_is_never_refused, make, unmake),
		cmocka_unit_test_setup_teardown(test_dictionary, make, unmake),
		cmocka_unit_test_setup_teardown(test_one_address_is_not_the_domain, make, unmake),
		cmocka_unit_test_setup_teardown(test_restore, make, unmake),
		cmocka_unit_test_setup_teardown(test_full, make, unmake),
		cmocka_unit_test_setup_teardown(test_as_many_storms_as_there_is_room_for, make, unmake),
		cmocka_unit_test_setup_teardown(test_clock_that_goes_back, make, unmake),
		cmocka_unit_test_setup_teardown(test_off, make, unmake),
		cmocka_unit_test_setup_teardown(test_oracle, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
