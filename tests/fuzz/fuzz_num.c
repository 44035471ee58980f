/* SPDX-License-Identifier: ISC */
/* Numbers, durations, sizes: what is read prints, and what is printed reads back the same. */
#include "lib/num.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_string(data, size), text[NUM_TEXT_MAX];
	int64_t ms = -1, ms_back;
	uint64_t v = 7, back;

	if (num_u64(s, &v) < 0)
		CHECK(v == 7);
	else
		CHECK(strspn(s, "0123456789") == strlen(s));
	if (num_duration(s, &ms) < 0) {
		CHECK(ms == -1);
	} else {
		CHECK(ms >= 0 && ms <= INT64_C(36525) * 86400000);
		num_duration_format(ms, text);
		CHECK(num_duration(text, &ms_back) == 0 && ms_back == ms);
		num_age_format(ms, text);
		CHECK(strlen(text) > 0 && strlen(text) < sizeof(text));
	}
	v = 7;
	if (num_size(s, &v) < 0) {
		CHECK(v == 7);
	} else {
		num_size_format(v, text);
		CHECK(num_size(text, &back) == 0 && back == v);
	}
	free(s);
	if (size >= sizeof(ms)) { /* any bits have a text */
		memcpy(&ms, data, sizeof(ms));
		num_duration_format(ms, text);
		num_age_format(ms, text);
		memcpy(&v, data, sizeof(v));
		num_size_format(v, text);
		CHECK(num_size(text, &back) == 0 && back == v);
	}
	return 0;
}
