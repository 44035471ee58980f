/* SPDX-License-Identifier: ISC */
/*
 * config_child - have the configuration read by a process of its own
 *
 * Text is parsed where nothing can be hurt: a child that has no privilege, no socket, and at most
 * CONFIG_CHILD_DEADLINE_MS.  It hands back the bytes of struct config (parent and child are the same executable) and
 * lines of notes, or lines that say what is wrong.  Whatever it does, hang or exit, the parent keeps what it has.
 * SPILLWAY_RUN_DIR in the parent's environment goes before service.run_dir.
 */
#ifndef CONTROLLER_CONFIG_CHILD_H
#define CONTROLLER_CONFIG_CHILD_H

#include "controller/config.h"
#include "lib/child.h"
#include "lib/clock.h"

#define CONFIG_CHILD_DEADLINE_MS 5000
#define CONFIG_CHILD_OPTION "--parse-configuration"
#define CONFIG_CHILD_ERRORS_MAX 8192

struct config_child {
	struct child child;
	mono_t deadline;
	struct config config;
	char errors[CONFIG_CHILD_ERRORS_MAX];
};

/* Open `path` with the rights of the caller and start the child on it.  Watch c->child.poll.
 * Returns 0, or -Exxx with the reason (-ENOENT: no such file). */
int config_child_start(struct config_child *c, const char *path, struct err *why);

/* Has it ended?  Returns -EAGAIN while it runs; 0 with c->config valid and notes, if there are any, in c->errors; or,
 * with what is wrong there (terminated lines), -EINVAL when the file is wrong, -ETIMEDOUT or -EIO when it could not be
 * read this time. */
int config_child_poll(struct config_child *c, mono_t now);

void config_child_abandon(struct config_child *c);

/* Both at once, waiting.  For the start of the daemon. */
int config_child_read(const char *path, struct config_child *c);

/* main() of the child: the file is open on 0.  Returns the exit code. */
int config_child_main(const char *path);

#endif
