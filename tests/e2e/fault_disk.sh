#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fault_disk - full disks: of the database, of the published state, of the flag, of all: rows D1, D2, D12, F5 of the failure
# list.  Mail flows, what is lost is told, and all is well again without a restart.
#
# Small file systems are mounted in a namespace of our own.

if [ -z "${FAULT_NS-}" ]; then
	FAULT_NS=none
	for how in 'unshare -m' 'unshare -Um --map-current-user --keep-caps'; do
		# shellcheck disable=SC2086 # several words
		if $how sh -c 'mount -t tmpfs none /mnt' 2>/dev/null; then
			FAULT_NS=$how
			export FAULT_NS
			exec $how "$0" "$@"
		fi
	done
fi

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

if [ "$FAULT_NS" = none ]; then
	skip "D1 D2 D12 F5: full disks" "no mount namespace"
	finish
fi

lease=2s

# Nothing more fits into this directory's file system.
fill() { # DIR
	dd if=/dev/zero of="$1/fill" bs=4096 2>/dev/null
	cat /dev/zero >>"$1/fill" 2>/dev/null
	:
}

drain() { # DIR
	rm -f "$1/fill"
}

small_disk() { # DIR KILOBYTES [OPTIONS]
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2k,mode=755${3+,$3}" none "$1"
}

# By a person's word: after several overloads in a row the gate takes its time.
overload() {
	spillway force overloaded --for 1h >/dev/null 2>&1
	wait_for 3000 level_is overloaded
}

calm() {
	spillway force normal --for 1h >/dev/null 2>&1
	wait_for 3000 level_is normal
}

store_is_ok() {
	[ "$(field store ok)" = "$1" ]
}

durable() {
	[ "$(field override durable)" = true ]
}

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2
trap 'umount -l "$work/state" "$work/run" "$home/control" 2>/dev/null; cleanup' EXIT
small_disk "$work/state" 2048
small_disk "$work/run" 64
small_disk "$home/control" 64
start_daemon
ok "the daemon answers" $?
engine=$(child_of engine)
recorder=$(child_of recorder)

# --- D1: the database's disk ---

spillway force normal --for 1h >/dev/null
ok "D1 state: with room, a word is durable" $?
fill "$work/state"
i=0
until ! spillway force busy --for 1h --reason "$(printf '%0150d' $i)" >/dev/null 2>"$work/err"; do
	i=$((i + 1))
	[ $i -lt 200 ] || break
done
like "D1 state: without, the command says so" "$(cat "$work/err")" \
	'in force now, but not yet written, so a restart would forget it: .*(full|I/O)'
is "D1 state: ... it holds all the same" "$(field level) $(field override durable)" "busy false"
wait_for 3000 store_is_ok false
ok "D1 state: status tells it" $?
spillway force auto >/dev/null 2>&1
before=$(now_ms)
fill_todo 30
wait_for 3000 level_is overloaded
ok "D1 state: the gate closes" $?
wait_for 2000 flag_is_there
within "D1 state: ... as fast as ever, ms" $(($(now_ms) - before)) 0 3500
is "D1 state: ... to strangers" "$(stranger)" "451 Temporary Failure: Server overload close"
sleep 2
within "D1 state: it was not logged again and again" "$(times_logged 'error: recorder:')" 1 4
empty_todo
wait_for 6000 level_is normal
ok "D1 state: the gate opens" $?
spillway force busy --for 1h --reason kept >/dev/null 2>&1
drain "$work/state"
wait_for 6000 store_is_ok true
ok "D1 state: with room again it writes" $?
wait_for 9000 durable
ok "D1 state: ... also the word that had been lost" $?
spillway force auto >/dev/null
ok "D1 state: ... and a new one" $?
is "D1 state: nobody had to be started again" "$(child_of engine) $(child_of recorder)" "$engine $recorder"
is "D1 state: nothing was set aside" "$(find "$work/state" -name '*corrupt*')" ""
like "D1 state: the history goes on" "$(spillway history)" 'normal -> overloaded'

# --- D1: the disk of the published state ---

overload
wait_for 2000 is_refused
ok "D1 run: overloaded" $?
fill "$work/run"
wait_for 5000 passes
ok "D1 run: a state that can't be renewed ends with its lease: strangers get in" $?
flag_is_there
ok "D1 run: ... the flag for others stays" $?
is "D1 run: it was logged once" "$(times_logged 'cannot publish the state: No space left')" 1
is "D1 run: status still answers" "$(field level)" overloaded
drain "$work/run"
wait_for 3000 is_refused
ok "D1 run: with room again strangers wait" $?
is "D1 run: ... that was logged" "$(times_logged 'engine: well again .cannot publish')" 1
calm

