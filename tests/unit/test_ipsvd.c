/* SPDX-License-Identifier: ISC */
/*
 * The action ipsvd as a whole, on a directory of our own: what is wanted is what is there, whatever happens meanwhile.
 *
 * The boot clock is ours, by the `now` that is passed; the wall clock is the real one and an offset of ours.  A
 * process that looks like tcpsvd stands in for it (tcpsvd.h): here it is about files; what the real one makes of
 * them tests/e2e/ipsvd.sh shows.
 */
#include "actions/ipsvd_file.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>

#include "actions/block.h"
#include "tests/hostile.h"
#include "tests/unit/kit.h"
#include "tests/unit/tcpsvd.h"

#define T 120 /* seconds: -t */
#define MAX 10000
#define FILES 5000 /* take longer than a step, on any machine */
#define SECOND 1000
#define EXCHANGES 100000
#define NOBODY 65534

static int64_t wall_offset_s;

int
clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_REALTIME)
		ret->tv_sec += wall_offset_s;
	return r;
}

/* --- an action on a directory of its own ----------------------------------------------------- */

static char top[KIT_PATH_MAX], path[KIT_PATH_MAX], away[KIT_PATH_MAX];
static struct block_cfg cfg;
static struct blockset *want;
static void *action;
static mono_t now;
static pid_t tcpsvd;

static int
make_top(void **state)
{
	(void)state;
	kit_tree(top);
	(void)kit_path(path, top, "inst");
	(void)kit_path(away, top, "away");
	return 0;
}

static int
remove_top(void **state)
{
	(void)state;
	kit_remove(top);
	return 0;
}

static void
open_action(void)
{
	struct err why;

	assert_int_equal(block_ipsvd.init(&cfg, &action, &why), 0);
}

static int
begin(void **state)
{
	(void)state;
	tcpsvd_stop_all(); /* of a test that failed */
	kit_remove(path);
	kit_remove(away);
	kit_mkdir(top, "inst");
	memset(&cfg, 0, sizeof(cfg));
	kit_format(cfg.ipsvd.dir, sizeof(cfg.ipsvd.dir), "%s", path);
	cfg.ipsvd.timeout_ms = T * SECOND;
	assert_int_equal(blockset_new(MAX, &want), 0);
	now.ms = 5000000;
	wall_offset_s = 0;
	tcpsvd = tcpsvd_start(path, "120", true);
	open_action();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	block_ipsvd.free(action);
	blockset_free(want);
	tcpsvd_stop_all();
	return 0;
}

