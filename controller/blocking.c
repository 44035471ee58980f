/* SPDX-License-Identifier: ISC */
#include "controller/blocking.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "controller/blocking_state.h"
#include "lib/array.h"
#include "lib/num.h"

#define LOGINS_MAX 100000
#define MAILED_MAX 100000
#define STEP_MS 1000
#define RETRY_SEND_MS 5
#define RESTORE_PATIENCE_MS 5000 /* then we begin without what is stored */
#define CHANGES 64 /* taken from blocks_step() at once */

/* --- on record ------------------------------------------------------------------------------- */

static struct store_block
row_of(const struct engine *e, const struct blocks_record *r, bool ended, mono_t now)
{
	wall_t wall = wall_now();
	int64_t left = mono_since(now, r->block.until);
	struct store_block row = {
		.prefix = r->block.prefix, .kind = r->block.kind,
		.began = { wall.ms + left - r->length_ms }, .length_ms = r->length_ms,
		.until = { wall.ms + left }, .until_mono = r->block.until,
		.by_person = r->by_person, .is_wide = r->is_wide,
		.n = r->n, .max = r->max, .step = r->step, .times = r->times,
	};

	memcpy(row.id, r->block.id, sizeof(row.id));
	memcpy(row.boot_id, e->boot_id, sizeof(row.boot_id));
	memcpy(row.who, r->who, sizeof(row.who));
	memcpy(row.reason, r->reason, sizeof(row.reason));
	row.ended.ms = !ended ? 0 : left < 0 ? row.until.ms : wall.ms;
	return row;
}

static struct blocks_record
record_of(const struct store_block *row)
{
	struct blocks_record r = {
		.block = { .prefix = row->prefix, .kind = row->kind },
		.length_ms = row->length_ms, .by_person = row->by_person, .is_wide = row->is_wide,
		.n = row->n, .max = row->max, .step = row->step, .times = row->times,
	};

	_Static_assert(sizeof(r.who) == sizeof(row->who) && sizeof(r.reason) == sizeof(row->reason), "texts fit");
	memcpy(r.block.id, row->id, sizeof(r.block.id));
	memcpy(r.who, row->who, sizeof(r.who));
	memcpy(r.reason, row->reason, sizeof(r.reason));
	return r;
}

const char *
blocking_kind_name(enum block_kind kind)
{
	static const char *const names[BLOCK_KINDS] = {
		[BLOCK_DENY] = "deny", [BLOCK_EXPLAIN] = "explain", [BLOCK_THROTTLE] = "throttle",
	};

	return names[kind];
}

static void
log_change(const struct blocking *b, const struct blocks_change *c)
{
	const struct blocks_record *r = &c->record;
	char prefix[IP_PREFIX_TEXT_MAX], span[NUM_TEXT_MAX];
	const char *dry = b->dry_run ? "dry run: " : "";

	ip_prefix_format(&r->block.prefix, prefix);
	num_age_format(r->length_ms, span);
	if (c->event != BLOCKS_ENDED)
		log_info("blocks", "%s%s %s for %s: %s, %u/%u, step %u, %u before, %s",
			dry, blocking_kind_name(r->block.kind), prefix, span,
			r->who, r->n, r->max, r->step, r->times, r->block.id);
	else if (c->end == BLOCKS_END_PROTECTED)
		log_info("blocks", "%s%s is free: %s", dry, prefix, protect_reason_text(c->protect));
	else
		log_info("blocks", "%s%s is free: %s", dry, prefix,
			c->end == BLOCKS_END_TIME ? "its time is over" : "unblocked");
}

uint64_t
blocking_carry_out(struct engine *e, const struct blocks_change *c, bool durable, mono_t now)
{
	struct store_block row = row_of(e, &c->record, c->event == BLOCKS_ENDED, now);

	blocking_emit(e, c->event == BLOCKS_ENDED ? BLOCK_REMOVE : BLOCK_PUT, &c->record.block);
	log_change(e->blocking, c);
	return journal_put_block(e->journal, &row, durable);
}

