/* SPDX-License-Identifier: ISC */
/*
 * admit - may this session go on?  What a plugin asked for, answered from the limits
 *
 * Pure: no clock, no I/O, no globals; all memory is the caller's.  Same arguments and same table, same result.
 *
 * Checks, in this order; the first that refuses decides, and those behind it are not charged:
 *	concurrency	connections that the address holds; the caller has counted them
 *	ipthrottle	class ip_STAGE (ip_connection, ip_helo, ip_mail, ip_rcpt) where configured, else ip
 *	userthrottle	class user_STAGE, else user; only for who has authenticated
 *	rcptthrottle	class rcpt_user for who has authenticated, else rcpt_ip
 *	tarpit		a delay, while all is normal and another SMTP process may sleep
 * A class that is not configured lets all pass and counts nothing.  The server's own users are never refused for
 * their address, nor do they count for it: behind it may be an office, and one of them must not shut the others
 * out.
 *
 * At RCPT and DATA the command is refused with 451, and the session stays: it may carry recipients that were
 * accepted.  Before that 421 ends the connection.
 */
#ifndef CONTROLLER_ADMIT_H
#define CONTROLLER_ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/rate.h"
#include "lib/reading.h"
#include "lib/record.h"

/* Longer than any text of a record by the hash of what was cut off it. */
#define ADMIT_VALUE_MAX (RECORD_TEXT_MAX + 20)

/* Where the classes stand: nothing is looked up by name for a question. */
struct admit {
	int ip[STAGE_COUNT], user[STAGE_COUNT]; /* indices, negative when there is no such class */
	int rcpt_ip, rcpt_user;
};

void admit_configure(struct admit *ret, const struct rate_cfg *limits);

/* Is this one of the server's users? */
bool admit_is_own(const struct record *r);

/* Does the address of this session count as holding a connection? */
bool admit_wants_held(const struct record *r);

/* What the caller knows besides the record. */
struct admit_world {
	mono_t now;
	enum level level;
	const struct rate_answer *held; /* of a session that admit_wants_held(), NULL: not counted */
	bool may_sleep; /* there is room for another sleeper */
};

struct admit_result {
	enum verdict verdict;
	enum check check; /* that refused; with VERDICT_PASS it means nothing */
	uint16_t code; /* SMTP reply code, 0 with VERDICT_PASS */
	uint32_t delay_ms; /* sleep so long, 0: do not */
	bool no_room; /* a delay was wanted, and there is no room for another sleeper */

	/* Of a refusal: the answer that led to it, and what was counted. */
	struct rate_answer why;
	int class; /* its index, -1: connections held */
	char value[ADMIT_VALUE_MAX]; /* terminated */
	size_t value_len;
};

/* Charge what is wanted and say how it went. */
void admit_ask(const struct admit *a, struct rate *rate, const struct record *r, const struct admit_world *world,
	struct admit_result *ret);

#endif
