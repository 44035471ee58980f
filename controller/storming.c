/* SPDX-License-Identifier: ISC */
#include "controller/storming.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/engine_state.h"
#include "controller/storms.h"
#include "lib/address.h"
#include "lib/siphash.h"
#include "lib/text.h"
#include "probes/sendlog.h"

#define SAVE_MS 250 /* after something has changed */
#define IDLE_MS 1000
#define ROW_EVERY_MS 2000
#define RESTORE_PATIENCE_MS 10000 /* then nobody waits for what is stored any more */
#define WAITERS 8
#define WAIT_MS 5000
#define LIST_MAX 500

/* Tables 0 and 1 are those of the limits. */
enum { KEY_STORMS = 2, KEY_SENT = 3 };

struct waiter {
	uint64_t client, id; /* client 0: free */
	json_t *reply;
	mono_t answer_by;
};

struct storming {
	struct storms *storms;
	struct sent *sent;
	uint64_t key_id;
	bool restored; /* what is stored is in */
	mono_t restore_by, next_save, next_rows;
	struct {
		uint64_t changes; /* of the record when its row was stored */
		char id[EPISODE_ID_MAX];
	} stored[STORMS_MAX];
	struct waiter waiter[WAITERS];
};

/* --- on record ------------------------------------------------------------------------------- */

static wall_t
wall_of(mono_t t, mono_t now)
{
	return (wall_t) { wall_now().ms - mono_since(t, now) };
}

static void
printable(const char *s, char *ret, size_t cap)
{
	const struct record_text t = { .s = s, .len = strlen(s) };

	evidence_text(&t, ret, cap);
}

static struct store_storm
row_of(const struct engine *e, const struct storms_record *r, bool ended, mono_t now)
{
	struct store_storm row = {
		.is_domain = r->is_domain, .began = wall_of(r->began, now), .last = wall_of(r->last, now),
		.last_mono = r->last, .boot = marks_boot(e->boot_id), .ended = ended ? wall_now() : (wall_t) { 0 },
		.counted = r->counted, .expected = r->expected, .retried = r->retried, .deferred = r->deferred,
		.refused = r->refused,
	};

	memcpy(row.id, r->id, sizeof(row.id));
	memcpy(row.raw, r->name, sizeof(row.raw));
	printable(r->name, row.name, sizeof(row.name));
	return row;
}

static void
store_rows(struct engine *e, mono_t now)
{
	struct storming *s = e->storming;

	if (now.ms < s->next_rows.ms)
		return;
	s->next_rows = mono_after(now, ROW_EVERY_MS);
	for (uint16_t i = 0; storms_count(s->storms) > 0 && i < STORMS_MAX; i++) {
		const struct storms_record *r = storms_get(s->storms, i);

		if (r == NULL || r->id[0] == '\0' || journal_room(e->journal) < JOURNAL_QUEUE / 2
			|| (r->changes == s->stored[i].changes && strcmp(r->id, s->stored[i].id) == 0))
			continue;
		const struct store_storm row = row_of(e, r, false, now);
		(void)journal_put_storm(e->journal, &row, false);
		s->stored[i].changes = r->changes;
		memcpy(s->stored[i].id, r->id, sizeof(r->id));
	}
}

static void
begin(struct engine *e, uint16_t storm, mono_t now)
{
	struct storms *storms = e->storming->storms;
	char id[EPISODE_ID_MAX], text[STORE_TEXT_MAX];

	if (storm == STORMS_NONE)
		return;
	evidence_new_id('s', id);
	storms_set_id(storms, storm, id);
	const struct storms_record *r = storms_get(storms, storm);
	const struct store_storm row = row_of(e, r, false, now);
	(void)journal_put_storm(e->journal, &row, false);
	(void)snprintf(text, sizeof(text),
		"%s: a storm of bounces began: %llu that its own mail does not explain, to %.100s", id,
		(unsigned long long)r->counted, row.name);
	log_warning("storms", "%s", text);
	engine_change(e, STORE_STORM, e->stance.level, e->stance.level, text, "spillway");
}

