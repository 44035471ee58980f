/* SPDX-License-Identifier: ISC */
/*
 * ipsvd_tcpsvd - which tcpsvd reads our directory, and with what -t?  Asked of /proc, for no file of ours can end in
 * time under another -t than it was made for
 *
 * A command line is whatever its process likes to show.  So a process is believed only when it is root's or our own
 * user's, or when it holds a listening TCP socket that root has opened, as `tcpsvd -u USER` does, which was started
 * by root and has become USER by itself.  For that we need CAP_SYS_PTRACE, which root has unless it was taken away.
 * Until a process is believed, nothing of it is followed: no path, no link, for a user can have a path that never
 * answers.  The worst that a process can reach which has got hold of such a socket is that nothing is written, or
 * that something is written which nobody reads.
 *
 * A look goes through /proc in steps: 3 system calls for a process, and no more than 4 KiB of its command line.
 */
#ifndef ACTIONS_IPSVD_TCPSVD_H
#define ACTIONS_IPSVD_TCPSVD_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/clock.h"

/* What was seen.  Of several processes that differ, one that is not as it should be is told. */
struct ipsvd_seen {
	unsigned n; /* processes that are believed and read the directory, those that look after one client included */
	bool counts; /* all of them have -C: throttle works */
	uid_t uid; /* of one of them */
	pid_t wrong; /* one with another -t, or 0 */
	uint64_t wrong_timeout_s; /* its -t; 0: none */
	pid_t doubtful; /* one that names the directory, but is not to be believed, or 0 */
	pid_t cdb; /* one that is believed and reads a cdb (-x) instead of any directory, or 0 */
};

struct ipsvd_scan {
	DIR *proc; /* NULL: no look is under way */
	const char *path; /* of the directory; borrowed */
	struct stat dir; /* the directory itself */
	uint64_t timeout_s; /* the -t that is right */
	struct ipsvd_seen seen;
	int64_t effort; /* what it took: 1 for each process, more for one that was looked at closely; about 6 us */
};

/* Begin a look.  Returns 0 or -errno. */
int ipsvd_scan_begin(struct ipsvd_scan *s, const char *path, const struct stat *dir, uint64_t timeout_s);

/* Look on until `deadline`.  Returns whether there is more; at the end `seen` is complete. */
bool ipsvd_scan_step(struct ipsvd_scan *s, mono_t deadline);

/* End it, complete or not. */
void ipsvd_scan_end(struct ipsvd_scan *s);

/* What tcpsvd reads from its command line.  Texts are borrowed from `args`. */
struct ipsvd_options {
	const char *dir, *cdb; /* -i, -x, or NULL */
	uint64_t timeout_s; /* -t; 0: none, or none that it understands */
	bool counts; /* -C */
};

/* Read `n` bytes of arguments, each ended by a NUL, as /proc/PID/cmdline has them, the name of the program first.
 * Returns whether it is a tcpsvd that would start so. */
bool ipsvd_options_parse(char *args, size_t n, struct ipsvd_options *ret);

#endif
