#!/bin/sh
# SPDX-License-Identifier: ISC
#
# ipsvd - blocks as instruction files, under the real tcpsvd: refused at connect, admitted again at their time by tcpsvd
# though we are dead, and nobody's file touched
#
# In a network of our own, where 131,072 addresses are clients.

# shellcheck disable=SC2016 # the inner shell expands
if [ -z "${BLOCK_NS-}" ]; then
	BLOCK_NS=none
	for how in 'unshare -n' 'unshare -Urn'; do
		if $how sh -c 'ip link set lo up && ip route add local 198.18.0.0/15 dev lo' 2>/dev/null; then
			BLOCK_NS=$how
			export BLOCK_NS
			exec $how sh -c 'ip link set lo up; ip route add local 198.18.0.0/15 dev lo; exec "$@"' sh "$0" "$@"
		fi
	done
fi

. "$(dirname -- "$0")/lib.sh"

if [ "$BLOCK_NS" = none ]; then
	skip "blocks under the real tcpsvd" "no network namespace"
	finish
fi
if ! command -v tcpsvd >/dev/null 2>&1; then
	skip "blocks under the real tcpsvd" "no tcpsvd here"
	finish
fi

dir=$work/inst
port=2525
t=4
can_be_nobody=''
if [ "$BLOCK_NS" = 'unshare -n' ]; then
	can_be_nobody=yes
fi
: >"$work/served"
chmod 666 "$work/served"

# --- tcpsvd, and who knocks ------------------------------------------------------------------------

# As for a qmail: started by root, runs as a user, who may or may not write into the directory.
start_tcpsvd() { # [options]
	# shellcheck disable=SC2086 # nothing, or two words
	tcpsvd -vv -l here -c 100 ${can_be_nobody:+-u nobody} -i "$dir" "$@" 127.0.0.1 "$port" \
		sh -c 'echo served >>"$0"; echo "220 served"; exec cat >/dev/null' "$work/served" >>"$work/tcpsvd.log" 2>&1 3>&- 4<&- &
	tcpsvd=$!
	started="$started $tcpsvd"
	wait_for 3000 listens
}

listens() {
	[ "$("$bin/knock" 198.19.255.254 127.0.0.1 "$port")" != "no: Connection refused" ]
}

stop_tcpsvd() {
	kill "$tcpsvd" && wait "$tcpsvd" 2>/dev/null
}

knock() { # 198.18.x.y
	"$bin/knock" "$1" 127.0.0.1 "$port"
}

served() {
	wc -l <"$work/served"
}

gets_in() { # ADDRESS
	[ "$(knock "$1")" = "220 served" ]
}

# After how many milliseconds, from a moment on, does it get in?
admitted_after() { # ADDRESS MOMENT
	wait_for 15000 gets_in "$1"
	echo $(($(now_ms) - $2))
}

# --- the action, in a process of its own -----------------------------------------------------------

start_ctl() { # [options]
	rm -f "$work/in" "$work/out"
	mkfifo "$work/in" "$work/out"
	"$bin/blockctl" --ipsvd "$dir" --timeout $t "$@" <"$work/in" >"$work/out" 2>"$work/ctl.log" &
	ctl=$!
	started="$started $ctl"
	exec 3>"$work/in" 4<"$work/out"
}

end_ctl() {
	exec 3>&- 4<&-
	wait "$ctl" 2>/dev/null
}

kill_ctl() {
	kill -9 "$ctl"
	end_ctl
}

ask() { # COMMAND: its answer, of one line
	echo "$*" >&3
	read -r answer <&4
	echo "$answer"
}

status() { # the line of ipsvd
	echo status >&3
	while read -r line <&4 && [ "$line" != . ]; do
		echo "$line"
	done
}

status_has() { # EXTENDED-REGEX
	status | grep -qE -- "$1"
}

do_all() { # COMMAND...: all must say ok
	for c; do
		[ "$(ask "$c")" = ok ] || echo "# $c: $answer"
	done
}

# What there is of files, with all that can be seen of them but when they were read, which tcpsvd does.
listing() {
	find "$dir" -mindepth 1 -printf '%f %m %s %T+ %C+ %i %l\n' | sort
}

