/* SPDX-License-Identifier: ISC */
/* Who is never blocked: loopback and this machine's own addresses, and nobody else.  Row A1 of the failure list. */
#include "controller/protect.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/kit.h"

/* In the place of libc's: two interfaces of our own, one without an address, one of a family that is none of ours. */
static struct sockaddr_in v4 = { .sin_family = AF_INET };
static struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
static struct sockaddr other = { .sa_family = AF_PACKET };
static struct ifaddrs many[PROTECT_MAX + 1], list[4];
static struct ifaddrs *first = list;
static int error;

int
getifaddrs(struct ifaddrs **ret)
{
	*ret = first;
	errno = error;
	return error != 0 ? -1 : 0;
}

void
freeifaddrs(struct ifaddrs *all)
{
	assert_ptr_equal(all, first);
}

static int
set_up(void **state)
{
	struct ip ip;

	(void)state;
	assert_int_equal(ip_parse("192.0.2.7", &ip), 0);
	memcpy(&v4.sin_addr, ip.b + 12, 4);
	assert_int_equal(ip_parse("2001:db8::7", &ip), 0);
	memcpy(&v6.sin6_addr, ip.b, 16);
	list[0] = (struct ifaddrs) { .ifa_next = &list[1], .ifa_addr = (struct sockaddr *)&v4 };
	list[1] = (struct ifaddrs) { .ifa_next = &list[2], .ifa_addr = NULL };
	list[2] = (struct ifaddrs) { .ifa_next = &list[3], .ifa_addr = &other };
	list[3] = (struct ifaddrs) { .ifa_addr = (struct sockaddr *)&v6 };
	first = list;
	error = 0;
	return 0;
}

static bool
is_protected(const struct protect *p, const char *address)
{
	struct ip ip;

	assert_int_equal(ip_parse(address, &ip), 0);
	return protect_is_static(p, &ip);
}

static void
protect_loopback_and_own_addresses(void **state)
{
	static const char *const ours[] = { "127.0.0.1", "127.255.255.255", "::1", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7" };
	static const char *const others[] = { "192.0.2.8", "128.0.0.0", "2001:db8::8", "::2", "0.0.0.0", "::" };
	struct protect p;

	(void)state;
	assert_int_equal(protect_load(&p), 0);
	for (size_t i = 0; i < countof(ours); i++)
		assert_true(is_protected(&p, ours[i]));
	for (size_t i = 0; i < countof(others); i++)
		assert_false(is_protected(&p, others[i]));
}

static void
protect_interfaces_not_told_loopback_stays(void **state)
{
	struct protect p;

	(void)state;
	error = ENOBUFS;
	assert_int_equal(protect_load(&p), -ENOBUFS);
	assert_true(is_protected(&p, "127.0.0.1"));
	assert_false(is_protected(&p, "192.0.2.7"));
}

static void
protect_more_than_fit_those_that_do(void **state)
{
	struct protect p;

	(void)state;
	for (size_t i = 0; i < countof(many); i++)
		many[i] = (struct ifaddrs) {
			.ifa_next = i + 1 < countof(many) ? &many[i + 1] : NULL, .ifa_addr = (struct sockaddr *)&v4,
		};
	first = many;
	assert_int_equal(protect_load(&p), -ENOSPC);
	assert_int_equal(p.n, PROTECT_MAX);
	assert_true(is_protected(&p, "192.0.2.7"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(protect_loopback_and_own_addresses, set_up),
		cmocka_unit_test_setup(protect_interfaces_not_told_loopback_stays, set_up),
		cmocka_unit_test_setup(protect_more_than_fit_those_that_do, set_up),
	};

	return cmocka_run_group_tests_name("protect", tests, NULL, NULL);
}
