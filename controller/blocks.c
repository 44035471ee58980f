/* SPDX-License-Identifier: ISC */
/*
 * A block is a record at the number of its prefix in a map.  Beside it: a heap by the time at which blocks end; a map
 * of networks that counts blocked hosts, for widening; the memory of offences (offences.h); the budget (budget.h);
 * and the texts, each pair of who and reason once.
 *
 * Only make() lets a block come into being, and only erase() takes one away.  Whatever is told to the caller goes
 * through tell().
 */
#include "controller/blocks.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/budget.h"
#include "controller/offences.h"
#include "lib/array.h"
#include "lib/prefixmap.h"
#include "lib/siphash.h"

#define V4_BITS 96
#define V4_WIDE_BITS (V4_BITS + 24)
#define RESERVE_PART 16 /* a sixteenth of the table is for persons */
#define JITTER_PART 10 /* a tenth more or less */
#define NO_TEXT 0 /* number of the text that stands for all that found no room */
#define NEVER INT64_MAX

_Static_assert(BLOCKS_PER_MINUTE_MAX == BUDGET_PER_MINUTE_MAX, "what may be configured can be counted");

struct record {
	mono_t until;
	int64_t length_ms;
	uint32_t n, max, times;
	uint16_t text;
	uint8_t kind, step;
	bool by_person, is_wide;
	char id[BLOCK_ID_MAX];
};

struct text {
	uint64_t hash;
	uint32_t uses; /* 0: free */
	struct words {
		char who[BLOCKS_WHO_MAX], reason[BLOCKS_REASON_MAX];
	} words;
};

struct over {
	bool ever;
	enum blocks_verdict why;
	mono_t since, last;
	uint64_t not_done, not_done_ever;
};

struct blocks {
	const struct blocks_cfg *cfg;
	const struct protect *protect;
	bool (*is_spared)(const struct ip_prefix *p, void *arg);
	void *spared_arg;
	mono_t last;
	uint64_t dice; /* state of a generator, not 0 */
	uint64_t key0, key1;

	struct prefixmap *map;
	struct record *record; /* by number */
	size_t max, by_person;
	uint32_t *heap, *place; /* numbers, the one that ends first in front; and where in the heap each is */
	uint32_t heaped;

	struct prefixmap *nets;
	uint32_t *hosts; /* by number in `nets`: hosts or narrower networks with blocks in it */

	struct offences *offences;
	struct budget *budget;
	struct over over;
	struct text text[BLOCKS_TEXTS_MAX];
	unsigned texts; /* none was ever used from here on */
	uint64_t checked; /* version of `protect` that all blocks were compared with */
	uint64_t checking; /* version that the walk below is for */
	uint32_t walk;
};

const char *
blocks_verdict_text(enum blocks_verdict v)
{
	static const char *const text[BLOCKS_VERDICTS] = {
		[BLOCKS_MADE] = "blocked",
		[BLOCKS_REPLACED] = "blocked, in place of another block",
		[BLOCKS_REMOVED] = "unblocked",
		[BLOCKS_NOT_THERE] = "there is no such block",
		[BLOCKS_ALREADY] = "blocked already",
		[BLOCKS_RULE_OFF] = "the rule does not lead to blocks",
		[BLOCKS_OUR_REFUSAL] = "counted only because we had refused",
		[BLOCKS_PROTECTED] = "protected",
		[BLOCKS_OVER_MINUTE] = "too many new blocks within a minute",
		[BLOCKS_OVER_SHARE] = "too large a share of the clients of the last hour",
		[BLOCKS_FULL] = "the table is full",
		[BLOCKS_TOO_WIDE] = "wider than /8, or of IPv6 than /16",
		[BLOCKS_BAD_TIME] = "not a time from a second to 366 days",
	};

	return text[v];
}

/* --- numbers --------------------------------------------------------------------------------- */

static mono_t
advance(struct blocks *b, mono_t now)
{
	if (now.ms > b->last.ms)
		b->last = now;
	return b->last;
}

/* A clock that went back counts as the last one, for those who only ask, too. */
static mono_t
present(const struct blocks *b, mono_t now)
{
	return now.ms > b->last.ms ? now : b->last;
}

static mono_t
later(mono_t t, int64_t ms)
{
	return mono_after(t, ms < INT64_MAX - t.ms ? ms : INT64_MAX - t.ms);
}

