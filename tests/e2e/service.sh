#!/bin/sh
# SPDX-License-Identifier: ISC
#
# service - under the real supervisors, with the scripts of etc/: however spillwayd ends, the gate does not stay closed

. "$(dirname -- "$0")/lib.sh"

flag=$home/control/overloaded
prefix=$work/prefix
controls=''

# The supervisors outlive a kill: they are told to end, with what they run.
end_services() {
	for d in $controls; do
		case $d in
		*/runit) sv -w 5 force-shutdown "$d" >/dev/null 2>&1 ;;
		*) svc -dx "$d" 2>/dev/null ;;
		esac
	done
}
trap 'end_services; cleanup' EXIT

# --- what all need ---------------------------------------------------------------------------------

# The scripts name @PREFIX@/sbin/spillwayd: there, one that finds the test's configuration.
wrap() { # PROGRAM PATH
	printf '#!/bin/sh\nexec "%s" -c "%s" "$@"\n' "$B/$1" "$conf" >"$prefix/$2.new"
	chmod 755 "$prefix/$2.new" && mv "$prefix/$2.new" "$prefix/$2"
}

# A service directory with the scripts of etc/KIND, as the installed ones are but for the places.
make_service() { # KIND
	mkdir -p "$work/sv/$1/log" "$work/log"
	for f in run finish log/run; do
		[ -f "$root/etc/$1/$f" ] || continue
		sed "s|@PREFIX@|$prefix|g; s|/var/log/spillway|$work/log/$1|g" "$root/etc/$1/$f" >"$work/sv/$1/$f"
		chmod 755 "$work/sv/$1/$f"
	done
}

configure() {
	make_conf <<'E'
levels = { hold = "500ms"; release = "2s"; };
E
}

closed() {
	[ -e "$flag" ]
}

open() {
	[ ! -e "$flag" ]
}

# How long until the flag is gone, in milliseconds; 99999 when it stays.
opens_after() {
	begin=$(now_ms)
	if wait_for 9000 open; then
		echo $(($(now_ms) - begin))
	else
		echo 99999
	fi
}

hide_queue() {
	mv "$home/queue" "$home/queue.hidden"
}

show_queue() {
	mv "$home/queue.hidden" "$home/queue"
}

# The whole daemon at once, with no chance to say a word.
kill_daemon() { # PID-OF-KEEPER
	daemon=$1
	kill -9 "$daemon" "$(child_of engine)"
}

mkdir -p "$prefix/bin" "$prefix/sbin"
wrap spillway bin/spillway
wrap spillwayd sbin/spillwayd
make_home --plain

for f in runit/run runit/finish runit/log/run daemontools/run daemontools/log/run; do
	sh -n "$root/etc/$f" && [ -x "$root/etc/$f" ]
	ok "etc/$f is a script, and executable" $?
	is "etc/$f names no place but the prefix's" "$(grep -c '[^@A-Z]/usr/local' "$root/etc/$f")" 0
done

# --- runit -----------------------------------------------------------------------------------------

sv_pid() {
	cat "$work/sv/runit/supervise/pid" 2>/dev/null
}

sv_is() { # WORD
	sv status "$work/sv/runit" | grep -q "^$1: "
}

test_runit() {
	service=$work/sv/runit
	lease=60s configure # so that nothing here is the lease's work
	make_service runit
	runsv "$service" >"$work/runsv.log" 2>&1 &
	started="$started $!"
	controls="$controls $service"
	wait_for 5000 spillway status
	ok "runit: runsv starts it" $?

	fill_todo 150
	wait_for 5000 closed
	ok "runit: the gate closes" $?
	cp -p "$flag" "$work/flag"

	sv down "$service"
	within "runit: sv down opens the gate, in milliseconds" "$(opens_after)" 0 2000
	wait_for 3000 sv_is down
	sv up "$service"
	wait_for 6000 closed
	ok "runit: up again, and closed again" $?

	hide_queue
	kill_daemon "$(sv_pid)"
	within "runit: killed, and nothing to be seen of the queue: the gate opens, in milliseconds" "$(opens_after)" 0 2000
	wait_for 5000 spillway status
	ok "runit: it is started again" $?
	sleep 1
	open
	ok "runit: the gate stays open" $?

	show_queue
	wait_for 15000 closed
	ok "runit: the queue is there again: closed again" $?
	sv once "$service"
	kill_daemon "$(sv_pid)"
	within "runit: killed, and not started again: finish opens the gate, in milliseconds" "$(opens_after)" 0 2000
	wait_for 3000 sv_is down
	ok "runit: it is not started again" $?

	cp -p "$work/flag" "$flag"
	printf '#!/bin/sh\nexec sleep 30\n' >"$prefix/sbin/spillwayd"
	mv "$service/finish" "$service/finish.not"
	sv up "$service"
	within "runit: run opens what was left closed before it starts the daemon, in milliseconds" "$(opens_after)" 0 2000
	sv down "$service"
	mv "$service/finish.not" "$service/finish"
	wrap spillwayd sbin/spillwayd

	echo 'levels = { hodl = "1s"; };' >"$conf"
	: >"$flag"
	sv up "$service"
	wait_for 5000 grep -q 'stays down until' "$work/log/runit/current"
	ok "runit: a wrong configuration: it stays down" $?
	sleep 2
	sv_is down
	ok "runit: and is not tried again" $?
	is "runit: the daemon says it once" "$(grep -c 'error: config: .*did you mean "hold"' "$work/log/runit/current")" 1
	closed
	ok "runit: an operator's flag is not touched by any of this" $?
	rm -f "$flag"
	like "runit: the log is kept, with the time" "$(cat "$work/log/runit/current")" '^20[0-9-]+_[0-9:.]+ info: engine: started'

	sv -w 7 shutdown "$service" >/dev/null
	ok "runit: runsv ends when told to" $?
	controls=''
}