static bool
has_work(void)
{
	struct pollfd p = { .fd = block_ipsvd.fd(action), .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static void
step(void)
{
	do
		block_ipsvd.step(action, want, now);
	while (has_work());
}

/* Some seconds go by, one step in each. */
static void
pass(int seconds)
{
	for (int i = 0; i < seconds; i++) {
		now.ms += SECOND;
		step();
	}
}

/* As the keeper begins. */
static void
start(void)
{
	block_ipsvd.reconcile(action, want, now);
	step();
}

static struct block_status
status(void)
{
	struct block_status s;

	block_ipsvd.status(action, &s);
	return s;
}

static void
assert_status(size_t ours, size_t foreign)
{
	struct block_status s = status();

	if (!s.ok)
		fail_msg("not ok: %s", s.text);
	assert_int_equal(s.ours, ours);
	assert_int_equal(s.foreign, foreign);
}

static void
assert_not_ok(const char *why)
{
	struct block_status s = status();

	assert_false(s.ok);
	if (strstr(s.text, why) == NULL)
		fail_msg("\"%s\" is not in: %s", why, s.text);
}

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

/* Put it into the set alone: a change that the action is not told. */
static struct ip_prefix
wish(const char *text, enum block_kind kind, int seconds)
{
	struct block b = {
		.prefix = prefix(text), .kind = kind, .until = mono_after(now, (int64_t)seconds * SECOND), .id = "e1",
	};

	assert_int_equal(blockset_put(want, &b), 0);
	return b.prefix;
}

static void
put(const char *text, enum block_kind kind, int seconds)
{
	struct ip_prefix p = wish(text, kind, seconds);

	block_ipsvd.change(action, &p, blockset_find(want, &p), want, now);
}

static void
take(const char *text)
{
	struct ip_prefix p = prefix(text);

	assert_true(blockset_remove(want, &p));
	block_ipsvd.change(action, &p, NULL, want, now);
}

static const char *
file_path(const char *name)
{
	static char ret[KIT_PATH_MAX];

	return kit_path(ret, path, name);
}

static bool
is_there(const char *name)
{
	struct stat st;

	return lstat(file_path(name), &st) == 0;
}

/* "deny", "explain", "throttle", "-" (absent) or "other". */
static const char *
kind_of(const char *name)
{
	struct stat st;

	if (lstat(file_path(name), &st) < 0)
		return "-";
	if (!S_ISREG(st.st_mode) || st.st_mtim.tv_sec > 430000000)
		return "other";
	return (st.st_mode & 07777) == 0200 ? "deny" : (st.st_mode & 07777) == 0755 ? "explain"
		: (st.st_mode & 07777) == 0644 ? "throttle" : "other";
}

/* Seconds until tcpsvd lets it pass. */
static int64_t
left_s(const char *name)
{
	struct stat st;
	struct timespec ts;

	assert_int_equal(lstat(file_path(name), &st), 0);
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return st.st_atim.tv_sec + T - ts.tv_sec;
}

static size_t
count_files(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n - 2;
}

/* --- when it writes, and when it doesn't ----------------------------------------------------- */

static void
init_refuses_what_cannot_work(void **state)
{
	struct block_cfg bad = cfg;
	struct err why;
	void *ctx = NULL;

	(void)state;
	bad.ipsvd.dir[0] = '\0';
	assert_int_equal(block_ipsvd.init(&bad, &ctx, &why), -ENOENT);
	kit_format(bad.ipsvd.dir, sizeof(bad.ipsvd.dir), "inst");
	assert_int_equal(block_ipsvd.init(&bad, &ctx, &why), -EINVAL);
	assert_non_null(strstr(why.text, "absolute"));
	bad = cfg;
	bad.ipsvd.timeout_ms = 1500;
	assert_int_equal(block_ipsvd.init(&bad, &ctx, &why), -EINVAL);
	bad.ipsvd.timeout_ms = 0;
	assert_int_equal(block_ipsvd.init(&bad, &ctx, &why), -EINVAL);
	assert_null(ctx);
	block_ipsvd.free(NULL);
}

static void
nothing_is_written_before_tcpsvd_was_seen(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	assert_false(is_there("192.0.2.1"));
	assert_false(status().ok);
	start();
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_status(1, 0);
}

static void
nothing_is_written_without_tcpsvd_and_what_is_there_stays(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	tcpsvd_stop(tcpsvd);
	pass(30);
	assert_not_ok("no tcpsvd runs with -i");
	put("192.0.2.2", BLOCK_DENY, 600);
	pass(1);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_string_equal(kind_of("192.0.2.2"), "-");
	take("192.0.2.1"); /* what is there of ours still goes when it is not wanted */
	assert_string_equal(kind_of("192.0.2.1"), "-");
	tcpsvd = tcpsvd_start(path, "120", false);
	pass(2); /* it is looked for often, while there is none */
	assert_string_equal(kind_of("192.0.2.2"), "deny");
	assert_status(1, 0);
}

static void
under_another_timeout_ours_is_taken_back(void **state)
{
	static const char *const seconds[] = { "300", "12", "0", NULL };

	(void)state;
	kit_puts(path, "192.0.2.77", "+RELAYCLIENT=\n");
	put("192.0.2.1", BLOCK_DENY, 600);
	put("192.0.2.2", BLOCK_EXPLAIN, 600);
	start();
	for (size_t i = 0; i < countof(seconds); i++) {
		assert_status(2, 1);
		pid_t other = tcpsvd_start(path, seconds[i], true); /* one more, beside the right one */
		pass(30);
		assert_not_ok(i < 2 ? "blocks.ipsvd.timeout is 120" : "without -t");
		assert_int_equal(status().ours, 0);
		assert_int_equal(count_files(path), 1);
		put("192.0.2.3", BLOCK_DENY, 600);
		pass(3);
		assert_int_equal(count_files(path), 1);
		take("192.0.2.3");
		tcpsvd_stop(other);
		pass(3);
	}
	assert_status(2, 1);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_string_equal(kind_of("192.0.2.77"), "other");
}

static void
a_user_with_a_forged_command_line_changes_nothing(void **state)
{
	const char *const wrong[] = { "tcpsvd", "-i", path, "-t", "300", "0", "25", "p", NULL };
	const char *const right[] = { "tcpsvd", "-i", path, "-t", "120", "0", "25", "p", NULL };
	const struct tcpsvd_how nobody = { .nobody = true };

	(void)state;
	if (geteuid() != 0)
		skip();
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	pid_t forged = tcpsvd_start_as(&nobody, wrong);
	pass(31);
	assert_status(1, 0);
	tcpsvd_stop(forged);
	tcpsvd_stop(tcpsvd);
	forged = tcpsvd_start_as(&nobody, right);
	tcpsvd = forged;
	pass(31);
	assert_not_ok("was not started by root");
	put("192.0.2.2", BLOCK_DENY, 600);
	assert_string_equal(kind_of("192.0.2.2"), "-");
}

/* --- one block ------------------------------------------------------------------------------- */

static void
each_file_has_an_end_of_its_own(void **state)
{
	static const int seconds[] = { 1, 2, 60, T - 1, T, T + 1, 600, 86400, 100000000 };
	char text[32];

	(void)state;
	start();
	for (size_t i = 0; i < countof(seconds); i++) {
		kit_format(text, sizeof(text), "192.0.2.%zu", i);
		put(text, BLOCK_DENY, seconds[i]);
		/* Not early; and late by less than the two seconds of a rounding up and a tick meanwhile. */
		assert_in_range(left_s(text), seconds[i], seconds[i] + 1);
	}
	/* For ever is a hundred years. */
	struct block b = { .prefix = prefix("192.0.2.99"), .until = { INT64_MAX } };
	assert_int_equal(blockset_put(want, &b), 0);
	block_ipsvd.change(action, &b.prefix, &b, want, now);
	assert_true(left_s("192.0.2.99") > INT64_C(3000000000));
}

static void
a_block_that_changes_changes_its_file(void **state)
{
	(void)state;
	start();
	put("192.0.2.1", BLOCK_DENY, 60);
	put("192.0.2.1", BLOCK_DENY, 6000);
	assert_in_range(left_s("192.0.2.1"), 6000, 6001);
	put("192.0.2.1", BLOCK_EXPLAIN, 6000);
	assert_string_equal(kind_of("192.0.2.1"), "explain");
	put("192.0.2.1", BLOCK_THROTTLE, 7000);
	assert_string_equal(kind_of("192.0.2.1"), "throttle");
	assert_in_range(left_s("192.0.2.1"), 7000, 7001);
	put("192.0.2.1", BLOCK_DENY, 50);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_in_range(left_s("192.0.2.1"), 50, 51);
	pass(2);
	assert_status(1, 0);
	take("192.0.2.1");
	assert_int_equal(count_files(path), 0);
	assert_status(0, 0);
	put("192.0.2.1", BLOCK_DENY, 0); /* over already */
	assert_int_equal(count_files(path), 0);
	pass(1);
	assert_status(0, 0);
}

static void
readable_kinds_are_for_lifetimes_beyond_the_timeout(void **state)
{
	(void)state;
	start();
	put("192.0.2.1", BLOCK_EXPLAIN, T);
	put("192.0.2.2", BLOCK_EXPLAIN, T + 1);
	put("192.0.2.3", BLOCK_THROTTLE, 5);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_string_equal(kind_of("192.0.2.2"), "explain");
	assert_string_equal(kind_of("192.0.2.3"), "deny");
	now.ms += 3 * SECOND; /* less is left of it now than the timeout, but it is there and right */
	wall_offset_s += 3;
	start();
	assert_string_equal(kind_of("192.0.2.2"), "explain");
	assert_int_equal(unlink(file_path("192.0.2.2")), 0);
	start();
	assert_string_equal(kind_of("192.0.2.2"), "deny");
}

static void
throttle_is_only_where_tcpsvd_counts(void **state)
{
	(void)state;
	put("192.0.2.0/24", BLOCK_DENY, 600);
	put("192.0.2.1", BLOCK_THROTTLE, 600);
	start();
	assert_string_equal(kind_of("192.0.2.1"), "throttle");
	assert_status(2, 0);
	tcpsvd_stop(tcpsvd);
	tcpsvd = tcpsvd_start(path, "120", false);
	pass(32);
	assert_string_equal(kind_of("192.0.2.1"), "-"); /* it would only let it past the deny */
	assert_status(1, 0);
	assert_non_null(strstr(status().text, "1 blocks can't be instruction files"));
	put("192.0.2.2", BLOCK_THROTTLE, 600);
	pass(2);
	assert_non_null(strstr(status().text, "2 blocks can't"));
	assert_int_equal(count_files(path), 1);
	tcpsvd_stop(tcpsvd);
	tcpsvd = tcpsvd_start(path, "120", true);
	pass(32);
	assert_string_equal(kind_of("192.0.2.1"), "throttle");
	assert_status(3, 0);
	assert_string_equal(status().text, "");
}

/* --- prefixes -------------------------------------------------------------------------------- */

static void
prefixes_are_files_of_octets(void **state)
{
	(void)state;
	start();
	put("10.0.0.0/8", BLOCK_DENY, 600);
	put("172.16.0.0/16", BLOCK_DENY, 600);
	put("192.0.2.0/24", BLOCK_DENY, 600);
	put("198.51.100.7", BLOCK_DENY, 600);
	assert_string_equal(kind_of("10"), "deny");
	assert_string_equal(kind_of("172.16"), "deny");
	assert_string_equal(kind_of("192.0.2"), "deny");
	assert_string_equal(kind_of("198.51.100.7"), "deny");
	assert_int_equal(count_files(path), 4);
	put("203.0.113.64/29", BLOCK_DENY, 600);
	assert_int_equal(count_files(path), 12);
	assert_string_equal(kind_of("203.0.113.64"), "deny");
	assert_string_equal(kind_of("203.0.113.71"), "deny");
	assert_string_equal(kind_of("203.0.113.72"), "-");
	put("203.1.0.0/17", BLOCK_DENY, 600);
	assert_int_equal(count_files(path), 140);
	assert_string_equal(kind_of("203.1.127"), "deny");
	assert_status(6, 0); /* blocks, not files */
	take("203.1.0.0/17");
	take("203.0.113.64/29");
	assert_int_equal(count_files(path), 4);
	pass(2);
	assert_status(4, 0);
}

static void
what_cannot_be_expressed_is_counted_and_nobody_is_everybody(void **state)
{
	(void)state;
	start();
	put("2001:db8::/64", BLOCK_DENY, 600);
	put("0.0.0.0/0", BLOCK_DENY, 600);
	put("0.0.0.0/8", BLOCK_DENY, 600);
	pass(2);
	assert_int_equal(count_files(path), 0);
	assert_status(0, 0);
	assert_non_null(strstr(status().text, "3 blocks can't"));
	put("0.0.0.0/7", BLOCK_DENY, 600);
	assert_int_equal(count_files(path), 1);
	assert_string_equal(kind_of("1"), "deny");
	kit_write(path, "0", "", 0, 0200); /* an administrator closes the server */
	start();
	assert_status(1, 1);
	take("0.0.0.0/7");
	take("0.0.0.0/8");
	start();
	assert_int_equal(count_files(path), 1);
	assert_string_equal(kind_of("0"), "other");
	pass(2);
	assert_non_null(strstr(status().text, "2 blocks can't"));
	assert_int_equal(kind_of("0")[0], 'o');
	assert_int_equal(unlink(file_path("0")), 0);
}

static void
of_several_blocks_of_one_name_the_longest_prefix_counts_then_the_next(void **state)
{
	(void)state;
	start();
	put("192.0.2.0/30", BLOCK_DENY, 600);
	put("192.0.2.2/31", BLOCK_EXPLAIN, 500);
	put("192.0.2.3", BLOCK_THROTTLE, 400);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_string_equal(kind_of("192.0.2.2"), "explain");
	assert_string_equal(kind_of("192.0.2.3"), "throttle");
	assert_in_range(left_s("192.0.2.1"), 600, 601);
	assert_in_range(left_s("192.0.2.2"), 500, 501);
	assert_in_range(left_s("192.0.2.3"), 400, 401);
	take("192.0.2.2/31");
	assert_string_equal(kind_of("192.0.2.2"), "deny");
	assert_string_equal(kind_of("192.0.2.3"), "throttle");
	put("192.0.2.2/31", BLOCK_EXPLAIN, 1000);
	assert_string_equal(kind_of("192.0.2.3"), "throttle");
	pass(401); /* the first ends */
	assert_string_equal(kind_of("192.0.2.3"), "explain");
	take("192.0.2.0/30");
	assert_string_equal(kind_of("192.0.2.0"), "-");
	assert_string_equal(kind_of("192.0.2.2"), "explain");
	assert_status(1, 0);
	pass(600);
	assert_int_equal(count_files(path), 0);
	assert_status(0, 0);
}

/* --- others ---------------------------------------------------------------------------------- */

static void
files_of_others_stay_and_are_counted(void **state)
{
	struct stat before, after;
	struct err why;

	(void)state;
	kit_write(path, "192.0.2.1", "", 0, 0200);
	kit_puts(path, "192.0.2.9", "+RELAYCLIENT=\n");
	kit_puts(path, "host.example", "C1\n");
	kit_puts(path, ".hidden", "");
	assert_int_equal(symlink("/etc/passwd", file_path("192.0.2.8")), 0);
	assert_int_equal(stat(file_path("192.0.2.1"), &before), 0);
	put("192.0.2.1", BLOCK_DENY, 600);
	put("192.0.2.2", BLOCK_DENY, 600);
	put("192.0.2.8", BLOCK_EXPLAIN, 600);
	start();
	assert_status(1, 4);
	put("192.0.2.1", BLOCK_EXPLAIN, 900);
	put("192.0.2.9", BLOCK_DENY, 900);
	take("192.0.2.8");
	take("192.0.2.1");
	block_ipsvd.clock_set(action, want, now);
	step();
	assert_int_equal(block_ipsvd.neutral(action, true, &why), 0);
	assert_int_equal(stat(file_path("192.0.2.1"), &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(count_files(path), 5);
	pass(12);
	assert_status(1, 4);
}

static void
what_others_remove_is_there_again(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	put("192.0.2.2", BLOCK_EXPLAIN, 600);
	put("192.0.2.3", BLOCK_DENY, 600);
	kit_puts(path, "192.0.2.4", "");
	put("192.0.2.4", BLOCK_DENY, 600);
	start();
	pass(3);
	assert_status(3, 1);
	assert_int_equal(unlink(file_path("192.0.2.1")), 0);
	assert_int_equal(rename(file_path("192.0.2.2"), away), 0);
	assert_int_equal(rename(file_path("192.0.2.4"), away), 0);
	kit_puts(path, "new", "C1\n");
	char new[KIT_PATH_MAX];
	assert_int_equal(rename(kit_path(new, path, "new"), file_path("192.0.2.3")), 0);
	pass(12);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_string_equal(kind_of("192.0.2.2"), "explain");
	assert_string_equal(kind_of("192.0.2.3"), "other");
	assert_string_equal(kind_of("192.0.2.4"), "deny");
	assert_status(3, 1);
}

static void
l9_lost_events_are_made_up_for(void **state)
{
	char name[IPSVD_NAME_MAX], other[KIT_PATH_MAX];

	(void)state;
	for (int i = 0; i < 100; i++) {
		kit_format(name, sizeof(name), "192.0.2.%d", i);
		(void)wish(name, BLOCK_DENY, 6000);
	}
	start();
	assert_status(100, 0);
	kit_puts(path, ".a", "");
	(void)kit_path(other, path, ".b");
	for (int i = 0; i < 4500; i++) /* four events each, and the kernel keeps 16,384 */
		assert_true(rename(file_path(".a"), other) == 0 && rename(other, file_path(".a")) == 0);
	for (int i = 0; i < 100; i++) {
		kit_format(name, sizeof(name), "192.0.2.%d", i);
		assert_int_equal(unlink(file_path(name)), 0);
	}
	pass(12);
	assert_int_equal(count_files(path), 101);
	assert_status(100, 0);
}

/* --- runs ------------------------------------------------------------------------------------ */

static void
reconcile_mends_everything_and_nothing_before_it_is_called(void **state)
{
	const struct timespec back[2] = { { .tv_sec = 1795220246 }, { .tv_nsec = UTIME_OMIT } };

	(void)state;
	put("192.0.2.1", BLOCK_DENY, 6000);
	put("192.0.2.2", BLOCK_DENY, 6000);
	put("192.0.2.3", BLOCK_EXPLAIN, 6000);
	put("192.0.2.4", BLOCK_DENY, 6000);
	start();
	block_ipsvd.free(action);
	/* What another of us left: a right one, a missing one, a wrong time, one unfinished, leftovers of both kinds. */
	assert_int_equal(unlink(file_path("192.0.2.2")), 0);
	assert_int_equal(utimensat(AT_FDCWD, file_path("192.0.2.3"), back, 0), 0);
	assert_int_equal(chmod(file_path("192.0.2.4"), 01200), 0);
	(void)blockset_remove(want, &(struct ip_prefix) { .bits = 0 });
	open_action();
	put("192.0.2.200", BLOCK_DENY, 6000);
	put("192.0.2.201", BLOCK_EXPLAIN, 6000);
	step();
	assert_int_equal(count_files(path), 3); /* nothing goes before it is told what is wanted */
	start();
	take("192.0.2.200");
	pass(1);
	block_ipsvd.free(action);
	struct ip_prefix p = prefix("192.0.2.201");
	(void)blockset_remove(want, &p); /* unknown to the next one */
	kit_write(path, "192.0.2.202", "", 0, 01200);
	open_action();
	pass(3);
	assert_int_equal(count_files(path), 6);
	start();
	assert_int_equal(count_files(path), 4);
	assert_status(4, 0);
	assert_string_equal(kind_of("192.0.2.2"), "deny");
	assert_string_equal(kind_of("192.0.2.3"), "explain");
	assert_string_equal(kind_of("192.0.2.4"), "deny");
	for (int i = 1; i <= 4; i++) {
		char name[IPSVD_NAME_MAX];

		kit_format(name, sizeof(name), "192.0.2.%d", i);
		assert_in_range(left_s(name), 5990, 6001);
	}
}

static void
a_run_goes_in_steps_and_says_that_there_is_more(void **state)
{
	char name[IPSVD_NAME_MAX];
	int steps = 0;

	(void)state;
	for (int i = 0; i < FILES; i++) {
		kit_format(name, sizeof(name), "10.0.%d.%d", i / 256, i % 256);
		(void)wish(name, BLOCK_DENY, 6000);
	}
	block_ipsvd.reconcile(action, want, now);
	do {
		block_ipsvd.step(action, want, now);
		steps++;
	} while (has_work());
	assert_in_range(steps, 3, FILES);
	assert_int_equal(count_files(path), FILES);
	assert_status(FILES, 0);
}

static void
ends_are_kept_whether_or_not_the_caller_removes_them(void **state)
{
	(void)state;
	start();
	put("192.0.2.1", BLOCK_DENY, 10);
	put("192.0.2.2", BLOCK_EXPLAIN, 200);
	put("192.0.2.3", BLOCK_DENY, 30);
	put("192.0.2.0/28", BLOCK_DENY, 20);
	pass(9);
	assert_int_equal(count_files(path), 16);
	pass(1);
	assert_string_equal(kind_of("192.0.2.1"), "deny"); /* of the longer one */
	assert_in_range(left_s("192.0.2.1"), 20 - 10, 20 + 1); /* the wall clock has not gone on with ours */
	pass(10);
	assert_int_equal(count_files(path), 2);
	assert_status(2, 0);
	take("192.0.2.1"); /* told late */
	assert_int_equal(count_files(path), 2);
	pass(10);
	assert_int_equal(count_files(path), 1);
	pass(170);
	assert_int_equal(count_files(path), 0);
	assert_status(0, 0);
	/* One that somebody made his own in time stays. */
	put("192.0.2.5", BLOCK_DENY, 10);
	assert_int_equal(utimensat(AT_FDCWD, file_path("192.0.2.5"), NULL, 0), 0);
	pass(12);
	assert_string_equal(kind_of("192.0.2.5"), "other");
}

static void
t1_when_the_wall_clock_is_set_the_times_are_written_anew(void **state)
{
	static const int64_t offsets[] = { -7200, 864000, -86400 * 365, 3600 };

	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	put("192.0.2.2", BLOCK_EXPLAIN, 6000);
	start();
	for (size_t i = 0; i < countof(offsets); i++) {
		wall_offset_s = offsets[i];
		block_ipsvd.clock_set(action, want, now);
		step();
		assert_in_range(left_s("192.0.2.1"), 600, 601);
		assert_in_range(left_s("192.0.2.2"), 6000, 6001);
		assert_string_equal(kind_of("192.0.2.2"), "explain");
		assert_status(2, 0);
	}
}

/* --- the directory --------------------------------------------------------------------------- */

static void
make_away(void)
{
	assert_int_equal(rename(path, away), 0);
}

static void
directory_missing_is_told_loudly_never_made_and_heals(void **state)
{
	struct stat st;
	struct err why;

	(void)state;
	make_away();
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	assert_not_ok("MISSING");
	assert_not_ok("EVERYBODY");
	assert_int_equal(block_ipsvd.neutral(action, true, &why), -ENOENT);
	pass(3);
	assert_true(lstat(path, &st) < 0);
	assert_int_equal(rename(away, path), 0);
	pass(1);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
	assert_status(1, 0);
	make_away(); /* and while it runs */
	put("192.0.2.2", BLOCK_DENY, 600);
	pass(1);
	assert_not_ok("MISSING");
	assert_int_equal(status().ours, 0);
	assert_int_equal(rename(away, path), 0);
	pass(1);
	assert_status(2, 0);
	kit_remove(path);
	kit_mkdir(top, "inst"); /* another one */
	pass(2);
	assert_status(2, 0);
	assert_int_equal(count_files(path), 2);
	kit_remove(path);
	pass(2);
	assert_true(lstat(path, &st) < 0);
}

static void
f1_directory_that_is_a_link_or_a_file_is_not_followed(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	make_away();
	take("192.0.2.1");
	kit_mkdir(top, "canary");
	char canary[KIT_PATH_MAX];
	assert_int_equal(symlink(kit_path(canary, top, "canary"), path), 0);
	pass(1);
	assert_not_ok("symbolic link");
	put("192.0.2.2", BLOCK_DENY, 600);
	pass(3);
	assert_int_equal(count_files(canary), 0);
	assert_int_equal(unlink(path), 0);
	kit_puts(top, "inst", "a file");
	pass(1);
	assert_not_ok("Not a directory");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	pass(1);
	assert_not_ok("Not a directory");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(away, path), 0);
	pass(1);
	assert_status(1, 0);
	assert_int_equal(rmdir(canary), 0);
}

static void
f6_directory_where_others_can_plant_is_refused(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	assert_int_equal(chmod(path, 0777), 0);
	start();
	assert_not_ok("everybody");
	assert_int_equal(count_files(path), 0);
	assert_int_equal(chmod(path, 0775), 0); /* a group may: tcpsvd's, to unlink */
	pass(1);
	assert_status(1, 0);
	assert_int_equal(chmod(path, 0757), 0);
	pass(1);
	assert_not_ok("everybody");
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(chmod(top, 0777), 0); /* above: there it could be exchanged */
	pass(1);
	assert_not_ok("everybody");
	assert_not_ok("the directory above");
	assert_int_equal(chmod(top, 01777), 0);
	pass(1);
	assert_status(1, 0);
	assert_int_equal(chmod(top, 0755), 0);
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	pass(1);
	assert_not_ok("belongs to uid 65534");
	assert_int_equal(chown(path, 0, NOBODY), 0);
	assert_int_equal(chown(top, NOBODY, 0), 0);
	pass(1);
	assert_not_ok("belongs to uid 65534");
	assert_not_ok("the directory above");
	assert_int_equal(chown(top, 0, 0), 0);
	pass(1);
	assert_status(1, 0);
}

static void
directory_closed_to_tcpsvd_is_told(void **state)
{
	const char *const argv[] = { "tcpsvd", "-i", path, "-t", "120", "0", "25", "p", NULL };

	(void)state;
	if (geteuid() != 0)
		skip();
	tcpsvd_stop(tcpsvd);
	tcpsvd = tcpsvd_start_as(&(struct tcpsvd_how) { .nobody = true, .listener = true }, argv);
	assert_int_equal(chmod(path, 0700), 0);
	start();
	assert_status(0, 0);
	assert_non_null(strstr(status().text, "CLOSED to tcpsvd, uid 65534"));
	assert_int_equal(chmod(path, 0711), 0);
	pass(1);
	assert_string_equal(status().text, "");
}

static void
be(uid_t id)
{
	if (id == 0)
		assert_true(seteuid(id) == 0 && setegid(id) == 0);
	else
		assert_true(setegid(id) == 0 && seteuid(id) == 0);
}

static void
directory_that_may_not_be_written_is_told_and_heals(void **state)
{
	const char *const argv[] = { "tcpsvd", "-i", path, "-t", "120", "0", "25", "p", NULL };
	struct err why;

	(void)state;
	if (geteuid() != 0)
		skip(); /* to try as somebody who isn't root takes root */
	tcpsvd_stop(tcpsvd);
	block_ipsvd.free(action);
	tcpsvd = tcpsvd_start_as(&(struct tcpsvd_how) { .nobody = true }, argv);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	be(NOBODY);
	open_action();
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	assert_status(1, 0);
	assert_int_equal(chmod(path, 0555), 0);
	put("192.0.2.2", BLOCK_DENY, 600);
	assert_not_ok("cannot write");
	assert_not_ok("192.0.2.2: Permission denied");
	take("192.0.2.1");
	pass(30);
	assert_not_ok("Permission denied");
	assert_int_equal(block_ipsvd.neutral(action, true, &why), -EACCES);
	assert_int_equal(chmod(path, 0), 0);
	pass(5);
	assert_false(status().ok);
	assert_int_equal(chmod(path, 0755), 0);
	pass(11);
	assert_status(1, 0);
	assert_string_equal(kind_of("192.0.2.1"), "-");
	assert_string_equal(kind_of("192.0.2.2"), "deny");
	be(0);
}

/* A directory and a link to a canary change places as quickly as they can. */
static void
f3_directory_that_is_exchanged_for_a_link_leads_nowhere_else(void **state)
{
	char canary[KIT_PATH_MAX], link[KIT_PATH_MAX];

	(void)state;
	kit_mkdir(top, "canary");
	assert_int_equal(symlink(kit_path(canary, top, "canary"), kit_path(link, top, "link")), 0);
	start();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < kit_rounds(EXCHANGES); i++)
			if (renameat2(AT_FDCWD, path, AT_FDCWD, link, RENAME_EXCHANGE) < 0)
				_exit(1);
		_exit(0);
	}
	int code, rounds = 0;
	while (waitpid(pid, &code, WNOHANG) == 0) {
		char text[32];

		kit_format(text, sizeof(text), "192.0.2.%d", rounds++ % 250);
		put(text, (enum block_kind)(rounds % 3), 600);
		if (rounds % 2 == 0)
			take(text);
		pass(1);
	}
	assert_int_equal(code, 0);
	assert_true(rounds > 0); /* as long as places are changed, a round has no end */
	struct stat st;
	assert_int_equal(lstat(path, &st), 0);
	if (S_ISLNK(st.st_mode))
		assert_int_equal(renameat2(AT_FDCWD, path, AT_FDCWD, link, RENAME_EXCHANGE), 0);
	assert_int_equal(count_files(canary), 0);
	pass(2);
	assert_status(count_files(path), 0);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(canary), 0);
}

