/* SPDX-License-Identifier: ISC */
/* The rate service in a loop, its clients on real sockets; the time is ours, but for the timer that looks for the
 * idle. */
#include "controller/rateserve.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controller/rateline.h"
#include "lib/rundir.h"

#include "tests/unit/kit.h"

#define SWEEP_WAIT_MS 400 /* real time in which the timer has come */
#define FILES (2 * RATESERVE_CLIENTS + 500)

struct bench {
	char dir[KIT_PATH_MAX];
	struct event_base *base;
	struct turn turn;
	struct config config;
	struct rate *rate;
	struct rateserve *serve;
};

/* --- the bench ------------------------------------------------------------------------------- */

static void
add_class(struct rate_cfg *c, const char *name, int64_t count)
{
	struct rate_class *class = &c->class[c->n_classes++];
	struct rate_limit *limit = &c->limit[c->n_limits];

	kit_format(class->name, sizeof(class->name), "%s", name);
	class->first = c->n_limits++;
	class->n = 1;
	assert_int_equal(rate_limit_set_pattern(limit, "*"), 0);
	limit->window_ms = 60000;
	limit->count = count;
}

static void
begin(struct bench *b)
{
	static const uint8_t key[RATE_KEY_SIZE] = "0123456789abcde";
	struct rlimit files = { .rlim_cur = FILES, .rlim_max = FILES };
	struct err why;

	memset(b, 0, sizeof(*b));
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	}
	kit_tree(b->dir);
	config_defaults(&b->config);
	b->config.limits = (struct rate_cfg) { 0 };
	add_class(&b->config.limits, "ip", 5);
	add_class(&b->config.limits, "free", -1);
	b->turn = (struct turn) { .known = true, .now = { 100000000 } };
	assert_int_equal(rate_new(1 << 20, key, &b->rate), 0);
	rate_configure(b->rate, &b->config.limits);
	b->base = event_base_new();
	assert_non_null(b->base);
	assert_int_equal(rateserve_new(b->base, &b->turn, b->dir, &b->config.settings, b->rate, &b->serve, &why), 0);
	rateserve_configure(b->serve, &b->config.limits);
}

static void
end(struct bench *b)
{
	rateserve_free(b->serve);
	rate_free(b->rate);
	event_base_free(b->base);
	kit_remove(b->dir);
}

