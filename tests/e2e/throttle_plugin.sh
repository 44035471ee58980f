#!/bin/sh
# SPDX-License-Identifier: ISC
#
# throttle_plugin - whom does the plugin ask the engine about, what does it ask, and what does it make of the answer?
#
# The engine is tests/standin/asked, which says what it was told to.  Rows of the failure list: Q2 Q8 Q9.

. "$(dirname -- "$0")/lib.sh"

# The plugin allocates nothing, and to look for leaks takes longer than all that it does.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
make_home --plain
run=$SPILLWAY_RUN_DIR
mkdir "$run"
for name in spillway-connection spillway-helo spillway-auth spillway-data ipthrottle userthrottle rcptthrottle concurrency tarpit; do
	ln -s "$B/spillway-plugin" "$home/plugins/$name"
done
for name in IPSVDIR TARPITCOUNT TARPITDELAY SMTPHELOHOST SMTPRCPTTO SMTPRCPTCOUNTALL TCPREMOTEHOST; do
	unset "$name"
done

slow_down='Too many connections. Please reduce connections per minute.'
too_many='Too many connections held open. Please close some first.'
slow_rcpt='Too many recipients. Please slow down.'
overload='Temporary Failure: Server overload'

state() {
	rm -rf "$run/state"
	"$bin/mkstate" "$run" --level normal "$@" || echo "# mkstate failed: $*"
}
every=connection=concurrency+ipthrottle,helo=concurrency+ipthrottle,auth=concurrency+ipthrottle+userthrottle
every=$every,mail=overload+concurrency+ipthrottle+userthrottle+rcptthrottle
every=$every,rcpt=overload+concurrency+ipthrottle+userthrottle+rcptthrottle+tarpit
every=$every,data=overload+concurrency+ipthrottle+userthrottle

asked=''
engine() { # [options of asked]
	[ -z "$asked" ] || end_started "$asked"
	rm -f "$run"/*.sock
	"$bin/asked" "$run" "$@" >>"$work/asked" & # question() empties the file
	asked=$!
	started="$started $asked"
	wait_for 2000 test -S "$run/rate.sock"
}

# What the client gets, and the outcome, in a word.  On a machine that stands still for a while the plugin gives up, as it
# should; then once more, for that is not what is tested here.
at() { # STAGE NAME
	tries=0
	while :; do
		(cd "$home" && "$bin/spp" "--$1" -- "plugins/$2" 2>"$work/plugin.log") >"$work/spp"
		tries=$((tries + 1))
		if [ $tries -gt 5 ] || ! grep -q "Can't connect" "$work/plugin.log"; then
			break
		fi
		head -n -1 "$work/asked" >"$work/asked-before"
		cat "$work/asked-before" >"$work/asked"
	done
	sed -n 's/^reply: //p;s/^outcome: //p' "$work/spp" | paste -sd ' ' -
}

# The log of the last one, with N for the number of qmail-smtpd.
logged() {
	sed 's/: pid [0-9]* - /: pid N - /; s/^overload: [0-9]* /overload: N /' "$work/plugin.log" | paste -sd '|' -
}

# What the engine was asked, since the last time.
question() {
	sed 's/pid=[0-9]*/pid=N/' "$work/asked" | paste -sd '|' -
	: >"$work/asked"
}

# The variables as they are at a stage.
set_at() { # STAGE
	case $1 in
	connection) ;;
	helo) echo SMTPHELOHOST=c.test ;;
	auth) echo SMTPHELOHOST=c.test SMTPAUTHMETHOD=plain ;;
	mail) echo SMTPHELOHOST=c.test SMTPMAILFROM=a@remote.test ;;
	*) echo SMTPHELOHOST=c.test SMTPMAILFROM=a@remote.test SMTPRCPTTO=bob@example.test SMTPRCPTCOUNTALL=3 ;;
	esac
}
user='SMTPAUTHUSER=alice RELAYCLIENT='

as() { # STAGE NAME [VAR=VALUE...]: run it with what is set at the stage, and those
	(
		stage=$1 name=$2
		shift 2
		# shellcheck disable=SC2046,SC2163 # words
		export PROTO=TCP $(set_at "$stage") "$@"
		at "$stage" "$name"
	)
}

export TCPREMOTEIP=192.0.2.1

# --- what each is refused with, and where ----------------------------------------------------------

