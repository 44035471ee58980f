/* SPDX-License-Identifier: ISC */
/*
 * Storms in the hands of strangers: addresses, names of hosts and times of any bytes.
 *
 * Input: calls, each a byte of what, a byte of time, a byte of a length, and so many bytes of text, in which a NUL parts
 * two.
 */
#include "controller/sent.h"
#include "controller/storms.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t key[STORMS_KEY_SIZE] = "0123456789abcde";

static void
check_address(const char *s, size_t len)
{
	char name[ADDRESS_MAX_LEN];
	struct address a, again;

	size_t n = address_organisation(s, len, name);
	CHECK(n <= len && n < sizeof(name));
	for (size_t i = 0; i < n; i++)
		CHECK(!(name[i] >= 'A' && name[i] <= 'Z'));
	(void)address_is_bounce_sender(s, len);
	if (!address_parse(s, len, &a))
		return;
	CHECK(a.len <= ADDRESS_MAX_LEN && a.at > 0 && a.at + 1 < a.len && a.text[a.at] == '@');
	CHECK(memchr(address_domain(&a), '@', address_domain_len(&a)) == NULL);
	CHECK(address_parse(a.text, a.len, &again) && again.len == a.len && memcmp(again.text, a.text, a.len) == 0);
}

struct both {
	struct sent *sent;
	struct storms *storms;
	mono_t now;
};

static void
bounce(struct both *b, const struct address *to, const char *host, size_t host_len, uint8_t who)
{
	const struct ip ip = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, who } };
	const struct sent_client client = { .host = host, .host_len = host_len, .ip = who == 0 ? NULL : &ip };
	struct storms_result r;
	struct sent_match m;

	sent_look(b->sent, to, &client, b->now, &m);
	const struct storms_bounce in = {
		.to = to, .from = client.ip, .is_odd = m.has_spare, .may_guess = m.may_guess,
		.is = m.fit == SENT_FITS ? STORMS_EXPECTED : m.fit == SENT_NOTHING ? STORMS_UNSENT : STORMS_OPEN,
	};
	storms_ask(b->storms, &in, b->now, &r);
	CHECK(r.verdict == STORMS_IN || r.storm != STORMS_NONE);
	CHECK(in.is != STORMS_EXPECTED || r.verdict == STORMS_IN); /* a real one always gets in */
	if (r.verdict != STORMS_IN)
		CHECK(storms_get(b->storms, r.storm) != NULL);
	if (in.is == STORMS_EXPECTED)
		sent_answered(b->sent, &m, b->now);
	else if (r.was_odd)
		sent_odd(b->sent, &m, b->now);
	else if (r.verdict == STORMS_IN_AT_RETRY)
		sent_guessed(b->sent, &m, b->now);
}

static void
call(struct both *b, uint8_t what, uint8_t minutes, const char *text, size_t len)
{
	const char *nul = len > 0 ? memchr(text, '\0', len) : NULL;
	size_t first = nul != NULL ? (size_t)(nul - text) : len, rest = nul != NULL ? len - first - 1 : 0;
	const char *second = text + len - rest;
	struct storms_record r;
	struct address a;

	b->now.ms += minutes * INT64_C(60000);
	check_address(text, first);
	check_address(second, rest);
	if (what % 8 == 0)
		while (storms_step(b->storms, b->now, &r))
			CHECK(memchr(r.name, '\0', sizeof(r.name)) != NULL);
	if (what % 8 == 1)
		(void)storms_release(b->storms, text, first, &r);
	if (!address_parse(text, first, &a))
		return;
	if (what % 8 == 2)
		sent_learn(b->sent, &a, second, rest, NULL, (enum sent_outcome)(what / 8 % 3), b->now);
	else if (what % 8 > 2)
		for (int i = 0; i < what / 8; i++)
			bounce(b, &a, second, rest, (uint8_t)(what % 8 == 3 ? i : what % 5));
	CHECK(storms_count(b->storms) <= STORMS_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct storms_cfg cfg = {
		.bounces = 5, .domain_bounces = 8, .within_ms = 600000, .quiet_ms = 3600000, .retry_ms = 300000,
		.open_mail = STORMS_RETRY, .no_mail = STORMS_REFUSE, .exempt = { 1, { "Postmaster" } },
	};
	struct both b = { .now = { 1000 } };

	CHECK(storms_new(&cfg, 64, key, &b.storms) == 0);
	CHECK(sent_new(SENT_MEMORY_MIN, 86400000, key, b.now, &b.sent) == 0);
	while (size >= 3) {
		size_t len = data[2] < size - 3 ? data[2] : size - 3;
		char *text = fuzz_string(data + 3, len);

		call(&b, data[0], data[1], text, len);
		free(text);
		data += 3 + len;
		size -= 3 + len;
	}
	storms_free(b.storms);
	sent_free(b.sent);
	return 0;
}
