/* SPDX-License-Identifier: ISC */
/*
 * doctor_plugins - control/smtpplugins, and the programs that it names
 *
 * A line that can't be executed, or a plugin that crashes, is "451 qmail-spp failure" for
 * everybody: so every line is looked at, but only our own plugin is ever run.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "controller/setup.h"
#include "lib/clock.h"
#include "lib/fdio.h"
#include "lib/flag.h"
#include "lib/rundir.h"
#include "lib/smtp.h"

#define PROGRAM_MAX (8 << 20)
#define SCRIPT_MAX 65536
#define TRIAL_MS 1000
#define TRIAL_OUTPUT_MAX 4096
#define STAGE_PREFIX "spillway-"

/* One line of one home, as the checks see it. */
struct plugin {
	const struct smtpplugins_line *line;
	const char *home, *section;
	char where[DOCTOR_PATH_MAX]; /* file:line */
	char text[CFG_STRING_MAX]; /* as it stands in the file */
	char path[DOCTOR_PATH_MAX]; /* of the program; "" for a shell command */
	const char *name; /* last part of `path` */
};

typedef void plugin_check(struct doctor *d, const struct plugin *p, void *arg);

static void
plugin_of(const struct smtpplugins_line *l, const char *home, struct plugin *ret)
{
	*ret = (struct plugin) { .line = l, .home = home, .section = smtpplugins_section(l->section) };
	(void)snprintf(ret->where, sizeof(ret->where), "%s/" SMTPPLUGINS_PATH ":%u", home, l->number);
	(void)snprintf(ret->text, sizeof(ret->text), "%.*s", (int)(l->len < 1000 ? l->len : 1000), l->s);
	if (ret->text[0] == ':')
		return;
	(void)snprintf(ret->path, sizeof(ret->path), "%s%s%s", ret->text[0] == '/' ? "" : home,
		ret->text[0] == '/' ? "" : "/", ret->text);
	const char *slash = strrchr(ret->path, '/');
	ret->name = slash != NULL ? slash + 1 : ret->path;
}

/* Call `check` for each line that is no heading.  Returns 0, or -errno when the file can't be read. */
static int
each_line(struct doctor *d, const char *home, plugin_check *check, void *arg)
{
	static char text[SMTPPLUGINS_MAX + 2];
	struct smtpplugins_line l = { 0 };
	char path[DOCTOR_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" SMTPPLUGINS_PATH, home);
	ssize_t len = doctor_read(path, text, sizeof(text));
	if (len > SMTPPLUGINS_MAX)
		len = -EFBIG;
	while (len > 0 && smtpplugins_next(text, (size_t)len, &l)) {
		struct plugin p;

		if (l.heading)
			continue;
		plugin_of(&l, home, &p);
		check(d, &p, arg);
	}
	return len < 0 ? (int)len : 0;
}

static void
each_home(struct doctor *d, plugin_check *check, void *arg)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++)
		(void)each_line(d, homes->s[i], check, arg); /* when it can't be read, "plugins" tells */
}

/* --- can every line be executed? -------------------------------------------------------------- */

/* The interpreter of a script must be there as well, and a file that is neither script nor
 * program is refused by the kernel.  Returns 0, or why not. */
static const char *
why_not_started(const char *path, char buf[300])
{
	ssize_t n = doctor_read(path, buf, 300);

	if (n < 0)
		return NULL; /* may be executed, but not read: there is nothing more to say */
	if (n >= 4 && memcmp(buf, "\177ELF", 4) == 0)
		return NULL;
	if (n < 3 || memcmp(buf, "#!", 2) != 0)
		return "neither a program nor a script that begins with #!";
	char *interpreter = buf + 2 + strspn(buf + 2, " \t");
	interpreter[strcspn(interpreter, " \t\r\n")] = '\0';
	if (faccessat(AT_FDCWD, interpreter, X_OK, AT_EACCESS) < 0)
		return "its interpreter, behind #!, can't be executed";
	return NULL;
}

