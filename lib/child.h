/* SPDX-License-Identifier: ISC */
/*
 * child - run a helper program, collect what it prints, and be sure that it ends
 *
 * The child gets a process group of its own, no descriptor but 0, 1, 2, default signals, and just the environment it is
 * given.  Nothing here waits: the caller watches `poll` in its loop, calls child_pump(), and keeps the deadline.
 */
#ifndef LIB_CHILD_H
#define LIB_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Where output goes: memory of the caller.  What does not fit is read and dropped. */
struct child_output {
	char *buf;
	size_t cap; /* >= 1 */
	size_t len;
	bool overflow;
	int fd; /* -1: closed by the child */
};

struct child {
	pid_t pid; /* 0: none */
	int pidfd;
	int poll; /* readable when child_pump() has something to do */
	struct child_output out, err;
};

struct child_spec {
	char *const *argv; /* argv[0] is a path */
	char *const *envp;
	int in; /* its stdin, or -1: /dev/null; stays the caller's */
	char *out, *err; /* buffers for stdout and stderr, which must live as long as the child */
	size_t out_cap, err_cap;
	/* NULL, or work for the child to do first, with 0, 1 and 2 in place and all others to be closed at its exec.  Returns
	 * CHILD_GO_ON, or the exit code to end with instead of becoming the program.  It gets a copy of all memory
	 * (fork), so the caller must have no other thread.  A program that can't be run is then told on the child's
	 * stderr, with exit code 127, and not by child_start(). */
	int (*prepare)(void *arg);
	void *arg;
};

#define CHILD_GO_ON (-1)

/* Returns 0 or -errno; `ret` is untouched on failure. */
int child_start(const struct child_spec *spec, struct child *ret);

/* Read what it printed.  Returns -EAGAIN while it runs or somebody it left behind holds its output; when
 * all is over its exit code, or 256 + signal number, and everything is released (pid becomes 0). */
int child_pump(struct child *c);

/* Kill the whole group.  Harmless when it has ended.  Death may take long (a process that waits for a dead
 * disk): go on pumping until it has come. */
void child_kill(struct child *c);

/* For a process that was forked with it: release what is ours of it and leave the child alone, for it is our
 * parent's. */
void child_forget(struct child *c);

/* Kill it and release everything, waiting 50 ms at most; one that does not die by then is left to init. */
void child_abandon(struct child *c);

#endif
