/* SPDX-License-Identifier: ISC */
/*
 * ipthrottle - connections, mails, or recipients of an address, by the stage that it stands at
 *
 * With IPSVDIR in the environment an address that is refused also gets an instruction file there, of the kind that
 * ipsvd takes for "deny, and forget it after the time of tcpsvd -t".  The engine says which addresses may be blocked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/plugin.h"

#define PATH_MAX_HERE 256
#define WORDS_MAX (IP_TEXT_MAX + 32)

static bool
ipthrottle_wants(const struct session *s, struct record *question)
{
	(void)question;
	if (!s->ip_known)
		say_note(s, check_ipthrottle.name, "511 No IP address");
	return s->ip_known;
}

static void
ipthrottle_describe(const struct session *s, struct text *log)
{
	text_puts(log, "Rate exceeded per IP (");
	put_ip(log, &s->ip);
	text_putc(log, ')');
}

static bool
is_loopback(const struct ip *ip)
{
	return ip_is_v4(ip) && ip->b[12] == 127;
}

/* Where the file goes; NULL: the address is not blocked.  ipsvd knows IPv4 alone. */
static const char *
block_dir(const struct session *s, const struct ask_answer *a)
{
	const char *dir = getenv("IPSVDIR");

	if (dir == NULL || *dir == '\0' || (a->flags & ASK_MAY_BLOCK) == 0 || !ip_is_v4(&s->ip) || is_loopback(&s->ip))
		return NULL;
	return dir;
}

static const char *
more(const struct session *s, const struct ask_answer *a)
{
	return block_dir(s, a) != NULL ? " Blocking for 2 minutes." : "";
}

/* Mode 0200 is the message: not readable is "deny", writable is "forget it one day"; 0000 would deny for ever.  Hence
 * no umask from before the file is there.  What stands there is left alone: it may be a person's.  Returns 0 or
 * -errno. */
static int
put_block(const char *dir, const struct ip *ip)
{
	char at[PATH_MAX_HERE];
	struct text path = text_in(at, sizeof(at));

	text_puts(&path, dir);
	text_putc(&path, '/');
	put_ip(&path, ip);
	if (path.cut)
		return -ENAMETOOLONG;
	(void)umask(0);
	int fd = open(at, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IWUSR);
	if (fd < 0)
		return -errno;
	(void)close(fd); /* nothing was written */
	return 0;
}

static void
refused(const struct session *s, const struct ask_answer *a)
{
	const char *dir = block_dir(s, a);
	char words[WORDS_MAX];
	struct text t = text_in(words, sizeof(words));

	if (dir == NULL)
		return;
	int e = put_block(dir, &s->ip);
	if (e == -EEXIST)
		return;
	text_puts(&t, e == 0 ? "Blocked " : "Can't block ");
	put_ip(&t, &s->ip);
	say_note(s, check_ipthrottle.name, words);
}

const struct check_ops check_ipthrottle = {
	.name = "ipthrottle",
	.id = CHECK_IPTHROTTLE,
	.code = 421,
	.enhanced = "4.7.0",
	.text = "Too many connections. Please reduce connections per minute.",
	.wants = ipthrottle_wants,
	.describe = ipthrottle_describe,
	.more = more,
	.refused = refused,
};
