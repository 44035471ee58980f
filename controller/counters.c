/* SPDX-License-Identifier: ISC */
/*
 * counters - the table of what limits count: made at the start, filled with what was stored, swept
 *
 * Its memory is service.limits_memory from the first moment on, whether there are limits or not: limits may come with a
 * reload, and a flood is not the time to ask for memory.
 */
#include <errno.h>

#include "controller/engine_state.h"

#define SWEEP_MS 1000
#define SWEEP_PART 4096 /* of the blocks, at each sweep: all within 70 minutes */

int
counters_open(struct engine *e, int fd, struct err *why)
{
	const char *dir = e->config.service.state_dir;
	uint8_t key[RATE_KEY_SIZE] = { 0 };
	struct err reason;
	int r = marks_key(dir, key, &reason);

	if (r == -ENODATA)
		return err_set(why, r, "%s", reason.text);
	if (r < 0)
		log_error("limits", "%s: a restart will forget what was counted", reason.text);
	r = rate_new(e->config.service.limits_memory, key, &e->rate);
	if (r < 0)
		return err_sys(why, r, "cannot get service.limits_memory, %llu bytes",
			(unsigned long long)e->config.service.limits_memory);
	counters_reconfigured(e);
	if (marks_new(e->base, &e->turn, fd, e->rate, key, e->boot_id, &e->marks) < 0)
		return err_set(why, -ENOMEM, "no memory");
	e->next_sweep = mono_after(e->started, SWEEP_MS);
	return 0;
}

/* e->config has changed. */
void
counters_reconfigured(struct engine *e)
{
	rate_configure(e->rate, &e->config.limits);
}

void
counters_step(struct engine *e, mono_t now)
{
	if (now.ms < e->next_sweep.ms)
		return;
	rate_sweep(e->rate, now, rate_stats(e->rate).blocks / SWEEP_PART + 64);
	e->next_sweep = mono_after(now, SWEEP_MS);
}

void
counters_close(struct engine *e)
{
	marks_free(e->marks);
	rate_free(e->rate);
}
