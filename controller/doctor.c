/* SPDX-License-Identifier: ISC */
#include "controller/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controller/setup.h"
#include "lib/array.h"
#include "lib/clock.h"
#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/text.h"

#define BURY_MS 200
#define PROCESSES_MAX 100000
#define PARTS_MAX 4096 /* as many as the probe of the queue watches */

enum as {
	AS_CALLER,
	AS_SERVICE, /* the engine's user, with its groups */
	AS_SMTPD, /* the user of qmail-smtpd and its plugins */
};

/* In the order in which things depend on each other. */
static const struct {
	const char *name;
	doctor_check *check;
	enum as as;
} checks[] = {
	{ "config", doctor_config, AS_CALLER },
	{ "names", doctor_names, AS_CALLER },
	{ "user", doctor_user, AS_CALLER },
	{ "reload", doctor_reload, AS_SERVICE },
	{ "home", doctor_home, AS_CALLER },
	{ "control", doctor_control, AS_CALLER },
	{ "flag", doctor_flag, AS_CALLER },
	{ "queue", doctor_queue, AS_SERVICE },
	{ "plugins", doctor_lines, AS_SMTPD },
	{ "plugin", doctor_ours, AS_SMTPD },
	{ "plugin-run", doctor_trial, AS_SMTPD },
	{ "old-plugin", doctor_old_plugins, AS_CALLER },
	{ "auth-plugin", doctor_auth, AS_CALLER },
	{ "server", doctor_server, AS_CALLER },
	{ "spp", doctor_spp, AS_CALLER },
	{ "run_dir", doctor_run_dir, AS_CALLER },
	{ "state", doctor_state, AS_SMTPD },
	{ "cron", doctor_cron, AS_CALLER },
	{ "relayd", doctor_relayd, AS_CALLER },
	{ "inotify", doctor_inotify, AS_SERVICE },
	{ "events", doctor_events, AS_CALLER },
	{ "daemon", doctor_daemon, AS_CALLER },
};

/* --- findings -------------------------------------------------------------------------------- */

static void
send_pending(struct doctor *d)
{
	if (d->pending && d->found <= DOCTOR_FINDINGS_MAX)
		(void)fd_write_all(d->out, &d->last, sizeof(d->last)); /* nobody there: nobody to tell */
	d->pending = false;
}

/* Much of it comes from files and names on the host: it is made printable here, once for all checks. */
static void __attribute__((format(printf, 2, 0)))
fill(char ret[FINDING_TEXT_MAX], const char *fmt, va_list ap, const char *note)
{
	char raw[FINDING_TEXT_MAX];
	struct text t = text_in(ret, FINDING_TEXT_MAX);

	(void)vsnprintf(raw, sizeof(raw), fmt, ap);
	text_put_printable(&t, raw, strlen(raw), sizeof(raw));
	text_puts(&t, note);
}

static void __attribute__((format(printf, 3, 0)))
tell(struct doctor *d, enum finding_status status, const char *fmt, va_list ap)
{
	send_pending(d);
	d->last.status = status == FINDING_BAD && d->powerless ? FINDING_WARN : status;
	d->last.advice[0] = '\0';
	fill(d->last.text, fmt, ap, d->note);
	d->pending = true;
	d->found++;
}

void
doctor_ok(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(d, FINDING_OK, fmt, ap);
	va_end(ap);
}

void
doctor_warn(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(d, FINDING_WARN, fmt, ap);
	va_end(ap);
}

void
doctor_bad(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(d, FINDING_BAD, fmt, ap);
	va_end(ap);
}

void
doctor_advise(struct doctor *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(d->last.advice, fmt, ap, "");
	va_end(ap);
}

/* --- looking --------------------------------------------------------------------------------- */

void
doctor_path(const struct doctor *d, const char *path, char ret[DOCTOR_PATH_MAX])
{
	(void)snprintf(ret, DOCTOR_PATH_MAX, "%s%s", d->root, path);
}

