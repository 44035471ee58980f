/* SPDX-License-Identifier: ISC */
/*
 * plugin - what all checks of the qmail-spp plugin share
 *
 * One executable; the name that it is run by says what it does: spillway-mail and its like run all checks that the
 * published state enables for that stage, a check's own name runs that check alone.
 *
 * Rules: it can only fail open.  Whatever happens, it exits 0 within PLUGIN_DEADLINE_MS, and prints one line or
 * nothing: qmail-spp answers 451 to everybody when a plugin crashes, and waits without limit when it hangs.
 * No allocation, no stdio, nothing linked but libc and lib/.  No byte from a stranger in any output.
 *
 * To add a check: a number in lib/smtp.h, a file here with a `const struct check_ops check_NAME`, a line in
 * check_table (main.c), a section in man/spillway-plugins.8, rows in tests/e2e/plugin.sh.
 */
#ifndef PLUGINS_PLUGIN_H
#define PLUGINS_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/record.h"
#include "lib/smtp.h"
#include "lib/state.h"

#define PLUGIN_DEADLINE_MS 200
#define PLUGIN_LINE_MAX 512 /* below PIPE_BUF: one write(2) is one line */

/* What is known of the session and of the server when the checks begin. */
struct session {
	enum stage stage;
	enum client_class class;
	bool ip_known;
	struct ip ip;
	bool state_ok; /* `state` is current: whole, of this boot, its lease not over */
	struct state state;
};

/* A refusal.  Texts are constants of ours. */
struct refusal {
	enum check check;
	uint16_t code;
	const char *enhanced; /* "4.3.2", for extended texts */
	const char *text; /* without the code */
};

struct check_ops {
	const char *name;
	enum check id;
	/* Does it refuse this session?  Then fill `ret` and return true. */
	bool (*refuses)(const struct session *s, struct refusal *ret);
};

extern const struct check_ops check_overload;

/* From here on nothing can hurt qmail: signals and a timer end the process with exit code 0. */
void guard_start(void);

/* Is the descriptor open?  Asked before the first open(), which would take a closed number. */
bool guard_is_open(int fd);

#endif
