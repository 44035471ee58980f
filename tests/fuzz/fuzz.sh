#!/bin/sh
# SPDX-License-Identifier: ISC
#
# fuzz.sh - run fuzz targets, each for FUZZ_SECONDS (60)
#
# What a target learns is kept in build/fuzz/corpus/NAME and used by the next run; what it finds lies in
# build/fuzz/found/NAME.  Minimise a finding (-minimize_crash=1), give it a name, put it in tests/fuzz/corpus/NAME, then
# repair: `make check` plays it from then on.

seconds=${FUZZ_SECONDS:-60}
status=0

for target; do
	name=${target#fuzz_}
	log=build/fuzz/$target.log
	mkdir -p "build/fuzz/corpus/$name" "build/fuzz/found/$name"
	set -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=8192 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/found/$name/"
	if [ -f "tests/fuzz/$name.dict" ]; then
		set -- "$@" -dict="tests/fuzz/$name.dict"
	fi
	if "build/fuzz/$target" "$@" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
		word=ok
	else
		word='NOT OK'
		status=1
	fi
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	echo "$word $target: ${runs:-no} runs in $seconds s"
	[ "$word" = ok ] || tail -n 30 "$log"
done
exit $status
