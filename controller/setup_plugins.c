/* SPDX-License-Identifier: ISC */
/*
 * setup_plugins - our plugin in HOME/plugins, and its line in control/smtpplugins
 *
 * Every step here can turn into "451" or "421" for everybody, so the order is: link, try it as the
 * user of qmail-smtpd, then the line; and back: the line, then the link, and no link that any line
 * still names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/doctor.h"
#include "controller/setup.h"
#include "controller/smtpplugins.h"
#include "lib/array.h"

#define BACKUP SMTPPLUGINS_PATH ".before-spillway"

static const char *const link_names[] = { "spillway-mail", "overload" };

static const char *
home_path(const char *home, const char *name, char ret[SETUP_PATH_MAX])
{
	(void)snprintf(ret, SETUP_PATH_MAX, "%s/%s", home, name);
	return ret;
}

/* --- links ----------------------------------------------------------------------------------- */

static bool
is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A link that an earlier setup, of another prefix, has made. */
static bool
is_our_old_link(const char *path)
{
	static const char end[] = "/spillway-plugin";
	char target[SETUP_PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target));

	return n > (ssize_t)strlen(end) && memcmp(target + n - strlen(end), end, strlen(end)) == 0;
}

static int
put_link(struct setup *s, const char *home, const char *name)
{
	char dir[SETUP_PATH_MAX], path[SETUP_PATH_MAX];
	struct stat st;
	struct err why;

	(void)home_path(home, "plugins", dir);
	(void)snprintf(path, sizeof(path), "%s/plugins/%s", home, name);
	if (is_same_file(path, s->plugin)) {
		setup_done(s, "%s is our plugin", path);
		return 0;
	}
	bool there = lstat(path, &st) == 0;
	if (there && !is_our_old_link(path)) {
		/* The old shell plugin is called overload: what becomes of it is for its owner to say. */
		setup_keep(s, "%s is not ours: it stays as it is", path);
		if (strcmp(name, link_names[0]) != 0)
			return 0;
		return setup_stop(s, "%s is taken; move it away", path);
	}
	if (!setup_todo(s, "link %s to %s", path, s->plugin))
		return 0;
	if (setup_directory(dir, &why) < 0 || doctor_owner(dir, &why) < 0
		|| setup_link(path, s->plugin, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

int
setup_links(struct setup *s)
{
	const struct cfg_list *homes = &s->cli->config.qmail.homes;
	int r = 0;

	for (unsigned i = 0; i < homes->n; i++)
		for (size_t k = 0; k < countof(link_names) && r == 0; k++)
			r = put_link(s, homes->s[i], link_names[k]);
	return r;
}

/* --- trial ----------------------------------------------------------------------------------- */

static void
note_bad(const struct finding *f, void *arg)
{
	struct finding *bad = arg;

	if (f->status != FINDING_OK && bad->status == FINDING_OK)
		*bad = *f;
}

int
setup_trial(struct setup *s)
{
	struct finding bad = { .status = FINDING_OK };

	if (!s->act)
		return 0;
	doctor_examine(s->cli, s->root, "plugin-run", note_bad, &bad);
	if (bad.status != FINDING_OK)
		return setup_stop(s, "%.300s: so no line for it is put in", bad.text);
	setup_done(s, "the plugin was tried as qmail-spp runs it, and ends well");
	return 0;
}

/* --- the line --------------------------------------------------------------------------------- */

struct plugins_file {
	char path[SETUP_PATH_MAX], backup[SETUP_PATH_MAX];
	char line[SETUP_PATH_MAX]; /* ours */
	char text[SETUP_TEXT_MAX];
	size_t len;
	bool there;
	struct stat st; /* when it is there */
};

static int
read_plugins(const char *home, struct plugins_file *f, struct err *why)
{
	(void)home_path(home, SMTPPLUGINS_PATH, f->path);
	(void)home_path(home, BACKUP, f->backup);
	(void)snprintf(f->line, sizeof(f->line), SETUP_PLUGIN_LINK, home);
	f->len = 0;
	f->text[0] = '\0';
	f->there = lstat(f->path, &f->st) == 0;
	if (!f->there)
		return errno == ENOENT ? 0 : err_sys(why, -errno, "%s", f->path);
	if (!S_ISREG(f->st.st_mode))
		return err_set(why, -EINVAL, "%s is a link or no file; put the line %s as the first of "
			"section [mail] by hand", f->path, f->line);
	ssize_t n = setup_read(f->path, f->text, why);
	if (n < 0)
		return (int)n;
	if (strlen(f->text) != (size_t)n)
		return err_set(why, -EINVAL, "%s has a NUL byte in it", f->path);
	f->len = (size_t)n;
	return 0;
}

/* Does this line run our plugin, as it was put there by us or by hand? */
static bool
runs_ours(const struct setup *s, const char *home, const struct smtpplugins_line *l)
{
	char path[SETUP_PATH_MAX];

	if (l->heading || l->section != 'm' || l->s[0] == ':')
		return false;
	(void)snprintf(path, sizeof(path), "%s%s%.*s", l->s[0] == '/' ? "" : home, l->s[0] == '/' ? "" : "/",
		(int)(l->len < 500 ? l->len : 500), l->s);
	const char *slash = strrchr(path, '/');
	for (size_t i = 0; i < countof(link_names); i++)
		if (strcmp(slash + 1, link_names[i]) == 0 && is_same_file(path, s->plugin))
			return true;
	return false;
}

static unsigned
find_line(const struct setup *s, const char *home, const struct plugins_file *f)
{
	struct smtpplugins_line l = { 0 };

	while (smtpplugins_next(f->text, f->len, &l))
		if (runs_ours(s, home, &l) || (l.section == 'm' && smtpplugins_is(&l, f->line)))
			return l.number;
	return 0;
}

static int
write_plugins(const struct plugins_file *f, const char *text, size_t len, struct err *why)
{
	const struct setup_file as_before = {
		.text = text, .len = len, .mode = f->there ? f->st.st_mode & 07777 : 0644,
		.uid = f->there ? f->st.st_uid : (uid_t)-1, .gid = f->there ? f->st.st_gid : (gid_t)-1,
	};

	return setup_write(f->path, &as_before, why);
}

static int
write_backup(const struct plugins_file *f, struct err *why)
{
	const struct setup_file copy = {
		.text = f->text, .len = f->len, .mode = f->st.st_mode & 07777, .uid = f->st.st_uid, .gid = f->st.st_gid,
	};

	return setup_write(f->backup, &copy, why);
}

static int
put_line(struct setup *s, const char *home)
{
	static struct plugins_file f;
	static char text[SETUP_TEXT_MAX];
	struct err why;

	if (read_plugins(home, &f, &why) < 0)
		return setup_fail(s, &why);
	unsigned number = find_line(s, home, &f);
	if (number > 0) {
		setup_done(s, "%s:%u runs our plugin", f.path, number);
		return 0;
	}
	bool keep_copy = f.there && access(f.backup, F_OK) < 0;
	if (!setup_todo(s, "put %s into %s, as the first of section [mail]%s%s", f.line, f.path,
			keep_copy ? "; a copy as it was: " : "", keep_copy ? f.backup : ""))
		return 0;
	long len = smtpplugins_insert(f.text, f.len, f.line, text, sizeof(text));
	if (len < 0)
		return setup_stop(s, "%s has no room for another line", f.path);
	if ((keep_copy && write_backup(&f, &why) < 0) || write_plugins(&f, text, (size_t)len, &why) < 0)
		return setup_fail(s, &why);
	return 0;
}

int
setup_line(struct setup *s)
{
	const struct cfg_list *homes = &s->cli->config.qmail.homes;
	int r = 0;

	for (unsigned i = 0; i < homes->n && r == 0; i++)
		r = put_line(s, homes->s[i]);
	return r;
}

/* --- undo ------------------------------------------------------------------------------------ */

/* Is what is there just the copy and our line?  Then the copy is what to go back to, to the byte. */
static bool
is_copy_and_line(const struct plugins_file *f, char copy[SETUP_TEXT_MAX], size_t *ret_len)
{
	static char with_line[SETUP_TEXT_MAX];
	ssize_t n = setup_read(f->backup, copy, NULL);
	long len = n >= 0 ? smtpplugins_insert(copy, (size_t)n, f->line, with_line, sizeof(with_line)) : -1;

	if (len < 0 || (size_t)len != f->len || memcmp(with_line, f->text, f->len) != 0)
		return false;
	*ret_len = (size_t)n;
	return true;
}

static int
remove_line(struct setup *s, const char *home)
{
	static struct plugins_file f;
	static char text[SETUP_TEXT_MAX];
	size_t len = 0;
	struct err why;

	if (read_plugins(home, &f, &why) < 0)
		return setup_fail(s, &why);
	bool exact = is_copy_and_line(&f, text, &len);
	if (!exact)
		len = smtpplugins_remove(f.text, f.len, f.line, text);
	if (len == f.len) {
		setup_done(s, "%s has no line %s", f.path, f.line);
		return 0;
	}
	if (!setup_todo(s, "take %s out of %s%s", f.line, f.path, exact ? ", which then is as it was" : ""))
		return 0;
	if (write_plugins(&f, text, len, &why) < 0 || (exact && setup_remove(f.backup, &why) < 0))
		return setup_fail(s, &why);
	return 0;
}

int
setup_undo_line(struct setup *s)
{
	const struct cfg_list *homes = &s->cli->config.qmail.homes;
	int r = 0;

	for (unsigned i = 0; i < homes->n && r == 0; i++)
		r = remove_line(s, homes->s[i]);
	return r;
}

/* The number of a line, in any section, that names the program; not our own: it goes anyway. */
static unsigned
named_by(const struct plugins_file *f, const char *home, const char *name)
{
	struct smtpplugins_line l = { 0 };
	char absolute[SETUP_PATH_MAX];

	(void)snprintf(absolute, sizeof(absolute), "%s/plugins/%s", home, name);
	const char *relative = absolute + strlen(home) + 1;
	while (smtpplugins_next(f->text, f->len, &l)) {
		if (l.section == 'm' && smtpplugins_is(&l, f->line))
			continue;
		if (smtpplugins_is(&l, relative) || smtpplugins_is(&l, absolute))
			return l.number;
	}
	return 0;
}

static int
remove_link(struct setup *s, const char *home, const char *name)
{
	static struct plugins_file f;
	char path[SETUP_PATH_MAX];
	struct err why;

	(void)snprintf(path, sizeof(path), "%s/plugins/%s", home, name);
	if (read_plugins(home, &f, &why) < 0)
		return setup_fail(s, &why);
	unsigned number = named_by(&f, home, name);
	if (!is_our_old_link(path)) {
		setup_done(s, "%s is no link of ours", path);
	} else if (number > 0) {
		setup_keep(s, "%s: line %u of %s runs it; take that line out first, or everybody gets "
			"451", path, number, f.path);
	} else if (setup_todo(s, "remove the link %s", path) && setup_remove(path, &why) < 0) {
		return setup_fail(s, &why);
	}
	return 0;
}

int
setup_undo_links(struct setup *s)
{
	const struct cfg_list *homes = &s->cli->config.qmail.homes;
	int r = 0;

	for (unsigned i = 0; i < homes->n; i++)
		for (size_t k = 0; k < countof(link_names) && r == 0; k++)
			r = remove_link(s, homes->s[i], link_names[k]);
	return r;
}
