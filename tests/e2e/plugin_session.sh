#!/bin/sh
# SPDX-License-Identifier: ISC
#
# plugin_session - whole SMTP sessions under tcpsvd, while the world changes around them
#
# A policy that holds for the first transaction and not for the second is an open relay (CVE-2008-2784).
# Rows of the failure list: Q2 Q16.

. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

for p in tcpsvd tcpclient; do
	if ! command -v $p >/dev/null; then
		skip 'Q16: sessions' "needs $p"
		finish
	fi
done

make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
ln -s "$B/spillway-plugin" "$home/plugins/spillway-data"
flag=$home/control/overloaded
reply='Temporary Failure: Server overload'
export ENABLE_SPP='' QMAIL_HOME="$home" # for smtpd; the plugins inherit the run directory

state() {
	"$bin/mkstate" "$run" "$@" || echo "# mkstate failed: $*"
}

# A server on a port that is free: the first that tcpsvd can have.
port=$((20000 + $$ % 20000))
serve() { # LOG [environment for env]
	log=$1
	shift
	while :; do
		env "$@" tcpsvd -l me 127.0.0.1 $port "$bin/smtpd" 2>"$log" &
		server=$!
		started="$started $server"
		wait_for 300 grep -q 'info: listening' "$log"
		if wait_for 2000 tcpclient -RHl0 127.0.0.1 $port true && kill -0 $server 2>/dev/null; then
			return
		fi
		port=$((port + 1))
	done
}
serve "$work/tcpsvd.log"

# Say the lines of stdin one after the other, each when the one before was answered; a line "! COMMAND" is done by
# us meanwhile.  Prints what was answered, one line each, of many lines the last; "(closed)" when the server has closed.
talk() {
	cat >"$work/lines"
	tcpclient -RHl0 127.0.0.1 "$port" sh "$work/client" "$work/lines" 2>/dev/null
}
cat >"$work/client" <<'E2'
cr=$(printf '\r')
answer() {
	while IFS= read -r a <&6; do
		a=${a%"$cr"}
		case $a in
		???-*) continue ;;
		'250 ok '*' qp '*) echo '250 ok queued' ;;
		'250 SIZE'*) echo '250 ehlo' ;;
		*) printf '%s\n' "$a" ;;
		esac
		return
	done
	echo '(closed)'
	exit 0
}
answer
while IFS= read -r line; do
	case $line in
	'!'*) eval "${line#!}" ;;
	*)
		printf '%s\r\n' "$line" >&7
		answer
		if [ "$line" = DATA ] && [ "$a" = '354 go ahead' ]; then
			printf 'Subject: x\r\n\r\nx\r\n.\r\n' >&7
			answer
		fi
		;;
	esac
done <"$1"
E2

state_command="! $bin/mkstate $run"
mail='MAIL FROM:<a@remote.test>'
rcpt='RCPT TO:<alice@example.test>'
hello='220 mx.example.test ESMTP|250 ehlo'
bye='221 mx.example.test'
accepted='250 ok|250 ok|354 go ahead|250 ok queued'
refused="451 $reply"

one_line() {
	paste -sd '|' -
}

# N times the lines of stdin.
repeat() { # N
	text=$(cat)
	n=0
	while [ $n -lt "$1" ]; do
		printf '%s\n' "$text"
		n=$((n + 1))
	done
}

transaction=$(printf '%s\n%s\nDATA' "$mail" "$rcpt")

# --- the check at MAIL -----------------------------------------------------------------------------

printf '[mail]\nplugins/overload\n' >"$home/control/smtpplugins"
is 'Q16: in calm, five transactions' "$( (echo 'EHLO c.test'; echo "$transaction" | repeat 5; echo QUIT) | talk | one_line)" \
	"$hello|$accepted|$accepted|$accepted|$accepted|$accepted|$bye"
state
is 'Q16: overloaded: refused and closed at the first MAIL' \
	"$( (echo 'EHLO c.test'; echo "$transaction"; echo QUIT) | talk | one_line)" "$hello|$refused|(closed)"
