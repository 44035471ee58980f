/* SPDX-License-Identifier: ISC */
/* episode - a time with the gate closed: its id is the evidence id in replies, and `spillway explain` finds it */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "controller/engine_state.h"

#define ROW_EVERY_MS 5000

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
	evidence_new_id('e', ep->id);
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

void
episode_refused(struct engine *e, const struct record *r)
{
	char id[EPISODE_ID_MAX];

	e->episode.refused++;
	/* The id that the client was told, if it is one of ours: the plugin may have read the state before us. */
	evidence_text(&r->text[RECORD_EPISODE], id, sizeof(id));
	evidence_refusal(e, r, r->check, r->code, id[0] != '\0' ? id : e->episode.id);
}
