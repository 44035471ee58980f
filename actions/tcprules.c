/* SPDX-License-Identifier: ISC */
/*
 * tcprules - our denials in the cdb of tcpserver, beside the administrator's own rules
 *
 * The administrator's rules file is read, never written.  What tcpserver looks at is compiled by the real tcprules
 * from that file, byte for byte, with our lines behind it, into a new file that takes the place of the cdb by rename.
 * Before that the new cdb is looked at: it must be whole, and the administrator's part of it must be the same as in
 * the cdb that it replaces. So nothing comes into force through us but our own lines, whatever was meanwhile done to
 * the rules, and a cdb that is made of something else than this file is left alone.
 *
 * A rules file that is newer than its cdb is an edit in progress: nothing is compiled until its author has done so.
 * For that, a cdb of ours is never older than the rules it was made of, even when the clock was set back.
 *
 * Temporaries carry our pid, so that two of us (the keeper, and a person with `spillway neutral`) never write the
 * same file; those of dead ones are removed at the start.
 *
 * Beside the cdb stands CDB.spillway with our blocks and their ends on the wall clock: see tcprules_list.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "actions/block.h"
#include "actions/cdb.h"
#include "actions/protected.h"
#include "actions/tcprules_list.h"
#include "actions/tcprules_swap.h"
#include "actions/tcprules_work.h"
#include "lib/atomicfile.h"
#include "lib/child.h"
#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/text.h"

#define RULES_MAX_DEFAULT 100000 /* a rebuild takes 26 ms then (measured) */
#define LIST_SIZE_MAX (64 << 20)
#define NEUTRAL_BLOCKS_MAX 1000000
#define GAP_MS 100 /* the least time between the beginnings of two rebuilds */
#define GAP_TIMES 5 /* ... and so many times what the last one took */
#define GAP_MAX_MS 5000
#define DEADLINE_MS 10000 /* of tcprules */
#define RETRY_MS 5000
#define LIST_SUFFIX ".spillway"
#define NEW_SUFFIX ".spillway-new."
#define TEMP_SUFFIX ".spillway-tmp."
#define NAME_MAX_OURS 40 /* of the cdb, so that the longest of our names fits */

enum knowledge {
	UNKNOWN,
	NO,
	YES,
};

struct tcprules {
	/* configuration */
	char rules[CFG_STRING_MAX], cdb[CFG_STRING_MAX], command[CFG_STRING_MAX];
	char dir_path[CFG_STRING_MAX], name[ATOMICFILE_NAME_MAX]; /* of the cdb */
	char new_name[ATOMICFILE_NAME_MAX + 16], temp_name[ATOMICFILE_NAME_MAX + 16], list_name[ATOMICFILE_NAME_MAX];
	bool dry_run, widen;
	size_t max_rules;
	struct protected protected;
	pid_t owner; /* who may do more with this than free it */

	/* the world, as seen last */
	int dir, poll, notify, timer;
	struct stat seen_rules, seen_cdb; /* st_ino 0: not there */
	struct stat rules_before, cdb_before; /* when the child began */
	struct stat ours, ours_rules; /* the cdb that we put in place or found right last, and its rules */
	enum knowledge ipv6;

	/* the child */
	enum tcprules_job job;
	struct child child;
	char err[200];
	union {
		struct tcprules_built built;
		char bytes[sizeof(struct tcprules_built)];
	} out;

	/* what is to be done */
	bool due, list_due;
	mono_t next, next_end;
	mono_t began, compiled; /* the child; the last that compiled; 0: never */
	int64_t took_ms;
	int64_t armed_ms; /* for when `timer` is set; 0: it is not */
	size_t in_force, unsaid, refused, over;
	struct block_status status;
};

/* --- what is there --------------------------------------------------------------------------- */

