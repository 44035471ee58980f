/* SPDX-License-Identifier: ISC */
/*
 * smtpd - stands for qmail-smtpd with qmail-spp, AUTH and ext-todo ("combined" in our notes)
 *
 *	tcpsvd -l me 127.0.0.1 2525 env QMAIL_HOME=DIR ENABLE_SPP= smtpd
 *
 * One client on fd 0 and 1, log on fd 2.  The home is $QMAIL_HOME, else the first argument, else the
 * current directory; see mkhome.sh.  What a plugin can see (order of events, environment, replies)
 * follows the real one to the letter, its oddities too: an E at connection suppresses the banner only,
 * one at auth leaves SMTPAUTHUSER set, plugins of stage pass run twice per recipient.  What no plugin
 * sees is kept simple: no TLS, no SPF, no checks of recipients, the message is queued in this process
 * ("qp" is our own pid), a wrong password is answered at once.
 *
 * Exit: 0 after QUIT, R and D; 1 otherwise, as the real one.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"
#include "tests/standin/buf.h"
#include "tests/standin/control.h"
#include "tests/standin/plugin.h"
#include "tests/standin/qq.h"
#include "tests/standin/smtpauth.h"
#include "tests/standin/smtpd.h"
#include "tests/standin/smtpdata.h"
#include "tests/standin/smtpio.h"
#include "tests/standin/smtplog.h"

#define RCPT_MAX 1000
#define MESSAGE_MAX (UINT64_C(10) << 20)
#define TIMEOUT_S 60

/* --- plugins --- */

/* A section is chosen by the first letter in the brackets; lines before the first and in unknown ones
 * are not run. */
static int
section_of(const char *line)
{
	for (int i = 0; i < PLUGIN_STAGES; i++)
		if (line[1] == plugin_stage_names[i][0])
			return i;
	return PLUGIN_STAGES;
}

static void
read_plugins(struct smtpd *d)
{
	const char *conf = env_or("SPPCONFFILE", "");
	struct buf lines = { 0 };
	int section = PLUGIN_STAGES;

	if (getenv("ENABLE_SPP") == NULL)
		return;
	d->spp_on = true;
	if (control_lines(*conf == '\0' ? "control/smtpplugins" : conf, &lines) != 1)
		die_control(d);
	for (size_t i = 0, n; i < lines.len; i += n) {
		n = strlen(lines.at + i) + 1;
		if (lines.at[i] == '[')
			section = section_of(lines.at + i);
		else if (section < PLUGIN_STAGES)
			buf_put(&d->plugins[section], lines.at + i, n);
	}
	buf_done(&lines);
}

/* Run the plugins of a stage.  Returns what smtpd.verdict holds; does not return after an R or a D. */
static int
run_stage(struct smtpd *d, enum plugin_stage stage, const char *addr_name)
{
	static const struct plugin_how as_qmail_spp;
	struct buf *lines = &d->plugins[stage];

	if (!d->spp_on || d->spp.off)
		return 1;
	d->spp.addr = addr_name == NULL ? NULL : &d->addr;
	d->spp.addr_name = addr_name;
	if (addr_name != NULL)
		env_put(addr_name, buf_str(&d->addr));
	for (size_t i = 0; i < lines->len; i += strlen(lines->at + i) + 1)
		switch (plugin_run(&d->spp, lines->at + i, &as_qmail_spp).end) {
		case PLUGIN_PASSES:
			break;
		case PLUGIN_NEXT:
		case PLUGIN_ACCEPT:
			return 1;
		case PLUGIN_OK:
			return 2;
		case PLUGIN_CLOSE:
		case PLUGIN_DROP:
			leave(d, 0);
		case PLUGIN_REFUSE:
		case PLUGIN_FAILURE:
		case PLUGIN_HANG:
			return 0;
		}
	return 1;
}

/* Tell a postponed error.  It stays in force until RSET or DATA.  Returns whether there was one. */
static bool
told_later(struct smtpd *d, enum plugin_later which)
{
	const struct buf *text = &d->spp.later[which];

	if (text->len == 0)
		return false;
	d->spp.later_told[which] = true;
	buf_put(&d->io.out, text->at, text->len);
	return true;
}

static void
forget_transaction(struct smtpd *d)
{
	buf_clear(&d->spp.headers);
	for (size_t i = 0; i < LATER_COUNT; i++) {
		buf_clear(&d->spp.later[i]);
		d->spp.later_told[i] = false;
	}
	d->rcpt_count = d->rcpt_count_all = 0;
}

