/* SPDX-License-Identifier: ISC */
/*
 * Counters across restarts: a table as the engine has it, the recorder as its own process, and what is left of the one when
 * either dies.  Rows D5 to D7, T1, T3 of the failure list.
 */
#include "controller/marks.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "controller/recorder.h"
#include "controller/recorder_marks.h"
#include "lib/siphash.h"
#include "tests/unit/kit.h"

#define PATIENCE_MS 20000
#define SPAN_MS 300000 /* marks are as old as that */

static char tree[KIT_PATH_MAX];
static int line[2], other[2]; /* ours, the recorder's: kept, as the keeper keeps both */
static pid_t recorder;
static struct config config;
static uint8_t key[RATE_KEY_SIZE] = "0123456789abcdef", boot_id[CLOCK_BOOT_ID_SIZE];

static void
start(void)
{
	(void)snprintf(config.service.state_dir, sizeof(config.service.state_dir), "%.199s", tree);
	(void)fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0); /* before it is anybody's to kill */
	recorder = pid;
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		char path[KIT_PATH_MAX];
		int log = open(kit_path(path, tree, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

		(void)dup2(log, STDERR_FILENO);
		(void)close(line[0]);
		(void)close(other[0]);
		(void)signal(SIGXFSZ, SIG_IGN); /* as spillwayd does */
		_exit(recorder_run(&config, other[1], line[1]));
	}
}

static void
end(int sig)
{
	int status;

	assert_int_equal(kill(recorder, sig), 0);
	assert_int_equal(waitpid(recorder, &status, 0), recorder);
	recorder = 0;
}

static void
make_lines(void)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, other), 0);
}

static void
close_lines(void)
{
	for (int i = 0; i < 2; i++) {
		(void)close(line[i]);
		(void)close(other[i]);
	}
}

/* All processes die, and what was on the way with them. */
static void
crash(void)
{
	end(SIGKILL);
	close_lines();
	make_lines();
}

/* --- limits and marks ------------------------------------------------------------------------ */

enum { WINDOW, LEAKY, GCRA, LONG, CLASSES };

static void
add_class(const char *name, enum rate_mode mode, int64_t window_ms, int64_t count)
{
	struct rate_cfg *c = &config.limits;
	struct rate_limit *l = &c->limit[c->n_limits];
	struct rate_class *class = &c->class[c->n_classes++];

	(void)snprintf(class->name, sizeof(class->name), "%s", name);
	class->mode = mode;
	class->first = c->n_limits++;
	class->n = 1;
	assert_int_equal(rate_limit_set_pattern(l, "*"), 0);
	l->window_ms = window_ms;
	l->count = count;
}

static int
make_all(void **state)
{
	(void)state;
	kit_tree(tree);
	make_lines();
	memset(&config, 0, sizeof(config));
	config_defaults(&config);
	config.service.limits_memory = 8 << 20;
	add_class("window", RATE_WINDOW, 600000, 5);
	add_class("leaky", RATE_LEAKY, 3600000, 12);
	add_class("gcra", RATE_GCRA, 900000, 30);
	add_class("long", RATE_WINDOW, 86400000, 3000);
	assert_int_equal(clock_boot_id(boot_id), 0);
	return 0;
}

static int
remove_all(void **state)
{
	(void)state;
	if (recorder != 0)
		end(SIGKILL);
	close_lines();
	kit_remove(tree);
	return 0;
}

/* An engine, as far as counters are concerned. */
struct side {
	struct event_base *base;
	struct turn *turn;
	struct rate *rate, *second; /* of the same limits */
	struct marks *marks;
};

static struct side
side_new(void)
{
	struct side s = { .base = event_base_new(), .turn = calloc(1, sizeof(*s.turn)) };

	assert_true(s.base != NULL && s.turn != NULL);
	uint8_t of_table[RATE_KEY_SIZE];
	marks_table_key(key, 0, of_table);
	assert_int_equal(rate_new(config.service.limits_memory, of_table, &s.rate), 0);
	marks_table_key(key, 1, of_table);
	assert_int_equal(rate_new(1 << 20, of_table, &s.second), 0);
	rate_configure(s.rate, &config.limits);
	rate_configure(s.second, &config.limits);
	return s;
}

static void
side_connect(struct side *s, const uint8_t *boot)
{
	assert_int_equal(marks_new(s->base, s->turn, line[0], (struct rate *[]) { s->rate, s->second }, 2, key, boot, &s->marks), 0);
}

