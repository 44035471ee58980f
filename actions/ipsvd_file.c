/* SPDX-License-Identifier: ISC */
#include "actions/ipsvd_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/text.h"

#define V4_BITS 96 /* before an IPv4 address in a struct ip */
#define MARK_BASE INT64_C(410227200) /* 1983-01-01 00:00:00 UTC */
#define ROUNDS 3 /* somebody else acts on the same name at the same time */

static const struct {
	mode_t mode;
	const char *before, *after; /* of the id */
} form[BLOCK_KINDS] = {
	[BLOCK_DENY] = { 0200, NULL, NULL },
	[BLOCK_EXPLAIN] = { 0755, "printf '421 4.7.0 Too much came from your address. Please try again later.",
		"\\r\\n'\n" },
	[BLOCK_THROTTLE] = { 0644,
		"C2:421 4.7.0 Too many connections from your address at a time. Please try again later.",
		"\\r\\n\n" },
};

/* --- names ----------------------------------------------------------------------------------- */

static uint32_t
net_mask(unsigned bits)
{
	return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

bool
ipsvd_key_is_catch_all(struct ipsvd_key k)
{
	return k.octets == 1 && k.net == 0;
}

unsigned
ipsvd_keys(const struct ip_prefix *p, struct ipsvd_key *ret)
{
	if (p->bits <= V4_BITS || !ip_is_v4(&p->ip))
		return 0;
	unsigned bits = p->bits - V4_BITS;
	const uint8_t *b = p->ip.b + 12;
	uint32_t net = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	struct ipsvd_key k = { .net = net & net_mask(bits), .octets = (bits + 7) / 8 };
	unsigned n = 1u << (8 * k.octets - bits);

	if (n == 1 && ipsvd_key_is_catch_all(k))
		return 0;
	*ret = k;
	return n;
}

struct ipsvd_key
ipsvd_key_next(struct ipsvd_key k)
{
	k.net += UINT32_C(1) << (32 - 8 * k.octets);
	return k;
}

struct ip_prefix
ipsvd_key_prefix(struct ipsvd_key k, unsigned bits)
{
	uint32_t net = k.net & net_mask(bits);
	struct ip_prefix p = { .bits = (uint8_t)(V4_BITS + bits), .ip = { .b = { [10] = 0xff, [11] = 0xff } } };

	for (int i = 0; i < 4; i++)
		p.ip.b[12 + i] = (uint8_t)(net >> (24 - 8 * i));
	return p;
}

void
ipsvd_name(struct ipsvd_key k, char ret[IPSVD_NAME_MAX])
{
	struct text t = text_in(ret, IPSVD_NAME_MAX);

	for (unsigned i = 0; i < k.octets; i++) {
		if (i > 0)
			text_putc(&t, '.');
		text_put_u64(&t, k.net >> (24 - 8 * i) & 0xff);
	}
}

bool
ipsvd_name_parse(const char *s, struct ipsvd_key *ret)
{
	struct ipsvd_key k = { 0, 0 };

	for (;;) {
		const char *begin = s;
		unsigned v = 0;

		while (*s >= '0' && *s <= '9' && s - begin < 3)
			v = 10 * v + (unsigned)(*s++ - '0');
		if (s == begin || v > 255 || (*begin == '0' && s - begin > 1))
			return false;
		k.net |= v << (24 - 8 * k.octets++);
		if (*s == '\0')
			break;
		if (*s++ != '.' || k.octets == 4)
			return false;
	}
	if (ipsvd_key_is_catch_all(k))
		return false;
	*ret = k;
	return true;
}

/* --- whose ----------------------------------------------------------------------------------- */

/* The second that a file of this name bears: an even one, for file systems that count by two. */
static int64_t
mark_of(struct ipsvd_key k)
{
	uint32_t h = (k.net ^ k.octets) * UINT32_C(2654435761); /* Knuth's, to tell neighbours apart */

	return MARK_BASE + ((h ^ h >> 15) & 0xfffffe); /* until July */
}

static enum ipsvd_owner
owner_of(const struct stat *st, struct ipsvd_key k)
{
	mode_t mode = st->st_mode & 07777;

	if (!S_ISREG(st->st_mode))
		return IPSVD_FOREIGN;
	if ((mode & ~(mode_t)S_IWUSR) == S_ISVTX)
		return IPSVD_UNFINISHED;
	if (st->st_mtim.tv_sec != mark_of(k) || st->st_mtim.tv_nsec != 0)
		return IPSVD_FOREIGN;
	for (int i = 0; i < BLOCK_KINDS; i++)
		if (mode == form[i].mode && (st->st_size == 0) == (i == BLOCK_DENY))
			return IPSVD_OURS;
	return IPSVD_FOREIGN;
}

static int
look(int dir, const char *name, struct ipsvd_key k, struct stat *ret)
{
	if (fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? IPSVD_NONE : -errno;
	return (int)owner_of(ret, k);
}

int
ipsvd_look(int dir, struct ipsvd_key k, struct stat *ret)
{
	char name[IPSVD_NAME_MAX];

	ipsvd_name(k, name);
	return look(dir, name, k, ret);
}

bool
ipsvd_is_outdated(const struct stat *st, int64_t timeout_s, int64_t wall_s)
{
	return wall_s - st->st_atim.tv_sec >= timeout_s; /* as tcpsvd reckons */
}

/* --- contents -------------------------------------------------------------------------------- */

/* It becomes part of a shell command: letters and digits, or nothing. */
static bool
is_id(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");

	return n > 0 && n < BLOCK_ID_MAX && s[n] == '\0';
}

static struct text
contents(enum block_kind kind, const char *id, char buf[IPSVD_TEXT_MAX])
{
	struct text t = text_in(buf, IPSVD_TEXT_MAX);

	if (form[kind].before == NULL)
		return t;
	if (!is_id(id))
		id = NULL;
	text_puts(&t, "# spillway ");
	text_puts(&t, id != NULL ? id : "");
	text_puts(&t, "\n");
	text_puts(&t, form[kind].before);
	if (id != NULL) {
		text_puts(&t, " [");
		text_puts(&t, id);
		text_puts(&t, "]");
	}
	text_puts(&t, form[kind].after);
	return t;
}

/* Does a file of ours have these contents?  Looking must not move its access time. */
static bool
has_contents(int dir, const char *name, const struct text *want)
{
	char is[IPSVD_TEXT_MAX];
	int fd = fd_open_regular(dir, name, O_NOFOLLOW | O_NOATIME, sizeof(is));

	if (fd < 0)
		return false;
	ssize_t n = fd_read_full(fd, is, sizeof(is));
	(void)close(fd);
	return n >= 0 && (size_t)n == want->len && memcmp(is, want->at, want->len) == 0;
}

static bool
is_of_kind(int dir, const char *name, const struct stat *st, enum block_kind kind, const char *id)
{
	char buf[IPSVD_TEXT_MAX];
	struct text want = contents(kind, id, buf);

	return (st->st_mode & 07777) == form[kind].mode && (kind == BLOCK_DENY || has_contents(dir, name, &want));
}

/* The steps of the clock, and rounding, may make it a second. */
static bool
has_time(const struct stat *st, int64_t atime_s)
{
	int64_t off = st->st_atim.tv_sec - atime_s;

	return off >= -1 && off <= 1;
}

/* --- deeds ----------------------------------------------------------------------------------- */

static void
times_of(struct ipsvd_key k, int64_t atime_s, struct timespec ret[2])
{
	ret[0] = (struct timespec) { .tv_sec = atime_s };
	ret[1] = (struct timespec) { .tv_sec = mark_of(k) };
}

static int
fill(int fd, struct ipsvd_key k, const struct ipsvd_file *f)
{
	struct timespec times[2];
	char buf[IPSVD_TEXT_MAX];
	struct text t = contents(f->kind, f->id, buf);
	int r = t.len > 0 ? fd_write_all(fd, buf, t.len) : 0;

	times_of(k, f->atime_s, times);
	if (r == 0 && (futimens(fd, times) < 0 || fchmod(fd, form[f->kind].mode) < 0))
		r = -errno;
	return r;
}

static int
disk_create(int dir, const char *name, struct ipsvd_key k, const struct ipsvd_file *f)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_ISVTX | S_IWUSR);
	struct stat st;

	if (fd < 0)
		return -errno;
	int r = fill(fd, k, f);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0 && look(dir, name, k, &st) == IPSVD_UNFINISHED)
		(void)unlinkat(dir, name, 0); /* if it stays it is known by its sticky bit */
	return r;
}

