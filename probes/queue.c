/* SPDX-License-Identifier: ISC */
/*
 * queue - messages in the queue and not yet preprocessed, kept current by inotify
 *
 * A message is a regular file with a decimal name in queue/mess (always split over numbered directories)
 * or queue/todo (plain, or split by the big-todo patch: recognised by looking, not by asking).  All directories are
 * watched first and then read once; from then on events keep two sets exact.  A recount
 * comes on schedule and after an overflow of the kernel's queue of 16,384 events, in small steps, so
 * that the loop never waits for it.
 *
 * Whatever makes a count doubtful (a directory that vanished, moved, or may not be read) makes all readings unknown
 * until it is repaired: a queue that we can't see must not look like an empty one.  Any home
 * that can't be seen is enough for that: half a sum would look like calm, too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/num.h"
#include "probes/msgset.h"
#include "probes/probe.h"

#define DIRS_MAX 4096 /* watched directories, over all homes */
#define NAMES_A_STEP 4000 /* names read in one turn: about 2 ms */
#define READS_A_STEP 8 /* buffers of events in one turn */
#define EVENT_BUFFER 65536
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 30000

#define CHANGES (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM)
#define GONE (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)

enum part {
	MESS,
	TODO,
};

static const char *const part_name[] = { "mess", "todo" };

/* HOME/queue/mess or HOME/queue/todo */
struct root {
	char path[PATH_MAX];
	enum part part;
	unsigned subdirs;
	dev_t dev; /* of `path` when the watch was set */
	ino_t ino;
};

struct dir {
	unsigned root; /* index into root[] */
	int number; /* of the subdirectory, or -1: the root itself */
};

struct queue {
	const struct probe_queue_cfg *cfg;
	struct root root[2 * CFG_LIST_MAX];
	size_t roots;
	struct dir *dir; /* DIRS_MAX; index = watch descriptor - 1, for watches are numbered from 1 */
	size_t dirs;
	struct msgset *set[2]; /* by part */
	int fd; /* inotify, or -1: not watching */
	uint64_t arrived, departed;

	/* a recount in progress */
	bool counting;
	size_t next_dir; /* to be read */
	DIR *open_dir; /* being read, of dir[next_dir] */
	bool paused; /* since it was opened */
	bool again; /* overflow meanwhile: once more */

	bool exact; /* a recount has been completed since the watches were set */
	bool lost; /* an overflow since the last recount: departures are taken from the next one */
	mono_t next_look, next_recount, retry_at;
	int64_t retry_ms;

	uint64_t overflows, recounts, drift_missed, drift_phantom, events;
	mono_t recount_began;
	int64_t recount_took_ms;
	struct err broken; /* why we are not watching */
};

static void
stop_watching(struct queue *q)
{
	if (q->open_dir != NULL)
		(void)closedir(q->open_dir);
	if (q->fd >= 0)
		(void)close(q->fd);
	q->open_dir = NULL;
	q->fd = -1;
	q->counting = q->exact = q->again = q->lost = false;
	q->dirs = 0;
}

static void
queue_free(void *ctx)
{
	struct queue *q = ctx;

	if (q == NULL)
		return;
	stop_watching(q);
	msgset_free(q->set[MESS]);
	msgset_free(q->set[TODO]);
	free(q->dir);
	free(q);
}

static int
queue_init(const struct probe_env *env, const void *cfg, void **ret_ctx)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return -ENOMEM;
	q->cfg = cfg;
	q->fd = -1;
	q->retry_ms = RETRY_MIN_MS;
	for (unsigned i = 0; i < env->homes->n; i++) {
		for (int part = MESS; part <= TODO; part++) {
			struct root *r = &q->root[q->roots++];

			/* Fits: a home has at most CFG_STRING_MAX bytes. */
			(void)snprintf(r->path, sizeof(r->path), "%s/queue/%s", env->homes->s[i],
				part_name[part]);
			r->part = part;
		}
	}
	q->dir = calloc(DIRS_MAX, sizeof(*q->dir));
	if (q->dir == NULL || msgset_new(&q->set[MESS]) < 0 || msgset_new(&q->set[TODO]) < 0) {
		queue_free(q);
		return -ENOMEM;
	}
	*ret_ctx = q;
	return 0;
}

/* A message is named by its number, as qmail writes it: "7", not "007".  0 for any other name: numbers are
 * inodes, and inode 0 does not exist. */
static uint64_t
message_number(const char *name)
{
	uint64_t n;

	return name[0] != '0' && num_u64(name, &n) == 0 ? n : 0;
}

/* The number of a part of a split directory, or -1. */
static int
split_number(const char *name)
{
	uint64_t n;

	if (name[0] == '0' && name[1] != '\0')
		return -1;
	return num_u64(name, &n) == 0 && n < INT_MAX ? (int)n : -1;
}

