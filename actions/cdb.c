/* SPDX-License-Identifier: ISC */
#include "actions/cdb.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS_MAX (1u << 26) /* of one table: a file of 4 GiB has fewer */

static uint32_t
get_u32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* --- a whole one ----------------------------------------------------------------------------- */

/* The tables stand behind the records, one after the other; each has two slots for each of its records. */
static int
check_tables(const uint8_t *at, size_t len, size_t *ret_records_end, uint64_t *ret_slots)
{
	uint64_t pos;

	if (len < CDB_HEAD || (pos = get_u32(at)) < CDB_HEAD || pos > len)
		return -EBADMSG;
	*ret_records_end = (size_t)pos;
	*ret_slots = 0;
	for (const uint8_t *p = at; p < at + CDB_HEAD; p += 8) {
		if (get_u32(p) != pos)
			return -EBADMSG;
		*ret_slots += get_u32(p + 4);
		pos += (uint64_t)8 * get_u32(p + 4);
	}
	return pos == len ? 0 : -EBADMSG;
}

int
cdb_look(const uint8_t *at, size_t len, const char *marker, struct cdb_view *ret)
{
	struct cdb_view v = { .at = at, .len = len };
	size_t pos = CDB_HEAD, end, marker_len = strlen(marker);
	uint64_t slots;
	bool marked = false;
	int r = check_tables(at, len, &end, &slots);

	if (r < 0)
		return r;
	while (pos < end) {
		if (end - pos < 8)
			return -EBADMSG;
		uint64_t key_len = get_u32(at + pos), size = 8 + key_len + get_u32(at + pos + 4);
		if (size > end - pos)
			return -EBADMSG;
		if (!marked && key_len == marker_len && memcmp(at + pos + 8, marker, marker_len) == 0) {
			v.theirs_end = pos;
			marked = true;
		} else if (marked) {
			v.ours++;
		} else {
			v.theirs++;
		}
		pos += (size_t)size;
	}
	if (!marked)
		v.theirs_end = pos;
	if (slots != 2 * ((uint64_t)v.theirs + v.ours + marked))
		return -EBADMSG;
	*ret = v;
	return 0;
}

/* --- beside another -------------------------------------------------------------------------- */

static bool
read_at(int fd, void *buf, size_t n, size_t at)
{
	return pread(fd, buf, n, (off_t)at) == (ssize_t)n;
}

int
cdb_same_theirs(const struct cdb_view *v, int fd, const char *marker)
{
	size_t n = v->theirs_end - CDB_HEAD, marker_len = strlen(marker);
	uint8_t head[4], *other = malloc(n + 8 + marker_len);
	int r = 0;

	if (other == NULL)
		return -ENOMEM;
	if (read_at(fd, head, sizeof(head), 0) && get_u32(head) >= v->theirs_end && read_at(fd, other, n, CDB_HEAD)
		&& memcmp(other, v->at + CDB_HEAD, n) == 0) {
		if (get_u32(head) == v->theirs_end)
			r = 1;
		else if (read_at(fd, other, 8 + marker_len, v->theirs_end))
			r = get_u32(other) == marker_len && memcmp(other + 8, marker, marker_len) == 0;
	}
	free(other);
	return r;
}

int
cdb_find(int fd, const char *key)
{
	uint8_t table[8], slot[8], record[8 + 64];
	uint32_t h = 5381;
	size_t key_len = strlen(key);

	if (key_len > 64)
		return -EINVAL;
	for (size_t i = 0; i < key_len; i++)
		h = ((h << 5) + h) ^ (uint8_t)key[i];
	if (!read_at(fd, table, sizeof(table), (h & 255) * 8))
		return -EBADMSG;
	uint32_t slots = get_u32(table + 4);
	if (slots > SLOTS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < slots; i++) {
		if (!read_at(fd, slot, sizeof(slot), get_u32(table) + (size_t)8 * (((h >> 8) + i) % slots)))
			return -EBADMSG;
		if (get_u32(slot + 4) == 0)
			return 0;
		if (get_u32(slot) == h && read_at(fd, record, 8 + key_len, get_u32(slot + 4))
			&& get_u32(record) == key_len
			&& memcmp(record + 8, key, key_len) == 0)
			return 1;
	}
	return 0;
}
