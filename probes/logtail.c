/* SPDX-License-Identifier: ISC */
#include "probes/logtail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/logline.h"
#include "probes/logtail_dir.h"

#define WATCH_EVERY_MS 1000
#define WHOLE_MAX (64 << 20) /* a plain file that took the place of the one we knew is read whole up to this size */
#define FILE_COST 4096 /* of the budget */
#define TRIES 8 /* looks at a directory that changes under us */

enum kind {
	KIND_NONE, /* not looked at yet */
	KIND_DIR,
	KIND_FILE,
	KIND_PIPE,
};

struct logtail {
	char path[PATH_MAX]; /* as configured */
	char current[PATH_MAX]; /* the file that is written to */
	enum kind kind;
	struct logtail_mark resume; /* until the first file is open; inode 0: none */

	/* the file that is read; fd is -1 before the first */
	int fd;
	dev_t dev;
	ino_t ino;
	bool rotated; /* it has a name of its own already, and nobody writes to it */
	bool leaving; /* another is being written to: read to its end once more, then go */
	uint64_t offset; /* of the next read */
	uint64_t line_start; /* of the first line that was not handed over */
	bool skipping, cut; /* up to the next line feed; because of a line that was too long */
	char head[LOGTAIL_HEAD];
	uint32_t head_n;
	char done[LOGTAIL_NAME_MAX];

	bool caught_up; /* what comes now was written after the log was opened */
	bool missing;
	mono_t missing_since;
	int inotify, file_wd;
	mono_t next_watch;
	struct logtail_counts counts;
	size_t have; /* bytes in buf: a line without its end */
	char buf[LOGTAIL_BUFFER];
};

int
logtail_new(const char *path, int inotify, const struct logtail_mark *mark, struct logtail **ret)
{
	struct logtail *t;

	if (strlen(path) + sizeof("/current") + LOGTAIL_NAME_MAX > PATH_MAX)
		return -ENAMETOOLONG;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return -ENOMEM;
	(void)snprintf(t->path, sizeof(t->path), "%s", path);
	t->fd = t->file_wd = -1;
	t->inotify = inotify;
	if (mark != NULL && mark->head_n <= LOGTAIL_HEAD && memchr(mark->done, '\0', sizeof(mark->done)) != NULL)
		t->resume = *mark;
	*ret = t;
	return 0;
}

void
logtail_free(struct logtail *t)
{
	if (t == NULL)
		return;
	if (t->fd >= 0)
		(void)close(t->fd);
	free(t);
}

int
logtail_fd(const struct logtail *t)
{
	return t->kind == KIND_PIPE ? t->fd : -1;
}

const struct logtail_counts *
logtail_counts(const struct logtail *t)
{
	return &t->counts;
}

bool
logtail_where(const struct logtail *t, struct logtail_mark *ret)
{
	if (t->kind == KIND_PIPE || t->fd < 0 || (t->skipping && !t->cut))
		return false; /* also in the midst of a line whose beginning we never saw */
	memset(ret, 0, sizeof(*ret));
	ret->inode = t->ino;
	ret->offset = t->line_start;
	ret->head_n = t->head_n;
	memcpy(ret->head, t->head, t->head_n);
	memcpy(ret->done, t->done, sizeof(ret->done));
	return true;
}

static int
cannot_read(int r, const char *path, struct err *why)
{
	if (r == -EACCES || r == -EPERM)
		return err_set(why, r, "cannot read %s: permission denied; its group must be one of service.groups, and"
			" may read it and pass all directories above", path);
	return err_sys(why, r, "cannot read %s", path);
}

/* --- a file ---------------------------------------------------------------------------------- */

static int
open_regular(const char *path, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int r = fstat(fd, st) < 0 ? -errno : S_ISREG(st->st_mode) ? 0 : -EINVAL;
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	return fd;
}

/* The first bytes tell a file from another with the same inode; they are noted as they come to be. */
static void
note_head(struct logtail *t)
{
	if (t->head_n == LOGTAIL_HEAD || t->kind == KIND_PIPE)
		return;
	ssize_t n = pread(t->fd, t->head, sizeof(t->head), 0);
	if (n > 0)
		t->head_n = (uint32_t)n;
}

