/* SPDX-License-Identifier: ISC */
/* The probe on real directories, with a clock of ours; the truth is a walk through the directories. */
#include <dirent.h>
#include <math.h>
#include <poll.h>
#include <sys/wait.h>

#include "probes/probe.h"

#include "tests/unit/kit.h"

#define NOBODY 65534
#define STEPS_MAX 10000


struct bench {
	char dir[KIT_PATH_MAX];
	struct cfg_list homes;
	struct probe_queue_cfg cfg;
	void *ctx;
	mono_t now;
	struct probe_sample s;
	struct err why;
	uint64_t base; /* messages less arrivals plus departures, when first known */
	bool based;
};

/* --- directories ----------------------------------------------------------------------------- */

static void
make_split(const char *dir, int split)
{
	assert_int_equal(mkdir(dir, 0755), 0);
	for (int i = 0; i < split; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%d", i);
		kit_mkdir(dir, name);
	}
}

/* HOME/queue with mess over `mess` directories and todo over `todo`, 0: plain. */
static void
add_home(struct bench *b, const char *name, int mess, int todo)
{
	char home[KIT_PATH_MAX], queue[KIT_PATH_MAX], path[KIT_PATH_MAX];

	kit_mkdir(b->dir, name);
	kit_mkdir(kit_path(home, b->dir, name), "queue");
	kit_path(queue, home, "queue");
	make_split(kit_path(path, queue, "mess"), mess);
	make_split(kit_path(path, queue, "todo"), todo);
	make_split(kit_path(path, queue, "intd"), 0);
	assert_true(strlen(home) < CFG_STRING_MAX);
	(void)strcpy(b->homes.s[b->homes.n++], home);
}

static bool
is_message(const char *name)
{
	return strspn(name, "0123456789") == strlen(name) && name[0] != '0' && strlen(name) < 19;
}

static size_t
count_files(const char *path, bool deep)
{
	DIR *d = opendir(path);
	struct dirent *e;
	size_t n = 0;

	if (d == NULL)
		return 0;
	while ((e = readdir(d)) != NULL) {
		char sub[KIT_PATH_MAX];
		struct stat st;

		if (e->d_name[0] == '.' || snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= KIT_PATH_MAX
			|| lstat(sub, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode) && deep && (is_message(e->d_name) || strcmp(e->d_name, "0") == 0))
			n += count_files(sub, false);
		else
			n += S_ISREG(st.st_mode) && is_message(e->d_name);
	}
	(void)closedir(d);
	return n;
}

