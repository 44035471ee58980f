/* SPDX-License-Identifier: ISC */
#include "probes/logline.h"

#include <string.h>

/* What is left of a line.  A step that fails leaves it anywhere: the line is given up then. */
struct rest {
	const char *at, *end;
};

/* Take a text that must stand there. */
#define TAKE(r, text) take(r, text, sizeof(text) - 1)

static inline bool
take(struct rest *r, const char *text, size_t n)
{
	if ((size_t)(r->end - r->at) < n || (n > 0 && memcmp(r->at, text, n) != 0))
		return false;
	r->at += n;
	return true;
}

static inline bool
at_end(const struct rest *r)
{
	return r->at == r->end;
}

static bool
take_number(struct rest *r, uint64_t *ret)
{
	const char *s = r->at;
	uint64_t v = 0;

	while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
		if (r->at - s >= 18) /* fits always below 19 digits */
			return false;
		v = v * 10 + (uint64_t)(*r->at++ - '0');
	}
	*ret = v;
	return r->at > s;
}

/* "3/20" */
static bool
take_share(struct rest *r, uint32_t *used, uint32_t *limit)
{
	uint64_t a, b;

	if (!take_number(r, &a) || !TAKE(r, "/") || !take_number(r, &b) || a > UINT32_MAX || b > UINT32_MAX)
		return false;
	*used = (uint32_t)a;
	*limit = (uint32_t)b;
	return true;
}

/* Text up to a blank or the end: printable, not empty. */
static bool
take_word(struct rest *r, struct logspan *ret)
{
	const char *s = r->at;

	while (r->at < r->end && *r->at > ' ' && *r->at < 0x7f)
		r->at++;
	*ret = (struct logspan) { s, (size_t)(r->at - s) };
	return r->at > s && (at_end(r) || *r->at == ' ');
}

static bool
parse_ip(struct logspan s, struct ip *ret)
{
	char text[IP_TEXT_MAX];

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.at, s.n);
	text[s.n] = '\0';
	return ip_parse(text, ret) == 0;
}

static bool
take_ip(struct rest *r, struct ip *ret)
{
	struct logspan word;

	return take_word(r, &word) && parse_ip(word, ret);
}

/* --- qmail-send ------------------------------------------------------------------------------ */

/* "local 0/10 remote 0/20", further channels that patches add, " suppl0 0/20", and a last word " exitasap". */
static bool
parse_status(struct rest *r, struct logline *l)
{
	struct logspan word;
	uint32_t used, limit;

	if (!TAKE(r, "local ") || !take_share(r, &l->used[LOG_LOCAL], &l->limit[LOG_LOCAL]) || !TAKE(r, " remote ")
		|| !take_share(r, &l->used[LOG_REMOTE], &l->limit[LOG_REMOTE]))
		return false;
	while (!at_end(r) && !(TAKE(r, " exitasap") && at_end(r)))
		if (!TAKE(r, " ") || !take_word(r, &word) || !TAKE(r, " ") || !take_share(r, &used, &limit))
			return false;
	l->kind = LOGLINE_STATUS;
	return true;
}

/* "N: bytes B from <SENDER> qp P uid U" */
static bool
parse_info(struct rest *r, struct logline *l)
{
	struct logspan from;

	if (!take_number(r, &l->number) || !TAKE(r, ": bytes ") || !take_number(r, &l->bytes) || !TAKE(r, " from ")
		|| !take_word(r, &from) || from.n < 2 || from.at[0] != '<' || from.at[from.n - 1] != '>'
		|| !TAKE(r, " qp ") || !take_number(r, &l->qp) || !TAKE(r, " uid ") || !take_number(r, &l->uid))
		return false;
	l->sender = (struct logspan) { from.at + 1, from.n - 2 };
	l->kind = LOGLINE_INFO;
	return at_end(r);
}

/* "D: msg N to local RECIPIENT" */
static bool
parse_start(struct rest *r, struct logline *l)
{
	if (!take_number(r, &l->number) || !TAKE(r, ": msg ") || !take_number(r, &l->msg) || !TAKE(r, " to "))
		return false;
	l->remote = TAKE(r, "remote ");
	if ((!l->remote && !TAKE(r, "local ")) || !take_word(r, &l->recipient))
		return false;
	l->kind = LOGLINE_START;
	return at_end(r);
}

