#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fault_flag - control/overloaded under fire: it can't be written, the keeper dies in the middle, links are planted, directories
# are exchanged: rows A7, A8, F1, F2, F3 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

lease=2s
control=$home/control
on=$work/on # faults happen while it is there

force() {
	spillway force "$1" --for 1h >/dev/null
}

calm_without_flag() {
	force normal
	wait_for 4000 flag_is_gone
}

leftovers() {
	find "$control" -name '.overloaded*'
}

# --- A7: one home of two can't be written ---

make_home --plain
first=$home
home=$work/other
make_home --plain
home=$first
make_conf <<E2
E2
sed -i "s|^qmail = .*|qmail = { homes = [ \"$first\", \"$work/other\" ]; };|" "$conf"
: >"$on"
inject_daemon FI_CALL=open FI_PATH="$first/control/.overloaded.new" FI_COMM=spillwayd FI_STICKY=1 FI_WHILE="$on" \
	FI_COUNT="$work/count"
wait_for 5000 spillway status
ok "A7: the daemon answers" $?
force overloaded
wait_for 2000 test -f "$work/other/control/overloaded"
ok "A7: one home can't be written: the other has its flag" $?
wait_for 2000 logged "error: keeper: cannot write $first/control/overloaded: Input/output error"
ok "A7: ... it is logged" $?
told() {
	spillway status --json | grep -q '"error": "Input/output error"'
}
wait_for 2000 told
ok "A7: ... and told by status" $?
is "A7: our plugin refuses there too" "$(stranger)" "451 Temporary Failure: Server overload close"
sleep 5
is "A7: it is logged once" "$(times_logged 'cannot write')" 1
within "A7: it is tried at growing intervals, times in 5 s" "$(wc -l <"$work/count")" 2 5
rm "$on"
wait_for 12000 flag_is_there
ok "A7: when it can be written it is" $?
wait_for 3000 logged 'info: keeper: well again'
ok "A7: ... that is logged" $?
force normal
stop_daemon
flag_is_gone && test ! -e "$work/other/control/overloaded"
ok "A7: the end takes both away" $?

# --- A8: kill -9 at each step ---

make_conf <<'E2'
E2

keeper_is_gone() {
	gone "$daemon"
}

# One step: the keeper dies before its call number $2 (from 0) of those that change something.  Prints what is wrong.
# When it lives the deed has no more steps: 1.
die_at() { # LEVEL N
	inject_daemon FI_CALL=write,fchmod,futimens,fsync,rename,unlink FI_PATH="$first/control" FI_COMM=spillwayd \
		FI_KILL=1 FI_AFTER="$2" FI_WHILE="$on"
	wait_for 5000 spillway status || echo "no daemon"
	if [ "$1" = normal ]; then
		force overloaded
		wait_for 3000 flag_is_there || echo "no flag"
	fi
	: >"$on"
	spillway force "$1" --for 1h >/dev/null 2>&1
	wait_for 3000 keeper_is_gone
	lives=$?
	kill_all
	rm "$on"
	if [ -e "$control/overloaded" ]; then
		grep -qE '^spillway overloaded since [0-9]+ .*: .' "$control/overloaded" || echo "half a flag"
	fi
	return $lives
}

is_tidy() {
	[ -z "$(leftovers)" ]
}

n=0
while said=$(die_at overloaded $n) && [ $n -lt 20 ]; do
	is "A8: raising it, kill -9 before step $n: no flag or a whole one" "$said" ""
	start_daemon
	wait_for 3000 flag_is_there && wait_for 2000 is_tidy
	ok "A8: ... the next start writes it, and tidies up" $?
	calm_without_flag
	stop_daemon
	n=$((n + 1))
done
within "A8: steps to raise it" $n 5 12
start_daemon
calm_without_flag
stop_daemon
n=0
while said=$(die_at normal $n) && [ $n -lt 20 ]; do
	is "A8: removing it, kill -9 before step $n: no flag or a whole one" "$said" ""
	start_daemon
	wait_for 3000 flag_is_gone && wait_for 2000 is_tidy
	ok "A8: ... the next start removes it, and tidies up" $?
	stop_daemon
	n=$((n + 1))
done
within "A8: steps to remove it" $n 2 8

start_daemon
force overloaded
wait_for 3000 flag_is_there
kill_all
n=0
while [ $n -lt 3 ]; do
	LD_PRELOAD=$preload FI_CALL=rename,unlink FI_PATH="$first/control" FI_KILL=1 FI_AFTER=$n \
		"$B/spillway" -c "$conf" neutral --offline >/dev/null 2>&1
	n=$((n + 1))
