#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fail2ban - the same for the packaged fail2ban, with an action that touches a file
#
# Usage: tests/bench/fail2ban.sh DIR TOLD-US RESTORED-US      DIR is a scratch directory; what spillway took, a block
#
# Nothing is installed: where there is no fail2ban-server, the package is fetched and unpacked into DIR.  Configuration,
# socket, database and pid lie in DIR, and only what was started here is ended.

set -u
LC_ALL=C
export LC_ALL
dir=$1 told=$2 restored=$3
n=1000
mkdir -p "$dir/etc/filter.d" "$dir/etc/action.d" "$dir/files" || exit 111
server=fail2ban-server
if ! command -v "$server" >/dev/null; then
	(cd "$dir" && apt-get download fail2ban && dpkg-deb -x fail2ban_*.deb x) >/dev/null 2>&1 || {
		echo "there is no fail2ban here, and it can't be fetched"
		exit 0
	}
	export PYTHONPATH="$dir/x/usr/lib/python3/dist-packages"
	PATH=$dir/x/usr/bin:$PATH
fi
python=/usr/bin/python3
[ -x "$python" ] || exit 0

cat >"$dir/etc/fail2ban.conf" <<E2
[Definition]
loglevel = ERROR
logtarget = $dir/log
syslogsocket = auto
socket = $dir/sock
pidfile = $dir/pid
dbfile = $dir/db.sqlite3
dbpurgeage = 1d
E2
cat >"$dir/etc/jail.conf" <<E2
[touch]
enabled = true
filter = none
action = touch
logpath = $dir/empty
backend = polling
bantime = 1d
maxretry = 5
E2
cat >"$dir/etc/filter.d/none.conf" <<E2
[Definition]
failregex = ^nothing <HOST>$
E2
cat >"$dir/etc/action.d/touch.conf" <<E2
[Definition]
actionban = touch $dir/files/<ip>
actionunban = rm -f $dir/files/<ip>
E2
: >"$dir/empty"
now_ms() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}0"
}
client() {
	"$python" "$(command -v fail2ban-client)" -c "$dir/etc" -s "$dir/sock" -p "$dir/pid" "$@"
}
start() {
	"$python" "$(command -v $server)" -c "$dir/etc" -s "$dir/sock" -p "$dir/pid" -f start >"$dir/out" 2>&1 &
	pid=$!
	tries=0
	until client ping >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || { cat "$dir/out" "$dir/log"; exit 111; }
		sleep 0.1
	done
}
pid=''
trap '[ -z "$pid" ] || { kill "$pid"; wait "$pid"; } 2>/dev/null' EXIT
trap 'exit 1' INT TERM
files() {
	find "$dir/files" -type f | wc -l
}
await_all() { # SINCE-MS: prints how long it took
	until [ "$(files)" -eq "$n" ] || [ $(($(now_ms) - $1)) -gt 120000 ]; do sleep 0.02; done
	echo $(($(now_ms) - $1))
}

start
began=$(now_ms)
awk -v n="$n" 'BEGIN { for (i = 0; i < n; i++) printf "198.18.%d.%d\n", i / 250, i % 250 + 1 }' |
	xargs -n 250 "$python" "$(command -v fail2ban-client)" -c "$dir/etc" -s "$dir/sock" -p "$dir/pid" set touch banip >/dev/null
banned=$(await_all "$began")
kill -9 "$pid"
wait "$pid" 2>/dev/null
rm -rf "$dir/files" "$dir/sock" "$dir/pid"
mkdir "$dir/files"
began=$(now_ms)
start
again=$(await_all "$began")
version=$("$python" "$(command -v fail2ban-client)" --version 2>/dev/null | head -n 1)
echo "$version: $n bans until there is a file for each: $banned ms; after kill -9 and a start: $again ms"
[ "$(files)" -eq "$n" ] || echo "... but only $(files) files are there"
awk -v b="$banned" -v a="$again" -v n="$n" -v told="$told" -v restored="$restored" 'BEGIN {
	printf "us a ban: %d, restored %d; spillway: %d, %d: %.0f and %.0f times faster (target: 100)\n", b * 1000 / n, a * 1000 / n,
		told, restored, b * 1000 / n / (told ? told : 1), a * 1000 / n / (restored ? restored : 1)
}'
