/* SPDX-License-Identifier: ISC */
/* Addresses and prefixes.  Rows of the failure list: Q8, A2. */
#include "lib/ip.h"

#include <arpa/inet.h>

#include "tests/hostile.h"
#include "tests/unit/kit.h"

#define V4_BITS 96

static struct ip
ip_of(const char *s)
{
	struct ip ip;

	assert_int_equal(ip_parse(s, &ip), 0);
	return ip;
}

static struct ip
ip_random(struct dice *d)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip ip;

	for (size_t i = 0; i < sizeof(ip.b); i++) {
		unsigned r = dice_below(d, 4); /* zeros often, for "::" */

		ip.b[i] = r == 0 ? (uint8_t)dice_u64(d) : r == 1 ? (uint8_t)dice_below(d, 16) : 0;
	}
	if (dice_below(d, 3) == 0)
		memcpy(ip.b, mapped, sizeof(mapped));
	return ip;
}

/* --- addresses ------------------------------------------------------------------------------- */

static void
ip_known_forms_are_read_and_written_in_one_way(void **state)
{
	static const struct {
		const char *s, *want; /* want NULL: the same */
	} rows[] = {
		{ "0.0.0.0", NULL }, { "255.255.255.255", NULL }, { "192.0.2.1", NULL }, { "1.2.3.4", NULL },
		{ "::ffff:1.2.3.4", "1.2.3.4" }, { "::ffff:102:304", "1.2.3.4" }, { "0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4" },
		{ "::FFFF:192.0.2.1", "192.0.2.1" }, { "::", NULL }, { "::1", NULL }, { "fe80::1", NULL },
		{ "2001:DB8::1", "2001:db8::1" }, { "2001:db8:0:0:0:0:0:1", "2001:db8::1" },
		{ "2001:0db8:0001:0000:0000:0000:0000:0001", "2001:db8:1::1" }, { "1:0:0:2:0:0:0:3", "1:0:0:2::3" },
		{ "2001:db8::", NULL }, { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL },
		{ "64:ff9b::192.0.2.33", "64:ff9b::c000:221" }, { "::1.2.3.4", "::102:304" }, { "::ffff:0:0:1", NULL },
		{ "1:2:3:4:5:6:7:0", NULL }, { "0:2:3:4:5:6:7:8", NULL }, { "1:0:0:2:0:0:3:4", "1::2:0:0:3:4" },
		{ "::2:0:0:3:4", NULL }, { "1:0:2:0:3:0:4:0", NULL }, { "::10:200:3000:abcd:ef", NULL },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct ip ip = ip_of(rows[i].s);
		char text[IP_TEXT_MAX];

		ip_format(&ip, text);
		assert_string_equal(text, rows[i].want != NULL ? rows[i].want : rows[i].s);
	}
}

static void
ip_mapped_address_is_the_v4_address(void **state)
{
	struct ip plain = ip_of("1.2.3.4"), mapped = ip_of("::ffff:1.2.3.4"), other = ip_of("::1.2.3.4");

	(void)state;
	assert_true(ip_equal(&plain, &mapped));
	assert_true(ip_is_v4(&mapped));
	assert_false(ip_equal(&plain, &other)); /* the old "compatible" form is another address */
	assert_false(ip_is_v4(&other));
}

static void
ip_anything_else_is_refused_and_leaves_the_result_alone(void **state)
{
	static const char *const rows[] = {
		"", " ", "unknown", "localhost", "1", "1.2", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256",
		"1.2.3.999", "1.2.3.-4", "+1.2.3.4", "010.1.1.1", "1.02.3.4", "1.2.3.00", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4",
		"1.2.3.4\n", "1.2.3.4/32", "1.2.3.4:25", "[1.2.3.4]", "2130706433", "127.1", "0177.0.0.1",
		"fe80::1%eth0", "fe80::1%1", "fe80::1%", "::ffff:1.2.3.4%lo", "[::1]", ":", ":::", "::1::1", "1::2::3",
		"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "g::1", "::ffff:1.2.3", "::ffff:1.2.3.256",
		"::ffff:010.1.1.1", "::1 ", " ::1", "::1/128", "1.2.3.4.", "1,2,3,4", "\xef\xbc\x91.2.3.4",
	};
	struct ip ip;

	(void)state;
	memset(&ip, 0x5a, sizeof(ip));
	for (size_t i = 0; i < countof(rows); i++) {
		assert_int_equal(ip_parse(rows[i], &ip), -EINVAL);
		for (size_t b = 0; b < sizeof(ip.b); b++)
			assert_int_equal(ip.b[b], 0x5a);
	}
}

