/* SPDX-License-Identifier: ISC */
/*
 * fuzz - what the fuzz targets share
 *
 * A target takes any bytes and must come back: no crash, no exit, no leak, and whatever its CHECKs promise.  It is
 * built twice: with libFuzzer (`make fuzz`), and with replay.c, which feeds it the files of
 * tests/fuzz/corpus/NAME (`make check`).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CHECK(what) \
	do { \
		if (!(what)) { \
			(void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

/* The bytes as a string that ends at the last of them, so that reading beyond is seen.  Caller frees. */
static inline char *
fuzz_string(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	CHECK(s != NULL);
	if (size > 0)
		memcpy(s, data, size);
	s[size] = '\0';
	return s;
}

#endif
