/* SPDX-License-Identifier: ISC */
#include "actions/protected.h"

#include <stdlib.h>
#include <string.h>

static const struct ip_prefix loopback[] = {
	{ .ip = { .b = { [10] = 0xff, [11] = 0xff, [12] = 127 } }, .bits = 104 },
	{ .ip = { .b = { [15] = 1 } }, .bits = 128 },
};

static int
compare_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

static int
compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;
	int r = compare_ip(&x->ip, &y->ip);

	return r != 0 ? r : (int)x->bits - (int)y->bits;
}

static struct ip
last_of(const struct ip_prefix *p)
{
	struct ip ip = p->ip;

	for (unsigned i = p->bits / 8; i < sizeof(ip.b); i++)
		ip.b[i] |= (uint8_t)(i == p->bits / 8 ? 0xff >> p->bits % 8 : 0xff);
	return ip;
}

void
protected_set(struct protected *ret, const struct block_cfg *cfg)
{
	struct ip_prefix p[BLOCK_PROTECTED_MAX + 2];
	size_t n = cfg->protected.n < BLOCK_PROTECTED_MAX ? cfg->protected.n : BLOCK_PROTECTED_MAX;

	memcpy(p, loopback, sizeof(loopback));
	memcpy(p + 2, cfg->protected.p, n * sizeof(p[0]));
	n += 2;
	for (size_t i = 0; i < n; i++)
		p[i].ip = ip_mask(&p[i].ip, p[i].bits);
	qsort(p, n, sizeof(p[0]), compare);
	ret->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (ret->n > 0 && compare_ip(&p[i].ip, &ret->range[ret->n - 1].last) <= 0)
			continue; /* in the one before */
		ret->range[ret->n].first = p[i].ip;
		ret->range[ret->n++].last = last_of(&p[i]);
	}
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
