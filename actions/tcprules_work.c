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
#define V4_LINE_MAX 32
#define V6_LINE_MAX 48
#define FAILED 111

/* All that is to be denied: IPv4 in front, IPv6 at the end, in room for `cap`. */
struct gathered {
	const struct block **block;
	struct ip_prefix *prefix;
	size_t v4, v6, cap;
	size_t rules_v4, rules_v6;
};

static int
fail(const char *what, const char *path, int error)
{
	(void)dprintf(STDERR_FILENO, "%s%s%s: %s\n", what, path[0] != '\0' ? " " : "", path, strerror(error));
	return FAILED;
}

/* --- gathering ------------------------------------------------------------------------------- */

static void
gather_one(const struct tcprules_work *w, const struct block *b, struct gathered *g, struct tcprules_built *built)
{
	bool v4 = ip_is_v4(&b->prefix.ip);
	size_t rules = b->kind == BLOCK_DENY ? rule_count(&b->prefix, w->ipv6) : 0;

	if (mono_since(w->now, b->until) <= 0)
		return;
	if (rules == 0) {
		built->unsaid++;
	} else if (protected_touches(w->protected, &b->prefix)) {
		built->refused++;
	} else {
		size_t at = v4 ? g->v4++ : g->cap - ++g->v6;

		g->block[at] = b;
		g->prefix[at] = b->prefix;
		*(v4 ? &g->rules_v4 : &g->rules_v6) += rules;
		if (b->until.ms < built->next_end.ms)
			built->next_end = b->until;
	}
}

static int
gather(const struct tcprules_work *w, struct gathered *g, struct tcprules_built *built)
{
	const struct block *b;
	size_t cursor = 0;

	*g = (struct gathered) { .cap = blockset_count(w->want) };
	g->block = malloc((g->cap + 1) * sizeof(g->block[0]));
	g->prefix = malloc((g->cap + 1) * sizeof(g->prefix[0]));
	if (g->block == NULL || g->prefix == NULL)
		return -ENOMEM;
	while (g->v4 + g->v6 < g->cap && (b = blockset_next(w->want, &cursor)) != NULL)
		gather_one(w, b, g, built);
	return 0;
}

static bool
may_cover(const struct ip_prefix *p, void *arg)
{
	return !protected_touches(arg, p);
}

/* --- the list -------------------------------------------------------------------------------- */

static char *
put_in_list(const struct tcprules_work *w, const struct block *const *b, size_t n, int64_t wall, char *at)
{
	for (size_t i = 0; i < n; i++)
		at += tcprules_list_line(b[i], (wall + mono_since(w->now, b[i]->until)) / 1000 + 1, at);
	return at;
}

/* Best effort.  An old list would bring back what was taken out since: then rather none, and `neutral` takes back
 * all. */
static void
write_list(const struct tcprules_work *w, const struct gathered *g)
{
	size_t head = strlen(TCPRULES_LIST_HEAD), n = g->v4 + g->v6;
	int64_t wall = wall_now().ms;
	int r = -ENOMEM;

	if (n == 0)
		return; /* removed when the cdb is in place */
	char *text = malloc(head + n * TCPRULES_LIST_LINE_MAX);
	if (text != NULL) {
		memcpy(text, TCPRULES_LIST_HEAD, head);
		char *end = put_in_list(w, g->block, g->v4, wall, text + head);
		end = put_in_list(w, g->block + (g->cap - g->v6), g->v6, wall, end);
		r = atomicfile_put(w->dir, &(struct atomicfile) {
			.name = w->list_name, .data = text, .len = (size_t)(end - text), .mode = 0644,
		});
	}
	if (r < 0)
		(void)unlinkat(w->dir, w->list_name, 0);
	free(text);
}

/* --- the rules ------------------------------------------------------------------------------- */

