/* SPDX-License-Identifier: ISC */
/* override - a person forces a level: it holds until its time is over, also across restarts, and never longer */
#include <stdio.h>
#include <string.h>

#include "controller/engine_state.h"

#define ANSWER_MS 2000 /* so long a person waits for the disk */
#define RETRY_MS 5000

static const char undurable[] = "in force now, but not yet written, so a restart would forget it: ";

static json_t *
reply_of(const struct engine *e, bool durable, const char *text)
{
	char words[STORE_TEXT_MAX + sizeof(undurable)];

	if (durable)
		return json_pack("{s:b, s:s, s:s?}", "ok", 1, "level", e->override.set
			? level_name(e->override.level) : "auto", "note", engine_is_pinned(e)
			? "but an operator's control/overloaded keeps the gate closed until it is removed" : NULL);
	(void)snprintf(words, sizeof(words), "%s%s", undurable, text);
	return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 111, "error", words);
}

static void
store_it(struct engine *e, uint64_t client)
{
	struct override *o = &e->override;
	mono_t now = turn_now(&e->turn);
	struct store_override row = {
		.set = o->set, .level = o->level, .until = o->until_wall, .until_mono = o->until,
		.remaining_ms = mono_since(now, o->until),
	};

	if (o->client != 0) /* a newer word overtakes one that is still being written */
		control_reply(e->control, o->client, reply_of(e, false, "overtaken by another command"));
	memcpy(row.boot_id, e->boot_id, sizeof(row.boot_id));
	memcpy(row.who, o->who, sizeof(row.who));
	memcpy(row.reason, o->reason, sizeof(row.reason));
	o->unwritten = journal_put_override(e->journal, &row);
	o->lost = o->unwritten == 0;
	o->retry_at = mono_after(now, RETRY_MS);
	o->client = client;
	o->answer_by = mono_after(now, ANSWER_MS);
	if (o->lost) {
		o->client = 0;
		if (client != 0)
			control_reply(e->control, client, reply_of(e, false, "the recorder does not keep up"));
	}
}

static void
set(struct engine *e, enum level level, int64_t for_ms, const char *who, const char *reason)
{
	struct override *o = &e->override;
	mono_t now = turn_now(&e->turn);

	e->changed = true;
	o->set = true;
	o->level = level;
	o->until = mono_after(now, for_ms);
	o->until_wall = (wall_t) { wall_now().ms + for_ms };
	(void)snprintf(o->who, sizeof(o->who), "%s", who);
	(void)snprintf(o->reason, sizeof(o->reason), "%s", reason);
}

void
override_set(struct engine *e, enum level level, int64_t for_ms, const char *who, const char *reason,
	uint64_t client)
{
	e->override.spoken = true;
	set(e, level, for_ms, who, reason);
	log_info("engine", "level %s forced by %s for %lld s: %s", level_name(level), who,
		(long long)(for_ms / 1000), reason);
	store_it(e, client);
}

void
override_clear(struct engine *e, const char *who, const char *reason, uint64_t client)
{
	struct override *o = &e->override;

	if (o->set)
		log_info("engine", "override ended by %s: %s", who, reason);
	e->changed = true;
	o->spoken = true;
	o->set = false;
	(void)snprintf(o->who, sizeof(o->who), "%s", who);
	(void)snprintf(o->reason, sizeof(o->reason), "%s", reason);
	store_it(e, client);
}

void
override_step(struct engine *e, mono_t now)
{
	struct override *o = &e->override;

	if (o->set && now.ms >= o->until.ms)
		override_clear(e, "spillway", "its time is over", 0);
	if (o->lost && now.ms >= o->retry_at.ms)
		store_it(e, 0);
	if (o->client != 0 && now.ms >= o->answer_by.ms) {
		control_reply(e->control, o->client, reply_of(e, false, "the database does not answer"));
		o->client = 0;
	}
}

void
override_stored(struct engine *e, uint64_t id, bool ok, const char *text)
{
	struct override *o = &e->override;

	if (id != o->unwritten)
		return; /* of a word that was overtaken */
	o->unwritten = 0;
	o->lost = !ok;
	o->retry_at = mono_after(turn_now(&e->turn), RETRY_MS);
	if (o->client != 0)
		control_reply(e->control, o->client, reply_of(e, ok, text));
	o->client = 0;
}

/* What is left of a stored override: never more than was left when it was stored, than the wall clock says, or than may
 * be forced at all.  Within one boot the boot clock alone counts. */
static int64_t
remaining(const struct engine *e, const struct store_override *o, mono_t now)
{
	int64_t left = o->remaining_ms;

	if (memcmp(o->boot_id, e->boot_id, sizeof(e->boot_id)) == 0) {
		if (__builtin_sub_overflow(o->until_mono.ms, now.ms, &left))
			return 0; /* not of ours */
	} else {
		int64_t by_wall;

		if (__builtin_sub_overflow(o->until.ms, wall_now().ms, &by_wall))
			return 0;
		if (by_wall < left)
			left = by_wall;
	}
	if (left > o->remaining_ms)
		left = o->remaining_ms;
	return left < OVERRIDE_MAX_MS ? left : OVERRIDE_MAX_MS;
}

void
override_restore(struct engine *e, const struct store_override *o)
{
	int64_t left = o->set ? remaining(e, o, turn_now(&e->turn)) : 0;

	if (left <= 0 || e->override.spoken) /* a person was quicker than the disk */
		return;
	set(e, o->level, left, o->who, o->reason);
	log_info("engine", "level %s is still forced by %s, for another %lld s: %s", level_name(o->level),
		o->who, (long long)(left / 1000), o->reason);
}

json_t *
override_describe(struct engine *e)
{
	const struct override *o = &e->override;
	char until[CLOCK_WALL_TEXT_MAX];

	if (!o->set)
		return NULL;
	wall_format(o->until_wall, until);
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:b}", "level", level_name(o->level), "until", until,
		"remaining_ms", (json_int_t)mono_since(turn_now(&e->turn), o->until), "who", o->who,
		"reason", o->reason, "durable", o->unwritten == 0 && !o->lost);
}
