/* SPDX-License-Identifier: ISC */
/* The command: options, then one row of a table. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/cli.h"
#include "lib/array.h"
#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/rundir.h"
#include "lib/text.h"
#include "lib/version.h"

static cli_command check;

static const struct {
	const char *name, *arguments, *help;
	cli_command *run;
} commands[] = {
	{ "status", "", "level, why, since when, readings", show_status },
	{ "probes", "", "where the readings come from, and how they fare", show_probes },
	{ "force", "LEVEL|auto [--for 30m] [--reason TEXT]", "override the level; ends by itself", ask_force },
	{ "neutral", "[--for 30m] [--offline [--home DIR] [--all]]", "open the gate; --offline: without the daemon",
		ask_neutral },
	{ "history", "[--since 24h]", "every change, with its reason", past_history },
	{ "explain", "ID|ADDRESS|USER", "why somebody was refused", explain_run },
	{ "refusals", "[--since 24h] [WHO]...", "every refusal: of ids, addresses, networks, senders, recipients",
		show_refusals },
	{ "block", "ADDRESS[/N]... [--for 1h] [--kind KIND]", "turn addresses away; --import FILE, --fail2ban FILE",
	ask_block },
	{ "unblock", "ADDRESS[/N]... | --import FILE", "let them in again", ask_unblock },
	{ "blocks", "[ADDRESS|RULE|ID] [--sort KEY] [--export]", "who is blocked, until when, why", show_blocks },
	{ "allow", "list|add|remove|check [ENTRY]", "who is never blocked", ask_allow },
	{ "storms", "[release ADDRESS]", "addresses under a storm of bounces; end one", storms_run },
	{ "addresses", "learn [--maildirs DIR]... | check ADDRESS",
		"the recipients that exist: collect them; look one up",
		addresses_run },
	{ "check", "[FILE] [--effective]", "test the configuration; print all of it", check },
	{ "reload", "", "read the configuration anew", ask_reload },
	{ "rate", "CLASS VALUE", "is it too often? counts; exit code 0 no, 1 yes, 2 error", rate_ask },
	{ "peek", "CLASS VALUE", "the same without counting", rate_peek_only },
	{ "reset", "CLASS VALUE", "forget what was counted of it", ask_reset },
	{ "limits", "", "classes of limits, and how much is counted", show_limits },
	{ "replay", "LOG... [--config NEW] [--compare OLD]", "what this configuration would have done in these logs",
		replay_run },
	{ "doctor", "", "look at the host and say what to do", doctor_run },
	{ "setup", "[--yes] [--undo] [--service KIND]", "install on a host with qmail; shows what it would do",
		setup_run },
};

int
cli_fail(int code, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("spillway: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return code;
}

void
cli_print_json(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_INDENT(2));
	(void)fputc('\n', stdout);
}

static void
print_usage(FILE *f)
{
	(void)fprintf(f, "usage: spillway [-c FILE] [--json] COMMAND\n");
	for (size_t i = 0; i < countof(commands); i++)
		(void)fprintf(f, "  %-8s %-40s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
	(void)fprintf(f, "  -c, --config FILE   default " CONFIG_DEFAULT_PATH "\n"
			 "  --json              print JSON\n"
			 "  -V, --version; -h, --help\n"
			 "Exit codes: 0 yes or done, 1 no, 100 wrong usage, 111 the daemon can't be asked.\n"
			 "Of rate and peek: 0 not too often, 1 too often, 2 not answered.\n"
			 "spillway(1), spillwayd(8), spillway.conf(5)\n");
}

/* --- check ----------------------------------------------------------------------------------- */

static json_t *
texts_json(const struct err *text, unsigned n)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < n; i++)
		(void)json_array_append_new(all, json_string(text[i].text));
	return all;
}

