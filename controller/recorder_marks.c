/* SPDX-License-Identifier: ISC */
#include "controller/recorder_marks.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACE_MS 250
#define REST 4 /* times as long as a batch took */
#define RETRY_MS 1000
#define LOCK_RETRY_MS 200
#define TURN_MESSAGES 8 /* of an answer */
#define LOOKS 5000 /* rows looked at for one of them: most may be out of date */
#define BYTES_PER_ROW 60 /* the least that a key costs in the engine's table */

static void
set_trouble(struct recorder_marks *m, const char *text)
{
	if (log_edge(&m->trouble, LOG_ERROR, "recorder", text))
		m->tell_trouble = true;
}

/* --- opening --------------------------------------------------------------------------------- */

static void
close_store(struct recorder_marks *m)
{
	marks_store_close(m->store);
	m->store = NULL;
}

static void
reopen(struct recorder_marks *m)
{
	struct err note, why;
	bool is_new = false;

	close_store(m);
	int r = marks_store_open(m->dir, &m->store, &is_new, &note, &why);
	if (note.text[0] != '\0')
		log_error("recorder", "%s", note.text);
	if (r < 0) {
		m->store = NULL;
		set_trouble(m, why.text);
		m->next = mono_after(m->now, r == -EAGAIN ? LOCK_RETRY_MS : RETRY_MS);
		return;
	}
	m->walk = (struct marks_walk) { 0 };
	m->knows_key = false;
	m->again = m->again || is_new;
	m->next = m->now;
}

static void
failed(struct recorder_marks *m, int r, const struct err *why)
{
	set_trouble(m, why->text);
	m->next = mono_after(m->now, r == -EAGAIN ? LOCK_RETRY_MS : RETRY_MS);
	if (r != -EAGAIN)
		close_store(m); /* opened, and if need be begun anew, at the next try */
}

/* --- writing --------------------------------------------------------------------------------- */

static void
take(struct recorder_marks *m)
{
	int r = 0;

	/* A question ends the batch: what was said before it is in the answer. */
	while (m->n < MARKS_BATCH && !m->asked && (r = marks_receive(m->fd, &m->batch[m->n])) != -EAGAIN) {
		if (r < 0)
			return; /* a message that makes no sense is passed over */
		m->asked = m->batch[m->n].kind == MARKS_ASK;
		if (m->asked || m->batch[m->n].kind == MARKS_ROWS)
			m->n++;
	}
}

static int
write_rows(struct recorder_marks *m, const struct marks_message *message, struct err *why)
{
	static uint32_t marks[RATE_DUMP_MARKS_MAX];
	struct marks_row row;
	size_t at = 0;
	int r = 0;

	while (r == 0 && marks_next(message, &at, &row, marks))
		r = marks_store_put(m->store, &row, marks, why);
	return r;
}

/* Rows of one key at a time. */
static int
use_key(struct recorder_marks *m, uint64_t key, struct err *why)
{
	int r = m->knows_key && m->key == key ? 0 : marks_store_use_key(m->store, key, why);

	m->knows_key = r == 0;
	m->key = key;
	return r;
}

static int
write_batch(struct recorder_marks *m, struct err *why)
{
	unsigned rows = 0;
	int r = marks_store_begin(m->store, why);

	for (unsigned i = 0; i < m->n && r == 0; i++) {
		r = use_key(m, m->batch[i].key, why);
		if (r == 0)
			r = write_rows(m, &m->batch[i], why); /* of a question there are none */
		rows += m->batch[i].rows;
	}
	/* Twice as many are looked at as were written: however many come, a walk ends before they have doubled. */
	for (unsigned left = 2 * rows + 100; left > 0 && r == 0; left -= left < MARKS_STEP_MAX ? left : MARKS_STEP_MAX)
		r = marks_store_trim(m->store, &m->walk, left, m->max_rows, m->boot, m->now, wall_now(), why);
	if (r == 0)
		r = marks_store_commit(m->store, why);
	if (r < 0) {
		marks_store_rollback(m->store);
		m->knows_key = false;
	}
	return r;
}

static void
begin_answer(struct recorder_marks *m, const struct marks_message *ask)
{
	m->reading = true;
	m->out_full = m->out_end = false;
	m->question = ask->question;
	m->after = ask->after;
}

