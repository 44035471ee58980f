#!/bin/sh
# SPDX-License-Identifier: ISC
#
# blocks_kill - kill -9 at any moment: what a person was told is done is never lost, and nothing comes that nobody asked for
#
# BLOCK_KILLS in the environment: how many times the whole daemon is killed, default 25; tests/unit/test_recorder.c kills the
# process that writes more often.  Rows of the failure list: D7, T3.

# What is synced need not outlive the machine here.
if [ -d /dev/shm ] && [ -w /dev/shm ] && [ -z "${TMPDIR-}" ]; then
	TMPDIR=/dev/shm
	export TMPDIR
fi

. "$(dirname -- "$0")/lib.sh"

kills=${BLOCK_KILLS:-25}
make_home --plain
mkdir "$work/inst"
make_conf <<C
blocks = { ipsvd = { dir = "$work/inst"; }; };
probes = { qstat = { every = 0; }; };
C
asked=$work/asked blocked=$work/blocked freed=$work/freed
: >"$asked"
: >"$blocked"
: >"$freed"

# One person after the other, until the daemon is gone: blocks an address, and now and then frees the one before.  Each
# writes down what he asks for before he asks, and what he was told after it.
persons() { # ROUND
	i=0 last=''
	until [ -e "$work/over" ]; do
		if [ ! -S "$work/run/control.sock" ]; then
			sleep 0.01
			continue
		fi
		i=$((i + 1))
		a=198.18.$(($1 % 250)).$((i % 250))
		if [ $((i % 4)) -eq 0 ] && [ -n "$last" ]; then
			echo "$last" >>"$asked.free"
			spillway unblock "$last" >/dev/null 2>&1 && echo "$last" >>"$freed"
			last=''
			continue
		fi
		echo "$a" >>"$asked"
		spillway block "$a" --for 12h >"$work/told" 2>&1 || continue
		grep -q 'in force now, but not yet written' "$work/told" || echo "$a" >>"$blocked"
		last=$a
	done
}

run_daemon() {
	rm -f "$work/run/control.sock"
	"$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" &
	daemon=$!
	started="$started $daemon"
	n=0
	until [ -S "$work/run/control.sock" ] || [ "$n" -ge 3000 ]; do
		n=$((n + 1))
		sleep 0.01
	done
}

# All of it, in any order, within a millisecond or so.
kill_all() {
	family="$daemon $(cat "/proc/$daemon/task/$daemon/children" 2>/dev/null)"
	# shellcheck disable=SC2086 # several
	kill -9 $family 2>/dev/null
	wait "$daemon" 2>/dev/null
	rm -f "$work/run/control.sock"
	for p in $family; do
		while kill -0 "$p" 2>/dev/null; do
			sleep 0.01
		done
	done
}

# In the daemon, or the database of one that is gone?  Restored blocks are what it begins with.
check() {
	run_daemon
	is_restored() {
		[ "$(field blocks restored)" = true ]
	}
	wait_for 10000 is_restored
	spillway blocks --export | sed 's|/.*||; s| .*||' | sort -u >"$work/there"
	sort -u "$asked" >"$work/asked.sorted"
	# Freed after it was blocked; who was to be freed and was not told may be either.
	sort -u "$freed" "$asked.free" >"$work/maybe"
	sort -u "$blocked" | comm -23 - "$work/maybe" >"$work/must"
	lost=$((lost + $(comm -23 "$work/must" "$work/there" | wc -l)))
	back=$((back + $(sort -u "$freed" | comm -12 - "$work/there" | wc -l)))
	invented=$((invented + $(comm -13 "$work/asked.sorted" "$work/there" | wc -l)))
	kill_all
}

lost=0 back=0 invented=0 round=0
: >"$asked.free"
while [ "$round" -lt "$kills" ]; do
	round=$((round + 1))
	rm -f "$work/over"
	run_daemon
	persons "$round" &
	them=$!
	# shellcheck disable=SC2046 # a number
	sleep "0.$(printf %03d $(($(od -An -N2 -tu2 /dev/urandom) % 200)))"
	kill_all
	: >"$work/over"
	wait "$them"
	# Each address is asked for in one round alone, so rounds can be looked at together.
	[ $((round % 25)) -ne 0 ] || [ "$round" -eq "$kills" ] || check
done
check
echo "# $(sort -u "$asked" | wc -l) blocks asked for, $(sort -u "$blocked" | wc -l) told done, $(sort -u "$freed" | wc -l) freed"
within "blocks that somebody was told are done, of" "$(sort -u "$blocked" | wc -l)" $((kills / 2)) 1000000
is "lost" "$lost" 0
is "freed, and there again" "$back" 0
is "invented" "$invented" 0
ok "the database is whole" "$(grep -c 'damaged\|corrupt' "$work/daemon.log")"
finish
