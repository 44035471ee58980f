#!/bin/sh
# SPDX-License-Identifier: ISC
#
# plugin - whom does the plugin put off, at which stage, on whose word, and with which words?
#
# States come from mkstate, so that no daemon is needed and each can be as old, foreign or broken as wanted.
# Rows of the failure list: Q1 Q2 Q3 Q8 Q9 Q15.

# shellcheck disable=SC2016 # an id that looks like a command
. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
for name in spillway-connection spillway-helo spillway-auth spillway-data spillway-pass spillway- spillway-mailx \
	spillway Overload overloadx; do
	ln -s "$B/spillway-plugin" "$home/plugins/$name"
done

reply='Temporary Failure: Server overload'
closed="451 $reply close"
slow=1
if grep -q __asan_init "$B/spillway-plugin"; then
	slow=20
fi

state() {
	rm -rf "$run/state"
	"$bin/mkstate" "$run" "$@" || echo "# mkstate failed: $*"
}

no_state() {
	rm -rf "$run/state"
}

# What the client gets, and the outcome, in a word.
at() { # STAGE NAME
	(cd "$home" && exec "$bin/spp" "--$1" -- "plugins/$2" 2>"$work/plugin.log") >"$work/at"
	what=''
	while IFS= read -r line; do
		case $line in
		'reply: '* | 'outcome: '*) what="$what ${line#*: }" ;;
		esac
	done <"$work/at"
	echo "${what# }"
}

both() { # by the old name and by the new one
	echo "$(at mail overload), $(at mail spillway-mail)"
}

# Run it some times; the quickest tells whether it waits: a wait ends only with the deadline of 200 ms.
quick() { # NAME MS TIMES
	(cd "$home" && "$bin/many" --times "$3" -- plugins/overload) >"$work/many"
	us=$(sed -n 's/^us: \([0-9]*\) .*/\1/p' "$work/many")
	ok "$1 (quickest of $3: $us us)" "$((us >= $2 * 1000 * slow))"
}

export TCPREMOTEIP=192.0.2.1 SMTPMAILFROM=a@remote.test

# --- no state: no opinion --------------------------------------------------------------------------

is 'Q1: no state: no opinion' "$(both)" 'pass, pass'
quick 'Q1: no state: at once' 5 50
is 'Q1: nothing is logged' "$(cat "$work/plugin.log")" ''
is 'Q1: no run directory either' "$(SPILLWAY_RUN_DIR=$work/nowhere both)" 'pass, pass'
if [ -e /run/spillway/state ]; then
	skip 'Q1: a relative run directory does not count' 'the usual one is in use here'
else
	state
	is 'Q1: a relative run directory does not count' "$(SPILLWAY_RUN_DIR=../run both)" 'pass, pass'
	no_state
fi
long=$work/$(printf '%0300d' 0)
is 'Q1: nor does one with too long a name' "$(SPILLWAY_RUN_DIR=$long both)" 'pass, pass'

# --- levels ----------------------------------------------------------------------------------------

for level in normal busy; do
	state --level $level
	is "level $level: everybody passes" "$(both)" 'pass, pass'
done
for level in overloaded critical; do
	state --level $level
	is "level $level: a stranger waits" "$(both)" "$closed, $closed"
done
like 'the log line is that of the plugin we replace' "$(cat "$work/plugin.log")" "^overload: [0-9]+ $reply\$"

# --- Q2: a lease is a lease ------------------------------------------------------------------------

state --age 9000 --valid 10000
is 'Q2: a lease that still holds' "$(both)" "$closed, $closed"
state --age 10001 --valid 10000
is 'Q2: a lease that is over: no opinion' "$(both)" 'pass, pass'
state --age 600000 --valid 10000
is 'Q2: the daemon was killed ten minutes ago: no opinion' "$(both)" 'pass, pass'
state --age 1 --valid 0
is 'Q2: a lease of no length: no opinion' "$(both)" 'pass, pass'
state --age -60000
is 'Q2: issued in the future: no opinion' "$(both)" 'pass, pass'
state --other-boot
is 'Q2: of another boot: no opinion' "$(both)" 'pass, pass'
state --other-boot --level critical --age 3
is 'Q2: of another boot, and critical: no opinion' "$(both)" 'pass, pass'
"$bin/events" "$run" >/dev/null &
listener=$!
started="$started $listener"
wait_for 2000 test -S "$run/event.sock"
kill "$listener"
wait "$listener" 2>/dev/null
is 'Q2: of another boot, with a dead socket: no opinion' "$(both)" 'pass, pass'
: >"$home/control/overloaded"
is "Q2: but then an operator's flag counts" "$(both)" "$closed, $closed"
rm "$home/control/overloaded" "$run/event.sock"

