/* SPDX-License-Identifier: ISC */
/*
 * engine_state - what the parts of the engine share
 *
 * Private to engine.c and its helpers: episode.c, evidence.c, limits.c, override.c, reload.c, commands.c.  One thread,
 * one loop; every helper changes only its own part, named after it.
 */
#ifndef CONTROLLER_ENGINE_STATE_H
#define CONTROLLER_ENGINE_STATE_H

#include <event2/event.h>
#include <jansson.h>

#include "actions/action.h"
#include "controller/admit.h"
#include "controller/ask.h"
#include "controller/asked.h"
#include "controller/blocking.h"
#include "controller/config.h"
#include "controller/config_child.h"
#include "controller/control.h"
#include "controller/decide.h"
#include "controller/held.h"
#include "controller/journal.h"
#include "controller/log.h"
#include "controller/marks.h"
#include "controller/offence.h"
#include "controller/rate.h"
#include "controller/rateserve.h"
#include "controller/readings.h"
#include "controller/shell.h"
#include "controller/rcptcheck.h"
#include "controller/storming.h"
#include "controller/turn.h"
#include "controller/watch.h"

#define OVERRIDE_MAX_MS (INT64_C(7) * 86400000)
#define OVERRIDE_DEFAULT_MS (INT64_C(30) * 60000)

/* A person's word. */
struct override {
	bool set;
	enum level level;
	mono_t until;
	wall_t until_wall; /* for people */
	char who[STORE_WHO_MAX];
	char reason[STORE_TEXT_MAX];
	bool spoken; /* a person has said something since the start: what was stored before is out of date */
	uint64_t unwritten; /* id of the message that makes it durable, 0: none is on its way */
	bool lost; /* it could not be written: once more at retry_at */
	mono_t retry_at;
	uint64_t client; /* waits for that on the control socket, 0: nobody */
	mono_t answer_by;
};

/* A time with the gate closed, by us or by an operator's flag. */
struct episode {
	bool on;
	char id[EPISODE_ID_MAX];
	uint64_t salt;
	wall_t began;
	enum level peak;
	char reason[STORE_TEXT_MAX];
	uint64_t refused, refused_written;
	mono_t next_row; /* when its numbers are stored again */
};

/* What plugins count and ask.  Nobody else marks in their table: who may, can have an address refused. */
struct limits {
	struct rate *rate;
	struct rate *clients; /* another table of the same limits, for whoever asks on rate.sock or TCP */
	struct marks *marks; /* keeps both across restarts */
	struct rate_cfg cfg[2]; /* [current] is in force */
	unsigned current;
	struct admit admit;
	struct held *held;
	struct offences *offences;
	struct asked *asked;
	uint64_t refused[CHECK_COUNT];
	mono_t next_step;
	struct {
		mono_t since;
		unsigned n;
	} rows, lines; /* about offences: to the database, to the log */
};

struct reload {
	bool running, again; /* asked for while one runs */
	struct config_child child;
	struct event *io, *timer;
	unsigned tries; /* while the file is missing */
	bool ok;
	char error[CONFIG_CHILD_ERRORS_MAX]; /* of the last one that failed */
	wall_t at;
	uint64_t client; /* waits for the result on the control socket, 0: nobody */
};

struct engine {
	struct event_base *base;
	struct turn turn;
	const char *config_path;
	struct config config;

	struct readings readings;
	struct decide_state decide;
	struct stance stance;
	bool decided; /* `stance` is valid */
	bool changed; /* something besides the readings that it was made from */
	uint64_t readings_told; /* when it was made */
	mono_t next_decide; /* at the latest */

	struct watch *watch;
	struct ask *ask;
	struct control *control;
	struct rateserve *rateserve;
	struct shell *shell;
	struct journal *journal;
	int run_dir; /* open directory */
	int keeper;

	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];
	mono_t started;
	int64_t longest_turn_ms;
	mono_t next_verbosity_told; /* may be logged again */
	uint64_t refused; /* commands refused for load since the start */
	struct config_ids told_off; /* users who wanted to change something and may not: each is logged once */
	struct override override;
	struct episode episode;
	struct {
		mono_t second;
		unsigned n;
	} details; /* of refusals are stored so many a second */
	struct limits limits;
	struct blocking *blocking;
	struct storming *storming;
	struct rcptcheck *rcptcheck;
	struct reload reload;
	wall_t closed_since; /* while the level is overloaded or more */
	struct {
		enum presence presence;
		int error;
	} flag[CFG_LIST_MAX]; /* by home, as the keeper tells */
	mono_t next_publish, next_order;
	int64_t wall_offset; /* wall less boot clock, to notice jumps */
	struct log_memory publish_memory;
	struct event *due; /* wakes the loop for what is due by itself */
	mono_t armed; /* when it will, 0: not set */
	bool stopping;
};

/* engine.c */
bool engine_is_pinned(const struct engine *e);
void engine_change(struct engine *e, enum store_kind kind, enum level before, enum level after,
	const char *reason, const char *who);

/* episode.c: begins and ends with the gate; counts and remembers refusals. */
void episode_step(struct engine *e, mono_t now);
void episode_refused(struct engine *e, const struct record *r);
void episode_resume(struct engine *e, const struct state *s);

/* evidence.c: 40 random bits as `kind` and eight letters that are not mistaken for each other when read aloud; a text
 * of a stranger, printable and cut; a single refusal on record, but not more than some a second. */
void evidence_new_id(char kind, char ret[EPISODE_ID_MAX]);
void evidence_text(const struct record_text *t, char *ret, size_t cap);
void evidence_refusal(struct engine *e, const struct record *r, enum check check, uint16_t code, const char *id);

/* limits.c: counts and answers; limits_configure() after the configuration has changed, limits_level() after the
 * level may have. */
int limits_open(struct engine *e, int marks, struct err *why); /* `marks`: of engine_setup */
void limits_close(struct engine *e); /* also after limits_open() has failed */
void limits_configure(struct engine *e);
const struct rate_cfg *limits_in_force(const struct engine *e); /* until limits_configure() */
void limits_level(struct engine *e, enum level before);
void limits_step(struct engine *e, mono_t now);
json_t *limits_describe(const struct engine *e);
asked_answer limits_answer;

/* override.c: set, expire, survive a restart. */
void override_set(struct engine *e, enum level level, int64_t for_ms, const char *who, const char *reason,
	uint64_t client);
void override_clear(struct engine *e, const char *who, const char *reason, uint64_t client);
void override_step(struct engine *e, mono_t now);
void override_stored(struct engine *e, uint64_t id, bool ok, const char *text);
void override_restore(struct engine *e, const struct store_override *o);
json_t *override_describe(struct engine *e); /* NULL when none is set */

/* reload.c: read the configuration anew, whole or not at all. */
int reload_init(struct engine *e); /* 0 or -ENOMEM */
void reload_begin(struct engine *e, uint64_t client);
void reload_done(struct engine *e);


/* commands.c: the handler for the control socket. */
control_handler commands_handle;

/* shell_commands.c: what runs on the control port for telnet; the log's verbosity by rater's numbers, 0 to 5. */
shell_run shell_commands_run;
void shell_set_verbosity(int64_t number);

#endif
