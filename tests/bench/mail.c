/* SPDX-License-Identifier: ISC */
/*
 * mail - what does a plugin add to one MAIL command?
 *
 *	mail pass|refuse ROUNDS TIMES SMTPD HOME LABEL=PLUGIN ...      (PLUGIN "-": none)
 *
 * Talks with an SMTP server (SMTPD HOME) over a socketpair, with control/smtpplugins in HOME naming one plugin for [mail], each plugin
 * in turn.  "pass": TIMES MAILs in one session, each undone by RSET.  "refuse": a session for each MAIL, for R closes it; timed is
 * MAIL alone, from the command to its reply.  Prints for each plugin the median over rounds of the mean microseconds of a MAIL,
 * what that is above none, and how that compares with the second label's.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/median.h"

#define PLUGINS_MAX 8
#define ROUNDS_MAX 101

struct session {
	pid_t pid;
	int fd;
	char buf[4096];
	size_t len;
};

struct plugin {
	const char *label, *path;
	double us[ROUNDS_MAX];
};

static const char *smtpd, *home;

static void
die(const char *what)
{
	(void)fprintf(stderr, "mail: %s\n", what);
	exit(111);
}

static double
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Read a reply to its last line; returns its code. */
static int
reply(struct session *s)
{
	s->len = 0;
	for (;;) {
		ssize_t n = read(s->fd, s->buf + s->len, sizeof(s->buf) - 1 - s->len);

		if (n <= 0)
			die("the server closed too early");
		s->len += (size_t)n;
		s->buf[s->len] = '\0';
		char *last = s->buf;
		for (char *p = s->buf; (p = strchr(p, '\n')) != NULL && p[1] != '\0'; )
			last = ++p;
		if (s->buf[s->len - 1] == '\n' && strlen(last) > 3 && last[3] == ' ')
			return (last[0] - '0') * 100 + (last[1] - '0') * 10 + last[2] - '0';
	}
}

static int
say(struct session *s, const char *line)
{
	if (write(s->fd, line, strlen(line)) < 0)
		die("cannot write");
	return reply(s);
}

static void
begin(struct session *s)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("no socketpair");
	s->pid = fork();
	if (s->pid == 0) {
		(void)dup2(pair[1], 0);
		(void)dup2(pair[1], 1);
		(void)execl(smtpd, smtpd, home, (char *)NULL);
		_exit(127);
	}
	(void)close(pair[1]);
	s->fd = pair[0];
	if (reply(s) != 220 || say(s, "HELO bench.test\r\n") != 250)
		die("no greeting");
}

static void
end(struct session *s)
{
	(void)close(s->fd);
	(void)waitpid(s->pid, NULL, 0);
}

static void
use_plugin(const char *path)
{
	char name[512];

	(void)snprintf(name, sizeof(name), "%s/control/smtpplugins", home);
	FILE *f = fopen(name, "w");
	if (f == NULL)
		die("cannot write control/smtpplugins");
	(void)fprintf(f, "[mail]\n%s\n", strcmp(path, "-") == 0 ? "" : path);
	(void)fclose(f);
}

static double
one_mail(struct session *s, int wanted)
{
	double from = now_us();

	if (say(s, "MAIL FROM:<a@remote.test>\r\n") != wanted)
		die(s->buf);
	return now_us() - from;
}

static double
measure(const struct plugin *p, bool refuse, int times)
{
	struct session s;
	double sum = 0;

	use_plugin(p->path);
	if (!refuse)
		begin(&s);
	for (int i = 0; i < times; i++) {
		if (refuse)
			begin(&s);
		sum += one_mail(&s, refuse && strcmp(p->path, "-") != 0 && strstr(p->label, "empty") == NULL ? 451 : 250);
		if (refuse)
			end(&s);
		else
			(void)say(&s, "RSET\r\n");
	}
	if (!refuse)
		end(&s);
	return sum / times;
}

int
main(int argc, char **argv)
{
	static struct plugin plugin[PLUGINS_MAX];
	int plugins = argc - 6;

	if (plugins < 2 || plugins > PLUGINS_MAX) {
		(void)fprintf(stderr, "usage: mail pass|refuse ROUNDS TIMES SMTPD HOME LABEL=PLUGIN ...\n");
		return 100;
	}
	bool refuse = strcmp(argv[1], "refuse") == 0;
	int rounds = atoi(argv[2]), times = atoi(argv[3]);
	if (rounds < 1 || rounds > ROUNDS_MAX || times < 1)
		return 100;
	smtpd = argv[4];
	home = argv[5];
	(void)setenv("ENABLE_SPP", "", 1);
	(void)setenv("TCPREMOTEIP", "192.0.2.1", 1);
	for (int i = 0; i < plugins; i++) {
		char *at = strchr(argv[i + 6], '=');

		if (at == NULL)
			return 100;
		*at = '\0';
		plugin[i].label = argv[i + 6];
		plugin[i].path = at + 1;
	}
	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < plugins; i++)
			plugin[i].us[r] = measure(&plugin[i], refuse, times);
	for (int i = 0; i < plugins; i++) {
		double added[ROUNDS_MAX], ratio[ROUNDS_MAX];

		for (int r = 0; r < rounds; r++) {
			added[r] = plugin[i].us[r] - plugin[0].us[r];
			ratio[r] = added[r] / (plugin[1].us[r] - plugin[0].us[r]);
		}
		(void)printf("%-34s %8.1f us   adds %7.1f us   %5.2f x\n", plugin[i].label, median(plugin[i].us, rounds),
			median(added, rounds), median(ratio, rounds));
	}
	return 0;
}
