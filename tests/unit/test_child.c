/* SPDX-License-Identifier: ISC */
#include "lib/child.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/kit.h"
#include "tests/unit/pidfd.h"

#define PATIENCE_MS 20000

static char out[4096], err[4096];

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static size_t
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

/* All that was opened since is closed.  The thread that stands for a pidfd under valgrind may take a moment. */
static void
check_open_fds(size_t want)
{
	for (int i = 0; i < 1000 && open_fds() != want; i++)
		(void)usleep(1000);
	assert_int_equal(open_fds(), want);
}

/* Start `sh -c SCRIPT`, with buffers of `cap` bytes. */
static struct child
start(const char *script, size_t cap, int in)
{
	char shell[] = "/bin/sh", c[] = "-c", path[] = "PATH=/usr/bin:/bin", text[1024];
	struct child child;

	kit_format(text, sizeof(text), "%s", script);
	memset(out, 0x55, sizeof(out));
	memset(err, 0x55, sizeof(err));
	const struct child_spec spec = {
		.argv = (char *[]) { shell, c, text, NULL }, .envp = (char *[]) { path, NULL }, .in = in,
		.out = out, .out_cap = cap, .err = err, .err_cap = cap,
	};
	assert_int_equal(child_start(&spec, &child), 0);
	assert_true(child.pid > 0);
	return child;
}

/* Follow it as a loop would; returns its result. */
static int
finish(struct child *c, unsigned *ret_turns)
{
	int64_t until = now_ms() + PATIENCE_MS;
	int r;

	*ret_turns = 0;
	while ((r = child_pump(c)) == -EAGAIN) {
		struct pollfd p = { .fd = c->poll, .events = POLLIN };

		assert_true(now_ms() < until);
		(void)poll(&p, 1, 1000);
		++*ret_turns;
	}
	assert_int_equal(c->pid, 0);
	return r;
}

static void
check_run(const char *script, int want, const char *want_out, const char *want_err)
{
	struct child c = start(script, sizeof(out), -1);
	unsigned turns;

	assert_int_equal(finish(&c, &turns), want);
	assert_int_equal(c.out.len, strlen(want_out));
	assert_memory_equal(out, want_out, c.out.len);
	assert_int_equal(c.err.len, strlen(want_err));
	assert_memory_equal(err, want_err, c.err.len);
	assert_false(c.out.overflow || c.err.overflow);
}

/* --- how it ends ----------------------------------------------------------------------------- */

static void
child_output_and_exit_code_come_back(void **state)
{
	(void)state;
	check_run("echo hello; echo oops >&2; exit 3", 3, "hello\n", "oops\n");
	check_run(":", 0, "", "");
	check_run("exit 1", 1, "", "");
	check_run("exit 111", 111, "", "");
	check_run("exit 255", 255, "", "");
	check_run("printf 'no line end'", 0, "no line end", "");
	check_run("exec nothing-of-that-name 2>/dev/null", 127, "", "");
}

static void
child_that_dies_by_a_signal_says_which(void **state)
{
	(void)state;
	check_run("echo before; kill -9 $$", 256 + SIGKILL, "before\n", "");
	check_run("kill -TERM $$", 256 + SIGTERM, "", "");
	check_run("kill -SEGV $$", 256 + SIGSEGV, "", "");
}

static void
child_that_cannot_be_run_is_an_error_and_changes_nothing(void **state)
{
	char path[KIT_PATH_MAX], dir[KIT_PATH_MAX];
	struct child c = { .pid = 4711, .pidfd = 47 };
	struct child_spec spec = {
		.argv = (char *[]) { path, NULL }, .envp = (char *[]) { NULL }, .in = -1,
		.out = out, .out_cap = sizeof(out), .err = err, .err_cap = sizeof(err),
	};
	size_t fds = open_fds();

	(void)state;
	if (kit_is_slow()) /* valgrind runs vfork() as fork(): the error does not come back */
		skip();
	kit_tree(dir);
	(void)kit_path(path, dir, "missing");
	assert_int_equal(child_start(&spec, &c), -ENOENT);
	kit_write(dir, "plain", "", 0, 0644);
	(void)kit_path(path, dir, "plain");
	assert_int_equal(child_start(&spec, &c), -EACCES);
	kit_puts(dir, "empty", "");
	kit_mkdir(dir, "directory");
	(void)kit_path(path, dir, "directory");
	assert_int_equal(child_start(&spec, &c), -EACCES);
	kit_write(dir, "odd", "#!/nowhere/interpreter\n", 23, 0755);
	(void)kit_path(path, dir, "odd");
	assert_int_equal(child_start(&spec, &c), -ENOENT);
	assert_int_equal(c.pid, 4711);
	assert_int_equal(c.pidfd, 47);
	check_open_fds(fds);
	kit_remove(dir);
}

