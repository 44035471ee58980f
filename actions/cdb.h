/* SPDX-License-Identifier: ISC */
/*
 * cdb - the little that we must know of a constant database (http://cr.yp.to/cdb/cdb.txt)
 *
 * tcprules writes it; here it is looked at before it takes the place of another: is it whole, and which of its records
 * are ours?  Ours are all behind a marker, a record that no lookup can find.
 */
#ifndef ACTIONS_CDB_H
#define ACTIONS_CDB_H

#include <stddef.h>
#include <stdint.h>

#define CDB_SIZE_MAX (1 << 30) /* larger ones are not looked at */
#define CDB_HEAD 2048 /* the table of tables, before the records */

struct cdb_view {
	const uint8_t *at; /* borrowed */
	size_t len;
	size_t theirs_end; /* where the marker begins, or else the records end */
	size_t theirs, ours; /* records before and behind the marker */
};

/* Look at all of it.  Returns 0, or -EBADMSG when it is not a whole cdb; `at` and `len` must be those of memory that
 * nobody else changes. */
int cdb_look(const uint8_t *at, size_t len, const char *marker, struct cdb_view *ret);

/* Does the file begin with the records that come before the marker in `v`, and then end or have the marker too?
 * Returns 1, 0, or -errno. */
int cdb_same_theirs(const struct cdb_view *v, int fd, const char *marker);

/* Is there a record of this key?  Returns 1, 0, or -Exxx. */
int cdb_find(int fd, const char *key);

#endif
