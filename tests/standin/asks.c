/* SPDX-License-Identifier: ISC */
/*
 * asks - ask the engine on ask.sock as a plugin would, once or many times, and tell what it answers
 *
 *	asks DIR --wants CHECK[,CHECK] [--stage NAME] [--ip ADDRESS] [--user NAME] [--own] [--helo TEXT] [--from TEXT] [--to TEXT]
 *	     [--delay MS] [--pid N] [--times N] [--deadline MS] [--linger MS] [--quiet] [--distinct]
 *
 * The stage is helo, the session is our parent; --pid 0 is ourselves.  A line for each answer:
 *
 *	pass
 *	close ipthrottle 421 11/10 rabcdefgh block
 *	pass delay 2000
 *	none: Connection refused
 *
 * With --quiet only the sum: "passes 10 refused 3 none 0 slowest 1 ms, 12.3 us each".  --distinct gives each question another
 * address, counted up from the one given.  --linger keeps the connections and the process for so long.
 *
 * Exit: 0 all were answered, 1 some were not, 100 usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/ask.h"
#include "lib/num.h"

struct plan {
	struct record record;
	uint64_t times, deadline_ms, linger_ms;
	bool quiet, distinct;
};

struct sum {
	uint64_t passes, refused, none;
	int64_t slowest_ms;
};

static int
usage(void)
{
	fputs("usage: asks DIR --wants CHECK[,CHECK] [--stage NAME] [--ip ADDRESS] [--user NAME] [--own] [--helo TEXT]\n"
	      "            [--from TEXT] [--to TEXT] [--delay MS] [--pid N] [--times N] [--deadline MS] [--linger MS]\n"
	      "            [--quiet] [--distinct]\n", stderr);
	return 100;
}

static bool
parse_wants(char *list, uint32_t *ret)
{
	for (char *word = strtok(list, ","); word != NULL; word = strtok(NULL, ",")) {
		int check = check_find(word);

		if (check < 0)
			return false;
		*ret |= UINT32_C(1) << check;
	}
	return *ret != 0;
}

static bool
parse_u32(const char *s, uint32_t *ret)
{
	uint64_t v;

	if (num_u64(s, &v) < 0 || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool
parse_option(int c, char *arg, struct plan *p)
{
	struct record *r = &p->record;
	int stage;

	switch (c) {
	case 'w':
		return parse_wants(arg, &r->wants);
	case 's':
		stage = stage_find(arg);
		r->stage = stage >= 0 ? (enum stage)stage : STAGE_HELO;
		return stage >= 0;
	case 'i':
		r->ip_known = ip_parse(arg, &r->ip) == 0;
		return r->ip_known;
	case 'u':
		r->text[RECORD_USER] = record_text_of(arg);
		r->class = CLASS_OWN;
		return true;
	case 'o':
		r->class = CLASS_OWN;
		return true;
	case 'h':
		r->text[RECORD_HELO] = record_text_of(arg);
		return true;
	case 'f':
		r->text[RECORD_SENDER] = record_text_of(arg);
		return true;
	case 'r':
		r->text[RECORD_RECIPIENT] = record_text_of(arg);
		return true;
	case 'd':
		return parse_u32(arg, &r->delay_ms);
	case 'p':
		if (!parse_u32(arg, &r->pid))
			return false;
		r->pid = r->pid != 0 ? r->pid : (uint32_t)getpid();
		return true;
	case 't':
		return num_u64(arg, &p->times) == 0;
	case 'D':
		return num_u64(arg, &p->deadline_ms) == 0;
	case 'l':
		return num_u64(arg, &p->linger_ms) == 0;
	case 'q':
		p->quiet = true;
		return true;
	case 'n':
		p->distinct = true;
		return true;
	default:
		return false;
	}
}

static void
tell(const struct ask_answer *a)
{
	static const char *const words[VERDICT_COUNT] = { "pass", "refuse", "close" };

	(void)printf("%s", words[a->verdict]);
	if (a->verdict != VERDICT_PASS)
		(void)printf(" %s %u %u/%u %s%s", check_name(a->check), a->code, a->n, a->max, a->id,
			(a->flags & ASK_MAY_BLOCK) != 0 ? " block" : "");
	if (a->delay_ms != 0)
		(void)printf(" delay %u", a->delay_ms);
	if ((a->flags & ASK_TARPIT_FULL) != 0)
		(void)printf(" full");
	(void)printf("\n");
	(void)fflush(stdout);
}

static void
ask_once(const char *dir, const struct plan *p, struct sum *sum)
{
	struct ask_answer a;
	mono_t begin = mono_now();
	int fd = ask_engine(dir, &p->record, mono_after(begin, (int64_t)p->deadline_ms), &a);
	int64_t took = mono_since(begin, mono_now());

	sum->slowest_ms = took > sum->slowest_ms ? took : sum->slowest_ms;
	sum->none += fd < 0;
	sum->passes += fd >= 0 && a.verdict == VERDICT_PASS;
	sum->refused += fd >= 0 && a.verdict != VERDICT_PASS;
	if (fd >= 0 && !p->quiet)
		tell(&a);
	else if (fd < 0 && !p->quiet)
		(void)printf("none: %s\n", strerror(-fd));
	if (fd >= 0 && p->linger_ms == 0)
		(void)close(fd);
}

static void
count_up(struct ip *ip)
{
	for (size_t i = sizeof(ip->b); i-- > 0 && ++ip->b[i] == 0;)
		continue;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "wants", required_argument, NULL, 'w' }, { "stage", required_argument, NULL, 's' },
		{ "ip", required_argument, NULL, 'i' }, { "user", required_argument, NULL, 'u' },
		{ "own", no_argument, NULL, 'o' }, { "helo", required_argument, NULL, 'h' },
		{ "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 'r' },
		{ "delay", required_argument, NULL, 'd' }, { "pid", required_argument, NULL, 'p' },
		{ "times", required_argument, NULL, 't' }, { "deadline", required_argument, NULL, 'D' },
		{ "linger", required_argument, NULL, 'l' }, { "quiet", no_argument, NULL, 'q' },
		{ "distinct", no_argument, NULL, 'n' }, { 0 },
	};
	struct plan p = {
		.record = { .stage = STAGE_HELO, .class = CLASS_STRANGER, .pid = (uint32_t)getppid() }, .times = 1,
		.deadline_ms = 1000,
	};
	struct sum sum = { 0 };
	struct timespec begin, end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!parse_option(c, optarg, &p))
			return usage();
	if (argc - optind != 1 || p.record.wants == 0)
		return usage();
	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint64_t i = 0; i < p.times; i++) {
		ask_once(argv[optind], &p, &sum);
		if (p.distinct)
			count_up(&p.record.ip);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	double us = (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
	if (p.quiet)
		(void)printf("passes %llu refused %llu none %llu slowest %lld ms, %.1f us each\n",
			(unsigned long long)sum.passes, (unsigned long long)sum.refused, (unsigned long long)sum.none,
			(long long)sum.slowest_ms, us / (double)p.times);
	(void)fflush(stdout);
	const struct timespec linger = { .tv_sec = (time_t)(p.linger_ms / 1000), .tv_nsec = (long)(p.linger_ms % 1000) * 1000000 };
	(void)nanosleep(&linger, NULL);
	return sum.none == 0 ? 0 : 1;
}