/* With each descriptor less it fails at another step, cleans up, and does not leave a process behind. */
static void
child_without_descriptors_fails_and_leaks_nothing(void **state)
{
	char path[] = "/bin/sh", c[] = "-c", text[] = "sleep 1000";
	const struct child_spec spec = {
		.argv = (char *[]) { path, c, text, NULL }, .envp = (char *[]) { NULL }, .in = -1,
		.out = out, .out_cap = sizeof(out), .err = err, .err_cap = sizeof(err),
	};
	size_t fds = open_fds();
	struct child child;
	int n, r = -1;

	(void)state;
	if (kit_is_slow())
		skip();
	for (n = 0; r < 0 && n < 20; n++) {
		kit_limit_fds(n);
		r = child_start(&spec, &child);
		kit_limit_fds(-1);
		if (r == 0)
			break;
		assert_int_equal(r, -EMFILE);
		check_open_fds(fds);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	}
	assert_int_equal(n, 4); /* two pipes; pidfd and epoll take the places of the ends that were closed */
	child_abandon(&child);
	check_open_fds(fds);
	/* it runs already when that fails */
	pidfd_error = ENOSYS;
	assert_int_equal(child_start(&spec, &child), -ENOSYS);
	pidfd_error = 0;
	check_open_fds(fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void
child_reaped_by_somebody_else_has_ended_nevertheless(void **state)
{
	struct child c = start("exit 5", sizeof(out), -1);
	unsigned turns;

	(void)state;
	assert_int_equal(waitpid(c.pid, NULL, 0), c.pid);
	assert_int_equal(finish(&c, &turns), 256);
}

/* --- what it is given ------------------------------------------------------------------------ */

static void
child_has_no_descriptor_but_the_three(void **state)
{
	int extra = open("/dev/null", O_RDONLY), high = fcntl(extra, F_DUPFD, 300);

	(void)state;
	assert_true(extra >= 0 && high >= 300); /* without close-on-exec */
	check_run("cd /proc/self/fd && for f in *; do case $f in 0|1|2|3|10) ;; *) echo $f; esac; done;"
		" [ ! -e /proc/$$/fd/300 ] && readlink /proc/$$/fd/0", 0, "/dev/null\n", "");
	(void)close(extra);
	(void)close(high);
}

static void
child_reads_what_it_is_given_as_stdin(void **state)
{
	struct child c;
	unsigned turns;
	int fd[2];

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(write(fd[1], "from the caller\n", 16), 16);
	(void)close(fd[1]);
	c = start("cat", sizeof(out), fd[0]);
	assert_int_equal(finish(&c, &turns), 0);
	assert_int_equal(c.out.len, 16);
	assert_memory_equal(out, "from the caller\n", 16);
	assert_int_equal(fcntl(fd[0], F_GETFD), FD_CLOEXEC); /* stays the caller's */
	(void)close(fd[0]);
	check_run("cat", 0, "", ""); /* /dev/null ends at once */
}

static void
child_has_the_given_environment_only(void **state)
{
	(void)state;
	assert_int_equal(setenv("SECRET", "x", 1), 0);
	check_run("tr '\\0' '\\n' < /proc/$$/environ", 0, "PATH=/usr/bin:/bin\n", "");
}

static void
child_has_default_signals_though_we_ignore_and_block_some(void **state)
{
	sigset_t all;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	/* glibc has the signals 32 and 33 for itself */
	check_run("grep -E '^Sig(Blk|Ign)' /proc/self/status | sed 's/000000018/000000000/'", 0,
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", "");
	(void)sigemptyset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}

static void
child_is_the_leader_of_a_group_of_its_own(void **state)
{
	struct child c = start("exec sleep 1000", sizeof(out), -1);
	unsigned turns;

	(void)state;
	assert_int_equal(getpgid(c.pid), c.pid);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 256 + SIGKILL);
}

/* --- output ---------------------------------------------------------------------------------- */

static void
child_output_that_just_fits_is_whole(void **state)
{
	struct child c = start("printf 0123456789", 10, -1);
	unsigned turns;

	(void)state;
	assert_int_equal(finish(&c, &turns), 0);
	assert_int_equal(c.out.len, 10);
	assert_false(c.out.overflow);
	assert_memory_equal(out, "0123456789\x55", 11);
}

static void
child_output_that_does_not_fit_is_cut_and_told(void **state)
{
	struct child c = start("printf 0123456789X; printf 0123456789Y >&2; exit 4", 10, -1);
	unsigned turns;

	(void)state;
	assert_int_equal(finish(&c, &turns), 4);
	assert_int_equal(c.out.len, 10);
	assert_true(c.out.overflow);
	assert_memory_equal(out, "0123456789\x55", 11);
	assert_int_equal(c.err.len, 10);
	assert_true(c.err.overflow);
	assert_memory_equal(err, "0123456789\x55", 11);
}

static void
child_output_of_a_gigabyte_is_read_and_dropped(void **state)
{
	struct child c = start(kit_is_slow() ? "head -c 8M /dev/zero" : "head -c 1G /dev/zero; head -c 1M /dev/zero >&2",
		sizeof(out), -1);
	unsigned turns;

	(void)state;
	assert_int_equal(finish(&c, &turns), 0);
	assert_int_equal(c.out.len, sizeof(out));
	assert_true(c.out.overflow);
	assert_true(turns > 1000); /* in bites: the loop has its turns in between */
}

static void
child_that_prints_for_ever_can_be_killed(void **state)
{
	struct child c = start("exec yes", sizeof(out), -1);
	unsigned turns;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(child_pump(&c), -EAGAIN);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 256 + SIGKILL);
}

static void
child_that_closes_its_output_and_goes_on_does_not_wake_the_loop(void **state)
{
	struct child c = start("exec >/dev/null 2>&1; exec sleep 1000", sizeof(out), -1);
	struct pollfd p = { .fd = c.poll, .events = POLLIN };
	int64_t begin = now_ms();
	unsigned turns;

	(void)state;
	while (c.out.fd >= 0 || c.err.fd >= 0) {
		assert_true(now_ms() < begin + PATIENCE_MS);
		(void)poll(&p, 1, 1000);
		assert_int_equal(child_pump(&c), -EAGAIN);
	}
	assert_int_equal(poll(&p, 1, 50), 0);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 256 + SIGKILL);
}

