/* SPDX-License-Identifier: ISC */
#include "actions/ipsvd_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENT_BUFFER 4096 /* about 100 events: each may take a file to be looked at */
#define WATCHED (IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF)

void
ipsvd_dir_close(struct ipsvd_dir *d)
{
	if (d->watch >= 0)
		(void)close(d->watch);
	if (d->fd >= 0)
		(void)close(d->fd);
	d->watch = d->fd = -1;
}

/* Who may change it?  Only root and ourselves, but a group may write into it, so that tcpsvd can unlink what is
 * outdated (Postfix HISTORY 20260820: root's files in somebody else's directory). */
static int
check_owner(const struct stat *st, mode_t open_to_all, const char *what, const char *path, struct err *why)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(why, -EPERM,
			"it belongs to uid %u, root does not write there (make it root's, and if tcpsvd"
			" shall unlink, of a group of its user, mode 0775): %s%s", st->st_uid, what, path);
	if ((st->st_mode & open_to_all) == S_IWOTH)
		return err_set(why, -EPERM, "it can be written by everybody, root does not write there: %s%s", what,
			path);
	return 0;
}

static int
check_owners(const struct ipsvd_dir *d, struct err *why)
{
	struct stat above;
	int r = check_owner(&d->st, S_IWOTH, "", d->path, why);

	if (r < 0)
		return r;
	if (fstatat(d->fd, "..", &above, 0) < 0)
		return err_sys(why, -errno, "cannot look above %s", d->path);
	/* Where it is open to all but sticky, as /tmp is, nobody can exchange what is not his own. */
	return check_owner(&above, S_IWOTH | S_ISVTX, "the directory above ", d->path, why);
}

static int
cannot_open(const char *path, int error, struct err *why)
{
	struct stat st;

	if (error == ENOENT)
		return err_set(why, -ENOENT, "MISSING, and tcpsvd -i refuses EVERYBODY until it is made again: %s",
			path);
	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return err_set(why, -ELOOP, "it is a symbolic link, not the directory itself: %s", path);
	return err_sys(why, -error, "cannot open %s", path);
}

/* By the descriptor, so that it is this directory that is watched, whatever the path leads to by now. */
static int
start_watch(int dir)
{
	char self[32];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -1;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", dir);
	if (inotify_add_watch(fd, self, WATCHED | IN_ONLYDIR) >= 0)
		return fd;
	(void)close(fd);
	return -1;
}

int
ipsvd_dir_open(struct ipsvd_dir *d, bool watched, struct err *why)
{
	d->watch = -1;
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->fd < 0)
		return cannot_open(d->path, errno, why);
	int r = fstat(d->fd, &d->st) < 0 ? err_sys(why, -errno, "cannot look at %s", d->path) : check_owners(d, why);
	if (r < 0)
		ipsvd_dir_close(d);
	else if (watched)
		d->watch = start_watch(d->fd);
	return r;
}

int
ipsvd_dir_check(struct ipsvd_dir *d, struct err *why)
{
	struct stat st;
	int r;

	if (lstat(d->path, &st) < 0)
		r = cannot_open(d->path, errno, why);
	else if (st.st_dev != d->st.st_dev || st.st_ino != d->st.st_ino)
		r = S_ISDIR(st.st_mode) ? err_set(why, -ESTALE, "it is another directory than before: %s", d->path)
					: cannot_open(d->path, ENOTDIR, why);
	else if (fstat(d->fd, &d->st) < 0)
		r = err_sys(why, -errno, "cannot look at %s", d->path);
	else
		r = check_owners(d, why);
	if (r < 0)
		ipsvd_dir_close(d);
	return r;
}

static enum ipsvd_event
meaning(uint32_t mask)
{
	if ((mask & IN_Q_OVERFLOW) != 0)
		return IPSVD_EVENT_LOST;
	if ((mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
		return IPSVD_EVENT_GONE;
	if ((mask & (IN_MOVED_TO | IN_MODIFY)) != 0)
		return IPSVD_EVENT_CHANGED;
	return IPSVD_EVENT_SELF;
}

bool
ipsvd_dir_events(struct ipsvd_dir *d, void (*tell)(void *arg, enum ipsvd_event e, const char *name), void *arg)
{
	_Alignas(struct inotify_event) char buf[EVENT_BUFFER];
	ssize_t n = d->watch >= 0 ? read(d->watch, buf, sizeof(buf)) : -1;

	/* What is wrong with it, if anything, the next check of the directory tells. */
	for (char *p = buf; p < buf + n;) {
		const struct inotify_event *e = (const void *)p;

		tell(arg, meaning(e->mask), e->len > 0 ? e->name : "");
		p += sizeof(*e) + e->len;
	}
	return n > 0;
}
