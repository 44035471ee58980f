/* SPDX-License-Identifier: ISC */
/*
 * A tree of settings from libconfig is walked along the schema: what is in the tree but not in the schema is an
 * error with a suggestion, what is in the schema but not in the tree keeps its default.
 */
#include "controller/config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "controller/config_blocks.h"
#include "controller/config_storms.h"
#include "controller/config_limits.h"
#include "controller/config_report.h"
#include "controller/config_value.h"
#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"

/* --- levels ---------------------------------------------------------------------------------- */

/* A water mark in the unit of its reading. */
static bool
read_mark(struct config_reader *r, const config_setting_t *s, enum reading_unit unit, double *ret)
{
	const char *allowed = unit == UNIT_SECONDS ? "a duration of at most 100 years, like \"60s\""
		: unit == UNIT_BYTES ? "a size, like \"200M\"" : "a number from 0 to 1000000000000";
	bool text = config_setting_type(s) == CONFIG_TYPE_STRING;
	int64_t v = 0;
	double d;

	if (text && unit == UNIT_SECONDS && config_duration(s, &v) == 0) {
		d = (double)v / 1000;
	} else if (text && unit == UNIT_BYTES && config_size(s, &v) == 0) {
		d = (double)v;
	} else if (config_is_integer(s)) {
		d = (double)config_setting_get_int64(s);
	} else if (config_setting_type(s) == CONFIG_TYPE_FLOAT) {
		d = config_setting_get_float(s);
	} else {
		config_complain(r, s, "not of that form", allowed);
		return false;
	}
	if (!(d >= 0 && d <= (unit == UNIT_BYTES ? 9e15 : 1e12))) {
		config_complain(r, s, d < 0 ? "too small" : "too large", allowed);
		return false;
	}
	*ret = fabs(d); /* -0.0 is 0 */
	return true;
}

/* "todo = { enter = 100; leave = 50; }" */
static void
read_rule(struct config_reader *r, const config_setting_t *s, enum reading_id id, struct decide_level *level)
{
	static const char allowed[] = "{ enter = NUMBER; leave = NUMBER; }";
	const struct reading_info *info = &reading_info[id];
	struct config_words words = { { "enter", "leave" }, 2 };
	struct decide_rule rule = { .id = id };
	bool ok = true;
	int seen = 0;

	if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
		config_complain(r, s, "not a group", allowed);
		return;
	}
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *m = config_setting_get_elem(s, (unsigned)i);
		bool enter = strcmp(config_setting_name(m), "enter") == 0;

		if (!enter && strcmp(config_setting_name(m), "leave") != 0) {
			config_complain_unknown(r, m, &words);
			continue;
		}
		ok = read_mark(r, m, info->unit, enter ? &rule.enter : &rule.leave) && ok;
		seen++;
	}
	if (!ok)
		return;
	if (seen != 2)
		config_complain(r, s, "needs both marks", allowed);
	else if (rule.enter == rule.leave)
		config_complain(r, s, "enter and leave are equal, the level would flap", "two different marks");
	else if (info->sense == TOO_MUCH_IS_BAD && rule.leave > rule.enter)
		config_complain(r, s, "leave is above enter", "leave below enter, for too much of it is bad");
	else if (info->sense == TOO_LITTLE_IS_BAD && rule.leave < rule.enter)
		config_complain(r, s, "leave is below enter", "leave above enter, for too little of it is bad");
	else
		level->rule[level->n++] = rule;
}

static void
read_level(struct config_reader *r, const config_setting_t *s, struct decide_level *at)
{
	struct decide_level level = { 0 };
	struct config_words words = { 0 };

	if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
		config_complain(r, s, "not a group", "{ READING = { enter = ...; leave = ...; }; }");
		return;
	}
	for (int i = 0; i < READING_COUNT; i++)
		if (reading_info[i].sense != NO_VOTE)
			config_add_word(&words, reading_info[i].name);
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *rule = config_setting_get_elem(s, (unsigned)i);
		int id = reading_find(config_setting_name(rule));

		if (id >= 0 && reading_info[id].sense == NO_VOTE)
			config_complain(r, rule, "has no vote: our own refusals must not raise a level",
				"any other reading");
		else if (id < 0)
			config_complain_unknown(r, rule, &words);
		else
			read_rule(r, rule, (enum reading_id)id, &level);
	}
	*at = level;
}

