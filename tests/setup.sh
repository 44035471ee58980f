#!/bin/sh
# SPDX-License-Identifier: ISC
#
# setup - make sure that what a target needs is installed
#
# Usage: tests/setup.sh build|demo|check|fuzz|bench
#
# As root (or with sudo that asks nothing) it installs what is missing through apt-get.  Otherwise it prints the one line that
# does, and exits with 1.

set -u
build='gcc make pkg-config libc6-dev musl-tools libconfig-dev libevent-dev libjansson-dev libsqlite3-dev libinotifytools0-dev'
demo="$build ipsvd dash procps util-linux"
check="$demo libcmocka-dev ucspi-tcp runit daemontools sqlite3 swaks faketime strace mandoc shellcheck cppcheck binutils iproute2 python3"
case ${1-} in
build) packages=$build ;;
demo) packages=$demo ;;
check) packages="$check valgrind" ;;
fuzz) packages="$build clang libclang-rt-14-dev llvm" ;;
bench) packages="$demo redis-server ucspi-tcp" ;;
*)
	sed -n 's/^# Usage: /usage: /p' "$0" >&2
	exit 100
	;;
esac

command -v dpkg-query >/dev/null 2>&1 || {
	echo "no dpkg here: see that you have what Debian calls $packages" >&2
	exit 0
}
missing=''
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

line="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
	as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	as_root='sudo -n'
else
	echo "missing:$missing" >&2
	echo "install them with:  sudo $line" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp) || exit 111
# shellcheck disable=SC2086
if $as_root env DEBIAN_FRONTEND=noninteractive $line >"$log" 2>&1 ||
	{ $as_root apt-get update >"$log" 2>&1 && $as_root env DEBIAN_FRONTEND=noninteractive $line >"$log" 2>&1; }; then
	rm -f "$log"
	exit 0
fi
cat "$log" >&2
rm -f "$log"
exit 1
