/* SPDX-License-Identifier: ISC */
/*
 * blocks_tcprules - what does a change of the blocks cost in tcpserver's cdb, and what do they cost tcpserver?
 *
 *	blocks_tcprules DIR [N [PAIRS]]
 *
 * DIR must be empty.  N addresses are blocked (default 100,000).  In turn, PAIRS times (default 10): the plain tcprules on the same
 * rules, as a file; and ours, from a change until the cdb is in place, as the keeper does it: a step whenever the
 * descriptor says so.  Then the longest step, for the keeper must not be away longer; and connections that
 * tcpserver -x serves and denies a second, with and without them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actions/block.h"
#include "actions/rule.h"
#include "tests/bench/median.h"

#define TCPRULES "/usr/bin/tcprules"
#define TCPSERVER "/usr/bin/tcpserver"
#define PAIRS_MAX 101
#define CONNECTIONS 200
#define YEAR_MS (INT64_C(365) * 86400 * 1000)

static const char *dir;
static struct blockset *want;
static void *action;
static int64_t skew_ms; /* the pause between two rebuilds, which is not waited for */
static double longest_step_ms, longest_step_cpu_ms;

static double
clock_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static double
now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static _Noreturn void
die(const char *what)
{
	(void)fprintf(stderr, "blocks_tcprules: %s: %s\n", what, strerror(errno));
	exit(111);
}

static const char *
path_of(const char *name)
{
	static char path[4][512];
	static unsigned turn;
	char *ret = path[turn++ % 4];

	(void)snprintf(ret, sizeof(path[0]), "%s/%s", dir, name);
	return ret;
}

static void
put_file(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		die(name);
}

/* --- the floor ------------------------------------------------------------------------------- */

static void
plain(const char *rules, const char *cdb)
{
	const char *temp = path_of("plain.tmp");
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(path_of(rules), O_RDONLY);

		if (fd < 0 || dup2(fd, 0) < 0)
			_exit(1);
		(void)execl(TCPRULES, TCPRULES, path_of(cdb), temp, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		die("tcprules");
}

/* --- ours ------------------------------------------------------------------------------------ */

static mono_t
now(void)
{
	return (mono_t) { mono_now().ms + skew_ms };
}

static struct block
nth(unsigned i)
{
	struct block b = { .kind = BLOCK_DENY, .until = { now().ms + YEAR_MS }, .id = "k7m2q" };
	uint32_t a = UINT32_C(0x0a000000) + i * 167; /* 10.0.0.0 and on */

	b.prefix.ip.b[10] = b.prefix.ip.b[11] = 0xff;
	for (int k = 0; k < 4; k++)
		b.prefix.ip.b[12 + k] = (uint8_t)(a >> (24 - 8 * k));
	b.prefix.bits = 128;
	return b;
}

static void
step(void)
{
	double begin = now_us(), cpu_begin = clock_us(CLOCK_THREAD_CPUTIME_ID);

	block_tcprules.step(action, want, now());
	double ms = (now_us() - begin) / 1e3, cpu_ms = (clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu_begin) / 1e3;
	if (ms > longest_step_ms)
		longest_step_ms = ms;
	if (cpu_ms > longest_step_cpu_ms)
		longest_step_cpu_ms = cpu_ms;
}

/* The keeper's loop, until another cdb is there than `before`. */
static void
until_in_place(ino_t before)
{
	struct stat st;
	struct pollfd p = { .fd = block_tcprules.fd(action), .events = POLLIN };

	step();
	while (stat(path_of("tcp.smtp.cdb"), &st) < 0 || st.st_ino == before) {
		(void)poll(&p, 1, 1000);
		step();
	}
	struct block_status s;
	block_tcprules.status(action, &s);
	if (!s.ok) {
		errno = EPROTO;
		die(s.text);
	}
}

static void
change(unsigned i, bool in)
{
	struct block b = nth(i);
	struct stat st;

	if (stat(path_of("tcp.smtp.cdb"), &st) < 0)
		die("tcp.smtp.cdb");
	if (in)
		(void)blockset_put(want, &b);
	else
		(void)blockset_remove(want, &b.prefix);
	block_tcprules.change(action, &b.prefix, in ? &b : NULL, want, now());
	until_in_place(st.st_ino);
}

static void
open_action(void)
{
	static struct block_cfg cfg;
	struct err why;

	put_file("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n:allow\n");
	plain("tcp.smtp", "tcp.smtp.cdb");
	(void)snprintf(cfg.tcprules.rules, CFG_STRING_MAX, "%s", path_of("tcp.smtp"));
	(void)snprintf(cfg.tcprules.cdb, CFG_STRING_MAX, "%s", path_of("tcp.smtp.cdb"));
	(void)snprintf(cfg.tcprules.command, CFG_STRING_MAX, TCPRULES);
	cfg.tcprules.max_rules = 2000000;
	if (block_tcprules.init(&cfg, &action, &why) < 0) {
		errno = EINVAL;
		die(why.text);
	}
}

/* The rules that the action gives to tcprules. */
static void
write_plain_rules(unsigned n)
{
	static char text[RULE_TEXT_MAX];
	FILE *f = fopen(path_of("plain"), "w");

	if (f == NULL)
		die("plain");
	(void)fputs("127.:allow,RELAYCLIENT=\"\"\n:allow\n\nspillway@spillway:allow\n", f);
	for (unsigned i = 0; i < n; i++) {
		struct block b = nth(i);

		(void)fwrite(text, 1, rule_deny(&b.prefix, text), f);
	}
	if (fclose(f) != 0)
		die("plain");
}

static void
bench_refresh(unsigned n, int pairs)
{
	double peer[PAIRS_MAX], ours[PAIRS_MAX], ratio[PAIRS_MAX];

	write_plain_rules(n);
	open_action();
	for (unsigned i = 0; i < n; i++) {
		struct block b = nth(i);

		(void)blockset_put(want, &b);
	}
	block_tcprules.reconcile(action, want, now());
	double begin = now_us();
	struct stat st;
	if (stat(path_of("tcp.smtp.cdb"), &st) < 0)
		die("tcp.smtp.cdb");
	until_in_place(st.st_ino);
	(void)printf("%-52s %9.2f ms\n", "start with all of them", (now_us() - begin) / 1e3);
	for (int i = 0; i < pairs; i++) {
		begin = now_us();
		plain("plain", "plain.cdb");
		peer[i] = (now_us() - begin) / 1e3;
		skew_ms += 10000;
		begin = now_us();
		change(n, i % 2 == 0);
		ours[i] = (now_us() - begin) / 1e3;
		ratio[i] = ours[i] / peer[i];
	}
	(void)printf("%-52s %9.2f ms\n", "tcprules alone, the same rules", median(peer, pairs));
	(void)printf("%-52s %9.2f ms   %5.2f x (target: 2)\n", "one more or one less, until in force", median(ours, pairs),
		median(ratio, pairs));
	(void)printf("%-52s %9.2f ms   %.2f ms of cpu (at most 20)\n", "the longest step of the keeper",
		longest_step_ms, longest_step_cpu_ms);
}

/* --- lookups --------------------------------------------------------------------------------- */

/* Returns the port. */
static int
serve(const char *cdb, pid_t *ret)
{
	char line[32] = "";
	int fd[2];

	if (pipe(fd) < 0 || (*ret = fork()) < 0)
		die("fork");
	if (*ret == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(fd[1], 1);
		(void)close(fd[0]);
		(void)execl(TCPSERVER, TCPSERVER, "-1HRl0", "-c", "100", "-x", path_of(cdb), "127.0.0.1", "0", "/bin/true",
			(char *)NULL);
		_exit(127);
	}
	(void)close(fd[1]);
	ssize_t n = read(fd[0], line, sizeof(line) - 1);
	(void)close(fd[0]);
	return n > 0 ? (int)strtol(line, NULL, 10) : 0;
}

/* Connections a second; each is waited for until it is closed. */
static double
connect_all(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	double begin = now_us();
	char c;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
			die("connect");
		(void)!read(fd, &c, 1);
		(void)close(fd);
	}
	return CONNECTIONS / ((now_us() - begin) / 1e6);
}

