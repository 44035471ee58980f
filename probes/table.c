/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>

#include "probes/probe.h"

const struct probe_ops *const probe_table[] = {
	&probe_queue,
	&probe_qstat,
	&probe_load,
	&probe_disk,
	&probe_logs,
	NULL,
};

_Static_assert(sizeof(probe_table) / sizeof(probe_table[0]) == PROBE_COUNT + 1, "PROBE_COUNT");

void
probe_tell(struct probe_sample *s, enum reading_id id, double value)
{
	s->told |= 1u << id;
	s->value[id] = (struct reading_value) { .known = true, .value = value };
}

void
probe_fact(struct probe_fact *f, const char *name, const char *fmt, ...)
{
	va_list ap;

	f->name = name;
	va_start(ap, fmt);
	/* A fact is for people: one that is too long is shown cut. */
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}
