/* SPDX-License-Identifier: ISC */
#include "lib/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A plugin asks the time once and ends: mapping in the vDSO would cost it two page faults, eight times
 * the system call that the vDSO saves. */
#ifdef CLOCK_ONCE
#define GET_TIME(id, ts) syscall(SYS_clock_gettime, id, ts)
#else
#define GET_TIME(id, ts) clock_gettime(id, ts)
#endif

static int64_t
read_ms(clockid_t id)
{
	struct timespec ts;

	/* Neither clock can fail on Linux; a zero would read as "just booted", which trusts nothing. */
	if (GET_TIME(id, &ts) < 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

mono_t
mono_now(void)
{
	return (mono_t) { read_ms(CLOCK_BOOTTIME) };
}

wall_t
wall_now(void)
{
	return (wall_t) { read_ms(CLOCK_REALTIME) };
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The file holds a UUID in text: 32 lower-case hex digits with dashes between. */
static int
parse_uuid(const char *s, size_t len, uint8_t ret[CLOCK_BOOT_ID_SIZE])
{
	uint8_t id[CLOCK_BOOT_ID_SIZE];
	size_t digits = 0;

	for (size_t i = 0; i < len && digits < 2 * sizeof(id); i++) {
		if (s[i] == '-')
			continue;
		int v = hex_digit(s[i]);
		if (v < 0)
			return -EBADMSG;
		if (digits % 2 == 0)
			id[digits / 2] = (uint8_t)(v << 4);
		else
			id[digits / 2] |= (uint8_t)v;
		digits++;
	}
	if (digits != 2 * sizeof(id))
		return -EBADMSG;
	memcpy(ret, id, sizeof(id));
	return 0;
}

int
clock_boot_id(uint8_t ret[CLOCK_BOOT_ID_SIZE])
{
	char buf[64];
	int fd = openat(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, sizeof(buf));
	int e = n < 0 ? -errno : 0;
	(void)close(fd); /* read only: nothing can be lost */
	return e < 0 ? e : parse_uuid(buf, (size_t)n, ret);
}

static void
put_digits(char *at, int width, int64_t v)
{
	for (int i = width - 1; i >= 0; i--, v /= 10)
		at[i] = (char)('0' + v % 10);
}

/* Civil date from days since 1970: the proleptic Gregorian arithmetic of Howard Hinnant's
 * "chrono-compatible low-level date algorithms".  libc's gmtime_r would read TZ files in musl. */
void
wall_format(wall_t t, char ret[CLOCK_WALL_TEXT_MAX])
{
	int64_t s = t.ms / 1000;

	if (t.ms < 0 || s > 253402300799) { /* 9999-12-31T23:59:59Z */
		memcpy(ret, "-", 2);
		return;
	}
	int64_t z = s / 86400 + 719468;
	int64_t era = z / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153, month = mp < 10 ? mp + 3 : mp - 9;

	memcpy(ret, "0000-00-00T00:00:00Z", 21);
	put_digits(ret, 4, yoe + era * 400 + (month <= 2));
	put_digits(ret + 5, 2, month);
	put_digits(ret + 8, 2, doy - (153 * mp + 2) / 5 + 1);
	put_digits(ret + 11, 2, s / 3600 % 24);
	put_digits(ret + 14, 2, s / 60 % 60);
	put_digits(ret + 17, 2, s % 60);
}
