/* SPDX-License-Identifier: ISC */
/* stormcmd - the command's part in storms of bounces: storms, storms release, and what explain says of one */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/cli.h"
#include "controller/store.h"
#include "lib/address.h"
#include "lib/num.h"
#include "lib/text.h"

#define STORMS_SHOWN 10

static const char *
text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s != NULL ? s : "";
}

static long long
number_of(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* --- storms ---------------------------------------------------------------------------------- */

static void
print_storm(const json_t *s)
{
	char since[NUM_TEXT_MAX], last[NUM_TEXT_MAX];

	num_age_format(number_of(s, "for_ms"), since);
	num_age_format(number_of(s, "last_ms"), last);
	(void)printf("%s%s: for %s, the last %s ago; %lld counted, %lld refused, %lld put off, %lld let in [%s]\n",
		json_is_true(json_object_get(s, "domain")) ? "all of " : "", text_of(s, "name"), since, last,
		number_of(s, "counted"), number_of(s, "refused"), number_of(s, "deferred"),
		number_of(s, "expected") + number_of(s, "retried"), text_of(s, "id"));
}

static int
list(const struct cli *cli)
{
	int code = CLI_OK;
	size_t i;
	json_t *s, *reply = client_ask(cli, json_pack("{s:s}", "command", "storms"), &code);

	if (reply == NULL)
		return code;
	const json_t *all = json_object_get(reply, "storms");
	if (cli->json)
		cli_print_json(all);
	else if (json_array_size(all) == 0)
		(void)printf("no storms\n");
	json_array_foreach(all, i, s)
		if (!cli->json)
			print_storm(s);
	if (!cli->json && (size_t)number_of(reply, "count") > json_array_size(all))
		(void)printf("and %lld more\n", number_of(reply, "count") - (long long)json_array_size(all));
	json_decref(reply);
	return CLI_OK;
}

static int
release(const struct cli *cli, const char *name)
{
	int code = CLI_OK;
	json_t *reply = client_ask(cli, json_pack("{s:s, s:s}", "command", "release", "address", name), &code);

	if (reply == NULL)
		return code;
	if (cli->json)
		cli_print_json(reply);
	else
		(void)printf("%s: the storm is over%s%s\n", name, text_of(reply, "note")[0] != '\0' ? "; " : "",
			text_of(reply, "note"));
	json_decref(reply);
	return CLI_OK;
}

int
storms_run(struct cli *cli, int argc, char **argv)
{
	if (argc == 0)
		return list(cli);
	if (argc == 2 && strcmp(argv[0], "release") == 0)
		return release(cli, argv[1]);
	return cli_fail(CLI_USAGE, "storms: allowed is storms, storms release ADDRESS, storms release DOMAIN");
}

/* --- explain --------------------------------------------------------------------------------- */

static bool
add_storm(const struct store_storm *s, void *arg)
{
	(void)json_array_append_new(arg,
		json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", s->id, "name", s->name,
		"domain", s->is_domain, "began", past_wall(s->began), "last", past_wall(s->last), "ended",
		past_wall(s->ended), "counted", (json_int_t)s->counted, "expected", (json_int_t)s->expected,
		"retried", (json_int_t)s->retried, "deferred", (json_int_t)s->deferred,
		"refused", (json_int_t)s->refused));
	return true;
}

static void
print_explained(const struct cli *cli, const json_t *s)
{
	char quiet[NUM_TEXT_MAX];
	bool over = json_is_string(json_object_get(s, "ended"));

	num_duration_format(cli->config.storms.rules.quiet_ms, quiet);
	(void)printf("%s: %s%s %s under a storm of bounces (rule bounceshield)\n", text_of(s, "id"),
		json_is_true(json_object_get(s, "domain")) ? "all of " : "", text_of(s, "name"), over ? "was" : "is");
	(void)printf("began   %s\nlast    %s\n", text_of(s, "began"), text_of(s, "last"));
	if (over)
		(void)printf("ended   %s; nothing is refused for it any more\n", text_of(s, "ended"));
	else
		(void)printf("ended   not yet; it ends when fewer than %lld have come in %s,"
			" or by `spillway storms release`\n", (long long)cli->config.storms.rules.bounces, quiet);
	(void)printf("counted %lld that nothing it sent explains\n", number_of(s, "counted"));
	(void)printf("refused %lld with 550, for it waits for no answer; %lld put off with 451\n",
		number_of(s, "refused"), number_of(s, "deferred"));
	(void)printf("let in  %lld expected answers to its mail, %lld that came back as told\n",
		number_of(s, "expected"), number_of(s, "retried"));
}

static void
print_all(const struct cli *cli, const json_t *storms, const json_t *refusals)
{
	size_t i;
	json_t *s;

	json_array_foreach(storms, i, s)
		print_explained(cli, s);
	if (json_array_size(refusals) > 0)
		(void)printf("the last refusals of those kept:\n");
	explain_print_refusals(refusals);
}

/* As it is on record: lower case, printable. */
static bool
name_on_record(const char *what, char *ret, size_t cap)
{
	struct text t = text_in(ret, cap);
	struct address a;

	if (!address_parse(what, strlen(what), &a))
		return false;
	text_put_printable(&t, a.text, a.len, cap);
	return true;
}

int
storms_explain(const struct cli *cli, struct store *s, const char *what, json_t *refusals, struct err *why)
{
	char name[STORE_NAME_MAX];
	bool is_address = name_on_record(what, name, sizeof(name));
	json_t *storms = json_array(), *first;
	int r = store_find_storms(s, is_address ? NULL : what, is_address ? name : NULL, STORMS_SHOWN, add_storm,
		storms, why);

	first = json_array_get(storms, 0);
	if (r == 0 && first == NULL)
		r = err_set(why, -ENOENT, "no storm of \"%s\" is on record", what);
	if (r == 0)
		r = explain_refusals(s, text_of(first, "id"), refusals, why);
	if (r == 0 && cli->json) {
		json_t *all = json_pack("{s:O, s:O}", "storms", storms, "refusals", refusals);

		cli_print_json(all);
		json_decref(all);
	} else if (r == 0) {
		print_all(cli, storms, refusals);
	}
	json_decref(storms);
	return r;
}
