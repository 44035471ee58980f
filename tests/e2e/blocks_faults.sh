#!/bin/sh
# SPDX-License-Identifier: ISC
#
# blocks_faults - no room, a directory gone or read only, no tcprules: mail flows, status says it, and it heals by itself
#
# Rows of the failure list: A7, D1, D12, F5, L10.

. "$(dirname -- "$0")/blocks.inc"

# On file systems of their own: for root nothing but the file system itself says no.
if ! mkdir "$inst" || ! mount -t tmpfs -o "nr_inodes=40,mode=755" none "$inst" 2>/dev/null ||
	! mkdir "$work/etc" || ! mount -t tmpfs -o "size=64k,mode=755" none "$work/etc" 2>/dev/null; then
	skip "blocks where there is no room" "no mount is allowed here"
	finish
fi
trap 'umount -l "$work/etc" "$inst" 2>/dev/null; cleanup' EXIT
rules=$work/etc/tcp.smtp
cdb=$work/etc/tcp.smtp.cdb
tcprules=$work/tcprules
ln -s "$(command -v tcprules)" "$tcprules"

make_home --plain
make_conf <<C
blocks = { ipsvd = { dir = "$inst"; timeout = "3s"; };
	tcprules = { rules = "$rules"; cdb = "$cdb"; command = "$tcprules"; }; };
C
echo ':allow' >"$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
start_daemon
start_servers
wait_for 15000 actions_are_ok
ok "daemon and servers are up" $?

says() { # EXTENDED-REGEX
	spillway status | grep -qE -- "$1"
}

# Everybody who is not blocked is served, by both.
flows() {
	is "$1: mail flows" "$(knock 198.19.7.7) $(knock 198.19.7.7 "$server")" "220 220"
}

closed_by_both() { # ADDRESS...
	for a; do
		is_closed "$a" && is_closed "$a" "$server" || return 1
	done
}

heals() { # NAME ADDRESS...
	name=$1
	shift
	wait_for 20000 actions_are_ok
	ok "$name: it heals by itself" $?
	wait_for 10000 closed_by_both "$@"
	ok "$name: ... and all is in force" $?
}

spillway block 198.18.1.1 --for 1h >"$work/out"
wait_for 5000 closed_by_both 198.18.1.1
ok "a block is in force" $?

# --- no room ---------------------------------------------------------------------------------------

n=0
while [ "$n" -lt 100 ] && touch "$inst/other.$n" 2>/dev/null; do
	n=$((n + 1))
done
fill() { # what a temporary file has left free, too
	dd if=/dev/zero bs=1k count=100 2>/dev/null >>"$work/etc/other"
}
fill
spillway block 198.18.1.2 --for 1h >"$work/out"
is "no room: the command is done" "$? $(cat "$work/out")" "0 198.18.1.2: blocked"
wait_for 10000 says '^ +ipsvd: .*cannot write .*/198\.18\.1\.2: No space left'
ok "no room: status says it of ipsvd" $?
nor_room_for_tcprules() {
	fill
	spillway block "198.18.1.$((100 + $(date +%s) % 100))" --for 1s >/dev/null
	says '^ +tcprules: NOT WRITTEN: .*([Nn]o space left|out of disk space)'
}
wait_for 10000 nor_room_for_tcprules
ok "no room: ... and of tcprules" $?
flows "no room"
is "no room: what was blocked is" "$(knock 198.18.1.1) $(knock 198.18.1.1 "$server")" "closed closed"
rm -f "$inst"/other.* "$work/etc/other"
heals "no room" 198.18.1.1 198.18.1.2

# --- read only -------------------------------------------------------------------------------------

mount -o remount,ro "$inst"
mount -o remount,ro "$work/etc"
spillway block 198.18.1.3 --for 1h >"$work/out"
wait_for 10000 says '^ +ipsvd: .*Read-only file system'
ok "read only: status says it of ipsvd" $?
wait_for 10000 says '^ +tcprules: NOT WRITTEN: .*[Rr]ead-only file system'
ok "read only: ... and of tcprules" $?
flows "read only"
spillway unblock 198.18.1.1 >"$work/out"
mount -o remount,rw "$inst"
mount -o remount,rw "$work/etc"
heals "read only" 198.18.1.2 198.18.1.3
wait_for 10000 gets_in 198.18.1.1
ok "read only: who was freed meanwhile gets in" $?

# --- permission ------------------------------------------------------------------------------------

if [ "$(id -u)" -eq 0 ] && chown 65534 "$inst" 2>/dev/null && chmod 777 "$work/etc"; then
	spillway block 198.18.1.4 --for 1h >"$work/out"
	wait_for 10000 says '^ +tcprules: NOT WRITTEN: .*/etc can be written by everybody'
	ok "permission: a directory where others can plant is not written to" $?
	wait_for 10000 says '^ +ipsvd: NOT WRITTEN: it belongs to uid 65534'
	ok "permission: ... nor one that is somebody else's" $?
	flows "permission"
	chown 0 "$inst"
	chmod 755 "$work/etc"
	heals "permission" 198.18.1.2 198.18.1.3 198.18.1.4
else
	skip "permission" "no other user here"
	spillway block 198.18.1.4 --for 1h >"$work/out"
fi

# --- tcprules gone ---------------------------------------------------------------------------------

rm -f "$tcprules"
spillway block 198.18.1.5 --for 1h >"$work/out"
wait_for 10000 says '^ +tcprules: .*cannot run .*No such file'
ok "tcprules gone: status says it" $?
flows "tcprules gone"
wait_for 5000 is_closed 198.18.1.5
ok "tcprules gone: ipsvd goes on" $?
ln -s "$(command -v tcprules)" "$tcprules"
heals "tcprules gone" 198.18.1.5 198.18.1.2

# --- the directories gone --------------------------------------------------------------------------

umount -l "$inst"
rmdir "$inst"
spillway block 198.18.1.6 --for 1h >"$work/out"
wait_for 10000 says '^ +ipsvd: .*MISSING'
ok "directory gone: status says it, and that tcpsvd refuses everybody" $?
is "directory gone: mail flows where it can" "$(knock 198.19.7.7 "$server")" 220
wait_for 5000 is_closed 198.18.1.6 "$server"
ok "directory gone: tcprules goes on" $?
mkdir "$inst"
heals "directory back" 198.18.1.2 198.18.1.3 198.18.1.4 198.18.1.5 198.18.1.6
stop_daemon
finish