/* Returns the id of the message that makes it durable, when that is wanted. */
static uint64_t
end(struct engine *e, const struct storms_record *r, const char *who, bool durable, mono_t now)
{
	const struct store_storm row = row_of(e, r, true, now);
	uint64_t id = journal_put_storm(e->journal, &row, durable);
	char text[STORE_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s: the storm is over: %llu counted, %llu refused, %llu put off; %.80s",
		r->id, (unsigned long long)r->counted, (unsigned long long)r->refused, (unsigned long long)r->deferred,
		row.name);
	log_info("storms", "%s", text);
	engine_change(e, STORE_STORM, e->stance.level, e->stance.level, text, who);
	return id;
}

/* Something has changed: it is soon on record. */
static void
save_soon(struct engine *e, mono_t now)
{
	mono_t soon = mono_after(now, SAVE_MS);

	if (soon.ms < e->storming->next_save.ms)
		e->storming->next_save = soon;
}

/* --- what was sent --------------------------------------------------------------------------- */

static void
learn(struct engine *e, const char *sender, size_t sender_len, const char *recipient, size_t recipient_len,
	const struct ip *relay, enum sent_outcome outcome, mono_t now)
{
	struct address from, to;

	/* Nobody answers a bounce. */
	if (e->config.storms.rules.bounces == 0 || !address_parse(sender, sender_len, &from)
		|| !address_parse(recipient, recipient_len, &to))
		return;
	sent_learn(e->storming->sent, &from, address_domain(&to), address_domain_len(&to), relay, outcome, now);
	save_soon(e, now);
}

/* The log of qmail-send tells what became of a recipient, also of mail that no plugin saw: from this machine. */
static void
on_delivery(const struct sendlog_delivery *d, void *arg)
{
	struct engine *e = arg;

	if (d->remote && d->sender_known && d->outcome != LOG_DEFERRAL)
		learn(e, d->sender.at, d->sender.n, d->recipient.at, d->recipient.n, d->relay_known ? &d->relay : NULL,
			d->outcome == LOG_SUCCESS ? SENT_TAKEN : SENT_FAILED, turn_now(&e->turn));
}

void
storming_told(struct engine *e, const struct record *r, mono_t now)
{
	const struct record_text *from = &r->text[RECORD_SENDER], *to = &r->text[RECORD_RECIPIENT];

	if (admit_is_own(r) && r->stage == STAGE_RCPT)
		learn(e, from->s, from->len, to->s, to->len, NULL, SENT_SUBMITTED, now);
}

/* Entries that have changed, as many as the line to the recorder takes. */
static void
save(struct engine *e, mono_t now)
{
	struct storming *s = e->storming;
	size_t cursor = 0;
	bool more = s->restored; /* before that it would be put over what is stored */

	while (more && journal_room(e->journal) > JOURNAL_QUEUE / 2) {
		struct store_sent out = { .key_id = s->key_id };

		while (out.n < STORE_SENT_ROWS && (more = sent_dump_next(s->sent, &cursor, now, &out.at[out.n].row))) {
			out.at[out.n].boot = marks_boot(e->boot_id);
			out.at[out.n].mono = now;
			out.at[out.n].wall = wall_now();
			out.n++;
		}
		if (out.n > 0 && !journal_put_sent(e->journal, &out))
			for (unsigned i = 0; i < out.n; i++)
				sent_dump_again(s->sent, &out.at[i].row);
	}
	if (more)
		save_soon(e, now);
}

/* --- bounces --------------------------------------------------------------------------------- */

static struct sent_client
client_of(const struct record *r)
{
	const struct record_text *host = &r->text[RECORD_HOST], *helo = &r->text[RECORD_HELO],
		*sender = &r->text[RECORD_SENDER];
	const char *at = sender->len > 0 ? memchr(sender->s, '@', sender->len) : NULL;
	struct sent_client c = {
		.host = host->s, .host_len = host->len, .helo = helo->s, .helo_len = helo->len,
		.ip = r->ip_known ? &r->ip : NULL,
	};

	if (at != NULL) {
		c.sender = at + 1;
		c.sender_len = sender->len - (size_t)(at + 1 - sender->s);
	}
	return c;
}

