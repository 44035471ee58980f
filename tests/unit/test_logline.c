/* SPDX-License-Identifier: ISC */
/*
 * test_logline - lines of real logs, what they say, and what can't be made of them
 *
 * tests/samples/logs/lines.txt is the specification; the other files there are whole logs of two qmails.
 */
#include "tests/unit/kit.h"

#include "probes/logline.h"
#include "probes/tai64n.h"

#define FOLDER "tests/samples/logs/"
#define LINES_MAX 128
#define TEXT_MAX 2048
#define PARTS_MAX 8

struct line {
	enum log_stream stream;
	char marked[TEXT_MAX]; /* with the braces */
	char text[TEXT_MAX]; /* without */
	char want[TEXT_MAX];
	struct {
		size_t at, n;
	} part[PARTS_MAX]; /* of `text`: what others may write */
	size_t parts;
};

static struct line lines[LINES_MAX];
static size_t line_count;

static const char *
ip_text(const struct logline *l, char buf[IP_TEXT_MAX])
{
	if (!l->has_ip)
		return "-";
	ip_format(&l->ip, buf);
	return buf;
}

static void
print(const struct logline *l, char ret[TEXT_MAX])
{
	static const char *const outcome[] = { "success", "failure", "deferral" };
	unsigned long long n = l->number;
	char ip[IP_TEXT_MAX];

	switch (l->kind) {
	case LOGLINE_NONE:
		kit_format(ret, TEXT_MAX, "-");
		break;
	case LOGLINE_STATUS:
		kit_format(ret, TEXT_MAX, "status %u/%u %u/%u", l->used[0], l->limit[0], l->used[1], l->limit[1]);
		break;
	case LOGLINE_NEW:
		kit_format(ret, TEXT_MAX, "new %llu", n);
		break;
	case LOGLINE_INFO:
		kit_format(ret, TEXT_MAX, "info %llu bytes %llu from %.*s qp %llu uid %llu", n,
			(unsigned long long)l->bytes, (int)l->sender.n, l->sender.at, (unsigned long long)l->qp,
			(unsigned long long)l->uid);
		break;
	case LOGLINE_START:
		kit_format(ret, TEXT_MAX, "start %llu msg %llu %s %.*s", n, (unsigned long long)l->msg,
			l->remote ? "remote" : "local", (int)l->recipient.n, l->recipient.at);
		break;
	case LOGLINE_DELIVERY:
		kit_format(ret, TEXT_MAX, "delivery %llu %s %.*s", n, outcome[l->outcome], (int)l->text.n,
			l->text.n > 0 ? l->text.at : "");
		break;
	case LOGLINE_BOUNCE:
		if (l->outcome == LOG_FAILURE)
			kit_format(ret, TEXT_MAX, "discarded %llu", n);
		else
			kit_format(ret, TEXT_MAX, "bounce %llu qp %llu", n, (unsigned long long)l->qp);
		break;
	case LOGLINE_END:
		kit_format(ret, TEXT_MAX, "end %llu", n);
		break;
	case LOGLINE_SLOTS:
		kit_format(ret, TEXT_MAX, "slots %u/%u", l->used[0], l->limit[0]);
		break;
	case LOGLINE_CONNECT:
		kit_format(ret, TEXT_MAX, "connect %llu ip %s", n, ip_text(l, ip));
		break;
	case LOGLINE_HELD:
		kit_format(ret, TEXT_MAX, "held %llu ip %s %u/%u", n, ip_text(l, ip), l->used[0], l->limit[0]);
		break;
	case LOGLINE_ACCEPT:
		kit_format(ret, TEXT_MAX, "accept %llu ip %s", n, ip_text(l, ip));
		break;
	case LOGLINE_DENY:
		kit_format(ret, TEXT_MAX, "deny %llu ip %s", n, ip_text(l, ip));
		break;
	case LOGLINE_DROP:
		kit_format(ret, TEXT_MAX, "drop");
		break;
	case LOGLINE_CLOSE:
		kit_format(ret, TEXT_MAX, "close %llu", n);
		break;
	case LOGLINE_REJECT:
		kit_format(ret, TEXT_MAX, "reject");
		break;
	}
}

