/* SPDX-License-Identifier: ISC */
/*
 * One table for all kinds of entries, in sets of WAYS: a key is in its set or nowhere.  Time is cut into generations of
 * `remember`; an entry has the numbers of its own generation and of the one before, and is brought up to date whenever
 * it is touched.
 */
#include "controller/sent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/siphash.h"

#define WAYS 8
#define COUNT_MAX UINT16_MAX
#define BORN_EVERY_MS INT64_C(3600000)
#define MINUTE_MS 60000

enum kind {
	KIND_FREE,
	KIND_SENDER, /* left: answers that may be let in on trust; spare: SENT_ODD_SHARE for each odd one */
	KIND_DOMAIN, /* left: answers expected */
	KIND_RELAY, /* the same; open is not used */
	KIND_BORN, /* open: for how many minutes all has been known, 32 bits */
};

struct entry {
	uint64_t key;
	int32_t generation;
	uint16_t open[2], left[2], spare[2]; /* [0]: of the generation before */
	int16_t ahead; /* submitted less heard of from qmail-send */
	uint8_t kind, zero;
};

_Static_assert(sizeof(struct entry) == SENT_ENTRY, "the size that the header promises");

struct sent {
	struct entry *entry; /* sets * WAYS */
	uint64_t *dirty; /* bitmap */
	size_t sets;
	uint64_t key0, key1;
	int64_t remember_ms;
	mono_t last, born, next_born;
	struct sent_stats stats;
};

/* --- keys ------------------------------------------------------------------------------------ */

static uint64_t
hash(const struct sent *s, enum kind kind, uint64_t of, const void *data, size_t len)
{
	uint64_t h = siphash(data, len, s->key0 ^ (uint64_t)kind, s->key1 ^ of);

	return h != 0 ? h : 1;
}

static uint64_t
sender_key(const struct sent *s, const struct address *a)
{
	return hash(s, KIND_SENDER, 0, a->text, a->len);
}

/* 0: the name is nobody's. */
static uint64_t
domain_key(const struct sent *s, uint64_t sender, const char *name, size_t len)
{
	char org[ADDRESS_MAX_LEN];
	size_t n = address_organisation(name, len, org);

	return n > 0 ? hash(s, KIND_DOMAIN, sender, org, n) : 0;
}

/* A relay bounces from another host of its network. */
static uint64_t
relay_key(const struct sent *s, uint64_t sender, const struct ip *ip)
{
	struct ip net = ip_mask(ip, ip_is_v4(ip) ? 96 + 24 : 64);

	return hash(s, KIND_RELAY, sender, net.b, sizeof(net.b));
}

static uint64_t
born_key(const struct sent *s)
{
	return hash(s, KIND_BORN, 0, "", 0);
}

/* --- the table ------------------------------------------------------------------------------- */

static int32_t
generation_at(const struct sent *s, int64_t ms)
{
	int64_t g = ms / s->remember_ms - (ms % s->remember_ms < 0);

	return (int32_t)g;
}

static void
roll(uint16_t v[2], bool once)
{
	v[0] = once ? v[1] : 0;
	v[1] = 0;
}

static void
bring_up(struct entry *e, int32_t generation)
{
	int64_t by = (int64_t)generation - e->generation;

	if (by <= 0)
		return;
	roll(e->open, by == 1);
	roll(e->left, by == 1);
	roll(e->spare, by == 1);
	e->ahead = 0;
	e->generation = generation;
}

static struct entry *
set_of(const struct sent *s, uint64_t key)
{
	return s->entry + ((key >> 32) * s->sets >> 32) * WAYS;
}

static struct entry *
find(const struct sent *s, uint64_t key, enum kind kind)
{
	struct entry *e = set_of(s, key);

	for (int i = 0; key != 0 && i < WAYS; i++)
		if (e[i].key == key && e[i].kind == kind)
			return &e[i];
	return NULL;
}

static bool
is_out(const struct entry *e, int32_t generation)
{
	return e->kind == KIND_FREE || (int64_t)e->generation + 1 < generation;
}

static bool
is_better_victim(const struct entry *a, const struct entry *b)
{
	if (a->generation != b->generation)
		return a->generation < b->generation;
	return a->open[0] + a->open[1] + a->left[0] + a->left[1] < b->open[0] + b->open[1] + b->left[0] + b->left[1];
}

