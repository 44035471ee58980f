/* SPDX-License-Identifier: ISC */
/* blockcmd - the command's part in blocks: block, unblock, blocks, allow */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "controller/blocking.h"
#include "controller/cli.h"
#include "controller/store_import.h"
#include "lib/num.h"

#define TRIES 200 /* of a request that the daemon is too busy for */
#define TRY_MS 50
#define PROGRESS 10000 /* prefixes */

static const char *
text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s != NULL ? s : "";
}

static json_int_t
number_of(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* --- requests in pieces ---------------------------------------------------------------------- */

struct batch {
	struct cli *cli;
	const char *command;
	json_t *request; /* what is being filled, NULL: nothing */
	json_t *all; /* results, for --json */
	int64_t for_ms; /* of what is in it; 0: as the options say */
	size_t done, sent, refused;
	int code; /* the exit code of a request that failed as a whole */
};

static void
begin(struct batch *b, int64_t for_ms)
{
	const struct cli *cli = b->cli;

	b->for_ms = for_ms;
	b->request = json_pack("{s:s, s:[]}", "command", b->command, "prefixes");
	if (for_ms > 0)
		(void)json_object_set_new(b->request, "for_ms", json_integer(for_ms));
	if (cli->reason != NULL)
		(void)json_object_set_new(b->request, "reason", json_string(cli->reason));
	if (cli->kind != NULL)
		(void)json_object_set_new(b->request, "kind", json_string(cli->kind));
}

static void
tell_result(struct batch *b, const json_t *r)
{
	const json_t *hit = json_object_get(r, "protected");
	bool done = json_is_true(json_object_get(r, "done"));
	FILE *f = done ? stdout : stderr;

	b->done += done;
	b->refused += !done;
	if (b->all != NULL || (done && b->cli->file != NULL))
		return;
	(void)fprintf(f, "%s%s: %s", done ? "" : "spillway: ", text_of(r, "prefix"), text_of(r, "text"));
	if (json_is_object(hit))
		(void)fprintf(f, " (%s: %s%s%s)", text_of(hit, "prefix"), text_of(hit, "reason"),
			text_of(hit, "name")[0] != '\0' ? ", as " : "", text_of(hit, "name"));
	if (text_of(r, "within")[0] != '\0')
		(void)fprintf(f, "; still within %s", text_of(r, "within"));
	(void)fputc('\n', f);
}

/* A daemon that is busy writing says so: wait and ask again. */
static json_t *
exchange(struct batch *b)
{
	for (int i = 0;; i++) {
		const struct timespec pause = { .tv_nsec = TRY_MS * 1000000L };
		struct err why;
		json_t *reply = client_exchange(b->cli->run_dir, json_incref(b->request), &why);

		if (reply == NULL)
			b->code = cli_fail(CLI_TEMPORARY, "%s", why.text);
		if (reply == NULL || json_is_true(json_object_get(reply, "ok")))
			return reply;
		if (number_of(reply, "code") != CLI_TEMPORARY || i == TRIES) {
			b->code = cli_fail((int)number_of(reply, "code"), "%s", text_of(reply, "error"));
			json_decref(reply);
			return NULL;
		}
		json_decref(reply);
		(void)nanosleep(&pause, NULL);
	}
}

static void
send_batch(struct batch *b)
{
	size_t i;
	json_t *r;

	if (b->request == NULL)
		return;
	json_t *reply = exchange(b);
	json_array_foreach(json_object_get(reply, "results"), i, r) {
		tell_result(b, r);
		if (b->all != NULL)
			(void)json_array_append(b->all, r);
	}
	if (text_of(reply, "note")[0] != '\0')
		(void)fprintf(stderr, "spillway: %s\n", text_of(reply, "note"));
	size_t before = b->sent;
	b->sent += json_array_size(json_object_get(reply, "results"));
	if (isatty(STDERR_FILENO) && b->sent / PROGRESS > before / PROGRESS)
		(void)fprintf(stderr, "\r%zu ", b->sent);
	json_decref(reply);
	json_decref(b->request);
	b->request = NULL;
}

/* Returns false when it makes no sense to go on. */
static bool
add(struct batch *b, const char *prefix, int64_t for_ms)
{
	json_t *prefixes = json_object_get(b->request, "prefixes");

	if (b->request != NULL && (for_ms != b->for_ms || json_array_size(prefixes) == BLOCKING_REQUEST_MAX))
		send_batch(b);
	if (b->code != CLI_OK)
		return false;
	if (b->request == NULL)
		begin(b, for_ms);
	(void)json_array_append_new(json_object_get(b->request, "prefixes"), json_string(prefix));
	return true;
}

static int
finish(struct batch *b)
{
	send_batch(b);
	if (b->cli->json && b->all != NULL)
		cli_print_json(b->all);
	else if (b->cli->file != NULL && b->code == CLI_OK)
		(void)printf("%zu done, %zu not\n", b->done, b->refused);
	json_decref(b->all);
	if (b->code != CLI_OK)
		return b->code;
	return b->refused == 0 ? CLI_OK : CLI_NO;
}

/* --- plain lists ----------------------------------------------------------------------------- */

/* "PREFIX [DURATION|SECONDS]", what follows # and blank lines passed over. */
static bool
add_line(struct batch *b, char *line, unsigned number)
{
	char *save = NULL;
	int64_t for_ms = b->cli->for_ms;
	uint64_t seconds;

	line[strcspn(line, "#\r\n")] = '\0';
	const char *prefix = strtok_r(line, " \t", &save), *span = strtok_r(NULL, " \t", &save);
	if (prefix == NULL)
		return true;
	if (span != NULL && num_u64(span, &seconds) == 0 && seconds <= INT32_MAX)
		for_ms = (int64_t)seconds * 1000;
	else if (span != NULL && num_duration(span, &for_ms) < 0)
		return cli_fail(0, "%s:%u: %s: not a duration; allowed: PREFIX [90s|10m|2h|1d|SECONDS]",
			b->cli->file, number, span) != 0;
	return add(b, prefix, for_ms);
}

static void
add_file(struct batch *b)
{
	FILE *f = strcmp(b->cli->file, "-") == 0 ? stdin : fopen(b->cli->file, "re");
	char line[512];

	if (f == NULL) {
		b->code = cli_fail(CLI_USAGE, "%s: %s", b->cli->file, strerror(errno));
		return;
	}
	for (unsigned n = 1; fgets(line, sizeof(line), f) != NULL; n++)
		if (!add_line(b, line, n) && b->code != CLI_OK)
			break;
	if (f != stdin)
		(void)fclose(f);
}

static bool
add_ban(const char *prefix, int64_t left_ms, void *arg)
{
	struct batch *b = arg;

	return add(b, prefix, left_ms);
}

static void
add_fail2ban(struct batch *b)
{
	struct err why;

	if (store_import_fail2ban(b->cli->file, wall_now(), add_ban, b, &why) < 0 && b->code == CLI_OK)
		b->code = cli_fail(CLI_USAGE, "%s", why.text);
}

static int
change(struct cli *cli, const char *command, int argc, char **argv)
{
	struct batch b = { .cli = cli, .command = command, .all = cli->json ? json_array() : NULL };

	for (int i = 0; i < argc; i++)
		if (!add(&b, argv[i], cli->for_ms))
			break;
	if (cli->file != NULL && cli->fail2ban)
		add_fail2ban(&b);
	else if (cli->file != NULL)
		add_file(&b);
	return finish(&b);
}

int
ask_block(struct cli *cli, int argc, char **argv)
{
	if ((argc == 0) == (cli->file == NULL))
		return cli_fail(CLI_USAGE,
			"block: allowed is block ADDRESS[/N]..., block --import FILE, block --fail2ban FILE");
	return change(cli, "block", argc, argv);
}

int
ask_unblock(struct cli *cli, int argc, char **argv)
{
	if ((argc == 0) == (cli->file == NULL) || cli->fail2ban)
		return cli_fail(CLI_USAGE, "unblock: allowed is unblock ADDRESS[/N]..., unblock --import FILE");
	return change(cli, "unblock", argc, argv);
}

/* --- blocks ---------------------------------------------------------------------------------- */

/* All pages. */
static json_t *
fetch_all(const struct cli *cli, int *ret_code)
{
	json_t *all = json_array(), *next = json_integer(0);

	while (json_is_integer(next)) {
		json_t *reply = client_ask(cli, json_pack("{s:s, s:o}", "command", "blocks", "cursor", next), ret_code);

		if (reply == NULL) {
			json_decref(all);
			return NULL;
		}
		(void)json_array_extend(all, json_object_get(reply, "blocks"));
		next = json_incref(json_object_get(reply, "next"));
		json_decref(reply);
	}
	json_decref(next);
	return all;
}

static const char *sort_key;

static int
compare(const void *a, const void *b)
{
	const json_t *x = json_object_get(*(json_t *const *)a, sort_key);
	const json_t *y = json_object_get(*(json_t *const *)b, sort_key);

	if (json_is_string(x))
		return strcmp(json_string_value(x), json_string_value(y));
	json_int_t m = json_integer_value(x), n = json_integer_value(y);
	return m < n ? -1 : m > n;
}

/* By the words of --sort. */
static const char *
find_sort_key(const char *word)
{
	static const struct {
		const char *word, *key;
	} keys[] = {
		{ "until", "remaining_ms" }, { "since", "since" }, { "address", "prefix" },
		{ "times", "times" }, { "who", "who" },
	};

	for (size_t i = 0; word != NULL && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i].word, word) == 0)
			return keys[i].key;
	return word == NULL ? "remaining_ms" : NULL;
}

