/* SPDX-License-Identifier: ISC */
/*
 * blocks: stories with a clock of our own, and a million random operations in which no protected address may ever be
 * inside a block in force.  Failure rows A1, A2, A10, A12, S2, S5 to S9, T1 to T3, T6; wishes B1 to B8, B10 to B12,
 * B15 to B17.
 */
#include "controller/blocks.h"

#include <time.h>

#include "controller/budget.h"
#include "tests/unit/kit.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static const uint8_t key[BLOCKS_KEY_SIZE] = "a key of a test";
static const mono_t start = { 1000000 };

/* A table, what it may not touch, and the last result. */
struct world {
	struct blocks_cfg cfg;
	struct protect *protect;
	struct blocks *blocks;
	struct blocks_result result;
	mono_t now;
	size_t ended; /* by step() */
};

static const struct blocks_cfg defaults = {
	.on = { .n = 1, .s = { "ip" } },
	.ladder = { .n = 5, .ms = { 2 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY } },
	.forgive_ms = DAY,
	.ipv6_prefix = 64,
	.widen_hosts = 5,
	.budget_per_minute = 60,
	.budget_share = 20,
};

static struct ip
address(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static void
begin_sized(struct world *w, size_t max, size_t memory)
{
	memset(w, 0, sizeof(*w));
	w->cfg = defaults;
	w->now = start;
	assert_int_equal(protect_new(100, key, &w->protect), 0);
	assert_int_equal(blocks_new(max, memory, key, w->protect, &w->blocks), 0);
	blocks_configure(w->blocks, &w->cfg);
}

static void
begin(struct world *w)
{
	begin_sized(w, 1000, 1000);
}

static void
end(struct world *w)
{
	blocks_free(w->blocks);
	protect_free(w->protect);
}

/* Time goes on; what is due is done. */
static void
step(struct world *w, int64_t ms)
{
	struct blocks_change c;

	w->now = mono_after(w->now, ms);
	while (blocks_step(w->blocks, w->now, &c, 1) == 1)
		w->ended += c.event == BLOCKS_ENDED;
}

static enum blocks_verdict
offend_for(struct world *w, const char *rule, const char *text)
{
	struct ip ip = address(text);
	struct blocks_evidence e = { .rule = rule, .id = "k3v9x", .n = 12, .max = 10 };

	blocks_offend(w->blocks, &ip, &e, w->now, &w->result);
	assert_true(w->result.n <= BLOCKS_CHANGES_MAX);
	return w->result.verdict;
}

static enum blocks_verdict
offend(struct world *w, const char *text)
{
	return offend_for(w, "ip", text);
}

static enum blocks_verdict
put(struct world *w, const char *text, int64_t for_ms)
{
	struct blocks_wish wish = { .prefix = prefix(text), .kind = BLOCK_DENY, .for_ms = for_ms, .id = "p1",
		.who = "maria", .reason = "sends nothing but rubbish" };

	blocks_put(w->blocks, &wish, w->now, &w->result);
	return w->result.verdict;
}

static enum blocks_verdict
take_away(struct world *w, const char *text)
{
	struct ip_prefix p = prefix(text);

	blocks_remove(w->blocks, &p, w->now, &w->result);
	return w->result.verdict;
}

static bool
is_blocked(const struct world *w, const char *text)
{
	struct ip ip = address(text);
	struct blocks_record r;

	return blocks_match(w->blocks, &ip, w->now, &r);
}

static struct blocks_record
record(const struct world *w, const char *text)
{
	struct ip_prefix p = prefix(text);
	struct blocks_record r;

	assert_true(blocks_find(w->blocks, &p, &r));
	return r;
}

static struct blocks_memory
memory(const struct world *w, const char *text)
{
	struct ip_prefix p = prefix(text);
	struct blocks_memory m;

	(void)blocks_recollect(w->blocks, &p, w->now, &m);
	return m;
}

static void
protect_own(struct world *w, const char *text)
{
	struct ip_prefix p = prefix(text);

	assert_int_equal(protect_set(w->protect, PROTECT_OWN, &p, 1), 0);
}

static void
log_in(struct world *w, const char *text, int64_t for_ms)
{
	struct ip ip = address(text);

	protect_login(w->protect, &ip, mono_after(w->now, for_ms));
}

static void
assert_about(int64_t v, int64_t about)
{
	assert_in_range(v, about - about / 10, about + about / 10);
}

/* --- the ladder ------------------------------------------------------------------------------ */

static void
blocks_ladder_is_climbed(void **state)
{
	static const int64_t expected[] = { 2 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, DAY, DAY };
	struct world w;

	(void)state;
	begin(&w);
	for (size_t i = 0; i < countof(expected); i++) {
		assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
		assert_int_equal(w.result.n, 1);
		assert_int_equal(w.result.change[0].event, BLOCKS_BEGUN);
		struct blocks_record r = w.result.change[0].record;
		assert_about(r.length_ms, expected[i]);
		assert_int_equal(r.block.until.ms, w.now.ms + r.length_ms);
		assert_int_equal(r.block.kind, BLOCK_DENY);
		assert_int_equal(r.step, i < 5 ? i : 4);
		assert_int_equal(r.times, i);
		assert_int_equal(r.next_ms, expected[i < 4 ? i + 1 : 4]);
		assert_true(blocks_due(w.blocks).ms == r.block.until.ms);
		step(&w, r.length_ms - 1);
		assert_true(is_blocked(&w, "192.0.2.1"));
		step(&w, 1);
		assert_false(is_blocked(&w, "192.0.2.1"));
		assert_int_equal(w.ended, i + 1);
		step(&w, 1000);
	}
	assert_int_equal(blocks_due(w.blocks).ms, INT64_MAX);
	end(&w);
}

static void
blocks_jitter_is_a_tenth(void **state)
{
	struct world w;
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	begin_sized(&w, 20000, 20000);
	w.cfg.budget_per_minute = 10000;
	w.cfg.budget_share = 100;
	w.cfg.widen_hosts = 0;
	for (unsigned i = 0; i < 10000; i++) {
		char text[IP_TEXT_MAX];

		kit_format(text, sizeof(text), "10.1.%u.%u", i / 250, i % 250);
		assert_int_equal(offend(&w, text), BLOCKS_MADE);
		int64_t length = w.result.change[0].record.length_ms;
		assert_about(length, 2 * MINUTE);
		least = length < least ? length : least;
		most = length > most ? length : most;
	}
	assert_true(least < 2 * MINUTE * 91 / 100 && most > 2 * MINUTE * 109 / 100);
	end(&w);
}

static void
blocks_clean_time_forgives(void **state)
{
	static const struct {
		unsigned before; /* blocks, one right after the other */
		int64_t clean_ms;
		unsigned step; /* of the next one */
	} rows[] = {
		{ 1, 0, 1 },
		{ 1, DAY - 1, 1 },
		{ 1, DAY, 0 },
		{ 2, DAY, 1 },
		{ 3, DAY, 2 },
		{ 3, 3 * DAY, 0 },
		{ 5, DAY + 18 * HOUR, 4 }, /* the last one was a day: two for one step */
		{ 5, 2 * DAY + 5 * HOUR, 4 }, /* five steps, one is forgiven: the top again */
		{ 5, 5 * DAY, 3 },
		{ 5, 12 * DAY, 0 }, /* a dozen clean days: back at the start */
		{ 100, 12 * DAY, 0 }, /* no more than the ladder has is held against anybody */
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct world w;

		begin(&w);
		for (unsigned j = 0; j < rows[i].before; j++) {
			assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
			step(&w, w.result.change[0].record.length_ms);
		}
		step(&w, rows[i].clean_ms);
		struct blocks_memory m = memory(&w, "192.0.2.1");
		assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
		struct blocks_record r = w.result.change[0].record;
		if (r.step != rows[i].step)
			fail_msg("row %zu: step %u", i, r.step);
		assert_about(r.length_ms, m.next_ms); /* as it was foretold */
		assert_int_equal(r.times, r.step == 0 ? 0 : rows[i].before);
		end(&w);
	}
}

static void
blocks_hits_during_a_block_are_no_evidence(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	int64_t until = w.result.change[0].record.block.until.ms;
	while (w.now.ms + 100 < until) {
		step(&w, 100);
		assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_ALREADY);
		assert_int_equal(w.result.n, 0);
	}
	assert_int_equal(record(&w, "192.0.2.1").block.until.ms, until);
	step(&w, 2000);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.step, 1);
	end(&w);
}

