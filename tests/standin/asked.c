/* SPDX-License-Identifier: ISC */
/*
 * asked - stand for the engine at ask.sock and rate.sock
 *
 *	asked DIR [--verdict pass|refuse|close] [--check NAME] [--code N] [--id ID] [--may-block] [--full]
 *	          [--delay MS | --grant] [--hang-up MS] [--pass N] [--wait MS] [--line TEXT]
 *	          [--how answers|garbage|half|half-open|twice|drips|silent|closes|deaf]
 *
 * Binds DIR/ask.sock and DIR/rate.sock (removing what is there), tells each question on stdout, and answers as told:
 * asked.h.  Unless told otherwise sessions pass, and a mark is answered "0 1/10" (TEXT is without its end).  A
 * refusal is of code 421.
 *
 * Exit: 100 usage, 111 it could not be bound.
 */
#include "tests/standin/asked.h"

#include <getopt.h>
#include <sys/resource.h>

#include "lib/num.h"

static int
usage(void)
{
	fputs("usage: asked DIR [--verdict pass|refuse|close] [--check NAME] [--code N] [--id ID] [--may-block] [--full]\n"
	      "             [--delay MS | --grant] [--hang-up MS] [--pass N] [--wait MS] [--line TEXT]\n"
	      "             [--how answers|garbage|half|half-open|twice|drips|silent|closes|deaf]\n",
		stderr);
	return 100;
}

static bool
parse_up_to(const char *s, uint64_t max, uint64_t *ret)
{
	return num_u64(s, ret) == 0 && *ret <= max;
}

/* The index of `word`, or -1. */
static int
find(const char *const *names, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	return -1;
}

static bool
parse_verdict(const char *s, struct ask_answer *a)
{
	static const char *const words[VERDICT_COUNT] = { "pass", "refuse", "close" };
	int v = find(words, VERDICT_COUNT, s);

	if (v < 0)
		return false;
	a->verdict = (enum verdict)v;
	a->code = v != VERDICT_PASS && a->code == 0 ? 421 : a->code;
	return true;
}

/* Also numbers that no check has. */
static bool
parse_check(const char *s, struct ask_answer *a)
{
	uint64_t v = 0;
	int check = check_find(s);

	if (check < 0 && !parse_up_to(s, UINT8_MAX, &v))
		return false;
	a->check = check >= 0 ? (enum check)check : (enum check)v;
	return true;
}

static bool
parse_line(const char *s, struct asked_plan *p)
{
	static char line[ASKED_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	text_puts(&t, s);
	text_puts(&t, "\r\n");
	p->line = line;
	return !t.cut;
}

static bool
parse_number(int c, const char *arg, struct asked_plan *p)
{
	uint64_t v;

	if (!parse_up_to(arg, UINT32_MAX, &v))
		return false;
	switch (c) {
	case 'o':
		p->answer.code = (uint16_t)v;
		return true;
	case 'd':
		p->answer.delay_ms = (uint32_t)v;
		return true;
	case 'u':
		p->hang_up_ms = (int64_t)v;
		return true;
	case 'p':
		p->pass = v;
		return true;
	case 'w':
		p->wait_ms = (int64_t)v;
		return true;
	default:
		return false;
	}
}

static bool
parse_option(int c, const char *arg, struct asked_plan *p)
{
	int how;

	switch (c) {
	case 'v':
		return parse_verdict(arg, &p->answer);
	case 'c':
		return parse_check(arg, &p->answer);
	case 'i':
		return text_copy(p->answer.id, sizeof(p->answer.id), arg) == 0;
	case 'b':
		p->answer.flags |= ASK_MAY_BLOCK;
		return true;
	case 'f':
		p->answer.flags |= ASK_TARPIT_FULL;
		return true;
	case 'g':
		p->grants = true;
		return true;
	case 'l':
		return parse_line(arg, p);
	case 'h':
		how = find(asked_how_names, ASKED_HOWS, arg);
		p->how = how < 0 ? ASKED_ANSWERS : (enum asked_how)how;
		return how >= 0;
	default:
		return parse_number(c, arg, p);
	}
}

static bool
parse_options(int argc, char **argv, struct asked_plan *p)
{
	static const struct option longs[] = {
		{ "verdict", required_argument, NULL, 'v' },
		{ "check", required_argument, NULL, 'c' },
		{ "code", required_argument, NULL, 'o' },
		{ "id", required_argument, NULL, 'i' },
		{ "may-block", no_argument, NULL, 'b' },
		{ "full", no_argument, NULL, 'f' },
		{ "delay", required_argument, NULL, 'd' },
		{ "grant", no_argument, NULL, 'g' },
		{ "hang-up", required_argument, NULL, 'u' },
		{ "pass", required_argument, NULL, 'p' },
		{ "wait", required_argument, NULL, 'w' },
		{ "line", required_argument, NULL, 'l' },
		{ "how", required_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (c == '?' || !parse_option(c, optarg, p))
			return false;
	return argc - optind == 1;
}

int
main(int argc, char **argv)
{
	static struct asked a;
	struct asked_plan plan = { .hang_up_ms = -1, .line = "0 1/10\r\n", .to = stdout };

	if (!parse_options(argc, argv, &plan))
		return usage();
	int e = asked_open(&a, argv[optind], &plan);
	if (e < 0) {
		(void)fprintf(stderr, "asked: %s: %s\n", argv[optind], strerror(-e));
		return 111;
	}
	/* On a busy machine plugins should not run into their deadline on our account; without permission it is as it
	 * is. */
	(void)setpriority(PRIO_PROCESS, 0, -10);
	for (;;)
		asked_turn(&a);
}
