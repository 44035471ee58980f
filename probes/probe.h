/* SPDX-License-Identifier: ISC */
/*
 * probe - a source of readings
 *
 * To add one: write probes/NAME.c with a `const struct probe_ops probe_NAME`, add it to
 * probes/table.c and probes/probe.h, give its readings a row in lib/reading.c and its section a struct below, a
 * section in man/spillway.conf.5, and a test in tests/unit/test_NAME.c.  A probe only reads; it knows nothing of
 * levels, of actions, or of the daemon.  It never waits: what takes long is cut into steps or runs in a child.
 */
#ifndef PROBES_PROBE_H
#define PROBES_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/reading.h"
#include "lib/schema.h"

#define PROBE_FACTS_MAX 16
#define PROBE_FACT_TEXT_MAX 96

struct sendlog_delivery;

/* What all probes may want to know; borrowed for the life of the probe. */
struct probe_env {
	const struct cfg_list *homes; /* qmail homes */
	const char *state_dir; /* for what must outlive a restart; NULL: nothing is kept */

	/* Called for each delivery in qmail-send's log, in the order of the log; NULL: nobody wants to know. */
	void (*sent)(const struct sendlog_delivery *d, void *arg);
	void *sent_arg;
};

/* What one look gave. */
struct probe_sample {
	uint32_t told; /* bit i: value[i] is set by this look */
	struct reading_value value[READING_COUNT];
	bool counted; /* the two totals below are set */
	uint64_t arrived, departed; /* messages, since the probe began; they only grow */
	bool recount; /* this look did a part of a recount: its cost is told apart */
	mono_t due; /* look again at the latest then */
};

/* For `spillway probes`: a number or a word beside the readings. */
struct probe_fact {
	const char *name;
	char text[PROBE_FACT_TEXT_MAX];
};

struct probe_ops {
	const char *name; /* section of the configuration, and the word in logs */
	const char *summary; /* one line */
	const struct cfg_row *schema;
	uint32_t readings; /* bit i: tells reading i */

	/* `cfg` is the section's struct, borrowed for the life of the probe.  Fails only for want of memory. */
	int (*init)(const struct probe_env *env, const void *cfg, void **ret_ctx);

	/* Look.  Called at once after init, then when `due` has come or fd() is readable.
	 * Returns 0; PROBE_MORE when there is work left for the next turn of the loop; or -Exxx, when all its readings
	 * are unknown for the reason in `why`.  `ret->due` is set in all cases. */
	int (*sample)(void *ctx, mono_t now, struct probe_sample *ret, struct err *why);

	/* A descriptor whose readability means news, or -1; it may change with each sample().  NULL: none. */
	int (*fd)(void *ctx);
	int64_t gather_ms; /* after news, leave the descriptor alone for so long */

	/* Fill at most PROBE_FACTS_MAX facts, return their number.  NULL: none. */
	size_t (*facts)(void *ctx, struct probe_fact ret[PROBE_FACTS_MAX]);

	void (*free)(void *ctx); /* NULL is allowed */
};

#define PROBE_MORE 1

/* All probes, in the order of `spillway probes`, ended by NULL. */
extern const struct probe_ops *const probe_table[];
#define PROBE_COUNT 5

extern const struct probe_ops probe_queue, probe_qstat, probe_load, probe_disk, probe_logs;

/* The sections' structs. */
struct probe_queue_cfg {
	int64_t every_ms, recount_ms;
};

struct probe_qstat_cfg {
	char command[CFG_STRING_MAX]; /* "": HOME/bin/qmail-qstat of each home */
	int64_t every_ms, deadline_ms;
};

struct probe_load_cfg {
	int64_t every_ms;
};

struct probe_disk_cfg {
	int64_t every_ms;
};

struct probe_logs_cfg {
	struct cfg_list send, server, shared; /* by enum log_stream */
	int64_t every_ms, stale_ms;
};

/* Helpers for probes. */
void probe_tell(struct probe_sample *s, enum reading_id id, double value);
void probe_fact(struct probe_fact *f, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