static void
side_disconnect(struct side *s)
{
	marks_free(s->marks);
	event_base_free(s->base);
	s->marks = NULL;
	s->base = NULL;
}

static void
side_free(struct side *s)
{
	if (s->base != NULL)
		side_disconnect(s);
	rate_free(s->rate);
	rate_free(s->second);
	free(s->turn);
}

static int64_t
describe(const struct side *s, const char *what)
{
	json_t *j = marks_describe(s->marks);
	const json_t *v = json_object_get(j, what);
	int64_t n = json_is_integer(v) ? json_integer_value(v) : json_is_true(v);

	json_decref(j);
	return n;
}

static void
side_turn(struct side *s)
{
	turn_over(s->turn);
	assert_true(event_base_loop(s->base, EVLOOP_ONCE) >= 0);
}

static void
run_for(struct side *s, int64_t ms)
{
	mono_t until = mono_after(mono_now(), ms);

	while (mono_now().ms < until.ms) {
		turn_over(s->turn);
		assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
		(void)poll(NULL, 0, 2);
	}
}

static void
run_until_ok(struct side *s, bool ok)
{
	mono_t deadline = mono_after(mono_now(), PATIENCE_MS);

	while (describe(s, "ok") != ok) {
		assert_true(mono_now().ms < deadline.ms);
		side_turn(s);
	}
}

static void
run_until_loaded(struct side *s)
{
	mono_t deadline = mono_after(mono_now(), PATIENCE_MS);

	while (describe(s, "loading") != 0) {
		assert_true(mono_now().ms < deadline.ms);
		side_turn(s);
	}
}

/* Until all that has changed is said, in its own time, and written. */
static void
run_until_said(struct side *s)
{
	mono_t deadline = mono_after(mono_now(), PATIENCE_MS);
	int64_t said = -1;

	do {
		assert_true(mono_now().ms < deadline.ms);
		said = describe(s, "said");
		run_for(s, 700);
	} while (said != describe(s, "said"));
}

/* The same at once: a question is answered when all that was said before it is written. */
static void
say_all(struct side *s)
{
	static struct marks_message m;
	static uint64_t question = UINT64_MAX / 2;
	struct pollfd p = { .fd = line[0] };
	bool again;

	do {
		again = false;
		marks_flush(s->marks, PATIENCE_MS);
		marks_begin(&m, MARKS_ASK);
		m.question = ++question;
		m.key = siphash(key, RATE_KEY_SIZE, 0, 0);
		m.after = INT64_MAX;
		p.events = POLLOUT;
		while (marks_send(line[0], &m) == -EAGAIN)
			assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		p.events = POLLIN;
		do {
			assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
			assert_int_equal(marks_receive(line[0], &m), 0);
			again = again || m.kind == MARKS_AGAIN;
		} while (m.kind != MARKS_END || m.question != question);
		if (again) {
			rate_dump_all(s->rate);
			rate_dump_all(s->second);
		}
	} while (again);
}

#define VALUES 400

static const char *
value_of(unsigned i, char ret[64])
{
	switch (i % 4) {
	case 0:
		kit_format(ret, 64, "10.%u.0.1", i);
		break;
	case 1: /* some share a /56 or a /48 */
		kit_format(ret, 64, "2001:db8:%x:%x::1", i / 40, i % 40 / 8 << 8 | i % 8);
		break;
	default:
		kit_format(ret, 64, "user%u@x.test", i);
		break;
	}
	return ret;
}

static struct rate_question
question(const struct side *s, int class, unsigned value)
{
	struct rate_question q;
	char text[64];

	(void)value_of(value, text);
	rate_find(s->rate, class, text, strlen(text), &q);
	return q;
}

static void
mark(struct side *s, int class, unsigned value, mono_t now)
{
	struct rate_question q = question(s, class, value);
	struct rate_answer a;

	rate_mark(s->rate, &q, now, &a);
}

/* Some values come often. */
static void
mark_some(struct side *s, struct dice *d, unsigned n, mono_t from, mono_t to)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned value = dice_below(d, 3) == 0 ? dice_below(d, 8) : dice_below(d, VALUES);

		mark(s, (int)dice_below(d, CLASSES), value, mono_after(from, mono_since(from, to) * i / n));
	}
}

