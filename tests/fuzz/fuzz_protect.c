/* SPDX-License-Identifier: ISC */
/* Files that name protected addresses: whatever stands in them, what comes out are prefixes, none of them wide. */
#include "controller/protect_sources.h"
#include "tests/fuzz/fuzz.h"

static struct protect_list list;

/* `len` bytes that nothing follows, so that reading beyond is seen. */
static void
check_line(protect_parser *parse, bool hosts, const uint8_t *data, size_t len)
{
	char *line = malloc(len > 0 ? len : 1);

	CHECK(line != NULL);
	if (len > 0)
		memcpy(line, data, len);
	list.n = 0;
	list.cut = false;
	parse(line, len, &list);
	CHECK(!list.cut && list.n <= (hosts ? 1 : 16));
	for (size_t i = 0; i < list.n; i++) {
		const struct ip_prefix *p = &list.prefix[i];
		struct ip masked = ip_mask(&p->ip, p->bits);

		CHECK(p->bits <= 128 && ip_equal(&masked, &p->ip));
		CHECK(!protect_is_wide(p) && (!hosts || p->bits == 128));
	}
	free(line);
}

static void
check_allow(const char *s)
{
	struct protect_allow a = { .prefix.bits = 77 };
	struct err why;

	if (protect_parse_allow(s, &a, &why) < 0)
		CHECK(a.prefix.bits == 77 && why.text[0] != '\0');
	else if (a.is_name)
		CHECK(strlen(a.name) < PROTECT_NAME_MAX && strchr(a.name, '.') != NULL);
	else
		CHECK(a.prefix.bits <= 128 && (!protect_is_wide(&a.prefix) || strstr(s, " wide") != NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_string(data, size);

	check_allow(s);
	free(s);
	for (size_t at = 0; at < size;) {
		const uint8_t *newline = memchr(data + at, '\n', size - at);
		size_t len = newline != NULL ? (size_t)(newline - data) - at : size - at;

		check_line(protect_parse_resolv, true, data + at, len);
		check_line(protect_parse_rule, false, data + at, len);
		check_line(protect_parse_route, true, data + at, len);
		check_line(protect_parse_route6, true, data + at, len);
		at += len + 1;
	}
	return 0;
}
