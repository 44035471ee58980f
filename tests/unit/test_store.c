/* SPDX-License-Identifier: ISC */
/*
 * What goes into the database comes out of it, and no file that lies in its place stops us.  Rows of the failure list: D2 D3
 * D5 D9 D10.
 *
 * SQLite's calls come to the functions of the same name here, which fail as `plan` says.
 */
#include "controller/store.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/kit.h"

#define ROUNDS_CHANGED 180

/* --- calls that fail ------------------------------------------------------------------------- */

static struct {
	bool on;
	int left; /* calls that go well before */
	int error;
	bool sticky;
	unsigned seen, failed;
} plan;

static bool
fails(void)
{
	if (!plan.on)
		return false;
	plan.seen++;
	if (plan.left-- > 0 || (plan.failed > 0 && !plan.sticky))
		return false;
	plan.failed++;
	errno = plan.error;
	return true;
}

ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	return fails() ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, buf, n, at);
}

int
fdatasync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

int
ftruncate64(int fd, off64_t size)
{
	return fails() ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int
open64(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails() ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int
unlink(const char *path)
{
	return fails() ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

/* --- a tree with a database ------------------------------------------------------------------ */

static char tree[KIT_PATH_MAX];

static int
make_tree(void **state)
{
	(void)state;
	kit_tree(tree);
	return 0;
}

static int
remove_tree(void **state)
{
	(void)state;
	kit_remove(tree);
	return 0;
}

static struct store *
open_store(void)
{
	struct store *s = NULL;
	struct err why;

	if (store_open(tree, &s, NULL, &why) < 0)
		fail_msg("%s", why.text);
	return s;
}

static void
in_batch(struct store *s, int r)
{
	struct err why;

	assert_int_equal(r, 0);
	assert_int_equal(store_commit(s, &why), 0);
}

static struct store *
begin_batch(struct store *s)
{
	struct err why;

	assert_int_equal(store_begin(s, &why), 0);
	return s;
}

static void
add_change(struct store *s, int64_t at, const char *reason)
{
	struct store_change c = { .at = { at }, .kind = STORE_GATE, .before = LEVEL_BUSY, .after = LEVEL_OVERLOADED };
	struct err why;

	(void)snprintf(c.reason, sizeof(c.reason), "%s", reason);
	in_batch(s, store_add_change(begin_batch(s), &c, &why));
}

/* Everything from a time on, counted; the last one is kept. */
struct seen {
	unsigned n, stop_at;
	struct store_change last;
};

static bool
see(const struct store_change *c, void *arg)
{
	struct seen *seen = arg;

	seen->last = *c;
	return ++seen->n != seen->stop_at;
}

static struct seen
changes_since(struct store *s, int64_t at)
{
	struct seen seen = { 0 };
	struct err why;

	assert_int_equal(store_history(s, (wall_t) { at }, see, &seen, &why), 0);
	return seen;
}

/* Run SQL as an operator would.  Not while a store is open: SQLite's locks are lost when a file is closed twice in one process. */
static void
run_sql(const char *sql)
{
	char path[KIT_PATH_MAX];
	sqlite3 *db;

	assert_int_equal(sqlite3_open(kit_path(path, tree, STORE_FILE), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static off_t
size_of(const char *name)
{
	char path[KIT_PATH_MAX];
	struct stat st;

	return stat(kit_path(path, tree, name), &st) < 0 ? -1 : st.st_size;
}

/* --- what goes in comes out ------------------------------------------------------------------ */

static void
store_change_written_is_read_again(void **state)
{
	static const char hostile[] = "'); DROP TABLE change; --\n\033[2J\" \xff\xfe %n";
	struct store_change c = {
		.at = { 1795220246123 }, .kind = STORE_PIN, .before = LEVEL_CRITICAL, .after = LEVEL_NORMAL,
		.episode = "eabcdefgh", .who = "uid 0", .readings = "{\"todo\":1}",
	};
	struct store *s = open_store();
	struct err why;

	(void)state;
	(void)snprintf(c.reason, sizeof(c.reason), "%s", hostile);
	in_batch(s, store_add_change(begin_batch(s), &c, &why));
	struct seen seen = changes_since(s, c.at.ms);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.last.at.ms, c.at.ms);
	assert_int_equal(seen.last.kind, STORE_PIN);
	assert_int_equal(seen.last.before, LEVEL_CRITICAL);
	assert_int_equal(seen.last.after, LEVEL_NORMAL);
	assert_string_equal(seen.last.episode, c.episode);
	assert_string_equal(seen.last.reason, hostile);
	assert_string_equal(seen.last.who, c.who);
	assert_string_equal(seen.last.readings, c.readings);
	assert_int_equal(changes_since(s, c.at.ms + 1).n, 0);
	add_change(s, c.at.ms, "two");
	seen = (struct seen) { .stop_at = 1 };
	assert_int_equal(store_history(s, (wall_t) { 0 }, see, &seen, &why), 0);
	assert_int_equal(seen.n, 1);
	store_close(s);
}

static bool
see_refusal(const struct store_refusal *r, void *arg)
{
	*(struct store_refusal *)arg = *r;
	return false;
}

static void
store_episode_and_refusal_written_are_found(void **state)
{
	const struct store_episode e = {
		.id = "eabcdefgh", .began = { 1000 }, .ended = { 2000 }, .peak = LEVEL_CRITICAL, .reason = "todo 9",
		.refused = UINT64_C(1) << 62,
	};
	const struct store_refusal r = {
		.at = { 1500 }, .episode = "eabcdefgh", .check = CHECK_OVERLOAD, .stage = STAGE_RCPT, .code = 451,
		.pid = UINT32_MAX, .ip = "2001:db8::1", .helo = "h", .sender = "s@x", .recipient = "r@y",
	};
	struct store *s = open_store();
	struct store_episode found;
	struct store_refusal seen = { 0 };
	struct err why;

	(void)state;
	assert_int_equal(store_find_episode(s, e.id, &found, &why), -ENOENT);
	in_batch(s, store_put_episode(begin_batch(s), &e, &why));
	in_batch(s, store_add_refusal(begin_batch(s), &r, &why));
	assert_int_equal(store_find_episode(s, e.id, &found, &why), 0);
	assert_int_equal(found.ended.ms, 2000);
	assert_int_equal(found.peak, LEVEL_CRITICAL);
	assert_true(found.refused == e.refused);
	assert_int_equal(store_refusals(s, e.id, NULL, 10, see_refusal, &seen, &why), 0);
	assert_string_equal(seen.sender, "s@x");
	assert_true(seen.pid == UINT32_MAX);
	assert_int_equal(seen.stage, STAGE_RCPT);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(store_refusals(s, NULL, "2001:db8::1", 10, see_refusal, &seen, &why), 0);
	assert_int_equal(seen.code, 451);
	store_close(s);
}

static void
store_override_replaced_and_removed(void **state)
{
	struct store_override o = {
		.set = true, .level = LEVEL_OVERLOADED, .until = { 5 }, .until_mono = { 6 }, .remaining_ms = 7,
		.boot_id = { 1, 2, 3 }, .who = "uid 0", .reason = "why",
	};
	struct store *s = open_store();
	struct store_override got;
	struct err why;

	(void)state;
	assert_int_equal(store_get_override(s, &got, &why), 0);
	assert_false(got.set);
	for (int i = 0; i < 3; i++) {
		o.remaining_ms = i;
		in_batch(s, store_put_override(begin_batch(s), &o, &why));
	}
	store_close(s);
	s = open_store();
	assert_int_equal(store_get_override(s, &got, &why), 0);
	assert_true(got.set);
	assert_int_equal(got.level, LEVEL_OVERLOADED);
	assert_int_equal(got.remaining_ms, 2);
	assert_memory_equal(got.boot_id, o.boot_id, sizeof(o.boot_id));
	o.set = false;
	in_batch(s, store_put_override(begin_batch(s), &o, &why));
	assert_int_equal(store_get_override(s, &got, &why), 0);
	assert_false(got.set);
	store_close(s);
}

static void
store_trim_keeps_the_newest(void **state)
{
	struct store *s = open_store();
	struct err why;

	(void)state;
	for (int i = 0; i < 120; i++)
		add_change(s, 1000 - i, "row"); /* the clock runs backwards: numbers of rows count, not ages */
	assert_int_equal(store_trim(s, 100, 0, 0, &why), 0);
	struct seen seen = changes_since(s, 0);
	assert_int_equal(seen.n, 100);
	assert_int_equal(seen.last.at.ms, 881);
	store_close(s);
}

static void
store_rolled_back_leaves_nothing(void **state)
{
	const struct store_change c = { .at = { 1 } };
	struct store *s = open_store();
	struct err why;

	(void)state;
	assert_int_equal(store_begin(s, &why), 0);
	assert_int_equal(store_add_change(s, &c, &why), 0);
	store_rollback(s);
	store_rollback(s);
	assert_int_equal(changes_since(s, 0).n, 0);
	add_change(s, 2, "after");
	assert_int_equal(changes_since(s, 0).n, 1);
	store_close(s);
}

/* --- D5: what lies in the place of the database ---------------------------------------------- */

/* Open, whatever is there, and write and read.  Returns the first error, which must come with a sentence. */
static int
try_once(struct err *note)
{
	const struct store_change c = { .at = { INT64_C(1) << 50 }, .reason = "after all" };
	struct store *s;
	struct err why = { .text = "" };
	int r = store_open(tree, &s, note, &why);

	if (r == 0) {
		r = store_begin(s, &why);
		if (r == 0)
			r = store_add_change(s, &c, &why);
		if (r == 0)
			r = store_commit(s, &why);
		if (r == 0)
			assert_true(changes_since(s, INT64_C(1) << 50).n >= 1);
		store_rollback(s);
		store_close(s);
	}
	assert_true(r == 0 || why.text[0] != '\0');
	return r;
}

/* As the recorder does: damage that shows when writing must be met by opening again. */
static int
try_it(struct err *note)
{
	int r = try_once(note);

	return r == -EUCLEAN ? try_once(note) : r;
}

static unsigned
set_aside(void)
{
	char command[KIT_PATH_MAX + 64], line[32] = "";

	(void)snprintf(command, sizeof(command), "ls %s | grep -c 'spillway.db.corrupt-[0-9]*$'", tree);
	FILE *p = popen(command, "r");
	assert_non_null(p);
	assert_non_null(fgets(line, sizeof(line), p));
	(void)pclose(p);
	return (unsigned)strtoul(line, NULL, 10);
}

static void
store_file_of_length_zero_is_begun(void **state)
{
	struct err note;

	(void)state;
	kit_puts(tree, STORE_FILE, "");
	assert_int_equal(try_it(&note), 0);
	assert_string_equal(note.text, "");
}

static void
store_file_that_is_no_database_is_set_aside(void **state)
{
	static const char *const texts[] = {
		"short", "SQLite format 3", "SQLite format 3\n and so on, but it is a text all the same, and a long one",
	};
	struct err note;

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		kit_puts(tree, STORE_FILE, texts[i]);
		assert_int_equal(try_it(&note), 0);
		assert_non_null(strstr(note.text, "set aside"));
		assert_int_equal(set_aside(), 1);
		kit_remove(tree);
		kit_tree(tree);
	}
}

static void
store_database_of_another_program_is_set_aside(void **state)
{
	struct err note;

	(void)state;
	run_sql("CREATE TABLE recipes (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO recipes VALUES (1, 'soup')");
	assert_int_equal(try_it(&note), 0);
	assert_non_null(strstr(note.text, "not of ours"));
	assert_int_equal(set_aside(), 1);
}

static void
store_of_a_newer_spillway_is_left_alone(void **state)
{
	struct store *s = open_store();
	struct err note, why;

	(void)state;
	store_close(s);
	run_sql("PRAGMA user_version = 99");
	assert_int_equal(try_it(&note), -EPROTO);
	assert_int_equal(set_aside(), 0);
	assert_int_equal(store_open_readonly(tree, &s, &why), -EPROTO);
	assert_non_null(strstr(why.text, "schema 99"));
}

/* One of ours, but somebody has been at it. */
static void
store_without_a_table_is_set_aside(void **state)
{
	struct err note;

	(void)state;
	store_close(open_store());
	run_sql("DROP TABLE refusal");
	assert_int_equal(try_it(&note), 0);
	assert_int_equal(set_aside(), 1);
}

static void
store_directory_in_its_place_is_an_error(void **state)
{
	struct err note;

	(void)state;
	kit_mkdir(tree, STORE_FILE);
	assert_true(try_it(&note) < 0);
}

static void
store_read_only_is_an_error_that_says_so(void **state)
{
	char path[KIT_PATH_MAX];
	struct store *s = open_store();
	struct err note, why;

	(void)state;
	add_change(s, 1, "row");
	store_close(s);
	if (geteuid() == 0) {
		print_message("# SKIP root may write everywhere\n");
		return;
	}
	assert_int_equal(chmod(kit_path(path, tree, STORE_FILE), 0444), 0);
	assert_int_equal(chmod(tree, 0555), 0);
	int r = try_it(&note);
	int readonly = store_open_readonly(tree, &s, &why);
	assert_int_equal(chmod(tree, 0755), 0);
	assert_true(r < 0);
	/* A reader would have to make the log's index. */
	assert_true(readonly < 0);
	assert_null(strstr(why.text, "schema"));
}

static void
store_no_database_is_not_read(void **state)
{
	struct store *s;
	struct err why;

	(void)state;
	kit_puts(tree, STORE_FILE, "this is not a database, but it is longer than nothing, and more than a hundred bytes, "
		"for which it needs some more words");
	assert_int_equal(store_open_readonly(tree, &s, &why), -EUCLEAN);
	assert_non_null(strstr(why.text, "not a database"));
}

static void
store_that_is_not_there_is_not_read(void **state)
{
	struct store *s;
	struct err why;

	(void)state;
	assert_int_equal(store_open_readonly(tree, &s, &why), -ENOENT);
	assert_int_equal(size_of(STORE_FILE), -1);
}

/* A database with something in it, as bytes. */
static size_t
make_model(uint8_t *buf, size_t cap)
{
	char path[KIT_PATH_MAX];
	struct store *s = open_store();

	for (int i = 0; i < 60; i++)
		add_change(s, i, "a row of some length, so that there are several pages of it");
	store_close(s); /* the last one out checkpoints the log */
	int fd = open(kit_path(path, tree, STORE_FILE), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, buf, cap);
	(void)close(fd);
	assert_true(n > 8192);
	return (size_t)n;
}

static void
clear_tree(void)
{
	kit_remove(tree);
	kit_tree(tree);
}

static void
store_cut_anywhere_is_opened_or_set_aside(void **state)
{
	static uint8_t model[1 << 17];
	size_t n = make_model(model, sizeof(model));
	struct dice d = dice_new();
	unsigned fresh = 0;

	(void)state;
	for (int i = 0; i < kit_rounds(60); i++) {
		struct err note;

		clear_tree();
		kit_write(tree, STORE_FILE, model, dice_below(&d, (unsigned)n), 0644);
		assert_int_equal(try_it(&note), 0);
		fresh += set_aside();
	}
	assert_true(fresh > 0);
}

/* Bytes changed in the header, where each of them matters, and anywhere. */
static void
store_bytes_changed_is_opened_set_aside_or_refused(void **state)
{
	static uint8_t model[1 << 17], bad[1 << 17];
	size_t n = make_model(model, sizeof(model));
	struct dice d = dice_new();
	unsigned refused = 0, fresh = 0;

	(void)state;
	for (int i = 0; i < kit_rounds(ROUNDS_CHANGED); i++) {
		struct err note;

		clear_tree();
		memcpy(bad, model, n);
		if (i < 100)
			bad[i] = (uint8_t)dice_u64(&d);
		for (unsigned k = i < 100 ? 0 : 1 + dice_below(&d, 50); k > 0; k--)
			bad[dice_below(&d, (unsigned)n)] = (uint8_t)dice_u64(&d);
		kit_write(tree, STORE_FILE, bad, n, 0644);
		int r = try_it(&note);
		assert_true(r == 0 || r == -EPROTO || r == -EROFS);
		refused += r < 0;
		fresh += set_aside();
	}
	print_message("# %u refused, %u set aside\n", refused, fresh);
	assert_true(fresh > (unsigned)kit_rounds(50));
}

static void
store_log_that_is_noise_is_passed_over(void **state)
{
	uint8_t noise[9000];
	struct dice d = dice_new();
	struct err note;

	(void)state;
	for (int i = 0; i < kit_rounds(20); i++) {
		struct store *s = open_store();

		add_change(s, 7, "before");
		store_close(s);
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)dice_u64(&d);
		if (i % 2 != 0)
			memcpy(noise, "\x37\x7f\x06\x82\x00\x2d\xe2\x18\x00\x00\x10\x00", 12); /* its magic, version, page size */
		kit_write(tree, STORE_FILE "-wal", noise, sizeof(noise), 0644);
		kit_write(tree, STORE_FILE "-shm", noise, 32768 < sizeof(noise) ? 32768 : sizeof(noise), 0644);
		assert_int_equal(try_it(&note), 0);
		assert_string_equal(note.text, "");
		s = open_store();
		assert_int_equal(changes_since(s, 7).n >= 2, 1);
		store_close(s);
		clear_tree();
	}
}

/* Its reader has a snapshot for long: the log grows, and is cut when he is gone. */
static void
store_long_reader_the_log_shrinks_again(void **state)
{
	struct store *s = open_store();
	int go[2], status;
	char byte = '!', path[KIT_PATH_MAX];

	(void)state;
	add_change(s, 1, "row");
	assert_int_equal(pipe(go), 0);
	pid_t reader = fork();
	assert_true(reader >= 0);
	if (reader == 0) {
		/* Exec'ed, for SQLite must not be carried over a fork. */
		(void)dup2(go[0], STDIN_FILENO);
		(void)close(go[1]);
		(void)execlp("sh", "sh", "-c", "command -v sqlite3 >/dev/null || exit 9; "
			"(echo 'BEGIN; SELECT count(*) FROM change;'; cat; echo 'COMMIT;') | sqlite3 \"$0\" >/dev/null",
			kit_path(path, tree, STORE_FILE), (char *)NULL);
		_exit(9);
	}
	(void)close(go[0]);
	(void)usleep(300000);
	for (int i = 0; i < 2000; i++)
		add_change(s, i, "a row of some length, so that the log grows by several pages for each of them");
	off_t high = size_of(STORE_FILE "-wal");
	(void)!write(go[1], &byte, 0);
	(void)close(go[1]);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	for (int i = 0; i < 2000; i++)
		add_change(s, i, "row");
	off_t low = size_of(STORE_FILE "-wal");
	store_close(s);
	if (WEXITSTATUS(status) == 9) {
		print_message("# SKIP no sqlite3\n");
		return;
	}
	print_message("# log: %lld bytes with the reader, %lld without\n", (long long)high, (long long)low);
	assert_true(high > 8 << 20);
	assert_true(low <= (8 << 20) + 65536);
}

/* Rows of offences, counted; the last one is kept. */
struct seen_offences {
	unsigned n;
	struct store_offence last;
};

static bool
see_offence(const struct store_offence *o, void *arg)
{
	struct seen_offences *seen = arg;

	seen->last = *o;
	seen->n++;
	return true;
}

static struct seen_offences
offences(struct store *s, const char *id, const char *who)
{
	struct seen_offences seen = { 0 };
	struct err why;

	assert_int_equal(store_offences(s, id, who, 10, see_offence, &seen, &why), 0);
	return seen;
}

static struct store_offence
an_offence(unsigned number)
{
	struct store_offence o;

	memset(&o, 0, sizeof(o)); /* padding too: compared as bytes */
	(void)snprintf(o.id, sizeof(o.id), "rabcde%03u", number % 1000);
	(void)snprintf(o.class, sizeof(o.class), "user_rcpt");
	(void)snprintf(o.pattern, sizeof(o.pattern), "*@example.test'; --");
	(void)snprintf(o.value, sizeof(o.value), "alice@example.test");
	(void)snprintf(o.ip, sizeof(o.ip), "192.0.2.1");
	(void)snprintf(o.helo, sizeof(o.helo), "h");
	(void)snprintf(o.sender, sizeof(o.sender), "s@x");
	(void)snprintf(o.recipient, sizeof(o.recipient), "r@y");
	(void)snprintf(o.user, sizeof(o.user), "alice@example.test");
	o.check = CHECK_USERTHROTTLE;
	o.stage = STAGE_RCPT;
	o.code = 451;
	o.prefix = 64;
	o.n = 201;
	o.max = 200;
	o.window_ms = 3600000;
	o.clear_ms = INT64_C(1) << 40;
	o.first.ms = 1795220246123;
	o.last.ms = 1795220246124;
	o.refused = 1;
	return o;
}

static void
put_offence(struct store *s, const struct store_offence *o)
{
	struct err why;

	in_batch(s, store_put_offence(begin_batch(s), o, &why));
}

static void
store_offence_written_is_found_and_goes_on(void **state)
{
	struct store_offence o = an_offence(1), other = an_offence(2);
	struct store *s = open_store();
	struct seen_offences seen;

	(void)state;
	assert_int_equal(offences(s, o.id, NULL).n, 0);
	put_offence(s, &o);
	seen = offences(s, o.id, NULL);
	assert_int_equal(seen.n, 1);
	assert_memory_equal(&seen.last, &o, sizeof(o));
	(void)snprintf(other.value, sizeof(other.value), "bob");
	put_offence(s, &other);
	o.n = 5000;
	o.last.ms += 5000;
	o.ended.ms = o.last.ms + 1;
	o.refused = UINT64_C(1) << 62;
	put_offence(s, &o);
	seen = offences(s, o.id, NULL);
	assert_int_equal(seen.n, 1);
	assert_memory_equal(&seen.last, &o, sizeof(o));
	seen = offences(s, NULL, "192.0.2.1");
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.last.id, o.id); /* the newest first, and one that goes on stays where it was */
	assert_int_equal(offences(s, NULL, "alice@example.test").n, 1);
	assert_int_equal(offences(s, NULL, "bob").n, 1);
	assert_int_equal(offences(s, NULL, "").n, 0);
	store_close(s);
}

static void
store_trim_keeps_the_newest_offences(void **state)
{
	struct store *s = open_store();
	struct err why;

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		struct store_offence o = an_offence(i);

		put_offence(s, &o);
	}
	assert_int_equal(store_trim(s, 100, 100, 7, &why), 0);
	for (unsigned i = 0; i < 30; i++) {
		struct store_offence o = an_offence(i);

		assert_int_equal(offences(s, o.id, NULL).n, i >= 23);
	}
	store_close(s);
}

/* --- O10: a database of before ---------------------------------------------------------------- */

/* As version 1 made it, with a row in each table. */
static const char version_1[] =
	"CREATE TABLE change (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL,"
	" level_before TEXT NOT NULL, level_after TEXT NOT NULL, episode TEXT NOT NULL, reason TEXT NOT NULL,"
	" who TEXT NOT NULL, readings TEXT NOT NULL);"
	"CREATE INDEX change_at ON change (at);"
	"CREATE TABLE episode (id TEXT PRIMARY KEY, began INTEGER NOT NULL, ended INTEGER NOT NULL,"
	" peak TEXT NOT NULL, reason TEXT NOT NULL, refused INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE refusal (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, episode TEXT NOT NULL,"
	" rule TEXT NOT NULL, stage TEXT NOT NULL, code INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" ip TEXT NOT NULL, helo TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL);"
	"CREATE INDEX refusal_episode ON refusal (episode);"
	"CREATE INDEX refusal_ip ON refusal (ip);"
	"CREATE TABLE override (one INTEGER PRIMARY KEY CHECK (one = 1), level TEXT NOT NULL,"
	" until INTEGER NOT NULL, until_mono INTEGER NOT NULL, boot_id BLOB NOT NULL,"
	" remaining_ms INTEGER NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL);"
	"INSERT INTO change VALUES (1, 5, 'level', 'normal', 'busy', '', 'todo 60', 'spillway', '{}');"
	"INSERT INTO episode VALUES ('eabcdefgh', 1, 2, 'overloaded', 'todo 200', 7);"
	"INSERT INTO refusal VALUES (1, 1, 'eabcdefgh', 'overload', 'mail', 451, 9, '192.0.2.1', '', '', '');"
	"INSERT INTO override VALUES (1, 'busy', 5, 6, x'00112233445566778899aabbccddeeff', 7, 'uid 0', 'why');"
	"PRAGMA user_version = 1;";

