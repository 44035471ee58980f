/* SPDX-License-Identifier: ISC */
/*
 * setup_service - spillwayd under the supervisor that this host has
 *
 * Files first, whole; the link or the enabling, which starts it, last.  Files that are there and
 * differ from ours belong to whoever changed them, and stay.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "controller/setup.h"
#include "lib/array.h"
#include "lib/clock.h"
#include "lib/rundir.h"
#include "lib/text.h"

#define UNIT "/etc/systemd/system/spillway.service"
#define UNIT_WANTED "/etc/systemd/system/multi-user.target.wants/spillway.service"
#define RUNIT_DIR "/etc/sv/spillway"
#define DAEMONTOOLS_DIR "/etc/spillway/daemontools"
#define STOP_MS 10000
#define ENTRIES_MAX 100

enum supervisor {
	SUPERVISOR_NONE,
	SUPERVISOR_SYSTEMD,
	SUPERVISOR_RUNIT,
	SUPERVISOR_DAEMONTOOLS,
};

/* --- which one? ------------------------------------------------------------------------------- */

static bool
is_directory(const struct setup *s, const char *path)
{
	char full[SETUP_PATH_MAX];
	struct stat st;

	setup_path(s, path, full);
	return stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where runsvdir looks, or NULL. */
static const char *
runsvdir_of(const struct setup *s)
{
	static const char *const dirs[] = { "/etc/service", "/service", "/var/service" };

	for (size_t i = 0; i < countof(dirs); i++)
		if (is_directory(s, dirs[i]))
			return dirs[i];
	return NULL;
}

static void
note_svscan(const char *dir, const char *comm, void *arg)
{
	bool *found = arg;

	(void)dir;
	*found = *found || strcmp(comm, "svscan") == 0;
}

static bool
svscan_runs(const struct setup *s)
{
	const struct doctor d = { .root = s->root };
	bool found = false;

	doctor_processes(&d, note_svscan, &found);
	return found;
}

static enum supervisor
find_supervisor(const struct setup *s)
{
	if (is_directory(s, "/run/systemd/system"))
		return SUPERVISOR_SYSTEMD;
	if (is_directory(s, "/service") && svscan_runs(s))
		return SUPERVISOR_DAEMONTOOLS;
	if (is_directory(s, "/etc/sv") && runsvdir_of(s) != NULL)
		return SUPERVISOR_RUNIT;
	return SUPERVISOR_NONE;
}

static enum supervisor
asked_for(const struct setup *s)
{
	static const char *const words[] = {
		[SUPERVISOR_NONE] = "none", [SUPERVISOR_SYSTEMD] = "systemd", [SUPERVISOR_RUNIT] = "runit",
		[SUPERVISOR_DAEMONTOOLS] = "daemontools",
	};

	for (size_t i = 0; i < countof(words); i++)
		if (s->cli->service != NULL && strcmp(s->cli->service, words[i]) == 0)
			return (enum supervisor)i;
	return find_supervisor(s);
}

/* --- files ----------------------------------------------------------------------------------- */

/* Put `template` at `path`, with the text as `fit` leaves it. */
static int
put_file(struct setup *s, const char *template, const char *path, mode_t mode,
	int (*fit)(const struct setup *s, char text[SETUP_TEXT_MAX]))
{
	static char text[SETUP_TEXT_MAX];
	char full[SETUP_PATH_MAX], dir[SETUP_PATH_MAX];
	struct err why;
	struct stat st;

	setup_path(s, path, full);
	if (setup_template(s, template, text, &why) < 0)
		return setup_fail(s, &why);
	if (fit != NULL && fit(s, text) < 0)
		return setup_stop(s, "%s gets too long", path);
	if (setup_has_text(full, text)) {
		setup_done(s, "%s is as we ship it", full);
		return 0;
	}
	if (lstat(full, &st) == 0) {
		setup_keep(s, "%s differs from %s/%s: it stays as it is", full, s->share, template);
		return 0;
	}
	if (!setup_todo(s, "put %s/%s at %s", s->share, template, full))
		return 0;
	(void)snprintf(dir, sizeof(dir), "%s", full);
	*strrchr(dir, '/') = '\0';
	const struct setup_file f = {
		.text = text, .len = strlen(text), .mode = mode, .uid = (uid_t)-1, .gid = (gid_t)-1,
	};
	if (setup_directory(dir, &why) < 0 || setup_write(full, &f, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

struct service_file {
	const char *template, *path;
};

static int
put_scripts(struct setup *s, const struct service_file *f, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = put_file(s, f[i].template, f[i].path, 0755, NULL);
	return r;
}

/* Link DIR/spillway to the service: from then on it runs. */
static int
put_service_link(struct setup *s, const char *dir, const char *target)
{
	char path[SETUP_PATH_MAX], full[SETUP_PATH_MAX], to[SETUP_PATH_MAX];
	struct stat st;
	struct err why;

	(void)snprintf(path, sizeof(path), "%s/spillway", dir);
	setup_path(s, path, full);
	setup_path(s, target, to);
	if (setup_is_link_to(full, to)) {
		setup_done(s, "%s is linked to %s", full, to);
		return 0;
	}
	if (lstat(full, &st) == 0) {
		setup_keep(s, "%s is there, and not ours: it stays as it is", full);
		return 0;
	}
	if (!setup_todo(s, "link %s to %s: the supervisor starts it within 5 s", full, to))
		return 0;
	return setup_link(full, to, &why) < 0 ? setup_fail(s, &why) : 0;
}

/* --- systemd ---------------------------------------------------------------------------------- */

/* The example is for the default places; this is for those of the configuration. */
static int
fit_unit(const struct setup *s, char text[SETUP_TEXT_MAX])
{
	static const char run[] = "/run/";
	const struct config *c = &s->cli->config;
	char control[CFG_LIST_MAX * (CFG_STRING_MAX + 10)] = "", runtime[CFG_STRING_MAX + 32];
	struct text t = text_in(control, sizeof(control));

	for (unsigned i = 0; i < c->qmail.homes.n; i++) {
		text_puts(&t, i > 0 ? " " : "");
		text_puts(&t, c->qmail.homes.s[i]);
		text_puts(&t, "/control");
	}
	int r = setup_replace(text, "/var/qmail/control", control);
	if (r == 0)
		r = setup_replace(text, "/var/lib/spillway", c->service.state_dir);
	if (r < 0 || strcmp(c->service.run_dir, RUNDIR_DEFAULT) == 0)
		return r;
	/* Outside of /run it is for a person to make it, and to let spillwayd write there. */
	if (strncmp(c->service.run_dir, run, strlen(run)) == 0)
		(void)snprintf(runtime, sizeof(runtime), "\nRuntimeDirectory=%s\n",
			c->service.run_dir + strlen(run));
	else
		(void)snprintf(runtime, sizeof(runtime), "\nReadWritePaths=%s\n", c->service.run_dir);
	return setup_replace(text, "\nRuntimeDirectory=spillway\n", runtime);
}

static int
put_systemd(struct setup *s)
{
	const char *const reload[] = { "systemctl", "daemon-reload", NULL };
	const char *const enable[] = { "systemctl", "enable", "--now", "spillway.service", NULL };
	char wanted[SETUP_PATH_MAX];
	struct stat st;
	struct err why;
	int r = put_file(s, "systemd/spillway.service", UNIT, 0644, fit_unit);

	if (r != 0)
		return r;
	setup_path(s, UNIT_WANTED, wanted);
	if (lstat(wanted, &st) == 0) {
		setup_done(s, "spillway.service is enabled");
		return 0;
	}
	if (!setup_todo(s, "enable and start spillway.service"))
		return 0;
	if (setup_program(s, reload, &why) < 0 || setup_program(s, enable, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

/* --- runit and daemontools --------------------------------------------------------------------- */

static const struct service_file runit_files[] = {
	{ "runit/log/run", RUNIT_DIR "/log/run" },
	{ "runit/finish", RUNIT_DIR "/finish" },
	{ "runit/run", RUNIT_DIR "/run" },
};

static const struct service_file daemontools_files[] = {
	{ "daemontools/log/run", DAEMONTOOLS_DIR "/log/run" },
	{ "daemontools/run", DAEMONTOOLS_DIR "/run" },
};

static int
put_runit(struct setup *s)
{
	const char *dir = runsvdir_of(s);

	if (dir == NULL)
		return setup_stop(s, "none of /etc/service, /service, /var/service is there: where does "
			"runsvdir look? --service none leaves this out");
	int r = put_scripts(s, runit_files, countof(runit_files));
	return r != 0 ? r : put_service_link(s, dir, RUNIT_DIR);
}

static int
put_daemontools(struct setup *s)
{
	if (!is_directory(s, "/service"))
		return setup_stop(s, "there is no /service, where svscan looks; --service none leaves "
			"this out");
	int r = put_scripts(s, daemontools_files, countof(daemontools_files));
	return r != 0 ? r : put_service_link(s, "/service", DAEMONTOOLS_DIR);
}

int
setup_service(struct setup *s)
{
	switch (asked_for(s)) {
	case SUPERVISOR_SYSTEMD:
		return put_systemd(s);
	case SUPERVISOR_RUNIT:
		return put_runit(s);
	case SUPERVISOR_DAEMONTOOLS:
		return put_daemontools(s);
	case SUPERVISOR_NONE:
		break;
	}
	setup_keep(s, "no supervisor is set up%s: have yours run " SETUP_DAEMON "%s in the foreground, "
		"and %s/bin/spillway neutral --offline whenever it has ended; examples are in %s",
		s->cli->service == NULL ? ", for none was found (systemd, runit, daemontools)" : "",
		s->config_option, SPILLWAY_PREFIX, s->share);
	return 0;
}

/* --- undo ------------------------------------------------------------------------------------ */

/* Somebody reads the FIFO `ok` as long as runsv or supervise is there. */
static bool
is_supervised(const char *dir)
{
	char path[SETUP_PATH_MAX + 20];

	(void)snprintf(path, sizeof(path), "%s/supervise/ok", dir);
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static int
wait_unsupervised(const char *dir, struct err *why)
{
	mono_t deadline = mono_after(mono_now(), STOP_MS);

	while (is_supervised(dir)) {
		if (mono_now().ms >= deadline.ms)
			return err_set(why, -ETIMEDOUT, "the supervisor of %s does not end", dir);
		(void)poll(NULL, 0, 50);
	}
	return 0;
}

/* Files, then the directory: what the supervisor and we have put there; it has no directories of
 * others. */
static int
remove_files(const char *dir, struct err *why)
{
	char path[SETUP_PATH_MAX + 300];
	const struct dirent *e;
	DIR *all = opendir(dir);
	int r = 0;

	if (all == NULL)
		return errno == ENOENT ? 0 : err_sys(why, -errno, "%s", dir);
	for (unsigned n = 0; r == 0 && n < ENTRIES_MAX && (e = readdir(all)) != NULL; n++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.' && unlink(path) < 0 && errno != EISDIR && errno != ENOENT)
			r = err_sys(why, -errno, "cannot remove %s", path);
	}
	(void)closedir(all);
	if (r == 0 && rmdir(dir) < 0 && errno != ENOTEMPTY)
		r = err_sys(why, -errno, "cannot remove %s", dir);
	return r;
}

static int
remove_service_directory(const char *dir, struct err *why)
{
	static const char *const below[] = { "/log/supervise", "/log", "/supervise", "" };
	char path[SETUP_PATH_MAX + 20];
	int r = 0;

	for (size_t i = 0; i < countof(below) && r == 0; i++) {
		(void)snprintf(path, sizeof(path), "%s%s", dir, below[i]);
		r = remove_files(path, why);
	}
	return r;
}

/* First the link, so that nobody starts it again; then it ends, and its supervisor; then its files. */
static int
undo_linked(struct setup *s, const char *link_dir, const char *dir, const char *const *stop)
{
	char path[SETUP_PATH_MAX], link[SETUP_PATH_MAX], full[SETUP_PATH_MAX];
	struct err why;
	struct stat st;

	setup_path(s, dir, full);
	if (lstat(full, &st) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/spillway", link_dir != NULL ? link_dir : "/service");
	setup_path(s, path, link);
	if (!setup_todo(s, "stop the service, remove %s and %s", link, full))
		return 0;
	if (setup_is_link_to(link, full) && setup_remove(link, &why) < 0)
		return setup_fail(s, &why);
	if (is_supervised(full) && setup_program(s, stop, &why) < 0)
		return setup_fail(s, &why);
	if (wait_unsupervised(full, &why) < 0 || remove_service_directory(full, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

static int
undo_systemd(struct setup *s)
{
	const char *const disable[] = { "systemctl", "disable", "--now", "spillway.service", NULL };
	const char *const reload[] = { "systemctl", "daemon-reload", NULL };
	char full[SETUP_PATH_MAX];
	struct err why;

	setup_path(s, UNIT, full);
	if (access(full, F_OK) < 0)
		return 0;
	if (!setup_todo(s, "stop and disable spillway.service, remove %s", full))
		return 0;
	if (setup_program(s, disable, &why) < 0 || setup_remove(full, &why) < 0
		|| setup_program(s, reload, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

int
setup_undo_service(struct setup *s)
{
	/* -x: the supervisor ends too. */
	const char *const sv[] = { "sv", "-w", "7", "shutdown", RUNIT_DIR, NULL };
	const char *const svc[] = { "svc", "-dx", DAEMONTOOLS_DIR, DAEMONTOOLS_DIR "/log", NULL };
	unsigned before = s->todo;
	int r = undo_systemd(s);

	if (r == 0)
		r = undo_linked(s, runsvdir_of(s), RUNIT_DIR, sv);
	if (r == 0)
		r = undo_linked(s, "/service", DAEMONTOOLS_DIR, svc);
	if (r == 0 && s->todo == before)
		setup_done(s, "no service of ours is set up");
	return r;
}
