#!/bin/sh
# SPDX-License-Identifier: ISC
#
# standin - does our own small qmail behave as the two real ones were seen to?
#
# The other tests believe tests/standin/; this one looks whether they may.  Part 1 replays what was observed
# of qmail-spp with misbehaving plugins, once in an SMTP session and, where it tells more, with `spp`.  Then
# SMTP itself, the queue, send, flood, qstat.
#
# Usage: B=build/release tests/e2e/standin.sh      TAP on stdout; needs loopback only; about 10 s

# shellcheck disable=SC2016 # what is in single quotes is expanded by the plugins
set -u
LC_ALL=C
export LC_ALL

root=$(cd "$(dirname -- "$0")/../.." && pwd) || exit 111
B=${B:-build/release}
case $B in
/*) ;;
*) B=$root/$B ;;
esac
export B
bin=$B/standin
work=$(mktemp -d "${TMPDIR:-/tmp}/standin.XXXXXX") || exit 111
started=''

cleanup() {
	for p in $started; do
		kill "$p" 2>/dev/null
	done
	cd / && rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

for p in QMAIL_HOME ENABLE_SPP SPPCONFFILE RELAYCLIENT SMTPAUTHUSER SMTPAUTHMETHOD SMTP_AUTH_USER TCPREMOTEIP; do
	unset "$p"
done

# --- telling ---

tests=0 failed=0

ok() { # NAME STATUS
	tests=$((tests + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $tests - $1"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $1"
	fi
}

is() { # NAME GOT WANTED
	[ "$2" = "$3" ]
	ok "$1" $?
	[ "$2" = "$3" ] || printf '#    got: %s\n# wanted: %s\n' "$2" "$3"
}

within() { # NAME GOT LEAST MOST
	[ "$2" -ge "$3" ] && [ "$2" -le "$4" ]
	ok "$1 ($2, wanted $3..$4)" $?
}

skip() { # NAME REASON
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# --- talking ---

home=$work/split
"$root/tests/standin/mkhome.sh" "$home" --split || exit 111
"$root/tests/standin/mkhome.sh" "$work/plain" --plain || exit 111

plugins() { # the text of control/smtpplugins, with printf escapes; or - for none
	# shellcheck disable=SC2059
	if [ "$1" = - ]; then rm -f "$home/control/smtpplugins"; else printf "$1" >"$home/control/smtpplugins"; fi
}

# Say the lines of $1 (with printf escapes), CR LF behind each, all at once: always pipelined.  Prints the
# replies joined by '|', of EHLO only the first, another CR as '~'.
talk() {
	# shellcheck disable=SC2059
	printf "$1" | sed 's/$/\r/' | "$bin/smtpd" "$home" 2>"$work/log" |
		sed -e 's/\r$//' -e '/^250-/d' -e 's/^250 SIZE .*/250 ehlo/' | tr '\r\n' '~|' | sed 's/|$//'
}

session='EHLO c.test\nMAIL FROM:<a@remote.test>\nRCPT TO:<alice@example.test>\nQUIT\n'
banner='220 mx.example.test ESMTP|250 ehlo'
nomail='503 MAIL first (#5.5.1)|221 mx.example.test'
fine='250 ok|250 ok|221 mx.example.test'

# With this line in [mail], the standard session goes so.
replay() { # NAME LINE-WITH-PRINTF-ESCAPES REPLIES-FROM-MAIL-ON
	plugins "[mail]\n$2\n"
	is "$1" "$(talk "$session")" "$banner|$3"
}

spp() { # what spp prints, without the time, joined by '|'
	"$bin/spp" "$@" 2>"$work/log" | tee "$work/spp" | sed '/^ms: /d' | tr '\n' '|' | sed 's/|$//'
}

spp_ms() {
	sed -n 's/^ms: //p' "$work/spp"
}

ENABLE_SPP=''
export ENABLE_SPP
cannot="can't execute (#4.3.0)"

# --- 1. plugins that misbehave: the table of facts ---

replay 'exit 120 is a failure' ':exit 120' "451 qmail-spp failure: :exit 120: $cannot|$nomail"
is 'spp: exit 120' "$(spp --mail -- ':exit 120')" \
	"reply: 451 qmail-spp failure: :exit 120: $cannot|out: 0|outcome: failure|exit: 120"
