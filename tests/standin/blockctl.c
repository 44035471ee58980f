/* SPDX-License-Identifier: ISC */
/*
 * blockctl - the block actions in a process of their own, as the keeper runs them, told what to do line by line
 *
 *	blockctl [--dry-run] [--ipsvd DIR --timeout SECONDS] [--tcprules RULES CDB [--command PATH]]
 *
 * On stdin, each answered by one line on stdout, "ok" or "error: ...", but as told:
 *
 *	put ADDR[/N] deny|explain|throttle SECONDS ID
 *	fill ADDR N SECONDS ID      deny N addresses, ADDR and those that follow
 *	remove ADDR[/N]             "absent" when there is none
 *	reconcile
 *	clock-set
 *	wait                        until there is nothing more to be done at once, 30 s at most
 *	status                      for each action a line: NAME ours=N foreign=N ok, or "not ok", and ": TEXT"; then "."
 *	neutral all|outdated        for each action "NAME ok" or "NAME: TEXT"; then "."
 *	end                         end, with everything left as it is
 *
 * Between the lines it steps, once a second and whenever an action's descriptor says so.  Ended blocks stay in the set.
 *
 * Exit: 0; 100 usage or configuration; 111 no memory.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actions/block.h"
#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"

#define BLOCKS_MAX 1000000
#define ACTIONS_MAX 4
#define LINE_MAX_LEN 400
#define WORDS_MAX 6
#define SECONDS_MAX 100000000u
#define WAIT_MS 30000

static struct {
	const struct block_ops *ops[ACTIONS_MAX];
	void *ctx[ACTIONS_MAX];
	size_t n;
	struct blockset *want;
} all;

static const char *const kinds[BLOCK_KINDS] = { "deny", "explain", "throttle" };

/* --- actions --------------------------------------------------------------------------------- */

static int
open_actions(const struct block_cfg *cfg)
{
	for (size_t i = 0; block_table[i] != NULL && all.n < ACTIONS_MAX; i++) {
		struct err why;
		int r = block_table[i]->init(cfg, &all.ctx[all.n], &why);

		if (r == -ENOENT)
			continue;
		if (r < 0) {
			(void)fprintf(stderr, "blockctl: %s\n", why.text);
			return r;
		}
		all.ops[all.n++] = block_table[i];
	}
	return 0;
}

static void
step_all(void)
{
	mono_t now = mono_now();

	for (size_t i = 0; i < all.n; i++)
		all.ops[i]->step(all.ctx[i], all.want, now);
}

static void
change_all(const struct ip_prefix *p, const struct block *b)
{
	mono_t now = mono_now();

	for (size_t i = 0; i < all.n; i++)
		all.ops[i]->change(all.ctx[i], p, b, all.want, now);
}

/* Wait for `ms`, or until an action or, if `input`, stdin has something.  Returns whether it is stdin. */
static bool
wait_for_something(bool input, int ms, bool *ret_action)
{
	struct pollfd p[ACTIONS_MAX + 1] = { { .fd = input ? STDIN_FILENO : -1, .events = POLLIN } };

	for (size_t i = 0; i < all.n; i++)
		p[1 + i] = (struct pollfd) { .fd = all.ops[i]->fd(all.ctx[i]), .events = POLLIN };
	int n = poll(p, 1 + all.n, ms);
	*ret_action = n > 0 && (n > 1 || p[0].revents == 0);
	return p[0].revents != 0;
}

/* --- commands -------------------------------------------------------------------------------- */

static int
read_seconds(const char *s, uint64_t max, uint64_t *ret)
{
	return num_u64(s, ret) < 0 || *ret > max ? -EINVAL : 0;
}

static int
put_one(const struct block *b)
{
	int r = blockset_put(all.want, b);

	if (r == 0)
		change_all(&b->prefix, blockset_find(all.want, &b->prefix));
	return r;
}

static int
do_put(char *const *word, size_t n)
{
	struct block b = { .until = { 0 } };
	uint64_t s;
	size_t kind = 0;

	if (n != 5 || ip_prefix_parse(word[1], &b.prefix) < 0 || read_seconds(word[3], SECONDS_MAX, &s) < 0
		|| text_copy(b.id, sizeof(b.id), word[4]) < 0)
		return -EINVAL;
	while (kind < BLOCK_KINDS && strcmp(word[2], kinds[kind]) != 0)
		kind++;
	if (kind == BLOCK_KINDS)
		return -EINVAL;
	b.kind = (enum block_kind)kind;
	b.until = mono_after(mono_now(), (int64_t)s * 1000);
	return put_one(&b);
}

static int
do_fill(char *const *word, size_t n)
{
	struct block b = { .kind = BLOCK_DENY };
	uint64_t count, s;
	int r = 0;

	if (n != 5 || ip_prefix_parse(word[1], &b.prefix) < 0 || read_seconds(word[2], BLOCKS_MAX, &count) < 0
		|| read_seconds(word[3], SECONDS_MAX, &s) < 0 || text_copy(b.id, sizeof(b.id), word[4]) < 0)
		return -EINVAL;
	b.until = mono_after(mono_now(), (int64_t)s * 1000);
	for (uint64_t i = 0; i < count && r == 0; i++) {
		r = put_one(&b);
		if (i % 64 == 63)
			step_all();
		for (int k = 15; k > 11 && ++b.prefix.ip.b[k] == 0; k--)
			;
	}
	return r;
}

/* Returns 1 when there is none. */
static int
do_remove(char *const *word, size_t n)
{
	struct ip_prefix p;

	if (n != 2 || ip_prefix_parse(word[1], &p) < 0)
		return -EINVAL;
	if (!blockset_remove(all.want, &p))
		return 1;
	change_all(&p, NULL);
	return 0;
}

