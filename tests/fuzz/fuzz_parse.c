/* SPDX-License-Identifier: ISC */
/* What probes read: a number in range, or a refusal that leaves the result alone. */
#include <math.h>

#include "probes/parse.h"
#include "tests/fuzz/fuzz.h"

#define UNTOUCHED -7.5

static void
check(int (*parse)(const char *s, double *ret), const char *s, double max)
{
	double v = UNTOUCHED;

	if (parse(s, &v) < 0)
		CHECK(fabs(v - UNTOUCHED) <= 0);
	else
		CHECK(isfinite(v) && v >= 0 && v <= max);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qstat_counts c = { UNTOUCHED, UNTOUCHED };
	char *s = fuzz_string(data, size);

	check(parse_loadavg, s, 1e9);
	check(parse_pressure, s, 100);
	if (parse_qstat(s, &c) < 0)
		CHECK(fabs(c.messages - UNTOUCHED) <= 0 && fabs(c.todo - UNTOUCHED) <= 0);
	else
		CHECK(c.messages >= 0 && c.messages <= 1e9 && c.todo >= 0 && c.todo <= 1e9);
	free(s);
	return 0;
}
