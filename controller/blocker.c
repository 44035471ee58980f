/* SPDX-License-Identifier: ISC */
#include "controller/blocker.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "actions/protected.h"
#include "controller/log.h"
#include "controller/protect.h"
#include "lib/array.h"

#define SET_MAX 1000000 /* memory is only taken for what is there */
#define LOOK_MS 1000 /* actions are stepped at least so often */
#define SWEEP 4096 /* blocks looked at in a step, whether their time is over */
#define RECONCILE_MS (10 * 60 * 1000)
#define OPEN_RETRY_MS 10000
#define OWN_MS 10000 /* own addresses are looked up again */
#define OWN_MAX 64
#define REPORT_MS 5000

struct actor {
	const struct block_ops *ops;
	void *ctx; /* NULL: not open */
	bool used; /* by the configuration */
	mono_t open_at;
	struct block_report report; /* the last one made */
	struct log_memory memory;
};

struct blocker {
	const struct block_cfg *cfg;
	struct blockset *set; /* wanted */
	struct blockset *list; /* a whole list that is coming in; empty in between */
	bool listing;
	struct actor actor[BLOCKER_ACTIONS_MAX];
	unsigned actors;
	struct {
		struct ip_prefix own[OWN_MAX], configured[BLOCK_PROTECTED_MAX];
		struct ip_prefix told[PROTECT_PREFIXES_MAX]; /* by an engine */
		struct ip_prefix coming[PROTECT_PREFIXES_MAX]; /* what it is about to tell */
		size_t owns, configureds, tolds, comings;
		struct ip_prefix list[PROTECTED_MAX]; /* all of them */
		size_t n;
		struct protected all;
	} protect;
	bool reload; /* an engine has told of one */
	uint32_t reloads;
	int clock; /* timerfd that tells when the wall clock is set */
	bool complete; /* a whole list has come since the start */
	bool busy;
	size_t sweep;
	uint64_t refused;
	mono_t next_own, next_reconcile, next_report;
};

/* --- actions --------------------------------------------------------------------------------- */

static void
open_actor(struct blocker *b, struct actor *a, mono_t now)
{
	struct err why = { .text = "" };
	int r = a->ops->init(b->cfg, &a->ctx, &why);

	a->used = r != -ENOENT;
	a->open_at = mono_after(now, OPEN_RETRY_MS);
	if (r < 0)
		a->ctx = NULL;
	if (r == 0 && a->ops->protect != NULL)
		a->ops->protect(a->ctx, b->protect.list, b->protect.n);
	if (r == 0 && b->complete)
		a->ops->reconcile(a->ctx, b->set, now);
	if (a->used)
		(void)log_edge(&a->memory, LOG_ERROR, "keeper", r < 0 ? why.text : NULL);
	if (r < 0 && a->used) {
		a->report.ok = false;
		(void)snprintf(a->report.text, sizeof(a->report.text), "%.199s", why.text);
	}
}

static void
tell_change(struct blocker *b, const struct ip_prefix *p, const struct block *block, mono_t now)
{
	for (unsigned i = 0; i < b->actors; i++)
		if (b->actor[i].ctx != NULL)
			b->actor[i].ops->change(b->actor[i].ctx, p, block, b->set, now);
	b->busy = true;
}

static void
reconcile_all(struct blocker *b, mono_t now)
{
	for (unsigned i = 0; i < b->actors; i++)
		if (b->actor[i].ctx != NULL)
			b->actor[i].ops->reconcile(b->actor[i].ctx, b->set, now);
	b->next_reconcile = mono_after(now, RECONCILE_MS);
	b->busy = true;
}

static void
take_back(struct blocker *b, const struct ip_prefix *p, mono_t now)
{
	struct ip_prefix prefix = *p; /* it may lie in the set */

	if (blockset_remove(b->set, &prefix))
		tell_change(b, &prefix, NULL, now);
}

/* --- the last look --------------------------------------------------------------------------- */

static void
append(struct blocker *b, const struct ip_prefix *list, size_t n)
{
	size_t room = countof(b->protect.list) - b->protect.n;
	size_t fits = n < room ? n : room;

	memcpy(b->protect.list + b->protect.n, list, fits * sizeof(list[0]));
	b->protect.n += fits;
}

/* Put the sources together, and take back what must not be blocked any more. */
static void
protect(struct blocker *b, mono_t now)
{
	const struct block *block;
	size_t cursor = 0;

	b->protect.n = 0;
	append(b, b->protect.own, b->protect.owns);
	append(b, b->protect.configured, b->protect.configureds);
	append(b, b->protect.told, b->protect.tolds);
	(void)protected_set(&b->protect.all, b->protect.list, b->protect.n);
	while ((block = blockset_next(b->set, &cursor)) != NULL)
		if (protected_touches(&b->protect.all, &block->prefix))
			take_back(b, &block->prefix, now);
	for (unsigned i = 0; i < b->actors; i++)
		if (b->actor[i].ctx != NULL && b->actor[i].ops->protect != NULL)
			b->actor[i].ops->protect(b->actor[i].ctx, b->protect.list, b->protect.n);
}

