#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_control - the control socket and those who misuse it: rows C1 to C6, C10, F11 of the failure list

. "$(dirname -- "$0")/lib.sh"

slack=8000 # KiB of memory
case $B in
*/asan) slack=200000 ;;
esac
nobody=65534
socket=$work/run/control.sock

# As somebody without rights, so that root is not in his own way; else as ourselves.
other=''
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=$nobody --regid=$nobody --clear-groups test -x "$B/spillway" 2>/dev/null; then
	other="setpriv --reuid=$nobody --regid=$nobody --clear-groups"
fi

# A number that abuse told: value FILE NAME
value() {
	sed -n "s/^$2: //p" "$1"
}

# Memory in KiB, descriptors, and cpu in hundredths of a second, of process $1.
memory_of() {
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

files_of() {
	find "/proc/$1/fd" -type l | wc -l
}

cpu_of() {
	awk '{ print $14 + $15 }' "/proc/$1/stat"
}

alone() {
	[ "$(field control clients)" -eq 1 ]
}

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; };
E2
start_daemon
ok "the daemon answers" $?
engine=$(child_of engine)
memory=$(memory_of "$engine")
files=$(files_of "$engine")

# --- C1: slow ones ---

for kind in mute trickle deaf; do
	# shellcheck disable=SC2086 # $other is several words, or none
	$other "$bin/abuse" $kind "$socket" 1000 4000 >"$work/$kind" &
	eval "$kind=\$!"
done
sleep 0.5
if [ -n "$other" ]; then
	before=$(now_ms)
	spillway status >/dev/null
	ok "C1: root is answered while another user has all his places taken" $?
	within "C1: at once" $(($(now_ms) - before)) 0 1500
else
	skip "C1: root is answered while another user has all his places taken" "needs root and setpriv"
	skip "C1: at once" "needs root and setpriv"
fi
# shellcheck disable=SC2154 # set by eval
wait "$mute" "$trickle" "$deaf"
for kind in mute trickle deaf; do
	is "C1: $kind: all 1000 are hung up on" "$(value "$work/$kind" ended)" 1000
	within "C1: $kind: none is kept longer than 2 s" "$(value "$work/$kind" longest)" 0 3500
done
spillway status >/dev/null
ok "C1: the daemon answers afterwards" $?

# --- C4: many ---

# shellcheck disable=SC2086
$other "$bin/abuse" knock "$socket" 10000 >"$work/knock"
is "C4: 10000 connections of one user are taken" "$(value "$work/knock" connected)" 10000
# shellcheck disable=SC2086
$other "$bin/abuse" mute "$socket" 200 1500 >"$work/crowd" &
crowd=$!
sleep 0.5
# shellcheck disable=SC2086
$other "$B/spillway" -c "$conf" status >/dev/null 2>"$work/err"
is "C4: beyond 32 of one user the command says so: exit code" $? 111
like "C4: ... and a sentence" "$(cat "$work/err")" '^spillway: .*control.sock'
wait "$crowd"
within "C4: of 200 at once all but 32 are hung up on at once" "$(value "$work/crowd" ended)" 168 200

# --- C2: noise ---

seed=$(($(date +%s) % 100000))
echo "# seed $seed"
# shellcheck disable=SC2086
$other "$bin/abuse" noise "$socket" 100000 $seed >"$work/noise"
is "C2: 100000 packets of noise are taken" "$(value "$work/noise" connected)" 100000
"$bin/abuse" datagrams "$work/run/event.sock" 100000 $seed >"$work/datagrams"
is "C2: 100000 datagrams of noise are sent" "$(value "$work/datagrams" connected)" 100000
wait_for 5000 alone
ok "C2: the daemon answers, nobody is left over" $?
is "C2: it is the same engine" "$(child_of engine)" "$engine"
is "C2: the level has not changed" "$(field level)" normal
is "C2: nothing was believed" "$(field events believed)" 0
within "C1 C2 C4: no memory lost, KiB" $(($(memory_of "$engine") - memory)) -100000 $slack
is "C1 C2 C4: no descriptor lost" "$(files_of "$engine")" "$files"

