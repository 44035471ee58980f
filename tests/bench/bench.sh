#!/bin/sh
# SPDX-License-Identifier: ISC
#
# bench - figures beside their floor or peer, taken in one run, in turn
#
# Usage: B=build/release tests/bench/bench.sh [plugin|watch|sim|rate|ipsvd|tcprules|restore|logs]...      (default: all)

set -u
LC_ALL=C
export LC_ALL
cd "$(dirname -- "$0")/../.." || exit 111
root=$(pwd)
B=${B:-build/release}
case $B in
/*) ;;
*) B=$root/$B ;;
esac
export B
work=$(mktemp -d "${TMPDIR:-/tmp}/spillway-bench.XXXXXX") || exit 111
home=$work/qmail
daemon=''
redis=''
cleanup() {
	for p in $daemon $redis; do
		{ kill "$p"; wait "$p"; } 2>/dev/null
	done
	rm -rf "$work" "/dev/shm/${work##*/}"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
export SPILLWAY_RUN_DIR="$work/run"

spillway() {
	"$B/spillway" -c "$work/spillway.conf" "$@"
}

start() { # [KEYS-OF-SERVICE [SECTIONS]]
	tests/standin/mkhome.sh "$home" --plain >/dev/null || exit 111
	cat >"$work/spillway.conf" <<-E2
		qmail = { home = "$home"; };
		service = { user = ""; run_dir = "$work/run"; state_dir = "$work/state"; ${1-} };
		${2-}
		probes = { qstat = { every = 0; }; };
	E2
	"$B/spillwayd" -c "$work/spillway.conf" 2>"$work/log" &
	daemon=$!
	n=0
	until spillway status >/dev/null 2>&1; do
		n=$((n + 1))
		[ "$n" -lt 100 ] || { cat "$work/log" >&2; exit 111; }
		sleep 0.1
	done
}

stop() {
	kill "$daemon" && wait "$daemon"
	daemon=''
	rm -rf "$home" "$work/run" "$work/state"
}

bench_plugin() {
	echo "== one exec of a plugin, as qmail-spp does it (target: at most 1.3 times empty, a third of dash, 8 page faults)"
	start
	mkdir -p "$work/bin"
	ln -s "$B/spillway-plugin" "$work/bin/overload"
	dash=$root/tests/bench/plugins/overload.dash empty=$B/bench-empty ours=$work/bin/overload
	cd "$home" || exit 111
	echo "-- calm: nobody is refused"
	TCPREMOTEIP=192.0.2.1 "$B/bench/spawn" 21 200 "empty static program=$empty" "spillway, state file=$ours" \
		"dash script, flag=$dash" 2>/dev/null
	echo "-- an own user: SMTPAUTHUSER is set"
	SMTPAUTHUSER=alice "$B/bench/spawn" 21 200 "empty static program=$empty" "spillway=$ours" "dash script=$dash" 2>/dev/null
	echo "-- in a session of the stand-in, what it adds to one MAIL"
	"$B/bench/mail" pass 21 200 "$B/standin/smtpd" "$home" "no plugin=-" "empty static program=$empty" \
		"spillway, state file=$ours" "dash script, flag=$dash" 2>/dev/null
	spillway force overloaded >/dev/null
	while [ ! -e control/overloaded ]; do sleep 0.05; done
	echo "-- overloaded: a stranger is refused (the reply, the log line, and for ours the event for the engine)"
	TCPREMOTEIP=192.0.2.1 "$B/bench/spawn" 21 200 "empty static program=$empty" "spillway, state file=$ours" \
		"dash script, flag=$dash" 2>/dev/null
	mv "$work/run/event.sock" "$work/run/event.gone"
	TCPREMOTEIP=192.0.2.1 "$B/bench/spawn" 21 200 "empty static program=$empty" "spillway, no engine to tell=$ours" 2>/dev/null
	mv "$work/run/event.gone" "$work/run/event.sock"
	echo "-- in a session of the stand-in"
	"$B/bench/mail" refuse 21 100 "$B/standin/smtpd" "$home" "no plugin=-" "empty static program=$empty" \
		"spillway, state file=$ours" "dash script, flag=$dash" 2>/dev/null
	cd "$root" || exit 111
	stop
}