# --- Q15: another version --------------------------------------------------------------------------

state --version 0
is 'Q15: a state of the version before: no opinion' "$(both)" 'pass, pass'
state --version 2
is 'Q15: a state of the version behind: no opinion' "$(both)" 'pass, pass'
state --version 65535
is 'Q15: a state of any other version: no opinion' "$(both)" 'pass, pass'
state
is 'Q15: of our own version: an opinion' "$(both)" "$closed, $closed"

# --- Q3: odd states --------------------------------------------------------------------------------

# At any length in tests/unit/test_state.c.
opinions=''
for n in 0 1 3 4 5 6 7 8 16 31 32 33 64 100 127 128 151 152 153 158 159; do
	state --cut $n
	got=$(at mail overload)
	[ "$got" = pass ] || opinions="$opinions $n:$got"
done
is 'Q3: a state cut short: no opinion' "$opinions" ''
state --cut 159
quick 'Q3: cut: at once' 50 10

odd() { # NAME: what stands at $run/state now
	is "Q3: $1: no opinion" "$(both)" 'pass, pass'
	quick "Q3: $1: at once" 50 10
	no_state
}

no_state
: >"$run/state"
odd 'a state of 0 bytes'
head -c 160 "$bin/spp" >"$run/state"
odd 'other bytes'
head -c 160 /dev/zero >"$run/state"
odd 'zeros'
state
printf x >>"$run/state"
odd 'a byte too many'
state
truncate -s 1G "$run/state"
odd 'a state of 1 GiB'
mkdir "$run/state"
odd 'a directory as state'
mkfifo "$run/state"
odd 'a FIFO as state'
mkfifo "$run/state"
exec 9<>"$run/state"
odd 'a FIFO with a writer that says nothing'
exec 9>&-
state
mv "$run/state" "$run/elsewhere"
ln -s elsewhere "$run/state"
odd 'a link to a good state'
ln -s nowhere "$run/state"
odd 'a link to nothing'
ln -s state "$run/state"
odd 'a link to itself'
ln -s /dev/zero "$run/state"
odd 'a link to /dev/zero'
ln -s /proc/kmsg "$run/state"
odd 'a link to a file that makes readers wait'
mkdir "$work/s"
"$bin/events" "$work/s" >/dev/null &
listener=$!
started="$started $listener"
wait_for 2000 test -S "$work/s/event.sock"
mv "$work/s/event.sock" "$run/state"
odd 'a socket as state'
kill "$listener"
if mknod "$run/state" c 1 5 2>/dev/null; then
	odd 'a device as state'
else
	skip 'Q3: a device as state' 'mknod needs root'
fi
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	state
	chmod 600 "$run/state"
	mkdir "$work/nobody"
	cp "$B/spillway-plugin" "$work/nobody/overload"
	cp "$bin/spp" "$work/nobody/spp"
	as_nobody() {
		(cd "$home" && setpriv --reuid 65534 --regid 65534 --clear-groups "$work/nobody/spp" --mail -- \
			"$work/nobody/overload" 2>/dev/null) | sed -n 's/^outcome: //p'
	}
	is 'Q3: a state that may not be read: no opinion' "$(as_nobody)" pass
	chmod 644 "$run/state"
	is 'Q3: one that may: an opinion' "$(as_nobody)" close
else
	as_nobody() {
		:
	}
	skip 'Q3: a state that may not be read' 'needs root and setpriv'
fi

# --- Q9: own users, stages, names ------------------------------------------------------------------

# For SMTPAUTHUSER and RELAYCLIENT each unset, empty, set: nine letters.
matrix() { # NAME LETTER: of the reply that is expected
	(cd "$home" && exec "$bin/many" --own --reply "${2}451 $reply" -- "plugins/$1") 2>/dev/null >"$work/many"
	sed -n 's/^map: //p' "$work/many"
}

