/* SPDX-License-Identifier: ISC */
/* floodopt - the command line of flood, and the promise that only this machine is flooded */
#ifndef TESTS_STANDIN_FLOODOPT_H
#define TESTS_STANDIN_FLOODOPT_H

#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/array.h"
#include "lib/ip.h"
#include "lib/num.h"
#include "lib/text.h"
#include "tests/standin/flood.h"
#include "tests/standin/milli.h"

#define ADDR_MAX 256
#define SIZE_MAX_BYTES (UINT64_C(64) << 20)
#define CONNECTIONS_MAX 60000

static inline bool
is_on_this_machine(const struct ip *ip)
{
	static const char *const allowed[] = { "127.0.0.0/8", "::1", "198.18.0.0/15" };
	struct ip_prefix p;

	for (size_t i = 0; i < countof(allowed); i++)
		if (ip_prefix_parse(allowed[i], &p) == 0 && ip_prefix_contains(&p, ip))
			return true;
	return false;
}

static inline socklen_t
make_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (ip_is_v4(ip)) {
		struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };

		memcpy(&sin.sin_addr, ip->b + 12, 4);
		memcpy(ret, &sin, sizeof(sin));
		return sizeof(sin);
	}
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&sin6.sin6_addr, ip->b, 16);
	memcpy(ret, &sin6, sizeof(sin6));
	return sizeof(sin6);
}

/* "127.0.0.1:2525", "[::1]:2525" */
static inline bool
parse_target(const char *s, struct options *o)
{
	const char *colon = strrchr(s, ':');
	char host[IP_TEXT_MAX + 2];
	struct text t = text_in(host, sizeof(host));
	uint64_t port;
	struct ip ip;

	if (colon == NULL || num_u64(colon + 1, &port) < 0 || port < 1 || port > 65535)
		return false;
	size_t n = (size_t)(colon - s);
	if (n >= 2 && s[0] == '[' && s[n - 1] == ']')
		text_put(&t, s + 1, n - 2);
	else
		text_put(&t, s, n);
	if (t.cut || ip_parse(host, &ip) < 0)
		return false;
	if (!is_on_this_machine(&ip)) {
		fprintf(stderr, "flood: %s is not on this machine: only loopback is tested\n", s);
		return false;
	}
	o->to_len = make_sockaddr(&ip, (uint16_t)port, &o->to);
	o->has_to = true;
	return true;
}

static inline bool
parse_sources(const char *s, struct options *o)
{
	while (*s != '\0') {
		size_t n = strcspn(s, ",");
		char one[IP_TEXT_MAX];
		struct text t = text_in(one, sizeof(one));

		text_put(&t, s, n);
		if (t.cut || o->n_sources == SOURCES_MAX
			|| ip_parse(one, &o->sources[o->n_sources++]) < 0)
			return false;
		s += n + (s[n] == ',');
	}
	return o->n_sources > 0;
}

static inline bool
parse_net(const char *s, struct options *o)
{
	struct ip_prefix p;

	if (ip_prefix_parse(s, &p) < 0 || p.bits < 128 - 24)
		return false;
	o->net = p.ip;
	o->net_size = UINT64_C(1) << (128 - p.bits);
	return true;
}

static inline int
usage(void)
{
	fputs("usage: flood --to ADDR:PORT --rate R --for SECONDS [--from ADDR] [--rcpt ADDR]\n"
	      "             [--auth USER:PASSWORD] [--helo NAME] [--connections MAX]\n"
	      "             [--source IP[,IP...] | --source-net NET/BITS] [--size BYTES] [--timeout S]\n"
	      "             [--report FILE|-] [--quiet] [--keep]\n",
		stderr);
	return 100;
}

static inline bool
parse_up_to(const char *s, uint64_t max, uint64_t *ret)
{
	return num_u64(s, ret) == 0 && *ret <= max;
}

static inline bool
is_word(const char *s)
{
	return (*s == '\0' || text_is_plain(s)) && strlen(s) < ADDR_MAX;
}

static inline bool
parse_option(struct options *o, int c, const char *arg)
{
	const char **words[] = { ['f'] = &o->from, ['r'] = &o->rcpt, ['h'] = &o->helo, ['a'] = &o->auth };

	switch (c) {
	case 't':
		return parse_target(arg, o);
	case 'R':
		o->has_rate = true;
		return milli_parse(arg, &o->rate) == 0 && o->rate > 0 && o->rate <= 1000000000;
	case 'F':
		return milli_parse(arg, &o->duration_ms) == 0 && o->duration_ms > 0
			&& o->duration_ms <= 86400000;
	case 'f':
	case 'r':
	case 'h':
	case 'a':
		*words[c] = arg;
		return is_word(arg) && (c != 'a' || strchr(arg, ':') != NULL);
	case 'c':
		return parse_up_to(arg, CONNECTIONS_MAX, &o->connections) && o->connections > 0;
	case 's':
		return parse_sources(arg, o);
	case 'n':
		return parse_net(arg, o);
	case 'z':
		return parse_up_to(arg, SIZE_MAX_BYTES, &o->size);
	case 'T':
		return milli_parse(arg, &o->timeout_ms) == 0 && o->timeout_ms > 0;
	case 'o':
		o->report = arg;
		return true;
	case 'q':
		o->quiet = true;
		return true;
	case 'k':
		o->keep = true;
		return true;
	default:
		return false;
	}
}

static inline bool
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "to", required_argument, NULL, 't' },
		{ "rate", required_argument, NULL, 'R' },
		{ "for", required_argument, NULL, 'F' },
		{ "from", required_argument, NULL, 'f' },
		{ "rcpt", required_argument, NULL, 'r' },
		{ "auth", required_argument, NULL, 'a' },
		{ "helo", required_argument, NULL, 'h' },
		{ "connections", required_argument, NULL, 'c' },
		{ "source", required_argument, NULL, 's' },
		{ "source-net", required_argument, NULL, 'n' },
		{ "size", required_argument, NULL, 'z' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "report", required_argument, NULL, 'o' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "keep", no_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!parse_option(o, c, optarg))
			return false;
	return o->has_to && o->has_rate && o->duration_ms > 0 && optind == argc;
}

#endif
