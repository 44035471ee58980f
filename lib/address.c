/* SPDX-License-Identifier: ISC */
#include "lib/address.h"

#include <string.h>

#include "lib/array.h"

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t
without_dots(const char *s, size_t len)
{
	while (len > 0 && s[len - 1] == '.')
		len--;
	return len;
}

bool
address_parse(const char *s, size_t len, struct address *ret)
{
	size_t at;

	if (s == NULL)
		return false;
	len = without_dots(s, len);
	if (len > ADDRESS_MAX_LEN)
		return false;
	for (at = len; at > 0 && s[at - 1] != '@'; at--)
		;
	if (at <= 1 || at == len)
		return false;
	for (size_t i = 0; i < len; i++)
		ret->text[i] = lower(s[i]);
	ret->len = len;
	ret->at = at - 1;
	return true;
}

/* --- organisations --------------------------------------------------------------------------- */

/* Where the last `n` labels begin, or `len` when there are fewer. */
static size_t
labels_from_end(const char *s, size_t len, unsigned n)
{
	for (size_t i = len; i > 0; i--)
		if (s[i - 1] == '.' && --n == 0)
			return i;
	return n == 1 ? 0 : len;
}

/* Below a country's code of two letters these are no organisation's own. */
static bool
is_shared_label(const char *s, size_t len)
{
	static const char *const shared[] = {
		"ac", "co", "com", "edu", "gen", "go", "gob", "gov", "gouv", "id", "ltd", "mil", "ne", "net", "nom",
		"or", "org", "plc", "sch",
	};

	for (size_t i = 0; i < countof(shared); i++)
		if (strlen(shared[i]) == len && memcmp(shared[i], s, len) == 0)
			return true;
	return false;
}

static bool
is_number(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

size_t
address_organisation(const char *host, size_t len, char ret[ADDRESS_MAX_LEN])
{
	if (host == NULL)
		return 0;
	len = without_dots(host, len);
	if (len == 0 || len > ADDRESS_MAX_LEN)
		return 0;
	for (size_t i = 0; i < len; i++)
		ret[i] = lower(host[i]);
	size_t last = labels_from_end(ret, len, 1), from = labels_from_end(ret, len, 2);
	if (from == len || last == len || last == 0 || is_number(ret + last, len - last) || ret[len - 1] == ']')
		return 0;
	if (len - last == 2 && from > 0 && is_shared_label(ret + from, last - 1 - from))
		from = labels_from_end(ret, len, 3);
	if (from == len || ret[from] == '.')
		return 0;
	memmove(ret, ret + from, len - from);
	return len - from;
}

/* --- bounces --------------------------------------------------------------------------------- */

static bool
begins_with(const char *s, size_t len, const char *word, bool whole)
{
	size_t n = strlen(word);

	if (len < n || (whole && len != n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (lower(s[i]) != word[i])
			return false;
	return true;
}

bool
address_is_bounce_sender(const char *sender, size_t len)
{
	static const struct {
		const char *word;
		bool whole;
	} locals[] = {
		{ "mailer-daemon", true }, { "postmaster", true }, { "double-bounce", true }, { "mail-daemon", true },
		{ "mdaemon", true }, { "maildaemon", true }, { "bounce", true }, { "bounces", true },
		{ "challenge", false }, { "tmda-", false }, { "spamarrest", false },
	};
	const char *at;

	if (sender == NULL || len == 0)
		return true;
	at = memchr(sender, '@', len);
	size_t local = at != NULL ? (size_t)(at - sender) : len;
	if (local == 1 && sender[0] == '#')
		return true; /* <#@[]>: qmail's own double bounce */
	for (size_t i = 0; i < countof(locals); i++)
		if (begins_with(sender, local, locals[i].word, locals[i].whole))
			return true;
	return false;
}
