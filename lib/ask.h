/* SPDX-License-Identifier: ISC */
/*
 * ask - one packet with a session record to ask.sock, one packet with the verdict back
 *
 * The socket is SOCK_SEQPACKET, so that a packet is whole or not there.  A plugin sends a record (record.h) whose
 * `wants` names the checks that it has no verdict of itself; the engine answers for all of them at once and closes,
 * but for an answer with a delay: that connection the engine keeps, so that a plugin which sleeps in poll(2) on it
 * wakes when the engine ends, and the engine sees when the plugin does.
 *
 * Format of an answer, version 1, little endian, ASK_ANSWER_SIZE bytes:
 *	u32 magic, u16 version, u8 verdict, u8 check, u16 code, u8 flags, u8 zero, u32 delay in ms, u32 n, u32 max,
 *	16 bytes evidence id, the rest zero
 */
#ifndef LIB_ASK_H
#define LIB_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/record.h"

#define ASK_VERSION 1
#define ASK_ANSWER_SIZE 48
#define ASK_ID_MAX 16 /* with the final NUL */
#define ASK_DELAY_MAX_MS 30000

enum ask_flags {
	ASK_MAY_BLOCK = 1u << 0, /* the address is not protected: IPSVDIR may be honoured */
	ASK_TARPIT_FULL = 1u << 1, /* a delay was wanted, and there is no room for another sleeper */
};

struct ask_answer {
	enum verdict verdict;
	enum check check; /* that decided, when the verdict is not VERDICT_PASS */
	uint16_t code; /* SMTP reply code of a refusal, else 0 */
	unsigned flags; /* enum ask_flags */
	uint32_t delay_ms; /* sleep so long before going on, at most ASK_DELAY_MAX_MS */
	uint32_t n, max; /* that led to a refusal */
	char id[ASK_ID_MAX]; /* evidence id of a refusal: letters and digits, or "" */
};

void ask_answer_encode(const struct ask_answer *a, uint8_t ret[ASK_ANSWER_SIZE]);

/* Returns 0, -EBADMSG or -EPROTO (version); values are checked; `ret` is untouched on failure. */
int ask_answer_decode(const uint8_t *buf, size_t len, struct ask_answer *ret);

/* Put `r` to DIR/ask.sock and have the answer by `until` at the latest.  Returns the descriptor of the connection,
 * which the caller closes when there is nothing more to wait for, or -errno: -ETIMEDOUT, -EAGAIN (so many ask that it
 * can't take one more), -ECONNREFUSED, -ENOENT, -ECONNRESET (it went without an answer), -EBADMSG, -EPROTO, ...; then
 * `ret` is untouched. */
int ask_engine(const char *dir, const struct record *r, mono_t until, struct ask_answer *ret);

#endif
