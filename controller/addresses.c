/* SPDX-License-Identifier: ISC */
/*
 * addresses - the list of recipients that exist: collect it, and ask about one
 *
 * Collected as qmail delivers (qmail-local(8), dot-qmail(5), qmail-users(5), qmail-send(8)), and rather too much than
 * too little: whoever is missing in the list loses mail.  A domain is written only when all that decides about it was
 * read; what can't be told apart becomes "@domain".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/cli.h"
#include "lib/atomicfile.h"
#include "lib/fdio.h"
#include "lib/text.h"

#define DOMAINS_MAX 256
#define NAME_MAX_LEN 256 /* of a local part or a domain */
#define ENTRIES_MAX 1000000

struct names {
	size_t n, cap;
	char **s;
};

struct learn {
	struct names domains, entries;
	bool failed; /* something could not be read: told */
};

static int
add(struct learn *l, struct names *to, const char *s)
{
	if (to->n == to->cap) {
		size_t cap = to->cap > 0 ? to->cap * 2 : 64;
		char **bigger = cap <= ENTRIES_MAX * 2 ? realloc(to->s, cap * sizeof(*bigger)) : NULL;

		if (bigger == NULL) {
			l->failed = true;
			return cli_fail(-ENOMEM, "addresses: too many");
		}
		to->s = bigger;
		to->cap = cap;
	}
	to->s[to->n] = strdup(s);
	if (to->s[to->n] == NULL) {
		l->failed = true;
		return -ENOMEM;
	}
	to->n++;
	return 0;
}

static void
free_names(struct names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->s[i]);
	free(n->s);
}

/* A name of a file that can be a local part or a domain: no blank, no '#', nothing that would be read otherwise. */
static bool
is_plain_name(const char *s)
{
	return s[0] != '\0' && s[0] != '.' && strlen(s) < NAME_MAX_LEN && text_is_plain(s)
		&& strpbrk(s, " #@*/") == NULL;
}

/* LOCAL (NULL: all) at DOMAIN; `any_extension`: LOCAL-whatever too. */
static void
add_entry(struct learn *l, const char *local, const char *domain, bool any_extension)
{
	char line[2 * NAME_MAX_LEN + 8];

	(void)snprintf(line, sizeof(line), "%s@%s", local != NULL ? local : "", domain);
	(void)add(l, &l->entries, line);
	if (local == NULL || !any_extension)
		return;
	(void)snprintf(line, sizeof(line), "%s-*@%s", local, domain);
	(void)add(l, &l->entries, line);
}

static void
add_to_domains(struct learn *l, const char *local, bool any_extension)
{
	for (size_t i = 0; i < l->domains.n; i++)
		add_entry(l, local, l->domains.s[i], any_extension);
}

/* --- mail folders ---------------------------------------------------------------------------- */

