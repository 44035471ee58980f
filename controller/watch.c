/* SPDX-License-Identifier: ISC */
#include "controller/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controller/log.h"

#define GRACE_MIN_MS 4000 /* a look may be so late before its readings become unknown */
#define CROSS_CHECK_SLACK 100.0 /* messages that may come and go while qmail-qstat counts */

struct watched {
	struct watch *watch;
	const struct probe_ops *ops;
	void *ctx;
	struct event *timer, *io; /* io: NULL while there is no descriptor */
	int fd; /* of `io` */
	bool failing;
	bool off; /* by configuration: no trouble */
	struct err why; /* while failing */
	struct log_memory memory;
	uint64_t looks, failures;
	int64_t cpu_us, recount_cpu_us, longest_us;
	mono_t last;
};

struct watch {
	struct event_base *base;
	struct turn *turn;
	struct readings *readings;
	struct probe_env env;
	struct watched probe[PROBE_COUNT];
	bool counted;
	uint64_t arrived;
	struct log_memory cross_check;
};

static int64_t
cpu_us(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static struct timeval
timeval_of(int64_t ms)
{
	if (ms < 0)
		ms = 0;
	return (struct timeval) { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
}

/* --- what a look gave ------------------------------------------------------------------------ */

/* Two counts of the same queue, by us and by qmail-qstat: a difference that lasts means that one of them
 * looks at another layout, or may not look at all. */
static void
cross_check(struct watch *w, mono_t now)
{
	static const enum reading_id pair[][2] = {
		{ READING_QSTAT_MESSAGES, READING_MESSAGES }, { READING_QSTAT_TODO, READING_TODO },
	};
	char text[200] = "";

	for (int i = 0; i < 2; i++) {
		struct reading_value theirs = readings_get(w->readings, pair[i][0], now);
		struct reading_value ours = readings_get(w->readings, pair[i][1], now);
		double slack = CROSS_CHECK_SLACK + ours.value / 10;

		if (!theirs.known || !ours.known)
			return;
		if (theirs.value > ours.value + slack || theirs.value < ours.value - slack)
			(void)snprintf(text, sizeof(text), "qmail-qstat counts %.0f for %s, we count %.0f",
				theirs.value, reading_info[pair[i][1]].name, ours.value);
	}
	(void)log_edge(&w->cross_check, LOG_WARNING, "qstat", text);
}

static void
take(struct watched *p, const struct probe_sample *s, mono_t now)
{
	struct watch *w = p->watch;
	int64_t grace = mono_since(now, s->due);
	mono_t until = mono_after(s->due, grace > GRACE_MIN_MS ? grace : GRACE_MIN_MS);

	for (int i = 0; i < READING_COUNT; i++)
		if ((s->told & 1u << i) != 0)
			readings_set(w->readings, (enum reading_id)i, s->value[i], now, until);
	if (s->counted) {
		readings_count_queue(w->readings, s->arrived, s->departed, now, until);
		w->counted = true;
		w->arrived = s->arrived;
	}
	if ((s->told & 1u << READING_QSTAT_TODO) != 0)
		cross_check(w, now);
}

static void
fail(struct watched *p, int r, const struct err *why)
{
	p->failing = true;
	p->why = *why;
	p->failures++;
	readings_forget(p->watch->readings, p->ops->readings);
	if ((p->ops->readings & 1u << READING_ARRIVALS) != 0)
		p->watch->counted = false;
	p->off = r == -ENODATA;
	if (!p->off)
		(void)log_edge(&p->memory, LOG_WARNING, p->ops->name, why->text);
}

/* --- looking --------------------------------------------------------------------------------- */

static void look(struct watched *p, bool news);

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg, false);
}

static void
on_news(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg, true);
}

static void
arm_timer(struct watched *p, int64_t ms)
{
	struct timeval tv = timeval_of(ms);

	if (event_add(p->timer, &tv) < 0)
		log_error(p->ops->name, "cannot set a timer");
}

/* Follow the probe's descriptor.  After news it is left alone for a while: `gather` says that the timer, which
 * is set to that while, stands for it. */
static void
arm_io(struct watched *p, bool gather)
{
	int fd = p->ops->fd != NULL ? p->ops->fd(p->ctx) : -1;

	if (fd != p->fd || gather) {
		if (p->io != NULL)
			event_free(p->io);
		p->io = NULL;
		p->fd = -1;
	}
	if (fd < 0 || gather || p->io != NULL)
		return;
	p->io = event_new(p->watch->base, fd, EV_READ | EV_PERSIST, on_news, p);
	p->fd = fd;
	if (p->io == NULL || event_add(p->io, NULL) < 0)
		log_error(p->ops->name, "cannot watch its descriptor; it is looked at on schedule");
}

