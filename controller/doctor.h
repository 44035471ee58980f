/* SPDX-License-Identifier: ISC */
/*
 * doctor - looking at the host: what the checks of `spillway doctor` share
 *
 * A check is a function that looks at one thing and tells what it found; doctor.c has the table.
 * It only reads.  Each runs in a process of its own, as the user whose rights count (the engine's,
 * or that of qmail-smtpd), for at most DOCTOR_DEADLINE_MS: what waits for a dead disk, or crashes,
 * is told and passed over.
 *
 * Private to doctor*.c and setup*.c.
 */
#ifndef CONTROLLER_DOCTOR_H
#define CONTROLLER_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "controller/cli.h"
#include "controller/privilege.h"
#include "controller/smtpplugins.h"

#define DOCTOR_ROOT_ENV "SPILLWAY_DOCTOR_ROOT" /* for tests: before the paths that no configuration names */
#define DOCTOR_DEADLINE_MS 8000 /* longer than the command waits for the daemon */
#define DOCTOR_FINDINGS_MAX 40 /* of one check */
#define DOCTOR_PATH_MAX 1024
#define FINDING_TEXT_MAX 700

enum finding_status {
	FINDING_OK,
	FINDING_WARN, /* mail and protection work, but not as well as they could */
	FINDING_BAD, /* something does not work: exit code 1 */
};

struct finding {
	enum finding_status status;
	char name[24]; /* of the check */
	char text[FINDING_TEXT_MAX];
	char advice[FINDING_TEXT_MAX]; /* "": none */
};

/* What a check gets. */
struct doctor {
	const struct cli *cli;
	const char *root; /* before the paths that no configuration names: "" but in tests */
	const char *plugin; /* the installed plugin, `root` and all */

	/* private to doctor.c */
	struct finding last; /* not sent yet */
	bool pending;
	int out; /* where findings go */
	unsigned found;
	char note[160]; /* behind each text: as whom it was looked at, when that is not who counts */
	bool powerless; /* looked at with too few rights: nothing is bad for certain */
};

typedef void doctor_check(struct doctor *d);

/* Tell a finding. */
void doctor_ok(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void doctor_warn(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void doctor_bad(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What to do about the finding told last. */
void doctor_advise(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `d->root` and then `path`.  What does not fit is cut, and then not found. */
void doctor_path(const struct doctor *d, const char *path, char ret[DOCTOR_PATH_MAX]);

/* Read the beginning of a regular file, never waiting, and terminate it.  Returns the length, below
 * `cap`, or -errno. */
ssize_t doctor_read(const char *path, char *buf, size_t cap);

/* A number from a file of /proc/sys, or -errno. */
int64_t doctor_number(const struct doctor *d, const char *path);

/* Call `each` for each process. */
void doctor_processes(const struct doctor *d,
	void (*each)(const char *dir, const char *comm, void *arg), void *arg);

/* Make the checks (only that of one name, unless `only` is NULL) and hand over what they find. */
void doctor_examine(const struct cli *cli, const char *root, const char *only,
	void (*each)(const struct finding *f, void *arg), void *arg);

/* Two lines for people: status, name, text; and the advice. */
void doctor_print(const struct finding *f);

/* The user whose rights plugins have: the first of service.plugin_users but root, or "". */
const char *doctor_smtpd_user(const struct config *c);

/* May root, or we, write in that directory without being led elsewhere?  The rule of actions/flag.c.
 * Returns 0, or -Exxx with the reason. */
int doctor_owner(const char *path, struct err *why);

/* Parts of a queue directory: 0 for a plain one, else the number of subdirectories; -errno.
 * `ret_bad` gets the path that could not be read. */
int doctor_parts(const char *path, char ret_bad[DOCTOR_PATH_MAX]);

/* --- doctor_service.c: configuration, user, run directory, daemon */
doctor_check doctor_config, doctor_reload, doctor_names, doctor_user, doctor_run_dir, doctor_state,
	doctor_daemon;
/* --- doctor_home.c: the qmail homes */
doctor_check doctor_home, doctor_control, doctor_flag, doctor_queue;
/* --- doctor_plugins.c: control/smtpplugins and what it names */
doctor_check doctor_lines, doctor_ours, doctor_trial, doctor_old_plugins, doctor_auth;
/* --- doctor_host.c: the rest of the host */
doctor_check doctor_server, doctor_spp, doctor_cron, doctor_relayd, doctor_inotify, doctor_events;

#endif
