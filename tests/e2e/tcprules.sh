#!/bin/sh
# SPDX-License-Identifier: ISC
#
# tcprules - blocks in the cdb of the real tcpserver: refused at connect without a process, admitted again at their time, the
# administrator's rules in force all the while
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
	skip "blocks under the real tcpserver" "no network namespace"
	finish
fi
if ! command -v tcpserver >/dev/null 2>&1 || ! command -v tcprules >/dev/null 2>&1; then
	skip "blocks under the real tcpserver" "no ucspi-tcp here"
	finish
fi

port=2526
mkdir "$work/etc" "$work/bin"
rules=$work/etc/tcp.smtp
cdb=$rules.cdb
tcprules=$work/bin/tcprules
ln -s "$(command -v tcprules)" "$tcprules"
: >"$work/served"
chmod 666 "$work/served"

# --- tcpserver, and who knocks ---------------------------------------------------------------------

compile() {
	tcprules "$cdb" "$work/etc/admin.tmp" <"$rules"
}

cat >"$rules" <<'E2'
# the administrator's own
198.18.9.9:deny
198.18.5.:allow,RELAYCLIENT="",WHO="customers"
198.18.5.5:allow,RELAYCLIENT="",WHO="office"
:allow
E2
touch -d '1 minute ago' "$rules"
compile

start_tcpserver() {
	tcpserver -vHRl0 -c 100 -x "$cdb" 127.0.0.1 "$port" \
		sh -c 'echo "$TCPREMOTEIP" >>"$0"; echo "220 ${RELAYCLIENT-no} relay for ${WHO-all}"; exec cat >/dev/null' \
		"$work/served" >>"$work/tcpserver.log" 2>&1 3>&- 4<&- &
	tcpserver=$!
	started="$started $tcpserver"
	wait_for 5000 gets_in 198.19.255.254
}

knock() { # 198.18.x.y
	"$bin/knock" "$1" 127.0.0.1 "$port"
}

gets_in() { # ADDRESS
	[ "$(knock "$1")" = "220 no relay for all" ]
}

is_refused() { # ADDRESS
	[ "$(knock "$1")" = closed ]
}

served() { # ADDRESS: how often
	grep -cx -- "$1" "$work/served"
}

# --- the action, in a process of its own -----------------------------------------------------------

