/* SPDX-License-Identifier: ISC */
/*
 * A configuration: a struct or complaints, never the end of the process; and what it prints reads back the same.
 * libconfig itself never opens a file: what it would take for an @include has been met before.
 */
#include <stdbool.h>

#include "controller/config.h"
#include "tests/fuzz/fuzz.h"

/* libconfig 1.5 loses the text that it holds when it meets a syntax error. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libconfig";
}

static bool parsing;

/* Goes before libc's, also for libconfig. */
FILE *
fopen(const char *restrict path, const char *restrict mode)
{
	CHECK(!parsing);
	return fopen64(path, mode);
}

static int
load(const char *name, const void *text, size_t len, struct config *ret, struct config_errors *errors)
{
	parsing = true;
	int r = config_load_text(name, text, len, ret, errors);
	parsing = false;
	return r;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config, back;
	static struct config_errors errors;
	char *text = NULL, missing[100];
	size_t len = 0;

	int r = load("t", data, size, &config, &errors);
	CHECK((r == 0) == (errors.n == 0));
	for (unsigned i = 0; i < errors.n && i < CONFIG_ERRORS_MAX; i++)
		CHECK(errors.e[i].text[0] != '\0' && strlen(errors.e[i].text) < ERR_TEXT_MAX);
	if (r < 0)
		return 0;
	FILE *f = open_memstream(&text, &len);
	CHECK(f != NULL);
	config_print(f, &config);
	CHECK(fclose(f) == 0);
	CHECK(load("printed", text, len, &back, &errors) == 0);
	CHECK(memcmp(&back, &config, sizeof(config)) == 0);
	free(text);
	config_keep_fixed(&back, &config, missing, sizeof(missing));
	CHECK(missing[0] == '\0');
	return 0;
}
