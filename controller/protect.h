/* SPDX-License-Identifier: ISC */
/*
 * protect - the addresses that nothing may ever block
 *
 * A table: made at the start, then only looked at.  Protected is not own: a stranger on a protected address can be refused by a
 * limit or for load; what never happens is that its address is kept out.
 */
#ifndef CONTROLLER_PROTECT_H
#define CONTROLLER_PROTECT_H

#include <stdbool.h>

#include "lib/ip.h"

#define PROTECT_MAX 256

struct protect {
	unsigned n;
	struct ip_prefix prefix[PROTECT_MAX];
};

/* Loopback, and the addresses that this machine has now.  Returns 0, or -Exxx when the machine's can't be had or are more than
 * fit: then `ret` has those that could. */
int protect_load(struct protect *ret);

bool protect_is_static(const struct protect *p, const struct ip *ip);

#endif