static bool
is_folder(int dir, const char *name, const char *inner)
{
	char path[2 * NAME_MAX_LEN];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", name, inner);
	return fstatat(dir, path, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* DIR/user, a Maildir itself or the home of one. */
static bool
has_mail(int dir, const char *name)
{
	return is_folder(dir, name, "cur") || is_folder(dir, name, "Maildir/cur") || is_folder(dir, name, "mail/cur");
}

/* DIR/user or DIR/domain/user.  Names with a dot whose own folder is none are domains. */
static void
learn_maildirs(struct learn *l, const char *path, const char *domain, int depth)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (d == NULL) {
		l->failed = true;
		(void)cli_fail(0, "%s: %s", path, strerror(errno));
		return;
	}
	while ((e = readdir(d)) != NULL) {
		char inner[4096];

		if (!is_plain_name(e->d_name))
			continue;
		if (has_mail(dirfd(d), e->d_name)) {
			if (domain != NULL)
				add_entry(l, e->d_name, domain, false);
			else
				add_to_domains(l, e->d_name, false);
		} else if (depth == 0 && strchr(e->d_name, '.') != NULL
			&& snprintf(inner, sizeof(inner), "%s/%s", path, e->d_name) < (int)sizeof(inner)
			&& is_folder(dirfd(d), e->d_name, ".")) {
			learn_maildirs(l, inner, e->d_name, 1);
		}
	}
	(void)closedir(d);
}

/* --- a qmail home ---------------------------------------------------------------------------- */

/* Call `each` with the lines of HOME/NAME, without blanks at the end and comments.  A file that is missing is empty. */
static void
each_line(struct learn *l, const char *home, const char *name, void (*each)(struct learn *l, char *line))
{
	char path[CFG_STRING_MAX + 40], line[1024];

	(void)snprintf(path, sizeof(path), "%s/%s", home, name);
	int fd = fd_open_regular(AT_FDCWD, path, 0, 64 << 20);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (f == NULL) {
		if (fd != -ENOENT) {
			l->failed = true;
			(void)cli_fail(0, "%s: %s", path, strerror(fd < 0 ? -fd : errno));
		}
		return;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		size_t n = strlen(line);

		while (n > 0 && strchr(" \t\r\n", line[n - 1]) != NULL)
			line[--n] = '\0';
		if (n > 0 && line[0] != '#')
			each(l, line);
	}
	(void)fclose(f);
}

static void
take_local_domain(struct learn *l, char *line)
{
	if (is_plain_name(line) && l->domains.n < DOMAINS_MAX)
		(void)add(l, &l->domains, line);
}

/* "domain:prepend" is handed to a user's .qmail files, which may hold anything: all of it exists.  "user@domain:..." is
 * one address, and ".domain" names of hosts that nobody can list. */
static void
take_virtual(struct learn *l, char *line)
{
	char *colon = strchr(line, ':'), *at = strchr(line, '@');

	if (colon == NULL || line[0] == '.' || line[0] == ':')
		return;
	*colon = '\0';
	if (at != NULL && at < colon) {
		*at = '\0';
		if (is_plain_name(line) && is_plain_name(at + 1))
			add_entry(l, line, at + 1, false);
	} else if (is_plain_name(line)) {
		add_entry(l, NULL, line, false);
	}
}

/* "=local:user:..." is an address, "+prefix:user:..." all that begin so: only "bob-" can be written as an entry. */
static void
take_assign(struct learn *l, char *line)
{
	char *colon = strchr(line, ':');

	if (colon == NULL)
		return;
	*colon = '\0';
	size_t n = strlen(line);
	if (line[0] == '=' && is_plain_name(line + 1)) {
		add_to_domains(l, line + 1, true);
	} else if (line[0] == '+' && n > 1 && line[n - 1] == '-') {
		line[n - 1] = '\0';
		if (is_plain_name(line + 1))
			add_to_domains(l, line + 1, true);
	} else if (line[0] == '+') { /* "+" alone, or "+bob": any */
		add_to_domains(l, NULL, false);
	}
}

/* alias/.qmail-bob: bob, with ':' for '.'; .qmail-bob-default: bob-whatever; .qmail-default: all. */
static void
learn_aliases(struct learn *l, const char *home)
{
	char path[CFG_STRING_MAX + 8];
	struct dirent *e;

	(void)snprintf(path, sizeof(path), "%s/alias", home);
	DIR *d = opendir(path);
	if (d == NULL) {
		l->failed = l->failed || errno != ENOENT;
		if (errno != ENOENT)
			(void)cli_fail(0, "%s: %s", path, strerror(errno));
		return;
	}
	while ((e = readdir(d)) != NULL) {
		static const char head[] = ".qmail-", any[] = "-default";
		char local[NAME_MAX_LEN];

		if (strncmp(e->d_name, head, strlen(head)) != 0
			|| text_copy(local, sizeof(local), e->d_name + strlen(head)) < 0)
			continue;
		for (char *p = local; *p != '\0'; p++)
			if (*p == ':')
				*p = '.';
		size_t n = strlen(local);
		bool is_any = n > strlen(any) && strcmp(local + n - strlen(any), any) == 0;
		if (is_any)
			local[n - strlen(any)] = '\0';
		if (strcmp(local, "default") == 0)
			add_to_domains(l, NULL, false);
		else if (is_plain_name(local))
			add_to_domains(l, local, is_any);
	}
	(void)closedir(d);
}

/* qmail-getpw: users of the system with a home of their own; which of their extensions exist, their .qmail files say,
 * which we may not be able to read: any. */
static void
learn_system_users(struct learn *l)
{
	struct passwd *pw;

	setpwent();
	while ((pw = getpwent()) != NULL) {
		struct stat st;

		if (pw->pw_uid != 0 && is_plain_name(pw->pw_name) && stat(pw->pw_dir, &st) == 0
			&& st.st_uid == pw->pw_uid)
			add_to_domains(l, pw->pw_name, true);
	}
	endpwent();
}

static void
learn_home(struct learn *l, const char *home)
{
	each_line(l, home, "control/virtualdomains", take_virtual);
	each_line(l, home, "users/assign", take_assign);
	learn_aliases(l, home);
	learn_system_users(l);
}

/* --- the list -------------------------------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
print_entries(const struct names *n, FILE *f)
{
	(void)fprintf(f, "# recipients that exist; made by `spillway addresses learn`\n");
	for (size_t i = 0; i < n->n; i++)
		if (i == 0 || strcmp(n->s[i], n->s[i - 1]) != 0)
			(void)fprintf(f, "%s\n", n->s[i]);
	return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}

static int
write_entries(int fd, void *arg)
{
	int copy = dup(fd);
	FILE *f = copy >= 0 ? fdopen(copy, "w") : NULL;

	if (f == NULL)
		return -errno;
	int r = print_entries(arg, f);
	return fclose(f) != 0 && r == 0 ? -EIO : r;
}

static int
write_file(const char *path, struct names *entries)
{
	const char *slash = strrchr(path, '/');
	char dir[4096] = ".";

	if (slash != NULL && text_copy(dir, sizeof(dir), path) < 0)
		return cli_fail(CLI_USAGE, "--write %s: too long", path);
	if (slash != NULL)
		dir[slash == path ? 1 : slash - path] = '\0';
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : atomicfile_put(fd, &(struct atomicfile) {
		.name = slash != NULL ? slash + 1 : path, .write = write_entries, .arg = entries, .mode = 0644,
		.flags = ATOMICFILE_DURABLE,
	});

	if (fd >= 0)
		(void)close(fd);
	return r < 0 ? cli_fail(CLI_TEMPORARY, "cannot write %s: %s", path, strerror(-r)) : CLI_OK;
}

static void
learn_all(const struct cli *cli, struct learn *l)
{
	struct cfg_list homes = cli->homes;

	if (homes.n == 0 && cli->maildirs.n == 0)
		homes = cli->config.qmail.homes;
	for (unsigned i = 0; i < cli->domains.n; i++)
		(void)add(l, &l->domains, cli->domains.s[i]);
	for (unsigned i = 0; i < homes.n && cli->domains.n == 0; i++)
		each_line(l, homes.s[i], "control/locals", take_local_domain);
	for (unsigned i = 0; i < homes.n; i++)
		learn_home(l, homes.s[i]);
	for (unsigned i = 0; i < cli->maildirs.n; i++)
		learn_maildirs(l, cli->maildirs.s[i], NULL, 0);
}

static int
learn(const struct cli *cli)
{
	struct learn l = { 0 };
	int code;

	learn_all(cli, &l);
	qsort(l.entries.s, l.entries.n, sizeof(*l.entries.s), compare);
	/* Half a list would have the other half refused. */
	if (l.failed)
		code = cli_fail(CLI_TEMPORARY, "addresses learn: not everything could be read: no list");
	else if (l.entries.n == 0)
		code = cli_fail(CLI_NO, "addresses learn: nothing found%s", l.domains.n == 0
			? "; --domain says which domain the mail folders are of" : "");
	else if (cli->write != NULL)
		code = write_file(cli->write, &l.entries);
	else
		code = print_entries(&l.entries, stdout) < 0 ? CLI_TEMPORARY : CLI_OK;
	free_names(&l.domains);
	free_names(&l.entries);
	return code;
}

