#!/bin/sh
# SPDX-License-Identifier: ISC
#
# mutate - change one comparison of decide.c at a time, and require that a test notices
#
# Every <, <=, >, >=, ==, !=, && and || of the code is a mutant (comments, tables and for-loops left out).  Those in
# tests/mutation/equivalent, by line text and operator, change nothing that can be seen; each has its reason there.
#
# Usage: B=build/release tests/mutation/mutate.sh [LIST]     TAP; LIST only prints the mutants

set -u
root=$(cd "$(dirname -- "$0")/../.." && pwd) || exit 111
cd "$root" || exit 111
B=${B:-build/release}
work=$(mktemp -d "${TMPDIR:-/tmp}/mutate.XXXXXX") || exit 111
trap 'rm -rf "$work"' EXIT
source=controller/decide.c
tests='test_scenarios test_walks test_floods test_sim' # the quickest first
libs="-lcmocka $(pkg-config --libs libconfig libevent_core jansson sqlite3) -lm"

# Print "line column old new" for each mutant.
mutants() {
	awk '
		BEGIN {
			n = split("<= >= == != && || < >", op, " ")
			new["<="] = "<"; new[">="] = ">"; new["<"] = "<="; new[">"] = ">="; new["=="] = "!="; new["!="] = "=="
			new["&&"] = "||"; new["||"] = "\\&\\&"
		}
		/^[ \t]*(\/\*| \*|#)/ || /^\t*for \(/ { next }
		{
			line = $0
			sub(/\/\*.*/, "", line)
			for (i = 1; i <= length(line); i++) {
				for (k = 1; k <= n; k++) {
					if (substr(line, i, length(op[k]) + 2) == " " op[k] " ") {
						print NR, i + 1, op[k], new[op[k]]
						i += length(op[k])
						break
					}
				}
			}
		}' "$source"
}

# Write the mutant to $work/decide.c.
make_mutant() { # LINE COLUMN OLD NEW
	awk -v line="$1" -v column="$2" -v old="$3" -v new="$(echo "$4" | sed 's/\\//g')" '
		NR == line { $0 = substr($0, 1, column - 1) new substr($0, column + length(old)) }
		{ print }' "$source" >"$work/decide.c"
}

is_equivalent() { # LINE OLD
	text=$(sed -n "$1p" "$source" | sed 's/^[[:space:]]*//')
	grep -qxF -- "$2 | $text" tests/mutation/equivalent
}

# Does any test notice?
is_noticed() {
	gcc -std=c11 -D_GNU_SOURCE -I. -O1 -w -c "$work/decide.c" -o "$work/decide.o" || return 0
	for t in $tests; do
		# shellcheck disable=SC2086 # words
		gcc "$B/tests/unit/$t.o" "$B/tests/sim/sim.o" "$work/decide.o" $B/controller.a $B/probes.a $B/actions.a \
			$B/lib.a -o "$work/$t" $libs || return 0
		TEST_SEED=1 timeout 60 "$work/$t" >/dev/null 2>&1 || return 0
	done
	return 1
}

mutants >"$work/list"
if [ "${1-}" = LIST ]; then
	cat "$work/list"
	exit 0
fi
cp "$source" "$work/decide.c"
if is_noticed; then
	echo "Bail out! the tests fail without any mutation"
	exit 1
fi
n=0 failed=0
while read -r line column old new; do
	is_equivalent "$line" "$old" && continue
	n=$((n + 1))
	make_mutant "$line" "$column" "$old" "$new"
	text=$(sed -n "${line}p" "$work/decide.c" | sed 's/^[[:space:]]*//')
	if is_noticed; then
		echo "ok $n - line $line: $text"
	else
		echo "not ok $n - survives, line $line: $text"
		failed=$((failed + 1))
	fi
done <"$work/list"
echo "1..$n"
echo "# $n mutants, $failed survived, $(grep -c '^[^#]' tests/mutation/equivalent) lines known to be equivalent"
[ "$failed" -eq 0 ] && [ "$n" -ge 30 ]
