/* SPDX-License-Identifier: ISC */
#include "controller/held.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "controller/log.h"
#include "lib/siphash.h"

#define V6_BITS 64
#define BUCKETS 4096 /* a power of two */
#define NONE (-1)
#define LOOK_MAX 64 /* sessions of an address that are asked whether they still are, before one more is refused */

struct session {
	struct held *held;
	struct event ended;
	int fd;
	pid_t pid;
	struct ip ip; /* masked */
	int next_by_pid, next_by_ip; /* in its bucket, or of the free ones: indices */
};

struct held {
	struct event_base *base;
	const struct config_concurrency *limits;
	int max_fd;
	uint64_t key[2];
	unsigned n;
	uint64_t uncounted;
	bool told; /* that some are not counted */
	int by_pid[BUCKETS], by_ip[BUCKETS];
	int free;
	struct session session[HELD_MAX];
};

/* --- the table ------------------------------------------------------------------------------- */

static uint64_t
fingerprint_of(const struct held *h, const struct ip *masked)
{
	return siphash(masked->b, sizeof(masked->b), h->key[0], h->key[1]);
}

static int *
bucket_of_ip(struct held *h, const struct ip *masked)
{
	return &h->by_ip[fingerprint_of(h, masked) % BUCKETS];
}

static int *
bucket_of_pid(struct held *h, pid_t pid)
{
	return &h->by_pid[(unsigned)pid % BUCKETS];
}

static struct session *
find(struct held *h, pid_t pid)
{
	int i = *bucket_of_pid(h, pid);

	while (i != NONE && h->session[i].pid != pid)
		i = h->session[i].next_by_pid;
	return i != NONE ? &h->session[i] : NULL;
}

static unsigned
count(struct held *h, const struct ip *masked)
{
	unsigned n = 0;

	for (int i = *bucket_of_ip(h, masked); i != NONE; i = h->session[i].next_by_ip)
		n += ip_equal(&h->session[i].ip, masked);
	return n;
}

static void
release(struct session *s)
{
	struct held *h = s->held;
	int me = (int)(s - h->session), *at;

	for (at = bucket_of_pid(h, s->pid); *at != me; at = &h->session[*at].next_by_pid)
		continue;
	*at = s->next_by_pid;
	for (at = bucket_of_ip(h, &s->ip); *at != me; at = &h->session[*at].next_by_ip)
		continue;
	*at = s->next_by_ip;
	(void)event_del(&s->ended);
	(void)close(s->fd);
	s->next_by_pid = h->free;
	h->free = me;
	h->n--;
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	release(arg);
}

