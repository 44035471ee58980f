#!/bin/sh
# SPDX-License-Identifier: ISC
#
# layers - do the rooms keep to the direction of the plan?  Asked of the object files, which can't lie.
#
#	lib <- probes, actions, plugins;  all of these but plugins <- controller
#	decide.o and readings.o: no clock, no I/O, no allocation; blocks.o and its parts: only their own tables
#	only the store's parts know SQLite; the plugin needs no shared library but libc
#
# Usage: B=build/release tests/lint/layers.sh      TAP; or: layers.sh pure OBJECT... to look at any object

set -u
cd "$(dirname -- "$0")/../.." || exit 111
B=${B:-build/release}
tests=0 failed=0

ok() { # NAME TEXT-OF-WHAT-IS-WRONG
	tests=$((tests + 1))
	if [ -z "$2" ]; then
		echo "ok $tests - $1"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

defined_in() { # DIRECTORY: symbols that it defines
	nm --defined-only -g "$B/$1"/*.o 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u
}

wanted_by() { # OBJECT...: "symbol object"
	nm -u -A "$@" | awk '{ sub(/:$/, "", $1); sub(/:.*/, "", $1); print $NF, $1 }'
}

# Which objects of one room use a symbol of another?
uses() { # ROOM OTHER
	defined_in "$2" >/tmp/layers.$$
	wanted_by "$B/$1"/*.o | awk 'NR == FNR { theirs[$1]; next } $1 in theirs { print $2 " uses " $1 }' /tmp/layers.$$ -
	rm -f /tmp/layers.$$
}

# What an object needs beyond arithmetic on its arguments.  Names in our own style are allowed when another pure
# object or lib/ defines them.
impure() { # OBJECT...
	wanted_by "$@" | grep -vE '^(mem(cpy|set|move|cmp|chr)|str(len|cmp|ncmp)|floor|fabs|fmin|fmax|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_) ' |
		grep -vE '^(decide|readings|reading|level|reason|siphash|ip|rate|stage|text)_[a-z_]+ '
}

if [ "${1-}" = pure ]; then
	shift
	bad=$(impure "$@")
	[ -z "$bad" ] || { printf '%s\n' "$bad"; exit 1; }
	exit 0
fi

for pair in lib:probes lib:actions lib:controller lib:plugin/plugins probes:actions probes:controller probes:plugin/plugins \
	actions:probes actions:controller actions:plugin/plugins controller:plugin/plugins \
	plugin/plugins:probes plugin/plugins:actions plugin/plugins:controller; do
	ok "${pair%:*} does not use ${pair#*:}" "$(uses "${pair%:*}" "${pair#*:}")"
done
ok "decide and readings are pure" "$(impure "$B/controller/decide.o" "$B/controller/readings.o")"
ok "the readers of log lines are pure" "$(impure "$B/probes/logline.o" "$B/probes/tai64n.o")"
ok "sendlog is pure, but for the memory of its tables" \
	"$(impure "$B/probes/sendlog.o" | grep -vE '^(calloc|free|logline_relay) ')"
ok "replay is pure, but for the memory of its tables" "$(impure "$B/controller/replay.o" |
	grep -vE '^(calloc|free|memmove|__memcpy_chk|check_name|protect_[a-z]+|blocks_[a-z]+|admit_[a-z]+|siphash) ')"
ok "admit is pure" "$(impure "$B/controller/admit.o")"
ok "offence is pure, but for the memory of its table" "$(impure "$B/controller/offence.o" | grep -vE '^(calloc|free) ')"
ok "decide and admit have no global variable that changes" \
	"$(nm "$B/controller/decide.o" "$B/controller/admit.o" | grep -i ' [bd] ')"
# These own tables, which they ask for at the start and never later.
ok "blocks and what it is made of are pure" "$(for part in blocks protect recent offences budget; do
	impure "$B/controller/$part.o"; done | grep -vE '^(calloc|free|strnlen|__assert_fail|__(memcpy_chk|popcountdi2)|siphash) ' |
	grep -vE '^(prefixmap|protect|recent|offences|budget|ip)_[a-z0-9_]+ ')"
ok "storms and sent are pure, but for the memory of their tables" \
	"$(impure "$B/controller/storms.o" "$B/controller/sent.o" "$B/lib/address.o" |
	grep -vE '^(calloc|free|strnlen|__memcpy_chk|memmove|siphash|address_[a-z_]+|ip_is_v4) ')"
# O3: each of their handlers sets a flag, wakes the loop, or ends the process; who adds one shall look at those first.
ok "signals are handled in known places" "$(nm -u -A "$B"/*/*.o "$B"/plugin/*/*.o | grep -E ' (signal|sigaction)$' |
	grep -vE '/(controller/(engine|recorder|spillwayd|doctor|doctor_plugins)|lib/child|plugins/guard)\.o:')"
ok "only the store uses SQLite" "$(nm -u -A "$B"/*/*.o | grep ' sqlite3_' | grep -vE 'controller/store(_[a-z]+)?\.o:')"
ok "only the store includes sqlite3.h" "$(grep -l 'sqlite3\.h' ./*/*.[ch] | grep -vE 'controller/store(_[a-z]+)?\.[ch]')"
ok "only the readers of configurations include libconfig.h" \
	"$(grep -l 'libconfig\.h' ./*/*.[ch] | grep -vE 'controller/config(_report)?\.[ch]')"
ok "the plugin needs no library but libc" \
	"$(objdump -p "$B/spillway-plugin" 2>/dev/null | awk '/NEEDED/ && !/libc\.so|ld-linux|musl/ { print }')"
ok "the plugin's objects do not allocate nor use stdio" \
	"$(nm -u -A "$B"/plugin/*/*.o | grep -E ' (malloc|calloc|realloc|free|printf|fprintf|snprintf|fopen|puts)$')"

echo "1..$tests"
[ "$failed" -eq 0 ]