/* What is read is written in digits, dots and colons only: no byte of a stranger gets further. */
static void
ip_hostile_texts_come_back_clean_or_not_at_all(void **state)
{
	static char text[HOSTILE_MAX + 1];

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		char out[IP_TEXT_MAX], prefix_out[IP_PREFIX_TEXT_MAX];
		struct ip_prefix p;
		struct ip ip;

		(void)hostile_text(i, text);
		if (ip_parse(text, &ip) == 0) {
			ip_format(&ip, out);
			assert_int_equal(strspn(out, "0123456789abcdef.:"), strlen(out));
		}
		if (ip_prefix_parse(text, &p) == 0) {
			ip_prefix_format(&p, prefix_out);
			assert_int_equal(strspn(prefix_out, "0123456789abcdef.:/"), strlen(prefix_out));
		}
	}
}

static void
ip_random_addresses_come_back(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(100000); i++) {
		struct ip ip = ip_random(&d), back;
		char text[IP_TEXT_MAX], again[IP_TEXT_MAX];

		ip_format(&ip, text);
		assert_int_equal(ip_parse(text, &back), 0);
		assert_true(ip_equal(&ip, &back));
		ip_format(&back, again);
		assert_string_equal(text, again);
	}
}

/* But of ::a.b.c.d, which libcs write in two ways, and we in the one of RFC 5952. */
static void
ip_texts_are_those_of_the_libc(void **state)
{
	struct dice d = dice_new();
	char text[IP_TEXT_MAX], libc[INET6_ADDRSTRLEN];

	(void)state;
	for (int i = 0; i < kit_rounds(100000); i++) {
		struct ip ip = ip_random(&d);

		for (unsigned group = 1; group < 8; group++) /* few zeros come by chance */
			if (dice_below(&d, 2) == 0)
				ip.b[2 * group] = ip.b[2 * group + 1] = 0;
		if (ip.b[0] == 0)
			ip.b[0] = 0x20;
		assert_non_null(inet_ntop(AF_INET6, ip.b, libc, sizeof(libc)));
		ip_format(&ip, text);
		assert_string_equal(text, libc);
	}
}

static void
ip_mask_keeps_exactly_the_first_bits(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(2000); i++) {
		struct ip ip;

		for (size_t b = 0; b < sizeof(ip.b); b++)
			ip.b[b] = (uint8_t)dice_u64(&d);
		for (unsigned bits = 0; bits <= 128; bits++) {
			struct ip m = ip_mask(&ip, bits);

			for (unsigned b = 0; b < 128; b++) {
				unsigned was = ip.b[b / 8] >> (7 - b % 8) & 1, is = m.b[b / 8] >> (7 - b % 8) & 1;

				assert_int_equal(is, b < bits ? was : 0);
			}
		}
	}
}

/* --- prefixes -------------------------------------------------------------------------------- */

