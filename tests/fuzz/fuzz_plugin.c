/* SPDX-License-Identifier: ISC */
/*
 * The plugin in an environment of strangers.  Whatever they send: exit code 0, at most one reply in one write, and
 * not a byte of theirs in it; in the log only addresses and users that were printed anew; the record for the engine
 * is whole, and the engine is asked about nobody whom it does not concern.
 *
 * The plugin's files are included, with its system calls led to functions of ours.  Input: four bytes of options, then
 * strings with a NUL behind each (enum string), then the state file.
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
#include "lib/num.h"
#include "lib/rundir.h"
#include "lib/siphash.h"
#include "lib/text.h"
#include "plugins/plugin.h"
#include "tests/fuzz/fuzz.h"

#define EVENT_FD 1000
#define ENGINE_FD 1001
#define BLOCK_FD 1002
#define LINES_MAX 4

enum string {
	NAME,
	IP,
	HELO,
	SENDER,
	RECIPIENT,
	USER,
	HOST,
	RCPT_COUNT,
	TARPIT_COUNT,
	TARPIT_DELAY,
	IPSV_DIR,
	STRINGS,
};

static const char *const variables[STRINGS] = {
	[NAME] = "", [IP] = "TCPREMOTEIP", [HELO] = "SMTPHELOHOST", [SENDER] = "SMTPMAILFROM",
	[RECIPIENT] = "SMTPRCPTTO", [USER] = "SMTPAUTHUSER", [HOST] = "TCPREMOTEHOST", [RCPT_COUNT] = "SMTPRCPTCOUNTALL",
	[TARPIT_COUNT] = "TARPITCOUNT", [TARPIT_DELAY] = "TARPITDELAY", [IPSV_DIR] = "IPSVDIR",
};

static struct {
	char *value[STRINGS]; /* NULL: not set */
	bool relay, engine_gone, answers;
	struct ask_answer answer;
	char out[LINES_MAX * PLUGIN_LINE_MAX], err[LINES_MAX * PLUGIN_LINE_MAX];
	size_t out_len, err_len;
	int writes, packets, questions, sleeps, blocks;
	uint32_t wants, timer_ms;
	bool umask_is_zero;
	int home; /* open directory */
	char dir[64];
} world;

static bool
has_user(void)
{
	return world.value[USER] != NULL && world.value[USER][0] != '\0';
}

static bool
is_own(void)
{
	return world.relay || has_user();
}

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
	return EVENT_FD;
}

static ssize_t
fuzz_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	uint8_t buf[RECORD_MAX];
	struct record r;
	size_t n = 0;

	CHECK(fd == EVENT_FD && flags == 0 && world.packets++ == 0);
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		CHECK(n + msg->msg_iov[i].iov_len <= sizeof(buf));
		memcpy(buf + n, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
		n += msg->msg_iov[i].iov_len;
	}
	CHECK(record_decode(buf, n, &r) == 0);
	if (r.verdict != VERDICT_PASS)
		CHECK(r.class == CLASS_STRANGER && r.code == 451);
	else if (r.class == CLASS_OWN) /* that he is there, and to whom he sends */
		CHECK(is_own() && (r.stage == STAGE_RCPT || (r.stage == STAGE_MAIL && has_user())));
	else
		CHECK(!is_own() && r.stage == STAGE_DATA);
	errno = ECONNREFUSED;
	return world.engine_gone ? -1 : (ssize_t)n;
}

static int
fuzz_ask_engine(const char *dir, const struct record *r, mono_t until, struct ask_answer *ret)
{
	const uint32_t of_users = 1u << CHECK_USERTHROTTLE | 1u << CHECK_RCPTTHROTTLE, sent = 1u << CHECK_BOUNCESHIELD;
	struct record_packet packet;

	CHECK(strcmp(dir, world.dir) == 0 && world.questions++ == 0 && world.out_len == 0);
	CHECK(mono_since(mono_now(), until) <= PLUGIN_ASK_MS);
	record_pack(r, &packet);
	CHECK(packet.len <= RECORD_MAX && r->verdict == VERDICT_PASS && r->code == 0);
	CHECK(r->wants != 0 && r->wants >> CHECK_COUNT == 0 && (r->wants & 1u << CHECK_OVERLOAD) == 0);
	CHECK(r->class == (is_own() ? CLASS_OWN : CLASS_STRANGER));
	CHECK(!is_own() || (has_user() && (r->wants & ~(of_users | sent)) == 0) || r->wants == sent);
	CHECK((r->wants & 1u << CHECK_USERTHROTTLE) == 0 || has_user());
	CHECK(((r->wants & 1u << CHECK_TARPIT) != 0) == (r->delay_ms != 0));
	CHECK(r->delay_ms <= ASK_DELAY_MAX_MS && r->delay_ms % 1000 == 0);
	CHECK(((r->wants & (1u << CHECK_IPTHROTTLE | 1u << CHECK_CONCURRENCY)) == 0) || r->ip_known);
	world.wants = r->wants;
	if (!world.answers)
		return -ETIMEDOUT;
	*ret = world.answer;
	return ENGINE_FD;
}

