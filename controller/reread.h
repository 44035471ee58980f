/* SPDX-License-Identifier: ISC */
/*
 * reread - the keeper's part of a configuration that was read anew
 *
 * The engine has its own copy.  Whom never to block the keeper does not take on the engine's word: it has the file
 * read once more by a child of its own (config_child.h), which parses without any privilege, and takes nothing of it
 * but prefixes.  Asked for again and again it reads once a second.
 */
#ifndef CONTROLLER_REREAD_H
#define CONTROLLER_REREAD_H

#include <stdbool.h>

#include "lib/clock.h"

struct config;
struct reread;

/* `path` is borrowed.  Returns 0 or -ENOMEM. */
int reread_new(const char *path, struct reread **ret);
void reread_free(struct reread *r); /* NULL is allowed */

void reread_ask(struct reread *r);

/* Once a turn.  Returns what has been read, borrowed until the next call, or NULL. */
const struct config *reread_step(struct reread *r, mono_t now);

/* Readable when reread_step() has something to do, or -1; and does something wait for time to pass? */
int reread_fd(const struct reread *r);
bool reread_is_waiting(const struct reread *r);

#endif
