/* SPDX-License-Identifier: ISC */
/* The log has a window of time, so its clock is ours: the file is included with another mono_now(). */
#include "controller/log.h"

#include <poll.h>
#include <signal.h>
#include <time.h>

#include "tests/unit/kit.h"

static mono_t fake_now = { 1000000 };

static mono_t
fake_mono_now(void)
{
	return fake_now;
}

#define mono_now fake_mono_now
#include "controller/log.c"
#undef mono_now

/* --- stderr on a pipe ------------------------------------------------------------------------ */

static int saved_stderr, reader;

static void
begin(int capacity)
{
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	if (capacity > 0)
		assert_true(fcntl(fd[0], F_SETPIPE_SZ, capacity) > 0);
	saved_stderr = dup(STDERR_FILENO);
	assert_int_equal(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(fd[1]);
	reader = fd[0];
	memset(&budget, 0, sizeof(budget));
	fake_now.ms += 10 * LOG_WINDOW_MS;
}

/* What has been written so far. */
static const char *
taken(void)
{
	static char text[1 << 20];
	ssize_t n = read(reader, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* From here on, assertions can speak again. */
static void
end(void)
{
	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	if (reader >= 0)
		(void)close(reader);
}

static unsigned
lines(const char *s)
{
	unsigned n = 0;

	for (; *s != '\0'; s++)
		n += *s == '\n';
	return n;
}

/* --- lines ----------------------------------------------------------------------------------- */

static void
log_line_has_level_area_and_sentence(void **state)
{
	(void)state;
	begin(0);
	log_error("engine", "cannot open %s: %d", "x", 7);
	log_warning("config", "survived");
	log_info("keeper", "a change");
	const char *text = taken();
	end();
	assert_string_equal(text,
		"error: engine: cannot open x: 7\nwarning: config: survived\ninfo: keeper: a change\n");
}

static void
log_line_bytes_of_strangers_are_made_printable(void **state)
{
	(void)state;
	begin(0);
	log_info("engine", "%s", "a\nerror: engine: forged\r\x1b[31m\\ caf\xc3\xa9");
	const char *text = taken();
	end();
	assert_string_equal(text,
		"info: engine: a\\x0aerror: engine: forged\\x0d\\x1b[31m\\x5c caf\\xc3\\xa9\n");
}

static void
log_line_too_long_is_cut_and_still_one_line(void **state)
{
	static const char bytes[] = { 'a', '\n', '\xff', '\\' };

	(void)state;
	for (size_t i = 0; i < countof(bytes); i++) {
		char stuff[3 * LOG_LINE_MAX];

		memset(stuff, bytes[i], sizeof(stuff));
		stuff[sizeof(stuff) - 1] = '\0';
		begin(0);
		log_info("engine", "%s", stuff);
		const char *text = taken();
		end();
		assert_int_equal(lines(text), 1);
		assert_true(strlen(text) <= LOG_LINE_MAX);
		assert_true(strlen(text) > LOG_LINE_MAX / 2 - 20);
		assert_int_equal(text[strlen(text) - 1], '\n');
	}
}

static void
log_line_an_empty_sentence_is_a_line(void **state)
{
	(void)state;
	begin(0);
	log_info("engine", "%s", "");
	const char *text = taken();
	end();
	assert_string_equal(text, "info: engine: \n");
}

static void
log_line_verbosity_decides_and_errors_are_always_told(void **state)
{
	static const struct {
		enum log_level level;
		const char *text;
	} rows[] = {
		{ LOG_ERROR, "error: a: e\n" },
		{ LOG_WARNING, "error: a: e\nwarning: a: w\n" },
		{ LOG_INFO, "error: a: e\nwarning: a: w\ninfo: a: i\n" },
		{ LOG_DEBUG, "error: a: e\nwarning: a: w\ninfo: a: i\ndebug: a: d\n" },
	};

	(void)state;
	assert_int_equal(log_verbosity(), LOG_INFO);
	for (size_t i = 0; i < countof(rows); i++) {
		begin(0);
		log_set_verbosity(rows[i].level);
		log_error("a", "e");
		log_warning("a", "w");
		log_info("a", "i");
		log_debug("a", "d");
		log_set_verbosity(LOG_INFO);
		const char *text = taken();
		end();
		assert_string_equal(text, rows[i].text);
	}
	assert_true(log_wants(LOG_ERROR) && log_wants(LOG_INFO) && !log_wants(LOG_DEBUG));
}

static void
log_line_debug_leaves_half_of_the_budget_to_the_others(void **state)
{
	(void)state;
	begin(1 << 20);
	log_set_verbosity(LOG_DEBUG);
	for (int i = 0; i < 3 * LOG_LINES_MAX; i++)
		log_debug("a", "d");
	unsigned debug = lines(taken());
	for (int i = 0; i < 3 * LOG_LINES_MAX; i++)
		log_error("a", "e");
	unsigned errors = lines(taken());
	log_set_verbosity(LOG_INFO);
	end();
	assert_int_equal(debug, LOG_LINES_MAX / 2);
	assert_in_range(errors, LOG_LINES_MAX / 2, LOG_LINES_MAX / 2 + 1);
}

/* --- when nobody reads, and when there is too much ------------------------------------------- */

static void
log_line_a_logger_that_does_not_read_never_stops_us(void **state)
{
	struct timespec before, after;
	unsigned got;

	(void)state;
	begin(65536);
	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	for (int i = 0; i < 3000; i++) {
		fake_now.ms += 1000; /* the budget is not what is tested here */
		log_info("engine", "line %d, and some text to fill the pipe with", i);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	got = lines(taken());
	log_info("engine", "reads again");
	const char *text = taken();
	end();
	assert_true(after.tv_sec - before.tv_sec < 5);
	assert_in_range(got, 500, 2000);
	char want[100];
	(void)snprintf(want, sizeof(want),
		"warning: log: %u lines lost\ninfo: engine: reads again\n", 3000 - got);
	assert_string_equal(text, want);
}

static void
log_line_more_than_the_budget_is_counted_not_written(void **state)
{
	unsigned first, second, third;

	(void)state;
	begin(1 << 20);
	for (int i = 0; i < LOG_LINES_MAX + 50; i++)
		log_error("store", "the same again");
	first = lines(taken());
	fake_now.ms += LOG_WINDOW_MS - 1;
	log_error("store", "the same again");
	second = lines(taken());
	fake_now.ms += 1;
	log_error("store", "a new window");
	const char *text = taken();
	third = lines(text);
	end();
	assert_int_equal(first, LOG_LINES_MAX);
	assert_int_equal(second, 0);
	assert_int_equal(third, 2);
	assert_string_equal(text, "warning: log: 51 lines lost\nerror: store: a new window\n");
}

static void
log_line_a_reader_that_is_gone_or_a_closed_stderr_is_survived(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	begin(0);
	(void)close(reader);
	reader = -1;
	log_error("engine", "into nothing");
	(void)close(STDERR_FILENO);
	log_error("engine", "nowhere");
	end();
	assert_int_equal(budget.lost, 2); /* and told when somebody reads again */
	(void)signal(SIGPIPE, SIG_DFL);
}

/* --- edges ----------------------------------------------------------------------------------- */

static void
log_edge_tells_changes_only(void **state)
{
	struct log_memory m = { .last = "" };
	int r[7];

	(void)state;
	begin(0);
	r[0] = log_edge(&m, LOG_WARNING, "queue", NULL);
	r[1] = log_edge(&m, LOG_WARNING, "queue", "cannot read");
	r[2] = log_edge(&m, LOG_WARNING, "queue", "cannot read");
	r[3] = log_edge(&m, LOG_ERROR, "queue", "another trouble");
	r[4] = log_edge(&m, LOG_WARNING, "queue", "");
	r[5] = log_edge(&m, LOG_WARNING, "queue", NULL);
	r[6] = log_edge(&m, LOG_WARNING, "queue", "cannot read");
	const char *text = taken();
	end();
	assert_string_equal(text,
		"warning: queue: cannot read\nerror: queue: another trouble\n"
		"info: queue: well again (another trouble)\nwarning: queue: cannot read\n");
	assert_int_equal(r[0] + r[2] + r[5], 0);
	assert_int_equal(r[1] + r[3] + r[4] + r[6], 4);
}

static void
log_edge_a_long_trouble_is_remembered_by_its_beginning(void **state)
{
	struct log_memory m = { .last = "" };
	char trouble[600];
	unsigned n;

	(void)state;
	memset(trouble, 'x', sizeof(trouble));
	trouble[sizeof(trouble) - 1] = '\0';
	begin(0);
	(void)log_edge(&m, LOG_WARNING, "queue", trouble);
	(void)log_edge(&m, LOG_WARNING, "queue", trouble);
	trouble[400] = 'y'; /* beyond what is remembered */
	(void)log_edge(&m, LOG_WARNING, "queue", trouble);
	trouble[10] = 'y';
	(void)log_edge(&m, LOG_WARNING, "queue", trouble);
	n = lines(taken());
	end();
	assert_int_equal(n, 2);
}

static void
log_edge_text_with_percent_signs_is_no_format(void **state)
{
	struct log_memory m = { .last = "" };

	(void)state;
	begin(0);
	(void)log_edge(&m, LOG_WARNING, "queue", "100%s %n %d");
	(void)log_edge(&m, LOG_WARNING, "queue", NULL);
	const char *text = taken();
	end();
	assert_string_equal(text, "warning: queue: 100%s %n %d\ninfo: queue: well again (100%s %n %d)\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_line_has_level_area_and_sentence),
		cmocka_unit_test(log_line_bytes_of_strangers_are_made_printable),
		cmocka_unit_test(log_line_too_long_is_cut_and_still_one_line),
		cmocka_unit_test(log_line_an_empty_sentence_is_a_line),
		cmocka_unit_test(log_line_verbosity_decides_and_errors_are_always_told),
		cmocka_unit_test(log_line_debug_leaves_half_of_the_budget_to_the_others),
		cmocka_unit_test(log_line_a_logger_that_does_not_read_never_stops_us),
		cmocka_unit_test(log_line_more_than_the_budget_is_counted_not_written),
		cmocka_unit_test(log_line_a_reader_that_is_gone_or_a_closed_stderr_is_survived),
		cmocka_unit_test(log_edge_tells_changes_only),
		cmocka_unit_test(log_edge_a_long_trouble_is_remembered_by_its_beginning),
		cmocka_unit_test(log_edge_text_with_percent_signs_is_no_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
