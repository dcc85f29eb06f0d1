#ifndef CALA_BASE_SECRET_H
#define CALA_BASE_SECRET_H

/*
 * secret: bytes that must not reach a core file, swap, a log or argv.
 *
 * The memory is a mapping of its own: locked as far as the limits allow, left
 * out of core files, overwritten before it is given back.
 */

#include <stddef.h>

struct err;

struct secret {
	unsigned char *p;       /* NUL follows the bytes */
	size_t len;
	size_t room;            /* bytes mapped; for secret.c */
};

#define SECRET_INIT { NULL, 0, 0 }

enum { SECRET_MAX = 65536 };

/*
 * secret_alloc(s, n, e): n zero bytes (n <= SECRET_MAX) for the caller to fill.
 * secret_set(s, p, n, e): a copy of n bytes.  Both free what s held.
 */
int  secret_alloc(struct secret *, size_t, struct err *);
int  secret_set(struct secret *, const void *, size_t, struct err *);
void secret_free(struct secret *);

/*
 * secret_read_fd(s, fd, what, e): all of fd, at most SECRET_MAX bytes, less
 * one trailing newline.
 * secret_read_file(s, path, e): the same from a file that must be regular,
 * not a symlink, owned by us or root and closed to group and others, also by
 * its ACL (CALA_AUTH otherwise, with a hint).
 */
int  secret_read_fd(struct secret *, int, const char *, struct err *);
int  secret_read_file(struct secret *, const char *, struct err *);

/*
 * secret_read_command(s, argv, seconds, e): what a program prints, less one
 * trailing newline.  It runs without a shell, stdin is /dev/null, its output
 * goes into memory that has no name.  CALA_AUTH when it does not exit 0 or not
 * within seconds.
 */
int  secret_read_command(struct secret *, const char *const *, unsigned,
    struct err *);

/* secret_wipe(p, n): overwrite; not optimised away. */
void secret_wipe(void *, size_t);

#endif
