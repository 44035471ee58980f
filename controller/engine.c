/* SPDX-License-Identifier: ISC */
/*
 * One turn: whatever came in is taken (events of the queue, records of plugins, requests, answers), then, once,
 * everything that follows from it happens in after_turn(): decide, tell the keeper, publish, remember.  Nothing
 * here waits for a disk, a child or a peer.
 */
#include "controller/engine.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "controller/order.h"
#include "controller/publish.h"
#include "lib/array.h"
#include "lib/version.h"

#define TICK_MS 1000 /* the least pace of the loop: heartbeat, rates, expiry */
#define REFUSED_VALID_MS 5000
#define FLUSH_MS 300
#define WALL_JUMP_MS 2000

/* --- what is remembered of a change ---------------------------------------------------------- */

/* The readings that are known, as a JSON object, cut at a whole member. */
static void
snapshot(const struct engine *e, mono_t now, char ret[STORE_READINGS_MAX])
{
	size_t len = 0;

	for (int i = 0; i < READING_COUNT; i++) {
		struct reading_value v = readings_get(&e->readings, (enum reading_id)i, now);
		char member[64];
		int n = snprintf(member, sizeof(member), "%s\"%s\":%.10g", len == 0 ? "{" : ",",
			reading_info[i].name, v.value);

		if (!v.known || n < 0 || len + (size_t)n + 2 > STORE_READINGS_MAX)
			continue;
		memcpy(ret + len, member, (size_t)n);
		len += (size_t)n;
	}
	(void)snprintf(ret + len, STORE_READINGS_MAX - len, len == 0 ? "{}" : "}");
}

void
engine_change(struct engine *e, enum store_kind kind, enum level before, enum level after,
	const char *reason, const char *who)
{
	struct store_change c = { .at = wall_now(), .kind = kind, .before = before, .after = after };

	memcpy(c.episode, e->episode.id, sizeof(c.episode));
	(void)snprintf(c.reason, sizeof(c.reason), "%s", reason);
	(void)snprintf(c.who, sizeof(c.who), "%s", who);
	snapshot(e, turn_now(&e->turn), c.readings);
	journal_change(e->journal, &c);
}

bool
engine_is_pinned(const struct engine *e)
{
	for (unsigned i = 0; i < e->config.qmail.homes.n; i++)
		if (e->flag[i].presence == PRESENCE_FOREIGN)
			return true;
	return false;
}

/* --- the keeper ------------------------------------------------------------------------------ */

static void
send_order(struct engine *e, mono_t now)
{
	struct order o = {
		.magic = ORDER_MAGIC,
		.want = {
			.closed = e->stance.level >= LEVEL_OVERLOADED, .level = e->stance.level,
			.since = e->closed_since.ms / 1000, .why = e->stance.why,
		},
	};

	memcpy(o.want.episode, e->episode.id, sizeof(o.want.episode));
	/* A keeper that does not read for a second is told again: an order is the whole of what is wanted. */
	(void)send(e->keeper, &o, sizeof(o), MSG_DONTWAIT | MSG_NOSIGNAL);
	e->next_order = mono_after(now, ORDER_EVERY_MS);
}

static void
take_report(struct engine *e, const struct report *r)
{
	bool before = engine_is_pinned(e);

	if (r->home >= e->config.qmail.homes.n || r->presence > PRESENCE_FOREIGN)
		return;
	e->flag[r->home].presence = (enum presence)r->presence;
	e->flag[r->home].error = r->error;
	bool after = engine_is_pinned(e);
	if (before == after)
		return;
	e->changed = true;
	log_info("engine", "an operator's control/overloaded in %s: %s", e->config.qmail.homes.s[r->home],
		after ? "the gate is closed by it" : "gone");
	engine_change(e, STORE_PIN, e->stance.level, e->stance.level,
		after ? "an operator's control/overloaded is there" : "the operator's control/overloaded is gone", "");
}