/* What was there is there, and what is new works. */
static void
check_migrated(struct store *s)
{
	const struct store_offence o = an_offence(1);
	struct store_refusal seen = { 0 };
	struct store_episode e;
	struct store_override w;
	struct err why;

	assert_int_equal(changes_since(s, 0).n, 1);
	assert_int_equal(store_find_episode(s, "eabcdefgh", &e, &why), 0);
	assert_int_equal(e.refused, 7);
	assert_int_equal(store_refusals(s, "eabcdefgh", NULL, 10, see_refusal, &seen, &why), 0);
	assert_int_equal(seen.code, 451);
	assert_int_equal(store_get_override(s, &w, &why), 0);
	assert_int_equal(w.remaining_ms, 7);
	put_offence(s, &o);
	assert_int_equal(offences(s, o.id, NULL).n, 1);
}

static void
store_of_version_1_is_migrated(void **state)
{
	struct store *s;
	struct err note;

	(void)state;
	run_sql(version_1);
	assert_int_equal(store_open(tree, &s, &note, &note), 0);
	assert_string_equal(note.text, "");
	check_migrated(s);
	store_close(s);
	s = open_store(); /* once is enough */
	assert_int_equal(offences(s, NULL, "192.0.2.1").n, 1);
	store_close(s);
}

