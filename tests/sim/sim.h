/* SPDX-License-Identifier: ISC */
/*
 * sim - simulated days: a mail server under load, with a controller before it
 *
 * A fluid model in steps of 10 ms.  Strangers and users offer messages at rates that a script sets; what the gate lets in goes to
 * todo, is preprocessed, waits for delivery, leaves.  The server's capacity is the rate at which it delivers; in the
 * shape SHAPE_TODO the backlog waits in todo, in SHAPE_MESS behind it.  The controller is ours (readings.c and decide.c, fed as the
 * engine feeds them, ten times a second), or the cron line that it replaces.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>

enum sim_shape {
	SHAPE_TODO,
	SHAPE_MESS,
};

/* From `at` on (seconds), strangers and users offer so many messages a second, the server carries `capacity`, the probe sees
 * or does not. */
struct sim_phase {
	double at, strangers, users, capacity;
	bool blind;
};

/* Between two moments strangers offer `high` and `low` messages a second in turn, for `half` seconds each. */
struct sim_swing {
	double from, to, half, high, low;
};

struct sim_day {
	const char *name, *story;
	enum sim_shape shape;
	double length; /* seconds */
	struct sim_phase phase[12];
	struct sim_swing swing;
	size_t phases;
	double bulk; /* messages that a stranger brings in one session, and a refusal turns away; 0: one */
	unsigned floods; /* how often it floods */
};

/* What came of a day. */
struct sim_result {
	double to_protect; /* from crossing the threshold (100 in todo, or growth of 100/s) to the closed gate, mean over
	                    * floods; a flood that ends before counts to its end */
	double peak; /* most messages in the queue */
	double peak_todo;
	double closed_after; /* longest time closed after load and queue were back, seconds */
	unsigned edges; /* changes of the gate */
	double refused, admitted; /* strangers' messages */
	double users_refused; /* must be 0 */
	double longest_wait; /* of a user's message, seconds, by the backlog before it */
};

/* The days of `make bench-sim`. */
extern const struct sim_day sim_days[];
extern const size_t sim_days_count;

/* Run a day under our controller, with the default configuration. */
struct sim_result sim_run(const struct sim_day *day);

/* Run it under cron: every minute, at second `phase` (0..59), touch above 100, else rm; qmail-qstat prints
 * nothing while the probe is blind, and the line then removes the flag. */
struct sim_result sim_run_cron(const struct sim_day *day, int phase);

#endif