state --stages $every
refused() { # CHECK TEXT WORDS-OF-THE-LOG STAGE...
	check=$1 text=$2 words=$3
	shift 3
	who=''
	[ "$check" != userthrottle ] || who=$user
	for stage; do
		case $stage in
		rcpt | data) wanted="451 $text refuse" ;;
		*) wanted="421 $text close" ;;
		esac
		# shellcheck disable=SC2086 # words
		is "$check at $stage: refused" "$(as "$stage" "spillway-$stage" $who)" "$wanted"
		is "$check at $stage: logged" "$(logged)" "$check: pid N - $words"
	done
}
engine --verdict close --check concurrency
refused concurrency "$too_many" 'Too many connections per IP (192.0.2.1)' connection helo auth mail rcpt data
engine --verdict close --check ipthrottle
refused ipthrottle "$slow_down" 'Rate exceeded per IP (192.0.2.1)' connection helo auth mail rcpt data
engine --verdict close --check userthrottle
refused userthrottle "$slow_down" 'Rate exceeded per user (alice)' mail rcpt data
engine --verdict close --check rcptthrottle
refused rcptthrottle "$slow_rcpt" 'Too many recipients per IP (192.0.2.1)' rcpt
is 'rcptthrottle: a user by name' "$(as rcpt spillway-rcpt SMTPAUTHUSER=alice) $(logged)" \
	"451 $slow_rcpt refuse rcptthrottle: pid N - Too many recipients per user (alice)"
engine --verdict refuse --check ipthrottle --code 550
is 'the form of the reply is ours, not the engine'"'"'s' "$(as mail spillway-mail)" "421 $slow_down close"
engine
for stage in connection helo auth mail rcpt data; do
	is "at $stage: the engine has nothing against it" "$(as $stage spillway-$stage) $(logged)" 'pass '
done

# --- by their own names, wherever they stand -------------------------------------------------------

state --stages ''
by_name() { # CHECK TEXT STAGE...
	check=$1 text=$2
	shift 2
	who=''
	[ "$check" != userthrottle ] || who=$user
	for stage; do
		# DATA can't be told from RCPT, nor AUTH from HELO; what comes of it is the same.
		case $stage in
		rcpt | data) wanted="451 $text refuse" like=rcpt ;;
		auth) wanted="421 $text close" like=helo ;;
		*) wanted="421 $text close" like=$stage ;;
		esac
		: >"$work/asked"
		# shellcheck disable=SC2086 # words
		is "by its name at $stage: $check" "$(as "$stage" "$check" $who)" "$wanted"
		like "and it asks for itself alone, as at $like" "$(question)" "^ask: $like [a-z]+ overload 0 0 .* wants=$check\$"
	done
}
engine --verdict close --check concurrency
by_name concurrency "$too_many" connection helo auth mail rcpt data
engine --verdict close --check ipthrottle
by_name ipthrottle "$slow_down" connection helo auth mail rcpt data
engine --verdict close --check userthrottle
by_name userthrottle "$slow_down" mail rcpt data
engine --verdict close --check rcptthrottle
by_name rcptthrottle "$slow_rcpt" rcpt
is 'rcptthrottle stands at RCPT, whatever is set' "$(as mail rcptthrottle)" "451 $slow_rcpt refuse"
: >"$work/asked"
is 'so does tarpit' "$(as mail tarpit SMTPRCPTCOUNTALL=60)" pass
like 'and asks' "$(question)" '^ask: rcpt .* wants=tarpit delay=2000$'
engine --verdict close --check ipthrottle
is 'by name, the MAIL behind a transaction looks like RCPT: the milder reply' \
	"$(as mail ipthrottle SMTPRCPTTO=bob@example.test SMTPRCPTCOUNTALL=1)" "451 $slow_down refuse"
state --stages mail=ipthrottle
is 'by the name of the stage it does not' \
	"$(as mail spillway-mail SMTPRCPTTO=bob@example.test SMTPRCPTCOUNTALL=1)" "421 $slow_down close"
like 'nor is the recipient of then told' "$(question | sed 's/.*|//')" '^ask: mail stranger .* sender=a@remote\.test episode= wants=ipthrottle$'

# --- one question, with all that is known ----------------------------------------------------------

