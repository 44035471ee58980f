/* SPDX-License-Identifier: ISC */
/*
 * address - mail addresses and names of hosts, as far as bounces need them
 *
 * Text comes from strangers, any bytes.  No allocation, nothing is looked up.  The plugins use it too.
 */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX_LEN 512

/* Lower case, without a dot at the end: two spellings of one address are the same bytes.  The local part of an address
 * may be told apart by case, but nobody does. */
struct address {
	char text[ADDRESS_MAX_LEN]; /* not terminated */
	size_t len;
	size_t at; /* of the last '@' */
};

/* Returns false when it is no address: no '@', an empty side, or longer than ADDRESS_MAX_LEN. */
bool address_parse(const char *s, size_t len, struct address *ret);

static inline const char *
address_domain(const struct address *a)
{
	return a->text + a->at + 1;
}

static inline size_t
address_domain_len(const struct address *a)
{
	return a->len - a->at - 1;
}

/* The part of a host's name that one organisation has: its last two labels, or three below names like co.uk.  Written
 * into `ret` (cap ADDRESS_MAX_LEN) in lower case.  Returns its length, 0 when there is none: one label, an address. */
size_t address_organisation(const char *host, size_t len, char ret[ADDRESS_MAX_LEN]);

/* Is this the envelope sender of a bounce, or of what is like one: empty; mailer-daemon, postmaster and their kind; who
 * asks the sender to confirm?  Not what begins with "bounce": so do the senders of most mailing lists. */
bool address_is_bounce_sender(const char *sender, size_t len);

#endif
