#!/bin/sh
# SPDX-License-Identifier: ISC
#
# mkhome - make a private qmail home for the stand-in
#
# Usage: mkhome.sh DIR [--split|--plain] [--domain D] [--me NAME] [--user USER:PASSWORD] [--owner USER:GROUP]
#
#   --split      todo and intd have 23 folders, as with big-todo (default)
#   --plain      they have none, as in netqmail and notqmail
#   --domain D   for control/rcpthosts and locals (default example.test); '' accepts every domain
#   --me NAME    for control/me (default mx.DOMAIN)
#   --user U:P   a line of control/standin-users (default alice:secret; may be repeated)
#   --owner U:G  chown all of it, when smtpd is not to run as the caller
#
# The programs are linked from $B/standin (B=build/release below the source tree, unless set).  Nothing needs
# root but --owner.  DIR must not exist, or be empty.  Exit: 0, 100 usage, 111 it could not be made.

set -u

usage() {
	sed -n 's/^# Usage: /usage: /p' "$0" >&2
	exit 100
}

die() {
	echo "mkhome: $*" >&2
	exit 111
}

dir='' layout='split' domain='example.test' me='' owner='' users=''
while [ $# -gt 0 ]; do
	case $1 in
	--split) layout='split' ;;
	--plain) layout='plain' ;;
	--domain | --me | --user | --owner)
		[ $# -ge 2 ] || usage
		case $1 in
		--domain) domain=$2 ;;
		--me) me=$2 ;;
		--owner) owner=$2 ;;
		--user) users="$users$2
" ;;
		esac
		shift
		;;
	-*) usage ;;
	*)
		[ -z "$dir" ] || usage
		dir=$1
		;;
	esac
	shift
done
[ -n "$dir" ] || usage

source=$(cd "$(dirname -- "$0")/../.." && pwd) || die "can't find the source tree"
build=${B:-build/release}
case $build in
/*) ;;
*) build=$source/$build ;;
esac

umask 022
mkdir -p "$dir" || die "can't make $dir"
cd "$dir" || die "can't enter $dir"
[ -z "$(ls -A)" ] || die "$dir is not empty"

splits='0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22'
mkdir queue queue/pid queue/bounce queue/lock || die "can't make the queue"
for d in mess info local remote todo intd; do
	mkdir "queue/$d" || die "can't make queue/$d"
	case $d/$layout in
	todo/plain | intd/plain) continue ;;
	esac
	# shellcheck disable=SC2086 # words
	(cd "queue/$d" && mkdir $splits) || die "can't make the folders of queue/$d"
done
chmod -R u=rwX,g=rX,o= queue/mess queue/todo queue/lock
chmod -R u=rwX,go= queue/info queue/local queue/remote queue/intd queue/pid queue/bounce
chmod 750 queue
mkfifo -m 622 queue/lock/trigger || die "can't make the trigger"
: >queue/lock/sendmutex

mkdir bin control plugins || die "can't make the folders"
echo "${me:-mx.${domain:-example.test}}" >control/me
if [ -n "$domain" ]; then
	echo "$domain" >control/rcpthosts
	echo "$domain" >control/locals
fi
[ -n "$users" ] || users='alice:secret
'
printf '%s' "$users" >control/standin-users
: >control/smtpplugins

for pair in smtpd:qmail-smtpd queue:qmail-queue send:qmail-send spp:spp flood:flood; do
	ln -s "$build/standin/${pair%%:*}" "bin/${pair#*:}"
done
ln -s "$source/tests/standin/qstat.sh" bin/qmail-qstat

[ -z "$owner" ] || chown -R "$owner" . || die "can't give it to $owner"
