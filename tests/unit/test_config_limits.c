/* SPDX-License-Identifier: ISC */
/*
 * Limits as their author writes them: rater's own file and that of its author's posts mean here what they meant there;
 * whatever is wrong is told with its place; what hardly makes sense is a note.
 */
#include "controller/config_limits.h"

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

static int
load(const char *text)
{
	memset(&config, 0x5a, sizeof(config));
	memset(&before, 0x5a, sizeof(before));
	return config_load_text("t", text, strlen(text), &config, &errors);
}

static void
check_good(const char *text)
{
	if (load(text) < 0)
		fail_msg("%s\n%s", errors.e[0].text, text);
	assert_int_equal(errors.n, 0);
}

/* Refused with complaints that begin so, a line each; nothing is changed. */
static void
check_bad(const char *text, const char *want)
{
	const char *line = want;
	unsigned n = 0;

	assert_int_equal(load(text), -EINVAL);
	assert_memory_equal(&config, &before, sizeof(config));
	for (; *line != '\0'; n++) {
		size_t len = strcspn(line, "\n");

		if (n >= errors.n || strncmp(errors.e[n].text, line, len) != 0)
			fail_msg("%s\ngot %u: \"%s\"\nwant \"%s\"", text, errors.n, errors.e[n].text, line);
		line += len + (line[len] == '\n');
	}
	if (n != errors.n)
		fail_msg("%s\ngot %u: \"%s\"", text, errors.n, errors.e[n].text);
}

/* The `nth` limit of the class `name`. */
static void
check_limit(const char *name, unsigned nth, const char *pattern, int64_t window_ms, int64_t count)
{
	unsigned i = 0;

	while (i < config.limits.n_classes && strcmp(config.limits.class[i].name, name) != 0)
		i++;
	assert_true(i < config.limits.n_classes && nth < config.limits.class[i].n);
	const struct rate_limit *l = &config.limits.limit[config.limits.class[i].first + nth];
	assert_string_equal(l->pattern, pattern);
	assert_int_equal(l->window_ms, window_ms);
	assert_int_equal(l->count, count);
	assert_int_equal(l->is_prefix, strchr(pattern, '/') != NULL);
}

static void
load_file(const char *path)
{
	if (config_load(path, -1, &config, &errors) < 0)
		fail_msg("%s", errors.e[0].text);
	assert_int_equal(errors.notes, 0);
}

/* --- files that are there -------------------------------------------------------------------- */

