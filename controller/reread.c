/* SPDX-License-Identifier: ISC */
#include "controller/reread.h"

#include <errno.h>
#include <stdlib.h>

#include "controller/config_child.h"
#include "controller/log.h"

#define PAUSE_MS 1000
#define AGAIN_MS 10000 /* after a failure */

struct reread {
	const char *path;
	bool asked, running;
	mono_t start_at;
	struct config_child child;
	struct log_memory memory;
};

int
reread_new(const char *path, struct reread **ret)
{
	struct reread *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->path = path;
	*ret = r;
	return 0;
}

void
reread_free(struct reread *r)
{
	if (r == NULL)
		return;
	if (r->running)
		config_child_abandon(&r->child);
	free(r);
}

void
reread_ask(struct reread *r)
{
	r->asked = true;
}

/* An editor may be at work: what can't be read now is tried again, as long as it takes. */
static void
fail(struct reread *r, const char *why, mono_t now)
{
	struct err text;

	(void)err_set(&text, 0, "what was protected stays so, for the allow list can't be read anew: %s", why);
	(void)log_edge(&r->memory, LOG_WARNING, "keeper", text.text);
	r->asked = true;
	r->start_at = mono_after(now, AGAIN_MS);
}

static void
start(struct reread *r, mono_t now)
{
	struct err why;

	r->asked = false;
	r->start_at = mono_after(now, PAUSE_MS);
	int result = config_child_start(&r->child, r->path, &why);
	r->running = result == 0;
	if (result < 0)
		fail(r, why.text, now);
}

const struct config *
reread_step(struct reread *r, mono_t now)
{
	if (r->asked && !r->running && now.ms >= r->start_at.ms)
		start(r, now);
	if (!r->running)
		return NULL;
	int result = config_child_poll(&r->child, now);
	if (result == -EAGAIN)
		return NULL;
	r->running = false;
	if (result == 0) {
		(void)log_edge(&r->memory, LOG_WARNING, "keeper", NULL);
		return &r->child.config;
	}
	fail(r, r->child.errors, now);
	return NULL;
}

int
reread_fd(const struct reread *r)
{
	return r->running ? r->child.child.poll : -1;
}

bool
reread_is_waiting(const struct reread *r)
{
	return r->asked && !r->running;
}
