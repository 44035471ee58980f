#!/bin/sh
# SPDX-License-Identifier: ISC
#
# plugin_guard - the plugin can only fail open: crashes, hangs, closed descriptors, tiny limits, one write
#
# Rows of the failure list: Q4 Q5 Q6 Q11 Q12.  Builds with sanitizers leave the handlers out, and can't live in 4 MB:
# what needs that says SKIP there.

# shellcheck disable=SC2016 # what is in single quotes is expanded by the shells that run it
. "$(dirname -- "$0")/lib.sh"

make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
plugin=$home/plugins/overload
flag=$home/control/overloaded
reply='Temporary Failure: Server overload'

instrumented=''
if grep -qE '__asan_init|__gcov_init' "$B/spillway-plugin"; then
	instrumented='this build leaves the handlers out'
fi
# Where a leak is looked for by ptrace, strace is in the way.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

state() {
	"$bin/mkstate" "$run" || echo '# mkstate failed'
}

# What spp tells of it, but for the time, joined by '|'.
spp() { # [spp options] -- PLUGIN
	(cd "$home" && "$bin/spp" --mail "$@" 2>"$work/log") | tee "$work/spp" | sed '/^ms: /d' | paste -sd '|' -
}

spp_ms() {
	sed -n 's/^ms: //p' "$work/spp"
}

refused="reply: 451 $reply|out: 1|outcome: close|exit: 0"
passed='out: 0|outcome: pass|exit: 0'
export TCPREMOTEIP=192.0.2.1 SMTPMAILFROM=a@remote.test

# --- Q4: crashes -----------------------------------------------------------------------------------

how='NULL_dereference abort stack_overflow trap'
n=0
for name in $how endless_loop; do
	n=$((n + 1))
	if [ -n "$instrumented" ]; then
		skip "Q4: $name" "$instrumented"
		continue
	fi
	crash=$B/crash/spillway-plugin-$n
	is "Q4: $name: no word, exit code 0" "$(spp --timeout 5 -- "$crash")" "$passed"
	if [ "$name" = endless_loop ]; then
		within 'Q5: the endless loop ends at its deadline, ms' "$(spp_ms)" 190 1000
	fi
	is "Q4: $name, with nothing open" "$(spp --timeout 5 --close 0,1,2 -- "$crash")" "$passed"
	is "Q4: $name, with 4000 kB" "$(spp --timeout 5 --limit-kb 4000 -- "$crash")" "$passed"
	is "Q4: $name, with signals blocked and ignored by whoever started us" \
		"$(spp --timeout 5 -- ":exec env --block-signal --ignore-signal $crash")" "$passed"

	# The whole way: qmail-smtpd, a session, a message.
	printf '[connection]\n%s\n[helo]\n%s\n[mail]\n%s\n[rcpt]\n%s\n[data]\n%s\n' "$crash" "$crash" "$crash" "$crash" \
		"$crash" >"$home/control/smtpplugins"
	printf 'EHLO c.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: 1\r\n\r\nx\r\n.\r\nQUIT\r\n' |
		ENABLE_SPP='' "$bin/smtpd" "$home" 2>/dev/null >"$work/smtp"
	is "Q4: $name at every stage: the mail is accepted" "$(tr -d '\r' <"$work/smtp" | grep -v ^250- |
		sed 's/^250 SIZE .*/250 ehlo/; s/^\(250 ok\) [0-9]* qp.*/\1 queued/' | paste -sd '|' -)" \
		'220 mx.example.test ESMTP|250 ehlo|250 ok|250 ok|354 go ahead|250 ok queued|221 mx.example.test'
done

# Signals from outside: qmail-smtpd's supervisor stops the service, limits strike.
state
if [ -n "$instrumented" ]; then
	skip 'Q4: a signal from outside' "$instrumented"
else
	# Stopped by a full pipe, it waits in its one write: time to hit it.
	mkfifo "$work/full"
	exec 8<>"$work/full"
	head -c 65536 /dev/zero >&8
	for signal in TERM ALRM SEGV BUS FPE ILL TRAP ABRT SYS XCPU XFSZ; do
		(cd "$home" && exec "$plugin") >&8 2>/dev/null &
		victim=$!
		sleep 0.02
		kill -s $signal $victim
		wait $victim
		is "Q4: SIG$signal: exit code 0" $? 0
	done
	exec 8>&-
	rm "$work/full"
