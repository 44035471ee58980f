/* SPDX-License-Identifier: ISC */
/*
 * The client library: what it says is what was answered, and whatever the other side does, it comes back in time and
 * leaves nothing behind.
 *
 * The other side is tests/standin/asked.h in a process of its own.  Rows of the failure list: Q5 Q14.
 */
#include "lib/spillway.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/dial.h"
#include "tests/hostile.h"
#include "tests/standin/asked.h"
#include "tests/unit/kit.h"

#define SOON 2000 /* ms: longer than anything that answers takes */
#define MARGIN 150 /* ms: the machine may be busy */

/* --- the other side -------------------------------------------------------------------------- */

static char tree[KIT_PATH_MAX];
static pid_t stub;

static int
set_up(void **state)
{
	(void)state;
	kit_tree(tree);
	return setenv(RUNDIR_ENV, tree, 1);
}

static void
stub_stop(void)
{
	if (stub == 0)
		return;
	(void)kill(stub, SIGKILL);
	assert_int_equal(waitpid(stub, NULL, 0), stub);
	stub = 0;
}

static int
tear_down(void **state)
{
	(void)state;
	stub_stop();
	kit_remove(tree);
	return 0;
}

static void
stub_start(struct asked_plan plan)
{
	static struct asked a;
	char path[KIT_PATH_MAX];

	stub_stop();
	if (plan.line == NULL)
		plan.line = "0 1/10\r\n";
	if (plan.hang_up_ms == 0)
		plan.hang_up_ms = -1;
	plan.to = fopen(kit_path(path, tree, "told"), "w");
	assert_non_null(plan.to);
	assert_int_equal(asked_open(&a, tree, &plan), 0);
	pid_t pid = fork();
	assert_true(pid >= 0); /* before it is anybody's to kill */
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			asked_turn(&a);
	}
	stub = pid;
	assert_int_equal(close(a.ask), 0);
	assert_int_equal(close(a.rate), 0);
	assert_int_equal(fclose(plan.to), 0);
}

static void
answer_line(const char *line)
{
	stub_start((struct asked_plan) { .line = line });
}

static void
do_as(enum asked_how how)
{
	stub_start((struct asked_plan) { .how = how });
}

/* What it was asked, all of it.  Returns its length. */
static size_t
told(char *ret, size_t cap)
{
	char path[KIT_PATH_MAX];
	int fd = open(kit_path(path, tree, "told"), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, ret, cap - 1);

	assert_true(n >= 0);
	ret[n] = '\0';
	assert_int_equal(close(fd), 0);
	return (size_t)n;
}

/* --- calls, and what holds for each ---------------------------------------------------------- */

static struct spillway_rate rate;
static struct spillway_verdict verdict;

static unsigned
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	assert_int_equal(closedir(d), 0);
	return n;
}

static const struct spillway_session session = {
	.stage = SPILLWAY_AT_RCPT, .checks = SPILLWAY_IPTHROTTLE | SPILLWAY_RCPTTHROTTLE, .ip = "192.0.2.1", .host = "c.test",
	.helo = "helo.test", .sender = "", .recipient = "bob@example.test", .pid = 4711,
};

enum call { RATE, PEEK, ASK, CALLS };

static int
make_call(enum call call, int ms)
{
	memset(&rate, 0x5a, sizeof(rate));
	memset(&verdict, 0x5a, sizeof(verdict));
	switch (call) {
	case RATE:
		return spillway_rate("ip", "192.0.2.1", ms, &rate);
	case PEEK:
		return spillway_peek("ip", "192.0.2.1", ms, &rate);
	default:
		return spillway_ask(&session, ms, &verdict);
	}
}

