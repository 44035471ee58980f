/* SPDX-License-Identifier: ISC */
/* store_storm - storms of bounces, and what our own addresses sent, in the database */
#include <errno.h>
#include <string.h>

#include "controller/store_sql.h"
#include "lib/array.h"
#include "lib/bytes.h"

#define COLUMNS "id, name, raw, domain, began, last, last_mono, boot, ended, counted, expected, retried, deferred," \
		" refused"
#define DATA 16 /* bytes of a row of mail sent: kind, behind, ahead, open, left, spare */

int
store_put_storm(struct store *s, const struct store_storm *storm, struct err *why)
{
	sqlite3_stmt *st = s->stmt[PUT_STORM];
	const int64_t numbers[] = {
		storm->is_domain, storm->began.ms, storm->last.ms, storm->last_mono.ms, (int64_t)storm->boot,
		storm->ended.ms, (int64_t)storm->counted, (int64_t)storm->expected, (int64_t)storm->retried,
		(int64_t)storm->deferred, (int64_t)storm->refused,
	};

	store_bind_texts(st, 1, (const char *const[]) { storm->id, storm->name }, 2);
	(void)sqlite3_bind_blob(st, 3, storm->raw, (int)strnlen(storm->raw, sizeof(storm->raw)), SQLITE_TRANSIENT);
	for (size_t i = 0; i < countof(numbers); i++)
		(void)sqlite3_bind_int64(st, 4 + (int)i, numbers[i]);
	return store_finish(s, st, why);
}

static void
pack(const struct sent_row *r, uint8_t data[DATA])
{
	memset(data, 0, DATA);
	data[0] = r->kind;
	data[1] = r->behind;
	put_u16(data + 2, (uint16_t)r->ahead);
	for (int i = 0; i < 2; i++) {
		put_u16(data + 4 + 2 * i, r->open[i]);
		put_u16(data + 8 + 2 * i, r->left[i]);
		put_u16(data + 12 + 2 * i, r->spare[i]);
	}
}

static void
unpack(const uint8_t data[DATA], struct sent_row *r)
{
	r->kind = data[0];
	r->behind = data[1];
	r->ahead = (int16_t)get_u16(data + 2);
	for (int i = 0; i < 2; i++) {
		r->open[i] = get_u16(data + 4 + 2 * i);
		r->left[i] = get_u16(data + 8 + 2 * i);
		r->spare[i] = get_u16(data + 12 + 2 * i);
	}
}

int
store_put_sent(struct store *s, const struct store_sent *sent, struct err *why)
{
	sqlite3_stmt *st = s->stmt[PUT_SENT];
	uint8_t data[DATA];
	int r = 0;

	for (unsigned i = 0; i < sent->n && i < STORE_SENT_ROWS && r == 0; i++) {
		const int64_t numbers[] = {
			(int64_t)sent->at[i].row.key, (int64_t)sent->key_id, (int64_t)sent->at[i].boot,
			sent->at[i].mono.ms, sent->at[i].wall.ms,
		};

		for (size_t k = 0; k < countof(numbers); k++)
			(void)sqlite3_bind_int64(st, (int)k + 1, numbers[k]);
		pack(&sent->at[i].row, data);
		(void)sqlite3_bind_blob(st, (int)countof(numbers) + 1, data, DATA, SQLITE_TRANSIENT);
		r = store_finish(s, st, why);
	}
	return r;
}

int
store_trim_storms(struct store *s, int64_t storms, int64_t sent, struct err *why)
{
	(void)sqlite3_bind_int64(s->stmt[TRIM_STORMS], 1, storms);
	int r = store_finish(s, s->stmt[TRIM_STORMS], why);

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(s->stmt[TRIM_SENT], 1, sent);
	return store_finish(s, s->stmt[TRIM_SENT], why);
}

/* --- reading --------------------------------------------------------------------------------- */

/* A database that is only read may be of before there were storms. */
static bool
has_storms(const struct store *s)
{
	return s->version == 0 || s->version >= 4;
}