static struct rate_answer
peek(const struct side *s, int class, unsigned value, mono_t now)
{
	struct rate_question q = question(s, class, value);
	struct rate_answer a;

	rate_peek(s->rate, &q, now, &a);
	return a;
}

/* Both say the same of everything, at `now` and later. */
static void
assert_same(const struct side *a, const struct side *b, mono_t now)
{
	unsigned over = 0;

	for (int64_t later = 0; later < 900000; later += 299000) {
		for (int class = 0; class < CLASSES; class++) {
			for (unsigned value = 0; value < VALUES; value++) {
				struct rate_answer x = peek(a, class, value, mono_after(now, later));
				struct rate_answer y = peek(b, class, value, mono_after(now, later));
				char text[64];

				if (x.verdict != y.verdict || x.n != y.n || x.clear_ms != y.clear_ms)
					fail_msg("%s %s in %lld ms: %lld/%lld, after the restart %lld/%lld",
						config.limits.class[class].name, value_of(value, text), (long long)later,
						(long long)x.n, (long long)x.max, (long long)y.n, (long long)y.max);
				over += x.verdict == RATE_OVER;
			}
		}
	}
	assert_true(over > 10);
}

static unsigned
logged(const char *what)
{
	char path[KIT_PATH_MAX], text[512];
	FILE *f = fopen(kit_path(path, tree, "log"), "r");
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(text, sizeof(text), f) != NULL)
		n += strstr(text, what) != NULL;
	(void)fclose(f);
	return n;
}

/* A table with marks of the last SPAN_MS, all of it stored. */
static struct side
stored_side(struct dice *d, unsigned marks)
{
	struct side s = side_new();
	mono_t now = mono_now();

	side_connect(&s, boot_id);
	run_until_loaded(&s);
	mark_some(&s, d, marks, (mono_t) { now.ms - SPAN_MS }, now);
	say_all(&s);
	return s;
}

/* --- restarts -------------------------------------------------------------------------------- */

static void
marks_survive_the_engine(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 20000);
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_true(describe(&b, "loaded") > VALUES);
	assert_same(&a, &b, mono_now());
	/* and goes on: what comes now is counted beside it, in both */
	mono_t now = mono_now();
	for (unsigned i = 0; i < 2000; i++) {
		mark(&a, (int)(i % CLASSES), i % VALUES, now);
		mark(&b, (int)(i % CLASSES), i % VALUES, now);
	}
	assert_same(&a, &b, now);
	/* and again */
	run_until_said(&b);
	side_disconnect(&b);
	struct side c = side_new();
	side_connect(&c, boot_id);
	run_until_loaded(&c);
	assert_same(&b, &c, mono_now());
	side_free(&a);
	side_free(&b);
	side_free(&c);
}

static int64_t
mark_in(struct rate *r, const char *value, bool count)
{
	struct rate_question q;
	struct rate_answer a;

	rate_find(r, LONG, value, strlen(value), &q);
	if (count)
		rate_mark(r, &q, mono_now(), &a);
	else
		rate_peek(r, &q, mono_now(), &a);
	return a.n;
}

/* The same values in both tables: each has its own. */
static void
marks_of_two_tables_stay_apart(void **state)
{
	char text[64];

	(void)state;
	start();
	struct side a = side_new();
	side_connect(&a, boot_id);
	run_until_loaded(&a);
	for (unsigned i = 0; i < VALUES; i++) {
		(void)mark_in(a.rate, value_of(i, text), true);
		for (unsigned n = 0; n < 2 + i % 3; n++)
			(void)mark_in(a.second, text, true);
	}
	say_all(&a);
	side_free(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	for (unsigned i = 2; i < VALUES; i += 2) {
		assert_int_equal(mark_in(b.rate, value_of(i, text), false), 1);
		assert_int_equal(mark_in(b.second, text, false), 2 + i % 3);
	}
	side_free(&b);
}

static void
marks_survive_a_stop_of_all_without_loss(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 5000);
	mark_some(&a, &d, 3000, mono_now(), mono_now());
	marks_flush(a.marks, 2000);
	side_disconnect(&a);
	end(SIGTERM);
	close_lines();
	make_lines();
	start();
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	side_free(&a);
	side_free(&b);
}

