/* SPDX-License-Identifier: ISC */
/*
 * blocking_orders - what is told to the keeper: single changes, the whole list, and whom to protect
 *
 * A keeper that does not take a packet is told the whole list again later.  Whom to protect is always told as a whole,
 * and before the list.
 */
#include <string.h>
#include <sys/socket.h>

#include "controller/blocking_state.h"

#define PACKETS_A_TURN 16 /* of a whole list */

static bool
flush(struct engine *e)
{
	struct blocking *b = e->blocking;

	if (b->out.n == 0)
		return true;
	b->out.magic = BLOCK_ORDER_MAGIC;
	if (send(e->keeper, &b->out, sizeof(b->out), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return false;
	memset(&b->out, 0, sizeof(b->out));
	return true;
}

/* A file that tcpsvd reads lives longer than its timeout; a shorter one would have to deny, which is harder than what
 * was decided: then rather nothing. */
static bool
is_too_short(struct engine *e, const struct block *block)
{
	const struct block_cfg *a = &e->config.blocks.actions;

	return block->kind != BLOCK_DENY && a->ipsvd.dir[0] != '\0'
		&& mono_since(turn_now(&e->turn), block->until) <= a->ipsvd.timeout_ms;
}

void
blocking_emit(struct engine *e, enum block_verb verb, const struct block *block)
{
	struct blocking *b = e->blocking;

	if (verb == BLOCK_PUT && block != NULL && is_too_short(e, block))
		return;
	if (b->out.n == BLOCK_ORDER_ITEMS && !flush(e)) {
		b->list_again = true; /* all of it, once the keeper listens again */
		return;
	}
	struct block_order_item *i = &b->out.item[b->out.n++];
	i->verb = verb;
	if (block != NULL)
		i->block = *block;
}

/* The next item of the list, or of whom to protect.  False at the end. */
typedef bool next_item(struct blocking *b, struct block *ret);

static bool
next_block(struct blocking *b, struct block *ret)
{
	struct blocks_record r;
	bool more = blocks_next(b->blocks, &b->cursor, &r);

	*ret = r.block;
	return more;
}

static bool
next_protected(struct blocking *b, struct block *ret)
{
	struct protect_hit hit;
	bool more = protect_next(b->protect, &b->protect_cursor, &hit);

	*ret = (struct block) { .prefix = hit.prefix };
	return more;
}

/* Some more of it.  Returns whether that was all. */
static bool
go_on(struct engine *e, next_item *next, enum block_verb verb, enum block_verb last)
{
	struct blocking *b = e->blocking;
	struct block item;

	for (int packets = 0; packets < PACKETS_A_TURN; packets++) {
		while (b->out.n < BLOCK_ORDER_ITEMS) {
			if (!next(b, &item)) {
				blocking_emit(e, last, NULL);
				return true;
			}
			blocking_emit(e, verb, &item);
		}
		if (!flush(e))
			return false;
	}
	return false;
}

/* Whom to protect has changed, also while it was being told: it is sorted anew then, so from the beginning. */
static void
begin_protection(struct engine *e)
{
	struct blocking *b = e->blocking;
	uint64_t version = protect_version(b->protect);

	if ((b->protection_told && b->protection == version) || !flush(e))
		return;
	b->protection_told = true;
	b->protection = version;
	b->telling = true;
	b->protect_cursor = 0;
	blocking_emit(e, BLOCK_PROTECT_BEGIN, NULL);
}

void
blocking_send_orders(struct engine *e)
{
	struct blocking *b = e->blocking;

	if (b->reloaded && flush(e)) {
		b->reloaded = false;
		blocking_emit(e, BLOCK_RELOADED, NULL);
	}
	begin_protection(e);
	if (b->telling)
		b->telling = !go_on(e, next_protected, BLOCK_PROTECT, BLOCK_PROTECT_COMPLETE);
	if (b->restored && !b->telling) { /* a list without what is stored would take it back */
		if (b->list_again && flush(e)) {
			b->list_again = false;
			b->listing = true;
			b->cursor = 0;
			blocking_emit(e, BLOCK_BEGIN, NULL);
		}
		if (b->listing)
			b->listing = !go_on(e, next_block, BLOCK_PUT, BLOCK_COMPLETE);
	}
	(void)flush(e);
}

bool
blocking_has_orders(const struct engine *e)
{
	const struct blocking *b = e->blocking;

	return b->reloaded || b->telling || b->out.n > 0 || (b->restored && (b->list_again || b->listing));
}
