/* SPDX-License-Identifier: ISC */
/*
 * A ring of the last `bounces` times for each address answers both questions exactly: is the oldest of them within
 * `within`?  Then a storm begins.  Is it older than `quiet`?  Then it is over.
 */
#include "controller/storms.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/siphash.h"

#define WAYS 8
#define DOMAIN_PART 8
#define WAITS 32768 /* clients and addresses that were put off */
#define WAIT_MS INT64_C(86400000)
#define NEVER (INT64_MIN / 4)

struct count {
	uint64_t key; /* 0: free */
	uint32_t next; /* place of the oldest time in the ring */
	uint32_t n; /* times in it */
	uint16_t storm; /* number, or STORMS_NONE */
};

/* Counts of one kind. */
struct table {
	struct count *count; /* sets * WAYS */
	int64_t *times; /* a ring of `ring` for each */
	size_t sets, ring;
};

struct storm {
	struct storms_record record;
	struct table *table; /* NULL: free */
	size_t at; /* in it */
};

/* One who was put off. */
struct wait {
	uint64_t key; /* 0: free */
	mono_t first, last;
	uint32_t pending; /* beyond STORMS_PENDING: a source of the flood */
};

struct storms {
	struct storms_cfg cfg;
	struct table addresses, domains;
	struct storm storm[STORMS_MAX];
	struct wait *wait;
	unsigned n; /* storms */
	uint64_t key0, key1;
	mono_t last;
	struct storms_stats stats;
};

/* --- counts ---------------------------------------------------------------------------------- */

static uint64_t
hash(const struct storms *s, unsigned kind, const void *data, size_t len)
{
	uint64_t h = siphash(data, len, s->key0 ^ kind, s->key1);

	return h != 0 ? h : 1;
}

static size_t
set_of(uint64_t key, size_t sets)
{
	return (size_t)((key >> 32) * sets >> 32) * WAYS;
}

static int64_t *
ring_of(const struct table *t, size_t at)
{
	return t->times + at * t->ring;
}

static int64_t
newest(const struct table *t, size_t at)
{
	const struct count *c = &t->count[at];

	return c->n == 0 ? NEVER : ring_of(t, at)[(c->next + c->n - 1) % t->ring];
}

/* Returns t->sets * WAYS when it is not there. */
static size_t
find(const struct table *t, uint64_t key)
{
	size_t first = set_of(key, t->sets);

	for (size_t i = first; i < first + WAYS; i++)
		if (t->count[i].key == key)
			return i;
	return t->sets * WAYS;
}

/* How many marks it has that could still lead to anything. */
static unsigned
weight(const struct storms *s, const struct table *t, size_t at)
{
	const struct count *c = &t->count[at];

	if (c->key == 0 || (c->storm == STORMS_NONE && s->last.ms - newest(t, at) > s->cfg.within_ms))
		return 0;
	return c->storm != STORMS_NONE ? UINT32_MAX : c->n + 1;
}

/* The count of that key, a new one if need be; t->sets * WAYS when there is no room. */
static size_t
touch(struct storms *s, struct table *t, uint64_t key)
{
	size_t at = find(t, key), first = set_of(key, t->sets);

	if (at != t->sets * WAYS)
		return at;
	at = first;
	for (size_t i = first + 1; i < first + WAYS; i++)
		if (weight(s, t, i) < weight(s, t, at))
			at = i;
	if (weight(s, t, at) == UINT32_MAX)
		return t->sets * WAYS;
	s->stats.used += t->count[at].key == 0;
	s->stats.evicted += weight(s, t, at) > 0;
	t->count[at] = (struct count) { .key = key, .storm = STORMS_NONE };
	return at;
}

static void
mark(struct table *t, size_t at, mono_t now)
{
	struct count *c = &t->count[at];

	if (c->n == t->ring)
		c->next = (uint32_t)((c->next + 1) % t->ring);
	else
		c->n++;
	ring_of(t, at)[(c->next + c->n - 1) % t->ring] = now.ms;
}

/* Times within the last `ms`, of those that are kept. */
static unsigned
marks_within(const struct table *t, size_t at, int64_t ms, mono_t now)
{
	const struct count *c = &t->count[at];
	unsigned n = 0;

	while (n < c->n && now.ms - ring_of(t, at)[(c->next + c->n - 1 - n) % t->ring] < ms)
		n++;
	return n;
}

static bool
are_all_within(const struct table *t, size_t at, int64_t ms, mono_t now)
{
	const struct count *c = &t->count[at];

	return c->n == t->ring && now.ms - ring_of(t, at)[c->next] < ms;
}

