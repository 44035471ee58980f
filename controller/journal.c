/* SPDX-License-Identifier: ISC */
#include "controller/journal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "controller/log.h"

struct journal {
	int fd;
	struct event *readable, *writable;
	struct recorder_message queue[JOURNAL_QUEUE];
	unsigned first, n;
	uint64_t next_id, dropped;
	char *lines; /* JOURNAL_LINES bytes */
	size_t lines_len;
	struct event *lines_due;
	uint64_t blocks_asked; /* id of the question for all blocks */
	uint64_t storms_asked;
	journal_storm *storm;
	journal_done *done;
	journal_override *override;
	journal_stored *stored;
	void *arg;
	struct recorder_answer status; /* the recorder's last */
	bool heard;
};

static bool
send_one(const struct journal *j, const struct recorder_message *m)
{
	return send(j->fd, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*m);
}

/* Send what fits into one message, cut behind a line.  Returns whether the socket took it. */
static bool
send_lines(struct journal *j)
{
	static struct recorder_lines m = { .kind = RECORD_LINES };
	size_t len = j->lines_len < sizeof(m.text) ? j->lines_len : sizeof(m.text);

	while (len > 0 && j->lines[len - 1] != '\n')
		len--;
	memcpy(m.text, j->lines, len);
	if (send(j->fd, &m, offsetof(struct recorder_lines, text) + len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return false;
	j->lines_len -= len;
	memmove(j->lines, j->lines + len, j->lines_len);
	return true;
}

static void
on_lines_due(evutil_socket_t fd, short what, void *arg)
{
	struct journal *j = arg;

	(void)fd;
	(void)what;
	(void)event_add(j->writable, NULL);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct journal *j = arg;

	(void)fd;
	(void)what;
	while (j->n > 0 && send_one(j, &j->queue[j->first])) {
		j->first = (j->first + 1) % JOURNAL_QUEUE;
		j->n--;
	}
	while (j->n == 0 && j->lines_len > 0 && send_lines(j))
		continue;
	if (j->n > 0 || j->lines_len > 0)
		(void)event_add(j->writable, NULL); /* fails only for want of memory; the next message tries again */
}

/* Returns whether it is on its way. */
static bool
say(struct journal *j, const struct recorder_message *m)
{
	if (j->n == 0 && send_one(j, m))
		return true;
	if (j->n == JOURNAL_QUEUE) {
		j->dropped++;
		return false;
	}
	j->queue[(j->first + j->n++) % JOURNAL_QUEUE] = *m;
	(void)event_add(j->writable, NULL);
	return true;
}

static void
hear(struct journal *j, const struct recorder_answer *a)
{
	switch (a->kind) {
	case ANSWER_DONE:
	case ANSWER_FAILED:
		j->done(a->id, a->kind == ANSWER_DONE, a->text, j->arg);
		break;
	case ANSWER_OVERRIDE:
		j->override(&a->override, j->arg);
		break;
	case ANSWER_BLOCK:
		j->stored(&a->block, NULL, j->arg);
		break;
	case ANSWER_ALLOW:
		j->stored(NULL, &a->allow, j->arg);
		break;
	case ANSWER_BLOCKS_END:
		if (a->id == j->blocks_asked)
			j->stored(NULL, NULL, j->arg);
		break;
	case ANSWER_STORM:
	case ANSWER_SENT:
	case ANSWER_STORMS_END:
		if (a->id == j->storms_asked && j->storm != NULL)
			j->storm(a->kind == ANSWER_STORM ? &a->storm : NULL, a->kind == ANSWER_SENT ? &a->sent : NULL,
				j->arg);
		break;
	case ANSWER_STATUS:
		j->status = *a;
		j->heard = true;
		break;
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct journal *j = arg;
	struct recorder_answer a;

	(void)what;
	while (recv(fd, &a, sizeof(a), MSG_DONTWAIT) == sizeof(a))
		hear(j, &a);
}

int
journal_new(struct event_base *base, int fd, journal_done *done, journal_override *override,
	journal_stored *stored, void *arg,
	struct journal **ret)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return -ENOMEM;
	j->fd = fd;
	j->done = done;
	j->override = override;
	j->stored = stored;
	j->arg = arg;
	/* Not from 1: answers to the engine before us may still be on the way, and must not pass for answers to us. */
	j->next_id = (uint64_t)mono_now().ms << 16 | 1;
	j->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, j);
	j->writable = event_new(base, fd, EV_WRITE, on_writable, j);
	j->lines_due = event_new(base, -1, 0, on_lines_due, j);
	j->lines = malloc(JOURNAL_LINES);
	if (j->readable == NULL || j->writable == NULL || j->lines_due == NULL || j->lines == NULL
		|| event_add(j->readable, NULL) < 0) {
		journal_free(j);
		return -ENOMEM;
	}
	*ret = j;
	return 0;
}

void
journal_free(struct journal *j)
{
	if (j == NULL)
		return;
	while (j->lines != NULL && j->lines_len > 0 && send_lines(j))
		continue;
	if (j->readable != NULL)
		event_free(j->readable);
	if (j->writable != NULL)
		event_free(j->writable);
	if (j->lines_due != NULL)
		event_free(j->lines_due);
	free(j->lines);
	free(j);
}

void
journal_line(struct journal *j, const char *line, size_t len)
{
	const struct timeval due = { .tv_usec = JOURNAL_LINES_MS * 1000 };

	if (len > JOURNAL_LINES - j->lines_len) {
		j->dropped++;
		return;
	}
	if (j->lines_len == 0)
		(void)event_add(j->lines_due, &due);
	memcpy(j->lines + j->lines_len, line, len);
	j->lines_len += len;
}

void
journal_change(struct journal *j, const struct store_change *c)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_CHANGE, .u.change = *c });
}

