/* SPDX-License-Identifier: ISC */
/* The control port for telnet: lines out of bytes, and visitors of all kinds. */
#include "controller/shell.h"

#include <event2/event.h>
#include <poll.h>
#include <sys/socket.h>

#include "controller/telnet.h"

#include "tests/unit/kit.h"

static const char banner[] = "libut control port interpreter\nType 'help' for command list.\n\n";

/* --- telnet ---------------------------------------------------------------------------------- */

/* All lines in the bytes, each with a "|" behind. */
static const char *
lines_of(const char *bytes, size_t n)
{
	static char all[4096];
	struct telnet t = { 0 };
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (!telnet_take(&t, (uint8_t)bytes[i]))
			continue;
		assert_int_equal(strlen(t.line), t.len);
		kit_format(all + len, sizeof(all) - len, "%s|", t.line);
		len += t.len + 1;
	}
	all[len] = '\0';
	return all;
}

static void
telnet_take_leaves_only_text(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *lines;
	} rows[] = {
#define ROW(b, l) { b, sizeof(b) - 1, l }
		ROW("help\r\n", "help|"), ROW("help\n", "help|"), ROW("\r\n\n", "||"), ROW("a\r\0b\r\n", "ab|"),
		ROW("help", ""), ROW("\xff\xfb\x1fhelp\n", "help|"), ROW("he\xff\xf1lp\n", "help|"),
		ROW("\xff\xfd\x03\xff\xfe\x01var\n", "var|"), ROW("a\xff\xff" "b\n", "a\xff" "b|"),
		ROW("\xff\xfa\x18\0vt100\xff\xf0help\n", "help|"), ROW("\xff\xfa\x18\xff\xff\n\xff\xf0x\n", "x|"),
		ROW("\xff\xf4\xff\xfd\x06\nhelp\r\n", "|help|"), /* ^C */
		ROW("\xff\xfa never ends\nhelp\n", ""),
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_string_equal(lines_of(rows[i].bytes, rows[i].n), rows[i].lines);
}

static void
telnet_take_a_line_too_long_is_known_and_the_next_is_good(void **state)
{
	struct telnet t = { 0 };

	(void)state;
	for (int i = 0; i < TELNET_LINE_MAX; i++)
		assert_false(telnet_take(&t, 'x'));
	assert_true(telnet_take(&t, '\n'));
	assert_false(t.too_long);
	assert_int_equal(t.len, TELNET_LINE_MAX);
	for (int i = 0; i < 10 * TELNET_LINE_MAX; i++)
		assert_false(telnet_take(&t, 'x'));
	assert_true(telnet_take(&t, '\n'));
	assert_true(t.too_long);
	assert_false(telnet_take(&t, 'y'));
	assert_true(telnet_take(&t, '\n'));
	assert_false(t.too_long);
	assert_string_equal(t.line, "y");
}

/* --- the shell ------------------------------------------------------------------------------- */

struct bench {
	struct event_base *base;
	struct shell *shell;
	unsigned ran;
};

static bool
run(const char *line, struct evbuffer *out, void *arg)
{
	struct bench *b = arg;

	b->ran++;
	if (strcmp(line, "exit") == 0)
		return false;
	if (strcmp(line, "much") == 0)
		for (int i = 0; i < 1000; i++)
			(void)evbuffer_add_printf(out, "%0100d\n", i);
	(void)evbuffer_add_printf(out, "%s!\n", line);
	return true;
}

static void
begin(struct bench *b)
{
	*b = (struct bench) { .base = event_base_new() };
	assert_non_null(b->base);
	assert_int_equal(shell_new(b->base, "127.0.0.1", 0, run, b, &b->shell), 0);
}

static void
end(struct bench *b)
{
	shell_free(b->shell);
	event_base_free(b->base);
}

