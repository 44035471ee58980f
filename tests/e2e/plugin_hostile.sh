#!/bin/sh
# SPDX-License-Identifier: ISC
#
# plugin_hostile - not one byte of a stranger gets into a reply, a log line, or the work of the daemon
#
# Runs through the table of tests/hostile.h.  Row of the failure list: Q7.

. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
for name in spillway-data spillway-helo; do
	ln -s "$B/spillway-plugin" "$home/plugins/$name"
done
reply='Temporary Failure: Server overload'
texts=$("$bin/hostile" --count)
within 'texts in the table' "$texts" 200 100000

state() {
	"$bin/mkstate" "$run" "$@" || echo "# mkstate failed: $*"
}

# A sanitizer makes a run cost fifty times as much: then only all variables at once.
in_each=1
if grep -q __asan_init "$B/spillway-plugin"; then
	in_each=0
fi

# Run the table through variables: through each alone and all at once, or, with "together" in front, only that.
# Prints runs, passes, replies, others, logs, bad-logs, failed.
hostile() { # [together] VAR,... PLUGIN REPLY LOG
	how=''
	if [ "$1" = together ]; then
		shift
		how=--together
	elif [ $in_each -eq 0 ]; then
		how=--together
	fi
	# shellcheck disable=SC2086 # a word or none
	(cd "$home" && "$bin/many" --hostile "$1" $how --reply "$3" --log "$4" -- "plugins/$2") >"$work/many" 2>&1
	sed -n 's/^\(runs\|passes\|replies\|others\|logs\|bad-logs\|failed\): //p' "$work/many" | paste -sd ' ' -
	sed -n 's/^\(other\|bad-log\): /# &/p' "$work/many" >>"$work/strange"
}

export TCPREMOTEIP=192.0.2.1 SMTPMAILFROM=a@remote.test
# Beside a good address more is read than beside a bad one: there are two ways through the plugin.
vars=SMTPMAILFROM,SMTPHELOHOST,SMTPRCPTTO,TCPREMOTEHOST,TCPREMOTEINFO,TCPREMOTEPORT,SMTPRCPTCOUNT
vars_and_ip=$vars,TCPREMOTEIP
runs=$((texts * (8 * in_each + 1))) # each alone, and all at once
each="$runs 0 $runs 0 $runs 0 0"
all="$texts 0 $texts 0 $texts 0 0"
none="$texts $texts 0 0 0 0 0"

both_ways() { # PLUGIN REPLY LOG
	echo "$(hostile together $vars "$@"), $(hostile together $vars_and_ip "$@")"
}

# --- the plugin ------------------------------------------------------------------------------------

"$bin/events" "$run" >"$work/events" &
listener=$!
started="$started $listener"
wait_for 2000 test -S "$run/event.sock"

state --episode e4k2mq7h2
log="overload: PID $reply"
is 'Q7: at mail: the reply and the log line, nothing else' "$(hostile $vars_and_ip overload "R451 $reply" "$log")" "$each"
is 'Q7: at rcpt' "$(both_ways spillway-rcpt "E451 $reply" "$log")" "$all, $all"
is 'Q7: at data' "$(both_ways spillway-data "E451 $reply" "$log")" "$all, $all"
state --extended --episode e4k2mq7h2
is 'Q7: at mail, extended texts' \
	"$(both_ways spillway-mail "R451 4.3.2 $reply [e4k2mq7h2]" "$log [e4k2mq7h2]")" "$all, $all"
is 'Q7: at helo, where nobody is put off: no word' "$(both_ways spillway-helo none none)" "$none, $none"
state --level normal
is 'Q7: in calm: no word' "$(both_ways overload none none)" "$none, $none"
: >"$home/control/overloaded"
is 'Q7: with a pin' "$(both_ways overload "R451 $reply" "$log")" "$all, $all"
rm "$home/control/overloaded"

state
empty=$(($("$bin/hostile" --empty) * (1 + in_each)))
runs=$((texts * (1 + in_each)))
is 'Q7: a user of any name that is not empty is our own' "$(hostile SMTPAUTHUSER overload "R451 $reply" "$log")" \
	"$runs $((runs - empty)) $empty 0 $empty 0 0"
is 'Q7: RELAYCLIENT of any value is our own' "$(hostile RELAYCLIENT overload "R451 $reply" "$log")" \
	"$runs $runs 0 0 0 0 0"
if [ -e /run/spillway/state ]; then
	skip 'Q7: a run directory of any name: no opinion' 'the usual one is in use here'
else
	is 'Q7: a run directory of any name: no opinion' "$(hostile SPILLWAY_RUN_DIR overload none none)" \
		"$runs $runs 0 0 0 0 0"
fi
: >"$home/control/overloaded"
is 'Q7: and with a pin' "$(hostile SPILLWAY_RUN_DIR overload "R451 $reply" "$log")" "$runs 0 $runs 0 $runs 0 0"
rm "$home/control/overloaded"
is 'Q7: what was strange' "$(cat "$work/strange")" ''

# By a name that says more than it should.
for name in "$(printf 'spillway-mail\nE550 forged')" 'spillway-%s%n' "$(printf 'overload\001')" "$(printf '\nA')"; do
	ln -s "$B/spillway-plugin" "$home/plugins/$name"
	is "Q7: run by an odd name ($(printf %s "$name" | tr -c 'a-zA-Z0-9%-' .))" \
		"$(cd "$home" && "$bin/many" --reply x --log x -- "plugins/$name" | sed -n 's/^passes: //p')" 1
