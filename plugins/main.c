/* SPDX-License-Identifier: ISC */
/* The steps: guards, who is it, read the state, the checks, tell the engine, at most one line of reply, log. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/rundir.h"
#include "lib/text.h"
#include "plugins/plugin.h"

#define STAGE_PREFIX "spillway-"

static const struct check_ops *const check_table[] = {
	&check_overload,
};

/* What the name that we are run by asks for. */
struct job {
	enum stage stage;
	const struct check_ops *only; /* NULL: what the state enables for the stage */
	bool known;
};

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static struct job
job_of(const char *name)
{
	if (strncmp(name, STAGE_PREFIX, strlen(STAGE_PREFIX)) == 0) {
		int stage = stage_find(name + strlen(STAGE_PREFIX));

		return (struct job) { .stage = stage >= 0 ? (enum stage)stage : 0, .known = stage >= 0 };
	}
	for (size_t i = 0; i < countof(check_table); i++)
		if (strcmp(name, check_table[i]->name) == 0)
			return (struct job) { .stage = STAGE_MAIL, .only = check_table[i], .known = true };
	return (struct job) { 0 };
}

/* Own: the server's users.  An empty SMTPAUTHUSER is none; RELAYCLIENT counts also when it is empty. */
static enum client_class
class_of(void)
{
	const char *user = getenv("SMTPAUTHUSER");

	if ((user != NULL && *user != '\0') || getenv("RELAYCLIENT") != NULL)
		return CLASS_OWN;
	return CLASS_STRANGER;
}

/* Whole, and its lease not over.  That it is of this boot is asked later, and only where it matters: to read
 * the boot id costs more than to read the state. */
static bool
read_state(struct state *ret)
{
	return state_read(rundir(), ret) == 0 && state_is_fresh(ret, mono_now());
}

static bool
is_of_this_boot(const struct state *s)
{
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];

	return clock_boot_id(boot_id) == 0 && state_is_current(s, mono_now(), boot_id);
}

/* Without a state nobody says which checks are on: then each is asked, and knows what counts without one. */
static bool
is_enabled(const struct session *s, const struct check_ops *c)
{
	return !s->state_ok || (s->state.checks[s->stage] & 1u << c->id) != 0;
}

/* The first check that refuses decides. */
static bool
is_refused(const struct session *s, const struct job *job, struct refusal *ret)
{
	if (job->only != NULL)
		return job->only->refuses(s, ret);
	for (size_t i = 0; i < countof(check_table); i++)
		if (is_enabled(s, check_table[i]) && check_table[i]->refuses(s, ret))
			return true;
	return false;
}

/* At RCPT and DATA the transaction may carry what was accepted before: the connection stays. */
static enum verdict
verdict_at(enum stage stage)
{
	return stage == STAGE_RCPT || stage == STAGE_DATA ? VERDICT_REFUSE : VERDICT_CLOSE;
}

static bool
is_extended(const struct session *s)
{
	return s->state_ok && (s->state.flags & STATE_EXTENDED_TEXTS) != 0;
}

static void
put_id(struct text *t, const struct session *s)
{
	if (is_extended(s) && s->state.episode[0] != '\0') {
		text_puts(t, " [");
		text_puts(t, s->state.episode);
		text_putc(t, ']');
	}
}

