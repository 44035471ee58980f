/* SPDX-License-Identifier: ISC */
/*
 * ask.sock with real clients on it: those who ask, those who do not, those who are nobody, and far too many of each.  Rows of the
 * failure list: C1, C2, C3, C6, F11.
 */
#include "controller/asked.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/rundir.h"
#include "tests/unit/kit.h"

#define PATIENCE_MS 5000

static char tree[KIT_PATH_MAX];
static struct event_base *base;
static struct asked *asked;
static struct config config;

/* What was asked, and what is answered. */
static struct {
	unsigned n;
	pid_t asker;
	bool may_sleep;
	struct record last; /* without its texts */
	char helo[RECORD_TEXT_MAX + 1];
	struct ask_answer answer;
} seen;

static void
on_ask(const struct record *r, pid_t asker, bool may_sleep, struct ask_answer *ret, void *arg)
{
	assert_ptr_equal(arg, &seen);
	seen.n++;
	seen.asker = asker;
	seen.may_sleep = may_sleep;
	seen.last = *r;
	(void)snprintf(seen.helo, sizeof(seen.helo), "%.*s", (int)r->text[RECORD_HELO].len,
		r->text[RECORD_HELO].s != NULL ? r->text[RECORD_HELO].s : "");
	*ret = seen.answer;
	if (!may_sleep)
		ret->delay_ms = 0;
}

/* Who connects, when it is not us. */
static uid_t stranger;

int
getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	int r = (int)syscall(SYS_getsockopt, fd, level, name, value, len);

	if (r == 0 && name == SO_PEERCRED && stranger != 0)
		((struct ucred *)value)->uid = stranger;
	return r;
}

static int
make(void **state)
{
	struct err why;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&config, 0, sizeof(config));
	config.plugins.tarpit_sleepers = 20;
	stranger = 0;
	kit_tree(tree);
	base = event_base_new();
	assert_non_null(base);
	return asked_new(base, tree, &config, on_ask, &seen, &asked, &why);
}

static int
unmake(void **state)
{
	(void)state;
	asked_free(asked);
	event_base_free(base);
	kit_remove(tree);
	return 0;
}

static int64_t
described(const char *key)
{
	json_t *d = asked_describe(asked);
	int64_t v = json_integer_value(json_object_get(d, key));

	assert_non_null(json_object_get(d, key));
	json_decref(d);
	return v;
}

static void
turn(void)
{
	assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

/* Let the loop run until `key` has this value. */
static void
wait_for(const char *key, int64_t value)
{
	mono_t deadline = mono_after(mono_now(), PATIENCE_MS);
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (turn(); described(key) != value; turn()) {
		if (mono_now().ms > deadline.ms)
			fail_msg("%s is %lld, not %lld", key, (long long)described(key), (long long)value);
		(void)nanosleep(&nap, NULL);
	}
}

/* --- clients --------------------------------------------------------------------------------- */

static int
dial_it(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%.80s/" RUNDIR_ASK_SOCKET, tree);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void
say(int fd, const char *helo)
{
	struct record_packet packet;
	struct record r = {
		.stage = STAGE_RCPT, .class = CLASS_STRANGER, .pid = 4711, .wants = 1u << CHECK_TARPIT, .delay_ms = 2000,
		.text = { [RECORD_HELO] = record_text_of(helo) },
	};

	record_pack(&r, &packet);
	const struct msghdr msg = { .msg_iov = packet.part, .msg_iovlen = (size_t)packet.parts };
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), packet.len);
}

/* What has come: 1 an answer, 0 the end, -1 nothing. */
static int
hear(int fd, struct ask_answer *ret)
{
	uint8_t buf[ASK_ANSWER_SIZE + 1];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno == ECONNRESET)) /* closed with a packet of ours unread */
		return 0;
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return -1;
	}
	assert_int_equal(ask_answer_decode(buf, (size_t)n, ret), 0);
	return 1;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void
