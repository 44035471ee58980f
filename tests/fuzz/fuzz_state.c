/* SPDX-License-Identifier: ISC */
/* The state file: damage is told from a state; what is decoded is in range, and encodes to what decodes the same. */
#include "lib/bytes.h"
#include "lib/siphash.h"
#include "lib/state.h"
#include "lib/text.h"
#include "tests/fuzz/fuzz.h"

static void
check(const uint8_t *buf, size_t len)
{
	uint8_t again[STATE_SIZE], once_more[STATE_SIZE];
	struct state s, t, untouched;

	memset(&s, 0x5a, sizeof(s));
	untouched = s;
	if (state_decode(buf, len, &s) < 0) {
		CHECK(memcmp(&s, &untouched, sizeof(s)) == 0);
		return;
	}
	CHECK(len == STATE_SIZE);
	CHECK((unsigned)s.level < LEVEL_COUNT && s.issued.ms >= 0);
	CHECK(memchr(s.episode, '\0', sizeof(s.episode)) != NULL);
	CHECK(s.episode[0] == '\0' || text_is_plain(s.episode));
	for (int i = 0; i < CLASS_COUNT; i++)
		CHECK(s.admit[i] <= ADMIT_ALL);
	(void)state_is_fresh(&s, (mono_t) { 0 });
	(void)state_is_current(&s, (mono_t) { INT64_MAX }, s.boot_id);
	state_encode(&s, again);
	CHECK(state_decode(again, sizeof(again), &t) == 0);
	state_encode(&t, once_more);
	CHECK(memcmp(again, once_more, sizeof(again)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[STATE_SIZE];

	check(data, size);
	/* The same bytes with a head and a sum that fit: a fuzzer can't guess SipHash. */
	memset(buf, 0, sizeof(buf));
	if (size > 0)
		memcpy(buf, data, size < sizeof(buf) ? size : sizeof(buf));
	memcpy(buf, "SPWY", 4);
	put_u16(buf + 4, STATE_VERSION);
	put_u64(buf + STATE_SIZE - 8, siphash(buf, STATE_SIZE - 8, 0, 0));
	check(buf, sizeof(buf));
	return 0;
}
