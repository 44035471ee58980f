#!/bin/sh
# SPDX-License-Identifier: ISC
#
# storm - forged bounces by the thousand to one address, through the real tcpsvd and the stand-in, with all that must
# not suffer: real bounces of mail that the address sent, normal mail, other addresses; then all killed in the midst
#
# In a network of our own, where 131,072 addresses are clients.  STORM_FORGED (4000) forged bounces come from STORM_CLIENTS
# (400) addresses; STORM_FORGED=40000 STORM_CLIENTS=2000 is the full count.

# shellcheck disable=SC2016 # the inner shell expands
if [ -z "${STORM_NS-}" ]; then
	STORM_NS=none
	for how in 'unshare -n' 'unshare -Urn'; do
		if $how sh -c 'ip link set lo up && ip route add local 198.18.0.0/15 dev lo' 2>/dev/null; then
			STORM_NS=$how
			export STORM_NS
			exec $how sh -c 'ip link set lo up; ip route add local 198.18.0.0/15 dev lo; exec "$@"' sh "$0" "$@"
		fi
	done
fi

. "$(dirname -- "$0")/lib.sh"

if [ "$STORM_NS" = none ]; then
	skip "a storm under the real server" "no network namespace"
	finish
fi
for p in tcpsvd python3; do
	if ! command -v "$p" >/dev/null 2>&1; then
		skip "a storm under the real server" "no $p here"
		finish
	fi
done

here=$(cd "$(dirname -- "$0")" && pwd)
port=2525
forged=${STORM_FORGED-4000} clients=${STORM_CLIENTS-400}
victim=alice@example.test

# While it storms, nothing depends on how fast this machine is: who was put off can't come back, and it can't be over.
configure() { # RETRY QUIET
	make_conf <<C
plugins = { rcpt = [ "bounceshield" ]; texts = "extended"; };
storms = { within = "10s"; quiet = "$2"; retry = "$1"; learn = "0s"; };
blocks = { allow = [ "198.19.250.0/24" ]; };
C
}

stormer() {
	python3 "$here/stormer.py" "$@"
}

knock() { # ADDRESS HELO SENDER RECIPIENT: the reply to RCPT
	python3 - "$port" "$@" <<'P'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30, (sys.argv[2], 0))
f = s.makefile("rwb")
def say(line):
    if line:
        f.write(line.encode() + b"\r\n")
        f.flush()
    while True:
        r = f.readline()
        if r[3:4] != b"-":
            return r.decode().strip()
say("")
for line in ("HELO " + sys.argv[3], "MAIL FROM:<%s>" % sys.argv[4]):
    say(line)
print(say("RCPT TO:<%s>" % sys.argv[5]))
say("QUIT")
P
}

count() { # KIND CODES [FROM TO]: sessions of the log
	awk -v kind="$1" -v codes="$2" -v from="${3-0}" -v to="${4-99999999999999}" \
		'$1 == kind && $3 ~ codes && $2 >= from && $2 <= to { n++ } END { print n + 0 }' "$work/log"
}

# When the first refusal was heard: who says RCPT after that comes after recognition.
recognised() {
	awk '$1 == "forged" && $3 ~ /^[45]/ && (at == 0 || $5 < at) { at = $5 } END { print at + 0 }' "$work/log"
}

storm_is_on() {
	spillway storms | grep -q "^$1: for"
}

no_storms() {
	[ "$(spillway storms)" = "no storms" ]
}

rss_kb() {
	awk '/^VmRSS/ { print $2 }' "/proc/$(child_of engine)/status"
}

mails_are() {
	[ "$(field storms sent mails)" -ge "$1" ]
}

is_restored() {
	[ "$(field storms restored)" = true ]
}

start() {
	start_daemon
	wait_for 5000 is_restored
	wait_for 5000 test -S "$work/run/ask.sock"
}

