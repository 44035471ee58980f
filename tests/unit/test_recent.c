/* SPDX-License-Identifier: ISC */
/* Addresses of which something good was seen: kept until their time, found in networks, the oldest forgotten. */
#include "controller/recent.h"

#include "tests/unit/kit.h"

#define KEPT 4

static const uint8_t key[RECENT_KEY_SIZE] = { 3 };

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static void
add(struct recent *t, const char *address, int64_t until)
{
	struct ip_prefix p = prefix(address);

	recent_add(t, &p.ip, (mono_t) { until });
}

static bool
has(const struct recent *t, const char *text, int64_t now)
{
	struct ip_prefix p = prefix(text), found;

	return recent_find(t, &p, (mono_t) { now }, &found);
}

static size_t
count_in(const struct recent *t, const char *text, int64_t now)
{
	struct ip_prefix p = prefix(text), found;
	uint64_t cursor = RECENT_BEGIN;
	size_t n = 0;

	for (; recent_next(t, &cursor, &p, (mono_t) { now }, &found); n++)
		assert_true(ip_prefix_contains(&p, &found.ip));
	assert_false(recent_next(t, &cursor, &p, (mono_t) { now }, &found));
	return n;
}

static struct recent *
table(void)
{
	struct recent *t;

	assert_int_equal(recent_new(KEPT, key, &t), 0);
	return t;
}

static void
recent_is_found_until_its_time(void **state)
{
	struct recent *t = table();

	(void)state;
	assert_false(has(t, "192.0.2.1", 0));
	assert_int_equal(count_in(t, "0.0.0.0/0", 0), 0);
	add(t, "192.0.2.1", 100);
	assert_true(has(t, "192.0.2.1", 99));
	assert_false(has(t, "192.0.2.1", 100) || has(t, "192.0.2.2", 99));
	add(t, "192.0.2.1", 50); /* does not shorten */
	assert_true(has(t, "192.0.2.1", 99));
	add(t, "192.0.2.1", 200);
	assert_true(has(t, "192.0.2.1", 199));
	recent_free(t);
}

static void
recent_is_found_in_networks(void **state)
{
	struct recent *t = table();

	(void)state;
	add(t, "192.0.2.1", 100);
	add(t, "192.0.2.200", 50);
	add(t, "2001:db8:1:2:3::4", 100);
	assert_int_equal(count_in(t, "192.0.2.0/24", 49), 2);
	assert_int_equal(count_in(t, "192.0.2.0/24", 50), 1);
	assert_int_equal(count_in(t, "192.0.3.0/24", 0), 0);
	assert_int_equal(count_in(t, "::/0", 0), 3);
	assert_true(has(t, "192.0.2.128/25", 49) && has(t, "2001:db8:1::/48", 49));
	assert_false(has(t, "192.0.2.128/25", 50));
	/* Of IPv6 the /64 is kept: any address of it, and no other. */
	assert_true(has(t, "2001:db8:1:2::/64", 0) && has(t, "2001:db8:1:2::9", 0));
	assert_false(has(t, "2001:db8:1:3::/64", 0));
	recent_free(t);
}

static void
recent_full_forgets_the_one_seen_longest_ago(void **state)
{
	struct recent *t = table();

	(void)state;
	add(t, "192.0.2.1", 100);
	add(t, "192.0.2.2", 100);
	add(t, "192.0.2.3", 100);
	add(t, "192.0.2.4", 100);
	add(t, "192.0.2.1", 100); /* seen again */
	add(t, "192.0.2.5", 100);
	assert_false(has(t, "192.0.2.2", 0));
	assert_true(has(t, "192.0.2.1", 0) && has(t, "192.0.2.5", 0));
	assert_int_equal(count_in(t, "192.0.2.0/24", 0), KEPT);
	recent_free(t);
	assert_int_equal(recent_new(0, key, &t), -EINVAL);
	recent_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recent_is_found_until_its_time),
		cmocka_unit_test(recent_is_found_in_networks),
		cmocka_unit_test(recent_full_forgets_the_one_seen_longest_ago),
	};

	return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
