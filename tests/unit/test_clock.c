/* SPDX-License-Identifier: ISC */
#include "lib/clock.h"

#include <time.h>

#include "tests/unit/kit.h"

#define LAST_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static void
mono_now_is_the_boot_clock_and_never_goes_back(void **state)
{
	struct timespec before, after;
	mono_t last = { 0 };

	(void)state;
	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &before), 0);
	for (int i = 0; i < 100000; i++) {
		mono_t now = mono_now();

		assert_true(mono_since(last, now) >= 0);
		last = now;
	}
	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &after), 0);
	assert_true(last.ms >= (int64_t)before.tv_sec * 1000 + before.tv_nsec / 1000000);
	assert_true(last.ms <= (int64_t)after.tv_sec * 1000 + after.tv_nsec / 1000000);
}

static void
wall_now_is_milliseconds_since_1970(void **state)
{
	time_t before = time(NULL);
	wall_t now = wall_now();

	(void)state;
	assert_true(now.ms / 1000 >= before);
	assert_true(now.ms / 1000 <= time(NULL));
}

static void
mono_arithmetic_is_plain(void **state)
{
	const mono_t t = { 5000 };

	(void)state;
	assert_int_equal(mono_since(t, mono_after(t, 250)), 250);
	assert_int_equal(mono_since(t, mono_after(t, -250)), -250);
	assert_int_equal(mono_since(t, t), 0);
}

/* What the kernel prints, read with different means. */
static void
clock_boot_id_is_the_kernels(void **state)
{
	uint8_t id[CLOCK_BOOT_ID_SIZE], again[CLOCK_BOOT_ID_SIZE];
	char text[64] = "", got[40];
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	(void)state;
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	(void)fclose(f);
	assert_int_equal(clock_boot_id(id), 0);
	(void)snprintf(got, sizeof(got),
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n",
		id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10],
			id[11], id[12], id[13],
		id[14], id[15]);
	assert_string_equal(got, text);
	assert_int_equal(clock_boot_id(again), 0);
	assert_memory_equal(id, again, sizeof(id));
}

static void
check_against_gmtime(int64_t ms)
{
	char got[CLOCK_WALL_TEXT_MAX], want[CLOCK_WALL_TEXT_MAX];
	time_t s = ms / 1000;
	struct tm tm;

	wall_format((wall_t) { ms }, got);
	assert_non_null(gmtime_r(&s, &tm));
	assert_true(strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%SZ", &tm) == 20);
	if (strcmp(got, want) != 0)
		fail_msg("%lld ms: got %s, want %s", (long long)ms, got, want);
}

static void
wall_format_known_moments(void **state)
{
	static const struct {
		int64_t s;
		const char *want;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00Z" }, { 951782399, "2000-02-28T23:59:59Z" },
		{ 951782400, "2000-02-29T00:00:00Z" }, { 951868800, "2000-03-01T00:00:00Z" },
		{ 2147483647, "2038-01-19T03:14:07Z" }, { 2147483648, "2038-01-19T03:14:08Z" },
		{ 4107542399, "2100-02-28T23:59:59Z" }, { 4107542400, "2100-03-01T00:00:00Z" },
		{ 1795217727, "2026-11-20T23:35:27Z" }, { LAST_S, "9999-12-31T23:59:59Z" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[CLOCK_WALL_TEXT_MAX];

		wall_format((wall_t) { rows[i].s * 1000 }, s);
		assert_string_equal(s, rows[i].want);
		wall_format((wall_t) { rows[i].s * 1000 + 999 }, s);
		assert_string_equal(s, rows[i].want);
	}
}

static void
wall_format_outside_of_four_digit_years_is_a_dash(void **state)
{
	static const int64_t rows[] = {
		-1, -1000, INT64_MIN, (LAST_S + 1) * 1000, INT64_MAX, INT64_C(1) << 62,
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[CLOCK_WALL_TEXT_MAX];

		wall_format((wall_t) { rows[i] }, s);
		assert_string_equal(s, "-");
	}
}

/* Each day from 1970 to 9999, its first and its last second: 5.9 million moments. */
static void
wall_format_every_day_agrees_with_libc(void **state)
{
	(void)state;
	for (int64_t day = 0; day <= LAST_S / 86400; day += kit_is_slow() ? 29 : 1) {
		check_against_gmtime(day * 86400000);
		check_against_gmtime(day * 86400000 + 86399999);
	}
}

static void
wall_format_random_moments_agree_with_libc(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(500000); i++)
		check_against_gmtime((int64_t)(dice_u64(&d) % ((uint64_t)LAST_S * 1000 + 1000)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mono_now_is_the_boot_clock_and_never_goes_back),
		cmocka_unit_test(wall_now_is_milliseconds_since_1970),
		cmocka_unit_test(mono_arithmetic_is_plain),
		cmocka_unit_test(clock_boot_id_is_the_kernels),
		cmocka_unit_test(wall_format_known_moments),
		cmocka_unit_test(wall_format_outside_of_four_digit_years_is_a_dash),
		cmocka_unit_test(wall_format_every_day_agrees_with_libc),
		cmocka_unit_test(wall_format_random_moments_agree_with_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
