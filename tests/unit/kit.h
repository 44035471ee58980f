/* SPDX-License-Identifier: ISC */
/*
 * kit - what unit tests share: cmocka with what it needs, dice with a printed seed, temporary trees
 *
 * TEST_SEED in the environment repeats a run; TMPDIR moves the trees.  Under valgrind random tests take fewer rounds.
 */
#ifndef TESTS_UNIT_KIT_H
#define TESTS_UNIT_KIT_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h> /* needs some of the above */
#include <ftw.h>

#include "lib/array.h"

#define KIT_PATH_MAX 512

static inline bool
kit_is_slow(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

static inline int
kit_rounds(int n)
{
	return kit_is_slow() ? n / 20 + 1 : n;
}

/* --- dice: splitmix64 (Steele, Lea, Flood, 2014) ---------------------------------------------- */

struct dice {
	uint64_t state;
};

static inline struct dice
dice_new(void)
{
	const char *given = getenv("TEST_SEED");
	struct dice d = { 0 };

	if (given != NULL)
		d.state = strtoull(given, NULL, 10);
	else
		assert_true(getrandom(&d.state, sizeof(d.state), 0) == sizeof(d.state));
	print_message("# TEST_SEED=%llu\n", (unsigned long long)d.state);
	return d;
}

static inline uint64_t
dice_u64(struct dice *d)
{
	uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0..n-1 */
static inline unsigned
dice_below(struct dice *d, unsigned n)
{
	return (unsigned)(dice_u64(d) % n);
}

/* A number of random length, so that small ones are met too. */
static inline uint64_t
dice_any(struct dice *d)
{
	return dice_u64(d) >> dice_below(d, 64);
}

/* --- limits ---------------------------------------------------------------------------------- */

/* Let no more than `n` descriptors be opened from now on; -1: as many as before. */
static inline void
kit_limit_fds(int n)
{
	static struct rlimit before;
	struct rlimit now;

	if (n < 0) {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		return;
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = 0;
	while (n >= 0)
		n -= fcntl((int)now.rlim_cur++, F_GETFD) < 0;
	now.rlim_cur--;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* --- texts ----------------------------------------------------------------------------------- */

/* Print into `ret`, all of it. */
static inline void kit_format(char *ret, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static inline void
kit_format(char *ret, size_t cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(ret, cap, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < cap);
}

/* --- trees ----------------------------------------------------------------------------------- */

/* A directory of our own, open to all users: some tests look at it as nobody. */
static inline void
kit_tree(char ret[KIT_PATH_MAX])
{
	const char *tmp = getenv("TMPDIR");

	kit_format(ret, KIT_PATH_MAX, "%s/spillway-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(ret));
	assert_int_equal(chmod(ret, 0755), 0);
}

static inline int
kit_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void
kit_remove(const char *path)
{
	(void)nftw(path, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "DIR/NAME" in `ret`, which is returned. */
static inline char *
kit_path(char ret[KIT_PATH_MAX], const char *dir, const char *name)
{
	kit_format(ret, KIT_PATH_MAX, "%s/%s", dir, name);
	return ret;
}

static inline void
kit_mkdir(const char *dir, const char *name)
{
	char path[KIT_PATH_MAX];

	assert_int_equal(mkdir(kit_path(path, dir, name), 0755), 0);
}

/* A file of these bytes, replaced if it is there. */
static inline void
kit_write(const char *dir, const char *name, const void *bytes, size_t n, mode_t mode)
{
	char path[KIT_PATH_MAX];
	int fd = open(kit_path(path, dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static inline void
kit_puts(const char *dir, const char *name, const char *text)
{
	kit_write(dir, name, text, strlen(text), 0644);
}

#endif
