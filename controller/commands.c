/* SPDX-License-Identifier: ISC */
/*
 * commands - what can be asked of the engine: one table of name, right, and handler
 *
 * A request is {"command": NAME, ...}.  A reply has "ok"; when that is false "error", a sentence, and "code",
 * the exit code that `spillway` ends with: 1 no, 100 wrong request or no right, 111 can't be done now.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"
#include "lib/version.h"

#define RATE_BLOCK_COST (RATE_BLOCK + 4) /* with its part of the index */

struct call {
	const json_t *request;
	const char *who; /* "uid 1000" */
	uint64_t client;
};

struct command {
	const char *name;
	bool changes; /* only root and operators may */
	json_t *(*run)(struct engine *e, const struct call *call); /* NULL: the reply comes later */
};

static json_t *
refuse(int code, const char *text)
{
	return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", code, "error", text);
}

/* --- status ---------------------------------------------------------------------------------- */

static json_t *
describe_wall(wall_t t)
{
	char text[CLOCK_WALL_TEXT_MAX];

	wall_format(t, text);
	return json_string(text);
}

static json_t *
describe_reason(const struct reason *r)
{
	char text[REASON_TEXT_MAX];

	if (r->kind == REASON_NONE)
		return json_null();
	reason_format(r, text);
	return json_string(text);
}

static const char *
unit_name(enum reading_unit unit)
{
	static const char *const names[] = {
		[UNIT_COUNT] = "count", [UNIT_SECONDS] = "seconds", [UNIT_RATE] = "per second",
		[UNIT_MINUTE] = "per minute",
		[UNIT_PERCENT] = "percent", [UNIT_BYTES] = "bytes", [UNIT_PLAIN] = "",
	};

	return names[unit];
}

static json_t *
describe_reading(const struct engine *e, enum reading_id id, mono_t now)
{
	struct reading_value v = readings_get(&e->readings, id, now);
	const char *unit = unit_name(reading_info[id].unit);
	char text[READING_TEXT_MAX];

	if (!v.known)
		return json_pack("{s:n, s:s, s:s, s:b}", "value", "unit", unit, "text", "unknown", "off",
			watch_is_off(e->watch, id));
	reading_format(reading_info[id].unit, v.value, text);
	return json_pack("{s:f, s:s, s:s, s:I}", "value", v.value, "unit", unit, "text", text, "age_ms",
		(json_int_t)mono_since(e->readings.r[id].at, now));
}

static json_t *
describe_readings(const struct engine *e, mono_t now)
{
	json_t *all = json_object();

	for (int i = 0; i < READING_COUNT; i++)
		(void)json_object_set_new(all, reading_info[i].name, describe_reading(e, (enum reading_id)i, now));
	return all;
}

static json_t *
describe_flags(const struct engine *e)
{
	static const char *const names[] = {
		[PRESENCE_UNKNOWN] = "unknown", [PRESENCE_NONE] = "none", [PRESENCE_OURS] = "ours",
		[PRESENCE_FOREIGN] = "pin",
	};
	json_t *all = json_array();

	for (unsigned i = 0; i < e->config.qmail.homes.n; i++)
		(void)json_array_append_new(all, json_pack("{s:s, s:s, s:s?}", "home", e->config.qmail.homes.s[i],
			"flag", names[e->flag[i].presence], "error",
			e->flag[i].error < 0 ? strerror(-e->flag[i].error) : NULL));
	return all;
}

static const char *
gate_word(const struct engine *e)
{
	static const char *const names[] = {
		[GATE_OPEN] = "open", [GATE_CLOSED] = "closed", [GATE_REOPENING] = "reopening",
	};

	return engine_is_pinned(e) ? "closed" : names[e->stance.gate];
}

static json_t *
describe_config(const struct engine *e)
{
	json_t *path = json_string(e->config_path);

	if (path == NULL)
		path = json_string("(not UTF-8)");
	return json_pack("{s:o, s:b, s:s?}", "path", path, "ok", e->reload.ok, "error",
		e->reload.ok ? NULL : e->reload.error);
}

static json_t *
run_status(struct engine *e, const struct call *call)
{
	mono_t now = turn_now(&e->turn);
	wall_t since = { wall_now().ms - mono_since(e->stance.since, now) };
	json_t *override = override_describe(e);

	(void)call;
	return json_pack(
		"{s:b, s:s, s:i, s:I, s:s, s:o, s:I, s:b, s:o, s:o, s:s, s:i, s:b, s:s?, s:I, s:I, s:o, s:o, s:o,"
		" s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"ok", 1, "version", SPILLWAY_VERSION, "pid", (int)getpid(),
		"uptime_ms", (json_int_t)mono_since(e->started, now),
		"level", level_name(e->stance.level), "since", describe_wall(since),
		"since_ms", (json_int_t)mono_since(e->stance.since, now), "forced", e->stance.forced,
		"why", describe_reason(&e->stance.why), "waiting", describe_reason(&e->stance.waiting),
		"gate", gate_word(e), "admitted_permille", engine_is_pinned(e) ? 0 : (int)e->stance.admit,
		"pinned", engine_is_pinned(e), "episode", e->episode.on ? e->episode.id : NULL,
		"refused", (json_int_t)e->refused, "refused_in_episode",
		(json_int_t)(e->episode.on ? e->episode.refused : 0),
		"override", override != NULL ? override : json_null(),
		"readings", describe_readings(e, now), "homes", describe_flags(e),
		"store", journal_describe(e->journal), "config", describe_config(e), "limits", limits_describe(e),
		"blocks", blocking_describe(e), "storms", storming_describe(e), "recipients", rcptcheck_describe(e),
		"events", ask_describe(e->ask),
		"control", control_describe(e->control));
}

