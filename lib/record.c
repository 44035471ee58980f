/* SPDX-License-Identifier: ISC */
#include "lib/record.h"

#include <errno.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/siphash.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_LENGTH = 6,
	AT_STAGE = 8,
	AT_CLASS = 9,
	AT_CHECK = 10,
	AT_VERDICT = 11,
	AT_CODE = 12,
	AT_PID = 16,
	AT_IP = 20,
	AT_WANTS = 36,
	AT_DELAY = 40,
	/* within a field */
	FIELD_TAG = 0,
	FIELD_STORED = 2,
	FIELD_FULL = 4,
	FIELD_HASH = 8,
};

#define MAGIC UINT32_C(0x52575053) /* "SPWR" */

_Static_assert(RECORD_HEAD + RECORD_TAGS * (RECORD_FIELD_HEAD + RECORD_TEXT_MAX) <= RECORD_MAX, "all fields fit");

static const struct ip no_ip;

struct record_text
record_text_of(const char *s)
{
	if (s == NULL)
		return (struct record_text) { 0 };
	size_t n = strlen(s);
	struct record_text t = { .s = s, .len = n };

	t.full_len = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	if (n > RECORD_TEXT_MAX) {
		t.len = RECORD_TEXT_MAX;
		t.hash = siphash(s, n, 0, 0);
	}
	return t;
}

static void
add_part(struct record_packet *p, const void *at, size_t n)
{
	/* iovec is for reading too, hence without const; sending leaves it alone. */
	p->part[p->parts++] = (struct iovec) { .iov_base = (void *)(uintptr_t)at, .iov_len = n };
	p->len += n;
}

static void
add_field(struct record_packet *p, unsigned tag, const struct record_text *t)
{
	uint8_t *f = p->field[tag];

	memset(f, 0, RECORD_FIELD_HEAD);
	f[FIELD_TAG] = (uint8_t)tag;
	put_u16(f + FIELD_STORED, (uint16_t)t->len);
	put_u32(f + FIELD_FULL, t->full_len);
	put_u64(f + FIELD_HASH, t->hash);
	add_part(p, f, RECORD_FIELD_HEAD);
	if (t->len > 0)
		add_part(p, t->s, t->len);
}

void
record_pack(const struct record *r, struct record_packet *ret)
{
	uint8_t *head = ret->head;

	ret->parts = 0;
	ret->len = 0;
	memset(head, 0, RECORD_HEAD);
	put_u32(head + AT_MAGIC, MAGIC);
	put_u16(head + AT_VERSION, RECORD_VERSION);
	head[AT_STAGE] = (uint8_t)r->stage;
	head[AT_CLASS] = (uint8_t)r->class;
	head[AT_CHECK] = (uint8_t)r->check;
	head[AT_VERDICT] = (uint8_t)r->verdict;
	put_u16(head + AT_CODE, r->code);
	put_u32(head + AT_PID, r->pid);
	if (r->ip_known)
		memcpy(head + AT_IP, r->ip.b, sizeof(r->ip.b));
	put_u32(head + AT_WANTS, r->wants);
	put_u32(head + AT_DELAY, r->delay_ms);
	add_part(ret, head, RECORD_HEAD);
	for (unsigned tag = 0; tag < RECORD_TAGS; tag++)
		if (r->text[tag].s != NULL)
			add_field(ret, tag, &r->text[tag]);
	put_u16(head + AT_LENGTH, (uint16_t)ret->len);
}

static int
get_fields(const uint8_t *buf, size_t len, struct record *r)
{
	size_t at = RECORD_HEAD;

	while (at < len) {
		const uint8_t *f = buf + at;

		if (len - at < RECORD_FIELD_HEAD)
			return -EBADMSG;
		struct record_text t = {
			.s = (const char *)f + RECORD_FIELD_HEAD,
			.len = get_u16(f + FIELD_STORED),
			.full_len = get_u32(f + FIELD_FULL),
			.hash = get_u64(f + FIELD_HASH),
		};
		if (t.len > RECORD_TEXT_MAX || t.len > len - at - RECORD_FIELD_HEAD || t.full_len < t.len)
			return -EBADMSG;
		if (memchr(t.s, '\0', t.len) != NULL)
			return -EBADMSG;
		if (f[FIELD_TAG] < RECORD_TAGS)
			r->text[f[FIELD_TAG]] = t;
		at += RECORD_FIELD_HEAD + t.len;
	}
	return 0;
}

int
record_decode(const uint8_t *buf, size_t len, struct record *ret)
{
	struct record r = { 0 };

	if (len < RECORD_HEAD || len > RECORD_MAX || get_u32(buf + AT_MAGIC) != MAGIC)
		return -EBADMSG;
	if (get_u16(buf + AT_VERSION) != RECORD_VERSION)
		return -EPROTO;
	if (get_u16(buf + AT_LENGTH) != len || buf[AT_STAGE] >= STAGE_COUNT
		|| buf[AT_CLASS] >= CLASS_COUNT || buf[AT_CHECK] >= CHECK_COUNT
		|| buf[AT_VERDICT] >= VERDICT_COUNT)
		return -EBADMSG;
	r.stage = buf[AT_STAGE];
	r.class = buf[AT_CLASS];
	r.check = buf[AT_CHECK];
	r.verdict = buf[AT_VERDICT];
	r.code = get_u16(buf + AT_CODE);
	r.pid = get_u32(buf + AT_PID);
	memcpy(r.ip.b, buf + AT_IP, sizeof(r.ip.b));
	r.wants = get_u32(buf + AT_WANTS);
	r.delay_ms = get_u32(buf + AT_DELAY);
	r.ip_known = !ip_equal(&r.ip, &no_ip);
	int e = get_fields(buf, len, &r);
	if (e < 0)
		return e;
	*ret = r;
	return 0;
}
