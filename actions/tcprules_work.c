/* SPDX-License-Identifier: ISC */
/*
 * tcprules_work - rules and list from blocks, in a child
 *
 * The administrator's rules go first, byte for byte, then a line feed in case the last has none, the marker, and
 * ours.  Of two rules for the same address the first one counts, so the administrator's goes before ours; of two that
 * match the longest counts, as ever.  Blocks are said one by one as long as there is room: to join two halves changes
 * no address, but a rule of the administrator that is longer than the whole and no longer than a half would then win
 * where it did not.
 *
 * The list is written before the cdb takes its place, so it never knows less than what is in force.  What it knows too
 * much was wanted at least.
 */
#include "actions/tcprules_work.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "actions/compact.h"
#include "actions/rule.h"
#include "actions/tcprules_list.h"
#include "lib/atomicfile.h"
#include "lib/child.h"
#include "lib/fdio.h"

#define RULES_SIZE_MAX (16 << 20) /* of the administrator's file */
#define MARK "\n" TCPRULES_MARKER ":allow\n"
#define FAILED 111

static int
fail(const char *what, const char *path, int error)
{
	(void)dprintf(STDERR_FILENO, "%s%s%s: %s\n", what, path[0] != '\0' ? " " : "", path, strerror(error));
	return FAILED;
}

/* --- output in pieces ------------------------------------------------------------------------ */

/* After a fork, a page that is touched for the first time costs more than what is written into it (measured: with all
 * of the text in memory, a rebuild with 100,000 blocks took three times what tcprules takes, not less than two). */
struct stream {
	int fd; /* -1: nowhere */
	int error; /* 0 or -errno, of the first piece that could not be written */
	size_t len;
	char buf[65536 + RULE_TEXT_MAX];
};

static void
stream_begin(struct stream *s, int fd)
{
	s->fd = fd;
	s->error = 0;
	s->len = 0;
}

static int
stream_flush(struct stream *s)
{
	if (s->error == 0 && s->fd >= 0)
		s->error = fd_write_all(s->fd, s->buf, s->len);
	s->len = 0;
	return s->error;
}

/* Room for one more line, or the lines of one block. */
static char *
stream_room(struct stream *s)
{
	if (s->len > sizeof(s->buf) - RULE_TEXT_MAX)
		(void)stream_flush(s); /* remembered */
	return s->buf + s->len;
}

/* --- the blocks ------------------------------------------------------------------------------ */

struct writing {
	const struct tcprules_work *w;
	struct tcprules_built *built;
	int64_t wall_ms;
	struct stream rules, list;
};

/* How many rules it takes; 0: it is not said, and counted as such, or over. */
static size_t
count_rules(const struct writing *x, const struct block *b)
{
	if (mono_since(x->w->now, b->until) <= 0)
		return 0;
	size_t rules = b->kind == BLOCK_DENY ? rule_count(&b->prefix, x->w->ipv6) : 0;
	if (rules == 0) {
		x->built->unsaid++;
	} else if (protected_touches(x->w->protected, &b->prefix)) {
		x->built->refused++;
		rules = 0;
	}
	return rules;
}

static void
write_block(struct writing *x, const struct block *b)
{
	size_t rules = count_rules(x, b);

	if (rules == 0)
		return;
	if (b->until.ms < x->built->next_end.ms)
		x->built->next_end = b->until;
	int64_t end_ms = x->wall_ms + mono_since(x->w->now, b->until);
	if (x->list.fd >= 0)
		x->list.len += tcprules_list_line(b, end_ms / 1000 + 1, stream_room(&x->list));
	x->built->blocks++;
	x->built->rules += rules;
	if (x->built->rules <= x->w->max_rules)
		x->rules.len += rule_deny(&b->prefix, stream_room(&x->rules));
}

/* All rules, and into `list_fd` the list. */
static int
write_blocks(int list_fd, void *arg)
{
	struct writing *x = arg;
	const struct block *b;
	size_t cursor = 0;

	*x->built = (struct tcprules_built) { .rules_stat = x->built->rules_stat, .next_end = { INT64_MAX } };
	x->wall_ms = wall_now().ms;
	stream_begin(&x->rules, x->rules.fd);
	stream_begin(&x->list, list_fd);
	memcpy(x->list.buf, TCPRULES_LIST_HEAD, strlen(TCPRULES_LIST_HEAD));
	x->list.len = strlen(TCPRULES_LIST_HEAD);
	while ((b = blockset_next(x->w->want, &cursor)) != NULL)
		write_block(x, b);
	int r = stream_flush(&x->rules);
	return r < 0 ? r : stream_flush(&x->list);
}

/* The list is best effort.  But an old one would bring back what was taken out since: then rather none, and `neutral`
 * takes back all. */
static int
write_list_and_blocks(struct writing *x)
{
	int r = atomicfile_put(x->w->dir, &(struct atomicfile) {
		.name = x->w->list_name, .write = write_blocks, .arg = x, .mode = 0644,
	});

	if (r < 0)
		(void)unlinkat(x->w->dir, x->w->list_name, 0);
	return r;
}

/* --- more than there is room for ------------------------------------------------------------- */

static bool
may_cover(const struct ip_prefix *p, void *arg)
{
	return !protected_touches(arg, p);
}

