/* SPDX-License-Identifier: ISC */
/*
 * blocking - what the engine does about blocks: evidence in, orders to the keeper out, all of it on record
 *
 * blocks.c decides and protect.c says who never; this file brings them what happens (limits.c, commands), and carries
 * out what they decide: an order to the keeper, a row for the database, a line in the log.  Part of the engine
 * (engine_state.h).
 *
 * Orders go in packets.  When the keeper does not take one, nothing is remembered of single changes: the whole list
 * is told again, as it is told at the start, once what is stored has been read.
 */
#ifndef CONTROLLER_BLOCKING_H
#define CONTROLLER_BLOCKING_H

#include <jansson.h>

#include "controller/admit.h"
#include "controller/block_order.h"
#include "controller/store.h"
#include "lib/clock.h"
#include "lib/err.h"

struct engine;
struct blocking;

#define BLOCKING_REQUEST_MAX 64 /* prefixes in one request */

int blocking_open(struct engine *e, struct err *why);
void blocking_close(struct engine *e); /* also after blocking_open() has failed */
void blocking_reload(struct engine *e); /* the configuration has changed */
void blocking_step(struct engine *e, mono_t now);

/* When blocking_step() is to be called again at the latest. */
mono_t blocking_due(struct engine *e);

/* A session has asked, and was answered with `a`; `id` of the evidence when it was refused. */
void blocking_asked(struct engine *e, const struct record *r, const struct admit_result *a, const char *id, mono_t now);

/* One of our users is there; mail of somebody else was let through. */
void blocking_login(struct engine *e, const struct ip *ip, mono_t now);
void blocking_mail(struct engine *e, const struct ip *ip, mono_t now);

/* Does the configuration write blocks anywhere, or play at it? */
bool blocking_is_used(const struct engine *e);

/* Is it on the allow list, or a relay client by the administrator's rules?  Then nothing is ever against it. */
bool blocking_is_allowed(struct engine *e, const struct ip *ip, mono_t now);

bool blocking_may_block(struct engine *e, const struct ip *ip);

/* From the keeper, and from the recorder. */
void blocking_report(struct engine *e, const struct block_report *r);
void blocking_restore(struct engine *e, const struct store_block *b, const struct store_allow *a);
void blocking_stored(struct engine *e, uint64_t id, bool ok, const char *text);

/* Commands.  NULL: the reply comes later. */
json_t *blocking_put(struct engine *e, const json_t *request, const char *who, uint64_t client);
json_t *blocking_remove(struct engine *e, const json_t *request, const char *who, uint64_t client);
json_t *blocking_list(struct engine *e, const json_t *request);
json_t *blocking_allow(struct engine *e, const json_t *request, const char *who, uint64_t client);
json_t *blocking_allowed(struct engine *e, const json_t *request);

/* For status.  Caller owns the reference. */
json_t *blocking_describe(struct engine *e);

#endif
