/* SPDX-License-Identifier: ISC */
/*
 * blocks_ipsvd - what does a block cost as an instruction file?
 *
 *	blocks_ipsvd DIR [N [PAIRS]]
 *
 * DIR must be empty.  First a start with N blocks (default 100,000): into the empty directory, and with all of them
 * there.  Then they are put and taken back through the action, as the keeper does it: a step after each 64, with the
 * watch on the directory; the keeper's own set of blocks is not counted.  Beside it the plain loop of open(O_CREAT),
 * utimensat and unlink on as many names in DIR.plain.  The two take turns after 2,000 each, so that whatever else
 * the machine does hits both, and all of it is done PAIRS times (default 10).  Printed are microseconds for one,
 * medians, and the median of the ratios of the pairs.
 *
 * A tcpsvd is pretended, or nothing would be written: this program itself under that name.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actions/block.h"
#include "actions/ipsvd_file.h"
#include "tests/bench/median.h"

#define BATCH 64
#define SLICE 2000
#define PAIRS_MAX 101
#define T "120"

static struct blockset *want;
static void *action;
static const char *dir;
static long n = 100000;

static double
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static _Noreturn void
die(const char *what)
{
	(void)fprintf(stderr, "blocks_ipsvd: %s: %s\n", what, strerror(errno));
	exit(111);
}

static struct ipsvd_key
key_of(long i)
{
	return (struct ipsvd_key) { .net = (uint32_t)(10u << 24 | (unsigned long)i), .octets = 4 };
}

/* --- the plain loop -------------------------------------------------------------------------- */

static int plain_dir;

static double
plain(long from, long to, bool add)
{
	const struct timespec times[2] = { { .tv_sec = 1795220246 }, { .tv_sec = 1795220246 } };
	char name[IPSVD_NAME_MAX];
	double begin = now_us();

	for (long i = from; i < to && add; i++) {
		ipsvd_name(key_of(i), name);
		int fd = openat(plain_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0200);
		if (fd < 0 || close(fd) < 0 || utimensat(plain_dir, name, times, 0) < 0)
			die(name);
	}
	for (long i = from; i < to && !add; i++) {
		ipsvd_name(key_of(i), name);
		if (unlinkat(plain_dir, name, 0) < 0)
			die(name);
	}
	return now_us() - begin;
}

/* --- ours ------------------------------------------------------------------------------------ */

static void
open_action(void)
{
	static struct block_cfg cfg = { .ipsvd.timeout_ms = 120000 };
	struct err why;

	(void)snprintf(cfg.ipsvd.dir, sizeof(cfg.ipsvd.dir), "%s", dir);
	if (block_ipsvd.init(&cfg, &action, &why) < 0) {
		(void)fprintf(stderr, "blocks_ipsvd: %s\n", why.text);
		exit(111);
	}
}

static void
step(void)
{
	block_ipsvd.step(action, want, mono_now());
}

/* Until nothing is left to be done. */
static void
settle(void)
{
	struct pollfd p = { .fd = block_ipsvd.fd(action), .events = POLLIN };

	do
		step();
	while (poll(&p, 1, 0) > 0);
}

static void
wish(long i, struct block *ret)
{
	*ret = (struct block) { .prefix = ipsvd_key_prefix(key_of(i), 32), .until = mono_after(mono_now(), 3600000), .id = "e1" };
	if (blockset_put(want, ret) < 0)
		die("blockset");
}

/* A batch of changes and the step behind it.  Returns what that took; the set is its caller's, and not counted. */
static double
change(long from, long to, bool add)
{
	static struct block b[BATCH];
	long count = to - from < BATCH ? to - from : BATCH;

	for (long i = 0; i < count; i++) {
		wish(from + i, &b[i]);
		if (!add)
			(void)blockset_remove(want, &b[i].prefix);
	}
	double begin = now_us();
	for (long i = 0; i < count; i++)
		block_ipsvd.change(action, &b[i].prefix, add ? &b[i] : NULL, want, mono_now());
	step();
	return now_us() - begin;
}

static double
ours(long from, long to, bool add)
{
	double us = 0;

	for (long i = from; i < to; i += BATCH)
		us += change(i, to, add);
	return us;
}

