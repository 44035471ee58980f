/* SPDX-License-Identifier: ISC */
/*
 * counters - what do a million keys cost, in memory and at a stretch?
 *
 *	counters
 *
 * The table of rate.c alone, in this process.  Memory is what the process grows by.  The stretch is the longest that
 * one call keeps its caller: while a million keys come, while one key gets a million marks, when all of these are out
 * of their window at once, and while the sweep frees the keys.  The same calls are made several times, and of each the
 * shortest counts: what a machine with other things to do adds does not fall on the same call every time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "controller/rate.h"

#define KEYS 1000000
#define LIMIT 8
#define HOT 1000000
#define SWEEPS 3600 /* of the whole table, as the engine does it */
#define RUNS 4

static struct rate_cfg cfg;

static void
die(const char *what)
{
	(void)fprintf(stderr, "counters: %s\n", what);
	exit(111);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static double
resident_kib(void)
{
	char line[200];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		(void)sscanf(line, "VmRSS: %lf", &kib);
	if (f != NULL)
		(void)fclose(f);
	return kib;
}

static void
add_class(const char *name, int64_t count, int64_t window_ms)
{
	struct rate_class *c = &cfg.class[cfg.n_classes++];
	struct rate_limit *l = &cfg.limit[cfg.n_limits];

	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	c->first = cfg.n_limits++;
	c->n = 1;
	if (rate_limit_set_pattern(l, "*") < 0)
		die("pattern");
	l->window_ms = window_ms;
	l->count = count;
}

static struct rate *
new_table(uint64_t memory)
{
	static const uint8_t key[RATE_KEY_SIZE] = "not random here";
	struct rate *r;

	if (rate_new(memory, key, &r) < 0)
		die("no memory");
	rate_configure(r, &cfg);
	return r;
}

static struct rate_answer
mark(struct rate *r, int class, unsigned number, int64_t ms)
{
	struct rate_question q;
	struct rate_answer a;
	char text[20];
	int n = snprintf(text, sizeof(text), "%u.%u.%u.%u", number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255);

	rate_find(r, class, text, (size_t)n, &q);
	rate_mark(r, &q, (mono_t) { ms }, &a);
	return a;
}

/* --- memory ---------------------------------------------------------------------------------- */

/* A table of just the size, filled with keys of LIMIT + 1 marks, which is as many as are ever kept. */
static void
measure_memory(void)
{
	double before = resident_kib();
	struct rate *r = new_table(UINT64_C(62) * KEYS);

	for (int i = 0; i <= LIMIT; i++)
		for (unsigned k = 0; k < KEYS; k++)
			(void)mark(r, 0, k * 2654435761u, 100000000 + i);
	struct rate_stats s = rate_stats(r);
	double bytes = (resident_kib() - before) * 1024 / (double)s.keys;
	(void)printf("memory of a key at %llu keys, limit %d, all marks kept: %.1f bytes, target: at most 64: %s\n",
		(unsigned long long)s.keys, LIMIT, bytes, bytes <= 64 && s.keys > KEYS * 0.99 ? "met" : "NOT MET");
	rate_free(r);
	r = new_table(UINT64_C(8) * HOT);
	for (unsigned i = 0; i < HOT; i++)
		(void)mark(r, 1, 1, 100000000);
	s = rate_stats(r);
	(void)printf("memory of a mark more: %.2f bytes, target: about 4\n",
		(double)s.blocks_used * (RATE_BLOCK + 4) / HOT);
	rate_free(r);
}

/* --- the longest stretch --------------------------------------------------------------------- */

/* The calls of one kind, and the shortest that each ever took. */
struct stretch {
	const char *name;
	unsigned n, at;
	uint32_t *ns;
	int64_t begin;
};

enum { COMING, MARKING, EXPIRING, SWEEPING, STRETCHES };

static struct stretch stretch[STRETCHES] = {
	[COMING] = { .name = "while 1,000,000 keys come", .n = KEYS },
	[MARKING] = { .name = "while a key gets 1,000,000 marks", .n = HOT },
	[EXPIRING] = { .name = "when these are all out of the window", .n = 1 },
	[SWEEPING] = { .name = "in a step of the sweep", .n = SWEEPS },
};

static void
enter(int kind)
{
	stretch[kind].begin = now_ns();
}

static void
leave(int kind)
{
	struct stretch *s = &stretch[kind];
	int64_t ns = now_ns() - s->begin;

	if (s->at >= s->n)
		die("more calls than there should be");
	if (ns < (int64_t)s->ns[s->at])
		s->ns[s->at] = (uint32_t)ns;
	s->at++;
}

static void
run_once(void)
{
	struct rate *r = new_table(UINT64_C(160) << 20);
	int64_t later = 100000000 + cfg.limit[1].window_ms + HOT;

	for (int i = 0; i < STRETCHES; i++)
		stretch[i].at = 0;
	for (unsigned k = 0; k < KEYS; k++) {
		enter(COMING);
		(void)mark(r, 0, k * 2654435761u, 100000000 + k / 100);
		leave(COMING);
	}
	for (unsigned i = 0; i < HOT; i++) {
		enter(MARKING);
		(void)mark(r, 1, 1, 100000000 + i / 100);
		leave(MARKING);
	}
	enter(EXPIRING);
	struct rate_answer a = mark(r, 1, 1, later);
	leave(EXPIRING);
	if (a.n != 1)
		die("the marks did not expire");
	for (int i = 0; i < SWEEPS; i++) {
		enter(SWEEPING);
		rate_sweep(r, (mono_t) { later }, rate_stats(r).blocks / SWEEPS + 1);
		leave(SWEEPING);
	}
	if (rate_stats(r).keys > 1)
		die("the sweep left keys behind");
	rate_free(r);
}

static void
measure_stretches(void)
{
	for (int i = 0; i < STRETCHES; i++) {
		stretch[i].ns = malloc(stretch[i].n * sizeof(uint32_t));
		if (stretch[i].ns == NULL)
			die("no memory");
		memset(stretch[i].ns, 0xff, stretch[i].n * sizeof(uint32_t));
	}
	for (int run = 0; run < RUNS; run++)
		run_once();
	for (int i = 0; i < STRETCHES; i++) {
		uint32_t longest = 0;

		for (unsigned k = 0; k < stretch[i].n; k++)
			longest = stretch[i].ns[k] > longest ? stretch[i].ns[k] : longest;
		(void)printf("longest stretch %s: %.1f us, target: at most 5000: %s\n", stretch[i].name, longest / 1000.0,
			longest <= 5000000 ? "met" : "NOT MET");
	}
}

int
main(void)
{
	add_class("ip", LIMIT, 60000);
	add_class("hot", HOT, 86400000);
	measure_memory();
	measure_stretches();
	return 0;
}
