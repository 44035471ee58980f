/* SPDX-License-Identifier: ISC */
/* smtplog - what the combined qmail-smtpd writes to its log, for the probes that read it */
#ifndef TESTS_STANDIN_SMTPLOG_H
#define TESTS_STANDIN_SMTPLOG_H

#include <string.h>

#include "lib/array.h"
#include "lib/fdio.h"
#include "lib/text.h"
#include "tests/standin/smtpd.h"

#define LOG_LINE_MAX 4096

static inline void
log_line(struct text *t)
{
	t->at[t->len] = '\n'; /* cut or not: callers keep a byte for it */
	(void)fd_write_all(STDERR_FILENO, t->at, t->len + 1); /* a log that is gone stops no mail */
}

static inline void
log_start(struct text *t)
{
	text_puts(t, "qmail-smtpd[");
	text_put_u64(t, (uint64_t)getpid());
	text_puts(t, "]: ");
}

static inline void
log_field(struct text *t, const char *name, const char *value)
{
	text_putc(t, ' ');
	text_puts(t, name);
	text_putc(t, '=');
	for (; *value != '\0'; value++)
		text_putc(t, *value > 32 && *value < 127 ? *value : '_');
}

static inline void
log_number(struct text *t, const char *name, uint64_t v)
{
	text_putc(t, ' ');
	text_puts(t, name);
	text_putc(t, '=');
	text_put_u64(t, v);
}

static inline void
log_rcpts(struct text *t, const struct buf *rcpts)
{
	char list[1024];
	struct text l = text_in(list, sizeof(list));

	for (size_t i = 0; i < rcpts->len; i += strlen(rcpts->at + i) + 1) {
		if (i > 0)
			text_putc(&l, ',');
		text_puts(&l, rcpts->at + i + 1);
	}
	log_field(t, "rcptto", list);
}

static inline void
log_connection(struct text *t)
{
	static const char *const vars[][2] = {
		{ "localip", "TCPLOCALIP" }, { "localport", "TCPLOCALPORT" },
		{ "remoteip", "TCPREMOTEIP" }, { "remoteport", "TCPREMOTEPORT" },
		{ "remotehost", "TCPREMOTEHOST" },
	};

	for (size_t i = 0; i < countof(vars); i++)
		log_field(t, vars[i][0], env_or(vars[i][1], ""));
}

/* The one line of the combined qmail-smtpd that links client, sender, recipients and qp.  `qp` is 0 for
 * what concerns one recipient (qlogenvelope), which is d->addr then. */
static inline void
log_event(struct smtpd *d, bool accepted, const char *reason, const char *code, uint64_t qp)
{
	char line[LOG_LINE_MAX];
	struct text t = text_in(line, sizeof(line) - 1);

	text_puts(&t, qp > 0 ? "qlogreceived:" : "qlogenvelope:");
	log_field(&t, "result", accepted ? "accepted" : "rejected");
	log_field(&t, "code", code);
	log_field(&t, "reason", reason);
	log_field(&t, "detail", "");
	log_field(&t, "helo", buf_str(&d->helo));
	log_field(&t, "mailfrom", buf_str(&d->sender));
	if (qp > 0)
		log_rcpts(&t, &d->rcpts);
	else
		log_field(&t, "rcptto", buf_str(&d->addr));
	log_field(&t, "relay", d->relay == NULL ? "no" : "yes");
	log_field(&t, "rcpthosts", "");
	log_number(&t, "size", d->size);
	log_field(&t, "authuser", buf_str(&d->user));
	log_field(&t, "authtype", env_or("SMTPAUTHMETHOD", ""));
	log_field(&t, "encrypted", "");
	log_field(&t, "sslverified", "no");
	log_connection(&t);
	log_number(&t, "qp", qp);
	log_number(&t, "pid", (uint64_t)getpid());
	log_line(&t);
}

static inline void
log_auth(struct smtpd *d, const char *what, const char *method)
{
	char line[LOG_LINE_MAX];
	struct text t = text_in(line, sizeof(line) - 1);

	log_start(&t);
	text_puts(&t, "auth: ");
	text_puts(&t, what);
	text_puts(&t, " type=");
	text_puts(&t, method);
	text_puts(&t, " user=<");
	text_put_printable(&t, d->user.at, d->user.len, 200);
	text_puts(&t, ">");
	log_line(&t);
}

static inline _Noreturn void
die_read(struct smtpd *d, int r)
{
	char line[LOG_LINE_MAX];
	struct text t = text_in(line, sizeof(line) - 1);

	if (r == -ETIMEDOUT) {
		reply(d, "451 timeout (#4.4.2)");
		leave(d, 1);
	}
	text_puts(&t, "qmail-smtpd: read failed (connection closed by the client before the quit cmd): ");
	text_put_printable(&t, d->sender.at, d->sender.len, ADDRESS_MAX);
	text_puts(&t, " from ");
	text_puts(&t, env_or("TCPREMOTEIP", "unknown"));
	text_puts(&t, " helo ");
	text_put_printable(&t, d->helo.at, d->helo.len, 256);
	log_line(&t);
	leave(d, 1);
}

static inline _Noreturn void
die_control(struct smtpd *d)
{
	reply(d, "421 unable to read controls (#4.3.0)");
	leave(d, 1);
}

#endif
