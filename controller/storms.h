/* SPDX-License-Identifier: ISC */
/*
 * storms - which of our addresses are under a flood of bounces, and which bounces they still get
 *
 * Pure: no clock, no I/O, no allocation after storms_new().  Same calls, same answers; a `now` that goes back counts as
 * the last one.
 *
 * What counts.  A bounce that the address's own mail does not explain (sent.h knows; the caller says).  Of those, with
 * `bounces` to one address in any `within`, a storm begins at the last of them.  It is over when fewer than `bounces`
 * have come during the last `quiet`, refused ones too.
 *
 * Domains.  Whoever makes up local parts hits each address a few times only.  So the first DOMAIN_MARKS counted bounces
 * of an address that has sent nothing count for its domain as well, and with `domain_bounces` of those the domain is
 * under a storm: for its addresses that have sent nothing.
 *
 * What happens in a storm.  An expected answer gets in.  While the address has mail open, any other bounce may be an
 * answer from a host of another name: `open_mail` says what becomes of it.  With "retry" it is put off, and let in when
 * the same client (of IPv6 its /64) comes back to the same address after `retry`: a mail server does.  One that brings
 * more than STORMS_PENDING before that is a source of the flood, and stays put off.  When the address has nothing open,
 * `no_mail` says what happens; but while nobody can know what it has sent (`is_young`) it is put off at the hardest.
 *
 * Addresses whose local part, or which as a whole, are in `exempt` are never counted nor refused.
 *
 * Memory is fixed at the start.  Tables are of sets with a keyed hash; in a full set the one with the fewest marks is
 * forgotten, never one in a storm.  At most STORMS_MAX storms at once: what would be one more is only counted.
 */
#ifndef CONTROLLER_STORMS_H
#define CONTROLLER_STORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/address.h"
#include "lib/clock.h"
#include "lib/ip.h"
#include "lib/schema.h"
#include "lib/state.h"

#define STORMS_KEY_SIZE 16
#define STORMS_MAX 1024
#define STORMS_NAME_MAX 200 /* of an address or a domain, as it is shown; bytes of a stranger */
#define STORMS_BOUNCES_MAX 10000
#define STORMS_PENDING 5 /* bounces of one client to one address that are put off and may come back */
#define STORMS_DOMAIN_MARKS 2

enum storms_policy {
	STORMS_PASS, /* let in */
	STORMS_RETRY, /* put off; in when it comes back */
	STORMS_DEFER, /* put off until the storm is over */
	STORMS_REFUSE,
};

/* Flat: it is part of struct config. */
struct storms_cfg {
	int64_t bounces; /* 1..STORMS_BOUNCES_MAX; 0: nothing is counted.  Sizes are of the start: these two are kept */
	int64_t domain_bounces; /* 0: no domains */
	int64_t within_ms, quiet_ms; /* quiet_ms >= within_ms */
	int64_t retry_ms;
	int open_mail, no_mail; /* enum storms_policy */
	struct cfg_list exempt; /* "postmaster", "info@example.org" */
};

enum storms_case {
	STORMS_EXPECTED, /* an answer that the address waits for */
	STORMS_OPEN, /* it has mail open, and this may be an answer */
	STORMS_UNSENT, /* it has nothing open: no answer */
};

struct storms_bounce {
	const struct address *to;
	const struct ip *from; /* NULL: unknown */
	enum storms_case is;
	bool is_odd; /* one of the few odd ones that come at any time: not counted, as long as there is no storm */
	bool may_guess; /* of STORMS_OPEN: there are mails that nothing was let in for */
	bool is_young; /* what was sent is not known for long enough */
};

struct storms_record {
	char name[STORMS_NAME_MAX]; /* "info@example.org", "example.org"; cut, terminated */
	bool is_domain;
	char id[EPISODE_ID_MAX]; /* "": the caller is to give it one with storms_name() */
	mono_t began, last; /* the last counted bounce */
	uint64_t counted; /* bounces that nothing explained, from the first one that led to it */
	uint64_t expected, retried; /* let in */
	uint64_t deferred, refused;
	uint64_t changes; /* grows with each change of the above */
};

enum storms_verdict {
	STORMS_IN,
	STORMS_IN_AT_RETRY,
	STORMS_PUT_OFF,
	STORMS_REFUSED,
};

#define STORMS_NONE UINT16_MAX

struct storms_result {
	enum storms_verdict verdict;
	bool was_odd; /* it was let in as one of the few odd ones */
	uint16_t storm; /* that it belongs to, or STORMS_NONE */
	uint16_t begun[2]; /* storms that began with it, or STORMS_NONE */
};

struct storms;

/* For so many addresses with bounces at once, and an eighth as many domains.  Returns 0, -EINVAL or -ENOMEM. */
int storms_new(const struct storms_cfg *cfg, size_t addresses, const uint8_t key[STORMS_KEY_SIZE], struct storms **ret);
void storms_free(struct storms *s); /* NULL is allowed */

/* Take other rules, which are copied; `bounces` and `domain_bounces` stay what they were at the start. */
void storms_configure(struct storms *s, const struct storms_cfg *cfg);

void storms_ask(struct storms *s, const struct storms_bounce *b, mono_t now, struct storms_result *ret);

/* The storm of that number, or NULL when there is none.  Valid until the next call that changes anything. */
const struct storms_record *storms_get(const struct storms *s, uint16_t storm);
void storms_set_id(struct storms *s, uint16_t storm, const char *id);

/* A storm that is over: gives it back in `ret` and forgets it.  Call it until it returns false. */
bool storms_step(struct storms *s, mono_t now, struct storms_record *ret);

/* A person ends the storm of an address or a domain.  Returns false when there is none. */
bool storms_release(struct storms *s, const char *name, size_t len, struct storms_record *ret);

/* A storm goes on that was there before: its times are of now.  Returns false when there is no room, or it is over. */
bool storms_restore(struct storms *s, const struct storms_record *r, mono_t now);

unsigned storms_count(const struct storms *s);

struct storms_stats {
	uint64_t entries, used, evicted; /* of both tables of counts */
	uint64_t counted, expected, odd, retried, deferred, refused, begun; /* since the start */
};

struct storms_stats storms_stats(const struct storms *s);

#endif
