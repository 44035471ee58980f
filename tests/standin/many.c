/* SPDX-License-Identifier: ISC */
/*
 * many - run a plugin many times, as qmail-spp would, and hold each run to one answer
 *
 *	many [--times N] [--until FILE] [--jobs N] [--reply TEXT] [--log TEXT]
 *	     [--hostile VAR,... [--together] | --addresses v4|v6|64 | --own] -- PLUGIN
 *
 * A run that takes so long that the plugin may have come to its deadline, and says nothing strange, is done again, and
 * counted as late instead; ten times for one.  Every run ends in one of: it passed (printed nothing), it replied (printed TEXT and one line feed, no other
 * byte), or it did something else.  With --log, fd 2 must get TEXT and one line feed exactly when fd 1 got a reply, with "PID" in
 * TEXT standing for the number of the parent.
 *
 *	--times N          so many runs (default 1); with --until FILE at least so many, until FILE exists
 *	--jobs N           in N processes at once, --times for each
 *	--hostile VAR,...  instead: a run for each text of tests/hostile.h in each variable alone, and in all at once;
 *	                   --together: only that
 *	--addresses KIND   run I has its own TCPREMOTEIP: v4 in 198.18.0.0/15, v6 each in a /64 of its own, 64 all
 *	                   in one /64; "map:" tells the answers in order
 *	--own              nine runs, SMTPAUTHUSER and RELAYCLIENT each unset, empty, set, the latter changing first;
 *	                   "map:" tells the answers
 *
 * On stdout:
 *	runs: N
 *	passes: N
 *	replies: N
 *	others: N         and "other: TEXT", what the first of these printed
 *	logs: N           right ones
 *	bad-logs: N       and "bad-log: TEXT", the first of these
 *	failed: N         ended by a signal, or with another exit code than 0
 *	late: N           done again
 *	us: MIN MEAN MAX  wall time of a run
 *	cpu: N            its mean user and system time in microseconds
 *	map: .RR.         . passed; the first letter of TEXT when it replied; ? else
 *
 * Exit: 0 it ran, 100 usage, 111 it could not run.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/num.h"
#include "lib/text.h"
#include "tests/hostile.h"

#ifdef __SANITIZE_ADDRESS__
#define LATE_US 5000000 /* of 10 s */
#else
#define LATE_US 120000 /* of 200 ms that a plugin gives itself */
#endif
#define LATE_TRIES 10
#define HEARD_MAX 1000
#define PRINTED_MAX 200
#define JOBS_MAX 256
#define VARS_MAX 16

enum addresses { ADDRESSES_NONE, ADDRESSES_V4, ADDRESSES_V6, ADDRESSES_ONE_64 };

struct options {
	uint64_t times, jobs;
	const char *until; /* NULL: not asked */
	const char *reply, *log; /* log NULL: fd 2 is inherited */
	char *vars[VARS_MAX];
	size_t n_vars;
	bool together;
	enum addresses addresses;
	bool own;
	char *plugin;
};

struct heard {
	char at[HEARD_MAX];
	size_t len; /* HEARD_MAX: perhaps more */
};

struct tally {
	uint64_t runs, passes, replies, others, logs, bad_logs, failed, late;
	int64_t min_us, max_us, sum_us, cpu_us;
	char other[PRINTED_MAX], bad_log[PRINTED_MAX];
};

static int
usage(void)
{
	fputs("usage: many [--times N] [--until FILE] [--jobs N] [--reply TEXT] [--log TEXT]\n"
	      "            [--hostile VAR,... [--together] | --addresses v4|v6|64 | --own] -- PLUGIN\n",
		stderr);
	return 100;
}

static _Noreturn void
die(const char *what)
{
	(void)fprintf(stderr, "many: %s: %s\n", what, strerror(errno));
	exit(111);
}

static int64_t
now_us(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		die("clock");
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* --- one run -------------------------------------------------------------------------------------- */

/* Returns whether there may be more. */
static bool
hear(int fd, struct heard *h)
{
	char rest[4096];
	bool full = h->len == sizeof(h->at);
	ssize_t n = full ? read(fd, rest, sizeof(rest)) : read(fd, h->at + h->len, sizeof(h->at) - h->len);

	if (n > 0 && !full)
		h->len += (size_t)n;
	return n > 0 || (n < 0 && errno == EINTR);
}

/* Both to their ends. */
static void
listen_to(const int fd[2], struct heard h[2])
{
	struct pollfd p[2] = { { .fd = fd[0], .events = POLLIN }, { .fd = fd[1], .events = POLLIN } };

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 2; i++)
			if (p[i].fd >= 0 && p[i].revents != 0 && !hear(p[i].fd, &h[i])) {
				(void)close(p[i].fd);
				p[i].fd = -1;
			}
	}
}

