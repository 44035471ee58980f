/* SPDX-License-Identifier: ISC */
/*
 * Who is never blocked, and where that stands: rows A1, A2, S5 of the failure list.  Every class, every source,
 * against an oracle, and files as people write them.
 */
#include "controller/protect.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "controller/protect_sources.h"
#include "tests/unit/kit.h"

static const uint8_t key[PROTECT_KEY_SIZE] = "a key of a test";
static const mono_t now = { 1000000 };
static struct protect_list list;

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

static struct protect *
table(size_t logins)
{
	struct protect *t;

	assert_int_equal(protect_new(logins, key, &t), 0);
	return t;
}

static enum protect_reason
find(const struct protect *t, const char *text)
{
	struct ip ip = address(text);

	return protect_find(t, &ip, now, NULL);
}

static enum protect_reason
covers(const struct protect *t, const char *text)
{
	struct ip_prefix p = prefix(text);

	return protect_covers(t, &p, now, NULL);
}

static void
set(struct protect *t, enum protect_reason source, const char *text)
{
	struct ip_prefix p = prefix(text);

	assert_int_equal(protect_set(t, source, &p, 1), 0);
}

static void
allow(struct protect *t, const char *const *texts, size_t n)
{
	struct protect_allow entries[8];
	struct err why;

	for (size_t i = 0; i < n; i++)
		assert_int_equal(protect_parse_allow(texts[i], &entries[i], &why), 0);
	assert_int_equal(protect_allow(t, entries, n), 0);
}

/* --- the table ------------------------------------------------------------------------------- */

static void
protect_some_always_are(void **state)
{
	static const struct {
		const char *text;
		enum protect_reason reason;
	} rows[] = {
		{ "127.0.0.1", PROTECT_LOOPBACK }, { "127.255.255.255", PROTECT_LOOPBACK }, { "::1", PROTECT_LOOPBACK },
		{ "::ffff:127.0.0.1", PROTECT_LOOPBACK }, { "0.0.0.0", PROTECT_UNSPECIFIED },
		{ "0.1.2.3", PROTECT_UNSPECIFIED }, { "::", PROTECT_UNSPECIFIED }, { "224.0.0.1", PROTECT_MULTICAST },
		{ "255.255.255.255", PROTECT_MULTICAST }, { "ff02::1", PROTECT_MULTICAST }, { "::2", PROTECT_NONE },
		{ "126.255.255.255", PROTECT_NONE }, { "128.0.0.0", PROTECT_NONE }, { "1.0.0.0", PROTECT_NONE },
		{ "2001:db8::1", PROTECT_NONE }, { "192.0.2.1", PROTECT_NONE },
	};
	struct protect *t = table(0);

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_int_equal(find(t, rows[i].text), rows[i].reason);
	/* An allow list that is empty, or that allows everything else, changes nothing in that. */
	assert_int_equal(protect_allow(t, NULL, 0), 0);
	assert_int_equal(find(t, "127.0.0.1"), PROTECT_LOOPBACK);
	protect_free(t);
	protect_free(NULL);
}

static void
protect_prefixes_that_touch(void **state)
{
	struct protect *t = table(0);

	(void)state;
	set(t, PROTECT_OWN, "192.0.2.7");
	set(t, PROTECT_RELAY, "198.51.100.0/24");
	set(t, PROTECT_RESOLVER, "2001:db8:0:1::53");
	assert_int_equal(covers(t, "192.0.2.0/24"), PROTECT_OWN); /* one inside */
	assert_int_equal(covers(t, "192.0.2.8/29"), PROTECT_NONE); /* beside */
	assert_int_equal(covers(t, "192.0.2.6/31"), PROTECT_OWN);
	assert_int_equal(covers(t, "198.51.100.128/25"), PROTECT_RELAY); /* inside one */
	assert_int_equal(covers(t, "198.51.100.0/24"), PROTECT_RELAY);
	assert_int_equal(covers(t, "198.51.0.0/16"), PROTECT_RELAY);
	assert_int_equal(covers(t, "198.51.101.0/24"), PROTECT_NONE);
	assert_int_equal(covers(t, "2001:db8:0:1::/64"), PROTECT_RESOLVER);
	assert_int_equal(covers(t, "2001:db8::/64"), PROTECT_NONE);
	assert_int_not_equal(covers(t, "0.0.0.0/0"), PROTECT_NONE);
	assert_int_not_equal(covers(t, "::/0"), PROTECT_NONE);
	protect_free(t);
}

