/* SPDX-License-Identifier: ISC */
/* smtpauth - the exchanges of AUTH PLAIN (RFC 4616) and LOGIN, and who is a user */
#ifndef TESTS_STANDIN_SMTPAUTH_H
#define TESTS_STANDIN_SMTPAUTH_H

#include <stdbool.h>
#include <string.h>

#include "tests/standin/base64.h"
#include "tests/standin/smtpd.h"
#include "tests/standin/smtplog.h"

/* Ask for one more line of an AUTH exchange and decode it.  Returns false after an error reply. */
static inline bool
auth_ask(struct smtpd *d, const char *challenge, struct buf *ret)
{
	if (challenge != NULL) {
		out(d, "334 ");
		reply(d, challenge);
		int r = smtpio_line(&d->io, &d->line);
		if (r < 0 && r != -E2BIG) /* what is too long is no base64 of ours either */
			die_read(d, r);
	}
	if (strcmp(buf_str(&d->line), "*") == 0) {
		reply(d, "501 auth exchange canceled (#5.0.0)");
		return false;
	}
	if (base64_decode(buf_str(&d->line), ret) < 0) {
		reply(d, "501 malformed auth input (#5.5.4)");
		return false;
	}
	return true;
}

static inline bool
auth_login(struct smtpd *d, const char *initial, struct buf *pass)
{
	buf_copy(&d->line, initial);
	return auth_ask(d, *initial == '\0' ? "VXNlcm5hbWU6" : NULL, &d->user)
		&& auth_ask(d, "UGFzc3dvcmQ6", pass);
}

/* What is sent is "authorize-id NUL user NUL password". */
static inline bool
auth_plain(struct smtpd *d, const char *initial, struct buf *pass)
{
	struct buf all = { 0 };

	buf_copy(&d->line, initial);
	bool ok = auth_ask(d, *initial == '\0' ? "" : NULL, &all);
	if (ok) {
		const char *at = buf_str(&all), *end = all.at + all.len;

		at += strlen(at);
		if (at < end)
			buf_copy(&d->user, at + 1);
		at += d->user.len + 1;
		if (at < end)
			buf_copy(pass, at + 1);
	}
	buf_done(&all);
	return ok;
}

/* control/standin-users has lines user:password. */
static inline bool
auth_is_user(struct smtpd *d, struct buf *pass)
{
	buf_puts(&d->user, ":");
	buf_puts(&d->user, buf_str(pass));
	const char *wanted = buf_str(&d->user);
	bool found = false;

	for (size_t i = 0; i < d->users.len; i += strlen(d->users.at + i) + 1)
		found = found || strcmp(d->users.at + i, wanted) == 0;
	d->user.len -= pass->len + 1;
	return found;
}

#endif