/* Of another boot, by the wall clock. */
static void
marks_survive_a_reboot(void **state)
{
	static const uint8_t before[CLOCK_BOOT_ID_SIZE] = "another boot id";
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = side_new();
	mono_t now = mono_now();
	side_connect(&a, before);
	run_until_loaded(&a);
	mark_some(&a, &d, 10000, (mono_t) { now.ms - SPAN_MS }, now);
	say_all(&a);
	side_disconnect(&a);
	crash();
	start();
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_true(describe(&b, "loaded") > VALUES);
	/* The clocks may differ by a millisecond or so, which may be the last of a token's. */
	now = mono_now();
	for (int class = 0; class < CLASSES; class++)
		for (unsigned value = 0; value < VALUES; value++)
			assert_in_range(peek(&a, class, value, now).n + (class == GCRA) - peek(&b, class, value, now).n, 0,
				2 * (class == GCRA));
	side_free(&a);
	side_free(&b);
}

/* The promise.  A mark of before the last second is there, none is that was not, and no value is refused that was not. */
static void
marks_killed_at_any_moment_lose_the_last_second_at_most(void **state)
{
	struct dice d = dice_new();
	int64_t worst = 0;

	(void)state;
	for (int round = 0; round < kit_rounds(4); round++) {
		struct side a = side_new(), then = side_new(), b = side_new();
		mono_t now, until = mono_after(mono_now(), 1200 + dice_below(&d, 1500));

		start();
		side_connect(&a, boot_id);
		run_until_loaded(&a);
		/* `then` knows what is a second old when the kill comes */
		while ((now = mono_now()).ms < until.ms) {
			int class = (int)dice_below(&d, CLASSES);
			unsigned value = dice_below(&d, VALUES);

			(void)poll(NULL, 0, dice_below(&d, 20) == 0);
			mark(&a, class, value, now);
			if (now.ms < until.ms - 1000)
				mark(&then, class, value, now);
			turn_over(a.turn);
			assert_true(event_base_loop(a.base, EVLOOP_NONBLOCK) >= 0);
		}
		crash();
		side_disconnect(&a);
		start();
		side_connect(&b, boot_id);
		run_until_loaded(&b);
		now = mono_now();
		for (int class = 0; class < CLASSES; class++) {
			for (unsigned value = 0; value < VALUES; value++) {
				int64_t least = peek(&then, class, value, now).n, most = peek(&a, class, value, now).n;

				/* of an IPv6 address the n may be of one prefix or the other */
				if (value % 4 != 1 && !kit_is_slow()) {
					assert_in_range(peek(&b, class, value, now).n, least, most);
					worst = most - least > worst ? most - least : worst;
				}
				assert_true(peek(&b, class, value, now).verdict == RATE_OK
					|| peek(&a, class, value, now).verdict == RATE_OVER);
				assert_true(kit_is_slow() || peek(&b, class, value, now).verdict == RATE_OVER
					|| peek(&then, class, value, now).verdict == RATE_OK || class == GCRA);
			}
		}
		side_free(&a);
		side_free(&b);
		side_free(&then);
		/* the next round begins with nothing */
		crash();
		kit_remove(tree);
		kit_tree(tree);
	}
	print_message("# one value had %lld marks in the last second\n", (long long)worst);
	assert_true(worst > 0 || kit_is_slow());
}

/* What it had read and not written is said again. */
static void
marks_survive_the_recorder(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 5000);
	for (int i = 0; i < 10; i++) {
		mono_t now = mono_now();

		mark_some(&a, &d, 500, now, now);
		run_for(&a, dice_below(&d, 700));
		end(SIGKILL);
		start();
	}
	say_all(&a);
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	side_free(&a);
	side_free(&b);
}

/* Many rows, so that all takes several messages. */
static struct side
large_side(unsigned keys)
{
	struct side s = side_new();
	mono_t now = mono_now();

	side_connect(&s, boot_id);
	run_until_loaded(&s);
	for (unsigned i = 0; i < 2 * keys; i++)
		mark(&s, WINDOW, 4 * (i % keys), now);
	say_all(&s);
	return s;
}

static void
assert_loaded_once(const struct side *s, unsigned keys)
{
	for (unsigned i = 0; i < keys; i++)
		assert_int_equal(peek(s, WINDOW, 4 * i, mono_now()).n, 2);
}