/* Does the block have an address in common with the prefix, or is it of that rule or person? */
static bool
matches(const json_t *block, const char *filter)
{
	struct ip_prefix p, q;

	if (filter == NULL)
		return true;
	if (ip_prefix_parse(filter, &p) < 0 || ip_prefix_parse(text_of(block, "prefix"), &q) < 0)
		return strcmp(text_of(block, "who"), filter) == 0 || strcmp(text_of(block, "id"), filter) == 0;
	return p.bits <= q.bits ? ip_prefix_contains(&p, &q.ip) : ip_prefix_contains(&q, &p.ip);
}

static void
print_block(const json_t *b)
{
	char left[NUM_TEXT_MAX], next[NUM_TEXT_MAX];

	num_age_format(number_of(b, "remaining_ms"), left);
	(void)printf("%-24s %-8s for another %-8s %s",
		text_of(b, "prefix"), text_of(b, "kind"), left, text_of(b, "who"));
	if (json_is_true(json_object_get(b, "by_person"))) {
		(void)printf(": %s [%s]\n", text_of(b, "reason")[0] != '\0' ? text_of(b, "reason") : "no reason given",
			text_of(b, "id"));
		return;
	}
	num_age_format(number_of(b, "next_ms"), next);
	(void)printf(" %lld/%lld, %lld before, next time %s [%s]\n",
		(long long)number_of(b, "n"), (long long)number_of(b, "max"),
		(long long)number_of(b, "times"), next, text_of(b, "id"));
}

