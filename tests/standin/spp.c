/* SPDX-License-Identifier: ISC */
/*
 * spp - run one plugin line as qmail-spp would and tell scripts what came of it
 *
 *	spp --mail [--close FDS] [--sigpipe-default] [--limit-kb N] [--timeout S] -- PLUGIN
 *
 * PLUGIN is a line of control/smtpplugins: a path, or ":" and a shell command.  Directory and
 * environment are as they are; fd 0 is closed, fd 1 a pipe, SIGPIPE ignored.  It is the code of smtpd
 * that runs it.
 *
 * On stdout, bytes outside 0x20..0x7e and the backslash as \xHH:
 *	reply: TEXT          one for each line the client would get, without the CR LF
 *	effect: LINE         each line H, C, S, U, L of the plugin
 *	out: N               lines the plugin printed, as far as qmail-spp reads
 *	outcome: WORD        pass next accept ok refuse close drop failure hang
 *	ms: N
 *	exit: N  or  signal: N
 * --timeout makes a group of the plugin and its children and kills it: "outcome: hang".
 *
 * Exit: 0 it was run; 100 usage; 111 it could not be started.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/num.h"
#include "lib/text.h"
#include "tests/standin/buf.h"
#include "tests/standin/milli.h"
#include "tests/standin/plugin.h"

struct options {
	struct plugin_how how;
	int stage; /* enum plugin_stage, -1: none was given */
	char *plugin;
};

static int
usage(void)
{
	fputs("usage: spp --connection|--helo|--auth|--mail|--rcpt|--pass|--data\n"
	      "           [--close FDS] [--sigpipe-default] [--limit-kb N] [--timeout S] -- PLUGIN\n",
		stderr);
	return 100;
}

/* "0,1,2" -> bits.  Returns false when it is not of that form. */
static bool
parse_fds(const char *s, uint64_t *ret)
{
	for (;;) {
		char *end;
		unsigned long fd = strtoul(s, &end, 10);

		if (end == s || fd > 63)
			return false;
		*ret |= UINT64_C(1) << fd;
		if (*end == '\0')
			return true;
		if (*end != ',')
			return false;
		s = end + 1;
	}
}

static bool
parse_kb(const char *s, uint64_t *ret)
{
	uint64_t v;

	if (num_u64(s, &v) < 0 || v == 0 || v > UINT64_MAX / 1024)
		return false;
	*ret = v * 1024;
	return true;
}

static bool
parse_timeout(const char *s, int64_t *ret_ms)
{
	uint64_t v = 0;

	if (milli_parse(s, &v) < 0 || v == 0 || v > 86400000)
		return false;
	*ret_ms = (int64_t)v;
	return true;
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "connection", no_argument, NULL, PLUGIN_CONNECTION },
		{ "helo", no_argument, NULL, PLUGIN_HELO },
		{ "auth", no_argument, NULL, PLUGIN_AUTH },
		{ "mail", no_argument, NULL, PLUGIN_MAIL },
		{ "rcpt", no_argument, NULL, PLUGIN_RCPT },
		{ "pass", no_argument, NULL, PLUGIN_PASS },
		{ "data", no_argument, NULL, PLUGIN_DATA },
		{ "close", required_argument, NULL, 'c' },
		{ "sigpipe-default", no_argument, NULL, 'p' },
		{ "limit-kb", required_argument, NULL, 'l' },
		{ "timeout", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1)
		if (c >= 0 && c < PLUGIN_STAGES)
			o->stage = c;
		else if (c == 'p')
			o->how.sigpipe_default = true;
		else if (!(c == 'c' && parse_fds(optarg, &o->how.close_fds))
			&& !(c == 'l' && parse_kb(optarg, &o->how.memory_bytes))
			&& !(c == 't' && parse_timeout(optarg, &o->how.timeout_ms)))
			return false;
	if (o->stage < 0 || argc - optind != 1 || argv[optind][0] == '\0')
		return false;
	o->plugin = argv[optind];
	return true;
}

static void
print_printable(const char *word, const char *s, size_t n)
{
	size_t cap = 4 * n + 1;
	char *at = malloc(cap);

	if (at == NULL)
		buf_die();
	struct text t = text_in(at, cap);
	text_put_printable(&t, s, n, n);
	printf("%s: %s\n", word, at);
	free(at);
}

static void
print_replies(const struct buf *out)
{
	for (size_t i = 0, n; i < out->len; i += n + 1) {
		const char *nl = memchr(out->at + i, '\n', out->len - i);

		n = nl == NULL ? out->len - i : (size_t)(nl - (out->at + i));
		bool cr = n > 0 && out->at[i + n - 1] == '\r';
		print_printable("reply", out->at + i, cr ? n - 1 : n);
	}
}

static void
print_effects(const struct buf *effects)
{
	for (size_t i = 0, n; i < effects->len; i += n + 1) {
		n = strlen(effects->at + i);
		print_printable("effect", effects->at + i, n);
	}
}

static void
print_result(const struct plugin_result *r)
{
	static const char *const words[] = {
		[PLUGIN_PASSES] = "pass", [PLUGIN_NEXT] = "next", [PLUGIN_ACCEPT] = "accept",
		[PLUGIN_OK] = "ok", [PLUGIN_REFUSE] = "refuse", [PLUGIN_CLOSE] = "close",
		[PLUGIN_DROP] = "drop", [PLUGIN_FAILURE] = "failure", [PLUGIN_HANG] = "hang",
	};

	printf("out: %zu\noutcome: %s\nms: %lld\n", r->lines, words[r->end], (long long)r->ms);
	if (WIFSIGNALED(r->status))
		printf("signal: %d\n", WTERMSIG(r->status));
	else
		printf("exit: %d\n", WEXITSTATUS(r->status));
}

int
main(int argc, char **argv)
{
	static const char *const addr_names[PLUGIN_STAGES] = {
		[PLUGIN_MAIL] = "SMTPMAILFROM",
		[PLUGIN_RCPT] = "SMTPRCPTTO",
		[PLUGIN_PASS] = "SMTPRCPTTO",
	};
	struct options o = { .stage = -1 };
	struct buf out = { 0 }, addr = { 0 }, effects = { 0 };
	struct plugin_session s = { .out = &out, .effects = &effects };

	if (!parse_options(argc, argv, &o))
		return usage();
	if (addr_names[o.stage] != NULL) {
		s.addr = &addr;
		s.addr_name = addr_names[o.stage];
	}
	(void)signal(SIGPIPE, SIG_IGN);
	struct plugin_result r = plugin_run(&s, o.plugin, &o.how);
	print_replies(&out);
	print_effects(&effects);
	if (r.status < 0)
		return 111;
	print_result(&r);
	buf_done(&out);
	buf_done(&addr);
	buf_done(&effects);
	buf_done(&s.headers);
	for (size_t i = 0; i < LATER_COUNT; i++)
		buf_done(&s.later[i]);
	return fflush(stdout) == 0 ? 0 : 111;
}
