/* SPDX-License-Identifier: ISC */
/*
 * ipsvd_dir - the instruction directory: opened once, held, and watched
 *
 * All work goes through the one descriptor.  Whether the path still leads to that directory is looked at again and
 * again: what tcpsvd reads is whatever stands at the path.  Neither the directory nor the one above may be in the hands
 * of others, or they could have root write where they like; nor may the last part of the path be a symbolic link.
 *
 * The watch tells what was removed, moved, or edited.  What is created or touched is not worth an event: we meet it
 * when we want the name; and each of our own files would cost two of them.
 */
#ifndef ACTIONS_IPSVD_DIR_H
#define ACTIONS_IPSVD_DIR_H

#include <stdbool.h>
#include <sys/stat.h>

#include "lib/err.h"

struct ipsvd_dir {
	const char *path; /* borrowed */
	int fd; /* -1: not open */
	int watch; /* inotify, or -1: none */
	struct stat st; /* of the opened one; dev and ino stay */
};

/* `watched`: with an inotify watch, which it can do without.  Returns 0, or -errno with the reason. */
int ipsvd_dir_open(struct ipsvd_dir *d, bool watched, struct err *why);

/* Is it still at its path, and fit?  Returns 0, or -errno with the reason, then it is closed. */
int ipsvd_dir_check(struct ipsvd_dir *d, struct err *why);

void ipsvd_dir_close(struct ipsvd_dir *d);

enum ipsvd_event {
	IPSVD_EVENT_GONE, /* a name has been removed, or moved away */
	IPSVD_EVENT_CHANGED, /* a file has been moved here, or edited */
	IPSVD_EVENT_LOST, /* some events got lost; no name */
	IPSVD_EVENT_SELF, /* the directory itself; no name */
};

/* Read some of what the watch has to tell.  Returns whether there was anything. */
bool ipsvd_dir_events(struct ipsvd_dir *d, void (*tell)(void *arg, enum ipsvd_event e, const char *name), void *arg);

#endif
