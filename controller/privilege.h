/* SPDX-License-Identifier: ISC */
/*
 * privilege - becoming somebody with fewer rights, and making sure of it
 *
 * In the order of OpenSMTPD (groups, group, user), then no_new_privs, then the test of OpenSSH: whoever can get the
 * privilege back has not dropped it.
 */
#ifndef CONTROLLER_PRIVILEGE_H
#define CONTROLLER_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"
#include "lib/schema.h"

#define PRIVILEGE_GROUPS_MAX (CFG_LIST_MAX + 1)

struct identity {
	bool drop; /* false: stay who we are */
	uid_t uid;
	gid_t gid;
	gid_t groups[PRIVILEGE_GROUPS_MAX];
	size_t n_groups;
};

/* Look up names while we still can.  `user` "" or a caller that is not root: stay who we are.  A group that does
 * not exist is an error.  Returns 0 or -ENOENT. */
int privilege_find(const char *user, const struct cfg_list *groups, struct identity *ret,
	struct err *why);

/* Become `id` for ever.  Returns 0 or -Exxx: then the process must end. */
int privilege_drop(const struct identity *id, struct err *why);

#endif