static void
protect_hit_tells_what(void **state)
{
	static const char *const entries[] = { "203.0.113.0/24", "backup.example.org" };
	struct protect *t = table(1);
	struct ip backup = address("198.51.100.9"), office = address("192.0.2.77");
	struct protect_hit hit;

	(void)state;
	allow(t, entries, 2);
	assert_int_equal(protect_set_name(t, "backup.example.org", &backup, 1), 0);
	assert_int_equal(protect_find(t, &backup, now, &hit), PROTECT_ALLOWED);
	assert_string_equal(hit.name, "backup.example.org");
	assert_int_equal(hit.prefix.bits, 128);
	struct ip_prefix inside = prefix("203.0.113.128/25");
	assert_int_equal(protect_covers(t, &inside, now, &hit), PROTECT_ALLOWED);
	assert_null(hit.name);
	assert_int_equal(hit.prefix.bits, 96 + 24);
	protect_login(t, &office, mono_after(now, 1));
	assert_int_equal(protect_find(t, &office, now, &hit), PROTECT_LOGIN);
	assert_true(ip_equal(&hit.prefix.ip, &office));
	for (int i = 0; i < PROTECT_REASONS; i++)
		assert_true(strlen(protect_reason_text((enum protect_reason)i)) > 5);
	protect_free(t);
}

static void
protect_sources_are_replaced_whole(void **state)
{
	struct ip_prefix two[] = { prefix("192.0.2.1"), prefix("192.0.2.2") };
	struct protect *t = table(0);

	(void)state;
	assert_int_equal(protect_set(t, PROTECT_OWN, two, 2), 0);
	uint64_t version = protect_version(t);
	assert_int_equal(protect_set(t, PROTECT_OWN, two, 2), 0);
	assert_true(protect_version(t) == version); /* nothing has changed */
	assert_int_equal(protect_set(t, PROTECT_OWN, two + 1, 1), 0);
	assert_true(protect_version(t) > version);
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_OWN);
	/* Another source may name the same, and goes without taking it away. */
	set(t, PROTECT_RELAY, "192.0.2.2");
	assert_int_equal(protect_set(t, PROTECT_RELAY, NULL, 0), 0);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_OWN);
	protect_free(t);
}

static void
protect_wide_prefixes_only_by_the_allow_list(void **state)
{
	static const char *const entries[] = { "0.0.0.0/0 wide" };
	struct ip_prefix wide[] = { prefix("10.0.0.0/7"), prefix("2000::/3"), prefix("::/0") };
	struct protect *t = table(0);

	(void)state;
	for (size_t i = 0; i < countof(wide); i++) {
		assert_true(protect_is_wide(&wide[i]));
		assert_int_equal(protect_set(t, PROTECT_RELAY, &wide[i], 1), -EINVAL);
	}
	set(t, PROTECT_RELAY, "10.0.0.0/8");
	set(t, PROTECT_RELAY, "2001::/16");
	assert_int_equal(protect_set(t, PROTECT_ALLOWED, NULL, 0), -EINVAL);
	assert_int_equal(protect_set(t, PROTECT_LOOPBACK, NULL, 0), -EINVAL);
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	allow(t, entries, 1);
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_ALLOWED);
	assert_int_equal(find(t, "2002:db8::1"), PROTECT_NONE);
	protect_free(t);
}