static void
marks_asked_of_a_recorder_that_dies_are_loaded_once(void **state)
{
	enum { KEYS = 20000 };

	(void)state;
	start();
	struct side a = large_side(KEYS);
	side_free(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	for (unsigned i = 0; describe(&b, "loading") != 0; i++) {
		side_turn(&b);
		if (i % 7 != 6 || i > 100)
			continue;
		end(SIGKILL);
		start();
	}
	assert_loaded_once(&b, KEYS);
	side_free(&b);
}

static void
marks_meant_for_an_engine_before_are_passed_over(void **state)
{
	enum { KEYS = 20000 };

	(void)state;
	start();
	struct side a = large_side(KEYS);
	side_free(&a);
	for (unsigned i = 0; i < 5; i++) { /* these die while it is loaded */
		struct side b = side_new();

		side_connect(&b, boot_id);
		for (unsigned turns = 0; turns < 3 * i; turns++)
			side_turn(&b);
		assert_int_equal(describe(&b, "loading"), 1);
		side_free(&b);
	}
	struct side c = side_new();
	side_connect(&c, boot_id);
	run_until_loaded(&c);
	assert_int_equal(describe(&c, "loaded"), KEYS);
	assert_loaded_once(&c, KEYS);
	side_free(&c);
}

/* --- what does not come back ----------------------------------------------------------------- */

static void
marks_that_were_reset_stay_so(void **state)
{
	(void)state;
	start();
	struct side a = side_new();
	side_connect(&a, boot_id);
	run_until_loaded(&a);
	for (unsigned i = 0; i < 20; i++)
		mark(&a, WINDOW, 1, mono_now());
	mark(&a, WINDOW, 2, mono_now());
	say_all(&a);
	struct rate_question q = question(&a, WINDOW, 1);
	assert_true(rate_reset(a.rate, &q));
	say_all(&a);
	side_free(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_int_equal(peek(&b, WINDOW, 1, mono_now()).n, 0);
	assert_int_equal(peek(&b, WINDOW, 2, mono_now()).n, 1);
	side_free(&b);
}

static void
marks_of_limits_that_are_gone_do_not_come_back(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 5000);
	side_disconnect(&a);
	config.limits.limit[WINDOW].count++;
	config.limits.limit[LONG].window_ms++;
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	for (unsigned value = 0; value < VALUES; value++) {
		assert_int_equal(peek(&b, WINDOW, value, mono_now()).n, 0);
		assert_int_equal(peek(&b, LONG, value, mono_now()).n, 0);
		assert_int_equal(peek(&b, LEAKY, value, mono_now()).n, peek(&a, LEAKY, value, mono_now()).n);
	}
	side_free(&a);
	side_free(&b);
}

/* Fingerprints of another key mean nothing, and their rows would stay in the way. */
static void
marks_of_another_key_are_removed(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 5000);
	side_free(&a);
	for (int i = 0; i < 2; i++) { /* also with the old key again, they are gone */
		key[0] ^= 1;
		struct side b = side_new();
		side_connect(&b, boot_id);
		run_until_loaded(&b);
		assert_int_equal(describe(&b, "loaded"), 0);
		side_free(&b);
	}
}

/* --- trouble --------------------------------------------------------------------------------- */

/* A recorder that hangs on a dead disk: nothing waits, nothing grows, and afterwards nothing is missing. */
static void
marks_not_taken_wait_in_the_table(void **state)
{
	struct dice d = dice_new();
	int64_t longest = 0;

	(void)state;
	start();
	struct side a = stored_side(&d, 2000);
	assert_int_equal(kill(recorder, SIGSTOP), 0);
	mono_t until = mono_after(mono_now(), 2500);
	while (mono_now().ms < until.ms) {
		mono_t before = mono_now();

		mark_some(&a, &d, 2000, before, before);
		turn_over(a.turn);
		assert_true(event_base_loop(a.base, EVLOOP_NONBLOCK) >= 0);
		longest = mono_since(before, mono_now()) > longest ? mono_since(before, mono_now()) : longest;
		(void)poll(NULL, 0, 20);
	}
	print_message("# longest turn %lld ms\n", (long long)longest);
	assert_true(longest < 200 || kit_is_slow());
	assert_int_equal(kill(recorder, SIGCONT), 0);
	say_all(&a);
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	side_free(&a);
	side_free(&b);
}