static bool
check_spans(const char *s, size_t n, const struct logline *l)
{
	const struct logspan *span[] = { &l->sender, &l->recipient, &l->text };

	for (size_t i = 0; i < countof(span); i++)
		if (span[i]->n > 0 && (span[i]->at < s || span[i]->at + span[i]->n > s + n))
			return false;
	return true;
}

/* Each line is given in memory of just its size, so that a look beyond its end is noticed by sanitizers. */
static bool
parse_exact(const char *s, size_t n, enum log_stream stream, struct logline *ret, char text[TEXT_MAX])
{
	char *copy = malloc(n > 0 ? n : 1);

	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, s, n);
	bool found = logline_parse(copy, n, stream, ret);
	assert_int_equal(found, ret->kind != LOGLINE_NONE);
	assert_true(check_spans(copy, n, ret));
	print(ret, text);
	free(copy);
	return found;
}

static void
add_line(char *row)
{
	static const char *const streams[] = { "send", "server", "shared" };
	struct line *l = &lines[line_count];
	char *text = strchr(row, '\t'), *want = text != NULL ? strchr(text + 1, '\t') : NULL;
	size_t n = 0;

	assert_true(line_count < LINES_MAX && want != NULL);
	*text++ = *want++ = '\0';
	want[strcspn(want, "\n")] = '\0';
	for (l->stream = LOG_SEND; strcmp(streams[l->stream], row) != 0; l->stream++)
		assert_true(l->stream < LOG_SHARED);
	kit_format(l->marked, sizeof(l->marked), "%s", text);
	kit_format(l->want, sizeof(l->want), "%s", want);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '{') {
			assert_true(l->parts < PARTS_MAX);
			l->part[l->parts].at = n;
		} else if (*p == '}') {
			l->part[l->parts].n = n - l->part[l->parts].at;
			l->parts++;
		} else {
			l->text[n++] = *p;
		}
	}
	line_count++;
}

static int
read_lines(void **state)
{
	FILE *f = fopen(FOLDER "lines.txt", "re");
	char row[2 * TEXT_MAX];

	(void)state;
	assert_non_null(f);
	while (fgets(row, sizeof(row), f) != NULL)
		if (row[0] != '#')
			add_line(row);
	(void)fclose(f);
	assert_true(line_count > 60);
	return 0;
}

static void
lines_say_what_is_written_beside_them(void **state)
{
	struct logline l;
	char got[TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < line_count; i++) {
		(void)parse_exact(lines[i].text, strlen(lines[i].text), lines[i].stream, &l, got);
		if (strcmp(got, lines[i].want) != 0)
			fail_msg("%s\n   got: %s\nwanted: %s", lines[i].text, got, lines[i].want);
	}
}

static void
half_lines_charge_nobody_else(void **state)
{
	struct logline whole, l;
	char text[TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < line_count; i++) {
		(void)parse_exact(lines[i].text, strlen(lines[i].text), lines[i].stream, &whole, text);
		for (size_t n = 0; n < strlen(lines[i].text); n++) {
			(void)parse_exact(lines[i].text, n, lines[i].stream, &l, text);
			/* "from 127.0.0.1" is a beginning of "from 127.0.0.12": only a whole line is known to be one. */
			if (l.has_ip && l.kind != LOGLINE_CONNECT && l.kind != LOGLINE_HELD)
				assert_true(ip_equal(&l.ip, &whole.ip));
		}
	}
}

/* `inner` in place of a part of `outer` that others may write. */
static void
check_splice(const struct line *outer, size_t part, const char *inner)
{
	static char spliced[3 * TEXT_MAX];
	size_t at = outer->part[part].at, after = at + outer->part[part].n;
	struct logline before, l;
	char text[TEXT_MAX];

	kit_format(spliced, sizeof(spliced), "%.*s%s%s", (int)at, outer->text, inner, outer->text + after);
	(void)parse_exact(outer->text, strlen(outer->text), outer->stream, &before, text);
	bool found = logline_parse(spliced, strlen(spliced), outer->stream, &l);
	if (found && l.kind != before.kind)
		fail_msg("%s\nbecame kind %d by:\n%s", outer->text, l.kind, spliced);
	if (found && (l.number != before.number || l.msg != before.msg || l.qp != before.qp || l.uid != before.uid
		|| l.outcome != before.outcome || memcmp(l.used, before.used, sizeof(l.used)) != 0))
		fail_msg("other numbers by:\n%s", spliced);
	if (l.has_ip && (!before.has_ip || !ip_equal(&l.ip, &before.ip)))
		fail_msg("another address is charged by:\n%s", spliced);
}

