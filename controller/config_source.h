/* SPDX-License-Identifier: ISC */
/*
 * config_source - the text of a configuration, made safe for libconfig's scanner
 *
 * What libconfig 1.5 does with some texts can't be undone afterwards, so it is met before:
 *  - `@include` of a directory ends the process: includes are read here and put in place, to a depth of
 *    CONFIG_INCLUDE_DEPTH, each a regular file, all together at most CONFIG_FILE_MAX bytes;
 *  - 99999999999 is read as 1215752191: numbers beyond 32 bits get the suffix L, beyond 64 bits are an error;
 *  - a NUL byte ends the text silently: it is an error.
 */
#ifndef CONTROLLER_CONFIG_SOURCE_H
#define CONTROLLER_CONFIG_SOURCE_H

#include <stddef.h>

#include "lib/err.h"

#define CONFIG_INCLUDE_DEPTH 8
#define CONFIG_SOURCE_FILES 32
#define CONFIG_NAME_MAX 256

struct config_line {
	unsigned short file; /* index into name[] */
	unsigned line; /* from 1 */
};

struct config_source {
	char *text; /* for config_read_string() */
	size_t len, cap;
	struct config_line *line; /* of each line of `text` */
	size_t lines, lines_cap;
	char name[CONFIG_SOURCE_FILES][CONFIG_NAME_MAX];
	unsigned files;
};

/* Read the file `path`, or what is open at `fd` if that is >= 0.  Returns 0 or -Exxx with a message that begins with
 * "path:" or "path:line:".  Free with config_source_done() in either case. */
int config_source_read(struct config_source *s, const char *path, int fd, struct err *why);

/* The same for text in memory. */
int config_source_text(struct config_source *s, const char *name, const char *text, size_t len,
	struct err *why);

void config_source_done(struct config_source *s);

/* Where line `line` (from 1) of the text came from: "file:line". */
void config_source_where(const struct config_source *s, unsigned line, char *ret, size_t cap);

#endif
