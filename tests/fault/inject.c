/* SPDX-License-Identifier: ISC */
/*
 * inject - a library to preload: makes a chosen system call fail, at a chosen time, in a chosen process
 *
 *	LD_PRELOAD=build/release/fault/inject.so FI_CALL=write,fsync FI_AFTER=3 FI_ERRNO=28 spillwayd ...
 *
 *	FI_CALL=NAME,...  which calls; "disk" stands for all that change files, "*" for all that are known here
 *	FI_AFTER=N        N of them go well first (default 0), counted in each process by itself
 *	FI_ERRNO=N        then one fails with this errno (default 5, EIO) ...
 *	FI_STICKY=1       ... or all of them from there on
 *	FI_EVERY=N        ... or each N-th
 *	FI_SHORT=1        it does not fail: a write takes only half of the bytes, a set*id says yes and does nothing
 *	FI_DELAY_MS=N     it does not fail: it takes so long
 *	FI_KILL=1         it does not return: the process is killed before the deed
 *	FI_COMM=NAME      only in processes of this name: spillwayd (the keeper), engine, recorder
 *	FI_PATH=TEXT      only on files whose path has this in it
 *	FI_WHILE=FILE     only while this file exists
 *	FI_COUNT=FILE     append "NAME CALL" for each call that is counted, so that a sweep knows its end
 *
 * A sweep: once with a huge FI_AFTER and FI_COUNT, then with FI_AFTER = 0, 1, 2, ... up to that count.
 * malloc stands for calloc and realloc too.  The calls are made directly, without asking libc for the next
 * definition, so that nothing here allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DISK "open,write,pwrite,ftruncate,fallocate,fsync,fdatasync,rename,unlink,fchmod,futimens,mkdir,close"
#define COUNT_FD 200 /* far from those that the program uses */

static struct {
	bool on;
	const char *calls, *comm, *path, *only_while;
	long after, every;
	int error;
	bool shorten, kill;
	long delay_ms;
	int count; /* descriptor, -1: none */
	const char *count_path;
	long seen;
} fi;

static long
number(const char *name, long otherwise)
{
	const char *s = getenv(name);

	return s != NULL ? strtol(s, NULL, 10) : otherwise;
}

static void
open_count(void)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, fi.count_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

	fi.count = fcntl(fd, F_DUPFD_CLOEXEC, COUNT_FD);
	(void)syscall(SYS_close, fd);
}

static void __attribute__((constructor))
init(void)
{
	fi.count_path = getenv("FI_COUNT");
	fi.calls = getenv("FI_CALL");
	if (fi.calls == NULL)
		return;
	if (strcmp(fi.calls, "disk") == 0)
		fi.calls = DISK;
	fi.comm = getenv("FI_COMM");
	fi.path = getenv("FI_PATH");
	fi.only_while = getenv("FI_WHILE");
	fi.after = number("FI_AFTER", 0);
	fi.every = number("FI_STICKY", 0) != 0 ? 1 : number("FI_EVERY", 0);
	fi.error = (int)number("FI_ERRNO", EIO);
	fi.shorten = number("FI_SHORT", 0) != 0;
	fi.kill = number("FI_KILL", 0) != 0;
	fi.delay_ms = number("FI_DELAY_MS", 0);
	fi.count = -1;
	if (fi.count_path != NULL)
		open_count();
	fi.on = true;
}

/* --- is it this one? ------------------------------------------------------------------------- */

static bool
is_listed(const char *call)
{
	size_t n = strlen(call);

	if (strcmp(fi.calls, "*") == 0)
		return true;
	for (const char *p = strstr(fi.calls, call); p != NULL; p = strstr(p + 1, call))
		if ((p == fi.calls || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static void
get_comm(char ret[16])
{
	if (syscall(SYS_prctl, PR_GET_NAME, ret, 0, 0, 0) < 0)
		ret[0] = '\0';
}

/* `fd`: the file, or with `path` the directory that it is relative to; -1: none. */
static bool
is_on_path(int fd, const char *path)
{
	char link[64], target[1024] = "";
	long n = 0;

	if (fd >= 0) {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof(target) / 2);
	}
	if (path != NULL && n >= 0)
		(void)snprintf(target + n, sizeof(target) - (size_t)n, "%s%s", n > 0 ? "/" : "", path);
	return strstr(target, fi.path) != NULL;
}

static bool
is_meant(const char *call, int fd, const char *path)
{
	char comm[16];

	if (!fi.on || !is_listed(call))
		return false;
	get_comm(comm);
	if (fi.comm != NULL && strcmp(comm, fi.comm) != 0)
		return false;
	if (fi.path != NULL && !is_on_path(fd, path))
		return false;
	return fi.only_while == NULL || syscall(SYS_faccessat, AT_FDCWD, fi.only_while, F_OK) == 0;
}

static void
note(const char *call)
{
	char comm[16], line[64];

	get_comm(comm);
	int n = snprintf(line, sizeof(line), "%s %s\n", comm, call);
	if (syscall(SYS_write, fi.count, line, (size_t)n) >= 0 || errno != EBADF)
		return;
	/* The program has closed all descriptors that it does not know, as a child of the keeper does. */
	open_count();
	(void)!syscall(SYS_write, fi.count, line, (size_t)n);
}

enum deed {
	GO,
	FAIL, /* errno is set */
	SHORTEN,
};

static enum deed
judge(const char *call, int fd, const char *path)
{
	int before = errno;

	if (!is_meant(call, fd, path)) {
		errno = before;
		return GO;
	}
	long n = fi.seen++ - fi.after;
	if (fi.count >= 0)
		note(call);
	errno = before;
	if (n < 0 || (n > 0 && (fi.every == 0 || n % fi.every != 0)))
		return GO;
	if (fi.kill) {
		(void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
		for (;;)
			(void)syscall(SYS_pause);
	}
	if (fi.delay_ms > 0) {
		const struct timespec ts = { fi.delay_ms / 1000, fi.delay_ms % 1000 * 1000000 };

		(void)syscall(SYS_nanosleep, &ts, NULL);
		errno = before;
		return GO;
	}
	if (fi.shorten)
		return SHORTEN;
	errno = fi.error;
	return FAIL;
}

#define FAILS(call, fd, path) (judge(call, fd, path) == FAIL)

/* --- files ----------------------------------------------------------------------------------- */

static int
do_open(int dir, const char *path, int flags, mode_t mode)
{
	if (FAILS("open", dir, path))
		return -1;
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

#define OPEN_BODY(dir) \
	do { \
		va_list ap; \
		va_start(ap, flags); \
		mode_t mode = mode_of(flags, ap); \
		va_end(ap); \
		return do_open(dir, path, flags, mode); \
	} while (0)

int
open(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD);
}

int
open64(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD);
}

int
openat(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(dir);
}

int
openat64(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(dir);
}

static size_t
shortened(enum deed d, size_t n)
{
	return d == SHORTEN && n > 1 ? n / 2 : n;
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	enum deed d = judge("write", fd, NULL);

	return d == FAIL ? -1 : (ssize_t)syscall(SYS_write, fd, buf, shortened(d, n));
}

static ssize_t
do_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	enum deed d = judge("pwrite", fd, NULL);

	return d == FAIL ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, buf, shortened(d, n), at);
}

