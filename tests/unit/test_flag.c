/* SPDX-License-Identifier: ISC */
/*
 * control/overloaded: whose is it, and what the action may do about it.
 *
 * The calls that lib/flag.c, lib/atomicfile.c and actions/flag.c make come to the functions of the same name here, so
 * that an operator can step in before each of them, each can fail, and the process can die there.
 */
#include "lib/flag.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "actions/action.h"
#include "tests/hostile.h"
#include "tests/unit/kit.h"

#define ASIDE "." FLAG_NAME ".aside"
#define TEMP "." FLAG_NAME ".new"
#define SINCE INT64_C(1795220246)
#define NOBODY 65534
#define ROUNDS 2000
#define CALLS_MAX 100 /* more than any apply() makes */

/* --- what happens at the n-th call ----------------------------------------------------------- */

static struct {
	int left; /* calls before it; negative: nothing happens */
	int left_again; /* calls before `deed` is done once more */
	void (*deed)(void);
	int error; /* and the call fails with it; 0: it doesn't */
	bool happened, happened_again;
} plan = { .left = -1, .left_again = -1 };

static bool
fails(void)
{
	if (plan.left_again >= 0 && plan.left_again-- == 0) {
		plan.happened_again = true;
		plan.deed();
	}
	if (plan.left < 0 || plan.left-- > 0)
		return false;
	plan.happened = true;
	if (plan.deed != NULL)
		plan.deed();
	errno = plan.error;
	return plan.error != 0;
}

