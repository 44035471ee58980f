/* SPDX-License-Identifier: ISC */
/*
 * The engine's answer to a plugin: what was meant is what arrives, and whatever else arrives is no answer.
 * Row of the failure list: L13.
 */
#include "lib/ask.h"

#include "lib/bytes.h"
#include "tests/unit/kit.h"

#define AT_VERSION 4
#define AT_VERDICT 6
#define AT_CHECK 7
#define AT_CODE 8
#define AT_DELAY 12
#define AT_ID 24

static struct ask_answer
example(void)
{
	return (struct ask_answer) {
		.verdict = VERDICT_CLOSE, .check = CHECK_IPTHROTTLE, .code = 421, .flags = ASK_MAY_BLOCK | ASK_TARPIT_FULL,
		.delay_ms = ASK_DELAY_MAX_MS, .n = 0x01020304, .max = 0xfffefdfc, .id = "r4k2mq7h2",
	};
}

static void
assert_same(const struct ask_answer *a, const struct ask_answer *b)
{
	assert_int_equal(a->verdict, b->verdict);
	assert_int_equal(a->check, b->check);
	assert_int_equal(a->code, b->code);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->delay_ms, b->delay_ms);
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->max, b->max);
	assert_string_equal(a->id, b->id);
}

static void
assert_refused(const uint8_t *buf, size_t len, int error)
{
	struct ask_answer a, before;

	memset(&a, 0x5a, sizeof(a));
	before = a;
	assert_int_equal(ask_answer_decode(buf, len, &a), error);
	assert_memory_equal(&a, &before, sizeof(a));
}

static void
ask_every_field_comes_back(void **state)
{
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example(), pass = { 0 }, back;

	(void)state;
	ask_answer_encode(&a, buf);
	assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), 0);
	assert_same(&a, &back);
	ask_answer_encode(&pass, buf);
	assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), 0);
	assert_same(&pass, &back);
}

static void
ask_bytes_of_version_1_stay_where_they_are(void **state)
{
	static const uint8_t want[ASK_ANSWER_SIZE] = {
		'S', 'P', 'W', 'A', 1, 0, VERDICT_CLOSE, CHECK_IPTHROTTLE, 0xa5, 1, 3, 0, 0x30, 0x75, 0, 0, 4, 3, 2, 1,
		0xfc, 0xfd, 0xfe, 0xff, 'r', '4', 'k', '2', 'm', 'q', '7', 'h', '2',
	};
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example();

	(void)state;
	memset(buf, 0x5a, sizeof(buf));
	ask_answer_encode(&a, buf);
	assert_memory_equal(buf, want, sizeof(want));
}

static void
l13_answer_of_any_other_length_is_refused(void **state)
{
	uint8_t buf[2 * ASK_ANSWER_SIZE] = { 0 };
	struct ask_answer a = example();

	(void)state;
	ask_answer_encode(&a, buf);
	for (size_t n = 0; n <= sizeof(buf); n++) {
		uint8_t *exact = malloc(n + 1); /* so that sanitizers see a read behind it */

		assert_non_null(exact);
		memcpy(exact, buf, n);
		if (n != ASK_ANSWER_SIZE)
			assert_refused(exact, n, -EBADMSG);
		free(exact);
	}
}

static void
l13_values_out_of_range_are_refused(void **state)
{
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example(), back;

	(void)state;
	for (unsigned v = 0; v <= UINT8_MAX; v++) {
		ask_answer_encode(&a, buf);
		buf[AT_VERDICT] = (uint8_t)v;
		assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), v < VERDICT_COUNT ? 0 : -EBADMSG);
		ask_answer_encode(&a, buf);
		buf[AT_CHECK] = (uint8_t)v;
		assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), v < CHECK_COUNT ? 0 : -EBADMSG);
	}
	for (unsigned v = 0; v <= UINT16_MAX; v++) {
		ask_answer_encode(&a, buf);
		put_u16(buf + AT_VERSION, (uint16_t)v);
		if (v != ASK_VERSION)
			assert_refused(buf, sizeof(buf), -EPROTO);
		ask_answer_encode(&a, buf);
		put_u16(buf + AT_CODE, (uint16_t)v);
		if (v != 0 && (v < 400 || v > 599)) /* nothing that tells a client that all is well */
			assert_refused(buf, sizeof(buf), -EBADMSG);
	}
	for (uint32_t v = ASK_DELAY_MAX_MS + 1; v != 0; v = v << 1 | 1) {
		ask_answer_encode(&a, buf);
		put_u32(buf + AT_DELAY, v);
		assert_refused(buf, sizeof(buf), -EBADMSG);
		if (v == UINT32_MAX)
			break;
	}
	ask_answer_encode(&a, buf);
	buf[0] ^= 1;
	assert_refused(buf, sizeof(buf), -EBADMSG);
}