/* The old one had ended, and nobody had called blocks_step(): both are told, in order. */
static void
blocks_ended_and_begun_in_one_call(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	w.now = mono_after(w.now, HOUR);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.n, 2);
	assert_int_equal(w.result.change[0].event, BLOCKS_ENDED);
	assert_int_equal(w.result.change[0].end, BLOCKS_END_TIME);
	assert_int_equal(w.result.change[0].record.step, 0);
	assert_int_equal(w.result.change[1].event, BLOCKS_BEGUN);
	assert_int_equal(w.result.change[1].record.step, 1);
	/* Its time is over with the millisecond that is named, for all who ask. */
	w.now = w.result.change[1].record.block.until;
	assert_false(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.n, 2);
	w.now = w.result.change[1].record.block.until;
	assert_int_equal(put(&w, "192.0.2.1", HOUR), BLOCKS_MADE);
	assert_int_equal(w.result.n, 2);
	end(&w);
}

/* S6: no ladder and no number of offences overflows. */
static void
blocks_thousand_offences_are_capped(void **state)
{
	static const int64_t clocks[] = { 1, INT64_MAX / 2 };
	struct world w;

	(void)state;
	for (size_t c = 0; c < countof(clocks); c++) {
		begin(&w);
		w.now = (mono_t) { clocks[c] };
		w.cfg.forgive_ms = INT64_MAX;
		w.cfg.ladder.ms[4] = BLOCKS_FOR_MAX_MS;
		for (unsigned i = 0; i < 1000; i++) {
			assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
			struct blocks_record r = w.result.change[0].record;
			assert_true(r.length_ms > 0 && r.length_ms <= BLOCKS_FOR_MAX_MS);
			assert_true(r.block.until.ms > w.now.ms);
			assert_int_equal(r.times, i);
			assert_true(memory(&w, "192.0.2.1").clean_ms > 0);
			step(&w, r.length_ms);
		}
		end(&w);
	}
	/* At the end of time. */
	begin(&w);
	w.now = (mono_t) { INT64_MAX - 1000 };
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_true(w.result.change[0].record.block.until.ms == INT64_MAX);
	assert_int_equal(put(&w, "192.0.2.2", BLOCKS_FOR_MAX_MS), BLOCKS_MADE);
	end(&w);
}

/* --- who ------------------------------------------------------------------------------------- */

static void
blocks_ipv6_by_its_prefix(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "2001:db8::1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.block.prefix.bits, 64);
	assert_int_equal(offend(&w, "2001:db8::2"), BLOCKS_ALREADY); /* rotating does not help */
	assert_true(is_blocked(&w, "2001:db8::ffff:ffff:ffff:ffff"));
	assert_false(is_blocked(&w, "2001:db8:0:1::1"));
	assert_int_equal(offend(&w, "::ffff:192.0.2.1"), BLOCKS_MADE);
	assert_true(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_ALREADY);
	w.cfg.ipv6_prefix = 128;
	assert_int_equal(offend(&w, "2001:db8:0:1::1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.block.prefix.bits, 128);
	w.cfg.ipv6_prefix = 48;
	assert_int_equal(offend(&w, "2001:db8:1::1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.block.prefix.bits, 48);
	end(&w);
}

static void
blocks_other_rules_and_our_own_refusals_are_no_evidence(void **state)
{
	struct blocks_evidence e = { .rule = "ip", .id = "x", .is_our_refusal = true };
	struct ip ip = address("192.0.2.1");
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend_for(&w, "user", "192.0.2.1"), BLOCKS_RULE_OFF);
	blocks_offend(w.blocks, &ip, &e, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_OUR_REFUSAL);
	w.cfg.on.n = 0;
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_RULE_OFF);
	assert_int_equal(blocks_state(w.blocks, w.now).count, 0);
	assert_int_equal(memory(&w, "192.0.2.1").steps, 0);
	for (int v = 0; v < BLOCKS_VERDICTS; v++)
		assert_true(strlen(blocks_verdict_text((enum blocks_verdict)v)) > 5);
	end(&w);
}

static void
blocks_record_tells_why(void **state)
{
	struct world w;
	struct blocks_record r;
	size_t cursor = 0;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(put(&w, "198.51.100.0/24", HOUR), BLOCKS_MADE);
	r = record(&w, "192.0.2.1");
	assert_string_equal(r.who, "ip");
	assert_string_equal(r.reason, "");
	assert_string_equal(r.block.id, "k3v9x");
	assert_int_equal(r.n, 12);
	assert_int_equal(r.max, 10);
	assert_false(r.by_person);
	r = record(&w, "198.51.100.0/24");
	assert_string_equal(r.who, "maria");
	assert_string_equal(r.reason, "sends nothing but rubbish");
	assert_string_equal(r.block.id, "p1");
	assert_true(r.by_person);
	assert_int_equal(r.next_ms, 0);
	assert_int_equal(r.block.until.ms - r.length_ms, start.ms);
	assert_true(blocks_next(w.blocks, &cursor, &r) && blocks_next(w.blocks, &cursor, &r));
	assert_false(blocks_next(w.blocks, &cursor, &r));
	struct ip_prefix none = prefix("192.0.2.2");
	assert_false(blocks_find(w.blocks, &none, &r));
	end(&w);
}

/* --- protected ------------------------------------------------------------------------------- */

static void
blocks_protected_are_never_blocked(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "192.0.2.7", "2001:db8::7",
		"2001:db8::8" /* in the /64 of an address of ours */ };
	static const char *const prefixes[] = { "127.0.0.0/8", "0.0.0.0/0", "::/0", "192.0.2.0/24", "192.0.2.7",
		"2001:db8::/32", "2001:db8::7", "128.0.0.0/1" };
	struct ip_prefix own[] = { prefix("192.0.2.7"), prefix("2001:db8::7") };
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(protect_set(w.protect, PROTECT_OWN, own, 2), 0);
	for (size_t i = 0; i < countof(hosts); i++) {
		assert_int_equal(offend(&w, hosts[i]), BLOCKS_PROTECTED);
		assert_true(protect_is_absolute(w.result.hit.reason));
	}
	for (size_t i = 0; i < countof(prefixes); i++) {
		assert_int_equal(put(&w, prefixes[i], HOUR), BLOCKS_PROTECTED);
		assert_true(protect_is_absolute(w.result.hit.reason));
	}
	assert_int_equal(put(&w, "2001:db8::8", HOUR), BLOCKS_MADE); /* a person may, for it is but that one */
	assert_int_equal(blocks_state(w.blocks, w.now).count, 1);
	end(&w);
}

/* A2, B10: edited while blocks exist. */
static void
blocks_end_when_they_become_protected(void **state)
{
	struct protect_allow office = { .prefix = prefix("192.0.2.0/24") };
	struct blocks_change c[4];
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_MADE);
	assert_int_equal(put(&w, "192.0.2.128/25", HOUR), BLOCKS_MADE);
	assert_int_equal(put(&w, "192.0.0.0/16", HOUR), BLOCKS_MADE);
	assert_int_equal(offend(&w, "198.51.100.1"), BLOCKS_MADE);
	assert_int_equal(protect_allow(w.protect, &office, 1), 0);
	assert_true(blocks_due(w.blocks).ms <= w.now.ms); /* now, says the forecast */
	assert_int_equal(blocks_step(w.blocks, w.now, c, 3), 3);
	assert_true(blocks_due(w.blocks).ms <= w.now.ms);
	assert_int_equal(blocks_step(w.blocks, w.now, c + 3, 1), 1);
	assert_int_equal(blocks_step(w.blocks, w.now, c, 4), 0);
	for (size_t i = 0; i < countof(c); i++) {
		assert_int_equal(c[i].event, BLOCKS_ENDED);
		assert_int_equal(c[i].end, BLOCKS_END_PROTECTED);
		assert_int_equal(c[i].protect, PROTECT_ALLOWED);
	}
	assert_false(is_blocked(&w, "192.0.2.1"));
	assert_true(is_blocked(&w, "198.51.100.1"));
	assert_int_equal(blocks_state(w.blocks, w.now).count, 1);
	assert_int_equal(blocks_state(w.blocks, w.now).by_person, 0);
	/* Gone from the list: as others, with what is remembered. */
	assert_int_equal(protect_allow(w.protect, NULL, 0), 0);
	step(&w, 0);
	assert_int_equal(memory(&w, "192.0.2.1").ended.ms, w.now.ms); /* clean from the moment on */
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.step, 1);
	end(&w);
}

