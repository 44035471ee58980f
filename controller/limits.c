/* SPDX-License-Identifier: ISC */
/*
 * limits - the counters, and what plugins are answered from them
 *
 * Everything that is asked on ask.sock ends in limits_answer(): held.c counts the connection, admit.c decides, and
 * what was refused becomes evidence.  The log gets the two ends of an offence, the database its row and some of its
 * refusals; all of it has a budget, for refusals are what an attacker makes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "controller/engine_state.h"
#include "lib/array.h"
#include "lib/num.h"

#define STEP_MS 1000
#define SWEEP_STEPS 3600 /* so many steps look at the whole table */
#define ROWS_A_SECOND 100 /* of offences */
#define LINES 20 /* about offences, in LINES_MS */
#define LINES_MS 10000
#define DESCRIPTORS 8192 /* that we would like to have */
#define DESCRIPTORS_KEPT 3000 /* for all but connections held */

_Static_assert(STORE_CLASS_MAX >= RATE_NAME_MAX && STORE_PATTERN_MAX >= RATE_PATTERN_MAX, "names and patterns fit");
_Static_assert(ASK_ID_MAX == EPISODE_ID_MAX, "ids are of one kind");

/* --- telling of offences --------------------------------------------------------------------- */

static bool
may_log(struct limits *l, mono_t now)
{
	if (mono_since(l->lines.since, now) >= LINES_MS) {
		if (l->lines.n > LINES)
			log_info("limits", "%u more lines about offences", l->lines.n - LINES);
		l->lines.since = now;
		l->lines.n = 0;
	}
	return l->lines.n++ < LINES;
}

/* Who it was stands at the end: nothing that is his own word comes before ours. */
static void
log_begin(const struct store_offence *o)
{
	char window[NUM_TEXT_MAX];

	num_duration_format(o->window_ms, window);
	if (o->check == CHECK_VALIDRCPT || o->check == CHECK_LOCALPARTS)
		log_info("limits", "%s: %s refuses a recipient (%s) from %s", o->id, check_name(o->check), o->pattern,
			o->value[0] != '\0' ? o->value : "?");
	else if (o->class[0] == '\0')
		log_info("limits", "%s: %s refuses at %s: %lld/%lld connections held (pattern %s) by %s", o->id,
			check_name(o->check), stage_name(o->stage), (long long)o->n, (long long)o->max, o->pattern,
			o->value);
	else
		log_info("limits", "%s: %s refuses at %s: %lld/%lld in %s (class %s, pattern %s) by %s", o->id,
			check_name(o->check), stage_name(o->stage), (long long)o->n, (long long)o->max, window,
			o->class, o->pattern, o->value);
}

static void
log_end(const struct store_offence *o)
{
	char span[NUM_TEXT_MAX];

	num_age_format(o->last.ms - o->first.ms, span);
	log_info("limits", "%s: over; %llu refused in %s, by %s", o->id, (unsigned long long)o->refused, span,
		o->value);
}

static bool
on_offence(const struct store_offence *row, enum offence_news news, void *arg)
{
	struct engine *e = arg;
	struct limits *l = &e->limits;
	mono_t now = turn_now(&e->turn);

	if (mono_since(l->rows.since, now) >= 1000) {
		l->rows.since = now;
		l->rows.n = 0;
	}
	if (l->rows.n++ >= ROWS_A_SECOND)
		return false;
	if (news != OFFENCE_GOES_ON && may_log(l, now)) {
		if (news == OFFENCE_BEGAN)
			log_begin(row);
		else
			log_end(row);
	}
	journal_offence(e->journal, row);
	return true;
}

/* --- answering ------------------------------------------------------------------------------- */

static void
describe_refusal(const struct limits *l, const struct record *r, const struct admit_result *a,
	struct store_offence *ret)
{
	const struct record_text value = { .s = a->value, .len = a->value_len };

