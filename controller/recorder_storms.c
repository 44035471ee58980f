/* SPDX-License-Identifier: ISC */
#include "controller/recorder_storms.h"

#include <string.h>
#include <sys/socket.h>

#define TURN_MESSAGES 16

void
recorder_storms_begin(struct recorder_storms *r, uint64_t id, uint64_t key_id)
{
	*r = (struct recorder_storms) { .id = id, .key_id = key_id, .after_sent = INT64_MIN };
}

static bool
say(struct recorder_storms *r, const struct recorder_answer *a)
{
	r->full = send(r->fd, a, sizeof(*a), MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
	return !r->full;
}

static bool
tell_storm(const struct store_storm *storm, void *arg)
{
	struct recorder_storms *r = arg;
	const struct recorder_answer a = { .kind = ANSWER_STORM, .id = r->id, .storm = *storm };

	if (!say(r, &a))
		return false;
	memcpy(r->after, storm->id, sizeof(r->after));
	return true;
}

/* Returns whether that was all. */
static bool
tell_sent(struct recorder_storms *r, struct store *s)
{
	struct recorder_answer a = { .kind = ANSWER_SENT, .id = r->id };
	struct err why;

	for (int i = 0; i < TURN_MESSAGES; i++) {
		if (store_sent(s, r->key_id, r->after_sent, &a.sent, &why) < 0)
			return false;
		if (a.sent.n == 0)
			return true;
		if (!say(r, &a))
			return false;
		r->after_sent = (int64_t)a.sent.at[a.sent.n - 1].row.key;
	}
	return false;
}

/* What is wrong with the database shows in the next batch. */
void
recorder_storms_tell(struct recorder_storms *r, struct store *s, int fd)
{
	const struct recorder_answer last = { .kind = ANSWER_STORMS_END, .id = r->id };
	char after[EPISODE_ID_MAX];
	struct err why;

	r->fd = fd;
	r->full = false;
	memcpy(after, r->after, sizeof(after));
	if (!r->storms_told)
		r->storms_told = store_storms(s, after, tell_storm, r, &why) == 0 && !r->full;
	if (r->storms_told && tell_sent(r, s) && say(r, &last))
		r->id = 0;
}
