/* SPDX-License-Identifier: ISC */
/*
 * watch - what does it cost to know the queue, and how soon is it known?
 *
 *	watch HOME CONTROL-SOCKET DAEMON-PID QSTAT SECONDS
 *
 * HOME has a plain queue, a daemon watches it.  First, freshness: twenty times 500 files appear in todo; how long until the daemon's
 * reading is exact?  Then, for SECONDS: 10,000 files appear in todo at 5,000 a second, and every second QSTAT is run; printed is
 * the cpu time of the daemon's processes and of QSTAT over that time.  Nothing asks the daemon meanwhile.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 10000
#define RATE 5000.0
#define TRIALS 20
#define TRIAL_FILES 500

static const char *home, *control;

static double
now_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
sleep_until(double t)
{
	double left = t - now_s();

	if (left > 0) {
		struct timespec ts = { .tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9) };

		(void)nanosleep(&ts, NULL);
	}
}

static void
todo_file(int n, int make)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/queue/todo/%d", home, 9000000 + n);
	if (make)
		(void)close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
	else
		(void)unlink(path);
}

/* The number behind "todo":{"value": in the status, or -1. */
static double
ask_todo(void)
{
	static char buf[65536];
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	static const char question[] = "{\"command\":\"status\"}\n";
	size_t len = 0;
	ssize_t n;
	double v = -1;

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", control);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 && write(fd, question, sizeof(question) - 1) > 0) {
		while (len < sizeof(buf) - 1 && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
			len += (size_t)n;
		buf[len] = '\0';
		const char *at = strstr(buf, "\"todo\":{\"value\":");
		if (at != NULL)
			(void)sscanf(at + 16, "%lf", &v);
	}
	(void)close(fd);
	return v;
}

/* Nanoseconds of cpu of a process, all its threads alike one. */
static double
cpu_of(long pid)
{
	char path[64];
	double ns = 0;

	(void)snprintf(path, sizeof(path), "/proc/%ld/schedstat", pid);
	FILE *f = fopen(path, "r");
	if (f != NULL) {
		(void)!fscanf(f, "%lf", &ns);
		(void)fclose(f);
	}
	return ns / 1e6;
}

static double
cpu_of_family(long pid)
{
	char path[64];
	double ms = cpu_of(pid);
	long child;

	(void)snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", pid, pid);
	FILE *f = fopen(path, "r");
	while (f != NULL && fscanf(f, "%ld", &child) == 1)
		ms += cpu_of(child);
	if (f != NULL)
		(void)fclose(f);
	return ms;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
measure_freshness(void)
{
	double ms[TRIALS];

	for (int t = 0; t < TRIALS; t++) {
		for (int i = 0; i < TRIAL_FILES; i++)
			todo_file(i, 1);
		double from = now_s();
		while (ask_todo() != TRIAL_FILES && now_s() < from + 10)
			sleep_until(now_s() + 0.001);
		ms[t] = (now_s() - from) * 1000;
		for (int i = 0; i < TRIAL_FILES; i++)
			todo_file(i, 0);
		while (ask_todo() != 0 && now_s() < from + 20)
			sleep_until(now_s() + 0.01);
		sleep_until(now_s() + 0.05 + 0.007 * t); /* not in step with any timer */
	}
	qsort(ms, TRIALS, sizeof(*ms), compare);
	(void)printf("reading exact after %d files appeared: median %.1f ms, most %.1f ms (target: at most 200 ms)\n",
		TRIAL_FILES, ms[TRIALS / 2], ms[TRIALS - 1]);
}

/* Run the command and add its cpu time, with that of its children. */
static double
run_qstat(const char *command)
{
	struct rusage u;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		(void)dup2(null, 1);
		(void)execl(command, command, home, (char *)NULL);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &u) < 0 || status != 0)
		return -1;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000
		+ (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void
make_burst(void)
{
	double from = now_s();

	for (int i = 0; i < FILES; i++) {
		todo_file(i, 1);
		if (i % 50 == 49)
			sleep_until(from + (i + 1) / RATE);
	}
	(void)printf("%d files appeared in todo within %.2f s\n", FILES, now_s() - from);
}

int
main(int argc, char **argv)
{
	if (argc != 6) {
		(void)fprintf(stderr, "usage: watch HOME CONTROL-SOCKET DAEMON-PID QSTAT SECONDS\n");
		return 100;
	}
	home = argv[1];
	control = argv[2];
	long pid = atol(argv[3]);
	int seconds = atoi(argv[5]);

	measure_freshness();
	double begin = cpu_of_family(pid), from = now_s(), qstat = 0;
	(void)fflush(stdout);
	pid_t burst = fork();
	if (burst == 0) {
		sleep_until(from + 5);
		make_burst();
		(void)fflush(stdout);
		_exit(0);
	}
	for (int i = 0; i < seconds; i++) {
		double ms = run_qstat(argv[4]);

		if (ms < 0) {
			(void)fprintf(stderr, "watch: %s does not run\n", argv[4]);
			return 111;
		}
		qstat += ms;
		sleep_until(from + i + 1);
	}
	double ours = cpu_of_family(pid) - begin;
	(void)waitpid(burst, NULL, 0);
	(void)printf("reading after it settled: todo %.0f, wanted %d\n", ask_todo(), FILES);
	(void)printf("cpu in %.0f s: spillwayd, all processes %.1f ms; qmail-qstat once a second %.0f ms: %.0f times as much\n",
		now_s() - from, ours, qstat, qstat / ours);
	for (int i = 0; i < FILES; i++)
		todo_file(i, 0);
	return 0;
}