/* --- HELO, EHLO --- */

static bool
greet(struct smtpd *d, const char *name)
{
	env_put("SMTPHELOHOST", name);
	d->verdict = run_stage(d, PLUGIN_HELO, NULL);
	return d->verdict != 0;
}

static void
begin_session(struct smtpd *d, const char *name, bool esmtp)
{
	d->seen_mail = false;
	d->esmtp = esmtp;
	buf_copy(&d->helo, name);
}

static void
cmd_helo(struct smtpd *d, char *arg)
{
	if (!greet(d, arg))
		return;
	out(d, "250 ");
	reply(d, buf_str(&d->me));
	begin_session(d, arg, false);
}

static void
cmd_ehlo(struct smtpd *d, char *arg)
{
	if (!greet(d, arg))
		return;
	out(d, "250-");
	reply(d, buf_str(&d->me));
	out(d, "250-PIPELINING\r\n250-8BITMIME\r\n");
	if (d->has_users)
		reply(d, "250-AUTH LOGIN PLAIN");
	out(d, "250 SIZE ");
	out_u64(d, d->message_max);
	reply(d, "");
	begin_session(d, arg, true);
}

/* --- AUTH --- */

static void
auth_success(struct smtpd *d, const char *method)
{
	const char *user = buf_str(&d->user);

	env_put("SMTPAUTHUSER", user);
	if (run_stage(d, PLUGIN_AUTH, NULL) == 0)
		return;
	d->seen_auth = true;
	d->relay = "";
	env_put("TCPREMOTEINFO", user);
	env_put("RELAYCLIENT", "");
	env_put("SMTPAUTHUSER", user);
	env_put("SMTP_AUTH_USER", user);
	log_auth(d, "auth-success", method);
	reply(d, "235 ok, go ahead (#2.0.0)");
}

static void
auth_try(struct smtpd *d, const char *method, const char *initial)
{
	struct buf pass = { 0 };
	bool ok = *method == 'l' ? auth_login(d, initial, &pass) : auth_plain(d, initial, &pass);

	if (ok && (d->user.len == 0 || pass.len == 0)) {
		reply(d, "501 malformed auth input (#5.5.4)");
	} else if (ok && auth_is_user(d, &pass)) {
		auth_success(d, method);
	} else if (ok) {
		log_auth(d, "auth-failed", method);
		reply(d, "535 authentication failed (#5.7.1)");
	}
	buf_done(&pass);
}

static void
cmd_auth(struct smtpd *d, char *arg)
{
	static const char *const methods[] = { "login", "plain" };
	size_t n = strcspn(arg, " "), i;

	if (!d->has_users) {
		reply(d, "503 auth not available (#5.3.3)");
	} else if (d->seen_auth) {
		reply(d, "503 you're already authenticated (#5.5.0)");
	} else if (d->seen_mail) {
		reply(d, "503 no auth during mail transaction (#5.5.0)");
	} else {
		for (i = 0; i < countof(methods); i++)
			if (n == strlen(methods[i]) && strncasecmp(arg, methods[i], n) == 0)
				break;
		if (i == countof(methods)) {
			reply(d, "504 auth type invalid (#5.5.1)");
			return;
		}
		buf_clear(&d->user);
		env_put("SMTPAUTHMETHOD", methods[i]);
		char *initial = strdup(arg + n + strspn(arg + n, " "));
		if (initial == NULL)
			buf_die();
		auth_try(d, methods[i], initial); /* d->line, where `arg` lies, is used again there */
		free(initial);
	}
}

/* --- MAIL, RCPT --- */

/* Where the address in "FROM:<...>" begins, and the byte that ends it. */
static const char *
find_address(const char *arg, char *ret_end)
{
	const char *at = strchr(arg, '<');

	*ret_end = '>';
	if (at != NULL) {
		at++;
	} else {
		*ret_end = ' ';
		at = strchr(arg, ':');
		if (at == NULL || at[1] == '\0')
			return NULL;
		at += 1 + strspn(at + 1, " ");
	}
	if (*at == '@' && strchr(at, ':') != NULL) /* a source route */
		at = strchr(at, ':') + 1;
	return at;
}

