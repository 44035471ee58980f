/* SPDX-License-Identifier: ISC */
/*
 * The table is an array of blocks of one size, so that memory can't fragment and what one key gives up any other can take.  A
 * key's first block holds its marks until there are too many; then they move to a chain of blocks, oldest first, and the
 * key's block holds both ends of it.  Which blocks are keys, and which of these have changed, stands in bitmaps beside.
 *
 * Marks are the low 32 bits of the clock's milliseconds.  A difference of two of them is right for 49 days; windows are at
 * most 24 days, and rate_sweep() has freed what is older long before it could look young again.
 */
#include "controller/rate.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/siphash.h"
#include "lib/text.h"

#define SLOTS (2 * RATE_LIMITS_MAX) /* room for the limits of two configurations */
#define TIERS 3
#define TIER_SHARED 3
#define SHARED_KEYS 64 /* for values that are no addresses, of each limit */
#define RESERVE_PART 64 /* a 64th of the blocks is for shared keys */
#define SAMPLE_KEYS 16 /* of which the least loaded is forgotten */
#define SAMPLE_LOOKS 64
#define VALUE_MAX 1024
#define LONG_PAUSE_MS RATE_WINDOW_MAX_MS

struct key {
	uint64_t fingerprint; /* not 0 */
	uint32_t next; /* in its bucket; of a free block: the next free one */
	uint32_t kept; /* marks */
	uint16_t slot;
	uint8_t first; /* chained: place of the oldest mark in the first block of the chain */
	uint8_t tier : 2, chained : 1;
	uint32_t mark[RATE_INLINE]; /* oldest first; chained: HEAD and TAIL; mode gcra: the arrival time */
};

enum { HEAD, TAIL };

struct chain {
	uint32_t next;
	uint32_t mark[RATE_CHAINED];
};

union block {
	struct key key;
	struct chain chain;
};

_Static_assert(sizeof(union block) == RATE_BLOCK, "the size that the header promises");

/* What a key needs to know of its limit; outlives the configuration that it came from as long as there are keys. */
struct slot {
	uint64_t identity; /* of class, mode, pattern, window, count; 0: free */
	const struct rate_limit *limit; /* NULL: not configured any more */
	int64_t window, count;
	enum rate_mode mode;
	uint32_t keys;
};

struct rate {
	union block *block; /* [1..blocks]; 0 is nobody */
	uint32_t *bucket;
	uint64_t *is_key, *is_dirty; /* bitmaps by block */
	size_t mapped; /* bytes of all of them */
	uint32_t blocks, reserved; /* blocks 1..reserved are for shared keys */
	uint32_t free, free_reserved; /* lists */
	uint32_t used, hand;
	uint64_t key0, key1, random;
	mono_t last;
	const struct rate_cfg *cfg;
	struct slot slot[SLOTS];
	uint16_t slot_of[RATE_LIMITS_MAX];
	struct rate_stats stats;
};

static const struct rate_cfg no_limits;

/* --- limits ---------------------------------------------------------------------------------- */

int
rate_limit_set_pattern(struct rate_limit *l, const char *pattern)
{
	int r = text_copy(l->pattern, sizeof(l->pattern), pattern);

	if (r == 0)
		l->is_prefix = strchr(pattern, '/') != NULL && ip_prefix_parse(pattern, &l->prefix) == 0;
	return r;
}

int
rate_class_find(const struct rate_cfg *cfg, const char *name, size_t len)
{
	for (unsigned i = 0; i < cfg->n_classes; i++)
		if (strlen(cfg->class[i].name) == len && memcmp(cfg->class[i].name, name, len) == 0)
			return (int)i;
	return -ENOENT;
}

/* The same in every process, so that a dump finds its limit again. */
static uint64_t
identity_of(const struct rate_class *c, const struct rate_limit *l)
{
	const int64_t numbers[] = { (int64_t)c->mode, l->window_ms, l->count };
	uint64_t h = siphash(c->name, strlen(c->name), 0, 0);

	h = siphash(l->pattern, strlen(l->pattern), h, 1);
	h = siphash(numbers, sizeof(numbers), h, 2);
	return h != 0 ? h : 1;
}

/* --- blocks ---------------------------------------------------------------------------------- */

static bool
get_bit(const uint64_t *map, uint32_t i)
{
	return (map[i / 64] >> i % 64 & 1) != 0;
}

static void
set_bit(uint64_t *map, uint32_t i)
{
	map[i / 64] |= UINT64_C(1) << i % 64;
}

static void
clear_bit(uint64_t *map, uint32_t i)
{
	map[i / 64] &= ~(UINT64_C(1) << i % 64);
}

static struct key *
key_at(const struct rate *r, uint32_t i)
{
	return &r->block[i].key;
}

static struct chain *
chain_at(const struct rate *r, uint32_t i)
{
	return &r->block[i].chain;
}

static uint32_t *
free_list(struct rate *r, uint32_t i)
{
	return i <= r->reserved ? &r->free_reserved : &r->free;
}

