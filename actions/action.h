/* SPDX-License-Identifier: ISC */
/*
 * action - an effect on the world
 *
 * An action knows what is wanted as a whole, reads what is there, and makes up the difference: nothing is remembered
 * wrongly after a crash, because the truth is read back.  apply() and neutral() can be called again and
 * again.  It knows nothing of probes, nor of why something is wanted.
 *
 * To add one: write actions/NAME.c with a `const struct action_ops action_NAME`, add it to actions/table.c, a
 * section in man/spillway.conf.5, and a test in tests/unit/test_NAME.c.
 */
#ifndef ACTIONS_ACTION_H
#define ACTIONS_ACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/reading.h"
#include "lib/state.h"

/* What is wanted. */
struct effect {
	bool closed; /* the gate, to strangers */
	enum level level;
	int64_t since; /* wall clock, seconds: of this closing */
	char episode[EPISODE_ID_MAX];
	struct reason why;
};

/* What is there. */
enum presence {
	PRESENCE_UNKNOWN,
	PRESENCE_NONE,
	PRESENCE_OURS,
	PRESENCE_FOREIGN, /* somebody else's: left alone */
};

struct action_ops {
	const char *name;
	const char *summary;

	/* Open what is needed for `home`, a qmail home.  Returns 0 or -Exxx with the reason. */
	int (*init)(const char *home, void **ret_ctx, struct err *why);

	/* Returns an enum presence, or -Exxx. */
	int (*read)(void *ctx, struct err *why);

	/* Make it so.  What is foreign stays.  Returns 0 or -Exxx: then the old or the new is there, never half. */
	int (*apply)(void *ctx, const struct effect *want, struct err *why);

	/* Back to "as if we were not installed"; also tidies up what an interrupted apply() left. */
	int (*neutral)(void *ctx, struct err *why);

	void (*free)(void *ctx); /* NULL is allowed */
};

/* All actions, ended by NULL. */
extern const struct action_ops *const action_table[];
#define ACTION_COUNT 1

extern const struct action_ops action_flag;

#endif