static void
bench_lookup(unsigned n, int pairs)
{
	static const char *const cdb[3] = { "none.cdb", "tcp.smtp.cdb", "denied.cdb" };
	double rate[3][PAIRS_MAX], ratio[3][PAIRS_MAX];
	pid_t pid[3];
	int port[3];

	plain("tcp.smtp", "none.cdb");
	put_file("denied", "127.:deny\n");
	plain("denied", "denied.cdb");
	for (int i = 0; i < 3; i++)
		if ((port[i] = serve(cdb[i], &pid[i])) == 0)
			die("tcpserver");
	for (int r = 0; r < pairs; r++)
		for (int i = 0; i < 3; i++) {
			rate[i][r] = connect_all(port[i]);
			ratio[i][r] = rate[i][r] / rate[0][r];
		}
	for (int i = 0; i < 3; i++) {
		char label[64];

		if (i == 1)
			(void)snprintf(label, sizeof(label), "tcpserver -x, admitted, with %u blocks", n);
		else
			(void)snprintf(label, sizeof(label), "tcpserver -x, %s", i == 0 ? "admitted, without blocks" : "denied");
		(void)printf("%-52s %9.0f /s   %5.2f x\n", label, median(rate[i], pairs), median(ratio[i], pairs));
		(void)kill(pid[i], SIGTERM);
		(void)waitpid(pid[i], NULL, 0);
	}
}

int
main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000;
	int pairs = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 10;

	if (argc < 2 || n < 1 || n > 90000000 / 167 || pairs < 1 || pairs > PAIRS_MAX) {
		(void)fprintf(stderr, "usage: blocks_tcprules DIR [N [PAIRS]]\n");
		return 100;
	}
	dir = argv[1];
	if (access(TCPRULES, X_OK) < 0 || access(TCPSERVER, X_OK) < 0) {
		(void)printf("there is no tcprules or no tcpserver here\n");
		return 0;
	}
	if (blockset_new(n + 1, &want) < 0)
		die("blocks");
	(void)printf("-- %u blocks\n", n);
	bench_refresh(n, pairs);
	bench_lookup(n, pairs);
	block_tcprules.free(action);
	blockset_free(want);
	return 0;
}
