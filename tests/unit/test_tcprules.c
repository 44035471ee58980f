/* SPDX-License-Identifier: ISC */
/*
 * Denials in tcpserver's cdb, through the real tcprules: the administrator's rules stay, the longest match wins, protected
 * addresses are never denied, and blocks end at their time.  test_tcprules_fault.c has what goes wrong.
 *
 * The real tcprulescheck vouches for the test's own reader of cdbs, which then does the many look-ups.  tests/e2e/tcprules.sh has
 * tcpserver itself.
 */
#include "tests/unit/tcprulesrig.h"

#include "tests/hostile.h"

/* --- the administrator's rules --------------------------------------------------------------- */

static const char odd_rules[] =
	"# who may relay\n"
	"\n"
	"127.:allow,RELAYCLIENT=\"\"\n"
	"192.0.2.10:allow,RELAYCLIENT=\"\",QMAILQUEUE=\"/var/qmail/bin/qq\"  \t\n"
	"192.0.2.20-29:allow,GREETDELAY='0'\n"
	"=relay.example.test:allow,RELAYCLIENT=/@fix/\n"
	"joe@192.0.2.30:deny\n"
	"198.51.100.:deny\n"
	"#192.0.2.11:deny\n"
	"no colon in here\n"
	":allow,X=\"\xe4\"";

static void
tcprules_keeps_the_rules_of_the_administrator_byte_for_byte(void **state)
{
	char plain[KIT_PATH_MAX], again[KIT_PATH_MAX];

	(void)state;
	begin(odd_rules);
	struct stat before = stat_of(rules_path), compiled = stat_of(cdb_path);
	start();
	await_ours(0);
	/* Without a block nothing is written. */
	assert_int_equal(stat_of(cdb_path).st_ino, compiled.st_ino);
	assert_false(is_there(list_path));
	block("192.0.2.10/32");
	block("192.0.2.11/32");
	block("192.0.2.25/32");
	block("198.51.100.7/32");
	block("203.0.113.0/24");
	await_ours(5);
	assert_int_equal(status().foreign, 4 + 10 + 2); /* tcprules passes over the line without a colon */
	assert_int_equal(verdict("192.0.2.10"), 'A');
	assert_int_equal(verdict("192.0.2.11"), 'D');
	assert_int_equal(verdict("192.0.2.25"), 'A');
	assert_int_equal(verdict("198.51.100.7"), 'D');
	assert_int_equal(verdict("203.0.113.250"), 'D');
	assert_int_equal(verdict("203.0.114.1"), 'A');
	/* Their records are the first, as they were. */
	struct cdbread ours = { 0 }, theirs = { 0 };
	assert_int_equal(compile_to("plain.cdb"), 0);
	assert_true(cdbread_load(cdb_path, &ours) && cdbread_load(kit_path(plain, dir, "plain.cdb"), &theirs));
	size_t records = cdbread_u32(&theirs, 0);
	assert_true(records > 2048 && records < ours.len);
	assert_memory_equal(ours.at + 2048, theirs.at + 2048, records - 2048);
	cdbread_free(&ours);
	cdbread_free(&theirs);
	assert_int_equal(unlink(kit_path(again, dir, "plain.cdb")), 0);
	unblock("192.0.2.10/32");
	unblock("192.0.2.11/32");
	unblock("192.0.2.25/32");
	unblock("198.51.100.7/32");
	unblock("203.0.113.0/24");
	await_ours(0);
	assert_as_compiled();
	assert_false(is_there(list_path));
	struct stat after = stat_of(rules_path);
	assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size
		&& before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
	assert_tidy();
	end();
}

