/* SPDX-License-Identifier: ISC */
/*
 * msgset - the set of message numbers in a part of the queue, with the time each was first seen
 *
 * Counting creations and removals alone drifts: the same file can be met by a scan and by an event.  A
 * set makes both idempotent, so that the count is exact whatever the order.  A recount is mark and
 * sweep: begin, note every name met, end; names that were neither met nor announced in between are gone.
 *
 * About 36 bytes a message; the table doubles when it is full, which takes about 30 ms at a million.  Beyond
 * MSGSET_MAX names are counted but not remembered.  Numbers come from qmail, not from
 * strangers, so the hash needs no key.
 */
#ifndef PROBES_MSGSET_H
#define PROBES_MSGSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"

#define MSGSET_MAX (1u << 21)

struct msgset;

/* Returns 0 or -ENOMEM.  Caller frees with msgset_free(), which takes NULL too. */
int msgset_new(struct msgset **ret);
void msgset_free(struct msgset *s);

/* Messages there now. */
size_t msgset_count(const struct msgset *s);

/* When the message that is there longest was first seen.  Returns false when there is none. */
bool msgset_oldest(const struct msgset *s, mono_t *ret);

/* Is the message remembered? */
bool msgset_has(const struct msgset *s, unsigned dir, uint64_t number);

/* An event announced the message: returns whether it was new. */
bool msgset_created(struct msgset *s, unsigned dir, uint64_t number, mono_t now);

/* An event announced its removal: returns whether it was there. */
bool msgset_removed(struct msgset *s, unsigned dir, uint64_t number);

/* A recount.  Between begin and end, met() is called for each name found in the directories, and events
 * go on being told.  Before end, all events up to that moment must have been told. */
void msgset_recount_begin(struct msgset *s);
void msgset_met(struct msgset *s, unsigned dir, uint64_t number, mono_t now);

struct msgset_drift {
	size_t missed; /* there, but never announced */
	size_t phantom; /* announced, but not there */
};

/* The set is exact afterwards; returns what it had wrong before. */
struct msgset_drift msgset_recount_end(struct msgset *s);

#endif
