/* SPDX-License-Identifier: ISC */
#include "controller/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/store_sql.h"
#include "lib/array.h"
#include "lib/text.h"

#define OFFENCE_COLUMNS "name, rule, stage, code, class, pattern, value, prefix, n, max, window_ms, clear_ms," \
	" first, last, ended, refused, ip, helo, sender, recipient, user"
#define TRIM_STEP "1000"
#define WAL_LIMIT "8388608" /* bytes kept of the log after a checkpoint */

static const char *const sql[STATEMENTS] = {
	[ADD_CHANGE] = "INSERT INTO change (at, kind, level_before, level_after, episode, reason, who, readings)"
		       " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_EPISODE] = "INSERT OR REPLACE INTO episode (id, began, ended, peak, reason, refused)"
			" VALUES (?, ?, ?, ?, ?, ?)",
	[END_EPISODES] = "UPDATE episode SET ended = max(began, ?) WHERE ended = 0 AND id != ?",
	/* Not "OR REPLACE": an offence that goes on keeps its place among the oldest. */
	[PUT_OFFENCE] = "INSERT INTO offence (" OFFENCE_COLUMNS ")"
			" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,"
			" ?19, ?20, ?21) ON CONFLICT (name) DO UPDATE SET n = ?9, max = ?10, clear_ms = ?12,"
			" last = ?14, ended = ?15, refused = ?16",
	[ADD_REFUSAL] = "INSERT INTO refusal (at, episode, rule, stage, code, pid, ip, helo, sender, recipient)"
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_OVERRIDE] = "INSERT OR REPLACE INTO override"
			 " (one, level, until, until_mono, boot_id, remaining_ms, who, reason)"
			 " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
	[DROP_OVERRIDE] = "DELETE FROM override",
	[TRIM_CHANGES] = "DELETE FROM change WHERE id IN (SELECT id FROM change WHERE id <="
			 " (SELECT max(id) FROM change) - ? ORDER BY id LIMIT " TRIM_STEP ")",
	[TRIM_REFUSALS] = "DELETE FROM refusal WHERE id IN (SELECT id FROM refusal WHERE id <="
			  " (SELECT max(id) FROM refusal) - ? ORDER BY id LIMIT " TRIM_STEP ")",
	[TRIM_OFFENCES] = "DELETE FROM offence WHERE id IN (SELECT id FROM offence WHERE id <="
			  " (SELECT max(id) FROM offence) - ? ORDER BY id LIMIT " TRIM_STEP ")",
	[PUT_BLOCK] = "INSERT OR REPLACE INTO block (prefix, kind, name, began, until, ended, until_mono, boot_id,"
		      " length_ms, who, reason, person, wide, n, max, step, times)"
		      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_ALLOW] = "INSERT OR REPLACE INTO allow (entry, at, who) VALUES (?, ?, ?)",
	[DROP_ALLOW] = "DELETE FROM allow WHERE entry = ?",
	/* Of those that are over, the ones longest ago. */
	[TRIM_BLOCKS] = "DELETE FROM block WHERE prefix IN (SELECT prefix FROM block WHERE ended != 0 ORDER BY ended"
			" LIMIT max(0, min(" TRIM_STEP ", (SELECT count(*) FROM block) - ?)))",
	[PUT_STORM] = "INSERT OR REPLACE INTO storm (id, name, raw, domain, began, last, last_mono, boot, ended,"
		      " counted, expected, retried, deferred, refused)"
		      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_SENT] = "INSERT OR REPLACE INTO sent (key, made_with, boot, mono, wall, data) VALUES (?, ?, ?, ?, ?, ?)",
	[TRIM_STORMS] = "DELETE FROM storm WHERE id IN (SELECT id FROM storm WHERE ended != 0 ORDER BY ended"
			" LIMIT max(0, min(" TRIM_STEP ", (SELECT count(*) FROM storm) - ?)))",
	[TRIM_SENT] = "DELETE FROM sent WHERE key IN (SELECT key FROM sent ORDER BY wall"
		      " LIMIT max(0, min(" TRIM_STEP ", (SELECT count(*) FROM sent) - ?)))",
};