static int
check(struct cli *cli, int argc, char **argv)
{
	const struct config_errors *e = &cli->errors;
	char missing[200] = "";

	if (argc > 1)
		return cli_fail(CLI_USAGE, "check: allowed is check [FILE]");
	if (argc == 1) {
		cli->config_path = argv[0];
		cli->config_ok = config_load(argv[0], -1, &cli->config, &cli->errors) == 0;
	}
	if (cli->config_ok)
		config_resolve(&cli->config, missing, sizeof(missing));
	unsigned errors = e->n < CONFIG_ERRORS_MAX ? e->n : CONFIG_ERRORS_MAX;
	unsigned notes = e->notes < CONFIG_NOTES_MAX ? e->notes : CONFIG_NOTES_MAX;
	if (cli->json) {
		json_t *j = json_pack("{s:s, s:b, s:o, s:o, s:s}", "path", cli->config_path, "ok", cli->config_ok,
			"errors", texts_json(e->e, errors), "notes", texts_json(e->note, notes),
			"names_missing_here", missing);

		cli_print_json(j);
		json_decref(j);
	} else if (cli->config_ok && cli->effective) {
		config_print(stdout, &cli->config);
	} else if (cli->config_ok) {
		(void)printf("%s: ok\n", cli->config_path);
		for (unsigned i = 0; i < notes; i++)
			(void)printf("note: %s\n", e->note[i].text);
		if (missing[0] != '\0')
			(void)printf("note: on this machine there is no %s\n", missing);
	} else {
		for (unsigned i = 0; i < errors; i++)
			(void)fprintf(stderr, "%s\n", e->e[i].text);
	}
	return cli->config_ok ? CLI_OK : CLI_USAGE;
}

/* --- options --------------------------------------------------------------------------------- */

enum {
	OPT_JSON = 256,
	OPT_FOR,
	OPT_REASON,
	OPT_SINCE,
	OPT_OFFLINE,
	OPT_HOME,
	OPT_YES,
	OPT_UNDO,
	OPT_SERVICE,
	OPT_EFFECTIVE,
	OPT_KIND,
	OPT_SORT,
	OPT_IMPORT,
	OPT_FAIL2BAN,
	OPT_EXPORT,
	OPT_ALL,
	OPT_COMPARE,
	OPT_MAILDIRS,
	OPT_DOMAIN,
	OPT_WRITE,
};

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, OPT_JSON },
	{ "for", required_argument, NULL, OPT_FOR }, { "reason", required_argument, NULL, OPT_REASON },
	{ "since", required_argument, NULL, OPT_SINCE }, { "offline", no_argument, NULL, OPT_OFFLINE },
	{ "home", required_argument, NULL, OPT_HOME }, { "yes", no_argument, NULL, OPT_YES },
	{ "undo", no_argument, NULL, OPT_UNDO }, { "service", required_argument, NULL, OPT_SERVICE },
	{ "effective", no_argument, NULL, OPT_EFFECTIVE }, { "kind", required_argument, NULL, OPT_KIND },
	{ "sort", required_argument, NULL, OPT_SORT }, { "import", required_argument, NULL, OPT_IMPORT },
	{ "fail2ban", required_argument, NULL, OPT_FAIL2BAN }, { "export", no_argument, NULL, OPT_EXPORT },
	{ "compare", required_argument, NULL, OPT_COMPARE },
	{ "maildirs", required_argument, NULL, OPT_MAILDIRS }, { "domain", required_argument, NULL, OPT_DOMAIN },
	{ "write", required_argument, NULL, OPT_WRITE }, { "all", no_argument, NULL, OPT_ALL },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' }, { 0 },
};

static int
take_span(const char *name, const char *text, int64_t *ret)
{
	if (num_duration(text, ret) < 0 || *ret < 1000)
		return cli_fail(CLI_USAGE, "--%s %s: not a duration; allowed: like 90s, 10m, 2h, 1d", name, text);
	return 0;
}

static int
take_path(const char *name, struct cfg_list *paths, const char *text)
{
	if (text[0] != '/' || paths->n == CFG_LIST_MAX
		|| text_copy(paths->s[paths->n], CFG_STRING_MAX, text) < 0)
		return cli_fail(CLI_USAGE, "--%s %s: allowed: an absolute path, at most %d of them", name, text,
			CFG_LIST_MAX);
	paths->n++;
	return 0;
}

static int
take_domain(struct cfg_list *domains, const char *text)
{
	if (text[0] == '\0' || !text_is_plain(text) || strpbrk(text, "@ #*/") != NULL || domains->n == CFG_LIST_MAX
		|| text_copy(domains->s[domains->n], CFG_STRING_MAX, text) < 0)
		return cli_fail(CLI_USAGE, "--domain %s: allowed: the name of a domain, at most %d of them", text,
			CFG_LIST_MAX);
	domains->n++;
	return 0;
}