static void
tcprules_takes_rules_of_any_ending(void **state)
{
	static const char *const texts[] = {
		"", "\n", "\n\n\n", "#", "# comment", "# comment\n", "192.0.2.1:deny", "192.0.2.1:deny\n", "192.0.2.1:deny\n\n",
		"192.0.2.1:deny \t ", "192.0.2.1:deny\n# comment", "192.0.2.1:deny\n ", "192.0.2.1:deny\n\t\n", "nonsense",
		"192.0.2.1:deny\nnonsense",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		begin(texts[i]);
		char before = verdict("192.0.2.1");
		start();
		block("192.0.2.2/32");
		await_ours(1);
		assert_int_equal(verdict("192.0.2.2"), 'D');
		assert_int_equal(verdict("192.0.2.1"), before);
		assert_int_equal(verdict("192.0.2.3"), '-');
		unblock("192.0.2.2/32");
		await_ours(0);
		assert_as_compiled();
		end();
	}
}

static void
tcprules_says_each_prefix_length_exactly(void **state)
{
	struct dice d = dice_new();

	(void)state;
	begin(":allow\n");
	start();
	for (unsigned bits = 8; bits <= 32; bits++) {
		struct ip ip = prefix("192.0.2.1").ip;

		for (int i = 12; i < 16; i++)
			ip.b[i] = (uint8_t)(1 + dice_below(&d, 120)); /* not loopback */
		struct ip_prefix p = { .ip = ip_mask(&ip, 96 + bits), .bits = (uint8_t)(96 + bits) };
		uint32_t first = (uint32_t)p.ip.b[12] << 24 | (uint32_t)p.ip.b[13] << 16 | (uint32_t)p.ip.b[14] << 8 | p.ip.b[15];
		uint32_t last = first | (bits < 32 ? UINT32_MAX >> bits : 0);
		const struct {
			uint32_t a;
			char v;
		} probes[] = { { first, 'D' }, { last, 'D' }, { first - 1, 'A' }, { last + 1, 'A' },
			{ first + (last - first) / 2, 'D' } };

		block_prefix(&p, MINUTE_MS);
		await_ours(1);
		for (size_t i = 0; i < countof(probes); i++) {
			char text[IP_TEXT_MAX];

			kit_format(text, sizeof(text), "%u.%u.%u.%u", probes[i].a >> 24, probes[i].a >> 16 & 255,
				probes[i].a >> 8 & 255, probes[i].a & 255);
			if (verdict(text) != probes[i].v)
				fail_msg("%s is '%c' with a /%u", text, verdict(text), bits);
		}
		assert_true(blockset_remove(want, &p));
		block_tcprules.change(ctx, &p, NULL, want, now());
		await_ours(0);
	}
	struct ip_prefix wide = prefix("128.0.0.0/7");
	block_prefix(&wide, MINUTE_MS);
	await_left_out("not in force: 1 that tcprules can't express");
	assert_int_equal(verdict("128.1.1.1"), 'A');
	assert_int_equal(status().ours, 0);
	end();
}

/* --- the longest match, a million times ------------------------------------------------------ */

#define THEIRS_MAX 64
#define OURS_MAX 256

struct their_rule {
	struct ip_prefix prefix; /* ends at a dot, or is an address */
	bool deny;
};

/* What should be: of the rules that match, the longest; of equal ones the administrator's first.  In tcprules a range is so many
 * rules of its last number's length. */
static char
oracle(const struct their_rule *theirs, size_t n_theirs, const struct ip_prefix *ours, size_t n_ours, const struct ip *ip)
{
	unsigned best = 0;
	char v = 'A'; /* ":allow" */

	for (size_t i = 0; i < n_theirs; i++)
		if (theirs[i].prefix.bits > best && ip_prefix_contains(&theirs[i].prefix, ip)) {
			best = theirs[i].prefix.bits;
			v = theirs[i].deny ? 'D' : 'A';
		}
	for (size_t i = 0; i < n_ours; i++) {
		unsigned bits = (ours[i].bits + 7u) / 8 * 8;

		if (bits > best && ip_prefix_contains(&ours[i], ip)) {
			best = bits;
			v = 'D';
		}
	}
	return v;
}

/* Few different numbers, so that they meet. */
static struct ip
random_v4(struct dice *d)
{
	struct ip ip = prefix("0.0.0.0").ip;

	ip.b[12] = (uint8_t)(1 + dice_below(d, 3));
	ip.b[13] = (uint8_t)dice_below(d, 4);
	ip.b[14] = (uint8_t)dice_below(d, 8);
	ip.b[15] = (uint8_t)dice_below(d, 256);
	return ip;
}

