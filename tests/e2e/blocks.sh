#!/bin/sh
# SPDX-License-Identifier: ISC
#
# blocks - from the first connection too many to forgiveness: limits, the engine, the keeper, the real tcpsvd and tcpserver
#
# Rows of the failure list: A1 A8, R6.

. "$(dirname -- "$0")/blocks.inc"

configure() { # further keys of blocks
	make_conf <<C
limits = { ip = ( ("*", 60, 5) ); };
plugins = { connection = [ "ipthrottle" ]; };
blocks = { on = [ "ip" ]; ladder = [ "6s", "30s", "10m" ]; forgive = "1h"; allow = [ "198.19.9.0/24" ];
	ipsvd = { dir = "$inst"; timeout = "3s"; };
	tcprules = { rules = "$rules"; cdb = "$cdb"; command = "$(command -v tcprules)"; }; $* };
C
}

make_home --plain
ln -sf "$B/spillway-plugin" "$home/plugins/spillway-connection"
printf '[connection]\n%s\n' "$home/plugins/spillway-connection" >"$home/control/smtpplugins"
mkdir "$inst"
printf '198.18.7.7:allow,RELAYCLIENT=""\n:allow\n' >"$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
configure
start_daemon
ok "the daemon answers" $?
start_servers
ok "both servers answer" $?
wait_for 15000 actions_are_ok
ok "both actions are ready" $?

# --- an offender -----------------------------------------------------------------------------------

is "five connections pass, the sixth is refused" "$(knocks 198.18.1.1 6 | tally)" "5 220, 1 421"
before=$(now_ms)
wait_for 3000 is_closed 198.18.1.1
within "... and the next ones are turned away at connect, ms" $(($(now_ms) - before)) 0 1000
wait_for 3000 is_closed 198.18.1.1 "$server"
ok "... by tcpserver, too" $?
is "his neighbour is not" "$(knock 198.18.1.2) $(knock 198.18.1.2 "$server")" "220 220"
like "status tells" "$(spillway status)" '^blocks    1 in force, 0 by persons'
like "blocks tells who, why, what comes next" "$(spillway blocks)" \
	'^198.18.1.1(/32)? +deny +for another [0-9]s +ip 6/5, 0 before, next time 30s \[r[a-z2-9]{8}\]$'
id=$(spillway blocks --json | sed -n 's/.*"id": "\(r[a-z2-9]*\)".*/\1/p')
known() {
	spillway explain "$id" | grep -q '^198.18.1.1.*: is blocked, deny'
}
wait_for 3000 known
ok "explain knows the block by the id that the client was told" $?
like "... and the refusals that led to it" "$(spillway explain "$id")" 'class ip, pattern \*: 5 in 1m'

wait_for 10000 in_force 0
ok "it ends by itself" $?
is "he is admitted again, by both" "$(knock 198.18.1.1) $(knock 198.18.1.1 "$server")" "220 220"
is "the marks that led to it are forgotten" "$(knocks 198.18.1.1 3 | tally)" "3 220"
is "the second time" "$(knocks 198.18.1.1 1 | tally)" "1 421"
wait_for 3000 is_closed 198.18.1.1
ok "... he is blocked again" $?
like "... for longer" "$(spillway blocks)" '^198.18.1.1.* for another (2[0-9]|3[0-3])s .* 1 before, next time 10m'
spillway unblock 198.18.1.1 >"$work/out"
ok "a person lets him in" $?
is "... at once" "$(knock 198.18.1.1)" "220"

# --- who is never blocked --------------------------------------------------------------------------

is "an address of the allow list is refused by the limit" "$(knocks 198.19.9.9 7 | tally)" "5 220, 2 421"
is "... but not blocked" "$(spillway blocks 198.19.9.9)" "no blocks"
is "a relay client of the rules file is not either" "$(knocks 198.18.7.7 7 | tally) $(spillway blocks 198.18.7.7)" \
	"5 220, 2 421 no blocks"
spillway block 198.18.7.7 2>"$work/err"
is "... not by a person" "$?" 1
like "... who is told why" "$(cat "$work/err")" '^spillway: 198.18.7.7: protected \(198.18.7.7/32: '
spillway block 127.0.0.1 ::1 198.19.0.0/16 >/dev/null 2>&1
is "loopback and networks with protected addresses in them" "$? $(spillway blocks)" "1 no blocks"
spillway block 198.18.3.3 --for 10m --reason "a test" >"$work/out"
is "others are" "$? $(cat "$work/out")" "0 198.18.3.3: blocked"
wait_for 2000 is_closed 198.18.3.3
ok "... and turned away" $?
spillway allow add 198.18.3.0/24 >"$work/out"
is "allowed: freed at once" "$? $(spillway blocks)" "0 no blocks"
wait_for 1000 gets_in 198.18.3.3
ok "... and gets in" $?
spillway allow remove 198.18.3.0/24 >/dev/null
spillway allow check 198.18.3.3 >/dev/null
is "taken off the list again" "$?" 1

