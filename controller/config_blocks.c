/* SPDX-License-Identifier: ISC */
#include "controller/config_blocks.h"

#include <string.h>

#include "controller/protect_sources.h"

#define DAY_MS INT64_C(86400000)

static const char *const soft_words[] = {
	[BLOCKS_SOFT_NO] = "no", [BLOCKS_SOFT_THROTTLE] = "throttle", [BLOCKS_SOFT_EXPLAIN] = "explain", NULL,
};

#define AT(member) .at = offsetof(struct config_blocks, member)

const struct cfg_row config_blocks_rows[] = {
	{ .name = "on", .type = CFG_NAMES, AT(rules.on), .def_text = "ip", .flags = CFG_MAY_BE_EMPTY,
		.help = "classes of limits: an address that goes over one is blocked" },
	{ .name = "ladder", .type = CFG_DURATIONS, AT(rules.ladder), .def_text = "2m 10m 1h 6h 1d",
		.min = BLOCKS_FOR_MIN_MS, .max = BLOCKS_FOR_MAX_MS,
		.help = "how long: the first time, the second, ...; a tenth more or less" },
	{ .name = "forgive", .type = CFG_DURATION, AT(rules.forgive_ms), .min = 60000, .max = 366 * DAY_MS,
		.def = DAY_MS, .help = "clean time that takes one step back; at least twice the last block" },
	{ .name = "ipv6_prefix", .type = CFG_COUNT, AT(rules.ipv6_prefix), .min = 48, .max = 128, .def = 64,
		.help = "so many bits of an IPv6 address are one client" },
	{ .name = "soft_first", .type = CFG_CHOICE, AT(rules.soft_first), .choices = soft_words, .def = BLOCKS_SOFT_NO,
		.help = "the first block only throttles, or explains, instead of denying" },
	{ .name = "widen_hosts", .type = CFG_COUNT, AT(rules.widen_hosts), .min = 0, .max = 256, .def = 5,
		.help = "with so many blocked addresses a /24 (of IPv6 a /56, a /48) is blocked; 0: never" },
	{ .name = "budget_per_minute", .type = CFG_COUNT, AT(rules.budget_per_minute),
		.min = 1, .max = BLOCKS_PER_MINUTE_MAX, .def = 60, .help = "new blocks in any minute, at most" },
	{ .name = "budget_share", .type = CFG_COUNT, AT(rules.budget_share), .min = 1, .max = 100, .def = 20,
		.help = "percent of the clients of an hour that may be blocked, at most (but 20 clients)" },
	{ .name = "login_credit", .type = CFG_DURATION, AT(login_credit_ms), .min = 0, .max = 30 * DAY_MS,
		.def = DAY_MS, .help = "so long after a login an address is throttled or told why, not denied" },
	{ .name = "mail_credit", .type = CFG_DURATION, AT(mail_credit_ms), .min = 0, .max = 30 * DAY_MS,
		.def = 7 * DAY_MS, .help = "so long after mail from an address its network is not blocked whole" },
	{ .name = "max", .type = CFG_COUNT, AT(max), .min = 100, .max = 2000000, .def = BLOCKS_DEFAULT,
		.flags = CFG_RESTART, .help = "blocks at once, at most; each needs 140 bytes of memory" },
	{ .name = "remember", .type = CFG_COUNT, AT(remember), .min = 100, .max = BLOCKS_MAX,
		.def = BLOCKS_MEMORY_DEFAULT, .flags = CFG_RESTART,
		.help = "addresses whose earlier blocks are remembered, at most; each needs 65 bytes" },
	{ .name = "dry_run", .type = CFG_BOOL, AT(actions.dry_run), .def = false, .flags = CFG_RESTART,
		.help = "decide and tell everything, and write nothing" },
	{ 0 },
};

