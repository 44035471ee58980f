/* SPDX-License-Identifier: ISC */
/*
 * The keeper's hand for blocks, with the real actions: whatever an engine orders, no protected address is in any file or
 * cdb.  A process that looks like tcpsvd stands in for it (tcpsvd.h); the real tcprules compiles.
 *
 * BLOCKS_OPERATIONS in the environment: how many random orders, default 100,000.
 */
#include "controller/blocker.h"

#include <dirent.h>
#include <poll.h>
#include <sys/statvfs.h>

#include "actions/ipsvd_file.h"
#include "tests/unit/cdbread.h"
#include "tests/unit/kit.h"
#include "tests/unit/tcpsvd.h"

#define TCPRULES "/usr/bin/tcprules"
#define PATIENCE_MS 20000
#define SECOND 1000
#define LIST_MAX 40

/* --- a keeper -------------------------------------------------------------------------------- */

static char top[KIT_PATH_MAX], inst[KIT_PATH_MAX], cdb[KIT_PATH_MAX];
static struct block_cfg cfg;
static struct blocker *blocker;
static mono_t now;
static bool has_tcprules;

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static void
compile(void)
{
	char command[2 * KIT_PATH_MAX + 64];

	kit_puts(top, "tcp.smtp", "198.19.255.254:deny\n:allow\n");
	kit_format(command, sizeof(command), TCPRULES " %s %s.tmp <%s/tcp.smtp", cdb, cdb, top);
	assert_int_equal(system(command), 0); /* NOLINT: names of our own */
}

static int
begin(void **state)
{
	(void)state;
	tcpsvd_stop_all();
	kit_tree(top);
	kit_mkdir(top, "inst");
	(void)kit_path(inst, top, "inst");
	(void)kit_path(cdb, top, "tcp.smtp.cdb");
	memset(&cfg, 0, sizeof(cfg));
	kit_format(cfg.ipsvd.dir, sizeof(cfg.ipsvd.dir), "%s", inst);
	cfg.ipsvd.timeout_ms = 120 * SECOND;
	if (has_tcprules) {
		compile();
		kit_format(cfg.tcprules.rules, sizeof(cfg.tcprules.rules), "%s/tcp.smtp", top);
		kit_format(cfg.tcprules.cdb, sizeof(cfg.tcprules.cdb), "%s", cdb);
		kit_format(cfg.tcprules.command, sizeof(cfg.tcprules.command), TCPRULES);
	}
	(void)tcpsvd_start(inst, "120", true);
	now = mono_now();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	blocker_free(blocker);
	blocker = NULL;
	tcpsvd_stop_all();
	kit_remove(top);
	return 0;
}

static bool
has_work(int ms)
{
	struct pollfd p[BLOCKER_FDS];

	return poll(p, blocker_fds(blocker, p), ms) > 0;
}

/* Until there is nothing to do at once. */
static void
step(void)
{
	do
		blocker_step(blocker, now);
	while (has_work(0));
}

static void
order(enum block_verb verb, const struct block *b)
{
	struct block_order o = { .magic = BLOCK_ORDER_MAGIC, .n = 1, .item[0].verb = verb };

	if (b != NULL)
		o.item[0].block = *b;
	assert_true(block_order_is_sane(&o));
	blocker_order(blocker, &o, now);
}

static void
put(const struct ip_prefix *p, enum block_kind kind, int64_t ms)
{
	order(BLOCK_PUT, &(struct block) { .prefix = *p, .kind = kind, .until = mono_after(now, ms), .id = "k7m2q" });
}

static void
put_text(const char *text)
{
	struct ip_prefix p = prefix(text);

	put(&p, BLOCK_DENY, 600 * SECOND);
}

static void
tell_protected(const struct ip_prefix *list, size_t n)
{
	order(BLOCK_PROTECT_BEGIN, NULL);
	for (size_t i = 0; i < n; i++)
		order(BLOCK_PROTECT, &(struct block) { .prefix = list[i] });
	order(BLOCK_PROTECT_COMPLETE, NULL);
}

