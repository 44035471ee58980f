/* SPDX-License-Identifier: ISC */
/*
 * The plugin in an environment of strangers.  Whatever they send: exit code 0, at most one reply in one write, and
 * not a byte of theirs in it or in the log line; the record for the engine is whole.
 *
 * The plugin's files are included, with its system calls led to functions of ours.  Input: two bytes of options, then
 * strings with a NUL behind each (name, address, helo, sender, recipient, user), then the state file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/fdio.h"
#include "lib/flag.h"
#include "lib/rundir.h"
#include "lib/text.h"
#include "plugins/plugin.h"
#include "tests/fuzz/fuzz.h"

enum {
	NAME,
	IP,
	HELO,
	SENDER,
	RECIPIENT,
	USER,
	STRINGS,
};

static const char *const variables[STRINGS] = {
	[NAME] = "", [IP] = "TCPREMOTEIP", [HELO] = "SMTPHELOHOST", [SENDER] = "SMTPMAILFROM",
	[RECIPIENT] = "SMTPRCPTTO", [USER] = "SMTPAUTHUSER",
};

static struct {
	char *value[STRINGS]; /* NULL: not set */
	bool relay, engine_gone;
	char out[2 * PLUGIN_LINE_MAX], err[2 * PLUGIN_LINE_MAX];
	size_t out_len, err_len;
	int writes, packets;
	int home; /* open directory */
	char dir[64];
} world;

static char *
fuzz_getenv(const char *name)
{
	static char empty[] = "";

	for (int i = IP; i < STRINGS; i++)
		if (strcmp(name, variables[i]) == 0)
			return world.value[i];
	return strcmp(name, "RELAYCLIENT") == 0 && world.relay ? empty : NULL;
}

static ssize_t
fuzz_write(int fd, const void *buf, size_t n)
{
	CHECK(fd == STDOUT_FILENO || fd == STDERR_FILENO);
	char *at = fd == STDOUT_FILENO ? world.out : world.err;
	size_t *len = fd == STDOUT_FILENO ? &world.out_len : &world.err_len;
	CHECK(n <= PLUGIN_LINE_MAX && *len + n <= sizeof(world.out));
	memcpy(at + *len, buf, n);
	*len += n;
	world.writes += fd == STDOUT_FILENO;
	return (ssize_t)n;
}

static int
fuzz_socket(int domain, int type, int protocol)
{
	CHECK(domain == AF_UNIX && (type & SOCK_NONBLOCK) != 0 && protocol == 0);
	return 1000;
}

static ssize_t
fuzz_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	uint8_t buf[RECORD_MAX];
	struct record r;
	size_t n = 0;

	CHECK(fd == 1000 && flags == 0 && world.packets++ == 0);
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		CHECK(n + msg->msg_iov[i].iov_len <= sizeof(buf));
		memcpy(buf + n, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
		n += msg->msg_iov[i].iov_len;
	}
	CHECK(record_decode(buf, n, &r) == 0);
	CHECK(r.verdict != VERDICT_PASS && r.class == CLASS_STRANGER && r.code == 451);
	errno = ECONNREFUSED;
	return world.engine_gone ? -1 : (ssize_t)n;
}

static int
fuzz_setitimer(int which, const struct itimerval *it, struct itimerval *old)
{
	CHECK(which == ITIMER_REAL && it->it_value.tv_usec > 0 && old == NULL);
	return 0;
}

static int
fuzz_flag_look(int dirfd, const char *path, int64_t *ret_since)
{
	CHECK(dirfd == AT_FDCWD);
	return flag_look(world.home, path, ret_since);
}

int plugin_main(int argc, char **argv);

#define PLUGIN_NO_HANDLERS
#define main plugin_main
#define getenv fuzz_getenv
#define write fuzz_write
#define socket fuzz_socket
#define sendmsg fuzz_sendmsg
#define setitimer fuzz_setitimer
#define flag_look fuzz_flag_look
#include "plugins/guard.c"
#include "plugins/main.c"
#include "plugins/overload.c"
#undef main
#undef getenv
#undef write
#undef socket
#undef sendmsg
#undef setitimer
#undef flag_look

/* --- the world before a run ------------------------------------------------------------------ */