/* --- the tree -------------------------------------------------------------------------------- */

static const struct cfg_row *
find_row(const struct cfg_row *row, const char *name)
{
	for (; row->name != NULL; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

/* A level's group, the allow list, or the other spelling of qmail.homes: keys that are not in a table. */
static bool
read_special(struct config_reader *r, const struct config_section *section, const config_setting_t *s)
{
	const char *name = config_setting_name(s);

	if (section->has_levels) {
		int level = level_find(name);

		if (level <= LEVEL_NORMAL)
			return false;
		read_level(r, s, &r->out->levels.level[level]);
		return true;
	}
	if (section->has_allow && strcmp(name, "allow") == 0) {
		config_read_allow(r, s);
		return true;
	}
	if (strcmp(section->name, "qmail") == 0 && strcmp(name, "home") == 0) {
		if (config_setting_get_member(config_setting_parent(s), "homes") != NULL)
			config_complain(r, s, "both home and homes are given", "one of them");
		else
			config_read_value(r, s, find_row(config_rows(section), "homes"), &r->out->qmail.homes);
		return true;
	}
	return false;
}

/* "ipsvd" in "blocks" is the section "blocks.ipsvd".  NULL when there is none. */
static const struct config_section *
find_inner(const struct config_section *section, const char *name)
{
	size_t n = strlen(section->name);

	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		const char *other = config_section[i].name;

		if (strncmp(other, section->name, n) == 0 && other[n] == '.' && strcmp(other + n + 1, name) == 0)
			return &config_section[i];
	}
	return NULL;
}

/* `s` is in `section` and is nothing that belongs there. */
static void
complain_no_key(struct config_reader *r, const struct config_section *section, const config_setting_t *s)
{
	struct config_words words = { 0 };
	size_t n = strlen(section->name);

	for (const struct cfg_row *row = config_rows(section); row->name != NULL; row++)
		config_add_word(&words, row->name);
	for (int l = LEVEL_BUSY; l < LEVEL_COUNT && section->has_levels; l++)
		config_add_word(&words, level_name((enum level)l));
	if (section->has_allow)
		config_add_word(&words, "allow");
	for (size_t i = 0; i < CONFIG_SECTIONS; i++)
		if (strncmp(config_section[i].name, section->name, n) == 0 && config_section[i].name[n] == '.')
			config_add_word(&words, config_section[i].name + n + 1);
	config_complain_unknown(r, s, &words);
}

static void
read_section(struct config_reader *r, const struct config_section *section, const config_setting_t *group)
{
	if (config_setting_type(group) != CONFIG_TYPE_GROUP) {
		config_complain(r, group, "not a group", "{ KEY = VALUE; ... }");
		return;
	}
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const struct cfg_row *row = find_row(config_rows(section), config_setting_name(s));
		const struct config_section *inner = find_inner(section, config_setting_name(s));

		if (row != NULL)
			config_read_value(r, s, row, (char *)r->out + section->at + row->at);
		else if (inner != NULL)
			read_section(r, inner, s);
		else if (!read_special(r, section, s))
			complain_no_key(r, section, s);
	}
}

/* Is `path` (of `n` bytes) a section, or the beginning of one? */
static const struct config_section *
find_section(const char *path, size_t n, bool *ret_begins)
{
	*ret_begins = false;
	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		if (strncmp(config_section[i].name, path, n) != 0)
			continue;
		if (config_section[i].name[n] == '\0')
			return &config_section[i];
		*ret_begins = *ret_begins || config_section[i].name[n] == '.';
	}
	return NULL;
}

