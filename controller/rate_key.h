/* SPDX-License-Identifier: ISC */
/* rate_key - the key of the counters' hash: random, so that nobody can prepare collisions */
#ifndef CONTROLLER_RATE_KEY_H
#define CONTROLLER_RATE_KEY_H

#include "controller/config.h"

/* Never fails: early at boot, before the kernel has entropy, it is the best there is. */
void rate_key_load(const struct config *config, uint8_t ret[RATE_KEY_SIZE]);

#endif
