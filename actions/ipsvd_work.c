/* SPDX-License-Identifier: ISC */
/*
 * The files: what is wanted of each name, and how it comes about.
 *
 * A change is one file, at once.  All that can't be done at once is made up by a run: first all names are read, and
 * ours that are not wanted go; then all that is wanted is compared with what is there.  Runs, ends and events go in
 * steps, for there may be a hundred thousand.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "actions/ipsvd.h"

#define LOOK_AT_CLOCK 8 /* files between two looks at the clock: one may take 0.5 ms on a disk */
#define PAUSE_MS 1000
#define PAUSE_TIMES 20 /* a run that somebody's changes call for waits so many times the length of the last one */
#define PAUSE_MAX_MS 10000
#define RETRY_MAX_MS 10000
#define FAILURES_MAX 16 /* then a run gives up */
#define LIFETIME_MAX_MS (INT64_C(100) * 366 * 86400 * 1000)

/* --- what is wanted -------------------------------------------------------------------------- */

static bool
is_live(const struct block *b, mono_t now)
{
	return b->until.ms > now.ms;
}

/* An instruction that tcpsvd passes over would do worse than nothing: it would let its client past the deny of a
 * shorter prefix. */
static bool
can_be_expressed(const struct ipsvd *x, const struct block *b)
{
	struct ipsvd_key k;

	return (b->kind != BLOCK_THROTTLE || x->seen.counts) && ipsvd_keys(&b->prefix, &k) > 0;
}

/* The same by asking for each length. */
static const struct block *
wanted_of_each_length(const struct ipsvd *x, struct ipsvd_key k, const struct blockset *want, mono_t now)
{
	for (unsigned bits = 8 * k.octets; bits > 8 * k.octets - 8; bits--) {
		struct ip_prefix p = ipsvd_key_prefix(k, bits);
		const struct block *b = blockset_find(want, &p);

		if (b != NULL && is_live(b, now) && can_be_expressed(x, b))
			return b;
	}
	return NULL;
}

/* The block that a file of this name is for, or NULL: of several that come to it the one of the longest prefix. */
static const struct block *
wanted(const struct ipsvd *x, struct ipsvd_key k, const struct blockset *want, mono_t now)
{
	if (x->fit == FIT_WRONG || ipsvd_key_is_catch_all(k))
		return NULL;
	if (k.octets == 4) { /* nearly all are: asked in one go, which tries only the lengths that there are */
		struct ip_prefix p = ipsvd_key_prefix(k, 32);
		const struct block *b = blockset_match(want, &p.ip, now);

		if (b == NULL || b->prefix.bits <= p.bits - 8)
			return NULL;
		if (can_be_expressed(x, b))
			return b;
	}
	return wanted_of_each_length(x, k, want, now);
}

static struct ipsvd_file
file_for(const struct ipsvd *x, const struct block *b, mono_t now)
{
	int64_t left_ms = mono_since(now, b->until);

	if (left_ms > LIFETIME_MAX_MS)
		left_ms = LIFETIME_MAX_MS;
	/* Rounded up: tcpsvd counts whole seconds, and shall never let anybody in early. */
	int64_t end_s = (wall_now().ms + left_ms + 999) / 1000;
	return (struct ipsvd_file) {
		.kind = left_ms > x->timeout_s * 1000 ? b->kind : BLOCK_DENY, .accept = b->kind,
		.atime_s = end_s - x->timeout_s, .id = b->id,
	};
}

/* --- runs are called for --------------------------------------------------------------------- */

void
ipsvd_call_for_run(struct ipsvd *x, mono_t at)
{
	if (x->run.phase != RUN_NONE)
		x->run.again = true;
	if (at.ms < x->run_at.ms)
		x->run_at = at;
}

/* Somebody changes things: once in a while is enough, however much he does.  And who removes the whole directory shall
 * not find it full again while he does. */
static void
call_after_change(struct ipsvd *x, mono_t now)
{
	int64_t pause = PAUSE_MS + PAUSE_TIMES * x->run_took_ms;

	ipsvd_call_for_run(x, mono_after(now, pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS));
}

