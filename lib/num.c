/* SPDX-License-Identifier: ISC */
#include "lib/num.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "lib/array.h"
#include "lib/text.h"

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first; "ms" stands before "m" and "s" would match it, so names are compared whole. */
static const struct unit durations[] = {
	{ "w", 604800000 },
	{ "d", 86400000 },
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
};

static const struct unit sizes[] = {
	{ "T", INT64_C(1) << 40 },
	{ "G", INT64_C(1) << 30 },
	{ "M", INT64_C(1) << 20 },
	{ "K", INT64_C(1) << 10 },
	{ "", 1 },
};

#define DURATION_MAX (INT64_C(36525) * 86400000) /* 100 years */

/* Read digits at *s into *v and move *s behind them. */
static int
take_digits(const char **s, uint64_t *v)
{
	const char *p = *s;
	uint64_t sum = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(sum, 10u, &sum)
			|| __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
			return -ERANGE;
	*s = p;
	*v = sum;
	return 0;
}

int
num_u64(const char *s, uint64_t *ret)
{
	uint64_t v;
	int r = take_digits(&s, &v);

	if (r < 0)
		return r;
	if (*s != '\0')
		return -EINVAL;
	*ret = v;
	return 0;
}

/* The index of the unit named by the first `n` bytes of `s`, or -EINVAL. */
static int
find_unit(const struct unit *table, size_t len, const char *s, size_t n)
{
	for (size_t i = 0; i < len; i++)
		if (strlen(table[i].name) == n && memcmp(table[i].name, s, n) == 0)
			return (int)i;
	return -EINVAL;
}

int
num_duration(const char *s, int64_t *ret_ms)
{
	int64_t total = 0;
	int last = -1;

	if (strcmp(s, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	do {
		uint64_t v;
		int64_t part;
		int r = take_digits(&s, &v);

		if (r < 0)
			return r;
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");
		int unit = find_unit(durations, countof(durations), s, n);
		if (unit < 0 || unit <= last)
			return -EINVAL;
		if (__builtin_mul_overflow(v, durations[unit].factor, &part)
			|| __builtin_add_overflow(total, part, &total) || total > DURATION_MAX)
			return -ERANGE;
		last = unit;
		s += n;
	} while (*s != '\0');
	*ret_ms = total;
	return 0;
}

int
num_size(const char *s, uint64_t *ret_bytes)
{
	uint64_t v;
	int r = take_digits(&s, &v);

	if (r < 0)
		return r;
	size_t n = strlen(s);
	if (n >= 2 && strcmp(s + n - 2, "iB") == 0 && n > 2)
		n -= 2;
	else if (n >= 1 && s[n - 1] == 'B')
		n -= 1;
	int unit = find_unit(sizes, countof(sizes), s, n);
	if (unit < 0)
		return -EINVAL;
	if (__builtin_mul_overflow(v, (uint64_t)sizes[unit].factor, &v))
		return -ERANGE;
	*ret_bytes = v;
	return 0;
}

static void
put_part(struct text *t, uint64_t v, const char *unit)
{
	text_put_u64(t, v);
	text_puts(t, unit);
}

void
num_duration_format(int64_t ms, char ret[NUM_TEXT_MAX])
{
	struct text t = text_in(ret, NUM_TEXT_MAX);
	size_t i = 0;

	if (ms <= 0) {
		text_puts(&t, "0s");
		return;
	}
	while (ms % durations[i].factor != 0)
		i++;
	put_part(&t, (uint64_t)(ms / durations[i].factor), durations[i].name);
}

void
num_age_format(int64_t ms, char ret[NUM_TEXT_MAX])
{
	static const struct unit units[] = {
		{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 },
	};
	struct text t = text_in(ret, NUM_TEXT_MAX);
	size_t i = 0;

	if (ms < 1000) {
		text_puts(&t, "0s");
		return;
	}
	while (ms < units[i].factor)
		i++;
	put_part(&t, (uint64_t)(ms / units[i].factor), units[i].name);
	int64_t rest = ms % units[i].factor;
	if (i + 1 < countof(units) && rest >= units[i + 1].factor)
		put_part(&t, (uint64_t)(rest / units[i + 1].factor), units[i + 1].name);
}

void
num_size_format(uint64_t bytes, char ret[NUM_TEXT_MAX])
{
	struct text t = text_in(ret, NUM_TEXT_MAX);
	size_t i = 0;

	if (bytes == 0) {
		text_puts(&t, "0");
		return;
	}
	while (bytes % (uint64_t)sizes[i].factor != 0)
		i++;
	put_part(&t, bytes / (uint64_t)sizes[i].factor, sizes[i].name);
}
