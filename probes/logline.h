/* SPDX-License-Identifier: ISC */
/*
 * logline - what a line of qmail-send's, tcpsvd's or tcpserver's log says
 *
 * Pure, without allocation; a result's texts are spans of the line.  Each line is of a known form from its first byte
 * to its last, or it says nothing: numbers are decimal and fit, addresses parse, free text has no blank and no control
 * character, for qmail-send and tcpserver replace them.
 *
 * Who may be charged.  Clients write into logs: a sender with a blank, a user name with a line feed in it can become
 * a whole line that looks like any other.  So an address is told only where nobody but the kernel and the server
 * itself wrote: in a log that tcpsvd or tcpserver has for itself (LOG_SERVER).  The same lines in a log that
 * qmail-smtpd writes to as well (LOG_SHARED) only count, and so does all that qmail-smtpd says.  In qmail-send's log an
 * address is told for no line at all; logline_relay() reads that of the host which took a message of ours.
 */
#ifndef PROBES_LOGLINE_H
#define PROBES_LOGLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

#define LOGLINE_MAX 4096 /* longer lines are cut before they get here */

enum log_stream {
	LOG_SEND, /* qmail-send alone writes to it */
	LOG_SERVER, /* tcpsvd or tcpserver alone */
	LOG_SHARED, /* tcpsvd or tcpserver, and whatever they start */
};

enum log_kind {
	LOGLINE_NONE,
	/* qmail-send's */
	LOGLINE_STATUS, /* used and limit of both channels */
	LOGLINE_NEW, /* number */
	LOGLINE_INFO, /* number, bytes, sender, qp, uid */
	LOGLINE_START, /* number of the delivery, msg, remote, recipient */
	LOGLINE_DELIVERY, /* number of the delivery, outcome, text */
	LOGLINE_BOUNCE, /* number, qp; outcome is failure when the bounce itself is thrown away */
	LOGLINE_END, /* number */
	/* tcpsvd's, tcpserver's */
	LOGLINE_SLOTS, /* used[0] and limit[0]: connections */
	LOGLINE_CONNECT, /* number: the pid; ip */
	LOGLINE_HELD, /* number, ip, used[0] and limit[0]: connections of that address */
	LOGLINE_ACCEPT, /* number, ip */
	LOGLINE_DENY, /* number, ip */
	LOGLINE_DROP, /* refused for want of something: text */
	LOGLINE_CLOSE, /* number */
	/* qmail-smtpd's and rblsmtpd's */
	LOGLINE_REJECT, /* a command or a client was refused */
};

enum log_outcome {
	LOG_SUCCESS,
	LOG_FAILURE,
	LOG_DEFERRAL,
};

struct logspan {
	const char *at; /* borrowed from the line */
	size_t n;
};

enum {
	LOG_LOCAL,
	LOG_REMOTE,
};

struct logline {
	enum log_kind kind;
	enum log_outcome outcome;
	bool remote;
	bool has_ip; /* only then may somebody be charged */
	struct ip ip;
	uint64_t number, msg, bytes, qp, uid;
	uint32_t used[2], limit[2]; /* by LOG_LOCAL, LOG_REMOTE */
	struct logspan sender, recipient, text;
};

/* `line` has no time stamp (stamp_read()) and no line feed.  Returns false, and kind LOGLINE_NONE, when it is of no
 * form that this stream has. */
bool logline_parse(const char *line, size_t n, enum log_stream stream, struct logline *ret);

/* The host that answered for a delivery, from the text of its LOGLINE_DELIVERY line: "192.0.2.1_accepted_message..."
 * Some qmails put "<From:SENDER_To:RECIPIENT>_" before it, where a sender may have written anything: with both known
 * from the lines before, that is skipped exactly, or nothing is told. */
bool logline_relay(struct logspan text, struct logspan sender, struct logspan recipient, struct ip *ret);

#endif