/* --- storms ---------------------------------------------------------------------------------- */

static uint16_t
begin(struct storms *s, struct table *t, size_t at, const char *name, size_t len, mono_t began)
{
	uint16_t i = 0;

	while (i < STORMS_MAX && s->storm[i].table != NULL)
		i++;
	if (i == STORMS_MAX)
		return STORMS_NONE;
	struct storm *storm = &s->storm[i];
	*storm = (struct storm) { .table = t, .at = at };
	len = len < STORMS_NAME_MAX - 1 ? len : STORMS_NAME_MAX - 1;
	memcpy(storm->record.name, name, len);
	storm->record.is_domain = t == &s->domains;
	storm->record.began = storm->record.last = began;
	t->count[at].storm = i;
	s->n++;
	return i;
}

static void
end(struct storms *s, uint16_t i, struct storms_record *ret)
{
	struct storm *storm = &s->storm[i];

	*ret = storm->record;
	storm->table->count[storm->at] = (struct count) { .key = 0 };
	s->stats.used--;
	storm->table = NULL;
	s->n--;
}

/* Count one more, and begin what is to begin.  Returns the number of a new storm. */
static uint16_t
count(struct storms *s, struct table *t, size_t at, const char *name, size_t len, mono_t now)
{
	struct count *c = &t->count[at];

	mark(t, at, now);
	if (c->storm != STORMS_NONE) {
		struct storms_record *r = &s->storm[c->storm].record;

		r->counted++;
		r->last = now;
		r->changes++;
		return STORMS_NONE;
	}
	if (!are_all_within(t, at, s->cfg.within_ms, now))
		return STORMS_NONE;
	uint16_t i = begin(s, t, at, name, len, now);
	if (i != STORMS_NONE) {
		s->storm[i].record.counted = t->ring;
		s->stats.begun++;
	}
	return i;
}

static bool
is_exempt(const struct storms_cfg *cfg, const struct address *a)
{
	for (unsigned i = 0; i < cfg->exempt.n; i++) {
		const char *e = cfg->exempt.s[i];
		size_t n = strlen(e), of = memchr(e, '@', n) != NULL ? a->len : a->at;

		if (n == of && memcmp(e, a->text, n) == 0)
			return true;
	}
	return false;
}

/* --- put off --------------------------------------------------------------------------------- */

static struct wait *
find_wait(struct storms *s, const struct storms_bounce *b, uint64_t *ret_key)
{
	struct {
		struct ip ip;
		uint64_t to;
	} who = { .to = hash(s, 0, b->to->text, b->to->len) };

	if (b->from != NULL)
		who.ip = ip_is_v4(b->from) ? *b->from : ip_mask(b->from, 64);
	*ret_key = hash(s, 2, &who, sizeof(who));
	struct wait *set = s->wait + set_of(*ret_key, WAITS / WAYS), *oldest = set;
	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == *ret_key)
			return &set[i];
		if (set[i].key == 0 || (oldest->key != 0 && set[i].last.ms < oldest->last.ms))
			oldest = &set[i];
	}
	return oldest;
}

/* Does it come back from having been put off? */
static bool
comes_back(struct storms *s, const struct storms_bounce *b, mono_t now)
{
	uint64_t key;
	struct wait *w = find_wait(s, b, &key);

	if (w->key != key || mono_since(w->last, now) > WAIT_MS)
		*w = (struct wait) { .key = key, .first = now };
	bool back = w->pending > 0 && w->pending <= STORMS_PENDING && b->may_guess
		&& mono_since(w->first, now) >= s->cfg.retry_ms;
	w->last = now;
	if (!back && w->pending <= STORMS_PENDING && mono_since(w->first, now) < s->cfg.retry_ms)
		w->pending++;
	else if (!back && w->pending == 0)
		w->pending = 1;
	else if (back && --w->pending == 0)
		w->key = 0;
	return back;
}

/* --- asking ---------------------------------------------------------------------------------- */

static enum storms_policy
policy(const struct storms_cfg *cfg, const struct storms_bounce *b)
{
	int p = b->is == STORMS_OPEN ? cfg->open_mail : cfg->no_mail;

	if (b->is == STORMS_UNSENT && b->is_young && p == STORMS_REFUSE)
		p = STORMS_DEFER;
	return (enum storms_policy)p;
}