replay 'a missing plugin is a failure' /nonexistent/plugin \
	"451 qmail-spp failure: /nonexistent/plugin: $cannot|$nomail"
is 'spp: missing' "$(spp --mail -- /nonexistent/plugin)" \
	"reply: 451 qmail-spp failure: /nonexistent/plugin: $cannot|out: 0|outcome: failure|exit: 120"
replay 'one that is not executable too' control/me "451 qmail-spp failure: control/me: $cannot|$nomail"
echo 'echo E451 rel' >"$home/plugins/noshebang"
chmod +x "$home/plugins/noshebang"
replay 'one without #! too' plugins/noshebang "451 qmail-spp failure: plugins/noshebang: $cannot|$nomail"
cp "$bin/spp" "$home/plugins/busy"
exec 9>>"$home/plugins/busy"
is 'spp: one that is open for writing too' "$(spp --mail -- "$home/plugins/busy" 9>&-)" \
	"reply: 451 qmail-spp failure: $home/plugins/busy: $cannot|out: 0|outcome: failure|exit: 120"
exec 9>&-
replay 'arguments need the shell' '/bin/echo E451 x' "451 qmail-spp failure: /bin/echo E451 x: $cannot|$nomail"
printf '#!/bin/sh\necho E451 rel\n' >"$home/plugins/rel"
chmod +x "$home/plugins/rel"
replay 'a path is relative to the home' plugins/rel "451 rel|$nomail"

crashed='child crashed (#4.3.0)'
sig=':kill -SEGV $$'
replay 'a signal is a failure' "$sig" "451 qmail-spp failure: $sig: $crashed|$nomail"
is 'spp: signal' "$(spp --mail -- "$sig")" \
	"reply: 451 qmail-spp failure: $sig: $crashed|out: 0|outcome: failure|signal: 11"
sig=':echo E451 busy; kill -SEGV $$'
replay 'E then a signal: two replies' "$sig" "451 busy|451 qmail-spp failure: $sig: $crashed|$nomail"
is 'spp: E then a signal' "$(spp --mail -- "$sig")" \
	"reply: 451 busy|reply: 451 qmail-spp failure: $sig: $crashed|out: 1|outcome: failure|signal: 11"
sig=':echo R451 busy; kill -SEGV $$'
replay 'R then a signal: two replies and the session goes on' "$sig" \
	"451 busy|451 qmail-spp failure: $sig: $crashed|$nomail"
replay 'E then exit 120: two replies' ':echo E451 busy; exit 120' \
	"451 busy|451 qmail-spp failure: :echo E451 busy; exit 120: $cannot|$nomail"
replay 'exit 1 and nothing said passes' ':exit 1' "$fine"
is 'spp: exit 1' "$(spp --mail -- ':exit 1')" 'out: 0|outcome: pass|exit: 1'
replay 'exit 111 behind an E changes nothing' ':echo E451 busy; exit 111' "451 busy|$nomail"

is 'spp: a hang' "$(spp --mail --timeout 0.3 -- ':exec sleep 20')" 'out: 0|outcome: hang|signal: 9'
within 'it was cut at the timeout, ms' "$(spp_ms)" 290 2000
is 'spp: a hang of its children' "$(spp --mail --timeout 0.3 -- ':sleep 20 & exit 0')" \
	'out: 0|outcome: hang|exit: 0'
echo 1 >"$home/control/timeoutsmtpd"
replay 'timeoutsmtpd does not count for plugins' ':sleep 1.3' "$fine"
rm "$home/control/timeoutsmtpd"
is 'spp: a child that holds stdout' "$(spp --mail -- ':sleep 0.4 & exit 0')" 'out: 0|outcome: pass|exit: 0'
within 'it was waited for, ms' "$(spp_ms)" 390 3000
is 'spp: a child that does not' "$(spp --mail -- ':sleep 0.4 >/dev/null 2>&1 & exit 0')" \
	'out: 0|outcome: pass|exit: 0'
within 'it was not waited for, ms' "$(spp_ms)" 0 350
is 'spp: lingering behind the reply' "$(spp --mail -- ':echo E451 busy; sleep 0.4')" \
	'reply: 451 busy|out: 1|outcome: refuse|exit: 0'