nobody='.........'
for level in normal busy overloaded critical; do
	state --level $level --stages connection,helo,auth,mail,rcpt,data
	case $level in
	normal | busy) r=. e=. ;;
	*) r=R e=E ;;
	esac
	for stage in connection helo auth; do
		is "Q9: $level: nobody is put off for load at $stage" "$(matrix spillway-$stage R)" "$nobody"
	done
	is "Q9: $level: at mail, strangers alone" "$(matrix spillway-mail R)" "$r..$r....."
	is "Q9: $level: by the old name, strangers alone" "$(matrix overload R)" "$r..$r....."
	is "Q9: $level: at rcpt, strangers alone, and the connection stays" "$(matrix spillway-rcpt E)" "$e..$e....."
	is "Q9: $level: at data, strangers alone, and the connection stays" "$(matrix spillway-data E)" "$e..$e....."
done

state --stages rcpt
is 'a stage that the state does not enable passes' "$(at mail spillway-mail)" pass
is 'one that it enables does not' "$(at rcpt spillway-rcpt)" "451 $reply refuse"
is 'the name of the check asks for it anyway' "$(at mail overload)" "$closed"
state --stages ''
is 'no stage enabled: they pass' "$(at mail spillway-mail), $(at rcpt spillway-rcpt)" 'pass, pass'
state
for name in spillway-pass spillway- spillway-mailx spillway Overload overloadx; do
	is "by the name $name it does nothing" "$(at mail $name)" pass
done
is 'by a path with many slashes' "$(at mail ///./overload)" "$closed"

# --- words -----------------------------------------------------------------------------------------

state --extended --episode e4k2mq7h2
is 'extended texts: enhanced code, evidence id' "$(at mail overload)" "451 4.3.2 $reply [e4k2mq7h2] close"
like 'and the id in the log' "$(cat "$work/plugin.log")" "^overload: [0-9]+ $reply \[e4k2mq7h2\]\$"
is 'extended texts at rcpt' "$(at rcpt spillway-rcpt)" "451 4.3.2 $reply [e4k2mq7h2] refuse"
is 'extended texts at data' "$(at data spillway-data)" "451 4.3.2 $reply [e4k2mq7h2] refuse"
state --extended
is 'extended texts without an episode' "$(at mail overload)" "451 4.3.2 $reply close"
state --episode e4k2mq7h2
is 'compatible texts show no id' "$(at mail overload)" "$closed"
state --extended --episode 'e4k2;~!$(id)%n'
is 'an id is printed as it is' "$(at mail overload)" "451 4.3.2 $reply [e4k2;~!\$(id)%n] close"
state --extended --episode "$(printf 'e\nA')"
is 'an id with a line feed makes no state' "$(at mail overload)" pass

# --- admission -------------------------------------------------------------------------------------

# The answers to many addresses.
map() { # KIND TIMES
	(cd "$home" && "$bin/many" --times "$2" --addresses "$1" --reply "R451 $reply" --log "overload: PID $reply" -- \
		plugins/overload) | sed -n 's/^map: //p'
}

count() { # LETTER, of stdin
	tr -cd "$1" | wc -c
}

many=1200 some=400
if [ $slow -gt 1 ]; then
	many=500 some=100
fi

state --admit stranger=500 --salt 1
one=$(map v4 $many)
within "admit 500 of 1000: of $many addresses" "$(echo "$one" | count .)" $((many * 45 / 100)) $((many * 55 / 100))
is 'each gets one of two answers' "$(echo "$one" | tr -d '.R')" ''
is 'the same addresses get the same answers' "$(map v4 $some)" "$(echo "$one" | cut -c "1-$some")"
state --admit stranger=500 --salt 1 --level critical --age 500
is 'within an episode, also at another level' "$(map v4 $some)" "$(echo "$one" | cut -c "1-$some")"
state --admit stranger=500 --salt 2
map v4 $some | fold -w 1 >"$work/other"
differ=$(echo "$one" | cut -c "1-$some" | fold -w 1 | paste -d '' - "$work/other" | grep -c '\.R\|R\.')
within "another salt chooses others: of $some addresses" "$differ" $((some * 35 / 100)) $((some * 65 / 100))
state --admit stranger=100
within "admit 100 of 1000: of $some addresses" "$(map v4 $some | count .)" $((some * 5 / 100)) $((some * 15 / 100))
state --admit stranger=900
within "admit 900 of 1000: of $some addresses" "$(map v4 $some | count .)" $((some * 85 / 100)) $((some * 95 / 100))
state --admit stranger=0
is "admit none: of $some addresses" "$(map v4 $some | count .)" 0
state --admit stranger=1000
is "admit all: of $some addresses" "$(map v4 $some | count .)" $some
state --admit known=1000 --admit returning=1000 --admit penalised=1000
is 'what other classes are given does not count for strangers' "$(at mail overload)" "$closed"

