#!/bin/sh
# SPDX-License-Identifier: ISC
#
# daemon_privilege - who owns what, who may what, what children inherit: rows F6, F7, F8, F9, F10, O8 of the failure list

. "$(dirname -- "$0")/lib.sh"
# shellcheck source=../fault/inject.sh
. "$root/tests/fault/inject.sh"

nobody=65534
user=''
for u in daemon bin nobody; do
	[ -n "$user" ] || [ "$(id -u "$u" 2>/dev/null || echo 0)" -eq 0 ] || user=$u
done
is_root=false
[ "$(id -u)" -ne 0 ] || [ -z "$user" ] || is_root=true

# A configuration that drops privileges, as far as we have any.
make_dropping_conf() { # [GROUPS]
	make_conf </dev/null
	sed -i "s/user = \"\"; groups = \[ \]/user = \"$user\"; groups = [ ${1-} ]/" "$conf"
}

# The daemon must not start: exit code, and a word.
refused() { # NAME CODE REGEX
	timeout 20 "$B/spillwayd" -c "$conf" 2>"$work/err"
	is "$1: exit code" $? "$2"
	like "$1: ... it says why" "$(cat "$work/err")" "$3"
}

status_of() { # PID KEY: from /proc/PID/status, blanks made one
	awk -v key="$2:" '$1 == key { $1 = ""; sub(/^ /, ""); print }' "/proc/$1/status"
}

make_home --plain

# --- F6, F8: root only ---

if $is_root; then
	uid=$(id -u "$user")
	gid=$(id -g "$user")
	group=$(getent group | awk -F: -v own="$gid" '$3 != own && $3 != 0 { print $1 ":" $3; exit }')
	make_dropping_conf "\"${group%:*}\""

	chown $nobody "$home/control"
	refused "F6: control belongs to somebody else" 100 "control belongs to uid $nobody, but uid 0 writes there; allowed: root"
	chown 0 "$home/control"
	chmod 777 "$home/control"
	refused "F6: control can be written by everybody" 100 "control can be written by everybody"
	chmod 755 "$home/control"
	if [ "$uid" -ne $nobody ]; then
		for dir in state run; do
			mkdir -p "$work/$dir"
			chown $nobody "$work/$dir"
			refused "F6: the $dir directory belongs to somebody else" 111 \
				"$work/$dir belongs to uid $nobody; allowed: uid $uid"
			rmdir "$work/$dir" 2>/dev/null || rm -rf "${work:?}/$dir"
		done
	fi
	rm -rf "$work/state" "$work/run"
	mkdir "$work/state"
	echo precious >"$work/state/of-root"
	refused "F6: a directory of root with something in it is not given away" 111 "$work/state .*not empty"
	is "F6: ... it is still root's" "$(stat -c %u "$work/state")" 0
	rm -rf "$work/state"
	sed -i "s/user = \"$user\"/user = \"no-such-user\"/" "$conf"
	refused "F6: a user that there is not" 100 'no such user'
	make_dropping_conf '"no-such-group"'
	refused "F6: a group that there is not" 100 'there is no group "no-such-group"'
	make_dropping_conf "\"${group%:*}\""

	mkdir "$work/state" # empty and root's: as an administrator may have made it
	start_daemon
	ok "F8: the daemon answers, as $user" $?
	is "F8: it took the empty directory" "$(stat -c %u "$work/state")" "$uid"
	for who in engine recorder; do
		p=$(child_of $who)
		is "F8: $who: user" "$(status_of "$p" Uid)" "$uid $uid $uid $uid"
		is "F8: $who: group" "$(status_of "$p" Gid)" "$gid $gid $gid $gid"
		is "F8: $who: groups" "$(status_of "$p" Groups | tr ' ' '\n' | sort -n | tr '\n' ' ')" \
			"$(printf '%s\n%s\n' "$gid" "${group#*:}" | sort -n | tr '\n' ' ')"
		is "F8: $who: capabilities" "$(status_of "$p" CapEff) $(status_of "$p" CapPrm) $(status_of "$p" CapInh)" \
			"0000000000000000 0000000000000000 0000000000000000"
		is "F8: $who: no new privileges" "$(status_of "$p" NoNewPrivs)" 1
		is "F8: $who: nothing of root's directories is open" \
			"$(find "/proc/$p/fd" -lname "$home/control*" | wc -l)" 0
	done
	is "F8: the keeper stays root" "$(status_of "$daemon" Uid)" "0 0 0 0"
	is "F8: the sockets belong to $user" "$(stat -c %u "$work/run/control.sock" "$work/run/event.sock" | sort -u)" "$uid"
	spillway force overloaded --for 1m >/dev/null
	wait_for 3000 flag_is_there
	is "F8: the flag belongs to root" "$(stat -c %u "$home/control/overloaded")" 0
	spillway force auto >/dev/null
	stop_daemon

	# --- F7: each step of the drop fails, or pretends ---

	for who in engine recorder; do
		for call in setgroups setresgid setresuid no_new_privs; do
			: >"$work/daemon.log"
			inject_daemon FI_CALL=$call FI_COMM=$who FI_ERRNO=1 FI_STICKY=1
			wait_for 5000 logged "cannot drop privileges: $call: Operation not permitted"
			ok "F7: $who: $call fails: it says so" $?
			wait_for 2000 logged "the $who ended with exit code 111"
			ok "F7: $who: $call fails: ... and ends" $?
			is "F7: $who: $call fails: ... nobody goes on without" "$(child_of $who)" ""
			stop_daemon
		done
		for call in setresgid setresuid; do
			: >"$work/daemon.log"
			inject_daemon FI_CALL=$call FI_COMM=$who FI_SHORT=1 FI_STICKY=1
			wait_for 5000 logged 'cannot drop privileges: privileges can be regained'
			ok "F8: $who: $call says yes and does nothing: noticed" $?
			wait_for 2000 logged "the $who ended with exit code 111"
			ok "F8: $who: ... and ended" $?
			stop_daemon
		done
	done
	for call in setgroups setresgid setresuid no_new_privs; do
		# shellcheck disable=SC2094 # it is told the name, and reads fd 0
		LD_PRELOAD=$preload FI_CALL=$call FI_ERRNO=1 "$B/spillwayd" --parse-configuration "$conf" \
			<"$conf" >"$work/out" 2>"$work/err"
		is "F7: the reader of the configuration: $call fails: exit code" "$? $(wc -c <"$work/out")" "111 0"
	done
	rm -rf "$work/state" "$work/run"
else
	skip "F6: owners" "needs root"
	skip "F7: dropping privileges fails" "needs root"
	skip "F8: privileges are gone" "needs root"
fi

# --- F9: masks ---

modes() {
	stat -c '%n %a' "$work/run" "$work/state" "$work/run/control.sock" "$work/run/event.sock" "$work/run/state" \
		"$work/run/homes" "$work/run/lock" "$work/state/spillway.db" "$home/control/overloaded" | sed "s|$work/||"
}

make_conf </dev/null
for mask in 000 077 027; do
	rm -rf "$work/run" "$work/state"
	umask $mask
	"$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" &
	daemon=$!
	umask 022
	started="$started $daemon"
	wait_for 5000 spillway status
	spillway force overloaded --for 1m >/dev/null
	wait_for 3000 flag_is_there
	is "F9: the modes of all files under umask $mask" "$(modes | tr '\n' ';')" \
		"run 755;state 750;run/control.sock 666;run/event.sock 666;run/state 644;run/homes 644;run/lock 600;$(
		)state/spillway.db 644;qmail/control/overloaded 644;"
	spillway force auto >/dev/null
	stop_daemon
