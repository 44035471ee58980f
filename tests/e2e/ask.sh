#!/bin/sh
# SPDX-License-Identifier: ISC
#
# ask - what the engine answers on ask.sock: limits to the letter, connections held, sleepers, evidence; and to whom
#
# Without a plugin: `asks` says what one would.  Rows of the failure list: C1 C3 C8 S5.

. "$(dirname -- "$0")/lib.sh"

asks() {
	"$bin/asks" "$work/run" "$@"
}

# How often each answer came, "5 pass, 2 close ipthrottle 421".
tally() {
	sed 's/ [0-9]*\/.*//' | uniq -c | awk '{ $1 = $1; printf "%s%s", (NR > 1 ? ", " : ""), $0 } END { print "" }'
}

configure() {
	make_conf <<E
limits = {
	ip = ( ("192.0.2.99", 60, -1), ("192.0.2.64/26", 60, 2), ("*", 60, 5) );
	ip_mail = ( ("*", 60, ${mails-3}) );
	user = ( ("*", 60, 4) );
	rcpt_ip = ( ("*", 2, 3) );
};
concurrency = ( ("198.51.100.*", -1), ("*", 2) );
plugins = { tarpit_sleepers = 2; };
levels = { hold = "0s"; release = "1s"; };
E
}

status() { # KEY...: of the limits
	field limits "$@"
}

make_home --plain
configure
start_daemon
ok "the daemon answers" $?

# --- limits ----------------------------------------------------------------------------------------

is "the count is let pass, one more is not" "$(asks --wants ipthrottle --ip 203.0.113.101 --times 8 | tally)" \
	"5 pass, 3 close ipthrottle 421"
like "what it says" "$(asks --wants ipthrottle --ip 203.0.113.101)" '^close ipthrottle 421 6/5 r[a-z2-9]{8} block$'
is "another address is another" "$(asks --wants ipthrottle --ip 203.0.113.102 --times 6 | tally)" "5 pass, 1 close ipthrottle 421"
is "loopback is refused as well, but never blocked" \
	"$(asks --wants ipthrottle --ip 127.0.0.1 --times 6 | tail -n 1 | sed 's/ r[a-z2-9]*//')" "close ipthrottle 421 6/5"
is "an authenticated user is not refused for an address" "$(asks --wants ipthrottle --ip 203.0.113.101 --user alice --times 9 | tally)" \
	"9 pass"
is "... nor is a relay client" "$(asks --wants ipthrottle,rcptthrottle --ip 203.0.113.101 --own --times 9 | tally)" "9 pass"
is "a user is counted by name" "$(asks --wants userthrottle --stage mail --ip 203.0.113.101 --user bob --times 6 | tally)" \
	"4 pass, 2 close userthrottle 421"
is "... wherever it comes from" "$(asks --wants userthrottle --stage mail --ip 192.0.2.200 --user bob | tally)" \
	"1 close userthrottle 421"
is "the class of the stage goes first" "$(asks --wants ipthrottle --stage mail --ip 203.0.113.101 --times 4 | tally)" \
	"3 pass, 1 close ipthrottle 421"
is "a prefix, and an exception" "$(asks --wants ipthrottle --ip 192.0.2.70 --times 3 | tally), $(
	asks --wants ipthrottle --ip 192.0.2.99 --times 9 | tally)" "2 pass, 1 close ipthrottle 421, 9 pass"
is "at rcpt the session stays" "$(asks --wants rcptthrottle --stage rcpt --ip 203.0.113.1 --times 4 | tally)" \
	"3 pass, 1 refuse rcptthrottle 451"
is "IPv6 is counted by its /64" "$(asks --wants ipthrottle --ip 2001:db8::1 --distinct --times 6 | tally)" \
	"5 pass, 1 close ipthrottle 421"
sleep 2.1
is "when the window is over it begins anew" "$(asks --wants rcptthrottle --stage rcpt --ip 203.0.113.1 --times 4 | tally)" \
	"3 pass, 1 refuse rcptthrottle 451"

