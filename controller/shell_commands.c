/* SPDX-License-Identifier: ISC */
/*
 * shell_commands - what can be asked on the control port for telnet
 *
 * Names and layout are those of libut's control port, as its users know them from rater; what they show is ours.
 * An answer ends in "Ok" or, where nothing was done, in "Error".  A star marks commands with help of their own, and
 * variables that can be changed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "controller/engine_state.h"
#include "controller/rateserve.h"
#include "controller/shell.h"
#include "lib/array.h"
#include "lib/num.h"
#include "lib/text.h"

#define WORDS_MAX 3
#define SHOWN_MAX 100 /* bytes of what somebody typed that are repeated to him */
#define FDS_SHOWN 100
#define VERBOSITY_TOLD_MS 10000 /* the log says once in this time that it was changed */
#define VALUE_MAX (CFG_STRING_MAX + 24)

enum outcome {
	DONE,
	FAILED,
	LEAVE,
};

struct shell_command {
	const char *name, *summary;
	enum outcome (*run)(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out);
	const char *help; /* NULL: the summary says all */
};

static const struct shell_command *find_command(const char *name);

#define say(out, ...) (void)evbuffer_add_printf(out, __VA_ARGS__)

static void
say_typed(struct evbuffer *out, const char *before, const char *typed, const char *after)
{
	char shown[SHOWN_MAX * 4 + 1];
	struct text t = text_in(shown, sizeof(shown));

	text_put_printable(&t, typed, strlen(typed), SHOWN_MAX);
	say(out, "%s%s%s\n", before, shown, after);
}

/* --- log, var -------------------------------------------------------------------------------- */

/* By rater's numbers.  There is nothing fatal that we would outlive, and no level below debug. */
static const struct {
	const char *name;
	enum log_level level;
} verbosities[] = {
	{ "Fatal", LOG_ERROR }, { "Error", LOG_ERROR }, { "Warning", LOG_WARNING }, { "Info", LOG_INFO },
	{ "Debug", LOG_DEBUG }, { "Debugk", LOG_DEBUG },
};

static const char verbosity_help[] =
	"Fatal and Error tell errors, which are always told; Warning, Info and Debug tell more.\n"
	"Debug, also called Debugk, tells each question and its answer, at most 100 in 10 seconds.\n"
	"A reload of the configuration sets it to settings.log_level again.\n";

void
shell_set_verbosity(int64_t number)
{
	log_set_verbosity(number >= 0 && number < (int64_t)countof(verbosities) ? verbosities[number].level : LOG_INFO);
}

static const char *
verbosity_name(void)
{
	static const char *const names[] = {
		[LOG_ERROR] = "Error", [LOG_WARNING] = "Warning", [LOG_INFO] = "Info", [LOG_DEBUG] = "Debug",
	};

	return names[log_verbosity()];
}

static enum outcome
set_verbosity(struct engine *e, const char *name, struct evbuffer *out)
{
	mono_t now = turn_now(&e->turn);

	for (size_t i = 0; i < countof(verbosities); i++) {
		if (strcasecmp(name, verbosities[i].name) != 0)
			continue;
		log_set_verbosity(verbosities[i].level);
		if (now.ms >= e->next_verbosity_told.ms) {
			log_warning("shell", "log level set to %s on the control port", verbosity_name());
			e->next_verbosity_told = mono_after(now, VERBOSITY_TOLD_MS);
		}
		return DONE;
	}
	say(out, "log level: one of Fatal, Error, Warning, Info, Debug\n");
	return FAILED;
}

static enum outcome
run_log(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	if (word[1] != NULL)
		return set_verbosity(e, word[1], out);
	say(out, "log file:  /dev/stderr\nlog level: %s\n", verbosity_name());
	return DONE;
}

static void
show_verbosity(const struct engine *e, char ret[VALUE_MAX])
{
	(void)e;
	(void)snprintf(ret, VALUE_MAX, "%s", verbosity_name());
}

static void
show_log_file(const struct engine *e, char ret[VALUE_MAX])
{
	(void)e;
	(void)snprintf(ret, VALUE_MAX, "/dev/stderr");
}

static void
show_job(const struct engine *e, char ret[VALUE_MAX])
{
	(void)e;
	(void)snprintf(ret, VALUE_MAX, "spillway");
}

static void
show_port(const struct engine *e, char ret[VALUE_MAX])
{
	(void)snprintf(ret, VALUE_MAX, "%s:%lld", e->config.settings.control_address,
		(long long)e->config.settings.control_port);
}