asked_ready_question_answered_in_one_turn(void **state)
{
	struct ask_answer a;
	int fd = dial_it();

	(void)state;
	seen.answer = (struct ask_answer) {
		.verdict = VERDICT_REFUSE, .check = CHECK_IPTHROTTLE, .code = 451, .n = 11, .max = 10, .id = "rabcdefgh",
		.flags = ASK_MAY_BLOCK,
	};
	say(fd, "mx.example.test");
	turn();
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.asker, getpid());
	assert_true(seen.may_sleep);
	assert_string_equal(seen.helo, "mx.example.test");
	assert_int_equal(seen.last.pid, 4711);
	assert_int_equal(hear(fd, &a), 1);
	assert_int_equal(a.verdict, VERDICT_REFUSE);
	assert_int_equal(a.n, 11);
	assert_string_equal(a.id, "rabcdefgh");
	assert_int_equal(a.flags, ASK_MAY_BLOCK);
	assert_int_equal(hear(fd, &a), 0); /* and it ends */
	assert_int_equal(described("answered"), 1);
	assert_int_equal(described("waiting"), 0);
	(void)close(fd);
}

static void
asked_slow_question_is_waited_for(void **state)
{
	struct ask_answer a;
	int fd = dial_it();

	(void)state;
	wait_for("waiting", 1);
	say(fd, "h");
	turn();
	assert_int_equal(hear(fd, &a), 1);
	assert_int_equal(a.verdict, VERDICT_PASS);
	assert_int_equal(described("waiting"), 0);
	(void)close(fd);
}

static void
asked_silent_one_is_dropped_at_the_deadline(void **state)
{
	struct ask_answer a;
	int fd = dial_it();
	mono_t begin = mono_now();

	(void)state;
	wait_for("waiting", 1);
	wait_for("dropped", 1);
	assert_in_range(mono_since(begin, mono_now()), ASKED_DEADLINE_MS - 5, ASKED_DEADLINE_MS + 2000);
	assert_int_equal(hear(fd, &a), 0);
	assert_int_equal(described("waiting"), 0);
	(void)close(fd);
}

static void
asked_who_hangs_up_is_forgotten(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		int fd = dial_it();

		if (i == 1)
			wait_for("waiting", 1);
		(void)close(fd);
		wait_for("gone", i + 1);
	}
	assert_int_equal(described("waiting"), 0);
	assert_int_equal(seen.n, 0);
}

/* Its session went on without us: what it asked is not counted any more. */
static void
asked_question_of_one_who_has_gone_is_not_counted(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		int fd = dial_it();

		say(fd, "h");
		(void)close(fd);
	}
	wait_for("gone", 10);
	assert_int_equal(seen.n, 0);
	assert_int_equal(described("answered"), 0);
}

static void
asked_one_question_one_answer(void **state)
{
	struct ask_answer a;
	int fd = dial_it();

	(void)state;
	say(fd, "one");
	say(fd, "two");
	turn();
	turn();
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.helo, "one");
	assert_int_equal(hear(fd, &a), 0); /* who does not keep to it may lose the answer too */
	(void)close(fd);
}

/* --- whom to hear ---------------------------------------------------------------------------- */

static void
asked_foreign_user_is_not_heard(void **state)
{
	struct ask_answer a;
	int fd = dial_it();

	(void)state;
	config.plugin_uids = (struct config_ids) { .n = 2, .id = { 64, 65 } };
	stranger = 4242;
	say(fd, "h");
	turn();
	assert_int_equal(seen.n, 0);
	assert_int_equal(hear(fd, &a), 0);
	assert_int_equal(described("foreign"), 1);
	(void)close(fd);
	stranger = 65;
	fd = dial_it();
	say(fd, "h");
	turn();
	assert_int_equal(seen.n, 1);
	config.plugin_uids.n = 1; /* reloaded */
	(void)close(fd);
	fd = dial_it();
	say(fd, "h");
	turn();
	assert_int_equal(seen.n, 1);
	assert_int_equal(described("foreign"), 2);
	(void)close(fd);
}

