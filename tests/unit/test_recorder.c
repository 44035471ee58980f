/* SPDX-License-Identifier: ISC */
/*
 * The recorder as its own process, with us in the place of the engine: what it says is done is done, whatever happens to it
 * or to the database.  BLOCK_KILLS in the environment: how many times it is killed, default 200.  Rows of the failure
 * list: D5 D6 D7.
 */
#include "controller/recorder.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/kit.h"

#define KILL_ROUNDS 200
#define KILL_ROUNDS_MAX 2000
#define PATIENCE_MS 10000

static char tree[KIT_PATH_MAX];
static int line[2]; /* ours, the recorder's: kept, as the keeper keeps both */
static pid_t recorder;

static void
start(void)
{
	static struct config config;

	config_defaults(&config);
	(void)snprintf(config.service.state_dir, sizeof(config.service.state_dir), "%.199s", tree);
	(void)fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0); /* before it is anybody's to kill */
	if (pid == 0) {
		char path[KIT_PATH_MAX];
		int log = open(kit_path(path, tree, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

		(void)dup2(log, STDERR_FILENO);
		(void)close(line[0]);
		_exit(recorder_run(&config, line[1], -1));
	}
	recorder = pid;
}

static int
end(int sig)
{
	int status;

	assert_int_equal(kill(recorder, sig), 0);
	assert_int_equal(waitpid(recorder, &status, 0), recorder);
	recorder = 0;
	return status;
}

static int
make_all(void **state)
{
	(void)state;
	kit_tree(tree);
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line);
}

static int
remove_all(void **state)
{
	(void)state;
	if (recorder > 0)
		(void)end(SIGKILL);
	(void)close(line[0]);
	(void)close(line[1]);
	kit_remove(tree);
	return 0;
}

/* --- talking --------------------------------------------------------------------------------- */

static void
say(const struct recorder_message *m)
{
	struct pollfd p = { .fd = line[0], .events = POLLOUT };

	while (send(line[0], m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(*m))
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static void
say_override(uint64_t id, unsigned number)
{
	struct recorder_message m = { .kind = RECORD_OVERRIDE, .id = id };

	m.u.override = (struct store_override) { .set = true, .level = LEVEL_BUSY, .remaining_ms = 1000 };
	(void)snprintf(m.u.override.reason, STORE_TEXT_MAX, "%u", number);
	say(&m);
}

static void
say_change(unsigned number)
{
	struct recorder_message m = { .kind = RECORD_CHANGE };

	m.u.change = (struct store_change) { .at = { 1000 + number }, .kind = STORE_LEVEL };
	(void)snprintf(m.u.change.reason, STORE_TEXT_MAX, "change %u", number);
	say(&m);
}

/* Wait at most `ms` for an answer of this kind; others are passed over.  Returns whether it came. */
static bool
hear(enum recorder_answer_kind kind, int ms, struct recorder_answer *ret)
{
	mono_t deadline = mono_after(mono_now(), ms);

	for (;;) {
		struct pollfd p = { .fd = line[0], .events = POLLIN };
		int64_t left = mono_since(mono_now(), deadline);

		if (left < 0 || poll(&p, 1, (int)left) != 1)
			return false;
		assert_int_equal(recv(line[0], ret, sizeof(*ret), 0), sizeof(*ret));
		if (ret->kind == kind)
			return true;
	}
}

/* --- a database shell of an operator, a process of its own: SQLite's locks do not survive a fork ------------- */

static void
run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		_exit(1);
}

static pid_t shell;
static int shell_line[2];

/* Returns when it has run `sql`. */
static void
open_shell(const char *sql)
{
	char path[KIT_PATH_MAX], byte;
	sqlite3 *db;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, shell_line), 0);
	shell = fork();
	assert_true(shell >= 0);
	if (shell == 0) {
		(void)close(shell_line[0]);
		if (sqlite3_open(kit_path(path, tree, STORE_FILE), &db) != SQLITE_OK)
			_exit(1);
		(void)sqlite3_busy_timeout(db, PATIENCE_MS);
		run(db, sql);
		if (write(shell_line[1], "!", 1) == 1 && read(shell_line[1], &byte, 1) == 1)
			run(db, "COMMIT");
		_exit(sqlite3_close(db) != SQLITE_OK);
	}
	(void)close(shell_line[1]);
	assert_int_equal(read(shell_line[0], &byte, 1), 1);
}

