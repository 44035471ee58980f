#!/bin/sh
# SPDX-License-Identifier: ISC
#
# doctor - a healthy host gives no complaint; then each thing is broken, one at a time, and must be found

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

host=$work/host # instead of /
me=$(id -un)
export SPILLWAY_DOCTOR_ROOT="$host"

# --- a healthy host --------------------------------------------------------------------------------

put() { # PATH: stdin, below $host
	mkdir -p "$host/$(dirname "$1")"
	cat >"$host/$1"
}

# A process in a /proc of our own: PID COMM ARGUMENTS ENVIRONMENT, words separated by blanks.
process() {
	echo "$2" | put "proc/$1/comm"
	printf '%s ' "$3" | tr ' ' '\0' | put "proc/$1/cmdline"
	printf '%s ' "$4" | tr ' ' '\0' | put "proc/$1/environ"
}

write_conf() { # [more of section service]
	cat >"$conf" <<E
qmail = { home = "$home"; };
service = { user = ""; groups = [ ]; plugin_users = [ "$me" ]; lease = "3s"; ${1-}
	run_dir = "$work/run"; state_dir = "$work/state"; };
levels = { hold = "500ms"; release = "2s"; };
E
	chmod 644 "$conf"
}

write_plugins() {
	printf '# comment\n[connection]\n[helo]\n[auth]\n[mail]\n%s/plugins/spillway-mail\n[rcpt]\n' "$home" \
		>"$home/control/smtpplugins"
}

server() { # more environment
	process 4711 tcpsvd "tcpsvd 0 smtp $home/bin/qmail-smtpd" "PATH=/bin $*"
}

make_home --split
write_conf
write_plugins
# Where the command believes the plugin to be installed is told by setup.
plugin=$(SPILLWAY_SETUP_ROOT=$work/nothing spillway setup 2>&1 | sed -n "s|^spillway: $work/nothing\(.*\)/sbin/spillwayd: .*|\1|p")
plugin=$plugin/lib/spillway/spillway-plugin
mkdir -p "$host/$(dirname "$plugin")" && cp "$B/spillway-plugin" "$host/$plugin"
server ENABLE_SPP=
process 1 init /sbin/init PATH=/bin
put etc/crontab <<'E'
# a comment on /var/qmail/control/overloaded does no harm
17 * * * * root run-parts /etc/cron.hourly
E
echo 100000 | put proc/sys/fs/inotify/max_user_watches
echo 128 | put proc/sys/fs/inotify/max_user_instances
echo 512 | put proc/sys/net/unix/max_dgram_qlen
start_daemon

# --- asking ----------------------------------------------------------------------------------------

look() {
	timeout 60 "$B/spillway" -c "$conf" doctor >"$work/out" 2>"$work/err"
	code=$?
}

found() { # NAME STATUS CHECK REGEX: after look
	like "$1" "$(grep "^$2 *$3: " "$work/out")" "$4"
}

# Look, and find just this, and the exit code that goes with it.
finds() { # NAME STATUS CHECK REGEX
	look
	found "$@"
	case $2 in
	bad) [ "$code" -eq 1 ] ;;
	*) [ "$code" -eq 0 ] ;;
	esac
	ok "$1: exit code" $?
}

look
is "healthy: exit code" "$code" 0
is "healthy: nothing is bad" "$(grep '^bad' "$work/out")" ""
# The run directory of a test is where tests are.
is "healthy: no warning" "$(grep '^warn' "$work/out" | grep -v '^warn  run_dir: ')" ""
is "healthy: nothing on stderr" "$(cat "$work/err")" ""
for c in config names user reload home control flag queue plugins plugin plugin-run old-plugin auth-plugin server spp \
	state cron relayd inotify events daemon; do
	found "healthy: $c was looked at" ok "$c" .
done
found "healthy: the layout is seen" ok queue 'todo, which has 23 parts \(big-todo\)'
found "healthy: our plugin is known" ok plugin 'smtpplugins:6: \[mail\] .*plugins/spillway-mail is ours, as installed; 0 of \[mail\] run before it'
found "healthy: it was tried" ok plugin-run "runs as $([ "$me" = root ] && echo 'uid 0' || echo "$me"): it lets in a stranger"
found "healthy: a run directory elsewhere is told" warn run_dir 'is not the default /run/spillway'
is "its trials of the plugin count for no refusal" "$(field refused)" 0