static int
fuzz_poll(struct pollfd *p, nfds_t n, int ms)
{
	if (n == 1) { /* the log, which is never waited for */
		CHECK(p[0].fd == STDERR_FILENO && ms == 0);
		p[0].revents = POLLOUT;
		return 1;
	}
	CHECK(n == 2 && p[0].fd == ENGINE_FD && p[0].events == POLLIN && p[1].fd == STDOUT_FILENO && p[1].events == 0);
	CHECK(ms > 0 && (uint32_t)ms <= world.answer.delay_ms && world.timer_ms > (uint32_t)ms && world.sleeps++ == 0);
	CHECK(world.out_len == 0 && !is_own() && world.answer.verdict == VERDICT_PASS);
	return 0;
}

static int
fuzz_setitimer(int which, const struct itimerval *it, struct itimerval *old)
{
	CHECK(which == ITIMER_REAL && old == NULL && it->it_value.tv_usec < 1000000);
	world.timer_ms = (uint32_t)(it->it_value.tv_sec * 1000 + it->it_value.tv_usec / 1000);
	CHECK(world.timer_ms >= PLUGIN_DEADLINE_MS && world.timer_ms <= PLUGIN_DEADLINE_MS + ASK_DELAY_MAX_MS);
	return 0;
}

static int
fuzz_flag_look(int dirfd, const char *path, int64_t *ret_since)
{
	CHECK(dirfd == AT_FDCWD);
	return flag_look(world.home, path, ret_since);
}

static mode_t
fuzz_umask(mode_t mask)
{
	world.umask_is_zero = mask == 0;
	return 022;
}

/* An instruction file: in the directory that the operator named, called by a dotted quad that is no loopback. */
static int
fuzz_open(const char *path, int flags, mode_t mode)
{
	const char *dir = world.value[IPSV_DIR];
	struct ip ip;

	CHECK(world.blocks++ == 0 && world.umask_is_zero && mode == 0200);
	CHECK(flags == (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC));
	CHECK(dir != NULL && dir[0] != '\0' && strncmp(path, dir, strlen(dir)) == 0 && path[strlen(dir)] == '/');
	const char *name = path + strlen(dir) + 1;
	CHECK(strspn(name, "0123456789.") == strlen(name) && ip_parse(name, &ip) == 0 && ip_is_v4(&ip));
	CHECK(strncmp(name, "127.", 4) != 0);
	CHECK(!is_own() && world.out_len > 0 && (world.answer.flags & ASK_MAY_BLOCK) != 0);
	CHECK(world.answer.check == CHECK_IPTHROTTLE && (world.wants & 1u << CHECK_IPTHROTTLE) != 0);
	if (world.answer.n % 3 == 0)
		return BLOCK_FD;
	errno = world.answer.n % 3 == 1 ? EEXIST : EACCES;
	return -1;
}

static int
fuzz_close(int fd)
{
	CHECK(fd == BLOCK_FD);
	return 0;
}

int plugin_main(int argc, char **argv);

