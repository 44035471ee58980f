/* SPDX-License-Identifier: ISC */
/*
 * The published state: what was written comes back, and nothing else is believed.
 * Rows of the failure list: Q2 Q3 Q15.
 */
#include "lib/state.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/atomicfile.h"
#include "lib/bytes.h"
#include "lib/siphash.h"
#include "tests/hostile.h"
#include "tests/unit/kit.h"

#define AT_VERSION 4
#define AT_LEVEL 6
#define AT_ISSUED 16
#define AT_EPISODE 48
#define AT_ADMIT 64
#define AT_CHECKS 96
#define AT_SUM (STATE_SIZE - 8)
#define READS 3000

static char base[KIT_PATH_MAX];

static int
make_base(void **state)
{
	(void)state;
	kit_tree(base);
	return 0;
}

static int
remove_base(void **state)
{
	(void)state;
	kit_remove(base);
	return 0;
}

/* A state in which no two fields are alike. */
static struct state
example(void)
{
	struct state s = {
		.issued = { INT64_C(0x0102030405060708) },
		.valid_ms = 0x11121314,
		.level = LEVEL_CRITICAL,
		.flags = STATE_EXTENDED_TEXTS,
		.episode = "e4k2mq7h2",
		.salt = UINT64_C(0xa1a2a3a4a5a6a7a8),
	};

	for (unsigned i = 0; i < CLOCK_BOOT_ID_SIZE; i++)
		s.boot_id[i] = (uint8_t)(0xb0 + i);
	for (unsigned i = 0; i < CLASS_COUNT; i++)
		s.admit[i] = (uint16_t)(ADMIT_ALL - i);
	for (unsigned i = 0; i < STAGE_COUNT; i++)
		s.checks[i] = 0xc1c2c300 + i;
	return s;
}

static void
assert_same(const struct state *a, const struct state *b)
{
	assert_memory_equal(a->boot_id, b->boot_id, sizeof(a->boot_id));
	assert_true(a->issued.ms == b->issued.ms);
	assert_int_equal(a->valid_ms, b->valid_ms);
	assert_int_equal(a->level, b->level);
	assert_int_equal(a->flags, b->flags);
	assert_memory_equal(a->episode, b->episode, sizeof(a->episode));
	assert_true(a->salt == b->salt);
	assert_memory_equal(a->admit, b->admit, sizeof(a->admit));
	assert_memory_equal(a->checks, b->checks, sizeof(a->checks));
}

static void
sum_up(uint8_t buf[STATE_SIZE])
{
	put_u64(buf + AT_SUM, siphash(buf, AT_SUM, 0, 0));
}

/* It is refused with `error`, and the result is left alone. */
static void
assert_refused(const uint8_t *buf, size_t len, int error)
{
	struct state s, before;

	memset(&s, 0x5a, sizeof(s));
	before = s;
	assert_int_equal(state_decode(buf, len, &s), error);
	assert_memory_equal(&s, &before, sizeof(s));
}

/* --- the format ------------------------------------------------------------------------------ */

static void
state_every_field_comes_back(void **state)
{
	uint8_t buf[STATE_SIZE];
	struct state s = example(), back;

	(void)state;
	state_encode(&s, buf);
	assert_int_equal(state_decode(buf, sizeof(buf), &back), 0);
	assert_same(&s, &back);
	s = (struct state) { 0 };
	state_encode(&s, buf);
	assert_int_equal(state_decode(buf, sizeof(buf), &back), 0);
	assert_same(&s, &back);
}

/* Plugins of this version read what engines of this version write, also those that were built before. */
static void
state_bytes_of_version_1_stay_where_they_are(void **state)
{
	static const uint8_t head[] = {
		'S', 'P', 'W', 'Y', 1, 0, LEVEL_CRITICAL, STATE_EXTENDED_TEXTS, 0x14, 0x13, 0x12, 0x11, 0, 0, 0, 0,
		8, 7, 6, 5, 4, 3, 2, 1, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd,
		0xbe, 0xbf, 0xa8, 0xa7, 0xa6, 0xa5, 0xa4, 0xa3, 0xa2, 0xa1, 'e', '4', 'k', '2', 'm', 'q', '7', 'h', '2', 0, 0,
		0, 0, 0, 0, 0,
	};
	uint8_t buf[STATE_SIZE];
	struct state s = example();

	(void)state;
	state_encode(&s, buf);
	assert_memory_equal(buf, head, sizeof(head));
	for (unsigned i = 0; i < CLASS_COUNT; i++)
		assert_int_equal(get_u16(buf + AT_ADMIT + 2 * i), s.admit[i]);
	for (unsigned i = 0; i < STAGE_COUNT; i++)
		assert_int_equal(get_u32(buf + AT_CHECKS + 4 * i), s.checks[i]);
}

