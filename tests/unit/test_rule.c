/* SPDX-License-Identifier: ISC */
/* Prefixes in the words of tcprules, and the text that stands for them for ucspi-tcp-ipv6. */
#include "actions/rule.h"

#include "tests/unit/kit.h"

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static void
assert_rule(const char *text, size_t count, const char *expected)
{
	static char rules[RULE_TEXT_MAX + 1];
	struct ip_prefix p = prefix(text);

	assert_int_equal(rule_count(&p, true), count);
	assert_int_equal(rule_count(&p, false), ip_is_v4(&p.ip) ? count : 0);
	if (count == 0)
		return;
	size_t n = rule_deny(&p, rules);
	assert_true(n < sizeof(rules));
	rules[n] = '\0';
	if (expected != NULL)
		assert_string_equal(rules, expected);
}

static void
rule_v4_is_an_address_a_prefix_or_a_range(void **state)
{
	(void)state;
	assert_rule("192.0.2.7/32", 1, "192.0.2.7:deny\n");
	assert_rule("0.0.0.0/32", 1, "0.0.0.0:deny\n");
	assert_rule("255.255.255.255/32", 1, "255.255.255.255:deny\n");
	assert_rule("192.0.2.0/24", 1, "192.0.2.:deny\n");
	assert_rule("192.0.0.0/16", 1, "192.0.:deny\n");
	assert_rule("192.0.0.0/8", 1, "192.:deny\n");
	assert_rule("192.0.2.6/31", 2, "192.0.2.6-7:deny\n");
	assert_rule("192.0.2.128/25", 128, "192.0.2.128-255:deny\n");
	assert_rule("192.0.2.0/23", 2, "192.0.2-3.:deny\n");
	assert_rule("192.0.128.0/17", 128, "192.0.128-255.:deny\n");
	assert_rule("198.18.0.0/15", 2, "198.18-19.:deny\n");
	assert_rule("128.0.0.0/9", 128, "128.0-127.:deny\n");
	assert_rule("192.0.0.0/7", 0, "");
	assert_rule("0.0.0.0/0", 0, "");
}

static void
rule_v6_is_text_where_no_zero_can_be_compressed(void **state)
{
	(void)state;
	assert_rule("2001:db8:1:2::/64", 1, "2001:db8:1:2::deny\n");
	assert_rule("2001:db8:1::/48", 1, "2001:db8:1::deny\n");
	assert_rule("2001:db8::/32", 1, "2001:db8::deny\n");
	assert_rule("2001:db8:1:2:3:4:5::/112", 1, "2001:db8:1:2:3:4:5::deny\n");
	assert_rule("2001:db8:1:20::/62", 4, "2001:db8:1:20::deny\n2001:db8:1:21::deny\n2001:db8:1:22::deny\n"
		"2001:db8:1:23::deny\n");
	assert_rule("2001:db8:1:2:3:4:5:6/127", 2, "2001:db8:1:2:3:4:5:6:deny\n2001:db8:1:2:3:4:5:7:deny\n");
	/* The zero may become part of "::", depending on what follows. */
	assert_rule("2001:db8::/48", 0, "");
	assert_rule("2001:db8:0:1::/64", 0, "");
	assert_rule("2001:db8:1::/64", 0, "");
	assert_rule("2001:db8:1:0::/63", 0, "");
	assert_rule("2001:db8:8000::/33", 0, ""); /* 32768 rules */
	assert_rule("2000::/3", 0, "");
	assert_rule("::/0", 0, "");
	assert_rule("2001:db8:1:100::/56", 256, NULL);
}

/* An address alone is said as it is printed: by those who compress a single zero, and by the others. */
static void
rule_v6_address_is_said_in_each_way_that_it_is_printed(void **state)
{
	(void)state;
	assert_rule("2001:db8:1:2:3:4:5:6/128", 1, "2001:db8:1:2:3:4:5:6:deny\n");
	assert_rule("2001:db8::1/128", 1, "2001:db8::1:deny\n");
	assert_rule("2001:db8:0:1::1/128", 1, "2001:db8:0:1::1:deny\n");
	assert_rule("2001:db8:0:2:3:4:5:6/128", 2, "2001:db8::2:3:4:5:6:deny\n2001:db8:0:2:3:4:5:6:deny\n");
	assert_rule("0:1:2:3:4:5:6:7/128", 2, "::1:2:3:4:5:6:7:deny\n0:1:2:3:4:5:6:7:deny\n");
	assert_rule("1:2:3:4:5:6:7:0/128", 2, "1:2:3:4:5:6:7:::deny\n1:2:3:4:5:6:7:0:deny\n");
	assert_rule("2001:db8::/128", 0, ""); /* "2001:db8::" begins other addresses too */
	assert_rule("::/128", 0, "");
	assert_rule("::1/128", 1, "::1:deny\n");
}

