/* SPDX-License-Identifier: ISC */
/* test_replay - what a configuration would have done: floods, abuse, collateral; logs put in order; what can't be read */
#include "tests/unit/kit.h"

#include "controller/replay.h"
#include "controller/replaylog.h"

#define T0 INT64_C(1795220000000)

static struct config config;
static struct replay *r;
static unsigned number; /* of the last message */

static void
configure(const char *text)
{
	struct config_errors errors;

	if (config_load_text("test", text, strlen(text), &config, &errors) < 0)
		fail_msg("%s", errors.e[0].text);
}

static void
begin(const char *text)
{
	configure(text);
	number = 0;
	assert_int_equal(replay_new(&config, 100, &r), 0);
}

static void say(int64_t ms, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line at T0 + ms; of whichever log has it. */
static void
say(int64_t ms, const char *fmt, ...)
{
	char s[512];
	struct logline l;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	assert_true(n > 0 && (size_t)n < sizeof(s));
	if (!logline_parse(s, (size_t)n, LOG_SEND, &l))
		assert_true(logline_parse(s, (size_t)n, LOG_SERVER, &l));
	replay_line(r, &l, (wall_t) { T0 + ms });
}

/* `rate` messages a second come for `seconds`, `drained` of them leave. */
static void
flood(int64_t from_ms, int seconds, int rate, int drained, unsigned uid)
{
	for (int s = 0; s < seconds; s++) {
		for (int i = 0; i < rate; i++) {
			int64_t ms = from_ms + s * 1000 + i * 1000 / rate;

			number++;
			say(ms, "info msg %u: bytes 200 from <a@b> qp %u uid %u", number, number, uid);
			if (i < drained)
				say(ms, "end msg %u", number);
		}
	}
}

static void
a_flood_closes_the_gate_and_its_end_opens_it(void **state)
{
	(void)state;
	begin("");
	flood(0, 20, 5, 5, 100);
	flood(20000, 30, 400, 100, 100);
	flood(50000, 120, 2, 2, 100);
	say(900000, "status: local 0/10 remote 0/20");
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->messages, 100 + 12000 + 240);
	assert_int_equal(t->strangers, t->messages);
	assert_int_equal(t->episodes, 1);
	assert_in_range(t->episode[0].began.ms - T0, 21000, 28000);
	assert_int_equal(t->episode[0].why.id, READING_GROWTH);
	assert_in_range(t->episode[0].ended.ms - T0, 50000, 200000);
	assert_in_range(t->refused, 6000, 11000); /* most of what came behind the closed gate */
	assert_int_equal(t->episode[0].refused <= t->refused, 1);
	assert_true(t->from.ms == T0 && t->to.ms == T0 + 900000);
	replay_free(r);
}

static void
mail_of_own_users_is_never_put_off(void **state)
{
	(void)state;
	begin("");
	flood(0, 30, 400, 100, 100);
	flood(30000, 10, 50, 50, 1000);
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->episodes, 1);
	uint64_t refused = t->refused;
	replay_free(r);
	begin("");
	flood(0, 30, 400, 100, 100);
	t = replay_end(r);
	assert_int_equal(t->refused, refused);
	replay_free(r);
}

static void
ordinary_days_close_nothing(void **state)
{
	(void)state;
	begin("");
	for (int hour = 0; hour < 24; hour++)
		flood(hour * INT64_C(3600000), 60, 1 + hour % 7 * 5, 1 + hour % 7 * 5, 100);
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->episodes + t->refused, 0);
	assert_true(t->level_ms[LEVEL_NORMAL] > 0 && t->level_ms[LEVEL_OVERLOADED] == 0);
	replay_free(r);
}

static const char limits[] = "limits = { ip = ((\"*\", 60, 10)); }; plugins = { connection = [ \"ipthrottle\" ]; };"
	" blocks = { allow = [ \"192.0.2.99\" ]; ipsvd = { dir = \"/etc/spillway/ipsvd\"; timeout = \"2m\"; }; };";

static void
connect_often(const char *ip, int64_t from_ms, int n, int64_t every_ms)
{
	for (int i = 0; i < n; i++)
		say(from_ms + i * every_ms, "tcpsvd: info: pid %d from %s", 1000 + i, ip);
}

