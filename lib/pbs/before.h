#ifndef CALA_PBS_BEFORE_H
#define CALA_PBS_BEFORE_H

/*
 * before: what a backup session can use of the previous snapshot: chunks that
 * need not be sent again (pbs.md §4.8).
 *
 * Whatever is missing, damaged, never finished or made with another key is not
 * used, which costs time only; the log says why at -v.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "pbs/index.h"
#include "pbs/manifest.h"

struct err;
struct log;
struct pbs_backup;
struct pbs_crypt;

enum { PBS_BEFORE_FILES = 4 };

struct pbs_before {
	bool any;               /* there is one, and m is its manifest */
	int64_t time;
	struct pbs_manifest m;
	/* the rest belongs to before.c */
	struct pbs_backup *session;
	const struct pbs_crypt *crypt;
	struct log *log;
	struct {
		char name[64];
		struct buf bytes;
		struct pbs_index ix;
		bool usable;
	} file[PBS_BEFORE_FILES];
	unsigned n;
};

/*
 * pbs_before_load(b, session, crypt, log, e): b is initialised here.  -1 only
 * when the session itself has failed.  pbs_before_fini: frees.
 * pbs_before_index(b, name): the index of that name, which from now on the
 * server takes chunks of without seeing them; lent until fini.  NULL: there is
 * none that can be used.
 */
int  pbs_before_load(struct pbs_before *, struct pbs_backup *,
    const struct pbs_crypt *, struct log *, struct err *);
void pbs_before_fini(struct pbs_before *);
const struct pbs_index *pbs_before_index(struct pbs_before *, const char *);

#endif
