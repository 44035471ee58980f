/* SPDX-License-Identifier: ISC */
/*
 * The steps: guards, who is it, read the state, the checks that decide by themselves, one question to the engine for
 * the others, at most one line of reply, log.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/rundir.h"
#include "plugins/plugin.h"

#define STAGE_PREFIX "spillway-"

/* In the order in which they decide. */
static const struct check_ops *const check_table[] = {
	&check_overload,
	&check_concurrency,
	&check_ipthrottle,
	&check_userthrottle,
	&check_rcptthrottle,
	&check_tarpit,
	&check_bounceshield,
	&check_wrongrcpt,
	&check_validrcpt,
	&check_localparts,
};

/* What the name that we are run by asks for. */
struct job {
	enum stage stage;
	const struct check_ops *only; /* NULL: what the state enables for the stage */
	bool known;
};

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* Where were we placed?  qmail-spp does not say, so what is set by now has to do.  It leaves the variables of the
 * transaction before: the second MAIL of a session looks like RCPT, and DATA always does.  That errs on the mild
 * side: the connection stays.  Who wants it exact uses the names of the stages. */
static enum stage
stage_by_environment(void)
{
	if (getenv("SMTPRCPTTO") != NULL)
		return STAGE_RCPT;
	if (getenv("SMTPMAILFROM") != NULL)
		return STAGE_MAIL;
	return getenv("SMTPHELOHOST") != NULL ? STAGE_HELO : STAGE_CONNECTION;
}

static struct job
job_of(const char *name)
{
	if (strncmp(name, STAGE_PREFIX, strlen(STAGE_PREFIX)) == 0) {
		int stage = stage_find(name + strlen(STAGE_PREFIX));

		return (struct job) { .stage = stage >= 0 ? (enum stage)stage : 0, .known = stage >= 0 };
	}
	for (size_t i = 0; i < countof(check_table); i++)
		if (strcmp(name, check_table[i]->name) == 0) {
			const struct check_ops *c = check_table[i];
			int stage = check_stage(c->id);

			return (struct job) {
				.stage = stage >= 0 ? (enum stage)stage : stage_by_environment(),
				.only = c,
				.known = true,
			};
		}
	return (struct job) { 0 };
}

/* Own: the server's users.  An empty SMTPAUTHUSER is none; RELAYCLIENT counts also when it is empty. */
static void
look_at_client(struct session *s)
{
	const char *user = getenv("SMTPAUTHUSER"), *ip = getenv("TCPREMOTEIP");

	s->user = user != NULL && *user != '\0' ? user : NULL;
	s->class = s->user != NULL || getenv("RELAYCLIENT") != NULL ? CLASS_OWN : CLASS_STRANGER;
	s->ip_known = ip != NULL && ip_parse(ip, &s->ip) == 0;
}

/* No check of load or address is for our own users; those of users are for users with a name. */
static bool
is_for(const struct check_ops *c, const struct session *s)
{
	return s->class != CLASS_OWN || (c->for_users && s->user != NULL);
}

/* Does a user send to somebody here, and is the engine told of that by us? */
static bool
is_sending(const struct job *job, const struct session *s)
{
	return s->class == CLASS_OWN && s->stage == STAGE_RCPT
		&& (job->only == NULL || job->only == &check_bounceshield);
}

/* Is there any check that this session could concern?  If not, the state need not be read. */
static bool
concerns(const struct job *job, const struct session *s)
{
	if (is_sending(job, s))
		return true;
	return job->only != NULL ? is_for(job->only, s) : s->class != CLASS_OWN || s->user != NULL;
}

/* Whole, and its lease not over.  That it is of this boot is asked later, and only where it matters: to read the boot
 * id costs more than to read the state. */
static void
look_at_state(struct session *s)
{
	bool whole = state_read(rundir(), &s->state) == 0;

	s->now = mono_now();
	s->state_ok = whole && state_is_fresh(&s->state, s->now);
}

static bool
is_of_this_boot(const struct state *s)
{
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];

	return clock_boot_id(boot_id) == 0 && state_is_current(s, mono_now(), boot_id);
}

/* The one that we are run by the name of, or those that the state enables.  Without a state nobody says which are on:
 * then each is asked what counts without one. */
static bool
is_on(const struct check_ops *c, const struct session *s, const struct job *job)
{
	if (!is_for(c, s))
		return false;
	if (job->only != NULL)
		return job->only == c;
	return !s->state_ok || (s->state.checks[s->stage] & 1u << c->id) != 0;
}

/* --- by what is at hand ----------------------------------------------------------------------- */

/* The first check that refuses, or NULL. */
static const struct check_ops *
first_to_refuse(const struct session *s, const struct job *job)
{
	for (size_t i = 0; i < countof(check_table); i++) {
		const struct check_ops *c = check_table[i];

		if (c->refuses != NULL && is_on(c, s, job) && c->refuses(s))
			return c;
	}
	return NULL;
}