static void
who_comes_too_often_is_blocked_and_comes_again(void **state)
{
	const struct replay_client *worst[4];

	(void)state;
	begin(limits);
	connect_often("198.51.100.7", 0, 100, 500);
	connect_often("192.0.2.99", 60000, 100, 10); /* on the allow list */
	connect_often("127.0.0.1", 62000, 100, 10);
	connect_often("198.51.100.8", 70000, 5, 1000);
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->connections, 305);
	assert_int_equal(t->blocks, 1);
	assert_int_equal(t->turned_away, 89); /* the eleventh was too much */
	assert_int_equal(t->limited, 1 + 90 + 90);
	assert_int_equal(t->clients, 1);
	assert_int_equal(replay_worst(r, 4, worst), 1);
	assert_int_equal(worst[0]->turned_away, 89);
	assert_int_equal(t->harmed, 0);
	replay_free(r);
}

/* Marks that led to a block have done their work, as in the engine. */
static void
after_a_block_one_connection_is_no_offence(void **state)
{
	(void)state;
	begin("limits = { ip = ((\"*\", 3600, 10)); }; plugins = { connection = [ \"ipthrottle\" ]; };"
		" blocks = { dry_run = true; };");
	connect_often("198.51.100.7", 0, 20, 10);
	say(200000, "tcpsvd: info: pid 5 from 198.51.100.7");
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->blocks, 1);
	assert_int_equal(t->limited, 1);
	assert_int_equal(t->turned_away, 9);
	replay_free(r);
}

/* What is in the log all the same was accepted: with the blocks it would have been lost, or, later, was worth a thought. */
static void
mail_of_the_blocked_is_told(void **state)
{
	struct ip ip, other;

	(void)state;
	assert_int_equal(ip_parse("198.51.100.7", &ip), 0);
	assert_int_equal(ip_parse("198.51.100.9", &other), 0);
	begin(limits);
	replay_accepted(r, &ip, (wall_t) { T0 }); /* nobody is blocked yet */
	connect_often("198.51.100.7", 1000, 20, 100);
	replay_accepted(r, &ip, (wall_t) { T0 + 4000 });
	replay_accepted(r, &other, (wall_t) { T0 + 4000 });
	replay_accepted(r, &ip, (wall_t) { T0 + 4000000 });
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->harmed, 1);
	assert_int_equal(t->lost, 1);
	assert_int_equal(t->later, 1);
	replay_free(r);
}

static void
without_limits_nobody_is_turned_away(void **state)
{
	(void)state;
	begin("");
	connect_often("198.51.100.7", 0, 1000, 1);
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->limited + t->blocks + t->turned_away, 0);
	replay_free(r);
}

static void
the_same_lines_give_the_same_result(void **state)
{
	struct replay_result first;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin(limits);
		flood(0, 30, 300, 100, 100);
		for (int k = 0; k < 20; k++) {
			char ip[IP_TEXT_MAX];

			kit_format(ip, sizeof(ip), "198.51.100.%d", k + 1);
			connect_often(ip, 30000 + k * 1000, 50, 20);
		}
		const struct replay_result *t = replay_end(r);
		if (i == 0)
			first = *t;
		assert_int_equal(t->blocks, first.blocks);
		assert_int_equal(t->turned_away, first.turned_away);
		assert_int_equal(t->refused, first.refused);
		assert_int_equal(t->episodes, first.episodes);
		replay_free(r);
	}
}

/* Messages come and go; those that are there are what the queue holds, however numbers collide. */
static void
the_queue_is_followed_exactly(void **state)
{
	struct dice d = dice_new();
	static uint64_t there[5000];
	size_t n = 0;

	(void)state;
	begin("");
	for (int i = 0; i < kit_rounds(100000); i++) {
		if (n < countof(there) && dice_below(&d, 2) == 0) {
			there[n] = dice_below(&d, 1000000) + 1;
			bool known = false;
			for (size_t k = 0; k < n && !known; k++)
				known = there[k] == there[n];
			say(i, "info msg %llu: bytes 1 from <> qp 1 uid 5", (unsigned long long)there[n]);
			n += !known;
		} else if (n > 0) {
			size_t k = dice_below(&d, (unsigned)n);

			say(i, "end msg %llu", (unsigned long long)there[k]);
			there[k] = there[--n];
		}
		say(i, "end msg %u", 2000000 + dice_below(&d, 1000)); /* not ours */
	}
	while (n > 0)
		say(kit_rounds(100000), "end msg %llu", (unsigned long long)there[--n]);
	assert_int_equal(replay_end(r)->untracked, 0);
	replay_free(r);
}

/* --- logs ------------------------------------------------------------------------------------ */

static char tree[KIT_PATH_MAX];

static int
make_tree(void **state)
{
	(void)state;
	kit_tree(tree);
	return 0;
}

static int
remove_tree(void **state)
{
	(void)state;
	kit_remove(tree);
	return 0;
}

