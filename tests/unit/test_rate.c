/* SPDX-License-Identifier: ISC */
/*
 * rate, against an oracle that remembers every mark, and in the situations that an attacker would make: too many keys, keys
 * from one network, colliding keys, clocks that jump (failures S1 to S5, S7, T1, T6).
 */
#include "controller/rate.h"

#include "lib/siphash.h"
#include "tests/unit/kit.h"

static const uint8_t secret[RATE_KEY_SIZE] = "0123456789abcdef";
static const mono_t start = { 1000000 };

static mono_t
at(int64_t ms)
{
	return mono_after(start, ms);
}

static struct rate_limit *
add_limit(struct rate_cfg *cfg, const char *pattern, int64_t window_ms, int64_t count)
{
	struct rate_class *c = &cfg->class[cfg->n_classes - 1];
	struct rate_limit *l = &cfg->limit[cfg->n_limits++];

	assert_int_equal(rate_limit_set_pattern(l, pattern), 0);
	l->window_ms = window_ms;
	l->count = count;
	c->n++;
	return l;
}

static void
add_class(struct rate_cfg *cfg, const char *name, enum rate_mode mode)
{
	struct rate_class *c = &cfg->class[cfg->n_classes++];

	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	c->mode = mode;
	c->first = cfg->n_limits;
	c->n = 0;
}

static struct rate *
table(uint64_t memory, const struct rate_cfg *cfg)
{
	struct rate *r;

	assert_int_equal(rate_new(memory, secret, &r), 0);
	rate_configure(r, cfg);
	return r;
}

static struct rate_question
question(const struct rate *r, int class, const char *value)
{
	struct rate_question q;

	rate_find(r, class, value, strlen(value), &q);
	return q;
}

static struct rate_answer
mark(struct rate *r, int class, const char *value, mono_t now)
{
	struct rate_question q = question(r, class, value);
	struct rate_answer a;

	rate_prefetch(r, &q);
	rate_mark(r, &q, now, &a);
	return a;
}

static struct rate_answer
peek(const struct rate *r, int class, const char *value, mono_t now)
{
	struct rate_question q = question(r, class, value);
	struct rate_answer a;

	rate_peek(r, &q, now, &a);
	return a;
}

#define assert_answer(a, v, n_, max_) do { \
		struct rate_answer answer_ = (a); \
		assert_int_equal(answer_.verdict, v); \
		assert_int_equal(answer_.n, n_); \
		assert_int_equal(answer_.max, max_); \
	} while (0)

/* --- the oracle ------------------------------------------------------------------------------ */

#define KEYS 1000
#define CLASSES 5

static const struct {
	int64_t window, count;
} oracle_limit[CLASSES] = { { 10000, 5 }, { 90000, 20 }, { 2000, 0 }, { 3600000, 200 }, { 500, 40 } };

/* Every mark of every key; the times of one key grow. */
struct history {
	int64_t *at;
	size_t n, cap, first; /* marks before `first` are out of every window to come */
};

static void
remember(struct history *h, int64_t now)
{
	if (h->n == h->cap) {
		h->cap = h->cap > 0 ? 2 * h->cap : 16;
		h->at = realloc(h->at, h->cap * sizeof(h->at[0]));
		assert_non_null(h->at);
	}
	h->at[h->n++] = now;
}

static int64_t
in_window(struct history *h, int64_t window, int64_t now)
{
	while (h->first < h->n && now - h->at[h->first] >= window)
		h->first++;
	return (int64_t)(h->n - h->first);
}