/* It commits and ends. */
static void
close_shell(void)
{
	int status;

	assert_int_equal(write(shell_line[0], "!", 1), 1);
	assert_int_equal(waitpid(shell, &status, 0), shell);
	assert_int_equal(status, 0);
	(void)close(shell_line[0]);
}

/* --- what is there --------------------------------------------------------------------------- */

static unsigned
stored_number(void)
{
	struct store_override o;
	struct store *s;
	struct err why;

	assert_int_equal(store_open_readonly(tree, &s, &why), 0);
	assert_int_equal(store_get_override(s, &o, &why), 0);
	store_close(s);
	return o.set ? (unsigned)strtoul(o.reason, NULL, 10) : 0;
}

static bool
count_one(const struct store_change *c, void *arg)
{
	(void)c;
	++*(unsigned *)arg;
	return true;
}

static unsigned
stored_changes(void)
{
	struct store *s;
	struct err why;
	unsigned n = 0;

	assert_int_equal(store_open_readonly(tree, &s, &why), 0);
	assert_int_equal(store_history(s, (wall_t) { 0 }, count_one, &n, &why), 0);
	store_close(s);
	return n;
}

static unsigned
logged(const char *what)
{
	char path[KIT_PATH_MAX], text[512];
	FILE *f = fopen(kit_path(path, tree, "log"), "r");
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(text, sizeof(text), f) != NULL)
		n += strstr(text, what) != NULL;
	(void)fclose(f);
	return n;
}

/* --- the tests ------------------------------------------------------------------------------- */

static void
recorder_with_id_answers_when_it_is_durable(void **state)
{
	struct recorder_answer a;

	(void)state;
	start();
	say_override(7, 42);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(a.id, 7);
	assert_int_equal(stored_number(), 42);
	assert_true(hear(ANSWER_STATUS, PATIENCE_MS, &a));
	assert_true(a.ok);
	say(&(struct recorder_message) { .kind = RECORD_ASK_OVERRIDE, .id = 8 });
	assert_true(hear(ANSWER_OVERRIDE, PATIENCE_MS, &a));
	assert_int_equal(a.id, 8);
	assert_string_equal(a.override.reason, "42");
}

static void
recorder_terminated_writes_what_was_on_the_way(void **state)
{
	struct recorder_answer a;

	(void)state;
	start();
	assert_true(hear(ANSWER_STATUS, PATIENCE_MS, &a));
	for (unsigned i = 0; i < 100; i++)
		say_change(i);
	int status = end(SIGTERM);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(stored_changes(), 100);
}

/* D7.  One round: write for a while, die, look. */
static unsigned
kill_round(struct dice *d, unsigned first)
{
	const struct timespec nap = { .tv_nsec = dice_below(d, 12000000) };
	struct recorder_answer a;
	unsigned said = first, done = 0;
	struct store *s;
	struct err note, why;

	start();
	while (said < first + 20) {
		say_change(said);
		say_override(said, said);
		said++;
	}
	(void)nanosleep(&nap, NULL);
	(void)end(SIGKILL);
	while (hear(ANSWER_DONE, 0, &a))
		done = (unsigned)a.id;
	/* What it did not read stays in the socket for the next one, as it does with the keeper. */
	if (done != 0)
		assert_true(stored_number() >= done);
	assert_int_equal(store_open(tree, &s, &note, &why), 0);
	assert_string_equal(note.text, ""); /* not damaged, nothing set aside */
	store_close(s);
	return done;
}

static void
recorder_killed_at_any_moment_keeps_what_it_acknowledged(void **state)
{
	struct dice d = dice_new();
	unsigned first = 1, acknowledged = 0, rounds_with = 0;

	(void)state;
	for (int i = 0; i < kit_rounds(KILL_ROUNDS); i++, first += 20) {
		unsigned done = kill_round(&d, first);

		if (done > acknowledged)
			acknowledged = done;
		rounds_with += done != 0;
		assert_true(acknowledged == 0 || stored_number() >= acknowledged);
	}
	print_message("# acknowledged in %u rounds, last %u\n", rounds_with, acknowledged);
	assert_true(kit_is_slow() || acknowledged > 0);
	/* In the end nothing that was said is missing. */
	start();
	say_override(first, first);
	struct recorder_answer a;
	do {
		assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	} while (a.id != first);
	assert_int_equal(stored_number(), first);
}

