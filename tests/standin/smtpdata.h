/* SPDX-License-Identifier: ISC */
/* smtpdata - from the 354 to the reply behind the dot: read the message, put it into the queue */
#ifndef TESTS_STANDIN_SMTPDATA_H
#define TESTS_STANDIN_SMTPDATA_H

#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/clock.h"
#include "lib/text.h"
#include "tests/standin/qq.h"
#include "tests/standin/smtpd.h"
#include "tests/standin/smtplog.h"

static inline void
reply_too_big(struct smtpd *d)
{
	reply(d, "552 sorry, that message size exceeds my databytes limit (#5.3.4)");
}

static inline void
put_received(struct smtpd *d, struct qq *q)
{
	char when[64], pid[24];
	struct text t = text_in(pid, sizeof(pid));
	struct tm tm;
	time_t now = (time_t)(wall_now().ms / 1000);

	text_put_u64(&t, (uint64_t)getpid());
	if (gmtime_r(&now, &tm) == NULL
		|| strftime(when, sizeof(when), "; %d %b %Y %H:%M:%S +0000\n", &tm) == 0)
		when[0] = '\0';
	const char *const parts[] = {
		"Received: (qmail ", pid, " invoked from network)", when,
		"Received: from ", env_or("TCPREMOTEHOST", "unknown"), " (HELO ", buf_str(&d->helo),
		") (", env_or("TCPREMOTEINFO", ""), "@", env_or("TCPREMOTEIP", "unknown"),
		")\n  by ", env_or("TCPLOCALHOST", buf_str(&d->me)), " with ",
		d->seen_auth ? "ESMTPA" : d->esmtp ? "ESMTP" : "SMTP", when,
	};
	for (size_t i = 0; i < countof(parts); i++)
		qq_puts(q, parts[i]);
}

/* One byte of the message itself.  Beyond the limit the client is listened to and nothing is kept. */
static inline void
put_byte(struct smtpd *d, struct qq *q, char c)
{
	d->size++;
	if (d->message_max == 0 || d->size <= d->message_max)
		qq_put(q, &c, 1);
}

static inline _Noreturn void
die_bare_newline(struct smtpd *d, struct qq *q)
{
	qq_abandon(q);
	reply(d, "451 See https://cr.yp.to/docs/smtplf.html.");
	leave(d, 1);
}

/* Read the message up to the lone dot, undoing the client's dot-stuffing and CR LF. */
static inline void
take_message(struct smtpd *d, struct qq *q)
{
	enum { INSIDE, LINE_START, DOT, DOT_CR, CR } state = LINE_START;

	d->size = 0;
	for (;;) {
		int c = smtpio_getc(&d->io);

		if (c < 0) {
			qq_abandon(q);
			die_read(d, c);
		}
		if (c == '\n') {
			if (state == DOT_CR)
				return;
			if (state != CR)
				die_bare_newline(d, q);
			put_byte(d, q, '\n');
			state = LINE_START;
		} else if (c == '.' && state == LINE_START) {
			state = DOT;
		} else if (c == '\r' && state == DOT) {
			state = DOT_CR;
		} else {
			if (state == CR || state == DOT_CR)
				put_byte(d, q, '\r'); /* it did not end the line */
			if (c != '\r')
				put_byte(d, q, (char)c);
			state = c == '\r' ? CR : INSIDE;
		}
	}
}

static inline void
put_envelope(struct smtpd *d, struct buf *ret)
{
	buf_putc(ret, 'F');
	buf_put(ret, buf_str(&d->sender), d->sender.len + 1);
	buf_put(ret, d->rcpts.at, d->rcpts.len);
}

/* Queue it, or say why not. */
static inline void
finish_message(struct smtpd *d, struct qq *q)
{
	struct buf envelope = { 0 };

	if (d->message_max > 0 && d->size > d->message_max) {
		qq_abandon(q);
		reply_too_big(d);
		return;
	}
	put_envelope(d, &envelope);
	int r = qq_close(q, &envelope);
	buf_done(&envelope);
	if (r < 0) {
		reply(d, "451 qq trouble creating files in queue (#4.3.0)");
		return;
	}
	out(d, "250 ok ");
	out_u64(d, (uint64_t)(wall_now().ms / 1000));
	out(d, " qp ");
	out_u64(d, (uint64_t)getpid());
	reply(d, "");
	log_event(d, true, "queueaccept", "250", (uint64_t)getpid());
}

#endif