/* Whom to protect can't be known: nobody new, but those who are blocked have not changed for that. */
static void
blocks_unknown_protection_blocks_nobody_new(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	protect_lost(w.protect, PROTECT_OWN);
	step(&w, 0);
	assert_true(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_PROTECTED);
	assert_int_equal(w.result.hit.reason, PROTECT_UNKNOWN);
	assert_int_equal(put(&w, "192.0.2.2", HOUR), BLOCKS_PROTECTED);
	protect_own(&w, "192.0.2.1");
	step(&w, 0);
	assert_false(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_MADE);
	end(&w);
}

static void
blocks_recent_login_is_softened(void **state)
{
	static const struct {
		int soft_first;
		enum block_kind login, first;
	} rows[] = {
		{ BLOCKS_SOFT_NO, BLOCK_THROTTLE, BLOCK_DENY },
		{ BLOCKS_SOFT_THROTTLE, BLOCK_THROTTLE, BLOCK_THROTTLE },
		{ BLOCKS_SOFT_EXPLAIN, BLOCK_EXPLAIN, BLOCK_EXPLAIN },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct world w;

		begin(&w);
		w.cfg.soft_first = rows[i].soft_first;
		log_in(&w, "192.0.2.1", HOUR);
		for (int n = 0; n < 3; n++) { /* as often as it may be */
			assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
			assert_int_equal(w.result.hit.reason, PROTECT_LOGIN);
			assert_int_equal(w.result.change[0].record.block.kind, rows[i].login);
			step(&w, w.result.change[0].record.length_ms);
			log_in(&w, "192.0.2.1", HOUR);
		}
		step(&w, 2 * HOUR); /* the credit is over */
		assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
		assert_int_equal(w.result.change[0].record.block.kind, BLOCK_DENY);
		assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_MADE);
		assert_int_equal(w.result.change[0].record.block.kind, rows[i].first);
		end(&w);
	}
}

static void
blocks_login_softens_what_is_there(void **state)
{
	struct blocks_change c[4];
	struct ip ip = address("192.0.2.1");
	struct world w;

	(void)state;
	begin(&w);
	w.cfg.widen_hosts = 2;
	assert_int_equal(put(&w, "192.0.0.0/16", DAY), BLOCKS_MADE);
	assert_int_equal(take_away(&w, "192.0.0.0/16"), BLOCKS_REMOVED);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_MADE);
	assert_true(is_blocked(&w, "192.0.2.77"));
	assert_int_equal(put(&w, "192.0.0.0/16", DAY), BLOCKS_MADE);
	/* By another door: one of our users. */
	log_in(&w, "192.0.2.1", HOUR);
	assert_int_equal(blocks_recheck_address(w.blocks, &ip, w.now, c, 2), 2);
	assert_int_equal(blocks_recheck_address(w.blocks, &ip, w.now, c + 2, 2), 1);
	assert_int_equal(blocks_recheck_address(w.blocks, &ip, w.now, c + 3, 1), 0);
	assert_int_equal(c[0].event, BLOCKS_CHANGED); /* the host's */
	assert_int_equal(c[0].record.block.kind, BLOCK_THROTTLE);
	assert_int_equal(c[0].protect, PROTECT_LOGIN);
	assert_int_equal(c[1].event, BLOCKS_ENDED); /* the network's */
	assert_true(c[1].record.is_wide);
	assert_int_equal(c[2].event, BLOCKS_CHANGED); /* the person's */
	assert_int_equal(c[2].record.block.kind, BLOCK_EXPLAIN);
	assert_int_equal(record(&w, "192.0.2.2").block.kind, BLOCK_DENY);
	end(&w);
}

/* --- wide ------------------------------------------------------------------------------------ */

static unsigned
offend_from(struct world *w, const char *format, unsigned first, unsigned n)
{
	unsigned wide = 0;

	for (unsigned i = first; i < first + n; i++) {
		char text[IP_TEXT_MAX];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(text, sizeof(text), format, i);
#pragma GCC diagnostic pop
		assert_int_equal(offend(w, text), BLOCKS_MADE);
		wide += w->result.n - 1;
	}
	return wide;
}

static void
blocks_network_only_with_distinct_hosts_in_it(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	for (int i = 0; i < 4; i++) { /* again and again, but always the same four */
		assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 4), 0);
		step(&w, 7 * HOUR);
	}
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 4), 0);
	assert_int_equal(offend_from(&w, "192.0.3.%u", 1, 4), 0); /* beside */
	assert_int_equal(offend_from(&w, "192.0.2.%u", 5, 1), 1);
	struct blocks_record r = w.result.change[1].record;
	assert_int_equal(r.block.prefix.bits, 96 + 24);
	assert_true(r.is_wide);
	assert_int_equal(r.n, 5);
	assert_int_equal(r.max, 5);
	assert_int_equal(r.step, 0);
	assert_about(r.length_ms, 2 * MINUTE);
	assert_string_equal(r.block.id, "k3v9x");
	assert_int_equal(offend(&w, "192.0.2.200"), BLOCKS_ALREADY);
	assert_false(is_blocked(&w, "192.0.3.5")); /* never wider than /24 */
	assert_true(is_blocked(&w, "192.0.3.1"));
	/* S9: each ends at its own time; the first hosts' blocks are a day long by now. */
	step(&w, 3 * MINUTE);
	assert_false(is_blocked(&w, "192.0.2.200"));
	assert_true(is_blocked(&w, "192.0.2.1"));
	/* Another one: the network again, and for longer. */
	assert_int_equal(offend_from(&w, "192.0.2.%u", 200, 1), 1);
	assert_int_equal(w.result.change[1].record.step, 1);
	end(&w);
}

static void
blocks_ipv6_widens_step_by_step(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	/* Five /64s of a /56: that one, and no more. */
	assert_int_equal(offend_from(&w, "2001:db8:1:%x::1", 0, 5), 1);
	assert_int_equal(w.result.change[1].record.block.prefix.bits, 56);
	assert_true(is_blocked(&w, "2001:db8:1:ff::1"));
	assert_false(is_blocked(&w, "2001:db8:1:100::1"));
	end(&w);
	/* Five /56s of a /48. */
	begin(&w);
	assert_int_equal(offend_from(&w, "2001:db8:2:%x00::1", 0, 5), 1);
	assert_int_equal(w.result.change[1].record.block.prefix.bits, 48);
	end(&w);
	/* Five /48s of a /32: each for itself. */
	begin(&w);
	assert_int_equal(offend_from(&w, "2001:db8:a%u::1", 0, 5), 0);
	end(&w);
	/* Single addresses of a /64. */
	begin(&w);
	w.cfg.ipv6_prefix = 128;
	assert_int_equal(offend_from(&w, "2001:db8:3::%x", 1, 5), 1);
	assert_int_equal(w.result.change[1].record.block.prefix.bits, 64);
	end(&w);
}

