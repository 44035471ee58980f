/* SPDX-License-Identifier: ISC */
/*
 * The common case is made short: a client that connects with its question ready is accepted, read, answered and
 * closed without ever being watched; of many lines that are read at once, the counters are fetched all together
 * before the first is counted; an answer is formatted by hand, and those to one read go out in one write.
 *
 * No place, buffer or event is allocated after the start.
 */
#include "controller/rateserve.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/ask.h"
#include "controller/log.h"
#include "controller/port.h"
#include "controller/rateline.h"
#include "lib/array.h"
#include "lib/rundir.h"

#define READ_MAX 4096
#define READ_FIRST_MAX 1024 /* of who has just come: he need not wait for a turn's budget */
#define IN_MAX (RATELINE_PART_MAX + READ_MAX)
#define OUT_MAX ((size_t)IN_MAX * RATELINE_GROWTH + RATELINE_ANSWER_MAX)
#define BATCH 64 /* lines whose counters are fetched together */
#define ACCEPT_BATCH 32
#define COST_BYTES 256 /* so many bytes count as a line in a turn's budget */
#define DISCARDS_MAX 16
#define SWEEP_MS 250
#define GRACE_MS 100 /* who has just connected may well be about to ask */
#define STUCK_MS 1000
#define FILES_SPARE 128 /* descriptors for the rest of the engine, and as many as for us for connections held */
#define CLIENTS_MIN 16

TAILQ_HEAD(clients, client);

struct client {
	struct rateserve *serve;
	struct event io;
	TAILQ_ENTRY(client) link, late_link;
	int fd; /* -1: a free place */
	bool watched, kept, late, ending; /* ending: closed when all is written */
	mono_t since; /* connected; kept: last got an answer */
	struct stalled *stalled; /* answers that he does not take, or NULL */
	size_t len; /* of part */
	char part[RATELINE_PART_MAX];
};

struct stalled {
	struct client *owner; /* NULL: free */
	size_t len, sent;
	char out[OUT_MAX];
};

struct batch {
	unsigned n;
	struct rateline line[BATCH];
	struct rate_question question[BATCH];
};

struct rateserve {
	struct turn *turn;
	const struct rate_cfg *limits;
	uint8_t class_len[RATE_CLASSES_MAX]; /* of the names of its classes */
	struct rate *rate;
	struct port local, tcp;
	struct event sweep, more;
	struct clients unused; /* free places */
	struct clients fresh; /* nothing asked yet, or a question that ends with its answer; by age */
	struct clients kept; /* those that stay; by when they last got an answer */
	struct clients late; /* of both: had something to say when the turn's budget was spent */
	unsigned most, open;
	uint64_t turn_number;
	size_t budget; /* lines that may be answered in this turn yet */
	uint64_t answered, dropped;
	char in[IN_MAX], out[OUT_MAX];
	struct stalled stalled[RATESERVE_STALLED];
	struct client client[RATESERVE_CLIENTS + ACCEPT_BATCH];
};

static const struct rate_cfg no_limits;

static mono_t
now_of(struct rateserve *s)
{
	return turn_now(s->turn);
}

/* --- places ---------------------------------------------------------------------------------- */

static struct clients *
list_of(struct client *c)
{
	return c->kept ? &c->serve->kept : &c->serve->fresh;
}

static struct client *
take_place(struct rateserve *s, int fd)
{
	struct client *c = TAILQ_FIRST(&s->unused);

	TAILQ_REMOVE(&s->unused, c, link);
	TAILQ_INSERT_TAIL(&s->fresh, c, link);
	c->fd = fd;
	c->watched = c->kept = c->late = c->ending = false;
	c->since = now_of(s);
	c->stalled = NULL;
	c->len = 0;
	s->open++;
	return c;
}

static void
drop(struct client *c)
{
	struct rateserve *s = c->serve;

	if (c->watched)
		(void)event_del(&c->io);
	(void)close(c->fd);
	c->fd = -1;
	if (c->stalled != NULL)
		c->stalled->owner = NULL;
	if (c->late)
		TAILQ_REMOVE(&s->late, c, late_link);
	TAILQ_REMOVE(list_of(c), c, link);
	TAILQ_INSERT_HEAD(&s->unused, c, link);
	s->open--;
}

static void
drop_bad(struct client *c)
{
	c->serve->dropped++;
	drop(c);
}

/* Those who only just connected are asked to go last, so that holding all places does not help against who has a
 * question. */
