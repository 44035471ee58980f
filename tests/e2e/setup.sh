#!/bin/sh
# SPDX-License-Identifier: ISC
#
# setup - what it would do, does, does not do twice, and takes back; below a folder instead of /, nothing of the system is run

. "$(dirname -- "$0")/lib.sh"

host=$work/host # instead of /
me=$(id -un)
export SPILLWAY_SETUP_ROOT="$host" SPILLWAY_SHARE="$root/etc"
prefix=$(spillway setup 2>&1 | sed -n "s|^spillway: $host\(.*\)/sbin/spillwayd: .*|\1|p")
plugin=$host$prefix/lib/spillway/spillway-plugin
ours=$home/plugins/spillway-mail
lines=$home/control/smtpplugins

# --- a host that has never seen us -----------------------------------------------------------------

new_host() {
	rm -rf "$host" "$home" "$work/run"
	make_home --plain
	rm -rf "$home/plugins"
	mkdir -p "$host$prefix/sbin" "$host$prefix/bin" "$(dirname "$plugin")" "$host/etc/sv" "$host/etc/service"
	cp "$B/spillwayd" "$host$prefix/sbin" && cp "$B/spillway" "$host$prefix/bin" && cp "$B/spillway-plugin" "$plugin"
	printf '# ours\n[connection]\n\n[mail]\n/bin/true\n[rcpt]\n/bin/true\n' >"$lines"
	chmod 640 "$lines"
	write_conf
}

write_conf() {
	mkdir -p "$host/etc/spillway"
	cat >"$host/etc/spillway/spillway.conf" <<E
qmail = { home = "$home"; };
service = { plugin_users = [ "$me" ]; run_dir = "$work/run"; };
E
}

# All files with mode, owner, and content or target; what setup keeps in any case is left out.
picture() {
	find "$host" "$home" -path "$home/queue" -prune -o ! -type d -printf '%p %m %U:%G %l\n' -type f \
		-exec cksum {} + | sort
}

setup() {
	"$B/spillway" setup "$@" >"$work/out" 2>"$work/err"
	code=$?
}

said() { # NAME REGEX
	like "$1" "$(cat "$work/out" "$work/err")" "$2"
}

quiet() { # NAME: nothing on stderr, exit code 0
	is "$1: exit code and complaints" "$code $(cat "$work/err")" "0 "
}

# --- the whole way ---------------------------------------------------------------------------------

new_host
picture >"$work/before"
setup
is "a look: exit code, for there is something to do" "$code" 1
said "a look: the user" '^ 1\. todo  make the system user spillway, in group qmail'
said "a look: the configuration is there" '^ 2\. done  the configuration .*/etc/spillway/spillway.conf is there'
said "a look: the links" "^ 3\\. todo  link $ours to $plugin"
said "a look: the line" "^ 5\\. todo  put $ours into $lines, as the first of section \\[mail\\]"
said "a look: the service" '^ 9\. todo  link .*/etc/service/spillway to .*/etc/sv/spillway'
said "a look: what only a person can do" 'ENABLE_SPP=1 and export ENABLE_SPP'
said "a look: it says how to go on" 'Nothing has been changed: .spillway setup --yes. does'
picture >"$work/after"
is "a look changes nothing" "$(diff "$work/before" "$work/after")" ""

setup --yes
quiet "done"
said "done: the user is made by a program that is shown, and not run here" \
	'# useradd --system --no-create-home .* --shell [a-z/]* --user-group --groups qmail spillway   \(not run\)'
said "done: the plugin is tried before its line is put in" '^ 5\. done  the plugin was tried as qmail-spp runs it'
is "done: our line is the first of [mail], all else is as it was" "$(cat "$lines")" "# ours
[connection]

[mail]
$ours
/bin/true
[rcpt]
/bin/true"
is "done: mode as before" "$(stat -c %a "$lines")" 640
is "done: a copy of what was" "$(cat "$lines.before-spillway")" "$(sed "\\|^$ours|d" "$lines")"
is "done: links" "$(readlink "$ours") $(readlink "$home/plugins/overload")" "$plugin $plugin"
is "done: the plugin runs as qmail-spp runs it" "$(stranger spillway-mail)" pass
is "done: the service is linked" "$(readlink "$host/etc/service/spillway")" "$host/etc/sv/spillway"
for f in run finish log/run; do
	is "done: $f is executable, and knows where we are" \
		"$(stat -c %a "$host/etc/sv/spillway/$f") $(sh -n "$host/etc/sv/spillway/$f" && grep -c '@PREFIX@' "$host/etc/sv/spillway/$f")" "755 0"
