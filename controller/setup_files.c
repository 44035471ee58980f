/* SPDX-License-Identifier: ISC */
/* setup_files - files, links, and programs of the system, as `setup` puts, takes and runs them */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/setup.h"
#include "lib/array.h"
#include "lib/atomicfile.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/fdio.h"
#include "lib/text.h"

#define WORDS_MAX 32

/* --- text ------------------------------------------------------------------------------------ */

int
setup_replace(char text[SETUP_TEXT_MAX], const char *from, const char *to)
{
	size_t from_len = strlen(from), to_len = strlen(to);
	char *at = text;

	while ((at = strstr(at, from)) != NULL) {
		if (strlen(text) - from_len + to_len >= SETUP_TEXT_MAX)
			return -ENOSPC;
		memmove(at + to_len, at + from_len, strlen(at + from_len) + 1);
		memcpy(at, to, to_len);
		at += to_len;
	}
	return 0;
}

ssize_t
setup_read(const char *path, char ret[SETUP_TEXT_MAX], struct err *why)
{
	int fd = fd_open_regular(AT_FDCWD, path, O_NOFOLLOW, SETUP_TEXT_MAX - 1);
	ssize_t n = fd >= 0 ? fd_read_full(fd, ret, SETUP_TEXT_MAX - 1) : fd;

	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return err_sys(why, (int)n, "%s", path);
	ret[n] = '\0';
	return n;
}

bool
setup_has_text(const char *path, const char *text)
{
	static char there[SETUP_TEXT_MAX];

	return setup_read(path, there, NULL) >= 0 && strcmp(there, text) == 0;
}

ssize_t
setup_template(const struct setup *s, const char *name, char ret[SETUP_TEXT_MAX], struct err *why)
{
	char path[SETUP_PATH_MAX], daemon[SETUP_PATH_MAX + 100], command[SETUP_PATH_MAX + 100];

	(void)snprintf(path, sizeof(path), "%s/%s", s->share, name);
	ssize_t n = setup_read(path, ret, why);
	if (n < 0)
		return n;
	(void)snprintf(daemon, sizeof(daemon), SETUP_DAEMON "%s", s->config_option);
	(void)snprintf(command, sizeof(command), SETUP_COMMAND "%s", s->config_option);
	int r = setup_replace(ret, "@PREFIX@", SPILLWAY_PREFIX);
	if (r == 0 && s->config_option[0] != '\0')
		r = setup_replace(ret, SETUP_DAEMON, daemon);
	if (r == 0 && s->config_option[0] != '\0')
		r = setup_replace(ret, SETUP_COMMAND, command);
	return r < 0 ? err_sys(why, r, "%s", path) : (ssize_t)strlen(ret);
}

/* --- files ----------------------------------------------------------------------------------- */

/* Open the directory of `path`, and tell its last part. */
static int
open_parent(const char *path, const char **ret_name, struct err *why)
{
	char dir[SETUP_PATH_MAX];

	if (text_copy(dir, sizeof(dir), path) < 0 || strrchr(dir, '/') == NULL)
		return err_set(why, -ENAMETOOLONG, "%s: not a path that can be used", path);
	char *slash = strrchr(dir, '/');
	*ret_name = path + (slash - dir) + 1;
	slash[slash == dir] = '\0';
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(why, -errno, "cannot open %s", dir) : fd;
}

int
setup_directory(const char *path, struct err *why)
{
	char part[SETUP_PATH_MAX];

	if (text_copy(part, sizeof(part), path) < 0)
		return err_set(why, -ENAMETOOLONG, "%s: too long", path);
	for (char *p = part + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) == 0)
			(void)chmod(part, 0755); /* whatever the umask */
		else if (errno != EEXIST)
			return err_sys(why, -errno, "cannot make %s", part);
		if (c == '\0')
			return 0;
		*p = c;
	}
}

/* Written under another name, given away, then moved: whoever may read it at all may read it at
 * any moment. */
static int
put(int dir, const char *name, const struct setup_file *f)
{
	char temp[ATOMICFILE_NAME_MAX];

	if ((size_t)snprintf(temp, sizeof(temp), "%s.setup", name) >= sizeof(temp))
		return -ENAMETOOLONG;
	int r = atomicfile_put(dir, &(struct atomicfile) {
		.name = temp, .data = f->text, .len = f->len, .mode = 0600, .flags = ATOMICFILE_DURABLE,
	});
	if (r == 0 && (f->uid != (uid_t)-1 || f->gid != (gid_t)-1)
		&& fchownat(dir, temp, f->uid, f->gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0 && (fchmodat(dir, temp, f->mode, 0) < 0 || renameat(dir, temp, dir, name) < 0))
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, temp, 0); /* the first error is the one to tell */
	else if (fsync(dir) < 0)
		r = -errno;
	return r;
}