/* --- a full disk ----------------------------------------------------------------------------- */

static void
d1_full_disk_is_told_and_heals(void **state)
{
	char text[32];

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0
		|| mount("none", path, "tmpfs", 0, "size=64k,nr_inodes=20,mode=755") < 0) {
		print_message("# SKIP: needs a mount namespace\n");
		skip();
	}
	tcpsvd_stop(tcpsvd);
	tcpsvd = tcpsvd_start(path, "120", true); /* sees this mount */
	for (int i = 0; i < 30; i++) {
		kit_format(text, sizeof(text), "192.0.2.%d", i);
		(void)wish(text, BLOCK_DENY, 600);
	}
	start();
	pass(30);
	assert_not_ok("No space left on device");
	assert_not_ok("cannot write");
	assert_in_range(count_files(path), 10, 19);
	assert_int_equal(status().ours, count_files(path));
	put("192.0.2.99", BLOCK_DENY, 600);
	for (int i = 0; i < 30; i += 2) { /* some go: there is room again */
		kit_format(text, sizeof(text), "192.0.2.%d", i);
		take(text);
	}
	pass(11);
	assert_status(16, 0);
	assert_int_equal(count_files(path), 16);
	assert_int_equal(mount("none", path, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	take("192.0.2.99");
	assert_not_ok("cannot remove");
	assert_not_ok("Read-only file system");
	assert_int_equal(mount("none", path, "tmpfs", MS_REMOUNT, NULL), 0);
	pass(11);
	assert_status(15, 0);
	block_ipsvd.free(action); /* or the mount is busy */
	tcpsvd_stop(tcpsvd);
	assert_int_equal(umount(path), 0);
	open_action();
}

/* --- neutral, dry run, a child ---------------------------------------------------------------- */

static void
neutral_takes_back_ours_without_any_memory(void **state)
{
	struct err why;

	(void)state;
	kit_puts(path, "192.0.2.77", "");
	put("192.0.2.1", BLOCK_DENY, 10);
	put("192.0.2.2", BLOCK_DENY, 600);
	put("192.0.2.3", BLOCK_EXPLAIN, 600);
	put("198.51.100.0/24", BLOCK_DENY, 5);
	start();
	kit_write(path, "192.0.2.200", "", 0, 01200);
	block_ipsvd.free(action);
	tcpsvd_stop(tcpsvd);
	open_action();
	assert_int_equal(block_ipsvd.neutral(action, false, &why), 0);
	assert_int_equal(count_files(path), 6); /* none is outdated yet */
	wall_offset_s = 12;
	assert_int_equal(block_ipsvd.neutral(action, false, &why), 0);
	assert_int_equal(count_files(path), 4);
	assert_string_equal(kind_of("192.0.2.1"), "-");
	assert_string_equal(kind_of("198.51.100"), "-");
	wall_offset_s = 500;
	assert_int_equal(block_ipsvd.neutral(action, false, &why), 0);
	assert_int_equal(count_files(path), 3); /* the unfinished one is as old as any */
	assert_int_equal(block_ipsvd.neutral(action, true, &why), 0);
	assert_int_equal(count_files(path), 1);
	assert_string_equal(kind_of("192.0.2.77"), "other");
}

static void
dry_run_does_the_same_and_writes_nothing(void **state)
{
	struct block_status wet;
	struct err why;

	(void)state;
	for (int dry = 0; dry < 2; dry++) {
		kit_puts(path, "192.0.2.4", "");
		put("192.0.2.1", BLOCK_DENY, 600);
		put("192.0.2.2", BLOCK_EXPLAIN, 600);
		put("192.0.2.4", BLOCK_DENY, 600);
		put("192.0.2.0/24", BLOCK_DENY, 5);
		start();
		put("192.0.2.5", BLOCK_DENY, 600);
		put("192.0.2.5", BLOCK_EXPLAIN, 700);
		take("192.0.2.1");
		pass(12);
		if (dry == 0) {
			wet = status();
			assert_int_equal(count_files(path), 3);
			assert_int_equal(block_ipsvd.neutral(action, true, &why), 0);
			block_ipsvd.free(action);
			cfg.dry_run = true;
			blockset_free(want);
			assert_int_equal(blockset_new(MAX, &want), 0);
			open_action();
		} else {
			struct block_status s = status();

			assert_int_equal(count_files(path), 1);
			assert_true(s.ok && wet.ok);
			assert_int_equal(s.ours, wet.ours);
			assert_int_equal(s.foreign, wet.foreign);
		}
	}
}

static void
a_child_that_frees_it_does_not_take_it_away(void **state)
{
	(void)state;
	put("192.0.2.1", BLOCK_DENY, 600);
	start();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		block_ipsvd.free(action);
		_exit(0);
	}
	assert_true(waitpid(pid, NULL, 0) == pid);
	assert_false(has_work());
	assert_int_equal(unlink(file_path("192.0.2.1")), 0);
	assert_true(has_work());
	pass(12);
	assert_string_equal(kind_of("192.0.2.1"), "deny");
}

