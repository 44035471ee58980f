/* SPDX-License-Identifier: ISC */
/*
 * The session record: what a plugin sends is what the engine reads, and whatever else arrives is refused.
 * Rows of the failure list: Q7 Q8 L13.
 */
#include "lib/record.h"

#include "lib/bytes.h"
#include "lib/siphash.h"
#include "tests/hostile.h"
#include "tests/unit/kit.h"

#define AT_MAGIC 0
#define AT_VERSION 4
#define AT_LENGTH 6
#define AT_STAGE 8
#define AT_CLASS 9
#define AT_CHECK 10
#define AT_VERDICT 11
#define AT_IP 20

/* The packet as the socket would carry it.  Returns its length. */
static size_t
flatten(const struct record_packet *p, uint8_t ret[RECORD_MAX])
{
	size_t n = 0;

	for (int i = 0; i < p->parts; i++) {
		assert_true(p->part[i].iov_len <= RECORD_MAX - n);
		memcpy(ret + n, p->part[i].iov_base, p->part[i].iov_len);
		n += p->part[i].iov_len;
	}
	assert_int_equal(n, p->len);
	return n;
}

static size_t
pack(const struct record *r, uint8_t ret[RECORD_MAX])
{
	struct record_packet p;

	memset(&p, 0x5a, sizeof(p)); /* nothing is expected of it */
	record_pack(r, &p);
	return flatten(&p, ret);
}

static struct record
example(void)
{
	return (struct record) {
		.stage = STAGE_RCPT, .class = CLASS_RETURNING, .check = CHECK_OVERLOAD, .verdict = VERDICT_REFUSE,
		.code = 451, .pid = 0x01020304, .ip_known = true,
		.ip = { { 0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } },
		.wants = 1u << CHECK_IPTHROTTLE | 1u << CHECK_TARPIT, .delay_ms = 0x00015f90,
		.text = {
			[RECORD_HELO] = record_text_of("client.test"),
			[RECORD_SENDER] = record_text_of(""),
			[RECORD_RECIPIENT] = record_text_of("bob@example.test"),
			[RECORD_EPISODE] = record_text_of("e4k2mq7h2"),
		},
	};
}

static void
assert_same(const struct record *a, const struct record *b)
{
	assert_int_equal(a->stage, b->stage);
	assert_int_equal(a->class, b->class);
	assert_int_equal(a->check, b->check);
	assert_int_equal(a->verdict, b->verdict);
	assert_int_equal(a->code, b->code);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->ip_known, b->ip_known);
	assert_true(ip_equal(&a->ip, &b->ip));
	assert_int_equal(a->wants, b->wants);
	assert_int_equal(a->delay_ms, b->delay_ms);
	for (unsigned t = 0; t < RECORD_TAGS; t++) {
		assert_int_equal(a->text[t].s != NULL, b->text[t].s != NULL);
		assert_int_equal(a->text[t].len, b->text[t].len);
		assert_int_equal(a->text[t].full_len, b->text[t].full_len);
		assert_true(a->text[t].hash == b->text[t].hash);
		if (a->text[t].len > 0)
			assert_memory_equal(a->text[t].s, b->text[t].s, a->text[t].len);
	}
}

static void
assert_refused(const uint8_t *buf, size_t len, int error)
{
	struct record r, before;

	memset(&r, 0x5a, sizeof(r));
	before = r;
	assert_int_equal(record_decode(buf, len, &r), error);
	assert_memory_equal(&r, &before, sizeof(r));
}

/* --- there and back -------------------------------------------------------------------------- */

static void
record_every_field_comes_back(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = example(), back;

	(void)state;
	assert_int_equal(record_decode(buf, pack(&r, buf), &back), 0);
	assert_same(&r, &back);
}