static void
q3_state_cut_at_any_length_is_refused(void **state)
{
	uint8_t buf[STATE_SIZE + 1] = { 0 };
	struct state s = example();

	(void)state;
	state_encode(&s, buf);
	for (size_t n = 0; n < STATE_SIZE; n++)
		assert_refused(buf, n, -EBADMSG);
	assert_refused(buf, STATE_SIZE + 1, -EBADMSG);
}

static void
q3_state_with_any_bit_flipped_is_refused(void **state)
{
	uint8_t buf[STATE_SIZE];
	struct state s = example();

	(void)state;
	state_encode(&s, buf);
	for (size_t bit = 0; bit < 8 * sizeof(buf); bit++) {
		bool version = bit / 8 == AT_VERSION || bit / 8 == AT_VERSION + 1;

		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_refused(buf, sizeof(buf), version ? -EPROTO : -EBADMSG);
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void
q3_random_bytes_are_refused_also_with_our_first_bytes(void **state)
{
	uint8_t buf[2 * STATE_SIZE], good[STATE_SIZE];
	struct dice d = dice_new();
	struct state s = example();

	(void)state;
	state_encode(&s, good);
	for (int round = 0; round < kit_rounds(20000); round++) {
		size_t n = dice_below(&d, 4) != 0 ? STATE_SIZE : dice_below(&d, sizeof(buf) + 1);

		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)dice_u64(&d);
		assert_refused(buf, n, -EBADMSG);
		memcpy(buf, good, dice_below(&d, AT_SUM - 16) + 6);
		assert_refused(buf, n < 6 ? 0 : n, -EBADMSG);
	}
}

static void
q3_hostile_texts_are_no_state(void **state)
{
	static char text[HOSTILE_MAX + 1];

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		size_t n = hostile_text(i, text);

		assert_refused((const uint8_t *)text, n, -EBADMSG);
	}
}

/* An older plugin beside a newer engine, and the reverse: also when all else would be right. */
static void
q15_state_of_any_other_version_is_refused_by_its_own_error(void **state)
{
	uint8_t buf[STATE_SIZE];
	struct state s = example();

	(void)state;
	state_encode(&s, buf);
	for (unsigned v = 0; v <= UINT16_MAX; v++) {
		put_u16(buf + AT_VERSION, (uint16_t)v);
		sum_up(buf);
		if (v != STATE_VERSION)
			assert_refused(buf, sizeof(buf), -EPROTO);
	}
	assert_refused(buf, 20, -EPROTO); /* of whatever length that version may have */
}

/* A right checksum is no proof of sense. */
static void
state_with_senseless_values_is_refused(void **state)
{
	static const char *const episodes[] = {
		"e\n", "e\r", "\ne", "\x1b[2J", "e\x7f", "\xc3\xa9", "e\t4",
	};
	uint8_t good[STATE_SIZE], buf[STATE_SIZE];
	struct state s = example();

	(void)state;
	state_encode(&s, good);
	for (unsigned level = LEVEL_COUNT; level <= UINT8_MAX; level++) {
		memcpy(buf, good, sizeof(buf));
		buf[AT_LEVEL] = (uint8_t)level;
		sum_up(buf);
		assert_refused(buf, sizeof(buf), -EBADMSG);
	}
	for (unsigned class = 0; class < CLASS_COUNT; class++) {
		memcpy(buf, good, sizeof(buf));
		put_u16(buf + AT_ADMIT + 2 * class, ADMIT_ALL + 1);
		sum_up(buf);
		assert_refused(buf, sizeof(buf), -EBADMSG);
	}
	for (size_t i = 0; i < countof(episodes); i++) {
		memcpy(buf, good, sizeof(buf));
		memset(buf + AT_EPISODE, 0, EPISODE_ID_MAX);
		memcpy(buf + AT_EPISODE, episodes[i], strlen(episodes[i]));
		sum_up(buf);
		assert_refused(buf, sizeof(buf), -EBADMSG);
	}
	memcpy(buf, good, sizeof(buf));
	memset(buf + AT_EPISODE, 'e', EPISODE_ID_MAX); /* no end */
	sum_up(buf);
	assert_refused(buf, sizeof(buf), -EBADMSG);
	memcpy(buf, good, sizeof(buf));
	put_u64(buf + AT_ISSUED, UINT64_MAX); /* -1 */
	sum_up(buf);
	assert_refused(buf, sizeof(buf), -EBADMSG);
}

/* --- the lease ------------------------------------------------------------------------------- */

