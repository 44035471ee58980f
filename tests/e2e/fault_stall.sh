#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fault_stall - the engine is lost in a call that does not end: rows O1, D11 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

lease=2s
slow=$work/slow

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2

# --- D11: each fdatasync of the database takes 5 s ---

: >"$slow"
inject_daemon FI_CALL=fdatasync,fsync FI_COMM=recorder FI_DELAY_MS=5000 FI_STICKY=1 FI_WHILE="$slow"
wait_for 5000 spillway status
ok "D11: the daemon answers though its disk does not" $?
before=$(now_ms)
fill_todo 30
wait_for 2000 level_is overloaded
wait_for 2000 flag_is_there
within "D11: it closes the gate as fast as ever, ms" $(($(now_ms) - before)) 0 3000
before=$(now_ms)
spillway force normal --for 1m >/dev/null 2>"$work/err"
is "D11: a word that is not durable in time: exit code" $? 111
within "D11: ... ms" $(($(now_ms) - before)) 1000 5000
like "D11: ... it says what holds" "$(cat "$work/err")" 'in force now, but not yet written'
is "D11: ... and it does hold" "$(field level) $(field override durable)" "normal false"
empty_todo
before=$(now_ms)
kill "$daemon"
wait "$daemon"
is "D11: SIGTERM: exit code" $? 0
within "D11: ... ms" $(($(now_ms) - before)) 0 3500
flag_is_gone
ok "D11: ... no flag" $?
rm "$slow"

# --- O1: the engine does not come back from a call ---

inject_daemon FI_CALL=rename FI_COMM=engine FI_DELAY_MS=60000 FI_STICKY=1 FI_WHILE="$slow"
wait_for 5000 spillway status
ok "O1: the daemon answers" $?
engine=$(child_of engine)
spillway force overloaded --for 5m >/dev/null
wait_for 2000 flag_is_there
wait_for 2000 is_refused
ok "O1: overloaded" $?
: >"$slow"
wait_for 6000 flag_is_gone
ok "O1: the gate opens with the end of the lease" $?
wait_for 14000 logged "the engine \(pid $engine\) has been silent"
ok "O1: the keeper notices" $?
rm "$slow"
wait_for 3000 logged 'engine: aborted; it was here:'
ok "O1: the engine tells where it was" $?
like "O1: ... by a trace" "$(cat "$work/daemon.log")" 'inject.so.*rename'
logged 'the engine ended with signal 6; it is started again in 500 ms'
ok "O1: ... and ends" $?
wait_for 4000 level_is overloaded
ok "O1: a new one goes on with what a person had said" $?
stop_daemon
finish
