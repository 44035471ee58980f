/* SPDX-License-Identifier: ISC */
/*
 * Packets to ask.sock, one after the other: {u8 level, u8 held, u16 length, bytes}.  Whatever is in them, the answer is one of those
 * that a plugin understands, own users are not refused for their address, and nothing is read beyond the packet.
 */
#include "controller/admit.h"
#include "lib/ask.h"
#include "lib/bytes.h"
#include "tests/fuzz/fuzz.h"

static struct rate_cfg cfg;
static struct rate *rate;
static struct admit admit;

static void
limit(const char *class, const char *pattern, int64_t count, enum rate_mode mode)
{
	struct rate_class *c = &cfg.class[cfg.n_classes];

	if (cfg.n_classes > 0 && strcmp(c[-1].name, class) == 0) {
		c--;
	} else {
		cfg.n_classes++;
		(void)snprintf(c->name, sizeof(c->name), "%s", class);
		c->mode = mode;
		c->first = cfg.n_limits;
	}
	struct rate_limit *l = &cfg.limit[cfg.n_limits++];
	CHECK(rate_limit_set_pattern(l, pattern) == 0);
	l->window_ms = 1000;
	l->count = count;
	c->n++;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t key[RATE_KEY_SIZE] = { 1 };

	(void)argc;
	(void)argv;
	limit("ip", "10.0.0.0/8", -1, RATE_WINDOW);
	limit("ip", "2001:db8::/32", 1, RATE_WINDOW);
	limit("ip", "*", 3, RATE_WINDOW);
	limit("ip_mail", "*", 0, RATE_LEAKY);
	limit("user", "a*", 2, RATE_GCRA);
	limit("user", "*@*", 2, RATE_GCRA);
	limit("rcpt_ip", "*", 5, RATE_LEAKY);
	limit("rcpt_user", "*", 5, RATE_WINDOW);
	CHECK(rate_new(RATE_MEMORY_MIN, key, &rate) == 0);
	rate_configure(rate, &cfg);
	admit_configure(&admit, &cfg);
	return 0;
}

static void
check_answer(const struct record *r, const struct admit_world *world, const struct admit_result *a)
{
	bool at_rcpt = r->stage == STAGE_RCPT || r->stage == STAGE_DATA;

	CHECK(a->delay_ms <= ASK_DELAY_MAX_MS && (a->delay_ms == 0 || (world->may_sleep && world->level == LEVEL_NORMAL)));
	if (a->verdict == VERDICT_PASS) {
		CHECK(a->code == 0);
		return;
	}
	CHECK(a->verdict == (at_rcpt ? VERDICT_REFUSE : VERDICT_CLOSE) && a->code == (at_rcpt ? 451 : 421));
	CHECK(a->delay_ms == 0 && a->check > CHECK_OVERLOAD && a->check < CHECK_TARPIT);
	CHECK((r->wants & 1u << a->check) != 0);
	CHECK(a->why.verdict == RATE_OVER && a->why.limit != NULL && a->why.n > a->why.max);
	CHECK(a->class < (int)cfg.n_classes && a->value_len < ADMIT_VALUE_MAX && a->value[a->value_len] == '\0');
	CHECK(strlen(a->value) == a->value_len);
	if (admit_is_own(r))
		CHECK(a->check == CHECK_USERTHROTTLE || a->check == CHECK_RCPTTHROTTLE);
	else
		CHECK(r->ip_known && a->check != CHECK_USERTHROTTLE);
}

static void
ask(uint8_t level, uint8_t held, const uint8_t *packet, size_t len, mono_t now)
{
	static const struct rate_limit held_limit = { .pattern = "*", .count = 2 };
	const struct rate_answer over = { .verdict = RATE_OVER, .n = 3, .max = 2, .limit = &held_limit };
	const struct rate_answer fine = { .verdict = RATE_OK, .n = 1, .max = 2, .limit = &held_limit };
	uint8_t *copy = malloc(len > 0 ? len : 1); /* so that reading beyond is seen */
	struct admit_result a;
	struct record r;

	CHECK(copy != NULL);
	memcpy(copy, packet, len);
	const struct admit_world world = {
		.now = now, .level = (enum level)(level % LEVEL_COUNT), .may_sleep = (held & 1) != 0,
		.held = (held & 2) == 0 ? NULL : (held & 4) != 0 ? &over : &fine,
	};
	if (record_decode(copy, len, &r) == 0) {
		admit_ask(&admit, rate, &r, &world, &a);
		check_answer(&r, &world, &a);
	}
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static mono_t now = { 1000000 };

	while (size >= 4) {
		size_t len = get_u16(data + 2) % (RECORD_MAX + 2);

		len = len < size - 4 ? len : size - 4;
		ask(data[0], data[1], data + 4, len, now);
		now.ms += data[0];
		data += 4 + len;
		size -= 4 + len;
	}
	return 0;
}
