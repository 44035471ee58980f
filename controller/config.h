/* SPDX-License-Identifier: ISC */
/*
 * config - the configuration file, whole or not at all
 *
 * The file is read once (a regular file of at most CONFIG_FILE_MAX bytes, never waiting), with its @include
 * files put in place, then parsed by libconfig and checked against the schema tables.  libconfig itself never opens a
 * file: its scanner ends the whole process when an include is a directory.
 *
 * `struct config` is flat, without pointers: a child process can parse and hand it over by writing its bytes
 * (config_child.h), so that no text is ever parsed in the daemon.
 */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "actions/block.h"
#include "controller/blocks.h"
#include "controller/decide.h"
#include "controller/protect.h"
#include "controller/rate.h"
#include "controller/sent.h"
#include "controller/storms.h"
#include "lib/err.h"
#include "lib/schema.h"
#include "lib/smtp.h"
#include "probes/probe.h"

#define CONFIG_DEFAULT_PATH "/etc/spillway/spillway.conf"
#define CONFIG_FILE_MAX (256 * 1024)
#define CONFIG_ERRORS_MAX 20
#define CONFIG_NOTES_MAX 20
#define CONFIG_KEY_MAX 160

struct config_qmail {
	struct cfg_list homes;
};

struct config_service {
	char user[CFG_STRING_MAX]; /* "": stay who we are */
	struct cfg_list groups; /* further groups of that user, to read the queue */
	struct cfg_list plugin_users; /* whom event.sock believes */
	struct cfg_list operators; /* who may change things: users, "@group"s */
	char run_dir[CFG_STRING_MAX];
	char state_dir[CFG_STRING_MAX];
	int64_t lease_ms;
	uint64_t limits_memory; /* bytes for the counters of all limits */
};

struct config_plugins {
	int texts; /* enum config_texts */
	struct cfg_list stage[STAGE_COUNT]; /* names of checks, in the order of enum stage */
	int64_t tarpit_sleepers; /* SMTP processes that may sleep in the tarpit at once */
};

enum config_texts {
	TEXTS_COMPAT,
	TEXTS_EXTENDED,
};

struct config_store {
	int64_t changes; /* rows kept of changes, the newest */
	int64_t refusals; /* rows kept of single refusals, the newest */
	int64_t offences; /* rows kept of who was over a limit, the newest */
	int64_t blocks; /* rows kept of blocks: all that are in force, and of those that are over the newest */
	uint64_t archive; /* bytes of all refusals, 0: none is written */
};

/* The group of this name in rater's configuration.  Without it, and without the ports in it, there is no TCP. */
struct config_settings {
	char address[CFG_STRING_MAX];
	int64_t port; /* 0: no TCP */
	char control_address[CFG_STRING_MAX];
	int64_t control_port; /* 0: no telnet port */
	int64_t log_level; /* 0 fatal .. 4 debug */
	/* Read and not used: counters expire by their own window, the database is ours, the log is stderr. */
	int64_t expiration_timer_ms, max_age_ms;
	char db_path[CFG_STRING_MAX], log[CFG_STRING_MAX];
};

/* Connections that an address may hold at once; the first pattern that matches counts. */
#define CONFIG_CONCURRENCY_MAX 32
struct config_concurrency {
	unsigned n;
	struct rate_limit limit[CONFIG_CONCURRENCY_MAX]; /* window_ms is 0; count -1: not limited */
};

struct config_blocks {
	struct blocks_cfg rules;
	struct block_cfg actions;
	int64_t login_credit_ms; /* so long a login softens */
	int64_t mail_credit_ms; /* so long mail spares the network that it came from */
	int64_t max; /* blocks at once */
	int64_t remember; /* prefixes that offended before */
	unsigned n_allow;
	struct protect_allow allow[PROTECT_ALLOW_MAX];
};

struct config_storms {
	struct storms_cfg rules;
	int64_t remember_ms; /* who wrote to whom */
	int64_t learn_ms; /* after the first start nothing is refused for good */
	int64_t addresses; /* that bounces are counted for at once */
	uint64_t memory; /* bytes for who wrote to whom */
};