ssize_t
pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return do_pwrite(fd, buf, n, at);
}

ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	return do_pwrite(fd, buf, n, at);
}

int
ftruncate(int fd, off_t size)
{
	return FAILS("ftruncate", fd, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int
ftruncate64(int fd, off64_t size)
{
	return FAILS("ftruncate", fd, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

/* This one returns its error. */
int
posix_fallocate(int fd, off_t at, off_t size)
{
	if (FAILS("fallocate", fd, NULL))
		return errno;
	return syscall(SYS_fallocate, fd, 0, at, size) < 0 ? errno : 0;
}

int
posix_fallocate64(int fd, off64_t at, off64_t size)
{
	return posix_fallocate(fd, at, size);
}

int
fsync(int fd)
{
	return FAILS("fsync", fd, NULL) ? -1 : (int)syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return FAILS("fdatasync", fd, NULL) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return FAILS("rename", from_dir, from) ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

int
rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlinkat(int dir, const char *path, int flags)
{
	return FAILS("unlink", dir, path) ? -1 : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int
mkdir(const char *path, mode_t mode)
{
	return FAILS("mkdir", -1, path) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int
fchmod(int fd, mode_t mode)
{
	return FAILS("fchmod", fd, NULL) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int
fchown(int fd, uid_t owner, gid_t group)
{
	return FAILS("fchown", fd, NULL) ? -1 : (int)syscall(SYS_fchown, fd, owner, group);
}

int
futimens(int fd, const struct timespec times[2])
{
	return FAILS("futimens", fd, NULL) ? -1 : (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

/* It is closed in any case, as Linux does it. */
int
close(int fd)
{
	bool fails = FAILS("close", fd, NULL);
	int error = errno, r = (int)syscall(SYS_close, fd);

	if (!fails)
		return r;
	errno = error;
	return -1;
}

/* --- processes, privileges, sockets ---------------------------------------------------------- */

int
setgroups(size_t n, const gid_t *groups)
{
	enum deed d = judge("setgroups", -1, NULL);

	return d == GO ? (int)syscall(SYS_setgroups, n, groups) : d == FAIL ? -1 : 0;
}

int
setresgid(gid_t r, gid_t e, gid_t s)
{
	enum deed d = judge("setresgid", -1, NULL);

	return d == GO ? (int)syscall(SYS_setresgid, r, e, s) : d == FAIL ? -1 : 0;
}

int
setresuid(uid_t r, uid_t e, uid_t s)
{
	enum deed d = judge("setresuid", -1, NULL);

	return d == GO ? (int)syscall(SYS_setresuid, r, e, s) : d == FAIL ? -1 : 0;
}

int
prctl(int option, ...)
{
	va_list ap;
	unsigned long a[4];

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_NO_NEW_PRIVS && FAILS("no_new_privs", -1, NULL))
		return -1;
	return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

int
socketpair(int domain, int type, int protocol, int ret[2])
{
	return FAILS("socketpair", -1, NULL) ? -1 : (int)syscall(SYS_socketpair, domain, type, protocol, ret);
}

int
pipe2(int ret[2], int flags)
{
	return FAILS("pipe2", -1, NULL) ? -1 : (int)syscall(SYS_pipe2, ret, flags);
}

int
epoll_create1(int flags)
{
	return FAILS("epoll_create1", -1, NULL) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

/* --- memory ---------------------------------------------------------------------------------- */

#ifdef __GLIBC__
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *
malloc(size_t n)
{
	return FAILS("malloc", -1, NULL) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return FAILS("malloc", -1, NULL) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return FAILS("malloc", -1, NULL) ? NULL : __libc_realloc(p, n);
}
#endif