# More admitted, less admitted: nobody who was in at 300 is out at 700.
state --admit stranger=300 --salt 3
map v4 $some | fold -w 1 >"$work/few"
state --admit stranger=700 --salt 3
is 'who is admitted stays so when more are' "$(map v4 $some | fold -w 1 | paste -d '' "$work/few" - | grep -c '\.R')" 0

state --admit stranger=500 --salt 4
within "IPv6: by prefixes of 64 bits, of $some" "$(map v6 $some | count .)" $((some * 4 / 10)) $((some * 6 / 10))
like 'IPv6: all of one /64 get one answer' "$(map 64 300)" '^(\.{300}|R{300})$'
# An IPv4 address, and the same in IPv6: 20 of them, so that luck can't help.
plain='' mapped='' n=0
while [ $n -lt 20 ]; do
	plain="$plain $(TCPREMOTEIP=198.51.100.$n at mail overload)"
	mapped="$mapped $(TCPREMOTEIP=::ffff:198.51.100.$n at mail overload)"
	n=$((n + 1))
done
is 'Q8: ::ffff:a.b.c.d is a.b.c.d' "$mapped" "$plain"
like 'Q8: and both answers were seen' "$plain" 'pass.*close|close.*pass'

# --- Q8: no usable address -------------------------------------------------------------------------

state
"$bin/events" "$run" >"$work/events" &
listener=$!
started="$started $listener"
wait_for 2000 test -S "$run/event.sock"
told() { # N: that many records have arrived
	[ "$(wc -l <"$work/events")" -ge "$1" ]
}

records=0
for ip in unknown '' ' ' 1.2.3.4.5 010.1.1.1 1.2.3 fe80::1%eth0 ::1::1 '1.2.3.4 ' '[1.2.3.4]' 1.2.3.4/32 softnet; do
	is "Q8: TCPREMOTEIP='$ip' is a stranger's" "$(TCPREMOTEIP=$ip at mail overload)" "$closed"
	records=$((records + 1))
done
is 'Q8: so is none at all' "$(unset TCPREMOTEIP && at mail overload)" "$closed"
records=$((records + 1))
wait_for 2000 told $records
is 'Q8: the events say that the address is unknown' "$(grep -c ' ip=unknown ' "$work/events")" $records
is 'Q8: mapped is told as IPv4' "$(TCPREMOTEIP=::ffff:192.0.2.77 at mail overload)" "$closed"
wait_for 2000 told $((records + 1))
is 'Q8: in the event too' "$(tail -n 1 "$work/events" | sed 's/.* ip=\([^ ]*\) .*/\1/')" 192.0.2.77
state --admit stranger=999
is 'Q8: while not all are admitted, those without address are not' \
	"$(unset TCPREMOTEIP && at mail overload), $(TCPREMOTEIP=fe80::1%eth0 at mail overload)" "$closed, $closed"
state --admit stranger=1000
is 'Q8: when all are, they are' "$(unset TCPREMOTEIP && at mail overload)" pass

# --- what the engine is told -----------------------------------------------------------------------

state --episode e4k2mq7h2
: >"$work/events"
export SMTPHELOHOST=client.test SMTPRCPTTO=bob@example.test
is 'a refusal at mail' "$(at mail overload)" "$closed"
is 'a refusal at rcpt' "$(at rcpt spillway-rcpt)" "451 $reply refuse"
is 'of the null sender' "$(SMTPMAILFROM='' at mail overload)" "$closed"
is 'of a long sender' "$(SMTPMAILFROM=$(printf '%0600d' 0) at mail overload)" "$closed"
wait_for 2000 told 4
is 'its event: a stale recipient of the transaction before is left out' "$(sed -n 1p "$work/events" | sed 's/pid=[0-9]*/pid=N/')" \
	'mail stranger overload 2 451 pid=N ip=192.0.2.1 helo=client.test sender=a@remote.test episode=e4k2mq7h2'
is 'at rcpt: with recipient, and E' "$(sed -n 2p "$work/events" | sed 's/pid=[0-9]*/pid=N/')" \
	'rcpt stranger overload 1 451 pid=N ip=192.0.2.1 helo=client.test sender=a@remote.test recipient=bob@example.test episode=e4k2mq7h2'
