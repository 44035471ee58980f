/* SPDX-License-Identifier: ISC */
#include "controller/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/text.h"

#define PATH_LENGTH_MAX 600

/* --- lines ------------------------------------------------------------------------------------ */

static void
put_string(struct text *t, const char *key, const char *s)
{
	text_puts(t, ", \"");
	text_puts(t, key);
	text_puts(t, "\": \"");
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			text_putc(t, '\\');
		text_putc(t, *s); /* printable, as all texts of a refusal are */
	}
	text_putc(t, '"');
}

static void
put_number(struct text *t, const char *key, uint64_t v)
{
	text_puts(t, ", \"");
	text_puts(t, key);
	text_puts(t, "\": ");
	text_put_u64(t, v);
}

/* As wall_format(), with milliseconds. */
static void
put_time(struct text *t, wall_t at)
{
	char second[CLOCK_WALL_TEXT_MAX], ms[16];

	wall_format(at, second);
	(void)snprintf(ms, sizeof(ms), ".%03dZ", (int)((at.ms % 1000 + 1000) % 1000));
	text_puts(t, "{\"time\": \"");
	text_put(t, second, strcspn(second, "Z"));
	text_puts(t, ms);
	text_putc(t, '"');
}

size_t
archive_format(const struct store_refusal *r, char line[ARCHIVE_LINE_MAX])
{
	struct text t = text_in(line, ARCHIVE_LINE_MAX);

	put_time(&t, r->at);
	put_string(&t, "id", r->episode);
	put_string(&t, "rule", check_name(r->check));
	put_string(&t, "stage", stage_name(r->stage));
	put_string(&t, "ip", r->ip);
	put_string(&t, "helo", r->helo);
	put_string(&t, "sender", r->sender);
	put_string(&t, "recipient", r->recipient);
	put_number(&t, "reply", r->code);
	put_number(&t, "pid", r->pid);
	text_puts(&t, "}\n");
	return t.len;
}

static int
parse_time(const char *s, wall_t *ret)
{
	struct tm tm = { 0 };
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t ms = 0;

	if (end == NULL || *end++ != '.')
		return -EINVAL;
	for (int i = 0; i < 3; i++, end++) {
		if (*end < '0' || *end > '9')
			return -EINVAL;
		ms = ms * 10 + (*end - '0');
	}
	ret->ms = (int64_t)timegm(&tm) * 1000 + ms;
	return strcmp(end, "Z") == 0 ? 0 : -EINVAL;
}

static const char *
string_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s != NULL ? s : "";
}

static void
take_string(char *ret, size_t cap, const json_t *j, const char *key)
{
	const char *s = string_of(j, key);
	struct text t = text_in(ret, cap);

	text_put_printable(&t, s, strlen(s), cap);
}

static int
take_fields(const json_t *j, struct store_refusal *ret)
{
	int check = check_find(string_of(j, "rule")), stage = stage_find(string_of(j, "stage"));

	if (parse_time(string_of(j, "time"), &ret->at) < 0 || check < 0 || stage < 0)
		return -EINVAL;
	ret->check = (enum check)check;
	ret->stage = (enum stage)stage;
	ret->code = (uint16_t)json_integer_value(json_object_get(j, "reply"));
	ret->pid = (uint32_t)json_integer_value(json_object_get(j, "pid"));
	take_string(ret->episode, sizeof(ret->episode), j, "id");
	take_string(ret->ip, sizeof(ret->ip), j, "ip");
	take_string(ret->helo, sizeof(ret->helo), j, "helo");
	take_string(ret->sender, sizeof(ret->sender), j, "sender");
	take_string(ret->recipient, sizeof(ret->recipient), j, "recipient");
	return 0;
}

