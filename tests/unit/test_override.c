/* SPDX-License-Identifier: ISC */
/*
 * A person's word: as long as was said and no longer, through restarts and boots; and what is told durable is.  Rows of the
 * failure list: T3, C11, D6.
 *
 * The clock is ours, the recorder is a socket that we read, and answers to clients end here.
 */
#include <sys/socket.h>
#include <time.h>

#include "controller/engine_state.h"
#include "tests/unit/kit.h"

#define HOUR INT64_C(3600000)
#define WEEK (INT64_C(7) * 24 * HOUR)

static struct engine e;
static int line[2]; /* the journal's, ours */
static struct {
	uint64_t client;
	int code; /* 0: "ok" */
	char text[400];
} reply;

/* In the place of the one in control.c. */
bool
engine_is_pinned(const struct engine *engine)
{
	(void)engine;
	return false;
}

void
control_reply(struct control *c, uint64_t client, json_t *r)
{
	const char *error = json_string_value(json_object_get(r, "error"));

	(void)c;
	assert_non_null(r);
	reply.client = client;
	reply.code = json_is_true(json_object_get(r, "ok")) ? 0 : (int)json_integer_value(json_object_get(r, "code"));
	(void)snprintf(reply.text, sizeof(reply.text), "%s", error != NULL ? error : "");
	json_decref(r);
}

static void
on_done(uint64_t id, bool ok, const char *text, void *arg)
{
	override_stored(arg, id, ok, text);
}

static void
on_override(const struct store_override *o, void *arg)
{
	override_restore(arg, o);
}

static void
on_stored_block(const struct store_block *b, const struct store_allow *a, void *arg)
{
	(void)b;
	(void)a;
	(void)arg;
}

static int
make(void **state)
{
	(void)state;
	memset(&e, 0, sizeof(e));
	memset(&reply, 0, sizeof(reply));
	e.base = event_base_new();
	e.turn = (struct turn) { .known = true, .now = { HOUR } };
	memset(e.boot_id, 7, sizeof(e.boot_id));
	if (e.base == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0)
		return -1;
	return journal_new(e.base, line[0], on_done, on_override, on_stored_block, &e, &e.journal);
}

static int
unmake(void **state)
{
	(void)state;
	journal_free(e.journal);
	event_base_free(e.base);
	(void)close(line[0]);
	(void)close(line[1]);
	return 0;
}

static void
pass_ms(int64_t ms)
{
	e.turn.now.ms += ms;
	override_step(&e, e.turn.now);
}

/* What the engine had for the recorder; false when nothing. */
static bool
take(struct recorder_message *ret)
{
	return recv(line[1], ret, sizeof(*ret), MSG_DONTWAIT) == sizeof(*ret);
}

static struct recorder_message
take_stored(void)
{
	struct recorder_message m;

	assert_true(take(&m));
	assert_int_equal(m.kind, RECORD_OVERRIDE);
	assert_true(m.id != 0);
	return m;
}

static bool
is_durable(void)
{
	json_t *d = override_describe(&e);
	bool durable = json_is_true(json_object_get(d, "durable"));

	assert_non_null(d);
	json_decref(d);
	return durable;
}

/* --- said, stored, over ---------------------------------------------------------------------- */

static void
override_said_holds_for_its_time(void **state)
{
	(void)state;
	override_set(&e, LEVEL_OVERLOADED, HOUR, "uid 0", "test", 0);
	struct recorder_message m = take_stored();
	assert_true(m.u.override.set);
	assert_int_equal(m.u.override.level, LEVEL_OVERLOADED);
	assert_int_equal(m.u.override.remaining_ms, HOUR);
	assert_int_equal(m.u.override.until_mono.ms, 2 * HOUR);
	assert_memory_equal(m.u.override.boot_id, e.boot_id, sizeof(e.boot_id));
	pass_ms(HOUR - 1);
	assert_true(e.override.set);
	pass_ms(1);
	assert_false(e.override.set);
	assert_false(take_stored().u.override.set);
}

