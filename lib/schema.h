/* SPDX-License-Identifier: ISC */
/*
 * schema - what a configuration key is: its type, unit, range, default and meaning
 *
 * One row a key; a table ends with a row whose name is NULL.  Everything about configuration derives from these
 * tables: defaults, checks, error messages, `spillway check --effective`.  A probe or an action owns the
 * table of its section and the struct that it fills; controller/config.c does the filling.
 */
#ifndef LIB_SCHEMA_H
#define LIB_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFG_STRING_MAX 200 /* with the final NUL */
#define CFG_LIST_MAX 16

enum cfg_type {
	CFG_DURATION, /* int64_t, milliseconds; written as "10s", or a number of seconds */
	CFG_SIZE, /* uint64_t, bytes; written as "200M", or a number of bytes */
	CFG_COUNT, /* int64_t */
	CFG_BOOL, /* bool */
	CFG_CHOICE, /* int, the index into `choices`; written as a word */
	CFG_NAME, /* char[CFG_STRING_MAX]: printable, may be empty */
	CFG_PATH, /* char[CFG_STRING_MAX]: absolute */
	CFG_ADDRESS, /* char[CFG_STRING_MAX]: an IP address */
	CFG_NAMES, /* struct cfg_list of CFG_NAME; written as "a", [ "a", "b" ] or ( "a", "b" ) */
	CFG_PATHS, /* struct cfg_list of CFG_PATH */
	CFG_DURATIONS, /* struct cfg_durations, at least one; written as [ "2m", "10m" ], or "2m" */
};

struct cfg_list {
	unsigned n;
	char s[CFG_LIST_MAX][CFG_STRING_MAX];
};

struct cfg_durations {
	size_t n;
	int64_t ms[CFG_LIST_MAX];
};

enum cfg_flags {
	CFG_RESTART = 1u << 0, /* a changed value takes effect at the next start, not at a reload */
	CFG_MAY_BE_EMPTY = 1u << 1, /* a list may have no element, a path may be "" */
};

struct cfg_row {
	const char *name; /* last part of the key */
	enum cfg_type type;
	size_t at; /* offset in the section's struct */
	int64_t min, max; /* of numbers, and of each in a list; in ms for durations */
	int64_t def; /* default of numbers, bools, choices */
	const char *def_text; /* default of names and paths; lists: elements separated by blanks */
	const char *const *choices; /* ended by NULL */
	unsigned flags; /* enum cfg_flags */
	const char *help; /* one line */
};

#endif