is 'Q16: at the first MAIL also when all is pipelined' \
	"$(printf 'EHLO c.test\r\n%s\r\n%s\r\nDATA\r\n' "$mail" "$rcpt" | tcpclient -RHl0 127.0.0.1 "$port" sh -c 'cat >&7; cat <&6' |
		tr -d '\r' | sed '/^250-/d; s/^250 SIZE.*/250 ehlo/' | one_line)" "$hello|$refused"
is 'Q16: for each of twenty connections' \
	"$(n=0; while [ $n -lt 20 ]; do (echo "$mail"; echo QUIT) | talk; n=$((n + 1)); done | sort | uniq -c | sed 's/^ *//' | one_line)" \
	"20 (closed)|20 220 mx.example.test ESMTP|20 $refused"
state --level normal

# What changes in the middle acts at the next MAIL; what is past MAIL goes through.
is 'Q16: overloaded in the middle: the transaction goes through, the next MAIL does not' \
	"$(printf '%s\n' 'EHLO c.test' "$mail" "$state_command" "$rcpt" DATA "$mail" QUIT | talk | one_line)" \
	"$hello|$accepted|$refused|(closed)"
state --level normal
is 'Q16: nor does one behind RSET' \
	"$(printf '%s\n' 'EHLO c.test' "$mail" "$rcpt" "$state_command" RSET "$mail" QUIT | talk | one_line)" \
	"$hello|250 ok|250 ok|250 flushed|$refused|(closed)"
state --level normal
is 'Q16: nor behind a new EHLO' \
	"$(printf '%s\n' 'EHLO c.test' "$mail" "$state_command" 'EHLO d.test' "$mail" QUIT | talk | one_line)" \
	"$hello|250 ok|250 ehlo|$refused|(closed)"
state --level normal
is "Q16: an operator's pin in the middle: the same" \
	"$(printf '%s\n' 'EHLO c.test' "$mail" "! : >$flag" "$rcpt" DATA "$mail" QUIT | talk | one_line)" \
	"$hello|$accepted|$refused|(closed)"
is 'Q16: and when it is taken away' \
	"$(printf '%s\n' "! rm $flag" 'EHLO c.test' "$transaction" "$transaction" QUIT | talk | one_line)" "$hello|$accepted|$accepted|$bye"
state
is 'Q2: a lease that is over in the middle' \
	"$(printf '%s\n' 'EHLO c.test' "$state_command --age 10001 --valid 10000" "$transaction" "$transaction" QUIT | talk | one_line)" \
	"$hello|$accepted|$accepted|$bye"

# --- own users -------------------------------------------------------------------------------------

state
is 'Q16: overloaded: who has authenticated passes, the last time as the first' \
	"$( (echo 'EHLO c.test'; echo 'AUTH PLAIN AGFsaWNlAHNlY3JldA=='; (echo "$transaction"; echo RSET) | repeat 5; echo QUIT) | talk | one_line)" \
	"$hello|235 ok, go ahead (#2.0.0)|$accepted|250 flushed|$accepted|250 flushed|$accepted|250 flushed|$accepted|250 flushed|$accepted|250 flushed|$bye"
is 'Q16: who has not, because the password was wrong, does not' \
	"$(printf '%s\n' 'EHLO c.test' 'AUTH PLAIN AGFsaWNlAHdyb25n' "$mail" QUIT | talk | one_line)" \
	"$hello|535 authentication failed (#5.7.1)|$refused|(closed)"
default_port=$port
port=$((port + 1))
serve "$work/tcpsvd-relay.log" RELAYCLIENT=
is 'Q16: a relay client passes, the last time as the first' \
	"$( (echo 'EHLO c.test'; (echo "$transaction"; echo RSET) | repeat 3; echo QUIT) | talk | one_line)" \
	"$hello|$accepted|250 flushed|$accepted|250 flushed|$accepted|250 flushed|$bye"
: >"$flag"
is 'Q16: also with a pin' "$( (echo 'EHLO c.test'; echo "$transaction"; echo QUIT) | talk | one_line)" "$hello|$accepted|$bye"
rm "$flag"
port=$default_port