static void
release(struct rate *r, uint32_t i)
{
	uint32_t *list = free_list(r, i);

	key_at(r, i)->next = *list;
	*list = i;
	r->used--;
}

static uint32_t
take(struct rate *r, uint32_t *list)
{
	uint32_t i = *list;

	if (i != 0) {
		*list = key_at(r, i)->next;
		r->used++;
	}
	return i;
}

static uint32_t *
bucket_of(const struct rate *r, uint64_t fingerprint)
{
	/* The high half scaled to the number of buckets, which need not be a power of two. */
	return &r->bucket[(fingerprint >> 32) * r->blocks >> 32];
}

static uint32_t
find_key(const struct rate *r, uint64_t fingerprint, unsigned slot)
{
	uint32_t i = *bucket_of(r, fingerprint);

	while (i != 0 && (key_at(r, i)->fingerprint != fingerprint || key_at(r, i)->slot != slot))
		i = key_at(r, i)->next;
	return i;
}

/* --- marks of a key -------------------------------------------------------------------------- */

static uint32_t
oldest(const struct rate *r, const struct key *k)
{
	return k->chained ? chain_at(r, k->mark[HEAD])->mark[k->first] : k->mark[0];
}

static uint32_t
newest(const struct rate *r, const struct key *k)
{
	if (!k->chained)
		return k->mark[k->kept - 1];
	return chain_at(r, k->mark[TAIL])->mark[(k->first + k->kept - 1) % RATE_CHAINED];
}

/* Number `n` from the oldest on, which is 0. */
static uint32_t
mark_at(const struct rate *r, const struct key *k, uint32_t n)
{
	uint32_t c = k->mark[HEAD];

	if (!k->chained)
		return k->mark[n];
	for (n += k->first; n >= RATE_CHAINED; n -= RATE_CHAINED)
		c = chain_at(r, c)->next;
	return chain_at(r, c)->mark[n];
}

static uint32_t
age(uint32_t mark, mono_t now)
{
	return (uint32_t)now.ms - mark;
}

static void
drop_chain(struct rate *r, struct key *k)
{
	uint32_t i = k->chained ? k->mark[HEAD] : 0;

	while (i != 0) {
		uint32_t next = chain_at(r, i)->next;

		release(r, i);
		i = next;
	}
	k->chained = 0;
	k->kept = 0;
	k->first = 0;
}

static void
pop_oldest(struct rate *r, struct key *k)
{
	k->kept--;
	if (!k->chained) {
		memmove(k->mark, k->mark + 1, k->kept * sizeof(k->mark[0]));
	} else if (k->kept == 0) {
		drop_chain(r, k);
	} else if (++k->first == RATE_CHAINED) {
		uint32_t head = k->mark[HEAD];

		k->mark[HEAD] = chain_at(r, head)->next;
		k->first = 0;
		release(r, head);
	}
}

/* Whole blocks at a time, and all at once when nothing is left. */
static void
expire(struct rate *r, struct key *k, int64_t window, mono_t now)
{
	if (k->kept > 0 && age(newest(r, k), now) >= window) {
		drop_chain(r, k);
		return;
	}
	while (k->kept > 0 && age(oldest(r, k), now) >= window) {
		const struct chain *head = k->chained ? chain_at(r, k->mark[HEAD]) : NULL;

		if (head != NULL && head->next != 0 && age(head->mark[RATE_CHAINED - 1], now) >= window) {
			k->kept -= RATE_CHAINED - k->first - 1u;
			k->first = RATE_CHAINED - 1;
		}
		pop_oldest(r, k);
	}
}

/* --- keys ------------------------------------------------------------------------------------ */

static int64_t
tier_times(unsigned tier)
{
	static const int64_t times[] = { 1, RATE_56_TIMES, RATE_48_TIMES, 1 };

	return times[tier];
}

static int64_t
limit_of(const struct slot *s, unsigned tier)
{
	return s->count * tier_times(tier);
}

/* Of one mark, in mode gcra.  Rounded up: never more than the count in a window.  The count is not 0. */
static uint64_t
interval_us(const struct slot *s, unsigned tier)
{
	uint64_t max = (uint64_t)limit_of(s, tier);

	return ((uint64_t)s->window * 1000 + max - 1) / max;
}

static uint64_t
arrival(const struct key *k)
{
	return k->mark[0] | (uint64_t)k->mark[1] << 32;
}

static void
set_arrival(struct key *k, uint64_t us)
{
	k->mark[0] = (uint32_t)us;
	k->mark[1] = (uint32_t)(us >> 32);
	k->kept = 2;
}

static bool
is_idle(const struct rate *r, const struct key *k, mono_t now)
{
	const struct slot *s = &r->slot[k->slot];

	if (s->limit == NULL || k->kept == 0)
		return true;
	if (s->mode == RATE_GCRA)
		return arrival(k) <= (uint64_t)now.ms * 1000;
	return age(newest(r, k), now) >= s->window;
}

