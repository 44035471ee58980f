/* SPDX-License-Identifier: ISC */
/*
 * clock - the two clocks, kept apart by type so that the compiler keeps them apart
 *
 * mono_t   milliseconds since the machine booted (CLOCK_BOOTTIME): the same number in every process,
 *          never set back, and it counts the time a machine sleeps.  For deadlines, ages, rates, leases.
 * wall_t   milliseconds since 1970-01-01 UTC.  It may jump by days at any moment.  For people, and for
 *          what must outlive a reboot; never for a decision.
 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	int64_t ms;
} mono_t;

typedef struct {
	int64_t ms;
} wall_t;

#define CLOCK_BOOT_ID_SIZE 16
#define CLOCK_WALL_TEXT_MAX 32

mono_t mono_now(void);
wall_t wall_now(void);

/* Milliseconds from `then` to `now`; negative if `then` lies ahead. */
static inline int64_t
mono_since(mono_t then, mono_t now)
{
	return now.ms - then.ms;
}

static inline mono_t
mono_after(mono_t t, int64_t ms)
{
	return (mono_t) { t.ms + ms };
}

/* The kernel's random id of this boot.  CLOCK_BOOTTIME restarts at a boot, so a stored mono_t means
 * something only together with it.  Returns 0 or -Exxx; `ret` is untouched on failure. */
int clock_boot_id(uint8_t ret[CLOCK_BOOT_ID_SIZE]);

/* "2026-11-20T23:35:27Z".  Years beyond 9999 and before 1970 read as "-". */
void wall_format(wall_t t, char ret[CLOCK_WALL_TEXT_MAX]);

#endif
