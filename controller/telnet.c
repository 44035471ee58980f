/* SPDX-License-Identifier: ISC */
#include "controller/telnet.h"

enum {
	SE = 240,
	SB = 250,
	WILL = 251,
	DONT = 254,
	IAC = 255,
};

static bool
take_text(struct telnet *t, uint8_t byte)
{
	if (t->whole)
		t->len = 0, t->whole = t->too_long = false;
	if (byte == '\n') {
		t->line[t->len] = '\0';
		t->whole = true;
	} else if (byte == '\0' || byte == '\r') {
		return false;
	} else if (t->len == TELNET_LINE_MAX) {
		t->too_long = true;
	} else {
		t->line[t->len++] = (char)byte;
	}
	return t->whole;
}

bool
telnet_take(struct telnet *t, uint8_t byte)
{
	switch (t->state) {
	case TELNET_TEXT:
		if (byte != IAC)
			return take_text(t, byte);
		t->state = TELNET_COMMAND;
		return false;
	case TELNET_COMMAND:
		t->state = byte == SB ? TELNET_SUB : byte >= WILL && byte <= DONT ? TELNET_OPTION : TELNET_TEXT;
		return byte == IAC && take_text(t, byte); /* two of them are one, and text */
	case TELNET_OPTION:
		t->state = TELNET_TEXT;
		return false;
	case TELNET_SUB:
		if (byte == IAC)
			t->state = TELNET_SUB_COMMAND;
		return false;
	case TELNET_SUB_COMMAND:
		t->state = byte == SE ? TELNET_TEXT : TELNET_SUB;
		return false;
	}
	return false;
}
