#!/bin/sh
# SPDX-License-Identifier: ISC
#
# rcpt - recipients that don't exist: the list, the patterns, who tries many of them; and all of it fails open

. "$(dirname -- "$0")/lib.sh"

make_home --plain
printf '[rcpt]\n%s\n' "$home/plugins/spillway-rcpt" >"$home/control/smtpplugins"
list=$work/recipients
no_mailbox='550 5.1.1 sorry, no mailbox here by that name (#5.1.1)'
configure() { # FURTHER
	make_conf <<C
plugins = { rcpt = [ "wrongrcpt", "validrcpt", "localparts" ]; texts = "extended"; };
recipients = { file = "$list"; $1 };
limits = { wrongrcpt = ( ("*", 600, 5) ); };
localparts = ( { pattern = "[0-9]{4}\$"; verdict = "refuse"; reason = "digits"; },
	{ pattern = "^[^a-z]"; verdict = "mark"; } );
blocks = { on = [ "wrongrcpt" ]; allow = [ "198.18.9.9" ]; ipsvd = { dir = "$work/ipsvd"; }; };
C
}
rcpt() { # RECIPIENT [CLIENT]: what the client hears, without the id; "" lets pass
	(cd "$home" && TCPREMOTEIP=${2-198.18.0.1} SMTPHELOHOST=c.test SMTPMAILFROM=a@remote.test SMTPRCPTTO=$1 \
		SMTPRCPTCOUNTALL=1 "$bin/spp" --rcpt -- "$home/plugins/spillway-rcpt" 2>"$work/plugin.log") |
		sed -n 's/^reply: //p' >"$work/reply"
	sed 's/ \[[a-z0-9]*\]$//' "$work/reply"
}
has_list() {
	[ "$(field recipients read)" = true ]
}
has_none() {
	[ "$(field recipients read)" = false ] && [ "$(field recipients trouble)" != "" ]
}
entries_are() {
	[ "$(field recipients entries)" = "$1" ]
}

mkdir "$work/ipsvd"
configure ''
start_daemon
wait_for 20000 has_none
like "without a file there is no opinion" "$(field recipients trouble)" "No such file"
is "and nobody is refused" "$(rcpt nobody@example.test)" ""
is "it is told once" "$(grep -c 'no recipient is judged' "$work/daemon.log")" 1
like "status tells" "$(spillway status)" "NO LIST: $list: No such file"

printf '# ours\nBob@example.test\nlist-*@example.test # extensions\n@any.test\n' >"$list.new" && mv "$list.new" "$list"
wait_for 20000 has_list
ok "a file that comes is read" $?
is "its address" "$(rcpt bob@example.test)" ""
is "in another spelling" "$(rcpt BOB@Example.Test)" ""
is "an extension" "$(rcpt list-owner@example.test)" ""
is "any of a domain" "$(rcpt whoever@any.test)" ""
is "postmaster" "$(rcpt postmaster@example.test)" ""
is "another domain is not judged" "$(rcpt nobody@other.test)" ""
is "an unknown one" "$(rcpt nobody@example.test)" "$no_mailbox"
id=$(sed -n 's/.*\[\([a-z0-9]*\)\]$/\1/p' "$work/reply")
explained() {
	spillway explain "$id" | grep -q 'rule validrcpt'
}
wait_for 20000 explained
ok "explain finds its id" $?
archived() {
	grep -q "\"id\": \"$id\", \"rule\": \"validrcpt\".*nobody@example.test" "$work/state/refusals.jsonl"
}
wait_for 20000 archived
ok "it is in the archive" $?
is "one of our users" "$(RELAYCLIENT='' rcpt nobody@example.test)" ""
is "one who has authenticated" "$(SMTPAUTHUSER=u rcpt nobody@example.test)" ""
is "who is allowed" "$(rcpt nobody@example.test 198.18.9.9)" ""
like "check says unknown" "$(spillway addresses check nobody@example.test; echo $?)" "^nobody@example.test: unknown"
like "check says exists" "$(spillway addresses check list-x@example.test)" "exists"

