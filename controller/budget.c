/* SPDX-License-Identifier: ISC */
#include "controller/budget.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/siphash.h"

#define HALF_MS (INT64_C(30) * 60000)
#define BITS (1u << 18)

/* Distinct clients of the current and the last half hour. */
struct crowd {
	uint64_t bits[2][BITS / 64]; /* [half & 1] is the current one */
	uint64_t count; /* bits in either */
};

struct budget {
	uint64_t key0, key1;
	int64_t half; /* number of the current half hour */
	struct crowd seen, blocked;
	unsigned first, n; /* of the ring */
	mono_t made[BUDGET_PER_MINUTE_MAX]; /* a ring, the oldest first */
};

static uint32_t
bit_of(const struct budget *b, const struct ip_prefix *who)
{
	uint8_t bytes[sizeof(who->ip.b) + 1];

	memcpy(bytes, who->ip.b, sizeof(who->ip.b));
	bytes[sizeof(who->ip.b)] = who->bits;
	return (uint32_t)(siphash(bytes, sizeof(bytes), b->key0, b->key1) % BITS);
}

static bool
is_in(const struct crowd *c, uint32_t bit)
{
	return ((c->bits[0][bit / 64] | c->bits[1][bit / 64]) >> bit % 64 & 1) != 0;
}

static void
add(struct crowd *c, int64_t half, uint32_t bit)
{
	c->count += !is_in(c, bit);
	c->bits[half & 1][bit / 64] |= UINT64_C(1) << bit % 64;
}

/* The half hour before the last one is over: its bits are for the new one. */
static void
turn(struct crowd *c, int64_t half, bool long_ago)
{
	memset(c->bits[half & 1], 0, sizeof(c->bits[0]));
	if (long_ago)
		memset(c->bits[~half & 1], 0, sizeof(c->bits[0]));
	c->count = 0;
	for (size_t i = 0; i < BITS / 64; i++)
		c->count += (uint64_t)__builtin_popcountll(c->bits[~half & 1][i]);
}

static void
advance(struct budget *b, mono_t now)
{
	int64_t half = now.ms / HALF_MS;

	if (half != b->half) {
		turn(&b->seen, half, half != b->half + 1);
		turn(&b->blocked, half, half != b->half + 1);
		b->half = half;
	}
	while (b->n > 0 && mono_since(b->made[b->first], now) >= BUDGET_MINUTE_MS) {
		b->first = (b->first + 1) % BUDGET_PER_MINUTE_MAX;
		b->n--;
	}
}

void
budget_seen(struct budget *b, const struct ip_prefix *who, mono_t now)
{
	advance(b, now);
	add(&b->seen, b->half, bit_of(b, who));
}

enum budget_answer
budget_ask(struct budget *b, const struct ip_prefix *who, int64_t per_minute, int64_t share, mono_t now)
{
	advance(b, now);
	if (b->n >= per_minute || b->n == BUDGET_PER_MINUTE_MAX)
		return BUDGET_OVER_MINUTE;
	/* Whoever was blocked within the hour is counted already. */
	if (b->blocked.count < BUDGET_FLOOR || is_in(&b->blocked, bit_of(b, who)))
		return BUDGET_OK;
	return (b->blocked.count + 1) * 100 > b->seen.count * (uint64_t)share ? BUDGET_OVER_SHARE : BUDGET_OK;
}

void
budget_take(struct budget *b, const struct ip_prefix *who, mono_t now)
{
	advance(b, now);
	if (b->n < BUDGET_PER_MINUTE_MAX)
		b->made[(b->first + b->n++) % BUDGET_PER_MINUTE_MAX] = now;
	add(&b->blocked, b->half, bit_of(b, who));
}

uint64_t
budget_clients(struct budget *b, mono_t now)
{
	advance(b, now);
	return b->seen.count;
}

uint64_t
budget_blocked(struct budget *b, mono_t now)
{
	advance(b, now);
	return b->blocked.count;
}

int
budget_new(const uint8_t *key, struct budget **ret)
{
	struct budget *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return -ENOMEM;
	memcpy(&b->key0, key, sizeof(b->key0));
	memcpy(&b->key1, key + sizeof(b->key0), sizeof(b->key1));
	*ret = b;
	return 0;
}

void
budget_free(struct budget *b)
{
	free(b);
}
