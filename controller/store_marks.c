/* SPDX-License-Identifier: ISC */
#include "controller/store_marks.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/array.h"

enum statement {
	BEGIN,
	COMMIT,
	PUT,
	DROP,
	READ,
	LOOK,
	STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[PUT] = "INSERT OR REPLACE INTO mark (fingerprint, lim, boot, mono, wall, left, tier, part, marks)"
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[DROP] = "DELETE FROM mark WHERE fingerprint = ?",
	[READ] = "SELECT fingerprint, lim, boot, mono, wall, left, tier, part, marks FROM mark WHERE fingerprint > ?"
		 " ORDER BY fingerprint",
	[LOOK] = "SELECT fingerprint, boot, mono, wall, left FROM mark WHERE fingerprint > ?"
		 " ORDER BY fingerprint LIMIT ?",
};

/* The lock is held while it is open: nobody else has business here, and so nobody can lock us out. */
static const char set_up[] =
	"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
	"PRAGMA journal_size_limit = 4194304;"
	"CREATE TABLE IF NOT EXISTS mark (fingerprint INTEGER PRIMARY KEY, lim INTEGER NOT NULL, boot INTEGER NOT NULL,"
	" mono INTEGER NOT NULL, wall INTEGER NOT NULL, left INTEGER NOT NULL, tier INTEGER NOT NULL,"
	" part INTEGER NOT NULL, marks BLOB NOT NULL);"
	"CREATE TABLE IF NOT EXISTS mark_key (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL);";

struct marks_store {
	sqlite3 *db;
	char path[256];
	dev_t dev;
	ino_t ino;
	sqlite3_stmt *stmt[STATEMENTS];
};

static int
error_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* tables of another form */
	case SQLITE_CONSTRAINT:
		return -EUCLEAN;
	case SQLITE_FULL:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static int
fail(const struct marks_store *s, int rc, struct err *why)
{
	return err_set(why, error_of(rc), "%s: %s", s->path,
		s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

static int
run(struct marks_store *s, const char *text, struct err *why)
{
	int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : fail(s, rc, why);
}

/* Run it to its end, and make it ready for the next time. */
static int
finish(struct marks_store *s, enum statement i, struct err *why)
{
	int rc = sqlite3_step(s->stmt[i]);
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(s, rc, why);

	(void)sqlite3_reset(s->stmt[i]); /* repeats the error */
	(void)sqlite3_clear_bindings(s->stmt[i]);
	return r;
}

/* --- opening --------------------------------------------------------------------------------- */

/* One number; `none` when there is no row. */
static int
ask_number(struct marks_store *s, const char *text, int64_t none, int64_t *ret, struct err *why)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	*ret = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : none;
	int r = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(s, rc, why);
	(void)sqlite3_finalize(st); /* repeats the error of the step */
	return r;
}

static int
open_file(struct marks_store *s, struct err *why)
{
	struct stat st;
	int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	int r;

	if (rc != SQLITE_OK)
		return fail(s, rc, why);
	(void)sqlite3_busy_timeout(s->db, 100);
	if ((r = run(s, set_up, why)) < 0)
		return r;
	for (int i = 0; i < STATEMENTS; i++) {
		rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i], NULL);
		if (rc != SQLITE_OK)
			return fail(s, rc, why);
	}
	if (stat(s->path, &st) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
	return 0;
}

static int
open_once(const char *dir, struct marks_store **ret, bool *ret_new, struct err *why)
{
	struct marks_store *s = calloc(1, sizeof(*s));
	int64_t some = 0;

	if (s == NULL)
		return err_set(why, -ENOMEM, "no memory for the counters' database");
	(void)snprintf(s->path, sizeof(s->path), "%s/" MARKS_FILE, dir);
	int r = open_file(s, why);
	if (r == 0)
		r = ask_number(s, "SELECT count(*) FROM (SELECT 1 FROM mark LIMIT 1)", 0, &some, why);
	if (r < 0) {
		marks_store_close(s);
		return r;
	}
	*ret_new = some == 0;
	*ret = s;
	return 0;
}

static int
remove_file(const char *dir, struct err *why)
{
	static const char *const parts[] = { "-wal", "-shm", "" };

	for (size_t i = 0; i < countof(parts); i++) {
		char path[300];

		(void)snprintf(path, sizeof(path), "%s/" MARKS_FILE "%s", dir, parts[i]);
		if (unlink(path) < 0 && errno != ENOENT)
			return err_sys(why, -errno, "cannot remove %s", path);
	}
	return 0;
}

int
marks_store_open(const char *dir, struct marks_store **ret, bool *ret_new, struct err *note, struct err *why)
{
	int r = open_once(dir, ret, ret_new, why);

	note->text[0] = '\0';
	if (r != -EUCLEAN)
		return r;
	(void)err_set(note, 0, "%s; removed, a new one is begun", why->text);
	r = remove_file(dir, why);
	return r < 0 ? r : open_once(dir, ret, ret_new, why);
}

void
marks_store_close(struct marks_store *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->stmt[i]);
	(void)sqlite3_close_v2(s->db);
	free(s);
}

bool
marks_store_is_in_place(const struct marks_store *s)
{
	struct stat st;

	return stat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
}

/* --- writing --------------------------------------------------------------------------------- */

int
marks_store_begin(struct marks_store *s, struct err *why)
{
	return finish(s, BEGIN, why);
}

int
marks_store_commit(struct marks_store *s, struct err *why)
{
	return finish(s, COMMIT, why);
}

