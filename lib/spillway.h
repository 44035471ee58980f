/* SPDX-License-Identifier: ISC */
/*
 * spillway - ask spillwayd(8) whether something happens too often; libspillway(3)
 *
 * Every function returns 0 when it was answered, or a negative errno when nobody could be asked; then the result says
 * "not too often" and "pass", so that a program that looks at the result alone goes on as if there were no limits.
 *
 * A call blocks until the answer is there, at most `deadline_ms` milliseconds (0: only if it need not wait).  It
 * allocates nothing, leaves no descriptor open, raises no signal, leaves errno as it was, and is no cancellation
 * point.  All functions may be called from several threads at once.  The sockets are looked for in /run/spillway, or
 * in $SPILLWAY_RUN_DIR, which setuid programs do not look at.
 */
#ifndef SPILLWAY_H
#define SPILLWAY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPILLWAY_CLASS_MAX 49 /* bytes of the name of a class */
#define SPILLWAY_VALUE_MAX 900 /* bytes of a value */
#define SPILLWAY_TEXT_MAX 400 /* with the final NUL */
#define SPILLWAY_ID_MAX 16 /* with the final NUL */

/* --- marks of any kind ----------------------------------------------------------------------- */

enum spillway_answer {
	SPILLWAY_OK = 0, /* not too often */
	SPILLWAY_TOO_OFTEN = 1,
	SPILLWAY_NO_ANSWER = 2 /* it was asked, and can't say: there is no such class; `text` tells */
};

struct spillway_rate {
	int answer; /* enum spillway_answer */
	int64_t n; /* marks in the window, this one too */
	int64_t max; /* that are allowed; -1: any number */
	char text[SPILLWAY_TEXT_MAX]; /* the answer as it came, like "1 11/10"; printable; "" when there was none */
};

/* Count one mark for `value` in the class of limits `limit_class`, and tell whether that is too often.
 * -EINVAL: the class is empty, has a blank, or begins with "?" or "+"; the value is empty; either has a control
 * character.  -EMSGSIZE: either is too long.  -ETIMEDOUT, -EAGAIN, -ECONNREFUSED, -ENOENT, -EBADMSG, ...: nobody is
 * there, or not in time. */
int spillway_rate(const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret);

/* The same without counting: would one more be too often?  `n` is without it. */
int spillway_peek(const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret);

/* --- SMTP sessions --------------------------------------------------------------------------- */

enum spillway_stage {
	SPILLWAY_AT_CONNECTION,
	SPILLWAY_AT_HELO,
	SPILLWAY_AT_AUTH,
	SPILLWAY_AT_MAIL,
	SPILLWAY_AT_RCPT,
	SPILLWAY_AT_DATA
};

enum spillway_check {
	SPILLWAY_CONCURRENCY = 1 << 1, /* connections that the address holds */
	SPILLWAY_IPTHROTTLE = 1 << 2, /* connections, mails or recipients of the address */
	SPILLWAY_USERTHROTTLE = 1 << 3, /* mails or recipients of the user */
	SPILLWAY_RCPTTHROTTLE = 1 << 4 /* recipients of the user, else of the address */
};

/* Zeroed, then filled as far as it is known: NULL is unknown.  All texts are borrowed, and any bytes but NUL. */
struct spillway_session {
	int stage; /* enum spillway_stage */
	unsigned checks; /* enum spillway_check, of those that shall be answered for */
	int own; /* 1: one of the server's own users, also without `user` */
	const char *user; /* who has authenticated; not NULL nor "": an own user */
	const char *ip; /* of the client; -EINVAL when it is no address */
	const char *host; /* name of the client */
	const char *helo;
	const char *sender; /* "" is <> */
	const char *recipient;
	uint32_t pid; /* the process whose end ends the connection; 0: this one */
};

enum spillway_says {
	SPILLWAY_PASS,
	SPILLWAY_REFUSE, /* this command, with `code` */
	SPILLWAY_CLOSE /* and the connection */
};

struct spillway_verdict {
	int says; /* enum spillway_says */
	unsigned check; /* enum spillway_check, the one that refuses; 0 when none does */
	int code; /* of SMTP: 451, 421; 0 when none refuses */
	int64_t n, max; /* what was counted, and what is allowed */
	char id[SPILLWAY_ID_MAX]; /* for `spillway explain`; letters and digits, or "" */
};

/* What a plugin of qmail-spp asks.  Only users in service.plugin_users are answered, others get -ECONNRESET or -EPIPE.
 * -EINVAL: nothing that could be answered for, a stage that is none, an address that is none. */
int spillway_ask(const struct spillway_session *session, int deadline_ms, struct spillway_verdict *ret);

#ifdef __cplusplus
}
#endif

#endif
