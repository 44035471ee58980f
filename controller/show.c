/* SPDX-License-Identifier: ISC */
/* show - what the daemon says, for people */
#include <stdio.h>
#include <string.h>

#include "controller/cli.h"
#include "lib/num.h"

#define MIB 1048576.0

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

static bool
is_true(const json_t *j, const char *key)
{
	return json_is_true(json_object_get(j, key));
}

static const char *
age(json_int_t ms, char buf[NUM_TEXT_MAX])
{
	num_age_format(ms, buf);
	return buf;
}

static void
print_level(const json_t *s)
{
	char span[NUM_TEXT_MAX];

	(void)printf("level     %s%s for %s (since %s)\n", text_of(s, "level"),
		is_true(s, "forced") ? ", forced," : ",", age(number_of(s, "since_ms"), span), text_of(s, "since"));
	if (text_of(s, "why")[0] != '\0')
		(void)printf("why       %s\n", text_of(s, "why"));
	if (text_of(s, "waiting")[0] != '\0')
		(void)printf("waiting   %s\n", text_of(s, "waiting"));
}

static void
print_gate(const json_t *s)
{
	const char *gate = text_of(s, "gate");

	if (is_true(s, "pinned"))
		(void)printf("gate      closed by an operator's control/overloaded");
	else if (strcmp(gate, "reopening") == 0)
		(void)printf("gate      reopening, %.1f%% of strangers admitted",
			(double)number_of(s, "admitted_permille") / 10);
	else
		(void)printf("gate      %s", strcmp(gate, "open") == 0 ? "open to all" : "closed to strangers");
	if (text_of(s, "episode")[0] != '\0')
		(void)printf("; episode %s, %lld refused in it", text_of(s, "episode"),
			(long long)number_of(s, "refused_in_episode"));
	(void)printf("\n");
}

static void
print_override(const json_t *o)
{
	char span[NUM_TEXT_MAX];

	if (!json_is_object(o))
		return;
	(void)printf("override  %s for another %s (until %s) by %s: %s%s\n", text_of(o, "level"),
		age(number_of(o, "remaining_ms"), span), text_of(o, "until"), text_of(o, "who"),
		text_of(o, "reason"), is_true(o, "durable") ? "" : " [not yet written to disk]");
}

static void
print_readings(const json_t *readings)
{
	const char *name;
	json_t *r;

	json_object_foreach((json_t *)(uintptr_t)readings, name, r)
		if (!is_true(r, "off"))
			(void)printf("          %-16s %s\n", name, text_of(r, "text"));
}

static void
print_homes(const json_t *homes)
{
	size_t i;
	json_t *h;

	json_array_foreach(homes, i, h) {
		const char *error = text_of(h, "error");

		(void)printf("flag      %s: %s%s%s\n", text_of(h, "home"), text_of(h, "flag"),
			error[0] != '\0' ? ", " : "", error);
	}
}

static void
print_blocks(const json_t *b)
{
	size_t i;
	json_t *a;

	if (number_of(b, "count") == 0 && json_array_size(json_object_get(b, "actions")) == 0)
		return;
	(void)printf("blocks    %lld in force, %lld by persons%s%s%s\n", (long long)number_of(b, "count"),
		(long long)number_of(b, "by_person"), is_true(b, "dry_run") ? "; dry run: nothing is written" : "",
		is_true(b, "over_budget") ? "; no new ones: " : "", text_of(b, "budget"));
	json_array_foreach(json_object_get(b, "actions"), i, a)
		(void)printf("          %s: %s%s%s; %lld in force\n", text_of(a, "name"), is_true(a, "ok")
		? "ok" : "NOT WRITTEN",
			text_of(a, "text")[0] != '\0' ? ": " : "", text_of(a, "text"), (long long)number_of(a, "ours"));
}

