/* SPDX-License-Identifier: ISC */
/* flood - what the parts of the program flood share: options, connections, counts */
#ifndef TESTS_STANDIN_FLOOD_H
#define TESTS_STANDIN_FLOOD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/ip.h"
#include "tests/standin/buf.h"
#include "tests/standin/hist.h"
#include "tests/standin/pace.h"

#define COMMAND_MAX 1024
#define SOURCES_MAX 256
#define CODES 600

enum step { BANNER, EHLO, AUTH, MAIL, RCPT, DATA, BODY, QUIT, STEPS };

static const struct {
	const char *name;
	char want; /* first digit of the reply that leads on */
} steps[STEPS] = {
	[BANNER] = { "banner", '2' },
	[EHLO] = { "ehlo", '2' },
	[AUTH] = { "auth", '2' },
	[MAIL] = { "mail", '2' },
	[RCPT] = { "rcpt", '2' },
	[DATA] = { "data", '3' },
	[BODY] = { "body", '2' },
	[QUIT] = { "quit", '2' },
};

/* Ends without a reply code, counted beside the codes. */
enum trouble { CLOSED, TIMEOUT, FAILED, TROUBLES };

static const char *const trouble_names[TROUBLES] = { "closed", "timeout", "error" };

struct options {
	struct sockaddr_storage to;
	socklen_t to_len;
	uint64_t rate, duration_ms, connections, size, timeout_ms; /* rate in thousandths */
	const char *from, *rcpt, *helo, *auth, *report;
	struct ip sources[SOURCES_MAX];
	size_t n_sources;
	struct ip net;
	uint64_t net_size; /* 0: none */
	bool has_rate, has_to, quiet, keep;
};

enum outcome { ACCEPTED, REFUSED_4XX, REFUSED_5XX, DROPPED, ERROR, OUTCOMES };

struct conn {
	int fd; /* -1: free */
	enum step step;
	bool counted; /* its outcome is known */
	bool parked; /* open, between two sessions */
	bool wants_out; /* registered for EPOLLOUT */
	uint64_t number;
	int64_t due_ns; /* when its session was to begin */
	int64_t asked_ns; /* when the command at hand was sent */
	size_t column; /* of the reply line at hand */
	char code[4];
	const char *out; /* what is still to be sent; borrowed */
	size_t out_len;
	char command[COMMAND_MAX];
};

struct counts {
	uint64_t started, skipped, outcome[OUTCOMES];
};

struct flood {
	struct options o;
	int epoll;
	struct conn *conns; /* o.connections of them */
	uint32_t *spare; /* indexes of free ones */
	uint32_t *parked; /* of open idle ones */
	size_t n_spare, n_parked, in_flight;
	struct buf body, auth_line;
	struct pace pace;
	int64_t start_ns, end_ns, next_second_ns, give_up_ns;
	uint64_t next_source;
	struct counts now, last; /* last: at the previous line of the report */
	uint64_t codes[STEPS][CODES];
	uint64_t troubles[STEPS][TROUBLES];
	struct hist session, mail; /* whole sessions, and the reply to MAIL alone */
	FILE *report;
	unsigned second;
};

#endif
