/* SPDX-License-Identifier: ISC */
#include "controller/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/ask.h"
#include "controller/log.h"
#include "lib/rundir.h"

#define PAUSE_MS 1000 /* after accept() failed: no descriptors left */
#define REPLY_DEADLINE_MS 6500 /* for replies that wait for the disk, or for the reader of a configuration */

struct client {
	struct control *control;
	uint64_t number; /* 0: free */
	struct control_peer peer;
	struct bufferevent *io;
	struct event *deadline; /* of the whole, however busy the client is; kept for the next one */
	bool answered;
};

struct control {
	int fd;
	struct evconnlistener *listener;
	struct event *pause;
	control_handler *handler;
	void *arg;
	uint64_t next_number, served, dropped;
	struct client client[CONTROL_CLIENTS];
};

static void
drop(struct client *c)
{
	(void)event_del(c->deadline);
	bufferevent_free(c->io); /* closes the socket */
	c->io = NULL;
	c->number = 0;
}

static void
drop_bad(struct client *c)
{
	c->control->dropped++;
	drop(c);
}

static void
set_deadline(struct client *c, int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	/* Not bufferevent_set_timeouts(): those begin anew with each byte, and a byte a second would hold a place for
	 * an hour. */
	(void)event_add(c->deadline, &tv);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drop_bad(arg);
}

/* --- answering ------------------------------------------------------------------------------- */

static void
answer(struct client *c, json_t *reply)
{
	char *text = json_dumps(reply, JSON_COMPACT);

	json_decref(reply);
	c->answered = true;
	c->control->served++;
	if (text == NULL || bufferevent_write(c->io, text, strlen(text)) < 0
		|| bufferevent_write(c->io, "\n", 1) < 0)
		drop_bad(c);
	free(text);
}

void
control_reply(struct control *c, uint64_t client, json_t *reply)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (c->client[i].number == client && client != 0) {
			answer(&c->client[i], reply);
			return;
		}
	}
	json_decref(reply);
}

static json_t *
refusal(const char *what)
{
	return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 100, "error", what);
}

static void
serve(struct client *c, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *reply;

	if (!json_is_object(request)) {
		c->control->dropped++;
		reply = refusal("a request is a JSON object in one line");
	} else {
		set_deadline(c, REPLY_DEADLINE_MS);
		reply = c->control->handler(request, &c->peer, c->number, c->control->arg);
	}
	json_decref(request);
	if (reply != NULL)
		answer(c, reply);
}

/* --- clients --------------------------------------------------------------------------------- */

static void
on_read(struct bufferevent *io, void *arg)
{
	struct client *c = arg;
	struct evbuffer *in = bufferevent_get_input(io);
	size_t len;

	if (c->answered) {
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
	if (line == NULL) {
		if (evbuffer_get_length(in) >= CONTROL_REQUEST_MAX)
			drop_bad(c);
		return;
	}
	(void)bufferevent_disable(io, EV_READ); /* one request; what follows is not read */
	serve(c, line, len);
	free(line);
}

static void
on_written(struct bufferevent *io, void *arg)
{
	struct client *c = arg;

	if (c->answered && evbuffer_get_length(bufferevent_get_output(io)) == 0)
		drop(c);
}

static void
on_end(struct bufferevent *io, short what, void *arg)
{
	(void)io;
	(void)what;
	drop(arg);
}

/* Returns false when the kernel does not say: then nobody is there. */
static bool
identify(int fd, struct control_peer *ret)
{
	struct ucred who;
	socklen_t len = sizeof(who), groups = sizeof(ret->groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return false;
	ret->uid = who.uid;
	/* A peer in more groups than that is judged by its user alone. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->groups, &groups) < 0)
		groups = 0;
	ret->n_groups = groups / sizeof(ret->groups[0]);
	return true;
}

/* A free place for a client of `uid`, or NULL when there are too many.  The last ones are root's. */
static struct client *
find_place(struct control *c, uid_t uid)
{
	struct client *place = NULL;
	unsigned same = 0, free_places = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (c->client[i].number == 0) {
			place = &c->client[i];
			free_places++;
		} else {
			same += c->client[i].peer.uid == uid;
		}
	}
	if (same >= CONTROL_CLIENTS_A_USER || (uid != 0 && free_places <= CONTROL_CLIENTS_OF_ROOT))
		return NULL;
	return place;
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len, void *arg)
{
	struct control *c = arg;
	struct control_peer peer;

	(void)from;
	(void)len;
	struct client *place = identify(fd, &peer) ? find_place(c, peer.uid) : NULL;
	struct event_base *base = evconnlistener_get_base(listener);
	if (place != NULL && place->deadline == NULL)
		place->deadline = evtimer_new(base, on_deadline, place);
	if (place == NULL || place->deadline == NULL
		|| (place->io = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE)) == NULL) {
		c->dropped++;
		(void)close(fd);
		return;
	}
	place->control = c;
	place->number = c->next_number++;
	place->peer = peer;
	place->answered = false;
	bufferevent_setcb(place->io, on_read, on_written, on_end, place);
	bufferevent_setwatermark(place->io, EV_READ, 0, CONTROL_REQUEST_MAX);
	set_deadline(place, CONTROL_DEADLINE_MS);
	(void)bufferevent_enable(place->io, EV_READ | EV_WRITE);
}

/* No descriptors: accepting again at once would spin (half a million times a second, measured). */
static void
on_accept_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval tv = { .tv_sec = PAUSE_MS / 1000 };
	struct control *c = arg;

	log_warning("control", "cannot accept: %s; pausing", strerror(errno));
	(void)evconnlistener_disable(listener);
	(void)event_add(c->pause, &tv);
}

static void
on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)evconnlistener_enable(((struct control *)arg)->listener);
}

/* --- the whole ------------------------------------------------------------------------------- */

void
control_free(struct control *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (c->client[i].number != 0)
			drop(&c->client[i]);
		if (c->client[i].deadline != NULL)
			event_free(c->client[i].deadline);
	}
	if (c->listener != NULL)
		evconnlistener_free(c->listener);
	else if (c->fd >= 0)
		(void)close(c->fd);
	if (c->pause != NULL)
		event_free(c->pause);
	free(c);
}

int
control_new(struct event_base *base, const char *dir, control_handler *handler, void *arg,
	struct control **ret, struct err *why)
{
	struct control *c = calloc(1, sizeof(*c));
	char path[256];

	if (c == NULL)
		return err_sys(why, -ENOMEM, "control socket");
	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_CONTROL_SOCKET, dir);
	c->handler = handler;
	c->arg = arg;
	c->next_number = 1;
	c->fd = ask_bind(path, SOCK_STREAM, why);
	if (c->fd < 0) {
		int r = c->fd;

		control_free(c);
		return r;
	}
	c->pause = evtimer_new(base, on_pause_over, c);
	c->listener = evconnlistener_new(base, on_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
		16, c->fd);
	if (c->pause == NULL || c->listener == NULL) {
		control_free(c);
		return err_set(why, -ENOMEM, "%s: cannot be listened on", path);
	}
	evconnlistener_set_error_cb(c->listener, on_accept_error);
	*ret = c;
	return 0;
}

json_t *
control_describe(const struct control *c)
{
	int clients = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		clients += c->client[i].number != 0;
	return json_pack("{s:i, s:I, s:I}", "clients", clients, "served", (json_int_t)c->served,
		"dropped", (json_int_t)c->dropped);
}
