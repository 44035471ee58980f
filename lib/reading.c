/* SPDX-License-Identifier: ISC */
#include "lib/reading.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/array.h"
#include "lib/num.h"

const struct reading_info reading_info[READING_COUNT] = {
	[READING_TODO] = { "todo", UNIT_COUNT, TOO_MUCH_IS_BAD, "messages not yet preprocessed" },
	[READING_TODO_AGE] = { "todo_age", UNIT_SECONDS, TOO_MUCH_IS_BAD,
		"age of the oldest message not yet preprocessed, since we first saw it" },
	[READING_MESSAGES] = { "messages", UNIT_COUNT, TOO_MUCH_IS_BAD, "messages in the queue" },
	[READING_GROWTH] = { "growth", UNIT_RATE, TOO_MUCH_IS_BAD,
		"growth of the backlog: arrivals less departures, over 3 s" },
	[READING_ARRIVALS] = { "arrivals", UNIT_RATE, EITHER_IS_BAD,
		"messages that came into the queue, over 3 s" },
	[READING_DEPARTURES] = { "departures", UNIT_RATE, EITHER_IS_BAD,
		"messages that left the queue, over 3 s" },
	[READING_REFUSED] = { "refused", UNIT_RATE, NO_VOTE, "commands refused for load, over 3 s" },
	[READING_LOAD] = { "load", UNIT_PLAIN, TOO_MUCH_IS_BAD, "load average of the last minute" },
	[READING_CPU_PRESSURE] = { "cpu_pressure", UNIT_PERCENT, TOO_MUCH_IS_BAD,
		"share of the last 10 s in which some task waited for a cpu" },
	[READING_IO_PRESSURE] = { "io_pressure", UNIT_PERCENT, TOO_MUCH_IS_BAD,
		"share of the last 10 s in which some task waited for a disk" },
	[READING_MEMORY_PRESSURE] = { "memory_pressure", UNIT_PERCENT, TOO_MUCH_IS_BAD,
		"share of the last 10 s in which some task waited for memory" },
	[READING_DISK_FREE] = { "disk_free", UNIT_BYTES, TOO_LITTLE_IS_BAD,
		"bytes free on the queue's file system, for users without privilege" },
	[READING_INODES_FREE] = { "inodes_free", UNIT_COUNT, TOO_LITTLE_IS_BAD,
		"inodes free on the queue's file system" },
	[READING_QSTAT_MESSAGES] = { "qstat_messages", UNIT_COUNT, TOO_MUCH_IS_BAD,
		"messages in the queue, as qmail-qstat counts" },
	[READING_QSTAT_TODO] = { "qstat_todo", UNIT_COUNT, TOO_MUCH_IS_BAD,
		"messages not yet preprocessed, as qmail-qstat counts" },
	[READING_DELIVERIES] = { "deliveries", UNIT_MINUTE, EITHER_IS_BAD, "deliveries that succeeded, by the log" },
	[READING_DEFERRALS] = { "deferrals", UNIT_MINUTE, TOO_MUCH_IS_BAD, "deliveries put off, by the log" },
	[READING_FAILURES] = { "failures", UNIT_MINUTE, TOO_MUCH_IS_BAD,
		"deliveries that failed for good, by the log" },
	[READING_BOUNCES] = { "bounces", UNIT_MINUTE, TOO_MUCH_IS_BAD, "bounces that qmail-send wrote, by the log" },
	[READING_LOCAL_BUSY] = { "local_busy", UNIT_COUNT, TOO_MUCH_IS_BAD, "local deliveries in progress" },
	[READING_REMOTE_BUSY] = { "remote_busy", UNIT_COUNT, TOO_MUCH_IS_BAD, "remote deliveries in progress" },
	[READING_LOCAL_SHARE] = { "local_share", UNIT_PERCENT, TOO_MUCH_IS_BAD,
		"share of concurrencylocal that is in use" },
	[READING_REMOTE_SHARE] = { "remote_share", UNIT_PERCENT, TOO_MUCH_IS_BAD,
		"share of concurrencyremote that is in use" },
	[READING_REJECTIONS] = { "rejections", UNIT_MINUTE, TOO_MUCH_IS_BAD,
		"clients that tcpsvd, tcpserver, rblsmtpd or qmail-smtpd turned away, by the log" },
};

