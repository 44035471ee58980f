/* SPDX-License-Identifier: ISC */
#ifndef LIB_VERSION_H
#define LIB_VERSION_H

#define SPILLWAY_VERSION "0.1"

#endif