static size_t
random_rules(struct dice *d, struct their_rule theirs[THEIRS_MAX], char *text, size_t cap)
{
	size_t n = dice_below(d, THEIRS_MAX), len = 0;

	for (size_t i = 0; i < n; i++) {
		static const unsigned lengths[] = { 104, 112, 120, 128, 128 };
		struct ip ip = random_v4(d);
		unsigned bits = lengths[dice_below(d, countof(lengths))];
		char address[IP_TEXT_MAX];

		theirs[i] = (struct their_rule) {
			.prefix = { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits }, .deny = dice_below(d, 3) == 0,
		};
		kit_format(address, sizeof(address), "%u.%u.%u.%u", ip.b[12], ip.b[13], ip.b[14], ip.b[15]);
		char *dot = address;
		for (unsigned k = 96; k < bits && dot != NULL; k += 8)
			dot = strchr(dot, '.') != NULL ? strchr(dot, '.') + 1 : NULL;
		if (dot != NULL)
			*dot = '\0';
		len += (size_t)snprintf(text + len, cap - len, "%s:%s\n", address, theirs[i].deny ? "deny" :
			"allow,RELAYCLIENT=\"\"");
		assert_true(len < cap);
	}
	(void)snprintf(text + len, cap - len, ":allow");
	return n;
}

/* The real tcprulescheck; the key length of the rule that it found. */
static char
check_really(const char *ip, size_t *ret_key)
{
	char command[] = TCPRULESCHECK, env[64], out[4096] = "";

	kit_format(env, sizeof(env), "TCPREMOTEIP=%s", ip);
	assert_int_equal(run((char *[]) { command, cdb_path, NULL }, NULL, env, out, sizeof(out)), 0);
	*ret_key = 0;
	if (strncmp(out, "rule ", 5) == 0)
		*ret_key = (size_t)(strstr(out, ":\n") - out) - 5;
	return strstr(out, "deny connection\n") != NULL ? 'D' : 'A';
}

static void
tcprules_longest_match_holds_for_a_million_probes(void **state)
{
	static struct their_rule theirs[THEIRS_MAX];
	static struct ip_prefix ours[OURS_MAX];
	struct dice d = dice_new();
	int rounds = kit_rounds(20), denied = 0, checked = 0;

	(void)state;
	for (int round = 0; round < rounds; round++) {
		char text[THEIRS_MAX * 48];
		size_t n_theirs = random_rules(&d, theirs, text, sizeof(text)), n_ours = dice_below(&d, OURS_MAX);
		struct cdbread c = { 0 };

		begin(text);
		for (size_t i = 0; i < n_ours; i++) {
			struct ip ip = random_v4(&d);
			unsigned bits = dice_below(&d, 3) == 0 ? 104 + dice_below(&d, 25) : 128;

			ours[i] = (struct ip_prefix) { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits };
			block_prefix(&ours[i], MINUTE_MS);
		}
		start();
		await_ours(blockset_count(want));
		assert_true(cdbread_load(cdb_path, &c));
		for (int i = 0; i < kit_rounds(1000000) / rounds; i++) {
			struct ip ip = random_v4(&d);
			char address[IP_TEXT_MAX];
			size_t key, real_key;

			ip_format(&ip, address);
			char expected = oracle(theirs, n_theirs, ours, n_ours, &ip), got = cdbread_verdict(&c, address, &key);
			denied += got == 'D';
			if (got != expected)
				fail_msg("%s is '%c', not '%c', with rules %s", address, got, expected, text);
			if (i < kit_rounds(100)) {
				assert_int_equal(check_really(address, &real_key), got);
				assert_int_equal(real_key, key);
				checked++;
			}
		}
		cdbread_free(&c);
		end();
	}
	assert_in_range(denied, kit_rounds(1000000) / 20, kit_rounds(1000000));
	assert_in_range(checked, 2, 100000);
}