state --stages $every --episode e4k2
engine
all() { # STAGE [VAR=VALUE...]
	: >"$work/asked"
	stage=$1
	shift
	as "$stage" "spillway-$stage" "$@" >"$work/out"
	question
}
is 'asked at connection' "$(all connection TCPREMOTEHOST=host.test)" \
	'ask: connection stranger overload 0 0 pid=N ip=192.0.2.1 episode=e4k2 host=host.test wants=concurrency,ipthrottle'
is 'asked at helo' "$(all helo)" \
	'ask: helo stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test episode=e4k2 wants=concurrency,ipthrottle'
is 'a stale sender is not told at helo' "$(all helo SMTPMAILFROM=b@remote.test)" \
	'ask: helo stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test episode=e4k2 wants=concurrency,ipthrottle'
is 'asked at mail' "$(all mail)" \
	'ask: mail stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test episode=e4k2 wants=concurrency,ipthrottle'
is 'asked at rcpt, with a delay' "$(all rcpt TARPITCOUNT=2 TARPITDELAY=N)" \
	'ask: rcpt stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test recipient=bob@example.test episode=e4k2 wants=concurrency,ipthrottle,rcptthrottle,tarpit delay=4000'
is 'asked at rcpt, without' "$(all rcpt)" \
	'ask: rcpt stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test recipient=bob@example.test episode=e4k2 wants=concurrency,ipthrottle,rcptthrottle'
is 'asked at data' "$(all data)" \
	'ask: data stranger overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test episode=e4k2 wants=concurrency,ipthrottle'
like 'the process that is named is qmail-smtpd' \
	"$(as connection spillway-connection >"$work/out"; sed 's/.*pid=\([0-9]*\).*/\1/' "$work/asked")" '^[1-9][0-9]*$'
: >"$work/asked"
is 'the address in its one form' "$(TCPREMOTEIP=::ffff:192.0.2.7 as connection ipthrottle; TCPREMOTEIP=2001:DB8:0::1 as connection ipthrottle; question | grep -oE ' ip=[^ ]*' | paste -sd '' -)" \
	"$(printf 'pass\npass\n ip=192.0.2.7 ip=2001:db8::1')"

# --- Q9: own users ---------------------------------------------------------------------------------

state --stages $every
engine
: >"$work/asked"
for stage in connection helo auth mail rcpt data; do
	is "Q9: at $stage: a relay client is nobody's business" "$(as $stage spillway-$stage RELAYCLIENT=)$(question)" pass
	is "Q9: at $stage: nor one with an empty user" "$(as $stage spillway-$stage RELAYCLIENT=x SMTPAUTHUSER=)$(question)" pass
done
for stage in connection helo auth; do
	is "Q9: at $stage: a user is not asked about before MAIL" "$(as $stage spillway-$stage SMTPAUTHUSER=alice)$(question)" pass
done
is 'Q9: at mail: of a user the mails count' "$(all mail SMTPAUTHUSER=alice)" \
	'ask: mail own overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test user=alice episode= wants=userthrottle'
is 'Q9: at rcpt: and the recipients, without delay' "$(all rcpt SMTPAUTHUSER=alice RELAYCLIENT= TARPITCOUNT=1)" \
	'ask: rcpt own overload 0 0 pid=N ip=192.0.2.1 helo=c.test sender=a@remote.test recipient=bob@example.test user=alice episode= wants=userthrottle,rcptthrottle'
for name in ipthrottle concurrency tarpit overload; do
	is "Q9: by the name $name: own users pass unasked" \
		"$(as rcpt $name SMTPAUTHUSER=alice TARPITCOUNT=1), $(as rcpt $name RELAYCLIENT= TARPITCOUNT=1)$(question)" 'pass, pass'
done
for name in userthrottle rcptthrottle; do
	is "Q9: by the name $name: relay clients without a name pass unasked" "$(as rcpt $name RELAYCLIENT=)$(question)" pass
done
is 'Q9: userthrottle has no opinion on strangers' "$(as mail userthrottle) $(as mail userthrottle SMTPAUTHUSER=)$(question)" 'pass pass'
for check in concurrency ipthrottle tarpit overload; do
	engine --verdict close --check $check
	is "Q9: an engine that refuses a user for $check is not obeyed" \
		"$(as mail spillway-mail SMTPAUTHUSER=alice), $(as rcpt spillway-rcpt SMTPAUTHUSER=alice)" 'pass, pass'
