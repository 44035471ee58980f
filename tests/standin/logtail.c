/* SPDX-License-Identifier: ISC */
/*
 * logtail - follows a log as the engine does, and prints each line once
 *
 *	logtail [--marks DIR] [--lines N] [--seconds N] PATH
 *
 * Ends after N lines in all (0: at the end of what there is), or when the time (default 60 s) is over.  With --marks it
 * goes on where the one before it stood, and notes the place after each step: lines are printed, flushed, then noted.
 *
 * Exit: 0; 1 the time is over; 100 usage; 111 cannot go on.
 */
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "probes/logmarks.h"
#include "probes/logtail.h"

static void
print_line(const char *line, size_t n, bool old, void *arg)
{
	uint64_t *lines = arg;

	(void)old;
	(*lines)++;
	if (fwrite(line, 1, n, stdout) != n || fputc('\n', stdout) == EOF)
		exit(111);
}

static void
drain(int fd)
{
	char events[65536];

	while (read(fd, events, sizeof(events)) > 0)
		;
}

static void
note(const struct logtail *t, int dir, const char *path)
{
	static struct logmarks m;
	struct logtail_mark mark;

	if (dir < 0 || !logtail_where(t, &mark))
		return;
	memset(&m, 0, sizeof(m));
	logmarks_add(&m, path, &mark);
	if (logmarks_write(dir, &m) < 0)
		exit(111);
}

static int
follow(struct logtail *t, int inotify, int dir, const char *path, uint64_t wanted, mono_t until)
{
	uint64_t lines = 0;
	struct err why, told = { "" };

	for (;;) {
		mono_t now = mono_now();
		int r = logtail_step(t, now, 65536, print_line, &lines, &why);

		if (fflush(stdout) != 0)
			return 111;
		if (r < 0 && strcmp(told.text, why.text) != 0) {
			told = why;
			(void)fprintf(stderr, "logtail: %s\n", why.text);
		}
		note(t, dir, path);
		if ((wanted > 0 && lines >= wanted) || (wanted == 0 && r == 0))
			return 0;
		if (now.ms >= until.ms)
			return 1;
		if (r == LOGTAIL_MORE)
			continue;
		struct pollfd p[2] = { { .fd = inotify, .events = POLLIN }, { .fd = logtail_fd(t), .events = POLLIN } };
		(void)poll(p, 2, 100);
		drain(inotify);
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "marks", required_argument, NULL, 'm' }, { "lines", required_argument, NULL, 'l' },
		{ "seconds", required_argument, NULL, 's' }, { 0 },
	};
	static struct logmarks marks;
	uint64_t lines = 0, seconds = 60;
	struct logtail *t;
	int o, dir = -1;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'm')
			dir = open(optarg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		else if ((o != 'l' || num_u64(optarg, &lines) < 0) && (o != 's' || num_u64(optarg, &seconds) < 0))
			return 100;
	}
	if (optind + 1 != argc)
		return 100;
	int inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	(void)logmarks_read(dir, &marks);
	if (inotify < 0 || logtail_new(argv[optind], inotify, logmarks_find(&marks, argv[optind]), &t) < 0)
		return 111;
	int r = follow(t, inotify, dir, argv[optind], lines, mono_after(mono_now(), (int64_t)seconds * 1000));
	const struct logtail_counts *c = logtail_counts(t);
	(void)fprintf(stderr, "logtail: %llu lines, %llu rotations, %llu truncations, %llu cut, %llu halves, %llu gaps\n",
		(unsigned long long)c->lines, (unsigned long long)c->rotations, (unsigned long long)c->truncations,
		(unsigned long long)c->cut, (unsigned long long)c->halves, (unsigned long long)c->gaps);
	logtail_free(t);
	return r;
}
