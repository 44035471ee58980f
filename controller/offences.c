/* SPDX-License-Identifier: ISC */
#include "controller/offences.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/prefixmap.h"
#include "lib/recency.h"

#define LOOKS 16 /* of the oldest, when one must go */

struct offences {
	struct prefixmap *map;
	struct offence *offence; /* by number; steps as of `ended` */
	struct recency recency;
	uint32_t *links;
};

/* Clean time that forgives one step. */
static int64_t
period(const struct offence *f, int64_t forgive_ms)
{
	int64_t twice = f->length_ms > INT64_MAX / 2 ? INT64_MAX : 2 * f->length_ms;

	return twice > forgive_ms ? twice : forgive_ms > 0 ? forgive_ms : 1;
}

static unsigned
steps_left(const struct offence *f, int64_t forgive_ms, mono_t now)
{
	int64_t clean = mono_since(f->ended, now);
	int64_t forgiven = clean > 0 ? clean / period(f, forgive_ms) : 0;

	return forgiven < f->steps ? f->steps - (unsigned)forgiven : 0;
}

bool
offences_get(const struct offences *o, const struct ip_prefix *p, int64_t forgive_ms, mono_t now, struct offence *ret)
{
	uint32_t n = prefixmap_find(o->map, p);
	unsigned left = n != PREFIXMAP_NONE ? steps_left(&o->offence[n], forgive_ms, now) : 0;

	*ret = (struct offence) { 0 };
	if (left == 0)
		return false;
	*ret = o->offence[n];
	ret->steps = left;
	return true;
}

int64_t
offences_clean_ms(const struct offence *left, int64_t forgive_ms, mono_t now)
{
	int64_t each = period(left, forgive_ms), wait = mono_since(now, left->ended), all;

	if (left->steps == 0)
		return 0;
	/* While the block is in force, all of its time, then the periods; after it, part of the first is over. */
	if (wait < 0)
		wait = -(-wait % each);
	return __builtin_mul_overflow(each, (int64_t)left->steps, &all) || __builtin_add_overflow(all, wait, &all)
		? INT64_MAX : all;
}

static void
drop(struct offences *o, uint32_t n)
{
	recency_remove(&o->recency, n);
	(void)prefixmap_remove(o->map, prefixmap_at(o->map, n));
}

static void
forget_one(struct offences *o, int64_t forgive_ms, mono_t now)
{
	uint32_t victim = o->recency.oldest;
	unsigned fewest = UINT32_MAX, looks = 0;

	for (uint32_t n = victim; n != RECENCY_NONE && looks < LOOKS && fewest > 0; n = o->recency.newer[n], looks++) {
		unsigned left = steps_left(&o->offence[n], forgive_ms, now);

		if (left < fewest) {
			fewest = left;
			victim = n;
		}
	}
	drop(o, victim);
}

void
offences_put(struct offences *o, const struct ip_prefix *p, const struct offence *offence, int64_t forgive_ms,
	mono_t now)
{
	uint32_t n = prefixmap_find(o->map, p);

	if (n != PREFIXMAP_NONE) {
		recency_remove(&o->recency, n);
	} else if ((n = prefixmap_add(o->map, p)) == PREFIXMAP_NONE) {
		forget_one(o, forgive_ms, now);
		n = prefixmap_add(o->map, p);
	}
	o->offence[n] = *offence;
	recency_add(&o->recency, n);
}

void
offences_end(struct offences *o, const struct ip_prefix *p, mono_t now)
{
	uint32_t n = prefixmap_find(o->map, p);

	if (n != PREFIXMAP_NONE && o->offence[n].ended.ms > now.ms)
		o->offence[n].ended = now;
}

void
offences_forget(struct offences *o, const struct ip_prefix *p)
{
	uint32_t n = prefixmap_find(o->map, p);

	if (n != PREFIXMAP_NONE)
		drop(o, n);
}

size_t
offences_count(const struct offences *o)
{
	return prefixmap_count(o->map);
}

int
offences_new(size_t max, const uint8_t *key, struct offences **ret)
{
	struct offences *o = calloc(1, sizeof(*o));
	int r = o != NULL ? prefixmap_new(max, key, &o->map) : -ENOMEM;

	if (r == 0) {
		o->offence = calloc(max, sizeof(o->offence[0]));
		o->links = calloc(2 * max, sizeof(o->links[0]));
		if (o->offence == NULL || o->links == NULL)
			r = -ENOMEM;
	}
	if (r < 0) {
		offences_free(o);
		return r;
	}
	recency_init(&o->recency, o->links, o->links + max);
	*ret = o;
	return 0;
}

void
offences_free(struct offences *o)
{
	if (o == NULL)
		return;
	prefixmap_free(o->map);
	free(o->offence);
	free(o->links);
	free(o);
}
