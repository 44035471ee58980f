/* SPDX-License-Identifier: ISC */
/*
 * decide - how many decisions a second over a unix socket, and what do they cost the server?
 *
 *	decide shapes PAIRS MS SOCKET PID
 *	decide redis PAIRS MS SOCKET PID REDIS-SOCKET REDIS-PID
 *	decide keys PAIRS MS SOCKET PID
 *
 * SOCKET is rate.sock of the engine with process id PID.  Beside it stands a bare echo server of our own: the same
 * socket kind, the same bytes, and nothing to decide.  100,000 random addresses are asked for over 16 connections
 * in three shapes, each server for MS milliseconds in turn, PAIRS times; printed are medians, and medians of the
 * ratios within a pair.  Redis decides twice: by INCR and EXPIRE, and by a script for the generic cell rate
 * algorithm.  `keys` asks the same server for 1,000 addresses, for 1,000,000, and for one name that has 1,000,000
 * marks, in class `hot`, which must allow for so many.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/array.h"
#include "tests/bench/median.h"

#define CONNECTIONS 16
#define DEEP 16
#define ADDRESSES 100000
#define FEW 1000
#define MANY 1000000
#define PAIRS_MAX 51
#define QUESTION_MAX 300
#define TICK_US 0.25 /* of the histogram */
#define TICKS 400000

static const char gcra[] =
	"local now = redis.call('TIME'); local us = now[1] * 1000000 + now[2]"
	" local each = tonumber(ARGV[1]); local burst = tonumber(ARGV[2])"
	" local at = tonumber(redis.call('GET', KEYS[1]) or us); if at < us then at = us end"
	" if at + each - us > each * burst then return 1 end"
	" redis.call('SET', KEYS[1], string.format('%.0f', at + each), 'PX', math.ceil((at + each - us) / 1000))"
	" return 0";

struct shape {
	const char *name;
	bool closes; /* a connection for each question */
	unsigned deep;
};

static const struct shape shapes[] = {
	{ "a connection for each question, 16 at once", true, 1 },
	{ "16 that stay, one question at a time", false, 1 },
	{ "16 that stay, 16 questions deep", false, DEEP },
};

struct target {
	const char *name;
	const char *socket;
	pid_t pid;
	unsigned lines; /* of an answer */
	unsigned next; /* question */
	unsigned n; /* questions */
	uint32_t *at; /* question i is text[at[i] .. at[i + 1]) */
	char *text;
	double rate[PAIRS_MAX], cpu_us[PAIRS_MAX], p50[PAIRS_MAX], p99[PAIRS_MAX];
};

struct connection {
	int fd;
	unsigned missing; /* lines */
	double sent;
};

static void
die(const char *what)
{
	(void)fprintf(stderr, "decide: %s: %s\n", what, strerror(errno));
	exit(111);
}

static double
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Microseconds of cpu that a process has had. */
static double
cpu_us(pid_t pid)
{
	char path[64];
	double ns = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	FILE *f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%lf", &ns) != 1)
		die(path);
	(void)fclose(f);
	return ns / 1000;
}

/* --- the floor: a server that says what it is told -------------------------------------------- */

static void
echo_one(int fd)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || write(fd, buf, (size_t)n) != n || buf[0] != '+')
		(void)close(fd);
}

static void
echo_serve(int listener)
{
	struct epoll_event ready[64], ev = { .events = EPOLLIN, .data.fd = listener };
	int epoll = epoll_create1(0), fd;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(epoll, ready, countof(ready), -1);

		for (int i = 0; i < n; i++) {
			if (ready[i].data.fd != listener) {
				echo_one(ready[i].data.fd);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				ev.data.fd = fd;
				(void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
			}
		}
	}
}

static pid_t
echo_start(char path[64])
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	(void)snprintf(path, 64, "/tmp/spillway-echo.%d", (int)getpid());
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, SOMAXCONN) < 0)
		die(path);
	pid_t pid = fork();
	if (pid == 0) {
		echo_serve(fd);
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

/* --- the client ------------------------------------------------------------------------------ */

static int
connect_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		die(path);
	return fd;
}

