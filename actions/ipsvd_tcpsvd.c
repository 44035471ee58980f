/* SPDX-License-Identifier: ISC */
#include "actions/ipsvd_tcpsvd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "lib/num.h"
#include "lib/text.h"

#define CMDLINE_MAX 4096 /* options come first; what follows is the program it serves */
#define NAME_MAX_LOOK 256 /* of a command line: enough for argv[0] */
#define SOCKETS_MAX 64
#define SOCKET_TABLE_MAX 65536 /* of /proc/PID/net/tcp, where those that listen come first */
#define FDS_MAX 1024
#define LOOK_AT_CLOCK 16 /* processes between two looks at the clock */
#define CLOSER_EFFORT 30

/* --- the command line ------------------------------------------------------------------------ */

static bool
is_tcpsvd(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return strcmp(slash != NULL ? slash + 1 : argv0, "tcpsvd") == 0;
}

/* As tcpsvd scans it: the digits in front, whatever follows. */
static uint64_t
leading_number(const char *s)
{
	uint64_t v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v > UINT64_MAX / 20 ? UINT64_MAX / 2 : 10 * v + (uint64_t)(*s - '0');
	return v;
}

/* One option.  Returns false where tcpsvd would print its usage. */
static bool
take_option(char c, const char *value, struct ipsvd_options *o)
{
	switch (c) {
	case 'i':
	case 'x':
		if (o->dir != NULL || o->cdb != NULL)
			return false;
		*(c == 'i' ? &o->dir : &o->cdb) = value;
		return true;
	case 't':
		o->timeout_s = leading_number(value);
		return true;
	case 'C':
		o->counts = leading_number(value) > 0;
		return o->counts;
	default:
		return true;
	}
}

/* One argument with options in it: "-v", "-vi" with its value behind, "-iDIR".  Returns how many arguments it takes,
 * 0 for usage. */
static unsigned
take_argument(const char *arg, const char *next, struct ipsvd_options *o)
{
	for (const char *p = arg + 1; *p != '\0'; p++) {
		if (strchr("Ehpv", *p) != NULL)
			continue;
		if (strchr("cCixulbt", *p) == NULL)
			return 0;
		if (p[1] != '\0')
			return take_option(*p, p + 1, o) ? 1 : 0;
		return next != NULL && take_option(*p, next, o) ? 2 : 0;
	}
	return 1;
}

/* The argument behind, or NULL. */
static char *
argument_after(char *arg, const char *end)
{
	char *next = arg + strlen(arg) + 1;

	return next < end ? next : NULL;
}

bool
ipsvd_options_parse(char *args, size_t n, struct ipsvd_options *ret)
{
	struct ipsvd_options o = { .dir = NULL };
	const char *end = args + n;

	if (n == 0 || args[n - 1] != '\0' || !is_tcpsvd(args))
		return false;
	char *arg = argument_after(args, end);
	while (arg != NULL && arg[0] == '-' && arg[1] != '\0' && arg[1] != '-') {
		char *next = argument_after(arg, end);
		unsigned took = take_argument(arg, next, &o);

		if (took == 0)
			return false;
		arg = took == 1 ? next : argument_after(next, end);
	}
	*ret = o;
	return true;
}

/* --- is it to be believed? ------------------------------------------------------------------- */

struct sockets {
	uint64_t inode[SOCKETS_MAX];
	unsigned n;
};

/* One line of /proc/net/tcp: is it root's, and does it listen? */
static void
take_socket(char *line, struct sockets *ret)
{
	char *word[10], *rest = NULL; /* sl local remote st queues timer retransmits uid timeout inode */
	unsigned n = 0;

	for (char *w = strtok_r(line, " ", &rest); w != NULL && n < 10; w = strtok_r(NULL, " ", &rest))
		word[n++] = w;
	if (n == 10 && strcmp(word[3], "0A") == 0 && strcmp(word[7], "0") == 0 && ret->n < SOCKETS_MAX
		&& num_u64(word[9], &ret->inode[ret->n]) == 0)
		ret->n++;
}

