/* SPDX-License-Identifier: ISC */
/*
 * config_limits - settings that are lists of patterns: `limits`, as rater's, and `concurrency`
 *
 * Private to the readers of configurations.
 */
#ifndef CONTROLLER_CONFIG_LIMITS_H
#define CONTROLLER_CONFIG_LIMITS_H

#include <stdio.h>

#include "controller/config_report.h"

/* A setting at the top of the file that no row of a schema describes. */
struct config_part {
	const char *name;
	void (*read)(struct config_reader *r, const config_setting_t *s);
	void (*print)(FILE *f, const struct config *c);
};
#define CONFIG_PARTS 3

extern const struct config_part config_part[CONFIG_PARTS];

#endif
