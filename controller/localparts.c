/* SPDX-License-Identifier: ISC */
#include "controller/localparts.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS (REG_EXTENDED | REG_NOSUB | REG_ICASE)

struct localparts {
	unsigned n;
	struct {
		bool ok;
		regex_t regex;
	} at[LOCALPARTS_MAX];
};

/* The greatest number in "{2,7}".  -1: more than LOCALPARTS_COST_MAX. */
static long
repeats(const char *p)
{
	long most = 1;

	for (; *p != '\0' && *p != '}'; p++) {
		long n = 0;

		for (; *p >= '0' && *p <= '9' && n <= LOCALPARTS_COST_MAX; p++)
			n = n * 10 + (*p - '0');
		most = n > most ? n : most;
		if (n > LOCALPARTS_COST_MAX)
			return -1;
		if (*p == '}' || *p == '\0')
			break;
	}
	return most;
}

/* regcomp() copies what is repeated, and copies of copies grow as powers.  Counted as if all repeats were nested; in
 * brackets too, which errs on the safe side. */
static bool
is_costly(const char *pattern)
{
	long cost = 1;

	for (const char *p = pattern; *p != '\0' && cost <= LOCALPARTS_COST_MAX; p++) {
		long n = *p == '+' ? 2 : *p == '{' ? repeats(p + 1) : 1;

		if (n < 0)
			return true;
		cost *= n;
	}
	return cost > LOCALPARTS_COST_MAX;
}

static bool
refers_back(const char *pattern)
{
	for (const char *p = pattern; *p != '\0'; p++) {
		if (*p != '\\')
			continue;
		if (p[1] >= '1' && p[1] <= '9')
			return true;
		p += p[1] != '\0';
	}
	return false;
}

static int
compile(const char *pattern, regex_t *ret, struct err *why)
{
	char text[100];

	if (refers_back(pattern))
		return err_set(why, -EINVAL, "\\1 to \\9 can take any time to match");
	if (is_costly(pattern))
		return err_set(why, -EINVAL, "repeats too much (+ counts 2, {n,m} counts m; their product is "
			"at most %d)", LOCALPARTS_COST_MAX);
	int r = regcomp(ret, pattern, FLAGS);
	if (r == 0)
		return 0;
	(void)regerror(r, ret, text, sizeof(text));
	return err_set(why, -EINVAL, "%s", text);
}

int
localparts_test(const char *pattern, struct err *why)
{
	regex_t regex;
	int r = compile(pattern, &regex, why);

	if (r == 0)
		regfree(&regex);
	return r;
}

int
localparts_new(const struct config_localparts *c, struct localparts **ret)
{
	struct localparts *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->n = c->n;
	for (unsigned i = 0; i < c->n; i++)
		l->at[i].ok = compile(c->at[i].pattern, &l->at[i].regex, NULL) == 0;
	*ret = l;
	return 0;
}

void
localparts_free(struct localparts *l)
{
	for (unsigned i = 0; l != NULL && i < l->n; i++)
		if (l->at[i].ok)
			regfree(&l->at[i].regex);
	free(l);
}

int
localparts_match(const struct localparts *l, const char *local, size_t len)
{
	char text[LOCALPARTS_LOOKED + 1];

	len = len < LOCALPARTS_LOOKED ? len : LOCALPARTS_LOOKED;
	memcpy(text, local, len);
	text[len] = '\0';
	for (unsigned i = 0; i < l->n; i++)
		if (l->at[i].ok && regexec(&l->at[i].regex, text, 0, NULL, 0) == 0)
			return (int)i;
	return -1;
}