static json_t *
run_probes(struct engine *e, const struct call *call)
{
	(void)call;
	return json_pack("{s:b, s:o, s:o}", "ok", 1, "probes", watch_describe(e->watch), "readings",
		describe_readings(e, turn_now(&e->turn)));
}

/* --- changes --------------------------------------------------------------------------------- */

/* The text of a person, for the log and the history: printable, cut. */
static void
take_reason(const struct call *call, const char *otherwise, char ret[STORE_TEXT_MAX])
{
	const char *text = json_string_value(json_object_get(call->request, "reason"));
	struct text t = text_in(ret, STORE_TEXT_MAX);

	if (text == NULL || text[0] == '\0')
		text = otherwise;
	text_put_printable(&t, text, strlen(text), STORE_TEXT_MAX / 4 - 1);
}

/* "for_ms", a number; OVERRIDE_DEFAULT_MS when missing, -1 when out of range. */
static int64_t
take_span(const struct call *call)
{
	const json_t *v = json_object_get(call->request, "for_ms");

	if (v == NULL)
		return OVERRIDE_DEFAULT_MS;
	if (!json_is_integer(v) || json_integer_value(v) < 1000 || json_integer_value(v) > OVERRIDE_MAX_MS)
		return -1;
	return json_integer_value(v);
}

static json_t *
force(struct engine *e, const struct call *call, const char *word, const char *otherwise)
{
	char reason[STORE_TEXT_MAX];
	int64_t span = take_span(call);
	int level = level_find(word);

	take_reason(call, otherwise, reason);
	if (span < 0)
		return refuse(100, "for: out of range; allowed: 1s to 7d");
	if (strcmp(word, "auto") == 0)
		override_clear(e, call->who, reason, call->client);
	else if (level < 0)
		return refuse(100, "level: not one of the words; allowed: normal, busy, overloaded, critical, auto");
	else
		override_set(e, (enum level)level, span, call->who, reason, call->client);
	return NULL;
}

static json_t *
run_force(struct engine *e, const struct call *call)
{
	const char *word = json_string_value(json_object_get(call->request, "level"));

	return force(e, call, word != NULL ? word : "", "no reason given");
}

static json_t *
run_neutral(struct engine *e, const struct call *call)
{
	return force(e, call, "normal", "neutral");
}

static json_t *
run_reload(struct engine *e, const struct call *call)
{
	reload_begin(e, call->client);
	return NULL;
}

/* --- blocks ---------------------------------------------------------------------------------- */

static json_t *
run_block(struct engine *e, const struct call *call)
{
	return blocking_put(e, call->request, call->who, call->client);
}

static json_t *
run_unblock(struct engine *e, const struct call *call)
{
	return blocking_remove(e, call->request, call->who, call->client);
}

static json_t *
run_blocks(struct engine *e, const struct call *call)
{
	return blocking_list(e, call->request);
}

static json_t *
run_allow(struct engine *e, const struct call *call)
{
	return blocking_allow(e, call->request, call->who, call->client);
}

static json_t *
run_allowed(struct engine *e, const struct call *call)
{
	return blocking_allowed(e, call->request);
}

/* --- storms ---------------------------------------------------------------------------------- */

static json_t *
run_storms(struct engine *e, const struct call *call)
{
	return storming_list(e, call->request);
}

static json_t *
run_release(struct engine *e, const struct call *call)
{
	return storming_release(e, call->request, call->who, call->client);
}

static json_t *
run_address(struct engine *e, const struct call *call)
{
	return rcptcheck_look_up(e, call->request);
}

/* --- limits ---------------------------------------------------------------------------------- */

static const char *const mode_names[] = {
	[RATE_WINDOW] = "window", [RATE_LEAKY] = "leaky", [RATE_GCRA] = "gcra",
};

static json_t *
describe_class(const struct rate_cfg *cfg, const struct rate_class *c)
{
	json_t *keys = json_array();

	for (unsigned i = c->first; i < c->first + c->n; i++) {
		const struct rate_limit *l = &cfg->limit[i];
		json_t *pattern = json_string(l->pattern);

		(void)json_array_append_new(keys, json_pack("{s:o, s:I, s:I}",
			"pattern", pattern != NULL ? pattern : json_string("(not UTF-8)"),
			"window_ms", (json_int_t)l->window_ms, "count", (json_int_t)l->count));
	}
	return json_pack("{s:s, s:s, s:o}", "name", c->name, "mode", mode_names[c->mode], "keys", keys);
}