fi

# --- Q5: blocked -----------------------------------------------------------------------------------

# Its standard output is full and nobody reads: the write blocks until the deadline.
if [ -n "$instrumented" ]; then
	skip 'Q5: a write that blocks' "$instrumented"
else
	mkfifo "$work/full"
	exec 8<>"$work/full"
	head -c 65536 /dev/zero >&8
	began=$(now_ms)
	(cd "$home" && exec "$plugin") >&8 2>"$work/log"
	is 'Q5: a write that blocks: exit code 0' $? 0
	within 'Q5: at the deadline, ms' $(($(now_ms) - began)) 180 1000
	exec 8>&-
	rm "$work/full"
fi

# The log is full and nobody reads: the refusal is not worth waiting for it.
mkfifo "$work/full"
exec 8<>"$work/full"
head -c 65536 /dev/zero >&8
(cd "$home" && "$bin/many" --times 20 --reply "R451 $reply" -- plugins/overload 2>&8) >"$work/many"
is 'Q5: a log that does not move: the reply goes out' "$(sed -n 's/^replies: //p' "$work/many")" 20
within 'Q5: without waiting, us' "$(sed -n 's/^us: \([0-9]*\) .*/\1/p' "$work/many")" 0 100000
exec 8>&-
rm "$work/full"

if ! command -v strace >/dev/null; then
	skip 'Q5: a state on a dead file system' 'needs strace'
elif [ -n "$instrumented" ]; then
	skip 'Q5: a state on a dead file system' "$instrumented"
else
	for call in openat read; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=$call -e inject=$call:delay_enter=400000:when=1 $plugin")
		is "Q5: $call takes 0.4 s: it gives up" "$got" "$passed"
		within 'Q5: and does nothing behind it, ms' "$(spp_ms)" 390 2000
	done
	for error in EIO EACCES EINTR ENOMEM EMFILE; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=openat -e inject=openat:error=$error $plugin")
		is "Q5: openat fails with $error: no opinion" "$got" "$passed"
	done
	# The refusal stands, whatever fails behind it.
	for call in socket sendmsg poll setitimer sigaltstack rt_sigaction; do
		got=$(spp -- ":exec strace -qq -o /dev/null -e trace=$call -e inject=$call:error=ENOMEM $plugin")
		is "Q5: $call fails: the refusal stands" "$got" "$refused"
	done
fi

# --- Q6: closed descriptors ------------------------------------------------------------------------

state
chmod 666 "$run/state"
: >"$flag"
chmod 666 "$flag"
touch -d @1000000000 "$run/state" "$flag"
sum=$(cat "$run/state" "$flag" | cksum)

open_or() { # FD REDIRECTION: the redirection when bit FD of $c says closed
	case $((c >> $1 & 1)) in
	1) printf ' %s' "$2" ;;
	esac
}

c=0
while [ $c -lt 8 ]; do
	closes="$(open_or 0 '<&-')$(open_or 1 '>&-')$(open_or 2 '2>&-')"
	name="closed:${closes:- none}"
	wanted_out="R451 $reply"
	[ $((c >> 1 & 1)) -eq 0 ] || wanted_out=''
	wanted_log="overload: N $reply"
	[ $((c >> 1 & 3)) -eq 0 ] || wanted_log=''
	(cd "$home" && sh -c "exec \"\$0\" $closes" "$plugin") </dev/null >"$work/out" 2>"$work/log"
	is "Q6: $name: exit code 0" $? 0
	is "Q6: $name: the reply" "$(cat "$work/out")" "$wanted_out"
	is "Q6: $name: the log" "$(sed 's/: [0-9]* /: N /' "$work/log")" "$wanted_log"
	if command -v strace >/dev/null; then
		(cd "$home" && strace -qq -o "$work/strace" -e trace=write,writev,pwrite64,sendto,sendmsg,sendfile,ftruncate \
			sh -c "exec \"\$0\" $closes" "$plugin") </dev/null >/dev/null 2>&1
		writes=''
		[ -z "$wanted_out" ] || writes='write(1'
		[ -z "$wanted_log" ] || writes='write(1 write(2'
		is "Q6: $name: what it writes to" \
			"$(sed -n 's/^\(write([0-9]*\),.*/\1/p; s/^\(writev\|pwrite64\|sendto\|sendfile\|ftruncate\)(.*/\1/p' \
				"$work/strace" | paste -sd ' ' -)" "$writes"
	else
		skip "Q6: $name: what it writes to" 'needs strace'
	fi
	is "Q6: $name: state and flag are as they were" \
		"$(cat "$run/state" "$flag" | cksum) $(stat -c %Y "$run/state" "$flag" | paste -sd ' ' -)" \
		"$sum 1000000000 1000000000"
	c=$((c + 1))