# --- to whom ---------------------------------------------------------------------------------------

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	nobody=$(id -u nobody)
	like "C3: a foreign user is not heard" \
		"$(setpriv --reuid="$nobody" --clear-groups "$bin/asks" "$work/run" --wants ipthrottle --ip 203.0.113.9 --times 20 |
			sed 's/Broken pipe/Connection reset by peer/' | tally)" '^20 none: Connection reset by peer$'
	is "C3: ... and charges nobody" "$(asks --wants ipthrottle --ip 203.0.113.9 --times 6 | tally)" "5 pass, 1 close ipthrottle 421"
	is "C3: ... and is counted" "$(status asked foreign)" 20
else
	skip "C3: a foreign user" "needs root and setpriv"
fi

# --- evidence --------------------------------------------------------------------------------------

id=$(asks --wants ipthrottle --ip 203.0.113.20 --helo mx.evil.test --times 7 | sed -n 's/.* \(r[a-z2-9]*\) block/\1/p' | sort -u)
like "all refusals have one id" "$id" '^r[a-z2-9]{8}$'
known() {
	spillway explain "$id" | grep -q "^refused 2 commands"
}
wait_for 9000 known # the numbers are written every five seconds
ok "explain knows it" $?
said=$(spillway explain "$id")
like "... who" "$said" "^$id: 203.0.113.20 was refused with 421 at helo \(rule ipthrottle\)$"
like "... by which limit" "$said" '^limit   class ip, pattern \*: 5 in 1m; the newest count is 6$'
like "... with what it said" "$said" '^who     203.0.113.20 helo mx.evil.test from <>, the first time$'
like "... when it ends" "$said" '^ends    20.*: admitted again after (1m|[45][0-9]s).* without marks$'
is "... and the refusals" "$(echo "$said" | grep -c "ipthrottle at helo, 421: 203.0.113.20 helo mx.evil.test .*, offence $id")" 2
is "in JSON" "$(spillway explain "$id" --json | json offence class) $(spillway explain "$id" --json | json offence max)" "ip 5"
like "explain finds it by address" "$(spillway explain 203.0.113.20)" "^  $id  203.0.113.20 over class ip, pattern \*: 5 in 1m"
like "explain finds a user" "$(spillway explain bob)" '^  r[a-z2-9]{8}  bob over class user, pattern \*: 4 in 1m'
spillway explain rzzzzzzzz 2>"$work/err"
is "an id that is none" "$? $(cat "$work/err")" \
	"1 spillway: nothing is known of \"rzzzzzzzz\"; allowed: the id in a reply or in the log, an IP address, a mail address, or a user"
is "the history does not list them" "$(spillway history | grep -c "$id")" 0
is "the log has one line for it" "$(grep -c "$id" "$work/daemon.log")" 1
like "... that says all" "$(grep "$id" "$work/daemon.log")" \
	"^info: limits: $id: ipthrottle refuses at helo: 6/5 in 1m \(class ip, pattern \*\) by 203.0.113.20$"
over() {
	grep -q 'limits: r[a-z2-9]*: over; 1 refused in 0s, by 203.0.113.1$' "$work/daemon.log"
}
wait_for 5000 over
ok "the end of one is in the log" $?

# --- connections held ------------------------------------------------------------------------------

hold() { # ADDRESS: a process that holds a connection, until it is killed; $answer is what it was told
	: >"$work/hold.out"
	"$bin/asks" "$work/run" --wants concurrency --stage connection --pid 0 --ip "$1" --linger 60000 >"$work/hold.out" &
	holder=$!
	started="$started $holder"
	wait_for 2000 grep -q . "$work/hold.out"
	answer=$(cat "$work/hold.out")
}
held_is() {
	[ "$(status held now)" = "$1" ]
}
hold 203.0.113.103
first=$answer
hold 203.0.113.103
is "two connections are held" "$first, $answer" "pass, pass"
hold 203.0.113.102
first=$holder
hold 203.0.113.103
like "a third is refused" "$answer" '^close concurrency 421 3/2 r[a-z2-9]{8} block$'
hold 203.0.113.102
is "another address is not" "$answer" "pass"
for n in 1 2 3; do
	hold 198.51.100.1
	is "who is not limited, $n" "$answer" "pass"
