/* SPDX-License-Identifier: ISC */
/*
 * Thirty days of ordinary mail, by what storms and sent make of it together: nobody is under a storm.
 *
 * Sixty people write to three hundred organisations.  Some of it comes back: failures at once, warnings and failures
 * days later, from hosts of the recipient's organisation or, at big providers, of another name; vacation programs answer,
 * in the holidays a fifth of all; who writes to a mailing list hears from members' vacation programs at hosts that he
 * never wrote to; once a week a newsletter goes to three thousand, and 2 % of it comes back; and strangers' forgeries
 * bring each address a bounce now and then, once a week a dozen at a time.
 */
#include "controller/sent.h"
#include "controller/storms.h"

#include "tests/unit/kit.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define DAYS 30
#define PEOPLE 60
#define ORGANISATIONS 300
#define READERS 3000 /* of the newsletter */
#define EVENTS_MAX 200000
#define SEEDS 5

enum event_kind {
	MAIL, /* `who` writes to `org` */
	BOUNCE, /* `who` gets one from a host of `org` */
	ODD, /* ... of a name that has nothing to do with it */
};

struct event {
	int64_t at;
	enum event_kind kind;
	int who, org; /* `who` PEOPLE: the newsletter's */
};

struct days {
	struct dice dice;
	struct event *event;
	size_t n;
	struct sent *sent;
	struct storms *storms;
	uint64_t mails, bounces, begun, kept_out;
};

static const uint8_t key[STORMS_KEY_SIZE] = "0123456789abcde";

static bool
happens(struct days *d, unsigned percent)
{
	return dice_below(&d->dice, 100) < percent;
}

static int64_t
within(struct days *d, int64_t ms)
{
	return (int64_t)(dice_u64(&d->dice) % (uint64_t)ms);
}

static void
plan(struct days *d, int64_t at, enum event_kind kind, int who, int org)
{
	assert_true(d->n < EVENTS_MAX);
	d->event[d->n++] = (struct event) { at, kind, who, org };
}

/* One in five hosts that bring an answer bears the name of a provider, or of nobody. */
static void
plan_answer(struct days *d, int64_t at, int who, int org)
{
	plan(d, at, happens(d, 20) ? ODD : BOUNCE, who, org);
}

static void
plan_mail(struct days *d, int64_t at, int who, int org, unsigned failing, unsigned away)
{
	plan(d, at, MAIL, who, org);
	if (happens(d, failing)) {
		bool late = happens(d, 20);

		if (late)
			plan_answer(d, at + 4 * HOUR + within(d, HOUR), who, org); /* a warning */
		plan_answer(d, at + (late ? 5 * DAY : 1000) + within(d, 10 * MINUTE), who, org);
	}
	if (happens(d, away))
		plan_answer(d, at + 1000 + within(d, 5 * MINUTE), who, org);
}

/* Between eight and six. */
static int64_t
in_office_hours(struct days *d, int day)
{
	return day * DAY + 8 * HOUR + within(d, 10 * HOUR);
}

/* Few are written to often, most seldom. */
static int
some_organisation(struct days *d)
{
	return (int)(dice_below(&d->dice, ORGANISATIONS) * dice_below(&d->dice, ORGANISATIONS) / ORGANISATIONS);
}

static void
plan_day(struct days *d, int day)
{
	bool holidays = day >= 10 && day < 20;

	for (int who = 0; who < PEOPLE; who++) {
		for (unsigned n = dice_below(&d->dice, 20); n > 0; n--)
			plan_mail(d, in_office_hours(d, day), who, some_organisation(d), 2, holidays ? 20 : 4);
		if (happens(d, 30)) /* forged */
			plan(d, day * DAY + within(d, DAY), ODD, who, 0);
	}
	for (int post = 0; post < 10; post++) {
		int64_t at = in_office_hours(d, day);
		int who = (int)dice_below(&d->dice, 5);

		plan(d, at, MAIL, who, post % 3);
		for (unsigned n = dice_below(&d->dice, holidays ? 6 : 3); n > 0; n--)
			plan(d, at + within(d, 30 * MINUTE), ODD, who, 0);
	}
	if (day % 7 == 2) {
		int64_t at = in_office_hours(d, day);

		for (int i = 0; i < READERS; i++)
			plan_mail(d, at + within(d, 40 * MINUTE), PEOPLE, i % 2000, 2, 1);
	}
	if (day % 7 == 4) {
		int64_t at = day * DAY + within(d, DAY);
		int who = (int)dice_below(&d->dice, PEOPLE);

		for (int i = 0; i < 12; i++)
			plan(d, at + within(d, 10 * MINUTE), ODD, who, 0);
	}
}