	evidence_new_id('r', ret->id);
	ret->stage = r->stage;
	ret->code = a->code;
	if (a->class >= 0)
		(void)snprintf(ret->class, sizeof(ret->class), "%s", l->cfg[l->current].class[a->class].name);
	(void)snprintf(ret->pattern, sizeof(ret->pattern), "%s", a->why.limit->pattern);
	evidence_text(&value, ret->value, sizeof(ret->value));
	if (r->ip_known)
		ip_format(&r->ip, ret->ip);
	evidence_text(&r->text[RECORD_HELO], ret->helo, sizeof(ret->helo));
	evidence_text(&r->text[RECORD_SENDER], ret->sender, sizeof(ret->sender));
	evidence_text(&r->text[RECORD_RECIPIENT], ret->recipient, sizeof(ret->recipient));
	evidence_text(&r->text[RECORD_USER], ret->user, sizeof(ret->user));
}

/* Remember it.  Returns the id of the evidence. */
static const char *
remember(struct engine *e, const struct record *r, const struct admit_result *a, mono_t now)
{
	struct limits *l = &e->limits;
	struct store_offence *o = offence_refused(l->offences, a->why.fingerprint, a->check,
		a->why.limit->window_ms, now, wall_now());

	if (o->id[0] == '\0')
		describe_refusal(l, r, a, o);
	o->prefix = a->why.prefix;
	o->n = a->why.n;
	o->max = a->why.max;
	o->clear_ms = a->why.clear_ms;
	offence_flush(l->offences, now);
	evidence_refusal(e, r, a->check, a->code, o->id);
	l->refused[a->check]++;
	return o->id;
}

static uint32_t
cut_to_32(int64_t n)
{
	return n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

void
limits_answer(const struct record *r, pid_t asker, bool may_sleep, struct ask_answer *ret, void *arg)
{
	struct engine *e = arg;
	struct limits *l = &e->limits;
	mono_t now = turn_now(&e->turn);
	struct admit_world world = { .now = now, .level = e->stance.level, .may_sleep = may_sleep };
	struct admit_result a;
	struct rate_answer held;

	if (admit_is_own(r)) {
		held_release(l->held, (pid_t)r->pid);
	} else if (admit_wants_held(r)) {
		held_ask(l->held, (pid_t)r->pid, &r->ip, asker, &held);
		world.held = &held;
	}
	admit_ask(&l->admit, l->rate, r, &world, &a);
	*ret = (struct ask_answer) {
		.verdict = a.verdict, .check = a.check, .code = a.code, .delay_ms = a.delay_ms,
		.flags = a.no_room ? ASK_TARPIT_FULL : 0,
	};
	if (r->ip_known && blocking_may_block(e, &r->ip))
		ret->flags |= ASK_MAY_BLOCK;
	if (a.verdict == VERDICT_PASS) {
		storming_asked(e, r, now, ret);
		if (ret->verdict != VERDICT_PASS || !rcptcheck_asked(e, r, now, &a)) {
			blocking_asked(e, r, &a, "", now);
			return;
		}
		ret->verdict = a.verdict;
		ret->check = a.check;
		ret->code = a.code;
		ret->delay_ms = 0;
		ret->flags &= ~(unsigned)ASK_TARPIT_FULL;
	}
	ret->n = cut_to_32(a.why.n);
	ret->max = cut_to_32(a.why.max);
	memcpy(ret->id, remember(e, r, &a, now), sizeof(ret->id));
	blocking_asked(e, r, &a, ret->id, now);
}

/* --- the whole ------------------------------------------------------------------------------- */

/* The table borrows its limits until it is given others: those of before stay as they are meanwhile. */
void
limits_configure(struct engine *e)
{
	struct limits *l = &e->limits;

	l->current = !l->current;
	l->cfg[l->current] = e->config.limits;
	rate_configure(l->rate, &l->cfg[l->current]);
	rate_configure(l->clients, &l->cfg[l->current]);
	admit_configure(&l->admit, &l->cfg[l->current]);
}

const struct rate_cfg *
limits_in_force(const struct engine *e)
{
	return &e->limits.cfg[e->limits.current];
}

/* Returns the number from which on descriptors are not for connections held. */
static int
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	rlim_t want = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
	if (limit.rlim_cur < want) {
		limit.rlim_cur = want;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			(void)getrlimit(RLIMIT_NOFILE, &limit); /* as it was */
	}
	int n = limit.rlim_cur < INT32_MAX ? (int)limit.rlim_cur : INT32_MAX;
	return n >= 2 * DESCRIPTORS_KEPT ? n - DESCRIPTORS_KEPT : n / 2;
}