static bool
is_spared(const struct ip_prefix *p, void *arg)
{
	assert_true(p->bits == 96 + 24);
	(*(int *)arg)++;
	return true;
}

static void
blocks_network_with_innocents_is_spared(void **state)
{
	struct world w;
	int asked = 0;

	(void)state;
	begin(&w);
	protect_own(&w, "192.0.2.250");
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 20), 0);
	assert_int_equal(offend(&w, "192.0.2.250"), BLOCKS_PROTECTED);
	end(&w);
	begin(&w);
	log_in(&w, "192.0.2.250", HOUR);
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 20), 0);
	end(&w);
	begin(&w);
	blocks_set_spared(w.blocks, is_spared, &asked);
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 10), 0);
	assert_int_equal(asked, 6);
	end(&w);
	begin(&w);
	w.cfg.widen_hosts = 0;
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 20), 0);
	end(&w);
	/* Persons' blocks are not counted. */
	begin(&w);
	for (unsigned i = 0; i < 10; i++) {
		char text[IP_TEXT_MAX];

		kit_format(text, sizeof(text), "192.0.2.%u", 100 + i);
		assert_int_equal(put(&w, text, HOUR), BLOCKS_MADE);
	}
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 4), 0);
	/* One that was a rule's becomes a person's. */
	assert_int_equal(put(&w, "192.0.2.1", HOUR), BLOCKS_REPLACED);
	assert_int_equal(offend_from(&w, "192.0.2.%u", 5, 1), 0);
	assert_int_equal(offend_from(&w, "192.0.2.%u", 6, 1), 1);
	end(&w);
	/* Blocks that have ended, and are not stepped away, do not count for a network that is innocent by now. */
	begin(&w);
	assert_int_equal(offend_from(&w, "192.0.2.%u", 1, 4), 0);
	w.now = blocks_due(w.blocks); /* the first of them has just ended */
	assert_int_equal(offend_from(&w, "192.0.2.%u", 5, 1), 0);
	end(&w);
}

