/* SPDX-License-Identifier: ISC */
#include "controller/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/num.h"
#include "lib/rundir.h"
#include "lib/text.h"

#define RECORDS_A_TURN 256
#define RECEIVE_BUFFER (1 << 20)
#define LOOK_MIN_MS 2 /* when the kernel keeps few records for us */
#define LOOK_MAX_MS 10
#define QUIET_LOOKS 25 /* then wait to be woken again */

struct ask {
	int fd;
	struct event *readable, *timer; /* one of them is set */
	struct timeval pace;
	unsigned quiet; /* looks since the last record */
	const struct config_ids *uids;
	ask_record *each;
	void *arg;
	uint64_t believed, foreign, malformed;
};

/* --- sockets --------------------------------------------------------------------------------- */

/* Is somebody at the other end of what lies at `path`? */
static bool
is_alive(const struct sockaddr_un *at, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return true; /* can't tell */
	bool alive = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0
		|| (errno != ECONNREFUSED && errno != ENOENT);
	(void)close(fd);
	return alive;
}

int
ask_bind(const char *path, int type, struct err *why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int r;

	if (text_copy(at.sun_path, sizeof(at.sun_path), path) < 0)
		return err_set(why, -ENAMETOOLONG, "%s: too long for a socket", path);
	if (is_alive(&at, type))
		return err_set(why, -EADDRINUSE, "%s: somebody is listening there already", path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(why, -errno, "%s", path);
	(void)unlink(path); /* a dead one; what can't be removed shows in bind() */
	/* All may send; who is believed is decided by who they are. */
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0666) < 0) {
		r = err_sys(why, -errno, "%s", path);
		(void)close(fd);
		return r;
	}
	return fd;
}

/* --- records --------------------------------------------------------------------------------- */

bool
ask_is_believed(const struct config_ids *uids, uid_t uid)
{
	for (unsigned i = 0; i < uids->n; i++)
		if (uids->id[i] == uid)
			return true;
	return uid == geteuid(); /* when all run as one user: tests, demo */
}

/* One datagram.  Returns its length or -1; `ret_who` as the kernel says. */
static ssize_t
receive(int fd, uint8_t buf[RECORD_MAX + 1], struct ucred *ret_who)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = RECORD_MAX + 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

	*ret_who = (struct ucred) { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	const struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS
		&& c->cmsg_len == CMSG_LEN(sizeof(*ret_who)))
		memcpy(ret_who, CMSG_DATA(c), sizeof(*ret_who));
	return n;
}

/* Take what is there.  Returns how many records that was. */
static int
drain(struct ask *a)
{
	uint8_t buf[RECORD_MAX + 1];
	struct record rec;
	struct ucred who;
	ssize_t n;
	int i;

	for (i = 0; i < RECORDS_A_TURN && (n = receive(a->fd, buf, &who)) >= 0; i++) {
		if (!ask_is_believed(a->uids, who.uid)) {
			a->foreign++;
		} else if (record_decode(buf, (size_t)n, &rec) < 0) {
			a->malformed++;
		} else {
			a->believed++;
			a->each(&rec, a->arg);
		}
	}
	return i;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd;
	(void)what;
	(void)drain(a);
	a->quiet = 0;
	if (event_add(a->timer, &a->pace) == 0)
		(void)event_del(a->readable);
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd;
	(void)what;
	a->quiet = drain(a) > 0 ? 0 : a->quiet + 1;
	if (a->quiet >= QUIET_LOOKS && event_add(a->readable, NULL) == 0)
		(void)event_del(a->timer);
}

/* How long we may look away: the kernel keeps net.unix.max_dgram_qlen records, 10 by itself, 512 under systemd. */
static int
look_ms(void)
{
	char text[16] = "";
	uint64_t qlen = 0;
	int fd = open("/proc/sys/net/unix/max_dgram_qlen", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return LOOK_MIN_MS;
	(void)!read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[strcspn(text, "\n")] = '\0';
	return num_u64(text, &qlen) == 0 && qlen >= 64 ? LOOK_MAX_MS : LOOK_MIN_MS;
}

int
ask_new(struct event_base *base, const char *dir, const struct config_ids *uids, ask_record *each,
	void *arg, struct ask **ret, struct err *why)
{
	struct ask *a = calloc(1, sizeof(*a));
	const int on = 1, buffer = RECEIVE_BUFFER;
	char path[CFG_STRING_MAX + 32];

	if (a == NULL)
		return err_sys(why, -ENOMEM, "event socket");
	(void)snprintf(path, sizeof(path), "%s/" RUNDIR_EVENT_SOCKET, dir);
	a->uids = uids;
	a->each = each;
	a->arg = arg;
	a->fd = ask_bind(path, SOCK_DGRAM, why);
	if (a->fd < 0) {
		int r = a->fd;

		free(a);
		return r;
	}
	/* A smaller buffer loses more events in a burst, no more. */
	(void)setsockopt(a->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	a->readable = event_new(base, a->fd, EV_READ | EV_PERSIST, on_readable, a);
	a->timer = event_new(base, -1, EV_PERSIST, on_time, a);
	a->pace = (struct timeval) { .tv_usec = look_ms() * 1000 };
	if (setsockopt(a->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 || a->readable == NULL
		|| a->timer == NULL || event_add(a->readable, NULL) < 0) {
		ask_free(a);
		return err_set(why, -ENOMEM, "%s: cannot be watched", path);
	}
	*ret = a;
	return 0;
}

void
ask_free(struct ask *a)
{
	if (a == NULL)
		return;
	if (a->readable != NULL)
		event_free(a->readable);
	if (a->timer != NULL)
		event_free(a->timer);
	(void)close(a->fd);
	free(a);
}

json_t *
ask_describe(const struct ask *a)
{
	return json_pack("{s:I, s:I, s:I}", "believed", (json_int_t)a->believed,
		"foreign", (json_int_t)a->foreign, "malformed", (json_int_t)a->malformed);
}