static json_t *
describe_counters(const struct rate *rate)
{
	struct rate_stats s = rate_stats(rate);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "keys", (json_int_t)s.keys,
		"memory_used", (json_int_t)(s.blocks_used * RATE_BLOCK_COST),
		"memory", (json_int_t)(s.blocks * RATE_BLOCK_COST), "marks", (json_int_t)s.marks,
		"over", (json_int_t)s.over, "evicted", (json_int_t)s.evicted, "shared", (json_int_t)s.shared,
		"lost_marks", (json_int_t)s.lost_marks);
}

static json_t *
run_limits(struct engine *e, const struct call *call)
{
	const struct rate_cfg *cfg = limits_in_force(e);
	json_t *classes = json_array();

	(void)call;
	for (unsigned i = 0; i < cfg->n_classes; i++)
		(void)json_array_append_new(classes, describe_class(cfg, &cfg->class[i]));
	return json_pack("{s:b, s:o, s:{s:o, s:o}, s:o}", "ok", 1, "classes", classes, "counted",
		"plugins", describe_counters(e->limits.rate), "clients", describe_counters(e->limits.clients),
		"clients", rateserve_describe(e->rateserve));
}

static bool
forget(struct rate *rate, int class, const json_t *value)
{
	struct rate_question q;

	rate_find(rate, class, json_string_value(value), json_string_length(value), &q);
	return q.found == RATE_OK && rate_reset(rate, &q);
}

/* Both of what plugins and of what clients counted: a person who resets means that it shall be admitted again. */
static json_t *
run_reset(struct engine *e, const struct call *call)
{
	const json_t *class = json_object_get(call->request, "class"), *value = json_object_get(call->request, "value");

	if (!json_is_string(class) || !json_is_string(value))
		return refuse(100, "reset: class and value are needed");
	int i = rate_class_find(limits_in_force(e), json_string_value(class), json_string_length(class));
	if (i < 0)
		return refuse(100, "class not found; `spillway limits` lists them");
	bool plugins = forget(e->limits.rate, i, value), clients = forget(e->limits.clients, i, value);
	if (!plugins && !clients)
		return refuse(1, "there were no marks of it");
	log_info("rate", "%s forgot the marks of %s %s", call->who, json_string_value(class), json_string_value(value));
	return json_pack("{s:b}", "ok", 1);
}

/* --- the table ------------------------------------------------------------------------------- */

static const struct command commands[] = {
	{ "status", false, run_status },
	{ "probes", false, run_probes },
	{ "force", true, run_force },
	{ "neutral", true, run_neutral },
	{ "reload", true, run_reload },
	{ "block", true, run_block },
	{ "unblock", true, run_unblock },
	{ "blocks", false, run_blocks },
	{ "allow", true, run_allow },
	{ "allowed", false, run_allowed },
	{ "storms", false, run_storms },
	{ "release", true, run_release },
	{ "address", false, run_address },
	{ "limits", false, run_limits },
	{ "reset", true, run_reset },
};

static bool
has_id(const struct config_ids *ids, uint32_t id)
{
	for (unsigned i = 0; i < ids->n; i++)
		if (ids->id[i] == id)
			return true;
	return false;
}

static bool
may_change(const struct engine *e, const struct control_peer *peer)
{
	if (peer->uid == 0 || peer->uid == geteuid() || has_id(&e->config.operator_uids, peer->uid))
		return true;
	for (size_t i = 0; i < peer->n_groups; i++)
		if (has_id(&e->config.operator_gids, peer->groups[i]))
			return true;
	return false;
}

/* Once for each user: whoever may not change anything shall not be able to fill the log either. */
static void
tell_off(struct engine *e, uid_t uid, const char *who, const char *name)
{
	struct config_ids *told = &e->told_off;

	if (has_id(told, uid))
		return;
	if (told->n == CFG_LIST_MAX)
		told->n = 0;
	told->id[told->n++] = uid;
	log_warning("control", "%s may not %s (this is told once)", who, name);
}

json_t *
commands_handle(const json_t *request, const struct control_peer *peer, uint64_t client, void *arg)
{
	const char *name = json_string_value(json_object_get(request, "command"));
	struct engine *e = arg;
	char who[STORE_WHO_MAX];
	const struct call call = { .request = request, .who = who, .client = client };

	(void)snprintf(who, sizeof(who), "uid %u", peer->uid);
	for (size_t i = 0; i < countof(commands); i++) {
		if (name == NULL || strcmp(name, commands[i].name) != 0)
			continue;
		if (commands[i].changes && !may_change(e, peer)) {
			tell_off(e, peer->uid, who, name);
			return refuse(100, "only root and service.operators may change anything");
		}
		/* cppcheck-suppress returnDanglingLifetime ; no handler keeps its call */
		return commands[i].run(e, &call);
	}
	return refuse(100, "no such command");
}