static void
on_keeper(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	union {
		struct report report;
		struct block_report blocks;
	} m;
	ssize_t n;

	(void)what;
	while ((n = recv(fd, &m, sizeof(m), MSG_DONTWAIT)) > 0) {
		if (n == sizeof(m.report))
			take_report(e, &m.report);
		else if (n == sizeof(m.blocks) && m.blocks.valid == BLOCK_ORDER_MAGIC)
			blocking_report(e, &m.blocks);
	}
	if (n == 0) /* the keeper is gone: nobody would end what we decide */
		e->stopping = true;
}

/* --- deciding -------------------------------------------------------------------------------- */

static struct decide_input
gather(struct engine *e, mono_t now)
{
	struct decide_input in = {
		.refused = e->refused, .forced = e->override.set, .forced_level = e->override.level,
	};

	readings_count_refused(&e->readings, e->refused, now, mono_after(now, REFUSED_VALID_MS));
	for (int i = 0; i < READING_COUNT; i++)
		in.value[i] = readings_get(&e->readings, (enum reading_id)i, now);
	in.arrived_known = watch_arrived(e->watch, &in.arrived);
	return in;
}

static void
tell_level(struct engine *e, const struct stance *old)
{
	const struct stance *s = &e->stance;
	char reason[REASON_TEXT_MAX], text[STORE_TEXT_MAX];

	if (s->level == old->level && s->forced == old->forced)
		return;
	reason_format(&s->why, reason);
	if (s->forced)
		(void)snprintf(text, sizeof(text), "%s", e->override.reason);
	else
		(void)snprintf(text, sizeof(text), "%s%s", old->forced ? "no longer forced; " : "", reason);
	log_info("engine", "level %s -> %s%s: %s%s%s", level_name(old->level), level_name(s->level),
		s->forced ? " (forced)" : "", text, e->episode.on ? ", episode " : "",
		e->episode.on ? e->episode.id : "");
	engine_change(e, STORE_LEVEL, old->level, s->level, text,
		s->forced || old->forced ? e->override.who : "spillway");
}

static void
tell_gate(struct engine *e, const struct stance *old)
{
	static const char *const words[] = {
		[GATE_OPEN] = "open to all", [GATE_CLOSED] = "closed to strangers",
		[GATE_REOPENING] = "reopening step by step",
	};

	if (e->stance.gate == old->gate)
		return;
	log_info("engine", "the gate is %s", words[e->stance.gate]);
	engine_change(e, STORE_GATE, e->stance.level, e->stance.level, words[e->stance.gate], "spillway");
}

static mono_t
earliest(mono_t a, mono_t b)
{
	return a.ms < b.ms ? a : b;
}

static void
decide(struct engine *e, mono_t now)
{
	struct decide_input in = gather(e, now);
	struct stance old = e->stance;

	decide_step(&e->decide, &e->config.levels, &in, now, &e->stance);
	bool closed = e->stance.level >= LEVEL_OVERLOADED;
	if (closed && old.level < LEVEL_OVERLOADED)
		e->closed_since = wall_now();
	episode_step(e, now);
	limits_level(e, old.level);
	if (!e->decided || closed != (old.level >= LEVEL_OVERLOADED))
		e->next_order = now;
	if (!e->decided || old.level != e->stance.level || old.admit != e->stance.admit)
		e->next_publish = now;
	if (e->decided) {
		tell_level(e, &old);
		tell_gate(e, &old);
	}
	e->decided = true;
	e->changed = false;
	e->readings_told = e->readings.told;
	e->next_decide = earliest(e->stance.next, mono_after(now, TICK_MS));
}

/* Thousands of questions of plugins may come in a second, each in a turn of its own: none of them changes a stance. */
static bool
is_decision_due(const struct engine *e, mono_t now)
{
	return e->changed || e->readings.told != e->readings_told || now.ms >= e->next_decide.ms;
}

