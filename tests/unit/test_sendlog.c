/* SPDX-License-Identifier: ISC */
/* test_sendlog - deliveries joined from qmail-send's lines: real logs, numbers used again, tables that are full */
#include "tests/unit/kit.h"

#include "probes/sendlog.h"
#include "probes/tai64n.h"

#define FOLDER "tests/samples/logs/"
#define TEXT_MAX 1024

static struct sendlog *s;

static int
setup(void **state)
{
	(void)state;
	return sendlog_new(64, 16, &s);
}

static int
teardown(void **state)
{
	(void)state;
	sendlog_free(s);
	return 0;
}

/* "alice@x > bob@y local success", "? > ..." for an unknown sender; "" when the line completes nothing. */
static const char *
take(const char *line)
{
	static const char *const outcome[] = { "success", "failure", "deferral" };
	static char text[TEXT_MAX];
	char ip[IP_TEXT_MAX] = "";
	struct sendlog_delivery d;
	struct logline l;

	if (!logline_parse(line, strlen(line), LOG_SEND, &l) || !sendlog_take(s, &l, (wall_t) { 5 }, &d))
		return "";
	if (d.relay_known)
		ip_format(&d.relay, ip);
	kit_format(text, sizeof(text), "%.*s > %.*s %s %s%s%s", d.sender_known ? (int)d.sender.n : 1,
		d.sender_known ? d.sender.at : "?", (int)d.recipient.n, d.recipient.at, d.remote ? "remote" : "local",
		outcome[d.outcome], ip[0] != '\0' ? " by " : "", ip);
	assert_true(d.at.ms == 5);
	return text;
}

static void
deliveries_have_sender_recipient_and_outcome(void **state)
{
	(void)state;
	assert_string_equal(take("new msg 7"), "");
	assert_string_equal(take("info msg 7: bytes 247 from <alice@nq.test> qp 1 uid 0"), "");
	assert_string_equal(take("starting delivery 1: msg 7 to local bob@nq.test"), "");
	assert_string_equal(take("starting delivery 2: msg 7 to remote x@sink.test"), "");
	assert_string_equal(take("starting delivery 3: msg 7 to remote y@sink.test"), "");
	assert_string_equal(take("delivery 2: success: 192.0.2.1_accepted_message./Remote_host_said:_250_ok/"),
		"alice@nq.test > x@sink.test remote success by 192.0.2.1");
	assert_string_equal(take("delivery 1: success: did_1+0+0/"), "alice@nq.test > bob@nq.test local success");
	assert_string_equal(take("delivery 1: success: did_1+0+0/"), ""); /* told once */
	assert_string_equal(take("delivery 3: deferral: Sorry,_I_wasn't_able_to_establish_an_SMTP_connection._(#4.4.1)/"),
		"alice@nq.test > y@sink.test remote deferral");
	assert_string_equal(take("starting delivery 4: msg 7 to remote y@sink.test"), "");
	assert_string_equal(take("delivery 4: failure: 192.0.2.9_does_not_like_recipient./"),
		"alice@nq.test > y@sink.test remote failure by 192.0.2.9");
	assert_string_equal(take("end msg 7"), "");
	assert_int_equal(sendlog_counts(s)->deliveries, 4);
	assert_int_equal(sendlog_counts(s)->no_start, 1);
}

static void
bounces_have_the_empty_sender(void **state)
{
	(void)state;
	(void)take("info msg 8: bytes 9 from <> qp 1 uid 0");
	(void)take("starting delivery 1: msg 8 to remote a@b");
	assert_string_equal(take("delivery 1: success: ok/"), " > a@b remote success");
}

static void
a_number_used_again_is_another_message(void **state)
{
	(void)state;
	(void)take("info msg 7: bytes 1 from <old@x> qp 1 uid 0");
	(void)take("new msg 7"); /* its info line is lost */
	(void)take("starting delivery 1: msg 7 to local b@y");
	assert_string_equal(take("delivery 1: success: ok/"), "? > b@y local success");
	(void)take("info msg 7: bytes 1 from <old@x> qp 1 uid 0");
	(void)take("end msg 7");
	(void)take("starting delivery 1: msg 7 to local b@y");
	(void)take("starting delivery 1: msg 7 to local c@y"); /* qmail-send was started anew */
	assert_string_equal(take("delivery 1: success: ok/"), "? > c@y local success");
	assert_int_equal(sendlog_counts(s)->no_sender, 2);
}

