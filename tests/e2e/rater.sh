#!/bin/sh
# SPDX-License-Identifier: ISC
#
# rater - the rate service as clients of rater know it: its author's client, his telnet session, his configuration file; and those
# who misuse it

# The ports are those of rater: in a network of our own they are free.
if [ "${RATER_NETWORK-}" = '' ]; then
	RATER_NETWORK=none
	for how in 'unshare -n' 'unshare -Urn'; do
		if $how sh -c 'ip link set lo up' 2>/dev/null; then
			export RATER_NETWORK=own
			exec $how sh -c "ip link set lo up && exec sh $0"
		fi
	done
	export RATER_NETWORK
fi

. "$(dirname -- "$0")/lib.sh"

e2e=$root/tests/e2e
socket=$work/run/rate.sock
shell=4445
nobody=65534
slack=4000 # KiB of memory
soon=100 # ms that an answer may take beside those who misuse the service
case $B in
*/asan)
	slack=200000
	soon=500
	;;
esac

# What `python3` is may be a script that looks for one: once is enough.
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null)
if [ -z "$python" ]; then
	skip "rater" "no python3"
	finish
fi
if [ "$RATER_NETWORK" != own ]; then
	skip "rater" "no network of our own, and rater's ports may be taken"
	finish
fi

py() {
	"$python" "$e2e/rater.py" "$@"
}

# The client of the post: its exit code, what it prints, what it says on stderr.
client() {
	out=$("$python" "$e2e/raterclient.py" "$@" 2>"$work/err")
	echo "$?: $out: $(cat "$work/err")" | tr -d '\r'
}

ask() { # BYTES (as printf takes them): the answer, with its bytes visible
	# shellcheck disable=SC2059
	printf "$1" | py say "${2-1999}" | sed -n l
}

