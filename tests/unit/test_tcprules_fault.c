/* SPDX-License-Identifier: ISC */
/*
 * Denials in tcpserver's cdb when others have their hands in it, files are missing, tcprules fails or hangs, the disk is full, we
 * are killed: the cdb is the whole old or the whole new one, status says what is wrong, and it heals.
 */
#include "tests/unit/tcprulesrig.h"

#include <sched.h>
#include <sys/mount.h>

#include "actions/cdb.h"
#include "actions/tcprules_work.h"

#define FULL_DISK "full-disk" /* argument with which this program runs that test alone */

/* --- others have their hands in it ----------------------------------------------------------- */

static void
tcprules_recompiled_by_somebody_has_ours_again_within_a_second(void **state)
{
	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	for (int i = 0; i < 5; i++) {
		turn_for(300);
		compile();
		assert_int_equal(verdict("203.0.113.9"), 'A');
		assert_true(turn(PATIENCE_MS)); /* it is told, and need not wait for its next look */
		await_verdict("203.0.113.9", 'D');
	}
	/* Other rules, compiled. */
	edit("192.0.2.2:deny\n:allow\n");
	compile();
	await_verdict("203.0.113.9", 'D');
	assert_int_equal(verdict("192.0.2.1"), 'A');
	assert_int_equal(verdict("192.0.2.2"), 'D');
	end();
}

static void
tcprules_waits_while_the_rules_are_edited_and_says_so(void **state)
{
	(void)state;
	begin(":allow\n");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	struct stat before = stat_of(cdb_path);
	edit("192.0.2.2:deny\n:allow,HALF="); /* the author is still writing */
	block("203.0.113.10/32");
	await_trouble("an edit in progress");
	for (int i = 0; i < 3; i++) {
		let_retry();
		turn_for(150);
	}
	assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
	assert_int_equal(verdict("203.0.113.9"), 'D');
	edit("192.0.2.2:deny\n:allow,HALF=\"no\"\n");
	turn_for(150);
	assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
	compile();
	mono_t then = mono_now();
	await_ours(2);
	assert_in_range(mono_since(then, mono_now()), 0, 4900); /* not only when another try is due */
	assert_int_equal(verdict("192.0.2.2"), 'D');
	assert_int_equal(verdict("203.0.113.9"), 'D');
	assert_int_equal(verdict("203.0.113.10"), 'D');
	end();
}

/* Compiled by the author while our tcprules runs: his is not overwritten by ours, which is made of what was before. */
static void
tcprules_that_is_overtaken_by_the_author_begins_anew(void **state)
{
	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	fake("exec " TCPRULES " \"$@\"");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	for (int touched = 0; touched < 2; touched++) {
		fake("sleep 0.4; exec " TCPRULES " \"$@\"");
		if (touched == 0)
			block("203.0.113.10/32");
		else
			unblock("203.0.113.10/32");
		turn_for(200);
		edit(touched == 0 ? "192.0.2.2:deny\n:allow\n" : "192.0.2.3:deny\n:allow\n");
		compile();
		fake("exec " TCPRULES " \"$@\"");
		mono_t then = mono_now();
		await_verdict("203.0.113.9", 'D');
		assert_in_range(mono_since(then, mono_now()), 0, 4900);
		await_verdict("203.0.113.10", touched == 0 ? 'D' : 'A');
		assert_int_equal(verdict(touched == 0 ? "192.0.2.2" : "192.0.2.3"), 'D');
		assert_int_equal(verdict("192.0.2.1"), 'A');
		await_ours(touched == 0 ? 2 : 1);
	}
	end();
}

