/* SPDX-License-Identifier: ISC */
#include "controller/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/text.h"

static const char *const level_words[] = {
	[LOG_ERROR] = "error: ", [LOG_WARNING] = "warning: ", [LOG_INFO] = "info: ",
	[LOG_DEBUG] = "debug: ",
};

/* One for each process: there is one stderr. */
static struct {
	mono_t window;
	unsigned lines;
	unsigned long lost;
} budget;

static enum log_level verbosity = LOG_INFO;

static bool
may_write(enum log_level level)
{
	/* What is told of each question shall not use up what an error needs. */
	unsigned most = level == LOG_DEBUG ? LOG_LINES_MAX / 2 : LOG_LINES_MAX;
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	mono_t now = mono_now();

	if (mono_since(budget.window, now) >= LOG_WINDOW_MS) {
		budget.window = now;
		budget.lines = 0;
	}
	return budget.lines < most && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static void
put_line(enum log_level level, const char *line, size_t len)
{
	char count[64];

	if (!may_write(level)) {
		budget.lost++;
		return;
	}
	if (budget.lost > 0) {
		int n = snprintf(count, sizeof(count), "warning: log: %lu lines lost\n", budget.lost);

		if (write(STDERR_FILENO, count, (size_t)n) > 0)
			budget.lost = 0;
	}
	budget.lines++;
	if (write(STDERR_FILENO, line, len) < 0)
		budget.lost++; /* a full disk, perhaps */
}

void
log_set_verbosity(enum log_level level)
{
	verbosity = level;
}

enum log_level
log_verbosity(void)
{
	return verbosity;
}

bool
log_wants(enum log_level level)
{
	return level == LOG_ERROR || level <= verbosity;
}

void
log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char text[LOG_LINE_MAX / 2], line[LOG_LINE_MAX];
	struct text t = text_in(line, sizeof(line) - 1); /* a byte is kept for the line's end */
	va_list ap;

	if (!log_wants(level))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_puts(&t, level_words[level]);
	text_puts(&t, area);
	text_puts(&t, ": ");
	text_put_printable(&t, text, strlen(text), sizeof(text));
	line[t.len++] = '\n';
	put_line(level, line, t.len);
}

void
log_lines(enum log_level level, const char *area, const char *text)
{
	while (*text != '\0') {
		int n = (int)strcspn(text, "\n");

		log_line(level, area, "%.*s", n, text);
		text += n + (text[n] == '\n');
	}
}

int
log_edge(struct log_memory *memory, enum log_level level, const char *area, const char *text)
{
	char now[sizeof(memory->last)];

	(void)snprintf(now, sizeof(now), "%s", text != NULL ? text : "");
	if (strcmp(now, memory->last) == 0)
		return 0;
	if (now[0] == '\0')
		log_line(LOG_INFO, area, "well again (%s)", memory->last);
	else
		log_line(level, area, "%s", text);
	memcpy(memory->last, now, sizeof(now));
	return 1;
}
