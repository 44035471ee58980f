/* SPDX-License-Identifier: ISC */
/*
 * order - what the engine asks of the keeper, and what the keeper tells
 *
 * Messages of fixed size on a SEQPACKET socketpair between processes of one executable.  No text from outside goes
 * this way: numbers, and an episode id that the keeper checks.
 */
#ifndef CONTROLLER_ORDER_H
#define CONTROLLER_ORDER_H

#include "actions/action.h"

#define ORDER_EVERY_MS 1000 /* the engine repeats its order at least so often: it is also its heartbeat */

/* Engine to keeper: the whole of what is wanted. */
struct order {
	uint32_t magic;
	struct effect want;
};
#define ORDER_MAGIC UINT32_C(0x4452564f)

/* Keeper to engine, when it has changed: what there is. */
struct report {
	uint32_t valid; /* always 1 */
	uint32_t home; /* index into qmail.homes */
	uint32_t action; /* index into action_table */
	uint32_t presence; /* enum presence */
	int32_t error; /* 0 or -errno of the last deed */
};

/* Are all values of an order in range? */
bool order_is_sane(const struct order *o);

#endif
