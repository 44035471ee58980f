/* SPDX-License-Identifier: ISC */
/*
 * The reader of `spillway replay`: two logs of any bytes come to an end, each in its own order and the earlier of both
 * first, with nothing read twice.  fuzz_replay plays them to the whole.
 *
 * Input: the first log, a NUL, the second.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controller/replaylog.h"
#include "tests/fuzz/fuzz.h"

static int
make_file(const uint8_t *data, size_t size, char ret[40])
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(ret, 40, "/proc/self/fd/%d", fd);
	return fd;
}

static size_t
count_lines(const uint8_t *data, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += data[i] == '\n';
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t first = nul != NULL ? (size_t)(nul - data) : size, second = nul != NULL ? size - first - 1 : 0;
	size_t lines = count_lines(data, first) + count_lines(data + size - second, second), n = 0, behind = 0;
	static char name[2][40];
	char *paths[2] = { name[0], name[1] };
	int fd[2] = { make_file(data, first, name[0]), make_file(data + size - second, second, name[1]) };
	struct replaylog_record rec;
	struct replaylog *log;
	struct err why;
	wall_t last = { 0 };
	int more;

	CHECK(replaylog_open(paths, 2, &log, &why) == 0);
	while ((more = replaylog_next(log, &rec, &why)) > 0) {
		CHECK(rec.is_line + rec.accepted + rec.refused == 1);
		CHECK(!rec.is_line || rec.line.kind != LOGLINE_NONE);
		CHECK(rec.at.ms >= 0);
		behind += n > 0 && rec.at.ms + 1000 <= last.ms;
		last = rec.at;
		n++;
	}
	struct replaylog_progress p = replaylog_progress(log);
	CHECK(more == 0 || more == -EINVAL);
	CHECK(p.bytes <= first + second && p.outdated == behind);
	CHECK(n <= p.lines && p.lines + p.cut <= lines && (more < 0 || p.lines + p.cut == lines));
	replaylog_close(log);
	(void)close(fd[0]);
	(void)close(fd[1]);
	return 0;
}
