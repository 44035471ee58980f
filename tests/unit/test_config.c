/* SPDX-License-Identifier: ISC */
/* The configuration as its author sees it: a text goes in, a struct or lines of complaint come out. */
#include "controller/config.h"

#include <math.h>
#include <regex.h>
#include <time.h>

#include "controller/protect_sources.h"
#include "tests/unit/kit.h"

/* libconfig 1.5 loses the text that it holds when it meets a syntax error (tests/unit/valgrind.supp: the same). */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libconfig";
}

static struct config config, before;
static struct config_errors errors;
static regex_t shape;

static int
load(const char *text)
{
	memset(&config, 0x5a, sizeof(config));
	memset(&before, 0x5a, sizeof(before));
	return config_load_text("t", text, strlen(text), &config, &errors);
}

static void
check_shape(const char *text)
{
	if (regexec(&shape, text, 0, NULL, 0) != 0)
		fail_msg("not \"file:line: key = value: what; allowed: ...\": %s", text);
}

/* It loads. */
static void
check_good(const char *text)
{
	if (load(text) < 0)
		fail_msg("%s\n%s", errors.e[0].text, text);
	assert_int_equal(errors.n, 0);
}

/* It is refused with one complaint that begins so, and nothing is changed. */
static void
check_bad(const char *text, const char *want)
{
	assert_int_equal(load(text), -EINVAL);
	assert_memory_equal(&config, &before, sizeof(config));
	if (errors.n != 1 || strncmp(errors.e[0].text, want, strlen(want)) != 0)
		fail_msg("got %u: \"%s\"\nwant \"%s\"", errors.n, errors.e[0].text, want);
	check_shape(errors.e[0].text);
}

static const struct config *
defaults(void)
{
	static struct config c;

	config_defaults(&c);
	return &c;
}

/* "probes = { queue = { every = VALUE; }; };" for the key probes.queue.every */
static void
text_for(const char *key, const char *value, char *ret, size_t cap)
{
	char head[400] = "", tail[64] = "";
	size_t n;

	for (const char *p = key; *p != '\0'; p += n + (p[n] == '.')) {
		n = strcspn(p, ".");
		(void)strncat(head, p, n);
		(void)strcat(head, p[n] == '.' ? " = { " : " = ");
		if (p[n] == '.')
			(void)strcat(tail, " };");
	}
	kit_format(ret, cap, "%s%s;%s\n", head, value, tail);
}

static void
check_value_good(const char *key, const char *value)
{
	static char text[8192];

	text_for(key, value, text, sizeof(text));
	check_good(text);
}

/* `what` follows "t:1: key = ...: ". */
static void
check_value_bad(const char *key, const char *value, const char *what)
{
	static char text[8192];
	char head[200], tail[200];

	text_for(key, value, text, sizeof(text));
	assert_int_equal(load(text), -EINVAL);
	assert_memory_equal(&config, &before, sizeof(config));
	assert_int_equal(errors.n, 1);
	check_shape(errors.e[0].text);
	kit_format(head, sizeof(head), "t:1: %s = ", key);
	kit_format(tail, sizeof(tail), ": %s; allowed: ", what);
	if (strncmp(errors.e[0].text, head, strlen(head)) != 0 || strstr(errors.e[0].text, tail) == NULL)
		fail_msg("%s\ngave \"%s\"\nwant \"%s...%s\"", text, errors.e[0].text, head, tail);
}

/* --- the whole ------------------------------------------------------------------------------- */

static void
config_an_empty_text_is_all_defaults(void **state)
{
	static const char *const texts[] = {
		"", "\n\n", "# nothing\n", "/* nothing */", "qmail = { };", "probes = { };",
		"levels = { };", "probes = { queue = { }; load : { }; };\nplugins : { };",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		check_good(texts[i]);
		assert_memory_equal(&config, defaults(), sizeof(config));
	}
}

static void
config_defaults_are_those_of_the_design(void **state)
{
	const struct config *c = defaults();

	(void)state;
	assert_int_equal(c->qmail.homes.n, 1);
	assert_string_equal(c->qmail.homes.s[0], "/var/qmail");
	assert_string_equal(c->service.user, "spillway");
	assert_string_equal(c->service.run_dir, "/run/spillway");
	assert_string_equal(c->service.state_dir, "/var/lib/spillway");
	assert_int_equal(c->service.plugin_users.n, 2);
	assert_string_equal(c->service.plugin_users.s[1], "qmaild");
	assert_int_equal(c->service.operators.n, 0);
	assert_int_equal(c->service.lease_ms, 10000);
	assert_int_equal(c->probes.queue.every_ms, 1000);
	assert_int_equal(c->probes.queue.recount_ms, 600000);
	assert_int_equal(c->probes.qstat.every_ms, 1800000);
	assert_int_equal(c->levels.hold_ms, 2000);
	assert_int_equal(c->levels.release_ms, 15000);
	assert_int_equal(c->levels.level[LEVEL_NORMAL].n, 0);
	assert_int_equal(c->levels.level[LEVEL_BUSY].n, 1);
	assert_int_equal(c->levels.level[LEVEL_OVERLOADED].n, 3);
	assert_int_equal(c->levels.level[LEVEL_CRITICAL].n, 2);
	assert_int_equal(c->plugins.stage[STAGE_MAIL].n, 1);
	assert_string_equal(c->plugins.stage[STAGE_MAIL].s[0], "overload");
	assert_int_equal(c->service.limits_memory, 16 << 20);
	assert_int_equal(c->plugins.tarpit_sleepers, 20);
	assert_string_equal(c->settings.address, "127.0.0.1");
	assert_int_equal(c->settings.port, 0);
	assert_string_equal(c->settings.control_address, "127.0.0.1");
	assert_int_equal(c->settings.control_port, 0);
	assert_int_equal(c->settings.log_level, 3);
	assert_int_equal(c->limits.n_classes + c->limits.n_limits + c->concurrency.n, 0);
}

/* design.md section 7, without the sections that do not exist yet. */
static void
config_the_example_of_the_design_is_read(void **state)
{
	static const char text[] =
		"qmail   = { home = \"/var/qmail\"; };                                # several: homes = [ ... ]\n"
		"service = { user = \"spillway\"; groups = [ \"qmail\" ]; plugin_users = [ \"root\", \"qmaild\" ];\n"
		"            operators = [ \"@wheel\" ];\n"
		"            run_dir = \"/run/spillway\"; state_dir = \"/var/lib/spillway\"; lease = \"10s\"; };\n"
		"\n"
		"probes  = { queue = { every = \"1s\"; recount = \"10m\"; };            # inotify in between\n"
		"            qstat = { command = \"/var/qmail/bin/qmail-qstat\"; every = \"30m\"; };   # cross-check\n"
		"            load  = { every = \"5s\"; };  disk = { every = \"10s\"; }; };\n"
		"\n"
		"levels  = { busy       = { todo = { enter = 50;  leave = 20; }; };\n"
		"            overloaded = { todo = { enter = 100; leave = 50; }; todo_age = { enter = \"60s\"; leave = \"10s\"; };\n"
		"                           growth = { enter = 100.0; leave = 25.0; }; };\n"
		"            critical   = { todo = { enter = 2000; leave = 500; };\n"
		"                           disk_free = { enter = \"200M\"; leave = \"500M\"; }; };\n"
		"            hold = \"2s\"; release = \"15s\"; dwell = \"0s\"; };\n";
	struct config want = *defaults();

	(void)state;
	want.service.operators.n = 1;
	(void)strcpy(want.service.operators.s[0], "@wheel");
	(void)strcpy(want.probes.qstat.command, "/var/qmail/bin/qmail-qstat");
	check_good(text);
	assert_memory_equal(&config, &want, sizeof(config));
}

static void
config_syntax_errors_name_their_line(void **state)
{
	static const struct {
		const char *text;
		int line;
	} rows[] = {
		{ "qmail", 2 }, { "qmail =", 2 }, { "\n\nqmail = {", 4 }, { "qmail = };", 1 },
			{ "\n= 5;", 2 }, { "5;", 1 },
		{ "qmail = { home = ; };", 1 }, { "qmail = [ 1, \"x\" ];", 1 }, { "$", 1 }, { "a b",
			1 }, { "\xff", 1 },
		{ "a = .99999999999L;", 1 }, { "{ }", 1 },
		{ "service = { lease = 99999999999999999999L; };", 0 }, /* not libconfig's, but ours */
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char want[32];

		assert_int_equal(load(rows[i].text), -EINVAL);
		assert_int_equal(errors.n, 1);
		if (rows[i].line == 0)
			continue;
		kit_format(want, sizeof(want), "t:%d: syntax error; allowed: ", rows[i].line);
		if (strncmp(errors.e[0].text, want, strlen(want)) != 0
			&& strstr(errors.e[0].text, "mismatched element type in array; allowed: ") == NULL)
			fail_msg("\"%s\" gave \"%s\"", rows[i].text, errors.e[0].text);
	}
}

