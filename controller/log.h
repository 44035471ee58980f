/* SPDX-License-Identifier: ISC */
/*
 * log - one line to stderr, for people; the supervisor's logger adds the time
 *
 * A line is "level: area: sentence".  Bytes of strangers are made printable on the way out.  A logger that does not
 * read (its disk is full) never stops us: the line is dropped and counted, and the count is told when it reads
 * again.  So is what goes beyond LOG_LINES_MAX in LOG_WINDOW_MS: an error that repeats must not fill a disk.
 */
#ifndef CONTROLLER_LOG_H
#define CONTROLLER_LOG_H

#include <stdbool.h>

#include "lib/clock.h"

#define LOG_LINE_MAX 1000
#define LOG_WINDOW_MS 10000
#define LOG_LINES_MAX 200

enum log_level {
	LOG_ERROR, /* something does not work, a person is needed */
	LOG_WARNING, /* survived; the line says how */
	LOG_INFO, /* a change */
	LOG_DEBUG, /* each thing that is asked: told only on demand, and never more than half of what may be told */
};

/* Tell lines up to `level`, LOG_INFO at the start; errors are always told.  Of this process alone. */
void log_set_verbosity(enum log_level level);
enum log_level log_verbosity(void);

/* Would a line of this level be told?  For those who would take long to make one. */
bool log_wants(enum log_level level);

void log_line(enum log_level level, const char *area, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for each line of a text. */
void log_lines(enum log_level level, const char *area, const char *text);

#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)
#define log_warning(area, ...) log_line(LOG_WARNING, area, __VA_ARGS__)
#define log_info(area, ...) log_line(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_DEBUG, area, __VA_ARGS__)

/* Once for all: log_once() lines about one subject are told when they change, not each time.
 * `memory` holds the last one (LOG_LINE_MAX bytes are compared); "" when all is well again. */
struct log_memory {
	char last[200];
};

/* Tell `text` if it differs from what was told last; NULL or "" means the trouble is over, and says so.
 * Returns whether a line was written. */
int log_edge(struct log_memory *memory, enum log_level level, const char *area, const char *text);

#endif
