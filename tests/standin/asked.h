/* SPDX-License-Identifier: ISC */
/*
 * asked - stands for the engine at ask.sock and rate.sock: says what it was asked, and answers as it was told to
 *
 * One question at a time, in the order in which they come; what is told is the promise that tests of the plugin and
 * of the client library rely on.  Connections that it does not close at once it holds, and tells when they end:
 *
 *	ask: rcpt stranger overload 0 0 pid=711 ip=192.0.2.1 wants=tarpit delay=2000      (told.h)
 *	rate: ?ip 192.0.2.1
 *	end: after 2003 ms
 */
#ifndef TESTS_STANDIN_ASKED_H
#define TESTS_STANDIN_ASKED_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/ask.h"
#include "lib/clock.h"
#include "lib/rundir.h"
#include "tests/standin/told.h"

#define ASKED_HELD_MAX 512
#define ASKED_LINE_MAX 1024
#define ASKED_PATIENCE_MS 2000 /* for a question that does not come */

enum asked_how {
	ASKED_ANSWERS,
	ASKED_GARBAGE, /* bytes that are no answer */
	ASKED_HALF, /* half the answer, then it closes */
	ASKED_HALF_OPEN, /* half the answer, then nothing */
	ASKED_TWICE, /* more than an answer */
	ASKED_DRIPS, /* a byte every 30 ms; at ask.sock the same as ASKED_HALF_OPEN */
	ASKED_SILENT, /* hears the question, and holds the connection */
	ASKED_CLOSES, /* closes at once, without hearing */
	ASKED_DEAF, /* never takes a connection; its backlog has no room */
	ASKED_HOWS
};

static const char *const asked_how_names[ASKED_HOWS] = {
	"answers", "garbage", "half", "half-open", "twice", "drips", "silent", "closes", "deaf",
};

struct asked_plan {
	enum asked_how how;
	struct ask_answer answer; /* to a session */
	bool grants; /* the delay that is asked for, instead of answer.delay_ms */
	uint64_t pass; /* so many sessions pass before the answer is given */
	int64_t wait_ms; /* before each answer */
	int64_t hang_up_ms; /* a connection that is held is closed after so long; -1: never */
	const char *line; /* to a mark */
	FILE *to; /* what is told */
};

struct asked {
	struct asked_plan plan;
	int ask, rate; /* listening */
	struct {
		int fd;
		mono_t since;
	} held[ASKED_HELD_MAX];
	unsigned n_held;
	uint64_t sessions;
};

static inline int
asked_listen(const char *dir, const char *name, int type, int backlog)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct text path = text_in(at.sun_path, sizeof(at.sun_path));
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	text_puts(&path, dir);
	text_putc(&path, '/');
	text_puts(&path, name);
	if (path.cut)
		return -ENAMETOOLONG;
	(void)unlink(at.sun_path); /* bind tells */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, backlog) < 0)
		return -errno;
	return fd;
}

/* Bind both in DIR, removing what is there.  Returns 0 or -errno. */
static inline int
asked_open(struct asked *a, const char *dir, const struct asked_plan *plan)
{
	int backlog = plan->how == ASKED_DEAF ? 0 : 128;

	*a = (struct asked) { .plan = *plan };
	a->ask = asked_listen(dir, RUNDIR_ASK_SOCKET, SOCK_SEQPACKET, backlog);
	if (a->ask < 0)
		return a->ask;
	a->rate = asked_listen(dir, RUNDIR_RATE_SOCKET, SOCK_STREAM, backlog);
	return a->rate < 0 ? a->rate : 0;
}

static inline void
asked_sleep(int64_t ms)
{
	(void)poll(NULL, 0, (int)ms);
}

static inline void
asked_hold(struct asked *a, int fd)
{
	if (a->n_held == ASKED_HELD_MAX) {
		(void)close(fd);
		return;
	}
	a->held[a->n_held].fd = fd;
	a->held[a->n_held++].since = mono_now();
}

/* Say it in the way that was chosen; the connection ends, or is held when `keep`. */
static inline void
asked_say(struct asked *a, int fd, const void *bytes, size_t n, bool keep)
{
	static const char garbage[] = "\x7f" "ELF\xff\n\0 9/9 \x1b[2J\r\nR451 forged\nE550 forged\n";
	const char *at = bytes;
	char twice[2 * ASKED_LINE_MAX];

	switch (a->plan.how) {
	case ASKED_GARBAGE:
		at = garbage;
		n = sizeof(garbage) - 1;
		break;
	case ASKED_HALF:
	case ASKED_HALF_OPEN:
	case ASKED_DRIPS:
		n /= 2;
		break;
	case ASKED_TWICE:
		memcpy(twice, at, n);
		memcpy(twice + n, at, n);
		at = twice;
		n *= 2;
		break;
	default:
		break;
	}
	(void)send(fd, at, n, MSG_NOSIGNAL); /* whoever is gone has its own reasons */
	if (keep || a->plan.how == ASKED_HALF_OPEN || a->plan.how == ASKED_DRIPS)
		asked_hold(a, fd);
	else
		(void)close(fd);
}

