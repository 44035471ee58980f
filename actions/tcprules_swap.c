/* SPDX-License-Identifier: ISC */
#include "actions/tcprules_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "actions/cdb.h"
#include "lib/fdio.h"

bool
tcprules_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size
		&& a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool
tcprules_newer(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static int
check(const struct tcprules_swap *s, const struct cdb_view *v, int old_fd)
{
	struct stat st;

	if (v->ours != s->built->rules)
		return -EBADMSG;
	if (fstat(old_fd, &st) < 0)
		return -errno;
	if (!tcprules_same(&st, s->old))
		return -EAGAIN;
	int r = cdb_same_theirs(v, old_fd, TCPRULES_MARKER);
	return r < 0 ? r : r == 0 ? -ESTALE : 0;
}

/* tcpserver turns everybody away when it can't read it; and it must not look older than its rules, though the clock
 * was set back. */
static int
dress(const struct tcprules_swap *s, int fd)
{
	const struct timespec times[2] = { s->built->rules_stat.st_mtim, s->built->rules_stat.st_mtim };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != s->old->st_uid || st.st_gid != s->old->st_gid)
		&& fchown(fd, s->old->st_uid, s->old->st_gid) < 0)
		return -errno;
	if (fchmod(fd, s->old->st_mode & 0777) < 0)
		return -errno;
	if (tcprules_newer(&times[0], &st.st_mtim) && futimens(fd, times) < 0)
		return -errno;
	return 0;
}

/* Byte for byte?  Then nothing needs to change. */
static bool
is_in_place(const struct tcprules_swap *s, const struct cdb_view *v, int old_fd)
{
	uint8_t buf[65536];
	size_t at = 0;

	if (s->old->st_size != (off_t)v->len)
		return false;
	while (at < v->len) {
		ssize_t n = pread(old_fd, buf, sizeof(buf), (off_t)at);

		if (n <= 0 || (size_t)n > v->len - at || memcmp(buf, v->at + at, (size_t)n) != 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static int
take_place(const struct tcprules_swap *s)
{
	struct stat rules, cdb;

	if (stat(s->rules, &rules) < 0 || fstatat(s->dir, s->name, &cdb, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!tcprules_same(&rules, &s->built->rules_stat) || !tcprules_same(&cdb, s->old))
		return -EAGAIN;
	return renameat(s->dir, s->new_name, s->dir, s->name) < 0 ? -errno : 0;
}

static int
replace(struct tcprules_swap *s, const struct cdb_view *v, int fd, int old_fd)
{
	int r = check(s, v, old_fd), in_place = fd;

	if (r < 0)
		return r;
	if (is_in_place(s, v, old_fd))
		in_place = old_fd;
	else if ((r = dress(s, fd)) < 0 || (r = take_place(s)) < 0)
		return r;
	s->theirs = v->theirs;
	return fstat(in_place, &s->in_place) < 0 ? -errno : 0;
}

/* The new one is ours alone: nobody makes it shorter while it is mapped. */
static int
with_files(struct tcprules_swap *s, int fd, int old_fd)
{
	struct cdb_view v;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -EBADMSG;
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	int r = cdb_look(at, (size_t)st.st_size, TCPRULES_MARKER, &v);
	if (r == 0)
		r = replace(s, &v, fd, old_fd);
	(void)munmap(at, (size_t)st.st_size);
	return r;
}

int
tcprules_swap(struct tcprules_swap *s)
{
	int fd = fd_open_regular(s->dir, s->new_name, O_NOFOLLOW, CDB_SIZE_MAX);
	int old_fd = fd_open_regular(s->dir, s->name, O_NOFOLLOW, CDB_SIZE_MAX);
	int r = fd < 0 ? fd : old_fd < 0 ? old_fd : with_files(s, fd, old_fd);

	if (fd == -ENOENT || fd == -ELOOP || fd == -EINVAL)
		r = -EBADMSG;
	if (fd >= 0)
		(void)close(fd);
	if (old_fd >= 0)
		(void)close(old_fd);
	return r;
}
