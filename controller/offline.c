/* SPDX-License-Identifier: ISC */
/*
 * offline - end what is leased, with neither daemon nor database
 *
 * Which homes?  Those named with --home; else those that the last keeper noted in its run directory, and those
 * of the configuration.  The note counts only when root (or we ourselves) wrote it: the directory belongs to
 * the engine's user, who must not be able to point root elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actions/action.h"
#include "actions/block.h"
#include "controller/cli.h"
#include "lib/fdio.h"
#include "lib/rundir.h"
#include "lib/state.h"
#include "lib/text.h"

int
offline_daemon_pid(const char *run_dir)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[CFG_STRING_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_LOCK, run_dir);
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = fcntl(fd, F_GETLK, &lock) < 0 ? -errno : lock.l_type == F_UNLCK ? 0 : lock.l_pid;
	(void)close(fd);
	return r;
}

static void
add_home(struct cfg_list *homes, const char *home)
{
	for (unsigned i = 0; i < homes->n; i++)
		if (strcmp(homes->s[i], home) == 0)
			return;
	if (homes->n < CFG_LIST_MAX && home[0] == '/' && text_copy(homes->s[homes->n], CFG_STRING_MAX, home) == 0)
		homes->n++;
}

static void
add_noted_homes(struct cfg_list *homes, const char *run_dir)
{
	char path[CFG_STRING_MAX + 8], text[CFG_LIST_MAX * CFG_STRING_MAX + 1];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_HOMES, run_dir);
	int fd = fd_open_regular(AT_FDCWD, path, O_NOFOLLOW, sizeof(text) - 1);
	if (fd < 0)
		return;
	ssize_t n = fstat(fd, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid()) && st.st_nlink == 1
		? fd_read_full(fd, text, sizeof(text) - 1) : 0;
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		add_home(homes, line);
}

/* Returns 0 or -Exxx after telling. */
static int
neutralise(const char *home)
{
	int result = 0;

	for (size_t i = 0; action_table[i] != NULL; i++) {
		struct err why;
		void *ctx = NULL;
		int r = action_table[i]->init(home, &ctx, &why);

		if (r == 0)
			r = action_table[i]->neutral(ctx, &why);
		if (ctx != NULL)
			action_table[i]->free(ctx);
		if (r < 0) {
			(void)cli_fail(0, "%s", why.text);
			result = r;
		}
	}
	return result;
}

/* Blocks end at their own time; what is past it is cleared away, and with --all the others too.  Returns 0 or -Exxx after
 * telling. */
static int
end_blocks(const struct block_cfg *cfg, bool all)
{
	int result = 0;

	for (size_t i = 0; block_table[i] != NULL; i++) {
		struct err why;
		void *ctx = NULL;
		int r = block_table[i]->init(cfg, &ctx, &why);

		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = block_table[i]->neutral(ctx, all, &why);
		if (ctx != NULL)
			block_table[i]->free(ctx);
		if (r < 0) {
			(void)cli_fail(0, "%s", why.text);
			result = r;
		}
	}
	return result;
}

int
offline_neutral(struct cli *cli)
{
	char state[CFG_STRING_MAX + 8];
	struct cfg_list homes = cli->homes;
	int result = CLI_OK, pid = offline_daemon_pid(cli->run_dir);

	if (homes.n == 0) {
		add_noted_homes(&homes, cli->run_dir);
		/* Without a configuration its default is a guess, worse than any note. */
		for (unsigned i = 0; i < cli->config.qmail.homes.n && (cli->config_ok || homes.n == 0); i++)
			add_home(&homes, cli->config.qmail.homes.s[i]);
	}
	if (!cli->config_ok)
		(void)cli_fail(0, "%s can't be used (%s); going by what the last daemon noted, and defaults",
			cli->config_path, cli->errors.e[0].text);
	if (pid > 0)
		(void)cli_fail(0, "spillwayd runs (pid %d) and may close the gate again at once; "
			"`spillway neutral` without --offline asks it not to", pid);
	for (unsigned i = 0; i < homes.n; i++)
		if (neutralise(homes.s[i]) < 0)
			result = CLI_TEMPORARY;
	if (end_blocks(&cli->config.blocks.actions, cli->all) < 0)
		result = CLI_TEMPORARY;
	(void)snprintf(state, sizeof(state), "%s/" STATE_FILE, cli->run_dir);
	if (unlink(state) < 0 && errno != ENOENT)
		result = cli_fail(CLI_TEMPORARY, "cannot remove %s: %s", state, strerror(errno));
	for (unsigned i = 0; i < homes.n && result == CLI_OK && !cli->json; i++)
		(void)printf("%s: neutral\n", homes.s[i]);
	return result;
}
