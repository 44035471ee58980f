/* SPDX-License-Identifier: ISC */
#include "controller/replaylog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/archive.h"
#include "probes/logtail_dir.h"
#include "probes/tai64n.h"

#define UNSTAMPED_MAX 100 /* lines at the start of a log without any stamp */

enum nature {
	NATURE_UNKNOWN,
	NATURE_SEND,
	NATURE_SERVER,
	NATURE_ARCHIVE,
};

struct source {
	const char *path; /* borrowed */
	struct logtail_list list; /* of a directory, then `current` */
	size_t next_file; /* of it */
	bool is_dir;
	int fd; /* -1: none open */
	bool ended;
	enum nature nature;
	bool shared; /* lines of others were met */
	wall_t last;
	bool stamped;
	unsigned unstamped;
	bool ready; /* `record` holds the next one */
	struct replaylog_record record;
	bool skipping; /* a line that is too long */
	size_t at, have; /* in buf */
	char buf[REPLAYLOG_BUFFER];
};

struct replaylog {
	size_t n;
	struct source *source[REPLAYLOG_MAX];
	struct replaylog_progress progress;
	struct replaylog_record last;
	bool size_unknown;
	wall_t told; /* time of the record that was given last */
};

/* --- what a line says ------------------------------------------------------------------------ */

/* Take " NAME=VALUE" from the end of what is left. */
static bool
take_last(const char *s, size_t *n, const char *name, const char **value, size_t *value_n)
{
	size_t at = *n, len = strlen(name);

	while (at > 0 && s[at - 1] != ' ')
		at--;
	if (at == 0 || *n - at <= len || memcmp(s + at, name, len) != 0 || s[at + len] != '=')
		return false;
	*value = s + at + len + 1;
	*value_n = *n - at - len - 1;
	*n = at - 1;
	return true;
}

bool
replaylog_accepted(const char *line, size_t n, struct ip *ret)
{
	static const char head[] = "qlogenvelope: result=accepted ";
	const char *v, *ip;
	size_t len;
	char text[IP_TEXT_MAX];

	if (n < sizeof(head) || memcmp(line, head, sizeof(head) - 1) != 0)
		return false;
	if (!take_last(line, &n, "pid", &v, &len) || !take_last(line, &n, "qp", &v, &len)
		|| !take_last(line, &n, "remotehost", &v, &len) || !take_last(line, &n, "remoteport", &v, &len)
		|| !take_last(line, &n, "remoteip", &ip, &len) || len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, ip, len);
	text[len] = '\0';
	return ip_parse(text, ret) == 0;
}

static bool
understand(struct source *s, const char *line, size_t n, struct replaylog_record *ret)
{
	if (s->nature != NATURE_SERVER && logline_parse(line, n, LOG_SEND, &ret->line)) {
		s->nature = NATURE_SEND;
		ret->is_line = true;
	} else if (s->nature != NATURE_SEND) {
		ret->is_line = logline_parse(line, n, LOG_SERVER, &ret->line);
		if (ret->is_line)
			s->nature = NATURE_SERVER;
		else if (s->nature == NATURE_SERVER && !(n > 6 && memcmp(line, "tcpsvd", 6) == 0)
			&& !(n > 9 && memcmp(line, "tcpserver", 9) == 0))
			s->shared = true;
		if (!ret->is_line) {
			ret->is_line = logline_parse(line, n, LOG_SHARED, &ret->line);
			ret->accepted = !ret->is_line && replaylog_accepted(line, n, &ret->ip);
		}
	}
	return ret->is_line || ret->accepted;
}

static bool
take_refusal(struct source *s, const char *line, size_t n, struct replaylog_record *rec)
{
	struct store_refusal refusal;

	if (archive_parse(line, n, &refusal) < 0)
		return false;
	s->nature = NATURE_ARCHIVE;
	s->stamped = true;
	s->last = rec->at = refusal.at;
	rec->refused = true;
	rec->check = refusal.check;
	rec->pid = refusal.pid;
	return true;
}

/* Returns 1 when the line says something, 0, or -Exxx. */
static int
take_line(struct replaylog *r, struct source *s, const char *line, size_t n, struct err *why)
{
	struct replaylog_record *rec = &s->record;
	struct stamp stamp = { .len = 0 };

	r->progress.lines++;
	rec->is_line = rec->accepted = rec->refused = false;
	if (s->nature == NATURE_ARCHIVE || (s->nature == NATURE_UNKNOWN && n > 0 && line[0] == '{'))
		return take_refusal(s, line, n, rec);
	if (stamp_read(line, n, &stamp)) {
		s->stamped = true;
		s->last = stamp.at;
	} else if (!s->stamped && ++s->unstamped > UNSTAMPED_MAX) {
		return err_set(why, -EINVAL, "%s: lines without time stamps can't be put in order; let multilog or"
			" svlogd write them", s->path);
	}
	rec->at = s->last;
	return s->stamped && understand(s, line + stamp.len, n - stamp.len, rec);
}

/* --- files ----------------------------------------------------------------------------------- */

