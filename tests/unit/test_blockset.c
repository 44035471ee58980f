/* SPDX-License-Identifier: ISC */
/*
 * blockset and the prefixmap below it, against an oracle that looks at everything: a million operations on a small
 * table, where every slot is taken, freed and pushed about, and 200,000 blocks at once.
 */
#include "lib/blockset.h"

#include "lib/prefixmap.h"
#include "tests/unit/kit.h"

#define UNIVERSE 400

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static struct ip
address(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct blockset *
set_of(size_t max)
{
	struct blockset *s;

	assert_int_equal(blockset_new(max, &s), 0);
	return s;
}

static void
put(struct blockset *s, const char *text, int64_t until, const char *id)
{
	struct block b = { .prefix = prefix(text), .kind = BLOCK_DENY, .until = { until } };

	(void)snprintf(b.id, sizeof(b.id), "%s", id);
	assert_int_equal(blockset_put(s, &b), 0);
}

static const char *
match(const struct blockset *s, const char *text, int64_t now)
{
	struct ip ip = address(text);
	const struct block *b = blockset_match(s, &ip, (mono_t) { now });

	return b != NULL ? b->id : "none";
}

static void
blockset_longest_prefix_in_force_matches(void **state)
{
	struct blockset *s = set_of(10);

	(void)state;
	put(s, "192.0.2.0/24", 100, "wide");
	put(s, "192.0.2.7", 50, "host");
	put(s, "2001:db8::/64", 100, "six");
	assert_string_equal(match(s, "192.0.2.7", 0), "host");
	assert_string_equal(match(s, "::ffff:192.0.2.7", 49), "host");
	assert_string_equal(match(s, "192.0.2.7", 50), "wide"); /* the host's is over, the network's is not */
	assert_string_equal(match(s, "192.0.2.8", 0), "wide");
	assert_string_equal(match(s, "192.0.2.8", 100), "none");
	assert_string_equal(match(s, "192.0.3.7", 0), "none");
	assert_string_equal(match(s, "2001:db8::ffff", 0), "six");
	assert_string_equal(match(s, "2001:db8:0:1::", 0), "none");
	blockset_free(s);
}

static void
blockset_everything_and_nothing(void **state)
{
	struct blockset *s = set_of(3);

	(void)state;
	assert_string_equal(match(s, "192.0.2.1", 0), "none");
	put(s, "::/0", 10, "all");
	assert_string_equal(match(s, "192.0.2.1", 0), "all");
	assert_string_equal(match(s, "2001:db8::1", 0), "all");
	put(s, "0.0.0.0/0", 10, "v4");
	assert_string_equal(match(s, "192.0.2.1", 0), "v4");
	assert_string_equal(match(s, "2001:db8::1", 0), "all");
	put(s, "::/1", 5, "half");
	assert_string_equal(match(s, "2001:db8::1", 0), "half");
	assert_string_equal(match(s, "2001:db8::1", 5), "all");
	blockset_free(s);
	blockset_free(NULL);
}

static void
blockset_put_replaces_and_full_refuses(void **state)
{
	struct blockset *s = set_of(2);
	struct block third = { .prefix = prefix("192.0.2.3") };
	struct ip_prefix first = prefix("192.0.2.1");

	(void)state;
	put(s, "192.0.2.1", 10, "old");
	put(s, "192.0.2.1", 20, "new");
	assert_int_equal(blockset_count(s), 1);
	assert_string_equal(blockset_find(s, &first)->id, "new");
	put(s, "192.0.2.2", 10, "second");
	assert_int_equal(blockset_put(s, &third), -ENOSPC);
	put(s, "192.0.2.1", 30, "newer"); /* no more room is needed */
	assert_true(blockset_remove(s, &blockset_find(s, &first)->prefix)); /* its own memory as the argument */
	assert_false(blockset_remove(s, &first));
	assert_int_equal(blockset_put(s, &third), 0);
	blockset_free(s);
}

static void
blockset_sizes_out_of_range_are_refused(void **state)
{
	static const uint8_t key[PREFIXMAP_KEY_SIZE];
	struct blockset *s = NULL;
	struct prefixmap *m = NULL;

	(void)state;
	assert_int_equal(blockset_new(0, &s), -EINVAL);
	assert_int_equal(blockset_new(10000001, &s), -EINVAL);
	assert_null(s);
	assert_int_equal(prefixmap_new(0, key, &m), -EINVAL);
	assert_int_equal(prefixmap_new(PREFIXMAP_MAX + (size_t)1, key, &m), -EINVAL);
	assert_null(m);
}

static void
prefixmap_numbers_stay_and_are_used_again(void **state)
{
	static const uint8_t key[PREFIXMAP_KEY_SIZE] = "a key of a test";
	struct ip_prefix a = prefix("192.0.2.1"), b = prefix("192.0.2.0/24"), c = prefix("2001:db8::/48");
	struct ip ip = address("192.0.2.1");
	struct prefixmap *m;

	(void)state;
	assert_int_equal(prefixmap_new(2, key, &m), 0);
	assert_true(prefixmap_match(m, &ip, 128) == PREFIXMAP_NONE);
	uint32_t first = prefixmap_add(m, &a), second = prefixmap_add(m, &b);
	assert_int_not_equal(first, second);
	assert_true(first < prefixmap_end(m) && second < prefixmap_end(m));
	assert_int_equal(prefixmap_add(m, &a), first);
	assert_true(prefixmap_add(m, &c) == PREFIXMAP_NONE);
	assert_int_equal(prefixmap_match(m, &ip, 128), first);
	assert_int_equal(prefixmap_match(m, &ip, 127), second);
	assert_true(prefixmap_match(m, &ip, 96 + 23) == PREFIXMAP_NONE);
	assert_true(prefixmap_match(m, &ip, -1) == PREFIXMAP_NONE);
	assert_int_equal(prefixmap_remove(m, &a), first);
	assert_null(prefixmap_at(m, first));
	assert_int_equal(prefixmap_at(m, second)->bits, 96 + 24);
	assert_int_equal(prefixmap_add(m, &c), first);
	assert_int_equal(prefixmap_count(m), 2);
	prefixmap_free(m);
	prefixmap_free(NULL);
}

/* --- the oracle ------------------------------------------------------------------------------ */

struct oracle {
	struct block block[UNIVERSE];
	bool is_there[UNIVERSE];
	size_t count, room; /* less than there are, so that it is full at times */
};

/* Prefixes that lie in one another, of both families, in a corner so small that addresses of it often hit. */
static struct ip
corner(struct dice *d)
{
	bool v4 = dice_below(d, 2) == 0;
	struct ip ip = address(v4 ? "192.0.2.0" : "2001:db8::");

	for (unsigned i = v4 ? 14 : 5; i < 15; i++)
		ip.b[i] ^= (uint8_t)dice_below(d, 3);
	ip.b[15] = (uint8_t)dice_below(d, 64);
	return ip;
}

static void
make_universe(struct oracle *o, size_t room, struct dice *d)
{
	static const uint8_t bits[] = { 128, 128, 128, 127, 126, 124, 120, 112, 96, 64, 56, 48, 32, 0 };

	memset(o, 0, sizeof(*o));
	o->room = room;
	for (unsigned i = 0; i < UNIVERSE;) {
		struct ip ip = corner(d);
		struct ip_prefix p = { .bits = bits[dice_below(d, countof(bits))] };
		unsigned j = 0;

		p.ip = ip_mask(&ip, p.bits);
		while (j < i && (o->block[j].prefix.bits != p.bits || !ip_equal(&o->block[j].prefix.ip, &p.ip)))
			j++;
		if (j == i)
			o->block[i++].prefix = p;
	}
}

static const struct block *
oracle_match(const struct oracle *o, const struct ip *ip, mono_t now)
{
	const struct block *best = NULL;

	for (unsigned i = 0; i < UNIVERSE; i++) {
		const struct block *b = &o->block[i];

		if (o->is_there[i] && b->until.ms > now.ms && ip_prefix_contains(&b->prefix, ip)
			&& (best == NULL || b->prefix.bits > best->prefix.bits))
			best = b;
	}
	return best;
}

static void
assert_same(const struct block *a, const struct block *b)
{
	assert_true((a == NULL) == (b == NULL));
	if (a != NULL) {
		assert_int_equal(a->prefix.bits, b->prefix.bits);
		assert_true(ip_equal(&a->prefix.ip, &b->prefix.ip));
		assert_int_equal(a->until.ms, b->until.ms);
		assert_int_equal(a->kind, b->kind);
	}
}

static void
check_walk(const struct oracle *o, const struct blockset *s)
{
	size_t cursor = 0, met = 0;

	for (const struct block *b; (b = blockset_next(s, &cursor)) != NULL; met++)
		assert_ptr_equal(blockset_find(s, &b->prefix), b);
	assert_int_equal(met, o->count);
	assert_int_equal(blockset_count(s), o->count);
}

static void
change(struct oracle *o, struct blockset *s, struct dice *d, mono_t now)
{
	unsigned i = dice_below(d, UNIVERSE);
	struct block *b = &o->block[i];

	if (dice_below(d, 5) < 2) {
		assert_int_equal(blockset_remove(s, &b->prefix), o->is_there[i]);
		o->count -= o->is_there[i];
		o->is_there[i] = false;
		return;
	}
	struct block new = { .prefix = b->prefix, .kind = (enum block_kind)dice_below(d, BLOCK_KINDS),
		.until = mono_after(now, dice_below(d, 2000)) };
	int r = blockset_put(s, &new);
	assert_int_equal(r, o->is_there[i] || o->count < o->room ? 0 : -ENOSPC);
	if (r == 0) {
		*b = new;
		o->count += !o->is_there[i];
		o->is_there[i] = true;
	}
}

static void
run_oracle(size_t room, int rounds)
{
	static struct oracle o;
	struct blockset *s = set_of(room);
	struct dice d = dice_new();
	mono_t now = { 0 };

	make_universe(&o, room, &d);
	for (int i = 0; i < rounds; i++) {
		now.ms += dice_below(&d, 3);
		change(&o, s, &d, now);
		unsigned at = dice_below(&d, UNIVERSE);
		assert_same(blockset_find(s, &o.block[at].prefix), o.is_there[at] ? &o.block[at] : NULL);
		if (i % 8 == 0) {
			struct ip ip = corner(&d);

			assert_same(blockset_match(s, &ip, now), oracle_match(&o, &ip, now));
		}
		if (i % 10000 == 0)
			check_walk(&o, s);
	}
	blockset_free(s);
}

static void
blockset_agrees_with_an_oracle_on_a_million_operations(void **state)
{
	(void)state;
	run_oracle(250, kit_rounds(1000000));
}

/* So small that what is pushed about always goes around the end of the table. */
static void
blockset_of_a_few_agrees_with_an_oracle(void **state)
{
	(void)state;
	for (size_t room = 1; room < 9; room++)
		run_oracle(room, kit_rounds(50000));
}

static struct block
number(unsigned i)
{
	struct block b = { .prefix = prefix("10.0.0.0"), .until = { i } };

	b.prefix.ip.b[13] = (uint8_t)(i >> 16);
	b.prefix.ip.b[14] = (uint8_t)(i >> 8);
	b.prefix.ip.b[15] = (uint8_t)i;
	return b;
}

/* Full, then half of them gone, and full again: all are found, and a walk may remove what it meets. */
static void
blockset_of_200000(void **state)
{
	unsigned max = (unsigned)kit_rounds(200000);
	struct blockset *s = set_of(max);
	size_t cursor = 0;

	(void)state;
	for (unsigned i = 0; i < max; i++) {
		struct block b = number(i);

		assert_int_equal(blockset_put(s, &b), 0);
	}
	for (const struct block *b; (b = blockset_next(s, &cursor)) != NULL;)
		if (b->until.ms % 2 == 0)
			assert_true(blockset_remove(s, &b->prefix));
	assert_int_equal(blockset_count(s), max / 2);
	for (unsigned i = 0; i < max; i++) {
		struct block b = number(i);

		assert_true((blockset_find(s, &b.prefix) != NULL) == (i % 2 != 0));
		if (i % 2 == 0)
			assert_int_equal(blockset_put(s, &b), 0);
	}
	assert_int_equal(blockset_count(s), max);
	blockset_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blockset_longest_prefix_in_force_matches),
		cmocka_unit_test(blockset_everything_and_nothing),
		cmocka_unit_test(blockset_put_replaces_and_full_refuses),
		cmocka_unit_test(blockset_sizes_out_of_range_are_refused),
		cmocka_unit_test(prefixmap_numbers_stay_and_are_used_again),
		cmocka_unit_test(blockset_agrees_with_an_oracle_on_a_million_operations),
		cmocka_unit_test(blockset_of_a_few_agrees_with_an_oracle),
		cmocka_unit_test(blockset_of_200000),
	};

	return cmocka_run_group_tests_name("blockset", tests, NULL, NULL);
}
