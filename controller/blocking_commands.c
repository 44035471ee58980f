/* SPDX-License-Identifier: ISC */
/* blocking_commands - what persons ask of blocks, answered when it is on the disk */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/blocking_state.h"
#include "lib/text.h"

#define LIST_MAX 500 /* blocks in one reply */
#define WAIT_MS 5000
#define FOR_DEFAULT_MS (INT64_C(3600) * 1000)

/* --- those who wait -------------------------------------------------------------------------- */

static void
answer(struct engine *e, struct waiter *w, const char *note)
{
	if (note[0] != '\0')
		(void)json_object_set_new(w->reply, "note", json_sprintf(
			"in force now, but not yet written, so a restart would forget it: %s", note));
	(void)json_object_set_new(w->reply, "durable", json_boolean(note[0] == '\0'));
	control_reply(e->control, w->client, w->reply);
	*w = (struct waiter) { 0 };
}

void
blocking_stored(struct engine *e, uint64_t id, bool ok, const char *text)
{
	for (size_t i = 0; i < BLOCKING_WAITERS; i++) {
		struct waiter *w = &e->blocking->waiter[i];

		if (w->client == 0 || id < w->first || id > w->last)
			continue;
		w->failed = w->failed || !ok;
		if (--w->left == 0)
			answer(e, w, w->failed ? text : "");
		return;
	}
}

static struct waiter *
find_waiter(struct blocking *b)
{
	for (size_t i = 0; i < BLOCKING_WAITERS; i++)
		if (b->waiter[i].client == 0)
			return &b->waiter[i];
	return NULL;
}

static void
wait_for(struct waiter *w, uint64_t id)
{
	if (id == 0) {
		w->failed = true;
		return;
	}
	if (w->left++ == 0)
		w->first = id;
	w->last = id;
}

/* All has been said; the reply comes when it is on the disk, or now when nothing is on its way. */
static json_t *
settle(struct waiter *w, json_t *reply, uint64_t client, mono_t now)
{
	if (w->left == 0) {
		bool failed = w->failed;

		*w = (struct waiter) { 0 };
		(void)json_object_set_new(reply, "durable", json_boolean(!failed));
		return reply;
	}
	w->client = client;
	w->reply = reply;
	w->answer_by = mono_after(now, WAIT_MS);
	return NULL;
}

void
blocking_end_waiting(struct engine *e, mono_t now)
{
	for (size_t i = 0; i < BLOCKING_WAITERS; i++)
		if (e->blocking->waiter[i].client != 0 && now.ms >= e->blocking->waiter[i].answer_by.ms)
			answer(e, &e->blocking->waiter[i], "the database does not answer");
}

/* --- commands -------------------------------------------------------------------------------- */

static json_t *
refuse(int code, const char *text)
{
	return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", code, "error", text);
}

static int
find_kind(const char *word)
{
	for (int i = 0; i < BLOCK_KINDS; i++)
		if (strcmp(word, blocking_kind_name((enum block_kind)i)) == 0)
			return i;
	return -ENOENT;
}

static void
describe_hit(json_t *result, const struct protect_hit *hit)
{
	char prefix[IP_PREFIX_TEXT_MAX];

	ip_prefix_format(&hit->prefix, prefix);
	(void)json_object_set_new(result, "protected", json_pack("{s:s, s:s, s:s?}",
		"reason", protect_reason_text(hit->reason), "prefix", prefix, "name", hit->name));
}

static bool
is_done(enum blocks_verdict v)
{
	return v == BLOCKS_MADE || v == BLOCKS_REPLACED || v == BLOCKS_REMOVED;
}

/* One prefix of a request: what became of it. */
static json_t *
describe_result(const char *prefix, const struct blocks_result *r)
{
	json_t *j = json_pack("{s:s, s:b, s:s}",
		"prefix", prefix, "done", is_done(r->verdict), "text", blocks_verdict_text(r->verdict));

	if (r->hit.reason != PROTECT_NONE)
		describe_hit(j, &r->hit);
	if (r->is_within) {
		char within[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&r->within, within);
		(void)json_object_set_new(j, "within", json_string(within));
	}
	return j;
}

/* What a request asks for, or the reply that refuses it. */
struct wanted {
	const json_t *prefixes;
	enum block_kind kind;
	int64_t for_ms;
	char reason[BLOCKS_REASON_MAX];
};

