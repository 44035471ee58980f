/* SPDX-License-Identifier: ISC */
#include "controller/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/blocker.h"
#include "controller/engine.h"
#include "controller/kids.h"
#include "controller/log.h"
#include "controller/order.h"
#include "controller/recorder.h"
#include "controller/reread.h"
#include "lib/array.h"
#include "lib/state.h"

#define LOOK_EVERY_MS 1000 /* compare the world with what is wanted */
#define RESTART_POLL_MS 100 /* while a child is to be started again */
#define STALL_MS 10000 /* an engine that is silent so long is broken */
#define ABSENT_MS 3000 /* a turn of ours that took so long: we stood still ourselves */
#define STOP_ENGINE_MS 800
#define STOP_RECORDER_MS 800
#define DEED_BACKOFF_MAX_MS 300000
#define ORDERS_A_TURN 64 /* then look around: there may be a lease to end */
#define BUSY_POLL_MS 5 /* while block actions have work under way */

/* One action on one home. */
struct effector {
	const struct action_ops *ops;
	void *ctx;
	unsigned home, action;
	int error; /* of the last deed */
	struct report told; /* to the engine that runs; zeroed: nothing */
	mono_t retry_at;
	int64_t backoff_ms;
	struct log_memory memory;
};

struct keeper {
	const struct keeper_setup *setup;
	struct kid engine, recorder;
	bool aborted; /* the engine was silent and has been sent SIGABRT */
	struct effector effector[CFG_LIST_MAX * ACTION_COUNT];
	size_t effectors;
	struct blocker *blocker;
	struct reread *reread;
	bool told_blocks; /* the engine that runs knows how the block actions fare */
	int signals; /* signalfd */
	int orders; /* our end of the engine's socketpair, -1 without engine */
	int pair[2]; /* ours and the engine's, while it is started */
	int record[2], marks[2]; /* engine's and recorder's ends: kept, so that either can start again */
	struct effect want;
	bool ordered; /* `want` comes from an engine */
	mono_t lease_end; /* of `want` and of what was found at the start */
	mono_t next_look;
	mono_t turned; /* the last turn of our loop */
	mono_t awake; /* since when it has turned without a gap */
	bool stopping;
};

/* --- deeds ----------------------------------------------------------------------------------- */

