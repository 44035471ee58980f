/* SPDX-License-Identifier: ISC */
/* The effective configuration as text that reads back as the same. */
#include <stdio.h>
#include <string.h>

#include "controller/config_blocks.h"
#include "controller/config_limits.h"
#include "controller/config_value.h"
#include "lib/num.h"

void
config_print_string(FILE *f, const char *s)
{
	(void)fputc('"', f);
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			(void)fputc('\\', f);
		(void)fputc(*s, f);
	}
	(void)fputc('"', f);
}

static void
print_list(FILE *f, const struct cfg_list *list)
{
	(void)fprintf(f, "[ ");
	for (unsigned i = 0; i < list->n; i++) {
		(void)fprintf(f, "%s", i > 0 ? ", " : "");
		config_print_string(f, list->s[i]);
	}
	(void)fprintf(f, " ]");
}

static void
print_durations(FILE *f, const struct cfg_durations *list)
{
	(void)fprintf(f, "[ ");
	for (size_t i = 0; i < list->n; i++) {
		char text[NUM_TEXT_MAX];

		num_duration_format(list->ms[i], text);
		(void)fprintf(f, "%s\"%s\"", i > 0 ? ", " : "", text);
	}
	(void)fprintf(f, " ]");
}

static void
print_value(FILE *f, const struct cfg_row *row, const void *at)
{
	char text[NUM_TEXT_MAX];

	switch (row->type) {
	case CFG_DURATION:
		num_duration_format(*(const int64_t *)at, text);
		(void)fprintf(f, "\"%s\"", text);
		break;
	case CFG_SIZE:
		num_size_format(*(const uint64_t *)at, text);
		(void)fprintf(f, "\"%s\"", text);
		break;
	case CFG_COUNT:
		(void)fprintf(f, "%lld", (long long)*(const int64_t *)at);
		break;
	case CFG_BOOL:
		(void)fprintf(f, "%s", *(const bool *)at ? "true" : "false");
		break;
	case CFG_CHOICE:
		(void)fprintf(f, "\"%s\"", row->choices[*(const int *)at]);
		break;
	case CFG_NAME:
	case CFG_PATH:
	case CFG_ADDRESS:
		config_print_string(f, at);
		break;
	case CFG_NAMES:
	case CFG_PATHS:
		print_list(f, at);
		break;
	case CFG_DURATIONS:
		print_durations(f, at);
		break;
	}
}

static void
print_levels(FILE *f, const struct decide_cfg *c)
{
	for (int l = LEVEL_BUSY; l < LEVEL_COUNT; l++) {
		(void)fprintf(f, "\t%s = {\n", level_name((enum level)l));
		for (unsigned i = 0; i < c->level[l].n; i++) {
			const struct decide_rule *r = &c->level[l].rule[i];

			(void)fprintf(f, "\t\t%s = { enter = %.17g; leave = %.17g; };\t# %s\n",
				reading_info[r->id].name, r->enter, r->leave, reading_info[r->id].help);
		}
		(void)fprintf(f, "\t};\n");
	}
}

/* Do both lie in one group, "probes.queue" and "probes.load", or is the one the group of the other, "blocks" and
 * "blocks.ipsvd"? */
static bool
same_group(const char *name, const char *other)
{
	size_t n = strcspn(name, ".");

	return n == strcspn(other, ".") && strncmp(name, other, n) == 0;
}

static void
print_section(FILE *f, const struct config *c, const struct config_section *s)
{
	for (const struct cfg_row *row = config_rows(s); row->name != NULL; row++) {
		(void)fprintf(f, "\t# %s\n\t%s = ", row->help, row->name);
		print_value(f, row, (const char *)c + s->at + row->at);
		(void)fprintf(f, ";\n");
	}
	if (s->has_levels)
		print_levels(f, &c->levels);
	if (s->has_allow)
		config_print_allow(f, c);
}

void
config_print(FILE *f, const struct config *c)
{
	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		const char *name = config_section[i].name, *dot = strchr(name, '.');
		bool first = i == 0 || !same_group(name, config_section[i - 1].name);
		bool last = i + 1 == CONFIG_SECTIONS || !same_group(name, config_section[i + 1].name);

		/* What a section holds itself stands before the groups in it. */
		if (first)
			(void)fprintf(f, "%.*s = {\n", (int)strcspn(name, "."), name);
		if (dot != NULL)
			(void)fprintf(f, "%s = {\n", dot + 1);
		print_section(f, c, &config_section[i]);
		if (dot != NULL)
			(void)fprintf(f, "};\n");
		if (last)
			(void)fprintf(f, "};\n");
	}
	for (size_t i = 0; i < CONFIG_PARTS; i++)
		config_part[i].print(f, c);
}