static void
print_storms(const json_t *s)
{
	if (number_of(s, "begun") == 0 && number_of(s, "count") == 0)
		return;
	(void)printf("storms    %lld of bounces now; %lld bounces refused, %lld put off, %lld let in since the start\n",
		(long long)number_of(s, "count"), (long long)number_of(s, "refused"),
		(long long)number_of(s, "deferred"),
		(long long)(number_of(s, "expected") + number_of(s, "retried")));
}

static void
print_recipients(const json_t *r)
{
	if (text_of(r, "file")[0] == '\0')
		return;
	(void)printf("addresses ");
	if (is_true(r, "read"))
		(void)printf("%lld entries of %lld domains%s; %lld recipients unknown since the start\n",
			(long long)number_of(r, "entries"), (long long)number_of(r, "domains"),
			number_of(r, "odd_lines") > 0 ? ", and lines that are none" : "",
			(long long)number_of(r, "unknown"));
	else
		(void)printf("NO LIST: %s: %s; nobody is judged by it\n", text_of(r, "file"),
			text_of(r, "trouble")[0] != '\0' ? text_of(r, "trouble") : "being read");
}

static void
print_limits(const json_t *l)
{
	const json_t *asked = json_object_get(l, "asked");
	json_int_t refused = 0;
	const char *check;
	json_t *n;

	json_object_foreach(json_object_get(l, "refused"), check, n)
		refused += json_integer_value(n);
	(void)printf("limits    %lld questions answered, %lld refused; now %lld over a limit, %lld connections held,"
		" %lld asleep\n",
		(long long)number_of(asked, "answered"), (long long)refused, (long long)number_of(l, "offences"),
		(long long)number_of(json_object_get(l, "held"), "now"), (long long)number_of(asked, "sleeping"));
}

static void
print_daemon(const json_t *s)
{
	const json_t *store = json_object_get(s, "store"), *config = json_object_get(s, "config");
	const json_t *counters = json_object_get(json_object_get(s, "limits"), "kept");
	char span[NUM_TEXT_MAX];

	(void)printf("config    %s: %s%s\n", text_of(config, "path"), is_true(config, "ok") ? "ok" :
		"the previous one is kept, for the file is wrong:\n          ", text_of(config, "error"));
	(void)printf("store     %s%s%s; %lld rows written, %lld dropped\n", is_true(store, "ok") ? "ok" : "not written",
		text_of(store, "text")[0] != '\0' ? ": " : "", text_of(store, "text"),
		(long long)number_of(store, "rows"), (long long)number_of(store, "dropped"));
	if (!is_true(counters, "ok"))
		(void)printf("counters  a restart will forget the last ones: %s\n", text_of(counters, "text"));
	(void)printf("daemon    version %s, pid %lld, up %s; %lld refused for load since then\n", text_of(s, "version"),
		(long long)number_of(s, "pid"), age(number_of(s, "uptime_ms"), span),
		(long long)number_of(s, "refused"));
}

int
show_status(struct cli *cli, int argc, char **argv)
{
	int code = CLI_OK;

	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "status: takes no arguments");
	json_t *s = client_ask(cli, json_pack("{s:s}", "command", "status"), &code);
	if (s == NULL)
		return code;
	if (cli->json) {
		cli_print_json(s);
	} else {
		print_level(s);
		print_gate(s);
		print_override(json_object_get(s, "override"));
		(void)printf("readings\n");
		print_readings(json_object_get(s, "readings"));
		print_homes(json_object_get(s, "homes"));
		print_limits(json_object_get(s, "limits"));
		print_blocks(json_object_get(s, "blocks"));
		print_storms(json_object_get(s, "storms"));
		print_recipients(json_object_get(s, "recipients"));
		print_daemon(s);
	}
	json_decref(s);
	return CLI_OK;
}