spillway --json doctor >"$work/json"
is "JSON: ok" "$(json ok <"$work/json")" true
is "JSON: as many checks as lines" "$(grep -c '^      "name": ' "$work/json")" "$(grep -c '^[a-z]' "$work/out")"
like "JSON: name, status, text, advice" "$(tr -d '\n' <"$work/json")" \
	'\{ *"name": "config", *"status": "ok", *"text": "[^"]* is valid", *"advice": "" *\}'
spillway doctor now >/dev/null 2>&1
is "arguments are wrong usage" $? 100

# --- configuration and user ------------------------------------------------------------------------

cp "$conf" "$work/good.conf"
restore_conf() {
	cp "$work/good.conf" "$conf"
	chmod 644 "$conf"
}

echo 'levels = { hodl = "1s"; };' >>"$conf"
finds "a wrong configuration" bad config 'spillway.conf:5: .*already exists|hodl|duplicate'
rm "$conf"
finds "no configuration" bad config 'No such file'
restore_conf
chmod 666 "$conf"
finds "a configuration that everybody can change" bad config 'can be changed by others than root .*mode 0666'
restore_conf
write_conf 'operators = [ "no-such-user", "@no-such-group" ];'
finds "names that do not exist" warn names 'no-such-user, @no-such-group$'
restore_conf
sed -i 's/user = ""/user = "no-such-user"/' "$conf"
finds "no user" bad user 'service.user is no-such-user: there is no such user'
restore_conf
sed -i "s/user = \"\"; groups = \[ \]/user = \"$me\"; groups = [ \"no-such-group\" ]/" "$conf"
finds "no group" bad user 'service.groups names no-such-group'
restore_conf

# --- home and queue --------------------------------------------------------------------------------

sed -i "s|home = \"$home\"|home = \"$work/elsewhere\"|" "$conf"
finds "no home" bad home "$work/elsewhere/control: no such directory"
restore_conf
mv "$home/bin/qmail-smtpd" "$work/smtpd"
finds "no qmail-smtpd" warn home 'bin/qmail-smtpd: No such file'
mv "$work/smtpd" "$home/bin/qmail-smtpd"
chmod o+w "$home/control"
finds "control/ for everybody" bad control 'control can be written by everybody'
chmod o-w "$home/control"
if [ "$me" = root ]; then
	chown 12345 "$home/control"
	finds "control/ of somebody else" bad control 'control belongs to uid 12345; allowed: root'
	chown root "$home/control"
else
	skip "control/ of somebody else" "needs root"
fi

touch "$home/control/overloaded"
finds "an operator's flag" warn flag "control/overloaded is an operator's"
found "an operator's flag: the plugin refuses, and does so well" ok plugin-run 'it refuses, for a flag is there, a stranger'
rm -f "$home/control/overloaded"

if [ "$me" != root ]; then
	chmod 0 "$home/queue/todo/7"
	finds "a part of the queue that can't be read" bad queue 'queue/todo/7 can.t be read .*: Permission denied'
	chmod 750 "$home/queue/todo/7"
	skip "the queue is looked at as the daemon's user" "needs root"
elif id -u daemon >/dev/null 2>&1; then
	sed -i 's/user = ""/user = "daemon"/' "$conf"
	chmod 700 "$home/queue/todo"
	finds "the queue is looked at as the daemon's user" bad queue 'queue/mess can.t be read .*: Permission denied'
	chgrp -R daemon "$home/queue" && chmod 750 "$home/queue/todo"
	sed -i 's/groups = \[ \]/groups = [ "daemon" ]/' "$conf"
	finds "with its group it can be read" ok queue 'queue: who watches it can read mess, in 23 parts, and todo'
	chmod 600 "$conf"
	finds "the daemon's user can't read the configuration" bad reload 'daemon.s user can.t read .*: Permission denied'
	restore_conf
else
	skip "the queue is looked at as the daemon's user" "there is no user daemon here"
fi
mv "$home/queue/todo" "$home/queue/todo.away"
look
found "no todo at all" bad queue 'queue/todo can.t be read .*: No such file'
blind() { # yes|no
	[ "$(spillway probes | grep -q UNKNOWN && echo yes || echo no)" = "$1" ]
}
wait_for 3000 blind yes
look
found "a probe that sees nothing is told" bad daemon 'probe queue sees nothing: '
mv "$home/queue/todo.away" "$home/queue/todo"
wait_for 40000 blind no

# --- control/smtpplugins ---------------------------------------------------------------------------

