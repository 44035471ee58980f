/* SPDX-License-Identifier: ISC */
/* base64 - for AUTH: what the client of flood says and the server of smtpd reads (RFC 4648, 4) */
#ifndef TESTS_STANDIN_BASE64_H
#define TESTS_STANDIN_BASE64_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "tests/standin/buf.h"

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static inline void
base64_encode(const char *s, size_t n, struct buf *ret)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (i + k < n ? (unsigned char)s[i + k] : 0u);
		for (size_t k = 0; k < 4; k++)
			buf_putc(ret, i + k > n ? '=' : base64_digits[v >> (18 - 6 * k) & 63]);
	}
}

/* Returns 0, or -EINVAL; what was read before the fault is then in `ret`. */
static inline int
base64_decode(const char *s, struct buf *ret)
{
	size_t n = strlen(s);
	uint32_t v = 0;
	unsigned bits = 0;

	while (n > 0 && s[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		const char *d = memchr(base64_digits, s[i], sizeof(base64_digits) - 1);

		if (d == NULL)
			return -EINVAL;
		v = (v << 6 | (uint32_t)(d - base64_digits)) & 0xffff;
		bits += 6;
		if (bits >= 8)
			buf_putc(ret, (char)(v >> (bits -= 8) & 0xff));
	}
	return 0;
}

#endif
