/* SPDX-License-Identifier: ISC */
/* test_logs - the probe: readings of the last minute by the lines' stamps, several logs, silence, restarts, own mail */
#include "tests/unit/kit.h"

#include <poll.h>

#include "probes/probe.h"
#include "probes/sendlog.h"

static char tree[KIT_PATH_MAX];
static struct probe_logs_cfg cfg;
static struct cfg_list homes;
static struct probe_env env;
static void *probe;
static mono_t now;
static struct probe_sample sample;
static struct err why;
static char sent[4096]; /* "sender>recipient " of each delivery, in order */

static void
note(const struct sendlog_delivery *d, void *arg)
{
	size_t n = strlen(sent);

	assert_ptr_equal(arg, &cfg);
	(void)snprintf(sent + n, sizeof(sent) - n, "%.*s>%.*s ", (int)d->sender.n, d->sender_known ? d->sender.at : "",
		(int)d->recipient.n, d->recipient.at);
}

static void
add_log(struct cfg_list *list, const char *name)
{
	kit_format(list->s[list->n++], CFG_STRING_MAX, "%s/%s", tree, name);
}

static int
setup(void **state)
{
	static char state_dir[KIT_PATH_MAX];

	(void)state;
	kit_tree(tree);
	kit_mkdir(tree, "state");
	kit_mkdir(tree, "send");
	kit_mkdir(tree, "smtpd");
	kit_path(state_dir, tree, "state");
	memset(&cfg, 0, sizeof(cfg));
	cfg.every_ms = 1000;
	cfg.stale_ms = 3600000;
	env = (struct probe_env) { .homes = &homes, .state_dir = state_dir, .sent = note, .sent_arg = &cfg };
	now = mono_now();
	sent[0] = '\0';
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	probe_logs.free(probe);
	probe = NULL;
	kit_remove(tree);
	return 0;
}

static void
begin(void)
{
	probe_logs.free(probe);
	probe = NULL;
	assert_int_equal(probe_logs.init(&env, &cfg, &probe), 0);
}

static int
look(void)
{
	int r;

	do {
		memset(&sample, 0, sizeof(sample));
		r = probe_logs.sample(probe, now, &sample, &why);
	} while (r == PROBE_MORE);
	assert_true(sample.due.ms > now.ms);
	return r;
}

static void append(const char *name, int64_t ago_ms, const char *text);

/* A line with a label of `ago_ms` before this moment of the probe's clock; -1: without one. */
static void
append(const char *name, int64_t ago_ms, const char *text)
{
	char at[KIT_PATH_MAX], line[1024];
	int64_t ms = wall_now().ms - mono_now().ms + now.ms - ago_ms;

	kit_path(at, tree, name);
	if (ago_ms < 0)
		kit_format(line, sizeof(line), "%s\n", text);
	else
		kit_format(line, sizeof(line), "@%016llx%08llx %s\n",
			(unsigned long long)ms / 1000 + 10 + (1ull << 62), (unsigned long long)ms % 1000 * 1000000, text);
	int fd = open(at, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	(void)close(fd);
}

static void
check(enum reading_id id, double want)
{
	assert_true((sample.told & 1u << id) != 0);
	if (sample.value[id].value < want || sample.value[id].value > want)
		fail_msg("%s is %f, not %f", reading_info[id].name, sample.value[id].value, want);
}

static void
nothing_is_named_nothing_is_done(void **state)
{
	(void)state;
	begin();
	assert_int_equal(look(), -ENODATA);
	assert_int_equal(probe_logs.fd(probe), -1);
}

static void
a_minute_is_told_by_the_stamps(void **state)
{
	(void)state;
	add_log(&cfg.send, "send");
	append("send/current", 90000, "delivery 1: success: ok/");
	append("send/current", 50000, "delivery 2: success: ok/");
	append("send/current", 40000, "delivery 3: deferral: not_yet/");
	append("send/current", 30000, "delivery 4: failure: no/");
	append("send/current", 20000, "bounce msg 7 qp 8");
	append("send/current", 10000, "status: local 3/10 remote 15/20");
	begin();
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 1);
	check(READING_DEFERRALS, 1);
	check(READING_FAILURES, 1);
	check(READING_BOUNCES, 1);
	check(READING_LOCAL_BUSY, 3);
	check(READING_REMOTE_BUSY, 15);
	check(READING_LOCAL_SHARE, 30);
	check(READING_REMOTE_SHARE, 75);
	assert_int_equal(sample.told & 1u << READING_REJECTIONS, 0); /* no log of a server is named */
	now = mono_after(now, 15000);
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 0);
	check(READING_FAILURES, 1);
	now = mono_after(now, 60000);
	assert_int_equal(look(), 0);
	check(READING_BOUNCES, 0);
	check(READING_REMOTE_BUSY, 15);
}

static void
lines_without_stamps_count_when_they_come(void **state)
{
	(void)state;
	add_log(&cfg.send, "send");
	append("send/current", -1, "delivery 1: success: ok/");
	append("send/current", -1, "status: local 1/10 remote 0/20");
	begin();
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 0); /* it may be years old */
	check(READING_LOCAL_BUSY, 1);
	append("send/current", -1, "delivery 2: success: ok/");
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 1);
}

