/* SPDX-License-Identifier: ISC */
/*
 * ipsvd - blocks as files in the instruction directory of `tcpsvd -i DIR -t SECONDS`
 *
 * A file bears its own end (ipsvd_file.h), so that tcpsvd ends it also when we are dead; for that its -t must be the
 * one that we reckon with.  So nothing is written unless a tcpsvd runs with -i DIR and exactly that -t
 * (ipsvd_tcpsvd.h); it is looked for again and again.  When one runs with another -t, or with none, what is there of
 * ours is taken back, for it would not end in time; when none runs, it stays, for nobody reads it.
 *
 * Nothing is remembered of the files: whose they are, what they do and until when is read from them.
 *
 * The directory is the administrator's: it is never made nor removed, and while it is missing tcpsvd refuses
 * everybody, so status says it first of all.  Whatever is wrong is looked at again, and heals when it is right.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "actions/ipsvd.h"

#define MISSED_MAX 1000000 /* blocks not in force, that are counted; memory is touched as they come */
#define STEP_MS 10 /* of work in one call */
#define DIR_EVERY_MS 1000
#define SCAN_EVERY_MS 30000 /* for tcpsvd, while all is well */
#define SCAN_AGAIN_MS 2000 /* while it isn't */
#define SCAN_EFFORT_A_MS 3 /* and not sooner than this would allow: a fiftieth of our time, about */

/* --- life ------------------------------------------------------------------------------------ */

static void
ipsvd_free(void *ctx)
{
	struct ipsvd *x = ctx;

	if (x == NULL)
		return;
	/* Only close: a child of the keeper does it too, and the epoll and inotify behind them are its parent's. */
	ipsvd_scan_end(&x->scan);
	ipsvd_work_stop(x);
	ipsvd_dir_close(&x->dir);
	if (x->more >= 0)
		(void)close(x->more);
	if (x->poll >= 0)
		(void)close(x->poll);
	prefixmap_free(x->missed);
	free(x);
}

