/* SPDX-License-Identifier: ISC */
/* The tables of all keys, and what follows from them without looking at a file. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "controller/archive.h"
#include "controller/config.h"
#include "controller/config_blocks.h"
#include "controller/config_recipients.h"
#include "controller/config_storms.h"
#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"

#define SETTINGS_TIME_MAX_MS (INT64_C(36525) * 86400000) /* what num_duration() takes at the most */

static const char *const texts_words[] = { [TEXTS_COMPAT] = "compat", [TEXTS_EXTENDED] = "extended", NULL };

static const struct cfg_row qmail_rows[] = {
	{ .name = "homes", .type = CFG_PATHS, .at = offsetof(struct config_qmail, homes),
		.def_text = "/var/qmail", .flags = CFG_RESTART,
		.help = "qmail homes whose queues count together and whose gates open and close together" },
	{ 0 },
};

static const struct cfg_row service_rows[] = {
	{ .name = "user", .type = CFG_NAME, .at = offsetof(struct config_service, user),
		.def_text = "spillway", .flags = CFG_RESTART | CFG_MAY_BE_EMPTY,
		.help = "who decides and records; empty: the user who starts spillwayd" },
	{ .name = "groups", .type = CFG_NAMES, .at = offsetof(struct config_service, groups),
		.def_text = "qmail", .flags = CFG_RESTART | CFG_MAY_BE_EMPTY,
		.help = "further groups of that user, so that it may read the queue" },
	{ .name = "plugin_users", .type = CFG_NAMES, .at = offsetof(struct config_service, plugin_users),
		.def_text = "root qmaild", .flags = CFG_MAY_BE_EMPTY,
		.help = "users whose plugins are believed" },
	{ .name = "operators", .type = CFG_NAMES, .at = offsetof(struct config_service, operators),
		.def_text = "", .flags = CFG_MAY_BE_EMPTY,
		.help = "who besides root may change things: users, and groups with @ before the name" },
	{ .name = "run_dir", .type = CFG_PATH, .at = offsetof(struct config_service, run_dir),
		.def_text = "/run/spillway", .flags = CFG_RESTART,
		.help = "sockets and the published state; SPILLWAY_RUN_DIR in the environment goes before it" },
	{ .name = "state_dir", .type = CFG_PATH, .at = offsetof(struct config_service, state_dir),
		.def_text = "/var/lib/spillway", .flags = CFG_RESTART, .help = "the database" },
	{ .name = "lease", .type = CFG_DURATION, .at = offsetof(struct config_service, lease_ms),
		.min = 2000, .max = 60000, .def = 10000, .flags = CFG_RESTART,
		.help = "how long plugins believe a state that is not renewed" },
	{ .name = "limits_memory", .type = CFG_SIZE, .at = offsetof(struct config_service, limits_memory),
		.min = RATE_MEMORY_MIN, .max = INT64_C(4) << 30, .def = 16 << 20, .flags = CFG_RESTART,
		.help = "memory for the counters of all limits: 60 bytes a key, more with many marks" },
	{ 0 },
};

static const struct cfg_row levels_rows[] = {
	{ .name = "hold", .type = CFG_DURATION, .at = offsetof(struct decide_cfg, hold_ms),
		.min = 0, .max = 600000, .def = 2000,
		.help = "a reading must stay beyond `enter` for so long" },
	{ .name = "release", .type = CFG_DURATION, .at = offsetof(struct decide_cfg, release_ms),
		.min = 1000, .max = 3600000, .def = 15000,
		.help = "all readings must be back at `leave` for so long" },
	{ .name = "dwell", .type = CFG_DURATION, .at = offsetof(struct decide_cfg, dwell_ms),
		.min = 0, .max = 3600000, .def = 0,
		.help = "the least time between two changes of the level" },
	{ .name = "blind", .type = CFG_DURATION, .at = offsetof(struct decide_cfg, blind_ms),
		.min = 1000, .max = 3600000, .def = 30000,
		.help = "a level none of whose readings is known for so long is left" },
	{ 0 },
};

