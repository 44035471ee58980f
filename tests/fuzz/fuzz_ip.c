/* SPDX-License-Identifier: ISC */
/* Addresses and prefixes: what is read prints, and what is printed reads back the same. */
#include "lib/ip.h"
#include "tests/fuzz/fuzz.h"

static void
check_address(const char *s)
{
	char text[IP_TEXT_MAX], again[IP_TEXT_MAX];
	struct ip ip, back;

	if (ip_parse(s, &ip) < 0)
		return;
	ip_format(&ip, text);
	CHECK(strspn(text, "0123456789abcdef.:") == strlen(text));
	CHECK(ip_parse(text, &back) == 0 && ip_equal(&ip, &back));
	ip_format(&back, again);
	CHECK(strcmp(text, again) == 0);
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct ip m = ip_mask(&ip, bits), n = ip_mask(&m, bits);
		struct ip_prefix p = { m, (uint8_t)bits };

		CHECK(ip_equal(&m, &n) && ip_prefix_contains(&p, &ip));
	}
}

static void
check_prefix(const char *s)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix p, back;

	if (ip_prefix_parse(s, &p) < 0)
		return;
	CHECK(p.bits <= 128 && ip_prefix_contains(&p, &p.ip));
	ip_prefix_format(&p, text);
	CHECK(strlen(text) < sizeof(text));
	CHECK(ip_prefix_parse(text, &back) == 0);
	CHECK(p.bits == back.bits && ip_equal(&p.ip, &back.ip));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_string(data, size);

	check_address(s);
	check_prefix(s);
	free(s);
	if (size >= sizeof(struct ip) + 1) { /* any bytes are an address */
		struct ip_prefix p = { .bits = (uint8_t)(data[16] % 129) };
		char text[IP_PREFIX_TEXT_MAX];

		memcpy(p.ip.b, data, sizeof(p.ip.b));
		ip_format(&p.ip, text);
		check_address(text);
		p.ip = ip_mask(&p.ip, p.bits);
		ip_prefix_format(&p, text);
		CHECK(ip_prefix_parse(text, &p) == 0);
		check_prefix(text);
	}
	return 0;
}
