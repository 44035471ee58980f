/* SPDX-License-Identifier: ISC */
/* The steps, in the order in which they need each other, and what is left for a person to do. */
#include "controller/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "lib/array.h"
#include "lib/flag.h"
#include "lib/state.h"

/* --- telling --------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 3, 0)))
item(struct setup *s, const char *word, const char *fmt, va_list ap)
{
	(void)printf("%2u. %-5s ", ++s->items, word);
	(void)vprintf(fmt, ap);
	(void)putchar('\n');
	(void)fflush(stdout); /* before what programs print */
}

void
setup_done(struct setup *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	item(s, "done", fmt, ap);
	va_end(ap);
}

void
setup_keep(struct setup *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	item(s, "keep", fmt, ap);
	va_end(ap);
}

bool
setup_todo(struct setup *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	item(s, s->act ? "do" : "todo", fmt, ap);
	va_end(ap);
	s->todo++;
	return s->act;
}

int
setup_stop(const struct setup *s, const char *fmt, ...)
{
	struct err why;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why.text, sizeof(why.text), fmt, ap);
	va_end(ap);
	return setup_fail(s, &why);
}

int
setup_fail(const struct setup *s, const struct err *why)
{
	(void)fflush(stdout);
	return cli_fail(CLI_TEMPORARY, "setup stopped at %u: %s; what was done before stays, and setup "
		"can be run again", s->items, why->text);
}

void
setup_path(const struct setup *s, const char *path, char ret[SETUP_PATH_MAX])
{
	(void)snprintf(ret, SETUP_PATH_MAX, "%s%s", s->root, path);
}

/* --- is this the right host? ------------------------------------------------------------------ */

static int
check_home(const char *home)
{
	char path[SETUP_PATH_MAX];
	struct stat st;
	struct err why;

	(void)snprintf(path, sizeof(path), "%s/queue", home);
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return cli_fail(CLI_USAGE, "%s: no such directory; is qmail there? qmail.home in the "
			"configuration says where", path);
	(void)snprintf(path, sizeof(path), "%s/control", home);
	if (doctor_owner(path, &why) < 0)
		return cli_fail(CLI_USAGE, "%s", why.text);
	return 0;
}

static int
check_installed(const struct setup *s)
{
	static const char *const files[] = { SETUP_DAEMON, SETUP_COMMAND, SETUP_PLUGIN };
	char path[SETUP_PATH_MAX];

	for (size_t i = 0; i < countof(files); i++) {
		setup_path(s, files[i], path);
		if (access(path, X_OK) < 0)
			return cli_fail(CLI_USAGE, "%s: %s; `make install` puts it there", path,
				strerror(errno));
	}
	return 0;
}

static int
step_host(struct setup *s)
{
	const struct cfg_list *homes = &s->cli->config.qmail.homes;
	int r = s->cli->undo ? 0 : check_installed(s);

	for (unsigned i = 0; i < homes->n && r == 0; i++)
		r = check_home(homes->s[i]);
	return r;
}

/* --- user ------------------------------------------------------------------------------------ */

static const char *
no_shell(void)
{
	static const char *const shells[] = { "/usr/sbin/nologin", "/sbin/nologin" };

	for (size_t i = 0; i < countof(shells); i++)
		if (access(shells[i], X_OK) == 0)
			return shells[i];
	return "/bin/false";
}

static int
add_user(struct setup *s, const char *user, const char *groups)
{
	bool has_group = getgrnam(user) != NULL;
	const char *argv[16] = { "useradd", "--system", "--no-create-home", "--home-dir",
		"/nonexistent", "--shell", no_shell() };
	size_t n = 7;
	struct err why;

	argv[n++] = has_group ? "--gid" : "--user-group";
	if (has_group)
		argv[n++] = user;
	if (groups[0] != '\0') {
		argv[n++] = "--groups";
		argv[n++] = groups;
	}
	argv[n++] = user;
	if (setup_program(s, argv, &why) < 0)
		return setup_fail(s, &why);
	if (s->root[0] == '\0' && getpwnam(user) == NULL)
		return setup_stop(s, "useradd ended well, but there is no user %s", user);
	return 0;
}