/* The truth. */
static size_t
walk(const struct bench *b, const char *part)
{
	size_t n = 0;

	for (unsigned i = 0; i < b->homes.n; i++) {
		char path[KIT_PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/queue/%s", b->homes.s[i], part);
		n += count_files(path, true);
	}
	return n;
}

/* "HOME/queue/PATH", of the first home.  A ring of texts. */
static const char *
in_queue(const struct bench *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static const char *
in_queue(const struct bench *b, const char *fmt, ...)
{
	static char ring[4][KIT_PATH_MAX];
	static unsigned next;
	char *path = ring[next++ % 4];
	va_list ap;
	int n = snprintf(path, KIT_PATH_MAX, "%s/queue/", b->homes.s[0]);

	va_start(ap, fmt);
	(void)vsnprintf(path + n, (size_t)(KIT_PATH_MAX - n), fmt, ap);
	va_end(ap);
	return path;
}

static void
touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	(void)close(fd);
}

/* --- looking --------------------------------------------------------------------------------- */

static void
begin(struct bench *b)
{
	*b = (struct bench) { .cfg = { .every_ms = 1000, .recount_ms = 600000 }, .now = { 1000000 } };
	kit_tree(b->dir);
}

static void
start(struct bench *b)
{
	const struct probe_env env = { .homes = &b->homes };

	assert_int_equal(probe_queue.init(&env, &b->cfg, &b->ctx), 0);
}

static void
end(struct bench *b)
{
	probe_queue.free(b->ctx);
	kit_remove(b->dir);
}

static int
look_once(struct bench *b)
{
	memset(&b->s, 0, sizeof(b->s));
	b->why.text[0] = '\0';
	return probe_queue.sample(b->ctx, b->now, &b->s, &b->why);
}

/* Look until there is no work left.  Returns 0 or -Exxx. */
static int
look(struct bench *b)
{
	int r;

	for (int i = 0; (r = look_once(b)) == PROBE_MORE; i++)
		assert_true(i < STEPS_MAX);
	return r;
}

static double
told(const struct bench *b, enum reading_id id)
{
	if ((b->s.told & 1u << id) == 0 || !b->s.value[id].known)
		fail_msg("%s was not told: %s", reading_info[id].name, b->why.text);
	return b->s.value[id].value;
}

/* The numbers of the last look are the truth, and the totals fit them. */
static void
check_numbers(struct bench *b)
{
	double messages = told(b, READING_MESSAGES), todo = told(b, READING_TODO);
	size_t want_messages = walk(b, "mess"), want_todo = walk(b, "todo");

	if (messages < (double)want_messages || messages > (double)want_messages)
		fail_msg("messages: %.0f, there are %zu", messages, want_messages);
	if (todo < (double)want_todo || todo > (double)want_todo)
		fail_msg("todo: %.0f, there are %zu", todo, want_todo);
	assert_true(b->s.counted);
	uint64_t base = want_messages - b->s.arrived + b->s.departed;
	if (!b->based)
		b->base = base;
	b->based = true;
	assert_true(b->base == base);
}

static void
check_exact(struct bench *b)
{
	assert_int_equal(look(b), 0);
	check_numbers(b);
}

/* Nothing is told, and the reason is. */
static void
check_unknown(struct bench *b, const char *why)
{
	int r = look(b);

	assert_true(r < 0);
	assert_int_equal(b->s.told, 0);
	assert_false(b->s.counted);
	if (strstr(b->why.text, why) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", why, b->why.text);
	assert_true(b->s.due.ms > b->now.ms); /* or the loop would spin */
}

/* Wait until it looks again; a new start has a base of its own. */
static void
wait_for_retry(struct bench *b)
{
	if (b->s.due.ms > b->now.ms)
		b->now = b->s.due;
	b->based = false;
}

static unsigned long long
fact(const struct bench *b, const char *name)
{
	struct probe_fact f[PROBE_FACTS_MAX];
	size_t n = probe_queue.facts(b->ctx, f);

	assert_in_range(n, 1, PROBE_FACTS_MAX);
	for (size_t i = 0; i < n; i++)
		if (strcmp(f[i].name, name) == 0)
			return strtoull(f[i].text, NULL, 10);
	fail_msg("no fact %s", name);
	return 0;
}

static bool
has_fact(const struct bench *b, const char *name, const char *end_of_text)
{
	struct probe_fact f[PROBE_FACTS_MAX];
	size_t n = probe_queue.facts(b->ctx, f), len = strlen(end_of_text);

	for (size_t i = 0; i < n; i++)
		if (strcmp(f[i].name, name) == 0 && strlen(f[i].text) >= len
			&& strcmp(f[i].text + strlen(f[i].text) - len, end_of_text) == 0)
			return true;
	return false;
}

/* --- layouts --------------------------------------------------------------------------------- */

/* What qmail-queue does with message n: mess/N by rename from pid, todo/N by link from intd. */
static void
arrive(const struct bench *b, int mess, int todo, unsigned n)
{
	char intd[KIT_PATH_MAX];

	kit_format(intd, sizeof(intd), "%s", in_queue(b, "intd/%u", n));
	touch(intd);
	assert_int_equal(rename(intd, in_queue(b, "mess/%u/%u", n % (unsigned)mess, n)), 0);
	touch(intd);
	assert_int_equal(link(intd, todo > 0 ? in_queue(b, "todo/%u/%u", n % (unsigned)todo,
		n) : in_queue(b, "todo/%u", n)),
		0);
	assert_int_equal(unlink(intd), 0);
}

static void
queue_every_layout_is_recognised_and_counted(void **state)
{
	static const struct {
		int mess, todo;
		const char *layout;
	} rows[] = {
		{ 23, 0, "todo: plain" }, { 23, 23, "todo: split over 23" }, { 7, 7, "todo: split over 7" },
		{ 7, 0, "todo: plain" }, { 1, 1, "todo: split over 1" }, { 199, 199, "todo: split over 199" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct bench b;

		begin(&b);
		add_home(&b, "qmail", rows[i].mess, rows[i].todo);
		for (unsigned n = 1; n <= 200; n++)
			arrive(&b, rows[i].mess, rows[i].todo, n);
		start(&b);
		check_exact(&b);
		assert_int_equal(walk(&b, "mess"), 200);
		assert_int_equal(walk(&b, "todo"), 200);
		assert_true(has_fact(&b, "layout", rows[i].layout));
		assert_int_equal(fact(&b, "watches"), 2 + rows[i].mess + rows[i].todo);
		for (unsigned n = 201; n <= 350; n++)
			arrive(&b, rows[i].mess, rows[i].todo, n);
		check_exact(&b);
		assert_int_equal(b.s.arrived, 150);
		assert_int_equal(b.s.departed, 0);
		end(&b);
	}
}

/* Queues of real qmails, rebuilt from their listings: we count what their qmail-qstat said. */
static void
queue_recorded_queues_are_counted_as_qmail_qstat_did(void **state)
{
	static const struct {
		const char *listing;
		double messages, todo;
		const char *layout;
	} rows[] = {
		{ "tests/samples/queue/notqmail.find.txt", 7, 2, "todo: plain" },
		{ "tests/samples/queue/sagredo.find.txt", 8, 2, "todo: split over 23" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct bench b = { .cfg = { .every_ms = 1000, .recount_ms = 600000 },
			.now = { 1000000 }, .homes.n = 1 };
		char line[400];
		FILE *f = fopen(rows[i].listing, "re");

		if (f == NULL) /* not run from the top of the tree */
			skip();
		kit_tree(b.dir);
		kit_format(b.homes.s[0], CFG_STRING_MAX, "%s", b.dir);
		while (fgets(line, sizeof(line), f) != NULL) {
			char *name = strrchr(line, ' ');

			name[strcspn(name, "\n")] = '\0';
			if (line[0] == 'd')
				kit_mkdir(b.dir, name + 1);
			else if (line[0] == '-')
				kit_puts(b.dir, name + 1, "");
		}
		(void)fclose(f);
		start(&b);
		check_exact(&b);
		assert_true(fabs(told(&b, READING_MESSAGES) - rows[i].messages) <= 0);
		assert_true(fabs(told(&b, READING_TODO) - rows[i].todo) <= 0);
		assert_true(has_fact(&b, "layout", rows[i].layout));
		end(&b);
	}
}

static void
queue_an_empty_one_is_zero_not_unknown(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	start(&b);
	check_exact(&b);
	assert_true(told(&b, READING_MESSAGES) <= 0);
	assert_true(told(&b, READING_TODO) <= 0);
	assert_true(told(&b, READING_TODO_AGE) <= 0);
	end(&b);
}

static void
queue_garbage_between_the_messages_is_not_counted(void **state)
{
	static const char *const files[] = {
		"todo/abc", "todo/12x", "todo/-1", "todo/+1", "todo/1.5", "todo/.123", "todo/0",
			"todo/1 ", "todo/0x10",
		"todo/99999999999999999999999", "mess/lock", "mess/3/core", "mess/3/0", "mess/3/007",
		"mess/3/18446744073709551616",
	};
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < countof(files); i++)
			touch(in_queue(&b, "%s", files[i]));
		if (round == 0) {
			touch(in_queue(&b, "todo/17"));
			touch(in_queue(&b, "mess/3/26"));
			assert_int_equal(mkdir(in_queue(&b, "todo/old"), 0755), 0);
			assert_int_equal(mkdir(in_queue(&b, "mess/old"), 0755), 0);
			assert_int_equal(mkdir(in_queue(&b, "mess/3/4711"), 0755), 0);
			touch(in_queue(&b, "todo/old/5"));
			assert_int_equal(symlink("17", in_queue(&b, "todo/18")), 0);
			assert_int_equal(mkfifo(in_queue(&b, "todo/19"), 0644), 0);
			start(&b);
		}
		check_exact(&b);
		assert_true(fabs(told(&b, READING_TODO) - 1) <= 0);
		assert_true(fabs(told(&b, READING_MESSAGES) - 1) <= 0);
		for (size_t i = 0; i < countof(files); i++)
			assert_int_equal(unlink(in_queue(&b, "%s", files[i])), 0);
		check_exact(&b);
	}
	end(&b);
}

/* A directory "00" is no part of a split queue: its path would not be found again by its number. */
static void
queue_a_directory_with_leading_zeros_does_not_matter(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	assert_int_equal(mkdir(in_queue(&b, "mess/007"), 0755), 0);
	assert_int_equal(mkdir(in_queue(&b, "todo/00"), 0755), 0);
	start(&b);
	check_exact(&b);
	assert_int_equal(rmdir(in_queue(&b, "todo/00")), 0);
	assert_int_equal(mkdir(in_queue(&b, "todo/01"), 0755), 0);
	touch(in_queue(&b, "todo/5"));
	check_exact(&b);
	end(&b);
}

/* Neither qmail nor a person makes one; if somebody does, it is believed until the next recount. */
static void
queue_a_link_named_by_a_number_is_corrected_by_the_recount(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	start(&b);
	check_exact(&b);
	assert_int_equal(symlink("nowhere", in_queue(&b, "todo/5")), 0);
	assert_int_equal(look(&b), 0);
	b.now.ms += b.cfg.recount_ms;
	check_exact(&b);
	assert_true(has_fact(&b, "drift", "0 missed, 1 phantom"));
	end(&b);
}

static void
queue_several_homes_count_together(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", 23, 0);
	add_home(&b, "two", 7, 7);
	add_home(&b, "three", 23, 23);
	for (unsigned n = 1; n <= 100; n++)
		arrive(&b, 23, 0, n);
	/* the same numbers in another home are other messages */
	for (unsigned n = 1; n <= 50; n++) {
		char path[KIT_PATH_MAX];

		kit_format(path, sizeof(path), "%s/queue/mess/%u/%u", b.homes.s[1], n % 7, n);
		touch(path);
		kit_format(path, sizeof(path), "%s/queue/todo/%u/%u", b.homes.s[2], n % 23, n);
		touch(path);
	}
	start(&b);
	check_exact(&b);
	assert_true(fabs(told(&b, READING_MESSAGES) - 150) <= 0);
	assert_true(fabs(told(&b, READING_TODO) - 150) <= 0);
	end(&b);
}

static void
queue_one_home_that_cannot_be_seen_makes_all_unknown(void **state)
{
	char path[KIT_PATH_MAX], away[KIT_PATH_MAX];
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", 23, 0);
	add_home(&b, "two", 23, 0);
	arrive(&b, 23, 0, 1);
	start(&b);
	check_exact(&b);
	kit_format(path, sizeof(path), "%s/queue/todo", b.homes.s[1]);
	kit_format(away, sizeof(away), "%s/queue/todo.away", b.homes.s[1]);
	assert_int_equal(rename(path, away), 0);
	check_unknown(&b, path);
	assert_int_equal(rename(away, path), 0);
	wait_for_retry(&b);
	check_exact(&b);
	end(&b);
}

static void
queue_the_same_home_twice_is_refused(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", 23, 0);
	kit_format(b.homes.s[b.homes.n++], CFG_STRING_MAX, "%s/../one", b.homes.s[0]);
	start(&b);
	check_unknown(&b, "is the same directory as another");
	end(&b);
}

static void
queue_too_many_directories_are_refused(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "one", 4100, 0);
	start(&b);
	check_unknown(&b, "more than 4096 directories");
	end(&b);
}

/* --- events ---------------------------------------------------------------------------------- */

static void
queue_its_descriptor_says_when_there_is_news(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	start(&b);
	assert_int_equal(probe_queue.fd(b.ctx), -1);
	check_exact(&b);
	p.fd = probe_queue.fd(b.ctx);
	assert_true(p.fd >= 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	touch(in_queue(&b, "todo/5"));
	assert_int_equal(poll(&p, 1, 0), 1);
	check_exact(&b);
	assert_int_equal(poll(&p, 1, 0), 0);
	end(&b);
}

static void
queue_numbers_used_again_are_counted_each_time(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 23);
	start(&b);
	check_exact(&b);
	for (int i = 1; i <= 200; i++) {
		touch(in_queue(&b, "mess/5/28"));
		if (i % 3 == 0)
			check_exact(&b);
		assert_int_equal(unlink(in_queue(&b, "mess/5/28")), 0);
		if (i % 5 == 0)
			check_exact(&b);
	}
	check_exact(&b);
	assert_int_equal(b.s.arrived, 200);
	assert_int_equal(b.s.departed, 200);
	end(&b);
}

/* One random change, valid or not. */
static void
change(const struct bench *b, struct dice *d, int mess, int todo, unsigned numbers)
{
	unsigned n = 1 + dice_below(d, numbers), m = 1 + dice_below(d, numbers);
	char a[KIT_PATH_MAX], c[KIT_PATH_MAX], out[KIT_PATH_MAX];

	if (dice_below(d, 2) == 0) {
		kit_format(a, sizeof(a), "%s", in_queue(b, "mess/%u/%u", n % (unsigned)mess, n));
		kit_format(c, sizeof(c), "%s", in_queue(b, "mess/%u/%u", dice_below(d, (unsigned)mess), m));
	} else if (todo > 0) {
		kit_format(a, sizeof(a), "%s", in_queue(b, "todo/%u/%u", n % (unsigned)todo, n));
		kit_format(c, sizeof(c), "%s", in_queue(b, "todo/%u/%u", dice_below(d, (unsigned)todo), m));
	} else {
		kit_format(a, sizeof(a), "%s", in_queue(b, "todo/%u", n));
		kit_format(c, sizeof(c), "%s", in_queue(b, "todo/%u", m));
	}
	kit_format(out, sizeof(out), "%s", in_queue(b, "intd/%u", n));
	/* what can't be done fails, and that is fine */
	switch (dice_below(d, 8)) {
	case 0:
	case 1:
		touch(a);
		break;
	case 2:
	case 3:
		(void)!unlink(a);
		break;
	case 4:
		(void)!rename(a, c);
		break;
	case 5:
		(void)!link(a, c);
		break;
	case 6:
		(void)!rename(a, out);
		break;
	default:
		(void)!rename(out, a);
		break;
	}
}

static void
queue_random_storms_are_followed_exactly(void **state)
{
	static const struct {
		int mess, todo;
	} rows[] = { { 23, 0 }, { 23, 23 }, { 7, 7 } };
	struct dice d = dice_new();

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct bench b;

		begin(&b);
		add_home(&b, "qmail", rows[i].mess, rows[i].todo);
		for (unsigned n = 1; n <= 100; n++)
			arrive(&b, rows[i].mess, rows[i].todo, n);
		start(&b);
		check_exact(&b);
		for (int op = 1; op <= kit_rounds(10000); op++) {
			change(&b, &d, rows[i].mess, rows[i].todo, 300);
			if (dice_below(&d, 100) != 0)
				continue;
			b.now.ms += dice_below(&d, 60000); /* from time to time it recounts */
			check_exact(&b);
		}
		check_exact(&b);
		assert_int_equal(fact(&b, "overflows"), 0);
		assert_true(has_fact(&b, "drift", "0 missed, 0 phantom"));
		end(&b);
	}
}

