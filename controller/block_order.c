/* SPDX-License-Identifier: ISC */
#include "controller/block_order.h"

#include <ctype.h>
#include <string.h>

static bool
is_id(const char id[BLOCK_ID_MAX])
{
	size_t n = strnlen(id, BLOCK_ID_MAX);

	if (n == BLOCK_ID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii((unsigned char)id[i]) || !isalnum((unsigned char)id[i]))
			return false;
	return true;
}

static bool
is_prefix(const struct ip_prefix *p)
{
	if (p->bits > 128)
		return false;
	struct ip whole = ip_mask(&p->ip, p->bits);
	return ip_equal(&whole, &p->ip);
}

static bool
is_item(const struct block_order_item *i)
{
	switch (i->verb) {
	case BLOCK_BEGIN:
	case BLOCK_COMPLETE:
	case BLOCK_PROTECT_BEGIN:
	case BLOCK_PROTECT_COMPLETE:
	case BLOCK_RELOADED:
		return true;
	case BLOCK_REMOVE:
	case BLOCK_PROTECT:
		return is_prefix(&i->block.prefix);
	case BLOCK_PUT:
		return is_prefix(&i->block.prefix) && (unsigned)i->block.kind < BLOCK_KINDS && is_id(i->block.id);
	default:
		return false;
	}
}

bool
block_order_is_sane(const struct block_order *o)
{
	if (o->magic != BLOCK_ORDER_MAGIC || o->n == 0 || o->n > BLOCK_ORDER_ITEMS)
		return false;
	for (uint32_t i = 0; i < o->n; i++)
		if (!is_item(&o->item[i]))
			return false;
	return true;
}