static void
refuse(struct engine *e, const struct record *r, const struct storms_result *result, struct ask_answer *ret)
{
	const struct storms_record *storm = storms_get(e->storming->storms, result->storm);

	ret->verdict = VERDICT_REFUSE;
	ret->check = CHECK_BOUNCESHIELD;
	ret->code = result->verdict == STORMS_REFUSED ? 550 : 451;
	ret->delay_ms = 0;
	ret->flags &= ~(unsigned)ASK_TARPIT_FULL;
	ret->n = storm->counted < UINT32_MAX ? (uint32_t)storm->counted : UINT32_MAX;
	ret->max = (uint32_t)e->config.storms.rules.bounces;
	memcpy(ret->id, storm->id, sizeof(ret->id));
	e->limits.refused[CHECK_BOUNCESHIELD]++;
	evidence_refusal(e, r, CHECK_BOUNCESHIELD, ret->code, storm->id);
}

/* Nobody knows yet all that was sent: then nothing is refused for good. */
static bool
is_young(const struct engine *e, mono_t now)
{
	const struct storming *s = e->storming;

	return mono_since(sent_since(s->sent), now) < e->config.storms.learn_ms;
}

static void
judge(struct engine *e, const struct record *r, const struct address *to, mono_t now, struct ask_answer *ret)
{
	struct storming *s = e->storming;
	const struct sent_client client = client_of(r);
	struct sent_match match;
	struct storms_result result;

	sent_look(s->sent, to, &client, now, &match);
	const struct storms_bounce bounce = {
		.to = to, .from = client.ip, .is_odd = match.has_spare, .may_guess = match.may_guess,
		.is = match.fit == SENT_FITS ? STORMS_EXPECTED
			: match.fit == SENT_NOTHING ? STORMS_UNSENT : STORMS_OPEN,
		.is_young = is_young(e, now),
	};
	storms_ask(s->storms, &bounce, now, &result);
	save_soon(e, now);
	begin(e, result.begun[0], now);
	begin(e, result.begun[1], now);
	if (bounce.is == STORMS_EXPECTED)
		sent_answered(s->sent, &match, now);
	else if (result.was_odd)
		sent_odd(s->sent, &match, now);
	else if (result.verdict == STORMS_IN_AT_RETRY)
		sent_guessed(s->sent, &match, now);
	if (result.verdict == STORMS_PUT_OFF || result.verdict == STORMS_REFUSED)
		refuse(e, r, &result, ret);
}

void
storming_asked(struct engine *e, const struct record *r, mono_t now, struct ask_answer *ret)
{
	const struct record_text *from = &r->text[RECORD_SENDER], *to = &r->text[RECORD_RECIPIENT];
	struct address address;

	if ((r->wants & UINT32_C(1) << CHECK_BOUNCESHIELD) == 0 || r->stage != STAGE_RCPT
		|| e->config.storms.rules.bounces == 0)
		return;
	if (admit_is_own(r)) {
		storming_told(e, r, now);
		return;
	}
	/* Before what is stored has been read, nobody knows what was sent, nor which storms there are. */
	if (e->storming->restored && from->full_len == from->len && address_is_bounce_sender(from->s, from->len)
		&& to->full_len == to->len && address_parse(to->s, to->len, &address)
		&& !(r->ip_known && blocking_is_allowed(e, &r->ip, now)))
		judge(e, r, &address, now, ret);
}

/* --- from the store -------------------------------------------------------------------------- */

static int64_t
age_of(const struct engine *e, uint64_t boot, mono_t mono, wall_t wall, mono_t now)
{
	int64_t age = boot == marks_boot(e->boot_id) ? mono_since(mono, now) : wall_now().ms - wall.ms;

	return age > 0 ? age : 0;
}

static void
restore_storm(struct engine *e, const struct store_storm *row, mono_t now)
{
	mono_t last = { now.ms - age_of(e, row->boot, row->last_mono, row->last, now) };
	struct storms_record r = {
		.is_domain = row->is_domain, .last = last, .began = { last.ms - (row->last.ms - row->began.ms) },
		.counted = row->counted, .expected = row->expected, .retried = row->retried,
		.deferred = row->deferred, .refused = row->refused, .changes = 1,
	};

	memcpy(r.id, row->id, sizeof(r.id));
	memcpy(r.name, row->raw, sizeof(r.name));
	if (!storms_restore(e->storming->storms, &r, now))
		(void)end(e, &r, "spillway", false, now); /* meanwhile */
	else
		log_info("storms", "%s: goes on after a restart: %.100s", row->id, row->name);
}