static const char *
why_not_executable(const char *path, char buf[300])
{
	struct stat st;

	if (stat(path, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a file";
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 || (st.st_mode & 0111) == 0)
		return "not executable for who runs it";
	return why_not_started(path, buf);
}

struct lines {
	unsigned good, shell, bad;
};

static void
check_line(struct doctor *d, const struct plugin *p, void *arg)
{
	struct lines *n = arg;
	char buf[300];

	if (p->line->section == 0) {
		n->bad++;
		doctor_warn(d, "%s: %s is in no section that qmail-spp knows: it is never run", p->where,
			p->text);
		doctor_advise(d, "sections: [connection] [helo] [auth] [mail] [rcpt] [pass] [data]; "
			"small letters count");
		return;
	}
	if (p->path[0] == '\0') {
		n->shell++;
		return;
	}
	const char *why = why_not_executable(p->path, buf);
	if (why == NULL) {
		n->good++;
		return;
	}
	n->bad++;
	doctor_bad(d, "%s: [%s] %s: %s", p->where, p->section, p->text, why);
	doctor_advise(d, "every client gets \"451 qmail-spp failure\" there: take the line out, or put "
		"the program back, by mv");
}

void
doctor_lines(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++) {
		const char *home = homes->s[i];
		struct lines n = { 0 };
		int r = each_line(d, home, check_line, &n);

		if (r == 0 && n.bad == 0)
			doctor_ok(d, "%s/" SMTPPLUGINS_PATH ": %u programs, all can be executed; %u "
				"shell commands, not looked at", home, n.good, n.shell);
		if (r >= 0)
			continue;
		doctor_bad(d, "%s/" SMTPPLUGINS_PATH ": %s", home, strerror(-r));
		doctor_advise(d, r == -ENOENT ? "no plugin runs, and with qmail-spp on every client "
			"gets \"421 unable to read controls\"; `spillway setup --yes` makes it"
			: "who runs qmail-smtpd must be able to read it, or every client gets \"421 "
			"unable to read controls\"");
	}
}

/* --- which are ours? -------------------------------------------------------------------------- */

enum kin {
	KIN_NONE,
	KIN_OTHER_BUILD,
	KIN_SAME,
};

static char *
read_program(const char *path, size_t *ret_len)
{
	int fd = fd_open_regular(AT_FDCWD, path, 0, PROGRAM_MAX);
	char *buf = fd >= 0 ? malloc(PROGRAM_MAX) : NULL;
	ssize_t n = buf != NULL ? fd_read_full(fd, buf, PROGRAM_MAX) : -1;

	if (fd >= 0)
		(void)close(fd);
	if (n < 0) {
		free(buf);
		return NULL;
	}
	*ret_len = (size_t)n;
	return buf;
}

static bool
has(const char *buf, size_t len, const char *what)
{
	return memmem(buf, len, what, strlen(what)) != NULL;
}

static bool
looks_like_ours(const char *buf, size_t len)
{
	return len > 4 && memcmp(buf, "\177ELF", 4) == 0 && has(buf, len, STAGE_PREFIX)
		&& has(buf, len, FLAG_PATH) && has(buf, len, RUNDIR_ENV);
}

static enum kin
kin_of(const struct doctor *d, const char *path)
{
	size_t len = 0, installed_len = 0;
	char *buf = read_program(path, &len);
	char *installed = buf != NULL ? read_program(d->plugin, &installed_len) : NULL;
	enum kin kin = KIN_NONE;

	if (installed != NULL && len == installed_len && memcmp(buf, installed, len) == 0)
		kin = KIN_SAME;
	else if (buf != NULL && looks_like_ours(buf, len))
		kin = KIN_OTHER_BUILD;
	free(buf);
	free(installed);
	return kin;
}

/* What our plugin does under a name. */
struct role {
	bool known; /* it does something */
	int stage; /* where, -1: wherever it stands */
};

static struct role
role_of(const char *name)
{
	bool by_stage = strncmp(name, STAGE_PREFIX, strlen(STAGE_PREFIX)) == 0;
	int n = by_stage ? stage_find(name + strlen(STAGE_PREFIX)) : check_find(name);

	return (struct role) {
		.known = n >= 0,
		.stage = n < 0 || by_stage ? n : check_stage((enum check)n),
	};
}

struct ours {
	unsigned before; /* lines of [mail] seen so far */
	bool gate; /* one of ours stands where it looks for overload */
	bool broken; /* there is a line for ours, but no program: told by "plugins" */
};

static bool
is_in(const struct cfg_list *names, const char *name)
{
	for (unsigned i = 0; i < names->n; i++)
		if (strcmp(names->s[i], name) == 0)
			return true;
	return false;
}

/* It is ours and stands where its name belongs: what does it do there? */
static void
check_checks(struct doctor *d, const struct plugin *p, const struct role *role, struct ours *o, const char *build)
{
	const char *overload = check_name(CHECK_OVERLOAD);
	bool alone = check_find(p->name) >= 0;
	const struct cfg_list *checks = alone ? NULL : &d->cli->config.plugins.stage[role->stage];

	if (alone ? strcmp(p->name, overload) == 0 : is_in(checks, overload))
		o->gate = true;
	if (alone || checks->n > 0)
		doctor_ok(d, "%s: [%s] %s is ours%s; %u of [mail] run before it", p->where, p->section, p->text, build,
			o->before);
	else
		doctor_ok(d, "%s: [%s] %s is ours%s, but plugins.%s names no check", p->where, p->section, p->text,
			build, p->section);
}