done
like "done: run starts the installed daemon" "$(cat "$host/etc/sv/spillway/run")" "^exec $prefix/sbin/spillwayd\$"
is "done: no leftovers" "$(find "$host" "$home" -name '*.setup' -o -name '*.new')" ""

picture >"$work/before-again"
setup --yes
quiet "twice"
picture >"$work/after"
is "twice: nothing changes" "$(diff "$work/before-again" "$work/after")" ""
said "twice: the line is there" 'done  .*smtpplugins:5 runs our plugin'

setup --undo
is "a look at undo: exit code, for there is something to do" "$code" 1
picture >"$work/after"
is "a look at undo changes nothing" "$(diff "$work/before-again" "$work/after")" ""
setup --undo --yes
quiet "undo"
picture >"$work/after"
is "undo: all is as it was, to the byte" "$(diff "$work/before" "$work/after")" ""
said "undo: the configuration is kept, and how to delete it" '^  rm .*/etc/spillway/spillway.conf'
said "undo: the history too" '^  rm -r /var/lib/spillway'
setup --undo
is "undo twice: nothing to do" "$code $(grep -c todo "$work/out")" "0 0"

# --- control/smtpplugins in other shapes -----------------------------------------------------------

shape() { # NAME, BEFORE, WANTED; with printf's escapes
	new_host
	if [ "$2" = none ]; then rm -f "$lines"; else printf %b "$2" >"$lines"; fi
	setup --yes
	printf %b "$3" >"$work/wanted"
	is "$1: the line" "$(od -c "$lines" | head -n 40)" "$(od -c "$work/wanted" | head -n 40)"
	setup --undo --yes
	if [ "$2" = none ]; then printf '[mail]\n' >"$work/wanted"; else printf %b "$2" >"$work/wanted"; fi
	is "$1: and back" "$(od -c "$lines" | head -n 40)" "$(od -c "$work/wanted" | head -n 40)"
}

# A missing file stays made: without one, a qmail-spp that is switched on answers 421 to everybody.
shape "no file" none "[mail]\n$ours\n"
shape "an empty file" '' "[mail]\n$ours\n"
shape "no section [mail]" '[rcpt]\n/bin/true\n' "[rcpt]\n/bin/true\n[mail]\n$ours\n"
shape "no newline at the end" '[rcpt]\n/bin/true' "[rcpt]\n/bin/true\n[mail]\n$ours\n"
shape "[mail] without newline" '[mail]' "[mail]\n$ours\n"
shape "[m] is [mail] too" '[m] x\n/bin/true\n' "[m] x\n$ours\n/bin/true\n"
shape "[Mail] is not" '[Mail]\n/bin/true\n' "[Mail]\n/bin/true\n[mail]\n$ours\n"
shape "[mail] twice" '[mail]\n/bin/true\n[rcpt]\n[mail]\n/bin/false\n' \
	"[mail]\n$ours\n/bin/true\n[rcpt]\n[mail]\n/bin/false\n"
shape "comments and blanks" '#[mail]\n  \n[mail]  \t\n  # x\n' "#[mail]\n  \n[mail]  \t\n$ours\n  # x\n"
shape "DOS line ends" '[mail]\r\n/bin/true\r\n' "[mail]\r\n$ours\n/bin/true\r\n"

new_host
setup --yes
printf '# a line of mine\n' >>"$lines"
setup --undo --yes
is "changed since: only our line goes" "$(tail -n 4 "$lines")" "/bin/true
[rcpt]
/bin/true
# a line of mine"
[ -f "$lines.before-spillway" ]
ok "changed since: the copy stays" $?

