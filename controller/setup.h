/* SPDX-License-Identifier: ISC */
/*
 * setup - what the steps of `spillway setup` share
 *
 * A step looks first: what is as it should be is "done", what differs from what we would have put
 * there belongs to somebody and is kept.  Only with --yes is anything changed.  Everything is
 * written beside its place and moved there; --undo takes back what setup did, and nothing else.
 *
 * Private to setup*.c; doctor*.c take the places from here.
 */
#ifndef CONTROLLER_SETUP_H
#define CONTROLLER_SETUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "controller/cli.h"
#include "lib/err.h"

#ifndef SPILLWAY_PREFIX
#define SPILLWAY_PREFIX "/usr/local"
#endif

#define SETUP_PLUGIN SPILLWAY_PREFIX "/lib/spillway/spillway-plugin"
#define SETUP_DAEMON SPILLWAY_PREFIX "/sbin/spillwayd"
#define SETUP_COMMAND SPILLWAY_PREFIX "/bin/spillway"
#define SETUP_SHARE SPILLWAY_PREFIX "/share/spillway"

#define SETUP_PLUGIN_LINK "%s/plugins/spillway-mail" /* %s: a qmail home */

#define SETUP_ROOT_ENV "SPILLWAY_SETUP_ROOT" /* for tests: before /etc, /service, ...; no program is run then */
#define SETUP_SHARE_ENV "SPILLWAY_SHARE" /* for tests: instead of SETUP_SHARE */

#define SETUP_PATH_MAX 1024
#define SETUP_TEXT_MAX 65536
#define SETUP_PROGRAM_MS 30000

struct setup {
	struct cli *cli;
	const char *root;
	const char *share;
	const char *config_option; /* the configuration is not at its default place: " -c FILE", else "" */
	char plugin[SETUP_PATH_MAX]; /* the installed one */
	bool act; /* --yes */
	unsigned items, todo;
};

/* --- setup.c: one line for each piece of work */

/* It is as it should be, or it is left as it is. */
void setup_done(struct setup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void setup_keep(struct setup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* There is work.  Returns whether it shall be done now. */
bool setup_todo(struct setup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A step failed: tell, and return the exit code. */
int setup_fail(const struct setup *s, const struct err *why);
int setup_stop(const struct setup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `s->root` and then `path`. */
void setup_path(const struct setup *s, const char *path, char ret[SETUP_PATH_MAX]);

/* --- setup_files.c: all return 0 (or a length) or -Exxx with the reason */

/* A file of the share directory, with our places filled in.  Terminated; returns the length. */
ssize_t setup_template(const struct setup *s, const char *name, char ret[SETUP_TEXT_MAX], struct err *why);

/* Put `to` wherever `from` stands.  Returns 0 or -ENOSPC. */
int setup_replace(char text[SETUP_TEXT_MAX], const char *from, const char *to);

/* Read a whole small file; never through a link.  Terminated; returns the length. */
ssize_t setup_read(const char *path, char ret[SETUP_TEXT_MAX], struct err *why);

/* Does the file have just this text? */
bool setup_has_text(const char *path, const char *text);

/* Make a directory and those above it, 0755. */
int setup_directory(const char *path, struct err *why);

struct setup_file {
	const char *text;
	size_t len;
	mode_t mode;
	uid_t uid; /* -1, also for gid: whoever we are */
	gid_t gid;
};

/* Put a file there, whole, replacing what is there. */
int setup_write(const char *path, const struct setup_file *f, struct err *why);

/* Make `path` a link to `target`, replacing a link that is there. */
int setup_link(const char *path, const char *target, struct err *why);
bool setup_is_link_to(const char *path, const char *target);

/* Remove a file or a link; none there is fine. */
int setup_remove(const char *path, struct err *why);

/* Run a program of the system, at most SETUP_PROGRAM_MS, and tell that we do.  argv[0] is a name. */
int setup_program(const struct setup *s, const char *const *argv, struct err *why);

/* --- setup_plugins.c, setup_service.c: steps; they return 0 or an exit code */
int setup_links(struct setup *s);
int setup_trial(struct setup *s);
int setup_line(struct setup *s);
int setup_service(struct setup *s);

int setup_undo_line(struct setup *s);
int setup_undo_links(struct setup *s);
int setup_undo_service(struct setup *s);

#endif
