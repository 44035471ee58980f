/* SPDX-License-Identifier: ISC */
#include "controller/markrow.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD offsetof(struct marks_message, body)

_Static_assert(sizeof(struct marks_message) == MARKS_MESSAGE_MAX, "the body fills the rest");
_Static_assert(HEAD + sizeof(struct marks_row) + RATE_DUMP_MARKS_MAX * sizeof(uint32_t) <= MARKS_MESSAGE_MAX,
	"any row fits");

uint64_t
marks_boot(const uint8_t boot_id[CLOCK_BOOT_ID_SIZE])
{
	uint64_t boot;

	memcpy(&boot, boot_id, sizeof(boot)); /* random, all but four bits */
	return boot;
}

void
marks_begin(struct marks_message *m, enum marks_kind kind)
{
	memset(m, 0, HEAD);
	m->kind = kind;
	m->len = HEAD;
}

static size_t
size_of(const struct marks_row *row)
{
	return sizeof(*row) + row->n * sizeof(uint32_t);
}

bool
marks_add(struct marks_message *m, const struct marks_row *row, const uint32_t *marks)
{
	if (m->len + size_of(row) > MARKS_MESSAGE_MAX)
		return false;
	memcpy(m->body + (m->len - HEAD), row, sizeof(*row));
	memcpy(m->body + (m->len - HEAD) + sizeof(*row), marks, row->n * sizeof(marks[0]));
	m->len += (uint32_t)size_of(row);
	m->rows++;
	return true;
}

bool
marks_next(const struct marks_message *m, size_t *at, struct marks_row *ret, uint32_t marks[RATE_DUMP_MARKS_MAX])
{
	size_t left = m->len - HEAD - *at;

	if (left < sizeof(*ret))
		return false;
	memcpy(ret, m->body + *at, sizeof(*ret));
	if (ret->n > RATE_DUMP_MARKS_MAX || size_of(ret) > left)
		return false;
	memcpy(marks, m->body + *at + sizeof(*ret), ret->n * sizeof(marks[0]));
	*at += size_of(ret);
	return true;
}

int
marks_send(int fd, struct marks_message *m)
{
	/* A packet goes whole or not at all. */
	return send(fd, m, m->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int
marks_receive(int fd, struct marks_message *ret)
{
	ssize_t n = recv(fd, ret, sizeof(*ret), MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPIPE;
	return (size_t)n >= HEAD && ret->len == (size_t)n && ret->kind <= MARKS_TROUBLE ? 0 : -EBADMSG;
}

int64_t
marks_age(const struct marks_row *row, uint64_t boot, mono_t mono, wall_t wall)
{
	int64_t age = row->boot == boot ? mono.ms - row->mono.ms : wall.ms - row->wall.ms;

	return age > 0 ? age : 0;
}

bool
marks_are_over(const struct marks_row *row, uint64_t boot, mono_t mono, wall_t wall)
{
	return row->n == 0 || marks_age(row, boot, mono, wall) >= row->left_ms;
}