static void
config_a_key_given_twice_is_an_error(void **state)
{
	static const char *const texts[] = {
		"service = { lease = \"5s\";\nlease = \"6s\"; };", "qmail = { };\nqmail = { };",
		"levels = { busy = { };\nbusy = { }; };",
			"levels = { busy = { todo = { enter = 1;\nenter = 2; }; }; };",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		assert_int_equal(load(texts[i]), -EINVAL);
		assert_int_equal(errors.n, 1);
		assert_memory_equal(errors.e[0].text, "t:2: duplicate setting name; allowed: ", 38);
	}
}

static void
config_all_errors_are_told_up_to_a_limit(void **state)
{
	char text[4096] = "";

	(void)state;
	assert_int_equal(load("service = {\nlease = 0;\nuser = 5;\nnothing = 1;\n};\nlevels = {\nhold = \"1x\"; };"), -EINVAL);
	assert_int_equal(errors.n, 4);
	for (unsigned i = 0; i < 4; i++)
		check_shape(errors.e[i].text);
	assert_memory_equal(errors.e[0].text, "t:2: service.lease = 0: too small", 33);
	assert_memory_equal(errors.e[1].text, "t:3: service.user = 5: not a text", 33);
	assert_memory_equal(errors.e[2].text, "t:4: service.nothing = 1: unknown key", 37);
	assert_memory_equal(errors.e[3].text, "t:7: levels.hold = \"1x\": not of that form", 41);

	for (int i = 0; i < 100; i++) {
		char line[32];

		kit_format(line, sizeof(line), "unknown%d = 1;\n", i);
		(void)strcat(text, line);
	}
	assert_int_equal(load(text), -EINVAL);
	assert_int_equal(errors.n, 100);
	assert_memory_equal(errors.e[CONFIG_ERRORS_MAX - 1].text,
		"t:20: unknown19 = 1: unknown key; allowed: ", 43);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void
config_unknown_keys_are_errors_with_a_suggestion(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "qmial = { };",
			"t:1: qmial = { ... }: unknown key, did you mean \"qmail\"; allowed: qmail, service, " },
		{ "Qmail = { };", "t:1: Qmail = { ... }: unknown key, did you mean \"qmail\"; allowed: " },
		{ "probe = { };", "t:1: probe = { ... }: unknown key, did you mean \"probes\"; allowed: " },
		{ "limit = { };", "t:1: limit = { ... }: unknown key, did you mean \"limits\"; allowed: " },
		{ "concurency = ( );", "t:1: concurency = ( ... ): unknown key, did you mean \"concurrency\"; allowed: " },
		{ "settings = { prot = 5; };", "t:1: settings.prot = 5: unknown key, did you mean \"port\"; allowed: " },
		{ "settings = { limits = { }; };", "t:1: settings.limits = { ... }: unknown key; allowed: " },
		{ "xylophone = 5;",
			"t:1: xylophone = 5: unknown key; allowed: qmail, service, probes, levels, plugins, store, settings, "
			"blocks, storms, recipients, limits, concurrency, localparts" },
		{ "service = {\nleese = 5; };",
			"t:2: service.leese = 5: unknown key, did you mean \"lease\"; allowed: user, groups, " },
		{ "service = { home = \"/x\"; };", "t:1: service.home = \"/x\": unknown key" },
		{ "probes = { quue = { }; };",
			"t:1: probes.quue = { ... }: unknown key, did you mean \"queue\"; allowed: queue, qstat, load, disk" },
		{ "probes = { queue = { evry = 5; }; };",
			"t:1: probes.queue.evry = 5: unknown key, did you mean \"every\"; allowed: every, recount" },
		{ "levels = { overlodad = { }; };",
			"t:1: levels.overlodad = { ... }: unknown key, did you mean \"overloaded\"; allowed: hold, release, " },
		{ "levels = { normal = { }; };",
			"t:1: levels.normal = { ... }: unknown key; allowed: hold, release, dwell, blind, busy, overloaded, critical" },
		{ "levels = { busy = { tood = { enter = 2; leave = 1; }; }; };",
			"t:1: levels.busy.tood = { ... }: unknown key, did you mean \"todo\"; allowed: todo, todo_age, " },
		{ "levels = { busy = { todo = { enter = 2; leave = 1; levae = 1; }; }; };",
			"t:1: levels.busy.todo.levae = 1: unknown key, did you mean \"leave\"; allowed: enter, leave" },
		{ "plugins = { rcp = [ ]; };",
			"t:1: plugins.rcp = [ ... ]: unknown key, did you mean \"rcpt\"; allowed: texts, " },
		{ "homes = [ \"/var/qmail\" ];", "t:1: homes = [ ... ]: unknown key" },
		{ "a = true;", "t:1: a = true: unknown key; allowed: " },
		{ "a = 1.5;", "t:1: a = 1.5: unknown key; allowed: " },
		{ "a = -9223372036854775808;", "t:1: a = -9223372036854775808: unknown key; allowed: " },
		{ "a = ( 1, \"x\" );", "t:1: a = ( ... ): unknown key; allowed: " },
		{ "a = \"x\\ny\\x1b \\\\\";", "t:1: a = \"x\\x0ay\\x1b \\x5c\": unknown key; allowed: " },
		{ "a = \"0123456789abcdefg\";", "t:1: a = \"0123456789abcdef...\": unknown key; allowed: " },
		{ "* = 5;", "t:1: * = 5: unknown key; allowed: " },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		check_bad(rows[i].text, rows[i].want);
}

static void
config_a_key_of_absurd_length_is_refused_safely(void **state)
{
	static char text[100000];

	(void)state;
	memset(text, 'a', sizeof(text) - 6);
	memcpy(text + sizeof(text) - 6, " = 5;", 6);
	assert_int_equal(load(text), -EINVAL);
	assert_int_equal(errors.n, 1);
	assert_non_null(strstr(errors.e[0].text, "unknown key; allowed: "));
}

static void
config_sections_that_are_no_groups_are_refused(void **state)
{
	static const char *const keys[] = { "qmail", "service", "probes", "probes.queue", "levels",
		"plugins", "store", "settings", "limits" };
	static const char *const values[] = { "5", "\"x\"", "true", "1.5", "[ 1 ]", "( )" };

	(void)state;
	for (size_t i = 0; i < countof(keys); i++)
		for (size_t j = 0; j < countof(values); j++)
			check_value_bad(keys[i], values[j], "not a group");
}

/* --- every row of the schema ----------------------------------------------------------------- */

static void
each_row(void (*each)(const char *key, const struct cfg_row *row, size_t at))
{
	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++) {
			char key[CONFIG_KEY_MAX];

			kit_format(key, sizeof(key), "%s.%s", config_section[i].name, row->name);
			each(key, row, config_section[i].at + row->at);
		}
	}
}

static unsigned walked;

static void
walk_one(const char *key, const struct cfg_row *row, void *arg)
{
	assert_ptr_equal(arg, &walked);
	assert_non_null(strchr(key, '.'));
	assert_string_equal(strrchr(key, '.') + 1, row->name);
	walked++;
}

static unsigned counted;

/* As many as the text has words, and each in its range. */
static void
check_default_durations(const struct cfg_row *row, const struct cfg_durations *list)
{
	size_t words = 1;

	for (const char *p = row->def_text; *p != '\0'; p++)
		words += *p == ' ';
	assert_int_equal(list->n, words);
	assert_true(row->min >= 0 && row->min < row->max);
	for (size_t i = 0; i < list->n; i++)
		assert_in_range(list->ms[i], row->min, row->max);
}

static void
check_row(const char *key, const struct cfg_row *row, size_t at)
{
	counted++;
	assert_true(at < sizeof(struct config));
	assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(row->name));
	assert_non_null(row->help);
	assert_true(strlen(row->help) > 5);
	assert_null(strchr(row->help, '\n')); /* it is printed behind a # */
	switch (row->type) {
	case CFG_DURATION:
	case CFG_SIZE:
	case CFG_COUNT:
		if (!(row->min >= 0 && row->min < row->max && row->min <= row->def && row->def <= row->max))
			fail_msg("%s: range", key);
		break;
	case CFG_CHOICE:
		assert_non_null(row->choices);
		assert_non_null(row->choices[row->def]);
		break;
	case CFG_NAME:
	case CFG_PATH:
	case CFG_ADDRESS:
	case CFG_NAMES:
	case CFG_PATHS:
		assert_non_null(row->def_text);
		assert_true(row->def_text[0] != '\0' || (row->flags & CFG_MAY_BE_EMPTY) != 0);
		break;
	case CFG_DURATIONS:
		check_default_durations(row, (const struct cfg_durations *)(const void *)((const char *)defaults() + at));
		break;
	case CFG_BOOL:
		break;
	}
}