static void
read_storm(sqlite3_stmt *st, struct store_storm *r)
{
	const void *raw = sqlite3_column_blob(st, 2);
	size_t n = (size_t)sqlite3_column_bytes(st, 2);

	*r = (struct store_storm) { .is_domain = sqlite3_column_int(st, 3) != 0 };
	store_column_text(st, 0, r->id, sizeof(r->id));
	store_column_text(st, 1, r->name, sizeof(r->name));
	if (raw != NULL && n < sizeof(r->raw))
		memcpy(r->raw, raw, n);
	r->began.ms = sqlite3_column_int64(st, 4);
	r->last.ms = sqlite3_column_int64(st, 5);
	r->last_mono.ms = sqlite3_column_int64(st, 6);
	r->boot = (uint64_t)sqlite3_column_int64(st, 7);
	r->ended.ms = sqlite3_column_int64(st, 8);
	r->counted = (uint64_t)sqlite3_column_int64(st, 9);
	r->expected = (uint64_t)sqlite3_column_int64(st, 10);
	r->retried = (uint64_t)sqlite3_column_int64(st, 11);
	r->deferred = (uint64_t)sqlite3_column_int64(st, 12);
	r->refused = (uint64_t)sqlite3_column_int64(st, 13);
}

static int
each_storm(struct store *s, sqlite3_stmt *st, bool (*each)(const struct store_storm *storm, void *arg), void *arg,
	struct err *why)
{
	struct store_storm storm;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		read_storm(st, &storm);
		if (!each(&storm, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int r = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}

int
store_storms(struct store *s, const char *after, bool (*each)(const struct store_storm *storm, void *arg), void *arg,
	struct err *why)
{
	if (!has_storms(s))
		return 0;
	sqlite3_stmt *st = store_query(s, "SELECT " COLUMNS " FROM storm WHERE ended = 0 AND id > ? ORDER BY id", why);
	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, &after, 1);
	return each_storm(s, st, each, arg, why);
}

int
store_find_storms(struct store *s, const char *id, const char *name, int max,
	bool (*each)(const struct store_storm *storm, void *arg), void *arg, struct err *why)
{
	if (!has_storms(s))
		return 0;
	sqlite3_stmt *st = store_query(s, id != NULL
		? "SELECT " COLUMNS " FROM storm WHERE id = ?1 AND ?2 = ?2 LIMIT ?3"
		: "SELECT " COLUMNS " FROM storm WHERE name = ?1 OR name = ?2 ORDER BY began DESC LIMIT ?3", why);
	if (st == NULL)
		return -EIO;
	const char *at = name != NULL ? strrchr(name, '@') : NULL;
	const char *const texts[] = { id != NULL ? id : name, at != NULL ? at + 1 : "" };
	store_bind_texts(st, 1, texts, countof(texts));
	(void)sqlite3_bind_int(st, 3, max);
	return each_storm(s, st, each, arg, why);
}

int
store_sent(struct store *s, uint64_t key_id, int64_t after, struct store_sent *ret, struct err *why)
{
	sqlite3_stmt *st = store_query(s, "SELECT key, boot, mono, wall, data FROM sent WHERE key > ? AND made_with = ?"
		" ORDER BY key LIMIT ?", why);
	int rc;

	if (st == NULL)
		return -EIO;
	*ret = (struct store_sent) { .key_id = key_id };
	(void)sqlite3_bind_int64(st, 1, after);
	(void)sqlite3_bind_int64(st, 2, (int64_t)key_id);
	(void)sqlite3_bind_int(st, 3, STORE_SENT_ROWS);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && ret->n < STORE_SENT_ROWS) {
		unsigned i = ret->n++;

		ret->at[i].row.key = (uint64_t)sqlite3_column_int64(st, 0);
		ret->at[i].boot = (uint64_t)sqlite3_column_int64(st, 1);
		ret->at[i].mono.ms = sqlite3_column_int64(st, 2);
		ret->at[i].wall.ms = sqlite3_column_int64(st, 3);
		if (sqlite3_column_bytes(st, 4) == DATA) /* else somebody has written in it: nothing of it is known */
			unpack(sqlite3_column_blob(st, 4), &ret->at[i].row);
	}
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}