static void
open_blocker(void)
{
	assert_int_equal(blocker_new(&cfg, &blocker), 0);
	order(BLOCK_BEGIN, NULL);
	order(BLOCK_COMPLETE, NULL);
	step();
}

static bool
has_file(const char *name)
{
	char path[KIT_PATH_MAX];

	return access(kit_path(path, inst, name), F_OK) == 0;
}

static char
verdict(const struct cdbread *c, const struct ip *ip)
{
	char text[IP_TEXT_MAX];
	size_t key;

	ip_format(ip, text);
	return cdbread_verdict(c, text, &key);
}

static void
await_denied(const char *address)
{
	mono_t until = mono_after(mono_now(), PATIENCE_MS);
	struct ip_prefix p = prefix(address);
	struct cdbread c = { 0 };

	for (char v = '-'; v != 'D';) {
		if (mono_since(mono_now(), until) < 0)
			fail_msg("%s is not denied by the cdb", address);
		(void)has_work(10);
		now = mono_after(now, 10); /* actions gather changes for a while */
		step();
		assert_true(cdbread_load(cdb, &c));
		v = verdict(&c, &p.ip);
		cdbread_free(&c);
	}
}

/* --- whom to protect, told and read anew ------------------------------------------------------ */

static struct block_report
report(void)
{
	struct block_report r = { 0 };
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	blocker_report(blocker, fd[0], true, now);
	assert_int_equal(recv(fd[1], &r, sizeof(r), MSG_DONTWAIT), sizeof(r));
	(void)close(fd[0]);
	(void)close(fd[1]);
	return r;
}

static void
blocker_protects_what_an_engine_tells(void **state)
{
	const struct ip_prefix list[] = { prefix("198.18.7.7"), prefix("198.18.8.0/24") };

	(void)state;
	open_blocker();
	put_text("198.18.7.7");
	put_text("198.18.7.8");
	put_text("198.18.8.0/28");
	assert_true(has_file("198.18.7.7") && has_file("198.18.7.8") && has_file("198.18.8.15"));
	/* Nothing counts before all of it has come. */
	order(BLOCK_PROTECT_BEGIN, NULL);
	order(BLOCK_PROTECT, &(struct block) { .prefix = list[0] });
	assert_true(has_file("198.18.7.7"));
	tell_protected(list, countof(list));
	assert_false(has_file("198.18.7.7") || has_file("198.18.8.15"));
	assert_true(has_file("198.18.7.8"));
	put_text("198.18.7.7");
	put_text("198.18.7.0/24");
	put_text("198.18.8.200");
	assert_false(has_file("198.18.7.7") || has_file("198.18.7") || has_file("198.18.8.200"));
	assert_int_equal(report().refused, 3);
	/* No longer protected: what is ordered from now on is done. */
	tell_protected(NULL, 0);
	assert_false(has_file("198.18.7.7"));
	put_text("198.18.7.7");
	assert_true(has_file("198.18.7.7"));
}

static void
blocker_protects_what_is_configured_whatever_an_engine_tells(void **state)
{
	const struct ip_prefix other = prefix("198.18.9.9");

	(void)state;
	cfg.protected.p[cfg.protected.n++] = prefix("198.18.7.0/24");
	open_blocker();
	tell_protected(NULL, 0);
	put_text("198.18.7.7");
	put_text("127.0.0.1");
	put_text("198.18.9.9");
	assert_false(has_file("198.18.7.7") || has_file("127.0.0.1"));
	assert_true(has_file("198.18.9.9"));
	/* Read anew: one comes on the list, one goes off it. */
	order(BLOCK_RELOADED, NULL);
	assert_true(blocker_wants_configuration(blocker));
	assert_false(blocker_wants_configuration(blocker));
	assert_int_equal(report().reloads, 0);
	blocker_configure(blocker, &other, 1, now);
	assert_int_equal(report().reloads, 1);
	assert_false(has_file("198.18.9.9"));
	put_text("198.18.9.9");
	put_text("198.18.7.7");
	assert_false(has_file("198.18.9.9"));
	assert_true(has_file("198.18.7.7"));
}

