/* SPDX-License-Identifier: ISC */
/*
 * sent - what our own addresses sent lately, and to whom: what a bounce can be the answer to
 *
 * Pure: no clock, no I/O, no allocation after sent_new().
 *
 * Learned from each recipient that one of our users gives at RCPT (SENT_SUBMITTED), and from what qmail-send says of
 * its deliveries (SENT_TAKEN by a relay, SENT_FAILED for good).  A mail that is heard of both ways counts once.
 *
 * A mail is open until a bounce has answered it.  By organisation (lib/address.h) of the recipient's domain, and by the
 * network of the relay that took it, up to SENT_ANSWERS answers are expected for each mail: a warning and a failure.
 * What comes from elsewhere may still be an answer while anything is open: big providers bounce from hosts of any name.
 *
 * A mail is remembered for at least `remember`, and at most twice as long.
 *
 * Memory is what sent_new() is given, SENT_ENTRY bytes for each address that sends, for each pair of address and
 * organisation, and of address and relay's network.  The hash is keyed.  Only our own users can fill the table; in a
 * full one what was used longest ago is forgotten first, and of that what has the least open.  Counts are cut at 65535.
 */
#ifndef CONTROLLER_SENT_H
#define CONTROLLER_SENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/address.h"
#include "lib/clock.h"
#include "lib/ip.h"

#define SENT_KEY_SIZE 16
#define SENT_ENTRY 32
#define SENT_MEMORY_MIN (64 * 1024)
#define SENT_ANSWERS 2
#define SENT_ODD_SHARE 20 /* of so many mails one may be answered by a host that nothing is known of */

struct sent;

/* `key` keys the hash: random, and the same for as long as rows shall be understood.  `now` is the beginning of what is
 * known.  Returns 0, -EINVAL or -ENOMEM. */
int sent_new(uint64_t memory, int64_t remember_ms, const uint8_t key[SENT_KEY_SIZE], mono_t now, struct sent **ret);
void sent_free(struct sent *s); /* NULL is allowed */

enum sent_outcome {
	SENT_SUBMITTED, /* a user gave this recipient */
	SENT_TAKEN, /* a relay took it */
	SENT_FAILED, /* it failed for good here: our own qmail-send bounces it, nobody else will */
};

/* One recipient of one mail.  `relay` is the address that took it, NULL when it is not known.  A `now` that goes back
 * counts as the last one, here and below. */
void sent_learn(struct sent *s, const struct address *sender, const char *domain, size_t domain_len,
	const struct ip *relay, enum sent_outcome outcome, mono_t now);

/* Who brings a bounce.  Names of any bytes, NULL when there is none. */
struct sent_client {
	const char *host, *helo, *sender; /* reverse name; HELO; the sender's domain, if it has one */
	size_t host_len, helo_len, sender_len;
	const struct ip *ip; /* NULL: unknown */
};

enum sent_fit {
	SENT_NOTHING, /* the address has sent nothing that is still open */
	SENT_OPEN, /* it has, but not to anybody like this client */
	SENT_SPENT, /* it has written to this client's organisation, and got all answers to that */
	SENT_FITS, /* an answer from this client is expected */
};

struct sent_match {
	enum sent_fit fit;
	uint64_t sender, pair; /* keys; pair 0: none */
	bool may_guess; /* there are open mails that no bounce from elsewhere has been let in for */
	bool has_spare; /* fewer odd answers than one in SENT_ODD_SHARE mails */
};

/* Could a bounce to this address be an answer? */
void sent_look(const struct sent *s, const struct address *address, const struct sent_client *client, mono_t now,
	struct sent_match *ret);

/* It was let in: as the answer that was expected; as an answer from elsewhere, on trust; as one of the few odd ones
 * that come at any time. */
void sent_answered(struct sent *s, const struct sent_match *m, mono_t now);
void sent_guessed(struct sent *s, const struct sent_match *m, mono_t now);
void sent_odd(struct sent *s, const struct sent_match *m, mono_t now);

/* Since when is everything known?  What was sent before that is not in the table. */
mono_t sent_since(const struct sent *s);

struct sent_stats {
	uint64_t entries, used; /* now; used: also by what is out of date */
	uint64_t mails, answered, evicted; /* since the start */
};

struct sent_stats sent_stats(const struct sent *s);

/* --- across restarts ------------------------------------------------------------------------- */

/* An entry as it is now; [0] is the older half of what is remembered. */
struct sent_row {
	uint64_t key;
	uint8_t kind; /* of entry; its meaning is ours */
	uint8_t behind; /* generations since it was touched, 0 or 1 */
	int16_t ahead;
	uint16_t open[2], left[2], spare[2];
};

/* The next entry that has changed since it was last given.  `cursor` begins at 0 and is kept by the caller; false after
 * the last one, then begin anew with 0 when there is time again. */
bool sent_dump_next(struct sent *s, size_t *cursor, mono_t now, struct sent_row *ret);

/* It could not be passed on. */
void sent_dump_again(struct sent *s, const struct sent_row *row);

/* Put an entry back, as it was `age_ms` ago.  What was learned since is kept and added to it. */
void sent_load(struct sent *s, const struct sent_row *row, int64_t age_ms, mono_t now);

#endif
