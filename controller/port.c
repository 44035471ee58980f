/* SPDX-License-Identifier: ISC */
#include "controller/port.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/text.h"

#define LOOKS_MAX 16 /* at connections that were gone again before we came */

static void
wait_ms(struct port *p, int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	(void)event_add(&p->again, &tv); /* fails only for want of memory */
}

/* --- binding --------------------------------------------------------------------------------- */

static socklen_t
address_of(const char *text, uint16_t number, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	struct ip ip;

	memset(ret, 0, sizeof(*ret));
	if (ip_parse(text, &ip) < 0)
		return 0;
	if (ip_is_v4(&ip)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(number);
		memcpy(&v4->sin_addr, ip.b + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(number);
	memcpy(&v6->sin6_addr, ip.b, sizeof(ip.b));
	return sizeof(*v6);
}

/* Returns a descriptor or -Exxx. */
static int
bind_tcp(const struct port *p)
{
	struct sockaddr_storage at;
	socklen_t len = address_of(p->address, p->number, &at);
	const int on = 1;

	if (len == 0)
		return -EINVAL;
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* What is accepted inherits it.  An answer is one write: nothing to wait for. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0
		|| bind(fd, (const struct sockaddr *)&at, len) < 0) {
		int e = -errno;

		(void)close(fd);
		return e;
	}
	return fd;
}

static void on_readable(evutil_socket_t fd, short what, void *arg);

/* Takes the descriptor. */
static int
listen_on(struct port *p, int fd)
{
	if (listen(fd, SOMAXCONN) < 0) {
		int e = -errno;

		(void)close(fd);
		return e;
	}
	p->fd = fd;
	(void)event_assign(&p->readable, event_get_base(&p->again), fd, EV_READ | EV_PERSIST, on_readable, p);
	return event_add(&p->readable, NULL) < 0 ? -ENOMEM : 0;
}

static void
try_tcp(struct port *p)
{
	char text[100] = "";
	int fd = bind_tcp(p);
	int r = fd < 0 ? fd : listen_on(p, fd);

	if (r < 0) {
		(void)snprintf(text, sizeof(text), "cannot listen on %s:%u: %s; trying again", p->address, p->number,
			strerror(-r));
		wait_ms(p, PORT_RETRY_MS);
	}
	(void)log_edge(&p->memory, LOG_ERROR, p->area, text);
}

/* --- the loop -------------------------------------------------------------------------------- */

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct port *p = arg;

	(void)fd;
	(void)what;
	p->ready(p, p->arg);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	struct port *p = arg;

	(void)fd;
	(void)what;
	if (p->fd < 0)
		try_tcp(p);
	else if (event_add(&p->readable, NULL) < 0)
		wait_ms(p, PORT_PAUSE_MS);
	p->paused = false;
}

int
port_accept(struct port *p, struct sockaddr_storage *ret_peer)
{
	for (int i = 0; i < LOOKS_MAX; i++) {
		socklen_t len = sizeof(*ret_peer);
		int fd = accept4(p->fd, (struct sockaddr *)ret_peer, ret_peer != NULL ? &len : NULL,
			SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return -EAGAIN;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			return -EMFILE;
	}
	return -EAGAIN;
}

void
port_pause(struct port *p)
{
	if (p->paused)
		return;
	log_warning(p->area, "cannot accept: %s; pausing", strerror(EMFILE));
	p->paused = true;
	(void)event_del(&p->readable);
	wait_ms(p, PORT_PAUSE_MS);
}

/* --- the whole ------------------------------------------------------------------------------- */

static void
init(struct port *p, struct event_base *base, const char *area, port_ready *ready, void *arg)
{
	*p = (struct port) { .fd = -1, .area = area, .ready = ready, .arg = arg, .assigned = true };
	(void)evtimer_assign(&p->again, base, on_again, p);
	(void)event_assign(&p->readable, base, -1, EV_READ, on_readable, p);
}

int
port_take(struct port *p, struct event_base *base, const char *area, int fd, port_ready *ready, void *arg)
{
	init(p, base, area, ready, arg);
	return listen_on(p, fd);
}

int
port_tcp(struct port *p, struct event_base *base, const char *area, const char *address, uint16_t number,
	port_ready *ready, void *arg)
{
	init(p, base, area, ready, arg);
	if (text_copy(p->address, sizeof(p->address), address) < 0)
		return -EINVAL;
	p->number = number;
	try_tcp(p);
	return 0;
}

void
port_done(struct port *p)
{
	if (!p->assigned)
		return;
	(void)event_del(&p->readable);
	(void)event_del(&p->again);
	if (p->fd >= 0)
		(void)close(p->fd);
	*p = (struct port) { .fd = -1 };
}
