/* SPDX-License-Identifier: ISC */
/*
 * spawn - what does one exec of a plugin cost?
 *
 *	spawn ROUNDS TIMES LABEL=PROGRAM[,ARG...] ...
 *
 * Runs each program TIMES times a round, the programs in turn, as qmail-spp runs a plugin: a pipe on 1, 0 closed,
 * read to the end, wait.  Prints for each the median over the rounds of the mean microseconds, and the
 * median of its ratio to the first, round by round, so that the machine's mood counts for all alike; and
 * the page faults of one run.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/array.h"
#include "tests/bench/median.h"

#define PROGRAMS_MAX 16
#define ROUNDS_MAX 100
#define ARGS_MAX 8

struct program {
	const char *label;
	char *argv[ARGS_MAX + 1];
	double us[ROUNDS_MAX], ratio[ROUNDS_MAX];
	long faults;
};

static double
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void
run_once(struct program *p)
{
	int fd[2];
	char buf[512];
	struct rusage usage;

	if (pipe(fd) < 0)
		exit(111);
	pid_t pid = vfork();
	if (pid == 0) {
		(void)close(0);
		(void)close(fd[0]);
		if (fd[1] != 1) {
			(void)dup2(fd[1], 1);
			(void)close(fd[1]);
		}
		(void)execv(p->argv[0], p->argv);
		_exit(120);
	}
	(void)close(fd[1]);
	while (read(fd[0], buf, sizeof(buf)) > 0)
		;
	(void)close(fd[0]);
	int status;
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 120) {
		(void)fprintf(stderr, "spawn: cannot run %s\n", p->argv[0]);
		exit(111);
	}
	p->faults = usage.ru_minflt;
}

static void
parse(struct program *p, char *arg)
{
	char *at = strchr(arg, '=');
	int n = 0;

	if (at == NULL)
		exit(100);
	*at++ = '\0';
	p->label = arg;
	for (char *word = strtok(at, ","); word != NULL && n < ARGS_MAX; word = strtok(NULL, ","))
		p->argv[n++] = word;
}

int
main(int argc, char **argv)
{
	static struct program program[PROGRAMS_MAX];
	int programs = argc - 3, rounds = argc > 3 ? atoi(argv[1]) : 0, times = argc > 3 ? atoi(argv[2]) : 0;

	if (programs < 1 || programs > PROGRAMS_MAX || rounds < 1 || rounds > ROUNDS_MAX || times < 1) {
		(void)fprintf(stderr, "usage: spawn ROUNDS TIMES LABEL=PROGRAM[,ARG...] ...\n");
		return 100;
	}
	for (int i = 0; i < programs; i++)
		parse(&program[i], argv[i + 3]);
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < programs; i++) {
			double begin = now_us();

			for (int t = 0; t < times; t++)
				run_once(&program[i]);
			program[i].us[r] = (now_us() - begin) / times;
			program[i].ratio[r] = program[i].us[r] / program[0].us[r];
		}
	}
	for (int i = 0; i < programs; i++)
		(void)printf("%-34s %8.1f us   %5.2f x   %4ld page faults\n", program[i].label,
			median(program[i].us, rounds), median(program[i].ratio, rounds), program[i].faults);
	return 0;
}