static void
q2_lease_holds_from_its_issue_to_its_end_and_not_a_moment_longer(void **state)
{
	static const struct {
		int64_t issued, valid, now;
		bool want;
	} rows[] = {
		{ 1000, 500, 1000, true }, { 1000, 500, 1500, true }, { 1000, 500, 1501, false },
		{ 1000, 500, 999, false }, { 1000, 500, 0, false }, { 1000, 0, 1000, true }, { 1000, 0, 1001, false },
		{ 0, 500, 0, true }, { 0, UINT32_MAX, UINT32_MAX, true }, { 0, UINT32_MAX, INT64_C(1) << 32, false },
		{ 0, 500, INT64_MAX, false }, { INT64_MAX, 500, 0, false }, { INT64_MAX, UINT32_MAX, INT64_MAX, true },
	};
	const uint8_t here[CLOCK_BOOT_ID_SIZE] = { 1, 2, 3 };

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct state s = { .issued = { rows[i].issued }, .valid_ms = (uint32_t)rows[i].valid };
		mono_t now = { rows[i].now };

		memcpy(s.boot_id, here, sizeof(here));
		assert_int_equal(state_is_fresh(&s, now), rows[i].want);
		assert_int_equal(state_is_current(&s, now, here), rows[i].want);
		for (size_t b = 0; b < CLOCK_BOOT_ID_SIZE; b++) { /* of another boot, never */
			uint8_t there[CLOCK_BOOT_ID_SIZE];

			memcpy(there, here, sizeof(there));
			there[b] ^= 0x80;
			assert_false(state_is_current(&s, now, there));
		}
	}
}

/* --- the file -------------------------------------------------------------------------------- */

static void
put_file(const void *bytes, size_t n, mode_t mode)
{
	kit_write(base, STATE_FILE, bytes, n, mode);
}

static void
put_example(void)
{
	uint8_t buf[STATE_SIZE];
	struct state s = example();

	state_encode(&s, buf);
	put_file(buf, sizeof(buf), 0644);
}

static char *
file_path(void)
{
	static char path[KIT_PATH_MAX];

	return kit_path(path, base, STATE_FILE);
}

static void
remove_file(void)
{
	char elsewhere[KIT_PATH_MAX];

	(void)remove(file_path()); /* the next test makes its own */
	(void)remove(kit_path(elsewhere, base, "elsewhere"));
}

/* Reading fails with `error` and never waits: a wait would be ended by the alarm, and the test with it. */
static void
assert_unreadable(int error)
{
	struct state s, before;

	memset(&s, 0x5a, sizeof(s));
	before = s;
	(void)alarm(5);
	assert_int_equal(state_read(base, &s), error);
	(void)alarm(0);
	assert_memory_equal(&s, &before, sizeof(s));
}

static void
state_read_finds_what_was_published(void **state)
{
	struct state s = example(), back;

	(void)state;
	put_example();
	assert_int_equal(state_read(base, &back), 0);
	assert_same(&s, &back);
	remove_file();
}

static void
q1_absent_state_is_told_apart(void **state)
{
	struct state s;

	(void)state;
	assert_unreadable(-ENOENT);
	assert_int_equal(state_read("/nonexistent", &s), -ENOENT);
	assert_int_equal(state_read("", &s), -ENOENT);
}

static void
state_read_of_a_directory_with_too_long_a_name_says_so(void **state)
{
	char dir[400];
	struct state s;

	(void)state;
	memset(dir, 'x', sizeof(dir) - 1);
	dir[0] = '/';
	dir[sizeof(dir) - 1] = '\0';
	assert_int_equal(state_read(dir, &s), -ENAMETOOLONG);
}

static void
q3_regular_file_of_any_wrong_size_is_refused(void **state)
{
	uint8_t buf[4097] = { 0 };
	struct state s = example();

	(void)state;
	state_encode(&s, buf);
	for (size_t n = 0; n < STATE_SIZE; n++) {
		put_file(buf, n, 0644);
		assert_unreadable(-EBADMSG);
	}
	for (size_t n = STATE_SIZE + 1; n <= 4096; n += 131) {
		put_file(buf, n, 0644);
		assert_unreadable(-EBADMSG);
	}
	put_file(buf, 4097, 0644);
	assert_unreadable(-EFBIG);
	assert_int_equal(truncate(file_path(), INT64_C(1) << 30), 0); /* 1 GiB, sparse */
	assert_unreadable(-EFBIG);
	remove_file();
}

static void
q3_links_are_not_followed(void **state)
{
	char elsewhere[KIT_PATH_MAX];

	(void)state;
	put_example();
	assert_int_equal(rename(file_path(), kit_path(elsewhere, base, "elsewhere")), 0);
	assert_int_equal(symlink("elsewhere", file_path()), 0);
	assert_unreadable(-ELOOP);
	assert_int_equal(unlink(file_path()), 0);
	assert_int_equal(symlink("nowhere", file_path()), 0);
	assert_unreadable(-ELOOP);
	assert_int_equal(unlink(file_path()), 0);
	assert_int_equal(symlink("/dev/zero", file_path()), 0);
	assert_unreadable(-ELOOP);
	remove_file();
}