static void
blocks_are_a_union(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(put(&w, "192.0.2.0/24", HOUR), BLOCKS_MADE);
	assert_int_equal(put(&w, "192.0.2.1", 2 * HOUR), BLOCKS_MADE);
	assert_int_equal(put(&w, "192.0.0.0/16", 30 * MINUTE), BLOCKS_MADE);
	assert_int_equal(take_away(&w, "192.0.2.1"), BLOCKS_REMOVED);
	assert_true(w.result.is_within); /* still not free, and by whom */
	assert_int_equal(w.result.within.bits, 96 + 24);
	assert_true(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(take_away(&w, "192.0.2.2"), BLOCKS_NOT_THERE);
	assert_true(w.result.is_within);
	step(&w, 45 * MINUTE);
	assert_false(is_blocked(&w, "192.0.3.1"));
	assert_true(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(take_away(&w, "192.0.2.0/24"), BLOCKS_REMOVED);
	assert_false(w.result.is_within);
	assert_false(is_blocked(&w, "192.0.2.1"));
	end(&w);
}

/* --- budgets --------------------------------------------------------------------------------- */

static void
blocks_stop_over_budget_and_say_so(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.cfg.widen_hosts = 0;
	w.cfg.budget_share = 100;
	for (unsigned i = 0; i < 100; i++) {
		char text[IP_TEXT_MAX];

		kit_format(text, sizeof(text), "10.0.0.%u", i);
		assert_int_equal(offend(&w, text), i < 60 ? BLOCKS_MADE : BLOCKS_OVER_MINUTE);
	}
	struct blocks_state s = blocks_state(w.blocks, w.now);
	assert_true(s.is_over);
	assert_int_equal(s.over, BLOCKS_OVER_MINUTE);
	assert_int_equal(s.over_since.ms, w.now.ms);
	assert_int_equal(s.not_done, 40);
	assert_int_equal(s.count, 60);
	assert_int_equal(s.clients, 100);
	assert_int_equal(s.made, 60);
	assert_int_equal(put(&w, "198.51.100.1", HOUR), BLOCKS_MADE); /* persons have no budget */
	/* Not held against those who got away: they are at the start of the ladder. */
	assert_int_equal(memory(&w, "10.0.0.99").steps, 0);
	step(&w, MINUTE - 1);
	assert_true(blocks_state(w.blocks, w.now).is_over);
	step(&w, 1);
	assert_false(blocks_state(w.blocks, w.now).is_over);
	assert_int_equal(offend(&w, "10.0.0.99"), BLOCKS_MADE);
	s = blocks_state(w.blocks, w.now);
	assert_false(s.is_over);
	assert_int_equal(s.not_done_ever, 40);
	/* Again: from anew.  As long as it does not go a whole minute well, it is one and the same. */
	w.cfg.budget_per_minute = 1;
	mono_t since = w.now;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(offend(&w, "10.0.0.98"), BLOCKS_OVER_MINUTE);
		s = blocks_state(w.blocks, w.now);
		assert_true(s.is_over);
		assert_int_equal(s.over_since.ms, since.ms);
		assert_int_equal(s.not_done, i);
		step(&w, MINUTE / 4);
	}
	step(&w, MINUTE / 4);
	assert_int_equal(offend(&w, "10.0.0.98"), BLOCKS_MADE);
	assert_int_equal(offend(&w, "10.0.0.97"), BLOCKS_OVER_MINUTE);
	s = blocks_state(w.blocks, w.now);
	assert_int_equal(s.over_since.ms, since.ms);
	assert_int_equal(s.not_done, 4);
	step(&w, MINUTE);
	assert_int_equal(offend(&w, "10.0.0.97"), BLOCKS_MADE);
	assert_int_equal(offend(&w, "10.0.0.96"), BLOCKS_OVER_MINUTE);
	s = blocks_state(w.blocks, w.now);
	assert_int_equal(s.over_since.ms, w.now.ms);
	assert_int_equal(s.not_done, 1);
	assert_int_equal(s.not_done_ever, 45);
	end(&w);
}

/* A10: the limit is too low, a provider is behind one name, the clock is broken: everybody offends. */
static void
blocks_never_more_than_a_share_of_the_clients(void **state)
{
	struct world w;
	unsigned made = 0;

	(void)state;
	begin_sized(&w, 5000, 5000);
	w.cfg.widen_hosts = 0;
	for (unsigned i = 0; i < 2000; i++) {
		char text[IP_TEXT_MAX];
		struct ip ip;

		kit_format(text, sizeof(text), "10.0.%u.%u", i / 250, i % 250);
		ip = address(text);
		blocks_seen(w.blocks, &ip, w.now);
		made += offend(&w, text) == BLOCKS_MADE;
		step(&w, SECOND / 2);
	}
	assert_in_range(made, 380, 402);
	assert_int_equal(blocks_state(w.blocks, w.now).over, BLOCKS_OVER_SHARE);
	/* Few clients: a floor, or nothing could ever be blocked on a small server. */
	end(&w);
	begin(&w);
	w.cfg.widen_hosts = 0;
	assert_int_equal(offend_from(&w, "10.0.0.%u", 1, BUDGET_FLOOR), 0);
	assert_int_equal(offend(&w, "10.0.0.100"), BLOCKS_OVER_SHARE);
	step(&w, 5 * MINUTE);
	assert_int_equal(offend(&w, "10.0.0.1"), BLOCKS_MADE); /* not one more, but the same once more */
	end(&w);
}

/* R12: a full table is weaker, never stricter, and persons still have room. */
static void
blocks_full_table(void **state)
{
	struct world w;
	unsigned i = 0;

	(void)state;
	begin_sized(&w, 32, 4);
	w.cfg.widen_hosts = 0;
	w.cfg.budget_share = 100;
	assert_int_equal(offend_from(&w, "10.0.0.%u", 1, 30), 0);
	assert_int_equal(offend(&w, "10.0.0.100"), BLOCKS_FULL);
	assert_true(blocks_state(w.blocks, w.now).is_over);
	assert_int_equal(put(&w, "10.0.1.1", HOUR), BLOCKS_MADE);
	assert_int_equal(put(&w, "10.0.1.2", HOUR), BLOCKS_MADE);
	assert_int_equal(put(&w, "10.0.1.3", HOUR), BLOCKS_FULL);
	assert_int_equal(put(&w, "10.0.1.2", DAY), BLOCKS_REPLACED);
	struct blocks_record stored = record(&w, "10.0.1.1");
	stored.block.prefix = prefix("10.0.1.3");
	blocks_restore(w.blocks, &stored, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_FULL);
	assert_int_equal(blocks_state(w.blocks, w.now).remembered, 4);
	step(&w, 3 * MINUTE);
	assert_int_equal(w.ended, 30);
	assert_int_equal(offend(&w, "10.0.0.100"), BLOCKS_MADE);
	end(&w);
	/* More reasons of persons than are kept: the blocks are there all the same. */
	begin_sized(&w, 5000, 4);
	for (; i < BLOCKS_TEXTS_MAX + 100; i++) {
		struct blocks_wish wish = { .prefix = prefix("10.0.0.0"), .for_ms = HOUR, .id = "an id that is too long",
			.who = "maria", .reason = "" };
		char reason[24];

		kit_format(reason, sizeof(reason), "reason %u", i);
		wish.reason = reason;
		wish.prefix.ip.b[14] = (uint8_t)(i >> 8);
		wish.prefix.ip.b[15] = (uint8_t)i;
		blocks_put(w.blocks, &wish, w.now, &w.result);
		assert_int_equal(w.result.verdict, BLOCKS_MADE);
		struct blocks_record r = w.result.change[0].record;
		assert_true(strcmp(r.reason, i < BLOCKS_TEXTS_MAX - 1 ? reason : "") == 0);
		assert_true(strlen(r.block.id) == BLOCK_ID_MAX - 1);
		if (i == BLOCKS_TEXTS_MAX) { /* one that is there already needs no room, and is not taken for another */
			wish.reason = "reason 5";
			blocks_put(w.blocks, &wish, w.now, &w.result);
			assert_string_equal(w.result.change[0].record.reason, "reason 5");
		}
	}
	assert_string_equal(record(&w, "10.0.0.5").reason, "reason 5");
	assert_string_equal(record(&w, "10.0.0.6").reason, "reason 6");
	step(&w, 2 * HOUR);
	assert_int_equal(put(&w, "10.0.0.1", HOUR), BLOCKS_MADE); /* and there is room again */
	assert_string_equal(w.result.change[0].record.reason, "sends nothing but rubbish");
	end(&w);
}

/* --- persons --------------------------------------------------------------------------------- */

static void
blocks_of_persons(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.cfg.soft_first = BLOCKS_SOFT_THROTTLE;
	assert_int_equal(put(&w, "192.0.2.1", BLOCKS_FOR_MIN_MS - 1), BLOCKS_BAD_TIME);
	assert_int_equal(put(&w, "192.0.2.1", BLOCKS_FOR_MAX_MS + 1), BLOCKS_BAD_TIME);
	assert_int_equal(put(&w, "192.0.2.1", -1), BLOCKS_BAD_TIME);
	assert_int_equal(put(&w, "192.0.2.1", BLOCKS_FOR_MIN_MS), BLOCKS_MADE);
	assert_int_equal(put(&w, "192.0.2.1", BLOCKS_FOR_MAX_MS), BLOCKS_REPLACED);
	assert_int_equal(take_away(&w, "192.0.2.1"), BLOCKS_REMOVED);
	assert_int_equal(put(&w, "64.0.0.0/7", HOUR), BLOCKS_TOO_WIDE);
	assert_int_equal(put(&w, "2000::/15", HOUR), BLOCKS_TOO_WIDE);
	assert_int_equal(put(&w, "64.0.0.0/8", HOUR), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.block.kind, BLOCK_DENY); /* as the person wants it */
	assert_int_equal(w.result.change[0].record.length_ms, HOUR); /* to the millisecond */
	assert_int_equal(offend(&w, "64.1.2.3"), BLOCKS_ALREADY);
	/* Shorter or longer, as often as he likes. */
	assert_int_equal(put(&w, "64.0.0.0/8", MINUTE), BLOCKS_REPLACED);
	assert_int_equal(w.result.change[0].event, BLOCKS_CHANGED);
	assert_int_equal(w.result.n, 1);
	assert_true(blocks_due(w.blocks).ms == w.now.ms + MINUTE);
	step(&w, MINUTE);
	assert_int_equal(blocks_state(w.blocks, w.now).by_person, 0);
	/* No memory of it: the first offence is the first. */
	assert_int_equal(offend(&w, "64.1.2.3"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.times, 0);
	/* In the place of a rule's, for longer. */
	assert_int_equal(put(&w, "64.1.2.3", DAY), BLOCKS_REPLACED);
	step(&w, HOUR);
	assert_true(is_blocked(&w, "64.1.2.3"));
	/* Somebody logged in from there: it is told why. */
	log_in(&w, "192.0.2.1", DAY);
	assert_int_equal(put(&w, "192.0.2.0/24", HOUR), BLOCKS_MADE);
	assert_int_equal(w.result.hit.reason, PROTECT_LOGIN);
	assert_int_equal(w.result.change[0].record.block.kind, BLOCK_EXPLAIN);
	end(&w);
}

static void
blocks_removed_by_a_person_were_wrong(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
		step(&w, HOUR * 2);
	}
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.step, 3);
	assert_int_equal(take_away(&w, "192.0.2.1"), BLOCKS_REMOVED);
	assert_int_equal(w.result.n, 1);
	assert_int_equal(w.result.change[0].event, BLOCKS_ENDED);
	assert_int_equal(w.result.change[0].end, BLOCKS_END_PERSON);
	assert_false(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.step, 0);
	end(&w);
}

/* --- time ------------------------------------------------------------------------------------ */

static void
blocks_end_in_order_and_no_more_than_asked_for(void **state)
{
	struct world w;
	struct blocks_change c[100];
	int64_t last = 0;

	(void)state;
	begin(&w);
	w.cfg.widen_hosts = 0;
	w.cfg.budget_share = 100;
	assert_int_equal(offend_from(&w, "10.0.0.%u", 1, 60), 0);
	mono_t night = mono_after(w.now, 8 * HOUR); /* T2: suspended, and all in one turn */
	assert_int_equal(blocks_step(w.blocks, night, c, 0), 0);
	assert_int_equal(blocks_step(w.blocks, night, c, 50), 50);
	assert_int_equal(blocks_step(w.blocks, night, c + 50, 50), 10);
	for (size_t i = 0; i < 60; i++) {
		assert_int_equal(c[i].end, BLOCKS_END_TIME);
		assert_true(c[i].record.block.until.ms >= last);
		last = c[i].record.block.until.ms;
	}
	assert_int_equal(blocks_state(w.blocks, night).count, 0);
	end(&w);
}

/* T6 */
static void
blocks_now_repeats_and_goes_back(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	int64_t length = w.result.change[0].record.length_ms;
	w.now = mono_after(w.now, length - 1);
	step(&w, 0);
	w.now = (mono_t) { 5 }; /* long before */
	assert_int_equal(offend(&w, "192.0.2.2"), BLOCKS_MADE);
	assert_true(w.result.change[0].record.block.until.ms > start.ms + length);
	step(&w, 0);
	assert_true(is_blocked(&w, "192.0.2.1"));
	w.now = mono_after(start, length);
	step(&w, 0);
	assert_false(is_blocked(&w, "192.0.2.1"));
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	end(&w);
}

/* --- across restarts ------------------------------------------------------------------------- */

