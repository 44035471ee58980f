/* SPDX-License-Identifier: ISC */
#include "probes/tai64n.h"

#include <stdint.h>

/* A label counts from 2^62; its writers take TAI for 10 s ahead of UTC, whatever the leap seconds (libtai's
 * tai_now(), and tai64nlocal takes off the same 10). */
#define TAI_EPOCH ((UINT64_C(1) << 62) + 10)
#define SECONDS_MAX UINT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_hex(const char *s, unsigned digits, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < digits; i++) {
		int d = hex_value(s[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*ret = v;
	return true;
}

bool
tai64n_read(const char *s, size_t n, wall_t *ret)
{
	uint64_t seconds, nano;

	if (n < TAI64N_LABEL || s[0] != '@' || !read_hex(s + 1, 16, &seconds) || !read_hex(s + 17, 8, &nano))
		return false;
	if (seconds < TAI_EPOCH || seconds - TAI_EPOCH > SECONDS_MAX || nano > 999999999)
		return false;
	ret->ms = (int64_t)((seconds - TAI_EPOCH) * 1000 + nano / 1000000);
	return true;
}

static bool
read_digits(const char *s, unsigned digits, unsigned *ret)
{
	unsigned v = 0;

	for (unsigned i = 0; i < digits; i++) {
		if (!is_digit(s[i]))
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	*ret = v;
	return true;
}

/* Days from 1970-01-01, in the Gregorian calendar, by whole eras of 400 years from March on. */
static int64_t
days_of(unsigned year, unsigned month, unsigned day)
{
	unsigned y = year - (month <= 2), era = y / 400, of_era = y % 400;
	unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return (int64_t)era * 146097 + (int64_t)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

/* The digits behind the point: at least one, at most nine.  Returns their number, 0 if there are none. */
static size_t
read_fraction(const char *s, size_t n, int64_t *ret_ms)
{
	unsigned ms = 0, weight = 100;
	size_t i = 0;

	for (; i < n && i < 9 && is_digit(s[i]); i++, weight /= 10)
		ms += weight * (unsigned)(s[i] - '0');
	*ret_ms = ms;
	return i;
}

/* "2026-11-21_00:19:33.73156 ", with "_", "T" or a blank in the middle. */
static bool
read_date(const char *s, size_t n, struct stamp *ret)
{
	unsigned year, month, day, hour, minute, second;
	int64_t ms;

	if (n < 22 || s[4] != '-' || s[7] != '-' || (s[10] != '_' && s[10] != 'T' && s[10] != ' ')
		|| s[13] != ':' || s[16] != ':' || s[19] != '.')
		return false;
	if (!read_digits(s, 4, &year) || !read_digits(s + 5, 2, &month) || !read_digits(s + 8, 2, &day)
		|| !read_digits(s + 11, 2, &hour) || !read_digits(s + 14, 2, &minute)
		|| !read_digits(s + 17, 2, &second))
		return false;
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
		return false;
	size_t digits = read_fraction(s + 20, n - 20, &ms), len = 20 + digits;
	if (digits == 0 || len >= n || s[len] != ' ')
		return false;
	ms += ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60000 + (int64_t)second * 1000;
	*ret = (struct stamp) { .at = { ms }, .local = s[10] == ' ', .len = len + 1 };
	return true;
}

/* "1795564773.731569 host program[123]: " */
static bool
read_journal(const char *s, size_t n, struct stamp *ret)
{
	int64_t seconds = 0, ms;
	size_t i = 0;

	for (; i < n && i < 11 && is_digit(s[i]); i++)
		seconds = seconds * 10 + (s[i] - '0');
	if (i < 9 || i + 1 >= n || s[i] != '.')
		return false;
	size_t digits = read_fraction(s + i + 1, n - i - 1, &ms);
	i += 1 + digits;
	if (digits != 6 || i >= n || s[i] != ' ')
		return false;
	for (i++; i < n && s[i] != ' '; i++) /* the host */
		;
	for (i++; i < n && s[i] != ' '; i++) /* the program */
		;
	if (i >= n || s[i - 1] != ':')
		return false;
	*ret = (struct stamp) { .at = { seconds * 1000 + ms }, .len = i + 1 };
	return true;
}

bool
stamp_read(const char *s, size_t n, struct stamp *ret)
{
	wall_t at;

	if (n == 0)
		return false;
	if (s[0] == '@') {
		if (n <= TAI64N_LABEL || s[TAI64N_LABEL] != ' ' || !tai64n_read(s, n, &at))
			return false;
		*ret = (struct stamp) { .at = at, .len = TAI64N_LABEL + 1 };
		return true;
	}
	return is_digit(s[0]) && (read_date(s, n, ret) || read_journal(s, n, ret));
}
