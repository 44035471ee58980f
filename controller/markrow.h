/* SPDX-License-Identifier: ISC */
/*
 * markrow - counters on their way between the engine and what keeps them across restarts
 *
 * A row is one key of the table of counters (rate.h) with its marks, and the time at which it was so.  Rows travel in
 * messages of at most MARKS_MESSAGE_MAX bytes, as they lie in memory: engine and recorder are one executable.
 *
 *	engine		recorder
 *	ASK after ->			what is stored behind this fingerprint?
 *			<- ROWS ... END	the answer to the question of this number
 *	ROWS ->				put these over what is stored
 *			<- AGAIN	I am new, or had to begin anew: say all that you have
 *			<- TROUBLE text	why nothing can be stored; "" when it can again
 *
 * The engine sends no rows before it has heard the end of its question, or it would put new marks over old ones that
 * it has not seen yet.  Each question has its own number, and answers to another are passed over: no row is ever
 * loaded twice, and an engine never takes what was meant for the one before.
 */
#ifndef CONTROLLER_MARKROW_H
#define CONTROLLER_MARKROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/rate.h"
#include "lib/clock.h"

#define MARKS_MESSAGE_MAX (60 * 1024)
#define MARKS_TABLES 2 /* at most */
#define MARKS_FIRST INT64_MIN /* before all fingerprints */

enum marks_kind {
	MARKS_ASK,
	MARKS_ROWS,
	MARKS_END,
	MARKS_AGAIN,
	MARKS_TROUBLE,
};

struct marks_row {
	int64_t fingerprint; /* the bits of rate_dump's */
	uint64_t limit;
	uint64_t boot; /* marks_boot() when it was so */
	mono_t mono; /* then */
	wall_t wall; /* then */
	int64_t left_ms; /* from then until its last mark is out */
	uint32_t n; /* marks; 0: forget the key */
	uint8_t tier, table;
	uint8_t zero[2];
};

struct marks_message {
	uint32_t len; /* of what follows, as sent */
	uint32_t kind;
	uint32_t rows;
	uint64_t question; /* number of the question; ASK, ROWS to the engine, END */
	uint64_t key; /* ASK, ROWS to the recorder: which key the fingerprints were made with */
	int64_t after; /* ASK: rows behind this fingerprint are wanted */
	uint8_t body[MARKS_MESSAGE_MAX - 40]; /* rows, each with its marks behind; TROUBLE: a text */
};

/* A boot in 64 bits. */
uint64_t marks_boot(const uint8_t boot_id[CLOCK_BOOT_ID_SIZE]);

void marks_begin(struct marks_message *m, enum marks_kind kind);

/* Returns false, with the message as it was, when the row does not fit any more.  In an empty message any row fits. */
bool marks_add(struct marks_message *m, const struct marks_row *row, const uint32_t *marks);

/* The next row; `at` begins at 0 and is kept by the caller.  Returns false at the end. */
bool marks_next(const struct marks_message *m, size_t *at, struct marks_row *ret, uint32_t marks[RATE_DUMP_MARKS_MAX]);

/* Send, or receive and check, without waiting.  Returns 0, -EAGAIN, -EBADMSG or -Exxx. */
int marks_send(int fd, struct marks_message *m);
int marks_receive(int fd, struct marks_message *ret);

/* How long ago `row` was so.  Of this boot, by the clock that is never set.  Of another, by the wall clock; one that
 * was set back does not make marks younger than they were when they were stored. */
int64_t marks_age(const struct marks_row *row, uint64_t boot, mono_t mono, wall_t wall);

/* Is the last mark out by now? */
bool marks_are_over(const struct marks_row *row, uint64_t boot, mono_t mono, wall_t wall);

#endif