/* The call, in time, with nothing left behind.  Returns what it does. */
static int
checked_call(enum call call, int ms)
{
	unsigned fds = open_fds();
	size_t heap = mallinfo2().uordblks;
	mono_t began = mono_now();

	errno = EXDEV;
	int e = make_call(call, ms);
	int64_t took = mono_since(began, mono_now());
	assert_int_equal(errno, EXDEV);
	assert_true(took <= (ms > 0 ? ms : 0) + MARGIN * (kit_is_slow() ? 20 : 1));
	assert_int_equal(open_fds(), fds);
	assert_int_equal(mallinfo2().uordblks, heap);
	return e;
}

static void
assert_passes(enum call call)
{
	if (call == ASK) {
		assert_int_equal(verdict.says, SPILLWAY_PASS);
		assert_int_equal(verdict.check, 0);
		assert_int_equal(verdict.code, 0);
		assert_string_equal(verdict.id, "");
	} else {
		assert_int_equal(rate.answer, SPILLWAY_OK);
		assert_int_equal(rate.n, 0);
		assert_int_equal(rate.max, 0);
		assert_string_equal(rate.text, "");
	}
}

/* It can't be asked: `error`, or `other`, and the result says pass. */
static void
assert_fails(enum call call, int ms, int error, int other)
{
	int e = checked_call(call, ms);

	if (e != error && e != other)
		print_message("# call %d: %d\n", (int)call, e);
	assert_true(e == error || e == other);
	assert_passes(call);
}

static void
all_fail(int ms, int error, int other)
{
	for (enum call c = RATE; c < CALLS; c++)
		assert_fails(c, ms, error, other);
}

/* --- marks ----------------------------------------------------------------------------------- */