/* --- one address ----------------------------------------------------------------------------- */

static const char *
text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s != NULL ? s : "";
}

static int
check(const struct cli *cli, const char *address)
{
	int code = CLI_OK;
	json_t *reply = client_ask(cli, json_pack("{s:s, s:s}", "command", "address", "address", address), &code);

	if (reply == NULL)
		return code;
	if (cli->json) {
		cli_print_json(reply);
	} else {
		(void)printf("%s: %s%s%s\n", address, text_of(reply, "answer"),
			json_is_true(json_object_get(reply, "list")) ? "" : ", there is no list",
			text_of(reply, "trouble")[0] != '\0' ? " that can be read" : "");
		if (text_of(reply, "pattern")[0] != '\0')
			(void)printf("its local part matches %s%s%s\n", text_of(reply, "pattern"),
				text_of(reply, "reason")[0] != '\0' ? ": " : "", text_of(reply, "reason"));
	}
	bool no = strcmp(text_of(reply, "answer"), "unknown") == 0 || text_of(reply, "pattern")[0] != '\0';
	json_decref(reply);
	return no ? CLI_NO : CLI_OK;
}

int
addresses_run(struct cli *cli, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "learn") == 0)
		return learn(cli);
	if (argc == 2 && strcmp(argv[0], "check") == 0)
		return check(cli, argv[1]);
	return cli_fail(CLI_USAGE, "addresses: allowed is addresses check ADDRESS, and addresses learn "
		"[--maildirs DIR]... [--home DIR]... [--domain NAME]... [--write FILE]");
}
