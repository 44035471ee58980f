/* SPDX-License-Identifier: ISC */
#include "controller/config_source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controller/config.h"
#include "lib/fdio.h"

/* Where the scan of one file stands. */
struct scan {
	struct config_source *out;
	unsigned short file;
	const char *p, *end;
	unsigned line;
	unsigned depth;
	struct err *why;
};

static int add_text(struct config_source *s, unsigned short file, const char *text, size_t len,
	unsigned depth, struct err *why);

/* Message for the current place, then -EINVAL. */
static int __attribute__((format(printf, 2, 3)))
fail_at(const struct scan *s, const char *fmt, ...)
{
	char what[ERR_TEXT_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(s->why, -EINVAL, "%s:%u: %s", s->out->name[s->file], s->line, what);
}

/* --- output ---------------------------------------------------------------------------------- */

static int
grow(void **p, size_t *cap, size_t need, size_t item)
{
	size_t n = *cap > 0 ? *cap : 1024;

	while (n < need)
		n *= 2;
	if (n == *cap)
		return 0;
	void *q = realloc(*p, n * item);
	if (q == NULL)
		return -ENOMEM;
	*p = q;
	*cap = n;
	return 0;
}

static int
emit(struct scan *s, const char *text, size_t n)
{
	struct config_source *o = s->out;
	void *p = o->text;

	if (o->len + n > CONFIG_FILE_MAX)
		return fail_at(s, "with what it includes, longer than %d bytes", CONFIG_FILE_MAX);
	int r = grow(&p, &o->cap, o->len + n + 1, 1);
	o->text = p;
	if (r < 0)
		return err_sys(s->why, r, "%s", o->name[s->file]);
	memcpy(o->text + o->len, text, n);
	o->len += n;
	o->text[o->len] = '\0';
	return 0;
}

/* A line of output ends here: remember where it came from. */
static int
end_line(struct scan *s)
{
	struct config_source *o = s->out;
	void *p = o->line;
	int r = grow(&p, &o->lines_cap, o->lines + 1, sizeof(*o->line));

	o->line = p;
	if (r < 0)
		return err_sys(s->why, r, "%s", o->name[s->file]);
	o->line[o->lines++] = (struct config_line) { s->file, s->line };
	return 0;
}

/* Copy `n` bytes, counting lines. */
static int
copy(struct scan *s, size_t n)
{
	int r = 0;

	while (n > 0 && r == 0) {
		const char *nl = memchr(s->p, '\n', n);
		size_t part = nl != NULL ? (size_t)(nl - s->p) + 1 : n;

		r = emit(s, s->p, part);
		if (r == 0 && nl != NULL) {
			r = end_line(s);
			s->line++;
		}
		s->p += part;
		n -= part;
	}
	return r;
}

/* --- tokens ---------------------------------------------------------------------------------- */

static size_t
left(const struct scan *s)
{
	return (size_t)(s->end - s->p);
}

static bool
looking_at(const struct scan *s, const char *word)
{
	size_t n = strlen(word);

	return left(s) >= n && memcmp(s->p, word, n) == 0;
}

/* Length up to and with the end mark, or all that is left. */
static size_t
length_until(const struct scan *s, size_t from, const char *mark)
{
	const char *at = memmem(s->p + from, left(s) - from, mark, strlen(mark));

	return at != NULL ? (size_t)(at - s->p) + strlen(mark) : left(s);
}

/* 0: it does not end. */
static size_t
string_length(const struct scan *s)
{
	size_t i = 1;

	while (i < left(s) && s->p[i] != '"')
		i += s->p[i] == '\\' ? 2 : 1;
	return i < left(s) ? i + 1 : 0;
}

/* 0: it does not end. */
static size_t
comment_length(const struct scan *s)
{
	size_t n = length_until(s, 2, "*/");

	return n >= 4 && memcmp(s->p + n - 2, "*/", 2) == 0 ? n : 0;
}

static size_t
number_length(const struct scan *s)
{
	size_t i = 1;

	while (i < left(s)
		&& (isalnum((unsigned char)s->p[i]) || s->p[i] == '.'
			|| ((s->p[i] == '+' || s->p[i] == '-') && (s->p[i - 1] == 'e' || s->p[i - 1] == 'E'))))
		i++;
	return i;
}

static size_t
name_length(const struct scan *s)
{
	size_t i = 0;

	while (i < left(s) && (isalnum((unsigned char)s->p[i]) || strchr("-_*", s->p[i]) != NULL))
		i++;
	return i;
}

/* `text` has no end of its own. */
static bool
is_digits(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isdigit((unsigned char)text[i]) && text[i] != '+' && text[i] != '-')
			return false;
	return true;
}

