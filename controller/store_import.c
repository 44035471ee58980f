/* SPDX-License-Identifier: ISC */
#include "controller/store_import.h"

#include <errno.h>
#include <sqlite3.h>
#include <unistd.h>

#define YEAR_MS (INT64_C(365) * 86400000)

/* The newest ban of each address, its end by the columns timeofban and bantime, both in seconds. */
static const char bans[] =
	"SELECT ip, max(CASE WHEN bantime < 0 THEN -1 ELSE timeofban + bantime END) FROM bips GROUP BY ip";

static int
fail(sqlite3 *db, const char *path, int rc, struct err *why)
{
	return err_set(why, -EINVAL, "%s: %s; allowed: the database of fail2ban", path,
		db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

static int
read_bans(sqlite3 *db, const char *path, wall_t now, bool (*each)(const char *prefix, int64_t left_ms, void *arg),
	void *arg, struct err *why)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, bans, -1, &st, NULL), r = 0;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc != SQLITE_ROW)
			break;
		const char *ip = (const char *)sqlite3_column_text(st, 0);
		int64_t end = sqlite3_column_int64(st, 1);
		int64_t left = end < 0 || end > INT64_MAX / 1000 ? YEAR_MS : end * 1000 - now.ms;

		if (ip != NULL && left > 0 && !each(ip, left < YEAR_MS ? left : YEAR_MS, arg))
			rc = SQLITE_DONE;
	}
	if (rc != SQLITE_DONE)
		r = fail(db, path, rc, why);
	(void)sqlite3_finalize(st);
	return r;
}

int
store_import_fail2ban(const char *path, wall_t now, bool (*each)(const char *prefix, int64_t left_ms, void *arg),
	void *arg, struct err *why)
{
	sqlite3 *db = NULL;

	if (access(path, R_OK) < 0)
		return err_sys(why, -errno, "%s", path);
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL);
	int r = rc == SQLITE_OK ? read_bans(db, path, now, each, arg, why) : fail(db, path, rc, why);
	(void)sqlite3_close(db);
	return r;
}