static void
set_dirty(struct sent *s, const struct entry *e)
{
	size_t i = (size_t)(e - s->entry);

	s->dirty[i / 64] |= UINT64_C(1) << i % 64;
}

/* The entry of that key, up to date, new if need be. */
static struct entry *
touch(struct sent *s, uint64_t key, enum kind kind, int32_t generation)
{
	struct entry *e = find(s, key, kind), *set = set_of(s, key);

	if (e == NULL) {
		e = &set[0];
		for (int i = 1; i < WAYS && !is_out(e, generation); i++)
			if (is_out(&set[i], generation) || is_better_victim(&set[i], e))
				e = &set[i];
		s->stats.used += e->kind == KIND_FREE;
		s->stats.evicted += !is_out(e, generation);
		*e = (struct entry) { .key = key, .generation = generation, .kind = (uint8_t)kind };
	}
	bring_up(e, generation);
	set_dirty(s, e);
	return e;
}

static int32_t
tick(struct sent *s, mono_t now)
{
	if (now.ms > s->last.ms)
		s->last = now;
	return generation_at(s, s->last.ms);
}

/* --- counts ---------------------------------------------------------------------------------- */

static void
add(uint16_t *v, unsigned n)
{
	*v = (uint16_t)(*v + n < COUNT_MAX ? *v + n : COUNT_MAX);
}

static unsigned
total(const uint16_t v[2])
{
	return (unsigned)v[0] + v[1];
}

/* The older first: what it was taken from is forgotten first as well. */
static void
take(uint16_t v[2], unsigned n)
{
	for (int i = 0; i < 2 && n > 0; i++) {
		unsigned m = v[i] < n ? v[i] : n;

		v[i] = (uint16_t)(v[i] - m);
		n -= m;
	}
}

/* --- learning -------------------------------------------------------------------------------- */

/* Was this mail counted before, heard of by the other way?  Moves the balance. */
static bool
is_known(struct entry *pair, enum sent_outcome outcome)
{
	bool submitted = outcome == SENT_SUBMITTED;
	bool known = submitted ? pair->ahead < 0 : pair->ahead > 0;

	if (submitted && pair->ahead < INT16_MAX)
		pair->ahead++;
	else if (!submitted && pair->ahead > INT16_MIN)
		pair->ahead--;
	return known;
}

/* One answer to one mail of the pair.  Returns whether there was an open one. */
static bool
close_one(struct entry *pair)
{
	bool was_open = total(pair->open) > 0;

	take(pair->open, 1);
	return was_open;
}

static void
close_of_sender(struct entry *sender)
{
	take(sender->open, 1);
	take(sender->left, 1);
}

/* An entry that is made may take the place of another: so one is done with before the next is touched. */
void
sent_learn(struct sent *s, const struct address *a, const char *domain, size_t domain_len, const struct ip *relay,
	enum sent_outcome outcome, mono_t now)
{
	int32_t generation = tick(s, now);
	uint64_t key = sender_key(s, a), pair_key = domain_key(s, key, domain, domain_len);

	/* A domain without an organisation is an address, or a word of this machine's own: its name will do. */
	if (pair_key == 0)
		pair_key = hash(s, KIND_DOMAIN, key, domain, domain_len);
	struct entry *pair = touch(s, pair_key, KIND_DOMAIN, generation);
	bool is_new = !is_known(pair, outcome), closed = false;
	if (is_new) {
		add(&pair->open[1], 1);
		add(&pair->left[1], SENT_ANSWERS);
		s->stats.mails++;
	}
	if (outcome == SENT_FAILED) {
		closed = close_one(pair);
		take(pair->left, SENT_ANSWERS);
	}
	struct entry *sender = touch(s, key, KIND_SENDER, generation);
	if (is_new) {
		add(&sender->open[1], 1);
		add(&sender->left[1], 1);
		add(&sender->spare[1], 1);
	}
	if (closed)
		close_of_sender(sender);
	if (outcome == SENT_TAKEN && relay != NULL)
		add(&touch(s, relay_key(s, key, relay), KIND_RELAY, generation)->left[1], SENT_ANSWERS);
}