static const struct config_part *
find_part(const char *name)
{
	for (size_t i = 0; i < CONFIG_PARTS; i++)
		if (strcmp(config_part[i].name, name) == 0)
			return &config_part[i];
	return NULL;
}

/* `s` is in the group `path`, where only beginnings of sections are, and is none. */
static void
complain_no_section(struct config_reader *r, const config_setting_t *s, const char *path)
{
	static char words_of[CONFIG_SECTIONS][24];
	struct config_words words = { 0 };
	size_t depth = strlen(path);

	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		const char *rest = config_section[i].name + depth + (depth > 0);

		if (strncmp(config_section[i].name, path, depth) != 0)
			continue;
		(void)snprintf(words_of[i], sizeof(words_of[i]), "%.*s", (int)strcspn(rest, "."), rest);
		config_add_word(&words, words_of[i]);
	}
	for (size_t i = 0; depth == 0 && i < CONFIG_PARTS; i++)
		config_add_word(&words, config_part[i].name);
	config_complain_unknown(r, s, &words);
}

/* Groups down to a section; `path` is the key of `group`, "" for the root. */
static void
read_group(struct config_reader *r, const config_setting_t *group, const char *path)
{
	size_t depth = strlen(path);

	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		char key[CONFIG_KEY_MAX];
		bool begins;
		int n = snprintf(key, sizeof(key), "%s%s%s", path, depth > 0 ? "." : "",
			config_setting_name(s));
		const struct config_section *section =
			n < CONFIG_KEY_MAX ? find_section(key, (size_t)n, &begins) : (begins = false, NULL);

		const struct config_part *part = depth == 0 ? find_part(config_setting_name(s)) : NULL;

		if (part != NULL) {
			part->read(r, s);
		} else if (section == NULL && !begins) {
			complain_no_section(r, s, path);
		} else if (section != NULL) {
			read_section(r, section, s);
		} else if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
			config_complain(r, s, "not a group", "{ KEY = VALUE; ... }");
		} else {
			read_group(r, s, key);
		}
	}
}

/* --- rules across keys ----------------------------------------------------------------------- */

static void
check_names(struct config_reader *r, const config_t *tree)
{
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		const struct cfg_list *list = &r->out->plugins.stage[stage];
		char key[CONFIG_KEY_MAX], allowed[CONFIG_ALLOWED_MAX];
		struct text t = text_in(allowed, sizeof(allowed));

		for (int i = 0; i < CHECK_COUNT; i++) {
			text_puts(&t, i > 0 ? ", " : "");
			text_puts(&t, check_name((enum check)i));
		}
		(void)snprintf(key, sizeof(key), "plugins.%s", stage_name((enum stage)stage));
		for (unsigned i = 0; i < list->n; i++)
			if (check_find(list->s[i]) < 0)
				config_complain(r, config_lookup(tree, key),
					"names a check that there is not", allowed);
	}
}

static void
check_homes(struct config_reader *r, const config_t *tree)
{
	const struct cfg_list *homes = &r->out->qmail.homes;
	const config_setting_t *s = config_lookup(tree, "qmail.homes");

	if (s == NULL)
		s = config_lookup(tree, "qmail.home");
	for (unsigned i = 0; i < homes->n; i++)
		for (unsigned j = 0; j < i; j++)
			if (strcmp(homes->s[i], homes->s[j]) == 0)
				config_complain(r, s, "names a home twice", "each once");
}

/* The address of one listener, as a number. */
static struct ip
listener_ip(const char *text)
{
	struct ip ip = { 0 };

	(void)ip_parse(text, &ip); /* the reader of the row has complained */
	return ip;
}

