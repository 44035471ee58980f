/* SPDX-License-Identifier: ISC */
/*
 * The control port for telnet: a real connection, the real commands, and as much of an engine as they look at.
 * Whatever is said, in whatever pieces, the answers are printable lines and nothing changes but the verbosity of
 * the log.
 *
 * Input: a byte for the size of pieces, then what the visitor sends.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "lib/rundir.h"
#include "tests/fuzz/fuzz.h"

#define TURNS_MAX 400

static struct engine engine;
static char dir[64];
static int quiet = -1, loud = -1;

static void
remove_all(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_RATE_SOCKET, dir);
	(void)unlink(path);
	(void)rmdir(dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t key[RATE_KEY_SIZE];
	struct engine *e = &engine;
	struct err why;

	(void)argc;
	(void)argv;
	(void)snprintf(dir, sizeof(dir), "/tmp/spillway-fuzz-XXXXXX");
	CHECK(mkdtemp(dir) != NULL && atexit(remove_all) == 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
	loud = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	config_defaults(&e->config);
	e->base = event_base_new();
	CHECK(quiet >= 0 && loud >= 0 && e->base != NULL && rate_new(RATE_MEMORY_MIN, key, &e->limits.rate) == 0
		&& rate_new(RATE_MEMORY_MIN, key, &e->limits.clients) == 0);
	CHECK(rateserve_new(e->base, &e->turn, dir, &e->config.settings, e->limits.clients, &e->rateserve, &why) == 0);
	CHECK(shell_new(e->base, "127.0.0.1", 0, shell_commands_run, e, &e->shell) == 0);
	return 0;
}

static bool
hear(int fd)
{
	char back[4096];
	ssize_t n;

	while ((n = recv(fd, back, sizeof(back), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			CHECK(back[i] == '\n' || (back[i] >= ' ' && back[i] <= '~'));
	return n < 0;
}

static void
turn(void)
{
	turn_over(&engine.turn);
	CHECK(event_base_loop(engine.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
}

static void
converse(const uint8_t *data, size_t size, size_t piece)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	shell_adopt(engine.shell, pair[1]);
	for (int i = 0; size > 0 && i < TURNS_MAX; i++) {
		ssize_t n = send(pair[0], data, size < piece || i > 16 ? size : piece, MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
		turn();
		if (!hear(pair[0]))
			break; /* it was "exit" */
	}
	CHECK(shutdown(pair[0], SHUT_WR) == 0);
	for (int i = 0; i < TURNS_MAX && hear(pair[0]); i++)
		turn();
	(void)close(pair[0]);
	turn();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rate_stats before = rate_stats(engine.limits.clients);

	if (size < 1)
		return 0;
	if (getenv("FUZZ_LOUD") == NULL)
		CHECK(dup2(quiet, STDERR_FILENO) == STDERR_FILENO);
	converse(data + 1, size - 1, 1 + data[0] * 8u);
	(void)dup2(loud, STDERR_FILENO);
	struct rate_stats after = rate_stats(engine.limits.clients);
	CHECK(memcmp(&before, &after, sizeof(before)) == 0 && !engine.override.set && !engine.stopping);
	CHECK(log_verbosity() <= LOG_DEBUG);
	return 0;
}