# --- C3: who may what ---

if [ -n "$other" ]; then
	$other "$B/spillway" -c "$conf" status >/dev/null
	ok "C3: nobody may read" $?
	for i in 1 2 3 4 5 6 7 8; do
		for what in "force overloaded" neutral reload; do
			# shellcheck disable=SC2086
			$other "$B/spillway" -c "$conf" $what >/dev/null 2>"$work/err"
			echo $? >>"$work/codes"
		done
	done
	is "C3: nobody may change, exit codes" "$(sort -u "$work/codes")" 100
	like "C3: ... and is told why" "$(cat "$work/err")" 'only root and service.operators may change'
	is "C3: nothing has changed" "$(field level) $(field override)" "normal null"
	is "C3: it is logged once for a user" "$(grep -c 'uid 65534 may not' "$work/daemon.log")" 1
	if [ "$(id -un $nobody 2>/dev/null)" = nobody ]; then
		sed -i 's/^service = {/& operators = [ "nobody" ];/' "$conf"
		spillway reload >/dev/null
		ok "C3: an operator is named in the configuration" $?
		$other "$B/spillway" -c "$conf" force busy --for 1m >/dev/null
		ok "C3: ... and may change" $?
		is "C3: ... under his name" "$(field override who)" "uid $nobody"
		spillway force auto >/dev/null
	else
		skip "C3: operators" "there is no user nobody"
	fi
else
	skip "C3: who may read and who may change" "needs root and setpriv"
fi

# --- C10: a command that is cut short ---

spillway history | head -n 1 >/dev/null
kill -STOP "$engine"
spillway force busy --for 1m >/dev/null 2>&1 &
half=$!
spillway status >/dev/null 2>&1 &
other_half=$!
sleep 0.2
kill -9 $half $other_half
wait $half $other_half 2>/dev/null
kill -CONT "$engine"
wait_for 3000 level_is busy
ok "C10: what a killed command had said counts" $?
wait_for 3000 alone
ok "C10: ... and the daemon goes on" $?
spillway force auto >/dev/null

# --- F11: no descriptors ---

if command -v prlimit >/dev/null; then
	prlimit --pid "$engine" --nofile=$((files + 6)):4096
	before=$(cpu_of "$engine")
	"$bin/abuse" mute "$socket" 20 1000 >"$work/emfile" &
	emfile=$!
	sleep 2
	within "F11: without descriptors the engine does not spin, 1/100 s of cpu in 2 s" \
		$(($(cpu_of "$engine") - before)) 0 100
	wait "$emfile"
	prlimit --pid "$engine" --nofile=1024:4096
	wait_for 4000 spillway status
	ok "F11: it answers again when there are some" $?
	like "F11: it was logged" "$(cat "$work/daemon.log")" 'control: cannot accept: Too many open files'
	is "F11: it is the same engine" "$(child_of engine)" "$engine"
else
	skip "F11: no descriptors" "no prlimit"
fi

# --- C5, C6: two daemons, and none ---

inode=$(stat -c %i "$socket")
"$B/spillwayd" -c "$conf" 2>"$work/second.log"
is "C5: a second daemon ends with 100" $? 100
is "C5: ... and says who is there" "$(cat "$work/second.log")" "error: keeper: already running (pid $daemon)"
is "C5: the first has its socket" "$(stat -c %i "$socket")" "$inode"
spillway status >/dev/null
ok "C5: ... and answers" $?
is "C5: ... the same engine" "$(child_of engine)" "$engine"

kill -9 "$daemon"
wait "$daemon" 2>/dev/null
test -S "$socket"
ok "C6: kill -9 leaves the socket" $?
spillway status >/dev/null 2>"$work/err"
is "C6: the command says that nobody is there: exit code" $? 111
start_daemon
ok "C6: the next daemon takes its place" $?
stop_daemon
finish
