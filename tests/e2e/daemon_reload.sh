#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_reload - every broken configuration there is, through SIGHUP of a living daemon: rows C7, C8, C9, O3
#
# One message waits in todo.  Each broken file begins with a rule that one message would break, so that a file that is
# taken by half shows at once.

. "$(dirname -- "$0")/lib.sh"

trap_rule='levels = { hold = "0s"; overloaded = { todo = { enter = 1; leave = 0.5; }; }; };'

good() {
	make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; overloaded = { todo = { enter = 25; leave = 10.5; }; }; };
probes = { load = { every = 5; }; disk = { every = 2.5; }; };
E2
}

# The text of a file as good as the good one but for what comes in on stdin.
broken() {
	{
		echo "$trap_rule"
		cat
	} >"$conf.new"
	mv "$conf.new" "$conf"
}

kept() {
	grep -c 'keeping the previous configuration' "$work/daemon.log"
}

kept_again() {
	[ "$(kept)" -gt "$seen" ]
}

reloaded() {
	grep -c 'reloaded' "$work/daemon.log"
}

reloaded_again() {
	[ "$(reloaded)" -gt "$seen" ]
}

# The file is broken: say so, and change nothing.  The words are looked for in what was logged since.
refused() { # NAME REGEX
	seen=$(kept)
	lines=$(wc -l <"$work/daemon.log")
	kill -HUP "$daemon"
	wait_for 9000 kept_again
	ok "C7: $1: the previous configuration stays" $?
	like "C7: $1: ... and why" "$(tail -n "+$((lines + 1))" "$work/daemon.log")" "$2"
	is "C7: $1: ... status tells it, nothing was taken by half" "$(field config ok) $(field level)" "false normal"
	rm -rf "$conf"
}

accepted() { # NAME
	seen=$(reloaded)
	kill -HUP "$daemon"
	wait_for 9000 reloaded_again
	ok "C7: $1: accepted" $?
	is "C7: $1: ... status tells it" "$(field config ok) $(field level)" "true normal"
}

make_home --plain
good
start_daemon
ok "the daemon answers; a whole number and a fraction do where the other is usual" $?
keeper=$daemon
engine=$(child_of engine)
fill_todo 1
at=$(printf '%s' "$conf" | sed 's/[.]/[.]/g')

