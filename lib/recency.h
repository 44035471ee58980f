/* SPDX-License-Identifier: ISC */
/*
 * recency - numbered things in the order in which they were last used, for tables that forget the oldest
 *
 * A doubly linked list through two arrays of the caller's, beside whatever else is kept under those numbers.
 */
#ifndef LIB_RECENCY_H
#define LIB_RECENCY_H

#include <stdint.h>

#define RECENCY_NONE UINT32_MAX

struct recency {
	uint32_t *newer, *older; /* by number; the caller's */
	uint32_t newest, oldest; /* RECENCY_NONE: empty */
};

static inline void
recency_init(struct recency *r, uint32_t *newer, uint32_t *older)
{
	*r = (struct recency) { newer, older, RECENCY_NONE, RECENCY_NONE };
}

/* `n` is in the list no more. */
static inline void
recency_remove(struct recency *r, uint32_t n)
{
	*(r->newer[n] != RECENCY_NONE ? &r->older[r->newer[n]] : &r->newest) = r->older[n];
	*(r->older[n] != RECENCY_NONE ? &r->newer[r->older[n]] : &r->oldest) = r->newer[n];
}

/* `n`, which is not in the list, is the newest. */
static inline void
recency_add(struct recency *r, uint32_t n)
{
	r->newer[n] = RECENCY_NONE;
	r->older[n] = r->newest;
	*(r->newest != RECENCY_NONE ? &r->newer[r->newest] : &r->oldest) = n;
	r->newest = n;
}

#endif