static json_t *
read_wanted(const struct engine *e, const json_t *request, struct wanted *ret)
{
	const json_t *for_ms = json_object_get(request, "for_ms");
	const char *kind = json_string_value(json_object_get(request, "kind"));
	const char *reason = json_string_value(json_object_get(request, "reason"));
	struct text t = text_in(ret->reason, sizeof(ret->reason));
	int k = kind != NULL ? find_kind(kind) : BLOCK_DENY;

	ret->prefixes = json_object_get(request, "prefixes");
	ret->kind = (enum block_kind)(k < 0 ? 0 : k);
	ret->for_ms = for_ms == NULL ? FOR_DEFAULT_MS : json_integer_value(for_ms);
	if (reason != NULL)
		text_put_printable(&t, reason, strlen(reason), BLOCKS_REASON_MAX / 4 - 1);
	if (!json_is_array(ret->prefixes) || json_array_size(ret->prefixes) == 0
		|| json_array_size(ret->prefixes) > BLOCKING_REQUEST_MAX)
		return refuse(100, "prefixes: allowed is a list of 1 to 64 addresses or prefixes");
	if (k < 0)
		return refuse(100, "kind: not one of the words; allowed: deny, explain, throttle");
	if (ret->for_ms < BLOCKS_FOR_MIN_MS || ret->for_ms > BLOCKS_FOR_MAX_MS)
		return refuse(100, "for: out of range; allowed: 1s to 366d");
	if (!blocking_is_used(e))
		return refuse(1, "blocks are written nowhere: neither blocks.ipsvd nor blocks.tcprules is configured");
	if (!e->blocking->restored)
		return refuse(111, "the stored blocks are still being read; try again");
	if (journal_room(e->journal) < 2 * BLOCKING_REQUEST_MAX)
		return refuse(111, "the database does not keep up; try again");
	return NULL;
}

static void
put_one(struct engine *e, const struct wanted *w, const struct ip_prefix *p, const char *who, struct waiter *waiter,
	struct blocks_result *ret)
{
	char id[EPISODE_ID_MAX];
	mono_t now = turn_now(&e->turn);

	evidence_new_id('b', id);
	const struct blocks_wish wish = {
		.prefix = *p, .kind = w->kind, .for_ms = w->for_ms, .id = id, .who = who, .reason = w->reason,
	};
	blocks_put(e->blocking->blocks, &wish, now, ret);
	for (unsigned i = 0; i < ret->n; i++)
		wait_for(waiter, blocking_carry_out(e, &ret->change[i], true, now));
}

static void
remove_one(struct engine *e, const struct wanted *w, const struct ip_prefix *p, const char *who, struct waiter *waiter,
	struct blocks_result *ret)
{
	mono_t now = turn_now(&e->turn);

	(void)w;
	(void)who;
	blocks_remove(e->blocking->blocks, p, now, ret);
	for (unsigned i = 0; i < ret->n; i++)
		wait_for(waiter, blocking_carry_out(e, &ret->change[i], true, now));
}

typedef void one(struct engine *e, const struct wanted *w, const struct ip_prefix *p, const char *who,
	struct waiter *waiter, struct blocks_result *ret);

static json_t *
each_prefix(struct engine *e, const json_t *request, const char *who, uint64_t client, one *deed)
{
	struct waiter *waiter = find_waiter(e->blocking);
	json_t *results = json_array(), *entry;
	struct wanted w;
	size_t i, done = 0;

	json_t *wrong = waiter == NULL ? refuse(111, "too many wait for the database; try again")
		: read_wanted(e, request, &w);
	if (wrong != NULL) {
		json_decref(results);
		return wrong;
	}
	json_array_foreach(w.prefixes, i, entry) {
		const char *text = json_string_value(entry);
		struct blocks_result r = { .verdict = BLOCKS_NOT_THERE };
		struct ip_prefix p;

		if (text == NULL || ip_prefix_parse(text, &p) < 0) {
			(void)json_array_append_new(results, json_pack("{s:s, s:b, s:s}",
				"prefix", text != NULL ? text : "?", "done", 0,
				"text", "not an address or prefix; no bit may be set behind its length"));
			continue;
		}
		deed(e, &w, &p, who, waiter, &r);
		done += is_done(r.verdict);
		(void)json_array_append_new(results, describe_result(text, &r));
	}
	json_t *reply = json_pack("{s:b, s:I, s:o}", "ok", 1, "done", (json_int_t)done, "results", results);
	return settle(waiter, reply, client, turn_now(&e->turn));
}

json_t *
blocking_put(struct engine *e, const json_t *request, const char *who, uint64_t client)
{
	return each_prefix(e, request, who, client, put_one);
}

json_t *
blocking_remove(struct engine *e, const json_t *request, const char *who, uint64_t client)
{
	return each_prefix(e, request, who, client, remove_one);
}

static json_t *
wall_text(wall_t t)
{
	char text[CLOCK_WALL_TEXT_MAX];

	wall_format(t, text);
	return json_string(text);
}

static json_t *
describe_record(const struct blocks_record *r, mono_t now)
{
	char prefix[IP_PREFIX_TEXT_MAX];
	int64_t left = mono_since(now, r->block.until);
	wall_t wall = wall_now();

	ip_prefix_format(&r->block.prefix, prefix);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"prefix", prefix, "kind", blocking_kind_name(r->block.kind), "id", r->block.id,
		"who", r->who, "reason", r->reason, "by_person", r->by_person, "wide", r->is_wide,
		"since", wall_text((wall_t) { wall.ms + left - r->length_ms }),
		"until", wall_text((wall_t) { wall.ms + left }),
		"remaining_ms", (json_int_t)left, "length_ms", (json_int_t)r->length_ms,
		"n", (json_int_t)r->n, "max", (json_int_t)r->max, "step", (json_int_t)r->step,
		"times", (json_int_t)r->times, "next_ms", (json_int_t)r->next_ms);
}

