/* SPDX-License-Identifier: ISC */
/*
 * plugin - run one line of control/smtpplugins as qmail-spp does, and act on what it prints
 *
 * This is the promise that plugin tests rely on, so the oddities are kept on purpose: a plugin is
 * waited for without limit; the last byte of each line is lost, newline or not; reading stops at the
 * first A, D, E, N, O or R and the pipe is closed then; a plugin that dies behind its E gives the client
 * two replies.  `struct plugin_how` has the departures that only the program `spp` makes.
 */
#ifndef TESTS_STANDIN_PLUGIN_H
#define TESTS_STANDIN_PLUGIN_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/standin/buf.h"

/* In the order of the first letters that choose a section of control/smtpplugins. */
enum plugin_stage {
	PLUGIN_CONNECTION,
	PLUGIN_HELO,
	PLUGIN_AUTH,
	PLUGIN_MAIL,
	PLUGIN_RCPT,
	PLUGIN_PASS,
	PLUGIN_DATA,
	PLUGIN_STAGES
};

static const char *const plugin_stage_names[PLUGIN_STAGES] = {
	"connection", "helo", "auth", "mail", "rcpt", "pass", "data",
};

/* Errors that a plugin postpones with LM, LR and LD. */
enum plugin_later { LATER_MAIL, LATER_RCPT, LATER_DATA, LATER_COUNT };

struct plugin_session {
	struct buf *out; /* what the client gets; borrowed */
	struct buf *addr; /* what C changes: the address of this MAIL or RCPT, or NULL; borrowed */
	const char *addr_name; /* its environment variable */
	struct buf *effects; /* a copy of each H, C, S, U, L line, NUL behind; NULL: not wanted; borrowed */
	struct buf headers;
	struct buf later[LATER_COUNT];
	bool later_told[LATER_COUNT]; /* what is added after the first telling is never told */
	bool off; /* after an A */
};

enum plugin_end {
	PLUGIN_PASSES,
	PLUGIN_NEXT, /* N: no more plugins of this stage */
	PLUGIN_ACCEPT, /* A: no more plugins at all */
	PLUGIN_OK, /* O: and skip the server's own checks */
	PLUGIN_REFUSE,
	PLUGIN_CLOSE,
	PLUGIN_DROP,
	PLUGIN_FAILURE,
	PLUGIN_HANG, /* only with a timeout */
};

/* All zero: exactly as qmail-spp. */
struct plugin_how {
	uint64_t close_fds; /* bit N: close N just before exec */
	bool sigpipe_default;
	uint64_t memory_bytes; /* RLIMIT_AS */
	int64_t timeout_ms; /* then it and its children are killed */
};

struct plugin_result {
	enum plugin_end end;
	size_t lines;
	int status; /* as from wait(); -1: it was never started */
	int64_t ms;
};

struct plugin_process {
	pid_t pid;
	int fd;
	int64_t deadline_ms; /* on the clock of mono_now(); -1: none */
	size_t at, end;
	char chunk[4096];
};

static inline void
plugin_prepare_child(const struct plugin_how *how)
{
	struct rlimit limit = { how->memory_bytes, how->memory_bytes };

	if (how->timeout_ms > 0)
		(void)setpgid(0, 0); /* else the children of the plugin could not be found and killed */
	if (how->sigpipe_default)
		(void)signal(SIGPIPE, SIG_DFL);
	if (how->memory_bytes > 0 && setrlimit(RLIMIT_AS, &limit) < 0)
		_exit(120);
	for (int fd = 0; fd < 64; fd++)
		if (how->close_fds >> fd & 1)
			(void)close(fd);
}

