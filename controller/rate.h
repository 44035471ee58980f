/* SPDX-License-Identifier: ISC */
/*
 * rate - is this happening too often?
 *
 * Pure: no clock, no I/O, no globals, no allocation after rate_new().  Same calls, same answers.
 *
 * A limit says: of the values that match this pattern, each may have `count` marks in every window of `window_ms`.
 * Limits stand in classes; of a class the first limit whose pattern matches counts, and classes are separate name
 * spaces.
 *
 * Modes of a class
 *	window	the exact sliding window.  A mark counts for window_ms: at `now` those with
 *		now - mark < window_ms.  Refused marks count too: who goes on hammering stays refused.  The newest
 *		count + 1 marks are kept, which makes the verdict exact; the n of an answer is exact up to
 *		count + 1 and stays there.
 *	leaky	the same, but a mark that is refused is not kept: one gets in again as soon as the oldest is out.
 *	gcra	a token bucket: `count` at once, then one every window_ms / count (the generic cell rate
 *		algorithm, ITU-T I.371).  Refused marks do not count.  n is the level of the bucket, rounded up.
 *
 * Addresses.  An IPv6 address is counted by its /64, and with it its /56 and /48 are charged, which may have
 * RATE_56_TIMES and RATE_48_TIMES the count: who rotates through a network gets no further than that (after Knot
 * DNS's rate limiting, which charges several prefixes with a multiplier each).  ::ffff:a.b.c.d is a.b.c.d.
 *
 * Memory is what rate_new() is given, in blocks of RATE_BLOCK bytes and 4 bytes of index for each: one for a key with
 * up to RATE_INLINE marks, another for each further RATE_CHAINED.  The hash is keyed, so that nobody can prepare
 * collisions.  In a full table a new key takes the place of the least loaded of some that are looked at, never of one
 * that is over its limit; when all that were looked at are over, new keys share one: addresses by their /24 or /48,
 * other values by a hash.  A key that can't get the block it needs for one more mark loses its oldest: a full table
 * is more lenient, never stricter.
 */
#ifndef CONTROLLER_RATE_H
#define CONTROLLER_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define RATE_NAME_MAX 50 /* of a class, with the final NUL: rater's limit */
#define RATE_PATTERN_MAX 80
#define RATE_CLASSES_MAX 32
#define RATE_LIMITS_MAX 256
#define RATE_COUNT_MAX 1000000
#define RATE_WINDOW_MAX_MS (INT64_C(24) * 86400000) /* marks are 32 bit of milliseconds */
#define RATE_MEMORY_MIN (64 * 1024)
#define RATE_56_TIMES 2
#define RATE_48_TIMES 4
#define RATE_BLOCK 56
#define RATE_INLINE 9
#define RATE_CHAINED 13
#define RATE_KEY_SIZE 16
#define RATE_DUMP_MARKS_MAX 12000 /* of one key: what a record of rate_dump() holds at the most */

enum rate_mode {
	RATE_WINDOW,
	RATE_LEAKY,
	RATE_GCRA,
};

struct rate_limit {
	char pattern[RATE_PATTERN_MAX]; /* fnmatch(3) without flags, or a prefix like "192.0.2.0/24" */
	bool is_prefix; /* then `prefix` counts, and matches addresses alone */
	struct ip_prefix prefix;
	int64_t window_ms; /* 1..RATE_WINDOW_MAX_MS */
	int64_t count; /* 0..RATE_COUNT_MAX; -1: not limited, not counted */
};

struct rate_class {
	char name[RATE_NAME_MAX];
	enum rate_mode mode;
	unsigned first, n; /* its limits, in the order in which they are tried */
};

/* Flat: it is part of struct config. */
struct rate_cfg {
	unsigned n_classes, n_limits;
	struct rate_class class[RATE_CLASSES_MAX];
	struct rate_limit limit[RATE_LIMITS_MAX];
};

/* Set pattern, is_prefix and prefix of a limit.  Returns 0 or -ENAMETOOLONG. */
int rate_limit_set_pattern(struct rate_limit *l, const char *pattern);

/* The index of the class of that name, or -ENOENT. */
int rate_class_find(const struct rate_cfg *cfg, const char *name, size_t len);

struct rate;

