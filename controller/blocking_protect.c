/* SPDX-License-Identifier: ISC */
/*
 * blocking_protect - whom to protect, brought together: the allow list with its names, this machine, and those whom one
 * would be sorry for
 */
#include <errno.h>
#include <string.h>

#include "controller/blocking_state.h"
#include "lib/array.h"

#define INTERFACES_MS 10000
#define SOURCES_MS 60000
#define NAMES_MS (5 * 60 * 1000)

int
blocking_find_allow(const struct blocking *b, const char *entry)
{
	for (unsigned i = 0; i < b->allow.n; i++)
		if (strcmp(b->allow.a[i].entry, entry) == 0)
			return (int)i;
	return -ENOENT;
}

/* The configuration's entries, then those of persons. */
void
blocking_take_allow(struct engine *e)
{
	static struct protect_allow all[PROTECT_ALLOW_MAX];
	struct blocking *b = e->blocking;
	size_t n = 0;

	for (unsigned i = 0; i < e->config.blocks.n_allow && n < countof(all); i++)
		all[n++] = e->config.blocks.allow[i];
	for (unsigned i = 0; i < b->allow.n && n < countof(all); i++)
		if (protect_parse_allow(b->allow.a[i].entry, &all[n], NULL) == 0)
			n++;
	if (protect_allow(b->protect, all, n) < 0)
		log_error("blocks", "the allow list is too long: what it was stays in force");
	b->next_names = turn_now(&e->turn);
}

void
blocking_found(const char *name, const struct ip *addresses, size_t n, void *arg)
{
	struct engine *e = arg;

	/* No longer on the list: none of our business. */
	(void)protect_set_name(e->blocking->protect, name, addresses, n);
}

static void
look_up_names(struct engine *e, mono_t now)
{
	static char texts[PROTECT_ALLOW_MAX][PROTECT_NAME_MAX];
	const char *names[PROTECT_ALLOW_MAX];
	struct blocking *b = e->blocking;
	struct protect_allow a;
	size_t n = 0;

	b->next_names = mono_after(now, NAMES_MS);
	for (unsigned i = 0; i < e->config.blocks.n_allow + b->allow.n && n < countof(names); i++) {
		if (i < e->config.blocks.n_allow)
			a = e->config.blocks.allow[i];
		else if (protect_parse_allow(b->allow.a[i - e->config.blocks.n_allow].entry, &a, NULL) < 0)
			continue;
		if (!a.is_name)
			continue;
		memcpy(texts[n], a.name, sizeof(texts[n]));
		names[n] = texts[n];
		n++;
	}
	int r = resolve_start(b->resolve, names, n, now);
	if (r < 0)
		log_warning("blocks", "cannot look up the names of the allow list: %s", strerror(-r));
}

void
blocking_look_at_sources(struct engine *e, mono_t now)
{
	struct blocking *b = e->blocking;
	struct err why;

	if (now.ms >= b->next_sources.ms) {
		int r = protect_refresh(b->protect, e->config.blocks.actions.tcprules.rules, b->scratch, &why);

		(void)log_edge(&b->sources_memory, LOG_WARNING, "blocks", r < 0 ? why.text : NULL);
		b->next_sources = mono_after(now, SOURCES_MS);
		b->next_interfaces = mono_after(now, INTERFACES_MS);
	} else if (now.ms >= b->next_interfaces.ms) {
		b->scratch->n = 0;
		b->scratch->cut = false;
		if (protect_read_interfaces(b->scratch) == 0 && !b->scratch->cut)
			(void)protect_set(b->protect, PROTECT_OWN, b->scratch->prefix, b->scratch->n);
		b->next_interfaces = mono_after(now, INTERFACES_MS);
	}
	if (now.ms >= b->next_names.ms)
		look_up_names(e, now);
}

/* --- mail that was let through --------------------------------------------------------------- */

/* Mail of a stranger got as far as its recipients. */
void
blocking_mail(struct engine *e, const struct ip *ip, mono_t now)
{
	if (e->config.blocks.mail_credit_ms > 0)
		recent_add(e->blocking->mailed, ip, mono_after(now, e->config.blocks.mail_credit_ms));
}

/* Who is blocked himself, or was and is not forgiven, is nobody to be sorry for. */
static bool
has_offended(const struct blocking *b, const struct ip_prefix *p, mono_t now)
{
	struct ip_prefix who = blocks_who(b->blocks, &p->ip);
	struct blocks_memory memory;
	struct blocks_record record;

	return blocks_match(b->blocks, &p->ip, now, &record)
		|| (blocks_recollect(b->blocks, &who, now, &memory) && memory.steps > 0);
}

/* Did mail come from that network lately, from others than those for whom it is to be blocked? */
bool
blocking_is_spared(const struct ip_prefix *p, void *arg)
{
	struct engine *e = arg;
	mono_t now = turn_now(&e->turn);
	uint64_t cursor = RECENT_BEGIN;
	struct ip_prefix mailed;

	while (recent_next(e->blocking->mailed, &cursor, p, now, &mailed))
		if (!has_offended(e->blocking, &mailed, now))
			return true;
	return false;
}
