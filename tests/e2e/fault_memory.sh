#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fault_memory - memory runs out, at any moment: row O2 of the failure list
#
# At the start that ends a process with an exit code of ours, never with a signal.  Later what is in hand is dropped: the
# engine goes on deciding and publishing, for which it needs no memory that it does not have.

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

if [ "$patience" -gt 5 ]; then
	skip "O2: memory runs out" "a sanitizer brings its own malloc"
	finish
fi
lease=4s
dry=$work/dry # while this exists

make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10; }; }; };
E2

# --- while it starts: each call in turn, or where there are many some of them ---

calls_of() { # NAME: how often that process asks for memory before the daemon answers
	: >"$work/count"
	inject_daemon FI_CALL=malloc FI_COMM="$1" FI_AFTER=1000000 FI_COUNT="$work/count"
	wait_for 5000 spillway status
	calls=$(wc -l <"$work/count")
	stop_daemon
}

answers_or_ends() {
	gone "$daemon" || logged "$who ended with" || spillway status
}

for who in spillwayd engine recorder; do
	calls_of $who
	within "O2: start: $who asks for memory, times" "$calls" 1 100000
	signals='' ends=0 codes='' i=0 step=$((calls / 10 + 1))
	while [ $i -lt "$calls" ]; do
		: >"$work/daemon.log"
		inject_daemon FI_CALL=malloc FI_COMM=$who FI_ERRNO=12 FI_AFTER=$i
		wait_for 5000 answers_or_ends
		if logged "ended with signal"; then
			signals="$signals $i"
		fi
		if logged "$who ended with exit code 111"; then
			ends=$((ends + 1))
		fi
		kill "$daemon" 2>/dev/null
		wait "$daemon" 2>/dev/null
		code=$?
		case $code in
		0) ;;
		100 | 111) ends=$((ends + 1)) ;;
		*) codes="$codes $i:$code" ;;
		esac
		i=$((i + step))
	done
	is "O2: start: $who: nobody dies by a signal" "$signals" ''
	is "O2: start: $who: the daemon ends by an exit code of ours, if at all" "$codes" ''
	echo "# $who: it ended $ends times"
done

# --- while it runs ---

steady() { # NAME FI_EVERY
	: >"$work/daemon.log"
	inject_daemon FI_CALL=malloc FI_COMM=engine FI_ERRNO=12 FI_EVERY="$2" FI_WHILE="$dry"
	wait_for 5000 spillway status
	ok "O2: $1: the daemon answers" $?
	engine=$(child_of engine)
	: >"$dry"
	n=0
	while [ $n -lt 12 ]; do
		for command in status probes 'force normal --for 1m' 'force auto' reload; do
			# shellcheck disable=SC2086 # words
			spillway $command >/dev/null 2>&1
		done
		stranger >"$work/out"
		n=$((n + 1))
	done
	rm -f "$dry"
	wait_for 5000 spillway force auto
	wait_for 5000 level_is normal
	: >"$dry"
	fill_todo 30
	wait_for 5000 is_refused
	ok "O2: $1: the gate closes all the same" $?
	sleep 5
	is "O2: $1: ... and stays closed for longer than a lease" "$(stranger)" '451 Temporary Failure: Server overload close'
	rm -f "$dry"
	wait_for 5000 spillway status
	ok "O2: $1: with memory again the daemon answers" $?
	is "O2: $1: it is the same engine" "$(child_of engine)" "$engine"
	empty_todo
	wait_for 5000 level_is normal
	ok "O2: $1: and opens the gate" $?
	stop_daemon
}

steady 'each third call fails' 3
steady 'each call fails' 1
finish