static void
carry_out_all(struct engine *e, const struct blocks_change *c, size_t n, mono_t now)
{
	for (size_t i = 0; i < n; i++)
		(void)blocking_carry_out(e, &c[i], false, now);
}

/* --- evidence -------------------------------------------------------------------------------- */

bool
blocking_may_block(struct engine *e, const struct ip *ip)
{
	return protect_find(e->blocking->protect, ip, turn_now(&e->turn), NULL) == PROTECT_NONE;
}

/* While a source can't be known, everybody is protected for want of knowing better: then the configuration counts. */
bool
blocking_is_allowed(struct engine *e, const struct ip *ip, mono_t now)
{
	const struct config_blocks *c = &e->config.blocks;
	enum protect_reason reason = protect_find(e->blocking->protect, ip, now, NULL);

	for (unsigned i = 0; reason == PROTECT_UNKNOWN && i < c->n_allow; i++)
		if (!c->allow[i].is_name && ip_prefix_contains(&c->allow[i].prefix, ip))
			return true;
	return reason == PROTECT_ALLOWED || reason == PROTECT_RELAY;
}

bool
blocking_is_used(const struct engine *e)
{
	const struct block_cfg *a = &e->config.blocks.actions;

	return a->dry_run || a->ipsvd.dir[0] != '\0' || (a->tcprules.rules[0] != '\0' && a->tcprules.cdb[0] != '\0');
}

/* Is anybody kept out by what we order? */
static bool
is_in_force(const struct blocking *b)
{
	for (unsigned i = 0; i < b->reports; i++)
		if (b->report[i].used && b->report[i].ok)
			return !b->dry_run;
	return false;
}

/* The marks have done their work: the next connection after the block begins anew.  Where nothing is written they go
 * on counting, for then the limit is all that keeps him off. */
static void
forget_marks(struct engine *e, const struct admit_result *a)
{
	struct rate_question q;

	if (a->class < 0 || !is_in_force(e->blocking))
		return;
	rate_find(e->limits.rate, a->class, a->value, a->value_len, &q);
	(void)rate_reset(e->limits.rate, &q);
}

/* The name of the rule when this refusal was for an address; NULL: it was not. */
static const char *
rule_of(const struct engine *e, const struct record *r, const struct admit_result *a)
{
	bool by_user = r->text[RECORD_USER].s != NULL;

	if (a->check == CHECK_CONCURRENCY)
		return "concurrency";
	if ((a->check != CHECK_IPTHROTTLE && a->check != CHECK_RCPTTHROTTLE && a->check != CHECK_WRONGRCPT) || by_user
		|| a->class < 0)
		return NULL;
	return e->limits.cfg[e->limits.current].class[a->class].name;
}

void
blocking_asked(struct engine *e, const struct record *r, const struct admit_result *a, const char *id, mono_t now)
{
	struct blocking *b = e->blocking;
	struct blocks_result result;

	if (!r->ip_known)
		return;
	if (admit_is_own(r)) {
		blocking_login(e, &r->ip, now);
		return;
	}
	if (a->verdict == VERDICT_PASS && (r->stage == STAGE_RCPT || r->stage == STAGE_DATA))
		blocking_mail(e, &r->ip, now);
	blocks_seen(b->blocks, &r->ip, now);
	const char *rule = a->verdict != VERDICT_PASS ? rule_of(e, r, a) : NULL;
	if (rule == NULL || !blocking_is_used(e))
		return;
	const struct blocks_evidence evidence = {
		.rule = rule, .id = id, .n = (uint32_t)a->why.n, .max = (uint32_t)(a->why.max < 0 ? 0 : a->why.max),
	};
	blocks_offend(b->blocks, &r->ip, &evidence, now, &result);
	if (result.verdict == BLOCKS_MADE)
		forget_marks(e, a);
	carry_out_all(e, result.change, result.n, now);
}

void
blocking_login(struct engine *e, const struct ip *ip, mono_t now)
{
	struct blocking *b = e->blocking;
	struct blocks_change changes[BLOCKS_CHANGES_MAX];

	if (e->config.blocks.login_credit_ms == 0)
		return;
	protect_login(b->protect, ip, mono_after(now, e->config.blocks.login_credit_ms));
	carry_out_all(e, changes, blocks_recheck_address(b->blocks, ip, now, changes, countof(changes)), now);
}