within 'it was waited for, ms' "$(spp_ms)" 390 3000

replay 'no final newline: the last character is lost (E)' ':printf "E451 overloaded try later"' \
	"451 overloaded try late|$nomail"
replay 'no final newline (R)' ':printf "R451 overloaded try later"' '451 overloaded try late'
replay 'CR LF becomes CR CR LF' ':printf "E451 busy\\\\r\\\\n"' "451 busy~|$nomail"
is 'spp: CR LF' "$(spp --mail -- ':printf "E451 busy\r\n"')" 'reply: 451 busy\x0d|out: 1|outcome: refuse|exit: 0'
replay 'a line is cut at a NUL' ':printf "E451 abc\\\\000def\\\\n"' "451 abc|$nomail"
plugins '[mail]\n:printf E451; head -c 100000 /dev/zero | tr "\\\\0" x; echo\n'
got=$(talk "$session")
is 'a line of 100 kB is relayed whole' "${#got}" "$((${#banner} + 1 + 3 + 100000 + 1 + ${#nomail}))"
replay 'a line of 5 MB without newline is no trouble' ':head -c 5000000 /dev/zero | tr "\\\\0" x' "$fine"
replay 'behind an E nothing is read' ':echo E451 busy; head -c 5000000 /dev/zero 2>/dev/null' "451 busy|$nomail"
replay 'an E alone is an empty line' ':echo E' "|$nomail"
replay 'an E without code is relayed' ':echo Ebusy' "busy|$nomail"
replay 'unknown letters are ignored' ':printf "\\\\nhello\\\\nXfoo\\\\n250 ok\\\\nr451 x\\\\n"' "$fine"

# --- 2. what plugins can say ---

replay 'R closes' ':echo R451 busy' '451 busy'
plugins '[mail]\n:echo D\n'
is 'D closes without a word' "$(talk "$session")" "$banner"
is 'the exit status behind D is 0' "$(printf 'MAIL FROM:<>\r\n' | { "$bin/smtpd" "$home" >/dev/null; echo $?; })" 0
replay 'P and E' ':printf "P451-first\\\\nE451 second\\\\n"' "451-first|451 second|$nomail"
replay 'behind E no plugin runs' ':echo E451 first\n:echo P250 second' "451 first|$nomail"
replay 'behind P others run' ':echo P250 hmm\n:echo E451 second' "250 hmm|451 second|$nomail"
replay 'behind N no other' ':echo N\n:echo E451 second' "$fine"
is 'spp: N' "$(spp --mail -- ':echo N')" 'out: 1|outcome: next|exit: 0'
is 'spp: O' "$(spp --rcpt -- ':echo O')" 'out: 1|outcome: ok|exit: 0'
replay 'A ends plugins for the session' ':echo A\n[rcpt]\n:echo E451 rcpt' "$fine"
is 'spp: A' "$(spp --mail -- ':echo A')" 'out: 1|outcome: accept|exit: 0'
replay 'LR is told at RCPT' ':echo LR451 later' "250 ok|451 later|221 mx.example.test"
plugins '[mail]\n:echo LD451 later\n'
is 'LD is told at DATA' "$(talk "${session%QUIT*}DATA\nQUIT\n")" "$banner|250 ok|250 ok|451 later|221 mx.example.test"
plugins '[connection]\n:echo LM451 at mail\n'
is 'LM is told until RSET' "$(talk 'MAIL FROM:<a@b>\nMAIL FROM:<a@b>\nRSET\nMAIL FROM:<a@b>\nQUIT\n')" \
	'220 mx.example.test ESMTP|451 at mail|451 at mail|250 flushed|250 ok|221 mx.example.test'
replay 'S and U set the environment' ':echo SFOO=bar baz\n:echo "P250 $FOO"\n:echo UFOO\n:echo "P250 ${FOO-unset}"' \
	"250 bar baz|250 unset|$fine"
replay 'C changes the sender' ':echo Cnew@x.test\n:echo "P250 $SMTPMAILFROM"' "250 new@x.test|$fine"
is 'spp: effects are shown' "$(spp --mail -- ':printf "HX-A: b\nSFOO=1\nLR451 z\n"; exit 3')" \
	'effect: HX-A: b|effect: SFOO=1|effect: LR451 z|out: 3|outcome: pass|exit: 3'