/* --- blocks of persons ----------------------------------------------------------------------- */

#define BLOCKS_A_ROUND 20
#define BLOCKS_SAID (BLOCKS_A_ROUND * (KILL_ROUNDS_MAX + 1))

/* By number, which is in the address: what was said of a block, and heard.  Its ids are 2 n and, of its end, 2 n + 1. */
static struct {
	bool said, told, end_said, end_told; /* told: that it is done */
	bool there, ended; /* in the database */
} a_block[BLOCKS_SAID];

static void
say_block(unsigned n, bool ended)
{
	struct recorder_message m = { .kind = RECORD_BLOCK, .id = 2 * n + ended };
	char text[IP_TEXT_MAX];

	m.u.block = (struct store_block) { .kind = BLOCK_DENY, .by_person = true, .began = { 1000 }, .until = { 2000 } };
	kit_format(text, sizeof(text), "10.%u.%u.%u", n >> 16, n >> 8 & 255, n & 255);
	assert_int_equal(ip_prefix_parse(text, &m.u.block.prefix), 0);
	kit_format(m.u.block.id, sizeof(m.u.block.id), "b%u", n);
	m.u.block.ended.ms = ended ? 1500 : 0;
	a_block[n].said = true;
	a_block[n].end_said = a_block[n].end_said || ended;
	say(&m);
}

static void
hear_blocks(void)
{
	struct recorder_answer a;

	while (hear(ANSWER_DONE, 0, &a)) {
		a_block[a.id / 2].told = true;
		a_block[a.id / 2].end_told = a_block[a.id / 2].end_told || a.id % 2 == 1;
	}
}

static bool
note_block(const struct store_block *b, void *arg)
{
	const uint8_t *ip = b->prefix.ip.b + 12;
	unsigned n = (unsigned)ip[1] << 16 | (unsigned)ip[2] << 8 | ip[3];

	(void)arg;
	assert_true(ip[0] == 10 && n < BLOCKS_SAID && b->by_person && b->prefix.bits == 128);
	assert_true(a_block[n].said); /* or it was invented */
	assert_true(b->ended.ms == 0 || a_block[n].end_said);
	a_block[n].there = true;
	a_block[n].ended = b->ended.ms != 0;
	return true;
}

static void
check_blocks(unsigned until)
{
	struct store *s;
	struct err note, why;

	assert_int_equal(store_open(tree, &s, &note, &why), 0);
	assert_string_equal(note.text, ""); /* not damaged, nothing set aside */
	assert_int_equal(store_blocks(s, "", note_block, NULL, &why), 0);
	store_close(s);
	for (unsigned n = 0; n < until; n++) {
		assert_true(!a_block[n].told || a_block[n].there);
		assert_true(!a_block[n].end_told || a_block[n].ended);
	}
}

static void
recorder_killed_at_any_moment_loses_and_invents_no_block(void **state)
{
	const char *wanted = getenv("BLOCK_KILLS");
	int rounds = wanted != NULL ? atoi(wanted) : kit_rounds(KILL_ROUNDS);
	struct dice d = dice_new();
	unsigned n = 1, told = 0;

	(void)state;
	memset(a_block, 0, sizeof(a_block));
	assert_in_range(rounds, 1, KILL_ROUNDS_MAX);
	for (int i = 0; i < rounds; i++) {
		const struct timespec nap = { .tv_nsec = dice_below(&d, 12000000) };

		start();
		for (unsigned end = n + BLOCKS_A_ROUND; n < end; n++) {
			say_block(n, false);
			if (n % 3 == 0)
				say_block(n - dice_below(&d, n < 10 ? n : 10), true);
		}
		(void)nanosleep(&nap, NULL);
		(void)end(SIGKILL);
		hear_blocks();
		check_blocks(n);
	}
	for (unsigned i = 0; i < n; i++)
		told += a_block[i].told;
	print_message("# %d kills, %u blocks, %u of them told to be done\n", rounds, n - 1, told);
	assert_true(kit_is_slow() || told > (unsigned)rounds / 10);
}

