/* SPDX-License-Identifier: ISC */
/*
 * Who is refused, by which check, at which stage, with which reply: all combinations; and who never is.  Rows of the failure list:
 * Q9, S2, S5.
 */
#include "controller/admit.h"

#include "lib/ask.h"
#include "lib/siphash.h"
#include "tests/unit/kit.h"

#define COUNT 3 /* of all limits here, but for those that say otherwise */
#define BIT(check) (UINT32_C(1) << (check))
#define ALL_CHECKS (BIT(CHECK_COUNT) - 1)

static struct rate_cfg cfg;
static struct rate *rate;
static struct admit admit;
static mono_t now;

/* --- a configuration, a session, a question --------------------------------------------------- */

static void
limit_class(const char *name, const char *pattern, int64_t count)
{
	struct rate_class *c = &cfg.class[cfg.n_classes];

	if (cfg.n_classes > 0 && strcmp(c[-1].name, name) == 0) {
		c--;
	} else {
		cfg.n_classes++;
		*c = (struct rate_class) { .mode = RATE_WINDOW, .first = cfg.n_limits };
		(void)snprintf(c->name, sizeof(c->name), "%s", name);
	}
	struct rate_limit *l = &cfg.limit[cfg.n_limits++];
	assert_int_equal(rate_limit_set_pattern(l, pattern), 0);
	l->window_ms = 60000;
	l->count = count;
	c->n++;
}

static void
configured(void)
{
	static const uint8_t key[RATE_KEY_SIZE] = "not so random";

	rate_free(rate);
	assert_int_equal(rate_new(RATE_MEMORY_MIN, key, &rate), 0);
	rate_configure(rate, &cfg);
	admit_configure(&admit, &cfg);
}

static int
begin(void **state)
{
	(void)state;
	memset(&cfg, 0, sizeof(cfg));
	now = (mono_t) { 1000000 };
	configured();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	rate_free(rate);
	rate = NULL;
	return 0;
}

/* Who asks: a stranger, one without an address, a relay client, a user, a user that the plugin did not take for one. */
enum who { STRANGER, NOBODY, RELAY, USER, DISGUISED };
#define WHOS 5

static struct record
session(enum who who, enum stage stage, uint32_t wants)
{
	struct record r = {
		.stage = stage, .class = who == RELAY || who == USER ? CLASS_OWN : CLASS_STRANGER, .wants = wants, .pid = 4711,
		.ip_known = who != NOBODY,
	};

	assert_int_equal(ip_parse("192.0.2.1", &r.ip), 0);
	if (who == USER || who == DISGUISED)
		r.text[RECORD_USER] = record_text_of("alice@example.test");
	return r;
}

static struct record
from(const char *address, enum stage stage, uint32_t wants)
{
	struct record r = session(STRANGER, stage, wants);

	assert_int_equal(ip_parse(address, &r.ip), 0);
	return r;
}

static struct record
by(const char *user, enum stage stage, uint32_t wants)
{
	struct record r = session(USER, stage, wants);

	r.text[RECORD_USER] = record_text_of(user);
	return r;
}

static struct admit_result
ask_in(const struct record *r, enum level level, const struct rate_answer *held, bool may_sleep)
{
	const struct admit_world world = { .now = now, .level = level, .held = held, .may_sleep = may_sleep };
	struct admit_result a;

	memset(&a, 0xa5, sizeof(a));
	admit_ask(&admit, rate, r, &world, &a);
	return a;
}

static struct admit_result
ask(const struct record *r)
{
	return ask_in(r, LEVEL_NORMAL, NULL, true);
}

/* Ask until it is refused, at most `most` times.  Returns how often it went well before. */
static int
passes(const struct record *r, int most)
{
	int n = 0;

	while (n < most && ask(r).verdict == VERDICT_PASS)
		n++;
	return n;
}

static const struct rate_answer nine_of_eight = { .verdict = RATE_OVER, .n = 9, .max = 8 };

/* --- every check, stage, and kind of client --------------------------------------------------- */

