/* SPDX-License-Identifier: ISC */
/*
 * blocks - who is kept from connecting, until when, why, and what comes next
 *
 * Pure: no clock, no I/O, no allocation after blocks_new(); its dice are thrown from the key that it is given.  Same
 * calls, same answers.  A `now` that goes back counts as the last one.  All times are of the boot clock, so neither a
 * step of the wall clock nor a night in suspend makes a block longer.  It does not know whether anybody acts on it: a
 * dry run is the same decisions with a writer that writes nothing.
 *
 * Who.  An IPv4 address, or an IPv6 address cut to `ipv6_prefix`.  ::ffff:a.b.c.d is a.b.c.d (lib/ip.h).
 *
 * What is evidence.  That an address went over its limit, told by blocks_offend().  Not evidence: what comes from an
 * address while it is under any block (it shall not be punished for knocking, and a dry run, where it can knock,
 * decides as the real one does), our own refusals, and rules that `on` does not name.  Marks that led to a block have
 * done their work: the caller resets their counter (rate_reset()) when the verdict is BLOCKS_MADE, or an hour's worth
 * of them would lead to the next one at the first connection after this one.
 *
 * How long.  By the ladder: the step is the number of earlier blocks of the same address that are not forgiven.  10 %
 * more or less, by dice, so that not all come back at once.  Clean time, from the end of a block, forgives one step
 * for each `forgive`, or for each time twice the last block's length, whichever is longer.  What is forgiven entirely
 * is nobody's business any more.
 *
 * How hard.  Denied.  With `soft_first` the first block only throttles or explains.  An address from which one of our
 * users logged in lately never gets more than that.
 *
 * How wide.  When `widen_hosts` distinct addresses of a /24 are under blocks of ours at once, the network is blocked
 * too; of IPv6, where so many addresses of a /64 are (if they count single), or /64s of a /56, or /56s of a /48.
 * Never wider than that, and only if nothing in it is protected or has logged in, and the caller's `is_spared` does
 * not object.  Blocks are a union: each ends at its own time, and an address is free when no block in force contains
 * it.
 *
 * How many.  At most `budget_per_minute` new ones in any minute, and at most `budget_share` percent of the distinct
 * clients of the last hour (but 20 in any case).  Whoever blocks more than that is more likely wrong than right: it
 * stops, counts what it did not do, and says so in blocks_state().  A sixteenth of the table is kept for persons.
 *
 * A person (blocks_put()) chooses prefix, time and kind.  That leads to no widening and leaves no memory.  Protected
 * addresses are refused to persons as well, and a prefix with a recent login in it is explained to instead of denied.
 *
 * Every block, also a restored one, is made by one function, which asks protect.h first.  When what is protected
 * grows, the next blocks_step() ends the blocks that contain it.
 *
 * Memory: about 140 bytes for each block of the table, 65 for each address of the memory; pages are touched as they
 * are used.  A full memory forgets, of the oldest, the one with the fewest steps.
 */
#ifndef CONTROLLER_BLOCKS_H
#define CONTROLLER_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/protect.h"
#include "lib/blockset.h"
#include "lib/clock.h"
#include "lib/ip.h"
#include "lib/schema.h"

#define BLOCKS_MAX 10000000 /* of a table, and of a memory */
#define BLOCKS_DEFAULT 200000
#define BLOCKS_MEMORY_DEFAULT 500000
#define BLOCKS_KEY_SIZE 16
#define BLOCKS_FOR_MIN_MS 1000
#define BLOCKS_FOR_MAX_MS (INT64_C(366) * 86400000) /* no block is longer */
#define BLOCKS_PER_MINUTE_MAX 10000
#define BLOCKS_WHO_MAX 50 /* with the final NUL: the name of a rule, or of a person */
#define BLOCKS_REASON_MAX 120
#define BLOCKS_TEXTS_MAX 1024 /* distinct pairs of who and reason at once; beyond, the reason is lost, then the name */
#define BLOCKS_CHANGES_MAX 8 /* that one call makes at the most */

enum blocks_soft {
	BLOCKS_SOFT_NO,
	BLOCKS_SOFT_THROTTLE,
	BLOCKS_SOFT_EXPLAIN,
};

