/* SPDX-License-Identifier: ISC */
/*
 * A list of recipients of any bytes, whole and in pieces: the same set comes of it; and any pattern against any local
 * part: none is costly, and none crashes.  The first line is the pattern, the first byte of it the size of the pieces.
 */
#include "controller/localparts.h"
#include "controller/recipients.h"
#include "tests/fuzz/fuzz.h"

static struct recipients *
read_list(const char *text, size_t len, size_t piece)
{
	static const uint8_t key[RECIPIENTS_KEY_SIZE] = "0123456789abcde";
	struct recipients *r;
	size_t n = piece;

	CHECK(recipients_new(key, &r) == 0);
	for (size_t at = 0, used; at < len; at += used) {
		n = n < len - at ? n : len - at;
		CHECK(recipients_add(r, text + at, n, at + n == len, &used) == 0 && used <= n);
		n = used > 0 ? piece : n + piece; /* a longer line */
	}
	return r;
}

static void
check_pattern(const char *pattern, const char *local, size_t len)
{
	struct config_localparts c = { .n = 1 };
	struct localparts *l;
	struct err why;
	size_t n = strlen(pattern);

	if (n == 0 || n >= LOCALPARTS_PATTERN_MAX || localparts_test(pattern, &why) < 0)
		return;
	memcpy(c.at[0].pattern, pattern, n + 1);
	CHECK(localparts_new(&c, &l) == 0);
	int match = localparts_match(l, local, len);
	CHECK(match == 0 || match == -1);
	localparts_free(l);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	struct address a;

	if (end == NULL)
		return 0;
	size_t n = (size_t)(end - data), left = size - n - 1;
	char *pattern = fuzz_string(data, n), *text = fuzz_string(end + 1, left);
	check_pattern(pattern, text, left);
	struct recipients *whole = read_list(text, left, left), *pieces = read_list(text, left, (size_t)data[0] + 1);
	struct recipients_stats s = recipients_stats(whole), t = recipients_stats(pieces);
	CHECK(s.entries == t.entries && s.domains == t.domains && s.odd == t.odd && s.first_odd == t.first_odd);
	CHECK(s.domains <= s.entries && s.odd <= s.lines && s.lines <= left);
	if (address_parse(text, left < 60 ? left : 60, &a))
		CHECK(recipients_find(whole, &a) == recipients_find(pieces, &a));
	free(pattern);
	free(text);
	recipients_free(whole);
	recipients_free(pieces);
	return 0;
}