int
archive_parse(const char *line, size_t len, struct store_refusal *ret)
{
	json_t *j = json_loadb(line, len, 0, NULL);
	int r = -EINVAL;

	*ret = (struct store_refusal) { 0 };
	if (json_is_object(j))
		r = take_fields(j, ret);
	json_decref(j);
	return r;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Part 0 is the current one. */
static void
path_of(const char *dir, int part, char ret[PATH_LENGTH_MAX])
{
	if (part == 0)
		(void)snprintf(ret, PATH_LENGTH_MAX, "%s/" ARCHIVE_FILE, dir);
	else
		(void)snprintf(ret, PATH_LENGTH_MAX, "%s/" ARCHIVE_FILE ".%d", dir, part);
}

void
archive_init(struct archive *a, const char *dir)
{
	*a = (struct archive) { .dir = dir, .fd = -1 };
}

void
archive_close(struct archive *a)
{
	if (a->fd >= 0)
		(void)close(a->fd);
	a->fd = -1;
}

/* A line that was cut short by a crash ends here, and is passed over by readers. */
static int
end_half_line(int fd, uint64_t size)
{
	char last;

	if (size == 0 || pread(fd, &last, 1, (off_t)size - 1) != 1 || last == '\n')
		return 0;
	return fd_write_all(fd, "\n", 1);
}

static int
open_current(struct archive *a)
{
	char path[PATH_LENGTH_MAX];
	struct stat st;

	path_of(a->dir, 0, path);
	a->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (a->fd < 0)
		return -errno;
	int r = fstat(a->fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
	if (r == 0)
		r = end_half_line(a->fd, (uint64_t)st.st_size);
	if (r == 0 && fstat(a->fd, &st) < 0)
		r = -errno;
	if (r < 0)
		archive_close(a);
	else
		a->size = (uint64_t)st.st_size;
	return r;
}

/* Has somebody moved or removed the file that is open?  As logrotate does. */
static bool
is_in_place(const struct archive *a)
{
	char path[PATH_LENGTH_MAX];
	struct stat there, ours;

	path_of(a->dir, 0, path);
	return lstat(path, &there) == 0 && fstat(a->fd, &ours) == 0 && there.st_ino == ours.st_ino
		&& there.st_dev == ours.st_dev;
}

static void
rotate(struct archive *a)
{
	char from[PATH_LENGTH_MAX], to[PATH_LENGTH_MAX];

	archive_close(a);
	for (int part = ARCHIVE_PARTS - 1; part > 0; part--) {
		path_of(a->dir, part - 1, from);
		path_of(a->dir, part, to);
		(void)rename(from, to); /* the oldest goes; what can't be moved is written on */
	}
}

static int
append(struct archive *a, const char *text, size_t len, uint64_t max)
{
	int r;

	if (a->fd >= 0 && !is_in_place(a))
		archive_close(a);
	if (a->fd < 0 && (r = open_current(a)) < 0)
		return r;
	if (a->size > 0 && a->size + len > max / ARCHIVE_PARTS) {
		rotate(a);
		if ((r = open_current(a)) < 0)
			return r;
	}
	r = fd_write_all(a->fd, text, len);
	if (r == 0)
		a->size += len;
	else
		(void)!ftruncate(a->fd, (off_t)a->size); /* half a line is none */
	return r;
}

int
archive_write(struct archive *a, const char *text, size_t len, uint64_t max, struct err *why)
{
	if (max == 0) {
		archive_close(a);
		return 0;
	}
	int r = append(a, text, len, max);
	if (r == 0)
		return 0;
	a->lost += len;
	archive_close(a);
	return err_sys(why, r, "cannot write %s/" ARCHIVE_FILE, a->dir);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct part {
	FILE *file;
	struct stat st;
};

/* From the newest to the oldest, so that one that is moved on meanwhile is seen, if need be twice. */
static int
open_parts(const char *dir, struct part part[ARCHIVE_PARTS], struct err *why)
{
	int n = 0;

	for (int i = 0; i < ARCHIVE_PARTS; i++) {
		char path[PATH_LENGTH_MAX];
		struct stat st;

		path_of(dir, i, path);
		int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0 && errno == ENOENT)
			continue;
		FILE *f = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
		if (f == NULL) {
			int r = err_sys(why, fd < 0 ? -errno : -EINVAL, "%s", path);

			if (fd >= 0)
				(void)close(fd);
			while (n > 0)
				(void)fclose(part[--n].file);
			return r;
		}
		if (n > 0 && part[n - 1].st.st_ino == st.st_ino) {
			(void)fclose(f);
			continue;
		}
		part[n++] = (struct part) { .file = f, .st = st };
	}
	return n;
}

static bool
read_part(FILE *f, bool (*each)(const struct store_refusal *r, void *arg), void *arg)
{
	char line[ARCHIVE_LINE_MAX];

	while (fgets(line, sizeof(line), f) != NULL) {
		struct store_refusal r;

		if (archive_parse(line, strlen(line), &r) == 0 && !each(&r, arg))
			return false;
	}
	return true;
}

int
archive_each(const char *dir, bool (*each)(const struct store_refusal *r, void *arg), void *arg, struct err *why)
{
	struct part part[ARCHIVE_PARTS];
	int n = open_parts(dir, part, why);
	bool more = true;

	if (n == 0)
		return err_set(why, -ENOENT, "%s/" ARCHIVE_FILE ": there is none: nobody was refused yet", dir);
	while (n > 0) {
		n--;
		more = more && read_part(part[n].file, each, arg);
		(void)fclose(part[n].file);
	}
	return n < 0 ? n : 0;
}
