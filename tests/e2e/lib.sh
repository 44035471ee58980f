# SPDX-License-Identifier: ISC
# shellcheck shell=sh
#
# lib.sh - what the end-to-end tests share: TAP, a private qmail home, a private daemon
#
# A test is a POSIX sh script that sources this file, calls ok/is/within/skip, and ends with finish.  The build is in $B
# (default build/release).  All it makes lies below $work, all it starts is ended when the test ends, by process id.

set -u
LC_ALL=C
export LC_ALL
umask 022

root=$(cd "$(dirname -- "$0")/../.." && pwd) || exit 111
B=${B:-build/release}
case $B in
/*) ;;
*) B=$root/$B ;;
esac
export B
bin=$B/standin
# A sanitizer makes all of it several times as slow, and keeps what was freed: a quarter of a gigabyte, which would look like a
# leak.
patience=5
if grep -q __asan_init "$B/spillwayd" 2>/dev/null; then
	patience=30
	export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/spillway-test.XXXXXX") || exit 111
chmod 755 "$work"
started=''

cleanup() {
	for p in $started; do
		kill -CONT "$p" 2>/dev/null
		kill "$p" 2>/dev/null
	done
	for p in $started; do
		n=0
		while kill -0 "$p" 2>/dev/null && [ "$n" -lt 60 ]; do
			sleep 0.05
			n=$((n + 1))
		done
		kill -9 "$p" 2>/dev/null
	done
	cd / && rm -rf "$work"
}

# End one of $started now, and forget it: by the end of a long test its number may be somebody else's.
end_started() { # PID
	kill -CONT "$1" 2>/dev/null
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	rest=''
	for p in $started; do
		[ "$p" = "$1" ] || rest="$rest $p"
	done
	started=$rest
}
trap cleanup EXIT
trap 'exit 1' INT TERM

for p in QMAIL_HOME ENABLE_SPP SPPCONFFILE RELAYCLIENT SMTPAUTHUSER SMTPAUTHMETHOD SMTP_AUTH_USER TCPREMOTEIP \
	SPILLWAY_RUN_DIR; do
	unset "$p"
done

# --- telling ---------------------------------------------------------------------------------------

tests=0 failed=0

ok() { # NAME STATUS
	tests=$((tests + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $tests - $1"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $1"
	fi
}

is() { # NAME GOT WANTED
	if [ "$2" = "$3" ]; then
		ok "$1" 0
	else
		ok "$1" 1
		printf '#    got: %s\n# wanted: %s\n' "$2" "$3"
	fi
}

like() { # NAME GOT EXTENDED-REGEX
	if printf '%s\n' "$2" | grep -qE -- "$3"; then
		ok "$1" 0
	else
		ok "$1" 1
		printf '#    got: %s\n# wanted: %s\n' "$2" "$3"
	fi
}

within() { # NAME GOT LEAST MOST
	most=$4
	case $1 in
	*", ms" | *", ms less" | *", us") most=$((most * patience / 5)) ;;
	esac
	if [ "$2" -ge "$3" ] && [ "$2" -le "$most" ]; then
		ok "$1 ($2, wanted $3..$most)" 0
	else
		ok "$1 ($2, wanted $3..$most)" 1
	fi
}

skip() { # NAME REASON
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# The end of every test: the plan, and the exit code.
finish() {
	if [ "$failed" -gt 0 ] && [ -f "$work/daemon.log" ]; then
		sed 's/^/# daemon: /' "$work/daemon.log" | tail -n 40
	fi
	echo "1..$tests"
	[ "$failed" -eq 0 ]
	exit
}

# --- time ------------------------------------------------------------------------------------------

# On the clock of /proc/uptime, in steps of 10 ms.  No program is run: this is asked often.
now_ms() {
	read -r up_s _ </proc/uptime
	echo "${up_s%.*}${up_s#*.}0"
}

# Wait until COMMAND succeeds, looking every 50 ms.  MS is what a machine takes that has nothing else to do; it gets $patience
# times that.  Prints nothing.
wait_for() { # MS COMMAND...
	read -r up_s _ </proc/uptime
	deadline=$((${up_s%.*}${up_s#*.}0 + $1 * patience))
	shift
	until "$@" >/dev/null 2>&1; do
		read -r up_s _ </proc/uptime
		[ "${up_s%.*}${up_s#*.}0" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# --- a qmail home and a daemon ---------------------------------------------------------------------

home=$work/qmail
conf=$work/spillway.conf
export SPILLWAY_RUN_DIR="$work/run"

make_home() { # [mkhome.sh options]
	"$root/tests/standin/mkhome.sh" "$home" "$@" >/dev/null || exit 111
	mkdir -p "$home/plugins"
	ln -sf "$B/spillway-plugin" "$home/plugins/overload"
	ln -sf "$B/spillway-plugin" "$home/plugins/spillway-mail"
	ln -sf "$B/spillway-plugin" "$home/plugins/spillway-rcpt"
}

# A configuration for tests: all below $work, run as the caller.  Further sections come from stdin.
make_conf() {
	{
		echo "qmail = { home = \"$home\"; };"
		echo "service = { user = \"${test_user-}\"; groups = [ ]; run_dir = \"$work/run\";" \
			"state_dir = \"$work/state\"; lease = \"${lease-3s}\"; };"
		cat
	} >"$conf"
}

spillway() {
	"$B/spillway" -c "$conf" "$@"
}

daemon=''

start_daemon() { # [spillwayd options]
	"$B/spillwayd" -c "$conf" "$@" 2>>"$work/daemon.log" &
	daemon=$!
	started="$started $daemon"
	wait_for 5000 spillway status
}

stop_daemon() {
	kill "$daemon" 2>/dev/null
	wait "$daemon" 2>/dev/null
}

child_of() { # engine|recorder: its pid
	# shellcheck disable=SC2013 # numbers
	for p in $(cat "/proc/$daemon/task/$daemon/children" 2>/dev/null); do
		if [ "$(cat "/proc/$p/comm" 2>/dev/null)" = "$1" ]; then
			echo "$p"
		fi
	done
}

# A value of `spillway status --json`, by a path of keys: field level, field readings todo value
field() {
	spillway status --json 2>/dev/null | json "$@"
}

# The value at a path of keys in JSON as jansson prints it with an indent of two: no program but awk.
json() { # KEY...
	awk -v path="$*" '
		BEGIN { n = split(path, key, " "); depth = 1 }
		{
			match($0, /^ */); indent = RLENGTH / 2
			if (indent < depth && indent > 0) exit
			if (indent == depth && index($0, "\"" key[depth] "\":") == indent * 2 + 1) {
				if (depth < n) { depth++; next }
				v = substr($0, indent * 2 + length(key[depth]) + 5)
				sub(/,$/, "", v); gsub(/^"|"$/, "", v)
				print v; exit
			}
		}'
}

level_is() {
	[ "$(field level)" = "$1" ]
}

gate_is() {
	[ "$(field gate)" = "$1" ]
}

# What a stranger gets for MAIL by the plugin, as the client sees it.
stranger() { # [plugin]
	(cd "$home" && TCPREMOTEIP=${client-192.0.2.1} SMTPMAILFROM=a@remote.test "$bin/spp" --mail -- \
		"$home/plugins/${1-overload}" 2>"$work/plugin.log") | sed -n 's/^reply: //p;s/^outcome: //p' | tr '\n' ' ' |
		sed 's/ $//'
}

# Put N files into todo (and mess) of a plain home, or take them away.
fill_todo() { # N
	i=0
	while [ "$i" -lt "$1" ]; do
		i=$((i + 1))
		: >"$home/queue/mess/$((i % 23))/$((1000000 + i))"
		: >"$home/queue/todo/$((1000000 + i))"
	done
}

empty_todo() {
	find "$home/queue/todo" "$home/queue/mess" -type f -exec rm -f {} +
}