static void
tcprules_first_rule_wins_for_equal_addresses(void **state)
{
	(void)state;
	begin("192.0.2.7:allow\n192.0.2.:allow\n192.0.3.0-127:allow\n198.18-19.:allow\n:deny\n");
	start();
	block("192.0.2.7/32");
	block("192.0.2.0/24");
	block("192.0.2.8/32");
	block("192.0.3.64/26");
	block("192.0.3.128/25");
	block("198.18.0.0/15");
	block("198.18.5.0/24");
	await_ours(7);
	assert_int_equal(verdict("192.0.2.7"), 'A');
	assert_int_equal(verdict("192.0.2.9"), 'A');
	assert_int_equal(verdict("192.0.2.8"), 'D');
	assert_int_equal(verdict("192.0.3.70"), 'A');
	assert_int_equal(verdict("192.0.3.200"), 'D');
	assert_int_equal(verdict("198.19.1.1"), 'A');
	assert_int_equal(verdict("198.18.5.1"), 'D');
	assert_int_equal(verdict("203.0.113.1"), 'D');
	end();
}

/* --- times ----------------------------------------------------------------------------------- */

static void
tcprules_block_ends_at_its_time_without_being_told(void **state)
{
	struct ip_prefix p = prefix("203.0.113.9/32"), q = prefix("203.0.113.10/32");

	(void)state;
	begin(":allow\n");
	start();
	block_prefix(&p, MINUTE_MS);
	block_prefix(&q, 10 * MINUTE_MS);
	await_ours(2);
	turn_for(200);
	assert_int_equal(verdict("203.0.113.9"), 'D');
	skew_ms += MINUTE_MS;
	await_verdict("203.0.113.9", 'A');
	await_ours(1);
	assert_int_equal(verdict("203.0.113.10"), 'D');
	skew_ms += 10 * MINUTE_MS;
	await_verdict("203.0.113.10", 'A');
	assert_as_compiled();
	assert_false(is_there(list_path));
	end();
}

/* The end of the one block in the list, by the wall clock as it was before anybody set it. */
static int64_t
listed_end(void)
{
	char text[1024] = "";
	int fd = open(list_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

	assert_true(n > 0);
	(void)close(fd);
	const char *line = strstr(text, "203.0.113.9/32 ");
	assert_non_null(line);
	return strtoll(line + strlen("203.0.113.9/32 "), NULL, 10);
}

static int64_t
real_s(void)
{
	struct timespec ts;

	assert_int_equal(syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts), 0);
	return ts.tv_sec;
}

static void
t1_tcprules_list_follows_the_wall_clock(void **state)
{
	static const int64_t jumps[] = { 864000, -7200, -1795000000, 400000000, 5 };
	struct ip_prefix p = prefix("203.0.113.9/32");

	(void)state;
	begin(":allow\n");
	start();
	int64_t until = real_s() + 60;
	block_prefix(&p, MINUTE_MS);
	await_ours(1);
	assert_in_range(listed_end(), until, until + 3);
	struct stat before = stat_of(cdb_path);
	for (size_t i = 0; i < countof(jumps); i++) {
		wall_skew_s = jumps[i];
		block_tcprules.clock_set(ctx, want, now());
		turn_for(200);
		assert_in_range(listed_end() - jumps[i], until, until + 3);
		assert_int_equal(verdict("203.0.113.9"), 'D');
	}
	assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
	wall_skew_s = 0;
	end();
}

/* --- neutral --------------------------------------------------------------------------------- */

/* As another process would, which knows nothing. */
static int
neutral(bool all, struct err *why)
{
	void *other = NULL;
	int r = block_tcprules.init(&cfg, &other, why);

	if (r == 0)
		r = block_tcprules.neutral(other, all, why);
	block_tcprules.free(other);
	return r;
}

