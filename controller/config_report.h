/* SPDX-License-Identifier: ISC */
/*
 * config_report - telling what is wrong with a configuration, so that it can be put right
 *
 * Private to the reader of configurations: a line for each error,
 *	file:line: key = value: what is wrong; allowed: ...
 */
#ifndef CONTROLLER_CONFIG_REPORT_H
#define CONTROLLER_CONFIG_REPORT_H

#include <libconfig.h>
#include <stddef.h>

#include "controller/config.h"
#include "controller/config_source.h"

#define CONFIG_ALLOWED_MAX 240

struct config_reader {
	struct config *out;
	const struct config_source *source;
	struct config_errors *errors;
};

/* Words that are allowed at a place; those added twice stand once. */
struct config_words {
	const char *w[READING_COUNT + LEVEL_COUNT + 16]; /* borrowed */
	size_t n;
};

void config_add_word(struct config_words *words, const char *w);

/* The slot for the next error, or NULL when there are enough: it is counted in any case. */
struct err *config_next_error(struct config_errors *errors);

/* Something is wrong with the value of `s`. */
void config_complain(struct config_reader *r, const config_setting_t *s, const char *what,
	const char *allowed);

/* The value of `s` is allowed, and hardly meant so. */
void config_note(struct config_reader *r, const config_setting_t *s, const char *what);

/* `s` has a name that nothing here has; the nearest of `words` is suggested. */
void config_complain_unknown(struct config_reader *r, const config_setting_t *s,
	const struct config_words *words);

#endif
