/* SPDX-License-Identifier: ISC */
/* evidence - what stands behind the id in a reply: the id itself, and single refusals on record */
#include <string.h>
#include <sys/random.h>

#include "controller/archive.h"
#include "controller/engine_state.h"
#include "lib/text.h"

#define DETAILS_A_SECOND 100 /* refusals in the database one by one; all are in the archive */

void
evidence_new_id(char kind, char ret[EPISODE_ID_MAX])
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	uint8_t random[8] = { 0 };

	/* At boot, before the kernel has entropy, it gives fewer: ids may then repeat, nothing worse. */
	(void)!getrandom(random, sizeof(random), GRND_NONBLOCK);
	ret[0] = kind;
	for (int i = 0; i < 8; i++)
		ret[i + 1] = letters[random[i] % 32];
	ret[9] = '\0';
}

void
evidence_text(const struct record_text *t, char *ret, size_t cap)
{
	struct text out = text_in(ret, cap);

	if (t->s != NULL)
		text_put_printable(&out, t->s, t->len, cap);
}

void
evidence_refusal(struct engine *e, const struct record *r, enum check check, uint16_t code, const char *id)
{
	mono_t now = turn_now(&e->turn);
	char line[ARCHIVE_LINE_MAX];
	struct store_refusal row = { .at = wall_now(), .check = check, .stage = r->stage, .code = code, .pid = r->pid };

	(void)text_copy(row.episode, sizeof(row.episode), id); /* one of ours: it fits */
	if (r->ip_known)
		ip_format(&r->ip, row.ip);
	evidence_text(&r->text[RECORD_HELO], row.helo, sizeof(row.helo));
	evidence_text(&r->text[RECORD_SENDER], row.sender, sizeof(row.sender));
	evidence_text(&r->text[RECORD_RECIPIENT], row.recipient, sizeof(row.recipient));
	if (e->config.store.archive > 0)
		journal_line(e->journal, line, archive_format(&row, line));
	if (mono_since(e->details.second, now) >= 1000) {
		e->details.second = now;
		e->details.n = 0;
	}
	if (e->details.n++ >= DETAILS_A_SECOND)
		return;
	journal_refusal(e->journal, &row);
}
