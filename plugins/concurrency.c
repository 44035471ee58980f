/* SPDX-License-Identifier: ISC */
/*
 * concurrency - connections that an address holds at once
 *
 * The question names the process of qmail-smtpd; the engine counts it until it ends, so this works under any server
 * that starts a process for a connection.
 */
#include "plugins/plugin.h"

static bool
concurrency_wants(const struct session *s, struct record *question)
{
	(void)question;
	return s->ip_known;
}

static void
concurrency_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Too many connections per IP (");
	put_ip(log, &s->ip);
	text_putc(log, ')');
}

const struct check_ops check_concurrency = {
	.name = "concurrency",
	.id = CHECK_CONCURRENCY,
	.code = 421,
	.enhanced = "4.7.0",
	.text = "Too many connections held open. Please close some first.",
	.wants = concurrency_wants,
	.describe = concurrency_describe,
};