static void
call_again(struct ipsvd *x, mono_t now)
{
	x->retry_ms = x->retry_ms == 0 ? PAUSE_MS : 2 * x->retry_ms < RETRY_MAX_MS ? 2 * x->retry_ms : RETRY_MAX_MS;
	ipsvd_call_for_run(x, mono_after(now, x->retry_ms));
}

static void
fail(struct ipsvd *x, int error, const char *what, struct ipsvd_key k, mono_t now)
{
	char name[IPSVD_NAME_MAX];

	ipsvd_name(k, name);
	if (x->failing != error) /* the name of the first is told until all is well again */
		(void)err_sys(&x->failure, error, "cannot %s %s/%s", what, x->path, name);
	x->failing = error;
	if (x->run.phase != RUN_NONE)
		x->run.failures++; /* its end calls for the next one */
	else if (x->run_at.ms == IPSVD_NEVER)
		call_again(x, now);
}

/* --- files ----------------------------------------------------------------------------------- */

/* Bring about what is wanted of one name.  Returns an enum ipsvd_owner: who has it now; or -errno. */
static int
settle(struct ipsvd *x, struct ipsvd_key k, const struct block *b, bool look_first, mono_t now)
{
	struct stat st;
	int r;

	if (b == NULL) {
		if ((r = ipsvd_drop(x->writer, x->dir.fd, k)) < 0)
			fail(x, r, "remove", k, now);
		return r == IPSVD_OURS || r == IPSVD_UNFINISHED ? IPSVD_NONE : r;
	}
	if (x->fit != FIT_GOOD)
		return ipsvd_look(x->dir.fd, k, &st);
	struct ipsvd_file f = file_for(x, b, now);
	if ((r = ipsvd_put(x->writer, x->dir.fd, k, &f, look_first || x->writer == &ipsvd_nowhere)) < 0)
		fail(x, r, "write", k, now);
	return r;
}

static void
note_missed(struct ipsvd *x, const struct ip_prefix *p, bool is_missed)
{
	if (is_missed)
		(void)prefixmap_add(x->missed, p); /* beyond its size they are counted as if all were well */
	else if (prefixmap_count(x->missed) > 0)
		(void)prefixmap_remove(x->missed, p);
}

/* All names of a block that is to be brought about, is over, or gone (`own` NULL).  Returns how many of them are
 * somebody else's. */
static size_t
settle_all(struct ipsvd *x, const struct ip_prefix *p, const struct block *own, const struct blockset *want,
	bool look_first, mono_t now)
{
	bool live = own != NULL && is_live(own, now) && can_be_expressed(x, own);
	bool alone = live && p->bits == 128; /* no prefix is longer */
	size_t ours = 0, foreign = 0;
	struct ipsvd_key k;

	for (unsigned n = ipsvd_keys(p, &k); n > 0; n--, k = ipsvd_key_next(k)) {
		if (ipsvd_key_is_catch_all(k))
			continue;
		const struct block *b = alone && x->fit != FIT_WRONG ? own : wanted(x, k, want, now);
		int r = settle(x, k, b, look_first, now);

		ours += r == IPSVD_OURS;
		foreign += r == IPSVD_FOREIGN;
	}
	if (x->fit == FIT_GOOD)
		note_missed(x, p, live && ours == 0);
	x->run.in_force += live && ours > 0;
	return live ? foreign : 0;
}

static void
walk_by(struct ipsvd *x, int64_t ms)
{
	if (ms < x->ends.next_ms)
		x->ends.next_ms = ms;
}

void
ipsvd_work_change(struct ipsvd *x, const struct ip_prefix *p, const struct block *b, const struct blockset *want,
	mono_t now)
{
	x->wanted = blockset_count(want);
	if (b != NULL)
		walk_by(x, b->until.ms);
	if (b != NULL ? !can_be_expressed(x, b) : x->over + x->skipped > 0)
		walk_by(x, now.ms + PAUSE_MS); /* it counts them anew */
	if (x->dir.fd >= 0 && settle_all(x, p, b, want, false, now) > 0)
		call_after_change(x, now); /* that run counts them */
}

/* --- events ---------------------------------------------------------------------------------- */

struct listener {
	struct ipsvd *x;
	const struct blockset *want;
	mono_t now;
};

