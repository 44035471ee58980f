/* SPDX-License-Identifier: ISC */
/*
 * userthrottle - mails or recipients of an authenticated user, by the stage that it stands at
 *
 * Not before MAIL: at AUTH qmail-smtpd tells the name that somebody claims, and a stranger could use up a user's share.
 */
#include "plugins/plugin.h"

static bool
userthrottle_wants(const struct session *s, struct record *question)
{
	(void)question;
	return s->user != NULL && s->stage >= STAGE_MAIL;
}

static void
userthrottle_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Rate exceeded per user (");
	put_user(log, s->user);
	text_putc(log, ')');
}

const struct check_ops check_userthrottle = {
	.name = "userthrottle",
	.id = CHECK_USERTHROTTLE,
	.for_users = true,
	.code = 421,
	.enhanced = "4.7.0",
	.text = "Too many connections. Please reduce connections per minute.",
	.wants = userthrottle_wants,
	.describe = userthrottle_describe,
};