static void
asked_what_is_not_understood_is_not_answered(void **state)
{
	struct dice d = dice_new();
	uint8_t noise[RECORD_MAX + 200];
	struct ask_answer a;

	(void)state;
	for (int i = 0; i < kit_rounds(500); i++) {
		size_t n = i == 0 ? sizeof(noise) : i == 1 ? RECORD_MAX + 1 : i == 2 ? 1 : 1 + dice_below(&d, sizeof(noise) - 1);
		int fd = dial_it();

		for (size_t k = 0; k < n; k++)
			noise[k] = (uint8_t)dice_u64(&d);
		assert_int_equal(send(fd, noise, n, MSG_NOSIGNAL), n);
		turn();
		assert_int_equal(hear(fd, &a), 0);
		assert_int_equal(described("malformed"), i + 1);
		(void)close(fd);
	}
	assert_int_equal(seen.n, 0);
	int fd = dial_it(); /* an empty packet looks like an end */
	assert_int_equal(send(fd, noise, 0, MSG_NOSIGNAL), 0);
	turn();
	assert_int_equal(hear(fd, &a), 0);
	(void)close(fd);
	assert_int_equal(seen.n, 0);
}

/* --- sleepers -------------------------------------------------------------------------------- */

static int
fall_asleep(void)
{
	struct ask_answer a;
	int fd = dial_it();

	seen.answer.delay_ms = 2000;
	say(fd, "h");
	turn();
	assert_int_equal(hear(fd, &a), 1);
	assert_int_equal(a.delay_ms, 2000);
	assert_int_equal(hear(fd, &a), -1); /* kept */
	return fd;
}

static void
asked_sleeper_is_kept_until_it_goes(void **state)
{
	int a = fall_asleep(), b = fall_asleep();

	(void)state;
	assert_int_equal(described("sleeping"), 2);
	(void)close(a);
	wait_for("sleeping", 1);
	(void)close(b);
	wait_for("sleeping", 0);
	assert_int_equal(described("dropped"), 0);
}

static void
asked_sleepers_have_a_number_above_them(void **state)
{
	struct ask_answer a;
	int fd[3];

	(void)state;
	config.plugins.tarpit_sleepers = 2;
	fd[0] = fall_asleep();
	fd[1] = fall_asleep();
	fd[2] = dial_it();
	say(fd[2], "h");
	turn();
	assert_false(seen.may_sleep);
	assert_int_equal(hear(fd[2], &a), 1);
	assert_int_equal(a.delay_ms, 0);
	assert_int_equal(hear(fd[2], &a), 0);
	(void)close(fd[2]);
	(void)close(fd[0]);
	wait_for("sleeping", 1);
	(void)close(fall_asleep());
	config.plugins.tarpit_sleepers = 0; /* reloaded: who sleeps, sleeps on */
	turn();
	assert_true(described("sleeping") >= 1);
	(void)close(fd[1]);
}

static void
asked_all_sleepers_are_woken(void **state)
{
	struct ask_answer a;
	int fd[20], waiting = dial_it();

	(void)state;
	wait_for("waiting", 1);
	for (size_t i = 0; i < countof(fd); i++)
		fd[i] = fall_asleep();
	asked_wake(asked);
	assert_int_equal(described("sleeping"), 0);
	for (size_t i = 0; i < countof(fd); i++) {
		assert_int_equal(hear(fd[i], &a), 0);
		(void)close(fd[i]);
	}
	assert_int_equal(described("waiting"), 1);
	(void)close(waiting);
}

static void
asked_sleeper_that_talks_is_dropped(void **state)
{
	struct ask_answer a;
	int fd = fall_asleep();

	(void)state;
	say(fd, "are you there?");
	wait_for("sleeping", 0);
	assert_int_equal(seen.n, 1);
	assert_int_equal(hear(fd, &a), 0);
	(void)close(fd);
}

static void
asked_sleeper_that_does_not_wake_is_dropped(void **state)
{
	struct ask_answer a;
	mono_t begin = mono_now();
	int fd = dial_it();

	(void)state;
	seen.answer.delay_ms = 50;
	say(fd, "h");
	turn();
	assert_int_equal(hear(fd, &a), 1);
	wait_for("sleeping", 0);
	assert_in_range(mono_since(begin, mono_now()), 1000, 3000);
	assert_int_equal(hear(fd, &a), 0);
	(void)close(fd);
}

/* --- too many -------------------------------------------------------------------------------- */