replay 'fd 0 is closed, 1 and 2 are not' \
	':for f in 0 1 2 3 4 5; do [ -e /proc/$$/fd/$f ] && s="$s $f"; done; echo "P250$s"' "250 1 2|$fine"
ignores=':grep -q "^SigIgn:.*[13579bdf]...$" /proc/$$/status && echo Eignored'
is 'spp: SIGPIPE is ignored' "$(spp --mail -- "$ignores")" 'reply: ignored|out: 1|outcome: refuse|exit: 0'
is 'spp: or not' "$(spp --mail --sigpipe-default -- "$ignores")" 'out: 0|outcome: pass|exit: 1'
is 'spp: --close' "$(spp --mail --close 0,1,2 -- ":test -e /proc/\$\$/fd/2 || touch $work/closed")" \
	'out: 0|outcome: pass|exit: 0'
[ -e "$work/closed" ]
ok 'they were closed' $?
is 'spp: --limit-kb' "$(spp --mail --limit-kb 100000 -- ':ulimit -v | sed s/^/E/')" \
	'reply: 100000|out: 1|outcome: refuse|exit: 0'
"$bin/spp" --mail >/dev/null 2>&1
is 'spp: usage is 100' $? 100

plugins '# c\n:echo E451 before any section\n[mail]   \n:echo E451 z   # trailing \n'
is 'comments and trailing blanks in smtpplugins' "$(talk "$session")" "$banner|451 z|$nomail"
plugins '[connection]\n:echo E421 overloaded\n'
is 'E at connection: no banner, the session goes on' "$(talk "$session")" "421 overloaded|250 ehlo|$fine"
plugins '[connection]\n:echo R421 overloaded\n'
is 'R at connection closes' "$(talk "$session")" '421 overloaded'
plugins '[helo]\n:echo E451 helo no\n'
is 'E at helo does not stop MAIL' "$(talk "$session")" "220 mx.example.test ESMTP|451 helo no|$fine"
plugins '[mail]\n:echo "P250 [$SMTPMAILFROM]"\n'
is 'the null sender' "$(talk 'MAIL FROM:<>\nQUIT\n')" '220 mx.example.test ESMTP|250 []|250 ok|221 mx.example.test'
is 'any bytes in the sender' "$(talk 'MAIL FROM:<"a b\377$(id);x"@r.test>\nQUIT\n')" \
	"$(printf '220 mx.example.test ESMTP|250 [a b\377$(id);x@r.test]|250 ok|221 mx.example.test')"
plugins '[helo]\n:echo "P250 $SMTPHELOHOST"\n[rcpt]\n:echo "P250 $SMTPRCPTTO $SMTPRCPTCOUNT $SMTPRCPTCOUNTALL $SMTPRCPTHOSTSOK"\n'
is 'the environment of helo and rcpt' \
	"$(talk 'HELO h\nMAIL FROM:<a@b>\nRCPT TO:<q@else.test>\nRCPT TO:<a@example.test>\nRCPT TO:<b@example.test>\nQUIT\n' | sed 's/553[^|]*/553/')" \
	'220 mx.example.test ESMTP|250 h|250 mx.example.test|250 ok|250 q@else.test 0 1 0|553|250 a@example.test 0 2 1|250 ok|250 b@example.test 2 3 1|250 ok|221 mx.example.test'
plugins '[pass]\n:echo "P250 $SMTPRCPTCOUNT"\n'
is 'pass runs twice and counts twice' "$(talk "$session")" "$banner|250 ok|250 1|250 2|250 ok|221 mx.example.test"
plugins '[mail]\n:echo "P250 ${SMTPRCPTTO-none} ${SMTPRCPTCOUNT-none} ${SMTPRCPTCOUNTALL-none}"\n'
is 'SMTPRCPT* of the first transaction are stale in the second' \
	"$(talk 'MAIL FROM:<a@b>\nRCPT TO:<a@example.test>\nRSET\nMAIL FROM:<a@b>\nQUIT\n')" \
	'220 mx.example.test ESMTP|250 none none none|250 ok|250 ok|250 flushed|250 a@example.test 2 1|250 ok|221 mx.example.test'
