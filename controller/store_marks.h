/* SPDX-License-Identifier: ISC */
/*
 * store_marks - the database of counters, for the recorder
 *
 * A file of its own beside the history: it is written all the time, nothing in it is worth a person's look, and what
 * becomes of it must not touch the history.  So it is not worth repairing either: a damaged one is removed, and the
 * worst that follows is that a restart finds nothing.  WAL with synchronous=NORMAL: kill -9 loses nothing that was
 * committed, a power loss the last seconds, and the disk is not made to wait for every half second's marks.
 */
#ifndef CONTROLLER_STORE_MARKS_H
#define CONTROLLER_STORE_MARKS_H

#include "controller/markrow.h"
#include "lib/err.h"

#define MARKS_FILE "marks.db"
#define MARKS_STEP_MAX 1000

struct marks_store;

/* Open or create DIR/marks.db; a damaged one is removed and a new one begun, which is told in `note`.  Returns 0,
 * -EAGAIN (locked by another), or -Exxx with the reason.  `*ret_new`: it is empty, whether it was there before or
 * not. */
int marks_store_open(const char *dir, struct marks_store **ret, bool *ret_new, struct err *note, struct err *why);
void marks_store_close(struct marks_store *s); /* NULL is allowed */

/* Is the open file still the one at its path? */
bool marks_store_is_in_place(const struct marks_store *s);

/* All return 0; -EAGAIN; -EUCLEAN (damaged: close and open again); or -EIO, -ENOSPC.  Between begin and commit; after
 * an error, marks_store_rollback(). */
int marks_store_begin(struct marks_store *s, struct err *why);
int marks_store_commit(struct marks_store *s, struct err *why);
void marks_store_rollback(struct marks_store *s);

/* From now on fingerprints are made with this key.  When it is another than before, all rows are useless and go. */
int marks_store_use_key(struct marks_store *s, uint64_t key, struct err *why);

/* Put it over the row of the same key, or remove that one if `row` has no marks. */
int marks_store_put(struct marks_store *s, const struct marks_row *row, const uint32_t *marks, struct err *why);

/* Call `each` for the rows behind `after`, by fingerprint; it returns false to stop.  `*ret_end`: there are no more. */
int marks_store_read(struct marks_store *s, int64_t after,
	bool (*each)(const struct marks_row *row, const uint32_t *marks, void *arg), void *arg, bool *ret_end,
	struct err *why);

/* Where a walk through all rows stands; zeroed to begin. */
struct marks_walk {
	bool begun;
	int64_t at; /* the last fingerprint that was looked at */
	uint64_t kept; /* rows of this walk */
	unsigned cut; /* in 1024ths: how much of what is left goes, for there are too many rows */
	uint64_t rows; /* at the end of the last walk */
};

/* Look at the next `looks` rows (at most MARKS_STEP_MAX), and remove those whose marks are out.  When a whole walk
 * has found more than `max` rows, the next one removes as many as are too many, whichever. */
int marks_store_trim(struct marks_store *s, struct marks_walk *w, unsigned looks, uint64_t max, uint64_t boot,
	mono_t mono, wall_t wall, struct err *why);

#endif