/* The rule as it was written down: does this check ever refuse this one? */
static bool
concerns(enum check check, enum who who)
{
	switch (check) {
	case CHECK_CONCURRENCY:
	case CHECK_IPTHROTTLE:
		return who == STRANGER;
	case CHECK_USERTHROTTLE:
		return who == USER || who == DISGUISED;
	case CHECK_RCPTTHROTTLE:
		return who == STRANGER || who == USER || who == DISGUISED;
	default:
		return false;
	}
}

static void
check_one(enum check check, enum stage stage, enum who who)
{
	const struct record r = session(who, stage, BIT(check));
	const bool is_held = check == CHECK_CONCURRENCY, at_rcpt = stage == STAGE_RCPT || stage == STAGE_DATA;
	struct admit_result a = { 0 };

	assert_int_equal(admit_wants_held(&r), is_held && concerns(check, who));
	for (int i = 0; i <= COUNT; i++) {
		a = ask_in(&r, LEVEL_NORMAL, is_held && i == COUNT ? &nine_of_eight : NULL, true);
		assert_true(i == COUNT || a.verdict == VERDICT_PASS);
	}
	if (!concerns(check, who)) {
		assert_int_equal(a.verdict, VERDICT_PASS);
		assert_int_equal(a.code, 0);
		return;
	}
	assert_int_equal(a.verdict, at_rcpt ? VERDICT_REFUSE : VERDICT_CLOSE);
	assert_int_equal(a.code, at_rcpt ? 451 : 421);
	assert_int_equal(a.check, check);
	assert_int_equal(a.why.n, is_held ? 9 : COUNT + 1);
	assert_int_equal(a.why.max, is_held ? 8 : COUNT);
	assert_string_equal(a.value, who == STRANGER ? "192.0.2.1" : "alice@example.test");
	assert_int_equal(a.value_len, strlen(a.value));
	assert_true(is_held ? a.class == -1 : strncmp(cfg.class[a.class].name, "rcpt", 4) == 0
		|| strncmp(cfg.class[a.class].name, who == STRANGER ? "ip" : "user", 2) == 0);
}

static void
admit_every_check_stage_and_client(void **state)
{
	static const char *const classes[] = { "ip", "user", "rcpt_ip", "rcpt_user" };

	(void)state;
	for (size_t i = 0; i < countof(classes); i++)
		limit_class(classes[i], "*", COUNT);
	for (int check = 0; check < CHECK_COUNT; check++) {
		for (int stage = 0; stage < STAGE_COUNT; stage++) {
			for (int who = 0; who < WHOS; who++) {
				configured(); /* nothing counted yet */
				check_one((enum check)check, (enum stage)stage, (enum who)who);
			}
		}
	}
}

static void
admit_nothing_configured_all_pass(void **state)
{
	(void)state;
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		for (int who = 0; who < WHOS; who++) {
			const struct record r = session((enum who)who, (enum stage)stage, ALL_CHECKS);

			assert_int_equal(passes(&r, 100), 100);
		}
	}
	assert_int_equal(rate_stats(rate).marks, 0);
}

static void
admit_nothing_wanted_nothing_counted(void **state)
{
	const struct record stranger = session(STRANGER, STAGE_RCPT, 0), user = session(USER, STAGE_RCPT, 0);
	const struct record other = session(STRANGER, STAGE_RCPT, BIT(CHECK_OVERLOAD) | BIT(31));

	(void)state;
	limit_class("ip", "*", 0);
	limit_class("user", "*", 0);
	limit_class("rcpt_ip", "*", 0);
	limit_class("rcpt_user", "*", 0);
	configured();
	assert_int_equal(ask_in(&stranger, LEVEL_NORMAL, &nine_of_eight, true).verdict, VERDICT_PASS);
	assert_int_equal(ask(&user).verdict, VERDICT_PASS);
	assert_int_equal(ask(&other).verdict, VERDICT_PASS);
	assert_int_equal(rate_stats(rate).marks, 0);
}

/* --- which class ----------------------------------------------------------------------------- */