static void
check_place(struct doctor *d, const struct plugin *p, struct ours *o, const char *build)
{
	struct role role = role_of(p->name);

	if (!role.known) {
		doctor_bad(d, "%s: our plugin does nothing under the name %s", p->where, p->name);
		doctor_advise(d, "it goes by the name that it is run by: spillway-mail, spillway-rcpt, overload");
	} else if (role.stage >= 0 && stage_name((enum stage)role.stage)[0] != p->line->section) {
		doctor_bad(d, "%s: %s is in section [%s]", p->where, p->text, p->section);
		doctor_advise(d, "it belongs into [%s]; before AUTH your own users can't be told from strangers",
			stage_name((enum stage)role.stage));
	} else {
		check_checks(d, p, &role, o, build);
	}
}

static void
check_ours(struct doctor *d, const struct plugin *p, void *arg)
{
	bool installed = access(d->plugin, F_OK) == 0;
	struct ours *o = arg;

	if (p->path[0] != '\0') {
		enum kin kin = kin_of(d, p->path);

		if (kin != KIN_NONE)
			check_place(d, p, o, kin == KIN_SAME ? ", as installed" : "");
		else if (role_of(p->name).known && access(p->path, X_OK) < 0)
			o->broken = true;
		if (kin == KIN_OTHER_BUILD && installed) {
			doctor_warn(d, "%s is another build of our plugin than the installed %s",
				p->path, d->plugin);
			doctor_advise(d, "ln -s %s %s.new && mv -T %s.new %s", d->plugin, p->path,
				p->path, p->path);
		}
	}
	o->before += p->line->section == 'm';
}

void
doctor_ours(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;

	for (unsigned i = 0; i < homes->n; i++) {
		struct ours o = { 0 };

		if (each_line(d, homes->s[i], check_ours, &o) < 0 || o.gate || o.broken)
			continue;
		doctor_bad(d, "%s/" SMTPPLUGINS_PATH " has no line in [mail] that runs our plugin: "
			"nobody is put off", homes->s[i]);
		doctor_advise(d, "`spillway setup --yes` puts " SETUP_PLUGIN_LINK " there, as the "
			"first", homes->s[i]);
	}
}

/* --- does ours run? --------------------------------------------------------------------------- */

struct trial {
	int status; /* as from waitpid() */
	bool hung;
	int error; /* errno of exec */
	size_t len;
	char out[TRIAL_OUTPUT_MAX];
};

/* As qmail-spp does it, but without run directory: the daemon shall hear of no refusal. */
static void
enter_trial(const char *home, const char *plugin, int out)
{
	char *envp[] = {
		(char[]) { "PATH=/usr/bin:/bin" }, (char[]) { "PROTO=TCP" },
		(char[]) { "TCPREMOTEIP=192.0.2.1" }, (char[]) { "SMTPMAILFROM=" },
		(char[]) { RUNDIR_ENV "=/nonexistent" }, NULL,
	};
	char path[DOCTOR_PATH_MAX];
	char *argv[] = { path, NULL };
	int error, nowhere;

	(void)snprintf(path, sizeof(path), "%s", plugin);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (chdir(home) == 0 && dup2(nowhere, STDERR_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0) {
		(void)close(STDIN_FILENO);
		(void)execve(path, argv, envp);
	}
	error = errno;
	(void)!write(out, &error, sizeof(error));
	_exit(120);
}

static void
read_trial(int fd, struct trial *t)
{
	mono_t deadline = mono_after(mono_now(), TRIAL_MS);

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = mono_since(mono_now(), deadline);
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		t->hung = n <= 0 || t->len == sizeof(t->out);
		if (t->hung)
			return;
		ssize_t got = read(fd, t->out + t->len, sizeof(t->out) - t->len);
		if (got <= 0)
			return;
		t->len += (size_t)got;
	}
}

static int
try_plugin(const char *home, const char *plugin, struct trial *t)
{
	int fd[2];

	memset(t, 0, sizeof(*t));
	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0)
		enter_trial(home, plugin, fd[1]);
	(void)close(fd[1]);
	if (pid > 0) {
		read_trial(fd[0], t);
		if (t->hung)
			(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &t->status, 0); /* the deadline of the check is above it */
	}
	(void)close(fd[0]);
	if (pid < 0)
		return -EAGAIN;
	if (WIFEXITED(t->status) && WEXITSTATUS(t->status) == 120 && t->len == sizeof(int))
		memcpy(&t->error, t->out, sizeof(int));
	return 0;
}

static bool
is_one_line(const struct trial *t)
{
	return t->len == 0 || memchr(t->out, '\n', t->len) == t->out + t->len - 1;
}

