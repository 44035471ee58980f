/* SPDX-License-Identifier: ISC */
/*
 * replaylog - several logs as one, in the order of their time
 *
 * A log is a file, a directory of multilog or svlogd (its rotated files, then `current`), or "-", the standard input.
 * An archive of refusals (archive.h) is one, too.
 * Each is read once, forward, through a buffer of its own: memory does not depend on their size.  What kind of log it
 * is, its first line that is understood tells.  Lines without a stamp take the time of the line before; a log that
 * begins without any can't be put in order.
 *
 * Where others than the server write to a log as well, a client can put lines into it that look like the server's.
 * Nothing is done by a replay, so their addresses are taken all the same; replaylog_is_shared() tells, for the report.
 */
#ifndef CONTROLLER_REPLAYLOG_H
#define CONTROLLER_REPLAYLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/smtp.h"
#include "probes/logline.h"

#define REPLAYLOG_MAX 64 /* logs */
#define REPLAYLOG_BUFFER 65536

struct replaylog_record {
	wall_t at;
	bool is_line; /* `line` is set; its texts are borrowed until the next call */
	struct logline line;
	bool accepted; /* a mail was accepted from `ip` */
	struct ip ip;
	bool refused; /* of the archive of refusals: `check` refused, in the process `pid` */
	enum check check;
	uint32_t pid;
}; /* one of the three */

struct replaylog;

/* Open all of them.  Returns 0, or -Exxx and why. */
int replaylog_open(char *const *paths, size_t n, struct replaylog **ret, struct err *why);
void replaylog_close(struct replaylog *r); /* NULL is allowed */

/* The next line of all that says something.  Returns 1, 0 at the end of all, or -Exxx and why. */
int replaylog_next(struct replaylog *r, struct replaylog_record *ret, struct err *why);

struct replaylog_progress {
	uint64_t lines, bytes, size; /* size 0: not known */
	uint64_t cut; /* lines that were too long */
	uint64_t outdated; /* that lay behind the one before, by a second or more */
};

struct replaylog_progress replaylog_progress(const struct replaylog *r);

/* Does any log hold lines of others besides its server's? */
bool replaylog_is_shared(const struct replaylog *r);

/* The client of a mail that was accepted, from a line "qlogenvelope: result=accepted ...": what stands behind all
 * text of the client is read from the end.  Pure. */
bool replaylog_accepted(const char *line, size_t n, struct ip *ret);

#endif
