/* SPDX-License-Identifier: ISC */
#include "controller/publish.h"

#include "lib/atomicfile.h"

int
publish_state(int dir, const struct state *s)
{
	uint8_t buf[STATE_SIZE];

	state_encode(s, buf);
	/* Not durable: it must not outlive the boot, and a lease does not survive a pause anyway. */
	return atomicfile_put(dir, &(struct atomicfile) {
		.name = STATE_FILE, .data = buf, .len = sizeof(buf), .mode = 0644,
	});
}

void
publish_configured(const struct config *c, struct state *ret)
{
	ret->valid_ms = (uint32_t)c->service.lease_ms;
	ret->flags = c->plugins.texts == TEXTS_EXTENDED ? STATE_EXTENDED_TEXTS : 0;
	if (c->blocks.rules.on.n > 0 && c->limits.n_classes > 0) {
		ret->flags |= c->blocks.login_credit_ms > 0 ? STATE_TELL_LOGINS : 0;
		ret->flags |= c->blocks.mail_credit_ms > 0 && c->blocks.rules.widen_hosts > 0 ? STATE_TELL_MAILS : 0;
	}
	if (c->storms.rules.bounces > 0)
		ret->flags |= STATE_BOUNCES;
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		const struct cfg_list *names = &c->plugins.stage[stage];

		ret->checks[stage] = 0;
		for (unsigned i = 0; i < names->n; i++) {
			int check = check_find(names->s[i]);

			if (check >= 0)
				ret->checks[stage] |= 1u << check;
		}
	}
}
