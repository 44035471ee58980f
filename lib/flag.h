/* SPDX-License-Identifier: ISC */
/*
 * flag - control/overloaded: ours, or an operator's?
 *
 * Our flag is a regular file whose first line begins with FLAG_MARK, names the second at which we wrote it,
 * and whose modification time is exactly that second:
 *
 *	spillway overloaded since 1795220246 2026-11-21T00:17:26Z e4k2mq7h: todo 523, limit 100, for 2s
 *
 * Any other flag is an operator's pin: an empty one, one with other text, one of another kind, and one
 * of ours that somebody touched or edited since (its modification time has moved).  No clock is asked, so a jump
 * of the clock makes nothing ours and nothing theirs.
 */
#ifndef LIB_FLAG_H
#define LIB_FLAG_H

#include <stdint.h>

#include "lib/reading.h"

#define FLAG_PATH "control/overloaded" /* from the qmail home */
#define FLAG_NAME "overloaded"
#define FLAG_MARK "spillway "
#define FLAG_LINE_MAX 320

enum flag_owner {
	FLAG_ABSENT,
	FLAG_OURS,
	FLAG_PIN,
};

/* Look at `path` from `dirfd`, never waiting and never following more than qmail's own tools do.  What can't
 * be read is not ours.  `ret_since` (NULL allowed) gets the second of our flag, else 0.
 * Returns the owner, or -Exxx when nothing can be said (no permission to search, I/O error). */
int flag_look(int dirfd, const char *path, int64_t *ret_since);

/* Write our first line.  `episode` is printable.  Returns its length. */
int flag_line(enum level level, int64_t since, const char *episode, const struct reason *why,
	char ret[FLAG_LINE_MAX]);

#endif