static void
protect_names_keep_their_last_good_addresses(void **state)
{
	static const char *const both[] = { "a.example.org", "b.example.org", "192.0.2.99" };
	struct ip first = address("192.0.2.1"), second = address("192.0.2.2"), many[PROTECT_ADDRESSES_MAX + 1];
	struct protect *t = table(0);

	(void)state;
	allow(t, both, 3);
	assert_int_equal(protect_set_name(t, "a.example.org", &first, 1), 0);
	assert_int_equal(protect_set_name(t, "b.example.org", &second, 1), 0);
	assert_int_equal(protect_set_name(t, "a.example.org", NULL, 0), 0); /* the name server is down */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_ALLOWED);
	assert_int_equal(protect_set_name(t, "c.example.org", &first, 1), -ENOENT);
	assert_int_equal(protect_set_name(t, "", &first, 1), -ENOENT);
	memset(many, 0, sizeof(many));
	assert_int_equal(protect_set_name(t, "a.example.org", many, countof(many)), -EINVAL);
	allow(t, both + 1, 1); /* a and the address are gone; b stays, with what it had */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	assert_int_equal(find(t, "192.0.2.99"), PROTECT_NONE);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_ALLOWED);
	allow(t, both, 2); /* comes back without addresses */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	assert_int_equal(protect_set_name(t, "b.example.org", &first, 1), 0); /* moved */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_ALLOWED);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_NONE);
	protect_free(t);
}

static void
protect_who_is_not_known_is_everybody(void **state)
{
	static struct ip_prefix many[PROTECT_PREFIXES_MAX];
	struct protect *t = table(0);

	(void)state;
	protect_lost(t, PROTECT_OWN);
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_UNKNOWN);
	assert_true(protect_is_absolute(PROTECT_UNKNOWN));
	assert_int_equal(find(t, "127.0.0.1"), PROTECT_LOOPBACK);
	set(t, PROTECT_OWN, "192.0.2.7");
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	protect_lost(t, PROTECT_OWN); /* once known, the last good one counts */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	assert_int_equal(find(t, "192.0.2.7"), PROTECT_OWN);
	/* More than fit: those beyond would not be protected. */
	for (unsigned i = 0; i < countof(many); i++) {
		many[i] = prefix("198.18.0.0");
		many[i].ip.b[14] = (uint8_t)(i >> 8);
		many[i].ip.b[15] = (uint8_t)i;
	}
	assert_int_equal(protect_set(t, PROTECT_RELAY, many, countof(many) - 7), -ENOSPC); /* 7 are built in, 1 is ours */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_UNKNOWN);
	assert_int_equal(protect_set(t, PROTECT_RELAY, many, countof(many) - 8), 0);
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	assert_int_equal(find(t, "198.18.3.4"), PROTECT_RELAY);
	assert_int_equal(protect_set(t, PROTECT_RELAY, many, countof(many) - 8), 0); /* in place of themselves */
	protect_free(t);
}

static void
protect_allow_list_as_long_as_it_may_be(void **state)
{
	static struct protect_allow many[PROTECT_ALLOW_MAX + 1];
	static struct ip_prefix rest[PROTECT_PREFIXES_MAX];
	struct ip addresses[PROTECT_ADDRESSES_MAX];
	struct protect *t = table(0);

	(void)state;
	for (unsigned i = 0; i < countof(many); i++) {
		many[i].is_name = i % 2 == 0;
		kit_format(many[i].name, sizeof(many[i].name), "h%u.example.org", i);
		many[i].prefix = prefix("198.18.0.0");
		many[i].prefix.ip.b[14] = (uint8_t)(i >> 8);
		many[i].prefix.ip.b[15] = (uint8_t)i;
	}
	for (unsigned i = 0; i < countof(addresses); i++) {
		addresses[i] = address("192.0.2.0");
		addresses[i].b[15] = (uint8_t)i;
	}
	assert_int_equal(protect_allow(t, many, PROTECT_ALLOW_MAX), 0);
	assert_int_equal(find(t, "198.18.0.255"), PROTECT_ALLOWED);
	assert_int_equal(protect_set_name(t, "h254.example.org", addresses, countof(addresses)), 0);
	assert_int_equal(find(t, "192.0.2.63"), PROTECT_ALLOWED);
	/* Fill up the rest: then a name gets no more addresses than it has, and an entry no room. */
	for (unsigned i = 0; i < countof(rest); i++)
		rest[i] = prefix("203.0.113.1");
	size_t room = PROTECT_PREFIXES_MAX - 7 - PROTECT_ALLOW_MAX / 2 - countof(addresses);
	assert_int_equal(protect_set(t, PROTECT_RELAY, rest, room), 0);
	assert_int_equal(protect_set_name(t, "h254.example.org", addresses, countof(addresses)), 0);
	assert_int_equal(protect_set_name(t, "h252.example.org", addresses, 1), -ENOSPC);
	assert_int_equal(protect_allow(t, many, PROTECT_ALLOW_MAX), 0);
	many[0].is_name = false;
	assert_int_equal(protect_allow(t, many, PROTECT_ALLOW_MAX), -ENOSPC);
	assert_int_equal(find(t, "64.0.0.1"), PROTECT_UNKNOWN);
	many[0].is_name = true;
	assert_int_equal(protect_allow(t, many, PROTECT_ALLOW_MAX), 0);
	assert_int_equal(find(t, "64.0.0.1"), PROTECT_NONE);
	assert_int_equal(protect_allow(t, many, PROTECT_ALLOW_MAX + 1), -ENOSPC);
	many[1].is_name = true;
	many[1].name[0] = '\0';
	assert_int_equal(protect_allow(t, many, 2), -EINVAL);
	protect_free(t);
}

