/* SPDX-License-Identifier: ISC */
/*
 * send - stands for qmail-send and its deliveries: drains the queue at a set rate
 *
 *	send HOME --rate N [--shape todo|mess] [--log]
 *
 * --shape todo   as ext-todo: a message leaves todo only when a delivery can begin, so a backlog
 *                sits in todo (and in mess, where every message is)
 * --shape mess   as notqmail: todo is preprocessed at five times the rate, so a backlog sits in mess
 * --rate N       messages a second, evenly; decimals allowed; 0 stops.  control/standin-rate, when
 *                it is there, is read every 200 ms and wins
 * --log          to stdout, as qmail-send
 *
 * A message is preprocessed as the real one does it: info/S/N, local/S/N and remote/S/N are made, intd
 * and todo removed; delivered: local, remote, info and mess removed.  Deliveries begin as long as one
 * of the SLOTS is free and end at the rate, so under load the status line shows full concurrency, as it
 * should.  Every delivery succeeds.  A message whose files vanish under our hands is forgotten without
 * a word.  We sleep on the trigger and look round every 200 ms in any case.  SIGTERM ends us; what was
 * preprocessed is found again by the next start.
 *
 * Exit: 0 SIGTERM; 100 usage; 111 no such home.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/text.h"
#include "tests/standin/buf.h"
#include "tests/standin/control.h"
#include "tests/standin/milli.h"
#include "tests/standin/pace.h"
#include "tests/standin/queuedir.h"

#define SLOTS 10
#define REMOTE_MAX 20 /* only printed */
#define PREPROCESS_FACTOR 5
#define LOOK_ROUND_NS INT64_C(200000000)
#define BACKLOG_MAX ((size_t)1 << 20)
#define ENVELOPE_MAX ((off_t)16 << 20)
#define RATE_MAX UINT64_C(1000000000) /* a million a second, in thousandths */

/* Message numbers, first in, first out. */
struct backlog {
	uint64_t *n;
	size_t at, len, cap;
};

struct slot {
	bool busy, remote;
	uint64_t n;
	uint64_t delivery; /* number of the one under way */
	struct buf rcpts; /* "local a@b\0remote c@d\0" */
	size_t at; /* the one under way */
};

struct send {
	bool split; /* todo and intd */
	bool fast_todo; /* --shape mess */
	bool log;
	uint64_t given_rate, rate; /* thousandths a second */
	int trigger; /* -1: none */
	struct pace preprocess, deliver;
	int64_t look_round_ns;
	struct backlog todo, ready; /* not yet preprocessed; preprocessed */
	struct buf locals; /* control/locals */
	bool has_locals; /* else all are local */
	struct slot slots[SLOTS];
	size_t first, busy; /* slots[first] began first */
	uint64_t deliveries;
};

static volatile sig_atomic_t stopping;

static void
on_signal(int sig)
{
	(void)sig;
	stopping = 1;
}

/* --- log --- */

static void
log_status(const struct send *s)
{
	unsigned remote = 0;

	if (!s->log)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		remote += s->slots[i].busy && s->slots[i].remote;
	printf("status: local %u/%d remote %u/%d\n", (unsigned)s->busy - remote, SLOTS, remote,
		REMOTE_MAX);
}

static void
log_new(const struct send *s, uint64_t n, const struct buf *envelope)
{
	char path[QUEUE_PATH_MAX];
	struct stat st = { 0 };
	const char *uid = "0", *qp = "0", *sender = "";

	if (!s->log)
		return;
	queue_path(path, "mess", true, n);
	(void)stat(path, &st);
	for (size_t i = 0; i < envelope->len; i += strlen(envelope->at + i) + 1) {
		const char *field = envelope->at + i;

		if (field[0] == 'u')
			uid = field + 1;
		else if (field[0] == 'p')
			qp = field + 1;
		else if (field[0] == 'F')
			sender = field + 1;
	}
	printf("new msg %llu\ninfo msg %llu: bytes %lld from <%s> qp %s uid %s\n",
		(unsigned long long)n, (unsigned long long)n, (long long)st.st_size, sender, qp, uid);
}

