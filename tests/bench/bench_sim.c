/* SPDX-License-Identifier: ISC */
/*
 * bench_sim - the same simulated days under our decision and under the cron line that it replaces
 *
 * cron runs at each of the 60 seconds of the minute; its figures are means over these phases, the greatest in
 * brackets.  Ours do not depend on a phase.
 */
#include <math.h>
#include <stdio.h>

#include "tests/sim/sim.h"

struct spread {
	double sum, max;
};

static void
add(struct spread *s, double v)
{
	s->sum += v;
	s->max = fmax(s->max, v);
}

static void
print_row(const char *what, double ours, const struct spread *cron, const char *unit)
{
	(void)printf("  %-34s %12.1f   %12.1f (%.1f) %s\n", what, ours, cron->sum / 60, cron->max, unit);
}

int
main(void)
{
	struct spread faster = { 0 };
	unsigned compared = 0;

	for (size_t i = 0; i < sim_days_count; i++) {
		const struct sim_day *day = &sim_days[i];
		struct sim_result r = sim_run(day);
		struct spread protect = { 0 }, peak = { 0 }, after = { 0 }, edges = { 0 }, wait = { 0 }, admitted = { 0 };

		for (int phase = 0; phase < 60; phase++) {
			struct sim_result c = sim_run_cron(day, phase);

			add(&protect, c.to_protect);
			add(&peak, c.peak);
			add(&after, c.closed_after);
			add(&edges, c.edges);
			add(&wait, c.longest_wait);
			add(&admitted, c.admitted);
		}
		(void)printf("%s: %s\n  %-34s %12s   %12s\n", day->name, day->story, "", "spillway", "cron");
		print_row("time to protect", r.to_protect, &protect, "s");
		print_row("peak queue", r.peak, &peak, "messages");
		print_row("closed after recovery, at most", r.closed_after, &after, "s");
		print_row("changes of the gate", r.edges, &edges, "");
		print_row("longest wait of a user's message", r.longest_wait, &wait, "s");
		print_row("strangers' messages taken", r.admitted, &admitted, "");
		if (r.to_protect > 0) {
			add(&faster, protect.sum / 60 / r.to_protect);
			compared++;
		}
	}
	(void)printf("time to protect: cron takes %.1f times as long, mean over %u days\n", faster.sum / compared, compared);
	return 0;
}
