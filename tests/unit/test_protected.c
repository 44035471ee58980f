/* SPDX-License-Identifier: ISC */
/* The last look before a block is written, against looking at one after the other. */
#include "actions/block.h"
#include "actions/protected.h"

#include "tests/unit/kit.h"

static struct block_cfg cfg;
static struct protected protected;

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static bool
touches(const char *text)
{
	struct ip_prefix p = prefix(text);

	return protected_touches(&protected, &p);
}

static void
protected_touches_what_contains_one_or_is_in_one(void **state)
{
	(void)state;
	cfg.protected.n = 4;
	cfg.protected.p[0] = prefix("198.51.100.0/24");
	cfg.protected.p[1] = prefix("192.0.2.7/32");
	cfg.protected.p[2] = prefix("2001:db8:1::/48");
	cfg.protected.p[3] = prefix("198.51.100.9/32");
	assert_int_equal(protected_set(&protected, cfg.protected.p, cfg.protected.n), 0);
	assert_true(touches("192.0.2.7/32") && touches("192.0.2.0/24") && touches("192.0.0.0/8") && touches("0.0.0.0/0"));
	assert_true(touches("198.51.100.0/24") && touches("198.51.100.250/32") && touches("198.51.100.9/32"));
	assert_true(touches("198.51.0.0/16") && touches("2001:db8:1:2::/64") && touches("2001:db8::/32") && touches("::/0"));
	assert_false(touches("192.0.2.6/32") || touches("192.0.2.8/32") || touches("192.0.2.0/30") || touches("192.0.2.8/29"));
	assert_false(touches("198.51.101.0/24") || touches("198.51.99.0/24") || touches("2001:db8:2::/48"));
}

static void
protected_loopback_is_in_it_whatever_the_list_says(void **state)
{
	(void)state;
	cfg.protected.n = 0;
	assert_int_equal(protected_set(&protected, cfg.protected.p, cfg.protected.n), 0);
	assert_true(touches("127.0.0.1/32") && touches("127.0.0.0/8") && touches("::1/128") && touches("::/128") && touches("126.0.0.0/7"));
	assert_false(touches("128.0.0.0/8") || touches("126.255.255.255/32") || touches("::2/128"));
}

static struct ip_prefix
random_prefix(struct dice *d)
{
	struct ip ip = prefix("0.0.0.0/0").ip;
	unsigned bits = 96 + dice_below(d, 33);

	if (dice_below(d, 4) == 0)
		ip = prefix("2001:db8::/32").ip;
	for (size_t i = 12; i < 16; i++)
		ip.b[i] = (uint8_t)(dice_below(d, 2) * dice_below(d, 256));
	return (struct ip_prefix) { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits };
}

static void
protected_random_lists_give_the_same_as_one_after_the_other(void **state)
{
	struct dice d = dice_new();
	int touching = 0, rounds = kit_rounds(2000);

	(void)state;
	for (int round = 0; round < rounds; round++) {
		cfg.protected.n = round % 50 == 0 ? BLOCK_PROTECTED_MAX : dice_below(&d, 12);
		for (size_t i = 0; i < cfg.protected.n; i++)
			cfg.protected.p[i] = random_prefix(&d);
		assert_int_equal(protected_set(&protected, cfg.protected.p, cfg.protected.n), 0);
		for (int k = 0; k < 50; k++) {
			struct ip_prefix p = random_prefix(&d);
			bool expected = touches("0.0.0.0/0") && (ip_prefix_contains(&p, &(struct ip) { .b = { [10] = 255, [11] = 255,
				[12] = 127 } }) || ip_prefix_contains(&(struct ip_prefix) { prefix("127.0.0.0/8").ip, 104 }, &p.ip));

			for (size_t i = 0; i < cfg.protected.n; i++)
				expected = expected || ip_prefix_contains(&p, &cfg.protected.p[i].ip)
					|| ip_prefix_contains(&cfg.protected.p[i], &p.ip);
			assert_int_equal(protected_touches(&protected, &p), expected);
			touching += expected;
		}
	}
	assert_in_range(touching, rounds * 5, rounds * 45);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(protected_touches_what_contains_one_or_is_in_one),
		cmocka_unit_test(protected_loopback_is_in_it_whatever_the_list_says),
		cmocka_unit_test(protected_random_lists_give_the_same_as_one_after_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