/* --- recounts -------------------------------------------------------------------------------- */

static void
queue_nothing_is_told_before_the_first_count_is_complete(void **state)
{
	struct bench b;
	int r, steps = 0;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 9000; n++)
		touch(in_queue(&b, "todo/%u", n));
	start(&b);
	while ((r = look_once(&b)) == PROBE_MORE) {
		assert_int_equal(b.s.told, 0);
		assert_false(b.s.counted);
		steps++;
	}
	assert_int_equal(r, 0);
	assert_in_range(steps, 2, 20);
	check_numbers(&b);
	end(&b);
}

static void
queue_a_recount_tells_the_old_numbers_until_it_is_done(void **state)
{
	struct bench b;
	int steps = 0;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 9000; n++)
		touch(in_queue(&b, "todo/%u", n));
	start(&b);
	check_exact(&b);
	b.now.ms += b.cfg.recount_ms;
	while (look_once(&b) == PROBE_MORE) {
		check_numbers(&b);
		assert_true(b.s.recount);
		steps++;
	}
	assert_in_range(steps, 2, 20);
	assert_int_equal(fact(&b, "recounts"), 2);
	end(&b);
}

/* Names that were read ahead of a pause must not come back to life after it. */
static void
queue_messages_that_leave_during_a_recount_are_gone(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 9000; n++)
		touch(in_queue(&b, "todo/%u", n));
	start(&b);
	assert_int_equal(look_once(&b), PROBE_MORE);
	for (unsigned n = 1; n <= 9000; n++)
		assert_int_equal(unlink(in_queue(&b, "todo/%u", n)), 0);
	check_exact(&b);
	assert_true(told(&b, READING_TODO) <= 0);
	assert_true(has_fact(&b, "drift", "0 missed, 0 phantom"));
	end(&b);
}

