/* SPDX-License-Identifier: ISC */
/*
 * cli - what the parts of the command `spillway` share
 *
 * Private to spillway.c and its commands: client.c asks the daemon, raterclient.c the rate service, show.c prints
 * what it says, past.c reads the database, offline.c acts without either, doctor.c and setup.c look at the host.
 */
#ifndef CONTROLLER_CLI_H
#define CONTROLLER_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "controller/config.h"

/* Exit codes: a contract with scripts.  Those of `rate` and `peek` are raterclient's: 0, 1, 2. */
enum cli_exit {
	CLI_OK = 0, /* yes, done */
	CLI_NO = 1,
	CLI_USAGE = 100, /* wrong usage, wrong configuration, no right */
	CLI_TEMPORARY = 111, /* the daemon can't be asked, or can't do it now */
};

struct cli {
	const char *config_path;
	bool json;
	bool config_ok;
	struct config config; /* defaults when the file can't be read */
	struct config_errors errors;
	const char *run_dir; /* $SPILLWAY_RUN_DIR, else of the configuration */

	/* options of the commands; NULL, 0 or false when not given */
	const char *reason, *service, *kind, *sort, *file, *compare;
	int64_t for_ms, since_ms;
	bool offline, yes, undo, effective, all, export_list, fail2ban;
	struct cfg_list homes, maildirs, domains;
	const char *write;
};

/* Arguments after the command's name. */
typedef int cli_command(struct cli *cli, int argc, char **argv);

cli_command show_status, show_probes, show_limits;
cli_command ask_force, ask_reload, ask_neutral, ask_reset, rate_ask, rate_peek_only;
cli_command past_history, explain_run, show_refusals;
cli_command ask_block, ask_unblock, show_blocks, ask_allow;
cli_command storms_run;
cli_command addresses_run;
cli_command doctor_run, setup_run;
cli_command replay_run;

/* "spillway: sentence" to stderr; returns `code`. */
int cli_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Print JSON and its newline to stdout. */
void cli_print_json(const json_t *j);

/* Ask the daemon.  Takes the request.  Returns its reply (a new reference) with "ok" true, or NULL after
 * telling what is wrong; then *ret_code is the exit code. */
json_t *client_ask(const struct cli *cli, json_t *request, int *ret_code);

/* The same without a word: whatever the daemon says, "ok" or not, or NULL and why it could not be asked. */
json_t *client_exchange(const char *run_dir, json_t *request, struct err *why);

/* stormcmd.c: print the storm of an id, or those of an address with their refusals.  -ENOENT: there is none. */
struct store;
int storms_explain(const struct cli *cli, struct store *s, const char *what, json_t *refusals, struct err *why);

/* explain.c: refusals of an id as JSON, newest first, into an array; print it. */
int explain_refusals(struct store *s, const char *id, json_t *refusals, struct err *why);
void explain_print_refusals(const json_t *refusals);

/* past.c: open the database for reading, or tell why not and return the exit code; a time in JSON, null for none. */
int past_open(const struct cli *cli, struct store **ret);
json_t *past_wall(wall_t t);

/* refusals.c: print the newest that a mail address, as sender or recipient, was refused.  Returns the exit code, or
 * -ENOENT when there is none. */
int refusals_about(const struct cli *cli, const char *address);

/* End leased effects without the daemon. */
int offline_neutral(struct cli *cli);

/* Does a keeper hold the lock of the run directory?  Returns its pid, 0 for no, -errno when it can't be told. */
int offline_daemon_pid(const char *run_dir);

#endif
