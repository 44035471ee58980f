/* SPDX-License-Identifier: ISC */
/*
 * Lines of logs in every stream: texts lie within the line and are printable, nobody is charged but from a server's own
 * log, and what is joined from them keeps to its bounds.
 *
 * Input: lines, played to the reader of each stream and to the join.
 */
#include "controller/replaylog.h"
#include "probes/logline.h"
#include "probes/sendlog.h"
#include "probes/tai64n.h"
#include "tests/fuzz/fuzz.h"

static void
check_span(struct logspan s, const char *line, size_t n)
{
	if (s.n == 0)
		return;
	CHECK(s.at >= line && s.at + s.n <= line + n);
}

static void
check_word(struct logspan s)
{
	for (size_t i = 0; i < s.n; i++)
		CHECK(s.at[i] > ' ' && s.at[i] < 0x7f);
}

static void
check_stamp(const char *s, size_t n)
{
	struct stamp stamp;
	wall_t at;

	if (stamp_read(s, n, &stamp)) {
		CHECK(stamp.len > 1 && stamp.len <= n && s[stamp.len - 1] == ' ');
		CHECK(stamp.at.ms >= 0 && stamp.at.ms < INT64_C(253402300800000));
	}
	CHECK(!tai64n_read(s, n, &at) || (n >= TAI64N_LABEL && at.ms >= 0));
}

static void
check_line(struct sendlog *join, const char *s, size_t n)
{
	struct sendlog_delivery d;
	struct logline l;
	struct ip ip;

	check_stamp(s, n);
	for (int stream = LOG_SEND; stream <= LOG_SHARED; stream++) {
		bool found = logline_parse(s, n, (enum log_stream)stream, &l);

		CHECK(found == (l.kind != LOGLINE_NONE));
		CHECK((l.kind > LOGLINE_END) == (found && stream != LOG_SEND));
		CHECK(!l.has_ip || stream == LOG_SERVER);
		check_span(l.sender, s, n);
		check_span(l.recipient, s, n);
		check_span(l.text, s, n);
		if (stream != LOG_SEND)
			continue;
		check_word(l.sender);
		check_word(l.recipient);
		check_word(l.text);
		(void)logline_relay(l.text, l.sender, l.recipient, &ip);
		if (sendlog_take(join, &l, (wall_t) { 1 }, &d)) {
			CHECK(d.recipient.n > 0 && d.recipient.n <= SENDLOG_ADDRESS_MAX);
			CHECK(d.sender.n <= SENDLOG_ADDRESS_MAX && (d.sender_known || d.sender.n == 0));
			CHECK(!d.relay_known || d.remote);
			check_word(d.recipient);
			check_word(d.sender);
		}
	}
	(void)replaylog_accepted(s, n, &ip);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct sendlog *join;

	CHECK(sendlog_new(16, 16, &join) == 0);
	while (data < end) {
		const uint8_t *lf = memchr(data, '\n', (size_t)(end - data));
		size_t n = (size_t)((lf != NULL ? lf : end) - data);
		char *line = malloc(n > 0 ? n : 1); /* of just that size */

		CHECK(line != NULL);
		memcpy(line, data, n);
		check_line(join, line, n);
		free(line);
		data += n + (lf != NULL);
	}
	sendlog_free(join);
	return 0;
}