static void
rate_answers_come_as_they_were_given(void **state)
{
	static const struct {
		const char *line;
		int answer;
		int64_t n, max;
		const char *text;
	} rows[] = {
		{ "0 1/10\r\n", SPILLWAY_OK, 1, 10, "0 1/10" },
		{ "1 11/10\r\n", SPILLWAY_TOO_OFTEN, 11, 10, "1 11/10" },
		{ "0 0/0\r\n", SPILLWAY_OK, 0, 0, "0 0/0" },
		{ "0 0/-1\r\n", SPILLWAY_OK, 0, -1, "0 0/-1" },
		{ "0 1/10\n", SPILLWAY_OK, 1, 10, "0 1/10" },
		{ "0 9223372036854775807/9223372036854775807\r\n", SPILLWAY_OK, INT64_MAX, INT64_MAX,
			"0 9223372036854775807/9223372036854775807" },
		{ "2 Class not found: ip\r\n", SPILLWAY_NO_ANSWER, 0, 0, "2 Class not found: ip" },
		{ "2 a\x1b[2J\xff\\b\r\n", SPILLWAY_NO_ANSWER, 0, 0, "2 a\\x1b[2J\\xff\\x5cb" },
		{ "0 1/10\r\n1 11/10\r\n", SPILLWAY_OK, 1, 10, "0 1/10" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		answer_line(rows[i].line);
		assert_int_equal(checked_call(RATE, SOON), 0);
		assert_int_equal(rate.answer, rows[i].answer);
		assert_true(rate.n == rows[i].n && rate.max == rows[i].max);
		assert_string_equal(rate.text, rows[i].text);
	}
}

static void
rate_other_answers_are_none(void **state)
{
	static const char *const lines[] = {
		"\r\n", "\n", "0\r\n", "0 \r\n", "1\r\n", "3 1/1\r\n", "-1 1/1\r\n", "0 1\r\n", "0 1/\r\n", "0 /1\r\n", "0 a/b\r\n",
		"0 1/10 \r\n", "0  1/10\r\n", " 0 1/10\r\n", "0 -2/10\r\n", "0 1/-2\r\n", "0 18446744073709551616/1\r\n",
		"0 9223372036854775808/1\r\n", "01 1/1\r\n", "ok\r\n", "HTTP/1.1 400 Bad Request\r\n",
	};
	char long_line[ASKED_LINE_MAX];

	(void)state;
	for (size_t i = 0; i < countof(lines); i++) {
		answer_line(lines[i]);
		assert_fails(RATE, SOON, -EBADMSG, -EBADMSG);
	}
	memset(long_line, '2', sizeof(long_line) - 1);
	long_line[sizeof(long_line) - 1] = '\0';
	answer_line(long_line); /* without an end */
	assert_fails(RATE, SOON, -EBADMSG, -EBADMSG);
}

static void
rate_and_peek_say_the_line_of_the_protocol(void **state)
{
	char text[200];

	(void)state;
	answer_line("0 1/10\r\n");
	assert_int_equal(checked_call(RATE, SOON), 0);
	assert_int_equal(checked_call(PEEK, SOON), 0);
	assert_int_equal(spillway_rate("user", "a b  c@\xc3\xa9.test", SOON, &rate), 0);
	(void)told(text, sizeof(text));
	assert_string_equal(text, "rate: ip 192.0.2.1\nrate: ?ip 192.0.2.1\nrate: user a b  c@\xc3\xa9.test\n");
}

static void
rate_of_odd_arguments_asks_nobody(void **state)
{
	static char long_text[SPILLWAY_VALUE_MAX + 2];
	static const struct {
		const char *limit_class, *value;
	} rows[] = {
		{ NULL, "v" }, { "c", NULL }, { "", "v" }, { "c", "" }, { " ", "v" }, { "a b", "v" }, { "?c", "v" }, { "+c", "v" },
		{ "c\n", "v" }, { "c\t", "v" }, { "c", "v\n" }, { "c", "\r" }, { "c", "a\nc b" }, { "c", "\x7f" }, { "c", "\t" },
	};
	char text[SPILLWAY_VALUE_MAX + 100];

	(void)state;
	answer_line("1 11/10\r\n");
	for (size_t i = 0; i < countof(rows); i++) {
		memset(&rate, 0x5a, sizeof(rate));
		assert_int_equal(spillway_rate(rows[i].limit_class, rows[i].value, SOON, &rate), -EINVAL);
		assert_passes(RATE);
		assert_int_equal(spillway_peek(rows[i].limit_class, rows[i].value, SOON, &rate), -EINVAL);
	}
	assert_int_equal(spillway_rate("c", "v", SOON, NULL), -EINVAL);
	memset(long_text, 'x', sizeof(long_text) - 1);
	assert_int_equal(spillway_rate("c", long_text, SOON, &rate), -EMSGSIZE);
	assert_passes(RATE);
	assert_int_equal(spillway_rate(long_text, "v", SOON, &rate), -EMSGSIZE);
	assert_int_equal(told(text, sizeof(text)), 0);
	/* The longest that may be. */
	long_text[SPILLWAY_VALUE_MAX] = '\0';
	assert_int_equal(spillway_peek(&long_text[SPILLWAY_VALUE_MAX - SPILLWAY_CLASS_MAX], long_text, SOON, &rate), 0);
	assert_int_equal(told(text, sizeof(text)), 6 + 1 + SPILLWAY_CLASS_MAX + 1 + SPILLWAY_VALUE_MAX + 1);
}

/* One question asked is one question heard: no value gets out of its place. */
static void
rate_of_hostile_values_is_one_line_or_none(void **state)
{
	static char text[HOSTILE_MAX + 1], want[HOSTILE_MAX + 100], heard[HOSTILE_MAX + 100];

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		(void)hostile_text(i, text);
		answer_line("0 1/10\r\n");
		int e = spillway_rate("class", text, SOON, &rate);
		size_t n = told(heard, sizeof(heard));
		assert_true(e == 0 || e == -EINVAL || e == -EMSGSIZE);
		kit_format(want, sizeof(want), e == 0 ? "rate: class %s\n" : "%.0s", text);
		assert_int_equal(n, strlen(want));
		assert_string_equal(heard, want);
		assert_true(e != 0 || strpbrk(text, "\r\n\t\x1b") == NULL);
	}
}