start_ctl() { # [options]
	rm -f "$work/in" "$work/out"
	mkfifo "$work/in" "$work/out"
	"$bin/blockctl" --tcprules "$rules" "$cdb" --command "$tcprules" "$@" <"$work/in" >"$work/out" 2>"$work/ctl.log" &
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

answer_of() { # status, or neutral all|outdated: our line of it
	echo "$*" >&3
	while read -r line <&4 && [ "$line" != . ]; do
		echo "$line"
	done | grep '^tcprules'
}

status_has() { # EXTENDED-REGEX
	answer_of status | grep -qE -- "$1"
}

start_tcpserver
ok "tcpserver serves" $?
is "the administrator's denial holds" "$(knock 198.18.9.9)" closed
start_ctl

# --- refused, and admitted again -------------------------------------------------------------------

knock 198.18.1.1 >/dev/null
before=$(served 198.18.1.1)
then=$(now_ms)
ask put 198.18.1.1 deny 4 k7m2q >/dev/null
wait_for 3000 is_refused 198.18.1.1
ok "a blocked address is refused at connect" $?
took=$(($(now_ms) - then))
echo "# after $took ms"
within "... soon, ms" "$took" 0 2500
refused_from=$(served 198.18.1.1)
knock 198.18.1.1 >/dev/null
knock 198.18.1.1 >/dev/null
is "... without a process for it" "$(served 198.18.1.1)" "$refused_from"
like "... as tcpserver says too" "$(cat "$work/tcpserver.log")" 'tcpserver: deny [0-9]+ .*198\.18\.1\.1'
gets_in 198.18.1.2
ok "its neighbour is served" $?
wait_for 3000 status_has '^tcprules ours=1 foreign=4 ok$'
ok "the status tells" $?
wait_for 15000 gets_in 198.18.1.1
ok "it is admitted again" $?
took=$(($(now_ms) - then))
within "... at its time, ms" "$took" 3900 9000
wait_for 3000 status_has 'ours=0'
ok "... and is no block any more" $?
[ "$before" -ge 1 ] && [ "$(served 198.18.1.1)" -gt "$refused_from" ]
ok "... and has its process" $?

# --- beside the administrator's rules --------------------------------------------------------------

for a in 198.18.5.5/32 198.18.5.6/32 198.18.7.0/24 198.18.9.9/32 198.18.64.0/18; do
	ask put "$a" deny 3600 k7m2q >/dev/null
done
wait_for 5000 is_refused 198.18.7.200
wait_for 5000 is_refused 198.18.127.255
ok "a prefix is refused" $?
is "... and what is beside it not" "$(knock 198.18.8.1)" "220 no relay for all"
is "an address with a rule of its own keeps it, with RELAYCLIENT" "$(knock 198.18.5.5)" "220  relay for office"
is "one that only has a network's rule is refused" "$(knock 198.18.5.6)" closed
is "... the others of that network are not, with RELAYCLIENT" "$(knock 198.18.5.7)" "220  relay for customers"
is "a prefix of odd length: first" "$(knock 198.18.64.0)" closed
is "... last" "$(knock 198.18.127.255)" closed
is "... before" "$(knock 198.18.63.255)" "220 no relay for all"
is "... behind" "$(knock 198.18.128.0)" "220 no relay for all"

# --- while it is compiled again and again ----------------------------------------------------------

(
	i=0
	while [ "$i" -lt 60 ]; do
		i=$((i + 1))
		knock 198.18.7.1
		knock 198.18.8.1
	done | sort | uniq -c | sed 's/^ *//' >"$work/answers"
) 3>&- 4<&- &
asking=$!
i=0
while [ "$i" -lt 12 ]; do
	i=$((i + 1))
	ask put "198.18.20.$i" deny 3600 k7m2q >/dev/null
	wait_for 5000 is_refused "198.18.20.$i" || break
done
is "each change came into force" "$i" 12
wait "$asking"
is "nobody got a wrong answer meanwhile" "$(tr '\n' ',' <"$work/answers")" "60 220 no relay for all,60 closed,"

# --- somebody else compiles ------------------------------------------------------------------------

then=$(now_ms)
compile
wait_for 5000 is_refused 198.18.7.200
ok "compiled without us: ours are in again" $?
within "... soon, ms" $(($(now_ms) - then)) 0 3000
wait_for 3000 status_has ' ok$'
printf ':deny\n' >>"$rules"
ask put 198.18.21.1 deny 3600 k7m2q >/dev/null
wait_for 3000 status_has 'not ok: .*an edit in progress'
ok "an edit in progress is waited for" $?
is "... what is in force stays" "$(knock 198.18.7.200)" closed
is "... and nothing more" "$(knock 198.18.21.1)" "220 no relay for all"
sed -i '$d' "$rules"
compile
wait_for 5000 is_refused 198.18.21.1
ok "... until it is compiled" $?

# --- tcprules fails --------------------------------------------------------------------------------

mv "$tcprules" "$tcprules.gone"
ask put 198.18.22.1 deny 3600 k7m2q >/dev/null
wait_for 5000 status_has 'not ok: cannot run .*/tcprules: No such file'
ok "tcprules is gone: the status says so" $?
is "... mail flows" "$(knock 198.18.8.1)" "220 no relay for all"
is "... and blocks hold" "$(knock 198.18.7.200)" closed
mv "$tcprules.gone" "$tcprules"
wait_for 12000 is_refused 198.18.22.1
ok "... and it heals by itself" $?

# --- nobody remembers ------------------------------------------------------------------------------

then=$(now_ms)
ask put 198.18.30.1 deny 4 k7m2q >/dev/null
wait_for 3500 is_refused 198.18.30.1
ok "a short one is refused" $?
kill_ctl
while [ $(($(now_ms) - then)) -lt 6000 ]; do
	sleep 0.1
done
is "killed: a denial has no end of its own" "$(knock 198.18.30.1)" closed
start_ctl
is "neutral, outdated" "$(answer_of neutral outdated)" "tcprules ok"
is "... admits what is over" "$(knock 198.18.30.1)" "220 no relay for all"
is "... and nothing else" "$(knock 198.18.7.200)" closed
is "neutral, all" "$(answer_of neutral all)" "tcprules ok"
is "... admits all" "$(knock 198.18.7.200)" "220 no relay for all"
is "... but whom the administrator denies" "$(knock 198.18.9.9)" closed
end_ctl
tcprules "$work/plain.cdb" "$work/plain.tmp" <"$rules"
cmp -s "$work/plain.cdb" "$cdb"
ok "the cdb is what the administrator would have compiled" $?
is "nothing is left over" "$(find "$work/etc" -name '*spillway*')" ""
kill "$tcpserver"
finish
