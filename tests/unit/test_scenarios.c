/* SPDX-License-Identifier: ISC */
/*
 * test_scenarios - the stories in tests/scenarios/, told to the decision with simulated time
 *
 * A line of a scenario:
 *	config KEY=DURATION ...             hold, release, dwell, blind
 *	level NAME READING ENTER LEAVE      adds a rule; the first one for a level replaces its default rules
 *	at TIME [WORD ...]                  time passes up to TIME in steps of 100 ms, then the words are obeyed,
 *	                                    one more step is made, and expectations are checked
 *	suspend DURATION                    the machine sleeps: one step later it is so much later
 *	clock DURATION                      the wall clock jumps; the decision never sees it
 * Words: READING=VALUE or READING=? (unknown); refused=N or arrived=N (a second, from now on; arrived=? is unknown,
 * jump=N adds to the total); force=LEVEL or force=auto;
 * reload (the configuration is swapped for the same one).  After "expect": level=NAME, gate=open|closed|reopening,
 * admit=N or admit<N or admit>N (permille), changes=N (of the level, so far), edges=N (of the gate, so far), why=READING
 * (it was entered by that) or why=leave, offered, fits, blind, forced; peak=N (offered a second, rounded, in why=offered).
 * Durations as in the configuration ("90s", "250ms").  # begins a comment.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/config.h"
#include "controller/decide.h"
#include "lib/array.h"
#include "lib/num.h"

#define STEP_MS 100
#define START_MS 5000000
#define FOLDER "tests/scenarios"

struct story {
	const char *path;
	int line;
	struct decide_cfg cfg;
	bool replaced[LEVEL_COUNT];
	struct decide_state state;
	struct decide_input in;
	struct stance stance;
	int64_t now_ms; /* since the beginning */
	int64_t offset_ms; /* of the boot clock */
	double refused_rate, arrived_rate, refused, arrived;
	unsigned changes, edges;
};

#define REQUIRE(s, cond, ...) \
	do { \
		if (!(cond)) { \
			print_error("%s:%d: ", (s)->path, (s)->line); \
			print_error(__VA_ARGS__); \
			print_error("\n"); \
			fail(); \
		} \
	} while (0)

static int64_t
duration(const struct story *s, const char *text)
{
	int64_t ms = 0;

	REQUIRE(s, num_duration(text, &ms) == 0, "not a duration: %s", text);
	return ms;
}

static void
step(struct story *s)
{
	struct stance old = s->stance;
	mono_t now = { START_MS + s->now_ms + s->offset_ms };

	s->refused += s->refused_rate * STEP_MS / 1000;
	s->arrived += s->arrived_rate * STEP_MS / 1000;
	s->in.refused = (uint64_t)s->refused;
	s->in.arrived = (uint64_t)s->arrived;
	decide_step(&s->state, &s->cfg, &s->in, now, &s->stance);
	s->changes += s->stance.level != old.level;
	s->edges += (s->stance.level >= LEVEL_OVERLOADED) != (old.level >= LEVEL_OVERLOADED);
	REQUIRE(s, s->stance.next.ms >= now.ms, "next lies in the past");
}

static void
obey(struct story *s, const char *word)
{
	char name[64];
	const char *value = strchr(word, '=');
	int id;

	if (strcmp(word, "reload") == 0) {
		decide_reconfigure(&s->state);
		return;
	}
	REQUIRE(s, value != NULL, "no value: %s", word);
	(void)snprintf(name, sizeof(name), "%.*s", (int)(value - word), word);
	value++;
	if (strcmp(name, "refused") == 0) {
		s->refused_rate = atof(value);
	} else if (strcmp(name, "arrived") == 0) {
		s->in.arrived_known = *value != '?';
		if (*value != '?')
			s->arrived_rate = atof(value);
	} else if (strcmp(name, "jump") == 0) {
		s->arrived += atof(value);
	} else if (strcmp(name, "force") == 0) {
		s->in.forced = strcmp(value, "auto") != 0;
		s->in.forced_level = s->in.forced ? (enum level)level_find(value) : LEVEL_NORMAL;
	} else {
		id = reading_find(name);
		REQUIRE(s, id >= 0, "no such reading: %s", name);
		s->in.value[id].known = *value != '?';
		if (*value != '?') /* what is unknown keeps its last number, which nobody may use */
			s->in.value[id].value = atof(value);
	}
}

static void
check_why(const struct story *s, const char *word)
{
	static const char *const kinds[] = {
		[REASON_NONE] = "none", [REASON_ENTER] = "", [REASON_HOLD] = "hold", [REASON_LEAVE] = "leave",
		[REASON_OFFERED] = "offered", [REASON_FITS] = "fits", [REASON_BLIND] = "blind", [REASON_FORCED] = "forced",
		[REASON_RESUMED] = "resumed",
	};
	const struct reason *why = &s->stance.why;
	bool entered = why->kind == REASON_ENTER && (int)why->id == reading_find(word);

	REQUIRE(s, entered || strcmp(word, kinds[why->kind]) == 0, "why=%s, but it is kind %s, reading %s", word,
		kinds[why->kind], reading_info[why->id].name);
}