/* Schema 1, and what came with each one after it: a new database takes all of them, one step at a time. */
static const char schema_1[] =
	"PRAGMA auto_vacuum = INCREMENTAL;"
	"BEGIN IMMEDIATE;"
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
	"PRAGMA user_version = 1;"
	"COMMIT;";

static const char schema_2[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE offence (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rule TEXT NOT NULL,"
	" stage TEXT NOT NULL, code INTEGER NOT NULL, class TEXT NOT NULL, pattern TEXT NOT NULL,"
	" value TEXT NOT NULL, prefix INTEGER NOT NULL,"
	" n INTEGER NOT NULL, max INTEGER NOT NULL, window_ms INTEGER NOT NULL, clear_ms INTEGER NOT NULL,"
	" first INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER NOT NULL, refused INTEGER NOT NULL,"
	" ip TEXT NOT NULL, helo TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, user TEXT NOT NULL);"
	"CREATE INDEX offence_value ON offence (value);"
	"CREATE INDEX offence_ip ON offence (ip);"
	"PRAGMA user_version = 2;"
	"COMMIT;";

static const char schema_3[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE block (prefix TEXT PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL,"
	" began INTEGER NOT NULL, until INTEGER NOT NULL, ended INTEGER NOT NULL, until_mono INTEGER NOT NULL,"
	" boot_id BLOB NOT NULL, length_ms INTEGER NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL,"
	" person INTEGER NOT NULL, wide INTEGER NOT NULL, n INTEGER NOT NULL, max INTEGER NOT NULL,"
	" step INTEGER NOT NULL, times INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX block_name ON block (name);"
	"CREATE INDEX block_ended ON block (ended);"
	"CREATE TABLE allow (entry TEXT PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL) WITHOUT ROWID;"
	"PRAGMA user_version = 3;"
	"COMMIT;";

static const char schema_4[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE storm (id TEXT PRIMARY KEY, name TEXT NOT NULL, raw BLOB NOT NULL, domain INTEGER NOT NULL,"
	" began INTEGER NOT NULL, last INTEGER NOT NULL, last_mono INTEGER NOT NULL, boot INTEGER NOT NULL,"
	" ended INTEGER NOT NULL, counted INTEGER NOT NULL, expected INTEGER NOT NULL, retried INTEGER NOT NULL,"
	" deferred INTEGER NOT NULL, refused INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX storm_name ON storm (name);"
	"CREATE TABLE sent (key INTEGER PRIMARY KEY, made_with INTEGER NOT NULL, boot INTEGER NOT NULL,"
	" mono INTEGER NOT NULL, wall INTEGER NOT NULL, data BLOB NOT NULL);"
	"PRAGMA user_version = 4;"
	"COMMIT;";

/* [N] leads from schema N to N + 1. */
static const char *const steps[STORE_SCHEMA] = { schema_1, schema_2, schema_3, schema_4 };

static const char *const kind_names[STORE_KINDS] = {
	[STORE_LEVEL] = "level", [STORE_GATE] = "gate", [STORE_PIN] = "pin", [STORE_CONFIG] = "config",
	[STORE_SERVICE] = "service", [STORE_STORM] = "storm",
};

const char *
store_kind_name(enum store_kind kind)
{
	return (unsigned)kind < STORE_KINDS ? kind_names[kind] : "?";
}

/* --- errors ---------------------------------------------------------------------------------- */

static int
error_of(int rc)
{
	switch (rc & 0xff) { /* the primary code */
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table is missing, or the format is one that SQLite does not know */
		return -EUCLEAN;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	default:
		return -EIO;
	}
}

int
store_fail(const struct store *s, int rc, struct err *why)
{
	return err_set(why, error_of(rc), "%s: %s", s->path,
		s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

static int
run(struct store *s, const char *text, struct err *why)
{
	int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : store_fail(s, rc, why);
}

/* --- opening --------------------------------------------------------------------------------- */

/* One number, like PRAGMA user_version.  -1 when it can't be had. */
static int64_t
ask_number(struct store *s, const char *text)
{
	sqlite3_stmt *st = NULL;
	int64_t v = -1;

	if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st); /* repeats the error of the step */
	return v;
}

/* quick_check reads the whole file: some tenths of a second at the sizes that our limits allow. */
static int
check_integrity(struct store *s, struct err *why)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL);
	int r = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_ROW)
		r = store_fail(s, rc, why);
	else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
		r = err_set(why, -EUCLEAN, "%s: %s", s->path, sqlite3_column_text(st, 0));
	(void)sqlite3_finalize(st);
	return r;
}

static int
prepare(struct store *s, struct err *why)
{
	for (int i = 0; i < STATEMENTS; i++) {
		int rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i], NULL);

		if (rc != SQLITE_OK)
			return store_fail(s, rc, why);
	}
	return 0;
}

/* One step is one transaction: after a crash the database is at one schema or the next. */
static int
migrate(struct store *s, int64_t version, struct err *why)
{
	int r = 0;

	for (; version < STORE_SCHEMA && r == 0; version++) {
		r = run(s, steps[version], why);
		if (r < 0)
			store_rollback(s);
	}
	return r;
}

static int
set_up(struct store *s, struct err *why)
{
	int r = check_integrity(s, why);

	if (r < 0)
		return r;
	int64_t version = ask_number(s, "PRAGMA user_version");
	if (version > STORE_SCHEMA)
		return err_set(why, -EPROTO, "%s: written by a newer spillway (schema %lld, ours is %d)", s->path,
			(long long)version, STORE_SCHEMA);
	if (version == 0 && ask_number(s, "SELECT count(*) FROM sqlite_master") != 0)
		return err_set(why, -EUCLEAN, "%s: a database, but not of ours", s->path);
	if (version < 0)
		return sqlite3_errcode(s->db) != SQLITE_OK ? store_fail(s, sqlite3_errcode(s->db), why)
			: err_set(why, -EUCLEAN, "%s: schema %lld", s->path, (long long)version);
	if ((r = migrate(s, version, why)) < 0)
		return r;
	r = run(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		   " PRAGMA journal_size_limit = " WAL_LIMIT "; PRAGMA foreign_keys = OFF;", why);
	return r < 0 ? r : prepare(s, why);
}

static int
open_at(struct store *s, int flags, struct err *why)
{
	struct stat st;
	int rc = sqlite3_open_v2(s->path, &s->db, flags, NULL);

	if (rc != SQLITE_OK)
		return store_fail(s, rc, why);
	(void)sqlite3_extended_result_codes(s->db, 1);
	if (stat(s->path, &st) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
	return 0;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->stmt[i]);
	(void)sqlite3_close_v2(s->db);
	free(s);
}

static struct store *
make(const char *dir)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s != NULL)
		(void)snprintf(s->path, sizeof(s->path), "%s/" STORE_FILE, dir);
	return s;
}

