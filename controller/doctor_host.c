/* SPDX-License-Identifier: ISC */
/* doctor_host - the rest of the host: who serves SMTP, is qmail-spp on, and what gets in our way */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "lib/array.h"
#include "lib/fdio.h"
#include "lib/flag.h"

#define SERVERS_MAX 32
#define ENVIRON_MAX (256 * 1024)
#define CRONTAB_MAX (256 * 1024)
#define CRONTABS_MAX 500
#define PROGRAM_MAX (16 << 20)
#define WATCHES_RESERVE 64 /* of the same user, for other things */
#define INSTANCES_MIN 8
#define DGRAM_QLEN_MIN 64
#define DGRAM_QLEN_GOOD 512

/* --- who serves SMTP -------------------------------------------------------------------------- */

struct server {
	char comm[20];
	char pid[16];
	bool readable; /* its environment; the rest counts only then */
	bool enabled, forbidden; /* ENABLE_SPP, NOSPP */
	char conffile[CFG_STRING_MAX]; /* SPPCONFFILE */
};

struct servers {
	unsigned n; /* that serve qmail-smtpd */
	struct server s[SERVERS_MAX];
};

/* In strings with a NUL behind each (environ, cmdline): what follows `name`, or NULL. */
static const char *
find_string(const char *at, size_t len, const char *name)
{
	for (const char *p = at; p < at + len; p += strlen(p) + 1)
		if (strncmp(p, name, strlen(name)) == 0)
			return p + strlen(name);
	return NULL;
}

static bool
serves_smtp(const char *cmdline, size_t len)
{
	for (const char *p = cmdline; p < cmdline + len; p += strlen(p) + 1) {
		const char *slash = strrchr(p, '/');

		if (strstr(slash != NULL ? slash : p, "smtpd") != NULL
			&& strstr(slash != NULL ? slash : p, "rblsmtpd") == NULL)
			return true;
	}
	return false;
}

/* The server's environment, or what its command line sets by env(1). */
static void
note_variables(struct server *s, const char *at, size_t len)
{
	const char *conffile = find_string(at, len, "SPPCONFFILE=");

	s->enabled = s->enabled || find_string(at, len, "ENABLE_SPP=") != NULL;
	s->forbidden = s->forbidden || find_string(at, len, "NOSPP=") != NULL;
	if (conffile != NULL)
		(void)snprintf(s->conffile, sizeof(s->conffile), "%s", conffile);
}

static void
note_server(const char *dir, const char *comm, void *arg)
{
	static const char *const words[] = { "tcpsvd", "tcpserver", "sslsvd", "sslserver" };
	static char buf[ENVIRON_MAX];
	struct servers *all = arg;
	char path[DOCTOR_PATH_MAX + 320];
	bool is_server = false;

	for (size_t i = 0; i < countof(words); i++)
		is_server = is_server || strcmp(comm, words[i]) == 0;
	if (!is_server || all->n == SERVERS_MAX)
		return;
	(void)snprintf(path, sizeof(path), "%s/cmdline", dir);
	ssize_t n = doctor_read(path, buf, sizeof(buf));
	if (n <= 0 || !serves_smtp(buf, (size_t)n))
		return;
	struct server *s = &all->s[all->n++];
	const char *slash = strrchr(dir, '/');
	(void)snprintf(s->comm, sizeof(s->comm), "%s", comm);
	(void)snprintf(s->pid, sizeof(s->pid), "%s", slash != NULL ? slash + 1 : dir);
	note_variables(s, buf, (size_t)n);
	(void)snprintf(path, sizeof(path), "%s/environ", dir);
	n = doctor_read(path, buf, sizeof(buf));
	s->readable = n >= 0;
	if (n > 0)
		note_variables(s, buf, (size_t)n);
}

