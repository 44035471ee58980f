/* SPDX-License-Identifier: ISC */
/*
 * reading - the numbers that spillway watches, and the levels that it decides between
 *
 * One table names every reading: the word in the configuration, in the log, in `spillway status`
 * and in man pages.  A reading may be unknown, and unknown is not zero: it has no vote.
 */
#ifndef LIB_READING_H
#define LIB_READING_H

#include <stdbool.h>
#include <stddef.h>

enum level {
	LEVEL_NORMAL,
	LEVEL_BUSY,
	LEVEL_OVERLOADED, /* from here on the gate is closed to strangers */
	LEVEL_CRITICAL,
};
#define LEVEL_COUNT 4

enum reading_id {
	READING_TODO,
	READING_TODO_AGE,
	READING_MESSAGES,
	READING_GROWTH,
	READING_ARRIVALS,
	READING_DEPARTURES,
	READING_REFUSED,
	READING_LOAD,
	READING_CPU_PRESSURE,
	READING_IO_PRESSURE,
	READING_MEMORY_PRESSURE,
	READING_DISK_FREE,
	READING_INODES_FREE,
	READING_QSTAT_MESSAGES,
	READING_QSTAT_TODO,
	READING_DELIVERIES,
	READING_DEFERRALS,
	READING_FAILURES,
	READING_BOUNCES,
	READING_LOCAL_BUSY,
	READING_REMOTE_BUSY,
	READING_LOCAL_SHARE,
	READING_REMOTE_SHARE,
	READING_REJECTIONS,
};
#define READING_COUNT 24

enum reading_unit {
	UNIT_COUNT, /* things */
	UNIT_SECONDS,
	UNIT_RATE, /* per second */
	UNIT_MINUTE, /* per minute */
	UNIT_PERCENT,
	UNIT_BYTES,
	UNIT_PLAIN, /* no unit */
};

enum reading_sense {
	TOO_MUCH_IS_BAD,
	TOO_LITTLE_IS_BAD,
	EITHER_IS_BAD,
	NO_VOTE, /* can't be used for a level */
};

struct reading_info {
	const char *name;
	enum reading_unit unit;
	enum reading_sense sense;
	const char *help; /* one line */
};

extern const struct reading_info reading_info[READING_COUNT];

/* What a probe tells of one reading. */
struct reading_value {
	bool known;
	double value; /* in the unit of reading_info[]; meaningless unless known */
};

#define READING_TEXT_MAX 48

/* The id of `name`, or -ENOENT. */
int reading_find(const char *name);

/* "523", "62s", "1.5/s", "200M", "12%": short, for people. */
void reading_format(enum reading_unit unit, double value, char ret[READING_TEXT_MAX]);

const char *level_name(enum level level);

/* The level of that name, or -ENOENT. */
int level_find(const char *name);

/* Why the level is what it is.  All numbers, no text from outside, so that it can go through the
 * orders to the keeper and be formatted anywhere. */
enum reason_kind {
	REASON_NONE,
	REASON_ENTER, /* `id` beyond `limit` for `for_ms` */
	REASON_HOLD, /* `id` not back at `limit` yet */
	REASON_LEAVE, /* all readings back for `for_ms` */
	REASON_OFFERED, /* `value` messages a second are offered, `limit` would fit */
	REASON_FITS, /* `value` messages a second are offered, `limit` fit */
	REASON_BLIND, /* no reading known for `for_ms` */
	REASON_FORCED, /* by a person */
	REASON_RESUMED, /* taken over from the engine before */
};

struct reason {
	enum reason_kind kind;
	enum reading_id id;
	bool below; /* too little is bad */
	double value, limit;
	long long for_ms;
};

#define REASON_TEXT_MAX 128

/* "todo 523, limit 100, for 2s". */
void reason_format(const struct reason *r, char ret[REASON_TEXT_MAX]);

#endif
