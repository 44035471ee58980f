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

#include "actions/block.h"
#include "lib/ip.h"

struct protected {
	size_t n;
	struct {
		struct ip first, last;
	} range[BLOCK_PROTECTED_MAX + 2]; /* sorted; none overlaps another */
};

void protected_set(struct protected *ret, const struct block_cfg *cfg);

/* Does `p` contain one of them, or one of them `p`? */
bool protected_touches(const struct protected *t, const struct ip_prefix *p);

#endif
