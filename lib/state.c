/* SPDX-License-Identifier: ISC */
#include "lib/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/bytes.h"
#include "lib/fdio.h"
#include "lib/siphash.h"
#include "lib/text.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_LEVEL = 6,
	AT_FLAGS = 7,
	AT_VALID = 8,
	AT_ISSUED = 16,
	AT_BOOT_ID = 24,
	AT_SALT = 40,
	AT_EPISODE = 48,
	AT_ADMIT = 64, /* room for 16 classes */
	AT_CHECKS = 96, /* room for 12 stages */
	AT_SUM = STATE_SIZE - 8,
};

#define MAGIC UINT32_C(0x59575053) /* "SPWY" */
#define PATH_MAX_HERE 256

_Static_assert(AT_ADMIT + 2 * CLASS_COUNT <= AT_CHECKS, "classes fit");
_Static_assert(AT_CHECKS + 4 * STAGE_COUNT <= AT_SUM, "stages fit");

void
state_encode(const struct state *s, uint8_t ret[STATE_SIZE])
{
	memset(ret, 0, STATE_SIZE);
	put_u32(ret + AT_MAGIC, MAGIC);
	put_u16(ret + AT_VERSION, STATE_VERSION);
	ret[AT_LEVEL] = (uint8_t)s->level;
	ret[AT_FLAGS] = (uint8_t)s->flags;
	put_u32(ret + AT_VALID, s->valid_ms);
	put_u64(ret + AT_ISSUED, (uint64_t)s->issued.ms);
	memcpy(ret + AT_BOOT_ID, s->boot_id, CLOCK_BOOT_ID_SIZE);
	put_u64(ret + AT_SALT, s->salt);
	memcpy(ret + AT_EPISODE, s->episode, EPISODE_ID_MAX);
	for (size_t i = 0; i < CLASS_COUNT; i++)
		put_u16(ret + AT_ADMIT + 2 * i, s->admit[i]);
	for (size_t i = 0; i < STAGE_COUNT; i++)
		put_u32(ret + AT_CHECKS + 4 * i, s->checks[i]);
	put_u64(ret + AT_SUM, siphash(ret, AT_SUM, 0, 0));
}

/* A checksum only tells accidents; values are checked as if it had not been there. */
static bool
is_sane(const struct state *s)
{
	if ((unsigned)s->level >= LEVEL_COUNT || s->episode[EPISODE_ID_MAX - 1] != '\0')
		return false;
	if (s->episode[0] != '\0' && !text_is_plain(s->episode))
		return false;
	for (size_t i = 0; i < CLASS_COUNT; i++)
		if (s->admit[i] > ADMIT_ALL)
			return false;
	return s->issued.ms >= 0;
}

int
state_decode(const uint8_t *buf, size_t len, struct state *ret)
{
	struct state s = { 0 };

	if (len < AT_LEVEL || get_u32(buf + AT_MAGIC) != MAGIC)
		return -EBADMSG;
	if (get_u16(buf + AT_VERSION) != STATE_VERSION)
		return -EPROTO;
	if (len != STATE_SIZE || get_u64(buf + AT_SUM) != siphash(buf, AT_SUM, 0, 0))
		return -EBADMSG;
	s.level = buf[AT_LEVEL];
	s.flags = buf[AT_FLAGS];
	s.valid_ms = get_u32(buf + AT_VALID);
	s.issued.ms = (int64_t)get_u64(buf + AT_ISSUED);
	memcpy(s.boot_id, buf + AT_BOOT_ID, CLOCK_BOOT_ID_SIZE);
	s.salt = get_u64(buf + AT_SALT);
	memcpy(s.episode, buf + AT_EPISODE, EPISODE_ID_MAX);
	for (size_t i = 0; i < CLASS_COUNT; i++)
		s.admit[i] = get_u16(buf + AT_ADMIT + 2 * i);
	for (size_t i = 0; i < STAGE_COUNT; i++)
		s.checks[i] = get_u32(buf + AT_CHECKS + 4 * i);
	if (!is_sane(&s))
		return -EBADMSG;
	*ret = s;
	return 0;
}

int
state_read(const char *dir, struct state *ret)
{
	uint8_t buf[STATE_SIZE + 1]; /* one more, to notice a longer file */
	char path[PATH_MAX_HERE];
	struct text t = text_in(path, sizeof(path));

	text_puts(&t, dir);
	text_puts(&t, "/" STATE_FILE);
	if (t.cut)
		return -ENAMETOOLONG;
	int fd = fd_open_regular(AT_FDCWD, path, O_NOFOLLOW, 4096);
	if (fd < 0)
		return fd;
	ssize_t n = fd_read_full(fd, buf, sizeof(buf));
	(void)close(fd);
	return n < 0 ? (int)n : state_decode(buf, (size_t)n, ret);
}

bool
state_is_fresh(const struct state *s, mono_t now)
{
	int64_t age = mono_since(s->issued, now);

	return age >= 0 && age <= (int64_t)s->valid_ms;
}

bool
state_is_current(const struct state *s, mono_t now, const uint8_t boot_id[CLOCK_BOOT_ID_SIZE])
{
	return state_is_fresh(s, now) && memcmp(s->boot_id, boot_id, CLOCK_BOOT_ID_SIZE) == 0;
}