/* "D: success: TEXT" */
static bool
parse_delivery(struct rest *r, struct logline *l)
{
	if (!take_number(r, &l->number) || !TAKE(r, ": "))
		return false;
	l->kind = LOGLINE_DELIVERY;
	if (TAKE(r, "success: "))
		l->outcome = LOG_SUCCESS;
	else if (TAKE(r, "failure: "))
		l->outcome = LOG_FAILURE;
	else if (TAKE(r, "deferral: "))
		l->outcome = LOG_DEFERRAL;
	else if (TAKE(r, "report mangled, will defer"))
		l->outcome = LOG_DEFERRAL;
	else
		return false;
	return at_end(r) || (take_word(r, &l->text) && at_end(r));
}

static bool
parse_numbered(struct rest *r, struct logline *l, enum log_kind kind)
{
	l->kind = kind;
	return take_number(r, &l->number) && at_end(r);
}

static bool
parse_bounce(struct rest *r, struct logline *l)
{
	l->kind = LOGLINE_BOUNCE;
	l->outcome = LOG_SUCCESS;
	return take_number(r, &l->number) && TAKE(r, " qp ") && take_number(r, &l->qp) && at_end(r);
}

static bool
parse_discarded(struct rest *r, struct logline *l)
{
	l->outcome = LOG_FAILURE;
	return parse_numbered(r, l, LOGLINE_BOUNCE);
}

static bool
parse_send(struct rest *r, struct logline *l)
{
	switch (r->at < r->end ? *r->at : 0) {
	case 's':
		if (TAKE(r, "status: "))
			return parse_status(r, l);
		return TAKE(r, "starting delivery ") && parse_start(r, l);
	case 'd':
		if (TAKE(r, "delivery "))
			return parse_delivery(r, l);
		return TAKE(r, "double bounce: discarding bounce/") && parse_discarded(r, l);
	case 'n':
		return TAKE(r, "new msg ") && parse_numbered(r, l, LOGLINE_NEW);
	case 'i':
		return TAKE(r, "info msg ") && parse_info(r, l);
	case 'e':
		return TAKE(r, "end msg ") && parse_numbered(r, l, LOGLINE_END);
	case 'b':
		return TAKE(r, "bounce msg ") && parse_bounce(r, l);
	case 't':
		return TAKE(r, "triple bounce: discarding bounce/") && parse_discarded(r, l);
	default:
		return false;
	}
}

/* --- tcpsvd and tcpserver -------------------------------------------------------------------- */

/* The parts between colons of a word, up to and with the last that is wanted; the last must end the word. */
static bool
split(struct logspan word, struct logspan *ret, size_t parts)
{
	const char *at = word.at, *end = word.at + word.n;

	for (size_t i = 0; i < parts; i++) {
		const char *colon = memchr(at, ':', (size_t)(end - at));

		if ((colon == NULL) != (i + 1 == parts))
			return false;
		ret[i] = (struct logspan) { at, (size_t)((colon != NULL ? colon : end) - at) };
		at = colon != NULL ? colon + 1 : end;
	}
	return true;
}

static bool
is_port(struct logspan s)
{
	struct rest r = { s.at, s.at + s.n };
	uint64_t port;

	return take_number(&r, &port) && at_end(&r) && port <= 65535;
}

/* Of the client, "HOST:IP:INFO:PORT" (tcpserver) or "HOST:INFO:IP:PORT" (tcpsvd): host and info are what others say,
 * but have no colon in them, for the servers replace it.  With IPv6 that can't be told apart: nobody is charged. */
static void
find_peer(struct logspan word, size_t at, struct logline *l)
{
	struct logspan part[4];

	l->has_ip = split(word, part, 4) && is_port(part[3]) && parse_ip(part[at], &l->ip);
}

/* "PID HERE PEER", and what tcpsvd found in its instructions behind. */
static bool
parse_peer(struct rest *r, struct logline *l, enum log_kind kind, size_t ip_at)
{
	struct logspan here, peer;

	l->kind = kind;
	if (!take_number(r, &l->number) || !TAKE(r, " ") || !take_word(r, &here) || !TAKE(r, " ")
		|| !take_word(r, &peer))
		return false;
	find_peer(peer, ip_at, l);
	return at_end(r) || ip_at == 2;
}

static bool
parse_slots(struct rest *r, struct logline *l)
{
	l->kind = LOGLINE_SLOTS;
	return take_share(r, &l->used[0], &l->limit[0]) && at_end(r);
}

/* "PID from IP" */
static bool
parse_connect(struct rest *r, struct logline *l)
{
	l->kind = LOGLINE_CONNECT;
	l->has_ip = true;
	return take_number(r, &l->number) && TAKE(r, " from ") && take_ip(r, &l->ip) && at_end(r);
}