static void
run_oracle(enum rate_mode mode, int marks)
{
	static struct history history[CLASSES][KEYS];
	static struct rate_cfg cfg;
	struct dice d = dice_new();
	int64_t now = 0;

	memset(&cfg, 0, sizeof(cfg));
	memset(history, 0, sizeof(history));
	for (int c = 0; c < CLASSES; c++) {
		char name[24];

		(void)snprintf(name, sizeof(name), "class%d", c);
		add_class(&cfg, name, mode);
		add_limit(&cfg, "*", oracle_limit[c].window, oracle_limit[c].count);
	}
	struct rate *r = table(64 << 20, &cfg);
	for (int i = 0; i < marks; i++) {
		int c = (int)dice_below(&d, CLASSES);
		/* A few keys are busy, most are not. */
		int k = dice_below(&d, 4) == 0 ? (int)dice_below(&d, KEYS) : (int)dice_below(&d, 20);
		struct history *h = &history[c][k];
		char value[16];

		now += dice_below(&d, 3) == 0 ? 0 : dice_below(&d, 100000) == 0 ? 4000000 : dice_below(&d, 8);
		(void)snprintf(value, sizeof(value), "key%d", k);
		int64_t before = in_window(h, oracle_limit[c].window, now), max = oracle_limit[c].count;
		bool over = before + 1 > max;
		if (mode == RATE_WINDOW || !over)
			remember(h, now);
		struct rate_answer p = peek(r, c, value, at(now)), a = mark(r, c, value, at(now));
		int64_t n = before + 1 < max + 1 ? before + 1 : max + 1;
		if (a.verdict != (over ? RATE_OVER : RATE_OK) || a.n != n || a.max != max || p.verdict != a.verdict
			|| p.n != (before < max + 1 ? before : max + 1))
			fail_msg("mark %d: %s in class %d: %lld/%lld (peek %lld), the oracle says %lld", i, value, c,
				(long long)a.n, (long long)a.max, (long long)p.n, (long long)n);
		if (i % 1000 == 0)
			rate_sweep(r, at(now), 5000);
	}
	assert_int_equal(rate_stats(r).evicted, 0);
	assert_int_equal(rate_stats(r).lost_marks, 0);
	for (int c = 0; c < CLASSES; c++)
		for (int k = 0; k < KEYS; k++)
			free(history[c][k].at);
	rate_free(r);
}

static void
rate_window_agrees_with_an_oracle_on_a_million_marks(void **state)
{
	(void)state;
	run_oracle(RATE_WINDOW, kit_rounds(1000000));
}

static void
rate_leaky_agrees_with_an_oracle(void **state)
{
	(void)state;
	run_oracle(RATE_LEAKY, kit_rounds(300000));
}

/* The generic cell rate algorithm as the standard has it, in floating point. */
static void
rate_gcra_agrees_with_the_textbook(void **state)
{
	static struct rate_cfg cfg;
	static double tat[KEYS];
	struct dice d = dice_new();
	int64_t now = 0;

	(void)state;
	memset(&cfg, 0, sizeof(cfg));
	add_class(&cfg, "user", RATE_GCRA);
	add_limit(&cfg, "*", 10000, 5);
	struct rate *r = table(1 << 20, &cfg);
	for (int i = 0; i < kit_rounds(200000); i++) {
		int k = (int)dice_below(&d, KEYS);
		double t = 2000, ahead = tat[k] > (double)now ? tat[k] - (double)now : 0;
		bool over = ahead + t > 5 * t + 0.001;
		char value[16];

		(void)snprintf(value, sizeof(value), "key%d", k);
		assert_int_equal(mark(r, 0, value, at(now)).verdict, over ? RATE_OVER : RATE_OK);
		if (!over)
			tat[k] = (double)now + ahead + t;
		now += dice_below(&d, 5);
	}
	rate_free(r);
}

/* --- what limits say ------------------------------------------------------------------------- */

static void
rate_first_pattern_that_matches_counts(void **state)
{
	static struct rate_cfg cfg;

	(void)state;
	memset(&cfg, 0, sizeof(cfg));
	add_class(&cfg, "ip", RATE_WINDOW);
	add_limit(&cfg, "192.0.2.0/24", 1000, 7);
	add_limit(&cfg, "2001:db8::/32", 1000, 8);
	add_limit(&cfg, "10.0.0.*", 1000, 2);
	add_limit(&cfg, "127.*", 1000, -1);
	add_limit(&cfg, "[0-9]*", 1000, 1);
	add_class(&cfg, "user", RATE_WINDOW);
	add_limit(&cfg, "*", 1000, 3);
	struct rate *r = table(1 << 20, &cfg);

	assert_answer(mark(r, 0, "192.0.2.77", start), RATE_OK, 1, 7);
	assert_answer(mark(r, 0, "::ffff:192.0.2.77", start), RATE_OK, 2, 7);
	assert_answer(mark(r, 0, "192.0.3.77", start), RATE_OK, 1, 1);
	assert_answer(mark(r, 0, "2001:DB8::1", start), RATE_OK, 1, 8);
	assert_answer(mark(r, 0, "2001:db8:0::1", start), RATE_OK, 2, 8);
	assert_answer(mark(r, 0, "10.0.0.9", start), RATE_OK, 1, 2);
	assert_answer(mark(r, 0, "10.0.0.9", start), RATE_OK, 2, 2);
	assert_answer(mark(r, 0, "10.0.0.9", start), RATE_OVER, 3, 2);
	assert_answer(mark(r, 0, "127.0.0.1", start), RATE_OK, 0, -1);
	assert_answer(mark(r, 0, "elsewhere", start), RATE_NO_KEY, 0, 0);
	/* Classes are separate name spaces: the original counted a value of one for the other. */
	assert_answer(mark(r, 1, "10.0.0.9", start), RATE_OK, 1, 3);
	assert_answer(mark(r, 2, "x", start), RATE_NO_CLASS, 0, 0);
	assert_answer(mark(r, -1, "x", start), RATE_NO_CLASS, 0, 0);
	assert_int_equal(rate_class_find(&cfg, "user", 4), 1);
	assert_int_equal(rate_class_find(&cfg, "use", 3), -ENOENT);
	assert_int_equal(rate_class_find(&cfg, "users", 5), -ENOENT);
	rate_free(r);
}

