/* SPDX-License-Identifier: ISC */
/* explain - why was somebody refused, read from the database beside the daemon */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/cli.h"
#include "controller/store.h"
#include "lib/num.h"

#define REFUSALS_SHOWN 20
#define OFFENCES_SHOWN 10

static json_t *
refusal_json(const struct store_refusal *r)
{
	return json_pack("{s:o, s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:s}",
		"at", past_wall(r->at), "episode", r->episode, "rule", check_name(r->check),
		"stage", stage_name(r->stage), "code", r->code, "pid", (json_int_t)r->pid,
		"ip", r->ip, "helo", r->helo, "sender", r->sender, "recipient", r->recipient);
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
		(void)printf("  %s  %s at %s, %lld: %s helo %s from <%s>, qmail-smtpd %lld, %s %s\n", field(r, "at"),
			field(r, "rule"), field(r, "stage"), (long long)json_integer_value(json_object_get(r, "code")),
			field(r, "ip"), field(r, "helo"), json_string_value(json_object_get(r, "sender")),
			(long long)json_integer_value(json_object_get(r, "pid")),
			strcmp(field(r, "rule"), check_name(CHECK_OVERLOAD)) == 0 ? "episode"
			: strcmp(field(r, "rule"), check_name(CHECK_BOUNCESHIELD)) == 0 ? "storm" : "offence",
			field(r, "episode"));
}

int
explain_refusals(struct store *s, const char *id, json_t *refusals, struct err *why)
{
	return store_refusals(s, id, NULL, REFUSALS_SHOWN, add_refusal, refusals, why);
}

void
explain_print_refusals(const json_t *refusals)
{
	print_refusals(refusals);
}

static json_t *
episode_json(const struct store_episode *e)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:I}", "id", e->id, "rule", "overload",
		"began", past_wall(e->began), "ended", past_wall(e->ended), "peak", level_name(e->peak),
		"reason", e->reason, "refused", (json_int_t)e->refused);
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

/* --- offences -------------------------------------------------------------------------------- */

static json_t *
offence_json(const struct store_offence *o)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:s,"
		" s:s, s:s, s:s, s:s}",
		"id", o->id, "rule", check_name(o->check), "stage", stage_name(o->stage), "code", o->code,
		"class", o->class, "pattern", o->pattern, "value", o->value, "prefix", (int)o->prefix,
		"n", (json_int_t)o->n, "max", (json_int_t)o->max,
		"window_ms", (json_int_t)o->window_ms,
		"clear_ms", (json_int_t)o->clear_ms,
		"first", past_wall(o->first), "last", past_wall(o->last), "ended", past_wall(o->ended),
		"refused", (json_int_t)o->refused, "ip", o->ip, "helo", o->helo, "sender", o->sender,
		"recipient", o->recipient, "user", o->user);
}

static bool
add_offence(const struct store_offence *o, void *arg)
{
	(void)json_array_append_new(arg, offence_json(o));
	return true;
}