# --- the check at RCPT and DATA, where the session stays -------------------------------------------

printf '[rcpt]\nplugins/spillway-rcpt\n' >"$home/control/smtpplugins"
times=100
if grep -q __asan_init "$B/spillway-plugin"; then
	times=10
fi
is "Q16: at RCPT: refused $times times in one session, RSET or not" \
	"$( (echo 'EHLO c.test'; printf '%s\n' "$mail" "$rcpt" "$rcpt" DATA RSET | repeat $times; echo QUIT) | talk | sort | uniq -c | sed 's/^ *//' | one_line)" \
	"1 220 mx.example.test ESMTP|1 $bye|1 250 ehlo|$times 250 flushed|$times 250 ok|$((2 * times)) $refused|$times 503 RCPT first (#5.5.1)"
is 'Q16: at RCPT: who came in before stays in' \
	"$(printf '%s\n' "! $bin/mkstate $run --level normal" 'EHLO c.test' "$mail" "$rcpt" "$state_command" "$rcpt" DATA QUIT | talk | one_line)" \
	"$hello|250 ok|250 ok|$refused|354 go ahead|250 ok queued|$bye"
printf '[data]\nplugins/spillway-data\n' >"$home/control/smtpplugins"
is 'Q16: at DATA: refused each time' \
	"$( (echo 'EHLO c.test'; echo "$transaction" | repeat 3; echo QUIT) | talk | one_line)" \
	"$hello|250 ok|250 ok|$refused|250 ok|250 ok|$refused|250 ok|250 ok|$refused|$bye"
queued() {
	find "$home/queue/mess" -type f | wc -l
}
was=$(queued)
is 'Q16: accepted again when it is over' \
	"$( (echo "! $bin/mkstate $run --level normal"; echo 'EHLO c.test'; echo "$transaction" | repeat 2; echo QUIT) | talk | one_line)" \
	"$hello|$accepted|$accepted|$bye"
is 'Q16: and what was accepted is in the queue' "$(($(queued) - was))" 2
like 'each refusal is in the log of the server' "$(grep -c "^overload: [0-9]* $reply\$" "$work/tcpsvd.log")" '^[1-9][0-9]+$'

# --- Q2: a daemon that was killed ------------------------------------------------------------------

state --version 2
find "$home/queue/mess" "$home/queue/todo" "$home/queue/intd" -type f -exec rm -f {} +
printf '[mail]\nplugins/overload\n' >"$home/control/smtpplugins"
lease=2s
make_conf </dev/null
start_daemon
ok 'Q15: a daemon that finds a state of another version starts' $?
is 'Q15: and puts its own in place' "$(od -An -tu2 -j4 -N2 "$run/state" | tr -d ' ')" 1
spillway force overloaded --for 10m >"$work/out" 2>&1
wait_for 3000 test -f "$flag"
ok 'Q2: the daemon has closed the gate, and says so by its flag' $?
is 'Q2: a stranger waits' "$(printf '%s\n' "$mail" QUIT | talk | one_line)" "220 mx.example.test ESMTP|$refused|(closed)"
engine=$(child_of engine) recorder=$(child_of recorder)
kill -9 "$daemon" "$engine" "$recorder"
wait "$daemon" 2>/dev/null
killed=$(now_ms)
open_again() {
	printf '%s\n' "$mail" QUIT | talk | grep -q '^250 ok'
}
wait_for 6000 open_again
ok 'Q2: killed with -9, and the gate opens by itself' $?
within 'Q2: when the lease of 2 s is over, ms' $(($(now_ms) - killed)) 0 3500
[ -f "$flag" ]
ok 'Q2: though its own flag is still there' $?
is 'Q2: and stays open' "$( (echo 'EHLO c.test'; echo "$transaction" | repeat 2; echo QUIT) | talk | one_line)" \
	"$hello|$accepted|$accepted|$bye"
touch "$flag"
is 'Q2: until an operator touches it' "$(printf '%s\n' "$mail" QUIT | talk | one_line)" "220 mx.example.test ESMTP|$refused|(closed)"

finish