# --- F5: the disk of the flag ---

wait_for 3000 flag_is_gone
fill "$home/control"
overload
wait_for 2000 logged 'keeper: cannot write .*/control/overloaded: No space left'
ok "F5: a flag that can't be written is told" $?
is "F5: no empty or half flag, nothing left over" "$(find "$home/control" -name '*overloaded*')" ""
wait_for 2000 is_refused
ok "F5: our own plugins go by the state: strangers wait" $?
sleep 2
is "F5: it was logged once" "$(times_logged 'cannot write .*/control/overloaded')" 1
drain "$home/control"
wait_for 9000 flag_is_there
ok "F5: with room again it is written" $?
like "F5: ... whole" "$(cat "$home/control/overloaded")" '^spillway overloaded since [0-9]+ 20[0-9TZ:-]+ e[a-z2-9]{8}: .'
fill "$home/control"
calm
wait_for 3000 flag_is_gone
ok "F5: on a full disk it can still be removed" $?

# --- D1: all at once ---

fill "$work/state"
fill "$work/run"
overload
ok "D1 all: the engine decides" $?
sleep 2.2
is "D1 all: strangers get in" "$(stranger)" pass
is "D1 all: the same engine" "$(child_of engine)" "$engine"
drain "$work/state"
drain "$work/run"
drain "$home/control"
wait_for 6000 is_refused
ok "D1 all: with room again the gate closes" $?
wait_for 12000 flag_is_there
ok "D1 all: ... and the flag is there" $?
calm

# --- D12: no inodes ---

stop_daemon
umount "$home/control"
small_disk "$home/control" 64 nr_inodes=20
start_daemon
ok "D12: started anew" $?
engine=$(child_of engine)
recorder=$(child_of recorder)
i=0
while { true >"$home/control/n$i"; } 2>/dev/null; do
	i=$((i + 1))
	[ $i -lt 100 ] || break
done
overload
wait_for 3000 logged 'keeper: cannot write .*/control/overloaded: No space left'
ok "D12: a flag for which there is no inode is told" $?
rm -f "$home/control/n"*
wait_for 9000 flag_is_there
ok "D12: with inodes again it is written" $?
calm

# --- D2: limits of the file size ---

if command -v prlimit >/dev/null; then
	prlimit --pid "$recorder" --fsize="$(stat -c %s "$work/state/spillway.db-wal")":1000000000
	prlimit --pid "$engine" --fsize=100:1000000000
	i=0
	until ! spillway force overloaded --for 1h --reason "$(printf '%0150d' $i)" >/dev/null 2>"$work/err"; do
		i=$((i + 1))
		[ $i -lt 200 ] || break
	done
	like "D2: a database that may not grow: the command says so" "$(cat "$work/err")" 'not yet written'
	wait_for 5000 passes
	ok "D2: a state that may not be written ends with its lease: strangers get in" $?
	prlimit --pid "$recorder" --fsize=1000000000:1000000000
	prlimit --pid "$engine" --fsize=1000000000:1000000000
	wait_for 5000 is_refused
	ok "D2: without the limit strangers wait" $?
	logged 'well again .cannot publish the state: File too large'
	ok "D2: ... it was logged, as far as the log could grow" $?
	wait_for 40000 durable
	ok "D2: ... and the word is durable" $?
	is "D2: SIGXFSZ killed nobody" "$(child_of engine) $(child_of recorder)" "$engine $recorder"
else
	skip "D2: limits of the file size" "no prlimit"
fi
stop_daemon

# From the start; the log goes through a pipe, for it is under the limit too.
rm -rf "$work/state/"*
mkfifo "$work/log"
cat "$work/log" >>"$work/daemon.log" &
started="$started $!"
(
	ulimit -f 1
	exec "$B/spillwayd" -c "$conf" 2>"$work/log"
) &
daemon=$!
started="$started $daemon"
wait_for 5000 spillway status
ok "D2: with a limit of 512 bytes from the start the daemon answers" $?
wait_for 3000 store_is_ok false
ok "D2: ... without a database" $?
spillway force overloaded --for 1h >/dev/null 2>&1
wait_for 3000 is_refused
ok "D2: ... and does its work" $?
stop_daemon
finish
