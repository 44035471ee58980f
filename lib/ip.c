/* SPDX-License-Identifier: ISC */
#include "lib/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "lib/text.h"

#define GROUPS 8 /* of 16 bits */
#define V4_BITS 96 /* length of ::ffff:0:0/96 */

static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff };

int
ip_parse(const char *s, struct ip *ret)
{
	struct ip ip;

	/* Both libcs refuse leading zeros in a quad: no "010.1.1.1" that is 8.1.1.1 elsewhere. */
	if (inet_pton(AF_INET, s, ip.b + 12) == 1)
		memcpy(ip.b, v4_mapped, sizeof(v4_mapped));
	else if (inet_pton(AF_INET6, s, ip.b) != 1)
		return -EINVAL;
	*ret = ip;
	return 0;
}

bool
ip_is_v4(const struct ip *ip)
{
	return memcmp(ip->b, v4_mapped, sizeof(v4_mapped)) == 0;
}

bool
ip_equal(const struct ip *a, const struct ip *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static void
put_v4(struct text *t, const uint8_t b[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			text_putc(t, '.');
		text_put_u64(t, b[i]);
	}
}

static unsigned
group(const struct ip *ip, unsigned i)
{
	return (unsigned)(ip->b[2 * i] << 8 | ip->b[2 * i + 1]);
}

/* Four bits at a time, without leading zeros. */
static void
put_group(struct text *t, unsigned v)
{
	for (int shift = 12; shift >= 0; shift -= 4)
		if (v >> shift != 0 || shift == 0)
			text_putc(t, "0123456789abcdef"[v >> shift & 15]);
}

/* The longest run of zero groups, the first of those.  Returns its length; one group alone is none. */
static unsigned
longest_run(const struct ip *ip, unsigned *ret_at)
{
	unsigned longest = 1, n = 0;

	*ret_at = GROUPS;
	for (unsigned i = 0; i < GROUPS; i++) {
		n = group(ip, i) == 0 ? n + 1 : 0;
		if (n > longest) {
			longest = n;
			*ret_at = i + 1 - n;
		}
	}
	return longest;
}

static void
put_v6(struct text *t, const struct ip *ip)
{
	unsigned at, n = longest_run(ip, &at);

	for (unsigned i = 0; i < GROUPS; i++) {
		if (i == at) {
			text_puts(t, "::");
			i += n - 1;
			continue;
		}
		if (i > 0 && i != at + n)
			text_putc(t, ':');
		put_group(t, group(ip, i));
	}
}

/* Not inet_ntop(): musl's brings printf along, which would double the plugin, and libcs differ about ::192.0.2.1. */
void
ip_format(const struct ip *ip, char ret[IP_TEXT_MAX])
{
	struct text t = text_in(ret, IP_TEXT_MAX);

	if (ip_is_v4(ip))
		put_v4(&t, ip->b + 12);
	else
		put_v6(&t, ip);
}

struct ip
ip_mask(const struct ip *ip, unsigned bits)
{
	struct ip m = *ip;

	for (unsigned i = 0; i < sizeof(m.b); i++) {
		unsigned keep = bits > 8 * i ? bits - 8 * i : 0;

		if (keep < 8)
			m.b[i] &= (uint8_t)(0xff00u >> keep);
	}
	return m;
}

int
ip_prefix_parse(const char *s, struct ip_prefix *ret)
{
	char addr[IP_TEXT_MAX];
	struct ip_prefix p;
	const char *slash = strchr(s, '/');
	size_t n = slash != NULL ? (size_t)(slash - s) : strlen(s);

	if (n >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, s, n);
	addr[n] = '\0';
	if (ip_parse(addr, &p.ip) < 0)
		return -EINVAL;

	/* "::ffff:192.0.2.0/120" counts all 128 bits, "192.0.2.0/24" the last 32. */
	unsigned before = strchr(addr, ':') == NULL ? V4_BITS : 0;
	uint64_t bits = 128 - before;
	if (slash != NULL && (num_u64(slash + 1, &bits) < 0 || bits > 128 - before))
		return -EINVAL;
	p.bits = (uint8_t)(before + bits);

	struct ip masked = ip_mask(&p.ip, p.bits);
	if (!ip_equal(&masked, &p.ip))
		return -EINVAL;
	*ret = p;
	return 0;
}

void
ip_prefix_format(const struct ip_prefix *p, char ret[IP_PREFIX_TEXT_MAX])
{
	bool v4 = p->bits >= V4_BITS && ip_is_v4(&p->ip);

	ip_format(&p->ip, ret);
	struct text t = { .at = ret, .cap = IP_PREFIX_TEXT_MAX, .len = strlen(ret) };
	text_putc(&t, '/');
	text_put_u64(&t, v4 ? p->bits - V4_BITS : p->bits);
}

bool
ip_prefix_contains(const struct ip_prefix *p, const struct ip *ip)
{
	struct ip m = ip_mask(ip, p->bits);

	return ip_equal(&m, &p->ip);
}
