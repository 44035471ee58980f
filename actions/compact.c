/* SPDX-License-Identifier: ISC */
#include "actions/compact.h"

#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 /* before an IPv4 address */
#define V4_FLOOR (V4_BITS + 24)
#define V6_FLOOR 48

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

/* Are they the two halves of one? */
static bool
are_halves(const struct ip_prefix *a, const struct ip_prefix *b)
{
	if (a->bits != b->bits || a->bits == 0)
		return false;
	struct ip x = ip_mask(&a->ip, a->bits - 1u), y = ip_mask(&b->ip, b->bits - 1u);
	return ip_equal(&x, &y) && !ip_equal(&a->ip, &b->ip);
}

/* Of a sorted set: what is covered goes, halves join.  A stack: each newcomer may join the top, and so on down. */
static size_t
join(struct ip_prefix *p, size_t n)
{
	size_t top = 0;

	for (size_t i = 0; i < n; i++) {
		struct ip_prefix new = p[i];

		if (top > 0 && contains(&p[top - 1], &new))
			continue;
		while (top > 0 && are_halves(&p[top - 1], &new)) {
			new.bits--;
			new.ip = ip_mask(&new.ip, new.bits);
			top--;
		}
		p[top++] = new;
	}
	return top;
}

static struct ip_prefix
floor_of(const struct ip_prefix *p)
{
	unsigned bits = ip_is_v4(&p->ip) ? V4_FLOOR : V6_FLOOR;

	if (p->bits <= bits)
		return *p;
	return (struct ip_prefix) { .ip = ip_mask(&p->ip, bits), .bits = (uint8_t)bits };
}

/* From `i` on, how many stand in the same network as the first? */
static size_t
network_size(const struct ip_prefix *p, size_t i, size_t n, struct ip_prefix *ret_net)
{
	size_t end = i + 1;

	*ret_net = floor_of(&p[i]);
	while (end < n && contains(ret_net, &p[end]))
		end++;
	return end - i;
}

/* How many networks have at least `least` of them, and may be covered: what one pass with that would save. */
static size_t
cover(struct ip_prefix *p, size_t n, size_t least, size_t budget, bool (*may_cover)(const struct ip_prefix *p, void *arg),
	void *arg)
{
	size_t to = 0, left = n;

	for (size_t i = 0; i < n;) {
		struct ip_prefix net;
		size_t size = network_size(p, i, n, &net);

		if (size >= least && left > budget && may_cover(&net, arg)) {
			p[to++] = net;
			left -= size - 1;
		} else {
			memmove(&p[to], &p[i], size * sizeof(p[0]));
			to += size;
		}
		i += size;
	}
	return to;
}

size_t
compact(struct ip_prefix *p, size_t n, size_t budget, bool (*may_cover)(const struct ip_prefix *p, void *arg), void *arg)
{
	qsort(p, n, sizeof(p[0]), compare);
	n = join(p, n);
	/* 256 in a /24 would have joined; each pass takes the networks that are at least half as full as the one before. */
	for (size_t least = 128; may_cover != NULL && n > budget && least >= COMPACT_HOSTS_MIN; least = least * 3 / 4)
		n = cover(p, n, least, budget, may_cover, arg);
	return n;
}
