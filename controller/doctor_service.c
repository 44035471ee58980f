/* SPDX-License-Identifier: ISC */
/* doctor_service - our own side: configuration, user, run directory, and the daemon when it runs */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "controller/setup.h"
#include "lib/clock.h"
#include "lib/rundir.h"
#include "lib/state.h"
#include "lib/version.h"

#define ERRORS_SHOWN 5

/* --- configuration --------------------------------------------------------------------------- */

/* Who writes it chooses where root writes. */
static void
check_mode(struct doctor *d, const struct stat *st)
{
	const char *path = d->cli->config_path;

	if ((st->st_uid != 0 && st->st_uid != geteuid()) || (st->st_mode & S_IWOTH) != 0) {
		doctor_bad(d, "%s can be changed by others than root (owner uid %u, mode %04o)", path,
			st->st_uid, st->st_mode & 07777);
		doctor_advise(d, "who writes it chooses where root writes: chown root %s && chmod 0640 "
			"%s", path, path);
	} else if ((st->st_mode & S_IWGRP) != 0 && st->st_gid != 0) {
		doctor_warn(d, "%s can be changed by group %u", path, st->st_gid);
		doctor_advise(d, "whoever is in that group chooses where root writes: chmod 0640 %s", path);
	}
}

void
doctor_config(struct doctor *d)
{
	const struct cli *cli = d->cli;
	struct stat st;

	if (stat(cli->config_path, &st) < 0) {
		doctor_bad(d, "%s: %s", cli->config_path, strerror(errno));
		if (errno == ENOENT)
			doctor_advise(d, "spillwayd does not start without one, and the rest here goes "
				"by the defaults; `spillway setup --yes` makes it from the example");
		return;
	}
	for (unsigned i = 0; i < cli->errors.n && i < ERRORS_SHOWN; i++)
		doctor_bad(d, "%s", cli->errors.e[i].text);
	if (cli->config_ok)
		doctor_ok(d, "%s is valid", cli->config_path);
	else
		doctor_advise(d, "a running spillwayd keeps what it read before, but it can't be "
			"started; the rest here goes by the defaults; `spillway check` tests a change");
	check_mode(d, &st);
}

void
doctor_reload(struct doctor *d)
{
	const char *path = d->cli->config_path;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return; /* told by "config" */
	if (fd < 0) {
		doctor_bad(d, "the daemon's user can't read %s: %s", path, strerror(errno));
		doctor_advise(d, "`spillway reload` would fail: chgrp %s %s && chmod 0640 %s, and 0755 "
			"for its directory", d->cli->config.service.user, path, path);
		return;
	}
	(void)close(fd);
	doctor_ok(d, "the daemon's user can read %s", path);
}

void
doctor_names(struct doctor *d)
{
	struct config c = d->cli->config;
	char missing[300];

	config_resolve(&c, missing, sizeof(missing));
	if (missing[0] == '\0') {
		doctor_ok(d, "all users and groups of service.plugin_users and service.operators exist");
		return;
	}
	doctor_warn(d, "service.plugin_users or service.operators name who is not on this host: %s", missing);
	doctor_advise(d, "refusals told by a plugin are counted only when its user is in plugin_users: "
		"the one that qmail-smtpd runs as");
}

/* --- user ------------------------------------------------------------------------------------ */

static void
check_groups(struct doctor *d, const struct config_service *s, uid_t uid)
{
	char list[300] = "";
	bool all = true;

	for (unsigned i = 0; i < s->groups.n; i++) {
		size_t len = strlen(list);

		(void)snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", s->groups.s[i]);
		if (getgrnam(s->groups.s[i]) != NULL)
			continue;
		all = false;
		doctor_bad(d, "service.groups names %s: there is no such group", s->groups.s[i]);
		doctor_advise(d, "spillwayd does not start so; put the group there that may read the "
			"queue, often qmail");
	}
	if (all)
		doctor_ok(d, "%s is uid %u, and gets the groups: %s", s->user, uid, list[0] != '\0'
			? list : "none");
}

void
doctor_user(struct doctor *d)
{
	const struct config_service *s = &d->cli->config.service;
	const struct passwd *pw;

	if (s->user[0] == '\0') {
		doctor_ok(d, "service.user is empty: the daemon runs as whoever starts it");
		return;
	}
	pw = getpwnam(s->user);
	if (pw == NULL) {
		doctor_bad(d, "service.user is %s: there is no such user", s->user);
		doctor_advise(d, "`spillway setup --yes` makes it; or change service.user");
		return;
	}
	check_groups(d, s, pw->pw_uid);
	if (pw->pw_uid == 0) {
		doctor_warn(d, "service.user %s has root's rights", s->user);
		doctor_advise(d, "give it a user of its own, so that a bug in it can't do harm");
	}
}

/* --- run directory --------------------------------------------------------------------------- */