static bool
has_head(int fd, const char *head, uint32_t n)
{
	char now[LOGTAIL_HEAD];

	return n == 0 || (pread(fd, now, n, 0) == (ssize_t)n && memcmp(now, head, n) == 0);
}

/* Take `fd` as the file to be read, from `offset` on. */
static void
begin_file(struct logtail *t, int fd, const struct stat *st, uint64_t offset, bool rotated)
{
	if (t->fd >= 0) {
		t->counts.rotations++;
		t->counts.halves += t->have > 0 || (t->skipping && t->cut);
		(void)close(t->fd);
	}
	t->fd = fd;
	t->dev = st->st_dev;
	t->ino = st->st_ino;
	t->rotated = rotated;
	t->offset = t->line_start = offset;
	t->leaving = t->skipping = t->cut = false;
	t->have = 0;
	t->head_n = 0;
	t->next_watch.ms = 0;
	t->resume.inode = 0;
	note_head(t);
}

/* A file that is met for the first time: its last lines are enough. */
static void
begin_at_end(struct logtail *t, int fd, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, offset = size > LOGTAIL_BACKLOG ? size - LOGTAIL_BACKLOG : 0;

	begin_file(t, fd, st, offset, false);
	t->skipping = offset > 0;
}

/* Truncated, or truncated and written again: from the start. */
static void
check_truncated(struct logtail *t)
{
	struct stat st;

	if (t->kind == KIND_PIPE || fstat(t->fd, &st) < 0)
		return;
	if ((uint64_t)st.st_size < t->offset || !has_head(t->fd, t->head, t->head_n)) {
		t->counts.truncations++;
		t->offset = t->line_start = 0;
		t->skipping = t->cut = false;
		t->have = 0;
		t->head_n = 0;
	}
	note_head(t);
}

/* --- a directory ----------------------------------------------------------------------------- */

static void
name_in(const struct logtail *t, const char *name, char ret[PATH_MAX])
{
	(void)snprintf(ret, PATH_MAX, "%.*s/%s", PATH_MAX - LOGTAIL_NAME_MAX - 2, t->path, name);
}

static void
set_done(struct logtail *t, const char *name)
{
	if (name[0] == '@')
		memcpy(t->done, name, strlen(name) + 1); /* a logtail_name: it fits */
}

/* Is our file gone from the directory for good?  In the moment in which it gets its label a listing may miss both
 * names. */
static bool
is_gone(const struct logtail *t, mono_t now)
{
	struct stat st;

	return fstat(t->fd, &st) < 0 || st.st_nlink == 0
		|| (t->missing && mono_since(t->missing_since, now) >= LOGTAIL_MISSING_MS);
}

/* A processor writes what it was given anew, under the label: what we have read is not read again for that. */
static bool
is_copy_of_ours(const struct logtail *t, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	if (t->head_n < LOGTAIL_HEAD)
		return false;
	name_in(t, name, path);
	int fd = open_regular(path, &st);
	if (fd < 0)
		return false;
	bool same = has_head(fd, t->head, t->head_n);
	(void)close(fd);
	return same;
}

/* The index of the first file that was not read: those behind ours; if ours is gone, it was older than all that are
 * there, and what is newer than what we had done before it is news.  -EAGAIN: look again. */
static long
first_news(struct logtail *t, const struct logtail_list *l, mono_t now)
{
	long ours = t->fd >= 0 ? logtail_list_find(l, t->ino) : -1;
	size_t i = 0;

	if (ours >= 0)
		return ours + 1;
	if (t->fd >= 0 && !is_gone(t, now))
		return -EAGAIN;
	while (i < l->n && strcmp(l->name[i].s, t->done) <= 0)
		i++;
	if (t->fd >= 0 && i < l->n && is_copy_of_ours(t, l->name[i].s))
		i++;
	return (long)i;
}