/* D5 */
static void
marks_in_a_damaged_database_are_lost_and_counting_goes_on(void **state)
{
	struct dice d = dice_new();

	(void)state;
	kit_puts(tree, MARKS_FILE, "this is not a database, but it is longer than nothing");
	start();
	struct side a = stored_side(&d, 5000);
	assert_int_equal(describe(&a, "ok"), 1);
	assert_int_equal(logged("removed, a new one is begun"), 1);
	/* overwritten in the middle, while it is open */
	end(SIGTERM);
	char path[KIT_PATH_MAX], junk[64 * 1024];
	int fd = open(kit_path(path, tree, MARKS_FILE), O_WRONLY | O_CLOEXEC);
	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0 && pwrite(fd, junk, sizeof(junk), 4096) == sizeof(junk));
	(void)close(fd);
	start();
	mark_some(&a, &d, 5000, mono_now(), mono_now());
	say_all(&a);
	/* ... what was lost with it is said again */
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	assert_int_equal(logged("removed, a new one is begun"), 2);
	side_free(&a);
	side_free(&b);
}

/* D10 */
static void
marks_in_a_database_that_is_removed_are_said_again(void **state)
{
	struct dice d = dice_new();
	char path[KIT_PATH_MAX];

	(void)state;
	start();
	struct side a = stored_side(&d, 5000);
	assert_int_equal(unlink(kit_path(path, tree, MARKS_FILE)), 0);
	mark(&a, WINDOW, 1, mono_now());
	say_all(&a);
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	side_free(&a);
	side_free(&b);
}

/* D1, D2: no room. */
static void
marks_without_room_wait_and_are_written_later(void **state)
{
	struct rlimit none = { 8192, RLIM_INFINITY }, enough = { RLIM_INFINITY, RLIM_INFINITY };
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 1000);
	assert_int_equal(prlimit(recorder, RLIMIT_FSIZE, &none, NULL), 0);
	mono_t now = mono_now();
	mark_some(&a, &d, 20000, now, now);
	run_until_ok(&a, false);
	run_for(&a, 2500);
	assert_true(logged("marks.db") > 0);
	assert_true(logged("marks.db") < 5);
	assert_int_equal(prlimit(recorder, RLIMIT_FSIZE, &enough, NULL), 0);
	run_until_ok(&a, true);
	say_all(&a);
	side_disconnect(&a);
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	side_free(&a);
	side_free(&b);
}