static void
admit_class_of_the_stage_goes_first(void **state)
{
	(void)state;
	limit_class("ip", "*", 5);
	limit_class("ip_mail", "*", 2);
	limit_class("user", "*", 6);
	limit_class("user_rcpt", "*", 1);
	limit_class("ip_nonsense", "*", 0);
	configured();
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		const struct record r = session(STRANGER, (enum stage)stage, BIT(CHECK_IPTHROTTLE));
		const struct record u = session(USER, (enum stage)stage, BIT(CHECK_USERTHROTTLE));

		/* All stages but the one share the general class, so the first of them uses it up. */
		assert_int_equal(passes(&r, 10), stage == STAGE_MAIL ? 2 : stage == STAGE_CONNECTION ? 5 : 0);
		assert_int_equal(passes(&u, 10), stage == STAGE_RCPT ? 1 : stage == STAGE_CONNECTION ? 6 : 0);
	}
}

static void
admit_class_of_a_stage_alone_leaves_the_others(void **state)
{
	const struct record mail = session(STRANGER, STAGE_MAIL, BIT(CHECK_IPTHROTTLE));
	const struct record helo = session(STRANGER, STAGE_HELO, BIT(CHECK_IPTHROTTLE));

	(void)state;
	limit_class("ip_mail", "*", 1);
	configured();
	assert_int_equal(passes(&mail, 10), 1);
	assert_int_equal(passes(&helo, 10), 10);
}

