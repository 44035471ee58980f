/* SPDX-License-Identifier: ISC */
#include "controller/protect_sources.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/fdio.h"
#include "lib/num.h"

#define V4_BITS 96
#define RULE_OCTETS 4
#define ROUTE_GATEWAY 0x2 /* RTF_GATEWAY */

static void
add(struct protect_list *list, const struct ip *ip, unsigned bits)
{
	if (list->n == PROTECT_PREFIXES_MAX) {
		list->cut = true;
		return;
	}
	list->prefix[list->n++] = (struct ip_prefix) { ip_mask(ip, bits), (uint8_t)bits };
}

/* What lies between two places of a line, as a string.  False when it is longer than any address. */
static bool
take(const char *s, size_t len, char ret[IP_PREFIX_TEXT_MAX])
{
	if (len >= IP_PREFIX_TEXT_MAX || memchr(s, '\0', len) != NULL)
		return false;
	memcpy(ret, s, len);
	ret[len] = '\0';
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line; its length, 0 at the end. */
static size_t
next_word(const char **at, const char *end)
{
	size_t n = 0;

	while (*at < end && is_blank(**at))
		(*at)++;
	while (*at + n < end && !is_blank((*at)[n]))
		n++;
	return n;
}

/* --- the allow list -------------------------------------------------------------------------- */

static bool
is_name_char(char c, bool begins_label)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'
		|| (!begins_label && (c == '-' || c == '.'));
}