static bool
is_in_memory(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

void
doctor_run_dir(struct doctor *d)
{
	const char *dir = d->cli->run_dir, *at = dir;
	char parent[CFG_STRING_MAX];
	struct stat st;

	(void)snprintf(parent, sizeof(parent), "%s", dir);
	char *slash = strrchr(parent, '/');
	if (slash != NULL)
		slash[slash == parent] = '\0';
	bool there = stat(dir, &st) == 0;
	if (!there)
		at = parent;
	if (there && (!S_ISDIR(st.st_mode) || (st.st_mode & S_IWOTH) != 0)) {
		doctor_bad(d, "%s %s", dir, S_ISDIR(st.st_mode) ? "can be written by everybody"
			: "is not a directory");
		doctor_advise(d, "stop spillwayd, remove it, start spillwayd: it makes its own");
	} else if (!is_in_memory(at)) {
		doctor_warn(d, "%s is not on a tmpfs", dir);
		doctor_advise(d, "the state is written several times a second: on a disk that costs, "
			"and waits with it; service.run_dir is best below a /run in memory");
	} else {
		doctor_ok(d, there ? "%s is on a tmpfs" : "%s will be on a tmpfs", dir);
	}
	if (strcmp(dir, RUNDIR_DEFAULT) != 0) {
		doctor_warn(d, "%s is not the default " RUNDIR_DEFAULT, dir);
		doctor_advise(d, "plugins look there only with " RUNDIR_ENV "=%s in the environment of "
			"qmail-smtpd", dir);
	}
}

/* --- what plugins see of it ------------------------------------------------------------------- */

static json_t *
ask(const struct doctor *d, const char *command, struct err *why)
{
	return client_exchange(d->cli->run_dir, json_pack("{s:s}", "command", command), why);
}

static void
judge_state(struct doctor *d, const struct state *s)
{
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];

	if (clock_boot_id(boot_id) == 0 && state_is_current(s, mono_now(), boot_id)) {
		doctor_ok(d, "the published state can be read and is current: %s", level_name(s->level));
		return;
	}
	doctor_warn(d, "the published state in %s is outdated: plugins do not believe it, and let "
		"everybody in", d->cli->run_dir);
	doctor_advise(d, "spillwayd has ended without a word, or stands still: see \"daemon\" below");
}

void
doctor_state(struct doctor *d)
{
	const char *dir = d->cli->run_dir;
	struct state s;
	struct err why;
	int r = state_read(dir, &s);

	if (r == 0) {
		judge_state(d, &s);
		return;
	}
	json_t *daemon = ask(d, "status", &why);
	if (r == -ENOENT && daemon == NULL) {
		doctor_ok(d, "nothing is published in %s, for no daemon runs: plugins let everybody in", dir);
	} else {
		doctor_bad(d, "plugins can't read the published state in %s: %s", dir, strerror(-r));
		doctor_advise(d, "they let everybody in, however full the queue is; %s", r == -EACCES
			? "the user of qmail-smtpd must be able to search that directory: chmod 0755"
			: "restart spillwayd, and plugins and daemon must be of the same version");
	}
	json_decref(daemon);
}

/* --- daemon ---------------------------------------------------------------------------------- */

static const char *
text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s != NULL ? s : "";
}

static void
check_parts(struct doctor *d, const json_t *status)
{
	const json_t *config = json_object_get(status, "config"),
		*store = json_object_get(status, "store"), *home;
	size_t i;

	if (!json_is_true(json_object_get(config, "ok"))) {
		doctor_bad(d, "the daemon goes on with the configuration it read before: %s",
			text_of(config, "error"));
		doctor_advise(d, "correct the file, then `spillway reload`");
	}
	if (!json_is_true(json_object_get(store, "ok"))) {
		doctor_bad(d, "history is not being written: %s", text_of(store, "text"));
		doctor_advise(d, "look at space and rights of service.state_dir, %s; decisions do not "
			"depend on it", d->cli->config.service.state_dir);
	}
	json_array_foreach(json_object_get(status, "homes"), i, home) {
		if (text_of(home, "error")[0] == '\0')
			continue;
		doctor_bad(d, "the daemon can't write or remove %s/control/overloaded: %s",
			text_of(home, "home"), text_of(home, "error"));
		doctor_advise(d, "plugins of ours go by the published state all the same; others never "
			"see a flag");
	}
}

static void
check_probes(struct doctor *d)
{
	struct err why;
	json_t *reply = ask(d, "probes", &why);
	const json_t *p;
	size_t i;

	json_array_foreach(json_object_get(reply, "probes"), i, p) {
		if (json_is_true(json_object_get(p, "ok"))
			|| strstr(text_of(p, "error"), "switched off") != NULL)
			continue;
		doctor_bad(d, "probe %s sees nothing: %s", text_of(p, "name"), text_of(p, "error"));
		doctor_advise(d, "its readings are unknown and have no vote; `spillway probes` shows all");
	}
	json_decref(reply);
}

void
doctor_daemon(struct doctor *d)
{
	struct err why;
	json_t *status = ask(d, "status", &why);

	if (status == NULL || !json_is_true(json_object_get(status, "ok"))) {
		doctor_bad(d, "%s", status == NULL ? why.text : "the daemon answers, but does not "
			"understand us");
		doctor_advise(d, "nobody watches the queue now; look at its log, or start it: sv up "
			"spillway, svc -u /service/spillway, or systemctl start spillway");
		json_decref(status);
		return;
	}
	doctor_ok(d, "version %s runs (pid %lld): level %s, gate %s", text_of(status, "version"),
		(long long)json_integer_value(json_object_get(status, "pid")), text_of(status, "level"),
		text_of(status, "gate"));
	if (strcmp(text_of(status, "version"), SPILLWAY_VERSION) != 0) {
		doctor_warn(d, "the daemon is version %s, this command is " SPILLWAY_VERSION,
			text_of(status, "version"));
		doctor_advise(d, "restart spillwayd");
	}
	check_parts(d, status);
	check_probes(d);
	json_decref(status);
}