# --- deny ------------------------------------------------------------------------------------------

mkdir "$dir"
chmod 775 "$dir"
if [ -n "$can_be_nobody" ]; then
	chgrp nogroup "$dir" # so that tcpsvd may unlink
fi
start_tcpsvd -t $t -C 40
start_ctl
do_all reconcile wait
is "all is well, nothing is there" "$(status)" "ipsvd ours=0 foreign=0 ok"
do_all "put 198.18.0.1 deny 600 e4k2mq7h2"
before=$(served)
is "deny: closed at the very next connection" "$(knock 198.18.0.1)" "closed"
is "deny: without a process of the server" "$(served)" "$before"
is "deny: the neighbour gets in" "$(knock 198.18.0.2)" "220 served"
is "deny: the file is empty, 0200" "$(stat -c '%a %s' "$dir/198.18.0.1")" "200 0"
do_all "remove 198.18.0.1"
is "deny: taken back, it gets in at once" "$(knock 198.18.0.1)" "220 served"

# --- ends, without us ------------------------------------------------------------------------------

do_all "put 198.18.1.1 deny 2 a" "put 198.18.1.2 deny 5 b" "put 198.18.1.3 deny 9 c"
moment=$(now_ms)
kill_ctl
is "ends: a block outlives us" "$(knock 198.18.1.1) $(knock 198.18.1.2) $(knock 198.18.1.3)" "closed closed closed"
within "ends: one of 2 s under -t $t, ms until tcpsvd lets it in" "$(admitted_after 198.18.1.1 "$moment")" 1990 3400
is "ends: the others not yet" "$(knock 198.18.1.2) $(knock 198.18.1.3)" "closed closed"
within "ends: one of 5 s" "$(admitted_after 198.18.1.2 "$moment")" 4990 6400
is "ends: the last not yet" "$(knock 198.18.1.3)" "closed"
within "ends: one of 9 s" "$(admitted_after 198.18.1.3 "$moment")" 8990 10400
is "ends: tcpsvd has unlinked them" "$(listing)" ""

chmod 755 "$dir"
if [ -n "$can_be_nobody" ]; then
	chgrp 0 "$dir"
	start_ctl
	do_all reconcile wait "put 198.18.1.4 deny 1 a" "put 198.18.1.5 explain 6 b"
	moment=$(now_ms)
	kill_ctl
	within "ends: where tcpsvd may not unlink, too" "$(admitted_after 198.18.1.4 "$moment")" 990 2400
	is "ends: ... the file stays" "$(stat -c %a "$dir/198.18.1.4")" 200
	is "ends: an explaining one has not ended" "$(knock 198.18.1.5 | cut -c 1-9)" "421 4.7.0"
	within "ends: nor does knocking make it longer" "$(admitted_after 198.18.1.5 "$moment")" 5990 7400
	start_ctl
	echo "neutral outdated" >&3
	is "ends: ... until it is cleared away" "$(read -r a <&4; read -r b <&4; echo "$a $b")" "ipsvd ok ."
	is "ends: ... both are" "$(listing)" ""
	end_ctl
else
	skip "ends: where tcpsvd may not unlink" "no other user here"
fi

# --- prefixes --------------------------------------------------------------------------------------

start_ctl
do_all reconcile wait "put 198.18.4.0/24 deny 600 a" "put 198.19.0.0/16 deny 600 b" "put 198.18.8.4/30 deny 600 c" \
	"put 2001:db8::/32 deny 600 d"
is "prefixes: /24 /16 /30" "$(for a in 18.4.0 18.4.255 19.7.7 18.8.4 18.8.7; do knock "198.$a"; done | sort | uniq -c |
	sed 's/^ *//')" "5 closed"
is "prefixes: not those beside them" "$(for a in 18.3.255 18.5.0 18.9.9 18.8.3 18.8.8; do knock "198.$a"; done | sort |
	uniq -c | sed 's/^ *//')" "5 220 served"
