/* SPDX-License-Identifier: ISC */
/*
 * journal - the engine's line to the recorder, which never makes it wait
 *
 * Messages that the socket does not take at once wait in a queue of JOURNAL_QUEUE; what does not fit there is dropped
 * and counted: history is worth less than mail.
 */
#ifndef CONTROLLER_JOURNAL_H
#define CONTROLLER_JOURNAL_H

#include <event2/event.h>
#include <jansson.h>

#include "controller/recorder.h"

#define JOURNAL_QUEUE 512
#define JOURNAL_LINES (1 << 20) /* bytes: a slow disk of some seconds */
#define JOURNAL_LINES_MS 100

struct journal;

/* Called when a message with an id is durable (`ok`), or can't be (`text` says why). */
typedef void journal_done(uint64_t id, bool ok, const char *text, void *arg);

/* Called with the answer to journal_ask_override(). */
typedef void journal_override(const struct store_override *o, void *arg);

/* Called for each answer to journal_ask_blocks(): a block, or an entry of the allow list, or neither: that was all. */
typedef void journal_stored(const struct store_block *b, const struct store_allow *a, void *arg);

/* Called for each answer to journal_ask_storms(): a storm, or what was sent, or neither: that was all. */
typedef void journal_storm(const struct store_storm *s, const struct store_sent *sent, void *arg);

/* `fd` stays the caller's.  Returns 0 or -ENOMEM. */
int journal_new(struct event_base *base, int fd, journal_done *done, journal_override *override,
	journal_stored *stored, void *arg, struct journal **ret);
void journal_free(struct journal *j);

/* A line for the archive, with its newline.  Lines are gathered for JOURNAL_LINES_MS; what does not fit into
 * JOURNAL_LINES bytes is dropped and counted. */
void journal_line(struct journal *j, const char *line, size_t len);

/* Say something; the answer is not waited for. */
void journal_change(struct journal *j, const struct store_change *c);
void journal_episode(struct journal *j, const struct store_episode *e);

/* All episodes but that of `id` are over, at `now` at the latest. */
void journal_end_episodes(struct journal *j, const char *id, wall_t now);
void journal_offence(struct journal *j, const struct store_offence *o);
void journal_refusal(struct journal *j, const struct store_refusal *r);
void journal_limits(struct journal *j, const struct config_store *limits);

/* Store an override.  Returns the id for `done`, or 0 when it could not even be sent. */
uint64_t journal_put_override(struct journal *j, const struct store_override *o);

/* Ask for the one that is stored. */
void journal_ask_override(struct journal *j);

/* Store a block or an entry.  With `durable` the id for `done` is returned, or 0 when it could not even be sent. */
uint64_t journal_put_block(struct journal *j, const struct store_block *b, bool durable);
uint64_t journal_put_allow(struct journal *j, const struct store_allow *a);

/* Ask for all that are stored. */
void journal_ask_blocks(struct journal *j);

/* Store a storm, as journal_put_block(); or what was sent: returns whether it is on its way. */
uint64_t journal_put_storm(struct journal *j, const struct store_storm *s, bool durable);
bool journal_put_sent(struct journal *j, const struct store_sent *s);

/* Ask for all of it, with a function for the answers (and the argument of journal_new). */
void journal_ask_storms(struct journal *j, uint64_t key_id, journal_storm *each);

/* How many more messages fit. */
unsigned journal_room(const struct journal *j);

/* {"ok": ..., "text": ..., "rows": ..., "dropped": ...}.  Caller owns the reference. */
json_t *journal_describe(const struct journal *j);

#endif