/* Start it with 0 closed, 1 a pipe, 2 too when `log`.  Returns its number; ends of the pipes in ret_fd. */
static pid_t
start(const struct options *o, int ret_fd[2])
{
	char *argv[] = { o->plugin, NULL };
	int out[2], log[2] = { -1, -1 };

	if (pipe(out) < 0 || (o->log != NULL && pipe(log) < 0))
		die("pipe");
	pid_t pid = vfork();
	if (pid == 0) {
		if (dup2(out[1], STDOUT_FILENO) < 0 || (o->log != NULL && dup2(log[1], STDERR_FILENO) < 0))
			_exit(120);
		(void)close(STDIN_FILENO);
		for (int i = 0; i < 2; i++) {
			if (out[i] > STDERR_FILENO)
				(void)close(out[i]);
			if (log[i] > STDERR_FILENO)
				(void)close(log[i]);
		}
		(void)execv(o->plugin, argv);
		_exit(120);
	}
	if (pid < 0)
		die("vfork");
	(void)close(out[1]);
	if (log[1] >= 0)
		(void)close(log[1]);
	ret_fd[0] = out[0];
	ret_fd[1] = log[0];
	return pid;
}

/* Is it TEXT and a line feed, with PID put in? */
static bool
is_line(const struct heard *h, const char *text)
{
	char want[HEARD_MAX];
	struct text t = text_in(want, sizeof(want));
	const char *pid = strstr(text, "PID");

	text_put(&t, text, pid == NULL ? strlen(text) : (size_t)(pid - text));
	if (pid != NULL) {
		text_put_u64(&t, (uint64_t)getpid());
		text_puts(&t, pid + 3);
	}
	text_putc(&t, '\n');
	return !t.cut && h->len == t.len && memcmp(h->at, want, t.len) == 0;
}

static void
keep_first(char first[PRINTED_MAX], const struct heard *h)
{
	struct text t = text_in(first, PRINTED_MAX);

	text_put_printable(&t, h->at, h->len, h->len);
	if (h->len == 0)
		text_puts(&t, "(nothing)");
}

static char
judge(const struct options *o, const struct heard h[2], struct tally *t)
{
	bool replied = h[0].len > 0 && o->reply != NULL && is_line(&h[0], o->reply);
	bool logged = replied && o->log != NULL && is_line(&h[1], o->log);

	if (h[0].len == 0)
		t->passes++;
	else if (replied)
		t->replies++;
	else if (t->others++ == 0)
		keep_first(t->other, &h[0]);
	if (logged)
		t->logs++;
	else if (o->log != NULL && (replied || h[1].len > 0) && t->bad_logs++ == 0)
		keep_first(t->bad_log, &h[1]);
	return h[0].len == 0 ? '.' : replied ? o->reply[0] : '?';
}

