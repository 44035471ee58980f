/* SPDX-License-Identifier: ISC */
/*
 * store - the database: history, episodes, offences, refusals, blocks, the override
 *
 * The only file that knows SQLite.  The recorder writes; the command reads, read-only, beside it.  Bounded by
 * numbers of rows, not by age: a clock that jumps must not empty a history.  WAL with synchronous=FULL: what is
 * committed survives power loss, and in batches that costs nothing.
 */
#ifndef CONTROLLER_STORE_H
#define CONTROLLER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/sent.h"
#include "controller/storms.h"
#include "lib/blockset.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/ip.h"
#include "lib/reading.h"
#include "lib/smtp.h"
#include "lib/state.h"

#define STORE_FILE "spillway.db"
#define STORE_SCHEMA 4
#define STORE_SCHEMA_OLDEST 1 /* that can be read; written is the newest */
#define STORE_WHO_MAX 40
#define STORE_TEXT_MAX 200
#define STORE_READINGS_MAX 640
#define STORE_CLASS_MAX 50
#define STORE_PATTERN_MAX 80
#define STORE_NAME_MAX 160

enum store_kind {
	STORE_LEVEL, /* the level, or who decides it */
	STORE_GATE, /* closed, reopening, open */
	STORE_PIN, /* an operator's flag came or went */
	STORE_CONFIG, /* reloaded, or refused */
	STORE_SERVICE, /* started, stopped */
	STORE_STORM, /* of bounces: began, over */
};
#define STORE_KINDS 6

/* Something changed. */
struct store_change {
	wall_t at;
	enum store_kind kind;
	enum level before, after;
	char episode[EPISODE_ID_MAX];
	char reason[STORE_TEXT_MAX];
	char who[STORE_WHO_MAX];
	char readings[STORE_READINGS_MAX]; /* JSON object, or "" */
};

/* A time with the gate closed. */
struct store_episode {
	char id[EPISODE_ID_MAX];
	wall_t began, ended; /* ended.ms = 0: not yet */
	enum level peak;
	char reason[STORE_TEXT_MAX];
	uint64_t refused;
};

/* Somebody was over a limit, from the first refusal to when he had been quiet for the time of the limit. */
struct store_offence {
	char id[EPISODE_ID_MAX];
	enum check check;
	enum stage stage; /* of the first refusal, as are code, ip, helo, sender, recipient, user */
	uint16_t code;
	char class[STORE_CLASS_MAX]; /* "": connections held */
	char pattern[STORE_PATTERN_MAX];
	char value[STORE_NAME_MAX]; /* that was counted: printable, cut */
	unsigned prefix; /* of an address: its network, when that was counted; else 0 */
	int64_t n, max, window_ms; /* the newest n */
	int64_t clear_ms; /* so long after the last mark he is admitted again */
	wall_t first, last;
	wall_t ended; /* ms = 0: not yet */
	uint64_t refused;
	char ip[IP_TEXT_MAX]; /* "" unknown */
	char helo[80], sender[STORE_NAME_MAX], recipient[STORE_NAME_MAX], user[STORE_NAME_MAX]; /* printable, cut */
};

struct store_refusal {
	wall_t at;
	char episode[EPISODE_ID_MAX]; /* or the offence's id */
	enum check check;
	enum stage stage;
	uint16_t code;
	uint32_t pid;
	char ip[IP_TEXT_MAX]; /* "" unknown */
	char helo[80], sender[160], recipient[160]; /* printable, cut */
};

/* A person's word, which outlives restarts. */
struct store_override {
	bool set;
	enum level level;
	wall_t until;
	mono_t until_mono; /* of the boot `boot_id` */
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];
	int64_t remaining_ms; /* when it was stored */
	char who[STORE_WHO_MAX];
	char reason[STORE_TEXT_MAX];
};

/* A block, in force or over. */
struct store_block {
	struct ip_prefix prefix;
	enum block_kind kind;
	char id[BLOCK_ID_MAX];
	wall_t began, until;
	wall_t ended; /* ms = 0: in force */
	mono_t until_mono; /* of the boot `boot_id` */
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];
	int64_t length_ms; /* it was given */
	char who[50]; /* the rule, or the person */
	char reason[120];
	bool by_person, is_wide;
	uint32_t n, max, step, times;
};

/* An entry of the allow list that a person has added, or taken away. */
struct store_allow {
	bool set;
	char entry[120];
	char who[STORE_WHO_MAX];
};

/* A storm of bounces. */
struct store_storm {
	char id[EPISODE_ID_MAX];
	char name[STORE_NAME_MAX]; /* of the address or domain: printable, cut */
	char raw[STORMS_NAME_MAX]; /* the same as it came */
	bool is_domain;
	wall_t began, last;
	mono_t last_mono; /* of the boot `boot` */
	uint64_t boot; /* marks_boot() */
	wall_t ended; /* ms = 0: not yet */
	uint64_t counted, expected, retried, deferred, refused; /* as in storms_record */
};

