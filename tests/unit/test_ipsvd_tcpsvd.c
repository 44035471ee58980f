/* SPDX-License-Identifier: ISC */
/* Which tcpsvd reads the directory: its command line, and whether it is to be believed. */
#include "actions/ipsvd_tcpsvd.h"

#include "tests/hostile.h"
#include "tests/unit/kit.h"
#include "tests/unit/tcpsvd.h"

/* --- the command line ------------------------------------------------------------------------ */

#define ARGS_MAX 16

/* Words with blanks between them, as /proc has them. */
static bool
parse(const char *words, struct ipsvd_options *ret)
{
	static char args[1024];
	size_t n = strlen(words) + 1;

	kit_format(args, sizeof(args), "%s", words);
	for (char *p = args; *p != '\0'; p++)
		if (*p == ' ')
			*p = '\0';
		else if (*p == '_')
			*p = ' ';
	return ipsvd_options_parse(args, n, ret);
}

static void
options_are_read_as_tcpsvd_reads_them(void **state)
{
	static const struct {
		const char *words, *dir, *cdb;
		uint64_t timeout_s;
		bool counts;
	} cases[] = {
		{ "tcpsvd -i /d -t 120 0 25 p", "/d", NULL, 120, false },
		{ "/usr/bin/tcpsvd -i /d -t 120 0 25 p", "/d", NULL, 120, false },
		{ "tcpsvd -i/d -t120 0 25 p", "/d", NULL, 120, false },
		{ "tcpsvd -vvi /d -vt 120 0 25 p", "/d", NULL, 120, false },
		{ "tcpsvd -vvhpEi/d -t 120 -C 3:421_later\\r\\n 0 25 p", "/d", NULL, 120, true },
		{ "tcpsvd -C3 -u qmaild:nofiles -l 0 -c 40 -b 50 -i /d 0 25 p", "/d", NULL, 0, true },
		{ "tcpsvd -x /c.cdb -t 120 0 25 p", NULL, "/c.cdb", 120, false },
		{ "tcpsvd 0 25 p -i /d -t 120", NULL, NULL, 0, false }, /* the program's own */
		{ "tcpsvd -t 120 -- -i /d", NULL, NULL, 120, false },
		{ "tcpsvd -t 120 -i /d - 25 p -t 7", "/d", NULL, 120, false },
		{ "tcpsvd -i /d --long -t 7", "/d", NULL, 0, false },
		{ "tcpsvd -i /d -t 1 -t 2 0 25 p", "/d", NULL, 2, false }, /* the last one counts */
		{ "tcpsvd -i /d -t 2m 0 25 p", "/d", NULL, 2, false },
		{ "tcpsvd -i /d -t x 0 25 p", "/d", NULL, 0, false },
		{ "tcpsvd -i /d -t -120 0 25 p", "/d", NULL, 0, false },
		{ "tcpsvd -i -t 120 0 25 p", "-t", NULL, 0, false },
		{ "tcpsvd -l -i -t 120 0 25 p", NULL, NULL, 120, false }, /* -i is the name */
		{ "tcpsvd", NULL, NULL, 0, false },
		{ "tcpsvd -i /d", "/d", NULL, 0, false },
	};
	static const char *const none[] = {
		"tcpserver -i /d -t 120 0 25 p", "xtcpsvd -i /d 0 25 p", "tcpsvd/ -i /d 0 25 p", "runsv tcpsvd", "tcpsvd: -i /d", " -i /d",
		"tcpsvd -i", "tcpsvd -i /d -t", "tcpsvd -vi", "tcpsvd -i /d -q 0 25 p", "tcpsvd -i /d -V 0 25 p",
		"tcpsvd -i /d -i /e 0 25 p", "tcpsvd -i /d -x /c 0 25 p", "tcpsvd -C 0 -i /d 0 25 p", "tcpsvd -C x -i /d 0 25 p",
	};
	struct ipsvd_options o;

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		if (!parse(cases[i].words, &o))
			fail_msg("%s", cases[i].words);
		assert_true((o.dir == NULL) == (cases[i].dir == NULL) && (o.cdb == NULL) == (cases[i].cdb == NULL));
		if (o.dir != NULL)
			assert_string_equal(o.dir, cases[i].dir);
		if (o.cdb != NULL)
			assert_string_equal(o.cdb, cases[i].cdb);
		if (o.timeout_s != cases[i].timeout_s || o.counts != cases[i].counts)
			fail_msg("%s", cases[i].words);
	}
	for (size_t i = 0; i < countof(none); i++)
		if (parse(none[i], &o))
			fail_msg("%s", none[i]);
}

