/* SPDX-License-Identifier: ISC */
/*
 * The control socket: a real one, with the real commands and an engine that has all its parts but no processes
 * around it.  Whatever a client sends, in whatever pieces, it gets one line of JSON with "ok" or is dropped, and
 * the next one is served.
 *
 * Input: a byte of options (which pieces, what the recorder says, who asks), then what the client sends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "lib/array.h"
#include "lib/rundir.h"
#include "tests/fuzz/fuzz.h"

#define TURNS 20

static struct engine engine;
static char dir[64];
static int recorder, quiet = -1, loud = -1;

static void
on_stored(uint64_t id, bool ok, const char *text, void *arg)
{
	override_stored(arg, id, ok, text);
	blocking_stored(arg, id, ok, text);
}

static void
on_override(const struct store_override *o, void *arg)
{
	override_restore(arg, o);
}

static void
on_stored_block(const struct store_block *b, const struct store_allow *a, void *arg)
{
	blocking_restore(arg, b, a);
}

static void
on_record(const struct record *r, void *arg)
{
	(void)r;
	(void)arg;
}

static void
remove_all(void)
{
	static const char *const names[] = {
		RUNDIR_CONTROL_SOCKET, RUNDIR_EVENT_SOCKET, RUNDIR_RATE_SOCKET, RUNDIR_ASK_SOCKET, MARKS_KEY_FILE,
	};
	char path[128];

	for (size_t i = 0; i < countof(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct engine *e = &engine;
	struct err why;
	int pair[2];

	(void)argc;
	(void)argv;
	(void)snprintf(dir, sizeof(dir), "/tmp/spillway-fuzz-XXXXXX");
	CHECK(mkdtemp(dir) != NULL && atexit(remove_all) == 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
	loud = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	CHECK(quiet >= 0 && loud >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	recorder = pair[1];
	config_defaults(&e->config);
	(void)snprintf(e->config.qmail.homes.s[0], CFG_STRING_MAX, "%s", dir);
	e->config.probes.qstat.every_ms = 0; /* no child processes here */
	e->config_path = "/nowhere/spillway.conf"; /* a reload ends at once */
	e->run_dir = e->keeper = -1;
	e->base = event_base_new();
	CHECK(e->base != NULL && reload_init(e) == 0);
	CHECK(watch_new(e->base, &e->turn, &e->config, &e->readings, &e->watch) == 0);
	CHECK(journal_new(e->base, pair[0], on_stored, on_override, on_stored_block, e, &e->journal) == 0);
	CHECK(ask_new(e->base, dir, &e->config.plugin_uids, on_record, e, &e->ask, &why) == 0);
	(void)snprintf(e->config.service.run_dir, CFG_STRING_MAX, "%s", dir);
	(void)snprintf(e->config.service.state_dir, CFG_STRING_MAX, "%s", dir);
	e->config.service.limits_memory = RATE_MEMORY_MIN;
	e->config.blocks.actions.dry_run = true;
	CHECK(blocking_open(e, &why) == 0);
	blocking_restore(e, NULL, NULL); /* nothing is stored */
	CHECK(limits_open(e, -1, &why) == 0);
	CHECK(storming_open(e, &why) == 0 && rcptcheck_open(e, &why) == 0);
	CHECK(rateserve_new(e->base, &e->turn, dir, &e->config.settings, e->limits.clients, &e->rateserve, &why) == 0);
	rateserve_configure(e->rateserve, limits_in_force(e));
	CHECK(control_new(e->base, dir, commands_handle, e, &e->control, &why) == 0);
	return 0;
}

/* The recorder takes what there is, and says that it is done, or not, or nothing. */
static void
record(unsigned says)
{
	struct recorder_message m;

	while (recv(recorder, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		struct recorder_answer a = {
			.kind = says == 1 ? ANSWER_DONE : ANSWER_FAILED, .id = m.id, .text = "full",
		};

		if (m.id != 0 && says != 0)
			(void)send(recorder, &a, sizeof(a), MSG_DONTWAIT);
	}
}

static void
turn(unsigned says)
{
	turn_over(&engine.turn);
	CHECK(event_base_loop(engine.base, EVLOOP_NONBLOCK) >= 0);
	record(says);
}

static void
check_reply(json_t *reply)
{
	const json_t *ok = json_object_get(reply, "ok"), *code = json_object_get(reply, "code");

	CHECK(json_is_object(reply) && json_is_boolean(ok));
	if (json_is_true(ok))
		return;
	CHECK(json_is_string(json_object_get(reply, "error")) && json_is_integer(code));
	CHECK(json_integer_value(code) == 1 || json_integer_value(code) == 100 || json_integer_value(code) == 111);
}

/* Send all of it in pieces, let the loop turn, and look at what came back. */
static void
converse(const uint8_t *data, size_t size, unsigned piece, unsigned says)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	static char back[1 << 18];
	size_t got = 0;
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s/" RUNDIR_CONTROL_SOCKET, dir);
	CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0);
	for (unsigned pieces = 0; size > 0; pieces++) {
		size_t part = piece == 0 || piece > size || pieces > 16 ? size : piece;

		n = send(fd, data, part, MSG_NOSIGNAL);
		if (n <= 0)
			break; /* dropped already */
		data += n;
		size -= (size_t)n;
		turn(says);
	}
	for (int i = 0; i < TURNS; i++) {
		turn(says);
		while (got < sizeof(back) - 1 && (n = recv(fd, back + got, sizeof(back) - 1 - got, 0)) > 0)
			got += (size_t)n;
		if (n == 0)
			break;
	}
	(void)close(fd);
	turn(says);
	if (got == 0)
		return;
	CHECK(back[got - 1] == '\n' && memchr(back, '\n', got) == back + got - 1);
	json_t *reply = json_loadb(back, got, 0, NULL);
	check_reply(reply);
	json_decref(reply);
}

/* The same request from somebody who may be anybody. */
static void
ask_as(const uint8_t *data, size_t size, uid_t uid)
{
	struct control_peer peer = { .uid = uid, .groups = { uid }, .n_groups = 1 };
	json_t *request = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(request)) {
		json_t *reply = commands_handle(request, &peer, 0, &engine);

		if (reply != NULL)
			check_reply(reply);
		/* who may not change anything gets an answer at once */
		CHECK(reply != NULL || uid == 0 || uid == geteuid());
		json_decref(reply);
	}
	json_decref(request);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned pieces[] = { 0, 1, 7, 100 };
	uint8_t options = size > 0 ? data[0] : 0;

	if (size > 0) {
		data++;
		size--;
	}
	/* The log of all this is of no use; what a CHECK or a sanitizer says still is, but for this while. */
	if (getenv("FUZZ_LOUD") == NULL)
		CHECK(dup2(quiet, STDERR_FILENO) == STDERR_FILENO);
	converse(data, size, pieces[options & 3], options >> 2 & 3);
	ask_as(data, size, options & 16 ? 0 : 1234567);
	for (int i = 0; i < 2; i++)
		turn(1);
	engine.override = (struct override) { .set = false };
	(void)dup2(loud, STDERR_FILENO);
	return 0;
}
