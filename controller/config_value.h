/* SPDX-License-Identifier: ISC */
/*
 * config_value - a value of the tree, read along its row of the schema
 *
 * Private to the readers of configurations.
 */
#ifndef CONTROLLER_CONFIG_VALUE_H
#define CONTROLLER_CONFIG_VALUE_H

#include "controller/config_report.h"

/* Read `s` as `row` says and write it to `at`; or complain, and leave `at` alone. */
void config_read_value(struct config_reader *r, const config_setting_t *s, const struct cfg_row *row,
	void *at);

bool config_is_integer(const config_setting_t *s);

/* A duration in milliseconds: "90s", or a number of seconds.  Returns 0, -EINVAL or -ERANGE. */
int config_duration(const config_setting_t *s, int64_t *ret);

/* A size in bytes: "200M", or a number of them.  Returns 0, -EINVAL or -ERANGE. */
int config_size(const config_setting_t *s, int64_t *ret);

/* As libconfig reads it back. */
void config_print_string(FILE *f, const char *s);

#endif