static struct rate_cfg *
one_limit(enum rate_mode mode, int64_t window_ms, int64_t count)
{
	static struct rate_cfg cfg;

	memset(&cfg, 0, sizeof(cfg));
	add_class(&cfg, "ip", mode);
	add_limit(&cfg, "*", window_ms, count);
	return &cfg;
}

static void
rate_mark_leaves_its_window_at_its_millisecond(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 1000, 1));

	(void)state;
	assert_answer(mark(r, 0, "a", at(0)), RATE_OK, 1, 1);
	assert_answer(peek(r, 0, "a", at(999)), RATE_OVER, 1, 1);
	assert_answer(peek(r, 0, "a", at(1000)), RATE_OK, 0, 1);
	assert_answer(mark(r, 0, "a", at(999)), RATE_OVER, 2, 1);
	assert_answer(mark(r, 0, "a", at(1998)), RATE_OVER, 2, 1); /* refused ones count */
	assert_answer(mark(r, 0, "a", at(2998)), RATE_OK, 1, 1);
	rate_free(r);
}

static void
rate_clear_tells_when_one_more_is_admitted(void **state)
{
	static const enum rate_mode modes[] = { RATE_WINDOW, RATE_LEAKY, RATE_GCRA };
	struct dice d = dice_new();

	(void)state;
	for (size_t m = 0; m < countof(modes); m++) {
		struct rate *r = table(1 << 20, one_limit(modes[m], 10000, 4));
		int64_t now = 0;

		for (int i = 0; i < kit_rounds(20000); i++) {
			struct rate_answer a = mark(r, 0, "a", at(now));

			if (a.verdict == RATE_OVER) {
				assert_in_range(a.clear_ms, 1, 10000);
				assert_int_equal(peek(r, 0, "a", at(now + a.clear_ms - 1)).verdict, RATE_OVER);
				assert_int_equal(peek(r, 0, "a", at(now + a.clear_ms)).verdict, RATE_OK);
				struct rate_answer p = peek(r, 0, "a", at(now));
				assert_int_equal(p.clear_ms, a.clear_ms);
			}
			now += dice_below(&d, 5000);
		}
		rate_free(r);
	}
}

static void
rate_count_zero_admits_none_and_is_never_clear(void **state)
{
	static const enum rate_mode modes[] = { RATE_WINDOW, RATE_LEAKY, RATE_GCRA };

	(void)state;
	for (size_t m = 0; m < countof(modes); m++) {
		struct rate *r = table(1 << 20, one_limit(modes[m], 1000, 0));

		assert_answer(mark(r, 0, "a", start), RATE_OVER, 1, 0);
		assert_true(mark(r, 0, "a", at(99999)).clear_ms == INT64_MAX);
		assert_true(peek(r, 0, "b", at(99999)).clear_ms == INT64_MAX);
		rate_free(r);
	}
}

static void
rate_reset_forgets_one_key(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 1000, 1));
	struct rate_question q = question(r, 0, "2001:db8::1");

	(void)state;
	assert_false(rate_reset(r, &q));
	(void)mark(r, 0, "a", start);
	(void)mark(r, 0, "2001:db8::1", start);
	assert_answer(mark(r, 0, "2001:db8::1", start), RATE_OVER, 2, 1);
	assert_true(rate_reset(r, &q));
	assert_answer(mark(r, 0, "2001:db8::1", start), RATE_OK, 1, 1);
	assert_answer(mark(r, 0, "a", start), RATE_OVER, 2, 1);
	rate_free(r);
}