static const char *const level_names[LEVEL_COUNT] = {
	[LEVEL_NORMAL] = "normal",
	[LEVEL_BUSY] = "busy",
	[LEVEL_OVERLOADED] = "overloaded",
	[LEVEL_CRITICAL] = "critical",
};

int
reading_find(const char *name)
{
	for (int i = 0; i < READING_COUNT; i++)
		if (strcmp(reading_info[i].name, name) == 0)
			return i;
	return -ENOENT;
}

/* Whole numbers without a point, small ones with one digit behind it. */
static int
print_number(char *ret, size_t cap, double v, const char *unit)
{
	return snprintf(ret, cap, "%.*f%s", v == floor(v) || fabs(v) >= 1000 ? 0 : 1, v, unit);
}

static void
format_bytes(double v, char ret[READING_TEXT_MAX])
{
	static const char *const names[] = { "", "K", "M", "G", "T" };
	size_t i = 0;

	while (fabs(v) >= 10240 && i + 1 < countof(names)) {
		v /= 1024;
		i++;
	}
	(void)snprintf(ret, READING_TEXT_MAX, "%.0f%s", v, names[i]);
}

void
reading_format(enum reading_unit unit, double value, char ret[READING_TEXT_MAX])
{
	static const char *const suffix[] = {
		[UNIT_COUNT] = "", [UNIT_SECONDS] = "s", [UNIT_RATE] = "/s", [UNIT_MINUTE] = "/min",
		[UNIT_PERCENT] = "%", [UNIT_PLAIN] = "",
	};

	if (unit == UNIT_BYTES)
		format_bytes(value, ret);
	else
		(void)print_number(ret, READING_TEXT_MAX, value, suffix[unit]);
}

const char *
level_name(enum level level)
{
	return (unsigned)level < LEVEL_COUNT ? level_names[level] : "unknown";
}

int
level_find(const char *name)
{
	for (int i = 0; i < LEVEL_COUNT; i++)
		if (strcmp(level_names[i], name) == 0)
			return i;
	return -ENOENT;
}

/* "todo 523, limit 100" */
static int
format_numbers(const struct reason *r, char *ret, size_t cap, const char *word)
{
	char value[READING_TEXT_MAX], limit[READING_TEXT_MAX];
	const struct reading_info *info = &reading_info[r->id];

	reading_format(info->unit, r->value, value);
	reading_format(info->unit, r->limit, limit);
	return snprintf(ret, cap, "%s %s, %s %s", info->name, value, word, limit);
}

void
reason_format(const struct reason *r, char ret[REASON_TEXT_MAX])
{
	char span[NUM_TEXT_MAX];
	int n;

	num_age_format(r->for_ms, span);
	switch (r->kind) {
	case REASON_ENTER:
		n = format_numbers(r, ret, REASON_TEXT_MAX, "limit");
		if (n > 0 && n < REASON_TEXT_MAX)
			(void)snprintf(ret + n, (size_t)(REASON_TEXT_MAX - n), ", for %s", span);
		return;
	case REASON_HOLD:
		(void)format_numbers(r, ret, REASON_TEXT_MAX, "not yet back at");
		return;
	case REASON_LEAVE:
		(void)snprintf(ret, REASON_TEXT_MAX, "all readings back for %s", span);
		return;
	case REASON_OFFERED:
		(void)snprintf(ret, REASON_TEXT_MAX,
			"%.1f messages/s are still offered, %.1f/s would fit", r->value, r->limit);
		return;
	case REASON_FITS:
		(void)snprintf(ret, REASON_TEXT_MAX,
			"%.1f messages/s are offered, %.1f/s fit", r->value, r->limit);
		return;
	case REASON_BLIND:
		(void)snprintf(ret, REASON_TEXT_MAX, "no reading known for %s", span);
		return;
	case REASON_FORCED:
		(void)snprintf(ret, REASON_TEXT_MAX, "forced by a person");
		return;
	case REASON_RESUMED:
		(void)snprintf(ret, REASON_TEXT_MAX, "resumed after a restart");
		return;
	case REASON_NONE:
		break;
	}
	(void)snprintf(ret, REASON_TEXT_MAX, "nothing unusual");
}