static void
publish(struct engine *e, mono_t now)
{
	struct state s = { .issued = now, .level = e->stance.level, .salt = e->episode.salt };
	char text[100] = "";

	publish_configured(&e->config, &s);
	memcpy(s.boot_id, e->boot_id, sizeof(s.boot_id));
	memcpy(s.episode, e->episode.id, sizeof(s.episode));
	for (int i = 0; i < CLASS_COUNT; i++)
		s.admit[i] = (uint16_t)e->stance.admit;
	s.admit[CLASS_OWN] = ADMIT_ALL;
	int r = publish_state(e->run_dir, &s);
	if (r < 0)
		(void)snprintf(text, sizeof(text), "cannot publish the state: %s", strerror(-r));
	(void)log_edge(&e->publish_memory, LOG_ERROR, "engine", text);
	e->next_publish = mono_after(now, e->config.service.lease_ms / 4);
}

/* --- the turn -------------------------------------------------------------------------------- */

static void
watch_wall_clock(struct engine *e, mono_t now)
{
	int64_t offset = wall_now().ms - now.ms;
	int64_t jump = offset - e->wall_offset;

	if (jump > WALL_JUMP_MS || jump < -WALL_JUMP_MS)
		log_warning("engine", "the wall clock jumped by %lld s; nothing that was decided changes",
			(long long)(jump / 1000));
	e->wall_offset = offset;
}

/* Wake up when something is due, even if nothing comes in. */
static void
arm_due(struct engine *e, mono_t now)
{
	mono_t due = earliest(earliest(e->next_decide, e->limits.next_step), earliest(e->next_publish, e->next_order));

	due = earliest(due, earliest(blocking_due(e), storming_due(e)));
	due = earliest(due, rcptcheck_due(e));
	if (e->override.set)
		due = earliest(due, e->override.until);
	if (due.ms == e->armed.ms)
		return;
	int64_t ms = mono_since(now, due);
	ms = ms < 1 ? 1 : ms > TICK_MS ? TICK_MS : ms;
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	if (event_add(e->due, &tv) == 0) /* fails only for want of memory: the next turn tries again */
		e->armed = due;
}

static void
after_turn(struct engine *e)
{
	mono_t now = turn_now(&e->turn);

	override_step(e, now);
	if (is_decision_due(e, now))
		decide(e, now);
	limits_step(e, now);
	blocking_step(e, now);
	storming_step(e, now);
	rcptcheck_step(e, now);
	if (now.ms >= e->next_order.ms) {
		send_order(e, now);
		watch_wall_clock(e, now);
	}
	if (now.ms >= e->next_publish.ms)
		publish(e, now);
	arm_due(e, now);
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	(void)fd;
	(void)what;
	e->armed.ms = 0; /* after_turn() does the rest */
}

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct engine *e = arg;

	(void)what;
	if (sig == SIGHUP)
		reload_begin(e, 0);
	else
		e->stopping = true;
}

static void
on_refusal(const struct record *r, void *arg)
{
	struct engine *e = arg;

	if (r->verdict == VERDICT_PASS && r->ip_known && admit_is_own(r))
		blocking_login(e, &r->ip, turn_now(&e->turn));
	else if (r->verdict == VERDICT_PASS && r->ip_known && r->stage == STAGE_DATA)
		blocking_mail(e, &r->ip, turn_now(&e->turn));
	if (r->verdict == VERDICT_PASS && r->check == CHECK_BOUNCESHIELD)
		storming_told(e, r, turn_now(&e->turn));
	if (r->verdict == VERDICT_PASS || r->check != CHECK_OVERLOAD)
		return; /* what a limit refuses is counted where it is asked for, and says nothing about load */
	e->refused++;
	e->changed = true;
	episode_refused(e, r);
}

static void
on_stored(uint64_t id, bool ok, const char *text, void *arg)
{
	override_stored(arg, id, ok, text);
	blocking_stored(arg, id, ok, text);
	storming_stored(arg, id, ok, text);
}

