/* SPDX-License-Identifier: ISC */
/* The section `blocks`: who may never be blocked, and what does not fit together, told with its line (A2, B22). */
#include "controller/config.h"
#include "tests/unit/kit.h"

static struct config config;
static struct config_errors errors;

static int
load(const char *text)
{
	return config_load_text("t", text, strlen(text), &config, &errors);
}

static void
check_good(const char *text)
{
	if (load(text) < 0)
		fail_msg("%s\n%s", errors.e[0].text, text);
}

static void
check_bad(const char *text, const char *want)
{
	assert_int_equal(load(text), -EINVAL);
	if (errors.n != 1 || strncmp(errors.e[0].text, want, strlen(want)) != 0)
		fail_msg("got %u: \"%s\"\nwant \"%s\"", errors.n, errors.e[0].text, want);
}

/* It loads, with this one note, or none (""). */
static void
check_note(const char *text, const char *want)
{
	check_good(text);
	const char *got = errors.notes > 0 ? errors.note[0].text : "";

	if (errors.notes > 1 || strcmp(got, want) != 0)
		fail_msg("%s\ngot %u: \"%s\"\nwant \"%s\"", text, errors.notes, got, want);
}

/* The example of the design, and its defaults. */
static void
config_blocks_as_in_the_design(void **state)
{
	static const char text[] = "limits = { ip = ( (\"*\", 10, 5) ); };\n"
		"blocks  = { on = ( \"ip\" ); ladder = [ \"2m\", \"10m\", \"1h\", \"6h\", \"1d\" ]; forgive = \"1d\"; ipv6_prefix = 64;\n"
		"            allow = [ \"192.0.2.0/24\" ];\n"
		"            ipsvd = { dir = \"/var/qmail/ipsvd\"; timeout = \"2m\"; };\n"
		"            tcprules = { rules = \"/etc/tcp.smtp\"; cdb = \"/etc/tcp.smtp.cdb\"; }; };\n";
	static struct config c;
	const struct config_blocks *b = &config.blocks;

	(void)state;
	check_note(text, "");
	config_defaults(&c);
	assert_memory_equal(&b->rules, &c.blocks.rules, sizeof(b->rules));
	assert_int_equal(b->rules.ladder.n, 5);
	assert_int_equal(b->rules.ladder.ms[4], 86400000);
	assert_int_equal(b->rules.soft_first, BLOCKS_SOFT_NO);
	assert_int_equal(b->rules.budget_per_minute, 60);
	assert_int_equal(b->rules.budget_share, 20);
	assert_int_equal(b->rules.widen_hosts, 5);
	assert_false(b->actions.dry_run);
	assert_string_equal(b->actions.ipsvd.dir, "/var/qmail/ipsvd");
	assert_int_equal(b->actions.ipsvd.timeout_ms, 120000);
	assert_string_equal(b->actions.tcprules.rules, "/etc/tcp.smtp");
	assert_string_equal(b->actions.tcprules.cdb, "/etc/tcp.smtp.cdb");
	assert_int_equal(b->n_allow, 1);
	/* An empty file: nobody is told to block anything. */
	check_note("", "");
	assert_string_equal(b->actions.ipsvd.dir, "");
	assert_string_equal(b->actions.tcprules.rules, "");
	assert_int_equal(b->n_allow, 0);
}

static void
config_allow_list_of_all_sorts(void **state)
{
	static char many[PROTECT_ALLOW_MAX * 16 + 100];

	(void)state;
	check_good("blocks = { allow = [ \"192.0.2.0/24\", \"2001:db8::1\", \"MX.example.org\", \"198.51.100.7\" ]; };");
	assert_int_equal(config.blocks.n_allow, 4);
	assert_int_equal(config.blocks.allow[0].prefix.bits, 96 + 24);
	assert_true(config.blocks.allow[2].is_name);
	assert_string_equal(config.blocks.allow[2].name, "mx.example.org");
	check_good("blocks = { allow = ( \"192.0.2.1\" ); };");
	check_good("blocks = { allow = \"192.0.2.1\"; };");
	assert_int_equal(config.blocks.n_allow, 1);
	check_good("blocks = { allow = [ ]; };");
	check_good("blocks = { allow = ( ); };");
	assert_int_equal(config.blocks.n_allow, 0);
	kit_format(many, sizeof(many), "blocks = { allow = [ \"192.0.2.0\"");
	for (int i = 1; i < PROTECT_ALLOW_MAX; i++)
		kit_format(many + strlen(many), sizeof(many) - strlen(many), ", \"192.0.2.%d\"", i);
	size_t end = strlen(many);
	kit_format(many + end, sizeof(many) - end, " ]; };");
	check_good(many);
	assert_int_equal(config.blocks.n_allow, PROTECT_ALLOW_MAX);
	kit_format(many + end, sizeof(many) - end, ", \"192.0.3.1\" ]; };");
	check_bad(many, "t:1: blocks.allow = [ ... ]: too long; allowed: a list of at most 256");
}