static void
rate_a_key_of_a_million_marks_is_exact(void **state)
{
	int64_t count = kit_is_slow() ? 20000 : RATE_COUNT_MAX;
	struct rate *r = table(64 << 20, one_limit(RATE_WINDOW, 3600000, count));

	(void)state;
	for (int64_t i = 0; i < count; i++)
		if (mark(r, 0, "a", at(i)).n != i + 1)
			fail_msg("mark %lld", (long long)i);
	assert_answer(mark(r, 0, "a", at(count)), RATE_OVER, count + 1, count);
	assert_answer(mark(r, 0, "a", at(count + 1)), RATE_OVER, count + 1, count);
	/* Half of them out, one by one in blocks; then all. */
	assert_answer(peek(r, 0, "a", at(3600000 + count / 2)), RATE_OK, count / 2 + 1, count);
	assert_answer(mark(r, 0, "a", at(3600000 + count / 2)), RATE_OK, count / 2 + 2, count);
	assert_answer(mark(r, 0, "a", at(3600000 * 3)), RATE_OK, 1, count);
	assert_int_equal(rate_stats(r).blocks_used, 1);
	rate_free(r);
}

/* --- networks -------------------------------------------------------------------------------- */

/* S2 */
static void
rate_rotating_in_a_network_does_not_help(void **state)
{
	static const struct {
		const char *format;
		int64_t admitted;
	} rows[] = {
		{ "2001:db8:0:1::%x", 10 },
		{ "2001:db8:0:2%02x::1", 10 * RATE_56_TIMES },
		{ "2001:db8:9:%x::1", 10 * RATE_48_TIMES },
	};

	(void)state;
	for (int mode = RATE_WINDOW; mode <= RATE_GCRA; mode++) {
		for (size_t i = 0; i < countof(rows); i++) {
			struct rate *r = table(8 << 20, one_limit((enum rate_mode)mode, 60000, 10));
			int64_t admitted = 0;

			for (unsigned n = 0; n < 250; n++) {
				/* of a /48 each in another /56 */
				unsigned part = i == 2 ? (n + 1) << 8 : n;
				char value[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
				(void)snprintf(value, sizeof(value), rows[i].format, part);
#pragma GCC diagnostic pop
				admitted += mark(r, 0, value, start).verdict == RATE_OK;
			}
			assert_int_equal(admitted, rows[i].admitted);
			assert_int_equal(mark(r, 0, "2001:db8:ffff::1", start).verdict, RATE_OK);
			rate_free(r);
		}
	}
}

/* --- too many -------------------------------------------------------------------------------- */

static void
address(char ret[32], uint32_t n)
{
	(void)snprintf(ret, 32, "%u.%u.%u.%u", 1 + (n >> 24), n >> 16 & 255, n >> 8 & 255, n & 255);
}

/* S1, S4: a million addresses, of which one goes on. */
static void
rate_offender_stays_in_a_table_full_of_others(void **state)
{
	unsigned n = (unsigned)kit_rounds(1000000);
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 3600000, 10));
	char value[32];

	(void)state;
	for (int i = 0; i < 11; i++)
		(void)mark(r, 0, "203.0.113.9", start);
	for (unsigned i = 0; i < n; i++) {
		address(value, i);
		assert_answer(mark(r, 0, value, at(i / 1000)), RATE_OK, 1, 10);
	}
	assert_answer(peek(r, 0, "203.0.113.9", at(2000)), RATE_OVER, 11, 10);
	struct rate_stats s = rate_stats(r);
	assert_true(s.blocks_used <= s.blocks);
	assert_true(s.blocks > (1 << 20) / 64);
	assert_true(n < 20000 || s.evicted > n / 2);
	assert_int_equal(s.shared, 0);
	rate_free(r);
}

/* The least loaded go first: of two kinds the busier ones are still there. */
static void
rate_full_table_forgets_the_least_loaded(void **state)
{
	struct rate *r = table(RATE_MEMORY_MIN, one_limit(RATE_WINDOW, 3600000, 10));
	char value[32];
	int kept = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(value, sizeof(value), "busy%u", i);
		for (int m = 0; m < 8; m++)
			(void)mark(r, 0, value, start);
	}
	for (unsigned i = 0; i < 20000; i++) {
		(void)snprintf(value, sizeof(value), "once%u", i);
		(void)mark(r, 0, value, start);
	}
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(value, sizeof(value), "busy%u", i);
		kept += peek(r, 0, value, start).n == 8;
	}
	assert_in_range(kept, 99, 100); /* a sample of sixteen may, once in 10^17, be of nothing else */
	rate_free(r);
}

