/* SPDX-License-Identifier: ISC */
/*
 * parse - the texts that probes read from the kernel and from qmail-qstat
 *
 * Pure.  Each takes a terminated string and returns 0, or -EBADMSG with its results untouched.
 */
#ifndef PROBES_PARSE_H
#define PROBES_PARSE_H

/* /proc/loadavg: the average of the last minute. */
int parse_loadavg(const char *s, double *ret);

/* /proc/pressure/...: avg10 of the line "some", in percent. */
int parse_pressure(const char *s, double *ret);

struct qstat_counts {
	double messages, todo;
};

/* The output of qmail-qstat.  Lines that end in ": NUMBER" count; the one with the word "preprocessed" is
 * todo, else, of just two, the second (the line that people's cron jobs take).  Negative numbers,
 * a single line, or several that could be meant are refused: a fork without permission prints -1, and a guess is
 * worse than unknown. */
int parse_qstat(const char *s, struct qstat_counts *ret);

#endif