/* The kernel may know of an end that the loop has not come to yet. */
static bool
has_ended(const struct session *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void
release_ended(struct held *h, const struct ip *masked)
{
	int i = *bucket_of_ip(h, masked);

	for (int looks = 0; i != NONE && looks < LOOK_MAX; looks++) {
		struct session *s = &h->session[i];

		i = s->next_by_ip;
		if (ip_equal(&s->ip, masked) && has_ended(s))
			release(s);
	}
}

/* --- processes ------------------------------------------------------------------------------- */

/* The parent of a process; 0 when that can't be read. */
static pid_t
parent_of(pid_t pid)
{
	char path[40], text[512];
	long parent = 0;

	(void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* "PID (NAME) STATE PARENT ...", and a name may hold anything. */
	const char *at = strrchr(text, ')');
	if (at == NULL || strlen(at) < 4)
		return 0;
	for (at += 4; *at >= '0' && *at <= '9' && parent < INT32_MAX / 10; at++)
		parent = parent * 10 + (*at - '0');
	return (pid_t)parent;
}

/* A pidfd of the session, which is the asker's parent or, when a server asks without a plugin, the asker; or -Exxx.
 * The parent is asked for after the pidfd was had: if it still is `pid` then, the pidfd is of no other process that
 * took the number over. */
static int
open_session(pid_t pid, pid_t asker, int max_fd)
{
	if (asker == 0)
		return -ENXIO;
	if (pid <= 1)
		return -ESRCH;
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return -errno;
	pid_t parent = pid == asker ? pid : parent_of(asker);
	if (fd < max_fd && (parent == 0 || parent == pid))
		return fd;
	(void)close(fd);
	return fd < max_fd ? -ESRCH : -EMFILE;
}

static void
tell(struct held *h, int error)
{
	h->uncounted++;
	if (error == -ESRCH || h->told) /* gone already: ordinary */
		return;
	h->told = true;
	log_warning("held", "connections are not all counted, and more are let in than may be: %s (this is told once)",
		error == -ENOSPC ? "the table is full"
		: error == -ENXIO ? "plugins run where their process ids mean nothing here" : strerror(-error));
}

/* Returns 0 or -Exxx: not counted. */
static int
hold(struct held *h, pid_t pid, const struct ip *masked, pid_t asker)
{
	int i = h->free, fd;

	if (i == NONE)
		return -ENOSPC;
	if ((fd = open_session(pid, asker, h->max_fd)) < 0)
		return fd;
	struct session *s = &h->session[i];
	int next_free = s->next_by_pid;
	if (event_assign(&s->ended, h->base, fd, EV_READ, on_end, s) < 0 || event_add(&s->ended, NULL) < 0) {
		(void)close(fd);
		return -ENOMEM;
	}
	int *by_pid = bucket_of_pid(h, pid), *by_ip = bucket_of_ip(h, masked);
	s->fd = fd;
	s->pid = pid;
	s->ip = *masked;
	s->next_by_pid = *by_pid;
	s->next_by_ip = *by_ip;
	*by_pid = *by_ip = i;
	h->free = next_free;
	h->n++;
	return 0;
}

/* --- questions ------------------------------------------------------------------------------- */

static const struct rate_limit *
limit_of(const struct held *h, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	ip_format(ip, text);
	for (unsigned i = 0; i < h->limits->n; i++) {
		const struct rate_limit *l = &h->limits->limit[i];

		if (l->is_prefix ? ip_prefix_contains(&l->prefix, ip) : fnmatch(l->pattern, text, 0) == 0)
			return l;
	}
	return NULL;
}

/* Was it counted before?  One that has ended, and whose number is another's now, is forgotten. */
static bool
is_held(struct held *h, pid_t pid, const struct ip *masked)
{
	struct session *s = find(h, pid);

	if (s != NULL && (has_ended(s) || !ip_equal(&s->ip, masked))) {
		release(s);
		s = NULL;
	}
	return s != NULL;
}

void
held_ask(struct held *h, pid_t pid, const struct ip *ip, pid_t asker, struct rate_answer *ret)
{
	bool v4 = ip_is_v4(ip);
	const struct ip masked = v4 ? *ip : ip_mask(ip, V6_BITS);
	const struct rate_limit *limit = limit_of(h, ip);

	*ret = (struct rate_answer) {
		.verdict = limit == NULL ? RATE_NO_KEY : RATE_OK, .limit = limit,
		.max = limit != NULL ? limit->count : 0,
	};
	if (limit == NULL || limit->count < 0)
		return;
	ret->prefix = v4 ? 0 : V6_BITS;
	ret->fingerprint = fingerprint_of(h, &masked);
	if (is_held(h, pid, &masked)) {
		ret->n = count(h, &masked);
		return;
	}
	if (count(h, &masked) + INT64_C(1) > limit->count)
		release_ended(h, &masked);
	ret->n = count(h, &masked) + INT64_C(1);
	if (ret->n > limit->count) {
		ret->verdict = RATE_OVER; /* it ends now, and holds nothing */
		return;
	}
	int r = hold(h, pid, &masked, asker);
	if (r < 0)
		tell(h, r);
}

void
held_release(struct held *h, pid_t pid)
{
	struct session *s = find(h, pid);

	if (s != NULL)
		release(s);
}

/* --- the whole ------------------------------------------------------------------------------- */

int
held_new(struct event_base *base, const struct config_concurrency *limits, int max_fd, struct held **ret)
{
	struct held *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return -ENOMEM;
	h->base = base;
	h->limits = limits;
	h->max_fd = max_fd;
	/* At boot, before the kernel has entropy, the key may stay as it is: collisions cost time, nothing else. */
	(void)!getrandom(h->key, sizeof(h->key), GRND_NONBLOCK);
	for (int i = 0; i < BUCKETS; i++)
		h->by_pid[i] = h->by_ip[i] = NONE;
	for (int i = 0; i < HELD_MAX; i++) {
		h->session[i].held = h;
		h->session[i].next_by_pid = i + 1 < HELD_MAX ? i + 1 : NONE;
	}
	*ret = h;
	return 0;
}

void
held_free(struct held *h)
{
	if (h == NULL)
		return;
	for (int i = 0; i < BUCKETS; i++)
		while (h->by_pid[i] != NONE)
			release(&h->session[h->by_pid[i]]);
	free(h);
}

json_t *
held_describe(const struct held *h)
{
	return json_pack("{s:I, s:I}", "now", (json_int_t)h->n, "uncounted", (json_int_t)h->uncounted);
}
