/* SPDX-License-Identifier: ISC */
/*
 * bounceshield - bounces to an address under a storm of them get in when they can belong to mail that it sent
 *
 * Every bounce is asked about, also while all is calm: a storm is noticed by counting them, and the one that makes it
 * one is refused at once.  They are few otherwise.  What our own users send is told to the engine (main.c), for that
 * is what a bounce can belong to.
 */
#include "lib/address.h"
#include "plugins/plugin.h"

#include <stdlib.h>
#include <string.h>

static bool
bounceshield_wants(const struct session *s, struct record *question)
{
	const char *sender = getenv("SMTPMAILFROM");

	(void)question;
	return s->stage == STAGE_RCPT && s->class != CLASS_OWN && s->state_ok && (s->state.flags & STATE_BOUNCES) != 0
		&& sender != NULL && address_is_bounce_sender(sender, strlen(sender));
}

static void
bounceshield_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Bounce to an address under a storm of them, from ");
	if (s->ip_known)
		put_ip(log, &s->ip);
	else
		text_puts(log, "?");
}

const struct check_ops check_bounceshield = {
	.name = "bounceshield",
	.id = CHECK_BOUNCESHIELD,
	.code = 451,
	.enhanced = "4.7.1",
	.text = "sorry, too many bounces to this address; please try again later",
	.enhanced_550 = "5.7.1",
	.text_550 = "sorry, this address did not send what you return",
	.wants = bounceshield_wants,
	.describe = bounceshield_describe,
};
