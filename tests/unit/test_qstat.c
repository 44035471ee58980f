/* SPDX-License-Identifier: ISC */
/* The probe with stand-ins for qmail-qstat: scripts that the test writes.  The clock is ours. */
#include <math.h>
#include <poll.h>
#include <sys/wait.h>
#include <time.h>

#include "probes/probe.h"

#include "tests/unit/kit.h"
#include "tests/unit/pidfd.h"

#define DEADLINE 30000
#define EVERY 1800000
#define PATIENCE_MS 30000

struct bench {
	char dir[KIT_PATH_MAX];
	struct cfg_list homes;
	struct probe_qstat_cfg cfg;
	void *ctx;
	mono_t now;
	struct probe_sample s;
	struct err why;
};

static int64_t
real_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
begin(struct bench *b)
{
	*b = (struct bench) {
		.cfg = { .every_ms = EVERY, .deadline_ms = DEADLINE }, .now = { 1000000 },
	};
	kit_tree(b->dir);
}

/* A home with a qmail-qstat of this text. */
static void
add_home(struct bench *b, const char *name, const char *script)
{
	char home[KIT_PATH_MAX], text[4096];

	kit_mkdir(b->dir, name);
	kit_mkdir(kit_path(home, b->dir, name), "bin");
	kit_format(text, sizeof(text), "#!/bin/sh\n%s\n", script);
	kit_write(home, "bin/qmail-qstat", text, strlen(text), 0755);
	kit_format(b->homes.s[b->homes.n++], CFG_STRING_MAX, "%s", home);
}

static void
start(struct bench *b)
{
	const struct probe_env env = { .homes = &b->homes };

	assert_int_equal(probe_qstat.init(&env, &b->cfg, &b->ctx), 0);
}

static void
end(struct bench *b)
{
	probe_qstat.free(b->ctx);
	kit_remove(b->dir);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
}

static int
look(struct bench *b)
{
	memset(&b->s, 0, sizeof(b->s));
	b->why.text[0] = '\0';
	int r = probe_qstat.sample(b->ctx, b->now, &b->s, &b->why);
	assert_true(b->s.due.ms > b->now.ms);
	return r;
}

/* One round: look as the loop would until it has told something, failed, or nothing runs any more. */
static int
run(struct bench *b)
{
	int64_t until = real_ms() + PATIENCE_MS;
	int r;

	while ((r = look(b)) == 0 && b->s.told == 0 && probe_qstat.fd(b->ctx) >= 0) {
		struct pollfd p = { .fd = probe_qstat.fd(b->ctx), .events = POLLIN };

		assert_true(real_ms() < until);
		(void)poll(&p, 1, 1000);
	}
	return r;
}

static void
check_counts(const struct bench *b, double messages, double todo)
{
	assert_int_equal(b->s.told, 1u << READING_QSTAT_MESSAGES | 1u << READING_QSTAT_TODO);
	const struct reading_value *m = &b->s.value[READING_QSTAT_MESSAGES],
		*t = &b->s.value[READING_QSTAT_TODO];
	assert_true(m->known && fabs(m->value - messages) <= 0);
	assert_true(t->known && fabs(t->value - todo) <= 0);
}