/* As qmail-send, tcpserver do: what is not printable, and in `extra`, becomes something else. */
static void
make_safe(char *s, const char *extra)
{
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s > '~' || strchr(extra, *s) != NULL)
			*s = '_';
}

static void
no_sample_in_the_text_of_another_changes_what_it_says(void **state)
{
	static const char *const more[] = {
		" remoteip=198.51.100.7", ">", "> qp 1 uid 2", "_To:b>_9.9.9.9_accepted_message./x", ":9.9.9.9::1", "::",
		" :9.9.9.9::1", "x ::9.9.9.9:1", "%s%n", "\r", "\x1b[2J", "a b", "\xff",
	};

	(void)state;
	for (size_t i = 0; i < line_count; i++) {
		for (size_t part = 0; part < lines[i].parts; part++) {
			for (size_t j = 0; j < line_count + countof(more); j++) {
				char inner[TEXT_MAX];

				kit_format(inner, sizeof(inner), "%s", j < line_count ? lines[j].text : more[j - line_count]);
				check_splice(&lines[i], part, inner);
				make_safe(inner, "");
				check_splice(&lines[i], part, inner);
				make_safe(inner, ":%");
				check_splice(&lines[i], part, inner);
			}
		}
	}
}

static void
nobody_is_charged_from_a_log_that_others_write_to(void **state)
{
	struct logline l;

	(void)state;
	for (size_t i = 0; i < line_count; i++) {
		for (int stream = LOG_SEND; stream <= LOG_SHARED; stream++) {
			(void)logline_parse(lines[i].text, strlen(lines[i].text), (enum log_stream)stream, &l);
			assert_false(l.has_ip && stream != LOG_SERVER);
		}
	}
}

/* Bytes changed at random: nothing is read beyond the line, and what is found is within. */
static void
broken_lines_harm_nobody(void **state)
{
	struct dice d = dice_new();
	struct logline l;
	char text[TEXT_MAX];

	(void)state;
	for (int round = 0; round < kit_rounds(200000); round++) {
		const struct line *from = &lines[dice_below(&d, (unsigned)line_count)];
		char s[TEXT_MAX];
		size_t n = strlen(from->text);

		memcpy(s, from->text, n);
		for (unsigned i = dice_below(&d, 4); i > 0; i--)
			s[dice_below(&d, (unsigned)n)] = (char)dice_u64(&d);
		(void)parse_exact(s, n, (enum log_stream)dice_below(&d, 3), &l, text);
	}
}

/* --- whole logs ------------------------------------------------------------------------------ */

static void
read_log(const char *name, enum log_stream stream, unsigned ret[LOGLINE_REJECT + 1])
{
	char path[KIT_PATH_MAX], s[TEXT_MAX];
	wall_t last = { 0 };

	kit_format(path, sizeof(path), FOLDER "%s", name);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	memset(ret, 0, (LOGLINE_REJECT + 1) * sizeof(ret[0]));
	while (fgets(s, sizeof(s), f) != NULL) {
		size_t n = strcspn(s, "\n");
		struct stamp stamp;
		struct logline l;

		assert_true(stamp_read(s, n, &stamp));
		assert_true(stamp.at.ms >= last.ms);
		last = stamp.at;
		(void)logline_parse(s + stamp.len, n - stamp.len, stream, &l);
		ret[l.kind]++;
	}
	(void)fclose(f);
}