/* `memory` bytes (at least RATE_MEMORY_MIN) are taken at once, and touched, so that a flood can't find them missing.
 * `key` keys the hash: random, and the same for as long as dumps shall be understood.  Returns 0, -EINVAL or
 * -ENOMEM. */
int rate_new(uint64_t memory, const uint8_t key[RATE_KEY_SIZE], struct rate **ret);
void rate_free(struct rate *r); /* NULL is allowed */

/* Take other limits.  `cfg` is borrowed and must stay as it is until the next call.  Limits that are the same as
 * before, in name of class, mode, pattern, window and count, keep their marks. */
void rate_configure(struct rate *r, const struct rate_cfg *cfg);

enum rate_verdict {
	RATE_OK,
	RATE_OVER,
	RATE_NO_KEY, /* no pattern of the class matches */
	RATE_NO_CLASS,
};

struct rate_answer {
	enum rate_verdict verdict;
	int64_t n, max; /* max -1: not limited, then n is 0 */
	const struct rate_limit *limit; /* that matched; of the configuration; NULL when none did */
	unsigned prefix; /* 64, 56, 48: of an IPv6 address, the prefix that n is of; else 0 */
	bool shared; /* the table is full of keys over their limit */
	int64_t clear_ms; /* RATE_OVER: so long without marks, and one more would be admitted */
	uint64_t fingerprint; /* of the key: the same value under the same limit has the same */
};

/* A question in three steps, so that a server that has many at hand lets the memory of one arrive while it reads the
 * next: rate_find() all, rate_prefetch() all, rate_mark() all. */
struct rate_question {
	enum rate_verdict found; /* RATE_OK: go on; else it is the answer */
	const struct rate_limit *limit;
	uint16_t slot;
	uint8_t keys; /* 1, or 3 for IPv6 */
	uint64_t fingerprint[3], shared;
};

/* `class` is an index; out of range gives RATE_NO_CLASS.  `value` is any bytes; no NUL need follow. */
void rate_find(const struct rate *r, int class, const char *value, size_t len, struct rate_question *ret);
void rate_prefetch(const struct rate *r, const struct rate_question *q);

/* Count it, and say whether it is too much.  A `now` that goes back counts as the last one. */
void rate_mark(struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret);

/* What one more mark would be answered; nothing is counted.  n is without it. */
void rate_peek(const struct rate *r, const struct rate_question *q, mono_t now, struct rate_answer *ret);

/* Forget the marks of the key (of an IPv6 address: of all its prefixes).  Returns whether there were any. */
bool rate_reset(struct rate *r, const struct rate_question *q);

/* Look at `blocks` blocks and free the keys that have no mark left in their window.  Call it so that all are looked at
 * within a day. */
void rate_sweep(struct rate *r, mono_t now, size_t blocks);

struct rate_stats {
	uint64_t blocks, blocks_used, keys; /* now */
	uint64_t marks, over, evicted, shared, lost_marks; /* since the start */
};

struct rate_stats rate_stats(const struct rate *r);

/* --- across restarts ------------------------------------------------------------------------- */

/* A key and its marks, oldest first.  Times are of the table's clock, cut to 32 bits of milliseconds. */
struct rate_dump {
	uint64_t fingerprint;
	uint64_t limit; /* stands for class, mode, pattern, window and count; the same in every process */
	uint32_t n; /* marks; in mode gcra 2: the theoretical arrival time in microseconds, low word first */
	uint8_t tier; /* 0: the value, or its /64; 1: /56; 2: /48; 3: shared */
	int64_t until_ms; /* boot clock: when its last mark is out */
	uint32_t mark[RATE_DUMP_MARKS_MAX];
};

/* The next key that has changed since it was last given.  `cursor` begins at 0 and is kept by the caller; returns
 * false after the last block, then begin anew with 0 when there is time again. */
bool rate_dump_next(struct rate *r, size_t *cursor, mono_t now, struct rate_dump *ret);

/* Give it back after it could not be passed on. */
void rate_dump_again(struct rate *r, const struct rate_dump *d);

/* All keys have changed: what was passed on is lost. */
void rate_dump_all(struct rate *r);

/* Put a key back, as it was `age_ms` ago by a clock that showed `then` at that time.  Marks that came since are kept.
 * What is out of its window, of a limit that is not configured, or does not fit, is passed over. */
void rate_load(struct rate *r, const struct rate_dump *d, mono_t then, int64_t age_ms, mono_t now);

#endif