done
held_is 4
ok "four are held" $?
hold 203.0.113.102
like "the other address has two now" "$answer" '^close concurrency 421 3/2'
kill "$first"
wait_for 2000 held_is 3
ok "one of them ends" $?
hold 203.0.113.102
is "... and its place is free" "$answer" "pass"

# --- sleepers --------------------------------------------------------------------------------------

sleeping_are() {
	[ "$(status asked sleeping)" = "$1" ]
}
for n in 1 2; do
	"$bin/asks" "$work/run" --wants tarpit --stage rcpt --ip 192.0.2.50 --delay 20000 --linger 30000 >"$work/sleeper.$n" &
	started="$started $!"
done
wait_for 2000 sleeping_are 2
is "two sleep" "$(cat "$work/sleeper.1" "$work/sleeper.2" | tally)" "2 pass delay 20000"
is "a third finds no room" "$(asks --wants tarpit --stage rcpt --ip 192.0.2.50 --delay 20000)" "pass full"
spillway force busy --for 1m >/dev/null
wait_for 2000 sleeping_are 0
ok "when it gets busy they are woken" $?
is "... and nobody else is sent to sleep" "$(asks --wants tarpit --stage rcpt --ip 192.0.2.50 --delay 20000)" "pass"
spillway force auto >/dev/null
wait_for 3000 level_is normal

# --- reload, restart -------------------------------------------------------------------------------

asks --wants ipthrottle --ip 203.0.113.30 --times 4 --quiet >/dev/null
mails=2 configure
spillway reload >/dev/null
ok "reload" $?
is "C8: a limit that stays keeps its marks" "$(asks --wants ipthrottle --ip 203.0.113.30 --times 3 | tally)" \
	"1 pass, 2 close ipthrottle 421"
is "C8: one that is new counts from now on" "$(asks --wants ipthrottle --stage mail --ip 203.0.113.30 --times 3 | tally)" \
	"2 pass, 1 close ipthrottle 421"
kill -9 "$(child_of engine)"
again() {
	[ "$(asks --wants ipthrottle --ip 203.0.113.31)" = pass ]
}
wait_for 5000 again
ok "a new engine answers" $?

# --- one that stands still -------------------------------------------------------------------------

engine=$(child_of engine)
kill -STOP "$engine"
within "nobody waits longer than the deadline, ms" \
	"$(asks --wants ipthrottle --ip 203.0.113.40 --deadline 200 --times 5 --quiet | sed 's/.*slowest \([0-9]*\).*/\1/')" 150 290
kill -CONT "$engine"
gone_is() {
	[ "$(status asked gone)" = 5 ]
}
wait_for 3000 gone_is
ok "those who gave up are seen to have" $?
is "... and were not counted" "$(asks --wants ipthrottle --ip 203.0.113.40 --times 6 | tally)" "5 pass, 1 close ipthrottle 421"

# --- a flood ---------------------------------------------------------------------------------------

pids=''
for n in 1 2 3; do
	asks --wants ipthrottle --ip "10.$n.0.1" --distinct --times 3000 --quiet >"$work/flood.$n" &
	pids="$pids $!"
done
asks --wants ipthrottle --ip 203.0.113.50 --times 2000 --quiet >"$work/offender"
# shellcheck disable=SC2086 # several
wait $pids
is "a flood of addresses: all are answered" "$(sed 's/ slowest.*//' "$work"/flood.* | sort -u)" 'passes 3000 refused 0 none 0'
like "... the offender among them is refused" "$(cat "$work/offender")" '^passes 5 refused 1995 none 0'
within "the log says little about it, lines" "$(wc -l <"$work/daemon.log")" 3 60
stop_daemon
finish