/* Opens files of the tree, "-"-separated; returns the records as one text. */
static int
read_logs(const char *const *names, size_t n, char ret[4096], struct replaylog_progress *progress, bool *shared)
{
	static char path[8][KIT_PATH_MAX];
	char *paths[8];
	struct replaylog *log = NULL;
	struct replaylog_record rec;
	struct err why = { "" };
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		kit_format(path[i], sizeof(path[i]), "%s/%s", tree, names[i]);
		paths[i] = path[i];
	}
	ret[0] = '\0';
	int e = replaylog_open(paths, n, &log, &why);
	while (e >= 0 && (e = replaylog_next(log, &rec, &why)) > 0)
		len += (size_t)snprintf(ret + len, 4096 - len, "%lld:%llu ", (long long)rec.at.ms,
			(unsigned long long)(rec.is_line ? rec.line.number : 0));
	if (log != NULL && progress != NULL)
		*progress = replaylog_progress(log);
	if (log != NULL && shared != NULL)
		*shared = replaylog_is_shared(log);
	replaylog_close(log);
	return e;
}

static void
logs_are_one_in_the_order_of_time(void **state)
{
	char got[4096];
	struct replaylog_progress p;
	bool shared;

	(void)state;
	kit_puts(tree, "a", "1970-01-01_00:00:01.0 new msg 1\n1970-01-01_00:00:03.0 new msg 3\nnew msg 33\n"
		"1970-01-01_00:00:05.0 nonsense\n1970-01-01_00:00:06.0 end msg 6\n");
	kit_puts(tree, "b", "1970-01-01_00:00:02.0 tcpserver: pid 2 from 192.0.2.1\n"
		"1970-01-01_00:00:04.0 tcpserver: pid 4 from 192.0.2.1\n1970-01-01_00:00:07.0 tcpserver: pid 7 from 1");
	const char *const both[] = { "a", "b" }, *const swapped[] = { "b", "a" };
	assert_int_equal(read_logs(both, 2, got, &p, &shared), 0);
	assert_string_equal(got, "1000:1 2000:2 3000:3 3000:33 4000:4 6000:6 ");
	assert_int_equal(p.lines, 7);
	assert_false(shared);
	assert_int_equal(read_logs(swapped, 2, got, &p, &shared), 0);
	assert_string_equal(got, "1000:1 2000:2 3000:3 3000:33 4000:4 6000:6 ");
}

static void
a_directory_is_read_oldest_first(void **state)
{
	char got[4096];
	const char *const names[] = { "d" };

	(void)state;
	kit_mkdir(tree, "d");
	kit_puts(tree, "d/current", "1970-01-01_00:00:05.0 new msg 5\n");
	kit_puts(tree, "d/@400000006b00e4032f05e52c.s", "1970-01-01_00:00:03.0 new msg 3\n");
	kit_puts(tree, "d/@400000006b00e4022f05e52c.u", "1970-01-01_00:00:01.0 new msg 1\n");
	kit_puts(tree, "d/state", "1970-01-01_00:00:01.0 new msg 9\n");
	assert_int_equal(read_logs(names, 1, got, NULL, NULL), 0);
	assert_string_equal(got, "1000:1 3000:3 5000:5 ");
}

static void
an_archive_of_refusals_is_a_log(void **state)
{
	char got[4096];
	const char *const names[] = { "refusals.jsonl", "a" };

	(void)state;
	kit_puts(tree, "a", "1970-01-01_00:00:02.0 new msg 2\n{\"time\": \"1970-01-01T00:00:01.000Z\"}\n");
	kit_puts(tree, "refusals.jsonl", "{\"time\": \"1970-01-01T00:00:01.500Z\", \"id\": \"x\", \"rule\": \"overload\", "
		"\"stage\": \"mail\", \"ip\": \"192.0.2.1\", \"helo\": \"x\", \"sender\": \"\", \"recipient\": \"\", "
		"\"reply\": 451, \"pid\": 7}\nnew msg 5\n");
	assert_int_equal(read_logs(names, 2, got, NULL, NULL), 0);
	assert_string_equal(got, "1500:0 2000:2 ");
}

/* While the gate would be closed, they would be refused again; while it is open, not. */
static void
what_was_refused_is_offered_again(void **state)
{
	(void)state;
	begin("");
	replay_refused(r, CHECK_OVERLOAD, 1, (wall_t) { T0 });
	replay_refused(r, CHECK_IPTHROTTLE, 1, (wall_t) { T0 });
	flood(0, 20, 400, 100, 100);
	replay_refused(r, CHECK_OVERLOAD, 2, (wall_t) { T0 + 20000 });
	const struct replay_result *t = replay_end(r);
	assert_int_equal(t->archived, 3);
	assert_int_equal(t->offered, 2);
	assert_int_equal(t->again, 1);
	replay_free(r);
}

