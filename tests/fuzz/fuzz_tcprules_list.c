/* SPDX-License-Identifier: ISC */
/*
 * The list beside tcpserver's cdb: of any bytes only blocks come out that stand in it, and what is understood is written again
 * just as it was.
 *
 * The first 8 bytes are the wall clock.
 */
#include "actions/tcprules_list.h"
#include "tests/fuzz/fuzz.h"

#define BLOCKS_MAX 1000

/* The line of `b` must stand in the text. */
static void
check_block(const struct block *b, int64_t wall_s, mono_t now, const char *text)
{
	char line[TCPRULES_LIST_LINE_MAX + 1], prefix[IP_PREFIX_TEXT_MAX];
	int64_t left_ms = mono_since(now, b->until);

	CHECK(left_ms > 0 && left_ms % 1000 == 0 && b->kind == BLOCK_DENY && b->prefix.bits <= 128);
	struct ip masked = ip_mask(&b->prefix.ip, b->prefix.bits);
	CHECK(ip_equal(&masked, &b->prefix.ip));
	size_t n = tcprules_list_line(b, wall_s + left_ms / 1000, line);
	CHECK(n < sizeof(line) && line[n - 1] == '\n');
	line[n - 1] = '\0';
	CHECK(strlen(line) == n - 1);
	ip_prefix_format(&b->prefix, prefix);
	CHECK(strncmp(line, prefix, strlen(prefix)) == 0 && line[strlen(prefix)] == ' ');
	/* The prefix may have been written otherwise ("192.0.2.1" alone), the end with zeros in front, and what ends in more than a
	 * hundred years ends then; the id not. */
	const char *id = strrchr(line, ' ') + 1;
	CHECK(strcmp(id, "-") == 0 || strcmp(id, b->id) == 0);
	CHECK(strstr(text, id) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const mono_t now = { 1000000 };
	struct blockset *set, *again;
	const struct block *b;
	int64_t wall_s;
	size_t cursor = 0, n = 0;

	if (size < sizeof(wall_s))
		return 0;
	memcpy(&wall_s, data, sizeof(wall_s));
	wall_s &= INT64_C(0xffffffffff); /* 34,000 years */
	data += sizeof(wall_s);
	size -= sizeof(wall_s);
	char *text = fuzz_string(data, size);
	CHECK(blockset_new(BLOCKS_MAX, &set) == 0 && blockset_new(BLOCKS_MAX, &again) == 0);
	size_t odd = tcprules_list_read(text, size, wall_s, now, set);
	CHECK(odd <= size);

	char *out = malloc(blockset_count(set) * TCPRULES_LIST_LINE_MAX + 1);
	CHECK(out != NULL);
	for (char *p = text; p < text + size; p++)
		if (*p == '\0')
			*p = '?'; /* for strstr() */
	while ((b = blockset_next(set, &cursor)) != NULL) {
		check_block(b, wall_s, now, text);
		n += tcprules_list_line(b, wall_s + mono_since(now, b->until) / 1000, out + n);
	}
	/* What would end after the year 9999 is not read again. */
	if (wall_s < INT64_C(250000000000)) {
		CHECK(tcprules_list_read(out, n, wall_s, now, again) == 0);
		CHECK(blockset_count(again) == blockset_count(set));
		for (cursor = 0; (b = blockset_next(set, &cursor)) != NULL;) {
			const struct block *same = blockset_find(again, &b->prefix);

			CHECK(same != NULL && same->until.ms == b->until.ms && strcmp(same->id, b->id) == 0);
		}
	}
	free(out);
	free(text);
	blockset_free(set);
	blockset_free(again);
	return 0;
}
