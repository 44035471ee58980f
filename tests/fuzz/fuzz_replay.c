/* SPDX-License-Identifier: ISC */
/*
 * Two logs of any bytes, as `spillway replay` reads them: it comes to an end, in the order of time or as the lines
 * stand, and what it tells adds up.
 *
 * Input: the first log, a NUL, the second.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controller/replay.h"
#include "controller/replaylog.h"
#include "tests/fuzz/fuzz.h"

static struct config config;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char text[] = "limits = { ip = ((\"*\", 60, 2)); }; plugins = { helo = [ \"ipthrottle\" ]; };"
		" blocks = { dry_run = true; }; levels = { overloaded = { arrivals = { enter = 3; leave = 1; }; };"
		" critical = { bounces = { enter = 2; leave = 1; }; }; hold = \"0s\"; };";
	struct config_errors errors;

	(void)argc;
	(void)argv;
	CHECK(config_load_text("fuzz", text, sizeof(text) - 1, &config, &errors) == 0);
	config.service.limits_memory = RATE_MEMORY_MIN;
	config.blocks.max = config.blocks.remember = 64;
	return 0;
}

static int
make_file(const uint8_t *data, size_t size, char ret[40])
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(ret, 40, "/proc/self/fd/%d", fd);
	return fd;
}

static void
check_result(const struct replay_result *t)
{
	CHECK(t->strangers <= t->messages && t->refused <= t->strangers && t->untracked <= t->messages);
	CHECK(t->again <= t->offered && t->offered <= t->archived);
	CHECK(t->limited + t->turned_away <= t->connections && t->wide <= t->blocks);
	CHECK(t->from.ms <= t->to.ms && t->harmed <= t->clients);
	for (size_t i = 0; i < t->episodes && i < REPLAY_EPISODES; i++) {
		CHECK(t->episode[i].began.ms >= t->from.ms && t->episode[i].ended.ms <= t->to.ms);
		CHECK(t->episode[i].began.ms <= t->episode[i].ended.ms && t->episode[i].peak >= LEVEL_OVERLOADED);
		CHECK(t->episode[i].refused <= t->refused);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 3000) /* each line may be ten minutes of deciding away from the next */
		return 0;
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t first = nul != NULL ? (size_t)(nul - data) : size, second = nul != NULL ? size - first - 1 : 0;
	static char name[2][40];
	char *paths[2] = { name[0], name[1] };
	int fd[2] = { make_file(data, first, name[0]), make_file(data + size - second, second, name[1]) };
	struct replaylog_record rec;
	struct replaylog *log;
	struct replay *r;
	struct err why;
	int more;

	CHECK(replaylog_open(paths, 2, &log, &why) == 0 && replay_new(&config, 100, &r) == 0);
	while ((more = replaylog_next(log, &rec, &why)) > 0) {
		CHECK(rec.is_line + rec.accepted + rec.refused == 1);
		if (rec.is_line)
			replay_line(r, &rec.line, rec.at);
		else if (rec.refused)
			replay_refused(r, rec.check, rec.pid, rec.at);
		else
			replay_accepted(r, &rec.ip, rec.at);
	}
	CHECK(more == 0 || more == -EINVAL);
	CHECK(replaylog_progress(log).bytes <= first + second);
	check_result(replay_end(r));
	replay_free(r);
	replaylog_close(log);
	(void)close(fd[0]);
	(void)close(fd[1]);
	return 0;
}