mv "$home/control/smtpplugins" "$work/smtpplugins"
finds "no smtpplugins" bad plugins 'control/smtpplugins: No such file'
mv "$work/smtpplugins" "$home/control/smtpplugins"

add_line() { # SECTION LINE
	write_plugins
	awk -v heading="[$1]" -v line="$2" '{ print } $0 == heading { print line }' "$home/control/smtpplugins" \
		>"$work/with-line" && cp "$work/with-line" "$home/control/smtpplugins"
}

add_line rcpt plugins/missing
finds "a plugin that is missing" bad plugins 'smtpplugins:8: \[rcpt\] plugins/missing: No such file'
like "it says what that means" "$(cat "$work/out")" 'every client gets "451 qmail-spp failure"'
echo 'exit 0' >"$home/plugins/other"
write_plugins
printf '[data]\nplugins/other\n' >>"$home/control/smtpplugins"
finds "a plugin that is not executable" bad plugins '\[data\] plugins/other: not executable'
chmod 755 "$home/plugins/other"
finds "a script without #!" bad plugins 'plugins/other: neither a program nor a script'
printf '#!/no/such/interpreter\n' >"$home/plugins/other"
finds "a script without its interpreter" bad plugins 'plugins/other: its interpreter'
printf '#!/bin/sh\nexit 0\n' >"$home/plugins/other"
finds "a good script" ok plugins '2 programs, all can be executed; 0 shell commands'
add_line rcpt ':no such command'
finds "a shell command is left alone" ok plugins '1 programs, all can be executed; 1 shell commands'
add_line rcpt '[Mail]\nplugins/other'
finds "a section that is none" warn plugins 'smtpplugins:9: plugins/other is in no section'
add_line auth plugins/other
finds "a plugin at AUTH" warn auth-plugin 'smtpplugins:5: plugins/other runs at AUTH'
add_line mail plugins/other
finds "who runs before ours is told" ok plugin 'spillway-mail is ours, as installed; 1 of'
cat >"$home/plugins/other" <<'E'
#!/bin/sh
if [ -f /var/qmail/control/overloaded ]; then
	if [ -z "$SMTPAUTHUSER" ]; then
		echo R451 Temporary Failure: Server overload
	fi
fi
E
add_line mail plugins/other
finds "the old shell plugin" warn old-plugin 'smtpplugins:6: plugins/other is a script that looks at control/overloaded'
add_line mail ':[ ! -f control/overloaded ] || echo R451 wait'
finds "a shell command of that kind" warn old-plugin 'smtpplugins:6: a shell command looks at control/overloaded'

printf '[mail]\n' >"$home/control/smtpplugins"
finds "no line for ours" bad plugin 'no line in \[mail\] that runs our plugin'
printf '[helo]\nplugins/overload\n' >"$home/control/smtpplugins"
finds "ours before AUTH" bad plugin 'smtpplugins:2: plugins/overload is in section \[helo\]'
printf '[mail]\nplugins/overload\n' >"$home/control/smtpplugins"
finds "ours under its old name" ok plugin '\[mail\] plugins/overload is ours, as installed'
printf '[rcpt]\nplugins/spillway-rcpt\n[mail]\nplugins/spillway-mail\n' >"$home/control/smtpplugins"
finds "ours where nothing is switched on" ok plugin 'spillway-rcpt is ours, as installed, but plugins.rcpt names no check'
ln -sf "$B/spillway-plugin" "$home/plugins/ipthrottle"
printf '[helo]\nplugins/ipthrottle\n[mail]\nplugins/spillway-mail\n' >"$home/control/smtpplugins"
finds "a check that may stand anywhere" ok plugin 'smtpplugins:2: \[helo\] plugins/ipthrottle is ours'
printf '[helo]\nplugins/ipthrottle\n' >"$home/control/smtpplugins"
finds "one that does not look for overload" bad plugin 'no line in \[mail\] that runs our plugin'
ln -sf "$B/spillway-plugin" "$home/plugins/spillway-male"
printf '[mail]\nplugins/spillway-male\n' >"$home/control/smtpplugins"
finds "ours under a name that it does not know" bad plugin 'our plugin does nothing under the name spillway-male'
write_plugins
rm "$home/plugins/spillway-mail"
{ cat "$B/spillway-plugin" && echo; } >"$home/plugins/spillway-mail"
chmod 755 "$home/plugins/spillway-mail"
finds "ours of another build" warn plugin 'spillway-mail is another build of our plugin than the installed'

