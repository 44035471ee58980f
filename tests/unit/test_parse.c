/* SPDX-License-Identifier: ISC */
#include "probes/parse.h"

#include <math.h>

#include "tests/unit/kit.h"

#define UNTOUCHED 77.25

struct row {
	const char *s;
	int r;
	double want;
};

static void
check(int (*parse)(const char *s, double *ret), const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double v = UNTOUCHED;
		int r = parse(rows[i].s, &v);

		if (r != rows[i].r || fabs(v - (r < 0 ? UNTOUCHED : rows[i].want)) > 1e-9)
			fail_msg("\"%s\": got %d, %.12g", rows[i].s, r, v);
	}
}

/* --- /proc ----------------------------------------------------------------------------------- */

static void
parse_loadavg_takes_the_first_number(void **state)
{
	static const struct row rows[] = {
		{ "0.15 0.25 0.05 1/234 5678\n", 0, 0.15 },
		{ "0.00 0.00 0.00 1/1 1\n", 0, 0 },
		{ "123456.78 1 1 1/1 1\n", 0, 123456.78 },
		{ "7 ", 0, 7 },
		{ "999999999.999999999 ", 0, 999999999.999999999 },
		{ "007.50 ", 0, 7.5 },
	};

	(void)state;
	check(parse_loadavg, rows, countof(rows));
}

static void
parse_loadavg_anything_else_is_refused(void **state)
{
	static const struct row rows[] = {
		{ "", -EBADMSG, 0 }, { " ", -EBADMSG, 0 }, { " 0.15 0.25", -EBADMSG, 0 }, { "0.15",
			-EBADMSG, 0 },
		{ "0.15\n", -EBADMSG, 0 }, { "0,15 0,25 0,05 1/1 1\n", -EBADMSG, 0 }, { "-0.15 ", -EBADMSG, 0 },
		{ "+0.15 ", -EBADMSG, 0 }, { ".15 ", -EBADMSG, 0 }, { "1. ", -EBADMSG, 0 },
			{ "nan 0 0", -EBADMSG, 0 },
		{ "inf 0 0", -EBADMSG, 0 }, { "0x1p3 ", -EBADMSG, 0 }, { "1e3 ", -EBADMSG, 0 },
		{ "1.5.5 ", -EBADMSG, 0 }, { "1234567890 ", -EBADMSG, 0 },
			{ "9999999999999999999999 ", -EBADMSG, 0 },
		{ "0.1234567890 ", -EBADMSG, 0 }, { "9223372036854775808 ", -EBADMSG, 0 },
			{ "\x80 ", -EBADMSG, 0 },
	};

	(void)state;
	check(parse_loadavg, rows, countof(rows));
}

static void
parse_pressure_takes_avg10_of_some(void **state)
{
	static const struct row rows[] = {
		{ "some avg10=0.00 avg60=0.11 avg300=0.33 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0, 0 },
		{ "some avg10=12.34 avg60=", 0, 12.34 },
		{ "some avg10=100.00 ", 0, 100 },
		{ "some avg10=99.99 ", 0, 99.99 },
	};

	(void)state;
	check(parse_pressure, rows, countof(rows));
}

static void
parse_pressure_anything_else_is_refused(void **state)
{
	static const struct row rows[] = {
		{ "", -EBADMSG, 0 }, { "some", -EBADMSG, 0 }, { "some avg10=", -EBADMSG, 0 },
		{ "some avg10=1.00", -EBADMSG, 0 }, { "some avg10=100.01 ", -EBADMSG, 0 },
		{ "some avg10=-1.00 ", -EBADMSG, 0 }, { "some avg10=nan ", -EBADMSG, 0 },
		{ "full avg10=1.00 avg60", -EBADMSG, 0 }, { " some avg10=1.00 ", -EBADMSG, 0 },
		{ "some avg60=1.00 ", -EBADMSG, 0 }, { "SOME AVG10=1.00 ", -EBADMSG, 0 },
		{ "some avg10=1,00 avg60", -EBADMSG, 0 },
	};

	(void)state;
	check(parse_pressure, rows, countof(rows));
}

/* --- qmail-qstat ----------------------------------------------------------------------------- */

struct qstat_row {
	const char *s;
	int r;
	double messages, todo;
};

static void
check_qstat(const struct qstat_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct qstat_counts c = { UNTOUCHED, UNTOUCHED };
		int r = parse_qstat(rows[i].s, &c);
		double messages = r < 0 ? UNTOUCHED : rows[i].messages, todo = r < 0 ? UNTOUCHED : rows[i].todo;

		if (r != rows[i].r || fabs(c.messages - messages) > 0 || fabs(c.todo - todo) > 0)
			fail_msg("\"%s\": got %d, %.12g, %.12g", rows[i].s, r, c.messages, c.todo);
	}
}