static void
rate_table_full_of_offenders_shares_keys_by_prefix(void **state)
{
	struct rate *r = table(RATE_MEMORY_MIN, one_limit(RATE_WINDOW, 1000, 0));
	char value[32];

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		address(value, i * 256);
		(void)mark(r, 0, value, start);
	}
	assert_true(rate_stats(r).shared > 0);
	assert_int_equal(rate_stats(r).evicted, 0);
	/* Their time over, they go like all others. */
	address(value, 1 << 23);
	assert_answer(mark(r, 0, value, at(1000)), RATE_OVER, 1, 0);
	assert_false(mark(r, 0, value, at(1000)).shared);
	rate_free(r);

	r = table(RATE_MEMORY_MIN, one_limit(RATE_WINDOW, 1000, 2));
	for (unsigned i = 0; !mark(r, 0, value, start).shared; i++) {
		assert_true(i < 3000);
		address(value, i * 256);
		for (int m = 0; m < 2; m++)
			(void)mark(r, 0, value, start);
	}
	/* All are over: three hosts of one network have its two marks together. */
	assert_answer(mark(r, 0, "198.51.100.1", start), RATE_OK, 1, 2);
	assert_answer(mark(r, 0, "198.51.100.2", start), RATE_OK, 2, 2);
	assert_answer(mark(r, 0, "198.51.100.3", start), RATE_OVER, 3, 2);
	assert_true(mark(r, 0, "198.51.100.3", start).shared);
	assert_answer(mark(r, 0, "198.51.101.1", start), RATE_OK, 1, 2);
	/* Those who were over stay so. */
	address(value, 5 * 256);
	assert_int_equal(mark(r, 0, value, start).verdict, RATE_OVER);
	rate_free(r);
}

/* Without memory for its marks a key is judged more leniently, and nothing else breaks. */
static void
rate_full_table_is_more_lenient_never_stricter(void **state)
{
	static struct rate_cfg cfg;
	char value[32];

	(void)state;
	memset(&cfg, 0, sizeof(cfg));
	add_class(&cfg, "ip", RATE_WINDOW);
	add_limit(&cfg, "big", 3600000, 5000);
	add_limit(&cfg, "*", 3600000, 0); /* nobody can be forgotten */
	struct rate *r = table(RATE_MEMORY_MIN, &cfg);
	for (unsigned i = 0; i < 5000; i++) {
		address(value, i * 256);
		(void)mark(r, 0, value, start);
	}
	for (unsigned i = 0; i < 20000; i++)
		assert_true(mark(r, 0, "big", at(i)).n <= (int64_t)i + 1);
	assert_int_equal(mark(r, 0, "big", at(20000)).verdict, RATE_OK);
	rate_free(r);
}

/* S3: keys that collide under one key of the hash do not under another. */
static void
rate_prepared_collisions_do_not_hold(void **state)
{
	uint8_t other[RATE_KEY_SIZE] = "another key here";
	struct rate *r;
	int same = 0, tried = 0;

	(void)state;
	struct rate *first = table(RATE_MEMORY_MIN, one_limit(RATE_WINDOW, 1000, 1));
	assert_int_equal(rate_new(RATE_MEMORY_MIN, other, &r), 0);
	rate_configure(r, one_limit(RATE_WINDOW, 1000, 1));
	uint64_t a0 = question(first, 0, "0.0.0.0").fingerprint[0] >> 54;
	uint64_t b0 = question(r, 0, "0.0.0.0").fingerprint[0] >> 54;
	for (unsigned i = 1; tried < 500; i++) {
		char value[32];

		address(value, i);
		if (question(first, 0, value).fingerprint[0] >> 54 != a0)
			continue;
		tried++; /* the same of 1,024 buckets */
		same += question(r, 0, value).fingerprint[0] >> 54 == b0;
	}
	assert_in_range(same, 0, 20);
	rate_free(first);
	rate_free(r);
}

