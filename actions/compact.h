/* SPDX-License-Identifier: ISC */
/*
 * compact - the same addresses in fewer prefixes
 *
 * Pure.  Two halves of a prefix that are both in the set become that prefix, as far as it goes, which changes nothing.  When there
 * are still more than the caller has room for, /24s (IPv6: /48s) with many of them become one prefix each, the fullest
 * first, for they cover the fewest others; never one that the caller says must not be covered, and never one with
 * fewer than COMPACT_HOSTS_MIN.
 */
#ifndef ACTIONS_COMPACT_H
#define ACTIONS_COMPACT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/ip.h"

#define COMPACT_HOSTS_MIN 5

/* Reorder and shorten `p`, of `n` prefixes, in place; more than `budget` are left only when no more can be had.  `may_cover` is
 * asked of each prefix that would cover more than it stands for (NULL: none may).  Returns the number that are left. */
size_t compact(struct ip_prefix *p, size_t n, size_t budget, bool (*may_cover)(const struct ip_prefix *p, void *arg),
	void *arg);

#endif
