/* SPDX-License-Identifier: ISC */
/* past - history, read from the database beside the daemon */
#include <stdio.h>
#include <string.h>

#include "controller/cli.h"
#include "controller/store.h"

#define SINCE_DEFAULT_MS (INT64_C(24) * 3600000)

int
past_open(const struct cli *cli, struct store **ret)
{
	struct err why;

	if (store_open_readonly(cli->config.service.state_dir, ret, &why) < 0)
		return cli_fail(CLI_TEMPORARY, "%s", why.text);
	return 0;
}

json_t *
past_wall(wall_t t)
{
	char text[CLOCK_WALL_TEXT_MAX];

	if (t.ms == 0)
		return json_null();
	wall_format(t, text);
	return json_string(text);
}

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

	(void)json_array_append_new(arg, json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "at", past_wall(c->at),
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
	int code = past_open(cli, &s);
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