#define PLUGIN_NO_HANDLERS
#define main plugin_main
#define getenv fuzz_getenv
#define write fuzz_write
#define socket fuzz_socket
#define sendmsg fuzz_sendmsg
#define ask_engine fuzz_ask_engine
#define poll(p, n, ms) fuzz_poll(p, n, ms)
#define setitimer fuzz_setitimer
#define flag_look fuzz_flag_look
#define umask fuzz_umask
#define open fuzz_open
#define close fuzz_close
#include "plugins/bounceshield.c"
#include "plugins/concurrency.c"
#include "plugins/engine.c"
#include "plugins/guard.c"
#include "plugins/ipthrottle.c"
#include "plugins/localparts.c"
#include "plugins/main.c"
#include "plugins/overload.c"
#include "plugins/rcptthrottle.c"
#include "plugins/say.c"
#include "plugins/tarpit.c"
#include "plugins/userthrottle.c"
#include "plugins/validrcpt.c"
#include "plugins/wrongrcpt.c"
#undef main
#undef getenv
#undef write
#undef socket
#undef sendmsg
#undef ask_engine
#undef poll
#undef setitimer
#undef flag_look
#undef umask
#undef open
#undef close

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

static void
put_id_of(char *id, const uint8_t *bytes, int n)
{
	for (int i = 0; i < n && bytes[i] != 0; i++)
		id[i] = "abcdefghijkmnpqrstuvwxyz23456789"[bytes[i] % 32];
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
		s.checks[i] = byte[4] | (uint32_t)(byte[15] & 3) << 8;
	put_id_of(s.episode, byte + 5, 8);
	state_encode(&s, buf);
	put_file(STATE_FILE, buf, sizeof(buf));
}

/* An answer as ask_answer_decode() would let through, of one byte and the state's last bytes. */
static void
make_answer(uint8_t option, const uint8_t *data, size_t size)
{
	uint8_t byte[8] = { 0 };

	if (size > 16)
		memcpy(byte, data + 16, size - 16 < sizeof(byte) ? size - 16 : sizeof(byte));
	world.answers = (option & 1) != 0;
	world.answer = (struct ask_answer) {
		.verdict = (option >> 1 & 3) % VERDICT_COUNT, .check = ((option >> 3 & 7) + (byte[7] & 8)) % CHECK_COUNT,
		.code = (byte[7] & 1) != 0 ? 550 : 421,
		.flags = option >> 6, .delay_ms = (uint32_t)byte[0] * 120 % (ASK_DELAY_MAX_MS + 1), .n = byte[1],
	};
	put_id_of(world.answer.id, byte + 2, 6);
}

/* --- what may come out ----------------------------------------------------------------------- */

static const struct {
	enum check check;
	const char *code, *enhanced, *text;
} replies[] = {
	{ CHECK_OVERLOAD, "451", "4.3.2", "Temporary Failure: Server overload" },
	{ CHECK_CONCURRENCY, "421", "4.7.0", "Too many connections held open. Please close some first." },
	{ CHECK_IPTHROTTLE, "421", "4.7.0", "Too many connections. Please reduce connections per minute. Blocking for 2 minutes." },
	{ CHECK_IPTHROTTLE, "421", "4.7.0", "Too many connections. Please reduce connections per minute." },
	{ CHECK_USERTHROTTLE, "421", "4.7.0", "Too many connections. Please reduce connections per minute." },
	{ CHECK_RCPTTHROTTLE, "451", "4.5.3", "Too many recipients. Please slow down." },
	{ CHECK_BOUNCESHIELD, "451", "4.7.1", "sorry, too many bounces to this address; please try again later" },
	{ CHECK_BOUNCESHIELD, "550", "5.7.1", "sorry, this address did not send what you return" },
	{ CHECK_WRONGRCPT, "451", "4.7.1", "Too many unknown recipients. Please try again later." },
	{ CHECK_WRONGRCPT, "550", "5.7.1", "Too many unknown recipients." },
	{ CHECK_VALIDRCPT, "451", "4.1.1", "sorry, this mailbox is not known; please try again later" },
	{ CHECK_VALIDRCPT, "550", "5.1.1", "sorry, no mailbox here by that name (#5.1.1)" },
	{ CHECK_LOCALPARTS, "451", "4.1.1", "sorry, this mailbox is not known; please try again later" },
	{ CHECK_LOCALPARTS, "550", "5.1.1", "sorry, no mailbox here by that name (#5.1.1)" },
};

/* Is `*at` at `word`?  Then go behind it. */
static bool
skip(const char **at, const char *word)
{
	if (strncmp(*at, word, strlen(word)) != 0)
		return false;
	*at += strlen(word);
	return true;
}