static void
record_missing_and_empty_texts_are_told_apart(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = { .stage = STAGE_MAIL }, back;

	(void)state;
	assert_int_equal(pack(&r, buf), RECORD_HEAD);
	assert_int_equal(record_decode(buf, RECORD_HEAD, &back), 0);
	for (unsigned t = 0; t < RECORD_TAGS; t++)
		assert_null(back.text[t].s);
	r.text[RECORD_SENDER] = record_text_of(""); /* MAIL FROM:<> */
	assert_int_equal(record_decode(buf, pack(&r, buf), &back), 0);
	assert_non_null(back.text[RECORD_SENDER].s);
	assert_int_equal(back.text[RECORD_SENDER].len, 0);
	assert_null(back.text[RECORD_HELO].s);
}

static void
q8_unknown_address_comes_back_as_unknown(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = example(), back;

	(void)state;
	r.ip_known = false; /* what stands in r.ip then does not count */
	assert_int_equal(record_decode(buf, pack(&r, buf), &back), 0);
	assert_false(back.ip_known);
	for (size_t i = 0; i < sizeof(back.ip.b); i++)
		assert_int_equal(back.ip.b[i], 0);
}

static void
record_bytes_of_version_2_stay_where_they_are(void **state)
{
	static const uint8_t want[] = {
		'S', 'P', 'W', 'R', 2, 0, 0, 0, STAGE_MAIL, CLASS_STRANGER, CHECK_OVERLOAD, VERDICT_CLOSE, 0xc3, 1, 0, 0,
		4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, /* what is wanted, and the delay: */
		0x24, 0, 0, 0x80, 0xd0, 7, 0, 0, /* the sender: */
		1, 0, 3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'a', '@', 'b',
	};
	uint8_t buf[RECORD_MAX];
	struct record r = {
		.stage = STAGE_MAIL, .class = CLASS_STRANGER, .check = CHECK_OVERLOAD, .verdict = VERDICT_CLOSE, .code = 451,
		.pid = 0x01020304, .ip_known = true, .wants = 0x80000024, .delay_ms = 2000,
		.text = { [RECORD_SENDER] = record_text_of("a@b") },
	};

	(void)state;
	assert_int_equal(ip_parse("192.0.2.1", &r.ip), 0);
	assert_int_equal(pack(&r, buf), sizeof(want));
	assert_int_equal(get_u16(buf + AT_LENGTH), sizeof(want));
	put_u16(buf + AT_LENGTH, 0);
	assert_memory_equal(buf, want, sizeof(want));
}

static void
record_text_is_cut_at_the_limit_and_the_whole_is_hashed(void **state)
{
	static char long_text[HOSTILE_MAX + 1];
	static const size_t lengths[] = { 0, 1, 511, 512, 513, 1000, HOSTILE_MAX };

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	for (size_t i = 0; i < countof(lengths); i++) {
		size_t n = lengths[i];
		bool cut = n > RECORD_TEXT_MAX;

		long_text[n] = '\0';
		struct record_text t = record_text_of(long_text);
		assert_int_equal(t.len, cut ? RECORD_TEXT_MAX : n);
		assert_int_equal(t.full_len, n);
		assert_true(t.hash == (cut ? siphash(long_text, n, 0, 0) : 0));
		long_text[n] = 'x';
	}
}

/* Two senders that differ behind the cut only are two. */
static void
record_texts_alike_up_to_the_cut_differ_in_their_hash(void **state)
{
	char a[601], b[601];

	(void)state;
	memset(a, 'x', 600);
	a[600] = '\0';
	memcpy(b, a, sizeof(b));
	b[599] = 'y';
	assert_true(record_text_of(a).hash != record_text_of(b).hash);
}

static void
record_with_all_fields_at_their_longest_fits(void **state)
{
	static char long_text[HOSTILE_MAX + 1];
	uint8_t buf[RECORD_MAX];
	struct record r = example(), back;

	(void)state;
	memset(long_text, '\xff', sizeof(long_text) - 1);
	for (unsigned t = 0; t < RECORD_TAGS; t++)
		r.text[t] = record_text_of(long_text);
	assert_int_equal(pack(&r, buf), RECORD_HEAD + RECORD_TAGS * (RECORD_FIELD_HEAD + RECORD_TEXT_MAX));
	assert_int_equal(record_decode(buf, pack(&r, buf), &back), 0);
	assert_same(&r, &back);
}

