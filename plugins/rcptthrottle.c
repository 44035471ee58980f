/* SPDX-License-Identifier: ISC */
/* rcptthrottle - recipients of an authenticated user, else of an address */
#include "plugins/plugin.h"

static bool
rcptthrottle_wants(const struct session *s, struct record *question)
{
	(void)question;
	return s->stage == STAGE_RCPT && (s->user != NULL || s->ip_known);
}

static void
rcptthrottle_describe(const struct session *s, struct text *log)
{
	if (s->user != NULL) {
		text_puts(log, "Too many recipients per user (");
		put_user(log, s->user);
	} else {
		text_puts(log, "Too many recipients per IP (");
		put_ip(log, &s->ip);
	}
	text_putc(log, ')');
}

const struct check_ops check_rcptthrottle = {
	.name = "rcptthrottle",
	.id = CHECK_RCPTTHROTTLE,
	.for_users = true,
	.code = 451,
	.enhanced = "4.5.3",
	.text = "Too many recipients. Please slow down.",
	.wants = rcptthrottle_wants,
	.describe = rcptthrottle_describe,
};
