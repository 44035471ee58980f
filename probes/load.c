/* SPDX-License-Identifier: ISC */
/*
 * load - load average and pressure stall information
 *
 * Kernels without CONFIG_PSI (or booted with psi=0) have no /proc/pressure: those readings stay
 * unknown, and the load average alone is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/array.h"
#include "lib/fdio.h"
#include "probes/parse.h"
#include "probes/probe.h"

struct load {
	const struct probe_load_cfg *cfg;
	int pressure_error; /* of the last look: 0 or -errno */
};

static const struct {
	enum reading_id id;
	const char *path;
	int (*parse)(const char *s, double *ret);
} sources[] = {
	{ READING_LOAD, "/proc/loadavg", parse_loadavg },
	{ READING_CPU_PRESSURE, "/proc/pressure/cpu", parse_pressure },
	{ READING_IO_PRESSURE, "/proc/pressure/io", parse_pressure },
	{ READING_MEMORY_PRESSURE, "/proc/pressure/memory", parse_pressure },
};

static int
load_init(const struct probe_env *env, const void *cfg, void **ret_ctx)
{
	struct load *l = calloc(1, sizeof(*l));

	(void)env;
	if (l == NULL)
		return -ENOMEM;
	l->cfg = cfg;
	*ret_ctx = l;
	return 0;
}

static int
read_number(const char *path, int (*parse)(const char *s, double *ret), double *ret)
{
	char buf[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = fd_read_full(fd, buf, sizeof(buf) - 1);
	(void)close(fd);
	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	return parse(buf, ret);
}

static int
load_sample(void *ctx, mono_t now, struct probe_sample *ret, struct err *why)
{
	struct load *l = ctx;

	ret->due = mono_after(now, l->cfg->every_ms);
	l->pressure_error = 0;
	for (size_t i = 0; i < countof(sources); i++) {
		double v;
		int r = read_number(sources[i].path, sources[i].parse, &v);

		if (r == 0)
			probe_tell(ret, sources[i].id, v);
		else if (sources[i].id == READING_LOAD)
			return err_sys(why, r, "cannot read %s", sources[i].path);
		else
			l->pressure_error = r;
	}
	return 0;
}

static size_t
load_facts(void *ctx, struct probe_fact ret[PROBE_FACTS_MAX])
{
	const struct load *l = ctx;

	probe_fact(&ret[0], "pressure",
		l->pressure_error == 0 ? "offered by the kernel" : "not offered by the kernel");
	return 1;
}

static const struct cfg_row load_schema[] = {
	{ .name = "every", .type = CFG_DURATION, .at = offsetof(struct probe_load_cfg, every_ms),
		.min = 1000, .max = 600000, .def = 5000, .help = "how often to read them" },
	{ 0 },
};

const struct probe_ops probe_load = {
	.name = "load",
	.summary = "load average and pressure of cpu, disks and memory",
	.schema = load_schema,
	.readings = 1u << READING_LOAD | 1u << READING_CPU_PRESSURE | 1u << READING_IO_PRESSURE
		| 1u << READING_MEMORY_PRESSURE,
	.init = load_init,
	.sample = load_sample,
	.facts = load_facts,
	.free = free,
};