/* The same, and the engine knows. */
static const struct check_ops *
decide_alone(struct session *s, const struct job *job)
{
	const struct check_ops *c = first_to_refuse(s, job);

	if (c == NULL)
		return NULL;
	guard_decided();
	if (engine_tell(s, c) || !s->state_ok || is_of_this_boot(&s->state))
		return c;
	/* A left-over of a boot before.  What is left to go by is an operator's flag. */
	s->state_ok = false;
	return first_to_refuse(s, job);
}

/* --- by the engine's word --------------------------------------------------------------------- */

/* What to ask it for.  Returns the first check that wants it asked, or NULL. */
static const struct check_ops *
make_question(const struct session *s, const struct job *job, struct record *ret)
{
	const struct check_ops *first = NULL;

	for (size_t i = 0; i < countof(check_table); i++) {
		const struct check_ops *c = check_table[i];

		if (c->wants == NULL || !is_on(c, s, job) || !c->wants(s, ret))
			continue;
		ret->wants |= 1u << c->id;
		first = first != NULL ? first : c;
	}
	return first;
}

/* The check that refuses, or NULL.  What was not asked is not answered. */
static const struct check_ops *
refusal_of(const struct asking *a)
{
	for (size_t i = 0; i < countof(check_table); i++) {
		const struct check_ops *c = check_table[i];

		if (c->id == a->answer.check && (a->question.wants & 1u << c->id) != 0 && c->describe != NULL)
			return a->answer.verdict != VERDICT_PASS ? c : NULL;
	}
	return NULL;
}

static void
pass(const struct session *s, const struct asking *a)
{
	if (a->answer.verdict != VERDICT_PASS)
		return; /* an answer to something else */
	for (size_t i = 0; i < countof(check_table); i++) {
		const struct check_ops *c = check_table[i];

		if (c->passed != NULL && (a->question.wants & 1u << c->id) != 0)
			c->passed(s, a);
	}
}

/* --- all of it -------------------------------------------------------------------------------- */

static void
refuse(const struct session *s, const struct check_ops *c, const struct ask_answer *a)
{
	guard_decided();
	say_reply(s, c, a);
	say_refusal(s, c, a);
	if (c->refused != NULL)
		c->refused(s, a);
}

static bool
wants_sent(const struct session *s, const struct job *job)
{
	return is_sending(job, s) && (s->state.flags & STATE_BOUNCES) != 0
		&& (job->only != NULL || (s->state.checks[STAGE_RCPT] & 1u << CHECK_BOUNCESHIELD) != 0);
}

/* Would the engine like to know of this session, though there is nothing to ask? */
static bool
is_of_interest(const struct session *s)
{
	if (s->class == CLASS_OWN)
		return s->user != NULL && s->stage == STAGE_MAIL && (s->state.flags & STATE_TELL_LOGINS) != 0;
	return s->stage == STAGE_DATA && (s->state.flags & STATE_TELL_MAILS) != 0;
}

static void
consult(const struct session *s, const struct job *job)
{
	struct asking a = { .fd = -1 };
	const struct check_ops *first = make_question(s, job, &a.question);

	if (!s->state_ok)
		return; /* without a fresh state there is no engine */
	if (first == NULL) {
		if (s->ip_known && is_of_interest(s))
			engine_tell_session(s);
		if (wants_sent(s, job))
			engine_tell_sent(s);
		return;
	}
	if (wants_sent(s, job)) /* it learns that from the question as well */
		a.question.wants |= 1u << CHECK_BOUNCESHIELD;
	if (!engine_ask(s, &a)) {
		say_note(s, first->name, "Can't connect to spillwayd");
		return;
	}
	const struct check_ops *c = refusal_of(&a);
	if (c == NULL)
		pass(s, &a);
	else if (is_for(c, s)) /* whatever the engine says */
		refuse(s, c, &a.answer);
}

static void
run(struct session *s, const struct job *job)
{
	const struct check_ops *c = decide_alone(s, job);

	if (c != NULL)
		refuse(s, c, NULL);
	else if (job->only != NULL || s->state_ok)
		consult(s, job);
}

#ifdef PLUGIN_CRASH
/* For tests of the guards: fail as a bug would.  The number says how. */
static int
overflow(volatile int *p)
{
	volatile int here[1024] = { *p };

	return here[0] != 0 ? 0 : overflow(here) + here[1]; /* it is 0; compilers want to see a way out */
}

static void
crash(void)
{
	volatile int zero = 0;

	switch (PLUGIN_CRASH) {
	case 1:
		*(volatile int *)(uintptr_t)zero = 1;
		break;
	case 2:
		abort();
	case 3:
		(void)overflow(&zero);
		break;
	case 4:
		__builtin_trap();
	default:
		for (;;)
			;
	}
}
#endif

int
main(int argc, char **argv)
{
	struct session s = { 0 };

	guard_start();
	bool can_reply = guard_is_open(STDOUT_FILENO);
	s.can_log = guard_is_open(STDERR_FILENO);
#ifdef PLUGIN_CRASH
	crash();
#endif
	struct job job = argc > 0 ? job_of(base_name(argv[0])) : (struct job) { 0 };
	if (!job.known || !can_reply)
		return 0;
	s.stage = job.stage;
	look_at_client(&s);
	if (!concerns(&job, &s))
		return 0;
	look_at_state(&s);
	run(&s, &job);
	return 0;
}