/* Tell what has changed.  An engine that does not take it now is told at the next look. */
static void
tell_engine(const struct keeper *k, struct effector *e, enum presence presence)
{
	const struct report r = {
		.home = e->home, .action = e->action, .presence = presence, .error = e->error, .valid = 1,
	};

	if (k->orders >= 0 && memcmp(&r, &e->told, sizeof(r)) != 0
		&& send(k->orders, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(r))
		e->told = r;
}

/* Bring one effect in line.  A deed that fails is tried again at growing intervals, and told once. */
static void
effect(struct keeper *k, struct effector *e, mono_t now)
{
	struct err why = { .text = "" };
	int presence;

	if (k->ordered && now.ms >= e->retry_at.ms) {
		e->error = e->ops->apply(e->ctx, &k->want, &why);
		if (e->error < 0) {
			e->backoff_ms = e->backoff_ms > 0 ? e->backoff_ms * 2 : LOOK_EVERY_MS;
			if (e->backoff_ms > DEED_BACKOFF_MAX_MS)
				e->backoff_ms = DEED_BACKOFF_MAX_MS;
			e->retry_at = mono_after(now, e->backoff_ms);
		} else {
			e->backoff_ms = 0;
		}
		(void)log_edge(&e->memory, LOG_ERROR, "keeper", e->error < 0 ? why.text : NULL);
	}
	presence = e->ops->read(e->ctx, &why);
	tell_engine(k, e, presence < 0 ? PRESENCE_UNKNOWN : (enum presence)presence);
}

static void
effect_all(struct keeper *k, mono_t now)
{
	for (size_t i = 0; i < k->effectors; i++)
		effect(k, &k->effector[i], now);
	k->next_look = mono_after(now, LOOK_EVERY_MS);
}

/* The lease is over, or we stop: as if we were not installed. */
static void
go_neutral(struct keeper *k, mono_t now)
{
	k->want.closed = false;
	k->ordered = true;
	for (size_t i = 0; i < k->effectors; i++)
		k->effector[i].retry_at = now;
	effect_all(k, now);
}

static int
open_effectors(struct keeper *k, struct err *why)
{
	const struct cfg_list *homes = &k->setup->config->qmail.homes;

	for (unsigned h = 0; h < homes->n; h++) {
		for (unsigned a = 0; action_table[a] != NULL; a++) {
			struct effector *e = &k->effector[k->effectors];
			int r = action_table[a]->init(homes->s[h], &e->ctx, why);

			if (r < 0)
				return r;
			e->ops = action_table[a];
			e->home = h;
			e->action = a;
			k->effectors++;
		}
	}
	return 0;
}

static void
take_order(struct keeper *k, const struct order *o, mono_t now)
{
	if (o->want.closed != k->want.closed || !k->ordered)
		for (size_t i = 0; i < k->effectors; i++)
			k->effector[i].retry_at = now; /* something new is worth a try at once */
	k->want = o->want;
	k->ordered = true;
}

static void
take_orders(struct keeper *k, mono_t now)
{
	union {
		struct order order;
		struct block_order blocks;
	} m;
	bool any = false;
	ssize_t n = 1;

	for (int i = 0; i < ORDERS_A_TURN && (n = recv(k->orders, &m, sizeof(m), MSG_DONTWAIT)) > 0; i++) {
		if (n == sizeof(m.order) && order_is_sane(&m.order)) {
			take_order(k, &m.order, now);
			any = true;
		} else if (n == sizeof(m.blocks) && block_order_is_sane(&m.blocks)) {
			blocker_order(k->blocker, &m.blocks, now);
		} else {
			log_error("keeper", "an order makes no sense, passed over");
		}
	}
	if (any) {
		k->lease_end = mono_after(now, k->setup->config->service.lease_ms);
		effect_all(k, now);
	}
}

/* --- children -------------------------------------------------------------------------------- */

/* All descriptors but the standard ones and those of `keep`: directories of root's, our ends of the others' sockets,
 * and whatever an action has open. */
static void
close_others(const int *keep, size_t n)
{
	unsigned from = STDERR_FILENO + 1;

	for (;;) {
		unsigned next = UINT_MAX;

		for (size_t i = 0; i < n; i++)
			if (keep[i] >= (int)from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > from)
			(void)close_range(from, next == UINT_MAX ? UINT_MAX : next - 1, 0);
		if (next == UINT_MAX)
			return;
		from = next + 1;
	}
}

/* In a child: let go of what is the keeper's, and become who it shall be.  Returns 0 or an exit code. */
static int
enter_kid(struct keeper *k, const int *keep, size_t n, int death_signal)
{
	pid_t keeper = getppid();
	struct err why;
	sigset_t none;

	close_others(keep, n);
	if (privilege_drop(&k->setup->identity, &why) < 0) {
		log_error("keeper", "cannot drop privileges: %s", why.text);
		return 111;
	}
	/* After the drop, which clears it.  The keeper may be gone by now. */
	if (prctl(PR_SET_PDEATHSIG, death_signal) < 0 || getppid() != keeper || keeper == 1)
		return 111;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

static int
run_recorder(void *arg)
{
	struct keeper *k = arg;
	const int keep[] = { k->record[1], k->marks[1] };
	int r = enter_kid(k, keep, countof(keep), SIGTERM); /* it still writes what it has */

	if (r != 0)
		return r;
	return recorder_run(k->setup->config, k->record[1], k->marks[1]);
}

static int
run_engine(void *arg)
{
	struct keeper *k = arg;
	const int keep[] = { k->pair[1], k->record[0], k->marks[0] };
	int r = enter_kid(k, keep, countof(keep), SIGKILL); /* without keeper nothing that it decides would ever end */

	if (r != 0)
		return r;
	return engine_run(&(struct engine_setup) {
		.config = k->setup->config, .config_path = k->setup->config_path,
		.restarted = k->engine.ran_before, .keeper = k->pair[1], .recorder = k->record[0],
		.marks = k->marks[0],
	});
}

static void
start_engine_if_due(struct keeper *k, mono_t now)
{
	if (k->engine.pid != 0 || now.ms < k->engine.start_at.ms)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k->pair) < 0) {
		log_error("keeper", "cannot start the engine: %s", strerror(errno));
		k->engine.start_at = mono_after(now, KIDS_BACKOFF_MAX_MS);
		return;
	}
	if (kid_start_if_due(&k->engine, now)) {
		k->orders = k->pair[0];
		for (size_t i = 0; i < k->effectors; i++)
			k->effector[i].told = (struct report) { 0 };
		k->told_blocks = false;
	} else {
		(void)close(k->pair[0]);
	}
	(void)close(k->pair[1]);
	k->aborted = false;
}

static void
reap(struct keeper *k, mono_t now)
{
	struct kid *const kids[] = { &k->engine, &k->recorder };

	(void)kids_reap(kids, countof(kids), k->stopping, now);
	if (k->engine.pid == 0 && k->orders >= 0) {
		(void)close(k->orders);
		k->orders = -1;
	}
}

/* An engine that runs but says nothing has lost its way: end it, so that it can start anew.  But where we stood
 * still ourselves, because the machine slept, was stopped, or drowned, so did the engine: its time begins anew. */
