/* SPDX-License-Identifier: ISC */
/* A value of the tree, checked against its row of the schema; complained about when it does not fit. */
#include "controller/config_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/ip.h"
#include "lib/num.h"
#include "lib/text.h"

static void
allowed_numbers(const struct cfg_row *row, char ret[CONFIG_ALLOWED_MAX])
{
	char min[NUM_TEXT_MAX], max[NUM_TEXT_MAX];

	if (row->type == CFG_DURATION) {
		num_duration_format(row->min, min);
		num_duration_format(row->max, max);
		(void)snprintf(ret, CONFIG_ALLOWED_MAX, "a duration from %s to %s, like \"90s\" or \"10m\"", min, max);
	} else if (row->type == CFG_SIZE) {
		num_size_format((uint64_t)row->min, min);
		num_size_format((uint64_t)row->max, max);
		(void)snprintf(ret, CONFIG_ALLOWED_MAX, "a size from %s to %s, like \"200M\"", min, max);
	} else {
		(void)snprintf(ret, CONFIG_ALLOWED_MAX, "a whole number from %lld to %lld", (long long)row->min,
			(long long)row->max);
	}
}

bool
config_is_integer(const config_setting_t *s)
{
	int type = config_setting_type(s);

	return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

int
config_duration(const config_setting_t *s, int64_t *ret)
{
	if (config_setting_type(s) == CONFIG_TYPE_STRING)
		return num_duration(config_setting_get_string(s), ret);
	if (config_is_integer(s))
		return __builtin_mul_overflow(config_setting_get_int64(s), 1000, ret) ? -ERANGE : 0;
	if (config_setting_type(s) == CONFIG_TYPE_FLOAT) {
		double v = config_setting_get_float(s) * 1000;

		if (!(fabs(v) < 1e15))
			return -ERANGE;
		*ret = llround(v); /* 1.001 is a little less than that in binary */
		return 0;
	}
	return -EINVAL;
}

int
config_size(const config_setting_t *s, int64_t *ret)
{
	uint64_t v;

	if (config_setting_type(s) == CONFIG_TYPE_STRING) {
		int r = num_size(config_setting_get_string(s), &v);

		if (r < 0)
			return r;
		if (v > INT64_MAX)
			return -ERANGE;
		*ret = (int64_t)v;
		return 0;
	}
	if (!config_is_integer(s))
		return -EINVAL;
	*ret = config_setting_get_int64(s);
	return 0;
}

static void
read_number(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row, void *at)
{
	char allowed[CONFIG_ALLOWED_MAX];
	int64_t v = 0;
	int e;

	allowed_numbers(row, allowed);
	if (row->type == CFG_DURATION)
		e = config_duration(s, &v);
	else if (row->type == CFG_SIZE)
		e = config_size(s, &v);
	else if ((e = config_is_integer(s) ? 0 : -EINVAL) == 0)
		v = config_setting_get_int64(s);
	if (e == -EINVAL)
		config_complain(r, s, "not of that form", allowed);
	else if (e == -ERANGE || v > row->max)
		config_complain(r, s, "too large", allowed);
	else if (v < row->min)
		config_complain(r, s, "too small", allowed);
	else if (row->type == CFG_SIZE)
		*(uint64_t *)at = (uint64_t)v;
	else
		*(int64_t *)at = v;
}

static void
read_choice(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row, int *at)
{
	char allowed[CONFIG_ALLOWED_MAX];
	struct text t = text_in(allowed, sizeof(allowed));
	const char *word = config_setting_get_string(s);

	for (int i = 0; row->choices[i] != NULL; i++) {
		if (word != NULL && strcmp(word, row->choices[i]) == 0) {
			*at = i;
			return;
		}
		text_puts(&t, i > 0 ? ", \"" : "\"");
		text_puts(&t, row->choices[i]);
		text_putc(&t, '"');
	}
	config_complain(r, s, "not one of the words", allowed);
}

static bool
is_path(const struct cfg_row *row)
{
	return row->type == CFG_PATH || row->type == CFG_PATHS;
}

/* One name or path into `at`; `s` is the setting to complain about. */
static bool
read_string(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row, const char *text,
	char at[CFG_STRING_MAX])
{
	const char *allowed = is_path(row) ? "an absolute path of less than 200 printable characters"
		: row->type == CFG_ADDRESS ? "an IP address, like \"127.0.0.1\" or \"::1\""
					   : "a name of less than 200 printable characters";
	struct ip ip;
	bool empty = text != NULL && text[0] == '\0';

	if (text == NULL) {
		config_complain(r, s, "not a text", allowed);
	} else if (empty && (row->flags & CFG_MAY_BE_EMPTY) == 0) {
		config_complain(r, s, "empty", allowed);
	} else if (!empty && !text_is_plain(text)) {
		config_complain(r, s, "has control or 8-bit characters", allowed);
	} else if (!empty && is_path(row) && text[0] != '/') {
		config_complain(r, s, "not an absolute path", allowed);
	} else if (row->type == CFG_ADDRESS && ip_parse(text, &ip) < 0) {
		config_complain(r, s, "not an IP address", allowed);
	} else if (text_copy(at, CFG_STRING_MAX, text) < 0) {
		config_complain(r, s, "too long", allowed);
	} else {
		return true;
	}
	return false;
}

static void
read_list(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row, struct cfg_list *at)
{
	const char *single = config_setting_get_string(s); /* "a" for [ "a" ], "" for [ ] */
	int type = config_setting_type(s);
	struct cfg_list list = { 0 };

	if (single == NULL && type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) {
		config_complain(r, s, "not a list", "[ \"a\", \"b\" ]");
		return;
	}
	if (single != NULL && single[0] != '\0') {
		list.n = 1;
		if (read_string(r, s, row, single, list.s[0]))
			*at = list;
		return;
	}
	int n = single != NULL ? 0 : config_setting_length(s);
	if (n > CFG_LIST_MAX) {
		config_complain(r, s, "too long", "a list of at most 16");
		return;
	}
	for (int i = 0; i < n; i++) {
		const char *text = config_setting_get_string_elem(s, i);

		if (text != NULL && text[0] == '\0')
			config_complain(r, s, "has an empty element", "[ \"a\", \"b\" ]");
		else if (read_string(r, s, row, text, list.s[list.n]))
			list.n++;
	}
	if (n == 0 && (row->flags & CFG_MAY_BE_EMPTY) == 0)
		config_complain(r, s, "empty", "a list with at least one element");
	else
		*at = list;
}

static void
read_durations(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row,
	struct cfg_durations *at)
{
	int type = config_setting_type(s);
	bool many = type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;
	int n = many ? config_setting_length(s) : 1;
	struct cfg_durations list = { 0 };
	struct cfg_row each = *row;
	unsigned wrong = r->errors->n;

	each.type = CFG_DURATION;
	if (n > CFG_LIST_MAX)
		config_complain(r, s, "too long", "a list of at most 16");
	else if (n == 0)
		config_complain(r, s, "empty", "a list with at least one element");
	for (int i = 0; i < n && r->errors->n == wrong; i++)
		read_number(r, many ? config_setting_get_elem(s, (unsigned)i) : s, &each, &list.ms[list.n++]);
	if (r->errors->n == wrong)
		*at = list;
}

void
config_read_value(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row, void *at)
{
	switch (row->type) {
	case CFG_DURATION:
	case CFG_SIZE:
	case CFG_COUNT:
		read_number(r, s, row, at);
		break;
	case CFG_BOOL:
		if (config_setting_type(s) != CONFIG_TYPE_BOOL)
			config_complain(r, s, "not of that form", "true, false");
		else
			*(bool *)at = config_setting_get_bool(s) != 0;
		break;
	case CFG_CHOICE:
		read_choice(r, s, row, at);
		break;
	case CFG_NAME:
	case CFG_PATH:
	case CFG_ADDRESS:
		(void)read_string(r, s, row, config_setting_get_string(s), at);
		break;
	case CFG_NAMES:
	case CFG_PATHS:
		read_list(r, s, row, at);
		break;
	case CFG_DURATIONS:
		read_durations(r, s, row, at);
		break;
	}
}
