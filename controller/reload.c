/* SPDX-License-Identifier: ISC */
/*
 * reload - a new configuration, whole or not at all
 *
 * The reader is a child (config_child.h): whatever is wrong with the file, the configuration in force stays.
 * An editor that replaces the file by rename leaves a moment without one, so a missing file is looked for again
 * for a second.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller/engine_state.h"

#define MISSING_RETRY_MS 200
#define MISSING_TRIES 6
#define POLL_MS 200 /* for the child's deadline */

static void start(struct engine *e);

static void
arm(struct engine *e, int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	(void)event_add(e->reload.timer, &tv);
}

static void
tell(struct engine *e, bool ok, const char *text)
{
	char first[STORE_TEXT_MAX];

	if (ok)
		log_info("config", "%s reloaded%s%s", e->config_path, text[0] != '\0' ? "; " : "", text);
	if (!ok) {
		log_lines(LOG_ERROR, "config", text);
		log_warning("config", "keeping the previous configuration");
	}
	(void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(text, "\n"), text);
	engine_change(e, STORE_CONFIG, e->stance.level, e->stance.level, ok ? "reloaded" : first, "");
}

/* Bytes of the file stand in some messages, and what is not UTF-8 can't be told in JSON: `status` would be mute. */
static void
make_plain(char *text)
{
	for (; *text != '\0'; text++)
		if ((*text < ' ' && *text != '\n') || *text > '~')
			*text = '?';
}

/* The end of one reload, well or not.  If it was asked for again meanwhile, once more: a thousand SIGHUPs
 * make two reloads. */
static void
finish(struct engine *e, bool ok, const char *text)
{
	struct reload *r = &e->reload;

	if (r->io != NULL)
		event_free(r->io);
	r->io = NULL;
	r->running = false;
	r->ok = ok;
	r->at = wall_now();
	(void)snprintf(r->error, sizeof(r->error), "%s", ok ? "" : text);
	make_plain(r->error);
	tell(e, ok, text);
	if (r->client != 0)
		control_reply(e->control, r->client, ok
			? json_pack("{s:b, s:s}", "ok", 1, "note", text)
			: json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 1, "error", r->error));
	r->client = 0;
	if (r->again) {
		r->again = false;
		reload_begin(e, 0);
	}
}

static void
swap(struct engine *e)
{
	char fixed[400], note[440] = "";
	struct config *new = &e->reload.child.config;
	bool levels = memcmp(&new->levels, &e->config.levels, sizeof(new->levels)) != 0;

	config_keep_fixed(new, &e->config, fixed, sizeof(fixed));
	e->config = *new;
	e->changed = true;
	if (levels)
		decide_reconfigure(&e->decide);
	limits_configure(e);
	blocking_reload(e);
	storming_configure(e);
	rcptcheck_configure(e);
	rateserve_configure(e->rateserve, limits_in_force(e));
	journal_limits(e->journal, &e->config.store);
	shell_set_verbosity(e->config.settings.log_level);
	e->next_publish = turn_now(&e->turn);
	if (fixed[0] != '\0')
		(void)snprintf(note, sizeof(note), "only a restart changes %s", fixed);
	log_lines(LOG_WARNING, "config", e->reload.child.errors);
	finish(e, true, note);
}

static void
poll_child(struct engine *e)
{
	struct reload *r = &e->reload;
	int result = config_child_poll(&r->child, turn_now(&e->turn));

	if (result == -EAGAIN)
		arm(e, POLL_MS);
	else if (result == 0)
		swap(e);
	else
		finish(e, false, r->child.errors);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	(void)fd;
	(void)what;
	if (e->reload.io != NULL)
		poll_child(e);
	else if (e->reload.running)
		start(e); /* the file was missing: once more */
}

static void
start(struct engine *e)
{
	struct reload *r = &e->reload;
	struct err why;
	int result = config_child_start(&r->child, e->config_path, &why);

	if (result == -ENOENT && ++r->tries < MISSING_TRIES) {
		arm(e, MISSING_RETRY_MS);
		return;
	}
	if (result < 0) {
		finish(e, false, why.text);
		return;
	}
	r->io = event_new(e->base, r->child.child.poll, EV_READ | EV_PERSIST, on_event, e);
	if (r->io == NULL || event_add(r->io, NULL) < 0) {
		config_child_abandon(&r->child);
		finish(e, false, "no memory");
		return;
	}
	arm(e, POLL_MS);
}

void
reload_begin(struct engine *e, uint64_t client)
{
	struct reload *r = &e->reload;

	if (r->running) {
		r->again = true;
		if (client != 0)
			control_reply(e->control, client,
				json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 111, "error",
					"a reload is running; another follows it"));
		return;
	}
	r->running = true;
	r->tries = 0;
	r->client = client;
	start(e);
}

int
reload_init(struct engine *e)
{
	e->reload.ok = true;
	e->reload.timer = evtimer_new(e->base, on_event, e);
	return e->reload.timer != NULL ? 0 : -ENOMEM;
}

void
reload_done(struct engine *e)
{
	if (e->reload.io != NULL) {
		event_free(e->reload.io);
		config_child_abandon(&e->reload.child);
	}
	if (e->reload.timer != NULL)
		event_free(e->reload.timer);
}