/* --- who does not end ------------------------------------------------------------------------ */

static void
child_that_hangs_is_killed_with_its_family(void **state)
{
	struct child c = start("sleep 1000 & sleep 1000; exit 1", sizeof(out), -1);
	int64_t begin = now_ms();
	unsigned turns;
	pid_t group = c.pid;

	(void)state;
	assert_int_equal(child_pump(&c), -EAGAIN);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 256 + SIGKILL);
	assert_true(now_ms() - begin < 5000);
	/* the group is empty as soon as init has seen to the orphan */
	while (kill(-group, 0) == 0 && now_ms() - begin < PATIENCE_MS)
		(void)usleep(1000);
	assert_int_equal(kill(-group, 0), -1);
}

/* It has ended, somebody it left behind holds its pipes: that is waited for, without spinning. */
static void
child_whose_grandchild_holds_the_pipe_is_not_over(void **state)
{
	struct child c = start("sleep 1000 & echo done; exit 3", sizeof(out), -1);
	struct pollfd p = { .fd = c.poll, .events = POLLIN };
	int64_t begin = now_ms();
	unsigned wakes = 0, turns;

	(void)state;
	while (now_ms() - begin < 300) {
		wakes += poll(&p, 1, 20) == 1;
		assert_int_equal(child_pump(&c), -EAGAIN);
	}
	assert_in_range(wakes, 1, 5);
	assert_memory_equal(out, "done\n", 5);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 3); /* its own word counts */
}

