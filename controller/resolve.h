/* SPDX-License-Identifier: ISC */
/*
 * resolve - the addresses of names, looked up by a process of its own
 *
 * A name server that does not answer stops nobody here: the child has RESOLVE_DEADLINE_MS for all names, and what it did not
 * find out by then is as if it had not been asked.
 */
#ifndef CONTROLLER_RESOLVE_H
#define CONTROLLER_RESOLVE_H

#include <event2/event.h>

#include "lib/clock.h"
#include "lib/ip.h"

#define RESOLVE_OPTION "--resolve-names"
#define RESOLVE_DEADLINE_MS 20000
#define RESOLVE_NAMES_MAX 256
#define RESOLVE_ADDRESSES_MAX 64 /* of a name */

struct resolve;

/* Called once for each name that has addresses. */
typedef void resolve_found(const char *name, const struct ip *addresses, size_t n, void *arg);

/* Returns 0 or -ENOMEM. */
int resolve_new(struct event_base *base, resolve_found *found, void *arg, struct resolve **ret);
void resolve_free(struct resolve *r); /* NULL is allowed */

/* Look up these names, which are copied; does nothing while a look-up is under way.  Returns 0 or -Exxx. */
int resolve_start(struct resolve *r, const char *const *names, size_t n, mono_t now);

/* Ends a child that is over its time. */
void resolve_step(struct resolve *r, mono_t now);

/* main() of the child: a line "NAME ADDRESS" for each address of each name.  Returns the exit code. */
int resolve_main(int argc, char **argv);

#endif