static void
remove_all(void)
{
	(void)unlinkat(world.home, FLAG_PATH, 0);
	(void)unlinkat(world.home, STATE_FILE, 0);
	(void)unlinkat(world.home, "control", AT_REMOVEDIR);
	(void)rmdir(world.dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	(void)snprintf(world.dir, sizeof(world.dir), "%s/spillway-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(world.dir) != NULL && setenv(RUNDIR_ENV, world.dir, 1) == 0);
	world.home = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(world.home >= 0 && mkdirat(world.home, "control", 0755) == 0);
	return atexit(remove_all);
}

static void
put_file(const char *name, const void *bytes, size_t n)
{
	int fd = openat(world.home, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && fd_write_all(fd, bytes, n) == 0 && close(fd) == 0);
}

/* A state that is believed, of the bytes that there are; or one whose lease is over, or of another boot. */
static void
put_state(const uint8_t *data, size_t size, bool fresh, bool other_boot)
{
	struct state s = { .issued = { mono_now().ms - (fresh ? 0 : 20000) }, .valid_ms = 10000 };
	uint8_t byte[16] = { 0 }, buf[STATE_SIZE];

	memcpy(byte, data, size < sizeof(byte) ? size : sizeof(byte));
	CHECK(clock_boot_id(s.boot_id) == 0);
	s.boot_id[0] ^= other_boot;
	s.level = byte[0] % LEVEL_COUNT;
	s.flags = byte[1];
	s.salt = byte[2];
	for (int i = 0; i < CLASS_COUNT; i++)
		s.admit[i] = (uint16_t)(byte[3] % 4 == 0 ? 0 : byte[3] > 250 ? ADMIT_ALL : byte[3] * 4);
	for (int i = 0; i < STAGE_COUNT; i++)
		s.checks[i] = byte[4];
	for (int i = 0; i < 8 && byte[5 + i] != 0; i++)
		s.episode[i] = "abcdefghijkmnpqrstuvwxyz23456789"[byte[5 + i] % 32];
	state_encode(&s, buf);
	put_file(STATE_FILE, buf, sizeof(buf));
}

/* --- what may come out ----------------------------------------------------------------------- */

/* `line` is all of it: `head`, our text with or without code and id, the line's end. */
static void
check_line(const char *line, size_t len, const char *const *heads, size_t n)
{
	static const char text[] = "Temporary Failure: Server overload";
	char copy[PLUGIN_LINE_MAX + 1];

	CHECK(len <= PLUGIN_LINE_MAX && line[len - 1] == '\n');
	memcpy(copy, line, len);
	copy[len - 1] = '\0';
	CHECK(strlen(copy) == len - 1 && text_is_plain(copy));
	const char *p = strstr(copy, text);
	CHECK(p != NULL);
	bool known = false;
	for (size_t i = 0; i < n; i++)
		known = known || (strlen(heads[i]) == (size_t)(p - copy)
			&& memcmp(copy, heads[i], strlen(heads[i])) == 0);
	CHECK(known);
	p += strlen(text);
	if (*p != '\0') { /* " [e23456789]" */
		CHECK(p[0] == ' ' && p[1] == '[');
		p += 2 + strspn(p + 2, "abcdefghijkmnpqrstuvwxyz23456789");
		CHECK(strcmp(p, "]") == 0);
	}
}

static void
check_output(bool must_pass)
{
	static const char *const replies[] = { "R451 ", "E451 ", "R451 4.3.2 ", "E451 4.3.2 " };
	char log[64];
	const char *const logs[] = { log };

	CHECK(world.writes <= 1 && (world.writes == 0) == (world.out_len == 0));
	CHECK(world.packets >= world.writes);
	if (world.out_len == 0) {
		CHECK(world.err_len == 0);
		return;
	}
	CHECK(!must_pass);
	check_line(world.out, world.out_len, replies, countof(replies));
	(void)snprintf(log, sizeof(log), "overload: %u ", (unsigned)getppid());
	if (world.err_len > 0)
		check_line(world.err, world.err_len, logs, 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char names[][32] = {
		"spillway-connection", "spillway-helo", "spillway-auth", "spillway-mail", "spillway-rcpt", "spillway-data",
		"overload", "/var/qmail/plugins/overload",
	};
	uint8_t options[2] = { 0 };

	for (size_t i = 0; i < sizeof(options) && size > 0; i++, data++, size--)
		options[i] = *data;
	world.relay = (options[0] & 1) != 0;
	for (int i = 0; i < STRINGS; i++) {
		const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
		size_t n = end != NULL ? (size_t)(end - data) : size;

		/* the user is set only when that is wanted: else all would be ours */
		bool set = i != USER || (options[0] & 2) != 0;
		world.value[i] = set && (options[1] & 1u << i) == 0 ? fuzz_string(data, n) : NULL;
		n += end != NULL;
		data += n;
		size -= n;
	}
	bool flag = (options[0] & 4) != 0, good = (options[0] & 8) != 0, fresh = (options[0] & 16) != 0;
	bool other_boot = (options[1] & 64) != 0;
	world.engine_gone = (options[1] & 128) != 0;
	if (flag)
		put_file(FLAG_PATH, data, size);
	else
		(void)unlinkat(world.home, FLAG_PATH, 0);
	if (good)
		put_state(data, size, fresh, other_boot);
	else
		put_file(STATE_FILE, data, size);
	world.out_len = world.err_len = 0;
	world.writes = world.packets = 0;

	char *given = world.value[NAME] != NULL ? world.value[NAME] : names[options[0] >> 5];
	char *argv[] = { given, NULL };
	CHECK(plugin_main(1, argv) == 0);
	const char *user = world.value[USER];
	bool own = world.relay || (user != NULL && user[0] != '\0');
	bool outdated = good && (!fresh || (other_boot && world.engine_gone));
	check_output(own || (outdated && !flag));
	for (int i = 0; i < STRINGS; i++)
		free(world.value[i]);
	return 0;
}