/* The command may be newer than the daemon that is running. */
static void
store_of_version_1_can_be_read(void **state)
{
	struct store_refusal seen = { 0 };
	struct store *s;
	struct err why;

	(void)state;
	run_sql(version_1);
	assert_int_equal(store_open_readonly(tree, &s, &why), 0);
	assert_int_equal(offences(s, "rabcdefgh", NULL).n, 0);
	assert_int_equal(offences(s, NULL, "192.0.2.1").n, 0);
	assert_int_equal(store_refusals(s, NULL, "192.0.2.1", 10, see_refusal, &seen, &why), 0);
	assert_int_equal(seen.code, 451);
	store_close(s);
}

/* Each call fails in turn: it is of one version or the other, and nothing is lost. */
static void
store_migration_that_fails_can_be_tried_again(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	unsigned calls = 1, told = 0;

	(void)state;
	for (unsigned i = 0; i <= calls * countof(errors); i++) {
		struct store *s;
		struct err note, why;

		clear_tree();
		run_sql(version_1);
		plan.seen = plan.failed = 0;
		plan.left = i == 0 ? 100000 : (int)((i - 1) / countof(errors));
		plan.error = errors[i % countof(errors)];
		plan.sticky = true;
		plan.on = true;
		int r = store_open(tree, &s, &note, &why);
		plan.on = false;
		if (r == 0)
			store_close(s);
		told += r < 0;
		calls = i == 0 ? plan.seen : calls;
		assert_true(r == 0 || why.text[0] != '\0');
		assert_int_equal(store_open(tree, &s, &note, &why), 0);
		assert_string_equal(note.text, "");
		check_migrated(s);
		store_close(s);
	}
	print_message("# %u calls, %u faults were told\n", calls, told);
	assert_true(told > 0);
}

