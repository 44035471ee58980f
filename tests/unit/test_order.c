/* SPDX-License-Identifier: ISC */
#include "controller/order.h"

#include "tests/unit/kit.h"

static struct order
good(void)
{
	struct order o = {
		.magic = ORDER_MAGIC,
		.want = {
			.closed = true, .level = LEVEL_OVERLOADED, .since = 1795220246, .episode = "e4k2mq7h",
			.why = { .kind = REASON_ENTER, .id = READING_TODO, .value = 523,
				.limit = 100, .for_ms = 2000 },
		},
	};

	return o;
}

static void
order_a_good_one_is_sane(void **state)
{
	struct order o = good();

	(void)state;
	assert_true(order_is_sane(&o));
	o.want.episode[0] = '\0';
	assert_true(order_is_sane(&o));
	o = (struct order) { .magic = ORDER_MAGIC };
	assert_true(order_is_sane(&o));
}

static void
order_another_magic_is_refused(void **state)
{
	struct order o = good();

	(void)state;
	o.magic++;
	assert_false(order_is_sane(&o));
	o.magic = 0;
	assert_false(order_is_sane(&o));
}

static void
order_every_level_reason_and_reading_in_range_is_sane(void **state)
{
	(void)state;
	for (int i = 0; i < LEVEL_COUNT; i++) {
		struct order o = good();

		o.want.level = (enum level)i;
		assert_true(order_is_sane(&o));
	}
	for (int i = 0; i <= REASON_RESUMED; i++) {
		struct order o = good();

		o.want.why.kind = (enum reason_kind)i;
		assert_true(order_is_sane(&o));
	}
	for (int i = 0; i < READING_COUNT; i++) {
		struct order o = good();

		o.want.why.id = (enum reading_id)i;
		assert_true(order_is_sane(&o));
	}
}

/* Enums as they may come over a socket: written as bytes, for a compiler may assume that they are in range. */
static void
set_enum(void *at, int v)
{
	memcpy(at, &v, sizeof(v));
}

static void
order_enums_out_of_range_are_refused(void **state)
{
	static const int wrong[] = { -1, INT32_MIN, INT32_MAX, 100 };

	(void)state;
	for (size_t i = 0; i < countof(wrong); i++) {
		struct order o = good();

		set_enum(&o.want.level, wrong[i]);
		assert_false(order_is_sane(&o));
		o = good();
		set_enum(&o.want.why.kind, wrong[i]);
		assert_false(order_is_sane(&o));
		o = good();
		set_enum(&o.want.why.id, wrong[i]);
		assert_false(order_is_sane(&o));
	}
	struct order o = good();
	set_enum(&o.want.level, LEVEL_COUNT);
	assert_false(order_is_sane(&o));
	o = good();
	set_enum(&o.want.why.kind, REASON_RESUMED + 1);
	assert_false(order_is_sane(&o));
	o = good();
	set_enum(&o.want.why.id, READING_COUNT);
	assert_false(order_is_sane(&o));
}

static void
order_a_time_before_1970_or_beyond_9999_is_refused(void **state)
{
	static const int64_t wrong[] = { -1, INT64_MIN, INT64_C(253402300800), INT64_MAX,
		INT64_MAX / 1000 + 1 };
	struct order o = good();

	(void)state;
	for (size_t i = 0; i < countof(wrong); i++) {
		o.want.since = wrong[i];
		assert_false(order_is_sane(&o));
	}
	o.want.since = 0;
	assert_true(order_is_sane(&o));
	o.want.since = INT64_C(253402300799);
	assert_true(order_is_sane(&o));
}

static void
order_an_episode_that_is_not_letters_and_digits_is_refused(void **state)
{
	static const char *const wrong[] = {
		"e 1", "e\n", "e/1", "../x", "e-1", "\x80", "e\x7f", " ", ".", "e\tx", "\xc3\xa9",
	};

	(void)state;
	for (size_t i = 0; i < countof(wrong); i++) {
		struct order o = good();

		memset(o.want.episode, 0, sizeof(o.want.episode));
		memcpy(o.want.episode, wrong[i], strlen(wrong[i]));
		assert_false(order_is_sane(&o));
	}
	/* without an end */
	struct order o = good();
	memset(o.want.episode, 'a', sizeof(o.want.episode));
	assert_false(order_is_sane(&o));
	o.want.episode[sizeof(o.want.episode) - 1] = '\0';
	assert_true(order_is_sane(&o));
}

/* Whatever is behind the end of the episode does not matter. */
static void
order_bytes_behind_the_episode_are_not_looked_at(void **state)
{
	struct order o = good();

	(void)state;
	memset(o.want.episode, '\n', sizeof(o.want.episode));
	memcpy(o.want.episode, "e1", 3);
	assert_true(order_is_sane(&o));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_a_good_one_is_sane),
		cmocka_unit_test(order_another_magic_is_refused),
		cmocka_unit_test(order_every_level_reason_and_reading_in_range_is_sane),
		cmocka_unit_test(order_enums_out_of_range_are_refused),
		cmocka_unit_test(order_a_time_before_1970_or_beyond_9999_is_refused),
		cmocka_unit_test(order_an_episode_that_is_not_letters_and_digits_is_refused),
		cmocka_unit_test(order_bytes_behind_the_episode_are_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