is "prefixes: files" "$(listing | cut -d ' ' -f 1 | tr '\n' ' ')" "198.18.4 198.18.8.4 198.18.8.5 198.18.8.6 198.18.8.7 198.19 "
wait_for 5000 status_has '^ipsvd ours=3 foreign=0 ok: 1 blocks can.t be instruction files'
ok "prefixes: what can't be expressed is told" $?
do_all "put 198.18.4.9 explain 600 e9"
is "prefixes: a block of an address goes before that of its network" "$(knock 198.18.4.9)" \
	"421 4.7.0 Too much came from your address. Please try again later. [e9]"
do_all "remove 198.18.4.9" "remove 198.19.0.0/16" "remove 198.18.8.4/30"
is "prefixes: ... and then that of its network counts" "$(knock 198.18.4.9)" "closed"
do_all "remove 198.18.4.0/24"
is "prefixes: nothing is left" "$(listing)" ""

# --- explain, throttle -----------------------------------------------------------------------------

do_all "put 198.18.16.1 explain 600 e4k2mq7h2" "put 198.18.16.2 throttle 600 e4k2mq7h3" "put 198.18.16.3 explain 3 short"
before=$(served)
is "explain: the text and the evidence id" "$(knock 198.18.16.1)" \
	"421 4.7.0 Too much came from your address. Please try again later. [e4k2mq7h2]"
is "explain: without a process of the server" "$(served)" "$before"
is "explain: for less than -t it is a deny" "$(knock 198.18.16.3)" "closed"
"$bin/knock" --hold 3000 198.18.16.2 127.0.0.1 "$port" >"$work/one" &
one=$!
"$bin/knock" --hold 3000 198.18.16.2 127.0.0.1 "$port" >"$work/two" &
two=$!
wait_for 3000 grep -q 220 "$work/one"
wait_for 3000 grep -q 220 "$work/two"
ok "throttle: two at a time get in" $?
is "throttle: a third is told" "$(knock 198.18.16.2)" \
	"421 4.7.0 Too many connections from your address at a time. Please try again later. [e4k2mq7h3]"