static bool
address_of(const struct sockaddr *a, struct ip_prefix *ret)
{
	*ret = (struct ip_prefix) { { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } }, 128 };
	if (a != NULL && a->sa_family == AF_INET)
		memcpy(ret->ip.b + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	else if (a != NULL && a->sa_family == AF_INET6)
		memcpy(ret->ip.b, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
	else
		return false;
	return true;
}

static void
look_up_own(struct blocker *b, mono_t now)
{
	struct ip_prefix own[OWN_MAX] = { 0 };
	struct ifaddrs *all;
	size_t n = 0;

	b->next_own = mono_after(now, OWN_MS);
	if (getifaddrs(&all) < 0)
		return; /* those of the last look stay */
	for (const struct ifaddrs *a = all; a != NULL && n < OWN_MAX; a = a->ifa_next)
		n += address_of(a->ifa_addr, &own[n]);
	freeifaddrs(all);
	if (n == b->protect.owns && memcmp(own, b->protect.own, n * sizeof(own[0])) == 0)
		return;
	memcpy(b->protect.own, own, sizeof(own));
	b->protect.owns = n;
	protect(b, now);
}

void
blocker_configure(struct blocker *b, const struct ip_prefix *list, size_t n, mono_t now)
{
	b->protect.configureds = n < BLOCK_PROTECTED_MAX ? n : BLOCK_PROTECTED_MAX;
	memcpy(b->protect.configured, list, b->protect.configureds * sizeof(list[0]));
	b->reloads++;
	protect(b, now);
}

bool
blocker_wants_configuration(struct blocker *b)
{
	bool reload = b->reload;

	b->reload = false;
	return reload;
}

/* What an engine says counts once all of it has come. */
static void
take_told(struct blocker *b, mono_t now)
{
	b->protect.tolds = b->protect.comings;
	memcpy(b->protect.told, b->protect.coming, b->protect.comings * sizeof(b->protect.coming[0]));
	protect(b, now);
}

/* --- orders ---------------------------------------------------------------------------------- */

static void
put(struct blocker *b, const struct block *block, mono_t now)
{
	if (protected_touches(&b->protect.all, &block->prefix)) {
		char text[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&block->prefix, text);
		if (b->refused++ == 0) /* the others are counted, and status tells */
			log_error("keeper", "an order to block %s, which is protected, is not carried out", text);
		take_back(b, &block->prefix, now);
		return;
	}
	if (b->listing)
		(void)blockset_put(b->list, block); /* if it does not fit it is taken back: weaker, not wrong */
	const struct block *old = blockset_find(b->set, &block->prefix);
	if (old != NULL && old->until.ms == block->until.ms && old->kind == block->kind
		&& memcmp(old->id, block->id, sizeof(old->id)) == 0)
		return;
	if (blockset_put(b->set, block) == 0)
		tell_change(b, &block->prefix, block, now);
}

/* Its memory stays: to give it back and take it anew costs more. */
static void
empty(struct blockset *s)
{
	const struct block *block;
	size_t cursor = 0;

	while ((block = blockset_next(s, &cursor)) != NULL)
		(void)blockset_remove(s, &block->prefix);
}

/* The list is whole: what it does not name goes, and what is there is compared with it. */
static void
complete(struct blocker *b, mono_t now)
{
	const struct block *old;
	size_t cursor = 0;

	if (!b->listing)
		return;
	while ((old = blockset_next(b->set, &cursor)) != NULL)
		if (blockset_find(b->list, &old->prefix) == NULL)
			take_back(b, &old->prefix, now);
	b->listing = false;
	empty(b->list);
	b->complete = true;
	reconcile_all(b, now);
}

void
blocker_order(struct blocker *b, const struct block_order *o, mono_t now)
{
	for (uint32_t i = 0; i < o->n; i++) {
		const struct block *block = &o->item[i].block;

		switch ((enum block_verb)o->item[i].verb) {
		case BLOCK_BEGIN:
			empty(b->list);
			b->listing = true;
			break;
		case BLOCK_PUT:
			put(b, block, now);
			break;
		case BLOCK_REMOVE:
			if (b->listing)
				(void)blockset_remove(b->list, &block->prefix);
			take_back(b, &block->prefix, now);
			break;
		case BLOCK_COMPLETE:
			complete(b, now);
			break;
		case BLOCK_PROTECT_BEGIN:
			b->protect.comings = 0;
			break;
		case BLOCK_PROTECT:
			if (b->protect.comings < countof(b->protect.coming))
				b->protect.coming[b->protect.comings++] = block->prefix;
			break;
		case BLOCK_PROTECT_COMPLETE:
			take_told(b, now);
			break;
		case BLOCK_RELOADED:
			b->reload = true;
			break;
		}
	}
}

/* --- the turn -------------------------------------------------------------------------------- */

/* Blocks end at their time also when nobody says so. */
static void
sweep(struct blocker *b, mono_t now)
{
	const struct block *block = NULL;

	for (int i = 0; i < SWEEP && (block = blockset_next(b->set, &b->sweep)) != NULL; i++)
		if (mono_since(now, block->until) <= 0)
			take_back(b, &block->prefix, now);
	if (block == NULL)
		b->sweep = 0;
}

static void
take_clock_set(struct blocker *b, mono_t now)
{
	/* Far ahead: it is never reached, but read() says ECANCELED when the clock is set. */
	const struct itimerspec far = { .it_value.tv_sec = INT32_MAX };
	uint64_t n;

	if (b->clock < 0 || read(b->clock, &n, sizeof(n)) >= 0 || errno != ECANCELED)
		return;
	(void)timerfd_settime(b->clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
	log_info("keeper", "the wall clock was set: the times of %zu blocks are written anew", blockset_count(b->set));
	for (unsigned i = 0; i < b->actors; i++)
		if (b->actor[i].ctx != NULL)
			b->actor[i].ops->clock_set(b->actor[i].ctx, b->set, now);
}

void
blocker_step(struct blocker *b, mono_t now)
{
	b->busy = false;
	take_clock_set(b, now);
	if (now.ms >= b->next_own.ms)
		look_up_own(b, now);
	sweep(b, now);
	if (b->complete && now.ms >= b->next_reconcile.ms)
		reconcile_all(b, now);
	for (unsigned i = 0; i < b->actors; i++) {
		struct actor *a = &b->actor[i];

		if (a->ctx == NULL && a->used && now.ms >= a->open_at.ms)
			open_actor(b, a, now);
		if (a->ctx != NULL)
			a->ops->step(a->ctx, b->set, now);
	}
}

unsigned
blocker_fds(const struct blocker *b, struct pollfd ret[BLOCKER_FDS])
{
	unsigned n = 0;

	if (b->clock >= 0)
		ret[n++] = (struct pollfd) { .fd = b->clock, .events = POLLIN };
	for (unsigned i = 0; i < b->actors; i++) {
		int fd = b->actor[i].ctx != NULL ? b->actor[i].ops->fd(b->actor[i].ctx) : -1;

		if (fd >= 0)
			ret[n++] = (struct pollfd) { .fd = fd, .events = POLLIN };
	}
	return n;
}

bool
blocker_is_busy(const struct blocker *b)
{
	return b->busy;
}

void
blocker_report(struct blocker *b, int fd, bool anew, mono_t now)
{
	bool all = anew || now.ms >= b->next_report.ms;

	if (all)
		b->next_report = mono_after(now, REPORT_MS);
	for (unsigned i = 0; i < b->actors; i++) {
		struct actor *a = &b->actor[i];
		struct block_report r = a->report;
		struct block_status s = { .ok = false };

		r.valid = BLOCK_ORDER_MAGIC;
		r.action = i;
		r.refused = b->refused;
		r.used = a->used;
		r.protected = (uint32_t)b->protect.n;
		r.reloads = b->reloads;
		if (a->ctx != NULL) {
			a->ops->status(a->ctx, &s);
			r.ours = s.ours;
			r.foreign = s.foreign;
			r.ok = s.ok;
			memcpy(r.text, s.text, sizeof(r.text));
			(void)log_edge(&a->memory, LOG_ERROR, "keeper", s.ok ? NULL : s.text);
		}
		if (!all && memcmp(&r, &a->report, sizeof(r)) == 0)
			continue;
		a->report = r;
		/* An engine that does not listen is told again. */
		(void)send(fd, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* --- life ------------------------------------------------------------------------------------ */

int
blocker_new(const struct block_cfg *cfg, struct blocker **ret)
{
	struct blocker *b = calloc(1, sizeof(*b));
	const struct itimerspec far = { .it_value.tv_sec = INT32_MAX };
	mono_t now = mono_now();

	if (b == NULL || blockset_new(SET_MAX, &b->set) < 0 || blockset_new(SET_MAX, &b->list) < 0) {
		if (b != NULL)
			blockset_free(b->set);
		free(b);
		return -ENOMEM;
	}
	b->cfg = cfg;
	b->clock = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (b->clock >= 0)
		(void)timerfd_settime(b->clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
	b->protect.configureds = cfg->protected.n;
	memcpy(b->protect.configured, cfg->protected.p, cfg->protected.n * sizeof(cfg->protected.p[0]));
	protect(b, now);
	look_up_own(b, now);
	for (; b->actors < BLOCKER_ACTIONS_MAX && block_table[b->actors] != NULL; b->actors++) {
		b->actor[b->actors].ops = block_table[b->actors];
		open_actor(b, &b->actor[b->actors], now);
	}
	*ret = b;
	return 0;
}

void
blocker_free(struct blocker *b)
{
	if (b == NULL)
		return;
	for (unsigned i = 0; i < b->actors; i++)
		if (b->actor[i].ctx != NULL)
			b->actor[i].ops->free(b->actor[i].ctx);
	if (b->clock >= 0)
		(void)close(b->clock);
	blockset_free(b->set);
	blockset_free(b->list);
	free(b);
}
