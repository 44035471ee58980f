/* SPDX-License-Identifier: ISC */
#include "controller/marks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/atomicfile.h"
#include "lib/fdio.h"
#include "lib/siphash.h"

#define PASS_MS 500 /* from the beginning of one to that of the next */
#define STEP_MS 5 /* between two messages */
#define TROUBLE_MAX 200

struct marks {
	int fd;
	struct turn *turn;
	struct rate *table[MARKS_TABLES];
	unsigned tables;
	uint64_t key, boot;
	struct event *readable, *writable, *timer;
	bool loading; /* the answer to our question has not ended yet */
	bool asked;
	uint64_t question;
	int64_t after; /* the last fingerprint that was loaded */
	unsigned at; /* table */
	size_t cursor; /* in that */
	mono_t began; /* this pass */
	bool passing;
	struct rate_dump dump; /* of the table `at` */
	bool has_dump; /* `dump` did not fit into the last message */
	struct marks_message out;
	bool is_full; /* `out` could not be sent yet */
	struct marks_message in;
	uint64_t loaded, said; /* rows */
	char trouble[TROUBLE_MAX]; /* the recorder's */
};

/* --- the key --------------------------------------------------------------------------------- */

static int
read_key(int dir, uint8_t ret[RATE_KEY_SIZE])
{
	uint8_t buf[RATE_KEY_SIZE + 1];
	struct stat st;
	int fd = fd_open_regular(dir, MARKS_KEY_FILE, O_NOFOLLOW, RATE_KEY_SIZE);

	if (fd < 0)
		return fd;
	ssize_t n = fstat(fd, &st) < 0 ? -errno : fd_read_full(fd, buf, sizeof(buf));
	(void)close(fd);
	if (n != RATE_KEY_SIZE || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return n < 0 ? (int)n : -EINVAL;
	memcpy(ret, buf, RATE_KEY_SIZE);
	return 0;
}

int
marks_key(const char *dir, uint8_t ret[RATE_KEY_SIZE], struct err *why)
{
	uint8_t key[RATE_KEY_SIZE];
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;

	if (fd >= 0 && read_key(fd, ret) == 0) {
		(void)close(fd);
		return 0;
	}
	if (getrandom(key, sizeof(key), 0) != sizeof(key)) {
		r = err_set(why, -ENODATA, "no random key for the counters");
	} else {
		if (fd >= 0)
			r = atomicfile_put(fd, &(struct atomicfile) {
				.name = MARKS_KEY_FILE, .data = key, .len = sizeof(key), .mode = 0600,
				.flags = ATOMICFILE_DURABLE,
			});
		memcpy(ret, key, sizeof(key));
		if (r < 0)
			(void)err_sys(why, r, "%s/" MARKS_KEY_FILE, dir);
	}
	if (fd >= 0)
		(void)close(fd);
	return r;
}

void
marks_table_key(const uint8_t key[RATE_KEY_SIZE], unsigned table, uint8_t ret[RATE_KEY_SIZE])
{
	for (unsigned half = 0; half < 2; half++) {
		uint64_t h = siphash(key, RATE_KEY_SIZE, table + 1, half);

		memcpy(ret + half * sizeof(h), &h, sizeof(h));
	}
}

/* --- loading --------------------------------------------------------------------------------- */

/* What was stored, from where we are on. */
static void
ask(struct marks *m)
{
	static struct marks_message message;

	marks_begin(&message, MARKS_ASK);
	message.question = ++m->question;
	message.key = m->key;
	message.after = m->after;
	m->asked = marks_send(m->fd, &message) == 0; /* else the timer tries again */
}

static void
load(struct marks *m)
{
	mono_t now = turn_now(m->turn);
	wall_t wall = wall_now();
	struct marks_row row;
	size_t at = 0;

	/* m->dump is not in use: nothing is said before all is loaded. */
	while (marks_next(&m->in, &at, &row, m->dump.mark)) {
		m->dump.fingerprint = (uint64_t)row.fingerprint;
		m->dump.limit = row.limit;
		m->dump.n = row.n;
		m->dump.tier = row.tier;
		if (row.table < m->tables)
			rate_load(m->table[row.table], &m->dump, row.mono, marks_age(&row, m->boot, now, wall), now);
		m->after = row.fingerprint;
		m->loaded++;
	}
}

static void
hear(struct marks *m)
{
	switch (m->in.kind) {
	case MARKS_ROWS:
		if (m->loading && m->in.question == m->question)
			load(m);
		break;
	case MARKS_END:
		if (m->in.question == m->question)
			m->loading = false;
		break;
	case MARKS_AGAIN:
		if (m->loading)
			ask(m);
		for (unsigned i = 0; i < m->tables && !m->loading; i++)
			rate_dump_all(m->table[i]);
		break;
	case MARKS_TROUBLE:
		m->in.body[sizeof(m->in.body) - 1] = '\0';
		(void)snprintf(m->trouble, sizeof(m->trouble), "%.199s", (const char *)m->in.body);
		break;
	default:
		break;
	}
}

/* One message a turn. */
static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct marks *m = arg;

	(void)what;
	if (marks_receive(fd, &m->in) == 0)
		hear(m);
}

