/* SPDX-License-Identifier: ISC */
/*
 * rateserve - rater's protocol on DIR/rate.sock and, when settings.port is not 0, on TCP
 *
 * Whoever can connect may ask, and counts for what he names; so nothing that is counted here ever leads to a block
 * or a storm.  The protocol is rateline.h's.  What a client can make us hold is a place among RATESERVE_CLIENTS,
 * part of a line, and, when he does not read his answers, one of RATESERVE_STALLED buffers; then no more of his
 * questions are read.  A question must be there and answered within RATESERVE_DEADLINE_MS of the connection, a
 * connection that is kept may be silent for RATESERVE_IDLE_MS.  When all places are taken, the one who has said
 * nothing for longest goes.  A turn of the loop answers about RATESERVE_A_TURN lines; those who are too late for
 * that are the first in the next, and one question of who has just come is always answered.
 */
#ifndef CONTROLLER_RATESERVE_H
#define CONTROLLER_RATESERVE_H

#include <event2/event.h>
#include <jansson.h>

#include "controller/config.h"
#include "controller/rate.h"
#include "controller/turn.h"
#include "lib/err.h"

#define RATESERVE_CLIENTS 1024
#define RATESERVE_STALLED 32
#define RATESERVE_DEADLINE_MS 2000
#define RATESERVE_IDLE_MS 60000
#define RATESERVE_A_TURN 4096

struct rateserve;

/* `turn` and `rate` are borrowed.  There are no classes before rateserve_configure().  Returns 0 or -Exxx with the
 * reason. */
int rateserve_new(struct event_base *base, struct turn *turn, const char *dir, const struct config_settings *settings,
	struct rate *rate, struct rateserve **ret, struct err *why);

/* The limits that `rate` has now; borrowed. */
void rateserve_configure(struct rateserve *s, const struct rate_cfg *limits);

void rateserve_free(struct rateserve *s);

/* Lines that were answered since the start. */
uint64_t rateserve_answered(const struct rateserve *s);

/* {"clients": now connected, "answered": lines, "dropped": clients}.  Caller owns the reference. */
json_t *rateserve_describe(const struct rateserve *s);

#endif
