/* SPDX-License-Identifier: ISC */
#include "controller/protect.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "lib/array.h"

static const char *const loopback[] = { "127.0.0.0/8", "::1/128" };

static int
add(struct protect *p, const struct ip_prefix *prefix)
{
	if (p->n == PROTECT_MAX)
		return -ENOSPC;
	p->prefix[p->n++] = *prefix;
	return 0;
}

/* The address of an interface.  Returns false for one of another family, or none. */
static bool
address_of(const struct ifaddrs *i, struct ip_prefix *ret)
{
	*ret = (struct ip_prefix) { .ip.b = { [10] = 0xff, [11] = 0xff }, .bits = 128 }; /* ::ffff:0.0.0.0 */
	if (i->ifa_addr == NULL)
		return false;
	switch (i->ifa_addr->sa_family) {
	case AF_INET:
		memcpy(ret->ip.b + 12, (const char *)i->ifa_addr + offsetof(struct sockaddr_in, sin_addr), 4);
		return true;
	case AF_INET6:
		memcpy(ret->ip.b, (const char *)i->ifa_addr + offsetof(struct sockaddr_in6, sin6_addr), 16);
		return true;
	default:
		return false;
	}
}

int
protect_load(struct protect *ret)
{
	struct ip_prefix prefix;
	struct ifaddrs *all;
	int r = 0;

	ret->n = 0;
	for (size_t i = 0; i < countof(loopback); i++)
		if (ip_prefix_parse(loopback[i], &prefix) == 0)
			(void)add(ret, &prefix); /* the first ones fit */
	if (getifaddrs(&all) < 0)
		return -errno;
	for (const struct ifaddrs *i = all; i != NULL && r == 0; i = i->ifa_next)
		if (address_of(i, &prefix))
			r = add(ret, &prefix);
	freeifaddrs(all);
	return r;
}

bool
protect_is_static(const struct protect *p, const struct ip *ip)
{
	for (unsigned i = 0; i < p->n; i++)
		if (ip_prefix_contains(&p->prefix[i], ip))
			return true;
	return false;
}
