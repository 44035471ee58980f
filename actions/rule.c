/* SPDX-License-Identifier: ISC */
#include "actions/rule.h"

#include <string.h>

#include "actions/digits.h"

#define V4_BITS 96 /* before an IPv4 address */
#define V4_LEAST (V4_BITS + 8) /* wider than that nobody means */
#define V6_LEAST 16
#define DENY ":deny\n"

static unsigned
group_at(const struct ip *ip, unsigned i)
{
	return (unsigned)ip->b[2 * i] << 8 | ip->b[2 * i + 1];
}

/* How many groups there are in full; the values of the next are those that a prefix which ends in it stands for. */
static unsigned
split_v6(const struct ip_prefix *p, unsigned *ret_first, unsigned *ret_count)
{
	unsigned whole = p->bits / 16, rest = p->bits % 16;

	*ret_first = rest != 0 ? group_at(&p->ip, whole) : 0;
	*ret_count = rest != 0 ? 1u << (16 - rest) : 1;
	return whole;
}

/* The longest run of zeros, of several the first: its length, and where it begins. */
static unsigned
find_run(const struct ip *ip, unsigned *ret_at)
{
	unsigned best = 0, run = 0;

	for (unsigned i = 0; i < 8; i++) {
		run = group_at(ip, i) == 0 ? run + 1 : 0;
		if (run > best) {
			best = run;
			*ret_at = i + 1 - run;
		}
	}
	return best;
}

/* 2 where a single zero is all that there is to compress, for some print "::" for it and others "0".  0 when the text
 * ends in "::" and so would be the beginning of other addresses' too. */
static size_t
count_texts(const struct ip *ip)
{
	unsigned at = 0, run = find_run(ip, &at);

	return run == 1 ? 2 : run > 0 && at + run == 8 ? 0 : 1;
}

size_t
rule_count(const struct ip_prefix *p, bool ipv6)
{
	unsigned rest = p->bits % 8, first, count;

	if (p->bits >= V4_BITS && ip_is_v4(&p->ip))
		return p->bits < V4_LEAST ? 0 : rest != 0 ? (size_t)1 << (8 - rest) : 1;
	if (!ipv6 || p->bits < V6_LEAST)
		return 0;
	if (p->bits == 128)
		return count_texts(&p->ip);
	unsigned whole = split_v6(p, &first, &count);
	for (unsigned i = 0; i < whole; i++)
		if (group_at(&p->ip, i) == 0)
			return 0;
	if (count > 256 || (p->bits % 16 != 0 && first == 0))
		return 0;
	return count;
}

/* --- writing --------------------------------------------------------------------------------- */

static char *
put_text(char *at, const char *s, size_t n)
{
	memcpy(at, s, n);
	return at + n;
}

/* Without leading zeros. */
static char *
put_group(char *at, unsigned v)
{
	for (int shift = v > 0xfff ? 12 : v > 0xff ? 8 : v > 0xf ? 4 : 0; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[v >> shift & 15];
	return at;
}

static char *
put_v4(char *at, const struct ip_prefix *p)
{
	unsigned bits = p->bits - V4_BITS, whole = bits / 8, rest = bits % 8;
	const uint8_t *b = p->ip.b + 12;

	for (unsigned i = 0; i < whole; i++) {
		at = digits_put_octet(at, b[i]);
		if (i < 3)
			*at++ = '.';
	}
	if (rest != 0) {
		at = digits_put_octet(at, b[whole]);
		*at++ = '-';
		at = digits_put_octet(at, b[whole] + (1u << (8 - rest)) - 1);
		if (whole < 3)
			*at++ = '.';
	}
	return put_text(at, DENY, strlen(DENY));
}

/* `run` groups from `run_at` on as "::", or none. */
static char *
put_v6_address(char *at, const struct ip *ip, unsigned run, unsigned run_at)
{
	for (unsigned i = 0; i < 8; i++) {
		if (run > 0 && i == run_at) {
			*at++ = ':';
			i += run - 1;
			if (i == 7)
				*at++ = ':';
			continue;
		}
		if (i > 0)
			*at++ = ':';
		at = put_group(at, group_at(ip, i));
	}
	return put_text(at, DENY, strlen(DENY));
}

static char *
put_v6_prefix(char *at, const struct ip_prefix *p)
{
	unsigned first, count, whole = split_v6(p, &first, &count);

	for (unsigned k = 0; k < count; k++) {
		for (unsigned i = 0; i < whole; i++) {
			at = put_group(at, group_at(&p->ip, i));
			*at++ = ':';
		}
		if (p->bits % 16 != 0) {
			at = put_group(at, first + k);
			if (whole < 7)
				*at++ = ':';
		}
		at = put_text(at, DENY, strlen(DENY));
	}
	return at;
}

size_t
rule_deny(const struct ip_prefix *p, char ret[RULE_TEXT_MAX])
{
	char *at = ret;

	if (ip_is_v4(&p->ip)) {
		at = put_v4(at, p);
	} else if (p->bits < 128) {
		at = put_v6_prefix(at, p);
	} else {
		unsigned run_at = 0, run = find_run(&p->ip, &run_at);

		at = put_v6_address(at, &p->ip, run, run_at);
		if (count_texts(&p->ip) == 2)
			at = put_v6_address(at, &p->ip, 0, 0);
	}
	return (size_t)(at - ret);
}