plugins -
is 'no smtpplugins' "$(talk "$session")" '421 unable to read controls (#4.3.0)'
echo '[connection]
:echo E250 from SPPCONFFILE' >"$work/conf"
is 'SPPCONFFILE' "$(SPPCONFFILE=$work/conf talk 'QUIT\n')" '250 from SPPCONFFILE|221 mx.example.test'
plugins '[mail]\n:echo E451 ran\n'
is 'ENABLE_SPP unset: no plugins' "$(unset ENABLE_SPP && talk "$session")" "$banner|$fine"

# --- 3. SMTP ---

plugins '[auth]\n:echo "P250 $SMTPAUTHMETHOD $SMTPAUTHUSER ${RELAYCLIENT-none}"\n[mail]\n:echo "P250 ${SMTPAUTHUSER-none} ${SMTP_AUTH_USER-none} ${TCPREMOTEINFO-none} ${RELAYCLIENT-none}."\n'
loggedin='250 alice alice alice .|250 ok|221 mx.example.test'
hello='220 mx.example.test ESMTP'
go='235 ok, go ahead (#2.0.0)'
mail='MAIL FROM:<a@b>\nQUIT\n'
is 'AUTH PLAIN, and its environment' "$(talk "AUTH PLAIN AGFsaWNlAHNlY3JldA==\n$mail")" \
	"$hello|250 plain alice none|$go|$loggedin"
is 'AUTH PLAIN in two steps' "$(talk "AUTH PLAIN\nAGFsaWNlAHNlY3JldA==\n$mail")" \
	"$hello|334 |250 plain alice none|$go|$loggedin"
is 'AUTH LOGIN' "$(talk "auth login\nYWxpY2U=\nc2VjcmV0\n$mail")" \
	"$hello|334 VXNlcm5hbWU6|334 UGFzc3dvcmQ6|250 login alice none|$go|$loggedin"
is 'a wrong password' "$(talk "AUTH PLAIN AGFsaWNlAHdyb25n\n$mail")" \
	"$hello|535 authentication failed (#5.7.1)|250 none none none none.|250 ok|221 mx.example.test"
is 'an empty user' "$(talk 'AUTH PLAIN AABzZWNyZXQ=\nQUIT\n')" \
	"$hello|501 malformed auth input (#5.5.4)|221 mx.example.test"
plugins '[auth]\n:echo E535 auth not now\n[mail]\n:echo "P250 ${SMTPAUTHUSER-none} ${RELAYCLIENT-none}"\n'
is 'E at auth leaves SMTPAUTHUSER and no RELAYCLIENT' "$(talk "AUTH PLAIN AGFsaWNlAHNlY3JldA==\n$mail")" \
	"$hello|535 auth not now|250 alice none|250 ok|221 mx.example.test"

plugins ''
else='MAIL FROM:<a@b>\nRCPT TO:<z@elsewhere.test>\nQUIT\n'
sorry="553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"
is 'rcpthosts' "$(talk "$else")" "$hello|250 ok|$sorry|221 mx.example.test"
is 'RELAYCLIENT overrides it' "$(RELAYCLIENT='' talk "$else")" "$hello|$fine"
is 'so does AUTH' "$(talk "AUTH PLAIN AGFsaWNlAHNlY3JldA==\n$else")" "$hello|$go|$fine"
plugins '[rcpt]\n:echo O\n'
is 'so does an O at rcpt' "$(talk "$else")" "$hello|$fine"
plugins ''
mv "$home/control/rcpthosts" "$work/rcpthosts"
is 'no rcpthosts: everything' "$(talk "$else")" "$hello|$fine"
mv "$work/rcpthosts" "$home/control/rcpthosts"

