/* SPDX-License-Identifier: ISC */
/*
 * marks - the engine's part in keeping counters across restarts
 *
 * Twice a second all keys that have changed since they were last said are said to the recorder (recorder_marks.h), in
 * steps of one message, so that no turn is longer than a fraction of a millisecond; what the socket does not take
 * waits in the table, where a key that changes again meanwhile is still one key.  So after kill -9 of everything the
 * marks of the last second are missing at most, as long as the disk keeps up, and a slow disk costs nothing but this.
 *
 * At the start the recorder gives back what is stored, and each table takes it in beside the marks that come in
 * meanwhile.  The hash keys of the tables must be the same for that: marks_key().
 */
#ifndef CONTROLLER_MARKS_H
#define CONTROLLER_MARKS_H

#include <event2/event.h>
#include <jansson.h>

#include "controller/markrow.h"
#include "controller/rate.h"
#include "controller/turn.h"
#include "lib/err.h"

#define MARKS_KEY_FILE "rate.key"

/* The key of the hash, from DIR/rate.key, or a new one, which is written there.  When it can't be (then counters do
 * not outlive this process) the reason is in `why`, and the return value -Exxx; `ret` is good all the same.  What is
 * there and could have been read by others is replaced.  Returns -ENODATA with `ret` untouched when there is no
 * randomness. */
int marks_key(const char *dir, uint8_t ret[RATE_KEY_SIZE], struct err *why);

/* The key of one of several tables, so that no two have a fingerprint in common. */
void marks_table_key(const uint8_t key[RATE_KEY_SIZE], unsigned table, uint8_t ret[RATE_KEY_SIZE]);

struct marks;

/* `fd` stays the caller's; `turn` and the `n` tables (at most MARKS_TABLES, always in the same order) are borrowed.
 * `key` is that of marks_key().  Returns 0 or -ENOMEM. */
int marks_new(struct event_base *base, struct turn *turn, int fd, struct rate *const table[], unsigned n,
	const uint8_t key[RATE_KEY_SIZE], const uint8_t boot_id[CLOCK_BOOT_ID_SIZE], struct marks **ret);
void marks_free(struct marks *m); /* NULL is allowed */

/* Say all that has changed, waiting for the recorder for at most `ms` altogether.  For the end. */
void marks_flush(struct marks *m, int64_t ms);

/* {"ok": ..., "text": ..., "loading": ..., "loaded": ..., "said": ...}.  Caller owns the reference. */
json_t *marks_describe(const struct marks *m);

#endif