/* Does an integer of `n` characters fit into 32 bits (0), 64 bits (1), or neither (-ERANGE)?  -EINVAL: no integer. */
static int
integer_width(const char *text, size_t n)
{
	char buf[40], *end;

	if (n >= sizeof(buf))
		return is_digits(text, n) ? -ERANGE : -EINVAL;
	memcpy(buf, text, n);
	buf[n] = '\0';
	size_t digits = n;
	while (digits > 1 && buf[digits - 1] == 'L' && n - digits < 2)
		digits--;
	bool wide = digits < n;
	buf[digits] = '\0';
	errno = 0;
	if (digits > 2 && buf[0] == '0' && (buf[1] == 'x' || buf[1] == 'X')) {
		unsigned long long v = strtoull(buf, &end, 16);

		if (*end != '\0')
			return -EINVAL;
		if (errno != 0 || v > INT64_MAX)
			return -ERANGE;
		return !wide && v > INT32_MAX;
	}
	long long v = strtoll(buf, &end, 10);
	if (*end != '\0')
		return -EINVAL;
	if (errno != 0)
		return -ERANGE;
	return !wide && (v > INT32_MAX || v < INT32_MIN);
}

static int
copy_number(struct scan *s)
{
	size_t n = number_length(s);
	int width = integer_width(s->p, n);

	if (width == -ERANGE)
		return fail_at(s, "%.*s: a whole number must fit into 64 bits", (int)(n < 60 ? n : 60), s->p);
	int r = copy(s, n);
	return r == 0 && width == 1 ? emit(s, "L", 1) : r;
}

/* --- includes -------------------------------------------------------------------------------- */