like 'the null sender is told as empty' "$(sed -n 3p "$work/events")" ' sender= '
like 'the long one is cut' "$(sed -n 4p "$work/events")" ' sender=0{512}\+88 hash=[0-9a-f]{16} '
is 'who is not refused is not told' "$(SMTPAUTHUSER=alice at mail overload) $(wc -l <"$work/events")" 'pass 4'
at mail overload >"$work/out"
wait_for 2000 told 5
is 'the event names qmail-smtpd by the same number as the log line' "$(tail -n 1 "$work/events" | sed 's/.*pid=\([0-9]*\).*/\1/')" \
	"$(sed 's/overload: \([0-9]*\) .*/\1/' "$work/plugin.log")"
kill "$listener"
unset SMTPHELOHOST SMTPRCPTTO

# --- an operator's pin -----------------------------------------------------------------------------

flag=$home/control/overloaded
now=$(date +%s)
our_line="spillway overloaded since $now $(date -u +%Y-%m-%dT%H:%M:%SZ) e4k2mq7h2: todo 523, limit 100, for 2s"
ours() {
	rm -rf "$flag"
	echo "$our_line" >"$flag"
	touch -d "@$now" "$flag"
}

for daemon_is in dead calm; do
	case $daemon_is in
	dead) no_state ;;
	calm) state --level normal ;;
	esac
	w="the daemon is $daemon_is"
	rm -rf "$flag"
	is "$w, no flag" "$(both)" 'pass, pass'
	: >"$flag"
	is "$w, an empty flag is a pin" "$(both)" "$closed, $closed"
	echo 'maintenance until noon' >"$flag"
	is "$w, a flag with other text is a pin" "$(both)" "$closed, $closed"
	ours
	is "$w, our own flag does not count" "$(both)" 'pass, pass'
	touch "$flag"
	is "$w, our own flag, touched, is a pin" "$(both)" "$closed, $closed"
	ours
	touch -d "@$((now - 1))" "$flag"
	is "$w, touched with another time, is a pin" "$(both)" "$closed, $closed"
	ours
	echo '# leave this closed' >>"$flag"
	is "$w, our own flag, edited, is a pin" "$(both)" "$closed, $closed"
	ours
	mv "$flag" "$work/ours"
	ln -s "$work/ours" "$flag"
	is "$w, a link to a file is a pin" "$(both)" "$closed, $closed"
	rm "$flag"
	ln -s nowhere "$flag"
	is "$w, a link to nothing is none" "$(both)" 'pass, pass'
	rm "$flag"
	mkdir "$flag"
	is "$w, a directory is none" "$(both)" 'pass, pass'
	rmdir "$flag"
	mkfifo "$flag"
	is "$w, a FIFO is none" "$(both)" 'pass, pass'
	quick "$w, a FIFO as flag: at once" 50 10
	rm "$flag"
	ln -s /dev/zero "$flag"
	is "$w, a link to /dev/zero is none" "$(both)" 'pass, pass'
	rm "$flag"
	: >"$flag"
	is "$w, a pin holds for strangers alone" "$(matrix overload R)" 'R..R.....'
	is "$w, a pin counts at no early stage" \
		"$(at connection spillway-connection) $(at helo spillway-helo) $(at auth spillway-auth)" 'pass pass pass'
	ours
	chmod 600 "$flag"
	if [ -n "$(as_nobody)" ]; then
		is "$w, a flag of mode 0600 that is not mine is a pin" "$(as_nobody)" close
	else
		skip "$w, a flag of mode 0600 that is not mine is a pin" 'needs root and setpriv'
	fi
	rm "$flag"
done
no_state
: >"$flag"
is 'a pin has no episode, and compatible texts' "$(SMTPMAILFROM=b@remote.test at mail overload)" "$closed"
like 'a pin is logged alike' "$(cat "$work/plugin.log")" "^overload: [0-9]+ $reply\$"
state --level overloaded --admit stranger=1000
is 'a pin counts also when the state admits all' "$(at mail overload)" "$closed"

# --- a state that changes while it is read ---------------------------------------------------------

rm "$flag"
state
(
	n=0
	while [ $n -lt 100 ]; do
		"$bin/mkstate" "$run" --level critical --salt $n
		n=$((n + 1))
	done
	: >"$work/published"
) &
(cd "$home" && "$bin/many" --times 10 --until "$work/published" --reply "R451 $reply" -- plugins/overload) \
	2>/dev/null >"$work/many"
wait $!
is 'while states are published, each stranger gets the answer' \
	"$(sed -n 's/^passes: //p;s/^others: //p;s/^failed: //p' "$work/many" | paste -sd ' ' -)" '0 0 0'

finish
