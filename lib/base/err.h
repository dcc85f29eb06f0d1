#ifndef CALA_BASE_ERR_H
#define CALA_BASE_ERR_H

/*
 * err: how every failure in cala is carried.
 *
 * The function that finds a problem writes one sentence, each caller may put
 * its context in front, and main prints the result once and exits with the
 * code.  Text: lower case, no full stop, object first; foreign bytes go
 * through str_esc(); never a secret.
 */

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of every tool; a number never changes its meaning. */
enum cala_code {
	CALA_OK = 0,
	CALA_FAIL = 1,          /* failed, not otherwise classed */
	CALA_USAGE = 2,         /* bad option, operand or configuration */
	CALA_PARTIAL = 3,       /* committed, but some source was unreadable */
	CALA_INCOMPLETE = 4,    /* no proof of completeness; nothing stored */
	CALA_NOTFOUND = 10,
	CALA_LOCKED = 11,       /* someone else holds the lock */
	CALA_AUTH = 12,
	CALA_NET = 13,
	CALA_INTEGRITY = 14,    /* checksum, format or trailer is wrong */
	CALA_EXISTS = 15,
	CALA_NOSPACE = 16,
	CALA_TLS = 17,
	CALA_DEADLINE = 18,
	CALA_UNKNOWN = 19,      /* the answer to the commit was lost */
	CALA_MAINTENANCE = 20,
	CALA_UNASSIGNED = 21,
	CALA_PROTECTED = 22,    /* the backup is locked */
	CALA_NOEXEC = 126,
	CALA_NOCMD = 127,
	CALA_SIGNAL = 128       /* + number of the signal */
};

struct err {
	int code;               /* enum cala_code, or CALA_SIGNAL + n */
	int sys;                /* errno where one belongs to it, else 0 */
	char msg[768];
	char hint[256];         /* what to do, or "" */
};

#define ERR_INIT { 0, 0, "", "" }

/*
 * err_set(e, code, fmt, ...): record our own finding.  Returns -1, so that
 * callers can write `return err_set(...)`.
 */
int err_set(struct err *, int, const char *, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * err_sys(e, fmt, ...): record a failed system call; appends ": " and the
 * text of errno.  The code follows errno: ENOSPC, EDQUOT and EFBIG give
 * CALA_NOSPACE, ENOENT and ENOTDIR CALA_NOTFOUND, EACCES and EPERM CALA_AUTH,
 * EEXIST CALA_EXISTS, all others CALA_FAIL.  Returns -1; errno is unchanged.
 */
int err_sys(struct err *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

/* err_ctx(e, fmt, ...): put "text: " in front of the message.  Returns -1. */
int err_ctx(struct err *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

/* err_hint(e, fmt, ...): say what to do about it.  Returns -1. */
int err_hint(struct err *, const char *, ...)
    __attribute__((format(printf, 2, 3)));

/* err_oom(e): record that memory ran out.  Returns -1. */
int err_oom(struct err *);

/* err_clear(e): forget the error. */
void err_clear(struct err *);

#endif
