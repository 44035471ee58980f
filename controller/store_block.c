/* SPDX-License-Identifier: ISC */
/* store_block - blocks and the allow list's entries of persons, in the database */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/store_sql.h"
#include "lib/array.h"

#define COLUMNS "prefix, kind, name, began, until, ended, until_mono, boot_id, length_ms, who, reason, person, wide, n, max," \
		" step, times"

int
store_put_block(struct store *s, const struct store_block *b, struct err *why)
{
	sqlite3_stmt *st = s->stmt[PUT_BLOCK];
	char prefix[IP_PREFIX_TEXT_MAX];

	ip_prefix_format(&b->prefix, prefix);
	store_bind_texts(st, 1, (const char *const[]) { prefix }, 1);
	(void)sqlite3_bind_int(st, 2, (int)b->kind);
	store_bind_texts(st, 3, (const char *const[]) { b->id }, 1);
	(void)sqlite3_bind_int64(st, 4, b->began.ms);
	(void)sqlite3_bind_int64(st, 5, b->until.ms);
	(void)sqlite3_bind_int64(st, 6, b->ended.ms);
	(void)sqlite3_bind_int64(st, 7, b->until_mono.ms);
	(void)sqlite3_bind_blob(st, 8, b->boot_id, sizeof(b->boot_id), SQLITE_TRANSIENT);
	(void)sqlite3_bind_int64(st, 9, b->length_ms);
	store_bind_texts(st, 10, (const char *const[]) { b->who, b->reason }, 2);
	(void)sqlite3_bind_int(st, 12, b->by_person);
	(void)sqlite3_bind_int(st, 13, b->is_wide);
	(void)sqlite3_bind_int64(st, 14, b->n);
	(void)sqlite3_bind_int64(st, 15, b->max);
	(void)sqlite3_bind_int64(st, 16, b->step);
	(void)sqlite3_bind_int64(st, 17, b->times);
	return store_finish(s, st, why);
}

int
store_put_allow(struct store *s, const struct store_allow *a, struct err *why)
{
	sqlite3_stmt *st = s->stmt[a->set ? PUT_ALLOW : DROP_ALLOW];

	store_bind_texts(st, 1, (const char *const[]) { a->entry }, 1);
	if (a->set) {
		(void)sqlite3_bind_int64(st, 2, wall_now().ms);
		store_bind_texts(st, 3, (const char *const[]) { a->who }, 1);
	}
	return store_finish(s, st, why);
}

int
store_trim_blocks(struct store *s, int64_t rows, struct err *why)
{
	(void)sqlite3_bind_int64(s->stmt[TRIM_BLOCKS], 1, rows);
	return store_finish(s, s->stmt[TRIM_BLOCKS], why);
}

/* A database that is only read may be of before there were blocks. */
static bool
has_blocks(const struct store *s)
{
	return s->version == 0 || s->version >= 3;
}

/* Returns false for a row that makes no sense: somebody else has written in it. */
static bool
read_block(sqlite3_stmt *st, struct store_block *b)
{
	char prefix[IP_PREFIX_TEXT_MAX];
	int kind = sqlite3_column_int(st, 1);

	*b = (struct store_block) { .kind = (enum block_kind)kind };
	store_column_text(st, 0, prefix, sizeof(prefix));
	if (ip_prefix_parse(prefix, &b->prefix) < 0 || kind < 0 || kind >= BLOCK_KINDS
		|| sqlite3_column_bytes(st, 7) != CLOCK_BOOT_ID_SIZE)
		return false;
	store_column_text(st, 2, b->id, sizeof(b->id));
	b->began.ms = sqlite3_column_int64(st, 3);
	b->until.ms = sqlite3_column_int64(st, 4);
	b->ended.ms = sqlite3_column_int64(st, 5);
	b->until_mono.ms = sqlite3_column_int64(st, 6);
	memcpy(b->boot_id, sqlite3_column_blob(st, 7), CLOCK_BOOT_ID_SIZE);
	b->length_ms = sqlite3_column_int64(st, 8);
	store_column_text(st, 9, b->who, sizeof(b->who));
	store_column_text(st, 10, b->reason, sizeof(b->reason));
	b->by_person = sqlite3_column_int(st, 11) != 0;
	b->is_wide = sqlite3_column_int(st, 12) != 0;
	b->n = (uint32_t)sqlite3_column_int64(st, 13);
	b->max = (uint32_t)sqlite3_column_int64(st, 14);
	b->step = (uint32_t)sqlite3_column_int64(st, 15);
	b->times = (uint32_t)sqlite3_column_int64(st, 16);
	return true;
}

/* Steps through all rows of a prepared question. */
static int
each_block(struct store *s, sqlite3_stmt *st, bool (*each)(const struct store_block *b, void *arg), void *arg,
	struct err *why)
{
	struct store_block b;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (read_block(st, &b) && !each(&b, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int r = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}

int
store_blocks(struct store *s, const char *after, bool (*each)(const struct store_block *b, void *arg), void *arg,
	struct err *why)
{
	if (!has_blocks(s))
		return 0;
	sqlite3_stmt *st = store_query(s, "SELECT " COLUMNS " FROM block WHERE prefix > ? ORDER BY prefix", why);
	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, &after, 1);
	return each_block(s, st, each, arg, why);
}

/* The prefixes of an address that a block may have. */
static int
find_by_address(struct store *s, const struct ip *ip, bool (*each)(const struct store_block *b, void *arg), void *arg,
	struct err *why)
{
	int r = 0;

	for (unsigned bits = 128; bits >= 16 && r == 0; bits--) {
		const struct ip_prefix p = { .ip = ip_mask(ip, bits), .bits = (uint8_t)bits };
		char text[IP_PREFIX_TEXT_MAX];
		const char *texts[] = { text };

		if (ip_is_v4(ip) && bits < 96 + 8)
			break;
		sqlite3_stmt *st = store_query(s, "SELECT " COLUMNS " FROM block WHERE prefix = ?", why);
		if (st == NULL)
			return -EIO;
		ip_prefix_format(&p, text);
		store_bind_texts(st, 1, texts, 1);
		r = each_block(s, st, each, arg, why);
	}
	return r;
}

int
store_find_blocks(struct store *s, const char *id, const struct ip *ip,
	bool (*each)(const struct store_block *b, void *arg), void *arg, struct err *why)
{
	if (!has_blocks(s))
		return 0;
	if (id == NULL)
		return find_by_address(s, ip, each, arg, why);
	sqlite3_stmt *st = store_query(s, "SELECT " COLUMNS " FROM block WHERE name = ?", why);
	if (st == NULL)
		return -EIO;
	store_bind_texts(st, 1, &id, 1);
	return each_block(s, st, each, arg, why);
}

int
store_allows(struct store *s, bool (*each)(const struct store_allow *a, void *arg), void *arg, struct err *why)
{
	sqlite3_stmt *st = store_query(s, "SELECT entry, who FROM allow ORDER BY entry", why);
	struct store_allow a = { .set = true };
	int rc;

	if (st == NULL)
		return -EIO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		store_column_text(st, 0, a.entry, sizeof(a.entry));
		store_column_text(st, 1, a.who, sizeof(a.who));
		if (!each(&a, arg)) {
			rc = SQLITE_DONE;
			break;
		}
	}
	int r = rc == SQLITE_DONE ? 0 : store_fail(s, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}