static void
check_refused(const struct bench *b, int r, const char *why)
{
	assert_true(r < 0);
	assert_int_equal(b->s.told, 0);
	if (strstr(b->why.text, why) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", why, b->why.text);
}

/* --- what it says ---------------------------------------------------------------------------- */

static void
qstat_outputs_of_the_forks_are_understood(void **state)
{
	static const struct {
		const char *script;
		double messages, todo;
	} rows[] = {
		{ "echo 'messages in queue: 7'; echo 'messages in queue but not yet preprocessed: 2'", 7, 2 },
		{ "printf 'messages in queue: 8\\nmessages in queue but not yet preprocessed: 2'", 8, 2 },
		{ "echo 'messages in queue but not yet preprocessed: 2'; echo 'messages in queue: 7'", 7, 2 },
		{ "echo 'Nachrichten in der Queue: 70'; echo 'davon unbearbeitet: 20'", 70, 20 },
		{ "echo 'messages in queue: 0'; echo 'messages in queue but not yet preprocessed: 0'", 0, 0 },
		{ "echo mx1; echo; echo 'messages in queue:   12'; echo 'not yet preprocessed: 3'; echo; exit 0", 12, 3 },
		{ "sleep 0.2; echo 'messages in queue: 7'; sleep 0.2; echo 'not yet preprocessed: 2'", 7, 2 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct bench b;

		begin(&b);
		add_home(&b, "qmail", rows[i].script);
		start(&b);
		assert_int_equal(run(&b), 0);
		check_counts(&b, rows[i].messages, rows[i].todo);
		assert_int_equal(b.s.due.ms, b.now.ms + EVERY);
		end(&b);
	}
}

static void
qstat_recorded_outputs_are_understood(void **state)
{
	static const char *const files[] = { "tests/samples/qstat/notqmail.txt",
		"tests/samples/qstat/sagredo.txt" };
	static const double messages[] = { 7, 8 };
	char top[KIT_PATH_MAX - 64];

	(void)state;
	if (access(files[0], R_OK) < 0 || getcwd(top,
		sizeof(top)) == NULL) /* not run from the top of the tree */
		skip();
	for (size_t i = 0; i < countof(files); i++) {
		char script[2048];
		struct bench b;

		begin(&b);
		kit_format(script, sizeof(script), "exec cat '%s/%s'", top, files[i]);
		add_home(&b, "qmail", script);
		start(&b);
		assert_int_equal(run(&b), 0);
		check_counts(&b, messages[i], 2);
		end(&b);
	}
}

/* Each could be health or trouble: unknown is the one right answer. */
static void
qstat_whatever_is_doubtful_is_unknown(void **state)
{
	static const struct {
		const char *script, *why;
	} rows[] = {
		{ ":", "says what we do not understand" },
		{ "echo", "says what we do not understand" },
		{ "echo 'messages in queue: 7'", "says what we do not understand: messages in queue: 7" },
		{ "echo 'a: 1'; echo 'b: 2'; echo 'c: 3'", "says what we do not understand: a: 1" },
		{ "head -c 300 /dev/urandom; echo x; echo y", "says what we do not understand" },
		{ "printf 'messages in queue: 7\\nnot yet preprocessed: 2\\n\\000x'",
			"says what we do not understand" },
		{ "printf '\\000'", "says what we do not understand" },
		{ "printf '\\033[31mred\\nmore'", "says what we do not understand: \\x1b[31mred" },
		/* no permission, as one fork and the other say it */
		{ "echo \"find: 'queue/mess/*': Permission denied\" >&2; echo 'messages in queue: 0';"
		  " echo 'messages in queue but not yet preprocessed: 0'",
			"complains: find: 'queue/mess/*': Permission denied" },
		{ "echo 'messages in queue: -1'; echo 'messages in queue but not yet preprocessed: -1'",
			"says what we do not understand: messages in queue: -1" },
		{ "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; echo >&2", "complains" },
		{ "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; printf '\\000' >&2",
			"complains" },
		{ "printf 'bad\\rnews\\033' >&2", "complains: bad\\x0dnews\\x1b" },
		{ "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; exit 1",
			"ended with exit code 1" },
		{ "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; exit 111",
			"ended with exit code 111" },
		{ "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; kill -9 $$",
			"ended with signal 9" },
		{ "kill -SEGV $$", "ended with signal 11" },
		{ "exec /nowhere/find 2>/dev/null", "ended with exit code 127" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct bench b;

		begin(&b);
		add_home(&b, "qmail", rows[i].script);
		start(&b);
		check_refused(&b, run(&b), rows[i].why);
		/* a reason is one printable line */
		for (const char *p = b.why.text; *p != '\0'; p++)
			assert_in_range(*p, 0x20, 0x7e);
		assert_int_equal(b.s.due.ms, b.now.ms + EVERY);
		end(&b);
	}
}

static void
qstat_a_gigabyte_of_output_is_unknown_and_harmless(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", kit_is_slow() ? "exec head -c 8M /dev/zero" : "exec head -c 1G /dev/zero");
	start(&b);
	check_refused(&b, run(&b), "says what we do not understand");
	end(&b);

	begin(&b);
	add_home(&b, "qmail",
		"echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; head -c 1M /dev/zero | tr '\\0' '\\n'");
	start(&b);
	check_refused(&b, run(&b), "says what we do not understand");
	end(&b);
}

/* --- what does not run ----------------------------------------------------------------------- */

static void
qstat_that_is_missing_or_no_program_is_unknown(void **state)
{
	struct bench b;
	char path[KIT_PATH_MAX];

	(void)state;
	if (kit_is_slow()) /* valgrind runs vfork() as fork(): the error does not come back */
		skip();
	begin(&b);
	add_home(&b, "qmail", ":");
	kit_format(path, sizeof(path), "%s/bin/qmail-qstat", b.homes.s[0]);
	assert_int_equal(chmod(path, 0644), 0);
	start(&b);
	check_refused(&b, run(&b), "Permission denied");
	assert_non_null(strstr(b.why.text, path));
	assert_int_equal(unlink(path), 0);
	b.now.ms += EVERY;
	check_refused(&b, run(&b), "No such file or directory");
	assert_int_equal(b.s.due.ms, b.now.ms + EVERY);
	end(&b);
}

static void
qstat_that_hangs_is_killed_at_its_deadline(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'; exec sleep 1000");
	start(&b);
	assert_int_equal(look(&b), 0);
	assert_int_equal(b.s.due.ms, b.now.ms + DEADLINE);
	b.now.ms += DEADLINE - 1;
	assert_int_equal(look(&b), 0);
	assert_int_equal(b.s.told, 0);
	b.now.ms += 1;
	check_refused(&b, look(&b), "did not end within 30000 ms");
	/* its death is no news */
	assert_int_equal(run(&b), 0);
	assert_int_equal(b.s.told, 0);
	assert_int_equal(probe_qstat.fd(b.ctx), -1);
	/* and the next round begins at its time */
	assert_int_equal(b.s.due.ms, 1000000 + EVERY);
	b.now = b.s.due;
	assert_int_equal(look(&b), 0);
	assert_true(probe_qstat.fd(b.ctx) >= 0);
	end(&b); /* while it runs */
}

static void
qstat_that_prints_for_ever_is_killed_at_once(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", "exec yes 'messages in queue: 7'");
	start(&b);
	/* no second of our clock goes by: what it has said is enough to judge it */
	check_refused(&b, run(&b), "do not understand: messages in queue: 7");
	assert_int_equal(probe_qstat.fd(b.ctx), -1);
	assert_int_equal(b.s.due.ms, b.now.ms + EVERY);
	end(&b);
}

static void
qstat_whose_grandchild_holds_the_pipe_is_killed_at_its_deadline(void **state)
{
	static const char *const scripts[] = { "sleep 1000 &", "setsid sleep 3 &" };

	(void)state;
	for (size_t i = 0; i < countof(scripts); i++) {
		struct bench b;
		char script[256];

		begin(&b);
		kit_format(script, sizeof(script),
			"%s echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'", scripts[i]);
		add_home(&b, "qmail", script);
		start(&b);
		for (int turn = 0; turn < 50; turn++) {
			struct pollfd p;

			assert_int_equal(look(&b), 0);
			assert_int_equal(b.s.told, 0);
			p = (struct pollfd) { .fd = probe_qstat.fd(b.ctx), .events = POLLIN };
			(void)poll(&p, 1, 5);
		}
		b.now.ms += DEADLINE;
		check_refused(&b, look(&b), "did not end within");
		assert_int_equal(run(&b), 0);
		assert_int_equal(b.s.told, 0);
		assert_int_equal(probe_qstat.fd(b.ctx), -1);
		end(&b);
	}
}

/* Switched off and on again by a reload: the numbers of the configuration may change between looks. */
static void
qstat_every_0_is_never(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", "touch \"$(dirname \"$0\")/ran\"; exit 1");
	b.cfg.every_ms = 0;
	start(&b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(look(&b), -ENODATA);
		assert_int_equal(probe_qstat.fd(b.ctx), -1);
		b.now = b.s.due;
	}
	char path[KIT_PATH_MAX];
	kit_format(path, sizeof(path), "%s/bin/ran", b.homes.s[0]);
	assert_int_equal(access(path, F_OK), -1);
	b.cfg.every_ms = EVERY;
	check_refused(&b, run(&b), "exit code 1");
	assert_int_equal(access(path, F_OK), 0);
	end(&b);
}

static void
qstat_before_its_time_does_not_run(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail",
		"cd \"$(dirname \"$0\")\"; echo x >> runs; echo 'messages in queue: 7'; echo \"preprocessed: $(wc -l < runs)\"");
	start(&b);
	assert_int_equal(run(&b), 0);
	check_counts(&b, 7, 1);
	b.now.ms += EVERY - 1;
	assert_int_equal(run(&b), 0);
	assert_int_equal(b.s.told, 0);
	assert_int_equal(b.s.due.ms, b.now.ms + 1);
	b.now.ms += 1;
	assert_int_equal(run(&b), 0);
	check_counts(&b, 7, 2);
	end(&b);
}

/* --- several homes, and a command ------------------------------------------------------------ */

static void
qstat_several_homes_are_asked_one_by_one_and_summed(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'");
	add_home(&b, "two", "echo 'not yet preprocessed: 20'; echo 'messages in queue: 70'");
	add_home(&b, "three", "sleep 0.1; echo 'messages in queue: 700'; echo 'not yet preprocessed: 200'");
	start(&b);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(run(&b), 0);
		check_counts(&b, 777, 222);
		b.now.ms += EVERY;
	}
	end(&b);
}

