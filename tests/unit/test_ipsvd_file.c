/* SPDX-License-Identifier: ISC */
/*
 * One instruction file: its name, whose it is, and that it is made, changed and removed whole.
 *
 * The calls that actions/ipsvd_file.c makes come to the functions of the same name here, so that each can fail, the
 * process can die there, and an administrator can step in before.
 */
#include "actions/ipsvd_file.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/hostile.h"
#include "tests/unit/kit.h"

#define ATIME INT64_C(1795220246)
#define CALLS_MAX 50
#define ROUNDS 20000

/* --- what happens at the n-th call ----------------------------------------------------------- */

static struct {
	int left; /* calls before it; negative: nothing happens */
	void (*deed)(void);
	int error; /* and the call fails with it; 0: it doesn't */
	bool happened;
	const char *call; /* that it happened at */
} plan = { .left = -1 };

static bool
fails(const char *call)
{
	if (plan.left < 0 || plan.left-- > 0)
		return false;
	plan.happened = true;
	plan.call = call;
	if (plan.deed != NULL)
		plan.deed();
	errno = plan.error;
	return plan.error != 0;
}

int
openat(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails("openat") ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* The same, as _FORTIFY_SOURCE calls it. */
int __openat_2(int at, const char *path, int flags);

int
__openat_2(int at, const char *path, int flags)
{
	return fails("openat") ? -1 : (int)syscall(SYS_openat, at, path, flags, 0);
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	return fails("write") ? -1 : (ssize_t)syscall(SYS_write, fd, buf, n);
}

int
fchmod(int fd, mode_t mode)
{
	return fails("fchmod") ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int
futimens(int fd, const struct timespec times[2])
{
	return fails("futimens") ? -1 : (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

int
utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
	return fails("utimensat") ? -1 : (int)syscall(SYS_utimensat, dir, path, times, flags);
}

int
unlinkat(int dir, const char *path, int flags)
{
	return fails("unlinkat") ? -1 : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int
fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	return fails("fstatat") ? -1 : (int)syscall(SYS_newfstatat, dir, path, ret, flags);
}

/* --- a directory of our own ------------------------------------------------------------------ */

static char top[KIT_PATH_MAX];
static int dir;
static struct ipsvd_key key;
static char name[IPSVD_NAME_MAX];

static int
make_dir(void **state)
{
	(void)state;
	kit_tree(top);
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_true(ipsvd_name_parse("192.0.2.7", &key));
	ipsvd_name(key, name);
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	(void)close(dir);
	kit_remove(top);
	return 0;
}

static void
clear(void)
{
	plan.left = -1;
	if (unlinkat(dir, name, 0) < 0)
		(void)unlinkat(dir, name, AT_REMOVEDIR); /* absent is as good */
}

static struct ipsvd_file
file(enum block_kind kind)
{
	return (struct ipsvd_file) { .kind = kind, .accept = kind, .atime_s = ATIME, .id = "e4k2mq7h2" };
}

static int
put(const struct ipsvd_file *f, bool look)
{
	return ipsvd_put(&ipsvd_disk, dir, key, f, look);
}

static int
owner(void)
{
	struct stat st;

	return ipsvd_look(dir, key, &st);
}

static struct stat
state_of(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void
assert_same(const struct stat *a, const struct stat *b)
{
	assert_true(a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_size == b->st_size
		&& a->st_uid == b->st_uid && a->st_gid == b->st_gid);
	assert_memory_equal(&a->st_atim, &b->st_atim, sizeof(a->st_atim));
	assert_memory_equal(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim));
	assert_memory_equal(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

/* What is in it, or "". */
static const char *
text_of(const char *path)
{
	static char text[1024];
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(close(fd), 0);
	return text;
}

/* --- names ----------------------------------------------------------------------------------- */

static void
name_is_read_as_it_is_written(void **state)
{
	static const char *const good[] = { "1", "255", "10.0", "0.1", "0.0", "192.0.2", "0.0.0.0", "255.255.255.255", "1.2.3.4" };
	struct dice d = dice_new();
	struct ipsvd_key k;
	char text[IPSVD_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		assert_true(ipsvd_name_parse(good[i], &k));
		ipsvd_name(k, text);
		assert_string_equal(text, good[i]);
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct ipsvd_key was = { .octets = 1 + dice_below(&d, 4) };

		was.net = (uint32_t)dice_u64(&d) & UINT32_MAX << (32 - 8 * was.octets);
		ipsvd_name(was, text);
		assert_true(ipsvd_name_parse(text, &k) == !ipsvd_key_is_catch_all(was));
		if (!ipsvd_key_is_catch_all(was))
			assert_true(k.net == was.net && k.octets == was.octets);
	}
}

static void
name_of_any_other_form_is_none_of_ours(void **state)
{
	static const char *const bad[] = {
		"", "0", "00", "01", "1.", ".1", "1..2", "1.2.3.4.", "1.2.3.4.5", "256", "1.256", "1.2.3.04", "1.2.3.4 ", " 1.2.3.4",
		"+1", "-1", "1,2", "1.2.3.4\n", "0x1", "1e1", "999999999999", "4294967296", "1.2.3.-4", "1.2.3.4/24", "localhost",
		"a", "1a", "1.a", "::1", ".", "..", ".1.2.3.4.new", "1.2.3.4~", "\xd9\xa1",
	};
	static char text[HOSTILE_MAX + 1];
	struct dice d = dice_new();
	struct ipsvd_key k = { 77, 7 };

	(void)state;
	for (size_t i = 0; i < countof(bad); i++)
		assert_false(ipsvd_name_parse(bad[i], &k));
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		(void)hostile_text(i, text);
		if (strcmp(text, "127.1") != 0 && strcmp(text, "1.2.3") != 0 && strcmp(text, "198.51.100.7") != 0)
			assert_false(ipsvd_name_parse(text, &k));
	}
	assert_true(k.net == 77 && k.octets == 7);
	/* One byte of a good one changed, put in or taken out: what is read is what would be written, or nothing. */
	for (int i = 0; i < ROUNDS; i++) {
		char again[IPSVD_NAME_MAX], s[IPSVD_NAME_MAX + 2];

		ipsvd_name((struct ipsvd_key) { (uint32_t)dice_u64(&d), 4 }, s);
		size_t n = strlen(s), at = dice_below(&d, (unsigned)n);
		if (i % 3 == 0)
			s[at] = (char)dice_below(&d, 256);
		else if (i % 3 == 1)
			memmove(s + at, s + at + 1, n - at);
		else
			memmove(s + at + 1, s + at, n - at + 1);
		if (ipsvd_name_parse(s, &k)) {
			ipsvd_name(k, again);
			assert_string_equal(again, s);
		}
	}
}

/* Would tcpsvd find one of the files of this prefix for the address?  It looks for the address and for its first octets. */
static bool
is_found(const struct ip_prefix *p, uint32_t address)
{
	struct ipsvd_key k;

	for (unsigned n = ipsvd_keys(p, &k); n > 0; n--, k = ipsvd_key_next(k))
		if (!ipsvd_key_is_catch_all(k) && ((address ^ k.net) & UINT32_MAX << (32 - 8 * k.octets)) == 0)
			return true;
	return false;
}

static void
names_of_a_prefix_are_found_for_its_addresses_and_for_no_other(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (unsigned bits = 1; bits <= 32; bits++) {
		struct ipsvd_key k = { (uint32_t)dice_u64(&d) | 1u << 31, 4 }, first;
		struct ip_prefix p = ipsvd_key_prefix(k, bits);

		assert_int_equal(ipsvd_keys(&p, &first), 1u << ((8 - bits % 8) % 8));
		for (int i = 0; i < 300; i++) {
			uint32_t address = k.net ^ (uint32_t)(dice_u64(&d) >> (32 + dice_below(&d, 32)));
			struct ipsvd_key a = { address, 4 };
			struct ip ip = ipsvd_key_prefix(a, 32).ip;

			assert_true(is_found(&p, address) == ip_prefix_contains(&p, &ip));
		}
	}
}

static void
names_of_what_tcpsvd_cannot_tell_are_none_and_never_that_of_everybody(void **state)
{
	static const char *const none[] = { "::/0", "::1", "2001:db8::/32", "0.0.0.0/0", "::ffff:0:0/96", "0.0.0.0/8" };
	struct ipsvd_key k;
	struct ip_prefix p;

	(void)state;
	for (size_t i = 0; i < countof(none); i++) {
		assert_int_equal(ip_prefix_parse(none[i], &p), 0);
		assert_int_equal(ipsvd_keys(&p, &k), 0);
	}
	/* 0.0.0.0/7: "0" is met on the way, and known. */
	assert_int_equal(ip_prefix_parse("0.0.0.0/7", &p), 0);
	assert_int_equal(ipsvd_keys(&p, &k), 2);
	assert_true(ipsvd_key_is_catch_all(k));
	assert_false(ipsvd_key_is_catch_all(ipsvd_key_next(k)));
}

/* --- whose ----------------------------------------------------------------------------------- */

static void
file_is_as_tcpsvd_wants_it_whatever_the_umask(void **state)
{
	static const mode_t modes[BLOCK_KINDS] = { 0200, 0755, 0644 }, masks[] = { 0, 022, 077, 0777 };

	(void)state;
	for (int kind = 0; kind < BLOCK_KINDS; kind++)
		for (size_t m = 0; m < countof(masks); m++) {
			struct ipsvd_file f = file((enum block_kind)kind);
			mode_t before = umask(masks[m]);

			assert_int_equal(put(&f, m % 2 == 0), IPSVD_OURS);
			(void)umask(before);
			struct stat st = state_of(name);
			assert_int_equal(st.st_mode, S_IFREG | modes[kind]);
			assert_true(st.st_atim.tv_sec == ATIME && st.st_atim.tv_nsec == 0);
			assert_int_equal(owner(), IPSVD_OURS);
			assert_int_equal(ipsvd_drop(&ipsvd_disk, dir, key), IPSVD_OURS);
			assert_int_equal(owner(), IPSVD_NONE);
		}
	assert_int_equal(ipsvd_drop(&ipsvd_disk, dir, key), IPSVD_NONE);
}

static void
file_of_ours_is_the_administrators_once_he_touched_it(void **state)
{
	static const char *const other = "192.0.2.8";
	struct ipsvd_file f = file(BLOCK_DENY), long_ago = { .kind = BLOCK_DENY, .atime_s = 0, .id = "x" };
	struct ipsvd_key k;

	(void)state;
	assert_int_equal(put(&f, false), IPSVD_OURS);
	assert_int_equal(utimensat(dir, name, NULL, 0), 0); /* touch */
	assert_int_equal(owner(), IPSVD_FOREIGN);
	clear();
	static const mode_t modes[] = { 0, 0100, 0400, 0600, 0644, 0755, 0220, 0202, 04200, 02200 };
	for (size_t i = 0; i < countof(modes); i++) {
		assert_int_equal(put(&f, false), IPSVD_OURS);
		assert_int_equal(fchmodat(dir, name, modes[i], 0), 0);
		assert_int_equal(owner(), IPSVD_FOREIGN);
		assert_int_equal(put(&f, true), IPSVD_FOREIGN);
		clear();
	}
	assert_int_equal(put(&f, false), IPSVD_OURS);
	kit_write(top, name, "+DEBUG=\n", 8, 0200); /* an editor */
	assert_int_equal(owner(), IPSVD_FOREIGN);
	clear();
	/* Moved, or copied with all its times, to another name. */
	assert_int_equal(put(&f, false), IPSVD_OURS);
	assert_int_equal(renameat(dir, name, dir, other), 0);
	assert_true(ipsvd_name_parse(other, &k));
	struct stat st;
	assert_int_equal(ipsvd_look(dir, k, &st), IPSVD_FOREIGN);
	assert_int_equal(ipsvd_drop(&ipsvd_disk, dir, k), IPSVD_FOREIGN);
	assert_int_equal(unlinkat(dir, other, 0), 0);
	/* But the access time says nothing about it. */
	assert_int_equal(put(&long_ago, false), IPSVD_OURS);
	assert_int_equal(owner(), IPSVD_OURS);
	clear();
}

static void
make_foreign(int kind)
{
	switch (kind) {
	case 0: /* what ipthrottle, or an administrator, makes */
		kit_write(top, name, "", 0, 0200);
		break;
	case 1:
		kit_write(top, name, "", 0, 0);
		break;
	case 2:
		kit_write(top, name, "+RELAYCLIENT=\n", 14, 0644);
		break;
	case 3:
		kit_write(top, name, "echo hello", 10, 0755);
		break;
	case 4:
		kit_mkdir(top, name);
		break;
	case 5:
		assert_int_equal(mkfifoat(dir, name, 0200), 0);
		break;
	case 6:
		assert_int_equal(symlinkat("canary", dir, name), 0);
		break;
	case 7:
		assert_int_equal(symlinkat("nowhere", dir, name), 0);
		break;
	case 8: /* a hard link to what is none of anybody's business here */
		assert_int_equal(linkat(dir, "canary", dir, name, 0), 0);
		break;
	default:
		break;
	}
}
#define FOREIGN_KINDS 9

static void
file_of_others_is_never_touched_and_ours_yields(void **state)
{
	(void)state;
	for (int kind = 0; kind < FOREIGN_KINDS; kind++) {
		kit_puts(top, "canary", "tweet\n");
		make_foreign(kind);
		struct stat before = state_of(name), canary = state_of("canary");
		for (int k = 0; k < BLOCK_KINDS; k++)
			for (int look = 0; look < 2; look++) {
				struct ipsvd_file f = file((enum block_kind)k);

				assert_int_equal(put(&f, look != 0), IPSVD_FOREIGN);
				assert_int_equal(ipsvd_drop(&ipsvd_disk, dir, key), IPSVD_FOREIGN);
				assert_int_equal(ipsvd_disk.set_time(dir, name, key, ATIME), -ESTALE);
			}
		struct stat after = state_of(name), canary_after = state_of("canary");
		assert_same(&before, &after);
		assert_same(&canary, &canary_after);
		clear();
		assert_int_equal(unlinkat(dir, "canary", 0), 0);
	}
}

static void
file_that_is_right_is_left_alone_and_another_is_put_right(void **state)
{
	(void)state;
	for (int was = 0; was < BLOCK_KINDS; was++)
		for (int is = 0; is < BLOCK_KINDS; is++) {
			struct ipsvd_file a = file((enum block_kind)was), b = file((enum block_kind)is);

			assert_int_equal(put(&a, false), IPSVD_OURS);
			struct stat before = state_of(name);
			assert_int_equal(put(&b, is % 2 == 0), IPSVD_OURS);
			struct stat after = state_of(name);
			if (was == is)
				assert_same(&before, &after);
			else
				assert_true(before.st_mode != after.st_mode);
			b.atime_s += 2;
			before = state_of(name);
			assert_int_equal(put(&b, true), IPSVD_OURS);
			after = state_of(name);
			assert_true(after.st_atim.tv_sec == b.atime_s && after.st_ino == before.st_ino);
			assert_int_equal(owner(), IPSVD_OURS);
			b.atime_s -= 1; /* not worth it */
			assert_int_equal(put(&b, true), IPSVD_OURS);
			assert_true(state_of(name).st_atim.tv_sec == b.atime_s + 1);
			clear();
		}
	struct ipsvd_file f = file(BLOCK_EXPLAIN);
	assert_int_equal(put(&f, false), IPSVD_OURS);
	f.id = "other1";
	assert_int_equal(put(&f, true), IPSVD_OURS);
	assert_non_null(strstr(text_of(name), "[other1]"));
	clear();
}

static void
file_of_the_kind_that_is_accepted_stays_while_its_time_is_right(void **state)
{
	struct ipsvd_file f = file(BLOCK_EXPLAIN);

	(void)state;
	assert_int_equal(put(&f, false), IPSVD_OURS);
	f.kind = BLOCK_DENY;
	assert_int_equal(put(&f, false), IPSVD_OURS);
	assert_int_equal(state_of(name).st_mode & 07777, 0755);
	f.atime_s -= 60; /* reading it has moved its time */
	assert_int_equal(put(&f, false), IPSVD_OURS);
	assert_int_equal(state_of(name).st_mode & 07777, 0200);
	clear();
}

/* --- contents -------------------------------------------------------------------------------- */

/* What a client gets: tcpsvd runs sh -c with the contents, without the last line feed. */
static void
run_contents(char *ret, size_t cap)
{
	char command[1024];
	int fds[2], status;

	kit_format(command, sizeof(command), "%s", text_of(name));
	assert_int_equal(command[strlen(command) - 1], '\n');
	command[strlen(command) - 1] = '\0';
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(fds[1], 1);
		(void)close(fds[0]);
		(void)close(fds[1]);
		(void)execl("/bin/sh", "/bin/sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	(void)close(fds[1]);
	size_t len = 0;
	for (ssize_t n; (n = read(fds[0], ret + len, cap - 1 - len)) > 0;)
		len += (size_t)n;
	ret[len] = '\0';
	(void)close(fds[0]);
	assert_true(waitpid(pid, &status, 0) == pid && status == 0);
}

static void
explain_gives_one_line_with_the_id(void **state)
{
	struct ipsvd_file f = file(BLOCK_EXPLAIN);
	char got[1024];

	(void)state;
	assert_int_equal(put(&f, false), IPSVD_OURS);
	run_contents(got, sizeof(got));
	assert_string_equal(got, "421 4.7.0 Too much came from your address. Please try again later. [e4k2mq7h2]\r\n");
	clear();
	f.kind = BLOCK_THROTTLE;
	assert_int_equal(put(&f, false), IPSVD_OURS);
	assert_string_equal(text_of(name), "# spillway e4k2mq7h2\nC2:421 4.7.0 Too many connections from your address at a time. "
		"Please try again later. [e4k2mq7h2]\\r\\n\n");
	clear();
}

static void
contents_hold_no_id_that_is_more_than_letters_and_digits(void **state)
{
	static char id[HOSTILE_MAX + 1];
	char got[1024];
	int odd = 0;

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		struct ipsvd_file f = file(BLOCK_EXPLAIN);

		(void)hostile_text(i, id);
		size_t plain = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (plain > 0 && plain < BLOCK_ID_MAX && id[plain] == '\0')
			continue;
		f.id = id;
		assert_int_equal(put(&f, false), IPSVD_OURS);
		assert_string_equal(text_of(name),
			"# spillway \nprintf '421 4.7.0 Too much came from your address. Please try again later.\\r\\n'\n");
		if (odd++ == 0) {
			run_contents(got, sizeof(got));
			assert_string_equal(got, "421 4.7.0 Too much came from your address. Please try again later.\r\n");
		}
		clear();
	}
	assert_in_range(odd, 200, HOSTILE_COUNT);
}

static void
contents_of_the_longest_id_are_whole(void **state)
{
	(void)state;
	for (int kind = BLOCK_EXPLAIN; kind < BLOCK_KINDS; kind++) {
		struct ipsvd_file f = file((enum block_kind)kind);
		size_t len;

		f.id = "zzzzzzzzzzzzzzz";
		assert_int_equal(strlen(f.id), BLOCK_ID_MAX - 1);
		assert_int_equal(put(&f, false), IPSVD_OURS);
		len = strlen(text_of(name));
		assert_in_range(len, 60, IPSVD_TEXT_MAX - 1);
		assert_int_equal(text_of(name)[len - 1], '\n');
		clear();
	}
}

/* --- calls that fail, kill -9, and an administrator -------------------------------------------- */

/* What is there before: nothing, ours as wanted, ours of another kind, ours at another time, ours unfinished, another's. */
#define BEFORE 6

static void
put_before(int before, enum block_kind kind)
{
	struct ipsvd_file f = file(before == 2 ? (kind == BLOCK_DENY ? BLOCK_EXPLAIN : BLOCK_DENY) : kind);

	clear();
	if (before == 3)
		f.atime_s -= 100;
	if (before >= 1 && before <= 3)
		assert_int_equal(put(&f, false), IPSVD_OURS);
	else if (before == 4)
		kit_write(top, name, "# spil", 6, 01200);
	else if (before == 5)
		kit_write(top, name, "older\n", 6, 0644);
}

static int
deed(int what, enum block_kind kind)
{
	struct ipsvd_file f = file(kind);

	return what == 0 ? put(&f, false) : what == 1 ? put(&f, true) : ipsvd_drop(&ipsvd_disk, dir, key);
}

static void
assert_whole(int before)
{
	int is = owner();

	if (before == 5)
		assert_string_equal(text_of(name), "older\n");
	else
		assert_true(is == IPSVD_NONE || is == IPSVD_OURS || is == IPSVD_UNFINISHED);
}

static void
assert_mended(int before, int what, enum block_kind kind)
{
	int r = deed(what, kind);

	if (before == 5) {
		assert_int_equal(r, IPSVD_FOREIGN);
		assert_string_equal(text_of(name), "older\n");
	} else if (what == 2) {
		assert_int_equal(owner(), IPSVD_NONE);
	} else {
		assert_int_equal(r, IPSVD_OURS);
		assert_int_equal(owner(), IPSVD_OURS);
		assert_true(state_of(name).st_atim.tv_sec == ATIME);
	}
}

static void
d3_file_is_never_half_when_any_call_fails(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EACCES };
	int met = 0;

	(void)state;
	for (size_t e = 0; e < countof(errors); e++)
		for (int before = 0; before < BEFORE; before++)
			for (int what = 0; what < 3; what++)
				for (int kind = 0; kind < BLOCK_KINDS; kind++)
					for (int call = 0; call < CALLS_MAX; call++) {
						put_before(before, (enum block_kind)kind);
						plan.deed = NULL;
						plan.error = errors[e];
						plan.happened = false;
						plan.left = call;
						(void)deed(what, (enum block_kind)kind);
						plan.left = -1;
						plan.error = 0;
						if (!plan.happened)
							break;
						met++;
						assert_whole(before);
						assert_mended(before, what, (enum block_kind)kind);
					}
	assert_in_range(met, 200, 10000);
	clear();
}

static void
die(void)
{
	(void)kill(getpid(), SIGKILL);
}

static void
f4_file_is_known_as_ours_after_a_kill_at_any_call(void **state)
{
	int met = 0;

	(void)state;
	for (int before = 0; before < BEFORE; before++)
		for (int what = 0; what < 3; what++)
			for (int kind = 0; kind < BLOCK_KINDS; kind++)
				for (int call = 0; call < CALLS_MAX; call++) {
					int status;

					put_before(before, (enum block_kind)kind);
					pid_t pid = fork();
					assert_true(pid >= 0);
					if (pid == 0) {
						plan.deed = die;
						plan.left = call;
						(void)deed(what, (enum block_kind)kind);
						_exit(0);
					}
					assert_true(waitpid(pid, &status, 0) == pid);
					assert_whole(before);
					assert_mended(before, what, (enum block_kind)kind);
					if (!WIFSIGNALED(status))
						break;
					met++;
				}
	assert_in_range(met, 80, 10000);
	clear();
}

static void
op_move(void) /* mv newer 192.0.2.7 */
{
	int fd = (int)syscall(SYS_openat, dir, "newer", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(syscall(SYS_write, fd, "newer\n", 6), 6);
	assert_int_equal(close(fd), 0);
	assert_int_equal(renameat(dir, "newer", dir, name), 0);
}

/* But for the moment between the look and the removal, which the header admits. */
static void
file_that_an_administrator_puts_there_meanwhile_stays(void **state)
{
	int met = 0, lost = 0;

	(void)state;
	for (int before = 0; before < BEFORE; before++)
		for (int what = 0; what < 3; what++)
			for (int kind = 0; kind < BLOCK_KINDS; kind++)
				for (int call = 0; call < CALLS_MAX; call++) {
					put_before(before, (enum block_kind)kind);
					plan.deed = op_move;
					plan.happened = false;
					plan.left = call;
					(void)deed(what, (enum block_kind)kind);
					plan.left = -1;
					if (!plan.happened)
						break;
					met++;
					if (strcmp(plan.call, "unlinkat") == 0)
						lost++;
					else
						assert_string_equal(text_of(name), "newer\n");
				}
	assert_in_range(met, 80, 10000);
	assert_in_range(lost, 1, met / 3);
	clear();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_is_read_as_it_is_written),
		cmocka_unit_test(name_of_any_other_form_is_none_of_ours),
		cmocka_unit_test(names_of_a_prefix_are_found_for_its_addresses_and_for_no_other),
		cmocka_unit_test(names_of_what_tcpsvd_cannot_tell_are_none_and_never_that_of_everybody),
		cmocka_unit_test(file_is_as_tcpsvd_wants_it_whatever_the_umask),
		cmocka_unit_test(file_of_ours_is_the_administrators_once_he_touched_it),
		cmocka_unit_test(file_of_others_is_never_touched_and_ours_yields),
		cmocka_unit_test(file_that_is_right_is_left_alone_and_another_is_put_right),
		cmocka_unit_test(file_of_the_kind_that_is_accepted_stays_while_its_time_is_right),
		cmocka_unit_test(explain_gives_one_line_with_the_id),
		cmocka_unit_test(contents_hold_no_id_that_is_more_than_letters_and_digits),
		cmocka_unit_test(contents_of_the_longest_id_are_whole),
		cmocka_unit_test(d3_file_is_never_half_when_any_call_fails),
		cmocka_unit_test(f4_file_is_known_as_ours_after_a_kill_at_any_call),
		cmocka_unit_test(file_that_an_administrator_puts_there_meanwhile_stays),
	};

	int r = cmocka_run_group_tests_name("where TMPDIR is", tests, make_dir, remove_dir);
	if (setenv("TMPDIR", "/dev/shm", 1) < 0 || access("/dev/shm", W_OK) < 0)
		return r;
	return r | cmocka_run_group_tests_name("in memory", tests, make_dir, remove_dir);
}