static int64_t
timeval_us(struct timeval tv)
{
	return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

static char
try_once(const struct options *o, struct tally *t, bool *ret_late)
{
	struct heard h[2] = { { .len = 0 }, { .len = 0 } };
	struct rusage usage;
	int status, fd[2];
	int64_t begin = now_us();
	pid_t pid = start(o, fd);

	listen_to(fd, h);
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			die("wait4");
	int64_t us = now_us() - begin;
	t->min_us = t->runs == 0 || us < t->min_us ? us : t->min_us;
	t->max_us = us > t->max_us ? us : t->max_us;
	t->sum_us += us;
	t->cpu_us += timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
	t->runs++;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		t->failed++;
	*ret_late = us >= LATE_US;
	return judge(o, h, t);
}

/* One that came to its deadline has nothing to say: where the machine is busy, that is no answer yet. */
static char
run_once(const struct options *o, struct tally *t)
{
	uint64_t late_before = t->late;
	bool late;
	char c;

	do {
		struct tally before = *t;

		c = try_once(o, t, &late);
		if (late && c != '?' && before.late - late_before < LATE_TRIES && t->failed == before.failed) {
			*t = before;
			t->late++;
		} else {
			late = false;
		}
	} while (late);
	return c;
}

/* --- many ----------------------------------------------------------------------------------------- */

static void
set_address(enum addresses kind, uint64_t i)
{
	char at[64];

	if (kind == ADDRESSES_NONE)
		return;
	if (kind == ADDRESSES_V4)
		(void)snprintf(at, sizeof(at), "198.%u.%u.%u", (unsigned)(18 + (i >> 16 & 1)),
			(unsigned)(i >> 8 & 255), (unsigned)(i & 255));
	else if (kind == ADDRESSES_V6)
		(void)snprintf(at, sizeof(at), "2001:db8:%x:%x::1", (unsigned)(i >> 16 & 0xffff),
			(unsigned)(i & 0xffff));
	else
		(void)snprintf(at, sizeof(at), "2001:db8:1:2:%x::%x", (unsigned)(i * 7919 & 0xffff), (unsigned)i);
	if (setenv("TCPREMOTEIP", at, 1) < 0)
		die("setenv");
}

static void
run_many(const struct options *o, struct tally *t)
{
	for (uint64_t i = 0; i < o->times || (o->until != NULL && access(o->until, F_OK) < 0); i++) {
		set_address(o->addresses, i);
		char c = run_once(o, t);
		if (o->addresses != ADDRESSES_NONE)
			printf("%s%c", i == 0 ? "map: " : "", c);
	}
	if (o->addresses != ADDRESSES_NONE)
		putchar('\n');
}

static void
set_var(const char *name, const char *value)
{
	if ((value == NULL ? unsetenv(name) : setenv(name, value, 1)) < 0)
		die("setenv");
}

static void
run_own(const struct options *o, struct tally *t)
{
	static const char *const users[] = { NULL, "", "alice" }, *const relays[] = { NULL, "", "@relay.test" };

	fputs("map: ", stdout);
	for (size_t u = 0; u < 3; u++)
		for (size_t r = 0; r < 3; r++) {
			set_var("SMTPAUTHUSER", users[u]);
			set_var("RELAYCLIENT", relays[r]);
			putchar(run_once(o, t));
		}
	putchar('\n');
}

/* The environment ends a text at its first NUL, as it does in qmail-smtpd. */
static void
run_hostile(const struct options *o, struct tally *t)
{
	static char text[HOSTILE_MAX + 1];
	char *usual[VARS_MAX];

	for (size_t v = 0; v < o->n_vars; v++) {
		const char *s = getenv(o->vars[v]);

		usual[v] = s == NULL ? NULL : strdup(s);
	}
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		(void)hostile_text(i, text);
		for (size_t v = 0; v < o->n_vars && !o->together; v++) {
			set_var(o->vars[v], text);
			(void)run_once(o, t);
			set_var(o->vars[v], usual[v]);
		}
		for (size_t v = 0; v < o->n_vars; v++)
			set_var(o->vars[v], text);
		(void)run_once(o, t);
		for (size_t v = 0; v < o->n_vars; v++)
			set_var(o->vars[v], usual[v]);
	}
	for (size_t v = 0; v < o->n_vars; v++)
		free(usual[v]);
}

/* A child process for each job; what they found comes by a pipe, which takes it in one piece. */
static void
start_job(const struct options *o, int to)
{
	struct tally t = { 0 };
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	run_many(o, &t);
	_exit(write(to, &t, sizeof(t)) == (ssize_t)sizeof(t) ? 0 : 111);
}

static void
add_tally(struct tally *sum, const struct tally *t)
{
	sum->min_us = sum->runs == 0 || t->min_us < sum->min_us ? t->min_us : sum->min_us;
	sum->max_us = t->max_us > sum->max_us ? t->max_us : sum->max_us;
	sum->runs += t->runs;
	sum->passes += t->passes;
	sum->replies += t->replies;
	sum->logs += t->logs;
	sum->failed += t->failed;
	sum->late += t->late;
	sum->sum_us += t->sum_us;
	sum->cpu_us += t->cpu_us;
	if (t->others > 0 && sum->others == 0)
		memcpy(sum->other, t->other, sizeof(t->other));
	if (t->bad_logs > 0 && sum->bad_logs == 0)
		memcpy(sum->bad_log, t->bad_log, sizeof(t->bad_log));
	sum->others += t->others;
	sum->bad_logs += t->bad_logs;
}

