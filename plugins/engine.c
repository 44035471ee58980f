/* SPDX-License-Identifier: ISC */
/* engine - tell it what was decided here, or ask it what to decide */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/rundir.h"
#include "plugins/plugin.h"

/* What a stage can't know yet is left out: qmail-smtpd leaves the variables of the transaction before. */
static void
describe_session(const struct session *s, struct record *ret)
{
	ret->stage = s->stage;
	ret->class = s->class;
	ret->pid = (uint32_t)getppid();
	ret->ip_known = s->ip_known;
	ret->ip = s->ip;
	ret->text[RECORD_HELO] = record_text_of(getenv("SMTPHELOHOST"));
	ret->text[RECORD_SENDER] = record_text_of(s->stage >= STAGE_MAIL ? getenv("SMTPMAILFROM") : NULL);
	ret->text[RECORD_RECIPIENT] = record_text_of(s->stage == STAGE_RCPT ? getenv("SMTPRCPTTO") : NULL);
	ret->text[RECORD_USER] = record_text_of(s->user);
	ret->text[RECORD_EPISODE] = record_text_of(s->state_ok ? s->state.episode : NULL);
	ret->text[RECORD_HOST] = record_text_of(getenv("TCPREMOTEHOST"));
}

/* One datagram, no answer: when the engine's queue is full the event is lost, and the refusal stands in the log
 * alone. */
static bool
send_event(const struct session *s, struct record *rec)
{
	struct record_packet packet;
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct text path = text_in(to.sun_path, sizeof(to.sun_path));

	text_puts(&path, rundir());
	text_puts(&path, "/" RUNDIR_EVENT_SOCKET);
	if (path.cut)
		return false;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	describe_session(s, rec);
	record_pack(rec, &packet);
	const struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof(to),
		.msg_iov = packet.part, .msg_iovlen = (size_t)packet.parts,
	};
	return sendmsg(fd, &msg, 0) >= 0 || errno == EAGAIN;
}

bool
engine_tell(const struct session *s, const struct check_ops *c)
{
	struct record rec = { .check = c->id, .verdict = verdict_at(s->stage), .code = code_at(c, s->stage) };

	return send_event(s, &rec);
}

void
engine_tell_session(const struct session *s)
{
	struct record rec = { .verdict = VERDICT_PASS };

	(void)send_event(s, &rec);
}

/* A mail that nobody knows of would have its bounce refused one day.  So when the engine's queue is full, it is asked
 * instead, which it notices in any case; what it answers is not looked at. */
void
engine_tell_sent(const struct session *s)
{
	struct record rec = { .check = CHECK_BOUNCESHIELD, .verdict = VERDICT_PASS };
	struct asking a = { .question.wants = 1u << CHECK_BOUNCESHIELD };

	errno = 0;
	if (!send_event(s, &rec) || errno == EAGAIN)
		(void)engine_ask(s, &a);
}

bool
engine_ask(const struct session *s, struct asking *a)
{
	describe_session(s, &a->question);
	a->fd = ask_engine(rundir(), &a->question, mono_after(s->now, PLUGIN_ASK_MS), &a->answer);
	return a->fd >= 0;
}
