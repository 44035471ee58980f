#!/bin/sh
# SPDX-License-Identifier: ISC
#
# replay - the command on logs of real qmails and on made ones: what it prints, for people and programs, and its exit codes

. "${0%/*}/lib.sh"

samples=$root/tests/samples/logs
make_conf <<-E2
	limits = { ip = (("*", 60, 10)); };
	plugins = { connection = [ "ipthrottle" ]; };
	blocks = { ipsvd = { dir = "$work/inst"; timeout = "2m"; }; };
E2
strict=$conf
conf=$work/lenient.conf
make_conf </dev/null
lenient=$conf
conf=$strict

out=$(spillway replay "$samples/bounce-storm.qmail-send.notqmail.tai64n.log" "$samples/bounce-storm.tcpserver.notqmail.tai64n.log")
is "logs of a real qmail: exit code" $? 0
like "lines" "$out" '^1740 lines, 1740 understood'
like "mail" "$out" '180 messages, .*70 delivered, 0 put off, 140 failed, 110 bounces'
like "connections" "$out" '50 connections, 0 of them denied'
is "the order of the logs does not matter" "$(spillway replay "$samples/bounce-storm.tcpserver.notqmail.tai64n.log" \
	"$samples/bounce-storm.qmail-send.notqmail.tai64n.log" | tail -n +2)" "$(printf '%s\n' "$out" | tail -n +2)"
like "a log that qmail-smtpd writes to, too, is told" "$(spillway replay "$samples/tcpserver-concurrency-deny.tai64n.log")" \
	'addresses in it can be forged'

# A minute of a client that comes ten times a second, among others; and a flood of mail.
stamp() { # the awk function that both share: milliseconds from 2026-11-21, 12:00, on
	echo 'function at(ms) { return sprintf("2026-11-21_12:%02d:%02d.%03d ", ms / 60000, ms / 1000 % 60, ms % 1000) }'
}
mkdir "$work/inst"
awk "$(stamp)"'BEGIN { for (i = 0; i < 600; i++) {
	print at(i * 100) "tcpsvd: info: pid " i " from 198.51.100.7"
	if (i % 100 == 0) print at(i * 100) "tcpsvd: info: pid " i " from 198.51.100.8"
	if (i == 400) print at(i * 100) "qlogenvelope: result=accepted code=250 helo=x mailfrom=a@b localip=192.0.2.1" \
		" localport=25 remoteip=198.51.100.7 remoteport=43177 remotehost= qp=5 pid=" i
} }' >"$work/smtpd.log"
awk "$(stamp)"'BEGIN { for (i = 0; i < 9000; i++) {
	print at(i * 5) "new msg " i + 1; print at(i * 5) "info msg " i + 1 ": bytes 200 from <a@b> qp 1 uid 7791"
	if (i % 4 == 0) print at(i * 5) "end msg " i + 1
} print at(300000) "status: local 0/10 remote 0/20" }' >"$work/send.log"

out=$(spillway replay "$work/send.log" "$work/smtpd.log")
like "a flood would have closed the gate" "$out" 'times that the gate was closed +1$'
like "and says why" "$out" '2026-11-21T12:00:0[0-9]Z  .* up to overloaded, [0-9]+ put off: growth'
like "the client would have been turned away" "$out" 'connections turned away +589$'
like "one, whose mail was accepted" "$out" 'with accepted mail +1 \(1 mails then, 0 later\)'
like "he is named" "$out" '198\.51\.100\.7 +turned away 589 times'
like "what no log tells is told" "$out" 'its levels look at todo, todo_age, disk_free, too, which no log tells'
out=$(spillway replay --compare "$lenient" "$work/smtpd.log" "$work/send.log")
like "two configurations side by side" "$out" 'connections turned away +589 +0$'
like "of the same flood" "$out" 'times that the gate was closed +1 +1$'
json=$(spillway --json replay --compare "$lenient" "$work/smtpd.log" "$work/send.log")
is "JSON: lines" "$(printf '%s\n' "$json" | json lines)" $((607 + 20251))
is "JSON: both" "$(printf '%s\n' "$json" | grep -c '"config"')" 2
is "JSON: turned away" "$(printf '%s\n' "$json" | grep -c '"turned_away": 589,')" 2
spillway replay - <"$work/smtpd.log" >"$work/out"
like "from the standard input" "$(cat "$work/out")" 'connections turned away +589$'
mkdir "$work/dir"
multilog "$work/dir" <"$work/smtpd.log"
like "a directory of multilog" "$(spillway replay "$work/dir")" '^607 lines'

spillway replay "$work/missing" 2>"$work/err"
is "a log that is missing: exit code" $? 100
like "it is named" "$(cat "$work/err")" "cannot read $work/missing"
spillway replay 2>/dev/null
is "no log: exit code" $? 100
echo 'limits = 5;' >"$work/bad.conf"
spillway -c "$work/bad.conf" replay "$work/smtpd.log" 2>"$work/err"
is "a broken configuration is not replaced by defaults" $? 100
like "it is named" "$(cat "$work/err")" "$work/bad.conf:1"
spillway replay --compare "$work/bad.conf" "$work/smtpd.log" 2>/dev/null
is "nor is the one to compare with" $? 100
sed 's/^[^ ]* //' "$work/send.log" >"$work/plain.log"
spillway replay "$work/plain.log" 2>"$work/err"
is "without time stamps: exit code" $? 100
like "what to do" "$(cat "$work/err")" 'time stamps.*multilog or svlogd'
echo nonsense >"$work/nonsense"
spillway replay "$work/nonsense" 2>/dev/null
is "nothing that is understood: exit code" $? 1
finish