static void
child_whose_grandchild_has_fled_the_group_is_given_up(void **state)
{
	struct child c = start("setsid sleep 3 & echo done; exit 3", sizeof(out), -1);
	int64_t begin = now_ms();
	unsigned turns;

	(void)state;
	while (now_ms() - begin < 200) {
		assert_int_equal(child_pump(&c), -EAGAIN);
		(void)usleep(1000);
	}
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 3);
	assert_true(now_ms() - begin < 2500);
}

static void
child_kill_after_the_end_is_harmless(void **state)
{
	struct child c = start("exit 0", sizeof(out), -1), none = { .pidfd = -1, .poll = -1,
		.out.fd = -1, .err.fd = -1 };
	unsigned turns;

	(void)state;
	assert_int_equal(finish(&c, &turns), 0);
	child_kill(&c);
	child_abandon(&c);
	child_kill(&none);
	child_abandon(&none);
	/* ended, but nobody has asked yet */
	c = start("exit 6", sizeof(out), -1);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT), 0);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 6);
}

static void
child_abandon_leaves_no_zombie_and_no_descriptor(void **state)
{
	static const char *const scripts[] = {
		"exec sleep 1000", "exit 0", "exec yes", "kill -STOP $$", "sleep 1000 & exit 0",
			"exec >&- 2>&-; sleep 1000",
	};
	size_t fds = open_fds();

	(void)state;
	if (kit_is_slow()) /* in 50 ms little gets done there */
		skip();
	for (size_t i = 0; i < countof(scripts); i++) {
		struct child c = start(scripts[i], sizeof(out), -1);
		int64_t begin = now_ms();

		(void)child_pump(&c);
		child_abandon(&c);
		assert_true(now_ms() - begin < 1000);
		assert_int_equal(c.pid, 0);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
	}
	check_open_fds(fds);
}

