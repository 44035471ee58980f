/* SPDX-License-Identifier: ISC */
#include "controller/smtpplugins.h"

#include <errno.h>
#include <string.h>

#include "lib/array.h"

static const struct {
	char letter;
	const char *word;
} sections[] = {
	{ 'c', "connection" }, { 'h', "helo" }, { 'a', "auth" }, { 'm', "mail" }, { 'r', "rcpt" },
	{ 'p', "pass" }, { 'd', "data" },
};

const char *
smtpplugins_section(char letter)
{
	for (size_t i = 0; i < countof(sections); i++)
		if (sections[i].letter == letter)
			return sections[i].word;
	return "?";
}

static char
section_of(const struct smtpplugins_line *l)
{
	for (size_t i = 0; l->len > 1 && i < countof(sections); i++)
		if (sections[i].letter == l->s[1])
			return l->s[1];
	return 0;
}

/* One line, counting or not.  Returns false at the end. */
static bool
take_line(const char *text, size_t len, struct smtpplugins_line *l)
{
	if (l->end >= len)
		return false;
	const char *from = text + l->end;
	const char *nl = memchr(from, '\n', len - l->end);

	l->s = from;
	l->begin = l->end;
	l->end = nl != NULL ? (size_t)(nl - text) + 1 : len;
	l->len = l->end - l->begin;
	while (l->len > 0 && strchr(" \t\n", from[l->len - 1]) != NULL && from[l->len - 1] != '\0')
		l->len--;
	l->number++;
	return true;
}

bool
smtpplugins_next(const char *text, size_t len, struct smtpplugins_line *l)
{
	do {
		if (!take_line(text, len, l))
			return false;
	} while (l->len == 0 || l->s[0] == '#');
	l->heading = l->s[0] == '[';
	if (l->heading)
		l->section = section_of(l);
	return true;
}

bool
smtpplugins_is(const struct smtpplugins_line *l, const char *text)
{
	return strlen(text) == l->len && memcmp(l->s, text, l->len) == 0;
}

/* --- changing -------------------------------------------------------------------------------- */

struct sink {
	char *at;
	size_t len, cap;
	bool full;
};

static void
put(struct sink *k, const char *s, size_t n)
{
	if (n > k->cap - k->len) {
		k->full = true;
		return;
	}
	memcpy(k->at + k->len, s, n);
	k->len += n;
}

static void
put_newline(struct sink *k)
{
	if (k->len > 0 && k->at[k->len - 1] != '\n')
		put(k, "\n", 1);
}

long
smtpplugins_insert(const char *text, size_t len, const char *line, char *ret, size_t cap)
{
	struct smtpplugins_line l = { 0 };
	struct sink k = { .at = ret, .cap = cap };
	bool found = false;

	while (!found && smtpplugins_next(text, len, &l))
		found = l.heading && l.section == 'm';
	size_t at = found ? l.end : len;
	put(&k, text, at);
	put_newline(&k);
	if (!found)
		put(&k, "[mail]\n", strlen("[mail]\n"));
	put(&k, line, strlen(line));
	put(&k, "\n", 1);
	put(&k, text + at, len - at);
	return k.full ? -ENOSPC : (long)k.len;
}

size_t
smtpplugins_remove(const char *text, size_t len, const char *line, char *ret)
{
	struct smtpplugins_line l = { 0 };
	struct sink k = { .at = ret, .cap = len };
	size_t from = 0;

	while (smtpplugins_next(text, len, &l)) {
		if (l.section != 'm' || !smtpplugins_is(&l, line))
			continue;
		put(&k, text + from, l.begin - from);
		from = l.end;
	}
	put(&k, text + from, len - from);
	return k.len;
}
