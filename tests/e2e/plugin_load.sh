#!/bin/sh
# SPDX-License-Identifier: ISC
#
# plugin_load - many plugins: while they are replaced, all at once, and while nobody takes their events
#
# Rows of the failure list: Q5 Q10 Q13 Q14.  Times are compared with each other, not with a clock on the wall: the machine
# may be busy.

. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

make_home --plain
run=$SPILLWAY_RUN_DIR
plugin=$home/plugins/overload
reply='Temporary Failure: Server overload'
slow=1
if grep -q __asan_init "$B/spillway-plugin"; then
	slow=20
fi
export TCPREMOTEIP=192.0.2.1 SMTPMAILFROM=a@remote.test

# Run it many times; each must be refused, and logged.
many() { # [options of many] -- PLUGIN
	(cd "$home" && "$bin/many" --reply "R451 $reply" --log "overload: PID $reply" "$@") >"$work/many" 2>&1
}

value() { # KEY
	sed -n "s/^$1: //p" "$work/many"
}

mean_us() {
	value us | cut -d ' ' -f 2
}

max_us() {
	value us | cut -d ' ' -f 3
}

# Each of N runs was refused, and logged.  On a machine that has no time left some come late and are done again; hardly any.
refused() { # NAME N [LATE]: how many may come late
	is "$1: all are refused and logged" \
		"$(value runs) $(value replies) $(value logs), $(value passes) $(value others) $(value bad-logs) $(value failed)" \
		"$2 $2 $2, 0 0 0 0"
	within "$1: hardly any comes near its deadline" "$(value late)" 0 "${3-$(($2 / 20 + 1))}"
}

# --- Q14, Q5: the daemon is stopped, its socket full -----------------------------------------------

lease=60s
make_conf </dev/null
start_daemon
ok 'the daemon answers' $?
spillway force overloaded --for 10m >"$work/out" 2>&1
closed() {
	[ "$(stranger)" = "451 $reply close" ]
}
wait_for 3000 closed
ok 'the gate is closed' $?

n=$((500 / slow))
many --times $n -- "$plugin"
refused "while the daemon listens" $n
listening=$(mean_us)

engine=$(child_of engine) recorder=$(child_of recorder)
started="$started $engine $recorder"
kill -STOP "$daemon" "$engine" "$recorder"
many --times 100 -- "$plugin" # until the socket is full

n=$((500 / slow))
many --times $n -- "$plugin"
refused "Q5: the daemon is stopped and its socket full" $n
within 'Q5: in the same time, us' "$(mean_us)" 0 $((listening * 3 + 1000))

n=$((3000 / slow / slow))
many --times $((n / 2)) --jobs 2 -- "$plugin"
refused "Q14: $n events to a stopped daemon" $n
within 'Q14: without delay, us' "$(mean_us)" 0 $((listening * 3 + 1000))

kill -CONT "$recorder" "$engine" "$daemon"
wait_for 5000 spillway status
ok 'Q14: the daemon goes on' $?
# Of a flood it counts what the kernel keeps for it (net.unix.max_dgram_qlen, often 10); of a trickle, all.
was=$(field refused)
within 'Q14: what it could take was counted' "$was" 10 $((n + 2000))
n=0
while [ $n -lt 5 ]; do
	stranger >"$work/out"
	n=$((n + 1))
done
five_more() {
	[ "$(field refused)" -eq $((was + 5)) ]
}
wait_for 3000 five_more
ok 'Q14: and each that comes now is' $?
stop_daemon

# A socket that nobody holds any more.
"$bin/mkstate" "$run" || echo '# mkstate failed'
rm -f "$run/event.sock"
"$bin/events" "$run" >/dev/null &
listener=$!
started="$started $listener"
wait_for 2000 test -S "$run/event.sock"
kill "$listener"
wait "$listener" 2>/dev/null
n=$((200 / slow))
many --times $n -- "$plugin"
refused "Q14: a dead socket" $n
rm -f "$run/event.sock"
mkfifo "$run/event.sock"
many --times $n -- "$plugin"
refused 'Q14: a FIFO in its place' $n
rm -f "$run/event.sock"
many --times $n -- "$plugin"
refused 'Q14: none' $n

# --- Q13: all at once ------------------------------------------------------------------------------

n=$((1600 / slow)) jobs=16
if [ $slow -gt 1 ]; then
	jobs=2 # with a sanitizer, more would come to the deadline
fi
many --times $((n / jobs)) --jobs $jobs -- "$plugin"
refused "Q13: $n in $jobs processes at once" $n $((n * 10)) # so many have to wait for a processor
cpu=$(value cpu)
many --times $((n / 4)) -- "$plugin"
alone=$(value cpu)
within 'Q13: what one costs does not grow with their number, us of CPU' "$cpu" 0 $((alone * 3 + 100))
compiler=$(command -v musl-gcc || echo "${CC:-cc}") # as the plugin is built: what a libc costs is most of it
if [ $slow -gt 1 ]; then
	skip 'Q13: it costs little more than an empty program' 'sanitizers'
elif ! echo 'int main(void) { return 0; }' | "$compiler" -x c -static -O2 -o "$work/empty" - 2>/dev/null; then
	skip 'Q13: it costs little more than an empty program' 'no static libc here'
else
	many --times 500 -- "$work/empty"
	is 'Q13: the empty program runs' "$(value runs) $(value passes) $(value failed)" '500 500 0'
	empty=$(value cpu)
	many --times 500 -- "$plugin"
	within "Q13: it costs little more than an empty static program ($empty us of CPU)" "$(value cpu)" 0 $((empty * 3))
fi

# --- Q10: replaced while sessions run --------------------------------------------------------------

"$bin/mkstate" "$run"
dest=$work/dest
case ${B##*/} in
asan | cov) variant=${B##*/} ;;
*) variant=release ;;
esac
# What is built is installed: nothing is built again on account of a source that was edited meanwhile.
make_install() { # [options of make]
	make -s -C "$root" V="$variant" B="$B" -o all -o "$B/spillwayd" -o "$B/spillway" -o "$B/spillway-plugin" "$@" install \
		DESTDIR="$dest" PREFIX=/usr 2>&1
}
make_install >"$work/install.log"
is 'Q10: make install works' "$? $(grep -i error "$work/install.log")" '0 '
installed=$(find "$dest" -name spillway-plugin -type f)
is 'Q10: it is there, once, for all to run' "$(echo "$installed" | wc -l) $(stat -c %a "$installed")" '1 755'
ln -sf "$installed" "$home/plugins/overload"
# What make does to the plugin, without its reading of the Makefile each time.
make_install -n | grep 'spillway-plugin' >"$work/replace"
like 'Q10: make replaces it by rename' "$(cat "$work/replace")" '^install .*spillway-plugin\.new && mv '
(
	n=0
	while [ $n -lt 100 ] && (cd "$root" && sh "$work/replace"); do
		n=$((n + 1))
	done
	echo $n >"$work/installs.new"
	mv "$work/installs.new" "$work/installs"
) &
many --times 500 --until "$work/installs" -- "$plugin"
wait $!
is 'Q10: replaced 100 times by the commands of make install' "$(cat "$work/installs")" 100
within 'Q10: meanwhile it ran' "$(value runs)" 500 10000000
refused 'Q10: each time it did its work' "$(value runs)"
is 'Q10: no half file is left' "$(find "$dest" -name '*.new')" ''

finish
