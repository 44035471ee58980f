/* SPDX-License-Identifier: ISC */
/*
 * A class of limits is a list of ("PATTERN", SECONDS, COUNT), tried in order; this is rater's syntax, and a file of
 * rater's must mean here what it means there.  So what makes no sense, but did no harm there, is a note and no error: a
 * pattern that stands behind another which matches all that it matches.
 */
#include "controller/config_limits.h"

#include <fnmatch.h>
#include <string.h>

#include "controller/config_recipients.h"
#include "controller/config_value.h"
#include "lib/array.h"
#include "lib/ip.h"
#include "lib/num.h"
#include "lib/text.h"

static const char *const mode_words[] = {
	[RATE_WINDOW] = "window", [RATE_LEAKY] = "leaky", [RATE_GCRA] = "gcra", NULL,
};
static const struct cfg_row mode_row = { .name = "mode", .type = CFG_CHOICE, .choices = mode_words };
static const struct cfg_row window_row = { .type = CFG_DURATION, .min = 1, .max = RATE_WINDOW_MAX_MS };

static const char keys_form[] = "( (\"PATTERN\", SECONDS, COUNT), ... )";
static const char class_form[] = "( (\"PATTERN\", SECONDS, COUNT), ... ) or { mode = WORD; keys = ( ... ); }";

/* --- patterns -------------------------------------------------------------------------------- */

/* Is it meant as a prefix?  Only digits of addresses on both sides of one slash. */
static bool
looks_like_prefix(const char *s)
{
	static const char digits[] = "0123456789abcdefABCDEF.:";
	size_t n = strspn(s, digits);

	return s[n] == '/' && strcspn(s, ".:") < n && s[n + 1 + strspn(s + n + 1, digits)] == '\0';
}

static void
read_pattern(struct config_reader *r, const config_setting_t *s, struct rate_limit *ret)
{
	static const char allowed[] =
		"a pattern for fnmatch(3) of less than 80 printable characters, or a prefix like \"192.0.2.0/24\"";
	const char *text = config_setting_get_string(s);
	struct ip_prefix prefix;

	if (text == NULL)
		config_complain(r, s, "not a text", allowed);
	else if (text[0] == '\0')
		config_complain(r, s, "empty", allowed);
	else if (!text_is_plain(text))
		config_complain(r, s, "has control or 8-bit characters", allowed);
	else if (looks_like_prefix(text) && ip_prefix_parse(text, &prefix) < 0)
		config_complain(r, s, "looks like a prefix and is none",
			"\"192.0.2.0/24\", \"2001:db8::/32\": no bit set behind the length");
	else if (rate_limit_set_pattern(ret, text) < 0)
		config_complain(r, s, "too long", allowed);
}

/* Does `first` match all that `l` matches?  Not every such pair is found, but no other is. */
static bool
covers(const struct rate_limit *first, const struct rate_limit *l)
{
	struct ip ip;

	if (first->pattern[strspn(first->pattern, "*")] == '\0' || strcmp(first->pattern, l->pattern) == 0)
		return true;
	if (l->is_prefix)
		return first->is_prefix && first->prefix.bits <= l->prefix.bits
			&& ip_prefix_contains(&first->prefix, &l->prefix.ip);
	if (strpbrk(l->pattern, "*?[\\") != NULL)
		return false;
	if (first->is_prefix)
		return ip_parse(l->pattern, &ip) == 0 && ip_prefix_contains(&first->prefix, &ip);
	return fnmatch(first->pattern, l->pattern, 0) == 0;
}

static void
note_hidden(struct config_reader *r, const config_setting_t *s, const struct rate_limit *limits,
	const struct rate_limit *l)
{
	char what[RATE_PATTERN_MAX + 80];

	for (; limits < l; limits++) {
		if (!covers(limits, l))
			continue;
		(void)snprintf(what, sizeof(what),
			"never counts: it stands behind \"%s\", and the first that matches counts", limits->pattern);
		config_note(r, s, what);
		return;
	}
}

