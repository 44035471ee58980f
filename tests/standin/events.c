/* SPDX-License-Identifier: ISC */
/*
 * events - stand for the engine at event.sock: tell each record that comes
 *
 *	events DIR
 *
 * Binds DIR/event.sock (removing one that is there) and prints a line for each datagram until it is killed,
 * as told.h shows it, or "malformed -74".
 *
 * Exit: 100 usage, 111 it could not be bound.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/record.h"
#include "lib/rundir.h"
#include "lib/text.h"
#include "tests/standin/told.h"

static int
bind_at(const char *dir)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct text path = text_in(at.sun_path, sizeof(at.sun_path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	text_puts(&path, dir);
	text_puts(&path, "/" RUNDIR_EVENT_SOCKET);
	if (path.cut)
		return -ENAMETOOLONG;
	(void)unlink(at.sun_path); /* bind tells */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	return fd;
}

int
main(int argc, char **argv)
{
	uint8_t buf[RECORD_MAX + 1];
	struct record r;
	ssize_t n;

	if (argc != 2) {
		fputs("usage: events DIR\n", stderr);
		return 100;
	}
	int fd = bind_at(argv[1]);
	if (fd < 0) {
		(void)fprintf(stderr, "events: %s: %s\n", argv[1], strerror(-fd));
		return 111;
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) >= 0 || errno == EINTR) {
		int e = n < 0 ? -EINTR : record_decode(buf, (size_t)n, &r);

		if (e == 0)
			told_record(stdout, &r);
		else if (n >= 0)
			printf("malformed %d\n", e);
		(void)fflush(stdout); /* whoever reads sees what is missing */
	}
	return 111;
}
