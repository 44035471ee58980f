/* SPDX-License-Identifier: ISC */
/*
 * queue - stands for qmail-queue: the message on fd 0, "Fsender\0Trecipient\0...\0" on fd 1
 *
 * The home is $QMAIL_HOME, else the first argument, else the current directory.  For tests that
 * inject without SMTP: printf 'Fa@b\0Tc@d\0\0' >env; queue <message 1<env
 *
 * Exit codes are the real one's: 0, 53 can't write, 54 can't read, 62 no home or queue, 64 and 66 can't
 * make the files, 91 a bad envelope.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "tests/standin/buf.h"
#include "tests/standin/qq.h"

#define ENVELOPE_MAX (1 << 20)

static int
copy_message(struct qq *q)
{
	char chunk[8192];
	ssize_t n;

	while ((n = fd_read_full(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		qq_put(q, chunk, (size_t)n);
	return n < 0 ? 54 : 0;
}

/* F, then one T or more, then an empty string. */
static bool
is_envelope(const struct buf *e)
{
	size_t i = 0;

	while (i < e->len && e->at[i] == (i == 0 ? 'F' : 'T')) {
		const char *nul = memchr(e->at + i, '\0', e->len - i);

		if (nul == NULL)
			return false;
		i = (size_t)(nul - e->at) + 1;
	}
	return i > 0 && i < e->len && e->at[i] == '\0';
}

static int
read_envelope(struct buf *ret)
{
	buf_room(ret, ENVELOPE_MAX);
	ssize_t n = fd_read_full(STDOUT_FILENO, ret->at, ENVELOPE_MAX);

	if (n < 0)
		return 54;
	ret->len = (size_t)n;
	if (!is_envelope(ret))
		return 91;
	while (ret->len > 1 && ret->at[ret->len - 1] == '\0' && ret->at[ret->len - 2] == '\0')
		ret->len--;
	return 0;
}

int
main(int argc, char **argv)
{
	const char *home = getenv("QMAIL_HOME");
	struct buf envelope = { 0 };
	struct qq q;

	if (home == NULL)
		home = argc > 1 ? argv[1] : ".";
	if (chdir(home) < 0)
		return 62;
	if (qq_open(&q) < 0)
		return 64;
	int r = copy_message(&q);
	if (r == 0)
		r = read_envelope(&envelope);
	if (r > 0)
		qq_abandon(&q);
	else if (qq_close(&q, &envelope) < 0)
		r = q.fault < 0 ? 53 : 66;
	buf_done(&envelope);
	return r;
}