/* Flat: it is part of struct config. */
struct blocks_cfg {
	struct cfg_list on; /* rules whose excess is evidence */
	struct cfg_durations ladder; /* at least one, each BLOCKS_FOR_MIN_MS..BLOCKS_FOR_MAX_MS */
	int64_t forgive_ms; /* >= 1 */
	int64_t ipv6_prefix; /* 48..128 */
	int soft_first; /* enum blocks_soft */
	int64_t widen_hosts; /* 0: never */
	int64_t budget_per_minute; /* 1..BLOCKS_PER_MINUTE_MAX */
	int64_t budget_share; /* percent, 1..100 */
};

/* --- records and changes --------------------------------------------------------------------- */

struct blocks_record {
	struct block block; /* prefix, kind, until, evidence id: what the actions need */
	int64_t length_ms; /* it was given; it began so long before block.until */
	char who[BLOCKS_WHO_MAX]; /* the rule, or the person */
	char reason[BLOCKS_REASON_MAX]; /* a person's */
	bool by_person;
	bool is_wide; /* came by widening; then n is of distinct addresses, and max is `widen_hosts` */
	uint32_t n, max; /* that led to it */
	unsigned step; /* of the ladder, from 0 */
	uint32_t times; /* blocks of the same prefix before this one, as far as anybody remembers */
	int64_t next_ms; /* what the next one would get, but for the dice, if it came right after this; 0: a person's */
};

enum blocks_event {
	BLOCKS_BEGUN,
	BLOCKS_CHANGED, /* its kind or time */
	BLOCKS_ENDED,
};

enum blocks_end {
	BLOCKS_END_NONE,
	BLOCKS_END_TIME,
	BLOCKS_END_PROTECTED, /* it contains an address that is protected by now */
	BLOCKS_END_PERSON,
};

struct blocks_change {
	enum blocks_event event;
	enum blocks_end end; /* of BLOCKS_ENDED */
	enum protect_reason protect; /* why it ended or was softened, or PROTECT_NONE */
	struct blocks_record record; /* as it is now, or was when it ended */
};

enum blocks_verdict {
	BLOCKS_MADE, /* the first change of the result that is BLOCKS_BEGUN */
	BLOCKS_REPLACED, /* a person's word in place of another block of the same prefix */
	BLOCKS_REMOVED,
	BLOCKS_NOT_THERE, /* there was no block of that prefix to remove */
	BLOCKS_ALREADY, /* under a block in force: no evidence */
	BLOCKS_RULE_OFF, /* `on` does not name the rule */
	BLOCKS_OUR_REFUSAL,
	BLOCKS_PROTECTED, /* `hit` says why */
	BLOCKS_OVER_MINUTE, /* budget */
	BLOCKS_OVER_SHARE, /* budget */
	BLOCKS_FULL,
	BLOCKS_TOO_WIDE, /* of a person: wider than /8, of IPv6 than /16 */
	BLOCKS_BAD_TIME, /* of a person: not BLOCKS_FOR_MIN_MS..BLOCKS_FOR_MAX_MS; of a stored one: nothing remains */
};
#define BLOCKS_VERDICTS 13

const char *blocks_verdict_text(enum blocks_verdict v);

struct blocks_result {
	enum blocks_verdict verdict;
	struct protect_hit hit; /* also of a block that was softened: PROTECT_LOGIN */
	bool is_within; /* of a removal: still under another block, `within` */
	struct ip_prefix within;
	unsigned n;
	struct blocks_change change[BLOCKS_CHANGES_MAX]; /* in order; all of them must be acted on */
};

/* --- life ------------------------------------------------------------------------------------ */

struct blocks;

/* `protect` is borrowed for as long as the blocks are there.  Returns 0, -EINVAL or -ENOMEM. */
int blocks_new(size_t max, size_t memory, const uint8_t key[BLOCKS_KEY_SIZE], const struct protect *protect,
	struct blocks **ret);
void blocks_free(struct blocks *b); /* NULL is allowed */

/* Needed before anything else.  `cfg` is borrowed until the next call.  Blocks that are there stay. */
void blocks_configure(struct blocks *b, const struct blocks_cfg *cfg);

/* Asked before a network is blocked: may something in it be worth sparing, such as hosts that mail was exchanged
 * with?  NULL: no. */
void blocks_set_spared(struct blocks *b, bool (*is_spared)(const struct ip_prefix *p, void *arg), void *arg);

/* --- what happens ---------------------------------------------------------------------------- */