/* --- looking --------------------------------------------------------------------------------- */

/* Up to date, in a copy: to look changes nothing. */
static struct entry
look(const struct sent *s, uint64_t key, enum kind kind, int32_t generation)
{
	const struct entry *e = find(s, key, kind);

	if (e == NULL || is_out(e, generation))
		return (struct entry) { .kind = KIND_FREE };
	struct entry copy = *e;
	bring_up(&copy, generation);
	return copy;
}

void
sent_look(const struct sent *s, const struct address *address, const struct sent_client *client, mono_t now,
	struct sent_match *ret)
{
	int32_t generation = generation_at(s, now.ms > s->last.ms ? now.ms : s->last.ms);
	uint64_t key = sender_key(s, address);
	struct entry sender = look(s, key, KIND_SENDER, generation);
	const struct {
		uint64_t key;
		enum kind kind;
	} pair[] = {
		{ domain_key(s, key, client->host, client->host_len), KIND_DOMAIN },
		{ domain_key(s, key, client->helo, client->helo_len), KIND_DOMAIN },
		{ domain_key(s, key, client->sender, client->sender_len), KIND_DOMAIN },
		{ client->ip != NULL ? relay_key(s, key, client->ip) : 0, KIND_RELAY },
	};

	*ret = (struct sent_match) {
		.fit = total(sender.open) > 0 ? SENT_OPEN : SENT_NOTHING, .sender = key,
		.may_guess = total(sender.left) > 0, .has_spare = total(sender.spare) >= SENT_ODD_SHARE,
	};
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]) && ret->fit != SENT_FITS; i++) {
		struct entry e = look(s, pair[i].key, pair[i].kind, generation);

		if (e.kind == KIND_FREE)
			continue;
		ret->pair = total(e.left) > 0 ? pair[i].key : 0;
		ret->fit = total(e.left) > 0 ? SENT_FITS : SENT_SPENT;
	}
}

void
sent_answered(struct sent *s, const struct sent_match *m, mono_t now)
{
	int32_t generation = tick(s, now);
	struct entry *pair = find(s, m->pair, KIND_DOMAIN), *sender = find(s, m->sender, KIND_SENDER);
	bool closed = true;

	if (pair != NULL) {
		bring_up(pair, generation);
		closed = close_one(pair);
	} else if ((pair = find(s, m->pair, KIND_RELAY)) == NULL) {
		return;
	}
	bring_up(pair, generation);
	take(pair->left, 1);
	set_dirty(s, pair);
	s->stats.answered++;
	if (!closed || sender == NULL)
		return;
	bring_up(sender, generation);
	close_of_sender(sender);
	set_dirty(s, sender);
}

/* Of whichever mail: that stays open, for it may have been somebody else's answer. */
void
sent_guessed(struct sent *s, const struct sent_match *m, mono_t now)
{
	struct entry *sender = find(s, m->sender, KIND_SENDER);

	if (sender == NULL)
		return;
	bring_up(sender, tick(s, now));
	take(sender->left, 1);
	set_dirty(s, sender);
}

void
sent_odd(struct sent *s, const struct sent_match *m, mono_t now)
{
	struct entry *sender = find(s, m->sender, KIND_SENDER);

	if (sender == NULL)
		return;
	bring_up(sender, tick(s, now));
	take(sender->spare, SENT_ODD_SHARE);
	set_dirty(s, sender);
}

/* --- across restarts ------------------------------------------------------------------------- */

static struct sent_row
row_of(const struct entry *e, int32_t generation)
{
	struct sent_row row = {
		.key = e->key, .kind = e->kind, .behind = e->generation < generation, .ahead = e->ahead,
	};

	memcpy(row.open, e->open, sizeof(row.open));
	memcpy(row.left, e->left, sizeof(row.left));
	memcpy(row.spare, e->spare, sizeof(row.spare));
	return row;
}

/* How long all has been known: told now and then, for it is a matter of days. */
static bool
dump_born(struct sent *s, mono_t now, struct sent_row *ret)
{
	int64_t minutes = mono_since(s->born, now) / MINUTE_MS;

	if (now.ms < s->next_born.ms)
		return false;
	s->next_born = mono_after(now, BORN_EVERY_MS);
	minutes = minutes < 0 ? 0 : minutes < UINT32_MAX ? minutes : UINT32_MAX;
	*ret = (struct sent_row) {
		.key = born_key(s), .kind = KIND_BORN,
		.open = { (uint16_t)(minutes & UINT16_MAX), (uint16_t)(minutes >> 16) },
	};
	return true;
}