done

# --- F10: what a helper inherits ---

cat >"$work/qstat" <<E2
#!/bin/sh
echo \$\$ >"$work/helper"
sleep 2
echo "messages in queue: 0"
echo "messages in queue but not yet preprocessed: 0"
E2
chmod 755 "$work/qstat"
make_conf <<E2
probes = { qstat = { command = "$work/qstat"; every = "1h"; }; };
E2
# shellcheck disable=SC2094 # 7 is there to be closed
SECRET=do-not-tell "$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" 7<"$conf" 9<"$home/control" &
daemon=$!
started="$started $daemon"
wait_for 5000 test -s "$work/helper"
ok "F10: the helper runs" $?
helper=$(cat "$work/helper")
# The shell itself keeps its script open.
is "F10: it has these descriptors" \
	"$(find "/proc/$helper/fd" -type l ! -lname "$work/qstat" -printf '%f %l\n' | sed 's/:.*//' | sort | tr '\n' ';')" \
	"0 /dev/null;1 pipe;2 pipe;"
is "F10: it has this environment" "$(tr '\0' '\n' <"/proc/$helper/environ" | sort | tr '\n' ';')" \
	"LC_ALL=C;PATH=/usr/local/bin:/usr/bin:/bin;"
# Signals 1 to 28; the highest may be libc's own.
is "F10: no signal is blocked or ignored" \
	"$(awk '/^Sig(Blk|Ign)/ { print substr($2, 10) }' "/proc/$helper/status" | sort -u)" 0000000
is "F10: it has a process group of its own" "$(cut -d' ' -f5 "/proc/$helper/stat")" "$helper"
wait_for 5000 spillway status
stop_daemon

# --- O8: surroundings ---

make_conf </dev/null
as_usual=$(spillway check --effective)
for where in "LC_ALL=de_DE.UTF-8" "LC_ALL=C.UTF-8" "LANG=tr_TR.UTF-8" "TZ=Pacific/Kiritimati" "LC_NUMERIC=fr_FR.UTF-8"; do
	is "O8: $where: the same effective configuration" \
		"$(env -u LC_ALL "$where" "$B/spillway" -c "$conf" check --effective)" "$as_usual"
done
env -i SPILLWAY_RUN_DIR="$SPILLWAY_RUN_DIR" LC_ALL=de_DE.UTF-8 LC_NUMERIC=de_DE.UTF-8 TZ=Pacific/Kiritimati \
	"$B/spillwayd" -c "$conf" 2>>"$work/daemon.log" &
daemon=$!
started="$started $daemon"
wait_for 5000 spillway status
ok "O8: no environment but a foreign language and time zone: the daemon answers" $?
spillway force overloaded --for 1m >/dev/null
wait_for 3000 flag_is_there
hour=$(date -u +%Y-%m-%dT%H)
like "O8: dates are UTC" "$(cat "$home/control/overloaded") $(date -u +%Y-%m-%dT%H)" "$hour"
like "O8: fractions have a point" "$(spillway status --json)" '"value": [0-9]+[.][0-9]+'
spillway force auto >/dev/null
stop_daemon
env -i "$B/spillwayd" -t -c "$conf" >/dev/null
ok "O8: env -i spillwayd -t" $?

"$B/spillwayd" -c "$conf" <&- >&- 2>&- &
daemon=$!
started="$started $daemon"
wait_for 5000 spillway status
ok "without 0, 1 and 2 the daemon answers" $?
spillway force overloaded --for 1m >/dev/null
wait_for 3000 flag_is_there
is "... nothing was written where it does not belong" \
	"$(stat -c %s "$work/run/state") $(wc -l <"$home/control/overloaded")" "160 1"
spillway force auto >/dev/null
stop_daemon
finish
