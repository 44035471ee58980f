/* SPDX-License-Identifier: ISC */
/*
 * protected - the last look before a block is written: does it touch an address that nobody may block?
 *
 * What decides has looked already; this is for the case that it was wrong.  Loopback is protected whatever the list
 * says.  Asking costs a binary search.
 */
#ifndef ACTIONS_PROTECTED_H
#define ACTIONS_PROTECTED_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/ip.h"

#define PROTECTED_MAX 20000

struct protected_range {
	struct ip first, last;
};

/* Large: not for the stack. */
struct protected {
	size_t n;
	struct protected_range range[PROTECTED_MAX]; /* sorted; none overlaps another */
};

/* These and loopback, in place of those before.  Returns how many found no room. */
size_t protected_set(struct protected *ret, const struct ip_prefix *list, size_t n);

/* Does `p` contain one of them, or one of them `p`? */
bool protected_touches(const struct protected *t, const struct ip_prefix *p);

#endif
