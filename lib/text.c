/* SPDX-License-Identifier: ISC */
#include "lib/text.h"

#include <errno.h>
#include <string.h>

struct text
text_in(char *buf, size_t cap)
{
	buf[0] = '\0';
	return (struct text) { .at = buf, .cap = cap };
}

void
text_put(struct text *t, const char *s, size_t n)
{
	if (t->cut || n > t->cap - 1 - t->len) {
		t->cut = true;
		return;
	}
	memcpy(t->at + t->len, s, n);
	t->len += n;
	t->at[t->len] = '\0';
}

void
text_putc(struct text *t, char c)
{
	text_put(t, &c, 1);
}

void
text_puts(struct text *t, const char *s)
{
	text_put(t, s, strlen(s));
}

void
text_put_u64(struct text *t, uint64_t v)
{
	char digits[20]; /* UINT64_MAX has 20 */
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	text_put(t, digits + i, sizeof(digits) - i);
}

static bool
is_plain(unsigned char c)
{
	return c >= 0x20 && c <= 0x7e;
}

void
text_put_printable(struct text *t, const char *s, size_t n, size_t max)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n && i < max && !t->cut; i++) {
		unsigned char c = (unsigned char)s[i];

		if (is_plain(c) && c != '\\')
			text_putc(t, (char)c);
		else
			text_put(t, (char[]) { '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
	}
}

bool
text_is_plain(const char *s)
{
	const char *p = s;

	while (is_plain((unsigned char)*p))
		p++;
	return p != s && *p == '\0';
}

int
text_copy(char *dst, size_t cap, const char *s)
{
	size_t n = strlen(s);

	if (n >= cap)
		return -ENAMETOOLONG;
	memcpy(dst, s, n + 1);
	return 0;
}
