/* SPDX-License-Identifier: ISC */
/*
 * buf - bytes that grow, up to a limit
 *
 * The stand-in's programs serve one client or one test each, so running out of memory simply ends them.
 * `struct buf b = { 0 };` is an empty one.
 */
#ifndef TESTS_STANDIN_BUF_H
#define TESTS_STANDIN_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/text.h"

#define BUF_MAX ((size_t)64 << 20) /* a plugin may print a line of 5 MB; nobody prints one of 64 */

struct buf {
	char *at; /* owned; NULL while nothing was put */
	size_t len;
	size_t cap;
};

static inline _Noreturn void
buf_die(void)
{
	static const char why[] = "standin: out of memory\n";

	/* On the way out: nobody is left to tell if this fails too. */
	if (write(STDERR_FILENO, why, sizeof(why) - 1) < 0)
		_exit(111);
	_exit(111);
}

static inline void
buf_room(struct buf *b, size_t more)
{
	size_t cap = b->cap < 256 ? 256 : b->cap;

	if (more > BUF_MAX - b->len)
		buf_die();
	while (cap - b->len < more)
		cap *= 2;
	if (cap == b->cap)
		return;
	char *p = realloc(b->at, cap);
	if (p == NULL)
		buf_die();
	b->at = p;
	b->cap = cap;
}

static inline void
buf_put(struct buf *b, const void *p, size_t n)
{
	buf_room(b, n);
	if (n > 0)
		memcpy(b->at + b->len, p, n);
	b->len += n;
}

static inline void
buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

static inline void
buf_putc(struct buf *b, char c)
{
	buf_put(b, &c, 1);
}

static inline void
buf_put_u64(struct buf *b, uint64_t v)
{
	char digits[24];
	struct text t = text_in(digits, sizeof(digits));

	text_put_u64(&t, v);
	buf_puts(b, digits);
}

static inline void
buf_clear(struct buf *b)
{
	b->len = 0;
}

static inline void
buf_copy(struct buf *b, const char *s)
{
	buf_clear(b);
	buf_puts(b, s);
}

/* The bytes as a string: a NUL is kept behind them, not counted.  Borrowed until the next call. */
static inline char *
buf_str(struct buf *b)
{
	buf_room(b, 1);
	b->at[b->len] = '\0';
	return b->at;
}

static inline void
buf_done(struct buf *b)
{
	free(b->at);
	*b = (struct buf) { 0 };
}

#endif
