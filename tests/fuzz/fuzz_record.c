/* SPDX-License-Identifier: ISC */
/* A record from event.sock or ask.sock: what is decoded stays inside the packet and in range, and packs to the same
 * record. */
#include "lib/bytes.h"
#include "lib/record.h"
#include "tests/fuzz/fuzz.h"

static void
check_same(const struct record *a, const struct record *b)
{
	CHECK(a->stage == b->stage && a->class == b->class && a->check == b->check && a->verdict == b->verdict);
	CHECK(a->code == b->code && a->pid == b->pid && a->ip_known == b->ip_known && ip_equal(&a->ip, &b->ip));
	CHECK(a->wants == b->wants && a->delay_ms == b->delay_ms);
	for (int i = 0; i < RECORD_TAGS; i++) {
		const struct record_text *s = &a->text[i], *t = &b->text[i];

		CHECK((s->s == NULL) == (t->s == NULL));
		CHECK(s->len == t->len && s->full_len == t->full_len && s->hash == t->hash);
		CHECK(s->len == 0 || memcmp(s->s, t->s, s->len) == 0);
	}
}

static void
check(const uint8_t *buf, size_t len)
{
	uint8_t joined[RECORD_MAX];
	struct record_packet packet;
	struct record r, again;
	size_t at = 0;

	if (record_decode(buf, len, &r) < 0)
		return;
	CHECK(len <= RECORD_MAX);
	CHECK((unsigned)r.stage < STAGE_COUNT && (unsigned)r.class < CLASS_COUNT && (unsigned)r.check < CHECK_COUNT);
	CHECK((unsigned)r.verdict < VERDICT_COUNT);
	for (int i = 0; i < RECORD_TAGS; i++) {
		const struct record_text *t = &r.text[i];

		if (t->s == NULL)
			continue;
		CHECK((const uint8_t *)t->s >= buf + RECORD_HEAD && (const uint8_t *)t->s + t->len <= buf + len);
		CHECK(t->len <= RECORD_TEXT_MAX && t->full_len >= t->len && memchr(t->s, '\0', t->len) == NULL);
	}
	record_pack(&r, &packet);
	CHECK(packet.len <= RECORD_MAX);
	for (int i = 0; i < packet.parts; i++) {
		memcpy(joined + at, packet.part[i].iov_base, packet.part[i].iov_len);
		at += packet.part[i].iov_len;
	}
	CHECK(at == packet.len);
	CHECK(record_decode(joined, at, &again) == 0);
	check_same(&r, &again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check(data, size);
	if (size < RECORD_HEAD || size > RECORD_MAX)
		return 0;
	/* The same bytes with a head that fits. */
	uint8_t *copy = malloc(size);
	CHECK(copy != NULL);
	memcpy(copy, data, size);
	memcpy(copy, "SPWR", 4);
	put_u16(copy + 4, RECORD_VERSION);
	put_u16(copy + 6, (uint16_t)size);
	copy[8] %= STAGE_COUNT;
	copy[9] %= CLASS_COUNT;
	copy[10] %= CHECK_COUNT;
	copy[11] %= VERDICT_COUNT;
	check(copy, size);
	free(copy);
	return 0;
}