/* d_type, also on file systems that do not store it there. */
static unsigned char
type_of(DIR *d, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return DT_UNKNOWN;
	return (unsigned char)IFTODT(st.st_mode);
}

/* --- watching -------------------------------------------------------------------------------- */

static int
dir_path(const struct queue *q, const struct dir *d, char ret[PATH_MAX])
{
	const struct root *r = &q->root[d->root];
	int n = d->number < 0 ? snprintf(ret, PATH_MAX, "%s", r->path)
			      : snprintf(ret, PATH_MAX, "%s/%d", r->path, d->number);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int
watch(struct queue *q, unsigned root, int number, struct err *why)
{
	struct dir d = { .root = root, .number = number };
	char path[PATH_MAX];

	if (q->dirs == DIRS_MAX)
		return err_set(why, -ENOSPC, "%s: more than %d directories", q->root[root].path, DIRS_MAX);
	int r = dir_path(q, &d, path);
	if (r < 0)
		return err_sys(why, r, "%s", q->root[root].path);
	int wd = inotify_add_watch(q->fd, path, CHANGES | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
	if (wd < 0)
		return err_sys(why, -errno, "cannot watch %s", path);
	if ((size_t)wd != q->dirs + 1)
		return err_set(why, -EEXIST, "%s is the same directory as another that is watched", path);
	q->dir[q->dirs++] = d;
	return 0;
}

static int
watch_root(struct queue *q, unsigned i, struct err *why)
{
	struct root *r = &q->root[i];
	struct dirent *e;
	struct stat st;
	int err = watch(q, i, -1, why);

	if (err < 0)
		return err;
	DIR *d = opendir(r->path);
	if (d == NULL || fstat(dirfd(d), &st) < 0) {
		err = err_sys(why, -errno, "cannot read %s", r->path);
		if (d != NULL)
			(void)closedir(d);
		return err;
	}
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	r->subdirs = 0;
	while (err == 0 && (errno = 0, e = readdir(d)) != NULL) {
		int n = split_number(e->d_name);

		if (n >= 0 && type_of(d, e) == DT_DIR) {
			err = watch(q, i, n, why);
			r->subdirs++;
		}
	}
	if (err == 0 && errno != 0)
		err = err_sys(why, -errno, "cannot read %s", r->path);
	(void)closedir(d);
	return err;
}

static void
begin_recount(struct queue *q, mono_t now)
{
	if (q->open_dir != NULL)
		(void)closedir(q->open_dir);
	q->open_dir = NULL;
	q->counting = true;
	q->again = false;
	q->next_dir = 0;
	q->recount_began = now;
	msgset_recount_begin(q->set[MESS]);
	msgset_recount_begin(q->set[TODO]);
}

static int
start_watching(struct queue *q, mono_t now, struct err *why)
{
	q->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (q->fd < 0)
		return err_sys(why, -errno, "cannot start inotify");
	for (unsigned i = 0; i < q->roots; i++) {
		int r = watch_root(q, i, why);

		if (r < 0)
			return r;
	}
	begin_recount(q, now);
	return 0;
}

/* Are the directories still those that we watch, and may we read them?  Events tell most of this, but
 * not that a directory above was moved or closed. */
static int
check_roots(struct queue *q, struct err *why)
{
	for (size_t i = 0; i < q->roots; i++) {
		const struct root *r = &q->root[i];
		struct stat st;

		if (stat(r->path, &st) < 0 || faccessat(AT_FDCWD, r->path, R_OK | X_OK, AT_EACCESS) < 0)
			return err_sys(why, -errno, "cannot read %s", r->path);
		if (st.st_dev != r->dev || st.st_ino != r->ino)
			return err_set(why, -ESTALE, "%s is another directory than before", r->path);
	}
	return 0;
}

/* --- events ---------------------------------------------------------------------------------- */

static void
apply_change(struct queue *q, const struct dir *d, const struct inotify_event *e, mono_t now)
{
	enum part part = q->root[d->root].part;
	unsigned key = (unsigned)(d - q->dir);
	uint64_t n = e->len > 0 ? message_number(e->name) : 0;

	if (n == 0)
		return;
	if ((e->mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
		if (msgset_created(q->set[part], key, n, now) && part == MESS)
			q->arrived++;
	} else if (msgset_removed(q->set[part], key, n) && part == MESS) {
		q->departed++;
	}
}

/* Returns 0, or -ESTALE when the watches no longer fit the directories. */
static int
apply_event(struct queue *q, const struct inotify_event *e, mono_t now, struct err *why)
{
	q->events++;
	if ((e->mask & IN_Q_OVERFLOW) != 0) {
		q->overflows++;
		q->lost = q->again = true;
		return 0;
	}
	if (e->wd < 1 || (size_t)e->wd > q->dirs)
		return 0;
	const struct dir *d = &q->dir[e->wd - 1];
	const char *path = q->root[d->root].path;

	if ((e->mask & GONE) != 0)
		return err_set(why, -ESTALE, "a directory of %s was removed or moved", path);
	if ((e->mask & IN_ISDIR) != 0) {
		if ((e->mask & CHANGES) != 0 && d->number < 0 && split_number(e->name) >= 0)
			return err_set(why, -ESTALE, "the layout of %s has changed", path);
		if ((e->mask & IN_ATTRIB) != 0) {
			char sub[PATH_MAX];

			if (dir_path(q, d, sub) < 0
				|| faccessat(AT_FDCWD, sub, R_OK | X_OK, AT_EACCESS) < 0)
				return err_sys(why, -errno, "cannot read %s", sub);
		}
		return 0;
	}
	if ((e->mask & CHANGES) != 0)
		apply_change(q, d, e, now);
	return 0;
}

/* Read events until there are none (0), or the step is used up (PROBE_MORE). */
static int
read_events(struct queue *q, mono_t now, int reads, struct err *why)
{
	static _Alignas(struct inotify_event) char buf[EVENT_BUFFER];

	for (int i = 0; i < reads; i++) {
		ssize_t n = read(q->fd, buf, sizeof(buf));

		if (n < 0)
			return errno == EAGAIN || errno == EINTR
				? 0 : err_sys(why, -errno, "cannot read inotify events");
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const void *)p;
			int r = apply_event(q, e, now, why);

			if (r < 0)
				return r;
			p += sizeof(*e) + e->len;
		}
	}
	return PROBE_MORE;
}

/* --- recount --------------------------------------------------------------------------------- */

/* Is the name that was read a message?  After a pause readdir() hands out names that it had read ahead, and ext4
 * one more; the event of their removal may have been told already.  So what is news then is looked up. */
static bool
is_message(const struct queue *q, const struct msgset *set, const struct dirent *e, uint64_t number)
{
	struct stat st;

	if (!q->paused || msgset_has(set, (unsigned)q->next_dir, number))
		return type_of(q->open_dir, e) == DT_REG;
	return fstatat(dirfd(q->open_dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* Read up to NAMES_A_STEP names.  Returns 0 when all directories are read, PROBE_MORE, or -Exxx. */
static int
read_names(struct queue *q, mono_t now, struct err *why)
{
	int budget = NAMES_A_STEP;

	for (; q->next_dir < q->dirs; q->next_dir++) {
		const struct dir *d = &q->dir[q->next_dir];
		struct msgset *set = q->set[q->root[d->root].part];
		struct dirent *e;
		char path[PATH_MAX];

		if (q->open_dir == NULL) {
			if (dir_path(q, d, path) < 0 || (q->open_dir = opendir(path)) == NULL)
				return err_sys(why, -errno, "cannot read %s", path);
			q->paused = false;
		}
		while ((errno = 0, e = readdir(q->open_dir)) != NULL) {
			uint64_t n = message_number(e->d_name);

			if (n != 0 && is_message(q, set, e, n))
				msgset_met(set, (unsigned)q->next_dir, n, now);
			if (--budget == 0) {
				q->paused = true;
				return PROBE_MORE;
			}
		}
		if (errno != 0)
			return err_sys(why, -errno, "cannot read %s", q->root[d->root].path);
		(void)closedir(q->open_dir);
		q->open_dir = NULL;
	}
	return 0;
}

static void
end_recount(struct queue *q, mono_t now)
{
	struct msgset_drift mess = msgset_recount_end(q->set[MESS]);
	struct msgset_drift todo = msgset_recount_end(q->set[TODO]);

	if (q->lost) {
		/* They came and went while events were lost: late, but they count. */
		q->arrived += mess.missed;
		q->departed += mess.phantom;
	} else if (q->exact) {
		q->drift_missed += mess.missed + todo.missed;
		q->drift_phantom += mess.phantom + todo.phantom;
	}
	q->exact = true;
	q->counting = q->lost = false;
	q->recounts++;
	q->recount_took_ms = mono_since(q->recount_began, now);
	q->next_recount = mono_after(now, q->cfg->recount_ms);
}

/* One step of a recount.  When the last name is read, events must be read to the end before the sets are
 * swept; those that come while we do so need another turn. */
static int
step_recount(struct queue *q, mono_t now, struct err *why)
{
	int r = read_names(q, now, why);

	if (r != 0)
		return r;
	r = read_events(q, now, READS_A_STEP, why);
	if (r != 0)
		return r;
	if (q->again)
		begin_recount(q, now);
	else
		end_recount(q, now);
	return q->counting ? PROBE_MORE : 0;
}

/* --- the probe ------------------------------------------------------------------------------- */

static int
step(struct queue *q, mono_t now, struct err *why)
{
	int r;

	if (q->fd < 0 && (r = start_watching(q, now, why)) < 0)
		return r;
	if (now.ms >= q->next_look.ms) {
		if ((r = check_roots(q, why)) < 0)
			return r;
		q->next_look = mono_after(now, q->cfg->every_ms);
	}
	r = read_events(q, now, READS_A_STEP, why);
	if (r < 0)
		return r;
	if (!q->counting && (q->again || (q->exact && now.ms >= q->next_recount.ms)))
		begin_recount(q, now);
	if (q->counting)
		r = step_recount(q, now, why);
	return r;
}

static void
tell(const struct queue *q, mono_t now, struct probe_sample *ret)
{
	mono_t oldest;
	double age = 0;

	if (msgset_oldest(q->set[TODO], &oldest))
		age = (double)mono_since(oldest, now) / 1000;
	probe_tell(ret, READING_MESSAGES, (double)msgset_count(q->set[MESS]));
	probe_tell(ret, READING_TODO, (double)msgset_count(q->set[TODO]));
	probe_tell(ret, READING_TODO_AGE, age);
	ret->counted = true;
	ret->arrived = q->arrived;
	ret->departed = q->departed;
}

static int
queue_sample(void *ctx, mono_t now, struct probe_sample *ret, struct err *why)
{
	struct queue *q = ctx;

	if (q->fd < 0 && now.ms < q->retry_at.ms) {
		ret->due = q->retry_at;
		*why = q->broken;
		return -EAGAIN;
	}
	uint64_t recounts = q->recounts;
	bool counting = q->counting;
	int r = step(q, now, why);
	ret->recount = counting || q->counting || q->recounts != recounts;
	if (r < 0) {
		stop_watching(q);
		q->broken = *why;
		q->retry_at = ret->due = mono_after(now, q->retry_ms);
		q->retry_ms = q->retry_ms * 2 < RETRY_MAX_MS ? q->retry_ms * 2 : RETRY_MAX_MS;
		return r;
	}
	ret->due = q->next_look;
	/* Before the first count is complete nothing is known; a later one corrects numbers that are known. */
	if (q->exact) {
		q->retry_ms = RETRY_MIN_MS;
		tell(q, now, ret);
	}
	return r;
}

static int
queue_fd(void *ctx)
{
	return ((struct queue *)ctx)->fd;
}

static size_t
queue_facts(void *ctx, struct probe_fact ret[PROBE_FACTS_MAX])
{
	const struct queue *q = ctx;
	size_t n = 0;

	for (size_t i = 0; i < q->roots && n < PROBE_FACTS_MAX - 6; i++) {
		const struct root *r = &q->root[i];

		if (r->part != TODO || q->fd < 0)
			continue;
		if (r->subdirs == 0)
			probe_fact(&ret[n++], "layout", "%s: plain", r->path);
		else
			probe_fact(&ret[n++], "layout", "%s: split over %u", r->path, r->subdirs);
	}
	probe_fact(&ret[n++], "watches", "%zu", q->dirs);
	probe_fact(&ret[n++], "events", "%llu", (unsigned long long)q->events);
	probe_fact(&ret[n++], "overflows", "%llu", (unsigned long long)q->overflows);
	probe_fact(&ret[n++], "recounts", "%llu", (unsigned long long)q->recounts);
	probe_fact(&ret[n++], "recount_ms", "%lld", (long long)q->recount_took_ms);
	probe_fact(&ret[n++], "drift", "%llu missed, %llu phantom",
		(unsigned long long)q->drift_missed, (unsigned long long)q->drift_phantom);
	return n;
}

static const struct cfg_row queue_schema[] = {
	{ .name = "every", .type = CFG_DURATION, .at = offsetof(struct probe_queue_cfg, every_ms),
		.min = 200, .max = 60000, .def = 1000,
		.help = "how often the readings are refreshed when no event comes" },
	{ .name = "recount", .type = CFG_DURATION, .at = offsetof(struct probe_queue_cfg, recount_ms),
		.min = 1000, .max = 86400000, .def = 600000,
		.help = "how often the queue is counted anew, to notice and correct drift" },
	{ 0 },
};

const struct probe_ops probe_queue = {
	.name = "queue",
	.summary = "messages in the queue and not yet preprocessed, by inotify",
	.schema = queue_schema,
	.readings = 1u << READING_TODO | 1u << READING_TODO_AGE | 1u << READING_MESSAGES
		| 1u << READING_GROWTH | 1u << READING_ARRIVALS | 1u << READING_DEPARTURES,
	.init = queue_init,
	.sample = queue_sample,
	.fd = queue_fd,
	.gather_ms = 20, /* a wake-up costs more than ten events */
	.facts = queue_facts,
	.free = queue_free,
};
