#!/bin/sh
# SPDX-License-Identifier: ISC
#
# tcprules_probe - random rules of an administrator, random blocks, random clients: does the real tcpserver do what it shall?
#
# What it shall do is worked out by awk, from the rules and blocks alone: the longest match wins; of two that match equally
# long, the administrator's.  TCPSERVER_PROBES in the environment: how many clients, default 2,000 (a million takes half an
# hour); tests/unit/test_tcprules.c looks up a million in the cdb itself.

. "$(dirname -- "$0")/blocks.inc"

probes=${TCPSERVER_PROBES:-2000}
seed=${TEST_SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
echo "# TEST_SEED=$seed"

# Writes rules, blocks, probes, and for each probe "closed" or "220 served".  Networks are numbers: few, so that they meet.
awk -v seed="$seed" -v n="$probes" -v dir="$work" '
	function below(k) { return int(rand() * k) }
	function text(ip, octets,  s) {
		s = int(ip / 16777216)
		if (octets > 1) s = s "." int(ip / 65536) % 256
		if (octets > 2) s = s "." int(ip / 256) % 256
		if (octets > 3) s = s "." ip % 256
		return octets < 4 ? s "." : s
	}
	function cut(ip, bits,  size) { size = 2 ^ (32 - bits); return int(ip / size) * size }
	function key(ip, bits) { return text(cut(ip, bits), 4) } # as a text: large numbers lose digits on their way to one
	# 198.18.0-15.0-255 and 198.19.0-15.0-255
	function address() { return 198 * 16777216 + (18 + below(2)) * 65536 + below(16) * 256 + below(256) }
	function shall(ip,  octets, bits) {
		for (octets = 4; octets > 0; octets--) {
			if ((octets, key(ip, 8 * octets)) in theirs)
				return theirs[octets, key(ip, 8 * octets)]
			for (bits = 8 * octets; bits > 8 * octets - 8; bits--)
				if ((bits, key(ip, bits)) in ours) return "closed"
		}
		return "220 served"
	}
	BEGIN {
		srand(seed)
		for (i = 0; i < 60; i++) {
			octets = 2 + below(3); ip = cut(address(), 8 * octets)
			if (octets == 2 && below(4)) continue
			if ((octets, text(ip, 4)) in theirs) continue
			deny = below(3) == 0
			theirs[octets, text(ip, 4)] = deny ? "closed" : "220 served"
			print text(ip, octets) ":" (deny ? "deny" : "allow") >(dir "/rules")
		}
		print ":allow" >(dir "/rules")
		for (i = 0; i < 600; i++) {
			bits = below(3) ? 32 : 20 + below(12); ip = cut(address(), bits)
			if ((bits, text(ip, 4)) in ours) continue
			ours[bits, text(ip, 4)] = 1
			print "put " text(ip, 4) "/" bits " deny 36000 k7m2q" >(dir "/puts")
		}
		for (i = 0; i < n; i++) {
			ip = address()
			print text(ip, 4) >(dir "/probes")
			print shall(ip) >(dir "/shall")
		}
	}'
cp "$work/rules" "$rules"
touch -d '1 minute ago' "$rules"
tcprules "$cdb" "$cdb.tmp" <"$rules"
blocks=$(wc -l <"$work/puts")
: >"$work/out"
all_are_in() {
	grep -q "^tcprules ours=$blocks foreign=[0-9]* ok$" "$work/out" && return
	echo status >&3
	return 1
}
mkfifo "$work/in"
"$bin/blockctl" --tcprules "$rules" "$cdb" --command "$(command -v tcprules)" <"$work/in" >"$work/out" 2>&1 &
started="$started $!"
exec 3>"$work/in"
cat "$work/puts" >&3
echo reconcile >&3
wait_for 10000 all_are_in
ok "$blocks blocks are in the cdb" $?
exec 3>&-

tcpserver -HRl0 -c 200 -x "$cdb" 127.0.0.1 "$server" echo '220 served' >>"$work/tcpserver.log" 2>&1 &
started="$started $!"
is_up() {
	"$bin/knock" 127.0.0.1 127.0.0.1 "$server" | grep -q 220
}
wait_for 5000 is_up
"$bin/knock" - 127.0.0.1 "$server" <"$work/probes" >"$work/did"
is "answers" "$(wc -l <"$work/did")" "$probes"
paste "$work/probes" "$work/shall" "$work/did" | awk -F '\t' '$2 != $3' >"$work/wrong"
is "what tcpserver did is what it shall" "$(head -n 3 "$work/wrong")" ''
within "... of these it turned away, percent" $(($(grep -c closed "$work/did") * 100 / probes)) 5 95

# The real tcprulescheck, for some of them: one run each.
some=$((probes / 10))
head -n "$some" "$work/probes" | while read -r a; do
	TCPREMOTEIP=$a tcprulescheck "$cdb" | sed -n 's/^deny connection$/closed/p; s/^allow connection$/220 served/p'
done >"$work/checked"
is "what tcprulescheck says of $some is the same" "$(head -n "$some" "$work/shall" | cmp - "$work/checked" 2>&1)" ''
finish