#define STAGE_ROW(n, i, d, what) \
	{ .name = n, .type = CFG_NAMES, .def_text = d, .flags = CFG_MAY_BE_EMPTY, \
		.at = offsetof(struct config_plugins, stage) + (i) * sizeof(struct cfg_list), \
		.help = "checks that spillway-" n " runs " what }

static const struct cfg_row plugins_rows[] = {
	{ .name = "texts", .type = CFG_CHOICE, .at = offsetof(struct config_plugins, texts),
		.choices = texts_words, .def = TEXTS_COMPAT,
		.help = "replies as ra-plugins gave them, or with enhanced status codes and evidence ids" },
	STAGE_ROW("connection", STAGE_CONNECTION, "", "at the start"),
	STAGE_ROW("helo", STAGE_HELO, "", "at HELO and EHLO"),
	STAGE_ROW("auth", STAGE_AUTH, "", "at AUTH"),
	STAGE_ROW("mail", STAGE_MAIL, "overload", "at MAIL"),
	STAGE_ROW("rcpt", STAGE_RCPT, "", "at RCPT"),
	STAGE_ROW("data", STAGE_DATA, "", "at DATA"),
	{ .name = "tarpit_sleepers", .type = CFG_COUNT, .at = offsetof(struct config_plugins, tarpit_sleepers),
		.min = 0, .max = 1000, .def = 20,
		.help = "how many SMTP processes may sleep in the tarpit at once" },
	{ 0 },
};

static const struct cfg_row store_rows[] = {
	{ .name = "changes", .type = CFG_COUNT, .at = offsetof(struct config_store, changes),
		.min = 100, .max = 10000000, .def = 100000,
		.help = "how many changes (of level, override, pin) are kept, the newest" },
	{ .name = "refusals", .type = CFG_COUNT, .at = offsetof(struct config_store, refusals),
		.min = 0, .max = 10000000, .def = 100000,
		.help = "how many single refusals are kept, the newest" },
	{ .name = "offences", .type = CFG_COUNT, .at = offsetof(struct config_store, offences),
		.min = 100, .max = 10000000, .def = 100000,
		.help = "how many offences against limits are kept, the newest" },
	{ .name = "blocks", .type = CFG_COUNT, .at = offsetof(struct config_store, blocks),
		.min = 1000, .max = 10000000, .def = 300000,
		.help = "how many blocks are kept: all in force, and the newest of those that are over" },
	{ .name = "archive", .type = CFG_SIZE, .at = offsetof(struct config_store, archive),
		.min = 0, .max = INT64_C(1) << 40, .def = 64 << 20,
		.help = "bytes of " ARCHIVE_FILE ", with every refusal, and its older parts; 0: none" },
	{ 0 },
};

/* Names, defaults and units are rater's. */
static const struct cfg_row settings_rows[] = {
	{ .name = "address", .type = CFG_ADDRESS, .at = offsetof(struct config_settings, address),
		.def_text = "127.0.0.1", .flags = CFG_RESTART, .help = "where clients of rater ask over TCP" },
	{ .name = "port", .type = CFG_COUNT, .at = offsetof(struct config_settings, port),
		.min = 0, .max = 65535, .def = 0, .flags = CFG_RESTART,
		.help = "its port, 1999 for clients of rater; 0: none" },
	{ .name = "control_address", .type = CFG_ADDRESS, .at = offsetof(struct config_settings, control_address),
		.def_text = "127.0.0.1", .flags = CFG_RESTART, .help = "where telnet finds the control port" },
	{ .name = "control_port", .type = CFG_COUNT, .at = offsetof(struct config_settings, control_port),
		.min = 0, .max = 65535, .def = 0, .flags = CFG_RESTART,
		.help = "its port, 4445 in a configuration of rater; 0: none" },
	{ .name = "log_level", .type = CFG_COUNT, .at = offsetof(struct config_settings, log_level),
		.min = 0, .max = 4, .def = 3, .help = "0 fatal, 1 error, 2 warning, 3 info, 4 debug" },
	{ .name = "expiration_timer", .type = CFG_DURATION,
		.at = offsetof(struct config_settings, expiration_timer_ms), .min = 0, .max = SETTINGS_TIME_MAX_MS,
		.def = 180000, .help = "taken and not used: counters expire by themselves" },
	{ .name = "max_age", .type = CFG_DURATION, .at = offsetof(struct config_settings, max_age_ms),
		.min = 0, .max = SETTINGS_TIME_MAX_MS, .def = 90000,
		.help = "taken and not used: a mark is kept as long as its limit says" },
	{ .name = "db_path", .type = CFG_NAME, .at = offsetof(struct config_settings, db_path),
		.def_text = ":memory:", .flags = CFG_MAY_BE_EMPTY,
		.help = "taken and not used: the database is in service.state_dir" },
	{ .name = "log", .type = CFG_NAME, .at = offsetof(struct config_settings, log),
		.def_text = "/dev/stderr", .flags = CFG_MAY_BE_EMPTY, .help = "taken and not used: the log is stderr" },
	{ 0 },
};

