/* SPDX-License-Identifier: ISC */
/* disk - free bytes and inodes of the queue's file system; of several homes, the scarcest */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "probes/probe.h"

struct disk {
	const struct probe_disk_cfg *cfg;
	const struct cfg_list *homes;
};

static int
disk_init(const struct probe_env *env, const void *cfg, void **ret_ctx)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	d->cfg = cfg;
	d->homes = env->homes;
	*ret_ctx = d;
	return 0;
}

static void
tell_least(struct probe_sample *s, enum reading_id id, double v)
{
	if ((s->told & 1u << id) == 0 || v < s->value[id].value)
		probe_tell(s, id, v);
}

static int
disk_sample(void *ctx, mono_t now, struct probe_sample *ret, struct err *why)
{
	const struct disk *d = ctx;

	ret->due = mono_after(now, d->cfg->every_ms);
	for (unsigned i = 0; i < d->homes->n; i++) {
		char path[CFG_STRING_MAX + 8];
		struct statvfs fs;

		(void)snprintf(path, sizeof(path), "%s/queue", d->homes->s[i]);
		if (statvfs(path, &fs) < 0)
			return err_sys(why, -errno, "cannot ask the file system of %s", path);
		/* What users without privilege have: qmail-queue runs as one. */
		tell_least(ret, READING_DISK_FREE, (double)fs.f_bavail * (double)fs.f_frsize);
		if (fs.f_files != 0) /* btrfs and the like make inodes as they need them */
			tell_least(ret, READING_INODES_FREE, (double)fs.f_favail);
	}
	return 0;
}

static const struct cfg_row disk_schema[] = {
	{ .name = "every", .type = CFG_DURATION, .at = offsetof(struct probe_disk_cfg, every_ms),
		.min = 1000, .max = 600000, .def = 10000, .help = "how often to ask the file system" },
	{ 0 },
};

const struct probe_ops probe_disk = {
	.name = "disk",
	.summary = "free bytes and inodes of the queue's file system",
	.schema = disk_schema,
	.readings = 1u << READING_DISK_FREE | 1u << READING_INODES_FREE,
	.init = disk_init,
	.sample = disk_sample,
	.free = free,
};
