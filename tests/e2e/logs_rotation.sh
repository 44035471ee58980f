#!/bin/sh
# SPDX-License-Identifier: ISC
#
# logs_rotation - 10,000 lines over 50 rotations: none lost, none twice
#
# By the real multilog and svlogd, and by what rotates plain files; read while it happens, and by many readers one
# after another, each going on where the one before stood.

. "${0%/*}/lib.sh"

lines=10000
# Lines of 20 to 80 bytes, each with its number; in bursts, so that a reader meets files in all states.
write_lines() { # [PAUSE]
	awk -v n="$lines" -v pause="${1-}" 'BEGIN {
		for (i = 1; i <= n; i++) {
			printf "line %d %s\n", i, substr("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1, i * 7919 % 60)
			if (pause != "" && i % 100 == 0) { fflush(); system("sleep " pause) }
		}
	}'
}

# The numbers that were read must be 1 to $lines, each once and in order.
check_read() { # NAME FILE
	wrong=$(sed 's/.*line \([0-9]*\).*/\1/' "$2" | awk -v n="$lines" '
		$1 != NR && bad < 5 { print "line " NR " is number " $1; bad++ }
		END { if (NR != n) print NR " lines of " n }')
	is "$1" "$wrong" ""
}

rotated() { # DIR: files that were written full
	find "$1" -name '@*' | wc -l
}

# --- multilog and svlogd, read while they write -----------------------------------------------------

# A first one notes that the log is empty; what follows it starts there, however late.
start_reader() { # LOG
	rm -rf "$work/marks"
	mkdir "$work/marks"
	"$bin/logtail" --marks "$work/marks" "$1" 2>/dev/null
	"$bin/logtail" --marks "$work/marks" --lines "$lines" --seconds 100 "$1" >"$work/out" 2>"$work/err" &
	reader=$!
	started="$started $reader"
}

follow() { # NAME DIR COMMAND...: reads all lines of COMMAND's log below DIR
	name=$1 dir=$2
	shift 2
	mkdir -p "$dir"
	: >"$dir/current"
	start_reader "$dir"
	write_lines 0.01 | "$@" "$dir" 2>"$work/writer.err"
	wait "$reader"
	is "$name: the reader got all before its time was over" $? 0
	check_read "$name: none lost, none twice" "$work/out"
	n=$(rotated "$dir")
	within "$name: rotations" "$n" 50 2000
	like "$name: no line was cut" "$(cat "$work/err")" ' 0 truncations, 0 cut, 0 halves, 0 gaps'
}

# multilog takes at least 4096 bytes a file.
write_config() { # DIR: svlogd's
	mkdir -p "$1"
	printf 's8192\nn2000\n' >"$1/config"
}
follow "multilog" "$work/multilog" multilog t s8192 n2000
write_config "$work/svlogd"
follow "svlogd" "$work/svlogd" svlogd -t

# Few files are kept: what a reader has open is removed under it.
follow_few() { # NAME DIR COMMAND...
	name=$1 dir=$2
	shift 2
	mkdir -p "$dir"
	: >"$dir/current"
	start_reader "$dir"
	write_lines 0.02 | "$@" "$dir" 2>"$work/writer.err"
	wait "$reader"
	is "$name: the reader got all before its time was over" $? 0
	check_read "$name: none lost, none twice" "$work/out"
}
follow_few "multilog with 5 files" "$work/few" multilog t s8192 n5

# A processor: while it runs, what it reads is called `previous`, and what it wrote gets the label.
follow_few "multilog with a processor" "$work/processor" multilog t s16384 n2000 '!cat'

# --- readers that end --------------------------------------------------------------------------------

# Each notes its place after what it printed, and ends by itself after some lines, in the midst of files.
restart() { # NAME DIR COMMAND...
	name=$1 dir=$2
	shift 2
	mkdir -p "$dir" "$work/marks.$name"
	: >"$dir/current"
	: >"$work/out"
	"$bin/logtail" --marks "$work/marks.$name" "$dir" 2>/dev/null # the first one sees the log from its start
	write_lines 0.01 | "$@" "$dir" 2>"$work/writer.err" &
	writer=$!
	started="$started $writer"
	runs=0
	while [ "$(wc -l <"$work/out")" -lt "$lines" ] && [ "$runs" -lt 90 ]; do
		runs=$((runs + 1))
		"$bin/logtail" --marks "$work/marks.$name" --lines 173 --seconds 2 "$dir" >>"$work/out" 2>>"$work/err"
	done
	wait "$writer"
	check_read "$name, $runs readers one after another: none lost, none twice" "$work/out"
}
restart "multilog-restart" "$work/restart" multilog t s8192 n2000
write_config "$work/restart2"
restart "svlogd-restart" "$work/restart2" svlogd -t

# --- plain files ------------------------------------------------------------------------------------

: >"$work/plain"
start_reader "$work/plain"
out_has() {
	[ "$(wc -l <"$work/out")" -ge "$1" ]
}
# As logrotate with `create`: renamed, a new one made, and the writer goes on in the old one for a while.  One rotation is
# seen before the next, for plain names do not tell their order.
write_lines | {
	n=0
	while [ "$n" -lt 50 ]; do
		exec 5>>"$work/plain"
		i=0
		while [ "$i" -lt 200 ] && read -r line; do
			i=$((i + 1))
			echo "$line" >&5
			if [ "$i" -eq 150 ]; then
				wait_for 4000 out_has $((n * 200 + i))
				mv "$work/plain" "$work/plain.$n"
				: >"$work/plain"
				sleep 0.02
			fi
		done
		exec 5>&-
		n=$((n + 1))
	done
}
wait "$reader"
is "plain file: the reader got all before its time was over" $? 0
check_read "plain file, renamed under its writer 50 times: none lost, none twice" "$work/out"

# copytruncate, when the reader has seen what there is
: >"$work/copied"
start_reader "$work/copied"
write_lines | {
	n=0
	while [ "$n" -lt 50 ]; do
		i=0
		while [ "$i" -lt 200 ] && read -r line; do
			i=$((i + 1))
			echo "$line"
		done >>"$work/copied"
		n=$((n + 1))
		wait_for 4000 out_has "$((n * 200))"
		: >"$work/copied"
	done
}
wait "$reader"
is "copytruncate: the reader got all before its time was over" $? 0
check_read "copytruncate 50 times: none lost, none twice" "$work/out"

# --- a pipe -----------------------------------------------------------------------------------------

mkfifo "$work/fifo"
"$bin/logtail" --lines "$lines" --seconds 100 "$work/fifo" >"$work/out" 2>"$work/err" &
reader=$!
started="$started $reader"
write_lines >"$work/fifo"
wait "$reader"
is "pipe: the reader got all before its time was over" $? 0
check_read "pipe: none lost, none twice" "$work/out"

finish