/* --- entries --------------------------------------------------------------------------------- */

static void
read_count(struct config_reader *r, const config_setting_t *s, int64_t *ret)
{
	static const char allowed[] = "a whole number from 0 to 1000000, or -1: not limited";

	_Static_assert(RATE_COUNT_MAX == 1000000, "the text names it");
	if (!config_is_integer(s))
		config_complain(r, s, "not of that form", allowed);
	else if (config_setting_get_int64(s) > RATE_COUNT_MAX)
		config_complain(r, s, "too large", allowed);
	else if (config_setting_get_int64(s) < -1)
		config_complain(r, s, "too small", allowed);
	else
		*ret = config_setting_get_int64(s);
}

/* Lists in the list `s`, each ("PATTERN", SECONDS, COUNT), or ("PATTERN", COUNT) where nothing has a window, to the
 * `cap` slots at `ret`, which are zeroed.  Returns how many were read. */
static unsigned
read_entries(struct config_reader *r, const config_setting_t *s, bool has_window, struct rate_limit *ret,
	unsigned cap, const char *full)
{
	const char *form = has_window ? "(\"PATTERN\", SECONDS, COUNT)" : "(\"PATTERN\", COUNT)";
	int parts = has_window ? 3 : 2;
	unsigned n = 0;

	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *entry = config_setting_get_elem(s, (unsigned)i);
		unsigned wrong = r->errors->n;

		if (config_setting_type(entry) != CONFIG_TYPE_LIST || config_setting_length(entry) != parts) {
			config_complain(r, entry, "not of that form", form);
			if (config_setting_type(entry) != CONFIG_TYPE_LIST)
				return n; /* ("*", 10, 5) for ( ("*", 10, 5) ): once is enough */
			continue;
		}
		if (n == cap) {
			config_complain(r, entry, "one too many", full);
			return n;
		}
		struct rate_limit *l = &ret[n];
		read_pattern(r, config_setting_get_elem(entry, 0), l);
		if (has_window)
			config_read_value(r, config_setting_get_elem(entry, 1), &window_row, &l->window_ms);
		read_count(r, config_setting_get_elem(entry, (unsigned)parts - 1), &l->count);
		if (r->errors->n == wrong)
			note_hidden(r, entry, ret, &ret[n++]);
	}
	return n;
}

/* --- limits ---------------------------------------------------------------------------------- */

static void
read_keys(struct config_reader *r, const config_setting_t *s, struct rate_class *class)
{
	struct rate_cfg *c = &r->out->limits;

	if (config_setting_type(s) != CONFIG_TYPE_LIST) {
		config_complain(r, s, "not a list", keys_form);
		return;
	}
	class->n = read_entries(r, s, true, &c->limit[class->first], RATE_LIMITS_MAX - class->first,
		"at most 256 in all classes together");
	_Static_assert(RATE_LIMITS_MAX == 256, "the text names it");
	c->n_limits = class->first + class->n;
}

/* { mode = "gcra"; keys = ( ... ); } */
static void
read_class_group(struct config_reader *r, const config_setting_t *s, struct rate_class *class)
{
	struct config_words words = { { "mode", "keys" }, 2 };
	bool has_keys = false;

	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *m = config_setting_get_elem(s, (unsigned)i);

		if (strcmp(config_setting_name(m), "mode") == 0) {
			int mode = RATE_WINDOW;

			config_read_value(r, m, &mode_row, &mode);
			class->mode = (enum rate_mode)mode;
		} else if (strcmp(config_setting_name(m), "keys") == 0) {
			read_keys(r, m, class);
			has_keys = true;
		} else {
			config_complain_unknown(r, m, &words);
		}
	}
	if (!has_keys)
		config_complain(r, s, "has no keys", class_form);
}

