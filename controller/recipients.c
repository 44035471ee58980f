/* SPDX-License-Identifier: ISC */
#include "controller/recipients.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/siphash.h"

#define SLOTS_MIN 64 /* a power of two */
#define DOMAIN UINT64_C(0x646f6d61696e) /* domains that the list has are hashed with another key */

struct recipients {
	uint64_t key[2];
	uint64_t *slot; /* 0: free */
	size_t slots, used;
	struct recipients_stats stats;
};

static uint64_t
hash(const struct recipients *r, const char *s, size_t len, uint64_t kind)
{
	uint64_t h = siphash(s, len, r->key[0], r->key[1] ^ kind);

	return h != 0 ? h : 1;
}

static uint64_t *
find(const struct recipients *r, uint64_t h)
{
	size_t i = h & (r->slots - 1);

	while (r->slot[i] != 0 && r->slot[i] != h)
		i = (i + 1) & (r->slots - 1);
	return &r->slot[i];
}

static bool
has(const struct recipients *r, const char *s, size_t len, uint64_t kind)
{
	return *find(r, hash(r, s, len, kind)) != 0;
}

static int
grow(struct recipients *r)
{
	struct recipients bigger = *r;

	bigger.slots = r->slots * 2;
	bigger.slot = calloc(bigger.slots, sizeof(*bigger.slot));
	if (bigger.slot == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < r->slots; i++)
		if (r->slot[i] != 0)
			*find(&bigger, r->slot[i]) = r->slot[i];
	free(r->slot);
	*r = bigger;
	return 0;
}

/* Returns 1 when it is new, 0 when it was there, or -Exxx. */
static int
put(struct recipients *r, const char *s, size_t len, uint64_t kind)
{
	uint64_t h = hash(r, s, len, kind), *at = find(r, h);

	if (*at != 0)
		return 0;
	if (r->used == RECIPIENTS_MAX)
		return -E2BIG;
	*at = h;
	r->used++;
	return r->used * 2 > r->slots && grow(r) < 0 ? -ENOMEM : 1;
}

static int
put_entry(struct recipients *r, const char *s, size_t len, const char *domain, size_t domain_len)
{
	int n = put(r, s, len, 0);

	if (n < 0)
		return n;
	r->stats.entries += (size_t)n;
	n = put(r, domain, domain_len, DOMAIN);
	if (n < 0)
		return n;
	r->stats.domains += (size_t)n;
	return 0;
}

/* "@example.org" is no address; with a local part before it, it is one. */
static bool
parse(const char *s, size_t len, struct address *ret)
{
	char text[ADDRESS_MAX_LEN];

	if (s[0] != '@')
		return address_parse(s, len, ret);
	if (len + 1 > sizeof(text))
		return false;
	text[0] = 'x';
	memcpy(text + 1, s, len);
	return address_parse(text, len + 1, ret) && ret->at == 1;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\0';
}

static int
add_line(struct recipients *r, const char *s, size_t len)
{
	struct address a;
	size_t n = 0;

	r->stats.lines++;
	while (len > 0 && is_blank(*s)) {
		s++;
		len--;
	}
	if (len == 0 || *s == '#')
		return 0;
	while (n < len && !is_blank(s[n]))
		n++;
	bool rest_ok = true;
	for (size_t i = n; i < len && s[i] != '#' && rest_ok; i++)
		rest_ok = is_blank(s[i]);
	if (!rest_ok || !parse(s, n, &a)) {
		r->stats.first_odd = r->stats.odd++ == 0 ? r->stats.lines : r->stats.first_odd;
		return 0;
	}
	size_t skip = s[0] == '@' ? a.at : 0;
	return put_entry(r, a.text + skip, a.len - skip, address_domain(&a), address_domain_len(&a));
}

int
recipients_add(struct recipients *r, const char *text, size_t len, bool is_last, size_t *ret_used)
{
	size_t at = 0;

	while (at < len) {
		const char *end = memchr(text + at, '\n', len - at);

		if (end == NULL && !is_last)
			break;
		size_t n = end != NULL ? (size_t)(end - text) - at : len - at;
		int e = add_line(r, text + at, n);
		if (e < 0)
			return e;
		at += n + (end != NULL);
	}
	*ret_used = at;
	return 0;
}

/* "bob-lists-c" by "bob-*" or "bob-lists-*".  Local parts longer than that are not looked at further. */
static bool
has_extension(const struct recipients *r, const struct address *a)
{
	char text[ADDRESS_MAX_LEN + 2];
	size_t domain_len = a->len - a->at;

	for (size_t i = 0; i < a->at && i < 64; i++) {
		if (a->text[i] != '-')
			continue;
		memcpy(text, a->text, i + 1);
		text[i + 1] = '*';
		memcpy(text + i + 2, a->text + a->at, domain_len);
		if (has(r, text, i + 2 + domain_len, 0))
			return true;
	}
	return false;
}

enum recipients_answer
recipients_find(const struct recipients *r, const struct address *a)
{
	static const char postmaster[] = "postmaster";

	if (!has(r, address_domain(a), address_domain_len(a), DOMAIN))
		return RECIPIENTS_NO_OPINION;
	if (a->at == strlen(postmaster) && memcmp(a->text, postmaster, a->at) == 0)
		return RECIPIENTS_EXISTS;
	if (has(r, a->text, a->len, 0) || has(r, a->text + a->at, a->len - a->at, 0) || has_extension(r, a))
		return RECIPIENTS_EXISTS;
	return RECIPIENTS_UNKNOWN;
}

struct recipients_stats
recipients_stats(const struct recipients *r)
{
	return r->stats;
}

int
recipients_new(const uint8_t key[RECIPIENTS_KEY_SIZE], struct recipients **ret)
{
	struct recipients *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	memcpy(r->key, key, sizeof(r->key));
	r->slots = SLOTS_MIN;
	r->slot = calloc(r->slots, sizeof(*r->slot));
	if (r->slot == NULL) {
		free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

void
recipients_free(struct recipients *r)
{
	if (r != NULL)
		free(r->slot);
	free(r);
}