static bool
is_in_path(const char *name)
{
	const char *dirs = getenv("PATH");
	char path[DOCTOR_PATH_MAX];

	while (dirs != NULL && *dirs != '\0') {
		int n = (int)strcspn(dirs, ":");

		(void)snprintf(path, sizeof(path), "%.*s/%s", n, dirs, name);
		if (n > 0 && access(path, X_OK) == 0)
			return true;
		dirs += n + (dirs[n] == ':');
	}
	return false;
}

void
doctor_server(struct doctor *d)
{
	static struct servers all;

	doctor_processes(d, note_server, &all);
	for (unsigned i = 0; i < all.n; i++)
		doctor_ok(d, "%s (pid %s) serves qmail-smtpd", all.s[i].comm, all.s[i].pid);
	if (all.n > 0)
		return;
	if (is_in_path("tcpsvd") || is_in_path("tcpserver"))
		doctor_warn(d, "no tcpsvd or tcpserver that serves qmail-smtpd runs now, but they are "
			"installed");
	else
		doctor_warn(d, "neither tcpsvd nor tcpserver runs, nor are they in PATH");
	doctor_advise(d, "the gate works under any server of qmail-smtpd; start it, so that its "
		"environment can be looked at");
}

/* --- qmail-spp -------------------------------------------------------------------------------- */

/* What the qmail-smtpd of a home is made of. */
struct smtpd {
	bool readable, has_spp, needs_enable;
};

static struct smtpd
look_at_smtpd(const char *home)
{
	char path[DOCTOR_PATH_MAX];
	struct smtpd ret = { 0 };

	(void)snprintf(path, sizeof(path), "%s/bin/qmail-smtpd", home);
	int fd = fd_open_regular(AT_FDCWD, path, 0, PROGRAM_MAX);
	char *buf = fd >= 0 ? malloc(PROGRAM_MAX) : NULL;
	ssize_t n = buf != NULL ? fd_read_full(fd, buf, PROGRAM_MAX) : -1;
	if (n > 0) {
		ret.readable = true;
		ret.has_spp = memmem(buf, (size_t)n, "smtpplugins", strlen("smtpplugins")) != NULL;
		ret.needs_enable = memmem(buf, (size_t)n, "ENABLE_SPP", strlen("ENABLE_SPP")) != NULL;
	}
	free(buf);
	if (fd >= 0)
		(void)close(fd);
	return ret;
}

static void
check_server(struct doctor *d, const struct server *s, const struct smtpd *smtpd)
{
	if (!s->readable) {
		doctor_warn(d, "the environment of %s (pid %s) can't be read", s->comm, s->pid);
		doctor_advise(d, "run doctor as root");
	} else if (s->forbidden) {
		doctor_bad(d, "%s (pid %s) has NOSPP in its environment: no plugin runs", s->comm, s->pid);
		doctor_advise(d, "take NOSPP out of its run script and restart it");
	} else if (!s->enabled && smtpd->readable && !smtpd->needs_enable) {
		doctor_ok(d, "%s (pid %s): this qmail-smtpd runs plugins without being asked to",
			s->comm, s->pid);
	} else if (!s->enabled) {
		doctor_warn(d, "%s (pid %s) has no ENABLE_SPP in its environment: no plugin runs, "
			"unless tcprules set it", s->comm, s->pid);
		doctor_advise(d, "put ENABLE_SPP=1 and export ENABLE_SPP into its run script and restart it");
	} else {
		doctor_ok(d, "%s (pid %s) has ENABLE_SPP in its environment", s->comm, s->pid);
	}
	if (s->conffile[0] != '\0') {
		doctor_warn(d, "%s (pid %s) has SPPCONFFILE=%s: that file counts instead of "
			"control/smtpplugins", s->comm, s->pid, s->conffile);
		doctor_advise(d, "our line must stand there, which is not looked at here");
	}
}