/* A client has connected, or asked: counted as one of the distinct clients of the hour. */
void blocks_seen(struct blocks *b, const struct ip *ip, mono_t now);

struct blocks_evidence {
	const char *rule;
	const char *id; /* "" or shorter than BLOCK_ID_MAX */
	uint32_t n, max;
	bool is_our_refusal; /* it was counted only because we had refused before, as a retry is */
};

/* An address was over its limit.  Call blocks_step() with this `now` before: while ended blocks wait for it, nothing is
 * widened. */
void blocks_offend(struct blocks *b, const struct ip *ip, const struct blocks_evidence *e, mono_t now,
	struct blocks_result *ret);

/* A person's word. */
struct blocks_wish {
	struct ip_prefix prefix;
	enum block_kind kind;
	int64_t for_ms;
	const char *id, *who, *reason; /* cut to what fits */
};

void blocks_put(struct blocks *b, const struct blocks_wish *w, mono_t now, struct blocks_result *ret);

/* Also forgets what led to it: a person says that it was wrong. */
void blocks_remove(struct blocks *b, const struct ip_prefix *p, mono_t now, struct blocks_result *ret);

/* What is due: blocks whose time is over, and after a change of what is protected, those that contain it.  Returns
 * how many of `max` changes it made; when all, there may be more: call again. */
size_t blocks_step(struct blocks *b, mono_t now, struct blocks_change *ret, size_t max);

/* After protect_login(): blocks that contain `ip` are softened, and the network's, if it is ours, ended.  As
 * blocks_step(). */
size_t blocks_recheck_address(struct blocks *b, const struct ip *ip, mono_t now, struct blocks_change *ret, size_t max);

/* When blocks_step() has something to do at the latest; INT64_MAX ms: never. */
mono_t blocks_due(const struct blocks *b);

/* --- questions ------------------------------------------------------------------------------- */

/* Of exactly this prefix, in force or not yet stepped away. */
bool blocks_find(const struct blocks *b, const struct ip_prefix *p, struct blocks_record *ret);

/* The longest in force that contains `ip`. */
bool blocks_match(const struct blocks *b, const struct ip *ip, mono_t now, struct blocks_record *ret);

/* Walk: `cursor` begins at 0; false at the end.  Any call may come in between. */
bool blocks_next(const struct blocks *b, size_t *cursor, struct blocks_record *ret);

/* What `ip` is counted as. */
struct ip_prefix blocks_who(const struct blocks *b, const struct ip *ip);

struct blocks_memory {
	unsigned steps; /* not forgiven by now */
	uint32_t times; /* blocks that are remembered */
	int64_t length_ms; /* of the last one */
	mono_t ended; /* it; ahead while it is in force */
	int64_t next_ms; /* what the next one gets, but for the dice */
	int64_t clean_ms; /* until all is forgiven, if nothing happens; 0: it is */
};

/* What is remembered of a prefix; false: nothing, and `ret` is that of somebody new. */
bool blocks_recollect(const struct blocks *b, const struct ip_prefix *p, mono_t now, struct blocks_memory *ret);

struct blocks_state {
	size_t count, by_person, max; /* blocks */
	size_t remembered; /* prefixes that offended before */
	uint64_t clients; /* distinct, of the last hour */
	uint64_t made; /* of them blocked, by rules */
	bool is_over; /* budget, or full; ends after a minute in which all could be done */
	enum blocks_verdict over; /* the last of BLOCKS_OVER_MINUTE, _OVER_SHARE, _FULL */
	mono_t over_since;
	uint64_t not_done; /* since then: offences that led to nothing for it */
	uint64_t not_done_ever;
};

struct blocks_state blocks_state(const struct blocks *b, mono_t now);

/* --- across restarts ------------------------------------------------------------------------- */

/* Put a stored block back that has `remaining_ms` left: as the store says, but never more than it was given.
 * block.until and next_ms of the record do not matter.  Budgets don't either.  Protected addresses do.  Its memory
 * comes with it. */
void blocks_restore(struct blocks *b, const struct blocks_record *r, int64_t remaining_ms, mono_t now,
	struct blocks_result *ret);

/* Remember a rule's block that ended `ago_ms` ago. */
void blocks_remember(struct blocks *b, const struct blocks_record *r, int64_t ago_ms, mono_t now);

#endif
