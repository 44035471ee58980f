/* SPDX-License-Identifier: ISC */
/*
 * logmarks - where each log was read up to, in a file
 *
 * One small file, replaced whole; of the format of this build, with a checksum: one that is broken, or of another
 * version, is as good as none.
 */
#ifndef PROBES_LOGMARKS_H
#define PROBES_LOGMARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/schema.h"
#include "probes/logtail.h"

#define LOGMARKS_FILE "logs.pos"
#define LOGMARKS_MAX (3 * CFG_LIST_MAX)

struct logmark {
	char path[CFG_STRING_MAX];
	struct logtail_mark mark;
};

struct logmarks {
	uint32_t magic, n;
	struct logmark of[LOGMARKS_MAX];
	uint64_t sum; /* of all before */
};

/* Read `dir`/LOGMARKS_FILE.  Returns 0, or -errno (-ENOENT: there is none; -EBADMSG) with no marks in `ret`. */
int logmarks_read(int dir, struct logmarks *ret);

/* Returns 0 or -errno.  `m` is completed by it. */
int logmarks_write(int dir, struct logmarks *m);

/* The mark of this path, or NULL. */
const struct logtail_mark *logmarks_find(const struct logmarks *m, const char *path);

/* Room for one more; nothing happens when there is none. */
void logmarks_add(struct logmarks *m, const char *path, const struct logtail_mark *mark);

#endif
