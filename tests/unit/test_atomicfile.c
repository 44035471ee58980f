/* SPDX-License-Identifier: ISC */
/*
 * The old file or the new one, whole, whatever fails: each call in turn, full disks, kill -9, and people who plant links.
 *
 * The calls that atomicfile.c makes come to the functions of the same name here, which fail as `plan` says and
 * otherwise do the deed.  Rows of the failure list: D2 D3 D4 F1 F2 F3 F4 F5 F9.
 */
#include "lib/atomicfile.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/fdio.h"
#include "tests/unit/kit.h"

#define NAME "state"
#define TEMP ".state.new"
#define BIG 65536
#define KILL_ROUNDS 200
#define SWAPS 100000

/* --- calls that fail ------------------------------------------------------------------------- */

static struct {
	bool on;
	int left; /* calls that go well before */
	int error; /* 0: a short write */
	bool sticky;
	unsigned seen, failed;
} plan;

/* Is it this call's turn to fail? */
static bool
fails(void)
{
	if (!plan.on)
		return false;
	plan.seen++;
	if (plan.left-- > 0 || (plan.failed > 0 && !plan.sticky))
		return false;
	plan.failed++;
	errno = plan.error;
	return true;
}

#define TRY(call) (fails() && plan.error != 0 ? -1 : (call))

int
openat(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return TRY((int)syscall(SYS_openat, dir, path, flags, mode));
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	bool f = fails();

	if (f && plan.error != 0)
		return -1;
	return (ssize_t)syscall(SYS_write, fd, buf, f && n > 1 ? n / 2 : n);
}

int
fchmod(int fd, mode_t mode)
{
	return TRY((int)syscall(SYS_fchmod, fd, mode));
}

int
futimens(int fd, const struct timespec times[2])
{
	return TRY((int)syscall(SYS_utimensat, fd, NULL, times, 0));
}

int
fsync(int fd)
{
	return TRY((int)syscall(SYS_fsync, fd));
}

