/* SPDX-License-Identifier: ISC */
/*
 * blocker - the keeper's hand for blocks: keeps the list of what is wanted and has the block actions carry it out
 *
 * It looks at every order once more: a prefix that contains a loopback address, one of this machine's own, one of the
 * configured protected ones, or one that an engine has told it to protect is not blocked, whoever asks for it; and what
 * is blocked ends when it becomes protected.  When no engine is there, blocks end at their own time all the same.
 */
#ifndef CONTROLLER_BLOCKER_H
#define CONTROLLER_BLOCKER_H

#include <poll.h>

#include "actions/block.h"
#include "controller/block_order.h"

#define BLOCKER_ACTIONS_MAX 4
#define BLOCKER_FDS (BLOCKER_ACTIONS_MAX + 1)

struct blocker;

/* Open the actions that the configuration uses; one that can't be opened is told and tried again.  `cfg` is borrowed.
 * Returns 0 or -ENOMEM. */
int blocker_new(const struct block_cfg *cfg, struct blocker **ret);
void blocker_free(struct blocker *b); /* NULL is allowed; blocks stay in force until their time */

void blocker_order(struct blocker *b, const struct block_order *o, mono_t now);

/* The configured protected ones, read anew; copied, and cut to BLOCK_PROTECTED_MAX. */
void blocker_configure(struct blocker *b, const struct ip_prefix *list, size_t n, mono_t now);

/* Has an engine told since the last call that the configuration was read anew? */
bool blocker_wants_configuration(struct blocker *b);

/* Once a turn of the keeper: outdated blocks, the actions' own work, a clock that was set. */
void blocker_step(struct blocker *b, mono_t now);

/* What to wait for.  Returns how many of `ret` are filled. */
unsigned blocker_fds(const struct blocker *b, struct pollfd ret[BLOCKER_FDS]);

/* May step() be called again soon, for there is work under way? */
bool blocker_is_busy(const struct blocker *b);

/* Tell an engine on `fd` what has changed since it was told last; `anew`: an engine that has not been told anything. */
void blocker_report(struct blocker *b, int fd, bool anew, mono_t now);

#endif