bool
sent_dump_next(struct sent *s, size_t *cursor, mono_t now, struct sent_row *ret)
{
	size_t n = s->sets * WAYS;
	int32_t generation = tick(s, now);

	if (*cursor == 0 && dump_born(s, now, ret))
		return true;
	while (*cursor < n) {
		uint64_t word = s->dirty[*cursor / 64] >> *cursor % 64;

		if (word == 0) {
			*cursor = (*cursor / 64 + 1) * 64;
			continue;
		}
		while ((word & 1) == 0) {
			word >>= 1;
			++*cursor;
		}
		size_t i = (*cursor)++;
		s->dirty[i / 64] &= ~(UINT64_C(1) << i % 64);
		if (is_out(&s->entry[i], generation))
			continue; /* its row is out of date, too */
		*ret = row_of(&s->entry[i], generation);
		return true;
	}
	return false;
}

void
sent_dump_again(struct sent *s, const struct sent_row *row)
{
	const struct entry *e = find(s, row->key, row->kind);

	if (row->kind == KIND_BORN)
		s->next_born = s->last;
	else if (e != NULL)
		set_dirty(s, e);
}

void
sent_load(struct sent *s, const struct sent_row *row, int64_t age_ms, mono_t now)
{
	int32_t generation = tick(s, now);
	int64_t then = now.ms - (age_ms > 0 ? age_ms : 0);

	if (row->kind == KIND_BORN) {
		int64_t born = then - (row->open[0] + ((int64_t)row->open[1] << 16)) * MINUTE_MS;

		s->born.ms = born < s->born.ms ? born : s->born.ms;
		return;
	}
	struct entry old = {
		.key = row->key, .generation = generation_at(s, then) - (row->behind != 0),
		.kind = row->kind, .ahead = row->ahead,
		.open = { row->open[0], row->open[1] }, .left = { row->left[0], row->left[1] },
		.spare = { row->spare[0], row->spare[1] },
	};
	if (row->kind < KIND_SENDER || row->kind > KIND_RELAY || row->key == 0 || is_out(&old, generation))
		return;
	bring_up(&old, generation);
	struct entry *e = touch(s, row->key, row->kind, generation);
	for (int i = 0; i < 2; i++) {
		add(&e->open[i], old.open[i]);
		add(&e->left[i], old.left[i]);
		add(&e->spare[i], old.spare[i]);
	}
	e->ahead = e->ahead == 0 ? old.ahead : e->ahead;
}

/* --- the whole ------------------------------------------------------------------------------- */

mono_t
sent_since(const struct sent *s)
{
	return s->born;
}

struct sent_stats
sent_stats(const struct sent *s)
{
	struct sent_stats stats = s->stats;

	stats.entries = s->sets * WAYS;
	return stats;
}

int
sent_new(uint64_t memory, int64_t remember_ms, const uint8_t key[SENT_KEY_SIZE], mono_t now, struct sent **ret)
{
	size_t sets = (size_t)(memory / (SENT_ENTRY * WAYS));
	struct sent *s;

	if (memory < SENT_MEMORY_MIN || remember_ms < 1 || sets > UINT32_MAX)
		return -EINVAL;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return -ENOMEM;
	s->entry = calloc(sets * WAYS, sizeof(s->entry[0]));
	s->dirty = calloc(sets * WAYS / 64 + 1, sizeof(s->dirty[0]));
	if (s->entry == NULL || s->dirty == NULL) {
		sent_free(s);
		return -ENOMEM;
	}
	s->sets = sets;
	memcpy(&s->key0, key, sizeof(s->key0));
	memcpy(&s->key1, key + sizeof(s->key0), sizeof(s->key1));
	s->remember_ms = remember_ms;
	s->born = s->next_born = s->last = now;
	*ret = s;
	return 0;
}

void
sent_free(struct sent *s)
{
	if (s == NULL)
		return;
	free(s->entry);
	free(s->dirty);
	free(s);
}
