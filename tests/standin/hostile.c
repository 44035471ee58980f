/* SPDX-License-Identifier: ISC */
/*
 * hostile - the texts of tests/hostile.h for scripts
 *
 *	hostile --count       how many there are
 *	hostile N             text N (from 0), byte for byte
 *
 * Exit: 0, 100 usage, 111 it could not be written.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"
#include "tests/hostile.h"

int
main(int argc, char **argv)
{
	static char text[HOSTILE_MAX + 1];
	uint64_t i;

	if (argc == 2 && strcmp(argv[1], "--count") == 0) {
		printf("%zu\n", HOSTILE_COUNT);
	} else if (argc == 2 && num_u64(argv[1], &i) == 0 && i < HOSTILE_COUNT) {
		(void)fwrite(text, 1, hostile_text((size_t)i, text), stdout); /* fflush tells */
	} else {
		fputs("usage: hostile --count | N\n", stderr);
		return 100;
	}
	return fflush(stdout) == 0 ? 0 : 111;
}