make_home --split
printf '[rcpt]\n%s\n' "$home/plugins/spillway-rcpt" >"$home/control/smtpplugins"
configure 1h 1h
start
ok "the daemon answers" $?
QMAIL_HOME=$home ENABLE_SPP=1 tcpsvd -l here -c 100 127.0.0.1 "$port" "$bin/smtpd" >>"$work/tcpsvd.log" 2>&1 &
started="$started $!"
answers() {
	[ "$(knock 198.19.255.1 a.test someone@a.test bob@example.test | cut -c 1-3)" = 250 ]
}
wait_for 5000 answers || {
	ok "the server answers" 1
	tail -n 3 "$work/tcpsvd.log"
	finish
}

# --- what the address sends is learned -------------------------------------------------------------

stormer send "$port" "$victim" 0 200
ok "alice sends 200 mails" $?
wait_for 3000 mails_are 200
is "... and each is known" "$(field storms sent mails)" 200

# --- the storm -------------------------------------------------------------------------------------

flood() { # SEED
	stormer storm "$port" "$victim" --forged "$forged" --clients "$clients" --real 200 --odd 40 --normal 100 \
		--log "$work/log" --seed "$1"
}

# The time has passed for all who were put off.
come_again() {
	configure 1s 1h
	spillway reload && sleep 1.1 && stormer again "$port" "$victim" --log "$work/log"
	configure 1h 1h
	spillway reload
}

# Plugins that had no answer in time let all in: a machine may stand still.
gave_up() {
	grep -c "bounceshield: .*Can't connect" "$work/tcpsvd.log"
}
before=$(rss_kb)
began=$(now_ms)
flood 1
come_again
echo "# $forged forged from $clients clients and all the rest: $(($(now_ms) - began)) ms"
at=$(recognised)
within "forged bounces let in: those before the 20th, and one for 20 mails that it sent" "$(count forged '^2')" 25 \
	$((35 + $(gave_up)))
after=$(count forged . "$at") let_in=$(count forged '^2' "$at")
echo "# after recognition: $let_in of $after let in; $(gave_up) without an answer in time"
let_in=$((let_in > $(gave_up) ? let_in - $(gave_up) : 0))
within "forged bounces let in after recognition, of 1,000" $((let_in * 1000)) 0 "$after"
thirtieth=$(awk '$1 == "forged" { print $5 }' "$work/log" | sort -n | sed -n 30p)
within "recognised after the 20th that its mail does not explain, ms" $((at - thirtieth)) -1000 1000
is "real bounces: refused for good" "$(($(count real '^5') + $(count odd '^5') + $(count real-again '^5') + $(count odd-again '^5')))" 0
is "... from hosts of the domains written to: let in at once" "$(count real '^2')" 160
is "... from hosts of other names: let in, or put off" "$(($(count odd '^2') + $(count odd '^4')))" 40
is "... every one that was put off is in after its retry" "$(count odd-again '^2')" "$(count odd '^4')"
is "normal mail: let in" "$(count normal '^2')" 100
# Its tables are taken at the start, but a page of them is there when it is used: 8 MB of what was sent, 4 of counts.
within "memory grew by, kB" $(($(rss_kb) - before)) 0 16000
like "storms tells" "$(spillway storms)" "^$victim: for .*counted, 0 refused, [0-9]+ put off, [0-9]+ let in \[s[a-z2-9]{8}\]"
like "status tells" "$(spillway status)" '^storms    1 of bounces now'

# --- what is said, and found again -----------------------------------------------------------------

said=$(knock 198.18.77.77 mx.flood.test '' "$victim")
like "the reply" "$said" '^451 4\.7\.1 sorry, too many bounces to this address; please try again later \[s[a-z2-9]{8}\]$'
id=$(printf '%s\n' "$said" | sed 's/.*\[\(s.*\)\]/\1/')
known() {
	spillway explain "$id" | grep -q "^$id: $victim is under a storm of bounces"
}
wait_for 3000 known
ok "explain finds the id" $?
like "... and the address" "$(spillway explain ALICE@Example.test)" "^$id: "
like "... with refusals" "$(spillway explain "$id")" 'bounceshield at rcpt, 451: 198\.18\.'
like "the history has its beginning" "$(spillway history)" "storm .*$id: a storm of bounces began: 20 .*$victim"
like "the server's log has the refusal" "$(grep -m 1 bounceshield "$work/tcpsvd.log")" \
	'bounceshield: pid [0-9]+ - Bounce to an address under a storm of them, from 198\.18\.[0-9.]+ \[s'