#define TRY(call) (fails() ? -1 : (call))

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
read(int fd, void *buf, size_t n)
{
	return TRY((ssize_t)syscall(SYS_read, fd, buf, n));
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	return TRY((ssize_t)syscall(SYS_write, fd, buf, n));
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

/* Not synced: a test would take minutes.  That it is asked for shows in the number of calls. */
int
fsync(int fd)
{
	(void)fd;
	return TRY(0);
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

/* --- a home of our own ----------------------------------------------------------------------- */

static char home[KIT_PATH_MAX], control[KIT_PATH_MAX], flag_path[KIT_PATH_MAX], pin_path[KIT_PATH_MAX];
static int dir;
static void *action;

static int
make_home(void **state)
{
	struct err why;

	(void)state;
	kit_tree(home);
	kit_mkdir(home, "control");
	(void)kit_path(control, home, "control");
	(void)kit_path(flag_path, home, FLAG_PATH);
	(void)kit_path(pin_path, home, "pin");
	dir = open(control, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_int_equal(action_flag.init(home, &action, &why), 0);
	return 0;
}

static int
remove_home(void **state)
{
	(void)state;
	action_flag.free(action);
	(void)close(dir);
	kit_remove(home);
	return 0;
}

static void
clear(void)
{
	static const char *const names[] = { FLAG_NAME, ASIDE, TEMP };

	plan.left = plan.left_again = -1;
	for (size_t i = 0; i < countof(names); i++)
		if (unlinkat(dir, names[i], 0) < 0)
			(void)unlinkat(dir, names[i], AT_REMOVEDIR); /* absent is as good */
}

static void
set_time(const char *name, int64_t s, long ns)
{
	const struct timespec times[2] = { { .tv_sec = s, .tv_nsec = ns }, { .tv_sec = s, .tv_nsec = ns } };

	assert_int_equal(utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* A flag as we write it. */
static void
put_ours(const char *name, int64_t since)
{
	static const struct reason why = { .kind = REASON_ENTER, .id = READING_TODO, .value = 523, .limit = 100 };
	char line[FLAG_LINE_MAX];
	int n = flag_line(LEVEL_OVERLOADED, since, "e4k2mq7h2", &why, line);

	assert_in_range(n, 1, FLAG_LINE_MAX - 1);
	kit_write(control, name, line, (size_t)n, 0644);
	set_time(name, since, 0);
}

static void
put_text(const char *name, const char *text)
{
	kit_puts(control, name, text);
}

static int
look(void)
{
	int64_t since = 77;
	int owner = flag_look(dir, FLAG_NAME, &since);

	if (owner != FLAG_OURS)
		assert_true(since == 0);
	assert_int_equal(flag_look(dir, FLAG_NAME, NULL), owner);
	return owner;
}

static bool
is_there(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- whose is it? ---------------------------------------------------------------------------- */

static void
flag_absent_is_absent(void **state)
{
	(void)state;
	assert_int_equal(look(), FLAG_ABSENT);
}

static void
flag_of_ours_is_ours_and_tells_since_when(void **state)
{
	static const int64_t times[] = { 0, 1, SINCE, INT64_C(4102444800) };

	(void)state;
	for (size_t i = 0; i < countof(times); i++) {
		int64_t since = -1;

		put_ours(FLAG_NAME, times[i]);
		assert_int_equal(flag_look(dir, FLAG_NAME, &since), FLAG_OURS);
		assert_true(since == times[i]);
	}
	clear();
}

static void
flag_of_ours_that_was_touched_is_a_pin(void **state)
{
	(void)state;
	put_ours(FLAG_NAME, SINCE);
	set_time(FLAG_NAME, SINCE, 1);
	assert_int_equal(look(), FLAG_PIN);
	set_time(FLAG_NAME, SINCE + 1, 0);
	assert_int_equal(look(), FLAG_PIN);
	set_time(FLAG_NAME, SINCE - 1, 0);
	assert_int_equal(look(), FLAG_PIN);
	assert_int_equal(utimensat(dir, FLAG_NAME, NULL, 0), 0); /* touch control/overloaded */
	assert_int_equal(look(), FLAG_PIN);
	clear();
}

static void
flag_of_ours_that_was_edited_is_a_pin(void **state)
{
	(void)state;
	put_ours(FLAG_NAME, SINCE);
	int fd = open(flag_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "#\n", 2), 2);
	assert_int_equal(close(fd), 0);
	assert_int_equal(look(), FLAG_PIN);
	/* Another second in the text, and an editor that restores the time. */
	put_ours(FLAG_NAME, SINCE + 1);
	set_time(FLAG_NAME, SINCE, 0);
	assert_int_equal(look(), FLAG_PIN);
	clear();
}

static void
flag_with_any_other_text_is_a_pin(void **state)
{
	static const char *const texts[] = {
		"", "\n", " ", "maintenance until noon\n", "spillway", "spillway ", "spillway overloaded\n",
		"spillway overloaded since\n", "spillway overloaded since \n", "spillway overloaded since x\n",
		"spillway overloaded since 1795220246", "spillway overloaded since 1795220246\n",
		"spillway overloaded since 1795220246x\n", "spillway overloaded since -1795220246 \n",
		"spillway overloaded since  1795220246 \n", " spillway overloaded since 1795220246 \n",
		"Spillway overloaded since 1795220246 \n", "spillway overloaded since1795220246 \n",
		"\nspillway overloaded since 1795220246 \n", "spillway: overloaded since 1795220246 \n",
		"spillway overloaded since 0x6b00f096 \n", "spillway overloaded since 99999999999999999999 \n",
		"spillway aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa since 1795220246 \n",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		put_text(FLAG_NAME, texts[i]);
		set_time(FLAG_NAME, SINCE, 0);
		assert_int_equal(look(), FLAG_PIN);
	}
	clear();
}

static void
flag_with_a_hostile_text_is_a_pin(void **state)
{
	static char text[HOSTILE_MAX + 1];

	(void)state;
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		size_t n = hostile_text(i, text);

		kit_write(control, FLAG_NAME, text, n, 0644);
		assert_int_equal(look(), FLAG_PIN);
	}
	clear();
}

static void
flag_that_is_no_file_is_none_and_is_not_waited_for(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	(void)alarm(5);
	kit_mkdir(control, FLAG_NAME);
	assert_int_equal(look(), FLAG_ABSENT);
	clear();
	assert_int_equal(mkfifo(flag_path, 0644), 0);
	assert_int_equal(look(), FLAG_ABSENT);
	clear();
	assert_in_range(snprintf(at.sun_path, sizeof(at.sun_path), "%s", flag_path), 1, sizeof(at.sun_path) - 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(look(), FLAG_ABSENT);
	assert_int_equal(close(fd), 0);
	clear();
	(void)alarm(0);
}

static void
flag_that_is_a_link_to_a_file_is_a_pin_also_when_the_file_looks_like_ours(void **state)
{
	(void)state;
	put_ours("elsewhere", SINCE);
	assert_int_equal(symlinkat("elsewhere", dir, FLAG_NAME), 0);
	assert_int_equal(look(), FLAG_PIN);
	clear();
	assert_int_equal(unlinkat(dir, "elsewhere", 0), 0);
	assert_int_equal(symlinkat("nowhere", dir, FLAG_NAME), 0);
	assert_int_equal(look(), FLAG_ABSENT); /* [ -f ] is false */
	clear();
	assert_int_equal(symlinkat("/dev/zero", dir, FLAG_NAME), 0);
	assert_int_equal(look(), FLAG_ABSENT);
	clear();
	assert_int_equal(symlinkat(".", dir, FLAG_NAME), 0);
	assert_int_equal(look(), FLAG_ABSENT);
	clear();
	assert_int_equal(symlinkat(FLAG_NAME, dir, FLAG_NAME), 0); /* to itself */
	assert_int_equal(look(), -ELOOP);
	clear();
}

static void
flag_that_may_not_be_read_is_a_pin_and_one_that_may_not_be_searched_for_is_an_error(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	put_ours(FLAG_NAME, SINCE);
	assert_int_equal(chmod(flag_path, 0600), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	int closed_file = look();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(control, 0700), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	int closed_dir = flag_look(AT_FDCWD, flag_path, NULL);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(control, 0755), 0);
	assert_int_equal(closed_file, FLAG_PIN);
	assert_int_equal(closed_dir, -EACCES);
	clear();
}

static void
flag_line_fits_and_is_one_line_whatever_the_reason(void **state)
{
	char line[FLAG_LINE_MAX];

	(void)state;
	for (int kind = REASON_NONE; kind <= REASON_RESUMED; kind++)
		for (int id = 0; id < READING_COUNT; id++) {
			struct reason why = {
				.kind = (enum reason_kind)kind, .id = (enum reading_id)id, .value = -1.7e308,
				.limit = 1.7e308, .for_ms = INT64_MAX,
			};
			int n = flag_line(LEVEL_OVERLOADED, SINCE, "eeeeeeeeeeeeeee", &why, line);

			assert_in_range(n, 1, FLAG_LINE_MAX - 1);
			assert_int_equal(strlen(line), n);
			assert_ptr_equal(strchr(line, '\n'), line + n - 1);
		}
}

/* --- the action, alone ----------------------------------------------------------------------- */

static struct effect
wanted(bool closed, int64_t since)
{
	return (struct effect) {
		.closed = closed, .level = LEVEL_OVERLOADED, .since = since, .episode = "e4k2mq7h2",
		.why = { .kind = REASON_ENTER, .id = READING_TODO, .value = 523, .limit = 100, .for_ms = 2000 },
	};
}

static int
apply(bool closed, int64_t since)
{
	const struct effect want = wanted(closed, since);
	struct err why;

	return action_flag.apply(action, &want, &why);
}

/* As after a crash: the new one knows nothing. */
static void
restart(void)
{
	struct err why;

	action_flag.free(action);
	assert_int_equal(action_flag.init(home, &action, &why), 0);
}

static int
presence(void)
{
	struct err why;

	return action_flag.read(action, &why);
}

/* Nothing but the flag is left. */
static void
assert_tidy(void)
{
	assert_false(is_there(ASIDE));
	assert_false(is_there(TEMP));
}

static void
assert_ours_since(int64_t since)
{
	int64_t is = -1;

	assert_int_equal(flag_look(dir, FLAG_NAME, &is), FLAG_OURS);
	assert_true(is == since);
	assert_tidy();
}

static void
assert_absent(void)
{
	assert_false(is_there(FLAG_NAME));
	assert_tidy();
}

/* An operator's flag, with this text if it is not NULL. */
static void
assert_pin(const char *text)
{
	char got[256];

	assert_int_equal(look(), FLAG_PIN);
	assert_tidy();
	if (text == NULL)
		return;
	int fd = open(flag_path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, got, sizeof(got) - 1);
	assert_int_equal(close(fd), 0);
	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

static void
action_raises_its_flag_whatever_the_umask(void **state)
{
	struct stat st;
	mode_t old = umask(0777);

	(void)state;
	assert_int_equal(presence(), PRESENCE_NONE);
	assert_int_equal(apply(true, SINCE), 0);
	(void)umask(old);
	assert_ours_since(SINCE);
	assert_int_equal(presence(), PRESENCE_OURS);
	assert_int_equal(stat(flag_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	clear();
}

static void
action_leaves_a_flag_that_is_right_alone_and_renews_one_of_another_episode(void **state)
{
	struct stat before, after;

	(void)state;
	assert_int_equal(apply(true, SINCE), 0);
	assert_int_equal(stat(flag_path, &before), 0);
	assert_int_equal(apply(true, SINCE), 0);
	assert_int_equal(stat(flag_path, &after), 0);
	assert_true(before.st_ino == after.st_ino);
	assert_true(before.st_ctim.tv_sec == after.st_ctim.tv_sec && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
	assert_int_equal(apply(true, SINCE + 60), 0);
	assert_ours_since(SINCE + 60);
	clear();
}

static void
action_drops_its_flag_again_and_again(void **state)
{
	struct err why;

	(void)state;
	assert_int_equal(apply(true, SINCE), 0);
	assert_int_equal(apply(false, 0), 0);
	assert_absent();
	assert_int_equal(apply(false, 0), 0);
	assert_int_equal(apply(true, SINCE), 0);
	assert_int_equal(action_flag.neutral(action, &why), 0);
	assert_absent();
	assert_int_equal(action_flag.neutral(action, &why), 0);
	assert_absent();
}

static void
action_never_touches_a_pin(void **state)
{
	struct err why;

	(void)state;
	put_text(FLAG_NAME, "maintenance\n");
	assert_int_equal(presence(), PRESENCE_FOREIGN);
	assert_int_equal(apply(true, SINCE), 0);
	assert_pin("maintenance\n");
	assert_int_equal(apply(false, 0), 0);
	assert_pin("maintenance\n");
	assert_int_equal(action_flag.neutral(action, &why), 0);
	assert_pin("maintenance\n");
	put_text(FLAG_NAME, "");
	assert_int_equal(apply(false, 0), 0);
	assert_pin("");
	put_ours(FLAG_NAME, SINCE); /* ours, then touched */
	assert_int_equal(utimensat(dir, FLAG_NAME, NULL, 0), 0);
	assert_int_equal(apply(false, 0), 0);
	assert_pin(NULL);
	assert_int_equal(apply(true, SINCE), 0);
	assert_pin(NULL);
	clear();
	assert_int_equal(symlinkat("nowhere", dir, FLAG_NAME), 0);
	assert_int_equal(apply(true, SINCE), 0);
	assert_int_equal(apply(false, 0), 0);
	assert_true(is_there(FLAG_NAME));
	assert_false(is_there("nowhere"));
	clear();
}

static void
action_removes_half_a_flag_of_a_killed_one(void **state)
{
	(void)state;
	put_text(TEMP, "spillway overl");
	restart();
	assert_int_equal(apply(false, 0), 0);
	assert_absent();
	put_text(TEMP, "spillway overl");
	restart();
	assert_int_equal(apply(true, SINCE), 0);
	assert_ours_since(SINCE);
	clear();
}

static void
action_neutral_looks_for_leftovers_each_time(void **state)
{
	struct err why;

	(void)state;
	for (int i = 0; i < 2; i++) {
		put_ours(ASIDE, SINCE);
		put_text(TEMP, "spillway overl");
		assert_int_equal(action_flag.neutral(action, &why), 0);
		assert_absent();
	}
}

static void
action_settles_what_a_killed_one_left_aside(void **state)
{
	(void)state;
	put_ours(ASIDE, SINCE);
	restart();
	assert_int_equal(apply(false, 0), 0);
	assert_absent();
	put_text(ASIDE, "maintenance\n"); /* an operator's goes back */
	restart();
	assert_int_equal(apply(false, 0), 0);
	assert_pin("maintenance\n");
	put_text(ASIDE, "older\n"); /* unless a newer one stands there */
	restart();
	assert_int_equal(apply(true, SINCE), 0);
	assert_pin("maintenance\n");
	clear();
	put_ours(ASIDE, SINCE);
	put_ours(FLAG_NAME, SINCE);
	restart();
	assert_int_equal(apply(true, SINCE), 0);
	assert_ours_since(SINCE);
	clear();
}

static void
action_follows_no_link_that_is_planted_for_it(void **state)
{
	static const char *const names[] = { TEMP, ASIDE };

	(void)state;
	for (size_t i = 0; i < countof(names); i++) {
		put_text("canary", "tweet\n");
		assert_int_equal(symlinkat("canary", dir, names[i]), 0);
		restart();
		assert_int_equal(apply(true, SINCE), 0);
		assert_int_equal(apply(false, 0), 0);
		assert_false(is_there(TEMP));
		assert_int_equal(renameat2(dir, "canary", dir, FLAG_NAME, 0), 0); /* look at it as a flag */
		assert_pin("tweet\n");
		clear();
	}
}

static void
f6_action_refuses_a_directory_where_others_can_plant(void **state)
{
	struct err why;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(chmod(control, 0777), 0);
	assert_int_equal(action_flag.init(home, &ctx, &why), -EPERM);
	assert_non_null(strstr(why.text, "everybody"));
	assert_int_equal(chmod(control, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(control, NOBODY, NOBODY), 0);
		assert_int_equal(action_flag.init(home, &ctx, &why), -EPERM);
		assert_non_null(strstr(why.text, "65534"));
		assert_int_equal(chown(control, 0, 0), 0);
	}
	assert_int_equal(action_flag.init("/nonexistent", &ctx, &why), -ENOENT);
	assert_null(ctx);
}

/* --- the action, and an operator who steps in at every moment --------------------------------- */

static void
op_touch(void) /* touch control/overloaded */
{
	int fd = (int)syscall(SYS_openat, dir, FLAG_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	(void)syscall(SYS_utimensat, fd, NULL, NULL, 0); /* the next line would tell */
	assert_int_equal(close(fd), 0);
}

static void
op_write(void) /* echo maintenance >control/overloaded */
{
	int fd = (int)syscall(SYS_openat, dir, FLAG_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(syscall(SYS_write, fd, "maintenance\n", 12), 12);
	assert_int_equal(close(fd), 0);
}

static void
op_move(void) /* mv pin control/overloaded */
{
	int fd = open(pin_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(syscall(SYS_write, fd, "maintenance\n", 12), 12);
	assert_int_equal(close(fd), 0);
	assert_int_equal(rename(pin_path, flag_path), 0);
}

static void
op_remove(void) /* rm -f control/overloaded */
{
	(void)unlink(flag_path); /* it may be absent */
}

/* What stands there before: none, ours as wanted, ours of another episode, an operator's. */
static void
put_before(int kind)
{
	clear();
	if (kind == 1)
		put_ours(FLAG_NAME, SINCE);
	else if (kind == 2)
		put_ours(FLAG_NAME, SINCE - 60);
	else if (kind == 3)
		put_text(FLAG_NAME, "older\n");
}

static void
action_loses_no_pin_whenever_an_operator_steps_in(void **state)
{
	static void (*const ops[])(void) = { op_touch, op_write, op_move };
	int met = 0;

	(void)state;
	for (size_t op = 0; op < countof(ops); op++)
		for (int before = 0; before < 4; before++)
			for (int closed = 0; closed < 2; closed++)
				for (int call = 0; call < CALLS_MAX; call++) {
					put_before(before);
					plan.deed = ops[op];
					plan.left = call;
					plan.happened = false;
					assert_int_equal(apply(closed != 0, SINCE), 0);
					plan.left = -1;
					if (!plan.happened)
						break;
					met++;
					assert_pin(ops[op] == op_touch ? NULL : "maintenance\n");
				}
	assert_in_range(met, 100, 100000);
	clear();
}

static void
action_loses_no_pin_when_an_operator_steps_in_twice(void **state)
{
	int met = 0;

	(void)state;
	for (int before = 0; before < 4; before++)
		for (int closed = 0; closed < 2; closed++)
			for (int first = 0; first < 20; first++)
				for (int second = first + 1; second < 21; second++) {
					put_before(before);
					plan.deed = op_move;
					plan.left = first;
					plan.left_again = second;
					plan.happened = false;
					assert_int_equal(apply(closed != 0, SINCE), 0);
					plan.left = plan.left_again = -1;
					if (!plan.happened)
						continue;
					met++;
					assert_pin("maintenance\n");
				}
	assert_in_range(met, 100, 100000);
	clear();
}

static void
action_bears_that_an_operator_removes_the_flag_at_any_moment(void **state)
{
	(void)state;
	for (int before = 0; before < 4; before++)
		for (int closed = 0; closed < 2; closed++)
			for (int call = 0; call < CALLS_MAX; call++) {
				put_before(before);
				plan.deed = op_remove;
				plan.left = call;
				plan.happened = false;
				(void)apply(closed != 0, SINCE); /* what counts is that the next one mends it */
				plan.left = -1;
				if (!plan.happened)
					break;
				assert_int_equal(apply(closed != 0, SINCE), 0);
				if (closed == 0 && before != 3)
					assert_absent();
				assert_tidy();
			}
	clear();
}

/* --- the action, and calls that fail, and kill -9 --------------------------------------------- */

static void
die(void)
{
	(void)kill(getpid(), SIGKILL);
}

/* Whatever was left, the next apply() brings about what is wanted and keeps what is an operator's. */
static void
assert_mended(int before, bool closed)
{
	assert_int_equal(apply(closed, SINCE), 0);
	if (before == 3)
		assert_pin("older\n");
	else if (closed)
		assert_ours_since(SINCE);
	else
		assert_absent();
}

static void
d3_action_keeps_the_old_or_the_new_when_any_call_fails(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EACCES };
	int met = 0;

	(void)state;
	for (size_t e = 0; e < countof(errors); e++)
		for (int before = 0; before < 4; before++)
			for (int closed = 0; closed < 2; closed++)
				for (int call = 0; call < CALLS_MAX; call++) {
					put_before(before);
					plan.deed = NULL;
					plan.error = errors[e];
					plan.left = call;
					plan.happened = false;
					int r = apply(closed != 0, SINCE);
					plan.left = -1;
					plan.error = 0;
					if (!plan.happened)
						break;
					met++;
					/* A flag that nobody could read in part or at all would look like an operator's. */
					if (before != 3 && r < 0 && is_there(FLAG_NAME))
						assert_int_equal(look(), FLAG_OURS);
					assert_mended(before, closed != 0);
				}
	assert_in_range(met, 100, 100000);
	clear();
}

static void
f4_action_is_mended_after_a_kill_at_any_call(void **state)
{
	int met = 0;

	(void)state;
	for (int before = 0; before < 4; before++)
		for (int closed = 0; closed < 2; closed++)
			for (int call = 0; call < CALLS_MAX; call++) {
				int status;

				put_before(before);
				pid_t pid = fork();
				assert_true(pid >= 0);
				if (pid == 0) {
					plan.deed = die;
					plan.left = call;
					(void)apply(closed != 0, SINCE);
					_exit(0);
				}
				assert_true(waitpid(pid, &status, 0) == pid);
				if (before != 3 && is_there(FLAG_NAME))
					assert_int_equal(look(), FLAG_OURS);
				restart();
				assert_mended(before, closed != 0);
				if (!WIFSIGNALED(status))
					break;
				met++;
			}
	assert_in_range(met, 30, 10000);
	clear();
}

/* --- the action, and an operator in another process ------------------------------------------ */

struct race {
	_Atomic int round; /* the operator acts in this one; -1: he goes home */
	_Atomic int done; /* he has acted in this one */
};

static void
pause_a_little(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

/* The operator: in each round a pin with its number, at a moment of his own. */
static _Noreturn void
be_operator(struct race *r, uint64_t seed)
{
	struct dice d = { seed };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not wait for us */
	for (int round = 1;; round++) {
		char text[32];
		int at;

		int fd = open(pin_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		int n = snprintf(text, sizeof(text), "pin %d\n", round);
		if (fd < 0 || syscall(SYS_write, fd, text, n) != n || close(fd) < 0)
			_exit(1);
		while ((at = atomic_load(&r->round)) < round)
			if (at < 0)
				_exit(0);
			else
				(void)sched_yield();
		pause_a_little(dice_below(&d, 40000));
		if (rename(pin_path, flag_path) < 0)
			_exit(1);
		atomic_store(&r->done, round);
	}
}

static void
action_loses_no_pin_in_a_race_with_another_process(void **state)
{
	struct dice d = dice_new();
	struct race *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(r != MAP_FAILED);
	uint64_t seed = dice_u64(&d);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		be_operator(r, seed);
	for (int round = 1; round <= kit_rounds(ROUNDS); round++) {
		char want[32];

		put_before(round % 3); /* none, ours, ours of another episode */
		atomic_store(&r->round, round);
		pause_a_little(dice_below(&d, 10000));
		assert_int_equal(apply(round % 2 == 0, SINCE), 0);
		assert_int_equal(apply(round % 4 < 2, SINCE + 1), 0);
		while (atomic_load(&r->done) < round)
			(void)sched_yield();
		(void)snprintf(want, sizeof(want), "pin %d\n", round);
		assert_pin(want);
	}
	atomic_store(&r->round, -1);
	assert_true(waitpid(pid, NULL, 0) == pid);
	assert_int_equal(munmap(r, sizeof(*r)), 0);
	clear();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flag_absent_is_absent),
		cmocka_unit_test(flag_of_ours_is_ours_and_tells_since_when),
		cmocka_unit_test(flag_of_ours_that_was_touched_is_a_pin),
		cmocka_unit_test(flag_of_ours_that_was_edited_is_a_pin),
		cmocka_unit_test(flag_with_any_other_text_is_a_pin),
		cmocka_unit_test(flag_with_a_hostile_text_is_a_pin),
		cmocka_unit_test(flag_that_is_no_file_is_none_and_is_not_waited_for),
		cmocka_unit_test(flag_that_is_a_link_to_a_file_is_a_pin_also_when_the_file_looks_like_ours),
		cmocka_unit_test(flag_that_may_not_be_read_is_a_pin_and_one_that_may_not_be_searched_for_is_an_error),
		cmocka_unit_test(flag_line_fits_and_is_one_line_whatever_the_reason),
		cmocka_unit_test(action_raises_its_flag_whatever_the_umask),
		cmocka_unit_test(action_leaves_a_flag_that_is_right_alone_and_renews_one_of_another_episode),
		cmocka_unit_test(action_drops_its_flag_again_and_again),
		cmocka_unit_test(action_never_touches_a_pin),
		cmocka_unit_test(action_removes_half_a_flag_of_a_killed_one),
		cmocka_unit_test(action_neutral_looks_for_leftovers_each_time),
		cmocka_unit_test(action_settles_what_a_killed_one_left_aside),
		cmocka_unit_test(action_follows_no_link_that_is_planted_for_it),
		cmocka_unit_test(f6_action_refuses_a_directory_where_others_can_plant),
		cmocka_unit_test(action_loses_no_pin_whenever_an_operator_steps_in),
		cmocka_unit_test(action_loses_no_pin_when_an_operator_steps_in_twice),
		cmocka_unit_test(action_bears_that_an_operator_removes_the_flag_at_any_moment),
		cmocka_unit_test(d3_action_keeps_the_old_or_the_new_when_any_call_fails),
		cmocka_unit_test(f4_action_is_mended_after_a_kill_at_any_call),
		cmocka_unit_test(action_loses_no_pin_in_a_race_with_another_process),
	};

	return cmocka_run_group_tests(tests, make_home, remove_home);
}
