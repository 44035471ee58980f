/* SPDX-License-Identifier: ISC */
/*
 * overload - strangers wait while the server is overloaded; its own users always get through
 *
 * An operator's own control/overloaded counts without any lease, as it did for the shell plugin that this
 * one replaces.  Our own flag does not: it may have been left behind, and the lease tells.
 */
#include <fcntl.h>

#include "lib/flag.h"
#include "lib/siphash.h"
#include "plugins/plugin.h"

#define V6_CLIENT_BITS 64 /* a /64 is one client: it can take a new address for each connection */

/* The same client is in or out for a whole episode, so that one of its retries is not luckier than
 * another; a client without address is admitted last. */
static bool
is_admitted(const struct session *s)
{
	uint16_t admit = s->state.admit[s->class];

	if (admit == 0 || admit == ADMIT_ALL || !s->ip_known)
		return admit == ADMIT_ALL;
	struct ip client = ip_is_v4(&s->ip) ? s->ip : ip_mask(&s->ip, V6_CLIENT_BITS);
	return siphash(client.b, sizeof(client.b), s->state.salt, 0) % ADMIT_ALL < admit;
}

/* Only where we know who it is: before AUTH everybody is a stranger, also our own users. */
static bool
knows_client(enum stage stage)
{
	return stage == STAGE_MAIL || stage == STAGE_RCPT || stage == STAGE_DATA;
}

static bool
refuses(const struct session *s)
{
	bool closed = s->state_ok && s->state.level >= LEVEL_OVERLOADED && !is_admitted(s);

	if (s->class == CLASS_OWN || !knows_client(s->stage))
		return false;
	return closed || flag_look(AT_FDCWD, FLAG_PATH, NULL) == FLAG_PIN;
}

const struct check_ops check_overload = {
	.name = "overload",
	.id = CHECK_OVERLOAD,
	.code = 451,
	.enhanced = "4.3.2",
	.text = "Temporary Failure: Server overload",
	.refuses = refuses,
};