/* Many messages, so that each recount takes many steps; changes between all steps. */
static void
queue_random_storms_during_recounts_are_followed_exactly(void **state)
{
	struct dice d = dice_new();
	struct bench b;

	(void)state;
	begin(&b);
	b.cfg.recount_ms = 1000;
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 12000; n += 2) {
		touch(in_queue(&b, "mess/%u/%u", n % 23, n));
		touch(in_queue(&b, "todo/%u", n));
	}
	start(&b);
	for (int round = 0; round < kit_rounds(30); round++) {
		int r;

		b.now.ms += 1000;
		while ((r = look_once(&b)) == PROBE_MORE)
			for (unsigned i = dice_below(&d, 300); i > 0; i--)
				change(&b, &d, 23, 0, 12000);
		assert_int_equal(r, 0);
		check_numbers(&b);
	}
	assert_in_range(fact(&b, "recounts"), 2, 1000);
	assert_true(has_fact(&b, "drift", "0 missed, 0 phantom"));
	end(&b);
}

static unsigned
kernel_queue(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	unsigned n = 16384;

	if (f != NULL) {
		if (fscanf(f, "%u", &n) != 1)
			n = 16384;
		(void)fclose(f);
	}
	return n;
}

/* While the daemon is stopped, more happens than the kernel remembers. */
static void
queue_overflow_is_noticed_and_repaired(void **state)
{
	const unsigned events = kernel_queue() + 5000;
	struct bench b;

	(void)state;
	if (kit_is_slow())
		skip();
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 1000; n++)
		arrive(&b, 23, 0, n);
	start(&b);
	check_exact(&b);
	for (unsigned i = 0; i < events / 2; i++) {
		touch(in_queue(&b, "todo/%u", 5000 + i));
		if (i % 2 == 0)
			assert_int_equal(unlink(in_queue(&b, "todo/%u", 5000 + i)), 0);
	}
	/* behind the overflow: seen by the recount alone */
	for (unsigned n = 1; n <= 700; n++)
		assert_int_equal(unlink(in_queue(&b, "mess/%u/%u", n % 23, n)), 0);
	for (unsigned n = 2001; n <= 2100; n++)
		touch(in_queue(&b, "mess/%u/%u", n % 23, n));
	for (unsigned i = 0; i < events / 2; i++)
		touch(in_queue(&b, "todo/%u", 5000 + i));
	check_exact(&b);
	assert_in_range(fact(&b, "overflows"), 1, 100);
	/* what came and went unseen is in the totals, late; and it is no drift of ours */
	assert_int_equal(b.s.departed, 700);
	assert_int_equal(b.s.arrived, 100);
	assert_true(has_fact(&b, "drift", "0 missed, 0 phantom"));
	/* and it follows as before */
	touch(in_queue(&b, "mess/3/1000003"));
	check_exact(&b);
	assert_int_equal(b.s.arrived, 101);
	end(&b);
}