static void
judge_trial(struct doctor *d, const char *plugin, const char *user, const struct trial *t)
{
	const char *advice = "every client gets \"451 qmail-spp failure\" at MAIL; take its line out "
		"of " SMTPPLUGINS_PATH " until it works";

	if (t->hung)
		doctor_bad(d, "%s, run as %s, does not end within %d ms", plugin, user, TRIAL_MS);
	else if (t->error != 0)
		doctor_bad(d, "%s can't be executed as %s: %s", plugin, user, strerror(t->error));
	else if (WIFSIGNALED(t->status))
		doctor_bad(d, "%s, run as %s, dies by signal %d", plugin, user, WTERMSIG(t->status));
	else if (WEXITSTATUS(t->status) != 0)
		doctor_bad(d, "%s, run as %s, ends with exit code %d", plugin, user, WEXITSTATUS(t->status));
	else if (!is_one_line(t))
		doctor_bad(d, "%s, run as %s, prints more than one line", plugin, user);
	else {
		doctor_ok(d, "%s runs as %s: it %s a stranger without looking at the state", plugin, user,
			t->len == 0 ? "lets in" : "refuses, for a flag is there,");
		return;
	}
	doctor_advise(d, "%s", advice);
}

struct trials {
	char plugin[DOCTOR_PATH_MAX];
};

static void
pick_ours(struct doctor *d, const struct plugin *p, void *arg)
{
	struct trials *t = arg;

	if (t->plugin[0] == '\0' && p->line->section == 'm' && p->path[0] != '\0' && role_of(p->name).known
		&& kin_of(d, p->path) != KIN_NONE)
		(void)snprintf(t->plugin, sizeof(t->plugin), "%s", p->path);
}

void
doctor_trial(struct doctor *d)
{
	const struct cfg_list *homes = &d->cli->config.qmail.homes;
	const char *user = doctor_smtpd_user(&d->cli->config);
	char uid[32];

	(void)snprintf(uid, sizeof(uid), "uid %u", geteuid());
	for (unsigned i = 0; i < homes->n; i++) {
		struct trials t = { .plugin = "" };
		struct trial result;

		(void)each_line(d, homes->s[i], pick_ours, &t);
		if (t.plugin[0] == '\0')
			(void)snprintf(t.plugin, sizeof(t.plugin), SETUP_PLUGIN_LINK, homes->s[i]);
		if (access(t.plugin, F_OK) < 0)
			continue; /* told by "plugin" */
		if (try_plugin(homes->s[i], t.plugin, &result) == 0)
			judge_trial(d, t.plugin, d->note[0] == '\0' && user[0] != '\0' ? user : uid, &result);
	}
}

/* --- others ----------------------------------------------------------------------------------- */

static bool
is_script_with(const char *path, const char *what)
{
	static char buf[SCRIPT_MAX];
	ssize_t n = doctor_read(path, buf, sizeof(buf));

	return n > 2 && memcmp(buf, "#!", 2) == 0 && strstr(buf, what) != NULL;
}

static void
check_old(struct doctor *d, const struct plugin *p, void *arg)
{
	unsigned *n = arg;

	if (p->path[0] == '\0' && strstr(p->text, FLAG_PATH) != NULL) {
		doctor_warn(d, "%s: a shell command looks at " FLAG_PATH " as well", p->where);
		doctor_advise(d, "our plugin does that, and goes by the lease too: take the line out");
	} else if (p->path[0] != '\0' && is_script_with(p->path, FLAG_PATH)) {
		doctor_warn(d, "%s: %s is a script that looks at " FLAG_PATH " as well", p->where,
			p->text);
		doctor_advise(d, "ours is quicker, and believes no flag that was left behind: take the "
			"line out, or put ours in its place: ln -s %s %s.new && mv -T %s.new %s",
			d->plugin, p->path, p->path, p->path);
	} else {
		return;
	}
	(*n)++;
}

void
doctor_old_plugins(struct doctor *d)
{
	unsigned n = 0;

	each_home(d, check_old, &n);
	if (n == 0)
		doctor_ok(d, "no script in " SMTPPLUGINS_PATH " does the same as our plugin");
}

static void
check_auth(struct doctor *d, const struct plugin *p, void *arg)
{
	unsigned *n = arg;

	if (p->line->section != 'a' || role_of(p->name != NULL ? p->name : "").known)
		return;
	(*n)++;
	doctor_warn(d, "%s: %s runs at AUTH", p->where, p->text);
	doctor_advise(d, "should it refuse a login, some qmails leave SMTPAUTHUSER set: that client "
		"then passes as one of your own, for our plugin and for others; if it only logs, all "
		"is well");
}

void
doctor_auth(struct doctor *d)
{
	unsigned n = 0;

	each_home(d, check_auth, &n);
	if (n == 0)
		doctor_ok(d, "no plugin of others at AUTH, where a refusal can leave a client looking "
			"logged in");
}