void
marks_store_rollback(struct marks_store *s)
{
	(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL); /* there may be none */
}

int
marks_store_use_key(struct marks_store *s, uint64_t key, struct err *why)
{
	char text[100];
	int64_t stored;
	int r = ask_number(s, "SELECT id FROM mark_key", (int64_t)~key, &stored, why);

	if (r < 0 || stored == (int64_t)key)
		return r;
	(void)snprintf(text, sizeof(text), "DELETE FROM mark; INSERT OR REPLACE INTO mark_key VALUES (1, %lld)",
		(long long)key);
	return run(s, text, why);
}

static int
drop(struct marks_store *s, int64_t fingerprint, struct err *why)
{
	(void)sqlite3_bind_int64(s->stmt[DROP], 1, fingerprint);
	return finish(s, DROP, why);
}

int
marks_store_put(struct marks_store *s, const struct marks_row *row, const uint32_t *marks, struct err *why)
{
	const int64_t numbers[] = {
		row->fingerprint, (int64_t)row->limit, (int64_t)row->boot, row->mono.ms, row->wall.ms, row->left_ms,
		row->tier, row->table,
	};
	int blob = (int)countof(numbers) + 1;

	if (row->n == 0)
		return drop(s, row->fingerprint, why);
	/* Binding fails only for want of memory; the step then fails on NOT NULL. */
	for (size_t i = 0; i < countof(numbers); i++)
		(void)sqlite3_bind_int64(s->stmt[PUT], (int)i + 1, numbers[i]);
	(void)sqlite3_bind_blob(s->stmt[PUT], blob, marks, (int)(row->n * sizeof(marks[0])), SQLITE_STATIC);
	return finish(s, PUT, why);
}

/* --- reading --------------------------------------------------------------------------------- */

int
marks_store_read(struct marks_store *s, int64_t after,
	bool (*each)(const struct marks_row *row, const uint32_t *marks, void *arg), void *arg, bool *ret_end,
	struct err *why)
{
	static uint32_t marks[RATE_DUMP_MARKS_MAX]; /* a blob need not be aligned */
	sqlite3_stmt *st = s->stmt[READ];
	int rc;

	*ret_end = false;
	(void)sqlite3_bind_int64(st, 1, after);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct marks_row row = {
			.fingerprint = sqlite3_column_int64(st, 0), .limit = (uint64_t)sqlite3_column_int64(st, 1),
			.boot = (uint64_t)sqlite3_column_int64(st, 2), .mono = { sqlite3_column_int64(st, 3) },
			.wall = { sqlite3_column_int64(st, 4) }, .left_ms = sqlite3_column_int64(st, 5),
			.tier = (uint8_t)sqlite3_column_int64(st, 6), .table = (uint8_t)sqlite3_column_int64(st, 7),
		};
		const void *blob = sqlite3_column_blob(st, 8);
		size_t len = (size_t)sqlite3_column_bytes(st, 8);

		if (blob == NULL || len > sizeof(marks) || len % sizeof(marks[0]) != 0)
			continue;
		memcpy(marks, blob, len);
		row.n = (uint32_t)(len / sizeof(marks[0]));
		if (!each(&row, marks, arg))
			break;
	}
	*ret_end = rc == SQLITE_DONE;
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(s, rc, why);
	(void)sqlite3_reset(st);
	return r;
}

/* --- trimming -------------------------------------------------------------------------------- */

static void
end_walk(struct marks_walk *w, uint64_t max)
{
	uint64_t kept = w->kept;
	uint64_t surplus = kept > max ? kept - max / 16 * 15 : 0; /* and a little more, or it never ends */

	*w = (struct marks_walk) { .rows = kept, .cut = surplus == 0 ? 0 : (unsigned)(surplus * 1024 / kept) + 1 };
}

static bool
is_cut(const struct marks_walk *w, int64_t fingerprint)
{
	return ((uint64_t)fingerprint >> 8 & 1023) < w->cut;
}

int
marks_store_trim(struct marks_store *s, struct marks_walk *w, unsigned looks, uint64_t max, uint64_t boot,
	mono_t mono, wall_t wall, struct err *why)
{
	int64_t gone[MARKS_STEP_MAX];
	sqlite3_stmt *st = s->stmt[LOOK];
	unsigned looked = 0, n = 0;
	int rc, r;

	looks = looks < MARKS_STEP_MAX ? looks : MARKS_STEP_MAX;
	(void)sqlite3_bind_int64(st, 1, w->begun ? w->at : MARKS_FIRST);
	(void)sqlite3_bind_int64(st, 2, looks);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		const struct marks_row row = {
			.fingerprint = sqlite3_column_int64(st, 0), .boot = (uint64_t)sqlite3_column_int64(st, 1),
			.mono = { sqlite3_column_int64(st, 2) }, .wall = { sqlite3_column_int64(st, 3) },
			.left_ms = sqlite3_column_int64(st, 4), .n = 1,
		};

		w->at = row.fingerprint;
		w->begun = true;
		looked++;
		if (marks_are_over(&row, boot, mono, wall) || is_cut(w, row.fingerprint))
			gone[n++] = row.fingerprint;
		else
			w->kept++;
	}
	r = rc == SQLITE_DONE ? 0 : fail(s, rc, why);
	(void)sqlite3_reset(st);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = drop(s, gone[i], why);
	if (r == 0 && looked < looks)
		end_walk(w, max);
	return r;
}