/* Has anything been rotated since `l` was listed, which is not what we have now in `fresh`? */
static bool
is_outdated(const struct logtail *t, const struct logtail_list *l, ino_t fresh)
{
	const char *newest = t->done;
	struct logtail_list now;
	bool outdated = false;

	for (size_t i = 0; i < l->n; i++)
		if (l->name[i].s[0] == '@')
			newest = l->name[i].s;

	if (logtail_list_rotated(t->path, &now) < 0)
		return true;
	for (size_t i = 0; i < now.n; i++)
		outdated |= strcmp(now.name[i].s, newest) > 0 && now.name[i].inode != fresh
			&& logtail_list_find(l, now.name[i].inode) < 0 && !(t->fd >= 0 && now.name[i].inode == t->ino);
	logtail_list_free(&now);
	return outdated;
}

static int
try_next(struct logtail *t, const struct logtail_list *l, mono_t now)
{
	long news = first_news(t, l, now);
	size_t i = (size_t)news;
	char path[PATH_MAX];
	struct stat st;

	if (news < 0)
		return (int)news;
	name_in(t, i < l->n ? l->name[i].s : "current", path);
	int fd = open_regular(path, &st);
	if (fd < 0)
		return fd;
	if (i < l->n) {
		begin_file(t, fd, &st, 0, true);
		set_done(t, l->name[i].s);
		return 1;
	}
	if (is_outdated(t, l, st.st_ino)) {
		(void)close(fd);
		return -EAGAIN;
	}
	for (size_t k = 0; k < l->n; k++)
		set_done(t, l->name[k].s);
	begin_file(t, fd, &st, 0, false);
	return 1;
}

/* Go on to the file that was written after ours.  Returns 1, or -errno; -ENOENT also for a moment in each rotation. */
static int
next_in_dir(struct logtail *t, mono_t now)
{
	int r = -EAGAIN;

	for (int i = 0; i < TRIES && (r == -EAGAIN || r == -ENOENT); i++) {
		struct logtail_list l;

		r = logtail_list_rotated(t->path, &l);
		if (r < 0)
			return r;
		r = try_next(t, &l, now);
		logtail_list_free(&l);
	}
	return r;
}

/* --- the first file -------------------------------------------------------------------------- */

/* Is it the file that the mark was made in? */
static int
try_mark(struct logtail *t, const char *path, bool rotated)
{
	const struct logtail_mark *m = &t->resume;
	struct stat st;
	int fd = open_regular(path, &st);

	if (fd < 0)
		return fd;
	if (st.st_ino != m->inode || (uint64_t)st.st_size < m->offset || !has_head(fd, m->head, m->head_n)) {
		(void)close(fd);
		return -ESRCH;
	}
	begin_file(t, fd, &st, m->offset, rotated);
	return 0;
}

static int
find_in_dir(struct logtail *t)
{
	struct logtail_list l;
	char path[PATH_MAX];
	int r = try_mark(t, t->current, false);

	if (r == 0)
		return 0;
	r = logtail_list_rotated(t->path, &l);
	if (r < 0)
		return r;
	r = -ESRCH;
	for (size_t i = 0; r < 0 && i < l.n; i++) {
		if (l.name[i].inode != t->resume.inode)
			continue;
		name_in(t, l.name[i].s, path);
		r = try_mark(t, path, true);
		if (r == 0)
			set_done(t, l.name[i].s);
	}
	logtail_list_free(&l);
	return r;
}

static int
resume_in_dir(struct logtail *t, mono_t now)
{
	int r = -ESRCH;

	memcpy(t->done, t->resume.done, sizeof(t->done));
	for (int i = 0; i < TRIES && r == -ESRCH; i++) /* it may just be renamed */
		r = find_in_dir(t);
	if (r != -ESRCH)
		return r;
	r = next_in_dir(t, now);
	if (r < 0)
		return r;
	t->counts.gaps++;
	return 0;
}