/* One line in one write.  Nothing of it comes from the client. */
static void
print_reply(const struct session *s, const struct refusal *r, enum verdict verdict)
{
	char line[PLUGIN_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	text_putc(&t, verdict == VERDICT_CLOSE ? 'R' : 'E');
	text_put_u64(&t, r->code);
	text_putc(&t, ' ');
	if (is_extended(s)) {
		text_puts(&t, r->enhanced);
		text_putc(&t, ' ');
	}
	text_puts(&t, r->text);
	put_id(&t, s);
	text_putc(&t, '\n');
	if (!t.cut)
		(void)!write(STDOUT_FILENO, line, t.len); /* nobody there: nobody to tell */
}

/* One datagram, no answer, never waiting: when the engine's queue is full the event is lost, and the refusal
 * stands in the log alone.  Returns whether an engine is there: then it has published the state, in this
 * boot. */
static bool
tell_engine(const struct session *s, const struct refusal *r, enum verdict verdict)
{
	struct record_packet packet;
	struct record rec = {
		.stage = s->stage, .class = s->class, .check = r->check, .verdict = verdict, .code = r->code,
		.pid = (uint32_t)getppid(), .ip_known = s->ip_known, .ip = s->ip,
		.text = {
			[RECORD_HELO] = record_text_of(getenv("SMTPHELOHOST")),
			[RECORD_SENDER] = record_text_of(getenv("SMTPMAILFROM")),
			[RECORD_EPISODE] = record_text_of(s->state_ok ? s->state.episode : NULL),
		},
	};
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct text path = text_in(to.sun_path, sizeof(to.sun_path));

	if (s->stage == STAGE_RCPT)
		rec.text[RECORD_RECIPIENT] = record_text_of(getenv("SMTPRCPTTO"));
	text_puts(&path, rundir());
	text_puts(&path, "/" RUNDIR_EVENT_SOCKET);
	if (path.cut)
		return false;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	record_pack(&rec, &packet);
	const struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof(to),
		.msg_iov = packet.part, .msg_iovlen = (size_t)packet.parts,
	};
	return sendmsg(fd, &msg, 0) >= 0 || errno == EAGAIN;
}

/* qmail-smtpd says nothing about a refusal by a plugin, so we do: in the words of the plugins that we
 * replace, for people's scripts read them.  Not at the price of waiting for a log that does not move. */
static void
write_log(const struct session *s, const struct check_ops *const *checks, const struct refusal *r)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[PLUGIN_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	text_puts(&t, checks[r->check]->name);
	text_puts(&t, ": ");
	text_put_u64(&t, (uint64_t)getppid());
	text_putc(&t, ' ');
	text_puts(&t, r->text);
	put_id(&t, s);
	text_putc(&t, '\n');
	if (!t.cut && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0)
		(void)!write(STDERR_FILENO, line, t.len);
}

#ifdef PLUGIN_CRASH
/* For tests of the guards: fail as a bug would.  The number says how. */
static int
overflow(volatile int *p)
{
	volatile int here[1024] = { *p };

	return here[0] != 0 ? 0 : overflow(here) + here[1]; /* it is 0; compilers want to see a way out */
}

static void
crash(void)
{
	volatile int zero = 0;

	switch (PLUGIN_CRASH) {
	case 1:
		*(volatile int *)(uintptr_t)zero = 1;
		break;
	case 2:
		abort();
	case 3:
		(void)overflow(&zero);
		break;
	case 4:
		__builtin_trap();
	default:
		for (;;)
			;
	}
}
#endif

int
main(int argc, char **argv)
{
	struct session s = { 0 };
	struct refusal r;

	guard_start();
	bool can_reply = guard_is_open(STDOUT_FILENO), can_log = guard_is_open(STDERR_FILENO);
#ifdef PLUGIN_CRASH
	crash();
#endif
	struct job job = argc > 0 ? job_of(base_name(argv[0])) : (struct job) { 0 };
	if (!job.known || !can_reply)
		return 0;
	s.stage = job.stage;
	s.class = class_of();
	if (s.class == CLASS_OWN)
		return 0; /* no check of load or address concerns them */
	const char *ip = getenv("TCPREMOTEIP");
	s.ip_known = ip != NULL && ip_parse(ip, &s.ip) == 0;
	s.state_ok = read_state(&s.state);
	if (!is_refused(&s, &job, &r))
		return 0;
	enum verdict verdict = verdict_at(s.stage);
	if (!tell_engine(&s, &r, verdict) && s.state_ok && !is_of_this_boot(&s.state)) {
		/* A left-over of a boot before.  What is left to go by is an operator's flag. */
		s.state_ok = false;
		if (!is_refused(&s, &job, &r))
			return 0;
	}
	print_reply(&s, &r, verdict);
	if (can_log)
		write_log(&s, check_table, &r);
	return 0;
}
