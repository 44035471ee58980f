#!/bin/sh
# SPDX-License-Identifier: ISC
#
# lookup - what does a connection to tcpsvd -i cost, with no instruction files and with 100,000?
#
# Usage: B=build/release tests/bench/lookup.sh DIR      in a network where 198.18.0.0/15 is local; DIR is a scratch directory
#
# Two tcpsvds, one for each, in turn; medians of eleven rounds of 300 connections, of a client that gets in and of one that is
# denied.

set -u
dir=$1
mkdir "$dir/0" "$dir/100000"
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "10.%d.%d.%d\n", i / 65536, i / 256 % 256, i % 256 }' |
	(cd "$dir/100000" && xargs touch)
servers=''
port=2525
for n in 0 100000; do
	: >"$dir/$n/198.18.0.1" && chmod 200 "$dir/$n/198.18.0.1"
	tcpsvd -l here -c 100 -i "$dir/$n" -t 100000 127.0.0.1 "$port" echo 220 &
	servers="$servers $!"
	port=$((port + 1))
done
until [ "$("$B/standin/knock" 198.18.0.2 127.0.0.1 2526)" = 220 ]; do
	sleep 0.1
done
round=0
while [ "$round" -lt 11 ]; do
	for client in 198.18.0.2 198.18.0.1; do
		port=2525
		for n in 0 100000; do
			us=$("$B/standin/knock" --times 300 "$client" 127.0.0.1 "$port" | sed -n 's/^us: //p')
			echo "$us" >>"$dir/us.$client.$n"
			port=$((port + 1))
		done
	done
	round=$((round + 1))
done
# shellcheck disable=SC2086 # several
kill $servers
for client in 198.18.0.2 198.18.0.1; do
	case $client in
	*.1) what=denied ;;
	*) what='gets in' ;;
	esac
	printf '%s: %s us with no files, %s us with 100,000\n' "$what" "$(sort -n "$dir/us.$client.0" | sed -n 6p)" \
		"$(sort -n "$dir/us.$client.100000" | sed -n 6p)"
done
