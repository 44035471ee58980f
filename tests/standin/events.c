/* SPDX-License-Identifier: ISC */
/*
 * events - stand for the engine at event.sock: tell each record that comes
 *
 *	events DIR
 *
 * Binds DIR/event.sock (removing one that is there) and prints a line for each datagram until it is killed:
 *
 *	mail stranger overload 2 451 pid=711 ip=192.0.2.1 helo=c.test sender=a@b.test episode=e4k2
 *	malformed -74
 *
 * The number behind the check is the verdict: 1 E, 2 R.  Texts are printable, \xHH for other bytes; of one
 * that was cut, "sender=TEXT+65024" tells how much is missing, and "hash=" its hash.
 *
 * Exit: 100 usage, 111 it could not be bound.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/record.h"
#include "lib/rundir.h"
#include "lib/text.h"

static void
print_text(const char *name, const struct record_text *t)
{
	char printable[4 * RECORD_TEXT_MAX + 1];
	struct text out = text_in(printable, sizeof(printable));

	if (t->s == NULL)
		return;
	text_put_printable(&out, t->s, t->len, t->len);
	printf(" %s=%s", name, printable);
	if (t->full_len > t->len)
		printf("+%zu hash=%016" PRIx64, t->full_len - t->len, t->hash);
}

static void
print_record(const struct record *r)
{
	static const char *const names[RECORD_TAGS] = {
		[RECORD_HELO] = "helo", [RECORD_SENDER] = "sender", [RECORD_RECIPIENT] = "recipient",
		[RECORD_USER] = "user", [RECORD_EPISODE] = "episode", [RECORD_HOST] = "host",
	};
	char ip[IP_TEXT_MAX] = "unknown";

	if (r->ip_known)
		ip_format(&r->ip, ip);
	printf("%s %s %s %u %u pid=%" PRIu32 " ip=%s", stage_name(r->stage), class_name(r->class),
		check_name(r->check), (unsigned)r->verdict, r->code, r->pid, ip);
	for (unsigned tag = 0; tag < RECORD_TAGS; tag++)
		print_text(names[tag], &r->text[tag]);
	putchar('\n');
}

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
			print_record(&r);
		else if (n >= 0)
			printf("malformed %d\n", e);
		(void)fflush(stdout); /* whoever reads sees what is missing */
	}
	return 111;
}
