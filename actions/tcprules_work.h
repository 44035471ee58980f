/* SPDX-License-Identifier: ISC */
/*
 * tcprules_work - what the child does before it becomes tcprules
 *
 * To gather and write a hundred thousand rules takes longer than the keeper may be away, so a forked child does it,
 * with the copy of the blocks that the fork gave it.
 */
#ifndef ACTIONS_TCPRULES_WORK_H
#define ACTIONS_TCPRULES_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "actions/protected.h"
#include "lib/blockset.h"

/* The record between the administrator's rules and ours: no address and no host looks like that. */
#define TCPRULES_MARKER "spillway@spillway"
/* What the probe compiles: only a tcprules that knows IPv6 makes this key of it. */
#define TCPRULES_PROBE_KEY "2001:db8:1:2:"

enum tcprules_job {
	TCPRULES_PROBE, /* does it know IPv6? */
	TCPRULES_COMPILE, /* the list, then the cdb */
	TCPRULES_LIST, /* the list alone: the wall clock was set */
};

struct tcprules_work {
	enum tcprules_job job;
	bool dry_run; /* everything but writing */
	int dir; /* of cdb and list */
	const char *rules, *list_name;
	const struct blockset *want;
	mono_t now;
	const struct protected *protected;
	size_t max_rules;
	bool widen, ipv6;
	pid_t parent;
};

/* What the child prints first. */
struct tcprules_built {
	size_t blocks; /* that are said, maybe joined */
	size_t rules; /* as tcprules counts */
	size_t unsaid; /* blocks that tcprules can't say: of IPv6, those that only slow down or explain */
	size_t refused; /* ... that touch a protected address */
	size_t over; /* ... for which there was no room */
	mono_t next_end; /* the first of them that ends */
	struct stat rules_stat; /* of the administrator's rules that were read */
};

/* For struct child_spec: `arg` is a struct tcprules_work. */
int tcprules_work(void *arg);

#endif
