/* SPDX-License-Identifier: ISC */
/*
 * block_order - blocks on their way from the engine to the keeper, and what the keeper tells of them
 *
 * Packets of fixed size on the same socketpair as other orders (order.h).  All items of a packet are checked before
 * any is carried out; no text goes this way but evidence ids of letters and digits.
 *
 * A whole list begins with BLOCK_BEGIN and ends with BLOCK_COMPLETE: what the keeper has and the list has not is
 * taken back then.  Between lists single changes are told.  An engine that could not send a change begins a list anew.
 *
 * Whom to protect is told in the same way, always as a whole: it counts from BLOCK_PROTECT_COMPLETE on, besides what
 * the keeper knows by itself, which no engine can take away.
 */
#ifndef CONTROLLER_BLOCK_ORDER_H
#define CONTROLLER_BLOCK_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/blockset.h"

#define BLOCK_ORDER_MAGIC UINT32_C(0x4b434c42)
#define BLOCK_ORDER_ITEMS 64

enum block_verb {
	BLOCK_BEGIN,
	BLOCK_PUT,
	BLOCK_REMOVE,
	BLOCK_COMPLETE,
	BLOCK_PROTECT_BEGIN,
	BLOCK_PROTECT,
	BLOCK_PROTECT_COMPLETE,
	BLOCK_RELOADED, /* the configuration was read anew: the keeper has its part of it read by a child of its own */
};
#define BLOCK_VERBS 8

struct block_order_item {
	uint32_t verb; /* enum block_verb */
	struct block block; /* REMOVE, PROTECT: only the prefix counts; others than PUT: nothing */
};

struct block_order {
	uint32_t magic;
	uint32_t n; /* 1..BLOCK_ORDER_ITEMS */
	struct block_order_item item[BLOCK_ORDER_ITEMS];
};

/* Are all values in range? */
bool block_order_is_sane(const struct block_order *o);

/* Keeper to engine, when it has changed, and every few seconds. */
struct block_report {
	uint32_t valid; /* BLOCK_ORDER_MAGIC: told apart from a struct report by this and its size */
	uint32_t action; /* index into block_table */
	uint64_t ours, foreign;
	uint64_t refused; /* orders that named a protected address, ever */
	uint32_t protected; /* prefixes that the keeper protects */
	uint32_t reloads; /* how often it has taken its part of a configuration anew */
	bool used, ok; /* in the configuration; and working */
	char text[200]; /* why not, or a note */
};

#endif