static void
log_start(const struct send *s, const struct slot *slot)
{
	if (s->log)
		printf("starting delivery %llu: msg %llu to %s\n",
			(unsigned long long)slot->delivery, (unsigned long long)slot->n,
			slot->rcpts.at + slot->at);
	log_status(s);
}

static void
log_success(const struct send *s, const struct slot *slot)
{
	const char *report = slot->rcpts.at[slot->at] == 'l'
		? "did_1+0+0/"
		: "127.0.0.1_accepted_message./Remote_host_said:_250_ok/";

	if (s->log)
		printf("delivery %llu: success: %s\n", (unsigned long long)slot->delivery, report);
}

static void
log_end(const struct send *s, uint64_t n)
{
	log_status(s);
	if (s->log)
		printf("end msg %llu\n", (unsigned long long)n);
}

/* --- the queue --- */

static void
backlog_put(struct backlog *b, uint64_t n)
{
	if (b->len == b->cap) {
		size_t cap = b->cap == 0 ? 1024 : b->cap * 2;
		uint64_t *p = reallocarray(b->n, cap, sizeof(*p));

		if (p == NULL)
			buf_die();
		b->n = p;
		b->cap = cap;
	}
	b->n[b->len++] = n;
}

static bool
backlog_take(struct backlog *b, uint64_t *ret)
{
	if (b->at == b->len) {
		b->at = b->len = 0;
		return false;
	}
	*ret = b->n[b->at++];
	if (b->at > b->cap / 2) { /* or it would grow as long as it is never empty */
		b->len -= b->at;
		memmove(b->n, b->n + b->at, b->len * sizeof(*b->n));
		b->at = 0;
	}
	return true;
}

static bool
backlog_is_empty(const struct backlog *b)
{
	return b->at == b->len;
}

static void
list_folder(const char *path, struct backlog *ret)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	uint64_t n;

	if (d == NULL)
		return;
	while (ret->len < BACKLOG_MAX && (e = readdir(d)) != NULL)
		if (num_u64(e->d_name, &n) == 0)
			backlog_put(ret, n);
	(void)closedir(d);
}

/* All message numbers in queue/DIR. */
static void
list_queue(const char *dir, bool split, struct backlog *ret)
{
	char path[QUEUE_PATH_MAX];

	for (uint64_t i = 0; i < (split ? QUEUE_SPLIT : 1); i++) {
		struct text t = text_in(path, sizeof(path));

		text_puts(&t, "queue/");
		text_puts(&t, dir);
		if (split) {
			text_putc(&t, '/');
			text_put_u64(&t, i);
		}
		list_folder(path, ret);
	}
}

/* Add a file of the queue to `ret`.  Returns false when it is gone or makes no sense. */
static bool
slurp(const char *dir, bool split, uint64_t n, struct buf *ret)
{
	char path[QUEUE_PATH_MAX];

	queue_path(path, dir, split, n);
	int fd = fd_open_regular(AT_FDCWD, path, 0, ENVELOPE_MAX);
	if (fd < 0)
		return false;
	buf_room(ret, 4096);
	ssize_t got;
	while ((got = fd_read_full(fd, ret->at + ret->len, 4096)) > 0) {
		ret->len += (size_t)got;
		buf_room(ret, 4096);
	}
	(void)close(fd); /* read only: nothing can be lost */
	return got == 0 && (ret->len == 0 || ret->at[ret->len - 1] == '\0');
}

static void
spew(const char *dir, uint64_t n, const struct buf *content)
{
	char path[QUEUE_PATH_MAX];

	if (content->len == 0)
		return;
	queue_path(path, dir, true, n);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return; /* the message will be delivered to those that could be written */
	(void)fd_write_all(fd, content->at, content->len);
	(void)close(fd);
}

static void
drop(const char *dir, bool split, uint64_t n)
{
	char path[QUEUE_PATH_MAX];

	queue_path(path, dir, split, n);
	(void)unlink(path); /* gone is gone */
}

/* --- from todo to ready --- */