/* --- whatever happens ------------------------------------------------------------------------ */

#define UNIVERSE 8 /* 10.0.0.0/29 and prefixes around it */

/* What has an administrator put under the name of each address, and under that of the /24?  0: nothing */
static ino_t his[UNIVERSE + 1];

static void
name_of(unsigned i, char ret[IPSVD_NAME_MAX])
{
	if (i == UNIVERSE)
		kit_format(ret, IPSVD_NAME_MAX, "10.0.0");
	else
		kit_format(ret, IPSVD_NAME_MAX, "10.0.0.%u", i);
}

/* He moves a file of his over whatever is there, or removes what is there. */
static void
administrate(unsigned i, bool put_it)
{
	char name[IPSVD_NAME_MAX];
	struct stat st;

	name_of(i, name);
	if (put_it) {
		kit_puts(top, "his", "C1\n");
		assert_int_equal(stat(kit_path(away, top, "his"), &st), 0);
		assert_int_equal(rename(away, file_path(name)), 0);
		his[i] = st.st_ino;
	} else if (unlink(file_path(name)) == 0) {
		his[i] = 0;
	}
}

/* By looking at everything: the block that counts for the name. */
static const struct block *
oracle(unsigned i)
{
	const struct block *b, *best = NULL;
	size_t cursor = 0;
	char text[IPSVD_NAME_MAX];

	name_of(i, text);
	struct ip_prefix name = prefix(i == UNIVERSE ? "10.0.0.0/24" : text);
	while ((b = blockset_next(want, &cursor)) != NULL)
		if (b->until.ms > now.ms && b->prefix.bits <= name.bits && b->prefix.bits > name.bits - 8
			&& ip_prefix_contains(&b->prefix, &name.ip)
			&& (best == NULL || b->prefix.bits > best->prefix.bits))
			best = b;
	return best;
}

