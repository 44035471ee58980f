/* SPDX-License-Identifier: ISC */
/*
 * recorder - the process that owns the database, so that a slow disk stops nobody else
 *
 * The engine sends messages on a SEQPACKET socketpair; the recorder writes what is there in one transaction, at most
 * ten a second.  A message with an id is answered when it is durable, or refused when it can't be.
 * While the database can't be written, up to RECORDER_BACKLOG messages are kept, the rest is dropped and counted.
 */
#ifndef CONTROLLER_RECORDER_H
#define CONTROLLER_RECORDER_H

#include "controller/config.h"
#include "controller/store.h"

#define RECORDER_BACKLOG 2048

enum recorder_kind {
	RECORD_CHANGE,
	RECORD_EPISODE_ROW,
	RECORD_EPISODES_END, /* all but u.episode.id, at u.episode.ended */
	RECORD_OFFENCE,
	RECORD_REFUSAL,
	RECORD_OVERRIDE,
	RECORD_ASK_OVERRIDE, /* answered with the stored one */
	RECORD_BLOCK,
	RECORD_ALLOW,
	RECORD_ASK_BLOCKS, /* answered with all blocks and allow entries, then ANSWER_BLOCKS_END */
	RECORD_STORM,
	RECORD_SENT,
	RECORD_ASK_STORMS, /* answered with all storms that are not over, and what was sent; then ANSWER_STORMS_END */
	RECORD_LIMITS, /* new numbers of rows, after a reload */
	RECORD_LINES, /* a struct recorder_lines */
};

struct recorder_message {
	enum recorder_kind kind;
	uint64_t id; /* answered if not 0 */
	union {
		struct store_change change;
		struct store_episode episode;
		struct store_offence offence;
		struct store_refusal refusal;
		struct store_override override;
		struct store_block block;
		struct store_allow allow;
		struct store_storm storm;
		struct store_sent sent; /* RECORD_ASK_STORMS: only key_id */
		struct config_store limits;
	} u;
};

/* Whole lines for the archive, and no more bytes than they need. */
#define RECORDER_LINES_MAX 16384
struct recorder_lines {
	enum recorder_kind kind;
	char text[RECORDER_LINES_MAX];
};

enum recorder_answer_kind {
	ANSWER_DONE, /* `id` is durable */
	ANSWER_FAILED, /* `id` is not */
	ANSWER_OVERRIDE, /* to RECORD_ASK_OVERRIDE */
	ANSWER_BLOCK, /* to RECORD_ASK_BLOCKS, one for each */
	ANSWER_ALLOW,
	ANSWER_BLOCKS_END,
	ANSWER_STORM, /* to RECORD_ASK_STORMS, one for each */
	ANSWER_SENT,
	ANSWER_STORMS_END,
	ANSWER_STATUS, /* at every change, and every few seconds */
};

struct recorder_answer {
	enum recorder_answer_kind kind;
	uint64_t id;
	union {
		struct store_override override;
		struct store_block block;
		struct store_allow allow;
		struct store_storm storm;
		struct store_sent sent;
	};
	bool ok; /* ANSWER_STATUS: the database can be written */
	uint64_t rows, dropped;
	char text[STORE_TEXT_MAX]; /* why not, or what was set aside */
};

/* Runs with its final privileges until SIGTERM, then writes what it has.  `marks`: see recorder_marks.h.  Returns the
 * exit code. */
int recorder_run(const struct config *config, int engine, int marks);

#endif
