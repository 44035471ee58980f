/* SPDX-License-Identifier: ISC */
/*
 * offence - who is over a limit now, since when, and how often was he refused for it?
 *
 * Pure: no clock, no I/O, no globals; no allocation after offence_new().  The evidence behind a refusal: one id for
 * all refusals of one key, from the first one until the key has been quiet for longer than the time of its limit.
 * What happens after that is another offence, with another id.
 *
 * There is room for OFFENCES_MAX; one more ends that which has been quiet for longest.  What there is to tell is
 * told through a callback, which may say "not now": then it is told later, in the state it has then.
 */
#ifndef CONTROLLER_OFFENCE_H
#define CONTROLLER_OFFENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/store.h"
#include "lib/clock.h"

#define OFFENCES_MAX 4096
#define OFFENCE_ROW_EVERY_MS 5000
#define OFFENCE_QUIET_MS 60000 /* ends one against a limit that has no time */

enum offence_news {
	OFFENCE_BEGAN,
	OFFENCE_GOES_ON, /* the numbers have changed */
	OFFENCE_ENDED, /* row->ended says when; it is not told again */
};

/* Returns false for "not now"; OFFENCE_ENDED is then told later as well, but not when its room is needed. */
typedef bool offence_tell(const struct store_offence *row, enum offence_news news, void *arg);

struct offences;

/* Returns 0 or -ENOMEM. */
int offence_new(offence_tell *tell, void *arg, struct offences **ret);
void offence_free(struct offences *o); /* NULL is allowed; nothing is told */

/* The key `fingerprint` was refused by `check` under a limit of `window_ms`.  Returns its row: counted and with the
 * times set; the first time (row->id is "") all else is for the caller to fill.  offence_flush() must follow. */
struct store_offence *offence_refused(struct offences *o, uint64_t fingerprint, enum check check, int64_t window_ms,
	mono_t now, wall_t wall);

/* The row of the last offence_refused() is filled: tell it, unless it was told within OFFENCE_ROW_EVERY_MS. */
void offence_flush(struct offences *o, mono_t now);

/* Tell what is due.  Call it about once a second. */
void offence_step(struct offences *o, mono_t now, wall_t wall);

/* All of them end: we do. */
void offence_end_all(struct offences *o, wall_t wall);

unsigned offence_count(const struct offences *o);

#endif
