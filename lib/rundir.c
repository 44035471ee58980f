/* SPDX-License-Identifier: ISC */
#include "lib/rundir.h"

#include <stddef.h>
#include <stdlib.h>

const char *
rundir(void)
{
	const char *dir = getenv(RUNDIR_ENV);

	return dir != NULL && dir[0] == '/' ? dir : RUNDIR_DEFAULT;
}
