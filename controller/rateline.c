/* SPDX-License-Identifier: ISC */
/*
 * As rater did it, but: a line that is too long is an error (2), not "too often" (1); a value that no key matches
 * gets an answer, "0 0/0", where rater sent an empty line; a \r before the line's end is none of the value's.
 */
#include "controller/rateline.h"

#include <string.h>

#include "lib/text.h"

#define DIGITS_MAX 20

/* --- reading --------------------------------------------------------------------------------- */

static void
split(const char *s, size_t len, struct rateline *ret)
{
	ret->keep = len > 0 && *s == '+';
	s += ret->keep;
	len -= ret->keep;
	ret->peek = len > 0 && *s == '?';
	s += ret->peek;
	len -= ret->peek;
	const char *space = memchr(s, ' ', len);
	if (space == NULL) {
		ret->kind = RATELINE_NO_SPACE;
		return;
	}
	ret->kind = RATELINE_QUESTION;
	ret->class = s;
	ret->class_len = (size_t)(space - s);
	ret->value = space + 1;
	ret->value_len = len - ret->class_len - 1;
}

size_t
rateline_read(const char *buf, size_t len, struct rateline *ret)
{
	const char *end = len > 0 ? memchr(buf, '\n', len) : NULL;
	size_t n = end != NULL ? (size_t)(end - buf) : len;

	if (end == NULL && len <= RATELINE_PART_MAX)
		return 0;
	size_t bare = end != NULL && n > 0 && buf[n - 1] == '\r' ? n - 1 : n;
	if (bare <= RATELINE_MAX)
		split(buf, bare, ret);
	else /* its end may have come with it or not: what follows is not looked at in either case */
		*ret = (struct rateline) { .kind = RATELINE_TOO_LONG };
	return end != NULL ? n + 1 : len;
}

/* --- writing --------------------------------------------------------------------------------- */

/* snprintf() would take longer than the whole of the question. */
static char *
put_number(char *at, int64_t v)
{
	char digits[DIGITS_MAX];
	size_t n = 0;
	uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	if (v < 0)
		*at++ = '-';
	if (rest < 10) { /* most are */
		*at++ = (char)('0' + rest);
		return at;
	}
	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

static size_t
put_error(char ret[RATELINE_ANSWER_MAX], const char *sentence, const char *what, size_t len)
{
	struct text t = text_in(ret, RATELINE_ANSWER_MAX);

	text_puts(&t, sentence);
	text_put_printable(&t, what, len, RATELINE_CLASS_SHOWN);
	text_puts(&t, "\r\n");
	return t.len;
}

size_t
rateline_answer(const struct rateline *l, const struct rate_answer *a, char ret[RATELINE_ANSWER_MAX])
{
	char *at = ret;

	if (l->kind == RATELINE_NO_SPACE)
		return put_error(ret, "2 Bad Input (no space)", "", 0);
	if (l->kind == RATELINE_TOO_LONG)
		return put_error(ret, "2 Line is too long", "", 0);
	if (a->verdict == RATE_NO_CLASS)
		return put_error(ret, "2 Class not found: ", l->class, l->class_len);
	*at++ = a->verdict == RATE_OVER ? '1' : '0';
	*at++ = ' ';
	at = put_number(at, a->verdict == RATE_NO_KEY ? 0 : a->n);
	*at++ = '/';
	at = put_number(at, a->verdict == RATE_NO_KEY ? 0 : a->max);
	*at++ = '\r';
	*at++ = '\n';
	return (size_t)(at - ret);
}
