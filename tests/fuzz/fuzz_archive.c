/* SPDX-License-Identifier: ISC */
/*
 * A line of the archive: any bytes are read or refused, and what is read is written and read again as it was.
 *
 * Input: a line.
 */
#include "controller/archive.h"
#include "tests/fuzz/fuzz.h"

static bool
is_same(const struct store_refusal *a, const struct store_refusal *b)
{
	return strcmp(a->episode, b->episode) == 0 && strcmp(a->ip, b->ip) == 0 && a->check == b->check
		&& a->stage == b->stage && a->code == b->code && a->pid == b->pid && a->at.ms == b->at.ms;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = fuzz_string(data, size), again[ARCHIVE_LINE_MAX];
	struct store_refusal r, second;

	if (archive_parse(line, size, &r) == 0) {
		size_t n = archive_format(&r, again);

		CHECK(n < sizeof(again) && again[n - 1] == '\n' && memchr(again, '\n', n - 1) == NULL);
		/* Years beyond the fourth digit are no time that we write. */
		if (archive_parse(again, n, &second) == 0)
			CHECK(strchr(r.episode, '\\') != NULL || strchr(r.ip, '\\') != NULL || is_same(&r, &second));
	}
	free(line);
	return 0;
}
