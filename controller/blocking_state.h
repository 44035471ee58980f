/* SPDX-License-Identifier: ISC */
/* blocking_state - what blocking.c and blocking_commands.c share.  Private to them. */
#ifndef CONTROLLER_BLOCKING_STATE_H
#define CONTROLLER_BLOCKING_STATE_H

#include "controller/blocker.h"
#include "controller/engine_state.h"
#include "controller/protect_sources.h"
#include "controller/resolve.h"

#define BLOCKING_WAITERS 32

/* A person who waits until his word is on the disk. */
struct waiter {
	uint64_t client; /* 0: free */
	uint64_t first, last; /* ids of messages */
	unsigned left;
	bool failed;
	json_t *reply;
	mono_t answer_by;
};

struct blocking {
	struct protect *protect;
	struct protect_list *scratch;
	struct blocks *blocks;
	struct resolve *resolve;
	bool dry_run; /* as it is told */
	bool restored; /* what is stored is in */
	mono_t restore_by;

	struct block_order out; /* to be sent */
	bool listing, list_again;
	size_t cursor;

	struct block_report report[BLOCKER_ACTIONS_MAX];
	unsigned reports;
	struct waiter waiter[BLOCKING_WAITERS];
	struct {
		unsigned n;
		struct store_allow a[PROTECT_ALLOW_MAX];
	} allow; /* by persons, besides those of the configuration */
	mono_t next_step, next_interfaces, next_sources, next_names;
	bool told_budget;
	struct log_memory sources_memory;
};

/* blocking.c: carry out a change.  Returns the id of the message that makes it durable, when that is wanted; 0: it is not on its
 * way.  Take the allow list anew.  The index of an entry that a person has added, or -ENOENT. */
uint64_t blocking_carry_out(struct engine *e, const struct blocks_change *c, bool durable, mono_t now);
void blocking_take_allow(struct engine *e);
int blocking_find_allow(const struct blocking *b, const char *entry);
const char *blocking_kind_name(enum block_kind kind);

/* blocking_commands.c: those who wait too long are answered. */
void blocking_end_waiting(struct engine *e, mono_t now);

#endif
