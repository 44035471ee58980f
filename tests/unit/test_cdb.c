/* SPDX-License-Identifier: ISC */
/* What is looked at of a cdb: whole ones are told from all others, and nothing is read beyond the end. */
#include "actions/cdb.h"

#include "tests/unit/kit.h"

#define MARKER "marker"
#define SIZE_MAX_HERE 8192

static uint8_t made[SIZE_MAX_HERE];
static size_t made_len;

static void
put_u32(size_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		made[at + (size_t)i] = (uint8_t)(v >> 8 * i);
}

static uint32_t
hash_of(const char *key)
{
	uint32_t h = 5381;

	while (*key != '\0')
		h = (h * 33) ^ (uint8_t)*key++;
	return h;
}

/* A cdb of these keys, ended by NULL, each with the data "D". */
static void
make(const char *const keys[])
{
	size_t pos = CDB_HEAD, at[64], n = 0;

	memset(made, 0, sizeof(made));
	for (; keys[n] != NULL; n++) {
		at[n] = pos;
		put_u32(pos, (uint32_t)strlen(keys[n]));
		put_u32(pos + 4, 2);
		memcpy(made + pos + 8, keys[n], strlen(keys[n]));
		pos += 8 + strlen(keys[n]);
		memcpy(made + pos, "D", 2);
		pos += 2;
	}
	for (uint32_t table = 0; table < 256; table++) {
		uint32_t slots = 0;

		for (size_t i = 0; i < n; i++)
			slots += (hash_of(keys[i]) & 255) == table ? 2 : 0;
		put_u32(table * 8, (uint32_t)pos);
		put_u32(table * 8 + 4, slots);
		for (size_t i = 0; i < n; i++) {
			uint32_t h = hash_of(keys[i]), slot = h >> 8;

			if ((h & 255) != table)
				continue;
			for (slot %= slots; made[pos + 8 * slot + 4] != 0 || made[pos + 8 * slot + 5] != 0; slot = (slot + 1) % slots)
				;
			put_u32(pos + 8 * slot, h);
			put_u32(pos + 8 * slot + 4, (uint32_t)at[i]);
		}
		pos += 8 * slots;
	}
	made_len = pos;
}

/* In memory of just this size, so that a byte too far is seen. */
static int
look(const uint8_t *bytes, size_t n, struct cdb_view *ret)
{
	uint8_t *copy = malloc(n + (n == 0));

	assert_non_null(copy);
	memcpy(copy, bytes, n);
	int r = cdb_look(copy, n, MARKER, ret);
	free(copy);
	return r;
}

static int
file_of(const uint8_t *bytes, size_t n)
{
	char path[] = "/tmp/spillway-test-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0 && unlink(path) == 0);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	return fd;
}

static void
cdb_look_counts_before_and_behind_the_marker(void **state)
{
	struct cdb_view v;

	(void)state;
	make((const char *const[]) { NULL });
	assert_int_equal(look(made, made_len, &v), 0);
	assert_true(v.theirs == 0 && v.ours == 0 && v.theirs_end == CDB_HEAD);
	make((const char *const[]) { "192.0.2.1", "", "192.0.2.1", NULL });
	assert_int_equal(look(made, made_len, &v), 0);
	assert_true(v.theirs == 3 && v.ours == 0);
	make((const char *const[]) { "192.0.2.1", MARKER, "192.0.2.2", "192.0.2.3", NULL });
	assert_int_equal(look(made, made_len, &v), 0);
	assert_true(v.theirs == 1 && v.ours == 2 && v.theirs_end == CDB_HEAD + 8 + 9 + 2);
	make((const char *const[]) { MARKER, "x", MARKER, NULL });
	assert_int_equal(look(made, made_len, &v), 0);
	assert_true(v.theirs == 0 && v.ours == 2);
}

static void
cdb_look_refuses_all_that_is_cut_or_longer(void **state)
{
	struct cdb_view v;

	(void)state;
	make((const char *const[]) { "192.0.2.1", MARKER, "192.0.2.2", "", NULL });
	for (size_t n = 0; n < made_len; n++)
		assert_int_equal(look(made, n, &v), -EBADMSG);
	assert_int_equal(look(made, made_len + 1, &v), -EBADMSG);
	assert_int_equal(look(made, made_len + 8, &v), -EBADMSG);
}

