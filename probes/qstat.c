/* SPDX-License-Identifier: ISC */
/*
 * qstat - what qmail-qstat says, as a cross-check of our own count
 *
 * It costs a fifth of a second of cpu with 100,000 messages, so it runs rarely, one home after another, in a child
 * with a deadline.  Its numbers are worth nothing when it could not look: without permission
 * one fork prints 0, another -1, both with success.  Hence a word on stderr, an exit code other than 0, or numbers that
 * make no sense mean unknown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/child.h"
#include "lib/text.h"
#include "probes/parse.h"
#include "probes/probe.h"

#define OUTPUT_MAX 4096
#define COMPLAINT_MAX 120
#define KILL_AGAIN_MS 1000
#define OFF_MS 60000 /* a reload may switch it on */

struct qstat {
	const struct probe_qstat_cfg *cfg;
	const struct cfg_list *homes;
	struct child child; /* pid 0: none runs */
	char out[OUTPUT_MAX], err[COMPLAINT_MAX];
	unsigned home; /* asked now */
	struct qstat_counts sum; /* of the homes before */
	bool killed;
	mono_t next_round, deadline;
	int64_t took_ms;
	mono_t began;
};

static void
qstat_free(void *ctx)
{
	struct qstat *q = ctx;

	if (q == NULL)
		return;
	child_abandon(&q->child);
	free(q);
}

static int
qstat_init(const struct probe_env *env, const void *cfg, void **ret_ctx)
{
	struct qstat *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return -ENOMEM;
	q->cfg = cfg;
	q->homes = env->homes;
	q->child = (struct child) { .pidfd = -1, .poll = -1, .out.fd = -1, .err.fd = -1 };
	*ret_ctx = q;
	return 0;
}

static void
command_of(const struct qstat *q, char *ret, size_t cap)
{
	if (q->cfg->command[0] != '\0')
		(void)snprintf(ret, cap, "%s", q->cfg->command);
	else
		(void)snprintf(ret, cap, "%s/bin/qmail-qstat", q->homes->s[q->home]);
}

static int
start(struct qstat *q, mono_t now, struct err *why)
{
	char path[CFG_STRING_MAX + 32], lang[] = "LC_ALL=C", search[] = "PATH=/usr/local/bin:/usr/bin:/bin";
	const struct child_spec spec = {
		.argv = (char *[]) { path, NULL },
		.envp = (char *[]) { search, lang, NULL },
		.in = -1,
		/* one byte is kept for the end of the string */
		.out = q->out, .out_cap = sizeof(q->out) - 1,
		.err = q->err, .err_cap = sizeof(q->err) - 1,
	};

	command_of(q, path, sizeof(path));
	int r = child_start(&spec, &q->child);
	if (r < 0)
		return err_sys(why, r, "cannot run %s", path);
	q->killed = false;
	q->began = now;
	q->deadline = mono_after(now, q->cfg->deadline_ms);
	return 0;
}

static int
complain(struct err *why, const char *text, const char *what)
{
	char words[4 * COMPLAINT_MAX + 1];
	struct text t = text_in(words, sizeof(words));

	text_put_printable(&t, text, strcspn(text, "\n"), COMPLAINT_MAX);
	return err_set(why, -EBADMSG, "qmail-qstat %s: %s", what, words);
}

/* The child has ended: what did it say? */
static int
judge(struct qstat *q, int status, struct qstat_counts *ret, struct err *why)
{
	q->out[q->child.out.len] = q->err[q->child.err.len] = '\0';
	if (q->child.err.len > 0)
		return complain(why, q->err, "complains");
	if (status != 0 && !q->child.out.overflow)
		return err_set(why, -EBADMSG, "qmail-qstat ended with %s %d",
			status >= 256 ? "signal" : "exit code", status >= 256 ? status - 256 : status);
	/* A NUL byte would hide what follows it. */
	if (q->child.out.overflow || strlen(q->out) != q->child.out.len || parse_qstat(q->out, ret) < 0)
		return complain(why, q->out, "says what we do not understand");
	return 0;
}