static void
config_allow_list_errors_name_the_entry(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "blocks = { allow = [ \"192.0.2.1\",\n\"192.0.2.1/24\" ]; };",
			"t:2: blocks.allow[1] = \"192.0.2.1/24\": neither an address" },
		{ "blocks = { allow = [ \"0.0.0.0/0\" ]; };",
			"t:1: blocks.allow[0] = \"0.0.0.0/0\": so many that hardly anybody could be blocked; to mean it, write "
			"\"0.0.0.0/0 wide\"; allowed: " },
		{ "blocks = { allow = [ \"::/0\" ]; };", "t:1: blocks.allow[0] = \"::/0\": so many" },
		{ "blocks = { allow = [ \"10.0.0.0/7\" ]; };", "t:1: blocks.allow[0] = \"10.0.0.0/7\": so many" },
		{ "blocks = { allow = [ \"localhost\" ]; };", "t:1: blocks.allow[0] = \"localhost\": neither" },
		{ "blocks = { allow = [ \"\" ]; };", "t:1: blocks.allow[0] = \"\": neither" },
		{ "blocks = { allow = [ 5 ]; };", "t:1: blocks.allow[0] = 5: not a text" },
		{ "blocks = { allow = ( { } ); };", "t:1: blocks.allow[0] = { ... }: not a text" },
		{ "blocks = { allow = 5; };", "t:1: blocks.allow = 5: not a list" },
		{ "blocks = { allow = { }; };", "t:1: blocks.allow = { ... }: not a list" },
		{ "blocks = { allow = \"x\"; };", "t:1: blocks.allow = \"x\": neither" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		check_bad(rows[i].text, rows[i].want);
	check_note("blocks = { allow = [ \"192.0.2.1\", \"0.0.0.0/0 wide\" ]; };",
		"t:1: blocks.allow[1] = \"0.0.0.0/0 wide\": so wide that hardly anybody can be blocked");
}

static void
config_blocks_what_does_not_fit_together(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "blocks = {\nladder = [ \"10m\", \"2m\" ]; };",
			"t:2: blocks.ladder = [ ... ]: a step is shorter than the one before; allowed: steps that grow" },
		{ "blocks = { widen_hosts = 1; };",
			"t:1: blocks.widen_hosts = 1: one address is no reason to block a network; allowed: 0: never" },
		{ "blocks = { ipsvd = { timeout = \"1500ms\"; }; };",
			"t:1: blocks.ipsvd.timeout = \"1500ms\": tcpsvd counts whole seconds; allowed: whole seconds" },
		{ "blocks = { ipsvd = { dri = \"/x\"; }; };",
			"t:1: blocks.ipsvd.dri = \"/x\": unknown key, did you mean \"dir\"; allowed: dir, timeout" },
		{ "blocks = { ipsvdd = { }; };", "t:1: blocks.ipsvdd = { ... }: unknown key, did you mean \"ipsvd\"; allowed: on, " },
		{ "blocks = { alow = [ ]; };", "t:1: blocks.alow = [ ... ]: unknown key, did you mean \"allow\"; allowed: on, " },
		{ "blocks = { ipsvd = 5; };", "t:1: blocks.ipsvd = 5: not a group; allowed: { KEY = VALUE; ... }" },
		{ "blocks = 5;", "t:1: blocks = 5: not a group; allowed: { KEY = VALUE; ... }" },
		{ "ipsvd = { };", "t:1: ipsvd = { ... }: unknown key; allowed: " },
		{ "blocks = { ladder = [ \"367d\" ]; };", "t:1: blocks.ladder[0] = \"367d\": too large; allowed: a duration from " },
		{ "blocks = { ladder = [ \"0\" ]; };", "t:1: blocks.ladder[0] = \"0\": too small; allowed: a duration from " },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		check_bad(rows[i].text, rows[i].want);
	check_good("blocks = { ladder = [ \"2m\", \"2m\" ]; widen_hosts = 0; };");
}

static void
config_blocks_what_has_no_effect_is_noted(void **state)
{
	(void)state;
	check_note("blocks = { on = [ \"ip\", \"user\" ]; ipsvd = { dir = \"/x\"; }; }; limits = { ip = ( (\"*\", 10, 5) ); };",
		"t:1: blocks.on = [ ... ]: limits has no class \"user\": nothing in it leads to a block");
	check_note("blocks = { on = [ \"ip\", \"user\" ]; };", ""); /* nothing is blocked at all */
	check_note("blocks = { on = [ ]; ipsvd = { dir = \"/x\"; }; };", "");
	check_note("limits = { ip = ( (\"*\", 10, 5) ); }; blocks = { on = \"ip\"; ipsvd = { dir = \"/x\"; }; };", "");
	check_note("blocks = { tcprules = { rules = \"/etc/tcp.smtp\"; }; };",
		"t:1: blocks.tcprules.rules = \"/etc/tcp.smtp\": not used without blocks.tcprules.cdb");
	check_note("blocks = { tcprules = { cdb = \"/etc/smtp.cdb\"; }; };",
		"t:1: blocks.tcprules.cdb = \"/etc/smtp.cdb\": not used without blocks.tcprules.rules");
	check_note("blocks = { soft_first = \"explain\"; ipsvd = { dir = \"/x\"; }; };",
		"t:1: blocks.soft_first = \"explain\": of no use to tcpsvd: the first step of the ladder must be longer than "
		"ipsvd.timeout");
	check_note("blocks = { soft_first = \"explain\"; ladder = \"2m\"; ipsvd = { dir = \"/x\"; timeout = \"1m\"; }; };", "");
	check_note("blocks = { soft_first = \"explain\"; };", "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_blocks_as_in_the_design),
		cmocka_unit_test(config_allow_list_of_all_sorts),
		cmocka_unit_test(config_allow_list_errors_name_the_entry),
		cmocka_unit_test(config_blocks_what_does_not_fit_together),
		cmocka_unit_test(config_blocks_what_has_no_effect_is_noted),
	};

	return cmocka_run_group_tests_name("config_blocks", tests, NULL, NULL);
}