void
journal_episode(struct journal *j, const struct store_episode *e)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_EPISODE_ROW, .u.episode = *e });
}

void
journal_end_episodes(struct journal *j, const char *id, wall_t now)
{
	struct recorder_message m = { .kind = RECORD_EPISODES_END, .u.episode.ended = now };

	(void)snprintf(m.u.episode.id, sizeof(m.u.episode.id), "%s", id);
	(void)say(j, &m);
}

void
journal_offence(struct journal *j, const struct store_offence *o)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_OFFENCE, .u.offence = *o });
}

void
journal_refusal(struct journal *j, const struct store_refusal *r)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_REFUSAL, .u.refusal = *r });
}

void
journal_limits(struct journal *j, const struct config_store *limits)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_LIMITS, .u.limits = *limits });
}

uint64_t
journal_put_override(struct journal *j, const struct store_override *o)
{
	uint64_t id = j->next_id++;
	const struct recorder_message m = { .kind = RECORD_OVERRIDE, .id = id, .u.override = *o };

	return say(j, &m) ? id : 0;
}

void
journal_ask_override(struct journal *j)
{
	(void)say(j, &(struct recorder_message) { .kind = RECORD_ASK_OVERRIDE, .id = j->next_id++ });
}

uint64_t
journal_put_block(struct journal *j, const struct store_block *b, bool durable)
{
	const struct recorder_message m = { .kind = RECORD_BLOCK, .id = durable ? j->next_id++ : 0, .u.block = *b };

	return say(j, &m) ? m.id : 0;
}

uint64_t
journal_put_allow(struct journal *j, const struct store_allow *a)
{
	const struct recorder_message m = { .kind = RECORD_ALLOW, .id = j->next_id++, .u.allow = *a };

	return say(j, &m) ? m.id : 0;
}

void
journal_ask_blocks(struct journal *j)
{
	j->blocks_asked = j->next_id++;
	(void)say(j, &(struct recorder_message) { .kind = RECORD_ASK_BLOCKS, .id = j->blocks_asked });
}

uint64_t
journal_put_storm(struct journal *j, const struct store_storm *s, bool durable)
{
	const struct recorder_message m = { .kind = RECORD_STORM, .id = durable ? j->next_id++ : 0, .u.storm = *s };

	return say(j, &m) ? m.id : 0;
}

bool
journal_put_sent(struct journal *j, const struct store_sent *s)
{
	return say(j, &(struct recorder_message) { .kind = RECORD_SENT, .u.sent = *s });
}

void
journal_ask_storms(struct journal *j, uint64_t key_id, journal_storm *each)
{
	j->storm = each;
	j->storms_asked = j->next_id++;
	(void)say(j, &(struct recorder_message) {
		.kind = RECORD_ASK_STORMS, .id = j->storms_asked, .u.sent.key_id = key_id,
	});
}

unsigned
journal_room(const struct journal *j)
{
	return JOURNAL_QUEUE - j->n;
}

json_t *
journal_describe(const struct journal *j)
{
	const struct recorder_answer *s = &j->status;

	return json_pack("{s:b, s:s, s:I, s:I, s:I}", "ok", j->heard && s->ok,
		"text", j->heard ? s->text : "the recorder has not said anything yet",
		"rows", (json_int_t)s->rows, "dropped", (json_int_t)(s->dropped + j->dropped),
		"waiting", (json_int_t)j->n);
}
