/* SPDX-License-Identifier: ISC */
/*
 * num - numbers, durations and sizes as people write them
 *
 * Parsers take a whole string or refuse it; nothing wraps, nothing is cut, no locale is asked.
 * All return 0, -EINVAL (not of that form) or -ERANGE (does not fit), and leave `ret` alone then.
 */
#ifndef LIB_NUM_H
#define LIB_NUM_H

#include <stdint.h>

#define NUM_TEXT_MAX 40

/* Decimal digits only. */
int num_u64(const char *s, uint64_t *ret);

/* "250ms" "90s" "10m" "2h" "1d" "1w", or several in falling order: "1h30m".  A unit is required
 * (but "0").  At most 100 years. */
int num_duration(const char *s, int64_t *ret_ms);

/* "200M", "2G", "512K", "1T", "4096": powers of 1024; a following "B" or "iB" is allowed. */
int num_size(const char *s, uint64_t *ret_bytes);

/* The shortest exact form that num_duration() reads back: 90000 -> "90s", 7200000 -> "2h". */
void num_duration_format(int64_t ms, char ret[NUM_TEXT_MAX]);

/* An age for people, two units at the most: "0s", "2m13s", "3d4h". */
void num_age_format(int64_t ms, char ret[NUM_TEXT_MAX]);

/* The shortest exact form that num_size() reads back: 209715200 -> "200M". */
void num_size_format(uint64_t bytes, char ret[NUM_TEXT_MAX]);

#endif