static void
neutral_takes_back_all_or_what_is_over(void **state)
{
	struct ip_prefix p = prefix("203.0.113.9/32"), q = prefix("203.0.113.0/25");
	struct err why;

	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	start();
	/* Nothing is ours. */
	assert_int_equal(neutral(true, &why), 0);
	assert_int_equal(neutral(false, &why), 0);
	assert_as_compiled();
	block_prefix(&p, MINUTE_MS);
	block_prefix(&q, 10 * MINUTE_MS);
	await_ours(2);
	stop();
	struct stat before = stat_of(cdb_path);
	assert_int_equal(neutral(false, &why), 0);
	assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
	wall_skew_s = 65;
	assert_int_equal(neutral(false, &why), 0);
	assert_int_equal(verdict("203.0.113.9"), 'D'); /* by the /25 */
	assert_true(stat_of(cdb_path).st_ino != before.st_ino);
	wall_skew_s = 605;
	assert_int_equal(neutral(false, &why), 0);
	assert_as_compiled();
	assert_false(is_there(list_path));
	/* all */
	wall_skew_s = 0;
	start();
	await_ours(2);
	stop();
	assert_int_equal(neutral(true, &why), 0);
	assert_as_compiled();
	assert_false(is_there(list_path));
	assert_tidy();
	/* without the list nobody knows until when: all goes */
	start();
	await_ours(2);
	stop();
	assert_int_equal(unlink(list_path), 0);
	assert_int_equal(neutral(false, &why), 0);
	assert_as_compiled();
	end();
}

static void
neutral_that_cannot_says_why_and_leaves_all_as_it_is(void **state)
{
	struct err why;

	(void)state;
	begin(":allow\n");
	start();
	block("203.0.113.9/32");
	await_ours(1);
	stop();
	edit(":allow\n# being edited\n");
	assert_true(neutral(true, &why) < 0);
	assert_non_null(strstr(why.text, "an edit in progress"));
	assert_int_equal(verdict("203.0.113.9"), 'D');
	set_age(rules_path, 1000);
	edit(":allow\n");
	set_age(rules_path, 1000);
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), "/nowhere/tcprules");
	assert_true(neutral(true, &why) < 0);
	assert_non_null(strstr(why.text, "cannot run /nowhere/tcprules"));
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), TCPRULES);
	assert_int_equal(neutral(true, &why), 0);
	assert_as_compiled();
	/* Nothing is ours, and nothing could be done: that is no trouble. */
	edit("# being edited\n");
	assert_int_equal(neutral(true, &why), 0);
	assert_int_equal(unlink(cdb_path), 0);
	assert_int_equal(neutral(true, &why), 0);
	assert_int_equal(neutral(false, &why), 0);
	end();
}

/* A list of this text beside a cdb with a block of ours: as the dead leave it. */
static void
neutral_with_list(const char *text, size_t n)
{
	struct err why;

	start();
	block("203.0.113.9/32");
	await_ours(1);
	stop();
	unblock("203.0.113.9/32");
	assert_int_equal(unlink(list_path), 0);
	if (text != NULL)
		kit_write(dir, "tcp.smtp.cdb.spillway", text, n, 0644);
	else
		assert_int_equal(mkfifo(list_path, 0644), 0);
	if (neutral(false, &why) != 0)
		fail_msg("%s", why.text);
}