/* A turn of the loop, at the time that stands in b->turn. */
static void
turn(struct bench *b)
{
	mono_t now = b->turn.now;

	turn_over(&b->turn);
	b->turn.known = true;
	b->turn.now = now;
	assert_true(event_base_loop(b->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
}

static void
turns(struct bench *b, int n)
{
	while (n-- > 0)
		turn(b);
}

/* So much later, with time for the timer to come. */
static void
later(struct bench *b, int64_t ms)
{
	b->turn.now = mono_after(b->turn.now, ms);
	(void)poll(NULL, 0, SWEEP_WAIT_MS);
	turns(b, 2);
}

static int64_t
count_of(const struct bench *b, const char *what)
{
	json_t *j = rateserve_describe(b->serve);
	int64_t n = json_integer_value(json_object_get(j, what));

	json_decref(j);
	return n;
}

/* --- clients --------------------------------------------------------------------------------- */

static int
visit(const struct bench *b)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	kit_format(to.sun_path, sizeof(to.sun_path), "%s/" RUNDIR_RATE_SOCKET, b->dir);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void
put(int fd, const char *text, size_t len)
{
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static void
say(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* What has come; "" when nothing has.  Ends in "|" when the server has hung up. */
static const char *
heard(int fd)
{
	static char text[1 << 16];
	size_t len = 0;
	ssize_t n = -1;

	while (len < sizeof(text) - 2 && (n = recv(fd, text + len, sizeof(text) - 2 - len, 0)) > 0)
		len += (size_t)n;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		text[len++] = '|';
	text[len] = '\0';
	return text;
}

static const char *
ask(struct bench *b, const char *text)
{
	static char answer[1 << 16];
	int fd = visit(b);

	say(fd, text);
	turns(b, 3);
	kit_format(answer, sizeof(answer), "%s", heard(fd));
	(void)close(fd);
	turn(b);
	return answer;
}

/* --- questions ------------------------------------------------------------------------------- */

static void
rateserve_a_question_is_answered_and_the_connection_ends(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	assert_string_equal(ask(&b, "ip 192.0.2.1\n"), "0 1/5\r\n|");
	assert_string_equal(ask(&b, "ip 192.0.2.1\r\n"), "0 2/5\r\n|");
	assert_string_equal(ask(&b, "?ip 192.0.2.1\n"), "0 2/5\r\n|");
	assert_string_equal(ask(&b, "ip 192.0.2.1\nip 192.0.2.1\n"), "0 3/5\r\n|");
	assert_string_equal(ask(&b, "free x\n"), "0 0/-1\r\n|");
	assert_string_equal(ask(&b, "ip\n"), "2 Bad Input (no space)\r\n|");
	assert_string_equal(ask(&b, "IP x\n"), "2 Class not found: IP\r\n|");
	assert_int_equal(count_of(&b, "clients"), 0);
	assert_int_equal(count_of(&b, "dropped"), 0);
	assert_int_equal(count_of(&b, "answered"), 7);
	end(&b);
}

static void
rateserve_plus_keeps_the_connection_and_the_order(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	say(fd, "+ip a\n+ip b\n+ip a\n+?ip a\n+what\n+x y\n+ip a\n");
	turns(&b, 3);
	assert_string_equal(heard(fd),
		"0 1/5\r\n0 1/5\r\n0 2/5\r\n0 2/5\r\n2 Bad Input (no space)\r\n2 Class not found: x\r\n0 3/5\r\n");
	say(fd, "ip a\n+ip a\n");
	turns(&b, 3);
	assert_string_equal(heard(fd), "0 4/5\r\n|"); /* and what follows is not counted */
	(void)close(fd);
	assert_string_equal(ask(&b, "ip a\n"), "0 5/5\r\n|");
	assert_string_equal(ask(&b, "ip a\n"), "1 6/5\r\n|");
	end(&b);
}

static void
rateserve_bytes_one_at_a_time_are_lines_all_the_same(void **state)
{
	static const char text[] = "+ip a\r\n+?ip a\n+ip a b c\nip a\n";
	struct bench b;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		put(fd, text + i, 1);
		turns(&b, 2);
	}
	assert_string_equal(heard(fd), "0 1/5\r\n0 1/5\r\n0 1/5\r\n0 2/5\r\n|");
	(void)close(fd);
	end(&b);
}

static void
rateserve_a_line_without_end_is_refused(void **state)
{
	char text[6000];
	struct bench b;

	(void)state;
	begin(&b);
	memset(text, 'x', sizeof(text));
	for (size_t n = 1001; n <= sizeof(text); n += 1666) {
		int fd = visit(&b);

		put(fd, text, n);
		turns(&b, 3);
		assert_string_equal(heard(fd), n > 1001 ? "2 Line is too long\r\n|" : "");
		(void)close(fd);
		turn(&b);
	}
	assert_int_equal(count_of(&b, "clients"), 0);
	end(&b);
}

/* --- those who give trouble ------------------------------------------------------------------ */

static void
rateserve_who_asks_nothing_has_two_seconds_and_who_stays_a_minute(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	int mute = visit(&b), half = visit(&b), kept = visit(&b), slow = visit(&b);
	say(half, "ip ");
	say(kept, "+ip a\n");
	say(slow, "+ip b\n");
	turns(&b, 3);
	later(&b, RATESERVE_DEADLINE_MS - 1);
	assert_string_equal(heard(mute), "");
	assert_string_equal(heard(half), "");
	later(&b, 1);
	assert_string_equal(heard(mute), "|");
	assert_string_equal(heard(half), "|");
	assert_string_equal(heard(kept), "0 1/5\r\n");
	say(kept, "+ip a\n");
	say(slow, "+"); /* no line: does not count as being there */
	turns(&b, 3);
	later(&b, RATESERVE_IDLE_MS - RATESERVE_DEADLINE_MS);
	assert_string_equal(heard(slow), "0 1/5\r\n|");
	assert_string_equal(heard(kept), "0 2/5\r\n");
	later(&b, RATESERVE_DEADLINE_MS);
	assert_string_equal(heard(kept), "|");
	assert_int_equal(count_of(&b, "clients"), 0);
	assert_int_equal(count_of(&b, "dropped"), 4);
	(void)close(mute);
	(void)close(half);
	(void)close(kept);
	(void)close(slow);
	end(&b);
}

static void
rateserve_a_client_that_leaves_costs_nothing(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	for (int i = 0; i < 100; i++) {
		int fd = visit(&b);

		if (i % 3 == 1)
			say(fd, "ip a");
		if (i % 3 == 2)
			say(fd, "+ip b\n+ip b\n");
		if (i % 2 == 0)
			turn(&b);
		(void)close(fd);
	}
	turns(&b, 5);
	assert_int_equal(count_of(&b, "clients"), 0);
	end(&b);
}

/* Asks without reading until nothing more is taken; returns how many. */
static unsigned
ask_without_reading(struct bench *b, int fd)
{
	static const char line[] = "+free x\n";
	unsigned lines = 0, failures = 0;

	while (failures < 10) {
		if (send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL) == sizeof(line) - 1) {
			lines++;
			failures = 0;
		} else {
			failures++;
			turn(b);
		}
	}
	return lines;
}

static void
rateserve_who_does_not_read_is_not_read_from_and_loses_nothing(void **state)
{
	struct bench b;
	unsigned answers = 0;

	(void)state;
	begin(&b);
	int fd = visit(&b);
	unsigned lines = ask_without_reading(&b, fd);
	assert_true(lines > 1000);
	int64_t taken = count_of(&b, "answered");
	turns(&b, 10);
	assert_int_equal(count_of(&b, "answered"), taken);
	assert_true(taken < lines);
	for (int quiet = 0; quiet < 10; quiet++) {
		const char *text = heard(fd);

		if (text[0] != '\0')
			quiet = 0;
		assert_null(strchr(text, '|'));
		for (; (text = strchr(text, '\n')) != NULL; text++)
			answers++;
		turn(&b);
	}
	assert_int_equal(answers, lines);
	(void)close(fd);
	end(&b);
}

static void
rateserve_more_who_do_not_read_than_there_are_buffers(void **state)
{
	enum { MANY = RATESERVE_STALLED + 8 };
	struct bench b;
	int fd[MANY];

	(void)state;
	begin(&b);
	for (int i = 0; i < MANY; i++) {
		fd[i] = visit(&b);
		(void)ask_without_reading(&b, fd[i]);
	}
	/* all are new: the last ones find no buffer and go */
	assert_int_equal(count_of(&b, "clients"), RATESERVE_STALLED);
	b.turn.now = mono_after(b.turn.now, 5000);
	int late = visit(&b);
	(void)ask_without_reading(&b, late);
	/* now there are some that took nothing for a while: one of them goes */
	assert_int_equal(count_of(&b, "clients"), RATESERVE_STALLED);
	assert_int_equal(count_of(&b, "dropped"), 9);
	assert_string_equal(ask(&b, "ip x\n"), "0 1/5\r\n|");
	for (int i = 0; i < MANY; i++)
		(void)close(fd[i]);
	(void)close(late);
	end(&b);
}

static void
rateserve_when_all_places_are_taken_the_mute_go_first(void **state)
{
	enum { MANY = RATESERVE_CLIENTS + 100 };
	static int fd[MANY];
	struct rlimit files;
	struct bench b;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_cur < FILES && files.rlim_max < FILES)
		skip();
	begin(&b);
	int kept = visit(&b);
	say(kept, "+ip k\n");
	turns(&b, 2);
	for (int i = 0; i < MANY; i++) {
		fd[i] = visit(&b);
		turn(&b);
		b.turn.now = mono_after(b.turn.now, 1);
	}
	assert_int_equal(count_of(&b, "clients"), RATESERVE_CLIENTS);
	assert_string_equal(heard(fd[0]), "|");
	assert_string_equal(heard(fd[100]), "|");
	assert_string_equal(heard(fd[101]), "");
	/* among them one is answered, and nobody goes for it */
	assert_string_equal(ask(&b, "ip x\n"), "0 1/5\r\n|");
	say(kept, "+ip k\n");
	turns(&b, 2);
	assert_string_equal(heard(kept), "0 1/5\r\n0 2/5\r\n");
	for (int i = 0; i < MANY; i++)
		(void)close(fd[i]);
	(void)close(kept);
	turns(&b, 40);
	assert_int_equal(count_of(&b, "clients"), 0);
	end(&b);
}

static void
rateserve_when_all_places_are_taken_by_those_who_stay_one_who_asks_is_answered(void **state)
{
	static int fd[RATESERVE_CLIENTS];
	struct rlimit files;
	struct bench b;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_cur < FILES && files.rlim_max < FILES)
		skip();
	begin(&b);
	for (int i = 0; i < RATESERVE_CLIENTS; i++) {
		fd[i] = visit(&b);
		say(fd[i], "+free x\n");
		turns(&b, 1);
		b.turn.now = mono_after(b.turn.now, 1);
	}
	turns(&b, 40);
	assert_int_equal(count_of(&b, "clients"), RATESERVE_CLIENTS);
	int late = visit(&b); /* says nothing yet */
	turns(&b, 2);
	assert_string_equal(heard(fd[0]), "0 0/-1\r\n|");
	assert_string_equal(heard(fd[1]), "0 0/-1\r\n");
	say(late, "ip x\n");
	turns(&b, 2);
	assert_string_equal(heard(late), "0 1/5\r\n|");
	for (int i = 0; i < RATESERVE_CLIENTS; i++)
		(void)close(fd[i]);
	(void)close(late);
	end(&b);
}

