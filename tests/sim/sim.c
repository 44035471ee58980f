/* SPDX-License-Identifier: ISC */
#include "tests/sim/sim.h"

#include <math.h>
#include <string.h>

#include "controller/config.h"
#include "controller/decide.h"
#include "controller/readings.h"
#include "lib/array.h"

#define STEP_MS 10
#define LOOK_MS 100 /* the engine looks so often while events come */
#define THRESHOLD 100.0 /* in todo: of the cron line, and of our default level */
#define GROWTH 100.0
#define BACK 50.0

/* --- the server ------------------------------------------------------------------------------ */

struct server {
	double todo, waiting; /* messages; `waiting` is preprocessed */
	double arrived, departed, refused; /* totals */
};

static void
serve(struct server *s, const struct sim_phase *p, const struct sim_day *day, double share, double dt)
{
	double in = (p->users + p->strangers * share) * dt, out = p->capacity * dt;
	/* notqmail preprocesses five times faster than it delivers here; the combined one takes a message out of
	 * todo when a delivery can begin. */
	double preprocess = day->shape == SHAPE_MESS ? 5 * out : out;

	s->arrived += in;
	s->refused += p->strangers * (1 - share) * dt / (day->bulk > 0 ? day->bulk : 1);
	s->todo += in;
	double moved = fmin(s->todo, preprocess);
	s->todo -= moved;
	s->waiting += moved;
	double left = fmin(s->waiting, out);
	s->waiting -= left;
	s->departed += left;
}

/* --- controllers ----------------------------------------------------------------------------- */

struct controller {
	double share; /* of strangers admitted */
	bool closed; /* the gate, as the flag shows it */

	/* ours */
	struct decide_cfg cfg;
	struct decide_state state;
	struct readings readings;
	mono_t todo_since; /* todo has not been empty since then */

	/* cron */
	bool is_cron;
	int phase;
};

static void
look_cron(struct controller *c, const struct server *s, const struct sim_phase *p, int64_t ms)
{
	if (ms % 60000 != c->phase * 1000)
		return;
	c->closed = !p->blind && floor(s->todo) > THRESHOLD;
	c->share = c->closed ? 0 : 1;
}

static void
look(struct controller *c, const struct server *s, const struct sim_phase *p, int64_t ms)
{
	mono_t now = { ms + 1000000 }, until = mono_after(now, 5000);
	struct decide_input in = { .arrived = (uint64_t)s->arrived, .refused = (uint64_t)s->refused };
	struct stance stance;

	if (ms % LOOK_MS != 0)
		return;
	if (s->todo < 1)
		c->todo_since = now;
	if (p->blind) {
		readings_forget(&c->readings, ~0u);
	} else {
		const struct { enum reading_id id; double v; } told[] = {
			{ READING_TODO, floor(s->todo) }, { READING_MESSAGES, floor(s->todo + s->waiting) },
			{ READING_TODO_AGE, (double)mono_since(c->todo_since, now) / 1000 },
			{ READING_DISK_FREE, 1e10 },
		};
		/* The age is that of the oldest message; the fluid's oldest waited as long as todo takes to drain. */
		double age = p->capacity > 0 ? s->todo / p->capacity : told[2].v;

		for (size_t i = 0; i < countof(told); i++) {
			double v = told[i].id == READING_TODO_AGE ? fmin(age, told[i].v) : told[i].v;

			readings_set(&c->readings, told[i].id,
				(struct reading_value) { .known = true, .value = v }, now, until);
		}
		readings_count_queue(&c->readings, (uint64_t)s->arrived, (uint64_t)s->departed, now, until);
		in.arrived_known = true;
	}
	readings_count_refused(&c->readings, (uint64_t)s->refused, now, until);
	for (int i = 0; i < READING_COUNT; i++)
		in.value[i] = readings_get(&c->readings, (enum reading_id)i, now);
	decide_step(&c->state, &c->cfg, &in, now, &stance);
	c->closed = stance.level >= LEVEL_OVERLOADED;
	c->share = (double)stance.admit / DECIDE_ADMIT_ALL;
}