/* Two listeners can't have one port of an address, and 0.0.0.0 and :: are all addresses. */
static void
check_ports(struct config_reader *r, const config_t *tree)
{
	static const struct ip any = { 0 }, any_v4 = { { [10] = 0xff, [11] = 0xff } };
	const struct config_settings *c = &r->out->settings;
	struct ip a = listener_ip(c->address), b = listener_ip(c->control_address);

	if (c->port == 0 || c->port != c->control_port)
		return;
	if (ip_equal(&a, &b) || ip_equal(&a, &any) || ip_equal(&b, &any) || ip_equal(&a, &any_v4)
		|| ip_equal(&b, &any_v4))
		config_complain(r, config_lookup(tree, "settings.control_port"),
			"the port of settings.port, at the same address", "another port, or another address");
}

/* What rater's file says and we do otherwise. */
static void
note_unused(struct config_reader *r, const config_t *tree)
{
	const struct config_settings *c = &r->out->settings;

	if (strcmp(c->db_path, ":memory:") != 0)
		config_note(r, config_lookup(tree, "settings.db_path"),
			"not used: the database is in service.state_dir");
	if (strcmp(c->log, "/dev/stderr") != 0)
		config_note(r, config_lookup(tree, "settings.log"), "not used: the log is stderr");
}

/* A rule whose reading is never known has no vote, and nobody would notice. */
static void
note_no_log(struct config_reader *r, const config_t *tree)
{
	const struct probe_logs_cfg *logs = &r->out->probes.logs;
	const uint32_t server = UINT32_C(1) << READING_REJECTIONS;
	uint32_t never = 0;

	if (logs->send.n == 0)
		never |= probe_logs.readings & ~server;
	if (logs->server.n + logs->shared.n == 0)
		never |= server;
	for (int level = LEVEL_BUSY; level < LEVEL_COUNT; level++) {
		const struct decide_level *l = &r->out->levels.level[level];

		for (unsigned i = 0; i < l->n; i++) {
			char key[CONFIG_KEY_MAX];

			if ((never & UINT32_C(1) << l->rule[i].id) == 0)
				continue;
			(void)snprintf(key, sizeof(key), "levels.%s.%s", level_name((enum level)level),
				reading_info[l->rule[i].id].name);
			config_note(r, config_lookup(tree, key), "never known: probes.logs names no log that tells it");
		}
	}
}

static int
read_source(const struct config_source *source, struct config *ret, struct config_errors *errors)
{
	struct config c;
	config_t tree;
	struct config_reader r = { .out = &c, .source = source, .errors = errors };

	config_defaults(&c);
	config_init(&tree);
	if (config_read_string(&tree, source->text != NULL ? source->text : "") != CONFIG_TRUE) {
		char where[CONFIG_NAME_MAX + 16];

		config_source_where(source, (unsigned)config_error_line(&tree), where, sizeof(where));
		(void)err_set(config_next_error(errors), 0,
			"%s: %s; allowed: KEY = VALUE; with groups in { }, arrays in [ ], lists in ( )", where,
			config_error_text(&tree));
	} else {
		read_group(&r, config_root_setting(&tree), "");
		check_names(&r, &tree);
		check_homes(&r, &tree);
		check_ports(&r, &tree);
		config_check_blocks(&r, &tree);
		note_unused(&r, &tree);
		note_no_log(&r, &tree);
	}
	config_destroy(&tree);
	if (errors->n > 0)
		return -EINVAL;
	*ret = c;
	return 0;
}

static int
finish(struct config_source *source, int r, const struct err *why, struct config *ret,
	struct config_errors *errors)
{
	if (r < 0)
		(void)err_set(config_next_error(errors), 0, "%s", why->text);
	else
		r = read_source(source, ret, errors);
	config_source_done(source);
	return r;
}

int
config_load(const char *path, int fd, struct config *ret, struct config_errors *errors)
{
	struct config_source source;
	struct err why;

	errors->n = errors->notes = 0;
	int r = config_source_read(&source, path, fd, &why);
	return finish(&source, r, &why, ret, errors);
}

int
config_load_text(const char *name, const char *text, size_t len, struct config *ret,
	struct config_errors *errors)
{
	struct config_source source;
	struct err why;

	errors->n = errors->notes = 0;
	int r = config_source_text(&source, name, text, len, &why);
	return finish(&source, r, &why, ret, errors);
}
