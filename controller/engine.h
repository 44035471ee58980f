/* SPDX-License-Identifier: ISC */
/*
 * engine - the loop that watches, decides, publishes and answers; it never waits
 */
#ifndef CONTROLLER_ENGINE_H
#define CONTROLLER_ENGINE_H

#include "controller/config.h"

struct engine_setup {
	const struct config *config; /* as read at the start; read anew when the engine starts again */
	const char *config_path;
	bool restarted; /* another engine ran before: read the configuration anew */
	int keeper; /* socketpair to the keeper */
	int recorder; /* socketpair to the recorder */
	int marks; /* another, for counters alone */
};

/* Runs with its final privileges.  Returns the exit code of the process. */
int engine_run(const struct engine_setup *setup);

#endif
