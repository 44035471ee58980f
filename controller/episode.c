/* SPDX-License-Identifier: ISC */
/* episode - a time with the gate closed: its id is the evidence id in replies, and `spillway explain` finds it */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "controller/engine_state.h"
#include "lib/text.h"

#define ROW_EVERY_MS 5000
#define DETAILS_A_SECOND 100 /* refusals stored one by one; the others are counted */

/* 40 random bits as "e" and eight letters that are not mistaken for each other when read aloud. */
static void
make_id(char ret[EPISODE_ID_MAX])
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	uint8_t random[8] = { 0 };

	/* At boot, before the kernel has entropy, it gives fewer: ids may then repeat, nothing worse. */
	(void)!getrandom(random, sizeof(random), GRND_NONBLOCK);
	ret[0] = 'e';
	for (int i = 0; i < 8; i++)
		ret[i + 1] = letters[random[i] % 32];
	ret[9] = '\0';
}

static void
store_row(struct engine *e, wall_t ended)
{
	struct store_episode row = {
		.began = e->episode.began, .ended = ended, .peak = e->episode.peak, .refused = e->episode.refused,
	};

	memcpy(row.id, e->episode.id, sizeof(row.id));
	memcpy(row.reason, e->episode.reason, sizeof(row.reason));
	journal_episode(e->journal, &row);
	e->episode.refused_written = e->episode.refused;
	e->episode.next_row = mono_after(turn_now(&e->turn), ROW_EVERY_MS);
}

static void
begin(struct engine *e)
{
	struct episode *ep = &e->episode;
	char reason[REASON_TEXT_MAX];

	*ep = (struct episode) { .on = true, .began = wall_now(), .peak = e->stance.level };
	make_id(ep->id);
	(void)!getrandom(&ep->salt, sizeof(ep->salt), GRND_NONBLOCK);
	if (e->stance.level >= LEVEL_OVERLOADED)
		reason_format(&e->stance.why, reason);
	else
		(void)snprintf(reason, sizeof(reason), "an operator's control/overloaded");
	(void)snprintf(ep->reason, sizeof(ep->reason), "%s", reason);
	store_row(e, (wall_t) { 0 });
}

void
episode_resume(struct engine *e, const struct state *s)
{
	struct episode *ep = &e->episode;

	*ep = (struct episode) { .on = true, .began = wall_now(), .peak = s->level, .salt = s->salt };
	memcpy(ep->id, s->episode, sizeof(ep->id));
	(void)snprintf(ep->reason, sizeof(ep->reason), "resumed after a restart of the engine");
}

void
episode_step(struct engine *e, mono_t now)
{
	struct episode *ep = &e->episode;
	bool closed = e->stance.level >= LEVEL_OVERLOADED || engine_is_pinned(e);

	if (closed && !ep->on) {
		begin(e);
	} else if (!closed && ep->on) {
		store_row(e, wall_now());
		ep->on = false;
		ep->id[0] = '\0';
	}
	if (!ep->on)
		return;
	if (e->stance.level > ep->peak)
		ep->peak = e->stance.level;
	if (ep->refused != ep->refused_written && now.ms >= ep->next_row.ms)
		store_row(e, (wall_t) { 0 });
}

static void
copy_text(char *ret, size_t cap, const struct record_text *t)
{
	struct text out = text_in(ret, cap);

	if (t->s != NULL)
		text_put_printable(&out, t->s, t->len, cap);
}

void
episode_refused(struct engine *e, const struct record *r)
{
	struct episode *ep = &e->episode;
	mono_t now = turn_now(&e->turn);
	struct store_refusal row = {
		.at = wall_now(), .check = r->check, .stage = r->stage, .code = r->code, .pid = r->pid,
	};

	ep->refused++;
	if (mono_since(ep->second, now) >= 1000) {
		ep->second = now;
		ep->in_second = 0;
	}
	if (ep->in_second++ >= DETAILS_A_SECOND)
		return;
	/* The id that the client was told, if it is one of ours: the plugin may have read the state before us. */
	copy_text(row.episode, sizeof(row.episode), &r->text[RECORD_EPISODE]);
	if (row.episode[0] == '\0')
		memcpy(row.episode, ep->id, sizeof(row.episode));
	if (r->ip_known)
		ip_format(&r->ip, row.ip);
	copy_text(row.helo, sizeof(row.helo), &r->text[RECORD_HELO]);
	copy_text(row.sender, sizeof(row.sender), &r->text[RECORD_SENDER]);
	copy_text(row.recipient, sizeof(row.recipient), &r->text[RECORD_RECIPIENT]);
	journal_refusal(e->journal, &row);
}
