#ifndef CALA_DRIVER_KOPIA_H
#define CALA_DRIVER_KOPIA_H

/*
 * kopia: backups as snapshots in a Kopia repository, through its server, named
 * as Wings names them (Calagopus layout: kopia): tag backup-uuid:U, source path
 * V.  Everything that knows the program is in lib/exec.
 *
 * Tags can't be changed afterwards, so what can is kept in pins, which Kopia
 * also takes for "never expire":
 *
 *	cala.name=NAME, cala.group=GROUP, cala.lock
 *	cala.rules          rules of ours left something out
 *	cala.record=JSON, and cala.record.1= … for the rest of a long one
 *
 * The record's JSON has what the manifest itself does not tell; sizes, counts,
 * times and what could not be read come from the manifest.
 */

#include "driver/driver.h"
#include "exec/kopia.h"

/*
 * kopia_use(call, &k, e): the connection of this run, made when first asked
 * for; kopia_done ends it.
 */
int  kopia_use(struct driver_call *, struct kopia **, struct err *);
void kopia_done(struct driver_call *);

/*
 * kopia_get_record(call, snap, rec, e): the record of a snapshot (initialised
 * here).
 * kopia_pins(rec, v, e): what of rec goes into pins.  kopia_pins_free.
 */
#define KOPIA_PIN_RULES "cala.rules"

struct kopia_pins {
	char **v;
	size_t n;
};
int  kopia_get_record(struct driver_call *, const struct kopia_snap *,
    struct record *, struct err *);
int  kopia_make_pins(struct record *, struct kopia_pins *, struct err *);
void kopia_pins_free(struct kopia_pins *);

/*
 * Snapshots of one UUID, more than one where two changed its pins at the same
 * time: the best of them (a locked one, else the newest), and the ids of all.
 */
struct kopia_found {
	struct kopia_snap snap;         /* json is a reference of its own */
	char (*ids)[KOPIA_ID];
	size_t n;
	char (*broken)[KOPIA_ID];       /* incomplete ones */
	size_t nbroken;
	bool recalled;                  /* not asked for: snap alone, and it may
					 * be there no more */
};

/*
 * kopia_collect(f, snap, e): take one.  kopia_found_fini.
 * kopia_find(call, k, uuid, f, e): CALA_NOTFOUND when there is none that is
 * whole.
 * kopia_find_again(call, k, f, e): what this run has already found of
 * call->backup (recalled or not), else kopia_find.
 */
int  kopia_collect(struct kopia_found *, const struct kopia_snap *,
    struct err *);
void kopia_found_fini(struct kopia_found *);
int  kopia_find(struct driver_call *, struct kopia *, const char *,
    struct kopia_found *, struct err *);
int  kopia_find_again(struct driver_call *, struct kopia *,
    struct kopia_found *, struct err *);

/*
 * kopia_memory.c: snapshots that were looked up before.
 *
 * kopia_remember(k, snap): one more; what can't be kept is not kept.
 * kopia_recall(k, uuid, f): true with f->recalled, without asking the server:
 * the snapshot may be gone, or have another id by now; false: not remembered.
 */
void kopia_remember(const struct kopia *, const struct kopia_snap *);
bool kopia_recall(const struct kopia *, const char *, struct kopia_found *);

/* kopia_put.c */
int kopia_put_dir(struct driver_call *, struct err *);

/* kopia_read.c */
int kopia_open_tree(struct driver_call *, struct tree **, struct err *);
int kopia_get_all(struct driver_call *, struct reader **, struct err *);
int kopia_restore(struct driver_call *, struct err *);

/* kopia_care.c */
int kopia_check(struct driver_call *, struct err *);
int kopia_verify(struct driver_call *, struct record *, struct err *);
int kopia_gc(struct driver_call *, struct err *);

extern const struct driver kopia_driver;

#endif
