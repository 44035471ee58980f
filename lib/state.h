/* SPDX-License-Identifier: ISC */
/*
 * state - the published state: one small file that says how overloaded the server is
 *
 * The engine writes RUN_DIR/state by rename, at every change and several times within `lease`.  Plugins
 * read it at each SMTP command.  It is a lease, not a fact: without a newer issue within `valid_ms` on
 * CLOCK_BOOTTIME of the same boot, nobody believes it.  A dead engine, a reboot, a jump of the wall clock can
 * therefore not keep the gate closed.
 *
 * Format, version 1: STATE_SIZE bytes, little endian, packed as state_encode() writes them; the last eight are
 * SipHash-2-4 with key 0 of all before.  Reserved bytes are zero when written and not looked at when read.
 */
#ifndef LIB_STATE_H
#define LIB_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/reading.h"
#include "lib/smtp.h"

#define STATE_VERSION 1
#define STATE_SIZE 160
#define STATE_FILE "state"
#define EPISODE_ID_MAX 16 /* with the final NUL */
#define ADMIT_ALL 1000 /* permille */

enum state_flags {
	STATE_EXTENDED_TEXTS = 1u << 0, /* replies carry enhanced status codes and the evidence id */
	STATE_TELL_LOGINS = 1u << 1, /* a session of one of our users, at MAIL: his address is blocked less hard */
	STATE_BOUNCES = 1u << 2, /* bounces are counted: ask about each, and tell what our users send */
	STATE_TELL_MAILS = 1u << 3, /* a session of a stranger, at DATA: his network is not blocked whole */
};

struct state {
	uint8_t boot_id[CLOCK_BOOT_ID_SIZE];
	mono_t issued;
	uint32_t valid_ms;
	enum level level;
	unsigned flags; /* enum state_flags */
	char episode[EPISODE_ID_MAX]; /* "" when there is none; else letters and digits */
	uint64_t salt; /* makes the choice of who is admitted the same for all plugins, for an episode */
	uint16_t admit[CLASS_COUNT]; /* permille of the clients of a class, 0..ADMIT_ALL */
	uint32_t checks[STAGE_COUNT]; /* bits of enum check that are on at a stage */
};

void state_encode(const struct state *s, uint8_t ret[STATE_SIZE]);

/* Returns 0, -EBADMSG (damaged or not ours) or -EPROTO (another version); `ret` is untouched then. */
int state_decode(const uint8_t *buf, size_t len, struct state *ret);

/* Read DIR/state without ever waiting.  `ret` may be outdated: ask state_is_current().
 * Returns 0, -ENOENT, or another -Exxx for all that is not a readable, whole state. */
int state_read(const char *dir, struct state *ret);

/* Is `s` from this boot and its lease not over at `now`?  An issue time ahead of `now` is not. */
bool state_is_current(const struct state *s, mono_t now, const uint8_t boot_id[CLOCK_BOOT_ID_SIZE]);

/* The same without the boot id, for a cheap first look. */
bool state_is_fresh(const struct state *s, mono_t now);

#endif