/* Only what others did calls for a run: what is ours and as wanted is nearly always our own doing. */
static void
take_event(void *arg, enum ipsvd_event e, const char *name)
{
	const struct listener *l = arg;
	struct ipsvd *x = l->x;
	struct ipsvd_key k;
	struct stat st;

	switch (e) {
	case IPSVD_EVENT_LOST:
		call_after_change(x, l->now);
		break;
	case IPSVD_EVENT_SELF:
		x->next_dir = l->now;
		break;
	case IPSVD_EVENT_CHANGED:
		if (!ipsvd_name_parse(name, &k) || ipsvd_look(x->dir.fd, k, &st) != IPSVD_OURS)
			call_after_change(x, l->now);
		break;
	case IPSVD_EVENT_GONE:
		if (ipsvd_name_parse(name, &k) && wanted(x, k, l->want, l->now) != NULL
			&& ipsvd_look(x->dir.fd, k, &st) != IPSVD_OURS)
			call_after_change(x, l->now);
		break;
	}
}

static bool
take_events(struct ipsvd *x, const struct blockset *want, mono_t now, mono_t deadline)
{
	struct listener l = { x, want, now };

	while (ipsvd_dir_events(&x->dir, take_event, &l))
		if (mono_now().ms >= deadline.ms)
			return true;
	return false;
}

/* --- a run ----------------------------------------------------------------------------------- */

void
ipsvd_work_stop(struct ipsvd *x)
{
	if (x->run.names != NULL)
		(void)closedir(x->run.names);
	x->run.names = NULL;
	x->run.phase = RUN_NONE;
}

