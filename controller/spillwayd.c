/* SPDX-License-Identifier: ISC */
/* Options, directories, the lock; then the keeper takes over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/config_child.h"
#include "controller/keeper.h"
#include "controller/log.h"
#include "controller/resolve.h"
#include "lib/atomicfile.h"
#include "lib/fdio.h"
#include "lib/rundir.h"
#include "lib/text.h"
#include "lib/version.h"

#define EXIT_USAGE 100 /* do not start again blindly */
#define EXIT_TEMPORARY 111

static const char usage[] =
	"usage: spillwayd [-c FILE] [-t]\n"
	"  -c, --config FILE   configuration, default " CONFIG_DEFAULT_PATH "\n"
	"  -t, --test          check the configuration and exit: 0 good, 100 bad\n"
	"  -V, --version\n"
	"  -h, --help\n"
	"Runs in the foreground, logs to stderr, for a supervisor like runit, daemontools or systemd.\n"
	"spillwayd(8), spillway.conf(5), spillway(1)\n";

/* `spillwayd -t` */
static int
test_config(const char *path)
{
	static struct config config;
	static struct config_errors errors;

	if (config_load(path, -1, &config, &errors) == 0) {
		(void)printf("%s: ok\n", path);
		for (unsigned i = 0; i < errors.notes && i < CONFIG_NOTES_MAX; i++)
			(void)printf("note: %s\n", errors.note[i].text);
		return 0;
	}
	for (unsigned i = 0; i < errors.n && i < CONFIG_ERRORS_MAX; i++)
		(void)fprintf(stderr, "%s\n", errors.e[i].text);
	if (errors.n > CONFIG_ERRORS_MAX)
		(void)fprintf(stderr, "%s: and %u more\n", path, errors.n - CONFIG_ERRORS_MAX);
	return EXIT_USAGE;
}

/* Read by a child; its words are ours. */
static int
read_config(const char *path, struct config *ret)
{
	static struct config_child child;
	int r = config_child_read(path, &child);

	if (r < 0) {
		log_lines(LOG_ERROR, "config", child.errors);
		return r;
	}
	log_lines(LOG_WARNING, "config", child.errors);
	*ret = child.config;
	return 0;
}

/* A machine so busy that the configuration can't be read is no reason to stay down for good. */
static bool
is_temporary(int r)
{
	return r == -ETIMEDOUT || r == -EIO || r == -EAGAIN || r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

/* What can't be read is not. */
static bool
is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e = NULL;

	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	while ((e = readdir(d)) != NULL && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0))
		;
	(void)closedir(d);
	return e == NULL;
}

/* Make a directory of the engine's, or take one that is its own or, while it is empty, ours: with `state_dir =
 * "/var/lib"` or a link planted in /tmp, root's own would be given away otherwise. */
static int
open_directory(const char *path, mode_t mode, const struct identity *id)
{
	uid_t owner = id->drop ? id->uid : geteuid();
	struct stat st;

	if (mkdir(path, mode) < 0 && errno != EEXIST) {
		log_error("keeper", "cannot make %s: %s", path, strerror(errno));
		return -errno;
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		log_error("keeper", "cannot open %s: %s", path, strerror(errno));
		return -errno;
	}
	if (st.st_uid != owner && st.st_uid != geteuid()) {
		log_error("keeper", "%s belongs to uid %u; allowed: uid %u", path, st.st_uid, owner);
		return -EPERM;
	}
	if (st.st_uid != owner && !is_empty(fd)) {
		log_error("keeper",
			"%s belongs to uid %u and is not empty; allowed: one of uid %u (chown -R), or an empty one",
			path, st.st_uid, owner);
		return -EPERM;
	}
	if (id->drop && fchown(fd, id->uid, id->gid) < 0) {
		log_error("keeper", "cannot give %s to uid %u: %s", path, id->uid, strerror(errno));
		return -errno;
	}
	return fd;
}

/* Only one keeper for a run directory.  A record lock is the process's own: it is not inherited by the engine and ends
 * with the keeper, however that ends. */
static int
take_lock(int run_dir)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = openat(run_dir, RUNDIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		log_error("keeper", "cannot open the lock: %s", strerror(errno));
		return EXIT_TEMPORARY;
	}
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0; /* stays open for ever */
	lock.l_pid = 0;
	(void)fcntl(fd, F_GETLK, &lock);
	log_error("keeper", "already running (pid %d)", (int)lock.l_pid);
	return EXIT_USAGE;
}

/* For a `spillway neutral --offline` that finds the configuration broken. */
static void
note_homes(int run_dir, const struct cfg_list *homes)
{
	static char text[CFG_LIST_MAX * CFG_STRING_MAX];
	struct text t = text_in(text, sizeof(text));

	for (unsigned i = 0; i < homes->n; i++) {
		text_puts(&t, homes->s[i]);
		text_putc(&t, '\n');
	}
	int r = atomicfile_put(run_dir, &(struct atomicfile) {
		.name = RUNDIR_HOMES, .data = text, .len = t.len, .mode = 0644,
	});
	if (r < 0)
		log_warning("keeper", "cannot write " RUNDIR_HOMES ": %s", strerror(-r));
}

static int
run(const char *path)
{
	static struct config config;
	struct keeper_setup setup = { .config = &config, .config_path = path };
	struct err why;

	int r = read_config(path, &config);
	if (r < 0)
		return is_temporary(r) ? EXIT_TEMPORARY : EXIT_USAGE;
	if (privilege_find(config.service.user, &config.service.groups, &setup.identity, &why) < 0) {
		log_error("config", "%s; allowed: names that exist, or service.user = \"\" to stay who we are",
			why.text);
		return EXIT_USAGE;
	}
	setup.run_dir = open_directory(config.service.run_dir, 0755, &setup.identity);
	setup.state_dir = open_directory(config.service.state_dir, 0750, &setup.identity);
	if (setup.run_dir < 0 || setup.state_dir < 0)
		return EXIT_TEMPORARY;
	r = take_lock(setup.run_dir);
	if (r != 0)
		return r;
	note_homes(setup.run_dir, &config.qmail.homes);
	return keeper_run(&setup);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "test", no_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'V' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	const char *path = CONFIG_DEFAULT_PATH;
	bool test = false;
	int o;

	if (fd_sanitize() < 0)
		return EXIT_TEMPORARY;
	if (argc > 2 && strcmp(argv[1], RESOLVE_OPTION) == 0)
		return resolve_main(argc - 2, argv + 2);
	if (argc == 3 && strcmp(argv[1], CONFIG_CHILD_OPTION) == 0)
		return config_child_main(argv[2]);
	(void)umask(022);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a file size limit is a full disk, not a reason to die */
	while ((o = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			path = optarg;
			break;
		case 't':
			test = true;
			break;
		case 'V':
			(void)printf("spillwayd " SPILLWAY_VERSION "\n");
			return 0;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return test ? test_config(path) : run(path);
}
