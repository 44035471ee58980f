/* SPDX-License-Identifier: ISC */
/*
 * flood - many SMTP sessions a second, from one process, to a server on this machine
 *
 *	flood --to 127.0.0.1:2525 --rate 50 --for 10 [options]
 *
 * An open loop: sessions begin evenly at --rate, whatever the server answers, as in a real flood; each
 * is EHLO, AUTH if wanted, MAIL, RCPT, DATA, the message, QUIT, one command at a time.  At the first
 * refusal it says QUIT.  Latency counts from the moment a session was due, so a stalled server can't
 * hide behind sessions that were begun late.
 *
 *	--from, --rcpt ADDR    "%n" in it becomes the number of the session; --from "" is the null sender
 *	--source IP[,IP...]    bind to these in turn
 *	--source-net NET/BITS  bind to all addresses of that net in turn
 *	--connections MAX      at most so many at once (default 1000); what is due beyond is "skipped"
 *	--keep                 no QUIT after an accepted message or a refusal that left the connection
 *	                       open: a later session goes on in it at MAIL
 *	--timeout S            give a session up when a reply takes longer (default 30)
 *	--report FILE|-        a line per second, tab separated, with a heading
 *	--quiet                no progress on stderr
 *
 * SIGTERM: begin no more, give those in flight 2 s (10 s at the normal end), print the summary.
 * The summary is one line of JSON on stdout.  sessions = accepted + refused_4xx + refused_5xx + dropped
 * (closed without an answer) + errors (no connection, a timeout, nonsense) + unfinished.  latency_ms is
 * of whole sessions up to their outcome, mail_ms of the reply to MAIL alone.
 *
 * We never test against an address off this machine: a target outside 127.0.0.0/8, ::1 and
 * 198.18.0.0/15 (which our tests route to lo in a network namespace) is refused.
 *
 * Exit: 0; 100 usage; 111 no memory or descriptors.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/ip.h"
#include "lib/text.h"
#include "tests/standin/base64.h"
#include "tests/standin/buf.h"
#include "tests/standin/flood.h"
#include "tests/standin/floodopt.h"
#include "tests/standin/floodreport.h"
#include "tests/standin/hist.h"
#include "tests/standin/pace.h"

#define SECOND_NS INT64_C(1000000000)

static volatile sig_atomic_t stopping;

static void
on_signal(int sig)
{
	(void)sig;
	stopping = 1;
}

/* --- what is said --- */

static void
put_template(struct text *t, const char *template, uint64_t number)
{
	for (; *template != '\0'; template++)
		if (template[0] == '%' && template[1] == 'n') {
			text_put_u64(t, number);
			template++;
		} else {
			text_putc(t, *template);
		}
}

static void
make_command(struct flood *f, struct conn *c)
{
	struct text t = text_in(c->command, sizeof(c->command));

	switch (c->step) {
	case EHLO:
		text_puts(&t, "EHLO ");
		text_puts(&t, f->o.helo);
		break;
	case AUTH:
		text_put(&t, f->auth_line.at, f->auth_line.len);
		break;
	case MAIL:
		text_puts(&t, "MAIL FROM:<");
		put_template(&t, f->o.from, c->number);
		text_puts(&t, ">");
		break;
	case RCPT:
		text_puts(&t, "RCPT TO:<");
		put_template(&t, f->o.rcpt, c->number);
		text_puts(&t, ">");
		break;
	case DATA:
		text_puts(&t, "DATA");
		break;
	default:
		text_puts(&t, "QUIT");
	}
	text_puts(&t, "\r\n");
	c->out = t.at;
	c->out_len = t.len;
}

/* The same for all: headers, then lines of 70 x up to the size, then the dot. */
static void
make_body(struct flood *f)
{
	char line[72];

	memset(line, 'x', 70);
	memcpy(line + 70, "\r\n", 2);
	buf_puts(&f->body, "Subject: flood\r\n\r\n");
	while (f->body.len < f->o.size) {
		size_t left = f->o.size - f->body.len;

		if (left < sizeof(line) && left > 2)
			buf_put(&f->body, line + sizeof(line) - left, left);
		else
			buf_put(&f->body, line, sizeof(line));
	}
	buf_puts(&f->body, ".\r\n");
}

