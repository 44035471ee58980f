/* SPDX-License-Identifier: ISC */
/* The archive of refusals: what is written is read, whatever else stands there, and it stays within its bound. */
#include "controller/archive.h"

#include <sys/wait.h>

#include "tests/hostile.h"
#include "tests/unit/kit.h"

static char tree[KIT_PATH_MAX];

static int
make_tree(void **state)
{
	(void)state;
	kit_tree(tree);
	return 0;
}

static int
remove_tree(void **state)
{
	(void)state;
	kit_remove(tree);
	return 0;
}

static struct store_refusal
example(int n)
{
	struct store_refusal r = {
		.at = { INT64_C(1795580996001) + n * 1500 }, .episode = "rkj8p76ir", .check = CHECK_IPTHROTTLE,
		.stage = STAGE_HELO, .code = 421, .pid = (uint32_t)n, .ip = "192.0.2.25", .helo = "mx.remote.test",
		.sender = "a\"b\\c@remote.test", .recipient = "alice@example.test",
	};

	return r;
}

static void
assert_same(const struct store_refusal *a, const struct store_refusal *b)
{
	assert_true(a->at.ms == b->at.ms);
	assert_string_equal(a->episode, b->episode);
	assert_int_equal(a->check, b->check);
	assert_int_equal(a->stage, b->stage);
	assert_int_equal(a->code, b->code);
	assert_int_equal(a->pid, b->pid);
	assert_string_equal(a->ip, b->ip);
	assert_string_equal(a->helo, b->helo);
	assert_string_equal(a->sender, b->sender);
	assert_string_equal(a->recipient, b->recipient);
}

/* A backslash is not among the bytes that text_put_printable() leaves alone, so it comes back as \x5c. */
static struct store_refusal
as_read(struct store_refusal r)
{
	(void)snprintf(r.sender, sizeof(r.sender), "a\"b\\x5cc@remote.test");
	return r;
}

static void
put(struct archive *a, int from, int n, uint64_t max)
{
	char line[ARCHIVE_LINE_MAX];
	struct err why;

	for (int i = from; i < from + n; i++) {
		struct store_refusal r = example(i);

		assert_int_equal(archive_write(a, line, archive_format(&r, line), max, &why), 0);
	}
}

struct seen {
	int n, first, last;
	bool in_order;
	int stop_at;
};

static bool
see(const struct store_refusal *r, void *arg)
{
	struct seen *s = arg;

	if (s->n++ == 0)
		s->first = (int)r->pid;
	else
		s->in_order = s->in_order && (int)r->pid > s->last;
	s->last = (int)r->pid;
	return s->n != s->stop_at;
}

static struct seen
look(void)
{
	struct seen s = { .in_order = true };
	struct err why;

	assert_int_equal(archive_each(tree, see, &s, &why), 0);
	return s;
}

static uint64_t
bytes_of_all(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < ARCHIVE_PARTS + 2; i++) {
		char path[KIT_PATH_MAX];
		struct stat st;

		kit_format(path, sizeof(path), i == 0 ? "%s/" ARCHIVE_FILE : "%s/" ARCHIVE_FILE ".%d", tree, i);
		if (stat(path, &st) == 0)
			sum += (uint64_t)st.st_size;
	}
	return sum;
}

/* --- lines ------------------------------------------------------------------------------------ */

static void
archive_line_is_what_the_manual_shows(void **state)
{
	struct store_refusal r = example(1697);
	char line[ARCHIVE_LINE_MAX];

	(void)state;
	size_t n = archive_format(&r, line);
	assert_string_equal(line, "{\"time\": \"2026-11-25T05:12:21.501Z\", \"id\": \"rkj8p76ir\", \"rule\": \"ipthrottle\","
		" \"stage\": \"helo\", \"ip\": \"192.0.2.25\", \"helo\": \"mx.remote.test\","
		" \"sender\": \"a\\\"b\\\\c@remote.test\", \"recipient\": \"alice@example.test\", \"reply\": 421,"
		" \"pid\": 1697}\n");
	assert_int_equal(n, strlen(line));
}

static void
archive_line_comes_back(void **state)
{
	struct store_refusal r = example(7), wanted = as_read(r), got;
	char line[ARCHIVE_LINE_MAX];

	(void)state;
	size_t n = archive_format(&r, line);
	assert_int_equal(archive_parse(line, n, &got), 0);
	assert_same(&got, &wanted);
	assert_int_equal(archive_parse(line, n - 1, &got), 0); /* without its newline */
	assert_same(&got, &wanted);
}

static void
archive_line_of_the_longest_texts_is_whole(void **state)
{
	struct store_refusal r = example(1), got;
	char line[ARCHIVE_LINE_MAX];

	(void)state;
	r.pid = UINT32_MAX;
	r.code = UINT16_MAX;
	memset(r.helo, '"', sizeof(r.helo) - 1);
	memset(r.sender, '"', sizeof(r.sender) - 1);
	memset(r.recipient, '"', sizeof(r.recipient) - 1);
	memset(r.ip, 'f', sizeof(r.ip) - 1);
	size_t n = archive_format(&r, line);
	assert_int_equal(line[n - 1], '\n');
	assert_int_equal(archive_parse(line, n, &got), 0);
	assert_same(&got, &r);
}