/* Returns 0, or an exit code + 1 when all is done. */
static int
take_option(struct cli *cli, int o)
{
	switch (o) {
	case 'c':
		cli->config_path = optarg;
		return 0;
	case OPT_JSON:
		cli->json = true;
		return 0;
	case OPT_FOR:
		return take_span("for", optarg, &cli->for_ms) != 0 ? CLI_USAGE + 1 : 0;
	case OPT_SINCE:
		return take_span("since", optarg, &cli->since_ms) != 0 ? CLI_USAGE + 1 : 0;
	case OPT_REASON:
		cli->reason = optarg;
		return 0;
	case OPT_OFFLINE:
		cli->offline = true;
		return 0;
	case OPT_HOME:
		return take_path("home", &cli->homes, optarg) != 0 ? CLI_USAGE + 1 : 0;
	case OPT_YES:
		cli->yes = true;
		return 0;
	case OPT_UNDO:
		cli->undo = true;
		return 0;
	case OPT_SERVICE:
		cli->service = optarg;
		return 0;
	case OPT_KIND:
		cli->kind = optarg;
		return 0;
	case OPT_SORT:
		cli->sort = optarg;
		return 0;
	case OPT_FAIL2BAN:
		cli->fail2ban = true;
		cli->file = optarg;
		return 0;
	case OPT_IMPORT:
		cli->file = optarg;
		return 0;
	case OPT_EXPORT:
		cli->export_list = true;
		return 0;
	case OPT_ALL:
		cli->all = true;
		return 0;
	case OPT_COMPARE:
		cli->compare = optarg;
		return 0;
	case OPT_MAILDIRS:
		return take_path("maildirs", &cli->maildirs, optarg) != 0 ? CLI_USAGE + 1 : 0;
	case OPT_DOMAIN:
		return take_domain(&cli->domains, optarg) != 0 ? CLI_USAGE + 1 : 0;
	case OPT_WRITE:
		cli->write = optarg;
		return 0;
	case OPT_EFFECTIVE:
		cli->effective = true;
		return 0;
	case 'V':
		(void)printf("spillway " SPILLWAY_VERSION "\n");
		return CLI_OK + 1;
	case 'h':
		print_usage(stdout);
		return CLI_OK + 1;
	default:
		print_usage(stderr);
		return CLI_USAGE + 1;
	}
}

/* A configuration that is missing or broken does not keep a command from working with defaults; `check` tells. */
static void
load_config(struct cli *cli)
{
	const char *env = getenv(RUNDIR_ENV);

	config_defaults(&cli->config);
	cli->config_ok = config_load(cli->config_path, -1, &cli->config, &cli->errors) == 0;
	cli->run_dir = env != NULL && env[0] == '/' ? env : cli->config.service.run_dir;
}

/* Returns 0, or an exit code + 1 when all is done.  Afterwards optind is that of the first argument. */
static int
take_options(struct cli *cli, int argc, char **argv, const char *letters)
{
	int o, done;

	optind = 0; /* begin anew: glibc */
	while ((o = getopt_long(argc, argv, letters, options, NULL)) != -1)
		if ((done = take_option(cli, o)) != 0)
			return done;
	return 0;
}

/* What stands behind these is never an option: it may come from a stranger, who would else be called "-h" and so
 * never be too often. */
static bool
takes_no_options(cli_command *run)
{
	return run == rate_ask || run == rate_peek_only || run == ask_reset;
}

static int
find_command(const char *name)
{
	for (size_t i = 0; i < countof(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return (int)i;
	(void)cli_fail(CLI_USAGE, "%s: no such command", name);
	print_usage(stderr);
	return -1;
}

int
main(int argc, char **argv)
{
	static struct cli cli = { .config_path = CONFIG_DEFAULT_PATH };

	if (fd_sanitize() < 0)
		return CLI_TEMPORARY;
	int done = take_options(&cli, argc, argv, "+c:Vh");
	if (done != 0)
		return done - 1;
	if (optind == argc) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	argc -= optind;
	argv += optind;
	int i = find_command(argv[0]);
	if (i < 0)
		return CLI_USAGE;
	optind = 1;
	if (!takes_no_options(commands[i].run) && (done = take_options(&cli, argc, argv, "c:Vh")) != 0)
		return done - 1;
	load_config(&cli);
	return commands[i].run(&cli, argc - optind, argv + optind);
}