static void
make_auth_line(struct flood *f)
{
	struct buf plain = { 0 };
	const char *colon = strchr(f->o.auth, ':');

	buf_putc(&plain, '\0');
	buf_put(&plain, f->o.auth, (size_t)(colon - f->o.auth));
	buf_putc(&plain, '\0');
	buf_puts(&plain, colon + 1);
	buf_puts(&f->auth_line, "AUTH PLAIN ");
	base64_encode(plain.at, plain.len, &f->auth_line);
	buf_done(&plain);
}

/* --- sessions --- */

static void
watch(struct flood *f, struct conn *c, bool out)
{
	struct epoll_event e = {
		.events = EPOLLIN | (out ? EPOLLOUT : 0u),
		.data.u64 = (uint64_t)(c - f->conns),
	};

	if (c->wants_out == out)
		return;
	c->wants_out = out;
	(void)epoll_ctl(f->epoll, EPOLL_CTL_MOD, c->fd, &e); /* at worst the session times out */
}

static void
end_session(struct flood *f, struct conn *c, enum outcome outcome, int64_t now)
{
	if (c->counted)
		return;
	c->counted = true;
	f->now.outcome[outcome]++;
	f->in_flight--;
	hist_add(&f->session, now > c->due_ns ? (uint64_t)(now - c->due_ns) / 1000 : 0);
}

static void
release(struct flood *f, struct conn *c)
{
	uint32_t i = (uint32_t)(c - f->conns);

	for (size_t k = 0; c->parked && k < f->n_parked; k++)
		if (f->parked[k] == i)
			f->parked[k] = f->parked[--f->n_parked];
	(void)close(c->fd);
	c->fd = -1;
	f->spare[f->n_spare++] = i;
}

/* The connection is lost in the middle of something. */
static void
lose(struct flood *f, struct conn *c, enum trouble why, int64_t now)
{
	if (!c->counted)
		f->troubles[c->step][why]++;
	end_session(f, c, why == CLOSED ? DROPPED : ERROR, now);
	release(f, c);
}

static bool
is_gone(int e)
{
	return e == ECONNRESET || e == EPIPE;
}

static void
send_rest(struct flood *f, struct conn *c, int64_t now)
{
	while (c->out_len > 0) {
		ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
			break;
		if (n < 0) {
			lose(f, c, is_gone(errno) ? CLOSED : FAILED, now);
			return;
		}
		c->out += n;
		c->out_len -= (size_t)n;
	}
	watch(f, c, c->out_len > 0);
}

static void
ask(struct flood *f, struct conn *c, enum step step, int64_t now)
{
	c->step = step;
	c->asked_ns = now;
	if (step == BODY) {
		c->out = f->body.at;
		c->out_len = f->body.len;
	} else {
		make_command(f, c);
	}
	send_rest(f, c, now);
}

static void
park(struct flood *f, struct conn *c)
{
	c->parked = true;
	f->parked[f->n_parked++] = (uint32_t)(c - f->conns);
}

/* The session has had its answer: stay for the next one, or say goodbye. */
static void
finish(struct flood *f, struct conn *c, enum outcome outcome, int64_t now)
{
	bool may_stay = c->step >= MAIL; /* greeted, and logged in if we must */

	end_session(f, c, outcome, now);
	if (f->o.keep && may_stay && memcmp(c->code, "421", 3) != 0)
		park(f, c);
	else
		ask(f, c, QUIT, now);
}

static enum step
step_after(const struct flood *f, enum step step)
{
	if (step == EHLO && f->o.auth == NULL)
		return MAIL;
	return step + 1;
}

static void
take_reply(struct flood *f, struct conn *c, int64_t now)
{
	unsigned code = (unsigned)(c->code[0] - '0') * 100 + (unsigned)(c->code[1] - '0') * 10
		+ (unsigned)(c->code[2] - '0');

	if (c->parked) /* such as "421 timeout": the close behind it will be seen */
		return;
	f->codes[c->step][code]++;
	if (c->step == MAIL)
		hist_add(&f->mail, (uint64_t)(now - c->asked_ns) / 1000);
	if (c->step == QUIT)
		release(f, c);
	else if (c->code[0] != steps[c->step].want)
		finish(f, c, c->code[0] == '4' ? REFUSED_4XX : REFUSED_5XX, now);
	else if (c->step == BODY)
		finish(f, c, ACCEPTED, now);
	else
		ask(f, c, step_after(f, c->step), now);
}