int
show_blocks(struct cli *cli, int argc, char **argv)
{
	int code = CLI_OK;
	size_t n = 0;

	sort_key = find_sort_key(cli->sort);
	if (argc > 1)
		return cli_fail(CLI_USAGE, "blocks: allowed is blocks [ADDRESS[/N]|RULE|ID] [--sort KEY] [--export]");
	if (sort_key == NULL)
		return cli_fail(CLI_USAGE, "--sort %s: allowed: until, since, address, times, who", cli->sort);
	json_t *all = fetch_all(cli, &code);
	if (all == NULL)
		return code;
	size_t total = json_array_size(all);
	json_t **sorted = malloc((total + 1) * sizeof(sorted[0]));
	json_t *out = json_array();
	for (size_t i = 0; sorted != NULL && i < total; i++)
		if (matches(json_array_get(all, i), argc == 1 ? argv[0] : NULL))
			sorted[n++] = json_array_get(all, i);
	if (n > 0)
		qsort(sorted, n, sizeof(sorted[0]), compare);
	for (size_t i = 0; i < n; i++) {
		if (cli->json)
			(void)json_array_append(out, sorted[i]);
		else if (cli->export_list)
			(void)printf("%s %lld\n", text_of(sorted[i], "prefix"),
				(long long)(number_of(sorted[i], "remaining_ms") / 1000 + 1));
		else
			print_block(sorted[i]);
	}
	if (cli->json)
		cli_print_json(out);
	else if (!cli->export_list && n == 0)
		(void)printf("no blocks\n");
	free(sorted);
	json_decref(out);
	json_decref(all);
	return CLI_OK;
}

