#!/bin/sh
# SPDX-License-Identifier: ISC
#
# logs - readings from the logs of qmail-send and tcpserver, through the daemon: rotated, kept over a restart, unreadable

. "${0%/*}/lib.sh"

make_home --plain
send=$work/send
smtpd=$work/smtpd
mkdir "$send" "$smtpd"
mkfifo "$work/to-send"
multilog t s8192 n20 "$send" <"$work/to-send" 2>/dev/null &
started="$started $!"
exec 8>"$work/to-send"
: >"$smtpd/current"

make_conf <<-E2
	probes = { logs = { send = [ "$send" ]; server = [ "$smtpd" ]; every = "200ms"; }; };
	levels = { busy = { deferrals = { enter = 5; leave = 1; }; }; hold = "0s"; };
E2

reading() {
	field readings "$1" value
}
reading_is() { # NAME VALUE
	[ "$(reading "$1" | sed 's/\..*//')" = "$2" ]
}
reaches() { # NAME READING VALUE
	wait_for 8000 reading_is "$2" "$3"
	is "$1" "$(reading "$2" | sed 's/\..*//')" "$3"
}

echo "status: local 1/10 remote 5/20" >&8
start_daemon
reaches "in the log before the start: remote deliveries in progress" remote_busy 5
reaches "in percent of the limit" remote_share 25
reaches "deliveries" deliveries 0

deliver() { # FIRST LAST OUTCOME
	awk -v a="$1" -v b="$2" -v outcome="$3" 'BEGIN { for (i = a; i <= b; i++) {
		print "new msg " i; print "info msg " i ": bytes 247 from <alice@example.test> qp 1 uid 0"
		print "starting delivery " i ": msg " i " to remote x@sink.test"; print "status: local 0/10 remote 1/20"
		print "delivery " i ": " outcome ": 192.0.2.1_said_something./"; print "status: local 0/10 remote 0/20"
		print "end msg " i } }' >&8
}
deliver 1 300 success
reaches "deliveries are counted, over rotations" deliveries 300
reaches "none is in progress" remote_busy 0
is "the log was rotated meanwhile" "$([ "$(find "$send" -name '@*' | wc -l)" -ge 3 ]; echo $?)" 0
like "status shows them" "$(spillway status)" 'deliveries +300/min'
like "probes tell what was read" "$(spillway probes)" "log: $send: 2101 lines, 2101 understood"
like "and whose mail it was" "$(spillway probes)" 'own mail: 300 deliveries, 0 of them without sender'

is "and storms know what it can be answered with" "$(field storms sent mails)" 300

level_is_busy() { level_is busy; }
deliver 301 306 deferral
wait_for 8000 level_is_busy
is "deferrals lead to a level" "$(field level)" busy
like "which says why" "$(spillway status)" 'why +deferrals [0-9]/min, limit 5/min'

echo "bounce msg 1 qp 2" >&8
reaches "bounces" bounces 1
awk 'BEGIN { for (i = 1; i <= 7; i++) print "tcpserver: deny " i " mx:127.0.0.1:25 :192.0.2.1::4711" }' >>"$smtpd/current"
reaches "rejections" rejections 7

# Lines that come while no engine runs are read by the next one, once.
stop_daemon
deliver 401 450 success
start_daemon
reaches "after a restart nothing is lost and nothing counts twice: lines" deliveries 50
like "from where the one before had stood" "$(spillway probes)" "log: $send: 350 lines"
engine=$(child_of engine)
sleep 1.5 # its place is kept once a second
kill -9 "$engine"
wait_for 8000 sh -c "! kill -0 $engine"
deliver 451 460 success
wait_for 8000 spillway status
reaches "after kill -9, too" deliveries 10

if [ "$(id -u)" -eq 0 ]; then
	# As an engine without privilege: another user, who may not pass the directory.
	stop_daemon
	chmod 700 "$send"
	test_user=nobody
	rm -rf "$work/run" "$work/state"
	make_conf <<-E2
		probes = { logs = { send = [ "$send" ]; every = "200ms"; }; };
	E2
	start_daemon
	is "a log that may not be read is unknown" "$(field readings deliveries text)" unknown
	is "which is said once" "$(grep -c "cannot read $send.*service.groups" "$work/daemon.log")" 1
	chmod 755 "$send"
	chmod 644 "$send/current"
	known() { [ "$(field readings deliveries text)" != unknown ]; }
	wait_for 8000 known
	is "and known again when it may" $? 0
fi
finish