/* Twenty who send without end, and one who asks: a turn is short, and he is not the last. */
static void
rateserve_a_flood_has_a_budget_and_delays_nobody(void **state)
{
	enum { FLOOD = 20, LINES = 500 };
	static char text[LINES * 8 + 1];
	struct bench b;
	int fd[FLOOD];

	(void)state;
	begin(&b);
	for (int i = 0; i < LINES; i++)
		memcpy(text + i * 8, "+free x\n", 8);
	for (int i = 0; i < FLOOD; i++) {
		fd[i] = visit(&b);
		say(fd[i], "+free x\n");
	}
	turns(&b, 3);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < FLOOD; i++)
			(void)send(fd[i], text, LINES * 8, MSG_NOSIGNAL);
		int64_t before = count_of(&b, "answered");
		int one = visit(&b);
		say(one, "free y\n");
		turn(&b);
		assert_in_range(count_of(&b, "answered") - before, 1, RATESERVE_A_TURN + 600);
		turns(&b, 1);
		assert_string_equal(heard(one), "0 0/-1\r\n|");
		(void)close(one);
		for (int i = 0; i < FLOOD; i++)
			(void)heard(fd[i]);
	}
	for (int i = 0; i < FLOOD; i++) {
		for (int k = 0; k < 50; k++) {
			turn(&b);
			(void)heard(fd[i]);
		}
		(void)close(fd[i]);
	}
	turns(&b, 3);
	assert_int_equal(count_of(&b, "answered"), 20 * (FLOOD * LINES + 1) + FLOOD);
	assert_int_equal(count_of(&b, "clients"), 0);
	end(&b);
}