static void
q7_hostile_texts_come_back_byte_for_byte_and_stay_in_their_field(void **state)
{
	static char text[HOSTILE_MAX + 1];
	uint8_t buf[RECORD_MAX];

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		(void)hostile_text(i, text); /* the environment ends it at a NUL, too */
		for (unsigned t = 0; t < RECORD_TAGS; t++) {
			struct record r = example(), back;

			r.text[t] = record_text_of(text);
			assert_int_equal(record_decode(buf, pack(&r, buf), &back), 0);
			assert_same(&r, &back);
		}
	}
}

/* --- what is refused ------------------------------------------------------------------------- */

static void
l13_packet_cut_at_any_length_is_refused(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = example();
	size_t len = pack(&r, buf);

	(void)state;
	for (size_t n = 0; n < len; n++) {
		uint8_t *exact = malloc(n + 1); /* so that sanitizers see a read behind it */

		assert_non_null(exact);
		memcpy(exact, buf, n);
		assert_refused(exact, n, -EBADMSG);
		/* And when the packet claims that this is all: in the middle of a field. */
		if (n >= RECORD_HEAD) {
			struct record back;

			put_u16(exact + AT_LENGTH, (uint16_t)n);
			int e = record_decode(exact, n, &back);
			assert_true(e == 0 || e == -EBADMSG);
		}
		free(exact);
	}
	assert_refused(buf, len + 1, -EBADMSG);
}

static void
l13_field_that_reaches_beyond_the_packet_is_refused(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = { .text = { [RECORD_HELO] = record_text_of("client.test") } };
	size_t len = pack(&r, buf);

	(void)state;
	for (unsigned stored = 0; stored <= UINT16_MAX; stored++) {
		put_u16(buf + RECORD_HEAD + 2, (uint16_t)stored);
		put_u32(buf + RECORD_HEAD + 4, UINT32_MAX);
		if (stored > 11)
			assert_refused(buf, len, -EBADMSG);
	}
	put_u16(buf + RECORD_HEAD + 2, 11);
	put_u32(buf + RECORD_HEAD + 4, 10); /* less than is stored */
	assert_refused(buf, len, -EBADMSG);
}

static void
l13_heads_out_of_range_are_refused(void **state)
{
	static const struct {
		size_t at;
		unsigned count;
	} rows[] = {
		{ AT_STAGE, STAGE_COUNT }, { AT_CLASS, CLASS_COUNT }, { AT_CHECK, CHECK_COUNT },
		{ AT_VERDICT, VERDICT_COUNT },
	};
	uint8_t buf[RECORD_MAX];
	struct record r = example(), back;
	size_t len = pack(&r, buf);

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		uint8_t was = buf[rows[i].at];

		for (unsigned v = 0; v <= UINT8_MAX; v++) {
			buf[rows[i].at] = (uint8_t)v;
			if (v < rows[i].count)
				assert_int_equal(record_decode(buf, len, &back), 0);
			else
				assert_refused(buf, len, -EBADMSG);
		}
		buf[rows[i].at] = was;
	}
	for (unsigned v = 0; v <= UINT16_MAX; v++) {
		put_u16(buf + AT_VERSION, (uint16_t)v);
		if (v != RECORD_VERSION)
			assert_refused(buf, len, -EPROTO);
	}
	put_u16(buf + AT_VERSION, RECORD_VERSION);
	buf[AT_MAGIC] ^= 1;
	assert_refused(buf, len, -EBADMSG);
}