static bool
drop_oldest(struct rateserve *s)
{
	struct client *fresh = TAILQ_FIRST(&s->fresh), *kept = TAILQ_FIRST(&s->kept);

	if (fresh != NULL && kept != NULL && mono_since(fresh->since, now_of(s)) < GRACE_MS)
		fresh = NULL;
	if (fresh == NULL && kept == NULL)
		return false;
	drop_bad(fresh != NULL ? fresh : kept);
	return true;
}

static void
stay(struct client *c)
{
	struct rateserve *s = c->serve;

	TAILQ_REMOVE(list_of(c), c, link);
	c->kept = true;
	c->since = now_of(s);
	TAILQ_INSERT_TAIL(&s->kept, c, link);
}

static void on_io(evutil_socket_t fd, short what, void *arg);

/* Returns false when there is no memory for it; then the client is gone. */
static bool
watch(struct client *c, short what)
{
	struct rateserve *s = c->serve;
	const struct timeval sweep = { .tv_usec = SWEEP_MS * 1000 };

	if (c->watched)
		(void)event_del(&c->io);
	c->watched = true;
	(void)event_assign(&c->io, event_get_base(&s->sweep), c->fd, (short)(what | EV_PERSIST), on_io, c);
	if (event_add(&c->io, NULL) == 0
		&& (event_pending(&s->sweep, EV_TIMEOUT, NULL) != 0 || event_add(&s->sweep, &sweep) == 0))
		return true;
	drop_bad(c);
	return false;
}

/* --- answers that are not taken -------------------------------------------------------------- */

static struct stalled *
find_stalled(struct rateserve *s)
{
	for (size_t i = 0; i < countof(s->stalled); i++)
		if (s->stalled[i].owner == NULL)
			return &s->stalled[i];
	for (size_t i = 0; i < countof(s->stalled); i++) {
		if (mono_since(s->stalled[i].owner->since, now_of(s)) < STUCK_MS)
			continue;
		drop_bad(s->stalled[i].owner);
		return &s->stalled[i];
	}
	return NULL;
}

/* Keep what he does not take, and read no more of him until he does. */
static void
stall(struct client *c, const char *out, size_t len)
{
	struct stalled *to = find_stalled(c->serve);

	if (to == NULL) {
		drop_bad(c);
		return;
	}
	to->owner = c;
	to->len = len;
	to->sent = 0;
	memcpy(to->out, out, len);
	c->stalled = to;
	(void)watch(c, EV_WRITE);
}

/* Returns how much went out, or -1 when he is gone. */
static ssize_t
send_some(const struct client *c, const char *out, size_t len)
{
	ssize_t n = send(c->fd, out, len, MSG_NOSIGNAL);

	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : n;
}

/* Go on with an answer that was not taken whole. */
static void
flush(struct client *c)
{
	struct stalled *from = c->stalled;
	ssize_t n = send_some(c, from->out + from->sent, from->len - from->sent);

	if (n < 0) {
		drop_bad(c);
		return;
	}
	from->sent += (size_t)n;
	if (c->kept && n > 0)
		stay(c);
	if (from->sent < from->len)
		return;
	from->owner = NULL;
	c->stalled = NULL;
	if (c->ending)
		drop(c);
	else
		(void)watch(c, EV_READ);
}

/* What lies unread when a socket is closed makes the kernel reset the connection, which may cost the peer its
 * answer. */
static void
discard(const struct client *c)
{
	struct rateserve *s = c->serve;

	for (int i = 0; i < DISCARDS_MAX && recv(c->fd, s->in, sizeof(s->in), 0) > 0; i++)
		;
}

static void
send_answers(struct client *c, size_t len)
{
	struct rateserve *s = c->serve;
	ssize_t n = len > 0 ? send_some(c, s->out, len) : 0;

	if (n < 0)
		drop_bad(c);
	else if ((size_t)n < len)
		stall(c, s->out + n, len - (size_t)n);
	else if (c->ending)
		drop(c);
}

/* --- questions ------------------------------------------------------------------------------- */

/* Whole lines of `in`, until there are enough, or one that is the last of its connection.  Returns how many bytes
 * they take. */
static size_t
read_batch(struct batch *b, const char *in, size_t len)
{
	size_t used = 0, n;

	b->n = 0;
	do {
		n = rateline_read(in + used, len - used, &b->line[b->n]);
		used += n;
		b->n += n > 0;
	} while (n > 0 && b->n < BATCH && b->line[b->n - 1].keep);
	return used;
}

/* rate_class_find(), but for the lengths of all names, which take a tenth of the whole question. */
static int
find_class(const struct rateserve *s, const struct rateline *l)
{
	for (unsigned i = 0; i < s->limits->n_classes; i++)
		if (s->class_len[i] == l->class_len && memcmp(s->limits->class[i].name, l->class, l->class_len) == 0)
			return (int)i;
	return -ENOENT;
}