static void
queue_overflow_during_a_recount_makes_another(void **state)
{
	const unsigned events = kernel_queue() + 2000;
	struct bench b;

	(void)state;
	if (kit_is_slow())
		skip();
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 9000; n++)
		touch(in_queue(&b, "todo/%u", n));
	start(&b);
	assert_int_equal(look_once(&b), PROBE_MORE);
	for (unsigned i = 1; i <= events; i++)
		touch(in_queue(&b, "mess/%u/%u", i % 23, i));
	for (unsigned n = 1; n <= 9000; n++)
		assert_int_equal(unlink(in_queue(&b, "todo/%u", n)), 0);
	check_exact(&b);
	assert_in_range(fact(&b, "overflows"), 1, 100);
	end(&b);
}

/* --- age ------------------------------------------------------------------------------------- */

static void
check_age(struct bench *b, double want)
{
	assert_int_equal(look(b), 0);
	double got = told(b, READING_TODO_AGE);

	if (fabs(got - want) > 1e-9)
		fail_msg("age %.3f, want %.3f", got, want);
}

static void
queue_age_counts_from_when_a_message_was_first_seen(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	touch(in_queue(&b, "todo/1"));
	start(&b);
	check_age(&b, 0);
	b.now.ms += 2500;
	touch(in_queue(&b, "todo/2"));
	check_age(&b, 2.5);
	b.now.ms += 1500;
	assert_int_equal(unlink(in_queue(&b, "todo/1")), 0);
	check_age(&b, 1.5);
	/* mess has no say */
	touch(in_queue(&b, "mess/4/4"));
	b.now.ms += 700000; /* a recount keeps the age */
	check_age(&b, 701.5);
	assert_int_equal(unlink(in_queue(&b, "todo/2")), 0);
	check_age(&b, 0);
	b.now.ms += 1000;
	touch(in_queue(&b, "todo/2")); /* the number again: another message */
	check_age(&b, 0);
	b.now.ms += 1000;
	check_age(&b, 1);
	end(&b);
}

