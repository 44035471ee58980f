/* SPDX-License-Identifier: ISC */
#include "probes/parse.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COUNT_MAX 1000000000u /* more messages than any queue holds */

/* A non-negative decimal fraction, "0.15", of at most nine digits on either side.  strtod() would ask the
 * locale whether the point is a comma, and take "inf" and hexadecimals.  *s is moved behind it. */
static int
take_decimal(const char **s, double *ret)
{
	const char *p = *s;
	double v = 0, scale = 1;
	int digits = 0;

	for (; *p >= '0' && *p <= '9' && digits <= 9; p++, digits++)
		v = v * 10 + (*p - '0');
	if (digits == 0 || digits > 9)
		return -EBADMSG;
	if (*p == '.') {
		p++;
		for (digits = 0; *p >= '0' && *p <= '9' && digits <= 9; p++, digits++)
			v += (*p - '0') * (scale /= 10);
		if (digits == 0 || digits > 9)
			return -EBADMSG;
	}
	*s = p;
	*ret = v;
	return 0;
}

int
parse_loadavg(const char *s, double *ret)
{
	double v;

	if (take_decimal(&s, &v) < 0 || *s != ' ')
		return -EBADMSG;
	*ret = v;
	return 0;
}

int
parse_pressure(const char *s, double *ret)
{
	static const char head[] = "some avg10=";
	double v;

	if (strncmp(s, head, sizeof(head) - 1) != 0)
		return -EBADMSG;
	s += sizeof(head) - 1;
	if (take_decimal(&s, &v) < 0 || *s != ' ' || v > 100)
		return -EBADMSG;
	*ret = v;
	return 0;
}

/* The count at the end of a line of `n` bytes: 1 when there is one, 0 when the line is of another
 * kind, -EBADMSG when it is a number that can't be a count. */
static int
count_of(const char *line, size_t n, double *ret)
{
	uint64_t v = 0;

	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r'))
		n--;
	size_t at = n;
	while (at > 0 && line[at - 1] >= '0' && line[at - 1] <= '9')
		at--;
	if (at == n)
		return 0;
	for (size_t i = at; i < n; i++) {
		v = v * 10 + (uint64_t)(line[i] - '0');
		if (v > COUNT_MAX)
			return -EBADMSG;
	}
	if (at > 0 && line[at - 1] == '-')
		return -EBADMSG;
	while (at > 0 && (line[at - 1] == ' ' || line[at - 1] == '\t'))
		at--;
	if (at == 0 || line[at - 1] != ':')
		return 0;
	*ret = (double)v;
	return 1;
}

static bool
has_word(const char *line, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i++)
		if (strncasecmp(line + i, word, len) == 0)
			return true;
	return false;
}

int
parse_qstat(const char *s, struct qstat_counts *ret)
{
	double plain[2] = { 0 }, todo = 0;
	int plains = 0, todos = 0;

	while (*s != '\0') {
		size_t n = strcspn(s, "\n");
		double v;
		int r = count_of(s, n, &v);

		if (r < 0)
			return r;
		if (r == 1 && has_word(s, n, "preprocessed")) {
			todo = v;
			todos++;
		} else if (r == 1) {
			if (plains < 2)
				plain[plains] = v;
			plains++;
		}
		s += n + (s[n] == '\n');
	}
	if (todos == 1 && plains == 1)
		*ret = (struct qstat_counts) { plain[0], todo };
	else if (todos == 0 && plains == 2)
		*ret = (struct qstat_counts) { plain[0], plain[1] };
	else
		return -EBADMSG;
	return 0;
}