queue_is_empty() {
	rm -f "$1"/queue/mess/*/* "$1"/queue/intd/*/* "$1"/queue/todo/*/* "$1"/queue/intd/[0-9][0-9][0-9]* \
		"$1"/queue/todo/[0-9][0-9][0-9]*
}
first='MAIL FROM:<a@b>\nRCPT TO:<alice@example.test>\nRCPT TO:<bob@example.test>\nDATA\nSubject: 1\n\n..dot\n.x\n.\n'
second='MAIL FROM:<c@d>\nRCPT TO:<alice@example.test>\nDATA\nSubject: 2\n.\n'
plugins '[data]\n:echo HX-Added: yes\n'
accepted='354 go ahead|250 ok T qp N'
is 'two transactions, all of it pipelined' \
	"$(talk "EHLO c.test\n$first${second}QUIT\n" | sed 's/250 ok [0-9]* qp [0-9]*/250 ok T qp N/g')" \
	"$banner|250 ok|250 ok|250 ok|$accepted|250 ok|250 ok|$accepted|221 mx.example.test"
is 'the log tells of both' "$(grep -c '^qlogreceived: result=accepted .* qp=[0-9]* pid=[0-9]*$' "$work/log")" 2
is 'two messages are queued' "$("$home/bin/qmail-qstat" | tr '\n' '|')" \
	'messages in queue: 2|messages in queue but not yet preprocessed: 2|'
one=$(grep -l 'Subject: 1' "$home"/queue/mess/*/*)
is 'the message, dots undone, header added' "$(sed '/^Received:/d; /^  by/d' "$one" | tr '\n' '|')" \
	'X-Added: yes|Subject: 1||.dot|x|'
queue_is_empty "$home"

plugins ''
echo 100 >"$home/control/databytes"
long=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
big='552 sorry, that message size exceeds my databytes limit (#5.3.4)'
is 'a message too big' "$(talk "MAIL FROM:<a@b>\nRCPT TO:<a@example.test>\nDATA\n$long\n$long\n.\nQUIT\n")" \
	"$hello|250 ok|250 ok|354 go ahead|$big|221 mx.example.test"
is 'SIZE too big' "$(talk 'MAIL FROM:<a@b> SIZE=101\nQUIT\n')" "$hello|$big|221 mx.example.test"
rm "$home/control/databytes"
is 'a bare LF ends it' "$(printf 'MAIL FROM:<a@b>\nRCPT TO:<a@example.test>\nDATA\nx\n.\nQUIT\n' |
	"$bin/smtpd" "$home" 2>/dev/null | tr -d '\r' | tail -n 1)" '451 See https://cr.yp.to/docs/smtplf.html.'
is 'a line too long' "$({ head -c 20000 /dev/zero | tr '\0' y; printf '\r\nQUIT\r\n'; } |
	"$bin/smtpd" "$home" 2>/dev/null | tr -d '\r' | tr '\n' '|')" \
	"$hello|500 line too long (#5.5.2)|221 mx.example.test|"
echo 1 >"$home/control/timeoutsmtpd"
is 'an idle client' "$({ printf 'NOOP\r\n'; sleep 1.2; } | "$bin/smtpd" "$home" 2>/dev/null | tr -d '\r' |
	tr '\n' '|')" "$hello|250 ok|451 timeout (#4.4.2)|"
rm "$home/control/timeoutsmtpd"
is 'nothing of these was queued' "$(find "$home/queue" -type f ! -name sendmutex)" ''

# --- 4. the queue ---

for layout in split plain; do
	home=$work/$layout
	plugins ''
	talk "$first" >/dev/null
	mess=$(cd "$home/queue" && find mess -type f)
	n=${mess##*/}
	case $layout in
	split) at=$((n % 23))/$n ;;
	plain) at=$n ;;
	esac
	# shellcheck disable=SC2012 # the inode is what is asked for
	is "$layout: mess is named after its inode" "$mess $(ls -i "$home/queue/$mess" | sed 's/^ *//; s/ .*//')" \
		"mess/$((n % 23))/$n $n"
	# shellcheck disable=SC2012
	is "$layout: todo is a link of intd" "$(cd "$home/queue" && ls -i "todo/$at" | sed 's/^ *//; s/ .*//')" \
		"$(cd "$home/queue" && ls -i "intd/$at" | sed 's/^ *//; s/ .*//')"
	is "$layout: the envelope" "$(tr '\0' '|' <"$home/queue/todo/$at" | sed 's/|p[0-9]*|/|p|/')" \
		"u$(id -u)|p|Fa@b|Talice@example.test|Tbob@example.test|"
	is "$layout: nothing else is left" "$(find "$home/queue" -type f ! -name sendmutex | wc -l | tr -d ' ')" 3
	printf 'Fx@y\0Talice@example.test\0\0' >"$work/envelope"
	echo hi | QMAIL_HOME=$home "$bin/queue" 1<"$work/envelope"
	is "$layout: queue" $? 0
	is "$layout: qstat" "$("$root/tests/standin/qstat.sh" "$home" | tr '\n' '|')" \
		'messages in queue: 2|messages in queue but not yet preprocessed: 2|'
	printf 'nonsense' >"$work/envelope"
	echo hi | QMAIL_HOME=$home "$bin/queue" 1<"$work/envelope"
	is "$layout: queue refuses a bad envelope" $? 91
	queue_is_empty "$home"
