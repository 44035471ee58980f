/* SPDX-License-Identifier: ISC */
/* smtpd - what the parts of the program smtpd share: session, replies, environment of plugins */
#ifndef TESTS_STANDIN_SMTPD_H
#define TESTS_STANDIN_SMTPD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/text.h"
#include "tests/standin/buf.h"
#include "tests/standin/plugin.h"
#include "tests/standin/smtpio.h"

#define ADDRESS_MAX 900 /* as the real one */

struct smtpd {
	struct smtpio io;
	struct plugin_session spp;
	struct buf plugins[PLUGIN_STAGES]; /* lines of control/smtpplugins, NUL behind each */
	bool spp_on;
	int verdict; /* of the last stage: 0 refused, 1 go on, 2 go on without our own checks */
	uint64_t rcpt_count, rcpt_count_all; /* as the plugins are told */

	struct buf me, rcpthosts, users;
	bool has_rcpthosts, has_users;
	uint64_t message_max; /* 0: no limit */
	const char *relay; /* RELAYCLIENT; NULL: not a relay client */

	struct buf line, helo;
	struct buf addr; /* of the command at hand */
	struct buf sender;
	struct buf rcpts; /* "Ta@b\0Tc@d\0" */
	unsigned n_rcpts;
	bool seen_mail, seen_auth, esmtp;
	struct buf user;
	uint64_t size; /* of the last message */
};

static inline void
out(struct smtpd *d, const char *s)
{
	buf_puts(&d->io.out, s);
}

static inline void
reply(struct smtpd *d, const char *s)
{
	out(d, s);
	out(d, "\r\n");
}

static inline void
out_u64(struct smtpd *d, uint64_t v)
{
	buf_put_u64(&d->io.out, v);
}

static inline _Noreturn void
leave(struct smtpd *d, int code)
{
	smtpio_flush(&d->io);
	_exit(code);
}

static const char *
env_or(const char *name, const char *otherwise)
{
	const char *v = getenv(name);

	return v == NULL ? otherwise : v;
}

static inline void
env_put(const char *name, const char *value)
{
	if (setenv(name, value, 1) < 0)
		buf_die();
}

static inline void
env_put_u64(const char *name, uint64_t v)
{
	char digits[24];
	struct text t = text_in(digits, sizeof(digits));

	text_put_u64(&t, v);
	env_put(name, digits);
}

#endif