static void
config_every_row_is_whole(void **state)
{
	(void)state;
	walked = counted = 0;
	config_walk(walk_one, &walked);
	each_row(check_row);
	assert_int_equal(walked, counted);
	assert_in_range(counted, 20, 1000);
	/* a probe without a section could not be configured */
	for (int i = 0; probe_table[i] != NULL; i++) {
		bool found = false;

		for (size_t j = 0; j < CONFIG_SECTIONS; j++)
			found = found || config_rows(&config_section[j]) == probe_table[i]->schema;
		assert_true(found);
	}
}

static int64_t
number_at(size_t at)
{
	int64_t v;

	memcpy(&v, (const char *)&config + at, sizeof(v));
	return v;
}

/* Forms that are no number of any kind. */
static void
check_no_number(const char *key)
{
	static const char *const values[] = { "\"\"", "\"x\"", "true", "[ 1 ]", "( 1 )", "{ }",
		"[ ]", "\"5 s\"", "\"-5s\"" };

	for (size_t i = 0; i < countof(values); i++)
		check_value_bad(key, values[i], "not of that form");
}

static void
check_count(const char *key, const struct cfg_row *row, size_t at)
{
	char v[64];

	kit_format(v, sizeof(v), "%lld", (long long)row->min);
	check_value_good(key, v);
	assert_int_equal(number_at(at), row->min);
	kit_format(v, sizeof(v), "%lld", (long long)row->max);
	check_value_good(key, v);
	assert_int_equal(number_at(at), row->max);
	kit_format(v, sizeof(v), "0x%llx", (unsigned long long)row->max);
	check_value_good(key, v);
	assert_int_equal(number_at(at), row->max);
	kit_format(v, sizeof(v), "%lld", (long long)row->min - 1);
	check_value_bad(key, v, "too small");
	kit_format(v, sizeof(v), "%lld", (long long)row->max + 1);
	check_value_bad(key, v, "too large");
	kit_format(v, sizeof(v), "%lldL", (long long)row->max + 1);
	check_value_bad(key, v, "too large");
	check_value_bad(key, "99999999999", "too large"); /* libconfig makes 1215752191 of it */
	check_value_bad(key, "9223372036854775807", "too large");
	check_value_bad(key, "-9223372036854775808", "too small");
	check_value_bad(key, "-1", "too small");
	kit_format(v, sizeof(v), "%lld.0", (long long)row->def);
	check_value_bad(key, v, "not of that form");
	kit_format(v, sizeof(v), "\"%lld\"", (long long)row->def);
	check_value_bad(key, v, "not of that form");
	check_no_number(key);
}

static void
check_duration(const char *key, const struct cfg_row *row, size_t at)
{
	char v[64];

	for (int i = 0; i < 3; i++) {
		int64_t ms = i == 0 ? row->min : i == 1 ? row->max : row->def;

		kit_format(v, sizeof(v), "\"%lldms\"", (long long)ms);
		check_value_good(key, v);
		assert_int_equal(number_at(at), ms);
		/* bare numbers are seconds, whole or not */
		kit_format(v, sizeof(v), "%lld.%03lld", (long long)(ms / 1000), (long long)(ms % 1000));
		check_value_good(key, v);
		assert_int_equal(number_at(at), ms);
		if (ms % 1000 != 0)
			continue;
		kit_format(v, sizeof(v), "%lld", (long long)(ms / 1000));
		check_value_good(key, v);
		assert_int_equal(number_at(at), ms);
	}
	if (row->min > 0) {
		kit_format(v, sizeof(v), "\"%lldms\"", (long long)row->min - 1);
		check_value_bad(key, v, "too small");
		check_value_bad(key, "\"0\"", "too small");
	}
	kit_format(v, sizeof(v), "\"%lldms\"", (long long)row->max + 1);
	check_value_bad(key, v, "too large");
	check_value_bad(key, "-1", "too small");
	check_value_bad(key, "-0.5", "too small");
	check_value_bad(key, "99999999999", "too large");
	check_value_bad(key, "9223372036854775807", "too large");
	check_value_bad(key, "-9223372036854775808", "too large"); /* times 1000 it has no sign any more */
	check_value_bad(key, "1e300", "too large");
	check_value_bad(key, "1e999", "too large");
	check_value_bad(key, "\"36526d\"", "too large");
	check_value_bad(key, "\"99999999999999999999s\"", "too large");
	check_value_bad(key, "\"5\"", "not of that form"); /* a unit is required in a text */
	check_value_bad(key, "\"5M\"", "not of that form");
	check_no_number(key);
}

static void
check_size(const char *key, const struct cfg_row *row, size_t at)
{
	char v[64];

	for (int i = 0; i < 3; i++) {
		int64_t bytes = i == 0 ? row->min : i == 1 ? row->max : row->def;

		kit_format(v, sizeof(v), "%lld", (long long)bytes);
		check_value_good(key, v);
		assert_int_equal(number_at(at), bytes);
		kit_format(v, sizeof(v), "\"%lldB\"", (long long)bytes);
		check_value_good(key, v);
		assert_int_equal(number_at(at), bytes);
		if (bytes % 1024 != 0)
			continue;
		kit_format(v, sizeof(v), "\"%lldKiB\"", (long long)bytes / 1024);
		check_value_good(key, v);
		assert_int_equal(number_at(at), bytes);
	}
	kit_format(v, sizeof(v), "%lld", (long long)row->min - 1);
	check_value_bad(key, v, "too small");
	kit_format(v, sizeof(v), "%lld", (long long)row->max + 1);
	check_value_bad(key, v, "too large");
	kit_format(v, sizeof(v), "\"%lld\"", (long long)row->max + 1);
	check_value_bad(key, v, "too large");
	check_value_bad(key, "-1", "too small");
	if (row->min > 0)
		check_value_bad(key, "\"0\"", "too small");
	check_value_bad(key, "9223372036854775807", "too large");
	check_value_bad(key, "\"99999999999999999999\"", "too large");
	check_value_bad(key, "\"16777215T\"", "too large");
	check_value_bad(key, "1.5", "not of that form");
	check_value_bad(key, "\"5s\"", "not of that form");
	check_value_bad(key, "\"1.5M\"", "not of that form");
	check_no_number(key);
}

static void
check_address_row(const char *key, const char *at)
{
	static const char *const good[] = { "127.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "2001:DB8::25",
		"::ffff:127.0.0.1" };
	static const char *const bad[] = { "localhost", "127.0.0.1:1999", "127.1", "010.0.0.1", "[::1]", "::1%lo", "*",
		" 127.0.0.1", "127.0.0.0/8" };
	char v[CFG_STRING_MAX + 8];

	for (size_t i = 0; i < countof(good); i++) {
		kit_format(v, sizeof(v), "\"%s\"", good[i]);
		check_value_good(key, v);
		assert_string_equal(at, good[i]);
	}
	for (size_t i = 0; i < countof(bad); i++) {
		kit_format(v, sizeof(v), "\"%s\"", bad[i]);
		check_value_bad(key, v, "not an IP address");
	}
	check_value_bad(key, "\"\"", "empty");
	check_value_bad(key, "\"::1\\x00\\x01\"", "has control or 8-bit characters");
	check_value_bad(key, "\"caf\xc3\xa9\"", "has control or 8-bit characters");
	check_value_bad(key, "1999", "not a text");
	check_value_bad(key, "[ \"::1\" ]", "not a text");
}

static void
check_text_row(const char *key, const struct cfg_row *row, const char *at)
{
	bool path = row->type == CFG_PATH;
	char v[CFG_STRING_MAX + 8], *p = v;

	check_value_good(key, path ? "\"/a b/c\"" : "\"a b.c\"");
	assert_string_equal(at, path ? "/a b/c" : "a b.c");
	check_value_good(key, "\"/\\\"quoted\\\\\"");
	assert_string_equal(at, "/\"quoted\\");
	/* two texts in a row are one */
	check_value_good(key, "\"/ab\" \"cd\"");
	assert_string_equal(at, "/abcd");
	if ((row->flags & CFG_MAY_BE_EMPTY) != 0) {
		check_value_good(key, "\"\"");
		assert_string_equal(at, "");
	} else {
		check_value_bad(key, "\"\"", "empty");
	}
	*p++ = '"';
	memset(p, '/', CFG_STRING_MAX);
	memcpy(p + CFG_STRING_MAX - 1, "\"", 2);
	check_value_good(key, v);
	assert_int_equal(strlen(at), CFG_STRING_MAX - 1);
	memcpy(p + CFG_STRING_MAX - 1, "/\"", 3);
	check_value_bad(key, v, "too long");
	if (path)
		check_value_bad(key, "\"a/b\"", "not an absolute path");
	check_value_bad(key, "\"/a\\nb\"", "has control or 8-bit characters");
	check_value_bad(key, "\"/a\tb\"", "has control or 8-bit characters");
	check_value_bad(key, "\"/caf\xc3\xa9\"", "has control or 8-bit characters");
	check_value_bad(key, "\"/\\x7f\"", "has control or 8-bit characters");
	check_value_bad(key, "5", "not a text");
	check_value_bad(key, "true", "not a text");
	check_value_bad(key, "1.5", "not a text");
	check_value_bad(key, "[ \"/a\" ]", "not a text");
	check_value_bad(key, "{ }", "not a text");
}