static void
override_asleep_for_long_is_over_at_once(void **state)
{
	(void)state;
	override_set(&e, LEVEL_OVERLOADED, HOUR, "uid 0", "test", 0);
	pass_ms(8 * HOUR); /* T2: a machine that slept */
	assert_false(e.override.set);
}

static void
override_stored_is_told_to_who_waits(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 5);
	struct recorder_message m = take_stored();
	assert_int_equal(reply.client, 0);
	assert_false(is_durable());
	override_stored(&e, m.id + 1, true, ""); /* of another word */
	assert_int_equal(reply.client, 0);
	override_stored(&e, m.id, true, "");
	assert_int_equal(reply.client, 5);
	assert_int_equal(reply.code, 0);
	assert_true(is_durable());
}

static void
override_not_stored_is_told_and_tried_again(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 5);
	override_stored(&e, take_stored().id, false, "the disk is full");
	assert_int_equal(reply.client, 5);
	assert_int_equal(reply.code, 111);
	assert_non_null(strstr(reply.text, "the disk is full"));
	assert_true(e.override.set); /* in force all the same */
	assert_false(is_durable());
	pass_ms(10000);
	override_stored(&e, take_stored().id, false, "still full");
	assert_false(is_durable());
	pass_ms(10000);
	override_stored(&e, take_stored().id, true, "");
	assert_true(is_durable());
	pass_ms(20000);
	struct recorder_message m;
	assert_false(take(&m)); /* once is enough */
}

static void
override_end_not_stored_is_tried_again(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 0);
	override_stored(&e, take_stored().id, true, "");
	override_clear(&e, "uid 0", "enough", 6);
	override_stored(&e, take_stored().id, false, "the disk is full");
	assert_int_equal(reply.code, 111);
	pass_ms(10000);
	assert_false(take_stored().u.override.set);
}

static void
override_disk_too_slow_is_told(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 5);
	pass_ms(1000);
	assert_int_equal(reply.client, 0);
	pass_ms(2000);
	assert_int_equal(reply.client, 5);
	assert_int_equal(reply.code, 111);
	assert_false(is_durable());
	override_stored(&e, take_stored().id, true, "");
	assert_true(is_durable());
}

static void
override_overtaken_is_told(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "one", 5);
	override_set(&e, LEVEL_CRITICAL, HOUR, "uid 0", "two", 6);
	assert_int_equal(reply.client, 5);
	assert_int_equal(reply.code, 111);
	uint64_t first = take_stored().id;
	override_stored(&e, first, true, ""); /* of the first: the second is not there yet */
	assert_int_equal(reply.client, 5);
	assert_false(is_durable());
	override_stored(&e, take_stored().id, true, "");
	assert_int_equal(reply.client, 6);
}

static void
override_journal_full_is_told_and_tried_again(void **state)
{
	struct recorder_message m;

	(void)state;
	for (int i = 0; i < 5000; i++) /* more than the socket and the queue take */
		journal_change(e.journal, &(struct store_change) { .at = { 1 } });
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 5);
	assert_int_equal(reply.client, 5);
	assert_int_equal(reply.code, 111);
	assert_false(is_durable());
	while (take(&m))
		(void)event_base_loop(e.base, EVLOOP_NONBLOCK);
	pass_ms(10000);
	assert_int_equal(take_stored().u.override.level, LEVEL_BUSY);
}

/* An engine that starts after another must not take an answer to that one for an answer to itself. */
static void
override_ids_of_two_engines_differ(void **state)
{
	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 0);
	uint64_t before = take_stored().id;
	const struct timespec nap = { .tv_nsec = 5000000 };
	(void)nanosleep(&nap, NULL); /* a restart takes longer */
	assert_int_equal(unmake(state), 0);
	assert_int_equal(make(state), 0);
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "test", 0);
	uint64_t after = take_stored().id;
	assert_true(after > before + 1000);
}

/* --- read again ------------------------------------------------------------------------------ */