# --- it is run -------------------------------------------------------------------------------------

# A program that passes for ours, as a bad build would.
impostor() { # PROGRAM
	rm -f "$home/plugins/spillway-mail"
	{ cat "/usr/bin/$1" && echo spillway- control/overloaded SPILLWAY_RUN_DIR; } >"$home/plugins/spillway-mail"
	chmod 755 "$home/plugins/spillway-mail"
}
impostor false
finds "ours fails" bad plugin-run 'spillway-mail, run as .*, ends with exit code 1'
impostor yes
begin=$(now_ms)
finds "ours does not end" bad plugin-run 'spillway-mail, run as .*, does not end within 1000 ms'
within "... and that keeps nobody waiting" $(($(now_ms) - begin)) 0 6000
impostor uname
finds "ours prints one line" ok plugin-run 'it refuses'
if [ "$me" = root ] && id -u daemon >/dev/null 2>&1; then
	sed -i 's/plugin_users = .*; lease/plugin_users = [ "root", "daemon" ]; lease/' "$conf"
	impostor whoami
	finds "it is run as the user of qmail-smtpd" ok plugin-run 'runs as daemon'
	chmod 700 "$home/plugins/spillway-mail"
	finds "it can't be executed by the user of qmail-smtpd" bad plugins 'spillway-mail: not executable for who runs it'
	chmod 640 "$home/control/smtpplugins"
	finds "smtpplugins can't be read by the user of qmail-smtpd" bad plugins 'smtpplugins: Permission denied'
	chmod 644 "$home/control/smtpplugins"
	chmod 700 "$work/run"
	finds "the state can't be read by the user of qmail-smtpd" bad state 'plugins can.t read the published state .*: Permission denied'
	chmod 755 "$work/run"
	restore_conf
else
	skip "it is run as the user of qmail-smtpd" "needs root and a user daemon"
fi
ln -sf "$B/spillway-plugin" "$home/plugins/spillway-mail.new" && mv "$home/plugins/spillway-mail.new" "$home/plugins/spillway-mail"
is "the host is as before" "$(look; echo "$code"; grep -c '^bad' "$work/out")" "0
0"

# --- server and qmail-spp --------------------------------------------------------------------------

server
finds "no ENABLE_SPP" warn spp 'tcpsvd \(pid 4711\) has no ENABLE_SPP'
process 4711 tcpsvd "tcpsvd 0 smtp env ENABLE_SPP= $home/bin/qmail-smtpd" PATH=/bin
finds "ENABLE_SPP by env(1)" ok spp 'has ENABLE_SPP'
server ENABLE_SPP= NOSPP=1
finds "NOSPP" bad spp 'has NOSPP'
server ENABLE_SPP= SPPCONFFILE=control/other
finds "SPPCONFFILE" warn spp 'has SPPCONFFILE=control/other'
process 4711 tcpsvd "tcpsvd 0 110 $home/bin/qmail-pop3d" "PATH=/bin"
finds "no server of qmail-smtpd" warn server 'no tcpsvd or tcpserver that serves qmail-smtpd|neither tcpsvd nor tcpserver runs'
found "no server of qmail-smtpd" warn spp 'whether ENABLE_SPP is set'
server ENABLE_SPP=
mv "$home/bin/qmail-smtpd" "$work/smtpd"
printf '#!/bin/sh\n# netqmail\n' >"$home/bin/qmail-smtpd"
chmod 755 "$home/bin/qmail-smtpd"
finds "a qmail-smtpd without qmail-spp" bad spp 'knows nothing of control/smtpplugins'
printf '#!/bin/sh\n# smtpplugins NOSPP\n' >"$home/bin/qmail-smtpd"
server
finds "a qmail-smtpd that always runs plugins" ok spp 'runs plugins without being asked to'
server ENABLE_SPP=
mv "$work/smtpd" "$home/bin/qmail-smtpd"

# --- cron, relayd, the kernel ----------------------------------------------------------------------

line='* * * * * root if [ 101 -gt 100 ]; then touch /var/qmail/control/overloaded; else rm -f /var/qmail/control/overloaded; fi'
for f in etc/cron.d/qmail var/spool/cron/crontabs/root var/spool/cron/root; do
	printf '# a comment\n%s\n' "$line" | put "$f"
	finds "the old cron line in $f" bad cron "$host/$f:2 names control/overloaded"
	rm "$host/$f"