static void
check_list_row(const char *key, const struct cfg_row *row, const struct cfg_list *at)
{
	char list[CFG_LIST_MAX * 8 + 64] = "[ ";

	/* plugins' lists hold names of checks alone, and a home must not be there twice */
	bool checks = strncmp(key, "plugins.", 8) == 0;
	const char *name = checks ? "overload" : "/x";
	for (int i = 0; i < CFG_LIST_MAX && !checks; i++)
		kit_format(list + strlen(list), sizeof(list) - strlen(list), "%s\"/%d\"", i > 0 ? ", " : "", i);
	if (!checks) {
		kit_format(list + strlen(list), sizeof(list) - strlen(list), " ]");
		check_value_good(key, list);
		assert_int_equal(at->n, CFG_LIST_MAX);
		assert_string_equal(at->s[CFG_LIST_MAX - 1], "/15");
		kit_format(list + strlen(list) - 2, sizeof(list) - strlen(list), ", \"/16\" ]");
		check_value_bad(key, list, "too long");
		check_value_good(key, "( \"/a\", \"/b\" )");
		assert_int_equal(at->n, 2);
		assert_string_equal(at->s[1], "/b");
	}
	kit_format(list, sizeof(list), "\"%s\"", name);
	check_value_good(key, list);
	assert_int_equal(at->n, 1);
	assert_string_equal(at->s[0], name);
	kit_format(list, sizeof(list), "[ \"%s\" ]", name);
	check_value_good(key, list);
	assert_int_equal(at->n, 1);
	if ((row->flags & CFG_MAY_BE_EMPTY) != 0) {
		check_value_good(key, "[ ]");
		assert_int_equal(at->n, 0);
		check_value_good(key, "( )");
		assert_int_equal(at->n, 0);
		check_value_good(key, "\"\"");
		assert_int_equal(at->n, 0);
	} else {
		check_value_bad(key, "[ ]", "empty");
		check_value_bad(key, "( )", "empty");
		check_value_bad(key, "\"\"", "empty");
	}
	kit_format(list, sizeof(list), "[ \"%s\", \"\" ]", name);
	check_value_bad(key, list, "has an empty element");
	check_value_bad(key, "[ 1 ]", "not a text");
	check_value_bad(key, "5", "not a list");
	check_value_bad(key, "true", "not a list");
	check_value_bad(key, "{ }", "not a list");
	kit_format(list, sizeof(list), "( \"%s\", ( \"%s\" ) )", name, name);
	check_value_bad(key, list, "not a text");
	kit_format(list, sizeof(list), "( \"%s\", { } )", name);
	check_value_bad(key, list, "not a text");
	check_value_bad(key, "[ \"/a\\nb\" ]", "has control or 8-bit characters");
	if (row->type == CFG_PATHS) {
		check_value_bad(key, "\"relative\"", "not an absolute path");
		check_value_bad(key, "[ \"/a\", \"relative\" ]", "not an absolute path");
	}
}

static void
check_durations(const char *key, const struct cfg_row *row, const struct cfg_durations *at)
{
	char v[640] = "[ ";

	kit_format(v, sizeof(v), "\"%lldms\"", (long long)row->max);
	check_value_good(key, v);
	assert_int_equal(at->n, 1);
	assert_int_equal(at->ms[0], row->max);
	kit_format(v, sizeof(v), "( \"%lldms\", \"%lldms\" )", (long long)row->min, (long long)row->max);
	check_value_good(key, v);
	assert_int_equal(at->n, 2);
	assert_int_equal(at->ms[0], row->min);
	assert_int_equal(at->ms[1], row->max);
	check_value_good(key, "[ 120, 600 ]");
	assert_int_equal(at->ms[1], 600000);
	kit_format(v, sizeof(v), "[ ");
	for (int i = 0; i < CFG_LIST_MAX; i++)
		kit_format(v + strlen(v), sizeof(v) - strlen(v), "%s\"%dh\"", i > 0 ? ", " : "", i + 1);
	kit_format(v + strlen(v), sizeof(v) - strlen(v), " ]");
	check_value_good(key, v);
	assert_int_equal(at->n, CFG_LIST_MAX);
	kit_format(v + strlen(v) - 2, sizeof(v) - strlen(v), ", \"17h\" ]");
	check_value_bad(key, v, "too long");
	check_value_bad(key, "[ ]", "empty");
	check_value_bad(key, "( )", "empty");
	check_value_bad(key, "\"\"", "not of that form");
	check_value_bad(key, "true", "not of that form");
	check_value_bad(key, "{ }", "not of that form");
	assert_int_equal(load("blocks = { ladder = [ \"2m\", \"x\", \"y\" ]; };"), -EINVAL);
	assert_int_equal(errors.n, 1); /* of a list the first */
	assert_non_null(strstr(errors.e[0].text, "t:1: blocks.ladder[1] = \"x\": not of that form; allowed: a duration"));
}

static void
check_values_of(const char *key, const struct cfg_row *row, size_t at)
{
	const void *value = (const char *)&config + at;

	switch (row->type) {
	case CFG_COUNT:
		check_count(key, row, at);
		break;
	case CFG_DURATION:
		check_duration(key, row, at);
		break;
	case CFG_NAME:
	case CFG_PATH:
		check_text_row(key, row, value);
		break;
	case CFG_NAMES:
	case CFG_PATHS:
		check_list_row(key, row, value);
		break;
	case CFG_CHOICE:
		for (int i = 0; row->choices[i] != NULL; i++) {
			char v[64];

			kit_format(v, sizeof(v), "\"%s\"", row->choices[i]);
			check_value_good(key, v);
			assert_int_equal(*(const int *)value, i);
		}
		check_value_bad(key, "\"Compat\"", "not one of the words");
		check_value_bad(key, "\"\"", "not one of the words");
		check_value_bad(key, "0", "not one of the words");
		check_value_bad(key, "[ ]", "not one of the words");
		break;
	case CFG_BOOL:
		check_value_good(key, "TRUE");
		check_value_good(key, "false");
		check_value_bad(key, "1", "not of that form");
		check_value_bad(key, "\"true\"", "not of that form");
		break;
	case CFG_SIZE:
		check_size(key, row, at);
		break;
	case CFG_ADDRESS:
		check_address_row(key, value);
		break;
	case CFG_DURATIONS:
		check_durations(key, row, value);
		break;
	}
}

static void
config_every_key_takes_its_range_and_its_type_and_nothing_else(void **state)
{
	(void)state;
	each_row(check_values_of);
}

static void
config_numbers_beyond_64_bits_are_refused_for_every_key(void **state)
{
	(void)state;
	assert_int_equal(load("\nservice = { lease = 9223372036854775808; };"), -EINVAL);
	assert_string_equal(errors.e[0].text, "t:2: 9223372036854775808: a whole number must fit into 64 bits");
	assert_int_equal(errors.n, 1);
}

/* A float has no exact binary form; it is rounded, not cut. */
static void
config_fractions_of_seconds_are_exact_to_the_millisecond(void **state)
{
	(void)state;
	for (int ms = 2000; ms <= 60000; ms += kit_is_slow() ? 997 : 1) {
		char text[64];

		kit_format(text, sizeof(text), "service = { lease = %d.%03d; };", ms / 1000, ms % 1000);
		check_good(text);
		assert_int_equal(config.service.lease_ms, ms);
	}
}

static void
config_a_nul_byte_is_refused(void **state)
{
	static const char text[] = "service = { lease = \"5s\"; };\n\0 garbage";

	(void)state;
	assert_int_equal(config_load_text("t", text, sizeof(text) - 1, &config, &errors), -EINVAL);
	assert_string_equal(errors.e[0].text, "t:2: a NUL byte: this is not a text file");
}

/* --- rules across keys ----------------------------------------------------------------------- */

