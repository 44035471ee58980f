/* SPDX-License-Identifier: ISC */
/*
 * hostile - texts that a stranger, or a broken program, may hand to us: the one table for all tests
 *
 * Wherever a value comes from outside (environment of a plugin, log line, control socket, configuration,
 * rate protocol), a test runs through this table and looks that no text gets out of its place.
 * Some carry a NUL, so a text has a length; some are long, so they are built when asked for.
 *
 *	static char text[HOSTILE_MAX + 1];
 *	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
 *		size_t len = hostile_text(i, text);
 *
 * To add one: a line below.  Scripts have them by tests/standin/hostile.c.
 */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include <stddef.h>
#include <string.h>

#define HOSTILE_MAX 65536

struct hostile {
	const char *s;
	size_t len;
	size_t times; /* 0: once */
};

#define HOSTILE(text) { text, sizeof(text) - 1, 0 }
#define HOSTILE_TIMES(text, n) { text, sizeof(text) - 1, n }

static const struct hostile hostile_table[] = {
	/* nothing, blanks, ends of lines */
	HOSTILE(""),
	HOSTILE(" "),
	HOSTILE("\t"),
	HOSTILE("\n"),
	HOSTILE("\r"),
	HOSTILE("\r\n"),
	HOSTILE("\n\n\n\n"),
	HOSTILE("\r\n\r\n"),
	HOSTILE("\n\r"),
	HOSTILE("a\nb"),
	HOSTILE("a\rb"),
	HOSTILE("a\r\nb"),
	HOSTILE("a@remote.test\n"),
	HOSTILE("a@remote.test\r\n"),
	HOSTILE("\na@remote.test"),
	HOSTILE("a\vb\fc"),
	HOSTILE("a\x85" "b"), /* NEL in Latin-1 */
	HOSTILE("a\xc2\x85" "b"), /* and in UTF-8 */
	HOSTILE("a\xe2\x80\xa8" "b"), /* LINE SEPARATOR */
	HOSTILE("a\xe2\x80\xa9" "b"), /* PARAGRAPH SEPARATOR */

	/* NUL */
	HOSTILE("\0"),
	HOSTILE("\0\0\0\0"),
	HOSTILE("a\0b"),
	HOSTILE("a@remote.test\0\nE550 forged"),
	HOSTILE("\0E550 forged\n"),
	HOSTILE("a\0@remote.test"),

	/* the letters of qmail-spp behind a line feed: any of them would be obeyed */
	HOSTILE("\nA"),
	HOSTILE("\nA\n"),
	HOSTILE("x\nA\nx"),
	HOSTILE("\nD\n"),
	HOSTILE("\nN\n"),
	HOSTILE("\nO\n"),
	HOSTILE("\nE550 forged\n"),
	HOSTILE("\nE250 ok\n"),
	HOSTILE("\nR221 bye\n"),
	HOSTILE("\nP250-first\n"),
	HOSTILE("\nHX-Forged: yes\n"),
	HOSTILE("\nCroot@localhost\n"),
	HOSTILE("\nSRELAYCLIENT=\n"),
	HOSTILE("\nSSMTPAUTHUSER=root\n"),
	HOSTILE("\nURELAYCLIENT\n"),
	HOSTILE("\nLM451 later\n"),
	HOSTILE("\nLR451 later\n"),
	HOSTILE("\nLD451 later\n"),
	HOSTILE("A"),
	HOSTILE("A\n"),
	HOSTILE("E550 forged"),
	HOSTILE("E550 forged\n"),
	HOSTILE("R550 forged\n"),
	HOSTILE("D\n"),
	HOSTILE("N\n"),
	HOSTILE("SRELAYCLIENT="),
	HOSTILE("HX-Forged: yes\nA\n"),

	/* replies of SMTP, and commands */
	HOSTILE("\r\n250 ok\r\n"),
	HOSTILE("\r\n250-first\r\n250 second\r\n"),
	HOSTILE("\r\n354 go ahead\r\n"),
	HOSTILE("\r\n.\r\n"),
	HOSTILE("\n.\n"),
	HOSTILE("\r\nMAIL FROM:<x@y.test>\r\nRCPT TO:<z@w.test>\r\nDATA\r\n"),
	HOSTILE("\r\nQUIT\r\n"),
	HOSTILE("\r\nSubject: forged\r\n\r\nbody"),
	HOSTILE("\r\nBcc: many@remote.test"),
	HOSTILE("<>"),
	HOSTILE(">"),
	HOSTILE("<a@b.test> SIZE=99999999999999999999"),

	/* our own replies */
	HOSTILE("R451 Temporary Failure: Server overload"),
	HOSTILE("R451 Temporary Failure: Server overload\n"),
	HOSTILE("\nR451 Temporary Failure: Server overload\n"),
	HOSTILE("\nE451 Temporary Failure: Server overload\n"),
	HOSTILE("\nR451 4.3.2 Temporary Failure: Server overload [e4k2mq7h2]\n"),
	HOSTILE("\nR421 Too many connections. Please reduce connections per minute.\n"),
	HOSTILE("451 Temporary Failure: Server overload"),
	HOSTILE(" [e4k2mq7h2]"),
	HOSTILE("e4k2mq7h2"),

	/* our own log lines, and the first line of our flag */
	HOSTILE("overload: 1 Temporary Failure: Server overload"),
	HOSTILE("\noverload: 4711 Temporary Failure: Server overload\n"),
	HOSTILE("\nipthrottle: pid 4711 - throttled 192.0.2.1\n"),
	HOSTILE("\nnotice: level: overloaded since=1795220246 reason=\"todo 523, limit 100, for 2s\"\n"),
	HOSTILE("\ninfo: level: normal\n"),
	HOSTILE("\nerror: keeper: the engine is gone\n"),
	HOSTILE("spillway overloaded since 1795220246 2026-11-21T00:17:26Z e4k2mq7h2: todo 523, limit 100, for 2s\n"),
	HOSTILE("\nspillway critical since 0 1970-01-01T00:00:00Z e: forced by a person\n"),
	HOSTILE("spillway "),
	HOSTILE(" since "),
	HOSTILE("todo 99999999, limit 1, for 1000000s"),

	/* what others log: a parser that isn't anchored takes these for the truth */
	HOSTILE("\n@400000006740a1b2000000001 status: local 200/200 remote 255/255"),
	HOSTILE("status: local 200/200 remote 255/255 suppl0 20/20 suppl1 20/20"),
	HOSTILE("\nstatus: local 0/10 remote 0/20\n"),
	HOSTILE("new msg 4711"),
	HOSTILE("\ninfo msg 4711: bytes 1 from <root@localhost> qp 1 uid 0\n"),
	HOSTILE("\nstarting delivery 1: msg 4711 to remote a@198.51.100.7\n"),
	HOSTILE("\ndelivery 1: failure: 198.51.100.7_does_not_like_recipient./\n"),
	HOSTILE("\nbounce msg 4711 qp 4712\n"),
	HOSTILE("\nend msg 4711\n"),
	HOSTILE("\nqlogreceived: result=accepted code=250 reason=rcpthosts remoteip=198.51.100.7 qp=1 pid=1\n"),
	HOSTILE("\nqlogenvelope: result=rejected code=553 reason=not_in_rcpthosts detail= helo=x remoteip=198.51.100.7\n"),
	HOSTILE("x remoteip=198.51.100.7"),
	HOSTILE("x remoteip=198.51.100.7 rcptto=root@localhost"),
	HOSTILE("qmail-smtpd: auth-failed method=plain user=root ip=198.51.100.7"),
	HOSTILE("\ntcpsvd: info: start 4711 0:127.0.0.1 ::198.51.100.7:25 ./198.51.100.7\n"),
	HOSTILE("\ntcpserver: ok 4711 mx:127.0.0.1:25 :198.51.100.7::1\n"),
	HOSTILE("\ntcpserver: end 4711 status 0\n"),
	HOSTILE("Invalid user root from 198.51.100.7"), /* exploit-db 38909 */
	HOSTILE("root from 198.51.100.7 port 22 ssh2"),
	HOSTILE("\nsshd[1]: Failed password for root from 198.51.100.7\n"),
	HOSTILE("198.51.100.7"),
	HOSTILE("[198.51.100.7]"),
	HOSTILE("451 qmail-spp failure: plugins/overload: child crashed (#4.3.0)"),
	HOSTILE("messages in queue: 0\nmessages in queue but not yet preprocessed: 0\n"),

	/* shells */
	HOSTILE("$(id)"),
	HOSTILE("`id`"),
	HOSTILE("${IFS}"),
	HOSTILE("$HOME"),
	HOSTILE("$((1/0))"),
	HOSTILE("; id"),
	HOSTILE("| id"),
	HOSTILE("& id &"),
	HOSTILE("&& id"),
	HOSTILE("> /tmp/forged"),
	HOSTILE("< /etc/passwd"),
	HOSTILE("'"),
	HOSTILE("\""),
	HOSTILE("\"'\""),
	HOSTILE("'; id; '"),
	HOSTILE("\"; id; \""),
	HOSTILE("\\"),
	HOSTILE("\\\\"),
	HOSTILE("a\\"),
	HOSTILE("\\n"),
	HOSTILE("\\x0a"),
	HOSTILE("\\000"),
	HOSTILE("!!"),
	HOSTILE("#"),
	HOSTILE("*"),
	HOSTILE("?"),
	HOSTILE("[a-z]*"),
	HOSTILE("{a,b}"),
	HOSTILE("~root"),
	HOSTILE("() { :;}; id"), /* CVE-2014-6271 */
	HOSTILE("-"),
	HOSTILE("--"),
	HOSTILE("-rf"),
	HOSTILE("--help"),
	HOSTILE("-c"),
	HOSTILE("-froot@localhost"),
	HOSTILE("IFS=/"),
	HOSTILE("LD_PRELOAD=/tmp/x.so"),
	HOSTILE("="),
	HOSTILE("=="),

	/* mail programs */
	HOSTILE("~!id"), /* CVE-2021-32749 */
	HOSTILE("\n~! id\n"),
	HOSTILE("\n~r /etc/passwd\n"),
	HOSTILE("|/bin/sh"),
	HOSTILE("|id@remote.test"),
	HOSTILE("/etc/passwd"),
	HOSTILE("./Maildir/"),
	HOSTILE("#@[]"),
	HOSTILE("@"),
	HOSTILE("@@"),
	HOSTILE("a@"),
	HOSTILE("@remote.test"),
	HOSTILE("a@[127.0.0.1]"),
	HOSTILE("a@[IPv6:::1]"),
	HOSTILE("@a.test:b@c.test"),
	HOSTILE("a%b@c.test"),
	HOSTILE("a!b!c"),
	HOSTILE("\"a b\"@remote.test"),
	HOSTILE("\"a\\\"b\"@remote.test"),
	HOSTILE("a@remote.test,b@remote.test"),
	HOSTILE("root"),
	HOSTILE("postmaster"),
	HOSTILE("MAILER-DAEMON"),
	HOSTILE("a-@[]"),

	/* printf */
	HOSTILE("%"),
	HOSTILE("%%"),
	HOSTILE("%s%s%s%s%s%s%s%s"),
	HOSTILE("%n%n%n%n"),
	HOSTILE("%1$n"),
	HOSTILE("%99999999d"),
	HOSTILE("%08x.%08x.%08x"),
	HOSTILE("%00"),
	HOSTILE("%0a"),
	HOSTILE("%0d%0aE550 forged"),

	/* paths */
	HOSTILE("."),
	HOSTILE(".."),
	HOSTILE("/"),
	HOSTILE("../"),
	HOSTILE("../../../../etc/passwd"),
	HOSTILE("..\\..\\"),
	HOSTILE("..%2f..%2f"),
	HOSTILE("/dev/zero"),
	HOSTILE("/dev/stdin"),
	HOSTILE("/proc/self/mem"),
	HOSTILE("control/overloaded"),
	HOSTILE("a/b"),
	HOSTILE(".hidden"),

	/* terminals */
	HOSTILE("\x1b"),
	HOSTILE("\x1b[2J\x1b[H"),
	HOSTILE("\x1b[31mred\x1b[0m"),
	HOSTILE("\x1b]0;title\x07"),
	HOSTILE("\x1b]52;c;aWQK\x07"),
	HOSTILE("\x1bP$q\"p\x1b\\"),
	HOSTILE("\x9b" "31m"),
	HOSTILE("\x07"),
	HOSTILE("\x08\x08\x08\x08hidden"),
	HOSTILE("\x7f"),
	HOSTILE("\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x1f"),
	HOSTILE("visible\rhidden"),

	/* 8 bits, good and bad UTF-8 */
	HOSTILE("\x80"),
	HOSTILE("\xff"),
	HOSTILE("\xff\xfe"),
	HOSTILE("\xef\xbb\xbf" "bom"),
	HOSTILE("\xc3\xa9t\xc3\xa9@remote.test"),
	HOSTILE("\xe9t\xe9@remote.test"), /* Latin-1 */
	HOSTILE("\xc3"), /* cut */
	HOSTILE("\xe2\x82"),
	HOSTILE("\xf0\x9f\x92"),
	HOSTILE("\xc0\x80"), /* NUL, overlong */
	HOSTILE("\xc0\x8a"), /* LF, overlong */
	HOSTILE("\xc0\xaf"), /* slash, overlong */
	HOSTILE("\xe0\x80\x8a"),
	HOSTILE("\xed\xa0\x80"), /* a surrogate */
	HOSTILE("\xf4\x90\x80\x80"), /* beyond U+10FFFF */
	HOSTILE("\xf8\x88\x80\x80\x80"),
	HOSTILE("\xf0\x9f\x92\xa9"),
	HOSTILE("\xe2\x80\xae" "txet\xe2\x80\xac"), /* right to left */
	HOSTILE("\xe2\x80\x8b"), /* no width */
	HOSTILE("a\xcc\x81\xcc\x81\xcc\x81\xcc\x81"),
	HOSTILE("\xef\xbf\xbd"),
	HOSTILE("\x1b$B$3\x1b(B"), /* ISO-2022-JP */

	/* numbers and addresses that aren't */
	HOSTILE("0"),
	HOSTILE("-1"),
	HOSTILE("4294967296"),
	HOSTILE("18446744073709551616"),
	HOSTILE("1e308"),
	HOSTILE("nan"),
	HOSTILE("inf"),
	HOSTILE("0x7f000001"),
	HOSTILE("127.1"),
	HOSTILE("2130706433"),
	HOSTILE("010.1.1.1"),
	HOSTILE("1.2.3.4.5"),
	HOSTILE("1.2.3"),
	HOSTILE("1.2.3.256"),
	HOSTILE("1.2.3.4 "),
	HOSTILE(" 1.2.3.4"),
	HOSTILE("1.2.3.4\n"),
	HOSTILE("1.2.3.4/0"),
	HOSTILE("0.0.0.0/0"),
	HOSTILE("::/0"),
	HOSTILE("fe80::1%eth0"),
	HOSTILE("::ffff:1.2.3.4%1"),
	HOSTILE("::1::1"),
	HOSTILE(":::"),
	HOSTILE("unknown"),
	HOSTILE("softnet"),

	/* JSON, SQL, HTML, configuration */
	HOSTILE("\",\"level\":\"normal"),
	HOSTILE("\"}{\""),
	HOSTILE("\\u000a"),
	HOSTILE("'; DROP TABLE refusals; --"),
	HOSTILE("' OR '1'='1"),
	HOSTILE("\"; }; levels = { }; #"),
	HOSTILE("@include \"/dev/zero\""),
	HOSTILE("@include \".\""), /* libconfig #292 */
	HOSTILE("<script>alert(1)</script>"),
	HOSTILE("<!--"),
	HOSTILE("user 1\r\n0 0/0\r\n"),
	HOSTILE("?user root"),

	/* long */
	HOSTILE_TIMES("x", 255),
	HOSTILE_TIMES("x", 511),
	HOSTILE_TIMES("x", 512),
	HOSTILE_TIMES("x", 513),
	HOSTILE_TIMES("x", 1000),
	HOSTILE_TIMES("x", 4096),
	HOSTILE_TIMES("\n", 4096),
	HOSTILE_TIMES("\xff", 10240),
	HOSTILE_TIMES("E550 forged\n", 1000),
	HOSTILE_TIMES("%n", 5000),
	HOSTILE_TIMES("a.", 5000),
	HOSTILE_TIMES("../", 1365),
	HOSTILE_TIMES("[", 10000),
	HOSTILE_TIMES("x", HOSTILE_MAX),
	HOSTILE_TIMES("\r\n", HOSTILE_MAX / 2),
};

#define HOSTILE_COUNT (sizeof(hostile_table) / sizeof(hostile_table[0]))

_Static_assert(HOSTILE_COUNT >= 200, "the promise of failures.md");

/* Build text `i` (below HOSTILE_COUNT) in `ret`, a NUL behind it.  Returns its length. */
static inline size_t
hostile_text(size_t i, char ret[HOSTILE_MAX + 1])
{
	const struct hostile *h = &hostile_table[i];
	size_t n = 0;

	for (size_t k = 0; k < (h->times == 0 ? 1 : h->times) && h->len <= HOSTILE_MAX - n; k++) {
		memcpy(ret + n, h->s, h->len);
		n += h->len;
	}
	ret[n] = '\0';
	return n;
}

#endif