/* D6 */
static void
recorder_locked_out_keeps_it_and_writes_later(void **state)
{
	struct recorder_answer a;

	(void)state;
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	open_shell("BEGIN EXCLUSIVE");
	say_override(2, 2);
	for (unsigned i = 0; i < 50; i++)
		say_change(i);
	do {
		assert_true(hear(ANSWER_STATUS, PATIENCE_MS, &a));
	} while (a.ok);
	assert_non_null(strstr(a.text, "locked"));
	assert_false(hear(ANSWER_DONE, 1000, &a));
	close_shell();
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(a.id, 2);
	assert_int_equal(stored_number(), 2);
	assert_int_equal(stored_changes(), 50);
	assert_int_equal(logged("is locked"), 2); /* that it is, and that it is well again */
}

/* An engine asks once, at its start.  If just then the database can't be read, what a person had said must not be lost. */
static void
recorder_asked_while_locked_out_answers_later(void **state)
{
	struct recorder_answer a;

	(void)state;
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	(void)end(SIGTERM);
	open_shell("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
	start();
	say(&(struct recorder_message) { .kind = RECORD_ASK_OVERRIDE, .id = 2 });
	assert_false(hear(ANSWER_OVERRIDE, 500, &a));
	close_shell();
	assert_true(hear(ANSWER_OVERRIDE, PATIENCE_MS, &a));
	assert_int_equal(a.id, 2);
	assert_true(a.override.set);
	assert_string_equal(a.override.reason, "1");
}

static void
recorder_backlog_full_drops_and_counts(void **state)
{
	struct recorder_answer a;

	(void)state;
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	open_shell("BEGIN EXCLUSIVE");
	for (unsigned i = 0; i < 3 * RECORDER_BACKLOG; i++)
		say_change(i);
	close_shell();
	say_override(2, 2);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	do {
		assert_true(hear(ANSWER_STATUS, PATIENCE_MS, &a));
	} while (!a.ok);
	assert_in_range(a.dropped, RECORDER_BACKLOG, 3 * RECORDER_BACKLOG);
	assert_int_equal(a.dropped + stored_changes(), 3 * RECORDER_BACKLOG);
}

/* D5 */
static void
recorder_damaged_database_is_set_aside_and_told(void **state)
{
	struct recorder_answer a;

	(void)state;
	kit_puts(tree, STORE_FILE, "this is not a database, but it is longer than nothing");
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(stored_number(), 1);
	assert_true(hear(ANSWER_STATUS, PATIENCE_MS, &a));
	assert_true(a.ok);
	assert_non_null(strstr(a.text, "set aside"));
	assert_int_equal(logged("set aside"), 1);
}

/* D10 */
static void
recorder_database_removed_begins_another(void **state)
{
	struct recorder_answer a;
	char path[KIT_PATH_MAX];

	(void)state;
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(unlink(kit_path(path, tree, STORE_FILE)), 0);
	say_override(2, 2);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(stored_number(), 2);
}

static void
recorder_directory_missing_refuses_then_recovers(void **state)
{
	char away[KIT_PATH_MAX];
	struct recorder_answer a;

	(void)state;
	assert_in_range(snprintf(away, sizeof(away), "%.500s.away", tree), 1, (int)sizeof(away) - 1);
	start();
	say_override(1, 1);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(rename(tree, away), 0);
	say_override(2, 2);
	bool failed = hear(ANSWER_FAILED, 3000, &a);
	assert_int_equal(rename(away, tree), 0);
	assert_true(failed);
	assert_int_equal(a.id, 2);
	assert_true(a.text[0] != '\0');
	say_override(3, 3);
	assert_true(hear(ANSWER_DONE, PATIENCE_MS, &a));
	assert_int_equal(stored_number(), 3);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_all, remove_all)
	const struct CMUnitTest tests[] = {
		T(recorder_with_id_answers_when_it_is_durable),
		T(recorder_terminated_writes_what_was_on_the_way),
		T(recorder_killed_at_any_moment_keeps_what_it_acknowledged),
		T(recorder_killed_at_any_moment_loses_and_invents_no_block),
		T(recorder_locked_out_keeps_it_and_writes_later),
		T(recorder_asked_while_locked_out_answers_later),
		T(recorder_backlog_full_drops_and_counts),
		T(recorder_damaged_database_is_set_aside_and_told),
		T(recorder_database_removed_begins_another),
		T(recorder_directory_missing_refuses_then_recovers),
	};

	return cmocka_run_group_tests_name("recorder", tests, NULL, NULL);
}