/* The next `deep` questions: they stand one behind the other, but at the end of all. */
static void
ask(struct connection *c, struct target *t, const struct shape *shape)
{
	if (t->next + shape->deep > t->n)
		t->next = 0;
	const char *from = t->text + t->at[t->next], *to = t->text + t->at[t->next + shape->deep];

	t->next += shape->deep;
	if (shape->closes)
		from++; /* the + that asks to keep the connection */
	c->sent = now_us();
	if (write(c->fd, from, (size_t)(to - from)) != to - from)
		die("write");
	c->missing = shape->deep * t->lines;
}

/* Returns whether all answers to the last question(s) are there. */
static bool
take(struct connection *c)
{
	char buf[8192];
	ssize_t n = read(c->fd, buf, sizeof(buf));

	if (n <= 0)
		die("read");
	for (const char *p = buf; (p = memchr(p, '\n', (size_t)(buf + n - p))) != NULL; p++)
		c->missing--;
	return c->missing == 0;
}

static uint32_t histogram[TICKS];

static void
note(double us)
{
	size_t tick = us < 0 ? 0 : (size_t)(us / TICK_US);

	histogram[tick < TICKS ? tick : TICKS - 1]++;
}

static double
percentile(uint64_t n, double part)
{
	uint64_t seen = 0;
	size_t i = 0;

	while (i < TICKS - 1 && (seen += histogram[i]) < (uint64_t)((double)n * part))
		i++;
	return (double)i * TICK_US;
}

static void
open_one(int epoll, struct connection *c, const struct target *t)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->fd = connect_to(t->socket);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("epoll");
}

/* One slice of time with one server. */
static void
measure(struct target *t, const struct shape *shape, int pair, double ms)
{
	static struct connection all[CONNECTIONS];
	struct epoll_event ready[CONNECTIONS];
	int epoll = epoll_create1(0), open = CONNECTIONS;
	uint64_t answers = 0, notes = 0;

	memset(histogram, 0, sizeof(histogram));
	for (int i = 0; i < CONNECTIONS; i++)
		open_one(epoll, &all[i], t);
	double cpu = cpu_us(t->pid), begin = now_us(), end = begin + ms * 1000;
	for (int i = 0; i < CONNECTIONS; i++)
		ask(&all[i], t, shape);
	while (open > 0) {
		int n = epoll_wait(epoll, ready, CONNECTIONS, 5000);

		if (n <= 0)
			die("no answer");
		for (int i = 0; i < n; i++) {
			struct connection *c = ready[i].data.ptr;

			if (!take(c))
				continue;
			double now = now_us();
			note(now - c->sent);
			notes++;
			answers += shape->deep;
			if (shape->closes || now >= end)
				(void)close(c->fd);
			if (now >= end) {
				open--;
				continue;
			}
			if (shape->closes)
				open_one(epoll, c, t);
			ask(c, t, shape);
		}
	}
	double took = now_us() - begin;
	(void)close(epoll);
	t->rate[pair] = (double)answers / took * 1e6;
	t->cpu_us[pair] = (cpu_us(t->pid) - cpu) / (double)answers;
	t->p50[pair] = percentile(notes, 0.5);
	t->p99[pair] = percentile(notes, 0.99);
}

