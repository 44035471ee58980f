/* SPDX-License-Identifier: ISC */
#include "controller/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/admit.h"
#include "controller/readings.h"
#include "lib/siphash.h"
#include "probes/minute.h"

#define VALID_MS 5000
#define CHANGES 64 /* of blocks at once */

/* Messages in the queue: open addressing, numbers are inodes and never 0. */
struct numbers {
	uint64_t *slot; /* REPLAY_MESSAGES */
	size_t n;
};

struct replay {
	const struct config *config;
	int64_t smtp_uid;
	struct replay_result result;

	bool started;
	mono_t now, next_step, next_block_step;
	struct readings readings;
	struct decide_state decide;
	struct stance stance;
	bool send_seen; /* a line of qmail-send */
	struct numbers queue;
	uint64_t arrived, departed;
	struct minute success, failure, deferral, bounce, rejection;
	bool status_known, rejection_known;
	uint32_t used[2], limit[2];

	struct rate *rate;
	int class; /* that a connection counts for, or negative */
	const char *rule; /* its name */
	bool blocks_used;
	struct protect *protect;
	struct blocks *blocks;
	struct replay_client *client; /* REPLAY_CLIENTS */
};

/* --- messages in the queue ------------------------------------------------------------------- */

static size_t
home_of(uint64_t number, size_t slots)
{
	return (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (slots - 1);
}

static bool
numbers_add(struct numbers *s, uint64_t number)
{
	size_t i = home_of(number, REPLAY_MESSAGES);

	while (s->slot[i] != 0 && s->slot[i] != number)
		i = (i + 1) & (REPLAY_MESSAGES - 1);
	if (s->slot[i] == number)
		return true;
	if (number == 0 || s->n >= REPLAY_MESSAGES / 4 * 3)
		return false;
	s->slot[i] = number;
	s->n++;
	return true;
}

/* What stands behind moves up, so that no search ends too early. */
static bool
numbers_remove(struct numbers *s, uint64_t number)
{
	size_t i = home_of(number, REPLAY_MESSAGES);

	while (s->slot[i] != 0 && s->slot[i] != number)
		i = (i + 1) & (REPLAY_MESSAGES - 1);
	if (s->slot[i] == 0)
		return false;
	for (size_t k = i;;) {
		k = (k + 1) & (REPLAY_MESSAGES - 1);
		if (s->slot[k] == 0)
			break;
		size_t home = home_of(s->slot[k], REPLAY_MESSAGES);
		if (((k - home) & (REPLAY_MESSAGES - 1)) >= ((k - i) & (REPLAY_MESSAGES - 1))) {
			s->slot[i] = s->slot[k];
			i = k;
		}
	}
	s->slot[i] = 0;
	s->n--;
	return true;
}

/* --- start ----------------------------------------------------------------------------------- */

/* The class for which a connection counts: of the first stage that throttles addresses, else that of the connection. */
static int
class_of(const struct config *c, const struct admit *a)
{
	static const enum stage stages[] = { STAGE_CONNECTION, STAGE_HELO, STAGE_MAIL };

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		const struct cfg_list *checks = &c->plugins.stage[stages[i]];

		for (unsigned k = 0; k < checks->n; k++)
			if (strcmp(checks->s[k], check_name(CHECK_IPTHROTTLE)) == 0)
				return a->ip[stages[i]];
	}
	return a->ip[STAGE_CONNECTION];
}

static int
protect_what_is_configured(struct replay *r)
{
	static const enum protect_reason sources[] = {
		PROTECT_OWN, PROTECT_GATEWAY, PROTECT_RESOLVER, PROTECT_RELAY,
	};
	static struct protect_allow allow[PROTECT_ALLOW_MAX];
	const struct config_blocks *b = &r->config->blocks;
	size_t n = 0;
	int ret = 0;

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]) && ret == 0; i++)
		ret = protect_set(r->protect, sources[i], NULL, 0);
	for (unsigned i = 0; i < b->n_allow; i++)
		if (!b->allow[i].is_name)
			allow[n++] = b->allow[i];
	return ret < 0 ? ret : protect_allow(r->protect, allow, n);
}

