# SPDX-License-Identifier: ISC
# shellcheck shell=sh
#
# inject.sh - what the tests share that break the daemon with inject.so (see inject.c); to be sourced after lib.sh

# shellcheck disable=SC2154 # B, conf, work come from lib.sh
preload=$B/fault/inject.so
# A sanitizer's library wants to be the first.
case $B in
*/asan)
	preload="$(ldd "$B/spillwayd" | awk '/libasan/ { print $3 }'):$preload"
	export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0:allocator_may_return_null=1"
	;;
esac

# Start the daemon with faults.  Does not wait for it.
inject_daemon() { # FI_CALL=... FI_...=...
	env LD_PRELOAD="$preload" "$@" "$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" &
	daemon=$!
	started="$started $daemon"
}

# Was it logged?  For wait_for.
logged() { # EXTENDED-REGEX
	grep -qE -- "$1" "$work/daemon.log"
}

# How often?
times_logged() { # EXTENDED-REGEX
	grep -cE -- "$1" "$work/daemon.log"
}

# Every process of the daemon, killed at once; waits until they are gone.
kill_all() {
	# shellcheck disable=SC2046 # several pids
	set -- "$daemon" $(child_of engine) $(child_of recorder)
	kill -9 "$@" 2>/dev/null
	wait "$daemon" 2>/dev/null
	for p; do
		wait_for 3000 gone "$p"
	done
}

gone() { # PID; a zombie counts
	! [ -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

flag_is_there() {
	[ -f "$home/control/overloaded" ]
}

flag_is_gone() {
	! [ -e "$home/control/overloaded" ]
}

passes() { # for wait_for: a stranger is let in
	[ "$(stranger)" = pass ]
}

is_refused() {
	[ "$(stranger)" = "451 Temporary Failure: Server overload close" ]
}
