/* SPDX-License-Identifier: ISC */
#include "controller/decide.h"

#include <string.h>

#define TRUST_START 900u /* permille of what the server was seen to carry */
#define TRUST_STEP 25u
#define TRUST_MAX 1200u /* beyond 1000 it explores whether the server can do more than it has shown */
#define ADMIT_MIN 10u
#define TRICKLE 3u /* so few refusals in a whole window are no flood */
#define RELAPSES_MAX 3u
#define RELAPSE_WINDOWS 2 /* closed again within so many windows after opening: a relapse */
#define CARRIED_HALF_LIFE_MS 3600000.0

static const struct reason no_reason;

/* --- rules ----------------------------------------------------------------------------------- */

static bool
is_below(const struct decide_rule *r)
{
	return r->leave > r->enter;
}

static bool
is_beyond(const struct decide_rule *r, double v)
{
	return is_below(r) ? v <= r->enter : v >= r->enter;
}

static bool
is_back(const struct decide_rule *r, double v)
{
	return is_below(r) ? v >= r->leave : v <= r->leave;
}

static mono_t
earlier(mono_t a, mono_t b)
{
	return a.ms < b.ms ? a : b;
}

/* What the rules of one level say now. */
struct vote {
	bool known; /* at least one reading is */
	bool beyond; /* one is, however shortly */
	bool enter; /* one was for `hold` */
	bool back; /* all known are */
	struct reason why; /* of `enter` */
	struct reason waiting; /* the first that is not back */
};

static struct reason
reason_of(enum reason_kind kind, const struct decide_rule *r, double value, double limit, int64_t ms)
{
	return (struct reason) {
		.kind = kind, .id = r->id, .below = is_below(r), .value = value, .limit = limit, .for_ms = ms,
	};
}

static void
vote_rule(const struct decide_rule *r, struct decide_watch *w, const struct decide_cfg *cfg,
	struct reading_value v, mono_t now, struct vote *vote, mono_t *next)
{
	if (!v.known) {
		w->beyond = false;
		return;
	}
	vote->known = true;
	if (!is_back(r, v.value)) {
		if (vote->back)
			vote->waiting = reason_of(REASON_HOLD, r, v.value, r->leave, 0);
		vote->back = false;
	}
	if (!is_beyond(r, v.value)) {
		w->beyond = false;
		return;
	}
	vote->beyond = true;
	if (!w->beyond)
		*w = (struct decide_watch) { .beyond = true, .since = now };
	int64_t held = mono_since(w->since, now);
	if (held < cfg->hold_ms) {
		*next = earlier(*next, mono_after(w->since, cfg->hold_ms));
	} else if (!vote->enter) {
		vote->enter = true;
		vote->why = reason_of(REASON_ENTER, r, v.value, r->enter, held);
	}
}

static struct vote
vote_level(const struct decide_level *level, struct decide_level_state *ls,
	const struct decide_cfg *cfg, const struct decide_input *in, mono_t now, mono_t *next)
{
	struct vote vote = { .back = true };

	for (unsigned i = 0; i < level->n; i++)
		vote_rule(&level->rule[i], &ls->watch[i], cfg, in->value[level->rule[i].id], now, &vote,
			next);
	return vote;
}

static void
leave_level(struct decide_level_state *ls, enum reason_kind kind, int64_t ms)
{
	ls->active = false;
	ls->why = (struct reason) { .kind = kind, .for_ms = ms };
}

/* Is no reading of the level known, and has it been so for `blind`? */
static bool
is_blind(struct decide_level_state *ls, const struct vote *vote, const struct decide_cfg *cfg,
	mono_t now, mono_t *next)
{
	if (vote->known) {
		ls->blind = false;
		return false;
	}
	if (!ls->blind) {
		ls->blind = true;
		ls->blind_since = now;
	}
	if (mono_since(ls->blind_since, now) >= cfg->blind_ms)
		return true;
	*next = earlier(*next, mono_after(ls->blind_since, cfg->blind_ms));
	return false;
}

/* Enter or leave one level.  `release` is longer than configured after a relapse. */
static void
step_level(struct decide_level_state *ls, const struct vote *vote, const struct decide_cfg *cfg,
	int64_t release, mono_t now, mono_t *next)
{
	bool blind = is_blind(ls, vote, cfg, now, next);

	if (!ls->active) {
		if (vote->enter) {
			ls->active = true;
			ls->calm = false;
			ls->why = vote->why;
		}
		return;
	}
	if (blind)
		leave_level(ls, REASON_BLIND, cfg->blind_ms);
	if (!vote->known || !vote->back) {
		ls->calm = false;
		return;
	}
	if (!ls->calm) {
		ls->calm = true;
		ls->calm_since = now;
	}
	if (mono_since(ls->calm_since, now) >= release)
		leave_level(ls, REASON_LEAVE, release);
	else
		*next = earlier(*next, mono_after(ls->calm_since, release));
}