static int
step_user(struct setup *s)
{
	const struct config_service *c = &s->cli->config.service;
	char groups[400] = "";

	if (c->user[0] == '\0') {
		setup_done(s, "service.user is empty: no user is needed");
		return 0;
	}
	if (getpwnam(c->user) != NULL) {
		setup_done(s, "the user %s is there", c->user);
		return 0;
	}
	for (unsigned i = 0; i < c->groups.n; i++) {
		size_t len = strlen(groups);

		(void)snprintf(groups + len, sizeof(groups) - len, "%s%s", i > 0 ? "," : "", c->groups.s[i]);
		if (s->root[0] == '\0' && getgrnam(c->groups.s[i]) == NULL)
			return cli_fail(CLI_USAGE, "service.groups names %s: there is no such group; "
				"is this a host with qmail? It is the group that may read the queue",
				c->groups.s[i]);
	}
	if (!setup_todo(s, "make the system user %s, in group %s, without home and shell", c->user, groups))
		return 0;
	return add_user(s, c->user, groups);
}

/* --- configuration ---------------------------------------------------------------------------- */

static int
put_config(struct setup *s, const char *path)
{
	static char text[SETUP_TEXT_MAX];
	const struct passwd *pw = getpwnam(s->cli->config.service.user);
	char dir[SETUP_PATH_MAX];
	struct err why;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	char *slash = strrchr(dir, '/');
	if (slash != NULL && slash != dir)
		*slash = '\0';
	ssize_t len = setup_template(s, "spillway.conf", text, &why);
	if (len < 0 || setup_directory(dir, &why) < 0)
		return setup_fail(s, &why);
	/* The engine reads it anew at `reload`, as its own user. */
	const struct setup_file f = {
		.text = text, .len = (size_t)len, .mode = pw != NULL ? 0640 : 0644, .uid = (uid_t)-1,
		.gid = pw != NULL && geteuid() == 0 ? pw->pw_gid : (gid_t)-1,
	};
	return setup_write(path, &f, &why) < 0 ? setup_fail(s, &why) : 0;
}

static int
step_config(struct setup *s)
{
	const char *path = s->cli->config_path;

	if (access(path, F_OK) == 0) {
		setup_done(s, "the configuration %s is there", path);
		return 0;
	}
	if (!setup_todo(s, "make the configuration %s from %s/spillway.conf: all defaults, with "
		"comments", path, s->share))
		return 0;
	return put_config(s, path);
}

/* --- undo ------------------------------------------------------------------------------------ */

