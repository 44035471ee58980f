/* SPDX-License-Identifier: ISC */
/* rater's protocol, line by line: behaviours A6 */
#include "controller/rateline.h"

#include "tests/unit/kit.h"

/* --- reading --------------------------------------------------------------------------------- */

static void
rateline_read_knows_each_form(void **state)
{
	static const struct {
		const char *text, *class, *value;
		bool keep, peek;
	} rows[] = {
		{ "ip 192.0.2.1\n", "ip", "192.0.2.1", false, false },
		{ "ip 192.0.2.1\r\n", "ip", "192.0.2.1", false, false },
		{ "user Jane Doe of Nowhere\n", "user", "Jane Doe of Nowhere", false, false },
		{ "ip \n", "ip", "", false, false },
		{ "ip  x\n", "ip", " x", false, false },
		{ " x\n", "", "x", false, false },
		{ "ip a\rb\n", "ip", "a\rb", false, false },
		{ "ip a\r\r\n", "ip", "a\r", false, false },
		{ "?ip x\n", "ip", "x", false, true },
		{ "+ip x\n", "ip", "x", true, false },
		{ "+?ip x\r\n", "ip", "x", true, true },
		{ "?+ip x\n", "+ip", "x", false, true },
		{ "++ip x\n", "+ip", "x", true, false },
		{ "ip ?x +y\n", "ip", "?x +y", false, false },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct rateline l;
		size_t len = strlen(rows[i].text);

		assert_int_equal(rateline_read(rows[i].text, len, &l), len);
		assert_int_equal(l.kind, RATELINE_QUESTION);
		assert_int_equal(l.keep, rows[i].keep);
		assert_int_equal(l.peek, rows[i].peek);
		assert_int_equal(l.class_len, strlen(rows[i].class));
		assert_memory_equal(l.class, rows[i].class, l.class_len);
		assert_int_equal(l.value_len, strlen(rows[i].value));
		assert_memory_equal(l.value, rows[i].value, l.value_len);
		/* and any beginning of it is none yet */
		for (size_t n = 0; n < len; n++)
			assert_int_equal(rateline_read(rows[i].text, n, &l), 0);
	}
}

static void
rateline_read_without_space_is_no_question(void **state)
{
	static const char *const rows[] = { "\n", "\r\n", "ip\n", "+\n", "?\n", "+?\n", "ip\tx\n" };

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct rateline l;

		assert_int_equal(rateline_read(rows[i], strlen(rows[i]), &l), strlen(rows[i]));
		assert_int_equal(l.kind, RATELINE_NO_SPACE);
		assert_int_equal(l.keep, rows[i][0] == '+');
	}
}

static void
rateline_read_any_bytes_are_a_value(void **state)
{
	static const char text[] = "ip \0\xff\x01 \x80\n";
	struct rateline l;

	(void)state;
	assert_int_equal(rateline_read(text, sizeof(text) - 1, &l), sizeof(text) - 1);
	assert_int_equal(l.value_len, 5);
	assert_memory_equal(l.value, text + 3, 5);
}

static enum rateline_kind
kind_of(char first, size_t len, const char *end, size_t *ret_used)
{
	char *text = malloc(len + 3);
	struct rateline l = { .kind = RATELINE_QUESTION };

	assert_non_null(text);
	memset(text, 'x', len);
	text[0] = first;
	text[2] = ' ';
	memcpy(text + len, end, strlen(end));
	*ret_used = rateline_read(text, len + strlen(end), &l);
	enum rateline_kind kind = l.kind;
	assert_true(*ret_used == 0 || kind != RATELINE_TOO_LONG || !l.keep);
	free(text);
	return kind;
}

static void
rateline_read_the_limit_is_a_thousand_bytes_without_the_end(void **state)
{
	size_t used;

	(void)state;
	assert_int_equal(kind_of('x', 1000, "\n", &used), RATELINE_QUESTION);
	assert_int_equal(used, 1001);
	assert_int_equal(kind_of('x', 1000, "\r\n", &used), RATELINE_QUESTION);
	assert_int_equal(used, 1002);
	assert_int_equal(kind_of('x', 1001, "\n", &used), RATELINE_TOO_LONG);
	assert_int_equal(used, 1002);
	assert_int_equal(kind_of('+', 1001, "\r\n", &used), RATELINE_TOO_LONG);
	assert_int_equal(used, 1003);
	(void)kind_of('x', 1001, "", &used); /* its \r may be the last */
	assert_int_equal(used, 0);
	assert_int_equal(kind_of('+', 1002, "", &used), RATELINE_TOO_LONG);
	assert_int_equal(used, 1002);
	assert_int_equal(kind_of('x', 100000, "\n", &used), RATELINE_TOO_LONG);
}

