/* SPDX-License-Identifier: ISC */
/*
 * recent - addresses that something good was seen of lately, each until a time
 *
 * Pure: no clock, no I/O, no allocation after recent_new().  An IPv4 address is kept as it is, an IPv6 address by its
 * /64.  When the table is full the one seen longest ago is forgotten.  Memory: 49 bytes for each of `max`; pages are
 * touched as they are used.
 */
#ifndef CONTROLLER_RECENT_H
#define CONTROLLER_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define RECENT_KEY_SIZE 16

struct recent;

/* `key`: random, for the hash.  Returns 0, -EINVAL or -ENOMEM. */
int recent_new(size_t max, const uint8_t key[RECENT_KEY_SIZE], struct recent **ret);
void recent_free(struct recent *t); /* NULL is allowed */

/* Never shortens what is there. */
void recent_add(struct recent *t, const struct ip *ip, mono_t until);

/* Is one of them in `p`, or `p` in one?  Hosts are looked up; a network is looked for among all, which takes a
 * millisecond. */
bool recent_find(const struct recent *t, const struct ip_prefix *p, mono_t now, struct ip_prefix *ret);

/* Walk over those in `p`, the newest first; `cursor` begins at RECENT_BEGIN.  False at the end. */
#define RECENT_BEGIN UINT64_MAX
bool recent_next(const struct recent *t, uint64_t *cursor, const struct ip_prefix *p, mono_t now,
	struct ip_prefix *ret);

#endif