static void
rateserve_without_descriptors_who_waits_makes_room_for_who_comes(void **state)
{
	struct bench b;

	(void)state;
	if (kit_is_slow())
		skip(); /* valgrind accepts, and closes what is beyond its limit */
	begin(&b);
	int mute = visit(&b);
	turns(&b, 2);
	int one = visit(&b);
	say(one, "ip x\n");
	kit_limit_fds(0);
	turns(&b, 4);
	kit_limit_fds(-1);
	assert_string_equal(heard(one), "0 1/5\r\n|");
	assert_string_equal(heard(mute), "|");
	(void)close(one);
	(void)close(mute);
	end(&b);
}

static void
rateserve_without_descriptors_and_without_clients_it_pauses(void **state)
{
	struct bench b;

	(void)state;
	if (kit_is_slow())
		skip(); /* valgrind accepts, and closes what is beyond its limit */
	begin(&b);
	int one = visit(&b);
	say(one, "ip x\n");
	kit_limit_fds(0);
	turns(&b, 2);
	int64_t number = 0;
	for (; number < 5 && event_base_get_num_events(b.base, EVENT_BASE_COUNT_ACTIVE) == 0; number++)
		turn(&b);
	assert_int_equal(number, 5); /* the loop is not woken again and again */
	kit_limit_fds(-1);
	assert_string_equal(heard(one), "");
	(void)poll(NULL, 0, 1100);
	turns(&b, 3);
	assert_string_equal(heard(one), "0 1/5\r\n|");
	(void)close(one);
	end(&b);
}

