/* SPDX-License-Identifier: ISC */
/* replaycmd - `spillway replay`: reads logs, feeds one or two configurations, and tells what they would have done */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "controller/cli.h"
#include "controller/replay.h"
#include "controller/replaylog.h"
#include "lib/num.h"

#define BAR 40
#define BAR_EVERY 8192 /* lines */
#define BAR_EVERY_MS 200
#define WORST 10

/* The new configuration, and the one to compare it with. */
struct run {
	const char *path;
	uint32_t untold; /* readings that its levels look at and no log tells */
	struct replay *replay;
	const struct replay_result *result;
};

struct bar {
	bool on;
	mono_t next;
};

static void
draw(struct bar *b, const struct replaylog *log, wall_t at, bool last)
{
	struct replaylog_progress p = replaylog_progress(log);
	mono_t now;
	char when[CLOCK_WALL_TEXT_MAX], full[BAR + 1];

	if (!b->on || (p.lines % BAR_EVERY != 0 && !last))
		return;
	now = mono_now();
	if (now.ms < b->next.ms && !last)
		return;
	b->next = mono_after(now, BAR_EVERY_MS);
	size_t n = p.size > 0 && !last ? (size_t)((double)p.bytes / (double)p.size * BAR) : BAR;
	memset(full, '.', BAR);
	memset(full, '#', n < BAR ? n : BAR);
	full[BAR] = '\0';
	wall_format(at, when);
	(void)fprintf(stderr, "\r[%s] %s  %.1f million lines ", p.size > 0 || last ? full : "reading", when,
		(double)p.lines / 1e6);
	if (last)
		(void)fputc('\n', stderr);
}

static int
play(struct replaylog *log, struct run *run, size_t n, struct err *why)
{
	struct bar bar = { .on = isatty(STDERR_FILENO) == 1 };
	struct replaylog_record rec = { .at = { 0 } };
	int r;

	while ((r = replaylog_next(log, &rec, why)) > 0) {
		for (size_t i = 0; i < n; i++) {
			if (rec.is_line)
				replay_line(run[i].replay, &rec.line, rec.at);
			else if (rec.refused)
				replay_refused(run[i].replay, rec.check, rec.pid, rec.at);
			else
				replay_accepted(run[i].replay, &rec.ip, rec.at);
		}
		draw(&bar, log, rec.at, false);
	}
	draw(&bar, log, rec.at, true);
	for (size_t i = 0; i < n; i++)
		run[i].result = replay_end(run[i].replay);
	return r;
}

/* --- for programs ---------------------------------------------------------------------------- */

static json_t *
time_json(wall_t t)
{
	char text[CLOCK_WALL_TEXT_MAX];

	wall_format(t, text);
	return json_string(text);
}

static json_t *
episodes_json(const struct replay_result *t)
{
	json_t *all = json_array();

	for (size_t i = 0; i < t->episodes && i < REPLAY_EPISODES; i++) {
		const struct replay_episode *e = &t->episode[i];
		char why[REASON_TEXT_MAX];

		reason_format(&e->why, why);
		(void)json_array_append_new(all, json_pack("{s:o, s:o, s:s, s:s, s:I}", "began", time_json(e->began),
			"ended", time_json(e->ended), "peak", level_name(e->peak), "why", why, "refused",
			(json_int_t)e->refused));
	}
	return all;
}

static json_t *
clients_json(const struct replay *r)
{
	const struct replay_client *c[WORST];
	size_t n = replay_worst(r, WORST, c);
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++) {
		char ip[IP_TEXT_MAX];

		ip_format(&c[i]->ip, ip);
		(void)json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:I}", "ip", ip, "turned_away",
			(json_int_t)c[i]->turned_away, "limited", (json_int_t)c[i]->limited, "lost",
			(json_int_t)c[i]->lost, "later", (json_int_t)c[i]->later));
	}
	return all;
}

static json_t *
untold_json(uint32_t untold)
{
	json_t *all = json_array();

	for (int i = 0; i < READING_COUNT; i++)
		if ((untold & UINT32_C(1) << i) != 0)
			(void)json_array_append_new(all, json_string(reading_info[i].name));
	return all;
}