/* --- what is offered, and what fits ---------------------------------------------------------- */

static int64_t
bucket_ms(const struct decide_cfg *cfg)
{
	int64_t ms = cfg->release_ms / DECIDE_BUCKETS;

	return ms > 0 ? ms : 1;
}

/* Move the ring on to `now`, clearing what is older than the window. */
static void
offered_turn(struct decide_offered *o, const struct decide_cfg *cfg, mono_t now)
{
	int64_t bucket = now.ms / bucket_ms(cfg);
	int64_t steps = bucket - o->bucket;

	if (steps < 0 || steps > DECIDE_BUCKETS)
		steps = DECIDE_BUCKETS;
	for (int64_t i = 0; i < steps; i++) {
		int64_t at = (bucket - i) % DECIDE_BUCKETS;

		o->arrived[at] = o->refused[at] = 0;
	}
	o->bucket = bucket;
}

/* What a total has grown by; one that went back began anew. */
static uint64_t
grown(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

static void
offered_count(struct decide_offered *o, const struct decide_cfg *cfg, const struct decide_input *in,
	bool first, mono_t now)
{
	offered_turn(o, cfg, now);
	int64_t at = o->bucket % DECIDE_BUCKETS;
	if (in->arrived_known && o->arrived_known)
		o->arrived[at] += grown(o->last_arrived, in->arrived);
	if (!first)
		o->refused[at] += grown(o->last_refused, in->refused);
	o->arrived_known = in->arrived_known;
	o->last_arrived = in->arrived;
	o->last_refused = in->refused;
}

/* Means over the window, per second. */
struct load {
	uint64_t refused_count;
	double arrived, refused;
};

static struct load
offered_load(const struct decide_offered *o, const struct decide_cfg *cfg)
{
	double seconds = (double)(bucket_ms(cfg) * DECIDE_BUCKETS) / 1000;
	uint64_t arrived = 0;
	struct load l = { 0 };

	for (int i = 0; i < DECIDE_BUCKETS; i++) {
		arrived += o->arrived[i];
		l.refused_count += o->refused[i];
	}
	l.arrived = (double)arrived / seconds;
	l.refused = (double)l.refused_count / seconds;
	return l;
}

/* Messages a second for which there is room beside those that come in now. */
static double
room_for(const struct decide_gate *g, unsigned trust, double arrived)
{
	double room = g->carried * trust / 1000 - arrived;

	return room > 0 ? room : 0;
}

static void
learn_carried(struct decide_gate *g, const struct decide_input *in, int64_t passed_ms)
{
	const struct reading_value *out = &in->value[READING_DEPARTURES];

	/* A linear step is near enough to the exponential, for steps are seconds and the half-life an hour. */
	g->carried -= g->carried * (double)passed_ms * 0.693 / CARRIED_HALF_LIFE_MS;
	if (out->known && out->value > g->carried)
		g->carried = out->value;
}

/* --- the gate -------------------------------------------------------------------------------- */

static int64_t
release_after_relapses(const struct decide_gate *g, const struct decide_cfg *cfg)
{
	return cfg->release_ms << g->relapses;
}

static void
gate_close(struct decide_gate *g, const struct decide_cfg *cfg, mono_t now)
{
	bool relapse = g->reopening
		|| (g->was_opened
			&& mono_since(g->opened_at, now) < RELAPSE_WINDOWS * release_after_relapses(g, cfg));

	if (relapse) {
		if (g->relapses < RELAPSES_MAX)
			g->relapses++;
		g->carried *= 0.7; /* it was too much to hope for */
	} else if (!g->closed) {
		g->relapses = 0;
	}
	if (!g->closed)
		g->closed_at = now;
	g->closed = true;
	g->reopening = false;
	g->admit = 0;
}

static void
gate_open(struct decide_gate *g, mono_t now)
{
	g->closed = g->reopening = false;
	g->was_opened = true;
	g->opened_at = now;
}

/* The permille of strangers for whom there is room.  Those admitted now hide among the arrivals; the
 * refused are the other part of the same crowd. */
static unsigned
share_with_room(const struct decide_gate *g, const struct load *l)
{
	double refused_share = (double)(DECIDE_ADMIT_ALL - g->admit) / DECIDE_ADMIT_ALL;
	double strangers = l->refused / refused_share;
	double others = l->arrived - (strangers - l->refused);
	double share = room_for(g, g->trust, others > 0 ? others : 0) / strangers * DECIDE_ADMIT_ALL;

	if (share < ADMIT_MIN)
		return ADMIT_MIN;
	return share > DECIDE_ADMIT_ALL - 1 ? DECIDE_ADMIT_ALL - 1 : (unsigned)share;
}

static unsigned
more(unsigned admit)
{
	return admit + (admit / 4 > ADMIT_MIN ? admit / 4 : ADMIT_MIN);
}

/* One step of reopening; only called while something is refused, so the share is defined. */
static void
reopen_step(struct decide_gate *g, const struct load *l, bool calm)
{
	g->trust = !calm ? TRUST_START : g->trust + TRUST_STEP < TRUST_MAX ? g->trust + TRUST_STEP : TRUST_MAX;
	unsigned room = share_with_room(g, l);
	if (calm && more(g->admit) < room)
		g->admit = more(g->admit);
	else if (calm || room < g->admit)
		g->admit = room;
}

/* The levels are left, the gate is still closed: open it, or a part of it? */
static void
gate_release(struct decide_gate *g, const struct decide_cfg *cfg, const struct load *l,
	const struct vote *vote, mono_t now, mono_t *next)
{
	if (l->refused_count < TRICKLE || l->refused <= room_for(g, TRUST_START, l->arrived)) {
		gate_open(g, now);
		return;
	}
	int64_t pace = cfg->release_ms / 3 > 0 ? cfg->release_ms / 3 : 1;
	if (!g->reopening) {
		g->reopening = true;
		g->admit = 0;
		g->trust = TRUST_START;
		g->admit = share_with_room(g, l);
		g->next_step = mono_after(now, pace);
	} else if (now.ms >= g->next_step.ms) {
		if (vote->beyond)
			g->admit = g->admit / 2 > ADMIT_MIN ? g->admit / 2 : ADMIT_MIN;
		else
			reopen_step(g, l, vote->back);
		g->next_step = mono_after(now, pace);
	}
	*next = earlier(*next, g->next_step);
}

/* --- a step ---------------------------------------------------------------------------------- */

void
decide_reconfigure(struct decide_state *st)
{
	for (int l = LEVEL_BUSY; l < LEVEL_COUNT; l++) {
		memset(st->level[l].watch, 0, sizeof(st->level[l].watch));
		st->level[l].calm = st->level[l].blind = false;
	}
}

struct outcome {
	enum level level;
	struct reason why, waiting;
};

static enum level
highest_active(const struct decide_state *st)
{
	int l = LEVEL_CRITICAL;

	while (l > LEVEL_NORMAL && !st->level[l].active)
		l--;
	return l;
}

/* The levels are below overloaded.  Is the gate kept closed for what would come in? */
static bool
is_kept_closed(struct decide_state *st, const struct decide_cfg *cfg, const struct vote vote[],
	mono_t now, struct load *ret_load, mono_t *next)
{
	struct decide_gate *g = &st->gate;
	const struct decide_level_state *overloaded = &st->level[LEVEL_OVERLOADED];
	struct vote both = {
		.beyond = vote[LEVEL_OVERLOADED].beyond || vote[LEVEL_CRITICAL].beyond,
		.back = vote[LEVEL_OVERLOADED].back && vote[LEVEL_CRITICAL].back,
	};

	if (!g->closed)
		return false;
	*ret_load = offered_load(&st->offered, cfg);
	if (overloaded->blind && mono_since(overloaded->blind_since, now) >= cfg->blind_ms)
		gate_open(g, now);
	else
		gate_release(g, cfg, ret_load, &both, now, next);
	return g->closed;
}

static struct outcome
step_levels(struct decide_state *st, const struct decide_cfg *cfg, const struct decide_input *in,
	mono_t now, mono_t *next)
{
	struct decide_gate *g = &st->gate;
	struct vote vote[LEVEL_COUNT] = { 0 };
	enum level before = highest_active(st);
	struct load load = { 0 };

	for (int l = LEVEL_BUSY; l < LEVEL_COUNT; l++) {
		int64_t release = l >= LEVEL_OVERLOADED ? release_after_relapses(g, cfg) : cfg->release_ms;

		vote[l] = vote_level(&cfg->level[l], &st->level[l], cfg, in, now, next);
		step_level(&st->level[l], &vote[l], cfg, release, now, next);
	}
	enum level top = highest_active(st);
	if (top >= LEVEL_OVERLOADED && (!g->closed || g->reopening))
		gate_close(g, cfg, now);
	if (in->forced)
		return (struct outcome) { in->forced_level, { .kind = REASON_FORCED }, { .kind = REASON_FORCED } };
	if (top < LEVEL_OVERLOADED && is_kept_closed(st, cfg, vote, now, &load, next)) {
		struct reason offered = {
			.kind = REASON_OFFERED, .value = load.refused,
			.limit = room_for(g, TRUST_START, load.arrived),
		};
		return (struct outcome) { LEVEL_OVERLOADED, offered, offered };
	}
	if (top > LEVEL_NORMAL)
		return (struct outcome) { top, st->level[top].why, vote[top].waiting };
	if (before > LEVEL_NORMAL)
		return (struct outcome) { .why = st->level[before].why };
	return (struct outcome) {
		.why = { .kind = REASON_FITS, .value = load.refused, .limit = room_for(g, TRUST_START, load.arrived) },
	};
}

/* Publish `o` unless the dwell time of the level before is not over; a person's word does not wait. */
static void
show(struct decide_state *st, const struct decide_cfg *cfg, const struct outcome *o, bool forced,
	mono_t now, mono_t *next)
{
	if (o->level == st->shown && forced == st->shown_forced) {
		if (o->why.kind == REASON_OFFERED || st->shown_why.kind == REASON_OFFERED)
			st->shown_why = o->why; /* its numbers move on */
		return;
	}
	if (!forced && !st->shown_forced && mono_since(st->shown_since, now) < cfg->dwell_ms) {
		*next = earlier(*next, mono_after(st->shown_since, cfg->dwell_ms));
		return;
	}
	if (o->level != st->shown)
		st->shown_since = now;
	st->shown = o->level;
	st->shown_why = o->why;
	st->shown_forced = forced;
}

static void
fill(const struct decide_state *st, const struct reason *waiting, struct stance *ret)
{
	const struct decide_gate *g = &st->gate;

	ret->level = st->shown;
	ret->since = st->shown_since;
	ret->why = st->shown_why;
	ret->forced = st->shown_forced;
	ret->waiting = st->shown > LEVEL_NORMAL ? *waiting : no_reason;
	if (st->shown < LEVEL_OVERLOADED) {
		ret->gate = GATE_OPEN;
		ret->admit = DECIDE_ADMIT_ALL;
	} else if (g->reopening && !st->shown_forced) {
		ret->gate = GATE_REOPENING;
		ret->admit = g->admit;
	} else {
		ret->gate = GATE_CLOSED;
		ret->admit = 0;
	}
}

void
decide_step(struct decide_state *st, const struct decide_cfg *cfg, const struct decide_input *in,
	mono_t now, struct stance *ret)
{
	mono_t next = mono_after(now, 86400000);
	bool first = !st->started;

	if (first) {
		st->started = true;
		st->last = now;
		if (st->shown == LEVEL_NORMAL) /* the first decision waits for no dwell time */
			st->shown_since = mono_after(now, -cfg->dwell_ms);
	}
	if (now.ms < st->last.ms)
		now = st->last;
	if (mono_since(st->last, now) > DECIDE_GAP_MS)
		decide_reconfigure(st); /* nobody knows what happened meanwhile */
	learn_carried(&st->gate, in, mono_since(st->last, now));
	offered_count(&st->offered, cfg, in, first, now);
	st->last = now;

	struct outcome o = step_levels(st, cfg, in, now, &next);
	/* A gate that a person closes has the same flood before it when it is released. */
	if (in->forced && in->forced_level >= LEVEL_OVERLOADED && !st->gate.closed) {
		st->gate.closed = true;
		st->gate.closed_at = now;
	}
	show(st, cfg, &o, in->forced, now, &next);
	fill(st, &o.waiting, ret);
	ret->next = next;
}

void
decide_resume(struct decide_state *st, enum level level, mono_t now)
{
	st->shown = level;
	st->shown_since = now;
	st->shown_why = (struct reason) { .kind = REASON_RESUMED };
	if (level > LEVEL_NORMAL) {
		st->level[level].active = true;
		st->level[level].why = st->shown_why;
	}
	if (level >= LEVEL_OVERLOADED) {
		st->gate.closed = true;
		st->gate.closed_at = now;
	}
}