static void
on_storm(const struct store_storm *storm, const struct store_sent *sent, void *arg)
{
	struct engine *e = arg;
	struct storming *s = e->storming;
	mono_t now = turn_now(&e->turn);

	if (storm != NULL)
		restore_storm(e, storm, now);
	for (unsigned i = 0; sent != NULL && i < sent->n && i < STORE_SENT_ROWS; i++)
		sent_load(s->sent, &sent->at[i].row,
			age_of(e, sent->at[i].boot, sent->at[i].mono, sent->at[i].wall, now), now);
	if (storm == NULL && sent == NULL)
		s->restored = true;
}

/* --- commands -------------------------------------------------------------------------------- */

static json_t *
describe(const struct storms_record *r, mono_t now)
{
	char name[STORE_NAME_MAX], began[CLOCK_WALL_TEXT_MAX];

	printable(r->name, name, sizeof(name));
	wall_format(wall_of(r->began, now), began);
	return json_pack("{s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id", r->id, "name", name,
		"domain", r->is_domain, "began", began, "for_ms", (json_int_t)mono_since(r->began, now),
		"last_ms", (json_int_t)mono_since(r->last, now), "counted", (json_int_t)r->counted,
		"expected", (json_int_t)r->expected, "retried", (json_int_t)r->retried,
		"deferred", (json_int_t)r->deferred, "refused", (json_int_t)r->refused);
}

json_t *
storming_list(struct engine *e, const json_t *request)
{
	struct storming *s = e->storming;
	json_t *all = json_array();

	(void)request;
	for (uint16_t i = 0; i < STORMS_MAX && json_array_size(all) < LIST_MAX; i++) {
		const struct storms_record *r = storms_get(s->storms, i);

		if (r != NULL)
			(void)json_array_append_new(all, describe(r, turn_now(&e->turn)));
	}
	return json_pack("{s:b, s:o, s:i, s:I}", "ok", 1, "storms", all, "count", (int)storms_count(s->storms),
		"quiet_ms", (json_int_t)e->config.storms.rules.quiet_ms);
}

static void
answer(struct engine *e, struct waiter *w, bool durable, const char *note)
{
	(void)json_object_set_new(w->reply, "durable", json_boolean(durable));
	if (!durable)
		(void)json_object_set_new(w->reply, "note",
			json_sprintf("over now, but not yet written, so a restart would bring it back: %s", note));
	control_reply(e->control, w->client, w->reply);
	*w = (struct waiter) { 0 };
}

void
storming_stored(struct engine *e, uint64_t id, bool ok, const char *text)
{
	for (int i = 0; i < WAITERS; i++)
		if (e->storming->waiter[i].client != 0 && e->storming->waiter[i].id == id)
			answer(e, &e->storming->waiter[i], ok, text);
}

static void
end_waiting(struct engine *e, mono_t now)
{
	for (int i = 0; i < WAITERS; i++) {
		struct waiter *w = &e->storming->waiter[i];

		if (w->client != 0 && now.ms >= w->answer_by.ms)
			answer(e, w, false, "the recorder does not answer");
	}
}

json_t *
storming_release(struct engine *e, const json_t *request, const char *who, uint64_t client)
{
	struct storming *s = e->storming;
	const json_t *name = json_object_get(request, "address");
	struct storms_record r;
	struct waiter *w = NULL;
	mono_t now = turn_now(&e->turn);

	for (int i = 0; i < WAITERS; i++)
		w = s->waiter[i].client == 0 ? &s->waiter[i] : w;
	if (!json_is_string(name))
		return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 100, "error",
			"release: an address or a domain is needed");
	if (w == NULL)
		return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 111, "error",
			"too many wait for the disk; try again");
	if (!storms_release(s->storms, json_string_value(name), json_string_length(name), &r))
		return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 1, "error",
			"no storm of that address or domain; `spillway storms` lists them");
	*w = (struct waiter) {
		.client = client, .id = end(e, &r, who, true, now), .answer_by = mono_after(now, WAIT_MS),
		.reply = json_pack("{s:b, s:o}", "ok", 1, "storm", describe(&r, now)),
	};
	if (w->id != 0)
		return NULL;
	json_t *reply = w->reply;
	*w = (struct waiter) { 0 };
	(void)json_object_set_new(reply, "durable", json_false());
	return reply;
}