static int
compare(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

static struct address
address_of(int who)
{
	char text[64];
	struct address a;

	if (who < PEOPLE)
		kit_format(text, sizeof(text), "user%d@example.test", who);
	else
		kit_format(text, sizeof(text), "newsletter@example.test");
	assert_true(address_parse(text, strlen(text), &a));
	return a;
}

/* As the engine brings the two together. */
static void
bounce(struct days *d, const struct event *e, mono_t now)
{
	char host[64];
	uint64_t any = dice_u64(&d->dice);
	const struct ip ip = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, (uint8_t)(any >> 8), (uint8_t)any } };
	const struct address to = address_of(e->who);
	struct sent_match match;
	struct storms_result r;

	if (e->kind == BOUNCE)
		kit_format(host, sizeof(host), "mx%u.org%d.test", (unsigned)any % 4, e->org);
	else
		kit_format(host, sizeof(host), "out%u.provider%u.test", (unsigned)any % 9, (unsigned)(any >> 16) % 500);
	const struct sent_client client = {
		.host = host, .host_len = strlen(host), .helo = host, .helo_len = strlen(host), .ip = &ip,
	};
	sent_look(d->sent, &to, &client, now, &match);
	const struct storms_bounce b = {
		.to = &to, .from = &ip, .is_odd = match.has_spare, .may_guess = match.may_guess,
		.is = match.fit == SENT_FITS ? STORMS_EXPECTED : match.fit == SENT_NOTHING ? STORMS_UNSENT : STORMS_OPEN,
	};
	storms_ask(d->storms, &b, now, &r);
	d->bounces++;
	d->begun += r.begun[0] != STORMS_NONE;
	d->begun += r.begun[1] != STORMS_NONE;
	d->kept_out += r.verdict == STORMS_PUT_OFF || r.verdict == STORMS_REFUSED;
	if (b.is == STORMS_EXPECTED)
		sent_answered(d->sent, &match, now);
	else if (r.was_odd)
		sent_odd(d->sent, &match, now);
}

static void
play(struct days *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct event *e = &d->event[i];
		mono_t now = { 1000 + e->at };
		char org[32];

		if (e->kind != MAIL) {
			bounce(d, e, now);
			continue;
		}
		const struct address from = address_of(e->who);
		kit_format(org, sizeof(org), "org%d.test", e->org);
		sent_learn(d->sent, &from, org, strlen(org), NULL, SENT_SUBMITTED, now);
		d->mails++;
	}
}

static void
begin(struct days *d, uint64_t seed)
{
	const struct storms_cfg cfg = {
		.bounces = 20, .domain_bounces = 50, .within_ms = 10 * MINUTE, .quiet_ms = HOUR, .retry_ms = 5 * MINUTE,
		.open_mail = STORMS_RETRY, .no_mail = STORMS_REFUSE, .exempt = { 1, { "postmaster" } },
	};

	*d = (struct days) { .dice = { seed }, .event = calloc(EVENTS_MAX, sizeof(struct event)) };
	assert_non_null(d->event);
	assert_int_equal(storms_new(&cfg, 20000, key, &d->storms), 0);
	assert_int_equal(sent_new(8 << 20, 7 * DAY, key, (mono_t) { 0 }, &d->sent), 0);
	for (int day = 0; day < DAYS; day++)
		plan_day(d, day);
	qsort(d->event, d->n, sizeof(d->event[0]), compare);
}

static void
end(struct days *d)
{
	storms_free(d->storms);
	sent_free(d->sent);
	free(d->event);
}

static void
stormdays_of_ordinary_mail_have_no_storm(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= (kit_is_slow() ? 1 : SEEDS); seed++) {
		struct days d;

		begin(&d, seed);
		play(&d);
		print_message("# seed %u: %u mails, %u bounces, %u not explained, %u storms\n", (unsigned)seed,
			(unsigned)d.mails, (unsigned)d.bounces, (unsigned)storms_stats(d.storms).counted, (unsigned)d.begun);
		assert_in_range(d.mails, 20000, EVENTS_MAX);
		assert_in_range(d.bounces, 1500, EVENTS_MAX);
		assert_int_equal(d.begun, 0);
		assert_int_equal(d.kept_out, 0);
		end(&d);
	}
}

/* The same days with one storm in them: it is seen, and nobody else's. */
static void
stormdays_with_a_storm_have_one(void **state)
{
	struct days d;

	(void)state;
	begin(&d, 1);
	for (int i = 0; i < 2000; i++)
		plan(&d, 12 * DAY + 9 * HOUR + within(&d, 20 * MINUTE), ODD, 7, 0);
	qsort(d.event, d.n, sizeof(d.event[0]), compare);
	play(&d);
	assert_int_equal(d.begun, 1);
	assert_in_range(d.kept_out, 1900, 2010);
	const struct storms_record *r = storms_get(d.storms, 0);
	assert_non_null(r);
	assert_string_equal(r->name, "user7@example.test");
	end(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stormdays_of_ordinary_mail_have_no_storm),
		cmocka_unit_test(stormdays_with_a_storm_have_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