/* --- a day ----------------------------------------------------------------------------------- */

struct score {
	struct sim_result r;
	bool protecting; /* over the threshold, gate still open */
	double crossed_at;
	double protect_sum;
	unsigned protects;
	bool was_closed;
	double well_since; /* load and queue are back since then; -1: they are not */
	double last_todo;
};

static void
keep_score(struct score *sc, const struct server *s, const struct sim_phase *p, const struct controller *c,
	double t, double dt)
{
	double queue = s->todo + s->waiting;
	double growth = p->users + p->strangers * c->share - p->capacity;
	bool over = s->todo >= THRESHOLD || (growth >= GROWTH && queue >= THRESHOLD);

	sc->r.peak = fmax(sc->r.peak, queue);
	sc->r.peak_todo = fmax(sc->r.peak_todo, s->todo);
	if (p->capacity > 0)
		sc->r.longest_wait = fmax(sc->r.longest_wait, queue / p->capacity);
	sc->r.refused += p->strangers * (1 - c->share) * dt;
	sc->r.admitted += p->strangers * c->share * dt;
	if (over && !c->closed && !sc->protecting) {
		sc->protecting = true;
		sc->crossed_at = t;
	}
	if (sc->protecting && (c->closed || (s->todo < BACK && growth < 25))) {
		sc->protecting = false;
		sc->protect_sum += t - sc->crossed_at;
		sc->protects++;
	}
	if (c->closed != sc->was_closed)
		sc->r.edges++;
	sc->was_closed = c->closed;
	bool well = p->strangers + p->users <= 0.9 * p->capacity && s->todo <= BACK && growth <= 25;
	if (!well)
		sc->well_since = -1;
	else if (sc->well_since < 0)
		sc->well_since = t;
	if (well && c->closed)
		sc->r.closed_after = fmax(sc->r.closed_after, t - sc->well_since);
}

/* The phase in force at `t`, with the swing laid over it. */
static struct sim_phase
phase_at(const struct sim_day *day, size_t i, double t)
{
	struct sim_phase p = day->phase[i];
	const struct sim_swing *w = &day->swing;

	if (w->half > 0 && t >= w->from && t < w->to)
		p.strangers = fmod(t - w->from, 2 * w->half) < w->half ? w->high : w->low;
	return p;
}

static struct sim_result
run(const struct sim_day *day, struct controller *c)
{
	struct server s = { 0 };
	struct score sc = { .well_since = -1 };
	size_t at = 0;

	c->share = 1;
	for (int64_t ms = 0; ms < (int64_t)(day->length * 1000); ms += STEP_MS) {
		double t = (double)ms / 1000;

		while (at + 1 < day->phases && day->phase[at + 1].at <= t)
			at++;
		const struct sim_phase p = phase_at(day, at, t);
		serve(&s, &p, day, c->share, STEP_MS / 1000.0);
		if (c->is_cron)
			look_cron(c, &s, &p, ms);
		else
			look(c, &s, &p, ms);
		keep_score(&sc, &s, &p, c, t, STEP_MS / 1000.0);
	}
	sc.r.to_protect = sc.protects > 0 ? sc.protect_sum / sc.protects : 0;
	return sc.r;
}

struct sim_result
sim_run(const struct sim_day *day)
{
	static struct config config;
	struct controller c = { .todo_since = { 1000000 } };

	config_defaults(&config);
	c.cfg = config.levels;
	return run(day, &c);
}

struct sim_result
sim_run_cron(const struct sim_day *day, int phase)
{
	struct controller c = { .is_cron = true, .phase = phase };

	return run(day, &c);
}

/* --- the days -------------------------------------------------------------------------------- */

