/* SPDX-License-Identifier: ISC */
#include "probes/logmarks.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "lib/atomicfile.h"
#include "lib/fdio.h"
#include "lib/siphash.h"
#include "lib/text.h"

#define MAGIC 0x73706c31u /* "spl1": another number for another layout */

static uint64_t
sum_of(const struct logmarks *m)
{
	return siphash(m, offsetof(struct logmarks, sum), MAGIC, 0); /* against accidents, not against enemies */
}

int
logmarks_read(int dir, struct logmarks *ret)
{
	int fd = fd_open_regular(dir, LOGMARKS_FILE, O_NOFOLLOW, sizeof(*ret));

	memset(ret, 0, sizeof(*ret));
	if (fd < 0)
		return fd;
	ssize_t n = fd_read_full(fd, ret, sizeof(*ret));
	(void)close(fd);
	int r = n < 0 ? (int)n : 0;
	if (r == 0 && ((size_t)n != sizeof(*ret) || ret->magic != MAGIC || ret->n > LOGMARKS_MAX
		|| ret->sum != sum_of(ret)))
		r = -EBADMSG;
	for (uint32_t i = 0; r == 0 && i < ret->n; i++)
		if (memchr(ret->of[i].path, '\0', CFG_STRING_MAX) == NULL)
			r = -EBADMSG;
	if (r < 0)
		memset(ret, 0, sizeof(*ret));
	return r;
}

int
logmarks_write(int dir, struct logmarks *m)
{
	const struct atomicfile f = { .name = LOGMARKS_FILE, .data = m, .len = sizeof(*m), .mode = 0600 };

	m->magic = MAGIC;
	m->sum = sum_of(m);
	return atomicfile_put(dir, &f);
}

const struct logtail_mark *
logmarks_find(const struct logmarks *m, const char *path)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (strcmp(m->of[i].path, path) == 0)
			return &m->of[i].mark;
	return NULL;
}

void
logmarks_add(struct logmarks *m, const char *path, const struct logtail_mark *mark)
{
	if (m->n < LOGMARKS_MAX && text_copy(m->of[m->n].path, CFG_STRING_MAX, path) == 0)
		m->of[m->n++].mark = *mark;
}