done

kill "$listener"
wait "$listener" 2>/dev/null
within 'Q7: records arrived' "$(wc -l <"$work/events")" "$texts" $((texts * 60))
is 'Q7: none was malformed' "$(grep -c ^malformed "$work/events")" 0
is 'Q7: each names an address in its one form, or none' "$(grep -cvE '^(mail|rcpt|data) stranger overload [12] 451 pid=[0-9]+ ip=(unknown|[0-9a-f]*[.:][0-9a-f.:]+)( |$)' "$work/events")" 0
is 'Q7: no text is another one' "$(tr ' ' '\n' <"$work/events" | sed -n 's/^episode=//p' | grep -cvE '^(e4k2mq7h2)?$')" 0

# --- the whole way: a client that says it ----------------------------------------------------------

printf '[rcpt]\nplugins/spillway-rcpt\n' >"$home/control/smtpplugins"
# A line of SMTP can't hold more of them.  All in one session, for a refusal at RCPT leaves it open; some at MAIL.
"$bin/hostile" --lines 800 >"$work/words"
n=0
while IFS= read -r word; do
	printf 'EHLO %s\r\nMAIL FROM:<%s>\r\nRCPT TO:<alice@example.test>\r\n' "$word" "$word"
	[ $((n += 1)) -lt "$texts" ] || printf 'QUIT\r\n'
done <"$work/words" | ENABLE_SPP='' "$bin/smtpd" "$home" 2>"$work/smtp.log" | tr -d '\r' | grep -v ^250- |
	sed 's/^250 SIZE.*/250 ehlo/' >"$work/replies"
is 'Q7: as helo and sender in a session: 250, 250, 451' "$(sort "$work/replies" | uniq -c | sed 's/^ *//')" \
	"$(printf '1 220 mx.example.test ESMTP\n1 221 mx.example.test\n%s 250 ehlo\n%s 250 ok\n%s 451 %s' "$texts" "$texts" "$texts" "$reply")"
is 'Q7: and one line each in the log' "$(grep -cE "^overload: [0-9]+ $reply\$" "$work/smtp.log") $(wc -l <"$work/smtp.log")" \
	"$texts $texts"
printf '[mail]\nplugins/overload\n' >"$home/control/smtpplugins"
n=$(awk 'NR % 8 == 0' "$work/words" | tee "$work/some" | wc -l)
while IFS= read -r word; do
	printf 'EHLO %s\r\nMAIL FROM:<%s>\r\n' "$word" "$word" | ENABLE_SPP='' "$bin/smtpd" "$home" 2>/dev/null
done <"$work/some" | tr -d '\r' | grep -v ^250- | sed 's/^250 SIZE.*/250 ehlo/' >"$work/replies"
is 'Q7: at MAIL: the banner, 250, 451' "$(sort "$work/replies" | uniq -c | sed 's/^ *//')" \
	"$(printf '%s 220 mx.example.test ESMTP\n%s 250 ehlo\n%s 451 %s' "$n" "$n" "$n" "$reply")"

# --- the daemon, told of all of them ---------------------------------------------------------------

rm -rf "$run"
make_conf <<'E2'
levels = { hold = "1s"; release = "2s"; };
E2
lease=30s
start_daemon
ok 'the daemon answers' $?
spillway force overloaded --for 5m >"$work/out" 2>&1
closed() {
	[ "$(cd "$home" && "$bin/spp" --mail -- plugins/overload 2>/dev/null | sed -n 's/^outcome: //p')" = close ]
}
wait_for 3000 closed
ok 'the gate is closed' $?
vars=SMTPMAILFROM,SMTPHELOHOST,SMTPRCPTTO
runs=$((texts * (3 * in_each + 1)))
is 'Q7: refused under the daemon' "$(hostile $vars overload "R451 $reply" "$log")" "$runs 0 $runs 0 $runs 0 0"
is 'Q7: at rcpt' "$(hostile together $vars spillway-rcpt none none | cut -d ' ' -f 1-3)" "$texts $texts 0"
wait_for 3000 spillway status
ok 'Q7: the daemon still answers' $?
is 'Q7: no record was malformed to it' "$(field events malformed) $(field limits asked malformed)" "0 0"
for command in status 'status --json' 'explain 192.0.2.1' history; do
	# shellcheck disable=SC2086 # words
	spillway $command >"$work/told" 2>&1
	is "Q7: spillway $command prints no control character" "$(tr -d '\n\t -~\200-\377' <"$work/told" | wc -c)" 0
	is "Q7: spillway $command prints no raw 8-bit text" "$(tr -d '\000-\177' <"$work/told" | wc -c)" 0
	is "Q7: spillway $command: no line begins with a stranger's words" \
		"$(grep -cE '^(E550|R451|451|A$|250|notice: level|overload: 4711)' "$work/told")" 0
done
is 'Q7: nor does its log' "$(tr -d '\n\t -~' <"$work/daemon.log" | wc -c) $(grep -cE '^(E550|R451|451|250|overload:)' "$work/daemon.log")" '0 0'
stop_daemon

finish
