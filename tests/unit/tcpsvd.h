/* SPDX-License-Identifier: ISC */
/*
 * tcpsvd - processes that look like tcpsvd in /proc: the test program itself, run under that name, does nothing
 *
 * main() begins with tcpsvd_pretend(argv[0]).  A pretended one dies with the test.
 */
#ifndef TESTS_UNIT_TCPSVD_H
#define TESTS_UNIT_TCPSVD_H

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/unit/kit.h"

#define TCPSVD_NOBODY 65534

/* Those that run; a test that fails does not stop its own. */
static pid_t tcpsvd_pid[16];

/* Does not return when the program was started as a pretended tcpsvd, nor under valgrind. */
static inline void
tcpsvd_pretend(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	if (strcmp(slash != NULL ? slash + 1 : argv0, "tcpsvd") != 0) {
		if (!kit_is_slow())
			return;
		print_message("1..0 # SKIP valgrind runs nothing under another name\n");
		exit(0);
	}
	for (;;)
		(void)pause();
}

struct tcpsvd_how {
	const char *cwd; /* NULL: as ours */
	bool nobody; /* becomes nobody before it is run */
	bool listener; /* holds a socket that listens, opened by us */
};

/* Start one with these arguments, argv[0] first, ended by NULL.  Its command line can be read when this returns. */
static inline pid_t
tcpsvd_start_as(const struct tcpsvd_how *how, const char *const *argv)
{
	char byte;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int s = how->listener ? socket(AF_INET, SOCK_STREAM, 0) : -1;

		if (s >= 0 && (bind(s, (const struct sockaddr *)&any, sizeof(any)) < 0 || listen(s, 1) < 0))
			_exit(1);
		if (how->cwd != NULL && chdir(how->cwd) < 0)
			_exit(1);
		if (how->nobody && (setgid(TCPSVD_NOBODY) < 0 || setuid(TCPSVD_NOBODY) < 0))
			_exit(1);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(1);
	}
	(void)close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 0); /* closed by its exec */
	(void)close(fds[0]);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	size_t i = 0;
	while (tcpsvd_pid[i] != 0)
		assert_true(++i < countof(tcpsvd_pid));
	tcpsvd_pid[i] = pid;
	return pid;
}

/* The usual one: tcpsvd -i DIR -t SECONDS [-C 40] 0 25 smtpd; SECONDS NULL: without -t. */
static inline pid_t
tcpsvd_start(const char *dir, const char *seconds, bool counts)
{
	const char *argv[12] = { "tcpsvd", "-v" };
	size_t n = 2;

	argv[n++] = "-i";
	argv[n++] = dir;
	if (seconds != NULL) {
		argv[n++] = "-t";
		argv[n++] = seconds;
	}
	if (counts) {
		argv[n++] = "-C";
		argv[n++] = "40:421 later\\r\\n";
	}
	argv[n++] = "0";
	argv[n++] = "25";
	argv[n] = "smtpd";
	return tcpsvd_start_as(&(struct tcpsvd_how) { .cwd = NULL }, argv);
}

static inline void
tcpsvd_stop(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(waitpid(pid, NULL, 0) == pid);
	for (size_t i = 0; i < countof(tcpsvd_pid); i++)
		if (tcpsvd_pid[i] == pid)
			tcpsvd_pid[i] = 0;
}

static inline void
tcpsvd_stop_all(void)
{
	for (size_t i = 0; i < countof(tcpsvd_pid); i++)
		if (tcpsvd_pid[i] != 0)
			tcpsvd_stop(tcpsvd_pid[i]);
}

#endif