/* A host's name in lower case.  The last label begins with a letter: "192.0.2.256" is a slip, not a name. */
static bool
parse_name(const char *s, size_t len, char ret[PROTECT_NAME_MAX])
{
	size_t label = 0;

	if (len >= PROTECT_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		ret[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
		if (!is_name_char(ret[i], i == label))
			return false;
		if (ret[i] == '.')
			label = i + 1;
	}
	ret[len] = '\0';
	return label > 0 && ret[label] >= 'a'; /* nothing behind the last dot is a NUL */
}

int
protect_parse_allow(const char *s, struct protect_allow *ret, struct err *why)
{
	struct protect_allow a = { 0 };
	char address[IP_PREFIX_TEXT_MAX];
	size_t len = strcspn(s, " ");
	bool wide = strcmp(s + len, " wide") == 0;

	if (s[len] != '\0' && !wide)
		return err_set(why, -EINVAL, "the only word that may follow is \"wide\"");
	if (!take(s, len, address) || ip_prefix_parse(address, &a.prefix) < 0) {
		if (wide || !parse_name(s, len, a.name))
			return err_set(why, -EINVAL,
				"neither an address, nor a prefix without bits behind it, nor the name of a host");
		a.is_name = true;
		a.prefix = (struct ip_prefix) { 0 };
	} else if (protect_is_wide(&a.prefix) && !wide) {
		return err_set(why, -EINVAL,
			"so many that hardly anybody could be blocked; to mean it, write \"%s wide\"", s);
	}
	*ret = a;
	return 0;
}

/* --- resolv.conf(5) -------------------------------------------------------------------------- */

void
protect_parse_resolv(const char *line, size_t len, struct protect_list *ret)
{
	static const char keyword[] = "nameserver";
	const char *at = line, *end = line + len;
	char text[IP_PREFIX_TEXT_MAX];
	struct ip ip;
	size_t n = next_word(&at, end);

	if (n != sizeof(keyword) - 1 || memcmp(at, keyword, n) != 0)
		return;
	at += n;
	n = next_word(&at, end);
	const char *zone = memchr(at, '%', n);
	if (zone != NULL)
		n = (size_t)(zone - at);
	if (take(at, n, text) && ip_parse(text, &ip) == 0)
		add(ret, &ip, 128);
}

/* --- rules for tcprules(1) ------------------------------------------------------------------- */

/* ",RELAYCLIENT=":  settings are a comma, a name, =, and a value between two of any one character. */
static bool
sets_relayclient(const char *at, const char *end)
{
	static const char name[] = "RELAYCLIENT";

	while (end - at > 1 && *at == ',') {
		const char *equals = memchr(at, '=', (size_t)(end - at));

		if (equals == NULL || end - equals < 3)
			return false;
		const char *close = memchr(equals + 2, equals[1], (size_t)(end - equals - 2));
		if (close == NULL)
			return false;
		if ((size_t)(equals - at - 1) == sizeof(name) - 1 && memcmp(at + 1, name, sizeof(name) - 1) == 0)
			return true;
		at = close + 1;
	}
	return false;
}

/* A number from 0 to 255.  tcprules takes others, but no address will ever match them. */
static bool
parse_octet(const char *s, size_t len, unsigned *ret)
{
	char text[4];
	uint64_t v;

	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	if (num_u64(text, &v) < 0 || v > 255)
		return false;
	*ret = (unsigned)v;
	return true;
}

/* "12" or "12-15" */
static bool
parse_range(const char *s, size_t len, unsigned *first, unsigned *last)
{
	const char *dash = memchr(s, '-', len);

	if (dash == NULL)
		return parse_octet(s, len, first) && parse_octet(s, len, last);
	size_t n = (size_t)(dash - s);
	return parse_octet(s, n, first) && parse_octet(dash + 1, len - n - 1, last) && *first <= *last;
}

/* Octet number `at` runs from `first` to `last`: as few prefixes as do it. */
static void
add_range(struct protect_list *ret, struct ip ip, unsigned at, unsigned first, unsigned last)
{
	while (first <= last) {
		unsigned size = 1, bits = 8;

		while (bits > 0 && first % (2 * size) == 0 && first + 2 * size - 1 <= last) {
			size *= 2;
			bits--;
		}
		ip.b[12 + at] = (uint8_t)first;
		struct ip_prefix p = { ip, (uint8_t)(V4_BITS + 8 * at + bits) };
		if (!protect_is_wide(&p))
			add(ret, &ip, p.bits);
		first += size;
	}
}

/* "192.0.2.1", "192.0.2.", "192.0.2.16-31"; only the last octet that is given may be a range. */
static void
add_octets(const char *s, size_t len, struct protect_list *ret)
{
	struct ip ip = { { [10] = 0xff, [11] = 0xff } };
	const char *end = s + len;
	unsigned first = 0, last = 0, n = 0;

	while (s < end && n < RULE_OCTETS) {
		const char *dot = memchr(s, '.', (size_t)(end - s));
		size_t part = (size_t)((dot != NULL ? dot : end) - s);

		if (first != last || !parse_range(s, part, &first, &last))
			return;
		/* A prefix ends in a dot, an address does not. */
		if ((dot == NULL) != (n == RULE_OCTETS - 1))
			return;
		ip.b[12 + n++] = (uint8_t)first;
		s += part + (dot != NULL);
	}
	if (n > 0 && s == end)
		add_range(ret, ip, n - 1, first, last);
}

/* IPv6 as far as its servers understand it: an address, CIDR, or whole groups and a colon, "2001:db8:". */
static void
add_address(const char *s, size_t len, struct protect_list *ret)
{
	char text[IP_PREFIX_TEXT_MAX + 1];
	struct ip_prefix p;
	unsigned groups = 0;

	if (!take(s, len, text))
		return;
	for (const char *at = text; (at = strchr(at, ':')) != NULL; at++)
		groups++;
	bool is_groups = groups > 0 && groups < 8 && strstr(text, "::") == NULL && text[len - 1] == ':';
	if (is_groups)
		memcpy(text + len, ":", 2);
	if (ip_prefix_parse(text, &p) < 0)
		return;
	if (is_groups)
		p.bits = (uint8_t)(16 * groups);
	if (!protect_is_wide(&p))
		add(ret, &p.ip, p.bits);
}

void
protect_parse_rule(const char *line, size_t len, struct protect_list *ret)
{
	static const char allow[] = ":allow";
	const char *end = line + len;

	while (end > line && is_blank(end[-1]))
		end--;
	len = (size_t)(end - line);
	if (len == 0 || *line == '#')
		return;
	const char *colon = memmem(line, len, allow, sizeof(allow) - 1);
	if (colon == NULL || !sets_relayclient(colon + sizeof(allow) - 1, end))
		return;
	len = (size_t)(colon - line);
	if (len == 0 || memchr(line, '=', len) != NULL || memchr(line, '@', len) != NULL)
		return;
	if (memchr(line, ':', len) != NULL || memchr(line, '/', len) != NULL)
		add_address(line, len, ret);
	else
		add_octets(line, len, ret);
}

/* --- routes ---------------------------------------------------------------------------------- */

/* `n` bytes from twice as many hex digits, which must be all of the word. */
static bool
parse_hex(const char *s, size_t len, uint8_t *ret, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (len != 2 * n)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] - 'A' + 'a') : s[i];
		const char *d = c != '\0' ? strchr(digits, c) : NULL;

		if (d == NULL)
			return false;
		ret[i / 2] = (uint8_t)(i % 2 == 0 ? (d - digits) << 4 : ret[i / 2] | (d - digits));
	}
	return true;
}

/* Word `n` of the line, from 0; its length, 0 when there are fewer. */
static size_t
word_at(const char *line, size_t len, unsigned n, const char **ret)
{
	const char *at = line;
	size_t word = next_word(&at, line + len);

	for (; n > 0 && word > 0; n--) {
		at += word;
		word = next_word(&at, line + len);
	}
	*ret = at;
	return word;
}

/* "eth0 00000000 010200C0 0003 ...": the address is printed as a number in the byte order of the machine. */
void
protect_parse_route(const char *line, size_t len, struct protect_list *ret)
{
	struct ip ip = { { [10] = 0xff, [11] = 0xff } };
	uint8_t gateway[4], flags[2];
	const char *word;
	size_t n = word_at(line, len, 2, &word);

	if (!parse_hex(word, n, gateway, sizeof(gateway)))
		return;
	n = word_at(line, len, 3, &word);
	if (!parse_hex(word, n, flags, sizeof(flags)) || (flags[1] & ROUTE_GATEWAY) == 0)
		return;
	uint32_t number = (uint32_t)gateway[0] << 24 | (uint32_t)gateway[1] << 16 | (uint32_t)gateway[2] << 8
		| gateway[3];
	memcpy(ip.b + 12, &number, sizeof(number));
	add(ret, &ip, 128);
}