/* An edit that looks old (cp -p, a clock that was set back) is found out by what is in the cdb. */
static void
tcprules_leaves_a_cdb_alone_that_is_not_made_of_the_rules(void **state)
{
	static const char *const edits[] = {
		"", ":allow\n", "192.0.2.1:deny\n192.0.2.2:deny\n:allow\n", ":deny\n192.0.2.1:deny\n", "192.0.2.1:deny\n",
		"192.0.2.1:allow\n:allow\n",
	};

	(void)state;
	for (size_t i = 0; i < countof(edits); i++)
		for (int later = 0; later < 2; later++) {
			begin("192.0.2.1:deny\n:allow\n");
			if (later != 0) {
				start();
				block("203.0.113.9/32");
				await_ours(1);
			}
			edit(edits[i]);
			set_age(rules_path, 1000);
			if (later == 0) {
				start();
				block("203.0.113.9/32");
			}
			await_trouble("left alone until it is compiled");
			assert_int_equal(verdict("192.0.2.1"), 'D');
			assert_int_equal(verdict("203.0.113.9"), later != 0 ? 'D' : 'A');
			compile();
			await_ours(1);
			assert_int_equal(verdict("203.0.113.9"), 'D');
			end();
		}
}

/* The clock was set back after our last look: what we made is older than its rules by the clock, but not by our book. */
static void
tcprules_clock_set_back_is_no_edit(void **state)
{
	(void)state;
	begin(":allow\n");
	set_age(rules_path, -7200);
	set_age(cdb_path, -7300);
	for (int i = 0; i < 2; i++) { /* also for one who comes later */
		start();
		block("203.0.113.9/32");
		await_ours(1);
		assert_true(stat_of(cdb_path).st_mtim.tv_sec >= stat_of(rules_path).st_mtim.tv_sec);
		unblock("203.0.113.9/32");
		await_ours(0);
		assert_as_compiled();
		stop();
	}
	end();
}

/* --- files that are not as they should be ---------------------------------------------------- */

static void
tcprules_bad_rule_leaves_the_old_cdb_and_says_which_line(void **state)
{
	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	edit("192.0.2.1:denyx\x1b[2J\n:allow\n");
	set_age(rules_path, 1000);
	block("203.0.113.10/32");
	await_trouble("unable to parse this line: 192.0.2.1:denyx\\x1b[2J");
	assert_int_equal(verdict("203.0.113.9"), 'D');
	assert_int_equal(verdict("203.0.113.10"), 'A');
	assert_int_equal(verdict("192.0.2.1"), 'D');
	assert_tidy();
	edit("192.0.2.1:deny\n:allow\n");
	compile();
	await_ours(2);
	end();
}

static void
tcprules_without_its_files_waits_until_they_are_there(void **state)
{
	char aside[KIT_PATH_MAX];

	(void)state;
	begin(":allow\n");
	/* no rules */
	assert_int_equal(rename(rules_path, kit_path(aside, dir, "aside")), 0);
	start();
	block("203.0.113.9/32");
	await_trouble("tcp.smtp: No such file");
	assert_int_equal(verdict("203.0.113.9"), 'A');
	/* what can't be read as rules: a directory, a FIFO, too large */
	kit_mkdir(dir, "tcp.smtp");
	set_age(rules_path, 1000);
	await_trouble("tcp.smtp is no regular file");
	assert_int_equal(rmdir(rules_path), 0);
	assert_int_equal(mkfifo(rules_path, 0644), 0);
	set_age(rules_path, 1000);
	let_retry();
	await_trouble("tcp.smtp is no regular file");
	assert_int_equal(unlink(rules_path), 0);
	edit("");
	assert_int_equal(truncate(rules_path, 1 << 30), 0);
	set_age(rules_path, 1000);
	await_trouble("File too large");
	assert_int_equal(rename(aside, rules_path), 0);
	await_ours(1);
	/* no cdb: nobody gets in, and it is not for us to make one of rules that nobody compiled */
	assert_int_equal(unlink(cdb_path), 0);
	await_trouble("turns everybody away");
	assert_false(is_there(cdb_path));
	kit_mkdir(dir, "tcp.smtp.cdb");
	await_trouble("tcp.smtp.cdb is no regular file");
	assert_int_equal(rmdir(cdb_path), 0);
	kit_write(dir, "tcp.smtp.cdb", "", 0, 0644);
	await_trouble("left alone");
	assert_int_equal(stat_of(cdb_path).st_size, 0);
	compile();
	await_verdict("203.0.113.9", 'D');
	await_ours(1);
	assert_tidy();
	end();
}