json_t *
blocking_list(struct engine *e, const json_t *request)
{
	size_t cursor = (size_t)json_integer_value(json_object_get(request, "cursor")), n = 0;
	json_t *list = json_array();
	mono_t now = turn_now(&e->turn);
	struct blocks_record r;
	bool more = true;

	while (n < LIST_MAX && (more = blocks_next(e->blocking->blocks, &cursor, &r))) {
		if (mono_since(now, r.block.until) <= 0)
			continue;
		(void)json_array_append_new(list, describe_record(&r, now));
		n++;
	}
	return json_pack("{s:b, s:o, s:o}", "ok", 1, "blocks", list,
		"next", more ? json_integer((json_int_t)cursor) : json_null());
}

/* --- the allow list -------------------------------------------------------------------------- */

/* Add or take away an entry.  Returns NULL, or the reply that refuses it. */
static json_t *
change_allow(struct engine *e, const struct store_allow *a)
{
	struct blocking *b = e->blocking;
	int i = blocking_find_allow(b, a->entry);
	struct protect_allow parsed;
	struct err why;

	if (a->set && protect_parse_allow(a->entry, &parsed, &why) < 0)
		return refuse(100, why.text);
	if (a->set && i < 0 && e->config.blocks.n_allow + b->allow.n >= PROTECT_ALLOW_MAX)
		return refuse(1, "the allow list is full: 256 entries with those of the configuration");
	if (!a->set && i < 0)
		return refuse(1, "no such entry; those of the configuration are changed there");
	if (a->set && i < 0)
		b->allow.a[b->allow.n++] = *a;
	else if (!a->set)
		b->allow.a[i] = b->allow.a[--b->allow.n];
	blocking_take_allow(e);
	return NULL;
}

json_t *
blocking_allow(struct engine *e, const json_t *request, const char *who, uint64_t client)
{
	const char *entry = json_string_value(json_object_get(request, "entry"));
	struct store_allow a = { .set = json_is_true(json_object_get(request, "add")) };
	struct waiter *w = find_waiter(e->blocking);

	if (entry == NULL || !text_is_plain(entry) || text_copy(a.entry, sizeof(a.entry), entry) < 0)
		return refuse(100, "entry: allowed is an address, a prefix, or the name of a host");
	if (w == NULL || !e->blocking->restored)
		return refuse(111, "the database is busy; try again");
	(void)snprintf(a.who, sizeof(a.who), "%s", who);
	json_t *wrong = change_allow(e, &a);
	if (wrong != NULL)
		return wrong;
	log_info("blocks", "allow list: %s %s by %s", a.entry, a.set ? "added" : "removed", who);
	blocking_step(e, turn_now(&e->turn)); /* frees what is blocked and shall not be */
	wait_for(w, journal_put_allow(e->journal, &a));
	return settle(w, json_pack("{s:b}", "ok", 1), client, turn_now(&e->turn));
}

static json_t *
list_allow(const struct engine *e)
{
	json_t *list = json_array();
	struct protect_hit hit;
	size_t cursor = 0;

	while (protect_next(e->blocking->protect, &cursor, &hit)) {
		char prefix[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&hit.prefix, prefix);
		(void)json_array_append_new(list, json_pack("{s:s, s:s, s:s?}",
			"prefix", prefix, "reason", protect_reason_text(hit.reason), "name", hit.name));
	}
	json_t *persons = json_array();
	for (unsigned i = 0; i < e->blocking->allow.n; i++)
		(void)json_array_append_new(persons, json_pack("{s:s, s:s}",
			"entry", e->blocking->allow.a[i].entry, "who", e->blocking->allow.a[i].who));
	return json_pack("{s:b, s:o, s:o}", "ok", 1, "protected", list, "added", persons);
}

/* All that is protected, or whether one is. */
json_t *
blocking_allowed(struct engine *e, const json_t *request)
{
	const char *text = json_string_value(json_object_get(request, "prefix"));
	mono_t now = turn_now(&e->turn);
	struct protect_hit hit;
	struct ip_prefix p;

	if (text == NULL)
		return list_allow(e);
	if (ip_prefix_parse(text, &p) < 0)
		return refuse(100, "not an address or prefix");
	bool is = protect_covers(e->blocking->protect, &p, now, &hit) != PROTECT_NONE;
	json_t *reply = json_pack("{s:b, s:s, s:b}", "ok", 1, "prefix", text, "is_protected", is);
	if (is)
		describe_hit(reply, &hit);
	return reply;
}
