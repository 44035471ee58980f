/* SPDX-License-Identifier: ISC */
/*
 * qq - put a message into the queue, as qmail-queue does
 *
 * The file is made in pid/, named after its inode by a link in mess/, filled, and becomes a message at the
 * link of intd/N to todo/N.  Until then it counts in mess/, as with a real one: a client that stalls in
 * DATA leaves a half-written message there.  Nothing is fsynced: this queue is thrown away after the test.
 */
#ifndef TESTS_STANDIN_QQ_H
#define TESTS_STANDIN_QQ_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/fdio.h"
#include "lib/text.h"
#include "tests/standin/buf.h"
#include "tests/standin/queuedir.h"

struct qq {
	int fd;
	int fault; /* first error, 0 or -errno: the message will not be queued */
	uint64_t n;
	bool split; /* todo and intd */
	size_t used;
	char out[8192];
};

static inline int
qq_make_pid_file(char ret_path[QUEUE_PATH_MAX])
{
	int fd, tries = 0;

	do {
		struct text t = text_in(ret_path, QUEUE_PATH_MAX);

		text_puts(&t, "queue/pid/");
		text_put_u64(&t, (uint64_t)getpid());
		text_putc(&t, '.');
		text_put_u64(&t, (uint64_t)wall_now().ms);
		text_putc(&t, '.');
		text_put_u64(&t, (uint64_t)tries);
		fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	} while (fd < 0 && errno == EEXIST && ++tries < 10);
	return fd < 0 ? -errno : fd;
}

/* Begin a message.  Returns 0 or -errno. */
static inline int
qq_open(struct qq *q)
{
	char pid_path[QUEUE_PATH_MAX], mess[QUEUE_PATH_MAX];
	struct stat st;
	int fd = qq_make_pid_file(pid_path), r = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0) {
		queue_path(mess, "mess", true, (uint64_t)st.st_ino);
		if (link(pid_path, mess) < 0)
			r = -errno;
	}
	(void)unlink(pid_path); /* the message has its name in mess/ by now, or is given up */
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	q->fd = fd;
	q->fault = 0;
	q->n = (uint64_t)st.st_ino;
	q->split = queue_todo_is_split();
	q->used = 0;
	return 0;
}

static inline void
qq_flush(struct qq *q)
{
	int r = fd_write_all(q->fd, q->out, q->used);

	if (r < 0 && q->fault == 0)
		q->fault = r;
	q->used = 0;
}

static inline void
qq_put(struct qq *q, const char *p, size_t n)
{
	while (n > 0) {
		size_t k = sizeof(q->out) - q->used < n ? sizeof(q->out) - q->used : n;

		memcpy(q->out + q->used, p, k);
		q->used += k;
		p += k;
		n -= k;
		if (q->used == sizeof(q->out))
			qq_flush(q);
	}
}

static inline void
qq_puts(struct qq *q, const char *s)
{
	qq_put(q, s, strlen(s));
}

static inline int
qq_write_envelope(const char *path, const struct buf *envelope)
{
	struct buf all = { 0 };
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	buf_putc(&all, 'u');
	buf_put_u64(&all, getuid());
	buf_put(&all, "\0p", 2);
	buf_put_u64(&all, (uint64_t)getpid());
	buf_putc(&all, '\0');
	buf_put(&all, envelope->at, envelope->len);
	int r = fd_write_all(fd, all.at, all.len);
	buf_done(&all);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		(void)unlink(path);
	return r;
}

/* qmail-send waits at the other end of this FIFO; without one, or with nobody there, it finds the
 * message at its next look round. */
static inline void
qq_pull_trigger(void)
{
	int fd = open(QUEUE_TRIGGER, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "", 1);
	(void)close(fd);
}

static inline int
qq_publish(struct qq *q, const struct buf *envelope)
{
	char intd[QUEUE_PATH_MAX], todo[QUEUE_PATH_MAX];

	queue_path(intd, "intd", q->split, q->n);
	queue_path(todo, "todo", q->split, q->n);
	int r = qq_write_envelope(intd, envelope);
	if (r < 0)
		return r;
	if (link(intd, todo) < 0) {
		r = -errno;
		(void)unlink(intd);
		return r;
	}
	qq_pull_trigger();
	return 0;
}

/* Give the message up. */
static inline void
qq_abandon(struct qq *q)
{
	char mess[QUEUE_PATH_MAX];

	(void)close(q->fd);
	queue_path(mess, "mess", true, q->n);
	(void)unlink(mess);
}

/* Queue the message for `envelope` ("Fsender\0Trecipient\0Trecipient\0").  Returns 0, or -errno, and then
 * nothing is left of it. */
static inline int
qq_close(struct qq *q, const struct buf *envelope)
{
	qq_flush(q);
	int r = q->fault;
	if (r == 0)
		r = qq_publish(q, envelope);
	if (r < 0)
		qq_abandon(q);
	else
		(void)close(q->fd);
	return r;
}

#endif