/* --- sessions -------------------------------------------------------------------------------- */

static void
ask_sends_the_whole_session(void **state)
{
	const struct spillway_session own = { .stage = SPILLWAY_AT_MAIL, .checks = SPILLWAY_USERTHROTTLE, .user = "alice" };
	struct spillway_session relay = own;
	char text[1000], want[1000];

	(void)state;
	relay.user = "";
	relay.own = 1;
	stub_start((struct asked_plan) { 0 });
	assert_int_equal(checked_call(ASK, SOON), 0);
	assert_passes(ASK);
	assert_int_equal(spillway_ask(&own, SOON, &verdict), 0);
	assert_int_equal(spillway_ask(&relay, SOON, &verdict), 0);
	(void)told(text, sizeof(text));
	kit_format(want, sizeof(want),
		"ask: rcpt stranger overload 0 0 pid=4711 ip=192.0.2.1 helo=helo.test sender= recipient=bob@example.test "
		"host=c.test wants=ipthrottle,rcptthrottle\n"
		"ask: mail own overload 0 0 pid=%d ip=unknown user=alice wants=userthrottle\n"
		"ask: mail own overload 0 0 pid=%d ip=unknown wants=userthrottle\n",
		(int)getpid(), (int)getpid());
	assert_string_equal(text, want);
}

static void
ask_verdict_comes_as_it_was_given(void **state)
{
	static const struct ask_answer refusal = {
		.verdict = VERDICT_REFUSE, .check = CHECK_RCPTTHROTTLE, .code = 451, .n = 101, .max = 100, .id = "r4k2mq7h2",
	};
	struct ask_answer close_it = refusal;

	(void)state;
	stub_start((struct asked_plan) { .answer = refusal });
	assert_int_equal(checked_call(ASK, SOON), 0);
	assert_int_equal(verdict.says, SPILLWAY_REFUSE);
	assert_int_equal(verdict.check, SPILLWAY_RCPTTHROTTLE);
	assert_int_equal(verdict.code, 451);
	assert_true(verdict.n == 101 && verdict.max == 100);
	assert_string_equal(verdict.id, "r4k2mq7h2");
	close_it.verdict = VERDICT_CLOSE;
	stub_start((struct asked_plan) { .answer = close_it });
	assert_int_equal(checked_call(ASK, SOON), 0);
	assert_int_equal(verdict.says, SPILLWAY_CLOSE);
}

static void
ask_verdict_on_what_was_not_asked_is_none(void **state)
{
	struct ask_answer a = { .verdict = VERDICT_REFUSE, .check = CHECK_CONCURRENCY, .code = 421 };

	(void)state;
	stub_start((struct asked_plan) { .answer = a });
	assert_fails(ASK, SOON, -EBADMSG, -EBADMSG);
	a.check = CHECK_IPTHROTTLE;
	a.code = 0;
	stub_start((struct asked_plan) { .answer = a });
	assert_fails(ASK, SOON, -EBADMSG, -EBADMSG);
}

/* Who sleeps is the plugin: the library has nobody that it could keep waiting. */
static void
ask_does_not_wait_for_a_delay(void **state)
{
	(void)state;
	stub_start((struct asked_plan) { .answer = { .delay_ms = ASK_DELAY_MAX_MS } });
	assert_int_equal(checked_call(ASK, 500), 0);
	assert_passes(ASK);
}

