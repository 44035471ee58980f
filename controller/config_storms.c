/* SPDX-License-Identifier: ISC */
#include "controller/config_storms.h"

#define DAY_MS INT64_C(86400000)

static const char *const policy_words[] = {
	[STORMS_PASS] = "pass", [STORMS_RETRY] = "retry", [STORMS_DEFER] = "defer", [STORMS_REFUSE] = "refuse", NULL,
};

#define AT(member) .at = offsetof(struct config_storms, member)

const struct cfg_row config_storms_rows[] = {
	{ .name = "bounces", .type = CFG_COUNT, AT(rules.bounces), .min = 0, .max = 1000, .def = 20,
		.flags = CFG_RESTART,
		.help = "so many bounces to one address that its own mail does not explain are a storm; 0: never" },
	{ .name = "domain_bounces", .type = CFG_COUNT, AT(rules.domain_bounces), .min = 0, .max = 1000, .def = 50,
		.flags = CFG_RESTART,
		.help = "the same for a domain, of its addresses that have sent nothing; 0: never" },
	{ .name = "within", .type = CFG_DURATION, AT(rules.within_ms), .min = 1000, .max = DAY_MS, .def = 600000,
		.help = "in so long a time" },
	{ .name = "quiet", .type = CFG_DURATION, AT(rules.quiet_ms), .min = 1000, .max = 7 * DAY_MS, .def = 3600000,
		.help = "it is over when fewer have come in this time" },
	{ .name = "exempt", .type = CFG_NAMES, AT(rules.exempt), .def_text = "postmaster abuse",
		.flags = CFG_MAY_BE_EMPTY,
		.help = "never shielded: local parts of any domain, and whole addresses" },
	{ .name = "open_mail", .type = CFG_CHOICE, AT(rules.open_mail), .choices = policy_words, .def = STORMS_RETRY,
		.help = "in a storm, a bounce from anywhere to an address that waits for answers to its mail" },
	{ .name = "no_mail", .type = CFG_CHOICE, AT(rules.no_mail), .choices = policy_words, .def = STORMS_REFUSE,
		.help = "in a storm, the same to an address that waits for none" },
	{ .name = "retry", .type = CFG_DURATION, AT(rules.retry_ms), .min = 1000, .max = DAY_MS, .def = 300000,
		.help = "who was put off gets in when he comes back after so long" },
	{ .name = "remember", .type = CFG_DURATION, AT(remember_ms), .min = DAY_MS, .max = 60 * DAY_MS,
		.def = 7 * DAY_MS, .flags = CFG_RESTART,
		.help = "so long, at least, it is remembered who wrote to whom" },
	{ .name = "learn", .type = CFG_DURATION, AT(learn_ms), .min = 0, .max = 60 * DAY_MS, .def = 7 * DAY_MS,
		.help = "so long after the first start nobody knows all that was sent: put off instead of refused" },
	{ .name = "addresses", .type = CFG_COUNT, AT(addresses), .min = 1000, .max = 1000000, .def = 20000,
		.flags = CFG_RESTART,
		.help = "addresses with bounces at once; each needs 28 bytes, and 8 for each of `bounces`" },
	{ .name = "memory", .type = CFG_SIZE, AT(memory), .min = SENT_MEMORY_MIN, .max = INT64_C(4) << 30,
		.def = 8 << 20, .flags = CFG_RESTART,
		.help = "memory for who wrote to whom: 32 bytes a pair" },
	{ 0 },
};
