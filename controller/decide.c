/* SPDX-License-Identifier: ISC */
#include "controller/decide.h"

#include <string.h>

#define TRUST_START 900u /* permille of what the server was seen to carry */
#define TRUST_STEP 25u
#define TRUST_MAX 1200u /* beyond 1000 it explores whether the server can do more than it has shown */
#define ADMIT_MIN 10u
#define TRIAL_ADMIT 950u
#define TRICKLE 3u /* so few refusals in a whole window are no flood */
#define RELAPSES_MAX 3u
#define RELAPSE_WINDOWS 2 /* closed again within so many times `release` after opening: a relapse */
#define TRIAL_WINDOWS 4 /* so many times `release` calm with nearly all admitted, and it may open */
#define TRIAL_RELAPSE_WINDOWS 10 /* a relapse after that */
#define SHOWN_MIN 0.5 /* messages a second: less is nothing */
#define UNSHOWN 20.0 /* what any server is taken to carry */
#define SPARE 1.25 /* a server that carries all without a backlog is taken to carry so many times as much */
#define BULK_MAX 20.0 /* messages that a refused command may stand for */
#define PEAK_BUCKETS (DECIDE_BUCKETS / 3)

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

static size_t
slot_of(int64_t bucket)
{
	return (size_t)((bucket % DECIDE_BUCKETS + DECIDE_BUCKETS) % DECIDE_BUCKETS);
}

