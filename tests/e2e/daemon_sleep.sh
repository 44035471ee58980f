#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_sleep - all processes stand still together, as when the machine sleeps, is stopped, or drowns: rows T2, T4
#
# Longer than any lease, and longer than the keeper waits for an engine that is silent (10 s).

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

lease=2s
make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2
start_daemon
ok "the daemon answers" $?
fill_todo 30
wait_for 5000 level_is overloaded
wait_for 5000 is_refused
ok "overloaded" $?
n=0
while [ $n -lt 5 ]; do
	stranger >"$work/out"
	n=$((n + 1))
done
counted() {
	[ "$(field refused)" -ge 5 ]
}
wait_for 5000 counted
refused=$(field refused) episode=$(field episode)
engine=$(child_of engine) recorder=$(child_of recorder)
started="$started $engine $recorder"

kill -STOP "$daemon" "$engine" "$recorder"
sleep 12
is "T2: asleep: the lease is over, strangers get in" "$(stranger)" pass
# The keeper first: then it sees an engine that has said nothing for 12 s.
kill -CONT "$daemon"
sleep 0.3
kill -CONT "$engine" "$recorder"
wait_for 5000 is_refused
ok "T2: awake: strangers wait again" $?
wait_for 5000 flag_is_there
ok "T2: ... with the flag" $?
sleep 1
is "T2: nobody was taken for dead" "$(child_of engine) $(child_of recorder) $(times_logged 'has been silent')" \
	"$engine $recorder 0"
is "T2: it goes on in the same episode" "$(field level) $(field episode)" "overloaded $episode"
within "T2: and has not forgotten who was refused" "$(field refused)" "$refused" 100000
stop_daemon
finish
