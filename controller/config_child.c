/* SPDX-License-Identifier: ISC */
#include "controller/config_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controller/privilege.h"
#include "lib/fdio.h"
#include "lib/rundir.h"
#include "lib/text.h"

#define NOBODY 65534

int
config_child_start(struct config_child *c, const char *path, struct err *why)
{
	char self[] = "/proc/self/exe", option[] = CONFIG_CHILD_OPTION, name[CFG_STRING_MAX];
	int fd = fd_open_regular(AT_FDCWD, path, 0, CONFIG_FILE_MAX);

	if (fd == -EINVAL)
		return err_set(why, fd, "%s: not a regular file", path);
	if (fd == -EFBIG)
		return err_set(why, fd, "%s: longer than %d bytes", path, CONFIG_FILE_MAX);
	if (fd < 0)
		return err_sys(why, fd, "%s", path);
	(void)snprintf(name, sizeof(name), "%s", path);
	const struct child_spec spec = {
		.argv = (char *[]) { self, option, name, NULL },
		.envp = (char *[]) { NULL },
		.in = fd,
		.out = (char *)&c->config, .out_cap = sizeof(c->config),
		.err = c->errors, .err_cap = sizeof(c->errors) - 1,
	};
	int r = child_start(&spec, &c->child);
	(void)close(fd);
	if (r < 0)
		return err_sys(why, r, "cannot start the reader of %s", path);
	c->deadline = mono_after(mono_now(), CONFIG_CHILD_DEADLINE_MS);
	return 0;
}

static void __attribute__((format(printf, 2, 3)))
add_error(struct config_child *c, const char *fmt, ...)
{
	size_t len = c->child.err.len;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(c->errors + len, sizeof(c->errors) - len, fmt, ap);
	va_end(ap);
}

/* What it says goes before the file, also when that is read again. */
static int
obey_environment(struct config_child *c)
{
	const char *dir = getenv(RUNDIR_ENV);

	if (dir == NULL || dir[0] != '/' || text_copy(c->config.service.run_dir, CFG_STRING_MAX, dir) >= 0)
		return 0;
	add_error(c, RUNDIR_ENV " is too long; allowed: a path of less than %d characters", CFG_STRING_MAX);
	return -EINVAL;
}

int
config_child_poll(struct config_child *c, mono_t now)
{
	int status = child_pump(&c->child);

	if (status == -EAGAIN && now.ms < c->deadline.ms)
		return -EAGAIN;
	c->errors[c->child.err.len] = '\0';
	if (status == -EAGAIN) {
		child_abandon(&c->child);
		add_error(c, "the reader of the configuration did not end within %d ms",
			CONFIG_CHILD_DEADLINE_MS);
		return -ETIMEDOUT;
	}
	if (status == 0 && c->child.out.len == sizeof(c->config) && !c->child.out.overflow)
		return obey_environment(c);
	if (c->errors[0] == '\0')
		add_error(c, "the reader of the configuration ended with %s %d and no word",
			status >= 256 ? "signal" : "exit code", status >= 256 ? status - 256 : status);
	/* One that was killed, or for which there was no memory, may well succeed the next time. */
	return status == 111 || status >= 256 ? -EIO : -EINVAL;
}

void
config_child_abandon(struct config_child *c)
{
	child_abandon(&c->child);
}

int
config_child_read(const char *path, struct config_child *c)
{
	struct err why;
	int r = config_child_start(c, path, &why);

	if (r < 0) {
		(void)snprintf(c->errors, sizeof(c->errors), "%s", why.text);
		return r;
	}
	while ((r = config_child_poll(c, mono_now())) == -EAGAIN) {
		struct pollfd p = { .fd = c->child.poll, .events = POLLIN };

		(void)poll(&p, 1, 100);
	}
	return r;
}

/* Root's child parses as nobody special. */
static int
drop(struct err *why)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam("spillway") : NULL;
	struct identity id = { .drop = geteuid() == 0, .uid = NOBODY, .gid = NOBODY };

	if (pw != NULL) {
		id.uid = pw->pw_uid;
		id.gid = pw->pw_gid;
	}
	id.groups[id.n_groups++] = id.gid;
	return privilege_drop(&id, why);
}

int
config_child_main(const char *path)
{
	static struct config config;
	static struct config_errors errors;
	char missing[200];
	struct err why;

	if (drop(&why) < 0) {
		(void)fprintf(stderr, "%s\n", why.text);
		return 111;
	}
	if (config_load(path, STDIN_FILENO, &config, &errors) < 0) {
		for (unsigned i = 0; i < errors.n && i < CONFIG_ERRORS_MAX; i++)
			(void)fprintf(stderr, "%s\n", errors.e[i].text);
		return 100;
	}
	for (unsigned i = 0; i < errors.notes && i < CONFIG_NOTES_MAX; i++)
		(void)fprintf(stderr, "%s\n", errors.note[i].text);
	/* Who is missing can do nothing; `doctor` tells. */
	config_resolve(&config, missing, sizeof(missing));
	return fd_write_all(STDOUT_FILENO, &config, sizeof(config)) < 0 ? 111 : 0;
}