static void
count_cost(struct watched *p, int64_t us, bool recount)
{
	p->looks++;
	if (recount)
		p->recount_cpu_us += us;
	else
		p->cpu_us += us;
	if (us > p->longest_us)
		p->longest_us = us;
}

static void
look(struct watched *p, bool news)
{
	mono_t now = turn_now(p->watch->turn);
	struct probe_sample s = { .due = mono_after(now, GRACE_MIN_MS) };
	struct err why = { .text = "" };
	int64_t begin = cpu_us();
	int r = p->ops->sample(p->ctx, now, &s, &why);

	count_cost(p, cpu_us() - begin, s.recount);
	p->last = now;
	if (r < 0) {
		fail(p, r, &why);
	} else {
		take(p, &s, now);
		/* A look that tells nothing (qmail-qstat has just been started) is no proof that all is well. */
		if (p->failing && r == 0 && s.told != 0) {
			p->failing = p->off = false;
			(void)log_edge(&p->memory, LOG_INFO, p->ops->name, NULL);
		}
	}
	int64_t wait = r == PROBE_MORE ? 0 : mono_since(now, s.due);
	bool gather = news && r == 0 && p->ops->gather_ms > 0 && wait > p->ops->gather_ms;
	arm_io(p, gather);
	arm_timer(p, gather ? p->ops->gather_ms : wait);
}

/* --- the whole ------------------------------------------------------------------------------- */

static const void *
section_of(const struct config *c, const struct probe_ops *ops)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "probes.%s", ops->name);
	for (size_t i = 0; i < CONFIG_SECTIONS; i++)
		if (strcmp(config_section[i].name, name) == 0)
			return (const char *)c + config_section[i].at;
	return NULL; /* a probe without section: a test of the tables forbids it */
}

void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < PROBE_COUNT; i++) {
		struct watched *p = &w->probe[i];

		if (p->io != NULL)
			event_free(p->io);
		if (p->timer != NULL)
			event_free(p->timer);
		if (p->ops != NULL)
			p->ops->free(p->ctx);
	}
	free(w);
}

int
watch_new(struct event_base *base, struct turn *turn, const struct config *config,
	struct readings *readings, struct watch **ret)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->base = base;
	w->turn = turn;
	w->readings = readings;
	w->env = (struct probe_env) { .homes = &config->qmail.homes, .state_dir = config->service.state_dir };
	for (int i = 0; i < PROBE_COUNT; i++) {
		struct watched *p = &w->probe[i];

		p->watch = w;
		p->fd = -1;
		if (probe_table[i]->init(&w->env, section_of(config, probe_table[i]), &p->ctx) < 0
			|| (p->ops = probe_table[i], p->timer = evtimer_new(base, on_timer, p)) == NULL) {
			watch_free(w);
			return -ENOMEM;
		}
		arm_timer(p, 0);
	}
	*ret = w;
	return 0;
}

bool
watch_is_off(const struct watch *w, enum reading_id id)
{
	bool off = false;

	for (int i = 0; i < PROBE_COUNT; i++)
		if ((w->probe[i].ops->readings & 1u << id) != 0)
			off = w->probe[i].off;
	return off;
}

void
watch_sent(struct watch *w, void (*sent)(const struct sendlog_delivery *d, void *arg), void *arg)
{
	w->env.sent = sent;
	w->env.sent_arg = arg;
}

bool
watch_arrived(const struct watch *w, uint64_t *ret)
{
	*ret = w->arrived;
	return w->counted;
}

/* --- telling --------------------------------------------------------------------------------- */

static json_t *
describe(const struct watched *p)
{
	struct probe_fact fact[PROBE_FACTS_MAX];
	size_t n = p->ops->facts != NULL ? p->ops->facts(p->ctx, fact) : 0;
	mono_t now = turn_now(p->watch->turn);
	json_t *readings = json_array(), *facts = json_array();

	for (int i = 0; i < READING_COUNT; i++)
		if ((p->ops->readings & 1u << i) != 0)
			(void)json_array_append_new(readings, json_string(reading_info[i].name));
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(facts, json_pack("{s:s, s:s}", "name", fact[i].name, "text", fact[i].text));
	return json_pack("{s:s, s:s, s:b, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
		"name", p->ops->name, "summary", p->ops->summary, "ok", !p->failing,
		"error", p->failing ? p->why.text : NULL, "age_ms", (json_int_t)mono_since(p->last, now),
		"looks", (json_int_t)p->looks, "failures", (json_int_t)p->failures,
		"cpu_us", (json_int_t)p->cpu_us, "recount_cpu_us", (json_int_t)p->recount_cpu_us,
		"longest_us", (json_int_t)p->longest_us, "readings", readings, "facts", facts);
}

json_t *
watch_describe(const struct watch *w)
{
	json_t *all = json_array();

	for (int i = 0; i < PROBE_COUNT; i++)
		(void)json_array_append_new(all, describe(&w->probe[i]));
	return all;
}
