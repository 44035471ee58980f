/* SPDX-License-Identifier: ISC */
#include "lib/err.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 2, 0)))
fill(struct err *e, const char *fmt, va_list ap)
{
	int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);

	if (n < 0 || (size_t)n >= sizeof(e->text))
		memcpy(e->text + sizeof(e->text) - 4, "...", 4);
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e != NULL) {
		va_start(ap, fmt);
		fill(e, fmt, ap);
		va_end(ap);
	}
	return code;
}

int
err_sys(struct err *e, int code, const char *fmt, ...)
{
	struct err what;
	va_list ap;

	if (e != NULL) {
		va_start(ap, fmt);
		fill(&what, fmt, ap);
		va_end(ap);
		(void)err_set(e, code, "%s: %s", what.text, strerror(-code));
	}
	return code;
}
