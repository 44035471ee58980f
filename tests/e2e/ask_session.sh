#!/bin/sh
# SPDX-License-Identifier: ISC
#
# ask_session - limits in whole SMTP sessions: the real plugin and engine, our qmail-smtpd under the real tcpsvd and tcpserver
#
# In a network namespace of its own, for client addresses that are nobody's; else with loopback's, which are never
# blocked.  Rows of the failure list: Q5 Q9 C3 S1 S5.

if [ "${own_network-}" = '' ] && command -v ip >/dev/null && unshare -n true 2>/dev/null; then
	exec unshare -n env own_network=yes "$0" "$@"
fi

. "$(dirname -- "$0")/lib.sh"

for p in tcpsvd tcpserver tcpclient; do
	if ! command -v $p >/dev/null; then
		skip 'limits in SMTP sessions' "needs $p"
		finish
	fi
done
if [ "${own_network-}" = yes ] && ip link set lo up && ip route add local 198.18.0.0/15 dev lo; then
	one=198.18.1.0 two=198.18.0.2 many=198.19.0.0/16
else
	one=127.0.1.0 two=127.0.0.12 many=127.1.0.0/16
fi

make_home --plain
for p in connection helo mail rcpt; do
	ln -sf "$B/spillway-plugin" "$home/plugins/spillway-$p"
done
ln -sf "$B/spillway-plugin" "$home/plugins/ipthrottle"
printf '[connection]\nplugins/spillway-connection\n[helo]\nplugins/spillway-helo\n[mail]\nplugins/spillway-mail\n%s\n' \
	'[rcpt]
plugins/spillway-rcpt' >"$home/control/smtpplugins"

configure() { # the limits come from stdin
	make_conf <<E
$(cat)
levels = { busy = { }; overloaded = { }; critical = { }; };
E
}

# --- servers and clients ---------------------------------------------------------------------------

port=$((20000 + $$ % 20000))
server=''
serve() { # tcpsvd|tcpserver
	case $1 in
	tcpserver) set -- tcpserver -H -R ;;
	esac
	while :; do
		port=$((port + 1))
		QMAIL_HOME=$home ENABLE_SPP='' "$@" -v -l mx.example.test -c 300 -b 300 0 $port "$bin/smtpd" >>"$work/server.log" 2>&1 &
		server=$!
		started="$started $server"
		if wait_for 2000 tcpclient -RHl0 127.0.0.1 $port true && kill -0 $server 2>/dev/null; then
			return
		fi
	done
}

unserve() {
	kill "$server"
	wait "$server" 2>/dev/null
}

# Sessions from ADDRESS: $result says how many were accepted: "7, the rest refused", or "all".
flood() { # ADDRESS RATE SECONDS [options of flood]
	from=$1 rate=$2 span=$3
	shift 3
	"$bin/flood" --to 127.0.0.1:$port --rate "$rate" --for "$span" --quiet --source "$from" "$@" >"$work/flood.json" 2>"$work/flood.err"
	result="$(number accepted), the rest refused"
	if [ "$(number accepted)" -gt 0 ] && [ "$(number accepted)" -eq "$(number sessions)" ]; then
		result=all
	elif [ $(($(number accepted) + $(number refused_4xx))) -ne "$(number sessions)" ]; then
		result=$(cat "$work/flood.json")
	fi
}

# A plugin that has no answer in time lets pass, as it should: on a machine as busy as tests make it that happens.  Then once
# more, from an address that has not been seen.  $one is the one that it was.
fresh=0
limited() { # COUNT RATE SECONDS [options of flood]
	count=$1
	shift
	for _ in 1 2 3 4; do
		fresh=$((fresh + 1))
		one=${one%.*}.$fresh
		[ -z "${before_each-}" ] || $before_each
		flood "$one" "$@"
		[ "$result" != "$count, the rest refused" ] || break
	done
}

number() { # NAME: in the last flood; nothing when it is not there
	sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$work/flood.json"
}

# A client that connects, says EHLO, and stays.  $holder is its pid; $answer the first line it got.
hold() { # ADDRESS
	: >"$work/hold.out"
	# shellcheck disable=SC2016 # for the client
	tcpclient -RHl0 -i "$1" 127.0.0.1 $port sh -c 'IFS= read -r a <&6; printf "%s\n" "$a" >"$0"; exec sleep 60' "$work/hold.out" \
		2>/dev/null &
	holder=$!
	started="$started $holder"
	wait_for 3000 grep -q . "$work/hold.out"
	answer=$(tr -d '\r' <"$work/hold.out")
}

