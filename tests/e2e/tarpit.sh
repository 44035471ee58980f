#!/bin/sh
# SPDX-License-Identifier: ISC
#
# tarpit - how long does the plugin want to sleep at a recipient, who lets it, and what wakes it?
#
# The engine is tests/standin/asked.  Row of the failure list: Q9.

. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
ln -s "$B/spillway-plugin" "$home/plugins/tarpit"
for name in TARPITCOUNT TARPITDELAY SMTPRCPTCOUNTALL; do
	unset "$name"
done
export TCPREMOTEIP=192.0.2.1 SMTPHELOHOST=c.test SMTPMAILFROM=a@remote.test SMTPRCPTTO=bob@example.test

state() {
	rm -rf "$run/state"
	"$bin/mkstate" "$run" --level normal --stages rcpt=overload+ipthrottle+tarpit "$@" || echo "# mkstate failed: $*"
}

asked=''
engine() { # [options of asked]
	[ -z "$asked" ] || end_started "$asked"
	rm -f "$run"/*.sock
	"$bin/asked" "$run" "$@" >>"$work/asked" &
	asked=$!
	started="$started $asked"
	wait_for 2000 test -S "$run/rate.sock"
	: >"$work/asked"
}

# What spp tells of it: the outcome, and the exit code.  On a machine that stands still for a while the plugin gives up, as it
# should; then once more.
at_rcpt() { # NAME [VAR=VALUE...]
	name=$1
	shift
	for _ in 1 2 3; do
		(
			# shellcheck disable=SC2163 # words
			export PROTO=TCP "$@"
			cd "$home" && "$bin/spp" --rcpt --timeout 60 -- "plugins/$name" 2>"$work/plugin.log" >"$work/spp"
		)
		grep -q "Can't connect" "$work/plugin.log" || break
	done
	sed -n 's/^reply: //p; s/^outcome: //p; s/^exit: //p; s/^signal: /signal /p' "$work/spp" | paste -sd ' ' -
}

took() {
	sed -n 's/^ms: //p' "$work/spp"
}

# --- how long --------------------------------------------------------------------------------------

# The delays that are asked for at recipients FIRST to LAST, in seconds; "-" where nobody is asked.
sequence() { # FIRST LAST [VAR=VALUE...]
	n=$1 last=$2
	shift 2
	while [ "$n" -le "$last" ]; do
		: >"$work/asked"
		at_rcpt tarpit SMTPRCPTCOUNTALL="$n" "$@" >"$work/out"
		delay=$(sed -n 's/.* wants=tarpit delay=\([0-9]*\)000$/\1/p' "$work/asked" | tail -n 1)
		echo "${delay:--}"
		n=$((n + 1))
	done | paste -sd ' ' -
}

state
engine
is 'by default: 2 s from the 50th on' "$(sequence 48 53)" '- - 2 2 2 2'
is 'TARPITCOUNT' "$(sequence 1 5 TARPITCOUNT=3)" '- - 2 2 2'
is 'a number of seconds' "$(sequence 2 5 TARPITCOUNT=3 TARPITDELAY=7)" '- 7 7 7'
is 'N: 2 s more each time' "$(sequence 2 6 TARPITCOUNT=3 TARPITDELAY=N)" '- 2 4 6 8'
is 'M: 5 s more' "$(sequence 2 6 TARPITCOUNT=3 TARPITDELAY=M)" '- 5 10 15 20'
is 'H: squares' "$(sequence 2 6 TARPITCOUNT=3 TARPITDELAY=H)" '- 1 4 9 16'
is 'by the first letter' "$(sequence 3 4 TARPITCOUNT=3 TARPITDELAY=Hard)" '1 4'
is 'never more than 30 s' "$(sequence 32 34 TARPITCOUNT=3 TARPITDELAY=N) $(sequence 7 9 TARPITCOUNT=3 TARPITDELAY=H)" \
	'30 30 30 25 30 30'
is 'nor when numbers are huge' "$(sequence 3 3 TARPITCOUNT=3 TARPITDELAY=18446744073709551615)" 30
for how in N M H; do
	is "nor at the last recipient of all, by $how" \
		"$(at_rcpt tarpit SMTPRCPTCOUNTALL=18446744073709551615 TARPITCOUNT=1 TARPITDELAY=$how; sed -n 's/.* delay=//p' "$work/asked" | tail -n 1)" \
		"$(printf 'pass 0\n30000')"
done
is '0 is off' "$(sequence 3 5 TARPITCOUNT=3 TARPITDELAY=0)" '- - -'
for odd in '' off 5s -1 ' 2' 2.5 n 18446744073709551616; do
	is "TARPITDELAY='$odd' is off" "$(sequence 3 4 TARPITCOUNT=3 TARPITDELAY="$odd")" '- -'
done
for odd in '' many -1 1.5 ' 3'; do
	is "TARPITCOUNT='$odd' is off" "$(sequence 50 51 TARPITCOUNT="$odd")" '- -'
done
is 'TARPITCOUNT=0 is the same as from the first on' "$(sequence 1 2 TARPITCOUNT=0 TARPITDELAY=2)" '2 2'

: >"$work/asked"
is 'no SMTPRCPTCOUNTALL: it passes' "$(at_rcpt tarpit)" 'pass 0'
like 'and is logged' "$(cat "$work/plugin.log")" "^tarpit: pid [0-9]+ - can't get number of envelope recipients\$"
is 'and nobody is asked' "$(cat "$work/asked")" ''
is 'the same with one that is no number' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=x) $(sed 's/pid [0-9]*/pid N/' "$work/plugin.log")" \
	"pass 0 tarpit: pid N - can't get number of envelope recipients"

# --- who lets it -----------------------------------------------------------------------------------

engine --grant
is 'granted: it sleeps, then passes' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=1)" 'pass 0'
within 'so long as was granted, ms' "$(took)" 990 2900
like 'logged at the first' "$(cat "$work/plugin.log")" '^tarpit: pid [0-9]+ - started tarpitting$'
like 'the engine saw it sleep, and end' "$(sed -n 's/^end: after \([0-9]*\) ms/\1/p' "$work/asked" | tail -n 1)" '^(9[5-9][0-9]|[12][0-9][0-9][0-9])$'
is 'with the others at rcpt too' "$(at_rcpt spillway-rcpt SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=1)" 'pass 0'
within 'it sleeps, ms' "$(took)" 990 2900
engine --delay 300
is 'granted less than it asked for' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=4 TARPITCOUNT=3 TARPITDELAY=9)" 'pass 0'
within 'it sleeps less, ms' "$(took)" 290 1500
is 'nothing is logged but at the first' "$(cat "$work/plugin.log")" ''
engine --delay 9000
is 'granted more than it asked for' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=4 TARPITCOUNT=3 TARPITDELAY=1)" 'pass 0'
within 'it sleeps as it asked, ms' "$(took)" 990 2900
engine --delay 30001
is 'granted more than there is' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=4 TARPITCOUNT=3 TARPITDELAY=30)" 'pass 0'
within 'is no answer, ms' "$(took)" 0 1500

