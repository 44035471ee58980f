#!/bin/sh
# SPDX-License-Identifier: ISC
#
# text - what a look at the text of the tree can tell
#
# Usage: tests/lint/text.sh      TAP; checks that need a program that is missing are skipped with its name

set -u
cd "$(dirname -- "$0")/../.." || exit 111
tests=0 failed=0

ok() { # NAME TEXT-OF-WHAT-IS-WRONG
	tests=$((tests + 1))
	if [ -z "$2" ]; then
		echo "ok $tests - $1"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $1"
		printf '%s\n' "$2" | head -n 30 | sed 's/^/# /'
	fi
}

check_with() { # PROGRAM NAME COMMAND...
	program=$1 name=$2
	shift 2
	if command -v "$program" >/dev/null 2>&1; then
		ok "$name" "$("$@" 2>&1)"
	else
		tests=$((tests + 1))
		echo "ok $tests - $name # SKIP no $program here"
	fi
}

code='lib/*.[ch] controller/*.[ch] probes/*.[ch] actions/*.[ch] plugins/*.[ch]'
scripts=$(find tests etc .ci -type f \( -name '*.sh' -o -name run -o -name finish \) 2>/dev/null)
pages=$(find man -name '*.[1-9]' 2>/dev/null)

# Functions that cut, wrap, race, or read the locale without saying so.
banned='\b(strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|atoi|atol|atof|strtol|strtoul|strtod|sscanf|tmpnam|mktemp|system|popen|alloca|gmtime|localtime|ctime|asctime|rand|srand|usleep)\('
# shellcheck disable=SC2086
ok "no function that style forbids" "$(grep -nE "$banned" $code | grep -vE ':[[:space:]]*(/\*| \*)')"
# shellcheck disable=SC2086
ok "every file names its licence" "$(grep -L 'SPDX-License-Identifier: ISC' $code $scripts tests/*/*.[ch])"
# shellcheck disable=SC2086
ok "no trailing blanks, no blanks before tabs" "$(grep -nE '[ 	]+$| 	' $code tests/*/*.[ch])"
# shellcheck disable=SC2086
ok "no line beyond 120 columns" "$(awk '{ gsub(/\t/, "        ") } length > 120 { print FILENAME ":" FNR ": " length }' $code)"
# shellcheck disable=SC2086
ok "no to-do in the code" "$(grep -nE '/[/*].*\b(TODO|FIXME|XXX)\b' $code)"
# shellcheck disable=SC2086
check_with shellcheck "shell scripts are clean" shellcheck -x -P SCRIPTDIR -s sh $scripts
# shellcheck disable=SC2086
check_with mandoc "manual pages are clean" mandoc -T lint -W warning $pages
# shellcheck disable=SC2086
check_with cppcheck "cppcheck finds nothing" cppcheck -q -j2 --std=c11 --enable=warning,performance,portability \
	--inline-suppr --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
	--library=tests/lint/cppcheck.cfg -D_GNU_SOURCE -I. lib controller probes actions plugins

echo "1..$tests"
[ "$failed" -eq 0 ]