/* D6: whoever holds it when we come gets his time, and an engine that asks then is answered later. */
static void
marks_asked_while_locked_out_come_later(void **state)
{
	struct dice d = dice_new();

	(void)state;
	start();
	struct side a = stored_side(&d, 3000);
	side_disconnect(&a);
	end(SIGTERM);
	int go[2], ready[2];
	char byte = '!';
	assert_int_equal(pipe(go) + pipe(ready), 0);
	pid_t holder = fork();
	if (holder == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct marks_store *s;
		struct err note, why;
		bool is_new;

		if (marks_store_open(tree, &s, &is_new, &note, &why) < 0 || write(ready[1], &byte, 1) != 1
			|| read(go[0], &byte, 1) != 1)
			_exit(1);
		marks_store_close(s);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	start();
	struct side b = side_new();
	side_connect(&b, boot_id);
	run_until_ok(&b, false);
	assert_int_equal(describe(&b, "loading"), 1);
	assert_int_equal(write(go[1], &byte, 1), 1);
	run_until_loaded(&b);
	assert_same(&a, &b, mono_now());
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	for (int i = 0; i < 2; i++) {
		(void)close(go[i]);
		(void)close(ready[i]);
	}
	side_free(&a);
	side_free(&b);
}

/* --- the parts ------------------------------------------------------------------------------- */

static void
marks_age_by_the_clock_that_can_be_trusted(void **state)
{
	const struct marks_row row = { .boot = 7, .mono = { 5000 }, .wall = { 1000000 }, .left_ms = 300, .n = 1 };

	(void)state;
	/* the same boot: the wall clock does not count, wherever it is */
	assert_int_equal(marks_age(&row, 7, (mono_t) { 5200 }, (wall_t) { 0 }), 200);
	assert_int_equal(marks_age(&row, 7, (mono_t) { 5200 }, (wall_t) { 99000000 }), 200);
	assert_int_equal(marks_age(&row, 7, (mono_t) { 4000 }, (wall_t) { 1000000 }), 0);
	/* another: the boot clock does not count; a wall clock that was set back makes nothing younger than it was */
	assert_int_equal(marks_age(&row, 8, (mono_t) { 5200 }, (wall_t) { 1000250 }), 250);
	assert_int_equal(marks_age(&row, 8, (mono_t) { 5200 }, (wall_t) { 999000 }), 0);
	assert_int_equal(marks_age(&row, 8, (mono_t) { 5200 }, (wall_t) { -5 }), 0);
	assert_false(marks_are_over(&row, 7, (mono_t) { 5299 }, (wall_t) { 0 }));
	assert_true(marks_are_over(&row, 7, (mono_t) { 5300 }, (wall_t) { 0 }));
	assert_true(marks_are_over(&row, 8, (mono_t) { 0 }, (wall_t) { 1000300 }));
}

static void
marks_messages_hold_rows_of_any_length(void **state)
{
	static struct marks_message m;
	static uint32_t marks[RATE_DUMP_MARKS_MAX], back[RATE_DUMP_MARKS_MAX];
	struct marks_row row = { .fingerprint = -5, .n = RATE_DUMP_MARKS_MAX, .tier = 3 }, got;
	struct dice d = dice_new();
	unsigned lengths[2000], n = 0;
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < countof(marks); i++)
		marks[i] = (uint32_t)dice_u64(&d);
	marks_begin(&m, MARKS_ROWS);
	assert_true(marks_add(&m, &row, marks)); /* the longest that there is */
	assert_true(marks_next(&m, &at, &got, back));
	assert_memory_equal(&got, &row, sizeof(row));
	assert_memory_equal(back, marks, sizeof(marks));
	assert_false(marks_next(&m, &at, &got, back));

	marks_begin(&m, MARKS_ROWS);
	do {
		row.n = lengths[n] = dice_below(&d, 60);
		row.fingerprint = (int64_t)n;
	} while (marks_add(&m, &row, marks + n % 100) && ++n < countof(lengths));
	assert_in_range(n, 200, countof(lengths));
	assert_int_equal(m.rows, n);
	at = 0;
	for (unsigned i = 0; i < n; i++) {
		assert_true(marks_next(&m, &at, &got, back));
		assert_int_equal(got.fingerprint, i);
		assert_int_equal(got.n, lengths[i]);
		assert_memory_equal(back, marks + i % 100, lengths[i] * sizeof(back[0]));
	}
	assert_false(marks_next(&m, &at, &got, back));
	/* cut, or with a length that is none: it ends there */
	for (int i = 0; i < 1000; i++) {
		m.len = (uint32_t)(offsetof(struct marks_message, body) + dice_below(&d, sizeof(m.body)));
		m.body[dice_below(&d, sizeof(m.body))] = (uint8_t)dice_u64(&d);
		for (at = 0; marks_next(&m, &at, &got, back);)
			assert_true(at <= m.len - offsetof(struct marks_message, body));
	}
}

static uint64_t
count_rows(struct marks_store *s)
{
	struct marks_walk w = { 0 };
	struct err why;

	do {
		assert_int_equal(marks_store_trim(s, &w, MARKS_STEP_MAX, UINT64_MAX, 1, (mono_t) { 0 }, (wall_t) { 0 }, &why), 0);
	} while (w.begun);
	return w.rows;
}

static void
marks_stored_are_trimmed_when_out_or_too_many(void **state)
{
	struct marks_store *s;
	struct err note, why;
	struct dice d = dice_new();
	uint32_t one = 5;
	bool is_new;

	(void)state;
	assert_int_equal(marks_store_open(tree, &s, &is_new, &note, &why), 0);
	assert_true(is_new);
	assert_int_equal(marks_store_begin(s, &why), 0);
	for (int i = 0; i < 20000; i++) {
		const struct marks_row row = {
			.fingerprint = (int64_t)dice_u64(&d), .boot = 1, .mono = { 0 }, .left_ms = i % 4 == 0 ? 1000 : 5000, .n = 1,
		};

		assert_int_equal(marks_store_put(s, &row, &one, &why), 0);
	}
	assert_int_equal(count_rows(s), 20000);
	/* three quarters are still in their window */
	struct marks_walk w = { 0 };
	int steps = 0;
	do {
		assert_int_equal(marks_store_trim(s, &w, 700, UINT64_MAX, 1, (mono_t) { 1000 }, (wall_t) { 0 }, &why), 0);
		steps++;
	} while (w.begun);
	assert_in_range(steps, 20000 / 700, 20000 / 700 + 2);
	assert_int_equal(w.rows, 15000);
	assert_int_equal(count_rows(s), 15000);
	/* there may be 5000: a walk to find out, another to remove */
	for (int walks = 0; walks < 2;) {
		assert_int_equal(marks_store_trim(s, &w, 700, 5000, 1, (mono_t) { 1000 }, (wall_t) { 0 }, &why), 0);
		walks += !w.begun;
	}
	assert_in_range(w.rows, 4300, 5000);
	assert_int_equal(marks_store_commit(s, &why), 0);
	marks_store_close(s);
	assert_int_equal(marks_store_open(tree, &s, &is_new, &note, &why), 0);
	assert_false(is_new);
	assert_int_equal(count_rows(s), w.rows);
	marks_store_close(s);
}