done
cp "$host/etc/crontab" "$work/crontab"
echo "$line" >>"$host/etc/crontab"
finds "the old cron line in etc/crontab" bad cron "$host/etc/crontab:3 names"
cp "$work/crontab" "$host/etc/crontab"

mkfifo "$host/etc/cron.d/fifo" "$host/proc/4711/fifo"
ln -s /dev/zero "$host/etc/cron.d/zero"
mkdir "$host/etc/cron.d/folder"
printf '%s\n' "$line" >"$host/etc/cron.d/$(printf 'bad\033[31m\nok   cron: all is well')"
begin=$(now_ms)
look
within "FIFOs, devices and folders among crontabs keep nobody waiting" $(($(now_ms) - begin)) 0 6000
is "a name of bytes that a terminal obeys is made harmless" "$(tr -d '\n\40-\176' <"$work/out")" ""
found "... and stays in its line" bad cron 'bad.x1b.31m.x0aok   cron: all is well:1 names'
rm -rf "$host/etc/cron.d"

process 4712 relayd relayd PATH=/bin
finds "relayd runs" ok relayd 'a process relayd runs \(pid 4712\): rate limits'
rm -r "$host/proc/4712"
: >"$home/control/relayd.rules"
finds "relayd has rules" ok relayd 'control/relayd.rules is there'
rm "$home/control/relayd.rules"
like "what that means is told as it is" "$(cat "$work/out")" 'keep relayd, ipthrottle and userthrottle'

echo 50 | put proc/sys/fs/inotify/max_user_watches
finds "too few watches" bad inotify 'max_user_watches is 50, the queue needs 48'
echo 100000 | put proc/sys/fs/inotify/max_user_watches
echo 1 | put proc/sys/fs/inotify/max_user_instances
finds "too few instances" bad inotify 'max_user_instances is 1$'
echo 128 | put proc/sys/fs/inotify/max_user_instances
echo 10 | put proc/sys/net/unix/max_dgram_qlen
finds "a short queue of datagrams" warn events 'max_dgram_qlen is 10: '
echo 512 | put proc/sys/net/unix/max_dgram_qlen

# --- what does not answer --------------------------------------------------------------------------

begin=$(now_ms)
LD_PRELOAD=$preload FI_CALL=write FI_COMM=cron FI_DELAY_MS=60000 timeout 60 "$B/spillway" -c "$conf" doctor >"$work/out" 2>&1
within "a check that hangs, as on a dead disk, keeps nobody waiting for long, in milliseconds" $(($(now_ms) - begin)) 7000 12000
found "... and is told" warn cron 'no answer within 8000 ms'
found "... and what comes behind is looked at" ok daemon .

engine=$(child_of engine)
kill -STOP "$engine"
sleep 3.5
begin=$(now_ms)
look
within "a daemon that stands still keeps nobody waiting for long, in milliseconds" $(($(now_ms) - begin)) 5000 12000
kill -CONT "$engine"
wait_for 20000 spillway status
found "... and is told" bad daemon 'does not answer'
found "... and that its state is outdated" warn state 'is outdated'
is "... exit code" "$code" 1

spillway force overloaded --for 1m >/dev/null
wait_for 3000 test -f "$home/control/overloaded"
finds "our own flag, while the daemon runs" ok flag 'overloaded is ours: spillway overloaded since'
cp -p "$home/control/overloaded" "$work/flag"
kill -9 "$daemon" "$(child_of engine)" 2>/dev/null
stop_daemon
cp -p "$work/flag" "$home/control/overloaded"
rm -f "$work/run/state"
finds "no daemon" bad daemon 'cannot ask the daemon at .*control.sock'
found "our own flag that was left behind" bad flag 'was left behind by a daemon that is gone: spillway overloaded since'
found "no state is no trouble then" ok state 'nothing is published'

# --- with too few rights ---------------------------------------------------------------------------

if [ "$me" = root ] && command -v setpriv >/dev/null; then
	sed -i 's/user = ""/user = "daemon"/' "$conf"
	chmod 700 "$home/queue/todo"
	setpriv --reuid=65534 --regid=65534 --clear-groups timeout 60 "$B/spillway" -c "$conf" doctor >"$work/out" 2>&1
	found "who may not look does not call it bad" warn queue 'Permission denied.*looked at as uid 65534 instead of daemon: only root can'
else
	skip "who may not look does not call it bad" "needs root and setpriv"
fi

finish