static void
rate_sweep_gives_back_what_is_over(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 1000, 20));
	char value[32];

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		for (unsigned m = 0; m < i % 21; m++) {
			address(value, i);
			(void)mark(r, 0, value, start);
		}
	assert_true(rate_stats(r).keys > 400);
	rate_sweep(r, at(999), rate_stats(r).blocks);
	assert_true(rate_stats(r).keys > 400);
	rate_sweep(r, at(1000), rate_stats(r).blocks);
	assert_int_equal(rate_stats(r).keys, 0);
	assert_int_equal(rate_stats(r).blocks_used, 0);
	rate_free(r);
}

static void
rate_memory_for_a_key_is_what_the_header_says(void **state)
{
	unsigned n = (unsigned)kit_rounds(1000000);
	struct rate *r = table((uint64_t)n * 64, one_limit(RATE_WINDOW, 3600000, 8));
	char value[32];

	(void)state;
	for (unsigned i = 0; i < n; i++)
		for (int m = 0; m < 9; m += 8) {
			address(value, i);
			(void)mark(r, 0, value, start);
		}
	assert_int_equal(rate_stats(r).evicted, 0); /* 64 bytes a key, all told, are enough */
	assert_int_equal(rate_stats(r).keys, n);
	rate_free(r);
}

/* --- clocks ---------------------------------------------------------------------------------- */

static void
rate_clock_that_goes_back_stands_still(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 1000, 2));

	(void)state;
	(void)mark(r, 0, "a", at(5000));
	assert_answer(mark(r, 0, "a", at(0)), RATE_OK, 2, 2);
	assert_answer(mark(r, 0, "a", at(-99999)), RATE_OVER, 3, 2);
	assert_answer(mark(r, 0, "a", at(6000)), RATE_OK, 1, 2);
	rate_free(r);
}

static void
rate_a_pause_of_months_leaves_nothing(void **state)
{
	static const int64_t days[] = { 20, 25, 49, 50, 80, 400 };

	(void)state;
	for (size_t i = 0; i < countof(days); i++) {
		struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, INT64_C(15) * 86400000, 1));

		(void)mark(r, 0, "a", start);
		assert_answer(mark(r, 0, "a", at(days[i] * 86400000)), RATE_OK, 1, 1);
		rate_free(r);
	}
}

/* --- other limits ---------------------------------------------------------------------------- */

static void
rate_reload_keeps_the_marks_of_limits_that_stay(void **state)
{
	static struct rate_cfg a, b;

	(void)state;
	memset(&a, 0, sizeof(a));
	add_class(&a, "ip", RATE_WINDOW);
	add_limit(&a, "1.*", 1000, 1);
	add_limit(&a, "*", 1000, 1);
	memset(&b, 0, sizeof(b));
	add_class(&b, "new", RATE_WINDOW);
	add_limit(&b, "*", 1000, 5);
	add_class(&b, "ip", RATE_WINDOW);
	add_limit(&b, "1.*", 1000, 2);
	add_limit(&b, "*", 1000, 1);
	struct rate *r = table(1 << 20, &a);
	(void)mark(r, 0, "1.1.1.1", start);
	(void)mark(r, 0, "2.2.2.2", start);
	rate_configure(r, &b);
	assert_answer(mark(r, 1, "2.2.2.2", start), RATE_OVER, 2, 1);
	assert_answer(mark(r, 1, "1.1.1.1", start), RATE_OK, 1, 2);
	for (int i = 0; i < 1000; i++) { /* no slot is lost, however often it is done */
		b.limit[1].count = 2 + i;
		rate_configure(r, i % 2 == 0 ? &a : &b);
		(void)mark(r, 0, "1.1.1.1", start);
	}
	rate_configure(r, &a);
	assert_answer(mark(r, 0, "2.2.2.2", start), RATE_OVER, 2, 1);
	rate_sweep(r, start, rate_stats(r).blocks);
	assert_true(rate_stats(r).keys <= 4);
	rate_free(r);
}

/* --- across restarts ------------------------------------------------------------------------- */

static struct rate_dump dumps[400];

static size_t
dump_all(struct rate *r, mono_t now)
{
	size_t cursor = 0, n = 0;

	while (n < countof(dumps) && rate_dump_next(r, &cursor, now, &dumps[n]))
		n++;
	return n;
}

