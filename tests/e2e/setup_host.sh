#!/bin/sh
# SPDX-License-Identifier: ISC
#
# setup_host - setup on a whole host: users, services and all, at their real places
#
# Of a throw-away kind: an overlay over this machine's files, with processes and network of its own, which all end with the
# test.  Nothing of it reaches the machine itself; needs root, and a kernel that lets it.

# Outside: make that host, and run this script again in it.
if [ "${1-}" != --inside ]; then
	. "$(dirname -- "$0")/lib.sh"
	[ "$(id -u)" = 0 ] || {
		skip "setup on a whole host" "needs root"
		finish
	}
	cat >"$work/enter" <<'E'
set -e
top=$1 root=$2 script=$3
mount -t tmpfs -o size=256m none "$top"
mkdir "$top/up" "$top/work" "$top/host"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/up,workdir=$top/work" "$top/host"
: >"$top/host/etc/spillway-test-host"
mount -t proc proc "$top/host/proc"
mount --rbind /dev "$top/host/dev"
mount -t tmpfs none "$top/host/run"
mount -t tmpfs none "$top/host/tmp"
mkdir -p "$top/host/var/qmail" "$top/host$root" "$top/host$B"
mount -t tmpfs none "$top/host/var/qmail"
mount --rbind "$root" "$top/host$root"
mount --rbind "$B" "$top/host$B"
ip link set lo up 2>/dev/null || :
exec chroot "$top/host" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin B="$B" "$script" --inside
E
	mkdir "$work/top"
	new_host="unshare --mount --pid --fork --net --propagation private --kill-child"
	# shellcheck disable=SC2086,SC2016 # words; the inner shell expands
	if ! $new_host sh -c 'mount -t tmpfs none "$1" && mkdir "$1/u" "$1/w" "$1/m" &&
		mount -t overlay overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" "$1/m"' sh "$work/top" 2>/dev/null; then
		skip "setup on a whole host" "no overlay in a namespace of its own is allowed here"
		finish
	fi
	# shellcheck disable=SC2086
	timeout 300 $new_host sh "$work/enter" "$work/top" "$root" "$root/tests/e2e/setup_host.sh" </dev/null
	exit
fi

# Inside.  From here on real places are changed, so be sure where we are.
[ -f /etc/spillway-test-host ] && [ "$$" -lt 100 ] || exit 111
. "$(dirname -- "$0")/lib.sh"
unset SPILLWAY_RUN_DIR
home=/var/qmail
flag=$home/control/overloaded
PATH=$PATH:/command

for g in qmail nofiles; do
	getent group $g >/dev/null || groupadd --system $g
done
id -u qmaild >/dev/null 2>&1 || useradd --system --no-create-home --gid nofiles qmaild
userdel spillway 2>/dev/null
rm -rf /etc/spillway /etc/sv/spillway /etc/service /service /var/lib/spillway /var/log/spillway
mkdir -p /etc/sv /etc/service
"$root/tests/standin/mkhome.sh" $home --split >/dev/null || exit 111
chown -R root:qmail $home/queue $home/control

# As `make install` does.
prefix=$("$B/spillway" setup 2>&1 | sed -n "s|^spillway: \(.*\)/sbin/spillwayd: .*|\1|p")
[ -n "$prefix" ] || prefix=/usr/local # there is one installed on this machine
mkdir -p "$prefix/sbin" "$prefix/bin" "$prefix/lib/spillway" "$prefix/share/spillway"
rm -rf "$prefix/share/spillway"
cp "$B/spillwayd" "$prefix/sbin" && cp "$B/spillway" "$prefix/bin" && cp "$B/spillway-plugin" "$prefix/lib/spillway"
cp -R "$root/etc" "$prefix/share/spillway"
find "$prefix/share/spillway" -type f -exec sed -i "s|@PREFIX@|$prefix|g" {} +

spillway() {
	"$prefix/bin/spillway" "$@"
}

closed() {
	[ -e "$flag" ]
}

open() {
	[ ! -e "$flag" ]
}

daemons() {
	pgrep -x 'spillwayd|engine|recorder' | wc -l
}

no_daemons() {
	[ "$(daemons)" = 0 ]
}

# What a real client of a real server gets for MAIL.
mail_from_a_stranger() {
	swaks --server 127.0.0.1 --port 2525 --helo client.test --from a@remote.test --to b@example.test --quit-after MAIL 2>&1 |
		awk '/^ -> MAIL/ { asked = 1 } asked && /^<.. / { sub(/^<.. */, ""); sub(/\r$/, ""); print; exit }'
}

