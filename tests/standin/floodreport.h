/* SPDX-License-Identifier: ISC */
/* floodreport - what flood prints: a line per second, and the summary */
#ifndef TESTS_STANDIN_FLOODREPORT_H
#define TESTS_STANDIN_FLOODREPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/array.h"
#include "tests/standin/flood.h"
#include "tests/standin/hist.h"

static inline bool
open_report(struct flood *f)
{
	if (f->o.report == NULL)
		return true;
	f->report = strcmp(f->o.report, "-") == 0 ? stdout : fopen(f->o.report, "we");
	if (f->report == NULL)
		return false;
	fputs("t\tstarted\taccepted\t4xx\t5xx\terrors\tin_flight\n", f->report);
	return true;
}

static inline uint64_t
delta(const struct flood *f, enum outcome o)
{
	return f->now.outcome[o] - f->last.outcome[o];
}

static inline void
print_second(struct flood *f)
{
	unsigned long long row[] = {
		++f->second,
		f->now.started - f->last.started,
		delta(f, ACCEPTED),
		delta(f, REFUSED_4XX),
		delta(f, REFUSED_5XX),
		delta(f, DROPPED) + delta(f, ERROR),
		f->in_flight,
	};

	f->last = f->now;
	if (f->report != NULL) {
		for (size_t i = 0; i < countof(row); i++)
			fprintf(f->report, "%llu%c", row[i], i + 1 < countof(row) ? '\t' : '\n');
		(void)fflush(f->report); /* so that a watcher sees it; a full disk shows at the end */
	}
	if (!f->o.quiet)
		fprintf(stderr,
			"flood: %llus started %llu accepted %llu 4xx %llu 5xx %llu errors %llu "
			"in flight %llu\n",
			row[0], row[1], row[2], row[3], row[4], row[5], row[6]);
}

static inline void
print_latency(const char *name, const struct hist *h)
{
	printf(",\"%s\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name,
		(double)hist_percentile(h, 50) / 1000, (double)hist_percentile(h, 99) / 1000,
		(double)h->max_us / 1000);
}

static inline void
print_codes(const struct flood *f)
{
	const char *comma = "";

	printf(",\"codes\":{");
	for (int s = 0; s < STEPS; s++) {
		for (int code = 0; code < CODES; code++)
			if (f->codes[s][code] > 0) {
				printf("%s\"%s:%03d\":%llu", comma, steps[s].name, code,
					(unsigned long long)f->codes[s][code]);
				comma = ",";
			}
		for (int t = 0; t < TROUBLES; t++)
			if (f->troubles[s][t] > 0) {
				printf("%s\"%s:%s\":%llu", comma, steps[s].name, trouble_names[t],
					(unsigned long long)f->troubles[s][t]);
				comma = ",";
			}
	}
	printf("}");
}

static inline void
print_summary(const struct flood *f, int64_t now)
{
	const uint64_t *o = f->now.outcome;

	printf("{\"sessions\":%llu,\"accepted\":%llu,\"refused_4xx\":%llu,\"refused_5xx\":%llu,"
	       "\"dropped\":%llu,\"errors\":%llu,\"unfinished\":%zu,\"skipped\":%llu,\"seconds\":%.3f",
		(unsigned long long)f->now.started, (unsigned long long)o[ACCEPTED],
		(unsigned long long)o[REFUSED_4XX], (unsigned long long)o[REFUSED_5XX],
		(unsigned long long)o[DROPPED], (unsigned long long)o[ERROR], f->in_flight,
		(unsigned long long)f->now.skipped, (double)(now - f->start_ns) / 1e9);
	print_codes(f);
	print_latency("latency_ms", &f->session);
	print_latency("mail_ms", &f->mail);
	printf("}\n");
}

#endif