static void
admit_patterns_decide_within_a_class(void **state)
{
	const struct record inside = from("10.0.0.7", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record free = from("10.9.9.9", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record other = from("198.51.100.1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));

	(void)state;
	limit_class("ip", "10.0.0.*", 20);
	limit_class("ip", "10.0.0.0/8", -1);
	limit_class("ip", "*", 5);
	configured();
	assert_int_equal(passes(&inside, 30), 20);
	assert_int_equal(passes(&free, 30), 30);
	assert_int_equal(passes(&other, 30), 5);
}

static void
admit_no_pattern_matches_passes(void **state)
{
	const struct record r = from("198.51.100.1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));

	(void)state;
	limit_class("ip", "10.*", 0);
	configured();
	assert_int_equal(passes(&r, 10), 10);
}

static void
admit_reloaded_other_classes_count(void **state)
{
	const struct record r = session(STRANGER, STAGE_MAIL, BIT(CHECK_IPTHROTTLE));

	(void)state;
	limit_class("ip", "*", 1);
	configured();
	assert_int_equal(passes(&r, 10), 1);
	memset(&cfg, 0, sizeof(cfg));
	limit_class("other", "*", 0);
	limit_class("ip_mail", "*", 4);
	configured();
	assert_int_equal(passes(&r, 10), 4);
}

/* --- order ----------------------------------------------------------------------------------- */

static int64_t
marks_of(const char *class, const char *value)
{
	struct rate_question q;
	struct rate_answer a = { 0 };

	rate_find(rate, rate_class_find(&cfg, class, strlen(class)), value, strlen(value), &q);
	assert_int_equal(q.found, RATE_OK);
	rate_peek(rate, &q, now, &a);
	return a.n;
}

static void
admit_first_that_refuses_spares_the_rest(void **state)
{
	const struct record r = session(STRANGER, STAGE_RCPT, ALL_CHECKS);
	struct admit_result a;

	(void)state;
	limit_class("ip", "*", 1);
	limit_class("rcpt_ip", "*", 10);
	configured();
	a = ask_in(&r, LEVEL_NORMAL, &nine_of_eight, true);
	assert_int_equal(a.check, CHECK_CONCURRENCY);
	assert_int_equal(marks_of("ip", "192.0.2.1"), 0);
	assert_int_equal(ask(&r).verdict, VERDICT_PASS);
	assert_int_equal(marks_of("ip", "192.0.2.1"), 1);
	assert_int_equal(marks_of("rcpt_ip", "192.0.2.1"), 1);
	a = ask(&r);
	assert_int_equal(a.verdict, VERDICT_REFUSE);
	assert_int_equal(a.check, CHECK_IPTHROTTLE);
	assert_int_equal(marks_of("ip", "192.0.2.1"), 2); /* what is refused counts, where it was refused */
	assert_int_equal(marks_of("rcpt_ip", "192.0.2.1"), 1);
}

static void
admit_user_before_recipients(void **state)
{
	const struct record r = session(USER, STAGE_RCPT, ALL_CHECKS);

	(void)state;
	limit_class("user", "*", 2);
	limit_class("rcpt_user", "*", 3);
	limit_class("ip", "*", 0);
	limit_class("rcpt_ip", "*", 0);
	configured();
	assert_int_equal(passes(&r, 10), 2);
	assert_int_equal(ask(&r).check, CHECK_USERTHROTTLE);
	assert_int_equal(marks_of("rcpt_user", "alice@example.test"), 2);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void
admit_addresses_and_users_are_apart(void **state)
{
	const struct record one = from("192.0.2.1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record two = from("192.0.2.2", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record mapped = from("::ffff:192.0.2.1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record alice = by("alice", STAGE_MAIL, BIT(CHECK_USERTHROTTLE));
	const struct record bob = by("bob", STAGE_MAIL, BIT(CHECK_USERTHROTTLE));

	(void)state;
	limit_class("ip", "*", 2);
	limit_class("user", "*", 2);
	configured();
	assert_int_equal(passes(&one, 10), 2);
	assert_int_equal(passes(&mapped, 10), 0);
	assert_int_equal(passes(&two, 10), 2);
	assert_int_equal(passes(&alice, 10), 2);
	assert_int_equal(passes(&bob, 10), 2);
}

static void
admit_v6_counts_by_prefix(void **state)
{
	const struct record one = from("2001:db8::1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	const struct record same = from("2001:db8::ffff:1", STAGE_HELO, BIT(CHECK_IPTHROTTLE));
	struct admit_result a;

	(void)state;
	limit_class("ip", "*", 2);
	configured();
	assert_int_equal(passes(&one, 10), 2);
	a = ask(&same);
	assert_int_equal(a.verdict, VERDICT_CLOSE);
	assert_int_equal(a.why.prefix, 64);
	assert_string_equal(a.value, "2001:db8::ffff:1");
}

static void
admit_long_users_that_begin_alike_are_two(void **state)
{
	char one[2000], two[2000], value[ADMIT_VALUE_MAX];
	struct record a, b;

	(void)state;
	memset(one, 'x', sizeof(one) - 1);
	one[sizeof(one) - 1] = '\0';
	memcpy(two, one, sizeof(two));
	two[sizeof(two) - 2] = 'y';
	limit_class("user", "*", 2);
	configured();
	a = by(one, STAGE_MAIL, BIT(CHECK_USERTHROTTLE));
	b = by(two, STAGE_MAIL, BIT(CHECK_USERTHROTTLE));
	assert_int_equal(passes(&a, 10), 2);
	assert_int_equal(passes(&b, 10), 2);
	struct admit_result r = ask(&a);
	(void)snprintf(value, sizeof(value), "%.512s%016llx", one,
		(unsigned long long)siphash(one, sizeof(one) - 1, 0, 0));
	assert_string_equal(r.value, value);
	assert_int_equal(r.value_len, RECORD_TEXT_MAX + 16);
	/* The longest that is not cut has no hash behind it. */
	one[RECORD_TEXT_MAX] = '\0';
	a = by(one, STAGE_MAIL, BIT(CHECK_USERTHROTTLE));
	assert_int_equal(passes(&a, 10), 2);
	assert_string_equal(ask(&a).value, one);
}

static void
admit_user_of_nothing_is_none(void **state)
{
	const struct record empty = by("", STAGE_MAIL, BIT(CHECK_USERTHROTTLE) | BIT(CHECK_RCPTTHROTTLE));

	(void)state;
	limit_class("user", "*", 0);
	limit_class("rcpt_user", "*", 0);
	configured();
	assert_int_equal(passes(&empty, 10), 10);
}

/* A whole botnet behind one office router: its users are not refused for it, and do not use up what the others may. */
static void
admit_own_users_do_not_count_for_their_address(void **state)
{
	const struct record own = session(USER, STAGE_MAIL, ALL_CHECKS), relay = session(RELAY, STAGE_RCPT, ALL_CHECKS);
	const struct record stranger = session(STRANGER, STAGE_MAIL, ALL_CHECKS);

	(void)state;
	limit_class("ip", "*", COUNT);
	limit_class("rcpt_ip", "*", COUNT);
	configured();
	assert_int_equal(passes(&own, 50), 50);
	assert_int_equal(passes(&relay, 50), 50);
	assert_int_equal(marks_of("ip", "192.0.2.1"), 0);
	assert_int_equal(passes(&stranger, 50), COUNT);
	assert_int_equal(passes(&own, 50), 50);
	assert_int_equal(passes(&relay, 50), 50);
}

/* --- the tarpit ------------------------------------------------------------------------------ */

static struct record
delayed(uint32_t ms)
{
	struct record r = session(STRANGER, STAGE_RCPT, ALL_CHECKS);

	r.delay_ms = ms;
	return r;
}

static void
admit_delay_granted_while_all_is_normal(void **state)
{
	const struct record two = delayed(2000), most = delayed(ASK_DELAY_MAX_MS), more = delayed(ASK_DELAY_MAX_MS + 1);
	const struct record absurd = delayed(UINT32_MAX), none = delayed(0);
	struct record unwanted = delayed(2000);

	(void)state;
	unwanted.wants = ALL_CHECKS & ~BIT(CHECK_TARPIT);
	assert_int_equal(ask(&two).delay_ms, 2000);
	assert_int_equal(ask(&most).delay_ms, ASK_DELAY_MAX_MS);
	assert_int_equal(ask(&more).delay_ms, ASK_DELAY_MAX_MS);
	assert_int_equal(ask(&absurd).delay_ms, ASK_DELAY_MAX_MS);
	assert_int_equal(ask(&none).delay_ms, 0);
	assert_int_equal(ask(&unwanted).delay_ms, 0);
	assert_false(ask(&two).no_room);
}

static void
admit_no_delay_from_busy_on(void **state)
{
	const struct record r = delayed(2000);

	(void)state;
	for (int level = LEVEL_BUSY; level < LEVEL_COUNT; level++) {
		struct admit_result a = ask_in(&r, (enum level)level, NULL, false);

		assert_int_equal(a.delay_ms, 0);
		assert_false(a.no_room); /* nobody would have slept anyhow */
		assert_int_equal(a.verdict, VERDICT_PASS);
	}
}

static void
admit_no_delay_without_room(void **state)
{
	const struct record r = delayed(2000), none = delayed(0);
	struct admit_result a = ask_in(&r, LEVEL_NORMAL, NULL, false);

	(void)state;
	assert_int_equal(a.verdict, VERDICT_PASS);
	assert_int_equal(a.delay_ms, 0);
	assert_true(a.no_room);
	assert_false(ask_in(&none, LEVEL_NORMAL, NULL, false).no_room);
}

static void
admit_no_delay_for_the_refused(void **state)
{
	const struct record r = delayed(2000);
	struct admit_result a;

	(void)state;
	limit_class("rcpt_ip", "*", 0);
	configured();
	a = ask_in(&r, LEVEL_NORMAL, NULL, false);
	assert_int_equal(a.verdict, VERDICT_REFUSE);
	assert_int_equal(a.delay_ms, 0);
	assert_false(a.no_room);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		T(admit_every_check_stage_and_client),
		T(admit_nothing_configured_all_pass),
		T(admit_nothing_wanted_nothing_counted),
		T(admit_class_of_the_stage_goes_first),
		T(admit_class_of_a_stage_alone_leaves_the_others),
		T(admit_patterns_decide_within_a_class),
		T(admit_no_pattern_matches_passes),
		T(admit_reloaded_other_classes_count),
		T(admit_first_that_refuses_spares_the_rest),
		T(admit_user_before_recipients),
		T(admit_addresses_and_users_are_apart),
		T(admit_v6_counts_by_prefix),
		T(admit_long_users_that_begin_alike_are_two),
		T(admit_user_of_nothing_is_none),
		T(admit_own_users_do_not_count_for_their_address),
		T(admit_delay_granted_while_all_is_normal),
		T(admit_no_delay_from_busy_on),
		T(admit_no_delay_without_room),
		T(admit_no_delay_for_the_refused),
	};

	return cmocka_run_group_tests_name("admit", tests, NULL, NULL);
}