static void
blocker_list_takes_back_what_it_does_not_name(void **state)
{
	struct ip_prefix kept = prefix("198.18.1.1");

	(void)state;
	open_blocker();
	put_text("198.18.1.1");
	put_text("198.18.1.2");
	order(BLOCK_BEGIN, NULL);
	put(&kept, BLOCK_DENY, 600 * SECOND);
	order(BLOCK_COMPLETE, NULL);
	assert_true(has_file("198.18.1.1"));
	assert_false(has_file("198.18.1.2"));
	now = mono_after(now, 601 * SECOND);
	step();
	assert_false(has_file("198.18.1.1")); /* ended by itself */
}

/* --- random orders ---------------------------------------------------------------------------- */

struct world {
	struct dice d;
	struct ip_prefix told[LIST_MAX], configured[LIST_MAX];
	size_t n_told, n_configured;
	unsigned markers;
};

static struct ip_prefix
random_prefix(struct dice *d)
{
	static const unsigned lengths[] = { 128, 128, 128, 128, 128, 128, 128, 126, 120, 112 };
	unsigned bits = lengths[dice_below(d, countof(lengths))];
	struct ip ip = prefix("198.18.0.0").ip;

	ip.b[14] = (uint8_t)dice_below(d, 16);
	ip.b[15] = (uint8_t)dice_below(d, 64);
	if (dice_below(d, 20) == 0)
		ip = prefix("127.0.0.1").ip;
	if (dice_below(d, 20) == 0) {
		ip = prefix("2001:db8::").ip;
		ip.b[7] = (uint8_t)dice_below(d, 16);
		bits = 64;
	}
	return (struct ip_prefix) { ip_mask(&ip, bits), (uint8_t)bits };
}

static size_t
random_list(struct dice *d, struct ip_prefix list[LIST_MAX])
{
	size_t n = dice_below(d, LIST_MAX);

	for (size_t i = 0; i < n; i++)
		do
			list[i] = random_prefix(d);
		while (list[i].bits <= 112 && dice_below(d, 10) > 0); /* or nothing is left to block */
	return n;
}

static bool
meet(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits <= b->bits ? ip_prefix_contains(a, &b->ip) : ip_prefix_contains(b, &a->ip);
}

static bool
is_protected(const struct world *w, const struct ip_prefix *p)
{
	const struct ip_prefix loopback = prefix("127.0.0.0/8");

	for (size_t i = 0; i < w->n_told; i++)
		if (meet(&w->told[i], p))
			return true;
	for (size_t i = 0; i < w->n_configured; i++)
		if (meet(&w->configured[i], p))
			return true;
	return meet(&loopback, p);
}

/* Every file stands for a prefix, and none of them has a protected address in it.  Returns how many. */
static size_t
check_files(const struct world *w)
{
	DIR *d = opendir(inst);
	const struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		struct ipsvd_key k;

		if (e->d_name[0] == '.')
			continue;
		assert_true(ipsvd_name_parse(e->d_name, &k));
		struct ip_prefix p = ipsvd_key_prefix(k, 8 * k.octets);
		if (is_protected(w, &p))
			fail_msg("the file %s denies a protected address", e->d_name);
		n++;
	}
	(void)closedir(d);
	return n;
}

/* The first file of a prefix that was ordered just now. */
static void
check_file(const struct world *w, const struct ip_prefix *p)
{
	char name[IPSVD_NAME_MAX];
	struct ipsvd_key k;

	if (ipsvd_keys(p, &k) == 0)
		return;
	const struct ip_prefix first = ipsvd_key_prefix(k, 8 * k.octets);
	if (!is_protected(w, &first))
		return;
	ipsvd_name(k, name);
	if (has_file(name))
		fail_msg("the file %s denies a protected address", name);
}

