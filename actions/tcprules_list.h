/* SPDX-License-Identifier: ISC */
/*
 * tcprules_list - CDB.spillway, which says until when each of our denials in a cdb is meant
 *
 * A line a block: prefix, end in seconds since 1970, evidence id or "-".  A rule of tcpserver has no end of its own;
 * this is what `spillway neutral --offline` goes by.  The reader passes over every line that is not just of this
 * form.
 */
#ifndef ACTIONS_TCPRULES_LIST_H
#define ACTIONS_TCPRULES_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "lib/blockset.h"

#define TCPRULES_LIST_HEAD "# what spillway put into the cdb: prefix, end in seconds since 1970, evidence id\n"
#define TCPRULES_LIST_LINE_MAX (IP_PREFIX_TEXT_MAX + BLOCK_ID_MAX + 24)

/* Write the line of `b`; returns its length, no NUL behind. */
size_t tcprules_list_line(const struct block *b, int64_t end_s, char ret[TCPRULES_LIST_LINE_MAX]);

/* Put what is not over at `now`, which is `wall_s` on the wall clock, into `ret`.  Returns the number of lines that
 * were neither a comment nor understood. */
size_t tcprules_list_read(const char *text, size_t n, int64_t wall_s, mono_t now, struct blockset *ret);

#endif
