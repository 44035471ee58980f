/* SPDX-License-Identifier: ISC */
/*
 * logs - what qmail-send, tcpsvd, tcpserver and qmail-smtpd write, as it is written
 *
 * Each log is followed by a tail of its own (logtail.h), each line read by its form (logline.h).  Numbers for a minute
 * are those of the last 60 seconds by the stamps of the lines; a line without stamp counts when it comes, but one that
 * was there before we looked does not.
 *
 * A log that may not be read makes all readings unknown, and so does one that nobody has written to for `stale`: a full
 * disk must not look like calm.  Text of a log is never shown, and no address is taken from it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/array.h"
#include "probes/logline.h"
#include "probes/logmarks.h"
#include "probes/logtail.h"
#include "probes/minute.h"
#include "probes/probe.h"
#include "probes/sendlog.h"
#include "probes/tai64n.h"

#define STEP_BYTES (256 * 1024) /* of all logs in one turn: 1 to 2 ms */
#define OFF_MS 3600000

struct logs;

struct log {
	struct logs *logs;
	const char *path; /* borrowed from the configuration */
	enum log_stream stream;
	struct logtail *tail;
	int watched; /* the descriptor of a pipe in the epoll set, or -1 */
	bool status_known;
	uint32_t used[2], limit[2]; /* of the last status line */
	uint64_t lines, understood;
};

struct logs {
	const struct probe_env *env;
	const struct probe_logs_cfg *cfg;
	struct log log[LOGMARKS_MAX];
	size_t count;
	struct sendlog *sendlog;
	int epoll, inotify;
	struct minute success, deferral, failure, bounce, rejection;
	mono_t now; /* of this look */
	int64_t wall_offset; /* wall less boot clock, in this look */
	mono_t last_line; /* when any came */
	mono_t next_look;
	uint64_t kept; /* lines in all when the marks were written */
	int keep_error; /* why they were not: 0 or -errno */
};

static void keep_marks(struct logs *l);

static void
logs_free(void *ctx)
{
	struct logs *l = ctx;

	if (l == NULL)
		return;
	keep_marks(l);
	for (size_t i = 0; i < l->count; i++)
		logtail_free(l->log[i].tail);
	sendlog_free(l->sendlog);
	if (l->inotify >= 0)
		(void)close(l->inotify);
	if (l->epoll >= 0)
		(void)close(l->epoll);
	free(l);
}

static int
add_logs(struct logs *l, const struct cfg_list *paths, enum log_stream stream, const struct logmarks *marks)
{
	for (unsigned i = 0; i < paths->n; i++) {
		struct log *log = &l->log[l->count];

		*log = (struct log) { .logs = l, .path = paths->s[i], .stream = stream, .watched = -1 };
		if (logtail_new(log->path, l->inotify, logmarks_find(marks, log->path), &log->tail) < 0)
			return -ENOMEM;
		l->count++;
	}
	return 0;
}

static int
open_all(struct logs *l)
{
	static struct logmarks marks; /* large */
	struct epoll_event e = { .events = EPOLLIN };
	int dir = l->env->state_dir != NULL ? open(l->env->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	memset(&marks, 0, sizeof(marks));
	if (dir >= 0) {
		(void)logmarks_read(dir, &marks); /* without them, each log begins at its end */
		(void)close(dir);
	}
	/* Without these we look on schedule. */
	l->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll >= 0 && l->inotify >= 0)
		(void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->inotify, &e);
	if (sendlog_new(SENDLOG_MESSAGES, SENDLOG_DELIVERIES, &l->sendlog) < 0)
		return -ENOMEM;
	if (add_logs(l, &l->cfg->send, LOG_SEND, &marks) < 0 || add_logs(l, &l->cfg->server, LOG_SERVER, &marks) < 0)
		return -ENOMEM;
	return add_logs(l, &l->cfg->shared, LOG_SHARED, &marks);
}

static int
logs_init(const struct probe_env *env, const void *cfg, void **ret_ctx)
{
	struct logs *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->env = env;
	l->cfg = cfg;
	l->epoll = l->inotify = -1;
	if (l->cfg->send.n + l->cfg->server.n + l->cfg->shared.n > 0 && open_all(l) < 0) {
		logs_free(l);
		return -ENOMEM;
	}
	*ret_ctx = l;
	return 0;
}

/* --- where we stand -------------------------------------------------------------------------- */

static uint64_t
lines_of_all(const struct logs *l)
{
	uint64_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		n += l->log[i].lines;
	return n;
}