static void
check_engine(struct keeper *k, mono_t now)
{
	int64_t silent = mono_since(k->lease_end, now) + k->setup->config->service.lease_ms;

	if (k->engine.pid == 0 || silent < STALL_MS || mono_since(k->engine.started, now) < STALL_MS
		|| mono_since(k->awake, now) < STALL_MS)
		return;
	if (!k->aborted)
		log_error("keeper", "the engine (pid %d) has been silent for %lld ms: it is ended",
			(int)k->engine.pid, (long long)silent);
	/* First so that it can say where it was, then for sure. */
	(void)kill(k->engine.pid, k->aborted ? SIGKILL : SIGABRT);
	k->aborted = true;
}

/* --- the loop -------------------------------------------------------------------------------- */

static void
take_signals(struct keeper *k)
{
	struct signalfd_siginfo si;

	while (read(k->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			k->stopping = true;
		else if (si.ssi_signo == SIGHUP && k->engine.pid != 0)
			(void)kill(k->engine.pid, SIGHUP);
		/* SIGCHLD: reap() is called at every turn */
	}
}

/* How long nothing is due by itself. */
static int
patience_ms(const struct keeper *k, mono_t now)
{
	int64_t ms = mono_since(now, k->next_look);

	if (blocker_is_busy(k->blocker))
		return BUSY_POLL_MS;
	if (k->engine.pid == 0 || k->recorder.pid == 0 || reread_is_waiting(k->reread))
		return RESTART_POLL_MS;
	return ms < 1 ? 1 : ms > LOOK_EVERY_MS ? LOOK_EVERY_MS : (int)ms;
}

static void
step_blocks(struct keeper *k, mono_t now)
{
	if (blocker_wants_configuration(k->blocker))
		reread_ask(k->reread);
	const struct config *c = reread_step(k->reread, now);
	if (c != NULL)
		blocker_configure(k->blocker, c->blocks.actions.protected.p, c->blocks.actions.protected.n, now);
	blocker_step(k->blocker, now);
	if (k->orders < 0)
		return;
	blocker_report(k->blocker, k->orders, !k->told_blocks, now);
	k->told_blocks = true;
}

static void
turn(struct keeper *k)
{
	struct pollfd p[3 + BLOCKER_FDS] = {
		{ .fd = k->signals, .events = POLLIN }, { .fd = k->orders, .events = POLLIN },
		{ .fd = reread_fd(k->reread), .events = POLLIN },
	};
	unsigned n = 3 + blocker_fds(k->blocker, p + 3);

	(void)poll(p, n, patience_ms(k, mono_now()));
	mono_t now = mono_now();
	if (mono_since(k->turned, now) > ABSENT_MS)
		k->awake = now;
	k->turned = now;
	take_signals(k);
	reap(k, now);
	if (k->orders >= 0 && !k->stopping)
		take_orders(k, now);
	if (k->stopping)
		return;
	if (now.ms >= k->lease_end.ms && (k->want.closed || !k->ordered)) {
		log_warning("keeper", "no word from the engine for its lease: the gate is opened");
		go_neutral(k, now);
	}
	if (now.ms >= k->next_look.ms)
		effect_all(k, now);
	step_blocks(k, now);
	check_engine(k, now);
	(void)kid_start_if_due(&k->recorder, now);
	start_engine_if_due(k, now);
}

static void
stop(struct keeper *k)
{
	log_info("keeper", "stopping: the gate is opened");
	kid_stop(&k->engine, STOP_ENGINE_MS);
	reap(k, mono_now());
	go_neutral(k, mono_now());
	(void)unlinkat(k->setup->run_dir, STATE_FILE, 0); /* its lease would end it anyway */
	kid_stop(&k->recorder, STOP_RECORDER_MS);
	blocker_free(k->blocker);
	reread_free(k->reread);
	for (size_t i = 0; i < k->effectors; i++)
		k->effector[i].ops->free(k->effector[i].ctx);
}

static int
open_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int
keeper_run(const struct keeper_setup *setup)
{
	struct keeper k = { .setup = setup, .orders = -1 };
	struct err why;

	if (open_effectors(&k, &why) < 0) {
		log_error("keeper", "%s", why.text);
		return 100;
	}
	if (blocker_new(&setup->config->blocks.actions, &k.blocker) < 0
		|| reread_new(setup->config_path, &k.reread) < 0) {
		log_error("keeper", "no memory for blocks");
		return 111;
	}
	k.signals = open_signals();
	if (k.signals < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k.record) < 0
		|| socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k.marks) < 0) {
		log_error("keeper", "cannot start: %s", strerror(errno));
		return 111;
	}
	k.engine = (struct kid) { .name = "engine", .run = run_engine, .arg = &k };
	k.recorder = (struct kid) { .name = "recorder", .run = run_recorder, .arg = &k };
	/* What an engine before us left in force may stay for a lease, until ours has looked around. */
	k.lease_end = mono_after(mono_now(), setup->config->service.lease_ms);
	while (!k.stopping)
		turn(&k);
	stop(&k);
	return 0;
}