/* Nothing is written until it is better; a text that is too long is cut. */
static void __attribute__((format(printf, 3, 4)))
trouble(struct tcprules *t, mono_t now, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(t->status.text, sizeof(t->status.text), fmt, ap);
	va_end(ap);
	t->status.ok = false;
	t->due = true;
	t->next = mono_after(now, RETRY_MS);
}

/* Where others may put links, root does not write (Postfix HISTORY 20260820). */
static int
check_owner(const struct tcprules *t, const struct stat *st, struct err *why)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(why, -EPERM, "%s belongs to uid %u; allowed: root's own", t->dir_path, st->st_uid);
	if ((st->st_mode & S_IWOTH) != 0)
		return err_set(why, -EPERM, "%s can be written by everybody; allowed: root's own", t->dir_path);
	if ((st->st_mode & S_IWGRP) != 0 && st->st_gid != 0 && st->st_gid != getegid())
		return err_set(why, -EPERM, "%s can be written by group %u; allowed: root's own", t->dir_path,
			st->st_gid);
	return 0;
}

static void
watch_directory(struct tcprules *t)
{
	const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR
		| IN_MASK_ADD;
	char dir[CFG_STRING_MAX];

	/* Without it we look once a second. */
	if (t->notify < 0)
		return;
	(void)inotify_add_watch(t->notify, t->dir_path, mask);
	(void)text_copy(dir, sizeof(dir), t->rules);
	char *slash = strrchr(dir, '/');
	if (slash != NULL && slash != dir) {
		*slash = '\0';
		(void)inotify_add_watch(t->notify, dir, mask);
	}
}

/* The directory of the cdb may be replaced (unpacked anew, mounted): what is held must be what the path leads to. */
static int
open_dir(struct tcprules *t, struct err *why)
{
	struct stat held, there;

	if (t->dir >= 0 && fstat(t->dir, &held) == 0 && stat(t->dir_path, &there) == 0 && held.st_dev == there.st_dev
		&& held.st_ino == there.st_ino)
		return check_owner(t, &there, why);
	if (t->dir >= 0)
		(void)close(t->dir);
	t->dir = open(t->dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->dir < 0)
		return err_sys(why, -errno, "cannot open %s", t->dir_path);
	if (fstat(t->dir, &there) < 0)
		return err_sys(why, -errno, "cannot look at %s", t->dir_path);
	watch_directory(t);
	return check_owner(t, &there, why);
}

/* Look whether something may be compiled now; if not, the reason is told. */
static bool
look(struct tcprules *t, mono_t now)
{
	struct err why;

	if (open_dir(t, &why) < 0) {
		trouble(t, now, "%s", why.text);
		return false;
	}
	if (stat(t->rules, &t->rules_before) < 0) {
		trouble(t, now, "%s: %s", t->rules, strerror(errno));
		return false;
	}
	if (fstatat(t->dir, t->name, &t->cdb_before, AT_SYMLINK_NOFOLLOW) < 0) {
		trouble(t, now, "%s: %s; without it tcpserver turns everybody away: compile the rules", t->cdb,
			strerror(errno));
		return false;
	}
	if (!S_ISREG(t->cdb_before.st_mode)) {
		trouble(t, now, "%s is no regular file", t->cdb);
		return false;
	}
	bool known = tcprules_same(&t->cdb_before, &t->ours) && tcprules_same(&t->rules_before, &t->ours_rules);
	if (!known && tcprules_newer(&t->rules_before.st_mtim, &t->cdb_before.st_mtim)) {
		trouble(t, now, "%s is newer than its cdb: an edit in progress; blocks wait until it is compiled",
			t->rules);
		return false;
	}
	return true;
}

/* Both files as they are reached by their paths. */
static void
look_at_both(const struct tcprules *t, struct stat *ret_rules, struct stat *ret_cdb)
{
	if (stat(t->rules, ret_rules) < 0)
		*ret_rules = (struct stat) { .st_ino = 0 };
	if (lstat(t->cdb, ret_cdb) < 0)
		*ret_cdb = (struct stat) { .st_ino = 0 };
}