static void
config_home_and_homes_are_two_spellings(void **state)
{
	(void)state;
	check_good("qmail = { home = \"/srv/qmail\"; };");
	assert_int_equal(config.qmail.homes.n, 1);
	assert_string_equal(config.qmail.homes.s[0], "/srv/qmail");
	check_good("qmail = { homes = [ \"/srv/a\", \"/srv/b\" ]; };");
	assert_int_equal(config.qmail.homes.n, 2);
	check_good("qmail = { home = [ \"/srv/a\", \"/srv/b\" ]; };");
	assert_int_equal(config.qmail.homes.n, 2);
	check_bad("qmail = { home = \"/a\"; homes = \"/b\"; };",
		"t:1: qmail.home = \"/a\": both home and homes are given; allowed: ");
	check_bad("qmail = { homes = \"/a\";\n home = \"/b\"; };",
		"t:2: qmail.home = \"/b\": both home and homes are given; allowed: ");
	check_bad("qmail = { home = \"\"; };", "t:1: qmail.home = \"\": empty; allowed: ");
	check_bad("qmail = { home = 5; };", "t:1: qmail.home = 5: not a list; allowed: ");
}

static void
config_a_home_given_twice_is_refused(void **state)
{
	(void)state;
	check_bad("qmail = { homes = [ \"/a\", \"/b\", \"/a\" ]; };",
		"t:1: qmail.homes = [ ... ]: names a home twice; allowed: ");
	check_bad("qmail = {\nhome = [ \"/a\", \"/a\" ]; };",
		"t:2: qmail.home = [ ... ]: names a home twice; allowed: ");
}

static void
config_plugins_name_checks_that_exist(void **state)
{
	static const char *const stages[] = { "connection", "helo", "auth", "mail", "rcpt", "data" };

	(void)state;
	for (size_t i = 0; i < countof(stages); i++) {
		char text[100], want[100];

		kit_format(text, sizeof(text), "plugins = { %s = [ \"overload\" ]; };", stages[i]);
		check_good(text);
		assert_int_equal(config.plugins.stage[i].n, 1);
		kit_format(text, sizeof(text), "plugins = {\n%s = [ \"overlord\" ]; };", stages[i]);
		kit_format(want, sizeof(want),
			"t:2: plugins.%s = [ ... ]: names a check that there is not; allowed: overload", stages[i]);
		check_bad(text, want);
	}
	check_bad("plugins = { mail = \"none\"; };",
		"t:1: plugins.mail = \"none\": names a check that there is not; allowed: overload");
}

/* --- levels ---------------------------------------------------------------------------------- */

static void
config_a_level_that_is_written_replaces_the_default_whole(void **state)
{
	(void)state;
	check_good("levels = { overloaded = { messages = { enter = 5000; leave = 4000; }; }; };");
	assert_int_equal(config.levels.level[LEVEL_OVERLOADED].n, 1);
	assert_int_equal(config.levels.level[LEVEL_OVERLOADED].rule[0].id, READING_MESSAGES);
	assert_memory_equal(&config.levels.level[LEVEL_BUSY], &defaults()->levels.level[LEVEL_BUSY],
		sizeof(struct decide_level));
	assert_memory_equal(&config.levels.level[LEVEL_CRITICAL],
		&defaults()->levels.level[LEVEL_CRITICAL], sizeof(struct decide_level));
	check_good("levels = { busy = { }; };");
	assert_int_equal(config.levels.level[LEVEL_BUSY].n, 0);
}

static void
config_marks_are_read_in_the_unit_of_their_reading(void **state)
{
	static const struct {
		const char *rule;
		double enter, leave;
	} rows[] = {
		{ "todo = { enter = 100; leave = 50; };", 100, 50 },
		{ "todo = { leave = 50; enter = 100; };", 100, 50 },
		{ "todo = { enter = 100.5; leave = 0; };", 100.5, 0 },
		{ "todo = { enter = 1000000000000; leave = 99999999999; };", 1e12, 99999999999.0 },
		{ "todo_age = { enter = \"60s\"; leave = \"250ms\"; };", 60, 0.25 },
		{ "todo_age = { enter = \"1h30m\"; leave = 10; };", 5400, 10 },
		{ "todo_age = { enter = \"36525d\"; leave = 0.5; };", 36525.0 * 86400, 0.5 },
		{ "growth = { enter = 100.0; leave = 25; };", 100, 25 },
		{ "growth = { enter = 100.0; leave = -0.0; };", 100, 0 },
		{ "load = { enter = 8; leave = 4.5; };", 8, 4.5 },
		{ "cpu_pressure = { enter = 80; leave = 40; };", 80, 40 },
		{ "disk_free = { enter = \"200M\"; leave = \"500M\"; };", 209715200, 524288000 },
		{ "disk_free = { enter = 4096; leave = \"8000T\"; };", 4096, 8000 * 1099511627776.0 },
		{ "disk_free = { enter = 99999999999; leave = 999999999999; };", 99999999999.0,
			999999999999.0 },
		{ "inodes_free = { enter = 1000; leave = 2000; };", 1000, 2000 },
		/* either way round */
		{ "arrivals = { enter = 300; leave = 200; };", 300, 200 },
		{ "departures = { enter = 1; leave = 2; };", 1, 2 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[200];

		kit_format(text, sizeof(text), "levels = { critical = { %s }; };", rows[i].rule);
		check_good(text);
		const struct decide_level *l = &config.levels.level[LEVEL_CRITICAL];
		assert_int_equal(l->n, 1);
		assert_true(fabs(l->rule[0].enter - rows[i].enter) <= 0);
		assert_true(fabs(l->rule[0].leave - rows[i].leave) <= 0);
	}
}

static void
config_every_reading_with_a_vote_can_be_a_rule(void **state)
{
	char text[2048] = "levels = { busy = { ";
	unsigned n = 0;

	(void)state;
	for (int i = 0; i < READING_COUNT; i++) {
		bool little = reading_info[i].sense == TOO_LITTLE_IS_BAD;

		if (reading_info[i].sense == NO_VOTE)
			continue;
		kit_format(text + strlen(text), sizeof(text) - strlen(text),
			"%s = { enter = %d; leave = %d; }; ",
			reading_info[i].name, little ? 1 : 2, little ? 2 : 1);
		n++;
	}
	(void)strcat(text, "}; };");
	check_good(text);
	assert_int_equal(config.levels.level[LEVEL_BUSY].n, n);
}

static void
config_bad_marks_are_refused(void **state)
{
	static const struct {
		const char *rule, *want;
	} rows[] = {
		{ "todo = { enter = 100; leave = 100; };",
			"todo = { ... }: enter and leave are equal, the level would flap; allowed: " },
		{ "disk_free = { enter = \"1M\"; leave = 1048576; };",
			"disk_free = { ... }: enter and leave are equal" },
		{ "arrivals = { enter = 5; leave = 5.0; };", "arrivals = { ... }: enter and leave are equal" },
		{ "todo = { enter = 50; leave = 100; };",
			"todo = { ... }: leave is above enter; allowed: leave below enter, for too much" },
		{ "disk_free = { enter = \"500M\"; leave = \"200M\"; };",
			"disk_free = { ... }: leave is below enter; allowed: leave above enter, for too little" },
		{ "inodes_free = { enter = 2; leave = 1; };", "inodes_free = { ... }: leave is below enter" },
		{ "todo = { enter = 100; };",
			"todo = { ... }: needs both marks; allowed: { enter = NUMBER; leave = NUMBER; }" },
		{ "todo = { leave = 100; };", "todo = { ... }: needs both marks" },
		{ "todo = { };", "todo = { ... }: needs both marks" },
		{ "todo = 100;", "todo = 100: not a group; allowed: { enter" },
		{ "todo = [ 100, 50 ];", "todo = [ ... ]: not a group" },
		{ "todo = { enter = \"100\"; leave = 50; };",
			"todo.enter = \"100\": not of that form; allowed: a number from 0 to " },
		{ "todo = { enter = \"100s\"; leave = 50; };", "todo.enter = \"100s\": not of that form" },
		{ "todo = { enter = true; leave = 50; };", "todo.enter = true: not of that form" },
		{ "todo = { enter = 100; leave = -1; };", "todo.leave = -1: too small" },
		{ "todo = { enter = 1000000000001; leave = 1; };", "todo.enter = 1000000000001: too large" },
		{ "todo = { enter = 9223372036854775807; leave = 1; };",
			"todo.enter = 9223372036854775807: too large" },
		{ "todo = { enter = 1e13; leave = 1; };", "todo.enter = 1e+13: too large" },
		{ "todo = { enter = 1e999; leave = 1; };", "todo.enter = inf: too large" },
		{ "todo = { enter = 1; leave = -1e999; };", "todo.leave = -inf: too small" },
		{ "todo_age = { enter = \"60\"; leave = \"10s\"; };",
			"todo_age.enter = \"60\": not of that form; allowed: a duration" },
		{ "todo_age = { enter = \"36526d\"; leave = \"10s\"; };",
			"todo_age.enter = \"36526d\": not of that form; allowed: a duration of at most 100 years" },
		{ "disk_free = { enter = \"200X\"; leave = \"500M\"; };",
			"disk_free.enter = \"200X\": not of that form; allowed: a size" },
		{ "disk_free = { enter = 1; leave = \"8388608T\"; };",
			"disk_free.leave = \"8388608T\": not of that form; allowed: a size" },
		{ "disk_free = { enter = 1; leave = \"8388607T\"; };",
			"disk_free.leave = \"8388607T\": too large; allowed: a size" },
		{ "growth = { enter = 1; leave = -5; };", "growth.leave = -5: too small" },
		{ "refused = { enter = 2; leave = 1; };",
			"refused = { ... }: has no vote: our own refusals must not raise a level; allowed: " },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[300], want[300];

		kit_format(text, sizeof(text), "levels = {\noverloaded = {\n%s }; };", rows[i].rule);
		kit_format(want, sizeof(want), "t:3: levels.overloaded.%s", rows[i].want);
		check_bad(text, want);
	}
	check_bad("levels = { busy = 5; };", "t:1: levels.busy = 5: not a group; allowed: { READING = ");
	check_bad("levels = { busy = [ ]; };", "t:1: levels.busy = [ ... ]: not a group");
}

/* --- printing -------------------------------------------------------------------------------- */

/* What is printed reads back as the same bytes. */
static void
check_round_trip(const struct config *c)
{
	static struct config back;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	config_print(f, c);
	assert_int_equal(fclose(f), 0);
	if (config_load_text("printed", text, len, &back, &errors) < 0)
		fail_msg("%s\n%s", errors.e[0].text, text);
	assert_memory_equal(&back, c, sizeof(back));
	free(text);
}

static void
config_printed_defaults_read_back(void **state)
{
	(void)state;
	check_round_trip(defaults());
}

static void
config_print_shows_every_key_with_its_help(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	config_print(f, defaults());
	(void)fclose(f);
	for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
		for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++) {
			char line[400];

			kit_format(line, sizeof(line), "\t# %s\n\t%s = ", row->help, row->name);
			assert_non_null(strstr(text, line));
		}
	}
	free(text);
}