static void
qstat_one_home_that_fails_makes_all_unknown(void **state)
{
	char good[] = "echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'";
	char path[KIT_PATH_MAX];
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", good);
	add_home(&b, "two", "exit 1");
	add_home(&b, "three", good);
	start(&b);
	check_refused(&b, run(&b), "exit code 1");
	assert_int_equal(probe_qstat.fd(b.ctx), -1);
	/* repaired: the next round begins with the first, and nothing of the last one is left */
	kit_format(path, sizeof(path), "%s/two", b.dir);
	kit_write(path, "bin/qmail-qstat", "#!/bin/sh\necho 'a: 1'; echo 'b: 1'\n", 34, 0755);
	b.now = b.s.due;
	assert_int_equal(run(&b), 0);
	check_counts(&b, 15, 5);
	/* missing in the middle */
	kit_format(path, sizeof(path), "%s/two/bin/qmail-qstat", b.dir);
	assert_int_equal(unlink(path), 0);
	b.now = b.s.due;
	if (!kit_is_slow())
		check_refused(&b, run(&b), "No such file");
	end(&b);
}

static void
qstat_a_command_of_ones_own_runs_once_for_all_homes(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", "exit 1");
	add_home(&b, "two", "exit 1");
	add_home(&b, "tool", "echo 'messages in queue: 9'; echo 'not yet preprocessed: 4'");
	b.homes.n = 2;
	kit_format(b.cfg.command, sizeof(b.cfg.command), "%s/bin/qmail-qstat", b.homes.s[2]);
	start(&b);
	assert_int_equal(run(&b), 0);
	check_counts(&b, 9, 4);
	end(&b);
}