/* Through a descriptor, so that it is certain whose times are set. */
static int
disk_set_time(int dir, const char *name, struct ipsvd_key k, int64_t atime_s)
{
	struct timespec times[2];
	struct stat st;
	int r = 0, fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	times_of(k, atime_s, times);
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (owner_of(&st, k) != IPSVD_OURS)
		r = -ESTALE;
	else if (utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

static int
disk_remove(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int
nowhere_create(int dir, const char *name, struct ipsvd_key k, const struct ipsvd_file *f)
{
	(void)dir;
	(void)name;
	(void)k;
	(void)f;
	return 0;
}

static int
nowhere_set_time(int dir, const char *name, struct ipsvd_key k, int64_t atime_s)
{
	(void)dir;
	(void)name;
	(void)k;
	(void)atime_s;
	return 0;
}

static int
nowhere_remove(int dir, const char *name)
{
	(void)dir;
	(void)name;
	return 0;
}

const struct ipsvd_writer ipsvd_disk = { disk_create, disk_set_time, disk_remove };
const struct ipsvd_writer ipsvd_nowhere = { nowhere_create, nowhere_set_time, nowhere_remove };

/* Nothing comes between the look and the deed but what nobody can help. */
static int
drop(const struct ipsvd_writer *w, int dir, const char *name, struct ipsvd_key k)
{
	struct stat st;
	int owner = look(dir, name, k, &st);

	if (owner != IPSVD_OURS && owner != IPSVD_UNFINISHED)
		return owner;
	int r = w->remove(dir, name);
	return r < 0 ? r : owner;
}

/* What is there instead of a fresh file.  Returns as ipsvd_put(), or -EEXIST: it has been cleared away, or was gone. */
static int
settle(const struct ipsvd_writer *w, int dir, const char *name, struct ipsvd_key k, const struct ipsvd_file *want)
{
	struct stat st;
	int owner = look(dir, name, k, &st);

	if (owner < 0 || owner == IPSVD_FOREIGN)
		return owner;
	if (owner == IPSVD_OURS && is_of_kind(dir, name, &st, want->kind, want->id)) {
		int r = has_time(&st, want->atime_s) ? 0 : w->set_time(dir, name, k, want->atime_s);

		return r == 0 ? IPSVD_OURS : r == -ENOENT || r == -ESTALE ? -EEXIST : r;
	}
	if (owner == IPSVD_OURS && has_time(&st, want->atime_s)
		&& is_of_kind(dir, name, &st, want->accept, want->id))
		return IPSVD_OURS;
	owner = drop(w, dir, name, k); /* looks again: reading it took its time */
	return owner < 0 || owner == IPSVD_FOREIGN ? owner : -EEXIST;
}

int
ipsvd_put(const struct ipsvd_writer *w, int dir, struct ipsvd_key k, const struct ipsvd_file *want, bool look_first)
{
	char name[IPSVD_NAME_MAX];
	int r = -EEXIST;

	ipsvd_name(k, name);
	if (!look_first)
		r = w->create(dir, name, k, want);
	for (int i = 0; i < ROUNDS && r == -EEXIST; i++) {
		r = settle(w, dir, name, k, want);
		if (r == -EEXIST)
			r = w->create(dir, name, k, want);
		else
			return r;
	}
	return r < 0 ? r : IPSVD_OURS;
}

int
ipsvd_drop(const struct ipsvd_writer *w, int dir, struct ipsvd_key k)
{
	char name[IPSVD_NAME_MAX];

	ipsvd_name(k, name);
	return drop(w, dir, name, k);
}