static void
protect_logins_soften_and_end(void **state)
{
	struct ip host = address("192.0.2.1"), six = address("2001:db8::1"), other = address("192.0.2.2");
	struct protect *t = table(2);

	(void)state;
	protect_login(t, &host, mono_after(now, 10));
	protect_login(t, &six, mono_after(now, 10));
	assert_false(protect_is_absolute(find(t, "192.0.2.1")));
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_LOGIN);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_NONE);
	assert_int_equal(find(t, "2001:db8::ffff"), PROTECT_LOGIN); /* the same /64 */
	assert_int_equal(covers(t, "2001:db8::/64"), PROTECT_LOGIN);
	assert_int_equal(covers(t, "2001:db8::/48"), PROTECT_LOGIN);
	assert_int_equal(covers(t, "2001:db8:0:1::/64"), PROTECT_NONE);
	assert_int_equal(covers(t, "192.0.2.0/24"), PROTECT_LOGIN);
	assert_int_equal(covers(t, "192.0.3.0/24"), PROTECT_NONE);
	struct ip_prefix net = prefix("192.0.2.0/24");
	assert_int_equal(protect_covers(t, &net, mono_after(now, 9), NULL), PROTECT_LOGIN);
	assert_int_equal(protect_covers(t, &net, mono_after(now, 10), NULL), PROTECT_NONE);
	assert_int_equal(protect_find(t, &host, mono_after(now, 10), NULL), PROTECT_NONE);
	protect_login(t, &host, now); /* does not take away what was given before */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_LOGIN);
	protect_login(t, &other, mono_after(now, 10)); /* full: the one that is longest ago goes */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_LOGIN);
	assert_int_equal(find(t, "192.0.2.2"), PROTECT_LOGIN);
	assert_int_equal(find(t, "2001:db8::1"), PROTECT_NONE);
	set(t, PROTECT_OWN, "192.0.2.1"); /* the stronger reason */
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_OWN);
	protect_free(t);
	t = table(0);
	protect_login(t, &host, mono_after(now, 10));
	assert_int_equal(find(t, "192.0.2.1"), PROTECT_NONE);
	protect_free(t);
}

static void
protect_walk_meets_all(void **state)
{
	struct protect *t = table(0);
	struct protect_hit hit;
	size_t cursor = 0, n = 0, own = 0;

	(void)state;
	set(t, PROTECT_OWN, "192.0.2.7");
	for (; protect_next(t, &cursor, &hit); n++)
		own += hit.reason == PROTECT_OWN;
	assert_int_equal(own, 1);
	assert_int_equal(n, 8);
	protect_free(t);
}

/* --- the oracle ------------------------------------------------------------------------------ */

static bool
touches(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits <= b->bits ? ip_prefix_contains(a, &b->ip) : ip_prefix_contains(b, &a->ip);
}

static struct ip_prefix
any_prefix(struct dice *d)
{
	static const uint8_t bits[] = { 128, 128, 126, 120, 112, 104, 64, 48 };
	struct ip ip = address(dice_below(d, 2) == 0 ? "198.18.0.0" : "2001:db8::");
	struct ip_prefix p = { .bits = bits[dice_below(d, ip_is_v4(&ip) ? 6 : 8)] };

	for (unsigned i = ip_is_v4(&ip) ? 13 : 5; i < 16; i++)
		ip.b[i] ^= (uint8_t)dice_below(d, 3);
	p.ip = ip_mask(&ip, p.bits);
	return p;
}