/* xorshift64* (Vigna, 2016) */
static uint64_t
throw_dice(struct blocks *b)
{
	b->dice ^= b->dice >> 12;
	b->dice ^= b->dice << 25;
	b->dice ^= b->dice >> 27;
	return b->dice * UINT64_C(2685821657736338717);
}

static int64_t
jitter(struct blocks *b, int64_t ms)
{
	int64_t part = ms / JITTER_PART;
	int64_t v = ms - part + (int64_t)(throw_dice(b) % (uint64_t)(2 * part + 1));

	return v < BLOCKS_FOR_MAX_MS ? v : BLOCKS_FOR_MAX_MS;
}

static int64_t
rung(const struct blocks *b, unsigned step)
{
	return b->cfg->ladder.ms[step < b->cfg->ladder.n ? step : b->cfg->ladder.n - 1];
}

/* --- texts ----------------------------------------------------------------------------------- */

static void
copy_cut(char *dst, size_t cap, const char *src)
{
	size_t n = strnlen(src, cap - 1);

	memcpy(dst, src, n);
	dst[n] = '\0';
}

/* The number of the text that is this, or of a free one made so; NO_TEXT when there is no room.  There are few
 * different ones at a time, so they are simply looked through. */
static unsigned
find_text(struct blocks *b, const struct words *words)
{
	uint64_t hash = siphash(words, sizeof(*words), b->key0, b->key1);
	unsigned vacant = NO_TEXT;

	for (unsigned i = NO_TEXT + 1; i < b->texts; i++) {
		if (b->text[i].uses == 0)
			vacant = vacant == NO_TEXT ? i : vacant;
		else if (b->text[i].hash == hash && memcmp(&b->text[i].words, words, sizeof(*words)) == 0)
			return i;
	}
	if (vacant == NO_TEXT && b->texts < BLOCKS_TEXTS_MAX)
		vacant = b->texts++;
	if (vacant != NO_TEXT) {
		b->text[vacant].hash = hash;
		b->text[vacant].words = *words;
	}
	return vacant;
}

static uint16_t
use_text(struct blocks *b, const char *who, const char *reason)
{
	struct words w = { 0 };

	copy_cut(w.who, sizeof(w.who), who);
	copy_cut(w.reason, sizeof(w.reason), reason);
	unsigned n = find_text(b, &w);
	if (n == NO_TEXT && w.reason[0] != '\0') {
		memset(w.reason, 0, sizeof(w.reason));
		n = find_text(b, &w);
	}
	b->text[n].uses++;
	return (uint16_t)n;
}

/* --- the heap -------------------------------------------------------------------------------- */

static bool
ends_before(const struct blocks *b, uint32_t x, uint32_t y)
{
	return b->record[x].until.ms < b->record[y].until.ms;
}

static void
heap_set(struct blocks *b, uint32_t at, uint32_t number)
{
	b->heap[at] = number;
	b->place[number] = at;
}

