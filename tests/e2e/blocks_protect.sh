#!/bin/sh
# SPDX-License-Identifier: ISC
#
# blocks_protect - whom blocks spare: the allow list as it changes, names on it, networks with somebody innocent in them
#
# Rows of the failure list: A1 A2, R6.

. "$(dirname -- "$0")/blocks.inc"

allow='"198.18.21.0/24"'

configure() {
	make_conf <<C
limits = { ip = ( ("*", 60, 2) ); };
plugins = { connection = [ "ipthrottle" ]; };
blocks = { on = [ "ip" ]; ladder = [ "10m" ]; allow = [ $allow ]; widen_hosts = 3;
	ipsvd = { dir = "$inst"; timeout = "3s"; };
	tcprules = { rules = "$rules"; cdb = "$cdb"; command = "$(command -v tcprules)"; }; };
C
}

keeper_protects() { # prefixes that the keeper itself knows
	spillway status --json | sed -n 's/.*"protected": \([0-9]*\).*/\1/p' | head -n 1
}

make_home --plain
ln -sf "$B/spillway-plugin" "$home/plugins/spillway-connection"
ln -sf "$B/spillway-plugin" "$home/plugins/spillway-data"
printf '[connection]\n%s\n[data]\n%s\n' "$home/plugins/spillway-connection" "$home/plugins/spillway-data" \
	>"$home/control/smtpplugins"
mkdir "$inst"
echo ':allow' >"$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
configure
start_daemon
start_servers
wait_for 15000 actions_are_ok
ok "daemon and servers are up" $?

# --- the allow list is edited ----------------------------------------------------------------------

spillway block 198.18.21.1 >"$work/out" 2>&1
is "on the allow list: not blocked" "$?" 1
spillway block 198.18.22.1 --for 10m >"$work/out"
wait_for 3000 is_closed 198.18.22.1
ok "not on it: blocked" $?
allow='"198.18.22.0/24"'
configure
spillway reload >"$work/out"
ok "the list is edited, and read anew" $?
wait_for 2000 gets_in 198.18.22.1
ok "who is on it now is freed at once" $?
wait_for 2000 gets_in 198.18.22.1 "$server"
ok "... by tcpserver as well" $?
spillway block 198.18.21.1 --for 10m >"$work/out"
is "who was taken off can be blocked without a restart" "$? $(cat "$work/out")" "0 198.18.21.1: blocked"
wait_for 5000 is_closed 198.18.21.1
ok "... and is turned away" $?
wait_for 5000 is_closed 198.18.21.1 "$server"
ok "... by tcpserver as well" $?
spillway unblock 198.18.21.1 >"$work/out"

# --- names -----------------------------------------------------------------------------------------

printf '127.0.0.1 localhost\n198.18.23.7 office.example.test\n198.18.23.8 office.example.test\n' >"$work/hosts"
if mount --bind "$work/hosts" /etc/hosts 2>/dev/null; then
	before=$(keeper_protects)
	spillway block 198.18.23.7 --for 10m >"$work/out"
	wait_for 3000 is_closed 198.18.23.7
	ok "an address of a host that nobody has named is blocked" $?
	spillway allow add office.example.test >"$work/out"
	ok "its name is put on the allow list" $?
	wait_for 5000 gets_in 198.18.23.7
	ok "... it is freed" $?
	spillway block 198.18.23.8 >"$work/out" 2>&1
	like "... its other address is not blocked" "$? $(cat "$work/out")" '^1 .*protected \(198\.18\.23\.8/32: on the allow list, as office\.example\.test\)'
	knows_both() {
		[ "$(keeper_protects)" -eq $((before + 2)) ]
	}
	wait_for 3000 knows_both
	ok "... and the keeper knows both by itself" $?
	spillway allow remove office.example.test >"$work/out"
	knows_none() {
		[ "$(keeper_protects)" -eq "$before" ]
	}
	wait_for 3000 knows_none
	ok "taken off: it knows neither" $?
	spillway block 198.18.23.8 --for 10m >"$work/out"
	wait_for 3000 is_closed 198.18.23.8
	ok "... and they can be blocked again" $?
	umount /etc/hosts
else
	skip "names on the allow list" "no mount is allowed here"
fi

# --- networks --------------------------------------------------------------------------------------

offend() { # ADDRESS...
	for a; do
		knocks "$a" 3 >/dev/null
		wait_for 3000 is_closed "$a"
	done
}

offend 198.18.40.1 198.18.40.2
is "two of a network are blocked, the network is not" "$(knock 198.18.40.77)" 220
offend 198.18.40.3
wait_for 3000 is_closed 198.18.40.77
ok "three are: the network is" $?
like "... and blocks tells" "$(spillway blocks 198.18.40.77)" '^198\.18\.40\.0/24 .*3'

mail_from() { # ADDRESS
	"$bin/flood" --to "127.0.0.1:$svd" --rate 1 --for 1 --source "$1" --from a@remote.test --rcpt u@example.test --quiet |
		grep -q '"accepted": *1'
}
mail_from 198.18.41.200
ok "mail from another network is accepted" $?
offend 198.18.41.1 198.18.41.2 198.18.41.3 198.18.41.4
is "... which is not blocked for three, nor four, of its addresses" \
	"$(knock 198.18.41.77) $(spillway blocks 198.18.41.77)" "220 no blocks"
mail_from 198.18.42.1
offend 198.18.42.1 198.18.42.2 198.18.42.3
wait_for 3000 is_closed 198.18.42.77
ok "mail from an offender himself spares nobody" $?
spillway allow add 198.18.43.200 >"$work/out"
offend 198.18.43.1 198.18.43.2 198.18.43.3 198.18.43.4
is "nor is one with a protected address in it" "$(knock 198.18.43.77) $(spillway blocks 198.18.43.77)" "220 no blocks"
stop_daemon
finish