static json_t *
run_json(const struct run *run)
{
	const struct replay_result *t = run->result;
	json_t *levels = json_object();

	for (int i = 0; i < LEVEL_COUNT; i++)
		(void)json_object_set_new(levels, level_name((enum level)i), json_integer(t->level_ms[i]));
	return json_pack("{s:s, s:o, s:o, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:o}",
		"config", run->path, "readings_not_in_logs", untold_json(run->untold), "level_ms", levels,
		"level_changes", (json_int_t)t->changes,
		"episodes", (json_int_t)t->episodes, "episode", episodes_json(t), "refused", (json_int_t)t->refused,
		"limited", (json_int_t)t->limited, "blocks", (json_int_t)t->blocks, "networks", (json_int_t)t->wide,
		"not_blocked_for_budget", (json_int_t)t->over_budget, "blocks_at_once", (json_int_t)t->peak_blocks,
		"turned_away", (json_int_t)t->turned_away, "clients", (json_int_t)t->clients,
		"harmed_clients", (json_int_t)t->harmed, "lost_mails", (json_int_t)t->lost,
		"later_mails", (json_int_t)t->later, "refused_again", (json_int_t)t->again,
		"worst", clients_json(run->replay));
}

static void
print_json(const struct replaylog *log, const struct run *run, size_t n, int64_t took_ms)
{
	const struct replay_result *t = run[0].result;
	struct replaylog_progress p = replaylog_progress(log);
	json_t *runs = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(runs, run_json(&run[i]));
	json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:o}",
		"lines", (json_int_t)p.lines, "understood", (json_int_t)t->lines, "too_long", (json_int_t)p.cut,
		"out_of_order", (json_int_t)p.outdated, "took_ms", (json_int_t)took_ms, "from", time_json(t->from),
		"to", time_json(t->to), "addresses_can_be_forged", replaylog_is_shared(log),
		"messages", (json_int_t)t->messages, "from_strangers", (json_int_t)t->strangers,
		"deliveries", (json_int_t)t->successes, "deferrals", (json_int_t)t->deferrals,
		"failures", (json_int_t)t->failures, "bounces", (json_int_t)t->bounces,
		"connections", (json_int_t)t->connections, "denied", (json_int_t)t->denied,
		"refusals", (json_int_t)t->archived, "refused_for_load", (json_int_t)t->offered, "would", runs);
	cli_print_json(j);
	json_decref(j);
}

/* --- for people ------------------------------------------------------------------------------ */

/* A row of one or two columns. */
static void
print_row(const char *name, const struct run *run, size_t n,
	void (*put)(const struct replay_result *t, char ret[40]))
{
	char text[40];

	(void)printf("  %-34s", name);
	for (size_t i = 0; i < n; i++) {
		put(run[i].result, text);
		(void)printf(i + 1 < n ? " %-24s" : " %s", text);
	}
	(void)printf("\n");
}

#define NUMBER(name, member) \
	static void \
	put_##name(const struct replay_result *t, char ret[40]) \
	{ \
		(void)snprintf(ret, 40, "%llu", (unsigned long long)t->member); \
	}
NUMBER(episodes, episodes)
NUMBER(refused, refused)
NUMBER(again, again)
NUMBER(limited, limited)
NUMBER(turned_away, turned_away)
NUMBER(over_budget, over_budget)
NUMBER(changes, changes)

static void
put_closed(const struct replay_result *t, char ret[40])
{
	num_age_format(t->level_ms[LEVEL_OVERLOADED] + t->level_ms[LEVEL_CRITICAL], ret);
}

static void
put_busy(const struct replay_result *t, char ret[40])
{
	num_age_format(t->level_ms[LEVEL_BUSY], ret);
}

static void
put_blocks(const struct replay_result *t, char ret[40])
{
	(void)snprintf(ret, 40, "%llu, %llu at once", (unsigned long long)t->blocks,
		(unsigned long long)t->peak_blocks);
}

static void
put_clients(const struct replay_result *t, char ret[40])
{
	(void)snprintf(ret, 40, "%zu%s", t->clients, t->clients_not_kept > 0 ? " and more" : "");
}

