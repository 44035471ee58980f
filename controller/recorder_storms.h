/* SPDX-License-Identifier: ISC */
/*
 * recorder_storms - tells an engine that starts which storms there were, and what our addresses had sent
 *
 * As much as the socket takes at a time: the recorder calls again when it takes more.
 */
#ifndef CONTROLLER_RECORDER_STORMS_H
#define CONTROLLER_RECORDER_STORMS_H

#include "controller/recorder.h"

struct recorder_storms {
	uint64_t id; /* of the question that is being answered, 0: none */
	uint64_t key_id;
	char after[EPISODE_ID_MAX]; /* the last storm that was told */
	bool storms_told;
	int64_t after_sent;
	int fd;
	bool full; /* the socket took no more */
};

void recorder_storms_begin(struct recorder_storms *r, uint64_t id, uint64_t key_id);
void recorder_storms_tell(struct recorder_storms *r, struct store *s, int fd);

#endif
