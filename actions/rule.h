/* SPDX-License-Identifier: ISC */
/*
 * rule - a prefix in the words of tcprules
 *
 * IPv4 knows addresses, prefixes that end at a dot, and ranges of one of the four numbers, which stand for that many
 * rules: 192.0.2.7  192.0.2.  192.0.2.64-127  198.18-19.
 *
 * IPv6 is text: the tcprules and tcpserver of ucspi-tcp-ipv6 compare the printed address, cut behind each ':'.  An
 * address is printed with its zeros compressed, the longest run, even of one, where that is depends on the host's
 * part too. So only a prefix all of whose groups are other than zero can be said exactly: it can't be part of a run.
 */
#ifndef ACTIONS_RULE_H
#define ACTIONS_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/ip.h"

#define RULE_TEXT_MAX (256 * 48) /* 256 lines for an IPv6 prefix that ends inside a group */

/* How many rules, as tcprules counts them, say just `p`; 0: it can't be said. `ipv6`: to a tcprules that knows it. */
size_t rule_count(const struct ip_prefix *p, bool ipv6);

/* The lines that deny `p`, of which rule_count() is not 0.  Returns their length; no NUL behind. */
size_t rule_deny(const struct ip_prefix *p, char ret[RULE_TEXT_MAX]);

#endif
