/* SPDX-License-Identifier: ISC */
/*
 * plugin - what all checks of the qmail-spp plugin share
 *
 * One executable; the name that it is run by says what it does: spillway-mail and its like run all checks that the
 * published state enables for that stage, a check's own name runs that check alone.
 *
 * Rules: it can only fail open.  Whatever happens, it exits 0 within PLUGIN_DEADLINE_MS (a tarpit sleeps after that,
 * for what the engine has granted), and prints one line or nothing: qmail-spp answers 451 to everybody when a plugin
 * crashes, and waits without limit when it hangs.  No allocation, no stdio, nothing linked but libc and lib/.  No
 * byte from a stranger in a reply; in the log only addresses and users that were printed anew.
 *
 * A check decides by what is at hand (`refuses`), or has the engine decide (`wants`).  The engine is asked once for
 * all of them, and only when none has refused by itself and its lease holds.
 *
 * To add a check: a number in lib/smtp.h, a file here with a `const struct check_ops check_NAME`, a line in
 * check_table (main.c), what the engine answers for it (controller/), a section in man/spillway-plugins.8, rows in
 * tests/e2e/plugin.sh or tests/e2e/throttle_plugin.sh.
 */
#ifndef PLUGINS_PLUGIN_H
#define PLUGINS_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/ask.h"
#include "lib/record.h"
#include "lib/smtp.h"
#include "lib/state.h"
#include "lib/text.h"

#ifdef PLUGIN_NO_HANDLERS /* a sanitizer takes its time, and the deadline would kill */
#define PLUGIN_DEADLINE_MS 10000
#define PLUGIN_ASK_MS 2000
#else
#define PLUGIN_DEADLINE_MS 200
#define PLUGIN_ASK_MS 150 /* of these, at most, until the engine has answered */
#endif
#define PLUGIN_LINE_MAX 512 /* below PIPE_BUF: one write(2) is one line */

/* What is known of the session and of the server when the checks begin. */
struct session {
	enum stage stage;
	enum client_class class;
	const char *user; /* who has authenticated; NULL when nobody has */
	bool ip_known;
	struct ip ip;
	bool can_log;
	mono_t now;
	bool state_ok; /* `state` is current: whole, of this boot, its lease not over */
	struct state state;
};

/* A question that was answered.  The connection is open. */
struct asking {
	struct record question;
	struct ask_answer answer;
	int fd;
};

struct check_ops {
	const char *name;
	enum check id;
	bool for_users; /* it looks at users who have authenticated, too; the others never see them */
	uint16_t code; /* where the connection may be closed; else it is 451 */
	const char *enhanced; /* "4.3.2", for extended texts */
	const char *text; /* without the code */
	const char *enhanced_550, *text_550; /* when the engine says 550; NULL: it does not */

	/* By what is at hand: does it refuse this session?  NULL: it can't tell by itself. */
	bool (*refuses)(const struct session *s);
	/* Shall the engine be asked about this session?  It may add to the question.  NULL: never. */
	bool (*wants)(const struct session *s, struct record *question);

	/* The engine has refused for it.  For the log: what was too much, and whose. */
	void (*describe)(const struct session *s, struct text *log);
	/* A further sentence of the reply.  NULL: none. */
	const char *(*more)(const struct session *s, const struct ask_answer *a);
	/* When all has been said.  NULL: nothing to do. */
	void (*refused)(const struct session *s, const struct ask_answer *a);
	/* Nobody has refused, and this check had wanted the engine asked.  NULL: nothing to do. */
	void (*passed)(const struct session *s, const struct asking *a);
};

extern const struct check_ops check_overload;
extern const struct check_ops check_concurrency;
extern const struct check_ops check_ipthrottle;
extern const struct check_ops check_userthrottle;
extern const struct check_ops check_rcptthrottle;
extern const struct check_ops check_tarpit;
extern const struct check_ops check_bounceshield;
extern const struct check_ops check_wrongrcpt;
extern const struct check_ops check_validrcpt;
extern const struct check_ops check_localparts;

/* --- guard.c --------------------------------------------------------------------------------- */

/* From here on nothing can hurt qmail: signals and a timer end the process with exit code 0. */
void guard_start(void);

/* It is decided: what the engine is told of, the client shall hear as well, so the end is put off for what little is
 * left to do. */
void guard_decided(void);

/* Put the end off: PLUGIN_DEADLINE_MS from `ms` milliseconds on. */
void guard_extend(uint32_t ms);

/* Is the descriptor open?  Asked before the first open(), which would take a closed number. */
bool guard_is_open(int fd);

/* --- say.c ----------------------------------------------------------------------------------- */

/* At RCPT and DATA the transaction may carry what was accepted before: the connection stays. */
enum verdict verdict_at(enum stage stage);
uint16_t code_at(const struct check_ops *c, enum stage stage);

/* For the client, and for the log.  `a` is NULL when the engine was not asked. */
void say_reply(const struct session *s, const struct check_ops *c, const struct ask_answer *a);
void say_refusal(const struct session *s, const struct check_ops *c, const struct ask_answer *a);

/* "NAME: pid N - WORDS" into the log. */
void say_note(const struct session *s, const char *name, const char *words);

void put_ip(struct text *t, const struct ip *ip);
void put_user(struct text *t, const char *user);

/* --- engine.c -------------------------------------------------------------------------------- */

/* Tell it of a refusal that was decided here.  Never waits.  Returns whether an engine is there: then it has
 * published the state, in this boot. */
bool engine_tell(const struct session *s, const struct check_ops *c);

/* One of our users is there: nothing is decided about him, but his address is treated with more care.  Never waits. */
void engine_tell_session(const struct session *s);

/* One of our users sends to somebody: a bounce may come back.  Waits only when the engine can't take it otherwise. */
void engine_tell_sent(const struct session *s);

/* Put a->question, of which what is wanted is there.  Returns whether it was answered. */
bool engine_ask(const struct session *s, struct asking *a);

#endif
