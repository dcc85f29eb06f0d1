#ifndef CALA_CONFIG_FOREIGN_H
#define CALA_CONFIG_FOREIGN_H

/* foreign: the keys of a disk that is none of ours, as its driver says them. */

#include <stddef.h>

#include "config/keys.h"

struct buf;
struct err;

enum { FOREIGN_INFO = 1 << 20, FOREIGN_KEYS = 1000 };

/*
 * foreign_keys(p, n, disk, &rows, &nrows, e): the keys in n bytes of `info`
 * (cala-driver(7)).  The rows stay for the rest of the process.  CALA_INTEGRITY
 * when it is no such document.
 * foreign_print(p, n, out, e): only the array of keys, as key_info writes it.
 */
int foreign_keys(const char *, size_t, const char *, const struct key **,
    size_t *, struct err *);
int foreign_print(const char *, size_t, struct buf *, struct err *);

#endif
