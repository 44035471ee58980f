/* SPDX-License-Identifier: ISC */
/*
 * test_floods - recorded floods of two real qmails, played to the default configuration
 *
 * tests/samples/floods/: second by second what was injected, what lay in mess and todo.  Ten calm seconds, twenty of a flood
 * of ten times as much, then the drain.  The gate does not act on a recording, so nothing is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/config.h"
#include "controller/decide.h"
#include "controller/readings.h"

#define FOLDER "tests/samples/floods/"
#define FLOOD_BEGINS 10 /* seconds */
#define AFTERWARDS 120 /* the queue stays as it ended */

struct playback {
	int closed_at, opened_at; /* seconds; -1: never */
	unsigned edges;
	int recovered_at; /* todo back at 50, for good */
};

struct player {
	struct readings readings;
	struct decide_state state;
	struct decide_cfg cfg;
	uint64_t arrived, departed;
	long mess;
	mono_t todo_since;
};

/* One second: what came, what there is.  The probe looks at its end. */
static enum level
play_second(struct player *p, int t, long injected, long mess, long todo)
{
	mono_t now = { 1000000 + t * 1000 }, until = mono_after(now, 5000);
	struct decide_input in = { 0 };
	struct stance s;

	p->arrived += (uint64_t)injected;
	p->departed += (uint64_t)(injected - (mess - p->mess));
	p->mess = mess;
	if (todo == 0)
		p->todo_since = now;
	readings_set(&p->readings, READING_TODO, (struct reading_value) { true, (double)todo }, now, until);
	readings_set(&p->readings, READING_MESSAGES, (struct reading_value) { true, (double)mess }, now, until);
	/* The oldest message may be as old as that; a recording of counts does not tell. */
	readings_set(&p->readings, READING_TODO_AGE,
		(struct reading_value) { true, (double)mono_since(p->todo_since, now) / 1000 }, now, until);
	readings_count_queue(&p->readings, p->arrived, p->departed, now, until);
	for (int i = 0; i < READING_COUNT; i++)
		in.value[i] = readings_get(&p->readings, (enum reading_id)i, now);
	in.arrived_known = true;
	in.arrived = p->arrived;
	/* within the second the engine steps on, on the same readings */
	for (int ms = 0; ms < 1000; ms += 100)
		decide_step(&p->state, &p->cfg, &in, mono_after(now, ms), &s);
	return s.level;
}

static struct playback
play(const char *name)
{
	static struct config defaults;
	struct player p = { .todo_since = { 1000000 } };
	struct playback r = { .closed_at = -1, .opened_at = -1, .recovered_at = -1 };
	enum level before = LEVEL_NORMAL;
	long injected, mess = 0, todo = 0;
	char path[200], line[300];
	int t = 0;

	config_defaults(&defaults);
	p.cfg = defaults.levels;
	(void)snprintf(path, sizeof(path), FOLDER "%s", name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	for (int left = AFTERWARDS; left > 0; ) {
		if (fgets(line, sizeof(line), f) != NULL) {
			if (line[0] == '#')
				continue;
			assert_int_equal(sscanf(line, "%d %ld %ld %ld", &t, &injected, &mess, &todo), 4);
		} else {
			left--;
			t++;
			injected = 0;
		}
		enum level level = play_second(&p, t, injected, mess, todo);
		if (todo > 50)
			r.recovered_at = -1;
		else if (r.recovered_at < 0)
			r.recovered_at = t;
		if ((level >= LEVEL_OVERLOADED) != (before >= LEVEL_OVERLOADED)) {
			r.edges++;
			if (level >= LEVEL_OVERLOADED)
				r.closed_at = t;
			else
				r.opened_at = t;
		}
		before = level;
	}
	(void)fclose(f);
	print_message("# %s: closed at %d s, open again at %d s, %u edges\n", name, r.closed_at, r.opened_at, r.edges);
	return r;
}

static void
check_50x10(const char *name)
{
	struct playback r = play(name);

	assert_in_range(r.closed_at, FLOOD_BEGINS + 1, FLOOD_BEGINS + 5);
	assert_int_equal(r.edges, 2);
	assert_true(r.opened_at <= r.recovered_at + 60);
}

static void
flood_of_notqmail_closes_the_gate_within_five_seconds(void **state)
{
	(void)state;
	check_50x10("flood-notqmail-local-50x10.tsv");
}

static void
flood_of_the_combined_qmail_closes_the_gate_within_five_seconds(void **state)
{
	(void)state;
	check_50x10("flood-sagredo-local-50x10.tsv");
}

static void
flood_that_the_servers_carry_closes_nothing(void **state)
{
	(void)state;
	assert_int_equal(play("flood-notqmail-local-20x10.tsv").edges, 0);
	assert_int_equal(play("flood-sagredo-local-20x10.tsv").edges, 0);
}

static void
flood_to_a_slow_destination_has_at_most_two_edges(void **state)
{
	(void)state;
	assert_true(play("flood-notqmail-sink-20x10.tsv").edges <= 2);
	assert_true(play("flood-sagredo-sink-20x10.tsv").edges <= 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flood_of_notqmail_closes_the_gate_within_five_seconds),
		cmocka_unit_test(flood_of_the_combined_qmail_closes_the_gate_within_five_seconds),
		cmocka_unit_test(flood_that_the_servers_carry_closes_nothing),
		cmocka_unit_test(flood_to_a_slow_destination_has_at_most_two_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