done
spillway neutral --offline >/dev/null
ok "A8: neutral --offline, killed at each step, and then once more" $?
is "A8: ... nothing is left" "$(find "$control" -name '*overloaded*')" ""

# An operator's flag that was moved aside, and then the keeper died.
echo "maintenance until noon" >"$control/.overloaded.aside"
start_daemon
force normal
wait_for 2000 flag_is_there
is "A8: an operator's flag that was aside is put back" "$(cat "$control/overloaded")" "maintenance until noon"
stop_daemon
echo "an older one" >"$control/.overloaded.aside"
start_daemon
wait_for 3000 is_tidy
is "A8: ... but not over a newer one" "$(cat "$control/overloaded") $(leftovers)" "maintenance until noon "
rm "$control/overloaded"

# --- F1, F2: links ---

canary() {
	echo "do not touch" >"$work/canary"
	chmod 640 "$work/canary"
}

# Untouched, and still a file of its own.
unharmed() {
	is "$1: the canary is unharmed" "$(cat "$work/canary") $(stat -c %a "$work/canary")" "do not touch 640"
}

canary
ln -s "$work/canary" "$control/.overloaded.new"
force overloaded
wait_for 3000 flag_is_there
ok "F1: a link planted as .overloaded.new: the flag is written" $?
unharmed "F1: .overloaded.new"
test ! -L "$control/overloaded"
ok "F1: ... it is a file" $?
calm_without_flag

ln "$work/canary" "$control/.overloaded.new"
force overloaded
wait_for 3000 flag_is_there
ok "F2: a hard link planted as .overloaded.new: the flag is written" $?
unharmed "F2: .overloaded.new"
calm_without_flag

for how in -s ''; do
	# shellcheck disable=SC2086 # an option, or none
	ln $how "$work/canary" "$control/overloaded"
	force overloaded
	sleep 1.2
	unharmed "F1 F2: ln $how as the flag, overloaded"
	force normal
	sleep 1.2
	unharmed "F1 F2: ln $how as the flag, calm"
	is "F1 F2: ... it counts as an operator's and stays" "$(cat "$control/overloaded")" "do not touch"
	rm "$control/overloaded"
done

force overloaded
wait_for 3000 flag_is_there
rm -f "$work/canary"
ln "$control/overloaded" "$work/canary"
ours=$(cat "$work/canary")
calm_without_flag
is "F2: another name of our own flag is left as it was" "$(cat "$work/canary")" "$ours"

canary
ln -s "$work/canary" "$work/run/.state.new"
ln -sf "$work/canary" "$work/run/state"
force overloaded
wait_for 3000 is_refused
ok "F1: links planted as state and .state.new: the state is published" $?
unharmed "F1: state"
test ! -L "$work/run/state"
ok "F1: ... it is a file" $?
calm_without_flag
stop_daemon

for what in homes .homes.new control.sock event.sock spillway.db; do
	dir=$work/run
	[ $what != spillway.db ] || dir=$work/state
	rm -rf "${dir:?}/$what"
	ln -s "$work/canary" "$dir/$what"
done
start_daemon
ok "F1: links planted as homes, sockets, database: the daemon answers" $?
force busy
ok "F1: ... and remembers" $?
unharmed "F1: homes, sockets, database"
stop_daemon
rm -f "$work/run/lock"
ln -s "$work/canary" "$work/run/lock"
"$B/spillwayd" -c "$conf" 2>"$work/err"
is "F1: a link planted as lock is refused: exit code" $? 111
like "F1: ... with a word" "$(cat "$work/err")" 'cannot open the lock'
unharmed "F1: lock"
rm "$work/run/lock"

# --- F3: directories are exchanged while it runs ---

start_daemon
mkdir "$work/evil"
mv "$control" "$control.real"
ln -s "$work/evil" "$control"
force overloaded
wait_for 3000 test -f "$control.real/overloaded"
ok "F3: the flag goes to the directory that was opened at the start" $?
is "F3: ... nothing to the one that was put in its place" "$(ls -A "$work/evil")" ""
rm "$control"
mv "$control.real" "$control"
mv "$work/run" "$work/run.real"
ln -s "$work/evil" "$work/run"
sleep 1.2
is "F3: the state goes to the directory that was opened at the start" "$(ls -A "$work/evil")" ""
rm "$work/run"
mv "$work/run.real" "$work/run"
calm_without_flag
ok "F3: all as before" $?
stop_daemon
finish
