/* SPDX-License-Identifier: ISC */
/*
 * archive - every refusal as a line of JSON, so that one who misses a message can be told what became of it
 *
 * STATE_DIR/refusals.jsonl, and its older parts refusals.jsonl.1 to .7, the newest first.  The database keeps some
 * refusals a second for `explain`; here are all.  The engine makes the lines, the recorder writes them, and the
 * command reads them beside both.
 *
 *	{"time": "2026-11-25T04:30:28.123Z", "id": "rkj8p76ir", "rule": "ipthrottle", "stage": "helo",
 *	 "ip": "192.0.2.1", "helo": "x", "sender": "", "recipient": "", "reply": 421, "pid": 1697}
 *
 * A line is written whole or, on a full disk, not at all.  It is not synced: a power failure may cost the last ones.
 */
#ifndef CONTROLLER_ARCHIVE_H
#define CONTROLLER_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/store.h"

#define ARCHIVE_FILE "refusals.jsonl"
#define ARCHIVE_PARTS 8 /* files, the current one among them */
#define ARCHIVE_LINE_MAX 1280 /* with its newline: all texts of a refusal, each byte escaped, and the keys */

/* --- lines --- */

/* Write the line of `r`, with its newline, to `line`.  Returns its length. */
size_t archive_format(const struct store_refusal *r, char line[ARCHIVE_LINE_MAX]);

/* Read a line, with or without its newline.  Returns -EINVAL when it is not one of ours; texts that are too long are
 * cut. */
int archive_parse(const char *line, size_t len, struct store_refusal *ret);

/* --- writing --- */

struct archive {
	const char *dir;
	int fd; /* -1: not open */
	uint64_t size; /* of the current file */
	uint64_t lost; /* bytes that could not be written */
};

/* `dir` is borrowed.  Opens nothing yet. */
void archive_init(struct archive *a, const char *dir);
void archive_close(struct archive *a);

/* Append whole lines.  `max` is how many bytes all files may have together; 0: nothing is written.  Begins a new file
 * when the current one has its share.  Returns 0, or -Exxx with the reason: then nothing of `text` stands there. */
int archive_write(struct archive *a, const char *text, size_t len, uint64_t max, struct err *why);

/* --- reading --- */

/* Call `each` with all that stand there, oldest first, until it returns false.  Lines that are not ours are passed
 * over.  Returns 0, -ENOENT when there is no archive, or -Exxx with the reason. */
int archive_each(const char *dir, bool (*each)(const struct store_refusal *r, void *arg), void *arg, struct err *why);

#endif
