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

#include "controller/log.h"
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
	struct blockset *list; /* a whole list that is coming in, or NULL */
	struct actor actor[BLOCKER_ACTIONS_MAX];
	unsigned actors;
	struct ip own[OWN_MAX];
	unsigned owns;
	int clock; /* timerfd that tells when the wall clock is set */
	bool complete; /* a whole list has come since the start */
	bool busy;
	size_t sweep;
	uint64_t refused;
	mono_t next_own, next_reconcile, next_report;
};

/* --- the last look --------------------------------------------------------------------------- */

static void
look_up_own(struct blocker *b, mono_t now)
{
	struct ifaddrs *all;

	b->next_own = mono_after(now, OWN_MS);
	if (getifaddrs(&all) < 0)
		return; /* those of the last look stay */
	b->owns = 0;
	for (const struct ifaddrs *a = all; a != NULL && b->owns < OWN_MAX; a = a->ifa_next) {
		struct ip ip = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };

		if (a->ifa_addr == NULL)
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			memcpy(ip.b + 12, &((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr, 4);
		else if (a->ifa_addr->sa_family == AF_INET6)
			memcpy(ip.b, &((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr, 16);
		else
			continue;
		b->own[b->owns++] = ip;
	}
	freeifaddrs(all);
}

/* Do they have an address in common? */
static bool
meet(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits <= b->bits ? ip_prefix_contains(a, &b->ip) : ip_prefix_contains(b, &a->ip);
}

static bool
is_protected(const struct blocker *b, const struct ip_prefix *p)
{
	static const struct ip_prefix always[] = {
		{ .ip = { { [10] = 0xff, [11] = 0xff, [12] = 127 } }, .bits = 96 + 8 },
		{ .ip = { { [15] = 1 } }, .bits = 128 },
		{ .bits = 128 },
	};

	for (size_t i = 0; i < countof(always); i++)
		if (meet(&always[i], p))
			return true;
	for (unsigned i = 0; i < b->owns; i++)
		if (ip_prefix_contains(p, &b->own[i]))
			return true;
	for (size_t i = 0; i < b->cfg->protected.n; i++)
		if (meet(&b->cfg->protected.p[i], p))
			return true;
	return false;
}

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

/* --- orders ---------------------------------------------------------------------------------- */

static void
take_back(struct blocker *b, const struct ip_prefix *p, mono_t now)
{
	struct ip_prefix prefix = *p; /* it may lie in the set */

	if (blockset_remove(b->set, &prefix))
		tell_change(b, &prefix, NULL, now);
}

static void
put(struct blocker *b, const struct block *block, mono_t now)
{
	if (is_protected(b, &block->prefix)) {
		char text[IP_PREFIX_TEXT_MAX];

		ip_prefix_format(&block->prefix, text);
		if (b->refused++ == 0) /* the others are counted, and status tells */
			log_error("keeper", "an order to block %s, which is protected, is not carried out", text);
		take_back(b, &block->prefix, now);
		return;
	}
	if (b->list != NULL)
		(void)blockset_put(b->list, block); /* does not fit: taken back at the end, a weaker block, not a wrong one */
	const struct block *old = blockset_find(b->set, &block->prefix);
	if (old != NULL && old->until.ms == block->until.ms && old->kind == block->kind
		&& memcmp(old->id, block->id, sizeof(old->id)) == 0)
		return;
	if (blockset_put(b->set, block) == 0)
		tell_change(b, &block->prefix, block, now);
}

/* The list is whole: what it does not name goes, and what is there is compared with it. */
static void
complete(struct blocker *b, mono_t now)
{
	const struct block *old;
	size_t cursor = 0;

	if (b->list == NULL)
		return;
	while ((old = blockset_next(b->set, &cursor)) != NULL)
		if (blockset_find(b->list, &old->prefix) == NULL)
			take_back(b, &old->prefix, now);
	blockset_free(b->list);
	b->list = NULL;
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
			blockset_free(b->list);
			if (blockset_new(SET_MAX, &b->list) < 0)
				b->list = NULL; /* nothing is taken back then but by its time */
			break;
		case BLOCK_PUT:
			put(b, block, now);
			break;
		case BLOCK_REMOVE:
			if (b->list != NULL)
				(void)blockset_remove(b->list, &block->prefix);
			take_back(b, &block->prefix, now);
			break;
		case BLOCK_COMPLETE:
			complete(b, now);
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
		(void)send(fd, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL); /* an engine that does not listen is told again */
	}
}

/* --- life ------------------------------------------------------------------------------------ */

int
blocker_new(const struct block_cfg *cfg, struct blocker **ret)
{
	struct blocker *b = calloc(1, sizeof(*b));
	const struct itimerspec far = { .it_value.tv_sec = INT32_MAX };
	mono_t now = mono_now();

	if (b == NULL || blockset_new(SET_MAX, &b->set) < 0) {
		free(b);
		return -ENOMEM;
	}
	b->cfg = cfg;
	b->clock = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (b->clock >= 0)
		(void)timerfd_settime(b->clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
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