static void
sort_recipients(const struct send *s, uint64_t n, const struct buf *envelope)
{
	struct buf info = { 0 }, local = { 0 }, remote = { 0 };

	for (size_t i = 0, len; i < envelope->len; i += len) {
		const char *field = envelope->at + i;

		len = strlen(field) + 1;
		if (field[0] == 'F')
			buf_put(&info, field, len);
		else if (field[0] == 'T' && s->has_locals && !control_has_domain(&s->locals, field + 1))
			buf_put(&remote, field, len);
		else if (field[0] == 'T')
			buf_put(&local, field, len);
	}
	spew("info", n, &info);
	spew("local", n, &local);
	spew("remote", n, &remote);
	buf_done(&info);
	buf_done(&local);
	buf_done(&remote);
}

/* Returns false when there was nothing to do: it vanished. */
static bool
preprocess(struct send *s, uint64_t n)
{
	struct buf envelope = { 0 };
	bool ok = slurp("todo", s->split, n, &envelope);

	if (ok) {
		log_new(s, n, &envelope);
		sort_recipients(s, n, &envelope);
		drop("intd", s->split, n);
		drop("todo", s->split, n);
		backlog_put(&s->ready, n);
	}
	buf_done(&envelope);
	return ok;
}

/* --- deliveries --- */

static void
add_recipients(const char *dir, uint64_t n, struct buf *ret)
{
	struct buf all = { 0 };

	if (slurp(dir, true, n, &all))
		for (size_t i = 0, len; i < all.len; i += len) {
			len = strlen(all.at + i) + 1;
			if (all.at[i] != 'T')
				continue;
			buf_puts(ret, dir);
			buf_putc(ret, ' ');
			buf_put(ret, all.at + i + 1, len - 1);
		}
	buf_done(&all);
}

static void
begin_recipient(struct send *s, struct slot *slot)
{
	slot->delivery = ++s->deliveries;
	slot->remote = slot->rcpts.at[slot->at] == 'r';
	log_start(s, slot);
}

static void
begin_message(struct send *s, uint64_t n)
{
	struct slot *slot = &s->slots[(s->first + s->busy) % SLOTS];

	buf_clear(&slot->rcpts);
	add_recipients("local", n, &slot->rcpts);
	add_recipients("remote", n, &slot->rcpts);
	slot->n = n;
	slot->at = 0;
	slot->busy = true;
	s->busy++;
	if (slot->rcpts.len > 0)
		begin_recipient(s, slot);
}

/* The oldest delivery succeeds; further recipients of the message follow at once. */
static void
end_message(struct send *s)
{
	struct slot *slot = &s->slots[s->first];

	while (slot->at < slot->rcpts.len) {
		log_success(s, slot);
		slot->at += strlen(slot->rcpts.at + slot->at) + 1;
		if (slot->at < slot->rcpts.len)
			begin_recipient(s, slot);
	}
	slot->busy = false;
	s->first = (s->first + 1) % SLOTS;
	s->busy--;
	drop("local", true, slot->n);
	drop("remote", true, slot->n);
	drop("info", true, slot->n);
	drop("mess", true, slot->n);
	log_end(s, slot->n);
}

/* --- the loop --- */

/* Preprocess one message if its time has come.  Returns false when there is nothing to do now. */
static bool
step_todo(struct send *s, int64_t now)
{
	uint64_t n;

	if (s->fast_todo ? !pace_is_due(&s->preprocess, now)
			 : s->rate == 0 || s->busy == SLOTS || !backlog_is_empty(&s->ready))
		return false;
	if (!backlog_take(&s->todo, &n))
		return false;
	if (preprocess(s, n) && s->fast_todo)
		pace_take(&s->preprocess, now);
	return true;
}

static bool
step_delivery(struct send *s, int64_t now)
{
	uint64_t n;

	if (s->rate > 0 && s->busy < SLOTS && backlog_take(&s->ready, &n)) {
		begin_message(s, n);
		return true;
	}
	if (s->busy == 0 || !pace_is_due(&s->deliver, now))
		return false;
	pace_take(&s->deliver, now);
	end_message(s);
	return true;
}

static void
set_rate(struct send *s, uint64_t rate, int64_t now)
{
	s->rate = rate;
	pace_set(&s->deliver, rate, now);
	pace_set(&s->preprocess, rate * PREPROCESS_FACTOR, now);
}

