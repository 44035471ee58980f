/* SPDX-License-Identifier: ISC */
/*
 * sendlog - what our own mail was and where it went, joined from the lines of qmail-send
 *
 * Pure, but for its tables, which are made at the start and never grow.  "info msg N" tells the sender of a message,
 * "starting delivery D: msg N" its recipient, "delivery D: success" the end: the join of the three is a delivery.
 * Numbers are used again by qmail; the last line that names one counts.  When a table is full, the oldest is
 * forgotten: deliveries of its message are told without a sender.
 */
#ifndef PROBES_SENDLOG_H
#define PROBES_SENDLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"
#include "probes/logline.h"

#define SENDLOG_ADDRESS_MAX 320 /* RFC 5321: 64, "@", 255; longer ones are not kept */
#define SENDLOG_MESSAGES 8192 /* in the queue at once; 2.8 MiB */
#define SENDLOG_DELIVERIES 1024 /* in progress at once: qmail's greatest concurrency is 2 * 255, patched 2 * 509 */

struct sendlog_delivery {
	struct logspan sender; /* without <>: "" is a bounce, "#@[]" a double bounce; borrowed for the call */
	bool sender_known;
	struct logspan recipient;
	bool remote;
	enum log_outcome outcome;
	bool relay_known; /* remote, and the host that answered is named */
	struct ip relay;
	wall_t at;
	bool old; /* it happened before we looked */
};

struct sendlog;

/* Returns 0 or -ENOMEM. */
int sendlog_new(size_t messages, size_t deliveries, struct sendlog **ret);
void sendlog_free(struct sendlog *s);

/* Take a line.  Returns true when it completes a delivery, which is in `ret` then, with texts that are good until the
 * next call. */
bool sendlog_take(struct sendlog *s, const struct logline *l, wall_t at, struct sendlog_delivery *ret);

struct sendlog_counts {
	uint64_t deliveries;
	uint64_t no_start; /* ends whose beginning was not seen: nothing is told */
	uint64_t no_sender;
	uint64_t forgotten; /* for want of room */
};

const struct sendlog_counts *sendlog_counts(const struct sendlog *s);

#endif