static enum storms_verdict
decide(struct storms *s, const struct storms_bounce *b, mono_t now)
{
	switch (policy(&s->cfg, b)) {
	case STORMS_PASS:
		return STORMS_IN;
	case STORMS_RETRY:
		return comes_back(s, b, now) ? STORMS_IN_AT_RETRY : STORMS_PUT_OFF;
	case STORMS_DEFER:
		return STORMS_PUT_OFF;
	default:
		return STORMS_REFUSED;
	}
}

static void
tell(struct storms *s, uint16_t i, enum storms_verdict v)
{
	struct storms_record *r = &s->storm[i].record;

	r->retried += v == STORMS_IN_AT_RETRY;
	r->deferred += v == STORMS_PUT_OFF;
	r->refused += v == STORMS_REFUSED;
	r->changes++;
	s->stats.retried += v == STORMS_IN_AT_RETRY;
	s->stats.deferred += v == STORMS_PUT_OFF;
	s->stats.refused += v == STORMS_REFUSED;
}

static uint16_t
storm_at(const struct table *t, size_t at)
{
	return at < t->sets * WAYS ? t->count[at].storm : STORMS_NONE;
}

/* Nothing explains it. */
static void
count_all(struct storms *s, const struct storms_bounce *b, mono_t now, struct storms_result *ret)
{
	const struct address *a = b->to;
	struct table *t = &s->addresses, *d = &s->domains;
	size_t at = touch(s, t, hash(s, 0, a->text, a->len)), of = d->sets * WAYS;

	s->stats.counted++;
	if (at < t->sets * WAYS)
		ret->begun[0] = count(s, t, at, a->text, a->len, now);
	ret->storm = storm_at(t, at);
	if (b->is != STORMS_UNSENT || d->ring == 0)
		return;
	uint64_t key = hash(s, 1, address_domain(a), address_domain_len(a));
	if (ret->storm == STORMS_NONE) {
		of = touch(s, d, key);
		bool is_first = at == t->sets * WAYS
			|| marks_within(t, at, s->cfg.within_ms, now) <= STORMS_DOMAIN_MARKS;
		/* In a storm every one that the domain's shield meets keeps it up. */
		if (of < d->sets * WAYS && (is_first || storm_at(d, of) != STORMS_NONE))
			ret->begun[1] = count(s, d, of, address_domain(a), address_domain_len(a), now);
		ret->storm = storm_at(d, of);
	}
}

void
storms_ask(struct storms *s, const struct storms_bounce *b, mono_t now, struct storms_result *ret)
{
	const struct address *a = b->to;

	*ret = (struct storms_result) { STORMS_IN, false, STORMS_NONE, { STORMS_NONE, STORMS_NONE } };
	if (now.ms > s->last.ms)
		s->last = now;
	if (s->addresses.ring == 0 || is_exempt(&s->cfg, a))
		return;
	size_t at = find(&s->addresses, hash(s, 0, a->text, a->len));
	uint16_t storm = storm_at(&s->addresses, at);
	if (b->is == STORMS_EXPECTED) {
		s->stats.expected++;
		ret->storm = storm;
		if (storm != STORMS_NONE) {
			s->storm[storm].record.expected++;
			s->storm[storm].record.changes++;
		}
		return;
	}
	if (b->is_odd && storm == STORMS_NONE) {
		ret->was_odd = true;
		s->stats.odd++;
		return;
	}
	count_all(s, b, s->last, ret);
	if (ret->storm == STORMS_NONE)
		return;
	ret->verdict = decide(s, b, s->last);
	tell(s, ret->storm, ret->verdict);
}

/* --- what persons and restarts do ------------------------------------------------------------ */

const struct storms_record *
storms_get(const struct storms *s, uint16_t i)
{
	return i < STORMS_MAX && s->storm[i].table != NULL ? &s->storm[i].record : NULL;
}

void
storms_set_id(struct storms *s, uint16_t i, const char *id)
{
	size_t n = strlen(id);

	if (storms_get(s, i) != NULL && n < EPISODE_ID_MAX)
		memcpy(s->storm[i].record.id, id, n + 1);
}

bool
storms_step(struct storms *s, mono_t now, struct storms_record *ret)
{
	if (now.ms > s->last.ms)
		s->last = now;
	for (uint16_t i = 0; s->n > 0 && i < STORMS_MAX; i++) {
		const struct storm *storm = &s->storm[i];

		if (storm->table == NULL || are_all_within(storm->table, storm->at, s->cfg.quiet_ms, s->last))
			continue;
		end(s, i, ret);
		return true;
	}
	return false;
}

