/* SPDX-License-Identifier: ISC */
/*
 * ip - addresses and prefixes, in one form
 *
 * Every address is held as 16 bytes; an IPv4 address as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that a
 * client is the same whether the server's socket was AF_INET or AF_INET6.  Text from outside becomes an
 * address only through ip_parse(), and a file name or a rule only through ip_format(): what was
 * not understood never gets further.
 */
#ifndef LIB_IP_H
#define LIB_IP_H

#include <stdbool.h>
#include <stdint.h>

#define IP_TEXT_MAX 46 /* INET6_ADDRSTRLEN */
#define IP_PREFIX_TEXT_MAX (IP_TEXT_MAX + 4)

struct ip {
	uint8_t b[16];
};

/* `bits` counts from the front of the 16 bytes: an IPv4 /24 has bits = 120.  Bits behind are zero. */
struct ip_prefix {
	struct ip ip;
	uint8_t bits; /* 0..128 */
};

/* Read "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1".  No zone, no leading zeros, no blanks.
 * Returns 0 or -EINVAL, then `ret` is untouched. */
int ip_parse(const char *s, struct ip *ret);

/* Canonical text (RFC 5952); IPv4 as dotted quad. */
void ip_format(const struct ip *ip, char ret[IP_TEXT_MAX]);

bool ip_is_v4(const struct ip *ip);
bool ip_equal(const struct ip *a, const struct ip *b);

/* The address with all but the first `bits` (0..128) bits cleared. */
struct ip ip_mask(const struct ip *ip, unsigned bits);

/* Read "192.0.2.0/24", "2001:db8::/32", or an address alone (the whole of it).  Bits set behind the
 * prefix are an error (-EINVAL): they are more often a typing mistake than meant. */
int ip_prefix_parse(const char *s, struct ip_prefix *ret);

/* Lengths are printed as people know them: 0..32 for IPv4. */
void ip_prefix_format(const struct ip_prefix *p, char ret[IP_PREFIX_TEXT_MAX]);

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip *ip);

#endif