static void
keep_marks(struct logs *l)
{
	static struct logmarks marks;
	uint64_t lines = lines_of_all(l);

	if (l->env->state_dir == NULL || lines == l->kept)
		return;
	memset(&marks, 0, sizeof(marks));
	for (size_t i = 0; i < l->count; i++) {
		struct logtail_mark mark;

		if (logtail_where(l->log[i].tail, &mark))
			logmarks_add(&marks, l->log[i].path, &mark);
	}
	int dir = open(l->env->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	l->keep_error = dir < 0 ? -errno : logmarks_write(dir, &marks);
	if (dir >= 0)
		(void)close(dir);
	if (l->keep_error == 0)
		l->kept = lines;
}

/* --- lines ----------------------------------------------------------------------------------- */

/* A log without stamps tells nothing of when its old lines were written. */
static void
count(struct logs *l, struct minute *m, const struct stamp *stamp, bool old)
{
	mono_t at = l->now;

	if (stamp->len > 0 && !stamp->local)
		at.ms = stamp->at.ms - l->wall_offset;
	else if (old)
		return;
	minute_add(m, at, l->now);
}

static void
take_send(struct log *log, const struct logline *line, const struct stamp *stamp, bool old)
{
	struct logs *l = log->logs;
	wall_t at = stamp->len > 0 && !stamp->local ? stamp->at : (wall_t) { l->now.ms + l->wall_offset };
	struct sendlog_delivery d;

	if (line->kind == LOGLINE_STATUS) {
		log->status_known = true;
		memcpy(log->used, line->used, sizeof(log->used));
		memcpy(log->limit, line->limit, sizeof(log->limit));
	} else if (line->kind == LOGLINE_DELIVERY) {
		count(l, line->outcome == LOG_SUCCESS ? &l->success : line->outcome == LOG_FAILURE ? &l->failure
			: &l->deferral, stamp, old);
	} else if (line->kind == LOGLINE_BOUNCE) {
		count(l, &l->bounce, stamp, old);
	}
	if (!sendlog_take(l->sendlog, line, at, &d) || l->env->sent == NULL)
		return;
	d.old = old;
	l->env->sent(&d, l->env->sent_arg);
}

static void
take_line(const char *s, size_t n, bool old, void *arg)
{
	struct log *log = arg;
	struct stamp stamp = { .len = 0 };
	struct logline line;

	log->lines++;
	(void)stamp_read(s, n, &stamp);
	if (!logline_parse(s + stamp.len, n - stamp.len, log->stream, &line))
		return;
	log->understood++;
	if (log->stream == LOG_SEND)
		take_send(log, &line, &stamp, old);
	else if (line.kind == LOGLINE_DENY || line.kind == LOGLINE_DROP || line.kind == LOGLINE_REJECT)
		count(log->logs, &log->logs->rejection, &stamp, old);
}

/* --- the probe ------------------------------------------------------------------------------- */

static void
drain(struct logs *l)
{
	char events[4096];

	while (l->inotify >= 0 && read(l->inotify, events, sizeof(events)) > 0)
		; /* whatever it was: look */
}

/* A pipe is opened anew when it has no writer; a closed descriptor leaves the set by itself. */
static void
watch_pipe(struct logs *l, struct log *log)
{
	int fd = logtail_fd(log->tail);
	struct epoll_event e = { .events = EPOLLIN };

	if (fd >= 0 && fd != log->watched)
		(void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
	log->watched = fd;
}

/* All logs, each a fair share.  Returns 0, PROBE_MORE or the first error. */
static int
read_all(struct logs *l, struct err *why)
{
	uint64_t before = lines_of_all(l);
	int ret = 0;

	for (size_t i = 0; i < l->count; i++) {
		struct err one;
		int r = logtail_step(l->log[i].tail, l->now, STEP_BYTES / l->count, take_line, &l->log[i], &one);

		watch_pipe(l, &l->log[i]);
		if (r < 0 && ret >= 0) {
			ret = r;
			*why = one;
		} else if (r == LOGTAIL_MORE && ret == 0) {
			ret = PROBE_MORE;
		}
	}
	if (lines_of_all(l) != before)
		l->last_line = l->now;
	return ret;
}

/* Several qmails: connections add up, the fullest tells the share. */
static void
tell_status(const struct logs *l, int channel, enum reading_id busy, enum reading_id share, struct probe_sample *ret)
{
	double used = 0, most = 0;
	bool known = false;

	for (size_t i = 0; i < l->count; i++) {
		const struct log *log = &l->log[i];

		if (!log->status_known)
			continue;
		known = true;
		used += log->used[channel];
		if (log->limit[channel] > 0 && 100.0 * log->used[channel] / log->limit[channel] > most)
			most = 100.0 * log->used[channel] / log->limit[channel];
	}
	if (!known)
		return;
	probe_tell(ret, busy, used);
	probe_tell(ret, share, most);
}

static void
tell(const struct logs *l, struct probe_sample *ret)
{
	if (l->cfg->stale_ms > 0 && mono_since(l->last_line, l->now) > l->cfg->stale_ms)
		return;
	if (l->cfg->send.n > 0) {
		probe_tell(ret, READING_DELIVERIES, minute_sum(&l->success, l->now));
		probe_tell(ret, READING_DEFERRALS, minute_sum(&l->deferral, l->now));
		probe_tell(ret, READING_FAILURES, minute_sum(&l->failure, l->now));
		probe_tell(ret, READING_BOUNCES, minute_sum(&l->bounce, l->now));
		tell_status(l, LOG_LOCAL, READING_LOCAL_BUSY, READING_LOCAL_SHARE, ret);
		tell_status(l, LOG_REMOTE, READING_REMOTE_BUSY, READING_REMOTE_SHARE, ret);
	}
	if (l->cfg->server.n + l->cfg->shared.n > 0)
		probe_tell(ret, READING_REJECTIONS, minute_sum(&l->rejection, l->now));
}

static int
logs_sample(void *ctx, mono_t now, struct probe_sample *ret, struct err *why)
{
	struct logs *l = ctx;

	if (l->count == 0) {
		ret->due = mono_after(now, OFF_MS);
		return err_set(why, -ENODATA, "switched off: no log is named");
	}
	l->now = now;
	l->wall_offset = wall_now().ms - now.ms;
	if (l->last_line.ms == 0)
		l->last_line = now;
	drain(l);
	int r = read_all(l, why);
	if (now.ms >= l->next_look.ms) {
		keep_marks(l);
		l->next_look = mono_after(now, l->cfg->every_ms);
	}
	ret->due = l->next_look;
	/* A backlog is read before anything is told: half of a minute would look like calm. */
	if (r == 0)
		tell(l, ret);
	return r;
}

static int
logs_fd(void *ctx)
{
	const struct logs *l = ctx;

	return l->count > 0 ? l->epoll : -1;
}

static size_t
logs_facts(void *ctx, struct probe_fact ret[PROBE_FACTS_MAX])
{
	const struct logs *l = ctx;
	size_t n = 0;

	for (size_t i = 0; i < l->count && n < PROBE_FACTS_MAX - 3; i++) {
		const struct logtail_counts *c = logtail_counts(l->log[i].tail);

		probe_fact(&ret[n++], "log", "%s: %llu lines, %llu understood; %llu rotations, %llu truncations",
			l->log[i].path, (unsigned long long)c->lines, (unsigned long long)l->log[i].understood,
			(unsigned long long)c->rotations, (unsigned long long)c->truncations);
		if (c->cut + c->halves + c->gaps > 0 && n < PROBE_FACTS_MAX - 3)
			probe_fact(&ret[n++], "left out", "%llu lines too long, %llu without end, place lost %llux",
				(unsigned long long)c->cut, (unsigned long long)c->halves, (unsigned long long)c->gaps);
	}
	if (l->cfg->send.n > 0)
		probe_fact(&ret[n++], "own mail", "%llu deliveries, %llu of them without sender",
			(unsigned long long)sendlog_counts(l->sendlog)->deliveries,
			(unsigned long long)sendlog_counts(l->sendlog)->no_sender);
	if (l->keep_error < 0)
		probe_fact(&ret[n++], "place", "can't be kept: %s", strerror(-l->keep_error));
	return n;
}

static const struct cfg_row logs_schema[] = {
	{ .name = "send", .type = CFG_PATHS, .at = offsetof(struct probe_logs_cfg, send), .def_text = "",
		.flags = CFG_MAY_BE_EMPTY | CFG_RESTART,
		.help = "logs of qmail-send: directories of multilog or svlogd, files, pipes" },
	{ .name = "server", .type = CFG_PATHS, .at = offsetof(struct probe_logs_cfg, server), .def_text = "",
		.flags = CFG_MAY_BE_EMPTY | CFG_RESTART,
		.help = "logs of tcpsvd or tcpserver that nobody else writes to" },
	{ .name = "shared", .type = CFG_PATHS, .at = offsetof(struct probe_logs_cfg, shared), .def_text = "",
		.flags = CFG_MAY_BE_EMPTY | CFG_RESTART,
		.help = "logs of tcpsvd or tcpserver that qmail-smtpd writes to, too" },
	{ .name = "every", .type = CFG_DURATION, .at = offsetof(struct probe_logs_cfg, every_ms),
		.min = 200, .max = 60000, .def = 1000,
		.help = "how often the readings are refreshed when no line comes" },
	{ .name = "stale", .type = CFG_DURATION, .at = offsetof(struct probe_logs_cfg, stale_ms),
		.min = 0, .max = 604800000, .def = 3600000,
		.help = "without any line for so long the readings are unknown; 0: never" },
	{ 0 },
};

const struct probe_ops probe_logs = {
	.name = "logs",
	.summary = "deliveries, concurrency and refusals, from the logs",
	.schema = logs_schema,
	.readings = 1u << READING_DELIVERIES | 1u << READING_DEFERRALS | 1u << READING_FAILURES | 1u << READING_BOUNCES
		| 1u << READING_LOCAL_BUSY | 1u << READING_REMOTE_BUSY | 1u << READING_LOCAL_SHARE
		| 1u << READING_REMOTE_SHARE | 1u << READING_REJECTIONS,
	.init = logs_init,
	.sample = logs_sample,
	.fd = logs_fd,
	.gather_ms = 50, /* a log in a flood brings thousands of lines a second */
	.facts = logs_facts,
	.free = logs_free,
};