static void
rate_dump_and_load_give_the_same_answers(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int mode = RATE_WINDOW; mode <= RATE_GCRA; mode++) {
		const struct rate_cfg *cfg = one_limit((enum rate_mode)mode, 60000, 30);
		struct rate *a = table(1 << 20, cfg), *b = table(1 << 20, cfg);
		char value[64];

		for (int i = 0; i < 4000; i++) {
			(void)snprintf(value, sizeof(value), i % 2 == 0 ? "key%u" : "2001:db8::%u:0:0:1", dice_below(&d, 80));
			(void)mark(a, 0, value, at(i * 10));
		}
		size_t n = dump_all(a, at(40000));
		assert_in_range(n, 80, countof(dumps) - 1);
		assert_int_equal(dump_all(a, at(40000)), 0); /* nothing has changed since */
		/* Another boot, whose clock shows 1000 s less; 5 s later. */
		size_t cursor = 0;
		assert_false(rate_dump_next(b, &cursor, start, &dumps[n]));
		mono_t later = at(45000 - 1000000);
		for (size_t i = 0; i < n; i++)
			rate_load(b, &dumps[i], at(40000), 5000, later);
		for (unsigned k = 0; k < 160; k++) {
			(void)snprintf(value, sizeof(value), k % 2 == 0 ? "key%u" : "2001:db8::%u:0:0:1", k / 2);
			struct rate_answer x = mark(a, 0, value, at(45000)), y = mark(b, 0, value, later);

			assert_answer(y, x.verdict, x.n, x.max);
			assert_int_equal(y.clear_ms, x.clear_ms);
		}
		rate_free(a);
		rate_free(b);
	}
}

static void
rate_load_keeps_what_came_since(void **state)
{
	const struct rate_cfg *cfg = one_limit(RATE_WINDOW, 60000, 30);
	struct rate *a = table(1 << 20, cfg), *b = table(1 << 20, cfg);

	(void)state;
	for (int i = 0; i < 15; i++)
		(void)mark(a, 0, "a", at(i));
	assert_int_equal(dump_all(a, at(100)), 1);
	for (int i = 0; i < 12; i++)
		(void)mark(b, 0, "a", at(1000 + i));
	rate_load(b, &dumps[0], at(100), 1900, at(2000));
	assert_answer(peek(b, 0, "a", at(2000)), RATE_OK, 27, 30);
	assert_answer(peek(b, 0, "a", at(60010)), RATE_OK, 27 - 11, 30);
	rate_free(a);
	rate_free(b);
}

static void
rate_load_of_nonsense_limits_nobody(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 60000, 3));
	struct dice d = dice_new();

	(void)state;
	(void)mark(r, 0, "a", start);
	assert_int_equal(dump_all(r, start), 1);
	struct rate_dump good = dumps[0];
	for (int i = 0; i < kit_rounds(20000); i++) {
		struct rate_dump *x = &dumps[1];

		*x = good;
		x->fingerprint = dice_below(&d, 2) == 0 ? good.fingerprint : dice_below(&d, 3);
		x->limit = dice_below(&d, 4) == 0 ? dice_u64(&d) : good.limit;
		x->n = dice_below(&d, 3) == 0 ? (uint32_t)dice_u64(&d) : dice_below(&d, 30);
		x->tier = (uint8_t)dice_below(&d, 6);
		for (int m = 0; m < 30; m++)
			x->mark[m] = dice_below(&d, 2) == 0 ? (uint32_t)dice_u64(&d) : (uint32_t)at((int64_t)dice_below(&d, 90000) - 80000).ms;
		rate_load(r, x, at((int64_t)dice_below(&d, 1000)), (int64_t)dice_below(&d, 3) - 1, at(i));
		struct rate_answer p = peek(r, 0, "a", at(i));
		assert_in_range(p.n, 0, 4);
		if (dice_below(&d, 10) == 0)
			(void)mark(r, 0, "a", at(i));
	}
	rate_free(r);
}

/* A dump holds so many marks; of more, the newest, wherever in its block the first of them stands. */
static void
rate_dump_of_many_marks_holds_the_newest(void **state)
{
	struct rate_cfg cfg = { 0 };

	(void)state;
	add_class(&cfg, "x", RATE_WINDOW);
	add_limit(&cfg, "*", 1000000, RATE_COUNT_MAX);
	struct rate *r = table(1 << 20, &cfg);
	for (int64_t n = 1; n <= RATE_DUMP_MARKS_MAX + 40; n++) {
		(void)mark(r, 0, "a", at(n));
		if (n < RATE_DUMP_MARKS_MAX - 20)
			continue;
		size_t cursor = 0;
		assert_true(rate_dump_next(r, &cursor, at(n), &dumps[0]));
		int64_t kept = n < RATE_DUMP_MARKS_MAX ? n : RATE_DUMP_MARKS_MAX;
		assert_int_equal(dumps[0].n, kept);
		for (int64_t i = 0; i < kept; i++)
			assert_int_equal(dumps[0].mark[i], (uint32_t)at(n - kept + 1 + i).ms);
	}
	rate_free(r);
}