/* How near its limit, in thousandths; above 1000: over it.  Marks that are out by now may count still: an estimate that is
 * too high at worst. */
static int64_t
load_of(const struct rate *r, const struct key *k, mono_t now)
{
	const struct slot *s = &r->slot[k->slot];
	int64_t max = limit_of(s, k->tier);

	if (max == 0)
		return 1001;
	if (s->mode == RATE_GCRA) { /* refused ones leave no trace: full is as bad as over */
		int64_t ahead = (int64_t)arrival(k) - now.ms * 1000;

		return ahead + (int64_t)interval_us(s, k->tier) > s->window * 1000 ? 1001 : ahead / s->window;
	}
	bool full = k->kept >= (s->mode == RATE_LEAKY ? max : max + 1);
	if (full && age(oldest(r, k), now) < s->window)
		return 1001;
	return (int64_t)k->kept * 1000 / (max + 1);
}

static void
drop_key(struct rate *r, uint32_t i)
{
	struct key *k = key_at(r, i);
	uint32_t *at = bucket_of(r, k->fingerprint);

	while (*at != i)
		at = &key_at(r, *at)->next;
	*at = k->next;
	drop_chain(r, k);
	r->slot[k->slot].keys--;
	clear_bit(r->is_key, i);
	clear_bit(r->is_dirty, i);
	r->stats.keys--;
	release(r, i);
}

/* xorshift64*, after Vigna (2014): which keys are looked at need not be secret, only spread. */
static uint32_t
random_block(struct rate *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	uint64_t high = r->random * UINT64_C(0x2545f4914f6cdd1d) >> 32;
	return r->reserved + 1 + (uint32_t)(high * (r->blocks - r->reserved) >> 32);
}

/* Make room in a full table, but not at the cost of `keep`.  Returns whether there is room now. */
static bool
evict(struct rate *r, uint32_t keep, mono_t now)
{
	int64_t least = 1001;
	uint32_t victim = 0;

	for (int looks = 0, keys = 0; looks < SAMPLE_LOOKS && keys < SAMPLE_KEYS; looks++) {
		uint32_t i = random_block(r);

		if (!get_bit(r->is_key, i) || i == keep)
			continue;
		keys++;
		int64_t load = is_idle(r, key_at(r, i), now) ? -1 : load_of(r, key_at(r, i), now);
		if (load < least) {
			least = load;
			victim = i;
		}
		if (least < 0)
			break;
	}
	if (victim == 0)
		return false;
	r->stats.evicted += least >= 0;
	drop_key(r, victim);
	return true;
}

/* A block for one more key, or for more marks of `keep`.  0: all that were looked at are over their limit. */
static uint32_t
allocate(struct rate *r, uint32_t keep, bool shared, mono_t now)
{
	if (shared)
		return take(r, &r->free_reserved);
	if (r->free == 0 && !evict(r, keep, now))
		return 0;
	return take(r, &r->free);
}

static uint32_t
add_key(struct rate *r, uint64_t fingerprint, unsigned slot, unsigned tier, mono_t now)
{
	uint32_t i = allocate(r, 0, tier == TIER_SHARED, now);
	uint32_t *head = bucket_of(r, fingerprint);

	if (i == 0)
		return 0;
	*key_at(r, i) = (struct key) {
		.fingerprint = fingerprint, .next = *head, .slot = (uint16_t)slot, .tier = tier & 3,
	};
	*head = i;
	set_bit(r->is_key, i);
	r->slot[slot].keys++;
	r->stats.keys++;
	return i;
}

/* From the key's own block to a chain. */
static bool
begin_chain(struct rate *r, uint32_t i, mono_t now)
{
	struct key *k = key_at(r, i);
	uint32_t c = allocate(r, i, k->tier == TIER_SHARED, now);

	if (c == 0)
		return false;
	chain_at(r, c)->next = 0;
	memcpy(chain_at(r, c)->mark, k->mark, k->kept * sizeof(k->mark[0]));
	k->mark[HEAD] = k->mark[TAIL] = c;
	k->chained = 1;
	k->first = 0;
	return true;
}

static bool
lengthen_chain(struct rate *r, uint32_t i, mono_t now)
{
	struct key *k = key_at(r, i);
	uint32_t c = allocate(r, i, k->tier == TIER_SHARED, now);

	if (c == 0)
		return false;
	chain_at(r, c)->next = 0;
	chain_at(r, k->mark[TAIL])->next = c;
	k->mark[TAIL] = c;
	return true;
}

static bool
make_room(struct rate *r, uint32_t i, mono_t now)
{
	const struct key *k = key_at(r, i);

	if (!k->chained)
		return k->kept < RATE_INLINE || begin_chain(r, i, now);
	return (k->first + k->kept) % RATE_CHAINED != 0 || lengthen_chain(r, i, now);
}