/* --- what vanishes, moves, closes ------------------------------------------------------------ */

static void
queue_directories_that_vanish_are_unknown_until_they_return(void **state)
{
	static const char *const dirs[] = { "todo", "mess", "mess/5", "todo/../../queue" };

	(void)state;
	for (size_t i = 0; i < countof(dirs); i++) {
		char here[KIT_PATH_MAX], away[KIT_PATH_MAX];
		struct bench b;

		begin(&b);
		add_home(&b, "qmail", 23, 0);
		arrive(&b, 23, 0, 51);
		kit_format(here, sizeof(here), "%s", in_queue(&b, "%s", dirs[i]));
		if (i == 3)
			kit_format(here, sizeof(here), "%s/queue", b.homes.s[0]);
		kit_format(away, sizeof(away), "%s/away", b.dir);
		start(&b);
		check_exact(&b);
		assert_int_equal(rename(here, away), 0);
		b.now.ms += b.cfg.every_ms;
		check_unknown(&b, "queue");
		for (int again = 0; again < 3 && i != 2; again++) {
			wait_for_retry(&b);
			check_unknown(&b, "No such file or directory");
		}
		assert_int_equal(rename(away, here), 0);
		wait_for_retry(&b);
		check_exact(&b);
		touch(in_queue(&b, "todo/77"));
		check_exact(&b);
		end(&b);
	}
}

static void
queue_directories_that_vanish_during_a_recount_are_unknown(void **state)
{
	char away[KIT_PATH_MAX];
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 5000; n++)
		touch(in_queue(&b, "todo/%u", n));
	start(&b);
	assert_int_equal(look_once(&b), PROBE_MORE);
	kit_format(away, sizeof(away), "%s/away", b.dir);
	assert_int_equal(rename(in_queue(&b, "todo"), away), 0);
	check_unknown(&b, "removed or moved");
	assert_int_equal(rename(away, in_queue(&b, "todo")), 0);
	wait_for_retry(&b);
	check_exact(&b);
	/* a subdirectory that goes after the root was read and before its turn */
	b.now.ms += b.cfg.recount_ms;
	assert_int_equal(look_once(&b), PROBE_MORE);
	assert_int_equal(rmdir(in_queue(&b, "mess/22")), 0);
	assert_true(look(&b) < 0);
	assert_int_equal(mkdir(in_queue(&b, "mess/22"), 0755), 0);
	wait_for_retry(&b);
	check_exact(&b);
	/* the probe ends in the middle of one */
	b.now.ms += b.cfg.recount_ms;
	assert_int_equal(look_once(&b), PROBE_MORE);
	end(&b);
	probe_queue.free(NULL);
}

/* With each descriptor less it fails at another step; nothing is told, and it recovers. */
static void
queue_without_descriptors_is_unknown(void **state)
{
	struct bench b;

	(void)state;
	if (kit_is_slow())
		skip();
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	touch(in_queue(&b, "todo/1"));
	start(&b);
	for (int n = 0; n < 2; n++) {
		kit_limit_fds(n);
		int r = look(&b);
		kit_limit_fds(-1);
		assert_int_equal(r, -EMFILE);
		assert_int_equal(b.s.told, 0);
		assert_non_null(strstr(b.why.text, n == 0 ? "cannot start inotify" : "cannot read"));
		wait_for_retry(&b);
	}
	check_exact(&b);
	/* a recount needs one more */
	b.now.ms += b.cfg.recount_ms;
	kit_limit_fds(0);
	int r = look(&b);
	kit_limit_fds(-1);
	assert_int_equal(r, -EMFILE);
	wait_for_retry(&b);
	check_exact(&b);
	end(&b);
}