/* The probes' own tables are looked up in probe_table. */
#define SECTION(n, r, member) .name = n, .rows = r, .at = offsetof(struct config, member)

const struct config_section config_section[CONFIG_SECTIONS] = {
	{ SECTION("qmail", qmail_rows, qmail) },
	{ SECTION("service", service_rows, service) },
	{ SECTION("probes.queue", NULL, probes.queue) },
	{ SECTION("probes.qstat", NULL, probes.qstat) },
	{ SECTION("probes.load", NULL, probes.load) },
	{ SECTION("probes.disk", NULL, probes.disk) },
	{ SECTION("probes.logs", NULL, probes.logs) },
	{ SECTION("levels", levels_rows, levels), .has_levels = true },
	{ SECTION("plugins", plugins_rows, plugins) },
	{ SECTION("store", store_rows, store) },
	{ SECTION("settings", settings_rows, settings) },
	{ SECTION("blocks", config_blocks_rows, blocks), .has_allow = true },
	{ SECTION("blocks.ipsvd", config_ipsvd_rows, blocks.actions) },
	{ SECTION("blocks.tcprules", config_tcprules_rows, blocks.actions) },
	{ SECTION("storms", config_storms_rows, storms) },
	{ SECTION("recipients", config_recipients_rows, recipients) },
};

const struct cfg_row *
config_rows(const struct config_section *s)
{
	for (size_t i = 0; s->rows == NULL && probe_table[i] != NULL; i++)
		if (strcmp(s->name + strlen("probes."), probe_table[i]->name) == 0)
			return probe_table[i]->schema;
	return s->rows;
}

static const struct {
	enum level level;
	struct decide_rule rule;
} default_rules[] = {
	{ LEVEL_BUSY, { READING_TODO, 50, 20 } },
	{ LEVEL_OVERLOADED, { READING_TODO, 100, 50 } },
	{ LEVEL_OVERLOADED, { READING_TODO_AGE, 60, 10 } },
	{ LEVEL_OVERLOADED, { READING_GROWTH, 100, 25 } },
	{ LEVEL_CRITICAL, { READING_TODO, 2000, 500 } },
	{ LEVEL_CRITICAL, { READING_DISK_FREE, 200.0 * (1 << 20), 500.0 * (1 << 20) } },
};

static void
default_list(struct cfg_list *list, const char *words)
{
	list->n = 0;
	while (*words != '\0') {
		size_t n = strcspn(words, " ");

		memcpy(list->s[list->n], words, n);
		list->s[list->n++][n] = '\0';
		words += n + (words[n] == ' ');
	}
}

static void
default_durations(struct cfg_durations *list, const char *words)
{
	struct cfg_list texts;

	default_list(&texts, words);
	for (list->n = 0; list->n < texts.n; list->n++)
		(void)num_duration(texts.s[list->n], &list->ms[list->n]); /* a test reads all defaults */
}

