/* SPDX-License-Identifier: ISC */
#include "controller/recent.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/prefixmap.h"
#include "lib/recency.h"

#define V4_BITS 96
#define V6_KEPT_BITS 64

struct recent {
	struct prefixmap *map;
	mono_t *until; /* by number, as in the map */
	struct recency recency;
	uint32_t *links;
};

static bool
is_v4(const struct ip_prefix *p)
{
	static const struct ip base = { { [10] = 0xff, [11] = 0xff } };

	return p->bits >= V4_BITS ? ip_is_v4(&p->ip) : ip_prefix_contains(p, &base);
}

/* How many bits of an address there it is kept by. */
static unsigned
kept_bits(const struct ip_prefix *p)
{
	return is_v4(p) ? 128 : V6_KEPT_BITS;
}

static struct ip_prefix
key_of(const struct ip *ip)
{
	unsigned bits = kept_bits(&(struct ip_prefix) { *ip, 128 });

	return (struct ip_prefix) { ip_mask(ip, bits), (uint8_t)bits };
}

void
recent_add(struct recent *t, const struct ip *ip, mono_t until)
{
	struct ip_prefix key = key_of(ip);
	uint32_t n = prefixmap_find(t->map, &key);

	if (n != PREFIXMAP_NONE) {
		recency_remove(&t->recency, n);
		if (t->until[n].ms > until.ms)
			until = t->until[n];
	} else if ((n = prefixmap_add(t->map, &key)) == PREFIXMAP_NONE) {
		uint32_t oldest = t->recency.oldest;

		recency_remove(&t->recency, oldest);
		(void)prefixmap_remove(t->map, prefixmap_at(t->map, oldest));
		n = prefixmap_add(t->map, &key);
	}
	t->until[n] = until;
	recency_add(&t->recency, n);
}

bool
recent_next(const struct recent *t, uint64_t *cursor, const struct ip_prefix *p, mono_t now, struct ip_prefix *ret)
{
	uint32_t n = *cursor == RECENT_BEGIN ? t->recency.newest : (uint32_t)*cursor;

	for (; n != RECENCY_NONE; n = t->recency.older[n]) {
		const struct ip_prefix *at = prefixmap_at(t->map, n);

		if (t->until[n].ms <= now.ms || !ip_prefix_contains(p, &at->ip))
			continue;
		*ret = *at;
		*cursor = t->recency.older[n];
		return true;
	}
	*cursor = RECENCY_NONE;
	return false;
}

bool
recent_find(const struct recent *t, const struct ip_prefix *p, mono_t now, struct ip_prefix *ret)
{
	uint64_t cursor = RECENT_BEGIN;

	if (p->bits < kept_bits(p))
		return recent_next(t, &cursor, p, now, ret);
	struct ip_prefix key = key_of(&p->ip);
	uint32_t n = prefixmap_find(t->map, &key);
	*ret = key;
	return n != PREFIXMAP_NONE && t->until[n].ms > now.ms;
}

int
recent_new(size_t max, const uint8_t key[RECENT_KEY_SIZE], struct recent **ret)
{
	struct recent *t = calloc(1, sizeof(*t));

	_Static_assert(RECENT_KEY_SIZE == PREFIXMAP_KEY_SIZE, "one key for both");
	int r = t != NULL ? prefixmap_new(max, key, &t->map) : -ENOMEM;
	if (r == 0) {
		t->until = calloc(max, sizeof(t->until[0]));
		t->links = calloc(2 * max, sizeof(t->links[0]));
		r = t->until == NULL || t->links == NULL ? -ENOMEM : 0;
	}
	if (r < 0) {
		recent_free(t);
		return r;
	}
	recency_init(&t->recency, t->links, t->links + max);
	*ret = t;
	return 0;
}

void
recent_free(struct recent *t)
{
	if (t == NULL)
		return;
	prefixmap_free(t->map);
	free(t->until);
	free(t->links);
	free(t);
}