/* --- questions ------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t
dice(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

typedef int form(char *buf, size_t cap, const char *address);

static int
form_rater(char *buf, size_t cap, const char *address)
{
	return snprintf(buf, cap, "+ip %s\n", address);
}

static int
form_hot(char *buf, size_t cap, const char *address)
{
	(void)address;
	return snprintf(buf, cap, "+hot everybody\n");
}

static int
form_incr(char *buf, size_t cap, const char *address)
{
	size_t n = strlen(address) + 3;

	return snprintf(buf, cap,
		"*2\r\n$4\r\nINCR\r\n$%zu\r\nip:%s\r\n"
		"*3\r\n$6\r\nEXPIRE\r\n$%zu\r\nip:%s\r\n$2\r\n60\r\n", n, address, n, address);
}

static char gcra_sha[41];

static int
form_gcra(char *buf, size_t cap, const char *address)
{
	return snprintf(buf, cap,
		"*6\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$%zu\r\ngc:%s\r\n$7\r\n7500000\r\n$1\r\n8\r\n",
		gcra_sha, strlen(address) + 3, address);
}

/* The same addresses for all. */
static void
write_questions(struct target *t, form *each, unsigned n)
{
	uint64_t state = 42;
	uint32_t len = 0;

	t->n = n;
	t->at = calloc(n + 1, sizeof(*t->at));
	t->text = calloc(n, QUESTION_MAX); /* touched as far as it is used */
	if (t->at == NULL || t->text == NULL)
		die("no memory");
	for (unsigned i = 0; i < n; i++) {
		uint64_t r = dice(&state);
		char address[20];

		(void)snprintf(address, sizeof(address), "%u.%u.%u.%u", (unsigned)(1 + r % 223),
			(unsigned)(r >> 8 & 255), (unsigned)(r >> 16 & 255), (unsigned)(r >> 24 & 255));
		t->at[i] = len;
		len += (uint32_t)each(t->text + len, QUESTION_MAX, address);
	}
	t->at[n] = len;
}

static void
load_script(const char *socket)
{
	char buf[1024];
	int fd = connect_to(socket);
	int n = snprintf(buf, sizeof(buf), "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%zu\r\n%s\r\n", strlen(gcra), gcra);

	if (write(fd, buf, (size_t)n) != n || read(fd, buf, sizeof(buf)) < 45 || buf[0] != '$') {
		(void)fprintf(stderr, "decide: Redis does not take the script\n");
		exit(111);
	}
	memcpy(gcra_sha, strchr(buf, '\n') + 1, 40);
	(void)close(fd);
}

/* --- telling --------------------------------------------------------------------------------- */

static void
print_head(const char *name)
{
	(void)printf("-- %s\n%-32s %12s %14s %9s %9s\n", name, "", "decisions/s", "server's cpu us", "p50 us",
		"p99 us");
}

static void
print_row(const struct target *t, int pairs)
{
	(void)printf("%-32s %12.0f %14.2f %9.1f %9.1f\n", t->name, median(t->rate, pairs), median(t->cpu_us, pairs),
		median(t->p50, pairs), median(t->p99, pairs));
}

/* `most`: it is met by at most the target, not by at least. */
static void
print_target(const char *what, double got, double target, bool most)
{
	(void)printf("%s: %.2f, target: at %s %.2f: %s\n", what, got, most ? "most" : "least", target,
		(most ? got <= target : got >= target) ? "met" : "NOT MET");
}

static struct target echo = { .name = "bare echo server", .lines = 1 };
static struct target ours = { .name = "spillwayd, 8 a minute", .lines = 1 };

static void
run_shape(const struct shape *shape, int pairs, double ms)
{
	measure(&echo, shape, 0, ms / 2); /* warm up */
	measure(&ours, shape, 0, ms / 2);
	for (int i = 0; i < pairs; i++) {
		measure(&echo, shape, i, ms);
		measure(&ours, shape, i, ms);
	}
	print_head(shape->name);
	print_row(&echo, pairs);
	print_row(&ours, pairs);
	print_target("throughput to echo's", median_ratio(ours.rate, echo.rate, pairs), 0.8, false);
	double cpu = median_ratio(ours.cpu_us, echo.cpu_us, pairs);
	if (shape->closes)
		print_target("cpu to echo's", cpu, 1.2, true);
	else
		(void)printf("cpu to echo's: %.2f\n", cpu);
}

static void
run_shapes(int pairs, double ms)
{
	char path[64];

	echo.pid = echo_start(path);
	echo.socket = path;
	write_questions(&echo, form_rater, ADDRESSES);
	write_questions(&ours, form_rater, ADDRESSES);
	for (size_t i = 0; i < countof(shapes); i++)
		run_shape(&shapes[i], pairs, ms);
	(void)kill(echo.pid, SIGTERM);
	(void)waitpid(echo.pid, NULL, 0);
	(void)unlink(path);
}