/* --- writing --------------------------------------------------------------------------------- */

static const char *
answer_to(const char *line, const struct rate_answer *a)
{
	static char text[RATELINE_ANSWER_MAX + 1];
	struct rateline l;

	assert_true(rateline_read(line, strlen(line), &l) > 0);
	memset(text, '#', sizeof(text));
	size_t n = rateline_answer(&l, a, text);
	assert_true(n <= RATELINE_ANSWER_MAX);
	text[n] = '\0';
	return text;
}

static void
rateline_answer_is_raters_byte_for_byte(void **state)
{
	static const struct {
		struct rate_answer a;
		const char *text;
	} rows[] = {
		{ { .verdict = RATE_OK, .n = 1, .max = 10 }, "0 1/10\r\n" },
		{ { .verdict = RATE_OK, .n = 10, .max = 10 }, "0 10/10\r\n" },
		{ { .verdict = RATE_OVER, .n = 11, .max = 10 }, "1 11/10\r\n" },
		{ { .verdict = RATE_OVER, .n = 1, .max = 0 }, "1 1/0\r\n" },
		{ { .verdict = RATE_OVER, .n = 1000001, .max = 1000000 }, "1 1000001/1000000\r\n" },
		{ { .verdict = RATE_OK, .n = 0, .max = -1 }, "0 0/-1\r\n" },
		{ { .verdict = RATE_NO_KEY, .n = 7, .max = 7 }, "0 0/0\r\n" },
		{ { .verdict = RATE_NO_CLASS }, "2 Class not found: ip\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_string_equal(answer_to("ip 192.0.2.1\n", &rows[i].a), rows[i].text);
	assert_string_equal(answer_to("nospace\n", &rows[0].a), "2 Bad Input (no space)\r\n");
}

static void
rateline_answer_too_long_is_an_error_not_too_often(void **state)
{
	const struct rateline l = { .kind = RATELINE_TOO_LONG };
	char text[RATELINE_ANSWER_MAX];

	(void)state;
	size_t n = rateline_answer(&l, NULL, text);
	assert_int_equal(n, 20);
	assert_memory_equal(text, "2 Line is too long\r\n", n);
}

static void
rateline_answer_an_unknown_class_is_shown_printable_and_cut(void **state)
{
	const struct rate_answer a = { .verdict = RATE_NO_CLASS };
	char line[RATELINE_MAX], wanted[400] = "2 Class not found: ";

	(void)state;
	assert_string_equal(answer_to("a\x1b[31m\\\xff x\n", &a), "2 Class not found: a\\x1b[31m\\x5c\\xff\r\n");
	memset(line, '\x01', 200);
	kit_format(line + 200, 10, " x\n");
	for (int i = 0; i < RATELINE_CLASS_SHOWN; i++)
		strcat(wanted, "\\x01");
	assert_string_equal(answer_to(line, &a), strcat(wanted, "\r\n"));
}

static void
rateline_answer_numbers_are_those_of_printf(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(100000); i++) {
		struct rate_answer a = { .n = (int64_t)dice_any(&d), .max = (int64_t)dice_any(&d) };
		char wanted[64];

		a.n = i == 0 ? INT64_MIN : a.n;
		kit_format(wanted, sizeof(wanted), "0 %lld/%lld\r\n", (long long)a.n, (long long)a.max);
		assert_string_equal(answer_to("a b\n", &a), wanted);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rateline_read_knows_each_form),
		cmocka_unit_test(rateline_read_without_space_is_no_question),
		cmocka_unit_test(rateline_read_any_bytes_are_a_value),
		cmocka_unit_test(rateline_read_the_limit_is_a_thousand_bytes_without_the_end),
		cmocka_unit_test(rateline_answer_is_raters_byte_for_byte),
		cmocka_unit_test(rateline_answer_too_long_is_an_error_not_too_often),
		cmocka_unit_test(rateline_answer_an_unknown_class_is_shown_printable_and_cut),
		cmocka_unit_test(rateline_answer_numbers_are_those_of_printf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