/* The id goes into a reply as it is. */
static void
l13_id_of_other_bytes_is_refused(void **state)
{
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example(), back;

	(void)state;
	for (unsigned c = 1; c <= UINT8_MAX; c++) {
		bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		ask_answer_encode(&a, buf);
		buf[AT_ID + 3] = (uint8_t)c;
		assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), good ? 0 : -EBADMSG);
	}
	ask_answer_encode(&a, buf);
	memset(buf + AT_ID, 'x', ASK_ID_MAX); /* without an end */
	assert_refused(buf, sizeof(buf), -EBADMSG);
	buf[AT_ID + ASK_ID_MAX - 1] = 0;
	assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), 0);
	assert_int_equal(strlen(back.id), ASK_ID_MAX - 1);
}

static void
ask_id_without_an_end_is_cut_when_written(void **state)
{
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example(), back;

	(void)state;
	memset(a.id, 'x', sizeof(a.id));
	ask_answer_encode(&a, buf);
	assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), 0);
	assert_int_equal(strlen(back.id), ASK_ID_MAX - 1);
}

/* A newer engine may say more than an older plugin understands. */
static void
ask_reserved_bytes_and_unknown_flags_are_passed_over(void **state)
{
	uint8_t buf[ASK_ANSWER_SIZE];
	struct ask_answer a = example(), back;

	(void)state;
	ask_answer_encode(&a, buf);
	memset(buf + AT_ID + ASK_ID_MAX, 0xff, sizeof(buf) - AT_ID - ASK_ID_MAX);
	buf[10] |= 0xf0;
	buf[11] = 0xff;
	assert_int_equal(ask_answer_decode(buf, sizeof(buf), &back), 0);
	a.flags |= 0xf0;
	assert_same(&a, &back);
}

static void
l13_damaged_answers_stay_in_range(void **state)
{
	uint8_t good[ASK_ANSWER_SIZE], buf[ASK_ANSWER_SIZE];
	struct dice d = dice_new();
	struct ask_answer a = example(), back;

	(void)state;
	ask_answer_encode(&a, good);
	for (int round = 0; round < kit_rounds(200000); round++) {
		memcpy(buf, good, sizeof(buf));
		for (unsigned k = dice_below(&d, 6); k > 0; k--)
			buf[AT_VERDICT + dice_below(&d, sizeof(buf) - AT_VERDICT)] = (uint8_t)dice_u64(&d);
		if (ask_answer_decode(buf, sizeof(buf), &back) < 0)
			continue;
		assert_in_range(back.verdict, 0, VERDICT_COUNT - 1);
		assert_in_range(back.check, 0, CHECK_COUNT - 1);
		assert_in_range(back.delay_ms, 0, ASK_DELAY_MAX_MS);
		assert_true(strlen(back.id) < ASK_ID_MAX);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ask_every_field_comes_back),
		cmocka_unit_test(ask_bytes_of_version_1_stay_where_they_are),
		cmocka_unit_test(l13_answer_of_any_other_length_is_refused),
		cmocka_unit_test(l13_values_out_of_range_are_refused),
		cmocka_unit_test(l13_id_of_other_bytes_is_refused),
		cmocka_unit_test(ask_id_without_an_end_is_cut_when_written),
		cmocka_unit_test(ask_reserved_bytes_and_unknown_flags_are_passed_over),
		cmocka_unit_test(l13_damaged_answers_stay_in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