wait "$one" "$two"
is "throttle: when they are gone the next gets in" "$(knock 198.18.16.2)" "220 served"
end_ctl
rm -f "${dir:?}"/*

# --- the administrator's files ---------------------------------------------------------------------

(umask 0577 && : >"$dir/198.18.32.1")
echo '+CLASS=friend' >"$dir/198.18.32.2"
printf 'echo "554 go away"\n' >"$dir/198.18.32.3"
chmod 755 "$dir/198.18.32.3"
: >"$dir/198.18.33"
: >"$dir/host.example"
ln -s /etc/passwd "$dir/198.18.32.4"
mkdir "$dir/198.18.32.5"
listing >"$work/his"
start_ctl
do_all reconcile wait
for i in 1 2 3 4 5 6; do
	do_all "put 198.18.32.$i deny 600 a" "put 198.18.32.$i explain 600 b"
done
do_all "put 198.18.33.0/24 deny 600 c" wait
is "his: ours yields" "$(knock 198.18.32.1) $(knock 198.18.32.2) $(knock 198.18.32.3) $(knock 198.18.33.7)" \
	"closed 220 served 554 go away 220 served"
wait_for 5000 status_has '^ipsvd ours=1 foreign=7 ok$'
ok "his: they are counted" $?
do_all clock-set wait "remove 198.18.32.2" "remove 198.18.33.0/24" "remove 198.18.32.6" reconcile wait
echo "neutral all" >&3
is "his: neutral" "$(read -r a <&4; read -r b <&4; echo "$a $b")" "ipsvd ok ."
listing >"$work/his.after"
is "his: nothing of them has changed" "$(diff "$work/his" "$work/his.after")" ""
do_all "put 198.18.32.6 deny 600 a"
touch "$dir/198.18.32.6"
do_all "remove 198.18.32.6"
is "his: what he touches is his from then on" "$(knock 198.18.32.6)" "closed"
rm -f "$dir/198.18.32.6"
do_all "put 198.18.32.7 deny 600 a"
rm -f "$dir/198.18.32.7"
gone_again() {
	[ "$(knock 198.18.32.7)" = closed ]
}
wait_for 12000 gone_again
ok "his: what he removes though it is wanted is there again" $?
end_ctl
rm -rf "${dir:?}"/*

# --- another -t, none, and a user who says so ------------------------------------------------------

if [ -n "$can_be_nobody" ]; then
	setpriv --reuid 65534 --regid 65534 --clear-groups tcpsvd -i "$dir" -t 99 127.0.0.1 2526 true 2>/dev/null &
	forged=$!
	started="$started $forged"
	is_nobody() {
		[ "$(stat -c %u "/proc/$forged")" = 65534 ]
	}
	wait_for 3000 is_nobody
	start_ctl
	do_all reconcile wait "put 198.18.48.1 deny 600 a"
	is "-t: a user's tcpsvd is not believed" "$(status)" "ipsvd ours=1 foreign=0 ok"
	kill "$forged"
else
	start_ctl
	do_all reconcile wait "put 198.18.48.1 deny 600 a"
	skip "-t: a user's tcpsvd is not believed" "no other user here"
fi
end_ctl
for options in '-t 9' ''; do
	stop_tcpsvd
	# shellcheck disable=SC2086 # none, or two words
	start_tcpsvd $options -C 40
	start_ctl
	do_all reconcile wait "put 198.18.48.2 deny 600 b" wait
	like "-t: ${options:-none}: status says it" "$(status)" \
		"^ipsvd ours=0 foreign=0 not ok: tcpsvd, pid $tcpsvd, runs with(out -t|.*-t 9, but blocks.ipsvd.timeout is 4)"
	is "-t: ${options:-none}: nothing is written, and what was there is taken back" "$(listing)" ""
	end_ctl
done
stop_tcpsvd
start_ctl
do_all reconcile wait "put 198.18.48.2 deny 600 b" wait
like "-t: no tcpsvd: status says it" "$(status)" "^ipsvd ours=0 foreign=0 not ok: no tcpsvd runs with -i"
is "-t: no tcpsvd: nothing is written" "$(listing)" ""
start_tcpsvd -t $t -C 40
wait_for 6000 status_has '^ipsvd ours=1 foreign=0 ok$'
ok "-t: with the right one it heals by itself" $?
is "-t: ... and the block is in force" "$(knock 198.18.48.2)" "closed"

# --- the directory ---------------------------------------------------------------------------------

mv "$dir" "$work/away"
wait_for 3000 status_has 'not ok: MISSING, and tcpsvd -i refuses EVERYBODY'
ok "directory gone: it is told" $?
is "directory gone: tcpsvd refuses everybody" "$(knock 198.18.48.9)" "closed"
do_all "put 198.18.48.3 deny 600 c"
ok "directory gone: nobody makes it" "$([ ! -e "$dir" ]; echo $?)"
mv "$work/away" "$dir"
wait_for 3000 status_has '^ipsvd ours=2 foreign=0 ok$'
ok "directory back: it heals by itself" $?
is "directory back: both are in force" "$(knock 198.18.48.2) $(knock 198.18.48.3) $(knock 198.18.48.9)" \
	"closed closed 220 served"
end_ctl

# --- kill -9 ---------------------------------------------------------------------------------------

# Whatever it was about to do, the next one knows all as ours, and makes up for it.
start_ctl
do_all reconcile wait
kill_ctl
kills=0 strange=0
while [ "$kills" -lt 40 ]; do
	start_ctl
	echo "reconcile" >&3
	echo "fill 198.18.64.0 3000 600 id$kills" >&3
	echo "wait" >&3
	sleep "0.0$((kills % 10))$kills"
	kill_ctl
	kills=$((kills + 1))
	strange=$((strange + $(find "$dir" -type f ! -perm 0200 ! -perm 1200 | wc -l)))
done
is "kill -9: files that were never meant" "$strange" 0
start_ctl
echo "fill 198.18.64.0 3000 600 again" >&3
read -r answer <&4
do_all reconcile wait
is "kill -9: all are in force" "$(status) $(find "$dir" -type f -perm 0200 | wc -l)" "ipsvd ours=3000 foreign=0 ok 3000"
is "kill -9: the first and the last" "$(knock 198.18.64.0) $(knock 198.18.75.183) $(knock 198.18.75.184)" \
	"closed closed 220 served"
end_ctl
start_ctl
do_all reconcile wait
is "kill -9: none of them is taken for another's" "$(listing)" ""
end_ctl

finish
