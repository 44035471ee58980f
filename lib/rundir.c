/* SPDX-License-Identifier: ISC */
#include "lib/rundir.h"

#include <stddef.h>
#include <stdlib.h>

const char *
rundir(void)
{
	/* In a setuid program the environment is somebody else's word. */
	const char *dir = secure_getenv(RUNDIR_ENV);

	return dir != NULL && dir[0] == '/' ? dir : RUNDIR_DEFAULT;
}
