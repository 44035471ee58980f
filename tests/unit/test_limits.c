/* SPDX-License-Identifier: ISC */
/*
 * What becomes of a refusal: one id, a few lines in the log, a bounded number of rows, whatever an attacker does.  Rows of the
 * failure list: S1, S5, R7, R12.
 *
 * The clock is ours, the recorder is a socket that we read, the log is a file.
 */
#include <sys/socket.h>

#include "controller/engine_state.h"
#include "tests/unit/kit.h"

static struct engine e;
static int line[2]; /* the journal's, ours */
static int log_fd, old_stderr;
static char tree[KIT_PATH_MAX];

static void
on_done(uint64_t id, bool ok, const char *text, void *arg)
{
	(void)id;
	(void)ok;
	(void)text;
	(void)arg;
}

static void
on_override(const struct store_override *o, void *arg)
{
	(void)o;
	(void)arg;
}

static void
limit(const char *name, const char *pattern, int64_t window_ms, int64_t count)
{
	struct rate_cfg *cfg = &e.config.limits;
	struct rate_class *c = &cfg->class[cfg->n_classes++];
	struct rate_limit *l = &cfg->limit[cfg->n_limits];

	*c = (struct rate_class) { .first = cfg->n_limits++, .n = 1 };
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	assert_int_equal(rate_limit_set_pattern(l, pattern), 0);
	l->window_ms = window_ms;
	l->count = count;
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
	static const int size = 1 << 22;
	char path[KIT_PATH_MAX];
	struct err why;

	(void)state;
	memset(&e, 0, sizeof(e));
	kit_tree(tree);
	config_defaults(&e.config);
	(void)snprintf(e.config.service.run_dir, sizeof(e.config.service.run_dir), "%.199s", tree);
	limit("ip", "*", 10000, 1);
	limit("user", "*", 10000, 1);
	e.base = event_base_new();
	e.turn = (struct turn) { .known = true, .now = { 1000000 } };
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line), 0);
	assert_int_equal(setsockopt(line[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(journal_new(e.base, line[0], on_done, on_override, on_stored_block, &e, &e.journal), 0);
	old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	log_fd = open(kit_path(path, tree, "log"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(dup2(log_fd, STDERR_FILENO) >= 0);
	(void)snprintf(e.config.service.state_dir, sizeof(e.config.service.state_dir), "%.199s", tree);
	assert_int_equal(blocking_open(&e, &why), 0);
	while (recv(line[1], &(struct recorder_message) { 0 }, sizeof(struct recorder_message), MSG_DONTWAIT) > 0)
		; /* what it asks for at the start */
	return limits_open(&e, -1, &why);
}

static int
unmake(void **state)
{
	(void)state;
	limits_close(&e);
	blocking_close(&e);
	journal_free(e.journal);
	event_base_free(e.base);
	(void)dup2(old_stderr, STDERR_FILENO);
	(void)close(old_stderr);
	(void)close(log_fd);
	(void)close(line[0]);
	(void)close(line[1]);
	kit_remove(tree);
	return 0;
}

/* --- asking, and what comes of it ------------------------------------------------------------- */

static struct ask_answer
ask_for(const char *address, const char *user, enum stage stage)
{
	struct ask_answer a;
	struct record r = {
		.stage = stage, .class = CLASS_STRANGER, .wants = 1u << CHECK_IPTHROTTLE | 1u << CHECK_USERTHROTTLE,
		.ip_known = true, .pid = 4711,
		.text = { [RECORD_HELO] = record_text_of("he\nlo"), [RECORD_USER] = record_text_of(user) },
	};

	assert_int_equal(ip_parse(address, &r.ip), 0);
	limits_answer(&r, getpid(), true, &a, &e);
	return a;
}

static struct ask_answer
ask(const char *address)
{
	return ask_for(address, NULL, STAGE_HELO);
}

/* A second later; what is due is done, and the queue of the journal moves on. */
static void
pass_ms(int64_t ms)
{
	e.turn.now.ms += ms;
	limits_step(&e, e.turn.now);
	(void)event_base_loop(e.base, EVLOOP_NONBLOCK);
}

/* What the recorder was told, by kind; `last` is the last offence. */
static struct told {
	unsigned offences, refusals, others;
	struct store_offence last;
	struct store_refusal refusal;
} told;

static void
hear(void)
{
	struct recorder_message m;

	memset(&told, 0, sizeof(told));
	for (int quiet = 0; quiet < 2; quiet++) {
		while (recv(line[1], &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
			quiet = 0;
			if (m.kind == RECORD_OFFENCE) {
				told.offences++;
				told.last = m.u.offence;
			} else if (m.kind == RECORD_REFUSAL) {
				told.refusals++;
				told.refusal = m.u.refusal;
			} else {
				told.others++;
			}
		}
		(void)event_base_loop(e.base, EVLOOP_NONBLOCK);
	}
}

static char *
logged(void)
{
	static char text[1 << 16];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static unsigned
lines(void)
{
	unsigned n = 0;

	for (const char *at = logged(); (at = strchr(at, '\n')) != NULL; at++)
		n++;
	return n;
}

/* --- one offender ---------------------------------------------------------------------------- */

static void
limits_refusal_has_its_evidence(void **state)
{
	struct ask_answer a;

	(void)state;
	a = ask("203.0.113.101");
	assert_int_equal(a.verdict, VERDICT_PASS);
	assert_string_equal(a.id, "");
	a = ask("203.0.113.101");
	assert_int_equal(a.verdict, VERDICT_CLOSE);
	assert_int_equal(a.code, 421);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.max, 1);
	assert_int_equal(a.flags, ASK_MAY_BLOCK);
	assert_int_equal(a.id[0], 'r');
	assert_int_equal(strlen(a.id), 9);
	hear();
	assert_int_equal(told.offences, 1);
	assert_int_equal(told.refusals, 1);
	assert_int_equal(told.others, 0);
	assert_string_equal(told.last.id, a.id);
	assert_string_equal(told.last.class, "ip");
	assert_string_equal(told.last.pattern, "*");
	assert_string_equal(told.last.value, "203.0.113.101");
	assert_string_equal(told.last.helo, "he\\x0alo");
	assert_int_equal(told.last.window_ms, 10000);
	assert_int_equal(told.last.refused, 1);
	assert_true(told.last.clear_ms > 0);
	assert_string_equal(told.refusal.episode, a.id);
	assert_int_equal(told.refusal.check, CHECK_IPTHROTTLE);
	assert_int_equal(told.refusal.code, 421);
	assert_int_equal(told.refusal.pid, 4711);
	assert_non_null(strstr(logged(), a.id));
	assert_int_equal(e.refused, 0); /* no load was turned away */
}

static void
limits_offender_that_goes_on_two_lines(void **state)
{
	char id[ASK_ID_MAX];

	(void)state;
	(void)ask("203.0.113.101");
	(void)snprintf(id, sizeof(id), "%s", ask("203.0.113.101").id);
	for (int i = 0; i < 3000; i++) { /* half a minute */
		assert_string_equal(ask("203.0.113.101").id, id);
		pass_ms(10);
	}
	assert_int_equal(lines(), 1);
	hear();
	assert_in_range(told.offences, 5, 8); /* every five seconds */
	pass_ms(10001);
	hear();
	assert_int_equal(told.offences, 1);
	assert_true(told.last.ended.ms != 0);
	assert_int_equal(told.last.refused, 3001);
	assert_int_equal(lines(), 2);
	assert_non_null(strstr(logged(), "over; 3001 refused"));
	/* Back again: another offence. */
	(void)ask("203.0.113.101");
	assert_string_not_equal(ask("203.0.113.101").id, id);
}

static void
limits_protected_address_is_refused_not_blocked(void **state)
{
	(void)state;
	(void)ask("127.0.0.1");
	struct ask_answer a = ask("127.0.0.1");
	assert_int_equal(a.verdict, VERDICT_CLOSE);
	assert_int_equal(a.flags, 0);
}

static void
limits_user_over_a_limit_is_named(void **state)
{
	(void)state;
	(void)ask_for("203.0.113.101", "al\"ice", STAGE_RCPT);
	struct ask_answer a = ask_for("192.0.2.7", "al\"ice", STAGE_RCPT);
	assert_int_equal(a.verdict, VERDICT_REFUSE);
	assert_int_equal(a.check, CHECK_USERTHROTTLE);
	hear();
	assert_string_equal(told.last.value, "al\"ice");
	assert_string_equal(told.last.user, "al\"ice");
	assert_string_equal(told.last.ip, "192.0.2.7");
	assert_string_equal(told.last.class, "user");
}

/* --- many ------------------------------------------------------------------------------------ */

static void
make_offenders(unsigned first, unsigned n)
{
	char address[IP_TEXT_MAX];

	for (unsigned i = first; i < first + n; i++) {
		(void)snprintf(address, sizeof(address), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
		(void)ask(address);
		assert_int_equal(ask(address).verdict, VERDICT_CLOSE);
	}
}

static void
limits_ten_thousand_offenders_cost_little(void **state)
{
	(void)state;
	make_offenders(0, 10000);
	hear();
	assert_in_range(told.offences, 1, 100);
	assert_in_range(told.refusals, 1, 100);
	assert_int_equal(lines(), 20);
	for (int i = 0; i < 9; i++) {
		pass_ms(1000);
		hear();
		assert_in_range(told.offences, 1, 100); /* those that there was no time for come later */
	}
	assert_int_equal(lines(), 20);
	pass_ms(1001);
	(void)ask("10.0.0.1");
	assert_non_null(strstr(logged(), "more lines about offences"));
	assert_in_range(lines(), 21, 42);
	assert_true(offence_count(e.limits.offences) <= OFFENCES_MAX);
}

/* --- a configuration that changes -------------------------------------------------------------- */

static void
limits_reloaded_classes_are_found_again(void **state)
{
	struct rate_cfg before = e.config.limits;

	(void)state;
	(void)ask("203.0.113.101");
	memset(&e.config.limits, 0, sizeof(e.config.limits));
	limit("other", "*", 5000, 0);
	limit("ip", "*", 10000, 1); /* the same limit, elsewhere */
	limits_configure(&e);
	assert_int_equal(ask("203.0.113.101").verdict, VERDICT_CLOSE);
	memset(&e.config.limits, 0, sizeof(e.config.limits)); /* borrowed by nobody */
	assert_int_equal(ask("203.0.113.101").verdict, VERDICT_CLOSE);
	limits_configure(&e);
	assert_int_equal(ask("203.0.113.101").verdict, VERDICT_PASS);
	e.config.limits = before;
	limits_configure(&e);
	(void)ask("203.0.113.101");
	assert_int_equal(ask("203.0.113.101").verdict, VERDICT_CLOSE);
}

static void
limits_described_in_numbers(void **state)
{
	(void)state;
	make_offenders(0, 3);
	json_t *d = limits_describe(&e);
	assert_non_null(d);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(d, "refused"), "ipthrottle")), 3);
	assert_int_equal(json_integer_value(json_object_get(d, "offences")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(d, "table"), "keys")), 3);
	assert_non_null(json_object_get(json_object_get(d, "held"), "now"));
	assert_non_null(json_object_get(json_object_get(d, "asked"), "sleeping"));
	json_decref(d);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(limits_refusal_has_its_evidence),
		T(limits_offender_that_goes_on_two_lines),
		T(limits_protected_address_is_refused_not_blocked),
		T(limits_user_over_a_limit_is_named),
		T(limits_ten_thousand_offenders_cost_little),
		T(limits_reloaded_classes_are_found_again),
		T(limits_described_in_numbers),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
