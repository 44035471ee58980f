/* SPDX-License-Identifier: ISC */
/*
 * Entries live in an array and are chained in the order of arrival, so that the oldest is the first of
 * the chain.  `slot` is an open-addressing index into it (linear probing, backward-shift deletion, at most
 * three quarters full).  Freed entries form a list of their own through `next`.
 */
#include "probes/msgset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define SLOTS_MIN 4096u

struct entry {
	uint64_t number;
	mono_t seen;
	uint32_t prev, next;
	uint16_t dir;
	uint8_t round; /* of the recount that last met it */
	bool unannounced; /* met by a recount, no event yet */
};

struct msgset {
	uint32_t *slot; /* index into entry[], or NONE */
	size_t slots; /* a power of two */
	struct entry *entry;
	uint32_t cap, used; /* of entry[] */
	uint32_t free; /* first free entry below `used` */
	uint32_t first, last; /* in order of arrival */
	size_t count; /* chained */
	size_t beyond; /* counted, not remembered */
	uint8_t round;
	size_t met_beyond;
};

static size_t
home_slot(const struct msgset *s, unsigned dir, uint64_t number)
{
	uint64_t h = (number ^ (uint64_t)dir << 48) * UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */

	return (size_t)(h >> 32) & (s->slots - 1);
}

/* The slot that holds the message, or the free slot where it belongs. */
static size_t
find_slot(const struct msgset *s, unsigned dir, uint64_t number)
{
	size_t i = home_slot(s, dir, number);

	while (s->slot[i] != NONE) {
		const struct entry *e = &s->entry[s->slot[i]];

		if (e->number == number && e->dir == dir)
			break;
		i = (i + 1) & (s->slots - 1);
	}
	return i;
}

static int
resize(struct msgset *s, size_t slots)
{
	uint32_t cap = (uint32_t)(slots / 4 * 3);
	struct entry *entry = realloc(s->entry, cap * sizeof(*entry));

	if (entry == NULL)
		return -ENOMEM;
	s->entry = entry;
	uint32_t *slot = malloc(slots * sizeof(*slot));
	if (slot == NULL)
		return -ENOMEM; /* the larger array does no harm */
	memset(slot, 0xff, slots * sizeof(*slot));
	free(s->slot);
	s->slot = slot;
	s->slots = slots;
	s->cap = cap;
	for (uint32_t i = s->first; i != NONE; i = s->entry[i].next)
		s->slot[find_slot(s, s->entry[i].dir, s->entry[i].number)] = i;
	return 0;
}

int
msgset_new(struct msgset **ret)
{
	struct msgset *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->first = s->last = s->free = NONE;
	if (resize(s, SLOTS_MIN) < 0) {
		msgset_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void
msgset_free(struct msgset *s)
{
	if (s == NULL)
		return;
	free(s->slot);
	free(s->entry);
	free(s);
}

size_t
msgset_count(const struct msgset *s)
{
	return s->count + s->beyond;
}

bool
msgset_oldest(const struct msgset *s, mono_t *ret)
{
	if (s->first == NONE)
		return false;
	*ret = s->entry[s->first].seen;
	return true;
}

static uint32_t
take_entry(struct msgset *s)
{
	if (s->free != NONE) {
		uint32_t i = s->free;

		s->free = s->entry[i].next;
		return i;
	}
	if (s->used == s->cap && (s->used >= MSGSET_MAX || resize(s, s->slots * 2) < 0))
		return NONE;
	return s->used++;
}

/* Append a message that is not in the set.  NULL: no room, count it only. */
static struct entry *
append(struct msgset *s, unsigned dir, uint64_t number, mono_t now)
{
	uint32_t i = take_entry(s);

	if (i == NONE)
		return NULL;
	s->entry[i] = (struct entry) {
		.number = number, .seen = now, .dir = (uint16_t)dir, .round = s->round,
		.prev = s->last, .next = NONE,
	};
	if (s->last == NONE)
		s->first = i;
	else
		s->entry[s->last].next = i;
	s->last = i;
	s->slot[find_slot(s, dir, number)] = i;
	s->count++;
	return &s->entry[i];
}

/* Close the gap at slot `i`: move back every follower that is not at home there (Knuth, 6.4, algorithm R). */
static void
empty_slot(struct msgset *s, size_t i)
{
	size_t mask = s->slots - 1, j = i;

	for (;;) {
		j = (j + 1) & mask;
		if (s->slot[j] == NONE)
			break;
		const struct entry *e = &s->entry[s->slot[j]];
		size_t home = home_slot(s, e->dir, e->number);
		if (((j - home) & mask) >= ((j - i) & mask)) {
			s->slot[i] = s->slot[j];
			i = j;
		}
	}
	s->slot[i] = NONE;
}

static void
drop(struct msgset *s, uint32_t i)
{
	struct entry *e = &s->entry[i];

	empty_slot(s, find_slot(s, e->dir, e->number));
	if (e->prev == NONE)
		s->first = e->next;
	else
		s->entry[e->prev].next = e->next;
	if (e->next == NONE)
		s->last = e->prev;
	else
		s->entry[e->next].prev = e->prev;
	e->next = s->free;
	s->free = i;
	s->count--;
}

bool
msgset_has(const struct msgset *s, unsigned dir, uint64_t number)
{
	return s->slot[find_slot(s, dir, number)] != NONE;
}

bool
msgset_created(struct msgset *s, unsigned dir, uint64_t number, mono_t now)
{
	uint32_t i = s->slot[find_slot(s, dir, number)];

	if (i != NONE) {
		s->entry[i].unannounced = false;
		s->entry[i].round = s->round;
		return false;
	}
	if (append(s, dir, number, now) == NULL)
		s->beyond++;
	return true;
}

bool
msgset_removed(struct msgset *s, unsigned dir, uint64_t number)
{
	uint32_t i = s->slot[find_slot(s, dir, number)];

	if (i != NONE) {
		drop(s, i);
		return true;
	}
	if (s->beyond == 0)
		return false;
	s->beyond--;
	return true;
}

void
msgset_recount_begin(struct msgset *s)
{
	s->round++;
	s->met_beyond = 0;
}

void
msgset_met(struct msgset *s, unsigned dir, uint64_t number, mono_t now)
{
	uint32_t i = s->slot[find_slot(s, dir, number)];
	struct entry *e;

	if (i != NONE)
		s->entry[i].round = s->round;
	else if ((e = append(s, dir, number, now)) != NULL)
		e->unannounced = true;
	else
		s->met_beyond++;
}

struct msgset_drift
msgset_recount_end(struct msgset *s)
{
	struct msgset_drift drift = { 0 };
	uint32_t next;

	for (uint32_t i = s->first; i != NONE; i = next) {
		struct entry *e = &s->entry[i];

		next = e->next;
		if (e->round != s->round) {
			drop(s, i);
			drift.phantom++;
		} else if (e->unannounced) {
			e->unannounced = false;
			drift.missed++;
		}
	}
	s->beyond = s->met_beyond;
	return drift;
}