/* A sender may look like the text of a delivery.  As long as he is known, he is skipped; else nothing is believed. */
static void
a_sender_cannot_name_a_relay(void **state)
{
	(void)state;
	(void)take("starting delivery 1: msg 7 to remote b@y");
	assert_string_equal(take("delivery 1: success: <From:_To:b@y>_9.9.9.9_accepted@x_To:b@y>_192.0.2.1_accepted_/"),
		"? > b@y remote success");
	(void)take("info msg 7: bytes 1 from <_To:b@y>_9.9.9.9_accepted@x> qp 1 uid 0");
	(void)take("starting delivery 1: msg 7 to remote b@y");
	assert_string_equal(take("delivery 1: success: <From:_To:b@y>_9.9.9.9_accepted@x_To:b@y>_192.0.2.1_accepted_/"),
		"_To:b@y>_9.9.9.9_accepted@x > b@y remote success by 192.0.2.1");
}

static void
addresses_of_any_length_are_whole_or_unknown(void **state)
{
	char long_one[SENDLOG_ADDRESS_MAX + 2], line[TEXT_MAX];

	(void)state;
	for (int more = 0; more < 2; more++) {
		size_t n = SENDLOG_ADDRESS_MAX + (size_t)more;

		memset(long_one, 'a', n);
		long_one[n] = '\0';
		kit_format(line, sizeof(line), "info msg 7: bytes 1 from <%s> qp 1 uid 0", long_one);
		(void)take(line);
		(void)take("starting delivery 1: msg 7 to local b@y");
		assert_true((take("delivery 1: success: ok/")[0] == '?') == (more == 1));
		kit_format(line, sizeof(line), "starting delivery 1: msg 7 to local %s", long_one);
		(void)take(line);
		assert_true((take("delivery 1: success: ok/")[0] == '\0') == (more == 1));
	}
}

static void
full_tables_forget_the_oldest(void **state)
{
	char line[TEXT_MAX];
	unsigned known = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		kit_format(line, sizeof(line), "info msg %d: bytes 1 from <s%d@x> qp 1 uid 0", i, i);
		(void)take(line);
	}
	assert_true(sendlog_counts(s)->forgotten >= 1000 - 64);
	for (int i = 0; i < 1000; i++) {
		char want[TEXT_MAX];

		kit_format(line, sizeof(line), "starting delivery 1: msg %d to local b@y", i);
		(void)take(line);
		kit_format(want, sizeof(want), "s%d@x > b@y local success", i);
		const char *got = take("delivery 1: success: ok/");
		if (strcmp(got, want) == 0)
			known++;
		else
			assert_string_equal(got, "? > b@y local success");
	}
	assert_in_range(known, 40, 64);
	kit_format(line, sizeof(line), "starting delivery 1: msg 999 to local b@y");
	(void)take(line);
	assert_string_equal(take("delivery 1: success: ok/"), "s999@x > b@y local success");
}

static void
whole_logs_are_joined(void **state)
{
	static const struct {
		const char *name;
		unsigned deliveries;
	} logs[] = {
		{ "qmail-send.notqmail.tai64n.log", 23 }, { "qmail-send.sagredo.tai64n.log", 23 },
		{ "bounce-storm.qmail-send.notqmail.tai64n.log", 210 },
	};

	(void)state;
	for (size_t i = 0; i < countof(logs); i++) {
		char path[KIT_PATH_MAX], row[TEXT_MAX];
		unsigned n = 0, relays = 0;

		kit_format(path, sizeof(path), FOLDER "%s", logs[i].name);
		FILE *f = fopen(path, "re");
		assert_non_null(f);
		while (fgets(row, sizeof(row), f) != NULL) {
			row[strcspn(row, "\n")] = '\0';
			const char *told = take(row + TAI64N_LABEL + 1);
			n += told[0] != '\0';
			assert_true(told[0] != '?');
			relays += strstr(told, " by 127.0.0.1") != NULL;
		}
		(void)fclose(f);
		assert_int_equal(n, logs[i].deliveries);
		assert_true(i == 2 || relays > 0);
	}
	assert_int_equal(sendlog_counts(s)->no_start, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(deliveries_have_sender_recipient_and_outcome, setup, teardown),
		cmocka_unit_test_setup_teardown(bounces_have_the_empty_sender, setup, teardown),
		cmocka_unit_test_setup_teardown(a_number_used_again_is_another_message, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sender_cannot_name_a_relay, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_of_any_length_are_whole_or_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(full_tables_forget_the_oldest, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_logs_are_joined, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
