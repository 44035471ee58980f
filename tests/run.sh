#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run - run test programs, a few at a time, and tell what failed
#
# Usage: tests/run.sh [-j N] NAME=COMMAND ...
#
# N is twice the number of processors, unless told: most tests of the daemon wait most of the time.
#
# Each program prints TAP.  One line a program; of those that fail, also what they printed.  What was skipped is listed at the
# end with its reason.
#
# The machine is crowded while they run, and some wait for what a slow one does not manage in time: when few failed, each of
# these is run once more, alone.  One that passes then is listed as unsteady; one that fails again has failed.
#
# TEST_TIMEOUT in the environment: seconds that one may take, 900.
#
# Exit: 0 when all is well, 1 when a program failed, ended by a signal, or printed no plan.

set -u
SECOND_CHANCES=3 # more that fail are no accident
jobs=$(($(nproc 2>/dev/null || echo 2) * 2))
if [ "${1-}" = -j ]; then
	jobs=$2
	shift 2
fi
out=$(mktemp -d "${TMPDIR:-/tmp}/run.XXXXXX") || exit 111
trap 'rm -rf "$out"' EXIT
export out

# One program: its output into a file, a line about it to stdout.
# shellcheck disable=SC2016 # expanded by the inner shell
one='
name=${1%%=*}; command=${1#*=}
rm -f "$out/.failed.$(printf %s "$name" | tr / _)"
file=$out/$(printf %s "$name" | tr / _)
begin=$(date +%s)
timeout "${TEST_TIMEOUT:-900}" sh -c "$command" >"$file" 2>&1
code=$?
took=$(($(date +%s) - begin))
passed=$(grep -c "^ok " "$file"); skipped=$(grep -cE "^(not )?ok .*# SKIP" "$file"); failed=$(grep "^not ok " "$file" | grep -vc "# SKIP")
if [ "$code" -eq 0 ] && [ "$failed" -eq 0 ] && grep -q "^1\.\.[0-9]" "$file"; then
	printf "  ok    %-34s %4d tests, %d skipped, %d s\n" "$name" "$passed" "$skipped" "$took"
else
	printf "  FAIL  %-34s %4d failed, exit code %d, %d s\n" "$name" "$failed" "$code" "$took"
	printf "%s" "$1" >"$out/.failed.$(printf %s "$name" | tr / _)"
	grep -A 5 "^not ok " "$file" | grep -v "^ok " | head -n 60 | sed "s/^/        /"
	echo "        the end of it:"
	grep -v "^ok " "$file" | tail -n 30 | sed "s/^/        /"
fi'

printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" sh -c "$one" run
failed() { # the names of those that have
	find "$out" -name '.failed.*' | sed 's,.*/\.failed\.,,' | sort
}
first=$(failed)
unsteady=''
if [ -n "$first" ] && [ "$(echo "$first" | wc -l)" -le "$SECOND_CHANCES" ]; then
	echo "once more, alone:"
	for name in $first; do
		sh -c "$one" run "$(cat "$out/.failed.$name")"
		[ -e "$out/.failed.$name" ] || unsteady="$unsteady $name"
	done
fi
total=$(cat "$out"/* | grep -c '^ok ')
skipped=$(cat "$out"/* | grep -E '^(not )?ok .*# SKIP' | sed -E 's/^(not )?ok [0-9]* (- )?//' | sort | uniq -c | sort -rn)
echo "$total tests passed"
if [ -n "$skipped" ]; then
	echo "skipped:"
	printf '%s\n' "$skipped"
fi
[ -z "$unsteady" ] || echo "unsteady, failed among others and passed alone:$unsteady"
if [ -n "$(failed)" ]; then
	echo "FAILED: $(failed | tr '\n' ' ')"
	exit 1
fi
