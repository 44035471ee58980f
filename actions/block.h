/* SPDX-License-Identifier: ISC */
/*
 * block - turning addresses away before an SMTP process is spent
 *
 * A block action brings a set of blocks into a form that the server in front of qmail-smtpd obeys: instruction files
 * for tcpsvd, rules for tcpserver.  It knows the whole of what is wanted (a struct blockset), reads what is there,
 * and makes up the difference, so that after a crash, and after somebody else's hand, the truth is read back.  What
 * is not ours is never touched.
 *
 * It runs in the keeper, as root: it gets addresses, prefixes, times and kinds; every text that it writes is its own.
 * All times are of the boot clock; an action that must write wall times converts them when it writes.
 */
#ifndef ACTIONS_BLOCK_H
#define ACTIONS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/blockset.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/schema.h"

#define BLOCK_PROTECTED_MAX 1024

struct block_cfg {
	bool dry_run; /* the same code with nothing written */
	/* Nothing that touches one of these is written, whatever is wanted (see protected.h). */
	struct {
		size_t n;
		struct ip_prefix p[BLOCK_PROTECTED_MAX];
	} protected;
	struct {
		char dir[CFG_STRING_MAX]; /* "": not used */
		int64_t timeout_ms; /* tcpsvd's -t */
	} ipsvd;
	struct {
		char rules[CFG_STRING_MAX]; /* the administrator's own; "": not used */
		char cdb[CFG_STRING_MAX];
		char command[CFG_STRING_MAX]; /* tcprules */
		int64_t max_rules; /* of ours, as tcprules counts them: a range of 8 addresses is 8; 0: 100,000 */
		bool widen; /* over max_rules: deny whole networks with many blocks, not only the same addresses
		 * joined */
	} tcprules;
};

struct block_status {
	size_t ours; /* blocks in force by this action */
	size_t foreign; /* files or rules of others that were passed over */
	bool ok;
	char text[200]; /* when not ok: why nothing is written; otherwise "", or which blocks it can't bring into
	 * force */
};

struct block_ops {
	const char *name;
	const char *summary;

	/* Returns 0; -ENOENT when the configuration does not use it; or -Exxx with the reason. */
	int (*init)(const struct block_cfg *cfg, void **ret_ctx, struct err *why);

	/* One block has come, changed, or gone (`b` NULL: gone).  Quick: at most a file; an action that writes all at
	 * once remembers that there is something to do.  `want` holds all that is wanted, this change included. */
	void (*change)(void *ctx, const struct ip_prefix *p, const struct block *b, const struct blockset *want,
		mono_t now);

	/* Do what is due: what change() remembered, retries, outdated ones.  Called at least once a second, and after
	 * each batch of changes; must not take longer than 20 ms unless it starts a child that it looks after in
	 * later calls. */
	void (*step)(void *ctx, const struct blockset *want, mono_t now);

	/* Compare all of it with what is there, in steps that step() takes on with. */
	void (*reconcile)(void *ctx, const struct blockset *want, mono_t now);

	/* Whom to protect has changed.  NULL: it writes nothing wider than what is wanted, and needs no list. */
	void (*protect)(void *ctx, const struct ip_prefix *list, size_t n);

	/* A descriptor that is readable when step() has something to do before a second is over (somebody else changed
	 * something, a child said something, there is work left), or -1. */
	int (*fd)(void *ctx);

	/* The wall clock was set. */
	void (*clock_set)(void *ctx, const struct blockset *want, mono_t now);

	void (*status)(void *ctx, struct block_status *ret);

	/* Take back all that is ours (`all`), or what is outdated by the times in the files or rules themselves,
	 * without any memory: for `spillway neutral --offline`. */
	int (*neutral)(void *ctx, bool all, struct err *why);

	void (*free)(void *ctx); /* NULL is allowed; blocks stay in force until their time */
};

extern const struct block_ops block_ipsvd, block_tcprules;

/* All of them, ended by NULL. */
extern const struct block_ops *const block_table[];

#endif
