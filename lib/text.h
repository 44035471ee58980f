/* SPDX-License-Identifier: ISC */
/*
 * text - building text in a buffer of fixed size, where a cut is never silent
 *
 * No allocation, no stdio: the plugins use it too.  The buffer always holds a terminated string.
 * Text that does not fit is left out whole from that point on and remembered in `cut`.
 *
 *	char buf[64];
 *	struct text t = text_in(buf, sizeof(buf));
 *	text_puts(&t, "overload: ");
 *	text_put_u64(&t, pid);
 *	if (t.cut) ...
 */
#ifndef LIB_TEXT_H
#define LIB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *at; /* borrowed */
	size_t cap; /* bytes at `at`, >= 1 */
	size_t len; /* without the final NUL, < cap */
	bool cut;
};

/* `cap` counts the final NUL and must be at least 1. */
struct text text_in(char *buf, size_t cap);

void text_putc(struct text *t, char c);
void text_put(struct text *t, const char *s, size_t n);
void text_puts(struct text *t, const char *s);
void text_put_u64(struct text *t, uint64_t v);

/* Text of a stranger, made safe for a log or a terminal: every byte outside 0x20..0x7e, and the
 * backslash, becomes \xHH.  At most `max` bytes of `s` are taken. */
void text_put_printable(struct text *t, const char *s, size_t n, size_t max);

/* Is `s` empty, or does it have a byte outside 0x20..0x7e? */
bool text_is_plain(const char *s);

/* Copy a whole string into `dst`.  Returns 0, or -ENAMETOOLONG with `dst` untouched. */
int text_copy(char *dst, size_t cap, const char *s);

#endif