enum recipients_unknown {
	RECIPIENTS_REFUSE,
	RECIPIENTS_MARK, /* it only counts for wrongrcpt */
};

struct config_recipients {
	char file[CFG_STRING_MAX]; /* "": there is no list */
	int unknown; /* enum recipients_unknown */
	int over; /* over the limit of class wrongrcpt: 0 put off, 1 refused */
};

/* Local parts that hardly exist.  Flat: a compiled pattern is the engine's. */
#define LOCALPARTS_MAX 32
#define LOCALPARTS_PATTERN_MAX 80
struct config_localparts {
	unsigned n;
	struct {
		char pattern[LOCALPARTS_PATTERN_MAX]; /* POSIX extended regular expression */
		char reason[LOCALPARTS_PATTERN_MAX];
		int verdict; /* enum recipients_unknown */
	} at[LOCALPARTS_MAX];
};

/* Names looked up, so that the daemon never waits for a directory service. */
struct config_ids {
	unsigned n;
	uint32_t id[CFG_LIST_MAX];
};

struct config {
	struct config_qmail qmail;
	struct config_service service;
	struct {
		struct probe_queue_cfg queue;
		struct probe_qstat_cfg qstat;
		struct probe_load_cfg load;
		struct probe_disk_cfg disk;
		struct probe_logs_cfg logs;
	} probes;
	struct decide_cfg levels;
	struct config_plugins plugins;
	struct config_store store;
	struct config_settings settings;
	struct rate_cfg limits;
	struct config_concurrency concurrency;
	struct config_blocks blocks;
	struct config_storms storms;
	struct config_recipients recipients;
	struct config_localparts localparts;

	/* Filled by config_resolve(), not from the file. */
	struct config_ids plugin_uids, operator_uids, operator_gids;
};

/* Everything that is wrong with a file, a line each: "file:line: key = value: what; allowed ...".  Notes tell what is
 * allowed and hardly meant so: "file:line: key = value: what". */
struct config_errors {
	unsigned n, notes; /* found; only the first CONFIG_ERRORS_MAX and CONFIG_NOTES_MAX have a text */
	struct err e[CONFIG_ERRORS_MAX], note[CONFIG_NOTES_MAX];
};

/* All defaults: what an empty file gives. */
void config_defaults(struct config *ret);

/* Read `path` into `ret`.  `fd` >= 0: the file is already open there (and `path` only names it).
 * Returns 0, or -EINVAL with `errors` filled and `ret` untouched. */
int config_load(const char *path, int fd, struct config *ret, struct config_errors *errors);

/* The same for text in memory: for tests and fuzzing.  Includes are relative to the working directory. */
int config_load_text(const char *name, const char *text, size_t len, struct config *ret,
	struct config_errors *errors);

/* Look up the names of plugin_users and operators.  Names that do not exist are left out and written into
 * `ret_missing` ("a, b"; "" when there is none). */
void config_resolve(struct config *c, char *ret_missing, size_t cap);

/* After a reload: carry over from `old` what only a restart may change.  Writes the names of keys that would have
 * changed into `ret_keys` (cap bytes, "a, b"); "" when there is none. */
void config_keep_fixed(struct config *new, const struct config *old, char *ret_keys, size_t cap);

/* Print the effective configuration in the syntax of the file, every key with its help as a comment. */
void config_print(FILE *f, const struct config *c);

/* A group of the file and where its values go. */
struct config_section {
	const char *name; /* "probes.queue" */
	const struct cfg_row *rows; /* see config_rows() */
	size_t at; /* offset in struct config */
	bool has_levels; /* it also holds the levels' groups */
	bool has_allow; /* it also holds the allow list */
};
#define CONFIG_SECTIONS 16

/* Sections whose names begin alike stand together, the one that is a group of others before them. */
extern const struct config_section config_section[CONFIG_SECTIONS];
const struct cfg_row *config_rows(const struct config_section *s);

/* For tests and documents: call `each` with every key ("service.lease") and its row. */
void config_walk(void (*each)(const char *key, const struct cfg_row *row, void *arg), void *arg);

#endif
