/* SPDX-License-Identifier: ISC */
/* client - one question to the daemon, one answer */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "controller/cli.h"
#include "lib/clock.h"
#include "lib/rundir.h"
#include "lib/text.h"

#define DEADLINE_MS 7000 /* longer than the daemon takes for its slowest answer */
#define REPLY_MAX (1 << 20)

static int
connect_to(const char *path)
{
	const struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (text_copy(to.sun_path, sizeof(to.sun_path), path) < 0)
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A daemon that is stopped lets its backlog fill up, and then connect() waits. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		int e = -errno;

		(void)close(fd);
		return e;
	}
	return fd;
}

/* Read to the end of file, within the deadline.  Returns a terminated string that the caller frees, or NULL. */
static char *
read_reply(int fd)
{
	mono_t deadline = mono_after(mono_now(), DEADLINE_MS);
	char *buf = malloc(REPLY_MAX + 1);
	size_t len = 0;

	while (buf != NULL && len < REPLY_MAX) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = mono_since(mono_now(), deadline);
		ssize_t n = -1;

		if (left > 0 && poll(&p, 1, (int)left) == 1)
			n = read(fd, buf + len, REPLY_MAX - len);
		if (n < 0) {
			free(buf);
			return NULL;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (buf != NULL)
		buf[len] = '\0';
	return buf;
}

/* A daemon that has too many clients hangs up at once: that is an answer, not a reason to die of SIGPIPE. */
static int
send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int
send_request(int fd, json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	int r = text == NULL ? -ENOMEM : send_all(fd, text, strlen(text));

	free(text);
	return r < 0 ? r : send_all(fd, "\n", 1);
}

json_t *
client_exchange(const char *run_dir, json_t *request, struct err *why)
{
	char path[CFG_STRING_MAX + 32];
	json_t *reply = NULL;

	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_CONTROL_SOCKET, run_dir);
	int fd = connect_to(path);
	int r = fd < 0 ? fd : send_request(fd, request);
	json_decref(request);
	if (r < 0) {
		(void)err_set(why, r, "cannot ask the daemon at %s: %s; does spillwayd run?", path, strerror(-r));
	} else {
		char *text = read_reply(fd);

		reply = text != NULL ? json_loads(text, 0, NULL) : NULL;
		free(text);
		if (reply == NULL)
			(void)err_set(why, -ETIMEDOUT, "the daemon at %s does not answer", path);
	}
	if (fd >= 0)
		(void)close(fd);
	return reply;
}

json_t *
client_ask(const struct cli *cli, json_t *request, int *ret_code)
{
	struct err why;
	json_t *reply = client_exchange(cli->run_dir, request, &why);

	if (reply == NULL) {
		*ret_code = cli_fail(CLI_TEMPORARY, "%s", why.text);
	} else if (!json_is_true(json_object_get(reply, "ok"))) {
		const char *error = json_string_value(json_object_get(reply, "error"));

		*ret_code = cli_fail((int)json_integer_value(json_object_get(reply, "code")), "%s",
			error != NULL ? error : "the daemon refuses and does not say why");
		json_decref(reply);
		reply = NULL;
	}
	return reply;
}

/* --- commands that change something ---------------------------------------------------------- */

static json_t *
with_span(const struct cli *cli, json_t *request)
{
	if (cli->for_ms > 0)
		(void)json_object_set_new(request, "for_ms", json_integer(cli->for_ms));
	if (cli->reason != NULL)
		(void)json_object_set_new(request, "reason", json_string(cli->reason));
	return request;
}

static int
ask_and_tell(const struct cli *cli, json_t *request, const char *done)
{
	int code = CLI_OK;
	json_t *reply = client_ask(cli, request, &code);

	if (reply == NULL)
		return code;
	const char *note = json_string_value(json_object_get(reply, "note"));
	if (cli->json)
		cli_print_json(reply);
	else
		(void)printf("%s%s%s\n", done, note != NULL && note[0] != '\0' ? "; " : "", note != NULL ? note : "");
	json_decref(reply);
	return CLI_OK;
}

int
ask_force(struct cli *cli, int argc, char **argv)
{
	if (argc != 1)
		return cli_fail(CLI_USAGE,
			"force: allowed is force LEVEL, one of normal, busy, overloaded, critical, auto");
	return ask_and_tell(cli,
		with_span(cli, json_pack("{s:s, s:s}", "command", "force", "level", argv[0])),
		strcmp(argv[0], "auto") == 0 ? "the level is decided by the readings again" : "forced");
}

int
ask_reset(struct cli *cli, int argc, char **argv)
{
	if (argc != 2)
		return cli_fail(CLI_USAGE, "reset: allowed is reset CLASS VALUE");
	json_t *request = json_pack("{s:s, s:s, s:s}", "command", "reset", "class", argv[0], "value", argv[1]);
	if (request == NULL)
		return cli_fail(CLI_USAGE, "reset: class and value must be UTF-8");
	return ask_and_tell(cli, request, "forgotten");
}

int
ask_reload(struct cli *cli, int argc, char **argv)
{
	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "reload: takes no arguments");
	return ask_and_tell(cli, json_pack("{s:s}", "command", "reload"), "reloaded");
}

int
ask_neutral(struct cli *cli, int argc, char **argv)
{
	(void)argv;
	if (argc != 0)
		return cli_fail(CLI_USAGE, "neutral: takes no arguments");
	if (cli->offline)
		return offline_neutral(cli);
	return ask_and_tell(cli, with_span(cli, json_pack("{s:s}", "command", "neutral")),
		"neutral: spillway keeps nobody out, as if it were not installed; `spillway force auto` ends this");
}
