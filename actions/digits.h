/* SPDX-License-Identifier: ISC */
/*
 * digits - numbers into text, by hand
 *
 * A hundred thousand lines are written while somebody waits to be rid of an attacker.  Each returns the place behind
 * what it wrote, at most 3 or 20 characters.
 */
#ifndef ACTIONS_DIGITS_H
#define ACTIONS_DIGITS_H

#include <stdint.h>

static inline char *
digits_put_octet(char *at, unsigned v)
{
	if (v >= 100) {
		*at++ = (char)('0' + v / 100);
		v %= 100;
		*at++ = (char)('0' + v / 10);
	} else if (v >= 10) {
		*at++ = (char)('0' + v / 10);
	}
	*at++ = (char)('0' + v % 10);
	return at;
}

static inline char *
digits_put_u64(char *at, uint64_t v)
{
	unsigned n = 1;

	for (uint64_t rest = v; rest >= 10; rest /= 10)
		n++;
	for (unsigned i = n; i > 0; v /= 10)
		at[--i] = (char)('0' + v % 10);
	return at + n;
}

#endif