static void
set_default(const struct cfg_row *row, void *at)
{
	switch (row->type) {
	case CFG_DURATION:
	case CFG_COUNT:
		*(int64_t *)at = row->def;
		break;
	case CFG_SIZE:
		*(uint64_t *)at = (uint64_t)row->def;
		break;
	case CFG_BOOL:
		*(bool *)at = row->def != 0;
		break;
	case CFG_CHOICE:
		*(int *)at = (int)row->def;
		break;
	case CFG_NAME:
	case CFG_PATH:
	case CFG_ADDRESS:
		(void)text_copy(at, CFG_STRING_MAX, row->def_text);
		break;
	case CFG_NAMES:
	case CFG_PATHS:
		default_list(at, row->def_text);
		break;
	case CFG_DURATIONS:
		default_durations(at, row->def_text);
		break;
	}
}

void
config_defaults(struct config *ret)
{
	memset(ret, 0, sizeof(*ret)); /* padding too: the struct is compared and sent as bytes */
	for (size_t i = 0; i < CONFIG_SECTIONS; i++)
		for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++)
			set_default(row, (char *)ret + config_section[i].at + row->at);
	for (size_t i = 0; i < countof(default_rules); i++) {
		struct decide_level *l = &ret->levels.level[default_rules[i].level];

		l->rule[l->n++] = default_rules[i].rule;
	}
}

static void
add_id(struct config_ids *ids, const char *name, bool exists, uint32_t id, struct text *missing)
{
	if (exists && ids->n < CFG_LIST_MAX) {
		ids->id[ids->n++] = id;
		return;
	}
	text_puts(missing, missing->len > 0 ? ", " : "");
	text_puts(missing, name);
}

static void
resolve_user(struct config_ids *ids, const char *name, struct text *missing)
{
	const struct passwd *pw = getpwnam(name);

	add_id(ids, name, pw != NULL, pw != NULL ? pw->pw_uid : 0, missing);
}

static void
resolve_group(struct config_ids *ids, const char *name, struct text *missing)
{
	const struct group *gr = getgrnam(name + 1);

	add_id(ids, name, gr != NULL, gr != NULL ? gr->gr_gid : 0, missing);
}

void
config_resolve(struct config *c, char *ret_missing, size_t cap)
{
	struct text missing = text_in(ret_missing, cap);

	config_protect_actions(&c->blocks);
	c->plugin_uids.n = c->operator_uids.n = c->operator_gids.n = 0;
	for (unsigned i = 0; i < c->service.plugin_users.n; i++)
		resolve_user(&c->plugin_uids, c->service.plugin_users.s[i], &missing);
	for (unsigned i = 0; i < c->service.operators.n; i++) {
		const char *name = c->service.operators.s[i];

		if (name[0] == '@')
			resolve_group(&c->operator_gids, name, &missing);
		else
			resolve_user(&c->operator_uids, name, &missing);
	}
}

static size_t
value_size(const struct cfg_row *row)
{
	switch (row->type) {
	case CFG_DURATION:
	case CFG_COUNT:
	case CFG_SIZE:
		return sizeof(int64_t);
	case CFG_BOOL:
		return sizeof(bool);
	case CFG_CHOICE:
		return sizeof(int);
	case CFG_NAME:
	case CFG_PATH:
	case CFG_ADDRESS:
		return CFG_STRING_MAX;
	case CFG_NAMES:
	case CFG_PATHS:
		return sizeof(struct cfg_list);
	case CFG_DURATIONS:
		return sizeof(struct cfg_durations);
	}
	return 0;
}

void
config_keep_fixed(struct config *new, const struct config *old, char *ret_keys, size_t cap)
{
	struct text t = text_in(ret_keys, cap);

	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++) {
			size_t at = config_section[i].at + row->at;

			if ((row->flags & CFG_RESTART) == 0
				|| memcmp((char *)new + at, (const char *)old + at, value_size(row)) == 0)
				continue;
			memcpy((char *)new + at, (const char *)old + at, value_size(row));
			text_puts(&t, t.len > 0 ? ", " : "");
			text_puts(&t, config_section[i].name);
			text_putc(&t, '.');
			text_puts(&t, row->name);
		}
	}
}

void
config_walk(void (*each)(const char *key, const struct cfg_row *row, void *arg), void *arg)
{
	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++) {
			char key[CONFIG_KEY_MAX];

			(void)snprintf(key, sizeof(key), "%s.%s", config_section[i].name, row->name);
			each(key, row, arg);
		}
	}
}