static bool
is_code(const char code[4])
{
	return code[0] >= '2' && code[0] <= '5' && code[1] >= '0' && code[1] <= '9'
		&& code[2] >= '0' && code[2] <= '9';
}

/* Take one byte of a reply.  Only the start of each line matters. */
static void
take_byte(struct flood *f, struct conn *c, char byte, int64_t now)
{
	if (byte != '\n') {
		if (c->column < sizeof(c->code))
			c->code[c->column] = byte;
		c->column++;
		return;
	}
	bool whole = c->column >= 3 && is_code(c->code);
	bool more = c->column >= 4 && c->code[3] == '-';
	c->column = 0;
	if (!whole)
		lose(f, c, FAILED, now);
	else if (!more)
		take_reply(f, c, now);
}

static void
on_readable(struct flood *f, struct conn *c, int64_t now)
{
	char in[4096];
	ssize_t n = recv(c->fd, in, sizeof(in), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		lose(f, c, is_gone(errno) ? CLOSED : FAILED, now);
	else if (n == 0)
		lose(f, c, CLOSED, now);
	for (ssize_t i = 0; i < n && c->fd >= 0; i++)
		take_byte(f, c, in[i], now);
}

/* --- starting --- */

/* The address of the net with `n` added. */
static struct ip
nth_of_net(const struct ip *net, uint64_t n)
{
	struct ip ip = *net;

	for (size_t i = 15; n > 0; i--, n >>= 8)
		ip.b[i] |= (uint8_t)n;
	return ip;
}

static bool
next_source(struct flood *f, struct ip *ret)
{
	if (f->o.net_size > 0)
		*ret = nth_of_net(&f->o.net, f->next_source++ % f->o.net_size);
	else if (f->o.n_sources > 0)
		*ret = f->o.sources[f->next_source++ % f->o.n_sources];
	else
		return false;
	return true;
}

/* Returns the descriptor of a connection under way, or -errno. */
static int
open_connection(struct flood *f)
{
	static const int on = 1;
	struct sockaddr_storage from;
	struct ip source;
	int r = 0, fd = socket(f->o.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (next_source(f, &source)) {
		socklen_t len = make_sockaddr(&source, 0, &from);

		/* Without this each bind takes a port of its own from 28,000 for all addresses. */
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, (const struct sockaddr *)&from, len) < 0)
			r = -errno;
	}
	if (r == 0 && connect(fd, (const struct sockaddr *)&f->o.to, f->o.to_len) < 0
		&& errno != EINPROGRESS)
		r = -errno;
	if (r < 0)
		(void)close(fd);
	return r < 0 ? r : fd;
}

static void
begin_on_new(struct flood *f, int64_t due, int64_t now)
{
	uint32_t i = f->spare[f->n_spare - 1];
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = i };
	struct conn *c = &f->conns[i];
	int fd = open_connection(f);

	f->in_flight++;
	*c = (struct conn) {
		.fd = fd, .number = f->now.started, .due_ns = due, .asked_ns = now,
	};
	if (fd >= 0 && epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &e) == 0) {
		f->n_spare--;
		return;
	}
	if (fd >= 0)
		(void)close(fd);
	c->fd = -1;
	f->troubles[BANNER][FAILED]++;
	end_session(f, c, ERROR, now);
}

static void
begin_on_parked(struct flood *f, int64_t due, int64_t now)
{
	struct conn *c = &f->conns[f->parked[--f->n_parked]];

	c->parked = c->counted = false;
	c->number = f->now.started;
	c->due_ns = due;
	f->in_flight++;
	ask(f, c, MAIL, now);
}

static void
begin_session(struct flood *f, int64_t due, int64_t now)
{
	if (f->n_parked == 0 && f->n_spare == 0) {
		f->now.skipped++;
		return;
	}
	f->now.started++;
	if (f->n_parked > 0)
		begin_on_parked(f, due, now);
	else
		begin_on_new(f, due, now);
}

/* All that are due.  An open loop owes every session: nothing is forgotten after a stall. */
static void
begin_due(struct flood *f, int64_t now)
{
	while (pace_is_due(&f->pace, now) && f->pace.next_ns < f->end_ns) {
		begin_session(f, f->pace.next_ns, now);
		f->pace.next_ns += f->pace.interval_ns;
	}
}