# --- a flood of connections ------------------------------------------------------------------------

configure <<'E'
limits = { ip = ( ("*", 60, 7) ); ip_mail = ( ("*", 60, 5) ); user = ( ("*", 60, 4) ); rcpt_ip = ( ("*", 60, 3) ); };
plugins = { connection = [ "ipthrottle" ]; mail = [ "overload" ]; };
E
start_daemon
ok "the daemon answers" $?
serve tcpsvd
limited 7 20 1
is "connections from one address: the count gets in, no more" "$result" "7, the rest refused"
is "... at the banner, with 421" "$(number banner:421)" "$(number refused_4xx)"
flood $two 10 0.5
is "another address gets in" "$result" all
"$bin/flood" --to 127.0.0.1:$port --rate 50 --for 2 --quiet --source-net $many >"$work/flood.json" 2>/dev/null
is "a hundred others get in" "$(number accepted)" "$(number sessions)"
like "the log of the server says it in the words of the original" "$(grep "Rate exceeded" "$work/server.log" | tail -n 1)" \
	"^ipthrottle: pid [0-9]+ - Rate exceeded per IP \($one\)$"
like "the daemon says it once" "$(grep -c "ipthrottle refuses at connection: 8/7 in 1m .* by $one\$" "$work/daemon.log")" '^1$'

# --- at MAIL: users --------------------------------------------------------------------------------

configure <<'E'
limits = { ip = ( ("*", 60, 7) ); ip_mail = ( ("*", 60, 5) ); user = ( ("*", 60, 4) ); rcpt_ip = ( ("*", 60, 3) ); };
plugins = { mail = [ "ipthrottle", "userthrottle" ]; texts = "extended"; };
E
spillway reload >/dev/null
ok "reload" $?
published() {
	flood "$two" 1 1
	[ "$result" = all ]
}
wait_for 2000 published
limited 5 15 1
is "mails from one address: the count gets in, no more" "$result" "5, the rest refused"
is "... at MAIL, with 421" "$(number mail:421)" "$(number refused_4xx)"
flood "$one" 4 1 --auth alice:secret
is "an authenticated user from there gets in" "$result" all
offender=$one
limited 0 10 1 --auth alice:secret
like "... as often as a user may" "$result" '^[01], the rest refused$'
one=$offender
is "... and does not use up what the address may" "$(grep -c "userthrottle refuses at mail: 5/4 in 1m .* by alice" "$work/daemon.log")" 1

reply=$(tcpclient -RHl0 -i "$one" 127.0.0.1 $port sh -c 'printf "EHLO x\r\nMAIL FROM:<a@b.test>\r\n" >&7; cat <&6' 2>/dev/null | tr -d '\r' |
	grep '^421')
like "an extended reply has the id" "$reply" '^421 4\.7\.0 Too many connections\. Please .* \[r[a-z2-9]{8}\]$'
id=$(echo "$reply" | sed 's/.*\[//; s/\]//')
known() {
	spillway explain "$id" >"$work/explained" 2>&1
}
wait_for 7000 known
ok "explain finds it" $?
like "explain knows it" "$(cat "$work/explained")" "^$id: $one was refused with 421 at mail \(rule ipthrottle\)$"
like "... and the limit" "$(cat "$work/explained")" '^limit   class ip_mail, pattern \*: 5 in 1m'
is "the log of the daemon has the same id" "$(grep -c "limits: $id: ipthrottle refuses at mail" "$work/daemon.log")" 1
like "the log of the server too" "$(grep -F "[$id]" "$work/server.log" | tail -n 1)" "^ipthrottle: pid [0-9]+ - Rate exceeded per IP \($one\) \[$id\]$"

# --- recipients: the session stays -----------------------------------------------------------------