/* Has somebody put another cdb in place, or other rules?  inotify only wakes us; what counts is what is there. */
static void
look_around(struct tcprules *t, mono_t now)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct stat rules, cdb;

	while (t->notify >= 0 && read(t->notify, events, sizeof(events)) > 0)
		;
	look_at_both(t, &rules, &cdb);
	if (tcprules_same(&rules, &t->seen_rules) && tcprules_same(&cdb, &t->seen_cdb))
		return;
	t->seen_rules = rules;
	t->seen_cdb = cdb;
	if (t->ours.st_ino != 0 && !(tcprules_same(&cdb, &t->ours) && tcprules_same(&rules, &t->ours_rules)))
		t->due = true;
	t->next = now; /* whatever was wrong may be right now */
}

/* --- temporaries ----------------------------------------------------------------------------- */

static void
forget_temporaries(const struct tcprules *t)
{
	if (t->dir < 0)
		return;
	(void)unlinkat(t->dir, t->new_name, 0);
	(void)unlinkat(t->dir, t->temp_name, 0);
}

/* Is `name` a temporary of one of us who is dead? */
static bool
is_leftover(const struct tcprules *t, const char *name)
{
	static const char *const suffixes[] = { NEW_SUFFIX, TEMP_SUFFIX };
	size_t n = strlen(t->name);
	uint64_t pid;

	if (strncmp(name, t->name, n) != 0)
		return false;
	for (size_t i = 0; i < 2; i++)
		if (strncmp(name + n, suffixes[i], strlen(suffixes[i])) == 0
			&& num_u64(name + n + strlen(suffixes[i]), &pid) == 0)
			return pid == 0 || pid > INT32_MAX || (kill((pid_t)pid, 0) < 0 && errno == ESRCH);
	return false;
}

