#!/bin/sh
# SPDX-License-Identifier: ISC
#
# demo - the main job, live: a private qmail home, a flood of ten times what it can carry, and spillway
#
# Everything is private: a home below a temporary directory, our own small qmail under the real tcpsvd on loopback, a daemon of
# its own.  The server carries 20 messages a second.  Five strangers' messages and one of a user who has authenticated come
# in each second; then, for 55 seconds, two hundred strangers' messages a second.  The figures at the end come from
# outside the daemon: from the queue, from control/overloaded, and from what the clients were told.
#
# Usage: B=build/release tests/demo.sh      exit 0 when every figure is met

set -u
LC_ALL=C
export LC_ALL
cd "$(dirname -- "$0")/.." || exit 111
root=$(pwd)
B=${B:-build/release}
case $B in
/*) ;;
*) B=$root/$B ;;
esac
export B
bin=$B/standin

CARRIES=20 FLOOD=200 CALM_S=8 FLOOD_S=55 LIMIT=100
HOLD_MS=2000 RELEASE_MS=15000 # of the default configuration

work=$(mktemp -d "${TMPDIR:-/tmp}/spillway-demo.XXXXXX") || exit 111
home=$work/qmail
started=''
cleanup() {
	for p in $started; do
		kill "$p" 2>/dev/null
	done
	sleep 1
	for p in $started; do
		kill -9 "$p" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

now_ms() {
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

spillway() {
	"$B/spillway" -c "$work/spillway.conf" "$@"
}

# A number from a line of JSON: its last occurrence
number() { # FILE KEY
	sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$1" | tail -n 1
}

# --- the server --------------------------------------------------------------------------------------

tests/standin/mkhome.sh "$home" --split >/dev/null || exit 111
mkdir -p "$home/plugins"
ln -s "$B/spillway-plugin" "$home/plugins/spillway-mail"
printf '[mail]\n%s/plugins/spillway-mail\n' "$home" >"$home/control/smtpplugins"
cat >"$work/spillway.conf" <<E2
qmail = { home = "$home"; };
service = { user = ""; run_dir = "$work/run"; state_dir = "$work/state"; };
E2
export SPILLWAY_RUN_DIR="$work/run"

"$bin/send" "$home" --rate "$CARRIES" --shape todo >"$work/send.log" 2>&1 &
started="$started $!"
"$B/spillwayd" -c "$work/spillway.conf" 2>"$work/spillwayd.log" &
started="$started $!"
port='' try=0
while [ -z "$port" ] && [ "$try" -lt 20 ]; do
	try=$((try + 1))
	candidate=$((20000 + ($$ + try * 577) % 20000))
	QMAIL_HOME=$home ENABLE_SPP='' tcpsvd -l demo -c 200 -b 512 127.0.0.1 "$candidate" "$home/bin/qmail-smtpd" \
		>"$work/smtpd.log" 2>&1 &
	pid=$!
	sleep 0.3
	if kill -0 "$pid" 2>/dev/null; then
		port=$candidate
		started="$started $pid"
	fi
done
[ -n "$port" ] || { echo "demo: tcpsvd does not start:" >&2; cat "$work/smtpd.log" >&2; exit 111; }
n=0
until spillway status >/dev/null 2>&1; do
	n=$((n + 1))
	[ "$n" -lt 50 ] || { cat "$work/spillwayd.log" >&2; exit 111; }
	sleep 0.1
done

echo "A private qmail that carries $CARRIES messages a second, with the default configuration of spillway."
echo "From second $CALM_S to $((CALM_S + FLOOD_S)) strangers send $FLOOD a second; a user sends one a second all the time."
echo
echo "  time  todo  level       gate        strangers: sent  250  451  5xx   user: sent  250  refused"

# --- who sends ---------------------------------------------------------------------------------------

clients() { # NAME RATE SECONDS [flood options]
	name=$1 rate=$2 seconds=$3
	shift 3
	"$bin/flood" --to "127.0.0.1:$port" --rate "$rate" --for "$seconds" --report "$work/$name.tsv" --quiet \
		--connections 400 --rcpt alice@example.test "$@" >"$work/$name.json" 2>"$work/$name.err" &
	client=$!
	started="$started $client"
}

begin=$(now_ms)
whole=$((CALM_S + FLOOD_S + 25))
clients calm 5 "$whole" --from 'friend%n@remote.test' --source-net 127.8.0.0/13
calm=$client
clients user 1 "$whole" --auth alice:secret --from alice@example.test
user=$client
flood='' flood_end=0 # its last client was answered: a slow machine is still busy with it when its time is over

# --- watching from outside ---------------------------------------------------------------------------

sum() { # COLUMN-NAME FILE...: sum of a column of flood's reports
	column=$1
	shift
	cat "$@" 2>/dev/null | awk -v name="$column" '
		/^#/ || $1 == "t" { for (i = 1; i <= NF; i++) { f = $i; sub(/^#/, "", f); if (f == name) c = i }; next }
		c { n += $c } END { print n + 0 }'
}

crossed=0 closed_at=0 opened_at=0 edges=0 was=open peak=0 next_line=$begin
while :; do
	now=$(now_ms)
	todo=$(find "$home/queue/todo" -type f | wc -l)
	if [ -e "$home/control/overloaded" ]; then is=closed; else is=open; fi
	[ "$todo" -le "$peak" ] || peak=$todo
	[ "$crossed" -ne 0 ] || [ "$todo" -lt "$LIMIT" ] || crossed=$now
	if [ "$is" != "$was" ]; then
		edges=$((edges + 1))
		if [ "$is" = closed ]; then closed_at=$now; else opened_at=$now; fi
		was=$is
	fi
	t=$(((now - begin) / 1000))
	if [ -z "$flood" ] && [ "$t" -ge "$CALM_S" ]; then
		clients flood "$FLOOD" "$FLOOD_S" --from 'spam%n@flood.test' --source-net 127.16.0.0/12
		flood=$client
	fi
	# its summary is the last that it writes
	[ "$flood_end" -ne 0 ] || [ ! -s "$work/flood.json" ] || flood_end=$now
	if [ "$now" -ge "$next_line" ]; then
		next_line=$((now + 1000))
		spillway status >"$work/status" 2>/dev/null
		printf '%5ds %5d  %-11s %-18.18s %10d %4d %4d %4d %12d %4d %8d\n' "$t" "$todo" \
			"$(sed -n 's/^level *\([a-z]*\).*/\1/p' "$work/status")" \
			"$(sed -n 's/^gate *\([^;]*\).*/\1/p' "$work/status" | sed 's/ of strangers admitted//; s/closed to strangers/closed/; s/open to all/open/')" \
			"$(sum started "$work/calm.tsv" "$work/flood.tsv")" "$(sum accepted "$work/calm.tsv" "$work/flood.tsv")" \
			"$(sum 4xx "$work/calm.tsv" "$work/flood.tsv")" "$(sum 5xx "$work/calm.tsv" "$work/flood.tsv")" \
			"$(sum started "$work/user.tsv")" "$(sum accepted "$work/user.tsv")" \
			"$(($(sum 4xx "$work/user.tsv") + $(sum 5xx "$work/user.tsv")))"
	fi
	# over when the flood is, the gate is open again and the queue is empty; or when it takes too long
	if [ "$flood_end" -ne 0 ] && [ "$is" = open ] && [ "$todo" -le 2 ]; then
		break
	fi
	[ "$now" -lt "$((begin + 115000))" ] || break
	sleep 0.1