static long long
number(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* "192.0.2.1", "2001:db8::1 and its /64". */
static void
print_who(const json_t *o)
{
	(void)printf("%s", field(o, "value"));
	if (number(o, "prefix") != 0)
		(void)printf(" and its /%lld", number(o, "prefix"));
}

static void
print_limit(const json_t *o)
{
	char window[NUM_TEXT_MAX];

	num_duration_format(number(o, "window_ms"), window);
	if (strcmp(field(o, "rule"), check_name(CHECK_VALIDRCPT)) == 0)
		(void)printf("%s: the list has the domain, and not the address", field(o, "pattern"));
	else if (strcmp(field(o, "rule"), check_name(CHECK_LOCALPARTS)) == 0)
		(void)printf("localparts: the local part matches %s", field(o, "pattern"));
	else if (number(o, "window_ms") != 0)
		(void)printf("class %s, pattern %s: %lld in %s", field(o, "class"), field(o, "pattern"),
			number(o, "max"), window);
	else
		(void)printf("pattern %s: %lld connections held at once", field(o, "pattern"), number(o, "max"));
}

/* The time is counted from the last mark, and not from the end that the daemon wrote: it may have been stopped
 * before. */
static void
print_end(const struct store_offence *o)
{
	char at[CLOCK_WALL_TEXT_MAX], span[NUM_TEXT_MAX];

	if (o->check == CHECK_VALIDRCPT || o->check == CHECK_LOCALPARTS) {
		(void)printf("ends    each recipient is judged by itself; "
			"`spillway addresses check ADDRESS` tells how\n");
		return;
	}
	if (o->window_ms == 0) {
		(void)printf("ends    as soon as one of the connections does\n");
		return;
	}
	num_age_format(o->clear_ms + 999, span); /* rounded up: a promise */
	wall_format((wall_t) { o->last.ms + o->clear_ms }, at);
	if (o->last.ms + o->clear_ms > wall_now().ms)
		(void)printf("ends    %s: admitted again after %s without marks\n", at, span);
	else
		(void)printf("ends    admitted again since %s, after %s without marks\n", at, span);
}

static void
print_offence(const struct store_offence *o, const json_t *refusals)
{
	json_t *j = offence_json(o);
	char first[CLOCK_WALL_TEXT_MAX], last[CLOCK_WALL_TEXT_MAX];

	wall_format(o->first, first);
	wall_format(o->last, last);
	(void)printf("%s: ", o->id);
	print_who(j);
	(void)printf(" was refused with %u at %s (rule %s)\nlimit   ", o->code, stage_name(o->stage),
		check_name(o->check));
	print_limit(j);
	(void)printf("; the newest count is %lld\n", number(j, "n"));
	(void)printf("who     %s helo %s from <%s>%s%s%s%s, the first time\n", or_unknown(o->ip), or_unknown(o->helo),
		o->sender, o->recipient[0] != '\0' ? " to " : "", o->recipient, o->user[0] != '\0' ? ", user " : "",
		o->user);
	(void)printf("first   %s\nlast    %s\n", first, last);
	print_end(o);
	(void)printf("refused %llu commands", (unsigned long long)o->refused);
	(void)printf(json_array_size(refusals) > 0 ? "; the last of those kept:\n" : "\n");
	print_refusals(refusals);
	json_decref(j);
}

static void
print_offences(const json_t *offences)
{
	size_t i;
	json_t *o;

	json_array_foreach(offences, i, o) {
		(void)printf("  %s  ", field(o, "id"));
		print_who(o);
		(void)printf(" over ");
		print_limit(o);
		(void)printf("; %lld refused from %s to %s\n", number(o, "refused"), field(o, "first"),
			field(o, "last"));
	}
}

/* --- blocks ---------------------------------------------------------------------------------- */

static const char *const kinds[BLOCK_KINDS] = {
	[BLOCK_DENY] = "deny", [BLOCK_EXPLAIN] = "explain", [BLOCK_THROTTLE] = "throttle",
};

static bool
add_block(const struct store_block *b, void *arg)
{
	char prefix[IP_PREFIX_TEXT_MAX];

	ip_prefix_format(&b->prefix, prefix);
	(void)json_array_append_new(arg,
		json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}",
			"prefix", prefix, "kind", kinds[b->kind], "id", b->id,
			"began", past_wall(b->began), "until", past_wall(b->until), "ended", past_wall(b->ended),
			"who", b->who, "reason", b->reason, "by_person", b->by_person, "wide", b->is_wide,
			"n", (json_int_t)b->n, "max", (json_int_t)b->max, "step", (json_int_t)b->step,
			"times", (json_int_t)b->times, "length_ms", (json_int_t)b->length_ms));
	return true;
}

static void
print_blocks(const json_t *blocks)
{
	size_t i;
	json_t *b;

	json_array_foreach(blocks, i, b) {
		bool over = json_is_string(json_object_get(b, "ended"));

		(void)printf("%s: %s %s [%s]\n", field(b, "prefix"), over ? "was blocked," : "is blocked,",
			field(b, "kind"), field(b, "id"));
		if (json_is_true(json_object_get(b, "by_person")))
			(void)printf("  by     %s: %s\n", field(b, "who"), field(b, "reason"));
		else
			(void)printf("  by     rule %s, %lld/%lld; step %lld, %lld times before\n",
				field(b, "who"), number(b, "n"), number(b, "max"), number(b, "step"),
				number(b, "times"));
		(void)printf("  from   %s\n  until  %s%s\n", field(b, "began"), field(b, over ? "ended" : "until"),
			over ? "" : "; then it ends by itself, `spillway blocks` tells what comes next");
	}
}

/* --- what is asked for ----------------------------------------------------------------------- */

static bool
take_offence(const struct store_offence *o, void *arg)
{
	*(struct store_offence *)arg = *o;
	return false;
}

