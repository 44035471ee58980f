/* SPDX-License-Identifier: ISC */
/*
 * config_storms - the section `storms`
 *
 * Private to the readers of configurations.
 */
#ifndef CONTROLLER_CONFIG_STORMS_H
#define CONTROLLER_CONFIG_STORMS_H

#include "controller/config_report.h"

extern const struct cfg_row config_storms_rows[]; /* of struct config_storms */

#endif