static void
qstat_tells_how_long_it_took(void **state)
{
	struct probe_fact f[PROBE_FACTS_MAX];
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", "sleep 0.1; echo 'messages in queue: 7'; echo 'not yet preprocessed: 2'");
	start(&b);
	assert_int_equal(look(&b), 0);
	b.now.ms += 1234;
	assert_int_equal(run(&b), 0);
	assert_int_equal(probe_qstat.facts(b.ctx, f), 1);
	assert_string_equal(f[0].name, "took_ms");
	assert_string_equal(f[0].text, "1234");
	end(&b);
	probe_qstat.free(NULL);
}

static void
qstat_has_a_plain_environment(void **state)
{
	struct bench b;

	(void)state;
	assert_int_equal(setenv("SECRET", "x", 1), 0);
	begin(&b);
	add_home(&b, "qmail",
		"[ \"$LC_ALL\" = C ] && [ -z \"$SECRET\" ] && [ -z \"$HOME\" ] && [ -n \"$PATH\" ] &&"
		" echo 'messages in queue: 7' && echo 'not yet preprocessed: 2'");
	start(&b);
	assert_int_equal(run(&b), 0);
	check_counts(&b, 7, 2);
	end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qstat_outputs_of_the_forks_are_understood),
		cmocka_unit_test(qstat_recorded_outputs_are_understood),
		cmocka_unit_test(qstat_whatever_is_doubtful_is_unknown),
		cmocka_unit_test(qstat_a_gigabyte_of_output_is_unknown_and_harmless),
		cmocka_unit_test(qstat_that_is_missing_or_no_program_is_unknown),
		cmocka_unit_test(qstat_that_hangs_is_killed_at_its_deadline),
		cmocka_unit_test(qstat_that_prints_for_ever_is_killed_at_once),
		cmocka_unit_test(qstat_whose_grandchild_holds_the_pipe_is_killed_at_its_deadline),
		cmocka_unit_test(qstat_every_0_is_never),
		cmocka_unit_test(qstat_before_its_time_does_not_run),
		cmocka_unit_test(qstat_several_homes_are_asked_one_by_one_and_summed),
		cmocka_unit_test(qstat_one_home_that_fails_makes_all_unknown),
		cmocka_unit_test(qstat_a_command_of_ones_own_runs_once_for_all_homes),
		cmocka_unit_test(qstat_tells_how_long_it_took),
		cmocka_unit_test(qstat_has_a_plain_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