static void
tcprules_directory_that_goes_and_comes_is_found_again(void **state)
{
	char aside[KIT_PATH_MAX + 8], old_cdb[KIT_PATH_MAX + 32];

	(void)state;
	begin(":allow\n");
	kit_format(aside, sizeof(aside), "%s.aside", dir);
	kit_format(old_cdb, sizeof(old_cdb), "%s/tcp.smtp.cdb", aside);
	start();
	block("203.0.113.9/32");
	await_ours(1);
	struct stat before = stat_of(cdb_path);
	assert_int_equal(rename(dir, aside), 0);
	await_trouble("No such file");
	assert_int_equal(mkdir(dir, 0755), 0);
	edit("192.0.2.1:deny\n");
	compile();
	await_verdict("203.0.113.9", 'D');
	assert_int_equal(verdict("192.0.2.1"), 'D');
	assert_int_equal(stat_of(old_cdb).st_ino, before.st_ino);
	/* and at the start */
	stop();
	kit_remove(dir);
	start();
	await_trouble("cannot open");
	assert_int_equal(rename(aside, dir), 0);
	await_verdict("203.0.113.9", 'D');
	await_ours(1);
	end();
}

static void
f1_tcprules_follows_no_link(void **state)
{
	char canary[KIT_PATH_MAX];
	struct stat st;

	(void)state;
	begin(":allow\n");
	kit_puts(dir, "canary", "canary");
	assert_int_equal(unlink(cdb_path), 0);
	assert_int_equal(symlink("canary", cdb_path), 0);
	start();
	block("203.0.113.9/32");
	await_trouble("tcp.smtp.cdb is no regular file");
	turn_for(200);
	assert_int_equal(lstat(cdb_path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat_of(kit_path(canary, dir, "canary")).st_size, 6);
	/* where the list and our temporaries go */
	assert_int_equal(unlink(cdb_path), 0);
	compile();
	char temp[KIT_PATH_MAX + 64];
	static const char *const names[] = { "tcp.smtp.cdb.spillway-new.%d", "tcp.smtp.cdb.spillway-tmp.%d",
		"tcp.smtp.cdb.spillway", ".tcp.smtp.cdb.spillway.new" };
	for (size_t i = 0; i < countof(names); i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "%s", names[i]);
		if (strchr(name, '%') != NULL)
			(void)snprintf(strchr(name, '%'), 16, "%d", (int)getpid());
		kit_format(temp, sizeof(temp), "%s/%s", dir, name);
		(void)unlink(temp);
		assert_int_equal(symlink("canary", temp), 0);
	}
	block("203.0.113.10/32");
	await_ours(2);
	assert_int_equal(stat_of(canary).st_size, 6);
	assert_true(S_ISREG(stat_of(cdb_path).st_mode));
	assert_true(S_ISREG(stat_of(list_path).st_mode));
	end();
}

static void
f2_tcprules_writes_into_no_file_that_has_another_name_too(void **state)
{
	char canary[KIT_PATH_MAX];

	(void)state;
	begin(":allow\n");
	assert_int_equal(link(cdb_path, kit_path(canary, dir, "canary")), 0);
	struct stat before = stat_of(canary);
	start();
	block("203.0.113.9/32");
	await_ours(1);
	assert_int_equal(stat_of(canary).st_size, before.st_size);
	assert_true(stat_of(cdb_path).st_ino != before.st_ino);
	end();
}

static void
f6_tcprules_refuses_a_directory_where_others_can_plant(void **state)
{
	struct err why;
	bool root = geteuid() == 0;

	(void)state;
	begin(":allow\n");
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), -EPERM);
	assert_non_null(strstr(why.text, "by everybody"));
	assert_int_equal(chmod(dir, 0755), 0);
	if (root) {
		assert_int_equal(chown(dir, NOBODY, 0), 0);
		assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), -EPERM);
		assert_non_null(strstr(why.text, "belongs to uid 65534"));
		assert_int_equal(chown(dir, 0, NOBODY), 0);
		assert_int_equal(chmod(dir, 0775), 0);
		assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), -EPERM);
		assert_non_null(strstr(why.text, "by group 65534"));
		assert_int_equal(chmod(dir, 0755), 0);
	}
	assert_null(ctx);
	start();
	block("203.0.113.9/32");
	await_ours(1);
	/* it can become so later */
	assert_int_equal(chmod(dir, 0777), 0);
	block("203.0.113.10/32");
	await_trouble("by everybody");
	assert_int_equal(verdict("203.0.113.10"), 'A');
	assert_int_equal(chmod(dir, 0755), 0);
	let_retry();
	await_ours(2);
	end();
}