/* Printable, but nothing simpler than that: quotes, backslashes, what looks like comments. */
static void
random_name(struct dice *d, bool path, bool may_be_empty, char ret[CFG_STRING_MAX])
{
	size_t n = dice_below(d, 3) == 0 ? CFG_STRING_MAX - 1 : dice_below(d, 12);

	if (n == 0 && !may_be_empty)
		n = 1;
	memset(ret, 0, CFG_STRING_MAX);
	for (size_t i = 0; i < n; i++)
		ret[i] = dice_below(d, 4) == 0 ? "\"\\#/*@;{}"[dice_below(d,
			9)] : (char)(0x20 + dice_below(d, 0x5f));
	if (path && n > 0)
		ret[0] = '/';
}

/* As the reader leaves it: what it writes over a longer default keeps that one's end. */
static void
put_name(char at[CFG_STRING_MAX], const char *name)
{
	memcpy(at, name, strlen(name) + 1);
}

static void
random_durations(struct dice *d, const struct cfg_row *row, struct cfg_durations *list)
{
	memset(list, 0, sizeof(*list));
	list->n = 1 + dice_below(d, CFG_LIST_MAX);
	for (size_t i = 0; i < list->n; i++) { /* a ladder does not fall */
		int64_t least = i > 0 ? list->ms[i - 1] : row->min;

		list->ms[i] = least + (int64_t)(dice_any(d) % (uint64_t)(row->max - least + 1));
	}
}

static void
random_value(struct dice *d, const struct cfg_row *row, void *at, unsigned nth)
{
	char name[CFG_STRING_MAX];
	struct cfg_list *list = at;
	uint64_t span = (uint64_t)(row->max - row->min) + 1;

	switch (row->type) {
	case CFG_DURATION:
	case CFG_COUNT:
		*(int64_t *)at = row->min + (int64_t)(dice_any(d) % span);
		break;
	case CFG_SIZE:
		*(uint64_t *)at = (uint64_t)row->min + dice_any(d) % span;
		break;
	case CFG_BOOL:
		*(bool *)at = dice_below(d, 2) == 0;
		break;
	case CFG_CHOICE:
		*(int *)at = (int)dice_below(d, 2);
		break;
	case CFG_NAME:
	case CFG_PATH:
		random_name(d, row->type == CFG_PATH, (row->flags & CFG_MAY_BE_EMPTY) != 0, name);
		put_name(at, name);
		break;
	case CFG_ADDRESS:
		put_name(at, ((const char *const[]) { "127.0.0.1", "::1", "0.0.0.0", "2001:db8::ffff" })[dice_below(d, 4)]);
		break;
	case CFG_NAMES:
	case CFG_PATHS:
		memset(list, 0, sizeof(*list));
		list->n = dice_below(d, CFG_LIST_MAX + 1);
		if (list->n == 0 && (row->flags & CFG_MAY_BE_EMPTY) == 0)
			list->n = 1;
		for (unsigned i = 0; i < list->n; i++) {
			random_name(d, row->type == CFG_PATHS, false, list->s[i]);
			if (nth == 0) /* homes must differ */
				list->s[i][1] = (char)('a' + i);
		}
		break;
	case CFG_DURATIONS:
		random_durations(d, row, at);
		break;
	}
}

static double
random_mark(struct dice *d)
{
	return dice_below(d,
		2) == 0 ? (double)(dice_any(d) % 1000000000001) : (double)(dice_u64(d) >> 11) * 0x1p-53 * 1e6;
}

static void
random_level(struct dice *d, struct decide_level *l)
{
	memset(l, 0, sizeof(*l));
	for (int id = 0; id < READING_COUNT; id++) {
		double a = random_mark(d), b = random_mark(d);
		enum reading_sense sense = reading_info[id].sense;

		if (sense == NO_VOTE || dice_below(d, 2) == 0 || fabs(a - b) <= 0)
			continue;
		if ((sense == TOO_MUCH_IS_BAD && a < b) || (sense == TOO_LITTLE_IS_BAD && a > b)) {
			double c = a;

			a = b;
			b = c;
		}
		l->rule[l->n++] = (struct decide_rule) { .id = (enum reading_id)id, .enter = a, .leave = b };
	}
}

/* Patterns of all sorts; prefixes too. */
static void
random_limit(struct dice *d, bool has_window, struct rate_limit *ret)
{
	char name[CFG_STRING_MAX], text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix p = { .bits = (uint8_t)dice_below(d, 129) };

	for (size_t i = 0; i < sizeof(p.ip.b); i++)
		p.ip.b[i] = (uint8_t)dice_u64(d);
	if (dice_below(d, 2) == 0)
		memcpy(p.ip.b, (const uint8_t[12]) { [10] = 0xff, [11] = 0xff }, 12);
	p.ip = ip_mask(&p.ip, p.bits);
	ip_prefix_format(&p, text);
	random_name(d, false, false, name);
	name[RATE_PATTERN_MAX - 1] = '\0';
	if (strchr(name, '/') != NULL)
		name[0] = '@'; /* "./" would pass for a prefix that went wrong */
	assert_int_equal(rate_limit_set_pattern(ret, dice_below(d, 2) == 0 ? text : name), 0);
	ret->window_ms = has_window ? 1 + (int64_t)(dice_any(d) % RATE_WINDOW_MAX_MS) : 0;
	ret->count = (int64_t)(dice_any(d) % (RATE_COUNT_MAX + 2)) - 1;
}

static void
random_limits(struct dice *d, struct config *c)
{
	unsigned n = dice_below(d, RATE_CLASSES_MAX + 1);

	for (unsigned i = 0; i < n; i++) {
		struct rate_class *class = &c->limits.class[i];
		unsigned left = RATE_LIMITS_MAX - c->limits.n_limits;

		kit_format(class->name, sizeof(class->name), "%.*sc%u", (int)dice_below(d, 47),
			"*-_Zz0123456789012345678901234567890123456789012", i);
		class->mode = (enum rate_mode)dice_below(d, 3);
		class->first = c->limits.n_limits;
		class->n = dice_below(d, (left < 30 ? left : 30) + 1);
		for (unsigned j = 0; j < class->n; j++)
			random_limit(d, true, &c->limits.limit[class->first + j]);
		c->limits.n_limits += class->n;
		c->limits.n_classes++;
	}
	c->concurrency.n = dice_below(d, CONFIG_CONCURRENCY_MAX + 1);
	for (unsigned i = 0; i < c->concurrency.n; i++)
		random_limit(d, false, &c->concurrency.limit[i]);
}

