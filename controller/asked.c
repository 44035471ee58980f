/* SPDX-License-Identifier: ISC */
#include "controller/asked.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/ask.h"
#include "controller/log.h"
#include "lib/rundir.h"

#define BACKLOG 4096 /* the kernel takes net.core.somaxconn of it */
#define PAUSE_MS 100 /* after accept() failed: no descriptors left */
#define LINGER_MS 1000 /* a sleeper should have gone by then */
#define CLIENTS (ASKED_WAITING + ASKED_SLEEPERS_MAX)

/* One who is waited for, or sleeps.  The others are answered before they get a place. */
struct client {
	struct asked *asked;
	struct event io; /* with a timeout */
	int fd; /* -1: free */
	pid_t pid;
	bool sleeps;
	struct client *next_free;
};

struct asked {
	struct event_base *base;
	int fd;
	struct event readable, pause;
	const struct config *config;
	asked_answer *answer;
	void *arg;
	unsigned waiting, sleeping;
	uint64_t answered, foreign, malformed, gone, dropped;
	struct log_memory memory;
	struct client *free;
	struct client client[CLIENTS];
};

/* --- places ---------------------------------------------------------------------------------- */

/* Give the place back; the connection is the caller's. */
static void
leave(struct client *c)
{
	struct asked *a = c->asked;

	(void)event_del(&c->io);
	c->fd = -1;
	*(c->sleeps ? &a->sleeping : &a->waiting) -= 1;
	c->next_free = a->free;
	a->free = c;
}

static void
drop(struct client *c)
{
	int fd = c->fd;

	leave(c);
	(void)close(fd);
}

static void on_client(evutil_socket_t fd, short what, void *arg);

/* Keep a connection for `ms`.  Returns false when there is no place: then it is still the caller's. */
static bool
keep(struct asked *a, int fd, pid_t pid, bool sleeps, uint32_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	struct client *c = a->free;

	if (c == NULL || (!sleeps && a->waiting == ASKED_WAITING)
		|| event_assign(&c->io, a->base, fd, EV_READ, on_client, c) < 0 || event_add(&c->io, &tv) < 0)
		return false;
	a->free = c->next_free;
	c->fd = fd;
	c->pid = pid;
	c->sleeps = sleeps;
	*(sleeps ? &a->sleeping : &a->waiting) += 1;
	return true;
}

static bool
may_sleep(const struct asked *a)
{
	return a->sleeping < ASKED_SLEEPERS_MAX && a->sleeping < a->config->plugins.tarpit_sleepers;
}

/* --- questions ------------------------------------------------------------------------------- */

/* A plugin that has given up has closed.  Asked before anything is counted: after a second in which we stood still,
 * hundreds of such questions may be waiting, and their sessions are long past. */
static bool
is_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Answer what was read.  Returns whether the connection is kept. */
static bool
serve(struct asked *a, int fd, pid_t pid, const uint8_t *buf, size_t len)
{
	struct record r;
	struct ask_answer answer = { .verdict = VERDICT_PASS };
	uint8_t packet[ASK_ANSWER_SIZE];

	if (record_decode(buf, len, &r) < 0) {
		a->malformed++;
		return false;
	}
	if (is_gone(fd)) {
		a->gone++;
		return false;
	}
	a->answer(&r, pid, may_sleep(a), &answer, a->arg);
	a->answered++;
	/* Who is told to sleep must be seen: without a place he is not told. */
	bool kept = answer.delay_ms > 0 && keep(a, fd, pid, true, answer.delay_ms + LINGER_MS);
	if (!kept)
		answer.delay_ms = 0;
	ask_answer_encode(&answer, packet);
	/* Gone, or full of what he does not read: the connection ends one way or the other. */
	(void)send(fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
	return kept;
}

/* Read the question.  Returns 0 when it was dealt with and the connection ends, 1 when it is kept, -EAGAIN when
 * nothing is there yet. */
static int
hear(struct asked *a, int fd, pid_t pid)
{
	uint8_t buf[RECORD_MAX + 1];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n <= 0) {
		a->gone++;
		return 0;
	}
	return serve(a, fd, pid, buf, (size_t)n);
}

