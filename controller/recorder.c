/* SPDX-License-Identifier: ISC */
#include "controller/recorder.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/archive.h"
#include "controller/log.h"
#include "controller/recorder_marks.h"
#include "controller/recorder_storms.h"
#include "lib/array.h"

#define BATCH_MS 100
#define RETRY_MS 1000 /* after a failed open or write */
#define LOCK_RETRY_MS 200 /* somebody else holds the lock */
#define STATUS_MS 5000
#define FLUSH_MARKS_MS 400
#define TRIM_MS 10000
#define STORMS_KEPT 10000 /* rows */

struct recorder {
	const char *dir;
	struct config_store limits;
	int64_t sent_max; /* rows of mail sent */
	int engine;
	struct store *store; /* NULL: can't be opened */
	struct recorder_message *backlog; /* RECORDER_BACKLOG */
	size_t n;
	uint64_t rows, dropped;
	struct {
		uint64_t id; /* of the question that is being answered, 0: none */
		char after[IP_PREFIX_TEXT_MAX]; /* the prefix of the last block that was told */
		bool allows_told, full; /* the socket took no more */
	} blocks;
	struct recorder_storms storms;
	uint64_t asked; /* id of a question for the override that could not be answered yet, 0: none */
	mono_t next_write, next_status, next_trim;
	char trouble[STORE_TEXT_MAX]; /* "" when all is well */
	char note[STORE_TEXT_MAX]; /* what was set aside */
	struct log_memory memory;
	struct recorder_marks marks;
	struct archive archive;
	struct log_memory archive_memory;
};

/* Set by the handler only. */
static volatile sig_atomic_t stopping;

static void
on_term(int sig)
{
	(void)sig;
	stopping = 1;
}