static void
random_blocks(struct dice *d, struct config_blocks *c)
{
	char text[IP_PREFIX_TEXT_MAX + 8];

	c->actions.ipsvd.timeout_ms -= c->actions.ipsvd.timeout_ms % 1000;
	c->rules.widen_hosts += c->rules.widen_hosts == 1;
	c->n_allow = dice_below(d, 5) == 0 ? PROTECT_ALLOW_MAX : dice_below(d, 10);
	for (unsigned i = 0; i < c->n_allow; i++) {
		struct ip_prefix p = { .bits = (uint8_t)dice_below(d, 129) };

		for (size_t j = 0; j < sizeof(p.ip.b); j++)
			p.ip.b[j] = (uint8_t)dice_u64(d);
		if (dice_below(d, 2) == 0)
			memcpy(p.ip.b, (const uint8_t[12]) { [10] = 0xff, [11] = 0xff }, 12);
		p.ip = ip_mask(&p.ip, p.bits);
		ip_prefix_format(&p, text);
		(void)strcat(text, protect_is_wide(&p) ? " wide" : "");
		if (dice_below(d, 4) == 0)
			kit_format(text, sizeof(text), "mx-%u.example.org", i);
		assert_int_equal(protect_parse_allow(text, &c->allow[i], NULL), 0);
	}
}

static void
config_printed_random_configurations_read_back(void **state)
{
	static struct config c;
	struct dice d = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(1000); round++) {
		config_defaults(&c);
		for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
			for (const struct cfg_row *row = config_rows(&config_section[i]); row->name != NULL; row++) {
				if (strcmp(config_section[i].name, "plugins") == 0 && row->type == CFG_NAMES)
					continue; /* of these there are few */
				random_value(&d, row, (char *)&c + config_section[i].at + row->at, (unsigned)i);
			}
		}
		for (int l = LEVEL_BUSY; l < LEVEL_COUNT; l++)
			random_level(&d, &c.levels.level[l]);
		random_limits(&d, &c);
		random_blocks(&d, &c.blocks);
		if (c.settings.port == c.settings.control_port)
			c.settings.control_port = 0;
		check_round_trip(&c);
	}
}

/* --- reload ---------------------------------------------------------------------------------- */

static void
config_keep_fixed_carries_over_what_only_a_restart_changes(void **state)
{
	static struct config old, new;
	char keys[400];

	(void)state;
	old = *defaults();
	new = old;
	config_keep_fixed(&new, &old, keys, sizeof(keys));
	assert_string_equal(keys, "");
	assert_memory_equal(&new, &old, sizeof(new));

	check_good("qmail = { homes = [ \"/a\", \"/b\" ]; }; service = { user = \"mail\"; run_dir = \"/run/x\"; lease = \"20s\";"
		" operators = [ \"bob\" ]; limits_memory = \"1M\"; }; levels = { hold = \"5s\"; busy = { }; };"
		" settings = { port = 1999; log_level = 4; }; limits = { ip = ( (\"*\", 1, 2) ); };"
		" concurrency = ( (\"*\", 3) );");
	new = config;
	config_keep_fixed(&new, &old, keys, sizeof(keys));
	assert_string_equal(keys, "qmail.homes, service.user, service.run_dir, service.lease, service.limits_memory, settings.port");
	/* those as before, the others as in the new file */
	assert_memory_equal(&new.qmail, &old.qmail, sizeof(new.qmail));
	assert_string_equal(new.service.user, "spillway");
	assert_string_equal(new.service.run_dir, "/run/spillway");
	assert_int_equal(new.service.lease_ms, old.service.lease_ms);
	assert_int_equal(new.service.operators.n, 1);
	assert_int_equal(new.levels.hold_ms, 5000);
	assert_int_equal(new.levels.level[LEVEL_BUSY].n, 0);
	assert_int_equal(new.service.limits_memory, old.service.limits_memory);
	assert_int_equal(new.settings.port, 0);
	assert_int_equal(new.settings.log_level, 4);
	assert_memory_equal(&new.limits, &config.limits, sizeof(new.limits));
	assert_memory_equal(&new.concurrency, &config.concurrency, sizeof(new.concurrency));
	/* too many for the text: cut at a word, not beyond */
	new = config;
	memset(keys, 0x55, sizeof(keys));
	config_keep_fixed(&new, &old, keys, 16);
	assert_true(strlen(keys) < 16);
	assert_int_equal(keys[16], 0x55);
}

/* Reading the same file again is no change of anything. */
static void
config_keep_fixed_of_the_same_text_finds_no_change(void **state)
{
	static struct config old;
	char keys[400];

	(void)state;
	check_good("service = { user = \"a\"; run_dir = \"/r\"; groups = \"g\"; }; qmail = { home = \"/q\"; };");
	old = config;
	check_good("qmail = { homes = [ \"/q\" ]; }; service = { groups = [ \"g\" ]; run_dir = \"/r\"; user = \"a\"; };");
	assert_memory_equal(&old, &config, sizeof(old));
	config_keep_fixed(&config, &old, keys, sizeof(keys));
	assert_string_equal(keys, "");
}

static void
config_resolve_finds_names_and_tells_the_missing(void **state)
{
	char missing[200];

	(void)state;
	check_good("service = { plugin_users = [ \"root\", \"no-such-user\" ];"
		" operators = [ \"root\", \"@root\", \"@no-such-group\", \"@\" ]; };");
	config_resolve(&config, missing, sizeof(missing));
	assert_string_equal(missing, "no-such-user, @no-such-group, @");
	assert_int_equal(config.plugin_uids.n, 1);
	assert_int_equal(config.plugin_uids.id[0], 0);
	assert_int_equal(config.operator_uids.n, 1);
	assert_int_equal(config.operator_gids.n, 1);
	assert_int_equal(config.operator_gids.id[0], 0);
	/* again, after a change */
	check_good("service = { plugin_users = [ ]; operators = \"\"; };");
	config_resolve(&config, missing, sizeof(missing));
	assert_string_equal(missing, "");
	assert_int_equal(config.plugin_uids.n + config.operator_uids.n + config.operator_gids.n, 0);
}

/* --- files ----------------------------------------------------------------------------------- */

static char dir[KIT_PATH_MAX];

static int
make_tree(void **state)
{
	(void)state;
	kit_tree(dir);
	return 0;
}

static int
remove_tree(void **state)
{
	(void)state;
	kit_remove(dir);
	return 0;
}

