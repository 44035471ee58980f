/* SPDX-License-Identifier: ISC */
/*
 * guard - the plugin can only fail open
 *
 * A plugin that dies by a signal makes qmail-spp answer "451 ... child crashed" to every client, so every
 * signal that a bug or a limit can raise ends in a quiet exit.  The handlers run on a stack of their own, for
 * a stack overflow is one of the bugs.  Builds with sanitizers leave the handlers out, so that bugs are seen.
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/array.h"
#include "plugins/plugin.h"

#ifdef PLUGIN_NO_HANDLERS
#define SAY_MS PLUGIN_DEADLINE_MS
#else
#define SAY_MS 300 /* from the decision to the end: two writes, on a machine that is busy */
#endif

#ifndef PLUGIN_NO_HANDLERS

#define STACK_SIZE 16384 /* room for a signal frame with AVX-512 state; not touched unless needed */

static void
give_up(int sig)
{
	(void)sig;
	_exit(0);
}

static void
catch_signals(void)
{
	static const int signals[] = {
		SIGALRM, SIGTERM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS,
		SIGXCPU, SIGXFSZ, /* softlimit -t, -f: the log may be a file */
	};
	static unsigned char stack[STACK_SIZE];
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_handler = give_up, .sa_flags = SA_ONSTACK };
	sigset_t none;

	(void)sigaltstack(&alternate, NULL); /* without it only stack overflows are not caught */
	for (size_t i = 0; i < countof(signals); i++)
		(void)sigaction(signals[i], &sa, NULL);
	/* Inherited so from qmail-smtpd, but not from a person's shell: a reader that is gone is no crash. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* A mask is inherited too: behind it the timer would never strike, and a fault would kill. */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

#else

static void
catch_signals(void)
{
}

#endif

static void
end_after(uint32_t ms)
{
	const struct itimerval deadline = {
		.it_value = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000 },
	};

	(void)setitimer(ITIMER_REAL, &deadline, NULL);
}

void
guard_start(void)
{
	catch_signals();
	end_after(PLUGIN_DEADLINE_MS);
}

void
guard_extend(uint32_t ms)
{
	end_after(ms + PLUGIN_DEADLINE_MS);
}

void
guard_decided(void)
{
	end_after(SAY_MS);
}

bool
guard_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}