/* The sockets that root opened and that listen where this process is. */
static void
root_listeners(int process, struct sockets *ret)
{
	static char buf[SOCKET_TABLE_MAX + 1];
	char *rest = NULL;
	int fd = openat(process, "net/tcp", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? fd_read_full(fd, buf, SOCKET_TABLE_MAX) : -1;

	ret->n = 0;
	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return;
	buf[n] = '\0';
	for (char *line = strtok_r(buf, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		take_socket(line, ret);
}

/* Does the link, "socket:[4420612]", name one of them? */
static bool
is_one_of(const struct sockets *s, char *link)
{
	size_t len = strlen(link);
	uint64_t inode;

	if (strncmp(link, "socket:[", 8) != 0 || link[len - 1] != ']')
		return false;
	link[len - 1] = '\0';
	if (num_u64(link + 8, &inode) < 0)
		return false;
	for (unsigned i = 0; i < s->n; i++)
		if (s->inode[i] == inode)
			return true;
	return false;
}

static bool
holds_one_of(int process, const struct sockets *s)
{
	int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	bool found = false;

	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	for (int i = 0; i < FDS_MAX && !found && (e = readdir(d)) != NULL; i++) {
		char link[64];
		ssize_t n = readlinkat(fd, e->d_name, link, sizeof(link) - 1); /* asks nobody but the kernel */

		if (n > 0) {
			link[n] = '\0';
			found = is_one_of(s, link);
		}
	}
	(void)closedir(d);
	return found;
}

static bool
is_believed(int process, uid_t uid)
{
	struct sockets s;

	if (uid == 0 || uid == geteuid())
		return true;
	root_listeners(process, &s);
	return s.n > 0 && holds_one_of(process, &s);
}

/* --- one process ----------------------------------------------------------------------------- */

static ssize_t
read_file(int dir, const char *path, char *buf, size_t cap)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = fd_read_full(fd, buf, cap);
	(void)close(fd);
	return n;
}

/* Is the directory that it names ours, seen from where it is? */
static bool
is_ours(const struct ipsvd_scan *s, int process, const char *dir)
{
	char path[PATH_MAX];
	struct text t = text_in(path, sizeof(path));
	struct stat st;

	text_puts(&t, dir[0] == '/' ? "root" : "cwd/");
	text_puts(&t, dir);
	return !t.cut && fstatat(process, path, &st, 0) == 0 && st.st_dev == s->dir.st_dev
		&& st.st_ino == s->dir.st_ino;
}

static void
note(struct ipsvd_scan *s, pid_t pid, uid_t uid, const struct ipsvd_options *o)
{
	struct ipsvd_seen *seen = &s->seen;

	seen->counts = (seen->n == 0 || seen->counts) && o->counts;
	seen->n++;
	seen->uid = uid;
	/* The lowest, so that it is the same at each look. */
	if (o->timeout_s != s->timeout_s && (seen->wrong == 0 || pid < seen->wrong)) {
		seen->wrong = pid;
		seen->wrong_timeout_s = o->timeout_s;
	}
}

static void
judge(struct ipsvd_scan *s, pid_t pid, int process)
{
	char args[CMDLINE_MAX];
	struct ipsvd_options o;
	struct stat st;
	ssize_t n = read_file(process, "cmdline", args, sizeof(args));

	if (n <= 0 || fstat(process, &st) < 0)
		return;
	args[n - 1] = '\0'; /* it may be cut there, in the arguments of the program that it serves */
	if (!ipsvd_options_parse(args, (size_t)n, &o))
		return;
	if (!is_believed(process, st.st_uid)) {
		if (o.dir != NULL && strcmp(o.dir, s->path) == 0)
			s->seen.doubtful = pid;
		return;
	}
	if (o.cdb != NULL)
		s->seen.cdb = pid;
	else if (o.dir != NULL && is_ours(s, process, o.dir))
		note(s, pid, st.st_uid, &o);
}

/* Look at one that calls itself tcpsvd.  The descriptor of the process tells afterwards whether it was the same all
 * the time. */
static void
look_closer(struct ipsvd_scan *s, pid_t pid, const char *name)
{
	struct ipsvd_seen before = s->seen;
	int self = pidfd_open(pid, 0);

	if (self < 0)
		return;
	int process = openat(dirfd(s->proc), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (process >= 0) {
		struct pollfd p = { .fd = self, .events = POLLIN };

		judge(s, pid, process);
		if (poll(&p, 1, 0) != 0)
			s->seen = before; /* it has ended */
		(void)close(process);
	}
	(void)close(self);
}

static void
look_at(struct ipsvd_scan *s, const char *name)
{
	char path[32], args[NAME_MAX_LOOK + 1];
	struct text t = text_in(path, sizeof(path));
	uint64_t pid;

	if (num_u64(name, &pid) < 0 || pid > INT_MAX)
		return;
	text_puts(&t, name);
	text_puts(&t, "/cmdline");
	ssize_t n = read_file(dirfd(s->proc), path, args, NAME_MAX_LOOK);
	s->effort++;
	if (n <= 0)
		return;
	args[n] = '\0';
	if (!is_tcpsvd(args))
		return;
	s->effort += CLOSER_EFFORT;
	look_closer(s, (pid_t)pid, name);
}

/* --- all of them ----------------------------------------------------------------------------- */

int
ipsvd_scan_begin(struct ipsvd_scan *s, const char *path, const struct stat *dir, uint64_t timeout_s)
{
	*s = (struct ipsvd_scan) { .proc = opendir("/proc"), .path = path, .dir = *dir, .timeout_s = timeout_s };
	return s->proc != NULL ? 0 : -errno;
}

bool
ipsvd_scan_step(struct ipsvd_scan *s, mono_t deadline)
{
	const struct dirent *e;

	for (int i = 1; s->proc != NULL && (e = readdir(s->proc)) != NULL; i++) {
		look_at(s, e->d_name);
		if (i % LOOK_AT_CLOCK == 0 && mono_now().ms >= deadline.ms)
			return true;
	}
	ipsvd_scan_end(s);
	return false;
}

void
ipsvd_scan_end(struct ipsvd_scan *s)
{
	if (s->proc != NULL)
		(void)closedir(s->proc);
	s->proc = NULL;
}
