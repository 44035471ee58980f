/* SPDX-License-Identifier: ISC */
/*
 * Two tables of the same make, keyed by the number of a message and of a delivery: buckets of WAYS slots, the oldest of
 * a full bucket is taken anew.  Numbers come from qmail, inodes and a counter, so nobody outside can choose them.
 */
#include "probes/sendlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8

struct slot {
	uint64_t number;
	uint64_t msg; /* of a delivery */
	uint64_t born; /* 0: free */
	bool remote, known; /* known: text is the whole of it */
	uint16_t n;
	char text[SENDLOG_ADDRESS_MAX];
};

struct table {
	size_t buckets; /* a power of two */
	struct slot *slot; /* buckets * WAYS */
};

struct sendlog {
	struct table messages, deliveries;
	uint64_t clock; /* of births */
	struct slot done; /* the delivery that was told last */
	struct sendlog_counts counts;
};

static int
make_table(struct table *t, size_t slots)
{
	t->buckets = 1;
	while (t->buckets * WAYS < slots)
		t->buckets *= 2;
	t->slot = calloc(t->buckets * WAYS, sizeof(*t->slot));
	return t->slot == NULL ? -ENOMEM : 0;
}

int
sendlog_new(size_t messages, size_t deliveries, struct sendlog **ret)
{
	struct sendlog *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	if (make_table(&s->messages, messages) < 0 || make_table(&s->deliveries, deliveries) < 0) {
		sendlog_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void
sendlog_free(struct sendlog *s)
{
	if (s == NULL)
		return;
	free(s->messages.slot);
	free(s->deliveries.slot);
	free(s);
}

const struct sendlog_counts *
sendlog_counts(const struct sendlog *s)
{
	return &s->counts;
}

static struct slot *
bucket(const struct table *t, uint64_t number)
{
	uint64_t h = number * UINT64_C(0x9e3779b97f4a7c15);

	return &t->slot[(size_t)(h >> 32 & (t->buckets - 1)) * WAYS];
}

static struct slot *
find(const struct table *t, uint64_t number)
{
	struct slot *b = bucket(t, number);

	for (int i = 0; i < WAYS; i++)
		if (b[i].born != 0 && b[i].number == number)
			return &b[i];
	return NULL;
}

/* The slot of this number, a free one, or the oldest. */
static struct slot *
put(struct sendlog *s, struct table *t, uint64_t number, struct logspan text)
{
	struct slot *b = bucket(t, number), *found = find(t, number);

	if (found == NULL) {
		found = &b[0];
		for (int i = 1; i < WAYS; i++)
			if (b[i].born < found->born)
				found = &b[i];
		s->counts.forgotten += found->born != 0;
	}
	found->number = number;
	found->born = ++s->clock;
	found->known = text.n <= sizeof(found->text);
	found->n = found->known ? (uint16_t)text.n : 0;
	if (found->n > 0)
		memcpy(found->text, text.at, found->n);
	return found;
}

static void
forget(const struct table *t, uint64_t number)
{
	struct slot *found = find(t, number);

	if (found != NULL)
		found->born = 0;
}

static void
start(struct sendlog *s, const struct logline *l)
{
	struct slot *d = put(s, &s->deliveries, l->number, l->recipient);

	d->msg = l->msg;
	d->remote = l->remote;
}

static bool
end(struct sendlog *s, const struct logline *l, wall_t at, struct sendlog_delivery *ret)
{
	struct slot *d = find(&s->deliveries, l->number);

	if (d == NULL || !d->known) {
		s->counts.no_start++;
		if (d != NULL)
			d->born = 0;
		return false;
	}
	const struct slot *m = find(&s->messages, d->msg);
	s->done = *d;
	d->born = 0;
	*ret = (struct sendlog_delivery) {
		.recipient = { s->done.text, s->done.n }, .remote = s->done.remote, .outcome = l->outcome, .at = at,
	};
	if (m != NULL && m->known) {
		ret->sender_known = true;
		ret->sender = (struct logspan) { m->text, m->n };
	} else {
		s->counts.no_sender++;
	}
	/* Text of a sender whom we don't know may look like anything. */
	if (ret->remote && l->text.n > 0 && (ret->sender_known || l->text.at[0] != '<'))
		ret->relay_known = logline_relay(l->text, ret->sender, ret->recipient, &ret->relay);
	s->counts.deliveries++;
	return true;
}

bool
sendlog_take(struct sendlog *s, const struct logline *l, wall_t at, struct sendlog_delivery *ret)
{
	switch (l->kind) {
	case LOGLINE_NEW: /* another message than the last one of this number */
	case LOGLINE_END:
		forget(&s->messages, l->number);
		return false;
	case LOGLINE_INFO:
		(void)put(s, &s->messages, l->number, l->sender);
		return false;
	case LOGLINE_START:
		start(s, l);
		return false;
	case LOGLINE_DELIVERY:
		return end(s, l, at, ret);
	default:
		return false;
	}
}
