/* SPDX-License-Identifier: ISC */
#include "controller/admit.h"

#include <string.h>

#include "lib/ask.h"
#include "lib/text.h"

/* --- which class counts ---------------------------------------------------------------------- */

static int
find(const struct rate_cfg *limits, const char *name)
{
	return rate_class_find(limits, name, strlen(name));
}

/* The class of the stage goes before the class of all stages. */
static int
find_for(const struct rate_cfg *limits, const char *name, enum stage stage)
{
	char own[RATE_NAME_MAX];
	struct text t = text_in(own, sizeof(own));

	text_puts(&t, name);
	text_putc(&t, '_');
	text_puts(&t, stage_name(stage));
	int class = find(limits, own);
	return class >= 0 ? class : find(limits, name);
}

void
admit_configure(struct admit *ret, const struct rate_cfg *limits)
{
	for (int i = 0; i < STAGE_COUNT; i++) {
		ret->ip[i] = find_for(limits, "ip", (enum stage)i);
		ret->user[i] = find_for(limits, "user", (enum stage)i);
	}
	ret->rcpt_ip = find(limits, "rcpt_ip");
	ret->rcpt_user = find(limits, "rcpt_user");
}

/* --- who it is ------------------------------------------------------------------------------- */

static bool
wants(const struct record *r, enum check check)
{
	return (r->wants & UINT32_C(1) << check) != 0;
}

static bool
has_user(const struct record *r)
{
	return r->text[RECORD_USER].len > 0;
}

bool
admit_is_own(const struct record *r)
{
	return r->class == CLASS_OWN || has_user(r);
}

static bool
address_counts(const struct record *r)
{
	return r->ip_known && !admit_is_own(r);
}

bool
admit_wants_held(const struct record *r)
{
	return wants(r, CHECK_CONCURRENCY) && address_counts(r);
}

static void
value_of_address(const struct record *r, struct admit_result *ret)
{
	ip_format(&r->ip, ret->value);
	ret->value_len = strlen(ret->value);
}

/* What is too long for a record was cut, and the hash of the whole stands for the rest: two long names that begin
 * alike are two users. */
static void
value_of_user(const struct record *r, struct admit_result *ret)
{
	static const char digits[] = "0123456789abcdef";
	const struct record_text *user = &r->text[RECORD_USER];
	size_t n = user->len;

	memcpy(ret->value, user->s, n);
	if (user->full_len > user->len) {
		for (int shift = 60; shift >= 0; shift -= 4)
			ret->value[n++] = digits[user->hash >> shift & 15];
	}
	ret->value[n] = '\0';
	ret->value_len = n;
}

_Static_assert(RECORD_TEXT_MAX + 16 < ADMIT_VALUE_MAX, "text, hash and NUL fit");
_Static_assert(IP_TEXT_MAX <= ADMIT_VALUE_MAX, "an address fits");

/* --- the checks ------------------------------------------------------------------------------ */

/* Count a mark.  Is it too much? */
static bool
is_over(struct rate *rate, int class, mono_t now, struct admit_result *ret)
{
	struct rate_question q;

	rate_find(rate, class, ret->value, ret->value_len, &q);
	if (q.found != RATE_OK)
		return false;
	ret->class = class;
	rate_mark(rate, &q, now, &ret->why);
	return ret->why.verdict == RATE_OVER;
}

static bool
concurrency_refuses(const struct record *r, const struct admit_world *world, struct admit_result *ret)
{
	if (!admit_wants_held(r) || world->held == NULL || world->held->verdict != RATE_OVER)
		return false;
	value_of_address(r, ret);
	ret->class = -1;
	ret->why = *world->held;
	return true;
}

static bool
ipthrottle_refuses(const struct admit *a, struct rate *rate, const struct record *r, mono_t now,
	struct admit_result *ret)
{
	int class = a->ip[r->stage];

	if (!wants(r, CHECK_IPTHROTTLE) || class < 0 || !address_counts(r))
		return false;
	value_of_address(r, ret);
	return is_over(rate, class, now, ret);
}

static bool
userthrottle_refuses(const struct admit *a, struct rate *rate, const struct record *r, mono_t now,
	struct admit_result *ret)
{
	int class = a->user[r->stage];

	if (!wants(r, CHECK_USERTHROTTLE) || class < 0 || !has_user(r))
		return false;
	value_of_user(r, ret);
	return is_over(rate, class, now, ret);
}

static bool
rcptthrottle_refuses(const struct admit *a, struct rate *rate, const struct record *r, mono_t now,
	struct admit_result *ret)
{
	int class = has_user(r) ? a->rcpt_user : a->rcpt_ip;

	if (!wants(r, CHECK_RCPTTHROTTLE) || class < 0)
		return false;
	if (has_user(r))
		value_of_user(r, ret);
	else if (address_counts(r))
		value_of_address(r, ret);
	else
		return false;
	return is_over(rate, class, now, ret);
}

/* A sleeping SMTP process is a price that we pay too: none while there is anything else to care for. */
static void
tarpit(const struct record *r, const struct admit_world *world, struct admit_result *ret)
{
	if (!wants(r, CHECK_TARPIT) || r->delay_ms == 0 || world->level >= LEVEL_BUSY)
		return;
	if (world->may_sleep)
		ret->delay_ms = r->delay_ms < ASK_DELAY_MAX_MS ? r->delay_ms : ASK_DELAY_MAX_MS;
	else
		ret->no_room = true;
}

static void
refuse(enum stage stage, enum check check, struct admit_result *ret)
{
	bool stays = stage == STAGE_RCPT || stage == STAGE_DATA;

	ret->check = check;
	ret->verdict = stays ? VERDICT_REFUSE : VERDICT_CLOSE;
	ret->code = stays ? 451 : 421;
}

void
admit_ask(const struct admit *a, struct rate *rate, const struct record *r, const struct admit_world *world,
	struct admit_result *ret)
{
	ret->verdict = VERDICT_PASS;
	ret->check = CHECK_OVERLOAD;
	ret->code = 0;
	ret->delay_ms = 0;
	ret->no_room = false;
	if (concurrency_refuses(r, world, ret))
		refuse(r->stage, CHECK_CONCURRENCY, ret);
	else if (ipthrottle_refuses(a, rate, r, world->now, ret))
		refuse(r->stage, CHECK_IPTHROTTLE, ret);
	else if (userthrottle_refuses(a, rate, r, world->now, ret))
		refuse(r->stage, CHECK_USERTHROTTLE, ret);
	else if (rcptthrottle_refuses(a, rate, r, world->now, ret))
		refuse(r->stage, CHECK_RCPTTHROTTLE, ret);
	else
		tarpit(r, world, ret);
}
