/* SPDX-License-Identifier: ISC */
/*
 * recorder_marks - the recorder's part in keeping counters across restarts
 *
 * Takes rows (markrow.h) from a socketpair of their own and writes them, at most every quarter of a second, and so
 * that all of it takes at most a fifth of the time, however slow the disk is.  What is not read waits in the socket,
 * and then in the engine.  What was read and could not be written is kept and tried again; it is at most MARKS_BATCH
 * messages.
 */
#ifndef CONTROLLER_RECORDER_MARKS_H
#define CONTROLLER_RECORDER_MARKS_H

#include "controller/config.h"
#include "controller/log.h"
#include "controller/store_marks.h"

#define MARKS_BATCH 64

struct recorder_marks {
	int fd; /* -1: there are none to keep */
	const char *dir;
	uint64_t max_rows;
	uint64_t boot;
	struct marks_store *store; /* NULL: can't be opened */
	bool knows_key;
	uint64_t key; /* of the rows in it */
	struct marks_walk walk;
	struct marks_message *batch; /* MARKS_BATCH */
	unsigned n;
	bool asked; /* the last message of the batch is a question */
	bool reading; /* a question is being answered */
	struct marks_message out; /* of the answer, when `out_full` */
	bool out_full, out_end;
	uint64_t question;
	int64_t after; /* the last fingerprint that was looked at for the answer */
	unsigned looks; /* rows looked at for this message */
	bool again; /* AGAIN is to be said */
	bool tell_trouble; /* TROUBLE is to be said */
	struct log_memory trouble;
	mono_t now; /* of this turn */
	mono_t next; /* when the next batch is taken, the database opened again */
};

/* `fd` stays the caller's, and so does `config`.  Returns 0 or -ENOMEM. */
int recorder_marks_init(struct recorder_marks *m, const struct config *config, int fd);
void recorder_marks_done(struct recorder_marks *m);

/* What to poll `fd` for, and how many ms until there is something to do in any case. */
short recorder_marks_events(const struct recorder_marks *m, mono_t now, int64_t *ret_wait_ms);

void recorder_marks_turn(struct recorder_marks *m, mono_t now);

/* Write all that is there, for at most `ms`. */
void recorder_marks_flush(struct recorder_marks *m, int64_t ms);

#endif
