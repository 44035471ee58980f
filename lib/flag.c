/* SPDX-License-Identifier: ISC */
#include "lib/flag.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fdio.h"

#define HEAD_MAX 64

/* The number behind the " since " of our mark, or -1. */
static int64_t
parse_since(const char *head)
{
	const char *p = head;
	int64_t v = 0;

	if (strncmp(p, FLAG_MARK, strlen(FLAG_MARK)) != 0)
		return -1;
	p = strstr(p, " since ");
	if (p == NULL)
		return -1;
	p += strlen(" since ");
	const char *digits = p;
	for (; *p >= '0' && *p <= '9' && p - digits < 18; p++)
		v = v * 10 + (*p - '0');
	return p != digits && *p == ' ' ? v : -1;
}

static enum flag_owner
owner_of(int fd, int64_t *ret_since)
{
	char head[HEAD_MAX];
	struct stat st;
	ssize_t n = fd_read_full(fd, head, sizeof(head) - 1);

	if (n <= 0 || fstat(fd, &st) < 0)
		return FLAG_PIN;
	head[n] = '\0';
	int64_t since = parse_since(head);
	if (since < 0 || st.st_mtim.tv_sec != since || st.st_mtim.tv_nsec != 0)
		return FLAG_PIN;
	*ret_since = since;
	return FLAG_OURS;
}

int
flag_look(int dirfd, const char *path, int64_t *ret_since)
{
	int64_t since = 0;
	int owner;
	int fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);

	if (ret_since != NULL)
		*ret_since = 0;
	if (fd < 0) {
		struct stat st;

		if (errno == ENOENT)
			return FLAG_ABSENT;
		/* There but closed to us (mode 0600, a link): the shell's [ -f ] would still see it. */
		if (fstatat(dirfd, path, &st, 0) < 0)
			return errno == ENOENT ? FLAG_ABSENT : -errno;
		return S_ISREG(st.st_mode) ? FLAG_PIN : FLAG_ABSENT;
	}
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		owner = FLAG_ABSENT; /* a directory or device is no flag: [ -f ] is false */
	else
		owner = owner_of(fd, &since);
	(void)close(fd);
	if (ret_since != NULL)
		*ret_since = since;
	return owner;
}