if command -v tcpsvd >/dev/null && command -v swaks >/dev/null; then
	ENABLE_SPP=1 QMAIL_HOME=$home tcpsvd -l mx.test -u qmaild 127.0.0.1 2525 $home/bin/qmail-smtpd 2>"$work/smtpd.log" &
	served=yes
else
	served=no
fi

# --- one supervisor after the other ----------------------------------------------------------------

whole_way() { # NAME
	spillway doctor >"$work/out" 2>&1
	is "$1: before: doctor's exit code" $? 1
	like "$1: before: doctor" "$(cat "$work/out")" '^bad   plugin: .*no line in \[mail\]'

	spillway setup --yes >"$work/out" 2>&1
	is "$1: setup: exit code" $? 0
	wait_for 15000 spillway status
	ok "$1: setup: the supervisor has started it" $?
	like "$1: the user: no home, no shell, group qmail" "$(getent passwd spillway) $(id -nG spillway)" \
		'^spillway:.*:/nonexistent:/[a-z/]*(nologin|false) spillway qmail$'
	is "$1: the configuration" "$(stat -c '%a %U:%G' /etc/spillway/spillway.conf)" "640 root:spillway"
	is "$1: engine and recorder run as that user" "$(ps -o user= -C engine,recorder | sort | uniq -c | tr -s ' ')" " 2 spillway"
	spillway setup --yes >"$work/out" 2>&1
	is "$1: setup again: nothing to do" "$? $(grep -cE '^ *[0-9]+\. (do|todo) ' "$work/out")" "0 0"
	spillway reload >/dev/null 2>"$work/err"
	is "$1: the daemon can read its configuration anew" "$? $(cat "$work/err")" "0 "

	spillway doctor >"$work/out" 2>&1
	is "$1: doctor: exit code" $? 0
	is "$1: doctor: nothing is bad" "$(grep '^bad' "$work/out")" ""
	like "$1: doctor: the queue was tried as spillway" "$(cat "$work/out")" 'ok    queue: .* which has 23 parts \(big-todo\)$'
	like "$1: doctor: the plugin was run as qmaild" "$(cat "$work/out")" 'ok    plugin-run: .* runs as qmaild: it lets in'
	[ "$served" = yes ] && like "$1: doctor: qmail-spp is on" "$(cat "$work/out")" 'ok    spp: tcpsvd .* has ENABLE_SPP'

	[ "$served" = yes ] && is "$1: a stranger may send" "$(mail_from_a_stranger)" "250 ok"
	fill_todo 150
	wait_for 8000 closed
	ok "$1: the queue fills, the gate closes" $?
	[ "$served" = yes ] && is "$1: a stranger may not" "$(mail_from_a_stranger)" "451 Temporary Failure: Server overload"
	counted() {
		[ "$(spillway status --json | json refused)" = 1 ]
	}
	[ "$served" = no ] || wait_for 3000 counted
	ok "$1: which was told by qmaild's plugin, and believed" $?

	spillway setup --undo --yes >"$work/out" 2>"$work/err"
	is "$1: undo, while the gate is closed: exit code and complaints" "$? $(cat "$work/err")" "0 "
	open
	ok "$1: undo: the gate is open" $?
	wait_for 3000 no_daemons
	ok "$1: undo: nothing runs any more" $?
	[ "$served" = yes ] && is "$1: undo: a stranger may send" "$(mail_from_a_stranger)" "250 ok"
	is "$1: undo: no line, no link, no service" "$(grep -c spillway $home/control/smtpplugins
		find $home/plugins /service/ /etc/sv /etc/service/ -name 'spillway*' -o -name overload 2>/dev/null)" 0
	[ -f /etc/spillway/spillway.conf ] && id spillway >/dev/null && [ -d /var/lib/spillway ]
	ok "$1: undo: configuration, user and history are kept" $?
	empty_todo
}

if command -v runsvdir >/dev/null; then
	runsvdir -P /etc/service >/dev/null 2>&1 &
	whole_way runit
	kill $!
else
	skip "runit" "runit is not installed"
fi

if command -v svscan >/dev/null; then
	mkdir /service
	svscan /service >/dev/null 2>&1 &
	wait_for 2000 pgrep -x svscan
	whole_way daemontools
	is "daemontools: undo: its files are gone" "$(ls /etc/spillway)" spillway.conf
	kill $!
else
	skip "daemontools" "daemontools is not installed"
fi

finish