/* Addresses of all protected prefixes: the first, the last that we use, and some between. */
static void
check_list(const struct cdbread *c, struct dice *d, const struct ip_prefix *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < 4; k++) {
			struct ip ip = list[i].ip;

			if (list[i].bits <= 112)
				ip.b[14] = (uint8_t)dice_below(d, 16);
			if (list[i].bits < 128)
				ip.b[15] = (uint8_t)(ip.b[15] | dice_below(d, 1u << (list[i].bits <= 120 ? 8 : 128 - list[i].bits)));
			if (verdict(c, &ip) == 'D')
				fail_msg("the cdb denies a protected address");
		}
}

/* A block that was ordered after all others is in the cdb: so are they. */
static void
check_cdb(struct world *w)
{
	struct cdbread c = { 0 };
	struct ip_prefix p;
	char marker[IP_TEXT_MAX];

	if (!has_tcprules)
		return;
	kit_format(marker, sizeof(marker), "198.19.%u.%u", w->markers / 250 % 250, w->markers % 250 + 1);
	w->markers++;
	p = prefix(marker);
	put(&p, BLOCK_DENY, 3600 * SECOND);
	await_denied(marker);
	assert_true(cdbread_load(cdb, &c));
	check_list(&c, &w->d, w->told, w->n_told);
	check_list(&c, &w->d, w->configured, w->n_configured);
	cdbread_free(&c);
	order(BLOCK_REMOVE, &(struct block) { .prefix = p });
}

static void
one_operation(struct world *w)
{
	struct ip_prefix p = random_prefix(&w->d);

	switch (dice_below(&w->d, 500)) {
	case 0:
		w->n_told = random_list(&w->d, w->told);
		tell_protected(w->told, w->n_told);
		break;
	case 1:
		w->n_configured = random_list(&w->d, w->configured);
		blocker_configure(blocker, w->configured, w->n_configured, now);
		break;
	case 2:
		order(BLOCK_BEGIN, NULL);
		break;
	case 3:
		order(BLOCK_COMPLETE, NULL);
		break;
	case 4:
		order(BLOCK_PROTECT_BEGIN, NULL); /* an engine that dies before it has told */
		order(BLOCK_PROTECT, &(struct block) { .prefix = p });
		break;
	case 5:
		now = mono_after(now, dice_below(&w->d, 300 * SECOND));
		step();
		break;
	default:
		if (dice_below(&w->d, 3) == 0)
			order(BLOCK_REMOVE, &(struct block) { .prefix = p });
		else
			put(&p, (enum block_kind)dice_below(&w->d, BLOCK_KINDS), (int64_t)dice_below(&w->d, 600 * SECOND));
		check_file(w, &p);
	}
}

static void
blocker_writes_no_protected_address_whatever_is_ordered(void **state)
{
	const char *wanted = getenv("BLOCKS_OPERATIONS");
	int operations = wanted != NULL ? atoi(wanted) : kit_rounds(100000);
	struct world w = { .d = dice_new() };
	size_t most = 0;

	(void)state;
	open_blocker();
	for (int i = 1; i <= operations; i++) {
		one_operation(&w);
		if (i % 1000 != 0)
			continue;
		size_t n = check_files(&w);
		most = n > most ? n : most;
		now = mono_after(now, 10);
		blocker_step(blocker, now);
		if (i % 10000 == 0)
			check_cdb(&w);
	}
	print_message("# %d orders, at most %zu files\n", operations, most);
	assert_true(most > 20);
	assert_true(report().refused > (uint64_t)operations / 50);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocker_protects_what_an_engine_tells, begin, end),
		cmocka_unit_test_setup_teardown(blocker_protects_what_is_configured_whatever_an_engine_tells, begin, end),
		cmocka_unit_test_setup_teardown(blocker_list_takes_back_what_it_does_not_name, begin, end),
		cmocka_unit_test_setup_teardown(blocker_writes_no_protected_address_whatever_is_ordered, begin, end),
	};
	struct statvfs fs;

	(void)argc;
	tcpsvd_pretend(argv[0]);
	/* A hundred thousand files come and go. */
	if (statvfs("/dev/shm", &fs) == 0 && (fs.f_flag & ST_RDONLY) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	has_tcprules = access(TCPRULES, X_OK) == 0;
	return cmocka_run_group_tests_name("blocker", tests, NULL, NULL);
}