done

# --- 5. send ---

fill() { # HOME COUNT
	printf 'Fx@y\0Talice@example.test\0Tz@elsewhere.test\0\0' >"$work/envelope"
	i=0
	while [ $i -lt "$2" ]; do
		echo hi | QMAIL_HOME=$1 "$bin/queue" 1<"$work/envelope"
		i=$((i + 1))
	done
}

waiting() { # HOME FOLDER
	find "$1/queue/$2" -type f | wc -l | tr -d ' '
}

now_ms() {
	date +%s%N | sed 's/......$//'
}

wait_until_empty() { # HOME SECONDS: how many ms it took
	t=$(now_ms)
	i=0
	while [ "$(waiting "$1" mess)" -gt 0 ] && [ $i -lt $(($2 * 50)) ]; do
		sleep 0.02
		i=$((i + 1))
	done
	echo $(($(now_ms) - t))
}

for shape in todo mess; do
	case $shape in
	todo) home=$work/split ;;
	mess) home=$work/plain ;;
	esac
	fill "$home" 80
	t=$(now_ms)
	"$bin/send" "$home" --rate 50 --shape $shape --log >"$work/send.log" &
	pid=$!
	started="$started $pid"
	sleep 0.8
	left=$(waiting "$home" mess)
	least=$((80 - ($(now_ms) - t) * 50 / 1000 - 10))
	within "$shape: after 0.8 s at 50/s, messages left" "$left" $((least > 0 ? least : 0)) 76
	case $shape in
	todo) within 'todo: the backlog is in todo' "$(waiting "$home" todo)" $((least > 10 ? least - 10 : 0)) 76 ;;
	mess) is 'mess: todo is empty' "$(waiting "$home" todo)" 0 ;;
	esac
	echo 0 >"$home/control/standin-rate"
	sleep 0.4
	left=$(waiting "$home" mess)
	sleep 0.3
	is "$shape: rate 0 stops it" "$(waiting "$home" mess)" "$left"
	echo 1000 >"$home/control/standin-rate"
	within "$shape: at 1000/s it is empty in ms" "$(wait_until_empty "$home" 5)" 0 4000
	fill "$home" 1
	within "$shape: one more is seen in ms" "$(wait_until_empty "$home" 5)" 0 2500
	kill "$pid"
	wait "$pid"
	is "$shape: SIGTERM is exit 0" $? 0
	is "$shape: no file is left" "$(find "$home/queue" -type f ! -name sendmutex)" ''
	is "$shape: the log" "$(sed 's/[0-9][0-9]*/N/g' "$work/send.log" | sort -u | tr '\n' '|')" \
		'delivery N: success: N.N.N.N_accepted_message./Remote_host_said:_N_ok/|delivery N: success: did_N+N+N/|end msg N|info msg N: bytes N from <x@y> qp N uid N|new msg N|starting delivery N: msg N to local alice@example.test|starting delivery N: msg N to remote z@elsewhere.test|status: exiting|status: local N/N remote N/N|'
	is "$shape: it tells of 81 messages" "$(grep -c '^end msg' "$work/send.log")" 81
	rm "$home/control/standin-rate"
done

# --- 6. flood, under the real servers ---

port=$((20000 + $$ % 20000))