static void
remove_leftovers(const struct tcprules *t)
{
	int fd = t->dir >= 0 ? openat(t->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((e = readdir(d)) != NULL)
		if (is_leftover(t, e->d_name))
			(void)unlinkat(t->dir, e->d_name, 0);
	(void)closedir(d);
	(void)atomicfile_clean(t->dir, t->list_name);
}

/* --- the child begins ------------------------------------------------------------------------ */

static void
start(struct tcprules *t, enum tcprules_job job, const struct blockset *want, mono_t now)
{
	char *argv[] = { t->command, t->new_name, t->temp_name, NULL };
	char *envp[] = { NULL };
	struct tcprules_work work = {
		.job = job, .dry_run = t->dry_run, .dir = t->dir, .rules = t->rules, .list_name = t->list_name,
			.want = want,
		.now = now, .protected = &t->protected, .max_rules = t->max_rules, .widen = t->widen,
		.ipv6 = t->ipv6 == YES, .parent = t->owner,
	};
	int r;

	if (!t->dry_run)
		forget_temporaries(t);
	t->job = job;
	t->began = now;
	r = child_start(&(struct child_spec) {
		.argv = argv, .envp = envp, .in = -1, .out = t->out.bytes, .out_cap = sizeof(t->out.bytes),
		.err = t->err, .err_cap = sizeof(t->err), .prepare = tcprules_work, .arg = &work,
	}, &t->child);
	if (r < 0) {
		trouble(t, now, "cannot start %s: %s", t->command, strerror(-r));
		return;
	}
	if (job == TCPRULES_COMPILE) {
		t->due = false;
		t->compiled = now;
	}
	if (job != TCPRULES_PROBE)
		t->list_due = false; /* compiling writes it too */
	struct epoll_event e = { .events = EPOLLIN };
	(void)epoll_ctl(t->poll, EPOLL_CTL_ADD, t->child.poll, &e); /* without it step() finds out */
}

/* --- the child has ended --------------------------------------------------------------------- */

/* What the child said, or else how it ended. */
static void
tell_end(struct tcprules *t, int status, mono_t now)
{
	char said[160];
	struct text text = text_in(said, sizeof(said));
	size_t n = t->child.err.len;
	const char *feed = memchr(t->err, '\n', n);

	/* Long lines are cut, and then made of what is left to print. */
	text_put_printable(&text, t->err, feed != NULL ? (size_t)(feed - t->err) : n, sizeof(said) - 10);
	if (said[0] != '\0')
		trouble(t, now, "%s", said);
	else if (status >= 256 && mono_since(t->began, now) > DEADLINE_MS)
		trouble(t, now, "%s did not end within %d s", t->command, DEADLINE_MS / 1000);
	else if (status >= 256)
		trouble(t, now, "%s was ended by signal %d", t->command, status - 256);
	else
		trouble(t, now, "%s ended with exit code %d", t->command, status);
}

/* A tcprules of IPv4 alone finds an error in the line (100), or makes something else of it. */
static void
finish_probe(struct tcprules *t, int status, mono_t now)
{
	int fd, r;

	if (status == 100) {
		t->ipv6 = NO;
		return;
	}
	if (status != 0) {
		tell_end(t, status, now);
		return;
	}
	fd = fd_open_regular(t->dir, t->new_name, O_NOFOLLOW, CDB_SIZE_MAX);
	r = fd < 0 ? fd : cdb_find(fd, TCPRULES_PROBE_KEY);
	if (fd >= 0)
		(void)close(fd);
	if (r < 0)
		trouble(t, now, "%s makes no cdb: %s", t->command, strerror(-r));
	else
		t->ipv6 = r == 1 ? YES : NO;
}

static int
put_in_place(struct tcprules *t)
{
	struct tcprules_swap swap = {
		.dir = t->dir, .rules = t->rules, .name = t->name, .new_name = t->new_name, .old = &t->cdb_before,
		.built = &t->out.built,
	};
	int r = tcprules_swap(&swap);

	if (r < 0)
		return r;
	t->ours = swap.in_place;
	t->ours_rules = t->out.built.rules_stat;
	t->status.foreign = swap.theirs;
	return 0;
}

static void
finish_compile(struct tcprules *t, int status, mono_t now)
{
	const struct tcprules_built *built = &t->out.built;
	bool whole = t->child.out.len == sizeof(t->out.bytes);
	int r = status != 0 ? -EPROTO : !whole ? -EBADMSG : t->dry_run ? 0 : put_in_place(t);

	t->took_ms = mono_since(t->began, now);
	switch (r) {
	case 0:
		t->in_force = built->blocks;
		t->unsaid = built->unsaid;
		t->refused = built->refused;
		t->over = built->over;
		t->next_end = built->next_end;
		t->status.ok = true;
		t->status.text[0] = '\0';
		if (built->rules == 0 && !t->dry_run)
			(void)unlinkat(t->dir, t->list_name, 0);
		break;
	case -EAGAIN: /* changed under our hands: look again */
		t->due = true;
		break;
	case -EPROTO:
		tell_end(t, status, now);
		break;
	case -EBADMSG:
		trouble(t, now, "%s made no whole cdb of our rules", t->command);
		break;
	case -ESTALE:
		trouble(t, now, "%s is not what %s makes of %s: left alone until it is compiled", t->name, t->command,
			t->rules);
		break;
	default:
		trouble(t, now, "%s: %s", t->cdb, strerror(-r));
	}
}

static void
finish(struct tcprules *t, int status, mono_t now)
{
	if (t->job == TCPRULES_PROBE)
		finish_probe(t, status, now);
	else if (t->job == TCPRULES_COMPILE)
		finish_compile(t, status, now);
	if (!t->dry_run)
		forget_temporaries(t);
}

/* --- operations ------------------------------------------------------------------------------ */

/* In a process that was forked from ours, only what is its own is released. */
static void
tcprules_free(void *ctx)
{
	struct tcprules *t = ctx;

	if (t == NULL)
		return;
	bool mine = t->owner == getpid(), running = t->child.pid != 0;
	if (running && mine)
		child_abandon(&t->child);
	else if (running)
		child_forget(&t->child);
	if (running && mine && !t->dry_run)
		forget_temporaries(t);
	if (t->dir >= 0)
		(void)close(t->dir);
	if (t->notify >= 0)
		(void)close(t->notify);
	if (t->timer >= 0)
		(void)close(t->timer);
	if (t->poll >= 0)
		(void)close(t->poll);
	free(t);
}

static int
set_names(struct tcprules *t, const struct block_cfg *cfg, struct err *why)
{
	const char *cdb = cfg->tcprules.cdb, *slash = strrchr(cdb, '/');
	size_t n = slash != NULL ? (size_t)(slash - cdb) : 0;

	if (slash == NULL || slash[1] == '\0' || strlen(slash + 1) > NAME_MAX_OURS)
		return err_set(why, -EINVAL, "%s: wanted is a path with a file name of at most %d characters", cdb,
			NAME_MAX_OURS);
	(void)snprintf(t->dir_path, sizeof(t->dir_path), "%.*s", n > 0 ? (int)n : 1, cdb);
	(void)snprintf(t->cdb, sizeof(t->cdb), "%s", cdb);
	(void)snprintf(t->name, sizeof(t->name), "%s", slash + 1);
	(void)snprintf(t->new_name, sizeof(t->new_name), "%.*s" NEW_SUFFIX "%d", NAME_MAX_OURS, t->name, (int)t->owner);
	(void)snprintf(t->temp_name, sizeof(t->temp_name), "%.*s" TEMP_SUFFIX "%d", NAME_MAX_OURS, t->name,
		(int)t->owner);
	(void)snprintf(t->list_name, sizeof(t->list_name), "%.*s" LIST_SUFFIX, NAME_MAX_OURS, t->name);
	(void)snprintf(t->rules, sizeof(t->rules), "%s", cfg->tcprules.rules);
	(void)snprintf(t->command, sizeof(t->command), "%s", cfg->tcprules.command);
	return 0;
}

/* What of it can't be had only makes us slower: step() comes once a second. */
static void
open_watch(struct tcprules *t)
{
	struct epoll_event e = { .events = EPOLLIN };

	t->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	t->timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	t->poll = epoll_create1(EPOLL_CLOEXEC);
	if (t->notify >= 0)
		(void)epoll_ctl(t->poll, EPOLL_CTL_ADD, t->notify, &e);
	if (t->timer >= 0)
		(void)epoll_ctl(t->poll, EPOLL_CTL_ADD, t->timer, &e);
}

static int
tcprules_init(const struct block_cfg *cfg, void **ret_ctx, struct err *why)
{
	if (cfg->tcprules.rules[0] == '\0' || cfg->tcprules.cdb[0] == '\0')
		return -ENOENT;
	struct tcprules *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_sys(why, -ENOMEM, "tcprules");
	t->owner = getpid();
	t->dir = t->notify = t->timer = t->poll = -1;
	t->dry_run = cfg->dry_run;
	t->widen = cfg->tcprules.widen;
	t->max_rules = cfg->tcprules.max_rules > 0 ? (size_t)cfg->tcprules.max_rules : RULES_MAX_DEFAULT;
	t->ipv6 = t->dry_run ? NO : UNKNOWN;
	t->next_end.ms = INT64_MAX;
	t->status.ok = true; /* and nothing is due: what stands there stays until we know what is wanted */
	(void)protected_set(&t->protected, cfg->protected.p, cfg->protected.n);
	int r = set_names(t, cfg, why);
	if (r == 0) {
		open_watch(t);
		r = open_dir(t, why);
		if (r < 0 && r != -EPERM)
			r = 0; /* it may come yet */
	}
	if (r < 0) {
		tcprules_free(t);
		return r;
	}
	if (!t->dry_run)
		remove_leftovers(t);
	look_at_both(t, &t->seen_rules, &t->seen_cdb);
	*ret_ctx = t;
	return 0;
}

static void
tcprules_change(void *ctx, const struct ip_prefix *p, const struct block *b, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	(void)p;
	(void)b;
	(void)want;
	(void)now;
	t->due = true;
}

static void
tcprules_protect(void *ctx, const struct ip_prefix *list, size_t n)
{
	struct tcprules *t = ctx;

	(void)protected_set(&t->protected, list, n);
	t->due = true;
}

static void
tend_child(struct tcprules *t, mono_t now)
{
	int status = child_pump(&t->child);

	if (status != -EAGAIN)
		finish(t, status, now);
	else if (mono_since(t->began, now) > DEADLINE_MS)
		child_kill(&t->child);
}

/* So long it is between the beginnings of two rebuilds, that we never take more than a part of the machine. */
static int64_t
gap(const struct tcprules *t)
{
	int64_t ms = t->took_ms * GAP_TIMES;

	return ms < GAP_MS ? GAP_MS : ms > GAP_MAX_MS ? GAP_MAX_MS : ms;
}

/* When step() has something to do, if nobody and no child wakes us before; INT64_MAX: never. */
static int64_t
next_ms(const struct tcprules *t)
{
	int64_t may = t->compiled.ms != 0 ? t->compiled.ms + gap(t) : 0;

	if (t->child.pid != 0)
		return INT64_MAX;
	if (!t->due)
		return t->next_end.ms;
	return may > t->next.ms ? may : t->next.ms;
}

static void
arm(struct tcprules *t, mono_t now)
{
	int64_t at = next_ms(t), left = at - now.ms > 1 ? at - now.ms : 1;
	struct itimerspec spec = { .it_value = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000 } };
	uint64_t times;

	if (t->timer < 0)
		return;
	bool rang = read(t->timer, &times, sizeof(times)) == sizeof(times);
	if (at == INT64_MAX) {
		at = 0;
		spec = (struct itimerspec) { .it_value = { 0 } };
	}
	if (at != t->armed_ms || (rang && at != 0))
		(void)timerfd_settime(t->timer, 0, &spec, NULL);
	t->armed_ms = at;
}

