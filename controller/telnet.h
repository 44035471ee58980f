/* SPDX-License-Identifier: ISC */
/*
 * telnet - lines out of what a telnet client sends
 *
 * Pure.  The commands of the protocol (RFC 854: IAC and what belongs to it) are taken out; nothing is agreed to,
 * which is what a client expects of something that speaks no telnet.  NUL and CR are left out, so that all ends of
 * a line are alike.
 */
#ifndef CONTROLLER_TELNET_H
#define CONTROLLER_TELNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TELNET_LINE_MAX 1000

enum telnet_state {
	TELNET_TEXT,
	TELNET_COMMAND, /* behind IAC */
	TELNET_OPTION, /* behind WILL, WONT, DO, DONT */
	TELNET_SUB, /* within a subnegotiation */
	TELNET_SUB_COMMAND, /* behind IAC in it */
};

/* Zeroed at the start of a connection. */
struct telnet {
	enum telnet_state state;
	bool whole; /* `line` was given out: the next byte begins another */
	bool too_long; /* only the beginning of the line is there */
	size_t len;
	char line[TELNET_LINE_MAX + 1]; /* terminated when it is whole */
};

/* Take a byte.  Returns whether a line is whole now; it is valid until the next byte. */
bool telnet_take(struct telnet *t, uint8_t byte);

#endif