/* Add a mark; never more than `cap`, and the oldest gives way where there is no memory. */
static void
push(struct rate *r, uint32_t i, uint32_t mark, int64_t cap, mono_t now)
{
	struct key *k = key_at(r, i);

	while (k->kept > 0 && (int64_t)k->kept >= cap)
		pop_oldest(r, k);
	while (!make_room(r, i, now)) { /* until the chain gives a block back, or is gone */
		r->stats.lost_marks++;
		pop_oldest(r, k);
	}
	if (k->chained)
		chain_at(r, k->mark[TAIL])->mark[(k->first + k->kept) % RATE_CHAINED] = mark;
	else
		k->mark[k->kept] = mark;
	k->kept++;
}

/* --- the verdict on one key ------------------------------------------------------------------ */

struct view {
	int64_t n, max;
	bool over;
	int64_t clear_ms; /* when over */
};

/* After one more mark. */
static struct view
view_gcra(const struct rate *r, const struct slot *s, uint32_t i, unsigned tier, mono_t now)
{
	struct view v = { .n = 1, .max = limit_of(s, tier), .over = true, .clear_ms = INT64_MAX };

	if (v.max == 0)
		return v;
	uint64_t t = interval_us(s, tier), at = (uint64_t)now.ms * 1000;
	uint64_t tat = i != 0 && arrival(key_at(r, i)) > at ? arrival(key_at(r, i)) : at;
	uint64_t ahead = tat + t - at;
	v.n = (int64_t)((ahead + t - 1) / t);
	v.over = ahead > t * (uint64_t)v.max;
	v.clear_ms = v.over ? (int64_t)((ahead - t * (uint64_t)v.max + 999) / 1000) : 0;
	return v;
}

/* How many marks are in the window. */
static int64_t
count_marks(const struct rate *r, const struct key *k, int64_t window, mono_t now)
{
	int64_t out = 0;

	if (k->kept == 0 || age(newest(r, k), now) >= window)
		return 0;
	if (!k->chained) {
		while (age(k->mark[out], now) >= window)
			out++;
		return k->kept - out;
	}
	uint32_t c = k->mark[HEAD], at = k->first;
	while (chain_at(r, c)->next != 0 && age(chain_at(r, c)->mark[RATE_CHAINED - 1], now) >= window) {
		out += RATE_CHAINED - at;
		c = chain_at(r, c)->next;
		at = 0;
	}
	while (age(chain_at(r, c)->mark[at++], now) >= window)
		out++;
	return k->kept - out;
}

/* How long until one more would be admitted, with none meanwhile: until so many are out that `max` - 1 are left. */
static int64_t
clear_in(const struct rate *r, const struct slot *s, const struct key *k, int64_t max, mono_t now)
{
	if (max == 0)
		return INT64_MAX;
	if ((int64_t)k->kept < max) /* some were lost for want of memory */
		return 0;
	return s->window - age(mark_at(r, k, (uint32_t)(k->kept - max)), now);
}

/* Before it is charged: n is without the mark that is asked for. */
static struct view
view_marks(const struct rate *r, const struct slot *s, uint32_t i, unsigned tier, mono_t now)
{
	struct view v = { .max = limit_of(s, tier), .clear_ms = INT64_MAX };

	if (i != 0)
		v.n = count_marks(r, key_at(r, i), s->window, now);
	v.over = v.n >= v.max;
	if (v.over && i != 0)
		v.clear_ms = clear_in(r, s, key_at(r, i), v.max, now);
	return v;
}

static struct view
view_of(const struct rate *r, const struct slot *s, uint32_t i, unsigned tier, mono_t now)
{
	if (s->mode != RATE_GCRA)
		return view_marks(r, s, i, tier, now);
	struct view v = view_gcra(r, s, i, tier, now);
	v.n--;
	return v;
}

static struct view
charge(struct rate *r, const struct slot *s, uint32_t i, unsigned tier, mono_t now)
{
	struct key *k = key_at(r, i);
	struct view v = { .max = limit_of(s, tier) };

	set_bit(r->is_dirty, i);
	if (s->mode == RATE_GCRA) {
		uint64_t at = (uint64_t)now.ms * 1000;

		v = view_gcra(r, s, i, tier, now);
		if (!v.over)
			set_arrival(k, (arrival(k) > at ? arrival(k) : at) + interval_us(s, tier));
		return v;
	}
	expire(r, k, s->window, now);
	if (s->mode == RATE_LEAKY && (int64_t)k->kept >= v.max) {
		v.n = v.max + 1;
	} else {
		push(r, i, (uint32_t)now.ms, v.max + 1, now);
		v.n = k->kept;
	}
	v.over = v.n > v.max;
	v.clear_ms = v.over ? clear_in(r, s, k, v.max, now) : 0;
	return v;
}

/* --- questions ------------------------------------------------------------------------------- */

/* A value as limits see it. */
struct value {
	const char *s;
	size_t len;
	bool is_ip;
	struct ip ip;
	char buf[VALUE_MAX]; /* terminated, for fnmatch() and ip_parse() */
	bool copied;
};

