/* SPDX-License-Identifier: ISC */
#include "controller/rate_key.h"

#include <string.h>
#include <sys/random.h>

void
rate_key_load(const struct config *config, uint8_t ret[RATE_KEY_SIZE])
{
	(void)config;
	memset(ret, 0, RATE_KEY_SIZE);
	if (getrandom(ret, RATE_KEY_SIZE, GRND_NONBLOCK) != RATE_KEY_SIZE)
		(void)!getrandom(ret, RATE_KEY_SIZE, GRND_INSECURE);
}