static void
find_batch(struct rateserve *s, struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct rateline *l = &b->line[i];

		if (l->kind != RATELINE_QUESTION)
			continue;
		rate_find(s->rate, find_class(s, l), l->value, l->value_len, &b->question[i]);
	}
	for (unsigned i = 0; b->n > 1 && i < b->n; i++)
		if (b->line[i].kind == RATELINE_QUESTION && b->question[i].found == RATE_OK)
			rate_prefetch(s->rate, &b->question[i]);
}

static void
tell(const struct rateline *l, const char *answer, size_t len)
{
	if (l->kind == RATELINE_QUESTION)
		log_debug("rate", "%s%.*s %.*s: %.*s", l->peek ? "?" : "", (int)l->class_len, l->class,
			(int)l->value_len, l->value, (int)len - 2, answer);
	else
		log_debug("rate", "%.*s", (int)len - 2, answer);
}

/* Returns how many bytes of answers there are. */
static size_t
answer_batch(struct rateserve *s, struct batch *b, char *out)
{
	mono_t now = now_of(s);
	struct rate_answer a = { 0 };
	size_t len = 0;

	find_batch(s, b);
	for (unsigned i = 0; i < b->n; i++) {
		const struct rateline *l = &b->line[i];

		if (l->kind == RATELINE_QUESTION && l->peek)
			rate_peek(s->rate, &b->question[i], now, &a);
		else if (l->kind == RATELINE_QUESTION)
			rate_mark(s->rate, &b->question[i], now, &a);
		size_t n = rateline_answer(l, &a, out + len);
		if (log_wants(LOG_DEBUG))
			tell(l, out + len, n);
		len += n;
	}
	s->answered += b->n;
	return len;
}

/* All whole lines among the `len` bytes in s->in.  Returns how many bytes of answers are in s->out. */
static size_t
answer(struct client *c, size_t len)
{
	struct rateserve *s = c->serve;
	size_t used = 0, out = 0, lines = 0;
	struct batch b;

	do {
		used += read_batch(&b, s->in + used, len - used);
		out += answer_batch(s, &b, s->out + out);
		lines += b.n;
		c->ending = b.n > 0 && !b.line[b.n - 1].keep;
	} while (b.n == BATCH && !c->ending);
	size_t cost = lines + len / COST_BYTES + 1;
	s->budget -= cost < s->budget ? cost : s->budget;
	if (c->ending)
		return out;
	c->len = len - used;
	memcpy(c->part, s->in + used, c->len);
	if (lines > 0)
		stay(c);
	return out;
}

/* Read once, so that nobody keeps the others waiting.  Afterwards the client may be gone. */
static void
serve(struct client *c, size_t most)
{
	struct rateserve *s = c->serve;

	memcpy(s->in, c->part, c->len);
	ssize_t n = recv(c->fd, s->in + c->len, most, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	size_t out = answer(c, c->len + (size_t)n);
	if (c->ending && (size_t)n == most)
		discard(c);
	send_answers(c, out);
}

/* --- the turn -------------------------------------------------------------------------------- */

static void
be_late(struct client *c)
{
	static const struct timeval at_once = { 0 };
	struct rateserve *s = c->serve;

	if (!c->late) {
		c->late = true;
		TAILQ_INSERT_TAIL(&s->late, c, late_link);
	}
	(void)event_add(&s->more, &at_once); /* a timer, not event_active(): that would run in this turn still */
}

/* A new budget, and first those that were late. */
static void
begin_turn(struct rateserve *s)
{
	struct client *c;

	if (s->turn_number == s->turn->number)
		return;
	s->turn_number = s->turn->number;
	s->budget = RATESERVE_A_TURN;
	while (s->budget > 0 && (c = TAILQ_FIRST(&s->late)) != NULL) {
		TAILQ_REMOVE(&s->late, c, late_link);
		c->late = false;
		serve(c, READ_MAX);
	}
	if ((c = TAILQ_FIRST(&s->late)) != NULL)
		be_late(c);
}

static void
on_more(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	begin_turn(arg);
}

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	struct rateserve *s = c->serve;
	bool was_late = c->late;

	(void)what;
	begin_turn(s);
	if (was_late || c->fd != fd) /* served just now, or gone */
		return;
	if (c->stalled != NULL)
		flush(c);
	else if (s->budget > 0)
		serve(c, READ_MAX);
	else
		be_late(c);
}