static void
read_class(struct config_reader *r, const config_setting_t *s)
{
	struct rate_cfg *c = &r->out->limits;
	struct rate_class *class = &c->class[c->n_classes];

	if (c->n_classes == RATE_CLASSES_MAX) {
		config_complain(r, s, "one class too many", "at most 32 classes");
		return;
	}
	_Static_assert(RATE_CLASSES_MAX == 32, "the text names it");
	if (text_copy(class->name, RATE_NAME_MAX, config_setting_name(s)) < 0) {
		config_complain(r, s, "the name of the class is too long", "at most 49 characters");
		return;
	}
	_Static_assert(RATE_NAME_MAX == 50, "the text names it");
	class->first = c->n_limits;
	c->n_classes++;
	if (config_setting_type(s) == CONFIG_TYPE_LIST)
		read_keys(r, s, class);
	else if (config_setting_type(s) == CONFIG_TYPE_GROUP)
		read_class_group(r, s, class);
	else
		config_complain(r, s, "not a class of limits", class_form);
}

static void
read_limits(struct config_reader *r, const config_setting_t *s)
{
	if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
		config_complain(r, s, "not a group", "{ CLASS = ( (\"PATTERN\", SECONDS, COUNT), ... ); ... }");
		return;
	}
	for (int i = 0; i < config_setting_length(s); i++)
		read_class(r, config_setting_get_elem(s, (unsigned)i));
}

static void
print_entry(FILE *f, const char *indent, const struct rate_limit *l, bool last)
{
	char window[NUM_TEXT_MAX];

	(void)fprintf(f, "%s( ", indent);
	config_print_string(f, l->pattern);
	num_duration_format(l->window_ms, window);
	if (l->window_ms > 0)
		(void)fprintf(f, ", \"%s\"", window);
	(void)fprintf(f, ", %lld )%s\n", (long long)l->count, last ? "" : ",");
}

static void
print_limits(FILE *f, const struct config *c)
{
	(void)fprintf(f, "# pattern, time, how often in any such time; the first that matches counts; -1: not limited\n"
			 "limits = {\n");
	for (unsigned i = 0; i < c->limits.n_classes; i++) {
		const struct rate_class *class = &c->limits.class[i];

		(void)fprintf(f, "\t%s = {\n\t\tmode = \"%s\";\n\t\tkeys = (\n", class->name,
			mode_words[class->mode]);
		for (unsigned j = 0; j < class->n; j++)
			print_entry(f, "\t\t\t", &c->limits.limit[class->first + j], j + 1 == class->n);
		(void)fprintf(f, "\t\t);\n\t};\n");
	}
	(void)fprintf(f, "};\n");
}

/* --- concurrency ----------------------------------------------------------------------------- */

static void
read_concurrency(struct config_reader *r, const config_setting_t *s)
{
	struct config_concurrency *c = &r->out->concurrency;

	if (config_setting_type(s) != CONFIG_TYPE_LIST) {
		config_complain(r, s, "not a list", "( (\"PATTERN\", COUNT), ... )");
		return;
	}
	c->n = read_entries(r, s, false, c->limit, CONFIG_CONCURRENCY_MAX, "at most 32");
	_Static_assert(CONFIG_CONCURRENCY_MAX == 32, "the text names it");
}

static void
print_concurrency(FILE *f, const struct config *c)
{
	(void)fprintf(f, "# pattern, connections held at once; the first that matches counts; -1: not limited\n"
			 "concurrency = (\n");
	for (unsigned i = 0; i < c->concurrency.n; i++)
		print_entry(f, "\t", &c->concurrency.limit[i], i + 1 == c->concurrency.n);
	(void)fprintf(f, ");\n");
}

const struct config_part config_part[CONFIG_PARTS] = {
	{ "limits", read_limits, print_limits },
	{ "concurrency", read_concurrency, print_concurrency },
	{ "localparts", config_read_localparts, config_print_localparts },
};
