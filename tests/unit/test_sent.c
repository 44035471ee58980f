/* SPDX-License-Identifier: ISC */
/*
 * What an address sent, and which bounces that explains: word for word, then random traces against an oracle that
 * remembers every mail.
 */
#include "controller/sent.h"

#include "tests/unit/kit.h"

#define DAY INT64_C(86400000)
#define WEEK (7 * DAY)

static struct sent *sent;
static mono_t now;
static const uint8_t key[SENT_KEY_SIZE] = "an arbitrary key";

static int
make(void **state)
{
	(void)state;
	now = (mono_t) { 3 * WEEK };
	return sent_new(1 << 20, WEEK, key, now, &sent);
}

static int
unmake(void **state)
{
	(void)state;
	sent_free(sent);
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
ip(const char *text)
{
	struct ip i;

	assert_int_equal(ip_parse(text, &i), 0);
	return i;
}

static void
learn_by(const char *from, const char *domain, const char *relay, enum sent_outcome outcome)
{
	const struct address a = address(from);
	const struct ip i = ip(relay != NULL ? relay : "::1");

	sent_learn(sent, &a, domain, strlen(domain), relay != NULL ? &i : NULL, outcome, now);
}

static void
learn(const char *from, const char *domain)
{
	learn_by(from, domain, NULL, SENT_SUBMITTED);
}

static struct sent_match
look_by(const char *to, const char *host, const char *helo, const char *sender, const char *client)
{
	const struct address a = address(to);
	const struct ip i = ip(client != NULL ? client : "::1");
	const struct sent_client c = {
		.host = host, .host_len = host != NULL ? strlen(host) : 0, .helo = helo,
		.helo_len = helo != NULL ? strlen(helo) : 0, .sender = sender,
		.sender_len = sender != NULL ? strlen(sender) : 0, .ip = client != NULL ? &i : NULL,
	};
	struct sent_match m;

	sent_look(sent, &a, &c, now, &m);
	return m;
}

static enum sent_fit
look(const char *to, const char *helo)
{
	return look_by(to, NULL, helo, NULL, NULL).fit;
}

static void
answer(const char *to, const char *helo)
{
	struct sent_match m = look_by(to, NULL, helo, NULL, NULL);

	assert_int_equal(m.fit, SENT_FITS);
	sent_answered(sent, &m, now);
}

static void
test_who_fits(void **state)
{
	(void)state;
	assert_int_equal(look("a@one.test", "mail.dest.test"), SENT_NOTHING);
	learn("a@one.test", "sub.dest.test");
	assert_int_equal(look("A@ONE.test", "MAIL.Dest.Test."), SENT_FITS);
	assert_int_equal(look("a@one.test", "dest.test"), SENT_FITS);
	assert_int_equal(look("a@one.test", "dest.test.evil.example"), SENT_OPEN);
	assert_int_equal(look("a@one.test", "notdest.test"), SENT_OPEN);
	assert_int_equal(look("a@one.test", NULL), SENT_OPEN);
	assert_int_equal(look("b@one.test", "dest.test"), SENT_NOTHING);
	assert_int_equal(look_by("a@one.test", "x.dest.test", "other.test", NULL, NULL).fit, SENT_FITS);
	assert_int_equal(look_by("a@one.test", "other.test", "other.test", "dest.test", NULL).fit, SENT_FITS);
}

static void
test_each_mail_has_two_answers(void **state)
{
	(void)state;
	learn("a@one.test", "dest.test");
	answer("a@one.test", "dest.test"); /* "delayed" */
	assert_int_equal(look("a@one.test", "other.test"), SENT_NOTHING);
	answer("a@one.test", "dest.test"); /* "failed" */
	assert_int_equal(look("a@one.test", "dest.test"), SENT_SPENT);
	learn("a@one.test", "dest.test");
	answer("a@one.test", "dest.test");
}

static void
test_heard_of_twice_counts_once(void **state)
{
	(void)state;
	learn("a@one.test", "dest.test");
	learn_by("a@one.test", "dest.test", "192.0.2.7", SENT_TAKEN);
	learn_by("a@one.test", "dest.test", "192.0.2.7", SENT_TAKEN); /* a second one, by the log alone */
	assert_int_equal(sent_stats(sent).mails, 2);
	learn("a@one.test", "dest.test");
	assert_int_equal(sent_stats(sent).mails, 2); /* and that one, late */
	learn("a@one.test", "dest.test");
	assert_int_equal(sent_stats(sent).mails, 3);
}

static void
test_relay(void **state)
{
	(void)state;
	learn("a@one.test", "dest.test");
	learn_by("a@one.test", "dest.test", "192.0.2.7", SENT_TAKEN);
	assert_int_equal(look_by("a@one.test", NULL, "odd.example", NULL, "192.0.2.200").fit, SENT_FITS);
	assert_int_equal(look_by("a@one.test", NULL, "odd.example", NULL, "192.0.3.7").fit, SENT_OPEN);
	assert_int_equal(look_by("b@one.test", NULL, "odd.example", NULL, "192.0.2.7").fit, SENT_NOTHING);
	struct sent_match m = look_by("a@one.test", NULL, "odd.example", NULL, "192.0.2.7");
	sent_answered(sent, &m, now);
	assert_int_equal(look_by("a@one.test", NULL, "odd.example", NULL, NULL).fit, SENT_NOTHING);
}

/* Our own qmail-send bounces it: nobody else will. */
static void
test_failed(void **state)
{
	(void)state;
	learn("a@one.test", "dest.test");
	learn_by("a@one.test", "dest.test", NULL, SENT_FAILED);
	assert_int_equal(look("a@one.test", "other.test"), SENT_NOTHING);
	assert_int_equal(look("a@one.test", "dest.test"), SENT_SPENT);
}

static void
test_forgets(void **state)
{
	(void)state;
	learn("a@one.test", "dest.test");
	now.ms += WEEK - 1;
	assert_int_equal(look("a@one.test", "dest.test"), SENT_FITS);
	now.ms += WEEK + 1;
	assert_int_equal(look("a@one.test", "dest.test"), SENT_NOTHING);
}

static void
test_guesses(void **state)
{
	struct sent_match m;

	(void)state;
	learn("a@one.test", "dest.test");
	learn("a@one.test", "dest2.test");
	for (int i = 0; i < 2; i++) {
		m = look_by("a@one.test", NULL, "odd.example", NULL, NULL);
		assert_true(m.fit == SENT_OPEN && m.may_guess);
		sent_guessed(sent, &m, now);
	}
	m = look_by("a@one.test", NULL, "odd.example", NULL, NULL);
	assert_true(m.fit == SENT_OPEN && !m.may_guess); /* put off, but not refused: it may have been somebody else's */
	assert_int_equal(look("a@one.test", "dest.test"), SENT_FITS);
}

static void
test_odd_ones_are_few(void **state)
{
	struct sent_match m;

	(void)state;
	for (int i = 0; i < 60; i++)
		learn("news@one.test", i % 2 == 0 ? "dest.test" : "dest2.test");
	for (int i = 0; i < 3; i++) {
		m = look_by("news@one.test", NULL, "odd.example", NULL, NULL);
		assert_true(m.has_spare);
		sent_odd(sent, &m, now);
	}
	assert_false(look_by("news@one.test", NULL, "odd.example", NULL, NULL).has_spare);
}

static void
test_full(void **state)
{
	char from[40];

	(void)state;
	sent_free(sent);
	assert_int_equal(sent_new(SENT_MEMORY_MIN, WEEK, key, now, &sent), 0);
	for (int i = 0; i < 100000; i++) {
		kit_format(from, sizeof(from), "u%d@one.test", i);
		learn(from, "dest.test");
	}
	struct sent_stats s = sent_stats(sent);
	assert_true(s.used <= s.entries && s.entries == SENT_MEMORY_MIN / SENT_ENTRY && s.evicted > 0);
	assert_int_equal(look("u99999@one.test", "dest.test"), SENT_FITS);
}

/* --- across restarts ------------------------------------------------------------------------- */

static void
restart(int64_t age_ms)
{
	static struct sent_row rows[4096];
	size_t cursor = 0, n = 0;

	while (sent_dump_next(sent, &cursor, now, &rows[n]))
		assert_true(++n < countof(rows));
	sent_free(sent);
	now.ms += age_ms;
	assert_int_equal(sent_new(1 << 20, WEEK, key, now, &sent), 0);
	for (size_t i = 0; i < n; i++)
		sent_load(sent, &rows[i], age_ms, now);
}

static void
test_restart(void **state)
{
	struct sent_row row;
	size_t cursor = 0;

	(void)state;
	learn("a@one.test", "dest.test");
	learn_by("b@one.test", "dest.test", "192.0.2.7", SENT_TAKEN);
	now.ms += DAY;
	restart(DAY);
	assert_int_equal(look("a@one.test", "dest.test"), SENT_FITS);
	assert_int_equal(look_by("b@one.test", NULL, NULL, NULL, "192.0.2.7").fit, SENT_FITS);
	assert_int_equal(mono_since(sent_since(sent), now), 2 * DAY);
	now.ms += WEEK;
	restart(WEEK);
	assert_int_equal(look("a@one.test", "dest.test"), SENT_NOTHING);
	learn("c@one.test", "dest.test");
	answer("c@one.test", "dest.test");
	answer("c@one.test", "dest.test");
	restart(DAY);
	now.ms += DAY;
	restart(4 * DAY);
	assert_int_equal(look("c@one.test", "dest.test"), SENT_SPENT);

	learn("a@one.test", "dest.test");
	while (sent_dump_next(sent, &cursor, now, &row))
		;
	cursor = 0;
	assert_false(sent_dump_next(sent, &cursor, now, &row)); /* only what has changed */
	answer("a@one.test", "dest.test");
	cursor = 0;
	assert_true(sent_dump_next(sent, &cursor, now, &row));
	sent_dump_again(sent, &row);
	cursor = 0;
	assert_true(sent_dump_next(sent, &cursor, now, &row));
	row.kind = 77; /* nonsense does no harm */
	sent_load(sent, &row, 0, now);
	sent_load(sent, &(struct sent_row) { .kind = 1 }, -5, now);
}

/* --- the oracle ------------------------------------------------------------------------------ */

#define SENDERS 4
#define DOMAINS 5

/* By generation, for all of them: nothing is forgotten, only looked at no more. */
#define GENERATIONS 64
static struct {
	unsigned open[GENERATIONS], left[GENERATIONS];
	struct {
		unsigned open[GENERATIONS], left[GENERATIONS];
		bool met;
	} to[DOMAINS];
} model[SENDERS];
static unsigned generation;

static unsigned
live(const unsigned v[GENERATIONS])
{
	return v[generation] + v[generation - 1];
}

static bool
take_one(unsigned v[GENERATIONS])
{
	unsigned *from = v[generation - 1] > 0 ? &v[generation - 1] : &v[generation];

	if (*from == 0)
		return false;
	--*from;
	return true;
}

static bool
is_met(unsigned s, unsigned d)
{
	return model[s].to[d].met;
}

static void
model_learn(unsigned s, unsigned d)
{
	model[s].open[generation]++;
	model[s].left[generation]++;
	model[s].to[d].open[generation]++;
	model[s].to[d].left[generation] += SENT_ANSWERS;
	model[s].to[d].met = true;
}

static void
model_answer(unsigned s, unsigned d)
{
	(void)take_one(model[s].to[d].left);
	if (take_one(model[s].to[d].open)) {
		(void)take_one(model[s].open);
		(void)take_one(model[s].left);
	}
}

/* What was met last in which generation decides whether "spent" is still known. */
static enum sent_fit
model_look(unsigned s, unsigned d, unsigned met_at[SENDERS][DOMAINS])
{
	if (is_met(s, d) && live(model[s].to[d].left) > 0)
		return SENT_FITS;
	if (is_met(s, d) && met_at[s][d] + 1 >= generation)
		return SENT_SPENT;
	return live(model[s].open) > 0 ? SENT_OPEN : SENT_NOTHING;
}

static void
test_oracle(void **state)
{
	static unsigned met_at[SENDERS][DOMAINS];
	struct dice dice = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(40); round++) {
		int64_t begin = 10 * WEEK;

		memset(model, 0, sizeof(model));
		memset(met_at, 0, sizeof(met_at));
		now.ms = begin;
		sent_free(sent);
		assert_int_equal(sent_new(1 << 20, WEEK, key, now, &sent), 0);
		while (now.ms < begin + 50 * WEEK) {
			unsigned s = dice_below(&dice, SENDERS), d = dice_below(&dice, DOMAINS);
			char address_text[40], domain[40];

			now.ms += (int64_t)dice_below(&dice, 2) * dice_below(&dice, (unsigned)DAY);
			generation = (unsigned)((now.ms - begin) / WEEK) + 1;
			kit_format(address_text, sizeof(address_text), "s%u@one.test", s);
			kit_format(domain, sizeof(domain), "d%u.test", d);
			if (dice_below(&dice, 3) == 0) {
				learn(address_text, domain);
				model_learn(s, d);
				met_at[s][d] = generation;
			}
			struct sent_match m = look_by(address_text, NULL, domain, NULL, NULL);
			assert_int_equal(m.fit, model_look(s, d, met_at));
			assert_int_equal(m.may_guess, live(model[s].left) > 0);
			if (m.fit == SENT_FITS && dice_below(&dice, 2) == 0) {
				sent_answered(sent, &m, now);
				model_answer(s, d);
				met_at[s][d] = generation;
			} else if (m.fit == SENT_OPEN && m.may_guess && dice_below(&dice, 2) == 0) {
				sent_guessed(sent, &m, now);
				(void)take_one(model[s].left);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_fits, make, unmake),
		cmocka_unit_test_setup_teardown(test_each_mail_has_two_answers, make, unmake),
		cmocka_unit_test_setup_teardown(test_heard_of_twice_counts_once, make, unmake),
		cmocka_unit_test_setup_teardown(test_relay, make, unmake),
		cmocka_unit_test_setup_teardown(test_failed, make, unmake),
		cmocka_unit_test_setup_teardown(test_forgets, make, unmake),
		cmocka_unit_test_setup_teardown(test_guesses, make, unmake),
		cmocka_unit_test_setup_teardown(test_odd_ones_are_few, make, unmake),
		cmocka_unit_test_setup_teardown(test_full, make, unmake),
		cmocka_unit_test_setup_teardown(test_restart, make, unmake),
		cmocka_unit_test_setup_teardown(test_oracle, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
