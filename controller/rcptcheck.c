/* SPDX-License-Identifier: ISC */
#include "controller/rcptcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "controller/localparts.h"
#include "controller/recipients.h"
#include "lib/fdio.h"
#include "lib/siphash.h"
#include "lib/text.h"

#define CLASS "wrongrcpt"
#define PIECE_WAIT_MS 1 /* between two pieces others have their turn */

/* A file as it was at a look. */
struct look {
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct rcptcheck {
	uint8_t key[RECIPIENTS_KEY_SIZE];
	struct localparts *localparts;
	struct rate_limit pattern[LOCALPARTS_MAX]; /* so that a refusal can name it */
	struct recipients *list; /* NULL: none, no opinion */
	struct look loaded, seen; /* what it was made from, or tried to; what was there at the last look */
	bool tried;
	wall_t at; /* when it was read */
	struct recipients *next; /* being read */
	int fd;
	size_t kept; /* bytes of half a line, at the beginning of `buf` */
	char buf[RCPTCHECK_PIECE];
	mono_t due;
	char trouble[ERR_TEXT_MAX]; /* "": none */
	uint64_t known, unknown, unlikely;
};

/* --- the file -------------------------------------------------------------------------------- */

static struct look
look_of(const struct stat *st)
{
	return (struct look) {
		.there = true, .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

static bool
is_same(const struct look *a, const struct look *b)
{
	if (!a->there || !b->there)
		return a->there == b->there;
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec
		&& a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec
		&& a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static void
stop_reading(struct rcptcheck *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	recipients_free(c->next);
	c->next = NULL;
	c->kept = 0;
}

/* No list from now on: told once. */
static void
no_list(struct engine *e, const char *why)
{
	struct rcptcheck *c = e->rcptcheck;

	stop_reading(c);
	recipients_free(c->list);
	c->list = NULL;
	if (strcmp(c->trouble, why) == 0)
		return;
	(void)text_copy(c->trouble, sizeof(c->trouble), why);
	if (why[0] != '\0')
		log_warning("recipients", "%s: %s; no recipient is judged by it", e->config.recipients.file, why);
}

static void
begin_reading(struct engine *e)
{
	struct rcptcheck *c = e->rcptcheck;

	c->loaded = c->seen;
	c->tried = true;
	int fd = fd_open_regular(AT_FDCWD, e->config.recipients.file, 0, RCPTCHECK_FILE_MAX);
	if (fd < 0) {
		no_list(e, fd == -EFBIG ? "too large, more than 64 MiB" : fd == -EINVAL ? "not a file" : strerror(-fd));
		return;
	}
	c->fd = fd;
	if (recipients_new(c->key, &c->next) < 0)
		no_list(e, "no memory");
}

/* All is read.  Was it one file from the beginning to the end? */
static void
take_list(struct engine *e)
{
	struct rcptcheck *c = e->rcptcheck;
	struct stat st;
	struct look now = { 0 };
	struct recipients_stats s = recipients_stats(c->next);

	if (fstat(c->fd, &st) == 0)
		now = look_of(&st);
	if (!is_same(&now, &c->loaded)) {
		stop_reading(c);
		c->tried = false; /* once more; the old list stays meanwhile */
		return;
	}
	if (s.entries == 0) {
		no_list(e, "no address in it");
		return;
	}
	recipients_free(c->list);
	c->list = c->next;
	c->next = NULL;
	stop_reading(c);
	c->trouble[0] = '\0';
	c->at = wall_now();
	log_info("recipients", "%s: %zu entries of %zu domains", e->config.recipients.file, s.entries, s.domains);
	if (s.odd > 0)
		log_warning("recipients", "%s: %zu lines are no addresses, the first is line %zu",
			e->config.recipients.file, s.odd, s.first_odd);
}

static void
read_piece(struct engine *e)
{
	struct rcptcheck *c = e->rcptcheck;
	size_t used = 0;

	ssize_t n = read(c->fd, c->buf + c->kept, sizeof(c->buf) - c->kept);
	if (n < 0) {
		no_list(e, strerror(errno));
		return;
	}
	size_t len = c->kept + (size_t)n;
	int r = recipients_add(c->next, c->buf, len, n == 0, &used);
	if (r < 0) {
		no_list(e, r == -E2BIG ? "too large, more than 1000000 entries and domains" : "no memory");
		return;
	}
	c->kept = len - used;
	memmove(c->buf, c->buf + used, c->kept);
	if (c->kept == sizeof(c->buf))
		no_list(e, "a line is too long");
	else if (n == 0)
		take_list(e);
}

static void
look(struct engine *e)
{
	struct rcptcheck *c = e->rcptcheck;
	struct look now = { 0 };
	struct stat st;

	if (stat(e->config.recipients.file, &st) == 0)
		now = look_of(&st);
	bool steady = is_same(&now, &c->seen);
	c->seen = now;
	if (steady && (!c->tried || !is_same(&now, &c->loaded)))
		begin_reading(e);
}

void
rcptcheck_step(struct engine *e, mono_t now)
{
	struct rcptcheck *c = e->rcptcheck;

	if (now.ms < c->due.ms)
		return;
	if (c->fd >= 0)
		read_piece(e);
	else if (e->config.recipients.file[0] != '\0')
		look(e);
	c->due = mono_after(now, c->fd >= 0 ? PIECE_WAIT_MS : RCPTCHECK_LOOK_MS);
}

mono_t
rcptcheck_due(const struct engine *e)
{
	return e->rcptcheck->due;
}

/* --- one recipient --------------------------------------------------------------------------- */

static bool
wants(const struct record *r, enum check check)
{
	return (r->wants & UINT32_C(1) << check) != 0;
}

static void
refuse(struct admit_result *a, enum check check, uint16_t code)
{
	a->verdict = VERDICT_REFUSE;
	a->check = check;
	a->code = code;
	a->delay_ms = 0;
	a->no_room = false;
}

/* By list or pattern: an offence of the address under a rule that is no limit. */
static void
refuse_by(struct engine *e, const struct record *r, enum check check, const struct rate_limit *rule,
	struct admit_result *a)
{
	struct rcptcheck *c = e->rcptcheck;
	uint64_t key[2];

	refuse(a, check, 550);
	memcpy(key, c->key, sizeof(key));
	a->class = -1;
	a->value[0] = '\0';
	if (r->ip_known)
		ip_format(&r->ip, a->value);
	a->value_len = strlen(a->value);
	a->why = (struct rate_answer) {
		.verdict = RATE_OVER, .limit = rule, .n = 1,
		.fingerprint = siphash(rule->pattern, strlen(rule->pattern), key[0] ^ (uint64_t)check, key[1])
			^ siphash(a->value, a->value_len, key[0], key[1]),
	};
}

/* Count `marks` (0 or 1) for the client; is it too much? */
static bool
is_over(struct engine *e, const struct record *r, bool wrong, mono_t now, struct admit_result *a)
{
	int class = rate_class_find(limits_in_force(e), CLASS, strlen(CLASS));
	struct rate_question q;

	if (class < 0 || !r->ip_known || !wants(r, CHECK_WRONGRCPT))
		return false;
	ip_format(&r->ip, a->value);
	a->value_len = strlen(a->value);
	rate_find(e->limits.rate, class, a->value, a->value_len, &q);
	if (q.found != RATE_OK)
		return false;
	if (wrong)
		rate_mark(e->limits.rate, &q, now, &a->why);
	else
		rate_peek(e->limits.rate, &q, now, &a->why);
	/* Whoever is over is refused whatever he asks for, until his marks are out of the window. */
	if (a->why.verdict != RATE_OVER || (!wrong && a->why.n <= a->why.max))
		return false;
	refuse(a, CHECK_WRONGRCPT, e->config.recipients.over != 0 ? 550 : 451);
	a->class = class;
	return true;
}

bool
rcptcheck_asked(struct engine *e, const struct record *r, mono_t now, struct admit_result *a)
{
	static const struct rate_limit by_list = { .pattern = "recipients.file" };
	const uint32_t ours = UINT32_C(1) << CHECK_WRONGRCPT | UINT32_C(1) << CHECK_VALIDRCPT
		| UINT32_C(1) << CHECK_LOCALPARTS;
	struct rcptcheck *c = e->rcptcheck;
	const struct record_text *to = &r->text[RECORD_RECIPIENT];
	struct address address;

	if ((r->wants & ours) == 0 || r->stage != STAGE_RCPT || admit_is_own(r)
		|| (r->ip_known && blocking_is_allowed(e, &r->ip, now)))
		return false;
	/* What was cut for its length is an address that nobody has, but we have not seen all of it. */
	bool whole = to->s != NULL && to->full_len == to->len && address_parse(to->s, to->len, &address);
	enum recipients_answer listed = whole && c->list != NULL ? recipients_find(c->list, &address)
		: RECIPIENTS_NO_OPINION;
	/* What the list has exists, however it looks. */
	int odd = whole && listed != RECIPIENTS_EXISTS ? localparts_match(c->localparts, address.text, address.at) : -1;

	c->known += listed == RECIPIENTS_EXISTS;
	c->unknown += listed == RECIPIENTS_UNKNOWN;
	c->unlikely += odd >= 0;
	if (is_over(e, r, listed == RECIPIENTS_UNKNOWN || odd >= 0, now, a))
		return true;
	if (wants(r, CHECK_VALIDRCPT) && listed == RECIPIENTS_UNKNOWN
		&& e->config.recipients.unknown == RECIPIENTS_REFUSE)
		refuse_by(e, r, CHECK_VALIDRCPT, &by_list, a);
	else if (wants(r, CHECK_LOCALPARTS) && odd >= 0 && e->config.localparts.at[odd].verdict == RECIPIENTS_REFUSE)
		refuse_by(e, r, CHECK_LOCALPARTS, &c->pattern[odd], a);
	return a->verdict != VERDICT_PASS;
}

/* --- telling --------------------------------------------------------------------------------- */

json_t *
rcptcheck_describe(struct engine *e)
{
	const struct rcptcheck *c = e->rcptcheck;
	struct recipients_stats s = c->list != NULL ? recipients_stats(c->list) : (struct recipients_stats) { 0 };

	return json_pack("{s:s, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "file", e->config.recipients.file,
		"read", c->list != NULL, "reading", c->fd >= 0, "trouble", c->trouble, "entries", (json_int_t)s.entries,
		"domains", (json_int_t)s.domains, "odd_lines", (json_int_t)s.odd, "known", (json_int_t)c->known,
		"unknown", (json_int_t)c->unknown, "unlikely", (json_int_t)c->unlikely);
}

json_t *
rcptcheck_look_up(struct engine *e, const json_t *request)
{
	static const char *const words[] = {
		[RECIPIENTS_NO_OPINION] = "not judged", [RECIPIENTS_EXISTS] = "exists",
		[RECIPIENTS_UNKNOWN] = "unknown",
	};
	const struct rcptcheck *c = e->rcptcheck;
	const json_t *text = json_object_get(request, "address");
	struct address a;

	if (!json_is_string(text) || !address_parse(json_string_value(text), json_string_length(text), &a))
		return json_pack("{s:b, s:i, s:s}", "ok", 0, "code", 100, "error",
			"addresses check: a mail address is needed");
	enum recipients_answer listed = c->list != NULL ? recipients_find(c->list, &a) : RECIPIENTS_NO_OPINION;
	int odd = listed != RECIPIENTS_EXISTS ? localparts_match(c->localparts, a.text, a.at) : -1;
	return json_pack("{s:b, s:s, s:b, s:s, s:s, s:s}", "ok", 1, "answer", words[listed], "list", c->list != NULL,
		"trouble", c->trouble, "pattern", odd >= 0 ? e->config.localparts.at[odd].pattern : "",
		"reason", odd >= 0 ? e->config.localparts.at[odd].reason : "");
}

/* --- the whole ------------------------------------------------------------------------------- */

void
rcptcheck_configure(struct engine *e)
{
	const struct config_localparts *config = &e->config.localparts;
	struct rcptcheck *c = e->rcptcheck;
	struct localparts *l;

	if (localparts_new(config, &l) == 0) {
		localparts_free(c->localparts);
		c->localparts = l;
	}
	for (unsigned i = 0; i < config->n; i++)
		(void)text_copy(c->pattern[i].pattern, sizeof(c->pattern[i].pattern), config->at[i].pattern);
	stop_reading(c);
	c->tried = false;
	c->due.ms = 0;
	if (e->config.recipients.file[0] == '\0')
		no_list(e, "");
}

int
rcptcheck_open(struct engine *e, struct err *why)
{
	struct rcptcheck *c = calloc(1, sizeof(*c));

	e->rcptcheck = c;
	if (c == NULL)
		return err_set(why, -ENOMEM, "no memory");
	c->fd = -1;
	(void)!getrandom(c->key, sizeof(c->key), GRND_NONBLOCK); /* at boot it may give fewer: a list is no secret */
	if (localparts_new(&e->config.localparts, &c->localparts) < 0)
		return err_set(why, -ENOMEM, "no memory");
	rcptcheck_configure(e);
	return 0;
}

void
rcptcheck_close(struct engine *e)
{
	struct rcptcheck *c = e->rcptcheck;

	if (c == NULL)
		return;
	stop_reading(c);
	recipients_free(c->list);
	localparts_free(c->localparts);
	free(c);
	e->rcptcheck = NULL;
}
