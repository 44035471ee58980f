/* SPDX-License-Identifier: ISC */
#include "controller/config_recipients.h"

#include <string.h>

#include "controller/config_value.h"
#include "controller/localparts.h"
#include "lib/text.h"

static const char *const verdict_words[] = { [RECIPIENTS_REFUSE] = "refuse", [RECIPIENTS_MARK] = "mark", NULL };
static const char *const over_words[] = { "defer", "refuse", NULL };

#define AT(member) .at = offsetof(struct config_recipients, member)

const struct cfg_row config_recipients_rows[] = {
	{ .name = "file", .type = CFG_PATH, AT(file), .def_text = "", .flags = CFG_MAY_BE_EMPTY,
		.help = "the addresses that exist, a line each; empty: no list" },
	{ .name = "unknown", .type = CFG_CHOICE, AT(unknown), .choices = verdict_words, .def = RECIPIENTS_REFUSE,
		.help = "an address that it lacks, of a domain that it has: refuse, or mark for wrongrcpt alone" },
	{ .name = "over", .type = CFG_CHOICE, AT(over), .choices = over_words, .def = 0,
		.help = "over the limits of class wrongrcpt: defer (451) or refuse (550)" },
	{ 0 },
};

static const struct cfg_row verdict_row = { .name = "verdict", .type = CFG_CHOICE, .choices = verdict_words };
static const char form[] = "( { pattern = \"REGEX\"; verdict = \"refuse\"; reason = \"TEXT\"; }, ... )";

static void
read_text(struct config_reader *r, const config_setting_t *s, char ret[LOCALPARTS_PATTERN_MAX])
{
	static const char allowed[] = "a text of 1 to 79 printable characters";
	const char *text = config_setting_get_string(s);

	_Static_assert(LOCALPARTS_PATTERN_MAX == 80, "the text names it");
	if (text == NULL)
		config_complain(r, s, "not a text", allowed);
	else if (text[0] == '\0' || !text_is_plain(text))
		config_complain(r, s, "empty, or has control or 8-bit characters", allowed);
	else if (text_copy(ret, LOCALPARTS_PATTERN_MAX, text) < 0)
		config_complain(r, s, "too long", allowed);
}

static void
read_pattern(struct config_reader *r, const config_setting_t *s, char ret[LOCALPARTS_PATTERN_MAX])
{
	unsigned wrong = r->errors->n;
	struct err why;

	read_text(r, s, ret);
	if (r->errors->n == wrong && localparts_test(ret, &why) < 0)
		config_complain(r, s, why.text, "a POSIX extended regular expression that is not costly");
}

static void
read_entry(struct config_reader *r, const config_setting_t *entry)
{
	struct config_localparts *c = &r->out->localparts;
	struct config_words words = { { "pattern", "verdict", "reason" }, 3 };
	unsigned wrong = r->errors->n;

	for (int i = 0; i < config_setting_length(entry); i++) {
		const config_setting_t *m = config_setting_get_elem(entry, (unsigned)i);
		const char *name = config_setting_name(m);

		if (strcmp(name, "pattern") == 0)
			read_pattern(r, m, c->at[c->n].pattern);
		else if (strcmp(name, "reason") == 0)
			read_text(r, m, c->at[c->n].reason);
		else if (strcmp(name, "verdict") == 0)
			config_read_value(r, m, &verdict_row, &c->at[c->n].verdict);
		else
			config_complain_unknown(r, m, &words);
	}
	if (r->errors->n == wrong && c->at[c->n].pattern[0] == '\0')
		config_complain(r, entry, "has no pattern", form);
	c->n += r->errors->n == wrong;
}

void
config_read_localparts(struct config_reader *r, const config_setting_t *s)
{
	if (config_setting_type(s) != CONFIG_TYPE_LIST) {
		config_complain(r, s, "not a list", form);
		return;
	}
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *entry = config_setting_get_elem(s, (unsigned)i);

		if (config_setting_type(entry) != CONFIG_TYPE_GROUP) {
			config_complain(r, entry, "not a group", form);
		} else if (r->out->localparts.n == LOCALPARTS_MAX) {
			_Static_assert(LOCALPARTS_MAX == 32, "the text names it");
			config_complain(r, entry, "one too many", "at most 32");
			return;
		} else {
			read_entry(r, entry);
		}
	}
}

void
config_print_localparts(FILE *f, const struct config *c)
{
	const struct config_localparts *l = &c->localparts;

	(void)fprintf(f, "# local parts that hardly exist; the first that matches counts\nlocalparts = (\n");
	for (unsigned i = 0; i < l->n; i++) {
		(void)fprintf(f, "\t{ pattern = ");
		config_print_string(f, l->at[i].pattern);
		(void)fprintf(f, "; verdict = \"%s\";", verdict_words[l->at[i].verdict]);
		if (l->at[i].reason[0] != '\0') {
			(void)fprintf(f, " reason = ");
			config_print_string(f, l->at[i].reason);
			(void)fputc(';', f);
		}
		(void)fprintf(f, " }%s\n", i + 1 < l->n ? "," : "");
	}
	(void)fprintf(f, ");\n");
}