/* --- from the store -------------------------------------------------------------------------- */

/* What is left of it: by the boot clock when it is the same boot; else by the wall clock, but never more than it was
 * given. */
static int64_t
remaining(const struct engine *e, const struct store_block *b, mono_t now)
{
	int64_t left;

	if (memcmp(b->boot_id, e->boot_id, sizeof(e->boot_id)) == 0)
		return __builtin_sub_overflow(b->until_mono.ms, now.ms, &left) ? 0 : left;
	return __builtin_sub_overflow(b->until.ms, wall_now().ms, &left) ? 0 : left;
}

static void
restore_block(struct engine *e, const struct store_block *row, mono_t now)
{
	struct blocks_record r = record_of(row);
	int64_t left = row->ended.ms == 0 ? remaining(e, row, now) : 0;
	struct blocks_result result;

	if (left > 0) {
		blocks_restore(e->blocking->blocks, &r, left, now, &result);
		return; /* the list that follows tells the keeper */
	}
	int64_t ago = wall_now().ms - (row->ended.ms != 0 ? row->ended.ms : row->until.ms);
	if (!row->by_person)
		blocks_remember(e->blocking->blocks, &r, ago < 0 ? 0 : ago, now);
}

static void
begin(struct engine *e)
{
	struct blocking *b = e->blocking;

	if (b->restored)
		return;
	b->restored = true;
	b->list_again = true;
	log_info("blocks", "%zu restored", blocks_state(b->blocks, turn_now(&e->turn)).count);
}

void
blocking_restore(struct engine *e, const struct store_block *row, const struct store_allow *a)
{
	struct blocking *b = e->blocking;

	if (row != NULL) {
		restore_block(e, row, turn_now(&e->turn));
	} else if (a != NULL) {
		if (blocking_find_allow(b, a->entry) < 0 && b->allow.n < PROTECT_ALLOW_MAX) {
			b->allow.a[b->allow.n++] = *a;
			blocking_take_allow(e);
		}
	} else {
		begin(e);
	}
}

/* --- the turn -------------------------------------------------------------------------------- */

void
blocking_report(struct engine *e, const struct block_report *r)
{
	struct blocking *b = e->blocking;

	if (r->action >= BLOCKER_ACTIONS_MAX)
		return;
	b->report[r->action] = *r;
	b->report[r->action].text[sizeof(r->text) - 1] = '\0';
	if (r->reloads != b->reloads)
		b->list_again = true; /* what it refused before it may take now */
	b->reloads = r->reloads;
	if (r->action >= b->reports)
		b->reports = r->action + 1;
}

static void
tell_budget(struct blocking *b, mono_t now)
{
	struct blocks_state s = blocks_state(b->blocks, now);

	if (s.is_over && !b->told_budget)
		log_warning("blocks",
			"no more new blocks: %s; whoever blocks that many is more likely wrong than right",
			blocks_verdict_text(s.over));
	else if (!s.is_over && b->told_budget)
		log_info("blocks", "new blocks are made again; %llu were not", (unsigned long long)s.not_done_ever);
	b->told_budget = s.is_over;
}

void
blocking_step(struct engine *e, mono_t now)
{
	struct blocking *b = e->blocking;
	struct blocks_change changes[CHANGES];
	size_t n;

	if (now.ms >= b->next_step.ms) {
		b->next_step = mono_after(now, STEP_MS);
		blocking_look_at_sources(e, now);
		resolve_step(b->resolve, now);
		blocking_end_waiting(e, now);
		tell_budget(b, now);
		if (!b->restored && now.ms >= b->restore_by.ms) {
			log_error("blocks", "the stored blocks can't be read: begun without them");
			begin(e);
		}
	}
	while (now.ms >= blocks_due(b->blocks).ms && (n = blocks_step(b->blocks, now, changes, countof(changes))) > 0)
		carry_out_all(e, changes, n, now);
	blocking_send_orders(e);
}

