/* SPDX-License-Identifier: ISC */
#include "lib/num.h"

#include "tests/unit/kit.h"

#define UNTOUCHED 77
#define YEARS_100 (INT64_C(36525) * 86400000)

/* --- num_u64 --------------------------------------------------------------------------------- */

static void
num_u64_digits_are_read(void **state)
{
	static const struct {
		const char *s;
		uint64_t want;
	} rows[] = {
		{ "0", 0 }, { "00", 0 }, { "7", 7 }, { "007", 7 }, { "4294967295", UINT32_MAX },
		{ "4294967296", UINT64_C(1) << 32 }, { "9223372036854775808", UINT64_C(1) << 63 },
		{ "18446744073709551615", UINT64_MAX }, { "00000000000000000000000000001", 1 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		uint64_t v = UNTOUCHED;

		assert_int_equal(num_u64(rows[i].s, &v), 0);
		assert_true(v == rows[i].want);
	}
}

static void
num_u64_anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", " 1", "1 ", "+1", "-1", "-", "1.0", "1e3", "0x10", "1\n", "\t1", "a", "1a",
			"\xb2", "1,000",
	};
	uint64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_u64(rows[i], &v), -EINVAL);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_u64_beyond_64_bits_is_out_of_range(void **state)
{
	static const char *const rows[] = {
		"18446744073709551616", "18446744073709551620", "99999999999999999999", "184467440737095516150",
		"99999999999999999999999999999999999999999999999999999999999999999999999999999999",
	};
	uint64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_u64(rows[i], &v), -ERANGE);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_u64_random_values_come_back(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(200000); i++) {
		uint64_t want = dice_any(&d), v = ~want;
		char s[32];

		(void)snprintf(s, sizeof(s), "%llu", (unsigned long long)want);
		assert_int_equal(num_u64(s, &v), 0);
		assert_true(v == want);
	}
}

/* --- durations ------------------------------------------------------------------------------- */

static void
num_duration_known_forms_are_read(void **state)
{
	static const struct {
		const char *s;
		int64_t want;
	} rows[] = {
		{ "0", 0 }, { "0s", 0 }, { "0ms", 0 }, { "0w0d0h0m0s0ms", 0 }, { "250ms", 250 },
			{ "90s", 90000 },
		{ "10m", 600000 }, { "2h", 7200000 }, { "1d", 86400000 }, { "1w", 604800000 },
		{ "1h30m", 5400000 }, { "1w2d3h4m5s6ms", 604800000 + 2 * 86400000 + 3 * 3600000 + 245006 },
		{ "1m1ms", 60001 }, { "1s999ms", 1999 }, { "999999ms", 999999 }, { "36525d", YEARS_100 },
		{ "3155760000s", YEARS_100 }, { "3155760000000ms", YEARS_100 }, { "36524d24h", YEARS_100 },
		{ "007s", 7000 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		int64_t v = UNTOUCHED;

		assert_int_equal(num_duration(rows[i].s, &v), 0);
		assert_true(v == rows[i].want);
	}
}

static void
num_duration_anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", "00", "1", "60", "s", "ms", "1 s", " 1s", "1s ", "1s\n", "1S", "1M", "1H",
			"1sec", "1mss",
		"1y", "-1s", "+1s", "1.5h", "1h 30m", "30m1h", "1s1m", "1m1m", "1ms1s", "1h30", "1h30m ", "1hh",
		"h1", "1h-1m", "0x1s", "1e3s", "1\xc2\xb5s", "0 ",
	};
	int64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_duration(rows[i], &v), -EINVAL);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_duration_beyond_100_years_is_out_of_range(void **state)
{
	static const char *const rows[] = {
		"36525d1ms", "3155760000001ms", "36526d", "5219w", "9223372036854775807ms",
			"9223372036854775808ms",
		"18446744073709551615ms", "18446744073709551616ms", "15250284452472w", "30500568904944w",
		"99999999999999999999999999s", "1w9223372036854775807ms",
	};
	int64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_duration(rows[i], &v), -ERANGE);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_duration_format_chooses_the_largest_exact_unit(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
	} rows[] = {
		{ 0, "0s" }, { 1, "1ms" }, { 999, "999ms" }, { 1000, "1s" }, { 1001, "1001ms" },
			{ 90000, "90s" },
		{ 60000, "1m" }, { 3600000, "1h" }, { 5400000, "90m" }, { 86400000, "1d" }, { 604800000, "1w" },
		{ 691200000, "8d" }, { YEARS_100, "36525d" }, { -1, "0s" }, { INT64_MIN, "0s" },
		{ INT64_MAX, "9223372036854775807ms" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[NUM_TEXT_MAX];

		num_duration_format(rows[i].ms, s);
		assert_string_equal(s, rows[i].want);
	}
}

