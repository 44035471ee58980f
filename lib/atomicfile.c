/* SPDX-License-Identifier: ISC */
#include "lib/atomicfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/text.h"

void
atomicfile_temp_name(const char *name, char ret[ATOMICFILE_NAME_MAX + 8])
{
	struct text t = text_in(ret, ATOMICFILE_NAME_MAX + 8);

	text_putc(&t, '.');
	text_puts(&t, name);
	text_puts(&t, ".new");
}

int
atomicfile_clean(int dirfd, const char *name)
{
	char temp[ATOMICFILE_NAME_MAX + 8];

	atomicfile_temp_name(name, temp);
	return unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* O_EXCL follows no link and opens nothing that was there.  One leftover is removed and tried again; if
 * it comes back at once, somebody plants it, and we give up rather than race. */
static int
create_temp(int dirfd, const char *temp, mode_t mode)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, temp, flags, mode);

	if (fd < 0 && errno == EEXIST) {
		if (unlinkat(dirfd, temp, 0) < 0)
			return -errno;
		fd = openat(dirfd, temp, flags, mode);
	}
	return fd < 0 ? -errno : fd;
}

static int
fill(int fd, const struct atomicfile *f)
{
	int r = f->write != NULL ? f->write(fd, f->arg) : fd_write_all(fd, f->data, f->len);

	if (r < 0)
		return r;
	if (fchmod(fd, f->mode) < 0)
		return -errno;
	if (f->mtime != NULL) {
		const struct timespec times[2] = { *f->mtime, *f->mtime };

		if (futimens(fd, times) < 0)
			return -errno;
	}
	if ((f->flags & ATOMICFILE_DURABLE) != 0 && fsync(fd) < 0)
		return -errno;
	return 0;
}

int
atomicfile_put(int dirfd, const struct atomicfile *f)
{
	char temp[ATOMICFILE_NAME_MAX + 8];
	unsigned how = (f->flags & ATOMICFILE_NOREPLACE) != 0 ? RENAME_NOREPLACE : 0;

	if (strlen(f->name) >= ATOMICFILE_NAME_MAX || strchr(f->name, '/') != NULL)
		return -EINVAL;
	atomicfile_temp_name(f->name, temp);
	int fd = create_temp(dirfd, temp, f->mode);
	if (fd < 0)
		return fd;
	int r = fill(fd, f);
	/* close() can report a write that failed late (NFS): the file does not count then. */
	if (close(fd) < 0 && r == 0)
		r = -errno;

	if (r == 0 && renameat2(dirfd, temp, dirfd, f->name, how) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dirfd, temp, 0); /* the first error is the one to tell */
		return r;
	}
	if ((f->flags & ATOMICFILE_DURABLE) != 0 && fsync(dirfd) < 0)
		return -errno;
	return 0;
}
