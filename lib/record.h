/* SPDX-License-Identifier: ISC */
/*
 * record - the session record: what a plugin knows of an SMTP session, in one packet
 *
 * A plugin sends it to event.sock after it has refused something by itself, and to ask.sock when it wants a verdict.
 * At most RECORD_MAX bytes: a fixed head, then fields of {tag, length, bytes}.  Texts of strangers are carried as
 * they came, cut at RECORD_TEXT_MAX; what was cut is told by the field's full length and a hash of the whole.
 * Unknown tags are passed over, so that an older engine understands a newer plugin.
 *
 * Format, version 2, little endian:
 *	u32 magic, u16 version, u16 total length, u8 stage, u8 class, u8 check, u8 verdict, u16 code,
 *	u16 zero, u32 pid, 16 bytes address (all zero: unknown), u32 wants, u32 delay
 *	fields: u8 tag, u8 zero, u16 stored length, u32 full length, u64 hash (0 unless cut), bytes
 */
#ifndef LIB_RECORD_H
#define LIB_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/ip.h"
#include "lib/smtp.h"

#define RECORD_VERSION 2
#define RECORD_MAX 4096
#define RECORD_TEXT_MAX 512

enum record_tag {
	RECORD_HELO,
	RECORD_SENDER,
	RECORD_RECIPIENT,
	RECORD_USER,
	RECORD_EPISODE,
	RECORD_HOST, /* TCPREMOTEHOST */
};
#define RECORD_TAGS 6

enum verdict {
	VERDICT_PASS,
	VERDICT_REFUSE, /* E: this command */
	VERDICT_CLOSE, /* R: this command, and the connection ends */
};
#define VERDICT_COUNT 3

/* A text of a stranger: any bytes but NUL. */
struct record_text {
	const char *s; /* borrowed; NULL when the field is missing */
	size_t len; /* stored, <= RECORD_TEXT_MAX */
	uint32_t full_len; /* before the cut */
	uint64_t hash; /* SipHash-2-4 with key 0 of the whole, 0 unless cut */
};

struct record {
	enum stage stage;
	enum client_class class;
	enum check check; /* that decided */
	enum verdict verdict;
	uint16_t code; /* SMTP reply code, 0 when there was none */
	uint32_t pid; /* of qmail-smtpd */
	bool ip_known;
	struct ip ip;
	uint32_t wants; /* to ask.sock: bits of enum check that shall be answered for */
	uint32_t delay_ms; /* with CHECK_TARPIT: so long the plugin would sleep */
	struct record_text text[RECORD_TAGS];
};

/* Make a text for a record out of a string; NULL gives a missing field. */
struct record_text record_text_of(const char *s);

#define RECORD_HEAD 44
#define RECORD_FIELD_HEAD 16

/* A record ready for writev() or sendmsg(): heads of our own, texts where they were. */
struct record_packet {
	uint8_t head[RECORD_HEAD];
	uint8_t field[RECORD_TAGS][RECORD_FIELD_HEAD];
	struct iovec part[1 + 2 * RECORD_TAGS];
	int parts;
	size_t len; /* at most RECORD_MAX: all fields of their greatest length fit */
};

/* `ret` points into itself and borrows the texts: it must not be moved. */
void record_pack(const struct record *r, struct record_packet *ret);

/* Texts in `ret` point into `buf`.  Returns 0, -EBADMSG or -EPROTO (version); `ret` is untouched then. */
int record_decode(const uint8_t *buf, size_t len, struct record *ret);

#endif
