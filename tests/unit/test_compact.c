/* SPDX-License-Identifier: ISC */
/* compact: the same addresses, in fewer prefixes; more addresses only where that is allowed. */
#include "actions/compact.h"

#include "tests/unit/kit.h"

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static void
assert_prefixes(const struct ip_prefix *p, size_t n, const char *expected)
{
	char all[4096] = "";

	for (size_t i = 0; i < n; i++) {
		char text[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&p[i], text);
		(void)snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? " " : "", text);
	}
	assert_string_equal(all, expected);
}

static bool
all_but_documentation(const struct ip_prefix *p, void *arg)
{
	struct ip_prefix never = prefix("198.51.100.0/24");

	(*(int *)arg)++;
	return !ip_prefix_contains(&never, &p->ip);
}

static void
compact_halves_join_and_what_is_covered_goes(void **state)
{
	struct ip_prefix p[] = {
		prefix("192.0.2.3/32"), prefix("192.0.2.0/32"), prefix("192.0.2.1/32"), prefix("192.0.2.2/32"),
		prefix("192.0.2.5/32"), prefix("192.0.2.4/31"), prefix("192.0.2.1/32"), prefix("203.0.113.9/32"),
		prefix("2001:db8:0:1::/64"), prefix("2001:db8::/64"),
	};

	(void)state;
	assert_prefixes(p, compact(p, countof(p), 100, NULL, NULL), "192.0.2.0/30 192.0.2.4/31 203.0.113.9/32 2001:db8::/63");
}

static void
compact_without_leave_covers_nobody_else(void **state)
{
	struct ip_prefix p[] = { prefix("192.0.2.1/32"), prefix("192.0.2.4/32"), prefix("192.0.2.9/32") };

	(void)state;
	assert_int_equal(compact(p, 3, 1, NULL, NULL), 3);
	assert_int_equal(compact(p, 0, 1, NULL, NULL), 0);
}

/* Of three networks with many, the fullest is covered, the one with few and the one that must not be are not. */
static void
compact_over_budget_covers_the_fullest_network(void **state)
{
	struct ip_prefix p[200];
	size_t n = 0;
	int asked = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i += 2) {
		char text[32];

		(void)snprintf(text, sizeof(text), "198.51.100.%u/32", i);
		p[n++] = prefix(text);
		if (i < 80) {
			(void)snprintf(text, sizeof(text), "192.0.2.%u/32", i);
			p[n++] = prefix(text);
		}
		if (i < 8) {
			(void)snprintf(text, sizeof(text), "203.0.113.%u/32", i);
			p[n++] = prefix(text);
		}
	}
	n = compact(p, n, 60, all_but_documentation, &asked);
	assert_int_equal(n, 50 + 1 + 4);
	assert_true(asked > 0);
	n = compact(p, n, 1, all_but_documentation, &asked);
	assert_int_equal(n, 50 + 1 + 4);
}

static bool
is_in(const struct ip_prefix *p, size_t n, const struct ip *ip)
{
	for (size_t i = 0; i < n; i++)
		if (ip_prefix_contains(&p[i], ip))
			return true;
	return false;
}

static void
compact_random_sets_stand_for_the_same_addresses(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(2000); round++) {
		struct ip_prefix p[64], before[64];
		size_t n = 1 + dice_below(&d, 64);

		for (size_t i = 0; i < n; i++) {
			struct ip ip = prefix("192.0.2.0").ip;
			unsigned bits = 128 - dice_below(&d, 5);

			ip.b[15] = (uint8_t)dice_below(&d, 64);
			p[i] = (struct ip_prefix) { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits };
		}
		memcpy(before, p, sizeof(before));
		size_t after = compact(p, n, dice_below(&d, 10), NULL, NULL);
		assert_true(after <= n);
		for (unsigned a = 0; a < 80; a++) {
			struct ip ip = prefix("192.0.2.0").ip;

			ip.b[15] = (uint8_t)a;
			assert_int_equal(is_in(p, after, &ip), is_in(before, n, &ip));
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compact_halves_join_and_what_is_covered_goes),
		cmocka_unit_test(compact_without_leave_covers_nobody_else),
		cmocka_unit_test(compact_over_budget_covers_the_fullest_network),
		cmocka_unit_test(compact_random_sets_stand_for_the_same_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
