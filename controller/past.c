/* SPDX-License-Identifier: ISC */
/* past - history and explanations, read from the database beside the daemon */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/cli.h"
#include "controller/store.h"
#include "lib/num.h"

#define SINCE_DEFAULT_MS (INT64_C(24) * 3600000)
#define REFUSALS_SHOWN 20

static int
open_store(const struct cli *cli, struct store **ret)
{
	struct err why;

	if (store_open_readonly(cli->config.service.state_dir, ret, &why) < 0)
		return cli_fail(CLI_TEMPORARY, "%s", why.text);
	return 0;
}

static json_t *
wall_json(wall_t t)
{
	char text[CLOCK_WALL_TEXT_MAX];

	if (t.ms == 0)
		return json_null();
	wall_format(t, text);
	return json_string(text);
}

/* --- history --------------------------------------------------------------------------------- */

static bool
print_change(const struct store_change *c, void *arg)
{
	char at[CLOCK_WALL_TEXT_MAX];

	(void)arg;
	wall_format(c->at, at);
	(void)printf("%s  %-7s  ", at, store_kind_name(c->kind));
	if (c->before != c->after)
		(void)printf("%s -> %s: ", level_name(c->before), level_name(c->after));
	(void)printf("%s", c->reason);
	if (c->episode[0] != '\0')
		(void)printf(" [%s]", c->episode);
	if (c->who[0] != '\0' && strcmp(c->who, "spillway") != 0)
		(void)printf(" (by %s)", c->who);
	(void)printf("\n");
	return true;
}

static bool
add_change(const struct store_change *c, void *arg)
{
	json_t *readings = json_loads(c->readings, 0, NULL);

	(void)json_array_append_new(arg, json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "at", wall_json(c->at),
		"kind", store_kind_name(c->kind), "before", level_name(c->before), "after", level_name(c->after),
		"reason", c->reason, "episode", c->episode, "who", c->who, "readings",
		readings != NULL ? readings : json_object()));
	return true;
}

int
past_history(struct cli *cli, int argc, char **argv)
{
	int64_t span = cli->since_ms > 0 ? cli->since_ms : SINCE_DEFAULT_MS;
	wall_t since = { wall_now().ms - span };
	struct store *s;
	struct err why;

	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "history: takes no arguments");
	int code = open_store(cli, &s);
	if (code != 0)
		return code;
	json_t *all = cli->json ? json_array() : NULL;
	int r = store_history(s, since, cli->json ? add_change : print_change, all, &why);
	store_close(s);
	if (r == 0 && cli->json)
		cli_print_json(all);
	json_decref(all);
	return r < 0 ? cli_fail(CLI_TEMPORARY, "%s", why.text) : CLI_OK;
}

/* --- explain --------------------------------------------------------------------------------- */

static json_t *
refusal_json(const struct store_refusal *r)
{
	return json_pack("{s:o, s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:s}", "at", wall_json(r->at),
		"episode", r->episode, "rule", check_name(r->check), "stage", stage_name(r->stage), "code", r->code,
		"pid", (json_int_t)r->pid, "ip", r->ip, "helo", r->helo, "sender", r->sender, "recipient",
		r->recipient);
}

static bool
add_refusal(const struct store_refusal *r, void *arg)
{
	(void)json_array_append_new(arg, refusal_json(r));
	return true;
}

static const char *
or_unknown(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : "?";
}

static const char *
field(const json_t *r, const char *key)
{
	return or_unknown(json_string_value(json_object_get(r, key)));
}

static void
print_refusals(const json_t *refusals)
{
	size_t i;
	json_t *r;

	json_array_foreach(refusals, i, r)
		(void)printf("  %s  %s at %s, %lld: %s helo %s from <%s>, qmail-smtpd %lld, episode %s\n",
			field(r, "at"), field(r, "rule"), field(r, "stage"),
			(long long)json_integer_value(json_object_get(r, "code")), field(r, "ip"), field(r, "helo"),
			json_string_value(json_object_get(r, "sender")),
			(long long)json_integer_value(json_object_get(r, "pid")), field(r, "episode"));
}

static json_t *
episode_json(const struct store_episode *e)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:I}", "id", e->id, "rule", "overload", "began",
		wall_json(e->began), "ended", wall_json(e->ended), "peak", level_name(e->peak), "reason", e->reason,
		"refused", (json_int_t)e->refused);
}

static void
print_episode(const struct store_episode *e, const json_t *refusals)
{
	char began[CLOCK_WALL_TEXT_MAX], ended[CLOCK_WALL_TEXT_MAX], span[NUM_TEXT_MAX];

	wall_format(e->began, began);
	wall_format(e->ended, ended);
	(void)printf("%s: strangers were refused with 451 because the server was overloaded (rule overload)\n", e->id);
	(void)printf("began   %s: %s\n", began, e->reason);
	if (e->ended.ms != 0) {
		num_age_format(e->ended.ms - e->began.ms, span);
		(void)printf("ended   %s, after %s; nobody is refused for it any more\n", ended, span);
	} else {
		(void)printf("ended   not yet; it ends by itself when the readings are back, see `spillway status`\n");
	}
	(void)printf("level   up to %s\n", level_name(e->peak));
	(void)printf("refused %llu commands", (unsigned long long)e->refused);
	(void)printf(json_array_size(refusals) > 0 ? "; the last of those kept:\n" : "\n");
	print_refusals(refusals);
}

/* An episode id, else an address. */
static int
explain(struct cli *cli, struct store *s, const char *what)
{
	struct store_episode e;
	struct err why;
	struct ip ip;
	char address[IP_TEXT_MAX];
	json_t *refusals = json_array();
	bool is_ip = ip_parse(what, &ip) == 0;
	int r = is_ip ? 0 : store_find_episode(s, what, &e, &why), code = CLI_OK;

	if (is_ip)
		ip_format(&ip, address);
	if (r == 0)
		r = store_refusals(s, is_ip ? NULL : what, is_ip ? address : NULL, REFUSALS_SHOWN, add_refusal,
			refusals, &why);
	if (r == -ENOENT) {
		code = cli_fail(CLI_NO, "%s; allowed: the id in a reply or in the log, or an address", why.text);
	} else if (r < 0) {
		code = cli_fail(CLI_TEMPORARY, "%s", why.text);
	} else if (cli->json) {
		json_t *all = is_ip ? json_pack("{s:s, s:O}", "ip", address, "refusals", refusals)
				    : json_pack("{s:o, s:O}", "episode", episode_json(&e), "refusals", refusals);

		cli_print_json(all);
		json_decref(all);
	} else if (!is_ip) {
		print_episode(&e, refusals);
	} else if (json_array_size(refusals) == 0) {
		code = cli_fail(CLI_NO, "%s: no refusal is on record", address);
	} else {
		(void)printf("%s: refused, newest first:\n", address);
		print_refusals(refusals);
	}
	json_decref(refusals);
	return code;
}

int
past_explain(struct cli *cli, int argc, char **argv)
{
	struct store *s;

	if (argc != 1)
		return cli_fail(CLI_USAGE, "explain: allowed is explain ID, or explain ADDRESS");
	int code = open_store(cli, &s);
	if (code != 0)
		return code;
	code = explain(cli, s, argv[0]);
	store_close(s);
	return code;
}