static void
blocks_restored_for_no_longer_than_is_left(void **state)
{
	static const struct {
		int64_t length_ms, remaining_ms, left_ms;
	} rows[] = {
		{ HOUR, 20 * MINUTE, 20 * MINUTE }, { HOUR, HOUR, HOUR }, { HOUR, 2 * HOUR, HOUR },
		{ HOUR, INT64_MAX, HOUR }, { INT64_MAX, INT64_MAX, BLOCKS_FOR_MAX_MS }, { HOUR, 1, 1 }, { HOUR, 0, 0 },
		{ HOUR, -1, 0 }, { HOUR, INT64_MIN, 0 }, { 0, HOUR, 1 }, { INT64_MIN, HOUR, 1 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct blocks_record stored = { .block = { .prefix = prefix("192.0.2.1"), .id = "old" },
			.length_ms = rows[i].length_ms, .who = "ip", .step = 2, .times = 2 };
		struct world w;

		begin(&w);
		w.now = (mono_t) { 5 }; /* T3: the machine has just booted */
		blocks_restore(w.blocks, &stored, rows[i].remaining_ms, w.now, &w.result);
		assert_int_equal(w.result.verdict, rows[i].left_ms > 0 ? BLOCKS_MADE : BLOCKS_BAD_TIME);
		if (rows[i].left_ms > 0)
			assert_true(w.result.change[0].record.block.until.ms == 5 + rows[i].left_ms);
		end(&w);
	}
}

static void
blocks_restored_with_all_that_belongs_to_it(void **state)
{
	struct world w, before;
	struct blocks_record r;
	size_t cursor = 0;

	(void)state;
	begin(&before);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(offend(&before, "192.0.2.1"), BLOCKS_MADE);
		step(&before, 15 * MINUTE);
	}
	assert_int_equal(offend_from(&before, "192.0.2.%u", 1, 5), 1);
	assert_int_equal(put(&before, "198.51.100.0/24", DAY), BLOCKS_MADE);
	begin(&w);
	w.now = (mono_t) { 77 };
	for (; blocks_next(before.blocks, &cursor, &r);) {
		blocks_restore(w.blocks, &r, mono_since(before.now, r.block.until), w.now, &w.result);
		assert_int_equal(w.result.verdict, BLOCKS_MADE);
		struct blocks_record again = w.result.change[0].record;
		assert_int_equal(mono_since(w.now, again.block.until), mono_since(before.now, r.block.until));
		again.block.until = r.block.until;
		assert_memory_equal(&again, &r, sizeof(r));
	}
	assert_int_equal(blocks_state(w.blocks, w.now).count, 7);
	assert_int_equal(blocks_state(w.blocks, w.now).by_person, 1);
	assert_false(blocks_state(w.blocks, w.now).is_over); /* no budget for what was done before */
	/* The ladder goes on where it was. */
	struct blocks_memory m = memory(&w, "192.0.2.1"), was = memory(&before, "192.0.2.1");
	assert_int_equal(m.steps, was.steps);
	assert_int_equal(m.times, was.times);
	step(&w, 7 * HOUR);
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.step, 3);
	end(&before);
	end(&w);
}

static void
blocks_restored_and_what_is_so_by_now(void **state)
{
	struct blocks_record rules = { .block = { .prefix = prefix("192.0.2.1") }, .length_ms = HOUR, .who = "ip" };
	struct blocks_record persons = rules, wide = rules, odd = rules;
	struct world w;

	(void)state;
	persons.by_person = true;
	(void)snprintf(persons.who, sizeof(persons.who), "maria");
	wide.is_wide = true;
	wide.block.prefix = prefix("192.0.2.0/24");
	begin(&w);
	/* Blocked since: stays so, unless the stored one is a person's word. */
	assert_int_equal(offend(&w, "192.0.2.1"), BLOCKS_MADE);
	blocks_restore(w.blocks, &rules, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_ALREADY);
	blocks_restore(w.blocks, &persons, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_REPLACED);
	assert_string_equal(record(&w, "192.0.2.1").who, "maria");
	blocks_restore(w.blocks, &persons, DAY, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_ALREADY);
	assert_int_equal(take_away(&w, "192.0.2.1"), BLOCKS_REMOVED);
	/* Protected since. */
	log_in(&w, "192.0.2.1", DAY);
	blocks_restore(w.blocks, &wide, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_PROTECTED);
	blocks_restore(w.blocks, &rules, HOUR, w.now, &w.result);
	assert_int_equal(w.result.change[0].record.block.kind, BLOCK_THROTTLE);
	assert_int_equal(take_away(&w, "192.0.2.1"), BLOCKS_REMOVED);
	protect_own(&w, "192.0.2.1");
	blocks_restore(w.blocks, &persons, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_PROTECTED);
	blocks_restore(w.blocks, &wide, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_PROTECTED);
	/* What no version of ours would have written. */
	odd.block.prefix = prefix("198.51.100.1");
	odd.block.kind = (enum block_kind)77;
	odd.step = 4000000000;
	odd.times = UINT32_MAX;
	blocks_restore(w.blocks, &odd, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.block.kind, BLOCK_EXPLAIN);
	step(&w, HOUR);
	assert_int_equal(offend(&w, "198.51.100.1"), BLOCKS_MADE);
	assert_int_equal(w.result.change[0].record.times, UINT32_MAX);
	assert_int_equal(w.result.change[0].record.step, 4);
	odd.block.prefix = prefix("198.51.100.2");
	odd.block.kind = (enum block_kind)BLOCK_KINDS;
	odd.step = CFG_LIST_MAX;
	blocks_restore(w.blocks, &odd, HOUR, w.now, &w.result);
	assert_int_equal(w.result.change[0].record.block.kind, BLOCK_EXPLAIN);
	assert_int_equal(w.result.change[0].record.step, CFG_LIST_MAX - 1);
	odd.block.prefix = prefix("64.0.0.0/7");
	blocks_restore(w.blocks, &odd, HOUR, w.now, &w.result);
	assert_int_equal(w.result.verdict, BLOCKS_TOO_WIDE);
	end(&w);
}

static void
blocks_remembered_across_restarts(void **state)
{
	struct blocks_record old = { .block = { .prefix = prefix("192.0.2.1") }, .length_ms = HOUR, .who = "ip",
		.step = 2, .times = 4 };
	struct world w;

	(void)state;
	begin(&w);
	w.now = (mono_t) { 10 };
	blocks_remember(w.blocks, &old, DAY + HOUR, w.now); /* before this boot: one clean day */
	assert_int_equal(memory(&w, "192.0.2.1").steps, 2);
	assert_int_equal(memory(&w, "192.0.2.1").times, 5);
	assert_int_equal(memory(&w, "192.0.2.1").clean_ms, 2 * DAY - HOUR);
	blocks_remember(w.blocks, &old, HOUR, w.now); /* a later one counts, whatever the order */
	blocks_remember(w.blocks, &old, 2 * DAY, w.now);
	assert_int_equal(memory(&w, "192.0.2.1").steps, 3);
	old.block.prefix = prefix("192.0.2.2");
	blocks_remember(w.blocks, &old, INT64_MAX, w.now);
	assert_int_equal(memory(&w, "192.0.2.2").steps, 0);
	blocks_remember(w.blocks, &old, -5, w.now); /* ended in the future: now */
	assert_int_equal(memory(&w, "192.0.2.2").steps, 3);
	old.block.prefix = prefix("192.0.2.3");
	old.by_person = true;
	blocks_remember(w.blocks, &old, 0, w.now);
	assert_int_equal(memory(&w, "192.0.2.3").steps, 0);
	end(&w);
}

