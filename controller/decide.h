/* SPDX-License-Identifier: ISC */
/*
 * decide - readings in, stance out: how overloaded is the server, and who may come in?
 *
 * Pure: no clock, no I/O, no allocation, no globals.  Same arguments, same result, on any machine.  All times are
 * of the caller's monotonic clock; a `now` that goes back counts as the last one.
 *
 * Levels.  Each level has rules, a rule names a reading and two water marks.  A level is entered when any of its
 * readings stays beyond `enter` for `hold`, and left when all that are known are back at `leave` for `release`
 * (enter fast, leave slow: Postfix's stretched pulse).  The stance is the highest level that is in force.
 * An unknown reading has no vote, neither to enter nor to stay; a level none of whose readings is known
 * for `blind` is left, and no gate is kept closed for its sake: without eyes we behave as if we were not there.
 *
 * The gate.  From level overloaded on, strangers are refused.  A queue that drains behind the closed gate
 * says nothing about what is outside: opened then, it would be flooded again, for ever.  So what
 * was refused counts as load that is offered, and once the levels are left the gate opens
 *  - at once, when what was offered fitted, in each part of the last `release`, into 90 % of what the server was
 *    seen to carry (departures a second, the greatest since the gate closed), or next to nothing was refused;
 *  - else step by step: a share of the strangers is admitted, as much as there is room for, more as long as the
 *    readings stay calm, half as soon as one is beyond `enter`, none when the level is back; and it
 *    opens when all has been calm for long with nearly all admitted.
 * A gate that had to be closed again soon after it was opened waits twice as long the next time, at the most
 * eight times.  Additive increase, multiplicative decrease, after Chiu and Jain, "Analysis of the increase and
 * decrease algorithms for congestion avoidance" (1989); sizing by what was served, after DAGOR (SoCC 2018).
 */
#ifndef CONTROLLER_DECIDE_H
#define CONTROLLER_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/reading.h"

#define DECIDE_ADMIT_ALL 1000 /* permille */
#define DECIDE_GAP_MS 5000 /* a longer pause between two steps starts all waiting anew */
#define DECIDE_BUCKETS 32

struct decide_rule {
	enum reading_id id;
	double enter, leave; /* leave below enter: too much is bad; above: too little is bad; never equal */
};

struct decide_level {
	unsigned n;
	struct decide_rule rule[READING_COUNT]; /* at most one for each reading */
};

struct decide_cfg {
	struct decide_level level[LEVEL_COUNT]; /* [LEVEL_NORMAL] is not used */
	int64_t hold_ms; /* >= 0 */
	int64_t release_ms; /* >= 1 */
	int64_t dwell_ms; /* the least time between two changes of the level, >= 0 */
	int64_t blind_ms; /* >= 0 */
};

struct decide_input {
	struct reading_value value[READING_COUNT];
	bool arrived_known;
	uint64_t arrived; /* messages that ever came into the queue */
	uint64_t refused; /* commands ever refused for load */
	bool forced; /* a person wants `forced_level` */
	enum level forced_level;
};

/* How long a rule's reading has been beyond its mark. */
struct decide_watch {
	bool beyond;
	mono_t since;
};

struct decide_level_state {
	bool active;
	struct reason why; /* it was entered */
	struct decide_watch watch[READING_COUNT]; /* by rule */
	bool calm;
	mono_t calm_since;
	bool blind; /* no reading known */
	mono_t blind_since;
};

/* Offered load of the last `release`, in buckets of release / DECIDE_BUCKETS. */
struct decide_offered {
	uint64_t arrived[DECIDE_BUCKETS], refused[DECIDE_BUCKETS];
	int64_t bucket; /* number of the newest */
	bool forgotten; /* to be counted anew from the next step on */
	mono_t begun; /* nothing from before this is counted */
	bool arrived_known; /* at the last step */
	uint64_t last_arrived, last_refused; /* totals at the last step */
};

struct decide_gate {
	bool closed;
	bool was_opened; /* since the start */
	bool opened_on_trial;
	mono_t opened_at;
	unsigned relapses; /* doublings of the wait */
	double carried; /* messages a second that the server was seen to carry since the gate closed */
	bool reopening;
	double bulk; /* messages that a refused command stands for, >= 1 once closed */
	double refused_before; /* commands refused a second, when the gate was opened */
	double own; /* messages a second that came in before anybody was admitted again */
	unsigned admit; /* permille of strangers while reopening */
	unsigned cap; /* permille to begin with, at most: half of what was too much the last time */
	unsigned trust; /* permille of `carried` that may be offered */
	mono_t next_step;
	bool on_trial; /* nearly all are admitted, and all is calm */
	mono_t trial_since;
};

/* In and out of each step; zeroed = never ran. */
struct decide_state {
	bool started;
	mono_t last;
	struct decide_level_state level[LEVEL_COUNT];
	struct decide_offered offered;
	struct decide_gate gate;
	enum level shown; /* the stance's */
	mono_t shown_since;
	bool changed; /* at least once */
	struct reason shown_why;
	bool shown_forced;
};

enum decide_gate_word {
	GATE_OPEN,
	GATE_CLOSED,
	GATE_REOPENING, /* a share of the strangers is admitted */
};

/* The whole desired state.  Not a difference: the caller compares. */
struct stance {
	enum level level;
	mono_t since;
	struct reason why;
	bool forced;
	enum decide_gate_word gate;
	unsigned admit; /* permille of strangers; own users are always admitted */
	struct reason waiting; /* what keeps the level; REASON_NONE when nothing does */
	mono_t next; /* step again at the latest then, though nothing changes */
};

void decide_step(struct decide_state *st, const struct decide_cfg *cfg,
	const struct decide_input *in, mono_t now, struct stance *ret);

/* The configuration has changed: rules have other places, so what was waited for is waited for anew.  Levels
 * that are in force stay until the new marks release them. */
void decide_reconfigure(struct decide_state *st);

/* Before the first step: take over a level that a state file from this boot still vouches for, so that a
 * restart of the engine does not open the gate in the middle of a flood. */
void decide_resume(struct decide_state *st, enum level level);

#endif
