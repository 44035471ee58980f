/* SPDX-License-Identifier: ISC */
/*
 * mkstate - write a published state as the engine would, or as no engine would
 *
 *	mkstate DIR [--level NAME] [--age MS] [--valid MS] [--other-boot] [--extended] [--episode ID]
 *	            [--salt N] [--admit CLASS=PERMILLE] [--stages NAME[=CHECK[+CHECK...]],...] [--version N] [--cut BYTES]
 *
 * Unless told otherwise: overloaded, issued just now in this boot, valid for an hour, compatible texts, no
 * episode, salt 0, nobody admitted but own, the check overload on at mail, rcpt and data.  A negative age lies in the
 * future.  A stage without checks has overload.  --version and --cut keep the checksum right.
 *
 * Exit: 0, 100 usage, 111 it could not be written.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/atomicfile.h"
#include "lib/bytes.h"
#include "lib/num.h"
#include "lib/siphash.h"
#include "lib/state.h"
#include "lib/text.h"

#define AT_VERSION 4
#define AT_SUM (STATE_SIZE - 8)

struct options {
	struct state state;
	int64_t age_ms;
	uint64_t version, size;
};

static int
usage(void)
{
	fputs("usage: mkstate DIR [--level NAME] [--age MS] [--valid MS] [--other-boot] [--extended]\n"
	      "               [--episode ID] [--salt N] [--admit CLASS=PERMILLE]\n"
	      "               [--stages NAME[=CHECK[+CHECK...]],...] [--version N] [--cut BYTES]\n",
		stderr);
	return 100;
}

static bool
parse_age(const char *s, int64_t *ret)
{
	bool ahead = *s == '-';
	uint64_t v;

	if (num_u64(s + ahead, &v) < 0 || v > INT64_MAX / 2)
		return false;
	*ret = ahead ? -(int64_t)v : (int64_t)v;
	return true;
}

static bool
parse_up_to(const char *s, uint64_t max, uint64_t *ret)
{
	return num_u64(s, ret) == 0 && *ret <= max;
}

static bool
parse_admit(char *s, struct state *st)
{
	char *eq = strchr(s, '=');
	uint64_t v;

	if (eq == NULL || !parse_up_to(eq + 1, UINT16_MAX, &v)) /* also more than ADMIT_ALL */
		return false;
	*eq = '\0';
	for (unsigned i = 0; i < CLASS_COUNT; i++)
		if (strcmp(class_name(i), s) == 0) {
			st->admit[i] = (uint16_t)v;
			return true;
		}
	return false;
}

/* "ipthrottle+tarpit" -> bits. */
static bool
parse_checks(char *s, uint32_t *ret)
{
	char *rest = NULL;

	for (char *word = strtok_r(s, "+", &rest); word != NULL; word = strtok_r(NULL, "+", &rest)) {
		int check = check_find(word);

		if (check < 0)
			return false;
		*ret |= 1u << check;
	}
	return true;
}

static bool
parse_stages(char *s, struct state *st)
{
	char *rest = NULL;

	memset(st->checks, 0, sizeof(st->checks));
	for (char *word = strtok_r(s, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
		char overload[] = "overload", *eq = strchr(word, '=');

		if (eq != NULL)
			*eq = '\0';
		int stage = stage_find(word);
		if (stage < 0 || !parse_checks(eq != NULL ? eq + 1 : overload, &st->checks[stage]))
			return false;
	}
	return true;
}

static bool
parse_option(int c, char *arg, struct options *o)
{
	struct state *s = &o->state;
	uint64_t v = 0;
	int level;

	switch (c) {
	case 'l':
		level = level_find(arg);
		s->level = level < 0 ? LEVEL_NORMAL : (enum level)level;
		return level >= 0;
	case 'a':
		return parse_age(arg, &o->age_ms);
	case 'v':
		if (!parse_up_to(arg, UINT32_MAX, &v))
			return false;
		s->valid_ms = (uint32_t)v;
		return true;
	case 'b':
		s->boot_id[0] ^= 1;
		return true;
	case 'x':
		s->flags |= STATE_EXTENDED_TEXTS;
		return true;
	case 'e':
		return text_copy(s->episode, sizeof(s->episode), arg) == 0;
	case 's':
		return num_u64(arg, &s->salt) == 0;
	case 'm':
		return parse_admit(arg, s);
	case 't':
		return parse_stages(arg, s);
	case 'V':
		return parse_up_to(arg, UINT16_MAX, &o->version);
	case 'c':
		return parse_up_to(arg, STATE_SIZE, &o->size);
	default:
		return false;
	}
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "level", required_argument, NULL, 'l' },
		{ "age", required_argument, NULL, 'a' },
		{ "valid", required_argument, NULL, 'v' },
		{ "other-boot", no_argument, NULL, 'b' },
		{ "extended", no_argument, NULL, 'x' },
		{ "episode", required_argument, NULL, 'e' },
		{ "salt", required_argument, NULL, 's' },
		{ "admit", required_argument, NULL, 'm' },
		{ "stages", required_argument, NULL, 't' },
		{ "version", required_argument, NULL, 'V' },
		{ "cut", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!parse_option(c, optarg, o))
			return false;
	return argc - optind == 1;
}

static int
put(const char *dir, const struct options *o)
{
	uint8_t buf[STATE_SIZE];

	state_encode(&o->state, buf);
	put_u16(buf + AT_VERSION, (uint16_t)o->version);
	put_u64(buf + AT_SUM, siphash(buf, AT_SUM, 0, 0));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = atomicfile_put(fd, &(struct atomicfile) {
		.name = STATE_FILE, .data = buf, .len = (size_t)o->size, .mode = 0644,
	});
	(void)close(fd);
	return r;
}

int
main(int argc, char **argv)
{
	struct options o = {
		.state = {
			.valid_ms = 3600000,
			.level = LEVEL_OVERLOADED,
			.admit = { [CLASS_OWN] = ADMIT_ALL },
			.checks = {
				[STAGE_MAIL] = 1u << CHECK_OVERLOAD,
				[STAGE_RCPT] = 1u << CHECK_OVERLOAD,
				[STAGE_DATA] = 1u << CHECK_OVERLOAD,
			},
		},
		.version = STATE_VERSION,
		.size = STATE_SIZE,
	};

	if (clock_boot_id(o.state.boot_id) < 0)
		return 111;
	if (!parse_options(argc, argv, &o))
		return usage();
	o.state.issued = mono_after(mono_now(), -o.age_ms);
	int r = put(argv[optind], &o);
	if (r < 0) {
		(void)fprintf(stderr, "mkstate: %s: %s\n", argv[optind], strerror(-r));
		return 111;
	}
	return 0;
}