static void
protect_agrees_with_an_oracle(void **state)
{
	static const enum protect_reason sources[] = { PROTECT_OWN, PROTECT_GATEWAY, PROTECT_RESOLVER, PROTECT_RELAY };
	static struct ip_prefix in[countof(sources)][40];
	size_t n[countof(sources)] = { 0 };
	struct dice d = dice_new();
	struct protect *t = table(0);

	(void)state;
	for (int i = 0; i < kit_rounds(100000); i++) {
		unsigned s = dice_below(&d, countof(sources));

		if (i % 100 == 0) {
			n[s] = dice_below(&d, countof(in[s]));
			for (size_t j = 0; j < n[s]; j++)
				in[s][j] = any_prefix(&d);
			assert_int_equal(protect_set(t, sources[s], in[s], n[s]), 0);
		}
		struct ip_prefix p = any_prefix(&d);
		bool expected = false;
		for (s = 0; s < countof(sources); s++)
			for (size_t j = 0; j < n[s]; j++)
				expected = expected || touches(&in[s][j], &p);
		struct protect_hit hit;
		assert_int_equal(protect_covers(t, &p, now, &hit) != PROTECT_NONE, expected);
		if (expected)
			assert_true(touches(&hit.prefix, &p));
	}
	protect_free(t);
}

/* --- the allow list -------------------------------------------------------------------------- */

static void
protect_allow_entries(void **state)
{
	static const struct {
		const char *text;
		bool ok, is_name;
	} rows[] = {
		{ "192.0.2.1", true, false }, { "192.0.2.0/24", true, false }, { "2001:db8::/32", true, false },
		{ "10.0.0.0/8", true, false }, { "10.0.0.0/8 wide", true, false }, { "2001::/16", true, false },
		{ "0.0.0.0/0 wide", true, false }, { "::/0 wide", true, false }, { "mx.Example.org", true, true },
		{ "a-b.c_d.example", true, true }, { "_09azAZ.zZ.aA0", true, true }, { "1.2.example", true, true }, { "0.0.0.0/0", false, false },
		{ "::/0", false, false }, { "10.0.0.0/7", false, false }, { "::ffff:0:0/96", false, false },
		{ "2000::/15", false, false }, { "192.0.2.1/24", false, false }, { "192.0.2.256", false, false },
		{ "192.0.2", false, false }, { "localhost", false, false }, { ".example.org", false, false },
		{ "example..org", false, false }, { "example.org.", false, false }, { "-a.example.org", false, false },
		{ "mx.example.org wide", false, false }, { "192.0.2.1 ", false, false }, { "192.0.2.1 huge", false, false },
		{ " 192.0.2.1", false, false }, { "", false, false }, { "a\xc3\xa4.example.org", false, false },
		{ "mx.example.org;rm", false, false }, { "0.0.0.0/0  wide", false, false },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct protect_allow a;
		struct err why = { "" };
		int r = protect_parse_allow(rows[i].text, &a, &why);

		if (r != (rows[i].ok ? 0 : -EINVAL))
			fail_msg("\"%s\": %d", rows[i].text, r);
		if (r == 0)
			assert_int_equal(a.is_name, rows[i].is_name);
		else
			assert_true(strlen(why.text) > 10);
		if (r == 0 && a.is_name)
			assert_null(strpbrk(a.name, "AEOZ"));
	}
	char name[PROTECT_NAME_MAX + 1];
	struct protect_allow a;
	memset(name, 'a', sizeof(name));
	memcpy(name + 50, ".", 1);
	name[PROTECT_NAME_MAX] = '\0';
	assert_int_equal(protect_parse_allow(name, &a, NULL), -EINVAL);
	name[PROTECT_NAME_MAX - 1] = '\0';
	assert_int_equal(protect_parse_allow(name, &a, NULL), 0);
}

/* --- lines ----------------------------------------------------------------------------------- */