/* A question, an end, a deadline; or a word from one who sleeps, and should not. */
static void
on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	struct asked *a = c->asked;
	pid_t pid = c->pid;

	if (c->sleeps || (what & EV_TIMEOUT) != 0) {
		a->dropped += !c->sleeps;
		drop(c);
		return;
	}
	leave(c); /* as a sleeper it gets another place */
	if (hear(a, fd, pid) != 1)
		(void)close(fd);
}

/* --- who comes ------------------------------------------------------------------------------- */

static void
welcome(struct asked *a, int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0
		|| !ask_is_believed(&a->config->plugin_uids, who.uid)) {
		a->foreign++;
		(void)close(fd);
		return;
	}
	int r = hear(a, fd, who.pid);
	if (r == -EAGAIN && !keep(a, fd, who.pid, false, ASKED_DEADLINE_MS)) {
		a->dropped++;
		r = 0;
	}
	if (r == 0)
		(void)close(fd);
}

/* No descriptors: accepting again at once would spin (half a million times a second, measured). */
static void
pause_accepting(struct asked *a, int error)
{
	const struct timeval tv = { .tv_usec = PAUSE_MS * 1000 };
	char text[120];

	(void)snprintf(text, sizeof(text), "cannot accept: %s; plugins go on without an answer", strerror(error));
	(void)log_edge(&a->memory, LOG_WARNING, "ask", text);
	if (event_add(&a->pause, &tv) == 0)
		(void)event_del(&a->readable);
}

static void
on_readable(evutil_socket_t listener, short what, void *arg)
{
	struct asked *a = arg;

	(void)what;
	for (int i = 0; i < ASKED_A_TURN; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			welcome(a, fd);
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			pause_accepting(a, errno);
			return;
		}
	}
	(void)log_edge(&a->memory, LOG_WARNING, "ask", "");
}

static void
on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct asked *a = arg;

	(void)fd;
	(void)what;
	(void)event_add(&a->readable, NULL); /* its place in the base is kept: it does not fail */
}

/* --- the whole ------------------------------------------------------------------------------- */

void
asked_wake(struct asked *a)
{
	for (size_t i = 0; a->sleeping > 0 && i < CLIENTS; i++)
		if (a->client[i].fd >= 0 && a->client[i].sleeps)
			drop(&a->client[i]);
}

void
asked_free(struct asked *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < CLIENTS; i++)
		if (a->client[i].fd >= 0)
			drop(&a->client[i]);
	(void)event_del(&a->readable);
	(void)event_del(&a->pause);
	(void)close(a->fd);
	free(a);
}

int
asked_new(struct event_base *base, const char *dir, const struct config *config, asked_answer *answer, void *arg,
	struct asked **ret, struct err *why)
{
	struct asked *a = calloc(1, sizeof(*a));
	char path[CFG_STRING_MAX + 32];

	if (a == NULL)
		return err_sys(why, -ENOMEM, "ask socket");
	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_ASK_SOCKET, dir);
	a->base = base;
	a->config = config;
	a->answer = answer;
	a->arg = arg;
	for (size_t i = CLIENTS; i-- > 0; a->free = &a->client[i])
		a->client[i] = (struct client) { .asked = a, .fd = -1, .next_free = a->free };
	if ((a->fd = ask_bind(path, SOCK_SEQPACKET, why)) < 0) {
		int r = a->fd;

		free(a);
		return r;
	}
	if (listen(a->fd, BACKLOG) < 0 || event_assign(&a->pause, base, -1, 0, on_pause_over, a) < 0
		|| event_assign(&a->readable, base, a->fd, EV_READ | EV_PERSIST, on_readable, a) < 0
		|| event_add(&a->readable, NULL) < 0) {
		(void)close(a->fd);
		free(a);
		return err_set(why, -ENOMEM, "%s: cannot be listened on", path);
	}
	*ret = a;
	return 0;
}

json_t *
asked_describe(const struct asked *a)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:i}", "answered", (json_int_t)a->answered,
		"foreign", (json_int_t)a->foreign, "malformed", (json_int_t)a->malformed, "gone", (json_int_t)a->gone,
		"dropped", (json_int_t)a->dropped, "waiting", (int)a->waiting, "sleeping", (int)a->sleeping);
}
