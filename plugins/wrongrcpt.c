/* SPDX-License-Identifier: ISC */
/* wrongrcpt - clients that try many recipients which don't exist; which those are, the engine knows */
#include "plugins/plugin.h"

static bool
wrongrcpt_wants(const struct session *s, struct record *question)
{
	(void)question;
	return s->stage == STAGE_RCPT && s->class != CLASS_OWN && s->ip_known;
}

static void
wrongrcpt_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Too many unknown recipients per IP (");
	put_ip(log, &s->ip);
	text_putc(log, ')');
}

const struct check_ops check_wrongrcpt = {
	.name = "wrongrcpt",
	.id = CHECK_WRONGRCPT,
	.code = 451,
	.enhanced = "4.7.1",
	.text = "Too many unknown recipients. Please try again later.",
	.enhanced_550 = "5.7.1",
	.text_550 = "Too many unknown recipients.",
	.wants = wrongrcpt_wants,
	.describe = wrongrcpt_describe,
};