new_host
mkdir "$home/plugins" && ln -s "$plugin" "$home/plugins/overload"
printf '[mail]\nplugins/overload\n' >"$lines"
setup --yes
quiet "ours is there by hand, under its old name"
is "... that will do" "$(cat "$lines")" "[mail]
plugins/overload"
setup --undo --yes
said "... undo does not take away what a line still names" "keep  $home/plugins/overload: line 2 of .* runs it"
is "... for that would be a 451 for everybody" "$(stranger overload)" pass

new_host
mkdir "$home/plugins"
printf '#!/bin/sh\n[ ! -f /var/qmail/control/overloaded ] || echo R451 wait\n' >"$home/plugins/overload"
chmod 755 "$home/plugins/overload"
printf '[mail]\nplugins/overload\n' >"$lines"
cp "$home/plugins/overload" "$work/old"
setup --yes
quiet "the old shell plugin"
is "... is not touched" "$(cmp "$home/plugins/overload" "$work/old")" ""
is "... ours comes before it" "$(cat "$lines")" "[mail]
$ours
plugins/overload"
said "... and what to do about it is told" '^warn  old-plugin: .*plugins/overload is a script'
setup --undo --yes
is "... and undo leaves it" "$(cat "$lines"; cmp "$home/plugins/overload" "$work/old")" "[mail]
plugins/overload"

new_host
mkdir -p "$host/etc/cron.d"
echo '* * * * * root touch /var/qmail/control/overloaded' >"$host/etc/cron.d/qmail"
setup
said "the old cron line is told" '^bad   cron: .*etc/cron.d/qmail:1 names control/overloaded'

# --- refusals --------------------------------------------------------------------------------------

stops() { # NAME CODE REGEX: setup --yes, and the line must not be in
	setup --yes
	is "$1: exit code" "$code" "$2"
	said "$1: why" "$3"
	is "$1: no line" "$(grep -c spillway-mail "$lines" 2>/dev/null)" 0
}

new_host
cp /bin/false "$plugin"
stops "a plugin that fails" 111 'setup stopped at .*ends with exit code 1: so no line for it is put in'
new_host
mkdir "$home/plugins" && cp /bin/true "$ours"
stops "its place is taken" 111 'spillway-mail is taken'
new_host
mkdir "$home/plugins" && chmod o+w "$home/plugins"
stops "plugins/ that everybody can write" 111 'plugins can be written by everybody'
new_host
chmod o+w "$home/control"
stops "control/ that everybody can write" 100 'control can be written by everybody'
new_host
mv "$lines" "$work/elsewhere" && ln -s "$work/elsewhere" "$lines"
stops "smtpplugins is a link" 111 'is a link or no file; put the line .* by hand'
new_host
rm "$lines" && mkfifo "$lines"
setup --yes
is "smtpplugins is a FIFO: exit code" "$code" 111
new_host
rm -r "$home/queue"
stops "no qmail" 100 'queue: no such directory; is qmail there'
new_host
rm "$plugin"
stops "not installed" 100 'spillway-plugin: No such file or directory; .make install. puts it there'
new_host
echo 'nonsense = 1;' >>"$host/etc/spillway/spillway.conf"
stops "a wrong configuration" 100 'unknown key.*put it right first'
new_host
setup --service upstart
is "a supervisor that we do not know" "$code $(cat "$work/err")" \
	"100 spillway: --service upstart: allowed: systemd, runit, daemontools, none"
setup everything
is "arguments are wrong usage" "$code" 100
if [ "$me" = root ]; then
	set -- setpriv --reuid=65534 --regid=65534 --clear-groups
else
	set --
fi
env -u SPILLWAY_SETUP_ROOT "$@" "$B/spillway" setup --yes >"$work/out" 2>"$work/err"
is "not root: exit code" $? 100
said "not root: why" 'only root may'

# --- supervisors -----------------------------------------------------------------------------------