static void
cdb_of_random_bytes_is_refused_or_stays_within_bounds(void **state)
{
	struct dice d = dice_new();
	int refused = 0, rounds = kit_rounds(20000);

	(void)state;
	for (int round = 0; round < rounds; round++) {
		struct cdb_view v;

		make((const char *const[]) { "192.0.2.1", MARKER, "192.0.2.2", "198.51.100.", "", NULL });
		for (unsigned i = 1 + dice_below(&d, 4); i > 0; i--) {
			size_t at = dice_below(&d, 2) == 0 ? dice_below(&d, (unsigned)made_len) :
				CDB_HEAD + dice_below(&d, (unsigned)made_len - CDB_HEAD);

			made[at] = (uint8_t)dice_u64(&d);
		}
		int r = look(made, made_len, &v);
		assert_true(r == 0 || r == -EBADMSG);
		refused += r != 0;
		if (round % 20 == 0) {
			int fd = file_of(made, made_len);

			r = cdb_find(fd, "192.0.2.2");
			assert_true(r == 0 || r == 1 || r == -EBADMSG);
			assert_int_equal(close(fd), 0);
		}
	}
	assert_in_range(refused, rounds / 4, rounds);
}

static void
cdb_find_finds_what_is_there(void **state)
{
	(void)state;
	make((const char *const[]) { "192.0.2.1", MARKER, "192.0.2.2", "198.51.100.", "", NULL });
	int fd = file_of(made, made_len);
	assert_int_equal(cdb_find(fd, MARKER), 1);
	assert_int_equal(cdb_find(fd, "192.0.2.1"), 1);
	assert_int_equal(cdb_find(fd, ""), 1);
	assert_int_equal(cdb_find(fd, "192.0.2.3"), 0);
	assert_int_equal(close(fd), 0);
	fd = file_of(made, 100);
	assert_int_equal(cdb_find(fd, MARKER), -EBADMSG);
	assert_int_equal(close(fd), 0);
	fd = file_of(made, 0);
	assert_int_equal(cdb_find(fd, MARKER), -EBADMSG);
	assert_int_equal(close(fd), 0);
}

/* Is the administrator's part the same in a file with these keys? */
static int
same_theirs(const char *const ours[], const char *const old[])
{
	static uint8_t kept[SIZE_MAX_HERE];
	struct cdb_view v;

	make(old);
	int fd = file_of(made, made_len);
	make(ours);
	memcpy(kept, made, made_len);
	assert_int_equal(cdb_look(kept, made_len, MARKER, &v), 0);
	int r = cdb_same_theirs(&v, fd, MARKER);
	assert_int_equal(close(fd), 0);
	return r;
}

static void
cdb_same_theirs_is_just_that(void **state)
{
	const char *const plain[] = { "192.0.2.1", "", NULL }, *const none[] = { NULL }, *const less[] = { "192.0.2.1", NULL };
	const char *const marked[] = { "192.0.2.1", "", MARKER, "x", NULL }, *const other[] = { "192.0.2.2", "", NULL };
	const char *const more[] = { "192.0.2.1", "", "marked", NULL }, *const alone[] = { MARKER, "x", NULL };

	(void)state;
	assert_int_equal(same_theirs(plain, plain), 1);
	assert_int_equal(same_theirs(marked, plain), 1);
	assert_int_equal(same_theirs(plain, marked), 1);
	assert_int_equal(same_theirs(marked, marked), 1);
	assert_int_equal(same_theirs(alone, none), 1);
	assert_int_equal(same_theirs(none, alone), 1);
	assert_int_equal(same_theirs(marked, other), 0);
	assert_int_equal(same_theirs(marked, less), 0);
	assert_int_equal(same_theirs(marked, more), 0);
	assert_int_equal(same_theirs(marked, none), 0);
	assert_int_equal(same_theirs(marked, alone), 0);
	assert_int_equal(same_theirs(none, plain), 0);
	assert_int_equal(same_theirs(less, plain), 0);
	assert_int_equal(same_theirs(alone, plain), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cdb_look_counts_before_and_behind_the_marker),
		cmocka_unit_test(cdb_look_refuses_all_that_is_cut_or_longer),
		cmocka_unit_test(cdb_of_random_bytes_is_refused_or_stays_within_bounds),
		cmocka_unit_test(cdb_find_finds_what_is_there),
		cmocka_unit_test(cdb_same_theirs_is_just_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