static void
print_probe(const json_t *p, const json_t *readings)
{
	const json_t *names = json_object_get(p, "readings"), *facts = json_object_get(p, "facts"), *v;
	char span[NUM_TEXT_MAX];
	size_t i;

	(void)printf("%s: %s\n", text_of(p, "name"), text_of(p, "summary"));
	if (!is_true(p, "ok"))
		(void)printf("  UNKNOWN: %s\n", text_of(p, "error"));
	json_array_foreach(names, i, v)
		(void)printf("  %-16s %s\n", json_string_value(v),
			text_of(json_object_get(readings, json_string_value(v)), "text"));
	json_array_foreach(facts, i, v)
		(void)printf("  (%s: %s)\n", text_of(v, "name"), text_of(v, "text"));
	(void)printf("  (looked %lld times, last %s ago, %lld failures; cpu %.1f ms, recounts %.1f ms,"
		" longest %.1f ms)\n",
		(long long)number_of(p, "looks"), age(number_of(p, "age_ms"), span),
		(long long)number_of(p, "failures"), (double)number_of(p, "cpu_us") / 1000,
		(double)number_of(p, "recount_cpu_us") / 1000, (double)number_of(p, "longest_us") / 1000);
}

int
show_probes(struct cli *cli, int argc, char **argv)
{
	int code = CLI_OK;
	size_t i;
	json_t *p;

	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "probes: takes no arguments");
	json_t *s = client_ask(cli, json_pack("{s:s}", "command", "probes"), &code);
	if (s == NULL)
		return code;
	if (cli->json)
		cli_print_json(s);
	else
		json_array_foreach(json_object_get(s, "probes"), i, p)
			print_probe(p, json_object_get(s, "readings"));
	json_decref(s);
	return CLI_OK;
}

/* --- limits ---------------------------------------------------------------------------------- */

static void
print_class(const json_t *c)
{
	char span[NUM_TEXT_MAX];
	json_t *key;
	size_t i;

	(void)printf("class %s, mode %s\n", text_of(c, "name"), text_of(c, "mode"));
	json_array_foreach(json_object_get(c, "keys"), i, key) {
		num_duration_format(number_of(key, "window_ms"), span);
		if (number_of(key, "count") < 0)
			(void)printf("  %-30s not limited\n", text_of(key, "pattern"));
		else
			(void)printf("  %-30s %lld in %s\n", text_of(key, "pattern"),
				(long long)number_of(key, "count"), span);
	}
}

static void
print_counters(const char *who, const json_t *s)
{
	(void)printf("%s: %lld keys in %.1f of %.1f MiB\n", who, (long long)number_of(s, "keys"),
		(double)number_of(s, "memory_used") / MIB, (double)number_of(s, "memory") / MIB);
	(void)printf("  %lld marks since the start, %lld of them over their limit\n", (long long)number_of(s, "marks"),
		(long long)number_of(s, "over"));
	if (number_of(s, "evicted") + number_of(s, "shared") + number_of(s, "lost_marks") > 0)
		(void)printf("  full: %lld keys forgotten, %lld marks on shared keys, %lld marks forgotten;"
			     " service.limits_memory is small for this\n",
			(long long)number_of(s, "evicted"), (long long)number_of(s, "shared"),
			(long long)number_of(s, "lost_marks"));
}

int
show_limits(struct cli *cli, int argc, char **argv)
{
	int code = CLI_OK;
	size_t i;
	json_t *c;

	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "limits: takes no arguments");
	json_t *s = client_ask(cli, json_pack("{s:s}", "command", "limits"), &code);
	if (s == NULL)
		return code;
	const json_t *counted = json_object_get(s, "counted"), *clients = json_object_get(s, "clients");
	if (cli->json) {
		cli_print_json(s);
	} else {
		json_array_foreach(json_object_get(s, "classes"), i, c)
			print_class(c);
		print_counters("counted by plugins", json_object_get(counted, "plugins"));
		print_counters("counted by clients of rate.sock", json_object_get(counted, "clients"));
		(void)printf("clients: %lld connected, %lld lines answered, %lld dropped\n",
			(long long)number_of(clients, "clients"), (long long)number_of(clients, "answered"),
			(long long)number_of(clients, "dropped"));
	}
	json_decref(s);
	return CLI_OK;
}