/* Both in turn, slice by slice. */
static void
take_turns(bool add, double *ret_plain, double *ret_ours)
{
	*ret_plain = *ret_ours = 0;
	for (long i = 0; i < n; i += SLICE) {
		long to = i + SLICE < n ? i + SLICE : n;

		*ret_plain += plain(i, to, add) / (double)n;
		*ret_ours += ours(i, to, add) / (double)n;
	}
}

/* A start with all blocks wanted: how long until the directory is as wanted? */
static double
start(void)
{
	double begin = now_us();
	struct block_status s;

	open_action();
	block_ipsvd.reconcile(action, want, mono_now());
	settle();
	block_ipsvd.status(action, &s);
	if (!s.ok || s.ours != (size_t)n) {
		(void)fprintf(stderr, "blocks_ipsvd: %zu of %ld in force: %s\n", s.ours, n, s.text);
		exit(111);
	}
	double took = now_us() - begin;
	block_ipsvd.free(action);
	return took / 1000;
}

/* --- all ------------------------------------------------------------------------------------- */

static pid_t
pretend_tcpsvd(void)
{
	const char *const argv[] = { "tcpsvd", "-i", dir, "-t", T, "0", "25", "true", NULL };
	int fds[2];
	char byte;

	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(111);
	}
	(void)close(fds[1]);
	(void)!read(fds[0], &byte, 1); /* until its exec */
	return pid;
}

static void
measure_starts(void)
{
	struct block b;
	struct err why;

	for (long i = 0; i < n; i++)
		wish(i, &b);
	(void)printf("start, nothing there             %6.0f ms\n", start());
	(void)printf("start, all there                 %6.0f ms\n", start());
	open_action();
	if (block_ipsvd.neutral(action, true, &why) < 0)
		die(why.text);
	block_ipsvd.free(action);
	for (long i = 0; i < n; i++) {
		struct ip_prefix p = ipsvd_key_prefix(key_of(i), 32);

		(void)blockset_remove(want, &p);
	}
}

static void
measure_pairs(int pairs)
{
	static double plain_add[PAIRS_MAX], plain_remove[PAIRS_MAX], add[PAIRS_MAX], take[PAIRS_MAX], ratio[PAIRS_MAX];

	open_action();
	block_ipsvd.reconcile(action, want, mono_now());
	settle();
	for (int i = 0; i < pairs; i++) {
		take_turns(true, &plain_add[i], &add[i]);
		take_turns(false, &plain_remove[i], &take[i]);
		ratio[i] = (add[i] + take[i]) / (plain_add[i] + plain_remove[i]);
	}
	block_ipsvd.free(action);
	(void)printf("plain open, utimensat / unlink   %6.2f / %.2f us\n", median(plain_add, pairs),
		median(plain_remove, pairs));
	(void)printf("the action, put / taken back     %6.2f / %.2f us\n", median(add, pairs), median(take, pairs));
	(void)printf("both together, ratio             %6.2f\n", median(ratio, pairs));
}

int
main(int argc, char **argv)
{
	char beside[4096];

	if (strcmp(argv[0], "tcpsvd") == 0)
		for (;;)
			(void)pause();
	int pairs = argc > 3 ? atoi(argv[3]) : 10;
	if (argc > 2)
		n = atol(argv[2]);
	if (argc < 2 || n < 1 || n > 1000000 || pairs < 1 || pairs > PAIRS_MAX) {
		(void)fprintf(stderr, "usage: blocks_ipsvd DIR [N [PAIRS]]\n");
		return 100;
	}
	dir = argv[1];
	(void)snprintf(beside, sizeof(beside), "%s.plain", dir);
	if (mkdir(beside, 0755) < 0 || (plain_dir = open(beside, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		die(beside);
	pid_t tcpsvd = pretend_tcpsvd();
	if (blockset_new(1000000, &want) < 0)
		die("blockset");
	measure_starts();
	(void)fflush(stdout);
	measure_pairs(pairs);
	blockset_free(want);
	(void)kill(tcpsvd, SIGKILL);
	(void)waitpid(tcpsvd, NULL, 0);
	(void)rmdir(beside);
	return 0;
}
