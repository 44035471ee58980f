/* SPDX-License-Identifier: ISC */
/*
 * flag - control/overloaded, for plugins that know nothing but the file
 *
 * The file may be an operator's at any moment, and an operator's is never removed nor written over.  Looking
 * first is not enough: somebody may touch it between the look and the deed.  So a flag is raised with a rename
 * that replaces nothing, and dropped by moving it aside, where nobody touches it, looking at it there, and
 * putting it back when it was not ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actions/action.h"
#include "lib/atomicfile.h"
#include "lib/flag.h"

#define ASIDE "." FLAG_NAME ".aside"

struct flag {
	int dir; /* HOME/control, opened once */
	bool tidy; /* no leftovers: every deed since the last look for them was completed */
	char path[256]; /* for messages */
};

static void
flag_free(void *ctx)
{
	struct flag *f = ctx;

	if (f == NULL)
		return;
	(void)close(f->dir);
	free(f);
}

/* A directory in which others may put links is no place for root to write (Postfix HISTORY 20260820). */
static int
check_owner(int dir, const char *path, struct err *why)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return err_sys(why, -errno, "cannot look at %s", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(why, -EPERM, "%s belongs to uid %u, but uid %u writes there; "
			"allowed: root or the user who runs us", path, st.st_uid, geteuid());
	if ((st.st_mode & S_IWOTH) != 0)
		return err_set(why, -EPERM, "%s can be written by everybody", path);
	return 0;
}

static int
flag_init(const char *home, void **ret_ctx, struct err *why)
{
	struct flag *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return err_sys(why, -ENOMEM, "flag");
	(void)snprintf(f->path, sizeof(f->path), "%s/control", home);
	f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = f->dir < 0 ? err_sys(why, -errno, "cannot open %s", f->path)
			   : check_owner(f->dir, f->path, why);
	if (r < 0) {
		if (f->dir >= 0)
			flag_free(f);
		else
			free(f);
		return r;
	}
	*ret_ctx = f;
	return 0;
}

static int
flag_read(void *ctx, struct err *why)
{
	const struct flag *f = ctx;
	int owner = flag_look(f->dir, FLAG_NAME, NULL);

	if (owner < 0)
		return err_sys(why, owner, "cannot look at %s/" FLAG_NAME, f->path);
	return owner == FLAG_ABSENT ? PRESENCE_NONE : owner == FLAG_OURS ? PRESENCE_OURS : PRESENCE_FOREIGN;
}

/* What was moved aside: ours goes, an operator's belongs back, unless a newer one has taken its place. */
static int
settle_aside(const struct flag *f)
{
	int owner = flag_look(f->dir, ASIDE, NULL);

	if (owner < 0)
		return owner;
	if (owner == FLAG_PIN) {
		if (renameat2(f->dir, ASIDE, f->dir, FLAG_NAME, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return unlinkat(f->dir, ASIDE, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Leftovers of a deed that was cut short. */
static int
tidy(const struct flag *f)
{
	int r = atomicfile_clean(f->dir, FLAG_NAME);

	return r < 0 ? r : settle_aside(f);
}

static int
drop_ours(const struct flag *f)
{
	if (renameat2(f->dir, FLAG_NAME, f->dir, ASIDE, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return settle_aside(f);
}

static int
raise_ours(const struct flag *f, const struct effect *want)
{
	const struct timespec mtime = { .tv_sec = want->since };
	char line[FLAG_LINE_MAX];
	int len = flag_line(want->level, want->since, want->episode, &want->why, line);
	/* Durable: after a power loss half a flag would look like an operator's, and stay for ever. */
	int r = atomicfile_put(f->dir, &(struct atomicfile) {
		.name = FLAG_NAME, .data = line, .len = (size_t)len, .mode = 0644, .mtime = &mtime,
		.flags = ATOMICFILE_DURABLE | ATOMICFILE_NOREPLACE,
	});

	return r == -EEXIST ? 0 : r; /* an operator was quicker: it is closed */
}

/* Bring about what is wanted where `owner` has the flag now.  An operator's flag is not ours to change. */
static int
change(const struct flag *f, const struct effect *want, enum flag_owner owner, int64_t since)
{
	bool outdated = owner == FLAG_OURS && (!want->closed || since != want->since);
	int r = outdated ? drop_ours(f) : 0;

	if (r < 0 || !want->closed || owner == FLAG_PIN || (owner == FLAG_OURS && !outdated))
		return r;
	return raise_ours(f, want);
}

static int
flag_apply(void *ctx, const struct effect *want, struct err *why)
{
	struct flag *f = ctx;
	int64_t since;
	int r = f->tidy ? 0 : tidy(f);

	f->tidy = r == 0;
	if (r == 0)
		r = flag_look(f->dir, FLAG_NAME, &since);
	if (r >= 0)
		r = change(f, want, (enum flag_owner)r, since);
	if (r >= 0)
		return 0;
	f->tidy = false; /* whatever the deed left behind is looked for before the next */
	return err_sys(why, r, "cannot %s %s/" FLAG_NAME, want->closed ? "write" : "remove", f->path);
}

static int
flag_neutral(void *ctx, struct err *why)
{
	((struct flag *)ctx)->tidy = false;
	return flag_apply(ctx, &(struct effect) { .closed = false }, why);
}

const struct action_ops action_flag = {
	.name = "flag",
	.summary = "control/overloaded, which the gate plugins look at",
	.init = flag_init,
	.read = flag_read,
	.apply = flag_apply,
	.neutral = flag_neutral,
	.free = flag_free,
};
