/* SPDX-License-Identifier: ISC */
#include "lib/ask.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/bytes.h"
#include "lib/dial.h"
#include "lib/rundir.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_VERDICT = 6,
	AT_CHECK = 7,
	AT_CODE = 8,
	AT_FLAGS = 10,
	AT_DELAY = 12,
	AT_N = 16,
	AT_MAX = 20,
	AT_ID = 24,
	AT_REST = AT_ID + ASK_ID_MAX,
};

#define MAGIC UINT32_C(0x41575053) /* "SPWA" */

_Static_assert(AT_REST <= ASK_ANSWER_SIZE, "all fields fit");

void
ask_answer_encode(const struct ask_answer *a, uint8_t ret[ASK_ANSWER_SIZE])
{
	memset(ret, 0, ASK_ANSWER_SIZE);
	put_u32(ret + AT_MAGIC, MAGIC);
	put_u16(ret + AT_VERSION, ASK_VERSION);
	ret[AT_VERDICT] = (uint8_t)a->verdict;
	ret[AT_CHECK] = (uint8_t)a->check;
	put_u16(ret + AT_CODE, a->code);
	ret[AT_FLAGS] = (uint8_t)a->flags;
	put_u32(ret + AT_DELAY, a->delay_ms);
	put_u32(ret + AT_N, a->n);
	put_u32(ret + AT_MAX, a->max);
	memcpy(ret + AT_ID, a->id, strnlen(a->id, ASK_ID_MAX - 1));
}

/* Letters and digits to its end: it goes into replies and logs as it is. */
static bool
is_id(const uint8_t *s)
{
	size_t n = strnlen((const char *)s, ASK_ID_MAX);

	for (size_t i = 0; i < n; i++) {
		uint8_t lower = s[i] | 0x20;

		if (!(s[i] >= '0' && s[i] <= '9') && !(lower >= 'a' && lower <= 'z'))
			return false;
	}
	return n < ASK_ID_MAX;
}

int
ask_answer_decode(const uint8_t *buf, size_t len, struct ask_answer *ret)
{
	struct ask_answer a = { 0 };

	if (len < AT_VERDICT || get_u32(buf + AT_MAGIC) != MAGIC)
		return -EBADMSG;
	if (get_u16(buf + AT_VERSION) != ASK_VERSION)
		return -EPROTO;
	if (len != ASK_ANSWER_SIZE || buf[AT_VERDICT] >= VERDICT_COUNT || buf[AT_CHECK] >= CHECK_COUNT
		|| get_u32(buf + AT_DELAY) > ASK_DELAY_MAX_MS || !is_id(buf + AT_ID))
		return -EBADMSG;
	a.verdict = buf[AT_VERDICT];
	a.check = buf[AT_CHECK];
	a.code = get_u16(buf + AT_CODE);
	if (a.code != 0 && (a.code < 400 || a.code > 599))
		return -EBADMSG;
	a.flags = buf[AT_FLAGS];
	a.delay_ms = get_u32(buf + AT_DELAY);
	a.n = get_u32(buf + AT_N);
	a.max = get_u32(buf + AT_MAX);
	memcpy(a.id, buf + AT_ID, ASK_ID_MAX);
	*ret = a;
	return 0;
}

/* --- asking ---------------------------------------------------------------------------------- */

/* The question went out whole or not at all: it is one packet. */
static int
send_record(int fd, const struct record *r)
{
	struct record_packet packet;

	record_pack(r, &packet);
	const struct msghdr msg = { .msg_iov = packet.part, .msg_iovlen = (size_t)packet.parts };
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int
receive_answer(int fd, mono_t until, struct ask_answer *ret)
{
	uint8_t buf[ASK_ANSWER_SIZE + 1]; /* one more, to notice a longer packet */
	int e = dial_wait(fd, POLLIN, until);

	if (e < 0)
		return e;
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET; /* closed without a word */
	return ask_answer_decode(buf, (size_t)n, ret);
}

int
ask_engine(const char *dir, const struct record *r, mono_t until, struct ask_answer *ret)
{
	int fd = dial(dir, RUNDIR_ASK_SOCKET, SOCK_SEQPACKET);

	if (fd < 0)
		return fd;
	int e = send_record(fd, r);
	if (e == 0)
		e = receive_answer(fd, until, ret);
	if (e < 0) {
		(void)close(fd);
		return e;
	}
	return fd;
}
