/* SPDX-License-Identifier: ISC */
/*
 * knock - what does a client of this address get, when it connects and says nothing?
 *
 *	knock [--hold MS] [--times N] FROM TO PORT
 *	knock - TO PORT              from each address that stands on a line of stdin, one after the other
 *
 * Connects from the address FROM, and prints, a line each: the first line that comes, without its end, bytes outside
 * 0x20..0x7e as \xHH; "closed" when the connection is closed without a word; "silence" when nothing comes within 3 s; "no: TEXT"
 * when there is no connection.  With --hold it stays connected so long afterwards; with --times N it counts instead, and
 * prints "N TEXT" for each text, and "us: N", the median time of one.
 *
 * We never test against an address off this machine: a TO outside 127.0.0.0/8 and 198.18.0.0/15 is refused.
 *
 * Exit: 0 it was tried, 100 usage.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/ip.h"
#include "lib/num.h"
#include "lib/text.h"

#define SILENCE_MS 3000
#define TEXT_MAX 600
#define TIMES_MAX 100000
#define TEXTS_MAX 8

static struct sockaddr_in from, to;

static int64_t
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int
open_connection(void)
{
	static const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&from, sizeof(from)) == 0
		&& connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	int r = -errno;
	(void)close(fd);
	return r;
}

/* The first line, or what came of it. */
static void
listen_to(int fd, char ret[TEXT_MAX])
{
	struct text t = text_in(ret, TEXT_MAX);
	char line[128];
	size_t len = 0;

	while (len < sizeof(line) && memchr(line, '\n', len) == NULL) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, SILENCE_MS) > 0 ? read(fd, line + len, sizeof(line) - len) : -2;

		if (n <= 0) {
			if (len == 0)
				text_puts(&t, n == -2 ? "silence" : "closed");
			break;
		}
		len += (size_t)n;
	}
	const char *end = memchr(line, '\n', len);
	if (end != NULL)
		len = (size_t)(end - line);
	if (len > 0 && line[len - 1] == '\r')
		len--;
	text_put_printable(&t, line, len, len);
}

static void
knock(int hold_ms, char ret[TEXT_MAX])
{
	int fd = open_connection();

	if (fd < 0) {
		(void)snprintf(ret, TEXT_MAX, "no: %s", strerror(-fd));
		return;
	}
	listen_to(fd, ret);
	if (hold_ms > 0) {
		(void)puts(ret);
		(void)fflush(stdout);
		(void)poll(NULL, 0, hold_ms);
	}
	(void)close(fd);
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void
knock_often(size_t times)
{
	static struct {
		char text[TEXT_MAX];
		size_t n;
	} met[TEXTS_MAX];
	static int64_t us[TIMES_MAX];

	for (size_t i = 0; i < times; i++) {
		char text[TEXT_MAX];
		int64_t begin = now_us();
		size_t k = 0;

		knock(0, text);
		us[i] = now_us() - begin;
		while (k < TEXTS_MAX - 1 && met[k].n > 0 && strcmp(met[k].text, text) != 0)
			k++;
		(void)snprintf(met[k].text, TEXT_MAX, "%s", text);
		met[k].n++;
	}
	for (size_t k = 0; k < TEXTS_MAX && met[k].n > 0; k++)
		(void)printf("%zu %s\n", met[k].n, met[k].text);
	qsort(us, times, sizeof(us[0]), compare);
	(void)printf("us: %lld\n", (long long)us[times / 2]);
}

static int
read_address(const char *s, struct sockaddr_in *ret)
{
	struct ip ip;

	if (ip_parse(s, &ip) < 0 || !ip_is_v4(&ip))
		return -EINVAL;
	ret->sin_family = AF_INET;
	memcpy(&ret->sin_addr, ip.b + 12, 4);
	return 0;
}

/* Returns the exit code. */
static int
knock_from_each(FILE *f)
{
	char line[64], text[TEXT_MAX];

	while (fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (read_address(line, &from) < 0) {
			(void)fprintf(stderr, "knock: %s: not an address\n", line);
			return 100;
		}
		knock(0, text);
		(void)puts(text);
	}
	return 0;
}

static bool
is_here(const struct sockaddr_in *a)
{
	uint32_t ip = ntohl(a->sin_addr.s_addr);

	return ip >> 24 == 127 || ip >> 17 == (198u << 24 | 18u << 16) >> 17;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "hold", required_argument, NULL, 'h' }, { "times", required_argument, NULL, 'n' }, { 0 },
	};
	uint64_t hold = 0, times = 0, port = 0;
	char text[TEXT_MAX];
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (num_u64(optarg != NULL ? optarg : "x", c == 'h' ? &hold : &times) < 0)
			argc = 0;
	bool many = argc - optind == 3 && strcmp(argv[optind], "-") == 0;
	if (argc - optind != 3 || hold > 600000 || times > TIMES_MAX || (!many && read_address(argv[optind], &from) < 0)
		|| read_address(argv[optind + 1], &to) < 0 || !is_here(&to) || num_u64(argv[optind + 2], &port) < 0 || port > 65535) {
		(void)fprintf(stderr, "usage: knock [--hold MS] [--times N] FROM|- TO PORT\n");
		return 100;
	}
	to.sin_port = htons((uint16_t)port);
	if (many)
		return knock_from_each(stdin);
	if (times > 0) {
		knock_often(times);
		return 0;
	}
	knock((int)hold, text);
	if (hold == 0)
		(void)puts(text);
	return 0;
}
