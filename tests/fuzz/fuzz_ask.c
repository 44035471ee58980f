/* SPDX-License-Identifier: ISC */
/* An answer from ask.sock: what is decoded is in range, and encodes to the same answer. */
#include "lib/ask.h"
#include "lib/bytes.h"
#include "tests/fuzz/fuzz.h"

static void
check(const uint8_t *buf, size_t len)
{
	uint8_t bytes[ASK_ANSWER_SIZE];
	struct ask_answer a, again;

	if (ask_answer_decode(buf, len, &a) < 0)
		return;
	CHECK(len == ASK_ANSWER_SIZE);
	CHECK((unsigned)a.verdict < VERDICT_COUNT && (unsigned)a.check < CHECK_COUNT);
	CHECK(a.code == 0 || (a.code >= 400 && a.code <= 599));
	CHECK(a.delay_ms <= ASK_DELAY_MAX_MS);
	CHECK(strnlen(a.id, ASK_ID_MAX) < ASK_ID_MAX);
	for (const char *p = a.id; *p != '\0'; p++)
		CHECK(strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", *p) != NULL);
	ask_answer_encode(&a, bytes);
	CHECK(ask_answer_decode(bytes, sizeof(bytes), &again) == 0);
	CHECK(again.verdict == a.verdict && again.check == a.check && again.code == a.code && again.flags == a.flags);
	CHECK(again.delay_ms == a.delay_ms && again.n == a.n && again.max == a.max && strcmp(again.id, a.id) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t copy[ASK_ANSWER_SIZE];

	check(data, size);
	if (size < sizeof(copy))
		return 0;
	/* The same bytes with a head that fits. */
	memcpy(copy, data, sizeof(copy));
	memcpy(copy, "SPWA", 4);
	put_u16(copy + 4, ASK_VERSION);
	copy[6] %= VERDICT_COUNT;
	copy[7] %= CHECK_COUNT;
	check(copy, sizeof(copy));
	return 0;
}
