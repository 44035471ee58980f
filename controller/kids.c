/* SPDX-License-Identifier: ISC */
#include "controller/kids.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controller/log.h"

bool
kid_start_if_due(struct kid *kid, mono_t now)
{
	if (kid->pid != 0 || now.ms < kid->start_at.ms)
		return false;
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_NAME, kid->name);
		_exit(kid->run(kid->arg));
	}
	if (pid < 0) {
		kid->start_at = mono_after(now, KIDS_BACKOFF_MAX_MS);
		log_error("keeper", "cannot start the %s: %s", kid->name, strerror(errno));
		return false;
	}
	kid->pid = pid;
	kid->started = now;
	kid->ran_before = true;
	return true;
}

static void
bury(struct kid *kid, int status, bool stopping, mono_t now)
{
	bool steady = mono_since(kid->started, now) >= KIDS_STEADY_MS;

	kid->pid = 0;
	if (stopping)
		return;
	if (steady || kid->backoff_ms == 0)
		kid->backoff_ms = KIDS_BACKOFF_MIN_MS;
	else if (kid->backoff_ms < KIDS_BACKOFF_MAX_MS / 2)
		kid->backoff_ms *= 2;
	else
		kid->backoff_ms = KIDS_BACKOFF_MAX_MS;
	kid->start_at = mono_after(now, kid->backoff_ms);
	log_error("keeper", "the %s ended with %s %d; it is started again in %lld ms", kid->name,
		WIFSIGNALED(status) ? "signal" : "exit code",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (long long)kid->backoff_ms);
}

unsigned
kids_reap(struct kid *const kids[], size_t n, bool stopping, mono_t now)
{
	unsigned ended = 0;
	int status;

	/* Each by its number: the helpers of actions (lib/child.h) are not ours to bury. */
	for (size_t i = 0; i < n; i++) {
		if (kids[i]->pid == 0 || waitpid(kids[i]->pid, &status, WNOHANG) != kids[i]->pid)
			continue;
		bury(kids[i], status, stopping, now);
		ended++;
	}
	return ended;
}

/* Gone, or not ours any more. */
static bool
is_gone(struct kid *kid)
{
	pid_t p = waitpid(kid->pid, NULL, WNOHANG);

	return p == kid->pid || (p < 0 && errno != EINTR);
}

void
kid_stop(struct kid *kid, int64_t patience_ms)
{
	mono_t deadline = mono_after(mono_now(), patience_ms);
	bool killed = false;

	if (kid->pid == 0)
		return;
	(void)kill(kid->pid, SIGTERM);
	while (!is_gone(kid)) {
		if (!killed && mono_now().ms >= deadline.ms) {
			(void)kill(kid->pid, SIGKILL);
			killed = true;
		}
		(void)poll(NULL, 0, 10);
	}
	kid->pid = 0;
}
