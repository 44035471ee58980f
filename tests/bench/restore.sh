#!/bin/sh
# SPDX-License-Identifier: ISC
#
# restore - 100,000 blocks through the whole of spillwayd: told, in force, and in force again after kill -9 and a start
#
# Usage: B=build/release tests/bench/restore.sh DIR [N]      DIR is a scratch directory; N blocks, default 100,000
#
# Files for a tcpsvd that runs, a cdb by the real tcprules where it is.  Last line: the figures that fail2ban.sh compares.

set -u
LC_ALL=C
export LC_ALL
dir=$1
n=${2-100000}
mkdir -p "$dir/inst" "$dir/run"
chmod 755 "$dir"
export SPILLWAY_RUN_DIR="$dir/run"
daemon='' tcpsvd=''
cleanup() {
	for p in $daemon $tcpsvd; do
		{ kill "$p"; wait "$p"; } 2>/dev/null
	done
}
trap cleanup EXIT
trap 'exit 1' INT TERM

spillway() {
	"$B/spillway" -c "$dir/spillway.conf" "$@"
}

now_ms() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}0"
}

# The blocks in force by an action, as status tells; nothing while it can't be asked.
ours() { # ACTION
	spillway status --json 2>/dev/null | awk -v a="\"name\": \"$1\"" '
		index($0, a) { seen = 1 }
		seen && match($0, /"ours": [0-9]+/) { print substr($0, RSTART + 8, RLENGTH - 8); exit }'
}

tcprules=''
if command -v tcprules >/dev/null && echo ':allow' >"$dir/tcp.smtp" && tcprules "$dir/tcp.smtp.cdb" "$dir/t" <"$dir/tcp.smtp"; then
	tcprules="tcprules = { rules = \"$dir/tcp.smtp\"; cdb = \"$dir/tcp.smtp.cdb\"; command = \"$(command -v tcprules)\"; };"
fi
"$(dirname -- "$0")/../standin/mkhome.sh" "$dir/qmail" --plain >/dev/null || exit 111
cat >"$dir/spillway.conf" <<E2
qmail = { home = "$dir/qmail"; };
service = { user = ""; groups = [ ]; run_dir = "$dir/run"; state_dir = "$dir/state"; };
probes = { qstat = { every = 0; }; };
blocks = { ipsvd = { dir = "$dir/inst"; timeout = "2m"; }; $tcprules };
E2
tcpsvd -l here -i "$dir/inst" -t 120 127.0.0.1 2527 true 2>/dev/null &
tcpsvd=$!
start() {
	"$B/spillwayd" -c "$dir/spillway.conf" 2>>"$dir/log" &
	daemon=$!
}

actions=ipsvd
[ -z "$tcprules" ] || actions='ipsvd tcprules'
report_in_force() { # SINCE-MS: a line with when each action had all
	left=$actions line=''
	until [ -z "$left" ] || [ $(($(now_ms) - $1)) -gt 120000 ]; do
		rest=''
		for a in $left; do
			if [ "$(ours "$a")" = "$n" ]; then
				line="$line, $a after $(($(now_ms) - $1)) ms"
			else
				rest="$rest $a"
			fi
		done
		left=$rest
		[ -z "$left" ] || sleep 0.02
	done
	echo "${line#, }${left:+; not within two minutes:$left}"
}

awk -v n="$n" 'BEGIN { for (i = 0; i < n; i++) printf "10.%d.%d.%d 86400\n", i / 65536, i / 256 % 256, i % 256 }' >"$dir/list"
start
until spillway status >/dev/null 2>&1; do sleep 0.05; done
# An action that is not ready refuses nothing, but it would be waited for.
until [ -n "$(ours ipsvd)" ] && ! spillway status | grep -q 'NOT WRITTEN'; do sleep 0.05; done
began=$(now_ms)
spillway block --import "$dir/list" >"$dir/told"
told=$(($(now_ms) - began))
echo "block --import of $n, each one durable before it is told: $told ms ($(cat "$dir/told")); in force: $(report_in_force "$began")"
# shellcheck disable=SC2046 # several
kill -9 "$daemon" $(cat "/proc/$daemon/task/$daemon/children")
wait "$daemon" 2>/dev/null
find "$dir/inst" -type f -exec rm -f {} +
[ -z "$tcprules" ] || tcprules "$dir/tcp.smtp.cdb" "$dir/t" <"$dir/tcp.smtp"
sleep 1.1 # the cdb is not younger than its rules by the clock of files alone
began=$(now_ms)
start
line=$(report_in_force "$began")
echo "killed, all files and denials removed, started again: $line"
restored=$(echo "$line" | sed -n 's/.*ipsvd after \([0-9]*\) ms.*/\1/p')
echo "us a block: $((told * 1000 / n)) told, $((${restored:-0} * 1000 / n)) restored"
