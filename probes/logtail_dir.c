/* SPDX-License-Identifier: ISC */
#include "probes/logtail_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "probes/tai64n.h"

/* multilog: "@LABEL.s", or ".u" when it was not finished; svlogd: the same.  What a processor still writes (".t") is
 * not a log yet. */
static bool
is_rotated(const char *name)
{
	wall_t at;

	if (strlen(name) != TAI64N_LABEL + 2 || !tai64n_read(name, TAI64N_LABEL, &at) || name[TAI64N_LABEL] != '.')
		return false;
	return name[TAI64N_LABEL + 1] == 's' || name[TAI64N_LABEL + 1] == 'u';
}

static int
add(struct logtail_list *l, size_t *cap, const char *name, uint64_t inode)
{
	if (l->n == LOGTAIL_NAMES_MAX)
		return -E2BIG;
	if (l->n == *cap) {
		size_t more = *cap == 0 ? 32 : 2 * *cap;
		struct logtail_name *grown = realloc(l->name, more * sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		l->name = grown;
		*cap = more;
	}
	(void)memcpy(l->name[l->n].s, name, strlen(name) + 1); /* is_rotated(), "previous": they fit */
	l->name[l->n++].inode = inode;
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct logtail_name *x = a, *y = b;

	return strcmp(x->s, y->s);
}

/* multilog renames `current` to `previous`, then links it to its label, then removes `previous`. */
static int
add_previous(DIR *d, struct logtail_list *l, size_t *cap)
{
	struct stat st;

	if (fstatat(dirfd(d), "previous", &st, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || logtail_list_find(l, st.st_ino) >= 0)
		return 0;
	return add(l, cap, "previous", st.st_ino);
}

int
logtail_list_rotated(const char *dir, struct logtail_list *ret)
{
	struct logtail_list l = { NULL, 0 };
	size_t cap = 0;
	struct dirent *e;
	int r = 0;
	DIR *d = opendir(dir);

	if (d == NULL)
		return -errno;
	while (r == 0 && (errno = 0, e = readdir(d)) != NULL)
		if (is_rotated(e->d_name))
			r = add(&l, &cap, e->d_name, e->d_ino);
	if (r == 0)
		r = -errno;
	if (r == 0 && l.n > 1)
		qsort(l.name, l.n, sizeof(l.name[0]), by_name);
	if (r == 0)
		r = add_previous(d, &l, &cap);
	(void)closedir(d);
	if (r < 0)
		logtail_list_free(&l);
	else
		*ret = l;
	return r;
}

void
logtail_list_free(struct logtail_list *l)
{
	free(l->name);
	l->name = NULL;
	l->n = 0;
}

long
logtail_list_find(const struct logtail_list *l, uint64_t inode)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->name[i].inode == inode)
			return (long)i;
	return -1;
}
