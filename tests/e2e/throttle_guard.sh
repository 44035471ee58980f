#!/bin/sh
# SPDX-License-Identifier: ISC
#
# throttle_guard - whatever the engine does, and whatever strangers send: the plugin passes in time, and says nothing odd
#
# The engine is tests/standin/asked.  Times: the quickest of a few runs is judged, for the machine may be busy; a wait for the
# engine would be in each of them.  Rows of the failure list: Q5 Q6 Q7 Q11 Q12 Q14.

. "$(dirname -- "$0")/lib.sh"

make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
for name in spillway-connection ipthrottle userthrottle rcptthrottle concurrency tarpit; do
	ln -s "$B/spillway-plugin" "$home/plugins/$name"
done
for name in IPSVDIR TARPITCOUNT TARPITDELAY SMTPHELOHOST SMTPRCPTTO SMTPRCPTCOUNTALL TCPREMOTEHOST; do
	unset "$name"
done
instrumented='' soon=300
if grep -qE '__asan_init|__gcov_init' "$B/spillway-plugin"; then
	instrumented='this build leaves the handlers out' soon=3000
fi
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

slow_down='Too many connections. Please reduce connections per minute.'
every=connection=concurrency+ipthrottle,mail=overload+concurrency+ipthrottle+userthrottle
every=$every,rcpt=overload+concurrency+ipthrottle+userthrottle+rcptthrottle+tarpit
state() {
	rm -rf "$run/state"
	"$bin/mkstate" "$run" --level normal --stages $every "$@" || echo "# mkstate failed: $*"
}

asked=''
engine() { # [options of asked]
	[ -z "$asked" ] || end_started "$asked"
	rm -f "$run"/*.sock
	"$bin/asked" "$run" "$@" >>"$work/asked" &
	asked=$!
	started="$started $asked"
	wait_for 2000 test -S "$run/rate.sock"
	: >"$work/asked"
}

# What spp tells of it, but for the time, joined by '|'.
spp() { # [spp options] -- PLUGIN
	(cd "$home" && "$bin/spp" --rcpt "$@" 2>"$work/log") | tee "$work/spp" | sed '/^ms: /d' | paste -sd '|' -
}

# The same where a reply is expected: on a machine that stands still for a while the plugin gives up, then once more.
answered() { # [spp options] -- PLUGIN
	tries=0
	while :; do
		got=$(spp "$@")
		tries=$((tries + 1))
		case $got in
		reply:*) break ;;
		esac
		[ $tries -lt 5 ] || break
	done
	echo "$got"
}

refused="reply: 451 $slow_down|out: 1|outcome: refuse|exit: 0"
passed='out: 0|outcome: pass|exit: 0'
export TCPREMOTEIP=192.0.2.1 SMTPMAILFROM=a@remote.test SMTPHELOHOST=c.test SMTPRCPTTO=bob@example.test SMTPRCPTCOUNTALL=60
cant="Can't connect to spillwayd"

logged() {
	sed 's/: pid [0-9]* - /: pid N - /' "$work/log" | paste -sd '|' -
}

# Run it a few times: each passes, and the quickest takes from LEAST to MOST ms.
passes_in() { # NAME PLUGIN LEAST MOST
	(cd "$home" && "$bin/many" --times 5 --reply none -- "plugins/$2") >"$work/many" 2>/dev/null
	is "$1: it passes" "$(sed -n 's/^\(passes\|failed\): //p' "$work/many" | paste -sd ' ' -)" '5 0'
	within "$1: quickest of 5, us" "$(sed -n 's/^us: \([0-9]*\) .*/\1/p' "$work/many")" $(($3 * 1000)) $(($4 * 1000))
}

# --- Q5, Q14: engines that do not answer -----------------------------------------------------------

state
for how in garbage half half-open twice drips closes; do
	engine --verdict close --check ipthrottle --how $how
	is "Q5: an engine that $how: it passes" "$(spp -- plugins/spillway-rcpt)" "$passed"
	like "Q5: an engine that $how: logged" "$(logged)" "^concurrency: pid N - $cant\$"
	passes_in "Q5: an engine that $how" ipthrottle 0 140
