#!/bin/sh
# SPDX-License-Identifier: ISC
#
# counters - what limits have counted, across restarts of all kinds: after kill -9 the last second is missing at most, and nobody
# is limited who was not.  Rows D1, D5, D10, T3 of the failure list, as far as counters are concerned.

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

marks=$work/state/marks.db

# The numbers of a value: "n/max".
peek() { # CLASS VALUE
	spillway peek "$1" "$2" 2>&1 | awk '{ print $2 }'
}

count() { # CLASS VALUE TIMES
	n=0
	while [ $n -lt "$3" ]; do
		spillway rate "$1" "$2" >/dev/null 2>&1
		n=$((n + 1))
	done
}

kept() { # the value of a key about what is kept
	field limits kept "$1"
}

is_loaded() {
	[ "$(kept loading)" = false ]
}

start_loaded() {
	start_daemon && wait_for 5000 is_loaded
}

is_another() { # engine|recorder PID
	p=$(child_of "$1")
	[ -n "$p" ] && [ "$p" != "$2" ]
}

settle() { # said, and written
	sleep 1
}

make_home --plain
ln -s "$B/spillway-plugin" "$home/plugins/ipthrottle"
make_conf <<'E2'
limits : {
	ip: ( ("10.0.0.*", 3600, 20), ("*", 600, 5) );
	user: { mode = "leaky"; keys = ( ("*", "1h", 3) ); };
	mail: { mode = "gcra"; keys = ( ("*", "1h", 4) ); };
};
E2

all() {
	echo "$(peek ip 10.0.0.1) $(peek ip 192.0.2.1) $(peek ip 2001:db8::1) $(peek user joe) $(peek mail joe)"
}

start_loaded
ok "the daemon answers" $?
is "the key: mode, size" "$(stat -c '%a %s' "$work/state/rate.key")" "600 16"
count ip 10.0.0.1 7
count ip 192.0.2.1 9
count ip 2001:db8::1 4
count user joe 5
count mail joe 2
before=$(all)
is "counted" "$before" "7/20 6/5 4/5 3/3 2/4"

# --- one dies, the other lives ---

engine=$(child_of engine)
settle
kill -9 "$engine"
wait_for 5000 is_another engine "$engine"
wait_for 5000 is_loaded
ok "the engine killed: another takes over" $?
is "... all is there" "$(all)" "$before"
recorder=$(child_of recorder)
kill -9 "$recorder"
count ip 10.0.0.1 1
wait_for 5000 is_another recorder "$recorder"
ok "the recorder killed: another takes over" $?
settle
kill_all
start_loaded
is "... and has all, with what came meanwhile" "$(peek ip 10.0.0.1) $(peek user joe)" "8/20 3/3"

# --- all die ---

stop_daemon
start_loaded
is "a stop and a start" "$(peek ip 10.0.0.1) $(peek ip 192.0.2.1)" "8/20 6/5"
count ip 10.0.0.1 3
count ip 192.0.2.77 3
stop_daemon
start_loaded
is "at a stop also the last marks are written" "$(peek ip 10.0.0.1) $(peek ip 192.0.2.77)" "11/20 3/5"
count ip 192.0.2.88 5
settle
count ip 10.0.0.1 2
kill_all
start_loaded
is "all killed: what is a second old is there" "$(peek ip 192.0.2.88)" "5/5"
like "... of the last second, what was written" "$(peek ip 10.0.0.1)" '^1[123]/20$'
is "... nobody is refused who was not: the next is the sixth" \
	"$(spillway rate ip 192.0.2.88 2>&1) $(spillway rate ip 192.0.2.99 2>&1)" "1 6/5 0 1/5"
is "... another user still is not" "$(peek user jane) $(peek mail jane)" "0/3 0/4"

# --- plugins count in a table of their own ---

client=192.0.2.55
i=0
while [ $i -lt 6 ]; do
	answer=$(stranger ipthrottle)
	i=$((i + 1))
done
like "the plugin refuses the sixth of 192.0.2.55" "$answer" '^421 Too many connections'
is "... clients of rater know nothing of it" "$(peek ip 192.0.2.55)" "0/5"
settle
kill_all
start_loaded
like "all killed: the plugin refuses the seventh" "$(stranger ipthrottle)" '^421 Too many connections'
is "... nobody else, and clients still know nothing" "$(client=192.0.2.56 stranger ipthrottle) $(peek ip 192.0.2.55)" "pass 0/5"

