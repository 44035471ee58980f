/* SPDX-License-Identifier: ISC */
/*
 * tarpit - a delay at each recipient of a transaction behind the first TARPITCOUNT
 *
 * A process of qmail-smtpd is held meanwhile, and a server has only so many: so the engine grants the delay, or does
 * not, and without an engine nobody sleeps.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/num.h"
#include "plugins/plugin.h"

#define COUNT_DEFAULT "50"
#define DELAY_DEFAULT "2"
#define DELAY_MAX_S (ASK_DELAY_MAX_MS / 1000)

/* A number in the environment; NULL `otherwise` needs one.  What is no number is an error. */
static bool
read_number(const char *name, const char *otherwise, uint64_t *ret)
{
	const char *s = getenv(name);

	if (s == NULL)
		s = otherwise;
	return s != NULL && num_u64(s, ret) == 0;
}

/* `n` counts the recipients that are delayed, this one too.  By the first letter, as ra-plugins did: Normal, Medium,
 * Hard. */
static uint64_t
delay_s(const char *how, uint64_t n)
{
	uint64_t s = 0;

	if (n == 0)
		return 0;
	n = n < DELAY_MAX_S ? n : DELAY_MAX_S; /* from there on each is at the limit */
	switch (*how) {
	case 'N':
		s = 2 * n;
		break;
	case 'M':
		s = 5 * n;
		break;
	case 'H':
		s = n * n;
		break;
	default:
		if (num_u64(how, &s) < 0)
			return 0;
	}
	return s < DELAY_MAX_S ? s : DELAY_MAX_S;
}

/* How many recipients are delayed, this one too; 0: none yet. */
static uint64_t
delayed(uint64_t rcpt)
{
	uint64_t from;

	return read_number("TARPITCOUNT", COUNT_DEFAULT, &from) && rcpt >= from ? rcpt - from + 1 : 0;
}

static bool
tarpit_wants(const struct session *s, struct record *question)
{
	const char *how = getenv("TARPITDELAY");
	uint64_t rcpt;

	if (s->stage != STAGE_RCPT)
		return false;
	if (!read_number("SMTPRCPTCOUNTALL", NULL, &rcpt)) {
		say_note(s, check_tarpit.name, "can't get number of envelope recipients");
		return false;
	}
	question->delay_ms = (uint32_t)delay_s(how != NULL ? how : DELAY_DEFAULT, delayed(rcpt)) * 1000;
	return question->delay_ms > 0;
}

/* It ends early when the engine does, which holds the other end of the connection, and when qmail-smtpd does. */
static void
sleep_for(uint32_t ms, int engine)
{
	struct pollfd p[] = { { .fd = engine, .events = POLLIN }, { .fd = STDOUT_FILENO } };

	guard_extend(ms);
	(void)poll(p, 2, (int)ms);
}

static void
passed(const struct session *s, const struct asking *a)
{
	uint32_t wanted = a->question.delay_ms, granted = a->answer.delay_ms;
	uint64_t rcpt;

	if (granted == 0)
		return;
	if (read_number("SMTPRCPTCOUNTALL", NULL, &rcpt) && delayed(rcpt) == 1)
		say_note(s, check_tarpit.name, "started tarpitting");
	sleep_for(granted < wanted ? granted : wanted, a->fd);
}

const struct check_ops check_tarpit = {
	.name = "tarpit",
	.id = CHECK_TARPIT,
	.code = 451,
	.enhanced = "4.7.0",
	.text = "",
	.wants = tarpit_wants,
	.passed = passed,
};