static const char *
terminated(struct value *v)
{
	size_t n = v->len < VALUE_MAX ? v->len : VALUE_MAX - 1;

	if (!v->copied) {
		memcpy(v->buf, v->s, n);
		v->buf[n] = '\0';
		v->copied = true;
	}
	return v->buf;
}

/* IPv6 in any spelling is one value; what is no address stays as it is. */
static void
normalise(struct value *v)
{
	if (v->len >= IP_TEXT_MAX || memchr(v->s, ':', v->len) == NULL || ip_parse(terminated(v), &v->ip) < 0)
		return;
	v->is_ip = true;
	ip_format(&v->ip, v->buf);
	v->s = v->buf;
	v->len = strlen(v->buf);
}

static bool
matches(const struct rate_limit *l, struct value *v)
{
	if (l->is_prefix) {
		v->is_ip = v->is_ip || (v->len < IP_TEXT_MAX && ip_parse(terminated(v), &v->ip) == 0);
		return v->is_ip && ip_prefix_contains(&l->prefix, &v->ip);
	}
	if (l->pattern[0] == '*' && l->pattern[1] == '\0')
		return true;
	return fnmatch(l->pattern, terminated(v), 0) == 0;
}

static const struct rate_limit *
find_limit(const struct rate *r, int class, struct value *v)
{
	const struct rate_class *c = &r->cfg->class[class];

	for (unsigned i = c->first; i < c->first + c->n; i++)
		if (matches(&r->cfg->limit[i], v))
			return &r->cfg->limit[i];
	return NULL;
}

static uint64_t
fingerprint_of(const struct rate *r, const void *data, size_t len, uint64_t identity, unsigned tier)
{
	uint64_t f = siphash(data, len, r->key0 ^ identity, r->key1 + tier);

	return f != 0 ? f : 1;
}

/* The key that new ones share in a table full of offenders. */
static uint64_t
shared_of(const struct rate *r, struct value *v, uint64_t identity, uint64_t fingerprint)
{
	if (!v->is_ip && (v->len >= IP_TEXT_MAX || ip_parse(terminated(v), &v->ip) < 0)) {
		uint64_t one = fingerprint % SHARED_KEYS;

		return fingerprint_of(r, &one, sizeof(one), identity, TIER_SHARED);
	}
	struct ip net = ip_mask(&v->ip, ip_is_v4(&v->ip) ? 96 + 24 : 48);
	return fingerprint_of(r, net.b, sizeof(net.b), identity, TIER_SHARED);
}

void
rate_find(const struct rate *r, int class, const char *value, size_t len, struct rate_question *ret)
{
	static const unsigned bits[TIERS] = { 64, 56, 48 };
	struct value v;

	v.s = value;
	v.len = len;
	v.is_ip = v.copied = false;
	ret->limit = NULL;
	ret->keys = 0;
	if (class < 0 || class >= (int)r->cfg->n_classes) {
		ret->found = RATE_NO_CLASS;
		return;
	}
	normalise(&v);
	ret->limit = find_limit(r, class, &v);
	ret->found = ret->limit != NULL ? RATE_OK : RATE_NO_KEY;
	if (ret->limit == NULL || ret->limit->count < 0)
		return;
	ret->slot = r->slot_of[ret->limit - r->cfg->limit];
	uint64_t identity = r->slot[ret->slot].identity;
	if (v.is_ip && !ip_is_v4(&v.ip)) {
		for (; ret->keys < TIERS; ret->keys++) {
			struct ip net = ip_mask(&v.ip, bits[ret->keys]);

			ret->fingerprint[ret->keys] =
				fingerprint_of(r, net.b, sizeof(net.b), identity, ret->keys);
		}
	} else {
		ret->fingerprint[0] = fingerprint_of(r, v.s, v.len, identity, 0);
		ret->keys = 1;
	}
	ret->shared = r->free != 0 ? 0 : shared_of(r, &v, identity, ret->fingerprint[0]);
}

void
rate_prefetch(const struct rate *r, const struct rate_question *q)
{
	if (q->keys > 0)
		__builtin_prefetch(key_at(r, *bucket_of(r, q->fingerprint[0])));
}

/* Is there nothing to count?  Then the answer is complete. */
static bool
is_uncounted(const struct rate_question *q, struct rate_answer *ret)
{
	*ret = (struct rate_answer) { .verdict = q->found, .limit = q->limit };
	if (q->found != RATE_OK)
		return true;
	ret->max = q->limit->count;
	ret->fingerprint = q->keys > 0 ? q->fingerprint[0] : 0;
	return q->keys == 0;
}