static void
put_harmed(const struct replay_result *t, char ret[40])
{
	(void)snprintf(ret, 40, "%zu (%llu mails then, %llu later)", t->harmed, (unsigned long long)t->lost,
		(unsigned long long)t->later);
}

static void
print_untold(uint32_t untold)
{
	const char *before = "    its levels look at ";

	for (int i = 0; i < READING_COUNT; i++) {
		if ((untold & UINT32_C(1) << i) == 0)
			continue;
		(void)printf("%s%s", before, reading_info[i].name);
		before = ", ";
	}
	if (untold != 0)
		(void)printf(", too, which no log tells\n");
}

static void
print_episodes(const struct run *run)
{
	const struct replay_result *t = run->result;

	for (size_t i = 0; i < t->episodes && i < 5; i++) {
		const struct replay_episode *e = &t->episode[i];
		char began[CLOCK_WALL_TEXT_MAX], span[NUM_TEXT_MAX], why[REASON_TEXT_MAX];

		wall_format(e->began, began);
		num_age_format(e->ended.ms - e->began.ms, span);
		reason_format(&e->why, why);
		(void)printf("    %s  %s, up to %s, %llu put off: %s\n", began, span, level_name(e->peak),
			(unsigned long long)e->refused, why);
	}
	if (t->episodes > 5)
		(void)printf("    and %zu more\n", t->episodes - 5);
}

static void
print_worst(const struct run *run)
{
	const struct replay_client *c[WORST];
	size_t n = replay_worst(run->replay, WORST, c);

	for (size_t i = 0; i < n; i++) {
		char ip[IP_TEXT_MAX];

		ip_format(&c[i]->ip, ip);
		(void)printf("    %-18s turned away %llu times; of its mails %llu were accepted then, %llu later\n", ip,
			(unsigned long long)c[i]->turned_away, (unsigned long long)c[i]->lost,
			(unsigned long long)c[i]->later);
	}
}

static void
print_log(const struct replaylog *log, const struct replay_result *t, int64_t took_ms, int64_t smtp_uid)
{
	struct replaylog_progress p = replaylog_progress(log);
	char from[CLOCK_WALL_TEXT_MAX], to[CLOCK_WALL_TEXT_MAX];

	wall_format(t->from, from);
	wall_format(t->to, to);
	(void)printf("%llu lines, %llu understood, in %.1f s; %s to %s\n", (unsigned long long)p.lines,
		(unsigned long long)t->lines, (double)took_ms / 1000, from, to);
	if (t->messages + t->successes > 0)
		(void)printf("  %llu messages, %llu of them from strangers%s; %llu delivered, %llu put off,"
			" %llu failed, %llu bounces\n",
			(unsigned long long)t->messages, (unsigned long long)t->strangers,
			smtp_uid < 0 ? " (no user qmaild here: all are taken for such)" : "",
			(unsigned long long)t->successes, (unsigned long long)t->deferrals,
			(unsigned long long)t->failures, (unsigned long long)t->bounces);
	if (t->connections > 0)
		(void)printf("  %llu connections, %llu of them denied at that time\n",
			(unsigned long long)t->connections, (unsigned long long)t->denied);
	if (t->archived > 0)
		(void)printf("  %llu refusals in the archive, %llu of them for load\n", (unsigned long long)t->archived,
			(unsigned long long)t->offered);
	if (t->untracked > 0)
		(void)printf("  note: %llu messages were more than are followed at once\n",
			(unsigned long long)t->untracked);
	if (replaylog_is_shared(log))
		(void)printf("  note: not only the server writes to one of these: addresses in it can be forged\n");
	if (p.outdated > 0)
		(void)printf("  note: %llu lines were older than the one before; taken as they stand\n",
			(unsigned long long)p.outdated);
}