static void
on_stored_block(const struct store_block *b, const struct store_allow *a, void *arg)
{
	blocking_restore(arg, b, a);
}

static void
on_override(const struct store_override *o, void *arg)
{
	override_restore(arg, o);
}

/* --- start and end --------------------------------------------------------------------------- */

/* The keeper ends an engine that has lost its way with SIGABRT: say where it was. */
static void
on_abort(int sig)
{
	static const char head[] = "error: engine: aborted; it was here:\n";
	void *frame[32];

	(void)!write(STDERR_FILENO, head, sizeof(head) - 1);
	backtrace_symbols_fd(frame, backtrace(frame, countof(frame)), STDERR_FILENO);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

static int
set_signals(struct engine *e, struct event *ret[], size_t n)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	const struct sigaction abort_action = { .sa_handler = on_abort, .sa_flags = (int)SA_RESETHAND };
	void *warm_up[1];

	(void)backtrace(warm_up, 1); /* loads its library now, not in a handler */
	(void)sigaction(SIGABRT, &abort_action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < n && i < countof(signals); i++) {
		ret[i] = evsignal_new(e->base, signals[i], on_signal, e);
		if (ret[i] == NULL || event_add(ret[i], NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* An engine that starts after another takes the file as it is now, for that one may have been reloaded since; if the
 * file is broken, what the daemon was started with. */
static void
take_config(struct engine *e, const struct engine_setup *setup)
{
	static struct config_child child;

	e->config = *setup->config;
	if (!setup->restarted)
		return;
	if (config_child_read(setup->config_path, &child) == 0) {
		char fixed[400];

		config_keep_fixed(&child.config, &e->config, fixed, sizeof(fixed));
		e->config = child.config;
	} else {
		log_error("config", "%.*s; using the configuration of the start",
			(int)strcspn(child.errors, "\n"), child.errors);
	}
}

/* A state of ours whose lease is not over: the engine before us left a moment ago. */
static void
resume(struct engine *e, mono_t now)
{
	struct state s;

	bool current = state_read(e->config.service.run_dir, &s) == 0 && state_is_current(&s, now, e->boot_id);
	if (!current) /* of a boot before, perhaps: a plugin that finds us alive takes it for ours */
		(void)unlinkat(e->run_dir, STATE_FILE, 0);
	if (!current || s.level == LEVEL_NORMAL)
		return;
	decide_resume(&e->decide, s.level);
	e->stance.level = s.level;
	e->closed_since = wall_now();
	if (s.level >= LEVEL_OVERLOADED && s.episode[0] != '\0')
		episode_resume(e, &s);
	log_info("engine", "resuming level %s, episode %s", level_name(s.level), s.episode);
}

/* What else can be asked of us: by clients of rater, and by telnet. */
static int
open_rate_service(struct engine *e, const char *dir, struct err *why)
{
	const struct config_settings *s = &e->config.settings;
	int r = rateserve_new(e->base, &e->turn, dir, s, e->limits.clients, &e->rateserve, why);

	if (r < 0)
		return r;
	rateserve_configure(e->rateserve, limits_in_force(e));
	shell_set_verbosity(s->log_level);
	r = shell_new(e->base, s->control_address, (uint16_t)s->control_port, shell_commands_run, e, &e->shell);
	return r < 0 ? err_sys(why, r, "control port for telnet") : 0;
}

static int
open_all(struct engine *e, const struct engine_setup *setup, struct err *why)
{
	const char *dir = e->config.service.run_dir;
	int r;

	e->run_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (e->run_dir < 0)
		return err_sys(why, -errno, "%s", dir);
	if ((r = clock_boot_id(e->boot_id)) < 0)
		return err_sys(why, r, "cannot read the boot id");
	if ((e->due = evtimer_new(e->base, on_due, e)) == NULL || reload_init(e) < 0
		|| watch_new(e->base, &e->turn, &e->config, &e->readings, &e->watch) < 0
		|| journal_new(e->base, setup->recorder, on_stored, on_override, on_stored_block, e, &e->journal) < 0)
		return err_set(why, -ENOMEM, "no memory");
	resume(e, e->started);
	if ((r = blocking_open(e, why)) < 0 || (r = storming_open(e, why)) < 0 || (r = rcptcheck_open(e, why)) < 0
		|| (r = limits_open(e, setup->marks, why)) < 0
		|| (r = ask_new(e->base, dir, &e->config.plugin_uids, on_refusal, e, &e->ask, why)) < 0
		|| (r = open_rate_service(e, dir, why)) < 0)
		return r;
	return control_new(e->base, dir, commands_handle, e, &e->control, why);
}

static void
close_all(struct engine *e)
{
	control_free(e->control);
	shell_free(e->shell);
	rateserve_free(e->rateserve);
	ask_free(e->ask);
	limits_close(e);
	blocking_close(e);
	storming_close(e);
	rcptcheck_close(e);
	journal_free(e->journal);
	watch_free(e->watch);
	reload_done(e);
	if (e->due != NULL)
		event_free(e->due);
	if (e->run_dir >= 0)
		(void)close(e->run_dir);
}

/* From the first look at the clock on. */
static void
note_turn(struct engine *e)
{
	int64_t ms = mono_since(turn_now(&e->turn), mono_now());

	if (ms > e->longest_turn_ms)
		e->longest_turn_ms = ms;
}

static void
loop(struct engine *e)
{
	journal_ask_override(e->journal);
	journal_end_episodes(e->journal, e->episode.on ? e->episode.id : "", wall_now());
	engine_change(e, STORE_SERVICE, LEVEL_NORMAL, e->stance.level, "started, version " SPILLWAY_VERSION, "");
	log_info("engine", "started, version %s, %u qmail home(s), first %s", SPILLWAY_VERSION,
		e->config.qmail.homes.n, e->config.qmail.homes.s[0]);
	after_turn(e);
	while (!e->stopping) {
		turn_over(&e->turn);
		if (event_base_loop(e->base, EVLOOP_ONCE) < 0)
			break;
		after_turn(e);
		note_turn(e);
	}
	if (e->episode.on)
		e->stance.level = LEVEL_NORMAL;
	episode_step(e, turn_now(&e->turn));
	engine_change(e, STORE_SERVICE, e->stance.level, LEVEL_NORMAL, "stopped", "");
	storming_flush(e, turn_now(&e->turn));
	marks_flush(e->limits.marks, FLUSH_MS);
}

int
engine_run(const struct engine_setup *setup)
{
	static struct engine e; /* large; zeroed */
	struct event *signals[3] = { NULL }, *keeper = NULL;
	struct err why;
	int r;

	e = (struct engine) { .run_dir = -1, .config_path = setup->config_path, .keeper = setup->keeper };
	e.base = event_base_new();
	if (e.base == NULL)
		return 111;
	e.started = turn_now(&e.turn);
	e.wall_offset = wall_now().ms - e.started.ms;
	take_config(&e, setup);
	r = open_all(&e, setup, &why);
	if (r == 0) {
		keeper = event_new(e.base, e.keeper, EV_READ | EV_PERSIST, on_keeper, &e);
		if (keeper == NULL || event_add(keeper, NULL) < 0 || set_signals(&e, signals, countof(signals)) < 0)
			r = err_set(&why, -ENOMEM, "no memory");
	}
	if (r == 0) {
		loop(&e);
	} else {
		log_error("engine", "cannot start: %s", why.text);
	}
	for (size_t i = 0; i < countof(signals); i++)
		if (signals[i] != NULL)
			event_free(signals[i]);
	if (keeper != NULL)
		event_free(keeper);
	close_all(&e);
	event_base_free(e.base);
	return r == 0 ? 0 : 111;
}