static void
store_of_a_version_below_all_is_set_aside(void **state)
{
	struct err note;

	(void)state;
	store_close(open_store());
	run_sql("PRAGMA user_version = -7");
	assert_int_equal(try_it(&note), 0);
	assert_int_equal(set_aside(), 1);
}

/* --- D3: each call in turn ------------------------------------------------------------------- */

static int
put_override(struct store *s, int64_t number)
{
	const struct store_override o = { .set = true, .level = LEVEL_BUSY, .remaining_ms = number };
	struct err why;
	int r = store_begin(s, &why);

	if (r == 0)
		r = store_put_override(s, &o, &why);
	if (r == 0)
		r = store_commit(s, &why);
	if (r < 0)
		store_rollback(s);
	return r;
}

static int64_t
get_override(struct store *s)
{
	struct store_override o;
	struct err why;

	assert_int_equal(store_get_override(s, &o, &why), 0);
	return o.set ? o.remaining_ms : -1;
}

/* One open, write, close with a fault in it; then what is there?  Returns the number of calls. */
static unsigned
one_fault(int left, int error, bool sticky, unsigned *told)
{
	struct store *s = open_store();
	struct err note, why;

	assert_int_equal(put_override(s, 1), 0);
	store_close(s);
	memset(&plan, 0, sizeof(plan));
	plan.left = left;
	plan.error = error;
	plan.sticky = sticky;
	plan.on = true;
	int r = store_open(tree, &s, &note, &why);
	if (r == 0) {
		assert_string_equal(note.text, ""); /* an error of the disk is no damage */
		r = put_override(s, 2);
		store_close(s);
	}
	plan.on = false;
	*told += r < 0;
	assert_int_equal(store_open(tree, &s, &note, &why), 0);
	assert_string_equal(note.text, "");
	int64_t number = get_override(s);
	/* What was told done is there; what was not may be. */
	assert_true(number == 2 || (number == 1 && r < 0));
	assert_int_equal(put_override(s, 3), 0);
	store_close(s);
	return plan.seen;
}