static void
options_of_any_bytes_are_read_within_them(void **state)
{
	static const char *const words[] = { "tcpsvd", "-i", "-t", "-x", "-C", "-", "--", "", "-iiii", "/", "120", "-v", "-tt" };
	static char text[HOSTILE_MAX + 1];
	struct dice d = dice_new();
	struct ipsvd_options o;

	(void)state;
	assert_false(ipsvd_options_parse(text, 0, &o));
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		size_t n = hostile_text(i, text);

		(void)ipsvd_options_parse(text, n, &o); /* without a NUL at the end, as often as not */
	}
	for (int i = 0; i < kit_rounds(20000); i++) {
		char *args = malloc(200); /* so that a sanitizer sees the end of it */
		size_t n = 0;

		assert_non_null(args);
		for (unsigned k = dice_below(&d, 10); k > 0; k--) {
			const char *w = words[n == 0 ? 0 : dice_below(&d, countof(words))];

			memcpy(args + n, w, strlen(w) + 1);
			n += strlen(w) + 1;
		}
		char *exact = malloc(n > 0 ? n : 1);
		assert_non_null(exact);
		memcpy(exact, args, n);
		free(args);
		if (ipsvd_options_parse(exact, n, &o) && o.dir != NULL)
			assert_true(o.dir > exact && o.dir < exact + n);
		free(exact);
	}
}

/* --- processes ------------------------------------------------------------------------------- */

static char top[KIT_PATH_MAX], dir[KIT_PATH_MAX];

static int
make_dir(void **state)
{
	(void)state;
	kit_tree(top);
	kit_mkdir(top, "inst");
	kit_mkdir(top, "other");
	(void)kit_path(dir, top, "inst");
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	kit_remove(top);
	return 0;
}

static struct ipsvd_seen
scan(void)
{
	struct ipsvd_scan s;
	struct stat st;

	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(ipsvd_scan_begin(&s, dir, &st, 120), 0);
	while (ipsvd_scan_step(&s, mono_after(mono_now(), 10)))
		;
	return s.seen;
}

static void
scan_finds_who_reads_the_directory_and_how(void **state)
{
	char other[KIT_PATH_MAX];

	(void)state;
	assert_int_equal(scan().n, 0);
	pid_t elsewhere = tcpsvd_start(kit_path(other, top, "other"), "7", false);
	assert_int_equal(scan().n, 0);
	pid_t good = tcpsvd_start(dir, "120", false);
	struct ipsvd_seen s = scan();
	assert_int_equal(s.n, 1);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(s.uid, geteuid());
	assert_false(s.counts);
	tcpsvd_stop(good);
	good = tcpsvd_start(dir, "120", true);
	assert_true(scan().counts);
	pid_t wrong = tcpsvd_start(dir, "300", false);
	s = scan();
	assert_int_equal(s.n, 2);
	assert_int_equal(s.wrong, wrong);
	assert_int_equal(s.wrong_timeout_s, 300);
	assert_false(s.counts); /* not all of them */
	pid_t none = tcpsvd_start(dir, NULL, true);
	s = scan();
	assert_int_equal(s.wrong, wrong < none ? wrong : none);
	tcpsvd_stop(wrong);
	s = scan();
	assert_int_equal(s.wrong, none);
	assert_int_equal(s.wrong_timeout_s, 0);
	tcpsvd_stop(none);
	tcpsvd_stop(good);
	assert_int_equal(scan().n, 0);
	tcpsvd_stop(elsewhere);
}

static void
scan_knows_the_directory_by_whatever_path(void **state)
{
	char link[KIT_PATH_MAX];
	const char *const relative[] = { "tcpsvd", "-iinst", "-t120", "0", "25", "p", NULL };
	const char *const through[] = { "tcpsvd", "-i", link, "-t120", "0", "25", "p", NULL };
	const char *const gone[] = { "tcpsvd", "-i", "nowhere", "-t120", "0", "25", "p", NULL };
	const struct tcpsvd_how in_top = { .cwd = top };

	(void)state;
	assert_int_equal(symlink(dir, kit_path(link, top, "link")), 0);
	pid_t a = tcpsvd_start_as(&in_top, relative), b = tcpsvd_start_as(&in_top, through),
	      c = tcpsvd_start_as(&in_top, gone);
	assert_int_equal(scan().n, 2);
	tcpsvd_stop(a);
	tcpsvd_stop(b);
	tcpsvd_stop(c);
}