static inline void
asked_drip(int fd, const char *line)
{
	for (; *line != '\0' && send(fd, line, 1, MSG_NOSIGNAL) == 1; line++)
		asked_sleep(30);
	(void)close(fd);
}

/* A packet, or a whole line.  Returns its length, or -1. */
static inline ssize_t
asked_hear(int fd, char *buf, size_t cap, bool line)
{
	size_t len = 0;

	do {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, ASKED_PATIENCE_MS) == 1 ? recv(fd, buf + len, cap - len, 0) : -1;

		if (n <= 0)
			return -1;
		len += (size_t)n;
	} while (line && len < cap && memchr(buf, '\n', len) == NULL);
	return (ssize_t)len;
}

static inline void
asked_session(struct asked *a, int fd)
{
	static const struct ask_answer pass;
	uint8_t buf[RECORD_MAX + 1], packet[ASK_ANSWER_SIZE];
	struct record r;
	ssize_t n = asked_hear(fd, (char *)buf, sizeof(buf), false);
	int e = n < 0 ? -EBADMSG : record_decode(buf, (size_t)n, &r);

	if (e < 0) {
		(void)fprintf(a->plan.to, "ask: malformed %d\n", e);
		(void)close(fd);
		return;
	}
	(void)fputs("ask: ", a->plan.to);
	told_record(a->plan.to, &r);
	(void)fflush(a->plan.to);
	if (a->plan.how == ASKED_SILENT) {
		asked_hold(a, fd);
		return;
	}
	struct ask_answer answer = a->sessions++ < a->plan.pass ? pass : a->plan.answer;
	if (a->plan.grants)
		answer.delay_ms = r.delay_ms;
	ask_answer_encode(&answer, packet);
	asked_sleep(a->plan.wait_ms);
	asked_say(a, fd, packet, sizeof(packet), answer.delay_ms > 0);
}

static inline void
asked_mark(struct asked *a, int fd)
{
	char buf[ASKED_LINE_MAX];
	ssize_t n = asked_hear(fd, buf, sizeof(buf), true);

	(void)fputs("rate: ", a->plan.to);
	if (n > 0)
		(void)fwrite(buf, 1, (size_t)n, a->plan.to);
	else
		(void)fputs("malformed\n", a->plan.to);
	(void)fflush(a->plan.to);
	if (a->plan.how == ASKED_SILENT) {
		asked_hold(a, fd);
		return;
	}
	asked_sleep(a->plan.wait_ms);
	if (a->plan.how == ASKED_DRIPS)
		asked_drip(fd, a->plan.line);
	else
		asked_say(a, fd, a->plan.line, strlen(a->plan.line), false);
}

static inline void
asked_take(struct asked *a, int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (a->plan.how == ASKED_CLOSES)
		(void)close(fd);
	else if (listening == a->ask)
		asked_session(a, fd);
	else
		asked_mark(a, fd);
}

static inline void
asked_let_go(struct asked *a, unsigned i)
{
	(void)close(a->held[i].fd);
	(void)fprintf(a->plan.to, "end: after %lld ms\n", (long long)mono_since(a->held[i].since, mono_now()));
	(void)fflush(a->plan.to);
	a->held[i] = a->held[--a->n_held];
}

/* One wait, and what came of it. */
static inline void
asked_turn(struct asked *a)
{
	struct pollfd p[2 + ASKED_HELD_MAX] = {
		{ .fd = a->ask, .events = POLLIN }, { .fd = a->rate, .events = POLLIN },
	};
	unsigned first = a->plan.how == ASKED_DEAF ? 2 : 0;
	bool timed = a->plan.hang_up_ms >= 0 && a->n_held > 0;

	for (unsigned i = 0; i < a->n_held; i++)
		p[2 + i] = (struct pollfd) { .fd = a->held[i].fd };
	if (poll(p + first, 2 - first + a->n_held, timed ? 10 : -1) < 0)
		return;
	for (unsigned i = a->n_held; i-- > 0;)
		if (p[2 + i].revents != 0
			|| (timed && mono_since(a->held[i].since, mono_now()) >= a->plan.hang_up_ms))
			asked_let_go(a, i);
	if ((p[0].revents & POLLIN) != 0)
		asked_take(a, a->ask);
	if ((p[1].revents & POLLIN) != 0)
		asked_take(a, a->rate);
}

#endif