new_host
mkdir -p "$host/run/systemd/system"
setup --yes
quiet "systemd"
unit=$host/etc/systemd/system/spillway.service
like "systemd: the unit starts the installed daemon" "$(cat "$unit")" "^ExecStart=$prefix/sbin/spillwayd\$"
like "systemd: it may write into the control/ of this home" "$(cat "$unit")" "^ReadWritePaths=$home/control -/var/lib/spillway\$"
said "systemd: it is enabled" '# systemctl enable --now spillway.service   \(not run\)'
is "systemd: no other supervisor is bothered" "$(find "$host/etc/sv" "$host/etc/service" -name spillway)" ""
echo '# mine' >>"$unit"
setup --yes
said "systemd: a unit that was changed is kept" "keep  $unit differs from .*systemd/spillway.service"
is "systemd: ... as it is" "$(tail -n 1 "$unit")" "# mine"
setup --undo --yes
said "systemd: it is stopped first" '# systemctl disable --now spillway.service   \(not run\)'
is "systemd: undo takes it away" "$(ls "$host/etc/systemd/system")" ""

new_host
mkdir -p "$host/service" "$host/proc/99"
echo svscan >"$host/proc/99/comm"
setup --yes
quiet "daemontools"
is "daemontools: linked to /service" "$(readlink "$host/service/spillway")" "$host/etc/spillway/daemontools"
is "daemontools: executable" "$(stat -c %a "$host/etc/spillway/daemontools/run" "$host/etc/spillway/daemontools/log/run" | tr '\n' ' ')" "755 755 "
setup --undo --yes
is "daemontools: undo takes it away" "$(ls "$host/service"; ls "$host/etc/spillway")" spillway.conf

new_host
rm -r "$host/etc/sv"
setup --yes
quiet "no supervisor"
said "no supervisor: what to do" 'none was found .*: have yours run .*/sbin/spillwayd in the foreground'
new_host
setup --yes --service none
said "--service none" 'no supervisor is set up: have yours run'
is "--service none: none" "$(ls "$host/etc/sv")" ""
new_host
rm -r "$host/etc/service"
setup --yes --service runit
is "--service runit, but no directory of services: exit code" "$code" 111
new_host
printf '#!/bin/sh\n# mine\n' >"$work/mine"
mkdir -p "$host/etc/sv/spillway" && cp "$work/mine" "$host/etc/sv/spillway/run"
setup --yes
is "a run script that was there is kept" "$(cmp "$host/etc/sv/spillway/run" "$work/mine")" ""

# --- the configuration -----------------------------------------------------------------------------

# At another place, and not there yet: made from the example.  Its home is the default one, so setup goes no further here.
new_host
rm "$host/etc/spillway/spillway.conf"
printf 'qmail = { home = "%s"; };\nservice = { user = ""; run_dir = "%s"; };\n' "$home" "$work/run" >"$work/other.conf"
"$B/spillway" -c "$work/other.conf" setup --yes >"$work/out" 2>"$work/err"
is "a configuration elsewhere: exit code" $? 0
like "... goes into run" "$(cat "$host/etc/sv/spillway/run")" "^exec $prefix/sbin/spillwayd -c $work/other.conf\$"
like "... and into neutral" "$(cat "$host/etc/sv/spillway/finish")" "^$prefix/bin/spillway -c $work/other.conf neutral --offline\$"
said "... whose user needs not be made" 'service.user is empty: no user is needed'
"$B/spillway" -c "$work/with blank" setup >"$work/out" 2>"$work/err"
is "a path that a shell reads otherwise: exit code" $? 100

# The example: every key, and exactly the defaults.
: >"$work/empty.conf"
"$B/spillway" check "$root/etc/spillway.conf" >"$work/out" 2>"$work/err"
is "the example is valid" "$? $(cat "$work/err")" "0 "
is "the example gives the defaults" "$("$B/spillway" -c "$root/etc/spillway.conf" check --effective)" \
	"$("$B/spillway" -c "$work/empty.conf" check --effective)"
# Not only by leaving keys out: words of the effective configuration that the example does not have.
is "the example names every key" "$("$B/spillway" -c "$work/empty.conf" check --effective | sed -n 's/^	*\([a-z_]*\) = .*/\1/p' |
	sort -u | while read -r key; do grep -qE "(^|[ 	])$key = " "$root/etc/spillway.conf" || echo "$key"; done)" ""
is "the example of smtpplugins has our line as the first of [mail]" \
	"$(sed -n '/^\[mail\]/,/^\[rcpt\]/p' "$root/etc/smtpplugins" | grep -v '^#' | sed -n 2p)" /var/qmail/plugins/spillway-mail

finish
