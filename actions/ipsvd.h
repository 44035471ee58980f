/* SPDX-License-Identifier: ISC */
/* ipsvd - what the parts of the action share: ipsvd.c (is all in place?) and ipsvd_work.c (the files) */
#ifndef ACTIONS_IPSVD_H
#define ACTIONS_IPSVD_H

#include <dirent.h>

#include "actions/block.h"
#include "actions/ipsvd_dir.h"
#include "actions/ipsvd_file.h"
#include "actions/ipsvd_tcpsvd.h"
#include "lib/prefixmap.h"

#define IPSVD_NEVER INT64_MAX

enum ipsvd_fit {
	FIT_UNKNOWN, /* not looked at yet */
	FIT_NONE, /* no tcpsvd reads the directory */
	FIT_WRONG, /* one does that would not end our files in time */
	FIT_GOOD,
};

/* A run compares all that is wanted with all that is there, and makes up the difference. */
struct ipsvd_run {
	enum {
		RUN_NONE,
		RUN_NAMES, /* all that is there */
		RUN_BLOCKS, /* all that is wanted */
		RUN_MISSED, /* all that was counted as not in force */
	} phase;
	DIR *names;
	size_t cursor;
	mono_t step_began;
	int64_t took_ms; /* the steps before */
	size_t in_force, foreign;
	unsigned failures;
	bool again; /* something called for another one meanwhile */
};

/* A walk through all blocks for those whose time has come. */
struct ipsvd_ends {
	bool walking;
	size_t cursor;
	mono_t now; /* of this walk */
	mono_t done; /* all ends up to here have been dealt with */
	int64_t next_ms; /* the next end, as far as is known */
	int64_t found_ms; /* by this walk */
	size_t over, skipped; /* it has met */
};

struct ipsvd {
	char path[CFG_STRING_MAX];
	int64_t timeout_s;
	const struct ipsvd_writer *writer;
	int poll; /* epoll: the watch, and `more` */
	int more; /* eventfd: there is work left */

	/* is all in place? */
	struct ipsvd_dir dir;
	struct err broken; /* why the directory is not open */
	mono_t next_dir;
	struct ipsvd_scan scan;
	enum ipsvd_fit fit;
	struct ipsvd_seen seen;
	mono_t next_scan;

	/* the files */
	bool told; /* `want` has been complete once */
	struct ipsvd_run run;
	mono_t run_at; /* when the next one is called for */
	int64_t run_took_ms;
	int64_t retry_ms;
	int failing; /* the last error, or 0: all that is wanted could be done */
	struct err failure;
	struct ipsvd_ends ends;

	/* counting: what is wanted, but for what is over, what can't be expressed, and what could not be brought
	 * about */
	bool counted; /* a run has gone through all that is wanted */
	size_t wanted; /* of them the last walk through the ends has met: */
	size_t over, skipped;
	struct prefixmap *missed;
	size_t foreign; /* met by the last run */
};

void ipsvd_work_change(struct ipsvd *x, const struct ip_prefix *p, const struct block *b, const struct blockset *want,
	mono_t now);

/* Take in events, ends, and go on with a run, until `deadline`.  Returns whether there is more. */
bool ipsvd_work_step(struct ipsvd *x, const struct blockset *want, mono_t now, mono_t deadline);

void ipsvd_call_for_run(struct ipsvd *x, mono_t at);

/* Break off a run. */
void ipsvd_work_stop(struct ipsvd *x);

/* The directory is not there any more. */
void ipsvd_work_forget(struct ipsvd *x);

/* Blocks in force, right within a second or two. */
size_t ipsvd_work_count(const struct ipsvd *x);

#endif
