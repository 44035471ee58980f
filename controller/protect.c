/* SPDX-License-Identifier: ISC */
/*
 * Prefixes lie in one array, sorted by address and length.  Those that lie inside a given one stand behind each other
 * there, so the first of them is found by a binary search; those that contain it are looked for by another, for each
 * length in use.  Changes are rare and sort the whole anew.  Logins are many and come and go: a hash, in the order in
 * which they came.
 */
#include "controller/protect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/recent.h"
#include "lib/array.h"
#include "lib/siphash.h"

#define LENGTHS 129
#define V4_BITS 96
#define NO_NAME 0 /* else an index into the names, plus one */

/* Without padding: the array is compared by its bytes. */
struct entry {
	struct ip_prefix prefix;
	uint8_t reason;
	uint16_t name;
};

_Static_assert(sizeof(struct entry) == 20, "no padding");

struct protect {
	size_t n;
	struct entry entry[PROTECT_PREFIXES_MAX];
	unsigned n_lengths;
	uint8_t length[LENGTHS]; /* that are in use, the shortest first */
	char name[PROTECT_ALLOW_MAX][PROTECT_NAME_MAX]; /* "": free */
	uint64_t version, digest;
	unsigned known, lost; /* sources, as bits */
	struct recent *logins; /* NULL: none are kept */
};

const char *
protect_reason_text(enum protect_reason reason)
{
	static const char *const text[PROTECT_REASONS] = {
		[PROTECT_NONE] = "not protected",
		[PROTECT_LOGIN] = "one of our users logged in from there lately",
		[PROTECT_LOOPBACK] = "loopback",
		[PROTECT_UNSPECIFIED] = "not the address of a host",
		[PROTECT_MULTICAST] = "multicast or broadcast",
		[PROTECT_OWN] = "an address of this machine",
		[PROTECT_GATEWAY] = "a gateway of this machine",
		[PROTECT_RESOLVER] = "a name server that this machine asks",
		[PROTECT_RELAY] = "the tcprules let it relay",
		[PROTECT_ALLOWED] = "on the allow list",
		[PROTECT_UNKNOWN] = "whom to protect could not be found out",
	};

	return text[reason];
}

/* --- prefixes -------------------------------------------------------------------------------- */

static bool
is_v4(const struct ip_prefix *p)
{
	return p->bits >= V4_BITS && ip_is_v4(&p->ip);
}

/* Is all of IPv4 inside, as far as we write it, ::ffff:0:0/96? */
static bool
has_all_of_v4(const struct ip_prefix *p)
{
	static const struct ip base = { { [10] = 0xff, [11] = 0xff } };

	return p->bits <= V4_BITS && ip_prefix_contains(p, &base);
}

bool
protect_is_wide(const struct ip_prefix *p)
{
	return is_v4(p) ? p->bits < V4_BITS + 8 : p->bits < 16 || has_all_of_v4(p);
}

static int
compare(const struct entry *a, const struct entry *b)
{
	int c = memcmp(a->prefix.ip.b, b->prefix.ip.b, sizeof(a->prefix.ip.b));

	if (c == 0)
		c = (int)a->prefix.bits - (int)b->prefix.bits;
	if (c == 0)
		c = (int)a->reason - (int)b->reason;
	return c != 0 ? c : (int)a->name - (int)b->name;
}

/* The first entry that is not before (p, weakest reason). */
static size_t
lower_bound(const struct protect *t, const struct ip_prefix *p)
{
	struct entry goal = { .prefix = *p };
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(&t->entry[middle], &goal) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Heapsort, for qsort(3) allocates, and takes quadratic time elsewhere. */
static void
sift_down(struct entry *e, size_t at, size_t n)
{
	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && compare(&e[child], &e[child + 1]) < 0)
			child++;
		if (compare(&e[at], &e[child]) >= 0)
			return;
		struct entry other = e[at];
		e[at] = e[child];
		e[child] = other;
	}
}

static void
sort(struct entry *e, size_t n)
{
	for (size_t i = n / 2; i > 0; i--)
		sift_down(e, i - 1, n);
	for (size_t i = n; i > 1; i--) {
		struct entry first = e[0];

		e[0] = e[i - 1];
		e[i - 1] = first;
		sift_down(e, 0, i - 1);
	}
}