static int
open_once(const char *dir, struct store **ret, struct err *why)
{
	struct store *s = make(dir);

	if (s == NULL)
		return err_set(why, -ENOMEM, "no memory for the store");
	int r = open_at(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why);
	if (r == 0) {
		(void)sqlite3_busy_timeout(s->db, 100);
		r = set_up(s, why);
	}
	if (r < 0) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* Out of the way, under a name that tells when; its log goes with it. */
static int
set_aside(const char *dir, struct err *why)
{
	static const char *const parts[] = { "", "-wal", "-shm" };
	long long now = (long long)(wall_now().ms / 1000);

	for (size_t i = 0; i < countof(parts); i++) {
		char from[300], to[340];

		(void)snprintf(from, sizeof(from), "%s/" STORE_FILE "%s", dir, parts[i]);
		(void)snprintf(to, sizeof(to), "%s/" STORE_FILE ".corrupt-%lld%s", dir, now, parts[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_sys(why, -errno, "cannot rename %s", from);
	}
	return 0;
}

int
store_open(const char *dir, struct store **ret, struct err *note, struct err *why)
{
	int r = open_once(dir, ret, why);

	if (note != NULL)
		note->text[0] = '\0';
	if (r != -EUCLEAN)
		return r;
	(void)err_set(note, 0, "%s; set aside, a new one is begun", why->text);
	r = set_aside(dir, why);
	return r < 0 ? r : open_once(dir, ret, why);
}

bool
store_is_in_place(const struct store *s)
{
	struct stat st;

	return stat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
}

/* --- writing --------------------------------------------------------------------------------- */

int
store_begin(struct store *s, struct err *why)
{
	return run(s, "BEGIN IMMEDIATE", why);
}

int
store_commit(struct store *s, struct err *why)
{
	return run(s, "COMMIT", why);
}

void
store_rollback(struct store *s)
{
	(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL); /* there may be none */
}

/* Bind `n` texts from parameter `first` on. */
void
store_bind_texts(sqlite3_stmt *st, int first, const char *const *texts, size_t n)
{
	/* Binding fails only for want of memory; the step then fails on NOT NULL. */
	for (size_t i = 0; i < n; i++)
		(void)sqlite3_bind_text(st, first + (int)i, texts[i], -1, SQLITE_TRANSIENT);
}

int
store_finish(struct store *s, sqlite3_stmt *st, struct err *why)
{
	int rc = sqlite3_step(st);
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : store_fail(s, rc, why);

	(void)sqlite3_reset(st); /* repeats the error */
	(void)sqlite3_clear_bindings(st);
	return r;
}

int
store_add_change(struct store *s, const struct store_change *c, struct err *why)
{
	const char *const texts[] = {
		store_kind_name(c->kind), level_name(c->before), level_name(c->after), c->episode, c->reason,
		c->who, c->readings,
	};
	sqlite3_stmt *st = s->stmt[ADD_CHANGE];

	(void)sqlite3_bind_int64(st, 1, c->at.ms);
	store_bind_texts(st, 2, texts, countof(texts));
	return store_finish(s, st, why);
}

int
store_put_episode(struct store *s, const struct store_episode *e, struct err *why)
{
	sqlite3_stmt *st = s->stmt[PUT_EPISODE];

	store_bind_texts(st, 1, (const char *const[]) { e->id }, 1);
	(void)sqlite3_bind_int64(st, 2, e->began.ms);
	(void)sqlite3_bind_int64(st, 3, e->ended.ms);
	store_bind_texts(st, 4, (const char *const[]) { level_name(e->peak), e->reason }, 2);
	(void)sqlite3_bind_int64(st, 6, (sqlite3_int64)e->refused);
	return store_finish(s, st, why);
}

int
store_put_offence(struct store *s, const struct store_offence *o, struct err *why)
{
	sqlite3_stmt *st = s->stmt[PUT_OFFENCE];
	const int64_t numbers[] = {
		o->prefix, o->n, o->max, o->window_ms, o->clear_ms, o->first.ms, o->last.ms, o->ended.ms,
		(int64_t)o->refused,
	};

	store_bind_texts(st, 1, (const char *const[]) { o->id, check_name(o->check), stage_name(o->stage) }, 3);
	(void)sqlite3_bind_int(st, 4, o->code);
	store_bind_texts(st, 5, (const char *const[]) { o->class, o->pattern, o->value }, 3);
	for (size_t i = 0; i < countof(numbers); i++)
		(void)sqlite3_bind_int64(st, 8 + (int)i, numbers[i]);
	store_bind_texts(st, 17, (const char *const[]) { o->ip, o->helo, o->sender, o->recipient, o->user }, 5);
	return store_finish(s, st, why);
}

int
store_end_episodes(struct store *s, const char *id, wall_t ended, struct err *why)
{
	sqlite3_stmt *st = s->stmt[END_EPISODES];

	(void)sqlite3_bind_int64(st, 1, ended.ms);
	store_bind_texts(st, 2, &id, 1);
	return store_finish(s, st, why);
}

int
store_add_refusal(struct store *s, const struct store_refusal *r, struct err *why)
{
	sqlite3_stmt *st = s->stmt[ADD_REFUSAL];

	(void)sqlite3_bind_int64(st, 1, r->at.ms);
	store_bind_texts(st, 2, (const char *const[]) { r->episode, check_name(r->check), stage_name(r->stage) }, 3);
	(void)sqlite3_bind_int(st, 5, r->code);
	(void)sqlite3_bind_int64(st, 6, r->pid);
	store_bind_texts(st, 7, (const char *const[]) { r->ip, r->helo, r->sender, r->recipient }, 4);
	return store_finish(s, st, why);
}

int
store_put_override(struct store *s, const struct store_override *o, struct err *why)
{
	sqlite3_stmt *st = s->stmt[o->set ? PUT_OVERRIDE : DROP_OVERRIDE];

	if (o->set) {
		store_bind_texts(st, 1, (const char *const[]) { level_name(o->level) }, 1);
		(void)sqlite3_bind_int64(st, 2, o->until.ms);
		(void)sqlite3_bind_int64(st, 3, o->until_mono.ms);
		(void)sqlite3_bind_blob(st, 4, o->boot_id, sizeof(o->boot_id), SQLITE_TRANSIENT);
		(void)sqlite3_bind_int64(st, 5, o->remaining_ms);
		store_bind_texts(st, 6, (const char *const[]) { o->who, o->reason }, 2);
	}
	return store_finish(s, st, why);
}

int
store_trim(struct store *s, int64_t changes, int64_t refusals, int64_t offences, struct err *why)
{
	const struct {
		enum store_statement statement;
		int64_t kept;
	} tables[] = { { TRIM_CHANGES, changes }, { TRIM_REFUSALS, refusals }, { TRIM_OFFENCES, offences } };

	for (size_t i = 0; i < countof(tables); i++) {
		sqlite3_stmt *st = s->stmt[tables[i].statement];

		(void)sqlite3_bind_int64(st, 1, tables[i].kept);
		int r = store_finish(s, st, why);
		if (r < 0)
			return r;
	}
	return run(s, "PRAGMA incremental_vacuum(200)", why);
}

/* --- reading --------------------------------------------------------------------------------- */

int
store_open_readonly(const char *dir, struct store **ret, struct err *why)
{
	struct store *s = make(dir);
	int r;

	if (s == NULL)
		return err_set(why, -ENOMEM, "no memory for the store");
	if (access(s->path, R_OK) < 0)
		r = err_sys(why, -errno, "%s", s->path);
	else
		r = open_at(s, SQLITE_OPEN_READONLY, why);
	if (r == 0) {
		(void)sqlite3_busy_timeout(s->db, 2000);
		int64_t version = ask_number(s, "PRAGMA user_version");

		if (version < 0)
			r = store_fail(s, sqlite3_errcode(s->db), why);
		else if (version < STORE_SCHEMA_OLDEST || version > STORE_SCHEMA)
			r = err_set(why, -EPROTO, "%s: schema %lld, ours is %d", s->path, (long long)version,
				STORE_SCHEMA);
		s->version = version;
	}
	if (r < 0) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void
store_column_text(sqlite3_stmt *st, int i, char *ret, size_t cap)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	(void)snprintf(ret, cap, "%s", text != NULL ? text : "");
}

static enum level
column_level(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);
	int level = text != NULL ? level_find(text) : -1;

	return level >= 0 ? (enum level)level : LEVEL_NORMAL;
}

sqlite3_stmt *
store_query(struct store *s, const char *text, struct err *why)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

	if (rc != SQLITE_OK)
		(void)store_fail(s, rc, why);
	return st;
}

static enum store_kind
kind_of(const char *name)
{
	int i = 0;

	while (i < STORE_KINDS - 1 && strcmp(kind_names[i], name) != 0)
		i++;
	return (enum store_kind)i;
}

static void
read_change(sqlite3_stmt *st, struct store_change *c)
{
	char kind[16];

	c->at.ms = sqlite3_column_int64(st, 0);
	store_column_text(st, 1, kind, sizeof(kind));
	c->kind = kind_of(kind);
	c->before = column_level(st, 2);
	c->after = column_level(st, 3);
	store_column_text(st, 4, c->episode, sizeof(c->episode));
	store_column_text(st, 5, c->reason, sizeof(c->reason));
	store_column_text(st, 6, c->who, sizeof(c->who));
	store_column_text(st, 7, c->readings, sizeof(c->readings));
}

int
store_history(struct store *s, wall_t since, bool (*each)(const struct store_change *c, void *arg),
	void *arg, struct err *why)
{
	sqlite3_stmt *st = store_query(s,
		"SELECT at, kind, level_before, level_after, episode, reason, who, readings"
		" FROM change WHERE at >= ? ORDER BY id", why);
	struct store_change c;
	int rc;

	if (st == NULL)
		return -EIO;
	(void)sqlite3_bind_int64(st, 1, since.ms);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		read_change(st, &c);
		if (!each(&c, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int r = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}

int
store_find_episode(struct store *s, const char *id, struct store_episode *ret, struct err *why)
{
	sqlite3_stmt *st = store_query(s, "SELECT id, began, ended, peak, reason, refused FROM episode WHERE id = ?",
		why);

	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, &id, 1);
	int rc = sqlite3_step(st), r = 0;
	if (rc == SQLITE_ROW) {
		store_column_text(st, 0, ret->id, sizeof(ret->id));
		ret->began.ms = sqlite3_column_int64(st, 1);
		ret->ended.ms = sqlite3_column_int64(st, 2);
		ret->peak = column_level(st, 3);
		store_column_text(st, 4, ret->reason, sizeof(ret->reason));
		ret->refused = (uint64_t)sqlite3_column_int64(st, 5);
	} else {
		r = rc == SQLITE_DONE ? err_set(why, -ENOENT, "no episode \"%s\"", id) : store_fail(s, rc, why);
	}
	(void)sqlite3_finalize(st);
	return r;
}

static void
column_words(sqlite3_stmt *st, int i, enum check *ret_check, enum stage *ret_stage)
{
	char word[24];

	store_column_text(st, i, word, sizeof(word));
	int v = check_find(word);
	*ret_check = v >= 0 ? (enum check)v : CHECK_OVERLOAD;
	store_column_text(st, i + 1, word, sizeof(word));
	v = stage_find(word);
	*ret_stage = v >= 0 ? (enum stage)v : STAGE_MAIL;
}

static void
read_refusal(sqlite3_stmt *st, struct store_refusal *r)
{
	r->at.ms = sqlite3_column_int64(st, 0);
	store_column_text(st, 1, r->episode, sizeof(r->episode));
	column_words(st, 2, &r->check, &r->stage);
	r->code = (uint16_t)sqlite3_column_int(st, 4);
	r->pid = (uint32_t)sqlite3_column_int64(st, 5);
	store_column_text(st, 6, r->ip, sizeof(r->ip));
	store_column_text(st, 7, r->helo, sizeof(r->helo));
	store_column_text(st, 8, r->sender, sizeof(r->sender));
	store_column_text(st, 9, r->recipient, sizeof(r->recipient));
}

int
store_refusals(struct store *s, const char *episode, const char *ip, int max,
	bool (*each)(const struct store_refusal *r, void *arg), void *arg, struct err *why)
{
	sqlite3_stmt *st = store_query(s,
		episode != NULL ? "SELECT at, episode, rule, stage, code, pid, ip, helo, sender, recipient"
				  " FROM refusal WHERE episode = ? ORDER BY id DESC LIMIT ?"
				: "SELECT at, episode, rule, stage, code, pid, ip, helo, sender, recipient"
				  " FROM refusal WHERE ip = ? ORDER BY id DESC LIMIT ?", why);
	struct store_refusal r;
	int rc;

	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, (const char *const[]) { episode != NULL ? episode : ip }, 1);
	(void)sqlite3_bind_int(st, 2, max);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		read_refusal(st, &r);
		if (!each(&r, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int e = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return e;
}

static void
read_offence(sqlite3_stmt *st, struct store_offence *o)
{
	memset(o, 0, sizeof(*o)); /* the same row is the same bytes */
	store_column_text(st, 0, o->id, sizeof(o->id));
	column_words(st, 1, &o->check, &o->stage);
	o->code = (uint16_t)sqlite3_column_int(st, 3);
	store_column_text(st, 4, o->class, sizeof(o->class));
	store_column_text(st, 5, o->pattern, sizeof(o->pattern));
	store_column_text(st, 6, o->value, sizeof(o->value));
	o->prefix = (unsigned)sqlite3_column_int(st, 7);
	o->n = sqlite3_column_int64(st, 8);
	o->max = sqlite3_column_int64(st, 9);
	o->window_ms = sqlite3_column_int64(st, 10);
	o->clear_ms = sqlite3_column_int64(st, 11);
	o->first.ms = sqlite3_column_int64(st, 12);
	o->last.ms = sqlite3_column_int64(st, 13);
	o->ended.ms = sqlite3_column_int64(st, 14);
	o->refused = (uint64_t)sqlite3_column_int64(st, 15);
	store_column_text(st, 16, o->ip, sizeof(o->ip));
	store_column_text(st, 17, o->helo, sizeof(o->helo));
	store_column_text(st, 18, o->sender, sizeof(o->sender));
	store_column_text(st, 19, o->recipient, sizeof(o->recipient));
	store_column_text(st, 20, o->user, sizeof(o->user));
}

int
store_offences(struct store *s, const char *id, const char *who, int max,
	bool (*each)(const struct store_offence *o, void *arg), void *arg, struct err *why)
{
	if (s->version == 1)
		return 0; /* of before the first offence */
	sqlite3_stmt *st = store_query(s,
		id != NULL ? "SELECT " OFFENCE_COLUMNS " FROM offence WHERE name = ?1 ORDER BY id DESC LIMIT ?2"
			   : "SELECT " OFFENCE_COLUMNS " FROM offence WHERE ip = ?1 OR value = ?1"
			     " ORDER BY id DESC LIMIT ?2",
		why);
	struct store_offence o;
	int rc;

	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, (const char *const[]) { id != NULL ? id : who }, 1);
	(void)sqlite3_bind_int(st, 2, max);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		read_offence(st, &o);
		if (!each(&o, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int r = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}

int
store_get_override(struct store *s, struct store_override *ret, struct err *why)
{
	sqlite3_stmt *st = store_query(s,
		"SELECT level, until, until_mono, boot_id, remaining_ms, who, reason FROM override", why);

	if (st == NULL)
		return -EIO;
	int rc = sqlite3_step(st);
	*ret = (struct store_override) { 0 };
	if (rc == SQLITE_ROW && sqlite3_column_bytes(st, 3) == CLOCK_BOOT_ID_SIZE) {
		ret->set = true;
		ret->level = column_level(st, 0);
		ret->until.ms = sqlite3_column_int64(st, 1);
		ret->until_mono.ms = sqlite3_column_int64(st, 2);
		memcpy(ret->boot_id, sqlite3_column_blob(st, 3), CLOCK_BOOT_ID_SIZE);
		ret->remaining_ms = sqlite3_column_int64(st, 4);
		store_column_text(st, 5, ret->who, sizeof(ret->who));
		store_column_text(st, 6, ret->reason, sizeof(ret->reason));
	}
	int r = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}