static void
reread_rate(struct send *s, int64_t now)
{
	struct buf lines = { 0 };
	uint64_t rate = s->given_rate;

	if (control_lines("control/standin-rate", &lines) == 1 && lines.len > 0)
		if (milli_parse(lines.at, &rate) < 0 || rate > RATE_MAX)
			rate = s->rate; /* half-written: wait for the next look */
	buf_done(&lines);
	if (rate != s->rate)
		set_rate(s, rate, now);
}

/* When the next thing is to be done, the trigger aside. */
static int64_t
next_due(const struct send *s)
{
	int64_t due = s->look_round_ns;

	if (s->busy > 0 && pace_due(&s->deliver) < due)
		due = pace_due(&s->deliver);
	if (s->fast_todo && !backlog_is_empty(&s->todo) && pace_due(&s->preprocess) < due)
		due = pace_due(&s->preprocess);
	return due;
}

/* Sleep until something is due or the trigger is pulled.  Returns whether it was pulled. */
static bool
wait_for_work(const struct send *s)
{
	struct pollfd f = { .fd = s->trigger, .events = POLLIN };
	int64_t ns = next_due(s) - pace_now();
	struct timespec ts = { 0 };
	char bytes[256];

	if (ns > 0)
		ts = (struct timespec) { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	/* With a backlog the trigger says nothing new: todo is read again when the list is done. */
	if (ppoll(&f, backlog_is_empty(&s->todo) ? 1 : 0, &ts, NULL) <= 0)
		return false;
	return read(s->trigger, bytes, sizeof(bytes)) > 0;
}

static void
run(struct send *s)
{
	bool look = true;

	while (!stopping) {
		int64_t now = pace_now();

		if (now >= s->look_round_ns) {
			reread_rate(s, now);
			s->look_round_ns = now + LOOK_ROUND_NS;
			look = true;
		}
		if (look && backlog_is_empty(&s->todo)) {
			list_queue("todo", s->split, &s->todo);
			look = false;
		}
		bool any = false;
		while (!stopping && (step_todo(s, now) || step_delivery(s, now)))
			any = true;
		if (any && backlog_is_empty(&s->todo))
			look = true;
		(void)fflush(stdout);
		if (wait_for_work(s))
			look = true;
	}
}

static int
usage(void)
{
	fputs("usage: send HOME --rate N [--shape todo|mess] [--log]\n", stderr);
	return 100;
}

static bool
parse_options(int argc, char **argv, struct send *s)
{
	static const struct option longs[] = {
		{ "rate", required_argument, NULL, 'r' },
		{ "shape", required_argument, NULL, 's' },
		{ "log", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	bool has_rate = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (c == 'r' && milli_parse(optarg, &s->given_rate) == 0 && s->given_rate <= RATE_MAX)
			has_rate = true;
		else if (c == 's' && (strcmp(optarg, "todo") == 0 || strcmp(optarg, "mess") == 0))
			s->fast_todo = *optarg == 'm';
		else if (c == 'l')
			s->log = true;
		else
			return false;
	return has_rate && argc - optind == 1;
}

int
main(int argc, char **argv)
{
	struct send s = { .trigger = -1 };
	const struct sigaction stop = { .sa_handler = on_signal };

	if (!parse_options(argc, argv, &s))
		return usage();
	if (chdir(argv[optind]) < 0 || access("queue/mess", R_OK) < 0) {
		perror("send: not a qmail home");
		return 111;
	}
	(void)sigaction(SIGTERM, &stop, NULL);
	(void)sigaction(SIGINT, &stop, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	s.split = queue_todo_is_split();
	s.has_locals = control_lines("control/locals", &s.locals) == 1;
	/* Read-write, so that it does not look closed while nobody pulls. */
	s.trigger = open(QUEUE_TRIGGER, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	set_rate(&s, s.given_rate, pace_now());
	list_queue("info", true, &s.ready);
	log_status(&s);
	run(&s);
	if (s.log)
		printf("status: exiting\n");
	free(s.todo.n);
	free(s.ready.n);
	buf_done(&s.locals);
	for (size_t i = 0; i < SLOTS; i++)
		buf_done(&s.slots[i].rcpts);
	return fflush(stdout) == 0 ? 0 : 111;
}
