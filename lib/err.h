/* SPDX-License-Identifier: ISC */
/*
 * err - the human half of an error
 *
 * Functions return 0 or -Exxx for the program and, where more than one thing can go wrong, fill a
 * `struct err` with a sentence for the operator: what failed, on what, and why.  The library never logs.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#define ERR_TEXT_MAX 400

struct err {
	char text[ERR_TEXT_MAX];
};

/* Set the sentence and return `code` (a negative errno), so that `return err_set(...)` reads well.
 * A NULL `e` is allowed.  Text that does not fit ends in "...". */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": " and the name of the error (-code) behind. */
int err_sys(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