/* The end of a line: nothing, or " [e23456789]". */
static bool
is_end(const char *p)
{
	if (*p == '\0')
		return true;
	if (!skip(&p, " ["))
		return false;
	p += strspn(p, "abcdefghijkmnpqrstuvwxyz23456789");
	return strcmp(p, "]") == 0;
}

/* The next line, without its end, in `ret`: printable, all of it.  Returns what is left. */
static size_t
take_line(const char *at, size_t len, char ret[PLUGIN_LINE_MAX + 1])
{
	const char *end = memchr(at, '\n', len);

	CHECK(end != NULL && end - at < PLUGIN_LINE_MAX);
	memcpy(ret, at, (size_t)(end - at));
	ret[end - at] = '\0';
	CHECK(strlen(ret) == (size_t)(end - at) && text_is_plain(ret));
	return len - (size_t)(end - at) - 1;
}

static bool
is_reply(const char *line, size_t row)
{
	const char *p = line;
	bool keeps = *p == 'E', shield = replies[row].check >= CHECK_BOUNCESHIELD; /* at RCPT alone */

	p++;
	if (!skip(&p, keeps && !shield ? "451" : replies[row].code) || !skip(&p, " ") || (shield && !keeps))
		return false;
	if (skip(&p, replies[row].enhanced) && !skip(&p, " "))
		return false;
	return skip(&p, replies[row].text) && is_end(p);
}

static bool
is_allowed(enum check check)
{
	bool asked = check != CHECK_OVERLOAD;

	if (is_own() && (!has_user() || (check != CHECK_USERTHROTTLE && check != CHECK_RCPTTHROTTLE)))
		return false;
	return !asked || (world.answer.check == check && world.answer.verdict != VERDICT_PASS && world.answers
		&& (world.wants & 1u << check) != 0);
}

static void
check_reply(void)
{
	char line[PLUGIN_LINE_MAX + 1];
	bool known = false;

	CHECK(world.writes <= 1 && (world.writes == 0) == (world.out_len == 0));
	if (world.out_len == 0)
		return;
	CHECK(take_line(world.out, world.out_len, line) == 0);
	CHECK(line[0] == 'E' || line[0] == 'R');
	for (size_t i = 0; i < countof(replies); i++)
		known = known || (is_reply(line, i) && is_allowed(replies[i].check));
	CHECK(known);
	CHECK(world.questions + world.packets >= 1);
}

/* "(192.0.2.1)": an address that reads back. */
static bool
is_address(const char **at)
{
	char text[IP_TEXT_MAX + 1];
	size_t n = strspn(*at, "0123456789abcdef.:");
	struct ip ip;

	if (n >= sizeof(text))
		return false;
	memcpy(text, *at, n);
	text[n] = '\0';
	*at += n;
	return ip_parse(text, &ip) == 0;
}