const struct cfg_row config_ipsvd_rows[] = {
	{ .name = "dir", .type = CFG_PATH, .at = offsetof(struct block_cfg, ipsvd.dir), .def_text = "",
		.flags = CFG_RESTART | CFG_MAY_BE_EMPTY, .help = "the directory of tcpsvd -i; empty: not used" },
	{ .name = "timeout", .type = CFG_DURATION, .at = offsetof(struct block_cfg, ipsvd.timeout_ms),
		.min = 1000, .max = DAY_MS, .def = 120000, .flags = CFG_RESTART,
		.help = "its -t, which must be the same" },
	{ 0 },
};

const struct cfg_row config_tcprules_rows[] = {
	{ .name = "rules", .type = CFG_PATH, .at = offsetof(struct block_cfg, tcprules.rules), .def_text = "",
		.flags = CFG_RESTART | CFG_MAY_BE_EMPTY,
		.help = "your own rules for tcpserver, which are kept; empty: not used" },
	{ .name = "cdb", .type = CFG_PATH, .at = offsetof(struct block_cfg, tcprules.cdb), .def_text = "",
		.flags = CFG_RESTART | CFG_MAY_BE_EMPTY, .help = "what is made of them and of ours, for tcpserver -x" },
	{ .name = "command", .type = CFG_PATH, .at = offsetof(struct block_cfg, tcprules.command),
		.def_text = "/usr/bin/tcprules", .flags = CFG_RESTART, .help = "the tcprules that makes it" },
	{ .name = "max_rules", .type = CFG_COUNT, .at = offsetof(struct block_cfg, tcprules.max_rules),
		.min = 0, .max = 1000000, .def = 100000, .flags = CFG_RESTART,
		.help = "rules of ours in it, at most; a range of 8 addresses is 8" },
	{ .name = "widen", .type = CFG_BOOL, .at = offsetof(struct block_cfg, tcprules.widen), .def = false,
		.flags = CFG_RESTART, .help = "over max_rules: deny whole networks with many blocks" },
	{ 0 },
};

/* --- the allow list -------------------------------------------------------------------------- */

static bool
read_entry(struct config_reader *r, const config_setting_t *s, struct protect_allow *ret)
{
	static const char allowed[] = "\"192.0.2.0/24\", \"2001:db8::1\", \"mx.example.org\"";
	const char *text = config_setting_get_string(s);
	struct err why;

	if (text == NULL)
		config_complain(r, s, "not a text", allowed);
	else if (protect_parse_allow(text, ret, &why) < 0)
		config_complain(r, s, why.text, allowed);
	else
		return true;
	return false;
}

static void
note_wide(struct config_reader *r, const config_setting_t *s, const struct protect_allow *a)
{
	if (!a->is_name && protect_is_wide(&a->prefix))
		config_note(r, s, "so wide that hardly anybody can be blocked");
}

void
config_read_allow(struct config_reader *r, const config_setting_t *s)
{
	struct config_blocks *c = &r->out->blocks;
	int type = config_setting_type(s);
	bool many = type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;
	int n = many ? config_setting_length(s) : 1;

	if (!many && type != CONFIG_TYPE_STRING) {
		config_complain(r, s, "not a list", "[ \"a\", \"b\" ]");
		return;
	}
	_Static_assert(PROTECT_ALLOW_MAX == 256, "the text names it");
	if (n > PROTECT_ALLOW_MAX) {
		config_complain(r, s, "too long", "a list of at most 256");
		return;
	}
	for (int i = 0; i < n; i++) {
		const config_setting_t *entry = many ? config_setting_get_elem(s, (unsigned)i) : s;

		if (!read_entry(r, entry, &c->allow[c->n_allow]))
			continue;
		note_wide(r, entry, &c->allow[c->n_allow++]);
	}
}