at_once() { # NAME [VAR=VALUE...]: it passes, at once, without a word
	name=$1
	shift
	is "$name: it passes" "$(at_rcpt tarpit SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=9 "$@")" 'pass 0'
	within "$name: at once, ms" "$(took)" 0 1500
	is "$name: nothing is logged" "$(cat "$work/plugin.log")" ''
}
engine
at_once 'not granted: the server is busy'
engine --full
at_once 'not granted: too many sleep'
engine --grant
at_once 'Q9: a user' SMTPAUTHUSER=alice
at_once 'Q9: a relay client' RELAYCLIENT=
is 'Q9: nobody was asked' "$(cat "$work/asked")" ''
rm "$run/state"
at_once 'no state'
state --age 10001 --valid 10000
at_once 'a lease that is over'
state
engine --verdict refuse --check ipthrottle --grant
is 'refused by another check: no sleep' "$(at_rcpt spillway-rcpt SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=9)" \
	'451 Too many connections. Please reduce connections per minute. refuse 0'
within 'at once, ms' "$(took)" 0 1500
is 'nor a word of it' "$(grep -c tarpit "$work/plugin.log")" 0
engine --verdict refuse --check tarpit --grant
at_once 'an engine that refuses for the tarpit is not obeyed'
state --level critical
engine --grant
is 'overloaded: no sleep' "$(at_rcpt spillway-rcpt SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=9)" \
	'451 Temporary Failure: Server overload refuse 0'
