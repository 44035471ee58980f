/* SPDX-License-Identifier: ISC */
/*
 * rateline - the lines of rater's protocol, read and written
 *
 * Pure: no clock, no I/O, no allocation, no globals.
 *
 *	class value	is it too often?  This mark counts.  The connection ends with the answer
 *	?class value	the same without counting
 *	+...		either, and the connection stays for more lines, answered in order; not after a line that
 *		is too long
 *
 * A line ends in \n or \r\n and has at most RATELINE_MAX bytes before that.  Class and value are split at the first
 * space; the value may hold any bytes but a line feed.  Answers: "0 n/max\r\n", "1 n/max\r\n" (too often), "2
 * sentence\r\n" (no answer).
 */
#ifndef CONTROLLER_RATELINE_H
#define CONTROLLER_RATELINE_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/rate.h"

#define RATELINE_MAX 1000
#define RATELINE_PART_MAX (RATELINE_MAX + 1) /* of a line whose end is not there yet: its \r may be */
#define RATELINE_CLASS_SHOWN 64 /* bytes of an unknown class that the answer repeats */
#define RATELINE_ANSWER_MAX 320
#define RATELINE_GROWTH 12 /* answers to n bytes have at most so many times n: "+\n" has 2, its answer 24 */

enum rateline_kind {
	RATELINE_QUESTION,
	RATELINE_NO_SPACE,
	RATELINE_TOO_LONG,
};

struct rateline {
	enum rateline_kind kind;
	bool keep, peek;
	const char *class, *value; /* borrowed: they lie within what was read */
	size_t class_len, value_len;
};

/* The first line in `buf`.  Returns how many bytes it takes with its end; 0 when what there is may be the beginning
 * of a line (then it is at most RATELINE_PART_MAX).  A line that is too long is the last of its connection. */
size_t rateline_read(const char *buf, size_t len, struct rateline *ret);

/* The answer, with its end; no NUL.  `a` counts when the line is a question.  Returns its length. */
size_t rateline_answer(const struct rateline *l, const struct rate_answer *a, char ret[RATELINE_ANSWER_MAX]);

#endif