/* Put the address into d->addr, without quotes and backslashes. */
static bool
parse_address(struct smtpd *d, const char *arg)
{
	bool escaped = false, quoted = false;
	char end;
	const char *at = find_address(arg, &end);

	if (at == NULL)
		return false;
	buf_clear(&d->addr);
	for (; *at != '\0'; at++) {
		if (!escaped && !quoted && *at == end)
			break;
		if (!escaped && *at == '"')
			quoted = !quoted;
		else if (escaped || *at != '\\')
			buf_putc(&d->addr, *at);
		escaped = !escaped && *at == '\\';
	}
	return d->addr.len < ADDRESS_MAX;
}

/* Does "SIZE=n" behind the address announce more than is allowed? */
static bool
announces_too_much(const struct smtpd *d, const char *arg)
{
	const char *at = strcasestr(arg, " SIZE=");
	char digits[24];
	uint64_t v;

	if (at == NULL || d->message_max == 0)
		return false;
	at += 6;
	size_t n = strspn(at, "0123456789");
	if (n >= sizeof(digits))
		return true;
	memcpy(digits, at, n);
	digits[n] = '\0';
	return num_u64(digits, &v) == 0 && v > d->message_max;
}

static void
cmd_mail(struct smtpd *d, char *arg)
{
	if (!parse_address(d, arg)) {
		reply(d, "555 syntax error (#5.5.4)");
		return;
	}
	if (announces_too_much(d, arg)) {
		reply_too_big(d);
		return;
	}
	if (told_later(d, LATER_MAIL))
		return;
	d->rcpt_count = d->rcpt_count_all = 0;
	d->verdict = run_stage(d, PLUGIN_MAIL, "SMTPMAILFROM");
	if (d->verdict == 0)
		return;
	buf_clear(&d->rcpts);
	d->n_rcpts = 0;
	buf_copy(&d->sender, buf_str(&d->addr));
	d->seen_mail = true;
	reply(d, "250 ok");
}

static bool
rcpt_plugins_agree(struct smtpd *d, bool allowed)
{
	if (told_later(d, LATER_RCPT))
		return false;
	env_put_u64("SMTPRCPTCOUNT", d->rcpt_count);
	env_put_u64("SMTPRCPTCOUNTALL", ++d->rcpt_count_all);
	env_put("SMTPRCPTHOSTSOK", allowed ? "1" : "0");
	d->verdict = run_stage(d, PLUGIN_RCPT, "SMTPRCPTTO");
	return d->verdict != 0;
}

/* Twice, and counting each time: that is what plugins of stage pass meet in the combined server. */
static bool
pass_plugins_agree(struct smtpd *d)
{
	for (int i = 0; i < 2; i++) {
		env_put_u64("SMTPRCPTCOUNT", ++d->rcpt_count);
		d->verdict = run_stage(d, PLUGIN_PASS, "SMTPRCPTTO");
		if (d->verdict == 0)
			return false;
	}
	return true;
}

static void
cmd_rcpt(struct smtpd *d, char *arg)
{
	if (!d->seen_mail) {
		reply(d, "503 MAIL first (#5.5.1)");
		return;
	}
	if (!parse_address(d, arg)) {
		reply(d, "555 syntax error (#5.5.4)");
		return;
	}
	if (d->n_rcpts >= RCPT_MAX) {
		reply(d, "452 max rcpt limit exceeded (#5.7.1)");
		return;
	}
	bool allowed = d->relay != NULL || !d->has_rcpthosts
		|| control_has_domain(&d->rcpthosts, buf_str(&d->addr));
	if (!rcpt_plugins_agree(d, allowed))
		return;
	if (!allowed && d->verdict == 1) {
		log_event(d, false, "not_in_rcpthosts", "553", 0);
		reply(d, "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)");
		return;
	}
	if (d->relay != NULL)
		buf_puts(&d->addr, d->relay);
	if (!pass_plugins_agree(d))
		return;
	buf_putc(&d->rcpts, 'T');
	buf_put(&d->rcpts, buf_str(&d->addr), d->addr.len + 1);
	d->n_rcpts++;
	log_event(d, true, d->relay != NULL ? "relayclient" : "rcpthosts", "250", 0);
	reply(d, "250 ok");
}

/* --- DATA --- */

static void
cmd_data(struct smtpd *d, char *arg)
{
	struct qq q;

	(void)arg;
	if (!d->seen_mail) {
		reply(d, "503 MAIL first (#5.5.1)");
		return;
	}
	if (d->n_rcpts == 0) {
		reply(d, "503 RCPT first (#5.5.1)");
		return;
	}
	if (told_later(d, LATER_DATA) || run_stage(d, PLUGIN_DATA, NULL) == 0)
		return;
	d->seen_mail = false;
	if (qq_open(&q) < 0) {
		reply(d, "451 qqt failure (#4.3.0)");
		return;
	}
	reply(d, "354 go ahead");
	put_received(d, &q);
	qq_put(&q, buf_str(&d->spp.headers), d->spp.headers.len);
	forget_transaction(d);
	take_message(d, &q);
	finish_message(d, &q);
}

