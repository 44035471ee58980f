/* SPDX-License-Identifier: ISC */
#include "lib/smtp.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const char *const stages[STAGE_COUNT] = {
	[STAGE_CONNECTION] = "connection",
	[STAGE_HELO] = "helo",
	[STAGE_AUTH] = "auth",
	[STAGE_MAIL] = "mail",
	[STAGE_RCPT] = "rcpt",
	[STAGE_DATA] = "data",
};

static const char *const classes[CLASS_COUNT] = {
	[CLASS_OWN] = "own",
	[CLASS_KNOWN] = "known",
	[CLASS_RETURNING] = "returning",
	[CLASS_STRANGER] = "stranger",
	[CLASS_PENALISED] = "penalised",
};

static const char *const checks[CHECK_COUNT] = {
	[CHECK_OVERLOAD] = "overload",
	[CHECK_CONCURRENCY] = "concurrency",
	[CHECK_IPTHROTTLE] = "ipthrottle",
	[CHECK_USERTHROTTLE] = "userthrottle",
	[CHECK_RCPTTHROTTLE] = "rcptthrottle",
	[CHECK_TARPIT] = "tarpit",
	[CHECK_BOUNCESHIELD] = "bounceshield",
	[CHECK_WRONGRCPT] = "wrongrcpt",
	[CHECK_VALIDRCPT] = "validrcpt",
	[CHECK_LOCALPARTS] = "localparts",
};

static const char *
name_of(const char *const *names, size_t n, unsigned i)
{
	return i < n ? names[i] : "?";
}

static int
find(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -ENOENT;
}

const char *
stage_name(enum stage stage)
{
	return name_of(stages, STAGE_COUNT, stage);
}

const char *
class_name(enum client_class class)
{
	return name_of(classes, CLASS_COUNT, class);
}

const char *
check_name(enum check check)
{
	return name_of(checks, CHECK_COUNT, check);
}

int
stage_find(const char *name)
{
	return find(stages, STAGE_COUNT, name);
}

int
check_find(const char *name)
{
	return find(checks, CHECK_COUNT, name);
}

int
check_stage(enum check check)
{
	switch (check) {
	case CHECK_OVERLOAD:
		return STAGE_MAIL;
	case CHECK_RCPTTHROTTLE:
	case CHECK_TARPIT:
	case CHECK_BOUNCESHIELD:
	case CHECK_WRONGRCPT:
	case CHECK_VALIDRCPT:
	case CHECK_LOCALPARTS:
		return STAGE_RCPT;
	case CHECK_CONCURRENCY:
	case CHECK_IPTHROTTLE:
	case CHECK_USERTHROTTLE:
		break;
	}
	return -1;
}