/* Of IPv4 first, then of IPv6, which is not joined: prefixes that can't be said would come of it.  Caller frees. */
static struct ip_prefix *
gather(const struct writing *x, size_t *ret_v4, size_t *ret_v6)
{
	size_t cap = blockset_count(x->w->want), v4 = 0, v6 = 0, cursor = 0;
	struct ip_prefix *p = malloc((cap + 1) * sizeof(*p));
	const struct block *b;

	while (p != NULL && v4 + v6 < cap && (b = blockset_next(x->w->want, &cursor)) != NULL)
		if (count_rules(x, b) > 0)
			p[ip_is_v4(&b->prefix.ip) ? v4++ : cap - ++v6] = b->prefix;
	if (p != NULL)
		v4 = compact(p, v4, x->w->max_rules, x->w->widen ? may_cover : NULL,
			(void *)(uintptr_t)x->w->protected);
	if (p != NULL && v6 > 0)
		memmove(p + v4, p + (cap - v6), v6 * sizeof(*p));
	*ret_v4 = v4;
	*ret_v6 = v6;
	return p;
}

static int
write_joined(struct writing *x)
{
	struct tcprules_built counted = *x->built; /* for it counts again */
	size_t v4, v6;
	struct ip_prefix *p = gather(x, &v4, &v6);

	*x->built = counted;
	x->built->blocks = x->built->rules = 0;
	stream_begin(&x->rules, x->rules.fd);
	for (size_t i = 0; p != NULL && i < v4 + v6; i++) {
		size_t rules = rule_count(&p[i], true);

		if (rules == 0 || x->built->rules + rules > x->w->max_rules) {
			x->built->over++;
			continue;
		}
		x->rules.len += rule_deny(&p[i], stream_room(&x->rules));
		x->built->blocks++;
		x->built->rules += rules;
	}
	free(p);
	return p == NULL ? -ENOMEM : stream_flush(&x->rules);
}

/* --- the rules ------------------------------------------------------------------------------- */

/* The administrator's.  Caller frees; returns NULL after telling why. */
static char *
read_theirs(const struct tcprules_work *w, size_t *ret_len, struct stat *ret_stat)
{
	int fd = fd_open_regular(AT_FDCWD, w->rules, 0, RULES_SIZE_MAX);

	if (fd == -EINVAL) {
		(void)dprintf(STDERR_FILENO, "%s is no regular file\n", w->rules);
		return NULL;
	}
	if (fd < 0) {
		(void)fail("cannot read", w->rules, -fd);
		return NULL;
	}
	char *text = fstat(fd, ret_stat) == 0 ? malloc((size_t)ret_stat->st_size + 1) : NULL;
	ssize_t n = text != NULL ? fd_read_full(fd, text, (size_t)ret_stat->st_size + 1) : -ENOMEM;
	(void)close(fd);
	if (n == ret_stat->st_size) {
		*ret_len = (size_t)n;
		return text;
	}
	(void)fail("cannot read", w->rules, n < 0 ? (int)-n : EAGAIN); /* somebody writes it */
	free(text);
	return NULL;
}

/* Nothing behind `len` counts; what is written from now on goes there. */
static int
cut(int fd, off_t len)
{
	return ftruncate(fd, len) < 0 || lseek(fd, len, SEEK_SET) < 0 ? -errno : 0;
}

/* Ours, behind the administrator's, which end at `theirs`, and the mark, which ends at `mark`. */
static int
write_ours(struct writing *x, off_t theirs, off_t mark)
{
	int fd = x->rules.fd, r = x->w->dry_run ? -EROFS : write_list_and_blocks(x);

	if (r < 0 && (r = cut(fd, mark)) == 0)
		r = write_blocks(-1, x);
	if (r == 0 && x->built->rules > x->w->max_rules && (r = cut(fd, mark)) == 0)
		r = write_joined(x);
	/* Without blocks the cdb becomes just what the administrator would have compiled. */
	if (r == 0 && x->built->rules == 0)
		r = cut(fd, theirs);
	return r;
}

static int
become_stdin(int fd)
{
	return lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0 ? -errno : 0;
}

/* --- the jobs -------------------------------------------------------------------------------- */

/* All rules become our stdin, and so that of tcprules. */
static int
compile(struct writing *x)
{
	size_t len = 0;
	char *theirs = read_theirs(x->w, &len, &x->built->rules_stat);

	if (theirs == NULL)
		return FAILED;
	int fd = x->rules.fd = memfd_create("rules", MFD_CLOEXEC), r = fd < 0 ? -errno : 0;
	if (r == 0)
		r = fd_write_all(fd, theirs, len);
	if (r == 0)
		r = fd_write_all(fd, MARK, strlen(MARK));
	free(theirs);
	if (r == 0)
		r = write_ours(x, (off_t)len + 1, (off_t)(len + strlen(MARK)));
	if (r == 0)
		r = become_stdin(fd);
	if (r == 0)
		r = fd_write_all(STDOUT_FILENO, x->built, sizeof(*x->built));
	if (r < 0)
		return fail("cannot hand on the rules", "", -r);
	return x->w->dry_run ? 0 : CHILD_GO_ON;
}

static int
probe(void)
{
	static const char text[] = TCPRULES_PROBE_KEY ":deny\n";
	int fd = memfd_create("rules", MFD_CLOEXEC), r = fd < 0 ? -errno : fd_write_all(fd, text, sizeof(text) - 1);

	if (r == 0)
		r = become_stdin(fd);
	return r < 0 ? fail("cannot hand on the rules", "", -r) : CHILD_GO_ON;
}

int
tcprules_work(void *arg)
{
	static struct writing x;
	static struct tcprules_built built;
	const struct tcprules_work *w = arg;

	/* Nobody would look after us. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != w->parent)
		return FAILED;
	/* By the directory that is held, not by a path that may lead elsewhere by now. */
	if (fchdir(w->dir) < 0)
		return fail("cannot go to the directory of the cdb", "", errno);
	(void)umask(077);
	x.w = w;
	x.built = &built;
	if (w->job == TCPRULES_PROBE)
		return probe();
	if (w->job == TCPRULES_COMPILE)
		return compile(&x);
	x.rules.fd = -1;
	return write_list_and_blocks(&x) < 0 ? FAILED : 0;
}