static struct store_override
stored(bool same_boot, int64_t until_mono, int64_t until_wall_from_now, int64_t remaining)
{
	struct store_override o = {
		.set = true, .level = LEVEL_OVERLOADED, .until_mono = { until_mono }, .remaining_ms = remaining,
		.until = { wall_now().ms + until_wall_from_now }, .who = "uid 0", .reason = "before",
	};

	memset(o.boot_id, same_boot ? 7 : 8, sizeof(o.boot_id));
	return o;
}

static int64_t
left_of(struct store_override o)
{
	memset(&e.override, 0, sizeof(e.override));
	override_restore(&e, &o);
	return e.override.set ? mono_since(e.turn.now, e.override.until) : 0;
}

#define ABOUT(got, wanted) assert_in_range((got), (wanted) - 2000, (wanted) + 1)

static void
override_same_boot_the_boot_clock_counts(void **state)
{
	(void)state;
	assert_int_equal(left_of(stored(true, 2 * HOUR, -99 * HOUR, 2 * HOUR)), HOUR);
	assert_int_equal(left_of(stored(true, 2 * HOUR, 99 * HOUR, 2 * HOUR)), HOUR);
	assert_int_equal(left_of(stored(true, HOUR, HOUR, HOUR)), 0);
	assert_int_equal(left_of(stored(true, HOUR - 1, HOUR, HOUR)), 0);
	/* Never more than when it was stored. */
	assert_int_equal(left_of(stored(true, 9 * HOUR, HOUR, 2 * HOUR)), 2 * HOUR);
}

static void
override_other_boot_the_least_counts(void **state)
{
	(void)state;
	ABOUT(left_of(stored(false, 99 * HOUR, HOUR, 2 * HOUR)), HOUR);
	assert_int_equal(left_of(stored(false, 0, 99 * HOUR, 2 * HOUR)), 2 * HOUR);
	assert_int_equal(left_of(stored(false, 99 * HOUR, -1, 2 * HOUR)), 0);
}

/* A file that somebody edited: no overflow, no more than a week. */
static void
override_absurd_numbers_never_more_than_a_week(void **state)
{
	static const int64_t odd[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, WEEK, INT64_MAX - 1, INT64_MAX };

	(void)state;
	for (size_t i = 0; i < countof(odd) * countof(odd) * countof(odd) * 2; i++) {
		struct store_override o = stored(i % 2 != 0, odd[i / 2 % 8], 0, odd[i / 16 % 8]);

		o.until.ms = odd[i / 128 % 8];
		int64_t left = left_of(o);
		assert_in_range(left, 0, WEEK);
		assert_true(left == 0 || left <= o.remaining_ms);
		pass_ms(1);
	}
}

static void
override_stored_none_is_none(void **state)
{
	(void)state;
	override_restore(&e, &(struct store_override) { .set = false, .remaining_ms = HOUR });
	assert_false(e.override.set);
	assert_null(override_describe(&e));
}

static void
override_person_quicker_than_the_disk_wins(void **state)
{
	const struct store_override before = stored(true, 9 * HOUR, HOUR, 9 * HOUR);

	(void)state;
	override_set(&e, LEVEL_BUSY, HOUR, "uid 0", "now", 0);
	override_restore(&e, &before);
	assert_int_equal(e.override.level, LEVEL_BUSY);
	memset(&e.override, 0, sizeof(e.override));
	override_clear(&e, "uid 0", "back to auto", 0);
	override_restore(&e, &before);
	assert_false(e.override.set);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(override_said_holds_for_its_time),
		T(override_asleep_for_long_is_over_at_once),
		T(override_stored_is_told_to_who_waits),
		T(override_not_stored_is_told_and_tried_again),
		T(override_end_not_stored_is_tried_again),
		T(override_disk_too_slow_is_told),
		T(override_overtaken_is_told),
		T(override_journal_full_is_told_and_tried_again),
		T(override_ids_of_two_engines_differ),
		T(override_same_boot_the_boot_clock_counts),
		T(override_other_boot_the_least_counts),
		T(override_absurd_numbers_never_more_than_a_week),
		T(override_stored_none_is_none),
		T(override_person_quicker_than_the_disk_wins),
	};

	return cmocka_run_group_tests_name("override", tests, NULL, NULL);
}