/* The worst of several: the first that is over, else the first. */
static void
take_view(struct rate_answer *ret, const struct view *v, unsigned tier, unsigned tiers, uint64_t fingerprint)
{
	static const unsigned bits[] = { 64, 56, 48, 0 };

	if (tier != 0 && tier != TIER_SHARED && !(v->over && ret->verdict != RATE_OVER))
		return;
	ret->verdict = v->over ? RATE_OVER : RATE_OK;
	ret->n = v->n;
	ret->max = v->max;
	ret->clear_ms = v->over ? v->clear_ms : 0;
	ret->prefix = tiers > 1 ? bits[tier] : 0;
	ret->fingerprint = fingerprint;
}

static mono_t
advance(struct rate *r, mono_t now)
{
	if (now.ms > r->last.ms)
		r->last = now;
	return r->last;
}

static void
wipe(struct rate *r)
{
	memset(r->bucket, 0, r->blocks * sizeof(r->bucket[0]));
	memset(r->is_key, 0, (r->blocks / 64 + 1) * sizeof(r->is_key[0]));
	memset(r->is_dirty, 0, (r->blocks / 64 + 1) * sizeof(r->is_dirty[0]));
	r->free = r->free_reserved = 0;
	for (uint32_t i = r->blocks; i > 0; i--) {
		uint32_t *list = free_list(r, i);

		key_at(r, i)->next = *list;
		*list = i;
	}
	for (int i = 0; i < SLOTS; i++)
		r->slot[i].keys = 0;
	r->used = 0;
	r->stats.keys = 0;
}

/* Where refused marks are not counted, all keys of a question are looked at before one is charged. */
static bool
is_refused_uncharged(const struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret)
{
	const struct slot *s = &r->slot[q->slot];

	if (s->mode == RATE_WINDOW || q->keys < 2)
		return false;
	for (unsigned tier = 0; tier < q->keys; tier++) {
		uint32_t i = find_key(r, q->fingerprint[tier], q->slot);
		struct view v = view_of(r, s, i, tier, now);

		v.n++;
		take_view(ret, &v, tier, q->keys, q->fingerprint[tier]);
	}
	return ret->verdict == RATE_OVER;
}

/* All are over: new ones share a key, and when there is no memory even for that, they pass. */
static void
mark_shared(struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret)
{
	uint32_t i = q->shared == 0 ? 0 : find_key(r, q->shared, q->slot);

	if (i == 0 && q->shared != 0)
		i = add_key(r, q->shared, q->slot, TIER_SHARED, now);
	r->stats.shared++;
	ret->shared = true;
	if (i == 0) {
		ret->n = 1;
		return;
	}
	struct view v = charge(r, &r->slot[q->slot], i, TIER_SHARED, now);
	take_view(ret, &v, TIER_SHARED, 1, q->shared);
}

void
rate_mark(struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret)
{
	if (is_uncounted(q, ret))
		return;
	if (r->last.ms != 0 && now.ms - r->last.ms > LONG_PAUSE_MS)
		wipe(r);
	now = advance(r, now);
	r->stats.marks++;
	if (!is_refused_uncharged(r, q, now, ret)) {
		for (unsigned tier = 0; tier < q->keys; tier++) {
			uint32_t i = find_key(r, q->fingerprint[tier], q->slot);

			if (i == 0)
				i = add_key(r, q->fingerprint[tier], q->slot, tier, now);
			if (i == 0) {
				if (tier == 0)
					mark_shared(r, q, now, ret);
				break;
			}
			struct view v = charge(r, &r->slot[q->slot], i, tier, now);
			take_view(ret, &v, tier, q->keys, q->fingerprint[tier]);
		}
	}
	r->stats.over += ret->verdict == RATE_OVER;
}

void
rate_peek(const struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret)
{
	if (is_uncounted(q, ret))
		return;
	if (now.ms < r->last.ms)
		now = r->last;
	for (unsigned tier = 0; tier < q->keys; tier++) {
		uint32_t i = find_key(r, q->fingerprint[tier], q->slot);
		struct view v = view_of(r, &r->slot[q->slot], i, tier, now);

		take_view(ret, &v, tier, q->keys, q->fingerprint[tier]);
	}
}

bool
rate_reset(struct rate *r, const struct rate_question *q)
{
	bool any = false;

	for (unsigned tier = 0; q->found == RATE_OK && tier < q->keys; tier++) {
		uint32_t i = find_key(r, q->fingerprint[tier], q->slot);

		if (i == 0)
			continue;
		/* Not dropped: a key without marks is what is stored over the one that had them. */
		struct key *k = key_at(r, i);
		any = any || k->kept > 0;
		drop_chain(r, k);
		set_bit(r->is_dirty, i);
	}
	return any;
}

/* It has lost its marks by rate_reset(), and that is not stored yet. */
static bool
is_news_of_reset(const struct rate *r, uint32_t i)
{
	return get_bit(r->is_dirty, i) && key_at(r, i)->kept == 0 && r->slot[key_at(r, i)->slot].limit != NULL;
}