/* --- saying ---------------------------------------------------------------------------------- */

static void
describe_row(const struct marks *m, mono_t now, struct marks_row *ret)
{
	*ret = (struct marks_row) {
		.fingerprint = (int64_t)m->dump.fingerprint, .limit = m->dump.limit, .boot = m->boot, .mono = now,
		.wall = wall_now(), .left_ms = m->dump.until_ms - now.ms, .n = m->dump.n, .tier = m->dump.tier,
		.table = (uint8_t)m->at,
	};
}

/* The next key that has changed, in any table from m->at on. */
static bool
next_dump(struct marks *m, mono_t now)
{
	for (; m->at < m->tables; m->at++, m->cursor = 0)
		if (rate_dump_next(m->table[m->at], &m->cursor, now, &m->dump))
			return true;
	return false;
}

/* Keys that have changed, as many as the message takes.  Returns false when there is none. */
static bool
fill(struct marks *m, mono_t now)
{
	struct marks_row row;

	marks_begin(&m->out, MARKS_ROWS);
	m->out.key = m->key;
	for (;;) {
		if (!m->has_dump)
			m->has_dump = next_dump(m, now);
		if (!m->has_dump)
			break;
		describe_row(m, now, &row);
		if (!marks_add(&m->out, &row, m->dump.mark))
			break;
		m->has_dump = false;
	}
	return m->out.rows > 0;
}

/* Returns false when the socket does not take it. */
static bool
send_out(struct marks *m)
{
	m->is_full = marks_send(m->fd, &m->out) < 0;
	if (!m->is_full)
		m->said += m->out.rows;
	return !m->is_full;
}

/* The next message of this pass; at its end, the next pass begins at its time. */
static void
step(struct marks *m)
{
	mono_t now = turn_now(m->turn);

	if (!m->passing) {
		m->passing = true;
		m->began = now;
		m->at = 0;
		m->cursor = 0;
	}
	if (!m->is_full)
		m->passing = m->is_full = fill(m, now);
	if (m->is_full && !send_out(m))
		(void)event_add(m->writable, NULL); /* fails only for want of memory: the timer tries again */
}

static void
arm(const struct marks *m)
{
	int64_t ms = m->is_full || m->loading ? PASS_MS : STEP_MS;

	if (!m->passing && !m->loading) {
		ms = mono_since(turn_now(m->turn), mono_after(m->began, PASS_MS));
		ms = ms < STEP_MS ? STEP_MS : ms;
	}
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	(void)event_add(m->timer, &tv);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct marks *m = arg;

	(void)fd;
	(void)what;
	if (!m->loading)
		step(m);
	else if (!m->asked)
		ask(m);
	arm(m);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	on_timer(fd, what, arg);
}

void
marks_flush(struct marks *m, int64_t ms)
{
	mono_t end = mono_after(mono_now(), ms);
	struct pollfd p = { .fd = m->fd, .events = POLLOUT };

	if (m->loading) /* what is stored is more than what we have */
		return;
	/* To the end of this pass, and what is behind it already once more. */
	for (int pass = 0; pass < 2; pass++, m->at = 0, m->cursor = 0) {
		while (m->is_full || fill(m, mono_now())) {
			int64_t left = mono_since(mono_now(), end);

			if (!send_out(m) && (left <= 0 || poll(&p, 1, (int)left) <= 0))
				return;
		}
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

int
marks_new(struct event_base *base, struct turn *turn, int fd, struct rate *const table[], unsigned n,
	const uint8_t key[RATE_KEY_SIZE], const uint8_t boot_id[CLOCK_BOOT_ID_SIZE], struct marks **ret)
{
	struct marks *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	m->fd = fd;
	m->turn = turn;
	memcpy(m->table, table, n * sizeof(table[0])); /* at most MARKS_TABLES */
	m->tables = n;
	m->key = siphash(key, RATE_KEY_SIZE, 0, 0); /* tells it from others, and tells nothing about it */
	m->boot = marks_boot(boot_id);
	m->loading = true;
	/* Not from 1: answers to the engine before us may still be on the way. */
	m->question = (uint64_t)mono_now().ms << 16;
	m->after = MARKS_FIRST;
	m->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, m);
	m->writable = event_new(base, fd, EV_WRITE, on_writable, m);
	m->timer = evtimer_new(base, on_timer, m);
	if (m->readable == NULL || m->writable == NULL || m->timer == NULL || event_add(m->readable, NULL) < 0) {
		marks_free(m);
		return -ENOMEM;
	}
	ask(m);
	arm(m);
	*ret = m;
	return 0;
}

void
marks_free(struct marks *m)
{
	if (m == NULL)
		return;
	if (m->readable != NULL)
		event_free(m->readable);
	if (m->writable != NULL)
		event_free(m->writable);
	if (m->timer != NULL)
		event_free(m->timer);
	free(m);
}

json_t *
marks_describe(const struct marks *m)
{
	return json_pack("{s:b, s:s, s:b, s:I, s:I}", "ok", m->trouble[0] == '\0', "text", m->trouble,
		"loading", m->loading, "loaded", (json_int_t)m->loaded, "said", (json_int_t)m->said);
}