static void
lines_of_others_make_a_log_shared(void **state)
{
	char got[4096];
	const char *const names[] = { "s" };
	struct replaylog_progress p;
	bool shared;

	(void)state;
	kit_puts(tree, "s", "1970-01-01_00:00:01.0 tcpserver: status: 0/3\n1970-01-01_00:00:01.0 qmail-smtpd: hello\n"
		"1970-01-01_00:00:01.0 status: local 0/200 remote 0/20\n");
	assert_int_equal(read_logs(names, 1, got, &p, &shared), 0);
	assert_true(shared);
	assert_string_equal(got, "1000:0 "); /* what looks like qmail-send's is not */
}

static void
what_can_not_be_read_is_told(void **state)
{
	char got[4096], line[8192];
	const char *const missing[] = { "missing" }, *const plain[] = { "plain" }, *const lines[] = { "long" };
	struct replaylog_progress p;

	(void)state;
	assert_int_equal(read_logs(missing, 1, got, NULL, NULL), -ENOENT);
	line[0] = '\0';
	for (int i = 0; i < 200; i++)
		(void)strcat(line, "new msg 1\n");
	kit_puts(tree, "plain", line);
	assert_int_equal(read_logs(plain, 1, got, NULL, NULL), -EINVAL);
	memset(line, 'x', 6000);
	(void)strcpy(line + 6000, "\n1970-01-01_00:00:01.0 new msg 1\n");
	kit_puts(tree, "long", line);
	assert_int_equal(read_logs(lines, 1, got, &p, NULL), 0);
	assert_string_equal(got, "1000:1 ");
	assert_int_equal(p.cut, 1);
}

static void
accepted_mail_is_read_from_the_end(void **state)
{
	static const struct {
		const char *line, *want;
	} rows[] = {
		{ "qlogenvelope: result=accepted code=250 helo=x mailfrom=a@b remoteip=192.0.2.1 remoteport=43177 remotehost= "
			"qp=5 pid=23102", "192.0.2.1" },
		{ "qlogenvelope: result=accepted code=250 helo=x remoteip=9.9.9.9 remoteport=1 remotehost= qp=5 pid=1 "
			"mailfrom=a@b remoteip=192.0.2.1 remoteport=43177 remotehost= qp=5 pid=23102", "192.0.2.1" },
		{ "qlogenvelope: result=rejected code=553 helo=x remoteip=192.0.2.1 remoteport=43177 remotehost= qp= pid=2",
			NULL },
		{ "qlogenvelope: result=accepted code=250 helo=x remoteip=192.0.2.1 remoteport=43177 remotehost= qp=5 pid=2 ",
			NULL },
		{ "qlogenvelope: result=accepted remoteip=192.0.2.1", NULL },
		{ "qlogenvelope: result=accepted ", NULL }, { "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[IP_TEXT_MAX] = "";
		struct ip ip;
		bool found = replaylog_accepted(rows[i].line, strlen(rows[i].line), &ip);

		if (found)
			ip_format(&ip, text);
		assert_string_equal(text, rows[i].want != NULL ? rows[i].want : "");
		assert_int_equal(found, rows[i].want != NULL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_closes_the_gate_and_its_end_opens_it),
		cmocka_unit_test(mail_of_own_users_is_never_put_off),
		cmocka_unit_test(ordinary_days_close_nothing),
		cmocka_unit_test(who_comes_too_often_is_blocked_and_comes_again),
		cmocka_unit_test(after_a_block_one_connection_is_no_offence),
		cmocka_unit_test(mail_of_the_blocked_is_told),
		cmocka_unit_test(without_limits_nobody_is_turned_away),
		cmocka_unit_test(the_same_lines_give_the_same_result),
		cmocka_unit_test(the_queue_is_followed_exactly),
		cmocka_unit_test_setup_teardown(logs_are_one_in_the_order_of_time, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(a_directory_is_read_oldest_first, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(lines_of_others_make_a_log_shared, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(an_archive_of_refusals_is_a_log, make_tree, remove_tree),
		cmocka_unit_test(what_was_refused_is_offered_again),
		cmocka_unit_test_setup_teardown(what_can_not_be_read_is_told, make_tree, remove_tree),
		cmocka_unit_test(accepted_mail_is_read_from_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