static void
begin_run(struct ipsvd *x, mono_t now)
{
	int fd = openat(x->dir.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	x->run_at.ms = IPSVD_NEVER;
	if (d != NULL) {
		x->run = (struct ipsvd_run) { .phase = RUN_NAMES, .names = d };
		return;
	}
	x->failing = -errno;
	(void)err_sys(&x->failure, -errno, "cannot read %s", x->path);
	if (fd >= 0)
		(void)close(fd);
	call_again(x, now);
}

static void
end_run(struct ipsvd *x, mono_t now)
{
	const struct ipsvd_run *r = &x->run;

	ipsvd_work_stop(x);
	x->run_took_ms = r->took_ms + mono_since(r->step_began, mono_now());
	if (r->failures > 0) {
		call_again(x, now);
		return;
	}
	x->failing = 0;
	x->retry_ms = 0;
	x->foreign = r->foreign;
	if (r->again)
		call_after_change(x, now);
}

/* A name that was read: those that are wanted come later. */
static void
take_name(struct ipsvd *x, const char *name, const struct blockset *want, mono_t now)
{
	struct ipsvd_key k;

	if (name[0] == '.')
		return; /* tcpsvd looks for none of these */
	if (!ipsvd_name_parse(name, &k))
		x->run.foreign++;
	else if (wanted(x, k, want, now) == NULL && settle(x, k, NULL, true, now) == IPSVD_FOREIGN)
		x->run.foreign++;
}

static void
take_block(struct ipsvd *x, const struct block *b, const struct blockset *want, mono_t now)
{
	if (is_live(b, now) && x->fit != FIT_WRONG) /* of the others the names were met */
		x->run.foreign += settle_all(x, &b->prefix, b, want, true, now);
}

/* Is it over, or was it taken out of `want` without a word? */
static void
take_missed(struct ipsvd *x, uint32_t number, const struct blockset *want, mono_t now)
{
	const struct ip_prefix *p = prefixmap_at(x->missed, number);
	const struct block *b = p != NULL ? blockset_find(want, p) : NULL;

	if (p != NULL && (b == NULL || !is_live(b, now)))
		(void)prefixmap_remove(x->missed, p);
}

/* One thing.  Returns false when the phase is through. */
static bool
run_one(struct ipsvd *x, const struct blockset *want, mono_t now)
{
	struct ipsvd_run *r = &x->run;
	const struct dirent *e;
	const struct block *b;

	switch (r->phase) {
	case RUN_NAMES:
		if ((e = readdir(r->names)) == NULL)
			return false; /* if it was an error, the rest is met next time */
		take_name(x, e->d_name, want, now);
		return true;
	case RUN_BLOCKS:
		if ((b = blockset_next(want, &r->cursor)) == NULL)
			return false;
		take_block(x, b, want, now);
		return true;
	case RUN_MISSED:
		if (r->cursor >= prefixmap_end(x->missed))
			return false;
		take_missed(x, (uint32_t)r->cursor++, want, now);
		return true;
	default:
		return false;
	}
}

static void
next_phase(struct ipsvd *x, mono_t now)
{
	x->run.cursor = 0;
	if (x->run.phase == RUN_BLOCKS)
		x->counted = true;
	if (x->run.phase == RUN_MISSED)
		end_run(x, now);
	else
		x->run.phase++;
}

static bool
step_run(struct ipsvd *x, const struct blockset *want, mono_t now, mono_t deadline)
{
	/* Before reconcile() was called `want` may lack something; but under a wrong -t nothing is wanted. */
	if (x->run.phase == RUN_NONE && now.ms >= x->run_at.ms && x->fit != FIT_UNKNOWN
		&& (x->told || x->fit == FIT_WRONG))
		begin_run(x, now);
	x->run.step_began = mono_now();
	for (unsigned i = 1; x->run.phase != RUN_NONE; i++) {
		if (x->run.failures >= FAILURES_MAX)
			end_run(x, now);
		else if (!run_one(x, want, now))
			next_phase(x, now);
		if (i % LOOK_AT_CLOCK == 0 && mono_now().ms >= deadline.ms)
			break;
	}
	x->run.took_ms += mono_since(x->run.step_began, mono_now());
	return x->run.phase != RUN_NONE;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void
take_end(struct ipsvd *x, const struct block *b, const struct blockset *want)
{
	struct ipsvd_ends *e = &x->ends;

	if (is_live(b, e->now)) {
		if (b->until.ms < e->found_ms)
			e->found_ms = b->until.ms;
		e->skipped += !can_be_expressed(x, b);
		return;
	}
	e->over++;
	if (b->until.ms > e->done.ms)
		(void)settle_all(x, &b->prefix, b, want, true, e->now);
}

/* Blocks may stay in `want` when they are over, so each end is dealt with once. */
static bool
step_ends(struct ipsvd *x, const struct blockset *want, mono_t now, mono_t deadline)
{
	struct ipsvd_ends *e = &x->ends;
	const struct block *b;

	if (!e->walking && now.ms < e->next_ms)
		return false;
	if (!e->walking)
		*e = (struct ipsvd_ends) {
			.walking = true, .now = now, .done = e->done, .next_ms = IPSVD_NEVER, .found_ms = IPSVD_NEVER,
		};
	for (unsigned i = 1; (b = blockset_next(want, &e->cursor)) != NULL; i++) {
		take_end(x, b, want);
		if (i % LOOK_AT_CLOCK == 0 && mono_now().ms >= deadline.ms)
			return true;
	}
	e->walking = false;
	e->done = e->now;
	if (e->found_ms < e->next_ms)
		e->next_ms = e->found_ms;
	x->over = e->over;
	x->skipped = e->skipped;
	return false;
}

/* --- all of it ------------------------------------------------------------------------------- */

bool
ipsvd_work_step(struct ipsvd *x, const struct blockset *want, mono_t now, mono_t deadline)
{
	bool more = take_events(x, want, now, deadline);

	x->wanted = blockset_count(want);
	more |= step_ends(x, want, now, deadline);
	more |= step_run(x, want, now, deadline);
	return more;
}

void
ipsvd_work_forget(struct ipsvd *x)
{
	ipsvd_work_stop(x);
	x->run_at.ms = IPSVD_NEVER;
	x->failing = 0;
	x->retry_ms = 0;
	x->counted = false;
}

size_t
ipsvd_work_count(const struct ipsvd *x)
{
	size_t not = x->over + x->skipped + prefixmap_count(x->missed);

	if (x->fit != FIT_GOOD)
		return 0;
	if (!x->counted)
		return x->run.in_force; /* so far */
	return x->wanted > not ? x->wanted - not : 0;
}