static void
store_any_call_fails_what_was_told_done_is_there(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EINTR };
	unsigned told = 0, calls = one_fault(100000, EIO, false, &told);

	(void)state;
	assert_int_equal(told, 0);
	assert_in_range(calls, 6, 200);
	for (size_t k = 0; k < countof(errors) * 2; k++)
		for (unsigned i = 0; i < calls; i++)
			if (errors[k / 2] != EINTR || k % 2 == 0) /* for ever EINTR is a loop for ever */
				(void)one_fault((int)i, errors[k / 2], k % 2 != 0, &told);
	print_message("# %u calls, %u faults were told\n", calls, told);
	assert_true(told > calls);
}

/* D2: also a file that may not grow any more. */
static void
store_file_size_limit_is_an_error_and_passes(void **state)
{
	const struct store_change c = { .at = { 1 }, .reason = "row" };
	struct store *s = open_store();
	struct rlimit before, small;
	struct err why;
	int r = 0;

	(void)state;
	add_change(s, 1, "before");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = (rlim_t)size_of(STORE_FILE "-wal");
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(store_begin(s, &why), 0);
	for (int i = 0; i < 1000 && r == 0; i++)
		r = store_add_change(s, &c, &why);
	if (r == 0)
		r = store_commit(s, &why);
	store_rollback(s);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, handler);
	assert_true(r == -EIO || r == -ENOSPC);
	assert_int_equal(changes_since(s, 0).n, 1);
	add_change(s, 1, "after");
	assert_int_equal(changes_since(s, 0).n, 2);
	store_close(s);
}

