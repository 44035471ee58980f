/* SPDX-License-Identifier: ISC */
/*
 * pidfd - pidfd_open() where valgrind 3.19 has none
 *
 * For tests of what uses lib/child.c: this definition goes before libc's.  Under valgrind a thread waits for the process, and the
 * end of a pipe becomes readable in its place.
 */
#ifndef TESTS_UNIT_PIDFD_H
#define TESTS_UNIT_PIDFD_H

#include <pthread.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/kit.h"

static int pidfd_error; /* of a kernel that has none either */

struct pidfd_wait {
	pid_t pid;
	int fd;
};

static inline void *
pidfd_wait(void *arg)
{
	struct pidfd_wait w = *(struct pidfd_wait *)arg;
	siginfo_t info;

	free(arg);
	while (waitid(P_PID, (id_t)w.pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		continue;
	(void)close(w.fd); /* dead, or reaped meanwhile */
	return NULL;
}

int
pidfd_open(pid_t pid, unsigned flags)
{
	struct pidfd_wait *w;
	pthread_t thread;
	int fd[2];

	if (pidfd_error != 0) {
		errno = pidfd_error;
		return -1;
	}
	if (!kit_is_slow())
		return (int)syscall(SYS_pidfd_open, pid, flags);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_non_null(w = malloc(sizeof(*w)));
	*w = (struct pidfd_wait) { pid, fd[1] };
	assert_int_equal(pthread_create(&thread, NULL, pidfd_wait, w), 0);
	assert_int_equal(pthread_detach(thread), 0);
	return fd[0];
}

#endif