static void
ip_prefix_known_forms_are_read(void **state)
{
	static const struct {
		const char *s, *want;
		unsigned bits;
	} rows[] = {
		{ "192.0.2.0/24", "192.0.2.0/24", V4_BITS + 24 }, { "192.0.2.1", "192.0.2.1/32", 128 },
		{ "10.0.0.0/8", "10.0.0.0/8", V4_BITS + 8 }, { "0.0.0.0/0", "0.0.0.0/0", V4_BITS },
		{ "128.0.0.0/1", "128.0.0.0/1", V4_BITS + 1 }, { "192.0.2.1/32", "192.0.2.1/32", 128 },
		{ "::ffff:192.0.2.0/120", "192.0.2.0/24", V4_BITS + 24 }, { "::/0", "::/0", 0 }, { "::1", "::1/128", 128 },
		{ "2001:db8::/32", "2001:db8::/32", 32 }, { "2001:db8::1/128", "2001:db8::1/128", 128 },
		{ "fe80::/10", "fe80::/10", 10 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[IP_PREFIX_TEXT_MAX];
		struct ip_prefix p;

		assert_int_equal(ip_prefix_parse(rows[i].s, &p), 0);
		assert_int_equal(p.bits, rows[i].bits);
		ip_prefix_format(&p, text);
		assert_string_equal(text, rows[i].want);
	}
}

static void
ip_prefix_anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", "/", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/24 ", "192.0.2.0/ 24",
		"192.0.2.0/24/24", "192.0.2.0/255.255.255.0", "192.0.2/24", "192.0.2.1/24", "0.0.0.1/0", "2001:db8::/129",
		"2001:db8::1/32", "::1/0", "10.0.0.0/08 ", "10.0.0.0/0x8", "10.0.0.0/99999999999999999999", "fe80::%1/10",
		"1.2.3.4\n/32", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/1",
	};
	struct ip_prefix p;

	(void)state;
	memset(&p, 0x5a, sizeof(p));
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(ip_prefix_parse(rows[i], &p), -EINVAL);
	assert_int_equal(p.bits, 0x5a);
}

static void
ip_prefix_contains_its_own_and_no_others(void **state)
{
	static const struct {
		const char *prefix, *ip;
		bool want;
	} rows[] = {
		{ "192.0.2.0/24", "192.0.2.0", true }, { "192.0.2.0/24", "192.0.2.255", true },
		{ "192.0.2.0/24", "192.0.3.0", false }, { "192.0.2.0/24", "192.0.1.255", false },
		{ "192.0.2.0/24", "::ffff:192.0.2.77", true }, { "192.0.2.0/24", "::192.0.2.77", false },
		{ "0.0.0.0/0", "255.255.255.255", true }, { "0.0.0.0/0", "2001:db8::1", false },
		{ "0.0.0.0/0", "::", false }, { "::/0", "2001:db8::1", true }, { "::/0", "192.0.2.1", true },
		{ "2001:db8::/32", "2001:db8:ffff::", true }, { "2001:db8::/32", "2001:db9::", false },
		{ "192.0.2.1", "192.0.2.1", true }, { "192.0.2.1", "192.0.2.2", false },
		{ "127.0.0.0/8", "127.255.255.255", true }, { "127.0.0.0/8", "128.0.0.0", false },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct ip ip = ip_of(rows[i].ip);
		struct ip_prefix p;

		assert_int_equal(ip_prefix_parse(rows[i].prefix, &p), 0);
		assert_int_equal(ip_prefix_contains(&p, &ip), rows[i].want);
	}
}

static void
ip_prefix_random_ones_come_back_and_contain_what_they_mask(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int i = 0; i < kit_rounds(50000); i++) {
		struct ip ip = ip_random(&d);
		struct ip_prefix p = { .bits = (uint8_t)dice_below(&d, 129) }, back;
		char text[IP_PREFIX_TEXT_MAX];

		p.ip = ip_mask(&ip, p.bits);
		assert_true(ip_prefix_contains(&p, &ip));
		ip_prefix_format(&p, text);
		assert_int_equal(ip_prefix_parse(text, &back), 0);
		assert_true(ip_equal(&p.ip, &back.ip));
		assert_int_equal(p.bits, back.bits);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ip_known_forms_are_read_and_written_in_one_way),
		cmocka_unit_test(ip_mapped_address_is_the_v4_address),
		cmocka_unit_test(ip_anything_else_is_refused_and_leaves_the_result_alone),
		cmocka_unit_test(ip_hostile_texts_come_back_clean_or_not_at_all),
		cmocka_unit_test(ip_random_addresses_come_back),
		cmocka_unit_test(ip_texts_are_those_of_the_libc),
		cmocka_unit_test(ip_mask_keeps_exactly_the_first_bits),
		cmocka_unit_test(ip_prefix_known_forms_are_read),
		cmocka_unit_test(ip_prefix_anything_else_is_refused),
		cmocka_unit_test(ip_prefix_contains_its_own_and_no_others),
		cmocka_unit_test(ip_prefix_random_ones_come_back_and_contain_what_they_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