/* --- the key --------------------------------------------------------------------------------- */

static void
assert_new_key(uint8_t last[RATE_KEY_SIZE])
{
	uint8_t now[RATE_KEY_SIZE], again[RATE_KEY_SIZE];
	char path[KIT_PATH_MAX];
	struct stat st;
	struct err why;

	assert_int_equal(marks_key(tree, now, &why), 0);
	assert_memory_not_equal(now, last, RATE_KEY_SIZE);
	assert_int_equal(stat(kit_path(path, tree, MARKS_KEY_FILE), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, RATE_KEY_SIZE);
	assert_int_equal(marks_key(tree, again, &why), 0);
	assert_memory_equal(now, again, RATE_KEY_SIZE);
	memcpy(last, now, RATE_KEY_SIZE);
}

static void
marks_key_is_made_once_and_kept(void **state)
{
	uint8_t last[RATE_KEY_SIZE] = { 0 }, lost[RATE_KEY_SIZE] = { 0 };
	char path[KIT_PATH_MAX], victim[KIT_PATH_MAX];
	struct err why;

	(void)state;
	assert_new_key(last);
	/* what is there and is none */
	kit_write(tree, MARKS_KEY_FILE, "too short", 9, 0600);
	assert_new_key(last);
	kit_write(tree, MARKS_KEY_FILE, "seventeen letters", 17, 0600);
	assert_new_key(last);
	kit_write(tree, MARKS_KEY_FILE, "", 0, 0600);
	assert_new_key(last);
	/* what others could have read */
	assert_int_equal(chmod(kit_path(path, tree, MARKS_KEY_FILE), 0640), 0);
	assert_new_key(last);
	/* what others put there */
	kit_write(tree, "victim", "0123456789abcdef", 16, 0600);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(kit_path(victim, tree, "victim"), path), 0);
	assert_new_key(last);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_new_key(last);
	/* nowhere to put it: a good one all the same */
	assert_true(marks_key("/nonexistent", lost, &why) == -ENOENT);
	assert_non_null(strstr(why.text, "/nonexistent/rate.key: No such file"));
	assert_memory_not_equal(lost, last, RATE_KEY_SIZE);
	assert_memory_not_equal(lost, (uint8_t[RATE_KEY_SIZE]) { 0 }, RATE_KEY_SIZE);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_all, remove_all)
	const struct CMUnitTest tests[] = {
		T(marks_survive_the_engine),
		T(marks_of_two_tables_stay_apart),
		T(marks_survive_a_stop_of_all_without_loss),
		T(marks_survive_a_reboot),
		T(marks_killed_at_any_moment_lose_the_last_second_at_most),
		T(marks_survive_the_recorder),
		T(marks_asked_of_a_recorder_that_dies_are_loaded_once),
		T(marks_meant_for_an_engine_before_are_passed_over),
		T(marks_that_were_reset_stay_so),
		T(marks_of_limits_that_are_gone_do_not_come_back),
		T(marks_of_another_key_are_removed),
		T(marks_not_taken_wait_in_the_table),
		T(marks_in_a_damaged_database_are_lost_and_counting_goes_on),
		T(marks_in_a_database_that_is_removed_are_said_again),
		T(marks_without_room_wait_and_are_written_later),
		T(marks_asked_while_locked_out_come_later),
		T(marks_age_by_the_clock_that_can_be_trusted),
		T(marks_messages_hold_rows_of_any_length),
		T(marks_stored_are_trimmed_when_out_or_too_many),
		T(marks_key_is_made_once_and_kept),
	};

	return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
