/* SPDX-License-Identifier: ISC */
/*
 * abuse - clients of the daemon's sockets as nobody wishes them
 *
 *	abuse mute SOCKET N MS       N connections that say nothing, for MS milliseconds
 *	abuse trickle SOCKET N MS    N that say one byte every 400 ms
 *	abuse deaf SOCKET N MS       N that ask and never read the answer
 *	abuse flood SOCKET N MS      N that ask rate.sock without a pause, every other one without reading the answers
 *	abuse knock SOCKET N         N one after the other, closed at once
 *	abuse noise SOCKET N SEED    N packets, one after the other: random, cut, oversize, nearly right
 *	abuse datagrams SOCKET N SEED
 *
 * Prints "connected: N", "refused: N" (no connection, or it broke while we wrote), "ended: N" (by the daemon), "longest: MS"
 * (a connection was kept), "answers: N".  Exit: 0 it was done, 100 usage, 111 nobody is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "lib/text.h"

#define CLIENTS_MAX 4000
#define STEP_MS 400
#define PACKET_MAX 6000 /* more than the daemon takes */

static const char question[] = "{\"command\":\"status\"}\n";

struct client {
	int fd; /* -1: ended */
	mono_t since;
	size_t said;
};

static struct {
	const char *kind;
	struct sockaddr_un to;
	uint64_t n, last; /* last: MS or SEED */
	uint64_t connected, refused, ended, answers;
	int64_t longest_ms;
} job;

static int
usage(void)
{
	(void)fputs("usage: abuse mute|trickle|deaf|flood SOCKET N MS | knock SOCKET N | noise|datagrams SOCKET N SEED\n",
		stderr);
	return 100;
}

static int
say_result(void)
{
	(void)printf("connected: %llu\nrefused: %llu\nended: %llu\nlongest: %lld\nanswers: %llu\n",
		(unsigned long long)job.connected, (unsigned long long)job.refused, (unsigned long long)job.ended,
		(long long)job.longest_ms, (unsigned long long)job.answers);
	return job.connected > 0 ? 0 : 111;
}

static int
connect_once(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&job.to, sizeof(job.to)) < 0) {
		job.refused++;
		(void)close(fd);
		return -1;
	}
	job.connected++;
	return fd;
}

/* --- those that stay ------------------------------------------------------------------------- */

static void
end(struct client *c)
{
	int64_t kept = mono_since(c->since, mono_now());

	if (kept > job.longest_ms)
		job.longest_ms = kept;
	job.ended++;
	(void)close(c->fd);
	c->fd = -1;
}

/* As much as the socket takes. */
static void
flood(struct client *c)
{
	static char questions[8192], answers[65536];
	static const char line[] = "+ip 198.51.100.7\n";

	if (questions[0] == '\0')
		for (size_t i = 0; i + sizeof(line) - 1 <= sizeof(questions); i += sizeof(line) - 1)
			memcpy(questions + i, line, sizeof(line) - 1);
	if (c->fd < 0)
		return;
	ssize_t n = send(c->fd, questions, sizeof(questions) / (sizeof(line) - 1) * (sizeof(line) - 1),
		MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EPIPE)
		end(c);
	else if (c->fd % 2 == 0 && recv(c->fd, answers, sizeof(answers), MSG_DONTWAIT) > 0)
		job.answers++;
}