# --- with other limits ---

settle
sed 's/("\*", 600, 5)/("*", 600, 50)/' "$conf" >"$conf.new" && mv "$conf.new" "$conf"
spillway reload >/dev/null
is "a limit that is another counts from the beginning, others go on" \
	"$(peek ip 192.0.2.88) $(peek ip 10.0.0.1 | sed 's/1[123]/11+/') $(peek user joe)" "0/50 11+/20 3/3"
kill_all
start_loaded
is "... also after a restart" \
	"$(peek ip 192.0.2.88) $(peek ip 10.0.0.1 | sed 's/1[123]/11+/') $(peek user joe)" "0/50 11+/20 3/3"

# --- a boot ---

if command -v sqlite3 >/dev/null; then
	settle
	kill_all
	# By the wall clock ten minutes have passed, an hour, and then it is set back by a year.
	sqlite3 "$marks" "UPDATE mark SET boot = 7, wall = wall - 600000"
	start_loaded
	is "T3: after a boot all is there, by its age" "$(peek ip 10.0.0.1 | sed 's/1[123]/11+/') $(peek user joe)" "11+/20 3/3"
	settle
	kill_all
	sqlite3 "$marks" "UPDATE mark SET boot = 7, wall = wall - 3600000 + 600000"
	start_loaded
	is "T3: an hour later nothing is" "$(peek ip 10.0.0.1) $(peek user joe) $(peek mail joe)" "0/20 0/3 0/4"
	count user joe 2
	settle
	kill_all
	sqlite3 "$marks" "UPDATE mark SET boot = 7, wall = wall + 31536000000"
	start_loaded
	is "T3: a clock that was set back by a year forgets nothing" "$(peek user joe)" "2/3"
else
	skip "T3: the machine boots" "no sqlite3"
	count user joe 2
fi

# --- damage ---

settle
stop_daemon
echo "this is not a database" >"$marks"
start_loaded
ok "D5: with a damaged database the daemon starts" $?
logged "marks.db: file is not a database; removed, a new one is begun"
ok "D5: ... it is told" $?
is "D5: ... counting begins anew" "$(peek user joe) $(spillway rate user joe 2>&1)" "0/3 0 1/3"
is "D5: ... and nothing else is lost" "$(find "$work/state" -name '*corrupt*') $(spillway history | grep -c started)" \
	" $(times_logged 'engine: started')"
rm -f "$marks"
count user joe 1
settle
stop_daemon
start_loaded
is "D10: a database that is removed is begun anew, with all that is in memory" "$(peek user joe)" "2/3"
stop_daemon
printf 'short' >"$work/state/rate.key"
start_loaded
is "a key that is lost: counting begins anew" "$(peek user joe) $(stat -c '%a %s' "$work/state/rate.key")" "0/3 600 16"
is "... and what had another key is gone" "$(kept loaded)" 0

# --- no room ---

count user joe 2
settle
prlimit --pid "$(child_of recorder)" --fsize=16384:1000000000
count ip 10.0.0.9 4
count user jim 9
wait_for 5000 logged 'error: recorder: .*marks.db: (disk I/O error|database or disk is full)'
ok "D1: a database that may not grow is told" $?
is "D1: ... in the status too" "$(kept ok)" false
like "D1: ... and for people" "$(spillway status)" '^counters  a restart will forget the last ones: .*marks.db'
is "D1: ... counting goes on" "$(peek ip 10.0.0.9) $(peek user jim)" "4/20 3/3"
prlimit --pid "$(child_of recorder)" --fsize=1000000000:1000000000
is_kept() {
	[ "$(kept ok)" = true ]
}
wait_for 5000 is_kept
ok "D1: with room again it is written" $?
settle
kill_all
start_loaded
is "D1: ... what had waited, too" "$(peek ip 10.0.0.9) $(peek user jim) $(peek user joe)" "4/20 3/3 2/3"

# --- a directory that is not ours any more ---

stop_daemon
rm -f "$work/state/rate.key"
mkdir "$work/state/rate.key"
start_loaded
ok "a key that can't be written: the daemon starts" $?
is "... it is told, once" "$(times_logged 'error: limits: .*rate.key: .*: a restart will forget what was counted')" 1
count user joe 2
is "... and counts" "$(peek user joe)" "2/3"
stop_daemon
rmdir "$work/state/rate.key"

finish
