/* SPDX-License-Identifier: ISC */
/*
 * config_blocks - the section `blocks` and the groups in it
 *
 * Private to the readers of configurations.
 */
#ifndef CONTROLLER_CONFIG_BLOCKS_H
#define CONTROLLER_CONFIG_BLOCKS_H

#include <stdio.h>

#include "controller/config_report.h"

extern const struct cfg_row config_blocks_rows[]; /* of struct config_blocks */
extern const struct cfg_row config_ipsvd_rows[], config_tcprules_rows[]; /* of struct block_cfg */

/* The allow list: a list that may be longer than others, of addresses, prefixes and names of hosts. */
void config_read_allow(struct config_reader *r, const config_setting_t *s);
void config_print_allow(FILE *f, const struct config *c);

/* Rules across keys. */
void config_check_blocks(struct config_reader *r, const config_t *tree);

#endif
