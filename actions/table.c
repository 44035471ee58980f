/* SPDX-License-Identifier: ISC */
#include "actions/action.h"

#include <stddef.h>

const struct action_ops *const action_table[] = {
	&action_flag,
	NULL,
};

_Static_assert(sizeof(action_table) / sizeof(action_table[0]) == ACTION_COUNT + 1, "ACTION_COUNT");
