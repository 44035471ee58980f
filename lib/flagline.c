/* SPDX-License-Identifier: ISC */
/* Apart from flag.c because it needs stdio, which the plugins do without. */
#include <stdio.h>

#include "lib/clock.h"
#include "lib/flag.h"

int
flag_line(enum level level, int64_t since, const char *episode, const struct reason *why,
	char ret[FLAG_LINE_MAX])
{
	char date[CLOCK_WALL_TEXT_MAX], reason[REASON_TEXT_MAX];

	wall_format((wall_t) { since * 1000 }, date);
	reason_format(why, reason);
	/* Fits: every part is bounded and their sum is below FLAG_LINE_MAX. */
	return snprintf(ret, FLAG_LINE_MAX, FLAG_MARK "%s since %lld %s %s: %s\n", level_name(level),
		(long long)since, date, episode, reason);
}