static void
go_on(struct tcprules *t, const struct blockset *want, mono_t now)
{
	if (t->child.pid != 0)
		tend_child(t, now);
	if (t->child.pid != 0)
		return;
	if (t->due && now.ms >= next_ms(t)) {
		if (look(t, now))
			start(t, t->ipv6 == UNKNOWN ? TCPRULES_PROBE : TCPRULES_COMPILE, want, now);
	} else if (t->list_due && t->in_force > 0 && t->dir >= 0) {
		start(t, TCPRULES_LIST, want, now);
	}
}

static void
tcprules_step(void *ctx, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	look_around(t, now);
	if (now.ms >= t->next_end.ms) {
		t->next_end.ms = INT64_MAX;
		t->due = true;
	}
	go_on(t, want, now);
	arm(t, now);
}

static void
tcprules_reconcile(void *ctx, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	(void)want;
	(void)now;
	t->due = true;
	if (!t->dry_run)
		t->ipv6 = UNKNOWN; /* another tcprules may have been installed */
}

static int
tcprules_fd(void *ctx)
{
	return ((struct tcprules *)ctx)->poll;
}

static void
tcprules_clock_set(void *ctx, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	(void)want;
	(void)now;
	t->list_due = !t->dry_run;
}

static void
tcprules_status(void *ctx, struct block_status *ret)
{
	const struct tcprules *t = ctx;

	*ret = t->status;
	ret->ours = t->in_force;
	if (!ret->ok)
		return;
	struct text text = text_in(ret->text, sizeof(ret->text));
	const struct {
		size_t n;
		const char *what;
	} left_out[] = {
		{ t->unsaid, " that tcprules can't express (IPv6, or a softer kind)" },
		{ t->refused, " that touch protected addresses" },
		{ t->over, " beyond tcprules.max_rules" },
	};
	for (size_t i = 0; i < 3; i++) {
		if (left_out[i].n == 0)
			continue;
		text_puts(&text, text.len > 0 ? ", " : "not in force: ");
		text_put_u64(&text, left_out[i].n);
		text_puts(&text, left_out[i].what);
	}
}

