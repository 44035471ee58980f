/* SPDX-License-Identifier: ISC */
#include "actions/protected.h"

#include <stdlib.h>
#include <string.h>

static const struct ip_prefix loopback[] = {
	{ .ip = { .b = { [10] = 0xff, [11] = 0xff, [12] = 127 } }, .bits = 104 },
	{ .ip = { .b = { [15] = 1 } }, .bits = 128 },
};

static int
compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;
	int r = memcmp(x->ip.b, y->ip.b, sizeof(x->ip.b));

	return r != 0 ? r : (int)x->bits - (int)y->bits;
}

static bool
contains(const struct ip_prefix *outer, const struct ip_prefix *inner)
{
	return outer->bits <= inner->bits && ip_prefix_contains(outer, &inner->ip);
}

void
protected_set(struct protected *ret, const struct block_cfg *cfg)
{
	size_t n = cfg->protected.n < BLOCK_PROTECTED_MAX ? cfg->protected.n : BLOCK_PROTECTED_MAX, kept = 0;

	memcpy(ret->p, loopback, sizeof(loopback));
	memcpy(ret->p + 2, cfg->protected.p, n * sizeof(ret->p[0]));
	n += 2;
	for (size_t i = 0; i < n; i++)
		ret->p[i].ip = ip_mask(&ret->p[i].ip, ret->p[i].bits);
	qsort(ret->p, n, sizeof(ret->p[0]), compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !contains(&ret->p[kept - 1], &ret->p[i]))
			ret->p[kept++] = ret->p[i];
	ret->n = kept;
}

bool
protected_touches(const struct protected *t, const struct ip_prefix *p)
{
	size_t low = 0, high = t->n;

	while (low < high) { /* the first behind the address of `p` */
		size_t mid = (low + high) / 2;

		if (memcmp(t->p[mid].ip.b, p->ip.b, sizeof(p->ip.b)) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	/* Of those before, only the last can contain it, for none contains another; and it begins with the first
	 * behind. */
	return (low > 0 && (contains(&t->p[low - 1], p) || contains(p, &t->p[low - 1])))
		|| (low < t->n && contains(p, &t->p[low]));
}