done
state --stages $every --level critical
is 'Q9: nor are they at level critical put off for load' "$(as mail spillway-mail SMTPAUTHUSER=alice), $(as mail spillway-mail RELAYCLIENT=)" 'pass, pass'

# --- overload goes first, and needs nobody ---------------------------------------------------------

engine --verdict close --check ipthrottle
: >"$work/asked"
is 'overloaded: the state decides, nobody is asked' "$(as mail spillway-mail)$(logged)$(question)" \
	"451 $overload closeoverload: N $overload"
state --stages $every --level critical --admit stranger=1000
is 'who is admitted is asked about' "$(as mail spillway-mail)" "421 $slow_down close"
state --stages $every
: >"$home/control/overloaded"
is "an operator's flag: nobody is asked" "$(question >"$work/out"; as mail spillway-mail; question)" "451 $overload close"
is 'but where it does not count' "$(as helo spillway-helo)" "421 $slow_down close"
rm "$home/control/overloaded"

# --- Q2: no lease, no question ---------------------------------------------------------------------

question >"$work/out"
unasked() { # NAME
	is "$1" "$(as connection spillway-connection), $(as connection ipthrottle), $(as mail userthrottle SMTPAUTHUSER=alice)$(question)$(cat "$work/plugin.log")" \
		'pass, pass, pass'
}
state --stages $every --age 10001 --valid 10000
unasked 'Q2: a lease that is over: nobody is asked'
state --stages $every --age -60000
unasked 'Q2: of the future: nobody is asked'
state --stages $every --version 2
unasked 'Q15: of another version: nobody is asked'
rm -f "$run/state"
unasked 'Q2: no state: nobody is asked'
state --stages mail=overload
is 'a stage that enables no check: nobody is asked' "$(as connection spillway-connection) $(as mail spillway-mail)$(question)" 'pass pass'

# --- Q8: no usable address -------------------------------------------------------------------------

state --stages $every
for ip in unknown '' 1.2.3.4.5 010.1.1.1 fe80::1%eth0 '1.2.3.4 '; do
	is "Q8: TCPREMOTEIP='$ip' passes, unasked, and is logged" "$(TCPREMOTEIP=$ip as connection spillway-connection) $(logged)$(question)" \
		'pass ipthrottle: pid N - 511 No IP address'
done
is 'Q8: so does none at all' "$(unset TCPREMOTEIP; as connection ipthrottle) $(logged)$(question)" \
	'pass ipthrottle: pid N - 511 No IP address'
is 'Q8: concurrency and rcptthrottle say nothing' \
	"$(unset TCPREMOTEIP; as connection concurrency; logged; as rcpt rcptthrottle; logged; question)" "$(printf 'pass\n\npass\n')"
engine --verdict close --check rcptthrottle
is 'Q8: a user needs no address' "$(unset TCPREMOTEIP; as rcpt rcptthrottle SMTPAUTHUSER=alice)" "451 $slow_rcpt refuse"

# --- words -----------------------------------------------------------------------------------------

state --stages $every --extended --episode e4k2
engine --verdict close --check ipthrottle --id r7m3
is 'extended: the code and the id of the refusal' "$(as connection spillway-connection) $(logged)" \
	"421 4.7.0 $slow_down [r7m3] close ipthrottle: pid N - Rate exceeded per IP (192.0.2.1) [r7m3]"
is 'extended, at rcpt' "$(as rcpt spillway-rcpt)" "451 4.7.0 $slow_down [r7m3] refuse"
engine --verdict close --check concurrency --id r7m3
is 'extended: concurrency' "$(as connection spillway-connection)" "421 4.7.0 $too_many [r7m3] close"
engine --verdict close --check rcptthrottle --id r7m3
is 'extended: rcptthrottle' "$(as rcpt spillway-rcpt)" "451 4.5.3 $slow_rcpt [r7m3] refuse"
engine --verdict close --check userthrottle --id r7m3
is 'extended: userthrottle' "$(as mail spillway-mail SMTPAUTHUSER=alice)" "421 4.7.0 $slow_down [r7m3] close"
engine --verdict close --check ipthrottle
is 'extended: a refusal without an id' "$(as connection spillway-connection)" "421 4.7.0 $slow_down close"
state --stages $every --episode e4k2
engine --verdict close --check ipthrottle --id r7m3
is 'compatible texts show no id' "$(as connection spillway-connection) $(logged)" \
	"421 $slow_down close ipthrottle: pid N - Rate exceeded per IP (192.0.2.1)"