is "another address gets its bounces" "$(knock 198.18.77.78 mx.flood.test '' bob@example.test | cut -c 1-3)" 250
is "an allowed client gets in" "$(knock 198.19.250.1 mx.flood.test '' "$victim" | cut -c 1-3)" 250

# --- killed in the midst ---------------------------------------------------------------------------

stormer send "$port" "$victim" 0 200
wait_for 3000 mails_are 400
gave_up_before=$(gave_up)
flood 2 &
flooding=$!
sleep 2
kill_at=$(now_ms)
all=$(cat "/proc/$daemon/task/$daemon/children")
# shellcheck disable=SC2086 # several
kill -9 "$daemon" $all
wait "$daemon" 2>/dev/null
start
wait_for 10000 storm_is_on "$victim"
ok "killed and started again: the storm is known" $?
known_at=$(now_ms)
echo "# known again after $((known_at - kill_at)) ms"
is "... by its id" "$(spillway storms | sed 's/.*\[\(s.*\)\]/\1/')" "$id"
wait "$flooding"
come_again
come_again # who was put off before the end was forgotten, so he was put off once more
within "forged bounces let in after that" "$(count forged '^2' "$known_at")" 0 "$(($(gave_up) - gave_up_before))"
is "real bounces: refused for good" "$(($(count real '^5') + $(count odd '^5') + $(count real-again '^5') + $(count odd-again '^5')))" 0
is "... from hosts of the domains written to: in" "$(count real '^2')" 160
is "... others: in, at once or after their retry" "$(($(count odd '^2') + $(count odd-again '^2')))" 40
is "normal mail: let in" "$(count normal '^2')" 100

# --- the end ---------------------------------------------------------------------------------------

configure 1h 10s
spillway reload
wait_for 15000 no_storms
ok "the shield is gone after the quiet time" $?
is "... a bounce gets in" "$(knock 198.18.77.79 mx.flood.test '' "$victim" | cut -c 1-3)" 250
like "the history has its end" "$(spillway history)" "storm .*$id: the storm is over"
like "explain knows" "$(spillway explain "$id")" '^ended   20.*nothing is refused'

# --- an address that has sent nothing, a catch-all domain, and a person ----------------------------

stormer storm "$port" dave@example.test --forged 40 --clients 40 --log "$work/log"
like "an address that has sent nothing" "$(knock 198.18.77.80 mx.flood.test '' dave@example.test)" \
	'^550 5\.7\.1 sorry, this address did not send what you return \[s'
spillway storms release DAVE@example.test >"$work/out"
is "a person ends it" "$? $(cat "$work/out")" "0 DAVE@example.test: the storm is over"
is "... at once" "$(knock 198.18.77.80 mx.flood.test '' dave@example.test | cut -c 1-3)" 250
spillway storms release dave@example.test >/dev/null 2>&1
is "... once" $? 1
configure 1h 1h
spillway reload
stormer storm "$port" @example.test --forged 80 --clients 80 --log "$work/log"
like "made up local parts: the domain is under a storm" "$(spillway storms)" '^all of example\.test: for'
within "... from the 50th on" "$(count forged '^2')" 40 $((50 + $(gave_up)))
is "an address that sends is spared" "$(knock 198.18.77.82 mx.flood.test '' "$victim" | cut -c 1-3)" 250
is "... and postmaster" "$(knock 198.18.77.82 mx.flood.test '' postmaster@example.test | cut -c 1-3)" 250
stop_daemon
finish
