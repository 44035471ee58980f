/* SPDX-License-Identifier: ISC */
#include "controller/offence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 8192 /* a power of two */
#define NONE (-1)

struct offence {
	struct store_offence row;
	uint64_t fingerprint;
	int64_t quiet_ms; /* ends it */
	mono_t last, next_row;
	uint64_t told; /* refusals, when it was told last; 0: never */
	int next; /* in its bucket, or of the free ones: indices */
	int older, newer; /* by the last refusal */
};

struct offences {
	offence_tell *tell;
	void *arg;
	unsigned n;
	int free, oldest, newest;
	int bucket[BUCKETS];
	struct offence offence[OFFENCES_MAX];
};

/* --- lists ----------------------------------------------------------------------------------- */

/* Fingerprints are keyed hashes: nobody can choose them so that they fall together. */
static int *
bucket_of(struct offences *o, uint64_t fingerprint)
{
	return &o->bucket[fingerprint % BUCKETS];
}

static int
find(struct offences *o, uint64_t fingerprint, enum check check)
{
	int i = *bucket_of(o, fingerprint);

	while (i != NONE && (o->offence[i].fingerprint != fingerprint || o->offence[i].row.check != check))
		i = o->offence[i].next;
	return i;
}

static void
unlink_age(struct offences *o, int i)
{
	struct offence *f = &o->offence[i];

	*(f->older != NONE ? &o->offence[f->older].newer : &o->oldest) = f->newer;
	*(f->newer != NONE ? &o->offence[f->newer].older : &o->newest) = f->older;
}

static void
link_newest(struct offences *o, int i)
{
	struct offence *f = &o->offence[i];

	f->older = o->newest;
	f->newer = NONE;
	*(o->newest != NONE ? &o->offence[o->newest].newer : &o->oldest) = i;
	o->newest = i;
}

static void
forget(struct offences *o, int i)
{
	int *at = bucket_of(o, o->offence[i].fingerprint);

	while (*at != i)
		at = &o->offence[*at].next;
	*at = o->offence[i].next;
	unlink_age(o, i);
	o->offence[i].next = o->free;
	o->free = i;
	o->n--;
}

/* --- telling --------------------------------------------------------------------------------- */

/* Returns false for "not now". */
static bool
tell(struct offences *o, struct offence *f, mono_t now)
{
	if (!o->tell(&f->row, f->told == 0 ? OFFENCE_BEGAN : OFFENCE_GOES_ON, o->arg))
		return false;
	f->told = f->row.refused;
	f->next_row = mono_after(now, OFFENCE_ROW_EVERY_MS);
	return true;
}

/* One that was never told begins and ends at once. */
static bool
end(struct offences *o, int i, wall_t wall)
{
	struct offence *f = &o->offence[i];

	f->row.ended = wall;
	if (f->told == 0 && !o->tell(&f->row, OFFENCE_BEGAN, o->arg))
		return false;
	f->told = f->row.refused;
	return o->tell(&f->row, OFFENCE_ENDED, o->arg);
}

static bool
is_over(const struct offence *f, mono_t now)
{
	return mono_since(f->last, now) > f->quiet_ms;
}

/* --- refusals -------------------------------------------------------------------------------- */

static int
begin(struct offences *o, uint64_t fingerprint, enum check check, int64_t window_ms, wall_t wall)
{
	if (o->free == NONE) {
		(void)end(o, o->oldest, wall); /* its room is needed, told or not */
		forget(o, o->oldest);
	}
	int i = o->free, *at = bucket_of(o, fingerprint);
	struct offence *f = &o->offence[i];
	o->free = f->next;
	memset(f, 0, sizeof(*f));
	f->fingerprint = fingerprint;
	f->quiet_ms = window_ms > 0 ? window_ms : OFFENCE_QUIET_MS;
	f->row.check = check;
	f->row.window_ms = window_ms;
	f->row.first = wall;
	f->next = *at;
	*at = i;
	link_newest(o, i);
	o->n++;
	return i;
}

struct store_offence *
offence_refused(struct offences *o, uint64_t fingerprint, enum check check, int64_t window_ms, mono_t now, wall_t wall)
{
	int i = find(o, fingerprint, check);

	if (i != NONE && is_over(&o->offence[i], now)) {
		(void)end(o, i, wall); /* late, and nobody's fault */
		forget(o, i);
		i = NONE;
	}
	if (i == NONE)
		i = begin(o, fingerprint, check, window_ms, wall);
	struct offence *f = &o->offence[i];
	f->last = now;
	f->row.last = wall;
	f->row.refused++;
	unlink_age(o, i);
	link_newest(o, i);
	return &f->row;
}

void
offence_flush(struct offences *o, mono_t now)
{
	if (o->newest != NONE && now.ms >= o->offence[o->newest].next_row.ms)
		(void)tell(o, &o->offence[o->newest], now); /* not now: the next step */
}

void
offence_step(struct offences *o, mono_t now, wall_t wall)
{
	for (int i = o->oldest, newer; i != NONE; i = newer) {
		struct offence *f = &o->offence[i];

		newer = f->newer;
		if (is_over(f, now)) {
			if (!end(o, i, wall))
				return;
			forget(o, i);
		} else if (f->told != f->row.refused && now.ms >= f->next_row.ms && !tell(o, f, now)) {
			return;
		}
	}
}

void
offence_end_all(struct offences *o, wall_t wall)
{
	while (o->oldest != NONE) {
		(void)end(o, o->oldest, wall);
		forget(o, o->oldest);
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

int
offence_new(offence_tell *tell_it, void *arg, struct offences **ret)
{
	struct offences *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return -ENOMEM;
	o->tell = tell_it;
	o->arg = arg;
	o->oldest = o->newest = NONE;
	for (int i = 0; i < BUCKETS; i++)
		o->bucket[i] = NONE;
	for (int i = 0; i < OFFENCES_MAX; i++)
		o->offence[i].next = i + 1 < OFFENCES_MAX ? i + 1 : NONE;
	*ret = o;
	return 0;
}

void
offence_free(struct offences *o)
{
	free(o);
}

unsigned
offence_count(const struct offences *o)
{
	return o->n;
}
