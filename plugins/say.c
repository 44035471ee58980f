/* SPDX-License-Identifier: ISC */
/*
 * say - one line for the client, and lines for the log
 *
 * qmail-smtpd says nothing about a refusal by a plugin, so we do: in the words of the plugins that we replace, for
 * people's scripts read them.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "plugins/plugin.h"

#define USER_SHOWN 64

enum verdict
verdict_at(enum stage stage)
{
	return stage == STAGE_RCPT || stage == STAGE_DATA ? VERDICT_REFUSE : VERDICT_CLOSE;
}

/* 421 says that the connection ends. */
uint16_t
code_at(const struct check_ops *c, enum stage stage)
{
	return verdict_at(stage) == VERDICT_CLOSE ? c->code : 451;
}

static bool
is_550(const struct check_ops *c, const struct ask_answer *a)
{
	return a != NULL && a->code == 550 && c->text_550 != NULL;
}

/* Of the engine's answer; of a refusal without one, the episode's. */
static const char *
id_of(const struct session *s, const struct ask_answer *a)
{
	if (a != NULL)
		return a->id;
	return s->state_ok ? s->state.episode : "";
}

static bool
is_extended(const struct session *s)
{
	return s->state_ok && (s->state.flags & STATE_EXTENDED_TEXTS) != 0;
}

static void
put_id(struct text *t, const struct session *s, const struct ask_answer *a)
{
	const char *id = id_of(s, a);

	if (is_extended(s) && id[0] != '\0') {
		text_puts(t, " [");
		text_puts(t, id);
		text_putc(t, ']');
	}
}

void
put_ip(struct text *t, const struct ip *ip)
{
	char printed[IP_TEXT_MAX];

	ip_format(ip, printed);
	text_puts(t, printed);
}

void
put_user(struct text *t, const char *user)
{
	size_t n = strlen(user);

	text_put_printable(t, user, n, USER_SHOWN);
	if (n > USER_SHOWN)
		text_puts(t, "...");
}

/* One line in one write.  Nothing of it comes from the client. */
void
say_reply(const struct session *s, const struct check_ops *c, const struct ask_answer *a)
{
	char line[PLUGIN_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	text_putc(&t, verdict_at(s->stage) == VERDICT_CLOSE ? 'R' : 'E');
	text_put_u64(&t, is_550(c, a) ? 550 : code_at(c, s->stage));
	text_putc(&t, ' ');
	if (is_extended(s)) {
		text_puts(&t, is_550(c, a) ? c->enhanced_550 : c->enhanced);
		text_putc(&t, ' ');
	}
	text_puts(&t, is_550(c, a) ? c->text_550 : c->text);
	if (c->more != NULL && a != NULL)
		text_puts(&t, c->more(s, a));
	put_id(&t, s, a);
	text_putc(&t, '\n');
	if (!t.cut)
		(void)!write(STDOUT_FILENO, line, t.len); /* nobody there: nobody to tell */
}

/* Not at the price of waiting for a log that does not move. */
static void
write_log(const struct session *s, struct text *t)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	text_putc(t, '\n');
	if (s->can_log && !t->cut && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0)
		(void)!write(STDERR_FILENO, t->at, t->len);
}

static void
put_head(struct text *t, const char *name)
{
	text_puts(t, name);
	text_puts(t, ": pid ");
	text_put_u64(t, (uint64_t)getppid());
	text_puts(t, " - ");
}

void
say_note(const struct session *s, const char *name, const char *words)
{
	char line[PLUGIN_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	put_head(&t, name);
	text_puts(&t, words);
	write_log(s, &t);
}

void
say_refusal(const struct session *s, const struct check_ops *c, const struct ask_answer *a)
{
	char line[PLUGIN_LINE_MAX];
	struct text t = text_in(line, sizeof(line));

	if (c->describe != NULL) {
		put_head(&t, c->name);
		c->describe(s, &t);
	} else { /* overload, which was a shell script, has a form of its own */
		text_puts(&t, c->name);
		text_puts(&t, ": ");
		text_put_u64(&t, (uint64_t)getppid());
		text_putc(&t, ' ');
		text_puts(&t, c->text);
	}
	put_id(&t, s, a);
	write_log(s, &t);
}
