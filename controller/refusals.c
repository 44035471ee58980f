/* SPDX-License-Identifier: ISC */
/* refusals - what became of a message that did not come: the archive, searched */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "controller/archive.h"
#include "controller/cli.h"

#define WANTED_MAX 16
#define NEWEST 20 /* for `explain` */

/* One of these must fit; none: all do. */
struct wanted {
	const char *text;
	bool is_net;
	struct ip_prefix net;
};

struct search {
	struct wanted wanted[WANTED_MAX];
	int n;
	wall_t since;
	bool json;
	uint64_t found;
	struct store_refusal *newest; /* NEWEST of them, in a ring; NULL: each is printed when it is found */
};

/* "@example.com" is every address there. */
static bool
is_address(const char *wanted, const char *address)
{
	size_t len = strlen(address), tail = strlen(wanted);

	if (wanted[0] == '@')
		return len >= tail && strcasecmp(address + len - tail, wanted) == 0;
	return strcasecmp(address, wanted) == 0;
}

static bool
fits(const struct wanted *w, const struct store_refusal *r)
{
	struct ip ip;

	if (w->is_net)
		return ip_parse(r->ip, &ip) == 0 && ip_prefix_contains(&w->net, &ip);
	return strcmp(w->text, r->episode) == 0 || strcmp(w->text, check_name(r->check)) == 0
		|| strcasecmp(w->text, r->helo) == 0 || is_address(w->text, r->sender)
		|| is_address(w->text, r->recipient);
}

static bool
is_wanted(const struct search *s, const struct store_refusal *r)
{
	if (r->at.ms < s->since.ms)
		return false;
	for (int i = 0; i < s->n; i++)
		if (fits(&s->wanted[i], r))
			return true;
	return s->n == 0;
}

static void
print_text(const struct store_refusal *r)
{
	char at[CLOCK_WALL_TEXT_MAX];

	wall_format(r->at, at);
	(void)printf("%s  %s at %s, %u: %s helo %s from <%s>", at, check_name(r->check), stage_name(r->stage), r->code,
		r->ip[0] != '\0' ? r->ip : "?", r->helo[0] != '\0' ? r->helo : "?", r->sender);
	if (r->recipient[0] != '\0')
		(void)printf(" to <%s>", r->recipient);
	(void)printf(" [%s]\n", r->episode);
}

/* Elements of an array, one a line: there may be millions. */
static void
print_json(const struct store_refusal *r, bool first)
{
	char line[ARCHIVE_LINE_MAX];
	size_t len = archive_format(r, line);

	(void)printf("%s%.*s", first ? "" : ",\n", (int)len - 1, line);
}

static bool
look(const struct store_refusal *r, void *arg)
{
	struct search *s = arg;

	if (!is_wanted(s, r))
		return true;
	if (s->newest != NULL)
		s->newest[s->found % NEWEST] = *r;
	else if (s->json)
		print_json(r, s->found == 0);
	else
		print_text(r);
	s->found++;
	return true;
}

int
show_refusals(struct cli *cli, int argc, char **argv)
{
	struct search s = { .json = cli->json, .n = argc };
	struct err why;

	if (argc > WANTED_MAX)
		return cli_fail(CLI_USAGE, "refusals: at most %d at once", WANTED_MAX);
	if (cli->since_ms > 0)
		s.since.ms = wall_now().ms - cli->since_ms;
	for (int i = 0; i < argc; i++) {
		s.wanted[i].text = argv[i];
		s.wanted[i].is_net = ip_prefix_parse(argv[i], &s.wanted[i].net) == 0;
	}
	if (s.json)
		(void)printf("[");
	int r = archive_each(cli->config.service.state_dir, look, &s, &why);
	if (s.json)
		(void)printf("]\n");
	if (r < 0 && r != -ENOENT)
		return cli_fail(CLI_TEMPORARY, "%s", why.text);
	if (s.found == 0 && !s.json)
		return cli_fail(CLI_NO, "refusals: none that fits is on record");
	return s.found > 0 ? CLI_OK : CLI_NO;
}

static void
print_about(const char *address, const struct store_refusal *ring, uint64_t first, uint64_t found)
{
	json_t *rows = json_array();

	for (uint64_t i = first; i < found; i++) {
		char line[ARCHIVE_LINE_MAX];

		(void)json_array_append_new(rows, json_loadb(line, archive_format(&ring[i % NEWEST], line), 0, NULL));
	}
	json_t *all = json_pack("{s:s, s:I, s:o}", "address", address, "refused", (json_int_t)found, "refusals", rows);
	cli_print_json(all);
	json_decref(all);
}

int
refusals_about(const struct cli *cli, const char *address)
{
	static struct store_refusal newest[NEWEST];
	struct search s = { .wanted = { { .text = address } }, .n = 1, .json = cli->json, .newest = newest };
	struct err why;
	int r = archive_each(cli->config.service.state_dir, look, &s, &why);

	if (r < 0 && r != -ENOENT)
		return cli_fail(CLI_TEMPORARY, "%s", why.text);
	if (s.found == 0)
		return -ENOENT;
	uint64_t first = s.found > NEWEST ? s.found - NEWEST : 0;
	if (s.json)
		print_about(address, newest, first, s.found);
	else
		(void)printf("%s: refused %llu times, the last %llu:\n", address, (unsigned long long)s.found,
			(unsigned long long)(s.found - first));
	for (uint64_t i = first; i < s.found && !s.json; i++)
		print_text(&newest[i % NEWEST]);
	return CLI_OK;
}