static void
assert_as_the_oracle_says(void)
{
	static const char *const kinds[] = { "deny", "explain", "throttle" };
	size_t files = 0;

	for (unsigned i = 0; i <= UNIVERSE; i++) {
		const struct block *b = oracle(i);
		char name[IPSVD_NAME_MAX];
		struct stat st;

		name_of(i, name);
		if (his[i] != 0) {
			assert_int_equal(stat(file_path(name), &st), 0);
			assert_true(st.st_ino == his[i] && st.st_size == 3);
		} else if (b != NULL) {
			int64_t left = (b->until.ms - now.ms) / SECOND;

			if (strcmp(kind_of(name), "deny") != 0)
				assert_string_equal(kind_of(name), kinds[b->kind]);
			else
				assert_true(b->kind == BLOCK_DENY || left <= T);
			/* A second either way is not worth a write; and three are rounded. */
			assert_in_range(left_s(name), left > 2 ? left - 2 : 0, left + 3);
		} else {
			assert_string_equal(kind_of(name), "-");
		}
		files += his[i] != 0 || b != NULL;
	}
	assert_int_equal(count_files(path), files);
}

static void
after_anything_the_directory_is_as_wanted_and_his_files_are_his(void **state)
{
	static const char *const prefixes[] = {
		"10.0.0.0/24", "10.0.0.0/29", "10.0.0.0/30", "10.0.0.4/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.6/31",
		"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7",
	};
	struct dice d = dice_new();

	(void)state;
	memset(his, 0, sizeof(his));
	start();
	for (int i = 0; i < kit_rounds(2000); i++) {
		const char *p = prefixes[dice_below(&d, countof(prefixes))];
		struct ip_prefix parsed = prefix(p);

		switch (dice_below(&d, 12)) {
		default:
			put(p, (enum block_kind)dice_below(&d, BLOCK_KINDS), 1 + (int)dice_below(&d, 400));
			break;
		case 4:
		case 5:
			if (blockset_find(want, &parsed) != NULL)
				take(p);
			break;
		case 6:
			administrate(dice_below(&d, UNIVERSE + 1), dice_below(&d, 2) != 0);
			break;
		case 7:
			block_ipsvd.free(action);
			open_action();
			start();
			break;
		case 8:
			wall_offset_s += (int64_t)dice_below(&d, 2000) - 1000;
			block_ipsvd.clock_set(action, want, now);
			break;
		case 9:
			now.ms += dice_below(&d, 3000);
			break;
		}
		step();
		if (i % 50 == 0) {
			int64_t seconds = 12 + dice_below(&d, 100);

			wall_offset_s += seconds; /* the two clocks go on together */
			pass((int)seconds);
			start(); /* what he puts back by removing is looked at there */
			assert_as_the_oracle_says();
		}
	}
}