static void
print_text(const struct replaylog *log, const struct run *run, size_t n, int64_t took_ms, int64_t smtp_uid)
{
	print_log(log, run[0].result, took_ms, smtp_uid);
	(void)printf("\n  %-34s", "would have been, with");
	for (size_t i = 0; i < n; i++)
		(void)printf(i + 1 < n ? " %-24s" : " %s", run[i].path);
	(void)printf("\n");
	print_row("times that the gate was closed", run, n, put_episodes);
	print_row("closed in all", run, n, put_closed);
	print_row("busy in all", run, n, put_busy);
	print_row("changes of the level", run, n, put_changes);
	print_row("strangers' messages put off", run, n, put_refused);
	if (run[0].result->offered > 0)
		print_row("of those refused then, again", run, n, put_again);
	print_row("connections over a limit", run, n, put_limited);
	print_row("blocks", run, n, put_blocks);
	print_row("not blocked, for the budget", run, n, put_over_budget);
	print_row("connections turned away", run, n, put_turned_away);
	print_row("clients turned away", run, n, put_clients);
	print_row("of them with accepted mail", run, n, put_harmed);
	for (size_t i = 0; i < n; i++) {
		if (run[i].result->episodes + run[i].result->clients == 0 && run[i].untold == 0)
			continue;
		(void)printf("\n  %s\n", run[i].path);
		print_untold(run[i].untold);
		print_episodes(&run[i]);
		print_worst(&run[i]);
	}
}

/* --- the command ----------------------------------------------------------------------------- */

static int
tell_errors(const struct config_errors *e)
{
	for (unsigned i = 0; i < e->n && i < CONFIG_ERRORS_MAX; i++)
		(void)fprintf(stderr, "%s\n", e->e[i].text);
	return CLI_USAGE;
}

static int64_t
uid_of_qmaild(void)
{
	const struct passwd *pw = getpwnam("qmaild");

	return pw != NULL ? (int64_t)pw->pw_uid : -1;
}

static int
prepare(struct cli *cli, struct run run[2], size_t *ret_n, int64_t smtp_uid)
{
	static struct config old;
	static struct config_errors errors;

	/* Without a file that is named, the defaults are what there is to try. */
	if (!cli->config_ok
		&& (strcmp(cli->config_path, CONFIG_DEFAULT_PATH) != 0 || access(cli->config_path, F_OK) == 0))
		return tell_errors(&cli->errors);
	run[0].path = cli->config_ok ? cli->config_path : "the defaults";
	*ret_n = 1;
	if (cli->compare != NULL) {
		run[1].path = cli->compare;
		*ret_n = 2;
		if (config_load(cli->compare, -1, &old, &errors) < 0)
			return tell_errors(&errors);
	}
	for (size_t i = 0; i < *ret_n; i++) {
		const struct config *c = i == 0 ? &cli->config : &old;

		run[i].untold = replay_untold(c);
		if (replay_new(c, smtp_uid, &run[i].replay) < 0)
			return cli_fail(CLI_TEMPORARY, "replay: no memory");
	}
	return CLI_OK;
}

int
replay_run(struct cli *cli, int argc, char **argv)
{
	struct run run[2] = { { .path = NULL }, { .path = NULL } };
	struct replaylog *log = NULL;
	size_t n = 0;
	struct err why = { "" };
	int64_t smtp_uid = uid_of_qmaild();

	if (argc == 0)
		return cli_fail(CLI_USAGE, "replay: allowed is replay LOG... [--config NEW] [--compare OLD]");
	int code = prepare(cli, run, &n, smtp_uid);
	if (code == CLI_OK && replaylog_open(argv, (size_t)argc, &log, &why) < 0)
		code = cli_fail(CLI_USAGE, "replay: %s", why.text);
	if (code == CLI_OK) {
		mono_t began = mono_now();

		if (play(log, run, n, &why) < 0)
			code = cli_fail(CLI_USAGE, "replay: %s", why.text);
		else if (run[0].result->lines + run[0].result->archived == 0)
			code = cli_fail(CLI_NO, "replay: no line was understood");
		else if (cli->json)
			print_json(log, run, n, mono_since(began, mono_now()));
		else
			print_text(log, run, n, mono_since(began, mono_now()), smtp_uid);
	}
	replaylog_close(log);
	replay_free(run[0].replay);
	replay_free(run[1].replay);
	return code;
}