static void
f9_tcprules_keeps_mode_and_owner_of_the_cdb_whatever_the_umask(void **state)
{
	static const mode_t modes[] = { 0644, 0640, 0600, 0444, 0664 };
	mode_t before = umask(022);

	(void)state;
	for (size_t i = 0; i < countof(modes); i++)
		for (int strict = 0; strict < 2; strict++) {
			begin(":allow\n");
			assert_int_equal(chmod(cdb_path, modes[i]), 0);
			if (geteuid() == 0)
				assert_int_equal(chown(cdb_path, NOBODY, NOBODY - 1), 0);
			(void)umask(strict != 0 ? 077 : 0);
			start();
			block("203.0.113.9/32");
			await_ours(1);
			struct stat st = stat_of(cdb_path);
			assert_int_equal(st.st_mode & 07777, modes[i]);
			assert_int_equal(st.st_uid, geteuid() == 0 ? NOBODY : geteuid());
			if (geteuid() == 0)
				assert_int_equal(st.st_gid, NOBODY - 1);
			assert_int_equal(stat_of(list_path).st_mode & 07777, 0644);
			(void)umask(022);
			end();
		}
	(void)umask(before);
}

static void
tcprules_names_that_cannot_be_used_are_refused(void **state)
{
	static const char *const names[] = {
		"tcp.smtp.cdb", "/", "/etc/", "", "/etc/12345678901234567890123456789012345678901",
	};
	struct err why;

	(void)state;
	begin("");
	for (size_t i = 0; i < countof(names); i++) {
		kit_format(cfg.tcprules.cdb, sizeof(cfg.tcprules.cdb), "%s", names[i]);
		assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), names[i][0] == '\0' ? -ENOENT : -EINVAL);
	}
	cfg.tcprules.rules[0] = '\0';
	assert_int_equal(block_tcprules.init(&cfg, &ctx, &why), -ENOENT);
	assert_null(ctx);
	end();
}

/* --- tcprules that fails --------------------------------------------------------------------- */

static void
tcprules_that_fails_is_told_and_heals(void **state)
{
	static const struct {
		const char *script, *told;
	} cases[] = {
		{ "exit 111", "ended with exit code 111" },
		{ "echo 'tcprules: fatal: out of memory' >&2; exit 111", "tcprules: fatal: out of memory" },
		{ "exit 100", "ended with exit code 100" },
		{ "kill -SEGV $$", "was ended by signal 11" },
		{ "exit 0", "no whole cdb" },
		{ "head -c 100000 /dev/zero; exit 0", "no whole cdb" },
		{ "head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 1", "" },
		{ ": >$1", "no whole cdb" },
		{ "head -c 5000 /dev/zero >$1", "no whole cdb" },
		{ "head -c 5000 /dev/urandom >$1", "no whole cdb" },
		{ TCPRULES " $1 $2 && truncate -s -1 $1", "no whole cdb" },
		{ TCPRULES " $1 $2 && truncate -s +1 $1", "no whole cdb" },
		{ "echo :allow | " TCPRULES " $1 $2", "no whole cdb" }, /* ours are missing */
		{ "grep -v '^:' | " TCPRULES " $1 $2", "left alone" }, /* theirs are missing */
		{ "ln -s /etc/passwd $1", "no whole cdb" },
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		begin(":allow\n");
		fake("exec " TCPRULES " \"$@\"");
		start();
		block("203.0.113.9/32");
		await_ours(1);
		struct stat before = stat_of(cdb_path);
		fake(cases[i].script);
		block("203.0.113.10/32");
		await_trouble(cases[i].told);
		assert_true(text_is_plain(status().text));
		assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
		assert_tidy();
		fake("exec " TCPRULES " \"$@\"");
		turn_for(50);
		assert_int_equal(verdict("203.0.113.10"), 'A'); /* not at once, again and again */
		let_retry();
		await_ours(2);
		assert_int_equal(verdict("203.0.113.10"), 'D');
		end();
	}
}