static void
ask_of_odd_arguments_asks_nobody(void **state)
{
	struct spillway_session s = session;
	char text[100];

	(void)state;
	stub_start((struct asked_plan) { .answer = { .verdict = VERDICT_CLOSE, .check = CHECK_IPTHROTTLE, .code = 421 } });
	assert_int_equal(spillway_ask(NULL, SOON, &verdict), -EINVAL);
	assert_int_equal(spillway_ask(&session, SOON, NULL), -EINVAL);
	for (s.stage = -1; s.stage <= STAGE_COUNT; s.stage += STAGE_COUNT + 1)
		assert_int_equal(spillway_ask(&s, SOON, &verdict), -EINVAL);
	s = session;
	for (unsigned bit = 1; bit != 0; bit <<= 1) {
		s.checks = bit;
		if ((bit & (SPILLWAY_CONCURRENCY | SPILLWAY_IPTHROTTLE | SPILLWAY_USERTHROTTLE | SPILLWAY_RCPTTHROTTLE)) == 0)
			assert_int_equal(spillway_ask(&s, SOON, &verdict), -EINVAL);
	}
	s.checks = 0;
	assert_int_equal(spillway_ask(&s, SOON, &verdict), -EINVAL);
	s = session;
	s.ip = "unknown";
	assert_int_equal(spillway_ask(&s, SOON, &verdict), -EINVAL);
	assert_passes(ASK);
	assert_int_equal(told(text, sizeof(text)), 0);
}

/* --- nobody there, or somebody odd ----------------------------------------------------------- */

static void
q14_nobody_there_passes_at_once(void **state)
{
	char long_dir[200], path[KIT_PATH_MAX];

	(void)state;
	all_fail(5, -ENOENT, -ENOENT);
	do_as(ASKED_ANSWERS);
	stub_stop(); /* its sockets stay */
	all_fail(5, -ECONNREFUSED, -ECONNREFUSED);
	for (int i = 0; i < 2; i++) {
		const char *name = i == 0 ? RUNDIR_ASK_SOCKET : RUNDIR_RATE_SOCKET;

		assert_int_equal(unlink(kit_path(path, tree, name)), 0);
		kit_puts(tree, name, "a file\n");
	}
	all_fail(5, -ECONNREFUSED, -ECONNREFUSED);
	memset(long_dir, 'x', sizeof(long_dir) - 1);
	long_dir[0] = '/';
	long_dir[sizeof(long_dir) - 1] = '\0';
	assert_int_equal(setenv(RUNDIR_ENV, long_dir, 1), 0);
	all_fail(5, -ENAMETOOLONG, -ENAMETOOLONG);
}

static void
q14_no_descriptor_free_passes(void **state)
{
	(void)state;
	do_as(ASKED_ANSWERS);
	kit_limit_fds(0);
	int e[CALLS];
	for (enum call c = RATE; c < CALLS; c++) {
		e[c] = make_call(c, SOON);
		assert_passes(c);
	}
	kit_limit_fds(-1);
	for (enum call c = RATE; c < CALLS; c++)
		assert_int_equal(e[c], -EMFILE);
}

static void
q5_who_says_other_things_is_not_believed(void **state)
{
	(void)state;
	do_as(ASKED_GARBAGE);
	all_fail(SOON, -EBADMSG, -EBADMSG);
	do_as(ASKED_HALF);
	all_fail(SOON, -EBADMSG, -EBADMSG);
	do_as(ASKED_CLOSES);
	all_fail(SOON, -ECONNRESET, -EPIPE);
	do_as(ASKED_TWICE);
	assert_fails(ASK, SOON, -EBADMSG, -EBADMSG); /* a packet is an answer or none */
	assert_int_equal(checked_call(RATE, SOON), 0);
}

static void
q5_who_does_not_answer_costs_the_deadline_and_no_more(void **state)
{
	static const int deadlines[] = { INT32_MIN, -1, 0, 1, 50, 200 };
	static const enum asked_how hows[] = { ASKED_SILENT, ASKED_HALF_OPEN };

	(void)state;
	for (size_t h = 0; h < countof(hows); h++) {
		do_as(hows[h]);
		for (size_t i = 0; i < countof(deadlines); i++)
			for (enum call c = RATE; c < CALLS; c++) {
				mono_t began = mono_now();

				if (c == ASK && hows[h] == ASKED_HALF_OPEN)
					continue; /* half a packet is a packet */
				assert_fails(c, deadlines[i], -ETIMEDOUT, -ETIMEDOUT);
				assert_true(mono_since(began, mono_now()) >= deadlines[i]);
			}
	}
}