static int
poll_also(const struct ipsvd *x, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(x->poll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int
open_all(struct ipsvd *x)
{
	uint8_t key[PREFIXMAP_KEY_SIZE];
	int r;

	x->poll = epoll_create1(EPOLL_CLOEXEC);
	x->more = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (x->poll < 0 || x->more < 0 || getrandom(key, sizeof(key), 0) != sizeof(key))
		return -errno;
	if ((r = poll_also(x, x->more)) < 0)
		return r;
	return prefixmap_new(MISSED_MAX, key, &x->missed);
}

/* Whatever is wrong outside is no failure here: status tells it, and it heals. */
static int
ipsvd_init(const struct block_cfg *cfg, void **ret_ctx, struct err *why)
{
	if (cfg->ipsvd.dir[0] == '\0')
		return -ENOENT;
	if (cfg->ipsvd.dir[0] != '/')
		return err_set(why, -EINVAL, "blocks.ipsvd.dir = \"%s\": it must be absolute", cfg->ipsvd.dir);
	if (cfg->ipsvd.timeout_ms < 1000 || cfg->ipsvd.timeout_ms % 1000 != 0)
		return err_set(why, -EINVAL, "blocks.ipsvd.timeout: it must be whole seconds, as tcpsvd's -t");
	struct ipsvd *x = calloc(1, sizeof(*x));
	if (x == NULL)
		return err_sys(why, -ENOMEM, "ipsvd");
	*x = (struct ipsvd) {
		.timeout_s = cfg->ipsvd.timeout_ms / 1000, .writer = cfg->dry_run ? &ipsvd_nowhere : &ipsvd_disk,
		.poll = -1, .more = -1, .run_at = { IPSVD_NEVER },
		.ends = { .done = { INT64_MIN }, .next_ms = INT64_MIN },
	};
	memcpy(x->path, cfg->ipsvd.dir, sizeof(x->path));
	x->dir = (struct ipsvd_dir) { .path = x->path, .fd = -1, .watch = -1 };
	int r = open_all(x);
	if (r < 0) {
		ipsvd_free(x);
		return err_sys(why, r, "ipsvd");
	}
	(void)err_set(&x->broken, 0, "it has not been looked at yet: %s", x->path);
	*ret_ctx = x;
	return 0;
}

static int
ipsvd_fd(void *ctx)
{
	return ((struct ipsvd *)ctx)->poll;
}

/* --- is all in place? ------------------------------------------------------------------------ */

static void
look_at_directory(struct ipsvd *x, mono_t now)
{
	if (now.ms < x->next_dir.ms)
		return;
	x->next_dir = mono_after(now, DIR_EVERY_MS);
	if (x->dir.fd >= 0 && ipsvd_dir_check(&x->dir, &x->broken) < 0) {
		ipsvd_work_forget(x);
		ipsvd_scan_end(&x->scan);
		x->fit = FIT_UNKNOWN;
	}
	if (x->dir.fd >= 0 || ipsvd_dir_open(&x->dir, true, &x->broken) < 0)
		return;
	if (x->dir.watch >= 0)
		(void)poll_also(x, x->dir.watch); /* if it fails, a step sees to it once a second */
	x->next_scan = now;
}

static void
take_seen(struct ipsvd *x, mono_t now)
{
	const struct ipsvd_seen *seen = &x->scan.seen;
	enum ipsvd_fit fit = seen->wrong != 0 ? FIT_WRONG : seen->n == 0 ? FIT_NONE : FIT_GOOD;
	bool anew = fit != x->fit || seen->counts != x->seen.counts;

	x->seen = *seen;
	x->fit = fit;
	if (anew) {
		x->counted = false;
		x->ends.next_ms = now.ms; /* counts what can be expressed now */
	}
	if (anew && fit != FIT_NONE)
		ipsvd_call_for_run(x, now);
}

/* Returns whether there is more.  Who starts many processes can make it take longer, but not take a larger share of our
 * time. */
static bool
look_for_tcpsvd(struct ipsvd *x, mono_t now, mono_t deadline)
{
	int64_t pause;

	if (x->scan.proc == NULL) {
		if (now.ms < x->next_scan.ms)
			return false;
		x->next_scan = mono_after(now, SCAN_AGAIN_MS);
		if (ipsvd_scan_begin(&x->scan, x->path, &x->dir.st, (uint64_t)x->timeout_s) < 0)
			return false;
	}
	if (ipsvd_scan_step(&x->scan, deadline))
		return true;
	take_seen(x, now);
	pause = x->fit == FIT_GOOD ? SCAN_EVERY_MS : SCAN_AGAIN_MS;
	if (pause < x->scan.effort / SCAN_EFFORT_A_MS)
		pause = x->scan.effort / SCAN_EFFORT_A_MS;
	x->next_scan = mono_after(now, pause);
	return false;
}

/* --- what the keeper calls ------------------------------------------------------------------- */

static void
ipsvd_change(void *ctx, const struct ip_prefix *p, const struct block *b, const struct blockset *want, mono_t now)
{
	ipsvd_work_change(ctx, p, b, want, now);
}

static void
ipsvd_step(void *ctx, const struct blockset *want, mono_t now)
{
	struct ipsvd *x = ctx;
	mono_t deadline = mono_after(mono_now(), STEP_MS);
	uint64_t n;

	(void)!read(x->more, &n, sizeof(n)); /* nothing there is as good */
	look_at_directory(x, now);
	if (x->dir.fd < 0)
		return;
	bool more = look_for_tcpsvd(x, now, deadline);
	more |= ipsvd_work_step(x, want, now, deadline);
	n = 1;
	if (more)
		(void)!write(x->more, &n, sizeof(n)); /* if it fails, it goes on in a second */
}

static void
ipsvd_reconcile(void *ctx, const struct blockset *want, mono_t now)
{
	struct ipsvd *x = ctx;

	(void)want;
	x->told = true;
	ipsvd_call_for_run(x, now);
}

/* A run that has begun may have written times by the old clock. */
static void
ipsvd_clock_set(void *ctx, const struct blockset *want, mono_t now)
{
	struct ipsvd *x = ctx;

	(void)want;
	ipsvd_work_stop(x);
	ipsvd_call_for_run(x, now);
}

/* --- telling --------------------------------------------------------------------------------- */

/* Why nothing is written, or "".  The path comes last: it may be cut. */
static void
tell_why(const struct ipsvd *x, struct err *ret)
{
	const struct ipsvd_seen *seen = &x->seen;
	unsigned long long t = (unsigned long long)x->timeout_s;

	ret->text[0] = '\0';
	if (x->dir.fd < 0)
		*ret = x->broken;
	else if (x->fit == FIT_UNKNOWN)
		(void)err_set(ret, 0, "looking for the tcpsvd that reads %s", x->path);
	else if (x->fit == FIT_WRONG && seen->wrong_timeout_s == 0)
		(void)err_set(ret, 0,
			"tcpsvd, pid %d, runs without -t, so that no block would end by itself; -t %llu is wanted: %s",
			(int)seen->wrong, t, x->path);
	else if (x->fit == FIT_WRONG)
		(void)err_set(ret, 0, "tcpsvd, pid %d, runs with -t %llu, but blocks.ipsvd.timeout is %llu seconds: %s",
			(int)seen->wrong, (unsigned long long)seen->wrong_timeout_s, t, x->path);
	else if (x->fit == FIT_NONE && seen->doubtful != 0)
		(void)err_set(ret, 0,
			"a tcpsvd, pid %d, was not started by root, or CAP_SYS_PTRACE is missing to see it: %s",
			(int)seen->doubtful, x->path);
	else if (x->fit == FIT_NONE && seen->cdb != 0)
		(void)err_set(ret, 0,
			"tcpsvd, pid %d, runs with -x: in a cdb nothing ends by itself; none runs with -i %s",
			(int)seen->cdb, x->path);
	else if (x->fit == FIT_NONE)
		(void)err_set(ret, 0, "no tcpsvd runs with -i %s", x->path);
	else if (x->failing != 0)
		*ret = x->failure;
}

/* What is good to know though blocks are written. */
static void
tell_note(const struct ipsvd *x, struct err *ret)
{
	bool closed = (x->dir.st.st_mode & (S_IXGRP | S_IXOTH)) == 0;

	if (closed && x->seen.uid != 0 && x->seen.uid != x->dir.st.st_uid)
		(void)err_set(ret, 0, "CLOSED to tcpsvd, uid %u, which refuses EVERYBODY until it may search it: %s",
			x->seen.uid, x->path);
	else if (x->skipped > 0)
		(void)err_set(ret, 0,
			"%zu blocks can't be instruction files: IPv6, all of IPv4, or throttle without -C",
			x->skipped);
}

static void
ipsvd_status(void *ctx, struct block_status *ret)
{
	const struct ipsvd *x = ctx;
	struct err why;

	*ret = (struct block_status) { .ours = ipsvd_work_count(x), .foreign = x->foreign };
	tell_why(x, &why);
	ret->ok = why.text[0] == '\0';
	if (ret->ok)
		tell_note(x, &why);
	int n = snprintf(ret->text, sizeof(ret->text), "%s", why.text);
	if (n >= (int)sizeof(ret->text))
		memcpy(ret->text + sizeof(ret->text) - 4, "...", 4);
}

/* --- without memory -------------------------------------------------------------------------- */

static int
neutral_one(int dir, struct ipsvd_key k, bool all, int64_t timeout_s, int64_t wall_s)
{
	struct stat st;
	int owner = ipsvd_look(dir, k, &st);

	if (owner < 0)
		return owner;
	if (owner == IPSVD_NONE || owner == IPSVD_FOREIGN || (!all && !ipsvd_is_outdated(&st, timeout_s, wall_s)))
		return 0;
	return ipsvd_drop(&ipsvd_disk, dir, k);
}

/* Takes the descriptor. */
static int
neutral_all(const struct ipsvd *x, int fd, bool all, struct err *why)
{
	int64_t wall_s = wall_now().ms / 1000;
	DIR *d = fdopendir(fd);
	const struct dirent *e;
	int r = 0;

	if (d == NULL) {
		r = err_sys(why, -errno, "cannot read %s", x->path);
		(void)close(fd);
		return r;
	}
	while ((e = readdir(d)) != NULL) {
		struct ipsvd_key k;
		int one = ipsvd_name_parse(e->d_name, &k) ? neutral_one(fd, k, all, x->timeout_s, wall_s) : 0;

		if (one < 0 && r == 0)
			r = err_sys(why, one, "cannot remove %s/%s", x->path, e->d_name);
	}
	(void)closedir(d);
	return r;
}

/* Also in a dry run, and under another -t: it only takes back. */
static int
ipsvd_neutral(void *ctx, bool all, struct err *why)
{
	const struct ipsvd *x = ctx;
	struct ipsvd_dir dir = { .path = x->path, .fd = -1, .watch = -1 };
	int r = ipsvd_dir_open(&dir, false, why);

	return r < 0 ? r : neutral_all(x, dir.fd, all, why);
}

const struct block_ops block_ipsvd = {
	.name = "ipsvd",
	.summary = "instruction files for tcpsvd -i",
	.init = ipsvd_init,
	.change = ipsvd_change,
	.step = ipsvd_step,
	.reconcile = ipsvd_reconcile,
	.fd = ipsvd_fd,
	.clock_set = ipsvd_clock_set,
	.status = ipsvd_status,
	.neutral = ipsvd_neutral,
	.free = ipsvd_free,
};