bench_watch() {
	echo "== knowing a queue of 100,000 messages"
	start
	kill "$daemon" && wait "$daemon"
	i=0
	while [ "$i" -lt 23 ]; do
		(cd "$home/queue/mess/$i" && seq "$((1000000 + i))" 23 "$((1000000 + 99999))" | xargs touch)
		i=$((i + 1))
	done
	"$B/spillwayd" -c "$work/spillway.conf" 2>>"$work/log" &
	daemon=$!
	until spillway probes 2>/dev/null | grep -q 'messages *100000'; do
		sleep 0.2
	done
	"$B/bench/watch" "$home" "$work/run/control.sock" "$daemon" "$root/tests/standin/qstat.sh" "${SECONDS_OF_WATCH:-60}" |
		tee "$work/watched"
	echo "watching alone, and a recount of it, as the daemon tells:"
	spillway probes | grep -A 20 '^queue' | grep -E 'recount|drift|overflow|cpu' | tee "$work/probe"
	awk 'FNR == NR && match($0, /once a second [0-9]+/) { peer = substr($0, RSTART + 14, RLENGTH - 14) }
		match($0, /; cpu [0-9.]+ ms, recounts/) && !ours { ours = substr($0, RSTART + 6) + 0 }
		END { printf "  so qmail-qstat takes %.0f times as much as watching, of all since the start (target: 100)\n", peer / ours }' \
		"$work/watched" "$work/probe"
	stop
}

# Start Redis for us alone: a socket, no port, nothing on disk.  Sets $redis.
start_redis() {
	redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --dir "$work" --loglevel warning \
		>"$work/redis.log" 2>&1 &
	redis=$!
	n=0
	until [ -S "$work/redis.sock" ]; do
		n=$((n + 1))
		[ "$n" -lt 100 ] || { cat "$work/redis.log" >&2; return 1; }
		sleep 0.1
	done
}

engine() { # its pid
	# shellcheck disable=SC2013 # words
	for p in $(cat "/proc/$daemon/task/$daemon/children"); do
		[ "$(cat "/proc/$p/comm")" != engine ] || echo "$p"
	done
}

bench_rate() {
	limits='limits = { ip = (("*", 60, 8)); hot = (("*", 86400, 1000000)); };'
	echo "== is it too often? over a unix socket, beside an echo server that has nothing to decide"
	start '' "$limits"
	"$B/bench/decide" shapes 15 150 "$work/run/rate.sock" "$(engine)"
	if command -v redis-server >/dev/null && start_redis; then
		echo "== beside $(redis-server --version | cut -d ' ' -f 1-3)"
		"$B/bench/decide" redis 7 150 "$work/run/rate.sock" "$(engine)" "$work/redis.sock" "$redis"
		kill "$redis" && wait "$redis"
		redis=''
	else
		echo "== beside Redis: there is no redis-server here"
	fi
	stop
	echo "== many keys and many marks, over the socket"
	start 'limits_memory = "160M";' "$limits"
	"$B/bench/decide" keys 7 150 "$work/run/rate.sock" "$(engine)"
	stop
	echo "== the counters alone"
	"$B/bench/counters"
}

bench_tcprules() {
	echo "== blocks in tcpserver's cdb (target: at most twice tcprules itself on the same rules)"
	for where in /dev/shm "$work"; do
		d=$(mktemp -d "$where/tcprules.XXXXXX") || continue
		echo "-- in $(df -T "$d" | awk 'END { print $2 }')"
		"$B/bench/blocks_tcprules" "$d" 100000 10
		rm -rf "$d"
	done
}