static void
several_logs_add_up(void **state)
{
	(void)state;
	kit_mkdir(tree, "send2");
	add_log(&cfg.send, "send");
	add_log(&cfg.send, "send2");
	add_log(&cfg.server, "smtpd");
	add_log(&cfg.shared, "plain");
	append("send/current", 1000, "status: local 1/10 remote 2/20");
	append("send2/current", 1000, "status: local 2/4 remote 3/10");
	append("send/current", 1000, "delivery 1: success: ok/");
	append("send2/current", 1000, "delivery 1: success: ok/");
	append("smtpd/current", 1000, "tcpsvd: info: deny 1 mx:192.0.2.1 ::192.0.2.7:1 ");
	append("smtpd/current", 1000, "rblsmtpd: 192.0.2.7 pid 1: 451 later"); /* not tcpsvd's: somebody forged it */
	append("plain", 1000, "rblsmtpd: 192.0.2.7 pid 1: 451 later");
	append("plain", 1000, "tcpserver: drop connection");
	append("plain", 1000, "status: local 200/200 remote 200/200"); /* not qmail-send's */
	begin();
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 2);
	check(READING_LOCAL_BUSY, 3);
	check(READING_REMOTE_BUSY, 5);
	check(READING_LOCAL_SHARE, 50);
	check(READING_REMOTE_SHARE, 30);
	check(READING_REJECTIONS, 3);
}

static void
one_log_that_can_not_be_read_makes_all_unknown(void **state)
{
	(void)state;
	add_log(&cfg.send, "send");
	add_log(&cfg.send, "missing");
	append("send/current", 1000, "delivery 1: success: ok/");
	begin();
	assert_int_equal(look(), -ENOENT);
	assert_non_null(strstr(why.text, "missing"));
	kit_mkdir(tree, "missing");
	append("missing/current", 1000, "delivery 1: success: ok/");
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 2); /* the other was read meanwhile */
}

static void
a_log_that_has_fallen_silent_is_unknown(void **state)
{
	(void)state;
	add_log(&cfg.send, "send");
	append("send/current", 1000, "status: local 1/10 remote 2/20");
	begin();
	assert_int_equal(look(), 0);
	now = mono_after(now, cfg.stale_ms);
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 0);
	now = mono_after(now, 1);
	assert_int_equal(look(), 0);
	assert_int_equal(sample.told, 0);
	append("send/current", 0, "end msg 1");
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 0);
	cfg.stale_ms = 0;
	now = mono_after(now, 86400000);
	assert_int_equal(look(), 0);
	assert_true(sample.told != 0);
}

static void
own_mail_is_handed_on_in_order_and_once(void **state)
{
	(void)state;
	add_log(&cfg.send, "send");
	append("send/current", 5000, "info msg 7: bytes 1 from <a@x> qp 1 uid 0");
	append("send/current", 5000, "starting delivery 1: msg 7 to remote b@y");
	append("send/current", 4000, "starting delivery 2: msg 7 to local c@x");
	append("send/current", 3000, "delivery 2: success: ok/");
	begin();
	assert_int_equal(look(), 0);
	assert_string_equal(sent, "a@x>c@x ");
	append("send/current", 2000, "delivery 1: success: 192.0.2.1_accepted_message./");
	assert_int_equal(look(), 0);
	assert_string_equal(sent, "a@x>c@x a@x>b@y ");
	begin(); /* another engine */
	assert_int_equal(look(), 0);
	append("send/current", 1000, "info msg 8: bytes 1 from <d@x> qp 1 uid 0");
	append("send/current", 1000, "starting delivery 3: msg 8 to remote e@y");
	append("send/current", 1000, "delivery 3: deferral: later/");
	assert_int_equal(look(), 0);
	assert_string_equal(sent, "a@x>c@x a@x>b@y d@x>e@y ");
}

static void
a_line_wakes_us(void **state)
{
	struct pollfd p = { .events = POLLIN };

	(void)state;
	add_log(&cfg.send, "send");
	append("send/current", 1000, "status: local 1/10 remote 2/20");
	begin();
	assert_int_equal(look(), 0);
	assert_int_equal(look(), 0); /* what came of the watches themselves */
	p.fd = probe_logs.fd(probe);
	assert_int_equal(poll(&p, 1, 0), 0);
	append("send/current", 0, "delivery 2: success: ok/");
	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(look(), 0);
	check(READING_DELIVERIES, 1);
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void
facts_are_never_too_many(void **state)
{
	struct probe_fact fact[PROBE_FACTS_MAX];
	char name[16];

	(void)state;
	for (int i = 0; i < CFG_LIST_MAX; i++) {
		kit_format(name, sizeof(name), "log%d", i);
		add_log(&cfg.send, name);
		append(name, 1000, "new msg 1");
	}
	begin();
	assert_int_equal(look(), 0);
	assert_in_range(probe_logs.facts(probe, fact), 10, PROBE_FACTS_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_named_nothing_is_done),
		TEST(a_minute_is_told_by_the_stamps),
		TEST(lines_without_stamps_count_when_they_come),
		TEST(several_logs_add_up),
		TEST(one_log_that_can_not_be_read_makes_all_unknown),
		TEST(a_log_that_has_fallen_silent_is_unknown),
		TEST(own_mail_is_handed_on_in_order_and_once),
		TEST(a_line_wakes_us),
		TEST(facts_are_never_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