int
setup_write(const char *path, const struct setup_file *f, struct err *why)
{
	const char *name;
	int dir = open_parent(path, &name, why);

	if (dir < 0)
		return dir;
	int r = put(dir, name, f);
	(void)close(dir);
	return r < 0 ? err_sys(why, r, "cannot write %s", path) : 0;
}

bool
setup_is_link_to(const char *path, const char *target)
{
	char there[SETUP_PATH_MAX];
	ssize_t n = readlink(path, there, sizeof(there));

	return n > 0 && (size_t)n == strlen(target) && memcmp(there, target, (size_t)n) == 0;
}

int
setup_link(const char *path, const char *target, struct err *why)
{
	char temp[ATOMICFILE_NAME_MAX];
	const char *name;
	int dir = open_parent(path, &name, why), r = 0;

	if (dir < 0)
		return dir;
	(void)snprintf(temp, sizeof(temp), ".%.40s.setup", name);
	(void)unlinkat(dir, temp, 0); /* of a setup that was cut short */
	if (symlinkat(target, dir, temp) < 0 || renameat(dir, temp, dir, name) < 0)
		r = err_sys(why, -errno, "cannot make the link %s", path);
	(void)close(dir);
	return r;
}

int
setup_remove(const char *path, struct err *why)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(why, -errno, "cannot remove %s", path);
	return 0;
}

/* --- programs -------------------------------------------------------------------------------- */

static int
find_program(const char *name, char ret[SETUP_PATH_MAX])
{
	static const char *const dirs[] = {
		"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/command",
	};

	for (size_t i = 0; i < countof(dirs); i++) {
		(void)snprintf(ret, SETUP_PATH_MAX, "%s/%s", dirs[i], name);
		if (access(ret, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* Returns its exit code, or -Exxx. */
static int
run(const struct child_spec *spec)
{
	mono_t deadline = mono_after(mono_now(), SETUP_PROGRAM_MS);
	struct child c;
	int r = child_start(spec, &c);

	if (r < 0)
		return r;
	while ((r = child_pump(&c)) == -EAGAIN && mono_now().ms < deadline.ms) {
		struct pollfd p = { .fd = c.poll, .events = POLLIN };

		(void)poll(&p, 1, 100);
	}
	if (r != -EAGAIN)
		return r;
	child_abandon(&c);
	return -ETIMEDOUT;
}

/* What exec() wants: words of its own.  Returns 0 or -E2BIG. */
static int
copy_words(const char *const *argv, char *words, size_t cap, char **ret, size_t max)
{
	size_t n = 0;

	for (; argv[n] != NULL; n++) {
		size_t len = strlen(argv[n]) + 1;

		if (n + 1 == max || len > cap)
			return -E2BIG;
		ret[n] = memcpy(words, argv[n], len);
		words += len;
		cap -= len;
	}
	ret[n] = NULL;
	return 0;
}

static void
show(const struct setup *s, const char *const *argv)
{
	(void)printf("      #");
	for (size_t i = 0; argv[i] != NULL; i++)
		(void)printf(" %s", argv[i]);
	(void)printf("%s\n", s->root[0] != '\0' ? "   (not run)" : "");
	(void)fflush(stdout); /* before what the program prints */
}

int
setup_program(const struct setup *s, const char *const *argv, struct err *why)
{
	char path[SETUP_PATH_MAX], words[2048], *copy[WORDS_MAX], out[4096], complaint[1024] = "", said[400];
	char search[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/command",
		lang[] = "LC_ALL=C";
	struct text t = text_in(said, sizeof(said));
	int r = copy_words(argv, words, sizeof(words), copy, WORDS_MAX);

	if (r < 0)
		return err_sys(why, r, "%s", argv[0]);
	show(s, argv);
	if (s->root[0] != '\0')
		return 0;
	if (find_program(argv[0], path) < 0)
		return err_set(why, -ENOENT, "there is no program %s here; do by hand what it would do",
			argv[0]);
	copy[0] = path;
	const struct child_spec spec = {
		.argv = copy, .envp = (char *[]) { search, lang, NULL }, .in = -1,
		.out = out, .out_cap = sizeof(out), .err = complaint, .err_cap = sizeof(complaint) - 1,
	};
	r = run(&spec);
	if (r == 0)
		return 0;
	if (r < 0)
		return err_sys(why, r, "%s", path);
	text_put_printable(&t, complaint, strcspn(complaint, "\n"), 90);
	return err_set(why, -EIO, "%s ended with exit code %d: %s", path, r, said);
}