configure <<'E'
limits = { rcpt_ip = ( ("*", 60, 3) ); };
plugins = { rcpt = [ "rcptthrottle" ]; };
E
spillway reload >/dev/null
rcpts() { # the codes that five recipients get
	tcpclient -RHl0 -i "$1" 127.0.0.1 $port sh -c '
		printf "EHLO x\r\nMAIL FROM:<a@b.test>\r\n" >&7
		for i in 1 2 3 4 5; do printf "RCPT TO:<alice@example.test>\r\n" >&7; done
		printf "QUIT\r\n" >&7; cat <&6' 2>/dev/null | tr -d '\r' | sed -n '/^250 ok/s/ .*//p; /^[45]/s/\([0-9]*\) .*/\1/p; /^221/s/ .*//p' |
		paste -sd ' ' -
}
sleep 0.5
is "recipients: refused one by one, the session stays" "$(rcpts "$one")" "250 250 250 250 451 451 221"
is "... another address is another" "$(rcpts $two)" "250 250 250 250 451 451 221"

# --- connections held ------------------------------------------------------------------------------

configure <<'E'
concurrency = ( ("*", 3) );
plugins = { connection = [ "concurrency" ]; };
E
spillway reload >/dev/null
sleep 0.5
unserve
held_is() {
	[ "$(field limits held now)" = "$1" ]
}
for name in tcpsvd tcpserver; do
	serve $name
	wait_for 3000 held_is 0
	holders=''
	answers=''
	for _ in 1 2 3; do
		hold "$one"
		holders="$holders $holder"
		answers="$answers${answer%% *} "
	done
	is "$name: three connections are held" "$answers$(field limits held now)" "220 220 220 3"
	hold "$one"
	is "$name: the fourth is refused" "$answer" "421 Too many connections held open. Please close some first."
	hold $two
	holders="$holders $holder"
	is "$name: another address is not" "${answer%% *}" 220
	# shellcheck disable=SC2086 # several
	set -- $holders
	kill "$1"
	wait_for 3000 held_is 3
	ok "$name: one ends" $?
	hold "$one"
	holders="$holders $holder"
	is "$name: ... and another gets its place at once" "${answer%% *}" 220
	flood $two 10 1 --connections 2
	is "$name: sessions one after the other are never too many" "$result" all
	# shellcheck disable=SC2086 # several
	kill $holders 2>/dev/null
	wait_for 3000 held_is 0
	ok "$name: all end, nothing is held" $?
	unserve
done

# --- to whom ---------------------------------------------------------------------------------------

configure <<'E'
limits = { ip = ( ("*", 60, 5) ); };
plugins = { connection = [ "ipthrottle" ]; };
E
spillway reload >/dev/null
sleep 0.5
serve tcpsvd
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$home" "$home/plugins" "$work/run"
	foreign() {
		for _ in 1 2 3 4 5 6 7 8 9; do
			(cd "$home" && TCPREMOTEIP=$one setpriv --reuid="$(id -u nobody)" --clear-groups "$home/plugins/ipthrottle" 2>&1)
		done >"$work/foreign"
	}
	before_each=foreign limited 5 20 0.5
	is "C3: a foreign user's plugin does not charge an address" "$result" "5, the rest refused"
	like "C3: ... it is not heard, and lets pass" "$(sort -u "$work/foreign" | sed 's/[0-9]//g')" '^ipthrottle: pid  - '
	is "C3: ... nothing was refused" "$(grep -c 421 "$work/foreign")" 0
else
	skip "C3: the plugin of a foreign user" "needs root and setpriv"
fi

# --- an engine that does not answer ----------------------------------------------------------------

took() { # how long one plugin takes, ms: the best of five, for the machine may be busy
	best=99999
	for _ in 1 2 3 4 5; do
		before=$(now_ms)
		(cd "$home" && TCPREMOTEIP=$one "$home/plugins/ipthrottle" >>"$work/out" 2>/dev/null)
		ms=$(($(now_ms) - before))
		[ "$ms" -ge "$best" ] || best=$ms
	done
	echo "$best"
}
one=198.18.0.9
[ "${own_network-}" = yes ] || one=127.0.0.19
engine=$(child_of engine)
: >"$work/out"
kill -STOP "$engine"
within "Q5: the engine stands still: the plugin gives up, ms" "$(took)" 0 300
is "Q5: ... and refuses nobody" "$(cat "$work/out")" ""
flood "$one" 5 1
is "Q5: mail flows" "$result" all
kill -CONT "$engine"
spillway status >/dev/null
flood "$one" 5 0.8
is "Q5: what was asked meanwhile was not counted" "$result" all
kill -9 "$daemon" "$engine"
wait "$daemon" 2>/dev/null
within "Q5: the daemon is killed: the plugin notices, ms" "$(took)" 0 300
flood "$one" 20 1
is "Q5: ... and mail flows" "$result" all
finish
