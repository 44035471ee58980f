/* SPDX-License-Identifier: ISC */
/*
 * rater's protocol: whatever is read, in whatever pieces, the same lines come out, and answers keep to their form
 * and size.
 *
 * Input: two bytes for a limit's numbers, one for the size of pieces, then what a client sends.
 */
#include "controller/rateline.h"
#include "tests/fuzz/fuzz.h"

static struct rate_answer answer;

static void
check_line(const struct rateline *l, const char *buf, size_t used)
{
	const char *end = buf + used;

	if (l->kind != RATELINE_QUESTION)
		return;
	CHECK(l->class >= buf && l->class + l->class_len < l->value && l->value + l->value_len < end);
	CHECK(l->class[l->class_len] == ' ' && memchr(l->class, ' ', l->class_len) == NULL);
	CHECK(memchr(l->class, '\n', l->class_len + 1 + l->value_len) == NULL);
	CHECK(used <= RATELINE_MAX + 2);
}

/* Returns its length. */
static size_t
check_answer(const struct rateline *l)
{
	char text[RATELINE_ANSWER_MAX];
	size_t n = rateline_answer(l, &answer, text);

	CHECK(n >= 5 && n <= sizeof(text));
	CHECK(text[0] >= '0' && text[0] <= '2' && text[1] == ' ' && text[n - 2] == '\r' && text[n - 1] == '\n');
	for (size_t i = 0; i < n - 2; i++)
		CHECK(text[i] >= ' ' && text[i] <= '~');
	CHECK((text[0] == '2') == (l->kind != RATELINE_QUESTION || answer.verdict == RATE_NO_CLASS));
	return n;
}

/* All lines of the text as a server would take them that reads `piece` bytes at a time.  Returns a sum of what was
 * there. */
static uint64_t
converse(const char *text, size_t size, size_t piece)
{
	char buf[RATELINE_PART_MAX + 4096];
	size_t len = 0, out = 0;
	uint64_t sum = 0;
	bool open = true;

	for (size_t at = 0; open && at < size;) {
		size_t take = size - at < piece ? size - at : piece, used = 0, n;
		struct rateline l;

		memcpy(buf + len, text + at, take);
		len += take;
		at += take;
		while (open && (n = rateline_read(buf + used, len - used, &l)) > 0) {
			CHECK(n <= len - used);
			check_line(&l, buf + used, n);
			out += check_answer(&l);
			open = l.keep;
			CHECK(l.kind != RATELINE_TOO_LONG || !l.keep);
			/* where it was seen that a line is too long is no matter */
			sum = sum * 31 + (l.kind != RATELINE_TOO_LONG ? n : 0) + (uint64_t)l.kind * 3 + l.peek * 5 + l.keep;
			used += n;
		}
		CHECK(!open || len - used <= RATELINE_PART_MAX);
		memmove(buf, buf + used, len - used);
		len -= used;
	}
	CHECK(out <= size * RATELINE_GROWTH + RATELINE_ANSWER_MAX);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	answer = (struct rate_answer) {
		.verdict = (enum rate_verdict)(data[0] & 3),
		/* not more than a table ever says: what comes out in bytes has a bound */
		.n = (int64_t)data[0] * 257 % (RATE_COUNT_MAX + 2), .max = (int64_t)data[1] * 3921 - 1,
	};
	size_t piece = 1 + data[2] * 16u;
	char *text = fuzz_string(data + 3, size - 3);
	uint64_t whole = converse(text, size - 3, 4096);

	CHECK(converse(text, size - 3, piece) == whole);
	free(text);
	return 0;
}
