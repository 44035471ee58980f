/* SPDX-License-Identifier: ISC */
/* The probe on this machine's /proc; where that is allowed, on a /proc of ours. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "probes/probe.h"

#include "tests/unit/kit.h"

static const struct probe_load_cfg cfg = { .every_ms = 5000 };
static const struct cfg_list homes;
static const mono_t now = { 1000000 };

static void *
start(void)
{
	const struct probe_env env = { .homes = &homes };
	void *ctx;

	assert_int_equal(probe_load.init(&env, &cfg, &ctx), 0);
	return ctx;
}

static void
load_tells_the_load_average_in_range(void **state)
{
	struct probe_sample s = { 0 };
	struct err why = { .text = "" };
	void *ctx = start();

	(void)state;
	assert_int_equal(probe_load.sample(ctx, now, &s, &why), 0);
	assert_int_equal(s.due.ms, now.ms + cfg.every_ms);
	assert_int_equal(s.told & 1u << READING_LOAD, 1u << READING_LOAD);
	assert_int_equal(s.told & ~probe_load.readings, 0);
	assert_true(s.value[READING_LOAD].known);
	assert_true(s.value[READING_LOAD].value >= 0 && s.value[READING_LOAD].value < 1e6);
	assert_false(s.counted);
	probe_load.free(ctx);
	probe_load.free(NULL);
}

static void
load_tells_pressure_where_the_kernel_offers_it(void **state)
{
	static const enum reading_id ids[] = { READING_CPU_PRESSURE, READING_IO_PRESSURE,
		READING_MEMORY_PRESSURE };
	struct probe_sample s = { 0 };
	struct probe_fact f[PROBE_FACTS_MAX];
	struct err why = { .text = "" };
	void *ctx;

	(void)state;
	if (access("/proc/pressure/memory", R_OK) < 0)
		skip();
	ctx = start();
	assert_int_equal(probe_load.sample(ctx, now, &s, &why), 0);
	for (size_t i = 0; i < countof(ids); i++) {
		assert_int_equal(s.told & 1u << ids[i], 1u << ids[i]);
		assert_true(s.value[ids[i]].value >= 0 && s.value[ids[i]].value <= 100);
	}
	assert_int_equal(probe_load.facts(ctx, f), 1);
	assert_string_equal(f[0].name, "pressure");
	assert_string_equal(f[0].text, "offered by the kernel");
	probe_load.free(ctx);
}

/* --- with files of ours in place of the kernel's --------------------------------------------- */

#define EXPECT(what) \
	do { \
		if (!(what)) { \
			(void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			_exit(1); \
		} \
	} while (0)

#define NOT_ALLOWED 77

static void
cover(const char *dir, const char *name, const char *target)
{
	char path[KIT_PATH_MAX];

	if (mount(kit_path(path, dir, name), target, "none", MS_BIND, NULL) < 0)
		_exit(NOT_ALLOWED);
}

/* Run `check` in a mount namespace of its own.  Returns its exit code. */
static int
in_namespace(void (*check)(const char *dir), const char *dir)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(NOT_ALLOWED);
		check(dir);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
check_without_pressure(const char *dir)
{
	const struct probe_env env = { .homes = &homes };
	struct probe_sample s = { 0 };
	struct probe_fact f[PROBE_FACTS_MAX];
	struct err why = { .text = "" };
	void *ctx;

	cover(dir, "empty", "/proc/pressure");
	EXPECT(probe_load.init(&env, &cfg, &ctx) == 0);
	EXPECT(probe_load.sample(ctx, now, &s, &why) == 0);
	EXPECT(s.told == 1u << READING_LOAD);
	EXPECT(probe_load.facts(ctx, f) == 1 && strcmp(f[0].text, "not offered by the kernel") == 0);
	probe_load.free(ctx);
}

static void
check_with_files(const char *dir)
{
	static const struct {
		const char *file;
		bool load, pressure;
	} rows[] = {
		{ "good", true, true }, { "garbage", false, false }, { "nothing", false, false },
			{ "huge", false, false },
	};
	const struct probe_env env = { .homes = &homes };

	for (size_t i = 0; i < countof(rows); i++) {
		struct probe_sample s = { 0 };
		struct err why = { .text = "" };
		char path[KIT_PATH_MAX];
		void *ctx;

		/* both files are read with either contents; the pressure file of "good" is another one */
		cover(dir, rows[i].file, "/proc/loadavg");
		kit_format(path, sizeof(path), "%s-pressure", rows[i].file);
		cover(dir, path, "/proc/pressure/cpu");
		EXPECT(probe_load.init(&env, &cfg, &ctx) == 0);
		int r = probe_load.sample(ctx, now, &s, &why);
		EXPECT(s.due.ms == now.ms + cfg.every_ms);
		if (rows[i].load) {
			EXPECT(r == 0 && s.value[READING_LOAD].value > 1.49
				&& s.value[READING_LOAD].value < 1.51);
			EXPECT(s.value[READING_CPU_PRESSURE].value > 12.33
				&& s.value[READING_CPU_PRESSURE].value < 12.35);
		} else {
			EXPECT(r == -EBADMSG && strstr(why.text, "/proc/loadavg") != NULL);
			EXPECT((s.told & 1u << READING_LOAD) == 0);
		}
		EXPECT(((s.told & 1u << READING_CPU_PRESSURE) != 0) == rows[i].pressure);
		probe_load.free(ctx);
	}
}

static void
load_without_pressure_in_the_kernel_is_load_alone(void **state)
{
	char dir[KIT_PATH_MAX];

	(void)state;
	kit_tree(dir);
	kit_mkdir(dir, "empty");
	int r = in_namespace(check_without_pressure, dir);
	kit_remove(dir);
	if (r == NOT_ALLOWED) {
		print_message("# SKIP: needs a mount namespace\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static void
load_garbage_in_proc_is_unknown(void **state)
{
	char dir[KIT_PATH_MAX], huge[100000];

	(void)state;
	kit_tree(dir);
	memset(huge, '1', sizeof(huge));
	kit_puts(dir, "good", "1.50 0.25 0.05 1/234 5678\n");
	kit_puts(dir, "good-pressure", "some avg10=12.34 avg60=0.11 avg300=0.33 total=1\n");
	kit_write(dir, "garbage", "\xff\xfe\n\0x", 5, 0644);
	kit_write(dir, "garbage-pressure", "\xff\xfe\n\0x", 5, 0644);
	kit_puts(dir, "nothing", "");
	kit_puts(dir, "nothing-pressure", "");
	kit_write(dir, "huge", huge, sizeof(huge), 0644);
	kit_write(dir, "huge-pressure", huge, sizeof(huge), 0644);
	int r = in_namespace(check_with_files, dir);
	kit_remove(dir);
	if (r == NOT_ALLOWED) {
		print_message("# SKIP: needs a mount namespace\n");
		skip();
	}
	assert_int_equal(r, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load_tells_the_load_average_in_range),
		cmocka_unit_test(load_tells_pressure_where_the_kernel_offers_it),
		cmocka_unit_test(load_without_pressure_in_the_kernel_is_load_alone),
		cmocka_unit_test(load_garbage_in_proc_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
