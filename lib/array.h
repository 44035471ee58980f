/* SPDX-License-Identifier: ISC */
#ifndef LIB_ARRAY_H
#define LIB_ARRAY_H

#define countof(a) (sizeof(a) / sizeof((a)[0]))

#endif