static void
queue_removed_and_made_anew_is_counted_anew(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	touch(in_queue(&b, "todo/1"));
	start(&b);
	check_exact(&b);
	assert_int_equal(unlink(in_queue(&b, "todo/1")), 0);
	assert_int_equal(rmdir(in_queue(&b, "todo")), 0);
	assert_int_equal(mkdir(in_queue(&b, "todo"), 0755), 0);
	touch(in_queue(&b, "todo/2"));
	touch(in_queue(&b, "todo/3"));
	check_unknown(&b, "removed or moved");
	wait_for_retry(&b);
	check_exact(&b);
	assert_true(fabs(told(&b, READING_TODO) - 2) <= 0);
	end(&b);
}

/* Nobody tells when a directory above is exchanged: the next look does. */
static void
queue_another_directory_in_its_place_is_noticed_at_the_next_look(void **state)
{
	char queue[KIT_PATH_MAX], away[KIT_PATH_MAX];
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	add_home(&b, "other", 7, 7);
	b.homes.n = 1;
	start(&b);
	check_exact(&b);
	kit_format(queue, sizeof(queue), "%s/queue", b.homes.s[0]);
	kit_format(away, sizeof(away), "%s/away", b.dir);
	assert_int_equal(rename(queue, away), 0);
	kit_format(away, sizeof(away), "%s/queue", b.homes.s[1]);
	assert_int_equal(rename(away, queue), 0);
	touch(in_queue(&b, "todo/3/10"));
	b.now.ms += b.cfg.every_ms;
	check_unknown(&b, "another directory than before");
	wait_for_retry(&b);
	check_exact(&b);
	assert_true(has_fact(&b, "layout", "split over 7"));
	end(&b);
}

static void
queue_a_layout_that_changes_is_looked_at_anew(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	touch(in_queue(&b, "todo/24"));
	start(&b);
	check_exact(&b);
	/* the big-todo patch is installed under our feet */
	assert_int_equal(mkdir(in_queue(&b, "todo/1"), 0755), 0);
	assert_int_equal(rename(in_queue(&b, "todo/24"), in_queue(&b, "todo/1/24")), 0);
	check_unknown(&b, "the layout of");
	for (unsigned i = 0; i < 23; i++)
		if (i != 1)
			assert_int_equal(mkdir(in_queue(&b, "todo/%u", i), 0755), 0);
	wait_for_retry(&b);
	check_exact(&b);
	assert_true(has_fact(&b, "layout", "split over 23"));
	/* and removed again */
	assert_int_equal(rename(in_queue(&b, "todo/1/24"), in_queue(&b, "todo/24")), 0);
	for (unsigned i = 0; i < 23; i++)
		assert_int_equal(rmdir(in_queue(&b, "todo/%u", i)), 0);
	assert_true(look(&b) < 0);
	wait_for_retry(&b);
	check_exact(&b);
	assert_true(has_fact(&b, "layout", "plain"));
	end(&b);
}

static void
queue_what_is_not_there_is_looked_for_at_growing_intervals(void **state)
{
	int64_t last = 0;
	struct bench b;

	(void)state;
	begin(&b);
	kit_format(b.homes.s[b.homes.n++], CFG_STRING_MAX, "%s/not-yet", b.dir);
	start(&b);
	for (int i = 0; i < 10; i++) {
		check_unknown(&b, "No such file or directory");
		int64_t wait = mono_since(b.now, b.s.due);
		assert_true(wait >= last && wait >= 1000 && wait <= 30000);
		last = wait;
		/* asked before its time it says the same, and does nothing */
		b.now.ms += wait - 1;
		assert_int_equal(look(&b), -EAGAIN);
		assert_non_null(strstr(b.why.text, "No such file or directory"));
		assert_int_equal(b.s.due.ms, b.now.ms + 1);
		b.now.ms++;
	}
	assert_int_equal(last, 30000);
	b.homes.n = 0;
	add_home(&b, "not-yet", 23, 0);
	check_exact(&b);
	/* the next trouble begins with a short wait again */
	assert_int_equal(rmdir(in_queue(&b, "todo")), 0);
	check_unknown(&b, "todo");
	assert_int_equal(mono_since(b.now, b.s.due), 1000);
	end(&b);
}

static void
queue_files_in_place_of_directories_are_unknown(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	assert_int_equal(rmdir(in_queue(&b, "todo")), 0);
	touch(in_queue(&b, "todo"));
	start(&b);
	check_unknown(&b, "Not a directory");
	assert_int_equal(unlink(in_queue(&b, "todo")), 0);
	assert_int_equal(symlink("/nowhere", in_queue(&b, "todo")), 0);
	wait_for_retry(&b);
	check_unknown(&b, "No such file or directory");
	end(&b);
}

