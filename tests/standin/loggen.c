/* SPDX-License-Identifier: ISC */
/*
 * loggen - logs as qmail-send and the SMTP server write them, for benches and replays
 *
 *	loggen send|server|shared LINES [SEED [PER-SECOND]]
 *
 * send: messages with one or two deliveries, a tenth put off, some failed; of 200,000 lines the last 50,000 are a flood of
 * strangers' mail that leaves slower than it comes.  server: tcpsvd's lines, a twentieth of the connections from ten
 * addresses that never stop.  shared: tcpserver's, with what qmail-smtpd and rblsmtpd say among them.  Lines have TAI64N
 * labels, PER-SECOND (5000) of them in a second, and are the same for the same seed.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"

#define WAITING 65536 /* messages in the queue at most */

struct gen {
	uint64_t dice, wanted, lines, per_second;
	uint64_t number, delivery;
	unsigned long pid;
	uint64_t waiting[WAITING]; /* messages that are not delivered yet */
	size_t first, n;
};

static unsigned
throw(struct gen *g, unsigned sides)
{
	uint64_t z = g->dice += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned)((z ^ z >> 31) % sides);
}

/* Print the label of the next line.  False: there are enough. */
static bool
next(struct gen *g)
{
	if (g->lines == g->wanted)
		return false;
	g->lines++;
	uint64_t ns = g->lines * (UINT64_C(1000000000) / g->per_second);
	(void)printf("@%016" PRIx64 "%08" PRIx64 " ", UINT64_C(0x400000006b00e403) + ns / 1000000000, ns % 1000000000);
	return true;
}

#define LINE(g, ...) \
	do { \
		if (next(g)) { \
			(void)printf(__VA_ARGS__); \
			(void)putchar('\n'); \
		} \
	} while (0)

static void
deliver_one(struct gen *g)
{
	uint64_t number = g->waiting[g->first];
	unsigned targets = 1 + throw(g, 3) / 2, kind;

	g->first = (g->first + 1) % WAITING;
	g->n--;
	for (unsigned i = 0; i < targets; i++) {
		uint64_t d = ++g->delivery;
		bool remote = throw(g, 2) == 0;

		LINE(g, "starting delivery %" PRIu64 ": msg %" PRIu64 " to %s user%u@%s.example.test", d, number,
			remote ? "remote" : "local", throw(g, 5000), remote ? "sink" : "mx");
		LINE(g, "status: local %u/10 remote %u/20", throw(g, 10), throw(g, 20));
		kind = throw(g, 20);
		if (kind < 2)
			LINE(g, "delivery %" PRIu64 ": deferral: Sorry,_I_wasn't_able_to_establish_an_SMTP_connection._(#4.4.1)/", d);
		else if (kind == 2)
			LINE(g, "delivery %" PRIu64 ": failure: Sorry,_no_mailbox_here_by_that_name._(#5.1.1)/", d);
		else if (remote)
			LINE(g, "delivery %" PRIu64 ": success: 192.0.2.%u_accepted_message./Remote_host_said:_250_2.0.0_ok/",
				d, throw(g, 250));
		else
			LINE(g, "delivery %" PRIu64 ": success: did_1+0+0/", d);
		LINE(g, "status: local %u/10 remote %u/20", throw(g, 10), throw(g, 20));
	}
	LINE(g, "end msg %" PRIu64, number);
}

static void
make_send(struct gen *g)
{
	bool flood = g->lines / 50000 % 4 == 3;

	for (unsigned i = flood ? 1 + throw(g, 6) : 1; i > 0 && g->n < WAITING; i--) {
		uint64_t number = 1000000 + ++g->number % 900000;

		LINE(g, "new msg %" PRIu64, number);
		LINE(g, "info msg %" PRIu64 ": bytes %u from <user%u@%s.example.test> qp %u uid %u", number,
			200 + throw(g, 20000), throw(g, 5000), flood ? "far" : "mx", 1000 + throw(g, 30000),
			flood || throw(g, 4) > 0 ? 7791 : 1000);
		g->waiting[(g->first + g->n++) % WAITING] = number;
	}
	if (g->n > 0)
		deliver_one(g);
	if (!flood && g->n > 0)
		deliver_one(g);
}

static void
address(struct gen *g, char ret[32])
{
	if (throw(g, 20) == 0)
		(void)snprintf(ret, 32, "198.51.100.%u", 1 + throw(g, 10));
	else
		(void)snprintf(ret, 32, "%u.%u.%u.%u", 11 + throw(g, 89), throw(g, 256), throw(g, 256), 1 + throw(g, 254));
}

static void
make_server(struct gen *g)
{
	char ip[32];
	unsigned long pid = 1000 + g->pid++ % 30000;
	unsigned used = 1 + throw(g, 40);

	address(g, ip);
	LINE(g, "tcpsvd: info: status %u/100", used);
	LINE(g, "tcpsvd: info: pid %lu from %s", pid, ip);
	LINE(g, "tcpsvd: info: concurrency %lu %s 1/20", pid, ip);
	LINE(g, "tcpsvd: info: %s %lu mx.example.test:192.0.2.1 ::%s:%u ", throw(g, 30) == 0 ? "deny" : "start", pid, ip,
		1024 + throw(g, 60000));
	LINE(g, "tcpsvd: info: end %lu exit 0", pid);
	LINE(g, "tcpsvd: info: status %u/100", used - 1);
}

static void
make_shared(struct gen *g)
{
	char ip[32];
	unsigned long pid = 1000 + g->pid++ % 30000;
	unsigned used = 1 + throw(g, 40);

	address(g, ip);
	LINE(g, "tcpserver: status: %u/100", used);
	LINE(g, "tcpserver: pid %lu from %s", pid, ip);
	LINE(g, "tcpserver: ok %lu mx.example.test:192.0.2.1:25 :%s::%u", pid, ip, 1024 + throw(g, 60000));
	if (throw(g, 4) == 0)
		LINE(g, "rblsmtpd: %s pid %lu: 451 Try again later", ip, pid);
	else if (throw(g, 3) == 0)
		LINE(g, "qmail-smtpd: read failed (connection closed by the client before the quit cmd): "
			"user%u@far.example.test from %s to (null) helo far", throw(g, 5000), ip);
	LINE(g, "tcpserver: end %lu status 0", pid);
	LINE(g, "tcpserver: status: %u/100", used - 1);
}

int
main(int argc, char **argv)
{
	static struct gen g = { .dice = 1, .per_second = 5000 };
	static char buf[65536];
	void (*make)(struct gen *);

	if (argc < 3 || argc > 5 || num_u64(argv[2], &g.wanted) < 0 || (argc > 3 && num_u64(argv[3], &g.dice) < 0)
		|| (argc > 4 && (num_u64(argv[4], &g.per_second) < 0 || g.per_second == 0)))
		return 100;
	make = strcmp(argv[1], "send") == 0 ? make_send : strcmp(argv[1], "server") == 0 ? make_server
		: strcmp(argv[1], "shared") == 0 ? make_shared : NULL;
	if (make == NULL)
		return 100;
	(void)setvbuf(stdout, buf, _IOFBF, sizeof(buf));
	while (g.lines < g.wanted)
		make(&g);
	return fflush(stdout) == 0 ? 0 : 111;
}
