/* SPDX-License-Identifier: ISC */
/*
 * queuedir - where a message has its files
 *
 * queue/mess/S/N, info/S/N, local/S/N, remote/S/N with S = N % 23.  todo and intd are plain (todo/N) in
 * netqmail and notqmail, split (todo/S/N) in servers with big-todo.  N is the inode number of mess/S/N.
 * Paths are relative to the qmail home, which is the current directory.
 */
#ifndef TESTS_STANDIN_QUEUEDIR_H
#define TESTS_STANDIN_QUEUEDIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/text.h"

#define QUEUE_SPLIT 23
#define QUEUE_PATH_MAX 64
#define QUEUE_TRIGGER "queue/lock/trigger"

static inline bool
queue_todo_is_split(void)
{
	struct stat st;

	return stat("queue/todo/0", &st) == 0 && S_ISDIR(st.st_mode);
}

static inline void
queue_path(char ret[QUEUE_PATH_MAX], const char *dir, bool split, uint64_t n)
{
	struct text t = text_in(ret, QUEUE_PATH_MAX);

	text_puts(&t, "queue/");
	text_puts(&t, dir);
	if (split) {
		text_putc(&t, '/');
		text_put_u64(&t, n % QUEUE_SPLIT);
	}
	text_putc(&t, '/');
	text_put_u64(&t, n);
}

#endif