/* The id of an episode or of an offence.  Returns -ENOENT when it is none. */
static int
explain_id(const struct cli *cli, struct store *s, const char *id, json_t *refusals, struct err *why)
{
	struct store_offence o = { .id = "" };
	struct store_episode e;
	json_t *blocks = json_array();
	int r = store_find_episode(s, id, &e, why);
	bool is_episode = r == 0;

	if (r == -ENOENT)
		r = store_offences(s, id, NULL, 1, take_offence, &o, why);
	if (r == 0 && !is_episode)
		r = store_find_blocks(s, id, NULL, add_block, blocks, why);
	if (r == 0 && !is_episode && o.id[0] == '\0' && json_array_size(blocks) == 0)
		r = -ENOENT;
	if (r == 0)
		r = store_refusals(s, id, NULL, REFUSALS_SHOWN, add_refusal, refusals, why);
	if (r == 0 && cli->json) {
		json_t *all = json_pack("{s:O}", "refusals", refusals);

		if (is_episode)
			(void)json_object_set_new(all, "episode", episode_json(&e));
		else
			(void)json_object_set_new(all, "offence", o.id[0] != '\0' ? offence_json(&o) : json_null());
		if (!is_episode)
			(void)json_object_set(all, "blocks", blocks);
		cli_print_json(all);
		json_decref(all);
	} else if (r == 0 && is_episode) {
		print_episode(&e, refusals);
	} else if (r == 0) {
		if (o.id[0] != '\0')
			print_offence(&o, refusals);
		print_blocks(blocks);
	}
	json_decref(blocks);
	return r;
}

static int
explain_address(const struct cli *cli, struct store *s, const char *address, json_t *refusals, struct err *why)
{
	json_t *offences = json_array(), *blocks = json_array();
	int r = store_offences(s, NULL, address, OFFENCES_SHOWN, add_offence, offences, why);
	struct ip ip;

	if (r == 0)
		r = store_refusals(s, NULL, address, REFUSALS_SHOWN, add_refusal, refusals, why);
	if (r == 0 && ip_parse(address, &ip) == 0)
		r = store_find_blocks(s, NULL, &ip, add_block, blocks, why);
	bool any = json_array_size(offences) > 0 || json_array_size(refusals) > 0 || json_array_size(blocks) > 0;
	if (r == 0 && cli->json) {
		json_t *all = json_pack("{s:s, s:O, s:O, s:O}", "ip", address, "blocks", blocks,
			"offences", offences, "refusals", refusals);

		cli_print_json(all);
		json_decref(all);
	} else if (r == 0 && !any) {
		r = err_set(why, -ENODATA, "%s: no refusal is on record", address);
	} else if (r == 0) {
		print_blocks(blocks);
		if (json_array_size(offences) > 0)
			(void)printf("%s: over a limit, newest first:\n", address);
		print_offences(offences);
		if (json_array_size(refusals) > 0)
			(void)printf("%s: refused, newest first:\n", address);
		print_refusals(refusals);
	}
	json_decref(offences);
	json_decref(blocks);
	return r;
}

/* The name of a user who was over a limit. */
static int
explain_user(const struct cli *cli, struct store *s, const char *user, struct err *why)
{
	json_t *offences = json_array();
	int r = store_offences(s, NULL, user, OFFENCES_SHOWN, add_offence, offences, why);

	if (r == 0 && json_array_size(offences) == 0) {
		r = err_set(why, -ENOENT, "nothing is known of \"%s\"", user);
	} else if (r == 0 && cli->json) {
		json_t *all = json_pack("{s:s?, s:O}", "user", user, "offences", offences);

		cli_print_json(all);
		json_decref(all);
	} else if (r == 0) {
		(void)printf("%s: over a limit, newest first:\n", user);
		print_offences(offences);
	}
	json_decref(offences);
	return r;
}

static int
explain(struct cli *cli, struct store *s, const char *what)
{
	json_t *refusals = json_array();
	char address[IP_TEXT_MAX];
	struct err why;
	struct ip ip;
	int r;

	if (ip_parse(what, &ip) == 0) {
		ip_format(&ip, address);
		r = explain_address(cli, s, address, refusals, &why);
	} else {
		r = storms_explain(cli, s, what, refusals, &why);
		if (r == -ENOENT)
			r = explain_id(cli, s, what, refusals, &why);
		if (r == -ENOENT)
			r = explain_user(cli, s, what, &why);
	}
	json_decref(refusals);
	if (r == -ENOENT && strchr(what, '@') != NULL) {
		int code = refusals_about(cli, what);

		if (code != -ENOENT)
			return code;
	}
	if (r == -ENOENT)
		return cli_fail(CLI_NO, "%s; allowed: the id in a reply or in the log, an IP address, a mail address, "
			"or a user", why.text);
	if (r == -ENODATA)
		return cli_fail(CLI_NO, "%s", why.text);
	return r < 0 ? cli_fail(CLI_TEMPORARY, "%s", why.text) : CLI_OK;
}

int
explain_run(struct cli *cli, int argc, char **argv)
{
	struct store *s;

	if (argc != 1)
		return cli_fail(CLI_USAGE,
			"explain: allowed is explain ID, explain ADDRESS, explain USER, or explain MAILADDRESS");
	int code = past_open(cli, &s);
	if (code != 0)
		return code;
	code = explain(cli, s, argv[0]);
	store_close(s);
	return code;
}
