/* SPDX-License-Identifier: ISC */
/*
 * rcptcheck - what the engine answers for wrongrcpt, validrcpt and localparts
 *
 * Part of the engine (engine_state.h).  The list of recipients is read in pieces of RCPTCHECK_PIECE bytes, one a turn,
 * into a set of its own, which takes the place of the old one when all of it was read and the file is still the same.
 * A file is read when two looks, RCPTCHECK_LOOK_MS apart, see it alike, so that one that is just being written is left
 * alone.  One that can't be read, is empty, or is too large leaves no list: then nothing is known, and nobody refused.
 */
#ifndef CONTROLLER_RCPTCHECK_H
#define CONTROLLER_RCPTCHECK_H

#include <jansson.h>
#include <stdbool.h>

#include "controller/admit.h"
#include "lib/ask.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/record.h"

#define RCPTCHECK_PIECE (64 * 1024)
#define RCPTCHECK_LOOK_MS 1000
#define RCPTCHECK_FILE_MAX (64 << 20) /* bytes */

struct engine;
struct rcptcheck;

int rcptcheck_open(struct engine *e, struct err *why);
void rcptcheck_close(struct engine *e); /* also after rcptcheck_open() has failed */
void rcptcheck_configure(struct engine *e); /* the configuration has changed, or SIGHUP: the file is read anew */
void rcptcheck_step(struct engine *e, mono_t now);

/* When rcptcheck_step() is to be called again at the latest. */
mono_t rcptcheck_due(const struct engine *e);

/* A session has asked at RCPT, and nothing else refuses it.  Returns whether one of the checks does: then `a` says
 * which, and for what; a->class is -1 for all but wrongrcpt. */
bool rcptcheck_asked(struct engine *e, const struct record *r, mono_t now, struct admit_result *a);

/* For status, and for one address.  Caller owns the reference. */
json_t *rcptcheck_describe(struct engine *e);
json_t *rcptcheck_look_up(struct engine *e, const json_t *request);

#endif
