/* SPDX-License-Identifier: ISC */
/*
 * recipients - the addresses that exist, as a set of hashes
 *
 * Text, one entry a line: "bob@example.org"; "bob-*@example.org", bob- and anything behind it; "@example.org", all of
 * the domain.  What follows '#' at the beginning of a line or behind a blank is a comment.  Upper and lower case are
 * the same.  postmaster exists in every domain (RFC 5321, 4.5.1).
 *
 * Eight bytes a slot, at most half of the slots used; the hash is keyed.  The lines may come in pieces.
 */
#ifndef CONTROLLER_RECIPIENTS_H
#define CONTROLLER_RECIPIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/address.h"

#define RECIPIENTS_KEY_SIZE 16
#define RECIPIENTS_MAX 1000000 /* entries and domains; 16 MiB, and twice that while a new list is read */

struct recipients;

/* Returns 0 or -ENOMEM. */
int recipients_new(const uint8_t key[RECIPIENTS_KEY_SIZE], struct recipients **ret);
void recipients_free(struct recipients *r); /* NULL is allowed */

/* Add the entries of the text.  Returns 0, -ENOMEM, or -E2BIG: more than RECIPIENTS_MAX.  After a failure the set is
 * of no use.  `is_last`: the last line may lack its end; else bytes behind the last line's end are not looked at, and
 * *ret_used says how many were. */
int recipients_add(struct recipients *r, const char *text, size_t len, bool is_last, size_t *ret_used);

enum recipients_answer {
	RECIPIENTS_NO_OPINION, /* the list does not have the domain */
	RECIPIENTS_EXISTS,
	RECIPIENTS_UNKNOWN,
};

enum recipients_answer recipients_find(const struct recipients *r, const struct address *a);

struct recipients_stats {
	size_t entries, domains, odd; /* lines that are none of these; `first_odd` is its number, from 1 */
	size_t first_odd, lines;
};

struct recipients_stats recipients_stats(const struct recipients *r);

#endif
