/* SPDX-License-Identifier: ISC */
/*
 * tai64n - the time stamps at the start of log lines
 *
 * Pure.  Read are TAI64N labels of multilog and `svlogd -t` ("@" and 24 lower-case hex digits), the dates of
 * `svlogd -tt`, `svlogd -ttt` and tai64nlocal, and the seconds of `journalctl -o short-unix`, each with the one blank
 * behind.  A line without stamp is a line without stamp, not an error.  What a writer of the log may have put behind
 * the stamp is never looked at.
 */
#ifndef PROBES_TAI64N_H
#define PROBES_TAI64N_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/clock.h"

#define TAI64N_LABEL 25 /* bytes: "@" and 24 digits */

struct stamp {
	wall_t at;
	bool local; /* `at` is local time read as if it were UTC: tai64nlocal's */
	size_t len; /* up to the text: the stamp, its blank, the host and program that the journal puts there */
};

/* Read the stamp at the start of a line of `n` bytes.  Returns false when there is none, then `ret` is untouched. */
bool stamp_read(const char *s, size_t n, struct stamp *ret);

/* A label alone, as in the names of rotated files: the first TAI64N_LABEL bytes of `s`. */
bool tai64n_read(const char *s, size_t n, wall_t *ret);

#endif