static void
give_up_slow(struct flood *f, int64_t now)
{
	int64_t limit = (int64_t)f->o.timeout_ms * 1000000;

	for (uint64_t i = 0; i < f->o.connections; i++) {
		struct conn *c = &f->conns[i];

		if (c->fd >= 0 && !c->parked && now - c->asked_ns > limit)
			lose(f, c, TIMEOUT, now);
	}
}

/* --- the loop --- */

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int
wait_events(struct flood *f, int64_t now, struct epoll_event *events, int n)
{
	int64_t due = earlier(f->next_second_ns, f->give_up_ns);

	if (f->pace.next_ns < f->end_ns)
		due = earlier(due, pace_due(&f->pace));
	int64_t ns = due > now ? due - now : 0;
	struct timespec ts = { .tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS };
	return epoll_pwait2(f->epoll, events, n, &ts, NULL);
}

static void
on_event(struct flood *f, const struct epoll_event *e, int64_t now)
{
	struct conn *c = &f->conns[e->data.u64];

	if (c->fd >= 0 && (e->events & EPOLLOUT) != 0)
		send_rest(f, c, now);
	if (c->fd >= 0 && (e->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
		on_readable(f, c, now);
}

/* Returns false when all is said. */
static bool
still_running(struct flood *f, int64_t now)
{
	if (stopping == 1) {
		stopping = 2;
		f->end_ns = earlier(f->end_ns, f->pace.next_ns); /* what is due and late is let off too */
		f->give_up_ns = earlier(f->give_up_ns, now + 2 * SECOND_NS);
	}
	if (now >= f->give_up_ns)
		return false;
	return f->pace.next_ns < f->end_ns || f->n_spare + f->n_parked < f->o.connections;
}

static void
run(struct flood *f)
{
	struct epoll_event events[256];
	int64_t now = pace_now();

	f->start_ns = f->pace.next_ns = now;
	f->end_ns = now + (int64_t)f->o.duration_ms * 1000000;
	f->give_up_ns = f->end_ns + 10 * SECOND_NS;
	f->next_second_ns = now + SECOND_NS;
	while (still_running(f, now)) {
		begin_due(f, now);
		int n = wait_events(f, now, events, countof(events));
		now = pace_now();
		for (int i = 0; i < n; i++)
			on_event(f, &events[i], now);
		if (now >= f->next_second_ns) {
			print_second(f);
			give_up_slow(f, now);
			f->next_second_ns += SECOND_NS;
		}
	}
	if (memcmp(&f->now, &f->last, sizeof(f->now)) != 0)
		print_second(f); /* the last one, not a whole one */
}

static bool
prepare(struct flood *f)
{
	struct rlimit limit;
	size_t n = f->o.connections;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* too few show as errors of their sessions */
	}
	f->conns = calloc(n, sizeof(*f->conns));
	f->spare = calloc(n, sizeof(*f->spare));
	f->parked = calloc(n, sizeof(*f->parked));
	if (f->conns == NULL || f->spare == NULL || f->parked == NULL)
		return false;
	while (f->n_spare < n) {
		f->conns[f->n_spare].fd = -1;
		f->spare[f->n_spare] = (uint32_t)f->n_spare;
		f->n_spare++;
	}
	make_body(f);
	if (f->o.auth != NULL)
		make_auth_line(f);
	pace_set(&f->pace, f->o.rate, 0);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	return f->epoll >= 0 && open_report(f);
}

int
main(int argc, char **argv)
{
	static struct flood f = {
		.o = {
			.connections = 1000,
			.size = 500,
			.timeout_ms = 30000,
			.from = "u%n@remote.test",
			.rcpt = "alice@example.test",
			.helo = "flood.test",
		},
	};
	const struct sigaction stop = { .sa_handler = on_signal };

	if (!parse_options(argc, argv, &f.o))
		return usage();
	(void)sigaction(SIGTERM, &stop, NULL);
	(void)sigaction(SIGINT, &stop, NULL);
	if (!prepare(&f)) {
		perror("flood");
		return 111;
	}
	run(&f);
	if (f.report != NULL && f.report != stdout && fclose(f.report) != 0)
		perror("flood: the report is not complete");
	print_summary(&f, pace_now());
	return fflush(stdout) == 0 ? 0 : 111;
}
