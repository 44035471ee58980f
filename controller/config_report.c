/* SPDX-License-Identifier: ISC */
#include "controller/config_report.h"

#include <stdio.h>
#include <string.h>

#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"

#define VALUE_MAX 80

struct err *
config_next_error(struct config_errors *errors)
{
	unsigned i = errors->n++;

	return i < CONFIG_ERRORS_MAX ? &errors->e[i] : NULL;
}

/* "levels.busy.todo", "limits.ip[0][2]" */
static void
key_of(const config_setting_t *s, struct text *t)
{
	const config_setting_t *parent = config_setting_parent(s);

	if (parent == NULL)
		return;
	key_of(parent, t);
	if (config_setting_name(s) == NULL) {
		text_putc(t, '[');
		text_put_u64(t, (uint64_t)config_setting_index(s));
		text_putc(t, ']');
		return;
	}
	if (t->len > 0)
		text_putc(t, '.');
	text_puts(t, config_setting_name(s));
}

static void
put_string(const char *s, struct text *t)
{
	text_putc(t, '"');
	text_put_printable(t, s, strlen(s), 16);
	text_puts(t, strlen(s) > 16 ? "...\"" : "\"");
}

/* The value as it stands in the file, short. */
static void
value_of(const config_setting_t *s, struct text *t)
{
	char number[NUM_TEXT_MAX];

	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		(void)snprintf(number, sizeof(number), "%lld", config_setting_get_int64(s));
		text_puts(t, number);
		break;
	case CONFIG_TYPE_FLOAT:
		(void)snprintf(number, sizeof(number), "%g", config_setting_get_float(s));
		text_puts(t, number);
		break;
	case CONFIG_TYPE_STRING:
		put_string(config_setting_get_string(s), t);
		break;
	case CONFIG_TYPE_BOOL:
		text_puts(t, config_setting_get_bool(s) ? "true" : "false");
		break;
	case CONFIG_TYPE_GROUP:
		text_puts(t, "{ ... }");
		break;
	case CONFIG_TYPE_ARRAY:
		text_puts(t, "[ ... ]");
		break;
	default: /* of a list in a list the first element is its name */
		text_puts(t, "( ");
		if (config_setting_name(s) == NULL && config_setting_get_string_elem(s, 0) != NULL) {
			put_string(config_setting_get_string_elem(s, 0), t);
			text_puts(t, ", ");
		}
		text_puts(t, "... )");
		break;
	}
}

/* "file:line: key = value: what; allowed: allowed"; a note has no `allowed`. */
static void
tell(const struct config_reader *r, const config_setting_t *s, const char *what, const char *allowed,
	struct err *ret)
{
	char where[CONFIG_NAME_MAX + 16], key[CONFIG_KEY_MAX], value[VALUE_MAX];
	struct text k = text_in(key, sizeof(key)), v = text_in(value, sizeof(value));

	config_source_where(r->source, config_setting_source_line(s), where, sizeof(where));
	key_of(s, &k);
	value_of(s, &v);
	(void)err_set(ret, 0, "%s: %s = %s: %s%s%s", where, key, value, what, allowed != NULL ? "; allowed: " : "",
		allowed != NULL ? allowed : "");
}

void
config_complain(struct config_reader *r, const config_setting_t *s, const char *what, const char *allowed)
{
	tell(r, s, what, allowed, config_next_error(r->errors));
}

void
config_note(struct config_reader *r, const config_setting_t *s, const char *what)
{
	unsigned i = r->errors->notes++;

	tell(r, s, what, NULL, i < CONFIG_NOTES_MAX ? &r->errors->note[i] : NULL);
}

/* Levenshtein distance (V. I. Levenshtein, 1966), for words of this schema's length. */
static size_t
distance(const char *a, const char *b)
{
	size_t row[32], n = strlen(b);

	if (n >= countof(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

void
config_add_word(struct config_words *words, const char *w)
{
	for (size_t i = 0; i < words->n; i++)
		if (strcmp(words->w[i], w) == 0)
			return;
	if (words->n < countof(words->w))
		words->w[words->n++] = w;
}

void
config_complain_unknown(struct config_reader *r, const config_setting_t *s, const struct config_words *words)
{
	char allowed[CONFIG_ALLOWED_MAX], what[CONFIG_KEY_MAX];
	struct text t = text_in(allowed, sizeof(allowed)), w = text_in(what, sizeof(what));
	const char *nearest = NULL;
	size_t least = 4;

	for (size_t i = 0; i < words->n; i++) {
		size_t d = distance(config_setting_name(s), words->w[i]);

		if (d < least && d < strlen(words->w[i])) {
			least = d;
			nearest = words->w[i];
		}
		if (i > 0)
			text_puts(&t, ", ");
		text_puts(&t, words->w[i]);
	}
	text_puts(&w, "unknown key");
	if (nearest != NULL) {
		text_puts(&w, ", did you mean \"");
		text_puts(&w, nearest);
		text_putc(&w, '"');
	}
	config_complain(r, s, what, allowed);
}