engine --verdict close --check userthrottle
is 'a user is printed anew' "$(SMTPAUTHUSER=$(printf 'a\nR451 x\377\134') as mail spillway-mail) $(logged)" \
	"421 $slow_down close userthrottle: pid N - Rate exceeded per user (a\\x0aR451 x\\xff\\x5c)"
is 'and cut' "$(SMTPAUTHUSER=$(printf '%0300d' 0) as mail spillway-mail) $(logged)" \
	"421 $slow_down close userthrottle: pid N - Rate exceeded per user ($(printf '%064d' 0)...)"

# --- IPSVDIR: an instruction file as ipsvd wants it ------------------------------------------------

blocks=$work/ipsvd
mkdir "$blocks"
files() {
	(cd "$blocks" && find . ! -name . -exec stat -c '%n %a %s' {} + | sed 's|^\./||' | sort | paste -sd ',' -)
}
blocking="421 $slow_down Blocking for 2 minutes. close"
engine --verdict close --check ipthrottle --may-block
is 'blocked' "$(as connection spillway-connection IPSVDIR="$blocks")" "$blocking"
is 'and logged' "$(logged)" 'ipthrottle: pid N - Rate exceeded per IP (192.0.2.1)|ipthrottle: pid N - Blocked 192.0.2.1'
is 'by a file that denies, and that tcpsvd forgets' "$(files)" '192.0.2.1 200 0'
touch -d @1000000000 "$blocks/192.0.2.1"
is 'again: the reply is the same' "$(as connection ipthrottle IPSVDIR="$blocks")" "$blocking"
is 'nothing is logged of a block that is there' "$(logged)" 'ipthrottle: pid N - Rate exceeded per IP (192.0.2.1)'
is 'nor is its age changed' "$(stat -c %Y "$blocks/192.0.2.1")" 1000000000
rm "$blocks/192.0.2.1"
echo C5 >"$blocks/192.0.2.1"
chmod 644 "$blocks/192.0.2.1"
as connection ipthrottle IPSVDIR="$blocks" >"$work/out"
is "a person's instruction stays" "$(files)" '192.0.2.1 644 3'
rm "$blocks/192.0.2.1"
for mask in 0000 0022 0077 0777; do
	(umask $mask && as connection ipthrottle IPSVDIR="$blocks" >"$work/out")
	is "umask $mask: the mode is what it must be" "$(files)" '192.0.2.1 200 0'
	rm "$blocks/192.0.2.1"
done
is 'at rcpt: the recipient is refused, the address blocked' "$(as rcpt spillway-rcpt IPSVDIR="$blocks") $(files)" \
	"451 $slow_down Blocking for 2 minutes. refuse 192.0.2.1 200 0"
rm "$blocks/192.0.2.1"
is 'mapped: the name is the dotted quad' "$(TCPREMOTEIP=::ffff:192.0.2.9 as connection ipthrottle IPSVDIR="$blocks") $(files)" \
	"$blocking 192.0.2.9 200 0"
rm "$blocks/192.0.2.9"
unblocked="421 $slow_down close"
is 'IPv6: ipsvd knows none, so none is promised' "$(TCPREMOTEIP=2001:db8::1 as connection ipthrottle IPSVDIR="$blocks") $(files)" "$unblocked "
for ip in 127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1; do
	is "loopback is never blocked: $ip" "$(TCPREMOTEIP=$ip as connection ipthrottle IPSVDIR="$blocks") $(files)" "$unblocked "
done
is 'an empty IPSVDIR is none' "$(as connection ipthrottle IPSVDIR=)" "$unblocked"
ln -s "$work/elsewhere" "$blocks/192.0.2.1"
is 'a link in its place is not followed' "$(as connection ipthrottle IPSVDIR="$blocks") $(find "$work/elsewhere" 2>/dev/null)" "$blocking "
rm "$blocks/192.0.2.1"
is 'a directory that is not there' "$(as connection ipthrottle IPSVDIR="$work/nowhere") $(logged)" \
	"$blocking ipthrottle: pid N - Rate exceeded per IP (192.0.2.1)|ipthrottle: pid N - Can't block 192.0.2.1"
