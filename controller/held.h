/* SPDX-License-Identifier: ISC */
/*
 * held - how many connections does an address hold?
 *
 * The record of a session names its qmail-smtpd, which ends with the connection: it is watched by a pidfd, so that
 * nothing needs to be told at the end, a crash is an end like any other, and a number that the kernel gives to
 * another process can't be taken for it.  It works under every server: neither tcpsvd nor tcpserver is asked.
 *
 * A session is counted once however often it asks, and from its first question on: before that nobody knows of it.
 * IPv6 addresses count by their /64.  The table has HELD_MAX places; what can't be counted (no place, no
 * descriptor, a process that can't be watched) is let pass, and that is said once.
 */
#ifndef CONTROLLER_HELD_H
#define CONTROLLER_HELD_H

#include <event2/event.h>
#include <jansson.h>
#include <sys/types.h>

#include "controller/config.h"
#include "controller/rate.h"
#include "lib/ip.h"

#define HELD_MAX 4096

struct held;

/* `limits` is borrowed and may change between turns.  Descriptors of a number from `max_fd` on are left to others.
 * Returns 0 or -ENOMEM. */
int held_new(struct event_base *base, const struct config_concurrency *limits, int max_fd, struct held **ret);
void held_free(struct held *h); /* NULL is allowed */

/* The session of qmail-smtpd `pid` is here, as its plugin `asker` says (a process id as the kernel tells it, 0: it
 * does not), or it says so itself.  Count it unless the address would then hold more than it may: RATE_OVER; n is
 * with this one. */
void held_ask(struct held *h, pid_t pid, const struct ip *ip, pid_t asker, struct rate_answer *ret);

/* It turned out to be one of our own users: it does not count any more. */
void held_release(struct held *h, pid_t pid);

/* {"now": ..., "uncounted": ...}.  Caller owns the reference. */
json_t *held_describe(const struct held *h);

#endif
