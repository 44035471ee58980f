#!/bin/sh
# SPDX-License-Identifier: ISC
#
# archive - every refusal is on record, also when there are more of them than the database keeps

. "$(dirname -- "$0")/lib.sh"

N=${SPILLWAY_ARCHIVE_N:-300}
make_home --plain
make_conf <<'E2'
levels = { hold = "0s"; release = "1s"; };
store = { archive = "100M"; };
E2
start_daemon
file=$work/state/refusals.jsonl
lines() {
	grep -c "" "$file" 2>/dev/null
}

is "before anybody is refused there is nothing" "$(spillway refusals 2>&1)" "spillway: refusals: none that fits is on record"
touch "$home/control/overloaded"
wait_for 5000 gate_is closed
is "a stranger waits" "$(stranger)" "451 Temporary Failure: Server overload close"
n=1
while [ "$n" -lt "$N" ]; do
	n=$((n + 1))
	client=198.18.$((n / 250)).$((n % 250)) stranger >/dev/null
done
all_told() {
	[ "$(field refused)" -eq "$N" ] && [ "$(lines)" -eq "$N" ]
}
wait_for 20000 all_told
is "each of $N refusals is a line" "$(lines)" "$N"
is "each line is JSON" "$(python3 -c 'import json, sys
print(sum(json.loads(l)["reply"] == 451 for l in open(sys.argv[1])))' "$file")" "$N"
id=$(field episode)
like "a line tells who, when, why, and by which id" "$(sed -n 1p "$file")" \
	"^\{\"time\": \"20[0-9T:.-]+Z\", \"id\": \"$id\", \"rule\": \"overload\", \"stage\": \"mail\", \"ip\": \"192.0.2.1\".*\"sender\": \"a@remote.test\""

is "all of them" "$(spillway refusals | wc -l)" "$N"
is "of the last hour" "$(spillway refusals --since 1h | wc -l)" "$N"
is "one address" "$(spillway refusals 192.0.2.1 | wc -l)" 1
is "a network" "$(spillway refusals 198.18.0.0/24 | wc -l)" "$(grep -c '"198.18.0\.' "$file")"
is "a sender, however it is written" "$(spillway refusals A@Remote.test | wc -l)" "$N"
is "all of a domain" "$(spillway refusals @remote.test | wc -l)" "$N"
is "an id" "$(spillway refusals "$id" | wc -l)" "$N"
is "a rule or somebody else" "$(spillway refusals tarpit overload | wc -l)" "$N"
is "as JSON" "$(spillway refusals --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')" "$N"
is "nobody" "$(spillway refusals nobody@remote.test 2>&1; echo $?)" "spillway: refusals: none that fits is on record
1"
is "nobody, as JSON" "$(spillway refusals --json nobody@remote.test)" "[]"
like "explain finds a sender in it" "$(spillway explain a@remote.test)" "^a@remote.test: refused $N times, the last 20:\$"
is "explain as JSON" "$(spillway explain --json a@remote.test | json refused)" "$N"

# --- the disk is full; the file is moved; reload ---

mv "$file" "$work/elsewhere"
stranger >/dev/null
any_line() {
	[ -f "$file" ] && [ "$(lines)" -ge 1 ]
}
wait_for 20000 any_line
ok "a file that was moved away begins anew" $?
rm "$file" && mkdir "$file"
stranger >/dev/null
in_log() {
	grep -q 'cannot write .*refusals.jsonl' "$work/daemon.log"
}
wait_for 20000 in_log
ok "one that can't be written is told" $?
is "strangers are put off as before" "$(stranger)" "451 Temporary Failure: Server overload close"
rmdir "$file"
stranger >/dev/null
wait_for 20000 any_line
ok "and goes on when it can" $?
sed -i 's/archive = "100M"/archive = 0/' "$conf"
spillway reload >/dev/null
is "a reload" $? 0
sleep 0.3 # what was gathered before
written=$(lines)
before=$(field refused)
stranger >/dev/null
one_more() {
	[ "$(field refused)" -gt "$before" ]
}
wait_for 20000 one_more
sleep 0.5
is "with archive = 0 nothing more is written" "$(lines)" "$written"

stop_daemon
finish
