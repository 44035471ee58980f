/* SPDX-License-Identifier: ISC */
/*
 * Connections held, counted by processes that really start and end: sessions with a plugin each, as a server would have them.
 * Rows of the failure list: F11, O4, R12.
 */
#include "controller/held.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <time.h>

#define pidfd_open real_pidfd_open
int real_pidfd_open(pid_t pid, unsigned flags);
#include "tests/unit/pidfd.h"
#undef pidfd_open

#define PATIENCE_MS 5000
#define FAKE 100000000 /* process ids from here on are nobody's: for tests that need thousands */

static struct event_base *base;
static struct held *held;
static struct config_concurrency limits;
static bool proc_is_hidden;
static int fake_alive[2]; /* a pipe: nothing to read while they "live" */

/* In the place of libc's. */
int
pidfd_open(pid_t pid, unsigned flags)
{
	return pid >= FAKE ? fcntl(fake_alive[0], F_DUPFD_CLOEXEC, 3) : real_pidfd_open(pid, flags);
}

int
open(const char *path, int flags, ...)
{
	if (proc_is_hidden && strncmp(path, "/proc/", 6) == 0) {
		errno = EACCES;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

/* --- sessions -------------------------------------------------------------------------------- */

struct session {
	pid_t smtpd, plugin;
};

#define SESSIONS_MAX 64
static struct session started[SESSIONS_MAX];
static unsigned n_started;

/* A process that stands for qmail-smtpd, and its child that asks. */
static struct session
start(void)
{
	struct session s = { 0 };
	int line[2];

	assert_true(n_started < SESSIONS_MAX);
	assert_int_equal(pipe2(line, O_CLOEXEC), 0);
	(void)fflush(stdout);
	s.smtpd = fork();
	assert_true(s.smtpd >= 0);
	if (s.smtpd == 0) {
		pid_t plugin = fork();

		if (plugin != 0)
			(void)!write(line[1], &plugin, sizeof(plugin));
		for (int fd = 3; fd < 256; fd++)
			(void)close(fd); /* pipes that stand for pidfds, see pidfd.h */
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(line[0], &s.plugin, sizeof(s.plugin)), sizeof(s.plugin));
	(void)close(line[0]);
	(void)close(line[1]);
	started[n_started++] = s;
	return s;
}

/* It ends; nobody waits for it yet, as a busy server might not. */
static void
end_it(struct session s)
{
	siginfo_t info;

	(void)kill(s.plugin, SIGKILL);
	assert_int_equal(kill(s.smtpd, SIGKILL), 0);
	while (waitid(P_PID, (id_t)s.smtpd, &info, WEXITED | WNOWAIT) < 0)
		assert_int_equal(errno, EINTR);
	if (kit_is_slow()) { /* then a thread has to see it too */
		const struct timespec nap = { .tv_nsec = 50000000 };

		(void)nanosleep(&nap, NULL);
	}
}

static void
end_all(void)
{
	for (unsigned i = 0; i < n_started; i++) {
		(void)kill(started[i].plugin, SIGKILL);
		(void)kill(started[i].smtpd, SIGKILL);
		(void)waitpid(started[i].smtpd, NULL, 0);
	}
	n_started = 0;
}

/* --- the table ------------------------------------------------------------------------------- */

static void
limit(const char *pattern, int64_t count)
{
	struct rate_limit *l = &limits.limit[limits.n++];

	assert_int_equal(rate_limit_set_pattern(l, pattern), 0);
	l->count = count;
}

static int
make(void **state)
{
	(void)state;
	memset(&limits, 0, sizeof(limits));
	proc_is_hidden = false;
	assert_int_equal(pipe2(fake_alive, O_CLOEXEC), 0);
	base = event_base_new();
	return base == NULL ? -1 : held_new(base, &limits, 1 << 20, &held);
}

static int
unmake(void **state)
{
	(void)state;
	end_all();
	held_free(held);
	event_base_free(base);
	(void)close(fake_alive[0]);
	(void)close(fake_alive[1]);
	return 0;
}

static struct rate_answer
ask_as(pid_t pid, pid_t asker, const char *address)
{
	struct rate_answer a;
	struct ip ip;

	assert_int_equal(ip_parse(address, &ip), 0);
	memset(&a, 0xa5, sizeof(a));
	held_ask(held, pid, &ip, asker, &a);
	return a;
}

static struct rate_answer
ask(struct session s, const char *address)
{
	return ask_as(s.smtpd, s.plugin, address);
}

static void
check_ok(struct rate_answer a, int64_t n)
{
	assert_int_equal(a.verdict, RATE_OK);
	assert_int_equal(a.n, n);
}

static void
check_over(struct rate_answer a, int64_t n, int64_t max)
{
	assert_int_equal(a.verdict, RATE_OVER);
	assert_int_equal(a.n, n);
	assert_int_equal(a.max, max);
	assert_non_null(a.limit);
}

static int64_t
described(const char *key)
{
	json_t *d = held_describe(held);
	int64_t v = json_integer_value(json_object_get(d, key));

	assert_non_null(d);
	json_decref(d);
	return v;
}

/* Let the loop run until so many are held. */
static void
wait_for(int64_t n)
{
	mono_t deadline = mono_after(mono_now(), PATIENCE_MS);
	const struct timespec nap = { .tv_nsec = 1000000 };

	while (described("now") != n) {
		assert_true(mono_now().ms < deadline.ms);
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		(void)nanosleep(&nap, NULL);
	}
}

/* --- counting -------------------------------------------------------------------------------- */

static void
held_refuses_one_more_than_may_be(void **state)
{
	struct session s[4];

	(void)state;
	limit("*", 3);
	for (int i = 0; i < 3; i++) {
		s[i] = start();
		check_ok(ask(s[i], "192.0.2.1"), i + 1);
	}
	s[3] = start();
	check_over(ask(s[3], "192.0.2.1"), 4, 3);
	check_over(ask(s[3], "192.0.2.1"), 4, 3); /* the refused one is not held */
	check_ok(ask(s[3], "192.0.2.2"), 1); /* another address is another */
	assert_int_equal(described("now"), 4);
	end_it(s[1]);
	wait_for(3);
	check_ok(ask(start(), "192.0.2.1"), 3);
	check_over(ask(start(), "192.0.2.1"), 4, 3);
}

static void
held_session_that_asks_again_counts_once(void **state)
{
	struct session one = start(), two = start();

	(void)state;
	limit("*", 2);
	for (int i = 0; i < 5; i++)
		check_ok(ask(one, "192.0.2.1"), 1); /* connection, helo, mail, mail, ... */
	check_ok(ask(two, "192.0.2.1"), 2);
	check_ok(ask(one, "192.0.2.1"), 2);
	limits.limit[0].count = 1; /* reloaded: who is in stays in */
	check_ok(ask(one, "192.0.2.1"), 2);
	check_over(ask(start(), "192.0.2.1"), 3, 1);
}

/* The end of a process is in the kernel before it is in the loop: who comes at that moment is not refused for it. */
static void
held_ended_but_not_yet_told_does_not_count(void **state)
{
	struct session s = start();

	(void)state;
	limit("*", 1);
	check_ok(ask(s, "192.0.2.1"), 1);
	end_it(s);
	check_ok(ask(start(), "192.0.2.1"), 1); /* the loop has not run */
	check_over(ask(start(), "192.0.2.1"), 2, 1);
}

/* A process id that is another's now: the one before it has ended, whatever the loop knows. */
static void
held_number_used_again_is_another_session(void **state)
{
	struct session s = start();

	(void)state;
	limit("*", 2);
	check_ok(ask(s, "192.0.2.1"), 1);
	end_it(s);
	/* Nobody has that number any more; the question of a "new" one can't be held, and the old one is forgotten. */
	check_ok(ask(s, "192.0.2.9"), 1);
	assert_int_equal(described("now"), 0);
	assert_int_equal(described("uncounted"), 1);
}

static void
held_own_user_is_let_go(void **state)
{
	struct session s = start();

	(void)state;
	limit("*", 1);
	check_ok(ask(s, "192.0.2.1"), 1);
	held_release(held, s.smtpd);
	held_release(held, s.smtpd);
	held_release(held, 1);
	check_ok(ask(start(), "192.0.2.1"), 1);
}

static void
held_v6_counts_by_64(void **state)
{
	struct rate_answer a;

	(void)state;
	limit("*", 2);
	check_ok(ask(start(), "2001:db8::1"), 1);
	check_ok(ask(start(), "2001:db8::ffff:1"), 2);
	a = ask(start(), "2001:db8:0:0:1::1");
	check_over(a, 3, 2);
	assert_int_equal(a.prefix, 64);
	check_ok(ask(start(), "2001:db8:0:1::1"), 1);
	check_ok(ask(start(), "::ffff:192.0.2.1"), 1);
	check_ok(ask(start(), "192.0.2.1"), 2);
}

static void
held_fingerprint_is_of_the_key(void **state)
{
	struct session s = start();

	(void)state;
	limit("*", 0);
	uint64_t one = ask(s, "2001:db8::1").fingerprint;
	assert_true(one == ask(s, "2001:db8::2").fingerprint);
	assert_true(one != ask(s, "2001:db8:0:1::1").fingerprint);
	assert_true(one != ask(s, "192.0.2.1").fingerprint);
}

/* --- limits ---------------------------------------------------------------------------------- */

static void
held_first_pattern_that_matches_counts(void **state)
{
	struct session s = start();

	(void)state;
	limit("192.0.2.7", 0);
	limit("192.0.2.0/24", -1);
	limit("198.51.100.*", 1);
	check_over(ask(s, "192.0.2.7"), 1, 0);
	check_ok(ask(s, "192.0.2.8"), 0);
	assert_int_equal(ask(s, "192.0.2.8").max, -1);
	assert_int_equal(described("now"), 0); /* not limited: not counted */
	assert_int_equal(ask(s, "203.0.113.1").verdict, RATE_NO_KEY);
	check_ok(ask(s, "198.51.100.1"), 1);
}

static void
held_nothing_configured_nothing_counted(void **state)
{
	(void)state;
	assert_int_equal(ask(start(), "192.0.2.1").verdict, RATE_NO_KEY);
	assert_int_equal(described("now"), 0);
	assert_int_equal(described("uncounted"), 0);
}

/* --- whom to believe ------------------------------------------------------------------------- */

static void
held_not_the_askers_parent_is_not_counted(void **state)
{
	struct session one = start(), two = start();

	(void)state;
	limit("*", 1);
	check_ok(ask_as(two.smtpd, one.plugin, "192.0.2.1"), 1);
	assert_int_equal(described("now"), 0);
	assert_int_equal(described("uncounted"), 1);
}

/* A server that asks by the client library, for itself. */
static void
held_asker_may_be_the_session(void **state)
{
	struct session s = start();

	(void)state;
	limit("*", 1);
	check_ok(ask_as(s.smtpd, s.smtpd, "192.0.2.1"), 1);
	assert_int_equal(described("now"), 1);
	check_over(ask(start(), "192.0.2.1"), 2, 1);
	end_it(s);
	wait_for(0);
}

static void
held_parent_that_can_not_be_seen_is_believed(void **state)
{
	struct session one = start(), two = start();

	(void)state;
	limit("*", 1);
	proc_is_hidden = true;
	check_ok(ask_as(two.smtpd, one.plugin, "192.0.2.1"), 1);
	assert_int_equal(described("now"), 1);
}

static void
held_numbers_that_mean_nothing_are_not_counted(void **state)
{
	struct session s = start();
	const pid_t odd[] = { 0, 1, -1, INT32_MAX, INT32_MIN };

	(void)state;
	limit("*", 1);
	for (size_t i = 0; i < countof(odd); i++)
		check_ok(ask_as(odd[i], s.plugin, "192.0.2.1"), 1);
	check_ok(ask_as(s.smtpd, 0, "192.0.2.1"), 1); /* of another pid namespace */
	assert_int_equal(described("now"), 0);
	assert_int_equal(described("uncounted"), countof(odd) + 1);
}

static void
held_asker_with_an_odd_name_is_understood(void **state)
{
	/* The name of this process is between the parentheses of /proc/PID/stat, and our parent is behind them. */
	static const char *const names[] = { ") S 1 (x", "((((", "a b c d", "" };
	char name[16] = "";

	(void)state;
	limit("*", 1);
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	for (size_t i = 0; i < countof(names); i++) {
		assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
		check_ok(ask_as(getppid(), getpid(), "192.0.2.1"), 1);
		assert_int_equal(described("now"), 1);
		held_release(held, getppid());
	}
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
}

/* --- more than there is room for ------------------------------------------------------------- */

static void
held_table_full_lets_pass(void **state)
{
	const struct rlimit many = { HELD_MAX + 200, HELD_MAX + 200 };
	struct rlimit before;
	char address[IP_TEXT_MAX];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	if (before.rlim_max < many.rlim_cur) {
		print_message("# SKIP needs %u descriptors\n", HELD_MAX + 200);
		return;
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit) { many.rlim_cur, before.rlim_max }), 0);
	limit("198.51.100.1", 3000);
	limit("*", 5);
	proc_is_hidden = true;
	for (int i = 0; i < HELD_MAX; i++) {
		(void)snprintf(address, sizeof(address), "10.0.%d.%d", i / 5 / 250, i / 5 % 250);
		check_ok(ask_as(FAKE + i, 77, address), i % 5 + 1);
	}
	assert_int_equal(described("now"), HELD_MAX);
	for (int i = 0; i < 100; i++)
		check_ok(ask_as(2 * FAKE + i, 77, "192.0.2.1"), 1);
	assert_int_equal(described("uncounted"), 100);
	check_over(ask_as(3 * FAKE, 77, "10.0.0.0"), 6, 5); /* who is known to hold too much is refused all the same */
	held_release(held, FAKE);
	check_ok(ask_as(3 * FAKE, 77, "10.0.0.0"), 5);
	assert_int_equal(write(fake_alive[1], "x", 1), 1); /* all of them end at once */
	wait_for(0);
	held_free(held);
	held = NULL;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void
held_no_descriptors_lets_pass(void **state)
{
	struct session one = start(), two = start();

	(void)state;
	if (kit_is_slow()) {
		print_message("# SKIP pidfds are something else under valgrind\n");
		return;
	}
	limit("*", 1);
	kit_limit_fds(0);
	check_ok(ask(one, "192.0.2.1"), 1);
	check_ok(ask(two, "192.0.2.1"), 1);
	kit_limit_fds(-1);
	assert_int_equal(described("uncounted"), 2);
	check_ok(ask(one, "192.0.2.1"), 1);
	check_over(ask(two, "192.0.2.1"), 2, 1);
}

static void
held_leaves_descriptors_to_others(void **state)
{
	int fd[3];

	(void)state;
	if (kit_is_slow()) {
		print_message("# SKIP pidfds are something else under valgrind\n");
		return;
	}
	for (size_t i = 0; i < countof(fd); i++)
		fd[i] = fcntl(fake_alive[0], F_DUPFD_CLOEXEC, 3);
	for (size_t i = 0; i < countof(fd); i++)
		(void)close(fd[i]);
	held_free(held);
	limit("*", 9);
	assert_int_equal(held_new(base, &limits, fd[2], &held), 0);
	for (int i = 0; i < 4; i++)
		check_ok(ask(start(), "192.0.2.1"), i < 2 ? i + 1 : 3);
	assert_int_equal(described("now"), 2);
	assert_int_equal(described("uncounted"), 2);
	int after = fcntl(fake_alive[0], F_DUPFD_CLOEXEC, 3);
	assert_int_equal(after, fd[2]); /* none is lost */
	(void)close(after);
}

static void
held_kernel_without_pidfd_lets_pass(void **state)
{
	(void)state;
	limit("*", 1);
	pidfd_error = ENOSYS;
	check_ok(ask(start(), "192.0.2.1"), 1);
	check_ok(ask(start(), "192.0.2.1"), 1);
	pidfd_error = 0;
	assert_int_equal(described("uncounted"), 2);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(held_refuses_one_more_than_may_be),
		T(held_session_that_asks_again_counts_once),
		T(held_ended_but_not_yet_told_does_not_count),
		T(held_number_used_again_is_another_session),
		T(held_own_user_is_let_go),
		T(held_v6_counts_by_64),
		T(held_fingerprint_is_of_the_key),
		T(held_first_pattern_that_matches_counts),
		T(held_nothing_configured_nothing_counted),
		T(held_not_the_askers_parent_is_not_counted),
		T(held_asker_may_be_the_session),
		T(held_parent_that_can_not_be_seen_is_believed),
		T(held_numbers_that_mean_nothing_are_not_counted),
		T(held_asker_with_an_odd_name_is_understood),
		T(held_table_full_lets_pass),
		T(held_no_descriptors_lets_pass),
		T(held_leaves_descriptors_to_others),
		T(held_kernel_without_pidfd_lets_pass),
	};

	return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