/* --- TCP ------------------------------------------------------------------------------------- */

static int
tcp_listener(uint16_t *ret_port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static void
rateserve_a_tcp_port_that_is_taken_is_taken_over_when_it_is_free(void **state)
{
	struct bench b;
	struct err why;
	uint16_t port;

	(void)state;
	begin(&b);
	rateserve_free(b.serve);
	int other = tcp_listener(&port);
	b.config.settings.port = port;
	assert_int_equal(rateserve_new(b.base, &b.turn, b.dir, &b.config.settings, b.rate, &b.serve, &why), 0);
	rateserve_configure(b.serve, &b.config.limits);
	assert_string_equal(ask(&b, "ip x\n"), "0 1/5\r\n|"); /* the other socket is served meanwhile */
	(void)close(other);
	(void)poll(NULL, 0, 5200);
	turns(&b, 2);
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	say(fd, "ip x\n");
	for (int i = 0; i < 20 && count_of(&b, "answered") < 2; i++) {
		(void)poll(NULL, 0, 5);
		turn(&b);
	}
	assert_string_equal(heard(fd), "0 2/5\r\n|");
	(void)close(fd);
	end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rateserve_a_question_is_answered_and_the_connection_ends),
		cmocka_unit_test(rateserve_plus_keeps_the_connection_and_the_order),
		cmocka_unit_test(rateserve_bytes_one_at_a_time_are_lines_all_the_same),
		cmocka_unit_test(rateserve_a_line_without_end_is_refused),
		cmocka_unit_test(rateserve_who_asks_nothing_has_two_seconds_and_who_stays_a_minute),
		cmocka_unit_test(rateserve_a_client_that_leaves_costs_nothing),
		cmocka_unit_test(rateserve_who_does_not_read_is_not_read_from_and_loses_nothing),
		cmocka_unit_test(rateserve_more_who_do_not_read_than_there_are_buffers),
		cmocka_unit_test(rateserve_when_all_places_are_taken_the_mute_go_first),
		cmocka_unit_test(rateserve_when_all_places_are_taken_by_those_who_stay_one_who_asks_is_answered),
		cmocka_unit_test(rateserve_a_flood_has_a_budget_and_delays_nobody),
		cmocka_unit_test(rateserve_without_descriptors_who_waits_makes_room_for_who_comes),
		cmocka_unit_test(rateserve_without_descriptors_and_without_clients_it_pauses),
		cmocka_unit_test(rateserve_a_tcp_port_that_is_taken_is_taken_over_when_it_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