static void
num_duration_random_values_come_back(void **state)
{
	static const int64_t factors[] = { 1, 1000, 60000, 3600000, 86400000, 604800000 };
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(200000); i++) {
		int64_t want = (int64_t)(dice_any(&d) % YEARS_100), v = -1;
		char s[NUM_TEXT_MAX];

		want -= want % factors[dice_below(&d, countof(factors))];
		num_duration_format(want, s);
		assert_int_equal(num_duration(s, &v), 0);
		assert_true(v == want);
	}
}

static void
num_age_shows_two_units_at_the_most(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
	} rows[] = {
		{ INT64_MIN, "0s" }, { -1, "0s" }, { 0, "0s" }, { 999, "0s" }, { 1000, "1s" }, { 59999, "59s" },
		{ 60000, "1m" }, { 133000, "2m13s" }, { 3600000, "1h" }, { 3599999, "59m59s" },
		{ 3601000, "1h" }, { 3660000, "1h1m" }, { 86399999, "23h59m" }, { 86400000, "1d" },
		{ 273600000, "3d4h" }, { 604800000, "7d" }, { INT64_MAX, "106751991167d7h" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[NUM_TEXT_MAX];

		num_age_format(rows[i].ms, s);
		assert_string_equal(s, rows[i].want);
	}
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void
num_size_known_forms_are_read(void **state)
{
	static const struct {
		const char *s;
		uint64_t want;
	} rows[] = {
		{ "0", 0 }, { "4096", 4096 }, { "1B", 1 }, { "512K", 512 << 10 }, { "512KB", 512 << 10 },
		{ "512KiB", 512 << 10 }, { "200M", 200 << 20 }, { "2G", UINT64_C(2) << 30 },
		{ "1T", UINT64_C(1) << 40 }, { "16777215T", UINT64_C(16777215) << 40 }, { "0T", 0 },
		{ "18446744073709551615", UINT64_MAX }, { "18014398509481983K", UINT64_MAX - 1023 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		uint64_t v = UNTOUCHED;

		assert_int_equal(num_size(rows[i].s, &v), 0);
		assert_true(v == rows[i].want);
	}
}

static void
num_size_anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", " ", "M", "B", "1 M", " 1M", "1M ", "1m", "1k", "1kB", "1Mb", "1iB", "1BiB",
			"1KBB", "1KK", "1KiBiB",
		"-1", "+1", "1.5G", "0x10", "1P", "1M\n", "1Kib", "1Ki", "1i",
	};
	uint64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_size(rows[i], &v), -EINVAL);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_size_beyond_64_bits_is_out_of_range(void **state)
{
	static const char *const rows[] = {
		"18446744073709551616", "16777216T", "17179869184G", "18014398509481984K",
			"99999999999999999999T",
	};
	uint64_t v = UNTOUCHED;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(num_size(rows[i], &v), -ERANGE);
	assert_int_equal(v, UNTOUCHED);
}

static void
num_size_format_chooses_the_largest_exact_unit(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *want;
	} rows[] = {
		{ 0, "0" }, { 1, "1" }, { 1023, "1023" }, { 1024, "1K" }, { 1025, "1025" },
			{ 209715200, "200M" },
		{ UINT64_C(1) << 30, "1G" }, { UINT64_C(1) << 40, "1T" }, { UINT64_C(1) << 50, "1024T" },
		{ UINT64_MAX, "18446744073709551615" }, { UINT64_C(1) << 63, "8388608T" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[NUM_TEXT_MAX];

		num_size_format(rows[i].bytes, s);
		assert_string_equal(s, rows[i].want);
	}
}

static void
num_size_random_values_come_back(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(200000); i++) {
		uint64_t want = dice_any(&d) << 10 * dice_below(&d, 5), v = ~want;
		char s[NUM_TEXT_MAX];

		num_size_format(want, s);
		assert_int_equal(num_size(s, &v), 0);
		assert_true(v == want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(num_u64_digits_are_read),
		cmocka_unit_test(num_u64_anything_else_is_refused),
		cmocka_unit_test(num_u64_beyond_64_bits_is_out_of_range),
		cmocka_unit_test(num_u64_random_values_come_back),
		cmocka_unit_test(num_duration_known_forms_are_read),
		cmocka_unit_test(num_duration_anything_else_is_refused),
		cmocka_unit_test(num_duration_beyond_100_years_is_out_of_range),
		cmocka_unit_test(num_duration_format_chooses_the_largest_exact_unit),
		cmocka_unit_test(num_duration_random_values_come_back),
		cmocka_unit_test(num_age_shows_two_units_at_the_most),
		cmocka_unit_test(num_size_known_forms_are_read),
		cmocka_unit_test(num_size_anything_else_is_refused),
		cmocka_unit_test(num_size_beyond_64_bits_is_out_of_range),
		cmocka_unit_test(num_size_format_chooses_the_largest_exact_unit),
		cmocka_unit_test(num_size_random_values_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