static void
say_more(struct client *c)
{
	bool deaf = strcmp(job.kind, "deaf") == 0;
	size_t n = deaf ? sizeof(question) - 1 : 1;

	if (c->fd < 0 || strcmp(job.kind, "mute") == 0 || (deaf && c->said > 0))
		return;
	if (send(c->fd, question + (deaf ? 0 : c->said % 10), n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE)
		end(c);
	else
		c->said += n;
}

static void
look(struct client *c)
{
	char peek;
	struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

	if (c->fd < 0 || poll(&p, 1, 0) != 1)
		return;
	if (recv(c->fd, &peek, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		job.answers++;
	end(c);
}

static int
stay(void)
{
	static struct client client[CLIENTS_MAX];
	struct rlimit files = { .rlim_cur = CLIENTS_MAX + 16, .rlim_max = CLIENTS_MAX + 16 };
	mono_t deadline = mono_after(mono_now(), (int64_t)job.last), next = { 0 };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	for (uint64_t i = 0; i < job.n; i++)
		client[i] = (struct client) { .fd = connect_once(SOCK_STREAM), .since = mono_now() };
	for (mono_t now = mono_now(); now.ms < deadline.ms; now = mono_now()) {
		for (uint64_t i = 0; i < job.n && now.ms >= next.ms && strcmp(job.kind, "flood") != 0; i++)
			say_more(&client[i]);
		if (now.ms >= next.ms)
			next = mono_after(now, STEP_MS);
		if (strcmp(job.kind, "flood") == 0) {
			for (uint64_t i = 0; i < job.n; i++)
				flood(&client[i]);
			continue;
		}
		for (uint64_t i = 0; i < job.n; i++)
			look(&client[i]);
		(void)poll(NULL, 0, 20);
	}
	for (uint64_t i = 0; i < job.n; i++) {
		if (client[i].fd < 0)
			continue;
		int64_t kept = mono_since(client[i].since, mono_now());
		if (kept > job.longest_ms)
			job.longest_ms = kept;
	}
	return say_result();
}

static int
knock(void)
{
	for (uint64_t i = 0; i < job.n; i++) {
		int fd = connect_once(SOCK_STREAM);

		if (fd >= 0)
			(void)close(fd);
	}
	return say_result();
}

/* --- noise ----------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t
dice(void)
{
	static uint64_t state;

	if (state == 0)
		state = job.last;
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t
random_bytes(char *buf, size_t most)
{
	size_t n = 1 + dice() % most;

	for (size_t i = 0; i < n; i++)
		buf[i] = (char)dice();
	return n;
}

/* One thing that is not a request, or hardly. */
static size_t
make_packet(char buf[PACKET_MAX])
{
	static const char *const nearly[] = {
		"{\"command\":\"force\",\"level\":\"overloaded\",\"for_ms\":999999999999999999999}\n",
		"{\"command\":\"force\",\"level\":[],\"for_ms\":{}}\n", "{\"command\":null}\n", "[]\n", "{}\n", "\n", "\"\"\n",
		"{\"command\":\"status\",\"command\":\"force\"}\n", "{\"command\":\"force\",\"level\":\"auto\\u0000\"}\n",
		"{\"command\":\"\xff\xfe\"}\n", "ip 1", "?\r\nip 1\n", "user \xff\n\n", "{\"command\":\"reload\"", "nul\0nul\n", "1e999\n", "{\"command\":-0}\n",
	};
	const char *model = nearly[dice() % (sizeof(nearly) / sizeof(nearly[0]))];
	size_t n;

	switch (dice() % 6) {
	case 0: /* any bytes */
		return random_bytes(buf, 300);
	case 1: /* more than it takes, without an end */
		memset(buf, 'x', PACKET_MAX);
		return PACKET_MAX;
	case 2: /* deep */
		memset(buf, dice() % 2 != 0 ? '[' : '{', 4000);
		buf[4000] = '\n';
		return 4001;
	case 3: /* a line of any bytes */
		n = random_bytes(buf, 200);
		buf[n] = '\n';
		return n + 1;
	case 4: /* one byte off */
		n = sizeof(question) - 1;
		memcpy(buf, question, n);
		buf[dice() % n] ^= (char)(1 << dice() % 8);
		return n;
	default:
		n = strlen(model);
		memcpy(buf, model, n);
		return n;
	}
}

/* Read the answer of every eighth that should get one; the others leave first. */
static void
take_answer(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[512];

	while (poll(&p, 1, 3000) == 1) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			return;
		job.answers++;
	}
}

static int
noise(int type)
{
	char packet[PACKET_MAX];

	for (uint64_t i = 0; i < job.n; i++) {
		size_t n = make_packet(packet);
		int fd = connect_once(type);

		if (fd < 0) {
			(void)poll(NULL, 0, 1);
			continue;
		}
		if (send(fd, packet, n, MSG_NOSIGNAL | (type == SOCK_DGRAM ? MSG_DONTWAIT : 0)) < 0)
			job.refused++;
		if (type == SOCK_STREAM && i % 8 == 0 && memchr(packet, '\n', n) != NULL)
			take_answer(fd);
		(void)close(fd);
	}
	return say_result();
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		return usage();
	job.kind = argv[1];
	job.to.sun_family = AF_UNIX;
	if (text_copy(job.to.sun_path, sizeof(job.to.sun_path), argv[2]) < 0 || num_u64(argv[3], &job.n) < 0
		|| (argc > 4 && num_u64(argv[4], &job.last) < 0) || argc > 5)
		return usage();
	if (strcmp(job.kind, "knock") == 0)
		return argc == 4 ? knock() : usage();
	if (argc != 5)
		return usage();
	if (strcmp(job.kind, "noise") == 0)
		return noise(SOCK_STREAM);
	if (strcmp(job.kind, "datagrams") == 0)
		return noise(SOCK_DGRAM);
	if (strcmp(job.kind, "mute") != 0 && strcmp(job.kind, "trickle") != 0 && strcmp(job.kind, "deaf") != 0
		&& strcmp(job.kind, "flood") != 0)
		return usage();
	return job.n <= CLIENTS_MAX ? stay() : usage();
}