/* --- the allow list -------------------------------------------------------------------------- */

static int
print_allowed(const struct cli *cli, json_t *reply)
{
	size_t i;
	json_t *p;

	if (cli->json) {
		cli_print_json(reply);
	} else {
		json_array_foreach(json_object_get(reply, "protected"), i, p)
			(void)printf("%-24s %s%s%s\n", text_of(p, "prefix"), text_of(p, "reason"),
				text_of(p, "name")[0] != '\0' ? ": " : "", text_of(p, "name"));
		json_array_foreach(json_object_get(reply, "added"), i, p)
			(void)printf("%-24s added by %s\n", text_of(p, "entry"), text_of(p, "who"));
	}
	json_decref(reply);
	return CLI_OK;
}

static int
check_allowed(struct cli *cli, const char *prefix)
{
	int code = CLI_OK;
	json_t *reply = client_ask(cli, json_pack("{s:s, s:s}", "command", "allowed", "prefix", prefix), &code);

	if (reply == NULL)
		return code;
	const json_t *hit = json_object_get(reply, "protected");
	if (cli->json)
		cli_print_json(reply);
	else if (json_is_object(hit))
		(void)printf("%s is protected: %s (%s%s%s)\n", prefix, text_of(hit, "reason"), text_of(hit, "prefix"),
			text_of(hit, "name")[0] != '\0' ? ", " : "", text_of(hit, "name"));
	else
		(void)printf("%s is not protected\n", prefix);
	code = json_is_object(hit) ? CLI_OK : CLI_NO;
	json_decref(reply);
	return code;
}

static int
change_allowed(struct cli *cli, const char *entry, bool set)
{
	int code = CLI_OK;
	json_t *reply = client_ask(cli, json_pack("{s:s, s:s, s:b}", "command", "allow", "entry", entry, "add", set),
		&code);

	if (reply == NULL)
		return code;
	if (cli->json)
		cli_print_json(reply);
	else
		(void)printf("%s: %s%s%s\n", entry, set ? "on the allow list" : "taken off the allow list",
			text_of(reply, "note")[0] != '\0' ? "; " : "", text_of(reply, "note"));
	json_decref(reply);
	return CLI_OK;
}

int
ask_allow(struct cli *cli, int argc, char **argv)
{
	int code = CLI_OK;

	if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0)) {
		json_t *reply = client_ask(cli, json_pack("{s:s}", "command", "allowed"), &code);

		return reply != NULL ? print_allowed(cli, reply) : code;
	}
	if (argc == 2 && strcmp(argv[0], "check") == 0)
		return check_allowed(cli, argv[1]);
	if (argc == 2 && (strcmp(argv[0], "add") == 0 || strcmp(argv[0], "remove") == 0))
		return change_allowed(cli, argv[1], argv[0][0] == 'a');
	return cli_fail(CLI_USAGE,
		"allow: allowed is allow list, allow add ENTRY, allow remove ENTRY, allow check ADDRESS[/N]");
}
