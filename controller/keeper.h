/* SPDX-License-Identifier: ISC */
/*
 * keeper - the process that keeps its rights: it carries out orders, watches the others, ends what is leased
 *
 * It parses nothing from outside, opens no database and no network.  What it writes to was opened at the start;
 * what it writes are its own templates, filled with numbers that it has checked.  When the engine is silent for
 * a lease it ends the leased effects by itself; when the engine or the recorder dies it starts them again, at
 * growing intervals.
 */
#ifndef CONTROLLER_KEEPER_H
#define CONTROLLER_KEEPER_H

#include "controller/config.h"
#include "controller/privilege.h"

struct keeper_setup {
	const struct config *config;
	const char *config_path;
	struct identity identity; /* of engine and recorder */
	int run_dir; /* open directories */
	int state_dir;
};

/* Run until SIGTERM or SIGINT.  All signals that it handles must be blocked.  Returns the exit code. */
int keeper_run(const struct keeper_setup *setup);

#endif