void
rate_sweep(struct rate *r, mono_t now, size_t blocks)
{
	now = advance(r, now);
	for (size_t n = blocks < r->blocks ? blocks : r->blocks; n > 0; n--) {
		r->hand = r->hand % r->blocks + 1;
		if (get_bit(r->is_key, r->hand) && is_idle(r, key_at(r, r->hand), now)
			&& !is_news_of_reset(r, r->hand))
			drop_key(r, r->hand);
	}
}

struct rate_stats
rate_stats(const struct rate *r)
{
	struct rate_stats s = r->stats;

	s.blocks = r->blocks;
	s.blocks_used = r->used;
	return s;
}

/* --- the whole ------------------------------------------------------------------------------- */

static size_t
align8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* Bytes for a table of `n` blocks. */
static size_t
size_of(size_t n)
{
	return (n + 1) * sizeof(union block) + align8(n * sizeof(uint32_t)) + 2 * (n / 64 + 1) * sizeof(uint64_t);
}

int
rate_new(uint64_t memory, const uint8_t key[RATE_KEY_SIZE], struct rate **ret)
{
	uint64_t blocks = memory / (sizeof(union block) + sizeof(uint32_t));

	if (memory < RATE_MEMORY_MIN || blocks >= UINT32_MAX)
		return -EINVAL;
	while (size_of(blocks) > memory)
		blocks -= blocks / 256 + 1;
	struct rate *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->mapped = size_of(blocks);
	char *at = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (at == MAP_FAILED) {
		free(r);
		return -ENOMEM;
	}
	r->block = (union block *)(void *)at;
	at += (blocks + 1) * sizeof(union block);
	r->bucket = (uint32_t *)(void *)at;
	at += align8(blocks * sizeof(uint32_t));
	r->is_key = (uint64_t *)(void *)at;
	r->is_dirty = r->is_key + blocks / 64 + 1;
	r->blocks = (uint32_t)blocks;
	r->reserved = r->blocks / RESERVE_PART;
	memcpy(&r->key0, key, 8);
	memcpy(&r->key1, key + 8, 8);
	r->random = (r->key0 ^ r->key1) | 1;
	r->cfg = &no_limits;
	wipe(r);
	*ret = r;
	return 0;
}

void
rate_free(struct rate *r)
{
	if (r == NULL)
		return;
	(void)munmap(r->block, r->mapped);
	free(r);
}

/* The slot of that identity, else a free one, else -ENOENT. */
static int
find_slot(const struct rate *r, uint64_t identity)
{
	int vacant = -ENOENT;

	for (int i = 0; i < SLOTS; i++) {
		if (r->slot[i].identity == identity)
			return i;
		if (r->slot[i].limit == NULL && r->slot[i].keys == 0)
			vacant = i;
	}
	return vacant;
}

static void
take_class(struct rate *r, const struct rate_class *c)
{
	for (unsigned n = c->first; n < c->first + c->n; n++) {
		const struct rate_limit *l = &r->cfg->limit[n];
		uint64_t identity = identity_of(c, l);
		int i = find_slot(r, identity);

		if (i < 0) { /* keys of limits that are gone hold them all; half of the slots are ours at the most */
			rate_sweep(r, r->last, r->blocks);
			i = find_slot(r, identity);
		}
		if (r->slot[i].limit == NULL) {
			struct slot *s = &r->slot[i];

			s->identity = identity;
			s->limit = l;
			s->window = l->window_ms;
			s->count = l->count;
			s->mode = c->mode;
		}
		r->slot_of[n] = (uint16_t)i;
	}
}

void
rate_configure(struct rate *r, const struct rate_cfg *cfg)
{
	for (int i = 0; i < SLOTS; i++)
		r->slot[i].limit = NULL;
	r->cfg = cfg;
	for (unsigned i = 0; i < cfg->n_classes; i++)
		take_class(r, &cfg->class[i]);
}

/* --- across restarts ------------------------------------------------------------------------- */

static uint32_t
copy_marks(const struct rate *r, const struct key *k, uint32_t ret[RATE_DUMP_MARKS_MAX])
{
	uint32_t skip = k->kept > RATE_DUMP_MARKS_MAX ? k->kept - RATE_DUMP_MARKS_MAX : 0, n = 0;

	if (!k->chained) {
		memcpy(ret, k->mark, k->kept * sizeof(ret[0]));
		return k->kept;
	}
	uint32_t c = k->mark[HEAD], at = k->first, left = k->kept - skip;
	for (; skip >= RATE_CHAINED - at; at = 0) {
		skip -= RATE_CHAINED - at;
		c = chain_at(r, c)->next;
	}
	for (at += skip; left > 0; left--) {
		ret[n++] = chain_at(r, c)->mark[at];
		if (++at == RATE_CHAINED) {
			at = 0;
			c = chain_at(r, c)->next;
		}
	}
	return n;
}

