/* SPDX-License-Identifier: ISC */
/* median - of the figures of several runs */
#ifndef TESTS_BENCH_MEDIAN_H
#define TESTS_BENCH_MEDIAN_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MEDIAN_MAX 1024 /* figures */

static inline int
median_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of an even number, the mean of the two in the middle. */
static inline double
median(const double *v, int n)
{
	double sorted[MEDIAN_MAX];

	assert(n > 0 && n <= MEDIAN_MAX);
	memcpy(sorted, v, (size_t)n * sizeof(*v));
	qsort(sorted, (size_t)n, sizeof(*sorted), median_compare);
	return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* Of what each pair says. */
static inline double
median_ratio(const double *a, const double *b, int n)
{
	double ratio[MEDIAN_MAX];

	assert(n <= MEDIAN_MAX);
	for (int i = 0; i < n; i++)
		ratio[i] = a[i] / b[i];
	return median(ratio, n);
}

#endif