static void
write_all(struct recorder_marks *m)
{
	struct err why;
	int r = write_batch(m, &why);

	if (r < 0) {
		failed(m, r, &why);
		return;
	}
	set_trouble(m, "");
	if (m->asked)
		begin_answer(m, &m->batch[m->n - 1]);
	m->n = 0;
	m->asked = false;
	int64_t took = mono_since(m->now, mono_now());
	m->next = mono_after(m->now, took * (REST + 1) > PACE_MS ? took * (REST + 1) : PACE_MS);
}

/* --- answering ------------------------------------------------------------------------------- */

static bool
put_row(const struct marks_row *row, const uint32_t *marks, void *arg)
{
	struct recorder_marks *m = arg;

	if (!marks_are_over(row, m->boot, m->now, wall_now()) && !marks_add(&m->out, row, marks))
		return false;
	m->after = row->fingerprint;
	return ++m->looks < LOOKS;
}

/* The next message of the answer. */
static void
fill(struct recorder_marks *m)
{
	bool end = false;
	struct err why;

	marks_begin(&m->out, MARKS_ROWS);
	m->out.question = m->question;
	m->looks = 0;
	int r = marks_store_read(m->store, m->after, put_row, m, &end, &why);
	if (r < 0) {
		failed(m, r, &why);
		return;
	}
	m->out_full = m->out.rows > 0;
	m->out_end = end;
}

static bool
say(const struct recorder_marks *m, enum marks_kind kind, const char *text)
{
	static struct marks_message message;
	size_t n = strlen(text) + 1;

	marks_begin(&message, kind);
	message.question = m->question;
	memcpy(message.body, text, n);
	message.len += (uint32_t)n;
	return marks_send(m->fd, &message) == 0;
}

/* All that is to be said, as far as the socket takes it. */
static void
talk(struct recorder_marks *m)
{
	if (m->again && say(m, MARKS_AGAIN, ""))
		m->again = false;
	if (m->tell_trouble && say(m, MARKS_TROUBLE, m->trouble.last))
		m->tell_trouble = false;
	for (int i = 0; i < TURN_MESSAGES && m->reading && m->store != NULL; i++) {
		if (!m->out_full && !m->out_end)
			fill(m);
		if (m->out_full) {
			if (marks_send(m->fd, &m->out) < 0)
				return;
			m->out_full = false;
		} else if (m->out_end) {
			m->reading = !say(m, MARKS_END, "");
			return;
		}
	}
}

/* --- the loop -------------------------------------------------------------------------------- */

int
recorder_marks_init(struct recorder_marks *m, const struct config *config, int fd)
{
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE] = { 0 };

	*m = (struct recorder_marks) {
		.fd = fd, .dir = config->service.state_dir,
		.max_rows = MARKS_TABLES * config->service.limits_memory / BYTES_PER_ROW,
		.again = true,
	};
	if (fd < 0)
		return 0;
	(void)clock_boot_id(boot_id); /* without it all rows are of another boot, and the wall clock counts */
	m->boot = marks_boot(boot_id);
	m->batch = calloc(MARKS_BATCH, sizeof(*m->batch));
	return m->batch != NULL ? 0 : -ENOMEM;
}

void
recorder_marks_done(struct recorder_marks *m)
{
	close_store(m);
	free(m->batch);
}

short
recorder_marks_events(const struct recorder_marks *m, mono_t now, int64_t *ret_wait_ms)
{
	bool has_word = m->again || m->tell_trouble || (m->reading && m->store != NULL);
	bool has_room = m->store != NULL && m->n < MARKS_BATCH && !m->asked;
	int64_t wait = mono_since(now, m->next);

	*ret_wait_ms = m->n == 0 && m->store != NULL ? INT64_MAX : wait > 0 ? wait : 0;
	return (short)((has_room ? POLLIN : 0) | (has_word ? POLLOUT : 0));
}

void
recorder_marks_turn(struct recorder_marks *m, mono_t now)
{
	if (m->fd < 0)
		return;
	m->now = now;
	if (now.ms >= m->next.ms && (m->store == NULL || !marks_store_is_in_place(m->store)))
		reopen(m);
	if (m->store != NULL)
		take(m);
	if (now.ms >= m->next.ms && m->store != NULL && m->n > 0)
		write_all(m);
	talk(m);
}

void
recorder_marks_flush(struct recorder_marks *m, int64_t ms)
{
	mono_t begun = mono_now();

	if (m->fd < 0)
		return;
	do {
		m->next = begun;
		recorder_marks_turn(m, mono_now());
		if (m->store != NULL)
			take(m);
	} while (m->n > 0 && m->trouble.last[0] == '\0' && mono_since(begun, mono_now()) < ms);
}
