/* SPDX-License-Identifier: ISC */
#include "actions/tcprules_list.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "actions/digits.h"
#include "lib/num.h"
#include "lib/text.h"

#define V4_BITS 96
#define END_MAX_S INT64_C(253402300799) /* the year 9999 */
#define LEFT_MAX_S (INT64_C(100) * 365 * 86400)

/* --- writing --------------------------------------------------------------------------------- */

static char *
put_prefix(char *at, const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];

	if (p->bits < V4_BITS || !ip_is_v4(&p->ip)) {
		ip_prefix_format(p, text);
		size_t n = strlen(text);
		memcpy(at, text, n);
		return at + n;
	}
	for (unsigned i = 12; i < 16; i++) {
		at = digits_put_octet(at, p->ip.b[i]);
		*at++ = i < 15 ? '.' : '/';
	}
	return digits_put_octet(at, p->bits - V4_BITS);
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

size_t
tcprules_list_line(const struct block *b, int64_t end_s, char ret[TCPRULES_LIST_LINE_MAX])
{
	char *at = put_prefix(ret, &b->prefix);
	size_t n = 0;

	*at++ = ' ';
	at = digits_put_u64(at, end_s > 0 ? (uint64_t)end_s : 0);
	*at++ = ' ';
	while (n < sizeof(b->id) - 1 && is_alnum(b->id[n]))
		*at++ = b->id[n++];
	if (n == 0)
		*at++ = '-';
	*at++ = '\n';
	return (size_t)(at - ret);
}

/* --- reading --------------------------------------------------------------------------------- */

static bool
is_id(const char *s)
{
	size_t n = 0;

	while (is_alnum(s[n]))
		n++;
	return s[n] == '\0' && n > 0 && n < BLOCK_ID_MAX;
}

/* `line` is changed. */
static int
parse(char *line, struct block *ret, int64_t *ret_end_s)
{
	char *end = strchr(line, ' '), *id = end != NULL ? strchr(end + 1, ' ') : NULL;
	struct block b = { .kind = BLOCK_DENY };
	uint64_t end_s;

	if (id == NULL)
		return -EINVAL;
	*end++ = '\0';
	*id++ = '\0';
	if (ip_prefix_parse(line, &b.prefix) < 0 || num_u64(end, &end_s) < 0 || end_s > END_MAX_S)
		return -EINVAL;
	if (is_id(id))
		(void)text_copy(b.id, sizeof(b.id), id); /* fits */
	else if (strcmp(id, "-") != 0)
		return -EINVAL;
	*ret = b;
	*ret_end_s = (int64_t)end_s;
	return 0;
}

static bool
read_line(const char *text, size_t n, int64_t wall_s, mono_t now, struct blockset *ret)
{
	char line[TCPRULES_LIST_LINE_MAX];
	struct block b;
	int64_t end_s;

	if (n >= sizeof(line) || memchr(text, '\0', n) != NULL)
		return false;
	memcpy(line, text, n);
	line[n] = '\0';
	if (parse(line, &b, &end_s) < 0)
		return false;
	int64_t left = end_s - wall_s;
	if (left > 0) {
		b.until = mono_after(now, (left < LEFT_MAX_S ? left : LEFT_MAX_S) * 1000);
		(void)blockset_put(ret, &b); /* what does not fit is not blocked */
	}
	return true;
}

size_t
tcprules_list_read(const char *text, size_t n, int64_t wall_s, mono_t now, struct blockset *ret)
{
	size_t odd = 0;

	while (n > 0) {
		const char *feed = memchr(text, '\n', n);
		size_t len = feed != NULL ? (size_t)(feed - text) : n;

		/* Without its line feed it may be cut: an end cut short has passed, but a prefix is another one. */
		if (feed == NULL || (len > 0 && text[0] != '#' && !read_line(text, len, wall_s, now, ret)))
			odd++;
		n -= feed != NULL ? len + 1 : len;
		text += feed != NULL ? len + 1 : len;
	}
	return odd;
}
