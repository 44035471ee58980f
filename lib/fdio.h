/* SPDX-License-Identifier: ISC */
/* fdio - whole reads and writes, and the rules for opening what others may have put there */
#ifndef LIB_FDIO_H
#define LIB_FDIO_H

#include <stddef.h>
#include <sys/types.h>

/* Write all of it, through short writes and EINTR.  Returns 0 or -errno. */
int fd_write_all(int fd, const void *buf, size_t len);

/* Read until the end of file or until `cap` bytes are there.  Returns the number of bytes or -errno. */
ssize_t fd_read_full(int fd, void *buf, size_t cap);

/* Open a regular file for reading without ever waiting: a FIFO, a device, a directory is -EINVAL, a
 * file of more than `max` bytes -EFBIG.  `flags` may add O_NOFOLLOW.  Returns a descriptor
 * (close-on-exec), or -errno. */
int fd_open_regular(int dirfd, const char *path, int flags, off_t max);

/* Make sure that 0, 1 and 2 are open (on /dev/null where they were not), so that no later open() gets a
 * number that somebody prints to.  Returns 0 or -errno. */
int fd_sanitize(void);

#endif
