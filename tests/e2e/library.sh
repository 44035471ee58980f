#!/bin/sh
# SPDX-License-Identifier: ISC
#
# library - the client library as others get it: installed, found by pkg-config, linked, run
#
# The program is the example of libspillway(3).  The other side is tests/standin/asked.

. "$(dirname -- "$0")/lib.sh"

run=$SPILLWAY_RUN_DIR dest=$work/dest prefix=/opt/spillway
mkdir "$run"
case ${B##*/} in
asan | cov) variant=${B##*/} ;;
*) variant=release ;;
esac
extra=''
if [ "$variant" = asan ]; then
	extra='-fsanitize=address,undefined'
elif [ "$variant" = cov ]; then
	extra=--coverage
fi
cc=${CC:-gcc}

# What is built is installed: nothing is built again.
place() { # TARGET
	make -s -C "$root" V="$variant" B="$B" -o all "$1" DESTDIR="$dest" PREFIX=$prefix QMAIL_HOME="$work/none" \
		>"$work/make.log" 2>&1
}

place install
is 'installed' "$?" 0
lib=$dest$prefix/lib
is 'the library is there under its three names' \
	"$(readlink "$lib/libspillway.so") $(readlink "$lib/libspillway.so.0") $([ -f "$lib/libspillway.so.0.1" ] && echo file)" \
	'libspillway.so.0 libspillway.so.0.1 file'
is 'so are header, archive, description, manual' \
	"$(for f in include/spillway.h lib/libspillway.a lib/pkgconfig/spillway.pc share/man/man3/libspillway.3; do
		stat -c %a "$dest$prefix/$f"
	done | paste -sd ' ' -)" '644 644 644 644'
exported() { # nm options
	nm "$@" | awk '$2 ~ /[A-Z]/ && $2 != "U" && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | grep -v '^__asan\|^__odr\|gcov' |
		sort | paste -sd ' ' -
}
functions='spillway_ask spillway_peek spillway_rate'
is 'programs see its functions and nothing else' "$(exported -D --defined-only "$lib/libspillway.so")" "$functions"
is 'also in the archive' "$(exported -g --defined-only "$lib/libspillway.a")" "$functions"
is 'its name within is libspillway.so.0' "$(objdump -p "$lib/libspillway.so" | awk '/SONAME/ { print $2 }')" libspillway.so.0
if [ "$variant" = release ]; then
	is 'it needs libc and no other library' "$(objdump -p "$lib/libspillway.so" | awk '/NEEDED/ { print $2 }')" libc.so.6
else
	skip 'it needs libc and no other library' "this is the build $variant"
fi

# --- the example of the manual page ----------------------------------------------------------------

export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$dest"
sed -n '/^\.Sh EXAMPLES/,/^\.Sh/{/^\.Bd/,/^\.Ed/{/^\./d;s/\\e/\\/g;p;};}' "$root/man/libspillway.3" >"$work/often.c"
within 'the manual has an example, lines' "$(wc -l <"$work/often.c")" 10 100
# shellcheck disable=SC2046,SC2086 # words
$cc -std=c11 -Wall -Wextra -Werror $extra "$work/often.c" $(pkg-config --cflags --libs spillway) -Wl,-rpath,"$lib" \
	-o "$work/often" >"$work/cc.log" 2>&1
is 'it compiles, with what pkg-config says' "$? $(cat "$work/cc.log")" '0 '
# shellcheck disable=SC2046,SC2086 # words
$cc -std=c11 -Wall -Wextra -Werror $extra "$work/often.c" $(pkg-config --cflags spillway) "$lib/libspillway.a" \
	-o "$work/often-static" >"$work/cc.log" 2>&1
is 'and with the archive' "$? $(cat "$work/cc.log")" '0 '
is 'its version' "$(pkg-config --modversion spillway)" "$(sed -n 's/.*SPILLWAY_VERSION "\(.*\)"/\1/p' "$root/lib/version.h")"

asked=''
answers() { # [options of asked]
	[ -z "$asked" ] || end_started "$asked"
	rm -f "$run"/*.sock
	"$bin/asked" "$run" "$@" >"$work/asked" &
	asked=$!
	started="$started $asked"
	wait_for 2000 test -S "$run/rate.sock"
}

often() { # PROGRAM: what it prints, and its exit code
	"$work/$1" ip 192.0.2.1 2>&1
	echo $?
}

for program in often often-static; do
	answers --line '0 1/10'
	is "$program: not too often" "$(often $program | paste -sd '|' -)" '0 1/10|0'
	is "$program: it asked in rater's words" "$(cat "$work/asked")" 'rate: ip 192.0.2.1'
	answers --line '1 11/10'
	is "$program: too often" "$(often $program | paste -sd '|' -)" '1 11/10|1'
	answers --line '2 Class not found: ip'
	is "$program: no such class" "$(often $program | paste -sd '|' -)" '2 Class not found: ip|2'
	end_started "$asked"
	asked=''
	is "$program: nobody there is 2, not 1" "$(often $program | paste -sd '|' -)" "can't ask: Connection refused|2"
	rm -f "$run/rate.sock"
	is "$program: nor was there ever" "$(often $program | paste -sd '|' -)" "can't ask: No such file or directory|2"
	answers
	kill -STOP "$asked"
	began=$(now_ms)
	is "$program: somebody who does not move" "$(often $program | paste -sd '|' -)" "can't ask: Connection timed out|2"
	within "$program: costs the deadline of 500 ms" $(($(now_ms) - began)) 490 800
	kill -CONT "$asked"
done

# --- the header ------------------------------------------------------------------------------------

printf '#include <spillway.h>\nint spillway_header_alone;\n' >"$work/alone.c"
for std in c99 c11 c17; do
	# shellcheck disable=SC2046 # words
	$cc -std=$std -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror $(pkg-config --cflags spillway) -c "$work/alone.c" \
		-o "$work/alone.o" >"$work/cc.log" 2>&1
	is "the header stands alone in $std" "$? $(cat "$work/cc.log")" '0 '
done
if command -v g++ >/dev/null; then
	cat >"$work/plus.cc" <<'E2'
#include <spillway.h>
int main()
{
	struct spillway_session s = {};
	struct spillway_verdict v;
	struct spillway_rate r;

	s.stage = SPILLWAY_AT_MAIL;
	s.checks = SPILLWAY_IPTHROTTLE;
	s.ip = "192.0.2.1";
	return spillway_ask(&s, 500, &v) || spillway_rate("ip", "x", 500, &r) || v.says != SPILLWAY_CLOSE || r.n != 3;
}
E2
	# shellcheck disable=SC2046,SC2086 # words
	g++ -Wall -Wextra -Wpedantic -Werror $extra "$work/plus.cc" $(pkg-config --cflags --libs spillway) -Wl,-rpath,"$lib" \
		-o "$work/plus" >"$work/cc.log" 2>&1
	is 'in C++ it compiles and links' "$? $(cat "$work/cc.log")" '0 '
	answers --verdict close --check ipthrottle --line '0 3/10'
	"$work/plus"
	is 'and works' $? 0
else
	skip 'in C++ it compiles and links' 'no g++ here'
fi

# --- gone again ------------------------------------------------------------------------------------

place uninstall
is 'uninstalled' "$?" 0
is 'nothing is left of it' "$(find "$dest" ! -type d)" ''

finish
