/* SPDX-License-Identifier: ISC */
/* doctor_home - the qmail homes: may we read the queue and write the flag, is a flag there now */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "lib/fdio.h"
#include "lib/flag.h"

static const char *
home_path(const char *home, const char *name, char ret[DOCTOR_PATH_MAX])
{
	(void)snprintf(ret, DOCTOR_PATH_MAX, "%s/%s", home, name);
	return ret;
}

/* --- there? ---------------------------------------------------------------------------------- */

static bool
is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void
check_home(struct doctor *d, const char *home)
{
	static const char *const dirs[] = { "control", "queue" };
	char path[DOCTOR_PATH_MAX];

	for (size_t i = 0; i < 2; i++) {
		if (is_directory(home_path(home, dirs[i], path)))
			continue;
		doctor_bad(d, "%s: no such directory", path);
		doctor_advise(d, "is qmail there? qmail.home in %s says where", d->cli->config_path);
		return;
	}
	if (access(home_path(home, "bin/qmail-smtpd", path), X_OK) < 0) {
		doctor_warn(d, "%s: %s", path, strerror(errno));
		doctor_advise(d, "a gate without a qmail-smtpd behind it: is it the home that takes "
			"mail from outside?");
		return;
	}
	doctor_ok(d, "%s has control/, queue/ and bin/qmail-smtpd", home);
}

void
doctor_home(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++)
		check_home(d, homes->s[i]);
}

/* --- control/ -------------------------------------------------------------------------------- */

void
doctor_control(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++) {
		char path[DOCTOR_PATH_MAX];
		struct err why;
		int r = doctor_owner(home_path(homes->s[i], "control", path), &why);

		if (r == 0) {
			doctor_ok(d, "%s belongs to who may write there", path);
		} else if (r != -ENOENT) { /* that is told by "home" */
			doctor_bad(d, "%s", why.text);
			doctor_advise(d, "spillwayd does not start: others could lead root astray by "
				"links there: chown root %s && chmod o-w %s", path, path);
		}
	}
}

/* --- control/overloaded ---------------------------------------------------------------------- */

static void
first_line(const char *path, char *ret, size_t cap)
{
	ssize_t n = doctor_read(path, ret, cap);

	ret[n > 0 ? strcspn(ret, "\n") : 0] = '\0';
}

static void
check_flag(struct doctor *d, const char *home)
{
	char path[DOCTOR_PATH_MAX], line[FLAG_LINE_MAX];
	int owner = flag_look(AT_FDCWD, home_path(home, FLAG_PATH, path), NULL);
	int daemon = offline_daemon_pid(d->cli->run_dir);

	first_line(path, line, sizeof(line));
	if (owner == FLAG_ABSENT) {
		doctor_ok(d, "%s is not there", path);
	} else if (owner == FLAG_PIN) {
		doctor_warn(d, "%s is an operator's: the gate is closed to strangers until somebody "
			"removes it", path);
		doctor_advise(d, "if nobody wants that any more: rm %s", path);
	} else if (owner == FLAG_OURS && daemon == 0) {
		doctor_bad(d, "%s was left behind by a daemon that is gone: %s", path, line);
		doctor_advise(d, "our plugins do not believe it, others do: spillway neutral --offline");
	} else if (owner == FLAG_OURS) {
		doctor_ok(d, "%s is ours: %s", path, line);
	} else if (owner != -ENOENT) {
		doctor_bad(d, "%s can't be looked at: %s", path, strerror(-owner));
	}
}

void
doctor_flag(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++)
		check_flag(d, homes->s[i]);
}

/* --- queue ----------------------------------------------------------------------------------- */

static void
advise_group(struct doctor *d, const char *path)
{
	const struct group *gr;
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	gr = getgrgid(st.st_gid);
	if ((st.st_mode & (S_IRGRP | S_IXGRP)) == (S_IRGRP | S_IXGRP) && gr != NULL)
		doctor_advise(d, "its group %s may: put \"%s\" into service.groups, and restart "
			"spillwayd", gr->gr_name, gr->gr_name);
	else
		doctor_advise(d, "its mode is %04o; qmail's own is 0750 qmailq:qmail", st.st_mode & 07777);
}

/* Returns the parts, or < 0 after telling. */
static int
check_part(struct doctor *d, const char *home, const char *name)
{
	char path[DOCTOR_PATH_MAX], bad[DOCTOR_PATH_MAX];
	int parts = doctor_parts(home_path(home, name, path), bad);

	if (parts < 0) {
		doctor_bad(d, "%s can't be read by who watches the queue: %s; so its readings stay "
			"unknown", bad, strerror(-parts));
		if (parts == -EACCES)
			advise_group(d, access(path, F_OK) == 0 ? path : home_path(home, "queue", path));
	}
	return parts;
}

static void
check_queue(struct doctor *d, const char *home)
{
	char layout[48] = "is plain";
	int mess = check_part(d, home, "queue/mess");
	int todo = check_part(d, home, "queue/todo");

	if (mess < 0 || todo < 0)
		return;
	if (mess == 0) {
		doctor_bad(d, "%s/queue/mess has no numbered directories: that is no queue of qmail", home);
		return;
	}
	if (todo > 0)
		(void)snprintf(layout, sizeof(layout), "has %d parts (big-todo)", todo);
	doctor_ok(d, "%s/queue: who watches it can read mess, in %d parts, and todo, which %s", home,
		mess, layout);
}

void
doctor_queue(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++)
		check_queue(d, homes->s[i]);
}