#define CALM(t) { .at = (t), .strangers = 8, .users = 2, .capacity = 20 }
#define LOAD(t, s) { .at = (t), .strangers = (s), .users = 2, .capacity = 20 }
#define BIG(t, s) { .at = (t), .strangers = (s), .users = 5, .capacity = 250 }
#define DARK(t) { .at = (t), .strangers = 200, .users = 2, .capacity = 20, .blind = true }

const struct sim_day sim_days[] = {
	{
		.name = "flood", .story = "ten times the usual mail for ten minutes",
		.length = 1500, .floods = 1,
		.phase = { CALM(0), LOAD(130, 200), CALM(730) }, .phases = 3,
	},
	{
		.name = "flood-mess", .story = "the same where the backlog waits behind todo, and much more of it",
		.shape = SHAPE_MESS, .length = 1500, .floods = 1,
		.phase = { BIG(0, 50), BIG(130, 500), BIG(730, 50) }, .phases = 3,
	},
	{
		.name = "two floods", .story = "a flood, calm, another flood",
		.length = 2400, .floods = 2,
		.phase = { CALM(0), LOAD(200, 150), CALM(500), LOAD(1100, 300), CALM(1500) }, .phases = 5,
	},
	{
		.name = "slow ramp", .story = "load that grows from half to twice the capacity in half an hour, and back",
		.length = 4200, .floods = 1,
		.phase = { LOAD(0, 8), LOAD(300, 12), LOAD(600, 15), LOAD(900, 17), LOAD(1200, 20), LOAD(1500, 25),
			LOAD(1800, 30), LOAD(2100, 38), LOAD(2400, 25), LOAD(2700, 15), LOAD(3000, 8) },
		.phases = 11,
	},
	{
		.name = "oscillation",
		.story = "load that swings around the capacity, 10 s above and 10 s below, for half an hour",
		.length = 2400, .floods = 1, .phase = { CALM(0) }, .phases = 1,
		.swing = { .from = 100, .to = 1900, .half = 10, .high = 30, .low = 8 },
	},
	{
		.name = "slow swings", .story = "the same with 60 s above and 60 s below: a flood every two minutes",
		.length = 2400, .floods = 15, .phase = { CALM(0) }, .phases = 1,
		.swing = { .from = 100, .to = 1900, .half = 60, .high = 30, .low = 8 },
	},
	{
		.name = "bounce storm", .story = "some two hundred thousand bounces in two hours, in waves",
		.length = 9000, .floods = 3,
		.phase = { CALM(0), LOAD(300, 60), LOAD(1500, 12), LOAD(1800, 120), LOAD(2400, 10), LOAD(3000, 40),
			LOAD(6600, 8) },
		.phases = 7,
	},
	{
		.name = "dead probe", .story = "a flood; three times the probe sees nothing for 25 s",
		.length = 1800, .floods = 1,
		.phase = { CALM(0), LOAD(130, 200), DARK(200), LOAD(225, 200), DARK(290), LOAD(315, 200), DARK(380),
			LOAD(405, 200), CALM(500) },
		.phases = 9,
	},
	{
		.name = "blind", .story = "a flood; the probe sees nothing for five minutes of it, so the gate opens",
		.length = 6000, .floods = 2,
		.phase = { CALM(0), LOAD(130, 200), DARK(400), LOAD(700, 200), CALM(900) }, .phases = 5,
	},
	{
		.name = "bulk flood", .story = "a flood of clients that bring ten messages each: a refusal turns ten away",
		.length = 1500, .floods = 1, .bulk = 10,
		.phase = { CALM(0), LOAD(130, 200), CALM(730) }, .phases = 3,
	},
	{
		.name = "slow scanner", .story = "the usual mail, but the server carries a tenth for ten minutes",
		.length = 1800, .floods = 1,
		.phase = { LOAD(0, 10), { .at = 200, .strangers = 10, .users = 1, .capacity = 2 }, LOAD(800, 10) },
		.phases = 3,
	},
};

const size_t sim_days_count = countof(sim_days);