static void
child_many_runs_leak_nothing(void **state)
{
	size_t fds = open_fds();

	(void)state;
	for (int i = 0; i < kit_rounds(200); i++)
		check_run("echo x; exit 2", 2, "x\n", "");
	check_open_fds(fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* --- work before the program ----------------------------------------------------------------- */

struct work {
	int answer; /* CHILD_GO_ON or an exit code */
	int keep; /* open for the program too; -1: nothing */
};

static int
do_work(void *arg)
{
	const struct work *w = arg;

	if (write(STDOUT_FILENO, "worked\n", 7) != 7 || (w->keep >= 0 && fcntl(w->keep, F_SETFD, 0) < 0))
		return 99;
	return w->answer;
}

static struct child
start_work(const char *program, const char *script, struct work *w)
{
	char path[64], c[] = "-c", text[1024], env[] = "PATH=/usr/bin:/bin";
	struct child child;

	kit_format(path, sizeof(path), "%s", program);
	kit_format(text, sizeof(text), "%s", script);
	const struct child_spec spec = {
		.argv = (char *[]) { path, c, text, NULL }, .envp = (char *[]) { env, NULL }, .in = -1, .out = out,
		.out_cap = sizeof(out), .err = err, .err_cap = sizeof(err), .prepare = do_work, .arg = w,
	};
	assert_int_equal(child_start(&spec, &child), 0);
	return child;
}

static void
check_work(const char *program, const char *script, struct work w, int want, const char *want_out, const char *want_err)
{
	size_t fds = open_fds();
	struct child c = start_work(program, script, &w);
	unsigned turns;

	assert_int_equal(finish(&c, &turns), want);
	out[c.out.len] = err[c.err.len] = '\0';
	assert_string_equal(out, want_out);
	assert_string_equal(err, want_err);
	check_open_fds(fds);
}

static void
child_works_first_and_then_becomes_the_program_or_not(void **state)
{
	(void)state;
	check_work("/bin/sh", "echo ran; echo oops >&2; exit 3", (struct work) { CHILD_GO_ON, -1 }, 3, "worked\nran\n", "oops\n");
	check_work("/bin/sh", "echo ran", (struct work) { 0, -1 }, 0, "worked\n", "");
	check_work("/bin/sh", "echo ran", (struct work) { 111, -1 }, 111, "worked\n", "");
	check_work("/nowhere/sh", "", (struct work) { CHILD_GO_ON, -1 }, 127, "worked\n",
		"cannot run /nowhere/sh: No such file or directory\n");
}

static void
child_that_works_first_has_the_same_surroundings(void **state)
{
	int extra = open("/dev/null", O_RDONLY), kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char want[64];
	sigset_t all, before;

	(void)state;
	assert_true(extra >= 0 && kept >= 0); /* without close-on-exec, and with it */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	kit_format(want, sizeof(want), "worked\n%d\n/dev/null\n", kept);
	check_work("/bin/sh", "cd /proc/self/fd && for f in *; do case $f in 0|1|2|10) ;; *) [ -e /proc/$$/fd/$f ] && echo $f; esac;"
		" done; readlink /proc/$$/fd/0", (struct work) { CHILD_GO_ON, kept }, 0, want, "");
	if (!kit_is_slow()) /* valgrind ignores some of its own */
		check_work("/bin/sh", "grep -E '^Sig(Blk|Ign)' /proc/self/status | sed 's/000000018/000000000/'",
			(struct work) { CHILD_GO_ON, -1 }, 0, "worked\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", "");
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	struct child c = start_work("/bin/sh", "exec sleep 1000", &(struct work) { CHILD_GO_ON, -1 });
	unsigned turns;
	while (getpgid(c.pid) != c.pid)
		(void)usleep(1000);
	child_kill(&c);
	assert_int_equal(finish(&c, &turns), 256 + SIGKILL);
	(void)close(extra);
	(void)close(kept);
}

static void
child_forgotten_in_a_fork_goes_on_for_its_parent(void **state)
{
	struct child c = start("sleep 0.2; exit 5", sizeof(out), -1);
	size_t fds = open_fds();
	unsigned turns;
	int code;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		fds -= kit_is_slow() ? 0 : 4; /* valgrind has no pidfd: see pidfd.h */
		child_forget(&c);
		_exit(c.pid == 0 && open_fds() <= fds ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &code, 0), pid);
	assert_int_equal(code, 0);
	assert_int_equal(finish(&c, &turns), 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(child_output_and_exit_code_come_back),
		cmocka_unit_test(child_that_dies_by_a_signal_says_which),
		cmocka_unit_test(child_that_cannot_be_run_is_an_error_and_changes_nothing),
		cmocka_unit_test(child_without_descriptors_fails_and_leaks_nothing),
		cmocka_unit_test(child_reaped_by_somebody_else_has_ended_nevertheless),
		cmocka_unit_test(child_has_no_descriptor_but_the_three),
		cmocka_unit_test(child_reads_what_it_is_given_as_stdin),
		cmocka_unit_test(child_has_the_given_environment_only),
		cmocka_unit_test(child_has_default_signals_though_we_ignore_and_block_some),
		cmocka_unit_test(child_is_the_leader_of_a_group_of_its_own),
		cmocka_unit_test(child_output_that_just_fits_is_whole),
		cmocka_unit_test(child_output_that_does_not_fit_is_cut_and_told),
		cmocka_unit_test(child_output_of_a_gigabyte_is_read_and_dropped),
		cmocka_unit_test(child_that_prints_for_ever_can_be_killed),
		cmocka_unit_test(child_that_closes_its_output_and_goes_on_does_not_wake_the_loop),
		cmocka_unit_test(child_that_hangs_is_killed_with_its_family),
		cmocka_unit_test(child_whose_grandchild_holds_the_pipe_is_not_over),
		cmocka_unit_test(child_whose_grandchild_has_fled_the_group_is_given_up),
		cmocka_unit_test(child_kill_after_the_end_is_harmless),
		cmocka_unit_test(child_abandon_leaves_no_zombie_and_no_descriptor),
		cmocka_unit_test(child_many_runs_leak_nothing),
		cmocka_unit_test(child_works_first_and_then_becomes_the_program_or_not),
		cmocka_unit_test(child_that_works_first_has_the_same_surroundings),
		cmocka_unit_test(child_forgotten_in_a_fork_goes_on_for_its_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