bool
storms_release(struct storms *s, const char *name, size_t len, struct storms_record *ret)
{
	struct address a;
	size_t n = 0;

	if (address_parse(name, len, &a)) {
		n = storm_at(&s->addresses, find(&s->addresses, hash(s, 0, a.text, a.len)));
	} else if (s->domains.ring > 0 && len > 0 && len < ADDRESS_MAX_LEN - 1) {
		/* As part of an address it is brought into the same form. */
		char text[ADDRESS_MAX_LEN] = "x@";

		memcpy(text + 2, name, len);
		if (!address_parse(text, len + 2, &a) || a.at != 1)
			return false;
		n = storm_at(&s->domains, find(&s->domains, hash(s, 1, address_domain(&a), address_domain_len(&a))));
	} else {
		return false;
	}
	if (n == STORMS_NONE)
		return false;
	end(s, (uint16_t)n, ret);
	return true;
}

bool
storms_restore(struct storms *s, const struct storms_record *r, mono_t now)
{
	struct table *t = r->is_domain ? &s->domains : &s->addresses;
	size_t len = strnlen(r->name, STORMS_NAME_MAX);

	if (now.ms > s->last.ms)
		s->last = now;
	if (t->ring == 0 || len == 0 || mono_since(r->last, s->last) >= s->cfg.quiet_ms)
		return false;
	size_t at = touch(s, t, hash(s, r->is_domain, r->name, len));
	if (at == t->sets * WAYS || t->count[at].storm != STORMS_NONE)
		return false;
	uint16_t i = begin(s, t, at, r->name, len, r->began);
	if (i == STORMS_NONE)
		return false;
	s->storm[i].record = *r;
	/* As if all had come at the last one's time. */
	t->count[at].n = 0;
	for (size_t k = 0; k < t->ring; k++)
		mark(t, at, r->last);
	return true;
}

unsigned
storms_count(const struct storms *s)
{
	return s->n;
}

struct storms_stats
storms_stats(const struct storms *s)
{
	struct storms_stats stats = s->stats;

	stats.entries = (s->addresses.sets + s->domains.sets) * WAYS;
	return stats;
}

/* --- the whole ------------------------------------------------------------------------------- */

void
storms_configure(struct storms *s, const struct storms_cfg *cfg)
{
	s->cfg = *cfg;
	if (s->cfg.quiet_ms < s->cfg.within_ms)
		s->cfg.quiet_ms = s->cfg.within_ms; /* a shorter time has no say */
	for (unsigned i = 0; i < s->cfg.exempt.n; i++)
		for (char *c = s->cfg.exempt.s[i]; *c != '\0'; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
}

static int
make_table(struct table *t, size_t n, int64_t ring)
{
	t->ring = (size_t)ring;
	t->sets = n / WAYS + 1;
	t->count = calloc(t->sets * WAYS, sizeof(t->count[0]));
	t->times = calloc(t->sets * WAYS * (t->ring > 0 ? t->ring : 1), sizeof(t->times[0]));
	return t->count != NULL && t->times != NULL ? 0 : -ENOMEM;
}

int
storms_new(const struct storms_cfg *cfg, size_t addresses, const uint8_t key[STORMS_KEY_SIZE], struct storms **ret)
{
	struct storms *s;

	if (cfg->bounces < 0 || cfg->bounces > STORMS_BOUNCES_MAX || cfg->domain_bounces < 0
		|| cfg->domain_bounces > STORMS_BOUNCES_MAX || addresses > UINT32_MAX)
		return -EINVAL;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return -ENOMEM;
	s->wait = calloc(WAITS, sizeof(s->wait[0]));
	if (s->wait == NULL || make_table(&s->addresses, addresses, cfg->bounces) < 0
		|| make_table(&s->domains, addresses / DOMAIN_PART, cfg->bounces > 0 ? cfg->domain_bounces : 0) < 0) {
		storms_free(s);
		return -ENOMEM;
	}
	memcpy(&s->key0, key, sizeof(s->key0));
	memcpy(&s->key1, key + sizeof(s->key0), sizeof(s->key1));
	s->last.ms = NEVER / 2;
	storms_configure(s, cfg);
	*ret = s;
	return 0;
}

void
storms_free(struct storms *s)
{
	if (s == NULL)
		return;
	free(s->addresses.count);
	free(s->addresses.times);
	free(s->domains.count);
	free(s->domains.times);
	free(s->wait);
	free(s);
}