int
replay_new(const struct config *config, int64_t smtp_uid, struct replay **ret)
{
	static const uint8_t key[16] = "replay"; /* the same dice each time */
	const struct block_cfg *act = &config->blocks.actions;
	struct replay *r = calloc(1, sizeof(*r));
	struct admit admit;

	if (r == NULL)
		return -ENOMEM;
	r->config = config;
	r->smtp_uid = smtp_uid;
	r->queue.slot = calloc(REPLAY_MESSAGES, sizeof(*r->queue.slot));
	r->client = calloc(REPLAY_CLIENTS, sizeof(*r->client));
	if (r->queue.slot == NULL || r->client == NULL || rate_new(config->service.limits_memory, key, &r->rate) < 0
		|| protect_new(0, key, &r->protect) < 0
		|| blocks_new((size_t)config->blocks.max, (size_t)config->blocks.remember, key, r->protect,
		&r->blocks) < 0
		|| protect_what_is_configured(r) < 0) {
		replay_free(r);
		return -ENOMEM;
	}
	rate_configure(r->rate, &config->limits);
	blocks_configure(r->blocks, &config->blocks.rules);
	admit_configure(&admit, &config->limits);
	r->class = class_of(config, &admit);
	r->rule = r->class >= 0 ? config->limits.class[r->class].name : "";
	r->blocks_used = act->dry_run || act->ipsvd.dir[0] != '\0' || act->tcprules.cdb[0] != '\0';
	*ret = r;
	return 0;
}

void
replay_free(struct replay *r)
{
	if (r == NULL)
		return;
	blocks_free(r->blocks);
	protect_free(r->protect);
	rate_free(r->rate);
	free(r->client);
	free(r->queue.slot);
	free(r);
}

/* --- deciding -------------------------------------------------------------------------------- */

static void
tell(struct replay *r, enum reading_id id, double value, mono_t now)
{
	readings_set(&r->readings, id, (struct reading_value) { true, value }, now, mono_after(now, VALID_MS));
}

static void
tell_status(struct replay *r, int channel, enum reading_id busy, enum reading_id share, mono_t now)
{
	if (!r->status_known)
		return;
	tell(r, busy, r->used[channel], now);
	tell(r, share, r->limit[channel] > 0 ? 100.0 * r->used[channel] / r->limit[channel] : 0, now);
}

static void
tell_all(struct replay *r, mono_t now)
{
	if (r->send_seen) {
		readings_count_queue(&r->readings, r->arrived, r->departed, now, mono_after(now, VALID_MS));
		tell(r, READING_MESSAGES, (double)r->queue.n, now);
		tell(r, READING_DELIVERIES, minute_sum(&r->success, now), now);
		tell(r, READING_DEFERRALS, minute_sum(&r->deferral, now), now);
		tell(r, READING_FAILURES, minute_sum(&r->failure, now), now);
		tell(r, READING_BOUNCES, minute_sum(&r->bounce, now), now);
		tell_status(r, LOG_LOCAL, READING_LOCAL_BUSY, READING_LOCAL_SHARE, now);
		tell_status(r, LOG_REMOTE, READING_REMOTE_BUSY, READING_REMOTE_SHARE, now);
	}
	if (r->rejection_known)
		tell(r, READING_REJECTIONS, minute_sum(&r->rejection, now), now);
	readings_count_refused(&r->readings, r->result.refused + r->result.again, now, mono_after(now, VALID_MS));
}

static void
follow_episode(struct replay *r, enum level before, mono_t now)
{
	struct replay_result *t = &r->result;
	bool was = before >= LEVEL_OVERLOADED, is = r->stance.level >= LEVEL_OVERLOADED;
	struct replay_episode *e;

	if (is && !was && ++t->episodes <= REPLAY_EPISODES)
		t->episode[t->episodes - 1] = (struct replay_episode) {
			.began = { now.ms }, .why = r->stance.why, .refused = t->refused,
		};
	if (t->episodes == 0 || t->episodes > REPLAY_EPISODES || (!is && !was))
		return;
	e = &t->episode[t->episodes - 1];
	if (r->stance.level > e->peak)
		e->peak = r->stance.level;
	if (was && !is) {
		e->ended.ms = now.ms;
		e->refused = t->refused - e->refused;
	}
}

static void
step(struct replay *r, mono_t now)
{
	struct decide_input in = {
		.arrived_known = r->send_seen, .arrived = r->arrived,
		.refused = r->result.refused + r->result.again,
	};
	enum level before = r->stance.level;

	tell_all(r, now);
	for (int i = 0; i < READING_COUNT; i++)
		in.value[i] = readings_get(&r->readings, (enum reading_id)i, now);
	decide_step(&r->decide, &r->config->levels, &in, now, &r->stance);
	r->result.changes += r->stance.level != before;
	r->result.level_ms[r->stance.level] += REPLAY_STEP_MS;
	follow_episode(r, before, now);
}

static void
step_blocks(struct replay *r, mono_t now)
{
	struct blocks_change changes[CHANGES];

	while (now.ms >= blocks_due(r->blocks).ms && blocks_step(r->blocks, now, changes, CHANGES) > 0)
		;
}