static void
tcprules_that_is_absent_is_told_and_heals(void **state)
{
	(void)state;
	begin(":allow\n");
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), "%s", fake_path);
	start();
	block("203.0.113.9/32");
	await_trouble("cannot run");
	assert_non_null(strstr(status().text, "faketcprules: No such file"));
	assert_tidy();
	fake("exec " TCPRULES " \"$@\"");
	let_retry();
	await_ours(1);
	end();
}

static void
tcprules_that_hangs_is_ended_and_wakes_nobody_meanwhile(void **state)
{
	char pid_path[KIT_PATH_MAX], text[256];

	(void)state;
	begin(":allow\n");
	fake("exec " TCPRULES " \"$@\"");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	kit_format(text, sizeof(text), "echo $$ >%s; : >$2; exec sleep 1000", kit_path(pid_path, dir, "pid"));
	fake(text);
	block("203.0.113.10/32");
	/* It is not looked at all the time. */
	while (!is_there(pid_path) || stat_of(pid_path).st_size == 0)
		(void)turn(10);
	turn_for(100);
	int wakes = 0;
	for (int i = 0; i < 20; i++)
		wakes += turn(20);
	assert_in_range(wakes, 0, 3);
	assert_int_equal(verdict("203.0.113.9"), 'D');
	assert_true(status().ok);
	skew_ms += 10001;
	await_trouble("did not end within 10 s");
	FILE *f = fopen(pid_path, "r");
	int pid;
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	(void)fclose(f);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(unlink(pid_path), 0);
	assert_tidy();
	fake("exec " TCPRULES " \"$@\"");
	let_retry();
	await_ours(2);
	end();
}

/* The keeper forks the engine, which lets go of its copy, while tcprules runs. */
static void
tcprules_free_in_a_forked_process_leaves_the_child_alone(void **state)
{
	int code;

	(void)state;
	begin(":allow\n");
	fake("exec " TCPRULES " \"$@\"");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	fake("sleep 0.3; exec " TCPRULES " \"$@\"");
	block("203.0.113.10/32");
	turn_for(150);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		block_tcprules.free(ctx);
		_exit(open_fds() > 20);
	}
	assert_int_equal(waitpid(pid, &code, 0), pid);
	assert_int_equal(code, 0);
	await_ours(2);
	assert_int_equal(verdict("203.0.113.10"), 'D');
	/* and in ours it ends it */
	block("203.0.113.11/32");
	turn_for(150);
	stop();
	assert_tidy();
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	end();
}

/* Runs this program again, with the one test of a full disk, in a file system of its own.  Returns whether that is
 * allowed here. */
static bool
run_on_small_disk(void)
{
	char self[] = "/proc/self/exe", word[] = FULL_DISK;
	int code, fd;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fd = open(self, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
			|| mount("none", "/tmp", "tmpfs", 0, "size=96k") < 0 || setenv("TMPDIR", "/tmp", 1) < 0)
			_exit(77);
		(void)fexecve(fd, (char *[]) { word, word, NULL }, environ);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &code, 0), pid);
	if (WIFEXITED(code) && WEXITSTATUS(code) == 77)
		return false;
	assert_int_equal(code, 0);
	return true;
}