/* Let the number at `at` find its place, upwards or downwards. */
static void
heap_settle(struct blocks *b, uint32_t at)
{
	uint32_t n = b->heap[at], child;

	while (at > 0 && ends_before(b, n, b->heap[(at - 1) / 2])) {
		heap_set(b, at, b->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	while ((child = 2 * at + 1) < b->heaped) {
		if (child + 1 < b->heaped && ends_before(b, b->heap[child + 1], b->heap[child]))
			child++;
		if (!ends_before(b, b->heap[child], n))
			break;
		heap_set(b, at, b->heap[child]);
		at = child;
	}
	heap_set(b, at, n);
}

static void
heap_add(struct blocks *b, uint32_t number)
{
	heap_set(b, b->heaped++, number);
	heap_settle(b, b->place[number]);
}

static void
heap_remove(struct blocks *b, uint32_t number)
{
	uint32_t at = b->place[number], last = b->heap[--b->heaped];

	if (last == number)
		return;
	heap_set(b, at, last);
	heap_settle(b, at);
}

/* --- networks -------------------------------------------------------------------------------- */

/* The next wider network that may be blocked.  False when `p` is as wide as any. */
static bool
next_wider(const struct ip_prefix *p, struct ip_prefix *ret)
{
	static const uint8_t v6[] = { 64, 56, 48 };
	unsigned bits = 0;

	if (p->bits >= V4_BITS && ip_is_v4(&p->ip))
		bits = p->bits > V4_WIDE_BITS ? V4_WIDE_BITS : 0;
	else
		for (size_t i = 0; i < countof(v6) && bits == 0; i++)
			bits = v6[i] < p->bits ? v6[i] : 0;
	*ret = (struct ip_prefix) { ip_mask(&p->ip, bits), (uint8_t)bits };
	return bits != 0;
}

/* A host is blocked, or is no more.  A network counts in the wider one once, however many hosts it has. */
static void
count_host(struct blocks *b, const struct ip_prefix *host, bool more)
{
	struct ip_prefix net = *host;

	while (next_wider(&net, &net)) {
		/* No room: this network is not going to be blocked.  Counts may be too small then, not too large. */
		uint32_t n = more ? prefixmap_add(b->nets, &net) : prefixmap_find(b->nets, &net);

		if (n == PREFIXMAP_NONE || (more ? b->hosts[n]++ : --b->hosts[n]) != 0)
			return;
		if (!more)
			(void)prefixmap_remove(b->nets, &net);
	}
}

static uint32_t
hosts_in(const struct blocks *b, const struct ip_prefix *net)
{
	uint32_t n = prefixmap_find(b->nets, net);

	return n != PREFIXMAP_NONE ? b->hosts[n] : 0;
}

/* Does it count for widening? */
static bool
is_host(const struct record *r)
{
	return !r->by_person && !r->is_wide;
}

/* --- records --------------------------------------------------------------------------------- */

static void
describe(const struct blocks *b, uint32_t number, struct blocks_record *ret)
{
	const struct record *r = &b->record[number];

	*ret = (struct blocks_record) {
		.block = { .prefix = *prefixmap_at(b->map, number), .kind = (enum block_kind)r->kind,
			.until = r->until },
		.length_ms = r->length_ms, .by_person = r->by_person, .is_wide = r->is_wide,
		.n = r->n, .max = r->max, .step = r->step, .times = r->times,
		.next_ms = r->by_person ? 0 : rung(b, r->step + 1u),
	};
	memcpy(ret->block.id, r->id, sizeof(ret->block.id));
	memcpy(ret->who, b->text[r->text].words.who, sizeof(ret->who));
	memcpy(ret->reason, b->text[r->text].words.reason, sizeof(ret->reason));
}

static void
tell(const struct blocks *b, uint32_t number, enum blocks_event event, struct blocks_change *ret)
{
	ret->event = event;
	ret->end = BLOCKS_END_NONE;
	ret->protect = PROTECT_NONE;
	describe(b, number, &ret->record);
}

static void
erase(struct blocks *b, uint32_t number)
{
	const struct record *r = &b->record[number];

	heap_remove(b, number);
	if (is_host(r))
		count_host(b, prefixmap_at(b->map, number), false);
	b->by_person -= r->by_person;
	b->text[r->text].uses--;
	(void)prefixmap_remove(b->map, prefixmap_at(b->map, number));
}

/* How may `p` be blocked?  Never, when it is protected (false); else as hard as wanted, or softer. */
static bool
is_blockable(const struct blocks *b, const struct ip_prefix *p, mono_t now, enum block_kind softer, uint8_t *kind,
	struct protect_hit *ret)
{
	if (protect_is_absolute(protect_covers(b->protect, p, now, ret)))
		return false;
	if (ret->reason == PROTECT_LOGIN && *kind == BLOCK_DENY)
		*kind = (uint8_t)softer;
	return true;
}

/* The one way for a block to come into being, in place of one of the same prefix.  The caller has found out that it
 * may be, with is_blockable(), and that there is room; if not, this is where it stops. */
static void
make(struct blocks *b, const struct ip_prefix *p, const struct record *r, mono_t now, struct blocks_result *ret)
{
	enum protect_reason why = protect_covers(b->protect, p, now, NULL);
	uint32_t before = prefixmap_find(b->map, p);

	assert(!protect_is_absolute(why));
	assert(why != PROTECT_LOGIN || r->kind != BLOCK_DENY);
	if (before != PREFIXMAP_NONE)
		erase(b, before);
	uint32_t number = prefixmap_add(b->map, p);
	assert(number != PREFIXMAP_NONE);
	b->record[number] = *r;
	heap_add(b, number);
	if (is_host(r))
		count_host(b, p, true);
	b->by_person += r->by_person;
	tell(b, number, before != PREFIXMAP_NONE ? BLOCKS_CHANGED : BLOCKS_BEGUN, &ret->change[ret->n++]);
}

static void
end(struct blocks *b, uint32_t number, enum blocks_end how, enum protect_reason why, mono_t now,
	struct blocks_change *ret)
{
	tell(b, number, BLOCKS_ENDED, ret);
	ret->end = how;
	ret->protect = why;
	if (!b->record[number].by_person && how != BLOCKS_END_TIME)
		offences_end(b->offences, &ret->record.block.prefix, now);
	erase(b, number);
}

/* --- questions ------------------------------------------------------------------------------- */

/* The longest block of at most `bits` bits that contains `ip` and is in force. */
static uint32_t
in_force(const struct blocks *b, const struct ip *ip, int bits, mono_t now)
{
	for (uint32_t n; (n = prefixmap_match(b->map, ip, bits)) != PREFIXMAP_NONE;) {
		if (b->record[n].until.ms > now.ms)
			return n;
		bits = prefixmap_at(b->map, n)->bits - 1;
	}
	return PREFIXMAP_NONE;
}

struct ip_prefix
blocks_who(const struct blocks *b, const struct ip *ip)
{
	unsigned bits = ip_is_v4(ip) ? 128 : (unsigned)b->cfg->ipv6_prefix;

	return (struct ip_prefix) { ip_mask(ip, bits), (uint8_t)bits };
}

bool
blocks_find(const struct blocks *b, const struct ip_prefix *p, struct blocks_record *ret)
{
	uint32_t n = prefixmap_find(b->map, p);

	if (n != PREFIXMAP_NONE)
		describe(b, n, ret);
	return n != PREFIXMAP_NONE;
}

bool
blocks_match(const struct blocks *b, const struct ip *ip, mono_t now, struct blocks_record *ret)
{
	uint32_t n = in_force(b, ip, 128, present(b, now));

	if (n != PREFIXMAP_NONE)
		describe(b, n, ret);
	return n != PREFIXMAP_NONE;
}

bool
blocks_next(const struct blocks *b, size_t *cursor, struct blocks_record *ret)
{
	while (*cursor < prefixmap_end(b->map)) {
		uint32_t n = (uint32_t)(*cursor)++;

		if (prefixmap_at(b->map, n) != NULL) {
			describe(b, n, ret);
			return true;
		}
	}
	return false;
}

bool
blocks_recollect(const struct blocks *b, const struct ip_prefix *p, mono_t now, struct blocks_memory *ret)
{
	struct offence left;

	now = present(b, now);
	bool known = offences_get(b->offences, p, b->cfg->forgive_ms, now, &left);
	*ret = (struct blocks_memory) {
		.steps = left.steps, .times = left.times, .length_ms = left.length_ms, .ended = left.ended,
		.next_ms = rung(b, left.steps), .clean_ms = offences_clean_ms(&left, b->cfg->forgive_ms, now),
	};
	return known;
}

/* --- budget ---------------------------------------------------------------------------------- */

static void
refuse_more(struct blocks *b, enum blocks_verdict why, mono_t now)
{
	struct over *o = &b->over;

	if (!o->ever || mono_since(o->last, now) >= BUDGET_MINUTE_MS) {
		o->since = now;
		o->not_done = 0;
	}
	o->ever = true;
	o->why = why;
	o->last = now;
	o->not_done++;
	o->not_done_ever++;
}

/* May a rule block one more? */
static enum blocks_verdict
ask_budget(struct blocks *b, const struct ip_prefix *who, mono_t now)
{
	static const enum blocks_verdict verdict[] = {
		[BUDGET_OK] = BLOCKS_MADE,
		[BUDGET_OVER_MINUTE] = BLOCKS_OVER_MINUTE,
		[BUDGET_OVER_SHARE] = BLOCKS_OVER_SHARE,
	};
	enum blocks_verdict v = BLOCKS_FULL;

	if (prefixmap_count(b->map) < b->max - b->max / RESERVE_PART)
		v = verdict[budget_ask(b->budget, who, b->cfg->budget_per_minute, b->cfg->budget_share, now)];
	if (v != BLOCKS_MADE)
		refuse_more(b, v, now);
	return v;
}

void
blocks_seen(struct blocks *b, const struct ip *ip, mono_t now)
{
	struct ip_prefix who = blocks_who(b, ip);

	now = advance(b, now);
	/* Those who are blocked come only in a dry run, which is to decide the same. */
	if (in_force(b, ip, 128, now) == PREFIXMAP_NONE)
		budget_seen(b->budget, &who, now);
}

struct blocks_state
blocks_state(const struct blocks *b, mono_t now)
{
	const struct over *o = &b->over;

	now = present(b, now);
	return (struct blocks_state) {
		.count = prefixmap_count(b->map), .by_person = b->by_person, .max = b->max,
		.remembered = offences_count(b->offences),
		.clients = budget_clients(b->budget, now), .made = budget_blocked(b->budget, now),
		.is_over = o->ever && mono_since(o->last, now) < BUDGET_MINUTE_MS,
		.over = o->why, .over_since = o->since,
		.not_done = o->not_done, .not_done_ever = o->not_done_ever,
	};
}

/* --- rules ----------------------------------------------------------------------------------- */

static bool
is_on(const struct blocks_cfg *cfg, const char *rule)
{
	for (unsigned i = 0; i < cfg->on.n; i++)
		if (strcmp(cfg->on.s[i], rule) == 0)
			return true;
	return false;
}

static enum block_kind
soft_kind(const struct blocks *b)
{
	return b->cfg->soft_first == BLOCKS_SOFT_EXPLAIN ? BLOCK_EXPLAIN : BLOCK_THROTTLE;
}

/* A block that has ended but is not stepped away yet: nobody shall take the next one for its continuation. */
static void
end_if_over(struct blocks *b, const struct ip_prefix *p, mono_t now, struct blocks_result *ret)
{
	uint32_t n = prefixmap_find(b->map, p);

	if (n != PREFIXMAP_NONE && b->record[n].until.ms <= now.ms)
		end(b, n, BLOCKS_END_TIME, PROTECT_NONE, now, &ret->change[ret->n++]);
}

/* How long and how hard, by what is remembered; and remember this one. */
static void
sentence(struct blocks *b, const struct ip_prefix *p, mono_t now, struct record *r)
{
	struct offence f;

	(void)offences_get(b->offences, p, b->cfg->forgive_ms, now, &f);
	r->step = (uint8_t)(f.steps < b->cfg->ladder.n ? f.steps : b->cfg->ladder.n - 1);
	r->times = f.times;
	r->length_ms = jitter(b, rung(b, r->step));
	r->until = later(now, r->length_ms);
	r->kind = (uint8_t)(f.steps == 0 && b->cfg->soft_first != BLOCKS_SOFT_NO ? soft_kind(b) : BLOCK_DENY);
	/* Steps beyond the ladder would lengthen nothing but the forgiving. */
	f.steps = r->step + 1u;
	f.times += f.times < UINT32_MAX;
	f.length_ms = r->length_ms;
	f.ended = r->until;
	offences_put(b->offences, p, &f, b->cfg->forgive_ms, now);
}

/* All has been asked: block `p` for evidence, for as long and as hard as the memory says. */
static void
block_for(struct blocks *b, const struct ip_prefix *p, const struct blocks_evidence *e, struct record *r,
	mono_t now, struct blocks_result *ret)
{
	end_if_over(b, p, now, ret);
	sentence(b, p, now, r);
	struct protect_hit hit;
	(void)is_blockable(b, p, now, soft_kind(b), &r->kind, &hit);
	copy_cut(r->id, sizeof(r->id), e->id);
	r->text = use_text(b, e->rule, "");
	make(b, p, r, now, ret);
	budget_take(b->budget, p, now);
}

/* May this network be blocked for what is in it?  Not when there is anybody whom one would be sorry for. */
static bool
is_net_blockable(struct blocks *b, const struct ip_prefix *net, mono_t now)
{
	return in_force(b, &net->ip, net->bits, now) == PREFIXMAP_NONE
		&& protect_covers(b->protect, net, now, NULL) == PROTECT_NONE
		&& (b->is_spared == NULL || !b->is_spared(net, b->spared_arg))
		&& ask_budget(b, net, now) == BLOCKS_MADE;
}

static void
widen(struct blocks *b, const struct ip_prefix *host, const struct blocks_evidence *e, mono_t now,
	struct blocks_result *ret)
{
	struct ip_prefix net = *host;

	/* Blocks that have ended and are not stepped away are still counted: then rather not. */
	if (b->cfg->widen_hosts == 0 || b->record[b->heap[0]].until.ms <= now.ms)
		return;
	while (next_wider(&net, &net)) {
		uint32_t hosts = hosts_in(b, &net);

		if (hosts < b->cfg->widen_hosts || !is_net_blockable(b, &net, now))
			continue;
		struct record r = { .n = hosts, .max = (uint32_t)b->cfg->widen_hosts, .is_wide = true };
		block_for(b, &net, e, &r, now, ret);
	}
}

static enum blocks_verdict
judge(struct blocks *b, const struct ip *ip, const struct ip_prefix *who, const struct blocks_evidence *e, mono_t now,
	struct protect_hit *ret)
{
	if (!is_on(b->cfg, e->rule))
		return BLOCKS_RULE_OFF;
	if (e->is_our_refusal)
		return BLOCKS_OUR_REFUSAL;
	if (protect_is_absolute(protect_covers(b->protect, who, now, ret)))
		return BLOCKS_PROTECTED;
	if (in_force(b, ip, 128, now) != PREFIXMAP_NONE)
		return BLOCKS_ALREADY;
	budget_seen(b->budget, who, now);
	return ask_budget(b, who, now);
}

static void
begin(struct blocks_result *ret)
{
	ret->verdict = BLOCKS_MADE;
	ret->hit = (struct protect_hit) { 0 };
	ret->is_within = false;
	ret->n = 0;
}

void
blocks_offend(struct blocks *b, const struct ip *ip, const struct blocks_evidence *e, mono_t now,
	struct blocks_result *ret)
{
	struct ip_prefix who = blocks_who(b, ip);
	struct record r = { .n = e->n, .max = e->max };

	now = advance(b, now);
	begin(ret);
	ret->verdict = judge(b, ip, &who, e, now, &ret->hit);
	if (ret->verdict != BLOCKS_MADE)
		return;
	block_for(b, &who, e, &r, now, ret);
	widen(b, &who, e, now, ret);
}

/* --- persons --------------------------------------------------------------------------------- */

static enum blocks_verdict
judge_wish(struct blocks *b, const struct blocks_wish *w, mono_t now, uint8_t *kind, struct protect_hit *ret)
{
	if (w->for_ms < BLOCKS_FOR_MIN_MS || w->for_ms > BLOCKS_FOR_MAX_MS)
		return BLOCKS_BAD_TIME;
	if (!is_blockable(b, &w->prefix, now, BLOCK_EXPLAIN, kind, ret))
		return BLOCKS_PROTECTED;
	if (protect_is_wide(&w->prefix))
		return BLOCKS_TOO_WIDE;
	if (prefixmap_find(b->map, &w->prefix) != PREFIXMAP_NONE)
		return BLOCKS_REPLACED;
	return prefixmap_count(b->map) < b->max ? BLOCKS_MADE : BLOCKS_FULL;
}

void
blocks_put(struct blocks *b, const struct blocks_wish *w, mono_t now, struct blocks_result *ret)
{
	struct record r = { .kind = (uint8_t)w->kind, .by_person = true, .length_ms = w->for_ms };

	now = advance(b, now);
	begin(ret);
	end_if_over(b, &w->prefix, now, ret);
	ret->verdict = judge_wish(b, w, now, &r.kind, &ret->hit);
	if (ret->verdict != BLOCKS_MADE && ret->verdict != BLOCKS_REPLACED)
		return;
	r.until = later(now, w->for_ms);
	copy_cut(r.id, sizeof(r.id), w->id);
	r.text = use_text(b, w->who, w->reason);
	make(b, &w->prefix, &r, now, ret);
}

void
blocks_remove(struct blocks *b, const struct ip_prefix *p, mono_t now, struct blocks_result *ret)
{
	uint32_t n = prefixmap_find(b->map, p);

	now = advance(b, now);
	begin(ret);
	ret->verdict = n != PREFIXMAP_NONE ? BLOCKS_REMOVED : BLOCKS_NOT_THERE;
	if (n != PREFIXMAP_NONE)
		end(b, n, BLOCKS_END_PERSON, PROTECT_NONE, now, &ret->change[ret->n++]);
	offences_forget(b->offences, p);
	n = in_force(b, &p->ip, p->bits, now);
	ret->is_within = n != PREFIXMAP_NONE;
	if (ret->is_within)
		ret->within = *prefixmap_at(b->map, n);
}

/* --- what is due ----------------------------------------------------------------------------- */

/* Compare a block with what is protected by now.  Returns whether something changed. */
static bool
recheck(struct blocks *b, uint32_t number, mono_t now, struct blocks_change *ret)
{
	struct record *r = &b->record[number];
	enum protect_reason why = protect_covers(b->protect, prefixmap_at(b->map, number), now, NULL);

	/* That a source can't be read is no news of anybody in it. */
	if (why == PROTECT_NONE || why == PROTECT_UNKNOWN)
		return false;
	if (protect_is_absolute(why) || r->is_wide) {
		end(b, number, BLOCKS_END_PROTECTED, why, now, ret);
		return true;
	}
	if (r->kind != BLOCK_DENY)
		return false;
	r->kind = (uint8_t)(r->by_person ? BLOCK_EXPLAIN : soft_kind(b));
	tell(b, number, BLOCKS_CHANGED, ret);
	ret->protect = why;
	return true;
}

static size_t
recheck_all(struct blocks *b, mono_t now, struct blocks_change *ret, size_t max)
{
	uint64_t version = protect_version(b->protect);
	size_t n = 0;

	if (b->checked == version)
		return 0;
	if (b->checking != version) {
		b->checking = version;
		b->walk = 0;
	}
	for (; b->walk < prefixmap_end(b->map) && n < max; b->walk++)
		if (prefixmap_at(b->map, b->walk) != NULL)
			n += recheck(b, b->walk, now, &ret[n]);
	if (b->walk >= prefixmap_end(b->map))
		b->checked = version;
	return n;
}

size_t
blocks_step(struct blocks *b, mono_t now, struct blocks_change *ret, size_t max)
{
	now = advance(b, now);
	size_t n = recheck_all(b, now, ret, max);
	while (n < max && b->heaped > 0 && b->record[b->heap[0]].until.ms <= now.ms)
		end(b, b->heap[0], BLOCKS_END_TIME, PROTECT_NONE, now, &ret[n++]);
	return n;
}

size_t
blocks_recheck_address(struct blocks *b, const struct ip *ip, mono_t now, struct blocks_change *ret, size_t max)
{
	size_t n = 0;
	int bits = 128;

	now = advance(b, now);
	for (uint32_t number; n < max && (number = in_force(b, ip, bits, now)) != PREFIXMAP_NONE;) {
		bits = prefixmap_at(b->map, number)->bits - 1;
		n += recheck(b, number, now, &ret[n]);
	}
	return n;
}

mono_t
blocks_due(const struct blocks *b)
{
	if (b->checked != protect_version(b->protect))
		return b->last;
	return b->heaped > 0 ? b->record[b->heap[0]].until : (mono_t) { NEVER };
}

/* --- across restarts ------------------------------------------------------------------------- */

static int64_t
clamp(int64_t v, int64_t low, int64_t high)
{
	return v < low ? low : v > high ? high : v;
}

/* What a stored record says, as far as it can be. */
static struct record
record_of(const struct blocks_record *s)
{
	struct record r = {
		.length_ms = clamp(s->length_ms, 1, BLOCKS_FOR_MAX_MS), .n = s->n, .max = s->max, .times = s->times,
		.kind = (uint8_t)(s->block.kind < BLOCK_KINDS ? s->block.kind : BLOCK_EXPLAIN),
		.step = (uint8_t)(s->step < CFG_LIST_MAX ? s->step : CFG_LIST_MAX - 1),
		.by_person = s->by_person, .is_wide = s->is_wide && !s->by_person,
	};

	copy_cut(r.id, sizeof(r.id), s->block.id);
	return r;
}

static void
remember(struct blocks *b, const struct ip_prefix *p, const struct record *r, mono_t now)
{
	struct offence f = {
		.steps = r->step + 1u, .times = r->times + (r->times < UINT32_MAX),
		.length_ms = r->length_ms, .ended = r->until,
	};

	if (!r->by_person)
		offences_put(b->offences, p, &f, b->cfg->forgive_ms, now);
}

/* Whoever was blocked since the start stays so, but a person's word goes before a rule's. */
static enum blocks_verdict
judge_restored(struct blocks *b, const struct ip_prefix *p, struct record *r, mono_t now, struct protect_hit *ret)
{
	uint32_t n = prefixmap_find(b->map, p);

	if (r->until.ms <= now.ms)
		return BLOCKS_BAD_TIME;
	if (protect_is_wide(p))
		return BLOCKS_TOO_WIDE;
	if (!is_blockable(b, p, now, r->by_person ? BLOCK_EXPLAIN : soft_kind(b), &r->kind, ret))
		return BLOCKS_PROTECTED;
	if (r->is_wide && ret->reason != PROTECT_NONE)
		return BLOCKS_PROTECTED;
	if (n == PREFIXMAP_NONE)
		return prefixmap_count(b->map) < b->max ? BLOCKS_MADE : BLOCKS_FULL;
	return r->by_person && !b->record[n].by_person ? BLOCKS_REPLACED : BLOCKS_ALREADY;
}

void
blocks_restore(struct blocks *b, const struct blocks_record *s, int64_t remaining_ms, mono_t now,
	struct blocks_result *ret)
{
	const struct ip_prefix *p = &s->block.prefix;
	struct record r = record_of(s);

	now = advance(b, now);
	begin(ret);
	end_if_over(b, p, now, ret);
	r.until = later(now, clamp(remaining_ms, 0, r.length_ms));
	ret->verdict = judge_restored(b, p, &r, now, &ret->hit);
	if (ret->verdict != BLOCKS_MADE && ret->verdict != BLOCKS_REPLACED)
		return;
	r.text = use_text(b, s->who, s->reason);
	remember(b, p, &r, now);
	make(b, p, &r, now, ret);
}

void
blocks_remember(struct blocks *b, const struct blocks_record *s, int64_t ago_ms, mono_t now)
{
	struct record r = record_of(s);
	struct offence newer;

	now = advance(b, now);
	r.until = (mono_t) { now.ms - clamp(ago_ms, 0, INT64_MAX / 2) };
	bool known = offences_get(b->offences, &s->block.prefix, b->cfg->forgive_ms, now, &newer);
	if (!known || newer.ended.ms < r.until.ms)
		remember(b, &s->block.prefix, &r, now);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int
allocate(struct blocks *b, size_t max, size_t memory, const uint8_t key[BLOCKS_KEY_SIZE])
{
	int r = prefixmap_new(max, key, &b->map);

	if (r == 0)
		r = prefixmap_new(max, key, &b->nets);
	if (r == 0)
		r = offences_new(memory, key, &b->offences);
	if (r == 0)
		r = budget_new(key, &b->budget);
	if (r < 0)
		return r;
	b->record = calloc(max, sizeof(b->record[0]));
	b->heap = calloc(max, sizeof(b->heap[0]));
	b->place = calloc(max, sizeof(b->place[0]));
	b->hosts = calloc(max, sizeof(b->hosts[0]));
	return b->record == NULL || b->heap == NULL || b->place == NULL || b->hosts == NULL ? -ENOMEM : 0;
}

int
blocks_new(size_t max, size_t memory, const uint8_t key[BLOCKS_KEY_SIZE], const struct protect *protect,
	struct blocks **ret)
{
	if (max < 1 || max > BLOCKS_MAX || memory < 1 || memory > BLOCKS_MAX)
		return -EINVAL;
	struct blocks *b = calloc(1, sizeof(*b));
	int r = b != NULL ? allocate(b, max, memory, key) : -ENOMEM;
	if (r < 0) {
		blocks_free(b);
		return r;
	}
	b->max = max;
	b->protect = protect;
	b->checked = protect_version(protect);
	b->checking = b->checked;
	memcpy(&b->key0, key, sizeof(b->key0));
	memcpy(&b->key1, key + sizeof(b->key0), sizeof(b->key1));
	b->dice = siphash("dice", 4, b->key0, b->key1) | 1;
	b->texts = NO_TEXT + 1;
	b->text[NO_TEXT].uses = 1; /* never free */
	*ret = b;
	return 0;
}

void
blocks_free(struct blocks *b)
{
	if (b == NULL)
		return;
	prefixmap_free(b->map);
	prefixmap_free(b->nets);
	offences_free(b->offences);
	budget_free(b->budget);
	free(b->record);
	free(b->heap);
	free(b->place);
	free(b->hosts);
	free(b);
}

void
blocks_configure(struct blocks *b, const struct blocks_cfg *cfg)
{
	b->cfg = cfg;
}

void
blocks_set_spared(struct blocks *b, bool (*is_spared)(const struct ip_prefix *p, void *arg), void *arg)
{
	b->is_spared = is_spared;
	b->spared_arg = arg;
}