serve() { # PROGRAM ARGUMENTS...: the server on a free port, ready
	for try in 1 2 3 4 5; do
		port=$((port + try))
		QMAIL_HOME=$home "$@" -v -l mx.example.test -c 200 -b 200 127.0.0.1 $port "$bin/smtpd" >"$work/server.log" 2>&1 &
		server=$!
		i=0
		while [ $i -lt 50 ] && kill -0 $server 2>/dev/null; do
			if grep -q -e listening -e 'status: 0/' "$work/server.log"; then
				started="$started $server"
				return 0
			fi
			sleep 0.02
			i=$((i + 1))
		done
		kill $server 2>/dev/null
		wait $server 2>/dev/null
	done
	return 1
}

field() { # NAME JSON
	printf '%s\n' "$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

"$bin/flood" --to 192.0.2.1:25 --rate 1 --for 1 >/dev/null 2>&1
is 'flood refuses a target off this machine' $? 100

for server_name in tcpsvd tcpserver; do
	if ! command -v $server_name >/dev/null; then
		skip "flood under $server_name" "no $server_name"
		continue
	fi
	home=$work/split
	plugins ''
	case $server_name in
	tcpsvd) serve tcpsvd ;;
	tcpserver) serve tcpserver -H -R ;;
	esac || {
		ok "$server_name starts" 1
		continue
	}
	j=$("$bin/flood" --to 127.0.0.1:$port --rate 100 --for 0.5 --quiet --source 127.0.0.1,127.0.0.2 \
		--report "$work/report.tsv")
	is "$server_name: 50 sessions" "$(field sessions "$j") $(field accepted "$j")" '50 50'
	is "$server_name: flood's count is the queue's" "$(waiting "$home" todo)" 50
	is "$server_name: from both addresses" "$(cat "$home"/queue/mess/*/* | grep -c '@127.0.0.2)')" 25
	queue_is_empty "$home"
	plugins '[mail]\n:case $SMTPMAILFROM in u[1-5]@*) echo E451 no;; u6@*) echo D;; u7@*) echo R550 never;; esac\n'
	j=$("$bin/flood" --to 127.0.0.1:$port --rate 50 --for 0.4 --quiet --auth alice:secret)
	is "$server_name: refusals are counted" \
		"$(field sessions "$j") $(field accepted "$j") $(field refused_4xx "$j") $(field refused_5xx "$j") $(field dropped "$j") $(field errors "$j") $(field 'mail:451' "$j") $(field 'auth:235' "$j")" \
		'20 13 5 1 1 0 5 20'
	is "$server_name: and the queue agrees" "$(waiting "$home" todo)" 13
	queue_is_empty "$home"
	plugins ''
	j=$("$bin/flood" --to 127.0.0.1:$port --rate 50 --for 0.4 --quiet --keep --connections 8)
	is "$server_name: --keep" "$(($(field accepted "$j") + $(field skipped "$j"))) $(field 'quit:221' "$j")" '20 '
	within "$server_name: in few connections" "$(field 'banner:220' "$j")" 1 8
	queue_is_empty "$home"
	plugins '[mail]\n:sleep 0.5\n'
	lines=$(wc -l <"$work/server.log")
	"$bin/flood" --to 127.0.0.1:$port --rate 20 --for 30 --quiet --connections 4 >"$work/json" &
	pid=$!
	started="$started $pid"
	i=0
	until tail -n "+$((lines + 1))" "$work/server.log" | grep -q 'status:* 4/' || [ $i -ge 500 ]; do
		sleep 0.02
		i=$((i + 1))
	done
	sleep 0.15
	kill $pid
	wait $pid
	is "$server_name: flood ends at SIGTERM with 0" $? 0
	j=$(cat "$work/json")
	is "$server_name: those in flight were finished, no more than 4" \
		"$(($(field sessions "$j") - $(field accepted "$j"))) $(field unfinished "$j") $(tail -n "+$((lines + 1))" "$work/server.log" | grep -c 'status:* [5-9]/')" '0 0 0'
	within "$server_name: there were" "$(field sessions "$j")" 4 20
	within "$server_name: what was too much is skipped" "$(field skipped "$j")" 1 60
	queue_is_empty "$home"
	kill "$server"
	wait "$server" 2>/dev/null
done

echo "1..$tests"
[ $failed -eq 0 ]