static void
run_redis(const char *socket, pid_t pid, int pairs, double ms)
{
	static struct target redis[2] = {
		{ .name = "Redis, INCR + EXPIRE", .lines = 2 }, { .name = "Redis, GCRA script", .lines = 1 },
	};

	load_script(socket);
	write_questions(&ours, form_rater, ADDRESSES);
	for (int k = 0; k < 2; k++) {
		redis[k].socket = socket;
		redis[k].pid = pid;
		write_questions(&redis[k], k == 0 ? form_incr : form_gcra, ADDRESSES);
	}
	for (const struct shape *shape = &shapes[1]; shape < shapes + countof(shapes); shape++) {
		for (int i = 0; i < pairs; i++) {
			measure(&ours, shape, i, ms);
			for (int k = 0; k < 2; k++)
				measure(&redis[k], shape, i, ms);
		}
		print_head(shape->name);
		print_row(&ours, pairs);
		for (int k = 0; k < 2; k++) {
			char what[100];

			print_row(&redis[k], pairs);
			(void)snprintf(what, sizeof(what), "cpu to that of %s", redis[k].name);
			print_target(what, median_ratio(ours.cpu_us, redis[k].cpu_us, pairs),
				shape->deep > 1 ? 0.33 : 0.5, true);
		}
	}
}

/* All questions once, deep enough that it does not take long. */
static void
ask_all(struct target *t)
{
	static const struct shape deep = { .deep = 100 };
	struct connection c = { .fd = connect_to(t->socket) };

	for (unsigned i = 0; i < t->n; i += deep.deep) {
		ask(&c, t, &deep);
		while (!take(&c))
			;
	}
	(void)close(c.fd);
}

static void
run_keys(int pairs, double ms)
{
	static struct target t[] = {
		{ .name = "1,000 keys asked for", .lines = 1 }, { .name = "1,000,000 keys asked for", .lines = 1 },
		{ .name = "one key with 1,000,000 marks", .lines = 1 },
	};

	for (size_t k = 0; k < countof(t); k++) {
		t[k].socket = ours.socket;
		t[k].pid = ours.pid;
		write_questions(&t[k], k == 2 ? form_hot : form_rater, k == 0 ? FEW : MANY);
		ask_all(&t[k]);
	}
	for (size_t s = 0; s < countof(shapes); s++) {
		for (int i = 0; i < pairs; i++)
			for (size_t k = 0; k < countof(t); k++)
				measure(&t[k], &shapes[s], i, ms);
		print_head(shapes[s].name);
		for (size_t k = 0; k < countof(t); k++)
			print_row(&t[k], pairs);
		print_target("cpu at 1,000,000 keys to that at 1,000", median_ratio(t[1].cpu_us, t[0].cpu_us, pairs), 2,
			true);
		print_target("cpu on 1,000,000 marks to that", median_ratio(t[2].cpu_us, t[0].cpu_us, pairs), 2, true);
	}
}

int
main(int argc, char **argv)
{
	const char *what = argc >= 6 ? argv[1] : "";
	int pairs = argc >= 6 ? atoi(argv[2]) : 0;
	double ms = argc >= 6 ? atof(argv[3]) : 0;
	bool redis = strcmp(what, "redis") == 0, keys = strcmp(what, "keys") == 0;

	if (pairs < 1 || pairs > PAIRS_MAX || ms < 1 || argc != (redis ? 8 : 6)
		|| (!redis && !keys && strcmp(what, "shapes") != 0)) {
		(void)fprintf(stderr, "usage: decide shapes|keys PAIRS MS SOCKET PID\n"
			"       decide redis PAIRS MS SOCKET PID REDIS-SOCKET REDIS-PID\n");
		return 100;
	}
	ours.socket = argv[4];
	ours.pid = atoi(argv[5]);
	if (redis)
		run_redis(argv[6], atoi(argv[7]), pairs, ms);
	else if (keys)
		run_keys(pairs, ms);
	else
		run_shapes(pairs, ms);
	return 0;
}
