#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_operator - without eyes, at first sight, and when a person knows better: rows A4, A15, A16 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

refusal="451 Temporary Failure: Server overload close"
flag=$home/control/overloaded

make_home --plain
make_conf <<'E2'
levels = { hold = "2s"; release = "1s"; blind = "2s"; busy = { }; critical = { };
	overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2

# --- A16: switched on where it is overloaded already ---

fill_todo 30
before=$(now_ms)
start_daemon
ok "A16: the daemon answers" $?
todo_is_known() {
	[ "$(field readings todo text)" = 30 ]
}
wait_for 3000 todo_is_known
is "A16: the first sight decides nothing" "$(field level)" normal
wait_for 6000 level_is overloaded
within "A16: it has to last, ms since the start" $(($(now_ms) - before)) 1900 6000
wait_for 2000 flag_is_there
ok "A16: the flag is there" $?

# --- A15: an operator knows better ---

spillway force normal --for 4s --reason "we can take it" >/dev/null
before=$(now_ms)
wait_for 2000 level_is normal
ok "A15: normal by force, though the queue is full" $?
wait_for 2000 flag_is_gone
ok "A15: ... no flag" $?
wait_for 2000 passes
ok "A15: ... strangers get in" $?
is "A15: status tells who and why" "$(field forced) $(field override who) $(field override reason)" \
	"true uid $(id -u) we can take it"
like "A15: ... also for people" "$(spillway status)" 'we can take it'
wait_for 8000 level_is overloaded
within "A15: when its time is over the readings decide, ms" $(($(now_ms) - before)) 3900 9000
wait_for 2000 is_refused
ok "A15: ... strangers wait" $?
spillway force critical --for 1h >/dev/null
spillway force busy --for 1h >/dev/null
is "A15: a later word replaces the earlier" "$(field level) $(field override level)" "busy busy"
empty_todo
sleep 1.5
is "A15: what the readings do meanwhile does not count" "$(field level)" busy
spillway force auto >/dev/null
wait_for 5000 level_is normal
ok "A15: auto: the readings decide" $?
is "A15: ... and there is no word left" "$(field override)" null
spillway force doomsday >/dev/null 2>&1
is "A15: no such level: exit code" $? 100
spillway force busy --for 8d >/dev/null 2>&1
is "A15: for too long: exit code" $? 100
spillway force busy --for 0s >/dev/null 2>&1
is "A15: for no time: exit code" $? 100
is "A15: ... and nothing happened" "$(field level) $(field override)" "normal null"
spillway force busy --for 1m --reason "$(printf 'a\033[2J\nforged: line %s' "$(printf '%0500d' 0)")" >/dev/null
is "A15: a reason can't forge a line of the log" "$(times_logged '^forged')" 0
spillway force auto >/dev/null

# --- A15: and says so by hand ---

spillway force overloaded --for 1h >/dev/null
wait_for 2000 flag_is_there
touch "$flag"
pinned() {
	[ "$(field pinned) $(field gate)" = "$1" ]
}
wait_for 3000 pinned "true closed"
ok "A15: a flag of ours that was touched is the operator's" $?
spillway force normal --for 1h >/dev/null
sleep 1.5
flag_is_there
ok "A15: ... it stays when we are calm" $?
is "A15: ... and strangers wait" "$(stranger)" "$refusal"
is "A15: ... own users do not" "$(SMTPAUTHUSER=alice stranger)" pass
kill_all
sleep 3.2
is "A15: ... also when the daemon is dead and its lease over" "$(stranger)" "$refusal"
start_daemon
stop_daemon
flag_is_there
ok "A15: ... neither start nor end takes it away" $?
spillway neutral --offline >/dev/null
flag_is_there
ok "A15: ... nor does neutral --offline" $?
start_daemon
wait_for 3000 pinned "true closed"
ok "A15: it is seen after a start" $?
rm "$flag"
wait_for 3000 pinned "false open"
ok "A15: without it the gate is open" $?
is "A15: strangers get in" "$(stranger)" pass
spillway force auto >/dev/null

# --- A4: all eyes closed ---

fill_todo 30
wait_for 6000 level_is overloaded
wait_for 2000 flag_is_there
ok "A4: overloaded" $?
before=$(now_ms)
mv "$home/queue" "$home/queue.away"
wait_for 3000 logged 'warning: queue: '
ok "A4: the queue is gone: it is logged" $?
wait_for 8000 level_is normal
within "A4: nothing is known: normal, ms" $(($(now_ms) - before)) 1000 8000
wait_for 2000 flag_is_gone
ok "A4: ... no flag" $?
wait_for 2000 passes
ok "A4: ... strangers get in" $?
is "A4: unknown is not zero" "$(field readings todo text)" unknown
sleep 2
within "A4: it is logged once" "$(times_logged 'warning: queue: ')" 1 2
mv "$home/queue.away" "$home/queue"
wait_for 15000 level_is overloaded
ok "A4: with eyes again it closes" $?
logged 'info: queue: well again'
ok "A4: ... that is logged" $?
stop_daemon
finish
