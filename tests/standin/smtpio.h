/* SPDX-License-Identifier: ISC */
/*
 * smtpio - the conversation on fd 0 and fd 1
 *
 * Replies are held back until the client must be read from, as qmail-smtpd does; that is what batches
 * the answers to pipelined commands and keeps a plugin's reply back while the plugin lingers.  The input
 * buffer has the size of the real one, since what lies unread behind it turns a close into a reset.
 */
#ifndef TESTS_STANDIN_SMTPIO_H
#define TESTS_STANDIN_SMTPIO_H

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "tests/standin/buf.h"

#define SMTP_LINE_MAX 16384
#define SMTP_TIMEOUT_MAX_S 86400

struct smtpio {
	struct buf out;
	int timeout_ms;
	size_t at, end;
	char in[1024];
};

/* A client that is gone, or takes nothing, is found out by the next read. */
static inline void
smtpio_flush(struct smtpio *io)
{
	(void)fd_write_all(STDOUT_FILENO, io->out.at, io->out.len);
	buf_clear(&io->out);
}

/* The next byte (0..255), or -ENODATA at the end of the connection, -ETIMEDOUT, another -errno. */
static inline int
smtpio_getc(struct smtpio *io)
{
	if (io->at == io->end) {
		struct pollfd f = { .fd = STDIN_FILENO, .events = POLLIN };

		smtpio_flush(io);
		int r = poll(&f, 1, io->timeout_ms);
		if (r <= 0)
			return r == 0 ? -ETIMEDOUT : -EIO;
		ssize_t n = read(STDIN_FILENO, io->in, sizeof(io->in));
		if (n <= 0)
			return n == 0 ? -ENODATA : -ECONNRESET;
		io->at = 0;
		io->end = (size_t)n;
	}
	return (unsigned char)io->in[io->at++];
}

/* One line without its CR LF or LF.  Returns 0, or as smtpio_getc(), or -E2BIG for a line beyond the
 * limit, of which the end is not kept. */
static inline int
smtpio_line(struct smtpio *io, struct buf *line)
{
	size_t n = 0;
	int c;

	buf_clear(line);
	while ((c = smtpio_getc(io)) >= 0 && c != '\n')
		if (n++ < SMTP_LINE_MAX)
			buf_putc(line, (char)c);
	if (c < 0)
		return c;
	if (n > SMTP_LINE_MAX)
		return -E2BIG;
	if (line->len > 0 && line->at[line->len - 1] == '\r')
		line->len--;
	return 0;
}

#endif