/* Whatever stands in the list: what it says goes to tcprules only as addresses that we understood, and no protected one. */
static void
neutral_with_a_hostile_list_denies_only_what_it_says(void **state)
{
	static const char bad[] =
		"0.0.0.0/0 9999999999 x\n::/0 9999999999 x\n128.0.0.0/1 9999999999 x\n127.0.0.1/32 9999999999 x\n"
		"192.0.2.0/24 9999999999 x\n10.0.0.1:allow,RELAYCLIENT=\"\" 9999999999 x\n10.0.0.2/32 9999999999 x:allow\n"
		"10.0.0.3/32 9999999999\n10.0.0.4/32  9999999999 x\n10.0.0.5/32 -1 x\n10.0.0.6/32 99999999999999999999 x\n"
		"10.0.0.7/33 9999999999 x\n10.0.0.8/24 9999999999 x\n 10.0.0.9/32 9999999999 x\n10.0.0.10/32 9999999999 x y\n"
		"10.0.0.11/32\t9999999999\tx\n10.0.0.12/32 9999999999 12345678901234567\n10.0.0.13/32 9999999999 x\r\n"
		"10.0.0.14/32 1000000000 x\n#10.0.0.15/32 9999999999 x\n\n\n\n10.0.0.16/32 253402300800 -\n10.0.0.17/32 9999999999 x";
	static const char good[] = "10.0.0.18/32 253402300799 -\n10.0.0.19/32 9999999999 k7m2q\n";
	static char text[HOSTILE_MAX + 1], all[HOSTILE_COUNT * 200];
	size_t n = 0;

	(void)state;
	begin("10.0.0.20:deny\n:allow\n");
	cfg.protected.n = 1;
	cfg.protected.p[0] = prefix("192.0.2.77/32");
	neutral_with_list(bad, strlen(bad));
	assert_as_compiled();
	for (size_t i = 0; i < HOSTILE_COUNT; i++) {
		size_t len = hostile_text(i, text);

		len = len < 190 ? len : 190;
		memcpy(all + n, text, len);
		n += len;
		all[n++] = '\n';
	}
	neutral_with_list(all, n);
	assert_as_compiled();
	neutral_with_list(good, strlen(good));
	assert_int_equal(verdict("10.0.0.18"), 'D');
	assert_int_equal(verdict("10.0.0.19"), 'D');
	assert_int_equal(verdict("10.0.0.20"), 'D');
	neutral_with_list("", 0);
	assert_as_compiled();
	neutral_with_list(NULL, 0);
	assert_as_compiled();
	end();
}

/* --- what must not be ------------------------------------------------------------------------ */

static void
tcprules_never_denies_a_protected_address(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(60); round++) {
		size_t refused = 0, n;

		begin(":allow\n");
		cfg.protected.n = 1 + dice_below(&d, 20);
		for (size_t i = 0; i < cfg.protected.n; i++) {
			struct ip ip = random_v4(&d);
			unsigned bits = 128 - dice_below(&d, 3) * dice_below(&d, 8);

			cfg.protected.p[i] = (struct ip_prefix) { .ip = ip, .bits = (uint8_t)bits }; /* bits behind it are set */
		}
		n = 1 + dice_below(&d, 300);
		for (size_t i = 0; i < n; i++) {
			struct ip ip = random_v4(&d);
			unsigned bits = 128 - dice_below(&d, 2) * dice_below(&d, 20);
			struct ip_prefix p = { .ip = ip_mask(&ip, bits), .bits = (uint8_t)bits };
			bool touches = false;

			if (blockset_find(want, &p) != NULL)
				continue;
			block_prefix(&p, MINUTE_MS);
			for (size_t k = 0; k < cfg.protected.n; k++)
				touches = touches || ip_prefix_contains(&p, &cfg.protected.p[k].ip)
					|| ip_prefix_contains(&(struct ip_prefix) {
						ip_mask(&cfg.protected.p[k].ip, cfg.protected.p[k].bits), cfg.protected.p[k].bits }, &p.ip);
			refused += touches;
		}
		/* In some rounds there is not enough room. */
		cfg.tcprules.max_rules = round % 3 == 0 ? 0 : 1 + (int64_t)dice_below(&d, 200);
		cfg.tcprules.widen = round % 3 == 1;
		start();
		mono_t until = mono_after(mono_now(), PATIENCE_MS);
		char part[64];
		kit_format(part, sizeof(part), "%zu that touch protected addresses", refused);
		while (!(refused < blockset_count(want) ? status().ours > 0 : strstr(status().text, part) != NULL)
			&& mono_since(mono_now(), until) > 0)
			(void)turn(10);
		assert_true(status().ok);
		struct cdbread c = { 0 };
		size_t key;
		assert_true(cdbread_load(cdb_path, &c));
		for (int i = 0; i < 2000; i++) {
			struct ip ip = random_v4(&d);
			char text[IP_TEXT_MAX];
			bool protected = false, blocked = blockset_match(want, &ip, now()) != NULL;

			for (size_t k = 0; k < cfg.protected.n; k++)
				protected = protected || ip_prefix_contains(&(struct ip_prefix) {
					ip_mask(&cfg.protected.p[k].ip, cfg.protected.p[k].bits), cfg.protected.p[k].bits }, &ip);
			ip_format(&ip, text);
			char v = cdbread_verdict(&c, text, &key);
			if (protected && v != 'A')
				fail_msg("%s is protected and denied", text);
			if (!blocked && v != 'A' && !cfg.tcprules.widen)
				fail_msg("%s is not blocked and denied", text);
		}
		cdbread_free(&c);
		if (refused > 0)
			assert_non_null(strstr(status().text, part));
		end();
	}
}

