/* SPDX-License-Identifier: ISC */
/*
 * logtail - follows one log, line by line: none lost, none twice
 *
 * A log is a directory of multilog or svlogd (`current`, and what was rotated: `@LABEL.s`, `@LABEL.u`, `previous`), a
 * plain file, or a pipe.  A rotated file is read to its end, then those rotated after it, oldest first, then the new
 * one.  A file is known by its inode and its first bytes: an inode number alone is used again at once, and a
 * file that was copied and truncated keeps its own.  Truncated or rewritten, it is read from its start.
 *
 * Only whole lines are handed over: half of one waits for the rest; one of more than LOGLINE_MAX bytes, or one without
 * line feed at the end of a rotated file, is left out and counted, for a part of a line may read like another.
 *
 * Nothing here waits.  Events of inotify only say "look": what there is to do is found by looking, so a lost event or
 * an overflow costs a second, no line.  Memory: LOGTAIL_BUFFER and some KiB, and the names of a directory while it
 * is listed, LOGTAIL_NAMES_MAX at the most.
 *
 * Limits: lines that were written to a plain file between its last reading and its truncation are lost, and so are
 * whole files that were rotated and removed again between two looks.  When several processes write to a plain
 * file and go on writing to the old one after others have begun the new, the rest of those is lost.
 */
#ifndef PROBES_LOGTAIL_H
#define PROBES_LOGTAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

#define LOGTAIL_BUFFER 32768
#define LOGTAIL_NAMES_MAX 10000
#define LOGTAIL_HEAD 64 /* first bytes by which a file is known again */
#define LOGTAIL_NAME_MAX 32
#define LOGTAIL_BACKLOG 65536 /* bytes before the end of a log that is met for the first time */
#define LOGTAIL_MISSING_MS 2000 /* so long a file may be missing while it is rotated */

/* Where it stands, to be kept over a restart: the start of the first line that was not handed over. */
struct logtail_mark {
	uint64_t inode; /* 0: nothing is known */
	uint64_t offset;
	uint32_t head_n; /* <= LOGTAIL_HEAD */
	char head[LOGTAIL_HEAD];
	char done[LOGTAIL_NAME_MAX]; /* no rotated file of this name or a smaller one is news */
};

struct logtail_counts {
	uint64_t lines, bytes;
	uint64_t cut; /* lines that were too long */
	uint64_t halves; /* lines without end in a file that is done */
	uint64_t rotations, truncations;
	uint64_t gaps; /* where it stood was not found again */
};

/* A line without its line feed.  `old`: it stood there already when the log was opened. */
typedef void logtail_line(const char *line, size_t n, bool old, void *arg);

struct logtail;

/* `inotify` (-1: none) gets watches for what is followed; `path` is copied.  `mark`: go on there; NULL, or one that is
 * not found: begin LOGTAIL_BACKLOG before the end.  Opens nothing yet.  Returns 0 or -ENOMEM, -ENAMETOOLONG. */
int logtail_new(const char *path, int inotify, const struct logtail_mark *mark, struct logtail **ret);
void logtail_free(struct logtail *t);

/* Hand over what there is, about `budget` bytes at the most.  Returns 0 when all was read, LOGTAIL_MORE, or -Exxx when
 * the log can't be read now: call again later, nothing is forgotten. */
int logtail_step(struct logtail *t, mono_t now, size_t budget, logtail_line *each, void *arg, struct err *why);
#define LOGTAIL_MORE 1

/* The descriptor of a pipe, to wait for; else -1.  It may change with each step. */
int logtail_fd(const struct logtail *t);

/* Returns false when there is nothing to keep: a pipe, or nothing has been opened yet. */
bool logtail_where(const struct logtail *t, struct logtail_mark *ret);

const struct logtail_counts *logtail_counts(const struct logtail *t);

#endif
