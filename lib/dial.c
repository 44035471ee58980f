/* SPDX-License-Identifier: ISC */
#include "lib/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/text.h"

/* A program may run with 0, 1 or 2 closed, and what it prints there must not go to the engine. */
static int
move_up(int fd)
{
	if (fd > STDERR_FILENO)
		return fd;
	int up = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int e = -errno;
	(void)close(fd);
	return up < 0 ? e : up;
}

int
dial(const char *dir, const char *name, int type)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct text path = text_in(to.sun_path, sizeof(to.sun_path));

	text_puts(&path, dir);
	text_putc(&path, '/');
	text_puts(&path, name);
	if (path.cut)
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	fd = move_up(fd);
	if (fd < 0)
		return fd;
	/* A local connection is made at once or not at all: there is no EINPROGRESS. */
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		int e = -errno;

		(void)close(fd);
		return e;
	}
	return fd;
}

int
dial_wait(int fd, short events, mono_t until)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do {
		int64_t left = mono_since(mono_now(), until);

		left = left < 0 ? 0 : left > INT_MAX ? INT_MAX : left;
		n = poll(&p, 1, (int)left);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}
