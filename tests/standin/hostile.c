/* SPDX-License-Identifier: ISC */
/*
 * hostile - the texts of tests/hostile.h for scripts
 *
 *	hostile --count       how many there are
 *	hostile --empty       how many are empty as a variable of the environment: their first byte is NUL, or they have none
 *	hostile --lines MAX   all of them, one a line: without NUL, CR, LF, and cut to MAX bytes
 *	hostile N             text N (from 0), byte for byte
 *
 * Exit: 0, 100 usage, 111 it could not be written.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"
#include "tests/hostile.h"

static size_t
count_empty(void)
{
	static char text[HOSTILE_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		(void)hostile_text(i, text);
		n += text[0] == '\0';
	}
	return n;
}

static void
print_lines(uint64_t max)
{
	static char text[HOSTILE_MAX + 1];

	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		size_t len = hostile_text(i, text);
		uint64_t printed = 0;

		for (size_t k = 0; k < len && printed < max; k++)
			if (text[k] != '\0' && text[k] != '\r' && text[k] != '\n') {
				putchar(text[k]);
				printed++;
			}
		putchar('\n');
	}
}

int
main(int argc, char **argv)
{
	static char text[HOSTILE_MAX + 1];
	uint64_t i;

	if (argc == 2 && strcmp(argv[1], "--count") == 0) {
		printf("%zu\n", HOSTILE_COUNT);
	} else if (argc == 2 && strcmp(argv[1], "--empty") == 0) {
		printf("%zu\n", count_empty());
	} else if (argc == 3 && strcmp(argv[1], "--lines") == 0 && num_u64(argv[2], &i) == 0) {
		print_lines(i);
	} else if (argc == 2 && num_u64(argv[1], &i) == 0 && i < HOSTILE_COUNT) {
		(void)fwrite(text, 1, hostile_text((size_t)i, text), stdout); /* fflush tells */
	} else {
		fputs("usage: hostile --count | --empty | --lines MAX | N\n", stderr);
		return 100;
	}
	return fflush(stdout) == 0 ? 0 : 111;
}