static void
rate_dump_all_gives_every_key_anew(void **state)
{
	struct rate_cfg cfg = { 0 };

	(void)state;
	add_class(&cfg, "x", RATE_WINDOW);
	add_limit(&cfg, "*", 1000000, 5);
	struct rate *r = table(1 << 20, &cfg);
	for (int i = 0; i < 200; i++) {
		char text[16];

		kit_format(text, sizeof(text), "%d", i);
		(void)mark(r, 0, text, start);
	}
	assert_int_equal(dump_all(r, start), 200);
	assert_int_equal(dump_all(r, start), 0);
	rate_dump_all(r);
	assert_int_equal(dump_all(r, start), 200);
	assert_int_equal(dump_all(r, start), 0);
	rate_free(r);
}

static void
rate_dump_again_brings_it_once_more(void **state)
{
	struct rate *r = table(1 << 20, one_limit(RATE_WINDOW, 60000, 3));

	(void)state;
	(void)mark(r, 0, "a", start);
	assert_int_equal(dump_all(r, start), 1);
	rate_dump_again(r, &dumps[0]);
	assert_int_equal(dump_all(r, start), 1);
	struct rate_question q = question(r, 0, "a");
	assert_true(rate_reset(r, &q));
	rate_sweep(r, at(99999999), rate_stats(r).blocks); /* that it is gone is to be stored still */
	assert_int_equal(dump_all(r, start), 1);
	assert_int_equal(dumps[0].n, 0);
	rate_sweep(r, at(99999999), rate_stats(r).blocks);
	assert_int_equal(rate_stats(r).keys, 0);
	rate_free(r);
}

static void
rate_new_refuses_what_is_too_small(void **state)
{
	struct rate *r = NULL;

	(void)state;
	assert_int_equal(rate_new(RATE_MEMORY_MIN - 1, secret, &r), -EINVAL);
	assert_int_equal(rate_new(UINT64_MAX, secret, &r), -EINVAL);
	assert_null(r);
	rate_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_window_agrees_with_an_oracle_on_a_million_marks),
		cmocka_unit_test(rate_leaky_agrees_with_an_oracle),
		cmocka_unit_test(rate_gcra_agrees_with_the_textbook),
		cmocka_unit_test(rate_first_pattern_that_matches_counts),
		cmocka_unit_test(rate_mark_leaves_its_window_at_its_millisecond),
		cmocka_unit_test(rate_clear_tells_when_one_more_is_admitted),
		cmocka_unit_test(rate_count_zero_admits_none_and_is_never_clear),
		cmocka_unit_test(rate_reset_forgets_one_key),
		cmocka_unit_test(rate_a_key_of_a_million_marks_is_exact),
		cmocka_unit_test(rate_rotating_in_a_network_does_not_help),
		cmocka_unit_test(rate_offender_stays_in_a_table_full_of_others),
		cmocka_unit_test(rate_full_table_forgets_the_least_loaded),
		cmocka_unit_test(rate_table_full_of_offenders_shares_keys_by_prefix),
		cmocka_unit_test(rate_full_table_is_more_lenient_never_stricter),
		cmocka_unit_test(rate_prepared_collisions_do_not_hold),
		cmocka_unit_test(rate_sweep_gives_back_what_is_over),
		cmocka_unit_test(rate_memory_for_a_key_is_what_the_header_says),
		cmocka_unit_test(rate_clock_that_goes_back_stands_still),
		cmocka_unit_test(rate_a_pause_of_months_leaves_nothing),
		cmocka_unit_test(rate_reload_keeps_the_marks_of_limits_that_stay),
		cmocka_unit_test(rate_dump_and_load_give_the_same_answers),
		cmocka_unit_test(rate_load_keeps_what_came_since),
		cmocka_unit_test(rate_load_of_nonsense_limits_nobody),
		cmocka_unit_test(rate_dump_of_many_marks_holds_the_newest),
		cmocka_unit_test(rate_dump_all_gives_every_key_anew),
		cmocka_unit_test(rate_dump_again_brings_it_once_more),
		cmocka_unit_test(rate_new_refuses_what_is_too_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