bench_ipsvd() {
	echo "== 100,000 blocks as instruction files (target in memory: put and taken back within 1.5 times the plain loop)"
	memory=/dev/shm/${work##*/}
	mkdir -p "$work/disk/inst" "$memory/inst"
	echo "-- in memory"
	"$B/bench/blocks_ipsvd" "$memory/inst"
	echo "-- on a disk"
	"$B/bench/blocks_ipsvd" "$work/disk/inst" 100000 1
	rm -rf "$memory"
	echo "-- one connection to tcpsvd -i, by the client's clock"
	net='ip link set lo up && ip route add local 198.18.0.0/15 dev lo'
	for how in 'unshare -n' 'unshare -Urn'; do
		$how sh -c "$net" 2>/dev/null || continue
		$how sh -c "$net && exec \"\$@\"" sh tests/bench/lookup.sh "$work/disk"
		return
	done
	echo "no network namespace is allowed here"
}

# sshguard's parser and fail2ban-regex, unpacked below build/ and never installed: they would begin to work.
unpack_peers() {
	peers=$root/build/peers
	[ ! -x "$peers/usr/libexec/sshguard/sshg-parser" ] || return 0
	mkdir -p "$peers/deb"
	(cd "$peers/deb" && apt-get download sshguard fail2ban) >"$work/peers.log" 2>&1 || { cat "$work/peers.log"; return 1; }
	for p in "$peers"/deb/*.deb; do dpkg -x "$p" "$peers"; done
	rm -rf "$peers/deb"
}

bench_logs() {
	n=${LOG_LINES:-1000000} few=20000
	echo "== lines of logs (target: at least 3 times sshguard's parser, 50 times fail2ban-regex)"
	for kind in send shared; do
		"$B/standin/loggen" "$kind" 1000000 >"$work/$kind.log"
		head -n "$few" "$work/$kind.log" >"$work/$kind.few"
		set -- 1000000 "$work/$kind.log" "$kind"
		if unpack_peers; then
			regex="PYTHONPATH=$peers/usr/lib/python3/dist-packages python3 $peers/usr/bin/fail2ban-regex -c $peers/etc/fail2ban"
			set -- "$@" "sshguard's parser=exec $peers/usr/libexec/sshguard/sshg-parser" 1000000 "$work/$kind.log" \
				"fail2ban-regex=$regex $work/$kind.few $peers/etc/fail2ban/filter.d/qmail.conf" "$few" /dev/null
		fi
		echo "-- a log of $kind"
		"$B/bench/logs" compare 5 "$@"
	done
	rm -f "$work"/*.log "$work"/*.few
	echo "== replay of generated logs, read from two pipes (LOG_LINES=10000000 for ten million)"
	cat >"$work/spillway.conf" <<-E2
		limits = { ip = (("*", 60, 30)); };
		plugins = { connection = [ "ipthrottle" ]; };
		blocks = { ipsvd = { dir = "$work/inst"; timeout = "2m"; }; };
	E2
	mkfifo "$work/send" "$work/server"
	for lines in $((n / 10)) "$n"; do
		"$B/standin/loggen" send $((lines / 2)) >"$work/send" &
		"$B/standin/loggen" server $((lines / 2)) >"$work/server" &
		"$B/bench/logs" run "spillway replay" "$lines" "$B/spillway" -c "$work/spillway.conf" replay "$work/send" "$work/server" |
			tee "$work/replay.out" | grep 'lines in'
		wait
	done
	grep -E '^  [a-z]|understood' "$work/replay.out" | grep -vE 'messages, |of them denied|would have'
}

bench_restore() {
	echo "== 100,000 blocks through the whole daemon"
	memory=/dev/shm/${work##*/}
	mkdir -p "$work/restore" "$memory/restore" "$memory/fail2ban"
	echo "-- in memory"
	tests/bench/restore.sh "$memory/restore" | tee "$work/figures"
	echo "-- on a disk"
	tests/bench/restore.sh "$work/restore"
	echo "-- beside the packaged fail2ban with an action that touches a file, in memory"
	# shellcheck disable=SC2046 # two numbers
	tests/bench/fail2ban.sh "$memory/fail2ban" $(sed -n 's/^us a block: \([0-9]*\) told, \([0-9]*\) restored$/\1 \2/p' "$work/figures")
	rm -rf "$memory"
}

[ $# -gt 0 ] || set -- plugin watch sim rate ipsvd tcprules restore logs
for what; do
	case $what in
	plugin) bench_plugin ;;
	watch) bench_watch ;;
	rate) bench_rate ;;
	tcprules) bench_tcprules ;;
	ipsvd) bench_ipsvd ;;
	restore) bench_restore ;;
	logs) bench_logs ;;
	sim)
		echo "== simulated days"
		"$B/bench/bench_sim"
		;;
	*) sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 100 ;;
	esac
done