static void
whole_logs_are_understood(void **state)
{
	unsigned n[LOGLINE_REJECT + 1];

	(void)state;
	read_log("qmail-send.notqmail.tai64n.log", LOG_SEND, n);
	assert_int_equal(n[LOGLINE_NONE], 1); /* "status: exiting" */
	assert_int_equal(n[LOGLINE_INFO], n[LOGLINE_NEW]);
	assert_int_equal(n[LOGLINE_START], n[LOGLINE_DELIVERY]);
	read_log("qmail-send.notqmail.local.log", LOG_SEND, n);
	assert_int_equal(n[LOGLINE_NONE], 1);
	read_log("qmail-send.sagredo.tai64n.log", LOG_SEND, n);
	assert_int_equal(n[LOGLINE_NONE], 2); /* and "qmail-todo stop processing asap" */
	assert_int_equal(n[LOGLINE_INFO], n[LOGLINE_NEW]);
	read_log("bounce-storm.qmail-send.notqmail.tai64n.log", LOG_SEND, n);
	assert_int_equal(n[LOGLINE_NONE], 0);
	assert_int_equal(n[LOGLINE_START], n[LOGLINE_DELIVERY]);
	read_log("bounce-storm.tcpserver.notqmail.tai64n.log", LOG_SERVER, n);
	assert_int_equal(n[LOGLINE_NONE], 0);
	assert_int_equal(n[LOGLINE_CONNECT], 50);
	read_log("tcpsvd-concurrency-deny.tai64n.log", LOG_SHARED, n);
	assert_int_equal(n[LOGLINE_DENY], 2);
	read_log("tcpserver-concurrency-deny.tai64n.log", LOG_SHARED, n);
	assert_int_equal(n[LOGLINE_DENY], 1);
}

/* --- the host that took it ------------------------------------------------------------------- */

static struct logspan
span(const char *s)
{
	return (struct logspan) { s, strlen(s) };
}

static void
relay_is_what_stands_before_all_text_of_others(void **state)
{
	static const struct {
		const char *text, *sender, *recipient, *want;
	} rows[] = {
		{ "192.0.2.1_accepted_message./Remote_host_said:_250_ok/", "a@x", "b@y", "192.0.2.1" },
		{ "2001:db8::1_accepted_message./x/", "a@x", "b@y", "2001:db8::1" },
		{ "<From:a@x_To:b@y>_192.0.2.1_accepted_message./x/", "a@x", "b@y", "192.0.2.1" },
		{ "<From:_To:b@y>_192.0.2.1_accepted_message./x/", "", "b@y", "192.0.2.1" },
		{ "<From:a_To:b>_9.9.9.9_accepted@x_To:b@y>_192.0.2.1_accepted_message./x/", "a_To:b>_9.9.9.9_accepted@x",
			"b@y", "192.0.2.1" },
		{ "<From:a_To:b>_9.9.9.9_accepted@x_To:b@y>_192.0.2.1_accepted_message./x/", "", "b@y", NULL },
		{ "<From:a@x_To:b@y>_192.0.2.1_accepted_message./x/", "a@x", "c@y", NULL },
		{ "Remote_host_said:_192.0.2.1_accepted", "a@x", "b@y", NULL },
		{ "did_1+0+0/", "a@x", "b@y", NULL }, { "192.0.2.1", "a@x", "b@y", NULL }, { "", "a@x", "b@y", NULL },
		{ "192.0.2.1.example_accepted", "a@x", "b@y", NULL },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct ip ip;
		char text[IP_TEXT_MAX] = "";
		bool found = logline_relay(span(rows[i].text), span(rows[i].sender), span(rows[i].recipient), &ip);

		if (found)
			ip_format(&ip, text);
		assert_int_equal(found, rows[i].want != NULL);
		assert_string_equal(text, found ? rows[i].want : "");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_say_what_is_written_beside_them),
		cmocka_unit_test(half_lines_charge_nobody_else),
		cmocka_unit_test(no_sample_in_the_text_of_another_changes_what_it_says),
		cmocka_unit_test(nobody_is_charged_from_a_log_that_others_write_to),
		cmocka_unit_test(broken_lines_harm_nobody),
		cmocka_unit_test(whole_logs_are_understood),
		cmocka_unit_test(relay_is_what_stands_before_all_text_of_others),
	};

	return cmocka_run_group_tests(tests, read_lines, NULL);
}
