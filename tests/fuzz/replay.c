/* SPDX-License-Identifier: ISC */
/*
 * replay - feed a fuzz target with files, and with all files of directories, without libFuzzer
 *
 * TAP: a line for each file that was survived.  One that was not ends the program, and there is no plan.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fdio.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1 << 20)

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static unsigned long played;

static void
die(const char *path, int error)
{
	(void)fprintf(stderr, "replay: %s: %s\n", path, strerror(error));
	exit(111);
}

static void
play(const char *path)
{
	int fd = fd_open_regular(AT_FDCWD, path, 0, INPUT_MAX);
	struct stat st;

	if (fd < 0)
		die(path, -fd);
	if (fstat(fd, &st) < 0)
		die(path, errno);
	/* Just as large as the input: the sanitizers see a byte too far. */
	uint8_t *data = malloc((size_t)st.st_size);
	if (data == NULL && st.st_size > 0)
		die(path, ENOMEM);
	ssize_t n = fd_read_full(fd, data, (size_t)st.st_size);
	(void)close(fd);
	if (n != st.st_size)
		die(path, n < 0 ? (int)-n : EIO);
	(void)LLVMFuzzerTestOneInput(data, (size_t)n);
	free(data);
	(void)printf("ok %lu - %s\n", ++played, path);
	(void)fflush(stdout);
}

static void
play_directory(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	if (n < 0)
		die(path, errno);
	for (int i = 0; i < n; i++) {
		char file[4096];

		if (names[i]->d_name[0] != '.') {
			if (snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) >= (int)sizeof(file))
				die(path, ENAMETOOLONG);
			play(file);
		}
		free(names[i]);
	}
	free(names);
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		(void)fprintf(stderr, "usage: %s FILE-OR-DIRECTORY...\n", argv[0]);
		return 100;
	}
	if (LLVMFuzzerInitialize != NULL)
		(void)LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0)
			die(argv[i], errno);
		if (S_ISDIR(st.st_mode))
			play_directory(argv[i]);
		else
			play(argv[i]);
	}
	(void)printf("1..%lu\n", played);
	return played > 0 ? 0 : 111;
}
