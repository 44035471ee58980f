/* SPDX-License-Identifier: ISC */
/* The probes in a loop, on a qmail home of ours; what the log says of them. */
#include "controller/watch.h"

#include <math.h>

#include "lib/clock.h"

#include "tests/unit/kit.h"
#include "tests/unit/pidfd.h"

struct bench {
	char dir[KIT_PATH_MAX];
	struct event_base *base;
	struct turn turn;
	struct config config;
	struct readings readings;
	struct watch *watch;
	int log, stderr_before;
	char text[16384];
};

static void
set_qstat(const struct bench *b, const char *script)
{
	char text[512];

	kit_format(text, sizeof(text), "#!/bin/sh\n%s\n", script);
	kit_write(b->dir, "bin/new", text, strlen(text), 0755);
	char from[KIT_PATH_MAX], to[KIT_PATH_MAX];
	assert_int_equal(rename(kit_path(from, b->dir, "bin/new"), kit_path(to, b->dir, "bin/qmail-qstat")), 0);
}

static void
begin(struct bench *b)
{
	static const char *const dirs[] = { "bin", "queue", "queue/mess", "queue/mess/0", "queue/todo" };
	int fd[2];

	memset(b, 0, sizeof(*b));
	kit_tree(b->dir);
	for (size_t i = 0; i < countof(dirs); i++)
		kit_mkdir(b->dir, dirs[i]);
	set_qstat(b, "echo 'messages in queue: 0'; echo 'not yet preprocessed: 0'");
	config_defaults(&b->config);
	kit_format(b->config.qmail.homes.s[0], CFG_STRING_MAX, "%s", b->dir);
	b->config.probes.qstat.every_ms = 40;
	b->config.probes.queue.every_ms = 20;
	assert_non_null(b->base = event_base_new());
	assert_int_equal(watch_new(b->base, &b->turn, &b->config, &b->readings, &b->watch), 0);
	assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	b->log = fd[0];
	b->stderr_before = dup(STDERR_FILENO);
	assert_int_equal(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(fd[1]);
}

static void
run(struct bench *b, int ms)
{
	mono_t until = mono_after(mono_now(), kit_is_slow() ? 5 * ms : ms);

	while (mono_since(mono_now(), until) > 0) {
		turn_over(&b->turn);
		(void)event_base_loop(b->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		(void)usleep(1000);
	}
	ssize_t n = read(b->log, b->text, sizeof(b->text) - 1);
	b->text[n > 0 ? n : 0] = '\0';
}

static void
end(struct bench *b)
{
	watch_free(b->watch);
	event_base_free(b->base);
	(void)dup2(b->stderr_before, STDERR_FILENO);
	(void)close(b->stderr_before);
	(void)close(b->log);
	kit_remove(b->dir);
}

static unsigned
count(const char *text, const char *word)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
		n++;
	return n;
}

static void
check_value(struct bench *b, enum reading_id id, double want)
{
	struct reading_value v = readings_get(&b->readings, id, mono_now());

	assert_true(v.known && fabs(v.value - want) <= 0);
}

static void
watch_healthy_probes_are_known_and_silent(void **state)
{
	struct bench b;
	uint64_t arrived = 77;

	(void)state;
	begin(&b);
	run(&b, 200);
	kit_puts(b.dir, "queue/todo/5", "");
	kit_puts(b.dir, "queue/mess/0/5", "");
	run(&b, 200);
	char text[sizeof(b.text)];
	(void)strcpy(text, b.text);
	check_value(&b, READING_TODO, 1);
	check_value(&b, READING_MESSAGES, 1);
	check_value(&b, READING_QSTAT_MESSAGES, 0);
	assert_true(readings_get(&b.readings, READING_LOAD, mono_now()).known);
	assert_true(readings_get(&b.readings, READING_DISK_FREE, mono_now()).known);
	assert_true(watch_arrived(b.watch, &arrived));
	assert_int_equal(arrived, 1);
	json_t *all = watch_describe(b.watch);
	assert_int_equal(json_array_size(all), PROBE_COUNT);
	for (size_t i = 0; i < PROBE_COUNT; i++) { /* but the last: no log is named */
		const json_t *p = json_array_get(all, i);

		assert_true(json_is_true(json_object_get(p, "ok")) == (probe_table[i] != &probe_logs));
	}
	assert_true(watch_is_off(b.watch, READING_DELIVERIES) && !watch_is_off(b.watch, READING_TODO));
	json_decref(all);
	end(&b);
	assert_string_equal(text, "");
}

/* Trouble that lasts is told once, however many rounds it fails; its end is told once. */
static void
watch_a_probe_that_goes_on_failing_is_told_once(void **state)
{
	char failing[16384], well[16384];
	struct bench b;

	(void)state;
	begin(&b);
	set_qstat(&b, "exit 1");
	run(&b, 500);
	(void)strcpy(failing, b.text);
	bool known = readings_get(&b.readings, READING_QSTAT_TODO, mono_now()).known;
	json_t *all = watch_describe(b.watch);
	bool ok = json_is_true(json_object_get(json_array_get(all, 1), "ok"));
	int failures = (int)json_integer_value(json_object_get(json_array_get(all, 1), "failures"));
	json_decref(all);
	set_qstat(&b, "echo 'messages in queue: 0'; echo 'not yet preprocessed: 0'");
	run(&b, 500);
	(void)strcpy(well, b.text);
	end(&b);
	assert_string_equal(failing, "warning: qstat: qmail-qstat ended with exit code 1\n");
	assert_false(known);
	assert_false(ok);
	assert_in_range(failures, 2, 1000);
	assert_string_equal(well, "info: qstat: well again (qmail-qstat ended with exit code 1)\n");
}

static void
watch_a_probe_that_hangs_is_told_once(void **state)
{
	struct bench b;
	char text[16384];

	(void)state;
	begin(&b);
	b.config.probes.qstat.deadline_ms = 50;
	set_qstat(&b, "exec sleep 1000");
	run(&b, 600);
	(void)strcpy(text, b.text);
	end(&b);
	assert_string_equal(text, "warning: qstat: qmail-qstat did not end within 50 ms\n");
}

static void
watch_a_queue_that_vanishes_makes_all_of_it_unknown(void **state)
{
	char from[KIT_PATH_MAX], to[KIT_PATH_MAX], gone[16384];
	uint64_t arrived;
	struct bench b;

	(void)state;
	begin(&b);
	b.config.probes.qstat.every_ms = 0;
	run(&b, 200);
	assert_int_equal(rename(kit_path(from, b.dir, "queue"), kit_path(to, b.dir, "away")), 0);
	run(&b, 200);
	(void)strcpy(gone, b.text);
	bool known = false;
	for (int id = READING_TODO; id <= READING_DEPARTURES; id++)
		known = known || readings_get(&b.readings, (enum reading_id)id, mono_now()).known;
	bool counted = watch_arrived(b.watch, &arrived);
	assert_int_equal(rename(to, from), 0);
	run(&b, 1500);
	bool again = readings_get(&b.readings, READING_TODO, mono_now()).known;
	end(&b);
	assert_false(known);
	assert_false(counted);
	assert_int_equal(count(gone, "warning: queue: "), 1);
	assert_int_equal(count(b.text, "info: queue: well again"), 1);
	assert_true(again);
}

static void
watch_two_counts_that_differ_are_told_once(void **state)
{
	char text[16384];
	struct bench b;

	(void)state;
	begin(&b);
	set_qstat(&b, "echo 'messages in queue: 500'; echo 'not yet preprocessed: 0'");
	run(&b, 500);
	(void)strcpy(text, b.text);
	end(&b);
	assert_string_equal(text, "warning: qstat: qmail-qstat counts 500 for messages, we count 0\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(watch_healthy_probes_are_known_and_silent),
		cmocka_unit_test(watch_a_probe_that_goes_on_failing_is_told_once),
		cmocka_unit_test(watch_a_probe_that_hangs_is_told_once),
		cmocka_unit_test(watch_a_queue_that_vanishes_makes_all_of_it_unknown),
		cmocka_unit_test(watch_two_counts_that_differ_are_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