static void
run_jobs(const struct options *o, struct tally *sum)
{
	struct tally t;
	int fd[2];

	_Static_assert(sizeof(t) <= 4096, "not above PIPE_BUF");
	if (pipe(fd) < 0)
		die("pipe");
	for (uint64_t i = 0; i < o->jobs; i++)
		start_job(o, fd[1]);
	(void)close(fd[1]);
	for (uint64_t i = 0; i < o->jobs; i++) {
		if (read(fd[0], &t, sizeof(t)) != (ssize_t)sizeof(t))
			die("a job ended early");
		add_tally(sum, &t);
	}
	while (wait(NULL) >= 0)
		;
	(void)close(fd[0]);
}

/* --- the command ---------------------------------------------------------------------------------- */

static void
print_tally(const struct tally *t)
{
	int64_t runs = t->runs == 0 ? 1 : (int64_t)t->runs;

	printf("runs: %llu\npasses: %llu\nreplies: %llu\nothers: %llu\n", (unsigned long long)t->runs,
		(unsigned long long)t->passes, (unsigned long long)t->replies, (unsigned long long)t->others);
	if (t->others > 0)
		printf("other: %s\n", t->other);
	printf("logs: %llu\nbad-logs: %llu\n", (unsigned long long)t->logs, (unsigned long long)t->bad_logs);
	if (t->bad_logs > 0)
		printf("bad-log: %s\n", t->bad_log);
	printf("failed: %llu\nlate: %llu\nus: %lld %lld %lld\ncpu: %lld\n", (unsigned long long)t->failed,
		(unsigned long long)t->late, (long long)t->min_us, (long long)(t->sum_us / runs), (long long)t->max_us,
		(long long)(t->cpu_us / runs));
}

static bool
parse_vars(char *s, struct options *o)
{
	for (char *word = strtok(s, ","); word != NULL; word = strtok(NULL, ",")) {
		if (o->n_vars == VARS_MAX)
			return false;
		o->vars[o->n_vars++] = word;
	}
	return o->n_vars > 0;
}

static bool
parse_addresses(const char *s, enum addresses *ret)
{
	*ret = strcmp(s, "v4") == 0 ? ADDRESSES_V4 : strcmp(s, "v6") == 0 ? ADDRESSES_V6 : ADDRESSES_ONE_64;
	return *ret != ADDRESSES_ONE_64 || strcmp(s, "64") == 0;
}

static bool
parse_option(int c, char *arg, struct options *o)
{
	switch (c) {
	case 't':
		return num_u64(arg, &o->times) == 0 && o->times > 0;
	case 'u':
		o->until = arg;
		return true;
	case 'j':
		return num_u64(arg, &o->jobs) == 0 && o->jobs > 0 && o->jobs <= JOBS_MAX;
	case 'r':
		o->reply = arg;
		return true;
	case 'l':
		o->log = arg;
		return true;
	case 'h':
		return parse_vars(arg, o);
	case 'g':
		o->together = true;
		return true;
	case 'a':
		return parse_addresses(arg, &o->addresses);
	case 'o':
		o->own = true;
		return true;
	default:
		return false;
	}
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "times", required_argument, NULL, 't' },
		{ "until", required_argument, NULL, 'u' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "reply", required_argument, NULL, 'r' },
		{ "log", required_argument, NULL, 'l' },
		{ "hostile", required_argument, NULL, 'h' },
		{ "together", no_argument, NULL, 'g' },
		{ "addresses", required_argument, NULL, 'a' },
		{ "own", no_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1)
		if (!parse_option(c, optarg, o))
			return false;
	if (argc - optind != 1 || (o->jobs > 1 && (o->n_vars > 0 || o->own || o->addresses != ADDRESSES_NONE)))
		return false;
	o->plugin = argv[optind];
	return true;
}

int
main(int argc, char **argv)
{
	struct options o = { .times = 1, .jobs = 1 };
	struct tally t = { 0 };

	if (!parse_options(argc, argv, &o))
		return usage();
	(void)signal(SIGPIPE, SIG_IGN); /* plugins inherit it */
	if (o.n_vars > 0)
		run_hostile(&o, &t);
	else if (o.own)
		run_own(&o, &t);
	else if (o.jobs > 1)
		run_jobs(&o, &t);
	else
		run_many(&o, &t);
	print_tally(&t);
	return fflush(stdout) == 0 ? 0 : 111;
}
