/* SPDX-License-Identifier: ISC */
#include "controller/shell.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/port.h"
#include "controller/telnet.h"
#include "lib/array.h"
#include "lib/clock.h"

#define IN_MAX 4096
#define OUT_HIGH 8192 /* no further line is run while so much is not taken: this is a turn's budget too */

static const char banner[] = "libut control port interpreter\nType 'help' for command list.\n\n";

struct visitor {
	struct shell *shell;
	struct bufferevent *io; /* NULL: free */
	struct telnet telnet;
	bool eof; /* will say no more, but may wait for answers: `printf 'uptime\n' | nc` */
	bool ending; /* goes when all is written */
	mono_t since; /* last line */
};

struct shell {
	struct event_base *base;
	struct port port;
	shell_run *run;
	void *arg;
	bool told_off; /* somebody from elsewhere: logged once */
	struct visitor visitor[SHELL_CLIENTS];
};

static void
drop(struct visitor *v)
{
	bufferevent_free(v->io); /* closes the socket */
	v->io = NULL;
}

static bool
has_room(const struct visitor *v)
{
	return evbuffer_get_length(bufferevent_get_output(v->io)) < OUT_HIGH;
}

/* --- lines ----------------------------------------------------------------------------------- */

static void
run_line(struct visitor *v)
{
	struct evbuffer *out = bufferevent_get_output(v->io);

	v->since = mono_now();
	if (v->telnet.too_long)
		(void)evbuffer_add_printf(out, "Line is too long\n\nError\n");
	else if (v->telnet.len > 0)
		v->ending = !v->shell->run(v->telnet.line, out, v->shell->arg);
}

/* What has come in, as far as there is room for the answers. */
static void
run_lines(struct visitor *v)
{
	struct evbuffer *in = bufferevent_get_input(v->io);
	uint8_t byte;

	while (!v->ending && has_room(v) && evbuffer_remove(in, &byte, 1) == 1)
		if (telnet_take(&v->telnet, byte))
			run_line(v);
	v->ending = v->ending || (v->eof && has_room(v));
	if (v->ending && evbuffer_get_length(bufferevent_get_output(v->io)) == 0)
		drop(v);
	else if (v->ending || !has_room(v))
		(void)bufferevent_disable(v->io, EV_READ);
	else
		(void)bufferevent_enable(v->io, EV_READ);
}

static void
on_read(struct bufferevent *io, void *arg)
{
	(void)io;
	run_lines(arg);
}

static void
on_end(struct bufferevent *io, short what, void *arg)
{
	struct visitor *v = arg;

	(void)io;
	v->eof = (what & BEV_EVENT_EOF) != 0;
	if (v->eof)
		run_lines(v);
	else
		drop(v);
}

/* --- visitors -------------------------------------------------------------------------------- */

static struct visitor *
find_place(struct shell *s)
{
	struct visitor *oldest = &s->visitor[0];

	for (size_t i = 0; i < countof(s->visitor); i++) {
		if (s->visitor[i].io == NULL)
			return &s->visitor[i];
		if (s->visitor[i].since.ms < oldest->since.ms)
			oldest = &s->visitor[i];
	}
	drop(oldest);
	return oldest;
}

void
shell_adopt(struct shell *s, int fd)
{
	const struct timeval idle = { .tv_sec = SHELL_IDLE_MS / 1000 };
	struct bufferevent *io = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);

	if (io == NULL) {
		(void)close(fd);
		return;
	}
	struct visitor *v = find_place(s);
	*v = (struct visitor) { .shell = s, .io = io, .since = mono_now() };
	bufferevent_setcb(io, on_read, on_read, on_end, v);
	bufferevent_setwatermark(io, EV_READ, 0, IN_MAX);
	bufferevent_set_timeouts(io, &idle, &idle);
	if (bufferevent_write(io, banner, sizeof(banner) - 1) < 0 || bufferevent_enable(io, EV_READ | EV_WRITE) < 0)
		drop(v);
}

static bool
is_local(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;

	if (peer->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	if (peer->ss_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return v6->sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static void
on_ready(struct port *p, void *arg)
{
	struct shell *s = arg;
	struct sockaddr_storage peer;

	for (int i = 0; i < SHELL_CLIENTS; i++) {
		int fd = port_accept(p, &peer);

		if (fd == -EMFILE)
			port_pause(p);
		if (fd < 0)
			return;
		if (is_local(&peer)) {
			shell_adopt(s, fd);
			continue;
		}
		(void)close(fd);
		if (!s->told_off)
			log_warning("shell", "the control port serves this host alone; somebody else was sent away"
				" (this is told once)");
		s->told_off = true;
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

int
shell_new(struct event_base *base, const char *address, uint16_t number, shell_run *run, void *arg,
	struct shell **ret)
{
	struct shell *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->base = base;
	s->run = run;
	s->arg = arg;
	int r = number != 0 ? port_tcp(&s->port, base, "shell", address, number, on_ready, s) : 0;
	if (r < 0) {
		shell_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void
shell_free(struct shell *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < countof(s->visitor); i++)
		if (s->visitor[i].io != NULL)
			drop(&s->visitor[i]);
	port_done(&s->port);
	free(s);
}