/* Closed also when it fails, as Linux does it. */
int
close(int fd)
{
	bool f = fails() && plan.error != 0;
	int r = (int)syscall(SYS_close, fd);

	if (f)
		errno = plan.error;
	return f ? -1 : r;
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return TRY((int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int
unlinkat(int dir, const char *path, int flags)
{
	return TRY((int)syscall(SYS_unlinkat, dir, path, flags));
}

/* --- a directory of our own ------------------------------------------------------------------ */

static char base[KIT_PATH_MAX];
static int dir;

static int
make_base(void **state)
{
	(void)state;
	kit_tree(base);
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 || chdir(base) < 0 ? -1 : 0;
}

static int
remove_base(void **state)
{
	(void)state;
	(void)close(dir);
	kit_remove(base);
	return chdir("/");
}

static int
put_flags(const void *data, size_t len, unsigned flags)
{
	const struct timespec mtime = { .tv_sec = 1000000000 };

	return atomicfile_put(dir, &(struct atomicfile) {
		.name = NAME, .data = data, .len = len, .mode = 0644, .mtime = &mtime, .flags = flags,
	});
}

static int
put(const char *text)
{
	return put_flags(text, strlen(text), ATOMICFILE_DURABLE);
}

/* What stands in a file of `dir`; "" when there is none. */
static const char *
content(const char *name)
{
	static char buf[256];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : fd_read_full(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		(void)close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static bool
exists(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static unsigned
mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

/* --- the ordinary ---------------------------------------------------------------------------- */

static void
atomicfile_over_old_replaces_it_whole(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(put("a long old text"), 0);
	assert_string_equal(content(NAME), "a long old text");
	assert_int_equal(put("new"), 0);
	assert_string_equal(content(NAME), "new");
	assert_int_equal(fstatat(dir, NAME, &st, 0), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_false(exists(TEMP));
}

static void
atomicfile_noreplace_leaves_what_is_there(void **state)
{
	(void)state;
	assert_int_equal(put_flags("ours", 4, ATOMICFILE_NOREPLACE), 0);
	assert_int_equal(put_flags("second", 6, ATOMICFILE_NOREPLACE), -EEXIST);
	assert_string_equal(content(NAME), "ours");
	assert_false(exists(TEMP));
}

struct pieces {
	unsigned n;
	int answer;
};

static int
write_pieces(int fd, void *arg)
{
	const struct pieces *p = arg;

	for (unsigned i = 0; i < p->n; i++)
		if (fd_write_all(fd, "piece ", 6) < 0)
			return -errno;
	return p->answer;
}

static void
atomicfile_in_pieces_is_as_whole(void **state)
{
	struct pieces pieces = { .n = 3 };
	struct atomicfile f = { .name = NAME, .write = write_pieces, .arg = &pieces, .mode = 0644 };

	(void)state;
	assert_int_equal(put("old"), 0);
	assert_int_equal(atomicfile_put(dir, &f), 0);
	assert_string_equal(content(NAME), "piece piece piece ");
	pieces = (struct pieces) { .n = 2, .answer = -EIO };
	assert_int_equal(atomicfile_put(dir, &f), -EIO);
	assert_string_equal(content(NAME), "piece piece piece ");
	assert_false(exists(TEMP));
}

static void
atomicfile_bad_name_is_refused(void **state)
{
	char name[ATOMICFILE_NAME_MAX + 1];

	(void)state;
	memset(name, 'x', ATOMICFILE_NAME_MAX);
	name[ATOMICFILE_NAME_MAX] = '\0';
	assert_int_equal(atomicfile_put(dir, &(struct atomicfile) { .name = name, .data = "" }), -EINVAL);
	assert_int_equal(atomicfile_put(dir, &(struct atomicfile) { .name = "a/b", .data = "" }), -EINVAL);
	name[ATOMICFILE_NAME_MAX - 1] = '\0';
	assert_int_equal(atomicfile_put(dir, &(struct atomicfile) { .name = name, .data = "" }), 0);
}

/* F9 */
static void
atomicfile_any_umask_gives_the_exact_mode(void **state)
{
	static const mode_t masks[] = { 0, 077, 0777 };

	(void)state;
	for (size_t i = 0; i < countof(masks); i++) {
		mode_t before = umask(masks[i]);

		assert_int_equal(put("x"), 0);
		(void)umask(before);
		assert_int_equal(mode_of(NAME), 0644);
	}
}

/* --- calls that fail: D3, D4, F5 ------------------------------------------------------------- */

static int
put_with_fault(int left, int error, bool sticky, unsigned flags)
{
	memset(&plan, 0, sizeof(plan));
	plan.left = left;
	plan.error = error;
	plan.sticky = sticky;
	plan.on = true;
	int r = put_flags("the new text", 12, flags);
	plan.on = false;
	return r;
}

/* The first error is told, the old or the new is there, and the next attempt succeeds. */
static void
check_after_fault(int r, int error, bool is_durable, unsigned last)
{
	if (r == 0) { /* nobody asked for that call's result, or it was not reached */
		assert_string_equal(content(NAME), "the new text");
	} else {
		assert_int_equal(r, -error);
		/* The very last step may fail behind the rename. */
		bool is_new = strcmp(content(NAME), "the new text") == 0;
		assert_true(is_new ? is_durable && last : strcmp(content(NAME), "old") == 0);
	}
	assert_int_equal(put("old"), 0);
	assert_string_equal(content(NAME), "old");
	assert_false(exists(TEMP));
}

static void
atomicfile_any_call_fails_gives_old_or_new(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT, EROFS, ENOMEM };
	unsigned told = 0;

	(void)state;
	for (unsigned durable = 0; durable < 2; durable++) {
		unsigned flags = durable ? ATOMICFILE_DURABLE : 0;

		assert_int_equal(put("old"), 0);
		assert_int_equal(put_with_fault(1000, EIO, false, flags), 0);
		unsigned calls = plan.seen;
		assert_in_range(calls, 6, 9);
		assert_int_equal(put("old"), 0);
		for (size_t e = 0; e < countof(errors); e++) {
			for (unsigned i = 0; i < 2 * calls; i++) {
				int r = put_with_fault((int)(i / 2), errors[e], i % 2 != 0, flags);

				assert_true(plan.failed > 0);
				/* Every one of these calls matters: none may fail unnoticed. */
				told += r < 0;
				assert_true(r < 0);
				check_after_fault(r, errors[e], durable, i / 2 == calls - 1);
			}
		}
	}
	assert_true(told > 100);
}

static void
atomicfile_interrupted_writes_are_completed(void **state)
{
	static char big[BIG];

	(void)state;
	memset(big, 'b', sizeof(big));
	assert_int_equal(put("old"), 0);
	for (int i = 0; i < 8; i++) { /* call 1 is the first write: interrupted once */
		int r = put_with_fault(i, EINTR, false, 0);
		assert_true(r == 0 || r == -EINTR);
		if (i == 1)
			assert_int_equal(r, 0);
		check_after_fault(r, EINTR, false, false);
	}
	memset(&plan, 0, sizeof(plan));
	plan.sticky = plan.on = true; /* each write takes half */
	int r = put_flags(big, sizeof(big), 0);
	plan.on = false;
	assert_int_equal(r, 0);
	assert_true(plan.seen > 16);
	struct stat st;
	assert_int_equal(fstatat(dir, NAME, &st, 0), 0);
	assert_int_equal(st.st_size, BIG);
}

/* D2: a limit of the file size is a full disk when SIGXFSZ is ignored, as the daemon does. */
static void
atomicfile_beyond_the_file_size_limit_keeps_the_old(void **state)
{
	static char big[BIG];
	struct rlimit before, small;

	(void)state;
	assert_int_equal(put("old"), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 1024;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int r = put_flags(big, sizeof(big), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, handler);
	assert_int_equal(r, -EFBIG);
	assert_string_equal(content(NAME), "old");
	assert_false(exists(TEMP));
}

/* --- what others plant: F1, F2, F3 ----------------------------------------------------------- */

static void
atomicfile_links_planted_leave_the_canary_alone(void **state)
{
	(void)state;
	for (int hard = 0; hard < 2; hard++) {
		static const char *const names[] = { TEMP, NAME };

		for (size_t i = 0; i < countof(names); i++) {
			kit_write(base, "canary", "do not touch", 12, 0600);
			if (hard)
				assert_int_equal(linkat(dir, "canary", dir, names[i], 0), 0);
			else
				assert_int_equal(symlinkat("canary", dir, names[i]), 0);
			assert_int_equal(put("ours"), 0);
			assert_string_equal(content("canary"), "do not touch");
			assert_int_equal(mode_of("canary"), 0600);
			assert_string_equal(content(NAME), "ours");
			assert_int_equal(mode_of(NAME), 0644); /* a link would tell 0777 or 0600 */
			assert_false(exists(TEMP));
			assert_int_equal(unlinkat(dir, NAME, 0), 0);
		}
	}
}

static void
atomicfile_dangling_link_makes_nothing_elsewhere(void **state)
{
	(void)state;
	assert_int_equal(symlinkat("elsewhere", dir, TEMP), 0);
	assert_int_equal(symlinkat("elsewhere", dir, NAME), 0);
	assert_int_equal(put("ours"), 0);
	assert_false(exists("elsewhere"));
	assert_string_equal(content(NAME), "ours");
}

static void
atomicfile_directory_at_temp_fails_and_keeps_the_old(void **state)
{
	(void)state;
	assert_int_equal(put("old"), 0);
	assert_int_equal(mkdirat(dir, TEMP, 0700), 0);
	assert_true(put("new") < 0);
	assert_string_equal(content(NAME), "old");
	assert_true(atomicfile_clean(dir, NAME) < 0);
}

/* Exchange two directories as fast as it goes. */
static pid_t
start_swapper(const char *one, const char *other)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < kit_rounds(SWAPS); i++)
			if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) < 0)
				_exit(1);
		_exit(0);
	}
	return pid;
}

static void
atomicfile_directory_swapped_meanwhile_writes_to_the_first(void **state)
{
	int status, puts = 0;
	char text[32];

	(void)state;
	assert_int_equal(mkdirat(dir, "control", 0755), 0);
	assert_int_equal(mkdirat(dir, "evil", 0755), 0);
	int before = dir, control = openat(dir, "control", O_RDONLY | O_DIRECTORY),
	    evil = openat(dir, "evil", O_RDONLY | O_DIRECTORY);
	assert_true(control >= 0 && evil >= 0);
	pid_t pid = start_swapper("control", "evil");
	dir = control;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		(void)snprintf(text, sizeof(text), "round %d", puts++);
		assert_int_equal(put_flags(text, strlen(text), 0), 0);
	}
	assert_int_equal(status, 0);
	assert_string_equal(content(NAME), text);
	assert_true(puts > 10);
	/* An empty directory can be removed: nothing was ever left in the other one. */
	assert_int_equal(faccessat(evil, NAME, F_OK, 0), -1);
	assert_int_equal(faccessat(evil, TEMP, F_OK, 0), -1);
	dir = before;
	(void)close(control);
	(void)close(evil);
}

/* --- kill -9: F4 ----------------------------------------------------------------------------- */

static void
write_for_ever(void)
{
	static char big[BIG];

	for (int i = 0;; i++) {
		memset(big, 'a' + i % 26, sizeof(big));
		if (put_flags(big, sizeof(big), i % 4 == 0 ? ATOMICFILE_DURABLE : 0) < 0)
			_exit(1);
	}
}

/* One letter, BIG times. */
static bool
is_whole(const char *name)
{
	static char big[BIG + 1];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : fd_read_full(fd, big, sizeof(big));

	if (fd >= 0)
		(void)close(fd);
	return n == BIG && memcmp(big, big + 1, BIG - 1) == 0;
}

static void
atomicfile_killed_at_any_moment_leaves_old_or_new(void **state)
{
	static char big[BIG];
	struct dice d = dice_new();
	unsigned leftovers = 0;

	(void)state;
	memset(big, 'z', sizeof(big));
	assert_int_equal(put_flags(big, sizeof(big), 0), 0);
	for (int i = 0; i < kit_rounds(KILL_ROUNDS); i++) {
		const struct timespec nap = { .tv_nsec = dice_below(&d, 4000000) };
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			write_for_ever();
		(void)nanosleep(&nap, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_true(is_whole(NAME));
		leftovers += exists(TEMP);
		if (i % 2 == 0) /* else the next writer finds it */
			assert_int_equal(atomicfile_clean(dir, NAME), 0);
	}
	print_message("# %u left a temporary behind\n", leftovers);
	assert_int_equal(atomicfile_clean(dir, NAME), 0);
	assert_int_equal(atomicfile_clean(dir, NAME), 0);
	assert_false(exists(TEMP));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_base, remove_base)
	const struct CMUnitTest tests[] = {
		T(atomicfile_over_old_replaces_it_whole),
		T(atomicfile_noreplace_leaves_what_is_there),
		T(atomicfile_in_pieces_is_as_whole),
		T(atomicfile_bad_name_is_refused),
		T(atomicfile_any_umask_gives_the_exact_mode),
		T(atomicfile_any_call_fails_gives_old_or_new),
		T(atomicfile_interrupted_writes_are_completed),
		T(atomicfile_beyond_the_file_size_limit_keeps_the_old),
		T(atomicfile_links_planted_leave_the_canary_alone),
		T(atomicfile_dangling_link_makes_nothing_elsewhere),
		T(atomicfile_directory_at_temp_fails_and_keeps_the_old),
		T(atomicfile_directory_swapped_meanwhile_writes_to_the_first),
		T(atomicfile_killed_at_any_moment_leaves_old_or_new),
	};

	return cmocka_run_group_tests_name("atomicfile", tests, NULL, NULL);
}