/* The array has been changed: bring it into order, and see whether it is another one than before. */
static void
settle(struct protect *t)
{
	bool used[LENGTHS] = { false };

	sort(t->entry, t->n);
	for (size_t i = 0; i < t->n; i++)
		used[t->entry[i].prefix.bits] = true;
	t->n_lengths = 0;
	for (unsigned bits = 0; bits < LENGTHS; bits++)
		if (used[bits])
			t->length[t->n_lengths++] = (uint8_t)bits;
	uint64_t digest = siphash(t->entry, t->n * sizeof(t->entry[0]), t->n, 0);
	t->version += digest != t->digest;
	t->digest = digest;
}

static void
append(struct protect *t, const struct ip_prefix *p, enum protect_reason reason, unsigned name)
{
	t->entry[t->n++] =
		(struct entry) { .prefix = *p, .reason = (uint8_t)reason, .name = (uint16_t)name };
}

static size_t
count(const struct protect *t, enum protect_reason reason, unsigned name)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->entry[i].reason == reason && t->entry[i].name == name;
	return n;
}

static void
drop(struct protect *t, enum protect_reason reason, unsigned name)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->entry[i].reason != reason || t->entry[i].name != name)
			t->entry[kept++] = t->entry[i];
	t->n = kept;
}

static void
found(struct protect *t, enum protect_reason source)
{
	t->known |= 1u << source;
	t->lost &= ~(1u << source);
}

static int
overflow(struct protect *t, enum protect_reason source)
{
	t->lost |= 1u << source;
	return -ENOSPC;
}

int
protect_set(struct protect *t, enum protect_reason source, const struct ip_prefix *list, size_t n)
{
	if (source != PROTECT_OWN && source != PROTECT_GATEWAY && source != PROTECT_RESOLVER
		&& source != PROTECT_RELAY)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (protect_is_wide(&list[i]))
			return -EINVAL;
	if (n > PROTECT_PREFIXES_MAX - (t->n - count(t, source, NO_NAME)))
		return overflow(t, source);
	drop(t, source, NO_NAME);
	for (size_t i = 0; i < n; i++)
		append(t, &list[i], source, NO_NAME);
	settle(t);
	found(t, source);
	return 0;
}

void
protect_lost(struct protect *t, enum protect_reason source)
{
	if ((t->known & 1u << source) == 0)
		t->lost |= 1u << source;
}

/* --- the allow list -------------------------------------------------------------------------- */

/* The number of a name, or NO_NAME.  "" finds a free place. */
static unsigned
find_name(const struct protect *t, const char *name)
{
	for (unsigned i = 0; i < PROTECT_ALLOW_MAX; i++)
		if (strcmp(t->name[i], name) == 0)
			return i + 1;
	return NO_NAME;
}

static bool
is_on(const struct protect_allow *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].is_name && strcmp(list[i].name, name) == 0)
			return true;
	return false;
}

int
protect_allow(struct protect *t, const struct protect_allow *list, size_t n)
{
	size_t prefixes = 0;

	for (size_t i = 0; i < n; i++) {
		if (list[i].is_name && list[i].name[0] == '\0')
			return -EINVAL;
		prefixes += !list[i].is_name;
	}
	if (n > PROTECT_ALLOW_MAX
		|| prefixes > PROTECT_PREFIXES_MAX - (t->n - count(t, PROTECT_ALLOWED, NO_NAME)))
		return overflow(t, PROTECT_ALLOWED);
	drop(t, PROTECT_ALLOWED, NO_NAME);
	for (unsigned i = 0; i < PROTECT_ALLOW_MAX; i++) {
		if (t->name[i][0] == '\0' || is_on(list, n, t->name[i]))
			continue;
		drop(t, PROTECT_ALLOWED, i + 1);
		t->name[i][0] = '\0';
	}
	for (size_t i = 0; i < n; i++) {
		if (!list[i].is_name)
			append(t, &list[i].prefix, PROTECT_ALLOWED, NO_NAME);
		else if (find_name(t, list[i].name) == NO_NAME)
			memcpy(t->name[find_name(t, "") - 1], list[i].name, PROTECT_NAME_MAX);
	}
	settle(t);
	found(t, PROTECT_ALLOWED);
	return 0;
}

int
protect_set_name(struct protect *t, const char *name, const struct ip *addresses, size_t n)
{
	unsigned number = name[0] != '\0' ? find_name(t, name) : NO_NAME;

	if (number == NO_NAME)
		return -ENOENT;
	if (n > PROTECT_ADDRESSES_MAX)
		return -EINVAL;
	if (n > PROTECT_PREFIXES_MAX - (t->n - count(t, PROTECT_ALLOWED, number)))
		return -ENOSPC;
	if (n == 0)
		return 0;
	drop(t, PROTECT_ALLOWED, number);
	for (size_t i = 0; i < n; i++)
		append(t, &(struct ip_prefix) { addresses[i], 128 }, PROTECT_ALLOWED, number);
	settle(t);
	return 0;
}

