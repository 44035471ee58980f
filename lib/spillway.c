/* SPDX-License-Identifier: ISC */
/*
 * spillway - the client library: one question, one answer, a deadline
 *
 * It lives in programs that we know nothing of.  So: all is on the stack, no state between calls, no signal
 * (MSG_NOSIGNAL), descriptors are close-on-exec, above 2, and gone at the end, even when somebody cancels the thread.
 */
#include "lib/spillway.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ask.h"
#include "lib/dial.h"
#include "lib/num.h"
#include "lib/record.h"
#include "lib/rundir.h"
#include "lib/text.h"

#define PUBLIC __attribute__((visibility("default")))

#define QUESTION_MAX 1002 /* rater's longest line, its end and a NUL */
#define ANSWER_MAX 1000 /* rater's have at most a sentence */

/* --- what a caller must not notice ------------------------------------------------------------ */

struct calm {
	int error, cancel;
};

static struct calm
calm_begin(void)
{
	struct calm c = { .error = errno };

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c.cancel); /* can't fail */
	return c;
}

static void
calm_end(const struct calm *c)
{
	(void)pthread_setcancelstate(c->cancel, NULL);
	errno = c->error;
}

static mono_t
deadline(int ms)
{
	return mono_after(mono_now(), ms > 0 ? ms : 0);
}

/* --- marks ------------------------------------------------------------------------------------ */

/* A line feed in a value would be the next question. */
static int
check_text(const char *s, size_t max, unsigned char least)
{
	if (s == NULL || *s == '\0')
		return -EINVAL;
	size_t n = strnlen(s, max + 1);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < least || s[i] == 0x7f)
			return -EINVAL;
	return n > max ? -EMSGSIZE : 0;
}

static int
put_question(struct text *t, const char *mark, const char *limit_class, const char *value)
{
	int e = check_text(limit_class, SPILLWAY_CLASS_MAX, 0x21);

	if (e == 0)
		e = check_text(value, SPILLWAY_VALUE_MAX, 0x20);
	if (e < 0)
		return e;
	if (*limit_class == '?' || *limit_class == '+') /* what these mean in front of a class is the protocol's */
		return -EINVAL;
	text_puts(t, mark);
	text_puts(t, limit_class);
	text_putc(t, ' ');
	text_puts(t, value);
	text_putc(t, '\n');
	return 0;
}

static int
send_all(int fd, const char *s, size_t n, mono_t until)
{
	while (n > 0) {
		ssize_t sent = send(fd, s, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			int e = dial_wait(fd, POLLOUT, until);
			if (e < 0)
				return e;
			continue;
		}
		if (sent < 0 && errno != EINTR)
			return -errno;
		if (sent > 0) {
			s += sent;
			n -= (size_t)sent;
		}
	}
	return 0;
}

