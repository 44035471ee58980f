/* SPDX-License-Identifier: ISC */
/*
 * tcprulesrig - what the tests of actions/tcprules.c share: rules of an administrator, an action on them, and its turns
 *
 * The real tcprules does the work.  Each test begins with begin() and ends with end(); in between start() is the keeper that
 * comes up, and await_...() lets it take its turns.  The time that a test does not wait for is added to `skew_ms`.
 */
#ifndef TESTS_UNIT_TCPRULESRIG_H
#define TESTS_UNIT_TCPRULESRIG_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "actions/block.h"
#include "lib/text.h"
#include "tests/unit/cdbread.h"
#include "tests/unit/kit.h"

#define TCPRULES "/usr/bin/tcprules"
#define TCPRULESCHECK "/usr/bin/tcprulescheck"
#define PATIENCE_MS 20000
#define NOBODY 65534
#define MINUTE_MS 60000

/* --- the clocks ------------------------------------------------------------------------------ */

static int64_t wall_skew_s; /* somebody has set the wall clock */

/* For wall_now(); the files' times are the kernel's. */
int
clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (r == 0 && id == CLOCK_REALTIME)
		ret->tv_sec += wall_skew_s;
	return r;
}

static int64_t skew_ms; /* the time that a test does not wait for */

static inline mono_t
now(void)
{
	return mono_after(mono_now(), skew_ms);
}

/* --- a directory, rules, and an action on it ------------------------------------------------- */

static char dir[KIT_PATH_MAX], rules_path[KIT_PATH_MAX], cdb_path[KIT_PATH_MAX], list_path[KIT_PATH_MAX];
static char fake_path[KIT_PATH_MAX];
static struct block_cfg cfg;
static struct blockset *want;
static void *ctx;

/* Run it; returns what wait() says.  With `out`: its stdout and stderr, cut at `cap`. */
static inline int
run(char *const argv[], const char *stdin_path, const char *env, char *out, size_t cap)
{
	char *const envp[] = { (char *)(uintptr_t)env, NULL };
	int fd[2], status;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int in = open(stdin_path != NULL ? stdin_path : "/dev/null", O_RDONLY);

		if (in < 0 || dup2(in, 0) < 0 || dup2(fd[1], 1) < 0 || dup2(fd[1], 2) < 0)
			_exit(126);
		(void)execve(argv[0], argv, envp);
		_exit(127);
	}
	(void)close(fd[1]);
	for (size_t n = 0;;) {
		char scrap[512];
		ssize_t got = out != NULL && n + 1 < cap ? read(fd[0], out + n, cap - n - 1) : read(fd[0], scrap, sizeof(scrap));

		if (got <= 0)
			break;
		if (out != NULL && n + 1 < cap)
			out[n += (size_t)got] = '\0';
	}
	(void)close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

/* As the administrator does: in place, not through a rename. */
static inline void
edit(const char *text)
{
	kit_puts(dir, "tcp.smtp", text);
}

static inline void
set_age(const char *path, int64_t seconds)
{
	struct timespec ts[2];

	assert_int_equal(syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts[0]), 0);
	ts[0].tv_sec -= seconds;
	ts[1] = ts[0];
	assert_int_equal(utimensat(AT_FDCWD, path, ts, 0), 0);
}

static inline int
compile_to(const char *name)
{
	char command[] = TCPRULES, path[KIT_PATH_MAX], temp[KIT_PATH_MAX];

	return run((char *[]) { command, kit_path(path, dir, name), kit_path(temp, dir, "admin.tmp"), NULL }, rules_path, NULL,
		NULL, 0);
}

/* The administrator's own way of it. */
static inline void
compile(void)
{
	assert_int_equal(compile_to("tcp.smtp.cdb"), 0);
}

static inline void
start(void)
{
	struct err why;

	assert_null(ctx);
	assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), 0);
	block_tcprules.reconcile(ctx, want, now());
}

static inline void
stop(void)
{
	block_tcprules.free(ctx);
	ctx = NULL;
}

/* Rules of the administrator, compiled, not just now; and the action. */
static inline void
begin(const char *text)
{
	block_tcprules.free(ctx); /* of a test that failed */
	ctx = NULL;
	blockset_free(want);
	kit_tree(dir);
	(void)kit_path(rules_path, dir, "tcp.smtp");
	(void)kit_path(cdb_path, dir, "tcp.smtp.cdb");
	(void)kit_path(list_path, dir, "tcp.smtp.cdb.spillway");
	(void)kit_path(fake_path, dir, "faketcprules");
	edit(text);
	set_age(rules_path, 100);
	compile();
	cfg = (struct block_cfg) { .dry_run = false };
	kit_format(cfg.tcprules.rules, sizeof(cfg.tcprules.rules), "%s", rules_path);
	kit_format(cfg.tcprules.cdb, sizeof(cfg.tcprules.cdb), "%s", cdb_path);
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), TCPRULES);
	skew_ms = 0;
	wall_skew_s = 0;
	assert_int_equal(blockset_new(200000, &want), 0);
}

static inline void
end(void)
{
	block_tcprules.free(ctx);
	ctx = NULL;
	blockset_free(want);
	want = NULL;
	kit_remove(dir);
}

static inline struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static inline void
block_prefix(const struct ip_prefix *p, int64_t ms)
{
	struct block b = { .prefix = *p, .kind = BLOCK_DENY, .until = mono_after(now(), ms), .id = "k7m2q" };

	assert_int_equal(blockset_put(want, &b), 0);
	if (ctx != NULL)
		block_tcprules.change(ctx, p, &b, want, now());
}