# --- files of others, and other hands --------------------------------------------------------------

: >"$inst/198.18.4.4"
spillway block 198.18.4.4 198.18.4.5 --for 10m >/dev/null
wait_for 2000 is_closed 198.18.4.5
is "an administrator's file stays as it is" "$(stat -c '%a %s' "$inst/198.18.4.4")" "644 0"
rm -f "$inst/198.18.4.5"
wait_for 5000 is_closed 198.18.4.5
ok "a file of ours that somebody removes comes back" $?
printf '198.18.7.7:allow,RELAYCLIENT=""\n198.18.8.:deny\n:allow\n' >"$rules"
sleep 0.2
tcprules "$cdb" "$cdb.tmp" <"$rules"
wait_for 5000 is_closed 198.18.4.5 "$server"
ok "the administrator compiles other rules: ours are back" $?
is "... and his are in force" "$(knock 198.18.8.1 "$server") $(knock 198.18.8.1)" "closed 220"

# --- kill -9 ---------------------------------------------------------------------------------------

spillway block 198.18.5.5 --for 10m >/dev/null
spillway block 198.18.5.6 --for 8s >/dev/null
before=$(now_ms)
wait_for 2000 is_closed 198.18.5.6
all=$(cat "/proc/$daemon/task/$daemon/children")
# shellcheck disable=SC2086 # several
kill -9 "$daemon" $all
wait "$daemon" 2>/dev/null
is "all killed: what is blocked stays blocked" "$(knock 198.18.5.5) $(knock 198.18.5.6)" "closed closed"
wait_for 15000 gets_in 198.18.5.6
within "... and is let in at its time by tcpsvd, ms" $(($(now_ms) - before)) 7900 12000
is "... the others not" "$(knock 198.18.5.5)" "closed"
start_daemon
wait_for 15000 actions_are_ok
like "started again it knows them" "$(spillway blocks)" '^198.18.5.5'
wait_for 5000 is_closed 198.18.5.5 "$server"
ok "... and keeps them out" $?
is "who was let in stays in" "$(knock 198.18.5.6)" "220"

# --- lists -----------------------------------------------------------------------------------------

awk 'BEGIN { for (i = 0; i < 300; i++) printf "198.19.%d.%d 600\n", i / 200, i % 200 + 1; print "127.0.0.1 # never" }' >"$work/list"
spillway block --import "$work/list" >"$work/out" 2>"$work/err"
is "a list is imported" "$? $(cat "$work/out")" "1 300 done, 1 not"
wait_for 3000 is_closed 198.19.1.5
ok "... and in force" $?
is "the export is the list" "$(spillway blocks --export | grep -c '^198\.19\.[01]\.[0-9]*\(/32\)\? [0-9]*$')" 300
is "... which can be taken back" "$(spillway unblock --import "$work/list" 2>/dev/null)" "300 done, 1 not"
if command -v sqlite3 >/dev/null 2>&1; then
	sqlite3 "$work/f2b.sqlite3" "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL,
		bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, data JSON, PRIMARY KEY(ip, jail));
		INSERT INTO bips VALUES ('198.19.5.1','sshd',strftime('%s','now')-10,600,1,'{}'),
		('198.19.5.2','sshd',strftime('%s','now')-1000,600,1,'{}'),('198.19.5.3','smtp',strftime('%s','now'),-1,1,'{}');"
	spillway block --fail2ban "$work/f2b.sqlite3" >/dev/null
	is "bans of fail2ban, those that are not over" "$? $(spillway blocks --export | sed -n 's/^\(198\.19\.5\.[0-9]*\).*/\1/p' |
		sort | tr '\n' ' ')" "0 198.19.5.1 198.19.5.3 "
else
	skip "bans of fail2ban" "no sqlite3 here"
fi

# --- dry run, and the end --------------------------------------------------------------------------

stop_daemon
"$B/spillway" -c "$conf" neutral --offline --all >"$work/out" 2>&1
ok "neutral --offline --all" $?
is "... takes back what is ours, and nothing else" "$(ls "$inst")" "198.18.4.4"
is "... in the cdb as well" "$(knock 198.18.5.5 "$server") $(knock 198.18.8.1 "$server")" "220 closed"
rm -rf "$work/state"
configure "dry_run = true;"
start_daemon
wait_for 5000 test -S "$work/run/ask.sock"
is "dry run: the limit refuses" "$(knocks 198.18.6.6 7 | tally)" "5 220, 2 421"
like "... a block is decided" "$(spillway blocks)" '^198.18.6.6'
is "... and nothing is written" "$(ls "$inst")" "198.18.4.4"
stop_daemon
finish
