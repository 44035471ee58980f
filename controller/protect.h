/* SPDX-License-Identifier: ISC */
/*
 * protect - the addresses that nothing may ever block, each with the reason
 *
 * Pure: no clock, no I/O, no allocation after protect_new().  The caller brings what is protected, a source at a time
 * and always the whole of it; protect_sources.h reads most of them.  Loopback, unspecified, multicast and broadcast
 * addresses are in it from the start and can't be taken out, whatever is put in or left out.
 *
 * Protected is not "own": a stranger at a protected address can be refused by a limit or for load.  What never
 * happens is that the address is kept from connecting.
 *
 * Two strengths.  A reason above PROTECT_LOGIN is absolute: no block may contain such an address.  PROTECT_LOGIN (one
 * of our users logged in from there lately: perhaps the office behind one address, perhaps a leaked password)
 * softens: such an address gets at most a block that explains or throttles.
 *
 * Fail open: while a source can't be known, nobody can tell who is not protected, so everybody is (PROTECT_UNKNOWN).
 *
 * Memory: PROTECT_PREFIXES_MAX prefixes, names of PROTECT_ALLOW_MAX entries, and 49 bytes for each login.  Of logins
 * the ones longest ago are forgotten first.  Prefixes are sorted, so a question costs a binary search for each length
 * in use.
 */
#ifndef CONTROLLER_PROTECT_H
#define CONTROLLER_PROTECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define PROTECT_PREFIXES_MAX 16384 /* of all sources together */
#define PROTECT_ALLOW_MAX 256 /* entries of the allow list */
#define PROTECT_NAME_MAX 100 /* of a host on the allow list, with the final NUL */
#define PROTECT_ADDRESSES_MAX 64 /* of a name */
#define PROTECT_LOGINS_MAX 10000000
#define PROTECT_KEY_SIZE 16

enum protect_reason {
	PROTECT_NONE,
	PROTECT_LOGIN, /* softens; those below are absolute */
	PROTECT_LOOPBACK,
	PROTECT_UNSPECIFIED,
	PROTECT_MULTICAST, /* and broadcast */
	PROTECT_OWN, /* of an interface of this machine */
	PROTECT_GATEWAY, /* may stand for many: where it translates addresses, for all */
	PROTECT_RESOLVER,
	PROTECT_RELAY, /* the administrator's rules let it relay */
	PROTECT_ALLOWED, /* on the allow list */
	PROTECT_UNKNOWN, /* a source could not be read: nobody is safe to block */
};
#define PROTECT_REASONS 11

/* "an address of this machine", ...; for sentences like "not blocked: REASON". */
const char *protect_reason_text(enum protect_reason reason);

static inline bool
protect_is_absolute(enum protect_reason reason)
{
	return reason > PROTECT_LOGIN;
}

/* Wider than /8, of IPv6 than /16: more than anybody means by accident. */
bool protect_is_wide(const struct ip_prefix *p);

struct protect;

/* `logins` 0: none are kept.  `key`: random, for their hash.  Returns 0, -EINVAL or -ENOMEM. */
int protect_new(size_t logins, const uint8_t key[PROTECT_KEY_SIZE], struct protect **ret);
void protect_free(struct protect *t); /* NULL is allowed */

/* --- what is protected ----------------------------------------------------------------------- */

/* An entry of the allow list: a prefix, or the name of a host whose addresses protect_set_name() brings. */
struct protect_allow {
	bool is_name;
	struct ip_prefix prefix;
	char name[PROTECT_NAME_MAX];
};

/* All prefixes of `source`, which is PROTECT_OWN, _GATEWAY, _RESOLVER or _RELAY, in place of those before.  Returns
 * 0; -EINVAL (another source, or a wide prefix); -ENOSPC, and then the source can't be known.  After an error the
 * prefixes stay as they were. */
int protect_set(struct protect *t, enum protect_reason source, const struct ip_prefix *list, size_t n);

/* The whole allow list.  A name that was on it before keeps its addresses.  Returns as protect_set(). */
int protect_allow(struct protect *t, const struct protect_allow *list, size_t n);

/* The addresses that a name has now.  None (the name server is down, or says that there is no such name) changes
 * nothing: the last good ones stay.  Returns 0, -ENOENT (not on the allow list), -EINVAL (more than
 * PROTECT_ADDRESSES_MAX), -ENOSPC. */
int protect_set_name(struct protect *t, const char *name, const struct ip *addresses, size_t n);

/* A source can't be read.  If it could be before, what it said stays; else it can't be known until it is set. */
void protect_lost(struct protect *t, enum protect_reason source);

/* One of our users has logged in from `ip`; an IPv6 address counts for its /64. */
void protect_login(struct protect *t, const struct ip *ip, mono_t until);

/* Grows with each change of what is absolutely protected: whoever keeps blocks looks through them again. */
uint64_t protect_version(const struct protect *t);

/* --- the question ---------------------------------------------------------------------------- */

struct protect_hit {
	enum protect_reason reason;
	struct ip_prefix prefix; /* that is protected */
	const char *name; /* on the allow list, if that is how it got there, or NULL; borrowed until the next change */
};

/* Why may this address not be blocked?  `ret` may be NULL. */
enum protect_reason protect_find(const struct protect *t, const struct ip *ip, mono_t now, struct protect_hit *ret);

/* Is any protected address inside the prefix, or the prefix inside a protected one?  The strongest reason. */
enum protect_reason protect_covers(const struct protect *t, const struct ip_prefix *p, mono_t now,
	struct protect_hit *ret);

/* Walk over all absolute ones: for the keeper's own copy, and for people.  `cursor` begins at 0; false at the end. */
bool protect_next(const struct protect *t, size_t *cursor, struct protect_hit *ret);

#endif