static inline void
block(const char *text)
{
	struct ip_prefix p = prefix(text);

	block_prefix(&p, 10 * MINUTE_MS);
}

static inline void
unblock(const char *text)
{
	struct ip_prefix p = prefix(text);

	assert_true(blockset_remove(want, &p));
	if (ctx != NULL)
		block_tcprules.change(ctx, &p, NULL, want, now());
}

/* --- turns ----------------------------------------------------------------------------------- */

static inline struct block_status
status(void)
{
	struct block_status s;

	block_tcprules.status(ctx, &s);
	return s;
}

/* One turn of the keeper's loop; returns whether something woke it. */
static inline bool
turn(int ms)
{
	struct pollfd p = { .fd = block_tcprules.fd(ctx), .events = POLLIN };
	bool woken = poll(&p, 1, ms) > 0;

	block_tcprules.step(ctx, want, now());
	return woken;
}

static inline void
turn_for(int ms)
{
	mono_t until = mono_after(mono_now(), ms);

	while (mono_since(mono_now(), until) > 0)
		(void)turn(10);
}

static inline char
verdict(const char *ip)
{
	struct cdbread c;
	size_t key;

	if (!cdbread_load(cdb_path, &c))
		return '?';
	char v = cdbread_verdict(&c, ip, &key);
	cdbread_free(&c);
	return v;
}

/* Until this address is answered so. */
static inline void
await_verdict(const char *ip, char expected)
{
	mono_t until = mono_after(mono_now(), PATIENCE_MS);

	while (verdict(ip) != expected) {
		if (mono_since(mono_now(), until) < 0)
			fail_msg("%s is '%c', not '%c'; status: %s", ip, verdict(ip), expected, status().text);
		(void)turn(10);
	}
}

/* Until all is well and nothing is left to do. */
static inline void
await_ours(size_t n)
{
	mono_t until = mono_after(mono_now(), PATIENCE_MS);

	for (struct block_status s = status(); !s.ok || s.ours != n; s = status()) {
		if (mono_since(mono_now(), until) < 0)
			fail_msg("%zu blocks are in force, not %zu; status: %s", s.ours, n, s.text);
		(void)turn(10);
	}
}

static inline void
await_trouble(const char *part)
{
	mono_t until = mono_after(mono_now(), PATIENCE_MS);

	for (struct block_status s = status(); s.ok || strstr(s.text, part) == NULL; s = status()) {
		if (mono_since(mono_now(), until) < 0)
			fail_msg("status is \"%s\", not \"%s\"", s.text, part);
		(void)turn(10);
	}
}

/* Until all is well but for some blocks that it can't bring into force. */
static inline void
await_left_out(const char *part)
{
	mono_t until = mono_after(mono_now(), PATIENCE_MS);

	for (struct block_status s = status(); !s.ok || strstr(s.text, part) == NULL; s = status()) {
		if (mono_since(mono_now(), until) < 0)
			fail_msg("status is \"%s\", not \"%s\"", s.text, part);
		(void)turn(10);
	}
}

/* The time for another try has come. */
static inline void
let_retry(void)
{
	skew_ms += 6000;
}

/* --- looking at files ------------------------------------------------------------------------ */

static inline struct stat
stat_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st;
}

static inline bool
is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline bool
is_same_file(const char *a, const char *b)
{
	struct cdbread x = { 0 }, y = { 0 };

	assert_true(cdbread_load(a, &x) && cdbread_load(b, &y));
	bool same = x.len == y.len && memcmp(x.at, y.at, x.len) == 0;
	cdbread_free(&x);
	cdbread_free(&y);
	return same;
}

/* Is the cdb just what the administrator would have compiled? */
static inline void
assert_as_compiled(void)
{
	char plain[KIT_PATH_MAX];

	assert_int_equal(compile_to("plain.cdb"), 0);
	assert_true(is_same_file(cdb_path, kit_path(plain, dir, "plain.cdb")));
	assert_int_equal(unlink(plain), 0);
}

/* Nothing in the directory but these. */
static inline void
assert_only(const char *const names[])
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		size_t i = 0;

		while (names[i] != NULL && strcmp(names[i], e->d_name) != 0)
			i++;
		if (names[i] == NULL && e->d_name[0] != '.')
			fail_msg("%s is left over", e->d_name);
	}
	(void)closedir(d);
}

static inline void
assert_tidy(void)
{
	static const char *const names[] = { "tcp.smtp", "tcp.smtp.cdb", "tcp.smtp.cdb.spillway", "faketcprules", NULL };

	assert_only(names);
}

static inline size_t
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

/* In place of tcprules. */
static inline void
fake(const char *script)
{
	char text[1024];

	kit_format(text, sizeof(text), "#!/bin/sh\n%s\n", script);
	kit_write(dir, "faketcprules.new", text, strlen(text), 0755);
	char from[KIT_PATH_MAX];
	assert_int_equal(rename(kit_path(from, dir, "faketcprules.new"), fake_path), 0);
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), "%s", fake_path);
}

/* For main().  Each compile syncs its file: on a disk, hundreds of them take minutes. */
static inline bool
rig_is_possible(void)
{
	struct statvfs fs;

	if (kit_is_slow()) {
		print_message("1..0 # SKIP valgrind knows no pidfd_open\n");
		return false;
	}
	if (access(TCPRULES, X_OK) != 0) {
		print_message("1..0 # SKIP no " TCPRULES "\n");
		return false;
	}
	if (statvfs("/dev/shm", &fs) == 0 && (fs.f_flag & (ST_NOEXEC | ST_RDONLY)) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return true;
}

#endif
