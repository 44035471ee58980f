#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_crash - kill -9 of the engine, of the keeper, of all, calm and overloaded; crash loops; SIGTERM: rows A3, A13, A14, C11
# of the failure list
#
# What a crash leaves behind must end with the lease, by itself.

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

lease=2s
slack=3000 # a slow machine
stuck=$work/stuck # while it is there no engine can start

engine_is_new() {
	e=$(child_of engine)
	[ -n "$e" ] && [ "$e" != "$engine" ]
}

begin() {
	inject_daemon FI_CALL=open FI_PATH=boot_id FI_COMM=engine FI_STICKY=1 FI_WHILE="$stuck"
	wait_for 5000 spillway status
	ok "$1: the daemon answers" $?
	engine=$(child_of engine)
}

overload() {
	fill_todo 30
	wait_for 3000 level_is overloaded
	wait_for 2000 flag_is_there
	ok "$1: overloaded, the flag is there" $?
}

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2

# --- A3, calm ---

begin "A3 calm"
kill -9 "$engine"
wait_for 4000 engine_is_new
ok "A3 calm: a killed engine is started again" $?
wait_for 3000 level_is normal
ok "A3 calm: ... and answers" $?
is "A3 calm: a stranger gets in" "$(stranger)" pass
flag_is_gone
ok "A3 calm: no flag" $?
engine=$(child_of engine)
recorder=$(child_of recorder)
kill -9 "$recorder"
new_recorder() {
	r=$(child_of recorder)
	[ -n "$r" ] && [ "$r" != "$recorder" ]
}
wait_for 4000 new_recorder
ok "A3 calm: a killed recorder is started again" $?
is "A3 calm: ... the engine did not mind" "$(child_of engine)" "$engine"
wait_for 5000 spillway force busy --for 1m
ok "A3 calm: ... and what is told done is durable again" $?
spillway force auto >/dev/null
recorder=$(child_of recorder)
kill -9 "$daemon"
wait "$daemon" 2>/dev/null
wait_for 2000 gone "$engine" && wait_for 3000 gone "$recorder"
ok "A3 calm: with the keeper the others end" $?
is "A3 calm: a stranger gets in" "$(stranger)" pass

# --- A3, overloaded, the engine ---

begin "A3 engine"
overload "A3 engine"
episode=$(field episode)
kill -9 "$engine"
wait_for 4000 engine_is_new
ok "A3 engine: a killed engine is started again" $?
wait_for 3000 level_is overloaded
ok "A3 engine: ... and resumes" $?
is "A3 engine: ... the same episode" "$(field episode)" "$episode"
is "A3 engine: ... a stranger still waits" "$(stranger)" "451 Temporary Failure: Server overload close"
wait_for 2000 flag_is_there
ok "A3 engine: ... the flag is there" $?

engine=$(child_of engine)
: >"$stuck"
kill -9 "$engine"
before=$(now_ms)
wait_for $((2000 + slack)) passes
within "A3 engine: it can't start again: strangers get in, ms" $(($(now_ms) - before)) 0 $((2000 + slack))
wait_for $((2000 + slack)) flag_is_gone
within "A3 engine: ... the flag is gone, ms" $(($(now_ms) - before)) 0 $((2000 + slack))
logged 'keeper: no word from the engine for its lease: the gate is opened'
ok "A3 engine: ... it was logged" $?

# --- A13: the loop that this is ---

wait_for 10000 logged 'engine ended with exit code 111; it is started again in 4000 ms'
ok "A13: in a crash loop the pause doubles" $?
within "A13: starts in these seconds" "$(times_logged 'it is started again in')" 3 9
flag_is_gone
ok "A13: no flag meanwhile" $?
within "A13: the opened gate is told once" "$(times_logged 'no word from the engine')" 1 1
rm "$stuck"
wait_for 9000 level_is overloaded
ok "A13: when it can start, it does" $?

# --- A3, overloaded, the keeper ---

wait_for 3000 flag_is_there
engine=$(child_of engine)
kill -9 "$daemon"
before=$(now_ms)
wait "$daemon" 2>/dev/null
wait_for 2000 gone "$engine"
ok "A3 keeper: the engine does not outlive the keeper" $?
wait_for $((2000 + slack)) passes
within "A3 keeper: strangers get in, ms" $(($(now_ms) - before)) 0 $((2000 + slack))
flag_is_there
ok "A3 keeper: the flag is left behind" $?
spillway neutral --offline >"$work/out" 2>&1
ok "A3 keeper: neutral --offline" $?
flag_is_gone
ok "A3 keeper: ... takes it away" $?
is "A3 keeper: ... and the state" "$(ls "$work/run/state" 2>/dev/null)" ""
echo garbage >"$conf.broken"
spillway neutral --offline >/dev/null 2>&1
ok "A3 keeper: ... and again is no error" $?

# --- A3, overloaded, all ---

begin "A3 all"
wait_for 3000 flag_is_there
kill_all
flag_is_there && spillway -c "$conf.broken" neutral --offline >"$work/out" 2>&1
like "A3 all: neutral --offline with a broken configuration goes by what the keeper noted" "$(cat "$work/out")" \
	"^$home: neutral"
flag_is_gone
ok "A3 all: ... the flag is gone" $?

begin "A3 all"
wait_for 3000 flag_is_there
kill_all
empty_todo
sleep 2.2
begin "A3 all: the lease is over, the queue empty"
wait_for 2500 flag_is_gone
ok "A3 all: ... the next start takes the flag away" $?

# --- C11: a person's word, and then everything dies ---

spillway force overloaded --for 3s >/dev/null
ok "C11: forced for 3 s" $?
before=$(now_ms)
wait_for 3000 flag_is_there
kill_all
begin "C11"
wait_for 2000 level_is overloaded
ok "C11: it still holds after a crash" $?
wait_for 5000 level_is normal
within "C11: ... and ends in its time, ms" $(($(now_ms) - before)) 2800 $((3000 + slack))
spillway force overloaded --for 2s >/dev/null
kill_all
sleep 2.1
begin "C11: its time is over"
sleep 0.5
is "C11: ... it is not taken up again" "$(field level) $(field override)" "normal null"

# --- A14: the end, at each level ---

for level in normal busy overloaded critical; do
	spillway force $level --for 1m >/dev/null
	[ $level = normal ] || [ $level = busy ] || wait_for 2000 flag_is_there
	before=$(now_ms)
	kill "$daemon"
	wait "$daemon"
	is "A14: SIGTERM at $level: exit code" $? 0
	within "A14: ... ms" $(($(now_ms) - before)) 0 2000
	is "A14: ... no flag, no state" "$(ls "$home/control/overloaded" "$work/run/state" 2>/dev/null)" ""
	is "A14: ... a stranger gets in" "$(stranger)" pass
	begin "A14: started after that"
	wait_for 2000 level_is $level
	ok "A14: ... the word still holds" $?
done
spillway force auto >/dev/null
stop_daemon
within "history tells when it stopped" "$(spillway history | grep -c stopped)" 5 12
finish