static void
q5_who_answers_slowly_is_heard_within_the_deadline(void **state)
{
	(void)state;
	stub_start((struct asked_plan) { .wait_ms = 100 });
	for (enum call c = RATE; c < CALLS; c++) {
		assert_int_equal(checked_call(c, SOON), 0);
		assert_fails(c, 20, -ETIMEDOUT, -ETIMEDOUT);
	}
	do_as(ASKED_DRIPS); /* eight bytes take 240 ms, and none of the waits between is long */
	assert_int_equal(checked_call(RATE, SOON), 0);
	assert_int_equal(rate.n, 1);
	assert_fails(RATE, 100, -ETIMEDOUT, -ETIMEDOUT);
}

static void
q14_who_is_stopped_costs_the_deadline_until_its_backlog_is_full(void **state)
{
	(void)state;
	do_as(ASKED_ANSWERS);
	assert_int_equal(kill(stub, SIGSTOP), 0);
	all_fail(50, -ETIMEDOUT, -ETIMEDOUT);
	for (int i = 0; i < 300; i++)
		for (enum call c = RATE; c < CALLS; c++)
			(void)make_call(c, 0);
	all_fail(200, -EAGAIN, -EAGAIN);
	mono_t began = mono_now();
	all_fail(60000, -EAGAIN, -EAGAIN);
	assert_true(mono_since(began, mono_now()) < 3 * MARGIN);
	assert_int_equal(kill(stub, SIGCONT), 0);
}

static void
q14_who_never_takes_a_connection_is_as_good_as_gone(void **state)
{
	(void)state;
	do_as(ASKED_DEAF);
	all_fail(20, -ETIMEDOUT, -EAGAIN);
	all_fail(200, -EAGAIN, -ETIMEDOUT);
	all_fail(60000, -EAGAIN, -EAGAIN);
}

/* --- in any program -------------------------------------------------------------------------- */

static volatile sig_atomic_t alarms;

static void
on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void
call_under_a_hail_of_signals_keeps_its_deadline(void **state)
{
	const struct itimerval hail = { { 0, 2000 }, { 0, 2000 } }, none = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, was; /* no SA_RESTART */

	(void)state;
	do_as(ASKED_SILENT);
	assert_int_equal(sigaction(SIGALRM, &sa, &was), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &hail, NULL), 0);
	for (enum call c = RATE; c < CALLS; c++) {
		mono_t began = mono_now();

		assert_int_equal(make_call(c, 100), -ETIMEDOUT);
		int64_t took = mono_since(began, mono_now());
		assert_true(took >= 100 && took <= 100 + MARGIN * (kit_is_slow() ? 20 : 1));
	}
	assert_int_equal(setitimer(ITIMER_REAL, &none, NULL), 0);
	stub_start((struct asked_plan) { .wait_ms = 50 });
	assert_int_equal(setitimer(ITIMER_REAL, &hail, NULL), 0);
	for (enum call c = RATE; c < CALLS; c++)
		assert_int_equal(make_call(c, SOON), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &none, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &was, NULL), 0);
	assert_true(alarms > 10);
}