static void
limits_the_configuration_of_rater_loads_unchanged(void **state)
{
	(void)state;
	load_file("tests/samples/rater/config");
	assert_int_equal(config.limits.n_classes, 2);
	assert_int_equal(config.limits.n_limits, 6);
	check_limit("user", 0, "rosario", 90000, 20);
	check_limit("user", 1, "ralsina", 90000, 10);
	check_limit("user", 2, "*", 30000, 2);
	check_limit("ip", 0, "10.0.0.*", 90000, 20);
	check_limit("ip", 1, "10.0.1.*", 90000, 20);
	check_limit("ip", 2, "*", 10000, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(config.limits.class[i].mode, RATE_WINDOW);
	assert_string_equal(config.settings.address, "127.0.0.1");
	assert_int_equal(config.settings.port, 1999);
	assert_string_equal(config.settings.control_address, "127.0.0.1");
	assert_int_equal(config.settings.control_port, 4445);
	assert_int_equal(config.settings.log_level, 4);
	/* all else is as in an empty file */
	static struct config all;
	config_defaults(&all);
	all.limits = config.limits;
	all.settings = config.settings;
	assert_memory_equal(&all, &config, sizeof(all));
}

static void
limits_the_configuration_of_the_posts_loads(void **state)
{
	(void)state;
	load_file("tests/samples/rater/post");
	assert_int_equal(config.limits.n_classes, 2);
	assert_int_equal(config.limits.n_limits, 6);
	check_limit("user", 0, "rosario", 90000, 20);
	check_limit("user", 1, "ralsina", 90000, 10);
	check_limit("user", 2, "*", 2000, 10);
	check_limit("ip", 0, "10.0.0.*", 90000, 20);
	check_limit("ip", 1, "10.0.1.*", 90000, 20);
	check_limit("ip", 2, "*", 2000, 10);
	assert_int_equal(config.settings.port + config.settings.control_port, 0);
}

/* --- what is allowed ------------------------------------------------------------------------- */

static void
limits_every_form_is_read(void **state)
{
	(void)state;
	check_good("limits : { ip: ( (\"10.0.0.*\", 90, 20), (\"192.0.2.0/24\", \"10m\", -1), (\"2001:db8::/32\", 0.5, 0),"
		" (\"*\", \"1h30m\", 1000000) );\n"
		"user = { mode = \"gcra\"; keys = ( (\"*\", 3600, 200) ); };\n"
		"*-from_9 = { keys = ( ); mode = \"leaky\"; }; none = ( ); };");
	assert_int_equal(config.limits.n_classes, 4);
	assert_int_equal(config.limits.n_limits, 5);
	check_limit("ip", 0, "10.0.0.*", 90000, 20);
	check_limit("ip", 1, "192.0.2.0/24", 600000, -1);
	check_limit("ip", 2, "2001:db8::/32", 500, 0);
	check_limit("ip", 3, "*", 5400000, 1000000);
	check_limit("user", 0, "*", 3600000, 200);
	assert_int_equal(config.limits.limit[1].prefix.bits, 120);
	assert_int_equal(config.limits.limit[2].prefix.bits, 32);
	assert_int_equal(config.limits.class[1].mode, RATE_GCRA);
	assert_int_equal(config.limits.class[2].mode, RATE_LEAKY);
	assert_string_equal(config.limits.class[2].name, "*-from_9");
	assert_int_equal(config.limits.class[2].n + config.limits.class[3].n, 0);

	check_good("limits = { }; concurrency = ( );");
	assert_int_equal(config.limits.n_classes + config.limits.n_limits + config.concurrency.n, 0);
}

static void
limits_names_and_patterns_may_be_so_long_and_no_longer(void **state)
{
	char text[300], name[RATE_NAME_MAX + 1], pattern[RATE_PATTERN_MAX + 1];

	(void)state;
	memset(name, 'n', sizeof(name));
	memset(pattern, '?', sizeof(pattern));
	kit_format(text, sizeof(text), "limits = { %.49s = ( (\"%.79s\", 1, 1) ); };", name, pattern);
	check_good(text);
	assert_int_equal(strlen(config.limits.class[0].name), RATE_NAME_MAX - 1);
	assert_int_equal(strlen(config.limits.limit[0].pattern), RATE_PATTERN_MAX - 1);
	kit_format(text, sizeof(text), "limits = {\n%.50s = ( ); };", name);
	check_bad(text, "t:2: limits.nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn = ( ... ): "
		"the name of the class is too long; allowed: at most 49 characters");
	kit_format(text, sizeof(text), "limits = { ip = ( (\"%.80s\", 1, 1) ); };", pattern);
	check_bad(text, "t:1: limits.ip[0][0] = \"????????????????...\": too long; allowed: a pattern");
}

/* What looks a little like a prefix, but is a pattern. */
static void
limits_a_slash_alone_makes_no_prefix(void **state)
{
	static const char *const patterns[] = { "a/b", "10/8", "/", "10.*/8", "10.0.0.0/8*", "a.b/c/d", "joe@a.b/8" };

	(void)state;
	for (size_t i = 0; i < countof(patterns); i++) {
		char text[100];

		kit_format(text, sizeof(text), "limits = { x = ( (\"%s\", 1, 1) ); };", patterns[i]);
		check_good(text);
		assert_string_equal(config.limits.limit[0].pattern, patterns[i]);
		assert_false(config.limits.limit[0].is_prefix);
	}
}

static void
limits_concurrency_is_a_list_of_patterns_and_counts(void **state)
{
	(void)state;
	check_good("concurrency : ( (\"10.0.0.*\", -1), (\"192.0.2.0/24\", 50), (\"*\", 20) );");
	assert_int_equal(config.concurrency.n, 3);
	assert_string_equal(config.concurrency.limit[0].pattern, "10.0.0.*");
	assert_int_equal(config.concurrency.limit[0].count, -1);
	assert_int_equal(config.concurrency.limit[0].window_ms, 0);
	assert_true(config.concurrency.limit[1].is_prefix);
	assert_int_equal(config.concurrency.limit[1].count, 50);
	assert_string_equal(config.concurrency.limit[2].pattern, "*");
	assert_int_equal(config.concurrency.limit[2].count, 20);
}

static void
limits_settings_are_those_of_rater(void **state)
{
	(void)state;
	check_good("settings = { address = \"0.0.0.0\"; port = 65535; control_address = \"::1\"; control_port = 0;"
		" expiration_timer = 1; max_age = \"1h\"; db_path = \"\"; log = \"/dev/null\"; log_level = 0; };");
	assert_string_equal(config.settings.address, "0.0.0.0");
	assert_int_equal(config.settings.port, 65535);
	assert_string_equal(config.settings.control_address, "::1");
	assert_int_equal(config.settings.log_level, 0);
	/* the same port at another address, or twice none */
	check_good("settings = { port = 1999; control_address = \"127.0.0.2\"; control_port = 1999; };");
	check_good("settings = { port = 0; control_port = 0; };");
}

/* --- what is not ----------------------------------------------------------------------------- */

static const struct {
	const char *text, *want;
} bad_rows[] = {
	{ "limits = 5;", "t:1: limits = 5: not a group; allowed: { CLASS = ( (\"PATTERN\", SECONDS, COUNT), ... ); ... }" },
	{ "limits = ( );", "t:1: limits = ( ... ): not a group; allowed: " },
	{ "limits = {\nip = 5; };",
		"t:2: limits.ip = 5: not a class of limits; allowed: ( (\"PATTERN\", SECONDS, COUNT), ... ) or { mode" },
	{ "limits = { ip = \"*\"; };", "t:1: limits.ip = \"*\": not a class of limits; allowed: " },
	{ "limits = { ip = [ 1, 2 ]; };", "t:1: limits.ip = [ ... ]: not a class of limits; allowed: " },
	{ "limits = { ip = { }; };", "t:1: limits.ip = { ... }: has no keys; allowed: " },
	{ "limits = { ip = { mode = \"gcra\"; }; };", "t:1: limits.ip = { ... }: has no keys; allowed: " },
	{ "limits = { ip = { keys = 5; }; };",
		"t:1: limits.ip.keys = 5: not a list; allowed: ( (\"PATTERN\", SECONDS, COUNT), ... )" },
	{ "limits = { ip = { keys = ( );\nmode = \"bucket\"; }; };",
		"t:2: limits.ip.mode = \"bucket\": not one of the words; allowed: \"window\", \"leaky\", \"gcra\"" },
	{ "limits = { ip = { keys = ( ); mode = 1; }; };", "t:1: limits.ip.mode = 1: not one of the words; allowed: " },
	{ "limits = { ip = { keys = ( ); moda = 1; }; };",
		"t:1: limits.ip.moda = 1: unknown key, did you mean \"mode\"; allowed: mode, keys" },
	{ "limits = { ip = ( );\nip = ( ); };", "t:2: duplicate setting name; allowed: " },
	{ "limits = { }; limits = { };", "t:1: duplicate setting name; allowed: " },
	/* entries */
	{ "limits = { ip = (\"*\", 10, 5); };",
		"t:1: limits.ip[0] = \"*\": not of that form; allowed: (\"PATTERN\", SECONDS, COUNT)" },
	{ "limits = { ip = ( (\"*\", 10,\n5), 5 ); };", "t:2: limits.ip[1] = 5: not of that form; allowed: (\"PATT" },
	{ "limits = { ip = ( { } ); };", "t:1: limits.ip[0] = { ... }: not of that form; allowed: (\"PATT" },
	{ "limits = { ip = ( ( ) ); };", "t:1: limits.ip[0] = ( ... ): not of that form; allowed: (\"PATT" },
	{ "limits = { ip = ( (\"*\", 10) ); };", "t:1: limits.ip[0] = ( \"*\", ... ): not of that form; allowed: (\"PATT" },
	{ "limits = { ip = ( (\"*\", 1, 1, 1) ); };", "t:1: limits.ip[0] = ( \"*\", ... ): not of that form; allowed: " },
	{ "limits = { ip = { keys = ( (\"a\", 1, 1),\n(\"a longer one than that\", 1) ); }; };",
		"t:2: limits.ip.keys[1] = ( \"a longer one tha...\", ... ): not of that form; allowed: (\"PATT" },
	{ "limits = { ip = ( (5, 1, -2) ); };",
		"t:1: limits.ip[0][0] = 5: not a text; allowed: a pattern for fnmatch(3) of less than 80 printable ch\n"
		"t:1: limits.ip[0][2] = -2: too small; allowed: a whole number from 0 to 1000000, or -1: not limited" },
	/* patterns */
	{ "limits = { ip = ( (\"\", 1, 1) ); };", "t:1: limits.ip[0][0] = \"\": empty; allowed: a pattern" },
	{ "limits = { ip = ( (\"a\\nb\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"a\\x0ab\": has control or 8-bit characters; allowed: a pattern" },
	{ "limits = { ip = ( (\"caf\xc3\xa9\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"caf\\xc3\\xa9\": has control or 8-bit characters; allowed: a pattern" },
	{ "limits = { ip = ( (\"10.0.0.0/33\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"10.0.0.0/33\": looks like a prefix and is none; allowed: \"192.0.2.0/24\", " },
	{ "limits = { ip = ( (\"10.0.0.1/8\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"10.0.0.1/8\": looks like a prefix and is none; allowed: " },
	{ "limits = { ip = ( (\"10.0.0.0/\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"10.0.0.0/\": looks like a prefix and is none; allowed: " },
	{ "limits = { ip = ( (\"10.0.0/24\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"10.0.0/24\": looks like a prefix and is none; allowed: " },
	{ "limits = { ip = ( (\"10.0.0.0/255.0.0.0\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"10.0.0.0/255.0.0...\": looks like a prefix and is none; allowed: " },
	{ "limits = { ip = ( (\"2001:db8::/129\", 1, 1) ); };",
		"t:1: limits.ip[0][0] = \"2001:db8::/129\": looks like a prefix and is none; allowed: " },
	/* seconds */
	{ "limits = { ip = ( (\"*\", 0, 1) ); };",
		"t:1: limits.ip[0][1] = 0: too small; allowed: a duration from 1ms to 24d, like \"90s\" or \"10m\"" },
	{ "limits = { ip = ( (\"*\", -1, 1) ); };", "t:1: limits.ip[0][1] = -1: too small; allowed: a duration" },
	{ "limits = { ip = ( (\"*\", \"24d1s\", 1) ); };", "t:1: limits.ip[0][1] = \"24d1s\": too large; allowed: a dur" },
	{ "limits = { ip = ( (\"*\", 2073601, 1) ); };", "t:1: limits.ip[0][1] = 2073601: too large; allowed: a dur" },
	{ "limits = { ip = ( (\"*\", 99999999999, 1) ); };", "t:1: limits.ip[0][1] = 99999999999: too large; allowed: " },
	{ "limits = { ip = ( (\"*\", \"10\", 1) ); };", "t:1: limits.ip[0][1] = \"10\": not of that form; allowed: a dur" },
	{ "limits = { ip = ( (\"*\", true, 1) ); };", "t:1: limits.ip[0][1] = true: not of that form; allowed: a dur" },
	{ "limits = { ip = ( (\"*\", ( ), 1) ); };", "t:1: limits.ip[0][1] = ( ... ): not of that form; allowed: a dur" },
	/* counts */
	{ "limits = { ip = ( (\"*\", 1, 1000001) ); };",
		"t:1: limits.ip[0][2] = 1000001: too large; allowed: a whole number from 0 to 1000000, or -1: not limited" },
	{ "limits = { ip = ( (\"*\", 1, 4294967295) ); };", "t:1: limits.ip[0][2] = 4294967295: too large; allowed: " },
	{ "limits = { ip = ( (\"*\", 1, -2) ); };", "t:1: limits.ip[0][2] = -2: too small; allowed: a whole" },
	{ "limits = { ip = ( (\"*\", 1, 1.0) ); };", "t:1: limits.ip[0][2] = 1: not of that form; allowed: a whole" },
	{ "limits = { ip = ( (\"*\", 1, \"1\") ); };", "t:1: limits.ip[0][2] = \"1\": not of that form; allowed: a whole" },
	/* connections held */
	{ "concurrency = 5;", "t:1: concurrency = 5: not a list; allowed: ( (\"PATTERN\", COUNT), ... )" },
	{ "concurrency = { };", "t:1: concurrency = { ... }: not a list; allowed: " },
	{ "concurrency = (\"*\", 20);", "t:1: concurrency[0] = \"*\": not of that form; allowed: (\"PATTERN\", COUNT)" },
	{ "concurrency = ( (\"*\", 10, 20) );",
		"t:1: concurrency[0] = ( \"*\", ... ): not of that form; allowed: (\"PATTERN\", COUNT)" },
	{ "concurrency = ( (\"*\", -2) );", "t:1: concurrency[0][1] = -2: too small; allowed: a whole number" },
	{ "concurrency = ( (\"*\", 1),\n(\"1.2.3.5/31\", 1000001) );",
		"t:2: concurrency[1][0] = \"1.2.3.5/31\": \n"
		"t:2: concurrency[1][1] = 1000001: too large; allowed: " },
	/* ports */
	{ "settings = { port = 65536; };", "t:1: settings.port = 65536: too large; allowed: a whole number from 0 to 65535" },
	{ "settings = { address = \"localhost\"; };",
		"t:1: settings.address = \"localhost\": not an IP address; allowed: an IP address, like \"127.0.0.1\" or \"::1\"" },
	{ "settings = { port = 1999;\ncontrol_port = 1999; };",
		"t:2: settings.control_port = 1999: the port of settings.port, at the same address; allowed: another port, or" },
	{ "settings = { port = 1; control_port = 1; address = \"::ffff:127.0.0.1\"; };", "t:1: settings.control_port = 1: " },
	{ "settings = { port = 1; control_port = 1; address = \"0.0.0.0\"; };", "t:1: settings.control_port = 1: the" },
	{ "settings = { port = 1; control_port = 1; control_address = \"::\"; };", "t:1: settings.control_port = 1: the" },
};

static void
limits_whatever_is_wrong_is_told_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(bad_rows); i++)
		check_bad(bad_rows[i].text, bad_rows[i].want);
}

