/* SPDX-License-Identifier: ISC */
#include "controller/order.h"

#include <ctype.h>
#include <string.h>

#define SINCE_MAX INT64_C(253402300799) /* the end of the year 9999: later can't be written as a date */

bool
order_is_sane(const struct order *o)
{
	const struct effect *w = &o->want;

	if (o->magic != ORDER_MAGIC || (unsigned)w->level >= LEVEL_COUNT || w->since < 0
		|| w->since > SINCE_MAX)
		return false;
	if ((unsigned)w->why.kind > REASON_RESUMED || (unsigned)w->why.id >= READING_COUNT)
		return false;
	if (memchr(w->episode, '\0', sizeof(w->episode)) == NULL)
		return false;
	for (const char *p = w->episode; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p))
			return false;
	return true;
}
