/* SPDX-License-Identifier: ISC */
/*
 * logs - lines of logs a second: our readers beside others on the same file, in turn
 *
 *	logs compare ROUNDS LINES FILE send|server|shared [NAME=COMMAND LINES FILE]...
 *		cpu and clock of each, in a process of its own with FILE as standard input: ours (stamp and line), a bare
 *		matcher of four fixed strings, and the commands, run by sh; medians of ROUNDS.
 *	logs run NAME LINES COMMAND...	once; clock, cpu, and the most memory that it had
 *	logs parse STREAM | match	what `compare` runs
 */
#include <fcntl.h>
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
#include "probes/logline.h"
#include "probes/tai64n.h"
#include "tests/bench/median.h"

#define CONTENDERS_MAX 8
#define ROUNDS_MAX 51

struct cost {
	double wall, cpu; /* seconds */
	long rss_kib;
};

/* --- the readers ----------------------------------------------------------------------------- */

static uint64_t
parse_line(const char *s, size_t n, enum log_stream stream)
{
	struct stamp stamp = { .len = 0 };
	struct logline l;

	(void)stamp_read(s, n, &stamp);
	return logline_parse(s + stamp.len, n - stamp.len, stream, &l) ? (uint64_t)l.kind + l.number : 0;
}

static uint64_t
match_line(const char *s, size_t n)
{
	static const char *const fixed[] = { "delivery ", "tcpserver: deny", "rblsmtpd: ", "tcpsvd: info: deny" };

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (memmem(s, n, fixed[i], strlen(fixed[i])) != NULL)
			return i + 1;
	return 0;
}

/* All lines of the standard input, through a buffer. */
static uint64_t
read_lines(bool match, enum log_stream stream)
{
	static char buf[65536];
	size_t have = 0;
	uint64_t sum = 0;
	ssize_t got;

	while ((got = read(STDIN_FILENO, buf + have, sizeof(buf) - have)) > 0) {
		char *p = buf, *lf, *end = buf + have + got;

		while ((lf = memchr(p, '\n', (size_t)(end - p))) != NULL) {
			sum += match ? match_line(p, (size_t)(lf - p)) : parse_line(p, (size_t)(lf - p), stream);
			p = lf + 1;
		}
		have = (size_t)(end - p);
		if (have == sizeof(buf))
			have = 0;
		memmove(buf, p, have);
	}
	return sum;
}

static enum log_stream
stream_of(const char *name)
{
	return strcmp(name, "send") == 0 ? LOG_SEND : strcmp(name, "server") == 0 ? LOG_SERVER : LOG_SHARED;
}

/* --- measuring ------------------------------------------------------------------------------- */

static double
seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double
now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
run_child(char *const *argv, const char *in, bool quiet)
{
	int fd = in != NULL ? open(in, O_RDONLY) : -1, null = open("/dev/null", O_WRONLY);

	if (fd >= 0)
		(void)dup2(fd, STDIN_FILENO);
	if (quiet) {
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
	}
	(void)execvp(argv[0], argv);
	_exit(127);
}

static struct cost
measure(char *const *argv, const char *in, bool quiet)
{
	struct cost c = { 0, 0, 0 };
	struct rusage u;
	double began = now();
	int status;
	pid_t pid = fork();

	if (pid == 0)
		run_child(argv, in, quiet);
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid)
		exit(111);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
		(void)fprintf(stderr, "logs: %s did not run\n", argv[0]);
	c.wall = now() - began;
	c.cpu = seconds(&u.ru_utime) + seconds(&u.ru_stime);
	c.rss_kib = u.ru_maxrss;
	return c;
}

struct contender {
	const char *name, *file;
	char *argv[5];
	double lines;
	double cpu[ROUNDS_MAX], wall[ROUNDS_MAX];
};

static int
compare(uint64_t rounds, int argc, char **argv, char *self)
{
	static struct contender c[CONTENDERS_MAX];
	static char parse_word[] = "parse", match_word[] = "match", sh[] = "sh", dash_c[] = "-c";
	uint64_t lines;
	size_t n = 2;

	if (rounds == 0 || rounds > ROUNDS_MAX || argc < 3 || num_u64(argv[0], &lines) < 0 || lines == 0)
		return 100;
	c[0] = (struct contender) { .name = "ours, stamp and line", .file = argv[1], .lines = (double)lines,
		.argv = { self, parse_word, argv[2], NULL } };
	c[1] = (struct contender) { .name = "four fixed strings", .file = argv[1], .lines = (double)lines,
		.argv = { self, match_word, NULL } };
	for (int i = 3; i + 2 < argc && n < CONTENDERS_MAX; i += 3, n++) {
		char *command = strchr(argv[i], '=');

		if (command == NULL || num_u64(argv[i + 1], &lines) < 0)
			return 100;
		*command++ = '\0';
		c[n] = (struct contender) { .name = argv[i], .file = argv[i + 2], .lines = (double)lines,
			.argv = { sh, dash_c, command, NULL } };
	}
	for (uint64_t r = 0; r < rounds; r++) {
		for (size_t i = 0; i < n; i++) {
			struct cost cost = measure(c[i].argv, c[i].file, true);

			c[i].cpu[r] = cost.cpu;
			c[i].wall[r] = cost.wall;
		}
	}
	double ours = 0;
	for (size_t i = 0; i < n; i++) {
		double cpu = median(c[i].cpu, (int)rounds) / c[i].lines, wall = median(c[i].wall, (int)rounds) / c[i].lines;

		if (i == 0)
			ours = cpu;
		(void)printf("%-24s %10.0f lines/s   cpu %8.3f us a line   %7.2f times ours\n", c[i].name, 1 / wall, cpu * 1e6,
			cpu / ours);
	}
	return 0;
}

static int
run(int argc, char **argv)
{
	uint64_t lines;

	if (argc < 3 || num_u64(argv[1], &lines) < 0 || lines == 0)
		return 100;
	struct cost c = measure(argv + 2, NULL, false);
	(void)printf("%s: %llu lines in %.1f s, %.0f lines/s; cpu %.3f us a line; at most %.1f MiB\n", argv[0],
		(unsigned long long)lines, c.wall, (double)lines / c.wall, c.cpu / (double)lines * 1e6,
		(double)c.rss_kib / 1024);
	return 0;
}

int
main(int argc, char **argv)
{
	uint64_t rounds, sum = 1;

	if (argc == 3 && strcmp(argv[1], "parse") == 0)
		sum = read_lines(false, stream_of(argv[2]));
	else if (argc == 2 && strcmp(argv[1], "match") == 0)
		sum = read_lines(true, LOG_SEND);
	else if (argc > 3 && strcmp(argv[1], "compare") == 0 && num_u64(argv[2], &rounds) == 0)
		return compare(rounds, argc - 3, argv + 3, argv[0]);
	else if (argc > 3 && strcmp(argv[1], "run") == 0)
		return run(argc - 2, argv + 2);
	else
		return 100;
	return sum > 0 ? 0 : 1; /* so that nothing is left out as unused */
}
