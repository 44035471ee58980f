/* SPDX-License-Identifier: ISC */
/*
 * ipsvd_file - one instruction file of ours: its name, how it is known, how it comes and goes
 *
 * tcpsvd looks a client up as a.b.c.d, a.b.c, a.b, a, and then "0", which stands for everybody: that name is never
 * ours, though 0.0.0.0/8 would have it.  A prefix on an octet border is one file, another one as many as it has
 * networks of the next longer border, at most 128.
 *
 *	kind       mode  contents
 *	deny       0200  none: closed at connect, nothing is run
 *	explain    0755  a shell command, run in place of the server: prints a 421
 *	throttle   0644  an instruction: two connections at a time; counts only when tcpsvd has -C
 *
 * tcpsvd reads as its -u user, so the readable kinds are readable by all.
 *
 * Lifetime.  Under `tcpsvd -t T` a file with the write bit counts as gone when its access time lies T seconds or more
 * behind; a time ahead is "not yet".  So access time = end - T gives each file an end of its own, exact to the
 * second, never early, kept by tcpsvd also when we are dead.  Reading moves the access time (of a deny nothing is
 * read), on most mounts only when it lies behind the last change: so readable kinds are for ends more than T ahead.
 *
 * Whose is it?  Told without any memory: ours has the mode of its kind, and as modification time a second of the year
 * 1983 that follows from its name.  Touched, edited, renamed or copied under another name it is the administrator's
 * from then on.  The mode is set last: until then a file has the sticky bit, which on a file means nothing, and
 * already denies; so kill -9 at any moment leaves something that is known as ours.  There is no temporary name.
 *
 * Between the look at a file of ours and its removal somebody may put another one there, and lose it: two system
 * calls in a row. The way around it (moving it aside first, as the flag does) costs 1.6 times create, utimensat and
 * unlink, measured 2026-11.
 */
#ifndef ACTIONS_IPSVD_FILE_H
#define ACTIONS_IPSVD_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/blockset.h"
#include "lib/ip.h"

#define IPSVD_NAME_MAX 16 /* "255.255.255.255" and a NUL */
#define IPSVD_TEXT_MAX 256

/* What a file name stands for: the first `octets` of an IPv4 address. */
struct ipsvd_key {
	uint32_t net; /* what is behind them is 0 */
	unsigned octets; /* 1..4 */
};

/* The files of a prefix: how many, and the first; the next ones follow by ipsvd_key_next(), and one of them may be
 * that of everybody.  0 for what can't be expressed: IPv6, all of IPv4, 0.0.0.0/8. */
unsigned ipsvd_keys(const struct ip_prefix *p, struct ipsvd_key *ret);
struct ipsvd_key ipsvd_key_next(struct ipsvd_key k);

/* Is it the name of everybody? */
bool ipsvd_key_is_catch_all(struct ipsvd_key k);

/* The prefix of `bits` (1..32, as people count for IPv4) that contains it. */
struct ip_prefix ipsvd_key_prefix(struct ipsvd_key k, unsigned bits);

void ipsvd_name(struct ipsvd_key k, char ret[IPSVD_NAME_MAX]);

/* Only a name that ipsvd_name() would write, and never "0".  Returns whether it is one. */
bool ipsvd_name_parse(const char *s, struct ipsvd_key *ret);

enum ipsvd_owner {
	IPSVD_NONE,
	IPSVD_OURS,
	IPSVD_UNFINISHED, /* ours, its making was cut short */
	IPSVD_FOREIGN,
};

/* Returns an enum ipsvd_owner, or -errno.  Follows no link.  `ret` is filled when something is there. */
int ipsvd_look(int dir, struct ipsvd_key k, struct stat *ret);

/* Is its time over, by its own word? */
bool ipsvd_is_outdated(const struct stat *st, int64_t timeout_s, int64_t wall_s);

/* What a file shall be. */
struct ipsvd_file {
	enum block_kind kind;
	enum block_kind accept; /* of this kind it may be as well, if it is already there with the right time */
	int64_t atime_s;
	const char *id; /* evidence; left out of the text if it has anything but letters and digits */
};

/* What carries it out: on the disk, or nowhere.  Whoever writes nowhere has to look first, for everything succeeds
 * there. */
struct ipsvd_writer {
	/* -EEXIST: something is there. */
	int (*create)(int dir, const char *name, struct ipsvd_key k, const struct ipsvd_file *f);
	int (*set_time)(int dir, const char *name, struct ipsvd_key k, int64_t atime_s);
	int (*remove)(int dir, const char *name);
};

extern const struct ipsvd_writer ipsvd_disk, ipsvd_nowhere;

/* Bring it about.  `look`: it is expected to be there.  Returns IPSVD_OURS (it is as wanted), IPSVD_FOREIGN (somebody
 * else's is there and stays), or -errno. */
int ipsvd_put(const struct ipsvd_writer *w, int dir, struct ipsvd_key k, const struct ipsvd_file *want, bool look);

/* Remove it if it is ours.  Returns what was there, an enum ipsvd_owner, or -errno. */
int ipsvd_drop(const struct ipsvd_writer *w, int dir, struct ipsvd_key k);

#endif
