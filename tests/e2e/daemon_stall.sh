#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_stall - processes that stand still for a while, or for ever: rows O1, T4 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

lease=2s

looks() { # of the probe of the load
	spillway probes --json | awk '/"name": "load"/ { on = 1 } on && /"looks":/ { gsub(/[^0-9]/, ""); print; exit }'
}

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; busy = { }; critical = { };
	overloaded = { todo = { enter = 200; leave = 10; }; growth = { enter = 60; leave = 5; }; }; };
probes = { load = { every = "1s"; }; };
E2
start_daemon
ok "the daemon answers" $?
engine=$(child_of engine)

# --- T4: four seconds, while 80 messages come: 20 a second, not 80 ---

fill_todo 5
sleep 0.5
before=$(looks)
kill -STOP "$engine"
fill_todo 85
sleep 4
kill -CONT "$engine"
wait_for 2000 spillway status
within "T4: after 4 s one look, not four" $(($(looks) - before)) 0 3
sleep 1
is "T4: what came meanwhile is no sudden growth" "$(field level) $(field readings todo text)" "normal 85"
is "T4: the same engine" "$(child_of engine)" "$engine"

# --- the keeper stands still, the engine goes on ---

fill_todo 250
wait_for 3000 level_is overloaded
wait_for 3000 flag_is_there
ok "T4: overloaded" $?
flag=$(stat -c %i "$home/control/overloaded")
kill -STOP "$daemon"
sleep 3
is "T4: the keeper stands still: strangers still wait" "$(stranger)" "451 Temporary Failure: Server overload close"
kill -CONT "$daemon"
sleep 0.5
is "T4: ... and it does not open the gate for its own absence" \
	"$(stat -c %i "$home/control/overloaded") $(times_logged 'no word from')" "$flag 0"

# --- O1: the engine stands still for ever ---

kill -STOP "$engine"
before=$(now_ms)
wait_for 5000 passes
within "O1: strangers get in with the end of the lease, ms" $(($(now_ms) - before)) 500 5000
wait_for 5000 flag_is_gone
within "O1: the flag is gone, ms" $(($(now_ms) - before)) 500 6000
before=$(now_ms)
spillway status >/dev/null 2>"$work/err"
is "O1: the command does not wait for ever: exit code" $? 111
within "O1: ... ms" $(($(now_ms) - before)) 0 9000
wait_for 15000 logged "the engine \(pid $engine\) has been silent for 1[0-9]+ ms: it is ended"
ok "O1: the keeper notices" $?
gone_engine() {
	gone "$engine"
}
wait_for 2000 gone_engine
ok "O1: ... and ends it" $?
wait_for 4000 level_is overloaded
ok "O1: a new one takes over" $?
wait_for 3000 flag_is_there
ok "O1: ... with the flag" $?
is "O1: strangers wait again" "$(stranger)" "451 Temporary Failure: Server overload close"

# --- the end, while one stands still ---

kill -STOP "$(child_of engine)" "$(child_of recorder)"
before=$(now_ms)
kill "$daemon"
wait "$daemon"
is "SIGTERM while both stand still: exit code" $? 0
within "... ms" $(($(now_ms) - before)) 0 4000
flag_is_gone
ok "... no flag" $?
finish
