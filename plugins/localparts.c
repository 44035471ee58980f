/* SPDX-License-Identifier: ISC */
/* localparts - recipients whose local part looks made up; the patterns are the engine's */
#include "plugins/plugin.h"

static bool
localparts_wants(const struct session *s, struct record *question)
{
	(void)question;
	return s->stage == STAGE_RCPT && s->class != CLASS_OWN;
}

static void
localparts_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Unlikely recipient, from ");
	if (s->ip_known)
		put_ip(log, &s->ip);
	else
		text_puts(log, "?");
}

/* The engine says 550; whatever else it may say one day is put off. */
const struct check_ops check_localparts = {
	.name = "localparts",
	.id = CHECK_LOCALPARTS,
	.code = 451,
	.enhanced = "4.1.1",
	.text = "sorry, this mailbox is not known; please try again later",
	.enhanced_550 = "5.1.1",
	.text_550 = "sorry, no mailbox here by that name (#5.1.1)",
	.wants = localparts_wants,
	.describe = localparts_describe,
};
