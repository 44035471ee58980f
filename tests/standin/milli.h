/* SPDX-License-Identifier: ISC */
/* milli - numbers with up to three decimals, in thousandths: rates per second, seconds */
#ifndef TESTS_STANDIN_MILLI_H
#define TESTS_STANDIN_MILLI_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lib/num.h"
#include "lib/text.h"

#define MILLI_MAX UINT64_C(1000000000000) /* a milliard per second, or seconds */

/* Read "40", "2.5", "0.125".  Returns 0, -EINVAL or -ERANGE. */
static inline int
milli_parse(const char *s, uint64_t *ret)
{
	const char *dot = strchr(s, '.');
	size_t whole = dot == NULL ? strlen(s) : (size_t)(dot - s);
	size_t decimals = dot == NULL ? 0 : strlen(dot + 1);
	char digits[32];
	struct text t = text_in(digits, sizeof(digits));
	uint64_t v;

	if (whole == 0 || decimals > 3 || (dot != NULL && decimals == 0))
		return -EINVAL;
	text_put(&t, s, whole);
	if (dot != NULL)
		text_put(&t, dot + 1, decimals);
	for (; decimals < 3; decimals++)
		text_putc(&t, '0');
	if (t.cut)
		return -ERANGE;
	int r = num_u64(digits, &v);
	if (r == 0 && v > MILLI_MAX)
		r = -ERANGE;
	if (r == 0)
		*ret = v;
	return r;
}

#endif