broken <<'E2'
levels2 = { hold = ;
E2
refused "syntax" "error: config: $at:2: syntax error; allowed"

broken <<'E2'
plugins = { text = "compat"; };
E2
refused "unknown key" "$at:2: plugins.text = .*unknown key, did you mean \"texts\""

broken <<'E2'
probes = { load = { every = "11m"; }; };
E2
refused "range" "$at:2: probes.load.every = \"11m\": too large; allowed: a duration from 1s to 10m"

broken <<'E2'
probes = { load = { every = -1; }; };
E2
refused "negative" "$at:2: probes.load.every = -1: too small"

{
	echo 'levels = { overloaded = { todo = { enter = 1; leave = 0.5; }; load = { enter = 3;'
	echo 'leave = 5; }; }; };'
} >"$conf"
refused "across keys" "$at:1: levels.overloaded.load = .*leave is above enter"

broken <<'E2'
store = { changes = 99999999999999999999; };
E2
refused "beyond 64 bits" "$at:2: 99999999999999999999: a whole number must fit into 64 bits"

broken <<'E2'
store = { changes = 99999999999; };
E2
refused "beyond 32 bits" "$at:2: store.changes = 99999999999: too large"

broken <<'E2'
store = { changes = 1000.5; };
E2
refused "a fraction for a count" "$at:2: store.changes = 1000.5: not of that form"

broken <<'E2'
store = { changes = 1000; };
store = { changes = 2000; };
E2
refused "twice" "$at:3: duplicate setting name"

broken <<'E2'
qmail = { home = "/nowhere; };
E2
refused "a string without end" "$at:2: "

printf '%s\n\0\n' "$trap_rule" >"$conf"
refused "a NUL byte" "$at:2: a NUL byte"

head -c 5000 /dev/urandom >"$conf"
refused "noise" "$at:[0-9]+: "

mkdir "$conf"
refused "a directory" "$at: not a regular file"

mkfifo "$conf"
refused "a FIFO" "$at: not a regular file"

ln -s "$conf" "$conf"
refused "a link to itself" "$at: Too many levels of symbolic links"

truncate -s 1G "$conf"
refused "a GiB" "$at: longer than 262144 bytes"

for what in . / /dev/zero "$conf" nowhere.conf; do
	echo "@include \"$what\"" | broken
	refused "@include $what" "$at:2: @include "
done

mkfifo "$work/fifo"
echo "@include \"$work/fifo\"" | broken
refused "@include of a FIFO" "$at:2: @include .*not a regular file"

printf '@include "f\344.conf"\n' | broken
refused "@include of a name in Latin-1" "$at:2: @include .*No such file"

awk 'BEGIN { for (i = 0; i < 20000; i++) printf "a = {" }' | broken
refused "deep nesting" "$at:2: "

awk 'BEGIN { printf "x = "; for (i = 0; i < 100000; i++) printf "(" }' | broken
refused "deep lists" "$at:2: "

rm -f "$conf"
refused "no file" "$at: No such file"

if [ "$(id -u)" -ne 0 ]; then
	good
	chmod 000 "$conf"
	refused "a file that may not be read" "$at: Permission denied"
else
	skip "C7: a file that may not be read" "root may read all"
fi

# --- what is not broken ---

: >"$conf"
accepted "nothing at all"
like "C7: nothing at all: what can't change is told" "$(tail -n 3 "$work/daemon.log")" \
	'reloaded; only a restart changes qmail.homes, service.user,.*service.state_dir, service.lease$'

good
mv "$conf" "$conf.away"
seen=$(reloaded)
kill -HUP "$daemon"
sleep 0.3
mv "$conf.away" "$conf"
wait_for 5000 reloaded_again
ok "C7: missing for a moment, as editors do it: accepted" $?
is "C7: ... status tells it" "$(field config ok)" true

# --- C9: a thousand at once ---

seen=$(reloaded)
i=0
while [ $i -lt 1000 ]; do
	kill -HUP "$daemon"
	i=$((i + 1))
done
wait_for 5000 reloaded_again
sleep 0.5
within "C9: 1000 SIGHUP are gathered" $(($(reloaded) - seen)) 1 100
is "C9: the daemon answers" "$(field level)" normal
recorder=$(child_of recorder)
i=0
while [ $i -lt 300 ]; do
	for signal in HUP CHLD PIPE XFSZ; do
		kill -$signal "$daemon" "$engine" "$recorder"
	done
	i=$((i + 1))
done
wait_for 5000 spillway reload
ok "O3: a storm of signals to all three: a word is taken" $?
is "O3: ... nobody died of them" "$daemon $(child_of engine) $(child_of recorder)" "$keeper $engine $recorder"

# --- C8: during an overload ---

fill_todo 30
wait_for 3000 level_is overloaded
ok "C8: overloaded, by the configuration of the start" $?
episode=$(field episode)
flag_is_there() {
	test -f "$home/control/overloaded"
}
wait_for 2000 flag_is_there
flag=$(stat -c %i "$home/control/overloaded")
sed -i 's/enter = 25;/enter = 20;/' "$conf"
spillway reload >/dev/null
ok "C8: reloaded with another mark" $?
sleep 1.5
is "C8: the same level, episode and flag" \
	"$(field level) $(field episode) $(stat -c %i "$home/control/overloaded")" "overloaded $episode $flag"
echo 'levels = {' >>"$conf"
spillway reload >/dev/null 2>"$work/err"
is "C8: a broken one: exit code" $? 1
like "C8: ... and why" "$(cat "$work/err")" "^spillway: $at:[0-9]+: "
is "C8: the same level, episode and flag" \
	"$(field level) $(field episode) $(stat -c %i "$home/control/overloaded")" "overloaded $episode $flag"
good
sed -i 's/enter = 25; leave = 10.5;/enter = 2500; leave = 1000;/' "$conf"
spillway reload >/dev/null
wait_for 6000 level_is normal
ok "C8: with a mark that is far away the overload ends" $?

is "it is the same daemon" "$daemon $(child_of engine)" "$keeper $engine"
is "the level changed twice, no more" "$(grep -c 'engine: level' "$work/daemon.log")" 2
stop_daemon

good
odd=$(printf '%s/\344.conf' "$work")
mv "$conf" "$odd"
conf=$odd
start_daemon
ok "C7: a file name in Latin-1 does not make status mute" $?
stop_daemon
finish
