/* SPDX-License-Identifier: ISC */
/*
 * siphash - SipHash-2-4, a keyed hash that an outsider can't prepare collisions for
 *
 * After J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012); the test vectors
 * of its appendix A are in tests/unit/test_siphash.c.  With a fixed key it serves as a checksum.
 */
#ifndef LIB_SIPHASH_H
#define LIB_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const void *data, size_t len, uint64_t key0, uint64_t key1);

#endif
