/* SPDX-License-Identifier: ISC */
/* smtp - stages, client classes and checks: the words that plugins and engine share */
#ifndef LIB_SMTP_H
#define LIB_SMTP_H

/* Where in the conversation qmail-spp runs a plugin. */
enum stage {
	STAGE_CONNECTION,
	STAGE_HELO,
	STAGE_AUTH,
	STAGE_MAIL,
	STAGE_RCPT,
	STAGE_DATA,
};
#define STAGE_COUNT 6

enum client_class {
	CLASS_OWN, /* SMTPAUTHUSER or RELAYCLIENT set: never refused for load */
	CLASS_KNOWN,
	CLASS_RETURNING,
	CLASS_STRANGER,
	CLASS_PENALISED,
};
#define CLASS_COUNT 5

/* What a plugin can look at.  A bit number in the state file. */
enum check {
	CHECK_OVERLOAD,
	CHECK_CONCURRENCY, /* connections that an address holds */
	CHECK_IPTHROTTLE, /* connections, mails, or recipients of an address */
	CHECK_USERTHROTTLE, /* mails or recipients of an authenticated user */
	CHECK_RCPTTHROTTLE, /* recipients of an address, or of an authenticated user */
	CHECK_TARPIT, /* delays after many recipients */
	CHECK_BOUNCESHIELD, /* bounces to an address under a storm of them */
	CHECK_WRONGRCPT, /* recipients of an address that don't exist */
	CHECK_VALIDRCPT, /* recipients that the list of those that exist does not have */
	CHECK_LOCALPARTS, /* recipients with an unlikely local part */
};
#define CHECK_COUNT 10

/* "connection", "helo", ...; "?" for a number that is none. */
const char *stage_name(enum stage stage);
const char *class_name(enum client_class class);
const char *check_name(enum check check);

/* The number of that name, or -ENOENT. */
int stage_find(const char *name);
int check_find(const char *name);

/* Run by its own name, a check stands at this stage; -1: at any, and the environment
 * tells as far as it can. */
int check_stage(enum check check);

#endif