# --- daemontools -----------------------------------------------------------------------------------

svc_pid() {
	svstat "$work/sv/daemontools" | sed -n 's/.*(pid \([0-9]*\)).*/\1/p'
}

svc_is() { # WORD
	svstat "$work/sv/daemontools" | grep -q ": $1 "
}

test_daemontools() {
	service=$work/sv/daemontools
	lease=60s configure
	make_service daemontools
	supervise "$service" >"$work/supervise.log" 2>&1 &
	started="$started $!"
	controls="$controls $service"
	wait_for 5000 spillway status
	ok "daemontools: supervise starts it" $?

	empty_todo
	fill_todo 150
	wait_for 6000 closed
	ok "daemontools: the gate closes" $?
	svc -d "$service"
	within "daemontools: svc -d opens the gate, in milliseconds" "$(opens_after)" 0 2000
	wait_for 3000 svc_is down
	svc -u "$service"
	wait_for 6000 closed
	ok "daemontools: up again, and closed again" $?

	# Nobody but the run script can open it now.
	hide_queue
	printf '#!/bin/sh\nexit 111\n' >"$prefix/sbin/spillwayd.not"
	chmod 755 "$prefix/sbin/spillwayd.not"
	pid=$(svc_pid)
	mv "$prefix/sbin/spillwayd.not" "$prefix/sbin/spillwayd"
	kill_daemon "$pid"
	within "daemontools: killed, and can't start again: run opens the gate, in milliseconds" "$(opens_after)" 0 3000
	show_queue
	svc -d "$service"
	wait_for 3000 svc_is down
	wrap spillwayd sbin/spillwayd

	# The gap that etc/daemontools/run tells of: nobody runs anything.  Then the lease counts.
	lease=2s configure
	svc -o "$service"
	wait_for 8000 closed
	is "daemontools: closed to strangers" "$(stranger overload)" "451 Temporary Failure: Server overload close"
	kill_daemon "$(svc_pid)"
	let_in() {
		[ "$(stranger overload)" = pass ]
	}
	wait_for 4000 let_in
	ok "daemontools: killed, and nothing is run: our plugin lets strangers in when the lease is over" $?
	closed
	ok "daemontools: though the flag is still there" $?
	spillway neutral --offline >/dev/null
	open
	ok "daemontools: neutral --offline removes it" $?

	echo 'levels = { hodl = "1s"; };' >"$conf"
	svc -u "$service"
	wait_for 5000 grep -q 'trying again in 30 s' "$work/supervise.log"
	ok "daemontools: a wrong configuration: it waits" $?
	sleep 2
	is "daemontools: and says why, once" "$(grep -v "can't be used" "$work/supervise.log" | grep -c 'did you mean "hold"')" 1
	svc -d "$service"
	wait_for 2000 svc_is down
	ok "daemontools: svc -d does not have to wait for that" $?
	svc -dx "$service"
	controls=''

	echo "a line of the log" | (cd "$service/log" && ./run 2>"$work/multilog.err")
	like "daemontools: the log is kept, with the time" "$(cat "$work/log/daemontools/current")" '^@[0-9a-f]{24} a line of the log$'
}

if command -v runsv >/dev/null && command -v chpst >/dev/null; then
	test_runit
else
	skip "runit" "runit is not installed"
fi
if command -v supervise >/dev/null && command -v multilog >/dev/null; then
	test_daemontools
else
	skip "daemontools" "daemontools is not installed"
fi

ended() {
	[ ! -e "/proc/$daemon/exe" ]
}

# --- systemd ---------------------------------------------------------------------------------------

if command -v systemd-analyze >/dev/null; then
	sed "s|@PREFIX@|$prefix|g" "$root/etc/systemd/spillway.service" >"$work/spillway.service"
	is "systemd: nothing is wrong with the unit" "$(systemd-analyze verify --man=no "$work/spillway.service" 2>&1 |
		grep spillway)" ""
else
	skip "systemd: nothing is wrong with the unit" "systemd-analyze is not installed"
fi

# Root's part gets along with the capabilities that the unit leaves it: start, close, stop, and start again.
caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$root/etc/systemd/spillway.service" | tr '[:upper:]' '[:lower:]' | sed 's/cap_/,+/g; s/ //g')
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && id -u daemon >/dev/null 2>&1; then
	empty_todo
	# shellcheck disable=SC2034 # read by make_conf
	test_user=daemon
	{ chgrp -R daemon "$home/queue" && rm -rf "$work/run" "$work/state"; } 2>/dev/null
	lease=60s configure
	sed -i 's/groups = \[ \]/groups = [ "daemon" ]/' "$conf"
	for round in first second; do
		setpriv --bounding-set="-all$caps" --inh-caps=-all "$B/spillwayd" -c "$conf" >/dev/null 2>>"$work/daemon.log" &
		daemon=$!
		started="$started $daemon"
		wait_for 5000 spillway status
		ok "systemd: with the unit's capabilities alone it starts, the $round time" $?
		spillway force overloaded --for 1m >/dev/null
		wait_for 2000 closed
		ok "systemd: and closes the gate" $?
		kill "$daemon"
		wait_for 2000 ended
		ok "systemd: and ends the others when told to" $?
		open
		ok "systemd: and opens the gate" $?
	done
else
	skip "systemd: root's part gets along with the unit's capabilities" "needs root, setpriv, and a user daemon"
fi

finish