static void
show_directory(const struct engine *e, char ret[VALUE_MAX])
{
	(void)e;
	if (getcwd(ret, VALUE_MAX) == NULL)
		(void)snprintf(ret, VALUE_MAX, "-");
}

static const struct {
	const char *name, *summary;
	void (*show)(const struct engine *e, char ret[VALUE_MAX]);
	enum outcome (*set)(struct engine *e, const char *value, struct evbuffer *out); /* NULL: can't be changed */
} variables[] = {
	{ "ut_log_level", "log level", show_verbosity, set_verbosity },
	{ "ut_log_file", "log file", show_log_file, NULL },
	{ "ut_jobname", "job name", show_job, NULL },
	{ "ut_control_port", "control port IP/port", show_port, NULL },
	{ "ut_basedir", "shl base directory", show_directory, NULL },
};

static void
list_variables(const struct engine *e, struct evbuffer *out)
{
	char value[VALUE_MAX];

	say(out, " %-20s %-30s %s\n", "name", "description", "value");
	say(out, "--------------------- ------------------------------ --------------------\n");
	for (size_t i = 0; i < countof(variables); i++) {
		variables[i].show(e, value);
		say(out, "%c%-20s %-30s %s\n", variables[i].set != NULL ? '*' : ' ', variables[i].name,
			variables[i].summary, value);
	}
	say(out, "\nVariables prefixed with '*' can be changed.\n");
}

static enum outcome
run_var(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	char value[VALUE_MAX];

	if (word[1] == NULL) {
		list_variables(e, out);
		return DONE;
	}
	for (size_t i = 0; i < countof(variables); i++) {
		if (strcmp(word[1], variables[i].name) != 0)
			continue;
		if (word[2] == NULL) {
			variables[i].show(e, value);
			say(out, "%s\n", value);
			return DONE;
		}
		if (variables[i].set != NULL)
			return variables[i].set(e, word[2], out);
		say(out, "%s cannot be changed here: the configuration file says it\n", variables[i].name);
		return FAILED;
	}
	say_typed(out, "No such variable: ", word[1], "");
	return FAILED;
}

/* --- mem ------------------------------------------------------------------------------------- */

/* A row of /proc/self/status in KiB, or 0. */
static uint64_t
status_kib(const char *name)
{
	char buf[4096] = "";
	uint64_t kib = 0;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t n = read(fd, buf, sizeof(buf) - 1);
	(void)close(fd);
	buf[n > 0 ? n : 0] = '\0';
	const char *at = strstr(buf, name);
	if (at == NULL)
		return 0;
	at += strlen(name) + strspn(at + strlen(name), ": \t");
	char number[24];
	(void)snprintf(number, sizeof(number), "%.*s", (int)strspn(at, "0123456789"), at);
	return num_u64(number, &kib) == 0 ? kib : 0;
}

static void
say_table(struct evbuffer *out, const char *name, const struct rate *rate)
{
	struct rate_stats s = rate_stats(rate);

	say(out, "%-17s %12llu %12llu %12llu\n", name, (unsigned long long)s.blocks_used, (unsigned long long)s.blocks,
		(unsigned long long)(s.blocks * (RATE_BLOCK + 4) / 1024));
}

static enum outcome
run_mem(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	(void)word;
	say(out, "%-17s %12s %12s %12s\n", "pool", "used", "of", "KiB in all");
	say(out, "----------------- ------------ ------------ ------------\n");
	say_table(out, "blocks, plugins", e->limits.rate);
	say_table(out, "blocks, clients", e->limits.clients);
	say(out, "%-17s %12s %12s %12llu\n", "process, resident", "", "", (unsigned long long)status_kib("VmRSS"));
	say(out, "%-17s %12s %12s %12llu\n", "process, at most", "", "", (unsigned long long)status_kib("VmHWM"));
	return DONE;
}

/* --- fds, tmr -------------------------------------------------------------------------------- */

struct listing {
	struct evbuffer *out;
	unsigned n;
	int64_t soonest_ms; /* of the timers; -1: there is none */
};