static void
record_with_a_nul_in_a_text_is_refused(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = { .text = { [RECORD_HELO] = record_text_of("client.test") } };
	size_t len = pack(&r, buf);

	(void)state;
	for (size_t i = RECORD_HEAD + RECORD_FIELD_HEAD; i < len; i++) {
		uint8_t was = buf[i];

		buf[i] = 0;
		assert_refused(buf, len, -EBADMSG);
		buf[i] = was;
	}
}

/* A newer plugin may know more than an older engine. */
static void
record_fields_of_unknown_tags_are_passed_over(void **state)
{
	uint8_t buf[RECORD_MAX];
	struct record r = example(), back;
	size_t len = pack(&r, buf);

	(void)state;
	buf[RECORD_HEAD] = RECORD_TAGS; /* the helo */
	r.text[RECORD_HELO] = (struct record_text) { 0 };
	assert_int_equal(record_decode(buf, len, &back), 0);
	assert_same(&r, &back);
	buf[RECORD_HEAD] = UINT8_MAX;
	assert_int_equal(record_decode(buf, len, &back), 0);
	assert_same(&r, &back);
}

/* Whatever is believed lies within the packet and within the limits. */
static void
assert_within(const struct record *r, const uint8_t *buf, size_t len)
{
	assert_in_range(r->stage, 0, STAGE_COUNT - 1);
	assert_in_range(r->class, 0, CLASS_COUNT - 1);
	assert_in_range(r->verdict, 0, VERDICT_COUNT - 1);
	for (unsigned t = 0; t < RECORD_TAGS; t++) {
		const struct record_text *x = &r->text[t];

		if (x->s == NULL)
			continue;
		assert_true((const uint8_t *)x->s >= buf + RECORD_HEAD + RECORD_FIELD_HEAD);
		assert_true((const uint8_t *)x->s + x->len <= buf + len);
		assert_true(x->len <= RECORD_TEXT_MAX);
		assert_null(memchr(x->s, '\0', x->len));
	}
}

static void
l13_damaged_packets_never_lead_outside(void **state)
{
	uint8_t good[RECORD_MAX], buf[RECORD_MAX];
	struct dice d = dice_new();
	struct record r = example(), back;
	size_t len = pack(&r, good);

	(void)state;
	for (int round = 0; round < kit_rounds(200000); round++) {
		size_t n = dice_below(&d, 4) == 0 ? dice_below(&d, (unsigned)len + 1) : len;

		memcpy(buf, good, len);
		for (unsigned k = dice_below(&d, 6); k > 0; k--)
			buf[dice_below(&d, (unsigned)len)] = (uint8_t)dice_u64(&d);
		if (dice_below(&d, 2) == 0)
			put_u16(buf + AT_LENGTH, (uint16_t)n);
		if (record_decode(buf, n, &back) == 0)
			assert_within(&back, buf, n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_every_field_comes_back),
		cmocka_unit_test(record_missing_and_empty_texts_are_told_apart),
		cmocka_unit_test(q8_unknown_address_comes_back_as_unknown),
		cmocka_unit_test(record_bytes_of_version_2_stay_where_they_are),
		cmocka_unit_test(record_text_is_cut_at_the_limit_and_the_whole_is_hashed),
		cmocka_unit_test(record_texts_alike_up_to_the_cut_differ_in_their_hash),
		cmocka_unit_test(record_with_all_fields_at_their_longest_fits),
		cmocka_unit_test(q7_hostile_texts_come_back_byte_for_byte_and_stay_in_their_field),
		cmocka_unit_test(l13_packet_cut_at_any_length_is_refused),
		cmocka_unit_test(l13_field_that_reaches_beyond_the_packet_is_refused),
		cmocka_unit_test(l13_heads_out_of_range_are_refused),
		cmocka_unit_test(record_with_a_nul_in_a_text_is_refused),
		cmocka_unit_test(record_fields_of_unknown_tags_are_passed_over),
		cmocka_unit_test(l13_damaged_packets_never_lead_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