static void
check_file_bad(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One complaint, "DIR/..."; nothing changed. */
static void
check_file_bad(const char *name, const char *fmt, ...)
{
	char path[KIT_PATH_MAX], text[KIT_PATH_MAX], want[KIT_PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kit_format(want, sizeof(want), "%s/%s", dir, text);
	memset(&config, 0x5a, sizeof(config));
	memset(&before, 0x5a, sizeof(before));
	assert_true(config_load(kit_path(path, dir, name), -1, &config, &errors) < 0);
	assert_memory_equal(&config, &before, sizeof(config));
	assert_int_equal(errors.n, 1);
	if (strncmp(errors.e[0].text, want, strlen(want)) != 0)
		fail_msg("got \"%s\"\nwant \"%s\"", errors.e[0].text, want);
}

/* C7 of the list of failures, each as a file that somebody reloads. */
static void
config_broken_files_are_refused(void **state)
{
	char path[KIT_PATH_MAX], deep[8192];

	(void)state;
	check_file_bad("missing", "missing: No such file or directory");
	assert_int_equal(mkfifo(kit_path(path, dir, "fifo"), 0644), 0);
	check_file_bad("fifo", "fifo: not a regular file");
	kit_mkdir(dir, "directory");
	check_file_bad("directory", "directory: not a regular file");
	kit_puts(dir, "large", "");
	assert_int_equal(truncate(kit_path(path, dir, "large"), 1 << 30), 0);
	check_file_bad("large", "large: longer than 262144 bytes");
	kit_puts(dir, "dot", "\n@include \".\"\n");
	check_file_bad("dot", "dot:2: @include %s/.: not a regular file", dir);
	kit_puts(dir, "slash", "@include \"/\"\n");
	check_file_bad("slash", "slash:1: @include /: not a regular file");
	kit_puts(dir, "self", "@include \"self\"\n");
	check_file_bad("self", "self:1: @include \"%s/self\": includes go deeper than 8", dir);
	kit_write(dir, "nul", "qmail = { }; \0", 14, 0644);
	check_file_bad("nul", "nul:1: a NUL byte");
	kit_puts(dir, "int", "service = {\nlease = 99999999999; };\n");
	check_file_bad("int", "int:2: service.lease = 99999999999: too large; allowed: a duration from 2s to ");
	kit_puts(dir, "float", "store = { changes = 1000.0; };\n");
	check_file_bad("float",
		"float:1: store.changes = 1000: not of that form; allowed: a whole number from 100 to ");

	memset(deep, '{', sizeof(deep));
	for (size_t i = 0; i + 5 < sizeof(deep); i += 4)
		memcpy(deep + i, "a={ ", 4);
	deep[sizeof(deep) - 1] = '\0';
	kit_puts(dir, "deep", deep);
	check_file_bad("deep", "deep:");
}

/* Nesting that is closed properly, as deep as 256 KiB allow. */
static void
config_nesting_as_deep_as_a_file_allows_is_survived(void **state)
{
	static char text[CONFIG_FILE_MAX];
	static const char *const open_close[][2] = { { "a={", "};" }, { "a=(", ");" }, { "(", ")" } };

	(void)state;
	for (size_t i = 0; i < countof(open_close); i++) {
		size_t n = 0, o = strlen(open_close[i][0]), c = strlen(open_close[i][1]);
		size_t levels = (sizeof(text) - 16) / (o + c);

		if (i == 2) {
			memcpy(text, "a=", 2);
			n = 2;
		}
		for (size_t l = 0; l < levels; l++, n += o)
			memcpy(text + n, open_close[i][0], o);
		for (size_t l = 0; l < levels; l++, n += c)
			memcpy(text + n, open_close[i][1], c);
		assert_int_equal(config_load_text("t", text, n, &config, &errors), -EINVAL);
		assert_int_equal(errors.n, 1);
	}
}

static void
config_an_error_in_an_included_file_names_its_line(void **state)
{
	(void)state;
	kit_puts(dir, "main",
		"qmail = { };\n@include \"levels.conf\"\nservice = {\n@include \"service.conf\"\n};\n");
	kit_puts(dir, "levels.conf", "levels = {\n\n  hold = \"2s\";\n};\n");
	kit_puts(dir, "service.conf", "# here\nlease = \"5s\";\nuser = 5;\n");
	check_file_bad("main", "service.conf:3: service.user = 5: not a text; allowed: ");
	kit_puts(dir, "service.conf", "lease = \"5s\";\n");
	kit_puts(dir, "levels.conf", "\n\nlevels = { holt = \"2s\"; };\n");
	check_file_bad("main",
		"levels.conf:3: levels.holt = \"2s\": unknown key, did you mean \"hold\"; allowed: ");
	kit_puts(dir, "levels.conf", "\nlevels = { hold = ; };\n");
	check_file_bad("main", "levels.conf:2: syntax error; allowed: ");
	kit_puts(dir, "levels.conf", "levels = { hold = \"3s\"; };\n");
	char path[KIT_PATH_MAX];
	assert_int_equal(config_load(kit_path(path, dir, "main"), -1, &config, &errors), 0);
	assert_int_equal(config.levels.hold_ms, 3000);
	assert_int_equal(config.service.lease_ms, 5000);
	/* behind an include, lines are counted as in the file */
	kit_puts(dir, "main", "@include \"levels.conf\"\n\nqmail = 5;\n");
	check_file_bad("main", "main:3: qmail = 5: not a group; allowed: ");
}

static void
config_an_empty_file_is_all_defaults(void **state)
{
	char path[KIT_PATH_MAX];

	(void)state;
	kit_puts(dir, "empty", "");
	assert_int_equal(config_load(kit_path(path, dir, "empty"), -1, &config, &errors), 0);
	assert_memory_equal(&config, defaults(), sizeof(config));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(config_load("named", fd, &config, &errors), 0);
	assert_memory_equal(&config, defaults(), sizeof(config));
	(void)close(fd);
}

/* Text that was a good configuration before somebody's cat walked over it: no crash,
	and either a struct or a line. */
static void
config_random_damage_is_survived(void **state)
{
	char *good = NULL, *text;
	size_t len = 0;
	FILE *f = open_memstream(&good, &len);
	struct dice d = dice_new();

	(void)state;
	config_print(f, defaults());
	(void)fclose(f);
	assert_non_null(text = malloc(len + 1));
	for (int i = 0; i < kit_rounds(3000); i++) {
		memcpy(text, good, len);
		for (unsigned j = 1 + dice_below(&d, 4); j > 0; j--) {
			size_t at = dice_below(&d, (unsigned)len), n = dice_below(&d, 40);

			n = n < len - at ? n : len - at;
			switch (dice_below(&d, 4)) {
			case 0:
				text[at] = (char)dice_u64(&d);
				break;
			case 1:
				text[at] = "\"\\/*#@={}[]();,.-+0123456789 \n"[dice_below(&d, 31)];
				break;
			case 2:
				memmove(text + at, text + dice_below(&d, (unsigned)(len - n)), n);
				break;
			default:
				memset(text + at, ' ', n);
				break;
			}
		}
		int r = config_load_text("t", text, len, &config, &errors);
		if (r < 0)
			assert_true(errors.n > 0 && errors.e[0].text[0] != '\0');
		else
			check_round_trip(&config);
	}
	free(text);
	free(good);
}

#define WITH_TREE(test) cmocka_unit_test_setup_teardown(test, make_tree, remove_tree)

/* A rule whose reading is never known would have no vote, silently. */
static void
config_rules_of_logs_that_are_not_named_are_noted(void **state)
{
	static const char rules[] = "levels = { busy = { deferrals = { enter = 5; leave = 1; };"
		" rejections = { enter = 5; leave = 1; }; }; };";
	static const struct {
		const char *logs;
		unsigned notes;
	} rows[] = {
		{ "", 2 }, { "probes = { logs = { send = \"/a\"; }; };", 1 },
		{ "probes = { logs = { server = \"/a\"; }; };", 1 },
		{ "probes = { logs = { send = \"/a\"; shared = [ \"/b\" ]; }; };", 0 },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		static struct config c;
		char text[400];
		int n = snprintf(text, sizeof(text), "%s\n%s\n", rows[i].logs, rules);

		assert_int_equal(config_load_text("t", text, (size_t)n, &c, &errors), 0);
		assert_int_equal(errors.notes, rows[i].notes);
		if (rows[i].notes == 2)
			assert_string_equal(errors.note[0].text,
				"t:2: levels.busy.deferrals = { ... }: never known: probes.logs names no log that tells it");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_an_empty_text_is_all_defaults),
		cmocka_unit_test(config_defaults_are_those_of_the_design),
		cmocka_unit_test(config_the_example_of_the_design_is_read),
		cmocka_unit_test(config_syntax_errors_name_their_line),
		cmocka_unit_test(config_a_key_given_twice_is_an_error),
		cmocka_unit_test(config_all_errors_are_told_up_to_a_limit),
		cmocka_unit_test(config_unknown_keys_are_errors_with_a_suggestion),
		cmocka_unit_test(config_a_key_of_absurd_length_is_refused_safely),
		cmocka_unit_test(config_sections_that_are_no_groups_are_refused),
		cmocka_unit_test(config_every_row_is_whole),
		cmocka_unit_test(config_every_key_takes_its_range_and_its_type_and_nothing_else),
		cmocka_unit_test(config_numbers_beyond_64_bits_are_refused_for_every_key),
		cmocka_unit_test(config_fractions_of_seconds_are_exact_to_the_millisecond),
		cmocka_unit_test(config_a_nul_byte_is_refused),
		cmocka_unit_test(config_home_and_homes_are_two_spellings),
		cmocka_unit_test(config_a_home_given_twice_is_refused),
		cmocka_unit_test(config_plugins_name_checks_that_exist),
		cmocka_unit_test(config_a_level_that_is_written_replaces_the_default_whole),
		cmocka_unit_test(config_marks_are_read_in_the_unit_of_their_reading),
		cmocka_unit_test(config_every_reading_with_a_vote_can_be_a_rule),
		cmocka_unit_test(config_bad_marks_are_refused),
		cmocka_unit_test(config_printed_defaults_read_back),
		cmocka_unit_test(config_print_shows_every_key_with_its_help),
		cmocka_unit_test(config_printed_random_configurations_read_back),
		cmocka_unit_test(config_keep_fixed_carries_over_what_only_a_restart_changes),
		cmocka_unit_test(config_keep_fixed_of_the_same_text_finds_no_change),
		cmocka_unit_test(config_resolve_finds_names_and_tells_the_missing),
		WITH_TREE(config_broken_files_are_refused),
		WITH_TREE(config_nesting_as_deep_as_a_file_allows_is_survived),
		WITH_TREE(config_an_error_in_an_included_file_names_its_line),
		WITH_TREE(config_an_empty_file_is_all_defaults),
		cmocka_unit_test(config_random_damage_is_survived),
		cmocka_unit_test(config_rules_of_logs_that_are_not_named_are_noted),
	};

	if (regcomp(&shape, "^[^:]+:[0-9]+: [A-Za-z*][A-Za-z0-9_.*-]*(\\[[0-9]+\\])* = .+: .+; allowed: .",
		REG_EXTENDED | REG_NOSUB) != 0)
		return 1;
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	regfree(&shape);
	return r;
}
