/* SPDX-License-Identifier: ISC */
/*
 * blockset - blocks by prefix, in memory of fixed size
 *
 * What is to be blocked, until when, and how: shared by what decides, what remembers, and what writes.  A hash of
 * prefixes with a random key, sized at the start; adding, finding and removing take the same time however many there
 * are.
 */
#ifndef LIB_BLOCKSET_H
#define LIB_BLOCKSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define BLOCK_ID_MAX 16 /* evidence id, letters and digits, with the final NUL */

enum block_kind {
	BLOCK_DENY, /* closed without a word */
	BLOCK_EXPLAIN, /* a 421 with the evidence id */
	BLOCK_THROTTLE, /* two connections at a time, more get a 421 */
};
#define BLOCK_KINDS 3

struct block {
	struct ip_prefix prefix;
	enum block_kind kind;
	mono_t until;
	char id[BLOCK_ID_MAX];
};

struct blockset;

/* For up to `max` blocks (1..10,000,000).  Returns 0, -EINVAL, -ENOMEM, or what getrandom(2) says. */
int blockset_new(size_t max, struct blockset **ret);
void blockset_free(struct blockset *s); /* NULL is allowed */

/* Put in or replace.  Returns 0 or -ENOSPC. */
int blockset_put(struct blockset *s, const struct block *b);

/* Returns whether it was there. */
bool blockset_remove(struct blockset *s, const struct ip_prefix *p);

/* Borrowed until the next change; NULL when there is none of exactly that prefix. */
const struct block *blockset_find(const struct blockset *s, const struct ip_prefix *p);

/* The block of the longest prefix that contains `ip` and is not over at `now`, or NULL. */
const struct block *blockset_match(const struct blockset *s, const struct ip *ip, mono_t now);

size_t blockset_count(const struct blockset *s);

/* Walk: `cursor` begins at 0; NULL at the end.  Blocks put in meanwhile may be met or not; any may be removed
 * meanwhile. */
const struct block *blockset_next(const struct blockset *s, size_t *cursor);

#endif
