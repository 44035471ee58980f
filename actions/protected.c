/* SPDX-License-Identifier: ISC */
#include "actions/protected.h"

#include <stdlib.h>
#include <string.h>

#include "lib/array.h"

static const struct ip_prefix loopback[] = { /* and ::, which is nobody */
	{ .ip = { .b = { [10] = 0xff, [11] = 0xff, [12] = 127 } }, .bits = 104 },
	{ .ip = { .b = { [15] = 1 } }, .bits = 127 },
};

static int
compare_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

static int
compare(const void *a, const void *b)
{
	const struct protected_range *x = a, *y = b;

	return compare_ip(&x->first, &y->first);
}

static struct ip
last_of(const struct ip_prefix *p)
{
	struct ip ip = p->ip;

	for (unsigned i = p->bits / 8; i < sizeof(ip.b); i++)
		ip.b[i] |= (uint8_t)(i == p->bits / 8 ? 0xff >> p->bits % 8 : 0xff);
	return ip;
}

static void
add(struct protected *t, const struct ip_prefix *p)
{
	const struct ip_prefix whole = { ip_mask(&p->ip, p->bits), p->bits };

	t->range[t->n++] = (struct protected_range) { whole.ip, last_of(&whole) };
}

/* Prefixes either lie in one another or do not meet. */
static void
drop_those_in_others(struct protected *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct protected_range *last = kept > 0 ? &t->range[kept - 1] : NULL;

		if (last == NULL || compare_ip(&t->range[i].first, &last->last) > 0)
			t->range[kept++] = t->range[i];
		else if (compare_ip(&t->range[i].last, &last->last) > 0)
			last->last = t->range[i].last; /* the shorter one of two that begin alike came second */
	}
	t->n = kept;
}

size_t
protected_set(struct protected *ret, const struct ip_prefix *list, size_t n)
{
	size_t room = PROTECTED_MAX - countof(loopback);
	size_t fits = n < room ? n : room;

	ret->n = 0;
	for (size_t i = 0; i < countof(loopback); i++)
		add(ret, &loopback[i]);
	for (size_t i = 0; i < fits; i++)
		add(ret, &list[i]);
	qsort(ret->range, ret->n, sizeof(ret->range[0]), compare);
	drop_those_in_others(ret);
	return n - fits;
}

bool
protected_touches(const struct protected *t, const struct ip_prefix *p)
{
	struct ip last = last_of(p);
	size_t low = 0, high = t->n;

	while (low < high) { /* the first that does not end before `p` begins */
		size_t mid = (low + high) / 2;

		if (compare_ip(&t->range[mid].last, &p->ip) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->n && compare_ip(&t->range[low].first, &last) <= 0;
}