static char *
put_rules(const struct tcprules_work *w, const struct ip_prefix *p, size_t n, char *at, struct tcprules_built *built)
{
	for (size_t i = 0; i < n; i++) {
		size_t rules = rule_count(&p[i], true);

		if (rules == 0 || built->rules + rules > w->max_rules) {
			built->over++;
			continue;
		}
		at += rule_deny(&p[i], at);
		built->blocks++;
		built->rules += rules;
	}
	return at;
}

/* Ours, as text.  Caller frees; NULL: no memory. */
static char *
make_rules(const struct tcprules_work *w, struct gathered *g, size_t *ret_len, struct tcprules_built *built)
{
	static const char head[] = "\n" TCPRULES_MARKER ":allow\n";
	char *text = malloc(sizeof(head) + g->v4 * V4_LINE_MAX + g->rules_v6 * V6_LINE_MAX);

	if (text == NULL)
		return NULL;
	if (g->rules_v4 + g->rules_v6 > w->max_rules) {
		size_t room = w->max_rules > g->rules_v6 ? w->max_rules - g->rules_v6 : 0;

		g->v4 = compact(g->prefix, g->v4, room, w->widen ? may_cover : NULL, (void *)(uintptr_t)w->protected);
	}
	char *at = text + sizeof(head) - 1;
	memcpy(text, head, sizeof(head) - 1);
	at = put_rules(w, g->prefix, g->v4, at, built);
	at = put_rules(w, g->prefix + (g->cap - g->v6), g->v6, at, built);
	*ret_len = built->rules > 0 ? (size_t)(at - text) : 1;
	return text;
}

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

/* Both become our stdin, and so that of tcprules. */
static int
put_on_stdin(const char *theirs, size_t theirs_len, const char *ours, size_t ours_len)
{
	int fd = memfd_create("rules", MFD_CLOEXEC), r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = fd_write_all(fd, theirs, theirs_len);
	if (r == 0)
		r = fd_write_all(fd, ours, ours_len);
	if (r == 0 && (lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0))
		r = -errno;
	return r;
}

/* --- the jobs -------------------------------------------------------------------------------- */

static int
prepare_rules(const struct tcprules_work *w, struct gathered *g, struct tcprules_built *built)
{
	size_t ours_len = 0, theirs_len = 0;
	char *theirs = read_theirs(w, &theirs_len, &built->rules_stat);

	if (theirs == NULL)
		return FAILED;
	if (!w->dry_run)
		write_list(w, g);
	char *ours = make_rules(w, g, &ours_len, built);
	int r = ours != NULL ? put_on_stdin(theirs, theirs_len, ours, ours_len) : -ENOMEM;
	free(ours);
	free(theirs);
	if (r == 0)
		r = fd_write_all(STDOUT_FILENO, built, sizeof(*built));
	if (r < 0)
		return fail("cannot hand on the rules", "", -r);
	return w->dry_run ? 0 : CHILD_GO_ON;
}

static int
with_blocks(const struct tcprules_work *w)
{
	struct tcprules_built built = { .next_end = { INT64_MAX } };
	struct gathered g;
	int r = gather(w, &g, &built) < 0 ? fail("cannot gather the blocks", "", ENOMEM) : 0;

	if (r == 0 && w->job == TCPRULES_COMPILE)
		r = prepare_rules(w, &g, &built);
	else if (r == 0)
		write_list(w, &g);
	free(g.block);
	free(g.prefix);
	return r;
}

int
tcprules_work(void *arg)
{
	static const char probe[] = TCPRULES_PROBE_KEY ":deny\n";
	const struct tcprules_work *w = arg;

	/* Nobody would look after us. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != w->parent)
		return FAILED;
	/* By the directory that is held, not by a path that may lead elsewhere by now. */
	if (fchdir(w->dir) < 0)
		return fail("cannot go to the directory of the cdb", "", errno);
	(void)umask(077);
	if (w->job != TCPRULES_PROBE)
		return with_blocks(w);
	int r = put_on_stdin(probe, sizeof(probe) - 1, "", 0);
	return r < 0 ? fail("cannot hand on the rules", "", -r) : CHILD_GO_ON;
}
