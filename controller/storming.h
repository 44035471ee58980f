/* SPDX-License-Identifier: ISC */
/*
 * storming - what the engine does about storms of bounces
 *
 * storms.c decides and sent.c knows what a bounce can be the answer to; this file brings them what happens, and puts on
 * record what comes of it: a row and two lines in the history for each storm, and rows of what was sent, so that a
 * restart forgets less than a second of it.  Part of the engine (engine_state.h).
 */
#ifndef CONTROLLER_STORMING_H
#define CONTROLLER_STORMING_H

#include <jansson.h>
#include <sys/types.h>

#include "controller/sent.h"
#include "controller/store.h"
#include "lib/ask.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/record.h"

struct engine;
struct storming;

int storming_open(struct engine *e, struct err *why);
void storming_close(struct engine *e); /* also after storming_open() has failed */
void storming_configure(struct engine *e); /* the configuration has changed */
void storming_step(struct engine *e, mono_t now);

/* What is not on record is told: for the end. */
void storming_flush(struct engine *e, mono_t now);

/* When storming_step() is to be called again at the latest. */
mono_t storming_due(const struct engine *e);

/* A session has asked at RCPT, and nothing else refuses it: `ret` is an answer that lets it pass, and is changed when
 * it is refused. */
void storming_asked(struct engine *e, const struct record *r, mono_t now, struct ask_answer *ret);

/* A plugin tells that one of our users sends. */
void storming_told(struct engine *e, const struct record *r, mono_t now);

/* From the recorder. */
void storming_stored(struct engine *e, uint64_t id, bool ok, const char *text);

/* Commands.  NULL: the reply comes later. */
json_t *storming_list(struct engine *e, const json_t *request);
json_t *storming_release(struct engine *e, const json_t *request, const char *who, uint64_t client);

/* For status.  Caller owns the reference. */
json_t *storming_describe(struct engine *e);

#endif
