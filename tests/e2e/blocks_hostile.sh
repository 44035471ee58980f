#!/bin/sh
# SPDX-License-Identifier: ISC
#
# blocks_hostile - two thousand texts as addresses, entries of the allow list, file names and rules: nothing gets out of its
# place, and each is answered
#
# Rows of the failure list: F1, F2, N4.

. "$(dirname -- "$0")/blocks.inc"

make_home --plain
mkdir "$inst" "$work/lists"
echo ':allow' >"$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
make_conf <<C
blocks = { ipsvd = { dir = "$inst"; timeout = "3s"; };
	tcprules = { rules = "$rules"; cdb = "$cdb"; command = "$(command -v tcprules)"; }; };
C
start_daemon
start_servers
wait_for 15000 actions_are_ok
ok "daemon and servers are up" $?

"$bin/hostile" --lines 200 >"$work/lists/words"
awk '{
	print; print "198.18.1.1" $0; print "198.18.1.1/" $0; print $0 "/24"; print "198.18.1." $0; print "::" $0
	print "../" $0; print $0 "/../../etc/passwd"; print "198.18.1.0/24" $0; print $0 "198.18.1.1"; print "2001:db8::/" $0
}' "$work/lists/words" | grep -v '^$' >"$work/lists/texts"
texts=$(wc -l <"$work/lists/texts")
within "texts" "$texts" 2000 1000000

# All that is there but logs, sockets and the database: names, sizes, times of change.
outside() {
	find "$work" -path "$work/run" -prune -o -path "$work/state" -prune -o -path "$work/lists" -prune -o -path "$inst" -prune \
		-o ! -name '*.log' ! -name 'tcp.smtp.cdb*' -printf '%P %y %m %s %T@ %l\n' | grep -v '^ d' | sort
}
: >"$work/canary"
outside >"$work/lists/before"

is_alive() {
	spillway status >/dev/null 2>&1
}

# --- as addresses ----------------------------------------------------------------------------------

tr '\n' '\0' <"$work/lists/texts" | xargs -0 -n 100 "$B/spillway" -c "$conf" block --for 1h -- >"$work/lists/done" 2>"$work/lists/not"
answered=$(cat "$work/lists/done" "$work/lists/not" | wc -l)
is "as addresses: each is answered" "$answered" "$texts"
is "... those that are none with a word" "$(grep -vcE '^spillway: .*: (not an address|protected|wider than|not a time)' "$work/lists/not")" 0
grep -vE '^[0-9A-Fa-f.:/]+: blocked(, in place of another block)?( .*)?$' "$work/lists/done" >"$work/lists/strange"
is "... and only addresses are blocked" "$(cat "$work/lists/strange")" ''
sed 's/$/ 600/' "$work/lists/texts" | spillway block --import - >"$work/lists/out" 2>/dev/null
like "... as a list" "$(cat "$work/lists/out")" '^[0-9]+ done, [0-9]+ not$'
is_alive
ok "... the daemon is alive" $?
is "files are named as addresses are" "$(find "$inst" -mindepth 1 -printf '%f\n' | grep -vE '^[0-9]+(\.[0-9]+){0,3}$')" ''
is "... and nothing is written elsewhere" "$(outside | diff "$work/lists/before" -)" ''

# --- on the allow list -----------------------------------------------------------------------------

n=0
while read -r text; do
	n=$((n + 1))
	[ $((n % 10)) -eq 0 ] || continue
	spillway allow add -- "$text" >>"$work/lists/allowed" 2>&1
done <"$work/lists/texts"
is "as entries of the allow list: each is answered" "$(wc -l <"$work/lists/allowed")" $((n / 10))
is_alive
ok "... the daemon is alive" $?
spillway allow list --json >"$work/lists/json"
ok "... and the list can be told" $?
is "... nothing is written elsewhere" "$(outside | diff "$work/lists/before" -)" ''

# --- as names of files -----------------------------------------------------------------------------

spillway block 198.18.2.2 --for 1h >/dev/null
wait_for 5000 is_closed 198.18.2.2
mkdir "$work/lists/names"
while read -r text; do
	case $text in
	*/* | . | .. | '') continue ;;
	esac
	: 2>/dev/null >"$inst/$text"
done <"$work/lists/texts"
ln -s "$work/canary" "$inst/198.18.2.3"
ln "$work/canary" "$inst/198.18.2.4"
ln -s "$work" "$inst/198.18.2.5"
mkdir "$inst/198.18.2.6"
find "$inst" -mindepth 1 -not -name '198.18.2.2' -printf '%f %y %m %s %C@\n' | sort >"$work/lists/theirs"
outside >"$work/lists/before"
spillway block 198.18.2.3 198.18.2.4 198.18.2.5 198.18.2.6 198.18.2.7 --for 1h >/dev/null
wait_for 5000 is_closed 198.18.2.7
ok "among files of such names, and links, blocks are written" $?
stop_daemon
start_daemon
wait_for 15000 actions_are_ok
find "$inst" -mindepth 1 -not -name '198.18.2.[27]' -printf '%f %y %m %s %C@\n' | sort | diff "$work/lists/theirs" - |
	grep -v '^[<>] [0-9.]* f 200 0 ' | grep '^[<>]' >"$work/lists/changed"
is "... nothing of them is touched" "$(cat "$work/lists/changed")" ''
is "... nor what links lead to" "$(outside | grep '^canary'; outside | diff "$work/lists/before" - | grep canary)" \
	"$(grep '^canary' "$work/lists/before")"

# --- as rules --------------------------------------------------------------------------------------

cp "$cdb" "$work/lists/cdb"
sed 's/$/:allow,RELAYCLIENT=""/' "$work/lists/texts" >"$rules"
knows_edit() {
	spillway status | grep -qE '^ +tcprules: NOT WRITTEN'
}
spillway block 198.18.2.8 --for 1h >/dev/null
wait_for 10000 knows_edit
ok "as rules: status says that they wait" $?
is "... the cdb stays as it was" "$(cmp "$work/lists/cdb" "$cdb")" ''
touch -d '1 hour ago' "$rules"
sleep 0.1
spillway block 198.18.2.9 --for 1h >/dev/null
wait_for 5000 is_closed 198.18.2.9
ok "... tcpsvd is served" $?
is "... mail flows" "$(knock 198.19.8.8) $(knock 198.19.8.8 "$server")" "220 220"
echo ':allow' >"$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
wait_for 20000 actions_are_ok
ok "... it is well again with good ones" $?
is_alive
ok "the daemon is alive" $?
stop_daemon
finish