static int
do_wait(void)
{
	mono_t end = mono_after(mono_now(), WAIT_MS);
	bool more;

	do {
		step_all();
		(void)wait_for_something(false, 0, &more);
	} while (more && mono_now().ms < end.ms);
	return more ? -EBUSY : 0;
}

static void
tell_status(void)
{
	for (size_t i = 0; i < all.n; i++) {
		struct block_status s;

		all.ops[i]->status(all.ctx[i], &s);
		(void)printf("%s ours=%zu foreign=%zu %s%s%s\n", all.ops[i]->name, s.ours, s.foreign, s.ok ? "ok" : "not ok",
			s.text[0] != '\0' ? ": " : "", s.text);
	}
	(void)puts(".");
}

static void
do_neutral(bool everything)
{
	for (size_t i = 0; i < all.n; i++) {
		struct err why;
		int r = all.ops[i]->neutral(all.ctx[i], everything, &why);

		(void)printf("%s%s%s\n", all.ops[i]->name, r < 0 ? ": " : " ok", r < 0 ? why.text : "");
	}
	(void)puts(".");
}

static int
command(char *const *word, size_t n)
{
	mono_t now = mono_now();

	if (strcmp(word[0], "put") == 0)
		return do_put(word, n);
	if (strcmp(word[0], "fill") == 0)
		return do_fill(word, n);
	if (strcmp(word[0], "remove") == 0)
		return do_remove(word, n);
	if (strcmp(word[0], "wait") == 0)
		return do_wait();
	for (size_t i = 0; i < all.n; i++) {
		if (strcmp(word[0], "reconcile") == 0)
			all.ops[i]->reconcile(all.ctx[i], all.want, now);
		else if (strcmp(word[0], "clock-set") == 0)
			all.ops[i]->clock_set(all.ctx[i], all.want, now);
		else
			return -ENOSYS;
	}
	return 0;
}

/* Returns whether to go on. */
static bool
take_line(char *line)
{
	char *word[WORDS_MAX], *rest = NULL;
	size_t n = 0;

	for (char *w = strtok_r(line, " ", &rest); w != NULL && n < WORDS_MAX; w = strtok_r(NULL, " ", &rest))
		word[n++] = w;
	if (n == 1 && strcmp(word[0], "end") == 0)
		return false;
	if (n == 1 && strcmp(word[0], "status") == 0) {
		tell_status();
	} else if (n == 2 && strcmp(word[0], "neutral") == 0) {
		do_neutral(strcmp(word[1], "all") == 0);
	} else {
		int r = n > 0 ? command(word, n) : -ENOSYS;

		(void)printf(r < 0 ? "error: %s\n" : "%s\n", r < 0 ? strerror(-r) : r > 0 ? "absent" : "ok");
	}
	(void)fflush(stdout);
	return true;
}

/* --- life ------------------------------------------------------------------------------------ */

/* What has come on stdin, line by line.  Returns whether to go on. */
static bool
take_input(void)
{
	static char buf[LINE_MAX_LEN];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, buf + len, sizeof(buf) - len);
	char *end;

	if (n <= 0)
		return false;
	len += (size_t)n;
	while ((end = memchr(buf, '\n', len)) != NULL) {
		*end = '\0';
		if (!take_line(buf))
			return false;
		len -= (size_t)(end + 1 - buf);
		memmove(buf, end + 1, len);
	}
	return len < sizeof(buf);
}

static int
usage(void)
{
	(void)fprintf(stderr, "usage: blockctl [--dry-run] [--ipsvd DIR --timeout SECONDS] [--tcprules RULES CDB"
			      " [--command PATH]]\n");
	return 100;
}

static int
read_options(int argc, char **argv, struct block_cfg *cfg)
{
	static const struct option options[] = {
		{ "dry-run", no_argument, NULL, 'd' }, { "ipsvd", required_argument, NULL, 'i' },
		{ "timeout", required_argument, NULL, 't' }, { "tcprules", required_argument, NULL, 'r' },
		{ "command", required_argument, NULL, 'c' }, { 0 },
	};
	uint64_t s;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			cfg->dry_run = true;
		else if (c == 'i')
			r = text_copy(cfg->ipsvd.dir, sizeof(cfg->ipsvd.dir), optarg);
		else if (c == 't' && (r = read_seconds(optarg, SECONDS_MAX, &s)) == 0)
			cfg->ipsvd.timeout_ms = (int64_t)s * 1000;
		else if (c == 'r' && optind < argc && (r = text_copy(cfg->tcprules.rules, CFG_STRING_MAX, optarg)) == 0)
			r = text_copy(cfg->tcprules.cdb, CFG_STRING_MAX, argv[optind++]);
		else if (c == 'c')
			r = text_copy(cfg->tcprules.command, CFG_STRING_MAX, optarg);
		else
			r = -EINVAL;
	}
	return r < 0 || optind != argc ? -EINVAL : 0;
}

int
main(int argc, char **argv)
{
	static struct block_cfg cfg = { .ipsvd.timeout_ms = 120000, .tcprules.command = "tcprules" };
	bool go_on = true;

	if (read_options(argc, argv, &cfg) < 0)
		return usage();
	if (blockset_new(BLOCKS_MAX, &all.want) < 0)
		return 111;
	if (open_actions(&cfg) < 0)
		return 100;
	while (go_on) {
		bool action;

		if (wait_for_something(true, 1000, &action))
			go_on = take_input();
		step_all();
	}
	for (size_t i = 0; i < all.n; i++)
		all.ops[i]->free(all.ctx[i]);
	blockset_free(all.want);
	return 0;
}