static void
scan_tells_a_cdb(void **state)
{
	const char *const argv[] = { "tcpsvd", "-x", "/etc/tcp.cdb", "0", "25", "p", NULL };
	pid_t pid = tcpsvd_start_as(&(struct tcpsvd_how) { .cwd = NULL }, argv);
	struct ipsvd_seen s = scan();

	(void)state;
	assert_int_equal(s.n, 0);
	assert_int_not_equal(s.cdb, 0); /* whoever else runs on this machine */
	tcpsvd_stop(pid);
}

static void
scan_believes_no_user_who_shows_a_command_line(void **state)
{
	const char *const argv[] = { "tcpsvd", "-i", dir, "-t", "120", "0", "25", "p", NULL };

	(void)state;
	if (geteuid() != 0)
		skip(); /* to be another user takes root */
	pid_t forged = tcpsvd_start_as(&(struct tcpsvd_how) { .nobody = true }, argv);
	struct ipsvd_seen s = scan();
	assert_int_equal(s.n, 0);
	assert_int_equal(s.doubtful, forged);
	tcpsvd_stop(forged);
	/* As tcpsvd -u nobody: started by root, whose socket it holds. */
	pid_t real = tcpsvd_start_as(&(struct tcpsvd_how) { .nobody = true, .listener = true }, argv);
	s = scan();
	assert_int_equal(s.n, 1);
	assert_int_equal(s.uid, TCPSVD_NOBODY);
	assert_int_equal(s.doubtful, 0);
	tcpsvd_stop(real);
}

/* A user's own socket is none of root's, whatever else root has open on this machine. */
static void
scan_believes_no_user_with_a_socket_of_his_own(void **state)
{
	const char *const argv[] = { "tcpsvd", "-i", dir, "-t", "300", "0", "25", "p", NULL };
	pid_t middle, *pid = &middle;

	(void)state;
	if (geteuid() != 0)
		skip();
	int root = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(root >= 0 && listen(root, 1) == 0);
	assert_int_equal(seteuid(TCPSVD_NOBODY), 0); /* the socket that is opened from here is his */
	int his = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(his >= 0 && listen(his, 1) == 0);
	assert_int_equal(seteuid(0), 0);
	*pid = tcpsvd_start_as(&(struct tcpsvd_how) { .nobody = true }, argv);
	(void)close(his);
	struct ipsvd_seen s = scan();
	assert_int_equal(s.n, 0);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(s.doubtful, middle);
	tcpsvd_stop(middle);
	(void)close(root);
}

static void
scan_bears_many_that_come_and_go(void **state)
{
	pid_t pid[64];

	(void)state;
	pid_t good = tcpsvd_start(dir, "120", false);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < countof(pid); i++) {
			pid[i] = fork();
			assert_true(pid[i] >= 0);
			if (pid[i] == 0) {
				const char *const argv[] = { "tcpsvd", "-i", dir, "-t", "120", NULL };

				(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
				(void)alarm(1 + i % 2);
				if (i % 2 == 0)
					(void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
				_exit(0);
			}
		}
		struct ipsvd_seen s = scan();
		assert_in_range(s.n, 1, 1 + countof(pid) / 2);
		assert_int_equal(s.wrong, 0);
		for (size_t i = 0; i < countof(pid); i++) {
			(void)kill(pid[i], SIGKILL);
			assert_true(waitpid(pid[i], NULL, 0) == pid[i]);
		}
	}
	assert_int_equal(scan().n, 1);
	tcpsvd_stop(good);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_read_as_tcpsvd_reads_them),
		cmocka_unit_test(options_of_any_bytes_are_read_within_them),
		cmocka_unit_test(scan_finds_who_reads_the_directory_and_how),
		cmocka_unit_test(scan_knows_the_directory_by_whatever_path),
		cmocka_unit_test(scan_tells_a_cdb),
		cmocka_unit_test(scan_believes_no_user_who_shows_a_command_line),
		cmocka_unit_test(scan_believes_no_user_with_a_socket_of_his_own),
		cmocka_unit_test(scan_bears_many_that_come_and_go),
	};

	(void)argc;
	tcpsvd_pretend(argv[0]);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