/* The file may have been renamed: by convention to a name that begins like its own. */
static int
find_renamed(struct logtail *t)
{
	const char *slash = strrchr(t->path, '/');
	size_t head = slash != NULL ? (size_t)(slash - t->path) + 1 : 0, base = strlen(t->path + head);
	char dir[PATH_MAX], path[PATH_MAX];
	struct dirent *e;
	int r = -ESRCH;

	(void)snprintf(dir, sizeof(dir), "%.*s", head > 1 ? (int)head - 1 : 1, head > 0 ? t->path : ".");
	DIR *d = opendir(dir);
	if (d == NULL)
		return -errno;
	for (int i = 0; i < LOGTAIL_NAMES_MAX && r != 0 && (e = readdir(d)) != NULL; i++) {
		if (strncmp(e->d_name, t->path + head, base) != 0 || e->d_ino != t->resume.inode)
			continue;
		int n = snprintf(path, sizeof(path), "%.*s%s", (int)head, t->path, e->d_name);
		if (n > 0 && (size_t)n < sizeof(path))
			r = try_mark(t, path, true);
	}
	(void)closedir(d);
	return r;
}

static int
resume_in_file(struct logtail *t)
{
	struct stat st;

	if (try_mark(t, t->path, false) == 0 || find_renamed(t) == 0)
		return 0;
	int fd = open_regular(t->path, &st);
	if (fd < 0)
		return fd;
	t->counts.gaps++;
	if (st.st_size > WHOLE_MAX)
		begin_at_end(t, fd, &st);
	else
		begin_file(t, fd, &st, 0, false);
	return 0;
}

static int
open_new(struct logtail *t)
{
	struct logtail_list l = { NULL, 0 };
	struct stat st;
	int r = t->kind == KIND_DIR ? logtail_list_rotated(t->path, &l) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < l.n; i++)
		set_done(t, l.name[i].s);
	logtail_list_free(&l);
	int fd = open_regular(t->current, &st);
	if (fd < 0)
		return fd;
	begin_at_end(t, fd, &st);
	return 0;
}