static void
answer(const struct recorder *r, const struct recorder_answer *a)
{
	/* An engine that does not listen asks again, or does without. */
	(void)send(r->engine, a, sizeof(*a), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
answer_id(const struct recorder *r, enum recorder_answer_kind kind, uint64_t id)
{
	struct recorder_answer a = { .kind = kind, .id = id };

	(void)snprintf(a.text, sizeof(a.text), "%s", r->trouble);
	if (id != 0)
		answer(r, &a);
}

static void
tell_status(struct recorder *r, mono_t now)
{
	struct recorder_answer a = {
		.kind = ANSWER_STATUS, .ok = r->trouble[0] == '\0', .rows = r->rows, .dropped = r->dropped,
	};

	(void)snprintf(a.text, sizeof(a.text), "%s", a.ok ? r->note : r->trouble);
	answer(r, &a);
	r->next_status = mono_after(now, STATUS_MS);
}

/* Remember and tell that something is wrong (or "" that it is not any more). */
static void
set_trouble(struct recorder *r, const char *text, mono_t now)
{
	if (strncmp(r->trouble, text, sizeof(r->trouble) - 1) == 0)
		return;
	(void)snprintf(r->trouble, sizeof(r->trouble), "%.199s", text);
	(void)log_edge(&r->memory, LOG_ERROR, "recorder", text);
	tell_status(r, now);
}

/* --- the backlog ----------------------------------------------------------------------------- */

/* What can't be kept any longer is refused or dropped, oldest first. */
static void
drop_backlog(struct recorder *r)
{
	for (size_t i = 0; i < r->n; i++)
		answer_id(r, ANSWER_FAILED, r->backlog[i].id);
	r->dropped += r->n;
	r->n = 0;
}

/* The newest word: one that is still to be written, else the one in the database. */
static bool
find_override(struct recorder *r, struct store_override *ret)
{
	struct err why;

	for (size_t i = r->n; i > 0; i--) {
		if (r->backlog[i - 1].kind == RECORD_OVERRIDE) {
			*ret = r->backlog[i - 1].u.override;
			return true;
		}
	}
	return r->store != NULL && store_get_override(r->store, ret, &why) == 0;
}

/* An engine asks once, at its start: while the database can't be read the question waits, or what a person had said
 * would be forgotten. */
static void
answer_override(struct recorder *r)
{
	struct recorder_answer a = { .kind = ANSWER_OVERRIDE, .id = r->asked };

	if (r->asked == 0 || !find_override(r, &a.override))
		return;
	answer(r, &a);
	r->asked = 0;
}

/* --- all blocks ------------------------------------------------------------------------------ */

static void
begin_blocks(struct recorder *r, uint64_t id)
{
	r->blocks.id = id;
	r->blocks.after[0] = '\0';
	r->blocks.allows_told = false;
}

/* What is in the backlog is newer than what is in the database, and told by the one who asks: so it is written
 * first. */
static bool
may_tell_blocks(const struct recorder *r)
{
	return r->blocks.id != 0 && r->store != NULL && r->n == 0;
}

static bool
may_tell_storms(const struct recorder *r)
{
	return r->storms.id != 0 && r->store != NULL && r->n == 0;
}

static bool
send_block(const struct store_block *b, void *arg)
{
	struct recorder *r = arg;
	struct recorder_answer a = { .kind = ANSWER_BLOCK, .id = r->blocks.id, .block = *b };

	r->blocks.full = send(r->engine, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
	if (r->blocks.full)
		return false;
	ip_prefix_format(&b->prefix, r->blocks.after);
	return true;
}

static bool
send_allow(const struct store_allow *allow, void *arg)
{
	struct recorder *r = arg;
	struct recorder_answer a = { .kind = ANSWER_ALLOW, .id = r->blocks.id, .allow = *allow };

	r->blocks.allows_told = send(r->engine, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	return r->blocks.allows_told;
}

/* As many as the socket takes; the allow list first, for it says what may not be blocked.  An entry that is told
 * twice does no harm. */
static void
tell_blocks(struct recorder *r)
{
	struct recorder_answer end = { .kind = ANSWER_BLOCKS_END, .id = r->blocks.id };
	char before[IP_PREFIX_TEXT_MAX];
	struct err why;

	if (!r->blocks.allows_told) {
		r->blocks.allows_told = true;
		if (store_allows(r->store, send_allow, r, &why) < 0 || !r->blocks.allows_told)
			return;
	}
	memcpy(before, r->blocks.after, sizeof(before));
	r->blocks.full = false;
	if (store_blocks(r->store, before, send_block, r, &why) < 0 || r->blocks.full)
		return; /* what is wrong with the database shows in the next batch */
	if (send(r->engine, &end, sizeof(end), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		r->blocks.id = 0;
}

/* --- what comes in --------------------------------------------------------------------------- */

static void
take_message(struct recorder *r, const struct recorder_message *m)
{
	if (m->kind == RECORD_ASK_OVERRIDE)
		r->asked = m->id;
	else if (m->kind == RECORD_ASK_BLOCKS)
		begin_blocks(r, m->id);
	else if (m->kind == RECORD_ASK_STORMS)
		recorder_storms_begin(&r->storms, m->id, m->u.sent.key_id);
	else if (m->kind == RECORD_LIMITS)
		r->limits = m->u.limits;
	else
		r->backlog[r->n++] = *m;
}

static void
take_lines(struct recorder *r, const char *text, size_t len)
{
	struct err why = { .text = "" };

	(void)archive_write(&r->archive, text, len, r->limits.archive, &why);
	(void)log_edge(&r->archive_memory, LOG_ERROR, "recorder", why.text);
}

static void
take_messages(struct recorder *r)
{
	union {
		enum recorder_kind kind;
		struct recorder_message message;
		struct recorder_lines lines;
	} in;
	ssize_t n;

	while (r->n < RECORDER_BACKLOG && (n = recv(r->engine, &in, sizeof(in), MSG_DONTWAIT)) > 0) {
		if ((size_t)n > offsetof(struct recorder_lines, text) && in.kind == RECORD_LINES)
			take_lines(r, in.lines.text, (size_t)n - offsetof(struct recorder_lines, text));
		else if (n == sizeof(in.message))
			take_message(r, &in.message);
	}
	answer_override(r);
}

/* --- writing --------------------------------------------------------------------------------- */

static int
write_one(struct store *s, const struct recorder_message *m, struct err *why)
{
	switch (m->kind) {
	case RECORD_CHANGE:
		return store_add_change(s, &m->u.change, why);
	case RECORD_EPISODE_ROW:
		return store_put_episode(s, &m->u.episode, why);
	case RECORD_EPISODES_END:
		return store_end_episodes(s, m->u.episode.id, m->u.episode.ended, why);
	case RECORD_OFFENCE:
		return store_put_offence(s, &m->u.offence, why);
	case RECORD_REFUSAL:
		return store_add_refusal(s, &m->u.refusal, why);
	case RECORD_OVERRIDE:
		return store_put_override(s, &m->u.override, why);
	case RECORD_BLOCK:
		return store_put_block(s, &m->u.block, why);
	case RECORD_ALLOW:
		return store_put_allow(s, &m->u.allow, why);
	case RECORD_STORM:
		return store_put_storm(s, &m->u.storm, why);
	case RECORD_SENT:
		return store_put_sent(s, &m->u.sent, why);
	default:
		return 0;
	}
}

static int
write_batch(struct recorder *r, struct err *why)
{
	int e = store_begin(r->store, why);

	for (size_t i = 0; i < r->n && e == 0; i++)
		e = write_one(r->store, &r->backlog[i], why);
	if (e == 0)
		e = store_commit(r->store, why);
	if (e < 0)
		store_rollback(r->store);
	return e;
}

/* A person who waits for an answer gets it now; the message itself is kept. */
static void
refuse_waiting(struct recorder *r)
{
	for (size_t i = 0; i < r->n; i++) {
		answer_id(r, ANSWER_FAILED, r->backlog[i].id);
		r->backlog[i].id = 0;
	}
}

static void
reopen(struct recorder *r, mono_t now)
{
	struct err note, why;

	store_close(r->store);
	r->store = NULL;
	int e = store_open(r->dir, &r->store, &note, &why);
	if (e < 0) {
		r->store = NULL;
		set_trouble(r, why.text, now);
		if (e != -EAGAIN)
			refuse_waiting(r);
		r->next_write = mono_after(now, RETRY_MS);
		return;
	}
	if (note.text[0] != '\0') {
		(void)snprintf(r->note, sizeof(r->note), "%.199s", note.text);
		log_error("recorder", "%s", note.text);
	}
}

/* A failed batch is kept while there is room for it.  Who holds the lock lets it go again. */
static void
batch_failed(struct recorder *r, int e, const struct err *why, mono_t now)
{
	set_trouble(r, why->text, now);
	if (e != -EAGAIN)
		refuse_waiting(r);
	if (r->n == RECORDER_BACKLOG)
		drop_backlog(r);
	r->next_write = mono_after(now, e == -EAGAIN ? LOCK_RETRY_MS : RETRY_MS);
	if (e != -EAGAIN) {
		store_close(r->store);
		r->store = NULL; /* opened, checked, and if need be set aside at the next try */
	}
}

static void
write_backlog(struct recorder *r, mono_t now)
{
	struct err why;

	if (r->store == NULL || !store_is_in_place(r->store))
		reopen(r, now);
	if (r->store == NULL) {
		if (r->n == RECORDER_BACKLOG)
			drop_backlog(r);
		return;
	}
	int e = r->n > 0 ? write_batch(r, &why) : 0;
	if (e < 0) {
		batch_failed(r, e, &why, now);
		return;
	}
	set_trouble(r, "", now);
	for (size_t i = 0; i < r->n; i++)
		answer_id(r, ANSWER_DONE, r->backlog[i].id);
	r->rows += r->n;
	r->n = 0;
	r->next_write = mono_after(now, BATCH_MS);
	answer_override(r);
}

static void
trim(struct recorder *r, mono_t now)
{
	struct err why;

	r->next_trim = mono_after(now, TRIM_MS);
	/* A database that can't be trimmed now is trimmed later; what is wrong with it shows in the next batch. */
	if (r->store != NULL)
		(void)store_trim(r->store, r->limits.changes, r->limits.refusals, r->limits.offences, &why);
	if (r->store != NULL)
		(void)store_trim_blocks(r->store, r->limits.blocks, &why);
	if (r->store != NULL)
		(void)store_trim_storms(r->store, STORMS_KEPT, r->sent_max, &why);
}

/* --- the loop -------------------------------------------------------------------------------- */

static bool
is_urgent(const struct recorder *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->backlog[i].id != 0)
			return true;
	return false;
}

static void
turn(struct recorder *r)
{
	mono_t now = mono_now();
	int64_t wait_marks;
	struct pollfd p[2] = {
		{ .fd = r->engine, .events = (short)((r->n < RECORDER_BACKLOG ? POLLIN : 0)
			| (may_tell_blocks(r) || may_tell_storms(r) ? POLLOUT : 0)) },
		{ .fd = r->marks.fd, .events = recorder_marks_events(&r->marks, now, &wait_marks) },
	};
	bool work = r->n > 0 || r->store == NULL || r->asked != 0;
	int64_t wait = work ? mono_since(now, r->next_write) : BATCH_MS * 10;

	wait = wait < wait_marks ? wait : wait_marks;
	(void)poll(p, countof(p), wait < 0 ? 0 : wait > 1000 ? 1000 : (int)wait);
	take_messages(r);
	now = mono_now();
	if (now.ms >= r->next_write.ms && (r->n > 0 || r->store == NULL || r->asked != 0))
		write_backlog(r, now);
	else if (r->store != NULL && is_urgent(r) && r->trouble[0] == '\0')
		write_backlog(r, now);
	if (may_tell_blocks(r))
		tell_blocks(r);
	if (may_tell_storms(r))
		recorder_storms_tell(&r->storms, r->store, r->engine);
	if (now.ms >= r->next_trim.ms)
		trim(r, now);
	if (now.ms >= r->next_status.ms)
		tell_status(r, now);
	recorder_marks_turn(&r->marks, mono_now());
}

int
recorder_run(const struct config *config, int engine, int marks)
{
	const struct sigaction term = { .sa_handler = on_term };
	struct recorder r = {
		.dir = config->service.state_dir, .limits = config->store, .engine = engine,
		.sent_max = (int64_t)(config->storms.memory / SENT_ENTRY),
	};

	archive_init(&r.archive, r.dir);
	(void)sigaction(SIGTERM, &term, NULL); /* no SA_RESTART: poll() must return */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	r.backlog = calloc(RECORDER_BACKLOG, sizeof(*r.backlog));
	if (r.backlog == NULL || recorder_marks_init(&r.marks, config, marks) < 0)
		return 111;
	reopen(&r, mono_now());
	while (!stopping)
		turn(&r);
	/* What the engine said last is still on the way. */
	take_messages(&r);
	write_backlog(&r, mono_now());
	store_close(r.store);
	archive_close(&r.archive);
	recorder_marks_flush(&r.marks, FLUSH_MARKS_MS);
	recorder_marks_done(&r.marks);
	free(r.backlog);
	return 0;
}