/* All that wait first, then the question of each: meanwhile the last of them comes to write his. */
static void
on_ready(struct port *p, void *arg)
{
	struct rateserve *s = arg;
	struct client *came[ACCEPT_BATCH];
	unsigned n = 0;
	int fd = 0;

	begin_turn(s);
	while (n < countof(came) && (fd = port_accept(p, NULL)) >= 0)
		came[n++] = take_place(s, fd);
	for (unsigned i = 0; i < n; i++) {
		serve(came[i], READ_FIRST_MAX);
		if (came[i]->fd >= 0 && !came[i]->watched)
			(void)watch(came[i], EV_READ);
	}
	while (s->open > s->most && drop_oldest(s))
		;
	if (fd == -EMFILE && !drop_oldest(s))
		port_pause(p);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval again = { .tv_usec = SWEEP_MS * 1000 };
	struct rateserve *s = arg;
	struct client *c;
	mono_t now = now_of(s);

	(void)fd;
	(void)what;
	while ((c = TAILQ_FIRST(&s->fresh)) != NULL && mono_since(c->since, now) >= RATESERVE_DEADLINE_MS)
		drop_bad(c);
	while ((c = TAILQ_FIRST(&s->kept)) != NULL && mono_since(c->since, now) >= RATESERVE_IDLE_MS)
		drop_bad(c);
	if (s->open > 0)
		(void)event_add(&s->sweep, &again);
}

/* --- start and end --------------------------------------------------------------------------- */

/* As many as the descriptors that we may have allow. */
static unsigned
places(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return CLIENTS_MIN;
	if (files.rlim_cur >= 2 * (RATESERVE_CLIENTS + FILES_SPARE))
		return RATESERVE_CLIENTS;
	if (files.rlim_cur < 2 * (CLIENTS_MIN + FILES_SPARE))
		return CLIENTS_MIN;
	return (unsigned)files.rlim_cur / 2 - FILES_SPARE;
}

static void
init(struct rateserve *s, struct event_base *base)
{
	TAILQ_INIT(&s->unused);
	TAILQ_INIT(&s->fresh);
	TAILQ_INIT(&s->kept);
	TAILQ_INIT(&s->late);
	for (size_t i = 0; i < countof(s->client); i++) {
		s->client[i].serve = s;
		s->client[i].fd = -1;
		TAILQ_INSERT_TAIL(&s->unused, &s->client[i], link);
	}
	s->turn_number = s->turn->number - 1;
	s->most = places();
	(void)evtimer_assign(&s->sweep, base, on_sweep, s);
	(void)evtimer_assign(&s->more, base, on_more, s);
}

int
rateserve_new(struct event_base *base, struct turn *turn, const char *dir, const struct config_settings *settings,
	struct rate *rate, struct rateserve **ret, struct err *why)
{
	struct rateserve *s = calloc(1, sizeof(*s));
	char path[CFG_STRING_MAX + 32];

	if (s == NULL)
		return err_sys(why, -ENOMEM, "rate socket");
	s->turn = turn;
	s->limits = &no_limits;
	s->rate = rate;
	init(s, base);
	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_RATE_SOCKET, dir);
	int r = ask_bind(path, SOCK_STREAM, why);
	if (r >= 0 && (r = port_take(&s->local, base, "rate", r, on_ready, s)) < 0)
		(void)err_sys(why, r, "%s: cannot be listened on", path);
	if (r == 0 && settings->port != 0) {
		r = port_tcp(&s->tcp, base, "rate", settings->address, (uint16_t)settings->port,
			on_ready, s);
		if (r < 0)
			(void)err_sys(why, r, "%s:%lld", settings->address, (long long)settings->port);
	}
	if (r < 0) {
		rateserve_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void
rateserve_configure(struct rateserve *s, const struct rate_cfg *limits)
{
	s->limits = limits;
	for (unsigned i = 0; i < limits->n_classes; i++)
		s->class_len[i] = (uint8_t)strlen(limits->class[i].name);
}

void
rateserve_free(struct rateserve *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < countof(s->client); i++)
		if (s->client[i].fd >= 0)
			drop(&s->client[i]);
	port_done(&s->local);
	port_done(&s->tcp);
	(void)event_del(&s->sweep);
	(void)event_del(&s->more);
	free(s);
}

uint64_t
rateserve_answered(const struct rateserve *s)
{
	return s->answered;
}

json_t *
rateserve_describe(const struct rateserve *s)
{
	return json_pack("{s:i, s:I, s:I}", "clients", (int)s->open, "answered", (json_int_t)s->answered,
		"dropped", (json_int_t)s->dropped);
}
