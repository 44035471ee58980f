/* SPDX-License-Identifier: ISC */
/*
 * prefixmap - gives prefixes numbers, in memory of fixed size
 *
 * A hash from a prefix to a number below `max`.  Whoever uses it keeps what belongs to a prefix in arrays of their
 * own, at that number, which stays with its prefix until that is removed, however many others come and go.  The hash
 * is keyed, so that nobody can prepare collisions; removing leaves no tombstones, so that a map which has seen
 * millions of prefixes is as quick as a new one.
 *
 * A prefix that contains an address is found by trying the lengths that are in use, and no others: a handful.
 *
 * Memory: 33 bytes for each of `max`, asked for at the start, and none later; pages are touched as they are used.
 * Not thread safe.  Does not log.
 */
#ifndef LIB_PREFIXMAP_H
#define LIB_PREFIXMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

#define PREFIXMAP_MAX 100000000
#define PREFIXMAP_KEY_SIZE 16
#define PREFIXMAP_NONE UINT32_MAX

struct prefixmap;

/* For up to `max` prefixes (1..PREFIXMAP_MAX).  Returns 0, -EINVAL or -ENOMEM. */
int prefixmap_new(size_t max, const uint8_t key[PREFIXMAP_KEY_SIZE], struct prefixmap **ret);
void prefixmap_free(struct prefixmap *m); /* NULL is allowed */

/* The number of exactly this prefix, or PREFIXMAP_NONE. */
uint32_t prefixmap_find(const struct prefixmap *m, const struct ip_prefix *p);

/* The same, and where there is none, a new one: a number that is free.  PREFIXMAP_NONE when all are taken. */
uint32_t prefixmap_add(struct prefixmap *m, const struct ip_prefix *p);

/* Returns the number that it had, which is free from now on, or PREFIXMAP_NONE. */
uint32_t prefixmap_remove(struct prefixmap *m, const struct ip_prefix *p);

/* The longest prefix of at most `bits` bits that contains `ip`, or PREFIXMAP_NONE.  Begin with 128; the next one is
 * found with `bits` one less than the length of the last; a `bits` below zero finds none. */
uint32_t prefixmap_match(const struct prefixmap *m, const struct ip *ip, int bits);

/* The prefix with this number; NULL when the number is free. */
const struct ip_prefix *prefixmap_at(const struct prefixmap *m, uint32_t number);

size_t prefixmap_count(const struct prefixmap *m);

/* All numbers that are taken are below this one: for walks, which may remove what they meet. */
uint32_t prefixmap_end(const struct prefixmap *m);

#endif