/* "PID IP 3/2" */
static bool
parse_held(struct rest *r, struct logline *l)
{
	l->kind = LOGLINE_HELD;
	l->has_ip = true;
	return take_number(r, &l->number) && TAKE(r, " ") && take_ip(r, &l->ip) && TAKE(r, " ")
		&& take_share(r, &l->used[0], &l->limit[0]) && at_end(r);
}

/* "PID exit 1", "PID signal 9", "PID status 256" */
static bool
parse_close(struct rest *r, struct logline *l)
{
	struct logspan word;
	uint64_t code;

	l->kind = LOGLINE_CLOSE;
	return take_number(r, &l->number) && TAKE(r, " ") && take_word(r, &word) && TAKE(r, " ")
		&& take_number(r, &code) && at_end(r);
}

static bool
parse_drop(struct rest *r, struct logline *l)
{
	l->kind = LOGLINE_DROP;
	l->text = (struct logspan) { r->at, (size_t)(r->end - r->at) };
	return true;
}

static bool
parse_tcpserver(struct rest *r, struct logline *l)
{
	if (TAKE(r, "status: "))
		return parse_slots(r, l);
	if (TAKE(r, "pid "))
		return parse_connect(r, l);
	if (TAKE(r, "ok "))
		return parse_peer(r, l, LOGLINE_ACCEPT, 1);
	if (TAKE(r, "deny "))
		return parse_peer(r, l, LOGLINE_DENY, 1);
	if (TAKE(r, "end "))
		return parse_close(r, l);
	return TAKE(r, "drop") && parse_drop(r, l);
}

static bool
parse_tcpsvd(struct rest *r, struct logline *l)
{
	if (TAKE(r, "drop: "))
		return parse_drop(r, l);
	if (!TAKE(r, "info: "))
		return false;
	if (TAKE(r, "status "))
		return parse_slots(r, l);
	if (TAKE(r, "pid "))
		return parse_connect(r, l);
	if (TAKE(r, "concurrency "))
		return parse_held(r, l);
	if (TAKE(r, "start ") || TAKE(r, "exec "))
		return parse_peer(r, l, LOGLINE_ACCEPT, 2);
	if (TAKE(r, "deny "))
		return parse_peer(r, l, LOGLINE_DENY, 2);
	return TAKE(r, "end ") && parse_close(r, l);
}

/* "ADDRESS pid P: 553 TEXT" */
static bool
parse_rblsmtpd(struct rest *r, struct logline *l)
{
	struct logspan word;

	l->kind = LOGLINE_REJECT;
	return take_word(r, &word) && TAKE(r, " pid ") && take_number(r, &l->number) && TAKE(r, ": ")
		&& r->at < r->end && (*r->at == '4' || *r->at == '5');
}

static bool
parse_server(struct rest *r, struct logline *l, bool shared)
{
	if (TAKE(r, "tcpserver: "))
		return parse_tcpserver(r, l);
	if (TAKE(r, "tcpsvd: "))
		return parse_tcpsvd(r, l);
	if (!shared)
		return false;
	if (TAKE(r, "rblsmtpd: "))
		return parse_rblsmtpd(r, l);
	l->kind = LOGLINE_REJECT;
	return TAKE(r, "qlogenvelope: result=rejected ");
}

/* --- all ------------------------------------------------------------------------------------- */

bool
logline_parse(const char *line, size_t n, enum log_stream stream, struct logline *ret)
{
	struct rest r = { line, line + n };

	memset(ret, 0, sizeof(*ret));
	if (!(stream == LOG_SEND ? parse_send(&r, ret) : parse_server(&r, ret, stream == LOG_SHARED))) {
		memset(ret, 0, sizeof(*ret));
		return false;
	}
	if (stream == LOG_SHARED && ret->has_ip) {
		ret->has_ip = false;
		memset(&ret->ip, 0, sizeof(ret->ip));
	}
	return true;
}

bool
logline_relay(struct logspan text, struct logspan sender, struct logspan recipient, struct ip *ret)
{
	struct rest r = { text.at, text.at };

	if (text.n == 0)
		return false;
	r.end += text.n;
	if (TAKE(&r, "<From:")
		&& !(take(&r, sender.at, sender.n) && TAKE(&r, "_To:") && take(&r, recipient.at, recipient.n)
			&& TAKE(&r, ">_")))
		return false;
	if (at_end(&r))
		return false;
	const char *end = memchr(r.at, '_', (size_t)(r.end - r.at));
	return end != NULL && parse_ip((struct logspan) { r.at, (size_t)(end - r.at) }, ret);
}