/* Both tables, and what was counted in them before. */
static int
open_tables(struct engine *e, int marks, struct err *why)
{
	struct limits *l = &e->limits;
	uint8_t key[RATE_KEY_SIZE], of_table[RATE_KEY_SIZE];
	struct rate **const tables[] = { &l->rate, &l->clients };
	struct err reason;

	int r = marks_key(e->config.service.state_dir, key, &reason);
	if (r == -ENODATA)
		return err_set(why, r, "%s", reason.text);
	if (r < 0)
		log_error("limits", "%s: a restart will forget what was counted", reason.text);
	for (unsigned i = 0; i < countof(tables); i++) {
		marks_table_key(key, i, of_table);
		r = rate_new(e->config.service.limits_memory, of_table, tables[i]);
		if (r < 0)
			return err_sys(why, r, "service.limits_memory");
	}
	limits_configure(e); /* before rows are loaded: those of limits that are not there are passed over */
	return marks_new(e->base, &e->turn, marks, (struct rate *[]) { l->rate, l->clients }, countof(tables), key,
		e->boot_id, &l->marks);
}

int
limits_open(struct engine *e, int marks, struct err *why)
{
	struct limits *l = &e->limits;
	int r = open_tables(e, marks, why);

	if (r == -ENOMEM)
		return err_set(why, r, "no memory");
	if (r < 0)
		return r;
	if (offence_new(on_offence, e, &l->offences) < 0
		|| held_new(e->base, &e->config.concurrency, raise_descriptors(), &l->held) < 0)
		return err_set(why, -ENOMEM, "no memory");
	return asked_new(e->base, e->config.service.run_dir, &e->config, limits_answer, e, &l->asked, why);
}

void
limits_close(struct engine *e)
{
	struct limits *l = &e->limits;

	asked_free(l->asked);
	if (l->offences != NULL)
		offence_end_all(l->offences, wall_now());
	offence_free(l->offences);
	held_free(l->held);
	marks_free(l->marks);
	rate_free(l->rate);
	rate_free(l->clients);
}

void
limits_step(struct engine *e, mono_t now)
{
	struct limits *l = &e->limits;

	if (now.ms < l->next_step.ms)
		return;
	l->next_step = mono_after(now, STEP_MS);
	rate_sweep(l->rate, now, rate_stats(l->rate).blocks / SWEEP_STEPS + 1);
	rate_sweep(l->clients, now, rate_stats(l->clients).blocks / SWEEP_STEPS + 1);
	offence_step(l->offences, now, wall_now());
}

/* Who sleeps holds an SMTP process that others need now. */
void
limits_level(struct engine *e, enum level before)
{
	if (before < LEVEL_BUSY && e->stance.level >= LEVEL_BUSY)
		asked_wake(e->limits.asked);
}

static json_t *
describe_table(const struct rate *rate)
{
	struct rate_stats s = rate_stats(rate);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "blocks", (json_int_t)s.blocks,
		"used", (json_int_t)s.blocks_used, "keys", (json_int_t)s.keys, "marks", (json_int_t)s.marks,
		"over", (json_int_t)s.over, "evicted", (json_int_t)s.evicted, "shared", (json_int_t)s.shared,
		"lost_marks", (json_int_t)s.lost_marks);
}

json_t *
limits_describe(const struct engine *e)
{
	const struct limits *l = &e->limits;
	json_t *refused = json_object();

	for (int i = CHECK_CONCURRENCY; i < CHECK_COUNT; i++)
		(void)json_object_set_new(refused, check_name((enum check)i), json_integer((json_int_t)l->refused[i]));
	return json_pack("{s:o, s:o, s:o, s:i, s:o, s:o}", "asked", asked_describe(l->asked), "refused", refused,
		"held", held_describe(l->held), "offences", (int)offence_count(l->offences), "table",
		describe_table(l->rate),
		"kept", marks_describe(l->marks));
}
