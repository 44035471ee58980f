/* SPDX-License-Identifier: ISC */
/*
 * control - the files in control/, read as qmail reads them
 *
 * Blanks at the end of a line are cut; lines that are then empty or begin with '#' do not count.
 * Paths are relative to the qmail home, which is the current directory.
 */
#ifndef TESTS_STANDIN_CONTROL_H
#define TESTS_STANDIN_CONTROL_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/num.h"
#include "tests/standin/buf.h"

#define CONTROL_FILE_MAX (1 << 20)

/* The whole file, as it is, added to `ret`.  Returns 0 or -errno. */
static inline int
control_slurp(const char *path, struct buf *ret)
{
	int fd = fd_open_regular(AT_FDCWD, path, 0, CONTROL_FILE_MAX);

	if (fd < 0)
		return fd;
	buf_room(ret, CONTROL_FILE_MAX);
	ssize_t n = fd_read_full(fd, ret->at + ret->len, CONTROL_FILE_MAX);
	(void)close(fd); /* read only: nothing can be lost */
	if (n < 0)
		return (int)n;
	ret->len += (size_t)n;
	return 0;
}

static inline void
control_add_line(struct buf *ret, const char *line, size_t n)
{
	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\n'))
		n--;
	if (n == 0 || line[0] == '#')
		return;
	buf_put(ret, line, n);
	buf_putc(ret, '\0');
}

/* The lines that count, each ended by a NUL.  Returns 1, 0 when there is no such file, or -errno. */
static inline int
control_lines(const char *path, struct buf *ret)
{
	struct buf raw = { 0 };
	int r = control_slurp(path, &raw);

	for (size_t i = 0, n; r == 0 && i < raw.len; i += n) {
		const char *nl = memchr(raw.at + i, '\n', raw.len - i);

		n = nl == NULL ? raw.len - i : (size_t)(nl - (raw.at + i)) + 1;
		control_add_line(ret, raw.at + i, n);
	}
	buf_done(&raw);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* The number on the first line, or `otherwise` when there is none. */
static inline uint64_t
control_number(const char *path, uint64_t otherwise)
{
	struct buf lines = { 0 };
	uint64_t v = otherwise;

	if (control_lines(path, &lines) == 1 && lines.len > 0 && num_u64(lines.at, &v) < 0)
		v = otherwise;
	buf_done(&lines);
	return v;
}

/* Is the domain of `addr` in the list, itself or by a line ".suffix"?  No domain is a local one: yes. */
static inline bool
control_has_domain(const struct buf *lines, const char *addr)
{
	const char *at = strrchr(addr, '@');

	if (at == NULL)
		return true;
	for (const char *name = at + 1; name != NULL; name = strchr(name + 1, '.'))
		for (size_t i = 0; i < lines->len; i += strlen(lines->at + i) + 1)
			if (strcasecmp(lines->at + i, name) == 0)
				return true;
	return false;
}

#endif