int
main(int argc, char **argv)
{
#define IN_ITS_OWN(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		IN_ITS_OWN(init_refuses_what_cannot_work),
		IN_ITS_OWN(nothing_is_written_before_tcpsvd_was_seen),
		IN_ITS_OWN(nothing_is_written_without_tcpsvd_and_what_is_there_stays),
		IN_ITS_OWN(under_another_timeout_ours_is_taken_back),
		IN_ITS_OWN(a_user_with_a_forged_command_line_changes_nothing),
		IN_ITS_OWN(each_file_has_an_end_of_its_own),
		IN_ITS_OWN(a_block_that_changes_changes_its_file),
		IN_ITS_OWN(readable_kinds_are_for_lifetimes_beyond_the_timeout),
		IN_ITS_OWN(throttle_is_only_where_tcpsvd_counts),
		IN_ITS_OWN(prefixes_are_files_of_octets),
		IN_ITS_OWN(what_cannot_be_expressed_is_counted_and_nobody_is_everybody),
		IN_ITS_OWN(of_several_blocks_of_one_name_the_longest_prefix_counts_then_the_next),
		IN_ITS_OWN(files_of_others_stay_and_are_counted),
		IN_ITS_OWN(what_others_remove_is_there_again),
		IN_ITS_OWN(l9_lost_events_are_made_up_for),
		IN_ITS_OWN(reconcile_mends_everything_and_nothing_before_it_is_called),
		IN_ITS_OWN(a_run_goes_in_steps_and_says_that_there_is_more),
		IN_ITS_OWN(ends_are_kept_whether_or_not_the_caller_removes_them),
		IN_ITS_OWN(t1_when_the_wall_clock_is_set_the_times_are_written_anew),
		IN_ITS_OWN(directory_missing_is_told_loudly_never_made_and_heals),
		IN_ITS_OWN(f1_directory_that_is_a_link_or_a_file_is_not_followed),
		IN_ITS_OWN(f6_directory_where_others_can_plant_is_refused),
		IN_ITS_OWN(directory_closed_to_tcpsvd_is_told),
		IN_ITS_OWN(directory_that_may_not_be_written_is_told_and_heals),
		IN_ITS_OWN(f3_directory_that_is_exchanged_for_a_link_leads_nowhere_else),
		IN_ITS_OWN(d1_full_disk_is_told_and_heals),
		IN_ITS_OWN(neutral_takes_back_ours_without_any_memory),
		IN_ITS_OWN(dry_run_does_the_same_and_writes_nothing),
		IN_ITS_OWN(a_child_that_frees_it_does_not_take_it_away),
		IN_ITS_OWN(after_anything_the_directory_is_as_wanted_and_his_files_are_his),
	};

	(void)argc;
	tcpsvd_pretend(argv[0]);
	int r = cmocka_run_group_tests_name("where TMPDIR is", tests, make_top, remove_top);
	if (setenv("TMPDIR", "/dev/shm", 1) < 0 || access("/dev/shm", W_OK) < 0)
		return r;
	return r | cmocka_run_group_tests_name("in memory", tests, make_top, remove_top);
}
