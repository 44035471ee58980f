/* SPDX-License-Identifier: ISC */
/*
 * cdbread - look up in a cdb as tcpserver does: for tests, and independent of what they test
 *
 * The whole file in memory, the lookup after http://cr.yp.to/cdb/cdb.txt, the order of keys after tcprules(1): the address,
 * then what is left of it cut behind each '.' (and ':' where IPv6 is), the longest first, then the empty key.
 */
#ifndef TESTS_UNIT_CDBREAD_H
#define TESTS_UNIT_CDBREAD_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct cdbread {
	uint8_t *at;
	size_t len;
};

static inline bool
cdbread_load(const char *path, struct cdbread *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool ok = false;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	ret->len = (size_t)st.st_size;
	ret->at = malloc(ret->len + 1);
	if (ret->at != NULL)
		ok = read(fd, ret->at, ret->len) == (ssize_t)ret->len && ret->len >= 2048;
	(void)close(fd);
	if (!ok) {
		free(ret->at);
		*ret = (struct cdbread) { 0 };
	}
	return ok;
}

static inline void
cdbread_free(struct cdbread *c)
{
	free(c->at);
	c->at = NULL;
}

static inline uint32_t
cdbread_u32(const struct cdbread *c, size_t at)
{
	uint32_t v = UINT32_MAX;

	if (at + 4 <= c->len)
		v = (uint32_t)c->at[at] | (uint32_t)c->at[at + 1] << 8 | (uint32_t)c->at[at + 2] << 16
			| (uint32_t)c->at[at + 3] << 24;
	return v;
}

/* The data of the first record of this key, or NULL. */
static inline const uint8_t *
cdbread_find(const struct cdbread *c, const char *key, size_t key_len, size_t *ret_len)
{
	uint32_t hash = 5381;

	for (size_t i = 0; i < key_len; i++)
		hash = (hash * 33) ^ (uint8_t)key[i];
	size_t table = cdbread_u32(c, (hash & 255) * 8), slots = cdbread_u32(c, (hash & 255) * 8 + 4);
	for (size_t i = 0; i < slots; i++) {
		size_t slot = table + 8 * (((hash >> 8) + i) % slots), at = cdbread_u32(c, slot + 4);

		if (at == 0)
			return NULL;
		if (cdbread_u32(c, slot) == hash && cdbread_u32(c, at) == key_len && at + 8 + key_len <= c->len
			&& memcmp(c->at + at + 8, key, key_len) == 0) {
			*ret_len = cdbread_u32(c, at + 4);
			return at + 8 + key_len + *ret_len <= c->len ? c->at + at + 8 + key_len : NULL;
		}
	}
	return NULL;
}

/* What tcpserver would do with this client, without a name and without ident: 'D' deny, 'A' allow, '-' no rule says anything
 * (which allows).  `ret_key`: the length of the part of the address that a rule was found for. */
static inline char
cdbread_verdict(const struct cdbread *c, const char *ip, size_t *ret_key)
{
	size_t n = strlen(ip), data_len;

	for (size_t len = n;; len--) {
		if (len == n || len == 0 || ip[len - 1] == '.' || ip[len - 1] == ':') {
			const uint8_t *data = cdbread_find(c, ip, len, &data_len);

			if (data != NULL) {
				*ret_key = len;
				return data_len >= 2 && data[0] == 'D' && data[1] == '\0' ? 'D' : 'A';
			}
		}
		if (len == 0)
			return '-';
	}
}

#endif