/* The running child: not done (-EAGAIN), done (0, *ret), or failed. */
static int
follow(struct qstat *q, mono_t now, struct qstat_counts *ret, struct err *why)
{
	int status = child_pump(&q->child);

	if (status >= 0) {
		q->took_ms = mono_since(q->began, now);
		return q->killed ? -EAGAIN : judge(q, status, ret, why);
	}
	/* It is judged by what it has said so far: to read all the rest would cost a cpu until the deadline. */
	if (q->child.out.overflow || q->child.err.overflow)
		child_kill(&q->child);
	if (now.ms < q->deadline.ms)
		return -EAGAIN;
	/* It may take long to die.  Until it has, no other is started. */
	child_kill(&q->child);
	q->killed = true;
	q->deadline = mono_after(now, KILL_AGAIN_MS);
	return err_set(why, -ETIMEDOUT, "qmail-qstat did not end within %lld ms",
		(long long)q->cfg->deadline_ms);
}

static bool
asks_each_home(const struct qstat *q)
{
	return q->cfg->command[0] == '\0';
}

static int
step(struct qstat *q, mono_t now, struct probe_sample *s, struct err *why)
{
	struct qstat_counts c;
	int r;

	if (q->child.pid == 0) {
		q->home = 0;
		q->sum = (struct qstat_counts) { 0 };
		return start(q, now, why);
	}
	r = follow(q, now, &c, why);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	q->sum.messages += c.messages;
	q->sum.todo += c.todo;
	if (asks_each_home(q) && ++q->home < q->homes->n)
		return start(q, now, why);
	probe_tell(s, READING_QSTAT_MESSAGES, q->sum.messages);
	probe_tell(s, READING_QSTAT_TODO, q->sum.todo);
	return 0;
}

static int
qstat_sample(void *ctx, mono_t now, struct probe_sample *ret, struct err *why)
{
	struct qstat *q = ctx;
	int r = 0;

	if (q->cfg->every_ms == 0) {
		ret->due = mono_after(now, OFF_MS);
		return err_set(why, -ENODATA, "switched off: every = 0");
	}
	if (q->child.pid != 0 || now.ms >= q->next_round.ms) {
		if (q->child.pid == 0)
			q->next_round = mono_after(now, q->cfg->every_ms);
		r = step(q, now, ret, why);
	}
	ret->due = q->child.pid != 0 ? q->deadline : q->next_round;
	return r;
}

static int
qstat_fd(void *ctx)
{
	const struct qstat *q = ctx;

	return q->child.pid != 0 ? q->child.poll : -1;
}

static size_t
qstat_facts(void *ctx, struct probe_fact ret[PROBE_FACTS_MAX])
{
	const struct qstat *q = ctx;

	probe_fact(&ret[0], "took_ms", "%lld", (long long)q->took_ms);
	return 1;
}

static const struct cfg_row qstat_schema[] = {
	{ .name = "command", .type = CFG_PATH, .at = offsetof(struct probe_qstat_cfg, command),
		.def_text = "", .flags = CFG_MAY_BE_EMPTY,
		.help = "program to run; empty: bin/qmail-qstat of each home" },
	{ .name = "every", .type = CFG_DURATION, .at = offsetof(struct probe_qstat_cfg, every_ms),
		.min = 0, .max = 86400000, .def = 1800000, .help = "how often to run it; 0: never" },
	{ .name = "deadline", .type = CFG_DURATION, .at = offsetof(struct probe_qstat_cfg, deadline_ms),
		.min = 100, .max = 300000, .def = 30000, .help = "it is killed after so long" },
	{ 0 },
};

const struct probe_ops probe_qstat = {
	.name = "qstat",
	.summary = "qmail-qstat, as a cross-check of our own count",
	.schema = qstat_schema,
	.readings = 1u << READING_QSTAT_MESSAGES | 1u << READING_QSTAT_TODO,
	.init = qstat_init,
	.sample = qstat_sample,
	.fd = qstat_fd,
	.facts = qstat_facts,
	.free = qstat_free,
};