/* Some of what our addresses sent, each as it was at the time. */
#define STORE_SENT_ROWS 24
struct store_sent {
	uint64_t key_id; /* stands for the key that the rows were made with */
	unsigned n;
	struct {
		struct sent_row row;
		uint64_t boot; /* marks_boot() */
		mono_t mono;
		wall_t wall;
	} at[STORE_SENT_ROWS];
};

struct store;

/* --- writing --- */

/* Open or create DIR/spillway.db.  A damaged file is renamed to spillway.db.corrupt-SECONDS and a new one
 * begun, which is told in `note` (NULL allowed).  A newer schema is left alone: -EPROTO.  Returns 0 or -Exxx
 * with the reason. */
int store_open(const char *dir, struct store **ret, struct err *note, struct err *why);
void store_close(struct store *s); /* NULL is allowed */

/* Is the open file still the one at its path? */
bool store_is_in_place(const struct store *s);

/* All return 0; -EAGAIN (locked by somebody: try again, nothing was written); -EUCLEAN (damaged: close and open again);
 * or -EIO, -ENOSPC.  Between begin and commit; after an error, store_rollback(). */
int store_begin(struct store *s, struct err *why);
int store_commit(struct store *s, struct err *why);
void store_rollback(struct store *s);
int store_add_change(struct store *s, const struct store_change *c, struct err *why);
int store_put_episode(struct store *s, const struct store_episode *e, struct err *why);

/* End all episodes but that of `id` which have not ended: whoever was to do that was killed. */
int store_end_episodes(struct store *s, const char *id, wall_t ended, struct err *why);
int store_put_offence(struct store *s, const struct store_offence *o, struct err *why);
int store_add_refusal(struct store *s, const struct store_refusal *r, struct err *why);
int store_put_override(struct store *s, const struct store_override *o, struct err *why);
int store_get_override(struct store *s, struct store_override *ret, struct err *why);
int store_put_block(struct store *s, const struct store_block *b, struct err *why);
int store_put_allow(struct store *s, const struct store_allow *a, struct err *why);

int store_put_storm(struct store *s, const struct store_storm *storm, struct err *why);
int store_put_sent(struct store *s, const struct store_sent *sent, struct err *why);

/* Delete what is too much: of storms that are over, and of rows of mail sent, the ones longest ago; at most a
 * thousand. */
int store_trim_storms(struct store *s, int64_t storms, int64_t sent, struct err *why);

/* Delete all but `rows` blocks, of those that are over the ones longest ago, at most a thousand at a time. */
int store_trim_blocks(struct store *s, int64_t rows, struct err *why);

/* Delete all but the newest rows, at most a thousand of each at a time. */
int store_trim(struct store *s, int64_t changes, int64_t refusals, int64_t offences, struct err *why);

/* --- reading --- */

/* Open an existing database for reading.  -ENOENT: there is none. */
int store_open_readonly(const char *dir, struct store **ret, struct err *why);

/* Call `each` for what happened at or after `since`, oldest first; it returns false to stop. */
int store_history(struct store *s, wall_t since, bool (*each)(const struct store_change *c, void *arg),
	void *arg, struct err *why);

/* -ENOENT: no such episode. */
int store_find_episode(struct store *s, const char *id, struct store_episode *ret, struct err *why);

/* The newest `max` offences: that of an id (`id` not NULL), or those of an address or a user (`who` not NULL). */
int store_offences(struct store *s, const char *id, const char *who, int max,
	bool (*each)(const struct store_offence *o, void *arg), void *arg, struct err *why);

/* The newest `max` refusals of an episode or offence (`episode` not NULL) or an address (`ip` not NULL). */
int store_refusals(struct store *s, const char *episode, const char *ip, int max,
	bool (*each)(const struct store_refusal *r, void *arg), void *arg, struct err *why);

/* Blocks in the order of their prefixes, from behind `after` on ("": from the first): to go through them in pieces. */
int store_blocks(struct store *s, const char *after, bool (*each)(const struct store_block *b, void *arg), void *arg,
	struct err *why);

/* That of an id (`id` not NULL), or those whose prefix contains `ip`; -ENOENT is not told. */
int store_find_blocks(struct store *s, const char *id, const struct ip *ip,
	bool (*each)(const struct store_block *b, void *arg), void *arg, struct err *why);

/* Storms that are not over, by id, from behind `after` on. */
int store_storms(struct store *s, const char *after, bool (*each)(const struct store_storm *storm, void *arg),
	void *arg, struct err *why);

/* That of an id (`id` not NULL), or the newest `max` of an address, in printable form, and of its domain. */
int store_find_storms(struct store *s, const char *id, const char *name, int max,
	bool (*each)(const struct store_storm *storm, void *arg), void *arg, struct err *why);

/* The next rows of mail sent that were made with that key, as many as `ret` takes, by their own key, from behind
 * `after` on.  ret->n is 0 after the last. */
int store_sent(struct store *s, uint64_t key_id, int64_t after, struct store_sent *ret, struct err *why);

int store_allows(struct store *s, bool (*each)(const struct store_allow *a, void *arg), void *arg, struct err *why);

const char *store_kind_name(enum store_kind kind);

#endif