/* vfork: a server that was sent a mailbomb has no memory to copy.  The child only makes system calls. */
static inline pid_t
plugin_spawn(char *line, const int fd[2], const struct plugin_how *how)
{
	static char shell[] = "/bin/sh", dash_c[] = "-c";
	char *by_shell[] = { shell, dash_c, line + 1, NULL };
	char *by_path[] = { line, NULL };
	char **argv = line[0] == ':' ? by_shell : by_path;
	pid_t pid = vfork();

	if (pid != 0)
		return pid;
	(void)close(STDIN_FILENO);
	(void)close(fd[0]);
	if (dup2(fd[1], STDOUT_FILENO) < 0)
		_exit(120);
	(void)close(fd[1]);
	plugin_prepare_child(how);
	(void)execv(argv[0], argv);
	_exit(120);
}

/* Wait for `fd` until the deadline.  Returns false when it has passed. */
static inline bool
plugin_wait_fd(const struct plugin_process *p, int fd)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };
	int r;

	if (p->deadline_ms < 0)
		return true;
	do {
		int64_t left = p->deadline_ms - mono_now().ms;

		r = poll(&f, 1, left < 0 ? 0 : (int)left);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

static inline ssize_t
plugin_fill(struct plugin_process *p)
{
	ssize_t n;

	if (!plugin_wait_fd(p, p->fd))
		return -ETIME;
	do
		n = read(p->fd, p->chunk, sizeof(p->chunk));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	p->at = 0;
	p->end = (size_t)n;
	return n;
}

/* The next line with its newline, or what is left without one.  Returns 1 when it ends in a newline, 0 at
 * the end of the output, -ETIME. */
static inline int
plugin_read_line(struct plugin_process *p, struct buf *line)
{
	buf_clear(line);
	for (;;) {
		if (p->at == p->end) {
			ssize_t n = plugin_fill(p);

			if (n <= 0)
				return (int)n;
		}
		const char *from = p->chunk + p->at;
		const char *nl = memchr(from, '\n', p->end - p->at);
		size_t n = nl == NULL ? p->end - p->at : (size_t)(nl - from) + 1;
		buf_put(line, from, n);
		p->at += n;
		if (nl != NULL)
			return 1;
	}
}

static inline void
plugin_say(struct plugin_session *s, const char *text)
{
	buf_puts(s->out, text);
	buf_puts(s->out, "\r\n");
}

static inline void
plugin_say_failure(struct plugin_session *s, const char *plugin, const char *what)
{
	buf_puts(s->out, "451 qmail-spp failure: ");
	buf_puts(s->out, plugin);
	buf_puts(s->out, ": ");
	buf_puts(s->out, what);
	plugin_say(s, " (#4.3.0)");
}

static inline void
plugin_set_env(char *assignment)
{
	char *eq = strchr(assignment, '=');

	if (eq == NULL) {
		(void)unsetenv(assignment);
		return;
	}
	*eq = '\0';
	if (setenv(assignment, eq + 1, 1) < 0 && errno == ENOMEM)
		buf_die();
	*eq = '=';
}

static inline void
plugin_change_address(struct plugin_session *s, const char *to)
{
	if (s->addr == NULL)
		return;
	buf_copy(s->addr, to);
	if (setenv(s->addr_name, to, 1) < 0)
		buf_die();
}

static inline void
plugin_postpone(struct plugin_session *s, const char *text, size_t n)
{
	static const char letters[LATER_COUNT] = { 'M', 'R', 'D' };

	for (size_t i = 0; n > 0 && i < LATER_COUNT; i++)
		if (letters[i] == text[0] && !s->later_told[i]) {
			buf_put(&s->later[i], text + 1, n - 1);
			buf_puts(&s->later[i], "\r\n");
		}
}

/* The letters that do something and let the plugin talk on. */
static inline void
plugin_effect(struct plugin_session *s, char *line, size_t n)
{
	if (s->effects != NULL)
		buf_put(s->effects, line, n + 1);
	switch (line[0]) {
	case 'H':
		buf_put(&s->headers, line + 1, n - 1);
		buf_putc(&s->headers, '\n');
		break;
	case 'C':
		plugin_change_address(s, line + 1);
		break;
	case 'S':
		plugin_set_env(line + 1);
		break;
	case 'U':
		(void)unsetenv(line + 1);
		break;
	default:
		plugin_postpone(s, line + 1, n - 1);
	}
}

/* Act on one line of `n` bytes before its NUL.  Returns true when the plugin has said its last word. */
static inline bool
plugin_obey(struct plugin_session *s, char *line, size_t n)
{
	switch (line[0]) {
	case 'H':
	case 'C':
	case 'S':
	case 'U':
	case 'L':
		plugin_effect(s, line, n);
		return false;
	case 'P':
		plugin_say(s, line + 1);
		return false;
	case 'A':
		s->off = true;
		return true;
	case 'E':
	case 'R':
		plugin_say(s, line + 1);
		return true;
	case 'D':
	case 'N':
	case 'O':
		return true;
	default:
		return false;
	}
}

/* Read and obey until the last word or the end.  Returns the letter of the last word, 0, or -ETIME. */
static inline int
plugin_listen(struct plugin_session *s, struct plugin_process *p, size_t *ret_lines)
{
	struct buf line = { 0 };
	int more, last = 0;

	do {
		more = plugin_read_line(p, &line);
		if (more < 0)
			last = more;
		if (line.len > 0)
			(*ret_lines)++;
		if (more < 0 || line.len < 2)
			continue;
		line.at[line.len - 1] = '\0';
		if (plugin_obey(s, line.at, line.len - 1))
			last = line.at[0];
	} while (more > 0 && last == 0);
	buf_done(&line);
	return last;
}

/* Returns 0 or -ETIME; the plugin is gone in either case. */
static inline int
plugin_reap(const struct plugin_process *p, int *ret_status)
{
	int pidfd, r = 0;

	if (p->deadline_ms >= 0 && (pidfd = pidfd_open(p->pid, 0)) >= 0) {
		if (!plugin_wait_fd(p, pidfd))
			r = -ETIME;
		(void)close(pidfd);
		(void)kill(-p->pid, SIGKILL); /* with r == 0: what it left behind */
	}
	while (waitpid(p->pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return r;
}

static inline enum plugin_end
plugin_verdict(struct plugin_session *s, const char *plugin, int status, int last)
{
	static const enum plugin_end ends[] = {
		['A'] = PLUGIN_ACCEPT, ['D'] = PLUGIN_DROP, ['E'] = PLUGIN_REFUSE,
		['N'] = PLUGIN_NEXT, ['O'] = PLUGIN_OK, ['R'] = PLUGIN_CLOSE,
	};

	if (WIFSIGNALED(status)) {
		plugin_say_failure(s, plugin, "child crashed");
		return PLUGIN_FAILURE;
	}
	if (WEXITSTATUS(status) == 120) {
		plugin_say_failure(s, plugin, "can't execute");
		return PLUGIN_FAILURE;
	}
	return ends[last];
}

static inline int
plugin_start(struct plugin_process *p, char *line, const struct plugin_how *how)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	p->at = p->end = 0;
	p->fd = fd[0];
	p->deadline_ms = how->timeout_ms > 0 ? mono_now().ms + how->timeout_ms : -1;
	p->pid = plugin_spawn(line, fd, how);
	int r = p->pid < 0 ? -errno : 0;
	(void)close(fd[1]);
	if (r < 0)
		(void)close(fd[0]);
	return r;
}

/* Run one plugin line. */
static inline struct plugin_result
plugin_run(struct plugin_session *s, char *line, const struct plugin_how *how)
{
	struct plugin_result ret = { .end = PLUGIN_FAILURE, .status = -1 };
	struct plugin_process p;
	mono_t start = mono_now();

	if (plugin_start(&p, line, how) < 0) {
		plugin_say_failure(s, line, "can't start it");
		return ret;
	}
	int last = plugin_listen(s, &p, &ret.lines);
	(void)close(p.fd);
	if (last == -ETIME)
		p.deadline_ms = 0;
	int r = plugin_reap(&p, &ret.status);
	ret.ms = mono_since(start, mono_now());
	if (last < 0 || r == -ETIME)
		ret.end = PLUGIN_HANG;
	else
		ret.end = plugin_verdict(s, line, ret.status, last);
	return ret;
}

#endif
