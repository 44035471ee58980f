/* SPDX-License-Identifier: ISC */
/*
 * kids - the keeper's children: started, buried, started again, stopped
 *
 * A child that dies is started again after a pause that doubles, from KIDS_BACKOFF_MIN_MS to KIDS_BACKOFF_MAX_MS; one
 * that had run for KIDS_STEADY_MS begins at the bottom again.
 */
#ifndef CONTROLLER_KIDS_H
#define CONTROLLER_KIDS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/clock.h"

#define KIDS_BACKOFF_MIN_MS 500
#define KIDS_BACKOFF_MAX_MS 60000
#define KIDS_STEADY_MS 60000

struct kid {
	const char *name;
	int (*run)(void *arg); /* in the child; its result is the exit code */
	void *arg;

	pid_t pid; /* 0: not running */
	bool ran_before;
	mono_t started, start_at;
	int64_t backoff_ms;
};

/* Start it if it does not run and its pause is over.  Returns whether it was started. */
bool kid_start_if_due(struct kid *kid, mono_t now);

/* Take the exit status of children that have ended.  `stopping`: then none is due again, and nothing is told.
 * Returns how many. */
unsigned kids_reap(struct kid *const kids[], size_t n, bool stopping, mono_t now);

/* Ask it to end by SIGTERM; after `patience_ms` SIGKILL.  Waits until it is gone. */
void kid_stop(struct kid *kid, int64_t patience_ms);

#endif