/* Classes, limits, and connections held: as many as there is room for, and no more. */
static void
limits_more_than_there_is_room_for_are_refused(void **state)
{
	static char text[64 * 1024], some[64 * 1024];
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < RATE_CLASSES_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "c%u = ( (\"a\", 1, 1) );\n", i);
	kit_format(some, sizeof(some), "limits = {\n%s};", text);
	check_good(some);
	assert_int_equal(config.limits.n_classes, RATE_CLASSES_MAX);
	kit_format(some, sizeof(some), "limits = {\n%sc32 = ( (\"a\", 1, 1) );\nc33 = ( ); };", text);
	check_bad(some, "t:34: limits.c32 = ( ... ): one class too many; allowed: at most 32 classes\n"
		"t:35: limits.c33 = ( ... ): one class too many; allowed: at most 32 classes");

	len = 0;
	for (unsigned i = 0; i < RATE_LIMITS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s(\"%u\", 1, 1)\n",
			i == 200 ? "); b = ( " : i > 0 ? ", " : "", i);
	kit_format(some, sizeof(some), "limits = { a = ( %s ); };", text);
	check_good(some);
	assert_int_equal(config.limits.n_limits, RATE_LIMITS_MAX);
	assert_int_equal(config.limits.class[1].first, 200);
	assert_int_equal(config.limits.class[1].n, RATE_LIMITS_MAX - 200);
	kit_format(some, sizeof(some), "limits = { a = ( %s, (\"x\", 1, 1), (\"y\", 1, 1) ); };", text);
	check_bad(some, "t:257: limits.b[56] = ( \"x\", ... ): one too many; allowed: at most 256 in all classes together");

	len = 0;
	for (unsigned i = 0; i < CONFIG_CONCURRENCY_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s(\"%u\", 1)\n", i > 0 ? ", " : "", i);
	kit_format(some, sizeof(some), "concurrency = ( %s );", text);
	check_good(some);
	assert_int_equal(config.concurrency.n, CONFIG_CONCURRENCY_MAX);
	kit_format(some, sizeof(some), "concurrency = ( %s, (\"x\", 1) );", text);
	check_bad(some, "t:33: concurrency[32] = ( \"x\", ... ): one too many; allowed: at most 32");
}

/* --- notes ----------------------------------------------------------------------------------- */

static void
limits_what_can_never_count_is_a_note(void **state)
{
	static const struct {
		const char *entries, *behind; /* "": no note */
	} rows[] = {
		{ "(\"a\", 1, 1), (\"*\", 1, 1)", "" }, { "(\"*\", 1, 1),\n(\"a\", 1, 1)", "*" },
		{ "(\"**\", 1, 1),\n(\"a*\", 1, 1)", "**" }, { "(\"*\", 1, 1),\n(\"10.0.0.0/8\", 1, 1)", "*" },
		{ "(\"a?\", 1, 1),\n(\"a?\", 2, 2)", "a?" }, { "(\"a*\", 1, 1),\n(\"ab\", 1, 1)", "a*" },
		{ "(\"a*\", 1, 1),\n(\"b\", 1, 1)", "" }, { "(\"a*\", 1, 1),\n(\"ab*\", 1, 1)", "" }, /* not found */
		{ "(\"10.0.0.0/8\", 1, 1),\n(\"10.1.0.0/16\", 1, 1)", "10.0.0.0/8" },
		{ "(\"10.1.0.0/16\", 1, 1), (\"10.0.0.0/8\", 1, 1)", "" },
		{ "(\"10.0.0.0/8\", 1, 1), (\"11.1.0.0/16\", 1, 1)", "" },
		{ "(\"10.0.0.0/8\", 1, 1),\n(\"10.2.3.4\", 1, 1)", "10.0.0.0/8" },
		{ "(\"10.0.0.0/8\", 1, 1), (\"11.2.3.4\", 1, 1)", "" },
		{ "(\"10.0.0.0/8\", 1, 1), (\"joe\", 1, 1)", "" },
		{ "(\"10.*\", 1, 1), (\"10.0.0.0/8\", 1, 1)", "" }, /* not found */
		{ "(\"::/0\", 1, 1),\n(\"10.0.0.0/8\", 1, 1)", "::/0" }, /* ::ffff:10.0.0.0/104 */
		{ "(\"a\\\\*b\", 1, 1), (\"a*b\", 1, 1)", "" },
		{ "(\"[ab]\", 1, 1),\n(\"a\", 1, 1)", "[ab]" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[200], want[200];

		kit_format(text, sizeof(text), "limits = { x = ( %s ); y = ( (\"a\", 1, 1) ); };", rows[i].entries);
		check_good(text);
		assert_int_equal(config.limits.n_limits, 3);
		if (errors.notes != (rows[i].behind[0] != '\0'))
			fail_msg("%u: %s", errors.notes, rows[i].entries);
		if (errors.notes == 0)
			continue;
		kit_format(want, sizeof(want), ": never counts: it stands behind \"%s\", and the first that matches counts",
			rows[i].behind);
		assert_memory_equal(errors.note[0].text, "t:2: limits.x[1] = ( \"", 22);
		assert_non_null(strstr(errors.note[0].text, want));
	}
	check_good("concurrency = ( (\"*\", 5), (\"10.*\", -1) );");
	assert_int_equal(errors.notes, 1);
	assert_memory_equal(errors.note[0].text, "t:1: concurrency[1] = ( \"10.*\", ... ): never counts", 51);
}

static void
limits_settings_that_do_nothing_here_are_a_note(void **state)
{
	(void)state;
	check_good("settings = { db_path = \":memory:\"; log = \"/dev/stderr\"; max_age = 5; expiration_timer = 5; };");
	assert_int_equal(errors.notes, 0);
	check_good("settings = { db_path = \"/var/db\";\nlog = \"/var/log/rater\"; };");
	assert_int_equal(errors.notes, 2);
	assert_string_equal(errors.note[0].text,
		"t:1: settings.db_path = \"/var/db\": not used: the database is in service.state_dir");
	assert_string_equal(errors.note[1].text, "t:2: settings.log = \"/var/log/rater\": not used: the log is stderr");
}

static void
limits_notes_beyond_their_number_are_counted(void **state)
{
	static char text[8192] = "limits = { x = ( (\"*\", 1, 1)";

	(void)state;
	for (unsigned i = 0; i < 2 * CONFIG_NOTES_MAX; i++)
		(void)strcat(text, ", (\"*\", 1, 1)");
	(void)strcat(text, " ); };");
	check_good(text);
	assert_int_equal(errors.notes, 2 * CONFIG_NOTES_MAX);
	assert_memory_equal(errors.note[CONFIG_NOTES_MAX - 1].text, "t:1: limits.x[20] = ", 20);
	check_good("");
	assert_int_equal(errors.notes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_the_configuration_of_rater_loads_unchanged),
		cmocka_unit_test(limits_the_configuration_of_the_posts_loads),
		cmocka_unit_test(limits_every_form_is_read),
		cmocka_unit_test(limits_names_and_patterns_may_be_so_long_and_no_longer),
		cmocka_unit_test(limits_a_slash_alone_makes_no_prefix),
		cmocka_unit_test(limits_concurrency_is_a_list_of_patterns_and_counts),
		cmocka_unit_test(limits_settings_are_those_of_rater),
		cmocka_unit_test(limits_whatever_is_wrong_is_told_with_its_place),
		cmocka_unit_test(limits_more_than_there_is_room_for_are_refused),
		cmocka_unit_test(limits_what_can_never_count_is_a_note),
		cmocka_unit_test(limits_settings_that_do_nothing_here_are_a_note),
		cmocka_unit_test(limits_notes_beyond_their_number_are_counted),
	};

	return cmocka_run_group_tests_name("config_limits", tests, NULL, NULL);
}
