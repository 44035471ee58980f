/* SPDX-License-Identifier: ISC */
#include "lib/blockset.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lib/prefixmap.h"

#define BLOCKSET_MAX 10000000

struct blockset {
	struct prefixmap *map;
	struct block *block; /* by the number of its prefix */
};

/* A few bytes come whole, once the kernel has any at all. */
static int
random_key(uint8_t ret[PREFIXMAP_KEY_SIZE])
{
	ssize_t n;

	do
		n = getrandom(ret, PREFIXMAP_KEY_SIZE, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int
blockset_new(size_t max, struct blockset **ret)
{
	uint8_t key[PREFIXMAP_KEY_SIZE];

	if (max < 1 || max > BLOCKSET_MAX)
		return -EINVAL;
	int r = random_key(key);
	if (r < 0)
		return r;
	struct blockset *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->block = calloc(max, sizeof(s->block[0]));
	r = s->block != NULL ? prefixmap_new(max, key, &s->map) : -ENOMEM;
	if (r < 0)
		blockset_free(s);
	else
		*ret = s;
	return r;
}

void
blockset_free(struct blockset *s)
{
	if (s == NULL)
		return;
	prefixmap_free(s->map);
	free(s->block);
	free(s);
}

int
blockset_put(struct blockset *s, const struct block *b)
{
	uint32_t n = prefixmap_add(s->map, &b->prefix);

	if (n == PREFIXMAP_NONE)
		return -ENOSPC;
	s->block[n] = *b;
	return 0;
}

bool
blockset_remove(struct blockset *s, const struct ip_prefix *p)
{
	return prefixmap_remove(s->map, p) != PREFIXMAP_NONE;
}

const struct block *
blockset_find(const struct blockset *s, const struct ip_prefix *p)
{
	uint32_t n = prefixmap_find(s->map, p);

	return n != PREFIXMAP_NONE ? &s->block[n] : NULL;
}

const struct block *
blockset_match(const struct blockset *s, const struct ip *ip, mono_t now)
{
	for (int bits = 128; bits >= 0; bits--) {
		uint32_t n = prefixmap_match(s->map, ip, bits);

		if (n == PREFIXMAP_NONE)
			break;
		if (s->block[n].until.ms > now.ms)
			return &s->block[n];
		bits = s->block[n].prefix.bits;
	}
	return NULL;
}

size_t
blockset_count(const struct blockset *s)
{
	return prefixmap_count(s->map);
}

const struct block *
blockset_next(const struct blockset *s, size_t *cursor)
{
	while (*cursor < prefixmap_end(s->map)) {
		uint32_t n = (uint32_t)(*cursor)++;

		if (prefixmap_at(s->map, n) != NULL)
			return &s->block[n];
	}
	return NULL;
}
