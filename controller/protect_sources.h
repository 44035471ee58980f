/* SPDX-License-Identifier: ISC */
/*
 * protect_sources - where the protected addresses stand
 *
 * Two halves.  The parsers are pure: a line of a file that others wrote in, and what it names out; what they do not
 * understand they pass over, and nothing of it gets further than as an address.  The readers open files, never wait,
 * and read no more than PROTECT_FILE_MAX bytes.
 */
#ifndef CONTROLLER_PROTECT_SOURCES_H
#define CONTROLLER_PROTECT_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/protect.h"
#include "lib/err.h"

#define PROTECT_FILE_MAX (16 << 20)
#define PROTECT_LINE_MAX 4096 /* a longer line is passed over */

/* Prefixes as they are found.  `cut`: there were more than fit. */
struct protect_list {
	size_t n;
	bool cut;
	struct ip_prefix prefix[PROTECT_PREFIXES_MAX];
};

/* --- parsers --------------------------------------------------------------------------------- */

/* An entry of the allow list: "192.0.2.0/24", "2001:db8::1", or the name of a host, which needs a dot.  A wide prefix
 * (protect_is_wide()) must have the word "wide" behind it: "0.0.0.0/0 wide" turns blocking off for all of IPv4, and
 * nobody shall do that by a slip of the finger.  Returns 0 or -EINVAL with what is wrong. */
int protect_parse_allow(const char *s, struct protect_allow *ret, struct err *why);

/* A line of resolv.conf(5): "nameserver 192.0.2.1". */
void protect_parse_resolv(const char *line, size_t len, struct protect_list *ret);

/* A line of rules for tcprules(1) that allows and sets RELAYCLIENT: an address, "192.0.2." for the network,
 * "192.0.2.16-31:" for a range, a CIDR prefix where that is understood.  Rules for names, users and everybody are
 * passed over, and wide ones. */
void protect_parse_rule(const char *line, size_t len, struct protect_list *ret);

/* A line of /proc/net/route, and of /proc/net/ipv6_route: the gateway. */
void protect_parse_route(const char *line, size_t len, struct protect_list *ret);
void protect_parse_route6(const char *line, size_t len, struct protect_list *ret);

/* --- readers --------------------------------------------------------------------------------- */

typedef void protect_parser(const char *line, size_t len, struct protect_list *ret);

/* The file's lines through a parser, behind what is in `ret` already.  A file that is not there has none.  Returns 0
 * or -Exxx. */
int protect_read(const char *path, protect_parser *parse, struct protect_list *ret);

/* The addresses of all interfaces.  Returns 0 or -Exxx. */
int protect_read_interfaces(struct protect_list *ret);

/* Read all sources but the allow list into `t`: interfaces, gateways, resolvers, and relay clients from the file
 * `rules` ("": none).  `scratch` is the caller's, for it is large.  A source that can't be read keeps what it had, or
 * is lost (protect.h).  Returns 0 or the last error, with `why`. */
int protect_refresh(struct protect *t, const char *rules, struct protect_list *scratch, struct err *why);

#endif