static void
asked_silent_crowd_does_not_keep_others_out(void **state)
{
	struct ask_answer a;
	static int fd[ASKED_WAITING + 40];

	(void)state;
	for (size_t i = 0; i < countof(fd); i++)
		fd[i] = dial_it();
	wait_for("waiting", ASKED_WAITING);
	wait_for("dropped", 40);
	int prompt = dial_it();
	say(prompt, "h");
	turn();
	assert_int_equal(hear(prompt, &a), 1);
	(void)close(prompt);
	(void)close(fall_asleep());
	for (size_t i = 0; i < countof(fd); i++)
		(void)close(fd[i]);
	wait_for("waiting", 0);
}

static void
asked_turn_has_a_budget(void **state)
{
	static int fd[3 * ASKED_A_TURN];

	(void)state;
	for (size_t i = 0; i < countof(fd); i++) {
		fd[i] = dial_it();
		say(fd[i], "h");
	}
	assert_int_equal(event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK), 0);
	assert_int_equal(seen.n, ASKED_A_TURN);
	wait_for("answered", countof(fd));
	for (size_t i = 0; i < countof(fd); i++)
		(void)close(fd[i]);
}

static void
asked_without_descriptors_pauses_and_goes_on(void **state)
{
	struct ask_answer a;
	unsigned turns = 0;

	(void)state;
	if (kit_is_slow()) {
		print_message("# SKIP valgrind has descriptors of its own\n");
		return;
	}
	int fd = dial_it(), other;
	say(fd, "h");
	kit_limit_fds(0);
	mono_t begin = mono_now();
	for (; mono_since(begin, mono_now()) < 250; turns++)
		(void)event_base_loop(base, EVLOOP_ONCE);
	assert_in_range(turns, 1, 10); /* it does not spin */
	assert_int_equal(seen.n, 0);
	kit_limit_fds(-1);
	wait_for("answered", 1);
	assert_int_equal(hear(fd, &a), 1);
	(void)close(fd);
	other = dial_it();
	say(other, "h");
	turn();
	assert_int_equal(hear(other, &a), 1);
	(void)close(other);
}

/* --- the socket ------------------------------------------------------------------------------ */

static void
asked_living_socket_stays_dead_one_is_replaced(void **state)
{
	struct asked *second = NULL;
	struct ask_answer a;
	struct err why;

	(void)state;
	assert_int_equal(asked_new(base, tree, &config, on_ask, &seen, &second, &why), -EADDRINUSE);
	assert_non_null(strstr(why.text, "somebody is listening"));
	turn(); /* it looked whether we are there */
	asked_free(asked);
	assert_int_equal(asked_new(base, tree, &config, on_ask, &seen, &asked, &why), 0);
	int fd = dial_it();
	say(fd, "h");
	turn();
	assert_int_equal(hear(fd, &a), 1);
	(void)close(fd);
}

static void
asked_end_of_the_engine_wakes_all(void **state)
{
	struct ask_answer a;
	int sleeper = fall_asleep(), waiting = dial_it();

	(void)state;
	wait_for("waiting", 1);
	asked_free(asked);
	asked = NULL;
	assert_int_equal(hear(sleeper, &a), 0);
	assert_int_equal(hear(waiting, &a), 0);
	(void)close(sleeper);
	(void)close(waiting);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(asked_ready_question_answered_in_one_turn),
		T(asked_slow_question_is_waited_for),
		T(asked_silent_one_is_dropped_at_the_deadline),
		T(asked_who_hangs_up_is_forgotten),
		T(asked_question_of_one_who_has_gone_is_not_counted),
		T(asked_one_question_one_answer),
		T(asked_foreign_user_is_not_heard),
		T(asked_what_is_not_understood_is_not_answered),
		T(asked_sleeper_is_kept_until_it_goes),
		T(asked_sleepers_have_a_number_above_them),
		T(asked_all_sleepers_are_woken),
		T(asked_sleeper_that_talks_is_dropped),
		T(asked_sleeper_that_does_not_wake_is_dropped),
		T(asked_silent_crowd_does_not_keep_others_out),
		T(asked_turn_has_a_budget),
		T(asked_without_descriptors_pauses_and_goes_on),
		T(asked_living_socket_stays_dead_one_is_replaced),
		T(asked_end_of_the_engine_wakes_all),
	};

	return cmocka_run_group_tests_name("asked", tests, NULL, NULL);
}
