/* SPDX-License-Identifier: ISC */
#include "lib/reading.h"

#include <math.h>

#include "tests/unit/kit.h"

static void
reading_table_every_row_is_whole_and_found_by_its_name(void **state)
{
	(void)state;
	for (int i = 0; i < READING_COUNT; i++) {
		const struct reading_info *r = &reading_info[i];

		assert_non_null(r->name);
		assert_non_null(r->help);
		assert_true(strlen(r->name) > 0 && strlen(r->help) > 0);
		/* It is a key of the configuration, a word in the log and a column. */
		assert_int_equal(strspn(r->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(r->name));
		assert_true(r->unit <= UNIT_PLAIN);
		assert_true(r->sense <= NO_VOTE);
		assert_int_equal(reading_find(r->name), i);
	}
}

static void
reading_find_other_words_are_not_found(void **state)
{
	static const char *const rows[] = { "", "tod", "todos", "TODO", "todo ", "todo.age", "normal" };

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(reading_find(rows[i]), -ENOENT);
}

static void
reading_refused_has_no_vote(void **state)
{
	(void)state;
	assert_int_equal(reading_info[READING_REFUSED].sense, NO_VOTE);
}

static void
level_names_are_found_and_others_are_not(void **state)
{
	static const char *const rows[] = { "", "Busy", "busy ", "unknown", "auto", "4" };

	(void)state;
	for (int i = 0; i < LEVEL_COUNT; i++)
		assert_int_equal(level_find(level_name((enum level)i)), i);
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(level_find(rows[i]), -ENOENT);
}

static void
level_name_out_of_range_is_unknown(void **state)
{
	static const int wrong[] = { -1, LEVEL_COUNT, INT32_MAX, INT32_MIN };

	(void)state;
	for (size_t i = 0; i < countof(wrong); i++) {
		enum level l;

		memcpy(&l, &wrong[i], sizeof(l));
		assert_string_equal(level_name(l), "unknown");
	}
}

static void
reading_format_is_short_and_in_its_unit(void **state)
{
	static const struct {
		enum reading_unit unit;
		double v;
		const char *want;
	} rows[] = {
		{ UNIT_COUNT, 0, "0" }, { UNIT_COUNT, 523, "523" }, { UNIT_COUNT, 1e9, "1000000000" },
		{ UNIT_SECONDS, 62, "62s" }, { UNIT_SECONDS, 0.25, "0.2s" }, { UNIT_SECONDS, 59.96, "60.0s" },
		{ UNIT_SECONDS, 1234.5, "1234s" }, { UNIT_RATE, 1.5, "1.5/s" }, { UNIT_RATE, -300, "-300/s" },
		{ UNIT_RATE, -1500.7, "-1501/s" }, { UNIT_PERCENT, 12, "12%" }, { UNIT_PERCENT,
			99.99, "100.0%" },
		{ UNIT_PLAIN, 0.15, "0.1" }, { UNIT_PLAIN, 4, "4" },
		{ UNIT_BYTES, 0, "0" }, { UNIT_BYTES, 10239, "10239" }, { UNIT_BYTES, 10240, "10K" },
		{ UNIT_BYTES, 209715200, "200M" }, { UNIT_BYTES, 524288000, "500M" },
		{ UNIT_BYTES, 2147483648.0, "2048M" }, { UNIT_BYTES, 21474836480.0, "20G" },
		{ UNIT_BYTES, 1099511627776.0 * 20, "20T" }, { UNIT_BYTES, 1099511627776.0 * 20480, "20480T" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[READING_TEXT_MAX];

		reading_format(rows[i].unit, rows[i].v, s);
		assert_string_equal(s, rows[i].want);
	}
}

/* A probe that lies is caught by readings_set(); the text of any bits must fit nevertheless. */
static void
reading_format_any_bits_fit(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(200000); i++) {
		uint64_t bits = dice_u64(&d);
		char s[READING_TEXT_MAX + 1];
		double v;

		memcpy(&v, &bits, sizeof(v));
		memset(s, 0x55, sizeof(s));
		reading_format((enum reading_unit)(i % (UNIT_PLAIN + 1)), v, s);
		assert_non_null(memchr(s, '\0', READING_TEXT_MAX));
		assert_int_equal(s[READING_TEXT_MAX], 0x55);
	}
}

static void
reason_format_says_what_and_why(void **state)
{
	static const struct {
		struct reason r;
		const char *want;
	} rows[] = {
		{ { .kind = REASON_NONE }, "nothing unusual" },
		{ { .kind = REASON_ENTER, .id = READING_TODO, .value = 523, .limit = 100, .for_ms = 2000 },
			"todo 523, limit 100, for 2s" },
		{ { .kind = REASON_ENTER, .id = READING_DISK_FREE, .below = true,
			.value = 104857600, .limit = 209715200,
			.for_ms = 61000 }, "disk_free 100M, limit 200M, for 1m1s" },
		{ { .kind = REASON_HOLD, .id = READING_TODO_AGE, .value = 62, .limit = 10 },
			"todo_age 62s, not yet back at 10s" },
		{ { .kind = REASON_LEAVE, .for_ms = 15000 }, "all readings back for 15s" },
		{ { .kind = REASON_BLIND, .for_ms = 30000 }, "no reading known for 30s" },
		{ { .kind = REASON_FORCED }, "forced by a person" },
		{ { .kind = REASON_RESUMED }, "resumed after a restart" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char s[REASON_TEXT_MAX];

		reason_format(&rows[i].r, s);
		assert_string_equal(s, rows[i].want);
	}
}

static void
reason_format_of_what_is_offered_tells_both_numbers(void **state)
{
	static const enum reason_kind kinds[] = { REASON_OFFERED, REASON_FITS };

	(void)state;
	for (size_t i = 0; i < countof(kinds); i++) {
		const struct reason r = { .kind = kinds[i], .value = 12.3, .limit = 45.6 };
		char s[REASON_TEXT_MAX];

		reason_format(&r, s);
		assert_non_null(strstr(s, "12.3"));
		assert_non_null(strstr(s, "45.6"));
	}
}

static void
reason_format_every_sane_reason_fits_whole(void **state)
{
	static const double values[] = { 0, -9e15, 9e15, 0.1, -0.1 };

	(void)state;
	for (int kind = REASON_NONE; kind <= REASON_RESUMED; kind++) {
		for (int id = 0; id < READING_COUNT; id++) {
			for (size_t i = 0; i < countof(values); i++) {
				struct reason r = {
					.kind = (enum reason_kind)kind, .id = (enum reading_id)id,
						.value = values[i],
					.limit = values[i], .for_ms = INT64_MAX,
				};
				char s[REASON_TEXT_MAX];

				reason_format(&r, s);
				assert_true(strlen(s) < REASON_TEXT_MAX - 1); /* so it was not cut */
			}
		}
	}
}

static void
reason_format_any_bits_fit(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(100000); i++) {
		struct reason r = {
			.kind = (enum reason_kind)dice_below(&d, REASON_RESUMED + 1),
			.id = (enum reading_id)dice_below(&d, READING_COUNT), .for_ms = (int64_t)dice_u64(&d),
		};
		uint64_t bits[2] = { dice_u64(&d), dice_u64(&d) };
		char s[REASON_TEXT_MAX + 1];

		memcpy(&r.value, &bits[0], sizeof(r.value));
		memcpy(&r.limit, &bits[1], sizeof(r.limit));
		memset(s, 0x55, sizeof(s));
		reason_format(&r, s);
		assert_non_null(memchr(s, '\0', REASON_TEXT_MAX));
		assert_int_equal(s[REASON_TEXT_MAX], 0x55);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_table_every_row_is_whole_and_found_by_its_name),
		cmocka_unit_test(reading_find_other_words_are_not_found),
		cmocka_unit_test(reading_refused_has_no_vote),
		cmocka_unit_test(level_names_are_found_and_others_are_not),
		cmocka_unit_test(level_name_out_of_range_is_unknown),
		cmocka_unit_test(reading_format_is_short_and_in_its_unit),
		cmocka_unit_test(reading_format_any_bits_fit),
		cmocka_unit_test(reason_format_says_what_and_why),
		cmocka_unit_test(reason_format_of_what_is_offered_tells_both_numbers),
		cmocka_unit_test(reason_format_every_sane_reason_fits_whole),
		cmocka_unit_test(reason_format_any_bits_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