json_t *
storming_describe(struct engine *e)
{
	const struct storming *s = e->storming;

	if (s == NULL)
		return json_null();
	struct storms_stats n = storms_stats(s->storms);
	struct sent_stats m = sent_stats(s->sent);

	return json_pack("{s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "count",
		(int)storms_count(s->storms), "restored", s->restored, "begun", (json_int_t)n.begun,
		"counted", (json_int_t)n.counted, "expected", (json_int_t)n.expected, "retried", (json_int_t)n.retried,
		"deferred", (json_int_t)n.deferred, "refused", (json_int_t)n.refused, "sent",
		"entries", (json_int_t)m.entries, "used", (json_int_t)m.used, "mails", (json_int_t)m.mails,
		"answered", (json_int_t)m.answered, "evicted", (json_int_t)m.evicted,
		"known_ms", (json_int_t)mono_since(sent_since(s->sent), turn_now(&e->turn)));
}

/* --- the whole ------------------------------------------------------------------------------- */

void
storming_step(struct engine *e, mono_t now)
{
	struct storming *s = e->storming;
	struct storms_record over;

	if (now.ms < s->next_save.ms)
		return;
	if (!s->restored && now.ms >= s->restore_by.ms) {
		log_error("storms", "what is stored can't be read: begun without it");
		s->restored = true;
	}
	while (storms_step(s->storms, now, &over))
		(void)end(e, &over, "spillway", false, now);
	end_waiting(e, now);
	store_rows(e, now);
	s->next_save = mono_after(now, IDLE_MS);
	save(e, now);
}

void
storming_flush(struct engine *e, mono_t now)
{
	e->storming->next_rows = now;
	store_rows(e, now);
	save(e, now);
}

mono_t
storming_due(const struct engine *e)
{
	return e->storming->next_save;
}

void
storming_configure(struct engine *e)
{
	storms_configure(e->storming->storms, &e->config.storms.rules);
}

int
storming_open(struct engine *e, struct err *why)
{
	const struct config_storms *c = &e->config.storms;
	struct storming *s = calloc(1, sizeof(*s));
	uint8_t key[RATE_KEY_SIZE], of_storms[RATE_KEY_SIZE], of_sent[RATE_KEY_SIZE];
	struct err reason;
	mono_t now = turn_now(&e->turn);

	e->storming = s;
	if (s == NULL)
		return err_set(why, -ENOMEM, "no memory for storms");
	if (marks_key(e->config.service.state_dir, key, &reason) == -ENODATA)
		return err_set(why, -ENODATA, "%s", reason.text);
	marks_table_key(key, KEY_STORMS, of_storms);
	marks_table_key(key, KEY_SENT, of_sent);
	s->key_id = siphash(of_sent, sizeof(of_sent), 0, 0);
	if (storms_new(&c->rules, (size_t)c->addresses, of_storms, &s->storms) < 0
		|| sent_new(c->memory, c->remember_ms, of_sent, now, &s->sent) < 0)
		return err_set(why, -ENOMEM, "no memory for storms");
	s->restore_by = mono_after(now, RESTORE_PATIENCE_MS);
	journal_ask_storms(e->journal, s->key_id, on_storm);
	if (e->watch != NULL)
		watch_sent(e->watch, on_delivery, e);
	return 0;
}

void
storming_close(struct engine *e)
{
	struct storming *s = e->storming;

	if (s == NULL)
		return;
	for (int i = 0; i < WAITERS; i++)
		json_decref(s->waiter[i].reply);
	storms_free(s->storms);
	sent_free(s->sent);
	free(s);
	e->storming = NULL;
}
