#ifndef CALA_DRIVER_RESTIC_H
#define CALA_DRIVER_RESTIC_H

/*
 * restic: backups as snapshots of a restic repository, where Wings keeps them
 * (Calagopus layout: restic): of the absolute path V, with the backup's UUID as
 * first tag.  What restic does not know of a backup is in more tags:
 *
 *	cala.v=1                the record is ours (else: foreign)
 *	cala.server=UUID  cala.created=TIME  cala.version=VERSION  cala.locked
 *	cala.name=  cala.group=  cala.ignored=  cala.warning=   in base64url
 *	cala.warnings=N  cala.changed=N
 *	cala.size=N  cala.files=N  cala.completed=TIME   where restic is too old
 *	                        to keep them itself (before 0.17)
 *	cala.run=HEX            tells two runs apart
 *	cala.rev=N              how often the tags have been changed
 *
 * A snapshot's id changes with its tags; nothing is ever kept by it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/driver.h"
#include "exec/restic.h"

struct buf;

enum {
	RESTICD_ID = 65,
	RESTICD_REF = 63,
	RESTICD_TEXT = 24 << 10,        /* of rules, of warnings, in a tag */
	RESTICD_TAGS = 256              /* of one snapshot */
};

/*
 * A snapshot that is a backup.  ref is what commands are given: one digit less
 * than the id.  A whole id restic takes from its cache without asking whether
 * the repository still has it; a beginning of one makes it look.
 */
struct resticd_snap {
	char ref[RESTICD_REF + 1];
	char id[RESTICD_ID], original[RESTICD_ID], tree[RESTICD_ID];
	char run[20];           /* "" */
	uint64_t rev;
	bool open;              /* its tags don't say yet that it is partial */
	struct timespec time;   /* by which restic sorts its listings */
	char *base;             /* the absolute path it is of, "" the root; heap */
	char **other;           /* tags of others; heap */
	size_t nother;
};

void resticd_snap_fini(struct resticd_snap *);

/* restic.c: the program, once a call; resticd_cache: the folder it may use. */
int  resticd_open(struct driver_call *, struct restic **, struct err *);
const char *resticd_cache(struct driver_call *);
void resticd_done(struct driver_call *);

/*
 * restic_list.c.
 *
 * resticd_parse(call, json, snap, rec, e): 1 with snap and rec initialised; 0:
 *   it is no backup; -1.
 * resticd_each(call, fn, arg, e): every backup; snap and rec are fn's only
 *   during the call.
 * resticd_renews(a, b): of two snapshots of one UUID, is a what a change of b's
 *   tags has made?  (Killed in between, it leaves both.)
 * resticd_find(call, uuid, snap, rec, e): CALA_NOTFOUND.  rec, snap may be
 *   NULL.
 */
typedef int resticd_fn(void *, struct resticd_snap *, struct record *,
    struct err *);
int resticd_parse(struct driver_call *, json_t *, struct resticd_snap *,
    struct record *, struct err *);
int resticd_each(struct driver_call *, resticd_fn *, void *, struct err *);
bool resticd_renews(const struct resticd_snap *, const struct resticd_snap *);
int resticd_find(struct driver_call *, const char *, struct resticd_snap *,
    struct record *, struct err *);

/*
 * restic_open.c: notes in the cache, one for each run that has not said yet
 * whether its snapshot is whole.
 *
 * resticd_note(call, run, &fd, e): make it; fd, to be handed to restic and
 *   closed, keeps others from taking the run for dead.
 * resticd_note_sync(call, e): it is on disk.
 * resticd_settle(call, run): take it away, on disk too: what is stored is as
 *   its tags say, or nothing is stored.
 * resticd_unsettled(call, run): is there one?
 * resticd_sweep(call, &n, e): settle those of the dead; n counts the snapshots
 *   that are marked as partial for it.
 */
int  resticd_note(struct driver_call *, const char *, int *, struct err *);
int  resticd_note_sync(struct driver_call *, struct err *);
void resticd_settle(struct driver_call *, const char *);
bool resticd_unsettled(struct driver_call *, const char *);
int  resticd_sweep(struct driver_call *, size_t *, struct err *);

/*
 * restic_memory.c: what the last listing said, in the cache.  Asking the
 * repository takes restic longer than giving a file; and what a snapshot's id
 * stands for never changes, so a snapshot that is still there is as remembered.
 *
 * resticd_repository(call, out): what tells files of two repositories apart.
 * resticd_remember(call, b): b is a line of JSON for each backup; empty: forget.
 * resticd_remember_one(call, json): one backup more.
 * resticd_remember_node(call, id, path, node), resticd_recall_node(call, id,
 *   path, &node): what a snapshot has at path, as its listing says it (NULL for
 *   the root of all).  The newest few.  0, node is the caller's; 1: not there.
 * resticd_recall(call, uuid, snap, rec, e): as resticd_find; 1: not remembered.
 */
enum { RESTICD_MEMORY = 8 << 20 };
void resticd_repository(const struct driver_call *, char [17]);
void resticd_remember(struct driver_call *, const struct buf *);
void resticd_remember_one(struct driver_call *, const json_t *);
void resticd_remember_node(struct driver_call *, const char *, const char *,
    const json_t *);
int  resticd_recall_node(struct driver_call *, const char *, const char *,
    json_t **);
int  resticd_recall(struct driver_call *, const char *, struct resticd_snap *,
    struct record *, struct err *);

/*
 * restic_tags.c.  Tags as a list of heap strings, U first.
 *
 * resticd_tags(rec, snap, t, e): all that rec says; run and other tags of snap
 *   (may be NULL) stay.
 * resticd_tag_facts(rec, t, e): what is known only at the end.
 * resticd_untag(rec, snap, tag, e): one tag into rec and snap.
 */
struct resticd_tags {
	char *v[RESTICD_TAGS];
	size_t n;
};
int  resticd_tags(const struct record *, const struct resticd_snap *,
    struct resticd_tags *, struct err *);
int  resticd_tag(struct resticd_tags *, struct err *, const char *, ...)
    __attribute__((format(printf, 3, 4)));
void resticd_tags_fini(struct resticd_tags *);
int  resticd_untag(struct record *, struct resticd_snap *, const char *,
    struct err *);
/*
 * resticd_retag(call, id, t, wait, e): give the snapshot these tags and no
 * others, waiting so many seconds at least for the repository's lock.
 * CALA_LOCKED when it is no longer there: somebody else has changed it.
 */
int  resticd_retag(struct driver_call *, const char *,
    const struct resticd_tags *, uint64_t, struct err *);

/* The verbs: restic_put.c, restic_read.c, restic_care.c. */
int resticd_put(struct driver_call *, struct err *);
int resticd_tree(struct driver_call *, struct tree **, struct err *);
int resticd_restore(struct driver_call *, struct err *);
int resticd_check(struct driver_call *, struct err *);
int resticd_verify(struct driver_call *, struct record *, struct err *);
int resticd_gc(struct driver_call *, struct err *);
int resticd_init(struct driver_call *, struct err *);

/* resticd_drop(call, id, e): forget one snapshot, by its whole id. */
int resticd_drop(struct driver_call *, const char *, struct err *);

extern const struct driver restic_driver;

#endif