static int
open_pipe(struct logtail *t)
{
	t->fd = open(t->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	t->caught_up = true;
	return t->fd < 0 ? -errno : 0;
}

static int
open_first(struct logtail *t, mono_t now)
{
	struct stat st;

	if (stat(t->path, &st) < 0)
		return -errno;
	t->kind = S_ISDIR(st.st_mode) ? KIND_DIR : S_ISREG(st.st_mode) ? KIND_FILE : KIND_PIPE;
	(void)snprintf(t->current, sizeof(t->current), "%.*s%s", PATH_MAX - LOGTAIL_NAME_MAX, t->path,
		t->kind == KIND_DIR ? "/current" : "");
	if (t->kind == KIND_PIPE)
		return S_ISFIFO(st.st_mode) ? open_pipe(t) : -EINVAL;
	if (t->resume.inode == 0)
		return open_new(t);
	return t->kind == KIND_DIR ? resume_in_dir(t, now) : resume_in_file(t);
}

/* --- going on -------------------------------------------------------------------------------- */

/* Watches only spare us waiting: what can't be watched is looked at on schedule. */
static void
watch(struct logtail *t, mono_t now)
{
	const char *slash = strrchr(t->path, '/');
	char dir[PATH_MAX];

	if (t->inotify < 0 || t->kind == KIND_PIPE || now.ms < t->next_watch.ms)
		return;
	t->next_watch = mono_after(now, WATCH_EVERY_MS);
	if (t->kind == KIND_DIR) {
		(void)inotify_add_watch(t->inotify, t->path,
			IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR | IN_MASK_ADD);
		return;
	}
	(void)snprintf(dir, sizeof(dir), "%.*s", slash == NULL ? 1 : slash == t->path ? 1 : (int)(slash - t->path),
		slash == NULL ? "." : t->path);
	(void)inotify_add_watch(t->inotify, dir, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_MASK_ADD);
	int wd = inotify_add_watch(t->inotify, t->path, IN_MODIFY | IN_MASK_ADD);
	if (t->file_wd >= 0 && wd >= 0 && wd != t->file_wd)
		(void)inotify_rm_watch(t->inotify, t->file_wd);
	t->file_wd = wd;
}

/* A rotation takes a moment in which there is no current file. */
static int
is_missing(struct logtail *t, int r, mono_t now, struct err *why)
{
	if (r != -ENOENT && r != -EAGAIN)
		return cannot_read(r, t->current, why);
	if (!t->missing)
		t->missing_since = now;
	t->missing = true;
	if (mono_since(t->missing_since, now) < LOGTAIL_MISSING_MS)
		return 0;
	return cannot_read(r, t->current, why);
}

/* The last writer of a pipe is gone, or there was none yet.  Our end would be ready for reading from now on for ever;
 * another one is so only when the next writer is.  It is opened before the old one is closed: a writer must not find
 * nobody there. */
static int
await_writer(struct logtail *t, struct err *why)
{
	int fd = open(t->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	t->counts.halves += t->have > 0;
	t->have = 0;
	t->skipping = t->cut = false;
	if (fd < 0)
		return cannot_read(-errno, t->path, why);
	(void)close(t->fd);
	t->fd = fd;
	return 0;
}

/* At the end of the file.  Returns 1 when there is more to read, 0, or -Exxx. */
static int
advance(struct logtail *t, mono_t now, struct err *why)
{
	struct stat st;

	if (t->kind == KIND_PIPE)
		return await_writer(t, why);
	int r = stat(t->current, &st) < 0 ? -errno : 0;
	if (r < 0 && !(t->rotated && r == -ENOENT))
		return is_missing(t, r, now, why);
	t->missing = false;
	if (r == 0 && st.st_dev == t->dev && st.st_ino == t->ino) {
		if (faccessat(AT_FDCWD, t->current, R_OK, AT_EACCESS) < 0)
			return cannot_read(-errno, t->current, why);
		return 0;
	}
	/* Who writes to the new one will not write to the old one again: but he may have until now.  A new plain file
	 * may be made before its writer knows of it. */
	if (!t->rotated && !t->leaving) {
		t->leaving = t->kind == KIND_DIR || st.st_size > 0;
		return t->leaving ? 1 : 0;
	}
	if (t->kind == KIND_DIR) {
		r = next_in_dir(t, now);
	} else {
		int fd = open_regular(t->current, &st);

		r = fd < 0 ? fd : 1;
		if (fd >= 0)
			begin_file(t, fd, &st, 0, false);
	}
	return r < 0 ? is_missing(t, r, now, why) : r;
}

/* --- lines ----------------------------------------------------------------------------------- */

static void
hand_over(struct logtail *t, logtail_line *each, void *arg)
{
	const char *p = t->buf, *end = t->buf + t->have, *lf;
	uint64_t base = t->offset - t->have; /* of buf[0] in the file */

	while ((lf = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		size_t n = (size_t)(lf - p);

		if (t->skipping || n > LOGLINE_MAX) {
			t->counts.cut += !t->skipping || t->cut;
		} else {
			t->counts.lines++;
			each(p, n, !t->caught_up, arg);
		}
		t->skipping = t->cut = false;
		p = lf + 1;
		t->line_start = base + (uint64_t)(p - t->buf);
	}
	size_t rest = (size_t)(end - p);
	if (t->skipping || rest > LOGLINE_MAX) {
		t->cut |= !t->skipping;
		t->skipping = true;
		rest = 0;
	}
	memmove(t->buf, p, rest);
	t->have = rest;
}

static ssize_t
read_on(struct logtail *t)
{
	if (t->kind == KIND_PIPE)
		return read(t->fd, t->buf + t->have, sizeof(t->buf) - t->have);
	return pread(t->fd, t->buf + t->have, sizeof(t->buf) - t->have, (off_t)t->offset);
}

int
logtail_step(struct logtail *t, mono_t now, size_t budget, logtail_line *each, void *arg, struct err *why)
{
	size_t taken = 0;
	int r = t->fd < 0 ? open_first(t, now) : 0;

	if (r < 0)
		return cannot_read(r, t->current[0] != '\0' ? t->current : t->path, why);
	watch(t, now);
	check_truncated(t);
	do {
		ssize_t n = read_on(t);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			return err_sys(why, -errno, "cannot read %s", t->path);
		if (n == 0) {
			r = advance(t, now, why);
			t->caught_up |= r == 0;
			if (r <= 0)
				return r;
			watch(t, now);
			taken += FILE_COST;
			continue;
		}
		t->offset += (uint64_t)n;
		t->counts.bytes += (uint64_t)n;
		t->have += (size_t)n;
		taken += (size_t)n;
		hand_over(t, each, arg);
	} while (taken < budget);
	return LOGTAIL_MORE;
}
