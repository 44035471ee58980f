/* SPDX-License-Identifier: ISC */
/* blocking_state - what blocking.c and the files that begin with its name share.  Private to them. */
#ifndef CONTROLLER_BLOCKING_STATE_H
#define CONTROLLER_BLOCKING_STATE_H

#include "controller/blocker.h"
#include "controller/engine_state.h"
#include "controller/protect_sources.h"
#include "controller/recent.h"
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
	struct recent *mailed; /* addresses from which mail was let through */
	struct blocks *blocks;
	struct resolve *resolve;
	bool dry_run; /* as it is told */
	bool restored; /* what is stored is in */
	mono_t restore_by;

	struct block_order out; /* to be sent */
	bool listing, list_again;
	size_t cursor;
	bool reloaded; /* the keeper is to be told so */
	uint32_t reloads; /* that it had taken in when it told last */
	bool telling, protection_told; /* whom to protect: under way; begun once */
	uint64_t protection; /* its version */
	size_t protect_cursor;

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

/* blocking.c: carry out a change.  Returns the id of the message that makes it durable, when that is wanted; 0: it is
 * not on its way. */
uint64_t blocking_carry_out(struct engine *e, const struct blocks_change *c, bool durable, mono_t now);
const char *blocking_kind_name(enum block_kind kind);

/* blocking_orders.c: to the keeper. */
void blocking_emit(struct engine *e, enum block_verb verb, const struct block *block);
void blocking_send_orders(struct engine *e);
bool blocking_has_orders(const struct engine *e); /* that could not be sent yet */

/* blocking_protect.c: take the allow list anew; the index of an entry that a person has added, or -ENOENT; look at
 * what is due of the other sources; addresses of a name; is anybody in that network worth sparing? */
void blocking_take_allow(struct engine *e);
int blocking_find_allow(const struct blocking *b, const char *entry);
void blocking_look_at_sources(struct engine *e, mono_t now);
resolve_found blocking_found;
bool blocking_is_spared(const struct ip_prefix *p, void *arg);

/* blocking_commands.c: those who wait too long are answered. */
void blocking_end_waiting(struct engine *e, mono_t now);

#endif