static int
list_file(const struct event_base *base, const struct event *ev, void *arg)
{
	struct listing *l = arg;
	char path[64], what[80];
	int fd = event_get_fd(ev), events = event_get_events(ev);

	(void)base;
	if (fd < 0 || (events & (EV_READ | EV_WRITE)) == 0 || (events & EV_SIGNAL) != 0)
		return 0;
	if (l->n++ >= FDS_SHOWN)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, what, sizeof(what) - 1);
	what[n > 0 ? n : 0] = '\0';
	say(l->out, "%5d %c%c     %s\n", fd, (events & EV_READ) != 0 ? 'r' : '-',
		(events & EV_WRITE) != 0 ? 'w' : '-', what);
	return 0;
}

static enum outcome
run_fds(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	struct listing l = { .out = out };

	(void)word;
	say(out, "   fd waits  what\n----- ------ ------------------------------\n");
	(void)event_base_foreach_event(e->base, list_file, &l);
	if (l.n > FDS_SHOWN)
		say(out, "and %u more\n", l.n - FDS_SHOWN);
	return DONE;
}

static int
look_at_timer(const struct event_base *base, const struct event *ev, void *arg)
{
	struct listing *l = arg;
	struct timeval due, now;

	if (event_pending(ev, EV_TIMEOUT, &due) == 0)
		return 0;
	(void)event_base_gettimeofday_cached((struct event_base *)(uintptr_t)base, &now);
	int64_t ms = (int64_t)(due.tv_sec - now.tv_sec) * 1000 + (due.tv_usec - now.tv_usec) / 1000;
	l->n++;
	if (l->soonest_ms < 0 || ms < l->soonest_ms)
		l->soonest_ms = ms;
	return 0;
}

static void
say_due(struct evbuffer *out, const char *what, int64_t ms)
{
	say(out, "%-38s %9lld ms\n", what, (long long)(ms > 0 ? ms : 0));
}

static enum outcome
run_tmr(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	mono_t now = turn_now(&e->turn);
	struct listing l = { .soonest_ms = -1 };

	(void)word;
	say(out, "%-38s %s\n-------------------------------------- ------------\n", "timer", "due in");
	say_due(out, "level and gate are decided again", mono_since(now, e->next_decide));
	say_due(out, "counters that are out are looked for", mono_since(now, e->limits.next_step));
	say_due(out, "the state is published again", mono_since(now, e->next_publish));
	say_due(out, "the keeper is told again", mono_since(now, e->next_order));
	if (e->override.set)
		say_due(out, "a forced level ends", mono_since(now, e->override.until));
	(void)event_base_foreach_event(e->base, look_at_timer, &l);
	say_due(out, "the first of the loop's timers", l.soonest_ms);
	say(out, "timers in the loop: %u\n", l.n);
	return DONE;
}

/* --- uptime, prf, cops ----------------------------------------------------------------------- */

static enum outcome
run_uptime(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	int64_t up = mono_since(e->started, turn_now(&e->turn));
	wall_t since = { wall_now().ms - up };
	char age[NUM_TEXT_MAX], wall[CLOCK_WALL_TEXT_MAX];

	(void)word;
	num_age_format(up, age);
	wall_format(since, wall);
	say(out, "up %s, since %s\n", age, wall);
	return DONE;
}

static void
say_count(struct evbuffer *out, const char *what, uint64_t n, double seconds)
{
	say(out, "%-28s %16llu %14.1f\n", what, (unsigned long long)n, seconds > 0 ? (double)n / seconds : 0.0);
}

static enum outcome
run_prf(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	double seconds = (double)mono_since(e->started, turn_now(&e->turn)) / 1000;
	struct rate_stats plugins = rate_stats(e->limits.rate), clients = rate_stats(e->limits.clients);

	(void)word;
	say(out, "%-28s %16s %14s\n", "since the start", "count", "per second");
	say(out, "---------------------------- ---------------- --------------\n");
	say_count(out, "turns of the loop", e->turn.number, seconds);
	say_count(out, "marks of plugins", plugins.marks, seconds);
	say_count(out, "  of these over their limit", plugins.over, seconds);
	say_count(out, "marks of clients", clients.marks, seconds);
	say_count(out, "  of these over their limit", clients.over, seconds);
	say_count(out, "lines answered to clients", rateserve_answered(e->rateserve), seconds);
	say_count(out, "commands refused for load", e->refused, seconds);
	say(out, "%-28s %16lld ms\n", "longest turn", (long long)e->longest_turn_ms);
	return DONE;
}

static void
say_process(struct evbuffer *out, const char *name, pid_t pid)
{
	say(out, "%-12s pid %d\n", name, (int)pid);
}