/* --- the others --- */

static void
cmd_rset(struct smtpd *d, char *arg)
{
	(void)arg;
	forget_transaction(d);
	d->seen_mail = false;
	reply(d, "250 flushed");
}

static void
cmd_noop(struct smtpd *d, char *arg)
{
	(void)arg;
	reply(d, "250 ok");
}

static void
cmd_vrfy(struct smtpd *d, char *arg)
{
	(void)arg;
	reply(d, "252 send some mail, i'll try my best");
}

static void
cmd_help(struct smtpd *d, char *arg)
{
	(void)arg;
	reply(d, "214 this is the stand-in of spillway's tests");
}

static void
cmd_quit(struct smtpd *d, char *arg)
{
	(void)arg;
	out(d, "221 ");
	reply(d, buf_str(&d->me));
	leave(d, 0);
}

static void
cmd_unknown(struct smtpd *d, char *arg)
{
	(void)arg;
	reply(d, "500 unrecognised (#5.5.2)");
}

static const struct command {
	const char *name; /* NULL: the last one */
	void (*run)(struct smtpd *d, char *arg);
	bool flush; /* at once, pipelining or not */
} commands[] = {
	{ "rcpt", cmd_rcpt, false },
	{ "mail", cmd_mail, false },
	{ "data", cmd_data, true },
	{ "auth", cmd_auth, true },
	{ "quit", cmd_quit, true },
	{ "helo", cmd_helo, true },
	{ "ehlo", cmd_ehlo, true },
	{ "rset", cmd_rset, false },
	{ "help", cmd_help, true },
	{ "noop", cmd_noop, true },
	{ "vrfy", cmd_vrfy, true },
	{ NULL, cmd_unknown, true },
};

static void
obey(struct smtpd *d, char *line)
{
	size_t n = strcspn(line, " ");
	char *arg = line + n + strspn(line + n, " ");
	const struct command *c = commands;

	line[n] = '\0';
	while (c->name != NULL && strcasecmp(c->name, line) != 0)
		c++;
	c->run(d, arg);
	if (c->flush)
		smtpio_flush(&d->io);
}

static _Noreturn void
serve(struct smtpd *d)
{
	for (;;) {
		int r = smtpio_line(&d->io, &d->line);

		if (r == 0)
			obey(d, buf_str(&d->line));
		else if (r == -E2BIG)
			reply(d, "500 line too long (#5.5.2)");
		else
			die_read(d, r);
	}
}

static void
read_controls(struct smtpd *d)
{
	uint64_t timeout = control_number("control/timeoutsmtpd", TIMEOUT_S);
	int r;

	if (timeout < 1 || timeout > SMTP_TIMEOUT_MAX_S)
		timeout = timeout < 1 ? 1 : SMTP_TIMEOUT_MAX_S;
	d->io.timeout_ms = (int)timeout * 1000;
	if (control_lines("control/me", &d->me) != 1 || d->me.len == 0)
		die_control(d);
	d->me.len = strlen(d->me.at); /* its first line */
	if ((r = control_lines("control/rcpthosts", &d->rcpthosts)) < 0)
		die_control(d);
	d->has_rcpthosts = r == 1;
	if ((r = control_lines("control/standin-users", &d->users)) < 0)
		die_control(d);
	d->has_users = r == 1;
	d->message_max = control_number("control/databytes", MESSAGE_MAX);
	read_plugins(d);
}

int
main(int argc, char **argv)
{
	static struct smtpd d;
	const char *home = env_or("QMAIL_HOME", argc > 1 ? argv[1] : ".");

	(void)signal(SIGPIPE, SIG_IGN); /* plugins inherit it */
	d.spp.out = &d.io.out;
	if (chdir(home) < 0)
		die_control(&d);
	read_controls(&d);
	d.relay = getenv("RELAYCLIENT");
	buf_copy(&d.helo, "unknown");
	if (run_stage(&d, PLUGIN_CONNECTION, NULL) != 0) {
		out(&d, "220 ");
		out(&d, buf_str(&d.me));
		reply(&d, " ESMTP");
	}
	serve(&d);
}
