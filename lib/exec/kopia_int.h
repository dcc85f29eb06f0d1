#ifndef CALA_EXEC_KOPIA_INT_H
#define CALA_EXEC_KOPIA_INT_H

/* kopia_int: what the files of kopia share. */

#include <signal.h>

#include "exec/child.h"
#include "exec/kopia.h"

enum { KOPIA_ITEM = 64 << 20 };         /* bytes of one manifest */

struct kopia {
	const struct kopia_how *how;
	int dirfd;
	char *dir;                      /* B/.kopia */
	char slug[KOPIA_SLUG];
	char *config_arg, *bare_arg;    /* "--config-file=…" */
	char *cache;
	struct child_env env;
	bool calm;                      /* cleaning up, whatever was asked */
};

/* kopia_name(k, suffix, out, n): "SLUG" suffix. */
enum { KOPIA_NAME = 80 };
const char *kopia_name(const struct kopia *, const char *,
    char [KOPIA_NAME]);

/* kopia_meta(o, en): mode, owner and time of a DirEntry; -1: malformed. */
int kopia_meta(const json_t *, struct entry *);

/* kopia_show(r, k, oid, e): start printing an object (or ROOT/path). */
int kopia_show(struct kopia_run *, struct kopia *, const char *,
    struct err *);

/*
 * kopia_stream(k, oid, prefix, first, log, e): a directory's entry, named prefix,
 * and all below it.
 */
struct reader *kopia_stream(struct kopia *, const char *, const char *,
    const struct entry *, struct log *, struct err *);

#endif