/* --- without memory -------------------------------------------------------------------------- */

/* What the list says is not over yet; nothing when there is none. */
static int
read_list(const struct tcprules *t, struct blockset *ret)
{
	int fd = fd_open_regular(t->dir, t->list_name, O_NOFOLLOW, LIST_SIZE_MAX);
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	char *text = fstat(fd, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	ssize_t n = text != NULL ? fd_read_full(fd, text, (size_t)st.st_size) : -ENOMEM;
	(void)close(fd);
	if (n > 0)
		(void)tcprules_list_read(text, (size_t)n, wall_now().ms / 1000, mono_now(), ret);
	free(text);
	return n < 0 ? (int)n : 0;
}

/* Compile, waiting.  Only a command does that, never the keeper. */
static int
compile_now(struct tcprules *t, const struct blockset *want, struct err *why)
{
	mono_t until = mono_after(mono_now(), DEADLINE_MS + 1000);

	t->due = true;
	t->status.ok = true;
	t->next.ms = 0;
	while ((t->due || t->child.pid != 0) && t->status.ok) {
		struct epoll_event e;

		if (mono_since(mono_now(), until) < 0)
			return err_set(why, -ETIMEDOUT, "%s: others change it all the time", t->cdb);
		tcprules_step(t, want, mono_now());
		if (t->child.pid != 0)
			(void)epoll_wait(t->child.poll, &e, 1, 100);
		else if (t->due && t->status.ok)
			(void)poll(NULL, 0, 10);
	}
	return t->status.ok ? 0 : err_set(why, -EIO, "%s", t->status.text);
}

/* Is there anything of ours in the cdb?  Returns 1, 0, or -Exxx with the reason. */
static int
is_marked(struct tcprules *t, struct err *why)
{
	int r = open_dir(t, why), fd;

	if (r < 0)
		return r;
	fd = fd_open_regular(t->dir, t->name, O_NOFOLLOW, CDB_SIZE_MAX);
	r = fd == -ENOENT ? 0 : fd < 0 ? fd : cdb_find(fd, TCPRULES_MARKER);
	if (fd >= 0)
		(void)close(fd);
	return r < 0 ? err_sys(why, r, "%s", t->cdb) : r;
}

static int
tcprules_neutral(void *ctx, bool all, struct err *why)
{
	struct tcprules *t = ctx;
	struct blockset *want;
	int r = is_marked(t, why);

	if (r <= 0) {
		if (r == 0 && all && !t->dry_run)
			(void)unlinkat(t->dir, t->list_name, 0);
		return r;
	}
	if ((r = blockset_new(NEUTRAL_BLOCKS_MAX, &want)) < 0)
		return err_sys(why, r, "tcprules");
	/* A list that can't be read says nothing: then all of it goes. */
	if (!all)
		(void)read_list(t, want);
	r = compile_now(t, want, why);
	blockset_free(want);
	return r;
}

const struct block_ops block_tcprules = {
	.name = "tcprules",
	.summary = "denials in tcpserver's cdb, beside the administrator's own rules",
	.init = tcprules_init,
	.change = tcprules_change,
	.step = tcprules_step,
	.reconcile = tcprules_reconcile,
	.protect = tcprules_protect,
	.fd = tcprules_fd,
	.clock_set = tcprules_clock_set,
	.status = tcprules_status,
	.neutral = tcprules_neutral,
	.free = tcprules_free,
};
