/* SPDX-License-Identifier: ISC */
/*
 * smtpplugins - control/smtpplugins, read as qmail-spp reads it, and changed by one line
 *
 * Pure: text in, text out.  Blanks at the end of a line, empty lines and those that begin with # do
 * not count.  The letter behind a [ names the section, whatever follows; lines before the first
 * section, and in sections of other letters, are never run.  A line is a path from the qmail home
 * or, behind a colon, a shell command.
 */
#ifndef CONTROLLER_SMTPPLUGINS_H
#define CONTROLLER_SMTPPLUGINS_H

#include <stdbool.h>
#include <stddef.h>

#define SMTPPLUGINS_PATH "control/smtpplugins" /* from the qmail home */
#define SMTPPLUGINS_MAX 65536

struct smtpplugins_line {
	const char *s; /* not terminated; borrowed from the text */
	size_t len; /* without the blanks behind, > 0 */
	char section; /* one of "chamrpd", or 0: never run */
	unsigned number; /* from 1 */
	bool heading; /* "[mail]": `section` is what it begins */
	size_t begin, end; /* in the text, with the newline */
};

/* The next line that counts.  Begin with all zero.  Returns false at the end. */
bool smtpplugins_next(const char *text, size_t len, struct smtpplugins_line *l);

/* The word of a section, as people write it: "mail"; "?" for none. */
const char *smtpplugins_section(char letter);

bool smtpplugins_is(const struct smtpplugins_line *l, const char *text);

/* Write the text with `line` as the first of the first section [mail], which is made when there
 * is none.  Returns the new length, or -ENOSPC. */
long smtpplugins_insert(const char *text, size_t len, const char *line, char *ret, size_t cap);

/* Write the text without the lines of section [mail] that are `line`.  `cap` >= len.  Returns
 * the new length. */
size_t smtpplugins_remove(const char *text, size_t len, const char *line, char *ret);

#endif