/* B6: seconds, not hours. */
static void
blocks_100000_restored_in_seconds(void **state)
{
	unsigned n = (unsigned)kit_rounds(100000);
	struct blocks_record r = { .block = { .prefix = prefix("10.0.0.0"), .id = "old" }, .length_ms = DAY, .who = "ip" };
	struct timespec a, z;
	struct world w;

	(void)state;
	begin_sized(&w, BLOCKS_DEFAULT, BLOCKS_MEMORY_DEFAULT);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	for (unsigned i = 0; i < n; i++) {
		r.block.prefix.ip.b[13] = (uint8_t)(i >> 16);
		r.block.prefix.ip.b[14] = (uint8_t)(i >> 8);
		r.block.prefix.ip.b[15] = (uint8_t)i;
		blocks_restore(w.blocks, &r, DAY - i % 1000, w.now, &w.result);
		assert_int_equal(w.result.verdict, BLOCKS_MADE);
	}
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &z);
	int64_t ms = (z.tv_sec - a.tv_sec) * 1000 + (z.tv_nsec - a.tv_nsec) / 1000000;
	print_message("# %u blocks restored in %lld ms of cpu\n", n, (long long)ms);
	assert_true(ms < 5000);
	protect_own(&w, "10.0.0.1");
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	step(&w, 0);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &z);
	ms = (z.tv_sec - a.tv_sec) * 1000 + (z.tv_nsec - a.tv_nsec) / 1000000;
	print_message("# looked through after a change of what is protected in %lld ms\n", (long long)ms);
	assert_int_equal(blocks_state(w.blocks, w.now).count, n - 1);
	step(&w, DAY);
	assert_int_equal(blocks_state(w.blocks, w.now).count, 0);
	end(&w);
}

/* --- a dry run decides the same (A12, B16) --------------------------------------------------- */

/* Two tables: one where the blocks are obeyed, so that nothing comes from an address under one, and one where all of
 * it comes. */
static void
blocks_dry_run_decides_the_same(void **state)
{
	struct world real, dry;
	struct dice d = dice_new();
	unsigned made = 0, kept_out = 0;

	(void)state;
	begin(&real);
	begin(&dry);
	for (int i = 0; i < kit_rounds(100000); i++) {
		char text[IP_TEXT_MAX];
		int64_t pause = dice_below(&d, 200) == 0 ? dice_below(&d, (unsigned)HOUR) : dice_below(&d, 3000);

		if (dice_below(&d, 4) == 0)
			kit_format(text, sizeof(text), "2001:db8:%x:%x::%x", dice_below(&d, 3), dice_below(&d, 600),
				dice_below(&d, 9));
		else
			kit_format(text, sizeof(text), "10.0.%u.%u", dice_below(&d, 6), dice_below(&d, 40));
		step(&real, pause);
		step(&dry, pause);
		assert_int_equal(real.ended, dry.ended);
		struct ip ip = address(text);
		bool out = is_blocked(&real, text);
		assert_int_equal(is_blocked(&dry, text), out);
		blocks_seen(dry.blocks, &ip, dry.now);
		enum blocks_verdict v = offend(&dry, text);
		if (out) {
			kept_out++;
			assert_int_equal(v, BLOCKS_ALREADY);
			continue;
		}
		blocks_seen(real.blocks, &ip, real.now);
		assert_int_equal(offend(&real, text), v);
		assert_int_equal(real.result.n, dry.result.n);
		assert_memory_equal(real.result.change, dry.result.change, real.result.n * sizeof(real.result.change[0]));
		made += v == BLOCKS_MADE;
	}
	if (!kit_is_slow())
		assert_true(made > 1000 && kept_out > 1000);
	end(&real);
	end(&dry);
}

/* --- the promise ----------------------------------------------------------------------------- */

#define CORNER 200

/* A small world in which everything meets everything, and what is protected in it, in the simplest words. */
struct promise {
	struct world w;
	struct dice d;
	struct ip_prefix own[3], allowed[3], relay[3];
	size_t n_own, n_allowed, n_relay;
	struct ip login[CORNER];
	mono_t login_until[CORNER];
	struct blocks_change change[16];
	size_t mirrored; /* blocks by the changes that we were told */
};

static struct ip
someone(struct dice *d)
{
	struct ip ip = address(dice_below(d, 3) > 0 ? "10.0.0.0" : "2001:db8::");

	if (ip_is_v4(&ip)) {
		ip.b[14] = (uint8_t)dice_below(d, 3);
		ip.b[15] = (uint8_t)dice_below(d, 40);
	} else {
		ip.b[5] = (uint8_t)dice_below(d, 2);
		ip.b[6] = (uint8_t)dice_below(d, 4);
		ip.b[7] = (uint8_t)dice_below(d, 4);
		ip.b[15] = (uint8_t)dice_below(d, 4);
	}
	if (dice_below(d, 200) == 0)
		ip = address(dice_below(d, 2) == 0 ? "127.0.0.1" : "::1");
	return ip;
}

static struct ip_prefix
somewhere(struct dice *d)
{
	static const uint8_t v4[] = { 32, 32, 32, 31, 28, 24, 23, 16, 8 }, v6[] = { 128, 128, 64, 63, 56, 48, 32, 16 };
	struct ip ip = someone(d);
	unsigned bits = ip_is_v4(&ip) ? 96u + v4[dice_below(d, countof(v4))] : v6[dice_below(d, countof(v6))];

	return (struct ip_prefix) { ip_mask(&ip, bits), (uint8_t)bits };
}

static bool
touches(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits <= b->bits ? ip_prefix_contains(a, &b->ip) : ip_prefix_contains(b, &a->ip);
}

static bool
touches_any(const struct ip_prefix *list, size_t n, const struct ip_prefix *p)
{
	for (size_t i = 0; i < n; i++)
		if (touches(&list[i], p))
			return true;
	return false;
}

/* The promise: no protected address inside, and no login under a DENY. */
static void
keep(const struct promise *m, const struct blocks_record *r)
{
	const struct ip_prefix loopback[] = { prefix("127.0.0.0/8"), prefix("::1") };
	const struct ip_prefix *p = &r->block.prefix;

	assert_false(touches_any(m->own, m->n_own, p) || touches_any(m->allowed, m->n_allowed, p)
		|| touches_any(m->relay, m->n_relay, p) || touches_any(loopback, 2, p));
	if (r->block.kind != BLOCK_DENY && !r->is_wide)
		return;
	for (size_t i = 0; i < CORNER; i++)
		assert_false(m->login_until[i].ms > m->w.now.ms && ip_prefix_contains(p, &m->login[i]));
}

static void
hear(struct promise *m, const struct blocks_change *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		m->mirrored += c[i].event == BLOCKS_BEGUN;
		m->mirrored -= c[i].event == BLOCKS_ENDED;
		if (c[i].event != BLOCKS_ENDED)
			keep(m, &c[i].record);
	}
}

static void
keep_all(const struct promise *m)
{
	struct blocks_record r;
	size_t cursor = 0, n = 0;

	for (; blocks_next(m->w.blocks, &cursor, &r); n++) {
		assert_true(r.block.until.ms > m->w.now.ms);
		assert_true(r.length_ms > 0 && r.length_ms <= BLOCKS_FOR_MAX_MS);
		keep(m, &r);
	}
	assert_int_equal(n, m->mirrored);
	assert_int_equal(blocks_state(m->w.blocks, m->w.now).count, n);
}

static void
due(struct promise *m)
{
	size_t n;

	while ((n = blocks_step(m->w.blocks, m->w.now, m->change, 1 + dice_below(&m->d, countof(m->change)))) > 0)
		hear(m, m->change, n);
}

static void
change_protected(struct promise *m)
{
	struct protect_allow entries[countof(m->allowed)] = { { 0 } };
	struct ip_prefix *list = dice_below(&m->d, 2) == 0 ? m->own : m->relay;
	size_t *n = list == m->own ? &m->n_own : &m->n_relay;

	if (dice_below(&m->d, 2) == 0) {
		m->n_allowed = dice_below(&m->d, countof(m->allowed) + 1);
		for (size_t i = 0; i < m->n_allowed; i++)
			entries[i].prefix = m->allowed[i] = somewhere(&m->d);
		assert_int_equal(protect_allow(m->w.protect, entries, m->n_allowed), 0);
	} else {
		*n = dice_below(&m->d, countof(m->own) + 1);
		for (size_t i = 0; i < *n; i++) {
			list[i] = somewhere(&m->d);
			if (list == m->own || protect_is_wide(&list[i]))
				list[i] = (struct ip_prefix) { someone(&m->d), 128 };
		}
		assert_int_equal(protect_set(m->w.protect, list == m->own ? PROTECT_OWN : PROTECT_RELAY, list, *n), 0);
	}
	due(m);
}