is "a pattern refuses" "$(rcpt joe1234@other.test 198.18.0.2)" "$no_mailbox"
id=$(sed -n 's/.*\[\([a-z0-9]*\)\]$/\1/p' "$work/reply")
of_pattern() {
	spillway explain "$id" | grep -q 'rule localparts'
}
wait_for 20000 of_pattern
ok "explain finds that too" $?
is "a pattern that only marks" "$(rcpt _x@other.test 198.18.0.2)" ""

for n in 1 2 3 4 5; do
	rcpt "no$n@example.test" 198.18.0.3 >/dev/null
done
is "over the limit" "$(rcpt no6@example.test 198.18.0.3)" "451 4.7.1 Too many unknown recipients. Please try again later."
id=$(sed -n 's/.*\[\([a-z0-9]*\)\]$/\1/p' "$work/reply")
over_limit() {
	spillway explain "$id" | grep -q 'rule wrongrcpt'
}
wait_for 20000 over_limit
ok "explain finds it" $?
like "and blocked, by that rule" "$(spillway blocks 198.18.0.3)" wrongrcpt
is "the list's own addresses from there, too" "$(rcpt bob@example.test 198.18.0.3)" \
	"451 4.7.1 Too many unknown recipients. Please try again later."
is "others notice nothing" "$(rcpt bob@example.test 198.18.0.4)" ""

configure 'unknown = "mark"; over = "refuse";'
spillway reload >/dev/null
wait_for 20000 has_list
is "only marked" "$(rcpt nobody@example.test 198.18.0.5)" ""
for n in 1 2 3 4; do
	rcpt "no$n@example.test" 198.18.0.5 >/dev/null
done
is "and over the limit refused for good" "$(rcpt no6@example.test 198.18.0.5)" "550 5.7.1 Too many unknown recipients."

configure ''
spillway reload >/dev/null
printf 'bob@example.test\njim@example.test\n' >"$list.new" && mv "$list.new" "$list"
wait_for 20000 entries_are 2
ok "a list that changes is read anew" $?
: >"$list"
wait_for 20000 has_none
is "an empty one is none" "$(rcpt nobody@example.test 198.18.0.6)" ""
truncate -s 65M "$list"
too_large() {
	field recipients trouble | grep -q 'too large'
}
wait_for 20000 too_large
is "one that is too large is none" "$(rcpt nobody@example.test 198.18.0.6)" ""

kill -9 "$daemon" && wait "$daemon" 2>/dev/null
engine_gone() {
	! spillway status
}
wait_for 20000 engine_gone
is "without a daemon qmail is as if we were not there" "$(rcpt joe1234@example.test 198.18.0.7)" ""

# --- learn ---

mkdir -p "$work/mail/anna/cur" "$work/mail/b.test/carl/Maildir/cur" "$work/mail/empty"
is "learn from mail folders" "$(spillway addresses learn --maildirs "$work/mail" --domain a.test | grep -v '^#' | paste -sd ' ' -)" \
	"anna@a.test carl@b.test"
spillway addresses learn --maildirs "$work/mail" --domain a.test --write "$work/out"
is "written to a file" "$(grep -c @ "$work/out")" 2
spillway addresses learn --maildirs "$work/none" --domain a.test --write "$work/out" 2>/dev/null
is "what can't be read is no list" "$? $(grep -c @ "$work/out")" "111 2"
mkdir -p "$work/q/control" "$work/q/users" "$work/q/alias"
echo v.test:v >"$work/q/control/virtualdomains"
printf '=dora:dora:1:1:/h:::\n+dora-:dora:1:1:/h:-::\n.\n' >"$work/q/users/assign"
: >"$work/q/alias/.qmail-info:sales"
: >"$work/q/alias/.qmail-lists-default"
spillway addresses learn --home "$work/q" --domain a.test >"$work/learned"
is "learn from a qmail home" "$(grep -c -e '^@v.test$' -e '^dora@a.test$' -e '^dora-\*@a.test$' -e '^info.sales@a.test$' \
	-e '^lists-\*@a.test$' "$work/learned")" 5
finish
