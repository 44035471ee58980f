/* SPDX-License-Identifier: ISC */
#include "lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- start ----------------------------------------------------------------------------------- */

static int
add_actions(posix_spawn_file_actions_t *fa, int in, int out, int err)
{
	int r = in >= 0 ? posix_spawn_file_actions_adddup2(fa, in, STDIN_FILENO)
			: posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (r == 0)
		r = posix_spawn_file_actions_adddup2(fa, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(fa, err, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(fa, STDERR_FILENO + 1);
	return r;
}

/* The helper must not inherit that we ignore SIGPIPE or block signals. */
static int
set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	r = posix_spawnattr_setflags(attr,
		POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawnattr_setpgroup(attr, 0);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &all);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	return r;
}

/* Only the first three stay open, and whatever `prepare` opens for the program. */
static bool
set_descriptors(int in, int out, int err)
{
	if (in < 0)
		in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return in >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0
		&& close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) == 0;
}

/* The same for a child with work of its own to do before it becomes the program. */
static _Noreturn void
become(const struct child_spec *spec, int out, int err)
{
	sigset_t none;
	int r;

	(void)sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* some can't be set */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setpgid(0, 0); /* can't fail in a fresh child */
	if (!set_descriptors(spec->in, out, err))
		_exit(127);
	if ((r = spec->prepare(spec->arg)) != CHILD_GO_ON)
		_exit(r);
	(void)execve(spec->argv[0], spec->argv, spec->envp);
	(void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", spec->argv[0], strerror(errno));
	_exit(127);
}

static int
fork_child(const struct child_spec *spec, int out, int err, pid_t *ret)
{
	pid_t pid = fork();

	if (pid == 0)
		become(spec, out, err);
	if (pid < 0)
		return -errno;
	*ret = pid;
	return 0;
}

static int
spawn(const struct child_spec *spec, int out, int err, pid_t *ret)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int r;

	if (spec->prepare != NULL)
		return fork_child(spec, out, err, ret);
	if ((r = posix_spawn_file_actions_init(&fa)) != 0)
		return -r;
	r = posix_spawnattr_init(&attr);
	if (r == 0) {
		r = add_actions(&fa, spec->in, out, err);
		if (r == 0)
			r = set_attributes(&attr);
		if (r == 0)
			r = posix_spawn(ret, spec->argv[0], &fa, &attr, spec->argv, spec->envp);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&fa);
	return -r;
}

static int
poll_add(int poll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int
watch(struct child *c)
{
	int r;

	if ((c->pidfd = pidfd_open(c->pid, 0)) < 0 || (c->poll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		return -errno;
	if ((r = poll_add(c->poll, c->out.fd)) < 0 || (r = poll_add(c->poll, c->err.fd)) < 0)
		return r;
	return poll_add(c->poll, c->pidfd);
}

static void
close_if_open(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void
release(struct child *c)
{
	close_if_open(&c->pidfd);
	close_if_open(&c->poll);
	close_if_open(&c->out.fd);
	close_if_open(&c->err.fd);
	c->pid = 0;
}

/* A pipe whose reading end does not block. */
static int
make_pipe(int fd[2])
{
	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK); /* can't fail on a fresh pipe */
	return 0;
}

int
child_start(const struct child_spec *spec, struct child *ret)
{
	struct child c = {
		.pidfd = -1, .poll = -1,
		.out = { .buf = spec->out, .cap = spec->out_cap },
		.err = { .buf = spec->err, .cap = spec->err_cap },
	};
	int out[2], err[2];
	int r = make_pipe(out);

	if (r < 0)
		return r;
	if ((r = make_pipe(err)) < 0) {
		(void)close(out[0]);
		(void)close(out[1]);
		return r;
	}
	c.out.fd = out[0];
	c.err.fd = err[0];
	r = spawn(spec, out[1], err[1], &c.pid);
	(void)close(out[1]);
	(void)close(err[1]);
	if (r < 0) {
		release(&c);
		return r;
	}
	if ((r = watch(&c)) < 0) {
		child_abandon(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* --- while it runs --------------------------------------------------------------------------- */

static void
drain(struct child_output *o)
{
	char scrap[4096];

	while (o->fd >= 0) {
		size_t room = o->cap - o->len;
		/* cppcheck-suppress legacyUninitvar ; read() writes to it, nobody reads it */
		ssize_t n = read(o->fd, room > 0 ? o->buf + o->len : scrap, room > 0 ? room : sizeof(scrap));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_if_open(&o->fd); /* which takes it out of the epoll set */
		} else if (room > 0) {
			o->len += (size_t)n;
		} else {
			o->overflow = true;
			return; /* one bite a turn of what never ends */
		}
	}
}

static bool
ends_within(const struct child *c, int ms)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

int
child_pump(struct child *c)
{
	int status;

	drain(&c->out);
	drain(&c->err);
	if (!ends_within(c, 0))
		return -EAGAIN;
	if (c->out.fd >= 0 || c->err.fd >= 0) {
		/* Somebody it left behind has the pipes.  Its end is no news any more, or the loop would spin. */
		(void)epoll_ctl(c->poll, EPOLL_CTL_DEL, c->pidfd, NULL);
		return -EAGAIN;
	}
	pid_t p = waitpid(c->pid, &status, WNOHANG);
	if (p == 0)
		return -EAGAIN;
	release(c);
	if (p < 0)
		return 256; /* somebody else reaped it: it ended, more is not known */
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

void
child_kill(struct child *c)
{
	if (c->pid <= 0)
		return;
	if (kill(-c->pid, SIGKILL) < 0)
		(void)kill(c->pid, SIGKILL); /* its group is not there yet */
	/* Whoever of its family escaped the group may hold the pipes: they are not waited for. */
	close_if_open(&c->out.fd);
	close_if_open(&c->err.fd);
}

void
child_forget(struct child *c)
{
	release(c);
}

void
child_abandon(struct child *c)
{
	child_kill(c);
	if (c->pid > 0 && (c->pidfd < 0 || ends_within(c, 50)))
		(void)waitpid(c->pid, NULL, c->pidfd < 0 ? 0 : WNOHANG);
	release(c);
}