is 'one with too long a name' "$(as connection ipthrottle IPSVDIR="/$(printf '%0300d' 0)") $(logged)" \
	"$blocking ipthrottle: pid N - Rate exceeded per IP (192.0.2.1)|ipthrottle: pid N - Can't block 192.0.2.1"
engine --verdict close --check concurrency --may-block
is 'only ipthrottle blocks' "$(as connection spillway-connection IPSVDIR="$blocks") $(files)" "421 $too_many close "
engine --verdict close --check userthrottle --may-block
is 'a user who is refused does not get the address blocked' "$(as mail spillway-mail SMTPAUTHUSER=alice IPSVDIR="$blocks") $(files)" "$unblocked "
engine --verdict pass --may-block
is 'nor is one who passes' "$(as connection ipthrottle IPSVDIR="$blocks") $(files)" 'pass '
engine --verdict close --check ipthrottle
is 'a protected address is not blocked' "$(as connection ipthrottle IPSVDIR="$blocks") $(files)" "$unblocked "

if command -v tcpsvd >/dev/null && command -v tcpclient >/dev/null && command -v unshare >/dev/null && unshare -n true 2>/dev/null; then
	# tcpsvd itself reads the file.  Loopback is never blocked, hence an address of our own making.
	engine --verdict close --check ipthrottle --may-block
	TCPREMOTEIP=198.18.0.9 as connection ipthrottle IPSVDIR="$blocks" >"$work/out"
	cat >"$work/ns.sh" <<'E2'
ip link set lo up && ip route add local 198.18.0.0/15 dev lo || exit 9
tcpsvd -i "$1" -t 10 -l me 127.0.0.1 2925 echo admitted 2>/dev/null &
for n in 1 2 3 4 5 6 7 8; do
	tcpclient -RHl0 -i 198.18.0.8 127.0.0.1 2925 sh -c 'cat <&6' 2>/dev/null | grep -q admitted && break
	sleep 0.1
done
say() { echo "$(tcpclient -RHl0 -i 198.18.0.$1 127.0.0.1 2925 sh -c 'cat <&6' 2>/dev/null)"; }
echo "$(say 8),$(say 9)"
sleep 10.5
echo "$(say 9),$(ls "$1")"
kill $!
E2
	got=$(unshare -n sh "$work/ns.sh" "$blocks" 2>/dev/null | paste -sd ' ' -)
	is 'tcpsvd turns the address away, others not, and forgets it after its time' "$got" 'admitted, admitted,'
else
	skip 'tcpsvd turns the address away' 'needs tcpsvd, tcpclient and unshare -n'
fi

# --- whole sessions --------------------------------------------------------------------------------

talk() {
	printf '%s\r\n' "$@" | ENABLE_SPP='' "$bin/smtpd" "$home" 2>"$work/smtp.log" | tr -d '\r' | grep -v '^250-' |
		sed 's/^250 SIZE.*/250 ehlo/; s/^\(250 ok\) [0-9]* qp.*/\1 queued/' | paste -sd '|' -
}
state --stages $every
printf '[connection]\nplugins/spillway-connection\n[rcpt]\nplugins/spillway-rcpt\n' >"$home/control/smtpplugins"
to='RCPT TO:<alice@example.test>'
engine --verdict close --check rcptthrottle --pass 3
is 'at rcpt: what came before goes through, the session stays' \
	"$(talk 'EHLO c.test' 'MAIL FROM:<a@remote.test>' "$to" "$to" "$to" DATA '.' QUIT)" \
	"220 mx.example.test ESMTP|250 ehlo|250 ok|250 ok|250 ok|451 $slow_rcpt|354 go ahead|250 ok queued|221 mx.example.test"
engine --verdict close --check ipthrottle
is 'at connection: no banner' "$(talk 'EHLO c.test' QUIT)" "421 $slow_down"
printf '[mail]\nplugins/ipthrottle\n' >"$home/control/smtpplugins"
engine --verdict close --check ipthrottle --pass 1
is 'an old control/smtpplugins: the second mail is one too many, and the session stays' \
	"$(talk 'EHLO c.test' 'MAIL FROM:<a@remote.test>' "$to" DATA '.' 'MAIL FROM:<a@remote.test>' QUIT)" \
	"220 mx.example.test ESMTP|250 ehlo|250 ok|250 ok|354 go ahead|250 ok queued|451 $slow_down|221 mx.example.test"

finish
