/* SPDX-License-Identifier: ISC */
/*
 * raterclient - `spillway rate` and `spillway peek`: the question of rater's own client
 *
 * The answer goes to standard error, and its first digit is the exit status: 0 not too often, 1 too often, 2 an
 * error.  Not to get an answer is an error too; rater's client ended with 1 for that, "too often", whenever the
 * server was down.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/cli.h"
#include "lib/rundir.h"
#include "lib/spillway.h"

#define DEADLINE_MS 1000

typedef int question(const char *limit_class, const char *value, int deadline_ms, struct spillway_rate *ret);

static int
ask(struct cli *cli, const char *name, question *ask_daemon, int argc, char **argv)
{
	struct spillway_rate r;

	if (argc != 2)
		return cli_fail(CLI_USAGE, "%s: allowed is %s CLASS VALUE", name, name);
	/* The library knows the run directory from there alone. */
	int e = setenv(RUNDIR_ENV, cli->run_dir, 1) < 0 ? -errno : ask_daemon(argv[0], argv[1], DEADLINE_MS, &r);
	if (e == -EINVAL || e == -EMSGSIZE)
		return cli_fail(SPILLWAY_NO_ANSWER, "%s: class or value %s", name, e == -EINVAL ?
			"is empty or has bytes that it must not have" : "is too long");
	if (e < 0)
		return cli_fail(SPILLWAY_NO_ANSWER, "cannot ask the daemon at %s/" RUNDIR_RATE_SOCKET
			": %s; does spillwayd run?", cli->run_dir, strerror(-e));
	(void)fprintf(stderr, "%s\n", r.text);
	return r.answer;
}

int
rate_ask(struct cli *cli, int argc, char **argv)
{
	return ask(cli, "rate", spillway_rate, argc, argv);
}

int
rate_peek_only(struct cli *cli, int argc, char **argv)
{
	return ask(cli, "peek", spillway_peek, argc, argv);
}