done
for fds in 0 0,1 0,2 0,1,2 1 2 1,2; do
	case $fds in
	*1*) is "Q6: as qmail-spp, closed: $fds: no word" "$(spp --close $fds -- "$plugin")" "$passed" ;;
	*) is "Q6: as qmail-spp, closed: $fds: the reply" "$(spp --close $fds -- "$plugin")" "$refused" ;;
	esac
done
rm -f "$flag"

# Standard output is there, but not for writing.
(cd "$home" && exec "$plugin" </dev/null 1</dev/null 2>"$work/log")
is 'Q6: output open for reading only: exit code 0' $? 0

# --- Q11: limits -----------------------------------------------------------------------------------

state
if [ -n "$instrumented" ]; then
	skip 'Q11: RLIMIT_AS' "$instrumented"
else
	for kb in 4000 5000 6000 8000 10000 15000 20000 50000; do
		is "Q11: RLIMIT_AS $kb kB" "$(spp --limit-kb $kb -- "$plugin")" "$refused"
	done
	is 'Q11: RLIMIT_DATA and RLIMIT_STACK of 500 kB' "$(spp -- ":ulimit -d 500; ulimit -s 500; exec $plugin")" "$refused"
fi
if [ -n "$instrumented" ]; then
	skip 'Q11: no file may grow, and the log is one' "$instrumented"
else
	is 'Q11: no file may grow, and the log is one' "$(spp -- ":ulimit -f 0; exec $plugin")" "$refused"
fi
is 'Q11: no core' "$(spp -- ":ulimit -c 0; exec $plugin")" "$refused"
if [ -n "$instrumented" ]; then
	skip 'Q11: few descriptors' "$instrumented"
else
	is 'Q11: four descriptors are enough' "$(spp -- ":ulimit -n 4; exec $plugin")" "$refused"
	is 'Q11: none to open with: no opinion' "$(spp -- ":exec 0</dev/null; ulimit -n 2; exec $plugin")" "$passed"
fi
is 'Q11: an empty environment but for the run directory' \
	"$(spp -- ":exec env -i SPILLWAY_RUN_DIR=$run $plugin")" "$refused"
is 'Q11: a large environment' "$(BIG=$(printf '%0100000d' 0) spp -- "$plugin")" "$refused"

# --- Q12: one write, one reply ---------------------------------------------------------------------

is 'Q12: SIGPIPE default: one reply' "$(spp --sigpipe-default -- "$plugin")" "$refused"
if command -v strace >/dev/null; then
	for pipe in '' --sigpipe-default; do
		# shellcheck disable=SC2086 # empty or one word
		got=$(spp $pipe -- ":exec strace -qq -s 99 -o $work/strace -e trace=write,writev,pwrite64,pwritev,sendto,sendmsg,sendfile $plugin")
		is "Q12: under strace ${pipe:-SIGPIPE ignored}: the reply" "$got" "$refused"
		is "Q12: exactly one write to 1, whole, with its line feed" "$(grep '(1, ' "$work/strace")" \
			"$(printf 'write(1, "R451 %s\\n", 40) = 40' "$reply")"
		is "Q12: exactly one to 2, behind it" "$(sed -n 's/^write(\([0-9]*\),.*/\1/p' "$work/strace" | paste -sd ' ' -)" '1 2'
	done
else
	skip 'Q12: exactly one write to 1' 'needs strace'
fi
if [ -n "$instrumented" ]; then
	skip 'Q12: nobody reads the reply' "$instrumented"
else
	(cd "$home" && env --default-signal=PIPE sh -c 'sleep 0.03; "$0"; echo $? >"$1"' "$plugin" "$work/code" 2>"$work/log") | :
	wait_for 2000 test -s "$work/code"
	is 'Q12: nobody reads the reply: no crash' "$(cat "$work/code")" 0
	like 'Q12: and it is logged' "$(cat "$work/log")" "^overload: [0-9]+ $reply\$"
fi

finish