static void
tcprules_never_denies_loopback(void **state)
{
	(void)state;
	begin(":allow\n");
	start();
	block("127.0.0.1/32");
	block("127.0.0.0/8");
	block("127.5.0.0/16");
	block("203.0.113.9/32");
	await_ours(1);
	assert_int_equal(verdict("127.0.0.1"), 'A');
	assert_non_null(strstr(status().text, "3 that touch protected addresses"));
	end();
}

static void
tcprules_over_its_budget_joins_first_and_then_leaves_out(void **state)
{
	(void)state;
	/* 256 addresses become one rule; the address of the administrator's own rule stays his. */
	begin("198.51.100.7:allow\n:allow\n");
	cfg.tcprules.max_rules = 10;
	for (unsigned i = 0; i < 256; i++) {
		struct ip_prefix p = prefix("198.51.100.0/32");

		p.ip.b[15] = (uint8_t)i;
		block_prefix(&p, MINUTE_MS);
	}
	start();
	await_ours(1);
	assert_string_equal(status().text, "");
	assert_int_equal(verdict("198.51.100.200"), 'D');
	assert_int_equal(verdict("198.51.100.7"), 'A');
	end();
	/* 20 far from each other do not. */
	begin(":allow\n");
	cfg.tcprules.max_rules = 10;
	for (unsigned i = 0; i < 20; i++) {
		struct ip_prefix p = prefix("198.51.100.0/32");

		p.ip.b[15] = (uint8_t)(2 * i);
		block_prefix(&p, MINUTE_MS);
	}
	start();
	await_ours(10);
	assert_string_equal(status().text, "not in force: 10 beyond tcprules.max_rules");
	assert_int_equal(verdict("198.51.100.1"), 'A');
	stop();
	/* With leave the network is denied as a whole. */
	cfg.tcprules.widen = true;
	start();
	await_ours(1);
	assert_int_equal(verdict("198.51.100.1"), 'D');
	stop();
	/* But not when somebody in it is protected. */
	cfg.protected.n = 1;
	cfg.protected.p[0] = prefix("198.51.100.201/32");
	start();
	await_ours(10);
	assert_int_equal(verdict("198.51.100.201"), 'A');
	assert_int_equal(verdict("198.51.100.1"), 'A');
	end();
}

static void
tcprules_leaves_out_what_is_softer_than_a_denial(void **state)
{
	struct block b = { .prefix = prefix("203.0.113.9/32"), .kind = BLOCK_THROTTLE, .until = mono_after(mono_now(), MINUTE_MS) };

	(void)state;
	begin(":allow\n");
	assert_int_equal(blockset_put(want, &b), 0);
	b.kind = BLOCK_EXPLAIN;
	b.prefix = prefix("203.0.113.10/32");
	assert_int_equal(blockset_put(want, &b), 0);
	start();
	block("203.0.113.11/32");
	await_ours(1);
	assert_int_equal(verdict("203.0.113.9"), 'A');
	assert_int_equal(verdict("203.0.113.10"), 'A');
	assert_string_equal(status().text, "not in force: 2 that tcprules can't express (IPv6, or a softer kind)");
	end();
}

