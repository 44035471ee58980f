/* SPDX-License-Identifier: ISC */
/* rundir - where daemon, command and plugins meet */
#ifndef LIB_RUNDIR_H
#define LIB_RUNDIR_H

#define RUNDIR_DEFAULT "/run/spillway"
#define RUNDIR_ENV "SPILLWAY_RUN_DIR"
#define RUNDIR_EVENT_SOCKET "event.sock"
#define RUNDIR_ASK_SOCKET "ask.sock"
#define RUNDIR_RATE_SOCKET "rate.sock"
#define RUNDIR_CONTROL_SOCKET "control.sock"
#define RUNDIR_LOCK "lock" /* held by the keeper */
#define RUNDIR_HOMES "homes" /* the keeper's list of qmail homes, a line each: for `neutral --offline` */

/* $SPILLWAY_RUN_DIR when it is an absolute path, else RUNDIR_DEFAULT.  Borrowed. */
const char *rundir(void);

#endif