static void
q3_what_is_no_file_is_refused_without_waiting(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(mkdir(file_path(), 0755), 0);
	assert_unreadable(-EINVAL);
	remove_file();
	assert_int_equal(mkfifo(file_path(), 0644), 0);
	assert_unreadable(-EINVAL);
	remove_file();
	assert_in_range(snprintf(at.sun_path, sizeof(at.sun_path), "%s/" STATE_FILE, base), 1,
		sizeof(at.sun_path) - 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_unreadable(-ENXIO);
	assert_int_equal(close(fd), 0);
	remove_file();
	if (mknod(file_path(), S_IFCHR | 0644, 1 << 8 | 5) == 0) /* /dev/zero; only root can */
		assert_unreadable(-EINVAL);
	remove_file();
}

/* Somebody holds a lease (fcntl) on it: opening would wait up to /proc/sys/fs/lease-break-time. */
static void
q5_file_under_a_lease_is_not_waited_for(void **state)
{
	(void)state;
	put_example();
	int fd = open(file_path(), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(signal(SIGIO, SIG_IGN) != SIG_ERR);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		assert_unreadable(-EWOULDBLOCK);
	assert_int_equal(close(fd), 0);
	remove_file();
}

static void
state_read_leaves_no_descriptor_behind(void **state)
{
	struct rlimit old, few = { 0 };
	struct state s;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = 32;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 100; i++) {
		put_example();
		assert_int_equal(state_read(base, &s), 0);
		put_file("x", 1, 0644);
		assert_unreadable(-EBADMSG);
		remove_file();
		assert_int_equal(mkdir(file_path(), 0755), 0);
		assert_unreadable(-EINVAL);
		remove_file();
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* The engine publishes as fast as it can: every reader sees an old state or a new one, whole. */
static void
publish_for_ever(void)
{
	uint8_t buf[STATE_SIZE];
	struct state s = example();
	int dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not wait for us */
	for (uint32_t i = 0; dir >= 0; i++) {
		s.valid_ms = i;
		s.salt = i * UINT64_C(0x9e3779b97f4a7c15);
		state_encode(&s, buf);
		(void)atomicfile_put(dir, &(struct atomicfile) {
			.name = STATE_FILE, .data = buf, .len = sizeof(buf), .mode = 0644,
		});
	}
	_exit(0);
}

static void
state_read_never_sees_half_a_state(void **state)
{
	uint32_t last = 0;
	unsigned changes = 0;

	(void)state;
	put_example();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		publish_for_ever();
	for (int i = 0; i < kit_rounds(READS); i++) {
		struct state s;

		assert_int_equal(state_read(base, &s), 0);
		if (s.salt != example().salt)
			assert_true(s.salt == s.valid_ms * UINT64_C(0x9e3779b97f4a7c15));
		changes += s.valid_ms != last;
		last = s.valid_ms;
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(waitpid(pid, NULL, 0) == pid);
	assert_true(changes > 0);
	remove_file();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_every_field_comes_back),
		cmocka_unit_test(state_bytes_of_version_1_stay_where_they_are),
		cmocka_unit_test(q3_state_cut_at_any_length_is_refused),
		cmocka_unit_test(q3_state_with_any_bit_flipped_is_refused),
		cmocka_unit_test(q3_random_bytes_are_refused_also_with_our_first_bytes),
		cmocka_unit_test(q3_hostile_texts_are_no_state),
		cmocka_unit_test(q15_state_of_any_other_version_is_refused_by_its_own_error),
		cmocka_unit_test(state_with_senseless_values_is_refused),
		cmocka_unit_test(q2_lease_holds_from_its_issue_to_its_end_and_not_a_moment_longer),
		cmocka_unit_test(state_read_finds_what_was_published),
		cmocka_unit_test(q1_absent_state_is_told_apart),
		cmocka_unit_test(state_read_of_a_directory_with_too_long_a_name_says_so),
		cmocka_unit_test(q3_regular_file_of_any_wrong_size_is_refused),
		cmocka_unit_test(q3_links_are_not_followed),
		cmocka_unit_test(q3_what_is_no_file_is_refused_without_waiting),
		cmocka_unit_test(q5_file_under_a_lease_is_not_waited_for),
		cmocka_unit_test(state_read_leaves_no_descriptor_behind),
		cmocka_unit_test(state_read_never_sees_half_a_state),
	};

	return cmocka_run_group_tests(tests, make_base, remove_base);
}