uint64_t
protect_version(const struct protect *t)
{
	return t->version;
}

/* --- logins ---------------------------------------------------------------------------------- */

void
protect_login(struct protect *t, const struct ip *ip, mono_t until)
{
	if (t->logins != NULL)
		recent_add(t->logins, ip, until);
}

/* --- the question ---------------------------------------------------------------------------- */

static enum protect_reason
answer(const struct protect *t, const struct entry *e, struct protect_hit *ret)
{
	ret->reason = (enum protect_reason)e->reason;
	ret->prefix = e->prefix;
	ret->name = e->name != NO_NAME ? t->name[e->name - 1] : NULL;
	return ret->reason;
}

/* An entry that contains `p`, or that `p` contains. */
static const struct entry *
find_entry(const struct protect *t, const struct ip_prefix *p)
{
	for (unsigned i = 0; i < t->n_lengths && t->length[i] < p->bits; i++) {
		struct ip_prefix outer = { ip_mask(&p->ip, t->length[i]), t->length[i] };
		size_t at = lower_bound(t, &outer);

		if (at < t->n && t->entry[at].prefix.bits == outer.bits
			&& ip_equal(&t->entry[at].prefix.ip, &outer.ip))
			return &t->entry[at];
	}
	size_t at = lower_bound(t, p);
	return at < t->n && ip_prefix_contains(p, &t->entry[at].prefix.ip) ? &t->entry[at] : NULL;
}

enum protect_reason
protect_covers(const struct protect *t, const struct ip_prefix *p, mono_t now, struct protect_hit *ret)
{
	struct protect_hit unwanted = { 0 };
	struct protect_hit *hit = ret != NULL ? ret : &unwanted;
	const struct entry *e = find_entry(t, p);

	if (e != NULL)
		return answer(t, e, hit);
	*hit = (struct protect_hit) { .prefix = *p };
	if (t->lost != 0)
		hit->reason = PROTECT_UNKNOWN;
	else if (t->logins != NULL && recent_find(t->logins, p, now, &hit->prefix))
		hit->reason = PROTECT_LOGIN;
	return hit->reason;
}

enum protect_reason
protect_find(const struct protect *t, const struct ip *ip, mono_t now, struct protect_hit *ret)
{
	return protect_covers(t, &(struct ip_prefix) { *ip, 128 }, now, ret);
}

bool
protect_next(const struct protect *t, size_t *cursor, struct protect_hit *ret)
{
	if (*cursor >= t->n)
		return false;
	(void)answer(t, &t->entry[(*cursor)++], ret);
	return true;
}

/* --- the whole ------------------------------------------------------------------------------- */

static void
put_builtin(struct protect *t)
{
	static const struct {
		const char *prefix;
		enum protect_reason reason;
	} builtin[] = {
		{ "127.0.0.0/8", PROTECT_LOOPBACK },
		{ "::1", PROTECT_LOOPBACK },
		{ "0.0.0.0/8", PROTECT_UNSPECIFIED },
		{ "::", PROTECT_UNSPECIFIED },
		{ "224.0.0.0/4", PROTECT_MULTICAST },
		{ "255.255.255.255", PROTECT_MULTICAST },
		{ "ff00::/8", PROTECT_MULTICAST },
	};
	struct ip_prefix p;

	for (size_t i = 0; i < countof(builtin); i++)
		if (ip_prefix_parse(builtin[i].prefix, &p) == 0)
			append(t, &p, builtin[i].reason, NO_NAME);
	settle(t);
}

int
protect_new(size_t logins, const uint8_t key[PROTECT_KEY_SIZE], struct protect **ret)
{
	if (logins > PROTECT_LOGINS_MAX)
		return -EINVAL;
	struct protect *t = calloc(1, sizeof(*t));
	int r = t == NULL ? -ENOMEM : logins > 0 ? recent_new(logins, key, &t->logins) : 0;
	if (r < 0) {
		protect_free(t);
		return r;
	}
	put_builtin(t);
	*ret = t;
	return 0;
}

void
protect_free(struct protect *t)
{
	if (t == NULL)
		return;
	recent_free(t->logins);
	free(t);
}