within 'at once, ms' "$(took)" 0 1500
state

# --- what wakes it ---------------------------------------------------------------------------------

engine --grant --hang-up 300
is 'the engine hangs up: it passes' "$(at_rcpt tarpit SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=9)" 'pass 0'
within 'then, ms' "$(took)" 290 1500

# A line of its log says that the engine has heard it, and that it sleeps; then something happens.
# shellcheck disable=SC2317,SC2329 # called by wait_for
sleeps() {
	grep -q started "$work/log"
}
sleeper() { # starts it as a child of this shell, its output into a pipe that a child holds
	engine --grant
	: >"$work/log"
	rm -f "$work/pipe"
	mkfifo "$work/pipe"
	# shellcheck disable=SC2217 # it holds the other end
	sleep 60 <"$work/pipe" &
	reader=$!
	started="$started $reader"
	(cd "$home" && SMTPRCPTCOUNTALL=3 TARPITCOUNT=3 TARPITDELAY=9 exec plugins/tarpit) >"$work/pipe" 2>"$work/log" &
	plugin=$!
	started="$started $plugin"
	wait_for 2000 sleeps || echo '# it does not sleep'
	began=$(now_ms)
}
ended() { # NAME
	wait $plugin
	is "$1: it passes" "$? $(grep -vc 'started tarpitting$' "$work/log")" '0 0'
	within "$1: at once, ms" $(($(now_ms) - began)) 0 1500
	end_started "$plugin"
	end_started "$reader"
}
sleeper
kill -9 "$asked"
ended 'the engine is killed'
sleeper
kill -9 "$reader"
ended 'qmail-smtpd is killed'
if ! grep -qE '__asan_init|__gcov_init' "$B/spillway-plugin"; then
	sleeper
	kill -TERM "$plugin"
	ended 'it is told to end'
else
	skip 'it is told to end' 'this build leaves the handlers out'
fi
sleeper
kill -STOP "$asked"
sleep 0.3
kill -0 "$plugin"
ok 'an engine that is stopped does not wake it' $?
began=$(now_ms)
kill -9 "$asked"
ended 'but it is not alone for ever'

# --- whole sessions --------------------------------------------------------------------------------

printf '[rcpt]\nplugins/tarpit\n' >"$home/control/smtpplugins"
engine --delay 200
began=$(now_ms)
printf '%s\r\n' 'EHLO c.test' 'MAIL FROM:<a@remote.test>' 'RCPT TO:<alice@example.test>' 'RCPT TO:<alice@example.test>' \
	'RCPT TO:<alice@example.test>' 'RCPT TO:<alice@example.test>' RSET 'MAIL FROM:<a@remote.test>' \
	'RCPT TO:<alice@example.test>' QUIT |
	env TARPITCOUNT=3 TARPITDELAY=H ENABLE_SPP='' "$bin/smtpd" "$home" 2>"$work/smtp.log" | tr -d '\r' | grep -v ^250- |
	sed 's/^250 SIZE.*/250 ehlo/' | paste -sd '|' - >"$work/smtp"
spent=$(($(now_ms) - began))
is 'in a session every recipient is accepted in the end' "$(cat "$work/smtp")" \
	'220 mx.example.test ESMTP|250 ehlo|250 ok|250 ok|250 ok|250 ok|250 ok|250 flushed|250 ok|250 ok|221 mx.example.test'
within 'two of them were delayed, ms' "$spent" 390 2900
is 'one line in the log' "$(grep ^tarpit "$work/smtp.log" | sed 's/pid [0-9]*/pid N/')" 'tarpit: pid N - started tarpitting'

finish
