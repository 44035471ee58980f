/* SPDX-License-Identifier: ISC */
/*
 * control - the socket on which `spillway` talks with the engine
 *
 * A client sends one JSON object in a line of at most CONTROL_REQUEST_MAX bytes and gets one JSON object back; then the
 * connection ends.  Whoever is slow, too long, or not understood is dropped; the others are served.  At most
 * CONTROL_CLIENTS at once, CONTROL_CLIENTS_A_USER of one user, CONTROL_DEADLINE_MS each.
 */
#ifndef CONTROLLER_CONTROL_H
#define CONTROLLER_CONTROL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

#define CONTROL_REQUEST_MAX 4096
#define CONTROL_CLIENTS 64
#define CONTROL_CLIENTS_A_USER 32
#define CONTROL_CLIENTS_OF_ROOT 8 /* places that only root can take */
#define CONTROL_DEADLINE_MS 2000
#define CONTROL_GROUPS_MAX 64

/* Who asks, as the kernel says. */
struct control_peer {
	uid_t uid;
	gid_t groups[CONTROL_GROUPS_MAX];
	size_t n_groups;
};

struct control;

/* Answer a request.  Returns the reply (a new reference), or NULL when it comes later by control_reply() for
 * the client of number `client`. */
typedef json_t *control_handler(const json_t *request, const struct control_peer *peer, uint64_t client,
	void *arg);

/* Listen on DIR/control.sock.  -EADDRINUSE: another daemon is there. */
int control_new(struct event_base *base, const char *dir, control_handler *handler, void *arg,
	struct control **ret, struct err *why);
void control_free(struct control *c);

/* Answer a client that waits; one that has gone meanwhile is passed over.  Takes the reference. */
void control_reply(struct control *c, uint64_t client, json_t *reply);

/* {"clients": ..., "served": ..., "dropped": ...}.  Caller owns the reference. */
json_t *control_describe(const struct control *c);

#endif