static void
archive_other_lines_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "\n", "{}", "[]", "null", "\"time\"", "{\"time\": 5}",
		"{\"time\": \"2026-11-25T05:12:21.501Z\", \"rule\": \"ipthrottle\"}",
		"{\"time\": \"2026-11-25T05:12:21.501Z\", \"rule\": \"other\", \"stage\": \"helo\"}",
		"{\"time\": \"yesterday\", \"rule\": \"ipthrottle\", \"stage\": \"helo\"}",
		"{\"time\": \"2026-11-25T05:12:21.501Z\", \"rule\": \"ipthrottle\", \"stage\": \"helo\"",
	};
	struct store_refusal r;

	(void)state;
	for (size_t i = 0; i < countof(bad); i++)
		assert_int_equal(archive_parse(bad[i], strlen(bad[i]), &r), -EINVAL);
	const char *least = "{\"time\": \"2026-11-25T05:12:21.501Z\", \"rule\": \"ipthrottle\", \"stage\": \"helo\"}";
	assert_int_equal(archive_parse(least, strlen(least), &r), 0);
	assert_string_equal(r.ip, "");
}

/* --- files ------------------------------------------------------------------------------------ */

static void
archive_comes_back_in_order_over_all_parts(void **state)
{
	struct archive a;

	(void)state;
	archive_init(&a, tree);
	put(&a, 1, 200, 64 * 1024);
	struct seen s = look();
	archive_close(&a);
	assert_int_equal(s.n, 200);
	assert_int_equal(s.first, 1);
	assert_true(s.in_order);
}

static void
archive_stays_within_its_bound_and_keeps_the_newest(void **state)
{
	const uint64_t max = 32 * 1024;
	struct archive a;

	(void)state;
	archive_init(&a, tree);
	for (int i = 0; i < 40; i++) {
		put(&a, 1 + i * 50, 50, max);
		assert_true(bytes_of_all() <= max);
	}
	struct seen s = look();
	archive_close(&a);
	assert_int_equal(s.last, 2000);
	assert_true(s.in_order);
	assert_true(s.n >= 80 && s.n == 2000 - s.first + 1);
}

static void
archive_of_no_bytes_is_none(void **state)
{
	struct archive a;
	struct err why;

	(void)state;
	archive_init(&a, tree);
	put(&a, 1, 5, 0);
	assert_int_equal(bytes_of_all(), 0);
	assert_int_equal(archive_each(tree, see, &(struct seen) { 0 }, &why), -ENOENT);
}

static void
archive_goes_on_after_a_half_line(void **state)
{
	struct archive a;

	(void)state;
	archive_init(&a, tree);
	put(&a, 1, 1, 1 << 20);
	archive_close(&a);
	char path[KIT_PATH_MAX];
	int fd = open(kit_path(path, tree, ARCHIVE_FILE), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "{\"time\": \"2026", 14), 14);
	(void)close(fd);
	put(&a, 2, 1, 1 << 20);
	archive_close(&a);
	struct seen s = look();
	assert_int_equal(s.n, 2);
	assert_int_equal(s.last, 2);
}

static void
archive_of_garbage_is_passed_over(void **state)
{
	static const char garbage[] = "\0\1\2\n{}\n\xff\n[[[[";
	struct archive a;

	(void)state;
	kit_write(tree, ARCHIVE_FILE, garbage, sizeof(garbage) - 1, 0640);
	archive_init(&a, tree);
	put(&a, 3, 2, 1 << 20);
	archive_close(&a);
	struct seen s = look();
	assert_int_equal(s.n, 2);
}

static void
archive_that_was_moved_away_begins_anew(void **state)
{
	char from[KIT_PATH_MAX], to[KIT_PATH_MAX];
	struct archive a;

	(void)state;
	archive_init(&a, tree);
	put(&a, 1, 3, 1 << 20);
	assert_int_equal(rename(kit_path(from, tree, ARCHIVE_FILE), kit_path(to, tree, "elsewhere")), 0);
	put(&a, 4, 2, 1 << 20);
	archive_close(&a);
	assert_int_equal(look().first, 4);
}

static void
archive_that_is_a_link_or_a_fifo_is_left_alone(void **state)
{
	char path[KIT_PATH_MAX], target[KIT_PATH_MAX], line[ARCHIVE_LINE_MAX];
	struct store_refusal r = example(1);
	struct archive a;
	struct err why;
	struct stat st;

	(void)state;
	size_t n = archive_format(&r, line);
	archive_init(&a, tree);
	kit_puts(tree, "target", "");
	assert_int_equal(symlink(kit_path(target, tree, "target"), kit_path(path, tree, ARCHIVE_FILE)), 0);
	assert_true(archive_write(&a, line, n, 1 << 20, &why) < 0);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(archive_write(&a, line, n, 1 << 20, &why) < 0);
	assert_true(archive_each(tree, see, &(struct seen) { 0 }, &why) < 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(archive_write(&a, line, n, 1 << 20, &why), 0);
	archive_close(&a);
	assert_int_equal(a.lost, 2 * n);
}

static void
archive_reader_stops_when_told(void **state)
{
	struct archive a;
	struct seen s = { .stop_at = 4 };
	struct err why;

	(void)state;
	archive_init(&a, tree);
	put(&a, 1, 100, 16 * 1024);
	archive_close(&a);
	assert_int_equal(archive_each(tree, see, &s, &why), 0);
	assert_int_equal(s.n, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archive_line_is_what_the_manual_shows),
		cmocka_unit_test(archive_line_comes_back),
		cmocka_unit_test(archive_line_of_the_longest_texts_is_whole),
		cmocka_unit_test(archive_other_lines_are_refused),
		cmocka_unit_test_setup_teardown(archive_comes_back_in_order_over_all_parts, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_stays_within_its_bound_and_keeps_the_newest, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_of_no_bytes_is_none, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_goes_on_after_a_half_line, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_of_garbage_is_passed_over, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_that_was_moved_away_begins_anew, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_that_is_a_link_or_a_fifo_is_left_alone, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(archive_reader_stops_when_told, make_tree, remove_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