static void
dump(const struct rate *r, const struct key *k, mono_t now, struct rate_dump *ret)
{
	const struct slot *s = &r->slot[k->slot];

	ret->fingerprint = k->fingerprint;
	ret->limit = s->identity;
	ret->tier = k->tier;
	ret->n = copy_marks(r, k, ret->mark);
	ret->until_ms = now.ms;
	if (k->kept > 0 && s->mode == RATE_GCRA)
		ret->until_ms = (int64_t)(arrival(k) / 1000) + 1;
	else if (k->kept > 0)
		ret->until_ms = now.ms - age(newest(r, k), now) + s->window;
}

bool
rate_dump_next(struct rate *r, size_t *cursor, mono_t now, struct rate_dump *ret)
{
	for (size_t i = *cursor; i <= r->blocks; i++) {
		if (r->is_dirty[i / 64] == 0) {
			i |= 63;
			continue;
		}
		if (!get_bit(r->is_dirty, (uint32_t)i))
			continue;
		clear_bit(r->is_dirty, (uint32_t)i);
		dump(r, key_at(r, (uint32_t)i), now, ret);
		*cursor = i + 1;
		return true;
	}
	*cursor = r->blocks + (size_t)1;
	return false;
}

static int
slot_by_identity(const struct rate *r, uint64_t identity)
{
	for (int i = 0; i < SLOTS; i++)
		if (r->slot[i].limit != NULL && r->slot[i].identity == identity)
			return i;
	return -ENOENT;
}

void
rate_dump_again(struct rate *r, const struct rate_dump *d)
{
	int slot = slot_by_identity(r, d->limit);
	uint32_t i = slot < 0 ? 0 : find_key(r, d->fingerprint, (unsigned)slot);

	if (i != 0)
		set_bit(r->is_dirty, i);
}

void
rate_dump_all(struct rate *r)
{
	for (size_t i = 0; i <= r->blocks / 64; i++)
		r->is_dirty[i] |= r->is_key[i];
}

/* The later of two arrival times. */
static void
load_arrival(struct rate *r, uint32_t i, const struct rate_dump *d, mono_t then, int64_t age_ms, mono_t now)
{
	int64_t tat = (int64_t)(d->mark[0] | (uint64_t)d->mark[1] << 32);
	struct key *k = key_at(r, i);

	if (tat < 0 || tat > INT64_MAX / 2)
		return;
	tat += (now.ms - age_ms - then.ms) * 1000;
	const struct slot *s = &r->slot[k->slot];
	if (tat > (now.ms + s->window) * 1000) /* never fuller than full */
		tat = (now.ms + s->window) * 1000;
	if (tat > now.ms * 1000 && (uint64_t)tat > arrival(k))
		set_arrival(k, (uint64_t)tat);
}

static void
load_old_marks(struct rate *r, uint32_t i, const struct rate_dump *d, const struct key *since, mono_t then,
	int64_t age_ms, mono_t now)
{
	struct key *k = key_at(r, i);
	const struct slot *s = &r->slot[k->slot];

	for (uint32_t m = 0; m < d->n; m++) {
		int64_t old = age_ms + (int64_t)(uint32_t)((uint32_t)then.ms - d->mark[m]);
		uint32_t mark = (uint32_t)(now.ms - old);

		/* In order, whatever the dump says: the rest of this file relies on it. */
		if (old >= s->window || (k->kept > 0 && old > age(newest(r, k), now))
			|| (since->kept > 0 && old < age(oldest(r, since), now)))
			continue;
		push(r, i, mark, limit_of(s, k->tier) + (s->mode == RATE_WINDOW), now);
	}
}

/* Old marks come before those that came since, so the key is built anew. */
static void
load_marks(struct rate *r, uint32_t i, const struct rate_dump *d, mono_t then, int64_t age_ms, mono_t now)
{
	struct key *k = key_at(r, i), since = *k;
	int64_t cap = limit_of(&r->slot[k->slot], k->tier) + (r->slot[k->slot].mode == RATE_WINDOW);

	k->kept = 0;
	k->chained = 0;
	k->first = 0;
	load_old_marks(r, i, d, &since, then, age_ms, now);
	while (since.kept > 0) {
		uint32_t mark = oldest(r, &since);

		pop_oldest(r, &since);
		push(r, i, mark, cap, now);
	}
}

void
rate_load(struct rate *r, const struct rate_dump *d, mono_t then, int64_t age_ms, mono_t now)
{
	int slot = slot_by_identity(r, d->limit);

	if (slot < 0 || d->tier > TIER_SHARED || d->n == 0 || d->n > RATE_DUMP_MARKS_MAX || d->fingerprint == 0
		|| age_ms < 0 || age_ms > RATE_WINDOW_MAX_MS)
		return;
	now = advance(r, now);
	uint32_t i = find_key(r, d->fingerprint, (unsigned)slot);
	if (i == 0)
		i = add_key(r, d->fingerprint, (unsigned)slot, d->tier, now);
	if (i == 0)
		return;
	if (r->slot[slot].mode != RATE_GCRA)
		load_marks(r, i, d, then, age_ms, now);
	else if (d->n == 2 && r->slot[slot].count > 0)
		load_arrival(r, i, d, then, age_ms, now);
}
