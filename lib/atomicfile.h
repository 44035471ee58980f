/* SPDX-License-Identifier: ISC */
/*
 * atomicfile - replace a file so that every reader sees a whole old or a whole new one
 *
 * A new file ".NAME.new" is created beside the target (never through a link, never over anything),
 * written, synced, and moved over NAME.  kill -9, a full disk or an I/O error at any point leaves the old
 * file in place and at worst one ".NAME.new", which the next attempt removes.  All paths are
 * relative to a directory descriptor that the caller opened once, so that nobody can put another
 * directory in between.
 */
#ifndef LIB_ATOMICFILE_H
#define LIB_ATOMICFILE_H

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#define ATOMICFILE_NAME_MAX 64

enum atomicfile_flags {
	/* Survive power loss: fsync the file before and the directory after the move.  Without it a
	 * reader still never sees half a file, but after a power loss it may be old, new or empty:
	 * for tmpfs, which does not outlive a boot. */
	ATOMICFILE_DURABLE = 1u << 0,
	/* Fail with -EEXIST instead of replacing what stands there. */
	ATOMICFILE_NOREPLACE = 1u << 1,
};

struct atomicfile {
	const char *name; /* without '/', shorter than ATOMICFILE_NAME_MAX */
	const void *data;
	size_t len;
	int (*write)(int fd, void *arg); /* instead of data: writes all of it, and returns 0 or -errno */
	void *arg;
	mode_t mode; /* exact: the umask does not count */
	const struct timespec *mtime; /* NULL: now */
	unsigned flags;
};

/* Returns 0 or -errno.  -EIO and the like from the very last step (fsync of the directory) mean: the
 * new file is in place, but it is not certain that it survives a power loss. */
int atomicfile_put(int dirfd, const struct atomicfile *f);

/* The temporary name used for `name`. */
void atomicfile_temp_name(const char *name, char ret[ATOMICFILE_NAME_MAX + 8]);

/* Remove a temporary left over by an interrupted atomicfile_put().  Returns 0 also when there is none. */
int atomicfile_clean(int dirfd, const char *name);

#endif