/* --- permission: as nobody, in a child ------------------------------------------------------- */

#define EXPECT(what) \
	do { \
		if (!(what)) { \
			(void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #what, \
				b->why.text); \
			_exit(1); \
		} \
	} while (0)

static int
chown_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return lchown(path, NOBODY, NOBODY);
}

static void
lose_permission(struct bench *b)
{
	static const char *const dirs[] = { "queue/todo", "queue/mess", "queue/mess/7", "queue" };

	EXPECT(look(b) == 0 && (b->s.told & 1u << READING_TODO) != 0);
	for (size_t i = 0; i < countof(dirs); i++) {
		char path[KIT_PATH_MAX];

		(void)kit_path(path, b->homes.s[0], dirs[i]);
		EXPECT(chmod(path, 0) == 0);
		b->now.ms += b->cfg.every_ms;
		EXPECT(look(b) == -EACCES);
		EXPECT(b->s.told == 0 && !b->s.counted);
		EXPECT(strstr(b->why.text, "Permission denied") != NULL);
		b->now = b->s.due;
		EXPECT(look(b) == -EACCES);
		EXPECT(chmod(path, 0755) == 0);
		b->now = b->s.due;
		EXPECT(look(b) == 0);
		EXPECT((b->s.told & 1u << READING_TODO) != 0);
		EXPECT((size_t)b->s.value[READING_TODO].value == walk(b, "todo"));
		EXPECT((size_t)b->s.value[READING_MESSAGES].value == walk(b, "mess"));
	}
	/* searchable but not readable, readable but not searchable: neither shows the queue */
	EXPECT(chmod(in_queue(b, "todo"), 0311) == 0);
	EXPECT(look(b) == -EACCES);
	EXPECT(chmod(in_queue(b, "todo"), 0444) == 0);
	b->now = b->s.due;
	EXPECT(look(b) == -EACCES);
	EXPECT(chmod(in_queue(b, "todo"), 0755) == 0);
	b->now = b->s.due;
	EXPECT(look(b) == 0);
}

static void
queue_permission_lost_is_unknown_until_it_is_back(void **state)
{
	struct bench b;
	int status;

	(void)state;
	begin(&b);
	add_home(&b, "qmail", 23, 0);
	for (unsigned n = 1; n <= 50; n++)
		arrive(&b, 23, 0, n);
	if (geteuid() == 0)
		assert_int_equal(nftw(b.dir, chown_one, 16, FTW_PHYS), 0);
	start(&b);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
			_exit(2);
		lose_permission(&b);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_every_layout_is_recognised_and_counted),
		cmocka_unit_test(queue_recorded_queues_are_counted_as_qmail_qstat_did),
		cmocka_unit_test(queue_an_empty_one_is_zero_not_unknown),
		cmocka_unit_test(queue_garbage_between_the_messages_is_not_counted),
		cmocka_unit_test(queue_a_directory_with_leading_zeros_does_not_matter),
		cmocka_unit_test(queue_a_link_named_by_a_number_is_corrected_by_the_recount),
		cmocka_unit_test(queue_several_homes_count_together),
		cmocka_unit_test(queue_one_home_that_cannot_be_seen_makes_all_unknown),
		cmocka_unit_test(queue_the_same_home_twice_is_refused),
		cmocka_unit_test(queue_too_many_directories_are_refused),
		cmocka_unit_test(queue_its_descriptor_says_when_there_is_news),
		cmocka_unit_test(queue_numbers_used_again_are_counted_each_time),
		cmocka_unit_test(queue_random_storms_are_followed_exactly),
		cmocka_unit_test(queue_nothing_is_told_before_the_first_count_is_complete),
		cmocka_unit_test(queue_a_recount_tells_the_old_numbers_until_it_is_done),
		cmocka_unit_test(queue_messages_that_leave_during_a_recount_are_gone),
		cmocka_unit_test(queue_random_storms_during_recounts_are_followed_exactly),
		cmocka_unit_test(queue_overflow_is_noticed_and_repaired),
		cmocka_unit_test(queue_overflow_during_a_recount_makes_another),
		cmocka_unit_test(queue_age_counts_from_when_a_message_was_first_seen),
		cmocka_unit_test(queue_directories_that_vanish_are_unknown_until_they_return),
		cmocka_unit_test(queue_directories_that_vanish_during_a_recount_are_unknown),
		cmocka_unit_test(queue_without_descriptors_is_unknown),
		cmocka_unit_test(queue_removed_and_made_anew_is_counted_anew),
		cmocka_unit_test(queue_another_directory_in_its_place_is_noticed_at_the_next_look),
		cmocka_unit_test(queue_a_layout_that_changes_is_looked_at_anew),
		cmocka_unit_test(queue_what_is_not_there_is_looked_for_at_growing_intervals),
		cmocka_unit_test(queue_files_in_place_of_directories_are_unknown),
		cmocka_unit_test(queue_permission_lost_is_unknown_until_it_is_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