done
for flags in '--check 77' '--check concurrency' '--check overload' '--check tarpit' '--code 250' '--delay 30001'; do
	# shellcheck disable=SC2086 # words
	engine --verdict close --check ipthrottle $flags
	is "Q5: an answer with $flags: it passes" "$(spp -- plugins/ipthrottle)" "$passed"
done
engine --how silent
passes_in 'Q5: an engine that never answers' spillway-rcpt 140 $soon
engine --wait 60000
passes_in 'Q5: an engine that takes its time' ipthrottle 140 $soon
engine --verdict close --check ipthrottle
kill -STOP "$asked"
passes_in 'Q14: an engine that is stopped' ipthrottle 140 $soon
is 'Q14: it is logged, once' "$(spp -- plugins/spillway-rcpt; logged)" "$passed
concurrency: pid N - $cant"
n=0
while [ $n -lt 10 ]; do # until its backlog is full
	(cd "$home" && "$bin/many" --times 15 --jobs 20 --reply none -- plugins/ipthrottle) >"$work/many" 2>/dev/null
	[ "$(sed -n 's/^us: \([0-9]*\) .*/\1/p' "$work/many")" -gt 140000 ] || break
	n=$((n + 1))
done
passes_in 'Q14: stopped, and its socket full' ipthrottle 0 140
passes_in 'Q14: stopped, and its socket full' spillway-rcpt 0 140
kill -CONT "$asked"
# shellcheck disable=SC2317,SC2329 # called by wait_for
refuses() {
	[ "$(spp -- plugins/ipthrottle)" = "$refused" ]
}
wait_for 5000 refuses
ok 'Q14: it goes on, and so do we' $?
kill -9 "$asked"
end_started "$asked"
asked=''
passes_in 'Q14: killed, its sockets still there' ipthrottle 0 140
rm -f "$run"/*.sock
passes_in 'Q14: no socket' ipthrottle 0 140
for what in file fifo directory link; do
	case $what in
	file) : >"$run/ask.sock" ;;
	fifo) mkfifo "$run/ask.sock" ;;
	directory) mkdir "$run/ask.sock" ;;
	link) ln -s ask.sock "$run/ask.sock" ;;
	esac
	passes_in "Q14: a $what in its place" ipthrottle 0 140
	rm -rf "$run/ask.sock"
done
engine --how deaf
spp -- plugins/ipthrottle >"$work/out"
passes_in 'Q14: an engine that takes no connection' spillway-rcpt 0 140

# --- Q5: blocked elsewhere -------------------------------------------------------------------------

blocks=$work/ipsvd
mkdir "$blocks"
if ! command -v strace >/dev/null; then
	skip 'Q5: a block on a dead file system' 'needs strace'
elif [ -n "$instrumented" ]; then
	skip 'Q5: a block on a dead file system' "$instrumented"
else
	engine --verdict close --check ipthrottle --may-block
	blocked="reply: 451 $slow_down Blocking for 2 minutes.|out: 1|outcome: refuse|exit: 0"
	# The first openat is of the state, the second of the instruction file.
	got=$(IPSVDIR=$blocks answered -- ":exec strace -qq -o /dev/null -e trace=openat -e inject=openat:delay_enter=400000:when=2 plugins/ipthrottle")
	is 'Q5: a block that takes 0.4 s: the reply stands' "$got" "$blocked"
	for error in EIO EACCES ENOSPC EROFS EMFILE EINTR; do
		got=$(IPSVDIR=$blocks answered -- ":exec strace -qq -o /dev/null -e trace=openat -e inject=openat:error=$error:when=2 plugins/ipthrottle")
		is "Q5: a block that fails with $error: the reply stands" "$got" "$blocked"
	done
	for call in socket connect sendmsg recvfrom; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=$call -e inject=$call:error=ENOMEM plugins/ipthrottle")
		is "Q5: $call fails: it passes" "$got" "$passed"
	done
	for call in connect sendmsg poll recvfrom; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=$call -e inject=$call:delay_enter=400000:when=1 plugins/ipthrottle")
		is "Q5: $call takes 0.4 s: it gives up" "$got" "$passed"
	done
	for error in EINTR EAGAIN ENOMEM; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=poll -e inject=poll:error=$error:when=1 plugins/ipthrottle")
		case $error in
		EINTR) is 'Q5: poll is interrupted: it waits on' "$got" "$refused" ;;
		*) is "Q5: poll fails with $error: it passes" "$got" "$passed" ;;
		esac
	done
	rm -f "$blocks"/*
fi

# --- Q6: closed descriptors ------------------------------------------------------------------------

engine --verdict close --check ipthrottle
for fds in 0 0,2 2; do
	is "Q6: closed: $fds: the reply" "$(answered --close $fds -- plugins/ipthrottle)" "$refused"
done
for fds in 0,1 0,1,2 1 1,2; do
	: >"$work/asked"
	is "Q6: closed: $fds: no word, and nobody is asked" "$(spp --close $fds -- plugins/ipthrottle)$(cat "$work/asked")" "$passed"
done
if command -v strace >/dev/null; then
	for fds in '' '2>&-' '<&- 2>&-'; do
		(cd "$home" && strace -qq -s 200 -o "$work/strace" -e trace=write,writev,pwrite64,sendto,sendmsg,sendfile \
			sh -c "exec plugins/ipthrottle $fds") </dev/null >/dev/null 2>&1
		wanted='sendmsg write(1'
		[ -n "$fds" ] || wanted='sendmsg write(1 write(2'
		is "Q12: one question, one reply, one line of log (closed: ${fds:-none})" \
			"$(sed -n 's/^\(write([0-9]*\),.*/\1/p; s/^\(sendmsg\)([3-9].*/\1/p; s/^\(writev\|pwrite64\|sendto\|sendfile\)(.*/\1/p' \
				"$work/strace" | paste -sd ' ' -)" "$wanted"
	done
else
	skip 'Q12: one question, one reply, one line of log' 'needs strace'
fi

# A log that does not move is not waited for.
mkfifo "$work/full"
exec 8<>"$work/full"
head -c 65536 /dev/zero >&8
engine --how closes
(cd "$home" && "$bin/many" --times 5 -- plugins/ipthrottle 2>&8) >"$work/many"
within 'Q5: a log that does not move: quickest of 5, us' "$(sed -n 's/^us: \([0-9]*\) .*/\1/p' "$work/many")" 0 140000
exec 8>&-

# --- Q11: limits -----------------------------------------------------------------------------------

engine --verdict close --check ipthrottle
if [ -n "$instrumented" ]; then
	skip 'Q11: limits' "$instrumented"
else
	for kb in 4000 5000 6000 8000 10000 15000 20000 50000; do
		is "Q11: RLIMIT_AS $kb kB" "$(answered --limit-kb $kb -- plugins/spillway-rcpt)" "$refused"
	done
	is 'Q11: RLIMIT_DATA and RLIMIT_STACK of 500 kB' "$(answered -- ':ulimit -d 500; ulimit -s 500; exec plugins/ipthrottle')" "$refused"
	is 'Q11: no file may grow, and the log is one' "$(answered -- ':ulimit -f 0; exec plugins/ipthrottle')" "$refused"
	is 'Q11: four descriptors are enough' "$(answered -- ':ulimit -n 4; exec plugins/ipthrottle')" "$refused"
	is 'Q11: none to ask with: it passes' "$(spp -- ':exec 0</dev/null; ulimit -n 3; exec plugins/ipthrottle')" "$passed"
fi
is 'Q11: a large environment' "$(BIG=$(printf '%0100000d' 0) answered -- plugins/ipthrottle)" "$refused"
is 'Q11: an environment that is nearly empty' "$(spp -- ":exec env -i SPILLWAY_RUN_DIR=$run plugins/ipthrottle")" "$passed"

# --- Q7: not a byte of a stranger ------------------------------------------------------------------

texts=$("$bin/hostile" --count)
together='' in_each=1
if grep -q __asan_init "$B/spillway-plugin"; then
	together=--together in_each=0
fi
# Run the table through variables.  On a machine that stands still a plugin gives up; nearly all are refused all the same.
hostile() { # NAME VAR,... PLUGIN REPLY WORDS-OF-THE-LOG (an extended regular expression)
	# shellcheck disable=SC2086 # a word or none
	(cd "$home" && "$bin/many" --hostile "$2" $together --reply "$4" -- "plugins/$3") >"$work/many" 2>"$work/log"
	is "$1: the reply or nothing, and exit code 0" "$(sed -n 's/^\(others\|failed\): //p' "$work/many" | paste -sd ' ' -)" '0 0'
	sed -n 's/^other: /# &/p' "$work/many"
	within "$1: replies" "$(sed -n 's/^replies: //p' "$work/many")" $((runs * 95 / 100)) "$runs"
	is "$1: the log says that, nothing else" "$(grep -cvE "^[a-z]+: pid [0-9]+ - ($5|$cant)\$" "$work/log")" 0
	within "$1: lines in it" "$(wc -l <"$work/log")" $((runs * 95 / 100)) $((runs + $(sed -n 's/^late: //p' "$work/many")))
}
vars=SMTPMAILFROM,SMTPHELOHOST,SMTPRCPTTO,TCPREMOTEHOST,TCPREMOTEINFO,TCPREMOTEPORT,SMTPRCPTCOUNT,SMTPAUTHMETHOD
runs=$((texts * (8 * in_each + 1)))
engine --verdict close --check ipthrottle
hostile 'Q7: ipthrottle' $vars ipthrottle "E451 $slow_down" 'Rate exceeded per IP \(192\.0\.2\.1\)'
state --extended
engine --verdict close --check rcptthrottle --id r7m3
hostile 'Q7: rcptthrottle, extended texts' $vars spillway-rcpt 'E451 4.5.3 Too many recipients. Please slow down. [r7m3]' \
	'Too many recipients per IP \(192\.0\.2\.1\) \[r7m3\]'
state
engine --verdict close --check concurrency
hostile 'Q7: concurrency' $vars spillway-rcpt 'E451 Too many connections held open. Please close some first.' \
	'Too many connections per IP \(192\.0\.2\.1\)'
is 'Q7: no record was malformed' "$(grep -c malformed "$work/asked")" 0

# An address is an address, or there is none.
engine --verdict close --check ipthrottle
(cd "$home" && "$bin/many" --hostile TCPREMOTEIP --together --reply "E451 $slow_down" -- plugins/ipthrottle) >"$work/many" 2>"$work/log"
is 'Q7: an address of any text: a reply or none' "$(sed -n 's/^\(others\|failed\): //p' "$work/many" | paste -sd ' ' -)" '0 0'
is "Q7: the log names an address or says that there is none" \
	"$(grep -cvE "^ipthrottle: pid [0-9]+ - (511 No IP address|Rate exceeded per IP \\([0-9a-f.:]+\\)|$cant)\$" "$work/log")" 0

# A user may be called anything, and is printed anew.
engine --verdict close --check userthrottle
(cd "$home" && "$bin/many" --hostile SMTPAUTHUSER --together --reply "E451 $slow_down" -- plugins/userthrottle) >"$work/many" 2>"$work/log"
named=$(sed -n 's/^replies: //p' "$work/many")
within 'Q7: users of any name: refused' "$named" $((texts * 9 / 10)) "$texts"
is 'Q7: users of any name: no other word' "$(sed -n 's/^\(others\|failed\): //p' "$work/many" | paste -sd ' ' -)" '0 0'
is 'Q7: a line in the log for each, nothing else' \
	"$(grep -cvE "^userthrottle: pid [0-9]+ - (Rate exceeded per user \\([ -~]{1,260}\\)|$cant)\$" "$work/log")" 0
is 'Q7: all printable' "$(tr -d '\n -~' <"$work/log" | wc -c)" 0

# What only the operator sets.  (Directories of any name are left to the fuzzer, which creates nothing.)
engine
(cd "$home" && "$bin/many" --hostile TARPITCOUNT,TARPITDELAY,SMTPRCPTCOUNTALL --together --reply none -- plugins/tarpit) >"$work/many" 2>"$work/log"
is 'Q7: numbers that are none: it passes' "$(sed -n 's/^\(passes\|others\|failed\): //p' "$work/many" | paste -sd ' ' -)" "$texts 0 0"
is 'Q7: and says so, or nothing' "$(grep -cvE "^tarpit: pid [0-9]+ - can't get number of envelope recipients\$" "$work/log")" 0

finish