/* Go on to the next file.  Returns 1, 0 when there is none, or -Exxx. */
static int
open_next(struct source *s, struct err *why)
{
	char path[PATH_MAX];

	if (s->fd > STDIN_FILENO)
		(void)close(s->fd);
	s->fd = -1;
	s->have = s->at = 0;
	while (s->is_dir && s->next_file <= s->list.n) {
		const char *name = s->next_file < s->list.n ? s->list.name[s->next_file].s : "current";
		int n = snprintf(path, sizeof(path), "%s/%s", s->path, name);

		s->next_file++;
		s->fd = n > 0 && (size_t)n < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
		if (s->fd >= 0)
			return 1;
		if (errno != ENOENT)
			return err_sys(why, -errno, "cannot read %s", path);
	}
	return 0;
}

/* Returns bytes, 0 at the end of the log, or -Exxx. */
static ssize_t
fill(struct replaylog *r, struct source *s, struct err *why)
{
	memmove(s->buf, s->buf + s->at, s->have - s->at);
	s->have -= s->at;
	s->at = 0;
	for (;;) {
		ssize_t n = s->fd < 0 ? 0 : read(s->fd, s->buf + s->have, sizeof(s->buf) - s->have);

		if (n > 0) {
			s->have += (size_t)n;
			r->progress.bytes += (uint64_t)n;
			return n;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(why, -errno, "cannot read %s", s->path);
		int more = open_next(s, why);
		if (more <= 0)
			return more;
	}
}

/* Make the next record of this log ready, or come to its end.  A last line without line feed is half of one. */
static int
prepare(struct replaylog *r, struct source *s, struct err *why)
{
	while (!s->ready && !s->ended) {
		char *line = s->buf + s->at, *lf = memchr(line, '\n', s->have - s->at);
		size_t n = lf != NULL ? (size_t)(lf - line) : s->have - s->at;

		if (lf == NULL && n > LOGLINE_MAX) {
			s->skipping = true;
			s->at = s->have;
		}
		if (lf == NULL) {
			ssize_t got = fill(r, s, why);

			if (got < 0)
				return (int)got;
			s->ended = got == 0;
			continue;
		}
		s->at += n + 1;
		if (s->skipping || n > LOGLINE_MAX) {
			s->skipping = false;
			r->progress.cut++;
			continue;
		}
		int took = take_line(r, s, line, n, why);
		if (took < 0)
			return took;
		s->ready = took > 0;
	}
	return 0;
}

/* --- all ------------------------------------------------------------------------------------- */

static void
add_size(struct replaylog *r, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
		r->progress.size += (uint64_t)st.st_size;
	else
		r->size_unknown = true;
}

static int
open_dir(struct replaylog *r, struct source *s, struct err *why)
{
	char path[PATH_MAX];
	int e = logtail_list_rotated(s->path, &s->list);

	if (e < 0)
		return err_sys(why, e, "cannot read %s", s->path);
	s->is_dir = true;
	for (size_t i = 0; i <= s->list.n; i++) {
		(void)snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - LOGTAIL_NAME_MAX - 2, s->path,
			i < s->list.n ? s->list.name[i].s : "current");
		add_size(r, path);
	}
	return 0;
}

static int
open_source(struct replaylog *r, const char *path, struct err *why)
{
	struct source *s = calloc(1, sizeof(*s));
	struct stat st;

	if (s == NULL)
		return err_set(why, -ENOMEM, "no memory");
	r->source[r->n++] = s;
	s->path = path;
	s->fd = -1;
	if (strcmp(path, "-") == 0) {
		s->fd = STDIN_FILENO;
		r->size_unknown = true;
		return 0;
	}
	if (stat(path, &st) < 0)
		return err_sys(why, -errno, "cannot read %s", path);
	if (S_ISDIR(st.st_mode))
		return open_dir(r, s, why);
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return err_sys(why, -errno, "cannot read %s", path);
	add_size(r, path);
	return 0;
}

int
replaylog_open(char *const *paths, size_t n, struct replaylog **ret, struct err *why)
{
	struct replaylog *r;

	if (n == 0 || n > REPLAYLOG_MAX)
		return err_set(why, -EINVAL, "allowed are 1 to %d logs", REPLAYLOG_MAX);
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return err_set(why, -ENOMEM, "no memory");
	for (size_t i = 0; i < n; i++) {
		int e = open_source(r, paths[i], why);

		if (e < 0) {
			replaylog_close(r);
			return e;
		}
	}
	if (r->size_unknown)
		r->progress.size = 0;
	*ret = r;
	return 0;
}

void
replaylog_close(struct replaylog *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n; i++) {
		if (r->source[i]->fd > STDIN_FILENO)
			(void)close(r->source[i]->fd);
		logtail_list_free(&r->source[i]->list);
		free(r->source[i]);
	}
	free(r);
}

int
replaylog_next(struct replaylog *r, struct replaylog_record *ret, struct err *why)
{
	struct source *first = NULL;

	for (size_t i = 0; i < r->n; i++) {
		struct source *s = r->source[i];
		int e = prepare(r, s, why);

		if (e < 0)
			return e;
		if (s->ready && (first == NULL || s->record.at.ms < first->record.at.ms))
			first = s;
	}
	if (first == NULL)
		return 0;
	first->ready = false;
	*ret = first->record;
	r->progress.outdated += ret->at.ms + 1000 <= r->told.ms;
	r->told = ret->at;
	return 1;
}

struct replaylog_progress
replaylog_progress(const struct replaylog *r)
{
	return r->progress;
}

bool
replaylog_is_shared(const struct replaylog *r)
{
	bool shared = false;

	for (size_t i = 0; i < r->n; i++)
		shared |= r->source[i]->shared;
	return shared;
}