static void
fill_disk(const char *name)
{
	static char zeros[4096];
	char path[KIT_PATH_MAX];
	int fd = open(kit_path(path, dir, name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	(void)close(fd);
}

static void
full_disk(void **state)
{
	char fill[KIT_PATH_MAX];

	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	fill_disk("fill");
	for (int i = 0; i < 256; i++) { /* too large for what is left in the last page */
		struct ip_prefix p = prefix("198.51.100.0/32");

		p.ip.b[15] = (uint8_t)i;
		block_prefix(&p, MINUTE_MS);
	}
	await_trouble("out of disk space");
	assert_int_equal(verdict("203.0.113.9"), 'D');
	assert_int_equal(verdict("192.0.2.1"), 'D');
	assert_int_equal(verdict("198.51.100.1"), 'A');
	let_retry();
	await_trouble("out of disk space");
	(void)kit_path(fill, dir, "fill");
	assert_int_equal(unlink(fill), 0);
	assert_tidy();
	let_retry();
	await_ours(257);
	assert_int_equal(verdict("198.51.100.1"), 'D');
	end();
}

static void
d1_tcprules_full_disk_keeps_the_old_cdb_and_heals(void **state)
{
	(void)state;
	if (!run_on_small_disk()) {
		print_message("# no mount namespace\n");
		skip();
	}
}

/* --- killed at any moment -------------------------------------------------------------------- */

/* A keeper of its own: no test may fail here, or its process would go on with the tests. */
static _Noreturn void
be_killed(size_t n)
{
	struct block_status s = { .ours = n + 1 };
	struct err why;

	if (block_tcprules.init(&cfg, &ctx, &why) < 0)
		_exit(1);
	block_tcprules.reconcile(ctx, want, now());
	for (int i = 0; i < 2000 && (s.ours != n || !s.ok); i++) {
		(void)turn(10);
		block_tcprules.status(ctx, &s);
	}
	_exit(s.ours == n ? 0 : 2);
}

static bool
is_listed(const char *line)
{
	static char text[1 << 20];
	int fd = open(list_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	if (fd >= 0)
		(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, line) != NULL;
}

static void
f4_tcprules_killed_at_any_moment_leaves_a_whole_cdb(void **state)
{
	struct dice d = dice_new();
	char a[KIT_PATH_MAX], b[KIT_PATH_MAX];
	int killed = 0, seen_a = 0, seen_b = 0, leftovers = 0;
	bool was_a = false;

	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	for (unsigned i = 0; i < 5000; i++) {
		struct ip_prefix p = prefix("198.18.0.0/32");

		p.ip.b[14] = (uint8_t)(i >> 8);
		p.ip.b[15] = (uint8_t)i;
		block_prefix(&p, 10 * MINUTE_MS);
	}
	mono_t then = mono_now();
	start();
	await_ours(5000);
	unsigned took_us = (unsigned)mono_since(then, mono_now()) * 1000;
	kit_format(a, sizeof(a), "%s.a", dir);
	kit_format(b, sizeof(b), "%s.b", dir);
	assert_int_equal(rename(cdb_path, a), 0);
	compile();
	block("203.0.113.9/32");
	await_ours(5001);
	assert_int_equal(link(cdb_path, b), 0);
	stop();
	assert_true(blockset_remove(want, &(struct ip_prefix) { prefix("203.0.113.9/32").ip, 128 }));
	for (int round = 0; round < kit_rounds(200); round++) {
		int code;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			be_killed(blockset_count(want));
		const struct timespec ts = { .tv_nsec = dice_below(&d, took_us < 400000 ? took_us * 2 : 800000) * 1000 };
		(void)nanosleep(&ts, NULL);
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &code, 0), pid);
		assert_true(WIFSIGNALED(code) || code == 0);
		killed += WIFSIGNALED(code);
		bool is_a = is_same_file(cdb_path, a), is_b = is_same_file(cdb_path, b);
		assert_true(is_a || is_b);
		/* Before a denial is in force it is in the list, or nobody would know when it ends. */
		if (was_a && is_b)
			assert_true(is_listed("203.0.113.9/32 "));
		was_a = is_a;
		seen_a += is_a;
		seen_b += is_b;
		DIR *at = opendir(dir);
		for (const struct dirent *e; (e = readdir(at)) != NULL;)
			leftovers += strstr(e->d_name, "spillway-") != NULL;
		(void)closedir(at);
		if (round % 2 == 0)
			block("203.0.113.9/32");
		else
			unblock("203.0.113.9/32");
	}
	print_message("# killed %d, old %d, new %d, leftovers %d\n", killed, seen_a, seen_b, leftovers);
	start();
	await_ours(blockset_count(want));
	assert_tidy();
	assert_int_equal(unlink(a), 0);
	assert_int_equal(unlink(b), 0);
	assert_in_range(killed, kit_rounds(200) / 10, 200);
	assert_in_range(seen_a, kit_is_slow() ? 0 : 5, 200);
	assert_in_range(seen_b, kit_is_slow() ? 0 : 5, 200);
	end();
}

/* The keeper, and a person with `spillway neutral`, or two of either. */
static _Noreturn void
be_another(void)
{
	ctx = NULL;
	for (int i = 0; i < 25; i++) {
		struct err why;
		void *other;

		if (block_tcprules.init(&cfg, &other, &why) < 0)
			_exit(1);
		(void)block_tcprules.neutral(other, i % 5 == 0, &why); /* it may say that others change it all the time */
		block_tcprules.free(other);
	}
	_exit(0);
}

static void
tcprules_two_at_once_put_nothing_half_in_place(void **state)
{
	struct cdb_view v;
	int code;

	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	for (unsigned i = 0; i < 5000; i++) {
		struct ip_prefix p = prefix("198.18.0.0/32");

		p.ip.b[14] = (uint8_t)(i >> 8);
		p.ip.b[15] = (uint8_t)i;
		block_prefix(&p, 10 * MINUTE_MS);
	}
	start();
	await_ours(5000);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		be_another();
	for (unsigned i = 0; waitpid(pid, &code, WNOHANG) == 0; i++) {
		struct cdbread c = { 0 };

		(void)turn(5);
		if (i % 20 == 0)
			block("203.0.113.9/32");
		else if (i % 20 == 10)
			unblock("203.0.113.9/32");
		assert_true(cdbread_load(cdb_path, &c));
		assert_int_equal(cdb_look(c.at, c.len, TCPRULES_MARKER, &v), 0);
		assert_int_equal(v.theirs, 2);
		cdbread_free(&c);
	}
	assert_int_equal(code, 0);
	await_verdict("198.18.19.1", 'D');
	await_ours(blockset_count(want));
	assert_tidy();
	end();
}

static void
tcprules_leftovers_of_the_dead_are_removed_and_of_others_kept(void **state)
{
	static const char *const dead[] = {
		"tcp.smtp.cdb.spillway-new.4194304", "tcp.smtp.cdb.spillway-tmp.4194304", "tcp.smtp.cdb.spillway-tmp.0",
		"tcp.smtp.cdb.spillway-new.99999999999", ".tcp.smtp.cdb.spillway.new",
	};
	static const char *const kept[] = {
		"tcp.smtp.cdb.spillway-new.1", "tcp.smtp.cdb.spillway-new.", "tcp.smtp.cdb.spillway-new.12x",
		"tcp.smtp.cdb.spillway-old.4194304", "tcp.smtp.spillway-new.4194304", "xtcp.smtp.cdb.spillway-new.4194304",
		"tcp.smtp.cdb.spillway",
	};

	(void)state;
	begin(":allow\n");
	for (size_t i = 0; i < countof(dead); i++)
		kit_puts(dir, dead[i], "x");
	for (size_t i = 0; i < countof(kept); i++)
		kit_puts(dir, kept[i], "x");
	start();
	for (size_t i = 0; i < countof(dead); i++) {
		char path[KIT_PATH_MAX];

		if (is_there(kit_path(path, dir, dead[i])))
			fail_msg("%s is left", dead[i]);
	}
	for (size_t i = 0; i < countof(kept); i++) {
		char path[KIT_PATH_MAX];

		if (!is_there(kit_path(path, dir, kept[i])))
			fail_msg("%s is gone", kept[i]);
	}
	end();
}

/* --- many turns ------------------------------------------------------------------------------ */

static void
tcprules_bursts_are_gathered_and_nothing_leaks(void **state)
{
	(void)state;
	begin(":allow\n");
	size_t fds = open_fds();
	start();
	await_ours(0);
	size_t fds_started = open_fds();
	ino_t last = 0;
	int rebuilds = 0;
	mono_t then = mono_now();
	for (unsigned i = 0; i < 400; i++) {
		struct ip_prefix p = prefix("198.51.100.0/32");

		p.ip.b[14] = (uint8_t)(i >> 8);
		p.ip.b[15] = (uint8_t)i;
		block_prefix(&p, MINUTE_MS);
		(void)turn(1);
		struct stat st = stat_of(cdb_path);
		rebuilds += st.st_ino != last;
		last = st.st_ino;
	}
	await_ours(400);
	assert_in_range(rebuilds, 1, mono_since(then, mono_now()) / 100 + 3);
	assert_int_equal(open_fds(), fds_started);
	stop();
	assert_int_equal(open_fds(), fds);
	end();
}

/* The keeper calls step() after each change, and then when the descriptor says so: that is enough, and not too often. */
static void
tcprules_descriptor_tells_all_that_is_to_be_done(void **state)
{
	struct ip_prefix p = prefix("203.0.113.9/32");
	int wakes = 0;

	(void)state;
	begin(":allow\n");
	start();
	(void)turn(0);
	for (int round = 0; round < 3; round++) {
		block_prefix(&p, 500); /* while the last rebuild is running or not long ago */
		(void)turn(0);
		while (verdict("203.0.113.9") != 'D' && ++wakes < 1000)
			assert_true(turn(PATIENCE_MS));
		/* its end */
		while (verdict("203.0.113.9") != 'A' && ++wakes < 1000)
			assert_true(turn(PATIENCE_MS));
	}
	if (!kit_is_slow())
		assert_in_range(wakes, 6, 200);
	/* Nothing is to be done any more. */
	while (turn(100) && ++wakes < 1000)
		;
	assert_in_range(wakes, 6, 999);
	end();
}

/* A block is in force soon after it was decided, however long nothing happened before. */
static void
tcprules_first_block_does_not_wait(void **state)
{
	(void)state;
	begin(":allow\n");
	start();
	await_ours(0);
	turn_for(300);
	mono_t then = mono_now();
	block("203.0.113.9/32");
	await_verdict("203.0.113.9", 'D');
	if (!kit_is_slow())
		assert_in_range(mono_since(then, mono_now()), 0, 4900); /* a busy machine; tests/bench has the figures */
	end();
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest alone[] = { cmocka_unit_test(full_disk) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcprules_recompiled_by_somebody_has_ours_again_within_a_second),
		cmocka_unit_test(tcprules_waits_while_the_rules_are_edited_and_says_so),
		cmocka_unit_test(tcprules_that_is_overtaken_by_the_author_begins_anew),
		cmocka_unit_test(tcprules_leaves_a_cdb_alone_that_is_not_made_of_the_rules),
		cmocka_unit_test(tcprules_clock_set_back_is_no_edit),
		cmocka_unit_test(tcprules_bad_rule_leaves_the_old_cdb_and_says_which_line),
		cmocka_unit_test(tcprules_without_its_files_waits_until_they_are_there),
		cmocka_unit_test(tcprules_directory_that_goes_and_comes_is_found_again),
		cmocka_unit_test(f1_tcprules_follows_no_link),
		cmocka_unit_test(f2_tcprules_writes_into_no_file_that_has_another_name_too),
		cmocka_unit_test(f6_tcprules_refuses_a_directory_where_others_can_plant),
		cmocka_unit_test(f9_tcprules_keeps_mode_and_owner_of_the_cdb_whatever_the_umask),
		cmocka_unit_test(tcprules_names_that_cannot_be_used_are_refused),
		cmocka_unit_test(tcprules_that_fails_is_told_and_heals),
		cmocka_unit_test(tcprules_that_is_absent_is_told_and_heals),
		cmocka_unit_test(tcprules_that_hangs_is_ended_and_wakes_nobody_meanwhile),
		cmocka_unit_test(tcprules_free_in_a_forked_process_leaves_the_child_alone),
		cmocka_unit_test(d1_tcprules_full_disk_keeps_the_old_cdb_and_heals),
		cmocka_unit_test(f4_tcprules_killed_at_any_moment_leaves_a_whole_cdb),
		cmocka_unit_test(tcprules_two_at_once_put_nothing_half_in_place),
		cmocka_unit_test(tcprules_leftovers_of_the_dead_are_removed_and_of_others_kept),
		cmocka_unit_test(tcprules_descriptor_tells_all_that_is_to_be_done),
		cmocka_unit_test(tcprules_bursts_are_gathered_and_nothing_leaks),
		cmocka_unit_test(tcprules_first_block_does_not_wait),
	};

	if (!rig_is_possible())
		return 0;
	if (argc > 1 && strcmp(argv[1], FULL_DISK) == 0)
		return cmocka_run_group_tests(alone, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