static void
parse_qstat_wordings_of_the_forks_are_read(void **state)
{
	static const struct qstat_row rows[] = {
		/* qmail 1.03, netqmail, notqmail, sagredo's */
		{ "messages in queue: 7\nmessages in queue but not yet preprocessed: 2\n", 0, 7, 2 },
		/* no line end at the end, CRLF, blanks */
		{ "messages in queue: 7\nmessages in queue but not yet preprocessed: 2", 0, 7, 2 },
		{ "messages in queue: 7\r\nmessages in queue but not yet preprocessed: 2\r\n", 0, 7, 2 },
		{ "  messages in queue:\t7  \n\nmessages in queue but not yet preprocessed : 2\n", 0, 7, 2 },
		{ "  messages in queue:\t7  \n\nmessages in queue but not yet preprocessed:2\n", 0, 7, 2 },
		/* the other way round: the word tells */
		{ "messages in queue but not yet preprocessed: 2\nmessages in queue: 7\n", 0, 7, 2 },
		{ "Messages In Queue: 7\nNot Yet PREPROCESSED: 2\n", 0, 7, 2 },
		/* translated: of just two, the second is todo */
		{ "Nachrichten: 7\nunbearbeitet: 2\n", 0, 7, 2 },
		{ "\xd0\xb2 \xd0\xbe: 7\n\xd0\xbd\xd0\xb5: 2\n", 0, 7, 2 },
		/* with a title and other lines around */
		{ "qmail at mx1, 2026\n\nmessages in queue: 7\nmessages in queue but not yet preprocessed: 2\nok\n", 0, 7, 2 },
		{ "messages in queue: 0\nmessages in queue but not yet preprocessed: 0\n", 0, 0, 0 },
		/* the plain script on a split todo counts the directories too: seen, not to be guessed here */
		{ "messages in queue: 0\nmessages in queue but not yet preprocessed: 23\n", 0, 0, 23 },
		{ "messages in queue: 1000000000\nnot yet preprocessed: 1000000000\n", 0, 1e9, 1e9 },
		{ "messages in queue: 0000000000000000000000000000007\nnot yet preprocessed: 2\n", 0, 7, 2 },
	};

	(void)state;
	check_qstat(rows, countof(rows));
}

static void
parse_qstat_what_could_be_meant_otherwise_is_refused(void **state)
{
	static const struct qstat_row rows[] = {
		{ "", -EBADMSG, 0, 0 },
		{ "\n\n\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 7\n", -EBADMSG, 0, 0 },
		{ "messages in queue but not yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		/* no permission, as sagredo's says */
		{ "messages in queue: -1\nmessages in queue but not yet preprocessed: -1\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 7\nmessages in queue but not yet preprocessed: -1\n", -EBADMSG, 0, 0 },
		{ "a: 1\nb: 2\nc: 3\n", -EBADMSG, 0, 0 },
		{ "a: 1\nb: 2\nnot yet preprocessed: 3\n", -EBADMSG, 0, 0 },
		{ "not yet preprocessed: 1\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "a: 1\nnot yet preprocessed: 1\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 7 messages in queue but not yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 1000000001\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 99999999999999999999999999\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 18446744073709551617\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "messages in queue: seven\nnot yet preprocessed: two\n", -EBADMSG, 0, 0 },
		{ "messages in queue = 7\nnot yet preprocessed = 2\n", -EBADMSG, 0, 0 },
		{ "7\n2\n", -EBADMSG, 0, 0 },
		{ ":\n:\n", -EBADMSG, 0, 0 },
		{ "messages in queue: 7.5\nnot yet preprocessed: 2\n", -EBADMSG, 0, 0 },
		{ "sh: 1: find: not found\n", -EBADMSG, 0, 0 },
		{ "\x01\x02\xff\xfe", -EBADMSG, 0, 0 },
	};

	(void)state;
	check_qstat(rows, countof(rows));
}

/* One line of a clock on top, "12:30", looks like a count: then there are three, and nothing is guessed. */
static void
parse_qstat_a_title_with_a_time_is_no_silent_guess(void **state)
{
	static const struct qstat_row rows[] = {
		{ "Fri 12:30\nmessages in queue: 7\nmessages in queue but not yet preprocessed: 2\n", -EBADMSG, 0, 0 },
	};

	(void)state;
	check_qstat(rows, countof(rows));
}

static void
parse_qstat_recorded_outputs_are_read(void **state)
{
	static const struct {
		const char *file;
		double messages, todo;
	} rows[] = {
		{ "tests/samples/qstat/notqmail.txt", 7, 2 }, { "tests/samples/qstat/sagredo.txt", 8, 2 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct qstat_counts c;
		char text[1024];
		FILE *f = fopen(rows[i].file, "re");

		if (f == NULL) /* not run from the top of the tree */
			skip();
		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		(void)fclose(f);
		assert_int_equal(parse_qstat(text, &c), 0);
		assert_true(c.messages >= rows[i].messages && c.messages <= rows[i].messages);
		assert_true(c.todo >= rows[i].todo && c.todo <= rows[i].todo);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_loadavg_takes_the_first_number),
		cmocka_unit_test(parse_loadavg_anything_else_is_refused),
		cmocka_unit_test(parse_pressure_takes_avg10_of_some),
		cmocka_unit_test(parse_pressure_anything_else_is_refused),
		cmocka_unit_test(parse_qstat_wordings_of_the_forks_are_read),
		cmocka_unit_test(parse_qstat_what_could_be_meant_otherwise_is_refused),
		cmocka_unit_test(parse_qstat_a_title_with_a_time_is_no_silent_guess),
		cmocka_unit_test(parse_qstat_recorded_outputs_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