static bool
is_log_line(const char *line)
{
	static const char *const addressed[] = {
		"ipthrottle: ", "Rate exceeded per IP (", ")", "ipthrottle: ", "Blocked ", "", "ipthrottle: ", "Can't block ", "",
		"concurrency: ", "Too many connections per IP (", ")", "rcptthrottle: ", "Too many recipients per IP (", ")",
		"bounceshield: ", "Bounce to an address under a storm of them, from ", "",
		"wrongrcpt: ", "Too many unknown recipients per IP (", ")",
		"validrcpt: ", "No such recipient, from ", "", "localparts: ", "Unlikely recipient, from ", "",
	};
	static const char *const named[] = {
		"userthrottle: ", "Rate exceeded per user (", "rcptthrottle: ", "Too many recipients per user (",
	};
	static const char *const notes[] = {
		"ipthrottle: ", "511 No IP address", "tarpit: ", "can't get number of envelope recipients",
		"tarpit: ", "started tarpitting", "concurrency: ", "Can't connect to spillwayd",
		"ipthrottle: ", "Can't connect to spillwayd", "userthrottle: ", "Can't connect to spillwayd",
		"rcptthrottle: ", "Can't connect to spillwayd", "tarpit: ", "Can't connect to spillwayd",
		"bounceshield: ", "Can't connect to spillwayd", "wrongrcpt: ", "Can't connect to spillwayd",
		"validrcpt: ", "Can't connect to spillwayd", "localparts: ", "Can't connect to spillwayd",
	};
	static const char *const unknown[] = {
		"bounceshield: ", "Bounce to an address under a storm of them, from ?",
		"validrcpt: ", "No such recipient, from ?", "localparts: ", "Unlikely recipient, from ?",
	};
	char overload[64], pid[32];

	(void)snprintf(overload, sizeof(overload), "overload: %u Temporary Failure: Server overload", (unsigned)getppid());
	(void)snprintf(pid, sizeof(pid), "pid %u - ", (unsigned)getppid());
	const char *p = line;
	if (skip(&p, overload))
		return is_end(p);
	for (size_t i = 0; i < countof(addressed); i += 3) {
		p = line;
		if (skip(&p, addressed[i]) && skip(&p, pid) && skip(&p, addressed[i + 1]) && is_address(&p)
			&& skip(&p, addressed[i + 2]) && is_end(p))
			return true;
	}
	for (size_t i = 0; i < countof(unknown); i += 2) {
		p = line;
		if (skip(&p, unknown[i]) && skip(&p, pid) && skip(&p, unknown[i + 1]))
			return is_end(p);
	}
	for (size_t i = 0; i < countof(named); i += 2) {
		p = line;
		if (skip(&p, named[i]) && skip(&p, pid) && skip(&p, named[i + 1]))
			return strlen(p) < 64 * 4 + 40 && has_user();
	}
	for (size_t i = 0; i < countof(notes); i += 2) {
		p = line;
		if (skip(&p, notes[i]) && skip(&p, pid) && strcmp(p, notes[i + 1]) == 0)
			return true;
	}
	return false;
}

static void
check_log(void)
{
	char line[PLUGIN_LINE_MAX + 1];
	size_t left = world.err_len;

	while (left > 0) {
		size_t at = world.err_len - left;

		left = take_line(world.err + at, left, line);
		CHECK(is_log_line(line));
	}
	CHECK(world.out_len == 0 || world.err_len > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char names[][32] = {
		"spillway-connection", "spillway-helo", "spillway-auth", "spillway-mail", "spillway-rcpt", "spillway-data",
		"overload", "/var/qmail/plugins/overload", "ipthrottle", "userthrottle", "rcptthrottle", "concurrency",
		"tarpit", "./tarpit", "spillway-rcpt", "bounceshield",
	};
	uint8_t options[4] = { 0 };

	for (size_t i = 0; i < sizeof(options) && size > 0; i++, data++, size--)
		options[i] = *data;
	world.relay = (options[0] & 1) != 0;
	for (int i = 0; i < STRINGS; i++) {
		const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
		size_t n = end != NULL ? (size_t)(end - data) : size;
		unsigned unset = i < HOST ? options[1] & 1u << i : options[2] & 1u << (i - HOST);

		/* the user is set only when that is wanted: else all would be ours */
		bool set = i != USER || (options[0] & 2) != 0;
		world.value[i] = set && unset == 0 ? fuzz_string(data, n) : NULL;
		n += end != NULL;
		data += n;
		size -= n;
	}
	bool flag = (options[0] & 4) != 0, good = (options[0] & 8) != 0, fresh = (options[0] & 16) != 0;
	bool other_boot = (options[1] & 64) != 0;
	world.engine_gone = (options[1] & 128) != 0;
	make_answer(options[3], data, size);
	if (flag)
		put_file(FLAG_PATH, data, size);
	else
		(void)unlinkat(world.home, FLAG_PATH, 0);
	if (good)
		put_state(data, size, fresh, other_boot);
	else
		put_file(STATE_FILE, data, size);
	world.out_len = world.err_len = 0;
	world.writes = world.packets = world.questions = world.sleeps = world.blocks = 0;
	world.wants = 0;
	world.umask_is_zero = false;

	char *given = world.value[NAME] != NULL ? world.value[NAME] : names[options[0] >> 5 | (options[2] & 128) >> 4];
	char *argv[] = { given, NULL };
	CHECK(plugin_main(1, argv) == 0);
	bool outdated = good && (!fresh || (other_boot && world.engine_gone));
	CHECK(!(good && !fresh) || world.questions == 0);
	CHECK(!outdated || flag || world.questions > 0 || world.out_len == 0);
	check_reply();
	check_log();
	for (int i = 0; i < STRINGS; i++)
		free(world.value[i]);
	return 0;
}
