/* SPDX-License-Identifier: ISC */
/* test_sim - what the simulated days must show: we protect sooner than cron, do not swing, and do not stay closed */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim.h"

#define RELEASE 15.0 /* of the default configuration */
#define HOLD 2.0

/* The server that gets slow has no flood that ends: the gate opens step by step as the server shows what it carries. */
static bool
ends_with_the_load(const struct sim_day *day)
{
	return strcmp(day->name, "slow scanner") != 0;
}

static void
day_has_at_most_two_edges_a_flood(void **state)
{
	(void)state;
	for (size_t i = 0; i < sim_days_count; i++) {
		struct sim_result r = sim_run(&sim_days[i]);

		if (r.edges > 2 * sim_days[i].floods || r.edges % 2 != 0)
			fail_msg("%s: %u edges in %u floods", sim_days[i].name, r.edges, sim_days[i].floods);
	}
}

static void
day_is_closed_no_longer_than_release_after_recovery(void **state)
{
	(void)state;
	for (size_t i = 0; i < sim_days_count; i++) {
		struct sim_result r = sim_run(&sim_days[i]);

		if (ends_with_the_load(&sim_days[i]) && r.closed_after > RELEASE + 1)
			fail_msg("%s: closed for %.1f s after recovery", sim_days[i].name, r.closed_after);
	}
}

static void
day_is_protected_within_hold_and_a_second(void **state)
{
	(void)state;
	for (size_t i = 0; i < sim_days_count; i++) {
		struct sim_result r = sim_run(&sim_days[i]);

		if (strcmp(sim_days[i].name, "blind") != 0 && r.to_protect > HOLD + 1)
			fail_msg("%s: %.1f s to protect", sim_days[i].name, r.to_protect);
	}
}

static void
days_are_protected_ten_times_sooner_than_by_cron(void **state)
{
	double faster = 0;
	int days = 0;

	(void)state;
	for (size_t i = 0; i < sim_days_count; i++) {
		double ours = sim_run(&sim_days[i]).to_protect, cron = 0;

		for (int phase = 0; phase < 60; phase++)
			cron += sim_run_cron(&sim_days[i], phase).to_protect / 60;
		faster += cron / ours;
		days++;
	}
	assert_true(faster / days >= 10);
}

static void
flood_behind_the_gate_is_used_for_what_the_server_can_carry(void **state)
{
	struct sim_result r = sim_run(&sim_days[0]);

	(void)state;
	/* 570 s of flood behind the gate, room for 18 strangers a second: at least half of it is used */
	assert_true(r.admitted > 0.5 * 18 * 570);
	assert_true(r.peak < 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(day_has_at_most_two_edges_a_flood),
		cmocka_unit_test(day_is_closed_no_longer_than_release_after_recovery),
		cmocka_unit_test(day_is_protected_within_hold_and_a_second),
		cmocka_unit_test(days_are_protected_ten_times_sooner_than_by_cron),
		cmocka_unit_test(flood_behind_the_gate_is_used_for_what_the_server_can_carry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