static void
check(const struct story *s, const char *word)
{
	static const char *const gates[] = {
		[GATE_OPEN] = "gate=open", [GATE_CLOSED] = "gate=closed", [GATE_REOPENING] = "gate=reopening",
	};
	unsigned n;

	if (strncmp(word, "level=", 6) == 0)
		REQUIRE(s, strcmp(word + 6, level_name(s->stance.level)) == 0, "%s, but it is %s", word,
			level_name(s->stance.level));
	else if (strncmp(word, "gate=", 5) == 0)
		REQUIRE(s, strcmp(word, gates[s->stance.gate]) == 0, "%s, but it is %s", word, gates[s->stance.gate]);
	else if (sscanf(word, "admit=%u", &n) == 1)
		REQUIRE(s, s->stance.admit == n, "%s, but it is %u", word, s->stance.admit);
	else if (sscanf(word, "admit<%u", &n) == 1)
		REQUIRE(s, s->stance.admit < n, "%s, but it is %u", word, s->stance.admit);
	else if (sscanf(word, "admit>%u", &n) == 1)
		REQUIRE(s, s->stance.admit > n, "%s, but it is %u", word, s->stance.admit);
	else if (sscanf(word, "peak=%u", &n) == 1)
		REQUIRE(s, (unsigned)(s->stance.why.value + 0.5) == n, "%s, but it is %g", word, s->stance.why.value);
	else if (sscanf(word, "changes=%u", &n) == 1)
		REQUIRE(s, s->changes == n, "%s, but there were %u", word, s->changes);
	else if (sscanf(word, "edges=%u", &n) == 1)
		REQUIRE(s, s->edges == n, "%s, but there were %u", word, s->edges);
	else if (strncmp(word, "why=", 4) == 0)
		check_why(s, word + 4);
	else
		REQUIRE(s, false, "not understood: %s", word);
}

static void
tell_at(struct story *s, char *rest)
{
	char *save, *word = strtok_r(rest, " \t", &save);
	int64_t at = duration(s, word != NULL ? word : "");
	bool expecting = false;

	while (s->now_ms + STEP_MS <= at) {
		s->now_ms += STEP_MS;
		if (s->now_ms < at)
			step(s);
	}
	bool stepped = false;
	while ((word = strtok_r(NULL, " \t", &save)) != NULL) {
		if (strcmp(word, "expect") == 0) {
			expecting = true;
			step(s);
			stepped = true;
		} else if (expecting) {
			check(s, word);
		} else {
			obey(s, word);
		}
	}
	if (!stepped)
		step(s);
}

static void
tell_config(struct story *s, char *rest)
{
	char *save;

	for (char *word = strtok_r(rest, " \t", &save); word != NULL; word = strtok_r(NULL, " \t", &save)) {
		char *value = strchr(word, '=');
		const struct {
			const char *name;
			int64_t *at;
		} keys[] = {
			{ "hold", &s->cfg.hold_ms }, { "release", &s->cfg.release_ms }, { "dwell", &s->cfg.dwell_ms },
			{ "blind", &s->cfg.blind_ms },
		};
		bool found = false;

		REQUIRE(s, value != NULL, "no value: %s", word);
		*value++ = '\0';
		for (size_t i = 0; i < countof(keys); i++) {
			if (strcmp(word, keys[i].name) == 0) {
				*keys[i].at = duration(s, value);
				found = true;
			}
		}
		REQUIRE(s, found, "no such key: %s", word);
	}
}

static void
tell_level(struct story *s, const char *rest)
{
	char level[32], reading[32];
	double enter, leave;

	REQUIRE(s, sscanf(rest, "%31s %31s %lf %lf", level, reading, &enter, &leave) == 4, "level NAME READING ENTER LEAVE");
	int l = level_find(level), id = reading_find(reading);
	REQUIRE(s, l > 0 && id >= 0, "no such level or reading");
	if (!s->replaced[l])
		s->cfg.level[l].n = 0;
	s->replaced[l] = true;
	s->cfg.level[l].rule[s->cfg.level[l].n++] =
		(struct decide_rule) { .id = (enum reading_id)id, .enter = enter, .leave = leave };
}

static void
tell(struct story *s, char *text)
{
	char *hash = strchr(text, '#');
	size_t n;

	if (hash != NULL)
		*hash = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	text += strspn(text, " \t");
	n = strcspn(text, " \t");
	char *rest = text + n + strspn(text + n, " \t");
	if (n == 0)
		return;
	text[n] = '\0';
	if (strcmp(text, "at") == 0)
		tell_at(s, rest);
	else if (strcmp(text, "config") == 0)
		tell_config(s, rest);
	else if (strcmp(text, "level") == 0)
		tell_level(s, rest);
	else if (strcmp(text, "suspend") == 0)
		s->offset_ms += duration(s, rest);
	else
		REQUIRE(s, strcmp(text, "clock") == 0, "not understood: %s", text);
}

static void
test_story(void **state)
{
	static struct config defaults;
	struct story *s = calloc(1, sizeof(*s));
	char line[512];

	assert_non_null(s);
	s->path = *state;
	config_defaults(&defaults);
	s->cfg = defaults.levels;
	s->in.arrived_known = true;
	FILE *f = fopen(s->path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		s->line++;
		tell(s, line);
	}
	(void)fclose(f);
	free(s);
}

static int
is_scenario(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 4 && strcmp(e->d_name + n - 4, ".scn") == 0;
}

int
main(void)
{
	static struct CMUnitTest tests[100];
	struct dirent **names;
	int n = scandir(FOLDER, &names, is_scenario, alphasort);

	if (n <= 0 || n > (int)countof(tests)) {
		(void)fprintf(stderr, "no scenarios in " FOLDER "; run from the top of the tree\n");
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char path[512];

		(void)snprintf(path, sizeof(path), FOLDER "/%s", names[i]->d_name);
		tests[i] = (struct CMUnitTest) {
			.name = strdup(names[i]->d_name), .test_func = test_story, .initial_state = strdup(path),
		};
		free(names[i]);
	}
	free(names);
	int failed = _cmocka_run_group_tests("scenarios", tests, (size_t)n, NULL, NULL);
	for (int i = 0; i < n; i++) {
		free((void *)(uintptr_t)tests[i].name);
		free(tests[i].initial_state);
	}
	return failed;
}