/* Is there anything in force that outlives the daemon? */
static bool
is_neutral(const struct cli *cli)
{
	char path[SETUP_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" STATE_FILE, cli->run_dir);
	if (access(path, F_OK) == 0)
		return false;
	for (unsigned i = 0; i < cli->config.qmail.homes.n; i++) {
		(void)snprintf(path, sizeof(path), "%s/" FLAG_PATH, cli->config.qmail.homes.s[i]);
		if (flag_look(AT_FDCWD, path, NULL) == FLAG_OURS)
			return false;
	}
	return true;
}

static int
undo_gate(struct setup *s)
{
	if (is_neutral(s->cli)) {
		setup_done(s, "nothing that spillway decided is in force");
		return 0;
	}
	if (!setup_todo(s, "open the gate: spillway neutral --offline"))
		return 0;
	int code = offline_neutral(s->cli);
	(void)fflush(stdout);
	return code;
}

static void
report_undo(const struct setup *s)
{
	const struct config_service *c = &s->cli->config.service;

	(void)printf("\nKept, for they are yours; to delete them:\n"
		     "  rm %s\n"
		     "  rm -r %s          # the history\n"
		     "  rm -r /var/log/spillway          # if its log was kept there\n",
		s->cli->config_path, c->state_dir);
	if (c->user[0] != '\0' && getpwnam(c->user) != NULL)
		(void)printf("  userdel %s\n", c->user);
	(void)printf("The programs go with `make uninstall`, after this: a line that names a plugin that is\n"
		     "gone is a 451 for everybody.  SMTP sessions that began before may get one now.\n");
}

/* --- what a person has to do ------------------------------------------------------------------- */

static void
print_trouble(const struct finding *f, void *arg)
{
	unsigned *n = arg;

	if (f->status == FINDING_OK)
		return;
	if ((*n)++ == 0)
		(void)printf("\nWhat only you can do:\n");
	doctor_print(f);
}

static const char *
last_words(const struct setup *s)
{
	if (s->act)
		return "Done.  `spillway doctor` looks at the whole, once spillwayd runs.";
	if (s->todo > 0)
		return "Nothing has been changed: `spillway setup --yes` does what is marked todo.";
	return "Nothing is left to do here.  `spillway doctor` looks at the whole.";
}

static void
report(const struct setup *s)
{
	static const char *const checks[] = { "spp", "old-plugin", "cron", "auth-plugin", "events" };
	unsigned n = 0;

	for (size_t i = 0; i < countof(checks); i++)
		doctor_examine(s->cli, s->root, checks[i], print_trouble, &n);
	(void)printf("\n%s\n", last_words(s));
}

/* --- the command ----------------------------------------------------------------------------- */

typedef int setup_step(struct setup *s);

static setup_step *const steps[] = {
	step_host, step_user, step_config, setup_links, setup_trial, setup_line, setup_service,
};

/* The line goes before the links: a line without its program is a 451 for everybody. */
static setup_step *const undo_steps[] = {
	step_host, setup_undo_service, undo_gate, setup_undo_line, setup_undo_links,
};

static int
check_arguments(const struct cli *cli, int argc)
{
	static const char *const kinds[] = { "systemd", "runit", "daemontools", "none" };
	bool known = cli->service == NULL;

	if (argc != 0)
		return cli_fail(CLI_USAGE, "setup: takes no arguments but its options");
	for (size_t i = 0; i < countof(kinds) && !known; i++)
		known = strcmp(cli->service, kinds[i]) == 0;
	if (!known)
		return cli_fail(CLI_USAGE, "--service %s: allowed: systemd, runit, daemontools, none",
			cli->service);
	return 0;
}

/* A file elsewhere goes into scripts and units: its name must mean the same to them. */
static int
take_config_path(struct setup *s, char place[SETUP_PATH_MAX], char option[SETUP_PATH_MAX])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";
	struct cli *cli = s->cli;

	option[0] = '\0';
	s->config_option = option;
	if (strcmp(cli->config_path, CONFIG_DEFAULT_PATH) == 0) {
		setup_path(s, CONFIG_DEFAULT_PATH, place);
		cli->config_path = place;
		if (s->root[0] != '\0')
			cli->config_ok = config_load(place, -1, &cli->config, &cli->errors) == 0;
	} else if (cli->config_path[0] != '/' || cli->config_path[strspn(cli->config_path, plain)] != '\0') {
		return cli_fail(CLI_USAGE, "-c %s: for setup allowed: an absolute path of letters, "
			"digits and /._-+", cli->config_path);
	} else {
		(void)snprintf(option, SETUP_PATH_MAX, " -c %s", cli->config_path);
	}
	if (!cli->config_ok && access(cli->config_path, F_OK) == 0)
		return cli_fail(CLI_USAGE, "%s; put it right first, `spillway check` tests it",
			cli->errors.e[0].text);
	return 0;
}

int
setup_run(struct cli *cli, int argc, char **argv)
{
	static char place[SETUP_PATH_MAX], option[SETUP_PATH_MAX];
	const char *root = getenv(SETUP_ROOT_ENV), *share = getenv(SETUP_SHARE_ENV);
	struct setup s = {
		.cli = cli, .act = cli->yes, .root = root != NULL ? root : "",
		.share = share != NULL ? share : SETUP_SHARE,
	};

	(void)argv;
	int r = check_arguments(cli, argc);
	if (r == 0)
		r = take_config_path(&s, place, option);
	if (r == 0 && s.act && s.root[0] == '\0' && geteuid() != 0)
		r = cli_fail(CLI_USAGE, "setup --yes: only root may; without --yes it shows what it "
			"would do");
	setup_path(&s, SETUP_PLUGIN, s.plugin);
	setup_step *const *list = cli->undo ? undo_steps : steps;
	size_t n = cli->undo ? countof(undo_steps) : countof(steps);
	for (size_t i = 0; i < n && r == 0; i++)
		r = list[i](&s);
	if (r != 0)
		return r;
	if (!cli->undo)
		report(&s);
	else if (s.act)
		report_undo(&s);
	else
		(void)printf("\n%s\n", s.todo == 0 ? "Nothing of setup is left here."
			: "Nothing has been changed: `spillway setup --undo --yes` does what is marked todo.");
	return s.act || s.todo == 0 ? CLI_OK : CLI_NO;
}