static void
somebody_logs_in(struct promise *m)
{
	struct ip ip = someone(&m->d);
	mono_t until = mono_after(m->w.now, dice_below(&m->d, (unsigned)HOUR));
	unsigned i = dice_below(&m->d, 50); /* fewer than the table holds, so that none is forgotten */
	size_t n;

	if (m->login_until[i].ms > m->w.now.ms)
		return;
	m->login[i] = ip;
	m->login_until[i] = until;
	protect_login(m->w.protect, &ip, until);
	while ((n = blocks_recheck_address(m->w.blocks, &ip, m->w.now, m->change, 2)) > 0)
		hear(m, m->change, n);
}

static void
store_and_restore(struct promise *m)
{
	struct ip_prefix p = somewhere(&m->d);
	struct blocks_record r = { .block = { .prefix = p, .kind = (enum block_kind)dice_below(&m->d, 4) },
		.length_ms = dice_below(&m->d, (unsigned)DAY), .who = "ip", .step = dice_below(&m->d, 9),
		.by_person = dice_below(&m->d, 4) == 0, .is_wide = dice_below(&m->d, 4) == 0 };

	blocks_restore(m->w.blocks, &r, (int64_t)dice_any(&m->d), m->w.now, &m->w.result);
	hear(m, m->w.result.change, m->w.result.n);
	if (dice_below(&m->d, 2) == 0)
		blocks_remember(m->w.blocks, &r, (int64_t)dice_any(&m->d), m->w.now);
}

static void
one_operation(struct promise *m)
{
	struct world *w = &m->w;
	struct ip ip = someone(&m->d);
	struct ip_prefix p = somewhere(&m->d);
	struct blocks_evidence e = { .rule = "ip", .id = "e", .n = 3, .max = 2, .is_our_refusal = dice_below(&m->d, 20) == 0 };
	struct blocks_wish wish = { .prefix = p, .kind = (enum block_kind)dice_below(&m->d, BLOCK_KINDS),
		.for_ms = dice_below(&m->d, (unsigned)DAY), .id = "w", .who = "maria", .reason = "" };

	w->result.n = 0;
	switch (dice_below(&m->d, 100)) {
	case 0:
		change_protected(m);
		break;
	case 1:
		somebody_logs_in(m);
		break;
	case 2:
		store_and_restore(m);
		return;
	case 3: case 4: case 5:
		blocks_put(w->blocks, &wish, w->now, &w->result);
		break;
	case 6: case 7: case 8: case 9:
		blocks_remove(w->blocks, &p, w->now, &w->result);
		break;
	case 10: /* another configuration */
		w->cfg.ipv6_prefix = 48 + 8 * dice_below(&m->d, 11);
		w->cfg.soft_first = (int)dice_below(&m->d, 3);
		w->cfg.widen_hosts = dice_below(&m->d, 6);
		w->cfg.ladder.n = 1 + dice_below(&m->d, 5);
		w->cfg.budget_share = 1 + dice_below(&m->d, 100);
		blocks_configure(w->blocks, &w->cfg);
		break;
	case 11: case 12: case 13: case 14: case 15:
		blocks_seen(w->blocks, &ip, w->now);
		break;
	default:
		blocks_offend(w->blocks, &ip, &e, w->now, &w->result);
		break;
	}
	hear(m, w->result.change, w->result.n);
}

static void
blocks_no_protected_address_is_ever_blocked(void **state)
{
	static struct promise m;
	uint64_t begun = 0;

	(void)state;
	memset(&m, 0, sizeof(m));
	begin_sized(&m.w, 300, 200);
	m.w.cfg.budget_per_minute = 1000;
	m.d = dice_new();
	for (int i = 0; i < kit_rounds(1000000); i++) {
		size_t before = m.mirrored;

		m.w.now = mono_after(m.w.now, dice_below(&m.d, 5000) == 0 ? dice_below(&m.d, (unsigned)DAY)
			: dice_below(&m.d, 2000));
		due(&m);
		one_operation(&m);
		begun += m.mirrored > before;
		if (i % 10000 == 0 || m.w.result.n > 1)
			keep_all(&m);
	}
	print_message("# %llu begun\n", (unsigned long long)begun);
	assert_true(begun > (uint64_t)kit_rounds(1000000) / 100);
	m.w.now = mono_after(m.w.now, BLOCKS_FOR_MAX_MS);
	due(&m);
	assert_int_equal(m.mirrored, 0);
	end(&m.w);
}

static void
blocks_sizes_out_of_range_are_refused(void **state)
{
	struct world w;
	struct blocks *b = NULL;

	(void)state;
	begin(&w);
	assert_int_equal(blocks_new(0, 1, key, w.protect, &b), -EINVAL);
	assert_int_equal(blocks_new(1, 0, key, w.protect, &b), -EINVAL);
	assert_int_equal(blocks_new(BLOCKS_MAX + 1, 1, key, w.protect, &b), -EINVAL);
	assert_int_equal(blocks_new(1, BLOCKS_MAX + 1, key, w.protect, &b), -EINVAL);
	assert_null(b);
	assert_int_equal(blocks_new(1, 1, key, w.protect, &b), 0);
	blocks_free(b);
	blocks_free(NULL);
	end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_ladder_is_climbed),
		cmocka_unit_test(blocks_jitter_is_a_tenth),
		cmocka_unit_test(blocks_clean_time_forgives),
		cmocka_unit_test(blocks_hits_during_a_block_are_no_evidence),
		cmocka_unit_test(blocks_ended_and_begun_in_one_call),
		cmocka_unit_test(blocks_thousand_offences_are_capped),
		cmocka_unit_test(blocks_ipv6_by_its_prefix),
		cmocka_unit_test(blocks_other_rules_and_our_own_refusals_are_no_evidence),
		cmocka_unit_test(blocks_record_tells_why),
		cmocka_unit_test(blocks_protected_are_never_blocked),
		cmocka_unit_test(blocks_end_when_they_become_protected),
		cmocka_unit_test(blocks_unknown_protection_blocks_nobody_new),
		cmocka_unit_test(blocks_recent_login_is_softened),
		cmocka_unit_test(blocks_login_softens_what_is_there),
		cmocka_unit_test(blocks_network_only_with_distinct_hosts_in_it),
		cmocka_unit_test(blocks_ipv6_widens_step_by_step),
		cmocka_unit_test(blocks_network_with_innocents_is_spared),
		cmocka_unit_test(blocks_are_a_union),
		cmocka_unit_test(blocks_stop_over_budget_and_say_so),
		cmocka_unit_test(blocks_never_more_than_a_share_of_the_clients),
		cmocka_unit_test(blocks_full_table),
		cmocka_unit_test(blocks_of_persons),
		cmocka_unit_test(blocks_removed_by_a_person_were_wrong),
		cmocka_unit_test(blocks_end_in_order_and_no_more_than_asked_for),
		cmocka_unit_test(blocks_now_repeats_and_goes_back),
		cmocka_unit_test(blocks_restored_for_no_longer_than_is_left),
		cmocka_unit_test(blocks_restored_with_all_that_belongs_to_it),
		cmocka_unit_test(blocks_restored_and_what_is_so_by_now),
		cmocka_unit_test(blocks_remembered_across_restarts),
		cmocka_unit_test(blocks_100000_restored_in_seconds),
		cmocka_unit_test(blocks_dry_run_decides_the_same),
		cmocka_unit_test(blocks_no_protected_address_is_ever_blocked),
		cmocka_unit_test(blocks_sizes_out_of_range_are_refused),
	};

	return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
