/* SPDX-License-Identifier: ISC */
/* publish - the state file for the plugins: written by rename, often enough for its lease */
#ifndef CONTROLLER_PUBLISH_H
#define CONTROLLER_PUBLISH_H

#include "controller/config.h"
#include "lib/state.h"

/* The directory is open at `dir`.  Returns 0 or -errno; readers see the old or the new state, whole. */
int publish_state(int dir, const struct state *s);

/* The parts of a state that follow from the configuration alone. */
void publish_configured(const struct config *c, struct state *ret);

#endif