/* Move the ring on to `now`, clearing what is older than the window. */
static void
offered_turn(struct decide_offered *o, const struct decide_cfg *cfg, mono_t now)
{
	int64_t bucket = now.ms / bucket_ms(cfg);
	int64_t steps = bucket - o->bucket;

	if (o->forgotten) { /* also: counted in buckets of another size */
		o->forgotten = false;
		o->begun = now;
		steps = DECIDE_BUCKETS;
	}
	if (steps > DECIDE_BUCKETS)
		steps = DECIDE_BUCKETS;
	for (int64_t i = 0; i < steps; i++) {
		size_t at = slot_of(bucket - i);

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
	size_t at = slot_of(o->bucket);
	if (in->arrived_known && o->arrived_known)
		o->arrived[at] += grown(o->last_arrived, in->arrived);
	if (!first)
		o->refused[at] += grown(o->last_refused, in->refused);
	o->arrived_known = in->arrived_known;
	o->last_arrived = in->arrived;
	o->last_refused = in->refused;
}

/* What came to the door over the window: let in or refused. */
struct load {
	bool whole; /* the window has been looked at to the full */
	uint64_t refused_count;
	double arrived, refused; /* means, per second */
	double peak; /* both together, in the worst third of the window: a lull is not yet calm */
};

static struct load
offered_load(const struct decide_offered *o, const struct decide_cfg *cfg, mono_t now)
{
	double seconds = (double)bucket_ms(cfg) * DECIDE_BUCKETS / 1000;
	uint64_t arrived = 0, third = 0, most = 0;
	struct load l = { .whole = mono_since(o->begun, now) >= cfg->release_ms };

	for (int i = 0; i < DECIDE_BUCKETS; i++) {
		size_t at = slot_of(o->bucket - i); /* from the newest back */

		arrived += o->arrived[at];
		l.refused_count += o->refused[at];
		third += o->arrived[at] + o->refused[at];
		if (i >= PEAK_BUCKETS) {
			size_t gone = slot_of(o->bucket - i + PEAK_BUCKETS);

			third -= o->arrived[gone] + o->refused[gone];
		}
		if (third > most)
			most = third;
	}
	l.arrived = (double)arrived / seconds;
	l.refused = (double)l.refused_count / seconds;
	l.peak = (double)most * DECIDE_BUCKETS / PEAK_BUCKETS / seconds;
	return l;
}

/* Messages a second that the server may be offered.  Of one that has shown nothing, as when its queue was emptied by
 * hand, the usual is believed. */
static double
room(const struct decide_gate *g, unsigned trust)
{
	return (g->carried >= SHOWN_MIN ? g->carried : UNSHOWN) * trust / 1000;
}

/* Messages a second that refused commands stand for.  One may stand for several: how many is seen from the
 * clients who are admitted, or from what came in when the gate was opened too early. */
static double
turned_away(const struct decide_gate *g, const struct load *l)
{
	double admitted = (double)g->admit / DECIDE_ADMIT_ALL;
	double messages = g->reopening ? (l->arrived - g->own) * (1 - admitted) / admitted : g->bulk * l->refused;

	if (messages < l->refused)
		return l->refused;
	return messages > BULK_MAX * l->refused ? BULK_MAX * l->refused : messages;
}

/* What would come in, in the worst third, if the gate were open. */
static double
demand(const struct decide_gate *g, const struct load *l)
{
	return l->peak + turned_away(g, l) - l->refused;
}

/* While there is a backlog, what leaves is what the server can carry.  The gate closes on a backlog, so the
 * rate of that moment is where learning begins anew; the drain behind the closed gate shows the rest.  But
 * where it closes for want of disk, the server was carrying all that came, and could do somewhat more. */
static void
carried_at_closing(struct decide_gate *g, const struct decide_input *in, bool loaded)
{
	const struct reading_value *out = &in->value[READING_DEPARTURES];

	if (out->known)
		g->carried = loaded ? out->value : out->value * SPARE;
}

static void
learn_carried(struct decide_gate *g, const struct decide_input *in)
{
	const struct reading_value *out = &in->value[READING_DEPARTURES];

	if (g->closed && out->known && out->value > g->carried)
		g->carried = out->value;
}

/* --- the gate -------------------------------------------------------------------------------- */

static int64_t
release_after_relapses(const struct decide_gate *g, const struct decide_cfg *cfg)
{
	return cfg->release_ms << g->relapses;
}

/* Was the gate opened too early? */
static bool
is_relapse(const struct decide_gate *g, const struct decide_cfg *cfg, mono_t now)
{
	int64_t windows = g->opened_on_trial ? TRIAL_RELAPSE_WINDOWS : RELAPSE_WINDOWS;

	return g->was_opened
		&& mono_since(g->opened_at, now) < windows * release_after_relapses(g, cfg);
}

/* The gate was opened, and so much came in: how many messages a command that had been refused before? */
static double
bulk_of(const struct decide_gate *g, const struct decide_input *in)
{
	const struct reading_value *arrivals = &in->value[READING_ARRIVALS];
	double bulk = arrivals->known && g->refused_before > 0 ? arrivals->value / g->refused_before : 1;

	return bulk < g->bulk ? g->bulk : bulk > BULK_MAX ? BULK_MAX : bulk;
}

static unsigned
half(unsigned admit)
{
	return admit / 2 > ADMIT_MIN ? admit / 2 : ADMIT_MIN;
}

static void
gate_close(struct decide_gate *g, const struct decide_cfg *cfg, const struct decide_input *in,
	const struct reason *why, mono_t now)
{
	if (g->reopening) {
		/* Clients may bring more than one message each: half as many of them the next time. */
		g->cap = half(g->admit);
	} else if (!g->closed) {
		bool relapse = is_relapse(g, cfg, now);

		g->cap = DECIDE_ADMIT_ALL;
		g->bulk = relapse ? bulk_of(g, in) : 1;
		if (!relapse)
			g->relapses = 0;
		else if (g->relapses < RELAPSES_MAX)
			g->relapses++;
	}
	g->closed = true;
	g->reopening = false;
	g->admit = 0;
	carried_at_closing(g, in, !why->below);
}

static void
gate_open(struct decide_gate *g, const struct load *l, bool on_trial, mono_t now)
{
	g->refused_before = l->refused;
	g->closed = g->reopening = false;
	g->was_opened = true;
	g->opened_on_trial = on_trial;
	g->opened_at = now;
}

/* The permille of strangers for whom there is room.  Those admitted now hide among the arrivals, so all that is
 * offered is taken together, less what came in while nobody was admitted. */
static unsigned
share_with_room(const struct decide_gate *g, const struct load *l)
{
	double strangers = l->arrived - g->own + turned_away(g, l);
	double share = (room(g, g->trust) - g->own) / strangers * DECIDE_ADMIT_ALL;

	if (!(share > ADMIT_MIN) || strangers <= 0)
		return ADMIT_MIN;
	return share > DECIDE_ADMIT_ALL - 1 ? DECIDE_ADMIT_ALL - 1 : (unsigned)share;
}

static unsigned
more(unsigned admit)
{
	return admit + (admit / 4 > ADMIT_MIN ? admit / 4 : ADMIT_MIN);
}

static void
reopen_begin(struct decide_gate *g, const struct load *l, mono_t now)
{
	g->own = l->arrived;
	g->trust = TRUST_START;
	g->admit = share_with_room(g, l);
	g->reopening = true;
	if (g->admit > g->cap)
		g->admit = g->cap;
	g->on_trial = false;
	g->next_step = now;
}

static void
reopen_step(struct decide_gate *g, const struct load *l, const struct vote *vote)
{
	if (vote->beyond) {
		g->trust = TRUST_START;
		g->admit = half(g->admit);
		return;
	}
	g->trust = !vote->back ? TRUST_START : g->trust + TRUST_STEP < TRUST_MAX ? g->trust + TRUST_STEP : TRUST_MAX;
	unsigned share = share_with_room(g, l);
	if (share > more(g->admit))
		share = more(g->admit);
	if (vote->back || share < g->admit)
		g->admit = share;
}

/* With nearly all strangers admitted and the readings calm for long, opening changes nothing: all that is
 * offered has been carried, whatever we thought of it. */
static bool
passes_trial(struct decide_gate *g, const struct decide_cfg *cfg, bool calm, mono_t now)
{
	bool trying = calm && g->admit >= TRIAL_ADMIT;

	if (trying && !g->on_trial)
		g->trial_since = now;
	g->on_trial = trying;
	return trying && mono_since(g->trial_since, now) >= TRIAL_WINDOWS * release_after_relapses(g, cfg);
}

/* The levels are left, the gate is still closed: open it, or a part of it? */
static void
gate_release(struct decide_gate *g, const struct decide_cfg *cfg, const struct load *l,
	const struct vote *vote, mono_t now, mono_t *next)
{
	bool fits = demand(g, l) <= room(g, TRUST_START) || (!g->reopening && l->refused_count < TRICKLE);

	if (l->whole && fits) {
		gate_open(g, l, false, now);
		return;
	}
	if (!g->reopening)
		reopen_begin(g, l, now);
	else if (now.ms >= g->next_step.ms)
		reopen_step(g, l, vote);
	if (now.ms >= g->next_step.ms)
		g->next_step = mono_after(now, cfg->release_ms / 3 + 1);
	if (passes_trial(g, cfg, vote->back, now))
		gate_open(g, l, true, now);
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
	st->offered.forgotten = true;
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
	*ret_load = offered_load(&st->offered, cfg, now);
	if (overloaded->blind && mono_since(overloaded->blind_since, now) >= cfg->blind_ms)
		gate_open(g, ret_load, false, now);
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
		gate_close(g, cfg, in, &st->level[top].why, now);
	if (in->forced)
		return (struct outcome) { in->forced_level, { .kind = REASON_FORCED }, { .kind = REASON_FORCED } };
	if (top < LEVEL_OVERLOADED && is_kept_closed(st, cfg, vote, now, &load, next)) {
		struct reason offered = {
			.kind = REASON_OFFERED, .value = demand(g, &load), .limit = room(g, TRUST_START),
		};
		return (struct outcome) { LEVEL_OVERLOADED, offered, offered };
	}
	if (top > LEVEL_NORMAL)
		return (struct outcome) { top, st->level[top].why, vote[top].waiting };
	if (before > LEVEL_NORMAL)
		return (struct outcome) { .why = st->level[before].why };
	return (struct outcome) {
		.why = { .kind = REASON_FITS, .value = demand(g, &load), .limit = room(g, TRUST_START) },
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
	bool dwells = st->changed && !forced && !st->shown_forced;
	if (dwells && mono_since(st->shown_since, now) < cfg->dwell_ms) {
		*next = earlier(*next, mono_after(st->shown_since, cfg->dwell_ms));
		return;
	}
	if (o->level != st->shown) {
		st->shown_since = now;
		st->changed = true;
	}
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
	ret->waiting = *waiting;
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
		st->last = st->shown_since = now;
		st->offered.begun = mono_after(now, -cfg->release_ms); /* nobody was refused before we were */
	}
	if (now.ms < st->last.ms)
		now = st->last;
	if (mono_since(st->last, now) > DECIDE_GAP_MS)
		decide_reconfigure(st); /* nobody knows what happened meanwhile */
	learn_carried(&st->gate, in);
	offered_count(&st->offered, cfg, in, first, now);
	st->last = now;

	struct outcome o = step_levels(st, cfg, in, now, &next);
	show(st, cfg, &o, in->forced, now, &next);
	fill(st, &o.waiting, ret);
	ret->next = next;
}

void
decide_resume(struct decide_state *st, enum level level)
{
	st->shown = level;
	st->shown_why = (struct reason) { .kind = REASON_RESUMED };
	st->offered.forgotten = true;
	st->level[level].active = true;
	st->level[level].why = st->shown_why;
}
