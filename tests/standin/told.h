/* SPDX-License-Identifier: ISC */
/*
 * told - a session record in one line, for the programs that stand for the engine
 *
 *	mail stranger overload 2 451 pid=711 ip=192.0.2.1 helo=c.test sender=a@b.test episode=e4k2
 *	rcpt own overload 0 0 pid=711 ip=192.0.2.1 recipient=c@d.test user=alice wants=userthrottle,tarpit delay=2000
 *
 * The number behind the check is the verdict: 1 E, 2 R.  Texts are printable, \xHH for other bytes; of one
 * that was cut, "sender=TEXT+65024" tells how much is missing, and "hash=" its hash.
 */
#ifndef TESTS_STANDIN_TOLD_H
#define TESTS_STANDIN_TOLD_H

#include <inttypes.h>
#include <stdio.h>

#include "lib/record.h"
#include "lib/text.h"

static inline void
told_text(FILE *to, const char *name, const struct record_text *t)
{
	char printable[4 * RECORD_TEXT_MAX + 1];
	struct text out = text_in(printable, sizeof(printable));

	if (t->s == NULL)
		return;
	text_put_printable(&out, t->s, t->len, t->len);
	(void)fprintf(to, " %s=%s", name, printable);
	if (t->full_len > t->len)
		(void)fprintf(to, "+%zu hash=%016" PRIx64, t->full_len - t->len, t->hash);
}

static inline void
told_wants(FILE *to, const struct record *r)
{
	const char *before = " wants=";

	for (unsigned i = 0; i < 32; i++)
		if ((r->wants & 1u << i) != 0) {
			(void)fprintf(to, "%s%s", before, check_name((enum check)i));
			before = ",";
		}
	if (r->delay_ms != 0)
		(void)fprintf(to, " delay=%" PRIu32, r->delay_ms);
}

static inline void
told_record(FILE *to, const struct record *r)
{
	static const char *const names[RECORD_TAGS] = {
		[RECORD_HELO] = "helo", [RECORD_SENDER] = "sender", [RECORD_RECIPIENT] = "recipient",
		[RECORD_USER] = "user", [RECORD_EPISODE] = "episode", [RECORD_HOST] = "host",
	};
	char ip[IP_TEXT_MAX] = "unknown";

	if (r->ip_known)
		ip_format(&r->ip, ip);
	(void)fprintf(to, "%s %s %s %u %u pid=%" PRIu32 " ip=%s", stage_name(r->stage), class_name(r->class),
		check_name(r->check), (unsigned)r->verdict, r->code, r->pid, ip);
	for (unsigned tag = 0; tag < RECORD_TAGS; tag++)
		told_text(to, names[tag], &r->text[tag]);
	told_wants(to, r);
	(void)fputc('\n', to);
}

#endif