/* The line, without its end, in `buf`.  Returns its length. */
static ssize_t
receive_line(int fd, char buf[ANSWER_MAX], mono_t until)
{
	size_t len = 0;

	while (len < ANSWER_MAX) {
		int e = dial_wait(fd, POLLIN, until);
		if (e < 0)
			return e;
		ssize_t n = recv(fd, buf + len, ANSWER_MAX - len, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : len == 0 ? -ECONNRESET : -EBADMSG;
		len += (size_t)n;
		const char *end = memchr(buf, '\n', len);
		if (end != NULL)
			return end > buf && end[-1] == '\r' ? end - buf - 1 : end - buf;
	}
	return -EBADMSG;
}

static bool
parse_count(const char *s, int64_t *ret)
{
	uint64_t v;

	if (strcmp(s, "-1") == 0) {
		*ret = -1; /* not limited */
		return true;
	}
	if (num_u64(s, &v) < 0 || v > INT64_MAX)
		return false;
	*ret = (int64_t)v;
	return true;
}

/* "n/max", which is changed. */
static bool
parse_counts(char *s, struct spillway_rate *ret)
{
	char *slash = strchr(s, '/');

	if (slash == NULL)
		return false;
	*slash = '\0';
	return parse_count(s, &ret->n) && parse_count(slash + 1, &ret->max);
}

static int
parse_answer(char *s, size_t len, struct spillway_rate *ret)
{
	struct spillway_rate r = { 0 };
	struct text t = text_in(r.text, sizeof(r.text));

	if (len < 2 || s[0] < '0' || s[0] > '2' || s[1] != ' ' || memchr(s, '\0', len) != NULL)
		return -EBADMSG;
	text_put_printable(&t, s, len, len);
	s[len] = '\0';
	r.answer = s[0] - '0';
	if (r.answer != SPILLWAY_NO_ANSWER && !parse_counts(s + 2, &r))
		return -EBADMSG;
	*ret = r;
	return 0;
}

static int
talk(const struct text *question, mono_t until, struct spillway_rate *ret)
{
	char buf[ANSWER_MAX + 1];
	int fd = dial(rundir(), RUNDIR_RATE_SOCKET, SOCK_STREAM);

	if (fd < 0)
		return fd;
	ssize_t n = send_all(fd, question->at, question->len, until);
	if (n == 0)
		n = receive_line(fd, buf, until);
	(void)close(fd);
	return n < 0 ? (int)n : parse_answer(buf, (size_t)n, ret);
}

static int
rate(const char *mark, const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret)
{
	char line[QUESTION_MAX];
	struct text question = text_in(line, sizeof(line));

	_Static_assert(1 + SPILLWAY_CLASS_MAX + 1 + SPILLWAY_VALUE_MAX + 1 < QUESTION_MAX, "the longest fits");
	if (ret == NULL)
		return -EINVAL;
	*ret = (struct spillway_rate) { 0 };
	int e = put_question(&question, mark, limit_class, value);
	if (e < 0)
		return e;
	struct calm calm = calm_begin();
	e = talk(&question, deadline(deadline_ms), ret);
	calm_end(&calm);
	return e;
}

PUBLIC int
spillway_rate(const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret)
{
	return rate("", limit_class, value, deadline_ms, ret);
}

PUBLIC int
spillway_peek(const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret)
{
	return rate("?", limit_class, value, deadline_ms, ret);
}

/* --- sessions --------------------------------------------------------------------------------- */

_Static_assert((int)SPILLWAY_AT_CONNECTION == (int)STAGE_CONNECTION && (int)SPILLWAY_AT_HELO == (int)STAGE_HELO
		&& (int)SPILLWAY_AT_AUTH == (int)STAGE_AUTH && (int)SPILLWAY_AT_MAIL == (int)STAGE_MAIL
		&& (int)SPILLWAY_AT_RCPT == (int)STAGE_RCPT && (int)SPILLWAY_AT_DATA == (int)STAGE_DATA,
	"stages have the numbers of the record");
_Static_assert((int)SPILLWAY_CONCURRENCY == 1 << CHECK_CONCURRENCY && (int)SPILLWAY_IPTHROTTLE == 1 << CHECK_IPTHROTTLE
		&& (int)SPILLWAY_USERTHROTTLE == 1 << CHECK_USERTHROTTLE
		&& (int)SPILLWAY_RCPTTHROTTLE == 1 << CHECK_RCPTTHROTTLE,
	"checks are bits of the record");
_Static_assert((int)SPILLWAY_PASS == (int)VERDICT_PASS && (int)SPILLWAY_REFUSE == (int)VERDICT_REFUSE
		&& (int)SPILLWAY_CLOSE == (int)VERDICT_CLOSE,
	"verdicts have the numbers of the answer");
_Static_assert(SPILLWAY_ID_MAX == ASK_ID_MAX, "ids have one length");

#define CHECKS_TO_ASK \
	((unsigned)(SPILLWAY_CONCURRENCY | SPILLWAY_IPTHROTTLE | SPILLWAY_USERTHROTTLE | SPILLWAY_RCPTTHROTTLE))

static int
make_record(const struct spillway_session *s, struct record *ret)
{
	bool user = s->user != NULL && s->user[0] != '\0';
	struct record r = {
		.stage = (enum stage)s->stage,
		.class = user || s->own ? CLASS_OWN : CLASS_STRANGER,
		.pid = s->pid != 0 ? s->pid : (uint32_t)getpid(),
		.wants = s->checks,
		.text = {
			[RECORD_HELO] = record_text_of(s->helo),
			[RECORD_SENDER] = record_text_of(s->sender),
			[RECORD_RECIPIENT] = record_text_of(s->recipient),
			[RECORD_USER] = record_text_of(user ? s->user : NULL),
			[RECORD_HOST] = record_text_of(s->host),
		},
	};

	if (s->stage < 0 || s->stage >= STAGE_COUNT || s->checks == 0 || (s->checks & ~CHECKS_TO_ASK) != 0)
		return -EINVAL;
	if (s->ip != NULL && ip_parse(s->ip, &r.ip) < 0)
		return -EINVAL;
	r.ip_known = s->ip != NULL;
	*ret = r;
	return 0;
}

/* An answer that refuses for what was not asked is none. */
static int
take_answer(const struct ask_answer *a, unsigned asked, struct spillway_verdict *ret)
{
	struct spillway_verdict v = { .says = (int)a->verdict };

	if (a->verdict == VERDICT_PASS)
		return 0;
	v.check = 1u << a->check;
	if ((v.check & asked) == 0 || a->code == 0)
		return -EBADMSG;
	v.code = a->code;
	v.n = a->n;
	v.max = a->max;
	memcpy(v.id, a->id, sizeof(v.id));
	*ret = v;
	return 0;
}

PUBLIC int
spillway_ask(const struct spillway_session *session, int deadline_ms, struct spillway_verdict *ret)
{
	struct ask_answer answer;
	struct record r;

	if (ret == NULL)
		return -EINVAL;
	*ret = (struct spillway_verdict) { 0 };
	int e = session != NULL ? make_record(session, &r) : -EINVAL;
	if (e < 0)
		return e;
	struct calm calm = calm_begin();
	int fd = ask_engine(rundir(), &r, deadline(deadline_ms), &answer);
	if (fd >= 0)
		(void)close(fd);
	calm_end(&calm);
	return fd < 0 ? fd : take_answer(&answer, session->checks, ret);
}
