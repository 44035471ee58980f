#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_children - a qmail-qstat that misbehaves in every way a child can: rows O4, T5 of the failure list
#
# The daemon goes on, its other probes are on time, it says what is wrong, and nothing of the child is left.

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

slack=8000 # KiB of memory
case $B in
*/asan) slack=200000 ;;
esac
qstat=$work/qstat

# The helper's script comes from stdin.
helper() {
	{
		echo '#!/bin/sh'
		echo "echo \$\$ >>$work/pids"
		cat
	} >"$qstat.new"
	chmod 755 "$qstat.new"
	mv "$qstat.new" "$qstat"
}

# A value of one probe: of NAME KEY
of() {
	spillway probes --json | awk -v name="$1" -v key="\"$2\":" '
		$1 == "\"name\":" && $2 == "\"" name "\"," { on = 1 }
		on && $1 == key { sub(/^ *"[a-z_]*": /, ""); sub(/,$/, ""); print; exit }'
}

error_is() { # REGEX
	of qstat error | grep -qE -- "$1"
}

zombies() {
	# shellcheck disable=SC2013 # numbers
	for p in $(cat "/proc/$engine/task/$engine/children"); do
		grep -h '^State:.Z' "/proc/$p/status"
	done | wc -l
}

# All helpers and what they started; the pids are in files.
none_is_left() {
	while read -r p; do
		gone "$p" || return 1
	done <"$work/pids"
}

misbehaves() { # NAME REGEX
	: >"$work/pids"
	helper
	wait_for 6000 error_is "$2"
	ok "O4: a helper that $1: it is told" $?
	echo "#   $(of qstat error)"
	helper <<'E2'
echo "messages in queue: 0"
echo "messages in queue but not yet preprocessed: 0"
E2
	wait_for 6000 error_is '^null$'
	ok "O4: ... and well again with one that does its work" $?
}

make_home --plain
make_conf <<E2
levels = { hold = "0s"; };
probes = { qstat = { command = "$qstat"; every = "300ms"; deadline = "400ms"; }; load = { every = "1s"; }; };
E2
: >"$work/pids"
helper <<'E2'
echo "messages in queue: 7"
echo "messages in queue but not yet preprocessed: 3"
E2
start_daemon
ok "the daemon answers" $?
engine=$(child_of engine)
counted() {
	[ "$(field readings qstat_todo text) $(field readings qstat_messages text)" = "3 7" ]
}
wait_for 3000 counted
ok "a helper that does its work is believed" $?
memory=$(awk '/^VmRSS:/ { print $2 }' "/proc/$engine/status")
files=$(find "/proc/$engine/fd" -type l | wc -l) # perhaps with those of a helper
load_looks=$(of load looks)
began=$(now_ms)

misbehaves "sleeps" 'did not end within 400 ms' <<'E2'
exec sleep 300
E2
misbehaves "ignores SIGTERM and sleeps" 'did not end within 400 ms' <<'E2'
trap '' TERM HUP INT
while :; do sleep 1; done
E2
misbehaves "stops itself" 'did not end within 400 ms' <<'E2'
kill -STOP $$
E2
misbehaves "prints without end" 'says what we do not understand' <<'E2'
exec cat /dev/zero
E2
misbehaves "prints a GiB of lines" '(says what we do not understand: messages in|yes: )' <<'E2'
yes "messages in queue: 9999999" | head -c 1000000000
E2
misbehaves "complains without end" 'qmail-qstat complains' <<'E2'
exec cat /dev/zero >&2
E2
misbehaves "leaves a child that holds its output" 'did not end within 400 ms' <<E2
sleep 300 &
echo \$! >>"$work/pids"
echo "messages in queue: 7"
echo "messages in queue but not yet preprocessed: 3"
E2
misbehaves "leaves a child in a session of its own" 'did not end within 400 ms' <<E2
setsid sh -c 'echo \$\$ >>"$work/escaped"; exec sleep 300' &
sleep 0.2
E2
while read -r p; do
	kill "$p" 2>/dev/null # it escaped from the daemon; it is ours, from the lines above
done <"$work/escaped"
misbehaves "ends with 3" 'ended with exit code 3' <<'E2'
exit 3
E2
misbehaves "kills itself" 'ended with signal 9' <<'E2'
kill -9 $$
E2
misbehaves "says nothing" 'do not understand' <<'E2'
exit 0
E2
misbehaves "has no permission and says -1" 'do not understand' <<'E2'
echo "messages in queue: -1"
echo "messages in queue but not yet preprocessed: -1"
E2
misbehaves "says absurd numbers" 'do not understand' <<'E2'
echo "messages in queue: 99999999999999999999999"
echo "messages in queue but not yet preprocessed: 1e308"
E2
misbehaves "complains" 'complains: find: .queue/mess.: Permission denied' <<'E2'
echo "find: 'queue/mess': Permission denied" >&2
echo "messages in queue: 0"
echo "messages in queue but not yet preprocessed: 0"
E2
misbehaves "complains with control characters" 'complains: .+x1b' <<'E2'
printf '\033[2J\007 gone \377\n' >&2
E2

chmod 644 "$qstat"
wait_for 6000 error_is 'cannot run .*Permission denied'
ok "O4: a helper that can't be executed: it is told" $?
rm "$qstat"
wait_for 6000 error_is 'cannot run .*No such file'
ok "O4: a helper that is missing: it is told" $?

# --- what is left of it all ---

wait_for 3000 none_is_left
ok "O4: no helper is left, nor its children" $?
is "O4: no zombie" "$(zombies)" 0
is "O4: the same engine" "$(child_of engine)" "$engine"
within "O4: no memory is lost, KiB" $(($(awk '/^VmRSS:/ { print $2 }' "/proc/$engine/status") - memory)) -100000 $slack
no_more_files() {
	[ "$(find "/proc/$engine/fd" -type l | wc -l)" -le "$files" ]
}
wait_for 3000 no_more_files
ok "O4: no descriptor is lost" $?
seconds=$((($(now_ms) - began) / 1000))
within "T5: another probe had a look each second, looks in $seconds s" $(($(of load looks) - load_looks)) \
	$((seconds / 2)) $((seconds + 2))
fill_todo 150
wait_for 2000 level_is overloaded
ok "T5: the queue is watched as ever" $?
stop_daemon
finish
