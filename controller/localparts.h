/* SPDX-License-Identifier: ISC */
/*
 * localparts - does the local part of an address look made up?
 *
 * POSIX extended regular expressions, without regard to case, against the first LOCALPARTS_LOOKED bytes.  No pattern
 * may be costly: copies that its repeats make are bounded, and \1 to \9, which have no bound, are not taken.
 */
#ifndef CONTROLLER_LOCALPARTS_H
#define CONTROLLER_LOCALPARTS_H

#include <stddef.h>

#include "controller/config.h"

#define LOCALPARTS_LOOKED 64 /* RFC 5321, 4.5.3.1.1: no local part is longer */
#define LOCALPARTS_COST_MAX 256

struct localparts;

/* Would it be taken?  Returns 0, or -EINVAL with the reason. */
int localparts_test(const char *pattern, struct err *why);

/* Compile all of them; what can't be is left out.  Returns 0 or -ENOMEM. */
int localparts_new(const struct config_localparts *c, struct localparts **ret);
void localparts_free(struct localparts *l); /* NULL is allowed */

/* The index of the first pattern that matches, or -1.  Any bytes. */
int localparts_match(const struct localparts *l, const char *local, size_t len);

#endif
