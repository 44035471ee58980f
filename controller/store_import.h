/* SPDX-License-Identifier: ISC */
/* store_import - what another program keeps in a SQLite database of its own */
#ifndef CONTROLLER_STORE_IMPORT_H
#define CONTROLLER_STORE_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

/* Call `each` for every ban of a fail2ban database (of version 0.10 on) that is in force at `now`, with what is left of it; bans for
 * ever have a year.  It returns false to stop.  The file is opened read-only.  Returns 0 or -Exxx with the reason. */
int store_import_fail2ban(const char *path, wall_t now, bool (*each)(const char *prefix, int64_t left_ms, void *arg),
	void *arg, struct err *why);

#endif
