/* SPDX-License-Identifier: ISC */
#include "controller/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int
privilege_find(const char *user, const struct cfg_list *groups, struct identity *ret, struct err *why)
{
	struct identity id = { 0 };

	if (user[0] == '\0' || geteuid() != 0) {
		*ret = id;
		return 0;
	}
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL)
		return err_set(why, -ENOENT, "service.user = \"%s\": there is no such user", user);
	id.drop = true;
	id.uid = pw->pw_uid;
	id.gid = pw->pw_gid;
	id.groups[id.n_groups++] = pw->pw_gid;
	for (unsigned i = 0; i < groups->n; i++) {
		const struct group *gr = getgrnam(groups->s[i]);

		if (gr == NULL)
			return err_set(why, -ENOENT, "service.groups: there is no group \"%s\"", groups->s[i]);
		id.groups[id.n_groups++] = gr->gr_gid;
	}
	*ret = id;
	return 0;
}

/* Can any id be got back?  Root itself may want to be the user: then there is nothing to lose. */
static bool
is_final(const struct identity *id)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;

	if (getresgid(&gr, &ge, &gs) < 0 || gr != id->gid || ge != id->gid || gs != id->gid)
		return false;
	if (id->uid == 0)
		return true;
	return setuid(0) < 0 && setreuid((uid_t)-1, 0) < 0 && getresuid(&r, &e, &s) == 0 && r == id->uid
		&& e == id->uid && s == id->uid;
}

int
privilege_drop(const struct identity *id, struct err *why)
{
	if (id->drop) {
		if (setgroups(id->n_groups, id->groups) < 0)
			return err_sys(why, -errno, "setgroups");
		if (setresgid(id->gid, id->gid, id->gid) < 0)
			return err_sys(why, -errno, "setresgid");
		if (setresuid(id->uid, id->uid, id->uid) < 0)
			return err_sys(why, -errno, "setresuid");
		if (!is_final(id))
			return err_set(why, -EPERM, "privileges can be regained");
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(why, -errno, "no_new_privs");
	return 0;
}
