/* SPDX-License-Identifier: ISC */
/*
 * tcprules_swap - a new cdb takes the place of the old one
 *
 * Only when it is whole, when the administrator's part of it is what it was, when it has as many rules of ours as
 * were written, and when nobody has touched the rules or the cdb since they were looked at.
 */
#ifndef ACTIONS_TCPRULES_SWAP_H
#define ACTIONS_TCPRULES_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "actions/tcprules_work.h"

struct tcprules_swap {
	int dir;
	const char *rules; /* path */
	const char *name, *new_name; /* in `dir` */
	const struct stat *old; /* the cdb, as it was when the work began */
	const struct tcprules_built *built;
	/* results */
	struct stat in_place;
	size_t theirs; /* rules of the administrator */
};

/* Returns 0 (also when the old one is just the same, and stays), -EAGAIN when somebody has touched the files,
 * -EBADMSG when the new one is not whole, -ESTALE when the old one is not made of these rules, or -errno. */
int tcprules_swap(struct tcprules_swap *s);

/* The same file, and not written to since? */
bool tcprules_same(const struct stat *a, const struct stat *b);

bool tcprules_newer(const struct timespec *a, const struct timespec *b);

#endif
