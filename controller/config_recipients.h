/* SPDX-License-Identifier: ISC */
/*
 * config_recipients - the section `recipients`, and the list `localparts`
 *
 * Private to the readers of configurations.
 */
#ifndef CONTROLLER_CONFIG_RECIPIENTS_H
#define CONTROLLER_CONFIG_RECIPIENTS_H

#include <stdio.h>

#include "controller/config_report.h"

extern const struct cfg_row config_recipients_rows[]; /* of struct config_recipients */

/* ( { pattern = "REGEX"; verdict = "refuse"; reason = "TEXT"; }, ... ) */
void config_read_localparts(struct config_reader *r, const config_setting_t *s);
void config_print_localparts(FILE *f, const struct config *c);

#endif
