/* SPDX-License-Identifier: ISC */
/* store_sql - what the parts of the store share.  Private to store.c and store_block.c. */
#ifndef CONTROLLER_STORE_SQL_H
#define CONTROLLER_STORE_SQL_H

#include <sqlite3.h>
#include <sys/types.h>

#include "controller/store.h"

enum store_statement {
	ADD_CHANGE,
	PUT_EPISODE,
	END_EPISODES,
	PUT_OFFENCE,
	ADD_REFUSAL,
	PUT_OVERRIDE,
	DROP_OVERRIDE,
	TRIM_CHANGES,
	TRIM_REFUSALS,
	TRIM_OFFENCES,
	PUT_BLOCK,
	PUT_ALLOW,
	DROP_ALLOW,
	TRIM_BLOCKS,
	PUT_STORM,
	PUT_SENT,
	TRIM_STORMS,
	TRIM_SENT,
	STATEMENTS,
};

struct store {
	sqlite3 *db;
	char path[256];
	dev_t dev;
	ino_t ino;
	int64_t version; /* of a database that is only read */
	sqlite3_stmt *stmt[STATEMENTS];
};

/* The error of SQLite as ours, with its text. */
int store_fail(const struct store *s, int rc, struct err *why);

/* Bind `n` texts from parameter `first` on. */
void store_bind_texts(sqlite3_stmt *st, int first, const char *const *texts, size_t n);

/* Run a prepared statement of the store and make it ready for the next time. */
int store_finish(struct store *s, sqlite3_stmt *st, struct err *why);

/* Prepare a question.  NULL with the reason. */
sqlite3_stmt *store_query(struct store *s, const char *text, struct err *why);

void store_column_text(sqlite3_stmt *st, int i, char *ret, size_t cap);

#endif