/* "DESTINATION 00 SOURCE 00 NEXT-HOP METRIC ...", addresses as 32 digits; no next hop is zero. */
void
protect_parse_route6(const char *line, size_t len, struct protect_list *ret)
{
	static const struct ip none;
	struct ip ip;
	const char *word;
	size_t n = word_at(line, len, 4, &word);

	if (parse_hex(word, n, ip.b, sizeof(ip.b)) && !ip_equal(&ip, &none))
		add(ret, &ip, 128);
}

/* --- readers --------------------------------------------------------------------------------- */

/* Lines out of `buf`, which holds `n` bytes; what is left of the last one moves to the front.  Returns how many bytes
 * are left.  `skip`: we are inside a line that was too long. */
static size_t
feed_lines(char *buf, size_t n, bool at_end, bool *skip, protect_parser *parse, struct protect_list *ret)
{
	size_t at = 0;

	while (at < n) {
		const char *newline = memchr(buf + at, '\n', n - at);

		if (newline == NULL && !at_end)
			break;
		size_t len = newline != NULL ? (size_t)(newline - buf) - at : n - at;
		if (!*skip && len <= PROTECT_LINE_MAX)
			parse(buf + at, len, ret);
		*skip = false;
		at += len + (newline != NULL);
	}
	if (n - at > PROTECT_LINE_MAX) {
		*skip = true;
		at = n;
	}
	memmove(buf, buf + at, n - at);
	return n - at;
}

int
protect_read(const char *path, protect_parser *parse, struct protect_list *ret)
{
	char buf[2 * PROTECT_LINE_MAX];
	size_t kept = 0, total = 0;
	bool skip = false;
	ssize_t n;
	int fd = fd_open_regular(AT_FDCWD, path, 0, PROTECT_FILE_MAX);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	do {
		n = fd_read_full(fd, buf + kept, sizeof(buf) - kept);
		if (n < 0)
			break;
		total += (size_t)n;
		kept = feed_lines(buf, kept + (size_t)n, n == 0, &skip, parse, ret);
	} while (n > 0 && total <= PROTECT_FILE_MAX);
	(void)close(fd); /* read only: nothing can be lost */
	return n < 0 ? (int)n : total > PROTECT_FILE_MAX ? -EFBIG : 0;
}

int
protect_read_interfaces(struct protect_list *ret)
{
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
		const char *a = (const char *)i->ifa_addr;
		struct ip ip = { { [10] = 0xff, [11] = 0xff } };

		if (a == NULL)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			memcpy(ip.b + 12, a + offsetof(struct sockaddr_in, sin_addr), 4);
		else if (i->ifa_addr->sa_family == AF_INET6)
			memcpy(ip.b, a + offsetof(struct sockaddr_in6, sin6_addr), sizeof(ip.b));
		else
			continue;
		add(ret, &ip, 128);
	}
	freeifaddrs(all);
	return 0;
}

/* All files of one source, one behind the other, then into the table. */
static int
refresh(struct protect *t, enum protect_reason source, const char *const *paths, protect_parser *const *parse,
	struct protect_list *list, struct err *why)
{
	int r = 0;

	list->n = 0;
	list->cut = false;
	for (size_t i = 0; r == 0 && paths[i] != NULL; i++)
		if (paths[i][0] != '\0' && (r = protect_read(paths[i], parse[i], list)) < 0)
			(void)err_sys(why, r, "can't read %s", paths[i]);
	if (source == PROTECT_OWN && (r = protect_read_interfaces(list)) < 0)
		(void)err_sys(why, r, "can't list the interfaces");
	if (r < 0) {
		protect_lost(t, source);
		return r;
	}
	/* A list that was cut is as long as the table, where it does not fit beside what is always there. */
	r = protect_set(t, source, list->prefix, list->n);
	if (r < 0)
		(void)err_sys(why, r, "%zu prefixes as %s", list->n, protect_reason_text(source));
	return r;
}

int
protect_refresh(struct protect *t, const char *rules, struct protect_list *scratch, struct err *why)
{
	const struct {
		enum protect_reason source;
		const char *paths[3];
		protect_parser *parse[2];
	} sources[] = {
		{ PROTECT_OWN, { NULL }, { NULL } },
		{ PROTECT_GATEWAY, { "/proc/net/route", "/proc/net/ipv6_route" },
			{ protect_parse_route, protect_parse_route6 } },
		{ PROTECT_RESOLVER, { "/etc/resolv.conf" }, { protect_parse_resolv } },
		{ PROTECT_RELAY, { rules }, { protect_parse_rule } },
	};
	int result = 0;

	for (size_t i = 0; i < countof(sources); i++) {
		int r = refresh(t, sources[i].source, sources[i].paths, sources[i].parse, scratch, why);

		if (r < 0)
			result = r;
	}
	return result;
}