static bool
at_line_start(const struct scan *s, const char *begin)
{
	const char *p = s->p;

	while (p > begin && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	return p == begin || p[-1] == '\n';
}

/* Read a whole file into memory.  Returns its length or -Exxx with a message. */
static ssize_t
slurp(const char *name, const char *path, int fd, char **ret, struct err *why)
{
	bool ours = fd < 0;

	if (ours)
		fd = fd_open_regular(AT_FDCWD, path, 0, CONFIG_FILE_MAX);
	if (fd == -EINVAL)
		return err_set(why, -EINVAL, "%s: not a regular file", name);
	if (fd == -EFBIG)
		return err_set(why, -EFBIG, "%s: longer than %d bytes", name, CONFIG_FILE_MAX);
	if (fd < 0)
		return err_sys(why, fd, "%s", name);
	char *buf = malloc(CONFIG_FILE_MAX + 1);
	ssize_t n = buf != NULL ? fd_read_full(fd, buf, CONFIG_FILE_MAX + 1) : -ENOMEM;
	if (ours)
		(void)close(fd);
	if (n < 0) {
		free(buf);
		return err_sys(why, (int)n, "%s", name);
	}
	if (n > CONFIG_FILE_MAX) {
		free(buf);
		return err_set(why, -EFBIG, "%s: longer than %d bytes", name, CONFIG_FILE_MAX);
	}
	*ret = buf;
	return n;
}

/* Relative names are meant from the directory of the file that includes. */
static int
included_path(const struct scan *s, const char *name, size_t n, char ret[CONFIG_NAME_MAX])
{
	const char *from = s->out->name[s->file];
	const char *slash = strrchr(from, '/');
	int dir = slash != NULL && (n == 0 || name[0] != '/') ? (int)(slash - from) + 1 : 0;
	int len = snprintf(ret, CONFIG_NAME_MAX, "%.*s%.*s", dir, from, (int)n, name);

	return len < CONFIG_NAME_MAX ? 0 : -ENAMETOOLONG;
}

static int
add_file(struct config_source *s, const char *path, int fd, unsigned depth, struct err *why)
{
	unsigned short file = (unsigned short)s->files;
	char *text = NULL;

	(void)snprintf(s->name[s->files++], CONFIG_NAME_MAX, "%s", path);
	ssize_t n = slurp(s->name[file], path, fd, &text, why);
	if (n < 0)
		return (int)n;
	int r = add_text(s, file, text, (size_t)n, depth, why);
	free(text);
	return r;
}

/* At an @include: put the file in place of the directive. */
static int
include(struct scan *s)
{
	char path[CONFIG_NAME_MAX];
	struct err inner;
	size_t at = strlen("@include");

	while (at < left(s) && (s->p[at] == ' ' || s->p[at] == '\t'))
		at++;
	size_t close_at = at + 1;
	while (close_at < left(s) && s->p[close_at] != '"' && s->p[close_at] != '\n')
		close_at++;
	if (at >= left(s) || s->p[at] != '"' || close_at >= left(s) || s->p[close_at] != '"')
		return fail_at(s, "@include: allowed is @include \"FILE\"");
	if (included_path(s, s->p + at + 1, close_at - at - 1, path) < 0)
		return fail_at(s, "@include: file name too long");
	if (s->depth == CONFIG_INCLUDE_DEPTH || s->out->files == CONFIG_SOURCE_FILES)
		return fail_at(s, "@include \"%s\": includes go deeper than %d or are more than %d", path,
			CONFIG_INCLUDE_DEPTH, CONFIG_SOURCE_FILES);
	int r = add_file(s->out, path, -1, s->depth + 1, &inner);
	if (r < 0) {
		/* An error inside the file names its own line; one with the file itself needs ours. */
		bool inside = strncmp(inner.text, path, strlen(path)) != 0
			|| isdigit((unsigned char)inner.text[strlen(path) + 1]);
		if (inside)
			return err_set(s->why, r, "%s", inner.text);
		return fail_at(s, "@include %s", inner.text);
	}
	s->p += close_at + 1;
	return 0;
}

/* --- one file -------------------------------------------------------------------------------- */

static bool
starts_number(const struct scan *s)
{
	const char *p = s->p;

	if ((*p == '+' || *p == '-') && left(s) > 1)
		p++;
	return isdigit((unsigned char)*p) || *p == '.';
}

/* A text or a comment, `n` bytes.  One that goes on behind its file would end where it likes: libconfig would then
 * take for a directive what we took for text. */
static int
copy_whole(struct scan *s, size_t n, const char *what)
{
	return n > 0 ? copy(s, n) : fail_at(s, "a %s that begins here does not end", what);
}

static int
scan_token(struct scan *s, const char *begin)
{
	if (*s->p == '#' || looking_at(s, "//"))
		return copy(s, length_until(s, 1, "\n"));
	if (looking_at(s, "/*"))
		return copy_whole(s, comment_length(s), "comment");
	if (*s->p == '"')
		return copy_whole(s, string_length(s), "text");
	if (looking_at(s, "@include") && at_line_start(s, begin))
		return include(s);
	if (*s->p == '@') /* libconfig could find it at the start of a line, behind what was included */
		return fail_at(s, "@: allowed is @include \"FILE\", on a line of its own");
	if (starts_number(s))
		return copy_number(s);
	if (isalpha((unsigned char)*s->p) || *s->p == '*')
		return copy(s, name_length(s));
	return copy(s, 1);
}

static int
add_text(struct config_source *out, unsigned short file, const char *text, size_t len, unsigned depth,
	struct err *why)
{
	struct scan s = {
		.out = out, .file = file, .p = text, .end = text + len, .line = 1, .depth = depth, .why = why,
	};
	const char *nul = memchr(text, '\0', len);
	int r = 0;

	if (nul != NULL) {
		for (const char *p = text; p < nul; p++)
			s.line += *p == '\n';
		return fail_at(&s, "a NUL byte: this is not a text file");
	}
	while (s.p < s.end && r == 0)
		r = scan_token(&s, text);
	/* A last line without its end, so that what follows an include begins a new one. */
	if (r == 0 && len > 0 && s.end[-1] != '\n') {
		r = emit(&s, "\n", 1);
		if (r == 0)
			r = end_line(&s);
	}
	return r;
}

int
config_source_read(struct config_source *s, const char *path, int fd, struct err *why)
{
	*s = (struct config_source) { 0 };
	if (strlen(path) >= CONFIG_NAME_MAX)
		return err_set(why, -ENAMETOOLONG, "%.60s...: file name too long", path);
	return add_file(s, path, fd, 0, why);
}

int
config_source_text(struct config_source *s, const char *name, const char *text, size_t len,
	struct err *why)
{
	*s = (struct config_source) { .files = 1 };
	(void)snprintf(s->name[0], CONFIG_NAME_MAX, "%s", name);
	return add_text(s, 0, text, len, 0, why);
}

void
config_source_done(struct config_source *s)
{
	free(s->text);
	free(s->line);
	s->text = NULL;
	s->line = NULL;
}

void
config_source_where(const struct config_source *s, unsigned line, char *ret, size_t cap)
{
	struct config_line at = { 0, line };

	if (line >= 1 && line <= s->lines)
		at = s->line[line - 1];
	(void)snprintf(ret, cap, "%s:%u", s->files > 0 ? s->name[at.file] : "?", at.line);
}
