/* SPDX-License-Identifier: ISC */
/*
 * tcprules - our denials in the cdb of tcpserver, beside the administrator's own rules
 *
 * The administrator's rules file is read, never written.  What tcpserver looks at is compiled by the real tcprules from that file,
 * byte for byte, with our lines behind it, into a new file that replaces the cdb by rename.  Of two rules for the same
 * address the first one counts, so the administrator's goes before ours; of two that match the longest counts, as ever.
 *
 * A rules file that is newer than its cdb is an edit in progress: nothing is compiled until its author has done so, or the
 * half of an edit would be in force.  So a cdb of ours gets the modification time of now only when the rules are older.
 *
 * Beside the cdb stands CDB.spillway with our blocks and their ends on the wall clock, a line each: what `spillway neutral
 * --offline` goes by when nobody is there who remembers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actions/block.h"
#include "actions/compact.h"
#include "lib/atomicfile.h"
#include "lib/child.h"
#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/text.h"

#define RULES_MAX (16 << 20) /* of the administrator's file */
#define RULES_BUDGET 100000 /* of ours: a rebuild takes 26 ms then (measured) */
#define GAP_MS 100 /* the least time between two rebuilds */
#define GAP_TIMES 5 /* ... and so many times what the last one took */
#define DEADLINE_MS 10000 /* of tcprules */
#define RETRY_MS 5000
#define LOOK_MS 10000 /* at files that inotify does not tell of */
#define LIST_SUFFIX ".spillway"
#define LIST_HEAD "# what spillway added to the cdb: address, end in seconds since 1970, evidence id\n"
#define NEW_SUFFIX ".spillway-new"
#define TEMP_SUFFIX ".spillway-tmp"
#define V4_BITS 96

struct tcprules {
	char rules[CFG_STRING_MAX], dir_path[CFG_STRING_MAX], name[CFG_STRING_MAX], command[CFG_STRING_MAX];
	char new_name[CFG_STRING_MAX + 16], temp_name[CFG_STRING_MAX + 16], list_name[CFG_STRING_MAX + 16];
	bool dry_run;
	int dir, rules_watch, poll, notify;
	bool due; /* something has changed since the last rebuild began */
	mono_t next, next_look, began;
	int64_t took_ms;
	struct child child;
	char out[16], err[200];
	struct stat rules_stat, cdb_stat; /* when the rebuild began */
	struct stat ours; /* of the cdb that we made last */
	size_t in_force, building, skipped;
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
	t->next = mono_after(now, RETRY_MS);
}

static bool
is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size
		&& a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool
is_newer(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Look at both files.  Returns false, with the reason told, when nothing may be compiled now. */
static bool
look(struct tcprules *t, mono_t now)
{
	if (stat(t->rules, &t->rules_stat) < 0) {
		trouble(t, now, "%s: %s", t->rules, strerror(errno));
		return false;
	}
	if (fstatat(t->dir, t->name, &t->cdb_stat, AT_SYMLINK_NOFOLLOW) < 0) {
		trouble(t, now, "%s: %s; tcpserver turns everybody away without it: compile the rules", t->name,
			strerror(errno));
		return false;
	}
	if (!S_ISREG(t->cdb_stat.st_mode)) {
		trouble(t, now, "%s is no regular file", t->name);
		return false;
	}
	if (is_newer(&t->rules_stat.st_mtim, &t->cdb_stat.st_mtim)) {
		trouble(t, now, "%s is newer than its cdb: an edit in progress; blocks wait until it is compiled", t->rules);
		return false;
	}
	return true;
}

/* --- our lines ------------------------------------------------------------------------------- */

struct lines {
	char *at;
	size_t len, cap;
};

static bool
put(struct lines *l, const char *s, size_t n)
{
	if (l->len + n > l->cap) {
		size_t cap = (l->cap + n) * 2;
		char *at = realloc(l->at, cap);

		if (at == NULL)
			return false;
		l->at = at;
		l->cap = cap;
	}
	memcpy(l->at + l->len, s, n);
	l->len += n;
	return true;
}

/* "192.0.2.7", "192.0.2.", "192.0.2.64-127", "192.0-3.", as tcprules has them.  IPv6 has no prefixes there. */
static bool
format_address(const struct ip_prefix *p, char ret[IP_TEXT_MAX])
{
	struct text t = text_in(ret, IP_TEXT_MAX);

	if (!ip_is_v4(&p->ip) || p->bits <= V4_BITS)
		return false;
	unsigned bits = p->bits - V4_BITS, whole = bits / 8, rest = bits % 8;
	const uint8_t *b = p->ip.b + 12;

	for (unsigned i = 0; i < whole; i++) {
		text_put_u64(&t, b[i]);
		text_puts(&t, i < 3 ? "." : "");
	}
	if (rest != 0) {
		text_put_u64(&t, b[whole]);
		text_putc(&t, '-');
		text_put_u64(&t, b[whole] + (1u << (8 - rest)) - 1);
		text_puts(&t, whole < 3 ? "." : "");
	}
	return !t.cut;
}

/* All that is to be denied now, in as few prefixes as it takes. */
static struct ip_prefix *
collect(struct tcprules *t, const struct blockset *want, mono_t now, size_t *ret_n)
{
	struct ip_prefix *all = malloc((blockset_count(want) + 1) * sizeof(*all));
	const struct block *b;
	size_t cursor = 0, n = 0, max = blockset_count(want);

	t->skipped = 0;
	while (all != NULL && n < max && (b = blockset_next(want, &cursor)) != NULL) {
		if (mono_since(now, b->until) <= 0)
			continue;
		if (!ip_is_v4(&b->prefix.ip) || b->prefix.bits <= V4_BITS)
			t->skipped++;
		else
			all[n++] = b->prefix;
	}
	if (all != NULL)
		n = compact(all, n, RULES_BUDGET, NULL, NULL);
	*ret_n = n;
	return all;
}

static bool
write_rules(struct lines *l, const struct ip_prefix *all, size_t n)
{
	for (size_t i = 0; i < n && i < RULES_BUDGET; i++) {
		char line[IP_TEXT_MAX + 8];

		if (!format_address(&all[i], line))
			continue;
		(void)strncat(line, ":deny\n", sizeof(line) - strlen(line) - 1);
		if (!put(l, line, strlen(line)))
			return false;
	}
	return true;
}

/* --- compiling ------------------------------------------------------------------------------- */

/* The administrator's rules, a line feed in case the last has none, and ours, in memory that becomes tcprules' input. */
static int
make_input(const struct tcprules *t, const struct lines *ours)
{
	int from = fd_open_regular(AT_FDCWD, t->rules, 0, RULES_MAX), to = -1, r = from;
	char *text = from >= 0 ? malloc((size_t)RULES_MAX + 1) : NULL;
	ssize_t n = -1;

	if (text != NULL)
		n = fd_read_full(from, text, (size_t)RULES_MAX + 1);
	if (n >= 0 && (to = memfd_create("rules", MFD_CLOEXEC)) >= 0) {
		r = fd_write_all(to, text, (size_t)n);
		if (r == 0)
			r = fd_write_all(to, "\n", 1);
		if (r == 0)
			r = fd_write_all(to, ours->at, ours->len);
		if (r == 0 && lseek(to, 0, SEEK_SET) < 0)
			r = -errno;
		if (r < 0) {
			(void)close(to);
			to = r;
		}
	} else {
		to = from < 0 ? from : -EIO;
	}
	free(text);
	if (from >= 0)
		(void)close(from);
	return to;
}

static int
start_child(struct tcprules *t, int input)
{
	char new_path[2 * CFG_STRING_MAX + 32], temp_path[2 * CFG_STRING_MAX + 32];
	char *argv[] = { t->command, new_path, temp_path, NULL };
	char *envp[] = { NULL };

	/* By the directory that we hold, not by a path that may lead elsewhere by now. */
	(void)snprintf(new_path, sizeof(new_path), "/proc/%d/fd/%d/%s", (int)getpid(), t->dir, t->new_name);
	(void)snprintf(temp_path, sizeof(temp_path), "/proc/%d/fd/%d/%s", (int)getpid(), t->dir, t->temp_name);
	return child_start(&(struct child_spec) {
		.argv = argv, .envp = envp, .in = input, .out = t->out, .out_cap = sizeof(t->out),
		.err = t->err, .err_cap = sizeof(t->err),
	}, &t->child);
}

static void
begin(struct tcprules *t, const struct blockset *want, mono_t now)
{
	struct lines ours = { 0 };
	size_t n = 0;
	struct ip_prefix *all = collect(t, want, now, &n);

	t->due = false;
	t->began = now;
	t->building = n < RULES_BUDGET ? n : RULES_BUDGET;
	if (all == NULL || !put(&ours, LIST_HEAD, strlen(LIST_HEAD)) || !write_rules(&ours, all, n)) {
		trouble(t, now, "no memory for the rules");
		t->due = true;
	} else if (t->dry_run) {
		t->in_force = t->building;
		t->status.ok = true;
	} else {
		int input = make_input(t, &ours);
		int r = input < 0 ? input : start_child(t, input);

		if (input >= 0)
			(void)close(input);
		if (r < 0) {
			trouble(t, now, "cannot %s %s: %s", input < 0 ? "read" : "run", input < 0 ? t->rules : t->command,
				strerror(-r));
			t->due = true;
		} else {
			struct epoll_event e = { .events = EPOLLIN };

			(void)epoll_ctl(t->poll, EPOLL_CTL_ADD, t->child.poll, &e); /* without it step() finds out */
		}
	}
	free(all);
	free(ours.at);
}

/* Nobody may have touched either file meanwhile; then ours takes the place. */
static int
put_in_place(struct tcprules *t)
{
	struct stat rules, cdb, new;
	int fd = openat(t->dir, t->new_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r = fd < 0 ? -errno : 0;

	if (r == 0 && (fstat(fd, &new) < 0 || !S_ISREG(new.st_mode) || new.st_size < 2048))
		r = -EBADMSG; /* a cdb begins with 2048 bytes of its table of tables */
	/* The mode and owner of the one before: tcpserver turns everybody away when it can't read it. */
	if (r == 0 && (fchown(fd, t->cdb_stat.st_uid, t->cdb_stat.st_gid) < 0 || fchmod(fd, t->cdb_stat.st_mode & 07777) < 0))
		r = -errno;
	if (r == 0 && (stat(t->rules, &rules) < 0 || fstatat(t->dir, t->name, &cdb, AT_SYMLINK_NOFOLLOW) < 0))
		r = -errno;
	if (r == 0 && (!is_same(&rules, &t->rules_stat) || !is_same(&cdb, &t->cdb_stat)))
		r = -EAGAIN;
	if (r == 0 && renameat(t->dir, t->new_name, t->dir, t->name) < 0)
		r = -errno;
	if (r == 0 && fstat(fd, &t->ours) < 0)
		r = -errno;
	if (fd >= 0)
		(void)close(fd);
	return r;
}

/* What is in force and until when, for those who come when nobody remembers. */
static void
write_list(struct tcprules *t, const struct blockset *want, mono_t now)
{
	struct lines l = { 0 };
	int64_t wall = wall_now().ms;
	const struct block *b;
	size_t cursor = 0;
	bool ok = put(&l, LIST_HEAD, strlen(LIST_HEAD));

	while (ok && (b = blockset_next(want, &cursor)) != NULL) {
		char line[IP_PREFIX_TEXT_MAX + 48];
		struct text text = text_in(line, sizeof(line));
		int64_t left = mono_since(now, b->until);

		if (left <= 0 || !ip_is_v4(&b->prefix.ip))
			continue;
		char prefix[IP_PREFIX_TEXT_MAX];
		ip_prefix_format(&b->prefix, prefix);
		text_puts(&text, prefix);
		text_putc(&text, ' ');
		text_put_u64(&text, (uint64_t)((wall + left) / 1000 + 1));
		text_putc(&text, ' ');
		text_puts(&text, b->id[0] != '\0' ? b->id : "-");
		text_putc(&text, '\n');
		ok = put(&l, line, text.len);
	}
	/* Best effort: without it a block may stand after its time until somebody runs us again. */
	if (ok)
		(void)atomicfile_put(t->dir, &(struct atomicfile) {
			.name = t->list_name, .data = l.at, .len = l.len, .mode = 0644,
		});
	free(l.at);
}

static void
forget_temporaries(const struct tcprules *t)
{
	(void)unlinkat(t->dir, t->new_name, 0);
	(void)unlinkat(t->dir, t->temp_name, 0);
}

/* The child has ended, with `status`. */
static void
finish(struct tcprules *t, int status, const struct blockset *want, mono_t now)
{
	int r = status == 0 ? put_in_place(t) : -EINVAL;

	t->took_ms = mono_since(t->began, now);
	if (r == 0) {
		t->in_force = t->building;
		t->status.ok = true;
		t->status.text[0] = '\0';
		write_list(t, want, now);
		return;
	}
	forget_temporaries(t);
	t->due = true;
	if (r == -EAGAIN) {
		t->next = mono_after(now, GAP_MS); /* changed under our hands: look again */
	} else if (status != 0) {
		char said[160];
		struct text text = text_in(said, sizeof(said));

		text_put_printable(&text, t->err, strcspn(t->err, "\n"), 150);
		trouble(t, now, "%s", said);
	} else {
		trouble(t, now, "%s: %s", t->name, strerror(-r));
	}
}

/* --- operations ------------------------------------------------------------------------------ */

static void
tcprules_free(void *ctx)
{
	struct tcprules *t = ctx;

	if (t == NULL)
		return;
	if (t->child.pid != 0)
		child_abandon(&t->child);
	if (t->dir >= 0) {
		if (!t->dry_run)
			forget_temporaries(t);
		(void)close(t->dir);
	}
	if (t->notify >= 0)
		(void)close(t->notify);
	if (t->poll >= 0)
		(void)close(t->poll);
	free(t);
}

static int
set_names(struct tcprules *t, const struct block_cfg *cfg, struct err *why)
{
	const char *slash = strrchr(cfg->tcprules.cdb, '/');
	size_t n = slash != NULL ? (size_t)(slash - cfg->tcprules.cdb) : 0;

	if (slash == NULL || slash[1] == '\0' || strlen(slash + 1) + sizeof(LIST_SUFFIX) > ATOMICFILE_NAME_MAX)
		return err_set(why, -EINVAL, "%s: no usable file name", cfg->tcprules.cdb);
	(void)snprintf(t->dir_path, sizeof(t->dir_path), "%.*s", n > 0 ? (int)n : 1, cfg->tcprules.cdb);
	(void)snprintf(t->name, sizeof(t->name), "%s", slash + 1);
	(void)snprintf(t->new_name, sizeof(t->new_name), "%.180s" NEW_SUFFIX, t->name);
	(void)snprintf(t->temp_name, sizeof(t->temp_name), "%.180s" TEMP_SUFFIX, t->name);
	(void)snprintf(t->list_name, sizeof(t->list_name), "%.180s" LIST_SUFFIX, t->name);
	(void)snprintf(t->rules, sizeof(t->rules), "%s", cfg->tcprules.rules);
	(void)snprintf(t->command, sizeof(t->command), "%s", cfg->tcprules.command);
	t->dry_run = cfg->dry_run;
	return 0;
}

/* As for the flag: where others may put links, root does not write. */
static int
open_dir(struct tcprules *t, struct err *why)
{
	struct stat st;

	t->dir = open(t->dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->dir < 0 || fstat(t->dir, &st) < 0)
		return err_sys(why, -errno, "cannot open %s", t->dir_path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & S_IWOTH) != 0)
		return err_set(why, -EPERM, "%s belongs to uid %u or can be written by everybody; allowed: root's own", t->dir_path,
			st.st_uid);
	return 0;
}

static void
watch_files(struct tcprules *t)
{
	struct epoll_event e = { .events = EPOLLIN };
	char dir[CFG_STRING_MAX];

	/* Without any of this the looks every LOOK_MS find out. */
	t->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	t->poll = epoll_create1(EPOLL_CLOEXEC);
	if (t->notify < 0 || t->poll < 0)
		return;
	const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR;
	(void)inotify_add_watch(t->notify, t->dir_path, mask);
	(void)snprintf(dir, sizeof(dir), "%s", t->rules);
	char *slash = strrchr(dir, '/');
	if (slash != NULL && slash != dir) {
		*slash = '\0';
		(void)inotify_add_watch(t->notify, dir, mask | IN_MASK_ADD);
	}
	(void)epoll_ctl(t->poll, EPOLL_CTL_ADD, t->notify, &e);
}

static int
tcprules_init(const struct block_cfg *cfg, void **ret_ctx, struct err *why)
{
	if (cfg->tcprules.rules[0] == '\0' || cfg->tcprules.cdb[0] == '\0')
		return -ENOENT;
	struct tcprules *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_sys(why, -ENOMEM, "tcprules");
	t->dir = t->notify = t->poll = -1;
	int r = set_names(t, cfg, why);
	if (r == 0)
		r = open_dir(t, why);
	if (r < 0) {
		tcprules_free(t);
		return r;
	}
	watch_files(t);
	t->status.ok = true; /* and nothing is due: what stands there stays until we know what is wanted */
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

/* Has somebody else put another cdb in place, or other rules? */
static void
look_around(struct tcprules *t, mono_t now)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct stat cdb;
	bool told = false;

	while (t->notify >= 0 && read(t->notify, events, sizeof(events)) > 0)
		told = true;
	if (!told && now.ms < t->next_look.ms)
		return;
	t->next_look = mono_after(now, LOOK_MS);
	if (t->ours.st_ino != 0
		&& (fstatat(t->dir, t->name, &cdb, AT_SYMLINK_NOFOLLOW) < 0 || !is_same(&cdb, &t->ours)))
		t->due = true;
}

static void
tcprules_step(void *ctx, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	if (t->child.pid != 0) {
		int status = child_pump(&t->child);

		if (status == -EAGAIN && mono_since(t->began, now) > DEADLINE_MS)
			child_kill(&t->child);
		if (status != -EAGAIN)
			finish(t, status, want, now);
		return;
	}
	look_around(t, now);
	int64_t gap = t->took_ms * GAP_TIMES > GAP_MS ? t->took_ms * GAP_TIMES : GAP_MS;
	if (!t->due || now.ms < t->next.ms || (t->began.ms != 0 && mono_since(t->began, now) < gap))
		return;
	if (look(t, now))
		begin(t, want, now);
}

static void
tcprules_reconcile(void *ctx, const struct blockset *want, mono_t now)
{
	struct tcprules *t = ctx;

	(void)want;
	(void)now;
	t->due = true;
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

	if (!t->dry_run && t->in_force > 0)
		write_list(t, want, now);
}

static void
tcprules_status(void *ctx, struct block_status *ret)
{
	const struct tcprules *t = ctx;

	*ret = t->status;
	ret->ours = t->in_force;
	ret->foreign = 0;
	if (ret->ok && t->skipped > 0)
		(void)snprintf(ret->text, sizeof(ret->text), "%zu IPv6 blocks can't be expressed in tcprules", t->skipped);
}

/* --- without memory -------------------------------------------------------------------------- */

static bool
parse_line(char *line, struct block *ret, int64_t wall_s, mono_t now)
{
	char *until = strchr(line, ' '), *id = until != NULL ? strchr(until + 1, ' ') : NULL;
	uint64_t end;

	if (id == NULL)
		return false;
	*until++ = '\0';
	*id++ = '\0';
	*ret = (struct block) { .kind = BLOCK_DENY };
	if (ip_prefix_parse(line, &ret->prefix) < 0 || num_u64(until, &end) < 0 || end > INT64_MAX / 1000
		|| text_copy(ret->id, sizeof(ret->id), id) < 0)
		return false;
	ret->until = mono_after(now, ((int64_t)end - wall_s) * 1000);
	return true;
}

static int
read_list(const struct tcprules *t, struct blockset *ret, bool *ret_outdated)
{
	int fd = fd_open_regular(t->dir, t->list_name, O_NOFOLLOW, RULES_MAX);
	mono_t now = mono_now();
	int64_t wall_s = wall_now().ms / 1000;

	*ret_outdated = false;
	if (fd < 0)
		return fd;
	char *text = malloc((size_t)RULES_MAX + 1), *save = NULL;
	ssize_t n = text != NULL ? fd_read_full(fd, text, RULES_MAX) : -ENOMEM;
	(void)close(fd);
	if (n >= 0)
		text[n] = '\0';
	for (char *line = n >= 0 ? strtok_r(text, "\n", &save) : NULL; line != NULL; line = strtok_r(NULL, "\n", &save)) {
		struct block b;

		if (!parse_line(line, &b, wall_s, now))
			continue;
		if (mono_since(now, b.until) <= 0)
			*ret_outdated = true;
		else
			(void)blockset_put(ret, &b);
	}
	free(text);
	return n < 0 ? (int)n : 0;
}

/* Compile once, waiting.  Only a command does that, never the keeper. */
static int
compile_now(struct tcprules *t, const struct blockset *want, struct err *why)
{
	mono_t now = mono_now(), until = mono_after(now, DEADLINE_MS);

	if (look(t, now))
		begin(t, want, now);
	while (t->child.pid != 0 && mono_since(mono_now(), until) > 0) {
		struct epoll_event e;

		(void)epoll_wait(t->child.poll, &e, 1, 100);
		int status = child_pump(&t->child);
		if (status != -EAGAIN)
			finish(t, status, want, mono_now());
	}
	return t->status.ok ? 0 : err_set(why, -EIO, "%s", t->status.text);
}

static int
tcprules_neutral(void *ctx, bool all, struct err *why)
{
	struct tcprules *t = ctx;
	struct blockset *want;
	bool outdated;
	int r = blockset_new(RULES_BUDGET, &want);

	if (r < 0)
		return err_sys(why, r, "tcprules");
	r = read_list(t, want, &outdated);
	if (r == -ENOENT) { /* nothing of ours is in there */
		blockset_free(want);
		return 0;
	}
	if (all) {
		blockset_free(want);
		if ((r = blockset_new(1, &want)) < 0)
			return err_sys(why, r, "tcprules");
	}
	r = all || outdated ? compile_now(t, want, why) : 0;
	if (r == 0 && all)
		(void)unlinkat(t->dir, t->list_name, 0);
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
	.fd = tcprules_fd,
	.clock_set = tcprules_clock_set,
	.status = tcprules_status,
	.neutral = tcprules_neutral,
	.free = tcprules_free,
};