static void
tcprules_dry_run_writes_nothing_and_counts_the_same(void **state)
{
	static const char *const names[] = { "tcp.smtp", "tcp.smtp.cdb", NULL };

	(void)state;
	begin("192.0.2.1:deny\n:allow\n");
	struct stat before = stat_of(cdb_path), dir_before = stat_of(dir);
	cfg.dry_run = true;
	start();
	block("203.0.113.9/32");
	block("198.51.100.0/24");
	block("127.0.0.1/32");
	await_ours(2);
	assert_non_null(strstr(status().text, "1 that touch protected"));
	unblock("203.0.113.9/32");
	await_ours(1);
	block_tcprules.clock_set(ctx, want, now());
	turn_for(100);
	assert_int_equal(stat_of(cdb_path).st_ino, before.st_ino);
	assert_int_equal(stat_of(dir).st_mtim.tv_nsec, dir_before.st_mtim.tv_nsec);
	assert_only(names);
	end();
}

/* --- IPv6 ------------------------------------------------------------------------------------ */

/* With TCPRULES_IPV6=.../tcprules of ucspi-tcp-ipv6, which can't be installed beside the other. */
static void
tcprules_of_ipv6_is_found_out_and_used(void **state)
{
	const char *command = getenv("TCPRULES_IPV6");

	(void)state;
	begin(":allow\n");
	start();
	block("2001:db8:1:2::/64");
	block("203.0.113.9/32");
	await_ours(1);
	assert_string_equal(status().text, "not in force: 1 that tcprules can't express (IPv6, or a softer kind)");
	assert_int_equal(verdict("2001:db8:1:2::7"), 'A');
	end();
	if (command == NULL) {
		print_message("# TCPRULES_IPV6 is not set\n");
		skip();
	}
	begin(":allow\n");
	edit("2001:db8:1:2::1:allow\n:allow\n");
	set_age(rules_path, 100);
	kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), "%s", command);
	char real[KIT_PATH_MAX], temp[KIT_PATH_MAX];
	kit_format(real, sizeof(real), "%s", command);
	assert_int_equal(run((char *[]) { real, cdb_path, kit_path(temp, dir, "admin.tmp"), NULL }, rules_path, NULL, NULL, 0), 0);
	start();
	block("2001:db8:1:2::/64");
	block("2001:db8:5:0::/64");
	block("2001:db8:7:8:9:a:b:c/128");
	block("203.0.113.9/32");
	await_ours(3);
	assert_string_equal(status().text, "not in force: 1 that tcprules can't express (IPv6, or a softer kind)");
	assert_int_equal(verdict("2001:db8:1:2::1"), 'A');
	assert_int_equal(verdict("2001:db8:1:2::7"), 'D');
	assert_int_equal(verdict("2001:db8:1:2:3:4:5:6"), 'D');
	assert_int_equal(verdict("2001:db8:1:3::7"), 'A');
	assert_int_equal(verdict("2001:db8:7:8:9:a:b:c"), 'D');
	assert_int_equal(verdict("2001:db8:7:8:9:a:b:d"), 'A');
	assert_int_equal(verdict("203.0.113.9"), 'D');
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcprules_keeps_the_rules_of_the_administrator_byte_for_byte),
		cmocka_unit_test(tcprules_takes_rules_of_any_ending),
		cmocka_unit_test(tcprules_says_each_prefix_length_exactly),
		cmocka_unit_test(tcprules_longest_match_holds_for_a_million_probes),
		cmocka_unit_test(tcprules_first_rule_wins_for_equal_addresses),
		cmocka_unit_test(tcprules_block_ends_at_its_time_without_being_told),
		cmocka_unit_test(t1_tcprules_list_follows_the_wall_clock),
		cmocka_unit_test(neutral_takes_back_all_or_what_is_over),
		cmocka_unit_test(neutral_that_cannot_says_why_and_leaves_all_as_it_is),
		cmocka_unit_test(neutral_with_a_hostile_list_denies_only_what_it_says),
		cmocka_unit_test(tcprules_never_denies_a_protected_address),
		cmocka_unit_test(tcprules_never_denies_loopback),
		cmocka_unit_test(tcprules_over_its_budget_joins_first_and_then_leaves_out),
		cmocka_unit_test(tcprules_leaves_out_what_is_softer_than_a_denial),
		cmocka_unit_test(tcprules_dry_run_writes_nothing_and_counts_the_same),
		cmocka_unit_test(tcprules_of_ipv6_is_found_out_and_used),
	};

	if (!rig_is_possible())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
