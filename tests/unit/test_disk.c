/* SPDX-License-Identifier: ISC */
/* The probe on real file systems; where that is allowed, on one that we fill to the last byte. */
#include <math.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "probes/probe.h"

#include "tests/unit/kit.h"

#define NOT_ALLOWED 77

static const struct probe_disk_cfg cfg = { .every_ms = 10000 };
static const mono_t now = { 1000000 };

/* One look at these homes. */
static int
look(const struct cfg_list *homes, struct probe_sample *s, struct err *why)
{
	const struct probe_env env = { .homes = homes };
	void *ctx;

	*s = (struct probe_sample) { 0 };
	why->text[0] = '\0';
	if (probe_disk.init(&env, &cfg, &ctx) < 0)
		return -ENOMEM;
	int r = probe_disk.sample(ctx, now, s, why);
	probe_disk.free(ctx);
	return r;
}

static void
disk_tells_what_statvfs_says(void **state)
{
	struct cfg_list homes = { .n = 1 };
	char dir[KIT_PATH_MAX], queue[KIT_PATH_MAX];
	struct probe_sample s;
	struct statvfs fs;
	struct err why;

	(void)state;
	kit_tree(dir);
	kit_mkdir(dir, "queue");
	kit_format(homes.s[0], CFG_STRING_MAX, "%s", dir);
	assert_int_equal(look(&homes, &s, &why), 0);
	assert_int_equal(statvfs(kit_path(queue, dir, "queue"), &fs), 0);
	assert_int_equal(s.due.ms, now.ms + cfg.every_ms);
	double want = (double)fs.f_bavail * (double)fs.f_frsize;
	/* others write meanwhile */
	assert_true(fabs(s.value[READING_DISK_FREE].value - want) < 0.05 * want + 1e9);
	assert_int_equal((s.told & 1u << READING_INODES_FREE) != 0, fs.f_files != 0);
	assert_int_equal(s.told & ~probe_disk.readings, 0);
	kit_remove(dir);
}

static void
disk_without_the_queue_is_unknown(void **state)
{
	struct cfg_list homes = { .n = 2 };
	char dir[KIT_PATH_MAX];
	struct probe_sample s;
	struct err why;

	(void)state;
	kit_tree(dir);
	kit_mkdir(dir, "queue");
	kit_format(homes.s[0], CFG_STRING_MAX, "%s", dir);
	kit_format(homes.s[1], CFG_STRING_MAX, "/nowhere");
	/* one home that can be asked is not enough */
	assert_int_equal(look(&homes, &s, &why), -ENOENT);
	assert_string_equal(why.text,
		"cannot ask the file system of /nowhere/queue: No such file or directory");
	assert_int_equal(s.due.ms, now.ms + cfg.every_ms);
	kit_puts(dir, "file", "");
	kit_format(homes.s[1], CFG_STRING_MAX, "%s/file", dir);
	assert_int_equal(look(&homes, &s, &why), -ENOTDIR);
	kit_remove(dir);
}

/* --- on file systems of ours ----------------------------------------------------------------- */

#define EXPECT(what) \
	do { \
		if (!(what)) { \
			(void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			_exit(1); \
		} \
	} while (0)

static void
put_tmpfs(const char *dir, const char *name, const char *options)
{
	char path[KIT_PATH_MAX];

	if (mount("none", kit_path(path, dir, name), "tmpfs", 0, options) < 0)
		_exit(NOT_ALLOWED);
}

static bool
is(const struct probe_sample *s, enum reading_id id, double want)
{
	return (s->told & 1u << id) != 0 && fabs(s->value[id].value - want) <= 0;
}

static void
check(const char *dir)
{
	struct cfg_list homes = { .n = 2 };
	struct probe_sample s;
	struct err why;
	char path[KIT_PATH_MAX], block[4096] = { 0 };

	kit_format(homes.s[0], CFG_STRING_MAX, "%s/one", dir);
	kit_format(homes.s[1], CFG_STRING_MAX, "%s/two", dir);
	put_tmpfs(dir, "one/queue", "size=1m,nr_inodes=50");
	put_tmpfs(dir, "two/queue", "size=2m,nr_inodes=20");
	/* the least of each, from different homes; the root directory has an inode */
	EXPECT(look(&homes, &s, &why) == 0);
	EXPECT(is(&s, READING_DISK_FREE, 1 << 20) && is(&s, READING_INODES_FREE, 19));

	/* to the last byte and the last inode */
	int fd = open(kit_path(path, dir, "one/queue/fill"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	EXPECT(fd >= 0);
	for (int i = 0; i < 255; i++)
		EXPECT(write(fd, block, sizeof(block)) == sizeof(block));
	EXPECT(look(&homes, &s, &why) == 0);
	EXPECT(is(&s, READING_DISK_FREE, 4096));
	EXPECT(write(fd, block, sizeof(block)) == sizeof(block));
	EXPECT(write(fd, block, 1) < 0 && errno == ENOSPC);
	for (int i = 0; i < 19; i++) {
		char name[32];

		kit_format(name, sizeof(name), "two/queue/%d", i);
		EXPECT(close(open(kit_path(path, dir, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) == 0);
	}
	EXPECT(look(&homes, &s, &why) == 0);
	EXPECT(is(&s, READING_DISK_FREE, 0) && is(&s, READING_INODES_FREE, 0));
	(void)close(fd);
	EXPECT(unlink(kit_path(path, dir, "one/queue/fill")) == 0);
	EXPECT(look(&homes, &s, &why) == 0);
	EXPECT(is(&s, READING_DISK_FREE, 1 << 20));

	/* a file system that has no number of inodes: that reading is not told */
	put_tmpfs(dir, "one/queue", "size=1m,nr_inodes=0");
	homes.n = 1;
	EXPECT(look(&homes, &s, &why) == 0);
	EXPECT(is(&s, READING_DISK_FREE, 1 << 20));
	EXPECT((s.told & 1u << READING_INODES_FREE) == 0);
}

static void
disk_of_several_homes_is_the_scarcest_down_to_nothing(void **state)
{
	char dir[KIT_PATH_MAX];
	int status;

	(void)state;
	kit_tree(dir);
	kit_mkdir(dir, "one");
	kit_mkdir(dir, "one/queue");
	kit_mkdir(dir, "two");
	kit_mkdir(dir, "two/queue");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(NOT_ALLOWED);
		check(dir);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	kit_remove(dir);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
		print_message("# SKIP: needs a mount namespace\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_tells_what_statvfs_says),
		cmocka_unit_test(disk_without_the_queue_is_unknown),
		cmocka_unit_test(disk_of_several_homes_is_the_scarcest_down_to_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