done
kill "$calm" "$user" 2>/dev/null
wait "$calm" "$user" $flood 2>/dev/null
n=0
while [ "$(find "$home/queue/todo" "$home/queue/mess" -type f | wc -l)" -gt 0 ] && [ "$n" -lt 50 ]; do
	n=$((n + 1))
	sleep 0.1
done
left=$(find "$home/queue/todo" "$home/queue/mess" -type f | wc -l)

# --- the figures -------------------------------------------------------------------------------------

failed=0
figure() { # WHAT VALUE UNIT LEAST MOST
	if [ "$2" -ge "$4" ] && [ "$2" -le "$5" ]; then verdict=ok; else verdict='NOT MET' failed=1; fi
	printf '  %-58s %8d %-9s (%d to %d)  %s\n' "$1" "$2" "$3" "$4" "$5" "$verdict"
}

total() { # KEY FILE...
	key=$1
	shift
	for f in "$@"; do
		number "$f" "$key"
	done | awk '{ n += $1 } END { print n + 0 }'
}

strangers="$work/calm.json $work/flood.json"
echo
echo "What was seen from outside:"
figure "gate closed after todo had crossed $LIMIT" "$((closed_at - crossed))" ms 0 "$((HOLD_MS + 1000))"
figure "flood behind the closed gate" "$((flood_end - closed_at))" ms "$((RELEASE_MS + 1))" 1000000
figure "edges of the gate" "$edges" '' 2 2
figure "gate open again after the end of the flood" "$((opened_at - flood_end))" ms 0 "$((RELEASE_MS + 3000))"
# shellcheck disable=SC2086
figure "strangers told to come back (4xx)" "$(total refused_4xx $strangers)" sessions 1000 1000000
# shellcheck disable=SC2086
figure "strangers refused for good (5xx)" "$(total refused_5xx $strangers)" sessions 0 0
# shellcheck disable=SC2086
figure "strangers' messages taken" "$(total accepted $strangers)" messages 100 1000000
figure "the user's messages taken" "$(total accepted "$work/user.json")" messages 40 1000000
figure "the user's messages refused" "$(($(total refused_4xx "$work/user.json") + $(total refused_5xx "$work/user.json")))" messages 0 0
figure "most messages in todo" "$peak" messages "$LIMIT" 2000
figure "messages left in the queue" "$left" messages 0 0
echo
echo "What spillway says of it (spillway history; spillway explain ID):"
spillway history | grep -E ' (level|gate) ' | sed 's/^/  /'
id=$(spillway history | sed -n 's/.*-> overloaded.*\[\(e[a-z0-9]*\)\].*/\1/p' | head -n 1)
spillway explain "${id:-none}" | sed -n '1,5p' | sed 's/^/  /'
echo
if [ "$failed" -eq 0 ]; then
	echo "demo: all figures met, $((($(now_ms) - begin) / 1000)) s"
else
	echo "demo: some figures were NOT MET"
	sed 's/^/  daemon: /' "$work/spillwayd.log"
	head -n 5 "$work"/*.err | sed 's/^/  client: /'
fi
exit "$failed"