static void
store_replaced_is_noticed(void **state)
{
	char from[KIT_PATH_MAX], to[KIT_PATH_MAX];
	struct store *s = open_store();

	(void)state;
	assert_true(store_is_in_place(s));
	assert_int_equal(rename(kit_path(from, tree, STORE_FILE), kit_path(to, tree, "away")), 0);
	assert_false(store_is_in_place(s));
	kit_puts(tree, STORE_FILE, "");
	assert_false(store_is_in_place(s));
	store_close(s);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_tree, remove_tree)
	const struct CMUnitTest tests[] = {
		T(store_change_written_is_read_again),
		T(store_episode_and_refusal_written_are_found),
		T(store_override_replaced_and_removed),
		T(store_trim_keeps_the_newest),
		T(store_offence_written_is_found_and_goes_on),
		T(store_trim_keeps_the_newest_offences),
		T(store_of_version_1_is_migrated),
		T(store_of_version_1_can_be_read),
		T(store_migration_that_fails_can_be_tried_again),
		T(store_of_a_version_below_all_is_set_aside),
		T(store_rolled_back_leaves_nothing),
		T(store_file_of_length_zero_is_begun),
		T(store_file_that_is_no_database_is_set_aside),
		T(store_database_of_another_program_is_set_aside),
		T(store_of_a_newer_spillway_is_left_alone),
		T(store_without_a_table_is_set_aside),
		T(store_directory_in_its_place_is_an_error),
		T(store_read_only_is_an_error_that_says_so),
		T(store_no_database_is_not_read),
		T(store_that_is_not_there_is_not_read),
		T(store_cut_anywhere_is_opened_or_set_aside),
		T(store_bytes_changed_is_opened_set_aside_or_refused),
		T(store_log_that_is_noise_is_passed_over),
		T(store_long_reader_the_log_shrinks_again),
		T(store_any_call_fails_what_was_told_done_is_there),
		T(store_file_size_limit_is_an_error_and_passes),
		T(store_replaced_is_noticed),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