void
doctor_spp(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;
	static struct servers all;
	struct smtpd smtpd = { 0 };

	for (unsigned i = 0; i < homes->n; i++) {
		smtpd = look_at_smtpd(homes->s[i]);
		if (!smtpd.readable || smtpd.has_spp)
			continue;
		doctor_bad(d, "%s/bin/qmail-smtpd knows nothing of control/smtpplugins: no plugin ever "
			"runs", homes->s[i]);
		doctor_advise(d, "it needs the qmail-spp patch, as in the combined qmails and "
			"notqmail's contributed patches");
		return;
	}
	doctor_processes(d, note_server, &all);
	for (unsigned i = 0; i < all.n; i++)
		check_server(d, &all.s[i], &smtpd);
	if (all.n > 0)
		return;
	if (smtpd.readable && !smtpd.needs_enable)
		doctor_ok(d, "this qmail-smtpd runs plugins without being asked to");
	else {
		doctor_warn(d, "no server of qmail-smtpd runs: whether ENABLE_SPP is set can't be seen");
		doctor_advise(d, "its run script needs ENABLE_SPP=1 and export ENABLE_SPP, or no "
			"plugin runs");
	}
}

/* --- cron ------------------------------------------------------------------------------------- */

struct cron {
	unsigned found, files, closed;
};

static void
read_crontab(struct doctor *d, const char *path, struct cron *c)
{
	static char text[CRONTAB_MAX];
	ssize_t n = doctor_read(path, text, sizeof(text));
	unsigned number = 0;

	c->files++;
	c->closed += n == -EACCES;
	if (n <= 0)
		return;
	for (char *line = text, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		number++;
		line += strspn(line, " \t");
		if (*line == '#' || strstr(line, FLAG_PATH) == NULL)
			continue;
		c->found++;
		doctor_bad(d, "%s:%u names " FLAG_PATH, path, number);
		doctor_advise(d, "it would remove our flag every minute, and by touching it make it an "
			"operator's, which stays: take the line out; spillway does all that it did");
	}
}

