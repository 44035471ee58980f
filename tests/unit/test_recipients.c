/* SPDX-License-Identifier: ISC */
/* The list of recipients, whole and in pieces; patterns of local parts, and what is not taken as one. */
#include "controller/localparts.h"
#include "controller/recipients.h"

#include "tests/unit/kit.h"

static const uint8_t key[RECIPIENTS_KEY_SIZE] = "0123456789abcde";

static enum recipients_answer
find(const struct recipients *r, const char *text)
{
	struct address a;

	assert_true(address_parse(text, strlen(text), &a));
	return recipients_find(r, &a);
}

static void
check_list(const struct recipients *r)
{
	assert_int_equal(find(r, "BOB@one.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "bob-x@one.test"), RECIPIENTS_UNKNOWN);
	assert_int_equal(find(r, "list@one.test"), RECIPIENTS_UNKNOWN);
	assert_int_equal(find(r, "list-a-b@one.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "Postmaster@one.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "any@two.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "any@sub.two.test"), RECIPIENTS_NO_OPINION);
	assert_int_equal(find(r, "last@three.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "postmaster@four.test"), RECIPIENTS_NO_OPINION);
	struct recipients_stats s = recipients_stats(r);
	assert_int_equal(s.entries, 4);
	assert_int_equal(s.domains, 3);
	assert_int_equal(s.odd, 2);
	assert_int_equal(s.first_odd, 4);
}

static void
recipients_in_pieces_are_the_same(void **state)
{
	static const char text[] = "# x@four.test\r\n\n Bob@One.test. # a comment\r\nodd\nodd@one.test two\n"
		"list-*@one.test\n@two.test\nlast@three.test";
	size_t len = sizeof(text) - 1;

	(void)state;
	for (size_t piece = 40; piece <= len; piece++) {
		struct recipients *r;

		assert_int_equal(recipients_new(key, &r), 0);
		for (size_t at = 0, used; at < len; at += used) {
			size_t n = len - at < piece ? len - at : piece;

			assert_int_equal(recipients_add(r, text + at, n, at + n == len, &used), 0);
			assert_in_range(used, 1, n);
		}
		check_list(r);
		recipients_free(r);
	}
}

static void
recipients_are_bounded(void **state)
{
	struct recipients *r;
	char line[64];
	size_t used, i = 0;
	int e = 0;

	(void)state;
	assert_int_equal(recipients_new(key, &r), 0);
	for (; i <= RECIPIENTS_MAX && e == 0; i++) {
		kit_format(line, sizeof(line), "u%zu@one.test\n", i);
		e = recipients_add(r, line, strlen(line), false, &used);
	}
	assert_int_equal(e, -E2BIG);
	assert_int_equal(recipients_stats(r).entries, RECIPIENTS_MAX - 1);
	assert_int_equal(find(r, "u0@one.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "u999998@one.test"), RECIPIENTS_EXISTS);
	assert_int_equal(find(r, "u2000000@one.test"), RECIPIENTS_UNKNOWN);
	recipients_free(r);
}

static void
localparts_of_the_example(void **state)
{
	struct config_localparts c = { .n = 6, .at = {
		{ .pattern = "[0-9]{3}$" }, { .pattern = "," }, { .pattern = "[|]" }, { .pattern = "^[^a-z]" },
		{ .pattern = "\"" }, { .pattern = "'" },
	} };
	static const struct {
		const char *local;
		int match;
	} rows[] = {
		{ "bob", -1 }, { "joe123", 0 }, { "a,b", 1 }, { "a|b", 2 }, { "_a", 3 }, { "BOB", -1 }, { "a\"b", 4 },
		{ "o'hara", 5 }, { "bob12", -1 },
	};
	char longer[200];
	struct localparts *l;

	(void)state;
	assert_int_equal(localparts_new(&c, &l), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(localparts_match(l, rows[i].local, strlen(rows[i].local)), rows[i].match);
	memset(longer, 'a', sizeof(longer));
	longer[LOCALPARTS_LOOKED] = ','; /* behind what is looked at */
	assert_int_equal(localparts_match(l, longer, sizeof(longer)), -1);
	longer[LOCALPARTS_LOOKED - 1] = ',';
	assert_int_equal(localparts_match(l, longer, sizeof(longer)), 1);
	localparts_free(l);
}

static void
localparts_takes_no_costly_pattern(void **state)
{
	static const char *const bad[] = {
		"(a)\\1", "((((((((((a+)+)+)+)+)+)+)+)+)+", "(a{99}){99}",
		"a{257}", "a{1,30000}", "(", "[a", "a{99999999999999999999}",
	};
	static const char *const good[] = { "a{256}", "a+b+c+d+", "\\\\1", "^x-[0-9a-f]{16}$", "a{" };
	struct err why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (localparts_test(bad[i], &why) == 0)
			fail_msg("%s is taken", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]) - 1; i++)
		if (localparts_test(good[i], &why) < 0)
			fail_msg("%s: %s", good[i], why.text);
	(void)localparts_test(good[4], &why); /* either way */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recipients_in_pieces_are_the_same),
		cmocka_unit_test(recipients_are_bounded),
		cmocka_unit_test(localparts_of_the_example),
		cmocka_unit_test(localparts_takes_no_costly_pattern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