mono_t
blocking_due(struct engine *e)
{
	const struct blocking *b = e->blocking;
	mono_t due = b->next_step, ends = blocks_due(b->blocks);

	if (blocking_has_orders(e))
		due = mono_after(turn_now(&e->turn), RETRY_SEND_MS);
	return ends.ms < due.ms ? ends : due;
}

/* --- life ------------------------------------------------------------------------------------ */

static void
configure(struct engine *e)
{
	struct blocking *b = e->blocking;

	blocks_configure(b->blocks, &e->config.blocks.rules);
	b->dry_run = e->config.blocks.actions.dry_run;
	blocking_take_allow(e);
	b->next_sources = turn_now(&e->turn);
}

void
blocking_reload(struct engine *e)
{
	configure(e);
	e->blocking->reloaded = true;
}

static bool
allocate(struct engine *e, uint8_t key[BLOCKS_KEY_SIZE])
{
	const struct config_blocks *c = &e->config.blocks;
	struct blocking *b = e->blocking;

	b->scratch = calloc(1, sizeof(*b->scratch));
	return b->scratch != NULL && getrandom(key, BLOCKS_KEY_SIZE, 0) == BLOCKS_KEY_SIZE
		&& protect_new(LOGINS_MAX, key, &b->protect) == 0
		&& recent_new(MAILED_MAX, key, &b->mailed) == 0
		&& blocks_new((size_t)c->max, (size_t)c->remember, key, b->protect, &b->blocks) == 0
		&& resolve_new(e->base, blocking_found, e, &b->resolve) == 0;
}

int
blocking_open(struct engine *e, struct err *why)
{
	struct blocking *b = calloc(1, sizeof(*b));
	uint8_t key[BLOCKS_KEY_SIZE];
	mono_t now = turn_now(&e->turn);

	e->blocking = b;
	if (b == NULL || !allocate(e, key))
		return err_set(why, -ENOMEM, "no memory for blocks");
	blocks_set_spared(b->blocks, blocking_is_spared, e);
	b->restore_by = mono_after(now, RESTORE_PATIENCE_MS);
	configure(e);
	blocking_look_at_sources(e, now);
	journal_ask_blocks(e->journal);
	return 0;
}

void
blocking_close(struct engine *e)
{
	struct blocking *b = e->blocking;

	if (b == NULL)
		return;
	for (size_t i = 0; i < BLOCKING_WAITERS; i++)
		json_decref(b->waiter[i].reply);
	resolve_free(b->resolve);
	blocks_free(b->blocks);
	protect_free(b->protect);
	recent_free(b->mailed);
	free(b->scratch);
	free(b);
	e->blocking = NULL;
}

static json_t *
describe_actions(const struct blocking *b)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < b->reports; i++) {
		const struct block_report *r = &b->report[i];

		if (r->valid != BLOCK_ORDER_MAGIC || !r->used)
			continue;
		(void)json_array_append_new(all, json_pack("{s:s, s:b, s:s, s:I, s:I, s:I, s:I}",
			"name", block_table[i]->name, "ok", r->ok, "text", r->text,
			"ours", (json_int_t)r->ours, "foreign", (json_int_t)r->foreign,
			"refused", (json_int_t)r->refused, "protected", (json_int_t)r->protected));
	}
	return all;
}

json_t *
blocking_describe(struct engine *e)
{
	const struct blocking *b = e->blocking;
	struct blocks_state s = blocks_state(b->blocks, turn_now(&e->turn));

	return json_pack("{s:I, s:I, s:I, s:I, s:b, s:s, s:I, s:b, s:b, s:o}",
		"count", (json_int_t)s.count, "by_person", (json_int_t)s.by_person,
		"remembered", (json_int_t)s.remembered, "clients", (json_int_t)s.clients,
		"over_budget", s.is_over, "budget", s.is_over ? blocks_verdict_text(s.over) : "",
		"not_done", (json_int_t)s.not_done_ever, "dry_run", b->dry_run, "restored", b->restored,
		"actions", describe_actions(b));
}
