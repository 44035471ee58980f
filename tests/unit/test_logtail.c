/* SPDX-License-Identifier: ISC */
/*
 * test_logtail - following a log: halves, long lines, rotation step by step, truncation, reuse of inodes, trouble, restarts
 *
 * The real multilog and svlogd are in tests/e2e/logs_rotation.sh; here each moment of a rotation is stood still.
 */
#include "tests/unit/kit.h"

#include <poll.h>
#include <sys/inotify.h>

#include "probes/logline.h"
#include "probes/logmarks.h"
#include "probes/logtail.h"

#define GOT_MAX 400000
#define A "@400000006b00e40100000000.s"
#define B "@400000006b00e40200000000.s"
#define C "@400000006b00e40300000000.u"

static char tree[KIT_PATH_MAX], path[KIT_PATH_MAX];
static struct logtail *t;
static mono_t now;
static char got[GOT_MAX]; /* lines, a ',' behind each; a '!' before what is old */
static size_t got_n;
static struct err why;

static int
setup(void **state)
{
	(void)state;
	kit_tree(tree);
	kit_mkdir(tree, "log");
	now.ms = 1000000;
	got_n = 0;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	logtail_free(t);
	t = NULL;
	kit_remove(tree);
	return 0;
}

static void
take(const char *line, size_t n, bool old, void *arg)
{
	(void)arg;
	assert_true(got_n + n + 3 < sizeof(got));
	if (old)
		got[got_n++] = '!';
	memcpy(got + got_n, line, n);
	got_n += n;
	got[got_n++] = ',';
}

/* Read all there is.  Returns what the last step did. */
static int
step(void)
{
	int r, steps = 0;

	got_n = 0;
	while ((r = logtail_step(t, now, 65536, take, NULL, &why)) == LOGTAIL_MORE)
		assert_true(++steps < 10000);
	got[got_n] = '\0';
	return r;
}

static void
begin(const char *name, const struct logtail_mark *mark)
{
	kit_path(path, tree, name);
	logtail_free(t);
	assert_int_equal(logtail_new(path, -1, mark, &t), 0);
}

