/* SPDX-License-Identifier: ISC */
/*
 * replay - what a configuration would have done in the time that some logs tell of
 *
 * Lines go in, in the order of their time, and the same pure parts that decide in the engine (readings, decide, rate,
 * blocks) go along with a clock made of the lines' stamps.  No clock of its own, no I/O; memory is taken at the start
 * and stays as it is.  Same lines and configuration, same result.
 *
 * What logs can't tell
 *	qmail-send logs a message when it is preprocessed, so todo and its age are unknown; messages, growth,
 *	arrivals, departures and what probes.logs gives are known.  Disk, load and pressure are not.
 *	A message of a stranger that would have been put off is not counted as arrived, and its end not as departure;
 *	that its sender would have come again is not in the log.  Strangers are those whose messages come from the
 *	uid of qmail-smtpd; when that is not known, all.
 *	A connection is one mark for its address, whatever was said in it; connections held are not counted.
 *	Only the allow list, loopback and the like are protected, not what the daemon finds on its host; names on the
 *	allow list are not looked up.
 */
#ifndef CONTROLLER_REPLAY_H
#define CONTROLLER_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/config.h"
#include "probes/logline.h"

#define REPLAY_STEP_MS 500 /* as often it is decided */
#define REPLAY_GAP_MS 600000 /* a longer pause in all logs is passed over */
#define REPLAY_MESSAGES 262144 /* in the queue at once; those beyond are not seen */
#define REPLAY_CLIENTS 65536 /* turned away at least once; those beyond are only counted */
#define REPLAY_EPISODES 64 /* that are kept with their times; those beyond are only counted */

struct replay_episode {
	wall_t began, ended;
	enum level peak;
	struct reason why;
	uint64_t refused;
};

struct replay_client {
	struct ip ip;
	uint64_t turned_away; /* connections, by a block */
	uint64_t limited; /* connections over a limit */
	uint64_t lost; /* mails that were accepted while it would have been blocked */
	uint64_t later; /* mails that were accepted from it after that */
	bool used;
};

struct replay_result {
	wall_t from, to;
	uint64_t lines;

	uint64_t messages, strangers; /* that came into the queue; of them, from strangers */
	uint64_t successes, failures, deferrals, bounces;
	uint64_t untracked; /* messages beyond REPLAY_MESSAGES */
	uint64_t refused; /* strangers' messages that would have been put off */
	uint64_t archived, offered; /* refusals in the archive; of them, for load */
	uint64_t again; /* of these, refused with this configuration as well */
	int64_t level_ms[LEVEL_COUNT];
	uint64_t changes; /* of the level */
	size_t episodes; /* ever; the first REPLAY_EPISODES are in `episode` */
	struct replay_episode episode[REPLAY_EPISODES];

	uint64_t connections, denied; /* in the log; of them, turned away then */
	uint64_t limited, turned_away; /* connections: over a limit, by a block */
	uint64_t blocks, wide; /* made; of them, networks */
	uint64_t over_budget; /* not made */
	uint64_t peak_blocks;
	size_t clients, harmed; /* turned away; of them, some whose mail was accepted */
	uint64_t lost, later; /* their mails */
	uint64_t clients_not_kept;
};

struct replay;

/* `config` is borrowed.  `smtp_uid`: of qmail-smtpd, -1 if it is not known.  Returns 0 or -ENOMEM. */
int replay_new(const struct config *config, int64_t smtp_uid, struct replay **ret);
void replay_free(struct replay *r);

/* A line; `at` that goes back counts as the last one. */
void replay_line(struct replay *r, const struct logline *l, wall_t at);

/* A mail was accepted from this client, or one of our users logged in there. */
void replay_accepted(struct replay *r, const struct ip *ip, wall_t at);

/* A command was refused then, by `check`, in the process `pid`: what this configuration would have done with it counts
 * as offered load.  What is let in is not followed any further. */
void replay_refused(struct replay *r, enum check check, uint32_t pid, wall_t at);

/* The end: what is going on ends now. */
const struct replay_result *replay_end(struct replay *r);

/* Readings that rules of this configuration name and no log tells: bit i is reading i. */
uint32_t replay_untold(const struct config *config);

/* The `n` clients turned away most often, most first.  Returns how many there are; they are borrowed. */
size_t replay_worst(const struct replay *r, size_t n, const struct replay_client **ret);

#endif