static void
turns(struct bench *b, int n)
{
	while (n-- > 0)
		assert_true(event_base_loop(b->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
}

static int
visit(struct bench *b)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	shell_adopt(b->shell, pair[1]);
	return pair[0];
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come; ends in "|" when the shell has hung up. */
static const char *
heard(int fd)
{
	static char text[1 << 18];
	size_t len = 0;
	ssize_t n = -1;

	while (len < sizeof(text) - 2 && (n = recv(fd, text + len, sizeof(text) - 2 - len, 0)) > 0)
		len += (size_t)n;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		text[len++] = '|';
	text[len] = '\0';
	return text;
}

static void
shell_greets_runs_lines_and_says_goodbye(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	turns(&b, 2);
	assert_string_equal(heard(fd), banner);
	say(fd, "one\r\n\r\ntwo\nthr");
	turns(&b, 3);
	assert_string_equal(heard(fd), "one!\ntwo!\n");
	say(fd, "ee\nexit\nfour\n");
	turns(&b, 3);
	assert_string_equal(heard(fd), "three!\n|");
	assert_int_equal(b.ran, 4);
	(void)close(fd);
	end(&b);
}

static void
shell_who_says_all_and_hangs_up_gets_all_answers(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	say(fd, "much\none\ntwo\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	size_t len = 0;
	const char *text = "";
	for (int i = 0; i < 100 && strchr(text, '|') == NULL; i++) {
		turns(&b, 2);
		text = heard(fd);
		len += strlen(text);
	}
	assert_non_null(strstr(text, "one!\ntwo!\n|"));
	assert_int_equal(len, strlen(banner) + 101000 + 6 + 5 + 5 + 1);
	(void)close(fd);
	end(&b);
}

static void
shell_who_does_not_read_is_not_read_from(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	for (int i = 0; i < 200; i++) {
		(void)send(fd, "much\nmuch\nmuch\n", 15, MSG_NOSIGNAL);
		turns(&b, 2);
	}
	assert_in_range(b.ran, 1, 20);
	int other = visit(&b);
	say(other, "one\n");
	turns(&b, 3);
	assert_non_null(strstr(heard(other), "one!\n"));
	unsigned before = b.ran;
	for (int i = 0; i < 100; i++) {
		(void)heard(fd);
		turns(&b, 2);
	}
	assert_true(b.ran > before + 10);
	(void)close(fd);
	(void)close(other);
	end(&b);
}

static void
shell_a_line_too_long_is_an_error(void **state)
{
	char text[3000];
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	memset(text, 'x', sizeof(text));
	kit_format(text + sizeof(text) - 6, 6, "\none\n");
	say(fd, text);
	turns(&b, 3);
	assert_string_equal(heard(fd) + strlen(banner), "Line is too long\n\nError\none!\n");
	(void)close(fd);
	end(&b);
}

static void
shell_one_too_many_and_the_most_silent_goes(void **state)
{
	int fd[SHELL_CLIENTS + 1];
	struct bench b;

	(void)state;
	begin(&b);
	for (int i = 0; i < SHELL_CLIENTS; i++) {
		fd[i] = visit(&b);
		turns(&b, 2);
		(void)poll(NULL, 0, 2);
	}
	say(fd[0], "one\n");
	turns(&b, 3);
	fd[SHELL_CLIENTS] = visit(&b);
	turns(&b, 3);
	for (int i = 0; i <= SHELL_CLIENTS; i++) {
		const char *text = heard(fd[i]);

		assert_int_equal(text[strlen(text) - 1] == '|', i == 1);
		(void)close(fd[i]);
	}
	end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(telnet_take_leaves_only_text),
		cmocka_unit_test(telnet_take_a_line_too_long_is_known_and_the_next_is_good),
		cmocka_unit_test(shell_greets_runs_lines_and_says_goodbye),
		cmocka_unit_test(shell_who_says_all_and_hangs_up_gets_all_answers),
		cmocka_unit_test(shell_who_does_not_read_is_not_read_from),
		cmocka_unit_test(shell_a_line_too_long_is_an_error),
		cmocka_unit_test(shell_one_too_many_and_the_most_silent_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