static void
append(const char *name, const char *text)
{
	char at[KIT_PATH_MAX];

	kit_path(at, tree, name);
	int fd = open(at, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void
rename_in(const char *from, const char *to)
{
	char a[KIT_PATH_MAX], b[KIT_PATH_MAX];

	kit_path(a, tree, from);
	kit_path(b, tree, to);
	assert_int_equal(rename(a, b), 0);
}

static void
link_in(const char *from, const char *to)
{
	char a[KIT_PATH_MAX], b[KIT_PATH_MAX];

	kit_path(a, tree, from);
	kit_path(b, tree, to);
	assert_int_equal(link(a, b), 0);
}

static void
unlink_in(const char *name)
{
	char a[KIT_PATH_MAX];

	kit_path(a, tree, name);
	assert_int_equal(unlink(a), 0);
}

static void
expect(const char *want)
{
	assert_int_equal(step(), 0);
	assert_string_equal(got, want);
}

/* --- lines ----------------------------------------------------------------------------------- */

static void
half_lines_wait_for_the_rest(void **state)
{
	static const char text[] = "one\ntwo\n\nfour";

	(void)state;
	append("log/current", "");
	begin("log", NULL);
	expect("");
	for (size_t i = 0; text[i] != '\0'; i++) {
		const char byte[2] = { text[i], '\0' };

		append("log/current", byte);
		assert_int_equal(step(), 0);
		assert_string_equal(got, i == 3 ? "one," : i == 7 ? "two," : i == 8 ? "," : "");
	}
	append("log/current", "\n");
	expect("four,");
	assert_int_equal(logtail_counts(t)->lines, 4);
}

static void
what_was_there_before_is_old(void **state)
{
	(void)state;
	append("log/current", "one\ntwo\n");
	begin("log", NULL);
	expect("!one,!two,");
	append("log/current", "three\n");
	expect("three,");
}

static void
lines_beyond_the_bound_are_left_out(void **state)
{
	static char line[3 * LOGTAIL_BUFFER];

	(void)state;
	append("log/current", "");
	begin("log", NULL);
	expect("");
	for (size_t n = LOGLINE_MAX - 1; n <= LOGLINE_MAX + 1; n++) {
		memset(line, 'x', n);
		(void)strcpy(line + n, "\nnext\n");
		append("log/current", line);
		assert_int_equal(step(), 0);
		assert_int_equal(got_n, n <= LOGLINE_MAX ? n + 6 : 5);
	}
	memset(line, 'y', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	append("log/current", line);
	expect("");
	append("log/current", "end of it\nafter\n"); /* its end is not taken for a line */
	expect("after,");
	assert_int_equal(logtail_counts(t)->cut, 2);
}

static void
a_great_log_is_begun_near_its_end(void **state)
{
	char at[KIT_PATH_MAX];

	(void)state;
	append("log/current", "first\n");
	kit_path(at, tree, "log/current");
	assert_int_equal(truncate(at, INT64_C(10) << 30), 0);
	append("log/current", "cut\nlast\n");
	begin("log", NULL);
	assert_int_equal(step(), 0);
	assert_string_equal(got, "!last,"); /* where it begins is within a line */
	assert_true(logtail_counts(t)->bytes <= LOGTAIL_BACKLOG);
	assert_int_equal(logtail_counts(t)->cut, 0);
}

/* --- rotation -------------------------------------------------------------------------------- */

/* As multilog: current -> previous, a new current, a label for previous, previous gone; looked at after each. */
static void
multilog_step_by_step(void **state)
{
	(void)state;
	append("log/current", "1\n");
	begin("log", NULL);
	expect("!1,");
	append("log/current", "2\n");
	rename_in("log/current", "log/previous");
	expect("2,");
	append("log/current", "");
	expect("");
	append("log/current", "3\n");
	expect("3,");
	link_in("log/previous", "log/" A);
	expect("");
	unlink_in("log/previous");
	append("log/current", "4\n");
	expect("4,");
	rename_in("log/current", "log/" B);
	append("log/current", "5\n");
	expect("5,");
	assert_int_equal(logtail_counts(t)->rotations, 2);
}

static void
many_rotations_between_two_looks(void **state)
{
	(void)state;
	append("log/current", "1\n");
	begin("log", NULL);
	expect("!1,");
	append("log/current", "2\n");
	rename_in("log/current", "log/" A);
	append("log/" B, "3\n4\n");
	append("log/" C, "5\n");
	append("log/previous", "6\n");
	append("log/@400000006b00e40400000000.t", "not yet\n");
	append("log/state", "no log\n");
	append("log/current", "7\n");
	expect("2,3,4,5,6,7,");
	rename_in("log/previous", "log/@400000006b00e40400000000.s");
	expect("");
}

static void
what_we_read_is_removed_under_us(void **state)
{
	(void)state;
	append("log/" A, "0\n");
	append("log/current", "1\n");
	begin("log", NULL);
	expect("!1,");
	append("log/current", "2\n");
	unlink_in("log/" A);
	unlink_in("log/current"); /* the label that it had is gone already */
	append("log/" C, "5\n");
	append("log/current", "6\n");
	expect("2,5,6,");
}

/* A processor writes what it was given anew: another inode, the same beginning. */
static void
what_a_processor_wrote_anew_is_not_read_again(void **state)
{
	static const char text[] = "@400000006b00e40100000000 a line that is long enough to be known again, as all stamped ones are\n";

	(void)state;
	append("log/current", "");
	begin("log", NULL);
	expect("");
	append("log/current", text);
	rename_in("log/current", "log/previous");
	append("log/current", "new\n");
	unlink_in("log/previous");
	append("log/" A, text);
	assert_int_equal(step(), 0);
	assert_int_equal(got_n, sizeof(text) + 3); /* both lines, once */
}

static void
a_half_line_at_the_end_of_a_rotated_file_is_left_out(void **state)
{
	(void)state;
	append("log/current", "1\nhal");
	begin("log", NULL);
	expect("!1,");
	rename_in("log/current", "log/" A);
	append("log/current", "f\n2\n");
	expect("f,2,");
	assert_int_equal(logtail_counts(t)->halves, 1);
}

static void
a_plain_file_is_left_when_the_new_one_is_written_to(void **state)
{
	(void)state;
	append("plain", "1\n");
	begin("plain", NULL);
	expect("!1,");
	rename_in("plain", "plain.1");
	append("plain", "");
	append("plain.1", "2\n");
	expect("2,");
	append("plain.1", "3\n");
	append("plain", "4\n");
	expect("3,4,");
	append("plain", "5\n");
	expect("5,");
}

static void
truncated_files_are_read_from_their_start(void **state)
{
	char at[KIT_PATH_MAX];

	(void)state;
	append("plain", "1\n2\n3\n");
	kit_path(at, tree, "plain");
	begin("plain", NULL);
	expect("!1,!2,!3,");
	assert_int_equal(truncate(at, 0), 0);
	expect("");
	append("plain", "4\n");
	expect("4,");
	assert_int_equal(truncate(at, 0), 0);
	append("plain", "5\n6\n7\n8\n9\n"); /* longer than before when we look */
	expect("5,6,7,8,9,");
	assert_int_equal(logtail_counts(t)->truncations, 2);
}

/* --- restarts -------------------------------------------------------------------------------- */

static struct logtail_mark
mark_now(void)
{
	struct logtail_mark m;

	assert_true(logtail_where(t, &m));
	return m;
}

static void
a_restart_goes_on_where_it_stood(void **state)
{
	(void)state;
	append("log/current", "1\n2\nhal");
	begin("log", NULL);
	expect("!1,!2,");
	struct logtail_mark m = mark_now();
	append("log/current", "f\n3\n");
	begin("log", &m);
	expect("!half,!3,");
	m = mark_now();
	append("log/current", "4\n");
	rename_in("log/current", "log/" A);
	append("log/" B, "5\n");
	append("log/current", "6\n");
	begin("log", &m);
	expect("!4,!5,!6,");
	assert_int_equal(logtail_counts(t)->gaps, 0);
	m = mark_now();
	begin("log", &m);
	expect("");
	m = mark_now();
	unlink_in("log/current");
	unlink_in("log/" A);
	unlink_in("log/" B);
	append("log/" C, "7\n");
	append("log/current", "8\n");
	begin("log", &m);
	expect("!7,!8,"); /* ours is gone: all that is newer is read */
	assert_int_equal(logtail_counts(t)->gaps, 1);
}

static void
a_restart_finds_a_plain_file_that_was_renamed(void **state)
{
	(void)state;
	append("plain", "1\n");
	begin("plain", NULL);
	expect("!1,");
	struct logtail_mark m = mark_now();
	append("plain", "2\n");
	rename_in("plain", "plain-20261125");
	append("plain", "3\n");
	begin("plain", &m);
	expect("!2,!3,");
}

/* ext4 gives the number of a removed file to the next one. */
static void
another_file_with_the_same_inode_is_another_file(void **state)
{
	(void)state;
	append("plain", "1\n");
	begin("plain", NULL);
	expect("!1,");
	struct logtail_mark m = mark_now();
	begin("plain", NULL); /* closes it */
	unlink_in("plain");
	append("plain", "A\nB\n");
	begin("plain", &m);
	expect("!A,!B,");
	unlink_in("plain");
	append("plain", "C\nD\n");
	expect("C,D,");
	for (int i = 0; i < 200; i++) {
		m = mark_now();
		begin("plain", NULL);
		unlink_in("plain");
		append("plain", i % 2 == 0 ? "even\nline\n" : "odd\nline\n");
		begin("plain", &m);
		expect(i % 2 == 0 ? "!even,!line," : "!odd,!line,");
	}
}

static void
marks_outlive_us_and_broken_ones_do_not_count(void **state)
{
	static struct logmarks m;
	struct logtail_mark mark = { .inode = 5, .offset = 7 };
	int dir = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char at[KIT_PATH_MAX];

	(void)state;
	assert_int_equal(logmarks_read(dir, &m), -ENOENT);
	logmarks_add(&m, "/var/log/a", &mark);
	mark.offset = 8;
	logmarks_add(&m, "/var/log/b", &mark);
	assert_int_equal(logmarks_write(dir, &m), 0);
	assert_int_equal(logmarks_read(dir, &m), 0);
	assert_int_equal(logmarks_find(&m, "/var/log/b")->offset, 8);
	assert_null(logmarks_find(&m, "/var/log/c"));
	kit_path(at, tree, LOGMARKS_FILE);
	int fd = open(at, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 300), 1);
	(void)close(fd);
	assert_int_equal(logmarks_read(dir, &m), -EBADMSG);
	assert_int_equal(m.n, 0);
	assert_int_equal(truncate(at, 100), 0);
	assert_int_equal(logmarks_read(dir, &m), -EBADMSG);
	(void)close(dir);
}

/* --- trouble --------------------------------------------------------------------------------- */

static void
a_log_that_is_missing_for_a_moment_is_no_trouble(void **state)
{
	(void)state;
	append("log/current", "1\n");
	begin("log", NULL);
	expect("!1,");
	rename_in("log/current", "log/" A);
	expect("");
	now = mono_after(now, LOGTAIL_MISSING_MS - 1);
	expect("");
	now = mono_after(now, 1);
	assert_int_equal(step(), -ENOENT);
	assert_non_null(strstr(why.text, "cannot read"));
	append("log/current", "2\n");
	expect("2,");
}

static void
a_log_that_does_not_exist_yet_is_taken_when_it_does(void **state)
{
	(void)state;
	begin("later", NULL);
	assert_int_equal(step(), -ENOENT);
	kit_mkdir(tree, "later");
	assert_int_equal(step(), -ENOENT);
	append("later/current", "1\n");
	expect("!1,");
}

static void
a_log_that_may_not_be_read_says_what_to_do(void **state)
{
	char at[KIT_PATH_MAX];

	(void)state;
	bool was_root = geteuid() == 0; /* whom no mode stops */
	append("log/current", "1\n");
	begin("log", NULL);
	expect("!1,");
	kit_path(at, tree, "log");
	assert_int_equal(chmod(at, 0700), 0);
	if (was_root)
		assert_int_equal(seteuid(65534), 0);
	else
		assert_int_equal(chmod(at, 0), 0);
	int r = step();
	if (was_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EACCES);
	assert_non_null(strstr(why.text, "service.groups"));
	assert_int_equal(chmod(at, 0755), 0);
	append("log/current", "2\n");
	expect("2,");
}

static void
odd_files_are_no_logs(void **state)
{
	(void)state;
	begin("dir-without-current", NULL);
	kit_mkdir(tree, "dir-without-current");
	kit_mkdir(tree, "dir-without-current/current");
	assert_int_equal(step(), -EINVAL);
	kit_path(path, tree, "null");
	logtail_free(t);
	assert_int_equal(logtail_new("/dev/null", -1, NULL, &t), 0);
	assert_int_equal(step(), -EINVAL);
}

/* An event says "look"; a lost one costs nothing, for each look finds all. */
static void
watches_wake_us(void **state)
{
	char events[4096];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	append("log/current", "1\n");
	kit_path(path, tree, "log");
	assert_int_equal(logtail_new(path, fd, NULL, &t), 0);
	expect("!1,");
	while (read(fd, events, sizeof(events)) > 0)
		;
	append("log/current", "2\n");
	assert_true(read(fd, events, sizeof(events)) > 0);
	expect("2,");
	(void)close(fd);
}

static void
a_pipe_is_read_through_many_writers(void **state)
{
	char at[KIT_PATH_MAX];

	(void)state;
	kit_path(at, tree, "pipe");
	assert_int_equal(mkfifo(at, 0600), 0);
	begin("pipe", NULL);
	expect("");
	for (int i = 0; i < 3; i++) {
		int fd = open(at, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		assert_true(fd >= 0); /* somebody reads, also between two writers */
		assert_int_equal(write(fd, "1\nha", 4), 4);
		expect("1,");
		assert_true(logtail_fd(t) >= 0);
		assert_int_equal(write(fd, "lf\n", 3), 3);
		expect("half,");
		(void)close(fd);
		expect("");
		struct pollfd p = { .fd = logtail_fd(t), .events = POLLIN };
		assert_int_equal(poll(&p, 1, 0), 0); /* nothing to do until the next one comes */
	}
	struct logtail_mark m;
	assert_false(logtail_where(t, &m));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(half_lines_wait_for_the_rest),
		TEST(what_was_there_before_is_old),
		TEST(lines_beyond_the_bound_are_left_out),
		TEST(a_great_log_is_begun_near_its_end),
		TEST(multilog_step_by_step),
		TEST(many_rotations_between_two_looks),
		TEST(what_we_read_is_removed_under_us),
		TEST(what_a_processor_wrote_anew_is_not_read_again),
		TEST(a_half_line_at_the_end_of_a_rotated_file_is_left_out),
		TEST(a_plain_file_is_left_when_the_new_one_is_written_to),
		TEST(truncated_files_are_read_from_their_start),
		TEST(a_restart_goes_on_where_it_stood),
		TEST(a_restart_finds_a_plain_file_that_was_renamed),
		TEST(another_file_with_the_same_inode_is_another_file),
		TEST(marks_outlive_us_and_broken_ones_do_not_count),
		TEST(a_log_that_is_missing_for_a_moment_is_no_trouble),
		TEST(a_log_that_does_not_exist_yet_is_taken_when_it_does),
		TEST(a_log_that_may_not_be_read_says_what_to_do),
		TEST(odd_files_are_no_logs),
		TEST(watches_wake_us),
		TEST(a_pipe_is_read_through_many_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