static mono_t
advance(struct replay *r, wall_t at)
{
	if (!r->started) {
		r->started = true;
		r->now.ms = r->next_step.ms = r->result.from.ms = at.ms;
	}
	if (at.ms > r->now.ms)
		r->now.ms = at.ms;
	if (mono_since(r->next_step, r->now) > REPLAY_GAP_MS)
		r->next_step = r->now;
	for (; r->next_step.ms <= r->now.ms; r->next_step.ms += REPLAY_STEP_MS)
		step(r, r->next_step);
	r->result.to.ms = r->now.ms;
	return r->now;
}

/* --- mail ------------------------------------------------------------------------------------ */

/* By its number, so that it does not depend on what was before. */
static bool
is_admitted(const struct replay *r, const struct logline *l)
{
	bool stranger = r->smtp_uid < 0 || l->uid == (uint64_t)r->smtp_uid;

	return !stranger || r->stance.admit >= DECIDE_ADMIT_ALL
		|| siphash(&l->qp, sizeof(l->qp), l->number, 0) % DECIDE_ADMIT_ALL < r->stance.admit;
}

static void
arrive(struct replay *r, const struct logline *l)
{
	struct replay_result *t = &r->result;

	t->messages++;
	t->strangers += r->smtp_uid < 0 || l->uid == (uint64_t)r->smtp_uid;
	if (!is_admitted(r, l))
		t->refused++;
	else if (numbers_add(&r->queue, l->number))
		r->arrived++;
	else
		t->untracked++;
}

static void
deliver(struct replay *r, const struct logline *l, mono_t now)
{
	struct replay_result *t = &r->result;

	switch (l->outcome) {
	case LOG_SUCCESS:
		t->successes++;
		minute_add(&r->success, now, now);
		break;
	case LOG_FAILURE:
		t->failures++;
		minute_add(&r->failure, now, now);
		break;
	case LOG_DEFERRAL:
		t->deferrals++;
		minute_add(&r->deferral, now, now);
		break;
	}
}

/* --- connections ----------------------------------------------------------------------------- */

/* What is known of this client; NULL when there is no room. */
static struct replay_client *
client_of(struct replay *r, const struct ip *ip, bool make)
{
	uint64_t a, b;

	memcpy(&a, ip->b, sizeof(a));
	memcpy(&b, ip->b + sizeof(a), sizeof(b));
	for (size_t i = home_of(a ^ b * 3, REPLAY_CLIENTS), n = 0; n < 64; n++, i = (i + 1) & (REPLAY_CLIENTS - 1)) {
		struct replay_client *c = &r->client[i];

		if (c->used && ip_equal(&c->ip, ip))
			return c;
		if (!c->used && !make)
			return NULL;
		if (!c->used) {
			*c = (struct replay_client) { .ip = *ip, .used = true };
			return c;
		}
	}
	r->result.clients_not_kept += make;
	return NULL;
}

static void
offend(struct replay *r, const struct ip *ip, const struct rate_question *q, const struct rate_answer *a, mono_t now)
{
	const struct blocks_evidence evidence = {
		.rule = r->rule, .id = "", .n = (uint32_t)a->n, .max = (uint32_t)(a->max < 0 ? 0 : a->max),
	};
	struct blocks_result result;

	blocks_offend(r->blocks, ip, &evidence, now, &result);
	r->result.over_budget += result.verdict == BLOCKS_OVER_MINUTE || result.verdict == BLOCKS_OVER_SHARE
		|| result.verdict == BLOCKS_FULL;
	if (result.verdict != BLOCKS_MADE)
		return;
	for (unsigned i = 0; i < result.n; i++) {
		r->result.blocks += result.change[i].event == BLOCKS_BEGUN;
		r->result.wide += result.change[i].event == BLOCKS_BEGUN && result.change[i].record.is_wide;
	}
	(void)rate_reset(r->rate, q);
	uint64_t count = blocks_state(r->blocks, now).count;
	if (count > r->result.peak_blocks)
		r->result.peak_blocks = count;
}

static void
connect_from(struct replay *r, const struct ip *ip, mono_t now)
{
	struct replay_client *c;
	struct blocks_record block;
	struct rate_question q;
	struct rate_answer a;
	char text[IP_TEXT_MAX];

	step_blocks(r, now);
	if (blocks_match(r->blocks, ip, now, &block)) {
		r->result.turned_away++;
		c = client_of(r, ip, true);
		if (c != NULL)
			c->turned_away++;
		return;
	}
	blocks_seen(r->blocks, ip, now);
	if (r->class < 0)
		return;
	ip_format(ip, text);
	rate_find(r->rate, r->class, text, strlen(text), &q);
	if (q.found != RATE_OK)
		return;
	rate_mark(r->rate, &q, now, &a);
	if (a.verdict != RATE_OVER)
		return;
	r->result.limited++;
	c = client_of(r, ip, true);
	if (c != NULL)
		c->limited++;
	if (r->blocks_used)
		offend(r, ip, &q, &a, now);
}