static void
call_does_not_raise_sigpipe(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		(void)signal(SIGPIPE, SIG_DFL);
		do_as(ASKED_CLOSES);
		for (int i = 0; i < 200; i++)
			for (enum call c = RATE; c < CALLS; c++)
				if (make_call(c, SOON) == 0)
					_exit(1);
		stub_stop();
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static bool
is_ours_alone(int fd)
{
	return fd > 2 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

static void
dial_takes_no_standard_descriptor_and_none_for_others(void **state)
{
	(void)state;
	do_as(ASKED_SILENT);
	int usual = dial(tree, RUNDIR_RATE_SOCKET, SOCK_STREAM);
	assert_true(is_ours_alone(usual));
	assert_int_equal(close(usual), 0);
	pid_t pid = fork();
	if (pid == 0) {
		for (int fd = 0; fd < 3; fd++)
			(void)close(fd);
		int fd = dial(tree, RUNDIR_RATE_SOCKET, SOCK_STREAM);
		_exit(is_ours_alone(fd) && fcntl(0, F_GETFD) < 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *
call_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < kit_rounds(200); i++) {
		struct spillway_verdict v;
		struct spillway_rate r;

		if (spillway_rate("ip", "192.0.2.1", 20000, &r) != 0 || r.n != 1 || r.max != 10)
			return arg;
		if (spillway_ask(&session, 20000, &v) != 0 || v.says != SPILLWAY_REFUSE || strcmp(v.id, "t1") != 0)
			return arg;
	}
	return NULL;
}

static void
calls_of_many_threads_do_not_meet(void **state)
{
	pthread_t thread[8];
	void *failed;

	(void)state;
	stub_start((struct asked_plan) {
		.answer = { .verdict = VERDICT_REFUSE, .check = CHECK_IPTHROTTLE, .code = 421, .id = "t1" },
	});
	for (size_t i = 0; i < countof(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, call_often, thread), 0);
	for (size_t i = 0; i < countof(thread); i++) {
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_null(failed);
	}
}

static void *
call_while_cancelled(void *arg)
{
	int *e = arg;

	(void)pthread_cancel(pthread_self()); /* from now on, at the first point where it may be */
	e[0] = make_call(RATE, 50);
	e[1] = make_call(ASK, 50);
	pthread_testcancel();
	e[2] = 1; /* not reached */
	return NULL;
}

static void
call_is_no_cancellation_point(void **state)
{
	unsigned fds = open_fds();
	int e[3] = { 1, 1, 0 };
	pthread_t thread;
	void *end;

	(void)state;
	do_as(ASKED_SILENT);
	assert_int_equal(pthread_create(&thread, NULL, call_while_cancelled, e), 0);
	assert_int_equal(pthread_join(thread, &end), 0);
	assert_ptr_equal(end, PTHREAD_CANCELED);
	assert_int_equal(e[0], -ETIMEDOUT);
	assert_int_equal(e[1], -ETIMEDOUT);
	assert_int_equal(e[2], 0);
	assert_int_equal(open_fds(), fds);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(rate_answers_come_as_they_were_given),
		TEST(rate_other_answers_are_none),
		TEST(rate_and_peek_say_the_line_of_the_protocol),
		TEST(rate_of_odd_arguments_asks_nobody),
		TEST(rate_of_hostile_values_is_one_line_or_none),
		TEST(ask_sends_the_whole_session),
		TEST(ask_verdict_comes_as_it_was_given),
		TEST(ask_verdict_on_what_was_not_asked_is_none),
		TEST(ask_does_not_wait_for_a_delay),
		TEST(ask_of_odd_arguments_asks_nobody),
		TEST(q14_nobody_there_passes_at_once),
		TEST(q14_no_descriptor_free_passes),
		TEST(q5_who_says_other_things_is_not_believed),
		TEST(q5_who_does_not_answer_costs_the_deadline_and_no_more),
		TEST(q5_who_answers_slowly_is_heard_within_the_deadline),
		TEST(q14_who_is_stopped_costs_the_deadline_until_its_backlog_is_full),
		TEST(q14_who_never_takes_a_connection_is_as_good_as_gone),
		TEST(call_under_a_hail_of_signals_keeps_its_deadline),
		TEST(call_does_not_raise_sigpipe),
		TEST(dial_takes_no_standard_descriptor_and_none_for_others),
		TEST(calls_of_many_threads_do_not_meet),
		TEST(call_is_no_cancellation_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
