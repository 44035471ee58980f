/* SPDX-License-Identifier: ISC */
/* test_tai64n - stamps of multilog, svlogd, tai64nlocal and the journal; what is none */
#include "tests/unit/kit.h"

#include <time.h>

#include "probes/tai64n.h"

static void
stamps_are_read(void **state)
{
	/* The labels are of tests/samples/logs; the same moments by `tai64nlocal` with TZ=UTC. */
	static const struct {
		const char *line;
		long long ms; /* -1: none */
		size_t len;
		bool local;
	} rows[] = {
		{ "@400000006b00e39f2b9add5c status: local", 1795220373731, 26, false },
		{ "@400000000000000a00000000 x", 0, 26, false },
		{ "2026-11-21 00:19:33.731569500 status", 1795220373731, 30, true },
		{ "2026-11-21_00:19:33.73156 status", 1795220373731, 26, false },
		{ "2026-11-21T00:19:33.73156 status", 1795220373731, 26, false },
		{ "1970-01-01_00:00:00.0 x", 0, 22, false },
		{ "2000-02-29_12:00:00.5 x", 951825600500, 22, false },
		{ "1795220373.731569 mail qmail-send[12]: status", 1795220373731, 39, false },
		{ "@400000006b00e39f2b9add5c", -1, 0, false }, /* nothing behind it */
		{ "@400000006B00E39F2B9ADD5C x", -1, 0, false },
		{ "@400000006b00e39f2b9add5 x", -1, 0, false },
		{ "@400000006b00e39f2b9add5c\tx", -1, 0, false },
		{ "@400000006b00e39fffffffff x", -1, 0, false }, /* more than 999,999,999 ns */
		{ "@000000006b00e39f2b9add5c x", -1, 0, false },
		{ "@ffffffffffffffff00000000 x", -1, 0, false },
		{ "@400000000000000900000000 x", -1, 0, false },
		{ "2026-13-21_00:19:33.73156 x", -1, 0, false },
		{ "2026-11-21_24:19:33.73156 x", -1, 0, false },
		{ "2026-11-21_00:19:33. x", -1, 0, false },
		{ "2026-11-21_00:19:33.7315612345 x", -1, 0, false },
		{ "1795220373.731569 mail qmail-send status", -1, 0, false },
		{ "1795220373 x", -1, 0, false },
		{ "status: local 0/10 remote 0/20", -1, 0, false },
		{ "", -1, 0, false }, { "@", -1, 0, false }, { " ", -1, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct stamp s = { .at = { -1 } };
		bool found = stamp_read(rows[i].line, strlen(rows[i].line), &s);

		if (s.at.ms != rows[i].ms || s.len != rows[i].len || s.local != rows[i].local)
			fail_msg("%s: %lld, %zu bytes", rows[i].line, (long long)s.at.ms, s.len);
		assert_int_equal(found, rows[i].ms >= 0);
	}
}

static void
a_stamp_cut_anywhere_is_none(void **state)
{
	static const char *const lines[] = {
		"@400000006b00e39f2b9add5c ", "2026-11-21_00:19:33.73156 ", "1795220373.731569 mail qmail-send[12]: ",
	};

	(void)state;
	for (size_t i = 0; i < countof(lines); i++) {
		for (size_t n = 0; n <= strlen(lines[i]); n++) {
			char *copy = malloc(n > 0 ? n : 1);
			struct stamp s;

			assert_non_null(copy);
			memcpy(copy, lines[i], n);
			assert_int_equal(stamp_read(copy, n, &s), n == strlen(lines[i]));
			free(copy);
		}
	}
}

/* Against the C library, day by day over four centuries. */
static void
dates_agree_with_the_library(void **state)
{
	(void)state;
	for (int64_t day = 0; day < 146097; day += kit_is_slow() ? 97 : 1) {
		time_t t = (time_t)(day * 86400 + 3661);
		struct tm tm;
		struct stamp s;
		char line[64];

		assert_non_null(gmtime_r(&t, &tm));
		kit_format(line, sizeof(line), "%04d-%02d-%02d_%02d:%02d:%02d.25 x", tm.tm_year + 1900, tm.tm_mon + 1,
			tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		assert_true(stamp_read(line, strlen(line), &s));
		assert_true(s.at.ms == (int64_t)t * 1000 + 250);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stamps_are_read),
		cmocka_unit_test(a_stamp_cut_anywhere_is_none),
		cmocka_unit_test(dates_agree_with_the_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
