#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_clock - the wall clock jumps, the machine boots: rows T1, T3 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

slack=2500
fake=''
for f in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib*/faketime/libfaketime.so.1; do
	[ -f "$f" ] && fake=$f
done

jumps() {
	times_logged 'the wall clock jumped by'
}

jumped_again() {
	[ "$(jumps)" -gt "$seen" ]
}

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2

# --- T1 ---

if [ -n "$fake" ]; then
	clock=$work/clock
	echo '+0' >"$clock"
	# A sanitizer's library wants to be the first, and is the first word of $preload.
	env LD_PRELOAD="${preload%"$B/fault/inject.so"}$fake" FAKETIME_TIMESTAMP_FILE="$clock" FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1 \
		FAKETIME_DONT_FAKE_MONOTONIC=1 "$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" &
	daemon=$!
	started="$started $daemon"
	wait_for 5000 spillway status
	ok "T1: the daemon answers" $?
	engine=$(child_of engine)
	fill_todo 30
	wait_for 3000 level_is overloaded
	wait_for 2000 flag_is_there
	ok "T1: overloaded by itself" $?
	episode=$(field episode)
	spillway force overloaded --for 1h >/dev/null
	left=$(field override remaining_ms)
	flag=$(stat -c %i "$home/control/overloaded")
	for jump in +10d -2h '@1970-01-02 00:00:00' '@2040-01-01 00:00:00' +0; do
		seen=$(jumps)
		echo "$jump" >"$clock"
		wait_for 3000 jumped_again
		ok "T1: the clock jumps to $jump: it is logged" $?
		is "T1: $jump: the level, the episode, the flag" \
			"$(field level) $(field episode) $(stat -c %i "$home/control/overloaded")" "overloaded $episode $flag"
		is "T1: $jump: the lease is good: strangers wait" "$(stranger)" "451 Temporary Failure: Server overload close"
		within "T1: $jump: what is left of the override, ms less" $((left - $(field override remaining_ms))) 0 20000
	done
	sleep 1.2
	is "T1: five jumps, five lines" "$(jumps)" 5
	is "T1: nobody ended" "$(child_of engine) $(times_logged 'ended with')" "$engine 0"
	echo '@2040-01-01 00:00:00' >"$clock"
	spillway force auto >/dev/null
	empty_todo
	wait_for 6000 level_is normal
	ok "T1: in 2040 the overload ends as ever" $?
	wait_for 2000 flag_is_gone
	ok "T1: ... the flag is gone" $?
	spillway force busy --for 3s >/dev/null
	before=$(now_ms)
	echo '@1970-01-02 00:00:00' >"$clock"
	wait_for 9000 level_is normal
	within "T1: 70 years back, an override ends in its time, ms" $(($(now_ms) - before)) 2500 $((3000 + slack))
	spillway force busy --for 1m >/dev/null
	echo '+20d' >"$clock"
	kill_all
	start_daemon
	ok "T1: a start with the clock elsewhere" $?
	wait_for 2000 level_is busy
	ok "T1: ... the override holds: in one boot the wall clock has no word" $?
	within "T1: ... ms left" "$(field override remaining_ms)" 40000 60000
	spillway force auto >/dev/null
	stop_daemon
else
	skip "T1: the wall clock jumps" "no libfaketime"
fi

# --- T3 ---

db=$work/state/spillway.db

# A boot: other id, its clock at the beginning, the published state gone.
boot() { # SQL that says what else was stored
	kill_all
	rm -f "$work/run/state"
	sqlite3 "$db" "UPDATE override SET boot_id = x'00112233445566778899aabbccddeeff', $1"
	start_daemon
	sleep 0.5
}

now_wall() {
	echo $(($(date +%s) * 1000))
}

force_it() {
	spillway force busy --for 10m --reason boots >/dev/null
	ok "T3: forced" $?
}

if command -v sqlite3 >/dev/null; then
	start_daemon
	force_it
	boot "until_mono = until_mono"
	is "T3: after a boot it still holds" "$(field level) $(field override reason)" "busy boots"
	within "T3: ... for no longer than before, ms" "$(field override remaining_ms)" 570000 600000

	boot "until_mono = 9000000000000000, until = $(now_wall) + 100000, remaining_ms = 600000"
	within "T3: the machine was off for a while: the wall clock counts, ms" "$(field override remaining_ms)" 80000 100000

	force_it
	boot "until = $(now_wall) + 864000000000, remaining_ms = 600000"
	within "T3: the clock had been in the future: what was left counts, ms" "$(field override remaining_ms)" 570000 600000

	force_it
	boot "until = $(now_wall) - 1000"
	is "T3: its time was over while the machine was off" "$(field level) $(field override)" "normal null"

	force_it
	boot "until = 9000000000000000000, remaining_ms = 9000000000000000000, until_mono = -5"
	within "T3: absurd numbers: never more than a week, ms" "$(field override remaining_ms)" 1 604800000

	force_it
	boot "until = -9000000000000000000, remaining_ms = 600000"
	is "T3: absurd numbers, the other way" "$(field level) $(field override)" "normal null"

	force_it
	boot "remaining_ms = -9000000000000000000, until = $(now_wall) + 600000"
	is "T3: absurd numbers, a third way" "$(field level) $(field override)" "normal null"

	force_it
	boot "boot_id = x'00'"
	is "T3: a boot id of another length: nothing is believed" "$(field level) $(field override)" "normal null"

	force_it
	boot "level = 'doomsday', until = $(now_wall) + 600000"
	is "T3: an unknown level never closes the gate" "$(field gate)" open
	stop_daemon
else
	skip "T3: an override and a boot" "no sqlite3"
fi
finish
