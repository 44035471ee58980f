/* SPDX-License-Identifier: ISC */
/*
 * budget - how many may be blocked: of a minute, and of those who came by
 *
 * Private to blocks.c.  Pure, as that is.  Whoever blocks more than a share of his clients is more likely wrong than
 * right (a limit that is too low, a provider behind one address, a broken clock), and it is better to stop and say
 * so.
 *
 * The minute is exact.  Distinct clients are counted in bitmaps, one for each half hour, the last two together; two
 * clients that share a bit count as one, so that the share errs on the side of blocking less.
 */
#ifndef CONTROLLER_BUDGET_H
#define CONTROLLER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define BUDGET_MINUTE_MS 60000
#define BUDGET_PER_MINUTE_MAX 10000
#define BUDGET_FLOOR 20 /* distinct clients of the hour that may be blocked whatever the share */

enum budget_answer {
	BUDGET_OK,
	BUDGET_OVER_MINUTE,
	BUDGET_OVER_SHARE,
};

struct budget;

int budget_new(const uint8_t *key, struct budget **ret); /* `key`: random, 16 bytes.  0 or -ENOMEM */
void budget_free(struct budget *b); /* NULL is allowed */

/* A client came by. */
void budget_seen(struct budget *b, const struct ip_prefix *who, mono_t now);

/* May `who` be blocked, where `per_minute` may be in any minute, and `share` percent of the clients? */
enum budget_answer budget_ask(struct budget *b, const struct ip_prefix *who, int64_t per_minute, int64_t share,
	mono_t now);

/* He is. */
void budget_take(struct budget *b, const struct ip_prefix *who, mono_t now);

/* Distinct, of the last hour. */
uint64_t budget_clients(struct budget *b, mono_t now);
uint64_t budget_blocked(struct budget *b, mono_t now);

#endif