static void
read_crontabs(struct doctor *d, const char *dir, struct cron *c)
{
	char full[DOCTOR_PATH_MAX], path[DOCTOR_PATH_MAX + 300];
	const struct dirent *e;

	doctor_path(d, dir, full);
	DIR *all = opendir(full);
	if (all == NULL) {
		c->closed += errno == EACCES;
		return;
	}
	while (c->files < CRONTABS_MAX && (e = readdir(all)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", full, e->d_name);
		read_crontab(d, path, c); /* what is not a file can't be read */
	}
	(void)closedir(all);
}

void
doctor_cron(struct doctor *d)
{
	static const char *const dirs[] = { "/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron" };
	char path[DOCTOR_PATH_MAX];
	struct cron c = { 0 };

	doctor_path(d, "/etc/crontab", path);
	read_crontab(d, path, &c);
	for (size_t i = 0; i < countof(dirs); i++)
		read_crontabs(d, dirs[i], &c);
	if (c.closed > 0) {
		doctor_warn(d, "%u crontabs or their directories can't be read", c.closed);
		doctor_advise(d, "run doctor as root: one of them may still change " FLAG_PATH);
	} else if (c.found == 0) {
		doctor_ok(d, "no crontab names " FLAG_PATH);
	}
}

/* --- relayd of ra-plugins ---------------------------------------------------------------------- */

static void
note_relayd(const char *dir, const char *comm, void *arg)
{
	char *ret = arg;
	const char *slash = strrchr(dir, '/');

	if (strcmp(comm, "relayd") == 0 && slash != NULL)
		(void)snprintf(ret, DOCTOR_PATH_MAX, "a process relayd runs (pid %.20s)", slash + 1);
}

/* A file in `dir` whose name begins with "relayd". */
static void
find_relayd_file(const char *dir, char ret[DOCTOR_PATH_MAX])
{
	const struct dirent *e;
	DIR *all = opendir(dir);

	while (all != NULL && ret[0] == '\0' && (e = readdir(all)) != NULL)
		if (strncmp(e->d_name, "relayd", strlen("relayd")) == 0)
			(void)snprintf(ret, DOCTOR_PATH_MAX, "%.500s/%.255s is there", dir, e->d_name);
	if (all != NULL)
		(void)closedir(all);
}

void
doctor_relayd(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;
	char found[DOCTOR_PATH_MAX] = "", dir[DOCTOR_PATH_MAX];

	doctor_processes(d, note_relayd, found);
	doctor_path(d, "/etc", dir);
	find_relayd_file(dir, found);
	for (unsigned i = 0; i < homes->n; i++) {
		(void)snprintf(dir, sizeof(dir), "%s/control", homes->s[i]);
		find_relayd_file(dir, found);
	}
	if (found[0] == '\0') {
		doctor_ok(d, "no trace of ra-plugins' relayd");
		return;
	}
	doctor_ok(d, "%s: rate limits as of ra-plugins", found);
	doctor_advise(d, "keep relayd, ipthrottle and userthrottle: this version of spillway has no "
		"rate limits yet; they work beside it");
}

/* --- limits of the kernel ---------------------------------------------------------------------- */

static int64_t
watches_needed(const struct cfg_list *homes)
{
	static const char *const parts[] = { "mess", "todo" };
	int64_t n = 0;

	for (unsigned i = 0; i < homes->n; i++) {
		for (size_t k = 0; k < countof(parts); k++) {
			char path[DOCTOR_PATH_MAX], bad[DOCTOR_PATH_MAX];

			(void)snprintf(path, sizeof(path), "%s/queue/%s", homes->s[i], parts[k]);
			int r = doctor_parts(path, bad);
			n += 1 + (r >= 0 ? r : 23);
		}
	}
	return n;
}

void
doctor_inotify(struct doctor *d)
{
	int64_t need = watches_needed(&d->cli->config.qmail.homes);
	int64_t watches = doctor_number(d, "/proc/sys/fs/inotify/max_user_watches");
	int64_t instances = doctor_number(d, "/proc/sys/fs/inotify/max_user_instances");

	if (watches < 0 || instances < 0) {
		doctor_warn(d, "the limits of inotify in /proc/sys/fs/inotify can't be read");
		doctor_advise(d, "without inotify the readings of the queue are unknown");
		return;
	}
	if (watches < need + WATCHES_RESERVE) {
		doctor_bad(d, "fs.inotify.max_user_watches is %lld, the queue needs %lld", (long long)watches,
			(long long)need);
		doctor_advise(d, "sysctl -w fs.inotify.max_user_watches=%lld, and the same in "
			"/etc/sysctl.d/spillway.conf", (long long)need * 2 + 8192);
	}
	if (instances < INSTANCES_MIN) {
		doctor_bad(d, "fs.inotify.max_user_instances is %lld", (long long)instances);
		doctor_advise(d, "sysctl -w fs.inotify.max_user_instances=128, and the same in "
			"/etc/sysctl.d/spillway.conf");
	}
	if (watches >= need + WATCHES_RESERVE && instances >= INSTANCES_MIN)
		doctor_ok(d, "the queue needs %lld watches, %lld are allowed", (long long)need,
			(long long)watches);
}

void
doctor_events(struct doctor *d)
{
	int64_t qlen = doctor_number(d, "/proc/sys/net/unix/max_dgram_qlen");

	if (qlen >= DGRAM_QLEN_MIN) {
		doctor_ok(d, "net.unix.max_dgram_qlen is %lld", (long long)qlen);
		return;
	}
	if (qlen < 0)
		doctor_warn(d, "net.unix.max_dgram_qlen can't be read: %s", strerror((int)-qlen));
	else
		doctor_warn(d, "net.unix.max_dgram_qlen is %lld: in a flood plugins can't tell every refusal",
			(long long)qlen);
	doctor_advise(d, "counts and explain then miss some, nothing else: sysctl -w "
		"net.unix.max_dgram_qlen=%d, the same in /etc/sysctl.d/spillway.conf, and restart "
		"spillwayd", DGRAM_QLEN_GOOD);
}