/* As the tcpserver of ucspi-tcp-ipv6 does it (seen in a network of its own): the first longest run, even of one. */
static void
print_as_tcpserver(const struct ip *ip, char ret[64])
{
	int best = 0, at = -1, run = 0;

	for (int i = 0; i < 8; i++) {
		run = ip->b[2 * i] == 0 && ip->b[2 * i + 1] == 0 ? run + 1 : 0;
		if (run > best) {
			best = run;
			at = i - run + 1;
		}
	}
	ret[0] = '\0';
	for (int i = 0; i < 8; i++) {
		size_t n = strlen(ret);

		if (i == at) {
			(void)snprintf(ret + n, 64 - n, "%s", i == 0 ? "::" : ":");
			i += best - 1;
		} else {
			(void)snprintf(ret + n, 64 - n, "%x%s", ip->b[2 * i] << 8 | ip->b[2 * i + 1], i < 7 ? ":" : "");
		}
	}
}

static bool
matches(const char *rules, const char *printed)
{
	while (*rules != '\0') {
		size_t n = (size_t)(strstr(rules, ":deny\n") - rules);

		if (strncmp(rules, printed, n) == 0 && (printed[n] == '\0' || rules[n - 1] == ':'))
			return true;
		rules += n + strlen(":deny\n");
	}
	return false;
}

static struct ip
random_v6(struct dice *d)
{
	struct ip ip = prefix("2001::").ip;

	for (size_t i = 2; i < 16; i += 2) {
		unsigned v = dice_below(d, 3) == 0 ? 0 : (unsigned)dice_u64(d) >> (dice_below(d, 2) * 12);

		ip.b[i] = (uint8_t)(v >> 8);
		ip.b[i + 1] = (uint8_t)v;
	}
	return ip;
}

/* What can be said is matched for just the addresses that are meant, however they are printed. */
static void
rule_v6_matches_just_the_addresses_of_the_prefix(void **state)
{
	static const unsigned lengths[] = { 16, 32, 40, 48, 56, 60, 63, 64, 80, 96, 112, 120, 124, 128 };
	static char rules[RULE_TEXT_MAX + 1];
	struct dice d = dice_new();
	int said = 0;

	(void)state;
	for (int round = 0; round < kit_rounds(20000); round++) {
		struct ip ip = random_v6(&d), other = random_v6(&d);
		unsigned bits = lengths[dice_below(&d, countof(lengths))];
		struct ip_prefix p = { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits };
		char printed[64], canonical[IP_TEXT_MAX];

		if (rule_count(&p, true) == 0)
			continue;
		said++;
		rules[rule_deny(&p, rules)] = '\0';
		/* another host of the same network, and one that differs from it in a single bit of the prefix */
		for (unsigned i = bits; i < 128; i++)
			ip.b[i / 8] = (uint8_t)((ip.b[i / 8] & ~(0x80u >> i % 8)) | (other.b[i / 8] & 0x80u >> i % 8));
		print_as_tcpserver(&ip, printed);
		assert_true(matches(rules, printed));
		ip_format(&ip, canonical);
		assert_true(matches(rules, canonical));
		unsigned flip = dice_below(&d, bits);
		ip.b[flip / 8] ^= (uint8_t)(0x80u >> flip % 8);
		print_as_tcpserver(&ip, printed);
		assert_false(matches(rules, printed));
		print_as_tcpserver(&other, printed);
		assert_int_equal(matches(rules, printed), ip_prefix_contains(&p, &other));
	}
	assert_in_range(said, kit_rounds(20000) / 20, kit_rounds(20000));
}

static void
rule_printer_of_the_test_prints_as_tcpserver_was_seen_to(void **state)
{
	static const char *const seen[][2] = {
		{ "2001:db8:1:0:3:4:5:6", "2001:db8:1::3:4:5:6" }, { "2001:db8:0:0:3:0:0:6", "2001:db8::3:0:0:6" },
		{ "2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1" }, { "2001:db8:1:2:0:0:0:0", "2001:db8:1:2::" },
		{ "2001:db8:0:1:2:3:4:0", "2001:db8::1:2:3:4:0" }, { "2001:db8:abcd:0:0:1:0:0", "2001:db8:abcd::1:0:0" },
	};

	(void)state;
	for (size_t i = 0; i < countof(seen); i++) {
		struct ip ip = prefix(seen[i][0]).ip;
		char printed[64];

		print_as_tcpserver(&ip, printed);
		assert_string_equal(printed, seen[i][1]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rule_v4_is_an_address_a_prefix_or_a_range),
		cmocka_unit_test(rule_v6_is_text_where_no_zero_can_be_compressed),
		cmocka_unit_test(rule_v6_address_is_said_in_each_way_that_it_is_printed),
		cmocka_unit_test(rule_printer_of_the_test_prints_as_tcpserver_was_seen_to),
		cmocka_unit_test(rule_v6_matches_just_the_addresses_of_the_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