/* What a line names, blanks between. */
static const char *
parsed(protect_parser *parse, const char *line)
{
	static char text[4096];
	size_t at = 0;

	list.n = 0;
	list.cut = false;
	parse(line, strlen(line), &list);
	text[0] = '\0';
	for (size_t i = 0; i < list.n; i++) {
		char one[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&list.prefix[i], one);
		kit_format(text + at, sizeof(text) - at, "%s%s", i > 0 ? " " : "", one);
		at += strlen(text + at);
	}
	return text;
}

static void
protect_resolv_lines(void **state)
{
	static const struct {
		const char *line, *found;
	} rows[] = {
		{ "nameserver 192.0.2.53", "192.0.2.53/32" },
		{ "nameserver\t2001:db8::53 # ours", "2001:db8::53/128" },
		{ "  nameserver 192.0.2.53\r", "192.0.2.53/32" },
		{ "nameserver fe80::1%eth0", "fe80::1/128" },
		{ "nameserver", "" },
		{ "nameserver ", "" },
		{ "nameserver dns.example.org", "" },
		{ "nameservers 192.0.2.53", "" },
		{ "nameservex 192.0.2.53", "" },
		{ "nameserver 2001:0db8:0000:0000:0000:0000:0000:0053:0000:0000:0000:0000", "" },
		{ "#nameserver 192.0.2.53", "" },
		{ "; nameserver 192.0.2.53", "" },
		{ "search example.org", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		assert_string_equal(parsed(protect_parse_resolv, rows[i].line), rows[i].found);
}

static void
protect_rule_lines(void **state)
{
	static const struct {
		const char *line, *found;
	} rows[] = {
		{ "192.0.2.1:allow,RELAYCLIENT=\"\"", "192.0.2.1/32" },
		{ "192.0.2.:allow,RELAYCLIENT=\"\"", "192.0.2.0/24" },
		{ "192.0.:allow,RELAYCLIENT=\"\"", "192.0.0.0/16" },
		{ "10.:allow,RELAYCLIENT=\"\"", "10.0.0.0/8" },
		{ "192.0.2.1:allow,RBLSMTPD=\"\",RELAYCLIENT=/@fix/", "192.0.2.1/32" },
		{ "192.0.2.1:allow,RELAYCLIENT=\"\",X=\"y\"  ", "192.0.2.1/32" },
		{ "192.0.2.16-31:allow,RELAYCLIENT=\"\"", "192.0.2.16/28" },
		{ "192.0.2.0-255:allow,RELAYCLIENT=\"\"", "192.0.2.0/24" },
		{ "192.0.2.1-6:allow,RELAYCLIENT=\"\"", "192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32" },
		{ "192.0.2-3.:allow,RELAYCLIENT=\"\"", "192.0.2.0/23" },
		{ "192.0.2.7-7:allow,RELAYCLIENT=\"\"", "192.0.2.7/32" },
		{ "192.0.2.0007:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.1:allow,RELAYCLIENX=\"\"", "" },
		{ "192.0.2.1:allow;RELAYCLIENT=\"\"", "" },
		{ "2001:db8:::allow,RELAYCLIENT=\"\"", "2001:db8::/128" },
		{ "1:2:3:4:5:6:7:8:allow,RELAYCLIENT=\"\"", "1:2:3:4:5:6:7:8/128" },
		{ "1:2:3:4:5:6:7::allow,RELAYCLIENT=\"\"", "1:2:3:4:5:6:7:0/112" },
		{ "10-11.:allow,RELAYCLIENT=\"\"", "" }, /* a /7: rather unprotected than the half of the world */
		{ "192.0.2.0/25:allow,RELAYCLIENT=\"\"", "192.0.2.0/25" },
		{ "2001:db8::1:allow,RELAYCLIENT=\"\"", "2001:db8::1/128" },
		{ "2001:db8::/32:allow,RELAYCLIENT=\"\"", "2001:db8::/32" },
		{ "2001:db8::allow,RELAYCLIENT=\"\"", "2001:db8::/32" },
		{ "192.0.2.1:allow", "" },
		{ "192.0.2.1:deny", "" },
		{ "192.0.2.1:deny,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.1:allow,X=\"RELAYCLIENT=\"", "" },
		{ "192.0.2.1:allow,X=\",RELAYCLIENT=\"", "" },
		{ "192.0.2.1:allow,XRELAYCLIENT=\"\"", "" },
		{ "192.0.2.1:allow,RELAYCLIENT=\"", "" },
		{ "192.0.2.1:allow,RELAYCLIENT=", "" },
		{ "192.0.2.1:allow,RELAYCLIENT", "" },
		{ ":allow,RELAYCLIENT=\"\"", "" }, /* an open relay is no reason to protect everybody */
		{ "=host.example.org:allow,RELAYCLIENT=\"\"", "" },
		{ "joe@192.0.2.1:allow,RELAYCLIENT=\"\"", "" },
		{ "#192.0.2.1:allow,RELAYCLIENT=\"\"", "" },
		{ "300.1.1.1:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.1.:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.1.5:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.31-16:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.-:allow,RELAYCLIENT=\"\"", "" },
		{ "192..2.1:allow,RELAYCLIENT=\"\"", "" },
		{ ".:allow,RELAYCLIENT=\"\"", "" },
		{ "0.0.0.0/0:allow,RELAYCLIENT=\"\"", "" },
		{ "::/0:allow,RELAYCLIENT=\"\"", "" },
		{ "192.0.2.1", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		if (strcmp(parsed(protect_parse_rule, rows[i].line), rows[i].found) != 0)
			fail_msg("%s: %s, not %s", rows[i].line, parsed(protect_parse_rule, rows[i].line), rows[i].found);
}

static void
protect_route_lines(void **state)
{
	const uint32_t number = 1;
	bool little = *(const uint8_t *)&number == 1;

	(void)state;
	assert_string_equal(parsed(protect_parse_route,
		little ? "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"
		: "eth0\t00000000\tC0000201\t0003\t0\t0\t0\t00000000\t0\t0\t0"), "192.0.2.1/32");
	assert_string_equal(parsed(protect_parse_route, "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF"), "");
	assert_string_equal(parsed(protect_parse_route, "Iface\tDestination\tGateway \tFlags\tRefCnt"), "");
	assert_string_equal(parsed(protect_parse_route, "eth0 0 1"), "");
	assert_string_equal(parsed(protect_parse_route6, "00000000000000000000000000000000 00 "
		"00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000001 00000000 "
		"00000003     eth0"), "2001:db8::1/128");
	assert_string_equal(parsed(protect_parse_route6, "20010db8000000000000000000000000 40 "
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 0 0 1 eth0"), "");
	assert_string_equal(parsed(protect_parse_route6, "zz"), "");
}

/* --- files and interfaces -------------------------------------------------------------------- */

/* In the place of libc's: two interfaces of our own, one without an address, one of a family that is none of ours. */
static struct sockaddr_in v4 = { .sin_family = AF_INET };
static struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
static struct sockaddr other_family = { .sa_family = AF_PACKET };
static struct ifaddrs interfaces[] = {
	{ .ifa_next = &interfaces[1], .ifa_addr = (struct sockaddr *)&v4 },
	{ .ifa_next = &interfaces[2] },
	{ .ifa_next = &interfaces[3], .ifa_addr = &other_family },
	{ .ifa_addr = (struct sockaddr *)&v6 },
};
static int error;

int
getifaddrs(struct ifaddrs **ret)
{
	struct ip four = address("192.0.2.7"), six = address("2001:db8::7");

	memcpy(&v4.sin_addr, four.b + 12, 4);
	memcpy(&v6.sin6_addr, six.b, 16);
	*ret = interfaces;
	errno = error;
	return error != 0 ? -1 : 0;
}

void
freeifaddrs(struct ifaddrs *all)
{
	assert_ptr_equal(all, interfaces);
}

static void
protect_refresh_reads_all_and_keeps_the_last_good(void **state)
{
	char dir[KIT_PATH_MAX], path[KIT_PATH_MAX];
	struct protect *t = table(0);
	struct err why;

	(void)state;
	kit_tree(dir);
	kit_path(path, dir, "tcp.smtp");
	error = ENOBUFS;
	assert_int_equal(protect_refresh(t, path, &list, &why), -ENOBUFS);
	assert_int_equal(find(t, "203.0.113.1"), PROTECT_UNKNOWN);
	error = 0;
	assert_int_equal(protect_refresh(t, path, &list, &why), 0); /* no rules are no mistake */
	assert_int_equal(find(t, "192.0.2.7"), PROTECT_OWN);
	assert_int_equal(find(t, "2001:db8::7"), PROTECT_OWN);
	assert_int_equal(find(t, "203.0.113.1"), PROTECT_NONE);
	kit_puts(dir, "tcp.smtp", "# ours\n203.0.113.:allow,RELAYCLIENT=\"\"\n:allow\n198.51.100.1:allow,RELAYCLIENT=\"\"");
	assert_int_equal(protect_refresh(t, path, &list, &why), 0);
	assert_int_equal(find(t, "203.0.113.1"), PROTECT_RELAY);
	assert_int_equal(find(t, "198.51.100.1"), PROTECT_RELAY); /* no newline behind */
	assert_int_equal(unlink(path), 0);
	kit_mkdir(dir, "tcp.smtp");
	error = EMFILE;
	assert_int_equal(protect_refresh(t, path, &list, &why), -EINVAL);
	assert_non_null(strstr(why.text, path));
	assert_int_equal(find(t, "203.0.113.1"), PROTECT_RELAY);
	assert_int_equal(find(t, "192.0.2.7"), PROTECT_OWN);
	error = 0;
	assert_int_equal(protect_refresh(t, "", &list, &why), 0); /* not configured any more */
	assert_int_equal(find(t, "203.0.113.1"), PROTECT_NONE);
	kit_remove(dir);
	protect_free(t);
}

static void
count_line(const char *line, size_t len, struct protect_list *ret)
{
	(void)line;
	assert_true(len <= PROTECT_LINE_MAX);
	ret->n++;
}

static void
protect_read_lines_of_any_length(void **state)
{
	static const size_t lengths[] = { 0, 1, PROTECT_LINE_MAX - 1, PROTECT_LINE_MAX, PROTECT_LINE_MAX + 1,
		2 * PROTECT_LINE_MAX, 50000, 3, 0, PROTECT_LINE_MAX };
	static char text[200000];
	char dir[KIT_PATH_MAX], path[KIT_PATH_MAX];
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < countof(lengths); i++) {
		memset(text + at, 'x', lengths[i]);
		at += lengths[i];
		text[at++] = '\n';
	}
	kit_tree(dir);
	kit_write(dir, "lines", text, at, 0644);
	list.n = 0;
	assert_int_equal(protect_read(kit_path(path, dir, "lines"), count_line, &list), 0);
	assert_int_equal(list.n, countof(lengths) - 3);
	kit_write(dir, "lines", text, at - 1, 0644); /* the last one without newline */
	list.n = 0;
	assert_int_equal(protect_read(path, count_line, &list), 0);
	assert_int_equal(list.n, countof(lengths) - 3);
	assert_int_equal(truncate(path, PROTECT_FILE_MAX + 1), 0);
	assert_int_equal(protect_read(path, count_line, &list), -EFBIG);
	kit_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(protect_some_always_are),
		cmocka_unit_test(protect_prefixes_that_touch),
		cmocka_unit_test(protect_hit_tells_what),
		cmocka_unit_test(protect_sources_are_replaced_whole),
		cmocka_unit_test(protect_wide_prefixes_only_by_the_allow_list),
		cmocka_unit_test(protect_names_keep_their_last_good_addresses),
		cmocka_unit_test(protect_who_is_not_known_is_everybody),
		cmocka_unit_test(protect_allow_list_as_long_as_it_may_be),
		cmocka_unit_test(protect_logins_soften_and_end),
		cmocka_unit_test(protect_walk_meets_all),
		cmocka_unit_test(protect_agrees_with_an_oracle),
		cmocka_unit_test(protect_allow_entries),
		cmocka_unit_test(protect_resolv_lines),
		cmocka_unit_test(protect_rule_lines),
		cmocka_unit_test(protect_route_lines),
		cmocka_unit_test(protect_refresh_reads_all_and_keeps_the_last_good),
		cmocka_unit_test(protect_read_lines_of_any_length),
	};

	return cmocka_run_group_tests_name("protect", tests, NULL, NULL);
}
