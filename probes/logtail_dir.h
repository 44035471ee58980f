/* SPDX-License-Identifier: ISC */
/*
 * logtail_dir - the files of a log directory, in the order in which they were written
 *
 * Private to logtail.c.
 */
#ifndef PROBES_LOGTAIL_DIR_H
#define PROBES_LOGTAIL_DIR_H

#include "probes/logtail.h"

struct logtail_name {
	char s[LOGTAIL_NAME_MAX];
	uint64_t inode;
};

struct logtail_list {
	struct logtail_name *name; /* oldest first */
	size_t n;
};

/* The rotated files: "@LABEL.s" and "@LABEL.u" in order, then "previous", if it is none of them.  Caller frees with
 * logtail_list_free().  Returns 0 or -errno; -E2BIG for more than LOGTAIL_NAMES_MAX. */
int logtail_list_rotated(const char *dir, struct logtail_list *ret);
void logtail_list_free(struct logtail_list *l);

/* The index of this inode, or -1. */
long logtail_list_find(const struct logtail_list *l, uint64_t inode);

#endif
