/* SPDX-License-Identifier: ISC */
/*
 * port - a listening socket in the engine's loop, that may fail and come back
 *
 * What listens on TCP may find its port taken, by the program that it replaces for example.  Then that is logged
 * once, and tried again every PORT_RETRY_MS: a service beside the main one must not keep the engine from starting.
 */
#ifndef CONTROLLER_PORT_H
#define CONTROLLER_PORT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "controller/log.h"
#include "lib/ip.h"

#define PORT_RETRY_MS 5000
#define PORT_PAUSE_MS 1000

struct port;

/* Somebody is there: call port_accept() until it returns less than 0, or enough of this turn. */
typedef void port_ready(struct port *p, void *arg);

/* Embedded; zeroed is "none". */
struct port {
	int fd; /* -1 while there is none */
	struct event readable, again;
	bool assigned, paused;
	const char *area; /* for the log */
	char address[IP_TEXT_MAX];
	uint16_t number;
	struct log_memory memory;
	port_ready *ready;
	void *arg;
};

/* Listen with a socket that is bound already, which is taken over.  Returns 0 or -Exxx. */
int port_take(struct port *p, struct event_base *base, const char *area, int fd, port_ready *ready, void *arg);

/* Listen on TCP; `address` is a number, not a name.  Returns 0, also when the port can't be had now, or -ENOMEM. */
int port_tcp(struct port *p, struct event_base *base, const char *area, const char *address, uint16_t number,
	port_ready *ready, void *arg);

/* The next one who waits: a descriptor, non-blocking, close-on-exec; -EAGAIN when nobody does; -EMFILE when there
 * are no descriptors: then make room, or port_pause().  `ret_peer` may be NULL. */
int port_accept(struct port *p, struct sockaddr_storage *ret_peer);

/* Accept nobody for PORT_PAUSE_MS: the loop would otherwise be woken half a million times a second. */
void port_pause(struct port *p);

void port_done(struct port *p);

#endif