memory_of() {
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

files_of() {
	find "/proc/$1/fd" -type l | wc -l
}

# Who has gone may take a moment to be missed.
nobody_left() {
	[ "$(spillway limits --json | json clients clients)" -eq 0 ]
}

# --- rater's own configuration ---

make_home --plain
make_conf </dev/null
{
	cat "$root/tests/samples/rater/config"
	cat "$conf"
} >"$conf.new" && mv "$conf.new" "$conf"
start_daemon
ok "the daemon starts with the configuration of rater" $?
engine=$(child_of engine)

is "post: the first" "$(client user ralsina)" "0: Sending:  user ralsina: 0 1/10"
for i in 2 3 4 5 6 7 8 9; do
	client user ralsina >/dev/null
done
is "post: the last that is not too often" "$(client user ralsina)" "0: Sending:  user ralsina: 0 10/10"
is "post: too often" "$(client user ralsina)" "1: Sending:  user ralsina: 1 11/10"
is "post: another key" "$(client user rosario)" "0: Sending:  user rosario: 0 1/20"
is "post: the same value in another class counts for itself" "$(client ip ralsina)" "0: Sending:  ip ralsina: 0 1/1"
is "post: a pattern" "$(client ip 10.0.1.77)" "0: Sending:  ip 10.0.1.77: 0 1/20"
is "post: everybody else" "$(client user Jane Doe)" "0: Sending:  user Jane Doe: 0 1/2"
is "post: a class that is not there" "$(client mail x)" "2: Sending:  mail x: 2 Class not found: mail"
is "post: no space" "$(client user)" "2: Sending:  user: 2 Bad Input (no space)"

# --- byte for byte ---

is "bytes: answer" "$(ask 'user a\n')" '0 1/2\r$'
is "bytes: with CR" "$(ask 'user a\r\n')" '0 2/2\r$'
is "bytes: too often" "$(ask 'user a\n')" '1 3/2\r$'
is "bytes: peek" "$(ask '?user a\n')" '1 3/2\r$'
is "bytes: Bad Input" "$(ask 'user\n')" '2 Bad Input (no space)\r$'
is "bytes: empty line" "$(ask '\n')" '2 Bad Input (no space)\r$'
is "bytes: Class not found" "$(ask 'foo\033bar x\n')" '2 Class not found: foo\\x1bbar\r$'
is "bytes: Line is too long" "$(ask "$(printf '%01001d' 0)\\n")" '2 Line is too long\r$'
is "bytes: 1000 are not" "$(ask "$(printf '%01000d' 0)\\n")" '2 Bad Input (no space)\r$'
is "bytes: no end" "$(ask "$(printf '%03000d' 0)")" '2 Line is too long\r$'
is "bytes: rate.sock is the same" "$(ask 'user a\n' "$socket")" '1 3/2\r$'
is "bytes: one after the other" "$(ask '+user b\n+?user b\n+x\nuser b\nuser b\n' "$socket" | tr '\n' ' ')" \
	'0 1/2\r$ 0 1/2\r$ 2 Bad Input (no space)\r$ 0 2/2\r$ '
is "bytes: socket is open to all" "$(stat -c %a "$socket")" 666

# --- the telnet session of the posts ---

printf 'help\r\nvar ut_log_level Info\r\nvar\r\nvar ut_log_level Debug\r\nvar\r\nexit\r\n' | py say $shell 0.02 |
	sed -E 's|^( ut_basedir [^/]*)/.*|\1DIR|' >"$work/session"
table() {
	cat <<-E2
		 name                 description                    value
		--------------------- ------------------------------ --------------------
		*ut_log_level         log level                      $1
		 ut_log_file          log file                       /dev/stderr
		 ut_jobname           job name                       spillway
		 ut_control_port      control port IP/port           127.0.0.1:4445
		 ut_basedir           shl base directory             DIR

		Variables prefixed with '*' can be changed.

		Ok
	E2
}
{
	cat <<-'E2'
		libut control port interpreter
		Type 'help' for command list.

		command           description
		----------------- -------------------------------------
		* mem             - memory pool usage summary
		* var             - Display or set config variables
		* log             - Change log file or verbosity
		  fds             - list selected file descriptors
		  tmr             - show pending timers
		  uptime          - show uptime
		* prf             - Performance/profiling stats
		* cops            - List coprocesses
		  help            - view command help
		  exit            - close connection

		Commands preceded by * have detailed help. Use help <command>.

		Ok

		Ok
	E2
	table Info
	printf '\nOk\n'
	table Debug
} >"$work/wanted"
is "telnet: the session of the posts" "$(diff "$work/wanted" "$work/session")" ""
client ip 10.0.0.99 >/dev/null
like "telnet: Debug tells each question" "$(cat "$work/daemon.log")" '^debug: rate: ip 10\.0\.0\.99: 0 1/20$'
printf 'var ut_log_level Info\nexit\n' | py say $shell >/dev/null
client ip 10.0.0.98 >/dev/null
is "telnet: Info does not" "$(grep -c '10\.0\.0\.98' "$work/daemon.log")" 0
for c in mem fds tmr uptime prf cops log 'help var' 'help mem' 'help tmr'; do
	like "telnet: $c" "$(printf '%s\nexit\n' "$c" | py say $shell | tail -n 1)" '^Ok$'
done
like "telnet: mem has the process" "$(printf 'mem\nexit\n' | py say $shell)" "^process, resident +[0-9]{4,}"
like "telnet: cops has the keeper" "$(printf 'cops\nexit\n' | py say $shell)" "^keeper +pid $daemon\$"
like "telnet: a variable that can't be changed" "$(printf 'var ut_jobname x\nexit\n' | py say $shell | tail -n 3 | tr '\n' ' ')" \
	'cannot be changed.* Error $'
like "telnet: no such command" "$(printf 'fo\033o\nexit\n' | py say $shell | tail -n 3 | tr '\n' ' ')" \
	'No such command: fo.x1bo; try help  Error $'
is "telnet: what telnet itself says is passed over" \
	"$(printf '\377\373\037\377\372\030\000x\377\360upt\377\361ime\r\000\nexit\n' | py say $shell | tail -n 1)" Ok

# --- the command ---

run() { # COMMAND...: its exit code, and what it says on stderr
	spillway "$@" >"$work/out" 2>"$work/err"
	echo "$?: $(cat "$work/err")"
}

is "command: rate" "$(run rate user c)" "0: 0 1/2"
is "command: peek" "$(run peek user c)" "0: 0 1/2"
run rate user c >/dev/null
is "command: peek of what would be too often" "$(run peek user c)" "1: 1 2/2"
is "command: rate, too often" "$(run rate user c)" "1: 1 3/2"
is "command: error" "$(run rate foo c)" "2: 2 Class not found: foo"
is "command: reset" "$(run reset user c)" "0: "
is "command: reset, there was nothing" "$(run reset user c)" "1: spillway: there were no marks of it"
is "command: rate again" "$(run rate user c)" "0: 0 1/2"
is "command: a value like an option" "$(run rate user --help)" "0: 0 1/2"
is "command: a value like an option, again" "$(run rate user -h)" "0: 0 1/2"
like "command: a value with a line end asks nothing" "$(run rate user "a
user b")" '^2: spillway: rate: '
like "command: wrong usage" "$(run rate user)" '^100: '
like "command: limits" "$(spillway limits)" '^  rosario +20 in 90s$'
is "command: limits --json" "$(spillway limits --json | json counted clients memory | grep -cE '^[0-9]{7,}$')" 1
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=$nobody --regid=$nobody --clear-groups test -x "$B/spillway" 2>/dev/null; then
	as_nobody() {
		setpriv --reuid=$nobody --regid=$nobody --clear-groups "$B/spillway" -c "$conf" "$@" 2>&1
		echo "$?"
	}
	is "command: everybody may ask" "$(as_nobody rate user d | tr '\n' ' ')" "0 1/2 0 "
	like "command: not everybody may reset" "$(as_nobody reset user d | tr '\n' ' ')" 'only root and service.operators.* 100 $'
	is "command: nothing was reset" "$(run peek user d)" "0: 0 1/2"
else
	skip "command: who may reset" "needs root and setpriv"
fi

# --- those who misuse it ---

# In turn, so that each has the daemon to itself; who asks meanwhile has an answer soon.
beside() { # NAME COMMAND...
	name=$1
	shift
	"$@" >"$work/abuse" &
	abuse=$!
	sleep 0.3
	# shellcheck disable=SC2046
	set -- $(py ask "$socket" 30) $(py ask 1999 30)
	wait $abuse
	[ $# -eq 6 ]
	ok "beside $name: others are answered" $?
	echo "# beside $name: ms by socket $1 $2 $3, by TCP $4 $5 $6 (median, 90 %, most)"
	within "beside $name: 90 % of them within $soon ms" "${2-9999}" 0 $soon
	within "beside $name: ... by TCP" "${5-9999}" 0 $soon
}

wait_for 5000 nobody_left
py noise "$socket" 500 1
memory=$(memory_of "$engine")
files=$(files_of "$engine")
beside "1000 that say nothing" "$bin/abuse" mute "$socket" 1000 2500
is "2 s are all they get" "$(sed -n 's/^ended: //p' "$work/abuse")" 1000
beside "500 that say a byte now and then" "$bin/abuse" trickle "$socket" 500 2500
beside "500 that do not read" "$bin/abuse" deaf "$socket" 500 2500
beside "40 that ask without a pause" "$bin/abuse" flood "$socket" 40 2500
seed=$(($(date +%s) % 100000))
echo "# seed $seed"
beside "gibberish" py noise "$socket" 2000 $seed
py noise 1999 1500 $seed
py noise $shell 300 $seed
"$bin/abuse" noise "$socket" 10000 $seed >/dev/null
is "100000 questions at once, the answers read late: none is lost" "$(py burst "$socket" 100000)" 100000
wait_for 5000 nobody_left
ok "afterwards nobody is left over" $?
is "it is the same engine" "$(child_of engine)" "$engine"
within "no memory lost, KiB" $(($(memory_of "$engine") - memory)) -100000 $slack
is "no descriptor lost" "$(files_of "$engine")" "$files"
is "the level has not changed" "$(field level)" normal
is "nobody is refused for it" "$(field refused)" 0
is "nothing of it counts for plugins" "$(spillway limits --json | json counted plugins marks)" 0

# --- who may use the control port ---

stop_daemon
sed -i 's/control_address: "127.0.0.1"/control_address: "0.0.0.0"/' "$conf"
start_daemon
engine=$(child_of engine)
ip address add 198.51.100.1/32 dev lo
like "telnet: from this host, by its loopback address" "$(printf 'uptime\nexit\n' | py say $shell | tail -n 1)" '^Ok$'
is "telnet: by another address" "$(printf 'uptime\nexit\n' | py say 198.51.100.1:$shell)" ""
like "telnet: ... is logged" "$(cat "$work/daemon.log")" '^warning: shell: the control port serves this host alone'

# --- without a daemon ---

kill -STOP "$engine"
before=$(now_ms)
like "a daemon that is stopped: rate" "$(run rate user e)" '^2: spillway: cannot ask'
within "... within its second" $(($(now_ms) - before)) 900 2000
kill -CONT "$engine"
stop_daemon
like "no daemon: rate" "$(run rate user e)" '^2: spillway: cannot ask'
like "no daemon: peek" "$(run peek user e)" '^2: spillway: cannot ask'
like "no daemon: reset" "$(run reset user e)" '^111: spillway: cannot ask'
like "no daemon: limits" "$(run limits)" '^111: spillway: cannot ask'
finish
