#!/bin/sh
# SPDX-License-Identifier: ISC
#
# gate - the main job: the queue fills, the gate closes to strangers and to nobody else, the queue drains, it opens

. "$(dirname -- "$0")/lib.sh"

make_home --plain
make_conf <<'E2'
levels = { hold = "1s"; release = "2s"; };
E2
start_daemon
ok "the daemon answers" $?

is "in calm nobody is refused" "$(stranger)" "pass"

fill_todo 150
wait_for 3000 level_is overloaded
ok "150 messages in todo: overloaded" $?
wait_for 1000 test -f "$home/control/overloaded"
ok "control/overloaded is there" $?
like "its first line tells owner, level, since, reason" "$(head -n 1 "$home/control/overloaded")" \
	'^spillway overloaded since [0-9]+ 20[0-9-]+T[0-9:]+Z e[a-z2-9]{8}: todo 150, limit 100, for 1s$'
is "a stranger waits, in the words of the old plugin" "$(stranger)" "451 Temporary Failure: Server overload close"
like "the log line is that of the old plugin" "$(cat "$work/plugin.log")" \
	'^overload: [0-9]+ Temporary Failure: Server overload$'
is "by the stage name as well" "$(stranger spillway-mail)" "451 Temporary Failure: Server overload close"
is "a user who has authenticated gets through" "$(SMTPAUTHUSER=alice stranger)" "pass"
is "a relay client gets through" "$(RELAYCLIENT='' stranger)" "pass"
is "an empty SMTPAUTHUSER is a stranger" "$(SMTPAUTHUSER='' stranger)" "451 Temporary Failure: Server overload close"

episode=$(field episode)
like "the episode has an id" "$episode" '^e[a-z2-9]{8}$'
counted() {
	[ "$(field refused)" -eq 3 ]
}
wait_for 2000 counted
ok "each refusal was told and counted" $?
explained() {
	spillway explain "$episode" | grep -q 'refused 3 commands' || spillway explain "$episode" | grep -c '192.0.2.1' | grep -q 3
}
wait_for 3000 explained
ok "explain finds them under the episode's id" $?
like "explain finds them by address" "$(spillway explain 192.0.2.1)" "overload at mail, 451: 192.0.2.1 .*from <a@remote.test>.* episode $episode"

empty_todo
wait_for 6000 level_is normal
ok "the queue is empty: normal again" $?
wait_for 1000 test ! -e "$home/control/overloaded"
ok "control/overloaded is gone" $?
is "strangers are welcome again" "$(stranger)" "pass"
told() {
	[ "$(spillway history | grep -c ' gate ')" -eq 2 ]
}
wait_for 2000 told
ok "two edges of the gate in the history" $?

stop_daemon
finish