ssize_t
doctor_read(const char *path, char *buf, size_t cap)
{
	int fd = fd_open_regular(AT_FDCWD, path, 0, (off_t)1 << 40);

	if (fd < 0)
		return fd;
	ssize_t n = fd_read_full(fd, buf, cap - 1);
	(void)close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

int64_t
doctor_number(const struct doctor *d, const char *path)
{
	char full[DOCTOR_PATH_MAX], text[32];
	uint64_t v;

	doctor_path(d, path, full);
	ssize_t n = doctor_read(full, text, sizeof(text));
	if (n < 0)
		return n;
	text[strcspn(text, "\n")] = '\0';
	int r = num_u64(text, &v);
	return r < 0 ? r : v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

void
doctor_processes(const struct doctor *d, void (*each)(const char *dir, const char *comm, void *arg), void *arg)
{
	char proc[DOCTOR_PATH_MAX], dir[DOCTOR_PATH_MAX + 300], path[DOCTOR_PATH_MAX + 310], comm[32];
	const struct dirent *e;
	unsigned n = 0;

	doctor_path(d, "/proc", proc);
	DIR *all = opendir(proc);
	while (all != NULL && n < PROCESSES_MAX && (e = readdir(all)) != NULL) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		n++;
		(void)snprintf(dir, sizeof(dir), "%s/%s", proc, e->d_name);
		(void)snprintf(path, sizeof(path), "%s/comm", dir);
		if (doctor_read(path, comm, sizeof(comm)) <= 0)
			continue; /* it has ended */
		comm[strcspn(comm, "\n")] = '\0';
		each(dir, comm, arg);
	}
	if (all != NULL)
		(void)closedir(all);
}

const char *
doctor_smtpd_user(const struct config *c)
{
	const struct cfg_list *users = &c->service.plugin_users;

	for (unsigned i = 0; i < users->n; i++)
		if (strcmp(users->s[i], "root") != 0)
			return users->s[i];
	return "";
}

int
doctor_owner(const char *path, struct err *why)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(why, -errno, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(why, -ENOTDIR, "%s is not a directory", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(why, -EPERM, "%s belongs to uid %u; allowed: root, or who runs spillwayd",
			path, st.st_uid);
	if ((st.st_mode & S_IWOTH) != 0)
		return err_set(why, -EPERM, "%s can be written by everybody", path);
	return 0;
}

/* Can it be read as the probe of the queue reads it?  Returns 0 or -errno. */
static int
try_list(const char *path)
{
	DIR *d = opendir(path);

	if (d == NULL)
		return -errno;
	(void)closedir(d);
	return faccessat(AT_FDCWD, path, R_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

int
doctor_parts(const char *path, char ret_bad[DOCTOR_PATH_MAX])
{
	const struct dirent *e;
	struct stat st;
	uint64_t number;
	int n = 0, r = try_list(path);

	(void)snprintf(ret_bad, DOCTOR_PATH_MAX, "%s", path);
	DIR *d = r == 0 ? opendir(path) : NULL;
	if (d == NULL)
		return r < 0 ? r : -errno;
	while (r == 0 && n < PARTS_MAX && (e = readdir(d)) != NULL) {
		if (num_u64(e->d_name, &number) < 0
			|| fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			continue;
		(void)snprintf(ret_bad, DOCTOR_PATH_MAX, "%s/%s", path, e->d_name);
		r = try_list(ret_bad);
		n++;
	}
	(void)closedir(d);
	return r < 0 ? r : n;
}

/* --- a check in its process ------------------------------------------------------------------ */

static void
note(struct doctor *d, const char *user, const char *why)
{
	(void)snprintf(d->note, sizeof(d->note), " (looked at as uid %u instead of %s: %s)", geteuid(),
		user, why);
	d->powerless = geteuid() != 0;
}

/* Become who counts, or say why not. */
static void
become(struct doctor *d, enum as as)
{
	const struct config *c = &d->cli->config;
	static const struct cfg_list none;
	const char *user = as == AS_SERVICE ? c->service.user : doctor_smtpd_user(c);
	const struct passwd *pw;
	struct identity id;
	struct err why;

	if (as == AS_CALLER || user[0] == '\0')
		return;
	pw = getpwnam(user);
	if (pw != NULL && pw->pw_uid == geteuid() && geteuid() != 0)
		return;
	if (geteuid() != 0)
		note(d, user, "only root can");
	else if (privilege_find(user, as == AS_SERVICE ? &c->service.groups : &none, &id, &why) < 0)
		note(d, user, "there is no such user or group");
	else if (privilege_drop(&id, &why) < 0)
		note(d, user, why.text);
}

static void
run_check(struct doctor *d, size_t i)
{
	(void)setpgid(0, 0); /* so that whatever it starts ends with it */
	(void)prctl(PR_SET_NAME, checks[i].name);
	become(d, checks[i].as);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of user, which clears it */
	checks[i].check(d);
	send_pending(d);
	_exit(0);
}

/* Hand over what comes, until it ends or the deadline.  Returns whether it ended. */
static bool
collect(int fd, void (*each)(const struct finding *, void *), void *arg)
{
	mono_t deadline = mono_after(mono_now(), DOCTOR_DEADLINE_MS);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct finding f;

	for (;;) {
		int64_t left = mono_since(mono_now(), deadline);
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		/* Less than PIPE_BUF, and written at once: never in parts. */
		if (read(fd, &f, sizeof(f)) != (ssize_t)sizeof(f))
			return true;
		each(&f, arg);
	}
}

/* Returns its status.  One that waits for a dead disk can't be killed: it is left to init, -1. */
static int
bury(pid_t pid)
{
	mono_t deadline = mono_after(mono_now(), BURY_MS);
	int status;

	do {
		pid_t p = waitpid(pid, &status, WNOHANG);

		if (p != 0)
			return p == pid ? status : -1;
		(void)poll(NULL, 0, 5);
	} while (mono_now().ms < deadline.ms);
	return -1;
}

static void
examine_one(struct doctor *d, size_t i, void (*each)(const struct finding *, void *), void *arg)
{
	struct finding f = { .status = FINDING_WARN };
	int fd[2], status = 0;

	(void)snprintf(f.name, sizeof(f.name), "%s", checks[i].name);
	(void)snprintf(d->last.name, sizeof(d->last.name), "%s", checks[i].name);
	(void)fflush(stdout);
	pid_t pid = pipe2(fd, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid < 0) {
		(void)snprintf(f.text, sizeof(f.text), "could not be looked at: %s", strerror(errno));
		each(&f, arg);
		return;
	}
	if (pid == 0) {
		d->out = fd[1];
		run_check(d, i);
	}
	(void)close(fd[1]);
	bool ended = collect(fd[0], each, arg);
	if (!ended)
		(void)kill(-pid, SIGKILL);
	status = bury(pid);
	(void)close(fd[0]);
	if (ended && status == 0)
		return;
	(void)snprintf(f.text, sizeof(f.text), ended ? "the check itself failed (status %d)"
		: "no answer within %d ms: something that it looks at is dead, perhaps a network disk",
		ended ? status : DOCTOR_DEADLINE_MS);
	each(&f, arg);
}

void
doctor_examine(const struct cli *cli, const char *root, const char *only,
	void (*each)(const struct finding *f, void *arg), void *arg)
{
	char plugin[DOCTOR_PATH_MAX];
	struct doctor d = { .cli = cli, .root = root, .plugin = plugin };

	doctor_path(&d, SETUP_PLUGIN, plugin);
	for (size_t i = 0; i < countof(checks); i++)
		if (only == NULL || strcmp(only, checks[i].name) == 0)
			examine_one(&d, i, each, arg);
}

/* --- the command ----------------------------------------------------------------------------- */

struct result {
	bool json, bad;
	json_t *checks;
};

static const char *const status_words[] = {
	[FINDING_OK] = "ok", [FINDING_WARN] = "warn", [FINDING_BAD] = "bad",
};

void
doctor_print(const struct finding *f)
{
	(void)printf("%-5s %s: %s\n", status_words[f->status], f->name, f->text);
	if (f->advice[0] != '\0')
		(void)printf("      %s\n", f->advice);
}

static void
take(const struct finding *f, void *arg)
{
	struct result *r = arg;

	r->bad = r->bad || f->status == FINDING_BAD;
	if (r->json)
		(void)json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s, s:s}", "name", f->name,
			"status", status_words[f->status], "text", f->text, "advice", f->advice));
	else
		doctor_print(f);
}

int
doctor_run(struct cli *cli, int argc, char **argv)
{
	const char *root = getenv(DOCTOR_ROOT_ENV);
	struct result r = { .json = cli->json };

	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "doctor: takes no arguments");
	r.checks = json_array();
	(void)signal(SIGPIPE, SIG_IGN); /* a daemon that hangs up is a finding */
	doctor_examine(cli, root != NULL ? root : "", NULL, take, &r);
	if (r.json) {
		json_t *j = json_pack("{s:b, s:O}", "ok", !r.bad, "checks", r.checks);

		cli_print_json(j);
		json_decref(j);
	}
	json_decref(r.checks);
	return r.bad ? CLI_NO : CLI_OK;
}
