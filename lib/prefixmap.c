/* SPDX-License-Identifier: ISC */
/*
 * Two arrays.  `at` holds the prefixes, at their numbers; free numbers are chained through it.  `slot` is the hash
 * table: linear probing, half empty, each slot with 32 bits of the hash, so that most comparisons never touch `at`,
 * and a slot's home is known without hashing again when the ones behind a removed one move up.
 */
#include "lib/prefixmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/siphash.h"

#define LENGTHS 129
#define FREE_BITS 255 /* in place of a length: the number is free */

struct slot {
	uint32_t tag; /* of the hash */
	uint32_t number; /* plus one; 0: empty */
};

struct prefixmap {
	struct ip_prefix *at; /* a free one holds the next free number in its first bytes */
	struct slot *slot;
	uint32_t max, slots;
	uint32_t count, end, free; /* `free`: head of the chain below `end`, or PREFIXMAP_NONE */
	uint32_t of_length[LENGTHS];
	uint64_t in_use[LENGTHS / 64 + 1]; /* lengths that `of_length` counts, as bits */
	uint64_t key0, key1;
};

static uint32_t
tag_of(const struct prefixmap *m, const struct ip_prefix *p)
{
	uint8_t bytes[sizeof(p->ip.b) + 1];

	memcpy(bytes, p->ip.b, sizeof(p->ip.b));
	bytes[sizeof(p->ip.b)] = p->bits;
	return (uint32_t)siphash(bytes, sizeof(bytes), m->key0, m->key1);
}

static uint32_t
home_of(const struct prefixmap *m, uint32_t tag)
{
	return (uint32_t)((uint64_t)tag * m->slots >> 32);
}

static uint32_t
next_slot(const struct prefixmap *m, uint32_t i)
{
	return i + 1 < m->slots ? i + 1 : 0;
}

static bool
is_same(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits == b->bits && ip_equal(&a->ip, &b->ip);
}

/* The slot of this prefix, or the empty one where it would be. */
static uint32_t
find_slot(const struct prefixmap *m, const struct ip_prefix *p, uint32_t tag)
{
	uint32_t i = home_of(m, tag);

	while (m->slot[i].number != 0
		&& (m->slot[i].tag != tag || !is_same(&m->at[m->slot[i].number - 1], p)))
		i = next_slot(m, i);
	return i;
}

uint32_t
prefixmap_find(const struct prefixmap *m, const struct ip_prefix *p)
{
	/* An empty slot holds 0, and 0 - 1 is PREFIXMAP_NONE. */
	return m->slot[find_slot(m, p, tag_of(m, p))].number - 1;
}

static uint32_t
take_number(struct prefixmap *m)
{
	uint32_t n = m->free;

	if (n == PREFIXMAP_NONE)
		return m->end < m->max ? m->end++ : PREFIXMAP_NONE;
	memcpy(&m->free, m->at[n].ip.b, sizeof(m->free));
	return n;
}

static void
count_length(struct prefixmap *m, unsigned bits, bool one_more)
{
	m->of_length[bits] += one_more ? 1 : UINT32_MAX;
	m->count += one_more ? 1 : UINT32_MAX;
	if (m->of_length[bits] == 0)
		m->in_use[bits / 64] &= ~(UINT64_C(1) << bits % 64);
	else
		m->in_use[bits / 64] |= UINT64_C(1) << bits % 64;
}

uint32_t
prefixmap_add(struct prefixmap *m, const struct ip_prefix *p)
{
	uint32_t tag = tag_of(m, p), i = find_slot(m, p, tag);

	if (m->slot[i].number != 0)
		return m->slot[i].number - 1;
	uint32_t n = take_number(m);
	if (n == PREFIXMAP_NONE)
		return n;
	m->at[n] = *p;
	m->slot[i] = (struct slot) { .tag = tag, .number = n + 1 };
	count_length(m, p->bits, true);
	return n;
}

/* Does the way from `home` to `at` lead over `hole`?  The table is a ring. */
static bool
is_between(uint32_t home, uint32_t hole, uint32_t at)
{
	return home <= at ? home <= hole && hole < at : home <= hole || hole < at;
}

/* Move up what was pushed behind the hole, so that every search still meets no empty slot before its goal. */
static void
close_hole(struct prefixmap *m, uint32_t hole)
{
	for (uint32_t i = next_slot(m, hole); m->slot[i].number != 0; i = next_slot(m, i)) {
		if (!is_between(home_of(m, m->slot[i].tag), hole, i))
			continue;
		m->slot[hole] = m->slot[i];
		hole = i;
	}
	m->slot[hole].number = 0;
}

uint32_t
prefixmap_remove(struct prefixmap *m, const struct ip_prefix *p)
{
	uint32_t i = find_slot(m, p, tag_of(m, p)), n = m->slot[i].number - 1;

	if (n == PREFIXMAP_NONE)
		return n;
	count_length(m, p->bits, false);
	close_hole(m, i);
	/* `p` may lie in `at` itself, so this is last. */
	memcpy(m->at[n].ip.b, &m->free, sizeof(m->free));
	m->at[n].bits = FREE_BITS;
	m->free = n;
	return n;
}

/* The longest length in use of at most `bits`, or -1. */
static int
length_in_use(const struct prefixmap *m, int bits)
{
	if (bits < 0)
		return -1;
	int word = bits / 64;
	uint64_t w = m->in_use[word] & UINT64_MAX >> (63 - bits % 64);

	while (w == 0 && word > 0)
		w = m->in_use[--word];
	return w == 0 ? -1 : 64 * word + 63 - __builtin_clzll(w);
}

uint32_t
prefixmap_match(const struct prefixmap *m, const struct ip *ip, int bits)
{
	while ((bits = length_in_use(m, bits)) >= 0) {
		struct ip_prefix p = { .ip = ip_mask(ip, (unsigned)bits), .bits = (uint8_t)bits };
		uint32_t n = prefixmap_find(m, &p);

		if (n != PREFIXMAP_NONE)
			return n;
		bits--;
	}
	return PREFIXMAP_NONE;
}

const struct ip_prefix *
prefixmap_at(const struct prefixmap *m, uint32_t number)
{
	return number < m->end && m->at[number].bits != FREE_BITS ? &m->at[number] : NULL;
}

size_t
prefixmap_count(const struct prefixmap *m)
{
	return m->count;
}

uint32_t
prefixmap_end(const struct prefixmap *m)
{
	return m->end;
}

int
prefixmap_new(size_t max, const uint8_t key[PREFIXMAP_KEY_SIZE], struct prefixmap **ret)
{
	if (max < 1 || max > PREFIXMAP_MAX)
		return -EINVAL;
	struct prefixmap *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->max = (uint32_t)max;
	m->slots = 2 * m->max;
	m->free = PREFIXMAP_NONE;
	memcpy(&m->key0, key, sizeof(m->key0));
	memcpy(&m->key1, key + sizeof(m->key0), sizeof(m->key1));
	m->at = calloc(max, sizeof(m->at[0]));
	m->slot = calloc(m->slots, sizeof(m->slot[0]));
	if (m->at == NULL || m->slot == NULL) {
		prefixmap_free(m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

void
prefixmap_free(struct prefixmap *m)
{
	if (m == NULL)
		return;
	free(m->at);
	free(m->slot);
	free(m);
}