void
replay_line(struct replay *r, const struct logline *l, wall_t at)
{
	mono_t now = advance(r, at);

	r->result.lines++;
	r->send_seen |= l->kind <= LOGLINE_END;
	r->rejection_known |= l->kind > LOGLINE_END;
	switch (l->kind) {
	case LOGLINE_STATUS:
		r->status_known = true;
		memcpy(r->used, l->used, sizeof(r->used));
		memcpy(r->limit, l->limit, sizeof(r->limit));
		break;
	case LOGLINE_INFO:
		arrive(r, l);
		break;
	case LOGLINE_DELIVERY:
		deliver(r, l, now);
		break;
	case LOGLINE_BOUNCE:
		r->result.bounces++;
		minute_add(&r->bounce, now, now);
		break;
	case LOGLINE_END:
		r->departed += numbers_remove(&r->queue, l->number);
		break;
	case LOGLINE_CONNECT:
		r->result.connections++;
		if (l->has_ip)
			connect_from(r, &l->ip, now);
		break;
	case LOGLINE_DENY:
	case LOGLINE_DROP:
		r->result.denied++;
		minute_add(&r->rejection, now, now);
		break;
	case LOGLINE_REJECT:
		minute_add(&r->rejection, now, now);
		break;
	case LOGLINE_NONE:
	case LOGLINE_NEW:
	case LOGLINE_START:
	case LOGLINE_SLOTS:
	case LOGLINE_HELD:
	case LOGLINE_ACCEPT:
	case LOGLINE_CLOSE:
		break;
	}
}

void
replay_accepted(struct replay *r, const struct ip *ip, wall_t at)
{
	mono_t now = advance(r, at);
	struct blocks_record block;
	struct replay_client *c = client_of(r, ip, false);

	if (c == NULL || c->turned_away == 0)
		return;
	step_blocks(r, now);
	if (blocks_match(r->blocks, ip, now, &block))
		c->lost++;
	else
		c->later++;
}

void
replay_refused(struct replay *r, enum check check, uint32_t pid, wall_t at)
{
	mono_t now = advance(r, at);
	const uint64_t key = (uint64_t)now.ms << 20 ^ pid;

	r->result.archived++;
	if (check != CHECK_OVERLOAD)
		return;
	r->result.offered++;
	r->result.again += siphash(&key, sizeof(key), 0, 0) % DECIDE_ADMIT_ALL >= r->stance.admit;
}

/* --- the end --------------------------------------------------------------------------------- */

const struct replay_result *
replay_end(struct replay *r)
{
	struct replay_result *t = &r->result;

	if (r->stance.level >= LEVEL_OVERLOADED && t->episodes > 0 && t->episodes <= REPLAY_EPISODES) {
		struct replay_episode *e = &t->episode[t->episodes - 1];

		e->ended.ms = r->now.ms;
		e->refused = t->refused - e->refused;
		r->stance.level = LEVEL_NORMAL;
	}
	t->clients = t->harmed = 0;
	t->lost = t->later = 0;
	for (size_t i = 0; i < REPLAY_CLIENTS; i++) {
		const struct replay_client *c = &r->client[i];

		t->clients += c->turned_away > 0;
		t->harmed += c->lost + c->later > 0;
		t->lost += c->lost;
		t->later += c->later;
	}
	return t;
}

uint32_t
replay_untold(const struct config *config)
{
	static const enum reading_id told[] = {
		READING_MESSAGES, READING_GROWTH, READING_ARRIVALS, READING_DEPARTURES, READING_REFUSED,
		READING_DELIVERIES, READING_DEFERRALS, READING_FAILURES, READING_BOUNCES, READING_LOCAL_BUSY,
		READING_REMOTE_BUSY, READING_LOCAL_SHARE, READING_REMOTE_SHARE, READING_REJECTIONS,
	};
	uint32_t wanted = 0;

	for (int i = 0; i < LEVEL_COUNT; i++)
		for (unsigned k = 0; k < config->levels.level[i].n; k++)
			wanted |= UINT32_C(1) << config->levels.level[i].rule[k].id;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		wanted &= ~(UINT32_C(1) << told[i]);
	return wanted;
}

size_t
replay_worst(const struct replay *r, size_t n, const struct replay_client **ret)
{
	size_t have = 0;

	for (size_t i = 0; i < REPLAY_CLIENTS; i++) {
		const struct replay_client *c = &r->client[i];
		size_t at = have;

		if (c->turned_away == 0)
			continue;
		while (at > 0 && ret[at - 1]->turned_away < c->turned_away)
			at--;
		if (at == n)
			continue;
		size_t last = have < n ? have++ : n - 1;
		memmove(&ret[at + 1], &ret[at], (last - at) * sizeof(ret[0]));
		ret[at] = c;
	}
	return have;
}