/* Our own children: the reader of a configuration, a command of a probe. */
static void
say_children(struct evbuffer *out)
{
	char buf[256] = "";
	int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!read(fd, buf, sizeof(buf) - 1);
		(void)close(fd);
	}
	say(out, "children of the engine: %s\n", buf[0] != '\0' ? buf : "none");
}

static enum outcome
run_cops(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	(void)e;
	(void)word;
	say_process(out, "keeper", getppid());
	say_process(out, "engine", getpid());
	say_children(out);
	return DONE;
}

/* --- help, exit ------------------------------------------------------------------------------ */

static enum outcome
run_exit(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	(void)e;
	(void)word;
	(void)out;
	return LEAVE;
}

static enum outcome run_help(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out);

static const struct shell_command shell_commands[] = {
	{ "mem", "memory pool usage summary", run_mem,
		"mem: memory of the counters behind limits, which is taken at the start (service.limits_memory),\n"
		"and of the engine's process\n" },
	{ "var", "Display or set config variables", run_var,
		"var: list the variables; var NAME: show one; var NAME VALUE: set one that has a star\n" },
	{ "log", "Change log file or verbosity", run_log,
		"log: show the log file and verbosity; log LEVEL: set the verbosity\nThe file is always stderr.\n" },
	{ "fds", "list selected file descriptors", run_fds, NULL },
	{ "tmr", "show pending timers", run_tmr, NULL },
	{ "uptime", "show uptime", run_uptime, NULL },
	{ "prf", "Performance/profiling stats", run_prf,
		"prf: how much was done since the start, and the longest that the loop was busy at a stretch\n" },
	{ "cops", "List coprocesses", run_cops, "cops: the processes of the daemon around this one\n" },
	{ "help", "view command help", run_help, NULL },
	{ "exit", "close connection", run_exit, NULL },
};

static const struct shell_command *
find_command(const char *name)
{
	for (size_t i = 0; i < countof(shell_commands); i++)
		if (strcmp(name, shell_commands[i].name) == 0)
			return &shell_commands[i];
	return NULL;
}

static enum outcome
run_help(struct engine *e, char *word[WORDS_MAX], struct evbuffer *out)
{
	const struct shell_command *c = word[1] != NULL ? find_command(word[1]) : NULL;

	(void)e;
	if (word[1] != NULL && c == NULL) {
		say_typed(out, "No such command: ", word[1], "");
		return FAILED;
	}
	if (c != NULL) {
		say(out, "%s%s", c->help != NULL ? c->help : c->summary, c->help != NULL ? "" : "\n");
		if (c->run == run_log || c->run == run_var)
			say(out, "%s", verbosity_help);
		return DONE;
	}
	say(out, "%-17s %s\n", "command", "description");
	say(out, "----------------- -------------------------------------\n");
	for (size_t i = 0; i < countof(shell_commands); i++)
		say(out, "%c %-15s - %s\n", shell_commands[i].help != NULL ? '*' : ' ', shell_commands[i].name,
			shell_commands[i].summary);
	say(out, "\nCommands preceded by * have detailed help. Use help <command>.\n");
	return DONE;
}

/* --- a line ---------------------------------------------------------------------------------- */

/* The last word is the rest of the line, so that a value may hold blanks. */
static void
split(char *line, char *word[WORDS_MAX])
{
	for (size_t n = strlen(line); n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'); n--)
		line[n - 1] = '\0';
	for (size_t i = 0; i < WORDS_MAX; i++) {
		line += strspn(line, " \t");
		word[i] = *line != '\0' ? line : NULL;
		size_t n = i + 1 < WORDS_MAX ? strcspn(line, " \t") : strlen(line);
		line += n;
		if (*line != '\0')
			*line++ = '\0';
	}
}

bool
shell_commands_run(const char *line, struct evbuffer *out, void *arg)
{
	struct engine *e = arg;
	char copy[1024], *word[WORDS_MAX];
	enum outcome outcome = FAILED;

	if (text_copy(copy, sizeof(copy), line) < 0)
		copy[0] = '\0'; /* does not happen: the line is shorter */
	split(copy, word);
	if (word[0] == NULL)
		return true;
	const struct shell_command *c = find_command(word[0]);
	if (c != NULL)
		outcome = c->run(e, word, out);
	else
		say_typed(out, "No such command: ", word[0], "; try help");
	if (outcome == LEAVE)
		return false;
	say(out, "\n%s\n", outcome == DONE ? "Ok" : "Error");
	return true;
}
