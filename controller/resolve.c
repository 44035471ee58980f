/* SPDX-License-Identifier: ISC */
#include "controller/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/child.h"

#define OUTPUT_MAX (256 * 1024)
#define ERROR_MAX 200

struct resolve {
	struct event_base *base;
	resolve_found *found;
	void *arg;
	struct child child;
	struct event *io;
	mono_t deadline;
	char out[OUTPUT_MAX + 1], err[ERROR_MAX];
};

/* --- the child ------------------------------------------------------------------------------- */

static bool
take_address(const struct sockaddr *a, struct ip *ret)
{
	*ret = (struct ip) { .b = { [10] = 0xff, [11] = 0xff } };
	if (a->sa_family == AF_INET)
		memcpy(ret->b + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	else if (a->sa_family == AF_INET6)
		memcpy(ret->b, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
	else
		return false;
	return true;
}

int
resolve_main(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
		struct addrinfo *all;

		if (getaddrinfo(argv[i], NULL, &hints, &all) != 0)
			continue; /* the last good addresses stay */
		for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
			char text[IP_TEXT_MAX];
			struct ip ip;

			if (!take_address(a->ai_addr, &ip))
				continue;
			ip_format(&ip, text);
			(void)printf("%s %s\n", argv[i], text);
		}
		freeaddrinfo(all);
		(void)fflush(stdout); /* what is known counts, should our time be over at the next name */
	}
	return 0;
}

/* --- what it says ---------------------------------------------------------------------------- */

/* Lines of one name stand together. */
static void
read_output(struct resolve *r)
{
	struct ip addresses[RESOLVE_ADDRESSES_MAX];
	const char *name = NULL;
	char *save = NULL;
	size_t n = 0;

	r->out[r->child.out.len] = '\0';
	for (char *line = strtok_r(r->out, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		char *blank = strchr(line, ' ');
		struct ip ip;

		if (blank == NULL || ip_parse(blank + 1, &ip) < 0)
			continue; /* cut */
		*blank = '\0';
		if (name != NULL && strcmp(name, line) != 0) {
			r->found(name, addresses, n, r->arg);
			n = 0;
		}
		name = line;
		if (n < RESOLVE_ADDRESSES_MAX)
			addresses[n++] = ip;
	}
	if (name != NULL)
		r->found(name, addresses, n, r->arg);
}

static void
on_child(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *r = arg;

	(void)fd;
	(void)what;
	if (child_pump(&r->child) == -EAGAIN)
		return;
	(void)event_del(r->io);
	event_free(r->io);
	r->io = NULL;
	read_output(r);
}

/* --- life ------------------------------------------------------------------------------------ */

int
resolve_new(struct event_base *base, resolve_found *found, void *arg, struct resolve **ret)
{
	struct resolve *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->base = base;
	r->found = found;
	r->arg = arg;
	*ret = r;
	return 0;
}

void
resolve_free(struct resolve *r)
{
	if (r == NULL)
		return;
	if (r->io != NULL)
		event_free(r->io);
	if (r->child.pid != 0)
		child_abandon(&r->child);
	free(r);
}

int
resolve_start(struct resolve *r, const char *const *names, size_t n, mono_t now)
{
	static char self[] = "/proc/self/exe", option[] = RESOLVE_OPTION;
	char *argv[RESOLVE_NAMES_MAX + 3] = { self, option };
	char *envp[] = { NULL };

	if (r->child.pid != 0 || n == 0)
		return 0;
	for (size_t i = 0; i < n && i < RESOLVE_NAMES_MAX; i++)
		argv[i + 2] = (char *)(uintptr_t)names[i]; /* execve() copies them */
	int e = child_start(&(struct child_spec) {
		.argv = argv, .envp = envp, .in = -1, .out = r->out, .out_cap = OUTPUT_MAX,
		.err = r->err, .err_cap = sizeof(r->err),
	}, &r->child);
	if (e < 0)
		return e;
	r->deadline = mono_after(now, RESOLVE_DEADLINE_MS);
	r->io = event_new(r->base, r->child.poll, EV_READ | EV_PERSIST, on_child, r);
	if (r->io == NULL || event_add(r->io, NULL) < 0) {
		child_abandon(&r->child);
		return -ENOMEM;
	}
	return 0;
}

void
resolve_step(struct resolve *r, mono_t now)
{
	if (r->child.pid != 0 && now.ms >= r->deadline.ms)
		child_kill(&r->child);
}