void
config_print_allow(FILE *f, const struct config *c)
{
	(void)fprintf(f, "\t# never blocked: addresses, prefixes, and names of hosts\n\tallow = [");
	for (unsigned i = 0; i < c->blocks.n_allow; i++) {
		const struct protect_allow *a = &c->blocks.allow[i];
		char text[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&a->prefix, text);
		(void)fprintf(f, "%s \"%s%s\"", i > 0 ? "," : "", a->is_name ? a->name : text,
			!a->is_name && protect_is_wide(&a->prefix) ? " wide" : "");
	}
	(void)fprintf(f, " ];\n");
}

/* --- rules across keys ----------------------------------------------------------------------- */

static void
check_ladder(struct config_reader *r, const config_t *tree)
{
	const struct cfg_durations *l = &r->out->blocks.rules.ladder;

	size_t i = 1;

	while (i < l->n && l->ms[i] >= l->ms[i - 1])
		i++;
	if (i < l->n)
		config_complain(r, config_lookup(tree, "blocks.ladder"), "a step is shorter than the one before",
			"steps that grow, like [ \"2m\", \"10m\", \"1h\" ]");
}

/* That nothing happens is no error, but hardly meant: told where it was written, not where it is the default. */
static void
note_no_effect(struct config_reader *r, const config_t *tree)
{
	const struct config_blocks *c = &r->out->blocks;
	bool used = c->actions.ipsvd.dir[0] != '\0' || c->actions.tcprules.rules[0] != '\0';
	const config_setting_t *on = config_lookup(tree, "blocks.on");
	char what[CFG_STRING_MAX + 80];

	for (unsigned i = 0; used && on != NULL && i < c->rules.on.n; i++) {
		const char *name = c->rules.on.s[i];

		if (rate_class_find(&r->out->limits, name, strlen(name)) >= 0)
			continue;
		(void)snprintf(what, sizeof(what), "limits has no class \"%s\": nothing in it leads to a block", name);
		config_note(r, on, what);
	}
	/* A file that tcpsvd reads counts as used from then on, so it can't end within the timeout. */
	if (c->rules.soft_first != BLOCKS_SOFT_NO && c->actions.ipsvd.dir[0] != '\0'
		&& c->rules.ladder.ms[0] - c->rules.ladder.ms[0] / 10 <= c->actions.ipsvd.timeout_ms)
		config_note(r, config_lookup(tree, "blocks.soft_first"),
			"of no use to tcpsvd: the first step of the ladder must be longer than ipsvd.timeout");
	if (c->actions.tcprules.rules[0] != '\0' && c->actions.tcprules.cdb[0] == '\0')
		config_note(r, config_lookup(tree, "blocks.tcprules.rules"), "not used without blocks.tcprules.cdb");
	if (c->actions.tcprules.cdb[0] != '\0' && c->actions.tcprules.rules[0] == '\0')
		config_note(r, config_lookup(tree, "blocks.tcprules.cdb"), "not used without blocks.tcprules.rules");
}

void
config_check_blocks(struct config_reader *r, const config_t *tree)
{
	const struct config_blocks *c = &r->out->blocks;

	check_ladder(r, tree);
	if (c->rules.widen_hosts == 1)
		config_complain(r, config_lookup(tree, "blocks.widen_hosts"),
			"one address is no reason to block a network", "0: never, or from 2 to 256");
	if (c->actions.ipsvd.timeout_ms % 1000 != 0)
		config_complain(r, config_lookup(tree, "blocks.ipsvd.timeout"), "tcpsvd counts whole seconds",
			"whole seconds, as its -t");
	note_no_effect(r, tree);
}

/* What the keeper looks at once more.  Names are looked up by the engine alone. */
void
config_protect_actions(struct config_blocks *c)
{
	_Static_assert(PROTECT_ALLOW_MAX <= BLOCK_PROTECTED_MAX, "all prefixes fit");
	c->actions.protected.n = 0;
	for (unsigned i = 0; i < c->n_allow; i++)
		if (!c->allow[i].is_name)
			c->actions.protected.p[c->actions.protected.n++] = c->allow[i].prefix;
}
